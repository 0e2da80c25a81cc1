/* Followers and events on a real loop and real inotify. */
#include "s6_rig.h"

#include "base/clock.h"
#include "s6/events.h"
#include "s6/follow.h"

static struct loop *loop;
static struct s6_watcher *watcher;

static int setup(void **state)
{
    if (rig_setup(state) != 0)
        return 1;
    rig_mkdir(rig_path("log"));
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    assert_int_equal(s6_watcher_new(&watcher, loop, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    s6_watcher_free(watcher);
    while (loop_run_once(loop, true))
        ;
    loop_free(loop);
    return rig_teardown(state);
}

static uint64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

/* What a viewer has heard. */
struct viewer {
    struct s6_follower *f;
    struct buf text;
    unsigned gaps, wakes;
    int failure;
    bool leave; /* frees itself in its next wake */
};

static void on_wake(void *ctx)
{
    struct viewer *v = ctx;
    v->wakes++;
    for (int rc; (rc = s6_follower_next(v->f, &v->text, NULL)) != S6_READ_NOTHING;) {
        if (rc < 0) {
            v->failure = rc;
            break;
        }
        v->gaps += rc == S6_READ_GAP;
    }
    if (v->leave)
        s6_follower_free(STEAL(v->f));
}

static void viewer_open(struct viewer *v, struct s6_follow *f, const char *name, int64_t tail)
{
    struct s6_follow_from from = {.value = tail};
    *v = (struct viewer){.text = BUF_INIT(1u << 24)};
    assert_int_equal(s6_follower_new(&v->f, f, slice_of(name), &from, on_wake, v, NULL), 0);
    on_wake(v);
}

static void viewer_close(struct viewer *v)
{
    s6_follower_free(STEAL(v->f));
    buf_done(&v->text);
}

/* Runs until the viewer has exactly this text; fails after 30 s. Returns the time it took. */
static uint64_t expect_text(struct viewer *v, const char *want)
{
    uint64_t start = now_ms();
    while (strcmp(v->text.data ? v->text.data : "", want) != 0 && now_ms() - start < 30000)
        (void)loop_run_once(loop, true);
    assert_string_equal(v->text.data ? v->text.data : "", want);
    return now_ms() - start;
}

static struct s6_follow *follow_new(void)
{
    struct s6_follow *f = NULL;
    assert_int_equal(s6_follow_new(&f, loop, watcher, rig_path("log"), NULL, NULL), 0);
    return f;
}

/* One more line, perhaps in a new file: whether it came no sooner than with the look once a second.
 * A busy machine may be the reason, but not ten times in all. */
static bool comes_late(struct viewer *a, struct viewer *b, const char *line, bool rotate)
{
    static int files, late;
    buf_clear(&a->text);
    if (b != NULL)
        buf_clear(&b->text);
    if (rotate) {
        assert_int_equal(rename(rig_path("log/svc/current"),
                                rig_path("log/svc/@40000000650000000000%04d.s", ++files)),
                         0);
        rig_write(rig_path("log/svc/current"), line);
    } else {
        rig_append(rig_path("log/svc/current"), line);
    }
    bool is_late = expect_text(a, line) >= 500;
    if (b != NULL)
        expect_text(b, line);
    late += is_late;
    assert_true(late < 10);
    return is_late;
}

static void test_lines_come_at_once(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    struct viewer a, b;
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "one\ntwo\n");
    viewer_open(&a, f, "svc", 1);
    viewer_open(&b, f, "svc", 0);
    expect_text(&a, "two\n");
    while (comes_late(&a, &b, "three\n", false))
        ;
    while (comes_late(&a, &b, "four\n", true))
        ;
    viewer_close(&a); /* the other goes on */
    while (comes_late(&b, NULL, "five\n", false))
        ;
    viewer_close(&b);
    assert_int_equal(s6_follow_count(f), 0);
    s6_follow_free(f);
}

static void test_unfinished_line(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    struct viewer a;
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "");
    viewer_open(&a, f, "svc", 10);
    rig_append(rig_path("log/svc/current"), "prompt> ");
    assert_true(expect_text(&a, "prompt> ") >= 900);
    rig_append(rig_path("log/svc/current"), "yes\n");
    expect_text(&a, "prompt> yes\n");
    while (comes_late(&a, NULL, "more\n", false))
        ;
    viewer_close(&a);
    s6_follow_free(f);
}

static void test_log_comes_later(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    struct viewer a;
    viewer_open(&a, f, "svc", 10);
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "first\n");
    expect_text(&a, "first\n");
    /* The folder goes and comes again. */
    assert_int_equal(unlink(rig_path("log/svc/current")), 0);
    assert_int_equal(rmdir(rig_path("log/svc")), 0);
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "second\n");
    expect_text(&a, "first\nsecond\n");
    rig_append(rig_path("log/svc/current"), "third\n");
    expect_text(&a, "first\nsecond\nthird\n");
    viewer_close(&a);
    s6_follow_free(f);
}

static void test_clear(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    struct viewer a;
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "one\n");
    viewer_open(&a, f, "svc", 10);
    for (int i = 0; i < 3; i++) { /* the same bytes again, so that only being told helps */
        rig_append(rig_path("log/svc/current"), i ? "" : "half");
        assert_int_equal(s6_follow_clear_log(f, SLICE_LIT("svc"), NULL), 0);
        rig_append(rig_path("log/svc/current"), "one\n");
    }
    expect_text(&a, "one\nhalfone\none\none\n");
    for (int i = 0; i < 3; i++) {
        (void)loop_run_once(loop, true);
        assert_int_equal(s6_follow_clear_log(f, SLICE_LIT("svc"), NULL), 0);
        rig_append(rig_path("log/svc/current"), "one\n");
    }
    expect_text(&a, "one\nhalfone\none\none\none\none\none\n");
    struct err e = {0};
    assert_int_equal(s6_follow_clear_log(f, SLICE_LIT("none"), &e), ERR_NOT_FOUND);
    rig_mkdir(rig_path("log/dir"));
    rig_mkdir(rig_path("log/dir/current"));
    assert_true(s6_follow_clear_log(f, SLICE_LIT("dir"), &e) < 0);
    viewer_close(&a);
    s6_follow_free(f);
}

static void test_leaving_inside_a_wake(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    struct viewer v[4];
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "");
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        viewer_open(&v[i], f, "svc", 0);
    v[1].leave = v[3].leave = true;
    rig_append(rig_path("log/svc/current"), "x\n");
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        expect_text(&v[i], "x\n");
    assert_int_equal(s6_follow_count(f), 2);
    v[0].leave = v[2].leave = true;
    rig_append(rig_path("log/svc/current"), "y\n");
    expect_text(&v[2], "x\ny\n");
    while (s6_follow_count(f) > 0)
        (void)loop_run_once(loop, true);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        viewer_close(&v[i]);
    s6_follow_free(f);
}

static void test_limit_and_links(void **state)
{
    (void)state;
    struct s6_follow *f = follow_new();
    static struct viewer v[S6_MAX_FOLLOWERS];
    struct s6_follow_from from = {.value = 1};
    struct s6_follower *one = NULL;
    struct err e = {0};
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        viewer_open(&v[i], f, i % 2 ? "a" : "b", 0);
    assert_int_equal(s6_follower_new(&one, f, SLICE_LIT("a"), &from, on_wake, NULL, &e), ERR_BUSY);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        viewer_close(&v[i]);
    assert_int_equal(symlink("/etc", rig_path("log/out")), 0);
    assert_int_equal(s6_follower_new(&one, f, SLICE_LIT("out"), &from, on_wake, NULL, &e),
                     ERR_DENIED);
    s6_follow_free(f);
}

static void test_follow_without_memory(void **state)
{
    (void)state;
    rig_mkdir(rig_path("log/svc"));
    rig_write(rig_path("log/svc/current"), "one\n");
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        struct s6_follow *f = NULL;
        struct viewer v = {.text = BUF_INIT(1u << 20)};
        struct s6_follow_from from = {.value = 1};
        mem_fail_at(at, true);
        int rc = s6_follow_new(&f, loop, watcher, rig_path("log"), NULL, NULL);
        if (rc == 0)
            rc = s6_follower_new(&v.f, f, SLICE_LIT("svc"), &from, on_wake, &v, NULL);
        if (rc == 0)
            on_wake(&v);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (rc == 0) { /* perhaps without a watch: then it is looked at once a second */
            buf_clear(&v.text);
            on_wake(&v);
            rig_append(rig_path("log/svc/current"), "more\n");
            uint64_t start = now_ms();
            while ((v.text.len < 5 || strstr(v.text.data, "more\n") == NULL) &&
                   now_ms() - start < 30000)
                (void)loop_run_once(loop, true);
            assert_true(v.text.len >= 5);
        }
        viewer_close(&v);
        s6_follow_free(f);
        rig_write(rig_path("log/svc/current"), "one\n");
    }
}

/* ---- events ---- */

struct ear {
    struct s6_listener l;
    struct buf heard; /* "name up 5;" or "name gone;" */
};

static void on_changed(void *ctx, struct slice name, const struct s6_status *st)
{
    struct ear *e = ctx;
    if (st == NULL)
        (void)buf_addf(&e->heard, "%.*s gone;", (int)name.len, name.p);
    else
        (void)buf_addf(&e->heard, "%.*s %s %d;", (int)name.len, name.p,
                       s6_status_up(st) ? "up" : "down", (int)st->pid);
}

static void ear_init(struct ear *e)
{
    *e = (struct ear){.heard = BUF_INIT(1u << 20), .l = {.changed = on_changed, .ctx = e}};
    list_init(&e->l.link);
}

/* Returns the time it took. */
static uint64_t expect_heard(struct ear *e, const char *want, uint64_t within_ms)
{
    uint64_t start = now_ms();
    while (strcmp(e->heard.data ? e->heard.data : "", want) != 0 && now_ms() - start < within_ms)
        (void)loop_run_once(loop, true);
    assert_string_equal(e->heard.data ? e->heard.data : "", want);
    buf_clear(&e->heard);
    (void)buf_adds(&e->heard, "");
    return now_ms() - start;
}

static void put_status(const char *name, int pid)
{
    uint8_t b[43];
    rig_put_status(rig_path("scan/%s", name), b,
                   rig_status(b, 1800000000, (uint32_t)pid, 1800000000, pid, 0, 0, 4));
}

/* Another process of a service is heard of at once; a busy machine may need some tries. */
static void expect_soon(struct ear *e, const char *name, int pid)
{
    char want[40];
    uint64_t took = 1000;
    for (int i = 0; i < 10 && took >= 900; i++) {
        put_status(name, pid + i);
        (void)snprintf(want, sizeof(want), "%s up %d;", name, pid + i);
        took = expect_heard(e, want, 30000);
    }
    assert_true(took < 900);
}

static void test_events(void **state)
{
    (void)state;
    struct s6_events *v = NULL;
    struct ear a, b;
    rig_mkdir(rig_path("scan"));
    pid_t one = rig_supervise(rig_path("scan/one"));
    put_status("one", 5);
    assert_int_equal(s6_events_new(&v, loop, watcher, &PLACE(rig_path("scan")), NULL), 0);
    ear_init(&a);
    ear_init(&b);
    assert_int_equal(s6_events_add(v, &a.l, NULL), 0);
    expect_heard(&a, "one up 5;", 0);
    expect_soon(&a, "one", 20);
    put_status("one", 6);
    expect_heard(&a, "one up 6;", 30000);
    assert_int_equal(s6_events_add(v, &b.l, NULL), 0);
    expect_heard(&b, "one up 6;", 0);
    put_status("one", 0);
    expect_heard(&a, "one down 0;", 30000);
    expect_heard(&b, "one down 0;", 30000);
    s6_events_remove(v, &b.l);
    pid_t two = rig_supervise(rig_path("scan/two")); /* a new service */
    put_status("two", 9);
    expect_heard(&a, "two up 9;", 30000);
    expect_soon(&a, "two", 10);
    rig_write(rig_path("scan/one/down"), ""); /* tells nobody: the full look finds it */
    expect_heard(&a, "one down 0;", 30000);
    rig_unsupervise(one);
    expect_heard(&a, "one gone;", 30000);
    assert_int_equal(rename(rig_path("scan/two"), rig_path("two")), 0);
    expect_heard(&a, "two gone;", 30000);
    s6_events_remove(v, &a.l);
    s6_events_remove(v, &a.l);
    rig_unsupervise(two);
    buf_done(&a.heard);
    buf_done(&b.heard);
    s6_events_free(v);
}

static void test_events_without_memory(void **state)
{
    (void)state;
    rig_mkdir(rig_path("scan"));
    pid_t one = rig_supervise(rig_path("scan/one"));
    put_status("one", 5);
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        struct s6_events *v = NULL;
        struct ear a;
        ear_init(&a);
        (void)buf_reserve(&a.heard, 1000);
        mem_fail_at(at, true);
        int rc = s6_events_new(&v, loop, watcher, &PLACE(rig_path("scan")), NULL);
        if (rc == 0)
            rc = s6_events_add(v, &a.l, NULL);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (rc == 0)
            expect_heard(&a, "one up 5;", 0);
        s6_events_remove(v, &a.l);
        s6_events_free(v);
        buf_done(&a.heard);
    }
    rig_unsupervise(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_come_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unfinished_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_comes_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_inside_a_wake, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_and_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
