/* What a run script is told: arguments as words of a shell, and the robot's type. */
#include "../base/unit.h"

#include "base/str.h"
#include "s6/launch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state BASE_UNUSED)
{
    snprintf(dir, sizeof(dir), "/tmp/test-launch-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static const char *in(const char *rest)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/%s", dir, rest);
    return path;
}

static int teardown(void **state BASE_UNUSED)
{
    unlink(in("launch_args/svc"));
    rmdir(in("launch_args"));
    unlink(in("launch_args"));
    unlink(in("robot_type"));
    return rmdir(dir);
}

static void check_file(const char *rest, const char *want)
{
    char text[256] = "";
    struct stat st;
    int fd = open(in(rest), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, sizeof(text) - 1), strlen(want));
    assert_string_equal(text, want);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    close(fd);
}

static void words(void **state BASE_UNUSED)
{
    static const struct {
        const char *name, *value, *want;
    } rows[] = {
        {"model", "sg2", "model:=sg2"},
        {"_a/b.c-d9", "", "_a/b.c-d9:="},
        {"p", "/x/y-z_1.yaml:=+,@%", "p:=/x/y-z_1.yaml:=+,@%"},
        {"p", "a b", "p:='a b'"},
        {"p", ";rm -rf /", "p:=';rm -rf /'"},
        {"p", "$(x)`y`\\\"", "p:='$(x)`y`\\\"'"},
        {"p", "it's", "p:='it'\\''s'"},
        {"p", "'", "p:=''\\'''"},
        {"p", "~", "p:='~'"},
        {"p", "[1, 2]", "p:='[1, 2]'"},
        {"p", "\xc3\xa4", "p:='\xc3\xa4'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(S6_LAUNCH_LINE_MAX);
        assert_int_equal(s6_launch_arg(&b, slice_of(rows[i].name), slice_of(rows[i].value), NULL),
                         0);
        assert_string_equal(b.data, rows[i].want);
        assert_int_equal(s6_launch_arg(&b, SLICE_LIT("z"), SLICE_LIT("1"), NULL), 0);
        assert_string_equal(b.data + strlen(rows[i].want), " z:=1");
        buf_done(&b);
    }
}

static void refused(void **state BASE_UNUSED)
{
    static char big[S6_LAUNCH_VALUE_MAX + 2];
    memset(big, 'x', sizeof(big) - 1);
    static const char *const names[] = {"",    "9a",       "-a", "a b", "a;b",  "a$",
                                        "a\n", "\xc3\xa4", ".a", "/a",  "a:=b", "'"};
    struct err e;
    struct buf b = BUF_INIT(S6_LAUNCH_LINE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        e = (struct err){0};
        assert_int_equal(s6_launch_arg(&b, slice_of(names[i]), SLICE_LIT("x"), &e), ERR_INVALID);
        assert_non_null(strstr(e.msg, "launch argument name '"));
        assert_null(strchr(e.msg, '\n'));
    }
    assert_int_equal(s6_launch_arg(&b, (struct slice){"a\0b", 3}, SLICE_LIT("x"), &e), ERR_INVALID);
    assert_int_equal(
        s6_launch_arg(&b, (struct slice){big, S6_LAUNCH_NAME_MAX + 1}, SLICE_LIT("x"), &e),
        ERR_INVALID);
    static const char *const values[] = {"a\nb", "\r", "\t", "\x7f", "\x1b[0m"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_int_equal(s6_launch_arg(&b, SLICE_LIT("a"), slice_of(values[i]), &e), ERR_INVALID);
    assert_int_equal(s6_launch_arg(&b, SLICE_LIT("a"), (struct slice){"\0", 1}, &e), ERR_INVALID);
    assert_int_equal(s6_launch_arg(&b, SLICE_LIT("a"), slice_of(big), &e), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    int rc = 0;
    for (int i = 0; i < 20 && rc == 0; i++)
        rc = s6_launch_arg(&b, SLICE_LIT("a"), (struct slice){big, S6_LAUNCH_VALUE_MAX}, &e);
    assert_int_equal(rc, ERR_LIMIT);
    buf_done(&b);
}

static void files(void **state BASE_UNUSED)
{
    struct err e = {0};
    assert_int_equal(s6_launch_write(dir, SLICE_LIT("svc"), SLICE_LIT(""), &e), 0); /* none yet */
    assert_int_equal(s6_launch_write(dir, SLICE_LIT("svc"), SLICE_LIT("a:=b"), &e), 0);
    check_file("launch_args/svc", "a:=b");
    assert_int_equal(s6_launch_write(dir, SLICE_LIT("svc"), SLICE_LIT("c:=d"), &e), 0);
    check_file("launch_args/svc", "c:=d");
    assert_int_equal(s6_launch_write(dir, SLICE_LIT("svc"), SLICE_LIT(""), &e), 0);
    assert_int_not_equal(access(in("launch_args/svc"), F_OK), 0);
    assert_int_equal(s6_launch_write("/nonexistent", SLICE_LIT("svc"), SLICE_LIT("x"), &e),
                     ERR_NOT_FOUND);
    /* a link in the folder's place is not followed */
    assert_int_equal(rmdir(in("launch_args")), 0);
    assert_int_equal(symlink("/tmp", in("launch_args")), 0);
    assert_int_not_equal(s6_launch_write(dir, SLICE_LIT("svc"), SLICE_LIT("x"), &e), 0);
    assert_int_not_equal(access("/tmp/svc", F_OK), 0);
}

static void robot_types(void **state BASE_UNUSED)
{
    assert_string_equal(s6_robot_type(SLICE_LIT("sg2")), "sg2");
    assert_string_equal(s6_robot_type(SLICE_LIT(" \tBh5\n")), "bh5");
    assert_null(s6_robot_type(SLICE_LIT("")));
    assert_null(s6_robot_type(SLICE_LIT("sg")));
    assert_null(s6_robot_type(SLICE_LIT("sg2;x")));
    assert_int_equal(s6_robot_type_write(dir, "sg2", NULL), 0);
    assert_int_equal(s6_robot_type_write(dir, "bg2", NULL), 0);
    check_file("robot_type", "bg2");
}

static void no_memory(void **state BASE_UNUSED)
{
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(S6_LAUNCH_LINE_MAX);
        mem_fail_at(n, false);
        int rc = s6_launch_arg(&b, SLICE_LIT("a"), SLICE_LIT("b c"), NULL);
        if (rc == 0)
            rc = s6_launch_write(dir, SLICE_LIT("svc"), (struct slice){b.data, b.len}, NULL);
        if (rc == 0)
            rc = s6_robot_type_write(dir, "sg2", NULL);
        assert_int_equal(rc, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        buf_done(&b);
    }
    check_file("launch_args/svc", "a:='b c'");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(refused),
                                       CASE(files), CASE(robot_types), CASE(no_memory)};
    return cmocka_run_group_tests_name("s6_launch", tests, NULL, NULL);
}
