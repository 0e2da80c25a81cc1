/* contexts.h: the machines that a user talks to, by name, in a file of the user's own.
 *
 * $XDG_CONFIG_HOME/gantry/contexts.yml, or ~/.config/gantry/contexts.yml:
 *
 *   current: robot1
 *   contexts:
 *     robot1: {host: "https://robot1:8443", cacert: ca.pem, token_file: robot1.token}
 *
 * Names of files that do not begin with '/' count from the folder of contexts.yml. No secret stands
 * in the file, only where one is.
 */
#ifndef GANTRY_CLI_CONTEXTS_H
#define GANTRY_CLI_CONTEXTS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json_out.h"
#include "base/schema.h"

#define CONTEXTS_MAX 1000

struct context {
    char *name, *host;
    char *cacert, *cert, *key, *token_file; /* NULL: none */
};

struct contexts {
    char *path;              /* owned; of the file */
    char *current;           /* owned; NULL: none */
    struct schema_list list; /* of struct context, in the order of the file */
};

/* Reads the file; none is like an empty one. The message of a failure begins with
 * FILE:LINE:COLUMN. ERR_INVALID (also: no HOME and no XDG_CONFIG_HOME), ERR_DENIED, ERR_IO,
 * ERR_NO_MEMORY. */
int contexts_load(struct contexts *ret, struct err *e);
void contexts_done(struct contexts *c);
/* Replaces the file (mode 0600, its folder is made with 0700) at one moment. */
int contexts_save(const struct contexts *c, struct err *e);

/* Borrowed, or NULL. */
struct context *contexts_find(const struct contexts *c, const char *name);
/* Adds or replaces; what `from` points to is copied, with names of files made absolute.
 * ERR_INVALID (a name that cannot be one), ERR_LIMIT, ERR_NO_MEMORY, ERR_IO. */
int contexts_add(struct contexts *c, const struct context *from, struct err *e);
/* False if there is none of that name. What is current stops being it. */
bool contexts_remove(struct contexts *c, const char *name);
/* Copies; NULL: none. ERR_NO_MEMORY. */
int contexts_use(struct contexts *c, const char *name, struct err *e);

/* One context as members of a JSON object, absent ones left out. */
void contexts_write(const struct context *x, bool with_name, struct json_out *j);

#endif
