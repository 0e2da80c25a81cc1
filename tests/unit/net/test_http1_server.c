/* The HTTP/1.1 server over loopback sockets: order, framing, bodies, upgrade, the end of a
 * connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "http1_rig.h"

#define HOST "Host: a\r\n"

static struct http1_rig rig;

static int setup(void **state)
{
    (void)state;
    http1_rig_open(&rig, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http1_rig_close(&rig);
    return 0;
}

static size_t count(const char *needle)
{
    size_t n = 0;

    /* A sanitizer looks at all of memmem's range in each call: too slow for megabytes of one byte.
     */
    for (size_t i = 0; needle[1] == '\0' && i < rig.in.len; i++)
        n += rig.in.data[i] == needle[0];
    for (const char *at = needle[1] == '\0' ? NULL : rig.in.data;
         at != NULL &&
         (at = memmem(at, (size_t)(rig.in.data + rig.in.len - at), needle, strlen(needle))) != NULL;
         at++)
        n++;
    return n;
}

static void expect(const char *needle)
{
    if (count(needle) == 0)
        fail_msg("\"%s\" is missing in:\n%.2000s", needle, rig.in.data);
}

static void expect_not(const char *needle)
{
    if (count(needle) != 0)
        fail_msg("\"%s\" must not be in:\n%.2000s", needle, rig.in.data);
}

/* The answer's lines in the order in which they must come. */
static void expect_order(const char *const *lines)
{
    const char *at = rig.in.data;

    for (; *lines != NULL; lines++) {
        const char *found = strstr(at, *lines);
        if (found == NULL)
            fail_msg("\"%s\" is missing or out of order in:\n%.2000s", *lines, rig.in.data);
        at = found + strlen(*lines);
    }
}

static void test_plain(void **state)
{
    static const char *const order[] = {"HTTP/1.1 200 OK\r\n",
                                        "date: ",
                                        " GMT\r\nserver: gantry\r\n",
                                        "content-length: 5\r\n",
                                        "content-type: text/plain\r\n",
                                        "\r\nhello",
                                        NULL};
    (void)state;
    assert_false(TALK(&rig, "GET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order(order);
    expect_not("connection:");
}

static void test_pipelined_in_order(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    const char *at;
    (void)state;
    for (int i = 0; i < 300; i++)
        buf_addf(&b, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n%03d", i);
    assert_false(http1_talk(&rig, b.data, b.len, 150));
    assert_int_equal(rig.seen.requests, 300);
    at = rig.in.data;
    for (int i = 0; i < 300; i++) {
        char want[24];
        snprintf(want, sizeof(want), "\r\n\r\n%03d", i);
        at = strstr(at, want);
        if (at == NULL)
            fail_msg("answer %d is missing", i);
        at += strlen(want);
    }
    buf_done(&b);
}

/* A held answer keeps the later ones back, and they come after it. */
static void test_pipelined_behind_a_slow_one(void **state)
{
    static const char text[] =
        "GET /hold HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"
        "GET /hello HTTP/1.1\r\n" HOST "\r\n";
    const struct http_response r = {.status = 200, .content_type = "text/plain"};
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    assert_false(http1_listen_to(&rig, fd, 50));
    assert_int_equal(rig.in.len, 0);
    assert_int_equal(rig.seen.requests, 1);
    assert_non_null(rig.seen.held);
    assert_int_equal(exchange_respond(rig.seen.held, &r, SLICE_LIT("first")), 0);
    assert_int_equal(exchange_respond(rig.seen.held, &r, SLICE_LIT("again")), ERR_STATE);
    assert_false(http1_listen_to(&rig, fd, 50));
    expect_order((const char *const[]){"first", "hello", "hello", NULL});
    assert_int_equal(rig.seen.requests, 3);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, 0);
    close(fd);
}

static void test_byte_by_byte(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\n" HOST "X-Long: aaaaaaaaaaaaaaaaaaaa\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n4\r\n you\r\n0\r\nX-T: v\r\n\r\n"
        "GET /hello HTTP/1.1\r\n" HOST "\r\n";
    int fd = rig_connect(&rig.r);
    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        rig_send(&rig.r, fd, text + i, 1);
        loop_run_once(rig.r.loop, false);
    }
    assert_false(http1_listen_to(&rig, fd, 50));
    expect_order((const char *const[]){"\r\n\r\nhello you", "\r\n\r\nhello", NULL});
    assert_int_equal(rig.seen.body, 9);
    close(fd);
}

static void test_chunked_request(void **state)
{
    (void)state;
    TALK(&rig,
         "POST /sink HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
         "5\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum:  42 \r\n\r\nGET /hello HTTP/1.1\r\n" HOST
         "\r\n");
    assert_int_equal(rig.seen.body, 15);
    assert_string_equal(rig.seen.trailer, "x-sum=42");
    expect_order((const char *const[]){"sunk", "hello", NULL});
}

static void test_bad_chunk(void **state)
{
    (void)state;
    assert_true(TALK(&rig, "POST /sink HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                           "5\r\nhello!\r\n0\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect("HTTP/1.1 400 Bad Request");
    expect("connection: close");
    expect_not("hello");
    assert_int_equal(rig.seen.ended, 1);
    assert_int_equal(rig.seen.end_err, ERR_PROTOCOL);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.requests, 1);
}

static void test_smuggling_closes(void **state)
{
    (void)state;
    assert_true(TALK(&rig, "POST /echo HTTP/1.1\r\n" HOST
                           "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "0\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order((const char *const[]){"HTTP/1.1 400 Bad Request\r\n", "content-length: 30\r\n",
                                       "content-type: text/plain; charset=utf-8\r\n",
                                       "connection: close\r\n",
                                       "\r\nInvalid HTTP request received.", NULL});
    assert_int_equal(rig.seen.requests, 0);
    assert_int_equal(server_stats(rig.r.server)->bad_requests, 1);
}

static void test_streamed_answer(void **state)
{
    (void)state;
    assert_false(
        TALK(&rig, "GET /stream HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order((const char *const[]){
        "transfer-encoding: chunked\r\n", "content-type: text/plain\r\n",
        "x-extra: 1\r\n\r\n5\r\nfirst\r\n1388\r\nccc", "ccc\r\n4\r\nlast\r\n0\r\n",
        "x-trailer: end\r\n\r\nHTTP/1.1 200 OK", "hello", NULL});
    char all[5001];
    memset(all, 'c', 5000);
    all[5000] = '\0';
    expect(all);
}

static void test_streamed_answer_over_1_0(void **state)
{
    (void)state;
    assert_true(TALK(&rig, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    expect("connection: close\r\n\r\nfirstccc");
    expect("ccclast");
    expect_not("chunked");
    expect_not("x-trailer");
}

static void test_http_1_0(void **state)
{
    (void)state;
    assert_true(TALK(&rig, "GET /hello HTTP/1.0\r\n\r\n"));
    expect("connection: close\r\n");
    assert_false(TALK(&rig, "GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    expect("connection: keep-alive\r\n");
}

static void test_connection_close(void **state)
{
    (void)state;
    assert_true(TALK(&rig, "GET /hello HTTP/1.1\r\n" HOST
                           "Connection: x, Close\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect("connection: close\r\n");
    assert_int_equal(count("HTTP/1.1 200"), 1);
}

static void test_head(void **state)
{
    (void)state;
    assert_false(TALK(&rig,
                      "HEAD /hello HTTP/1.1\r\n" HOST "\r\nHEAD /stream HTTP/1.1\r\n" HOST "\r\n"
                      "GET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order(
        (const char *const[]){"content-length: 5\r\ncontent-type: text/plain\r\n\r\nHTTP/1.1 200",
                              "x-extra: 1\r\n\r\nHTTP/1.1 200", "\r\n\r\nhello", NULL});
    expect_not("first");
}

static void test_empty_answers(void **state)
{
    (void)state;
    assert_false(
        TALK(&rig, "GET /empty HTTP/1.1\r\n" HOST "\r\nGET /redirect HTTP/1.1\r\n" HOST "\r\n"));
    expect_order(
        (const char *const[]){"HTTP/1.1 204 No Content\r\n", "HTTP/1.1 307 Temporary Redirect\r\n",
                              "content-length: 0\r\n", "location: /a  x-evil: 1\r\n", NULL});
    expect_not("not sent");
    assert_int_equal(count("content-length"), 1);
    expect_not("\nx-evil");
}

static void test_no_answer_is_500(void **state)
{
    (void)state;
    assert_false(TALK(&rig, "GET /none HTTP/1.1\r\n" HOST "\r\n"));
    expect("HTTP/1.1 500 Internal Server Error\r\n");
    expect("content-type: text/plain; charset=utf-8\r\n");
    expect("\r\n\r\nInternal Server Error");
}

static void test_expect(void **state)
{
    static const char head[] =
        "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, head, sizeof(head) - 1);
    http1_listen_to(&rig, fd, 50);
    assert_string_equal(rig.in.data, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_send(&rig.r, fd, "abc", 3);
    assert_false(http1_listen_to(&rig, fd, 50));
    expect("\r\n\r\nabc");
    close(fd);
    /* Nobody wants the body: the final answer at once, and no guessing whether it comes. */
    assert_true(TALK(&rig, "POST /early HTTP/1.1\r\n" HOST
                           "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    expect("HTTP/1.1 401");
    expect("connection: close");
    expect_not("100 Continue");
    /* The body came along: no need to ask for it. */
    assert_false(TALK(&rig, "POST /echo HTTP/1.1\r\n" HOST
                            "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"));
    expect_not("100 Continue");
    assert_true(
        TALK(&rig, "POST /echo HTTP/1.1\r\n" HOST "Expect: tea\r\nContent-Length: 3\r\n\r\nabc"));
    expect("HTTP/1.1 417 Expectation Failed");
}

static void test_early_answer_keeps_connection(void **state)
{
    (void)state;
    assert_false(TALK(&rig, "POST /early HTTP/1.1\r\n" HOST
                            "Content-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order((const char *const[]){"HTTP/1.1 401", "hello", NULL});
}

static void test_paused_body(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    (void)state;
    buf_addlit(&b, "POST /pause HTTP/1.1\r\n" HOST "Content-Length: 300000\r\n\r\n");
    for (int i = 0; i < 300000; i++)
        buf_addc(&b, 'p');
    buf_addlit(&b, "POST /pause HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++)
        buf_addlit(&b, "5\r\nhello\r\n");
    buf_addlit(&b, "0\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_false(http1_talk(&rig, b.data, b.len, 200));
    assert_int_equal(rig.seen.body, 300000 + 100);
    expect_order((const char *const[]){"sunk", "sunk", "hello", NULL});
    buf_done(&b);
}

/* Nothing follows the byte at which the handler has paused. */
static void test_paused_at_the_end(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    (void)state;
    for (size_t n = 1; n <= 200000; n = n * 7 + 1) {
        buf_clear(&b);
        buf_addf(&b,
                 "POST /pause HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                 n);
        for (size_t i = 0; i < n; i++)
            buf_addc(&b, 'p');
        rig.seen.body = 0;
        assert_true(http1_talk(&rig, b.data, b.len, 500));
        assert_int_equal(rig.seen.body, n);
        expect_order((const char *const[]){"sunk", NULL});
    }
    buf_done(&b);
}

static void test_big_answer_waits_for_the_reader(void **state)
{
    static const char text[] = "GET /big HTTP/1.1\r\n" HOST "\r\n";
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    rig_run(&rig.r, 30); /* the client does not read: the queue is full */
    assert_int_equal(rig.seen.closed, 0);
    assert_false(http1_listen_to(&rig, fd, 100));
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, 0);
    assert_true(rig.seen.drained > 1);
    assert_int_equal(count("b") > (4 << 20) - 10, 1);
    close(fd);
}

static void test_peer_gone_while_held(void **state)
{
    static const char text[] = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    rig_run(&rig.r, 20);
    assert_non_null(rig.seen.held);
    close(fd);
    for (int i = 0; i < 30 && rig.seen.closed == 0; i++)
        rig_run(&rig.r, 100);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, ERR_GONE);
}

/* A client that ends its side at once (a script with a pipe) still gets a prompt answer. */
static void test_half_closed_client(void **state)
{
    static const char text[] =
        "GET /hold HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n";
    const struct http_response r = {.status = 200, .content_type = "text/plain"};
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    shutdown(fd, SHUT_WR);
    rig_run(&rig.r, 20);
    assert_non_null(rig.seen.held);
    exchange_respond(rig.seen.held, &r, SLICE_LIT("held"));
    assert_true(http1_listen_to(&rig, fd, 200));
    expect_order((const char *const[]){"held", "hello", NULL});
    close(fd);
}

static void test_reset_by_peer(void **state)
{
    static const char text[] = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    rig_run(&rig.r, 20);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    rig_run(&rig.r, 50);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, ERR_GONE);
}

static void test_gone_in_the_middle_of_a_body(void **state)
{
    (void)state;
    TALK(&rig, "POST /sink HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    rig_run(&rig.r, 50);
    assert_int_equal(rig.seen.ended, 1);
    assert_int_equal(rig.seen.end_err, ERR_GONE);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, ERR_GONE);
}

static void test_upgrade(void **state)
{
    static const char text[] =
        "GET /upgrade HTTP/1.1\r\n" HOST "Upgrade: echo\r\nConnection: upgrade\r\n\r\nearly";
    int fd = rig_connect(&rig.r);
    (void)state;
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    http1_listen_to(&rig, fd, 30);
    expect_order(
        (const char *const[]){"HTTP/1.1 101 Switching Protocols\r\n", "upgrade: echo\r\n", NULL});
    assert_true(rig.seen.upgraded);
    assert_string_equal(rig.seen.early, "early");
    rig_send(&rig.r, fd, "ping", 4);
    http1_listen_to(&rig, fd, 30);
    expect("\r\n\r\nping");
    assert_int_equal(server_stats(rig.r.server)->connections, 1);
    close(fd);
    http1_until(&rig, &rig.seen.stream_closed);
    rig_run(&rig.r, 10);
    assert_int_equal(server_stats(rig.r.server)->connections, 0);
}

static void test_upgrade_not_taken(void **state)
{
    (void)state;
    assert_false(TALK(&rig,
                      "GET /hello HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: upgrade\r\n\r\n"
                      "POST /echo HTTP/1.1\r\n" HOST
                      "Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc"
                      "GET /hello HTTP/1.1\r\n" HOST "\r\n"));
    expect_order((const char *const[]){"hello", "abc", "hello", NULL});
}

static void test_targets(void **state)
{
    (void)state;
    TALK(&rig, "GET http://other:1/hello?a=b HTTP/1.1\r\n" HOST "\r\n");
    expect("hello");
    /* The path is "/", which is nobody's here; it was not refused. */
    TALK(&rig, "GET http://other HTTP/1.1\r\n" HOST "\r\n");
    expect("500 Internal Server Error");
    TALK(&rig, "GET http://other?a=/hello HTTP/1.1\r\n" HOST "\r\n");
    expect("500 Internal Server Error");
    TALK(&rig, "GET http://u@other/hello HTTP/1.1\r\n" HOST "\r\n");
    expect("400 Bad Request");
    TALK(&rig, "GET hello HTTP/1.1\r\n" HOST "\r\n");
    expect("400 Bad Request");
    TALK(&rig, "BREW /hello HTTP/1.1\r\n" HOST "\r\n");
    expect("501 Not Implemented");
}

static void test_stop_cancels(void **state)
{
    static const char text[] = "GET /hold HTTP/1.1\r\n" HOST "\r\n";
    int fd;
    (void)state;
    http1_rig_open(&rig, NULL);
    fd = rig_connect(&rig.r);
    rig_send(&rig.r, fd, text, sizeof(text) - 1);
    rig_run(&rig.r, 20);
    rig_close(&rig.r);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, ERR_CANCELLED);
    buf_done(&rig.in);
    close(fd);
}

static void both_handler(void *ctx, struct exchange *x)
{
    const struct http_response r = {.status = 200, .content_type = "text/plain"};

    (void)ctx;
    exchange_respond(x, &r, exchange_request(x)->method_text);
}

/* One port for both: the first bytes tell, in whatever pieces they come. */
static void test_protocol_by_first_bytes(void **state)
{
    static const struct protocol *const both[] = {&protocol_http2, &protocol_http1, NULL};
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static const char post[] = "POST / HTTP/1.1\r\n" HOST "\r\n";
    static const char odd[] = "PRI / HTTP/1.1\r\n" HOST "\r\n";
    static const struct {
        const char *bytes;
        size_t len;
        const char *answer;
        size_t answer_len;
    } cases[] = {
        {preface, sizeof(preface), "\0", 1}, /* a frame's length begins with a zero */
        {post, sizeof(post) - 1, "HTTP/1.1 200", 12},
        {odd, sizeof(odd) - 1, "HTTP/1.1 ", 9},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t step = 1; step < 20; step += 6) {
            int fd;
            memset(&rig, 0, sizeof(rig));
            buf_init(&rig.in, 1 << 20);
            rig_open(&rig.r, both, NULL, both_handler, NULL);
            fd = rig_connect(&rig.r);
            for (size_t at = 0; at < cases[i].len; at += step) {
                rig_send(&rig.r, fd, cases[i].bytes + at,
                         step < cases[i].len - at ? step : cases[i].len - at);
                loop_run_once(rig.r.loop, false);
            }
            http1_listen_to(&rig, fd, 20);
            assert_true(rig.in.len >= cases[i].answer_len);
            assert_memory_equal(rig.in.data, cases[i].answer, cases[i].answer_len);
            close(fd);
            http1_rig_close(&rig);
        }
    }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_plain),
        T(test_pipelined_in_order),
        T(test_pipelined_behind_a_slow_one),
        T(test_byte_by_byte),
        T(test_chunked_request),
        T(test_bad_chunk),
        T(test_smuggling_closes),
        T(test_streamed_answer),
        T(test_streamed_answer_over_1_0),
        T(test_http_1_0),
        T(test_connection_close),
        T(test_head),
        T(test_empty_answers),
        T(test_no_answer_is_500),
        T(test_expect),
        T(test_early_answer_keeps_connection),
        T(test_paused_body),
        T(test_paused_at_the_end),
        T(test_big_answer_waits_for_the_reader),
        T(test_peer_gone_while_held),
        T(test_half_closed_client),
        T(test_reset_by_peer),
        T(test_gone_in_the_middle_of_a_body),
        T(test_upgrade),
        T(test_upgrade_not_taken),
        T(test_targets),
        cmocka_unit_test(test_stop_cancels),
        cmocka_unit_test(test_protocol_by_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
