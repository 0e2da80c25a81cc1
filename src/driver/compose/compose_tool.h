/* compose_tool.h: the Compose tool as a process: an argument vector, no shell, an environment of
 * PATH, HOME and DOCKER_HOST, no input, a time limit, and bounded output.
 *
 * It has a process group of its own, which gets SIGTERM, and SIGKILL three seconds later, when its
 * time is over or nobody wants it any more. If gantryd ends meanwhile the tool goes on; the lock
 * that it has inherited tells the next gantryd so.
 */
#ifndef GANTRY_DRIVER_COMPOSE_TOOL_H
#define GANTRY_DRIVER_COMPOSE_TOOL_H

#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"

enum { COMPOSE_TOOL_ARGS = 32, COMPOSE_TOOL_OUT_MAX = 256 << 10 };

struct compose_tool;
struct compose_tool_end {
    /* code 0: it ended with status 0. ERR_TOOL: with another one, or by a signal; ERR_TIMEOUT;
     * ERR_CANCELLED; ERR_NO_TOOL: there is no such program. */
    struct err e;
    int64_t status;    /* -1: by a signal */
    struct slice out;  /* its standard output, the beginning */
    struct slice tail; /* what it said on both, the end: at most COMPOSE_OUTPUT_MAX bytes */
};
/* Borrowed for the call. */
typedef void (*compose_tool_fn)(void *ctx, const struct compose_tool_end *end);

struct compose_tool_order {
    const char *const *argv; /* ends with NULL; for the call */
    const char *cwd;         /* NULL: "/" */
    const char *docker_host; /* "unix:///var/run/docker.sock" */
    uint64_t limit_ms;
    int lock_fd; /* inherited; -1: none. Stays the caller's, who may close it. */
    /* Each line that it says, without control characters; borrowed. May be NULL. */
    void (*line)(void *ctx, const char *text);
};
/* done comes once, from the loop. On failure it does not: ERR_NO_TOOL, ERR_NO_FILES,
 * ERR_NO_MEMORY, ERR_IO. */
int compose_tool_run(struct compose_tool **ret, struct loop *l, const struct compose_tool_order *o,
                     compose_tool_fn done, void *ctx, struct err *e);
/* Ends it; done comes with ERR_CANCELLED, or with the end that was quicker. */
void compose_tool_cancel(struct compose_tool *t);
/* No callback comes any more, and the tool goes on: half a change is worse than a whole one that
 * nobody waits for. NULL is fine. */
void compose_tool_abandon(struct compose_tool *t);

#endif
