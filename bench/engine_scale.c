/* What the engine costs with many workloads, on a runtime and a store that cost next to nothing.
 *
 * usage: engine_scale COUNT FOLDER
 * Applies COUNT workloads to running objects (store in memory), ends, begins again on what the
 * store holds, looks at everything some times; then the same rows from a store on disk in FOLDER.
 * Prints one line of JSON: microseconds of CPU an apply; milliseconds of CPU a pass of everything,
 * and of the list alone that the runtime makes for it; allocations in a pass; milliseconds of
 * starting, from memory and from disk (wall time); bytes of memory a workload. */
#include "core/engine.h"
#include "driver/fake/fake.h"
#include "store/workloads.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include "../tests/unit/core/sealer_fake.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 15, ASKED_AT_ONCE = 1000, COUNT_MAX = 1000000 };

/* ---- a store in memory */

struct row {
    struct stored_workload w; /* texts follow */
};
struct waiting {
    struct list_node link;
    store_done_fn fn;
    void *ctx;
};
struct memory {
    struct map rows;
    struct list_node waiting;
    uint64_t commits;
};

static struct slice copy(char **at, struct slice s)
{
    struct slice to = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
    return to;
}

static int commit(void *self, const struct store_change *c, size_t n, store_done_fn fn, void *ctx)
{
    struct memory *m = self;
    const struct stored_workload *w = &c->w;
    struct waiting *x = malloc(sizeof(*x));
    (void)n;
    free(map_take(&m->rows, w->id));
    if (c->op == STORE_PUT) {
        struct row *r = malloc(sizeof(*r) + w->id.len + w->revision.len + w->doc.len +
                               w->print.len + w->who.len + w->failure.len);
        char *at = (char *)(r + 1);
        r->w = *w;
        r->w.id = copy(&at, w->id);
        r->w.revision = copy(&at, w->revision);
        r->w.doc = copy(&at, w->doc);
        r->w.print = copy(&at, w->print);
        r->w.who = copy(&at, w->who);
        r->w.failure = copy(&at, w->failure);
        if (map_put(&m->rows, w->id, r) != 0)
            return ERR_NO_MEMORY;
    }
    x->fn = fn;
    x->ctx = ctx;
    list_push_back(&m->waiting, &x->link);
    m->commits++;
    return 0;
}

static bool commits_run(struct memory *m)
{
    static const struct err none;
    bool did = false;
    while (!list_empty(&m->waiting)) {
        struct waiting *x = CONTAINER_OF(list_first(&m->waiting), struct waiting, link);
        list_remove(&x->link);
        x->fn(x->ctx, &none);
        free(x);
        did = true;
    }
    return did;
}

static int load(void *self, int (*fn)(void *ctx, const struct stored_workload *w),
                void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, struct err *e)
{
    struct memory *m = self;
    int rc = 0;
    (void)bad, (void)e;
    /* Ids were made in their order. */
    for (struct map_entry *x = map_first(&m->rows); x != NULL && rc == 0; x = map_next(x))
        rc = fn(ctx, &((struct row *)map_value(x))->w);
    return rc;
}

static bool trusted(void *self)
{
    (void)self;
    return true;
}

static void stats(void *self, struct store_stats *ret)
{
    *ret = (struct store_stats){.commits = ((struct memory *)self)->commits};
}

static const struct workload_store_ops memory_ops = {load, commit, trusted, stats};

/* ---- everything around the engine */

struct bench {
    unsigned count, answers;
    struct memory memory;
    struct fake *fake;
    struct event_hub *events;
    struct tasks *tasks;
    struct engine_options o;
    struct engine *g;
    uint64_t wake_ms;
};

static void fail(const char *what)
{
    fprintf(stderr, "engine_scale: %s\n", what);
    exit(1);
}

static double cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double wall_ms(void)
{
    return (double)clock_mono_ns(&clock_system) / 1e6;
}

static void on_wake(void *ctx, uint64_t mono_ms)
{
    struct bench *b = ctx;
    b->wake_ms = mono_ms < b->wake_ms ? mono_ms : b->wake_ms;
}

static void usage_of(void *self, struct host_usage *ret)
{
    (void)self;
    *ret = (struct host_usage){.memory_available_bytes = -1};
}

static int no_lock(void *self, const char *path, struct err *e)
{
    (void)self, (void)path, (void)e;
    return 0;
}

static const struct host_ops host_ops = {usage_of, no_lock};

static void settle(struct bench *b)
{
    bool did = true;
    while (did) {
        uint64_t now = clock_mono_ms(&clock_system);
        did = commits_run(&b->memory);
        if (fake_next(b->fake) <= now) {
            fake_run(b->fake);
            did = true;
        }
        if (b->wake_ms <= now) {
            b->wake_ms = UINT64_MAX;
            engine_run(b->g);
            did = true;
        }
    }
}

static void open_engine(struct bench *b, struct workload_store store)
{
    struct err e = {0};
    b->tasks = tasks_new(&clock_system, 0);
    b->o.tasks = b->tasks;
    b->o.store = store;
    b->wake_ms = UINT64_MAX;
    if (b->tasks == NULL || engine_new(&b->g, &b->o, &e) != 0)
        fail(e.msg);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static void close_engine(struct bench *b)
{
    bool stopped = false;
    engine_stop(b->g, 0, on_stopped, &stopped);
    while (!stopped)
        settle(b);
    engine_free(b->g);
    b->g = NULL;
    tasks_free(b->tasks);
}

static void setup(struct bench *b)
{
    static struct sealer_fake sealer = {.key = 0x5A};
    struct err e = {0};
    struct fake_options f = {.clock = &clock_system, .seed = 1};
    map_init(&b->memory.rows);
    list_init(&b->memory.waiting);
    b->fake = fake_new(&f);
    if (b->fake == NULL ||
        event_hub_new(&b->events, &clock_system, &(struct event_options){0}, &e) != 0)
        fail("no memory");
    b->o = (struct engine_options){
        .clock = &clock_system,
        .drivers = {[WORKLOAD_CONTAINER] = fake_driver(b->fake)},
        .sealer = SEALER_FAKE(&sealer),
        .host = {&host_ops, NULL},
        .events = b->events,
        .limits = {.reconcile = true, .max_workloads = COUNT_MAX, .pass_ms = 3600000},
        .node_id = "bench",
        .wake = on_wake,
        .ctx = b,
    };
}

/* ---- applies */

static void on_answer(void *ctx, enum engine_verdict v, const struct err *e,
                      const struct engine_view *w, const char *task)
{
    struct bench *b = ctx;
    (void)w, (void)task;
    if (v != ENGINE_ACCEPTED)
        fail(e->msg);
    b->answers++;
}

static void apply(struct bench *b, struct workload_doc *d, unsigned i)
{
    char id[32];
    (void)snprintf(id, sizeof(id), "workload-%07u", i);
    mem_free(d->id);
    d->id = mem_strdup(id);
    struct engine_apply a = {.doc = d, .who = "uid:0"};
    engine_apply(b->g, &a, on_answer, b);
}

static double applies(struct bench *b)
{
    static const char text[] = "id: app\ntype: container\nrevision_id: r1\ncontainer:\n  image: "
                               "registry.example/team/app:1.4.2\n"
                               "  command: [/usr/bin/app, --listen, '0.0.0.0:8080']\n  env: {MODE: "
                               "production, LEVEL: info}\n";
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e = {0};
    if (workload_doc_read(&d, slice_of(text), &report, &e) != 0)
        fail(report.count > 0 ? report.faults[0].msg : e.msg);
    double began = cpu_ms();
    for (unsigned i = 0; i < b->count; i++) {
        apply(b, &d, i);
        if (i % ASKED_AT_ONCE == ASKED_AT_ONCE - 1)
            settle(b);
    }
    settle(b);
    double took = cpu_ms() - began;
    struct engine_stats s;
    engine_stats(b->g, &s);
    if (b->answers != b->count || s.workloads[WORKLOAD_CONTAINER][ACTUAL_RUNNING] != b->count)
        fail("not all run");
    workload_doc_done(&d);
    schema_report_done(&report);
    return took / b->count * 1000;
}

/* ---- passes */

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    (void)f, (void)items;
    *(size_t *)ctx = n;
}

static double list_alone(struct bench *b)
{
    size_t n = 0;
    struct driver d = fake_driver(b->fake);
    double began = cpu_ms();
    if (d.ops->list(d.self, on_list, &n) != 0)
        fail("no list");
    while (n == 0)
        fake_run(b->fake);
    return cpu_ms() - began;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double passes(struct bench *b, double *ret_list, uint64_t *ret_allocs)
{
    double pass[PASSES], list[PASSES];
    uint64_t commits = b->memory.commits;
    for (int i = 0; i < PASSES; i++) {
        list[i] = list_alone(b);
        uint64_t allocs = mem_alloc_count();
        double began = cpu_ms();
        engine_look(b->g);
        settle(b);
        pass[i] = cpu_ms() - began;
        *ret_allocs = mem_alloc_count() - allocs;
    }
    if (b->memory.commits != commits)
        fail("a pass has written something");
    qsort(pass, PASSES, sizeof(*pass), by_size);
    qsort(list, PASSES, sizeof(*list), by_size);
    *ret_list = list[PASSES / 2];
    return pass[PASSES / 2];
}

/* ---- from disk */

static void on_filled(void *ctx, const struct err *e)
{
    if (e->code != 0)
        fail(e->msg);
    --*(size_t *)ctx;
}

static void fill(struct bench *b, struct loop *l, const char *path)
{
    struct workloads_options o = {.path = path};
    struct workloads *w;
    struct workload_store s;
    struct err e = {0};
    size_t left = 0;
    if (workloads_new(&w, l, &o, &e) != 0)
        fail(e.msg);
    workloads_store(w, &s);
    for (struct map_entry *x = map_first(&b->memory.rows); x != NULL; x = map_next(x)) {
        struct store_change c = {.op = STORE_PUT, .w = ((struct row *)map_value(x))->w};
        while (s.ops->commit(s.self, &c, 1, on_filled, &left) != 0)
            (void)loop_run_once(l, true);
        left++;
    }
    while (left > 0)
        (void)loop_run_once(l, true);
    workloads_free(w);
    (void)loop_run(l);
}

static double from_disk(struct bench *b, const char *folder)
{
    char path[1024];
    struct loop *l;
    struct err e = {0};
    (void)snprintf(path, sizeof(path), "%s/state.db", folder);
    if (loop_new(&l, &clock_system, &e) != 0)
        fail(e.msg);
    fill(b, l, path);
    struct workloads_options o = {.path = path};
    struct workloads *w;
    struct workload_store s;
    double began = wall_ms();
    if (workloads_new(&w, l, &o, &e) != 0)
        fail(e.msg);
    workloads_store(w, &s);
    open_engine(b, s);
    double took = wall_ms() - began;
    close_engine(b);
    workloads_free(w);
    (void)loop_run(l);
    loop_free(l);
    return took;
}

int main(int argc, char **argv)
{
    static struct bench b;
    long count = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    if (count <= 0 || count > COUNT_MAX)
        fail("usage: engine_scale COUNT FOLDER");
    b.count = (unsigned)count;
    struct workload_store memory = {&memory_ops, &b.memory};
    setup(&b);
    open_engine(&b, memory);
    settle(&b);
    double apply_us = applies(&b), list_ms;
    close_engine(&b);
    uint64_t allocs;
    (void)malloc_trim(0);
    size_t bytes = mallinfo2().uordblks;
    double began = wall_ms();
    open_engine(&b, memory);
    double start = wall_ms() - began;
    settle(&b);
    double pass_ms = passes(&b, &list_ms, &allocs);
    bytes = mallinfo2().uordblks - bytes;
    close_engine(&b);
    double disk = from_disk(&b, argv[2]);
    printf("{\"apply_us\": %.2f, \"pass_ms\": %.3f, \"list_ms\": %.3f, \"allocs\": %llu, "
           "\"start_ms\": %.2f, \"disk_ms\": %.2f, \"bytes\": %zu}\n",
           apply_us, pass_ms, list_ms, (unsigned long long)allocs, start, disk, bytes / b.count);
    return 0;
}
