/* gRPC's frames, times, texts and metadata, without a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/grpc_wire.h"

/* Feeds `in` in pieces of at most `step`; messages are appended to `got` as "[...]" ("{...}" if
 * compressed). */
static int read_all(struct grpc_reader *r, struct slice in, size_t step, struct buf *got)
{
    while (in.len > 0) {
        size_t n = in.len < step ? in.len : step;
        struct slice piece = {in.p, n}, m;
        bool z = false;
        int rc;
        in.p += n;
        in.len -= n;
        while ((rc = grpc_reader_next(r, &piece, &m, &z)) == 1) {
            buf_addc(got, z ? '{' : '[');
            buf_add(got, m.p, m.len);
            buf_addc(got, z ? '}' : ']');
        }
        if (rc != 0)
            return rc;
        assert_int_equal(piece.len, 0);
    }
    return 0;
}

static void add_message(struct buf *b, bool compressed, const char *text)
{
    char prefix[GRPC_PREFIX];
    grpc_prefix(prefix, compressed, (uint32_t)strlen(text));
    buf_add(b, prefix, sizeof(prefix));
    buf_adds(b, text);
}

static void messages_in_any_pieces(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf in = BUF_INIT(4096);
    add_message(&in, false, "one");
    add_message(&in, false, "");
    add_message(&in, true, "squeezed");
    add_message(&in, false, "a message of its own");
    for (size_t step = 1; step <= in.len; step++) {
        _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
        struct grpc_reader r;
        grpc_reader_init(&r, 64);
        assert_int_equal(read_all(&r, (struct slice){in.data, in.len}, step, &got), 0);
        assert_string_equal(got.data, "[one][]{squeezed}[a message of its own]");
        assert_true(grpc_reader_at_edge(&r));
        grpc_reader_done(&r);
    }
    for (size_t cut = 1; cut < 8; cut++) { /* in the middle of the first */
        _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
        struct grpc_reader r;
        grpc_reader_init(&r, 64);
        assert_int_equal(read_all(&r, (struct slice){in.data, cut}, 1, &got), 0);
        assert_false(grpc_reader_at_edge(&r));
        assert_int_equal(got.len, 0);
        grpc_reader_done(&r);
    }
}

static void message_limits(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf got = BUF_INIT(4096);
    struct grpc_reader r;
    grpc_reader_init(&r, 4);
    assert_int_equal(read_all(&r, SLICE_LIT("\0\0\0\0\4abcd"), 3, &got), 0);
    assert_string_equal(got.data, "[abcd]");
    assert_int_equal(read_all(&r, SLICE_LIT("\0\0\0\0\5"), 5, &got), ERR_LIMIT);
    assert_int_equal(r.length, 5);
    assert_int_equal(read_all(&r, SLICE_LIT("abcde"), 5, &got), ERR_LIMIT);
    grpc_reader_done(&r);
    /* A length that announces a lot costs nothing. */
    grpc_reader_init(&r, UINT32_MAX);
    uint64_t before = mem_alloc_count();
    assert_int_equal(read_all(&r, SLICE_LIT("\0\xff\xff\xff\xff"), 5, &got), 0);
    assert_true(r.body.cap < 64);
    assert_true(mem_alloc_count() - before <= 1);
    assert_int_equal(read_all(&r, SLICE_LIT("abc"), 5, &got), 0);
    assert_true(r.body.cap < 4096);
    grpc_reader_done(&r);
    grpc_reader_init(&r, 4);
    assert_int_equal(read_all(&r, SLICE_LIT("\2\0\0\0\1a"), 6, &got), ERR_PROTOCOL);
    assert_false(grpc_reader_at_edge(&r));
    grpc_reader_done(&r);
    assert_string_equal(got.data, "[abcd]");
}

static void no_memory(void **state BASE_UNUSED)
{
    char room[64];
    struct buf got = BUF_FIXED(room);
    struct grpc_reader r;
    grpc_reader_init(&r, 64);
    mem_fail_at(1, false);
    assert_int_equal(read_all(&r, SLICE_LIT("\0\0\0\0\4ab"), 7, &got), ERR_NO_MEMORY);
    assert_int_equal(read_all(&r, SLICE_LIT("cd"), 2, &got), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    grpc_reader_done(&r);
    assert_int_equal(got.len, 0);
}

static void statuses(void **state BASE_UNUSED)
{
    assert_string_equal(grpc_status_name(GRPC_OK), "OK");
    assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");
    assert_string_equal(grpc_status_name(17), "UNKNOWN");
    assert_string_equal(grpc_status_name(-1), "UNKNOWN");
    assert_int_equal(grpc_status_of_err(0), GRPC_OK);
    assert_int_equal(grpc_status_of_err(ERR_NOT_FOUND), GRPC_NOT_FOUND);
    assert_int_equal(grpc_status_of_err(ERR_LIMIT), GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(grpc_err_of_status(0), 0);
    assert_int_equal(grpc_err_of_status(99), grpc_err_of_status(GRPC_UNKNOWN));
    for (int s = 1; s <= 16; s++)
        assert_true(grpc_err_of_status(s) < 0);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(500), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(SLICE_LIT("5")), GRPC_NOT_FOUND);
    assert_int_equal(grpc_status_parse(SLICE_LIT("17")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(SLICE_LIT("-1")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(SLICE_LIT("")), GRPC_UNKNOWN);
}

static void content_types(void **state BASE_UNUSED)
{
    bool other;
    assert_true(grpc_content_type(SLICE_LIT("application/grpc"), &other));
    assert_true(grpc_content_type(SLICE_LIT("application/grpc+proto"), &other));
    assert_true(grpc_content_type(SLICE_LIT("Application/gRPC; charset=utf-8"), NULL));
    assert_true(grpc_content_type(SLICE_LIT("application/grpc+proto;v=1"), NULL));
    assert_false(grpc_content_type(SLICE_LIT("application/grpc+json"), &other));
    assert_true(other);
    assert_false(grpc_content_type(SLICE_LIT("application/grpc-web"), &other));
    assert_false(other);
    assert_false(grpc_content_type(SLICE_LIT("application/json"), &other));
    assert_false(grpc_content_type((struct slice){NULL, 0}, NULL));
}

static void timeouts(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"0n", 0},
        {"1n", 1},
        {"5u", 5000},
        {"99999999m", 99999999000000},
        {"3S", 3000000000},
        {"2M", 120000000000},
        {"1H", 3600000000000},
        {"99999999H", UINT64_MAX},
    };
    static const char *const bad[] = {"",   "S",    "5",   "123456789S", "-1S",
                                      "1s", "1.5S", " 1S", "+1S"};
    uint64_t ns;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(grpc_timeout_parse(slice_of(good[i].text), &ns), 0);
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(grpc_timeout_parse(slice_of(bad[i]), &ns), ERR_SYNTAX);
    static const struct {
        uint64_t ns;
        const char *text;
    } written[] = {
        {0, "0n"},
        {99999999, "99999999n"},
        {100000000, "100000u"},
        {100000001, "100001u"},
        {10000000000, "10000000u"},
        {UINT64_MAX, "5124096H"},
    };
    for (size_t i = 0; i < ARRAY_LEN(written); i++) {
        char text[GRPC_TIMEOUT_SIZE];
        grpc_timeout_format(text, written[i].ns);
        assert_string_equal(text, written[i].text);
        assert_int_equal(grpc_timeout_parse(slice_of(text), &ns), 0);
        assert_true(ns >= written[i].ns);
    }
}

static void texts(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(256), back = BUF_INIT(256);
    assert_int_equal(grpc_message_encode(&b, SLICE_LIT("50% of \"\xc3\xa4\"\n\x7f~ ")), 0);
    assert_string_equal(b.data, "50%25 of \"%C3%A4\"%0A%7F~ ");
    assert_int_equal(grpc_message_decode(&back, (struct slice){b.data, b.len}), 0);
    assert_string_equal(back.data, "50% of \"\xc3\xa4\"\n\x7f~ ");
    buf_clear(&back);
    assert_int_equal(grpc_message_decode(&back, SLICE_LIT("100%, a+b %4 %FF")), 0);
    assert_string_equal(back.data, "100%, a+b %4 \xef\xbf\xbd");
}

static void metadata(void **state BASE_UNUSED)
{
    assert_true(grpc_metadata_name_ok(SLICE_LIT("x-trace_1.bin")));
    assert_false(grpc_metadata_name_ok(SLICE_LIT("X-a")));
    assert_false(grpc_metadata_name_ok(SLICE_LIT("")));
    assert_true(grpc_metadata_reserved(SLICE_LIT("grpc-status")));
    assert_true(grpc_metadata_reserved(SLICE_LIT(":path")));
    assert_true(grpc_metadata_reserved(SLICE_LIT("te")));
    assert_false(grpc_metadata_reserved(SLICE_LIT("authorization")));
    assert_true(grpc_metadata_is_bin(SLICE_LIT("x-bin")));
    assert_false(grpc_metadata_is_bin(SLICE_LIT("-bin")));
    assert_true(grpc_metadata_value_ok(SLICE_LIT("a b")));
    assert_false(grpc_metadata_value_ok(SLICE_LIT(" a")));
    assert_false(grpc_metadata_value_ok(SLICE_LIT("a\n")));
    assert_false(grpc_metadata_value_ok(SLICE_LIT("\xc3\xa4")));
}

static void binary(void **state BASE_UNUSED)
{
    static const struct {
        struct slice bytes;
        const char *text;
    } both[] = {
        {{"", 0}, ""},        {{"\0", 1}, "AA"},          {{"\xff\xfe", 2}, "//4"},
        {{"any", 3}, "YW55"}, {{"any\xfb", 4}, "YW55+w"},
    };
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        _cleanup_(buf_done) struct buf b = BUF_INIT(64), back = BUF_INIT(64), pad = BUF_INIT(64);
        buf_reserve(&b, 1);
        assert_int_equal(grpc_bin_encode(&b, both[i].bytes), 0);
        assert_true(slice_eqs((struct slice){b.data, b.len}, both[i].text));
        assert_int_equal(grpc_bin_decode(&back, (struct slice){b.data, b.len}), 0);
        assert_true(slice_eq((struct slice){back.data, back.len}, both[i].bytes));
        while (b.len % 4 != 0)
            buf_addc(&b, '=');
        assert_int_equal(grpc_bin_decode(&pad, (struct slice){b.data, b.len}), 0);
        assert_true(slice_eq((struct slice){pad.data, pad.len}, both[i].bytes));
    }
    static const char *const bad[] = {
        "A", "AAAAA", "AA=", "AAA==", "AAAA=", "A*==", "AA-_", "====", "AA A"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_(buf_done) struct buf b = BUF_INIT(64);
        assert_int_equal(grpc_bin_decode(&b, slice_of(bad[i])), ERR_SYNTAX);
        assert_int_equal(b.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_in_any_pieces),
        cmocka_unit_test(message_limits),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(statuses),
        cmocka_unit_test(content_types),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(texts),
        cmocka_unit_test(metadata),
        cmocka_unit_test(binary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
