/* The gRPC server against a client of raw HTTP/2 frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "grpc_app.h"
#include "grpc_rig.h"
#include "net/http2_guard.h"

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};

struct setup {
    struct rig r;
    struct grpc_app app;
    struct grpc_server *s;
};

static void open_with(struct setup *t, const struct http_limits *limits, size_t max_partial)
{
    struct err e = {0};
    memset(t, 0, sizeof(*t));
    const struct grpc_server_options o = {.methods = grpc_app_methods,
                                          .n_methods = grpc_app_n_methods,
                                          .app = &t->app,
                                          .max_partial = max_partial,
                                          .decided = grpc_app_decided};
    assert_int_equal(grpc_server_new(&t->s, &o, &e), 0);
    rig_open(&t->r, protocols, limits, grpc_server_handle, t->s);
}

static int setup(void **state)
{
    static struct setup t;
    open_with(&t, NULL, 0);
    *state = &t;
    return 0;
}

static int teardown(void **state)
{
    struct setup *t = *state;
    rig_close(&t->r);
    assert_int_equal(t->app.begun, t->app.closed);
    assert_int_equal(grpc_server_stats(t->s)->open, 0);
    assert_int_equal(grpc_server_stats(t->s)->partial, 0);
    grpc_server_free(t->s);
    return 0;
}

static const char *text_of(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}

#define HAS(buf, text) assert_non_null(strstr(text_of(&(buf)), (text)))

static void unary(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Echo", SLICE_LIT("hello"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->http_status, 200);
    assert_int_equal(k->status, GRPC_OK);
    assert_false(k->only_head);
    assert_true(slice_eqs(gc_answer(k, 0), "hello"));
    assert_null(gc_answer(k, 1).p);
    HAS(k->headers, "content-type: application/grpc\n");
    assert_string_equal(text_of(&k->trailers), "grpc-status: 0\n");
    assert_int_equal(t->app.decided, 1);
    /* An empty message, and one that comes in pieces without the end of the client's side. */
    k = gc_unary(&c, "/test.T/Echo", SLICE_LIT(""));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(gc_answer(k, 0).len, 0);
    assert_non_null(gc_answer(k, 0).p);
    k = gc_call(&c, "/test.T/Echo", NULL);
    const char bytes[] = "\0\0\0\0\3abc";
    for (size_t i = 0; i < 8; i++) {
        gc_bytes(&c, k, bytes + i, 1, false);
        gc_run(&c, 3, NULL, NULL);
    }
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    assert_true(slice_eqs(gc_answer(k, 0), "abc"));
    assert_int_equal(k->code, NGHTTP2_NO_ERROR); /* told that nothing more is wanted */
    gc_done(&c);
}

static void metadata(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_call(&c, "/test.T/Echo",
                                "x-one: 1\nx-raw-bin: AAEC/w==\ny-two: zwei\ny-raw-bin: _\n"
                                "y-ok-bin: /w\ngrpc-timeout: 5S\nunknown-thing: is ignored\n");
    gc_message(&c, k, SLICE_LIT("m"), true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    HAS(k->headers, "x-one: 1\n");
    HAS(k->headers, "x-raw-bin: AAEC/w\n");
    HAS(k->trailers, "y-two: zwei\n");
    HAS(k->trailers, "y-ok-bin: /w\n");
    gc_done(&c);
}

static void errors(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Fail", SLICE_LIT("9"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->http_status, 200);
    assert_int_equal(k->status, 9);
    assert_true(k->only_head);
    assert_int_equal(k->body.len, 0);
    HAS(k->headers, "grpc-message: as you like: 100%25\n");
    assert_null(strstr(k->headers.data, "content-length"));
    k = gc_unary(&c, "/test.T/Fail", SLICE_LIT("Schl\xc3\xbcssel"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_NOT_FOUND);
    HAS(k->headers, "grpc-message: there is no \"Schl%C3%BCssel\"\n");
    k = gc_unary(&c, "/test.T/Fail", SLICE_LIT("99"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_UNKNOWN);
    k = gc_unary(&c, "/test.T/Forget", SLICE_LIT("9"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_INTERNAL);
    static const struct {
        const char *path, *text;
    } unknown[] = {
        {"/test.T/None", "unknown method \"None\" of service \"test.T\""},
        {"/other.S/Echo", "unknown service \"other.S\""},
        {"/nothing", "malformed method name \"/nothing\""},
        {"//", "unknown service \"\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        k = gc_unary(&c, unknown[i].path, SLICE_LIT("m"));
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, GRPC_UNIMPLEMENTED);
        assert_true(k->only_head);
        HAS(k->headers, unknown[i].text);
    }
    gc_done(&c);
}

static void bad_heads(void **state)
{
    struct setup *t = *state;
    struct gc c;
    static const struct {
        const char *more;
        int http, status;
        const char *has;
    } rows[] = {
        {"content-type: application/json\n", 415, GRPC_INVALID_ARGUMENT, ""},
        {"content-type: \n", 415, GRPC_INVALID_ARGUMENT, ""},
        {"content-type: application/grpc+json\n", 415, GRPC_INVALID_ARGUMENT, ""},
        {"content-type: application/grpc+proto\n", 200, GRPC_OK, ""},
        {":method: PUT\n", 405, GRPC_INTERNAL, "allow: POST\n"},
        {"te: \n", 200, GRPC_OK, ""},
        {"grpc-encoding: gzip\n", 200, GRPC_UNIMPLEMENTED, "grpc-accept-encoding: identity\n"},
        {"grpc-encoding: identity\n", 200, GRPC_OK, ""},
        {"grpc-timeout: soon\n", 200, GRPC_INTERNAL, "malformed grpc-timeout \"soon\""},
        {"grpc-timeout: 0n\n", 200, GRPC_DEADLINE_EXCEEDED, ""},
        {"grpc-timeout: 99999999H\n", 200, GRPC_OK, ""},
    };
    gc_open(&c, &t->r, 0, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct gc_call *k = gc_call(&c, "/test.T/Echo", rows[i].more);
        gc_message(&c, k, SLICE_LIT("m"), i % 2 == 0);
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->http_status, rows[i].http);
        assert_int_equal(k->status, rows[i].status);
        HAS(k->headers, rows[i].has);
    }
    gc_done(&c);
    /* HTTP/1.1 */
    static const char old[] = "POST /test.T/Echo HTTP/1.1\r\nhost: a\r\ncontent-type: "
                              "application/grpc\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    _cleanup_(buf_done) struct buf b = BUF_INIT(4096);
    int fd = rig_connect(&t->r);
    rig_send(&t->r, fd, old, sizeof(old) - 1);
    assert_true(rig_read_until(&t->r, fd, &b, NULL, NULL, 2000));
    assert_non_null(strstr(b.data, "HTTP/1.1 505 "));
    close(fd);
}

static void bad_messages(void **state)
{
    struct setup *t = *state;
    struct gc c;
    static const struct {
        const char *path;
        struct slice bytes;
        int status;
        const char *has;
    } rows[] = {
        {"/test.T/Echo", {"", 0}, GRPC_INTERNAL, "has no message"},
        {"/test.T/Echo", {"\0\0\0", 3}, GRPC_INTERNAL, "in the middle"},
        {"/test.T/Echo", {"\0\0\0\0\2a", 6}, GRPC_INTERNAL, "in the middle"},
        {"/test.T/Echo", {"\1\0\0\0\1a", 6}, GRPC_INTERNAL, "compressed"},
        {"/test.T/Echo", {"\7\0\0\0\1a", 6}, GRPC_INTERNAL, "flag \"7\""},
        {"/test.T/Echo", {"\0\0\x40\0\1", 5}, GRPC_RESOURCE_EXHAUSTED, "\"4194305\""},
        {"/test.T/Small", {"\0\0\0\0\x9", 5}, GRPC_RESOURCE_EXHAUSTED, "\"9\""},
        {"/test.T/Sum", {"\0\0\0\0\2a", 6}, GRPC_INTERNAL, "in the middle"},
        {"/test.T/Wait", {"\0\0\0\0\1a\0\0\0\0\1a", 12}, GRPC_INTERNAL, "takes one message"},
    };
    gc_open(&c, &t->r, 0, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct gc_call *k = gc_call(&c, rows[i].path, NULL);
        gc_bytes(&c, k, rows[i].bytes.p, rows[i].bytes.len, true);
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, rows[i].status);
        HAS(k->headers, rows[i].has);
    }
    /* Exactly the limit passes. */
    static char most[GRPC_MESSAGE_MAX];
    struct gc_call *k = gc_unary(&c, "/test.T/Echo", (struct slice){most, sizeof(most)});
    assert_true(gc_wait(&c, k, 10000));
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(gc_answer(k, 0).len, sizeof(most));
    gc_done(&c);
}

static bool is_waiting(void *ctx)
{
    return ((struct grpc_app *)ctx)->waiting != NULL;
}

static bool is_paused(void *ctx)
{
    return ((struct grpc_app *)ctx)->paused != NULL;
}

static void deadlines(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_call(&c, "/test.T/Wait", "grpc-timeout: 1000m\n");
    gc_message(&c, k, SLICE_LIT("m"), true);
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    uint64_t at = grpc_call_deadline_ms(t->app.waiting), now = loop_now_ms(t->r.loop);
    assert_true(at >= now && at <= now + 1000);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_DEADLINE_EXCEEDED);
    assert_int_equal(t->app.last_err, ERR_TIMEOUT);
    assert_null(t->app.waiting);
    /* While a stream comes in, and after the answer has begun. */
    k = gc_call(&c, "/test.T/Chat", "grpc-timeout: 1000m\n");
    gc_message(&c, k, SLICE_LIT("m"), false);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_DEADLINE_EXCEEDED);
    assert_false(k->only_head);
    assert_true(slice_eqs(gc_answer(k, 0), "m"));
    assert_int_equal(t->app.last_err, ERR_TIMEOUT);
    /* One that is not reached ends nothing later. */
    k = gc_call(&c, "/test.T/Echo", "grpc-timeout: 1000m\n");
    gc_message(&c, k, SLICE_LIT("m"), true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    gc_run(&c, 1100, NULL, NULL);
    assert_int_equal(t->app.decided, 3);
    gc_done(&c);
}

static void late_answer(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    assert_int_equal(grpc_call_deadline_ms(t->app.waiting), UINT64_MAX);
    grpc_call_reply(t->app.waiting, SLICE_LIT("late"));
    assert_false(grpc_call_open(t->app.waiting));
    assert_int_equal(grpc_call_send(t->app.waiting, SLICE_LIT("more")), ERR_STATE);
    grpc_call_finish(t->app.waiting, GRPC_INTERNAL, SLICE_LIT("twice"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    assert_true(slice_eqs(gc_answer(k, 0), "late"));
    gc_run(&c, 10, NULL, NULL);
    assert_int_equal(t->app.closed, 1);
    assert_int_equal(t->app.last_err, 0);
    gc_done(&c);
}

static void cancelling(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    gc_cancel(&c, k);
    gc_run(&c, 50, NULL, NULL);
    assert_int_equal(t->app.closed, 1);
    assert_int_equal(t->app.last_err, ERR_GONE);
    assert_int_equal(t->app.last_status, GRPC_CANCELLED);
    /* The connection goes. */
    k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    gc_done(&c);
    rig_run(&t->r, 50);
    assert_int_equal(t->app.closed, 2);
    assert_int_equal(t->app.last_err, ERR_GONE);
    assert_int_equal(grpc_server_stats(t->s)->statuses[GRPC_CANCELLED], 2);
}

static void client_stream(void **state)
{
    struct setup *t = *state;
    struct gc c;
    static char block[30000];
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_call(&c, "/test.T/Sum", NULL);
    for (int i = 0; i < 100; i++)
        gc_message(&c, k, (struct slice){block, sizeof(block)}, i == 99);
    assert_true(gc_wait(&c, k, 5000));
    assert_int_equal(k->status, GRPC_OK);
    assert_true(slice_eqs(gc_answer(k, 0), "100 3000000"));
    /* None at all. */
    k = gc_call(&c, "/test.T/Sum", NULL);
    gc_bytes(&c, k, "", 0, true);
    assert_true(gc_wait(&c, k, 2000));
    assert_true(slice_eqs(gc_answer(k, 0), "0 0"));
    gc_done(&c);
}

/* A handler that pauses gets nothing more, and the client's sending stops. */
static void pausing(void **state)
{
    struct setup *t = *state;
    struct gc c;
    t->app.pause_every = 7;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_call(&c, "/test.T/Sum", NULL);
    for (int i = 0; i < 100000; i++)
        gc_message(&c, k, SLICE_LIT("ten bytes."), i == 99999);
    assert_true(gc_run(&c, 2000, is_paused, &t->app));
    gc_run(&c, 50, NULL, NULL);
    assert_int_equal(t->app.messages, 7);
    assert_true(k->up_at < 200000);
    t->app.pause_every = 0;
    grpc_call_resume(t->app.paused);
    assert_true(gc_wait(&c, k, 5000));
    assert_int_equal(k->status, GRPC_OK);
    assert_true(slice_eqs(gc_answer(k, 0), "100000 1000000"));
    /* Step by step: each message of a chunk is held back in turn. */
    t->app.pause_every = 1;
    k = gc_call(&c, "/test.T/Sum", NULL);
    for (int i = 0; i < 20; i++)
        gc_message(&c, k, SLICE_LIT(""), i == 19);
    for (size_t i = 1; i <= 20; i++) {
        t->app.paused = NULL;
        assert_true(gc_run(&c, 2000, is_paused, &t->app));
        gc_run(&c, 2, NULL, NULL);
        assert_int_equal(t->app.messages, i);
        assert_false(k->closed);
        struct grpc_call *p = t->app.paused;
        t->app.paused = NULL;
        grpc_call_resume(p);
    }
    assert_true(gc_wait(&c, k, 2000));
    assert_true(slice_eqs(gc_answer(k, 0), "20 0"));
    gc_done(&c);
}

/* A client that does not read: the queue is bounded, others are served, and `drained` goes on. */
static void server_stream(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Count", SLICE_LIT("3 5"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(gc_answer(k, 2).len, 5);
    assert_null(gc_answer(k, 3).p);
    k = gc_unary(&c, "/test.T/Count", SLICE_LIT("0 5"));
    assert_true(gc_wait(&c, k, 2000));
    assert_true(k->only_head);
    k = gc_unary(&c, "/test.T/Count", SLICE_LIT("500 65536")); /* 32 MiB */
    assert_true(gc_wait(&c, k, 20000));
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(k->body.len, 500 * (65536 + GRPC_PREFIX));
    assert_true(t->app.refused > 3);
    gc_done(&c);
    gc_open(&c, &t->r, 70000, true);
    k = gc_unary(&c, "/test.T/Count", SLICE_LIT("500 65536"));
    gc_run(&c, 100, NULL, NULL);
    assert_false(k->closed);
    assert_true(k->body.len <= 70000);
    gc_cancel(&c, k);
    gc_run(&c, 50, NULL, NULL);
    assert_int_equal(t->app.begun, t->app.closed);
    gc_done(&c);
}

static void bidi(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_call(&c, "/test.T/Chat", NULL);
    gc_run(&c, 20, NULL, NULL);
    assert_int_equal(k->http_status, 200); /* headers before any message */
    for (int i = 0; i < 5; i++) {
        gc_message(&c, k, SLICE_LIT("ping"), false);
        gc_run(&c, 10, NULL, NULL);
        assert_true(slice_eqs(gc_answer(k, (size_t)i), "ping"));
    }
    gc_bytes(&c, k, "", 0, true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(k->code, 0);
    gc_done(&c);
}

static void many(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    for (int i = 0; i < 90; i++)
        gc_unary(&c, i % 3 == 0 ? "/test.T/Fail" : "/test.T/Echo", SLICE_LIT("5"));
    for (size_t i = 0; i < 90; i++) {
        assert_true(gc_wait(&c, &c.calls[i], 2000));
        assert_int_equal(c.calls[i].status, i % 3 == 0 ? 5 : 0);
    }
    assert_int_equal(grpc_server_stats(t->s)->calls, 90);
    assert_int_equal(grpc_server_stats(t->s)->statuses[0], 60);
    gc_done(&c);
}

/* A client stream may rest for longer than a body of HTTP may; a unary request may not. */
static void patience(void **state BASE_UNUSED)
{
    struct setup t;
    struct gc c;
    struct http_limits l = http_limits_default;
    l.body_ms = 300;
    l.max_body = 10;
    open_with(&t, &l, 0);
    gc_open(&c, &t.r, 0, false);
    struct gc_call *slow = gc_call(&c, "/test.T/Sum", NULL);
    struct gc_call *stuck = gc_call(&c, "/test.T/Echo", NULL);
    gc_message(&c, slow, SLICE_LIT("more than max_body"), false);
    gc_bytes(&c, stuck, "\0\0", 2, false);
    assert_true(gc_wait(&c, stuck, 5000));
    assert_int_equal(stuck->status, GRPC_DEADLINE_EXCEEDED);
    gc_run(&c, 700, NULL, NULL);
    assert_false(slow->closed);
    gc_bytes(&c, slow, "", 0, true);
    assert_true(gc_wait(&c, slow, 2000));
    assert_true(slice_eqs(gc_answer(slow, 0), "1 18"));
    gc_done(&c);
    void *p = &t;
    teardown(&p);
}

/* All calls together may only hold so much of unfinished messages. */
static void partial_limit(void **state BASE_UNUSED)
{
    struct setup t;
    struct gc c;
    static char half[10000];
    open_with(&t, NULL, 25000);
    gc_open(&c, &t.r, 0, false);
    for (int i = 0; i < 3; i++) {
        struct gc_call *k = gc_call(&c, "/test.T/Echo", NULL);
        gc_bytes(&c, k, "\0\0\0\x4e\x20", 5, false); /* 20,000 */
        gc_bytes(&c, k, half, sizeof(half), false);
    }
    assert_true(gc_wait(&c, &c.calls[2], 2000));
    assert_int_equal(c.calls[2].status, GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(grpc_server_stats(t.s)->partial, 20000);
    gc_cancel(&c, &c.calls[1]);
    gc_bytes(&c, &c.calls[0], half, sizeof(half), true);
    assert_true(gc_wait(&c, &c.calls[0], 2000));
    assert_int_equal(c.calls[0].status, GRPC_OK);
    gc_done(&c);
    void *p = &t;
    teardown(&p);
}

static void note_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static bool saw_goaway(void *ctx)
{
    return ((struct gc *)ctx)->goaway;
}

/* Calls under way are answered, new ones refused, then the connection ends. */
static void draining(void **state)
{
    struct setup *t = *state;
    struct gc c;
    bool drained = false;
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    struct gc_call *chat = gc_call(&c, "/test.T/Chat", NULL);
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    server_drain(t->r.server, 10000, note_stopped, &drained);
    assert_true(gc_run(&c, 1000, saw_goaway, &c));
    assert_int_equal(c.goaway_code, NGHTTP2_NO_ERROR);
    gc_message(&c, chat, SLICE_LIT("still"), false);
    gc_run(&c, 50, NULL, NULL);
    assert_true(slice_eqs(gc_answer(chat, 0), "still"));
    assert_false(drained);
    grpc_call_reply(t->app.waiting, SLICE_LIT("done"));
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    gc_bytes(&c, chat, "", 0, true);
    assert_true(gc_wait(&c, chat, 2000));
    assert_int_equal(chat->status, GRPC_OK);
    gc_run(&c, 1000, NULL, NULL);
    assert_true(c.gone);
    gc_done(&c);
    rig_run(&t->r, 20);
    assert_true(drained);
}

/* What is left after the time is cut, and told so. */
static void drained_by_force(void **state)
{
    struct setup *t = *state;
    struct gc c;
    bool drained = false;
    gc_open(&c, &t->r, 0, false);
    gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    server_drain(t->r.server, 50, note_stopped, &drained);
    gc_run(&c, 2000, NULL, NULL);
    assert_true(c.gone);
    rig_run(&t->r, 20);
    assert_true(drained);
    assert_int_equal(t->app.last_err, ERR_CANCELLED);
    gc_done(&c);
}

static bool is_gone(void *ctx)
{
    return ((struct gc *)ctx)->gone;
}

static void submit_pings(struct gc *c, int n)
{
    static const uint8_t mark[8] = "mine";
    for (int i = 0; i < n; i++) {
        nghttp2_submit_ping(c->s, 0, mark);
        gc_run(c, 2, NULL, NULL);
    }
}

/* Ten PINGs are fine, and as many again after each answer; the eleventh is too many. */
static void too_many_pings(void **state)
{
    struct setup *t = *state;
    struct gc c;
    gc_open(&c, &t->r, 0, false);
    submit_pings(&c, 10);
    struct gc_call *k = gc_unary(&c, "/test.T/Echo", SLICE_LIT("m"));
    assert_true(gc_wait(&c, k, 2000));
    submit_pings(&c, 10);
    assert_int_equal(c.acks, 20);
    assert_false(c.goaway);
    struct gc_call *w = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    submit_pings(&c, 1);
    assert_true(gc_run(&c, 2000, is_gone, &c));
    assert_true(c.goaway);
    assert_int_equal(c.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(c.goaway_text, "too_many_pings");
    assert_false(w->ended);
    gc_done(&c);
    rig_run(&t->r, 20);
    assert_int_equal(t->app.last_err, ERR_GONE);
}

/* Tokens come back with time: one PING every 8 s for hours. */
static void patient_pings(void **state BASE_UNUSED)
{
    struct h2_guard g;
    uint64_t now = 1000;
    h2_guard_init(&g, now);
    for (int i = 0; i < 10; i++)
        assert_true(h2_guard_ping(&g, now));
    assert_false(h2_guard_ping(&g, now));
    for (int i = 0; i < 5000; i++) {
        now += 8000;
        assert_true(h2_guard_ping(&g, now));
    }
    unsigned fast = 0;
    h2_guard_head_sent(&g);
    while (h2_guard_ping(&g, now += 5000))
        fast++;
    assert_in_range(fast, 20, 30);
    h2_guard_data_sent(&g);
    assert_true(h2_guard_ping(&g, now));
}

static struct gc *silent;

static bool has_ping(void *ctx BASE_UNUSED)
{
    return silent->pings > 0;
}

/* A silent client is asked whether it lives; one that does not answer is cut. */
static void keepalive(void **state BASE_UNUSED)
{
    struct setup t;
    struct gc c;
    struct http_limits l = http_limits_default;
    l.ping_ms = 300;
    l.pong_ms = 500;
    open_with(&t, &l, 0);
    silent = &c;
    gc_open(&c, &t.r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 3000, has_ping, NULL));
    gc_run(&c, 2000, NULL, NULL); /* nghttp2 answers by itself */
    assert_false(c.gone);
    assert_true(c.pings > 1);
    grpc_call_reply(t.app.waiting, SLICE_LIT("alive"));
    assert_true(gc_wait(&c, k, 2000));
    gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t.app));
    rig_run(&t.r, 2000); /* now the client says nothing at all */
    assert_int_equal(t.app.closed, 2);
    assert_int_equal(t.app.last_err, ERR_GONE);
    assert_int_equal(server_stats(t.r.server)->connections, 0);
    gc_done(&c);
    void *p = &t;
    teardown(&p);
}

static void answer_limits(void **state)
{
    struct setup *t = *state;
    struct gc c;
    static char text[9000];
    char name[16];
    gc_open(&c, &t->r, 0, false);
    struct gc_call *k = gc_unary(&c, "/test.T/Wait", SLICE_LIT("m"));
    assert_true(gc_run(&c, 1000, is_waiting, &t->app));
    struct grpc_call *w = t->app.waiting;
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("grpc-x"), SLICE_LIT("1")), ERR_INVALID);
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("X"), SLICE_LIT("1")), ERR_INVALID);
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("x"), SLICE_LIT("a\nb")), ERR_INVALID);
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("x"), (struct slice){text, 9000}),
                     ERR_INVALID);
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("x-bin"), (struct slice){text, 8000}),
                     ERR_LIMIT);
    for (int i = 0; i < GRPC_CALL_METADATA; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(grpc_call_add_trailer(w, slice_of(name), SLICE_LIT("v")), 0);
    }
    assert_int_equal(grpc_call_add_trailer(w, SLICE_LIT("more"), SLICE_LIT("v")), ERR_LIMIT);
    assert_int_equal(grpc_call_start(w), 0);
    assert_int_equal(grpc_call_add_header(w, SLICE_LIT("x"), SLICE_LIT("1")), ERR_STATE);
    memset(text, '\n', sizeof(text));
    grpc_call_finish(w, GRPC_ABORTED, (struct slice){text, 5000});
    assert_int_equal(grpc_call_add_trailer(w, SLICE_LIT("x"), SLICE_LIT("1")), ERR_STATE);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_ABORTED);
    HAS(k->trailers, "n15: v\n");
    const char *m = strstr(k->trailers.data, "grpc-message: ");
    assert_int_equal(strcspn(m, "\n"), 14 + 3 * 2000);
    gc_done(&c);
}

static void tables(void **state BASE_UNUSED)
{
    struct grpc_server *s;
    struct err e = {0};
    struct grpc_method rows[2] = {grpc_app_methods[0], grpc_app_methods[0]};
    struct grpc_server_options o = {.methods = rows, .n_methods = 2};
    assert_int_equal(grpc_server_new(&s, &o, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "twice"));
    o.n_methods = 1;
    rows[0].request = NULL;
    assert_int_equal(grpc_server_new(&s, &o, &e), ERR_INVALID);
    rows[0].path = "no-path";
    assert_int_equal(grpc_server_new(&s, &o, &e), ERR_INVALID);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(unary),
        T(metadata),
        T(errors),
        T(bad_heads),
        T(bad_messages),
        T(deadlines),
        T(late_answer),
        T(cancelling),
        T(client_stream),
        T(pausing),
        T(server_stream),
        T(bidi),
        T(many),
        T(draining),
        T(drained_by_force),
        T(answer_limits),
        T(too_many_pings),
        cmocka_unit_test(patient_pings),
        cmocka_unit_test(keepalive),
        cmocka_unit_test(patience),
        cmocka_unit_test(partial_limit),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
