/* The loop's side of the store: copies of what is to be written, callbacks, the queue's limits. */
#include "store/workloads.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/workloads_priv.h"

#include <string.h>

enum { MAX_WAITING = 4096, MAX_BYTES = 64 << 20, CHANGES_MAX = 100000, BAD_TOLD_MAX = 20 };

/* --- copying --- */

/* The texts of a row, in the order in which they are copied. */
enum { TEXTS = 6 };
static void texts_of(struct stored_workload *w, struct slice *ret[TEXTS])
{
    struct slice *const all[TEXTS] = {&w->id,    &w->revision, &w->doc,
                                      &w->print, &w->who,      &w->failure};
    memcpy(ret, all, sizeof(all));
}

static bool is_put(const struct store_change *c)
{
    return c->op == STORE_PUT || c->op == STORE_THING_PUT;
}

static size_t room_of(const struct store_change *changes, size_t n)
{
    size_t room = sizeof(struct store_job) + n * sizeof(*changes);
    for (size_t i = 0; i < n; i++) {
        struct slice *texts[TEXTS];
        struct stored_workload w = changes[i].w;
        texts_of(&w, texts);
        for (size_t k = 0; k < (is_put(&changes[i]) ? TEXTS : 1); k++)
            room += texts[k]->len;
    }
    return room;
}

static struct store_job *job_new(const struct store_change *changes, size_t n, size_t room)
{
    struct store_job *j = mem_zalloc(room);
    if (j == NULL)
        return NULL;
    j->bytes = room;
    j->n = n;
    char *at = (char *)&j->changes[n];
    for (size_t i = 0; i < n; i++) {
        struct slice *texts[TEXTS];
        struct store_change *c = &j->changes[i];
        bool put = is_put(&changes[i]);
        c->op = changes[i].op;
        c->table = changes[i].table;
        if (put)
            c->w = changes[i].w;
        c->w.id = changes[i].w.id;
        texts_of(&c->w, texts);
        for (size_t k = 0; k < (put ? TEXTS : 1); k++) {
            if (texts[k]->len > 0)
                memcpy(at, texts[k]->p, texts[k]->len);
            texts[k]->p = at;
            at += texts[k]->len;
        }
    }
    return j;
}

/* --- callbacks --- */

static void tell_copied(struct workloads *w)
{
    uv_mutex_lock(&w->lock);
    struct copy_job *c = STEAL(w->copied);
    uv_mutex_unlock(&w->lock);
    if (c == NULL)
        return;
    c->fn(c->ctx, &c->e, c->fd);
    mem_free(c);
}

static void tell_done(struct workloads *w)
{
    struct list_node jobs;
    list_init(&jobs);
    uv_mutex_lock(&w->lock);
    while (!list_empty(&w->done)) {
        struct list_node *first = w->done.next;
        list_remove(first);
        list_push_back(&jobs, first);
        w->n_waiting--;
        w->bytes_waiting -= CONTAINER_OF(first, struct store_job, link)->bytes;
    }
    uv_mutex_unlock(&w->lock);
    /* A callback may commit again, and may free the store when it was the last. */
    while (!list_empty(&jobs)) {
        struct store_job *j = CONTAINER_OF(jobs.next, struct store_job, link);
        list_remove(&j->link);
        j->fn(j->ctx, &j->e);
        mem_free(j);
    }
}

static void on_wake(uv_async_t *h)
{
    struct workloads *w = h->data;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    tell_copied(w);
    tell_done(w);
}

/* --- core/workload_store.h --- */

struct loading {
    int (*fn)(void *ctx, const struct stored_workload *w);
    void (*bad)(void *ctx, struct slice id, const char *why);
    void *ctx;
    size_t n_told;
};

static int load_row(void *ctx, const struct stored_workload *w)
{
    const struct loading *l = ctx;
    return l->fn != NULL ? l->fn(l->ctx, w) : 0;
}

static void load_bad(void *ctx, struct slice id, const char *why)
{
    struct loading *l = ctx;
    if (l->n_told++ < BAD_TOLD_MAX)
        LOG(ERROR, "store", "store-row-unreadable",
            "a row of the store cannot be read and is left as it is: gantryd --check-store names "
            "all of them",
            LF_SLICE("workload", id), LF_STR("why", why));
    if (l->bad != NULL)
        l->bad(l->ctx, id, why);
}

static int op_load(void *self, int (*fn)(void *ctx, const struct stored_workload *w),
                   void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                   struct err *e)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    INVARIANT(!w->has_thread);
    struct loading l = {fn, bad, ctx, 0};
    int rc = db_load(w->db, load_row, load_bad, &l, &w->n_bad, e);
    w->loaded = rc == 0;
    w->rows = db_rows(w->db);
    return rc;
}

static int op_things(void *self, enum store_table t,
                     int (*fn)(void *ctx, struct slice id, struct slice body),
                     void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                     struct err *e)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    INVARIANT(!w->has_thread);
    size_t n_bad;
    return db_things(w->db, t, fn, bad, ctx, &n_bad, e);
}

static int start_thread(struct workloads *w)
{
    if (w->has_thread)
        return 0;
    if (!w->loaded && op_load(w, NULL, NULL, NULL, &(struct err){0}) != 0)
        return ERR_STATE; /* what is damaged is not written to */
    if (loop_thread(&w->thread, workloads_run, w) != 0)
        return ERR_NO_MEMORY;
    w->has_thread = true;
    return 0;
}

static int op_commit(void *self, const struct store_change *changes, size_t n, store_done_fn fn,
                     void *ctx)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    if (n > CHANGES_MAX)
        return ERR_LIMIT;
    size_t room = room_of(changes, n);
    uv_mutex_lock(&w->lock);
    bool full = w->n_waiting >= w->max_waiting ||
                (w->n_waiting > 0 && room > w->max_bytes - w->bytes_waiting);
    uv_mutex_unlock(&w->lock);
    if (full || room > w->max_bytes)
        return full ? ERR_BUSY : ERR_LIMIT;
    int rc = start_thread(w);
    struct store_job *j = rc == 0 ? job_new(changes, n, room) : NULL;
    if (j == NULL)
        return rc != 0 ? rc : ERR_NO_MEMORY;
    j->fn = fn;
    j->ctx = ctx;
    uv_mutex_lock(&w->lock);
    list_push_back(&w->waiting, &j->link);
    w->n_waiting++;
    w->bytes_waiting += room;
    uv_mutex_unlock(&w->lock);
    uv_cond_signal(&w->work); /* after the lock: who wakes up finds it free */
    return 0;
}

static bool op_trusted(void *self)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    return w->loaded && w->n_bad == 0;
}

static void op_stats(void *self, struct store_stats *ret)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    uv_mutex_lock(&w->lock);
    *ret = (struct store_stats){.commits = w->commits,
                                .rows = w->rows,
                                .failures = w->failures,
                                .bytes = w->bytes,
                                .waiting = w->n_waiting};
    uv_mutex_unlock(&w->lock);
}

static const struct workload_store_ops store_ops = {.load = op_load,
                                                    .commit = op_commit,
                                                    .trusted = op_trusted,
                                                    .stats = op_stats,
                                                    .things = op_things};

void workloads_store(struct workloads *w, struct workload_store *ret)
{
    *ret = (struct workload_store){.ops = &store_ops, .self = w};
}

void workloads_admin(struct workloads *w, struct store_admin *ret)
{
    *ret = (struct store_admin){.ops = &workloads_admin_ops, .self = w};
}

const char *workloads_replaced(const struct workloads *w)
{
    return w->replaced[0] != '\0' ? w->replaced : NULL;
}

/* --- beginning and end --- */

static void destroy(struct workloads *w)
{
    db_close(w->db);
    if (w->has_cond)
        uv_cond_destroy(&w->work);
    if (w->has_lock)
        uv_mutex_destroy(&w->lock);
    w->magic = 0;
    mem_free(w);
}

void workloads_settle(struct workloads *w)
{
    if (w->closed && !w->uploading)
        destroy(w);
}

static void wake_closed(uv_handle_t *h)
{
    struct workloads *w = h->data;
    w->closed = true;
    workloads_settle(w);
}

static int set_up(struct workloads *w, const struct workloads_options *o, struct err *e)
{
    struct db_options db = {.path = w->path, .vfs = o->vfs};
    int rc = workloads_put_restored(w, o->vfs, e);
    if (rc == 0)
        rc = db_open(&w->db, &db, e);
    if (rc != 0)
        return rc;
    w->bytes = db_bytes(w->db);
    w->has_lock = uv_mutex_init(&w->lock) == 0;
    w->has_cond = w->has_lock && uv_cond_init(&w->work) == 0;
    if (w->has_cond && uv_async_init(loop_uv(w->loop), &w->wake, on_wake) == 0) {
        w->wake.data = w;
        return 0;
    }
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

int workloads_new(struct workloads **ret, struct loop *l, const struct workloads_options *o,
                  struct err *e)
{
    char name[WORKLOADS_NAME_MAX];
    if (strlen(o->path) > DB_PATH_MAX || workloads_name(name, o->path, ".backup") != 0)
        return err_set(e, ERR_INVALID, "store \"%.200s\" has too long a name", o->path);
    struct workloads *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->magic = WORKLOADS_MAGIC;
    w->loop = l;
    memcpy(w->path, o->path, strlen(o->path) + 1);
    w->max_waiting = o->max_waiting != 0 ? o->max_waiting : MAX_WAITING;
    w->max_bytes = o->max_bytes != 0 ? o->max_bytes : MAX_BYTES;
    list_init(&w->waiting);
    list_init(&w->done);
    int rc = set_up(w, o, e);
    if (rc != 0) {
        destroy(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void workloads_free(struct workloads *w)
{
    if (w == NULL)
        return;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    if (w->has_thread) {
        uv_mutex_lock(&w->lock);
        w->stopping = true;
        uv_cond_signal(&w->work);
        uv_mutex_unlock(&w->lock);
        uv_thread_join(&w->thread);
        tell_copied(w);
        tell_done(w);
    }
    /* At once: whoever is told that we have gone may open the file again. */
    db_close(w->db);
    w->db = NULL;
    uv_close((uv_handle_t *)&w->wake, wake_closed);
}
