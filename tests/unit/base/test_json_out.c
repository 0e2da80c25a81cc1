#include "unit.h"

#include "base/json_in.h"
#include "base/json_out.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void structure(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1000);
    struct json_out j;
    buf_adds(&b, "x=");
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "name", "x");
    json_kstr(&j, "none", NULL);
    json_kint(&j, "n", -3);
    json_kbool(&j, "t", true);
    json_kbool(&j, "f", false);
    json_knull(&j, "z");
    json_kslice(&j, "s", SLICE_LIT("a\0b"));
    json_key(&j, "list");
    json_arr(&j);
    json_arr(&j);
    json_end_arr(&j);
    json_obj(&j);
    json_end_obj(&j);
    json_uint(&j, UINT64_MAX);
    json_str(&j, (struct slice){NULL, 0});
    json_nil(&j);
    json_raw(&j, SLICE_LIT("[1]"));
    json_double(&j, 0.5);
    json_bool(&j, true);
    json_end_arr(&j);
    json_key(&j, "k\"\n");
    json_int(&j, 1);
    json_end_obj(&j);
    assert_buf_is(&b,
                  "x={\"name\":\"x\",\"none\":null,\"n\":-3,\"t\":true,\"f\":false,\"z\":null,"
                  "\"s\":\"a\\u0000b\","
                  "\"list\":[[],{},18446744073709551615,\"\",null,[1],0.5,true],\"k\\\"\\n\":1}");
    buf_done(&b);
}

static void escapes(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {BYTES(""), ""},
        {BYTES("plain"), "plain"},
        {BYTES("\n\r\t\b\f"), "\\n\\r\\t\\b\\f"},
        {BYTES("\x01\x1F\x1B"), "\\u0001\\u001f\\u001b"},
        {BYTES("\""), "\\\""},
        {BYTES("\\"), "\\\\"},
        {BYTES("/"), "/"},
        {BYTES("\x7F"), "\x7F"},
        {BYTES("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {BYTES("a\xFF"
               "b"),
         "a\xEF\xBF\xBD"
         "b"},
        {BYTES("\xF0\x9F\x98"), "\xEF\xBF\xBD"},
        {BYTES("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {BYTES("0123456\"89abcde\xC3\xA4 tail of plain text\n"),
         "0123456\\\"89abcde\xC3\xA4 tail of plain text\\n"},
    };
    struct buf b = BUF_INIT(1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        buf_adds(&b, "");
        assert_int_equal(json_escape(&b, (struct slice){cases[i].in, cases[i].len}), 0);
        assert_string_equal(b.data, cases[i].out);
    }
    buf_done(&b);
}

/* One byte or the start of a character at a time: the plain way that the fast one must equal. */
static void escape_slowly(struct buf *b, const char *p, size_t n)
{
    struct buf valid = BUF_INIT(10000);
    utf8_add_lossy(&valid, p, n);
    for (size_t i = 0; i < valid.len; i++) {
        char c = valid.data[i];
        const char *from = "\n\r\t\b\f\"\\", *to = "nrtbf\"\\";
        const char *at = c != '\0' ? strchr(from, c) : NULL;
        if (at != NULL)
            buf_addf(b, "\\%c", to[at - from]);
        else if ((unsigned char)c < 0x20)
            buf_addf(b, "\\u%04x", (unsigned)c);
        else
            buf_addc(b, c);
    }
    buf_done(&valid);
}

static uint32_t seed = 12345;
static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Random texts of every length up to 40, of bytes that matter. */
static void fast_equals_slow(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",
                                        "0",
                                        " ",
                                        "\"",
                                        "\\",
                                        "\n",
                                        "\x1F",
                                        "\x7F",
                                        "\xC3\xA4",
                                        "\xE2\x82\xAC",
                                        "\xF0\x9F\x98\x80",
                                        "\xFF",
                                        "\xC3",
                                        "\xE2\x82",
                                        "~",
                                        "abcdefghijk",
                                        "\xED\xA0\x80"};
    struct buf fast = BUF_INIT(10000), slow = BUF_INIT(10000);
    for (int round = 0; round < 30000; round++) {
        char text[64];
        size_t n = 0, want = next_random() % 40;
        bool mostly_plain = round % 2;
        while (n < want) {
            const char *part = mostly_plain && next_random() % 8 != 0
                                   ? "x"
                                   : parts[next_random() % ARRAY_LEN(parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        buf_clear(&fast);
        buf_clear(&slow);
        struct json_out j;
        json_begin(&j, &fast);
        json_str(&j, (struct slice){text, n});
        buf_adds(&slow, "\"");
        escape_slowly(&slow, text, n);
        buf_adds(&slow, "\"");
        assert_string_equal(fast.data, slow.data);
        /* and what a reader takes from it is the text again */
        json_t *v = json_parse((struct slice){fast.data, fast.len}, NULL, NULL);
        assert_non_null(v);
        buf_clear(&slow);
        buf_adds(&slow, "");
        utf8_add_lossy(&slow, text, n);
        assert_string_equal(json_string_value(v), slow.data);
        json_decref(v);
    }
    buf_done(&fast);
    buf_done(&slow);
}

static void doubles(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text; /* as Python writes it */
    } cases[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100, "100.0"},
        {123456789, "123456789.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {1.5e16, "1.5e+16"},
        {1e-4, "0.0001"},
        {1.25e-4, "0.000125"},
        {1e-5, "1e-05"},
        {1.5e-7, "1.5e-07"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {9007199254740993.0, "9007199254740992.0"},
        {NAN, "null"},
        {INFINITY, "null"},
        {0.012, "0.012"},
        {12.5, "12.5"},
        {3.141592653589793, "3.141592653589793"},
    };
    struct buf b = BUF_INIT(1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_out j;
        buf_clear(&b);
        json_begin(&j, &b);
        json_double(&j, cases[i].v);
        assert_string_equal(b.data, cases[i].text);
    }
    for (int i = 0; i < 100000; i++) {
        uint64_t bits =
            (uint64_t)next_random() << 40 | (uint64_t)next_random() << 20 | next_random();
        double v;
        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v))
            continue;
        struct json_out j;
        buf_clear(&b);
        json_begin(&j, &b);
        json_double(&j, v);
        assert_true(strtod(b.data, NULL) == v);
    }
    buf_done(&b);
}

/* At every size of the buffer: all of it, or the error; never a byte beyond the limit. */
static void limits_stick(void **state)
{
    (void)state;
    static const char want[] = "{\"a\":\"b\\nc\",\"d\":[1,\"x\"]}";
    for (size_t max = 0; max < sizeof(want) + 2; max++) {
        struct buf b = BUF_INIT(max);
        struct json_out j;
        json_begin(&j, &b);
        json_obj(&j);
        json_kstr(&j, "a", "b\nc");
        json_key(&j, "d");
        json_arr(&j);
        json_int(&j, 1);
        json_cstr(&j, "x");
        json_end_arr(&j);
        json_end_obj(&j);
        assert_true(b.len <= max);
        if (max >= sizeof(want) - 1)
            assert_buf(&b, want, sizeof(want) - 1);
        else
            assert_int_equal(b.err, ERR_LIMIT);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure),        cmocka_unit_test(escapes),
        cmocka_unit_test(fast_equals_slow), cmocka_unit_test(doubles),
        cmocka_unit_test(limits_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
