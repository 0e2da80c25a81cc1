/* Looking at everything: one list of each runtime, compared with what is known. A steady object
 * costs a look-up and a comparison, no allocation and no write. */
#include "core/engine_priv.h"

void runtime_down(struct runtime *rt)
{
    struct engine *g = rt->g;
    if (rt->wait_ms == 0 || rt->wait_ms * 2 > g->lim.pass_ms)
        rt->wait_ms = rt->wait_ms == 0 ? SOON_MS : g->lim.pass_ms;
    else
        rt->wait_ms *= 2;
    if (rt->again_ms == 0)
        rt->again_ms = eng_now(g) + rt->wait_ms;
    eng_wake(g, rt->again_ms);
    if (!rt->up)
        return;
    rt->up = false;
    rt->epoch++;
    for (uint32_t i = 0; i < g->n_order; i++) {
        struct item *w = g->order[i];
        if (w == NULL || w->now == NULL || w->now->type != rt->type)
            continue;
        w->was_up = w->was_up || (w->object.exists && w->object.actual == ACTUAL_RUNNING);
        health_end(w);
        w->absent_ms = 0; /* what it was asked for it did not do meanwhile */
        w->last_looks = false;
        if (w->actual != ACTUAL_UNKNOWN || w->task != NULL)
            item_ready(w);
    }
}

/* It answers again, or may: everything is looked at before anything is done. */
void runtime_up(struct runtime *rt)
{
    struct engine *g = rt->g;
    rt->wanted = true;
    rt->again_ms = 0;
    eng_wake(g, 0);
}

enum { AHEAD = 16 }; /* so many are on their way from memory */

/* ---- one list */

static bool same_object(const struct item *w, const struct driver_object *o)
{
    return w->object.exists && w->object.actual == o->actual &&
           slice_eq(object_oid(&w->object), o->object_id) &&
           slice_eq(object_revision(&w->object), o->revision) &&
           w->object.print_hash == print_hash(o->print);
}

/* Lists may tell less than looks do. What they leave out is kept while the rest is the same, and
 * looked at when it is not. */
static bool thin(const struct driver_object *o)
{
    return o->n_meta == 0;
}

static void seen(struct runtime *rt, const struct listing *l, const struct driver_object *o,
                 uint32_t hash)
{
    struct engine *g = rt->g;
    struct item *w = item_find_hashed(g, o->id, hash);
    if (w == NULL || w->now == NULL) {
        if (w == NULL)
            gc_seen(rt, o);
        return;
    }
    if (w->now->type != rt->type) {
        if (w->act == NULL && (w->strays >> rt->type & 1u) == 0) {
            w->strays |= (uint8_t)(1u << rt->type);
            item_ready(w);
        }
        return;
    }
    w->pass = rt->pass;
    if (item_busy(w) || w->look != NULL || w->seq > l->seq)
        return;
    bool known = item_known(w);
    if (thin(o)) {
        if (!known || !same_object(w, o))
            look_want(w);
        return;
    }
    bool same = known && same_object(w, o) && w->object.health == o->health &&
                w->object.finished_ns == o->finished_ns && w->object.started_ns == o->started_ns;
    if (item_observe(w, o) != 0) {
        slot_set(w, SLOT_LOOK, eng_now(g) + SOON_MS);
        return;
    }
    if (!same || w->wait == WAIT_LOOK) {
        item_refresh(w);
        item_ready(w);
    }
}

/* Those that the list did not name. */
static void unseen(struct runtime *rt, const struct listing *l)
{
    struct engine *g = rt->g;
    for (uint32_t i = 0; i < g->n_order; i++) {
        struct item *w = g->order[i];
        if (i + AHEAD < g->n_order)
            __builtin_prefetch(g->order[i + AHEAD]);
        if (w == NULL)
            continue;
        if (w->dirty)
            tries_write(w);
        /* Passes of two runtimes never bear one number, so this needs no look at its type. */
        bool was_seen = w->pass == rt->pass;
        if ((was_seen && w->epoch == rt->epoch) || item_busy(w) || w->look != NULL ||
            w->now == NULL || w->now->type != rt->type)
            continue;
        if (was_seen || w->seq > l->seq) {
            if (!item_known(w))
                look_want(w); /* what the list says of it is old, and so is what was known */
            continue;
        }
        bool news = w->object.exists || !item_known(w) || w->assumed;
        (void)item_observe(w, NULL);
        if (news) {
            item_refresh(w);
            item_ready(w);
        }
    }
}

/* With many workloads it is memory that a pass waits for, not the processor; so it is told early
 * what will be read next. */
static void seen_all(struct runtime *rt, const struct listing *l, const struct driver_object *items,
                     size_t n)
{
    enum { ITEM = 8, REST = 4 };
    uint32_t hash[AHEAD];
    for (size_t i = 0; i < n + AHEAD; i++) {
        if (i >= AHEAD)
            seen(rt, l, &items[i - AHEAD], hash[i % AHEAD]);
        if (i + REST < n) {
            __builtin_prefetch(items[i + REST].id.p);
            __builtin_prefetch(items[i + REST].message);
        }
        if (i < n) {
            hash[i % AHEAD] = map_hash(items[i].id);
            item_fetch_bucket(rt->g, hash[i % AHEAD]);
        }
        if (i >= AHEAD - ITEM && i - (AHEAD - ITEM) < n)
            item_fetch(rt->g, hash[(i + ITEM) % AHEAD]);
        if (i >= AHEAD - REST && i - (AHEAD - REST) < n)
            item_fetch_rest(rt->g, hash[(i + REST) % AHEAD]);
    }
}

static void listed(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    struct listing *l = ctx;
    struct engine *g = l->g;
    if (g == NULL) {
        mem_free(l);
        return;
    }
    struct runtime *rt = &g->runtimes[l->type];
    rt->listing = NULL;
    if (f != NULL) {
        rt->again_ms = 0;
        if (f->e.code == ERR_UNREACHABLE)
            runtime_down(rt);
        else
            rt->again_ms = eng_now(g) + g->lim.retry.first_ms;
        eng_wake(g, rt->again_ms);
        mem_free(l);
        eng_check_stopped(g);
        return;
    }
    rt->wait_ms = 0;
    rt->again_ms = 0;
    if (!rt->up || rt->epoch == 0) {
        rt->up = true;
        rt->epoch++;
    }
    rt->pass = ++g->passes;
    seen_all(rt, l, items, n);
    unseen(rt, l);
    gc_listed(rt);
    g->stats.passes++;
    histogram_add(&g->stats.pass_time, g->clock->mono_ns(g->clock->ctx) - l->begun_ns);
    mem_free(l);
    eng_wake(g, 0);
    eng_check_stopped(g);
}

static void list_begin(struct runtime *rt)
{
    struct engine *g = rt->g;
    if (rt->driver == NULL || rt->listing != NULL)
        return;
    struct listing *l = mem_zalloc(sizeof(*l));
    rt->wanted = false;
    rt->again_ms = 0;
    if (l != NULL)
        *l = (struct listing){g, rt->type, g->seq, g->clock->mono_ns(g->clock->ctx)};
    if (l == NULL || rt->driver->ops->list(rt->driver->self, listed, l) != 0) {
        mem_free(l);
        rt->again_ms = eng_now(g) + SOON_MS;
        eng_wake(g, rt->again_ms);
        return;
    }
    rt->listing = l;
}

void pass_run(struct engine *g)
{
    uint64_t now = eng_now(g);
    bool due = now >= g->pass_ms;
    if (due)
        g->pass_ms = now + g->lim.pass_ms;
    for (int t = 0; t < WORKLOAD_TYPES; t++) {
        struct runtime *rt = &g->runtimes[t];
        if (due || rt->wanted || (rt->again_ms != 0 && now >= rt->again_ms))
            list_begin(rt);
        if (rt->again_ms != 0 && rt->listing == NULL) /* else its end says when */
            eng_wake(g, rt->again_ms);
    }
    eng_wake(g, g->pass_ms);
}
