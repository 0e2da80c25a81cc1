/* identity.h: who asks. Found by the front end's guard for each request, from the peer's credentials, a bearer token or
 * a client certificate; never from a cookie. */
#ifndef GANTRY_CORE_IDENTITY_H
#define GANTRY_CORE_IDENTITY_H

#include "core/rights.h"

enum identity_kind { IDENTITY_NONE, IDENTITY_PEER, IDENTITY_TOKEN, IDENTITY_CERTIFICATE, IDENTITY_OPEN };

struct identity {
    enum identity_kind kind;
    /* "uid:0", "token:NAME", "cert:COMMON NAME", "open" (a listener without identities), "none". Valid UTF-8. */
    char name[160];
    struct rights rights;
};

#endif
