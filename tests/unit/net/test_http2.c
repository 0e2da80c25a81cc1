/* HTTP/2 server against a raw nghttp2 client session over a loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "../base/patience.h"
#include "base/mem.h"
#include "base/str.h"
#include "net_rig.h"

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};

/* ---- the client ---- */

struct answer {
    int32_t id;
    int status;
    int informational;
    bool ended, closed;
    uint32_t code;
    struct buf headers, body, trailers;
    bool in_trailers;
};

struct client {
    struct rig *r;
    int fd;
    nghttp2_session *s;
    struct answer a[300];
    size_t n;
    bool gone, goaway, auto_window;
    uint32_t goaway_code;
    int32_t goaway_last;
    int pings;
};

static struct answer *answer_of(struct client *c, int32_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->a[i].id == id)
            return &c->a[i];
    return NULL;
}

static int cl_header(nghttp2_session *s BASE_UNUSED, const nghttp2_frame *f, const uint8_t *n,
                     size_t nl, const uint8_t *v, size_t vl, uint8_t flags BASE_UNUSED, void *ctx)
{
    struct answer *a = answer_of(ctx, f->hd.stream_id);
    if (a == NULL)
        return 0;
    if (nl == 7 && memcmp(n, ":status", 7) == 0) {
        int status = (v[0] - '0') * 100 + (v[1] - '0') * 10 + v[2] - '0';
        if (status < 200)
            a->informational = status;
        else
            a->status = status;
        return 0;
    }
    struct buf *b = f->headers.cat == NGHTTP2_HCAT_HEADERS && a->status != 0 && a->in_trailers
                        ? &a->trailers
                        : &a->headers;
    buf_add(b, n, nl);
    buf_addlit(b, ": ");
    buf_add(b, v, vl);
    buf_addlit(b, "\n");
    return 0;
}

static int cl_frame(nghttp2_session *s BASE_UNUSED, const nghttp2_frame *f, void *ctx)
{
    struct client *c = ctx;
    struct answer *a = answer_of(c, f->hd.stream_id);
    if (a != NULL && f->hd.type == NGHTTP2_HEADERS && a->status != 0)
        a->in_trailers = true;
    if (a != NULL && (f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
        (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        a->ended = true;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        c->goaway = true;
        c->goaway_code = f->goaway.error_code;
        c->goaway_last = f->goaway.last_stream_id;
    }
    if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK))
        c->pings++;
    return 0;
}

static int cl_data(nghttp2_session *s BASE_UNUSED, uint8_t flags BASE_UNUSED, int32_t id,
                   const uint8_t *p, size_t n, void *ctx)
{
    struct answer *a = answer_of(ctx, id);
    if (a != NULL)
        buf_add(&a->body, p, n);
    return 0;
}

static int cl_close(nghttp2_session *s BASE_UNUSED, int32_t id, uint32_t code, void *ctx)
{
    struct answer *a = answer_of(ctx, id);
    if (a != NULL) {
        a->closed = true;
        a->code = code;
    }
    return 0;
}

static void client_open(struct client *c, struct rig *r, bool auto_window)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *o;
    *c = (struct client){.r = r, .fd = rig_connect(r), .auto_window = auto_window};
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, cl_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, cl_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, cl_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, cl_close);
    nghttp2_option_new(&o);
    nghttp2_option_set_no_auto_window_update(o, !auto_window);
    nghttp2_option_set_no_http_messaging(o, 1);
    nghttp2_session_client_new2(&c->s, cb, c, o);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->s, 0, NULL, 0);
}

static void client_flush(struct client *c)
{
    const uint8_t *p;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(c->s, &p)) > 0)
        rig_send(c->r, c->fd, p, (size_t)n);
}

/* Exchanges bytes for some milliseconds, or until the condition. */
static bool client_run(struct client *c, unsigned ms, bool (*done)(struct client *c))
{
    struct patience end = patience_of(ms);
    do {
        _cleanup_(buf_done) struct buf b = BUF_INIT(16u << 20);
        client_flush(c);
        bool over = rig_read_until(c->r, c->fd, &b, NULL, NULL, 1);
        if (b.len > 0)
            nghttp2_session_mem_recv(c->s, (uint8_t *)b.data, b.len);
        c->gone = c->gone || over;
        if (done != NULL && done(c))
            return true;
        if (c->gone)
            return false;
    } while (patience_left(&end));
    return false;
}

static void client_done(struct client *c)
{
    close(c->fd);
    nghttp2_session_del(c->s);
    for (size_t i = 0; i < c->n; i++) {
        buf_done(&c->a[i].headers);
        buf_done(&c->a[i].body);
        buf_done(&c->a[i].trailers);
    }
}

struct upload {
    const char *p;
    size_t left;
    bool keep_open;
};

static ssize_t cl_read(nghttp2_session *s BASE_UNUSED, int32_t id BASE_UNUSED, uint8_t *buf,
                       size_t len, uint32_t *flags, nghttp2_data_source *src, void *ctx BASE_UNUSED)
{
    struct upload *u = src->ptr;
    size_t n = u->left < len ? u->left : len;
    if (n == 0 && u->keep_open)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(buf, u->p, n);
    u->p += n;
    u->left -= n;
    if (u->left == 0 && !u->keep_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }

static struct answer *ask_nv(struct client *c, const nghttp2_nv *nv, size_t n, struct upload *u)
{
    nghttp2_data_provider d = {.source.ptr = u, .read_callback = cl_read};
    struct answer *a = &c->a[c->n++];
    assert_true(c->n <= ARRAY_LEN(c->a));
    *a = (struct answer){
        .headers = BUF_INIT(100000), .body = BUF_INIT(16u << 20), .trailers = BUF_INIT(10000)};
    a->id = nghttp2_submit_request(c->s, NULL, nv, n, u ? &d : NULL, NULL);
    assert_true(a->id > 0);
    return a;
}

static struct answer *ask(struct client *c, const char *method, const char *path, struct upload *u)
{
    const nghttp2_nv nv[] = {NV(":method", method), NV(":scheme", "http"), NV(":path", path),
                             NV(":authority", "localhost:1")};
    return ask_nv(c, nv, ARRAY_LEN(nv), u);
}

static bool all_closed(struct client *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (!c->a[i].closed)
            return false;
    return true;
}

/* ---- the application ---- */

struct app {
    int requests, closed, closed_err, ends, end_err, drained;
    size_t body;
    struct exchange *x;
    char note[512];
    struct slice payload;
    size_t written;
    bool paused;
};
static struct app app;

static void app_body(void *ctx BASE_UNUSED, struct exchange *x BASE_UNUSED,
                     const char *p BASE_UNUSED, size_t n)
{
    app.body += n;
    if (app.paused)
        exchange_pause(x);
}

static void app_end(void *ctx BASE_UNUSED, struct exchange *x, int err)
{
    app.ends++;
    app.end_err = err;
    size_t n;
    const struct http_header *t = exchange_trailers(x, &n);
    for (size_t i = 0; i < n; i++)
        snprintf(app.note, sizeof(app.note), "%.*s=%.*s", (int)t[i].name.len, t[i].name.p,
                 (int)t[i].value.len, t[i].value.p);
    if (err == 0 && slice_eqs(exchange_request(x)->path, "/upload")) {
        char text[32];
        int k = snprintf(text, sizeof(text), "%zu", app.body);
        exchange_respond(x, &(struct http_response){.status = 200},
                         (struct slice){text, (size_t)k});
    }
}

static void app_closed(void *ctx BASE_UNUSED, struct exchange *x, int err)
{
    app.closed++;
    app.closed_err = err;
    if (app.x == x)
        app.x = NULL;
}

static void write_more(struct exchange *x)
{
    static char block[30000];
    memset(block, 'b', sizeof(block));
    while (app.written < app.payload.len) {
        size_t n = app.payload.len - app.written;
        if (n > sizeof(block))
            n = sizeof(block);
        if (exchange_write(x, (struct slice){block, n}) != 0)
            return;
        app.written += n;
    }
    exchange_finish(x, NULL, 0);
}

static void app_drained(void *ctx BASE_UNUSED, struct exchange *x)
{
    app.drained++;
    write_more(x);
}

static const struct exchange_user app_user = {app_body, app_end, app_drained, app_closed};

static void collected(void *ctx BASE_UNUSED, struct exchange *x, int err, struct slice body)
{
    app.ends++;
    app.end_err = err;
    if (err == 0)
        exchange_respond(x, &(struct http_response){.status = 201, .content_type = "text/x"}, body);
}

static void describe(struct exchange *x)
{
    const struct http_request *q = exchange_request(x);
    snprintf(app.note, sizeof(app.note), "%.*s|%.*s|%.*s|%.*s|v%d|b%d|c%.*s",
             (int)q->method_text.len, q->method_text.p, (int)q->path.len, q->path.p,
             (int)q->query.len, q->query.p ? q->query.p : "", (int)q->host.len, q->host.p,
             q->version, q->has_body, (int)exchange_header(x, "cookie").len,
             exchange_header(x, "cookie").p ? exchange_header(x, "cookie").p : "");
}

static void handler(void *ctx BASE_UNUSED, struct exchange *x)
{
    const struct http_request *q = exchange_request(x);
    struct http_header extra = {SLICE_LIT("x-extra"), SLICE_LIT("1")};
    struct http_response ok = {
        .status = 200, .content_type = "text/plain", .headers = &extra, .n_headers = 1};
    app.requests++;
    describe(x);
    if (slice_eqs(q->path, "/hello")) {
        exchange_respond(x, &ok, SLICE_LIT("Hello"));
    } else if (slice_eqs(q->path, "/empty")) {
        exchange_respond(x, &(struct http_response){.status = 204}, (struct slice){NULL, 0});
    } else if (slice_eqs(q->path, "/bad-header")) {
        extra.value = SLICE_LIT("a\r\nb: c");
        exchange_respond(x, &ok, SLICE_LIT("Hello"));
    } else if (slice_eqs(q->path, "/trailers")) {
        struct http_header t = {SLICE_LIT("grpc-status"), SLICE_LIT("0")};
        exchange_set_user(x, &app_user, NULL);
        assert_int_equal(exchange_start(x, &ok), 0);
        assert_int_equal(exchange_write(x, SLICE_LIT("part")), 0);
        assert_int_equal(exchange_finish(x, &t, 1), 0);
    } else if (slice_eqs(q->path, "/big")) {
        exchange_set_user(x, &app_user, NULL);
        assert_int_equal(exchange_start(x, &ok), 0);
        write_more(x);
    } else if (slice_eqs(q->path, "/later") || slice_eqs(q->path, "/upload")) {
        exchange_set_user(x, &app_user, NULL);
        app.x = x;
    } else if (slice_eqs(q->path, "/collect")) {
        exchange_collect(x, 1000, collected, NULL);
    } else if (slice_eqs(q->path, "/abort")) {
        exchange_set_user(x, &app_user, NULL);
        exchange_start(x, &ok);
        exchange_write(x, SLICE_LIT("half"));
        exchange_abort(x);
    }
    /* Anything else: no answer, no user. */
}

static void open_rig(struct rig *r, const struct http_limits *l)
{
    app = (struct app){0};
    rig_open(r, protocols, l, handler, NULL);
}

/* ---- tests ---- */

static void simple(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    struct answer *a = ask(&c, "GET", "/hello?a=b", NULL);
    assert_true(client_run(&c, 2000, all_closed));
    assert_string_equal(app.note, "GET|/hello|a=b|localhost:1|v20|b0|c");
    assert_int_equal(a->status, 200);
    assert_int_equal(a->code, 0);
    assert_int_equal(a->body.len, 5);
    assert_memory_equal(a->body.data, "Hello", 5);
    assert_true(slice_starts((struct slice){a->headers.data, a->headers.len}, "date: "));
    assert_non_null(
        strstr(a->headers.data,
               "GMT\nserver: gantry\ncontent-length: 5\ncontent-type: text/plain\nx-extra: 1\n"));
    a = ask(&c, "HEAD", "/hello", NULL);
    struct answer *b = ask(&c, "GET", "/empty", NULL);
    struct answer *none = ask(&c, "GET", "/nobody", NULL);
    struct answer *bad = ask(&c, "GET", "/bad-header", NULL);
    struct answer *connect = ask(&c, "DELETE", "/hello", NULL);
    assert_true(client_run(&c, 2000, all_closed));
    assert_int_equal(a->status, 200);
    assert_int_equal(a->body.len, 0);
    assert_non_null(strstr(a->headers.data, "content-length: 5\n"));
    assert_int_equal(b->status, 204);
    assert_null(strstr(b->headers.data, "content-length"));
    assert_int_equal(none->status, 500);
    assert_int_equal(bad->status, 500);
    assert_null(strstr(bad->headers.data, "b: c"));
    assert_int_equal(connect->status, 200);
    client_done(&c);
    rig_run(&r, 10);
    assert_int_equal(server_stats(r.server)->exchanges, 0);
    assert_int_equal(server_stats(r.server)->connections, 0);
    rig_close(&r);
}

static void trailers_and_cookies(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    const nghttp2_nv nv[] = {NV(":method", "GET"), NV(":scheme", "http"), NV(":path", "/trailers"),
                             NV("cookie", "a=1"),  NV("host", "h"),       NV("cookie", "b=2"),
                             NV("x", "y"),         NV("cookie", "c=3")};
    struct answer *a = ask_nv(&c, nv, ARRAY_LEN(nv), NULL);
    assert_true(client_run(&c, 2000, all_closed));
    assert_string_equal(app.note, "GET|/trailers||h|v20|b0|ca=1; b=2; c=3");
    assert_int_equal(a->body.len, 4);
    assert_string_equal(a->trailers.data, "grpc-status: 0\n");
    assert_null(strstr(a->headers.data, "content-length"));
    assert_int_equal(app.closed, 1);
    assert_int_equal(app.closed_err, 0);
    assert_int_equal(app.ends, 0); /* answered inside the handler: only closed is heard */
    client_done(&c);
    rig_close(&r);
}

static void request_trailers(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    const nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/later"),
                             NV("host", "h")};
    const nghttp2_nv tr[] = {NV("checksum", "xyz")};
    struct upload u = {.p = "", .left = 0, .keep_open = true};
    struct answer *a = ask_nv(&c, nv, ARRAY_LEN(nv), &u);
    client_run(&c, 30, NULL);
    assert_int_equal(app.ends, 0);
    nghttp2_submit_trailer(c.s, a->id, tr, 1);
    client_run(&c, 30, NULL);
    assert_int_equal(app.ends, 1);
    assert_string_equal(app.note, "checksum=xyz");
    assert_int_equal(
        exchange_respond(app.x, &(struct http_response){.status = 200}, SLICE_LIT("ok")), 0);
    assert_int_equal(app.closed, 0); /* never from inside the call */
    assert_true(client_run(&c, 2000, all_closed));
    assert_int_equal(app.closed, 1);
    client_done(&c);
    rig_close(&r);
}

/* Each case is a request of its own connection: status 0 means a reset. */
static void bad_requests(void **state BASE_UNUSED)
{
#define BASE NV(":method", "GET"), NV(":scheme", "http"), NV(":path", "/hello")
    static char long_path[9000], long_value[20000];
    memset(long_path, '/', sizeof(long_path) - 1);
    memset(long_value, 'v', sizeof(long_value) - 1);
    const struct {
        nghttp2_nv nv[8];
        size_t n;
        int status;
    } t[] = {
        {{BASE}, 3, 0}, /* no host at all: nghttp2 resets */
        {{BASE, NV(":authority", "a"), NV("host", "b")}, 5, 400},
        {{BASE, NV(":authority", "A"), NV("host", "a")}, 5, 200},
        {{BASE, NV("host", "a"), NV("host", "a")}, 5, 0},
        {{BASE, NV("host", "a,b")}, 4, 400},
        {{BASE, NV(":authority", "user@a")}, 4, 400},
        {{BASE, NV(":authority", "a"), NV("connection", "close")}, 5, 0},
        {{BASE, NV(":authority", "a"), NV("Upper", "x")}, 5, 200}, /* the client lower-cases */
        {{BASE, NV(":authority", "a"), NV("x", "a\nb")}, 5, 0},
        {{NV(":method", "GET"), NV(":scheme", "http"), NV(":path", "nopath"), NV("host", "a")},
         4,
         0},
        {{NV(":method", "CONNECT"), NV(":authority", "a:1")}, 2, 501},
        {{NV(":method", "GET"), NV(":scheme", "http"), NV(":path", long_path), NV("host", "a")},
         4,
         414},
        {{BASE, NV("host", "a"), NV("big", long_value)}, 5, 431},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct rig r;
        struct client c;
        open_rig(&r, NULL);
        client_open(&c, &r, true);
        struct answer *a = ask_nv(&c, t[i].nv, t[i].n, NULL);
        if (!client_run(&c, 2000, all_closed))
            fail_msg("case %zu: no end", i);
        if (a->status != t[i].status)
            fail_msg("case %zu: status %d instead of %d", i, a->status, t[i].status);
        assert_int_equal(app.requests, t[i].status == 200);
        /* The connection serves on. */
        struct answer *b = ask(&c, "GET", "/hello", NULL);
        assert_true(client_run(&c, 2000, all_closed));
        assert_int_equal(b->status, 200);
        client_done(&c);
        rig_close(&r);
    }
}

static void many_headers(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    static nghttp2_nv nv[200];
    const nghttp2_nv base[] = {BASE, NV("host", "a")};
    memcpy(nv, base, sizeof(base));
    for (size_t i = ARRAY_LEN(base); i < ARRAY_LEN(nv); i++)
        nv[i] = (nghttp2_nv)NV("x", "y");
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    struct answer *a = ask_nv(&c, nv, 103, NULL); /* 3 pseudo headers and 100 */
    struct answer *b = ask_nv(&c, nv, 105, NULL);
    assert_true(client_run(&c, 2000, all_closed));
    assert_int_equal(a->status, 200);
    assert_int_equal(b->status, 431);
    client_done(&c);
    rig_close(&r);
}

static void uploads(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    static char data[900000];
    memset(data, 'u', sizeof(data));
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    struct upload u = {data, sizeof(data), false};
    struct answer *a = ask(&c, "POST", "/upload", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 200);
    assert_memory_equal(a->body.data, "900000", 6);
    /* Nobody reads it: it is dropped, and the answer stands. */
    u = (struct upload){data, sizeof(data), false};
    a = ask(&c, "POST", "/hello", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 200);
    assert_int_equal(u.left, 0);
    /* Collected within its own limit, and over it. */
    u = (struct upload){data, 1000, false};
    a = ask(&c, "POST", "/collect", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 201);
    assert_int_equal(a->body.len, 1000);
    u = (struct upload){data, 1001, false};
    a = ask(&c, "POST", "/collect", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 413);
    assert_int_equal(app.end_err, ERR_LIMIT);
    client_done(&c);
    rig_close(&r);
}

static void upload_over_limit(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    static char data[3000000];
    struct http_limits l = http_limits_default;
    l.max_body = 100000;
    open_rig(&r, &l);
    client_open(&c, &r, true);
    struct upload u = {data, sizeof(data), false};
    struct answer *a = ask(&c, "POST", "/upload", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 413);
    assert_int_equal(a->code, NGHTTP2_NO_ERROR);
    assert_true(u.left > 0);
    assert_int_equal(app.end_err, ERR_LIMIT);
    /* Without a content-length, and told in advance. */
    const nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/upload"),
                             NV("host", "h"), NV("content-length", "3000000")};
    u = (struct upload){data, sizeof(data), false};
    a = ask_nv(&c, nv, ARRAY_LEN(nv), &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 413);
    assert_true(u.left > sizeof(data) / 2);
    client_done(&c);
    rig_close(&r);
}

/* A paused exchange stops its peer at the window, and no other stream of the connection. */
static void pause_resume(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    static char data[500000];
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    app.paused = true;
    struct upload u = {data, sizeof(data), false};
    struct answer *a = ask(&c, "POST", "/upload", &u);
    client_run(&c, 100, NULL);
    assert_true(app.body > 0 && app.body <= 65535);
    assert_true(u.left >= sizeof(data) - 2 * 65535);
    size_t before = u.left;
    struct answer *b = ask(&c, "GET", "/hello", NULL);
    client_run(&c, 100, NULL);
    assert_int_equal(b->status, 200);
    assert_int_equal(u.left, before);
    app.paused = false;
    exchange_resume(app.x);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(app.body, sizeof(data));
    assert_int_equal(a->status, 200);
    client_done(&c);
    rig_close(&r);
}

/* Trailers that come while the body is still held: told with the end, after it. */
static void pause_trailers(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    const nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/later"),
                             NV("host", "h")};
    const nghttp2_nv tr[] = {NV("checksum", "xyz")};
    static const char data[40000];
    app.paused = true;
    struct upload u = {.p = data, .left = sizeof(data), .keep_open = true};
    struct answer *a = ask_nv(&c, nv, ARRAY_LEN(nv), &u);
    client_run(&c, 50, NULL);
    assert_true(app.body > 0 && app.body < sizeof(data));
    nghttp2_submit_trailer(c.s, a->id, tr, 1);
    client_run(&c, 50, NULL);
    assert_int_equal(app.ends, 0);
    app.paused = false;
    exchange_resume(app.x);
    client_run(&c, 50, NULL);
    assert_int_equal(app.body, sizeof(data));
    assert_int_equal(app.ends, 1);
    assert_string_equal(app.note, "checksum=xyz");
    exchange_respond(app.x, &(struct http_response){.status = 200}, SLICE_LIT("ok"));
    assert_true(client_run(&c, 2000, all_closed));
    client_done(&c);
    rig_close(&r);
}

/* A peer that gives no window: writing is refused at the limit, and goes on by `drained`. */
static void back_pressure(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, false);
    app.payload.len = 6000000;
    struct answer *a = ask(&c, "GET", "/big", NULL);
    client_run(&c, 100, NULL);
    assert_true(a->body.len <= 65535);
    assert_true(app.written < 1200000);
    assert_int_equal(app.drained, 0);
    for (int i = 0; i < 10000 && !a->closed; i++) {
        nghttp2_session_consume(c.s, a->id, 65535);
        client_run(&c, 2, NULL);
    }
    assert_true(a->closed);
    assert_int_equal(a->body.len, 6000000);
    assert_true(app.drained > 0);
    assert_int_equal(app.closed, 1);
    assert_int_equal(app.closed_err, 0);
    client_done(&c);
    rig_close(&r);
}

static void peer_resets(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    struct answer *a = ask(&c, "GET", "/later", NULL);
    client_run(&c, 30, NULL);
    assert_non_null(app.x);
    nghttp2_submit_rst_stream(c.s, 0, a->id, NGHTTP2_CANCEL);
    client_run(&c, 30, NULL);
    assert_int_equal(app.closed, 1);
    assert_int_equal(app.closed_err, ERR_GONE);
    a = ask(&c, "GET", "/abort", NULL);
    assert_true(client_run(&c, 2000, all_closed));
    assert_int_equal(a->code, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(app.closed, 2);
    /* The whole connection goes. */
    ask(&c, "GET", "/later", NULL);
    client_run(&c, 30, NULL);
    client_done(&c);
    rig_run(&r, 30);
    assert_int_equal(app.closed, 3);
    assert_int_equal(app.closed_err, ERR_GONE);
    rig_close(&r);
}

static bool got_goaway(struct client *c)
{
    return c->goaway;
}

static void rapid_reset(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    for (int round = 0; round < 20 && !c.gone; round++) {
        c.n = 0; /* answers are of no interest */
        for (int i = 0; i < 50; i++) {
            struct answer *a = ask(&c, "GET", "/later", NULL);
            buf_done(&a->headers);
            client_flush(&c);
            nghttp2_submit_rst_stream(c.s, 0, a->id, NGHTTP2_CANCEL);
        }
        client_run(&c, 5, NULL);
    }
    assert_true(c.gone || client_run(&c, 2000, got_goaway));
    assert_true(c.goaway);
    assert_int_equal(c.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(app.requests <= 300);
    rig_run(&r, 20);
    assert_int_equal(app.closed, app.requests);
    client_done(&c);
    rig_close(&r);
}

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/* Raw frames repeated; the connection must end with ENHANCE_YOUR_CALM. */
static void floods(void **state BASE_UNUSED)
{
    static const struct {
        const char *p;
        size_t n;
        uint32_t code;
    } t[] = {
#define F(s) {s, sizeof(s) - 1, NGHTTP2_ENHANCE_YOUR_CALM}
        F("\0\0\x08\x06\0\0\0\0\0"
          "12345678"),                             /* PING */
        F("\0\0\0\x04\0\0\0\0\0"),                 /* SETTINGS */
        F("\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\x10"), /* PRIORITY */
        F("\0\0\x04\x08\0\0\0\0\0\0\0\0\x01"),     /* WINDOW_UPDATE */
#undef F
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct rig r;
        _cleanup_(buf_done) struct buf in = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20);
        open_rig(&r, NULL);
        int fd = rig_connect(&r);
        rig_send(&r, fd, preface, sizeof(preface) - 1);
        rig_run(&r, 5);
        for (int k = 0; k < 3000; k++)
            buf_add(&out, t[i].p, t[i].n);
        rig_send(&r, fd, out.data, out.len);
        rig_read_until(&r, fd, &in, NULL, NULL, 500);
        /* The last frame is the GOAWAY. */
        size_t n = 17 + (i == 0 ? strlen("too_many_pings") : 0);
        assert_true(in.len > n);
        const unsigned char *g = (const unsigned char *)in.data + in.len - n;
        if (g[3] != NGHTTP2_GOAWAY || g[16] != t[i].code ||
            memcmp(g + 17, "too_many_pings", n - 17) != 0)
            fail_msg("flood %zu: type %d code %d", i, g[3], g[16]);
        close(fd);
        rig_close(&r);
    }
}

/* A field of 3,900 bytes put into the table once, then named by one byte 500 times. */
static void header_bomb(void **state BASE_UNUSED)
{
    struct rig r;
    _cleanup_(buf_done) struct buf in = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20),
                                   block = BUF_INIT(10000);
    buf_addlit(&block, "\x82\x86\x84\x41\x01"
                       "a\x40\x04"
                       "bomb\x7f\xbd\x1d"); /* 127 + 0x3d + 0x1d * 128 = 3,900 */
    for (int i = 0; i < 3900; i++)
        buf_addc(&block, 'v');
    for (int i = 0; i < 500; i++)
        buf_addc(&block, '\xbe');
    buf_add(&out, preface, sizeof(preface) - 1);
    const char head[9] = {0, (char)(block.len >> 8), (char)block.len, 1, 5, 0, 0, 0, 1};
    buf_add(&out, head, sizeof(head));
    buf_add(&out, block.data, block.len);
    open_rig(&r, NULL);
    int fd = rig_connect(&r);
    rig_send(&r, fd, out.data, out.len);
    assert_true(rig_read_until(&r, fd, &in, NULL, NULL, 2000));
    const unsigned char *g = (const unsigned char *)in.data + in.len - 17;
    assert_int_equal(g[3], NGHTTP2_GOAWAY);
    assert_int_equal(g[16], NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(app.requests, 0);
    close(fd);
    rig_close(&r);
}

static void empty_data_and_continuations(void **state BASE_UNUSED)
{
    /* POST / with authority "a", whole, or GET / whose header block goes on and on. */
    static const char open_head[] = "\0\0\x03\x01\0\0\0\0\x01\x82\x86\x84";
    static const char empty_data[] = "\0\0\0\0\0\0\0\0\x01";
    static const char cont[] = "\0\0\0\x09\0\0\0\0\x01";
    for (int which = 0; which < 2; which++) {
        struct rig r;
        _cleanup_(buf_done) struct buf in = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20);
        open_rig(&r, NULL);
        int fd = rig_connect(&r);
        buf_add(&out, preface, sizeof(preface) - 1);
        if (which == 0) {
            buf_add(&out,
                    "\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01"
                    "a",
                    15);
            for (int k = 0; k < 3000; k++)
                buf_add(&out, empty_data, sizeof(empty_data) - 1);
        } else {
            buf_add(&out, open_head, sizeof(open_head) - 1);
            for (int k = 0; k < 3000; k++)
                buf_add(&out, cont, sizeof(cont) - 1);
        }
        rig_send(&r, fd, out.data, out.len);
        assert_true(rig_read_until(&r, fd, &in, NULL, NULL, 2000) || in.len > 0);
        const unsigned char *g = (const unsigned char *)in.data + in.len - 17;
        if (g[3] != NGHTTP2_GOAWAY || g[16] != NGHTTP2_ENHANCE_YOUR_CALM)
            fail_msg("case %d: type %d code %d", which, g[3], g[16]);
        close(fd);
        rig_close(&r);
    }
}

static void drained_server(void *ctx)
{
    *(bool *)ctx = true;
}

/* GOAWAY in two steps, the request under way is answered, then the connection ends. */
static void drain(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    bool done = false;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    struct answer *a = ask(&c, "GET", "/later", NULL);
    client_run(&c, 30, NULL);
    server_drain(r.server, 5000, drained_server, &done);
    assert_true(client_run(&c, 2000, got_goaway));
    assert_int_equal(c.goaway_last, 0x7fffffff);
    client_run(&c, 50, NULL);
    assert_int_equal(c.goaway_last, a->id);
    assert_false(done);
    assert_int_equal(
        exchange_respond(app.x, &(struct http_response){.status = 200}, SLICE_LIT("bye")), 0);
    client_run(&c, 2000, NULL);
    assert_true(c.gone);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->body.len, 3);
    assert_int_equal(c.goaway_code, NGHTTP2_NO_ERROR);
    client_done(&c);
    for (int i = 0; i < 500 && !done; i++)
        rig_run(&r, 1);
    assert_true(done);
    rig_close(&r);
}

static void deadlines(void **state BASE_UNUSED)
{
    struct http_limits l = http_limits_default;
    struct rig r;
    struct client c;
    l.idle_ms = l.head_ms = l.body_ms = l.write_ms = 300;
    open_rig(&r, &l);
    /* Idle. */
    client_open(&c, &r, true);
    struct answer *a = ask(&c, "GET", "/hello", NULL);
    assert_true(client_run(&c, 2000, all_closed));
    client_run(&c, 3000, NULL);
    assert_true(c.gone && c.goaway);
    assert_int_equal(c.goaway_code, NGHTTP2_NO_ERROR);
    client_done(&c);
    /* A body that does not go on. */
    client_open(&c, &r, true);
    struct upload u = {.p = "abc", .left = 3, .keep_open = true};
    a = ask(&c, "POST", "/upload", &u);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->status, 408);
    assert_int_equal(app.end_err, ERR_TIMEOUT);
    client_done(&c);
    /* An answer that is not taken. */
    app.closed = 0;
    app.payload.len = 500000;
    client_open(&c, &r, false);
    a = ask(&c, "GET", "/big", NULL);
    assert_true(client_run(&c, 4000, all_closed));
    assert_int_equal(a->code, NGHTTP2_CANCEL);
    assert_int_equal(app.closed_err, ERR_GONE);
    client_done(&c);
    /* A header block that does not end. */
    int fd = rig_connect(&r);
    rig_send(&r, fd, preface, sizeof(preface) - 1);
    rig_send(&r, fd, "\0\0\x03\x01\0\0\0\0\x01\x82\x86\x84", 12);
    assert_true(rig_read_until(&r, fd, NULL, NULL, NULL, 3000));
    close(fd);
    /* No SETTINGS at all. */
    fd = rig_connect(&r);
    rig_send(&r, fd, preface, 24);
    assert_true(rig_read_until(&r, fd, NULL, NULL, NULL, 3000));
    close(fd);
    rig_close(&r);
}

static void too_many_streams(void **state BASE_UNUSED)
{
    struct http_limits l = http_limits_default;
    struct rig r;
    struct client c;
    l.max_streams = 5;
    open_rig(&r, &l);
    client_open(&c, &r, true);
    for (int i = 0; i < 8; i++)
        ask(&c, "GET", "/later", NULL);
    client_run(&c, 100, NULL);
    assert_int_equal(app.requests, 5);
    client_done(&c);
    rig_close(&r);
    assert_int_equal(app.closed, 5);
    assert_int_equal(app.closed_err, ERR_CANCELLED);
}

static void expects_continue(void **state BASE_UNUSED)
{
    struct rig r;
    struct client c;
    open_rig(&r, NULL);
    client_open(&c, &r, true);
    const nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/upload"),
                             NV("host", "h"), NV("expect", "100-continue")};
    struct upload u = {.p = "", .left = 0, .keep_open = true};
    struct answer *a = ask_nv(&c, nv, ARRAY_LEN(nv), &u);
    client_run(&c, 50, NULL);
    assert_int_equal(a->informational, 100);
    assert_int_equal(a->status, 0);
    u = (struct upload){"12345", 5, false};
    nghttp2_session_resume_data(c.s, a->id);
    assert_true(client_run(&c, 2000, all_closed));
    assert_int_equal(a->status, 200);
    client_done(&c);
    rig_close(&r);
}

static void wrong_preface(void **state BASE_UNUSED)
{
    struct rig r;
    _cleanup_(buf_done) struct buf in = BUF_INIT(10000);
    open_rig(&r, NULL);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense, not a frame", 45);
    assert_true(rig_read_until(&r, fd, &in, NULL, NULL, 2000));
    close(fd);
    /* Byte by byte, and HTTP/1.1 still works next to it. */
    fd = rig_connect(&r);
    for (size_t i = 0; i < 24 + 9; i++) {
        rig_send(&r, fd, preface + i, 1);
        rig_run(&r, 1);
    }
    buf_clear(&in);
    rig_read_until(&r, fd, &in, NULL, NULL, 50);
    assert_true(in.len >= 9);
    assert_int_equal(in.data[3], NGHTTP2_SETTINGS);
    close(fd);
    fd = rig_connect(&r);
    rig_send(&r, fd, "POST /hello HTTP/1.0\r\n\r\n", 24);
    buf_clear(&in);
    assert_true(rig_read_until(&r, fd, &in, NULL, NULL, 2000));
    assert_true(slice_starts((struct slice){in.data, in.len}, "HTTP/1.1 200 OK\r\n"));
    close(fd);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple),
        cmocka_unit_test(trailers_and_cookies),
        cmocka_unit_test(request_trailers),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(many_headers),
        cmocka_unit_test(header_bomb),
        cmocka_unit_test(uploads),
        cmocka_unit_test(upload_over_limit),
        cmocka_unit_test(pause_resume),
        cmocka_unit_test(pause_trailers),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(peer_resets),
        cmocka_unit_test(rapid_reset),
        cmocka_unit_test(floods),
        cmocka_unit_test(empty_data_and_continuations),
        cmocka_unit_test(drain),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(too_many_streams),
        cmocka_unit_test(expects_continue),
        cmocka_unit_test(wrong_preface),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
