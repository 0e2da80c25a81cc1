/* probe.h: looks whether a workload answers, for the engine. driver/probe fills it. */
#ifndef GANTRY_CORE_PROBE_H
#define GANTRY_CORE_PROBE_H

#include "base/err.h"
#include "core/driver.h"

struct probe_order {
    struct slice id;
    const struct doc_health *health; /* tcp, http or command */
    const char *address;             /* of the workload; "": none */
    const struct driver *driver;     /* runs commands */
};
/* e->code 0: it answers well. Else the text says what came instead ("HTTP 503", "connection
 * refused", "exit 1: ..."). Comes once, from the loop. */
typedef void (*probe_fn)(void *ctx, const struct err *e);

struct prober_ops {
    /* Ends after health->timeout_ms at the latest. ERR_NO_MEMORY, ERR_BUSY. Copies nothing: order's
     * texts are borrowed until fn, or until cancel. */
    int (*probe)(void *self, const struct probe_order *o, probe_fn fn, void *ctx, void **call);
    void (*cancel)(void *self, void *call); /* fn does not come any more */
};
struct prober {
    const struct prober_ops *ops; /* NULL: health checks by tcp, http, command are refused */
    void *self;
};

#endif
