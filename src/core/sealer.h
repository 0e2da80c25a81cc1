/* sealer.h: what keeps secrets unreadable at rest. secret/ fills it, documents use it. Pure
 * functions on memory: may be called from any thread. */
#ifndef GANTRY_CORE_SEALER_H
#define GANTRY_CORE_SEALER_H

#include "base/buf.h"
#include "base/err.h"

#define SEALER_PRINT_SIZE 65 /* 64 hex digits and NUL */

struct sealer {
    /* Appends text ("sealed:v1:..." in base64) that only this key can open, and only together with
     * the same `bound` (the place it belongs to: "web/env/PASSWORD"), so that sealed texts cannot
     * be swapped. ERR_STATE: there is no key, the text says how to get one. ERR_NO_MEMORY. */
    int (*seal)(void *ctx, struct slice bound, struct slice plain, struct buf *out, struct err *e);
    /* Appends the plain text; the caller wipes it. ERR_DENIED: another key, or changed text. */
    int (*open)(void *ctx, struct slice bound, struct slice sealed, struct buf *out, struct err *e);
    /* A keyed hash: equal texts have equal prints, and a print tells nothing about its text.
     * Without a key it is a plain SHA-256. */
    void (*print)(void *ctx, struct slice text, char out[SEALER_PRINT_SIZE]);
    void *ctx;
};

/* Sealed texts begin so, and are of [A-Za-z0-9_:-]. */
#define SEALED_BEGIN "sealed:v1:"
/* True for text that seal has made. */
bool sealed_is(struct slice text);

#endif
