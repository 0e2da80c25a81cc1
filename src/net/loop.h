/* loop.h: the one event loop of a process (libuv), its clock and its cheap deadlines. */
#ifndef GANTRY_LOOP_H
#define GANTRY_LOOP_H

#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include <uv.h>

struct loop;

/* Makes the loop. `clock` is borrowed and gives wall time for dates and logs. Sends libuv's
 * allocations through mem.h, ignores SIGPIPE, and pre-sizes libuv's watcher table for the
 * process's limit of open files (libuv aborts if it cannot grow that table later), so raise that
 * limit before.
 * ERR_NO_MEMORY, ERR_IO. */
int loop_new(struct loop **ret, const struct clock *clock, struct err *e);
/* Runs until loop_stop, or until nothing is left to wait for. */
int loop_run(struct loop *l);
/* One pass without waiting; true while there is something left. For tests and for shutting down. */
bool loop_run_once(struct loop *l, bool wait);
void loop_stop(struct loop *l);
/* The process is ending by itself: from here on SIGTERM, SIGINT and SIGHUP change nothing any more.
 * Call it before the handles of these signals are closed, which would give the next signal its
 * deadly default. */
void loop_hold_signals(void);
/* All handles must be closed (run the loop until their close callbacks came). */
void loop_free(struct loop *l);

/* uv_queue_work and uv_thread_create, but the threads that they make take no signals: what ends the
 * process is for the loop's thread alone, and one that loop_hold_signals holds back must not reach
 * another. Results as theirs. */
int loop_work(struct loop *l, uv_work_t *w, uv_work_cb fn, uv_after_work_cb after);
int loop_thread(uv_thread_t *ret, uv_thread_cb fn, void *arg);

uv_loop_t *loop_uv(struct loop *l);
const struct clock *loop_clock(struct loop *l);
/* Monotonic milliseconds, cached once per pass. */
uint64_t loop_now_ms(struct loop *l);
/* "Sat, 21 Nov 2026 03:52:00 GMT", cached for a second; 29 characters. */
struct slice loop_http_date(struct loop *l);

/* A timer. Zero-initialise, loop_timer_init, start as often as wanted, close before freeing. */
struct loop_timer {
    uv_timer_t uv;
    void (*fn)(void *ctx);
    void (*closed)(void *ctx);
    void *ctx;
};
int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *ctx), void *ctx);
void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms); /* restarts */
void loop_timer_stop(struct loop_timer *t);
/* closed(ctx) comes from the loop; only then may the memory go. closed may be NULL. */
void loop_timer_close(struct loop_timer *t, void (*closed)(void *ctx));

/* Deadlines for many objects with the same time-out (idle connections): O(1) to arm and to move,
 * resolution 250 ms, one timer for all of them. Arming never fails. */
struct deadline_class;
struct deadline {
    struct list_node link; /* initialise with deadline_init */
    uint64_t at_ms;
};
/* fn is called for each expired deadline, which is disarmed by then. */
int deadline_class_new(struct deadline_class **ret, struct loop *l, uint64_t timeout_ms,
                       void (*fn)(struct deadline *d));
/* Another time-out, for the armed ones too: what they have waited so far counts. */
void deadline_class_set(struct deadline_class *c, uint64_t timeout_ms);
void deadline_class_free(struct deadline_class *c); /* asynchronous inside; none may be armed */
void deadline_init(struct deadline *d);
void deadline_arm(struct deadline_class *c, struct deadline *d); /* (re)starts the full time */
void deadline_disarm(struct deadline *d);

/* Calls fn(ctx) once, from the loop, after the current callback. ERR_NO_MEMORY. */
int loop_defer(struct loop *l, void (*fn)(void *ctx), void *ctx);

#endif
