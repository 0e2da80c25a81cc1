#include "unit.h"

#include "base/json_in.h"

#include <string.h>

static json_t *parse(const char *text)
{
    return json_parse((struct slice){text, strlen(text)}, NULL, NULL);
}

static void values(void **state)
{
    (void)state;
    _cleanup_(json_decrefp) json_t *v = parse(
        "\xEF\xBB\xBF {\"s\":\"x\",\"i\":-5,\"b\":true,\"f\":1.5,\"n\":null,\"s\":\"last\"} ");
    int64_t i = 0;
    bool b = false;
    assert_non_null(v);
    assert_string_equal(json_get_str(v, "s"), "last");
    assert_null(json_get_str(v, "i"));
    assert_null(json_get_str(v, "absent"));
    assert_true(json_get_int(v, "i", &i) && i == -5);
    assert_false(json_get_int(v, "f", &i));
    assert_false(json_get_int(v, "s", &i));
    assert_true(json_get_bool(v, "b", &b) && b);
    assert_false(json_get_bool(v, "i", &b));
    assert_null(json_get_str(NULL, "s"));
    static const char *const good[] = {
        "null", "true",         "0",   "-0",          "\"\"",
        "[]",   " [ 1 , {} ] ", "1e5", "\"\\u0000\"", "\"\\ud83d\\ude00\""};
    for (size_t k = 0; k < ARRAY_LEN(good); k++) {
        json_t *one = parse(good[k]);
        assert_non_null(one);
        json_decref(one);
    }
}

static void integers_beyond_64_bits(void **state)
{
    (void)state;
    _cleanup_(json_decrefp) json_t *v = parse(
        "{\"max\":9223372036854775807,\"min\":-9223372036854775808,\"over\":9223372036854775808,"
        "\"under\":-9223372036854775809,\"big\":123456789012345678901234567890,\"s\":"
        "\"99999999999999999999\","
        "\"f\":0.12345678901234567890123,\"e\":1e20,\"k\\\"99999999999999999999\":["
        "99999999999999999999]}");
    assert_non_null(v);
    assert_true(json_integer_value(json_object_get(v, "max")) == INT64_MAX);
    assert_true(json_integer_value(json_object_get(v, "min")) == INT64_MIN);
    assert_true(json_real_value(json_object_get(v, "over")) == 9223372036854775808.0);
    assert_true(json_real_value(json_object_get(v, "under")) == -9223372036854775808.0);
    assert_true(json_real_value(json_object_get(v, "big")) == 123456789012345678901234567890.0);
    assert_string_equal(json_get_str(v, "s"), "99999999999999999999");
    assert_true(json_is_real(json_object_get(v, "f")));
    assert_true(json_real_value(json_array_get(json_object_get(v, "k\"99999999999999999999"), 0)) ==
                1e20);
    /* Jansson takes no infinity; the fault names the number. */
    struct json_fault fault;
    struct err e;
    assert_null(json_parse(SLICE_LIT("[1e999]"), &fault, &e));
    assert_int_equal(e.code, ERR_SYNTAX);
    assert_string_equal(fault.reason, "Number out of range");
}

/* Reasons and places as Python 3.11's json.loads gives them. */
static void faults(void **state)
{
    (void)state;
    static const char value[] = "Expecting value",
                      name[] = "Expecting property name enclosed in double quotes",
                      colon[] = "Expecting ':' delimiter", comma[] = "Expecting ',' delimiter",
                      extra[] = "Extra data", open[] = "Unterminated string starting at",
                      control[] = "Invalid control character at", escape[] = "Invalid \\escape",
                      unicode[] = "Invalid \\uXXXX escape";
    static const struct {
        const char *text;
        size_t offset;
        const char *reason;
    } cases[] = {
        {"", 0, value},
        {"   ", 3, value},
        {"x", 0, value},
        {"{", 1, name},
        {"{]", 1, name},
        {"{a:1}", 1, name},
        {"{'a':1}", 1, name},
        {"{\"a\"", 4, colon},
        {"{\"a\" 1}", 5, colon},
        {"{\"a\":", 5, value},
        {"{\"a\":}", 5, value},
        {"{\"a\":1", 6, comma},
        {"{\"a\":1 \"b\"}", 7, comma},
        {"{\"a\":1,}", 7, name},
        {"{\"a\":1,", 7, name},
        {"[", 1, value},
        {"[1", 2, comma},
        {"[1,", 3, value},
        {"[1,]", 3, value},
        {"[1 2]", 3, comma},
        {"[1}", 2, comma},
        {"{\"a\":1]", 6, comma},
        {"1 2", 2, extra},
        {"{} {}", 3, extra},
        {"[]]", 2, extra},
        {"01", 1, extra},
        {"[01]", 2, comma},
        {"1.", 1, extra},
        {"1.x", 1, extra},
        {"1e", 1, extra},
        {"1e+", 1, extra},
        {"-", 0, value},
        {"-x", 0, value},
        {"+1", 0, value},
        {".5", 0, value},
        {"tru", 0, value},
        {"nul", 0, value},
        {"True", 0, value},
        {"truex", 4, extra},
        {"\"abc", 0, open},
        {"[\"abc", 1, open},
        {"\"a\\", 0, open},
        {"\"a\nb\"", 2, control},
        {"\"a\tb\"", 2, control},
        {"\"a\\x\"", 2, escape},
        {"\"\\u12\"", 2, unicode},
        {"\"\\u12g4\"", 2, unicode},
        {"\"\\ud800\"", 2, unicode},
        {"\"\\udc00\"", 2, unicode},
        {"\"\\ud800\\u0041\"", 2, unicode},
        {"NaN", 0, value},
        {"{\"a\":1,\"b\"}", 10, colon},
        {"[\"\xC3\xA4\xE2\x82\xAC\", x]", 7, value},
        {"\"\xF0\x9F\x98\x80", 0, open},
        {"\"\xF0\x9F\x98\x80\" x", 4, extra},
        {"[[[[]]]", 7, comma},
        {"{\"a\":[1,{\"b\":tru}]}", 13, value},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_fault fault = {0};
        struct err e = {0};
        json_t *v = json_parse((struct slice){cases[i].text, strlen(cases[i].text)}, &fault, &e);
        if (v != NULL)
            fail_msg("taken: %s", cases[i].text);
        assert_int_equal(e.code, ERR_SYNTAX);
        if (fault.offset != cases[i].offset || strcmp(fault.reason, cases[i].reason) != 0)
            fail_msg("%s: %s at %zu, not %s at %zu", cases[i].text, fault.reason, fault.offset,
                     cases[i].reason, cases[i].offset);
    }
    struct json_fault fault;
    struct err e;
    assert_null(json_parse(SLICE_LIT("[1,\0]"), &fault, &e));
    assert_int_equal(fault.offset, 3);
    assert_null(json_parse(SLICE_LIT("\"a\0\""), &fault, &e));
    assert_string_equal(fault.reason, control);
    assert_null(json_parse(SLICE_LIT("\"a\\\0\""), &fault, &e));
    assert_string_equal(fault.reason, escape);
    assert_null(json_parse(SLICE_LIT("{\"a\\u0000\":1}"), &fault, &e));
    assert_int_equal(e.code, ERR_SYNTAX);
    assert_null(json_parse(SLICE_LIT("\"\xFF\""), &fault, &e));
    assert_int_equal(e.code, ERR_ENCODING);
    assert_null(json_parse((struct slice){NULL, 0}, &fault, &e));
    assert_int_equal(e.code, ERR_SYNTAX);
}

static void depth(void **state)
{
    (void)state;
    char text[200];
    struct json_fault fault;
    struct err e;
    for (int open = 63; open <= 66; open++) {
        memset(text, '[', (size_t)open);
        memset(text + open, ']', (size_t)open);
        json_t *v = json_parse((struct slice){text, 2 * (size_t)open}, &fault, &e);
        assert_int_equal(v != NULL, open <= 64);
        json_decref(v);
        if (open > 64) {
            assert_int_equal(e.code, ERR_SYNTAX);
            assert_int_equal(fault.offset, 64);
        }
        /* unfinished ones at the limit */
        v = json_parse((struct slice){text, (size_t)open}, &fault, &e);
        assert_null(v);
        assert_int_equal(e.code, ERR_SYNTAX);
    }
    /* Brackets in strings do not count. */
    text[0] = '"';
    memset(text + 1, '[', 100);
    text[101] = '"';
    json_t *v = json_parse((struct slice){text, 102}, NULL, NULL);
    assert_non_null(v);
    json_decref(v);
}

static void json_without_memory(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,2.5,\"text\",{\"b\":null}],\"big\":99999999999999999999,\"s\":\"\\u00e4\"}";
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct err e = {0};
        mem_fail_at(n, false);
        json_t *v = json_parse((struct slice){text, sizeof(text) - 1}, NULL, &e);
        if (mem_fail_hit() && v == NULL)
            assert_int_equal(e.code, ERR_NO_MEMORY);
        else
            assert_non_null(v);
        json_decref(v);
    }
}

/* jansson's buffer for a token doubles at 16, 32, 64... bytes; a closing quote that it leaves out
 * there makes it read and write beyond the string. */
static void json_strings_of_all_lengths_without_memory(void **state)
{
    (void)state;
    for (size_t len = 1; len < 140; len++) {
        char text[160];
        int size = snprintf(text, sizeof(text), "[\"%0*d\",\"x\"]", (int)len, 0);
        FOR_EACH_FAILING_ALLOC(n)
        {
            struct err e = {0};
            mem_fail_at(n, false);
            json_t *v = json_parse((struct slice){text, (size_t)size}, NULL, &e);
            assert_int_equal(e.code, mem_fail_hit() ? ERR_NO_MEMORY : 0);
            assert_true((v == NULL) == mem_fail_hit());
            json_decref(v);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    json_in_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(integers_beyond_64_bits),
        cmocka_unit_test(faults),
        cmocka_unit_test(depth),
        cmocka_unit_test(json_without_memory),
        cmocka_unit_test(json_strings_of_all_lengths_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
