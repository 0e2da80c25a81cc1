/* runtime.h: what the front ends may ask of a container engine. Drivers fill it (driver/docker),
 * api/ uses it, core knows no engine. All calls are asynchronous and idempotent; every callback
 * comes exactly once, from the loop, never inside the call. Strings in callbacks are borrowed for
 * the call.
 */
#ifndef GANTRY_CORE_RUNTIME_H
#define GANTRY_CORE_RUNTIME_H

#include "base/base.h"
#include "base/err.h"
#include "base/metric.h"

/* Fields as the talos contract, 1.9, names them. */
struct runtime_container {
    const char *id;     /* 64 hex */
    const char *name;   /* without a leading '/' */
    const char *status; /* created running paused restarting removing exited dead */
    const char
        *image; /* alphabetically first repo tag of its image; "" if none, or the image is gone */
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
typedef void (*runtime_list_fn)(void *ctx, const struct err *e,
                                const struct runtime_container *items, size_t n);
typedef void (*runtime_inspect_fn)(void *ctx, const struct err *e,
                                   const struct runtime_container *c);
typedef void (*runtime_done_fn)(void *ctx, const struct err *e);
/* text: the merged, stamped lines; valid UTF-8 (bad bytes are U+FFFD). */
typedef void (*runtime_logs_fn)(void *ctx, const struct err *e, struct slice text);
/* e->code beyond the above: ERR_LIMIT (it wrote more than was asked for), ERR_TIMEOUT (not over
 * within the driver's limit; it goes on by itself). Else exit_code, and what it wrote to its
 * standard output; any bytes. */
typedef void (*runtime_exec_fn)(void *ctx, const struct err *e, int64_t exit_code,
                                struct slice output);

/* A file to be put into a container: `dir` is absolute and exists there, `name` has no '/'. */
struct runtime_file {
    const char *dir, *name;
    unsigned mode; /* owner and group are root */
    struct slice content;
};

struct runtime_stats {
    uint64_t ok, error, unreachable, timeout,
        failed; /* calls by how they ended, as agent_outcome */
    struct histogram time;
    size_t open, idle, waiting; /* connections to the engine, and calls without one */
};

struct runtime_ops {
    const char *name; /* "docker" */
    /* On an error return the callback does not come. ERR_BUSY, ERR_NO_MEMORY. */
    int (*list)(void *self, bool all, runtime_list_fn fn, void *ctx);
    int (*inspect)(void *self, struct slice name, runtime_inspect_fn fn, void *ctx);
    /* timeout_s: seconds before a stop kills; ignored for start. */
    int (*act)(void *self, struct slice name, enum runtime_action a, int64_t timeout_s,
               runtime_done_fn fn, void *ctx);
    /* tail < 0: everything (bounded by the driver's limit), 0: nothing. */
    int (*logs)(void *self, struct slice name, int64_t tail, runtime_logs_fn fn, void *ctx);
    /* True when an engine has answered lately. */
    bool (*reachable)(void *self);
    /* For /metrics; may be NULL. */
    void (*stats)(void *self, struct runtime_stats *ret);
    /* Runs a program in a running container, without a shell, without input, as the container's
     * user. argv ends with NULL and is copied. max_output: bytes. ERR_INVALID: argv is no UTF-8
     * text. */
    int (*exec)(void *self, struct slice name, const char *const *argv, size_t max_output,
                runtime_exec_fn fn, void *ctx);
    /* Puts one file into a container that may be stopped; an older one of that name is replaced as
     * a whole, a folder of that name is an error. ERR_NOT_FOUND also: no such `dir`. Copied.
     * ERR_INVALID: a name or mode that cannot be. */
    int (*put_file)(void *self, struct slice name, const struct runtime_file *f, runtime_done_fn fn,
                    void *ctx);
};

struct runtime {
    const struct runtime_ops *ops;
    void *self;
};

#endif
