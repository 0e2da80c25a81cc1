/* loop.c: the event loop, deferred calls, timers and deadline classes. */
#include "net/loop.h"

#include "base/mem.h"
#include "net/loop_priv.h"
#include "net/stream_queue.h"
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum {
    READ_BUFFER = 65536,
    PLAIN_MAX = 4 << 20,  /* decrypted bytes of one read; TLS records are smaller by far */
    WATCHERS_MAX = 65536, /* descriptors that can be watched without an allocation */
    DEADLINE_STEP_MS = 250,
};

/* Room for libuv's table of watchers, see below. */
struct table {
    struct table *next;
    void *block;
    size_t size;
};

struct loop {
    uv_loop_t uv;
    struct table table;
    const struct clock *clock;
    uv_check_t check; /* runs tasks right after the callbacks that posted them */
    uv_idle_t idle;   /* active while tasks wait: keeps the loop from sleeping on them */
    struct list_node tasks;
    uint64_t date_until_ms;
    char date[HTTP_DATE_SIZE];
    struct buf plain;
    struct out_pool pool;
    char *read_buffer;
};

static void run_tasks(struct loop *l)
{
    struct list_node now;

    /* What tasks post waits for the next round, so that they cannot starve the sockets. */
    list_init(&now);
    while (!list_empty(&l->tasks)) {
        struct list_node *n = list_first(&l->tasks);
        list_remove(n);
        list_push_back(&now, n);
    }
    while (!list_empty(&now)) {
        struct loop_task *t = CONTAINER_OF(list_first(&now), struct loop_task, link);
        list_remove(&t->link);
        t->fn(t);
    }
    if (list_empty(&l->tasks))
        uv_idle_stop(&l->idle);
}

static void on_check(uv_check_t *h)
{
    struct loop *l = h->data;

    if (!list_empty(&l->tasks))
        run_tasks(l);
}

static void on_idle(uv_idle_t *h)
{
    run_tasks(h->data);
}

void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *t))
{
    list_init(&t->link);
    t->fn = fn;
}

void loop_post(struct loop *l, struct loop_task *t)
{
    if (!list_empty(&t->link))
        return;
    list_push_back(&l->tasks, &t->link);
    uv_idle_start(&l->idle, on_idle);
}

void loop_task_cancel(struct loop_task *t)
{
    list_remove(&t->link);
}

struct deferred {
    struct loop_task task;
    void (*fn)(void *ctx);
    void *ctx;
};

static void run_deferred(struct loop_task *t)
{
    struct deferred d = *CONTAINER_OF(t, struct deferred, task);

    mem_free(CONTAINER_OF(t, struct deferred, task));
    d.fn(d.ctx);
}

int loop_defer(struct loop *l, void (*fn)(void *ctx), void *ctx)
{
    struct deferred *d = mem_alloc(sizeof(*d));

    if (d == NULL)
        return ERR_NO_MEMORY;
    loop_task_init(&d->task, run_deferred);
    d->fn = fn;
    d->ctx = ctx;
    loop_post(l, &d->task);
    return 0;
}

char *loop_read_buffer(struct loop *l, size_t *size)
{
    *size = READ_BUFFER;
    return l->read_buffer;
}

struct buf *loop_plain_buffer(struct loop *l)
{
    return &l->plain;
}

struct out_pool *loop_out_pool(struct loop *l)
{
    return &l->pool;
}

/* ---- libuv's memory ----
 *
 * libuv keeps one pointer for each descriptor number, lets that table grow when a higher number
 * comes, and aborts if it cannot. So the table gets its final size when the loop is made, when a
 * failure can still be reported; growing then finds the room there. The pages that are not used
 * cost nothing. */

static struct table *tables; /* of all loops */

static void *libuv_realloc(void *p, size_t size)
{
    for (struct table *t = tables; t != NULL; t = t->next) {
        if (p != NULL && p == t->block && size > 0 && size <= t->size)
            return p;
    }
    return mem_realloc(p, size);
}

/* The first call of realloc while a loop is made is the one for its table. */
static struct table *table_wanted;

static void *libuv_realloc_first(void *p, size_t size)
{
    if (p == NULL && table_wanted != NULL && size <= table_wanted->size) {
        p = table_wanted->block;
        table_wanted = NULL;
        return p;
    }
    return libuv_realloc(p, size);
}

static size_t table_size(void)
{
    struct rlimit lim;
    size_t n = 64;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur > WATCHERS_MAX)
        lim.rlim_cur = WATCHERS_MAX;
    while (n < lim.rlim_cur + 2)
        n *= 2; /* as libuv rounds it */
    return n * sizeof(void *);
}

static void steer_libuv(void)
{
    static bool done;

    if (done)
        return;
    done = true;
    (void)uv_replace_allocator(mem_alloc, libuv_realloc_first, mem_calloc, mem_free);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void table_remove(struct table *t)
{
    for (struct table **at = &tables; *at != NULL; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            return;
        }
    }
}

static int init_libuv(struct loop *l)
{
    l->table.size = table_size();
    l->table.block = mem_alloc(l->table.size);
    if (l->table.block == NULL)
        return UV_ENOMEM;
    l->table.next = tables;
    tables = &l->table;
    table_wanted = &l->table;
    int rc = uv_loop_init(&l->uv);
    bool taken = table_wanted == NULL;
    table_wanted = NULL;
    if (rc != 0)
        table_remove(&l->table);
    if (!taken)
        mem_free(l->table.block); /* else libuv frees it */
    return rc;
}

int loop_new(struct loop **ret, const struct clock *clock, struct err *e)
{
    steer_libuv();
    struct loop *l = mem_zalloc(sizeof(*l));
    char *rb = mem_alloc(READ_BUFFER);
    int rc = l == NULL || rb == NULL ? UV_ENOMEM : init_libuv(l);
    if (rc != 0) {
        mem_free(l);
        mem_free(rb);
        return err_sys(e, rc, "cannot make an event loop");
    }
    l->clock = clock;
    l->read_buffer = rb;
    l->uv.data = l;
    list_init(&l->tasks);
    buf_init(&l->plain, PLAIN_MAX);
    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    l->check.data = l->idle.data = l;
    uv_check_start(&l->check, on_check);
    uv_unref((uv_handle_t *)&l->check);
    *ret = l;
    return 0;
}

int loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return 0;
}

bool loop_run_once(struct loop *l, bool wait)
{
    return uv_run(&l->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT) != 0;
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

void loop_hold_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int loop_work(struct loop *l, uv_work_t *w, uv_work_cb fn, uv_after_work_cb after)
{
    sigset_t all, old;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_queue_work(&l->uv, w, fn, after); /* the first one makes the pool */
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int loop_thread(uv_thread_t *ret, uv_thread_cb fn, void *arg)
{
    sigset_t all, old;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_thread_create(ret, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    INVARIANT(list_empty(&l->tasks));
    int rc = uv_loop_close(&l->uv);
    INVARIANT(rc == 0);
    table_remove(&l->table);
    buf_done(&l->plain);
    out_pool_done(&l->pool);
    mem_free(l->read_buffer);
    mem_free(l);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

const struct clock *loop_clock(struct loop *l)
{
    return l->clock;
}

uint64_t loop_now_ms(struct loop *l)
{
    return uv_now(&l->uv);
}

struct slice loop_http_date(struct loop *l)
{
    if (uv_now(&l->uv) >= l->date_until_ms) {
        int64_t now = clock_real_ns(l->clock);
        uint64_t into_second = (uint64_t)(now % (int64_t)NS_PER_S) / NS_PER_MS;
        time_format_http(l->date, now);
        l->date_until_ms = uv_now(&l->uv) + 1000 - (into_second < 1000 ? into_second : 0);
    }
    return (struct slice){l->date, HTTP_DATE_SIZE - 1};
}

static void on_timer(uv_timer_t *h)
{
    struct loop_timer *t = h->data;

    t->fn(t->ctx);
}

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *ctx), void *ctx)
{
    *t = (struct loop_timer){.fn = fn, .ctx = ctx};
    uv_timer_init(&l->uv, &t->uv); /* cannot fail */
    t->uv.data = t;
    return 0;
}

void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
    uv_timer_start(&t->uv, on_timer, after_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
    uv_timer_stop(&t->uv);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct loop_timer *t = h->data;

    if (t->closed != NULL)
        t->closed(t->ctx);
}

void loop_timer_close(struct loop_timer *t, void (*closed)(void *ctx))
{
    t->closed = closed;
    uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}

struct deadline_class {
    struct loop *loop;
    uv_timer_t timer; /* unreferenced: deadlines alone do not keep a loop running */
    uint64_t timeout_ms;
    void (*fn)(struct deadline *d);
    struct list_node armed; /* in the order in which they expire */
};

static void on_deadlines(uv_timer_t *h)
{
    struct deadline_class *c = h->data;
    uint64_t now = uv_now(&c->loop->uv);
    struct list_node due;

    /* Taken out first: fn may arm and disarm others, this class's included. */
    list_init(&due);
    while (!list_empty(&c->armed)) {
        struct deadline *d = CONTAINER_OF(list_first(&c->armed), struct deadline, link);
        if (d->at_ms > now)
            break;
        list_remove(&d->link);
        list_push_back(&due, &d->link);
    }
    while (!list_empty(&due)) {
        struct deadline *d = CONTAINER_OF(list_first(&due), struct deadline, link);
        list_remove(&d->link);
        c->fn(d);
    }
    if (list_empty(&c->armed) || uv_is_active((uv_handle_t *)h))
        return;
    uint64_t next = CONTAINER_OF(list_first(&c->armed), struct deadline, link)->at_ms;
    uint64_t wait = next > now ? next - now : 0;
    uv_timer_start(h, on_deadlines, wait > DEADLINE_STEP_MS ? wait : DEADLINE_STEP_MS, 0);
}

int deadline_class_new(struct deadline_class **ret, struct loop *l, uint64_t timeout_ms,
                       void (*fn)(struct deadline *d))
{
    struct deadline_class *c = mem_zalloc(sizeof(*c));

    if (c == NULL)
        return ERR_NO_MEMORY;
    c->loop = l;
    c->timeout_ms = timeout_ms;
    c->fn = fn;
    list_init(&c->armed);
    uv_timer_init(&l->uv, &c->timer);
    uv_unref((uv_handle_t *)&c->timer);
    c->timer.data = c;
    *ret = c;
    return 0;
}

void deadline_class_set(struct deadline_class *c, uint64_t timeout_ms)
{
    uint64_t now = uv_now(&c->loop->uv);
    uint64_t old_ms = c->timeout_ms;

    if (old_ms == timeout_ms)
        return;
    c->timeout_ms = timeout_ms;
    LIST_FOR (n, &c->armed) { /* their order stays: all move by the same time */
        struct deadline *d = CONTAINER_OF(n, struct deadline, link);
        uint64_t began = d->at_ms - old_ms;
        d->at_ms = began + timeout_ms;
    }
    if (list_empty(&c->armed))
        return;
    uint64_t next = CONTAINER_OF(list_first(&c->armed), struct deadline, link)->at_ms;
    uv_timer_start(&c->timer, on_deadlines, next > now ? next - now : 0, 0);
}

static void on_class_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

void deadline_class_free(struct deadline_class *c)
{
    if (c == NULL)
        return;
    INVARIANT(list_empty(&c->armed));
    uv_ref((uv_handle_t *)&c->timer); /* so that the loop runs until it is closed */
    uv_close((uv_handle_t *)&c->timer, on_class_closed);
}

void deadline_init(struct deadline *d)
{
    list_init(&d->link);
    d->at_ms = 0;
}

void deadline_arm(struct deadline_class *c, struct deadline *d)
{
    list_remove(&d->link);
    d->at_ms = uv_now(&c->loop->uv) + c->timeout_ms;
    list_push_back(&c->armed, &d->link);
    if (!uv_is_active((uv_handle_t *)&c->timer))
        uv_timer_start(&c->timer, on_deadlines, c->timeout_ms, 0);
}

void deadline_disarm(struct deadline *d)
{
    list_remove(&d->link);
}
