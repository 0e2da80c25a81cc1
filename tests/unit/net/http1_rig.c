#include "http1_rig.h"

#include "../base/patience.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

static void user_end(void *ctx, struct exchange *x, int err)
{
    struct http1_rig *h = ctx;
    size_t n;
    const struct http_header *t = exchange_trailers(x, &n);

    h->seen.ended++;
    h->seen.end_err = err;
    if (n > 0)
        snprintf(h->seen.trailer, sizeof(h->seen.trailer), "%.*s=%.*s", (int)t->name.len, t->name.p,
                 (int)t->value.len, t->value.p);
}

static void user_body(void *ctx, struct exchange *x, const char *p, size_t n)
{
    struct http1_rig *h = ctx;

    (void)x;
    (void)p;
    h->seen.body += n;
}

static void user_closed(void *ctx, struct exchange *x, int err)
{
    struct http1_rig *h = ctx;

    h->seen.closed++;
    h->seen.close_err = err;
    if (h->seen.held == x)
        h->seen.held = NULL;
}

static void answer(struct exchange *x, int status, const char *text)
{
    const struct http_response r = {.status = status, .content_type = "text/plain"};

    exchange_respond(x, &r, slice_of(text));
}

static void sink_end(void *ctx, struct exchange *x, int err)
{
    user_end(ctx, x, err);
    if (err == 0)
        answer(x, 200, "sunk");
}

static const struct exchange_user hold_user = {.end = user_end, .closed = user_closed};
static const struct exchange_user sink_user = {
    .body = user_body, .end = sink_end, .closed = user_closed};

static void echo_done(void *ctx, struct exchange *x, int err, struct slice body)
{
    struct http1_rig *h = ctx;
    const struct http_response r = {.status = 200, .content_type = "text/plain"};

    h->seen.ended++;
    h->seen.end_err = err;
    h->seen.body += body.len;
    if (err == 0)
        exchange_respond(x, &r, body);
}

static void do_stream(struct exchange *x)
{
    const struct http_header extra = {SLICE_LIT("x-extra"), SLICE_LIT("1")};
    const struct http_header trailer = {SLICE_LIT("x-trailer"), SLICE_LIT("end")};
    const struct http_response r = {
        .status = 200, .content_type = "text/plain", .headers = &extra, .n_headers = 1};
    char big[5000];
    struct chunk *c;

    memset(big, 'c', sizeof(big));
    c = chunk_new(big, sizeof(big));
    exchange_start(x, &r);
    exchange_write(x, SLICE_LIT("first"));
    if (c != NULL)
        exchange_write_chunk(x, c);
    chunk_unref(c);
    exchange_write(x, SLICE_LIT("last"));
    exchange_finish(x, &trailer, 1);
}

struct big {
    struct http1_rig *h;
    size_t left;
};

static void big_more(void *ctx, struct exchange *x)
{
    struct big *b = ctx;
    static char piece[32768];

    b->h->seen.drained++;
    memset(piece, 'b', sizeof(piece));
    while (b->left > 0) {
        int rc = exchange_write(x, (struct slice){piece, sizeof(piece)});
        if (rc == ERR_LIMIT)
            return;
        if (rc != 0)
            return;
        b->left -= sizeof(piece);
    }
    exchange_finish(x, NULL, 0);
}

static void big_closed(void *ctx, struct exchange *x, int err)
{
    struct big *b = ctx;

    user_closed(b->h, x, err);
    mem_free(b);
}

static const struct exchange_user big_user = {.drained = big_more, .closed = big_closed};

static void do_big(struct http1_rig *h, struct exchange *x)
{
    struct big *b = mem_zalloc(sizeof(*b));
    const struct http_response r = {.status = 200, .content_type = "text/plain"};

    if (b == NULL) {
        answer(x, 503, "");
        return;
    }
    b->h = h;
    b->left = 4 << 20;
    exchange_set_user(x, &big_user, b);
    if (exchange_start(x, &r) == 0)
        big_more(b, x);
}

struct paused {
    struct http1_rig *h;
    struct exchange *x;
    struct loop_timer timer;
};

static void paused_free(void *ctx)
{
    mem_free(ctx);
}

static void paused_go(void *ctx)
{
    struct paused *p = ctx;

    if (p->x != NULL)
        exchange_resume(p->x);
}

static void paused_body(void *ctx, struct exchange *x, const char *at, size_t n)
{
    struct paused *p = ctx;

    (void)at;
    p->h->seen.body += n;
    exchange_pause(x);
    loop_timer_start(&p->timer, 1, 0);
}

static void paused_end(void *ctx, struct exchange *x, int err)
{
    struct paused *p = ctx;

    sink_end(p->h, x, err);
}

static void paused_closed(void *ctx, struct exchange *x, int err)
{
    struct paused *p = ctx;

    p->x = NULL;
    user_closed(p->h, x, err);
    loop_timer_close(&p->timer, paused_free);
}

static const struct exchange_user paused_user = {
    .body = paused_body, .end = paused_end, .closed = paused_closed};

static void do_pause(struct http1_rig *h, struct exchange *x)
{
    struct paused *p = mem_zalloc(sizeof(*p));

    if (p == NULL) {
        answer(x, 503, "");
        return;
    }
    p->h = h;
    p->x = x;
    loop_timer_init(h->r.loop, &p->timer, paused_go, p);
    exchange_set_user(x, &paused_user, p);
    exchange_pause(x);
    loop_timer_start(&p->timer, 30, 0);
}

/* The upgraded stream sends everything back. */
static void up_data(void *ctx, const char *p, size_t n)
{
    struct http1_rig *h = ctx;

    stream_write(h->seen.stream, p, n);
}

static void up_end(void *ctx)
{
    struct http1_rig *h = ctx;

    stream_close(h->seen.stream);
}

static void up_failed(void *ctx, const struct err *e)
{
    (void)e;
    up_end(ctx);
}

static void up_closed(void *ctx)
{
    struct http1_rig *h = ctx;

    h->seen.stream_closed = true;
}

static const struct stream_user up_user = {
    .data = up_data, .eof = up_end, .failed = up_failed, .closed = up_closed};

static void up_taken(void *ctx, struct stream *s, struct slice early)
{
    struct http1_rig *h = ctx;

    h->seen.upgraded = true;
    h->seen.stream = s;
    snprintf(h->seen.early, sizeof(h->seen.early), "%.*s", (int)early.len, early.p);
    stream_set_user(s, &up_user, h);
}

static void do_upgrade(struct http1_rig *h, struct exchange *x)
{
    const struct http_header t[] = {{SLICE_LIT("upgrade"), SLICE_LIT("echo")},
                                    {SLICE_LIT("connection"), SLICE_LIT("upgrade")}};

    if (exchange_upgrade(x, t, 2, up_taken, h) != 0)
        answer(x, 503, "");
}

static void on_request(void *ctx, struct exchange *x)
{
    struct http1_rig *h = ctx;
    struct slice path = exchange_request(x)->path;
    const struct http_header location = {SLICE_LIT("location"), SLICE_LIT("/a\r\nx-evil: 1")};
    const struct http_response redirect = {.status = 307, .headers = &location, .n_headers = 1};
    const struct http_response empty = {.status = 204};

    h->seen.requests++;
    if (slice_eqs(path, "/hello"))
        answer(x, 200, "hello");
    else if (slice_eqs(path, "/echo"))
        exchange_collect(x, SIZE_MAX, echo_done, h);
    else if (slice_eqs(path, "/small"))
        exchange_collect(x, 10, echo_done, h);
    else if (slice_eqs(path, "/sink"))
        exchange_set_user(x, &sink_user, h);
    else if (slice_eqs(path, "/hold")) {
        h->seen.held = x;
        exchange_set_user(x, &hold_user, h);
    } else if (slice_eqs(path, "/stream"))
        do_stream(x);
    else if (slice_eqs(path, "/big"))
        do_big(h, x);
    else if (slice_eqs(path, "/empty"))
        exchange_respond(x, &empty, SLICE_LIT("not sent"));
    else if (slice_eqs(path, "/redirect"))
        exchange_respond(x, &redirect, SLICE_LIT(""));
    else if (slice_eqs(path, "/upgrade"))
        do_upgrade(h, x);
    else if (slice_eqs(path, "/pause"))
        do_pause(h, x);
    else if (slice_eqs(path, "/early"))
        answer(x, 401, "no");
}

void http1_rig_open(struct http1_rig *h, const struct http_limits *limits)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};

    memset(h, 0, sizeof(*h));
    buf_init(&h->in, 64 << 20);
    rig_open(&h->r, protocols, limits, on_request, h);
}

void http1_rig_close(struct http1_rig *h)
{
    rig_close(&h->r);
    buf_done(&h->in);
}

bool http1_listen_to(struct http1_rig *h, int fd, unsigned ms)
{
    struct patience quiet = patience_of(ms);
    char tmp[65536];

    while (patience_left(&quiet)) {
        loop_run_once(h->r.loop, false);
        ssize_t n = recv(fd, tmp, sizeof(tmp), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return true;
        if (n > 0) {
            buf_add(&h->in, tmp, (size_t)n);
            quiet = patience_of(ms);
        } else {
            poll(NULL, 0, 1);
        }
    }
    return false;
}

bool http1_talk(struct http1_rig *h, const void *p, size_t n, unsigned ms)
{
    int fd = rig_connect(&h->r);

    buf_clear(&h->in);
    buf_addlit(&h->in, "");
    rig_send(&h->r, fd, p, n);
    bool closed = http1_listen_to(h, fd, ms);
    close(fd);
    rig_run(&h->r, 2);
    return closed;
}

void http1_until(struct http1_rig *h, const bool *what)
{
    struct patience end = patience_of(10000);

    while (!*what && patience_left(&end)) {
        loop_run_once(h->r.loop, false);
        poll(NULL, 0, 1);
    }
    assert_true(*what);
}
