/* Control: what is written to the fifos, how s6-rc is called, order, limits and failures. */
#include "s6_rig.h"

#include "base/clock.h"
#include "s6/control.h"
#include "s6/tool.h"

#include <time.h>

static struct loop *loop;
static struct s6_control *control;
static char tool[100];
static unsigned companion_failures;

static void on_companion(void *ctx, struct slice name, const struct err *e)
{
    (void)ctx;
    assert_true(name.len > 4 && e->code != 0);
    companion_failures++;
}

static int setup_with(void **state, uint64_t limit_ms)
{
    if (rig_setup(state) != 0)
        return 1;
    rig_mkdir(rig_path("scan"));
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    (void)snprintf(tool, sizeof(tool), "%s/s6-rc", rig_dir);
    struct s6_control_options o = {.place = PLACE(rig_path("scan")),
                                   .rc_tool = tool,
                                   .limit_ms = limit_ms,
                                   .pause_ms = 50,
                                   .companion_failed = on_companion};
    companion_failures = 0;
    return s6_control_new(&control, loop, &o, NULL);
}

static int setup(void **state)
{
    return setup_with(state, 60000);
}

static int setup_brief(void **state)
{
    return setup_with(state, 700);
}

static int teardown(void **state)
{
    s6_control_free(control);
    while (loop_run_once(loop, true))
        ;
    loop_free(loop);
    return rig_teardown(state);
}

static void make_tool(const char *body)
{
    char text[600];
    (void)snprintf(text, sizeof(text), "#!/bin/sh\necho \"$@\" >>%s/calls\n%s\n", rig_dir, body);
    rig_write(tool, text);
    assert_int_equal(chmod(tool, 0755), 0);
}

static const char *content(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* The commands that a service has got so far. */
static void expect_commands(const char *service, const char *want)
{
    char path[200];
    (void)snprintf(path, sizeof(path), "%s/scan/%s/commands", rig_dir, service);
    for (int i = 0; i < 3000 && strcmp(content(path), want) != 0; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    assert_string_equal(content(path), want);
}

static void put_status(const char *name, int pid, unsigned flags)
{
    uint8_t b[43];
    rig_put_status(rig_path("scan/%s", name), b,
                   rig_status(b, 1800000000, 0, 1800000000, pid, 0, 0, flags));
}

struct answer {
    bool done;
    struct err e;
};

static void on_done(void *ctx, const struct err *e)
{
    struct answer *a = ctx;
    assert_false(a->done);
    a->done = true;
    a->e = *e;
}

static void wait_for(struct answer *a)
{
    while (!a->done)
        (void)loop_run_once(loop, true);
}

static struct answer act(const char *name, enum s6_action what)
{
    struct answer a = {0};
    assert_int_equal(s6_control_run(control, slice_of(name), what, on_done, &a, NULL), 0);
    wait_for(&a);
    return a;
}

static void test_fifo(void **state)
{
    (void)state;
    pid_t p = rig_supervise(rig_path("scan/svc"));
    assert_int_equal(act("svc", S6_UP).e.code, 0);
    assert_int_equal(act("svc", S6_DOWN).e.code, 0);
    assert_int_equal(act("svc", S6_RESTART).e.code, 0);
    expect_commands("svc", "udru");
    rig_unsupervise(p);
    assert_int_equal(act("svc", S6_UP).e.code, ERR_STATE); /* nobody reads the fifo */
    assert_int_equal(act("none", S6_UP).e.code, ERR_NOT_FOUND);
    rig_write(rig_path("scan/plain"), "");
    assert_int_equal(act("plain", S6_UP).e.code, ERR_STATE);
    rig_mkdir(rig_path("scan/file"));
    rig_mkdir(rig_path("scan/file/supervise"));
    rig_write(rig_path("scan/file/supervise/control"), "");
    assert_int_equal(act("file", S6_UP).e.code, ERR_STATE);
    assert_string_equal(content(rig_path("scan/file/supervise/control")), "");
}

static void test_companion(void **state)
{
    (void)state;
    pid_t p = rig_supervise(rig_path("scan/svc")), q = rig_supervise(rig_path("scan/svc-log"));
    put_status("svc-log", 0, 0);
    (void)act("svc", S6_DOWN);
    (void)act("svc", S6_UP);
    (void)act("svc", S6_RESTART);
    expect_commands("svc", "duru");
    expect_commands("svc-log", "duu");
    rig_unsupervise(q);
    assert_int_equal(act("svc", S6_DOWN).e.code, 0); /* its failure is none of the action */
    assert_int_equal(companion_failures, 1);
    rig_unsupervise(p);
}

static void test_which_tool(void **state)
{
    (void)state;
    const char *scan = rig_path("scan");
    rig_mkdir(rig_path("scan/a"));
    rig_mkdir(rig_path("scan/p"));
    rig_write(rig_path("scan/p/producer-for"), "");
    rig_mkdir(rig_path("scan/c"));
    rig_write(rig_path("scan/c/consumer-for"), "");
    assert_int_equal(symlink("/x/s6-rc/servicedirs/l", rig_path("scan/l")), 0);
    assert_int_equal(symlink("/x/other", rig_path("scan/o")), 0);
    assert_false(s6_control_by_rc(&PLACE(scan), SLICE_LIT("a")));
    assert_true(s6_control_by_rc(&PLACE(scan), SLICE_LIT("p")));
    assert_true(s6_control_by_rc(&PLACE(scan), SLICE_LIT("c")));
    assert_true(s6_control_by_rc(&PLACE(scan), SLICE_LIT("l")));
    assert_false(s6_control_by_rc(&PLACE(scan), SLICE_LIT("o")));
}

static void make_rc_service(const char *name)
{
    rig_mkdir(rig_path("scan/%s", name));
    rig_write(rig_path("scan/%s/producer-for", name), "x\n");
}

static void test_s6_rc(void **state)
{
    (void)state;
    make_rc_service("svc");
    struct answer a = act("svc", S6_UP);
    assert_int_equal(a.e.code, ERR_NO_TOOL);
    assert_non_null(strstr(a.e.msg, "s6-rc"));
    make_tool("env >>$0.env");
    (void)setenv("SECRET", "1", 1);
    assert_int_equal(act("svc", S6_UP).e.code, 0);
    assert_int_equal(act("svc", S6_DOWN).e.code, 0);
    uint64_t start = clock_mono_ms(&clock_system);
    assert_int_equal(act("svc", S6_RESTART).e.code, 0);
    assert_true(clock_mono_ms(&clock_system) - start >= 49);
    assert_string_equal(content(rig_path("calls")),
                        "-u change svc\n-d change svc\n-d change svc\n-u change svc\n");
    assert_null(strstr(content(rig_path("s6-rc.env")), "SECRET"));
    make_tool("echo out; echo to stderr >&2; exit 3");
    a = act("svc", S6_RESTART); /* ends with its first half */
    assert_int_equal(a.e.code, ERR_TOOL);
    assert_non_null(
        strstr(a.e.msg, "-d change svc' returned non-zero exit status 3: out\nto stderr"));
    make_tool("kill -9 $$");
    a = act("svc", S6_UP);
    assert_non_null(strstr(a.e.msg, "signal 9"));
    make_tool("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; exit 1");
    a = act("svc", S6_UP); /* its output is bounded, and it is not held up by a full pipe */
    assert_int_equal(a.e.code, ERR_TOOL);
    assert_true(strlen(a.e.msg) < sizeof(a.e.msg));
}

static void test_time_limit_kills_the_group(void **state)
{
    (void)state;
    make_rc_service("svc");
    make_tool("sleep 30 & echo $! >$0.pid; sleep 30");
    pid_t child = 0;
    for (int i = 0; i < 20 && child == 0; i++) { /* it may be ended before it has written that */
        uint64_t start = clock_mono_ms(&clock_system);
        struct answer a = act("svc", S6_UP);
        uint64_t took = clock_mono_ms(&clock_system) - start;
        assert_int_equal(a.e.code, ERR_TIMEOUT);
        assert_in_range(took, 600, 20000);
        child = (pid_t)strtol(content(rig_path("s6-rc.pid")), NULL, 10);
    }
    assert_true(child > 1);
    char path[64], state_of = 'R';
    for (int i = 0; i < 1000 && state_of != 'Z' && state_of != '-';
         i++) { /* gone, or waiting for init */
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
        const char *s = strrchr(content(path), ')');
        state_of = s != NULL ? s[2] : '-';
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    assert_true(state_of == 'Z' || state_of == '-');
}

static void test_order(void **state)
{
    (void)state;
    make_rc_service("svc");
    make_rc_service("other");
    make_tool("case \"$*\" in *svc*) until [ -e ${0%/*}/go ]; do sleep 0.05; done; esac; echo end "
              "\"$@\" >>${0%/*}/calls");
    struct answer a[4] = {0};
    assert_int_equal(s6_control_run(control, SLICE_LIT("svc"), S6_UP, on_done, &a[0], NULL), 0);
    assert_int_equal(s6_control_run(control, SLICE_LIT("svc"), S6_DOWN, on_done, &a[1], NULL), 0);
    assert_int_equal(s6_control_run(control, SLICE_LIT("other"), S6_UP, on_done, &a[2], NULL), 0);
    assert_int_equal(s6_control_run(control, SLICE_LIT("svc-log"), S6_UP, on_done, &a[3], NULL), 0);
    wait_for(&a[2]);
    assert_false(a[0].done || a[1].done || a[3].done); /* others are not held up */
    rig_write(rig_path("go"), "");
    wait_for(&a[0]);
    assert_false(a[3].done); /* the companion waits for its service */
    wait_for(&a[1]);
    wait_for(&a[3]);
    assert_int_equal(a[3].e.code, ERR_NOT_FOUND);
    assert_non_null(strstr(content(rig_path("calls")),
                           "end -u change svc\n-d change svc\nend -d change svc\n"));
}

static void test_limit_and_stop(void **state)
{
    (void)state;
    make_rc_service("svc");
    make_tool("sleep 0.2");
    static struct answer a[S6_MAX_ACTIONS + 1];
    memset(a, 0, sizeof(a));
    for (int i = 0; i < S6_MAX_ACTIONS; i++)
        assert_int_equal(s6_control_run(control, SLICE_LIT("svc"), S6_UP, on_done, &a[i], NULL), 0);
    struct err e = {0};
    assert_int_equal(
        s6_control_run(control, SLICE_LIT("svc"), S6_UP, on_done, &a[S6_MAX_ACTIONS], &e),
        ERR_BUSY);
    s6_control_free(STEAL(control));
    for (int i = 0; i < S6_MAX_ACTIONS; i++)
        assert_int_equal(a[i].e.code, ERR_CANCELLED);
}

static void test_without_memory(void **state)
{
    (void)state;
    make_rc_service("svc");
    make_tool("");
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        struct answer a = {0};
        struct err e = {0};
        mem_fail_at(at, true);
        int rc = s6_control_run(control, SLICE_LIT("svc"), S6_UP, on_done, &a, &e);
        if (rc == 0)
            wait_for(&a);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == ERR_NO_MEMORY || a.e.code == ERR_NO_MEMORY || (rc == 0 && a.e.code == 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fifo, setup, teardown),
        cmocka_unit_test_setup_teardown(test_companion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_which_tool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_s6_rc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_limit_kills_the_group, setup_brief, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_and_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
