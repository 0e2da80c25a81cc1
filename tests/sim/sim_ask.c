/* Clients. What they were promised is what is checked. */
#include "sim.h"

#include <stdlib.h>

static const char *const kinds[] = {"apply", "delete", "restart", "retry", "force"};

const struct sim_want *sim_newest(const struct sim *s, unsigned id)
{
    const struct sim_id *x = &s->ids[id];
    const struct sim_want *w = &x->want;
    LIST_FOR (n, &x->requests)
        w = &CONTAINER_OF(n, struct sim_request, link)->want;
    return w;
}

void sim_forget_requests(struct sim *s, unsigned id)
{
    LIST_FOR_SAFE (n, &s->ids[id].requests) {
        s->counts.lost_requests++;
        list_remove(n);
        free(CONTAINER_OF(n, struct sim_request, link));
    }
}

void sim_wish(struct sim *s, unsigned id)
{
    struct sim_id *x = &s->ids[id];
    struct fake_object o = {0};
    (void)fake_get(s->r.fake, slice_of(x->id), &o);
    x->wished = true;
    x->wish_serial = o.serial;
    x->wish_starts = o.starts;
    /* Two things of the same millisecond have no order. */
    x->vague = s->jump_ms >= x->seen_ms || x->seen_ms == s->r.now_ms ||
               o.serial != x->seen_serial || o.starts != x->seen_starts;
}

bool sim_restarted(struct sim *s, unsigned id)
{
    const struct sim_id *x = &s->ids[id];
    struct fake_object o = {0};
    (void)fake_get(s->r.fake, slice_of(x->id), &o);
    return o.serial != x->wish_serial || o.starts != x->wish_starts;
}

static void accepted(struct sim *s, struct sim_id *x, struct sim_request *q,
                     const struct engine_view *w)
{
    s->counts.accepted++;
    if (q->kind != SIM_APPLY && q->kind != SIM_DELETE)
        q->want = x->want; /* asked about what was there when it came through */
    uint64_t generation = w != NULL ? w->generation : x->want.generation;
    if (x->want.exists && q->kind != SIM_DELETE && generation < x->want.generation)
        sim_fail(s, "%s: generation %llu after %llu", x->id, (unsigned long long)generation,
                 (unsigned long long)x->want.generation);
    struct fake_object o;
    x->told = x->told || q->kind == SIM_DELETE;
    if (q->kind == SIM_DELETE)
        x->doomed = fake_get(s->r.fake, slice_of(x->id), &o) && !o.foreign ? o.serial : 0;
    s->counts.reborn += q->kind == SIM_APPLY && x->want.deleting ? 1 : 0;
    if (x->want.revision != q->want.revision || x->want.desired != q->want.desired ||
        x->want.deleting != q->want.deleting || !x->want.exists)
        x->wished = false;
    x->want = q->want;
    if (q->kind == SIM_RESTART)
        sim_wish(s, q->id);
    x->want.generation = generation;
    if (w == NULL && q->kind != SIM_DELETE)
        sim_fail(s, "%s: accepted, and not there", x->id);
}

static void on_answer_of(void *ctx, enum engine_verdict v, const struct err *e,
                         const struct engine_view *w, const char *task)
{
    struct sim_request *q = ctx;
    struct sim *s = q->s;
    struct sim_id *x = &s->ids[q->id];
    (void)task;
    if (v == ENGINE_REFUSED) {
        s->counts.refused++;
        sim_note(s, "%s %s refused: %s", kinds[q->kind], x->id, e->msg);
        if (e->code == 0)
            sim_fail(s, "%s: refused without a reason", x->id);
    } else if (v == ENGINE_SKIPPED) {
        s->counts.skipped++;
        if (q->kind == SIM_DELETE ? x->want.exists
                                  : !x->want.exists || x->want.revision != q->want.revision ||
                                        x->want.desired != q->want.desired)
            sim_fail(s, "%s of %s skipped, but it is not so", kinds[q->kind], x->id);
    } else {
        accepted(s, x, q, w);
    }
    list_remove(&q->link);
    free(q);
}

static struct sim_request *request(struct sim *s, unsigned id, enum sim_kind k)
{
    struct sim_request *q = calloc(1, sizeof(*q));
    if (q == NULL)
        sim_fail(s, "no memory");
    q->s = s;
    q->id = id;
    q->kind = k;
    q->want = *sim_newest(s, id);
    list_push_back(&s->ids[id].requests, &q->link);
    s->ids[id].touched_ms = s->r.now_ms;
    s->ids[id].starts = 0;
    s->counts.asked++;
    return q;
}

static void ask_apply(struct sim *s, unsigned id)
{
    struct workload_doc d;
    struct schema_report report = {0};
    struct err e = {0};
    struct buf text = BUF_INIT(4096);
    struct sim_request *q = request(s, id, SIM_APPLY);
    struct engine_apply a = {.doc = &d, .who = "client", .force = sim_chance(s, 15)};
    if (!q->want.exists || sim_chance(s, 40))
        q->want.revision += q->want.exists || sim_chance(s, 50) ? 1 : 0;
    q->want.exists = true;
    q->want.deleting = false;
    q->want.desired = sim_chance(s, 70) ? DESIRED_RUNNING : DESIRED_STOPPED;
    a.lenient = sim_chance(s, 20);
    a.only_new = sim_chance(s, 3);
    if (sim_chance(s, 5))
        a.generation = s->ids[id].want.generation;
    sim_doc_text(s, id, q->want.revision, q->want.desired, sim_chance(s, 2), &text);
    sim_note(s, "apply %s r%u %s%s", s->ids[id].id, q->want.revision, desired_name(q->want.desired),
             a.force ? " force" : "");
    if (text.err != 0 ||
        workload_doc_read(&d, (struct slice){text.data, text.len}, &report, &e) != 0)
        sim_fail(s, "the document is refused: %s\n%s",
                 report.count > 0 ? report.faults[0].msg : e.msg, text.data);
    if (s->no_memory > 0) /* the judging of it has its share */
        mem_fail_at(1 + sim_below(s, 60), false);
    engine_apply(s->r.g, &a, on_answer_of, q);
    mem_fail_at(0, false);
    workload_doc_done(&d);
    schema_report_done(&report);
    buf_done(&text);
}

static void ask_delete(struct sim *s, unsigned id)
{
    struct sim_request *q = request(s, id, SIM_DELETE);
    struct engine_delete d = {.id = slice_of(s->ids[id].id),
                              .who = "client",
                              .force = sim_chance(s, 15),
                              .keep_going = sim_chance(s, 40)};
    q->want.deleting = true;
    sim_note(s, "delete %s%s%s", s->ids[id].id, d.force ? " force" : "",
             d.keep_going ? " keep-going" : "");
    engine_delete(s->r.g, &d, on_answer_of, q);
}

static void ask_other(struct sim *s, unsigned id, enum sim_kind k)
{
    struct sim_request *q = request(s, id, k);
    struct slice name = slice_of(s->ids[id].id);
    sim_note(s, "%s %s", kinds[k], s->ids[id].id);
    if (k == SIM_RESTART)
        engine_restart(s->r.g, name, "client", sim_chance(s, 20), on_answer_of, q);
    else if (k == SIM_RETRY)
        engine_retry_now(s->r.g, name, "client", on_answer_of, q);
    else
        engine_force(s->r.g, name, "client", on_answer_of, q);
}

void sim_ask(struct sim *s)
{
    unsigned id = (unsigned)sim_below(s, s->n_ids);
    uint64_t n = sim_chance(s, 15) ? 1 + sim_below(s, 6) : 1; /* several clients at once */
    while (n-- > 0) {
        uint64_t what = sim_below(s, 104);
        if (what >= 100)
            sim_ask_engine(s);
        else if (what < 60)
            ask_apply(s, id);
        else if (what < 75)
            ask_delete(s, id);
        else if (what < 85)
            ask_other(s, id, SIM_RESTART);
        else if (what < 93)
            ask_other(s, id, SIM_RETRY);
        else
            ask_other(s, id, SIM_FORCE);
        if (sim_chance(s, 30))
            id = (unsigned)sim_below(s, s->n_ids);
    }
}

void sim_help_rules(struct sim *s)
{
    for (unsigned i = 0; i < s->n_ids && s->alive; i++) {
        if (!s->ids[i].ruled)
            continue;
        s->ids[i].ruled = false;
        const struct stored_workload *row = mem_store_get(&s->r.store, s->ids[i].id);
        if (s->stopping || sim_chance(s, 30) || row == NULL ||
            (row->flags & STORED_DELETING) == 0 || !slice_eqs(row->who, "policy:failed-ttl"))
            continue;
        s->counts.helped++;
        s->ids[i].want.deleting = true; /* as the rule has it, whoever helps */
        s->ids[i].want.generation = row->generation;
        s->ids[i].wished = false;
        ask_other(s, i, sim_chance(s, 50) ? SIM_RETRY : SIM_FORCE);
    }
}

void sim_retry_all(struct sim *s)
{
    struct engine_view v;
    for (unsigned i = 0; i < s->n_ids; i++)
        if (engine_get(s->r.g, slice_of(s->ids[i].id), &v) && v.terminal)
            ask_other(s, i, SIM_RETRY);
}
