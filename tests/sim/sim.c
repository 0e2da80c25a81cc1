#include "sim.h"

#include <stdarg.h>
#include <stdlib.h>

/* ---- chance, notes, the end of it */

uint64_t sim_random(struct sim *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
    return sim_random(s) % n;
}

bool sim_chance(struct sim *s, unsigned percent)
{
    return sim_below(s, 100) < percent;
}

static void stamp(const struct sim *s, char *out, size_t size, const char *fmt, va_list ap)
{
    uint64_t ms = s->r.now_ms - 1000000;
    int n = snprintf(out, size, "%llu:%02llu:%02llu.%03llu ", (unsigned long long)(ms / 3600000),
                     (unsigned long long)(ms / 60000 % 60), (unsigned long long)(ms / 1000 % 60),
                     (unsigned long long)(ms % 1000));
    if (n > 0 && (size_t)n < size)
        (void)vsnprintf(out + n, size - (size_t)n, fmt, ap);
}

void sim_note(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    stamp(s, s->notes[s->n_notes++ % SIM_NOTES], SIM_NOTE_SIZE, fmt, ap);
    va_end(ap);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    stamp(s, text, sizeof(text), fmt, ap);
    va_end(ap);
    uint64_t n = s->n_notes < SIM_NOTES ? s->n_notes : SIM_NOTES;
    for (uint64_t i = s->n_notes - n; i < s->n_notes; i++)
        (void)fprintf(stderr, "  %s\n", s->notes[i % SIM_NOTES]);
    (void)fprintf(stderr, "FAILED %s\nrepeat: --seed %llu --ids %u\n", text,
                  (unsigned long long)s->seed, s->n_ids);
    abort();
}

struct sim_id *sim_id_of(struct sim *s, struct slice id, unsigned *ret)
{
    unsigned n = 0;
    if (id.len < 2 || id.p[0] != 'w')
        return NULL;
    for (size_t i = 1; i < id.len; i++) {
        if (id.p[i] < '0' || id.p[i] > '9')
            return NULL;
        n = n * 10 + (unsigned)(id.p[i] - '0');
    }
    if (n >= s->n_ids)
        return NULL;
    if (ret != NULL)
        *ret = n;
    return &s->ids[n];
}

/* ---- probes */

static int probe(void *self, const struct probe_order *o, probe_fn fn, void *ctx, void **call)
{
    struct sim *s = self;
    unsigned id;
    struct sim_probe *p = calloc(1, sizeof(*p));
    if (p == NULL || sim_chance(s, 3)) {
        free(p);
        return sim_chance(s, 50) ? ERR_NO_MEMORY : ERR_BUSY;
    }
    if (sim_id_of(s, o->id, &id) == NULL)
        sim_fail(s, "a probe of \"%.*s\"", (int)o->id.len, o->id.p);
    LIST_FOR (n, &s->probes)
        if (CONTAINER_OF(n, struct sim_probe, link)->id == id)
            sim_fail(s, "two probes of %s at once", s->ids[id].id);
    *p = (struct sim_probe){
        .s = s, .fn = fn, .ctx = ctx, .id = id, .due_ms = s->r.now_ms + sim_below(s, 2000)};
    list_push_back(&s->probes, &p->link);
    *call = p;
    return 0;
}

static void probe_cancel(void *self, void *call)
{
    struct sim_probe *p = call;
    (void)self;
    list_remove(&p->link);
    free(p);
}

static bool probes_run(struct sim *s)
{
    bool did = false;
    for (struct list_node *n = s->probes.next; n != &s->probes;) {
        struct sim_probe *p = CONTAINER_OF(n, struct sim_probe, link);
        struct err e = {0};
        n = n->next;
        if (p->due_ms > s->r.now_ms)
            continue;
        list_remove(&p->link);
        if (s->ids[p->id].sick)
            (void)err_set(&e, ERR_RUNTIME, "HTTP 503");
        p->fn(p->ctx, &e);
        free(p);
        did = true;
        n = s->probes.next; /* the answer may have ended others */
    }
    return did;
}

static const struct prober_ops prober_ops = {probe, probe_cancel};

/* ---- time */

static bool run_one(struct sim *s, unsigned which)
{
    struct rig *r = &s->r;
    switch (which) {
    case 0:
        return mem_store_run(&r->store);
    case 1:
        if (fake_next(r->fake) > r->now_ms)
            return false;
        fake_run(r->fake);
        return true;
    case 2:
        return probes_run(s);
    default:
        if (r->g == NULL || r->wake_ms > r->now_ms)
            return false;
        r->wake_ms = UINT64_MAX;
        engine_run(r->g);
        return true;
    }
}

/* In any order: nobody promises one. */
static void settle(struct sim *s)
{
    for (unsigned n = 0;; n++) {
        bool did = false;
        uint64_t first = sim_below(s, 4);
        for (unsigned i = 0; i < 4; i++)
            did = run_one(s, (unsigned)(first + i) % 4) || did;
        sim_help_rules(s);
        if (!did)
            break;
        if (n > 20000)
            sim_fail(s, "it runs in a circle");
    }
    s->counts.steps++;
    sim_check(s);
}

static void due(struct sim *s)
{
    struct rig *r = &s->r;
    r->store.held = r->now_ms < s->held_until_ms;
    if (s->release_ms != 0 && r->now_ms >= s->release_ms) {
        s->release_ms = 0;
        fake_release(r->fake);
    }
    if (s->reach_ms != 0 && r->now_ms >= s->reach_ms) {
        s->reach_ms = 0;
        sim_note(s, "the runtime is back");
        fake_reach(r->fake, true, false, sim_chance(s, 50));
    }
}

static void sooner(uint64_t *next, uint64_t now, uint64_t at)
{
    if (at > now && at < *next)
        *next = at;
}

void sim_pass(struct sim *s, uint64_t ms)
{
    struct rig *r = &s->r;
    uint64_t end = r->now_ms + ms;
    /* One allocation in the time to come fails, or all of them for a moment. */
    if (s->no_memory > 0) {
        mem_fail_at(s->no_memory, false);
        s->was_short = true;
    }
    s->no_memory = 0;
    for (;;) {
        due(s);
        settle(s);
        uint64_t next = r->wake_ms;
        sooner(&next, r->now_ms, fake_next(r->fake));
        sooner(&next, r->now_ms, s->held_until_ms);
        sooner(&next, r->now_ms, s->release_ms);
        sooner(&next, r->now_ms, s->reach_ms);
        LIST_FOR (n, &s->probes)
            sooner(&next, r->now_ms, CONTAINER_OF(n, struct sim_probe, link)->due_ms);
        if (next > end)
            break;
        r->now_ms = next;
    }
    mem_fail_at(0, false);
    r->now_ms = end;
    due(s);
    settle(s);
}

/* ---- life */

static void engine_up(struct sim *s)
{
    struct rig *r = &s->r;
    struct err e = {0};
    r->tasks = tasks_new(&r->clock, 100);
    if (r->tasks == NULL)
        sim_fail(s, "no memory for tasks");
    r->options.tasks = r->tasks;
    r->options.drivers[WORKLOAD_CONTAINER] = sim_watch(s);
    r->wake_ms = UINT64_MAX;
    if (sim_chance(s, 20)) {
        mem_fail_at(1 + sim_below(s, 400), false);
        int rc = engine_new(&r->g, &r->options, &e);
        mem_fail_at(0, false);
        if (rc != 0 && rc != ERR_NO_MEMORY)
            sim_fail(s, "the engine does not start: %s", e.msg);
    }
    if (r->g == NULL && engine_new(&r->g, &r->options, &e) != 0)
        sim_fail(s, "the engine does not start: %s", e.msg);
    s->alive = true;
    sim_check_opened(s);
}

static void engine_down(struct sim *s)
{
    struct rig *r = &s->r;
    engine_free(r->g);
    r->g = NULL;
    r->wake_ms = UINT64_MAX;
    s->alive = s->stopping = false;
    tasks_free(r->tasks);
    r->tasks = NULL;
    sim_watch_forget(s);
    /* An engine ends its probes; what is left belongs to one that was killed. */
    LIST_FOR_SAFE (n, &s->probes) {
        list_remove(n);
        free(CONTAINER_OF(n, struct sim_probe, link));
    }
}

static void nobody(void *ctx, const struct err *e)
{
    (void)ctx, (void)e;
}

/* So many of the commits under way still reach the disk; nobody is told. */
static void last_commits(struct sim *s)
{
    struct mem_store *m = &s->r.store;
    uint64_t keep = m->n_waiting > 0 ? sim_below(s, m->n_waiting + 1) : 0;
    LIST_FOR (n, &m->waiting)
        CONTAINER_OF(n, struct mem_commit, link)->fn = nobody;
    m->held = false;
    m->fail_at = 0;
    m->fail_for = 0;
    m->die_at = keep + 1;
    (void)mem_store_run(m);
    mem_store_crash(m);
}

static void on_meta(void *ctx, const char *key, const char *value)
{
    if (key[0] == '\0' || value == NULL)
        sim_fail(ctx, "metadata \"%s\" without a value", key);
}

struct ordered {
    struct sim *s;
    char last[32];
};

static int in_order(void *ctx, const struct engine_view *v)
{
    struct ordered *o = ctx;
    if (!slice_eqs(v->id, o->last) && strncmp(o->last, v->id.p, v->id.len) > 0)
        sim_fail(o->s, "\"%.*s\" is listed after \"%s\"", (int)v->id.len, v->id.p, o->last);
    struct buf b = BUF_FIXED(o->last);
    (void)buf_add(&b, v->id.p, v->id.len);
    return 0;
}

static void look_around(struct sim *s)
{
    struct engine_explain x;
    for (unsigned i = 0; i < s->n_ids; i++) {
        if (!engine_explain(s->r.g, slice_of(s->ids[i].id), &x))
            continue;
        bool well = x.view.actual == ACTUAL_RUNNING || x.view.actual == ACTUAL_STOPPED;
        if (x.is[0] == '\0' || x.should[0] == '\0' || x.asked[0] == '\0' ||
            (!well && x.why[0] == '\0'))
            sim_fail(s, "%s cannot be explained: \"%s\" \"%s\" \"%s\" \"%s\"", s->ids[i].id, x.is,
                     x.should, x.asked, x.why);
        engine_metadata(s->r.g, slice_of(s->ids[i].id), on_meta, s);
    }
    struct ordered o = {.s = s};
    (void)engine_each(s->r.g, WORKLOAD_NONE, in_order, &o);
}

void sim_ask_engine(struct sim *s)
{
    struct engine_limits l = s->r.options.limits;
    switch (sim_below(s, 3)) {
    case 0:
        look_around(s);
        break;
    case 1:
        engine_look(s->r.g);
        break;
    default:
        l.max_acts = (unsigned)(1 + sim_below(s, 12));
        l.pass_ms = 1000 * (5 + sim_below(s, 60));
        sim_note(s, "%u acts at once, a pass each %llu s", l.max_acts,
                 (unsigned long long)l.pass_ms / 1000);
        engine_set_limits(s->r.g, &l);
        break;
    }
}

void sim_kill(struct sim *s)
{
    struct rig *r = &s->r;
    s->counts.kills++;
    sim_note(s, "kill -9, %zu commits under way", r->store.n_waiting);
    engine_down(s);
    last_commits(s);
    unsigned done = (unsigned)sim_below(s, 101);
    fake_abandon(r->fake, done, (unsigned)sim_below(s, 101 - done));
    bool soon = sim_chance(s, 60);
    if (soon)
        fake_hasten(r->fake, 5000);
    while (fake_next(r->fake) <= r->now_ms)
        fake_run(r->fake);
    for (unsigned i = 0; i < s->n_ids; i++)
        s->ids[i].cut = soon;
    for (unsigned i = 0; i < s->n_ids; i++)
        s->ids[i].meddled = s->ids[i].meddled || fake_forgotten(r->fake, slice_of(s->ids[i].id));
    if (sim_chance(s, 30))
        sim_pass(s, sim_below(s, 600000)); /* nobody is there for a while */
    engine_up(s);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

void sim_restart(struct sim *s)
{
    bool stopped = false;
    s->counts.stops++;
    sim_note(s, "stop");
    s->stopping = true;
    engine_stop(s->r.g, sim_below(s, 20000), on_stopped, &stopped);
    for (int i = 0; i < 1000 && !stopped; i++)
        sim_pass(s, 1000);
    if (!stopped)
        sim_fail(s, "the engine does not stop");
    for (unsigned i = 0; i < s->n_ids; i++)
        if (!list_empty(&s->ids[i].requests))
            sim_fail(s, "%s: stopped without an answer", s->ids[i].id);
    engine_down(s);
    engine_up(s);
}

static void limits(struct sim *s, struct engine_limits *l)
{
    l->reconcile = true;
    l->max_acts = (unsigned)(1 + sim_below(s, 12));
    l->max_looks = (unsigned)(1 + sim_below(s, 40));
    l->retry.jitter_percent = (unsigned)sim_below(s, 30);
    l->max_workloads = s->n_ids - sim_below(s, s->n_ids / 8 + 1);
    if (sim_chance(s, 40))
        l->failed_ttl_ms = sim_chance(s, 50) ? 3600000 : 300000;
}

void sim_open(struct sim *s, uint64_t seed, unsigned n_ids)
{
    *s = (struct sim){.seed = seed, .random = seed, .n_ids = n_ids};
    rig_init(&s->r);
    s->r.random = seed;
    list_init(&s->probes);
    list_init(&s->prepares);
    for (unsigned i = 0; i < n_ids; i++) {
        struct sim_id *x = &s->ids[i];
        (void)snprintf(x->id, sizeof(x->id), "w%u", i);
        (void)snprintf(x->lock, sizeof(x->lock), "/run/lock/w%u", i);
        list_init(&x->requests);
    }
    s->fake = fake_driver(s->r.fake);
    s->r.options.prober = (struct prober){&prober_ops, s};
    limits(s, &s->r.options.limits);
    engine_up(s);
}

void sim_close(struct sim *s)
{
    sim_restart(s);
    engine_down(s);
    rig_done(&s->r);
    sim_watch_done(s);
}
