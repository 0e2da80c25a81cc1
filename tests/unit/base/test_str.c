#include "unit.h"

#include "base/str.h"

#include <string.h>

static void slices(void **state)
{
    (void)state;
    struct slice none = {NULL, 0}, rest, part;
    assert_true(slice_eq(none, SLICE_LIT("")));
    assert_true(slice_eqs(SLICE_LIT("ab"), "ab"));
    assert_false(slice_eqs(SLICE_LIT("ab"), "abc"));
    assert_true(slice_eq_nocase(SLICE_LIT("HoSt"), SLICE_LIT("host")));
    assert_false(slice_eq_nocase(SLICE_LIT("@"), SLICE_LIT("`")));
    assert_true(slice_starts(SLICE_LIT("abc"), "ab"));
    assert_false(slice_starts(SLICE_LIT("a"), "ab"));
    assert_true(slice_eqs(slice_trim(SLICE_LIT(" \t a b \r\n")), "a b"));
    assert_int_equal(slice_trim(SLICE_LIT("  ")).len, 0);

    rest = SLICE_LIT("a,,b");
    assert_true(slice_split(&rest, ',', &part) && slice_eqs(part, "a"));
    assert_true(slice_split(&rest, ',', &part) && part.len == 0);
    assert_true(slice_split(&rest, ',', &part) && slice_eqs(part, "b"));
    assert_false(slice_split(&rest, ',', &part));
    rest = SLICE_LIT("a,");
    assert_true(slice_split(&rest, ',', &part));
    assert_true(slice_split(&rest, ',', &part) && part.len == 0);
    assert_false(slice_split(&rest, ',', &part));
    rest = SLICE_LIT("");
    assert_true(slice_split(&rest, ',', &part) && part.len == 0);
    assert_false(slice_split(&rest, ',', &part));
}

#define FFFD "\xEF\xBF\xBD"

/* What Python's bytes.decode("utf-8", "replace") gives. */
static const struct {
    const char *in;
    size_t len;
    const char *out;
} lossy[] = {
    {BYTES(""), ""},
    {BYTES("plain ASCII text that is long"), "plain ASCII text that is long"},
    {BYTES("\xC3\xA4"), "\xC3\xA4"},
    {BYTES("\xE2\x82\xAC"), "\xE2\x82\xAC"},
    {BYTES("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80"},
    {BYTES("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF"},
    {BYTES("\x80"), FFFD},
    {BYTES("\xBF\x80"), FFFD FFFD},
    {BYTES("\xC0\x80"), FFFD FFFD}, /* overlong */
    {BYTES("\xC1\xBF"), FFFD FFFD},
    {BYTES("\xC3"), FFFD},
    {BYTES("\xC3("), FFFD "("},
    {BYTES("\xE0\x80\x80"), FFFD FFFD FFFD}, /* overlong */
    {BYTES("\xE0\xA0"), FFFD},
    {BYTES("\xE0\xA0z"), FFFD "z"},
    {BYTES("\xED\xA0\x80"), FFFD FFFD FFFD}, /* surrogate */
    {BYTES("\xED\x9F\xBF"), "\xED\x9F\xBF"},
    {BYTES("\xE2\x82"), FFFD},
    {BYTES("\xE2\x82\xE2\x82\xAC"), FFFD "\xE2\x82\xAC"},
    {BYTES("\xF0\x80\x80\x80"), FFFD FFFD FFFD FFFD},
    {BYTES("\xF0\x9F\x98"), FFFD},
    {BYTES("\xF0\x9F\x98x"), FFFD "x"},
    {BYTES("\xF0\x9F"), FFFD},
    {BYTES("\xF4\x90\x80\x80"), FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
    {BYTES("\xF5\x80"), FFFD FFFD},
    {BYTES("\xFE\xFF"), FFFD FFFD},
    {BYTES("abcdefgh\xFFijklmnop\xC3\xA4"), "abcdefgh" FFFD "ijklmnop\xC3\xA4"},
};

static void utf8_table(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1000);
    for (size_t i = 0; i < ARRAY_LEN(lossy); i++) {
        bool same = strlen(lossy[i].out) == lossy[i].len &&
                    memcmp(lossy[i].in, lossy[i].out, lossy[i].len) == 0;
        assert_int_equal(utf8_valid(lossy[i].in, lossy[i].len), same);
        buf_clear(&b);
        assert_int_equal(buf_adds(&b, ""), 0);
        assert_int_equal(utf8_add_lossy(&b, lossy[i].in, lossy[i].len), 0);
        assert_string_equal(b.data, lossy[i].out);
        assert_true(utf8_valid(b.data, b.len));
    }
    buf_done(&b);
    assert_int_equal(utf8_char("", 0), -1);
    assert_int_equal(utf8_char("\xF0\x9F\x98", 3), -1);
    assert_int_equal(utf8_char("\xF0\x9F\x98\x80", 4), 4);
    assert_int_equal(utf8_char("\xF0\x9F\x98\x41", 4), 0);
    assert_int_equal(utf8_bad_len("a", 1), 0);
    assert_int_equal(utf8_bad_len("\xF0\x9F\x98\x41", 4), 3);
}

static size_t encode(char out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((0xF00u >> n) | c);
    return n;
}

/* Every code point up to beyond the last: valid exactly if it is a scalar value, and every cut of
 * a valid one is an unfinished beginning. */
static void utf8_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        char text[4];
        size_t n = encode(text, c);
        bool valid = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        if (utf8_valid(text, n) != valid)
            fail_msg("U+%04X", c);
        for (size_t cut = 1; valid && cut < n; cut++)
            if (utf8_char(text, cut) != -1)
                fail_msg("U+%04X cut to %zu", c, cut);
    }
}

static void pct(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool plus;
        const char *out;
    } cases[] = {
        {"abc", false, "abc"},         {"a%2Fb", false, "a/b"}, {"a%2fb+c", false, "a/b+c"},
        {"a+b", true, "a b"},          {"%2B", true, "+"},      {"%", false, "%"},
        {"%4", false, "%4"},           {"%zz", false, "%zz"},   {"%%41", false, "%A"},
        {"%C3%A4", false, "\xC3\xA4"}, {"%FF", false, FFFD},    {"%E2%82x", false, FFFD "x"},
        {"\xFF", false, FFFD},         {"%4%31", false, "%41"},
    };
    struct buf b = BUF_INIT(100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        assert_int_equal(pct_decode(&b, slice_of(cases[i].in), cases[i].plus), 0);
        assert_string_equal(b.data, cases[i].out);
    }
    buf_clear(&b);
    assert_int_equal(pct_decode(&b, SLICE_LIT("a%00b"), false), 0);
    assert_buf_is(&b, "a\0b");
    buf_clear(&b);
    assert_int_equal(pct_encode(&b, SLICE_LIT("aZ09-._~ /%\xC3\xA4+")), 0);
    assert_buf_is(&b, "aZ09-._~%20%2F%25%C3%A4%2B");
    buf_done(&b);

    /* The maximum counts the decoded bytes. */
    char array[3];
    struct buf small = BUF_FIXED(array);
    assert_int_equal(pct_decode(&small, SLICE_LIT("%41%42"), false), 0);
    assert_int_equal(pct_decode(&small, SLICE_LIT("c"), false), ERR_LIMIT);
    mem_fail_at(1, false);
    assert_int_equal(pct_decode(&b, SLICE_LIT("x"), false), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    buf_done(&b);
}

static void numbers(void **state)
{
    (void)state;
    int64_t i = 77;
    uint64_t u = 77;
    assert_int_equal(str_to_i64(SLICE_LIT(""), &i), ERR_SYNTAX);
    assert_int_equal(str_to_i64(SLICE_LIT("-"), &i), ERR_SYNTAX);
    assert_int_equal(str_to_i64(SLICE_LIT(" 1"), &i), ERR_SYNTAX);
    assert_int_equal(str_to_i64(SLICE_LIT("1x"), &i), ERR_SYNTAX);
    assert_int_equal(str_to_i64(SLICE_LIT("9223372036854775808"), &i), ERR_LIMIT);
    assert_int_equal(str_to_i64(SLICE_LIT("-9223372036854775809"), &i), ERR_LIMIT);
    assert_int_equal(str_to_i64(SLICE_LIT("99999999999999999999999x"), &i), ERR_SYNTAX);
    assert_int_equal(i, 77);
    assert_int_equal(str_to_i64(SLICE_LIT("-9223372036854775808"), &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(str_to_i64(SLICE_LIT("+007"), &i), 0);
    assert_int_equal(i, 7);
    assert_int_equal(str_to_u64(SLICE_LIT("18446744073709551615"), &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(str_to_u64(SLICE_LIT("18446744073709551616"), &u), ERR_LIMIT);
    assert_int_equal(str_to_u64(SLICE_LIT("-1"), &u), ERR_LIMIT);
    assert_int_equal(str_to_u64(SLICE_LIT("-0"), &u), 0);
    assert_int_equal(u, 0);
}

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int r;
        int64_t value;
    } ms[] = {{"250ms", 0, 250},
              {"5s", 0, 5000},
              {"2m", 0, 120000},
              {"1h", 0, 3600000},
              {"1d", 0, 86400000},
              {"7", 0, 7000},
              {"", ERR_SYNTAX, 0},
              {"s", ERR_SYNTAX, 0},
              {"1.5s", ERR_SYNTAX, 0},
              {"-1s", ERR_SYNTAX, 0},
              {"5 s", ERR_SYNTAX, 0},
              {"1w", ERR_SYNTAX, 0},
              {"106751991168d", ERR_LIMIT, 0},
              {"99999999999999999999s", ERR_LIMIT, 0}};
    static const struct {
        const char *text;
        int r;
        uint64_t value;
    } sizes[] = {{"512", 0, 512},       {"64k", 0, 65536},          {"64K", 0, 65536},
                 {"8M", 0, 8u << 20},   {"1G", 0, 1u << 30},        {"2T", 0, 2ull << 40},
                 {"8m", ERR_SYNTAX, 0}, {"", ERR_SYNTAX, 0},        {"k", ERR_SYNTAX, 0},
                 {"-1", ERR_SYNTAX, 0}, {"16777216T", ERR_LIMIT, 0}};
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        int64_t v = 0;
        assert_int_equal(str_to_ms(slice_of(ms[i].text), &v), ms[i].r);
        assert_int_equal(v, ms[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t v = 0;
        assert_int_equal(str_to_size(slice_of(sizes[i].text), &v), sizes[i].r);
        assert_int_equal(v, sizes[i].value);
    }
}

static void names(void **state)
{
    (void)state;
    static const char *const good[] = {"a",   "ticker",   "s6-log", "a.b",
                                       "...", "\xC3\xA4", "a b",    "a%2F"};
    static const char *const bad[] = {"",     ".",    "..",   "-a",       "a/b",         "/",
                                      "a\nb", "\x7F", "\xFF", "\xC2\x9B", "\xED\xA0\x80"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(name_is_safe(slice_of(good[i]), 255));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(name_is_safe(slice_of(bad[i]), 255));
    assert_false(name_is_safe(SLICE_LIT("a\0b"), 255));
    assert_true(name_is_safe(SLICE_LIT("abc"), 3));
    assert_false(name_is_safe(SLICE_LIT("abcd"), 3));
}

static void printable(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(200);
    str_add_printable(&b, SLICE_LIT("a\"\\\n\t\r\x1B\x7F\xC2\x9B\xC2\xA0\xFFz\0"));
    assert_buf_is(&b, "a\\\"\\\\\\n\\t\\u000d\\u001b\\u007f\\u009b\xC2\xA0" FFFD "z\\u0000");
    buf_done(&b);
}

static void colours_and_hex(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {{"\x1B[31mred\x1B[0m", "red"},
                 {"\x1B[1;32mx\x1B[m", "x"},
                 {"\x1B[2K", "\x1B[2K"},
                 {"a\x1B[", "a\x1B["},
                 {"a\x1B[3", "a\x1B[3"},
                 {"\x1B", "\x1B"},
                 {"\x1B[\x1B[1mb", "\x1B["
                                   "b"},
                 {"", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        size_t n = strlen(cases[i].in);
        memcpy(text, cases[i].in, n);
        n = str_strip_sgr(text, n);
        assert_int_equal(n, strlen(cases[i].out));
        assert_memory_equal(text, cases[i].out, n);
    }
    char hex[7];
    hex_encode(hex, "\x00\xAB\xFF", 3);
    assert_string_equal(hex, "00abff");
    /* Test vectors of the authors of FNV. */
    assert_true(hash_bytes("", 0) == 0xcbf29ce484222325u);
    assert_true(hash_bytes("a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(hash_bytes("foobar", 6) == 0x85944171f73967e8u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices),
        cmocka_unit_test(utf8_table),
        cmocka_unit_test(utf8_every_code_point),
        cmocka_unit_test(pct),
        cmocka_unit_test(numbers),
        cmocka_unit_test(quantities),
        cmocka_unit_test(names),
        cmocka_unit_test(printable),
        cmocka_unit_test(colours_and_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
