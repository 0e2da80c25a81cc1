/* tasks.h: what the engine has been asked to do and what became of it: a bounded history.
 *
 * A task is born when a change of intent is accepted. Tasks of one id end in their order. A change
 * that comes before the last one has begun takes its place: the older task ends as "completed" with
 * the newer one's id in its text ("superseded by ..."). What must survive a crash is the intent in
 * the store, not the task: after a restart a task "reconcile-..." stands for what is still open.
 */
#ifndef GANTRY_CORE_TASKS_H
#define GANTRY_CORE_TASKS_H

#include "base/clock.h"
#include "base/err.h"
#include "base/metric.h"
#include "base/span.h"

enum task_kind { TASK_APPLY, TASK_DELETE, TASK_RECONCILE };
enum task_status { TASK_PENDING, TASK_RUNNING, TASK_COMPLETED, TASK_FAILED };

const char *task_kind_name(enum task_kind k); /* "apply_workload", "delete_workload", "reconcile" */
const char *task_status_name(enum task_status s); /* "pending", "running", "completed", "failed" */

struct task {
    const char *id; /* "apply-web-1763697120123456789" (contract 3.1) */
    struct slice workload;
    enum task_kind kind;
    enum task_status status;
    const char *error; /* or what superseded it; "" if nothing is to be said */
    struct slice who;
    int64_t created_ns, started_ns, ended_ns; /* wall time; 0: not yet */
};

struct tasks;
struct task_entry;

/* max: ended tasks that are kept; the newest of each id is kept as long as its workload. 0: 1000 */
struct tasks *tasks_new(const struct clock *clock, size_t max); /* NULL: out of memory */
void tasks_free(struct tasks *t);
/* *ret is valid until it has ended; from then on until the history passes it: keep ids, not
 * pointers, of ended ones. ERR_NO_MEMORY. */
int task_begin(struct tasks *t, enum task_kind k, struct slice workload, struct slice who,
               struct task_entry **ret);
void task_start(struct tasks *t, struct task_entry *e);
/* On whose behalf it is done: the span that asked for it. Not recorded until it is set. */
void task_set_span(struct task_entry *e, const struct span_ref *s);
const struct span_ref *task_span(const struct task_entry *e);
/* text may be NULL. */
void task_end(struct tasks *t, struct task_entry *e, enum task_status s, const char *text);
void task_get(const struct task_entry *e, struct task *ret); /* borrowed from the entry */
/* The newest of an id; NULL: none. */
struct task_entry *task_newest(const struct tasks *t, struct slice workload);
/* The workload has gone for good: its newest one may be passed by the history. */
void task_release(struct tasks *t, struct slice workload);
/* In order of creation; fn's result other than 0 ends it. */
int tasks_each(const struct tasks *t, bool newest_first,
               int (*fn)(void *ctx, const struct task *task), void *ctx);
struct task_counts {
    size_t pending, running;
    uint64_t done[3][2];         /* kind; completed, failed */
    struct histogram time[3][2]; /* their durations, from created to ended */
};
void tasks_counts(const struct tasks *t, struct task_counts *ret);

#endif
