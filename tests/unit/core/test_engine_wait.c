/* Lock files, dependencies, room for acts: who waits for what, and says so. */
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

static void lock_holds_stops(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_lock(r, "/run/lock/web", true);
    struct answer a = rig_stop(r, "web", "1", LOCKED);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED); /* taken, and waits */
    assert_string_equal(rig_view(r, "web").waits_for, "lock file \"/run/lock/web\" to go");
    assert_string_equal(rig_view(r, "web").phase, "waiting");
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_RUNNING);
    assert_true(rig_event(r, "web", "waiting"));
    uint64_t looks = r->lock_looks;
    rig_pass(r, 10 * S);
    assert_in_range(r->lock_looks - looks, 9, 12); /* once a second */
    assert_false(rig_event(r, "web", "waiting"));  /* said once */
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_RUNNING);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 1 * S);
    assert_state(r, "web", ACTUAL_STOPPED);
    /* What does not run is not held up. */
    rig_lock(r, "/run/lock/web", true);
    (void)rig_apply(r, "web", "1", LOCKED);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

static void forced(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a = {0};
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_lock(r, "/run/lock/web", true);
    (void)rig_apply(r, "web", "2", LOCKED);
    assert_true(slice_eqs(rig_object(r, "web").revision, "1"));
    engine_force(r->g, SLICE_LIT("web"), "chief", on_answer, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(mem_store_get(&r->store, "web")->flags & STORED_FORCED, 0); /* used up */
    engine_restart(r->g, SLICE_LIT("web"), "x", false, on_answer, &a);
    rig_pass(r, 5 * S);
    assert_int_equal(rig_object(r, "web").starts, 1);
    engine_restart(r->g, SLICE_LIT("web"), "x", true, on_answer, &a);
    rig_settle(r);
    assert_int_equal(rig_object(r, "web").starts, 2);
    (void)rig_delete(r, "web", false);
    rig_pass(r, 5 * S);
    assert_true(rig_view(r, "web").deleting);
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_RUNNING);
    (void)rig_delete(r, "web", true);
    assert_false(rig_has(r, "web"));
    rig_done(r);
}

static void lock_outlives_us(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    rig_lock(r, "/run/lock/web", true);
    (void)rig_apply(r, "web", "2", LOCKED);
    rig_kill(r);
    rig_open(r);
    rig_pass(r, 100 * S);
    assert_true(slice_eqs(rig_object(r, "web").revision, "1"));
    struct task t;
    struct task_entry *e = task_newest(r->tasks, SLICE_LIT("web"));
    assert_non_null(e); /* its successor has been fetched, and waits */
    task_get(e, &t);
    assert_int_equal(t.status, TASK_RUNNING);
    assert_int_equal(rig_calls(r).calls[6], 2); /* once by each of the two engines */
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 2 * S);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    e = task_newest(r->tasks, SLICE_LIT("web"));
    assert_non_null(e);
    task_get(e, &t);
    assert_int_equal(t.kind, TASK_RECONCILE);
    assert_int_equal(t.status, TASK_COMPLETED);
    rig_done(r);
}

#define ON(id) "container: {image: a}\ndepends_on: [{id: " id "}]\n"
#define ON_ADDRESS(id) "container: {image: a}\ndepends_on: [{id: " id ", condition: address}]\n"
#define ON_HEALTHY(id) "container: {image: a}\ndepends_on: [{id: " id ", condition: healthy}]\n"

static void waits_for_others(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", ON("db"));
    assert_string_equal(rig_view(r, "web").waits_for, "\"db\", which does not exist");
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_STOPPED); /* made, not started */
    assert_int_equal(rig_view(r, "web").seen, ACTUAL_PENDING);     /* also where no tasks show */
    rig_close(r);
    rig_open(r);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_PENDING); /* now there is no task */
    assert_string_equal(rig_view(r, "web").message, "waits for \"db\", which does not exist");
    struct engine_explain x;
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_int_equal(x.n_depends, 1);
    assert_true(slice_eqs(x.depends_on[0], "db"));
    (void)rig_stop(r, "db", "1", NULL);
    assert_string_equal(rig_view(r, "web").waits_for, "\"db\" to run");
    (void)rig_apply(r, "db", "1", NULL);
    assert_state(r, "db", ACTUAL_RUNNING);
    assert_state(r, "web", ACTUAL_RUNNING);       /* at once, without a pass */
    assert_true(rig_event(r, "db", "completed")); /* its task */
    (void)rig_stop(r, "db", "1", NULL);
    assert_state(r, "web", ACTUAL_RUNNING); /* goes on */
    rig_done(r);
}

static void waits_for_an_address(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    char why[100];
    const struct fake_life slow = {.id = "vm-1", .no_address = true};
    assert_int_equal(fake_life(r->fake, &slow), 0);
    (void)rig_apply(r, "web", "1", ON_ADDRESS("vm-1"));
    assert_string_equal(rig_view(r, "web").waits_for, "\"vm-1\", which does not exist");
    (void)rig_stop(r, "vm-1", "1", NULL);
    assert_string_equal(rig_view(r, "web").waits_for, "\"vm-1\" to run");
    assert_false(engine_meets(r->g, "vm-1", DOC_DEPENDS_RUNNING, why, sizeof(why)));
    assert_string_equal(why, "\"vm-1\" to run");
    (void)rig_apply(r, "vm-1", "1", NULL);
    assert_state(r, "vm-1", ACTUAL_RUNNING);
    assert_string_equal(rig_view(r, "vm-1").address, "");
    assert_string_equal(rig_view(r, "web").waits_for, "the address of \"vm-1\"");
    assert_true(engine_meets(r->g, "vm-1", DOC_DEPENDS_RUNNING, why, sizeof(why)));
    assert_false(engine_meets(r->g, "vm-1", DOC_DEPENDS_ADDRESS, why, sizeof(why)));
    assert_string_equal(why, "the address of \"vm-1\"");
    struct engine_explain x;
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_non_null(strstr(x.why, "It waits for the address of \"vm-1\"."));

    /* No runtime tells of it: it is looked at meanwhile, and not only in passes. */
    struct engine_stats before, after;
    engine_stats(r->g, &before);
    rig_pass(r, 10 * S);
    engine_stats(r->g, &after);
    assert_in_range(after.looks - before.looks, 4, 7);
    assert_true(fake_address(r->fake, SLICE_LIT("vm-1"), true, false));
    rig_pass(r, 3 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_string_equal(rig_view(r, "vm-1").address, "127.0.0.1");
    engine_stats(r->g, &before);
    rig_pass(r, 10 * S);
    engine_stats(r->g, &after);
    assert_in_range(after.looks - before.looks, 0, 1); /* nobody waits any more */
    assert_true(engine_meets(r->g, "vm-1", DOC_DEPENDS_ADDRESS, why, sizeof(why)));

    /* One that comes with an event is used at once; one that goes stops nobody. */
    assert_true(fake_address(r->fake, SLICE_LIT("vm-1"), false, true));
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    (void)rig_apply(r, "other", "1", ON_ADDRESS("vm-1"));
    assert_string_equal(rig_view(r, "other").waits_for, "the address of \"vm-1\"");
    assert_true(fake_address(r->fake, SLICE_LIT("vm-1"), true, true));
    rig_settle(r);
    assert_state(r, "other", ACTUAL_RUNNING);
    rig_done(r);
}

static void waits_for_health(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "db", "1", NULL);
    (void)rig_apply(r, "web", "1", ON_HEALTHY("db"));
    assert_string_equal(rig_view(r, "web").waits_for,
                        "\"db\" to be healthy, but it has no health check");
    assert_true(fake_health(r->fake, SLICE_LIT("db"), HEALTH_STARTING, true));
    rig_settle(r);
    assert_string_equal(rig_view(r, "web").waits_for, "\"db\" to be healthy");
    assert_true(fake_health(r->fake, SLICE_LIT("db"), HEALTH_HEALTHY, true));
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

static void circles(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "aa", "1", ON("bb"));
    (void)rig_apply(r, "bb", "1", ON("cc"));
    struct answer a = rig_apply(r, "cc", "1", ON("aa"));
    assert_int_equal(a.e.code, ERR_CONFLICT);
    assert_string_equal(a.e.msg, "\"cc\" would wait for itself: cc -> aa -> bb -> cc");
    assert_false(rig_has(r, "cc"));
    /* Against what is not on the disk yet, too. */
    struct answer b;
    rig_submit(r, "dd", "1", ON("ee"), NULL, &a);
    rig_submit(r, "ee", "1", ON("dd"), NULL, &b);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(b.e.code, ERR_CONFLICT);
    /* A diamond is none. */
    (void)rig_apply(r, "cc", "1", NULL);
    a = rig_apply(r, "ff", "1", "container: {image: a}\ndepends_on: [{id: aa}, {id: bb}]\n");
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "ff", ACTUAL_RUNNING);
    rig_done(r);
}

static void removed_in_reverse(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "db", "1", NULL);
    (void)rig_apply(r, "app", "1", ON("db"));
    (void)rig_apply(r, "web", "1", ON("app"));
    struct answer a = rig_delete(r, "db", false);
    assert_int_equal(a.e.code, ERR_CONFLICT);
    assert_string_equal(a.e.msg, "\"app\" depends on \"db\"");
    assert_state(r, "db", ACTUAL_RUNNING);
    /* All three at once, in the wrong order. */
    struct answer d[3] = {0};
    static const char *const ids[] = {"db", "app", "web"};
    struct fake_rule slow = {.ops = FAKE_REMOVE, .least_ms = 1000};
    assert_int_equal(fake_rule(r->fake, &slow), 0);
    for (int i = 0; i < 3; i++) {
        struct engine_delete how = {.id = slice_of(ids[i]), .who = "x", .keep_going = true};
        engine_delete(r->g, &how, on_answer, &d[i]);
    }
    rig_pass(r, 500);
    assert_string_equal(rig_view(r, "db").waits_for, "\"app\" to be removed first");
    assert_true(rig_view(r, "web").acting);
    rig_pass(r, 1000);
    assert_false(rig_has(r, "web"));
    assert_true(rig_has(r, "app") && rig_has(r, "db"));
    rig_pass(r, 1000);
    assert_false(rig_has(r, "app"));
    assert_int_equal(rig_object(r, "db").actual, ACTUAL_RUNNING);
    rig_pass(r, 1000);
    assert_false(rig_has(r, "db"));
    rig_done(r);
}

/* Long pulls leave places for what is short. */
static void acts_are_bounded(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.max_acts = 4;
    rig_open(&r);
    (void)rig_apply(&r, "short", "1", NULL);
    struct fake_rule pull = {.ops = FAKE_ENSURE, .least_ms = 600 * S};
    assert_int_equal(fake_rule(r.fake, &pull), 0);
    for (int i = 0; i < 20; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "w%02d", i);
        (void)rig_apply(&r, id, "1", NULL);
    }
    struct engine_stats s;
    engine_stats(r.g, &s);
    assert_int_equal(s.acting, 3);
    assert_string_equal(rig_view(&r, "w10").waits_for,
                        "others to finish: as many acts as may be are under way");
    (void)rig_stop(&r, "short", "1", NULL);
    assert_state(&r, "short", ACTUAL_STOPPED); /* at once */
    rig_pass(&r, 7 * 600 * S + 10 * S);
    for (int i = 0; i < 20; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "w%02d", i);
        assert_state(&r, id, ACTUAL_RUNNING);
    }
    struct fake_stats f = rig_calls(&r);
    assert_true(f.acts_most <= 4);
    assert_int_equal(f.overlaps, 0);
    rig_done(&r);
}

/* What nobody wants any more is not pulled to its end. */
static void old_pull_is_cancelled(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_rule hang = {.ops = FAKE_ENSURE, .hang = true, .times = 1};
    assert_int_equal(fake_rule(r->fake, &hang), 0);
    (void)rig_apply(r, "web", "1", NULL);
    assert_true(rig_view(r, "web").acting);
    struct task t;
    char first[128];
    task_get(task_newest(r->tasks, SLICE_LIT("web")), &t);
    (void)snprintf(first, sizeof(first), "%s", t.id);
    (void)rig_apply(r, "web", "2", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lock_holds_stops),
        cmocka_unit_test(forced),
        cmocka_unit_test(lock_outlives_us),
        cmocka_unit_test(waits_for_others),
        cmocka_unit_test(waits_for_an_address),
        cmocka_unit_test(waits_for_health),
        cmocka_unit_test(circles),
        cmocka_unit_test(removed_in_reverse),
        cmocka_unit_test(acts_are_bounded),
        cmocka_unit_test(old_pull_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
