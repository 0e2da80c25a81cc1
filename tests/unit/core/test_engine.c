/* The engine: what is asked for comes about, once, and stays. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

static struct rig *open_rig(void)
{
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    return &r;
}

static void applied_runs(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a;
    rig_submit(r, "web", "1", NULL, NULL, &a);
    assert_int_equal(a.n, 0); /* nothing is said before it is on the disk */
    assert_false(rig_has(r, "web"));
    assert_true(mem_store_run(&r->store));
    assert_int_equal(a.n, 1);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(a.actual, ACTUAL_PENDING);
    assert_int_equal(a.generation, 1);
    assert_true(strncmp(a.task, "apply-web-", 10) == 0);
    assert_state(r, "web", ACTUAL_PENDING);
    assert_string_equal(rig_view(r, "web").message, "task pending execution");
    assert_string_equal(rig_view(r, "web").own_message, "creating workload");
    assert_string_equal(rig_meta(r, "web", "task_status"), "pending");
    assert_string_equal(rig_meta(r, "web", "task_id"), a.task);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_string_equal(rig_view(r, "web").message, "Up");
    assert_string_equal(rig_view(r, "web").own_message, "Up");
    assert_null(rig_meta(r, "web", "task_id"));
    assert_string_equal(rig_meta(r, "web", "container.state"), "fake");
    assert_string_equal(rig_meta(r, "web", "retry_terminal"), "false");
    assert_string_equal(rig_meta(r, "web", "failure_reason"), "");
    struct fake_stats s = rig_calls(r);
    assert_int_equal(s.calls[0], 1); /* ensure */
    assert_int_equal(s.calls[1], 1); /* start */
    assert_int_equal(s.calls[2] + s.calls[3] + s.calls[4], 0);
    assert_true(slice_eqs(rig_object(r, "web").node_id, "node-1"));
    assert_int_equal(mem_store_get(&r->store, "web")->generation, 1);
    assert_true(slice_eqs(mem_store_get(&r->store, "web")->who, "tester"));
    assert_int_equal(r->store.commits, 1);
    rig_done(r);
}

static void same_again_is_skipped(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    struct answer a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_SKIPPED);
    assert_int_equal(a.actual, ACTUAL_RUNNING);
    assert_int_equal(r->store.commits, 1);
    assert_int_equal(rig_object(r, "web").serial, serial);
    /* The same revision with another document is a mistake, except for those who do not look. */
    a = rig_apply(r, "web", "1", "container: {image: b}");
    assert_int_equal(a.verdict, ENGINE_REFUSED);
    assert_int_equal(a.e.code, ERR_CONFLICT);
    struct engine_apply lenient = {.who = "x", .lenient = true};
    rig_submit(r, "web", "1", "container: {image: b}", &lenient, &a);
    assert_int_equal(a.verdict, ENGINE_SKIPPED);
    rig_done(r);
}

static void stop_and_start_in_place(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    struct answer a = rig_stop(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_int_equal(rig_view(r, "web").cause, STOP_OPERATOR);
    a = rig_stop(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_SKIPPED);
    (void)rig_apply(r, "web", "1", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    struct fake_stats s = rig_calls(r);
    assert_int_equal(s.calls[0], 1); /* never made again */
    assert_int_equal(s.calls[3], 0); /* never removed */
    assert_int_equal(s.calls[2], 1);
    assert_int_equal(s.calls[1], 2);
    assert_int_equal(rig_object(r, "web").serial, serial);
    rig_done(r);
}

static void new_revision_replaces(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    struct answer a = rig_apply(r, "web", "2", "container: {image: b}");
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(rig_view(r, "web").generation, 2);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "2"));
    assert_true(rig_object(r, "web").serial > serial);
    assert_int_equal(fake_count(r->fake), 1);
    assert_int_equal(rig_calls(r).calls[3], 1); /* the old one is removed, then the new one made */
    assert_int_equal(rig_calls(r).calls[0], 2);
    assert_int_equal(rig_calls(r).overlaps, 0);
    rig_done(r);
}

static void made_but_not_started(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_stop(r, "web", "1", NULL);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_string_equal(rig_view(r, "web").message, "created");
    assert_int_equal(rig_calls(r).calls[1], 0);
    rig_done(r);
}

static void deleted_is_gone(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    struct answer a = rig_delete(r, "web", false);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_true(strncmp(a.task, "delete-web-", 11) == 0);
    assert_false(rig_has(r, "web"));
    assert_null(mem_store_get(&r->store, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    assert_int_equal(engine_count(r->g), 0);
    assert_true(rig_event(r, "web", "deleted"));
    a = rig_delete(r, "web", false);
    assert_int_equal(a.verdict, ENGINE_SKIPPED);
    a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

/* The runtime refuses: the workload stays, says so, and goes when it can. */
static void delete_refused_is_kept(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    struct fake_rule no = {.ops = FAKE_REMOVE, .times = 5};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "device is busy");
    assert_int_equal(fake_rule(r->fake, &no), 0);
    (void)rig_delete(r, "web", false);
    assert_true(rig_view(r, "web").deleting);
    assert_state(r, "web", ACTUAL_FAILED); /* for all to see, and why */
    assert_string_equal(rig_view(r, "web").message, "delete failed: device is busy");
    assert_string_equal(rig_meta(r, "web", "last_delete_error"), "delete failed: device is busy");
    assert_int_equal(mem_store_get(&r->store, "web")->flags & STORED_DELETING, STORED_DELETING);
    struct answer a = rig_delete(r, "web", false);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_pass(r, 10 * 60 * 1000);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    rig_done(r);
}

/* A hundred at once: each is answered, one object comes of it, the last one decides. */
static void hundred_at_once(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    static struct answer a[100];
    char revision[16];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(revision, sizeof(revision), "%d", i);
        rig_submit(r, "web", revision, NULL, NULL, &a[i]);
    }
    rig_settle(r);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(a[i].n, 1);
        assert_int_equal(a[i].verdict, ENGINE_ACCEPTED);
    }
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "99"));
    assert_int_equal(r->store.commits, 2);
    assert_int_equal(rig_calls(r).calls[0], 1); /* one act for all of them */
    /* The same one a hundred times. */
    for (int i = 0; i < 100; i++)
        rig_submit(r, "db", "1", NULL, NULL, &a[i]);
    rig_settle(r);
    for (int i = 0; i < 100; i++)
        assert_int_equal(a[i].verdict, ENGINE_ACCEPTED);
    assert_int_equal(rig_calls(r).calls[0], 2);
    rig_done(r);
}

static void failed_commit_changes_nothing(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a, b;
    r->store.fail_at = 1;
    r->store.fail_code = ERR_NO_SPACE;
    a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_REFUSED);
    assert_int_equal(a.e.code, ERR_NO_SPACE);
    assert_false(rig_has(r, "web"));
    assert_null(task_newest(r->tasks, SLICE_LIT("web"))); /* no ghost of a task */
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    /* An update and what was stacked on top of it. */
    r->store.fail_at = 1;
    rig_submit(r, "web", "2", NULL, NULL, &a);
    rig_submit(r, "web", "3", NULL, NULL, &b);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_REFUSED);
    assert_int_equal(b.verdict, ENGINE_REFUSED);
    assert_true(slice_eqs(rig_view(r, "web").revision, "1"));
    assert_int_equal(rig_view(r, "web").generation, 1);
    assert_int_equal(rig_object(r, "web").serial, serial);
    r->store.busy_for = 1;
    a = rig_apply(r, "web", "2", NULL);
    assert_int_equal(a.e.code, ERR_BUSY);
    a = rig_delete(r, "web", false);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_done(r);
}

static void delete_row_fails_once(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    r->store.fail_at = 2; /* the one that removes the row */
    (void)rig_delete(r, "web", false);
    assert_true(rig_has(r, "web"));
    rig_pass(r, 5000);
    assert_false(rig_has(r, "web"));
    assert_null(mem_store_get(&r->store, "web"));
    rig_done(r);
}

static void conditions_hold(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a;
    struct engine_apply only_new = {.who = "x", .only_new = true};
    rig_submit(r, "web", "1", NULL, &only_new, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_submit(r, "web", "2", NULL, &only_new, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    struct engine_apply match = {.who = "x", .generation = 7};
    rig_submit(r, "web", "2", NULL, &match, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    match.generation = 1;
    rig_submit(r, "web", "2", NULL, &match, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(a.generation, 2);
    a = (struct answer){0};
    struct engine_delete d = {.id = SLICE_LIT("web"), .who = "x", .generation = 1};
    engine_delete(r->g, &d, on_answer, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    rig_done(r);
}

static void bad_input(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct workload_doc d;
    struct err e;
    struct answer a = {0};
    struct engine_apply how = {.doc = &d, .who = "x"};
    assert_int_equal(workload_doc_init(&d, &e), 0);
    d.id = mem_strdup("../etc");
    d.type = WORKLOAD_CONTAINER;
    d.container.image = mem_strdup("a");
    engine_apply(r->g, &how, on_answer, &a);
    assert_int_equal(a.e.code, ERR_INVALID);
    assert_non_null(strstr(a.e.msg, "../etc"));
    mem_free(d.id);
    d.id = mem_strdup("web");
    d.type = WORKLOAD_VM;
    engine_apply(r->g, &how, on_answer, &a);
    assert_true(a.e.code == ERR_UNSUPPORTED || a.e.code == ERR_INVALID);
    workload_doc_done(&d);
    assert_int_equal(fake_refuse_image(r->fake, "bad"), 0);
    a = rig_apply(r, "web", "1", "container: {image: bad}");
    assert_int_equal(a.e.code, ERR_INVALID);
    assert_false(rig_has(r, "web"));
    assert_int_equal(r->store.commits, 0);
    rig_done(r);
}

static int collect(void *ctx, const struct engine_view *w)
{
    struct buf *b = ctx;
    (void)buf_addf(b, "%.*s ", (int)w->id.len, w->id.p);
    return 0;
}

static void listed_in_order(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    static const char *const ids[] = {"mm", "zz", "aa", "b-1", "B1", "b1"};
    char text[128];
    struct buf b = BUF_FIXED(text);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        (void)rig_apply(r, ids[i], "1", NULL);
    assert_int_equal(engine_each(r->g, WORKLOAD_NONE, collect, &b), 0);
    assert_string_equal(text, "B1 aa b-1 b1 mm zz ");
    (void)rig_delete(r, "aa", false);
    (void)rig_apply(r, "ab", "1", NULL);
    buf_clear(&b);
    assert_int_equal(engine_each(r->g, WORKLOAD_CONTAINER, collect, &b), 0);
    assert_string_equal(text, "B1 ab b-1 b1 mm zz ");
    buf_clear(&b);
    assert_int_equal(engine_each(r->g, WORKLOAD_VM, collect, &b), 0);
    assert_int_equal(b.len, 0);
    for (int i = 0; i < 200; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "n%03d", (i * 37) % 200);
        (void)rig_apply(r, id, "1", NULL);
    }
    struct buf all = BUF_INIT(65536);
    assert_int_equal(engine_each(r->g, WORKLOAD_NONE, collect, &all), 0);
    assert_non_null(strstr(all.data, "n000 n001 n002"));
    assert_non_null(strstr(all.data, "n198 n199 zz"));
    buf_done(&all);
    rig_done(r);
}

static void planned(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e;
    struct engine_view v;
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(workload_doc_read(&d,
                                       SLICE_LIT("id: web\ntype: container\nrevision_id: \"2\"\n"
                                                 "container: {image: b}\n"),
                                       &report, &e),
                     0);
    struct engine_apply how = {.doc = &d, .who = "x"};
    struct engine_plan p = {.view = &v};
    engine_plan(r->g, &how, &p);
    assert_int_equal(p.verdict, ENGINE_ACCEPTED);
    assert_true(p.exists && p.recreate && p.stop && p.start);
    assert_ptr_equal(p.view, &v);
    assert_int_equal(r->store.commits, 1);
    rig_settle(r);
    assert_true(slice_eqs(rig_object(r, "web").revision, "1"));
    mem_free(d.revision_id);
    d.revision_id = mem_strdup("1");
    engine_plan(r->g, &how, &p);
    assert_int_equal(p.verdict, ENGINE_REFUSED);
    assert_int_equal(p.e.code, ERR_CONFLICT);
    workload_doc_done(&d);
    schema_report_done(&report);
    rig_done(r);
}

static void restart_and_force(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a = {0};
    engine_restart(r->g, SLICE_LIT("web"), "x", false, on_answer, &a);
    assert_int_equal(a.e.code, ERR_NOT_FOUND);
    (void)rig_apply(r, "web", "1", NULL);
    engine_restart(r->g, SLICE_LIT("web"), "x", false, on_answer, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_object(r, "web").starts, 2);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    (void)rig_stop(r, "web", "1", NULL);
    engine_restart(r->g, SLICE_LIT("web"), "x", false, on_answer, &a);
    assert_int_equal(a.e.code, ERR_STATE);
    rig_done(r);
}

/* Nothing is written, and nothing is asked of the runtime but one list, while nothing changes. */
static void idle_is_quiet(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "w%02d", i);
        (void)rig_apply(r, id, "1", NULL);
    }
    rig_pass(r, 120000);
    uint64_t commits = r->store.commits, allocations;
    struct fake_stats before = rig_calls(r);
    rig_pass(r, 600000);
    struct fake_stats after = rig_calls(r);
    assert_int_equal(r->store.commits, commits);
    for (int i = 0; i < 5; i++)
        assert_int_equal(before.calls[i], after.calls[i]);
    assert_in_range(after.calls[5] - before.calls[5], 19, 21);
    /* A pass allocates for itself, not for each object. */
    engine_look(r->g);
    allocations = mem_alloc_count();
    rig_settle(r);
    assert_true(mem_alloc_count() - allocations < 8);
    rig_done(r);
}

static void stops_in_order(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct fake_rule hang = {.ops = FAKE_ENSURE, .hang = true};
    struct answer a;
    assert_int_equal(fake_rule(r->fake, &hang), 0);
    rig_submit(r, "web", "1", NULL, NULL, &a);
    rig_settle(r);
    assert_true(rig_view(r, "web").acting);
    rig_close(r); /* the act is cancelled when the limit has passed */
    fake_clear_rules(r->fake);
    rig_open(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_event(r, "web", "created"));
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applied_runs),
        cmocka_unit_test(same_again_is_skipped),
        cmocka_unit_test(stop_and_start_in_place),
        cmocka_unit_test(new_revision_replaces),
        cmocka_unit_test(made_but_not_started),
        cmocka_unit_test(deleted_is_gone),
        cmocka_unit_test(delete_refused_is_kept),
        cmocka_unit_test(hundred_at_once),
        cmocka_unit_test(failed_commit_changes_nothing),
        cmocka_unit_test(delete_row_fails_once),
        cmocka_unit_test(conditions_hold),
        cmocka_unit_test(bad_input),
        cmocka_unit_test(listed_in_order),
        cmocka_unit_test(planned),
        cmocka_unit_test(restart_and_force),
        cmocka_unit_test(idle_is_quiet),
        cmocka_unit_test(stops_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
