/* The HTTP/2 client against hand-made frames. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "h2_peer.h"
#include "net/http2_client.h"
#include "net/http2_client_priv.h"

struct one {
    struct h2_call *call;
    int status, heads, trailers, drained, closed;
    bool last;
    enum h2_why why;
    uint32_t code;
    bool unprocessed;
    struct err err;
    struct buf body, text;
    int *order; /* a shared counter; place: when closed */
    int place;
    struct h2_client *free_it; /* in the head's callback */
    bool cancel_in_head, inside;
};

static void on_head(void *ctx, const struct h2_head *h)
{
    struct one *o = ctx;
    assert_int_equal(o->heads, 0);
    assert_int_equal(o->closed, 0);
    o->heads++;
    o->status = h->status;
    o->last = h->last;
    for (size_t i = 0; i < h->n_headers; i++)
        buf_addf(&o->text, "%.*s: %.*s\n", (int)h->headers[i].name.len, h->headers[i].name.p,
                 (int)h->headers[i].value.len, h->headers[i].value.p);
    o->inside = true;
    if (o->cancel_in_head)
        h2_call_cancel(o->call);
    if (o->free_it != NULL)
        h2_client_free(o->free_it);
    o->inside = false;
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct one *o = ctx;
    assert_int_equal(o->heads, 1);
    assert_int_equal(o->closed, 0);
    assert_true(n > 0);
    buf_add(&o->body, p, n);
}

static void on_trailers(void *ctx, const struct http_header *t, size_t n)
{
    struct one *o = ctx;
    assert_int_equal(o->closed, 0);
    o->trailers++;
    for (size_t i = 0; i < n; i++)
        buf_addf(&o->text, "T %.*s: %.*s\n", (int)t[i].name.len, t[i].name.p, (int)t[i].value.len,
                 t[i].value.p);
}

static void on_drained(void *ctx)
{
    struct one *o = ctx;
    assert_int_equal(o->closed, 0);
    o->drained++;
}

static void on_closed(void *ctx, const struct h2_outcome *out)
{
    struct one *o = ctx;
    assert_int_equal(o->closed, 0);
    assert_false(o->inside);
    assert_int_equal(out->err.code == 0, out->why == H2_ANSWERED);
    o->closed++;
    o->why = out->why;
    o->code = out->code;
    o->unprocessed = out->unprocessed;
    o->err = out->err;
    if (o->order != NULL)
        o->place = (*o->order)++;
}

static const struct h2_call_user user = {on_head, on_data, on_trailers, on_drained, on_closed};

static void one_init(struct one *o)
{
    *o = (struct one){0};
    buf_init(&o->body, 32u << 20);
    buf_init(&o->text, 1u << 20);
}

static void one_done(struct one *o)
{
    buf_done(&o->body);
    buf_done(&o->text);
}

struct place {
    struct h2_peer peer;
    struct h2_client *client;
    struct one a[8];
};

static void begin_with(struct place *t, struct h2_client_options *o)
{
    struct err e;
    peer_open(&t->peer);
    o->target.unix_path = t->peer.path;
    assert_int_equal(h2_client_new(&t->client, t->peer.loop, o, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(t->a); i++)
        one_init(&t->a[i]);
}

static void begin(struct place *t)
{
    struct h2_client_options o = {0};
    begin_with(t, &o);
}

static void end(struct place *t)
{
    h2_client_free(t->client);
    peer_close(&t->peer);
    for (size_t i = 0; i < ARRAY_LEN(t->a); i++)
        one_done(&t->a[i]);
}

static int open_with(struct place *t, struct one *o, const struct h2_request *r)
{
    struct err e = {0};
    int rc = h2_call_open(&o->call, t->client, r, &user, o, &e);
    assert_int_equal(rc, e.code);
    return rc;
}

/* A call without a body. */
static void ask(struct place *t, struct one *o)
{
    const struct h2_request r = {.method = SLICE_LIT("GET"), .path = SLICE_LIT("/x")};
    assert_int_equal(open_with(t, o, &r), 0);
    assert_int_equal(h2_call_end(o->call), 0);
}

static void answer(struct place *t, uint32_t id)
{
    peer_head(&t->peer, id, true, ":status", "200", NULL);
}

/* ---- */

static void whole_exchange(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    _cleanup_(buf_done) struct buf head = BUF_INIT(10000);
    const struct http_header h[] = {{SLICE_LIT("x-a"), SLICE_LIT("1")},
                                    {SLICE_LIT("x-b"), SLICE_LIT("two")}};
    const struct h2_request r = {.path = SLICE_LIT("/p?q"), .headers = h, .n_headers = 2};
    begin(&t);
    assert_int_equal(open_with(&t, &t.a[0], &r), 0);
    assert_int_equal(h2_call_write(t.a[0].call, SLICE_LIT("hel")), 0);
    assert_int_equal(h2_call_write(t.a[0].call, SLICE_LIT("lo")), 0);
    assert_int_equal(h2_call_end(t.a[0].call), 0);
    assert_int_equal(h2_call_end(t.a[0].call), ERR_STATE);
    assert_int_equal(h2_call_write(t.a[0].call, SLICE_LIT("x")), ERR_STATE);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    assert_false(f.flags & NGHTTP2_FLAG_END_STREAM);
    peer_headers(&t.peer, &f, &head);
    assert_string_equal(head.data, ":method: POST\n:scheme: http\n:path: /p?q\n"
                                   ":authority: localhost\nx-a: 1\nx-b: two\n");
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    assert_int_equal(f.len, 5);
    assert_memory_equal(f.p, "hello", 5);
    peer_head(&t.peer, 1, false, ":status", "103", "link", "no", NULL); /* informational */
    peer_head(&t.peer, 1, false, ":status", "201", "x-c", "three", NULL);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, "wor", 3);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, "ld", 2);
    peer_head(&t.peer, 1, true, "x-end", "yes", NULL);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_ANSWERED);
    assert_int_equal(t.a[0].status, 201);
    assert_false(t.a[0].last);
    assert_string_equal(t.a[0].body.data, "world");
    assert_string_equal(t.a[0].text.data, "x-c: three\nT x-end: yes\n");
    /* The next one on the same connection; a body-less request ends with its head. */
    ask(&t, &t.a[1]);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 3, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    answer(&t, 3);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_true(t.a[1].last);
    assert_int_equal(h2_client_stats(t.client)->connects, 1);
    assert_int_equal(h2_client_stats(t.client)->answered, 2);
    end(&t);
}

static void bad_requests(void **state BASE_UNUSED)
{
    struct place t;
    const struct http_header bad[] = {{SLICE_LIT("Upper"), SLICE_LIT("1")},
                                      {SLICE_LIT(":path"), SLICE_LIT("1")},
                                      {SLICE_LIT(""), SLICE_LIT("1")},
                                      {SLICE_LIT("x"), SLICE_LIT("a\nb")}};
    const char *const paths[] = {"", "x", "/a b", "/\xc3\xa4"};
    begin(&t);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct h2_request r = {.path = SLICE_LIT("/"), .headers = &bad[i], .n_headers = 1};
        assert_int_equal(open_with(&t, &t.a[0], &r), ERR_INVALID);
    }
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct h2_request r = {.path = slice_of(paths[i])};
        assert_int_equal(open_with(&t, &t.a[0], &r), ERR_INVALID);
    }
    static char big[48 * 1024];
    static struct http_header many[501];
    memset(big, 'v', sizeof(big));
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct http_header){SLICE_LIT("n"), {big, 80}};
    const struct http_header one = {SLICE_LIT("n"), {big, sizeof(big)}};
    const struct h2_request heavy[] = {
        {.path = SLICE_LIT("/"), .headers = &one, .n_headers = 1},
        {.path = SLICE_LIT("/"), .headers = many, .n_headers = ARRAY_LEN(many)}};
    for (size_t i = 0; i < ARRAY_LEN(heavy); i++)
        assert_int_equal(open_with(&t, &t.a[0], &heavy[i]), ERR_INVALID);
    struct h2_client_options o = {.target = {.unix_path = "/x", .host = "y"}};
    struct h2_client *c = NULL;
    struct err e;
    assert_int_equal(h2_client_new(&c, t.peer.loop, &o, &e), ERR_INVALID);
    o.target = (struct stream_target){.host = "a b", .port = 1};
    assert_int_equal(h2_client_new(&c, t.peer.loop, &o, &e), ERR_INVALID);
    end(&t);
}

/* As much as may be sent is sent. */
static void longest_head(void **state BASE_UNUSED)
{
    static char big[48 * 1024];
    static struct http_header many[500];
    struct place t;
    struct h2_frame f;
    memset(big, '~', sizeof(big)); /* the worst character to compress */
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct http_header){SLICE_LIT("n"), {big, 96}};
    const struct h2_request r = {
        .path = SLICE_LIT("/"), .headers = many, .n_headers = ARRAY_LEN(many)};
    begin(&t);
    assert_int_equal(open_with(&t, &t.a[0], &r), 0);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    const struct http_header one = {SLICE_LIT("n"), {big, sizeof(big) - 2}};
    const struct h2_request long_one = {.path = SLICE_LIT("/"), .headers = &one, .n_headers = 1};
    assert_int_equal(open_with(&t, &t.a[1], &long_one), 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 3, &f));
    answer(&t, 3);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_int_equal(t.a[1].why, H2_ANSWERED);
    end(&t);
}

static void settings_come_first(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    struct h2_client_options o = {.connect_ms = 150};
    begin_with(&t, &o);
    ask(&t, &t.a[0]);
    assert_true(peer_accept(&t.peer));
    assert_true(peer_frame(&t.peer, NGHTTP2_SETTINGS, 0, &f));
    assert_true(peer_silent(&t.peer, NGHTTP2_HEADERS, -1, 30));
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_CONNECT);
    assert_int_equal(t.a[0].err.code, ERR_TIMEOUT);
    assert_true(t.a[0].unprocessed);
    end(&t);
}

static void peers_limit_of_streams(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    for (int i = 0; i < 5; i++)
        ask(&t, &t.a[i]);
    assert_true(peer_accept(&t.peer));
    peer_setting(&t.peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 3, &f));
    assert_true(peer_silent(&t.peer, NGHTTP2_HEADERS, -1, 30));
    assert_int_equal(h2_client_stats(t.client)->waiting, 3);
    answer(&t, 3);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 5, &f));
    assert_true(peer_silent(&t.peer, NGHTTP2_HEADERS, -1, 30));
    assert_int_equal(t.a[1].closed, 1);
    assert_int_equal(t.a[0].closed, 0);
    /* A cancelled one gives its place to the next. */
    h2_call_cancel(t.a[0].call);
    assert_int_equal(t.a[0].closed, 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 1, &f));
    assert_int_equal(f.p[3], NGHTTP2_CANCEL);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 7, &f));
    assert_int_equal(t.a[0].why, H2_CANCELLED);
    /* More places, told later. */
    peer_setting(&t.peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 9, &f));
    for (uint32_t id = 5; id <= 9; id += 2)
        answer(&t, id);
    for (int i = 2; i < 5; i++)
        assert_true(peer_until(&t.peer, &t.a[i].closed, 1));
    end(&t);
}

static void too_many_wait(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_client_options o = {.max_waiting = 2};
    const struct h2_request r = {.path = SLICE_LIT("/")};
    begin_with(&t, &o);
    ask(&t, &t.a[0]);
    ask(&t, &t.a[1]);
    assert_int_equal(open_with(&t, &t.a[2], &r), ERR_BUSY);
    end(&t);
    assert_int_equal(t.a[0].closed, 1);
    assert_int_equal(t.a[1].why, H2_CANCELLED);
}

static void goaway(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    for (int i = 0; i < 3; i++)
        ask(&t, &t.a[i]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 5, &f));
    peer_head(&t.peer, 1, false, ":status", "200", NULL);
    peer_goaway(&t.peer, 3, NGHTTP2_NO_ERROR, "");
    assert_true(peer_until(&t.peer, &t.a[2].closed, 1));
    assert_int_equal(t.a[2].why, H2_RESET);
    assert_int_equal(t.a[2].code, NGHTTP2_REFUSED_STREAM);
    assert_true(t.a[2].unprocessed);
    /* A new call has a new connection while the first one goes on. */
    ask(&t, &t.a[3]);
    int first = t.peer.fd;
    t.peer.fd = -1;
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[3].closed, 1));
    assert_int_equal(h2_client_stats(t.client)->connections, 2);
    close(t.peer.fd);
    t.peer.fd = first;
    t.peer.eof = false;
    peer_send_frame(&t.peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "x", 1);
    answer(&t, 3);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_int_equal(t.a[0].why, H2_ANSWERED);
    assert_int_equal(t.a[1].why, H2_ANSWERED);
    peer_run(&t.peer, 20);
    assert_true(t.peer.eof); /* nothing more to do there */
    assert_int_equal(h2_client_stats(t.client)->goaways, 1);
    end(&t);
}

static void resets(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    static const uint32_t codes[] = {NGHTTP2_REFUSED_STREAM, NGHTTP2_CANCEL, NGHTTP2_NO_ERROR,
                                     NGHTTP2_INTERNAL_ERROR};
    begin(&t);
    for (int i = 0; i < 4; i++)
        ask(&t, &t.a[i]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 7, &f));
    peer_head(&t.peer, 5, false, ":status", "200", NULL);
    for (uint32_t i = 0; i < 4; i++)
        peer_reset(&t.peer, 2 * i + 1, codes[i]);
    for (int i = 0; i < 4; i++) {
        assert_true(peer_until(&t.peer, &t.a[i].closed, 1));
        assert_int_equal(t.a[i].why, H2_RESET);
        assert_int_equal(t.a[i].code, codes[i]);
        assert_int_equal(t.a[i].unprocessed, i == 0);
    }
    end(&t);
}

/* An answer before the end of our body: the rest is not sent. */
static void early_answer(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    const struct h2_request r = {.path = SLICE_LIT("/")};
    begin(&t);
    assert_int_equal(open_with(&t, &t.a[0], &r), 0);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    answer(&t, 1);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 1, &f));
    assert_int_equal(f.p[3], NGHTTP2_NO_ERROR);
    assert_int_equal(t.a[0].why, H2_ANSWERED);
    end(&t);
}

static void peers_window(void **state BASE_UNUSED)
{
    static char block[100000];
    struct place t;
    struct h2_frame f;
    size_t got = 0;
    struct h2_client_options o = {.max_queue = 150000};
    const struct h2_request r = {.path = SLICE_LIT("/")};
    begin_with(&t, &o);
    assert_int_equal(open_with(&t, &t.a[0], &r), 0);
    assert_int_equal(h2_call_write(t.a[0].call, (struct slice){block, sizeof(block)}), 0);
    assert_int_equal(h2_call_write(t.a[0].call, (struct slice){block, sizeof(block)}), ERR_LIMIT);
    peer_settle(&t.peer);
    while (got < 65535 && peer_frame(&t.peer, NGHTTP2_DATA, 1, &f))
        got += f.len;
    assert_int_equal(got, 65535);
    assert_true(peer_silent(&t.peer, NGHTTP2_DATA, 1, 30));
    assert_int_equal(h2_call_queued(t.a[0].call), sizeof(block) - 65535);
    assert_int_equal(t.a[0].drained, 1); /* a write was refused; there is room now */
    assert_int_equal(h2_call_write(t.a[0].call, (struct slice){block, sizeof(block)}), 0);
    peer_window(&t.peer, 0, 1000000);
    assert_true(peer_silent(&t.peer, NGHTTP2_DATA, 1, 30));
    peer_window(&t.peer, 1, 1000000);
    while (got < 2 * sizeof(block) && peer_frame(&t.peer, NGHTTP2_DATA, 1, &f))
        got += f.len;
    assert_int_equal(got, 2 * sizeof(block));
    assert_int_equal(h2_call_end(t.a[0].call), 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_ANSWERED);
    assert_int_equal(t.a[0].drained, 2);
    end(&t);
}

static void paused_reader(void **state BASE_UNUSED)
{
    static char block[16000];
    struct place t;
    struct h2_frame f;
    begin(&t);
    ask(&t, &t.a[0]);
    ask(&t, &t.a[1]);
    h2_call_pause(t.a[0].call, true);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 3, &f));
    peer_head(&t.peer, 1, false, ":status", "200", NULL);
    for (int i = 0; i < 4; i++)
        peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, block, sizeof(block));
    peer_run(&t.peer, 20);
    assert_int_equal(t.a[0].body.len, 0);
    /* The window of the call is used up, the connection's is not: another call goes on. */
    peer_head(&t.peer, 3, false, ":status", "200", NULL);
    for (int i = 0; i < 4; i++)
        peer_send_frame(&t.peer, NGHTTP2_DATA, i == 3, 3, block, sizeof(block));
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_int_equal(t.a[1].body.len, 4 * sizeof(block));
    assert_true(peer_silent(&t.peer, NGHTTP2_WINDOW_UPDATE, 1, 20));
    h2_call_pause(t.a[0].call, false);
    assert_int_equal(t.a[0].body.len, 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_WINDOW_UPDATE, 1, &f));
    assert_int_equal(t.a[0].body.len, 4 * sizeof(block));
    /* The end waits for the reader too, also when the connection goes meanwhile. */
    h2_call_pause(t.a[0].call, true);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, "tail", 4);
    peer_head(&t.peer, 1, true, "x-t", "v", NULL);
    peer_run(&t.peer, 20);
    close(t.peer.fd);
    t.peer.fd = -1;
    peer_run(&t.peer, 20);
    assert_int_equal(t.a[0].closed, 0);
    h2_call_pause(t.a[0].call, false);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_ANSWERED);
    assert_int_equal(t.a[0].body.len, 4 * sizeof(block) + 4);
    assert_string_equal(t.a[0].text.data, "T x-t: v\n");
    end(&t);
}

/* A peer that ignores the window of a paused call ends the call, or the connection; what is held
 * stays within the window. */
static void window_ignored(void **state BASE_UNUSED)
{
    static char block[16000];
    struct place t;
    struct h2_frame f;
    begin(&t);
    ask(&t, &t.a[0]);
    h2_call_pause(t.a[0].call, true);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    peer_head(&t.peer, 1, false, ":status", "200", NULL);
    for (int i = 0; i < 8; i++)
        peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, block, sizeof(block));
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_true(t.a[0].why == H2_LIMIT || t.a[0].why == H2_LOST);
    assert_int_equal(t.a[0].body.len, 0);
    end(&t);
}

static void deadlines(void **state BASE_UNUSED)
{
    enum { N = 64 };
    static struct one many[N];
    struct place t;
    int order = 0;
    begin(&t);
    uint64_t now = loop_now_ms(t.peer.loop);
    uint32_t seed = 7;
    uint64_t at[N];
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245u + 12345u;
        at[i] = now + 40 + (seed >> 16) % 60;
        const struct h2_request r = {.path = SLICE_LIT("/"), .deadline_ms = at[i]};
        one_init(&many[i]);
        many[i].order = &order;
        assert_int_equal(open_with(&t, &many[i], &r), 0);
        if (i % 5 == 4) { /* some leave the heap from its middle */
            h2_call_cancel(many[i / 2].call);
        }
    }
    peer_settle(&t.peer);
    assert_true(peer_until(&t.peer, &order, N));
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++)
            if (many[i].why == H2_DEADLINE && many[k].why == H2_DEADLINE && at[i] < at[k])
                assert_true(many[i].place < many[k].place);
        assert_true(many[i].why == H2_DEADLINE || many[i].why == H2_CANCELLED);
        one_done(&many[i]);
    }
    end(&t);
}

static void idle_connection(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    struct h2_client_options o = {.idle_ms = 60};
    begin_with(&t, &o);
    ask(&t, &t.a[0]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    peer_run(&t.peer, 100); /* a call keeps it */
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_true(peer_frame(&t.peer, NGHTTP2_GOAWAY, 0, &f));
    assert_int_equal(f.p[7], NGHTTP2_NO_ERROR);
    peer_run(&t.peer, 10);
    assert_true(t.peer.eof);
    ask(&t, &t.a[1]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    end(&t);
}

static void pings(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    struct h2_client_options o = {.ping_ms = 1, .ping_timeout_ms = 500};
    begin_with(&t, &o);
    assert_int_equal(t.client->o.ping_ms, H2_PING_FLOOR_MS);
    h2c_set_ping(t.client, 40);
    ask(&t, &t.a[0]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    for (int i = 0; i < 3; i++) {
        assert_true(peer_frame(&t.peer, NGHTTP2_PING, 0, &f));
        uint8_t copy[8];
        memcpy(copy, f.p, 8);
        peer_send_frame(&t.peer, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, copy, 8);
    }
    assert_int_equal(t.a[0].closed, 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_PING, 0, &f));
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1)); /* not answered */
    assert_int_equal(t.a[0].why, H2_LOST);
    assert_int_equal(t.a[0].err.code, ERR_TIMEOUT);
    assert_false(t.a[0].unprocessed);
    /* Without calls there are none, and complaints make them rarer. */
    ask(&t, &t.a[1]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_true(peer_silent(&t.peer, NGHTTP2_PING, 0, 100));
    peer_goaway(&t.peer, 1, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    peer_run(&t.peer, 10);
    assert_int_equal(t.client->o.ping_ms, 80);
    end(&t);
}

static void nobody_there(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    struct h2_client_options o = {.backoff_ms = 20, .backoff_max_ms = 40};
    const struct h2_request patient = {.path = SLICE_LIT("/"), .wait_for_ready = true};
    const struct h2_request timed = {
        .path = SLICE_LIT("/"), .wait_for_ready = true, .deadline_ms = 1};
    begin_with(&t, &o);
    peer_listen(&t.peer, false);
    ask(&t, &t.a[0]);
    assert_int_equal(open_with(&t, &t.a[1], &patient), 0);
    struct h2_request soon = timed;
    soon.deadline_ms = loop_now_ms(t.peer.loop) + 50;
    assert_int_equal(open_with(&t, &t.a[2], &soon), 0);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_CONNECT);
    assert_int_equal(t.a[0].err.sys, ENOENT);
    assert_true(peer_until(&t.peer, &t.a[2].closed, 1));
    assert_int_equal(t.a[2].why, H2_DEADLINE);
    assert_non_null(strstr(t.a[2].err.msg, "cannot connect"));
    peer_run(&t.peer, 200);
    assert_int_equal(t.a[1].closed, 0);
    uint64_t tries = h2_client_stats(t.client)->connects;
    assert_true(tries >= 3 && tries < 20);
    /* One that does not wait asks at once. */
    ask(&t, &t.a[3]);
    assert_true(peer_until(&t.peer, &t.a[3].closed, 1));
    peer_listen(&t.peer, true);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    answer(&t, 1);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_int_equal(t.a[1].why, H2_ANSWERED);
    end(&t);
}

/* A peer that lets us in and throws us out, again and again, is not asked in a tight loop. */
static void revolving_door(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_client_options o = {.backoff_ms = 20};
    const struct h2_request patient = {.path = SLICE_LIT("/"), .wait_for_ready = true};
    begin_with(&t, &o);
    assert_int_equal(open_with(&t, &t.a[0], &patient), 0);
    uint64_t until = clock_mono_ms(&clock_system) + 250;
    while (clock_mono_ms(&clock_system) < until ||
           h2_client_stats(t.client)->connects < 2) { /* a busy machine leaves less time */
        assert_true(peer_accept(&t.peer));
        peer_setting(&t.peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
        peer_run(&t.peer, 2);
    }
    assert_in_range(h2_client_stats(t.client)->connects, 2, 15);
    end(&t);
    assert_int_equal(t.a[0].why, H2_CANCELLED);
}

static void answers_too_large(void **state BASE_UNUSED)
{
    static char big[3001];
    struct place t;
    struct h2_frame f;
    struct h2_client_options o = {.max_head = 4000};
    const struct h2_request r = {.path = SLICE_LIT("/"), .max_body = 10};
    memset(big, 'v', sizeof(big) - 1);
    begin_with(&t, &o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(open_with(&t, &t.a[i], &r), 0);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 5, &f));
    peer_head(&t.peer, 1, false, ":status", "200", "a", big, "b", big, NULL);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 1, &f));
    assert_int_equal(t.a[0].why, H2_LIMIT);
    assert_int_equal(t.a[0].err.code, ERR_HEADER_LIMIT);
    peer_head(&t.peer, 3, false, ":status", "200", NULL);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 3, "12345678901", 11);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 3, &f));
    assert_int_equal(t.a[1].why, H2_LIMIT);
    assert_int_equal(t.a[1].err.code, ERR_LIMIT);
    assert_int_equal(t.a[2].closed, 0);
    /* Far too large: that is no mistake. */
    peer_head(&t.peer, 5, false, ":status", "200", "1", big, "2", big, "3", big, "4", big, "5", big,
              NULL);
    peer_head(&t.peer, 5, false, "a", big, "2", big, "3", big, "4", big, "5", big, "6", big, "7",
              big, "8", big, "9", big, "10", big, "11", big, NULL);
    assert_true(peer_until(&t.peer, &t.a[2].closed, 1));
    end(&t);
}

/* Each of these breaks a rule: the calls end with an error, and the client goes on elsewhere. */
static void hostile_frames(void **state BASE_UNUSED)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *p;
        size_t n;
    } bad[] = {
        {NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\x02\x82", 5},
        {NGHTTP2_HEADERS, 4, 2, "\x88", 1}, /* a stream of the server's own */
        {NGHTTP2_HEADERS, 4, 1, "\xff\xff\xff\xff\xff\xff", 6},
        {NGHTTP2_DATA, 0, 0, "x", 1},
        {NGHTTP2_DATA, 0, 99, "x", 1}, /* idle */
        {NGHTTP2_SETTINGS, 0, 0, "12345", 5},
        {NGHTTP2_PING, 0, 0, "1", 1},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4},
        {NGHTTP2_CONTINUATION, 4, 1, "\x88", 1},
        {NGHTTP2_GOAWAY, 0, 0, "1234", 4},
        {NGHTTP2_RST_STREAM, 0, 0, "1234", 4},
        {NGHTTP2_DATA, 0, 1, "x", 1}, /* before the head: the call alone ends */
        {NGHTTP2_HEADERS, 4, 1,
         "\x00\x03foo\x03"
         "bar",
         9}, /* no status */
        {NGHTTP2_HEADERS, 4, 1,
         "\x00\x07:status\x03"
         "2x0",
         13},
        {NGHTTP2_HEADERS, 4, 1,
         "\x88\x00\x0a"
         "connection\x05"
         "close",
         19},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct place t;
        struct h2_frame f;
        begin(&t);
        ask(&t, &t.a[0]);
        peer_settle(&t.peer);
        assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
        peer_send_frame(&t.peer, bad[i].type, bad[i].flags, bad[i].id, bad[i].p, bad[i].n);
        if (!peer_until(&t.peer, &t.a[0].closed, 1))
            fail_msg("case %zu did not end the call", i);
        assert_true(t.a[0].why == H2_LOST || t.a[0].why == H2_RESET);
        end(&t);
    }
}

static void floods(void **state BASE_UNUSED)
{
    static const uint8_t types[] = {NGHTTP2_PING, NGHTTP2_SETTINGS, NGHTTP2_DATA};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct place t;
        struct h2_frame f;
        begin(&t);
        ask(&t, &t.a[0]);
        peer_settle(&t.peer);
        assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
        peer_head(&t.peer, 1, false, ":status", "200", NULL);
        for (int k = 0; k < 3000 && t.a[0].closed == 0; k++)
            peer_send_frame(&t.peer, types[i], 0, types[i] == NGHTTP2_DATA, "12345678",
                            types[i] == NGHTTP2_PING ? 8 : 0);
        assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
        assert_int_equal(t.a[0].why, H2_LOST);
        end(&t);
    }
}

static void garbage(void **state BASE_UNUSED)
{
    struct place t;
    begin(&t);
    ask(&t, &t.a[0]);
    assert_true(peer_accept(&t.peer));
    peer_send(&t.peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_CONNECT);
    end(&t);
}

/* The whole answer, cut after each byte by the peer's end. */
static void gone_at_each_byte(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf all = BUF_INIT(10000), head = BUF_INIT(1000);
    frame_add(&all, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    frame_add(&all, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    size_t settled = 9;
    hpack_add(&head, ":status", "200");
    hpack_add(&head, "a", "b");
    frame_add(&all, NGHTTP2_HEADERS, 4, 1, head.data, head.len);
    frame_add(&all, NGHTTP2_DATA, 0, 1, "body", 4);
    size_t before = all.len;
    buf_clear(&head);
    hpack_add(&head, "t", "v");
    frame_add(&all, NGHTTP2_HEADERS, 5, 1, head.data, head.len);
    for (size_t n = 0; n <= all.len; n++) {
        struct place t;
        begin(&t);
        ask(&t, &t.a[0]);
        assert_true(peer_accept(&t.peer));
        peer_send(&t.peer, all.data, n < settled ? n : settled);
        if (n > settled) {
            struct h2_frame f;
            assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
            peer_send(&t.peer, all.data + settled, n - settled);
        }
        close(t.peer.fd);
        t.peer.fd = -1;
        assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
        if (n < settled)
            assert_int_equal(t.a[0].why, H2_CONNECT);
        else if (n < all.len)
            assert_int_equal(t.a[0].why, H2_LOST);
        else
            assert_int_equal(t.a[0].why, H2_ANSWERED);
        assert_int_equal(t.a[0].trailers, n == all.len);
        assert_int_equal(t.a[0].body.len, n < before ? t.a[0].body.len : 4);
        end(&t);
    }
}

static void users_that_end_it_all(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    t.a[0].cancel_in_head = true;
    ask(&t, &t.a[0]);
    ask(&t, &t.a[1]);
    ask(&t, &t.a[2]);
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 5, &f));
    peer_head(&t.peer, 1, true, ":status", "200", NULL);
    assert_true(peer_until(&t.peer, &t.a[0].closed, 1));
    assert_int_equal(t.a[0].why, H2_CANCELLED);
    h2_call_drop(t.a[2].call);
    t.a[1].free_it = t.client;
    peer_head(&t.peer, 3, false, ":status", "200", NULL);
    assert_true(peer_until(&t.peer, &t.a[1].closed, 1));
    assert_int_equal(t.a[1].why, H2_CANCELLED);
    assert_int_equal(t.a[2].closed, 0);
    t.client = NULL;
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_exchange),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(longest_head),
        cmocka_unit_test(settings_come_first),
        cmocka_unit_test(peers_limit_of_streams),
        cmocka_unit_test(too_many_wait),
        cmocka_unit_test(goaway),
        cmocka_unit_test(resets),
        cmocka_unit_test(early_answer),
        cmocka_unit_test(peers_window),
        cmocka_unit_test(paused_reader),
        cmocka_unit_test(window_ignored),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(idle_connection),
        cmocka_unit_test(pings),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(revolving_door),
        cmocka_unit_test(answers_too_large),
        cmocka_unit_test(hostile_frames),
        cmocka_unit_test(floods),
        cmocka_unit_test(garbage),
        cmocka_unit_test(gone_at_each_byte),
        cmocka_unit_test(users_that_end_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
