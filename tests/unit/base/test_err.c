#include "unit.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

static void rows_are_found(void **state)
{
    (void)state;
    assert_int_equal(err_row(ERR_NOT_FOUND)->http_status, 404);
    assert_string_equal(err_name(ERR_MISDIRECTED), "misdirected");
    assert_int_equal(err_row(ERR_MISDIRECTED)->http_status, 421);
    assert_int_equal(err_row(0)->code, ERR_INTERNAL);
    assert_int_equal(err_row(5)->code, ERR_INTERNAL);
    assert_int_equal(err_row(-1000)->code, ERR_INTERNAL);
    assert_int_equal(err_row(INT32_MIN)->code, ERR_INTERNAL);
#define X(sym, num, name_, http, grpc, retry, text_)                                               \
    assert_int_equal(err_row(ERR_##sym)->code, -(num));                                            \
    assert_string_equal(err_row(ERR_##sym)->text, text_);
    ERR_TABLE(X)
#undef X
}

static void messages(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    assert_int_equal(err_set(&e, ERR_INVALID, "port \"%s\"", "x"), ERR_INVALID);
    assert_string_equal(e.msg, "port \"x\"");
    assert_int_equal(err_wrap(&e, "file %d", 3), ERR_INVALID);
    assert_string_equal(e.msg, "file 3: port \"x\"");
    /* A message may be built from the one before. */
    err_set(&e, ERR_IO, "again: %s", e.msg);
    assert_string_equal(e.msg, "again: file 3: port \"x\"");
    assert_int_equal(err_wrap(NULL, "x"), ERR_INTERNAL);
}

static void long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    char text[700];
    struct err e = {0};
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 4);
        err_set(&e, ERR_INVALID, "%s", text);
        assert_true(strlen(e.msg) < sizeof(e.msg));
        assert_true(strlen(e.msg) > sizeof(e.msg) - 7);
        assert_true(utf8_valid(e.msg, strlen(e.msg)));
        assert_string_equal(e.msg + strlen(e.msg) - 3, "...");
        err_set(&e, ERR_INVALID, "end");
        int whole = (int)(shift + (478 - shift) / 3 * 3); /* ends between characters */
        err_wrap(&e, "%.*s", whole, text);
        assert_string_equal(e.msg + strlen(e.msg) - 3, "...");
        assert_true(utf8_valid(e.msg, strlen(e.msg)));
        err_sys(&e, EIO, "%.*s", whole, text);
        assert_string_equal(e.msg + strlen(e.msg) - 3, "...");
    }
}

static void what_comes_from_outside_stays_in_its_line(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_INVALID, "\"%s\" \\ %s", "a\nb\tc\x1B[2J\r\x7F", "\xC2\x9B\xC3\xA9\xC2\xA0");
    assert_string_equal(e.msg, "\"a\\nb\\tc\\u001b[2J\\u000d\\u007f\" \\ \\u009b\xC3\xA9\xC2\xA0");
    /* A message that is used again stays as it is. */
    char before[sizeof(e.msg)];
    memcpy(before, e.msg, sizeof(before));
    err_set(&e, ERR_INVALID, "%s", e.msg);
    assert_string_equal(e.msg, before);
    /* printf cuts characters; what is left of one is shown as such. */
    err_set(&e, ERR_INVALID, "\"%.4s\" is no name", "abc\xC3\xA9");
    assert_string_equal(e.msg, "\"abc\xEF\xBF\xBD\" is no name");
    err_set(&e, ERR_INVALID, "end\xE2\x82");
    assert_string_equal(e.msg, "end\xEF\xBF\xBD");

    err_set(&e, ERR_INVALID, "x");
    err_wrap(&e, "%s", "a\nb\xFF");
    assert_string_equal(e.msg, "a\\nb\xEF\xBF\xBD: x");
    err_sys(&e, ENOENT, "cannot open \"%s\"", "\x1B");
    assert_string_equal(e.msg, "cannot open \"\\u001b\": No such file or directory");

    /* Lines only where they are asked for. */
    err_set_lines(&e, ERR_INVALID, "a\nb%s", "\n\x1B");
    assert_string_equal(e.msg, "a\nb\n\\u001b");
    err_wrap(&e, "c\nd");
    assert_string_equal(e.msg, "c\\nd: a\nb\n\\u001b");
    assert_int_equal(err_set_lines(NULL, ERR_LIMIT, "x"), ERR_LIMIT);

    /* All of it controls, and too long. */
    char text[700];
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    err_set(&e, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_null(strchr(e.msg, '\n'));
    assert_string_equal(e.msg + strlen(e.msg) - 5, "\\n...");
}

static void system_errors(void **state)
{
    (void)state;
    static const struct {
        int sys, code;
    } cases[] = {
        {ENOENT, ERR_NOT_FOUND}, {EACCES, ERR_DENIED},       {EPERM, ERR_DENIED},
        {ENOMEM, ERR_NO_MEMORY}, {ENOSPC, ERR_NO_SPACE},     {EDQUOT, ERR_NO_SPACE},
        {EMFILE, ERR_NO_FILES},  {ENFILE, ERR_NO_FILES},     {ECONNREFUSED, ERR_REFUSED},
        {EPIPE, ERR_GONE},       {ECONNRESET, ERR_GONE},     {ETIMEDOUT, ERR_TIMEOUT},
        {EEXIST, ERR_EXISTS},    {ECANCELED, ERR_CANCELLED}, {EHOSTUNREACH, ERR_UNREACHABLE},
        {4095, ERR_GONE},        {3008, ERR_UNREACHABLE},    {EIO, ERR_IO},
        {EBADF, ERR_IO}};
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memset(&e, 0, sizeof(e));
        assert_int_equal(err_sys(&e, cases[i].sys, "x"), cases[i].code);
        assert_int_equal(err_sys(NULL, -cases[i].sys, "x"), cases[i].code);
        assert_int_equal(e.sys, cases[i].sys);
    }
    err_sys(&e, -ENOENT, "cannot open \"%s\"", "a");
    assert_string_equal(e.msg, "cannot open \"a\": No such file or directory");
    assert_int_equal(e.sys, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found),
        cmocka_unit_test(messages),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(what_comes_from_outside_stays_in_its_line),
        cmocka_unit_test(system_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
