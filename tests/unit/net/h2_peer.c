#include "h2_peer.h"

#include "../base/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 3000u

void peer_listen(struct h2_peer *p, bool on)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (p->listener >= 0)
        close(p->listener);
    p->listener = -1;
    unlink(p->path);
    if (!on)
        return;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", p->path);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(p->listener >= 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(p->listener, 100), 0);
}

void peer_open(struct h2_peer *p)
{
    struct err e;
    *p = (struct h2_peer){.listener = -1, .fd = -1};
    buf_init(&p->in, 64u << 20);
    snprintf(p->path, sizeof(p->path), "/tmp/h2-peer-%d.sock", (int)getpid());
    assert_int_equal(loop_new(&p->loop, &clock_system, &e), 0);
    peer_listen(p, true);
}

static void hang_up(struct h2_peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (p->inflater != NULL)
        nghttp2_hd_inflate_del(p->inflater);
    p->inflater = NULL;
    buf_clear(&p->in);
    p->at = 0;
    p->preface = p->eof = false;
}

void peer_close(struct h2_peer *p)
{
    hang_up(p);
    peer_listen(p, false);
    for (struct patience end = patience_of(PATIENCE_MS); loop_run_once(p->loop, false);)
        assert_true(patience_left(&end));
    loop_free(p->loop);
    buf_done(&p->in);
}

static void turn(struct h2_peer *p)
{
    char tmp[65536];
    ssize_t n;
    loop_run_once(p->loop, false);
    while (p->fd >= 0 && !p->eof && (n = recv(p->fd, tmp, sizeof(tmp), MSG_DONTWAIT)) >= 0) {
        if (n == 0)
            p->eof = true;
        else
            assert_int_equal(buf_add(&p->in, tmp, (size_t)n), 0);
    }
    if (p->fd >= 0 && !p->eof && errno == ECONNRESET)
        p->eof = true;
    if (!p->preface && p->in.len >= NGHTTP2_CLIENT_MAGIC_LEN) {
        assert_memory_equal(p->in.data, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
        buf_drop(&p->in, NGHTTP2_CLIENT_MAGIC_LEN);
        p->preface = true;
    }
}

static void nap(void)
{
    usleep(200);
}

bool peer_accept(struct h2_peer *p)
{
    hang_up(p);
    for (struct patience end = patience_of(PATIENCE_MS); p->fd < 0 && patience_left(&end);) {
        turn(p);
        p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        if (p->fd < 0)
            nap();
    }
    return p->fd >= 0;
}

void peer_settle(struct h2_peer *p)
{
    assert_true(peer_accept(p));
    peer_send_frame(p, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    peer_send_frame(p, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

void peer_run(struct h2_peer *p, unsigned ms)
{
    int turns = 0; /* a busy machine may leave none of the time to us */
    for (struct patience end = patience_of(ms); patience_left(&end) || turns < 20; nap(), turns++)
        turn(p);
}

bool peer_until(struct h2_peer *p, const int *count, int n)
{
    for (struct patience end = patience_of(PATIENCE_MS); *count < n && patience_left(&end);) {
        turn(p);
        if (*count < n)
            nap();
    }
    turn(p);
    return *count >= n;
}

static bool next_frame(struct h2_peer *p, struct h2_frame *f)
{
    if (!p->preface || p->in.len - p->at < 9)
        return false;
    const uint8_t *b = (const uint8_t *)p->in.data + p->at;
    size_t len = (size_t)b[0] << 16 | (size_t)b[1] << 8 | b[2];
    if (p->in.len - p->at < 9 + len)
        return false;
    *f = (struct h2_frame){b[3], b[4],
                           (uint32_t)(b[5] & 0x7f) << 24 | (uint32_t)b[6] << 16 |
                               (uint32_t)b[7] << 8 | b[8],
                           b + 9, len};
    p->at += 9 + len;
    return true;
}

static bool find_frame(struct h2_peer *p, int type, int64_t id, struct h2_frame *f, unsigned ms)
{
    for (struct patience end = patience_of(ms);;) {
        while (next_frame(p, f))
            if ((type < 0 || f->type == type) && (id < 0 || f->id == id))
                return true;
        if (p->eof || !patience_left(&end))
            return false;
        turn(p);
        if (p->in.len - p->at < 9)
            nap();
    }
}

bool peer_frame(struct h2_peer *p, int type, int64_t id, struct h2_frame *f)
{
    return find_frame(p, type, id, f, PATIENCE_MS);
}

bool peer_silent(struct h2_peer *p, int type, int64_t id, unsigned ms)
{
    struct h2_frame f;
    return !find_frame(p, type, id, &f, ms);
}

void peer_headers(struct h2_peer *p, const struct h2_frame *f, struct buf *out)
{
    const uint8_t *at = f->p;
    size_t left = f->len;
    if (p->inflater == NULL)
        assert_int_equal(nghttp2_hd_inflate_new(&p->inflater), 0);
    if ((f->flags & NGHTTP2_FLAG_PRIORITY) != 0) {
        at += 5;
        left -= 5;
    }
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(p->inflater, &nv, &flags, at, left, 1);
        assert_true(n >= 0);
        at += n;
        left -= (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
            buf_addf(out, "%.*s: %.*s\n", (int)nv.namelen, (char *)nv.name, (int)nv.valuelen,
                     (char *)nv.value);
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            break;
    }
    nghttp2_hd_inflate_end_headers(p->inflater);
}

void peer_send(struct h2_peer *p, const void *bytes, size_t n)
{
    const char *at = bytes;
    for (struct patience end = patience_of(PATIENCE_MS); n > 0 && patience_left(&end);) {
        ssize_t sent = send(p->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return; /* the client has gone, which some tests want */
        if (sent > 0) {
            at += sent;
            n -= (size_t)sent;
        }
        turn(p);
    }
}

void frame_add(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
    const uint8_t head[9] = {
        (uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    buf_add(b, head, sizeof(head));
    buf_add(b, p, n);
}

void peer_send_frame(struct h2_peer *p, uint8_t type, uint8_t flags, uint32_t id, const void *bytes,
                     size_t n)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(32u << 20);
    frame_add(&b, type, flags, id, bytes, n);
    peer_send(p, b.data, b.len);
}

static void put32(uint8_t *to, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (24 - 8 * i));
}

void peer_reset(struct h2_peer *p, uint32_t id, uint32_t code)
{
    uint8_t b[4];
    put32(b, code);
    peer_send_frame(p, NGHTTP2_RST_STREAM, 0, id, b, sizeof(b));
}

void peer_goaway(struct h2_peer *p, uint32_t last, uint32_t code, const char *debug)
{
    uint8_t b[100] = {0};
    size_t n = strlen(debug);
    assert_true(n < sizeof(b) - 8);
    put32(b, last);
    put32(b + 4, code);
    memcpy(b + 8, debug, n);
    peer_send_frame(p, NGHTTP2_GOAWAY, 0, 0, b, 8 + n);
}

void peer_window(struct h2_peer *p, uint32_t id, uint32_t n)
{
    uint8_t b[4];
    put32(b, n);
    peer_send_frame(p, NGHTTP2_WINDOW_UPDATE, 0, id, b, sizeof(b));
}

void peer_setting(struct h2_peer *p, uint16_t key, uint32_t value)
{
    uint8_t b[6] = {(uint8_t)(key >> 8), (uint8_t)key};
    put32(b + 2, value);
    peer_send_frame(p, NGHTTP2_SETTINGS, 0, 0, b, sizeof(b));
}

static void hpack_text(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    if (n < 127) {
        buf_addc(b, (char)n);
    } else {
        buf_addc(b, 127);
        for (n -= 127; n >= 128; n >>= 7)
            buf_addc(b, (char)((n & 127) | 128));
        buf_addc(b, (char)n);
    }
    buf_adds(b, s);
}

/* Literal, not indexed, not compressed (RFC 7541, section 6.2.2). */
void hpack_add(struct buf *b, const char *name, const char *value)
{
    buf_addc(b, 0);
    hpack_text(b, name);
    hpack_text(b, value);
}

void peer_head(struct h2_peer *p, uint32_t id, bool end, ...)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1u << 20);
    const char *name;
    va_list ap;
    va_start(ap, end);
    while ((name = va_arg(ap, const char *)) != NULL)
        hpack_add(&b, name, va_arg(ap, const char *));
    va_end(ap);
    peer_send_frame(p, NGHTTP2_HEADERS,
                    (uint8_t)(NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0)), id,
                    b.data, b.len);
}
