#include "gantryd/usage.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { PARALLEL = 8 };

/* A question that is under way. */
struct asked {
    struct usage *u;
    bool busy;
    char id[WORKLOAD_ID_MAX + 1];
};

struct usage {
    struct engine *engine; /* NULL once freed */
    struct asked slots[PARALLEL];
    struct loop_timer timer;
    uint64_t interval_ms;
    size_t asking;                  /* answers that are still to come */
    char last[WORKLOAD_ID_MAX + 1]; /* the round goes on after it */
    bool round, closed;
};

static void begin_more(struct usage *u);

static void release(struct usage *u)
{
    if (u->closed && u->asking == 0)
        mem_free(u);
}

static void answered(void *ctx, const struct fault *f, const struct driver_usage *sample)
{
    struct asked *a = ctx;
    struct usage *u = a->u;
    u->asking--;
    a->busy = false;
    if (u->engine == NULL) {
        release(u);
        return;
    }
    if (f == NULL)
        engine_note_usage(u->engine, sample);
    else if (f->e.code == ERR_STATE || f->e.code == ERR_NOT_FOUND)
        engine_drop_usage(u->engine, slice_of(a->id)); /* nothing of it runs (any more) */
    begin_more(u);
}

struct next {
    struct usage *u;
    char id[WORKLOAD_ID_MAX + 1];
    enum workload_type type;
};

/* Of a Compose project some services may run while another one has failed. */
static bool may_run(const struct engine_view *w)
{
    return w->seen == ACTUAL_RUNNING ||
           (w->type == WORKLOAD_COMPOSE && (w->seen == ACTUAL_PENDING || w->seen == ACTUAL_FAILED));
}

/* The first one that may be measured. */
static int find_next(void *ctx, const struct engine_view *w)
{
    struct next *n = ctx;
    if (!may_run(w))
        return 0;
    memcpy(n->id, w->id.p, w->id.len);
    n->id[w->id.len] = '\0';
    n->type = w->type;
    return 1;
}

static struct asked *free_slot(struct usage *u)
{
    size_t i = 0;
    while (u->slots[i].busy) /* the caller has counted them */
        i++;
    return &u->slots[i];
}

static void begin_more(struct usage *u)
{
    while (u->round && u->asking < PARALLEL) {
        struct next n = {.u = u};
        if (engine_each_after(u->engine, WORKLOAD_NONE, slice_of(u->last), find_next, &n) == 0) {
            u->round = false;
            return;
        }
        memcpy(u->last, n.id, sizeof(n.id));
        const struct driver *d = engine_driver(u->engine, n.type);
        if (d == NULL || d->ops->usage == NULL)
            continue;
        struct asked *a = free_slot(u);
        *a = (struct asked){.u = u, .busy = true};
        memcpy(a->id, n.id, sizeof(n.id));
        a->busy = d->ops->usage(d->self, slice_of(a->id), answered, a) == 0;
        u->asking += a->busy ? 1 : 0;
    }
}

static void begin_round(void *ctx)
{
    struct usage *u = ctx;
    if (u->round)
        return; /* the last one is not over */
    u->round = true;
    u->last[0] = '\0';
    begin_more(u);
}

void usage_set_interval(struct usage *u, uint64_t interval_ms)
{
    if (interval_ms == u->interval_ms)
        return;
    u->interval_ms = interval_ms;
    if (interval_ms > 0)
        loop_timer_start(&u->timer, interval_ms, interval_ms);
    else
        loop_timer_stop(&u->timer);
}

int usage_new(struct usage **ret, struct loop *l, struct engine *g, uint64_t interval_ms,
              struct err *e)
{
    struct usage *u = mem_zalloc(sizeof(*u));
    if (u == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    u->engine = g;
    int rc = loop_timer_init(l, &u->timer, begin_round, u);
    if (rc != 0) {
        mem_free(u);
        return err_set(e, rc, "out of memory");
    }
    usage_set_interval(u, interval_ms);
    *ret = u;
    return 0;
}

static void closed(void *ctx)
{
    struct usage *u = ctx;
    u->closed = true;
    release(u);
}

void usage_free(struct usage *u)
{
    if (u == NULL)
        return;
    u->engine = NULL;
    u->round = false;
    loop_timer_close(&u->timer, closed);
}
