/* Passes, runtimes that go away, orphans, starting again, memory that runs out. */
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

static void unreachable(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    fake_reach(r->fake, false, false, true);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_UNKNOWN);
    assert_string_equal(rig_view(r, "web").message,
                        "runtime unreachable: the fake runtime is away");
    /* What is asked for now is kept; nothing is done, nothing counted. */
    struct answer a = rig_stop(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    (void)rig_apply(r, "db", "1", NULL);
    (void)rig_delete(r, "db", false);
    (void)rig_apply(r, "other", "1", NULL);
    struct fake_stats before = rig_calls(r);
    rig_pass(r, 3600 * S);
    struct fake_stats after = rig_calls(r);
    for (int i = 0; i < 4; i++)
        assert_int_equal(before.calls[i], after.calls[i]);
    assert_true(after.calls[5] - before.calls[5] < 150); /* it is asked, now and then */
    assert_int_equal(rig_view(r, "other").attempts, 0);
    assert_int_equal(rig_view(r, "web").desired, DESIRED_STOPPED);
    assert_non_null(mem_store_get(&r->store, "db"));
    fake_reach(r->fake, true, false, true);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_STOPPED);
    assert_state(r, "other", ACTUAL_RUNNING);
    assert_false(rig_has(r, "db"));
    rig_done(r);
}

/* Nobody says that it is back: it is found out. And an act that meets it says that it is away. */
static void away_in_silence(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    fake_reach(r->fake, false, false, false);
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(rig_view(r, "web").seen, ACTUAL_UNKNOWN);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_pass(r, 100 * S);
    fake_reach(r->fake, true, false, false);
    rig_pass(r, 31 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_calls(r).calls[0], 2);
    rig_done(r);
}

/* A daemon that takes its containers with it: they did not crash. */
static void runtime_restarts(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    rig_pass(r, 100 * S);
    fake_reach(r->fake, false, true, true);
    rig_pass(r, 20 * S);
    fake_reach(r->fake, true, false, true);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    assert_int_equal(rig_object(r, "web").starts, 2);
    rig_done(r);
}

static void away_at_start(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    rig_close(r);
    fake_reach(r->fake, false, false, false);
    rig_open(r);
    assert_state(r, "web", ACTUAL_UNKNOWN);
    rig_pass(r, 7200 * S); /* through many rounds of garbage collection */
    assert_true(rig_has(r, "web"));
    assert_non_null(mem_store_get(&r->store, "web"));
    fake_reach(r->fake, true, false, true);
    rig_settle(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_object(r, "web").starts, 1); /* the same one still */
    rig_done(r);
}

/* Nothing is known before the first list has come: what is asked for meanwhile waits for it. */
static void asked_before_first_look(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    (void)rig_apply(r, "db", "1", NULL);
    struct fake_rule no = {.ops = FAKE_REMOVE};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "busy");
    assert_int_equal(fake_rule(r->fake, &no), 0);
    (void)rig_delete(r, "web", false);
    rig_kill(r);
    fake_clear_rules(r->fake);
    struct fake_rule slow = {.ops = FAKE_LIST, .least_ms = 5000, .most_ms = 5000};
    assert_int_equal(fake_rule(r->fake, &slow), 0);
    rig_open(r);
    struct answer a = {0};
    engine_retry_now(r->g, SLICE_LIT("web"), "tester", on_answer, &a);
    (void)rig_apply(r, "db", "2", NULL);
    (void)rig_apply(r, "new", "1", NULL);
    struct fake_stats before = rig_calls(r);
    rig_pass(r, 4 * S);
    struct fake_stats after = rig_calls(r);
    for (int i = 0; i < 4; i++)
        assert_int_equal(before.calls[i], after.calls[i]);
    assert_true(rig_has(r, "web"));
    rig_pass(r, 2 * S);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 2);
    assert_state(r, "db", ACTUAL_RUNNING);
    assert_state(r, "new", ACTUAL_RUNNING);
    rig_done(r);
}

static void looks_fail(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    struct fake_rule no = {.ops = FAKE_INSPECT, .times = 2};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "internal error");
    assert_int_equal(fake_rule(r->fake, &no), 0);
    assert_true(fake_crash(r->fake, SLICE_LIT("web"), 1, true));
    rig_settle(r);
    assert_state(r, "web", ACTUAL_UNKNOWN);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    rig_pass(r, 60 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    rig_done(r);
}

/* 8.2: only ours, only after long, only when the store was in order, only a few at once. */
static void orphans(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    assert_int_equal(fake_put(r.fake, SLICE_LIT("ours"), "1", "node-1", ACTUAL_RUNNING, false), 0);
    assert_int_equal(fake_put(r.fake, SLICE_LIT("theirs"), "1", "node-2", ACTUAL_RUNNING, false),
                     0);
    assert_int_equal(fake_put(r.fake, SLICE_LIT("nobodys"), "1", NULL, ACTUAL_RUNNING, false), 0);
    assert_int_equal(fake_put(r.fake, SLICE_LIT("foreign"), "1", NULL, ACTUAL_RUNNING, true), 0);
    rig_open(&r);
    rig_pass(&r, 29 * 60 * S);
    assert_int_equal(rig_calls(&r).calls[3], 0);
    rig_pass(&r, 10 * 60 * S);
    assert_int_equal(rig_calls(&r).calls[3], 1);
    struct fake_object o;
    assert_false(fake_get(r.fake, SLICE_LIT("ours"), &o));
    assert_true(rig_event(&r, "ours", "orphan-removed"));
    rig_pass(&r, 24 * 3600 * S);
    assert_true(fake_get(r.fake, SLICE_LIT("theirs"), &o));
    assert_true(fake_get(r.fake, SLICE_LIT("nobodys"), &o));
    assert_true(fake_get(r.fake, SLICE_LIT("foreign"), &o));
    assert_int_equal(rig_calls(&r).calls[3], 1);
    /* In time: somebody asks for it again, and it is taken as it is. */
    assert_int_equal(fake_put(r.fake, SLICE_LIT("again"), "1", "node-1", ACTUAL_RUNNING, false), 0);
    rig_pass(&r, 20 * 60 * S);
    (void)rig_apply(&r, "again", "1", NULL);
    rig_pass(&r, 3600 * S);
    assert_state(&r, "again", ACTUAL_RUNNING);
    assert_int_equal(rig_object(&r, "again").starts, 0);
    rig_done(&r);
}

static void orphans_of_an_untrusted_store(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.store.untrusted = true;
    assert_int_equal(fake_put(r.fake, SLICE_LIT("ours"), "1", "node-1", ACTUAL_RUNNING, false), 0);
    rig_open(&r);
    rig_pass(&r, 24 * 3600 * S);
    assert_int_equal(rig_calls(&r).calls[3], 0);
    rig_done(&r);
}

static void orphans_a_few_at_once(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    for (int i = 0; i < 25; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "o%02d", i);
        assert_int_equal(fake_put(r.fake, slice_of(id), "1", "node-1", ACTUAL_STOPPED, false), 0);
    }
    rig_open(&r);
    rig_pass(&r, 31 * 60 * S);
    assert_int_equal(rig_calls(&r).calls[3], 10);
    rig_pass(&r, 5 * 60 * S);
    assert_int_equal(rig_calls(&r).calls[3], 20);
    rig_pass(&r, 5 * 60 * S);
    assert_int_equal(fake_count(r.fake), 0);
    rig_done(&r);
}

static void foreign_is_not_touched(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    assert_int_equal(fake_put(r->fake, SLICE_LIT("web"), "1", NULL, ACTUAL_RUNNING, true), 0);
    (void)rig_apply(r, "web", "1", NULL);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_FAILED);
    assert_true(v.terminal);
    assert_non_null(strstr(v.message, "already in use"));
    assert_true(rig_object(r, "web").foreign);
    rig_pass(r, 3600 * S);
    assert_int_equal(rig_object(r, "web").actual, ACTUAL_RUNNING);
    rig_done(r);
}

/* What the original agent made has no label of a node. It is taken over by its name and revision.
 */
static void adopted(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    assert_int_equal(fake_put(r->fake, SLICE_LIT("web"), "1", NULL, ACTUAL_RUNNING, false), 0);
    rig_pass(r, 10);
    (void)rig_apply(r, "web", "1", NULL);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(rig_object(r, "web").starts, 0);
    struct engine_stats s;
    engine_stats(r->g, &s);
    assert_int_equal(s.adopted, 1);
    assert_int_equal(s.created, 0);
    rig_done(r);
}

/* One of the same revision, but made from another document, in a life that nobody remembers; and
 * one that the original agent made without a revision, which is taken until there is another. */
static void other_document(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    rig_close(r);
    mem_store_done(&r->store);
    mem_store_init(&r->store);
    rig_open(r);
    (void)rig_apply(r, "web", "1", NULL);
    assert_int_equal(rig_object(r, "web").serial, serial); /* the same document: the same object */
    rig_close(r);
    mem_store_done(&r->store);
    mem_store_init(&r->store);
    rig_open(r);
    (void)rig_apply(r, "web", "1", "container: {image: other}");
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_object(r, "web").serial > serial);
    assert_int_equal(rig_view(r, "web").attempts, 0);
    assert_int_equal(fake_put(r->fake, SLICE_LIT("old"), "", NULL, ACTUAL_RUNNING, false), 0);
    rig_pass(r, 31 * S);
    (void)rig_apply(r, "old", "", NULL);
    assert_int_equal(rig_object(r, "old").starts, 0);
    assert_state(r, "old", ACTUAL_RUNNING);
    rig_done(r);
}

/* kill -9 between acceptance and start, and between making and starting. */
static void killed_anywhere(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a;
    rig_submit(r, "web", "1", NULL, NULL, &a);
    assert_true(mem_store_run(&r->store));
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_kill(r);
    assert_int_equal(fake_count(r->fake), 0);
    rig_open(r);
    assert_state(r, "web", ACTUAL_RUNNING);
    struct task t;
    task_get(task_newest(r->tasks, SLICE_LIT("web")), &t);
    assert_int_equal(t.kind, TASK_RECONCILE);
    struct fake_rule hang = {.ops = FAKE_START, .hang = true};
    assert_int_equal(fake_rule(r->fake, &hang), 0);
    (void)rig_apply(r, "db", "1", NULL);
    assert_int_equal(rig_object(r, "db").starts, 0);
    fake_clear_rules(r->fake);
    rig_kill(r);
    rig_open(r);
    assert_state(r, "db", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r->fake), 2);
    assert_int_equal(rig_object(r, "db").starts, 1);
    /* A removal that was asked for goes on. */
    (void)fake_rule(r->fake, &(struct fake_rule){.ops = FAKE_REMOVE, .hang = true, .times = 1});
    (void)rig_delete(r, "db", false);
    rig_kill(r);
    rig_open(r);
    rig_pass(r, 11 * S); /* nobody knows whether it was not being made just then */
    assert_false(rig_has(r, "db"));
    assert_int_equal(fake_count(r->fake), 1);
    rig_done(r);
}

/* The type changes: what was made as the old one goes first. */
static void other_type(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.with_vm = true;
    rig_open(&r);
    /* A vm of the same name is there, though the workload is a container. */
    assert_int_equal(fake_put(r.fake_vm, SLICE_LIT("web"), "1", "node-1", ACTUAL_RUNNING, false),
                     0);
    (void)rig_apply(&r, "web", "1", NULL);
    rig_pass(&r, 31 * S);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r.fake_vm), 0);
    assert_int_equal(rig_object(&r, "web").starts, 1);
    rig_done(&r);
}

/* And when the change of type is ours: the old object goes, lock file and all, before the new one
 * is made. */
static void type_changes(void **state)
{
    (void)state;
    static struct rig r;
    struct stored_workload row = {.id = SLICE_LIT("web"),
                                  .type = WORKLOAD_VM,
                                  .revision = SLICE_LIT("0"),
                                  .desired = DESIRED_RUNNING,
                                  .doc = SLICE_LIT("{\"lock_file\":\"/run/lock/web\"}"),
                                  .flags = STORED_RULES,
                                  .generation = 1};
    rig_init(&r);
    r.with_vm = true;
    mem_store_put(&r.store, &row);
    rig_open(&r);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r.fake_vm), 1);
    rig_lock(&r, "/run/lock/web", true);
    (void)rig_apply(&r, "web", "1", "container: {image: a}\nlock_file: /run/lock/web\n");
    rig_pass(&r, 5 * S);
    assert_int_equal(fake_count(r.fake_vm), 1);
    assert_int_equal(fake_count(r.fake), 0);
    rig_lock(&r, "/run/lock/web", false);
    rig_pass(&r, 1 * S);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r.fake_vm), 0);
    assert_int_equal(fake_count(r.fake), 1);
    struct engine_stats s;
    engine_stats(r.g, &s);
    assert_int_equal(s.workloads[WORKLOAD_VM][ACTUAL_RUNNING], 0);
    assert_int_equal(s.workloads[WORKLOAD_CONTAINER][ACTUAL_RUNNING], 1);
    assert_int_equal(engine_count(r.g), 1);
    rig_done(&r);
}

/* A row that cannot be read may own what looks like nobody's. */
static void unreadable_row(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    struct stored_workload row = {.id = SLICE_LIT("odd"), .type = (enum workload_type)77};
    mem_store_put(&r.store, &row);
    assert_int_equal(fake_put(r.fake, SLICE_LIT("odd"), "1", "node-1", ACTUAL_RUNNING, false), 0);
    rig_open(&r);
    assert_false(rig_has(&r, "odd"));
    assert_true(rig_event(&r, "odd", "unreadable"));
    rig_pass(&r, 24 * 3600 * S);
    assert_int_equal(rig_calls(&r).calls[3], 0);
    assert_non_null(mem_store_get(&r.store, "odd"));
    rig_done(&r);
}

/* Sealed with a key that is not there any more: it fails, and says why; others go on. */
static void unreadable_document(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    struct stored_workload row = {.id = SLICE_LIT("odd"),
                                  .type = WORKLOAD_CONTAINER,
                                  .revision = SLICE_LIT("1"),
                                  .desired = DESIRED_RUNNING,
                                  .doc = SLICE_LIT("{\"container\": {\"image\": 7"),
                                  .flags = STORED_RULES,
                                  .generation = 1};
    mem_store_put(&r.store, &row);
    rig_open(&r);
    assert_state(&r, "odd", ACTUAL_FAILED);
    assert_int_equal(rig_view(&r, "odd").reason, FAULT_INVALID_CONFIGURATION);
    assert_true(rig_view(&r, "odd").terminal);
    (void)rig_apply(&r, "web", "1", NULL);
    assert_state(&r, "web", ACTUAL_RUNNING);
    (void)rig_delete(&r, "odd", false); /* and it can be got rid of */
    rig_pass(&r, 11 * S);
    assert_false(rig_has(&r, "odd"));
    rig_done(&r);
}

/* A life of applies, failures and removals with the n-th allocation failing: no crash, nothing
 * accepted is lost, and all of it comes about when there is memory again. */
static void out_of_memory(void **state)
{
    (void)state;
    static const char doc[] = "container: {image: a, env: {A: b}}\n"
                              "depends_on: [{id: db}]\nlock_file: /run/lock/web\n"
                              "health: {kind: tcp, port: 80, interval: 1s, action: restart}\n";
    for (uint64_t n = 1;; n++) {
        static struct rig r;
        struct answer web, db, gone;
        rig_init(&r);
        rig_open(&r);
        mem_fail_at(n, false);
        rig_submit(&r, "web", "1", doc, NULL, &web);
        rig_settle(&r);
        rig_submit(&r, "db", "1", NULL, NULL, &db);
        rig_pass(&r, 2 * S);
        (void)fake_crash(r.fake, SLICE_LIT("db"), 1, true);
        rig_pass(&r, 10 * S);
        gone = (struct answer){0};
        struct engine_delete d = {.id = SLICE_LIT("web"), .who = "x"};
        engine_delete(r.g, &d, on_answer, &gone);
        rig_pass(&r, 1 * S);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(web.n, 1);
        assert_int_equal(db.n, 1);
        assert_int_equal(gone.n, 1);
        if (web.verdict == ENGINE_REFUSED)
            assert_int_equal(web.e.code, ERR_NO_MEMORY);
        rig_pass(&r, 200 * S);
        if (db.verdict == ENGINE_ACCEPTED)
            assert_int_equal(rig_object(&r, "db").actual, ACTUAL_RUNNING);
        else
            assert_false(rig_has(&r, "db"));
        bool there = web.verdict == ENGINE_ACCEPTED && gone.verdict == ENGINE_REFUSED;
        assert_int_equal(rig_has(&r, "web"), there);
        assert_int_equal(mem_store_get(&r.store, "web") != NULL, there);
        assert_int_equal(rig_calls(&r).overlaps, 0);
        rig_done(&r);
        if (!hit)
            break;
    }
}

/* The same for what an operator asks, rules that act, and orphans. */
static void out_of_memory_later(void **state)
{
    (void)state;
    static const char doc[] = "container: {image: a}\nhealth: {kind: tcp, port: 80, interval: 1s, "
                              "retries: 1, action: stop}\n";
    for (uint64_t n = 1;; n++) {
        static struct rig r;
        struct answer a[4] = {0};
        rig_init(&r);
        r.options.limits.orphan_ms = 30 * S;
        r.options.limits.gc_ms = 10 * S;
        rig_open(&r);
        (void)rig_apply(&r, "web", "1", doc);
        (void)rig_apply(&r, "db", "1", NULL);
        assert_int_equal(
            fake_put(r.fake, SLICE_LIT("nobody"), "1", "node-1", ACTUAL_RUNNING, false), 0);
        mem_fail_at(n, false);
        engine_restart(r.g, SLICE_LIT("db"), "x", false, on_answer, &a[0]);
        rig_pass(&r, 1 * S);
        engine_force(r.g, SLICE_LIT("db"), "x", on_answer, &a[1]);
        rig_settle(&r);
        engine_retry_now(r.g, SLICE_LIT("db"), "x", on_answer, &a[2]);
        rig_settle(&r);
        r.probe_fault = "no";
        rig_pass(&r, 5 * S);
        rig_submit(&r, "db", "2", NULL, NULL, &a[3]);
        fake_reach(r.fake, false, false, true);
        rig_pass(&r, 5 * S);
        fake_reach(r.fake, true, false, true);
        rig_pass(&r, 80 * S);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        rig_pass(&r, 200 * S);
        for (size_t i = 0; i < ARRAY_LEN(a); i++) {
            assert_int_equal(a[i].n, 1);
            assert_true(a[i].verdict == ENGINE_ACCEPTED || a[i].e.code == ERR_NO_MEMORY);
        }
        assert_int_equal(rig_view(&r, "web").desired, DESIRED_STOPPED);
        assert_state(&r, "web", ACTUAL_STOPPED);
        assert_state(&r, "db", ACTUAL_RUNNING);
        assert_true(
            slice_eqs(rig_object(&r, "db").revision, a[3].verdict == ENGINE_ACCEPTED ? "2" : "1"));
        assert_int_equal(fake_count(r.fake), 2); /* the orphan has gone */
        assert_int_equal(rig_calls(&r).overlaps, 0);
        rig_done(&r);
        if (!hit)
            break;
    }
}

static void out_of_memory_at_start(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    (void)rig_apply(&r, "db", "1", NULL);
    (void)rig_apply(&r, "web", "1", "container: {image: a}\ndepends_on: [{id: db}]\n");
    rig_close(&r);
    for (uint64_t n = 1;; n++) {
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = rig_try_open(&r, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc == 0) {
            rig_settle(&r);
            rig_close(&r);
        }
        if (!hit)
            break;
        assert_true(rc == 0 || e.code == ERR_NO_MEMORY || rc == ERR_NO_MEMORY);
    }
    rig_done(&r);
}

static int count_one(void *ctx, const struct engine_view *w)
{
    (void)w;
    (*(size_t *)ctx)++;
    return 0;
}

/* Many at once, from an empty store to running and gone. */
static void many(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    enum { N = 3000 };
    static struct answer a[N];
    char id[16];
    for (int i = 0; i < N; i++) {
        (void)snprintf(id, sizeof(id), "w%04d", i);
        rig_submit(r, id, "1", NULL, NULL, &a[i]);
    }
    rig_settle(r);
    struct engine_stats s;
    engine_stats(r->g, &s);
    assert_int_equal(s.workloads[WORKLOAD_CONTAINER][ACTUAL_RUNNING], N);
    assert_int_equal(s.created, N);
    rig_close(r);
    struct fake_stats before = rig_calls(r);
    rig_open(r);
    struct fake_stats after = rig_calls(r);
    engine_stats(r->g, &s);
    assert_int_equal(s.workloads[WORKLOAD_CONTAINER][ACTUAL_RUNNING], N);
    assert_int_equal(after.calls[5] - before.calls[5], 1); /* one list, no looks */
    assert_int_equal(after.calls[4], before.calls[4]);
    for (int i = 0; i < N; i++) {
        (void)snprintf(id, sizeof(id), "w%04d", i);
        struct engine_delete d = {.id = slice_of(id), .who = "x"};
        engine_delete(r->g, &d, on_answer, &a[i]);
    }
    rig_settle(r);
    size_t n = 0;
    assert_int_equal(engine_each(r->g, WORKLOAD_NONE, count_one, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(fake_count(r->fake), 0);
    assert_int_equal(r->store.n_rows, 0);
    rig_done(r);
}

static void explained(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct engine_explain x;
    assert_false(engine_explain(r->g, SLICE_LIT("web"), &x));
    (void)rig_apply(r, "web", "1", NULL);
    assert_true(engine_explain(r->g, SLICE_LIT("web"), &x));
    assert_string_equal(x.is, "It is a container that is running, of revision 1.");
    assert_string_equal(x.should, "It should be running, at revision 1.");
    assert_string_equal(x.why, "It is as it should be.");
    assert_string_equal(x.next, "Nothing has to be done; it is looked at every 30 s.");
    assert_true(strncmp(x.asked, "tester asked for it at 20", 25) == 0);
    struct fake_rule no = {.ops = FAKE_ENSURE};
    (void)fault_set(&no.fault, FAULT_IMAGE_PULL_TIMEOUT, ERR_TIMEOUT, "no answer");
    assert_int_equal(fake_rule(r->fake, &no), 0);
    (void)rig_apply(r, "db", "1", NULL);
    assert_true(engine_explain(r->g, SLICE_LIT("db"), &x));
    assert_string_equal(x.is, "It is a container that is failed, without an object.");
    assert_string_equal(x.why, "The last try failed (IMAGE_PULL_TIMEOUT, 1 failure so far): create "
                               "failed: no answer. It waits for the time of the next try.");
    assert_string_equal(x.next, "It is tried again in 5 s.");
    assert_true(x.next_ns > x.since_ns);
    /* A long text is cut at a word. */
    char words[400] = "";
    while (strlen(words) + 8 < sizeof(words))
        (void)strncat(words, "and so, ", sizeof(words) - strlen(words) - 1);
    fake_clear_rules(r->fake);
    (void)fault_set(&no.fault, FAULT_IMAGE_PULL_TIMEOUT, ERR_TIMEOUT, "%s", words);
    assert_int_equal(fake_rule(r->fake, &no), 0);
    rig_pass(r, 5 * S);
    assert_true(engine_explain(r->g, SLICE_LIT("db"), &x));
    assert_true(strstr(x.why, "and... It waits for") != NULL ||
                strstr(x.why, "so... It waits for") != NULL);
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreachable),
        cmocka_unit_test(away_in_silence),
        cmocka_unit_test(runtime_restarts),
        cmocka_unit_test(away_at_start),
        cmocka_unit_test(asked_before_first_look),
        cmocka_unit_test(looks_fail),
        cmocka_unit_test(orphans),
        cmocka_unit_test(orphans_of_an_untrusted_store),
        cmocka_unit_test(orphans_a_few_at_once),
        cmocka_unit_test(foreign_is_not_touched),
        cmocka_unit_test(adopted),
        cmocka_unit_test(other_document),
        cmocka_unit_test(killed_anywhere),
        cmocka_unit_test(other_type),
        cmocka_unit_test(type_changes),
        cmocka_unit_test(unreadable_row),
        cmocka_unit_test(unreadable_document),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(out_of_memory_later),
        cmocka_unit_test(out_of_memory_at_start),
        cmocka_unit_test(many),
        cmocka_unit_test(explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
