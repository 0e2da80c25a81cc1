/* Health and what follows from it; being pending for too long. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

#define S 1000u
#define PROBED(action)                                                                             \
    "container: {image: a}\n"                                                                      \
    "health: {kind: tcp, port: 80, interval: 10s, retries: 3, action: " action "}\n"

static struct rig *open_rig(void)
{
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    return &r;
}

static void probes(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", PROBED("nothing"));
    assert_int_equal(rig_view(r, "web").health, HEALTH_STARTING);
    rig_pass(r, 10);
    assert_int_equal(rig_view(r, "web").health, HEALTH_HEALTHY);
    uint64_t n = r->probes;
    rig_pass(r, 100 * S);
    assert_in_range(r->probes - n, 9, 11);
    r->probe_fault = "connection refused";
    rig_pass(r, 20 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_HEALTHY); /* two of three */
    rig_pass(r, 10 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_UNHEALTHY);
    assert_true(rig_event(r, "web", "health"));
    rig_pass(r, 300 * S);
    assert_int_equal(rig_object(r, "web").starts, 1); /* action: nothing */
    assert_state(r, "web", ACTUAL_RUNNING);
    r->probe_fault = NULL;
    rig_pass(r, 10 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_HEALTHY);
    n = r->probes;
    (void)rig_stop(r, "web", "1", PROBED("nothing"));
    rig_pass(r, 100 * S);
    assert_int_equal(r->probes, n); /* nobody probes what does not run */
    assert_int_equal(rig_view(r, "web").health, HEALTH_NONE);
    rig_done(r);
}

static void restarted(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", PROBED("restart"));
    rig_pass(r, 100 * S);
    r->probe_fault = "HTTP 503";
    rig_pass(r, 21 * S);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.attempts, 1);
    assert_string_equal(v.failure, "unhealthy: HTTP 503");
    assert_int_equal(rig_object(r, "web").starts, 1); /* after the back-off */
    rig_pass(r, 5 * S);
    assert_int_equal(rig_object(r, "web").starts, 2);
    rig_pass(r, 600 * S);
    /* Given up: it is left as it is, for all to see. */
    v = rig_view(r, "web");
    assert_true(v.terminal);
    assert_int_equal(v.attempts, 4);
    assert_int_equal(v.reason, FAULT_RUNTIME_UNHEALTHY);
    assert_int_equal(v.health, HEALTH_UNHEALTHY);
    assert_int_equal(rig_object(r, "web").starts, 4);
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_RUNNING);
    r->probe_fault = NULL; /* it recovers: all is forgotten in time */
    rig_pass(r, 200 * S);
    assert_false(rig_view(r, "web").terminal);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_done(r);
}

static void recovers_in_time(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1",
                    "container: {image: a}\n"
                    "health: {kind: tcp, port: 80, interval: 1s, retries: 3, action: restart}\n");
    rig_pass(r, 10 * S);
    r->probe_fault = "HTTP 503";
    rig_pass(r, 4 * S);
    assert_int_equal(rig_view(r, "web").attempts, 1);
    r->probe_fault = NULL;
    rig_pass(r, 100 * S);
    assert_int_equal(rig_object(r, "web").starts, 1);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_done(r);
}

/* Only a rule with a name may change what is wanted, and it is written down. */
static void stopped_by_rule(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", PROBED("stop"));
    rig_pass(r, 10);
    r->probe_fault = "no";
    r->store.fail_at = 1; /* the first time the disk says no */
    rig_pass(r, 35 * S);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.desired, DESIRED_STOPPED);
    assert_int_equal(v.actual, ACTUAL_STOPPED);
    assert_int_equal(v.cause, STOP_POLICY);
    assert_true(slice_eqs(v.who, "policy:health"));
    assert_int_equal(v.generation, 2);
    assert_int_equal(mem_store_get(&r->store, "web")->desired, DESIRED_STOPPED);
    assert_int_equal(mem_store_get(&r->store, "web")->cause, STOP_POLICY);
    rig_done(r);
}

/* explain tells what was wrong with it, until it is started again. */
static void stop_is_explained(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct engine_explain x;
    (void)rig_apply(r, "web", "1", PROBED("stop"));
    rig_pass(r, 10);
    r->probe_fault = "HTTP 503";
    rig_pass(r, 35 * S);
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_string_equal(x.why, "It is as it should be. It was stopped by a rule of its own "
                               "document: it was unhealthy, HTTP 503.");
    r->probe_fault = NULL;
    (void)rig_apply(r, "web", "1", PROBED("stop"));
    rig_pass(r, 35 * S);
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_string_equal(x.why, "It is as it should be.");
    rig_done(r);
}

/* It would be waited for without an end, and nobody would know why. */
static void no_check_is_explained(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct engine_explain x;
    (void)rig_apply(r, "web", "1", "container: {image: a}\nhealth: {kind: runtime}\n");
    rig_pass(r, 10 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_NONE);
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_string_equal(x.why, "It is as it should be. Its health is not known: the runtime has "
                               "no check for it.");
    rig_done(r);
}

static void start_period(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    r->probe_fault = "not yet";
    (void)rig_apply(r, "web", "1",
                    "container: {image: a}\nhealth: {kind: http, port: 80, interval: 5s, "
                    "retries: 2, start_period: 60s, action: restart}\n");
    rig_pass(r, 58 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_STARTING);
    rig_pass(r, 12 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_UNHEALTHY);
    rig_done(r);
}

static void runtime_health(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life l = {.health = HEALTH_HEALTHY, .healthy_ms = 3 * S};
    assert_int_equal(fake_life(r->fake, &l), 0);
    (void)rig_apply(r, "web", "1",
                    "container: {image: a}\nhealth: {kind: runtime, action: restart}\n");
    assert_int_equal(rig_view(r, "web").health, HEALTH_STARTING);
    rig_pass(r, 3 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_HEALTHY);
    assert_int_equal(r->probes, 0);
    assert_true(fake_health(r->fake, SLICE_LIT("web"), HEALTH_UNHEALTHY, true));
    rig_pass(r, 6 * S);
    assert_int_equal(rig_object(r, "web").starts, 2);
    rig_done(r);
}

/* Nobody answers any more when the workload has gone, or changes. */
static void probe_under_way(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    r->probe_slow = true;
    (void)rig_apply(r, "web", "1", PROBED("restart"));
    rig_pass(r, 10);
    assert_false(list_empty(&r->probing));
    (void)rig_apply(r, "web", "2", PROBED("stop"));
    assert_int_equal(r->probe_cancels, 1);
    rig_pass(r, 10);
    assert_false(list_empty(&r->probing));
    (void)rig_delete(r, "web", false);
    assert_int_equal(r->probe_cancels, 2);
    assert_true(list_empty(&r->probing));
    rig_done(r);
}

/* Contract 8.1 (2). */
static void pending_too_long(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_life never = {.pending_ms = UINT64_MAX, .times = 2};
    assert_int_equal(fake_life(r->fake, &never), 0);
    (void)rig_apply(r, "web", "1", NULL);
    assert_state(r, "web", ACTUAL_PENDING);
    rig_pass(r, 40 * S);
    assert_true(strlen(rig_meta(r, "web", "pending_since")) > 10);
    rig_pass(r, 259 * S);
    assert_int_equal(rig_object(r, "web").starts, 1);
    rig_pass(r, 2 * S);
    assert_int_equal(rig_object(r, "web").starts, 2);
    assert_string_equal(rig_view(r, "web").message, "recovered from prolonged pending via restart");
    assert_string_equal(rig_meta(r, "web", "pending_recovery_action"), "restart");
    rig_pass(r, 290 * S); /* the time is counted anew */
    assert_int_equal(rig_object(r, "web").starts, 2);
    rig_pass(r, 15 * S);
    assert_int_equal(rig_object(r, "web").starts, 3);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_string_equal(rig_meta(r, "web", "pending_since"), "");
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes),
        cmocka_unit_test(restarted),
        cmocka_unit_test(recovers_in_time),
        cmocka_unit_test(stopped_by_rule),
        cmocka_unit_test(start_period),
        cmocka_unit_test(runtime_health),
        cmocka_unit_test(stop_is_explained),
        cmocka_unit_test(no_check_is_explained),
        cmocka_unit_test(probe_under_way),
        cmocka_unit_test(pending_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
