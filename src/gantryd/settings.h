/* settings.h: everything that makes the configuration, in one pass: defaults, the file, the files
 * of its folder conf.d, the compute agent's file and variables, the environment, the flags. The
 * later wins; maps are merged by key, lists
 * are replaced. Each value keeps where it came from.
 *
 * The environment has a variable for each key: GANTRY_ and the path in capitals, with '_' for '.'
 * (GANTRY_HTTP_LIMITS_MAX_HEAD). Lists of texts are separated by commas; other lists and maps are
 * YAML. An empty variable counts as absent. A GANTRY_ variable of no key is a warning.
 *
 * The variables of the Persys compute agent (PERSYS_..., DOCKER_HOST) and the file that
 * PERSYS_CONFIG_FILE names mean keys of ours (contract 9.1); what is ours by name, GANTRY_..., wins
 * over them.
 */
#ifndef GANTRY_GANTRYD_SETTINGS_H
#define GANTRY_GANTRYD_SETTINGS_H

#include "base/json_out.h"
#include "base/map.h"
#include "gantryd/config.h"

/* What is asked; everything borrowed for as long as it is read again. */
struct settings_source {
    const char *file;       /* NULL: no file, and no conf.d */
    const char *const *env; /* "NAME=VALUE", ends with NULL; may be NULL */
    /* Flags that stand for keys: key, value, and the flag's name for reports; may be NULL. */
    const struct settings_flag {
        const char *key, *value, *flag;
    } * flags;
    size_t n_flags;
};

struct settings_fault {
    const char *place; /* a file, a variable or a flag; borrowed from the settings */
    int line, column;  /* 0: of the whole */
    bool warning;
    char msg[256];
};

struct settings {
    struct config c;
    struct settings_fault *faults; /* owned */
    size_t n_faults, errors;
    char **places; /* owned: files in the order in which they were read, variables, flags */
    size_t n_places, n_files; /* n_files: of the first ones */
    struct map origins; /* key -> "/etc/gantry/config.yml:12", "GANTRY_LOG_LEVEL", "--log-level" */
};

/* Reads everything anew; *ret is uninitialised. 0; ERR_INVALID with errors among the faults (the
 * configuration then holds valid parts); ERR_NO_MEMORY. settings_done in any case. */
int settings_read(struct settings *ret, const struct settings_source *from, struct err *e);
void settings_done(struct settings *s);

/* Where a value came from; "default" if nobody gave it. */
const char *settings_origin(const struct settings *s, const char *key);
/* Gives *to the origin that `key` has in *from. ERR_NO_MEMORY. */
int settings_copy_origin(struct settings *to, const struct settings *from, const char *key);

/* Adds a fault. `place` is copied if it is not known yet. ERR_NO_MEMORY. */
int settings_fault(struct settings *s, const char *place, int line, int column, bool warning,
                   const char *fmt, ...) BASE_PRINTF(6, 7);
/* "/etc/gantry/config.yml:3:5: text", "GANTRY_X: text"; warnings with "warning: ". */
void settings_print_fault(struct buf *out, const struct settings_fault *f);

/* One value that differs between two configurations. */
struct settings_change {
    char *key;
    char *old_text, *new_text; /* owned; NULL: absent. Secrets as "(set)" */
    bool reload;
};
struct settings_changes {
    struct settings_change *items; /* owned */
    size_t count;
};
/* In the order of the table. ERR_NO_MEMORY; settings_changes_done in any case. */
int settings_compare(struct settings_changes *ret, struct config *before, struct config *after,
                     struct err *e);
void settings_changes_done(struct settings_changes *c);

/* The effective values as a JSON object: {"files":[...],"values":[{"key","value","source",
 * "reload"}]}. ERR_NO_MEMORY. */
int settings_write_json(struct settings *s, struct json_out *j);

/* The variable of a key; cut to the room if too long. */
void settings_variable(char *out, size_t size, const char *key);

#endif
