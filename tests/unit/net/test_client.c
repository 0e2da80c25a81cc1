/* The client's pool: reuse, queueing, time-outs, failures of the peer, retry, request heads. */
#include "client_rig.h"

#include "base/str.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
/* after the above */
#include <cmocka.h>

#define OK_HI "HTTP/1.1 200 OK\r\nX-Test:  yes \r\nContent-Length: 2\r\n\r\nhi"

static char seen[4096]; /* the latest request's text */

static void say_hi(struct peer_conn *c, const char *text)
{
    snprintf(seen, sizeof(seen), "%s", text);
    peer_say(c, OK_HI);
}

static void say_nothing(struct peer_conn *c, const char *text)
{
    (void)c;
    (void)text;
}

static void hang_up(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_close(c);
}

static void expect_hi(struct result *r)
{
    assert_true(rig_wait(r->rig, &r->done, 1, 2000));
    assert_int_equal(r->e.code, 0);
    assert_int_equal(r->status, 200);
    assert_string_equal(r->header, "yes");
    assert_string_equal(r->reason, "OK");
    assert_int_equal(r->body.len, 2);
    assert_memory_equal(r->body.data, "hi", 2);
}

static void expect_error(struct result *r, int code)
{
    assert_true(rig_wait(r->rig, &r->done, 1, 3000));
    if (r->e.code != code)
        fail_msg("\"%s\" instead of %s", r->e.msg, err_name(code));
}

static void test_keep_alive(void **state)
{
    struct client_rig rig;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    for (int i = 0; i < 50; i++) {
        struct result r;
        result_init(&r, &rig);
        assert_int_equal(i % 2 == 0 ? result_send(&r, NULL) : result_fetch(&r, NULL), 0);
        expect_hi(&r);
        result_free(&r);
    }
    assert_int_equal(rig.accepted, 1);
    assert_int_equal(rig.requests, 50);
    assert_int_equal(client_pool_stats(rig.pool)->reused, 49);
    assert_int_equal(client_pool_open(rig.pool), 1);
    assert_int_equal(client_pool_stats(rig.pool)->idle, 1);
    client_rig_close(&rig);
}

static void test_request_head(void **state)
{
    struct client_rig rig;
    const struct http_header extra[] = {{SLICE_LIT("x-a"), SLICE_LIT("b c")}};
    struct client_request q = {.method = HTTP_METHOD_PUT,
                               .target = SLICE_LIT("/a%20b?x=1"),
                               .headers = extra,
                               .n_headers = 1,
                               .body = SLICE_LIT("{}")};
    struct result r;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &q), 0);
    expect_hi(&r);
    assert_string_equal(
        seen, "PUT /a%20b?x=1 HTTP/1.1\r\nHost: peer\r\nUser-Agent: gantry/" GANTRY_VERSION
              "\r\nAccept: */*\r\nx-a: b c\r\nContent-Type: application/json\r\n"
              "Content-Length: 2\r\n\r\n{}");
    result_free(&r);
    q = (struct client_request){.method = HTTP_METHOD_POST, .target = SLICE_LIT("/")};
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &q), 0);
    expect_hi(&r);
    assert_non_null(strstr(seen, "Content-Length: 0\r\n\r\n"));
    assert_null(strstr(seen, "Content-Type"));
    result_free(&r);
    client_rig_close(&rig);
}

static void test_refused_requests(void **state)
{
    struct client_rig rig;
    const struct http_header bad[] = {
        {SLICE_LIT("x\r\ny"), SLICE_LIT("b")},
        {SLICE_LIT("x"), SLICE_LIT("b\r\nc: d")},
        {SLICE_LIT("x"), {"a\0b", 3}},
        {SLICE_LIT(""), SLICE_LIT("b")},
    };
    const struct slice targets[] = {SLICE_LIT(""), SLICE_LIT("a"), SLICE_LIT("/a b"),
                                    SLICE_LIT("/a\r\nHost: x"), SLICE_LIT("http://x/")};
    struct client_request q = {.method = HTTP_METHOD_GET, .target = SLICE_LIT("/")};
    struct result r;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    result_init(&r, &rig);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        q.headers = &bad[i];
        q.n_headers = 1;
        assert_int_equal(result_send(&r, &q), ERR_INVALID);
    }
    q.n_headers = 0;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        q.target = targets[i];
        assert_int_equal(result_send(&r, &q), ERR_INVALID);
    }
    q.target = SLICE_LIT("/");
    q.method = HTTP_METHOD_CONNECT;
    assert_int_equal(result_send(&r, &q), ERR_INVALID);
    q.method = HTTP_METHOD_PUT;
    q.body = SLICE_LIT("x");
    q.content_type = "a/b\r\nx: y";
    assert_int_equal(result_send(&r, &q), ERR_INVALID);
    rig_spin(&rig, 20);
    assert_int_equal(rig.requests, 0);
    assert_int_equal(r.done, 0);
    client_rig_close(&rig);
}

static void test_queue(void **state)
{
    const struct client_options o = {.max_connections = 3, .max_waiting = 7, .connect_ms = 2000};
    struct client_rig rig;
    struct result r[10], over;

    (void)state;
    client_rig_open(&rig, say_hi, &o);
    for (int i = 0; i < 10; i++) {
        struct client_request q = {
            .method = HTTP_METHOD_PUT, .target = SLICE_LIT("/"), .body = SLICE_LIT("body")};
        result_init(&r[i], &rig);
        assert_int_equal(result_send(&r[i], &q), 0);
    }
    result_init(&over, &rig);
    assert_int_equal(result_send(&over, NULL), ERR_BUSY);
    assert_int_equal(client_pool_stats(rig.pool)->waiting, 7);
    for (int i = 0; i < 10; i++) {
        expect_hi(&r[i]);
        result_free(&r[i]);
    }
    assert_non_null(strstr(seen, "\r\n\r\nbody"));
    assert_int_equal(rig.accepted, 3);
    assert_int_equal(rig.requests, 10);
    assert_int_equal(client_pool_stats(rig.pool)->waiting, 0);
    assert_int_equal(over.done, 0);
    client_rig_close(&rig);
}

static void test_waiting_times_out(void **state)
{
    const struct client_options o = {.max_connections = 1, .connect_ms = 60};
    struct client_request slow = {
        .method = HTTP_METHOD_GET, .target = SLICE_LIT("/"), .first_byte_ms = 2000};
    struct client_rig rig;
    struct result a, b;

    (void)state;
    client_rig_open(&rig, say_nothing, &o);
    result_init(&a, &rig);
    result_init(&b, &rig);
    assert_int_equal(result_send(&a, &slow), 0);
    assert_int_equal(result_send(&b, NULL), 0);
    expect_error(&b, ERR_TIMEOUT);
    assert_non_null(strstr(b.e.msg, "no connection became free"));
    assert_int_equal(a.done, 0);
    expect_error(&a, ERR_TIMEOUT);
    assert_non_null(strstr(a.e.msg, "no answer within 2000 ms"));
    assert_non_null(strstr(a.e.msg, rig.path));
    assert_int_equal(client_pool_stats(rig.pool)->timeouts, 2);
    client_rig_close(&rig);
}

static void half_an_answer(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
}

static void half_a_head(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c, "HTTP/1.1 200 OK\r\nContent-Le");
}

static void test_answer_times_out(void **state)
{
    static const peer_script scripts[] = {say_nothing, half_a_head, half_an_answer};
    struct client_request q = {
        .method = HTTP_METHOD_GET, .target = SLICE_LIT("/"), .first_byte_ms = 50, .idle_ms = 80};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct client_rig rig;
        struct result r;
        uint64_t began;

        client_rig_open(&rig, scripts[i], NULL);
        result_init(&r, &rig);
        began = uv_hrtime();
        assert_int_equal(result_send(&r, &q), 0);
        expect_error(&r, ERR_TIMEOUT);
        assert_in_range((uv_hrtime() - began) / NS_PER_MS, 45, 20000);
        assert_int_equal(r.heads, i == 2);
        assert_int_equal(client_pool_open(rig.pool), 0);
        result_free(&r);
        client_rig_close(&rig);
    }
}

static void test_no_peer(void **state)
{
    struct client_rig rig;
    struct result r;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    client_rig_stop_listening(&rig, false);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, NULL), 0);
    expect_error(&r, ERR_REFUSED);
    assert_int_equal(r.e.sys, ECONNREFUSED);
    client_rig_close(&rig);

    client_rig_open(&rig, say_hi, NULL);
    client_rig_stop_listening(&rig, true);
    result_init(&r, &rig);
    assert_int_equal(result_fetch(&r, NULL), 0);
    expect_error(&r, ERR_NOT_FOUND);
    assert_int_equal(r.e.sys, ENOENT);
    assert_int_equal(r.status, 0);
    client_rig_close(&rig);
}

static void test_closed_without_answer(void **state)
{
    struct client_rig rig;
    struct result r;

    (void)state;
    client_rig_open(&rig, hang_up, NULL);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, NULL), 0);
    expect_error(&r, ERR_GONE);
    assert_int_equal(rig.accepted, 1); /* a fresh connection: no second try */
    client_rig_close(&rig);
}

/* Answers the first request of a connection and hangs up on the second. */
static void once_only(struct peer_conn *c, const char *text)
{
    if (c->requests == 1)
        say_hi(c, text);
    else
        peer_close(c);
}

static void test_retry(void **state)
{
    struct client_request post = {.method = HTTP_METHOD_POST, .target = SLICE_LIT("/")};
    struct client_request put = {
        .method = HTTP_METHOD_PUT, .target = SLICE_LIT("/"), .body = SLICE_LIT("x")};
    struct client_rig rig;
    struct result r;

    (void)state;
    client_rig_open(&rig, once_only, NULL);
    for (int i = 0; i < 3; i++) { /* each on a reused connection, then on a new one */
        result_init(&r, &rig);
        assert_int_equal(result_send(&r, NULL), 0);
        expect_hi(&r);
        result_free(&r);
    }
    assert_int_equal(client_pool_stats(rig.pool)->retried, 2);
    assert_int_equal(rig.accepted, 3);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &post), 0);
    expect_error(&r, ERR_GONE);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &put), 0); /* a new connection */
    expect_hi(&r);
    result_free(&r);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, &put), 0);
    expect_error(&r, ERR_GONE);
    assert_int_equal(client_pool_stats(rig.pool)->retried, 2);
    client_rig_close(&rig);
}

/* The peer of an idle connection has left, and we have not heard it yet: nothing of a request goes
 * out there, so even one that must not be repeated is sent on a new connection. */
static void test_reuse_meets_close(void **state)
{
    struct client_request post = {
        .method = HTTP_METHOD_POST, .target = SLICE_LIT("/"), .body = SLICE_LIT("x")};
    struct client_rig rig;
    struct result r;
    uv_os_fd_t fd;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    for (int i = 1; i <= 2; i++) {
        result_init(&r, &rig);
        assert_int_equal(result_send(&r, &post), 0);
        expect_hi(&r);
        result_free(&r);
        assert_int_equal(rig.accepted, i);
        assert_int_equal(client_pool_stats(rig.pool)->idle, 1);
        assert_int_equal(uv_fileno((uv_handle_t *)&rig.last->pipe, &fd), 0);
        assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    }
    client_rig_close(&rig);
}

/* Answers the first request, hangs up on every later one, on whatever connection. */
static void first_ever(struct peer_conn *c, const char *text)
{
    if (c->rig->requests == 1)
        say_hi(c, text);
    else
        peer_close(c);
}

static void test_retry_only_once(void **state)
{
    struct client_rig rig;
    struct result r;

    (void)state;
    client_rig_open(&rig, first_ever, NULL);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, NULL), 0);
    expect_hi(&r);
    result_free(&r);
    result_init(&r, &rig);
    assert_int_equal(result_send(&r, NULL), 0);
    expect_error(&r, ERR_GONE);
    assert_int_equal(rig.requests, 3);
    client_rig_close(&rig);
}

static void test_idle(void **state)
{
    const struct client_options o = {.max_idle = 2, .idle_ms = 80};
    struct client_rig rig;
    struct result r[5];

    (void)state;
    client_rig_open(&rig, say_hi, &o);
    for (int i = 0; i < 5; i++) {
        result_init(&r[i], &rig);
        assert_int_equal(result_send(&r[i], NULL), 0);
    }
    assert_int_equal(client_pool_open(rig.pool), 5);
    for (int i = 0; i < 5; i++) {
        expect_hi(&r[i]);
        result_free(&r[i]);
    }
    assert_int_equal(client_pool_open(rig.pool), 2);
    rig_spin(&rig, 150);
    assert_int_equal(client_pool_open(rig.pool), 0);
    assert_int_equal(rig.open, 0);
    client_rig_close(&rig);
}

static void test_idle_surprises(void **state)
{
    struct client_rig rig;

    (void)state;
    client_rig_open(&rig, say_hi, NULL);
    for (int i = 0; i < 2; i++) {
        struct result r;
        result_init(&r, &rig);
        assert_int_equal(result_send(&r, NULL), 0);
        expect_hi(&r);
        result_free(&r);
        assert_int_equal(client_pool_open(rig.pool), 1);
        if (i == 0)
            peer_close(rig.last);
        else
            peer_say(rig.last, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        rig_spin(&rig, 20);
        assert_int_equal(client_pool_open(rig.pool), 0);
    }
    client_rig_close(&rig);
}

static void say_close(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c,
             "HTTP/1.1 200 OK\r\nX-Test: yes\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
}

static void say_too_much(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c, OK_HI "HTTP/1.1 200 OK\r\n");
}

static void say_old(struct peer_conn *c, const char *text)
{
    (void)text;
    peer_say(c, "HTTP/1.0 200 OK\r\nX-Test: yes\r\nContent-Length: 2\r\n\r\nhi");
}

static void test_not_reused(void **state)
{
    static const peer_script scripts[] = {say_close, say_too_much, say_old};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct client_rig rig;
        struct result r;
        client_rig_open(&rig, scripts[i], NULL);
        result_init(&r, &rig);
        assert_int_equal(result_send(&r, NULL), 0);
        expect_hi(&r);
        assert_int_equal(client_pool_open(rig.pool), 0);
        result_free(&r);
        client_rig_close(&rig);
    }
}

static void test_pool_free_cancels(void **state)
{
    const struct client_options o = {.max_connections = 2};
    struct client_rig rig;
    struct result r[4];

    (void)state;
    client_rig_open(&rig, say_nothing, &o);
    for (int i = 0; i < 4; i++) {
        result_init(&r[i], &rig);
        assert_int_equal(result_send(&r[i], NULL), 0);
    }
    rig_spin(&rig, 20);
    client_pool_free(rig.pool);
    rig.pool = NULL;
    for (int i = 0; i < 4; i++)
        assert_int_equal(r[i].done, 0);
    for (int i = 0; i < 4; i++)
        expect_error(&r[i], ERR_CANCELLED);
    client_rig_close(&rig);
}

static struct client_rig *freed_rig;
static void free_pool(struct result *r)
{
    (void)r;
    client_pool_free(freed_rig->pool);
    freed_rig->pool = NULL;
}

static void test_pool_free_in_callbacks(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct client_rig rig;
        struct result r;

        client_rig_open(&rig, say_hi, NULL);
        freed_rig = &rig;
        result_init(&r, &rig);
        if (i == 0)
            r.on_head = free_pool;
        else if (i == 1)
            r.on_piece = free_pool;
        else
            r.on_done = free_pool;
        assert_int_equal(result_send(&r, NULL), 0);
        expect_error(&r, i < 2 ? ERR_CANCELLED : 0);
        result_free(&r);
        client_rig_close(&rig);
    }
}

static struct result chained[20];
static void send_next(struct result *r)
{
    if (r + 1 < chained + ARRAY_LEN(chained))
        assert_int_equal(result_send(r + 1, NULL), 0);
}

/* Each done sends the next call: it must find the connection that has just become free. */
static void test_send_from_done(void **state)
{
    const struct client_options o = {.max_connections = 1, .max_waiting = 1};
    struct client_rig rig;

    (void)state;
    client_rig_open(&rig, say_hi, &o);
    for (size_t i = 0; i < ARRAY_LEN(chained); i++) {
        result_init(&chained[i], &rig);
        chained[i].on_done = send_next;
    }
    assert_int_equal(result_send(&chained[0], NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(chained); i++) {
        expect_hi(&chained[i]);
        result_free(&chained[i]);
    }
    assert_int_equal(rig.accepted, 1);
    client_rig_close(&rig);
}

static void test_options(void **state)
{
    struct client_options o = {.host = "x"};
    struct client_pool *p = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(client_pool_new(&p, NULL, &o, &e), ERR_INVALID);
    o.target.unix_path = "/a";
    o.target.host = "b";
    assert_int_equal(client_pool_new(&p, NULL, &o, &e), ERR_INVALID);
    o.target.host = NULL;
    o.host = "a\r\nb";
    assert_int_equal(client_pool_new(&p, NULL, &o, &e), ERR_INVALID);
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_request_head),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_waiting_times_out),
        cmocka_unit_test(test_answer_times_out),
        cmocka_unit_test(test_no_peer),
        cmocka_unit_test(test_closed_without_answer),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_only_once),
        cmocka_unit_test(test_reuse_meets_close),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_idle_surprises),
        cmocka_unit_test(test_not_reused),
        cmocka_unit_test(test_pool_free_cancels),
        cmocka_unit_test(test_pool_free_in_callbacks),
        cmocka_unit_test(test_send_from_done),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
