/* What carries our label and nobody asked for (contract 8.2). Slow to act on purpose: a label of
 * another node, an empty label, a store that was not in order, one missing answer, and it stays. */
#include "core/engine_priv.h"

enum { ORPHANS_MAX = 10000 };

static void remember(struct runtime *rt, const struct driver_object *o)
{
    struct engine *g = rt->g;
    if (o->id.len == 0 || o->id.len > WORKLOAD_ID_MAX || map_count(&g->orphans) >= ORPHANS_MAX)
        return;
    struct orphan *x = mem_zalloc(sizeof(*x));
    if (x == NULL)
        return; /* the next pass sees it again */
    x->g = g;
    x->type = rt->type;
    x->first_ms = eng_now(g);
    memcpy(x->id, o->id.p, o->id.len);
    if (map_put(&g->orphans, o->id, x) != 0) {
        mem_free(x);
        return;
    }
    g->stats.orphans_found++;
    x->seen = 1;
    x->pass = rt->pass;
    x->ours = g->node_id.len > 0 && slice_eq(o->node_id, g->node_id);
}

void gc_seen(struct runtime *rt, const struct driver_object *o)
{
    struct orphan *x = map_get(&rt->g->orphans, o->id);
    if (x == NULL) {
        remember(rt, o);
        return;
    }
    if (x->type != rt->type || x->pass == rt->pass)
        return;
    x->seen++;
    x->pass = rt->pass;
    x->ours = rt->g->node_id.len > 0 && slice_eq(o->node_id, rt->g->node_id);
}

void gc_listed(struct runtime *rt)
{
    struct engine *g = rt->g;
    for (struct map_entry *e = map_first(&g->orphans), *next; e != NULL; e = next) {
        struct orphan *x = map_value(e);
        next = map_next(e);
        if (x->type != rt->type || x->removing)
            continue;
        /* Gone, or somebody wants it now. */
        if (x->pass != rt->pass || item_find(g, slice_of(x->id)) != NULL) {
            (void)map_take(&g->orphans, slice_of(x->id));
            mem_free(x);
        }
    }
}

bool gc_busy(const struct engine *g, struct slice id)
{
    const struct orphan *x = map_count(&g->orphans) > 0 ? map_get(&g->orphans, id) : NULL;
    return x != NULL && x->removing;
}

static void orphan_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct orphan *x = ctx;
    struct engine *g = x->g;
    (void)o;
    if (g == NULL) {
        mem_free(x);
        return;
    }
    g->n_removing--;
    x->removing = false;
    struct item *w = item_find(g, slice_of(x->id));
    if (f == NULL) {
        g->stats.orphans_removed++;
        struct event ev = {.kind = "workload",
                           .name = slice_of(x->id),
                           .type = "orphan-removed",
                           .message = SLICE_LIT("nobody asked for it any more")};
        event_publish(g->events, &ev);
        (void)map_take(&g->orphans, slice_of(x->id));
        mem_free(x);
    } else {
        x->first_ms = eng_now(g); /* a refusal costs the whole wait again */
        if (f->e.code == ERR_UNREACHABLE)
            runtime_down(&g->runtimes[x->type]);
    }
    if (w != NULL)
        look_want(w);
    eng_check_stopped(g);
}

void gc_cancel(struct engine *g)
{
    for (struct map_entry *e = map_first(&g->orphans); e != NULL; e = map_next(e)) {
        const struct orphan *x = map_value(e);
        if (x->removing)
            g->drivers[x->type].ops->cancel(g->drivers[x->type].self, slice_of(x->id));
    }
}

static bool removable(const struct engine *g, const struct orphan *x)
{
    return x->ours && !x->removing && x->seen >= 2 && g->runtimes[x->type].up &&
           x->pass == g->runtimes[x->type].pass && eng_now(g) - x->first_ms >= g->lim.orphan_ms &&
           item_find(g, slice_of(x->id)) == NULL;
}

void gc_run(struct engine *g)
{
    uint64_t now = eng_now(g), begun = g->clock->mono_ns(g->clock->ctx);
    if (now < g->gc_ms) {
        eng_wake(g, g->gc_ms);
        return;
    }
    g->gc_ms = now + g->lim.gc_ms;
    eng_wake(g, g->gc_ms);
    g->stats.gc_runs++;
    if (g->lim.reconcile && !g->spare_orphans && g->store.ops->trusted(g->store.self)) {
        unsigned n = 0;
        for (struct map_entry *e = map_first(&g->orphans); e != NULL && n < g->lim.max_orphans;
             e = map_next(e)) {
            struct orphan *x = map_value(e);
            if (!removable(g, x))
                continue;
            n++;
            struct driver_order o = {.id = slice_of(x->id), .node_id = g->node_id};
            const struct driver *d = &g->drivers[x->type];
            x->removing = true;
            g->n_removing++;
            if (d->ops->remove(d->self, &o, orphan_done, x) != 0) {
                x->removing = false;
                g->n_removing--;
            }
        }
    }
    histogram_add(&g->stats.gc_time, g->clock->mono_ns(g->clock->ctx) - begun);
}
