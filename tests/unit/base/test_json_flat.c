/* The flat reader agrees with jansson wherever it does not give up. */
#include "base/json_flat.h"
#include "base/json_in.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const flat[] = {
    "{}",
    " { } ",
    "{\"a\":1}",
    "{\"name\":\"idle\",\"raw\":\"up (pid 24558) 115 "
    "seconds\",\"is_up\":true,\"pid\":24558,\"uptime_seconds\":115}",
    "{\"a\" : null , \"b\":false,\r\n\t\"c\":-0,\"d\":-12}",
    "{\"a\":999999999999999999}",
    "{\"a\":\"\",\"\":\"x\"}",
};
static const char *const other[] = {
    "",
    "[]",
    "{",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1}}",
    "{\"a\":01}",
    "{\"a\":1.5}",
    "{\"a\":1e3}",
    "{\"a\":[]}",
    "{\"a\":{}}",
    "{\"a\":-}",
    "{\"a\":nul}",
    "{\"a\":\"\\n\"}",
    "{\"a\":\"\xc3\xa9\"}",
    "{\"a\":\"x}",
    "{\"a\":9999999999999999999}",
    "{\"a\":\"\t\"}",
    "{\"a\":truex}",
    "{\"a\" 1}",
    "{a:1}",
    "{\"a\":1 2}",
};

/* Reads all; true unless it gave up. Compares each member with the tree's, if there is one. */
static bool read_all(const char *text, const json_t *tree)
{
    struct json_flat f;
    struct json_flat_member m;
    size_t n = 0;
    json_flat_open(&f, slice_of(text));
    while (json_flat_next(&f, &m)) {
        n++;
        if (tree == NULL)
            continue;
        const json_t *v = json_object_getn(tree, m.key.p, m.key.len);
        assert_non_null(v);
        switch (m.type) {
        case JSON_FLAT_NULL:
            assert_true(json_is_null(v));
            break;
        case JSON_FLAT_BOOL:
            assert_int_equal(json_is_true(v), m.i);
            break;
        case JSON_FLAT_INT:
            assert_true(json_integer_value(v) == m.i);
            break;
        case JSON_FLAT_STR:
            assert_true(slice_eqs(m.s, json_string_value(v)));
            break;
        }
    }
    if (!f.gave_up && tree != NULL)
        assert_int_equal(n, json_object_size(tree));
    return !f.gave_up;
}

static void reads_flat_objects(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flat); i++) {
        json_t *tree = json_parse(slice_of(flat[i]), NULL, NULL);
        assert_non_null(tree);
        assert_true(read_all(flat[i], tree));
        json_decref(tree);
    }
}

static void gives_up_on_everything_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        assert_false(read_all(other[i], NULL));
}

/* Every prefix and every text with one byte changed: what it takes, jansson takes too, with the
 * same values. */
static void agrees_with_the_parser(void **state)
{
    (void)state;
    const char *text = flat[4];
    char copy[256];
    for (size_t n = 0; n < strlen(text); n++) {
        for (int c = 0; c < 128; c++) {
            snprintf(copy, sizeof(copy), "%s", text);
            copy[n] = (char)c;
            json_t *tree = json_parse(slice_of(copy), NULL, NULL);
            if (tree == NULL || !json_is_object(tree))
                assert_false(read_all(copy, NULL));
            else if (json_object_size(tree) == 4) /* a changed key may have made two the same */
                (void)read_all(copy, tree);
            json_decref(tree);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_flat_objects),
        cmocka_unit_test(gives_up_on_everything_else),
        cmocka_unit_test(agrees_with_the_parser),
    };
    json_in_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
