/* Looking at one object. */
#include "core/engine_priv.h"

int item_observe(struct item *w, const struct driver_object *o)
{
    struct engine *g = w->g;
    bool other_health = o != NULL && w->object.exists && o->health != w->object.health;
    /* Also while it has none: who waits for it has it looked at again. */
    bool came = o != NULL && o->actual == ACTUAL_RUNNING && object_address(&w->object)[0] == '\0';
    if (o != NULL && object_set(&w->object, o) != 0)
        return ERR_NO_MEMORY;
    w->assumed = false;
    if (o != NULL)
        w->unsure = false;
    else if (w->unsure && w->absent_ms == 0)
        w->absent_ms = eng_now(g);
    if (other_health || came)
        depends_wake(w);
    if (o == NULL && w->object.exists) {
        bool ran = w->object.actual == ACTUAL_RUNNING || w->object.actual == ACTUAL_PENDING;
        object_gone(&w->object);
        if (ran && !item_busy(w) && !intent_goes(w->now))
            w->cause = STOP_LOST;
    }
    w->epoch = g->runtimes[w->now->type].epoch;
    w->seq = ++g->seq;
    w->look_fails = 0;
    return 0;
}

void look_want(struct item *w)
{
    struct engine *g = w->g;
    if (w->look_wanted || w->now == NULL)
        return;
    w->look_wanted = true;
    list_push_back(&g->to_look, &w->look_link);
    eng_wake(g, 0);
}

static void look_again_later(struct item *w)
{
    struct engine *g = w->g;
    uint64_t wait = g->lim.retry.first_ms;
    for (uint32_t i = 0; i < w->look_fails && wait < g->lim.retry.most_ms; i++)
        wait *= 2;
    if (w->look_fails < 16)
        w->look_fails++;
    slot_set(w, SLOT_LOOK,
             eng_now(g) + (wait < g->lim.retry.most_ms ? wait : g->lim.retry.most_ms));
    w->epoch = 0; /* nobody can say how it is */
}

static void look_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct look *l = ctx;
    struct engine *g = l->g;
    struct item *w = l->w;
    uint64_t seq = l->seq;
    if (g != NULL) {
        list_remove(&l->link);
        g->n_looks--;
    }
    mem_free(l);
    if (g == NULL)
        return;
    if (!list_empty(&g->to_look))
        eng_wake(g, 0);
    if (w == NULL) {
        eng_check_stopped(g);
        return;
    }
    w->look = NULL;
    struct runtime *rt = &g->runtimes[w->now->type];
    if (f != NULL && f->e.code == ERR_UNREACHABLE) {
        runtime_down(rt);
    } else if (item_busy(w) || w->seq > seq) {
        if (!item_busy(w))
            look_want(w); /* something has happened since it was asked */
    } else if (f != NULL && f->e.code != ERR_EXISTS) {
        look_again_later(w);
    } else if (item_observe(w, f != NULL ? NULL : o) != 0) {
        look_again_later(w);
    }
    item_refresh(w);
    item_ready(w);
    eng_check_stopped(g);
}

static bool look_begin(struct item *w)
{
    struct engine *g = w->g;
    const struct driver *d = &g->drivers[w->now->type];
    struct look *l = mem_zalloc(sizeof(*l));
    if (l == NULL || d->ops == NULL) {
        mem_free(l);
        return false;
    }
    *l = (struct look){.g = g, .w = w, .seq = g->seq};
    list_push_back(&g->looks, &l->link);
    if (d->ops->inspect(d->self, intent_id(w->now), look_done, l) != 0) {
        list_remove(&l->link);
        mem_free(l);
        return false;
    }
    w->look = l;
    g->n_looks++;
    g->stats.looks++;
    return true;
}

void looks_begin(struct engine *g)
{
    while (!list_empty(&g->to_look) && g->n_looks < g->lim.max_looks) {
        struct item *w = CONTAINER_OF(list_first(&g->to_look), struct item, look_link);
        list_remove(&w->look_link);
        w->look_wanted = false;
        if (!g->runtimes[w->now->type].up)
            continue; /* all are looked at when it is back */
        if (w->look != NULL || item_busy(w)) {
            /* The end of what is under way says how it is, or asks again. */
            if (w->look != NULL)
                w->look->seq = 0;
            else
                w->look_after = true;
            continue;
        }
        if (!look_begin(w)) {
            slot_set(w, SLOT_LOOK, eng_now(g) + SOON_MS);
            item_ready(w);
        }
    }
}
