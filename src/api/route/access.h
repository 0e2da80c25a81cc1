/* access.h: what the front ends share of "who asks, and may he": REST (route) and gRPC. No answers
 * are made here. */
#ifndef GANTRY_API_ACCESS_H
#define GANTRY_API_ACCESS_H

#include "base/buf.h"
#include "core/audit.h"
#include "core/identity.h"

/* What everybody whom we know may ask about himself. */
#define RIGHT_KIND_SELF "self"

/* The token of an Authorization value, "Bearer TOKEN"; p NULL for other schemes, which are none of
 * ours; empty for a scheme without a token. */
struct slice access_bearer(struct slice authorization);

/* `list`: somebody who may see some name below `name` ("" for any) may ask. */
bool access_allowed(const struct identity *who, enum right_verb verb, const char *kind,
                    struct slice name, bool list);
/* `uid:5 has not the right "control service robot/talker"`. 0 or the buffer's error. */
int access_refusal_text(struct buf *b, const struct identity *who, enum right_verb verb,
                        const char *kind, struct slice name, bool list);

/* The first refusals of each period are logged; a peer that is refused over and over fills the
 * audit file, which rotates, but not the log. Zero-initialise. */
struct access_refusals {
    uint64_t from_ms;
    unsigned told, untold;
};
void access_log_refusal(struct access_refusals *s, const struct audit_record *r);

#endif
