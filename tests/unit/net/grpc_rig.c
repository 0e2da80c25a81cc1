#include "grpc_rig.h"

#include "../base/patience.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/grpc_wire.h"

static struct gc_call *call_of(struct gc *c, int32_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->calls[i].id == id)
            return &c->calls[i];
    return NULL;
}

static int on_header(nghttp2_session *s BASE_UNUSED, const nghttp2_frame *f, const uint8_t *n,
                     size_t nl, const uint8_t *v, size_t vl, uint8_t flags BASE_UNUSED, void *ctx)
{
    struct gc_call *k = call_of(ctx, f->hd.stream_id);
    struct slice name = {(const char *)n, nl}, value = {(const char *)v, vl};
    if (k == NULL)
        return 0;
    if (slice_eqs(name, ":status")) {
        k->http_status = (v[0] - '0') * 100 + (v[1] - '0') * 10 + v[2] - '0';
        return 0;
    }
    if (slice_eqs(name, "grpc-status")) {
        k->status = grpc_status_parse(value);
        k->only_head = !k->seen_head;
    }
    struct buf *b = k->seen_head ? &k->trailers : &k->headers;
    buf_add(b, n, nl);
    buf_addlit(b, ": ");
    buf_add(b, v, vl);
    buf_addlit(b, "\n");
    return 0;
}

static int on_frame(nghttp2_session *s BASE_UNUSED, const nghttp2_frame *f, void *ctx)
{
    struct gc *c = ctx;
    struct gc_call *k = call_of(c, f->hd.stream_id);
    if (k != NULL && f->hd.type == NGHTTP2_HEADERS)
        k->seen_head = true;
    if (k != NULL && (f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
        (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        k->ended = true;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        c->goaway = true;
        c->goaway_code = f->goaway.error_code;
        size_t n = f->goaway.opaque_data_len < 63 ? f->goaway.opaque_data_len : 63;
        if (n > 0)
            memcpy(c->goaway_text, f->goaway.opaque_data, n);
    }
    if (f->hd.type == NGHTTP2_PING)
        *((f->hd.flags & NGHTTP2_FLAG_ACK) != 0 ? &c->acks : &c->pings) += 1;
    return 0;
}

static int on_data(nghttp2_session *s BASE_UNUSED, uint8_t flags BASE_UNUSED, int32_t id,
                   const uint8_t *p, size_t n, void *ctx)
{
    struct gc_call *k = call_of(ctx, id);
    if (k != NULL)
        buf_add(&k->body, p, n);
    return 0;
}

static int on_close(nghttp2_session *s BASE_UNUSED, int32_t id, uint32_t code, void *ctx)
{
    struct gc_call *k = call_of(ctx, id);
    if (k != NULL) {
        k->closed = true;
        k->code = code;
    }
    return 0;
}

static void make_session(struct gc *c, uint32_t window, bool hold)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *o;
    const nghttp2_settings_entry iv = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_option_new(&o);
    nghttp2_option_set_no_auto_window_update(o, hold);
    nghttp2_option_set_no_http_messaging(o, 1);
    nghttp2_session_client_new2(&c->s, cb, c, o);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->s, 0, &iv, window != 0 ? 1 : 0);
}

void gc_open(struct gc *c, struct rig *r, uint32_t window, bool hold)
{
    memset(c, 0, sizeof(*c));
    c->r = r;
    c->fd = rig_connect(r);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    make_session(c, window, hold);
}

void gc_offline(struct gc *c)
{
    memset(c, 0, sizeof(*c));
    c->fd = -1;
    make_session(c, 0, false);
}

void gc_done(struct gc *c)
{
    close(c->fd);
    nghttp2_session_del(c->s);
    for (size_t i = 0; i < c->n; i++) {
        buf_done(&c->calls[i].headers);
        buf_done(&c->calls[i].trailers);
        buf_done(&c->calls[i].body);
        buf_done(&c->calls[i].up);
    }
}

static ssize_t read_up(nghttp2_session *s BASE_UNUSED, int32_t id BASE_UNUSED, uint8_t *buf,
                       size_t len, uint32_t *flags, nghttp2_data_source *src, void *ctx BASE_UNUSED)
{
    struct gc_call *k = src->ptr;
    size_t left = k->up.len - k->up_at, n = left < len ? left : len;
    if (n == 0 && !k->half_close) {
        k->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        memcpy(buf, k->up.data + k->up_at, n);
    k->up_at += n;
    if (k->up_at == k->up.len && k->half_close)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv nv_of(struct slice n, struct slice v)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)n.p, (uint8_t *)(uintptr_t)v.p, n.len, v.len, 0};
}

struct gc_call *gc_call(struct gc *c, const char *path, const char *more)
{
    struct gc_call *k = &c->calls[c->n++];
    nghttp2_data_provider d = {.source.ptr = k, .read_callback = read_up};
    nghttp2_nv nv[32];
    size_t n = 0;
    struct slice rest = slice_of(more), line;
    assert_true(c->n <= GC_CALLS);
    memset(k, 0, sizeof(*k));
    k->status = -1;
    buf_init(&k->headers, 16384);
    buf_init(&k->trailers, 16384);
    buf_init(&k->body, 64u << 20);
    buf_init(&k->up, 64u << 20);
    nv[n++] = nv_of(SLICE_LIT(":method"), SLICE_LIT("POST"));
    nv[n++] = nv_of(SLICE_LIT(":scheme"), SLICE_LIT("http"));
    nv[n++] = nv_of(SLICE_LIT(":path"), slice_of(path));
    nv[n++] = nv_of(SLICE_LIT(":authority"), SLICE_LIT("test"));
    nv[n++] = nv_of(SLICE_LIT("te"), SLICE_LIT("trailers"));
    nv[n++] = nv_of(SLICE_LIT("content-type"), SLICE_LIT("application/grpc"));
    while (more != NULL && slice_split(&rest, '\n', &line) && line.len > 0) {
        const char *colon = memmem(line.p, line.len, ": ", 2);
        assert_non_null(colon);
        struct slice name = {line.p, (size_t)(colon - line.p)};
        struct slice value = {colon + 2, line.len - name.len - 2};
        size_t at = 0;
        while (at < n && !slice_eq((struct slice){(char *)nv[at].name, nv[at].namelen}, name))
            at++;
        assert_true(at < 32);
        nv[at] = nv_of(name, value);
        n = at == n ? n + 1 : n;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (nv[i].valuelen > 0)
            nv[kept++] = nv[i];
    k->id = nghttp2_submit_request(c->s, NULL, nv, kept, &d, NULL);
    assert_true(k->id > 0);
    return k;
}

void gc_bytes(struct gc *c, struct gc_call *k, const void *p, size_t n, bool half_close)
{
    buf_add(&k->up, p, n);
    assert_int_equal(k->up.err, 0);
    k->half_close = half_close;
    if (k->deferred) {
        k->deferred = false;
        nghttp2_session_resume_data(c->s, k->id);
    }
}

void gc_message(struct gc *c, struct gc_call *k, struct slice m, bool half_close)
{
    char prefix[GRPC_PREFIX];
    grpc_prefix(prefix, false, (uint32_t)m.len);
    buf_add(&k->up, prefix, sizeof(prefix));
    gc_bytes(c, k, m.p, m.len, half_close);
}

struct gc_call *gc_unary(struct gc *c, const char *path, struct slice m)
{
    struct gc_call *k = gc_call(c, path, NULL);
    gc_message(c, k, m, true);
    return k;
}

void gc_cancel(struct gc *c, struct gc_call *k)
{
    nghttp2_submit_rst_stream(c->s, 0, k->id, NGHTTP2_CANCEL);
}

void gc_flush(struct gc *c)
{
    const uint8_t *p;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(c->s, &p)) > 0)
        rig_send(c->r, c->fd, p, (size_t)n);
}

bool gc_run(struct gc *c, unsigned ms, bool (*done)(void *ctx), void *ctx)
{
    struct patience end = patience_of(ms);
    do {
        _cleanup_(buf_done) struct buf b = BUF_INIT(16u << 20);
        gc_flush(c);
        bool over = rig_read_until(c->r, c->fd, &b, NULL, NULL, 1);
        if (b.len > 0)
            nghttp2_session_mem_recv(c->s, (uint8_t *)b.data, b.len);
        c->gone = c->gone || over;
        if (done != NULL && done(ctx))
            return true;
        if (c->gone)
            return false;
    } while (patience_left(&end));
    return false;
}

static bool is_closed(void *ctx)
{
    return ((struct gc_call *)ctx)->closed;
}

bool gc_wait(struct gc *c, struct gc_call *k, unsigned ms)
{
    return gc_run(c, ms, is_closed, k);
}

struct slice gc_answer(const struct gc_call *k, size_t n)
{
    struct slice in = {k->body.data, k->body.len};
    for (size_t i = 0;; i++) {
        if (in.len < GRPC_PREFIX)
            return (struct slice){NULL, 0};
        uint32_t len = 0;
        for (size_t b = 1; b < GRPC_PREFIX; b++)
            len = len << 8 | (uint8_t)in.p[b];
        in.p += GRPC_PREFIX;
        in.len -= GRPC_PREFIX;
        if (len > in.len)
            return (struct slice){NULL, 0};
        if (i == n)
            return (struct slice){in.p, len};
        in.p += len;
        in.len -= len;
    }
}
