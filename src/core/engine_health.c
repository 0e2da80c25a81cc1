/* Health of what runs: said by the runtime, or found out by probes at intervals; and what follows
 * when it is bad. */
#include "core/engine_priv.h"

#include <stdio.h>

static const struct doc_health *rule_of(const struct item *w)
{
    return w->now != NULL && w->now->rules != NULL && w->now->rules->health.kind != DOC_HEALTH_NONE
               ? &w->now->rules->health
               : NULL;
}

static bool probed(const struct doc_health *h)
{
    return h != NULL && h->kind != DOC_HEALTH_RUNTIME;
}

enum workload_health item_health(const struct item *w)
{
    if (!w->object.exists || w->object.actual != ACTUAL_RUNNING || !object_fits(w))
        return HEALTH_NONE;
    if (probed(rule_of(w)))
        return w->probing != NULL ? (enum workload_health)w->probing->health : HEALTH_STARTING;
    return (enum workload_health)w->object.health;
}

static uint64_t interval(const struct doc_health *h)
{
    return h->interval_ms > 0 ? (uint64_t)h->interval_ms : 30000;
}

void health_begin(struct item *w)
{
    const struct doc_health *h = rule_of(w);
    if (!probed(h) || w->g->prober.ops == NULL)
        return;
    if (w->probing == NULL) {
        w->probing = mem_zalloc(sizeof(*w->probing));
        if (w->probing == NULL) {
            slot_set(w, SLOT_RETRY, eng_now(w->g) + SOON_MS);
            return;
        }
        w->probing->w = w;
        w->probing->health = HEALTH_STARTING;
        slot_set(w, SLOT_HEALTH, eng_now(w->g) + 1);
    }
    if (!w->probing->busy && w->slot[SLOT_HEALTH] == 0 && !w->due_probe)
        slot_set(w, SLOT_HEALTH, eng_now(w->g) + interval(h));
}

void health_end(struct item *w)
{
    struct probing *p = STEAL(w->probing);
    slot_clear(w, SLOT_HEALTH);
    w->due_probe = false;
    if (p == NULL)
        return;
    if (p->busy)
        w->g->prober.ops->cancel(w->g->prober.self, p->call);
    mem_free(p);
}

static void health_set(struct item *w, enum workload_health now, const char *why)
{
    enum workload_health before = (enum workload_health)w->probing->health;
    if (now == before)
        return;
    w->probing->health = (uint8_t)now;
    eng_event(w->g, w, "health", health_name(before), health_name(now), (struct slice){"", 0}, why);
    depends_wake(w);
}

static void probe_done(void *ctx, const struct err *e)
{
    struct probing *p = ctx;
    struct item *w = p->w;
    struct engine *g = w->g;
    const struct doc_health *h = rule_of(w);
    p->busy = false;
    p->call = NULL;
    if (h == NULL)
        return;
    if (e->code == 0) {
        p->fails = 0;
        p->last[0] = '\0';
        health_set(w, HEALTH_HEALTHY, NULL);
    } else {
        struct buf b = BUF_FIXED(p->last);
        (void)buf_adds(&b, e->msg);
        bool grace = p->health == HEALTH_STARTING && h->start_period_ms > 0 &&
                     eng_now(g) < w->start_ms + (uint64_t)h->start_period_ms;
        if (!grace && p->fails < UINT32_MAX)
            p->fails++;
        if (p->fails >= (uint32_t)(h->retries > 0 ? h->retries : 1))
            health_set(w, HEALTH_UNHEALTHY, p->last);
    }
    slot_set(w, SLOT_HEALTH, eng_now(g) + interval(h));
    item_ready(w);
}

void health_due(struct item *w)
{
    struct engine *g = w->g;
    struct probing *p = w->probing;
    const struct doc_health *h = rule_of(w);
    if (p == NULL || p->busy || !probed(h) || w->act != NULL)
        return;
    /* A look may write another address over the one that it has. */
    struct buf b = BUF_FIXED(p->address);
    (void)buf_adds(&b, object_address(&w->object));
    struct probe_order o = {.id = intent_id(w->now),
                            .health = h,
                            .address = p->address,
                            .driver = &g->drivers[w->now->type]};
    p->busy = true;
    if (g->prober.ops->probe(g->prober.self, &o, probe_done, p, &p->call) != 0) {
        p->busy = false;
        slot_set(w, SLOT_HEALTH, eng_now(g) + SOON_MS);
    }
}

void health_judge(struct item *w)
{
    const struct doc_health *h = rule_of(w);
    struct err e = {0};
    if (item_health(w) != HEALTH_UNHEALTHY) {
        w->sick = false;
        return;
    }
    if (h == NULL || h->action == DOC_HEALTH_NOTHING || w->now->desired != DESIRED_RUNNING ||
        w->changes != NULL)
        return;
    const char *why = w->probing != NULL && w->probing->last[0] != '\0'
                          ? w->probing->last
                          : object_message(&w->object);
    if (h->action == DOC_HEALTH_STOP) {
        mem_free(w->stop_why);
        w->stop_why = why[0] != '\0' ? mem_strdup(why) : NULL; /* without memory less is told */
        if (eng_now(w->g) < w->hold_ms || change_policy(w, "policy:health", &e) != 0)
            slot_set(w, SLOT_RETRY, eng_now(w->g) + SOON_MS);
        return;
    }
    if (w->sick || w->tries.terminal)
        return;
    /* Counted now, restarted when the back-off is over, and not at all if it recovers before. */
    struct fault f;
    (void)fault_set(&f, FAULT_RUNTIME_UNHEALTHY, ERR_RUNTIME, "%s", why);
    w->sick = true;
    (void)tries_failed(w, "unhealthy", &f);
}
