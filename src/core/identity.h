/* identity.h: who asks. Found by the front end's guard for each request, from the peer's
 * credentials, a bearer token or a client certificate; never from a cookie.
 *
 * Shared by reference: a token that is revoked while one of its requests is under way stays
 * readable until that is answered. Only the loop's thread touches the count. */
#ifndef GANTRY_CORE_IDENTITY_H
#define GANTRY_CORE_IDENTITY_H

#include "core/rights.h"

enum identity_kind {
    IDENTITY_NONE,
    IDENTITY_PEER,
    IDENTITY_TOKEN,
    IDENTITY_CERTIFICATE,
    IDENTITY_OPEN
};

struct identity {
    enum identity_kind kind;
    /* "uid:0", "token:NAME", "cert:COMMON NAME", "open" (a listener without identities), "none".
     * Valid UTF-8. */
    char name[160];
    struct rights rights;
    int64_t expires_ns; /* wall time; 0: never */
    bool revoked;       /* what is still open for it is to end */
    uint32_t refs;      /* 0: static, never freed */
};

extern const struct identity identity_none; /* nobody; no rights */
extern const struct identity
    identity_open; /* everybody, on a listener that asks nobody; all rights */

/* "none", "peer", "token", "certificate", "open" */
const char *identity_kind_name(enum identity_kind k);
/* No rights yet, one reference. The name is cut if it is too long, bytes that are not UTF-8
 * replaced, control characters too. NULL: out of memory. */
struct identity *identity_new(enum identity_kind kind, const char *prefix, struct slice name);
const struct identity *identity_ref(const struct identity *i);
void identity_unref(const struct identity *i); /* may be NULL */
/* True if it may not be used any more: revoked, or expired at that wall time. */
bool identity_over(const struct identity *i, int64_t real_ns);

#endif
