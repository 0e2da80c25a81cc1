/* The runtime in memory does what driver.h promises, or what its rules say. */
#include "driver/fake/fake.h"

#include "base/str.h"

#include <string.h>

#include "../base/unit.h"

struct bench {
    struct clock clock;
    uint64_t now_ms;
    struct fake *f;
    struct driver d;
    unsigned done, changes, ups, downs;
    struct fault fault;
    bool failed, there;
    enum workload_actual actual;
    size_t listed;
};

static uint64_t mono(void *ctx)
{
    return ((struct bench *)ctx)->now_ms * NS_PER_MS;
}

static int64_t real(void *ctx)
{
    return (int64_t)(((struct bench *)ctx)->now_ms * NS_PER_MS) + 1;
}

static void on_changed(void *ctx, struct slice id)
{
    (void)id;
    ((struct bench *)ctx)->changes++;
}

static void on_reachable(void *ctx, bool up)
{
    struct bench *b = ctx;
    b->ups += up ? 1 : 0;
    b->downs += up ? 0 : 1;
}

static struct bench *bench(void)
{
    static struct bench b;
    static struct driver_watcher w;
    b = (struct bench){.now_ms = 1000};
    b.clock = (struct clock){mono, real, NULL, &b};
    struct fake_options o = {.clock = &b.clock, .seed = 1};
    b.f = fake_new(&o);
    assert_non_null(b.f);
    b.d = fake_driver(b.f);
    w = (struct driver_watcher){on_changed, on_reachable, &b};
    b.d.ops->watch(b.d.self, &w);
    return &b;
}

static void on_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct bench *b = ctx;
    b->done++;
    b->failed = f != NULL;
    if (f != NULL)
        b->fault = *f;
    b->there = o != NULL;
    b->actual = o != NULL ? o->actual : ACTUAL_NONE;
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    struct bench *b = ctx;
    (void)items;
    b->done++;
    b->failed = f != NULL;
    b->listed = n;
}

static void run(struct bench *b, uint64_t ms)
{
    uint64_t end = b->now_ms + ms;
    while (fake_next(b->f) <= end) {
        b->now_ms = fake_next(b->f) > b->now_ms ? fake_next(b->f) : b->now_ms;
        fake_run(b->f);
    }
    b->now_ms = end;
}

typedef int (*act_fn)(void *, const struct driver_order *, driver_done_fn, void *);

static void act(struct bench *b, act_fn fn, const char *revision)
{
    struct driver_order o = {
        .id = SLICE_LIT("web"), .revision = slice_of(revision), .node_id = SLICE_LIT("n")};
    unsigned before = b->done;
    assert_int_equal(fn(b->d.self, &o, on_done, b), 0);
    assert_int_equal(b->done, before); /* never inside the call */
    run(b, 0);
}

static void life(void **state)
{
    (void)state;
    struct bench *b = bench();
    act(b, b->d.ops->start, "1");
    assert_true(b->failed); /* there is none yet */
    act(b, b->d.ops->ensure, "1");
    assert_true(!b->failed && b->there);
    assert_int_equal(b->actual, ACTUAL_STOPPED);
    act(b, b->d.ops->ensure, "1");
    act(b, b->d.ops->start, "1");
    assert_int_equal(b->actual, ACTUAL_RUNNING);
    struct fake_object o;
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    uint64_t serial = o.serial;
    act(b, b->d.ops->ensure, "2"); /* another revision gives way */
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    assert_true(o.serial > serial && slice_eqs(o.revision, "2") && slice_eqs(o.node_id, "n"));
    act(b, b->d.ops->stop, NULL);
    act(b, b->d.ops->remove, NULL);
    assert_true(!b->failed && !b->there);
    act(b, b->d.ops->remove, NULL); /* what is so already is a success */
    assert_false(b->failed);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("web"), on_done, b), 0);
    run(b, 0);
    assert_true(!b->failed && !b->there);
    fake_free(b->f);
}

static void rules(void **state)
{
    (void)state;
    struct bench *b = bench();
    struct fake_rule slow = {.ops = FAKE_ENSURE, .least_ms = 100};
    assert_int_equal(fake_rule(b->f, &slow), 0);
    unsigned before = b->done;
    act(b, b->d.ops->ensure, "1");
    assert_int_equal(b->done, before);
    run(b, 99);
    assert_int_equal(b->done, before);
    run(b, 1);
    assert_int_equal(b->done, before + 1);
    struct fake_rule second = {.ops = FAKE_START, .nth = 2};
    (void)fault_set(&second.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "no");
    assert_int_equal(fake_rule(b->f, &second), 0);
    act(b, b->d.ops->start, "1");
    assert_false(b->failed);
    act(b, b->d.ops->start, "1");
    assert_true(b->failed);
    assert_string_equal(b->fault.e.msg, "no");
    act(b, b->d.ops->start, "1");
    assert_false(b->failed);
    /* Chance comes from the seed. */
    struct fake_rule half = {.ops = FAKE_STOP, .percent = 50, .fault = second.fault};
    assert_int_equal(fake_rule(b->f, &half), 0);
    unsigned failures = 0;
    for (int i = 0; i < 200; i++) {
        act(b, b->d.ops->stop, NULL);
        failures += b->failed ? 1 : 0;
    }
    assert_in_range(failures, 60, 140);
    fake_clear_rules(b->f);
    struct fake_rule late = {.ops = FAKE_REMOVE, .after = true, .fault = second.fault};
    assert_int_equal(fake_rule(b->f, &late), 0);
    act(b, b->d.ops->remove, NULL);
    assert_true(b->failed);
    assert_int_equal(fake_count(b->f), 0); /* done all the same */
    fake_free(b->f);
}

static void lives(void **state)
{
    (void)state;
    struct bench *b = bench();
    struct fake_life l = {.pending_ms = 50, .runs_ms = 100, .exit_code = 3};
    assert_int_equal(fake_life(b->f, &l), 0);
    act(b, b->d.ops->ensure, "1");
    act(b, b->d.ops->start, "1");
    assert_int_equal(b->actual, ACTUAL_PENDING);
    run(b, 50);
    struct fake_object o;
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    assert_int_equal(o.actual, ACTUAL_RUNNING);
    run(b, 100);
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    assert_int_equal(o.actual, ACTUAL_FAILED);
    assert_int_equal(b->changes, 2);
    /* What was planned for an earlier run does not end a later one. */
    act(b, b->d.ops->start, "1");
    run(b, 60);
    act(b, b->d.ops->stop, NULL);
    fake_clear_lives(b->f);
    act(b, b->d.ops->start, "1");
    run(b, 1000);
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    assert_int_equal(o.actual, ACTUAL_RUNNING);
    fake_free(b->f);
}

static void away(void **state)
{
    (void)state;
    struct bench *b = bench();
    act(b, b->d.ops->ensure, "1");
    act(b, b->d.ops->start, "1");
    struct fake_rule hang = {.ops = FAKE_LIST, .hang = true};
    assert_int_equal(fake_rule(b->f, &hang), 0);
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    unsigned before = b->done;
    run(b, 1000);
    assert_int_equal(b->done, before);
    fake_reach(b->f, false, true, true);
    run(b, 0);
    assert_int_equal(b->done, before + 1);
    assert_true(b->failed);
    assert_int_equal(b->downs, 1);
    act(b, b->d.ops->start, "1");
    assert_int_equal(b->fault.e.code, ERR_UNREACHABLE);
    fake_clear_rules(b->f);
    fake_reach(b->f, true, false, true);
    assert_int_equal(b->ups, 1);
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    run(b, 0);
    assert_int_equal(b->listed, 1);
    struct fake_object o;
    assert_true(fake_get(b->f, SLICE_LIT("web"), &o));
    assert_int_equal(o.actual, ACTUAL_FAILED); /* it went with its runtime */
    fake_free(b->f);
}

static void foreign_and_cancel(void **state)
{
    (void)state;
    struct bench *b = bench();
    assert_int_equal(fake_put(b->f, SLICE_LIT("web"), "1", NULL, ACTUAL_RUNNING, true), 0);
    act(b, b->d.ops->remove, NULL);
    assert_int_equal(b->fault.e.code, ERR_EXISTS);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("web"), on_done, b), 0);
    run(b, 0);
    assert_int_equal(b->fault.e.code, ERR_EXISTS);
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    run(b, 0);
    assert_int_equal(b->listed, 0);
    assert_true(fake_vanish(b->f, SLICE_LIT("web"), true));
    struct fake_rule hang = {.ops = FAKE_ENSURE, .hang = true};
    assert_int_equal(fake_rule(b->f, &hang), 0);
    act(b, b->d.ops->ensure, "1");
    unsigned before = b->done;
    b->d.ops->cancel(b->d.self, SLICE_LIT("web"));
    run(b, 0);
    assert_int_equal(b->done, before + 1);
    assert_int_equal(b->fault.e.code, ERR_CANCELLED);
    struct fake_stats s;
    fake_stats(b->f, &s);
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.acts, 0);
    /* Two acts on one id are told apart from one after the other. */
    struct driver_order o = {.id = SLICE_LIT("web")};
    assert_int_equal(b->d.ops->stop(b->d.self, &o, on_done, b), 0);
    assert_int_equal(b->d.ops->stop(b->d.self, &o, on_done, b), 0);
    fake_stats(b->f, &s);
    assert_int_equal(s.overlaps, 1);
    fake_free(b->f); /* with calls under way */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life),
        cmocka_unit_test(rules),
        cmocka_unit_test(lives),
        cmocka_unit_test(away),
        cmocka_unit_test(foreign_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
