/* Logs of a container, line by line, with the engine's own times (GET /containers/{id}/logs). */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_stream.h"
#include "driver/docker/docker_work.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 256 << 10, PENDING_MAX = 16 << 20 };

/* A line that may go on in the next frame: the engine cuts long ones. */
struct part {
    struct buf text;
    int64_t time_ns;
};

struct follow {
    struct driver_call base;
    struct docker_op op;
    struct docker_work *w;
    struct driver_logs_user u;
    void *ctx;
    int64_t tail, since_ns;
    bool follow, tty;
    bool any; /* whoever's the container is */
    struct docker_look *look;
    struct client_call *call;
    struct loop_timer timer; /* goes on after a pause */
    int status;
    struct buf refusal; /* the body of an error answer, or what the engine says of its failure */
    struct docker_stream frames;
    struct buf frame; /* one frame's payload; of a terminal's bytes one line */
    bool inside;      /* the frame has given bytes before: there is no time at its start */
    struct part parts[2];
    struct buf pending; /* bytes that came while paused */
    bool paused, ended, dead;
    struct fault end;
    char id[DOCKER_NAME_MAX + 1];
};

static void follow_closed(void *ctx)
{
    struct follow *f = ctx;
    buf_done(&f->refusal);
    buf_done(&f->frame);
    buf_done(&f->parts[0].text);
    buf_done(&f->parts[1].text);
    buf_done(&f->pending);
    docker_unref(f->op.d);
    mem_free(f);
}

/* No callback comes after it. May be called from any of them: the memory goes later. */
static void follow_free(struct follow *f)
{
    if (f->dead)
        return;
    f->dead = true;
    list_remove(&f->op.link);
    docker_look_cancel(STEAL(f->look));
    if (f->call != NULL)
        client_cancel(STEAL(f->call));
    loop_timer_close(&f->timer, follow_closed);
}

static void follow_end(struct follow *f, const struct fault *why)
{
    if (f->dead)
        return;
    f->u.done(f->ctx, why);
    follow_free(f);
}

static void follow_failed(struct follow *f, const struct err *e)
{
    struct fault why = {0};
    docker_fault(&why, DOCKER_LOOK, e);
    follow_end(f, &why);
}

static void follow_fail(struct docker_op *op, const struct err *e)
{
    struct err out;
    docker_work_words(&out, op->d, e);
    follow_failed(CONTAINER_OF(op, struct follow, op), &out);
}

/* ---- lines */

static void line_out(struct follow *f, int s, struct slice text)
{
    if (f->tty && text.len > 0 && text.p[text.len - 1] == '\r')
        text.len--;
    if (!f->dead)
        f->u.line(f->ctx, s == 0 ? DRIVER_STDOUT : DRIVER_STDERR, f->parts[s].time_ns, text);
}

/* A piece of a line of the stream `s`; `ends`: its last. */
static void piece(struct follow *f, int s, struct slice text, bool ends)
{
    struct part *p = &f->parts[s];
    if (p->text.len == 0 && ends) {
        line_out(f, s, text);
        return;
    }
    if (p->text.len + text.len > LINE_MAX_BYTES) { /* told in parts */
        line_out(f, s, (struct slice){p->text.data, p->text.len});
        buf_clear(&p->text);
    }
    (void)buf_add(&p->text, text.p, text.len);
    if (ends) {
        line_out(f, s, (struct slice){p->text.data, p->text.len});
        buf_clear(&p->text);
    }
}

/* The frame's bytes so far: the time in front, then text, usually one line. */
static void frame_out(struct follow *f, int s)
{
    struct slice text = {f->frame.data, f->frame.len};
    size_t stamp = f->inside ? 0 : docker_time_len(text);
    if (stamp > 0) {
        if (f->parts[s].text.len == 0)
            f->parts[s].time_ns = docker_time_ns((struct slice){text.p, stamp});
        text.p += stamp + 1;
        text.len -= stamp + 1;
    }
    while (text.len > 0 && !f->dead) {
        const char *nl = memchr(text.p, '\n', text.len);
        size_t n = nl != NULL ? (size_t)(nl - text.p) : text.len;
        piece(f, s, (struct slice){text.p, n}, nl != NULL);
        n += nl != NULL;
        text.p += n;
        text.len -= n;
    }
    buf_clear(&f->frame);
}

static void payload(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct follow *f = ctx;
    int s = kind == DOCKER_STREAM_STDERR ? 1 : 0;
    bool over = f->tty ? p[n - 1] == '\n' : n == f->frames.left;
    if (f->dead)
        return;
    if (kind == DOCKER_STREAM_SYSTEM) {
        if (f->refusal.len + n <= DOCKER_REFUSAL_MAX)
            (void)buf_add(&f->refusal, p, n);
        return;
    }
    if (f->frame.len + n > LINE_MAX_BYTES) {
        frame_out(f, s);
        f->inside = true;
    }
    if (n > LINE_MAX_BYTES) /* as a whole, without a copy */
        piece(f, s, (struct slice){p, n}, over);
    else
        (void)buf_add(&f->frame, p, n);
    if (over) {
        frame_out(f, s);
        f->inside = false;
    }
}

/* Up to the end of a line at a time, so that a pause holds from the next line on. */
static void consume(struct follow *f, const char *p, size_t n)
{
    while (n > 0 && !f->dead) {
        const char *nl = memchr(p, '\n', n);
        size_t take = nl != NULL ? (size_t)(nl - p) + 1 : n;
        if (f->paused) {
            (void)buf_add(&f->pending, p, n);
            return;
        }
        (void)docker_stream_feed(&f->frames, p, take, payload, f);
        p += take;
        n -= take;
    }
}

/* ---- the stream */

static void stream_head(void *ctx, const struct client_response *r)
{
    struct follow *f = ctx;
    f->status = r->status;
}

static void stream_body(void *ctx, const char *p, size_t n)
{
    struct follow *f = ctx;
    if (f->status == 200)
        consume(f, p, n);
    else if (f->refusal.len + n <= DOCKER_REFUSAL_MAX)
        (void)buf_add(&f->refusal, p, n);
}

/* All bytes have been looked at. */
static void finish(struct follow *f)
{
    const struct buf *bufs[] = {&f->frame, &f->parts[0].text, &f->parts[1].text, &f->pending};
    struct err e = {0};
    for (size_t i = 0; i < ARRAY_LEN(bufs) && f->end.e.code == 0; i++)
        if (bufs[i]->err != 0)
            fault_set(&f->end, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    bool cut = docker_stream_end(&f->frames) != 0;
    if (f->end.e.code == 0 && cut)
        fault_set(&f->end, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "the engine's log stream is damaged");
    if (f->end.e.code == 0 && f->refusal.len > 0) {
        docker_plain_status(&e, 500, (struct slice){f->refusal.data, f->refusal.len});
        docker_fault(&f->end, DOCKER_LOOK, &e);
    }
    struct slice rest = {f->frame.data, f->frame.len};
    if (f->frame.len > 0 && (!cut || f->inside || docker_time_len(rest) > 0))
        frame_out(f, f->frames.head[0] == DOCKER_STREAM_STDERR);
    for (int s = 0; s < 2 && !f->dead; s++)
        if (f->parts[s].text.len > 0)
            piece(f, s, (struct slice){"", 0}, true);
    follow_end(f, f->end.e.code != 0 ? &f->end : NULL);
}

static void stream_done(void *ctx, const struct err *e)
{
    struct follow *f = ctx;
    struct err out = {0};
    f->call = NULL;
    if (e->code != 0) {
        docker_plain_transport(&out, f->op.d, e, f->op.d->o.answer_ms);
        if (docker_transport_lost(e))
            docker_link_lost(f->op.d);
    } else if (f->status != 200) {
        docker_plain_status(&out, f->status, (struct slice){f->refusal.data, f->refusal.len});
    }
    if (out.code != 0)
        docker_fault(&f->end, DOCKER_LOOK, &out);
    f->ended = true;
    if (!f->paused && f->pending.len == 0)
        finish(f);
}

static const struct client_user stream_user = {stream_head, stream_body, stream_done};

static void on_timer(void *ctx)
{
    struct follow *f = ctx;
    if (f->paused || f->dead)
        return;
    struct buf now = f->pending;
    f->pending = BUF_INIT(PENDING_MAX);
    consume(f, now.data, now.len);
    buf_done(&now);
    if (f->paused || f->dead)
        return;
    if (f->ended)
        finish(f);
    else if (f->call != NULL)
        client_pause(f->call, false);
}

static void follow_pause(struct driver_call *c, bool paused)
{
    struct follow *f = CONTAINER_OF(c, struct follow, base);
    if (f->paused == paused || f->dead)
        return;
    f->paused = paused;
    if (paused && f->call != NULL)
        client_pause(f->call, true);
    else if (!paused)
        loop_timer_start(&f->timer, 0, 0);
}

static void follow_cancel(struct driver_call *c)
{
    follow_free(CONTAINER_OF(c, struct follow, base));
}

/* ---- the steps */

static int stream_send(struct follow *f, struct slice cid, struct err *e)
{
    struct docker *d = f->op.d;
    char path[DOCKER_PATH_SIZE], target[DOCKER_PATH_SIZE + DOCKER_VERSION_SIZE + 2];
    struct buf b = BUF_FIXED(path);
    (void)buf_addf(&b, "/containers/%.*s/logs?stdout=1&stderr=1&timestamps=1&follow=%d&tail=",
                   (int)cid.len, cid.p, f->follow);
    if (f->tail >= 0)
        (void)buf_addi(&b, f->tail);
    else
        (void)buf_addlit(&b, "all");
    if (f->since_ns > 0)
        (void)buf_addf(&b, "&since=%" PRId64 ".%09" PRId64, f->since_ns / (int64_t)NS_PER_S,
                       f->since_ns % (int64_t)NS_PER_S);
    if (docker_target(d, path, target, sizeof(target)) != 0)
        return err_set(e, ERR_RUNTIME, "the engine's id is too long");
    if (d->streams == NULL)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    docker_stream_init(&f->frames, f->tty);
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(target),
        .first_byte_ms = f->follow ? UINT64_MAX : d->o.answer_ms,
        .idle_ms = f->follow ? UINT64_MAX : d->o.answer_ms,
        .max_body = SIZE_MAX, /* nothing is kept but the line under way */
    };
    int rc = client_send(d->streams, &r, &stream_user, f, &f->call, e);
    if (rc == 0 && f->paused)
        client_pause(f->call, true);
    return rc;
}

static void looked(void *ctx, const struct fault *why, struct docker_object *x)
{
    struct follow *f = ctx;
    struct fault none = {0};
    struct err e = {0};
    f->look = NULL;
    if (why != NULL) {
        follow_end(f, why);
    } else if (x == NULL || (!x->ours && !f->any)) {
        fault_set(&none, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                  "there is no container \"%s\"", f->id);
        follow_end(f, &none);
    } else {
        f->tty = x->tty;
        if (stream_send(f, x->o.object_id, &e) != 0)
            follow_failed(f, &e);
    }
}

static int follow_begin(struct docker_op *op, struct err *e)
{
    struct follow *f = CONTAINER_OF(op, struct follow, op);
    return docker_look_start(f->w, slice_of(f->id), false, looked, f, &f->look, e);
}

static int begin(struct docker_work *w, bool any, const struct driver_logs_order *o,
                 const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                 struct err *e)
{
    if (!docker_name_valid(o->id) || o->id.len >= sizeof(((struct follow *)NULL)->id))
        return err_set(e, ERR_NOT_FOUND, "no container can have the name \"%.*s\"",
                       (int)(o->id.len < 200 ? o->id.len : 200), o->id.p);
    struct follow *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    f->base = (struct driver_call){follow_cancel, follow_pause};
    f->op = (struct docker_op){.d = docker_ref(w->d), .begin = follow_begin, .fail = follow_fail};
    list_init(&f->op.link);
    f->w = w;
    f->any = any;
    f->u = *u;
    f->ctx = ctx;
    f->tail = o->tail;
    f->since_ns = o->since_ns;
    f->follow = o->follow;
    memcpy(f->id, o->id.p, o->id.len);
    buf_init(&f->refusal, DOCKER_REFUSAL_MAX);
    buf_init(&f->frame, 2 * LINE_MAX_BYTES);
    buf_init(&f->parts[0].text, 2 * LINE_MAX_BYTES);
    buf_init(&f->parts[1].text, 2 * LINE_MAX_BYTES);
    buf_init(&f->pending, PENDING_MAX);
    int rc = loop_timer_init(w->d->loop, &f->timer, on_timer, f);
    if (rc != 0) {
        follow_closed(f);
        return err_set(e, rc, "out of memory");
    }
    rc = docker_op_start(&f->op, e);
    if (rc != 0)
        follow_free(f);
    else
        *ret = &f->base;
    return rc;
}

int docker_follow(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                  void *ctx, struct driver_call **ret, struct err *e)
{
    return begin(docker_work_of(self), false, o, u, ctx, ret, e);
}

int docker_follow_any(struct docker_work *w, const struct driver_logs_order *o,
                      const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                      struct err *e)
{
    return begin(w, true, o, u, ctx, ret, e);
}
