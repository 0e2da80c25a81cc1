/* An update: what comes next is fetched first, and what runs goes only then. */
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

static void refuse(struct rig *r, enum fault_reason why, int code, uint64_t times, const char *text)
{
    struct fake_rule no = {.ops = FAKE_PREPARE, .times = times};
    (void)fault_set(&no.fault, why, code, "%s", text);
    assert_int_equal(fake_rule(r->fake, &no), 0);
}

static void slow(struct rig *r, uint64_t ms, bool hang)
{
    struct fake_rule late = {.ops = FAKE_PREPARE, .least_ms = ms, .hang = hang};
    assert_int_equal(fake_rule(r->fake, &late), 0);
}

#define PREPARES(r) ((unsigned)rig_calls(r).calls[6])

static void assert_untouched(struct rig *r, uint64_t serial)
{
    struct fake_object o = rig_object(r, "web");
    assert_true(slice_eqs(o.revision, "1"));
    assert_int_equal(o.actual, ACTUAL_RUNNING);
    assert_int_equal(o.serial, serial);
    assert_int_equal(o.starts, 1);
}

/* What runs is not taken down by an image that does not exist, and nobody is fooled. */
static void mistyped(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct engine_explain x;
    struct task t;
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(PREPARES(r), 0); /* a plain create fetches by itself */
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    uint64_t serial = rig_object(r, "web").serial;
    refuse(r, FAULT_INVALID_IMAGE, ERR_INVALID, 0, "no such image");
    (void)rig_apply(r, "app", "1", "container: {image: a}\ndepends_on: [{id: web}]\n");
    assert_state(r, "app", ACTUAL_RUNNING);
    struct answer a = rig_apply(r, "web", "2", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_untouched(r, serial);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_int_equal(v.seen, ACTUAL_FAILED);
    assert_int_equal(v.reason, FAULT_INVALID_IMAGE);
    assert_int_equal(v.health, HEALTH_NONE);
    assert_true(v.terminal && slice_eqs(v.revision, "2"));
    assert_string_equal(v.message, "update failed: no such image; revision \"1\" still runs");
    assert_string_equal(rig_meta(r, "web", "running_revision"), "1");
    assert_string_equal(rig_meta(r, "web", "failure_reason"), "INVALID_IMAGE");
    task_get(task_newest(r->tasks, SLICE_LIT("web")), &t);
    assert_int_equal(t.status, TASK_FAILED);
    assert_non_null(strstr(t.error, "no such image"));
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_string_equal(x.is, "It is a container that is failed, of revision 1.");
    assert_string_equal(x.should, "It should be running, at revision 2.");
    assert_non_null(strstr(x.why, " Until then revision \"1\" still runs."));
    struct engine_stats s;
    engine_stats(r->g, &s);
    assert_int_equal(s.workloads[WORKLOAD_CONTAINER][ACTUAL_RUNNING], 1); /* app */
    assert_int_equal(s.workloads[WORKLOAD_CONTAINER][ACTUAL_FAILED], 1);
    /* Others do not take it for what they wait for. */
    (void)rig_apply(r, "late", "1", "container: {image: a}\ndepends_on: [{id: web}]\n");
    assert_string_equal(rig_view(r, "late").waits_for, "\"web\" to run");
    rig_pass(r, 3600 * S);
    assert_untouched(r, serial);
    assert_int_equal(PREPARES(r), 1);
    /* Through a restart of ours, too. */
    rig_close(r);
    rig_open(r);
    rig_pass(r, 60 * S);
    assert_untouched(r, serial);
    assert_state(r, "web", ACTUAL_FAILED);
    assert_string_equal(rig_meta(r, "web", "running_revision"), "1");
    fake_clear_rules(r->fake);
    (void)rig_apply(r, "web", "3", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "3"));
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    assert_string_equal(rig_meta(r, "web", "failure_reason"), "");
    assert_state(r, "late", ACTUAL_RUNNING);
    rig_done(r);
}

static void tried_again(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    refuse(r, FAULT_IMAGE_PULL_TIMEOUT, ERR_TIMEOUT, 2, "no answer");
    (void)rig_apply(r, "web", "2", NULL);
    assert_int_equal(rig_view(r, "web").attempts, 1);
    assert_false(rig_view(r, "web").terminal);
    assert_untouched(r, serial);
    rig_pass(r, 5 * S);
    assert_int_equal(rig_view(r, "web").attempts, 2);
    assert_untouched(r, serial);
    rig_pass(r, 10 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(PREPARES(r), 3);
    rig_done(r);
}

static void under_way(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    slow(r, 100 * S, false);
    (void)rig_apply(r, "web", "2", NULL);
    rig_pass(r, 50 * S);
    assert_untouched(r, serial);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_PENDING);
    assert_int_equal(v.seen, ACTUAL_PENDING);
    assert_string_equal(v.phase, "preparing");
    assert_string_equal(v.message, "prepare; revision \"1\" still runs");
    /* What happens to it meanwhile is seen, and said. */
    assert_true(fake_crash(r->fake, SLICE_LIT("web"), 1, true));
    rig_pass(r, 1 * S);
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    assert_null(strstr(rig_view(r, "web").message, "still runs"));
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_pass(r, 50 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    rig_done(r);
}

/* It vanishes meanwhile: its successor is made all the same. */
static void vanished(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    slow(r, 100 * S, false);
    (void)rig_apply(r, "web", "2", NULL);
    rig_pass(r, 10 * S);
    assert_true(fake_vanish(r->fake, SLICE_LIT("web"), false));
    rig_pass(r, 30 * S); /* seen by a pass */
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    rig_pass(r, 70 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

static void newer_wish(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    slow(r, 0, true);
    (void)rig_apply(r, "web", "2", NULL);
    assert_string_equal(rig_view(r, "web").phase, "preparing");
    /* Back to what runs: nothing was done to it. */
    (void)rig_apply(r, "web", "1", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_untouched(r, serial);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    (void)rig_apply(r, "web", "3", NULL);
    assert_string_equal(rig_view(r, "web").phase, "preparing");
    fake_clear_rules(r->fake);
    (void)rig_apply(r, "web", "4", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "4"));
    /* A delete does not wait for it either. */
    slow(r, 0, true);
    (void)rig_apply(r, "web", "5", NULL);
    (void)rig_delete(r, "web", false);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    rig_done(r);
}

/* To fetch needs no lock, to remove does. */
static void locked(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    uint64_t serial = rig_object(r, "web").serial;
    rig_lock(r, "/run/lock/web", true);
    (void)rig_apply(r, "web", "2", LOCKED);
    assert_int_equal(PREPARES(r), 1);
    assert_untouched(r, serial);
    assert_string_equal(rig_view(r, "web").message,
                        "waits for lock file \"/run/lock/web\" to go; revision \"1\" still runs");
    rig_pass(r, 3600 * S);
    assert_int_equal(PREPARES(r), 1); /* not over and over */
    assert_untouched(r, serial);
    /* It is long ago: who knows whether the image is still there. */
    refuse(r, FAULT_INVALID_IMAGE, ERR_INVALID, 1, "gone again");
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 2 * S);
    assert_int_equal(PREPARES(r), 2);
    assert_untouched(r, serial);
    assert_true(rig_view(r, "web").terminal);
    (void)rig_apply(r, "web", "2", LOCKED);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(PREPARES(r), 3);
    rig_done(r);
}

/* What is to be stopped is, whatever becomes of its successor. */
static void stopped(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    slow(r, 0, true);
    (void)rig_apply(r, "web", "2", NULL);
    fake_clear_rules(r->fake);
    refuse(r, FAULT_INVALID_IMAGE, ERR_INVALID, 1, "no such image");
    (void)rig_stop(r, "web", "2", NULL);
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_STOPPED);
    assert_true(slice_eqs(rig_object(r, "web").revision, "1"));
    assert_state(r, "web", ACTUAL_FAILED);
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    (void)rig_stop(r, "web", "2", NULL);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(rig_object(r, "web").starts, 0);
    rig_done(r);
}

static void killed(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    slow(r, 0, true);
    (void)rig_apply(r, "web", "2", NULL);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(PREPARES(r), i);
        rig_kill(r);
        rig_open(r);
        rig_pass(r, 5 * S);
        assert_untouched(r, serial);
        assert_int_equal(PREPARES(r), i + 1);
    }
    rig_kill(r);
    fake_clear_rules(r->fake);
    rig_open(r);
    rig_pass(r, 5 * S);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

/* The new document's health check says nothing about the old object. */
static void not_probed(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    static const char checked[] = "container: {image: b}\nhealth: {kind: tcp, port: 80, interval: "
                                  "1s, retries: 1, action: restart}\n";
    (void)rig_apply(r, "web", "1", checked);
    rig_pass(r, 5 * S);
    assert_int_equal(rig_view(r, "web").health, HEALTH_HEALTHY);
    uint64_t serial = rig_object(r, "web").serial;
    refuse(r, FAULT_INVALID_IMAGE, ERR_INVALID, 1, "no such image");
    (void)rig_apply(r, "web", "2", checked);
    r->probe_fault = "HTTP 503";
    uint64_t probes = r->probes;
    rig_pass(r, 600 * S);
    assert_untouched(r, serial);
    assert_int_equal(r->probes, probes);
    assert_int_equal(rig_view(r, "web").health, HEALTH_NONE);
    rig_done(r);
}

/* A runtime with nothing to fetch. */
static void nothing_to_prepare(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    ((struct driver_ops *)(uintptr_t)fake_driver(r.fake).ops)->prepare = NULL;
    rig_open(&r);
    (void)rig_apply(&r, "web", "1", NULL);
    (void)rig_apply(&r, "web", "2", NULL);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(&r, "web").revision, "2"));
    assert_int_equal(PREPARES(&r), 0);
    rig_done(&r);
}

/* Pulls have their share of the places, and no more. */
static void bounded(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.max_acts = 4;
    rig_open(&r);
    char id[8];
    for (int i = 0; i < 8; i++) {
        (void)snprintf(id, sizeof(id), "w%d", i);
        (void)rig_apply(&r, id, "1", NULL);
    }
    slow(&r, 0, true);
    for (int i = 0; i < 7; i++) {
        (void)snprintf(id, sizeof(id), "w%d", i);
        (void)rig_apply(&r, id, "2", NULL);
    }
    assert_int_equal(PREPARES(&r), 3);
    (void)rig_stop(&r, "w7", "1", NULL); /* goes on beside them */
    assert_state(&r, "w7", ACTUAL_STOPPED);
    fake_clear_rules(r.fake);
    fake_release(r.fake);
    rig_pass(&r, 10 * S);
    for (int i = 0; i < 7; i++) {
        (void)snprintf(id, sizeof(id), "w%d", i);
        assert_state(&r, id, ACTUAL_RUNNING);
        assert_true(slice_eqs(rig_object(&r, id).revision, "2"));
    }
    rig_done(&r);
}

#define ON(id) "container: {image: a}\ndepends_on: [{id: " id "}]\n"

/* What runs stays until what its successor depends on is there. */
static void depends(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct engine_explain x;
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    (void)rig_apply(r, "web", "2", ON("none"));
    assert_untouched(r, serial);
    assert_int_equal(PREPARES(r), 0);
    assert_string_equal(rig_view(r, "web").message,
                        "waits for \"none\", which does not exist; revision \"1\" still runs");
    assert_string_equal(rig_view(r, "web").waits_for, "\"none\", which does not exist");
    assert_string_equal(rig_meta(r, "web", "running_revision"), "1");
    assert_true(rig_event(r, "web", "waiting"));
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_non_null(strstr(x.why, "It waits for \"none\", which does not exist."));
    assert_non_null(strstr(x.why, " Until then revision \"1\" still runs."));
    assert_int_equal(x.n_depends, 1);
    rig_pass(r, 3600 * S);
    assert_untouched(r, serial);
    rig_kill(r);
    rig_open(r);
    rig_pass(r, 60 * S);
    assert_untouched(r, serial);
    assert_state(r, "web", ACTUAL_PENDING);
    assert_string_equal(rig_view(r, "web").message,
                        "waits for \"none\", which does not exist; revision \"1\" still runs");
    /* Then it goes on at once. */
    (void)rig_apply(r, "none", "1", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(PREPARES(r), 1);
    assert_string_equal(rig_meta(r, "web", "running_revision"), "");
    rig_done(r);
}

/* The lock file counts as well; to be stopped, or deleted, waits for no others. */
static void depends_not_on(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    rig_lock(r, "/run/lock/web", true);
    (void)rig_apply(r, "web", "2", ON("db") "lock_file: /run/lock/web\n");
    assert_string_equal(rig_view(r, "web").waits_for, "\"db\", which does not exist");
    (void)rig_apply(r, "db", "1", NULL);
    assert_string_equal(rig_view(r, "web").waits_for, "lock file \"/run/lock/web\" to go");
    assert_int_equal(PREPARES(r), 1);
    assert_untouched(r, serial);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 2 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    (void)rig_apply(r, "web", "3", ON("none"));
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    (void)rig_stop(r, "web", "3", ON("none"));
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_true(slice_eqs(rig_object(r, "web").revision, "3"));
    (void)rig_apply(r, "web", "4", ON("none"));
    (void)rig_delete(r, "web", false);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

/* A runtime that turns an old object into the new one is not asked to, either. */
static void depends_in_place(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    ((struct driver_ops *)(uintptr_t)fake_driver(r.fake).ops)->in_place = true;
    rig_open(&r);
    (void)rig_apply(&r, "web", "1", NULL);
    uint64_t serial = rig_object(&r, "web").serial, calls = rig_calls(&r).calls[0];
    assert_int_equal(calls, 1);
    (void)rig_apply(&r, "web", "2", ON("none"));
    rig_pass(&r, 600 * S);
    assert_untouched(&r, serial);
    assert_int_equal(rig_calls(&r).calls[0], calls);
    assert_string_equal(rig_meta(&r, "web", "running_revision"), "1");
    (void)rig_apply(&r, "none", "1", NULL);
    assert_true(rig_calls(&r).calls[0] > calls + 1); /* of both */
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistyped),       cmocka_unit_test(tried_again),
        cmocka_unit_test(under_way),      cmocka_unit_test(vanished),
        cmocka_unit_test(newer_wish),     cmocka_unit_test(locked),
        cmocka_unit_test(stopped),        cmocka_unit_test(killed),
        cmocka_unit_test(not_probed),     cmocka_unit_test(nothing_to_prepare),
        cmocka_unit_test(bounded),        cmocka_unit_test(depends),
        cmocka_unit_test(depends_not_on), cmocka_unit_test(depends_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
