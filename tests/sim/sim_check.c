#include "sim.h"

static unsigned number(struct slice revision)
{
    unsigned n = 0;
    for (size_t i = 1; i < revision.len; i++)
        n = n * 10 + (unsigned)(revision.p[i] - '0');
    return n;
}

static bool same(const struct sim_want *a, const struct sim_want *b)
{
    return a->exists == b->exists &&
           (!a->exists ||
            (a->deleting == b->deleting && a->desired == b->desired && a->revision == b->revision));
}

static struct sim_want want_of(const struct stored_workload *row)
{
    if (row == NULL)
        return (struct sim_want){0};
    return (struct sim_want){.exists = true,
                             .deleting = (row->flags & STORED_DELETING) != 0,
                             .desired = row->desired,
                             .revision = number(row->revision),
                             .generation = row->generation};
}

/* A rule may stop what is unhealthy, and forget what was given up long ago; nothing else may change
 * what is wanted. */
static bool by_rule(struct sim *s, unsigned id, const struct stored_workload *row)
{
    struct sim_want *was = &s->ids[id].want;
    struct sim_want is = want_of(row), stopped = *was, forgotten = *was;
    struct sim_doc doc;
    if (row == NULL || !was->exists)
        return false;
    sim_doc_of(s, id, was->revision, &doc);
    stopped.desired = DESIRED_STOPPED;
    forgotten.deleting = true;
    bool ok = (same(&is, &stopped) && row->cause == STOP_POLICY && doc.action == DOC_HEALTH_STOP &&
               doc.health != DOC_HEALTH_NONE) ||
              (same(&is, &forgotten) && slice_eqs(row->who, "policy:failed-ttl") &&
               s->r.options.limits.failed_ttl_ms != 0);
    if (ok)
        s->counts.policies++;
    return ok;
}

static void check_id(struct sim *s, unsigned i)
{
    struct sim_id *x = &s->ids[i];
    struct engine_view v;
    const struct stored_workload *row = mem_store_get(&s->r.store, x->id);
    struct sim_want is = want_of(row);
    bool there = engine_get(s->r.g, slice_of(x->id), &v);
    if (!same(&is, &x->want)) {
        struct fake_object o;
        if (row == NULL && x->want.deleting) {
            if (x->cut && fake_making(s->r.fake, slice_of(x->id)))
                sim_fail(s, "%s is forgotten, and its object is being made", x->id);
            if (!x->meddled && fake_get(s->r.fake, slice_of(x->id), &o) && !o.foreign)
                sim_fail(s, "%s is forgotten, and its object is there", x->id);
            x->want = (struct sim_want){.revision = x->want.revision};
        } else if (row == NULL && x->given_up && s->r.options.limits.failed_ttl_ms != 0) {
            x->want = (struct sim_want){.revision = x->want.revision};
            s->counts.policies++;
        } else if (by_rule(s, i, row)) {
            x->want = is;
            x->wished = false;
        } else {
            sim_fail(s, "%s: %s r%u %s%s on the disk, %s r%u %s%s was promised", x->id,
                     is.exists ? "" : "not", is.revision, desired_name(is.desired),
                     is.deleting ? " deleting" : "", x->want.exists ? "" : "not", x->want.revision,
                     desired_name(x->want.desired), x->want.deleting ? " deleting" : "");
        }
    }
    if (row == NULL || (row->flags & (STORED_DELETING | STORED_REBORN)) == 0)
        x->told = false;
    if (there && row == NULL && v.deleting)
        return; /* it was applied when its row was going: that comes back, or it is forgotten */
    if (there != (row != NULL))
        sim_fail(s, "%s: %s the engine, %s the store", x->id, there ? "in" : "not in",
                 row != NULL ? "in" : "not in");
    if (!there)
        return;
    if (number(v.revision) != is.revision || v.desired != is.desired || v.deleting != is.deleting ||
        v.generation != is.generation)
        sim_fail(s, "%s: the engine thinks otherwise than the disk", x->id);
    if (v.terminal && (v.reason == FAULT_NONE || (v.failure[0] == '\0' && !s->was_short)))
        sim_fail(s, "%s was given up without a word why", x->id);
    x->given_up = v.terminal;
    struct fake_object o = {0};
    (void)fake_get(s->r.fake, slice_of(x->id), &o);
    if (o.serial != x->seen_serial || o.starts != x->seen_starts)
        x->seen_ms = s->r.now_ms;
    x->seen_serial = o.serial;
    x->seen_starts = o.starts;
    if (v.actual == ACTUAL_RUNNING && !v.object_id.len)
        sim_fail(s, "%s runs, and has no object", x->id);
    if (x->meddled && !fake_forgotten(s->r.fake, slice_of(x->id)) && !v.acting)
        x->meddled = false;
}

void sim_check(struct sim *s)
{
    struct fake_stats f;
    fake_stats(s->r.fake, &f);
    if (f.overlaps != 0)
        sim_fail(s, "two acts of one id at once");
    if (s->alive && !s->stopping && s->r.wake_ms == UINT64_MAX)
        sim_fail(s, "nothing is planned, not even a look");
    for (unsigned i = 0; i < s->n_ids && s->alive; i++) /* else the next one is asked */
        check_id(s, i);
}

/* A restart that was written down and never answered. */
static void opened_wish(struct sim *s, unsigned i, const struct stored_workload *row)
{
    struct sim_id *x = &s->ids[i];
    if (row == NULL || (row->flags & STORED_RESTART) == 0)
        return;
    if (!x->wished)
        sim_wish(s, i);
    /* Who knows which of two it was. */
    LIST_FOR (n, &x->requests)
        x->vague = x->vague || CONTAINER_OF(n, struct sim_request, link)->kind == SIM_RESTART;
}

/* The disk holds what was promised, or more: what was asked for and not answered any more. */
void sim_check_opened(struct sim *s)
{
    for (unsigned i = 0; i < s->n_ids; i++) {
        struct sim_id *x = &s->ids[i];
        const struct stored_workload *row = mem_store_get(&s->r.store, x->id);
        struct sim_want is = want_of(row);
        bool ok = same(&is, &x->want) || by_rule(s, i, row) || (row == NULL && x->want.deleting);
        LIST_FOR (n, &x->requests)
            x->told = x->told || CONTAINER_OF(n, struct sim_request, link)->kind == SIM_DELETE;
        LIST_FOR (n, &x->requests)
            ok = ok || same(&is, &CONTAINER_OF(n, struct sim_request, link)->want);
        if (!ok)
            sim_fail(s, "%s: the disk has %s r%u %s, which nobody asked for", x->id,
                     is.exists ? "" : "not", is.revision, desired_name(is.desired));
        opened_wish(s, i, row);
        sim_forget_requests(s, i);
        if (!same(&is, &x->want))
            x->wished = x->wished && row != NULL && (row->flags & STORED_RESTART) != 0;
        unsigned revision = x->want.revision > is.revision ? x->want.revision : is.revision;
        x->want = is;
        if (!is.exists)
            x->want.revision = revision;
    }
}

bool sim_depends_met(struct sim *s, unsigned id, unsigned revision)
{
    struct sim_doc doc;
    struct engine_view v;
    sim_doc_of(s, id, revision, &doc);
    for (size_t i = 0; i < doc.n_depends; i++)
        if (!engine_get(s->r.g, slice_of(s->ids[doc.depends[i].id].id), &v) ||
            v.seen != ACTUAL_RUNNING || (doc.depends[i].healthy && v.health != HEALTH_HEALTHY))
            return false;
    return true;
}

/* ---- the end: nothing goes wrong any more, and time has passed */

static void check_running(struct sim *s, unsigned i, const struct engine_view *v)
{
    struct fake_object o = {0};
    struct sim_id *x = &s->ids[i];
    bool there = fake_get(s->r.fake, slice_of(x->id), &o) && !o.foreign;
    if (v->terminal)
        return; /* given up, and says so */
    if (fake_get(s->r.fake, slice_of(x->id), &o) && o.foreign)
        sim_fail(s, "%s: its name is taken, and it was not given up", x->id);
    if (there && number(o.revision) != x->want.revision && x->want.desired == DESIRED_RUNNING &&
        v->waits_for[0] != '\0' && !sim_depends_met(s, i, x->want.revision))
        return; /* an older one stays until its successor has what it depends on */
    if (!there || number(o.revision) != x->want.revision)
        sim_fail(s, "%s has no object of revision r%u: %s, waits for %s", x->id, x->want.revision,
                 v->message, v->waits_for);
    if (x->want.desired == DESIRED_STOPPED) {
        if (o.actual != ACTUAL_STOPPED && o.actual != ACTUAL_FAILED)
            sim_fail(s, "%s runs, but was stopped: %s", x->id, v->waits_for);
        return;
    }
    if (x->wished && !x->vague && o.actual == ACTUAL_RUNNING && !sim_restarted(s, i))
        sim_fail(s, "%s: the restart of it that was accepted is lost", x->id);
    if (o.actual == ACTUAL_RUNNING && v->actual == ACTUAL_RUNNING)
        return;
    if (sim_depends_met(s, i, x->want.revision) || v->waits_for[0] == '\0')
        sim_fail(s, "%s does not run: %s, waits for \"%s\"", x->id, v->message, v->waits_for);
}

static int check_object(void *ctx, const struct fake_object *o)
{
    struct sim *s = ctx;
    char name[WORKLOAD_ID_MAX + 1];
    struct buf b = BUF_FIXED(name);
    (void)buf_add(&b, o->id.p, o->id.len);
    if (!o->foreign && slice_eqs(o->node_id, "node-1") && mem_store_get(&s->r.store, name) == NULL)
        sim_fail(s, "nobody wants %s, and it is there", name);
    return 0;
}

void sim_check_end(struct sim *s)
{
    struct engine_view v;
    for (unsigned i = 0; i < s->n_ids; i++) {
        struct sim_id *x = &s->ids[i];
        if (!list_empty(&x->requests))
            sim_fail(s, "%s: a request was never answered", x->id);
        if (!engine_get(s->r.g, slice_of(x->id), &v))
            continue;
        if (v.deleting)
            sim_fail(s, "%s is still being deleted: %s, waits for %s", x->id, v.message,
                     v.waits_for);
        s->counts.given_up += v.terminal ? 1 : 0;
        if ((mem_store_get(&s->r.store, x->id)->flags & STORED_REBORN) != 0)
            sim_fail(s, "%s still waits for what was deleted: %s, waits for %s", x->id, v.message,
                     v.waits_for);
        struct fake_object o;
        if (x->doomed != 0 && fake_get(s->r.fake, slice_of(x->id), &o) && o.serial == x->doomed)
            sim_fail(s, "%s: its object was deleted, and is still there", x->id);
        check_running(s, i, &v);
    }
    (void)fake_each(s->r.fake, check_object, s);
}
