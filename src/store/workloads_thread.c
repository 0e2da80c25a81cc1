/* The store's thread: commits in groups, checkpoints and copies between them. */
#include "store/workloads_priv.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    GROUP_MAX = 1024, /* commits in one transaction */
    LOG_LARGE = 1024, /* pages of 4 KiB: brought into the file at the next moment */
    LOG_IDLE = 64,    /* so many when nothing has happened for IDLE_S */
    IDLE_S = 5,
    COPY_PAGES = 64,
};

/* --- commits --- */

static int write_job(struct db *d, const struct store_job *j, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < j->n && rc == 0; i++) {
        const struct store_change *c = &j->changes[i];
        switch (c->op) {
        case STORE_PUT:
            rc = db_put(d, &c->w, e);
            break;
        case STORE_REMOVE:
            rc = db_remove(d, c->w.id, e);
            break;
        case STORE_THING_PUT:
            rc = db_thing_put(d, c->table, c->w.id, c->w.doc, e);
            break;
        case STORE_THING_REMOVE:
            rc = db_thing_remove(d, c->table, c->w.id, e);
            break;
        }
    }
    return rc;
}

/* The jobs from `first` up to `end` as one transaction. */
static int write_group(struct db *d, struct list_node *first, struct list_node *end, struct err *e)
{
    int rc = db_begin(d, e);
    for (struct list_node *n = first; n != end && rc == 0; n = n->next)
        rc = write_job(d, CONTAINER_OF(n, struct store_job, link), e);
    if (rc == 0)
        rc = db_commit(d, e);
    if (rc != 0)
        db_rollback(d);
    return rc;
}

/* A transaction that failed may have left its end in the log, behind that of the one that takes its
 * place: the log begins anew, so that nobody takes it for more than that. */
static void forget_failed(struct db *d)
{
    struct err e = {0};
    (void)db_checkpoint(d, true, &e); /* without room it is tried at the next failure */
}

static void write_jobs(struct db *d, struct list_node *jobs)
{
    struct err e = {0};
    if (write_group(d, jobs->next, jobs, &e) == 0)
        return;
    forget_failed(d);
    bool alone = jobs->next->next == jobs;
    LIST_FOR (n, jobs) {
        struct store_job *j = CONTAINER_OF(n, struct store_job, link);
        if (alone) {
            j->e = e;
        } else if (write_group(d, n, n->next, &j->e) != 0) {
            forget_failed(d);
        }
    }
}

/* Moves at most GROUP_MAX. With the lock held. */
static size_t take_jobs(struct workloads *w, struct list_node *jobs)
{
    size_t n = 0;
    for (; n < GROUP_MAX && !list_empty(&w->waiting); n++) {
        struct list_node *first = w->waiting.next;
        list_remove(first);
        list_push_back(jobs, first);
    }
    return n;
}

/* With the lock held. */
static void give_back(struct workloads *w, struct list_node *jobs)
{
    while (!list_empty(jobs)) {
        struct list_node *first = jobs->next;
        bool failed = CONTAINER_OF(first, struct store_job, link)->e.code != 0;
        w->failures += failed;
        w->commits += !failed;
        list_remove(first);
        list_push_back(&w->done, first);
    }
    w->rows = db_rows(w->db);
}

/* --- copies --- */

/* The copy has a name only while it is made. */
static int open_copy(const char *name, struct copy_job *c)
{
    c->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int sys = errno;
    (void)unlink(name);
    return c->fd >= 0 ? 0 : err_sys(&c->e, sys, "cannot open \"%.200s\"", name);
}

/* One step; true when it is over, well or not. */
static bool copy_step(struct workloads *w, struct copy_job *c)
{
    char name[WORKLOADS_NAME_MAX];
    bool more = false;
    (void)workloads_name(name, w->path, ".backup"); /* it fits: workloads_new has tried */
    int rc = c->copy != NULL ? 0 : db_copy_new(&c->copy, w->db, name, &c->e);
    if (rc == 0)
        rc = db_copy_step(c->copy, COPY_PAGES, &more, &c->e);
    if (rc == 0 && more)
        return false;
    if (c->copy != NULL) {
        int end = db_copy_end(c->copy, rc == 0, &c->e);
        rc = rc != 0 ? rc : end;
    }
    c->copy = NULL;
    if (rc == 0)
        (void)open_copy(name, c);
    return true;
}

static void copy_go_on(struct workloads *w, struct copy_job *c)
{
    if (!copy_step(w, c))
        return;
    uv_mutex_lock(&w->lock);
    w->copy = NULL;
    w->copied = c;
    (void)uv_async_send(&w->wake);
    uv_mutex_unlock(&w->lock);
}

/* --- the thread --- */

/* Waits for something to do. With the lock held. True: nothing came for a while, and the log is not
 * empty. */
static bool wait_for_work(struct workloads *w)
{
    while (list_empty(&w->waiting) && w->copy == NULL && !w->stopping) {
        if (db_log_pages(w->db) < LOG_IDLE)
            uv_cond_wait(&w->work, &w->lock);
        else if (uv_cond_timedwait(&w->work, &w->lock, IDLE_S * NS_PER_S) == UV_ETIMEDOUT)
            return true;
    }
    return false;
}

static void tidy(struct workloads *w, bool idle)
{
    size_t pages = db_log_pages(w->db);
    struct err e = {0};
    if (pages < (idle ? LOG_IDLE : LOG_LARGE))
        return;
    (void)db_checkpoint(w->db, false, &e); /* what is in the log is safe there */
    uint64_t bytes = db_bytes(w->db);
    uv_mutex_lock(&w->lock);
    w->bytes = bytes;
    uv_mutex_unlock(&w->lock);
}

void workloads_run(void *arg)
{
    struct workloads *w = arg;
    bool go_on = true;
    while (go_on) {
        struct list_node jobs;
        list_init(&jobs);
        uv_mutex_lock(&w->lock);
        bool idle = wait_for_work(w);
        size_t n = take_jobs(w, &jobs);
        struct copy_job *copy = w->copy;
        go_on = n > 0 || copy != NULL || !w->stopping;
        uv_mutex_unlock(&w->lock);
        if (n > 0) {
            write_jobs(w->db, &jobs);
            uv_mutex_lock(&w->lock);
            give_back(w, &jobs);
            uv_mutex_unlock(&w->lock);
            (void)uv_async_send(&w->wake);
        }
        if (copy != NULL)
            copy_go_on(w, copy);
        else
            tidy(w, idle);
    }
}
