/* The client's answers: framing, strictness, limits, pause and cancel in every phase, big streams.
 */
#include "client_rig.h"

#include "base/mem.h"
#include "base/str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const char *answer; /* what the peer says to a request */
static size_t step;        /* in pieces of so many bytes; 0: at once */
static bool then_close;
static size_t said;

/* One piece for each turn of the loop, so that the client reads them one by one. */
static void on_check(uv_check_t *h)
{
    struct client_rig *r = h->data;
    size_t left = strlen(answer) - said, n = left < step ? left : step;

    if (r->last == NULL || r->requests == 0 || left == 0)
        return;
    peer_write(r->last, answer + said, n);
    said += n;
    if (said == strlen(answer) && then_close)
        peer_close(r->last);
}

static void say_answer(struct peer_conn *c, const char *text)
{
    (void)text;
    said = 0;
    if (step > 0 && answer[0] != '\0')
        return;
    peer_say(c, answer);
    if (then_close)
        peer_close(c);
}

/* One call with the answer, whole and then byte by byte; the caller looks at *r. */
static void ask(struct result *r, enum http_method m, const char *text, size_t piece,
                bool close_after, bool fetch, size_t max_body)
{
    const struct client_options o = {.max_head = 1000};
    const struct client_request q = {.method = m, .target = SLICE_LIT("/"), .max_body = max_body};
    struct client_rig rig;
    uv_check_t check;

    answer = text;
    step = piece;
    then_close = close_after;
    client_rig_open(&rig, say_answer, &o);
    uv_check_init(loop_uv(rig.loop), &check);
    check.data = &rig;
    if (piece > 0)
        uv_check_start(&check, on_check);
    result_init(r, &rig);
    assert_int_equal(fetch ? result_fetch(r, &q) : result_send(r, &q), 0);
    assert_true(rig_wait(&rig, &r->done, 1, 4000));
    uv_close((uv_handle_t *)&check, NULL);
    client_rig_close(&rig);
}

struct good {
    enum http_method method;
    const char *text, *body;
    bool close_after;
    int status;
};

static const struct good goods[] = {
    {HTTP_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", false, 200},
    {HTTP_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", false, 200},
    {HTTP_METHOD_GET,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
     "abcde", false, 200},
    {HTTP_METHOD_GET,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: "
     "1\r\nX-Test: no\r\n\r\n",
     "abc", false, 200},
    {HTTP_METHOD_GET, "HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", true, 200},
    {HTTP_METHOD_GET, "HTTP/1.0 200 OK\r\n\r\nold", "old", true, 200},
    {HTTP_METHOD_GET, "HTTP/1.1 200 OK\r\n\r\n", "", true, 200},
    {HTTP_METHOD_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n", "", false, 200},
    {HTTP_METHOD_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", false, 200},
    {HTTP_METHOD_GET, "HTTP/1.1 204 No Content\r\n\r\n", "", false, 204},
    {HTTP_METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 30\r\n\r\n", "", false, 304},
    {HTTP_METHOD_GET, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
     "x", false, 200},
    {HTTP_METHOD_GET,
     "HTTP/1.1 103 Early\r\nX-Test: early\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 404 "
     "NF\r\nContent-Length: 1\r\n\r\nx",
     "x", false, 404},
    {HTTP_METHOD_GET, "HTTP/1.1 500\r\nContent-Length: 1\r\nX-Empty:\r\nX-Empty-Too: \r\n\r\nx",
     "x", false, 500},
};

static void test_framing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
        for (int how = 0; how < 6; how++) {
            const struct good *g = &goods[i];
            struct result r;
            ask(&r, g->method, g->text,
                how / 2 == 0   ? 0
                : how / 2 == 1 ? 1
                               : 7,
                g->close_after, how % 2 == 1, 0);
            if (r.e.code != 0 || r.status != g->status)
                fail_msg("case %zu, way %d: %s", i, how, r.e.msg);
            assert_int_equal(r.body.len, strlen(g->body));
            assert_memory_equal(r.body.len > 0 ? r.body.data : "", g->body, r.body.len);
            assert_string_equal(r.header, "");
            result_free(&r);
        }
    }
}

struct bad {
    const char *text;
    int code;
};

static const struct bad bads[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: "
     "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "
     "3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     ERR_PROTOCOL},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", ERR_PROTOCOL},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", ERR_PROTOCOL},
    {"HTTP/1.1 99 OK\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 600 OK\r\n\r\n", ERR_PROTOCOL},
    {"SSH-2.0-OpenSSH\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nabc", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA\xff: b\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA:\rB: c\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", ERR_PROTOCOL},
    {"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ERR_PROTOCOL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ERR_GONE},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", ERR_GONE},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", ERR_GONE},
    {"HTTP/1.1 200 OK\r\nA: b\r\n", ERR_GONE},
    {"HTTP/1.1 100 Continue\r\n\r\n", ERR_GONE},
    {"", ERR_GONE},
};

static void test_strictness(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        for (int how = 0; how < 4; how++) {
            struct result r;
            ask(&r, HTTP_METHOD_GET, bads[i].text, how / 2, true, how % 2 == 1, 0);
            if (r.e.code != bads[i].code)
                fail_msg("case %zu, way %d: %s \"%s\"", i, how, err_name(r.e.code), r.e.msg);
            result_free(&r);
        }
    }
}

static char *repeat(const char *before, const char *unit, int n, const char *after)
{
    struct buf b = BUF_INIT(1 << 20);

    buf_adds(&b, before);
    for (int i = 0; i < n; i++)
        buf_adds(&b, unit);
    buf_adds(&b, after);
    return buf_steal(&b, NULL);
}

static void test_limits(void **state)
{
    static const struct {
        const char *before, *unit, *after;
        int n;
        size_t max_body;
        int code;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nA: ", "x", "\r\nContent-Length: 0\r\n\r\n", 2000, 0, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\nA: ", "x", "", 2000, 0, ERR_LIMIT},
        {"HTTP/1.1 200 ", "x", "\r\n\r\n", 2000, 0, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\n", "A: b\r\n", "Content-Length: 0\r\n\r\n", 100, 0, 0},
        {"", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 16, 0,
         0},
        {"", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 17, 0,
         ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "x", "", 100, 100, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "x", "", 101, 100, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", "0\r\n\r\n", 100,
         100, 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", "0\r\n\r\n", 101,
         100, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "x", "", 101, 100, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: bcdefghij\r\n", "\r\n",
         200, 0, ERR_LIMIT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", "x", "\r\nx\r\n0\r\n\r\n",
         2000, 0, ERR_LIMIT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int how = 0; how < 4; how++) {
            _cleanup_(mem_freep) char *text =
                repeat(cases[i].before, cases[i].unit, cases[i].n, cases[i].after);
            struct result r;
            ask(&r, HTTP_METHOD_GET, text, how / 2 == 0 ? 0 : 50, true, how % 2 == 1,
                cases[i].max_body);
            if (r.e.code != cases[i].code)
                fail_msg("case %zu, way %d: %s \"%s\"", i, how, err_name(r.e.code), r.e.msg);
            result_free(&r);
        }
    }
}

static void test_too_many_headers(void **state)
{
    _cleanup_(mem_freep) char *many =
        repeat("HTTP/1.1 200 OK\r\n", "A:\r\n", 600, "Content-Length: 0\r\n\r\n");
    _cleanup_(mem_freep) char *some =
        repeat("HTTP/1.1 200 OK\r\n", "A:\r\n", 120, "X-Test: z\r\nContent-Length: 0\r\n\r\n");
    struct result r;

    (void)state;
    ask(&r, HTTP_METHOD_GET, many, 0, true, false, 0);
    assert_int_equal(r.e.code, ERR_LIMIT);
    result_free(&r);
    ask(&r, HTTP_METHOD_GET, some, 0, true, true, 0);
    assert_int_equal(r.e.code, 0);
    assert_int_equal(r.n_headers, 122);
    assert_string_equal(r.header, "z");
    result_free(&r);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

static void cancel(struct result *r)
{
    client_cancel(r->call);
    r->call = NULL;
}

static void test_cancel(void **state)
{
    const struct client_options o = {.max_connections = 1};

    (void)state;
    answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    step = 0;
    then_close = false;
    for (int phase = 0; phase < 5; phase++) {
        struct client_rig rig;
        struct result a, b;

        client_rig_open(&rig, say_answer, &o);
        result_init(&a, &rig);
        result_init(&b, &rig);
        if (phase == 2)
            a.on_head = cancel;
        if (phase == 3)
            a.on_piece = cancel;
        assert_int_equal(result_send(&a, NULL), 0);
        assert_int_equal(result_send(&b, NULL), 0); /* waits for the only place */
        if (phase == 0)
            cancel(&a); /* connecting */
        if (phase == 1)
            cancel(&b); /* waiting */
        if (phase == 4) {
            client_rig_end_pool(&rig); /* both are told of it later: */
            assert_int_equal(a.done + b.done, 2);
        } else {
            struct result *other = phase == 1 ? &a : &b, *gone = phase == 1 ? &b : &a;
            assert_true(rig_wait(&rig, &other->done, 1, 2000));
            assert_int_equal(other->e.code, 0);
            assert_int_equal(other->body.len, 6);
            rig_spin(&rig, 20);
            assert_int_equal(gone->done, 0);
            assert_int_equal(gone->pieces, phase == 3);
            assert_int_equal(client_pool_stats(rig.pool)->cancelled, 1);
            assert_int_equal(client_pool_open(rig.pool), 1);
        }
        result_free(&a);
        result_free(&b);
        client_rig_close(&rig);
    }
}

/* A cancel between the end of a call's life and its being told. */
static void test_cancel_finished(void **state)
{
    const struct client_options o = {.max_connections = 1, .connect_ms = 30};
    struct client_rig rig;
    struct result a, b;

    (void)state;
    answer = "";
    client_rig_open(&rig, say_answer, &o);
    result_init(&a, &rig);
    result_init(&b, &rig);
    assert_int_equal(result_send(&a, NULL), 0);
    assert_int_equal(result_send(&b, NULL), 0);
    client_pool_free(rig.pool);
    rig.pool = NULL;
    cancel(&a);
    cancel(&b);
    rig_spin(&rig, 30);
    assert_int_equal(a.done + b.done, 0);
    client_rig_close(&rig);
}

static void cancel_and_send(struct result *r)
{
    static struct result *next;

    if (next == NULL) {
        next = r + 1;
        cancel(r);
        assert_int_equal(result_send(next, NULL), 0); /* must not reuse what the parser stands on */
        next = NULL;
    }
}

static void test_cancel_and_send(void **state)
{
    struct client_rig rig;
    struct result r[2];

    (void)state;
    answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    step = 0;
    client_rig_open(&rig, say_answer, NULL);
    result_init(&r[0], &rig);
    result_init(&r[1], &rig);
    r[0].on_piece = cancel_and_send;
    assert_int_equal(result_send(&r[0], NULL), 0);
    assert_true(rig_wait(&rig, &r[1].done, 1, 2000));
    assert_int_equal(r[1].e.code, 0);
    assert_int_equal(r[1].body.len, 6);
    assert_int_equal(r[0].done, 0);
    assert_int_equal(r[0].body.len, 3);
    result_free(&r[0]);
    result_free(&r[1]);
    client_rig_close(&rig);
}

/* ---- pause ----------------------------------------------------------------------------------- */

static void pause_it(struct result *r)
{
    client_pause(r->call, true);
}

/* Pauses after the head and after each piece; nothing may come in between. */
static void test_pause_everywhere(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi",
        "HTTP/1.1 200 OK\r\n\r\nabcdefghi",
    };

    (void)state;
    step = 0;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const struct client_request q = {.method = HTTP_METHOD_GET,
                                         .target = SLICE_LIT("/"),
                                         .first_byte_ms = 40,
                                         .idle_ms = 40};
        struct client_rig rig;
        struct result r;

        answer = texts[i];
        then_close = i == 2;
        client_rig_open(&rig, say_answer, NULL);
        result_init(&r, &rig);
        r.on_head = r.on_piece = pause_it;
        assert_int_equal(result_send(&r, &q), 0);
        for (int turn = 0; r.done == 0; turn++) {
            int before = r.heads + r.pieces;
            assert_true(turn < 10);
            rig_spin(&rig, turn == 1 ? 80 : 10); /* longer than the time-outs: they rest */
            assert_true(r.heads + r.pieces + r.done <= before + 1 + r.done);
            if (r.done == 0)
                client_pause(r.call, false);
            assert_true(r.heads + r.pieces <= before + 1); /* nothing inside client_pause */
        }
        assert_int_equal(r.e.code, 0);
        assert_int_equal(r.body.len, 9);
        assert_memory_equal(r.body.data, "abcdefghi", 9);
        result_free(&r);
        result_init(&r, &rig); /* the connection reads again for the next call */
        assert_int_equal(result_send(&r, &q), 0);
        assert_true(rig_wait(&rig, &r.done, 1, 2000));
        assert_int_equal(r.e.code, 0);
        assert_int_equal(rig.accepted, then_close ? 2 : 1);
        result_free(&r);
        client_rig_close(&rig);
    }
}

static void pause_and_go_on(struct result *r)
{
    client_pause(r->call, true);
    client_pause(r->call, false);
}

static void test_pause_and_go_on(void **state)
{
    struct result r;
    struct client_rig rig;

    (void)state;
    answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    then_close = false;
    client_rig_open(&rig, say_answer, NULL);
    result_init(&r, &rig);
    r.on_head = r.on_piece = pause_and_go_on;
    assert_int_equal(result_send(&r, NULL), 0);
    assert_true(rig_wait(&rig, &r.done, 1, 1000));
    assert_int_equal(r.body.len, 6);
    assert_int_equal(client_pool_stats(rig.pool)->idle, 1);
    result_free(&r);
    client_rig_close(&rig);
}

/* Paused before anything happened; then cancelled while bytes wait. */
static void test_paused_early(void **state)
{
    struct client_rig rig;
    struct result r;

    (void)state;
    answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    client_rig_open(&rig, say_answer, NULL);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, NULL), 0);
    client_pause(r.call, true);
    rig_spin(&rig, 30);
    assert_int_equal(r.pieces + r.done, 0);
    client_pause(r.call, false);
    r.on_piece = pause_it;
    assert_true(rig_wait(&rig, &r.pieces, 1, 1000));
    client_pause(r.call, false);
    cancel(&r);
    rig_spin(&rig, 20);
    assert_int_equal(r.pieces, 1);
    assert_int_equal(r.done, 0);
    assert_int_equal(client_pool_open(rig.pool), 0);
    result_free(&r);
    client_rig_close(&rig);
}

/* ---- big streams ----------------------------------------------------------------------------- */

enum { BIG = 24 << 20 };
static uint64_t got_hash, want_hash;
static size_t got_bytes;

static void say_big(struct peer_conn *c, const char *text)
{
    static char block[64 << 10];
    char head[32];

    (void)text;
    peer_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    want_hash = 0;
    for (size_t sent = 0; sent < BIG; sent += sizeof(block)) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (char)(sent / 65536 + i * 7);
        for (size_t i = 0; i < sizeof(block); i++)
            want_hash = want_hash * 31 + (unsigned char)block[i];
        snprintf(head, sizeof(head), "%zx\r\n", sizeof(block));
        peer_say(c, head);
        peer_write(c, block, sizeof(block));
        peer_say(c, "\r\n");
    }
    peer_say(c, "0\r\n\r\n");
}

static void count_piece(struct result *r)
{
    for (size_t i = 0; i < r->body.len; i++)
        got_hash = got_hash * 31 + (unsigned char)r->body.data[i];
    got_bytes += r->body.len;
    buf_clear(&r->body);
    if (r->pieces % 50 == 0)
        client_pause(r->call, true);
}

static void test_big_stream(void **state)
{
    struct client_request q = {.method = HTTP_METHOD_GET,
                               .target = SLICE_LIT("/"),
                               .max_body = SIZE_MAX,
                               .idle_ms = UINT64_MAX};
    struct client_rig rig;
    struct result r;

    (void)state;
    got_hash = got_bytes = 0;
    client_rig_open(&rig, say_big, NULL);
    result_init(&r, &rig);
    r.on_piece = count_piece;
    assert_int_equal(result_send(&r, &q), 0);
    assert_true(rig_wait(&rig, &r.pieces, 50, 2000));
    rig_spin(&rig, 30);
    assert_int_equal(r.pieces, 50);
    assert_true(peer_queued(rig.last) > BIG / 2); /* back-pressure has reached the peer */
    for (int i = 0; i < 3000 && r.done == 0; i++) {
        client_pause(r.call, false);
        loop_run_once(rig.loop, true);
    }
    assert_int_equal(r.done, 1);
    assert_int_equal(r.e.code, 0);
    assert_int_equal(got_bytes, BIG);
    assert_true(got_hash == want_hash);
    result_free(&r);
    client_rig_close(&rig);
}

static void answer_early(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void test_big_request(void **state)
{
    struct client_request q = {.method = HTTP_METHOD_PUT, .target = SLICE_LIT("/")};
    struct client_rig rig;
    struct result r;
    char *body = calloc(1, 20 << 20);

    (void)state;
    assert_non_null(body);
    memset(body, 'x', 20 << 20);
    q.body = (struct slice){body, 20 << 20};
    client_rig_open(&rig, answer_early, NULL);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &q), 0);
    assert_true(rig_wait(&rig, &r.done, 1, 5000));
    assert_int_equal(r.e.code, 0);
    /* answered before all was sent: such a connection is not used again */
    assert_int_equal(client_pool_open(rig.pool), 0);
    result_free(&r);
    free(body);
    client_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),         cmocka_unit_test(test_strictness),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_cancel_finished),
        cmocka_unit_test(test_cancel_and_send), cmocka_unit_test(test_pause_everywhere),
        cmocka_unit_test(test_pause_and_go_on), cmocka_unit_test(test_paused_early),
        cmocka_unit_test(test_big_stream),      cmocka_unit_test(test_big_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
