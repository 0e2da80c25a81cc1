/* Life of the engine, and one run of it. */
#include "core/engine_priv.h"

enum { STEPS_PER_RUN = 2000 };

uint64_t eng_now(const struct engine *g)
{
    return clock_mono_ms(g->clock);
}

int64_t eng_wall(const struct engine *g)
{
    return clock_real_ns(g->clock);
}

void eng_wake(struct engine *g, uint64_t at_ms)
{
    if (g->told || at_ms >= g->woken_ms)
        return;
    g->woken_ms = at_ms;
    if (!g->in_run) /* else at its end, once for all */
        g->wake(g->ctx, at_ms);
}

void eng_event(struct engine *g, const struct item *w, const char *type, const char *from,
               const char *to, struct slice reason, const char *message)
{
    struct event ev = {.kind = "workload",
                       .name = item_id(w),
                       .type = type,
                       .from = slice_of(from),
                       .to = slice_of(to),
                       .reason = reason,
                       .message = slice_of(message),
                       .who = w->now != NULL ? intent_who(w->now) : (struct slice){0},
                       .revision = w->now != NULL ? intent_revision(w->now) : (struct slice){0}};
    event_publish(g->events, &ev);
}

/* ---- options */

#define FILL(member, usual) l->member = l->member == 0 ? (usual) : l->member

void limits_fill(struct engine_limits *l)
{
    FILL(max_workloads, 200000);
    FILL(max_acts, 10);
    FILL(max_looks, 32);
    FILL(pass_ms, 30000);
    FILL(gc_ms, 300000);
    FILL(orphan_ms, 1800000);
    FILL(max_orphans, 10);
    FILL(pending_ms, 300000);
    FILL(lock_poll_ms, 1000);
    FILL(late_ms, 10000);
    FILL(retry.max_attempts, 3);
    FILL(retry.first_ms, 5000);
    FILL(retry.most_ms, 120000);
    FILL(retry.steady_ms, 60000);
    if (l->retry.jitter_percent > 100)
        l->retry.jitter_percent = 100;
}

void engine_set_limits(struct engine *g, const struct engine_limits *l)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    g->lim = *l;
    limits_fill(&g->lim);
    if (!g->running)
        return;
    uint64_t now = eng_now(g);
    g->pass_ms = g->pass_ms < now + g->lim.pass_ms ? g->pass_ms : now + g->lim.pass_ms;
    g->gc_ms = g->gc_ms < now + g->lim.gc_ms ? g->gc_ms : now + g->lim.gc_ms;
    eng_wake(g, 0);
}

void engine_set_draining(struct engine *g, bool draining)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    g->draining = draining;
}

/* ---- what drivers tell by themselves */

static void on_changed(void *ctx, struct slice id)
{
    struct runtime *rt = ctx;
    struct item *w = item_find(rt->g, id);
    if (w == NULL || w->now == NULL || w->now->type != rt->type || rt->g->stopping)
        return;
    /* Much of what is told are our own acts. The look comes after what is to be done, if anything;
     * acts look for themselves. */
    w->look_after = true;
    if (w->act == NULL)
        item_ready(w);
    else if (!item_busy(w)) /* that may take long, and does nothing to it */
        look_want(w);
}

static void on_reachable(void *ctx, bool up)
{
    struct runtime *rt = ctx;
    if (rt->g->stopping)
        return;
    if (up)
        runtime_up(rt);
    else
        runtime_down(rt);
}

/* ---- beginning */

static int tries_load(struct item *w, const struct stored_workload *row)
{
    struct engine *g = w->g;
    struct tries *t = &w->tries;
    t->count = row->attempts;
    t->reason = (uint8_t)row->reason;
    t->terminal = (row->flags & STORED_TERMINAL) != 0;
    t->last_ns = row->last_failure_ns;
    t->next_ns = row->next_try_ns;
    if (row->failure.len > 0 && (t->text = mem_strndup(row->failure.p, row->failure.len)) == NULL)
        return ERR_NO_MEMORY;
    int64_t wait = (row->next_try_ns - eng_wall(g)) / (int64_t)NS_PER_MS;
    int64_t most = (int64_t)g->lim.retry.most_ms * 2; /* a clock that jumped costs no more */
    if (row->next_try_ns != 0 && wait > 0) {
        t->next_ms = eng_now(g) + (uint64_t)(wait < most ? wait : most);
        slot_set(w, SLOT_RETRY, t->next_ms);
    }
    if (t->terminal && g->lim.failed_ttl_ms > 0)
        slot_set(w, SLOT_LOOK, eng_now(g) + g->lim.failed_ttl_ms);
    return 0;
}

static int load_rules(struct engine *g, const struct stored_workload *row, struct rules **ret)
{
    struct workload_doc doc;
    struct err e = {0};
    int rc = workload_doc_load(&doc, row->id, row->type, row->doc, &g->sealer, &e);
    if (rc == 0)
        rc = rules_new(ret, &doc);
    workload_doc_done(&doc);
    /* A document that cannot be opened fails when it is to be acted on, and says why then. */
    return rc == ERR_NO_MEMORY ? rc : 0;
}

struct loading {
    struct engine *g;
    struct err *e;
};

/* It is left where it is. Whose objects are not known is not known either from now on, so that none
 * is removed as nobody's. */
static void on_bad_row(void *ctx, struct slice id, const char *why)
{
    struct engine *g = ((struct loading *)ctx)->g;
    struct event ev = {
        .kind = "workload", .name = id, .type = "unreadable", .message = slice_of(why)};
    g->spare_orphans = true;
    event_publish(g->events, &ev);
}

static int on_row(void *ctx, const struct stored_workload *row)
{
    struct loading *l = ctx;
    struct engine *g = l->g;
    struct rules *rules = NULL;
    struct intent *n = NULL;
    struct item *w = NULL;
    if ((unsigned)row->type >= WORKLOAD_TYPES || row->type == WORKLOAD_NONE) {
        on_bad_row(l, row->id, "its type is not known");
        return 0;
    }
    int rc = (row->flags & STORED_RULES) != 0 ? load_rules(g, row, &rules) : 0;
    if (rc == 0)
        rc = intent_new(&n, row, rules);
    if (rc != 0) {
        rules_unref(rules);
        return err_set(l->e, rc, "out of memory");
    }
    rc = item_new(g, row->id, &w, l->e);
    if (rc != 0) {
        intent_unref(n);
        return rc;
    }
    w->now = n;
    w->fresh = true;
    w->first_look = true;
    w->unsure = true;
    w->strays = (uint8_t)(intent_were(n) & ~(1u << n->type));
    w->ordered = (n->flags & (STORED_FORCED | STORED_RESTART)) != 0;
    w->restart = (n->flags & STORED_RESTART) != 0;
    w->actual = ACTUAL_UNKNOWN;
    w->wait = WAIT_LOOK;
    w->cause = n->cause;
    w->changed_ns = eng_wall(g);
    g->stats.workloads[n->type][ACTUAL_UNKNOWN]++;
    rc = tries_load(w, row);
    if (rc == 0 && n->rules != NULL)
        rc = depends_link(w, n->rules);
    return rc == 0 ? 0 : err_set(l->e, rc, "out of memory");
}

static void runtimes_init(struct engine *g)
{
    for (int t = 0; t < WORKLOAD_TYPES; t++) {
        struct runtime *rt = &g->runtimes[t];
        rt->g = g;
        rt->type = (enum workload_type)t;
        rt->up = true;
        if (g->drivers[t].ops == NULL)
            continue;
        rt->driver = &g->drivers[t];
        rt->watcher = (struct driver_watcher){on_changed, on_reachable, rt};
        rt->driver->ops->watch(rt->driver->self, &rt->watcher);
    }
}

int engine_new(struct engine **ret, const struct engine_options *o, struct err *e)
{
    struct engine *g = mem_zalloc(sizeof(*g));
    if (g == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *g = (struct engine){.magic = ENGINE_MAGIC,
                         .clock = o->clock,
                         .store = o->store,
                         .sealer = o->sealer,
                         .prober = o->prober,
                         .host = o->host,
                         .events = o->events,
                         .tasks = o->tasks,
                         .lim = o->limits,
                         .node_id = slice_of(o->node_id),
                         .lock_roots = o->lock_roots,
                         .n_lock_roots = o->n_lock_roots,
                         .wake = o->wake,
                         .ctx = o->ctx,
                         .woken_ms = NEVER,
                         .stop_ms = NEVER};
    memcpy(g->drivers, o->drivers, sizeof(g->drivers));
    limits_fill(&g->lim);
    struct list_node *lists[] = {&g->ready, &g->make, &g->shorts, &g->to_look, &g->acts, &g->looks};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    map_init(&g->targets);
    map_init(&g->orphans);
    struct loading l = {g, e};
    g->in_run = true; /* nobody is woken before there is an engine */
    int rc = g->store.ops->load(g->store.self, on_row, on_bad_row, &l, e);
    g->in_run = false;
    if (rc != 0) {
        engine_free(g);
        return rc;
    }
    runtimes_init(g);
    g->pass_ms = eng_now(g);
    g->gc_ms = eng_now(g) + g->lim.gc_ms;
    g->woken_ms = NEVER;
    eng_wake(g, g->pass_ms);
    *ret = g;
    return 0;
}

/* ---- one run */

static void stop_run(struct engine *g)
{
    if (eng_now(g) < g->stop_ms) {
        eng_wake(g, g->stop_ms);
        return;
    }
    g->stop_ms = NEVER;
    LIST_FOR_SAFE (n, &g->acts)
        act_cancel(CONTAINER_OF(n, struct act, link)->w);
    gc_cancel(g);
}

static void deadlines(struct engine *g)
{
    uint64_t now = eng_now(g);
    for (struct item *w; (w = heap_top(g)) != NULL && w->due <= now;) {
        unsigned fired = slots_take(w, now);
        /* Its step looks at the clock itself; only two of them say more than "think again". */
        if ((fired >> SLOT_LOOK & 1u) != 0)
            w->due_look = true;
        if ((fired >> SLOT_HEALTH & 1u) != 0)
            w->due_probe = true;
        item_ready(w);
    }
}

void engine_run(struct engine *g)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    if (g->in_run || g->told)
        return;
    g->in_run = true;
    g->running = true;
    g->woken_ms = NEVER;
    if (g->stopping) {
        stop_run(g);
    } else {
        pass_run(g);
        deadlines(g);
        unsigned n = 0;
        while (!list_empty(&g->ready) && n++ < STEPS_PER_RUN) {
            struct item *w = CONTAINER_OF(list_first(&g->ready), struct item, link);
            item_queue(w, QUEUE_NONE);
            item_step(w);
        }
        acts_from_queues(g);
        looks_begin(g);
        gc_run(g);
        if (!list_empty(&g->ready))
            eng_wake(g, 0);
        if (heap_top(g) != NULL)
            eng_wake(g, heap_top(g)->due);
    }
    g->in_run = false;
    if (g->woken_ms != NEVER && !g->told)
        g->wake(g->ctx, g->woken_ms);
    eng_check_stopped(g);
}

void engine_look(struct engine *g)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    for (int t = 0; t < WORKLOAD_TYPES; t++)
        g->runtimes[t].wanted = true;
    eng_wake(g, 0);
}

/* ---- the end */

static bool looking(const struct engine *g)
{
    for (int t = 0; t < WORKLOAD_TYPES; t++)
        if (g->runtimes[t].listing != NULL)
            return true;
    return g->n_looks > 0;
}

void eng_check_stopped(struct engine *g)
{
    if (!g->stopping || g->told || g->in_run || g->n_acts > 0 || g->n_removing > 0 ||
        g->commits > 0)
        return;
    /* Looks change nothing: they are waited for until the limit, and forgotten after it. */
    if (g->stop_ms != NEVER && looking(g))
        return;
    g->told = true;
    if (g->stopped != NULL)
        g->stopped(g->stopped_ctx);
}

void engine_stop(struct engine *g, uint64_t limit_ms, void (*done)(void *ctx), void *ctx)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    g->stopping = true;
    g->stopped = done;
    g->stopped_ctx = ctx;
    g->stop_ms = eng_now(g) + limit_ms;
    for (int t = 0; t < WORKLOAD_TYPES; t++)
        if (g->runtimes[t].driver != NULL)
            g->drivers[t].ops->watch(g->drivers[t].self, NULL);
    for (uint32_t i = 0; i < g->n_order; i++)
        if (g->order[i] != NULL)
            health_end(g->order[i]);
    g->woken_ms = NEVER;
    eng_wake(g, 0);
}

void engine_free(struct engine *g)
{
    if (g == NULL)
        return;
    CHECK_MAGIC(g, ENGINE_MAGIC);
    for (int t = 0; t < WORKLOAD_TYPES; t++) {
        struct runtime *rt = &g->runtimes[t];
        if (rt->driver != NULL && !g->stopping)
            rt->driver->ops->watch(rt->driver->self, NULL);
        if (rt->listing != NULL)
            rt->listing->g = NULL; /* its answer may still come, and frees it */
    }
    LIST_FOR_SAFE (n, &g->looks) {
        struct look *l = CONTAINER_OF(n, struct look, link);
        list_remove(n);
        if (l->w != NULL)
            l->w->look = NULL;
        l->g = NULL;
    }
    LIST_FOR_SAFE (n, &g->acts) {
        struct act *a = CONTAINER_OF(n, struct act, link);
        list_remove(n);
        a->g = NULL;
    }
    for (struct map_entry *x = map_first(&g->orphans); x != NULL; x = map_next(x)) {
        struct orphan *o = map_value(x);
        if (o->removing)
            o->g = NULL;
        else
            mem_free(o);
    }
    map_done(&g->orphans, NULL);
    while (g->n_order > 0) {
        if (g->order[g->n_order - 1] == NULL)
            g->n_order--;
        else
            item_free(g->order[g->n_order - 1]);
    }
    map_done(&g->targets, NULL);
    mem_free(g->buckets);
    mem_free(g->order);
    mem_free(g->heap);
    g->magic = 0;
    mem_free(g);
}
