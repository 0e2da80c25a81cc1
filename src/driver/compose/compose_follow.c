/* Whose lines the log of a project is made of: those of the containers that are there. While it is
 * followed, those of containers that come later too, from their beginning, and of those that are
 * started once more: the engine's events tell. It is over when nothing has run for a while, and
 * nobody is about to start it. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_logs.h"
#include <stdio.h>
#include <string.h>

enum { SOON_MS = 100, ENDED_MS = 500, STILL_MS = 3000 };

void compose_source_free(struct source *s)
{
    buf_done(&s->queue);
    mem_free(s);
}

static struct source *source_of(struct tailing *t, const char *cid)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->sources[i]->id, cid) == 0)
            return t->sources[i];
    return NULL;
}

static struct source *add_source(struct tailing *t, const struct compose_box *b)
{
    struct source **more = mem_realloc(t->sources, (t->n + 1) * sizeof(struct source *));
    if (more != NULL)
        t->sources = more;
    struct source *s = more != NULL ? mem_zalloc(sizeof(*s)) : NULL;
    if (s == NULL)
        return NULL;
    s->t = t;
    buf_init(&s->queue, COMPOSE_QUEUE_MAX);
    (void)snprintf(s->id, sizeof(s->id), "%s", b->id);
    compose_box_part(b, s->name, sizeof(s->name));
    t->width = strlen(s->name) > t->width ? strlen(s->name) : t->width;
    t->sources[t->n++] = s;
    return s;
}

/* Containers that are gone, and whose lines have been told. */
static void drop_gone(struct tailing *t, const struct compose_look *l)
{
    for (size_t i = t->n; i > 0; i--) {
        struct source *s = t->sources[i - 1];
        bool there = s->call != NULL || s->queue.len > s->at;
        for (size_t k = 0; k < l->n_boxes && !there; k++)
            there = strcmp(l->boxes[k].id, s->id) == 0;
        if (there)
            continue;
        compose_source_free(s);
        t->sources[i - 1] = t->sources[--t->n];
    }
}

static int open_source(struct tailing *t, struct source *s, bool first, struct err *e)
{
    struct driver_logs_order o = t->order;
    o.id = slice_of(s->id);
    if (!first)
        o.tail = -1;
    if (s->opened_ns != 0)
        o.since_ns = s->last_ns != 0 ? s->last_ns + 1 : s->opened_ns;
    s->again = s->failed = false;
    s->opened_ns = clock_real_ns(loop_clock(t->op.c->loop));
    int rc = docker_engine_logs(t->op.c->d, &o, &compose_source_user, s, &s->call, e);
    if (rc == 0 && t->paused)
        s->call->pause(s->call, true);
    return rc;
}

static bool runs(const struct compose_box *b)
{
    return b->state == COMPOSE_BOX_RUNNING || b->state == COMPOSE_BOX_PAUSED;
}

/* Reads those that are not being read yet. */
static int open_sources(struct tailing *t, const struct compose_look *l, bool first, bool *busy,
                        struct err *e)
{
    struct slice part = slice_of(t->part);
    size_t meant = 0;
    int rc = 0;
    for (size_t i = 0; i < l->n_boxes && rc == 0; i++) {
        const struct compose_box *b = &l->boxes[i];
        if (part.len > 0 && !compose_part_is(b, part))
            continue;
        struct source *s = source_of(t, b->id);
        bool known = s != NULL;
        meant += first || runs(b) ? 1 : 0; /* later, one that gives way to its successor is none */
        *busy = *busy || runs(b) || b->state == COMPOSE_BOX_RESTARTING;
        if (known && (s->call != NULL || !(s->again || (runs(b) && !s->failed))))
            continue;
        if (!known && (s = add_source(t, b)) == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory");
        else
            rc = open_source(t, s, first, e);
    }
    /* One service that was asked for by its name needs none before its lines. */
    t->named = t->named || part.len == 0 || meant > 1;
    return rc;
}

static void again_in(struct tailing *t, uint64_t ms)
{
    if (t->over || t->again_due || !t->order.follow)
        return;
    t->again_due = true;
    loop_timer_start(&t->again, ms, 0);
}

static bool any_open(const struct tailing *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->sources[i]->call != NULL)
            return true;
    return false;
}

/* After a look that came later than the first. */
static void judge(struct tailing *t, bool busy)
{
    uint64_t now = loop_now_ms(t->op.c->loop);
    if (busy || any_open(t))
        t->idle_ms = 0;
    else if (t->idle_ms == 0)
        t->idle_ms = now;
    else if (now - t->idle_ms >= STILL_MS) {
        compose_tailing_end(t, NULL);
        return;
    }
    if (!any_open(t))
        again_in(t, ENDED_MS);
}

static void looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct tailing *t = ctx;
    struct fault bad = {0};
    bool first = !t->begun, busy = map_get(&t->op.c->acts, slice_of(t->id)) != NULL;
    t->look = NULL;
    t->begun = true;
    if (f != NULL) {
        compose_tailing_end(t, f);
        return;
    }
    drop_gone(t, l);
    int rc = open_sources(t, l, first, &busy, &bad.e);
    if (rc == 0 && first && t->n == 0)
        rc = compose_no_part(&bad, l, slice_of(t->part));
    if (rc != 0)
        compose_tailing_end(t, &bad);
    else if (first)
        t->still = !busy;
    else
        judge(t, busy);
}

static int look(struct tailing *t, struct err *e)
{
    return compose_look_start(t->op.c, slice_of(t->id), false, looked, t, &t->look, e);
}

int compose_follow_begin(struct tailing *t, struct slice id, struct err *e)
{
    memcpy(t->id, id.p, id.len);
    if (t->order.follow)
        list_push_back(&t->op.c->followers, &t->follower);
    return look(t, e);
}

void compose_follow_again(void *ctx)
{
    struct tailing *t = ctx;
    struct fault f = {0};
    t->again_due = false;
    if (t->over)
        return;
    if (t->look != NULL)
        again_in(t, SOON_MS);
    else if (look(t, &f.e) != 0) {
        f.reason = FAULT_RUNTIME_ERROR;
        compose_tailing_end(t, &f);
    }
}

void compose_follow_soon(struct tailing *t)
{
    again_in(t, ENDED_MS);
}

void compose_follow_idle(struct tailing *t)
{
    if (t->still)
        compose_tailing_end(t, NULL);
    else
        again_in(t, ENDED_MS);
}

void compose_follow_started(struct compose *c, struct slice id, const char *cid)
{
    for (struct list_node *n = c->followers.next; n != &c->followers; n = n->next) {
        struct tailing *t = CONTAINER_OF(n, struct tailing, follower);
        if (!slice_eqs(id, t->id))
            continue;
        struct source *s = source_of(t, cid);
        if (s != NULL)
            s->again = true;
        t->still = false;
        again_in(t, SOON_MS);
    }
}
