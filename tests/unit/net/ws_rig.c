#include "ws_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"

static void on_message(void *ctx, struct ws *w, bool text, const char *p, size_t n)
{
    struct ws_app *a = ctx;
    a->messages++;
    a->bytes += n;
    if (!a->mute && text)
        ws_send_text(w, (struct slice){p, n});
}

static void on_closed(void *ctx, struct ws *w, int code)
{
    struct ws_app *a = ctx;
    if (a->ws == w)
        a->ws = NULL;
    a->closed++;
    a->code = code;
}

void ws_app_handler(void *ctx, struct exchange *x)
{
    static const struct ws_user user = {on_message, on_closed};
    struct ws_app *a = ctx;
    if (!ws_wanted(x)) {
        exchange_respond(x, &(struct http_response){.status = 404}, SLICE_LIT("no"));
        return;
    }
    struct ws *w;
    a->accept_rc = ws_accept(x, &a->o, &user, a, &w);
    if (a->accept_rc == 0) {
        a->ws = w;
        a->opened++;
    }
}

static bool head_complete(void *ctx)
{
    struct buf *b = ctx;
    return b->len > 0 && strstr(b->data, "\r\n\r\n") != NULL;
}

void ws_client_hello(struct ws_client *c, struct rig *r, const char *extra)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(65536);
    *c = (struct ws_client){.r = r, .fd = rig_connect(r)};
    buf_init(&c->in, 16u << 20);
    buf_addf(&b,
             "GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: keep-alive, "
             "Upgrade\r\n%s\r\n",
             extra);
    rig_send(r, c->fd, b.data, b.len);
    rig_read_until(r, c->fd, &c->in, head_complete, &c->in, 3000);
}

void ws_client_open(struct ws_client *c, struct rig *r, const char *extra)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(65536);
    buf_addf(&b, "sec-websocket-version: 13\r\nsec-websocket-key: " WS_KEY "\r\n%s", extra);
    ws_client_hello(c, r, b.data);
    assert_true(head_complete(&c->in));
    assert_true(slice_starts((struct slice){c->in.data, c->in.len}, "HTTP/1.1 101 "));
    buf_drop(&c->in, (size_t)(strstr(c->in.data, "\r\n\r\n") + 4 - c->in.data));
}

void ws_client_done(struct ws_client *c)
{
    close(c->fd);
    buf_done(&c->in);
}

void ws_client_frame(struct buf *b, uint8_t first, const void *p, size_t n)
{
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    buf_addc(b, (char)first);
    if (n < 126) {
        buf_addc(b, (char)(0x80 | n));
    } else {
        unsigned k = n <= 0xffff ? 2 : 8;
        buf_addc(b, (char)(0x80 | (k == 2 ? 126 : 127)));
        for (unsigned i = 0; i < k; i++)
            buf_addc(b, (char)((uint64_t)n >> (8 * (k - 1 - i))));
    }
    buf_add(b, mask, 4);
    for (size_t i = 0; i < n; i++)
        buf_addc(b, (char)(((const unsigned char *)p)[i] ^ mask[i % 4]));
}

void ws_client_send(struct ws_client *c, uint8_t first, const void *p, size_t n)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(16u << 20);
    ws_client_frame(&b, first, p, n);
    rig_send(c->r, c->fd, b.data, b.len);
}

/* The first whole frame in the buffer, and its size on the wire; 0: none. */
static size_t parse(const struct buf *b, struct ws_got *f)
{
    const unsigned char *p = (const unsigned char *)b->data;
    if (b->len < 2)
        return 0;
    assert_int_equal(p[1] & 0x80, 0);
    size_t head = 2, n = p[1];
    if (n >= 126) {
        unsigned k = n == 126 ? 2 : 8;
        head += k;
        if (b->len < head)
            return 0;
        n = 0;
        for (unsigned i = 0; i < k; i++)
            n = n << 8 | p[2 + i];
    }
    if (b->len < head + n)
        return 0;
    *f = (struct ws_got){p[0], b->data + head, n};
    return head + n;
}

static bool have_frame(void *ctx)
{
    struct ws_got f;
    return parse(ctx, &f) > 0;
}

bool ws_client_take(struct ws_client *c, struct ws_got *f, unsigned ms)
{
    if (!have_frame(&c->in) && !rig_read_until(c->r, c->fd, &c->in, have_frame, &c->in, ms))
        return false;
    size_t size = parse(&c->in, f);
    /* Rotates the frame out: it stays behind the rest until the next read. */
    _cleanup_(buf_done) struct buf rest = BUF_INIT(c->in.max);
    buf_add(&rest, c->in.data + size, c->in.len - size);
    size_t n = f->n, at = (size_t)(f->p - c->in.data);
    static char keep[1 << 20];
    assert_true(n <= sizeof(keep));
    memcpy(keep, c->in.data + at, n);
    f->p = keep;
    buf_clear(&c->in);
    buf_add(&c->in, rest.data, rest.len);
    return true;
}

int ws_client_close_code(struct ws_client *c, unsigned ms)
{
    struct ws_got f;
    while (ws_client_take(c, &f, ms)) {
        if ((f.first & 0x0f) != 8)
            continue;
        int code = f.n >= 2 ? (unsigned char)f.p[0] << 8 | (unsigned char)f.p[1] : 1005;
        return rig_read_until(c->r, c->fd, NULL, NULL, NULL, ms) ? code : -code;
    }
    return 0;
}
