/* etag.h: entity tags and the conditions on them (RFC 9110, 8.8.3, 13.1.1 and 13.1.2), without
 * HTTP. */
#ifndef GANTRY_ETAG_H
#define GANTRY_ETAG_H

#include "base/base.h"
#include "base/err.h"

/* The strong tag of a content: 32 hex digits of its SHA-256 in double quotes. */
#define ETAG_LEN 34
#define ETAG_SIZE (ETAG_LEN + 1)
void etag_of(char out[ETAG_SIZE], struct slice content);

/* Whether a list of tags, as in If-Match, has this one: 1 or 0; "*" has every tag. `weak`: the
 * comparison that lets W/"x" and "x" be the same (8.8.3.2). ERR_SYNTAX: the text is no list of
 * tags. */
int etag_list_has(struct slice list, struct slice etag, bool weak);

/* What a writer asks for; texts of the header fields, p NULL if there is none. Borrowed. */
struct etag_condition {
    struct slice if_match, if_none_match;
};
/* Checks the condition of a write to something that exists and has this tag. ERR_PRECONDITION with
 * a message that names both tags, ERR_SYNTAX. */
int etag_check(const struct etag_condition *c, struct slice etag, struct err *e);

#endif
