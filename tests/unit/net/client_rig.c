#include "client_rig.h"

#include "../base/patience.h"
#include "base/mem.h"
#include "base/str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { GUARD_MS = 5, PEER_MAX = 32 << 20 };

/* ---- the peer -------------------------------------------------------------------------------- */

static void on_conn_closed(uv_handle_t *h)
{
    struct peer_conn *c = h->data;

    c->rig->open--;
    if (c->rig->last == c)
        c->rig->last = NULL;
    buf_done(&c->in);
    free(c);
}

void peer_close(struct peer_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_conn_closed);
}

struct peer_out {
    uv_write_t req;
    char data[];
};

static void on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req->data);
}

/* The peer's own memory comes from malloc: only the client's allocations are made to fail. */
void peer_write(struct peer_conn *c, const void *p, size_t n)
{
    struct peer_out *o;
    uv_buf_t b;

    if (c->closing)
        return;
    o = malloc(sizeof(*o) + n);
    assert_non_null(o);
    memcpy(o->data, p, n);
    o->req.data = o;
    b = uv_buf_init(o->data, (unsigned)n);
    if (uv_write(&o->req, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0)
        free(o);
}

void peer_say(struct peer_conn *c, const char *text)
{
    peer_write(c, text, strlen(text));
}

size_t peer_queued(const struct peer_conn *c)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe);
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *b)
{
    static char scratch[65536];

    (void)h;
    (void)n;
    *b = uv_buf_init(scratch, sizeof(scratch));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct peer_conn *c = s->data;
    const char *end;

    if (n < 0) {
        peer_close(c);
        return;
    }
    if (buf_add(&c->in, b->base, (size_t)n) != 0) {
        peer_close(c); /* a test lets allocations fail: the peer's may be hit as well */
        return;
    }
    while (!c->closing && c->in.len > 0 && (end = strstr(c->in.data, "\r\n\r\n")) != NULL) {
        size_t head = (size_t)(end - c->in.data) + 4;
        c->requests++;
        c->rig->requests++;
        c->rig->script(c, c->in.data);
        buf_drop(&c->in, head < c->in.len ? head : c->in.len);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct client_rig *r = s->data;
    struct peer_conn *c = calloc(1, sizeof(*c));

    if (status != 0 || c == NULL) {
        free(c);
        return;
    }
    c->rig = r;
    buf_init(&c->in, PEER_MAX);
    uv_pipe_init(s->loop, &c->pipe, 0);
    c->pipe.data = c;
    r->open++;
    if (uv_accept(s, (uv_stream_t *)&c->pipe) != 0) {
        peer_close(c);
        return;
    }
    r->accepted++;
    r->last = c;
    uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}

static void on_guard(uv_timer_t *t)
{
    (void)t;
}

void client_rig_stop_listening(struct client_rig *r, bool unlink_socket)
{
    char aside[80];

    if (!r->listening)
        return;
    r->listening = false;
    /* libuv unlinks the path when it closes the handle: a socket file that nobody serves must be
     * out of its sight then. */
    snprintf(aside, sizeof(aside), "%s.aside", r->path);
    if (!unlink_socket)
        assert_int_equal(rename(r->path, aside), 0);
    uv_close((uv_handle_t *)&r->listener, NULL);
    rig_spin(r, 10);
    if (!unlink_socket)
        assert_int_equal(rename(aside, r->path), 0);
}

/* ---- the rig --------------------------------------------------------------------------------- */

bool client_rig_try_open(struct client_rig *r, peer_script script, const struct client_options *o)
{
    struct client_options mine = {.connect_ms = 300, .idle_ms = 1000};
    struct err e = {0};

    memset(r, 0, sizeof(*r));
    r->script = script;
    snprintf(r->dir, sizeof(r->dir), "/tmp/client-rig-XXXXXX");
    if (mkdtemp(r->dir) == NULL)
        return false;
    snprintf(r->path, sizeof(r->path), "%s/s", r->dir);
    if (loop_new(&r->loop, &clock_system, &e) != 0)
        return false;
    uv_pipe_init(loop_uv(r->loop), &r->listener, 0);
    r->listener.data = r;
    uv_timer_init(loop_uv(r->loop), &r->guard);
    uv_timer_start(&r->guard, on_guard, GUARD_MS, GUARD_MS);
    uv_unref((uv_handle_t *)&r->guard);
    if (uv_pipe_bind(&r->listener, r->path) != 0 ||
        uv_listen((uv_stream_t *)&r->listener, 1024, on_connection) != 0)
        return false;
    r->listening = true;
    if (o != NULL)
        mine = *o;
    if (mine.host == NULL)
        mine.host = "peer";
    if (mine.target.host == NULL)
        mine.target.unix_path = r->path;
    return client_pool_new(&r->pool, r->loop, &mine, &e) == 0;
}

void client_rig_open(struct client_rig *r, peer_script script, const struct client_options *o)
{
    assert_true(client_rig_try_open(r, script, o));
}

void client_rig_end_pool(struct client_rig *r)
{
    client_pool_free(r->pool);
    r->pool = NULL;
    rig_spin(r, 20);
}

static void close_any(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h) && h->type == UV_NAMED_PIPE && h->data != NULL)
        peer_close(h->data);
}

void client_rig_close(struct client_rig *r)
{
    if (r->loop != NULL) {
        client_pool_free(r->pool);
        if (r->listening)
            uv_close((uv_handle_t *)&r->listener, NULL);
        r->listener.data = NULL;
        uv_walk(loop_uv(r->loop), close_any, NULL);
        uv_close((uv_handle_t *)&r->guard, NULL);
        for (int i = 0; i < 1000 && loop_run_once(r->loop, false); i++)
            continue;
        loop_free(r->loop);
    }
    unlink(r->path);
    rmdir(r->dir);
}

bool rig_wait(struct client_rig *r, const int *what, int n, unsigned ms)
{
    struct patience until = patience_of(ms);

    uv_ref((uv_handle_t *)&r->guard);
    while (*what < n && patience_left(&until))
        loop_run_once(r->loop, true);
    uv_unref((uv_handle_t *)&r->guard);
    return *what >= n;
}

void rig_spin(struct client_rig *r, unsigned ms)
{
    static const int never;

    (void)rig_wait(r, &never, 1, ms);
}

/* ---- results --------------------------------------------------------------------------------- */

static void on_head(void *ctx, const struct client_response *a)
{
    struct result *r = ctx;
    const struct http_header *h = http_find(a->headers, a->n_headers, "x-test");

    assert_int_equal(r->heads, 0);
    assert_int_equal(r->done, 0);
    r->heads++;
    r->status = a->status;
    r->n_headers = a->n_headers;
    snprintf(r->reason, sizeof(r->reason), "%.*s", (int)a->reason.len, a->reason.p);
    if (h != NULL)
        snprintf(r->header, sizeof(r->header), "%.*s", (int)h->value.len, h->value.p);
    if (r->on_head != NULL)
        r->on_head(r);
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct result *r = ctx;

    assert_int_equal(r->heads, 1);
    assert_int_equal(r->done, 0);
    assert_true(n > 0);
    r->pieces++;
    buf_add(&r->body, p, n);
    if (r->on_piece != NULL)
        r->on_piece(r);
}

static void finish(struct result *r, const struct err *e)
{
    r->done++;
    r->call = NULL;
    r->e = *e;
    assert_int_equal(r->done, 1);
    if (r->on_done != NULL)
        r->on_done(r);
}

static void on_done(void *ctx, const struct err *e)
{
    finish(ctx, e);
}

static void on_fetched(void *ctx, const struct err *e, int status, const struct client_response *a,
                       struct slice body)
{
    struct result *r = ctx;

    r->status = status;
    if (e->code == 0) {
        on_head(ctx, a);
        buf_add(&r->body, body.p, body.len);
    }
    finish(r, e);
}

void result_init(struct result *r, struct client_rig *rig)
{
    memset(r, 0, sizeof(*r));
    r->rig = rig;
    buf_init(&r->body, PEER_MAX);
}

void result_free(struct result *r)
{
    buf_done(&r->body);
}

static const struct client_request get = {.method = HTTP_METHOD_GET, .target = {"/", 1}};

int result_send(struct result *r, const struct client_request *q)
{
    static const struct client_user user = {on_head, on_body, on_done};
    struct err e = {0};
    int rc = client_send(r->rig->pool, q != NULL ? q : &get, &user, r, &r->call, &e);

    assert_int_equal(r->done, 0); /* never inside client_send */
    assert_int_equal(rc, e.code);
    return rc;
}

int result_fetch(struct result *r, const struct client_request *q)
{
    struct err e = {0};
    int rc = client_fetch(r->rig->pool, q != NULL ? q : &get, on_fetched, r, &r->call, &e);

    assert_int_equal(r->done, 0);
    assert_int_equal(rc, e.code);
    return rc;
}
