/* json_flat.h: reads the common case of a hot answer without a tree: one flat object, plain ASCII.
 *
 * It never decides that a text is wrong: what it does not know (nesting, escapes, bytes beyond
 * ASCII, fractions, faults) makes it give up, and the caller reads the text again with json_parse.
 */
#ifndef GANTRY_JSON_FLAT_H
#define GANTRY_JSON_FLAT_H

#include "base/base.h"

enum json_flat_type { JSON_FLAT_NULL, JSON_FLAT_BOOL, JSON_FLAT_INT, JSON_FLAT_STR };

struct json_flat {
    const char *p, *end;
    bool gave_up; /* the text is not of the common case; what was read so far must be dropped */
    bool first;
};

struct json_flat_member {
    struct slice key; /* borrowed from the text, as are strings */
    enum json_flat_type type;
    struct slice s; /* STR */
    int64_t i;      /* INT, BOOL */
};

void json_flat_open(struct json_flat *f, struct slice text);
/* The next member; false at the end of the object, or when it gave up. */
bool json_flat_next(struct json_flat *f, struct json_flat_member *ret);

#endif
