/* gRPC calls against hand-made frames. */
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
#include "net/grpc_client.h"

struct one {
    struct grpc_client_call *call;
    int done, messages, headers, trailers, drained;
    int code;
    bool from_server;
    char text[300];
    struct buf all, meta; /* messages with '|' behind each; metadata as lines */
    int pause_after;      /* messages; 0: never */
    int cancel_after;
};

static void add_meta(struct one *o, const char *what, const struct http_header *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_adds(&o->meta, what);
        buf_add(&o->meta, m[i].name.p, m[i].name.len);
        buf_addc(&o->meta, '=');
        buf_add(&o->meta, m[i].value.p, m[i].value.len);
        buf_addc(&o->meta, '\n');
    }
}

static void on_headers(void *ctx, const struct http_header *m, size_t n)
{
    struct one *o = ctx;
    o->headers++;
    assert_int_equal(o->messages + o->done, 0);
    add_meta(o, "", m, n);
}

static void on_message(void *ctx, struct slice m)
{
    struct one *o = ctx;
    assert_int_equal(o->headers, 1);
    assert_int_equal(o->done, 0);
    buf_add(&o->all, m.p, m.len);
    buf_addc(&o->all, '|');
    if (++o->messages == o->pause_after)
        grpc_client_pause(o->call, true);
    if (o->messages == o->cancel_after)
        grpc_client_cancel(o->call);
}

static void on_drained(void *ctx)
{
    struct one *o = ctx;
    o->drained++;
}

static void on_trailers(void *ctx, const struct http_header *m, size_t n)
{
    struct one *o = ctx;
    o->trailers++;
    assert_int_equal(o->done, 0);
    add_meta(o, "T ", m, n);
}

static void on_done(void *ctx, const struct grpc_result *r)
{
    struct one *o = ctx;
    struct err e = {0};
    assert_int_equal(o->done, 0);
    o->done++;
    o->code = r->code;
    o->from_server = r->from_server;
    snprintf(o->text, sizeof(o->text), "%s", r->message);
    int rc = grpc_result_err(r, &e);
    assert_int_equal(rc, e.code);
    assert_int_equal(e.code == 0, r->code == 0);
}

static const struct grpc_client_user user = {on_headers, on_message, on_drained, on_trailers,
                                             on_done};

static void on_unary(void *ctx, const struct grpc_result *r, struct slice m)
{
    struct one *o = ctx;
    on_done(ctx, r);
    buf_add(&o->all, m.p, m.len);
}

struct place {
    struct h2_peer peer;
    struct grpc_client *client;
    struct one a[8];
};

static void begin(struct place *t)
{
    struct grpc_client_options o = {.http2.target.unix_path = t->peer.path, .max_message = 100};
    struct err e;
    peer_open(&t->peer);
    assert_int_equal(grpc_client_new(&t->client, t->peer.loop, &o, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(t->a); i++) {
        t->a[i] = (struct one){0};
        buf_init(&t->a[i].all, 1u << 20);
        buf_init(&t->a[i].meta, 1u << 20);
    }
}

static void end(struct place *t)
{
    grpc_client_free(t->client);
    peer_close(&t->peer);
    for (size_t i = 0; i < ARRAY_LEN(t->a); i++) {
        buf_done(&t->a[i].all);
        buf_done(&t->a[i].meta);
    }
}

static const struct grpc_request plain = {.method = "/p.S/M"};

static void start(struct place *t, struct one *o, const struct grpc_request *r)
{
    struct err e = {0};
    assert_int_equal(grpc_client_start(&o->call, t->client, r, &user, o, &e), 0);
}

static void unary(struct place *t, struct one *o, const struct grpc_request *r, const char *text)
{
    struct err e = {0};
    assert_int_equal(grpc_client_unary(t->client, r, slice_of(text), on_unary, o, &o->call, &e), 0);
}

static void head(struct place *t, uint32_t id)
{
    peer_head(&t->peer, id, false, ":status", "200", "content-type", "application/grpc", NULL);
}

static void message(struct place *t, uint32_t id, const char *text)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1u << 20);
    char prefix[GRPC_PREFIX];
    grpc_prefix(prefix, false, (uint32_t)strlen(text));
    buf_add(&b, prefix, sizeof(prefix));
    buf_adds(&b, text);
    peer_send_frame(&t->peer, NGHTTP2_DATA, 0, id, b.data, b.len);
}

static void status(struct place *t, uint32_t id, const char *code)
{
    peer_head(&t->peer, id, true, "grpc-status", code, NULL);
}

static void settle(struct place *t, uint32_t last)
{
    struct h2_frame f;
    peer_settle(&t->peer);
    assert_true(peer_frame(&t->peer, NGHTTP2_HEADERS, last, &f));
}

/* ---- */

static void unary_call(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    _cleanup_(buf_done) struct buf h = BUF_INIT(10000);
    const struct http_header m[] = {{SLICE_LIT("x-a"), SLICE_LIT("1")},
                                    {SLICE_LIT("x-bin"), SLICE_LIT("\x00\xff\x10")},
                                    {SLICE_LIT("y-bin"), SLICE_LIT("")}};
    const struct grpc_request r = {
        .method = "/p.S/M", .metadata = m, .n_metadata = 3, .timeout_ms = 60000};
    begin(&t);
    unary(&t, &t.a[0], &r, "hello");
    peer_settle(&t.peer);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 1, &f));
    peer_headers(&t.peer, &f, &h);
    assert_string_equal(h.data,
                        ":method: POST\n:scheme: http\n:path: /p.S/M\n"
                        ":authority: localhost\ngrpc-timeout: 60000000u\nte: trailers\n"
                        "content-type: application/grpc\ngrpc-accept-encoding: identity\n"
                        "accept-encoding: identity\nuser-agent: grpc-c-gantry/" GANTRY_VERSION
                        "\nx-a: 1\nx-bin: AP8Q\ny-bin: \n");
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    assert_int_equal(f.len, 10);
    assert_memory_equal(f.p, "\0\0\0\0\x05hello", 10);
    head(&t, 1);
    message(&t, 1, "world");
    status(&t, 1, "0");
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_OK);
    assert_true(t.a[0].from_server);
    assert_string_equal(t.a[0].all.data, "world");
    end(&t);
}

static void bad_requests(void **state BASE_UNUSED)
{
    struct place t;
    struct grpc_client_call *k;
    struct err e;
    const char *const methods[] = {"", "/", "p.S/M", "/p.S", "/p S/M", "/p.S/M\n"};
    const struct http_header bad[] = {
        {SLICE_LIT("X"), SLICE_LIT("1")},           {SLICE_LIT("te"), SLICE_LIT("1")},
        {SLICE_LIT("grpc-status"), SLICE_LIT("1")}, {SLICE_LIT(":path"), SLICE_LIT("1")},
        {SLICE_LIT("x"), SLICE_LIT("a\nb")},        {SLICE_LIT("x"), SLICE_LIT("\xc3\xa4")}};
    begin(&t);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        const struct grpc_request r = {.method = methods[i]};
        assert_int_equal(grpc_client_start(&k, t.client, &r, &user, &t.a[0], &e), ERR_INVALID);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct grpc_request r = {.method = "/p.S/M", .metadata = &bad[i], .n_metadata = 1};
        assert_int_equal(grpc_client_start(&k, t.client, &r, &user, &t.a[0], &e), ERR_INVALID);
    }
    struct grpc_client *c;
    const struct grpc_client_options o = {.http2.target.unix_path = "/x", .user_agent = "a\n"};
    assert_int_equal(grpc_client_new(&c, t.peer.loop, &o, &e), ERR_INVALID);
    end(&t);
    assert_int_equal(t.a[0].done, 0);
}

static void streams_both_ways(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    start(&t, &t.a[0], &plain);
    assert_int_equal(grpc_client_send(t.a[0].call, SLICE_LIT("one")), 0);
    settle(&t, 1);
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_false(f.flags & NGHTTP2_FLAG_END_STREAM);
    peer_head(&t.peer, 1, false, ":status", "200", "content-type", "application/grpc+proto", "m",
              "v", "b-bin", "AP8Q,aGk=", NULL);
    message(&t, 1, "uno");
    assert_true(peer_until(&t.peer, &t.a[0].messages, 1));
    assert_int_equal(grpc_client_send(t.a[0].call, SLICE_LIT("")), 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_memory_equal(f.p, "\0\0\0\0\0", 5);
    message(&t, 1, "");
    assert_true(peer_until(&t.peer, &t.a[0].messages, 2));
    assert_int_equal(grpc_client_end(t.a[0].call), 0);
    assert_int_equal(grpc_client_end(t.a[0].call), ERR_STATE);
    assert_int_equal(grpc_client_send(t.a[0].call, SLICE_LIT("x")), ERR_STATE);
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    message(&t, 1, "tres");
    peer_head(&t.peer, 1, true, "grpc-status", "9", "grpc-message", "not %C3%A4 %", "t", "w", NULL);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_FAILED_PRECONDITION);
    assert_string_equal(t.a[0].text, "not \xc3\xa4 %");
    assert_string_equal(t.a[0].all.data, "uno||tres|");
    const char want[] = "m=v\nb-bin=\0\xff\x10\nb-bin=hi\nT t=w\n";
    assert_int_equal(t.a[0].meta.len, sizeof(want) - 1);
    assert_memory_equal(t.a[0].meta.data, want, sizeof(want) - 1);
    end(&t);
}

/* Messages in pieces of each size. */
static void messages_in_pieces(void **state BASE_UNUSED)
{
    static const char bytes[] = "\0\0\0\0\x03"
                                "abc\0\0\0\0\0\0\0\0\0\x01"
                                "d";
    const size_t n = sizeof(bytes) - 1;
    for (size_t piece = 1; piece <= n; piece++) {
        struct place t;
        begin(&t);
        start(&t, &t.a[0], &plain);
        grpc_client_end(t.a[0].call);
        settle(&t, 1);
        head(&t, 1);
        for (size_t at = 0; at < n; at += piece)
            peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, bytes + at,
                            n - at < piece ? n - at : piece);
        status(&t, 1, "0");
        assert_true(peer_until(&t.peer, &t.a[0].done, 1));
        assert_int_equal(t.a[0].code, 0);
        assert_string_equal(t.a[0].all.data, "abc||d|");
        end(&t);
    }
}

static void pausing(void **state BASE_UNUSED)
{
    struct place t;
    begin(&t);
    start(&t, &t.a[0], &plain);
    t.a[0].pause_after = 2;
    settle(&t, 1);
    head(&t, 1);
    /* Several messages in one frame: the user pauses in their middle. */
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1,
                    "\0\0\0\0\1a\0\0\0\0\1b\0\0\0\0\1c\0\0\0\0\1d\0\0\0", 27);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, "\0\1e", 3);
    status(&t, 1, "0");
    peer_run(&t.peer, 20);
    assert_string_equal(t.a[0].all.data, "a|b|");
    t.a[0].pause_after = 3;
    grpc_client_pause(t.a[0].call, false);
    assert_int_equal(t.a[0].messages, 2);
    peer_run(&t.peer, 20);
    assert_string_equal(t.a[0].all.data, "a|b|c|");
    assert_int_equal(t.a[0].done, 0);
    grpc_client_pause(t.a[0].call, false);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_string_equal(t.a[0].all.data, "a|b|c|d|e|");
    assert_int_equal(t.a[0].code, GRPC_OK);
    end(&t);
}

struct ending {
    const char *http, *type, *code, *message;
    bool last;
    int want;
    bool from_server;
};

static void statuses(void **state BASE_UNUSED)
{
    static const char grpc[] = "application/grpc";
    static const struct ending cases[] = {
        {"200", grpc, "5", "gone", true, GRPC_NOT_FOUND, true},
        {"200", grpc, "99", "?", true, GRPC_UNKNOWN, true},
        {"200", grpc, "x", "?", true, GRPC_UNKNOWN, true},
        {"200", grpc, NULL, NULL, true, GRPC_INTERNAL, false},
        {"200", "text/html", NULL, NULL, true, GRPC_UNKNOWN, false},
        {"200", "text/html", NULL, NULL, false, GRPC_UNKNOWN, false},
        {"200", NULL, NULL, NULL, false, GRPC_UNKNOWN, false},
        {"400", NULL, NULL, NULL, true, GRPC_INTERNAL, false},
        {"401", NULL, NULL, NULL, true, GRPC_UNAUTHENTICATED, false},
        {"403", NULL, NULL, NULL, true, GRPC_PERMISSION_DENIED, false},
        {"404", NULL, NULL, NULL, true, GRPC_UNIMPLEMENTED, false},
        {"429", NULL, NULL, NULL, true, GRPC_UNAVAILABLE, false},
        {"502", NULL, NULL, NULL, true, GRPC_UNAVAILABLE, false},
        {"503", "text/plain", NULL, NULL, false, GRPC_UNAVAILABLE, false},
        {"504", NULL, NULL, NULL, true, GRPC_UNAVAILABLE, false},
        {"500", NULL, NULL, NULL, true, GRPC_UNKNOWN, false},
        {"302", NULL, NULL, NULL, true, GRPC_UNKNOWN, false},
        {"403", grpc, "16", "who", true, GRPC_UNAUTHENTICATED, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct ending *c = &cases[i];
        struct place t;
        _cleanup_(buf_done) struct buf b = BUF_INIT(1000);
        begin(&t);
        unary(&t, &t.a[0], &plain, "q");
        settle(&t, 1);
        hpack_add(&b, ":status", c->http);
        if (c->type != NULL)
            hpack_add(&b, "content-type", c->type);
        if (c->code != NULL)
            hpack_add(&b, "grpc-status", c->code);
        if (c->message != NULL)
            hpack_add(&b, "grpc-message", c->message);
        peer_send_frame(&t.peer, NGHTTP2_HEADERS, c->last ? 5 : 4, 1, b.data, b.len);
        assert_true(peer_until(&t.peer, &t.a[0].done, 1));
        if (t.a[0].code != c->want)
            fail_msg("case %zu: status %d, \"%s\"", i, t.a[0].code, t.a[0].text);
        assert_int_equal(t.a[0].from_server, c->from_server);
        if (c->message != NULL)
            assert_string_equal(t.a[0].text, c->message);
        end(&t);
    }
}

static void reset_codes(void **state BASE_UNUSED)
{
    static const int want[] = {
        GRPC_INTERNAL,          GRPC_INTERNAL, GRPC_INTERNAL, GRPC_INTERNAL,
        GRPC_INTERNAL,          GRPC_UNKNOWN,  GRPC_INTERNAL, GRPC_UNAVAILABLE,
        GRPC_CANCELLED,         GRPC_INTERNAL, GRPC_INTERNAL, GRPC_RESOURCE_EXHAUSTED,
        GRPC_PERMISSION_DENIED, GRPC_UNKNOWN,
    };
    for (uint32_t i = 0; i < ARRAY_LEN(want); i++) {
        struct place t;
        begin(&t);
        unary(&t, &t.a[0], &plain, "q");
        settle(&t, 1);
        head(&t, 1); /* begun with, so that nothing is sent again */
        peer_run(&t.peer, 3);
        peer_reset(&t.peer, 1, i);
        assert_true(peer_until(&t.peer, &t.a[0].done, 1));
        if (t.a[0].code != want[i])
            fail_msg("code %u: status %d", i, t.a[0].code);
        end(&t);
    }
}

static void answers_that_are_wrong(void **state BASE_UNUSED)
{
    static const struct {
        const char *p;
        size_t n;
        bool unary;
        int want;
    } cases[] = {
        {"\0\0\0\0\x65", 5, true, GRPC_RESOURCE_EXHAUSTED}, /* 101 bytes, told before they come */
        {"\0\xff\xff\xff\xff", 5, false, GRPC_RESOURCE_EXHAUSTED},
        {"\1\0\0\0\1x", 6, true, GRPC_INTERNAL},
        {"\2\0\0\0\1x", 6, true, GRPC_INTERNAL},
        {"\0\0\0\0\2x", 6, false, GRPC_INTERNAL}, /* cut */
        {"\0\0", 2, false, GRPC_INTERNAL},
        {"", 0, true, GRPC_UNIMPLEMENTED}, /* no message */
        {"\0\0\0\0\1a\0\0\0\0\1b", 12, true, GRPC_UNIMPLEMENTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct place t;
        begin(&t);
        if (cases[i].unary)
            unary(&t, &t.a[0], &plain, "q");
        else
            start(&t, &t.a[0], &plain);
        settle(&t, 1);
        head(&t, 1);
        peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, cases[i].p, cases[i].n);
        status(&t, 1, "0");
        assert_true(peer_until(&t.peer, &t.a[0].done, 1));
        if (t.a[0].code != cases[i].want)
            fail_msg("case %zu: status %d, \"%s\"", i, t.a[0].code, t.a[0].text);
        assert_false(t.a[0].from_server);
        end(&t);
    }
}

static void metadata_that_is_wrong(void **state BASE_UNUSED)
{
    struct place t;
    begin(&t);
    start(&t, &t.a[0], &plain);
    settle(&t, 1);
    peer_head(&t.peer, 1, false, ":status", "200", "content-type", "application/grpc", "x-bin", "*",
              NULL);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_INTERNAL);
    assert_non_null(strstr(t.a[0].text, "\"x-bin\""));
    end(&t);
}

/* A call that the server refused is sent again, once, whole. */
static void refused(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    unary(&t, &t.a[0], &plain, "again");
    settle(&t, 1);
    peer_reset(&t.peer, 1, NGHTTP2_REFUSED_STREAM);
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 3, &f));
    assert_true(f.flags & NGHTTP2_FLAG_END_STREAM);
    assert_memory_equal(f.p,
                        "\0\0\0\0\x05"
                        "again",
                        10);
    peer_reset(&t.peer, 3, NGHTTP2_REFUSED_STREAM);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_UNAVAILABLE);
    assert_true(peer_silent(&t.peer, NGHTTP2_HEADERS, -1, 20));
    /* Not once the answer has begun, and not when more was sent than is kept. */
    unary(&t, &t.a[1], &plain, "x");
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 5, &f));
    head(&t, 5);
    peer_reset(&t.peer, 5, NGHTTP2_REFUSED_STREAM);
    assert_true(peer_until(&t.peer, &t.a[1].done, 1));
    start(&t, &t.a[2], &plain);
    for (unsigned i = 0; i <= GRPC_RETRY_MESSAGES; i++)
        assert_int_equal(grpc_client_send(t.a[2].call, SLICE_LIT("m")), 0);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 7, &f));
    peer_reset(&t.peer, 7, NGHTTP2_REFUSED_STREAM);
    assert_true(peer_until(&t.peer, &t.a[2].done, 1));
    assert_int_equal(t.a[2].code, GRPC_UNAVAILABLE);
    end(&t);
}

static void goaway(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    const struct grpc_request timed = {.method = "/p.S/M", .timeout_ms = 50000};
    begin(&t);
    unary(&t, &t.a[0], &plain, "first");
    unary(&t, &t.a[1], &timed, "second");
    settle(&t, 3);
    peer_goaway(&t.peer, 1, NGHTTP2_NO_ERROR, "");
    head(&t, 1);
    message(&t, 1, "one");
    status(&t, 1, "0");
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_OK);
    assert_int_equal(t.a[1].done, 0);
    peer_settle(&t.peer); /* the other connection */
    assert_true(peer_frame(&t.peer, NGHTTP2_DATA, 1, &f));
    assert_memory_equal(f.p + 5, "second", 6);
    head(&t, 1);
    message(&t, 1, "two");
    status(&t, 1, "0");
    assert_true(peer_until(&t.peer, &t.a[1].done, 1));
    assert_int_equal(t.a[1].code, GRPC_OK);
    assert_string_equal(t.a[1].all.data, "two");
    end(&t);
}

/* A connection that is lost: a call that was under way is not sent again. */
static void lost(void **state BASE_UNUSED)
{
    struct place t;
    begin(&t);
    unary(&t, &t.a[0], &plain, "q");
    settle(&t, 1);
    close(t.peer.fd);
    t.peer.fd = -1;
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_UNAVAILABLE);
    peer_listen(&t.peer, false);
    unary(&t, &t.a[1], &plain, "q");
    assert_true(peer_until(&t.peer, &t.a[1].done, 1));
    assert_int_equal(t.a[1].code, GRPC_UNAVAILABLE);
    assert_non_null(strstr(t.a[1].text, "cannot connect"));
    end(&t);
}

/* A whole answer, cut after each byte by the peer's end. */
static void gone_at_each_byte(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf all = BUF_INIT(10000), h = BUF_INIT(1000);
    hpack_add(&h, ":status", "200");
    hpack_add(&h, "content-type", "application/grpc");
    frame_add(&all, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, h.data, h.len);
    frame_add(&all, NGHTTP2_DATA, 0, 1, "\0\0\0\0\2hi", 7);
    buf_clear(&h);
    hpack_add(&h, "grpc-status", "0");
    frame_add(&all, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, h.data,
              h.len);
    for (size_t n = 0; n <= all.len; n++) {
        struct place t;
        begin(&t);
        unary(&t, &t.a[0], &plain, "q");
        settle(&t, 1);
        peer_send(&t.peer, all.data, n);
        close(t.peer.fd);
        t.peer.fd = -1;
        assert_true(peer_until(&t.peer, &t.a[0].done, 1));
        assert_int_equal(t.a[0].code, n < all.len ? GRPC_UNAVAILABLE : GRPC_OK);
        if (n == all.len)
            assert_string_equal(t.a[0].all.data, "hi");
        end(&t);
    }
}

static void times(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    const struct grpc_request brief = {.method = "/p.S/M", .timeout_ms = 400};
    begin(&t);
    unary(&t, &t.a[0], &brief, "q");
    settle(&t, 1);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 1, &f)); /* a server that never answers */
    assert_int_equal(f.p[3], NGHTTP2_CANCEL);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_DEADLINE_EXCEEDED);
    const struct grpc_request waits = {
        .method = "/p.S/M", .timeout_ms = 60, .wait_for_ready = true};
    close(t.peer.fd);
    t.peer.fd = -1;
    peer_listen(&t.peer, false);
    peer_run(&t.peer, 10);
    unary(&t, &t.a[1], &waits, "q");
    assert_true(peer_until(&t.peer, &t.a[1].done, 1));
    assert_int_equal(t.a[1].code, GRPC_DEADLINE_EXCEEDED);
    end(&t);
}

static void cancelling(void **state BASE_UNUSED)
{
    struct place t;
    struct h2_frame f;
    begin(&t);
    start(&t, &t.a[0], &plain);
    t.a[0].cancel_after = 1;
    start(&t, &t.a[1], &plain);
    unary(&t, &t.a[2], &plain, "q");
    settle(&t, 5);
    head(&t, 1);
    peer_send_frame(&t.peer, NGHTTP2_DATA, 0, 1, "\0\0\0\0\1a\0\0\0\0\1b", 12);
    assert_true(peer_until(&t.peer, &t.a[0].done, 1));
    assert_int_equal(t.a[0].code, GRPC_CANCELLED);
    assert_string_equal(t.a[0].all.data, "a|");
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, 1, &f));
    grpc_client_drop(t.a[1].call);
    grpc_client_drop(t.a[2].call);
    assert_true(peer_frame(&t.peer, NGHTTP2_RST_STREAM, -1, &f));
    peer_run(&t.peer, 10);
    assert_int_equal(t.a[1].done + t.a[2].done, 0);
    /* What is under way when the client is freed ends cancelled. */
    unary(&t, &t.a[3], &plain, "q");
    start(&t, &t.a[4], &plain);
    assert_true(peer_frame(&t.peer, NGHTTP2_HEADERS, 9, &f));
    unary(&t, &t.a[5], &plain, "q");
    end(&t);
    for (int i = 3; i < 6; i++)
        assert_int_equal(t.a[i].code, GRPC_CANCELLED);
}

static void slow_server(void **state BASE_UNUSED)
{
    static char block[300000];
    struct place t;
    struct h2_frame f;
    size_t got = 0, sent = 0;
    begin(&t);
    start(&t, &t.a[0], &plain);
    settle(&t, 1);
    int rc;
    while ((rc = grpc_client_send(t.a[0].call, (struct slice){block, sizeof(block)})) == 0)
        sent += GRPC_PREFIX + sizeof(block);
    assert_int_equal(rc, ERR_LIMIT);
    assert_in_range(sent, 900000, 1300000);
    peer_run(&t.peer, 20);
    assert_int_equal(grpc_client_queued(t.a[0].call), sent - 65535);
    assert_int_equal(t.a[0].drained, 0);
    peer_window(&t.peer, 0, 10000000);
    peer_window(&t.peer, 1, 10000000);
    while (got < sent && peer_frame(&t.peer, NGHTTP2_DATA, 1, &f))
        got += f.len;
    assert_int_equal(got, sent);
    assert_int_equal(t.a[0].drained, 1);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_call),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(streams_both_ways),
        cmocka_unit_test(messages_in_pieces),
        cmocka_unit_test(pausing),
        cmocka_unit_test(statuses),
        cmocka_unit_test(reset_codes),
        cmocka_unit_test(answers_that_are_wrong),
        cmocka_unit_test(metadata_that_is_wrong),
        cmocka_unit_test(refused),
        cmocka_unit_test(goaway),
        cmocka_unit_test(lost),
        cmocka_unit_test(gone_at_each_byte),
        cmocka_unit_test(times),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(slow_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
