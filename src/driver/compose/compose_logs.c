/* Logs of a project: those of its containers, one stream each, put in the order of their times.
 * What is followed waits for a moment, so that lines of other containers can go before it; what
 * comes too late even so is told with the time of the line before it, as readers go on behind a
 * time. With several containers each line begins with its service's name. */
#include "driver/compose/compose_logs.h"
#include "base/mem.h"
#include "base/str.h"
#include <string.h>

enum { SETTLE_MS = 150 };

/* A line that waits for its turn; its text follows. */
struct waiting {
    int64_t time_ns;
    size_t len;
    enum driver_stream stream;
};

static void tailing_closed(void *ctx)
{
    struct tailing *t = ctx;
    struct compose *c = t->op.c;
    for (size_t i = 0; i < t->n; i++)
        compose_source_free(t->sources[i]);
    mem_free(t->sources);
    mem_free(t->part);
    buf_done(&t->line);
    mem_free(t);
    compose_unref(c);
}

static void first_closed(void *ctx)
{
    struct tailing *t = ctx;
    loop_timer_close(&t->again, tailing_closed);
}

/* May be called from any callback: the memory goes later. */
static void tailing_free(struct tailing *t)
{
    if (t->over)
        return;
    t->over = true;
    list_remove(&t->follower);
    loop_timer_stop(&t->timer);
    if (t->has_again)
        loop_timer_stop(&t->again);
    compose_look_cancel(STEAL(t->look));
    for (size_t i = 0; i < t->n; i++)
        if (t->sources[i]->call != NULL)
            t->sources[i]->call->cancel(STEAL(t->sources[i]->call));
    compose_ref(t->op.c);
    compose_op_over(&t->op);
    loop_timer_close(&t->timer, t->has_again ? first_closed : tailing_closed);
}

void compose_tailing_end(struct tailing *t, const struct fault *f)
{
    if (t->over)
        return;
    t->u.done(t->ctx, f);
    tailing_free(t);
}

static void tailing_drop(struct compose_op *op)
{
    struct tailing *t = CONTAINER_OF(op, struct tailing, op);
    struct fault f = {0};
    compose_fault_err(&f, &op->c->over);
    compose_tailing_end(t, &f);
}

/* ---- lines */

static void tell(struct tailing *t, const struct source *s, enum driver_stream stream,
                 int64_t time_ns, struct slice text)
{
    if (t->order.follow && time_ns != 0 && time_ns <= t->last_ns)
        time_ns = t->last_ns + 1;
    t->last_ns = time_ns;
    if (!t->named) {
        t->u.line(t->ctx, stream, time_ns, text);
        return;
    }
    buf_clear(&t->line);
    (void)buf_addf(&t->line, "%-*s | ", (int)t->width, s->name);
    (void)buf_add(&t->line, text.p, text.len);
    if (t->line.err == 0)
        t->u.line(t->ctx, stream, time_ns, (struct slice){t->line.data, t->line.len});
}

static bool head_of(const struct source *s, struct waiting *w, struct slice *text)
{
    if (s->queue.len - s->at < sizeof(*w))
        return false;
    memcpy(w, s->queue.data + s->at, sizeof(*w));
    *text = (struct slice){s->queue.data + s->at + sizeof(*w), w->len};
    return true;
}

static void drop_head(struct source *s, size_t len)
{
    s->at += sizeof(struct waiting) + len;
    if (s->at < s->queue.len)
        return;
    buf_clear(&s->queue);
    s->at = 0;
    if (s->held && s->call != NULL) {
        s->held = false;
        s->call->pause(s->call, false);
    }
}

/* The oldest line, once each stream that has not ended shows one. */
static struct source *oldest(struct tailing *t)
{
    struct source *found = NULL;
    int64_t best = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct source *s = t->sources[i];
        struct waiting w;
        struct slice text;
        if (!head_of(s, &w, &text)) {
            if (s->call != NULL && !t->order.follow)
                return NULL;
        } else if (found == NULL || w.time_ns < best) {
            found = s;
            best = w.time_ns;
        }
    }
    return found;
}

static bool all_over(const struct tailing *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->sources[i]->call != NULL || t->sources[i]->queue.len > t->sources[i]->at)
            return false;
    return true;
}

static void flush(struct tailing *t)
{
    struct source *s;
    if (t->telling)
        return;
    t->telling = true;
    while (!t->over && !t->paused && (s = oldest(t)) != NULL) {
        struct waiting w = {0};
        struct slice text = {"", 0};
        (void)head_of(s, &w, &text);
        tell(t, s, w.stream, w.time_ns, text);
        if (!t->over)
            drop_head(s, w.len);
    }
    t->telling = false;
    if (t->over || t->paused || !all_over(t))
        return;
    if (t->order.follow && t->end.e.code == 0)
        compose_follow_idle(t);
    else
        compose_tailing_end(t, t->end.e.code != 0 ? &t->end : NULL);
}

/* Not from within a callback: the stream that is read must not be resumed while it is. */
static void flush_soon(struct tailing *t)
{
    if (t->due)
        return;
    t->due = true;
    loop_timer_start(&t->timer, t->order.follow ? SETTLE_MS : 0, 0);
}

static void on_line(void *ctx, enum driver_stream stream, int64_t time_ns, struct slice text)
{
    struct source *s = ctx;
    struct tailing *t = s->t;
    struct waiting w = {time_ns, text.len, stream};
    if (t->over)
        return;
    s->last_ns = time_ns > s->last_ns ? time_ns : s->last_ns;
    if (t->n == 1 && s->queue.len == s->at) {
        tell(t, s, stream, time_ns, text);
        return;
    }
    if (buf_add(&s->queue, &w, sizeof(w)) != 0 || buf_add(&s->queue, text.p, text.len) != 0) {
        (void)fault_set(&t->end, FAULT_RUNTIME_ERROR, s->queue.err, "too much log text waits");
        compose_tailing_end(t, &t->end);
        return;
    }
    if (!s->held && (!t->order.follow || s->queue.len - s->at > COMPOSE_QUEUE_HIGH)) {
        s->held = true;
        s->call->pause(s->call, true);
    }
    flush_soon(t);
}

static void on_done(void *ctx, const struct fault *f)
{
    struct source *s = ctx;
    struct tailing *t = s->t;
    if (t->over)
        return;
    s->call = NULL;
    s->held = false;
    if (t->order.follow && (f == NULL || f->e.code == ERR_NOT_FOUND)) {
        /* It has ended, or is gone: another one may come in its place. */
        compose_follow_soon(t);
    } else if (f != NULL) {
        s->failed = true;
        if (t->end.e.code == 0)
            t->end = *f; /* told when the others are over */
    }
    flush_soon(t);
}

static void on_timer(void *ctx)
{
    struct tailing *t = ctx;
    t->due = false;
    flush(t);
}

/* ---- beginning */

const struct driver_logs_user compose_source_user = {on_line, on_done};

static void tailing_pause(struct driver_call *call, bool paused)
{
    struct tailing *t = CONTAINER_OF(call, struct tailing, base);
    if (t->paused == paused || t->over)
        return;
    t->paused = paused;
    for (size_t i = 0; i < t->n; i++) {
        struct source *s = t->sources[i];
        if (s->call != NULL && !s->held)
            s->call->pause(s->call, paused);
    }
    if (!paused)
        flush_soon(t);
}

static void tailing_cancel(struct driver_call *call)
{
    tailing_free(CONTAINER_OF(call, struct tailing, base));
}

int compose_logs(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                 void *ctx, struct driver_call **ret, struct err *e)
{
    struct compose *c = compose_of(self);
    int rc = workload_id_check(o->id, e);
    if (rc != 0)
        return rc;
    struct tailing *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    t->base = (struct driver_call){tailing_cancel, tailing_pause};
    t->u = *u;
    t->ctx = ctx;
    t->order = *o;
    t->order.id = t->order.part = (struct slice){NULL, 0};
    buf_init(&t->line, COMPOSE_QUEUE_MAX);
    list_init(&t->follower);
    rc = loop_timer_init(c->loop, &t->timer, on_timer, t);
    if (rc != 0) {
        mem_free(t);
        return err_set(e, rc, "out of memory");
    }
    compose_op_begin(&t->op, c, tailing_drop);
    rc = loop_timer_init(c->loop, &t->again, compose_follow_again, t);
    t->has_again = rc == 0;
    if (rc != 0)
        (void)err_set(e, rc, "out of memory");
    if (rc == 0 && o->part.len > 0 && (t->part = mem_strndup(o->part.p, o->part.len)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = compose_follow_begin(t, o->id, e);
    if (rc != 0)
        tailing_free(t);
    else
        *ret = &t->base;
    return rc;
}
