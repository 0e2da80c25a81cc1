/* rights.h: who may do what: (verb, kind, name pattern), roles as named sets of them (design,
 * section 9).
 *
 * Text form: "VERB KIND PATTERN", for example "control service robot/talker", "read * *". A pattern
 * has '*' for any run of characters, slashes too; the name of a service is "container/service", of
 * everything else its own name, and of what has none (the API itself) the empty text. A verb allows
 * only itself; "*" allows all verbs.
 *
 * The kinds "token", "audit", "config" and "store" are guarded: the kind "*" stands for them only
 * together with the verb "*", so that "read * *" is not a way to the list of tokens. Named, they
 * can be given like every other kind.
 */
#ifndef GANTRY_CORE_RIGHTS_H
#define GANTRY_CORE_RIGHTS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

enum right_verb { RIGHT_NONE, RIGHT_READ, RIGHT_CONTROL, RIGHT_WRITE, RIGHT_DELETE, RIGHT_ADMIN };

#define RIGHTS_MAX 16
#define RIGHT_KIND_MAX 32     /* with NUL */
#define RIGHT_PATTERN_MAX 256 /* with NUL */

struct right {
    enum right_verb verb;      /* RIGHT_NONE: every verb */
    char kind[RIGHT_KIND_MAX]; /* "*": every kind but the guarded ones */
    char pattern[RIGHT_PATTERN_MAX];
};
struct rights {
    struct right items[RIGHTS_MAX];
    size_t n; /* 0: nothing at all */
};

/* "read", "control", ...; "*" for RIGHT_NONE. */
const char *right_verb_name(enum right_verb v);
/* Reads one right: three words with one blank between them; the pattern may hold blanks of its own.
 * ERR_INVALID with the text in quotes; *ret is then untouched. */
int right_parse(struct right *ret, struct slice text, struct err *e);
/* Appends the text form. 0 or the buffer's error. */
int right_write(struct buf *b, const struct right *r);
/* Adds what a word stands for: a role (viewer: read everything but what is guarded; operator:
 * viewer and control; admin: everything), or one right in its text form. ERR_INVALID, ERR_LIMIT
 * (over RIGHTS_MAX); nothing is added then. */
int rights_add(struct rights *r, struct slice text, struct err *e);
/* True for "viewer", "operator" and "admin". */
bool right_is_role(struct slice word);

/* '*' in the pattern is any run of bytes, everything else is itself. */
bool pattern_match(const char *pattern, struct slice name);
/* `name` is compared as bytes: it may hold NUL and any length, and nothing in it is special. */
bool rights_allow(const struct rights *r, enum right_verb v, const char *kind, struct slice name);
/* For lists: true if some name that begins with `prefix` ("robot/", or "" for all) could be
 * allowed. What is shown is then asked for one by one with rights_allow. */
bool rights_allow_some(const struct rights *r, enum right_verb v, const char *kind,
                       struct slice prefix);
/* True if every name is allowed, so that a list needs no filter. */
bool rights_allow_all(const struct rights *r, enum right_verb v, const char *kind);
/* True if everything that `part` allows is allowed by r too: nobody can give away more than he has.
 * It may say no to a part that several rights of r cover only together. */
bool rights_cover(const struct rights *r, const struct rights *part);

#endif
