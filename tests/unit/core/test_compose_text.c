#include "../base/unit.h"

#include "base/clock.h"
#include "base/str.h"
#include "core/compose_text.h"

static struct err e;

static void takes(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "services: {web: {image: a}}",
        "version: \"3\"\nservices:\n  web:\n    image: a\n  db: {}\nvolumes: {data: }\n",
        "x-base: &base\n  image: a\n  services: no\nservices:\n  web: *base\n  db: {<<: *base}\n",
        "---\n{\"services\": {\"a\": null}}\n...\n",
        "? services\n: {web: }\n",
        "? [a, {services: b}]\n: c\n\"services\":\n  a: &x [1, 2]\n  b: *x\n",
        "x: &a 1\ny: &a 2\nz: *a\nservices: {a: }\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (compose_text_check(slice_of(cases[i]), &e) != 0)
            fail_msg("%s: %s", cases[i], e.msg);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "the Compose file is empty"},
        {" \n\t\n", "the Compose file is empty"},
        {"# nothing\n", "the Compose file has no \"services\""},
        {"web:\n  image: a\n", "the Compose file has no \"services\""},
        {"x: {services: {a: }}\n", "the Compose file has no \"services\""},
        {"x: services\n", "the Compose file has no \"services\""},
        {"services", "line 1, column 1 of the Compose file: a mapping with the key \"services\" is "
                     "wanted"},
        {"\n- services: {}\n", "line 2, column 1 of the Compose file: a mapping with the key "
                               "\"services\" is wanted"},
        {"services: [a]\n",
         "line 1, column 11 of the Compose file: services: a mapping of services is wanted"},
        {"services: \n",
         "line 1, column 10 of the Compose file: services: a mapping of services is wanted"},
        {"a: &a {b: }\nservices: *a\n",
         "line 2, column 11 of the Compose file: services: a mapping of services is wanted"},
        {"services: {}\n", "line 1, column 12 of the Compose file: services: there is none"},
        {"services: {a: }\nservices: {b: }\n",
         "line 2, column 1 of the Compose file: the key \"services\" is there twice"},
        {"services: {a: *b}\n", "line 1, column 15 of the Compose file: this alias stands for "
                                "nothing that is complete before it"},
        {"services: &a\n  b: *a\n", "line 2, column 6 of the Compose file: this alias stands for "
                                    "nothing that is complete before it"},
        {"x: &a 1\nservices: &a\n  b: *a\n", "line 3, column 6 of the Compose file: this alias "
                                             "stands for nothing that is complete before it"},
        {"services: {a: }\n---\nb: c\n",
         "line 2, column 1 of the Compose file: a second document begins"},
        {"services:\n  web: [\n", "line 3, column 1 of the Compose file: "},
        {"services:\n\tweb: a\n", "line 2, column 1 of the Compose file: "},
        {"services: {\"a\\0b\": }\n",
         "line 1, column 12 of the Compose file: the text contains a NUL character"},
        {"services: \xFF\n", "byte 10 of the Compose file: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(compose_text_check(slice_of(cases[i].text), &e), ERR_INVALID);
        if (strncmp(e.msg, cases[i].why, strlen(cases[i].why)) != 0)
            fail_msg("%s: %s", cases[i].text, e.msg);
    }
}

/* A small text may stand for a very large one. */
static void bounds(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(2 << 20);
    (void)buf_addlit(&b, "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for (int i = 1; i < 9; i++) {
        (void)buf_addf(&b, "x%d: &x%d [", i, i);
        for (int k = 0; k < 10; k++)
            (void)buf_addf(&b, "%s*x%d", k > 0 ? ", " : "", i - 1);
        (void)buf_addlit(&b, "]\n");
    }
    (void)buf_addlit(&b, "services: {a: *x8}\n");
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "it is too much with its aliases written out"));

    /* So may one long text that many aliases name. */
    buf_clear(&b);
    (void)buf_addlit(&b, "x: &x ");
    for (int i = 0; i < 100000; i++)
        (void)buf_addc(&b, 'x');
    (void)buf_addlit(&b, "\ny: [");
    for (int i = 0; i < 100; i++)
        (void)buf_addlit(&b, "*x , ");
    (void)buf_addlit(&b, "]\nservices: {a: }\n");
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "it is too much with its aliases written out"));

    buf_clear(&b);
    (void)buf_addlit(&b, "services: {a: }\nx: ");
    for (int i = 0; i < 63; i++)
        (void)buf_addc(&b, '[');
    size_t open = b.len;
    for (int i = 0; i < 63; i++)
        (void)buf_addc(&b, ']');
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), 0);
    b.len = open;
    for (int i = 0; i < 200000; i++)
        (void)buf_addc(&b, '[');
    uint64_t begin = clock_mono_ns(&clock_system);
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "nested too deep"));
    assert_true(clock_mono_ns(&clock_system) - begin < UINT64_C(5000000000));

    buf_clear(&b);
    (void)buf_addlit(&b, "services: {a: }\n#");
    while (b.len < COMPOSE_TEXT_MAX)
        (void)buf_addc(&b, 'x');
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), 0);
    (void)buf_addc(&b, 'x');
    assert_int_equal(compose_text_check((struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_done(&b);
}

static void survives_no_memory(void **state)
{
    (void)state;
    static const char text[] = "x: &a {b: &b c}\ny: &a [*b]\nservices: {web: &s {image: *b}}\n";
    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int rc = compose_text_check(SLICE_LIT(text), &e);
        assert_true(rc == ERR_NO_MEMORY || (rc == 0 && !mem_fail_hit()));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(bounds),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
