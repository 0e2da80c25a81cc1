/* runtime.h: what the front ends may ask of a container engine. Drivers fill it (driver/docker), api/
 * uses it, core knows no engine. All calls are asynchronous and idempotent; every callback comes
 * exactly once, from the loop, never inside the call. Strings in callbacks are borrowed for the call.
 */
#ifndef GANTRY_CORE_RUNTIME_H
#define GANTRY_CORE_RUNTIME_H

#include "base/base.h"
#include "base/err.h"
#include "base/metric.h"

/* Fields as the talos contract, 1.9, names them. */
struct runtime_container {
    const char *id;         /* 64 hex */
    const char *name;       /* without a leading '/' */
    const char *status;     /* created running paused restarting removing exited dead */
    const char *image;      /* alphabetically first repo tag of its image; "" if none, or the image is gone */
    const char *created;    /* RFC 3339, nanoseconds, UTC */
    const char *started_at; /* only from inspect; "0001-01-01T00:00:00Z" if never */
    const char *finished_at;
    bool restarting, paused, has_exit_code;
    int64_t exit_code;
};

enum runtime_action { RUNTIME_START, RUNTIME_STOP, RUNTIME_RESTART };

/* e->code: 0; ERR_NOT_FOUND no such container; ERR_UNREACHABLE no engine answers;
 * ERR_RUNTIME the engine refused, e->msg as the contract words it
 * ("409 Client Error for http+docker://localhost/v1.41/...: Conflict (\"...\")"). */
typedef void (*runtime_list_fn)(void *ctx, const struct err *e, const struct runtime_container *items, size_t n);
typedef void (*runtime_inspect_fn)(void *ctx, const struct err *e, const struct runtime_container *c);
typedef void (*runtime_done_fn)(void *ctx, const struct err *e);
/* text: the merged, stamped lines; valid UTF-8 (bad bytes are U+FFFD). */
typedef void (*runtime_logs_fn)(void *ctx, const struct err *e, struct slice text);

struct runtime_stats {
    uint64_t ok, error, unreachable, timeout, failed; /* calls by how they ended, as agent_outcome */
    struct histogram time;
    size_t open, idle, waiting; /* connections to the engine, and calls without one */
};

struct runtime_ops {
    const char *name; /* "docker" */
    /* On an error return the callback does not come. ERR_BUSY, ERR_NO_MEMORY. */
    int (*list)(void *self, bool all, runtime_list_fn fn, void *ctx);
    int (*inspect)(void *self, struct slice name, runtime_inspect_fn fn, void *ctx);
    /* timeout_s: seconds before a stop kills; ignored for start. */
    int (*act)(void *self, struct slice name, enum runtime_action a, int64_t timeout_s, runtime_done_fn fn, void *ctx);
    /* tail < 0: everything (bounded by the driver's limit), 0: nothing. */
    int (*logs)(void *self, struct slice name, int64_t tail, runtime_logs_fn fn, void *ctx);
    /* True when an engine has answered lately. */
    bool (*reachable)(void *self);
    /* For /metrics; may be NULL. */
    void (*stats)(void *self, struct runtime_stats *ret);
};

struct runtime {
    const struct runtime_ops *ops;
    void *self;
};

#endif
