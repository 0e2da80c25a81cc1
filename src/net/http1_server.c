/* http1_server.c: the life of an HTTP/1.x connection: reading, turns, deadlines, the end. */
#include "base/mem.h"
#include "base/str.h"
#include "net/http1_priv.h"
#include <string.h>

enum { HTTP1_MAGIC = 0x48545031, LOW_MARK = 64 << 10 };

/* ---- requests are used again and again ---- */

static void spares_free(void *first)
{
    for (struct http1_request *r = first; r != NULL;) {
        struct http1_request *next = r->next_spare;
        mem_free(r);
        r = next;
    }
}

struct http1_request *http1_request_get(struct http1 *h)
{
    struct http1_request **spare =
        (struct http1_request **)server_spares(h->conn->server, spares_free);
    struct http1_request *r = *spare;

    if (r != NULL) {
        *spare = r->next_spare;
    } else {
        r = mem_zalloc(sizeof(*r));
        if (r == NULL)
            return NULL;
        r->conn = h;
        http1_request_reset(r);
    }
    r->conn = h;
    exchange_init(&r->x, &http1_ops, h->conn);
    return r;
}

void http1_request_put(struct http1 *h, struct http1_request *r)
{
    struct http1_request **spare =
        (struct http1_request **)server_spares(h->conn->server, spares_free);
    unsigned n = *spare != NULL ? (*spare)->spares : 0;

    http1_request_reset(r);
    if (n >= H1_SPARE_REQUESTS) {
        mem_free(r);
        return;
    }
    r->spares = n + 1;
    r->next_spare = *spare;
    *spare = r;
}

/* ---- turns ---- */

void http1_touch(struct http1 *h)
{
    if (!h->feeding)
        loop_post(stream_loop(h->conn->stream), &h->task);
}

static void pending_drop(struct http1 *h)
{
    mem_free(h->pending);
    h->pending = NULL;
    h->pending_len = 0;
}

void http1_begin_close(struct http1 *h)
{
    struct stream *s = h->conn->stream;

    if (h->lingering || stream_closing(s))
        return;
    h->lingering = true;
    h->linger_left = H1_LINGER_MAX;
    pending_drop(h);
    if (h->req != NULL && h->req->x.state == X_HEAD) {
        http1_request_put(h, h->req);
        h->req = NULL;
    }
    stream_set_limits(s, SIZE_MAX, 0);
    stream_shutdown(s);
}

static void finish_request(struct http1 *h)
{
    struct http1_request *r = h->req;
    bool close = r->close;

    h->req = NULL;
    h->served = true;
    exchange_close(&r->x, 0);
    http1_request_put(h, r);
    if (close)
        http1_begin_close(h);
}

/* If the present request is answered, makes room for the next one. */
static void settle(struct http1 *h)
{
    struct http1_request *r = h->req;
    struct stream *s = h->conn->stream;

    if (r == NULL || h->upgraded || stream_closing(s) || r->x.state < X_ANSWERED)
        return;
    if (r->phase != H1_DONE && r->body_got > r->x.body_max)
        r->close = true; /* was to be read and dropped, but is too long for that */
    if (r->phase != H1_DONE && !r->close)
        return;
    if (r->x.user == NULL) {
        finish_request(h);
    } else if (h->feeding) {
        loop_post(stream_loop(s), &h->task); /* by then what was written has been sent */
    } else if (stream_queued(s) == 0) {
        stream_set_limits(s, SIZE_MAX, LOW_MARK);
        finish_request(h);
    } else {
        stream_set_limits(s, SIZE_MAX, 0); /* `drained` comes when all is sent */
    }
}

/* ---- feeding ---- */

static bool can_go(struct http1 *h)
{
    struct stream *s = h->conn->stream;

    if (h->lingering || h->upgraded || stream_closing(s))
        return false;
    if (h->req != NULL && (h->req->phase == H1_DONE || h->req->x.paused))
        return false;
    if (stream_queued(s) < H1_QUEUE_HIGH)
        return true;
    stream_flush(s);
    return stream_queued(s) < H1_QUEUE_HIGH && !stream_closing(s);
}

static void dispatch(struct http1 *h)
{
    struct http1_request *r = h->req;

    r->x.request_ended = r->phase == H1_DONE;
    if (r->bad_expect) {
        const struct http_response a = {.status = 417, .content_type = "text/plain; charset=utf-8"};
        r->x.state = X_OPEN;
        (void)exchange_respond(&r->x, &a, SLICE_LIT("Expectation Failed"));
        return;
    }
    exchange_dispatch(&r->x);
    if (h->upgraded || r->x.state != X_OPEN || !r->expects)
        return;
    if (r->x.user != NULL && r->x.user->body != NULL && h->rest.len == 0)
        http1_send_continue(r);
}

/* The body is wrong, late or too much for us: the request ends here, and the connection with it. */
static void fail_body(struct http1 *h, int err, int status)
{
    struct http1_request *r = h->req;
    const struct http_response a = {.status = status, .content_type = "text/plain; charset=utf-8"};
    struct slice text = status == 400 ? SLICE_LIT("Invalid HTTP request received.")
                                      : slice_of(http_status_text(status));

    r->keep_alive = false;
    exchange_end(&r->x, err);
    if (r->x.state == X_OPEN)
        (void)exchange_respond(&r->x, &a, text);
    else if (r->x.state == X_STARTED)
        stream_close(h->conn->stream);
    r->close = true;
    http1_touch(h);
}

static size_t feed_body(struct http1 *h, const char *p, size_t n)
{
    struct http1_request *r = h->req;
    int status;
    size_t used = http1_parse_body(r, p, n, &status);

    if (status != 0) {
        server_counts(h->conn->server)->bad_requests++;
        fail_body(h,
                  status == 503   ? ERR_NO_MEMORY
                  : status == 431 ? ERR_LIMIT
                                  : ERR_PROTOCOL,
                  status);
        return n;
    }
    h->rest = (struct slice){p + used, n - used};
    if (r->phase == H1_DONE)
        exchange_end(&r->x, 0);
    return used;
}

static size_t feed_head(struct http1 *h, const char *p, size_t n)
{
    int status;
    size_t used = http1_parse_head(h->req, p, n, &status);

    if (status != 0) {
        http1_refuse(h, status);
        return n;
    }
    h->rest = (struct slice){p + used, n - used};
    if (h->req->phase != H1_HEAD) {
        if (h->conn->waiting == WAIT_HEAD)
            server_conn_wait(h->conn, WAIT_NONE); /* the next head has its full time */
        dispatch(h);
    }
    return used;
}

/* Returns how many bytes found their place; the others have to wait. */
static size_t feed(struct http1 *h, const char *p, size_t n)
{
    size_t at = 0, turns = http1_limits(h)->max_pipelined;

    while (at < n && turns > 0 && can_go(h)) {
        if (h->req == NULL) {
            h->req = http1_request_get(h);
            if (h->req == NULL) {
                http1_refuse(h, 503);
                return n;
            }
            turns--;
        }
        if (h->req->phase == H1_HEAD)
            at += feed_head(h, p + at, n - at);
        else
            at += feed_body(h, p + at, n - at);
        if (h->upgraded)
            return n;
        settle(h);
    }
    return at;
}

static void stash(struct http1 *h, const char *p, size_t n)
{
    char *bigger;

    if (n == 0 || h->lingering || stream_closing(h->conn->stream))
        return;
    bigger = mem_realloc(h->pending, h->pending_len + n);
    if (bigger == NULL) {
        stream_close(h->conn->stream);
        return;
    }
    memcpy(bigger + h->pending_len, p, n);
    h->pending = bigger;
    h->pending_len += n;
}

static void feed_pending(struct http1 *h)
{
    char *p = h->pending;
    size_t n = h->pending_len;

    h->pending = NULL;
    h->pending_len = 0;
    size_t used = feed(h, p, n);
    if (!h->upgraded && used < n && !h->lingering) {
        memmove(p, p + used, n - used);
        h->pending = p;
        h->pending_len = n - used;
        return;
    }
    mem_free(p);
}

/* ---- what the connection waits for ---- */

static void wait_for(struct http1 *h, enum conn_wait what)
{
    if (h->conn->waiting != what)
        server_conn_wait(h->conn, what);
}

static void arm(struct http1 *h)
{
    struct http1_request *r = h->req;

    if (stream_queued(h->conn->stream) > 0)
        wait_for(h, WAIT_WRITE);
    else if (h->lingering)
        wait_for(h, WAIT_LINGER);
    else if (r == NULL && h->pending == NULL)
        h->served ? server_conn_wait(h->conn, WAIT_IDLE) : wait_for(h, WAIT_FIRST_BYTE);
    else if (r != NULL && r->phase == H1_HEAD)
        wait_for(h, WAIT_HEAD);
    else if (r != NULL && r->phase == H1_BODY && !r->x.paused)
        server_conn_wait(h->conn, WAIT_BODY);
    else
        wait_for(h, h->eof ? WAIT_HALF : WAIT_NONE);
}

/* The peer's end was read: what is still worth doing? */
static void after_eof(struct http1 *h)
{
    struct stream *s = h->conn->stream;
    struct http1_request *r = h->req;

    if (r == NULL && h->pending == NULL)
        http1_begin_close(h);
    if (h->lingering) {
        if (stream_queued(s) == 0)
            stream_close(s);
    } else if (r != NULL && r->phase == H1_HEAD && h->pending == NULL) {
        stream_close(s);
    } else if (r != NULL && r->phase == H1_BODY && h->pending == NULL) {
        stream_close(s);
    } else if (r != NULL && r->x.state < X_ANSWERED && stream_hung_up(s)) {
        stream_close(s);
    }
}

static void after(struct http1 *h)
{
    struct stream *s = h->conn->stream;
    bool full;

    if (stream_closing(s))
        return;
    if (h->draining && h->req == NULL && h->pending == NULL)
        http1_begin_close(h); /* the answer that was under way had promised to go on */
    if (h->eof) {
        after_eof(h);
        if (stream_closing(s))
            return;
    }
    full = h->pending_len >= http1_limits(h)->max_head ||
           (h->req != NULL && h->req->x.paused && h->req->phase == H1_BODY);
    if (full)
        stream_pause(s);
    else
        stream_resume(s);
    if (h->pending != NULL && can_go(h))
        loop_post(stream_loop(s), &h->task); /* its turns are used up: the others first */
    arm(h);
}

static void http1_free(struct http1 *h)
{
    loop_task_cancel(&h->task);
    pending_drop(h);
    if (h->req != NULL)
        http1_request_put(h, h->req);
    h->magic = 0;
    mem_free(h);
}

/* The handler paused at the last byte of a body of known length: nothing more comes that would make
 * the parser see the end. */
static void feed_end(struct http1 *h)
{
    struct http1_request *r = h->req;

    if (r != NULL && r->phase == H1_BODY && !r->check.chunked && r->body_left == 0) {
        (void)feed_body(h, "", 0);
        settle(h);
    }
}

static void on_task(struct loop_task *t)
{
    struct http1 *h = CONTAINER_OF(t, struct http1, task);
    struct stream *s = h->conn->stream;

    if (stream_closing(s))
        return;
    settle(h);
    stream_cork(s);
    h->feeding = true;
    if (can_go(h))
        h->pending != NULL ? feed_pending(h) : feed_end(h);
    h->feeding = false;
    if (h->upgraded) {
        http1_free(h);
        stream_uncork(s);
        return;
    }
    stream_uncork(s);
    after(h);
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct http1 *h = ctx;
    size_t used = 0;

    CHECK_MAGIC(h, HTTP1_MAGIC);
    if (h->lingering) {
        if (n > h->linger_left)
            stream_close(h->conn->stream);
        else
            h->linger_left -= n;
        return;
    }
    h->feeding = true;
    if (h->pending == NULL)
        used = feed(h, p, n);
    h->feeding = false;
    if (h->upgraded) {
        http1_free(h);
        return;
    }
    stash(h, p + used, n - used);
    stream_flush(h->conn->stream); /* so that `after` sees what the peer really has not taken */
    after(h);
}

static void on_eof(void *ctx)
{
    struct http1 *h = ctx;

    h->eof = true;
    after(h);
}

static void on_failed(void *ctx, const struct err *e BASE_UNUSED)
{
    struct http1 *h = ctx;

    stream_close(h->conn->stream);
}

static void on_drained(void *ctx)
{
    struct http1 *h = ctx;
    struct http1_request *r = h->req;

    if (r != NULL && r->x.state == X_STARTED && r->x.user != NULL && r->x.user->drained != NULL)
        r->x.user->drained(r->x.ctx, &r->x);
    http1_touch(h);
}

static void on_closed(void *ctx)
{
    struct http1 *h = ctx;
    struct server_conn *c = h->conn;
    struct http1_request *r = h->req;

    CHECK_MAGIC(h, HTTP1_MAGIC);
    if (r != NULL && r->x.state != X_HEAD) {
        bool sent = r->x.state == X_ANSWERED && !c->stream->failed && stream_queued(c->stream) == 0;
        int err = sent ? 0 : server_draining(c->server) && !h->eof ? ERR_CANCELLED : ERR_GONE;
        h->feeding = true; /* nothing it does may come back to this connection */
        exchange_end(&r->x, err != 0 ? err : ERR_GONE);
        exchange_close(&r->x, err);
    }
    http1_free(h);
    server_conn_gone(c);
}

static const struct stream_user http1_user = {
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .drained = on_drained,
    .closed = on_closed,
};

void http1_upgrade(struct http1 *h, void (*taken)(void *ctx, struct stream *s, struct slice early),
                   void *ctx)
{
    struct stream *s = h->conn->stream;
    struct slice early = h->feeding ? h->rest : (struct slice){h->pending, h->pending_len};

    server_conn_wait(h->conn, WAIT_NONE);
    server_conn_upgraded(h->conn);
    h->upgraded = true;
    exchange_close(&h->req->x, 0);
    stream_resume(s);
    taken(ctx, s, early);
    if (!h->feeding)
        http1_free(h);
}

/* ---- the protocol ---- */

static int http1_sniff(const char *p, size_t n)
{
    static const char preface[] = "PRI * HTTP/2.0";
    size_t k = n < sizeof(preface) - 1 ? n : sizeof(preface) - 1;

    if (memcmp(p, preface, k) != 0)
        return 1;
    return k < sizeof(preface) - 1 ? -1 : 0;
}

static int http1_open(struct server_conn *c)
{
    struct http1 *h = mem_zalloc(sizeof(*h));

    if (h == NULL)
        return ERR_NO_MEMORY;
    h->magic = HTTP1_MAGIC;
    h->conn = c;
    loop_task_init(&h->task, on_task);
    c->state = h;
    stream_set_limits(c->stream, SIZE_MAX, LOW_MARK);
    stream_set_user(c->stream, &http1_user, h);
    return 0;
}

static void http1_drain(struct server_conn *c)
{
    struct http1 *h = c->state;

    h->draining = true;
    if (h->req == NULL && h->pending == NULL && !h->lingering)
        stream_close(c->stream);
}

static void http1_expire(struct server_conn *c)
{
    struct http1 *h = c->state;

    switch (c->waiting) {
    case WAIT_HEAD:
        http1_refuse(h, 408);
        arm(h);
        break;
    case WAIT_BODY:
        fail_body(h, ERR_TIMEOUT, 408);
        break;
    case WAIT_WRITE:
        if (stream_queued(c->stream) > 0) {
            stream_close(c->stream);
        } else {
            c->waiting = WAIT_NONE;
            arm(h);
        }
        break;
    default:
        stream_close(c->stream);
        break;
    }
}

const struct protocol protocol_http1 = {
    .name = "http/1.1",
    .sniff = http1_sniff,
    .open = http1_open,
    .drain = http1_drain,
    .expire = http1_expire,
};
