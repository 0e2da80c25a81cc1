/* condition.h: conditional requests (RFC 9110, 13), for calls about something that has an entity
 * tag.
 *
 * A handler that knows the present tag asks api_if_match before it writes, or api_if_none_match
 * before it answers a GET. One that learns the tag later takes the condition out of the request
 * with api_condition_read.
 */
#ifndef GANTRY_API_CONDITION_H
#define GANTRY_API_CONDITION_H

#include "api/route/route.h"
#include "base/etag.h"

#define API_CONDITION_MAX 8192u /* bytes of one list of tags */

/* Of a write: true, or the call has been answered: 412 with both tags in the text (If-Match has not
 * this tag, or If-None-Match has it), 400 (no list of tags). `etag` with its quotes. */
bool api_if_match(struct api_call *c, struct slice etag);
/* Of a GET: true, or the call has been answered with 304, or 400. */
bool api_if_none_match(struct api_call *c, struct slice etag);

/* The two fields, copied, so that they can be checked by etag_check when and where the tag is
 * known. */
struct api_condition {
    struct buf if_match, if_none_match; /* owned */
    struct etag_condition text;         /* points into them */
};
/* False: answered with 400 (no list of tags), 413 or 503, and there is nothing to free. */
bool api_condition_read(struct api_call *c, struct api_condition *ret);
void api_condition_done(struct api_condition *c);

#endif
