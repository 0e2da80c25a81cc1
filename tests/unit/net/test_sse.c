/* Server-sent events: formatting, and parsing cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/sse.h"

static void add_part(struct buf *b, struct slice s)
{
    buf_addlit(b, "[");
    buf_add(b, s.p, s.len);
    buf_addlit(b, "]");
}

static void note(void *ctx, struct slice id, struct slice event, struct slice data)
{
    add_part(ctx, id);
    add_part(ctx, event);
    add_part(ctx, data);
    buf_addlit(ctx, ";");
}

static void expect_events(struct slice in, const char *want)
{
    for (size_t cut = 0; cut <= in.len; cut++) {
        _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
        struct sse_parser p;
        sse_parser_init(&p, 1000);
        assert_int_equal(sse_parse(&p, in.p, cut, note, &got), 0);
        assert_int_equal(sse_parse(&p, in.p + cut, in.len - cut, note, &got), 0);
        assert_string_equal(got.data ? got.data : "", want);
        sse_parser_done(&p);
    }
    _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
    struct sse_parser p;
    sse_parser_init(&p, 1000);
    for (size_t i = 0; i < in.len; i++)
        assert_int_equal(sse_parse(&p, in.p + i, 1, note, &got), 0);
    assert_string_equal(got.data ? got.data : "", want);
    sse_parser_done(&p);
}

static void parses(void **state BASE_UNUSED)
{
    expect_events(SLICE_LIT("data: a\n\n"), "[][][a];");
    expect_events(SLICE_LIT("\xef\xbb\xbf"
                            "data: a\r\n\r\ndata:b\rdata\r\r"),
                  "[][][a];[][][b\n];");
    expect_events(
        SLICE_LIT("id: 7\nevent: up\ndata: x\n: note\ndata:  y\n\nevent:none\n\ndata: z\n\n"),
        "[7][up][x\n y];[7][][z];");
    expect_events(SLICE_LIT("retry: 5\nid\ndata\n\n"), "[][][];");
    expect_events(SLICE_LIT("id: 1\0"
                            "2\nnonsense\ndata:1:2\n\ndata: unfinished\n"),
                  "[][][1:2];");
}

static void limits(void **state BASE_UNUSED)
{
    char big[64];
    memset(big, 'x', sizeof(big));
    memcpy(big, "data:", 5);
    struct sse_parser p;
    _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
    sse_parser_init(&p, 16);
    assert_int_equal(sse_parse(&p, big, sizeof(big), note, &got), ERR_LIMIT);
    assert_int_equal(sse_parse(&p, "\n\n", 2, note, &got), ERR_LIMIT);
    assert_int_equal(got.len, 0);
    sse_parser_done(&p);
    /* Exactly the maximum passes. */
    sse_parser_init(&p, 16);
    assert_int_equal(sse_parse(&p, "data:0123456789abcdef\n\n", 23, note, &got), 0);
    assert_string_equal(got.data, "[][][0123456789abcdef];");
    assert_int_equal(sse_parse(&p, "data:0123456789\ndata:abcdef\n\n", 29, note, &got), ERR_LIMIT);
    sse_parser_done(&p);
}

static void formats(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1000);
    struct slice none = {NULL, 0};
    assert_int_equal(sse_format(&b, SLICE_LIT("3"), SLICE_LIT("log"), SLICE_LIT("a\nb\r\nc\rd\n")),
                     0);
    assert_string_equal(b.data,
                        "id: 3\nevent: log\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    buf_clear(&b);
    assert_int_equal(sse_format(&b, none, none, none), 0);
    assert_string_equal(b.data, "data: \n\n");
    buf_clear(&b);
    assert_int_equal(sse_format(&b, SLICE_LIT("1\n"), none, none), ERR_INVALID);
    assert_int_equal(sse_format(&b, none, SLICE_LIT("a\rb"), none), ERR_INVALID);
    assert_int_equal(b.len, 0);
    assert_int_equal(
        sse_format(&b, SLICE_LIT("3"), SLICE_LIT("log"), SLICE_LIT("  two  \n\nlines")), 0);
    expect_events((struct slice){b.data, b.len}, "[3][log][  two  \n\nlines];");
}

static void memory(void **state BASE_UNUSED)
{
    struct slice in = SLICE_LIT("id: 12345678\nevent: up\ndata: x\ndata: yy\n\n");
    for (uint64_t n = 1; n < 100; n++) {
        struct sse_parser p;
        _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
        buf_reserve(&got, 100);
        sse_parser_init(&p, 1000);
        mem_fail_at(n, false);
        int rc = sse_parse(&p, in.p, in.len, note, &got);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        sse_parser_done(&p);
        if (!hit) {
            assert_int_equal(rc, 0);
            assert_string_equal(got.data, "[12345678][up][x\nyy];");
            return;
        }
        assert_int_equal(rc, ERR_NO_MEMORY);
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(limits),
        cmocka_unit_test(formats),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
