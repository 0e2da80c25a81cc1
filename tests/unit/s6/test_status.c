/* Status files: the text against the real s6-svstat, the forms of the file, and the list of
 * services. */
#include "s6_rig.h"

#include "base/clock.h"
#include "s6/dir.h"
#include "s6/status.h"

#include <errno.h>
#include <time.h>

static int64_t wall(void)
{
    return clock_real_ns(&clock_system);
}

/* s6-svstat's line; false if it is not installed. */
static bool svstat(const char *service, char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], 1);
        (void)execlp("s6-svstat", "s6-svstat", service, (char *)NULL);
        _exit(99);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], out + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    close(ends[0]);
    int status = 0;
    (void)waitpid(pid, &status, 0);
    out[len > 0 && out[len - 1] == '\n' ? len - 1 : len] = '\0';
    return WEXITSTATUS(status) == 0;
}

static void read_text(struct slice name, char out[S6_STATUS_TEXT_SIZE])
{
    struct s6_status st;
    struct err e = {0};
    if (s6_status_read(&PLACE(rig_dir), name, &st, &e) != 0)
        fail_msg("%s", e.msg);
    (void)s6_status_text(&st, wall(), out);
}

static void compare(const uint8_t *bytes, size_t n)
{
    char service[100];
    (void)snprintf(service, sizeof(service), "%s/svc", rig_dir);
    struct slice name = SLICE_LIT("svc");
    char before[S6_STATUS_TEXT_SIZE], after[S6_STATUS_TEXT_SIZE], real[512];
    rig_put_status(service, bytes, n);
    read_text(name, before);
    if (!svstat(service, real, sizeof(real)))
        skip();
    read_text(name, after); /* the second may have turned between */
    if (strcmp(real, before) != 0)
        assert_string_equal(real, after);
}

static void test_text_is_that_of_s6_svstat(void **state)
{
    (void)state;
    pid_t pid = rig_supervise(rig_path("svc"));
    int64_t now = wall() / 1000000000;
    uint8_t b[43];
    char down[100];
    (void)snprintf(down, sizeof(down), "%s/svc/down", rig_dir);
    srand(7);
    /* Every wait status that a signal or an exit can give, and all flags, up and down, normally up
     * or not. */
    for (unsigned sig = 0; sig < 128; sig++)
        compare(b, rig_status(b, now - 5, 0, now - 4, 0, 0, sig, sig % 16));
    for (unsigned flags = 0; flags < 16; flags++) {
        compare(b, rig_status(b, now - 1000, 999999999, now - 100000, 4242, 0, 0x0100, flags));
        rig_write(down, "");
        compare(b, rig_status(b, now - 7, 1, now - 6, 4242, 0, 0xff00, flags));
        compare(b, rig_status(b, now - 7, 500000000, now - 6, 0, 0, 0x8b, flags));
        assert_int_equal(unlink(down), 0);
    }
    for (int i = 0; i < 100; i++)
        compare(b, rig_status(b, now - rand() % 1000000000, (uint32_t)rand() % 1000000000u,
                              now - rand() % 1000000000, rand() % 3 ? rand() : 0, 0,
                              (unsigned)rand() & 0xffff, (unsigned)rand() & 0xff));
    /* A clock that was set back: the change lies in the future. */
    compare(b, rig_status(b, now + 500, 0, now - 4, 77, 0, 0, 12));
    compare(b, rig_status(b, now + 500, 0, now - 4, 0, 0, 0, 0));
    rig_unsupervise(pid);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        int64_t since, ready, pid, pgid;
        unsigned wait, flags;
        bool normally_up;
        const char *text;
    } rows[] = {
        {100, 99, 16919, 0, 0, 4, true, "up (pid 16919) 100 seconds"},
        {195, 194, 16916, 0, 0, 12, true, "up (pid 16916) 195 seconds, ready 194 seconds"},
        {0, 0, 0, 0, 15, 8, true, "down (signal SIGTERM) 0 seconds, normally up, ready 0 seconds"},
        {0, 0, 0, 0, 0x300, 12, true,
         "down (exitcode 3) 0 seconds, normally up, want up, ready 0 seconds"},
        {195, 195, 0, 0, 0, 8, false, "down (exitcode 0) 195 seconds, ready 195 seconds"},
        {3, 0, 7, 0, 0, 1, false, "up (pid 7) 3 seconds, normally down, paused, want down"},
        {3, 0, 7, 0, 0, 6, true, "down (exitcode 0) 3 seconds, normally up, want up"},
        {9, 0, 12, 11, 0, 4, true, "up (pid 12 pgid 11) 9 seconds"}, /* s6 2.13 */
        {9, 0, 0, 11, 0x100, 0, true, "down (exitcode 1) 9 seconds, normally up"},
        {-50, -50, 5, 0, 0, 12, true, "up (pid 5) 0 seconds, ready 0 seconds"},
    };
    const int64_t now = 1800000000;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t b[43];
        struct s6_status st = {.normally_up = rows[i].normally_up};
        char text[S6_STATUS_TEXT_SIZE];
        size_t n = rig_status(b, now - rows[i].since, 0, now - rows[i].ready, rows[i].pid,
                              rows[i].pgid, rows[i].wait, rows[i].flags);
        assert_int_equal(s6_status_parse(b, n, &st), 0);
        assert_int_equal(s6_status_text(&st, now * 1000000000, text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
        assert_int_equal(s6_status_seconds(&st, now * 1000000000),
                         rows[i].since > 0 ? rows[i].since : 0);
    }
}

static void test_seconds_round_down(void **state)
{
    (void)state;
    struct s6_status st = {.since = {(1ull << 62) + 10 + 100, 600000000}};
    assert_int_equal(s6_status_seconds(&st, 101599999999), 0);
    assert_int_equal(s6_status_seconds(&st, 101600000000), 1);
    assert_int_equal(s6_status_seconds(&st, 100500000000), 0); /* the future */
    assert_int_equal(s6_status_seconds(&st, -5), 0);
    st.since =
        (struct s6_stamp){0, 0}; /* never set: as large as s6-svstat tells it, and no overflow */
    assert_int_equal(s6_status_seconds(&st, 0), (1ull << 62) + 10);
    st.since = (struct s6_stamp){UINT64_MAX, UINT32_MAX};
    assert_int_equal(s6_status_seconds(&st, INT64_MAX), 0);
}

static void test_sizes(void **state)
{
    (void)state;
    uint8_t b[64] = {0};
    struct s6_status st = {0};
    for (size_t n = 0; n <= sizeof(b); n++)
        assert_int_equal(s6_status_parse(b, n, &st), n == 35 || n == 43 ? 0 : ERR_INVALID);
}

static int read_code(const char *name)
{
    struct s6_status st;
    struct err e = {0};
    int rc = s6_status_read(&PLACE(rig_dir), slice_of(name), &st, &e);
    assert_int_equal(rc, e.code);
    return rc;
}

static void test_failures(void **state)
{
    (void)state;
    uint8_t b[64] = {0};
    assert_int_equal(read_code("missing"), ERR_NOT_FOUND);
    rig_mkdir(rig_path("bare"));
    assert_int_equal(read_code("bare"), ERR_STATE);
    rig_write(rig_path("plain"), "");
    assert_true(read_code("plain") != 0 && read_code("plain") != ERR_NOT_FOUND);
    assert_int_equal(symlink("/nonexistent/x", rig_path("dangling")), 0);
    assert_int_equal(read_code("dangling"), ERR_NOT_FOUND);
    assert_int_equal(symlink("loop", rig_path("loop")), 0);
    assert_int_equal(read_code("loop"), ERR_NOT_FOUND);

    pid_t pid = rig_supervise(rig_path("svc"));
    assert_int_equal(read_code("svc"), ERR_IO); /* no status file */
    rig_put_status(rig_path("svc"), b, 34);
    assert_int_equal(read_code("svc"), ERR_INVALID);
    rig_put_status(rig_path("svc"), b, 44);
    assert_int_equal(read_code("svc"), ERR_INVALID);
    rig_put_status(rig_path("svc"), b, 43);
    assert_int_equal(read_code("svc"), 0);
    /* A link, as s6-rc makes them. */
    assert_int_equal(symlink(rig_path("svc"), rig_path("linked")), 0);
    assert_int_equal(read_code("linked"), 0);
    rig_unsupervise(pid);
    assert_int_equal(read_code("svc"), ERR_STATE);
}

static void test_scan(void **state)
{
    (void)state;
    static const char *const dirs[] = {"b", "a-run", ".hidden", "z\xc3\xa9", "none", "-x", "typed"};
    struct s6_names n;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        rig_mkdir(rig_path("%s", dirs[i]));
        if (strcmp(dirs[i], "none") != 0)
            rig_write(rig_path("%s/%s", dirs[i], strcmp(dirs[i], "typed") ? "run" : "type"), "");
    }
    rig_write(rig_path("file"), "");
    assert_int_equal(symlink(rig_path("b"), rig_path("link")), 0);
    assert_int_equal(symlink("/nonexistent", rig_path("dangling")), 0);
    assert_int_equal(s6_scan(&PLACE(rig_dir), &n, NULL), 0);
    static const char *const want[] = {".hidden", "a-run", "b", "link", "typed", "z\xc3\xa9"};
    assert_int_equal(n.count, ARRAY_LEN(want));
    for (size_t i = 0; i < n.count; i++)
        assert_string_equal(s6_name(&n, i), want[i]);
    s6_names_done(&n);
    assert_int_equal(s6_scan(&PLACE(rig_path("nowhere")), &n, NULL), 0);
    assert_int_equal(n.count, 0);
    struct err e = {0};
    assert_true(s6_scan(&PLACE(rig_path("file")), &n, &e) != 0);
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        mem_fail_at(at, true);
        int rc = s6_scan(&PLACE(rig_dir), &n, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        s6_names_done(&n);
    }
}

static void test_open_beneath(void **state)
{
    (void)state;
    struct err e = {0};
    rig_mkdir(rig_path("root"));
    rig_mkdir(rig_path("root/a"));
    rig_mkdir(rig_path("out"));
    rig_write(rig_path("out/current"), "secret");
    rig_write(rig_path("root/a/current"), "x");
    rig_mkdir(rig_path("root/b"));
    assert_int_equal(symlink("../../out/current", rig_path("root/b/current")), 0);
    rig_mkdir(rig_path("root/c"));
    assert_int_equal(symlink(rig_path("out/current"), rig_path("root/c/current")), 0);
    assert_int_equal(symlink("../out", rig_path("root/d")), 0);
    assert_int_equal(symlink("a", rig_path("root/inside")), 0);
    rig_mkdir(rig_path("root/f"));
    assert_int_equal(mkfifo(rig_path("root/f/current"), 0600), 0);
    rig_write(rig_path("root/plain"), "");
    const struct {
        const char *name;
        int rc;
    } rows[] = {{"a", 0},
                {"b", ERR_DENIED},
                {"c", ERR_DENIED},
                {"d", ERR_DENIED},
                {"f", ERR_INVALID},
                {"none", ERR_NOT_FOUND},
                {"inside", rig_has_openat2() ? 0 : ERR_DENIED},
                {"plain", ERR_NOT_FOUND}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int fd = s6_open_file(rig_path("root"), slice_of(rows[i].name), "current", O_RDONLY, &e);
        assert_int_equal(fd < 0 ? fd : 0, rows[i].rc);
        if (fd >= 0)
            close(fd);
    }
}

static void test_speed(void **state)
{
    (void)state;
    uint8_t b[43];
    pid_t pid = rig_supervise(rig_path("svc"));
    rig_put_status(rig_path("svc"), b, rig_status(b, 1700000000, 0, 1700000000, 5, 0, 0, 12));
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 20; round++) {
        uint64_t t = clock_mono_ns(&clock_system);
        for (int i = 0; i < 200; i++) {
            char text[S6_STATUS_TEXT_SIZE];
            read_text(SLICE_LIT("svc"), text);
        }
        uint64_t d = (clock_mono_ns(&clock_system) - t) / 200;
        best = d < best ? d : best;
    }
    print_message("one status: %llu ns\n", (unsigned long long)best);
    assert_true(best < 200000); /* the budget is 10 us; sanitizers and valgrind are far slower */
    rig_unsupervise(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text_is_that_of_s6_svstat, rig_setup, rig_teardown),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_seconds_round_down),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test_setup_teardown(test_failures, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_scan, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_open_beneath, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_speed, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
