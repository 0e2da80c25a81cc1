/* Reading logs by lines and by offset, and the text form of cursors. */
#include "s6_rig.h"

#include "s6/cursor.h"
#include "s6/log.h"

static int open_with(const void *p, size_t n)
{
    rig_put(rig_path("log"), O_TRUNC, p, n);
    int fd = open(rig_path("log"), O_RDONLY);
    assert_true(fd >= 0);
    return fd;
}

static void check_tail(const char *text, int64_t lines, const char *want)
{
    int fd = open_with(text, strlen(text));
    struct buf out = BUF_INIT(S6_LOG_MAX_READ * 2);
    uint64_t cursor = 0;
    assert_int_equal(s6_log_tail(fd, lines, &out, &cursor, NULL), 0);
    assert_int_equal(cursor, strlen(text));
    assert_string_equal(out.data ? out.data : "", want);
    buf_done(&out);
    close(fd);
}

static void test_tail(void **state)
{
    (void)state;
    check_tail("", 10, "");
    check_tail("\n", 1, "\n");
    check_tail("\n\n\n", 2, "\n\n");
    check_tail("a\nb\nc\n", 0, "");
    check_tail("a\nb\nc\n", 1, "c\n");
    check_tail("a\nb\nc\n", 2, "b\nc\n");
    check_tail("a\nb\nc\n", 3, "a\nb\nc\n");
    check_tail("a\nb\nc\n", 4, "a\nb\nc\n");
    check_tail("a\nb\nc", 1, "c");
    check_tail("a\nb\nc", 2, "b\nc");
    check_tail("a\nb\nc\n", -2, "b\nc\n");
    check_tail("a\nb\nc\n", INT64_MAX, "a\nb\nc\n");
    check_tail("a\nb\nc\n", INT64_MIN, "a\nb\nc\n");
    check_tail("\nx", 1, "x");
    check_tail("\nx", 2, "\nx");
}

/* Against the rule itself, over sizes around the block size. */
static void test_tail_blocks(void **state)
{
    (void)state;
    static char text[40000];
    srand(3);
    for (int round = 0; round < 60; round++) {
        size_t n = (size_t)(round % 3 == 0 ? 16384 + rand() % 3 - 1 : rand() % 40000);
        for (size_t i = 0; i < n; i++)
            text[i] = rand() % (round + 2) == 0 ? '\n' : 'x';
        int fd = open_with(text, n);
        for (int64_t lines = 0; lines < 300; lines += 1 + lines / 3) {
            size_t want =
                n; /* from the end: one line more for each newline that is not the last byte */
            int64_t left = lines;
            while (want > 0 && left > 0) {
                want--;
                while (want > 0 && text[want - 1] != '\n')
                    want--;
                left--;
            }
            uint64_t start = 0;
            assert_int_equal(s6_log_tail_start(fd, n, lines, &start, NULL), 0);
            assert_int_equal(start, want);
        }
        close(fd);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    size_t n = 3u * S6_LOG_MAX_READ + 77;
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++) /* "é" all along, a newline now and then */
        text[i] = i % 101 == 100 ? '\n' : (i % 101) % 2 ? '\xa9' : '\xc3';
    int fd = open_with(text, n);
    struct buf out = BUF_INIT(S6_LOG_MAX_READ + 16);
    uint64_t cursor = 0, before;
    size_t total = 0;
    do { /* no byte is lost, none is there twice, and every piece is whole characters */
        before = cursor;
        buf_clear(&out);
        assert_int_equal(s6_log_from(fd, (int64_t)before, &out, &cursor, NULL), 0);
        assert_true(out.len <= S6_LOG_MAX_READ && cursor == before + out.len);
        assert_memory_equal(out.data ? out.data : "", text + total, out.len);
        assert_true(utf8_valid(out.data, out.len) || cursor == n);
        total += out.len;
    } while (cursor != before);
    assert_in_range(n - total, 0, 1); /* at most the beginning of a character at the very end */
    buf_clear(&out);
    assert_int_equal(s6_log_tail(fd, 1000000000, &out, &cursor, NULL), 0);
    assert_true(out.len <= S6_LOG_MAX_READ && out.len > S6_LOG_MAX_READ - 202);
    assert_int_equal(text[cursor - out.len - 1], '\n'); /* begins with a line */
    assert_int_equal(s6_log_from(fd, INT64_MAX, &out, &cursor, NULL), 0);
    assert_int_equal(cursor, n);
    free(text);
    /* One line that is longer than all that is given. */
    close(fd);
    char *line = malloc(n);
    memset(line, 'x', n);
    fd = open_with(line, n);
    buf_clear(&out);
    assert_int_equal(s6_log_tail(fd, 1, &out, &cursor, NULL), 0);
    assert_int_equal(out.len, S6_LOG_MAX_READ);
    mem_fail_at(1, true);
    buf_done(&out);
    struct err e = {0};
    assert_int_equal(s6_log_tail(fd, 1, &out, &cursor, &e), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    buf_done(&out);
    free(line);
    close(fd);
}

static void test_whole_chars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len, want;
    } rows[] = {
        {"abc", 3, 3},          {"ab\xc3", 3, 2},        {"ab\xc3\xa9", 4, 4},
        {"\xf0\x9f\xa4", 3, 0}, {"x\xf0\x9f\xa4", 4, 1}, {"\xf0\x9f\xa4\x96", 4, 4},
        {"x\xff", 2, 2},        {"x\x80\x80\x80", 4, 4}, {"x\xe2\x82", 3, 1},
        {"x\xc3\xc3", 3, 2},    {"\xed\xa0", 2, 2},      {"", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(s6_log_whole_chars(rows[i].text, rows[i].len), rows[i].want);
}

static void test_newlines(void **state)
{
    (void)state;
    char t[] = "a\r\nb\rc\n\r\r\nd\r";
    size_t n = s6_log_newlines(t, strlen(t));
    assert_int_equal(n, strlen("a\nb\nc\n\n\nd\n"));
    assert_memory_equal(t, "a\nb\nc\n\n\nd\n", n);
}

static void test_cursor_text(void **state)
{
    (void)state;
    struct s6_cursor c = {0x123, 0xfffffffffffffffful, 7, 0, 0x10, "@400000006553f1a50a1b2c3d.s"},
                     d;
    char t[S6_CURSOR_TEXT_SIZE];
    size_t n = s6_cursor_format(&c, t);
    assert_string_equal(t, "g1-123-ffffffffffffffff-7-0-10-@400000006553f1a50a1b2c3d.s");
    assert_int_equal(n, strlen(t));
    memset(&d, 0, sizeof(d));
    assert_int_equal(s6_cursor_parse((struct slice){t, n}, &d), 0);
    assert_memory_equal(&c, &d, sizeof(c));
    struct s6_cursor none = {0};
    n = s6_cursor_format(&none, t);
    assert_string_equal(t, "g1-0-0-0-0-0-");
    assert_int_equal(s6_cursor_parse((struct slice){t, n}, &d), 0);
    static const char *const bad[] = {
        "",
        "7",
        "g1",
        "g1-",
        "g1-0-0-0-0-0",
        "g2-0-0-0-0-0-",
        "g1-00-0-0-0-0-",
        "g1-0-0-0-0-0-x",
        "g1-0-0-0-0-0-@",
        "g1-0-0-0-0-0-@../x",
        "g1-0-0-0-0-0-@4-5",
        "g1-G-0-0-0-0-",
        "g1-0-0-ffffffffffffffff-0-0-",
        "g1-11111111111111111-0-0-0-0-",
        "g1-0-0-0-0-0-@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(s6_cursor_parse(slice_of(bad[i]), &d), ERR_SYNTAX);
    assert_int_equal(s6_cursor_parse((struct slice){"g1-0-0-0-0-0-@a\0b", 17}, &d), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tail, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_tail_blocks, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, rig_setup, rig_teardown),
        cmocka_unit_test(test_whole_chars),
        cmocka_unit_test(test_newlines),
        cmocka_unit_test(test_cursor_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
