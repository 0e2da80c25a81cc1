#include "unit.h"

#include "base/base64.h"
#include "base/str.h"

static void decodes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"Zm9vYmFy", "foobar"},
        {"Zm9v\r\nYmFy\n", "foobar"},
        {"+/+/", "\xFB\xFF\xBF"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(100);
        assert_int_equal(buf_addlit(&b, "<"), 0);
        assert_int_equal(base64_decode(&b, slice_of(cases[i].text)), 0);
        assert_int_equal(b.len, 1 + strlen(cases[i].want));
        assert_memory_equal(b.data + 1, cases[i].want, b.len - 1);
        buf_done(&b);
    }
    struct buf b = BUF_INIT(100);
    assert_int_equal(base64_decode(&b, SLICE_LIT("AAEA")), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "\0\1\0", 3);
    buf_done(&b);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const cases[] = {"Z",        "Zg",       "Zg=",  "Zg===", "Z===",
                                        "====",     "Zg==Zg==", "Zm9-", "Zm9_",  "Zm 9v",
                                        "Zm9v\tZg", "Zm9\x80",  "=Zg="};
    struct buf b = BUF_INIT(100);
    assert_int_equal(buf_addlit(&b, "<"), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (base64_decode(&b, slice_of(cases[i])) != ERR_SYNTAX || b.len != 1)
            fail_msg("%s", cases[i]);
    assert_int_equal(base64_decode(&b, (struct slice){"A\0AA", 4}), ERR_SYNTAX);
    buf_done(&b);
    b = BUF_INIT(4);
    assert_int_equal(base64_decode(&b, SLICE_LIT("Zm9vYmFy")), ERR_LIMIT);
    buf_done(&b);
    b = BUF_INIT(100);
    mem_fail_at(1, false);
    assert_int_equal(base64_decode(&b, SLICE_LIT("Zm9vYmFy")), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decodes), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
