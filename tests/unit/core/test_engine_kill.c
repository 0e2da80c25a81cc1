/* What was accepted outlives a kill -9 in the middle of it, and is done once. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

#define S 1000u
#define LOCKED "container: {image: a}\nlock_file: /run/lock/web\n"

static struct rig *open_rig(void)
{
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    return &r;
}

static void slow(struct rig *r, unsigned ops, uint64_t ms)
{
    struct fake_rule late = {.ops = ops, .least_ms = ms, .times = 1};
    assert_int_equal(fake_rule(r->fake, &late), 0);
}

static void refuse_next(struct rig *r)
{
    struct fake_rule no = {.ops = FAKE_ENSURE | FAKE_PREPARE, .times = 1};
    (void)fault_set(&no.fault, FAULT_INVALID_IMAGE, ERR_INVALID, "no such image");
    assert_int_equal(fake_rule(r->fake, &no), 0);
}

static struct answer restart(struct rig *r, bool force)
{
    struct answer a = {0};
    engine_restart(r->g, SLICE_LIT("web"), "x", force, on_answer, &a);
    rig_settle(r);
    return a;
}

/* Killed, and nobody is there for a while. */
static void killed_for(struct rig *r, uint64_t ms)
{
    rig_kill(r);
    r->wake_ms = UINT64_MAX;
    rig_pass(r, ms);
}

static unsigned flags(struct rig *r)
{
    return mem_store_get(&r->store, "web")->flags;
}

#define STARTS(r) rig_object((r), "web").starts

static void assert_restarted(struct rig *r, unsigned starts)
{
    assert_int_equal(STARTS(r), starts);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(flags(r) & STORED_RESTART, 0);
    assert_false(rig_view(r, "web").restart);
    uint64_t commits = r->store.commits;
    rig_pass(r, 600 * S);
    assert_int_equal(STARTS(r), starts);
    assert_int_equal(r->store.commits, commits);
}

/* Before it began; between the stop and the start; before it was written down that it is done. */
static void restart_is_done_once(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_pass(r, 100 * S);
    rig_lock(r, "/run/lock/web", true);
    assert_int_equal(restart(r, false).verdict, ENGINE_ACCEPTED);
    assert_int_equal(flags(r) & STORED_RESTART, STORED_RESTART);
    assert_true(rig_view(r, "web").restart);
    for (int i = 0; i < 3; i++) {
        killed_for(r, 5 * S);
        rig_open(r);
        rig_pass(r, 5 * S);
        assert_int_equal(STARTS(r), 1);
        assert_string_equal(rig_view(r, "web").waits_for, "lock file \"/run/lock/web\" to go");
    }
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 1 * S);
    assert_restarted(r, 2);
    /* After the stop. */
    slow(r, FAKE_START, 3600 * S);
    (void)restart(r, false);
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_STOPPED);
    rig_kill(r);
    fake_abandon(r->fake, 0, 100);
    rig_open(r);
    rig_pass(r, 1 * S);
    assert_restarted(r, 3);
    /* The start goes on, and nobody is there to hear of it. */
    slow(r, FAKE_START, 20 * S);
    (void)restart(r, false);
    killed_for(r, 30 * S);
    assert_int_equal(STARTS(r), 4);
    rig_open(r);
    rig_pass(r, 1 * S);
    assert_restarted(r, 4);
    /* It is done, and the commit that says so does not come about. */
    rig_pass(r, 1);
    (void)restart(r, false);
    assert_restarted(r, 5);
    struct stored_workload row = *mem_store_get(&r->store, "web");
    rig_pass(r, 1);
    slow(r, FAKE_START, 1);
    struct answer a = {0};
    engine_restart(r->g, SLICE_LIT("web"), "x", false, on_answer, &a);
    rig_settle(r);
    r->store.held = true;
    rig_pass(r, 1 * S);
    assert_int_equal(STARTS(r), 6);
    assert_true(mem_store_get(&r->store, "web")->updated_ns > row.updated_ns);
    assert_int_equal(flags(r) & STORED_RESTART, STORED_RESTART);
    rig_kill(r);
    r->store.held = false;
    rig_open(r);
    rig_pass(r, 1 * S);
    assert_restarted(r, 6);
    rig_done(r);
}

/* What is asked for meanwhile keeps it, or makes it moot. */
static void restart_and_others(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a = {0};
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_pass(r, 1 * S);
    rig_lock(r, "/run/lock/web", true);
    (void)restart(r, false);
    int64_t asked = mem_store_get(&r->store, "web")->updated_ns;
    rig_pass(r, 1 * S);
    engine_retry_now(r->g, SLICE_LIT("web"), "x", on_answer, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(flags(r) & STORED_RESTART, STORED_RESTART);
    assert_int_equal(mem_store_get(&r->store, "web")->updated_ns, asked);
    rig_kill(r);
    rig_open(r);
    rig_pass(r, 1 * S);
    engine_force(r->g, SLICE_LIT("web"), "x", on_answer, &a);
    rig_pass(r, 1 * S);
    assert_restarted(r, 2);
    assert_int_equal(flags(r) & STORED_FORCED, 0);
    /* Stopped and started again: that was what it was for. */
    (void)restart(r, false);
    (void)rig_stop(r, "web", "1", LOCKED);
    assert_int_equal(flags(r) & STORED_RESTART, 0);
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_restarted(r, 2);
    /* Another document is another object. */
    rig_lock(r, "/run/lock/web", true);
    (void)restart(r, false);
    (void)rig_apply(r, "web", "2", LOCKED);
    assert_int_equal(flags(r) & STORED_RESTART, 0);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_restarted(r, 1);
    /* Somebody was quicker. */
    rig_lock(r, "/run/lock/web", true);
    (void)restart(r, false);
    assert_true(fake_crash(r->fake, SLICE_LIT("web"), 0, true));
    rig_pass(r, 5 * S);
    assert_int_equal(STARTS(r), 2);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_restarted(r, 2);
    rig_lock(r, "/run/lock/web", true);
    (void)restart(r, false);
    (void)rig_delete(r, "web", false);
    assert_int_equal(flags(r) & STORED_RESTART, 0);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

/* The clock is set back: what runs was started in the future. */
static void restart_and_clock(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_pass(r, 1 * S);
    r->wall_shift_ns = -3600 * (int64_t)NS_PER_S;
    rig_lock(r, "/run/lock/web", true);
    (void)restart(r, false);
    rig_kill(r);
    rig_open(r);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_restarted(r, 2);
    rig_done(r);
}

/* Only what is asked for is done, but that is. */
static void restart_without_reconcile(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.reconcile = false;
    rig_open(&r);
    (void)rig_apply(&r, "web", "1", NULL);
    rig_pass(&r, 1 * S);
    slow(&r, FAKE_STOP, 3600 * S);
    (void)restart(&r, false);
    rig_kill(&r);
    fake_abandon(r.fake, 0, 100);
    rig_open(&r);
    rig_pass(&r, 1 * S);
    assert_restarted(&r, 2);
    rig_done(&r);
}

/* ---- a creation that lands late */

static void assert_waits_late(struct rig *r)
{
    assert_true(rig_view(r, "web").deleting);
    assert_string_equal(rig_view(r, "web").waits_for,
                        "a creation that was cut off to come about or not");
}

/* Killed in the middle of a creation; the workload is deleted before that lands. */
static void late_creation(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    slow(r, FAKE_ENSURE, 8 * S);
    (void)rig_apply(r, "web", "1", NULL);
    rig_kill(r);
    refuse_next(r); /* what the next engine asks for */
    rig_open(r);
    struct answer a = rig_delete(r, "web", false);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_pass(r, 5 * S);
    assert_waits_late(r);
    rig_kill(r);
    rig_open(r);
    rig_pass(r, 2 * S);
    assert_int_equal(fake_count(r->fake), 0);
    assert_waits_late(r);
    rig_pass(r, 9 * S);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    rig_pass(r, 60 * S);
    assert_int_equal(fake_count(r->fake), 0);
    assert_int_equal(rig_calls(r).removed, 1);
    rig_done(r);
}

/* It never lands: forgotten when the time is over, and not before. */
static void lost_creation(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse_next(r);
    (void)rig_apply(r, "web", "1", NULL);
    rig_kill(r);
    rig_open(r);
    assert_true(rig_view(r, "web").terminal);
    (void)rig_delete(r, "web", false);
    assert_waits_late(r);
    rig_pass(r, 9 * S);
    assert_waits_late(r);
    uint64_t looks = rig_calls(r).calls[4];
    rig_pass(r, 2 * S);
    assert_int_equal(rig_calls(r).calls[4], looks + 1); /* once more */
    assert_false(rig_has(r, "web"));
    /* Long after the start nobody is kept waiting. */
    (void)rig_apply(r, "web", "1", NULL);
    refuse_next(r);
    (void)rig_apply(r, "web", "2", NULL);
    rig_close(r);
    rig_open(r);
    rig_pass(r, 60 * S);
    (void)rig_delete(r, "web", false);
    rig_pass(r, 1);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

/* A runtime that went away meanwhile has done nothing meanwhile: the time begins again. */
static void late_and_unreachable(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse_next(r);
    (void)rig_apply(r, "web", "1", NULL);
    rig_kill(r);
    rig_open(r);
    (void)rig_delete(r, "web", false);
    rig_pass(r, 5 * S);
    fake_reach(r->fake, false, false, true);
    rig_pass(r, 60 * S);
    assert_true(rig_has(r, "web"));
    fake_reach(r->fake, true, false, true);
    rig_pass(r, 9 * S);
    assert_waits_late(r);
    rig_pass(r, 2 * S);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

/* The runtime has not said what became of it: in one life of ours, too. */
static void creation_without_answer(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_rule no = {.ops = FAKE_ENSURE, .times = 1};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_TIMEOUT, "no answer");
    assert_int_equal(fake_rule(r->fake, &no), 0);
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(rig_view(r, "web").attempts, 1);
    (void)rig_delete(r, "web", false);
    assert_waits_late(r);
    /* And there it is. */
    assert_int_equal(fake_put(r->fake, SLICE_LIT("web"), "1", "node-1", ACTUAL_STOPPED, false), 0);
    rig_pass(r, 11 * S);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    /* One that has said so is believed. */
    refuse_next(r);
    (void)rig_apply(r, "web", "1", NULL);
    assert_true(rig_view(r, "web").terminal);
    (void)rig_delete(r, "web", false);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restart_is_done_once), cmocka_unit_test(restart_and_others),
        cmocka_unit_test(restart_and_clock),    cmocka_unit_test(restart_without_reconcile),
        cmocka_unit_test(late_creation),        cmocka_unit_test(lost_creation),
        cmocka_unit_test(late_and_unreachable), cmocka_unit_test(creation_without_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
