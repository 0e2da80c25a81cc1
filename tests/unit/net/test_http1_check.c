/* http1_check.c: shapes of requests that have more than one reading, and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/http1_check.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"

struct shape {
    const char *what;
    int verdict;
    const char *bytes;
    size_t len; /* 0: strlen */
};
#define S(text) text, sizeof(text) - 1

static const struct shape heads[] = {
    {"plain", HTTP1_OK, S(GET HOST "\r\n")},
    {"an empty line before", HTTP1_OK, S("\r\n" GET HOST "\r\n")},
    {"two empty lines before", 400, S("\r\n\r\n" GET HOST "\r\n")},
    {"a bare LF before", 400, S("\n" GET HOST "\r\n")},
    {"unfinished", HTTP1_MORE, S(GET HOST)},
    {"unfinished in the middle of CR LF CR LF", HTTP1_MORE, S(GET HOST "\r")},
    {"length", HTTP1_OK, S(GET HOST "Content-Length: 5\r\n\r\n")},
    {"chunked", HTTP1_OK, S(GET HOST "Transfer-Encoding: chunked\r\n\r\n")},
    {"chunked, other case", HTTP1_OK, S(GET HOST "TRANSFER-encoding:\tCHUNKED \r\n\r\n")},
    {"length and chunked", 400,
     S(GET HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {"chunked and length", 400,
     S(GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n")},
    {"two lengths", 400, S(GET HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n")},
    {"the same length twice", 400, S(GET HOST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n")},
    {"a list of lengths", 400, S(GET HOST "Content-Length: 5, 5\r\n\r\n")},
    {"signed length", 400, S(GET HOST "Content-Length: +5\r\n\r\n")},
    {"negative length", 400, S(GET HOST "Content-Length: -5\r\n\r\n")},
    {"length with a blank", 400, S(GET HOST "Content-Length: 5 5\r\n\r\n")},
    {"hexadecimal length", 400, S(GET HOST "Content-Length: 0x5\r\n\r\n")},
    {"empty length", 400, S(GET HOST "Content-Length:\r\n\r\n")},
    {"greatest length", HTTP1_OK, S(GET HOST "Content-Length: 9223372036854775807\r\n\r\n")},
    {"overflowing length", 400, S(GET HOST "Content-Length: 9223372036854775808\r\n\r\n")},
    {"length that wraps", 400, S(GET HOST "Content-Length: 18446744073709551621\r\n\r\n")},
    {"identity", 400, S(GET HOST "Transfer-Encoding: identity\r\n\r\n")},
    {"gzip, chunked", 400, S(GET HOST "Transfer-Encoding: gzip, chunked\r\n\r\n")},
    {"chunked, identity", 400, S(GET HOST "Transfer-Encoding: chunked, identity\r\n\r\n")},
    {"xchunked", 400, S(GET HOST "Transfer-Encoding: xchunked\r\n\r\n")},
    {"chunked twice", 400,
     S(GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {"quoted chunked", 400, S(GET HOST "Transfer-Encoding: \"chunked\"\r\n\r\n")},
    {"vertical tab before chunked", 400, S(GET HOST "Transfer-Encoding: \vchunked\r\n\r\n")},
    {"empty encoding", 400, S(GET HOST "Transfer-Encoding:\r\n\r\n")},
    {"chunked over 1.0", 400, S("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {"blank before the colon", 400, S(GET HOST "Content-Length : 5\r\n\r\n")},
    {"tab before the colon", 400, S(GET HOST "Content-Length\t: 5\r\n\r\n")},
    {"blank before the name", 400, S(GET " Host: a\r\n\r\n")},
    {"obs-fold", 400, S(GET HOST "X: a\r\n b\r\n\r\n")},
    {"obs-fold with a tab", 400, S(GET HOST "X: a\r\n\tb\r\n\r\n")},
    {"no colon", 400, S(GET HOST "Xyz\r\n\r\n")},
    {"no name", 400, S(GET HOST ": a\r\n\r\n")},
    {"bare CR in a value", 400, S(GET HOST "X: a\rb\r\n\r\n")},
    {"bare CR after an empty value", 400, S(GET HOST "X:\rContent-Length: 5\r\n\r\n")},
    {"bare LF as end of line", 400, S("GET / HTTP/1.1\nHost: a\n\n")},
    {"bare LF after a header", 400, S(GET HOST "X: a\nY: b\r\n\r\n")},
    {"bare LF as the empty line", 400, S(GET HOST "\n")},
    {"CR CR LF", 400, S(GET HOST "X: a\r\r\n\r\n")},
    {"NUL in a value", 400, S(GET HOST "X: a\0b\r\n\r\n")},
    {"NUL in a name", 400, S(GET HOST "X\0Y: b\r\n\r\n")},
    {"NUL in the target", 400, S("GET /\0 HTTP/1.1\r\n" HOST "\r\n")},
    {"control character in a value", 400, S(GET HOST "X: a\x01\r\n\r\n")},
    {"DEL in a value", 400, S(GET HOST "X: a\x7f\r\n\r\n")},
    {"tab and bytes over 127 in a value", HTTP1_OK, S(GET HOST "X: a\tb\xff\r\n\r\n")},
    {"parenthesis in a name", 400, S(GET HOST "X(: b\r\n\r\n")},
    {"8-bit name", 400, S(GET HOST "X\xe4: b\r\n\r\n")},
    {"no Host", 400, S(GET "X: a\r\n\r\n")},
    {"no Host over 1.0", HTTP1_OK, S("GET / HTTP/1.0\r\n\r\n")},
    {"two Hosts", 400, S(GET HOST HOST "\r\n")},
    {"two Hosts over 1.0", 400, S("GET / HTTP/1.0\r\n" HOST "host: b\r\n\r\n")},
    {"empty Host", HTTP1_OK, S(GET "Host:\r\n\r\n")},
    {"Host with a port", HTTP1_OK, S(GET "Host: [::1]:8081\r\n\r\n")},
    {"Host with a blank", 400, S(GET "Host: a b\r\n\r\n")},
    {"Host as a list", 400, S(GET "Host: a,b\r\n\r\n")},
    {"Host with a path", 400, S(GET "Host: a/b\r\n\r\n")},
    {"Host with a user", 400, S(GET "Host: a@b\r\n\r\n")},
    {"8-bit Host", 400, S(GET "Host: \xc3\xa4\r\n\r\n")},
    {"control character in the target", 400, S("GET /\x01 HTTP/1.1\r\n" HOST "\r\n")},
    {"8-bit target", 400, S("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n")},
    {"two blanks before the target", 400, S("GET  / HTTP/1.1\r\n" HOST "\r\n")},
    {"two blanks before the version", 400, S("GET /  HTTP/1.1\r\n" HOST "\r\n")},
    {"tab before the target", 400, S("GET\t/ HTTP/1.1\r\n" HOST "\r\n")},
    {"blank after the version", 400, S("GET / HTTP/1.1 \r\n" HOST "\r\n")},
    {"no target", 400, S("GET HTTP/1.1\r\n" HOST "\r\n")},
    {"HTTP/0.9", 400, S("GET /\r\n")},
    {"no method", 400, S(" / HTTP/1.1\r\n" HOST "\r\n")},
    {"long method", 400, S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" HOST "\r\n")},
    {"HTTP/2.0", 505, S("GET / HTTP/2.0\r\n" HOST "\r\n")},
    {"HTTP/1.2", 505, S("GET / HTTP/1.2\r\n" HOST "\r\n")},
    {"HTTP/0.9 by name", 505, S("GET / HTTP/0.9\r\n" HOST "\r\n")},
    {"HTTP/1.10", 400, S("GET / HTTP/1.10\r\n" HOST "\r\n")},
    {"http/1.1", 400, S("GET / http/1.1\r\n" HOST "\r\n")},
    {"not HTTP", 400, S("\x16\x03\x01\x02\x00\x01\x00")},
};

/* Gives the bytes whole, byte by byte, and cut in two at every place: the verdict must be the same.
 */
static int verdict_of(const struct shape *s, size_t first, size_t step, size_t *len)
{
    struct http1_check k = {0};
    int v = HTTP1_MORE;

    for (size_t n = first; v == HTTP1_MORE; n += step) {
        if (n > s->len)
            n = s->len;
        /* Exactly n bytes, so that the sanitizer sees a look beyond them. */
        char *p = malloc(n > 0 ? n : 1);
        memcpy(p, s->bytes, n);
        v = http1_check_head(&k, &http_limits_default, p, n, len);
        free(p);
        if (n == s->len)
            break;
    }
    return v;
}

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        const struct shape *s = &heads[i];
        size_t len = 0;
        for (size_t cut = 1; cut <= s->len; cut++) {
            int v = verdict_of(s, cut, s->len, &len);
            if (v != s->verdict)
                fail_msg("%s, cut at %zu: %d instead of %d", s->what, cut, v, s->verdict);
            if (v == HTTP1_OK)
                assert_int_equal(len, s->len);
        }
        int v = verdict_of(s, 1, 1, &len);
        if (v != s->verdict)
            fail_msg("%s, byte by byte: %d instead of %d", s->what, v, s->verdict);
    }
}

static void test_head_ends_exactly(void **state)
{
    static const char two[] = GET HOST "\r\nGET /2 HTTP/1.1\r\n";
    struct http1_check k = {0};
    size_t len = 0;

    (void)state;
    assert_int_equal(http1_check_head(&k, &http_limits_default, two, sizeof(two) - 1, &len),
                     HTTP1_OK);
    assert_int_equal(len, strlen(GET HOST "\r\n"));
}

static void test_length_value(void **state)
{
    static const char text[] = GET HOST "Content-Length:  0042 \r\n\r\n";
    struct http1_check k = {0};
    size_t len = 0;

    (void)state;
    assert_int_equal(http1_check_head(&k, &http_limits_default, text, sizeof(text) - 1, &len),
                     HTTP1_OK);
    assert_true(k.has_length);
    assert_int_equal(k.length, 42);
}

static int check_built(const struct http_limits *l, size_t target, size_t value, size_t headers)
{
    struct buf b = BUF_INIT(1 << 20);
    struct http1_check k = {0};
    size_t len = 0;

    buf_addlit(&b, "GET /");
    for (size_t i = 1; i < target; i++)
        buf_addc(&b, 'a');
    buf_addlit(&b, " HTTP/1.1\r\nHost: a\r\nx: ");
    for (size_t i = 0; i < value; i++)
        buf_addc(&b, 'v');
    buf_addlit(&b, "\r\n");
    for (size_t i = 2; i < headers; i++)
        buf_addlit(&b, "h: 1\r\n");
    buf_addlit(&b, "\r\n");
    int v = http1_check_head(&k, l, b.data, b.len, &len);
    if (v == HTTP1_OK)
        assert_int_equal(len, b.len);
    buf_done(&b);
    return v;
}

static void test_limits(void **state)
{
    struct http_limits l = http_limits_default;
    const size_t around = strlen("GET  HTTP/1.1\r\nHost: a\r\nx: \r\n\r\n");

    (void)state;
    l.max_target = 100;
    l.max_headers = 10;
    l.max_head = 1000;
    assert_int_equal(check_built(&l, 100, 0, 2), HTTP1_OK);
    assert_int_equal(check_built(&l, 101, 0, 2), 414);
    assert_int_equal(check_built(&l, 5000, 0, 2), 414);
    assert_int_equal(check_built(&l, 1, 0, 10), HTTP1_OK);
    assert_int_equal(check_built(&l, 1, 0, 11), 431);
    assert_int_equal(check_built(&l, 1, 1000 - around - 1, 2), HTTP1_OK);
    assert_int_equal(check_built(&l, 1, 1000 - around, 2), 431);
    l.max_target = 2000;
    assert_int_equal(check_built(&l, 1500, 0, 2), 414);
}

/* ---- chunks ---- */

#define END "0\r\n\r\n"
static const struct shape bodies[] = {
    {"empty", HTTP1_OK, S(END)},
    {"one", HTTP1_OK, S("5\r\nhello\r\n" END)},
    {"hexadecimal, both cases", HTTP1_OK, S("a\r\n0123456789\r\nA\r\n0123456789\r\n" END)},
    {"leading zeros", HTTP1_OK, S("0005\r\nhello\r\n" END)},
    {"extension", HTTP1_OK, S("5;a=b;c=\"d\"\r\nhello\r\n" END)},
    {"trailers", HTTP1_OK, S("0\r\nX: 1\r\nY:\r\n\r\n")},
    {"unfinished", HTTP1_MORE, S("5\r\nhel")},
    {"no size", 400, S("\r\nhello\r\n" END)},
    {"sign", 400, S("+5\r\nhello\r\n" END)},
    {"0x", 400, S("0x5\r\nhello\r\n" END)},
    {"blank before the size", 400, S(" 5\r\nhello\r\n" END)},
    {"blank after the size", 400, S("5 \r\nhello\r\n" END)},
    {"bare LF after the size", 400, S("5\nhello\r\n" END)},
    {"bare LF in an extension", 400, S("5;a\nhello\r\n" END)},
    {"bare CR in an extension", 400, S("5;a\rb\r\nhello\r\n" END)},
    {"NUL in an extension", 400, S("5;a\0\r\nhello\r\n" END)},
    {"data without CR LF", 400, S("5\r\nhello" END)},
    {"data with LF only", 400, S("5\r\nhello\n" END)},
    {"data longer than told", 400, S("5\r\nhello!\r\n" END)},
    {"size overflow", 400, S("10000000000000005\r\nhello\r\n" END)},
    {"size at the edge", 400, S("FFFFFFFFFFFFFFFF\r\nhello\r\n" END)},
    {"end with LF only", 400, S("0\r\n\n")},
    {"obs-fold in a trailer", 400, S("0\r\nX: 1\r\n 2\r\n\r\n")},
    {"blank before a trailer's colon", 400, S("0\r\nX : 1\r\n\r\n")},
    {"bare LF after a trailer", 400, S("0\r\nX: 1\n\r\n")},
    {"NUL in a trailer", 400, S("0\r\nX: \0\r\n\r\n")},
};

static int chunks_of(const struct shape *s, size_t step, size_t *used)
{
    struct http1_chunks k = {0};
    int v = HTTP1_MORE;

    *used = 0;
    for (size_t at = 0; at < s->len && v == HTTP1_MORE; at += step) {
        size_t n = step < s->len - at ? step : s->len - at, u = 0;
        v = http1_check_chunks(&k, &http_limits_default, s->bytes + at, n, &u);
        *used += u;
    }
    return v;
}

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct shape *s = &bodies[i];
        for (size_t step = 1; step <= s->len; step++) {
            size_t used;
            int v = chunks_of(s, step, &used);
            if (v != s->verdict)
                fail_msg("%s, in steps of %zu: %d instead of %d", s->what, step, v, s->verdict);
            if (v == HTTP1_OK)
                assert_int_equal(used, s->len);
        }
    }
}

static void test_chunks_bounded(void **state)
{
    struct http_limits l = http_limits_default;
    struct http1_chunks k = {0};
    size_t used;
    int v = HTTP1_MORE;

    (void)state;
    l.max_head = 100;
    l.max_headers = 3;
    /* Extensions count over all chunks, so that many short ones are no way round the limit. */
    for (int i = 0; i < 200 && v == HTTP1_MORE; i++)
        v = http1_check_chunks(&k, &l, "1;e\r\nx\r\n", 8, &used);
    assert_int_equal(v, 431);
    k = (struct http1_chunks){0};
    assert_int_equal(http1_check_chunks(&k, &l, "0\r\na:1\r\nb:1\r\nc:1\r\nd:1\r\n\r\n", 25, &used),
                     431);
    k = (struct http1_chunks){0};
    assert_int_equal(http1_check_chunks(&k, &l, "0\r\na:1\r\nb:1\r\nc:1\r\n\r\nGET", 23, &used),
                     HTTP1_OK);
    assert_int_equal(used, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),        cmocka_unit_test(test_head_ends_exactly),
        cmocka_unit_test(test_length_value), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_chunks),       cmocka_unit_test(test_chunks_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
