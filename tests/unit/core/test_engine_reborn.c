/* Applied while it is being deleted: what is there goes first, for good, and it begins anew. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

#define S 1000u
#define LOCKED "container: {image: a}\nlock_file: /run/lock/web\n"
#define ON(id) "container: {image: a}\ndepends_on: [{id: " id "}]\n"

static struct rig *open_rig(void)
{
    static struct rig r;
    rig_init(&r);
    rig_open(&r);
    return &r;
}

static void hold_removals(struct rig *r, uint64_t times)
{
    struct fake_rule no = {.ops = FAKE_REMOVE, .times = times};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "device is busy");
    assert_int_equal(fake_rule(r->fake, &no), 0);
}

/* How the last removals were asked for. */
static struct removals {
    int (*real)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    unsigned for_good, forgotten, others;
} removals;

static int on_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    removals.for_good += o->for_good ? 1 : 0;
    removals.forgotten += o->forgotten ? 1 : 0;
    removals.others += !o->for_good && !o->forgotten ? 1 : 0;
    return removals.real(self, o, fn, ctx);
}

static void watch_removals(struct rig *r)
{
    struct driver_ops *ops = (struct driver_ops *)(uintptr_t)fake_driver(r->fake).ops;
    struct driver_ops *vm = (struct driver_ops *)(uintptr_t)fake_driver(r->fake_vm).ops;
    assert_ptr_equal(vm->remove, ops->remove);
    removals = (struct removals){.real = ops->remove};
    ops->remove = vm->remove = on_remove;
}

static void open_without_vm(struct rig *r)
{
    rig_kill(r);
    r->with_vm = false;
    r->options.drivers[WORKLOAD_VM] = (struct driver){0};
    rig_open(r);
}

static void open_anew_with_vm(struct rig *r)
{
    rig_kill(r);
    r->with_vm = true;
    rig_open(r);
}

static unsigned flags(struct rig *r, const char *id)
{
    const struct stored_workload *w = mem_store_get(&r->store, id);
    return w != NULL ? w->flags & (STORED_DELETING | STORED_REBORN | STORED_KEEPS) : 0;
}

struct by_id {
    const char *id;
    int status;
    char text[256];
};

static int find_task(void *ctx, const struct task *t)
{
    struct by_id *b = ctx;
    if (strcmp(t->id, b->id) != 0)
        return 0;
    b->status = t->status;
    (void)snprintf(b->text, sizeof(b->text), "%s", t->error);
    return 1;
}

static struct by_id task_of(struct rig *r, const char *id)
{
    struct by_id b = {.id = id, .status = -1};
    (void)tasks_each(r->tasks, false, find_task, &b);
    return b;
}

/* The same revision: nothing of it is taken over. */
static void same_revision(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer d, a;
    watch_removals(r);
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    struct fake_rule slow = {.ops = FAKE_REMOVE, .least_ms = 20 * S};
    assert_int_equal(fake_rule(r->fake, &slow), 0);
    d = rig_delete(r, "web", false);
    a = rig_apply(r, "web", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_true(strncmp(a.task, "apply-web-", 10) == 0);
    assert_int_equal(flags(r, "web"), STORED_REBORN);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.actual, ACTUAL_PENDING);
    assert_int_equal(v.seen, ACTUAL_PENDING);
    assert_false(v.deleting);
    assert_string_equal(v.phase, "removing");
    assert_int_equal(v.generation, 3);
    assert_int_equal(task_of(r, d.task).status, TASK_RUNNING);
    assert_int_equal(task_of(r, a.task).status, TASK_PENDING);
    assert_string_equal(rig_meta(r, "web", "task_id"), a.task);
    /* Asked for once more, it is the same. */
    struct answer again = rig_apply(r, "web", "1", NULL);
    assert_int_equal(again.verdict, ENGINE_ACCEPTED);
    assert_string_equal(again.task, a.task);
    rig_pass(r, 30 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_object(r, "web").serial != serial);
    assert_int_equal(flags(r, "web"), 0);
    assert_int_equal(task_of(r, d.task).status, TASK_COMPLETED);
    assert_string_equal(task_of(r, d.task).text, "");
    assert_int_equal(task_of(r, a.task).status, TASK_COMPLETED);
    assert_int_equal(fake_count(r->fake), 1);
    assert_int_equal(rig_calls(r).calls[0], 2);
    assert_int_equal(removals.for_good, 1);
    /* And it is as any other from then on. */
    assert_int_equal(rig_apply(r, "web", "1", NULL).verdict, ENGINE_SKIPPED);
    fake_clear_rules(r->fake);
    (void)rig_delete(r, "web", false);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    assert_int_equal(removals.for_good, 2);
    assert_int_equal(removals.forgotten + removals.others, 0);
    rig_done(r);
}

/* At once, in one commit. */
static void at_once(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer d = {0}, a, b;
    (void)rig_apply(r, "web", "1", NULL);
    uint64_t serial = rig_object(r, "web").serial;
    struct engine_delete del = {.id = SLICE_LIT("web"), .who = "client"};
    rig_submit(r, "web", "2", NULL, NULL, &a); /* the one on its way to the disk */
    engine_delete(r->g, &del, on_answer, &d);
    rig_submit(r, "web", "1", NULL, NULL, &b);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.verdict, ENGINE_ACCEPTED);
    assert_int_equal(b.verdict, ENGINE_ACCEPTED);
    rig_pass(r, 30 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_object(r, "web").serial != serial);
    assert_true(slice_eqs(rig_object(r, "web").revision, "1"));
    rig_done(r);
}

/* The last word counts: another document, or that it is to go after all. */
static void changed_again(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", NULL);
    hold_removals(r, 8);
    struct answer d = rig_delete(r, "web", false);
    assert_int_equal(task_of(r, d.task).status, TASK_FAILED);
    struct answer a = rig_apply(r, "web", "2", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_state(r, "web", ACTUAL_FAILED);
    assert_string_equal(rig_view(r, "web").message,
                        "delete failed: device is busy; revision \"1\" still runs");
    assert_string_equal(rig_meta(r, "web", "last_delete_error"), "delete failed: device is busy");
    struct answer b = rig_apply(r, "web", "3", NULL);
    assert_int_equal(b.verdict, ENGINE_ACCEPTED);
    assert_int_equal(flags(r, "web"), STORED_REBORN);
    /* Neither its restart nor another type is accepted meanwhile. */
    struct answer x = {0};
    engine_restart(r->g, SLICE_LIT("web"), "client", false, on_answer, &x);
    assert_int_equal(x.e.code, ERR_STATE);
    d = rig_delete(r, "web", false);
    assert_int_equal(d.verdict, ENGINE_ACCEPTED);
    assert_int_equal(flags(r, "web"), STORED_DELETING);
    b = rig_apply(r, "web", "4", NULL);
    engine_retry_now(r->g, SLICE_LIT("web"), "client", on_answer, &x);
    engine_force(r->g, SLICE_LIT("web"), "client", on_answer, &x);
    rig_settle(r);
    assert_int_equal(flags(r, "web"), STORED_REBORN);
    assert_int_equal(rig_object(r, "web").starts, 1);
    rig_pass(r, 20 * 60 * S); /* never given up */
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(slice_eqs(rig_object(r, "web").revision, "4"));
    assert_int_equal(flags(r, "web"), 0);
    hold_removals(r, 3);
    (void)rig_delete(r, "web", false);
    (void)rig_apply(r, "web", "5", NULL);
    (void)rig_delete(r, "web", false);
    rig_pass(r, 20 * 60 * S);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    rig_done(r);
}

/* What is being deleted is not there, for those who ask whether it is. */
static void conditions(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a;
    (void)rig_apply(r, "web", "1", NULL);
    struct engine_apply only_new = {.who = "client", .only_new = true};
    rig_submit(r, "web", "2", NULL, &only_new, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    hold_removals(r, 2);
    (void)rig_delete(r, "web", false);
    engine_set_draining(r->g, true);
    rig_submit(r, "web", "2", NULL, NULL, &a);
    assert_int_equal(a.e.code, ERR_DRAINING);
    engine_set_draining(r->g, false);
    struct engine_apply old = {.who = "client", .generation = 1};
    rig_submit(r, "web", "2", NULL, &old, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    rig_submit(r, "web", "2", NULL, &only_new, &a);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    rig_submit(r, "web", "2", NULL, &only_new, &a);
    assert_int_equal(a.e.code, ERR_PRECONDITION);
    /* Others that need it wait for the new one; to delete it is refused again. */
    (void)rig_apply(r, "app", "1", ON("web"));
    assert_string_equal(rig_view(r, "app").waits_for, "\"web\" to run");
    assert_int_equal(rig_delete(r, "web", false).e.code, ERR_CONFLICT);
    rig_pass(r, 600 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_state(r, "app", ACTUAL_RUNNING);
    rig_done(r);
}

/* Its removal waits for the lock file, and for those that depend on it and go as well. */
static void waits(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "web", "1", LOCKED);
    (void)rig_apply(r, "app", "1", ON("web"));
    uint64_t serial = rig_object(r, "web").serial;
    hold_removals(r, 1); /* of app */
    struct engine_delete del = {.id = SLICE_LIT("web"), .who = "client", .keep_going = true};
    struct answer d;
    rig_lock(r, "/run/lock/web", true);
    (void)rig_delete(r, "app", false);
    engine_delete(r->g, &del, on_answer, &d);
    rig_settle(r);
    (void)rig_apply(r, "web", "2", LOCKED);
    assert_string_equal(rig_view(r, "web").waits_for, "\"app\" to be removed first");
    rig_pass(r, 60 * S);
    assert_false(rig_has(r, "app"));
    assert_string_equal(rig_view(r, "web").waits_for, "lock file \"/run/lock/web\" to go");
    assert_int_equal(rig_object(r, "web").serial, serial);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 5 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_true(rig_object(r, "web").serial != serial);
    rig_done(r);
}

/* One that comes again goes before what it depends on, which is told when it has gone. */
static void dependents_come_again(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    (void)rig_apply(r, "db", "1", NULL);
    (void)rig_apply(r, "web", "1", ON("db"));
    hold_removals(r, 1);
    (void)rig_delete(r, "web", false);
    (void)rig_delete(r, "db", false);
    assert_string_equal(rig_view(r, "db").waits_for, "\"web\" to be removed first");
    (void)rig_apply(r, "web", "2", NULL);
    rig_pass(r, 20 * S);
    assert_false(rig_has(r, "db"));
    assert_state(r, "web", ACTUAL_RUNNING);
    /* And when it needs it still: first it goes, then what it needs, and then it waits. */
    (void)rig_apply(r, "db", "1", NULL);
    (void)rig_apply(r, "web", "3", ON("db"));
    hold_removals(r, 2);
    (void)rig_delete(r, "web", false);
    (void)rig_delete(r, "db", false);
    (void)rig_apply(r, "web", "3", ON("db"));
    assert_string_equal(rig_view(r, "db").waits_for, "\"web\" to be removed first");
    rig_pass(r, 60 * S);
    assert_false(rig_has(r, "db"));
    assert_string_equal(rig_view(r, "web").waits_for, "\"db\", which does not exist");
    assert_int_equal(flags(r, "web"), 0);
    rig_done(r);
}

/* Killed before each commit, and with each one failing: in the end there is one new object. */
static void killed(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 8; n++)
        for (int fails = 0; fails < 2; fails++) {
            struct rig *r = open_rig();
            struct answer a = {0};
            (void)rig_apply(r, "web", "1", NULL);
            uint64_t serial = rig_object(r, "web").serial;
            hold_removals(r, 2);
            (void)rig_delete(r, "web", false);
            *(fails != 0 ? &r->store.fail_at : &r->store.die_at) = n;
            r->store.fail_code = ERR_IO;
            rig_submit(r, "web", "1", NULL, NULL, &a);
            rig_settle(r);
            bool accepted = a.n == 1 && a.verdict == ENGINE_ACCEPTED;
            rig_pass(r, 60 * S);
            if (fails == 0) {
                rig_kill(r);
                rig_open(r);
            }
            rig_pass(r, 600 * S);
            assert_int_equal(rig_has(r, "web"), accepted);
            assert_int_equal(fake_count(r->fake), accepted ? 1 : 0);
            assert_int_equal(flags(r, "web"), 0);
            if (accepted) {
                assert_state(r, "web", ACTUAL_RUNNING);
                assert_true(rig_object(r, "web").serial != serial);
            }
            rig_done(r);
        }
}

static void out_of_memory(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t n = 1; n < 120; n++) {
        struct rig *r = open_rig();
        struct answer a = {0};
        (void)rig_apply(r, "web", "1", NULL);
        uint64_t serial = rig_object(r, "web").serial;
        hold_removals(r, 2);
        (void)rig_delete(r, "web", false);
        mem_fail_at(n, false);
        rig_submit(r, "web", "1", NULL, NULL, &a);
        rig_pass(r, 60 * S);
        mem_fail_at(0, false);
        rig_pass(r, 600 * S);
        assert_int_equal(a.n, 1);
        bool accepted = a.verdict == ENGINE_ACCEPTED;
        refused += accepted ? 0 : 1;
        assert_int_equal(rig_has(r, "web"), accepted);
        assert_int_equal(fake_count(r->fake), accepted ? 1 : 0);
        assert_int_equal(flags(r, "web"), 0);
        if (accepted) {
            assert_state(r, "web", ACTUAL_RUNNING);
            assert_true(rig_object(r, "web").serial != serial);
        }
        rig_done(r);
    }
    assert_true(refused > 5 && refused < 110);
}

/* Its row is just going: it comes back; or, if that fails, it is forgotten after all. */
static void row_is_going(void **state)
{
    (void)state;
    for (uint64_t fails = 0; fails < 3; fails++) {
        struct rig *r = open_rig();
        struct answer a = {0}, d = {0};
        (void)rig_apply(r, "web", "1", NULL);
        uint64_t serial = rig_object(r, "web").serial, commits = r->store.commits;
        struct engine_delete del = {.id = SLICE_LIT("web"), .who = "client"};
        engine_delete(r->g, &del, on_answer, &d);
        for (int i = 0; i < 1000 && fake_count(r->fake) > 0; i++) {
            (void)mem_store_run(&r->store);
            r->now_ms += 10;
            fake_run(r->fake);
            engine_run(r->g);
        }
        assert_int_equal(fake_count(r->fake), 0);
        for (int i = 0; i < 10 && r->store.n_waiting == 0; i++)
            engine_run(r->g);
        assert_int_equal(r->store.n_waiting, 1);
        assert_int_equal(r->store.commits, commits + 1);
        r->store.fail_at = fails; /* 1: the row stays; 2: it does not come back */
        r->store.fail_code = ERR_IO;
        rig_submit(r, "web", "1", NULL, NULL, &a);
        rig_pass(r, 60 * S);
        assert_int_equal(a.n, 1);
        assert_int_equal(a.verdict, fails < 2 ? ENGINE_ACCEPTED : ENGINE_REFUSED);
        assert_int_equal(rig_has(r, "web"), fails < 2);
        assert_int_equal(fake_count(r->fake), fails < 2 ? 1 : 0);
        if (fails < 2)
            assert_true(rig_object(r, "web").serial != serial);
        assert_int_equal(task_of(r, d.task).status, TASK_COMPLETED);
        rig_done(r);
    }
}

/* Deleted, applied, deleted while its row is on its way: each is answered, and it is gone. */
static void row_is_going_again(void **state)
{
    (void)state;
    struct rig *r = open_rig();
    struct answer a[4] = {0};
    struct engine_delete del = {.id = SLICE_LIT("web"), .who = "client"};
    (void)rig_apply(r, "web", "1", NULL);
    for (int i = 0; i < 2; i++) {
        engine_delete(r->g, &del, on_answer, &a[2 * i]);
        rig_submit(r, "web", "1", NULL, NULL, &a[2 * i + 1]);
    }
    struct answer last = rig_delete(r, "web", false);
    for (int i = 0; i < 4; i++)
        assert_int_equal(a[i].verdict, ENGINE_ACCEPTED);
    assert_int_equal(last.verdict, ENGINE_ACCEPTED);
    rig_pass(r, 60 * S);
    assert_false(rig_has(r, "web"));
    assert_int_equal(fake_count(r->fake), 0);
    rig_done(r);
}

/* What a rule of ours forgot keeps its data, whatever comes after it. */
static void keeps(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.failed_ttl_ms = 600 * S;
    rig_open(&r);
    watch_removals(&r);
    struct fake_rule no = {.ops = FAKE_START, .times = 1};
    (void)fault_set(&no.fault, FAULT_INVALID_CONFIGURATION, ERR_INVALID, "no");
    assert_int_equal(fake_rule(r.fake, &no), 0);
    (void)rig_apply(&r, "web", "1", NULL);
    hold_removals(&r, 2);
    rig_pass(&r, 602 * S);
    assert_int_equal(flags(&r, "web"), STORED_DELETING);
    (void)rig_apply(&r, "web", "2", NULL);
    assert_int_equal(flags(&r, "web"), STORED_REBORN | STORED_KEEPS);
    rig_kill(&r); /* nor after a restart of ours */
    rig_open(&r);
    rig_pass(&r, 60 * S);
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_int_equal(flags(&r, "web"), 0);
    assert_int_equal(removals.for_good, 0);
    assert_true(removals.forgotten >= 3);
    /* But when somebody asks for it. */
    (void)rig_delete(&r, "web", false);
    assert_int_equal(removals.for_good, 1);
    rig_done(&r);
}

/* Who only helps a rule's deletion on does not ask for its data to go. */
static void keeps_when_helped(void **state)
{
    (void)state;
    for (int how = 0; how < 5; how++) {
        static struct rig r;
        struct answer a = {0};
        rig_init(&r);
        r.options.limits.failed_ttl_ms = 600 * S;
        rig_open(&r);
        watch_removals(&r);
        struct fake_rule no = {.ops = FAKE_START, .times = 1};
        (void)fault_set(&no.fault, FAULT_INVALID_CONFIGURATION, ERR_INVALID, "no");
        assert_int_equal(fake_rule(r.fake, &no), 0);
        (void)rig_apply(&r, "web", "1", NULL);
        hold_removals(&r, 4);
        rig_pass(&r, 602 * S);
        assert_int_equal(flags(&r, "web"), STORED_DELETING);
        if (how == 1)
            engine_force(r.g, SLICE_LIT("web"), "client", on_answer, &a);
        else
            engine_retry_now(r.g, SLICE_LIT("web"), "client", on_answer, &a);
        rig_settle(&r);
        assert_int_equal(a.verdict, ENGINE_ACCEPTED);
        assert_int_equal(flags(&r, "web"), STORED_DELETING | STORED_KEEPS);
        if (how == 2) {
            (void)rig_apply(&r, "web", "2", NULL);
            assert_int_equal(flags(&r, "web"), STORED_REBORN | STORED_KEEPS);
        } else if (how == 3) {
            rig_kill(&r);
            rig_open(&r);
        } else if (how == 4) { /* who asks for it to be deleted, does */
            assert_int_equal(removals.for_good, 0);
            (void)rig_delete(&r, "web", false);
            assert_int_equal(flags(&r, "web"), STORED_DELETING);
        }
        rig_pass(&r, 600 * S);
        assert_int_equal(rig_has(&r, "web"), how == 2);
        assert_int_equal(removals.for_good == 0, how != 4);
        assert_true(removals.forgotten >= 2);
        rig_done(&r);
    }
}

/* Deleted by somebody while the rule's removal is under way: that of the rule does not do. */
static void deleted_meanwhile(void **state)
{
    (void)state;
    static struct rig r;
    rig_init(&r);
    r.options.limits.failed_ttl_ms = 600 * S;
    rig_open(&r);
    watch_removals(&r);
    struct driver_ops *ops = (struct driver_ops *)(uintptr_t)fake_driver(r.fake).ops;
    bool releases = ops->releases;
    ops->releases = true;
    struct fake_rule no = {.ops = FAKE_START, .times = 1};
    (void)fault_set(&no.fault, FAULT_INVALID_CONFIGURATION, ERR_INVALID, "no");
    assert_int_equal(fake_rule(r.fake, &no), 0);
    (void)rig_apply(&r, "web", "1", NULL);
    struct fake_rule slow = {.ops = FAKE_REMOVE, .least_ms = 20 * S};
    assert_int_equal(fake_rule(r.fake, &slow), 0);
    rig_pass(&r, 602 * S);
    assert_int_equal(removals.forgotten, 1);
    assert_int_equal(rig_delete(&r, "web", false).verdict, ENGINE_ACCEPTED);
    rig_pass(&r, 60 * S);
    assert_false(rig_has(&r, "web"));
    assert_int_equal(removals.for_good, 1);
    ops->releases = releases;
    rig_done(&r);
}

static struct rig *open_with_vm(void)
{
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
    watch_removals(&r); /* both fakes share their calls */
    assert_state(&r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r.fake_vm), 1);
    return &r;
}

static void apply_vm(struct rig *r, const char *id, const char *revision)
{
    char text[200];
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e = {0};
    struct answer a = {0};
    struct engine_apply apply = {.doc = &d, .who = "client"};
    struct buf b = BUF_FIXED(text);
    assert_int_equal(buf_addf(&b,
                              "id: %s\ntype: vm\nrevision_id: \"%s\"\n"
                              "vm: {vcpus: 1, memory_mb: 16}\n",
                              id, revision),
                     0);
    assert_int_equal(workload_doc_read(&d, (struct slice){text, b.len}, &report, &e), 0);
    engine_apply(r->g, &apply, on_answer, &a);
    workload_doc_done(&d);
    schema_report_done(&report);
    rig_settle(r);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
}

static void hold_vm_removals(struct rig *r, uint64_t times)
{
    struct fake_rule no = {.ops = FAKE_REMOVE, .times = times};
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "device is busy");
    assert_int_equal(fake_rule(r->fake_vm, &no), 0);
}

/* Another type: the driver of what was there removes it for good, then that of what comes. */
static void other_type(void **state)
{
    (void)state;
    struct rig *r = open_with_vm();
    rig_lock(r, "/run/lock/web", true);
    struct answer d = rig_delete(r, "web", false);
    struct answer a = rig_apply(r, "web", "2", LOCKED);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    assert_int_equal(flags(r, "web"), STORED_REBORN);
    struct engine_view v = rig_view(r, "web");
    assert_int_equal(v.type, WORKLOAD_CONTAINER);
    assert_false(v.deleting);
    assert_string_equal(v.waits_for, "lock file \"/run/lock/web\" to go");
    assert_int_equal(fake_count(r->fake), 0);
    assert_int_equal(removals.for_good, 0);
    hold_vm_removals(r, 2);
    rig_lock(r, "/run/lock/web", false);
    rig_pass(r, 2 * S);
    assert_int_equal(removals.for_good, 1);
    assert_string_equal(rig_meta(r, "web", "last_delete_error"), "delete failed: device is busy");
    rig_kill(r); /* nor is it forgotten that it was a VM */
    rig_open(r);
    rig_pass(r, 60 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r->fake_vm), 0);
    assert_int_equal(fake_count(r->fake), 1);
    assert_true(removals.for_good >= 3);
    assert_int_equal(removals.others + removals.forgotten, 0);
    assert_int_equal(flags(r, "web"), 0);
    assert_int_equal(mem_store_get(&r->store, "web")->flags & STORED_WERE, 0);
    assert_int_equal(rig_apply(r, "web", "2", LOCKED).verdict, ENGINE_SKIPPED);
    (void)d;
    rig_done(r);
}

/* And back to the first type, or deleted after all: what was there goes for good in any case. */
static void other_type_again(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct rig *r = open_with_vm();
        hold_vm_removals(r, 6);
        (void)rig_delete(r, "web", false);
        assert_int_equal(rig_apply(r, "web", "2", NULL).verdict, ENGINE_ACCEPTED);
        if (how > 0)
            assert_int_equal(rig_delete(r, "web", false).verdict, ENGINE_ACCEPTED);
        if (how == 2) {
            rig_kill(r);
            rig_open(r);
            assert_int_equal(rig_apply(r, "web", "3", NULL).verdict, ENGINE_ACCEPTED);
        }
        assert_int_equal(fake_count(r->fake_vm), 1);
        unsigned before = removals.for_good;
        rig_pass(r, 20 * 60 * S);
        assert_int_equal(fake_count(r->fake_vm), 0);
        assert_int_equal(rig_has(r, "web"), how != 1);
        assert_int_equal(fake_count(r->fake), how == 1 ? 0 : 1);
        assert_true(removals.for_good > before);
        assert_int_equal(removals.others + removals.forgotten, 0);
        rig_done(r);
    }
}

/* Under way is a removal that makes room only: that does not do for one that is for good. */
static void other_type_meanwhile(void **state)
{
    (void)state;
    struct rig *r = open_with_vm();
    struct fake_rule slow = {.ops = FAKE_REMOVE, .least_ms = 20 * S, .times = 1};
    assert_int_equal(fake_rule(r->fake_vm, &slow), 0);
    apply_vm(r, "web", "1");
    rig_pass(r, S);
    assert_int_equal(removals.others, 1); /* it makes room */
    (void)rig_delete(r, "web", false);
    (void)rig_apply(r, "web", "3", NULL);
    rig_pass(r, 60 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r->fake_vm), 0);
    assert_int_equal(removals.for_good, 1);
    rig_done(r);
}

/* Without the driver of what was there nobody could remove it. */
static void other_type_without_driver(void **state)
{
    (void)state;
    struct rig *r = open_with_vm();
    hold_vm_removals(r, 1);
    (void)rig_delete(r, "web", false);
    open_without_vm(r);
    struct answer a = rig_apply(r, "web", "2", NULL);
    assert_int_equal(a.verdict, ENGINE_REFUSED);
    assert_int_equal(a.e.code, ERR_STATE);
    assert_string_equal(a.e.msg,
                        "\"web\" is being deleted, and was a vm, which this machine has no "
                        "runtime for any more");
    assert_int_equal(flags(r, "web"), STORED_DELETING);
    open_anew_with_vm(r);
    hold_vm_removals(r, 1);
    a = rig_apply(r, "web", "2", NULL);
    assert_int_equal(a.verdict, ENGINE_ACCEPTED);
    open_without_vm(r);
    rig_pass(r, 60 * S);
    assert_string_equal(rig_view(r, "web").waits_for,
                        "a runtime for type vm, which this machine does not have");
    assert_int_equal(fake_count(r->fake), 0);
    open_anew_with_vm(r);
    rig_pass(r, 60 * S);
    assert_state(r, "web", ACTUAL_RUNNING);
    assert_int_equal(fake_count(r->fake_vm), 0);
    rig_done(r);
}

/* Killed before each commit, each one failing, each allocation failing. */
static void other_type_trouble(void **state)
{
    (void)state;
    unsigned all = 0;
    for (uint64_t n = 1; n < 150; n++) {
        struct rig *r = open_with_vm();
        struct answer a = {0};
        hold_vm_removals(r, 2);
        (void)rig_delete(r, "web", false);
        if (n < 8)
            r->store.die_at = n;
        else if (n < 16)
            r->store.fail_at = n - 7;
        else
            mem_fail_at(n - 15, false);
        r->store.fail_code = ERR_IO;
        rig_submit(r, "web", "1", NULL, NULL, &a);
        rig_settle(r);
        bool accepted = a.n == 1 && a.verdict == ENGINE_ACCEPTED;
        rig_pass(r, 60 * S);
        mem_fail_at(0, false);
        if (n < 8) {
            rig_kill(r);
            rig_open(r);
        }
        rig_pass(r, 600 * S);
        assert_int_equal(rig_has(r, "web"), accepted);
        assert_int_equal(fake_count(r->fake_vm), 0);
        assert_int_equal(fake_count(r->fake), accepted ? 1 : 0);
        assert_int_equal(flags(r, "web"), 0);
        assert_true(removals.for_good >= 1);
        assert_int_equal(removals.others + removals.forgotten, 0);
        if (accepted)
            assert_state(r, "web", ACTUAL_RUNNING);
        all += accepted ? 1 : 0;
        rig_done(r);
    }
    assert_true(all > 20 && all < 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_revision),
        cmocka_unit_test(at_once),
        cmocka_unit_test(changed_again),
        cmocka_unit_test(conditions),
        cmocka_unit_test(waits),
        cmocka_unit_test(dependents_come_again),
        cmocka_unit_test(killed),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(row_is_going),
        cmocka_unit_test(row_is_going_again),
        cmocka_unit_test(keeps),
        cmocka_unit_test(keeps_when_helped),
        cmocka_unit_test(deleted_meanwhile),
        cmocka_unit_test(other_type),
        cmocka_unit_test(other_type_again),
        cmocka_unit_test(other_type_meanwhile),
        cmocka_unit_test(other_type_without_driver),
        cmocka_unit_test(other_type_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
