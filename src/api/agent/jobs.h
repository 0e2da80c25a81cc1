/* jobs.h: work that waits for the disk, one after the other on a thread, so that the loop waits for
 * nothing and writers do not get in each other's way.
 *
 * A thread lives as long as one job: there are few. Unlike libuv's pool, whose start without memory
 * ends the program, a thread that cannot be made is an error here.
 */
#ifndef GANTRY_API_AGENT_JOBS_H
#define GANTRY_API_AGENT_JOBS_H

#include "base/base.h"
#include "base/err.h"
#include "base/list.h"
#include "net/loop.h"

#define AGENT_JOBS_MAX 32 /* waiting at one time */

/* Embedded in the caller's own struct, which must live until `done`. */
struct agent_job {
    struct list_node link;
    void (*work)(struct agent_job *j); /* on the thread */
    void (*done)(struct agent_job *j,
                 const struct err *e); /* on the loop, once; e->code not 0: it never ran */
};

struct agent_jobs {
    uv_async_t async;
    uv_thread_t thread;
    struct list_node waiting;
    size_t n_waiting;
    struct agent_job *running;
    bool open;
    void (*idle)(void *ctx); /* set by agent_jobs_close */
    void *ctx;
};

int agent_jobs_init(struct agent_jobs *s, struct loop *l, struct err *e);
/* ERR_BUSY: too many wait; then and on any other failure `done` is not called. ERR_NO_MEMORY,
 * ERR_NO_FILES... */
int agent_jobs_add(struct agent_jobs *s, struct agent_job *j, struct err *e);
/* Once nothing is added any more: idle(ctx) comes from the loop, or at once if it never was open,
 * when the last job is done and the memory may go. */
void agent_jobs_close(struct agent_jobs *s, void (*idle)(void *ctx), void *ctx);

#endif
