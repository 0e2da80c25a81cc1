/* Logs of a project: those of its containers, one stream each, put in the order of their times.
 * What is followed waits for a moment, so that lines of other containers can go before it; what
 * comes too late even so is told with the time of the line before it, as readers go on behind a
 * time. With several containers each line begins with its service's name. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <string.h>

enum { QUEUE_MAX = 4 << 20, QUEUE_HIGH = 1 << 20, NAME_ROOM = 160, SETTLE_MS = 150 };

struct tailing;

/* A line that waits for its turn; its text follows. */
struct waiting {
    int64_t time_ns;
    size_t len;
    enum driver_stream stream;
};

struct source {
    struct tailing *t;
    struct driver_call *call; /* NULL: it has ended */
    bool held;
    struct buf queue; /* of struct waiting and text */
    size_t at;        /* in queue: what was told already */
    char name[NAME_ROOM];
};

struct tailing {
    struct driver_call base;
    struct compose_op op;
    struct compose_look *look;
    struct driver_logs_user u;
    void *ctx;
    struct driver_logs_order order; /* without texts */
    char *part;
    struct source *sources;
    size_t n;
    size_t width; /* of the longest name */
    bool named, paused, over, telling;
    struct fault end;
    bool due;        /* the timer is on */
    int64_t last_ns; /* of what was told */
    struct buf line;
    struct loop_timer timer; /* tells what waits */
};

static void tailing_closed(void *ctx)
{
    struct tailing *t = ctx;
    struct compose *c = t->op.c;
    for (size_t i = 0; i < t->n; i++)
        buf_done(&t->sources[i].queue);
    mem_free(t->sources);
    mem_free(t->part);
    buf_done(&t->line);
    mem_free(t);
    compose_unref(c);
}

/* May be called from any callback: the memory goes later. */
static void tailing_free(struct tailing *t)
{
    if (t->over)
        return;
    t->over = true;
    compose_look_cancel(STEAL(t->look));
    for (size_t i = 0; i < t->n; i++)
        if (t->sources[i].call != NULL)
            t->sources[i].call->cancel(STEAL(t->sources[i].call));
    compose_ref(t->op.c);
    compose_op_over(&t->op);
    loop_timer_close(&t->timer, tailing_closed);
}

static void tailing_end(struct tailing *t, const struct fault *f)
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
    tailing_end(t, &f);
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
        struct source *s = &t->sources[i];
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
        if (t->sources[i].call != NULL || t->sources[i].queue.len > t->sources[i].at)
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
    if (!t->over && !t->paused && all_over(t))
        tailing_end(t, t->end.e.code != 0 ? &t->end : NULL);
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
    if (t->n == 1) {
        tell(t, s, stream, time_ns, text);
        return;
    }
    if (buf_add(&s->queue, &w, sizeof(w)) != 0 || buf_add(&s->queue, text.p, text.len) != 0) {
        (void)fault_set(&t->end, FAULT_RUNTIME_ERROR, s->queue.err, "too much log text waits");
        tailing_end(t, &t->end);
        return;
    }
    if (!s->held && (!t->order.follow || s->queue.len - s->at > QUEUE_HIGH)) {
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
    if (f != NULL && t->end.e.code == 0)
        t->end = *f;
    flush_soon(t);
}

static void on_timer(void *ctx)
{
    struct tailing *t = ctx;
    t->due = false;
    flush(t);
}

/* ---- beginning */

static int open_source(struct tailing *t, const struct compose_box *b, struct err *e)
{
    static const struct driver_logs_user user = {on_line, on_done};
    struct source *s = &t->sources[t->n];
    struct driver_logs_order o = t->order;
    s->t = t;
    buf_init(&s->queue, QUEUE_MAX);
    compose_box_part(b, s->name, sizeof(s->name));
    o.id = slice_of(b->name);
    int rc = docker_engine_logs(t->op.c->d, &o, &user, s, &s->call, e);
    if (rc == 0)
        t->n++;
    else
        buf_done(&s->queue);
    return rc;
}

static void looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct tailing *t = ctx;
    struct fault bad = {0};
    struct slice part = slice_of(t->part);
    t->look = NULL;
    t->sources = f == NULL ? mem_calloc(l->n_boxes + 1, sizeof(*t->sources)) : NULL;
    if (f == NULL && t->sources == NULL)
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; f == NULL && i < l->n_boxes && bad.e.code == 0; i++) {
        char name[NAME_ROOM];
        if (part.len > 0 && !compose_part_is(&l->boxes[i], part))
            continue;
        compose_box_part(&l->boxes[i], name, sizeof(name));
        t->width = strlen(name) > t->width ? strlen(name) : t->width;
        (void)open_source(t, &l->boxes[i], &bad.e);
    }
    /* One service that was asked for by its name needs none before its lines. */
    t->named = part.len == 0 || t->n > 1;
    if (f == NULL && bad.e.code == 0 && t->n == 0)
        (void)compose_no_part(&bad, l, part);
    if (f != NULL || bad.e.code != 0)
        tailing_end(t, f != NULL ? f : &bad);
    else if (t->paused)
        for (size_t i = 0; i < t->n; i++)
            t->sources[i].call->pause(t->sources[i].call, true);
}

static void tailing_pause(struct driver_call *call, bool paused)
{
    struct tailing *t = CONTAINER_OF(call, struct tailing, base);
    if (t->paused == paused || t->over)
        return;
    t->paused = paused;
    for (size_t i = 0; i < t->n; i++) {
        struct source *s = &t->sources[i];
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
    buf_init(&t->line, QUEUE_MAX);
    rc = loop_timer_init(c->loop, &t->timer, on_timer, t);
    if (rc != 0) {
        mem_free(t);
        return err_set(e, rc, "out of memory");
    }
    compose_op_begin(&t->op, c, tailing_drop);
    if (o->part.len > 0 && (t->part = mem_strndup(o->part.p, o->part.len)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = compose_look_start(c, o->id, false, looked, t, &t->look, e);
    if (rc != 0)
        tailing_free(t);
    else
        *ret = &t->base;
    return rc;
}
