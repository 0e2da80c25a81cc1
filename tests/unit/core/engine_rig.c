#include "engine_rig.h"

#include "sealer_fake.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/unit.h"

/* ---- the store */

void mem_store_init(struct mem_store *s)
{
    *s = (struct mem_store){.fail_code = ERR_IO};
    list_init(&s->waiting);
}

void mem_store_crash(struct mem_store *s)
{
    LIST_FOR_SAFE (n, &s->waiting) {
        struct mem_commit *c = CONTAINER_OF(n, struct mem_commit, link);
        list_remove(n);
        mem_free(c->texts);
        mem_free(c);
    }
    s->n_waiting = 0;
    s->dead = false;
    s->die_at = 0;
}

void mem_store_done(struct mem_store *s)
{
    mem_store_crash(s);
    tdestroy(s->rows, free);
    s->rows = NULL;
}

static struct slice copy_text(char **at, struct slice s)
{
    char *p = *at;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    *at += s.len;
    return (struct slice){p, s.len};
}

static size_t texts_size(const struct stored_workload *w)
{
    return w->id.len + w->revision.len + w->doc.len + w->print.len + w->who.len + w->failure.len;
}

static void copy_texts(struct stored_workload *w, char *at)
{
    w->id = copy_text(&at, w->id);
    w->revision = copy_text(&at, w->revision);
    w->doc = copy_text(&at, w->doc);
    w->print = copy_text(&at, w->print);
    w->who = copy_text(&at, w->who);
    w->failure = copy_text(&at, w->failure);
}

static int store_commit(void *self, const struct store_change *changes, size_t n, store_done_fn fn,
                        void *ctx)
{
    struct mem_store *s = self;
    assert_int_equal(n, 1);
    if (s->busy_for > 0) {
        s->busy_for--;
        return ERR_BUSY;
    }
    struct mem_commit *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->change = *changes;
    c->texts = mem_alloc(texts_size(&changes->w) + 1);
    if (c->texts == NULL) {
        mem_free(c);
        return ERR_NO_MEMORY;
    }
    copy_texts(&c->change.w, c->texts);
    c->fn = fn;
    c->ctx = ctx;
    list_push_back(&s->waiting, &c->link);
    s->n_waiting++;
    return 0;
}

/* The disk needs no memory of the program's, so rows are not part of what can run out. */
static int compare_rows(const void *a, const void *b)
{
    struct slice x = ((const struct mem_row *)a)->w.id, y = ((const struct mem_row *)b)->w.id;
    int c = memcmp(x.p, y.p, x.len < y.len ? x.len : y.len);
    return c != 0 ? c : (x.len > y.len) - (x.len < y.len);
}

static struct mem_row *row_find(const struct mem_store *s, struct slice id)
{
    struct mem_row key = {.w.id = id}, **found = tfind(&key, &s->rows, compare_rows);
    return found != NULL ? *found : NULL;
}

static void write_row(struct mem_store *s, const struct store_change *c)
{
    struct mem_row *row = row_find(s, c->w.id);
    if (row != NULL) {
        (void)tdelete(row, &s->rows, compare_rows);
        free(row);
        s->n_rows--;
    }
    if (c->op == STORE_REMOVE)
        return;
    row = malloc(sizeof(*row) + texts_size(&c->w) + 1);
    assert_non_null(row);
    row->w = c->w;
    copy_texts(&row->w, (char *)(row + 1));
    assert_non_null(tsearch(row, &s->rows, compare_rows));
    s->n_rows++;
}

void mem_store_put(struct mem_store *s, const struct stored_workload *w)
{
    write_row(s, &(struct store_change){STORE_PUT, *w});
}

bool mem_store_run(struct mem_store *s)
{
    if (s->held || s->dead || list_empty(&s->waiting))
        return false;
    size_t n = s->n_waiting; /* one sync for those that wait now */
    while (n-- > 0 && !s->dead) {
        struct mem_commit *c = CONTAINER_OF(list_first(&s->waiting), struct mem_commit, link);
        struct err e = {0};
        if (s->die_at > 0 && --s->die_at == 0) {
            s->dead = true;
            return false;
        }
        list_remove(&c->link);
        s->n_waiting--;
        s->commits++;
        bool fails = s->fail_at == 1;
        if (s->fail_at > 1 || (fails && s->fail_for == 0))
            s->fail_at--;
        else if (fails)
            s->fail_for--;
        if (fails)
            (void)err_set(&e, s->fail_code, "the disk says no");
        else
            write_row(s, &c->change);
        c->fn(c->ctx, &e);
        mem_free(c->texts);
        mem_free(c);
    }
    return true;
}

const struct stored_workload *mem_store_get(const struct mem_store *s, const char *id)
{
    struct mem_row *row = row_find(s, slice_of(id));
    return row != NULL ? &row->w : NULL;
}

struct loading {
    int (*fn)(void *ctx, const struct stored_workload *w);
    void *ctx;
    int rc;
};

static void load_row(const void *node, VISIT which, void *closure)
{
    struct loading *l = closure;
    if ((which == postorder || which == leaf) && l->rc == 0)
        l->rc = l->fn(l->ctx, &(*(struct mem_row *const *)node)->w);
}

static int store_load(void *self, int (*fn)(void *ctx, const struct stored_workload *w),
                      void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                      struct err *e)
{
    struct loading l = {fn, ctx, 0};
    (void)bad, (void)e;
    twalk_r(((struct mem_store *)self)->rows, load_row, &l);
    return l.rc;
}

static bool store_trusted(void *self)
{
    return !((struct mem_store *)self)->untrusted;
}

static void store_stats(void *self, struct store_stats *ret)
{
    struct mem_store *s = self;
    *ret = (struct store_stats){.commits = s->commits, .rows = s->n_rows};
}

struct workload_store mem_store(struct mem_store *s)
{
    static const struct workload_store_ops ops = {store_load, store_commit, store_trusted,
                                                  store_stats};
    return (struct workload_store){&ops, s};
}

/* ---- clock, machine, prober */

static uint64_t rig_mono(void *ctx)
{
    return ((struct rig *)ctx)->now_ms * NS_PER_MS;
}

static int64_t rig_real(void *ctx)
{
    struct rig *r = ctx;
    return RIG_START_NS + (int64_t)(r->now_ms * NS_PER_MS) + r->wall_shift_ns;
}

static int rig_random(void *ctx, void *p, size_t n)
{
    struct rig *r = ctx;
    for (size_t i = 0; i < n; i++) {
        r->random = r->random * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)p)[i] = (unsigned char)(r->random >> 33);
    }
    return 0;
}

static void host_usage_of(void *self, struct host_usage *ret)
{
    *ret = ((struct rig *)self)->usage;
}

static int host_lock(void *self, const char *path, struct err *e)
{
    struct rig *r = self;
    (void)e;
    r->lock_looks++;
    return map_get(&r->locks, slice_of(path)) != NULL ? 1 : 0;
}

void rig_lock(struct rig *r, const char *path, bool held)
{
    if (held)
        assert_int_equal(map_put(&r->locks, slice_of(path), r), 0);
    else
        assert_non_null(map_take(&r->locks, slice_of(path)));
}

struct probe {
    struct list_node link;
    probe_fn fn;
    void *ctx;
};

static int probe(void *self, const struct probe_order *o, probe_fn fn, void *ctx, void **call)
{
    struct rig *r = self;
    assert_string_equal(o->address, "127.0.0.1");
    assert_non_null(o->driver->ops);
    struct probe *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return ERR_NO_MEMORY;
    p->fn = fn;
    p->ctx = ctx;
    list_push_back(&r->probing, &p->link);
    r->probes++;
    *call = p;
    return 0;
}

static void probe_cancel(void *self, void *call)
{
    struct probe *p = call;
    list_remove(&p->link);
    mem_free(p);
    ((struct rig *)self)->probe_cancels++;
}

bool rig_probe_answer(struct rig *r)
{
    bool did = false;
    while (!list_empty(&r->probing)) {
        struct probe *p = CONTAINER_OF(list_first(&r->probing), struct probe, link);
        struct err e = {0};
        list_remove(&p->link);
        if (r->probe_fault != NULL)
            (void)err_set(&e, ERR_RUNTIME, "%s", r->probe_fault);
        p->fn(p->ctx, &e);
        mem_free(p);
        did = true;
    }
    return did;
}

static void on_wake(void *ctx, uint64_t mono_ms)
{
    struct rig *r = ctx;
    if (mono_ms < r->wake_ms)
        r->wake_ms = mono_ms;
}

/* Events are read when somebody looks for one. */
static void on_event(void *ctx)
{
    (void)ctx;
}

/* ---- life */

static const struct host_ops host_ops = {host_usage_of, host_lock};
static const struct prober_ops prober_ops = {probe, probe_cancel};
static struct sealer_fake sealer_state = {.key = 0x5A};

void rig_init(struct rig *r)
{
    struct err e;
    *r = (struct rig){.now_ms = 1000000, .wake_ms = UINT64_MAX};
    r->clock = (struct clock){rig_mono, rig_real, rig_random, r};
    r->usage = (struct host_usage){.memory_percent = 10,
                                   .cpu_percent = 10,
                                   .disk_percent = 10,
                                   .memory_total_bytes = (int64_t)8 << 30,
                                   .memory_available_bytes = (int64_t)4 << 30};
    map_init(&r->locks);
    list_init(&r->probing);
    mem_store_init(&r->store);
    struct fake_options f = {.clock = &r->clock, .seed = 7};
    r->fake = fake_new(&f);
    f.type = WORKLOAD_VM;
    r->fake_vm = fake_new(&f);
    assert_non_null(r->fake);
    assert_non_null(r->fake_vm);
    assert_int_equal(event_hub_new(&r->events, &r->clock, &(struct event_options){0}, &e), 0);
    assert_int_equal(event_reader_new(&r->reader, r->events, &(struct event_filter){0},
                                      (struct slice){"", 0}, on_event, NULL, &e),
                     0);
    r->options = (struct engine_options){
        .clock = &r->clock,
        .store = mem_store(&r->store),
        .sealer = SEALER_FAKE(&sealer_state),
        .prober = {&prober_ops, r},
        .host = {&host_ops, r},
        .events = r->events,
        .limits = {.reconcile = true},
        .node_id = "node-1",
        .wake = on_wake,
        .ctx = r,
    };
}

int rig_try_open(struct rig *r, struct err *e)
{
    r->tasks = tasks_new(&r->clock, 0);
    if (r->tasks == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->options.tasks = r->tasks;
    r->options.drivers[WORKLOAD_CONTAINER] = fake_driver(r->fake);
    if (r->with_vm)
        r->options.drivers[WORKLOAD_VM] = fake_driver(r->fake_vm);
    r->wake_ms = UINT64_MAX;
    int rc = engine_new(&r->g, &r->options, e);
    if (rc != 0) {
        tasks_free(r->tasks);
        r->tasks = NULL;
    }
    return rc;
}

void rig_open(struct rig *r)
{
    struct err e = {0};
    assert_int_equal(rig_try_open(r, &e), 0);
    rig_settle(r);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

void rig_close(struct rig *r)
{
    bool stopped = false;
    if (r->g == NULL)
        return;
    engine_stop(r->g, 1000, on_stopped, &stopped);
    for (int i = 0; i < 100 && !stopped; i++)
        rig_pass(r, 100);
    assert_true(stopped);
    rig_kill(r);
}

void rig_kill(struct rig *r)
{
    engine_free(r->g);
    r->g = NULL;
    mem_store_crash(&r->store);
    tasks_free(r->tasks);
    r->tasks = NULL;
    /* What the runtime had been told it still does; nobody hears of it. */
    fake_forget(r->fake);
    fake_forget(r->fake_vm);
    fake_release(r->fake);
    while (fake_next(r->fake) <= r->now_ms)
        fake_run(r->fake);
}

void rig_done(struct rig *r)
{
    rig_close(r);
    event_reader_free(r->reader);
    event_hub_free(r->events);
    fake_free(r->fake);
    fake_free(r->fake_vm);
    mem_store_done(&r->store);
    map_done(&r->locks, NULL);
}

static bool step(struct rig *r)
{
    bool did = mem_store_run(&r->store);
    if (r->store.dead)
        return false;
    if (fake_next(r->fake) <= r->now_ms) {
        fake_run(r->fake);
        did = true;
    }
    if (fake_next(r->fake_vm) <= r->now_ms) {
        fake_run(r->fake_vm);
        did = true;
    }
    if (!r->probe_slow && rig_probe_answer(r))
        did = true;
    if (r->g != NULL && r->wake_ms <= r->now_ms) {
        r->wake_ms = UINT64_MAX;
        engine_run(r->g);
        did = true;
    }
    return did;
}

void rig_settle(struct rig *r)
{
    for (unsigned n = 0; step(r); n++)
        assert_true(n < 1000000); /* else it runs in a circle */
}

void rig_pass(struct rig *r, uint64_t ms)
{
    uint64_t end = r->now_ms + ms;
    for (;;) {
        rig_settle(r);
        uint64_t next = r->wake_ms;
        if (fake_next(r->fake) < next)
            next = fake_next(r->fake);
        if (fake_next(r->fake_vm) < next)
            next = fake_next(r->fake_vm);
        if (next > end || r->store.dead)
            break;
        r->now_ms = next;
    }
    r->now_ms = end;
    rig_settle(r);
}

/* ---- asking */

void on_answer(void *ctx, enum engine_verdict v, const struct err *e, const struct engine_view *w,
               const char *task)
{
    struct answer *a = ctx;
    a->n++;
    a->verdict = v;
    a->e = *e;
    (void)snprintf(a->task, sizeof(a->task), "%s", task);
    a->actual = w != NULL ? w->actual : ACTUAL_NONE;
    a->generation = w != NULL ? w->generation : 0;
}

static void submit(struct rig *r, const char *id, const char *revision, const char *yaml,
                   const struct engine_apply *how, int desired, struct answer *a)
{
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e = {0};
    struct buf text = BUF_INIT(65536);
    *a = (struct answer){0};
    (void)buf_addf(&text, "id: %s\ntype: container\nrevision_id: \"%s\"\n%s\n", id, revision,
                   yaml != NULL ? yaml : "container: {image: a}");
    int rc = text.err != 0
                 ? ERR_NO_MEMORY
                 : workload_doc_read(&d, (struct slice){text.data, text.len}, &report, &e);
    if (rc == ERR_INVALID && report.count > 0)
        print_error("%s\n", report.faults[0].msg);
    if (text.err == 0) {
        if (rc == 0) {
            struct engine_apply how_not = {.who = "tester"};
            struct engine_apply apply = how != NULL ? *how : how_not;
            apply.doc = &d;
            if (desired != DESIRED_NONE)
                d.desired_state = desired;
            engine_apply(r->g, &apply, on_answer, a);
        }
        workload_doc_done(&d);
    }
    schema_report_done(&report);
    buf_done(&text);
    if (rc != 0) { /* only when memory is made to fail */
        assert_int_equal(rc, ERR_NO_MEMORY);
        a->n = 1;
        a->verdict = ENGINE_REFUSED;
        a->e.code = ERR_NO_MEMORY;
    }
}

void rig_submit(struct rig *r, const char *id, const char *revision, const char *yaml,
                const struct engine_apply *how, struct answer *a)
{
    submit(r, id, revision, yaml, how, DESIRED_NONE, a);
}

struct answer rig_apply(struct rig *r, const char *id, const char *revision, const char *yaml)
{
    struct answer a;
    submit(r, id, revision, yaml, NULL, DESIRED_NONE, &a);
    rig_settle(r);
    assert_int_equal(a.n, 1);
    return a;
}

struct answer rig_stop(struct rig *r, const char *id, const char *revision, const char *yaml)
{
    struct answer a;
    submit(r, id, revision, yaml, NULL, DESIRED_STOPPED, &a);
    rig_settle(r);
    assert_int_equal(a.n, 1);
    return a;
}

struct answer rig_delete(struct rig *r, const char *id, bool force)
{
    struct answer a = {0};
    struct engine_delete d = {.id = slice_of(id), .who = "tester", .force = force};
    engine_delete(r->g, &d, on_answer, &a);
    rig_settle(r);
    assert_int_equal(a.n, 1);
    return a;
}

struct engine_view rig_view(struct rig *r, const char *id)
{
    struct engine_view v = {0};
    assert_true(engine_get(r->g, slice_of(id), &v));
    return v;
}

bool rig_has(struct rig *r, const char *id)
{
    struct engine_view v;
    return engine_get(r->g, slice_of(id), &v);
}

struct meta_wanted {
    const char *key;
    bool found;
    char value[512];
};

static void on_meta(void *ctx, const char *key, const char *value)
{
    struct meta_wanted *m = ctx;
    if (strcmp(key, m->key) != 0)
        return;
    assert_false(m->found); /* each key once */
    m->found = true;
    (void)snprintf(m->value, sizeof(m->value), "%s", value);
}

const char *rig_meta(struct rig *r, const char *id, const char *key)
{
    static struct meta_wanted m;
    m = (struct meta_wanted){.key = key};
    engine_metadata(r->g, slice_of(id), on_meta, &m);
    return m.found ? m.value : NULL;
}

struct fake_object rig_object(struct rig *r, const char *id)
{
    struct fake_object o = {0};
    (void)fake_get(r->fake, slice_of(id), &o);
    return o;
}

struct fake_stats rig_calls(struct rig *r)
{
    struct fake_stats s;
    fake_stats(r->fake, &s);
    return s;
}

bool rig_event(struct rig *r, const char *name, const char *type)
{
    struct event_seen s;
    bool found = false;
    while (event_next(r->reader, &s) == 0)
        found = found || (slice_eqs(s.name, name) && strcmp(s.type, type) == 0);
    return found;
}
