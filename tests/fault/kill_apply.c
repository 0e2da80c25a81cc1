/* kill -9 at every point of an apply. A child process with the real store, the engine and a fake
 * runtime is told to do this and that, and dies at the n-th point: between any two writes of the
 * store and in the middle of each, before and after each commit, answer and act, in the middle of
 * acts. A second child takes over, and dies too, somewhere; a third one goes on to the end. What
 * was accepted holds, nothing is made twice or started twice, and all ends as it should.
 *
 * The objects of the runtime, and what clients were told, are in memory that all of them share. */
#include "../unit/base/unit.h"

#include "../unit/core/sealer_fake.h"
#include "../unit/store/vfs_rig.h"
#include "core/engine.h"
#include "driver/fake/fake.h"
#include "store/db_priv.h"
#include "store/workloads.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IDS = 3, REVISIONS = 6, PATIENCE_MS = 10000, WELL = 0, BAD = 3, AGAIN = 3, GONE = 9 };

enum asked { NOT_ASKED, ASKED, ACCEPTED };
struct shared {
    uint64_t left; /* points until it dies; 0: it does not */
    uint64_t points;
    enum asked asked[16];
    unsigned restarts;  /* asked for; one that was not answered is asked for again */
    unsigned deletions; /* of id0 */
    struct {
        bool exists, running;
        unsigned revision, made[REVISIONS], started[REVISIONS];
        int64_t started_ns;
    } objects[IDS];
    char why[256];
};
static struct shared *shared;
static char folder[64], path[96];

/* What clients ask for, one after the other; `then`: the next one comes at once. */
static const struct step {
    unsigned id, revision;
    enum workload_desired desired; /* NONE: delete */
    bool then;
    const char *more;
} steps[] = {
    {0, 1, DESIRED_RUNNING, false, ""},
    {1, 1, DESIRED_RUNNING, false, "depends_on: [{id: id0}]\n"},
    {0, 2, DESIRED_RUNNING, false, ""},
    [AGAIN] = {0, 2, DESIRED_RUNNING, false, ""}, /* restart */
    {0, 3, DESIRED_RUNNING, true, ""},
    {0, 4, DESIRED_RUNNING, false, ""},
    {1, 1, DESIRED_STOPPED, false, "depends_on: [{id: id0}]\n"},
    {2, 1, DESIRED_RUNNING, false, ""}, /* its first start fails */
    {1, 0, DESIRED_NONE, true, ""},
    [GONE] = {0, 0, DESIRED_NONE, true, ""}, /* and made anew while it goes */
    {0, 5, DESIRED_STOPPED, false, ""},
};

/* ---- a child */

struct child {
    struct loop *loop;
    struct workloads *w;
    struct workload_store store, real_store;
    struct workload_store_ops store_ops;
    struct fake *fake;
    struct driver real;
    struct driver_ops ops;
    struct loop_timer engine_timer, fake_timer, patience;
    struct event_hub *events;
    struct tasks *tasks;
    struct engine *g;
    unsigned answers;
    unsigned prepared[IDS]; /* revisions */
};

static void __attribute__((format(printf, 1, 2), noreturn)) bad(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(shared->why, sizeof(shared->why), fmt, ap);
    va_end(ap);
    _exit(BAD);
}

static void point(void)
{
    shared->points++;
    if (shared->left > 0 && --shared->left == 0)
        (void)raise(SIGKILL);
}

/* The store: before each commit, after it and before it is told, and after. */
struct told {
    store_done_fn fn;
    void *ctx;
};

static void committed(void *ctx, const struct err *e)
{
    struct told *t = ctx;
    if (e->code != 0)
        bad("a commit failed: %s", e->msg);
    point();
    t->fn(t->ctx, e);
    free(t);
    point();
}

static int commit(void *self, const struct store_change *changes, size_t n, store_done_fn fn,
                  void *ctx)
{
    struct child *c = self;
    struct told *t = malloc(sizeof(*t));
    *t = (struct told){fn, ctx};
    point();
    return c->real_store.ops->commit(c->real_store.self, changes, n, committed, t);
}

static void on_bad_row(void *ctx, struct slice id, const char *why)
{
    (void)ctx;
    bad("row \"%.*s\" is bad: %s", (int)id.len, id.p, why);
}

static int load(void *self, int (*fn)(void *ctx, const struct stored_workload *w),
                void (*bad_row)(void *ctx, struct slice id, const char *why), void *ctx,
                struct err *e)
{
    struct child *c = self;
    (void)bad_row;
    return c->real_store.ops->load(c->real_store.self, fn, on_bad_row, ctx, e);
}

static bool trusted(void *self)
{
    struct child *c = self;
    return c->real_store.ops->trusted(c->real_store.self);
}

/* The runtime: before each act, when it has been asked for, in the middle, when it is done, and
 * when that is known. */
struct acting {
    struct child *c;
    enum fake_op op;
    unsigned id, revision;
    driver_done_fn fn;
    void *ctx;
};

static unsigned number(struct slice s, size_t at)
{
    return s.len > at ? (unsigned)(s.p[at] - '0') : 0;
}

/* The fake's object again as the next child will find it. */
static void remember(const struct acting *a)
{
    char id[8];
    struct fake_object o = {0};
    (void)snprintf(id, sizeof(id), "id%u", a->id);
    bool there = fake_get(a->c->fake, slice_of(id), &o);
    bool runs = there && o.actual == ACTUAL_RUNNING;
    unsigned revision = there ? number(o.revision, 1) : 0;
    bool was = shared->objects[a->id].exists;
    bool ran = shared->objects[a->id].running;
    if (a->op == FAKE_ENSURE && (!was || shared->objects[a->id].revision != revision)) {
        if (ran)
            bad("id%u was replaced while it ran", a->id);
        shared->objects[a->id].exists = false; /* the old one is gone, the new one not there yet */
        point();
        shared->objects[a->id].made[revision]++;
    }
    if (a->op == FAKE_START && runs && !ran)
        shared->objects[a->id].started[revision]++;
    shared->objects[a->id].exists = there;
    shared->objects[a->id].running = runs;
    shared->objects[a->id].revision = revision;
}

static void acted(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct acting *a = ctx;
    point();
    if (o != NULL)
        shared->objects[a->id].started_ns = o->started_ns;
    if (a->op == FAKE_PREPARE && f == NULL)
        a->c->prepared[a->id] = a->revision;
    remember(a);
    point();
    a->fn(a->ctx, f, o);
    free(a);
    point();
}

static int act(struct child *c, enum fake_op op,
               int (*real)(void *, const struct driver_order *, driver_done_fn, void *),
               const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct acting *a = malloc(sizeof(*a));
    *a = (struct acting){.c = c,
                         .op = op,
                         .id = number(o->id, 2),
                         .revision = number(o->revision, 1),
                         .fn = fn,
                         .ctx = ctx};
    if (op == FAKE_START && shared->objects[a->id].running)
        bad("id%u is started while it runs", a->id);
    if (op == FAKE_START && a->id == 1 && !shared->objects[0].running)
        bad("id1 is started before id0");
    struct engine_view v;
    if (op == FAKE_REMOVE && shared->objects[a->id].running && engine_get(c->g, o->id, &v) &&
        !v.deleting && !o->for_good && c->prepared[a->id] != a->revision)
        bad("id%u is removed before its successor is prepared", a->id);
    /* But an update removes, too. */
    if (op == FAKE_REMOVE && a->id == 0 && shared->asked[GONE] != NOT_ASKED &&
        shared->objects[1].exists)
        bad("id0 is removed before id1");
    point();
    int rc = real(c->real.self, o, acted, a);
    point();
    return rc;
}

static int on_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct child *c = self;
    return act(c, FAKE_ENSURE, c->real.ops->ensure, o, fn, ctx);
}
static int on_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct child *c = self;
    return act(c, FAKE_PREPARE, c->real.ops->prepare, o, fn, ctx);
}
static int on_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct child *c = self;
    return act(c, FAKE_START, c->real.ops->start, o, fn, ctx);
}
static int on_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct child *c = self;
    return act(c, FAKE_STOP, c->real.ops->stop, o, fn, ctx);
}
static int on_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct child *c = self;
    return act(c, FAKE_REMOVE, c->real.ops->remove, o, fn, ctx);
}
static int on_check(void *self, const struct workload_doc *d, struct err *e)
{
    struct child *c = self;
    return c->real.ops->check(c->real.self, d, e);
}
static void on_cancel(void *self, struct slice id)
{
    struct child *c = self;
    c->real.ops->cancel(c->real.self, id);
}
static int on_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct child *c = self;
    return c->real.ops->inspect(c->real.self, id, fn, ctx);
}
static int on_list(void *self, driver_list_fn fn, void *ctx)
{
    struct child *c = self;
    return c->real.ops->list(c->real.self, fn, ctx);
}
static void on_watch(void *self, const struct driver_watcher *w)
{
    struct child *c = self;
    c->real.ops->watch(c->real.self, w);
}

/* ---- its loop */

static void at(struct loop_timer *t, uint64_t mono_ms)
{
    uint64_t now = clock_mono_ms(&clock_system);
    loop_timer_start(t, mono_ms > now ? mono_ms - now : 0, 0);
}
static void wake_engine(void *ctx, uint64_t mono_ms)
{
    at(&((struct child *)ctx)->engine_timer, mono_ms);
}
static void wake_fake(void *ctx, uint64_t mono_ms)
{
    at(&((struct child *)ctx)->fake_timer, mono_ms);
}
static void run_engine(void *ctx)
{
    engine_run(((struct child *)ctx)->g);
}
static void run_fake(void *ctx)
{
    fake_run(((struct child *)ctx)->fake);
}

static void be_patient(void *ctx)
{
    (void)ctx; /* only that the loop turns */
}

static void host_usage_of(void *self, struct host_usage *ret)
{
    (void)self;
    *ret = (struct host_usage){.memory_available_bytes = -1};
}
static int host_lock(void *self, const char *lock, struct err *e)
{
    (void)self, (void)lock, (void)e;
    return 0;
}
static const struct host_ops host_ops = {host_usage_of, host_lock};

/* The wall clock, but while objects of the child before are put back: when they were started. */
static int64_t put_at_ns;
static int64_t real_ns(void *ctx)
{
    (void)ctx;
    return put_at_ns != 0 ? put_at_ns : clock_real_ns(&clock_system);
}

static void open_runtime(struct child *c)
{
    static struct clock clock;
    clock = clock_system;
    clock.real_ns = real_ns;
    struct fake_options f = {.clock = &clock, .seed = 1, .wake = wake_fake, .ctx = c};
    c->fake = fake_new(&f);
    if (c->fake == NULL)
        bad("no memory");
    for (unsigned i = 0; i < IDS; i++) {
        char id[8], revision[8];
        (void)snprintf(id, sizeof(id), "id%u", i);
        (void)snprintf(revision, sizeof(revision), "r%u", shared->objects[i].revision);
        put_at_ns = shared->objects[i].started_ns;
        if (shared->objects[i].exists)
            (void)fake_put(c->fake, slice_of(id), revision, "node-1",
                           shared->objects[i].running ? ACTUAL_RUNNING : ACTUAL_STOPPED, false);
    }
    put_at_ns = 0;
    struct fake_rule once = {.ops = FAKE_START, .id = "id2", .times = 1};
    (void)fault_set(&once.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "not yet");
    (void)fake_rule(c->fake, &once);
    c->real = fake_driver(c->fake);
    c->ops = *c->real.ops;
    c->ops.ensure = on_ensure;
    c->ops.start = on_start;
    c->ops.prepare = on_prepare;
    c->ops.stop = on_stop;
    c->ops.remove = on_remove;
    c->ops.check = on_check;
    c->ops.cancel = on_cancel;
    c->ops.inspect = on_inspect;
    c->ops.list = on_list;
    c->ops.watch = on_watch;
}

static void open_engine(struct child *c)
{
    static struct sealer_fake sealer = {.key = 0x5A};
    struct err e = {0};
    struct workloads_options o = {.path = path, .vfs = RIG_VFS};
    if (loop_new(&c->loop, &clock_system, &e) != 0 || workloads_new(&c->w, c->loop, &o, &e) != 0)
        bad("%s", e.msg);
    workloads_store(c->w, &c->real_store);
    c->store_ops = *c->real_store.ops;
    c->store_ops.commit = commit;
    c->store_ops.load = load;
    c->store_ops.trusted = trusted;
    (void)loop_timer_init(c->loop, &c->engine_timer, run_engine, c);
    (void)loop_timer_init(c->loop, &c->fake_timer, run_fake, c);
    (void)loop_timer_init(c->loop, &c->patience, be_patient, c);
    loop_timer_start(&c->patience, 100, 100);
    open_runtime(c);
    c->tasks = tasks_new(&clock_system, 0);
    if (event_hub_new(&c->events, &clock_system, &(struct event_options){0}, &e) != 0)
        bad("%s", e.msg);
    struct engine_options options = {
        .clock = &clock_system,
        .store = {&c->store_ops, c},
        .drivers = {[WORKLOAD_CONTAINER] = {&c->ops, c}},
        .sealer = SEALER_FAKE(&sealer),
        .host = {&host_ops, NULL},
        .events = c->events,
        .tasks = c->tasks,
        .limits = {.reconcile = true, .late_ms = 20, .retry = {.first_ms = 20, .most_ms = 20}},
        .node_id = "node-1",
        .wake = wake_engine,
        .ctx = c,
    };
    if (engine_new(&c->g, &options, &e) != 0)
        bad("%s", e.msg);
}

static const char *what_is(struct child *c)
{
    static char text[200];
    struct buf b = BUF_FIXED(text);
    for (unsigned i = 0; i < IDS; i++) {
        char name[8];
        struct engine_view v;
        (void)snprintf(name, sizeof(name), "id%u", i);
        if (engine_get(c->g, slice_of(name), &v))
            (void)buf_addf(&b, "%s r%c %s, %s (%s); ", name, v.revision.p[1], actual_name(v.actual),
                           v.message, v.waits_for);
    }
    return text;
}

static void turn(struct child *c, uint64_t *until)
{
    uint64_t now = clock_mono_ms(&clock_system);
    if (*until == 0)
        *until = now + PATIENCE_MS;
    if (now > *until)
        bad("it takes too long: %s", what_is(c));
    (void)loop_run_once(c->loop, true);
}

/* ---- what is asked */

static const struct step *wanted_of(unsigned id, enum asked least, size_t *ret)
{
    const struct step *last = NULL;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (steps[i].id == id && shared->asked[i] >= least) {
            last = &steps[i];
            *ret = i;
        }
    return last;
}

static bool is(struct child *c, unsigned id, const struct step *s)
{
    char name[8], revision[8];
    struct engine_view v;
    (void)snprintf(name, sizeof(name), "id%u", id);
    bool there = engine_get(c->g, slice_of(name), &v);
    if (s == NULL || s->desired == DESIRED_NONE)
        return !there || (s != NULL && v.deleting);
    (void)snprintf(revision, sizeof(revision), "r%u", s->revision);
    return there && !v.deleting && v.desired == s->desired && slice_eqs(v.revision, revision);
}

/* What the disk has: what was accepted last, or what was asked for after it. */
static void check_kept(struct child *c)
{
    for (unsigned id = 0; id < IDS; id++) {
        size_t from = 0, i;
        const struct step *accepted = wanted_of(id, ACCEPTED, &from);
        bool ok = is(c, id, accepted);
        for (i = accepted != NULL ? from + 1 : 0; i < ARRAY_LEN(steps); i++)
            ok = ok || (steps[i].id == id && shared->asked[i] == ASKED && is(c, id, &steps[i]));
        if (!ok)
            bad("id%u is not as it was accepted", id);
    }
}

static bool done(struct child *c, unsigned id)
{
    char name[8];
    struct engine_view v;
    (void)snprintf(name, sizeof(name), "id%u", id);
    if (!engine_get(c->g, slice_of(name), &v))
        return !shared->objects[id].exists;
    bool runs = v.desired == DESIRED_RUNNING;
    return !v.deleting && !v.acting && !v.restart &&
           v.actual == (runs ? ACTUAL_RUNNING : ACTUAL_STOPPED) && shared->objects[id].exists &&
           shared->objects[id].running == runs &&
           v.revision.p[1] - '0' == (int)shared->objects[id].revision;
}

static void converge(struct child *c)
{
    uint64_t until = 0;
    for (unsigned id = 0; id < IDS;)
        if (done(c, id)) {
            id++;
        } else {
            id = 0;
            turn(c, &until);
        }
}

static void on_answer(void *ctx, enum engine_verdict v, const struct err *e,
                      const struct engine_view *w, const char *task)
{
    enum asked *a = ctx;
    (void)w, (void)task;
    if (v == ENGINE_REFUSED)
        bad("refused: %s", e->msg);
    *a = ACCEPTED;
    point();
}

static void ask(struct child *c, size_t i)
{
    const struct step *s = &steps[i];
    char name[8];
    struct buf text = BUF_INIT(1024);
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e = {0};
    (void)snprintf(name, sizeof(name), "id%u", s->id);
    shared->asked[i] = ASKED;
    shared->restarts += i == AGAIN ? 1 : 0;
    shared->deletions += i == GONE ? 1 : 0;
    point();
    if (i == AGAIN) {
        engine_restart(c->g, slice_of(name), "client", false, on_answer, &shared->asked[i]);
        return;
    }
    if (s->desired == DESIRED_NONE) {
        struct engine_delete x = {.id = slice_of(name), .who = "client", .keep_going = true};
        engine_delete(c->g, &x, on_answer, &shared->asked[i]);
        return;
    }
    (void)buf_addf(&text,
                   "id: %s\ntype: container\nrevision_id: r%u\ndesired_state: %s\n"
                   "container: {image: img-%u}\n%s",
                   name, s->revision, desired_name(s->desired), s->revision, s->more);
    if (workload_doc_read(&d, (struct slice){text.data, text.len}, &report, &e) != 0)
        bad("%s", e.msg);
    struct engine_apply a = {.doc = &d, .who = "client"};
    engine_apply(c->g, &a, on_answer, &shared->asked[i]);
    workload_doc_done(&d);
    schema_report_done(&report);
    buf_done(&text);
}

/* Clients ask again for what they had no answer to. */
static void live(bool to_the_end)
{
    struct child c = {0};
    open_engine(&c);
    check_kept(&c);
    if (!to_the_end)
        converge(&c);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        uint64_t until = 0;
        if (shared->asked[i] == ACCEPTED)
            continue;
        /* One that was overtaken by the next before it was answered is not asked for again; but
         * without the deletion the next one would be another. */
        if (i + 1 < ARRAY_LEN(steps) && steps[i].desired != DESIRED_NONE && steps[i].then &&
            shared->asked[i + 1] != NOT_ASKED && steps[i].id == steps[i + 1].id)
            continue;
        if (i == AGAIN || i == AGAIN + 1) /* each makes a restart that is not done yet moot */
            converge(&c);
        ask(&c, i);
        if (steps[i].then)
            continue;
        while (shared->asked[i] != ACCEPTED)
            turn(&c, &until);
        converge(&c);
    }
    converge(&c);
    _exit(WELL);
}

/* ---- the parent */

static void clean(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), de->d_name, 0);
    if (d != NULL)
        (void)closedir(d);
    memset(shared, 0, sizeof(*shared));
}

/* True: it died on the way. */
static bool child(const char *what, uint64_t n, uint64_t points, uint64_t writes)
{
    shared->left = points;
    shared->points = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err e = {0};
        if (db_library(&e) != 0)
            bad("%s", e.msg);
        rig_init();
        rig_set(writes > 0 ? RIG_KILL : RIG_NONE, writes);
        live(points == 0 && writes == 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != WELL)
        fail_msg("%s %llu: status %d: %s", what, (unsigned long long)n, status, shared->why);
    return false;
}

/* Each object was made once and started once, whatever happened in between; but for the one whose
 * first start fails in each child's life: it is made anew. */
static void check_end(const char *what, uint64_t n)
{
    const unsigned made[IDS][REVISIONS] = {{0, 1, 1, 1, 1, shared->deletions}, {0, 1}, {0, 4}};
    const unsigned started[IDS][REVISIONS] = {
        {0, 1, 1 + shared->restarts, 1, 1, 0}, {0, 1}, {0, 1}};
    if (shared->objects[0].started[2] < 2)
        fail_msg("%s %llu: id0 was never restarted", what, (unsigned long long)n);
    for (unsigned i = 0; i < IDS; i++)
        for (unsigned r = 0; r < REVISIONS; r++)
            if (shared->objects[i].made[r] > made[i][r] ||
                shared->objects[i].started[r] > started[i][r])
                fail_msg("%s %llu: id%u r%u was made %u times and started %u times", what,
                         (unsigned long long)n, i, r, shared->objects[i].made[r],
                         shared->objects[i].started[r]);
    assert_true(shared->objects[0].exists && shared->objects[0].revision == 5);
    assert_false(shared->objects[0].running);
    assert_false(shared->objects[1].exists);
    assert_true(shared->objects[2].exists && shared->objects[2].running);
}

static unsigned all(const char *what, bool writes)
{
    unsigned n = 1;
    for (bool died = true; died; n++) {
        clean();
        died = child(what, n, writes ? 0 : n, writes ? n : 0);
        /* And the one that takes over dies as well, elsewhere each time. */
        if (died)
            (void)child(what, n, writes ? 0 : 1 + n * 7 % 41, writes ? 1 + n * 5 % 29 : 0);
        (void)child(what, n, 0, 0);
        check_end(what, n);
    }
    clean();
    return n - 2;
}

static void at_every_point(void **state)
{
    (void)state;
    unsigned n = all("point", false);
    print_message("killed at each of %u points\n", n);
    assert_true(n > 100);
}

static void at_every_write(void **state)
{
    (void)state;
    unsigned n = all("write", true);
    print_message("killed at each of %u writes and syncs\n", n);
    assert_true(n > 50);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/dev/shm/gantry-kill-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/state.db", folder);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clean();
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(at_every_point),
                                       cmocka_unit_test(at_every_write)};
    return cmocka_run_group_tests_name("kill_apply", tests, setup, teardown);
}
