/* Failures, back-off and giving up; admission; exits. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

#define S 1000u

static struct rig *open_rig(void)
{
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    return &r;
}

static void refuse(struct rig *r, unsigned ops, enum fault_reason why, int code, uint64_t times,
                   const char *text)
{
    struct fake_rule no = {.ops = ops, .times = times};
    (void)fault_set(&no.fault, why, code, "%s", text);
    assert_int_equal(fake_rule(r->fake, &no), 0);
}

/* 5, 10, 20 s, and the fourth failure is the last. */
static void transient(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse(r, FAKE_ENSURE, FAULT_IMAGE_PULL_TIMEOUT, ERR_TIMEOUT, 0, "no answer from the registry");
    struct answer a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_string_equal(v.message, "create failed: no answer from the registry");
    assert_int_equal(v.reason, FAULT_IMAGE_PULL_TIMEOUT);
    assert_int_equal(v.attempts, 1);
    assert_int_equal(v.next_try_ns, rig_view(r, "web").last_failure_ns + 5 * (int64_t)NS_PER_S);
    assert_string_equal(v.waits_for, "the time of the next try");
    struct task t;
    task_get(task_newest(r->tasks, SLICE_LIT("web")), &t);
    assert_int_equal(t.status, TASK_FAILED);
    assert_string_equal(t.error,
                        "failed to apply workload web: [CREATE_FAILED] Failed to create "
                        "workload in runtime (workload: web): no answer from the registry");
    rig_pass(r, 4999);
    assert_int_equal(rig_calls(r).calls[0], 1);
    rig_pass(r, 1);
    assert_int_equal(rig_calls(r).calls[0], 2);
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 2);
    rig_pass(r, 9999);
    assert_int_equal(rig_calls(r).calls[0], 2);
    rig_pass(r, 1);
    assert_int_equal(rig_calls(r).calls[0], 3);
    rig_pass(r, 20 * S);
    v = rig_view(r, "web");
    assert_int_equal(rig_calls(r).calls[0], 4);
    assert_int_equal(v.attempts, 4);
    assert_true(v.terminal);
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_int_equal(v.next_try_ns, 0);
    assert_string_equal(rig_meta(r, "web", "retry_terminal"), "true");
    assert_string_equal(rig_meta(r, "web", "retry_attempts"), "4");
    assert_string_equal(rig_meta(r, "web", "failure_reason"), "IMAGE_PULL_TIMEOUT");
    assert_string_equal(rig_meta(r, "web", "retry_terminal_reason"),
                        "create failed: no answer from the registry");
    assert_true(rig_event(r, "web", "given-up"));
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_calls(r).calls[0], 4);
    /* It stays given up through a restart of ours. */
    rig_close(r);
    rig_open(r);
    rig_pass(r, 600 * S);
    assert_true(rig_view(r, "web").terminal);
    assert_int_equal(rig_calls(r).calls[0], 4);
    assert_string_equal(rig_view(r, "web").failure, "create failed: no answer from the registry");
    /* The same revision again is a new beginning (3.2, B2). */
    fake_clear_rules(r->fake);
    a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 0);
    assert_int_equal(mem_store_get(&r->store, "web")->flags & STORED_TERMINAL, 0);
    assert_string_equal(rig_meta(r, "web", "retry_terminal"), "false");
    assert_string_equal(rig_meta(r, "web", "failure_reason"), "");
    rig_done(r);
}

static void jitter_is_added(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.retry.jitter_percent = 10;
    rig_open(&r);
    refuse(&r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 0, "no");
    int64_t seen = 0;
    for (int i = 0; i < 10; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "w%d", i);
        (void)rig_apply(&r, id, "1", NULL);
        int64_t wait = rig_view(&r, id).next_try_ns - rig_view(&r, id).last_failure_ns;
        assert_in_range(wait, 5 * NS_PER_S, 5500 * NS_PER_MS);
        seen |= wait != 5 * (int64_t)NS_PER_S ? 1 << i : 0;
    }
    assert_true(seen != 0);
    rig_done(&r);
}

static void permanent_and_held(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse(r, FAKE_ENSURE, FAULT_INVALID_IMAGE, ERR_INVALID, 1, "no such image");
    (void)rig_apply(r, "web", "1", NULL);
    assert_true(rig_view(r, "web").terminal);
    assert_int_equal(rig_view(r, "web").attempts, 1);
    struct answer a = {0};
    engine_retry_now(r->g, SLICE_LIT("web"), "x", on_answer, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_RUNNING);
    refuse(r, FAKE_ENSURE, FAULT_IMAGE_PULL_AUTH_FAILED, ERR_DENIED, 6, "who are you");
    (void)rig_apply(r, "db", "1", NULL);
    assert_false(rig_view(r, "db").terminal);
    rig_pass(r, 119 * S);
    assert_int_equal(rig_view(r, "db").attempts, 1);
    rig_pass(r, 1 * S);
    assert_int_equal(rig_view(r, "db").attempts, 2);
    rig_pass(r, 600 * S); /* without an end */
    assert_state(r, "db", ACTUAL_RUNNING);
    rig_done(r);
}

static void not_counted(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse(r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_BUSY, 20, "later");
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    assert_state(r, "web", ACTUAL_PENDING);
    rig_pass(r, 30 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_done(r);
}

/* A process that ends badly: 5, 10, 20 s, then given up; the runtime's word for it is kept. */
static void crash_loop(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life dies = {.runs_ms = 100, .exit_code = 3};
    assert_int_equal(fake_life(r->fake, &dies), 0);
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 200);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_int_equal(v.cause, STOP_CRASH);
    assert_int_equal(v.attempts, 1);
    assert_string_equal(v.message, "crashed: exited with code 3");
    assert_int_equal(v.exit_code, 3);
    rig_pass(r, 5 * S);
    assert_int_equal(rig_view(r, "web").attempts, 2);
    rig_pass(r, 10200);
    assert_int_equal(rig_view(r, "web").attempts, 3);
    rig_pass(r, 20200);
    assert_int_equal(rig_view(r, "web").attempts, 4);
    assert_true(rig_view(r, "web").terminal);
    assert_int_equal(rig_object(r, "web").starts, 4);
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_object(r, "web").starts, 4);
    rig_done(r);
}

/* Running for long enough, failures are forgotten; written down once. */
static void steady(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life dies = {.runs_ms = 100, .exit_code = 1, .times = 2};
    assert_int_equal(fake_life(r->fake, &dies), 0);
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 17 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_view(r, "web").attempts, 2);
    assert_string_equal(rig_meta(r, "web", "failure_reason"), ""); /* it runs */
    rig_pass(r, 50 * S);
    assert_int_equal(rig_view(r, "web").attempts, 2);
    rig_pass(r, 15 * S);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 0);
    uint64_t commits = r->store.commits;
    rig_pass(r, 600 * S);
    assert_int_equal(r->store.commits, commits);
    rig_done(r);
}

/* Ends well, is wanted running: started again, ever more slowly, without being a failure. */
static void ends_well(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life once = {.runs_ms = 100, .exit_code = 0};
    assert_int_equal(fake_life(r->fake, &once), 0);
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 1 * S);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_int_equal(rig_object(r, "web").starts, 1);
    rig_pass(r, 5 * S);
    assert_int_equal(rig_object(r, "web").starts, 2);
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    assert_in_range(rig_object(r, "web").starts, 25, 40); /* every two minutes in the end */
    fake_clear_lives(r->fake);
    struct fake_life longer = {.runs_ms = 100 * S, .exit_code = 0};
    assert_int_equal(fake_life(r->fake, &longer), 0);
    rig_pass(r, 121 * S);
    uint32_t starts = rig_object(r, "web").starts;
    rig_pass(r, 1000 * S);
    assert_in_range(rig_object(r, "web").starts - starts, 9, 11); /* at once */
    rig_done(r);
}

static void start_fails(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse(r, FAKE_START, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 1, "no such device");
    (void)rig_apply(r, "web", "1", NULL);
    assert_string_equal(rig_view(r, "web").message, "start failed: no such device");
    uint64_t serial = rig_object(r, "web").serial;
    rig_pass(r, 5 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_object(r, "web").serial > serial); /* made anew */
    rig_done(r);
}

static void stop_fails(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    refuse(r, FAKE_STOP, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 2, "it will not go");
    (void)rig_stop(r, "web", "1", NULL);
    assert_string_equal(rig_view(r, "web").failure, "stop failed: it will not go");
    rig_pass(r, 20 * S);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 0);
    rig_done(r);
}

/* Stopping what was given up clears it; what is wanted is never changed by what is seen. */
static void stopped_clears(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life dies = {.runs_ms = 10, .exit_code = 1};
    assert_int_equal(fake_life(r->fake, &dies), 0);
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 60 * S);
    assert_true(rig_view(r, "web").terminal);
    assert_int_equal(rig_view(r, "web").desired, DESIRED_RUNNING);
    assert_int_equal(mem_store_get(&r->store, "web")->desired, DESIRED_RUNNING);
    (void)rig_stop(r, "web", "1", NULL);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_STOPPED);
    assert_false(v.terminal);
    assert_string_equal(v.message, "stopped (previous runtime error: exited with code 1)");
    rig_done(r);
}

/* Room is asked for what is to be made, never for what runs (3.2 (2), 12.12). */
static void admission(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "old", "1", NULL);
    r->usage.memory_percent = 85;
    (void)rig_apply(r, "web", "1", NULL);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_int_equal(v.reason, FAULT_RESOURCE_QUOTA_EXCEEDED);
    assert_string_equal(v.message,
                        "admission rejected due to resource constraints: [memory 85.0% > 80%]");
    assert_non_null(rig_meta(r, "web", "resource_issues"));
    assert_non_null(mem_store_get(&r->store, "web")); /* it is kept */
    assert_int_equal(rig_calls(r).calls[0], 1);
    (void)rig_apply(r, "old", "2", "container: {image: b}"); /* an update of what runs */
    assert_state(r, "old", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "old").revision, "2"));
    r->usage.memory_percent = 20;
    rig_pass(r, 121 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    (void)rig_apply(r, "big", "1", "container: {image: a, resources: {memory_bytes: 5G}}");
    assert_int_equal(rig_view(r, "big").reason, FAULT_INSUFFICIENT_RESOURCES);
    /* What runs already and is only not known yet is not refused. */
    r->usage.cpu_percent = 99;
    assert_int_equal(fake_put(r->fake, SLICE_LIT("found"), "1", NULL, ACTUAL_RUNNING, false), 0);
    (void)rig_apply(r, "found", "1", NULL);
    assert_state(r, "found", ACTUAL_RUNNING);
    rig_done(r);
}

/* What runs for long and cannot be stopped is not steady: its tries count. */
static void stops_that_fail(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    (void)rig_apply(r, "old", "1", NULL);
    (void)rig_apply(r, "db", "1", NULL);
    rig_pass(r, 600 * S);
    refuse(r, FAKE_STOP | FAKE_REMOVE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 0, "it will not end");
    (void)rig_stop(r, "web", "1", NULL);
    struct answer a = {0};
    engine_restart(r->g, SLICE_LIT("db"), "tester", false, on_answer, &a);
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_calls(r).calls[2], 8); /* four each, as for any other act */
    assert_true(rig_view(r, "web").terminal);
    assert_true(rig_view(r, "db").terminal);
    (void)rig_delete(r, "old", false);
    rig_pass(r, 600 * S);
    assert_in_range(rig_calls(r).calls[3], 6, 10);
    assert_true(rig_view(r, "old").attempts > 5);
    rig_done(r);
}

static void missing_is_made_again(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    assert_true(fake_vanish(r->fake, SLICE_LIT("web"), true));
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r->fake), 1);
    /* Nobody says a word: the next pass sees it. And with back-off, if it cannot be made. */
    assert_true(fake_vanish(r->fake, SLICE_LIT("web"), false));
    refuse(r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 0, "no");
    uint64_t calls = rig_calls(r).calls[0];
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_calls(r).calls[0] - calls, 4);
    assert_true(rig_view(r, "web").terminal);
    rig_done(r);
}

/* A clock that is set back must not count one crash for many, nor put a try off for ever. */
static void clock_jumps(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 100 * S);
    assert_true(fake_crash(r->fake, SLICE_LIT("web"), 1, false));
    r->wall_shift_ns = -3600 * (int64_t)NS_PER_S;
    rig_pass(r, 31 * S);
    assert_int_equal(rig_view(r, "web").attempts, 1);
    rig_pass(r, 10 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    /* Accepted by a clock that was an hour ahead: crashes count all the same. */
    r->wall_shift_ns = 3600 * (int64_t)NS_PER_S;
    struct fake_life dies = {.id = "far", .runs_ms = 10, .exit_code = 1};
    assert_int_equal(fake_life(r->fake, &dies), 0);
    (void)rig_apply(r, "far", "1", NULL);
    r->wall_shift_ns = 0;
    rig_pass(r, 60 * S);
    assert_int_equal(rig_object(r, "far").starts, 4);
    assert_true(rig_view(r, "far").terminal);
    refuse(r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, 1, "no");
    (void)rig_apply(r, "db", "1", NULL);
    rig_close(r);
    r->wall_shift_ns = -30 * 86400 * (int64_t)NS_PER_S;
    rig_open(r);
    rig_pass(r, 300 * S);
    assert_state(r, "db", ACTUAL_RUNNING);
    rig_done(r);
}

static void tries_not_written(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    refuse(r, FAKE_ENSURE, FAULT_INVALID_IMAGE, ERR_INVALID, 1, "no such image");
    r->store.fail_at = 2;
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 0);
    rig_pass(r, 31 * S); /* the next pass writes them */
    assert_int_equal(mem_store_get(&r->store, "web")->attempts, 1);
    assert_int_equal(mem_store_get(&r->store, "web")->flags & STORED_TERMINAL, STORED_TERMINAL);
    rig_done(r);
}

/* Contract 9.1: without reconcile, what is asked for is done once, and no more. */
static void without_reconcile(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.reconcile = false;
    rig_open(&r);
    (void)rig_apply(&r, "web", "1", NULL);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_true(fake_crash(r.fake, SLICE_LIT("web"), 1, true));
    rig_pass(&r, 600 * S);
    assert_state(&r, "web", ACTUAL_FAILED);
    assert_int_equal(rig_object(&r, "web").starts, 1);
    (void)rig_apply(&r, "web", "1", NULL);
    assert_state(&r, "web", ACTUAL_RUNNING);
    (void)rig_delete(&r, "web", false);
    assert_false(rig_has(&r, "web"));
    rig_done(&r);
}

static void given_up_is_forgotten(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.failed_ttl_ms = 3600 * S;
    rig_open(&r);
    refuse(&r, FAKE_ENSURE, FAULT_INVALID_IMAGE, ERR_INVALID, 0, "no such image");
    (void)rig_apply(&r, "web", "1", NULL);
    rig_pass(&r, 3500 * S);
    assert_true(rig_has(&r, "web"));
    rig_pass(&r, 200 * S);
    assert_false(rig_has(&r, "web"));
    assert_null(mem_store_get(&r.store, "web"));
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transient),          cmocka_unit_test(jitter_is_added),
        cmocka_unit_test(permanent_and_held), cmocka_unit_test(not_counted),
        cmocka_unit_test(crash_loop),         cmocka_unit_test(steady),
        cmocka_unit_test(ends_well),          cmocka_unit_test(start_fails),
        cmocka_unit_test(stop_fails),         cmocka_unit_test(stopped_clears),
        cmocka_unit_test(admission),          cmocka_unit_test(missing_is_made_again),
        cmocka_unit_test(clock_jumps),        cmocka_unit_test(tries_not_written),
        cmocka_unit_test(without_reconcile),  cmocka_unit_test(given_up_is_forgotten),
        cmocka_unit_test(stops_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
