/* Failures, back-off and giving up (contract 4.1, 4.2, 8.1): a failure is counted when it is seen,
 * the next try comes when its time has come, and what is known of both outlives a restart. */
#include "core/engine_priv.h"

#include <stdio.h>

void tries_forget(struct tries *t)
{
    mem_free(t->text);
    *t = (struct tries){.counted_ns = t->counted_ns};
}

bool tries_wait(const struct item *w)
{
    return w->tries.next_ms > eng_now(w->g);
}

/* first, 2 first, 4 first ... up to the longest. */
static uint64_t backoff(const struct engine_retry *r, uint32_t n)
{
    uint64_t wait = r->first_ms;
    for (uint32_t i = 1; i < n && wait < r->most_ms; i++)
        wait *= 2;
    return wait < r->most_ms ? wait : r->most_ms;
}

static uint64_t with_jitter(struct engine *g, uint64_t wait)
{
    uint64_t most = wait * g->lim.retry.jitter_percent / 100;
    uint32_t r = 0;
    /* Without randomness there is no jitter; the waiting stays. */
    if (most == 0 || g->clock->random(g->clock->ctx, &r, sizeof(r)) != 0)
        return wait;
    return wait + r % (most + 1);
}

static void next_in(struct item *w, uint64_t wait)
{
    w->tries.next_ms = eng_now(w->g) + wait;
    w->tries.next_ns = eng_wall(w->g) + (int64_t)(wait * NS_PER_MS);
    slot_clear(w, SLOT_RETRY);
    slot_set(w, SLOT_RETRY, w->tries.next_ms);
}

static void text_set(struct tries *t, const char *what, const struct fault *f)
{
    char text[sizeof(f->e.msg) + 64];
    (void)snprintf(text, sizeof(text), "%s: %s", what,
                   f->e.msg[0] != '\0' ? f->e.msg : err_row(f->e.code)->text);
    char *copy = mem_strdup(text);
    if (copy == NULL)
        return; /* the text of the failure before is better than none */
    mem_free(t->text);
    t->text = copy;
}

static bool nothing_was_tried(int code)
{
    return code == ERR_UNREACHABLE || code == ERR_BUSY || code == ERR_CANCELLED ||
           code == ERR_NO_MEMORY;
}

static void give_up(struct item *w)
{
    struct engine *g = w->g;
    w->tries.terminal = true;
    w->tries.next_ms = 0;
    w->tries.next_ns = 0;
    g->stats.given_up++;
    eng_event(g, w, "given-up", NULL, NULL, slice_of(fault_name(w->tries.reason)), w->tries.text);
    if (g->lim.failed_ttl_ms > 0)
        slot_set(w, SLOT_LOOK, eng_now(g) + g->lim.failed_ttl_ms);
}

bool tries_failed(struct item *w, const char *what, const struct fault *f)
{
    struct engine *g = w->g;
    if (nothing_was_tried(f->e.code)) {
        w->tries.next_ms = eng_now(g) + SOON_MS;
        slot_set(w, SLOT_RETRY, w->tries.next_ms);
        return false;
    }
    struct tries *t = &w->tries;
    t->count++;
    w->failed_once = true;
    t->last_ns = eng_wall(g);
    t->last_ms = eng_now(g);
    t->reason = (uint8_t)(f->reason == FAULT_NONE ? FAULT_UNKNOWN_ERROR : f->reason);
    text_set(t, what, f);
    g->stats.failed++;
    g->stats.faults[t->reason]++;
    eng_event(g, w, "failed", NULL, NULL, slice_of(fault_name(t->reason)), t->text);
    enum fault_class class = fault_class(t->reason);
    bool deleting = w->now != NULL && intent_goes(w->now);
    if (deleting) /* never forgotten, so never given up */
        next_in(w, with_jitter(g, backoff(&g->lim.retry, t->count)));
    else if (class == FAULT_HELD)
        next_in(w, with_jitter(g, g->lim.retry.most_ms));
    else if (class == FAULT_PERMANENT || t->count > g->lim.retry.max_attempts)
        give_up(w);
    else
        next_in(w, with_jitter(g, backoff(&g->lim.retry, t->count)));
    slot_clear(w, SLOT_STEADY);
    w->ordered = w->ordered && g->lim.reconcile; /* "once" means one try */
    tries_write(w);
    return true;
}

void tries_clear(struct item *w)
{
    bool known = w->tries.count > 0 || w->tries.terminal || w->tries.reason != FAULT_NONE;
    tries_forget(&w->tries);
    slot_clear(w, SLOT_RETRY);
    if (known)
        tries_write(w);
}

/* What ends well but soon is started again ever more slowly, without being a failure. */
void tries_start_backoff(struct item *w)
{
    struct engine *g = w->g;
    int64_t ran = w->object.finished_ns - w->object.started_ns;
    if (w->object.finished_ns == 0 || w->object.finished_ns == w->tries.counted_ns)
        return;
    w->tries.counted_ns = w->object.finished_ns;
    if (w->object.started_ns == 0 || ran < 0 ||
        (uint64_t)ran >= g->lim.retry.steady_ms * NS_PER_MS) {
        w->quick = 0;
        w->quick_ms = 0;
        return;
    }
    if (w->quick < UINT16_MAX)
        w->quick++;
    w->quick_ms = eng_now(g) + with_jitter(g, backoff(&g->lim.retry, w->quick));
}

void tries_steady(struct item *w)
{
    struct engine *g = w->g;
    /* What cannot be stopped runs steadily, too. */
    if (w->object.actual != ACTUAL_RUNNING || !object_fits(w) || w->restart ||
        w->now->desired != DESIRED_RUNNING || (w->now->flags & STORED_DELETING) != 0)
        return;
    uint64_t since = w->start_ms > w->tries.last_ms ? w->start_ms : w->tries.last_ms;
    uint64_t at = since + g->lim.retry.steady_ms;
    if (eng_now(g) < at) {
        slot_set(w, SLOT_STEADY, at);
        return;
    }
    w->quick = 0;
    w->quick_ms = 0;
    if (item_health(w) == HEALTH_UNHEALTHY)
        return;
    tries_clear(w);
}
