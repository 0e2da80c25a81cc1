/* Between the engine and the fake runtime: every order is looked at before it is passed on. */
#include "sim.h"

#include <stdlib.h>

static bool runs(struct sim *s, struct slice id, struct fake_object *o)
{
    return fake_get(s->r.fake, id, o) && !o->foreign &&
           (o->actual == ACTUAL_RUNNING || o->actual == ACTUAL_PENDING);
}

static const struct stored_workload *row_of(struct sim *s, struct slice id)
{
    char name[WORKLOAD_ID_MAX + 1];
    struct buf b = BUF_FIXED(name);
    (void)buf_add(&b, id.p, id.len);
    return mem_store_get(&s->r.store, name);
}

static unsigned revision_of(const struct stored_workload *row)
{
    unsigned n = 0;
    for (size_t i = 1; i < row->revision.len; i++)
        n = n * 10 + (unsigned)(row->revision.p[i] - '0');
    return n;
}

/* What ends something that runs waits for the lock file. */
static void check_lock(struct sim *s, const char *what, struct slice id)
{
    unsigned n;
    struct sim_doc doc;
    struct fake_object o;
    const struct sim_id *x = sim_id_of(s, id, &n);
    const struct stored_workload *row = row_of(s, id);
    if (x == NULL || row == NULL || x->meddled || !runs(s, id, &o) ||
        (row->flags & STORED_FORCED) != 0)
        return;
    sim_doc_of(s, n, revision_of(row), &doc);
    if (doc.lock && map_get(&s->r.locks, slice_of(x->lock)) != NULL)
        sim_fail(s, "%s of %s, which is locked", what, x->id);
}

/* What is to run and needs no check of its health is stopped for a restart only, and once for each
 * that was asked for. */
static void check_restart(struct sim *s, struct slice id)
{
    unsigned n;
    struct sim_doc doc;
    struct fake_object o;
    struct engine_view v;
    const struct sim_id *x = sim_id_of(s, id, &n);
    const struct stored_workload *row = row_of(s, id);
    if (x == NULL || row == NULL || x->meddled || row->desired != DESIRED_RUNNING ||
        !fake_get(s->r.fake, id, &o) || o.actual != ACTUAL_RUNNING ||
        !slice_eq(o.revision, row->revision) || !engine_get(s->r.g, id, &v) ||
        v.seen != ACTUAL_RUNNING)
        return;
    sim_doc_of(s, n, revision_of(row), &doc);
    if (doc.health != DOC_HEALTH_NONE)
        return;
    s->counts.restarts++;
    if (!x->wished)
        sim_fail(s, "%s is restarted, and nobody asked for it", x->id);
    if (!x->vague && sim_restarted(s, n))
        sim_fail(s, "%s is restarted once more", x->id);
}

/* What runs gives way only to what has been fetched, and could be started. */
static void check_prepared(struct sim *s, struct slice id)
{
    unsigned n;
    struct fake_object o;
    const struct sim_id *x = sim_id_of(s, id, &n);
    const struct stored_workload *row = row_of(s, id);
    if (x == NULL || row == NULL || x->meddled ||
        (row->flags & (STORED_DELETING | STORED_REBORN)) != 0 || !runs(s, id, &o) ||
        slice_eq(o.revision, row->revision))
        return;
    s->counts.updates++;
    if (x->prepared != revision_of(row))
        sim_fail(s, "%s runs and is removed before r%u is prepared", x->id, revision_of(row));
    if (row->desired == DESIRED_RUNNING && !sim_depends_met(s, n, revision_of(row)))
        sim_fail(s, "%s runs and is removed before what r%u depends on is so", x->id,
                 revision_of(row));
}

static const struct stored_workload *check_wanted(struct sim *s, const char *what,
                                                  const struct driver_order *o)
{
    const struct stored_workload *row = row_of(s, o->id);
    if (!s->alive)
        sim_fail(s, "%s without an engine", what);
    if (row == NULL || (row->flags & STORED_DELETING) != 0 || !slice_eq(row->revision, o->revision))
        sim_fail(s, "%s of %.*s revision %.*s, which nobody wants", what, (int)o->id.len, o->id.p,
                 (int)o->revision.len, o->revision.p);
    struct fake_object there;
    const struct sim_id *x = sim_id_of(s, o->id, NULL);
    if ((row->flags & STORED_REBORN) != 0)
        sim_fail(s, "%s of %.*s before what is being deleted has gone", what, (int)o->id.len,
                 o->id.p);
    if (x != NULL && x->doomed != 0 && fake_get(s->r.fake, o->id, &there) &&
        there.serial == x->doomed)
        sim_fail(s, "%s of %s, whose object was deleted and is still there", what, x->id);
    struct engine_view v;
    if (engine_get(s->r.g, o->id, &v) && v.terminal)
        sim_fail(s, "%s of %.*s, which was given up", what, (int)o->id.len, o->id.p);
    if (o->doc == NULL)
        sim_fail(s, "%s of %.*s without a document", what, (int)o->id.len, o->id.p);
    return row;
}

/* The way down is the way up turned round. */
static void check_dependents(struct sim *s, unsigned id)
{
    const struct stored_workload *row = row_of(s, slice_of(s->ids[id].id));
    if (row == NULL || (row->flags & STORED_DELETING) == 0 || (row->flags & STORED_FORCED) != 0)
        return;
    for (unsigned i = 0; i < s->n_ids; i++) {
        const struct stored_workload *other = row_of(s, slice_of(s->ids[i].id));
        struct sim_doc doc;
        if (i == id || other == NULL || (other->flags & STORED_DELETING) == 0)
            continue;
        sim_doc_of(s, i, revision_of(other), &doc);
        for (size_t k = 0; k < doc.n_depends; k++)
            if (doc.depends[k].id == id)
                sim_fail(s, "remove of %s before %s, which depends on it", s->ids[id].id,
                         s->ids[i].id);
    }
}

static int on_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct sim *s = self;
    struct fake_object there;
    sim_note(s, "-> ensure %.*s %.*s", (int)o->id.len, o->id.p, (int)o->revision.len,
             o->revision.p);
    (void)check_wanted(s, "ensure", o);
    if (fake_get(s->r.fake, o->id, &there) && !slice_eq(there.revision, o->revision))
        check_lock(s, "replacement", o->id);
    return s->fake.ops->ensure(s->fake.self, o, fn, ctx);
}

static int on_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct sim *s = self;
    unsigned n;
    struct sim_id *x = sim_id_of(s, o->id, &n);
    sim_note(s, "-> start %.*s", (int)o->id.len, o->id.p);
    const struct stored_workload *row = check_wanted(s, "start", o);
    if (x == NULL || row->desired != DESIRED_RUNNING)
        sim_fail(s, "start of %.*s, which is not to run", (int)o->id.len, o->id.p);
    if (!sim_depends_met(s, n, revision_of(row)))
        sim_fail(s, "start of %s before what it depends on", x->id);
    /* Nobody touches it, and it is started over and over: then ever more slowly. */
    if (s->r.now_ms - x->touched_ms > 3600000) {
        x->touched_ms = s->r.now_ms;
        x->starts = 0;
    }
    if (++x->starts > 50)
        sim_fail(s, "%s was started %u times in %llu s", x->id, x->starts,
                 (unsigned long long)(s->r.now_ms - x->touched_ms) / 1000);
    return s->fake.ops->start(s->fake.self, o, fn, ctx);
}

/* The wrap is freed when its callback comes, or when the runtime goes. */
static void prepared(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct sim_prepare *p = ctx;
    if (p->s != NULL && f == NULL)
        p->s->ids[p->id].prepared = p->revision;
    list_remove(&p->link);
    p->fn(p->ctx, f, o);
    free(p);
}

static void progress(void *ctx, const char *text)
{
    const struct sim_prepare *p = ctx;
    p->progress(p->ctx, text);
}

static int on_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct sim *s = self;
    unsigned n;
    sim_note(s, "-> prepare %.*s %.*s", (int)o->id.len, o->id.p, (int)o->revision.len,
             o->revision.p);
    const struct stored_workload *row = check_wanted(s, "prepare", o);
    struct sim_prepare *p = calloc(1, sizeof(*p));
    if (p == NULL || sim_id_of(s, o->id, &n) == NULL)
        sim_fail(s, "prepare of %.*s", (int)o->id.len, o->id.p);
    *p = (struct sim_prepare){.s = s, .fn = fn, .ctx = ctx, .id = n, .revision = revision_of(row)};
    list_push_back(&s->prepares, &p->link);
    struct driver_order order = *o;
    p->progress = o->progress;
    order.progress = progress;
    int rc = s->fake.ops->prepare(s->fake.self, &order, prepared, p);
    if (rc != 0) {
        list_remove(&p->link);
        free(p);
    }
    return rc;
}

void sim_watch_forget(struct sim *s)
{
    LIST_FOR (n, &s->prepares)
        CONTAINER_OF(n, struct sim_prepare, link)->s = NULL;
    for (unsigned i = 0; i < s->n_ids; i++)
        s->ids[i].prepared = 0;
}

void sim_watch_done(struct sim *s)
{
    LIST_FOR_SAFE (n, &s->prepares) {
        list_remove(n);
        free(CONTAINER_OF(n, struct sim_prepare, link));
    }
}

static int on_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct sim *s = self;
    sim_note(s, "-> stop %.*s", (int)o->id.len, o->id.p);
    if (row_of(s, o->id) == NULL)
        sim_fail(s, "stop of %.*s, which nobody knows", (int)o->id.len, o->id.p);
    check_lock(s, "stop", o->id);
    check_restart(s, o->id);
    return s->fake.ops->stop(s->fake.self, o, fn, ctx);
}

/* What a rule forgot keeps its data until a client has it deleted. */
static void check_data(struct sim *s, const struct driver_order *o)
{
    unsigned n;
    if (!o->for_good || sim_id_of(s, o->id, &n) == NULL || s->ids[n].told)
        return;
    LIST_FOR (q, &s->ids[n].requests)
        if (CONTAINER_OF(q, struct sim_request, link)->kind == SIM_DELETE)
            return; /* it is on the disk, and is answered soon */
    sim_fail(s, "remove of %s for good, and nobody had it deleted", s->ids[n].id);
}

/* Now and then it is not done at once, so that somebody can have it tried again. */
static void refuse_forgotten(struct sim *s, struct slice id)
{
    unsigned n;
    struct fake_rule no = {.ops = FAKE_REMOVE, .times = 1};
    s->counts.forgotten++;
    if (sim_id_of(s, id, &n) == NULL || sim_chance(s, 50))
        return;
    (void)fault_set(&no.fault, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "device is busy");
    if (fake_rule(s->r.fake, &no) == 0)
        s->ids[n].ruled = true;
}

static int on_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct sim *s = self;
    unsigned n;
    struct fake_object there;
    sim_note(s, "-> remove %.*s", (int)o->id.len, o->id.p);
    if (row_of(s, o->id) == NULL && fake_get(s->r.fake, o->id, &there) &&
        !slice_eqs(there.node_id, "node-1"))
        sim_fail(s, "remove of %.*s, which is not of this node", (int)o->id.len, o->id.p);
    check_lock(s, "remove", o->id);
    check_prepared(s, o->id);
    check_data(s, o);
    if (o->forgotten && !s->quiet)
        refuse_forgotten(s, o->id);
    if (sim_id_of(s, o->id, &n) != NULL)
        check_dependents(s, n);
    return s->fake.ops->remove(s->fake.self, o, fn, ctx);
}

/* ---- passed on as they are */

static int on_check(void *self, const struct workload_doc *doc, struct err *e)
{
    struct sim *s = self;
    return s->fake.ops->check(s->fake.self, doc, e);
}
static void on_cancel(void *self, struct slice id)
{
    struct sim *s = self;
    sim_note(s, "-> cancel %.*s", (int)id.len, id.p);
    s->fake.ops->cancel(s->fake.self, id);
}
static int on_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct sim *s = self;
    return s->fake.ops->inspect(s->fake.self, id, fn, ctx);
}
static int on_list(void *self, driver_list_fn fn, void *ctx)
{
    struct sim *s = self;
    return s->fake.ops->list(s->fake.self, fn, ctx);
}
static void on_watch(void *self, const struct driver_watcher *w)
{
    struct sim *s = self;
    s->fake.ops->watch(s->fake.self, w);
}
static bool on_reachable(void *self)
{
    struct sim *s = self;
    return s->fake.ops->reachable(s->fake.self);
}
static const char *on_condition(void *self)
{
    struct sim *s = self;
    return s->fake.ops->condition(s->fake.self);
}

struct driver sim_watch(struct sim *s)
{
    s->ops = *s->fake.ops;
    s->ops.check = on_check;
    s->ops.ensure = on_ensure;
    s->ops.start = on_start;
    s->ops.prepare = on_prepare;
    s->ops.stop = on_stop;
    s->ops.remove = on_remove;
    s->ops.cancel = on_cancel;
    s->ops.inspect = on_inspect;
    s->ops.list = on_list;
    s->ops.watch = on_watch;
    s->ops.reachable = on_reachable;
    s->ops.condition = on_condition;
    return (struct driver){&s->ops, s};
}
