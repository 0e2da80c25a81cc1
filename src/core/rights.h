/* rights.h: who may do what: (verb, kind, name pattern), roles as named sets of them (design, section 9).
 *
 * Text form: "VERB KIND PATTERN", for example "control service robot/talker", "read * *". A pattern has '*' for any
 * run of characters; the name of a service is "container/service", of everything else its own name, and of what has
 * none (the API itself) the empty text. A verb allows only itself; "*" allows all verbs.
 */
#ifndef GANTRY_CORE_RIGHTS_H
#define GANTRY_CORE_RIGHTS_H

#include "base/base.h"
#include "base/err.h"

enum right_verb { RIGHT_NONE, RIGHT_READ, RIGHT_CONTROL, RIGHT_WRITE, RIGHT_DELETE, RIGHT_ADMIN };

#define RIGHTS_MAX 16
#define RIGHT_KIND_MAX 32
#define RIGHT_PATTERN_MAX 256

struct right {
    enum right_verb verb; /* RIGHT_NONE: every verb */
    char kind[RIGHT_KIND_MAX]; /* "*": every kind */
    char pattern[RIGHT_PATTERN_MAX];
};
struct rights {
    struct right items[RIGHTS_MAX];
    size_t n; /* 0: nothing at all */
};

/* "read", "control", ...; "*" for RIGHT_NONE. */
const char *right_verb_name(enum right_verb v);
/* Reads one right. ERR_INVALID with the text in quotes. */
int right_parse(struct right *ret, struct slice text, struct err *e);
/* Adds what a word stands for: a role (viewer: read everything but tokens, audit and configuration; operator: viewer
 * and control; admin: everything), or one right in its text form. ERR_INVALID, ERR_LIMIT. */
int rights_add(struct rights *r, struct slice text, struct err *e);
bool rights_allow(const struct rights *r, enum right_verb v, const char *kind, struct slice name);

#endif
