#include "unit.h"

#include <stdio.h>
#include <string.h>

static void mem_fails_at_the_nth(void **state)
{
    (void)state;
    uint64_t before = mem_alloc_count();
    mem_fail_at(2, false);
    void *a = mem_alloc(0), *b = mem_alloc(1), *c = mem_zalloc(4);
    assert_non_null(a);
    assert_null(b);
    assert_true(mem_fail_hit());
    assert_non_null(c);
    assert_int_equal(mem_alloc_count() - before, 3);
    mem_free(a);
    mem_free(c);

    mem_fail_at(1, true);
    assert_null(mem_strdup("x"));
    assert_null(mem_calloc(2, 2));
    char *keep = NULL;
    assert_null(mem_realloc(keep, 8));
    mem_fail_at(0, false);
    assert_false(mem_fail_hit());
}

static void mem_copies_and_overflows(void **state)
{
    (void)state;
    assert_null(mem_calloc(SIZE_MAX, 2));
    char *s = mem_strndup("a\0bc", 3);
    assert_memory_equal(s, "a\0b", 4);
    mem_wipe(s, 4);
    assert_memory_equal(s, "\0\0\0", 4);
    mem_free(s);
    s = mem_strndup(NULL, 0);
    assert_string_equal(s, "");
    mem_free(s);
    mem_free(NULL);
}

static void buf_grows_to_its_max(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_addc(&b, (char)('a' + i % 26)), 0);
    assert_int_equal(b.len, 100);
    assert_int_equal(b.data[100], 0);
    assert_int_equal(buf_addc(&b, 'x'), ERR_LIMIT);
    assert_int_equal(b.len, 100);
    /* The error sticks even for what would fit. */
    assert_int_equal(buf_add(&b, "", 0), ERR_LIMIT);
    assert_null(buf_steal(&b, NULL));
    buf_clear(&b);
    assert_int_equal(buf_adds(&b, "again"), 0);
    assert_buf_is(&b, "again");
    buf_done(&b);
    assert_int_equal(b.max, 100);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_LIMIT);
    buf_done(&b);
}

static void buf_formats(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1000);
    buf_addf(&b, "%s-%d", "x", 5);
    assert_buf_is(&b, "x-5");
    buf_clear(&b);
    buf_addf(&b, "%0200d", 7); /* longer than the first allocation */
    assert_int_equal(b.len, 200);
    assert_int_equal(b.data[199], '7');
    assert_int_equal(buf_addf(&b, "%0801d", 7), ERR_LIMIT);
    assert_int_equal(b.len, 200);
    assert_int_equal(b.data[200], 0);
    buf_done(&b);
}

static void buf_writes_numbers(void **state)
{
    (void)state;
    static const int64_t cases[] = {0,   1,   9,    10,    99,         100,
                                    101, 999, 1000, 12345, 4294967295, INT64_MAX,
                                    -1,  -10, -99,  -100,  INT64_MIN,  INT64_MIN + 1};
    struct buf b = BUF_INIT(100);
    char want[32];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        buf_addi(&b, cases[i]);
        snprintf(want, sizeof(want), "%lld", (long long)cases[i]);
        assert_string_equal(b.data, want);
    }
    buf_clear(&b);
    buf_addu(&b, UINT64_MAX);
    assert_buf_is(&b, "18446744073709551615");
    buf_done(&b);
}

static void buf_drops_and_gives_away(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(10);
    size_t len;
    buf_drop(&b, 0);
    char *empty = buf_steal(&b, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    mem_free(empty);
    buf_adds(&b, "abcdef");
    buf_drop(&b, 2);
    assert_buf_is(&b, "cdef");
    char *s = buf_steal(&b, &len);
    assert_string_equal(s, "cdef");
    assert_int_equal(len, 4);
    assert_null(b.data);
    assert_int_equal(b.max, 10);
    mem_free(s);
}

static void buf_cuts_at_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t max;
        const char *is;
    } cases[] = {
        {"all of it", 9, "all of it"},
        {"one two three", 10, "one two..."},
        {"one two three", 9, "one..."},
        {"one, two", 7, "one..."},
        {"oneandonly", 7, "onea..."},
        {"\xC3\xA4\xC3\xB6\xC3\xBC", 5, "\xC3\xA4..."},
        {"", 4, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        struct buf b = BUF_FIXED(text);
        assert_int_equal(buf_add_words(&b, cases[i].text, cases[i].max), 0);
        assert_string_equal(text, cases[i].is);
    }
}

static void buf_in_an_array(void **state)
{
    (void)state;
    char array[4];
    uint64_t before = mem_alloc_count();
    struct buf b = BUF_FIXED(array);
    assert_int_equal(buf_adds(&b, "abc"), 0);
    assert_int_equal(buf_addc(&b, 'd'), ERR_LIMIT);
    assert_string_equal(array, "abc");
    assert_int_equal(mem_alloc_count(), before);
}

static void buf_without_memory(void **state)
{
    (void)state;
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(10000);
        mem_fail_at(n, false);
        for (int i = 0; i < 1000; i++)
            buf_addf(&b, "%d,", i);
        if (mem_fail_hit()) {
            assert_int_equal(b.err, ERR_NO_MEMORY);
            assert_true(b.data == NULL || strlen(b.data) == b.len);
        } else {
            assert_int_equal(b.err, 0);
            assert_int_equal(b.len, 3890);
        }
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem_fails_at_the_nth), cmocka_unit_test(mem_copies_and_overflows),
        cmocka_unit_test(buf_grows_to_its_max), cmocka_unit_test(buf_formats),
        cmocka_unit_test(buf_writes_numbers),   cmocka_unit_test(buf_drops_and_gives_away),
        cmocka_unit_test(buf_cuts_at_words),    cmocka_unit_test(buf_in_an_array),
        cmocka_unit_test(buf_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
