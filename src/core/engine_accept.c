/* What is asked: judged against what is known, then written down, then answered (contract 3.1 to
 * 3.3). Nothing of it waits for a runtime. */
#include "core/engine_priv.h"

#include <stdio.h>

enum { WHO_MAX = 255 };

/* What an apply comes to. */
struct verdict {
    struct item *w;         /* NULL: it is new */
    struct intent *intent;  /* to be written down; NULL: nothing has to be */
    bool skipped;           /* it is so already */
    bool join;              /* the same is on its way to the disk */
    bool fresh, new_intent; /* tries begin again; something else is wanted than before */
};

static struct slice who_of(const char *who)
{
    struct slice s = slice_of(who);
    while (s.len > WHO_MAX || (s.len == WHO_MAX && ((unsigned char)s.p[s.len] & 0xC0) == 0x80))
        s.len--;
    return s;
}

/* A lock file is looked at with our rights: only where the owner of the machine said. */
static int check_lock(const struct engine *g, const char *path, struct err *e)
{
    if (path == NULL || g->n_lock_roots == 0)
        return 0;
    for (size_t i = 0; i < g->n_lock_roots; i++) {
        size_t n = strlen(g->lock_roots[i]);
        if (strncmp(path, g->lock_roots[i], n) == 0 && (n == 1 || path[n] == '/'))
            return 0;
    }
    return err_set(e, ERR_INVALID,
                   "lock_file \"%.200s\" is in none of the folders that workloads.lock_roots names",
                   path);
}

static bool is_absent(const struct engine *g, enum workload_type t)
{
    const struct driver *r = &g->drivers[t];
    return r->ops->absent != NULL && r->ops->absent(r->self);
}

static int check_driver(struct engine *g, const struct workload_doc *d, bool whole, struct err *e)
{
    enum workload_type t = (enum workload_type)d->type;
    if ((unsigned)t >= WORKLOAD_TYPES || g->drivers[t].ops == NULL || (whole && is_absent(g, t)))
        return err_set(e, ERR_UNSUPPORTED,
                       "runtime not available: runtime not available for type: %s",
                       (unsigned)t < WORKLOAD_TYPES ? workload_type_name(t) : "unknown");
    if (!whole)
        return 0;
    if (check_lock(g, d->lock_file, e) != 0)
        return e->code;
    int kind = d->health.kind;
    if (kind != DOC_HEALTH_NONE && kind != DOC_HEALTH_RUNTIME && g->prober.ops == NULL)
        return err_set(e, ERR_UNSUPPORTED, "health checks by tcp, http or command are not served");
    return g->drivers[t].ops->check(g->drivers[t].self, d, e);
}

static int check_conditions(const struct engine_apply *a, const struct intent *n, struct err *e)
{
    if (a->only_new && n != NULL && (n->flags & STORED_DELETING) == 0)
        return err_set(e, ERR_PRECONDITION, "\"%s\" exists already", a->doc->id);
    if (a->generation != 0 && (n == NULL || n->generation != a->generation))
        return err_set(e, ERR_PRECONDITION, "\"%s\" has generation %llu, not %llu", a->doc->id,
                       (unsigned long long)(n != NULL ? n->generation : 0),
                       (unsigned long long)a->generation);
    return 0;
}

static int desired_of(const struct workload_doc *d)
{
    return d->desired_state == DESIRED_NONE ? DESIRED_RUNNING : d->desired_state;
}

/* What a rule of ours deletes keeps its data, also when somebody else asks for something of it. */
static unsigned stays_kept(const struct intent *n)
{
    return (n->flags & STORED_DELETING) != 0 && intent_keeps(n) ? STORED_KEEPS : 0u;
}

/* Whether what is there has to go before what comes, which is of that type, and how. */
static unsigned first_goes(const struct intent *n, unsigned type)
{
    unsigned were = n->flags & STORED_WERE;
    if ((n->flags & STORED_DELETING) == 0)
        return were | (n->flags & (STORED_REBORN | STORED_KEEPS));
    if (n->type != type)
        were |= 1u << (n->type + STORED_WERE_SHIFT);
    return STORED_REBORN | (n->flags & STORED_FORCED) | stays_kept(n) | were;
}

/* The intent as it would be written; n NULL: there is none yet. doc NULL: that of n stays. */
static int make_intent(struct engine *g, const struct engine_apply *a, const struct intent *n,
                       bool new_doc, struct verdict *v, const char *print, struct err *e)
{
    struct stored_workload row = {0};
    struct buf text = BUF_INIT(DOC_TEXT_MAX * 2);
    struct rules *rules = NULL;
    int rc = 0;
    if (n != NULL)
        intent_row(n, &row);
    if (new_doc) {
        rc = workload_doc_store(a->doc, &g->sealer, &text, e);
        if (rc == 0 && rules_new(&rules, a->doc) != 0)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory");
        row.id = slice_of(a->doc->id);
        row.type = (enum workload_type)a->doc->type;
        row.revision = slice_of(a->doc->revision_id);
        row.doc = (struct slice){text.data, text.len};
        row.print = slice_of(print);
    } else {
        rules = rules_ref(n->rules);
    }
    if (rc == 0) {
        int64_t now = eng_wall(g);
        enum workload_desired desired = (enum workload_desired)desired_of(a->doc);
        if (desired == DESIRED_STOPPED && row.desired != DESIRED_STOPPED)
            row.cause = STOP_OPERATOR;
        row.desired = desired;
        row.who = who_of(a->who);
        row.generation += v->new_intent ? 1 : 0;
        row.flags = (rules != NULL ? STORED_RULES : 0) | (a->force ? STORED_FORCED : 0) |
                    (n != NULL ? first_goes(n, row.type) : 0);
        row.created_ns = n != NULL && (n->flags & STORED_DELETING) == 0 ? n->created_ns : now;
        row.updated_ns = now;
        /* A restart that was asked for is made moot by another document or state only. */
        if (n != NULL && !v->new_intent && (n->flags & STORED_RESTART) != 0) {
            row.flags |= STORED_RESTART;
            row.updated_ns = n->updated_ns;
        }
        rc = intent_new(&v->intent, &row, rules);
        if (rc != 0)
            (void)err_set(e, rc, "out of memory");
    }
    if (rc != 0)
        rules_unref(rules);
    buf_done(&text);
    return rc;
}

/* Rule B5: the same is wanted, and is so. */
static bool consistent(const struct item *w)
{
    if (w->restart || w->strays != 0 || w->tries.terminal || item_reborn(w))
        return false;
    if (w->now->desired == DESIRED_RUNNING)
        return w->object.actual == ACTUAL_RUNNING && w->actual == ACTUAL_RUNNING && object_fits(w);
    return w->actual == ACTUAL_UNKNOWN ? w->object.exists || w->epoch == 0
                                       : w->actual == ACTUAL_STOPPED && object_fits(w);
}

/* The same revision and desired state as what was accepted last. */
static void judge_same(struct item *w, const struct engine_apply *a, struct verdict *v)
{
    if (w->changes != NULL) {
        v->join = true;
        return;
    }
    bool failed = w->tries.count > 0 || w->tries.terminal || w->tries.reason != FAULT_NONE;
    bool force = a->force && (w->now->flags & STORED_FORCED) == 0 && !item_settled(w);
    v->skipped = consistent(w);
    v->fresh = !v->skipped && (failed || w->dirty);
    v->join = !v->skipped && !v->fresh && !force;
}

static int judge(struct engine *g, const struct engine_apply *a, struct verdict *v, struct err *e)
{
    const struct workload_doc *d = a->doc;
    char print[SEALER_PRINT_SIZE] = "";
    *v = (struct verdict){0};
    if (g->stopping)
        return err_set(e, ERR_BUSY, "the engine is stopping");
    if (workload_id_check(slice_of(d->id), e) != 0 ||
        workload_revision_check(slice_of(d->revision_id), e) != 0)
        return e->code;
    struct item *w = v->w = item_find(g, slice_of(d->id));
    const struct intent *n = w != NULL ? item_newest(w) : NULL;
    bool goes = n != NULL && (n->flags & STORED_DELETING) != 0;
    bool known = n != NULL && !goes && slice_eq(intent_revision(n), slice_of(d->revision_id)) &&
                 n->type == d->type;
    bool whole = !(known && a->lenient);
    if ((whole && workload_doc_check(d, e) != 0) || check_driver(g, d, whole, e) != 0)
        return e->code;
    if (check_conditions(a, n, e) != 0)
        return e->code;
    /* What goes is removed by its own driver before the one of what comes has its turn. */
    if (goes && n->type != d->type && g->drivers[n->type].ops == NULL)
        return err_set(e, ERR_STATE,
                       "\"%s\" is being deleted, and was a %s, which this machine has no runtime "
                       "for any more",
                       d->id, workload_type_name((enum workload_type)n->type));
    if (whole && workload_doc_print(d, &g->sealer, print, e) != 0)
        return e->code;
    if (known && whole && !slice_eqs(intent_print(n), print))
        return err_set(e, ERR_CONFLICT, "revision \"%.120s\" of \"%s\" is another document",
                       d->revision_id != NULL ? d->revision_id : "", d->id);
    if (!known && d->depends_on.count > 0 && depends_check(g, slice_of(d->id), d, e) != 0)
        return e->code;
    if ((n == NULL || goes) && g->draining)
        return err_set(e, ERR_DRAINING, "node is draining: it takes no new workloads");
    if (w == NULL && g->count >= g->lim.max_workloads)
        return err_set(e, ERR_LIMIT, "there are %u workloads, which is the limit", g->count);
    v->new_intent = !known || n->desired != desired_of(d);
    if (v->new_intent)
        v->fresh = true;
    else
        judge_same(w, a, v);
    if (v->skipped || v->join)
        return 0;
    return make_intent(g, a, n, !known, v, print, e);
}

static struct waiter *waiter_new(engine_answer_fn fn, void *ctx)
{
    struct waiter *x = mem_zalloc(sizeof(*x));
    if (x != NULL) {
        list_init(&x->link);
        x->fn = fn;
        x->ctx = ctx;
    }
    return x;
}

/* Nothing new has to be written: what is wanted is known, and waited for. */
static int join(struct item *w, engine_answer_fn fn, void *ctx, struct err *e)
{
    struct engine *g = w->g;
    if (w->changes != NULL) {
        struct waiter *x = waiter_new(fn, ctx);
        if (x == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory");
        struct changes *c = w->changes;
        list_push_back(c->next.intent != NULL ? &c->next.waiters : &c->sent.waiters, &x->link);
        return 0;
    }
    w->ordered = true;
    w->quick_ms = 0;
    if (w->task == NULL && w->later == NULL)
        (void)task_new(w, TASK_APPLY);
    item_ready(w);
    static const struct err none;
    answer(g, fn, ctx, ENGINE_ACCEPTED, &none, w);
    return 0;
}

static int apply(struct engine *g, const struct engine_apply *a, engine_answer_fn fn, void *ctx,
                 struct err *e)
{
    struct verdict v;
    static const struct err none;
    int rc = judge(g, a, &v, e);
    if (rc != 0)
        return rc;
    if (v.skipped) {
        answer(g, fn, ctx, ENGINE_SKIPPED, &none, v.w);
        return 0;
    }
    if (v.join)
        return join(v.w, fn, ctx, e);
    struct item *w = v.w;
    struct waiter *x = waiter_new(fn, ctx);
    if (x == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0 && w == NULL)
        rc = item_new(g, intent_id(v.intent), &w, e);
    if (rc == 0)
        rc = change_begin(g, w, v.intent, TASK_APPLY, v.fresh ? CHANGE_FRESH : 0, x, e);
    if (rc == 0)
        return 0;
    if (w != NULL && v.w == NULL)
        item_free(w);
    intent_unref(v.intent);
    mem_free(x);
    return rc;
}

void engine_apply(struct engine *g, const struct engine_apply *a, engine_answer_fn fn, void *ctx)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct err e = {0};
    if (apply(g, a, fn, ctx, &e) != 0)
        answer(g, fn, ctx, ENGINE_REFUSED, &e, NULL);
}

void engine_plan(struct engine *g, const struct engine_apply *a, struct engine_plan *ret)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct verdict v;
    struct engine_view *view = ret->view;
    *ret = (struct engine_plan){.verdict = ENGINE_REFUSED, .view = view};
    int rc = judge(g, a, &v, &ret->e);
    const struct item *w = v.w;
    ret->exists = w != NULL && w->now != NULL;
    if (ret->exists && view != NULL)
        view_fill(v.w, view);
    else
        ret->view = NULL;
    if (rc != 0)
        return;
    ret->verdict = v.skipped ? ENGINE_SKIPPED : ENGINE_ACCEPTED;
    bool up =
        ret->exists && (w->object.actual == ACTUAL_RUNNING || w->object.actual == ACTUAL_PENDING);
    bool run = desired_of(a->doc) == DESIRED_RUNNING;
    const struct intent *n = v.intent;
    bool other = ret->exists && n != NULL && n->type != w->now->type;
    bool update = ret->exists && w->object.exists && n != NULL &&
                  (other || (n->flags & STORED_REBORN) != 0 ||
                   !slice_eq(intent_revision(n), intent_revision(w->now)));
    const struct driver *d = update ? g->runtimes[n->type].driver : NULL;
    ret->recreate =
        update && (other || d == NULL || !d->ops->in_place || (n->flags & STORED_REBORN) != 0);
    if (!v.skipped) {
        ret->stop = up && (ret->recreate || !run);
        ret->start = run && (!up || ret->recreate);
    }
    struct err held = {0};
    const char *lock =
        w != NULL && w->now != NULL && w->now->rules != NULL ? w->now->rules->lock_file : NULL;
    if ((ret->stop || (update && up)) && !a->force && lock != NULL &&
        g->host.ops->lock_held(g->host.self, lock, &held) != 0)
        (void)err_set(&ret->e, ERR_BUSY, "would wait for lock file \"%s\"", lock);
    intent_unref(v.intent);
}

struct slice engine_document(const struct engine *g, struct slice id)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    const struct item *w = item_find(g, id);
    return w != NULL && w->now != NULL ? intent_doc(w->now) : (struct slice){0};
}

/* ---- delete */

static int refuse_dependents(const struct item *w, struct err *e)
{
    char names[200];
    struct buf b = BUF_FIXED(names);
    const struct item *o;
    size_t n = 0;
    for (; n < 4 && (o = depends_on_it(w, false, n)) != NULL; n++)
        (void)buf_addf(&b, "%s\"%.*s\"", n > 0 ? ", " : "",
                       (int)(item_id(o).len < 40 ? item_id(o).len : 40), item_id(o).p);
    if (n == 0)
        return 0;
    return err_set(e, ERR_CONFLICT, "%s%s %s on \"%.*s\"", names,
                   depends_on_it(w, false, n) != NULL ? " and others" : "",
                   n == 1 ? "depends" : "depend", (int)item_id(w).len, item_id(w).p);
}

/* The time of a restart: behind the start of what runs, also when the clock has been set back since
 * then. */
static int64_t restart_time(const struct item *w)
{
    int64_t now = eng_wall(w->g), started = w->object.exists ? w->object.started_ns : 0;
    return now > started ? now : started + 1;
}

/* The newest intent again, with other flags. */
static int again(struct item *w, const char *who, unsigned flags, bool grows, unsigned how,
                 struct intent **ret, struct err *e)
{
    const struct intent *n = item_newest(w);
    struct stored_workload row;
    intent_row(n, &row);
    row.flags = flags;
    row.generation += grows ? 1 : 0;
    row.who = who_of(who);
    if ((how & CHANGE_RESTART) != 0)
        row.updated_ns = restart_time(w);
    else if ((flags & STORED_RESTART) == 0) /* else it stays the time of that */
        row.updated_ns = eng_wall(w->g);
    if (intent_new(ret, &row, NULL) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    (*ret)->rules = rules_ref(n->rules);
    return 0;
}

static int submit(struct item *w, const char *who, unsigned flags, bool grows, enum task_kind kind,
                  unsigned how, engine_answer_fn fn, void *ctx, struct err *e)
{
    struct intent *n = NULL;
    int rc = again(w, who, flags, grows, how, &n, e);
    if (rc != 0)
        return rc;
    struct waiter *x = waiter_new(fn, ctx);
    rc = x == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                   : change_begin(w->g, w, n, kind, how, x, e);
    if (rc != 0) {
        intent_unref(n);
        mem_free(x);
    }
    return rc;
}

static int delete_it(struct engine *g, const struct engine_delete *d, engine_answer_fn fn,
                     void *ctx, struct err *e)
{
    struct item *w = item_find(g, d->id);
    static const struct err none;
    if (g->stopping)
        return err_set(e, ERR_BUSY, "the engine is stopping");
    if (w == NULL || (w->erasing && w->changes == NULL)) {
        answer(g, fn, ctx, w == NULL ? ENGINE_SKIPPED : ENGINE_ACCEPTED, &none, w);
        return 0;
    }
    const struct intent *n = item_newest(w);
    if (d->generation != 0 && n->generation != d->generation)
        return err_set(e, ERR_PRECONDITION, "\"%.*s\" has generation %llu, not %llu",
                       (int)d->id.len, d->id.p, (unsigned long long)n->generation,
                       (unsigned long long)d->generation);
    if (g->drivers[n->type].ops == NULL)
        return err_set(e, ERR_UNSUPPORTED,
                       "runtime not available: runtime not available for type: %s",
                       workload_type_name((enum workload_type)n->type));
    bool deleting = (n->flags & STORED_DELETING) != 0;
    bool forced = d->force || (deleting && (n->flags & STORED_FORCED) != 0);
    if (!deleting && !d->force && !d->keep_going && refuse_dependents(w, e) != 0)
        return e->code;
    unsigned flags = ((unsigned)n->flags & (STORED_RULES | STORED_WERE)) | STORED_DELETING |
                     (forced ? STORED_FORCED : 0u);
    bool same = deleting && forced == ((n->flags & STORED_FORCED) != 0) && !intent_keeps(n);
    if (same && (w->changes != NULL || w->tries.count == 0))
        return join(w, fn, ctx, e);
    return submit(w, d->who, flags, !deleting, TASK_DELETE, CHANGE_FRESH, fn, ctx, e);
}

void engine_delete(struct engine *g, const struct engine_delete *d, engine_answer_fn fn, void *ctx)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct err e = {0};
    if (delete_it(g, d, fn, ctx, &e) != 0)
        answer(g, fn, ctx, ENGINE_REFUSED, &e, NULL);
}

/* ---- restart, retry, force */

static struct item *ask(struct engine *g, struct slice id, bool deleting_too, struct err *e)
{
    struct item *w = item_find(g, id);
    CHECK_MAGIC(g, ENGINE_MAGIC);
    if (g->stopping) {
        (void)err_set(e, ERR_BUSY, "the engine is stopping");
        return NULL;
    }
    if (w == NULL || w->erasing) {
        (void)err_set(e, ERR_NOT_FOUND, "there is no workload \"%.*s\"",
                      (int)(id.len < 128 ? id.len : 128), id.p);
        return NULL;
    }
    if (!deleting_too && intent_goes(item_newest(w))) {
        (void)err_set(e, ERR_STATE, "\"%.*s\" is being deleted", (int)id.len, id.p);
        return NULL;
    }
    return w;
}

void engine_restart(struct engine *g, struct slice id, const char *who, bool force,
                    engine_answer_fn fn, void *ctx)
{
    struct err e = {0};
    struct item *w = ask(g, id, false, &e);
    if (w != NULL && item_newest(w)->desired != DESIRED_RUNNING)
        (void)err_set(&e, ERR_STATE, "\"%.*s\" is to be stopped, not to run", (int)id.len, id.p);
    if (e.code == 0) {
        unsigned flags = ((unsigned)item_newest(w)->flags & STORED_RULES) |
                         (force ? STORED_FORCED : 0u) | STORED_RESTART;
        (void)submit(w, who, flags, false, TASK_APPLY, CHANGE_FRESH | CHANGE_RESTART, fn, ctx, &e);
    }
    if (e.code != 0)
        answer(g, fn, ctx, ENGINE_REFUSED, &e, NULL);
}

void engine_retry_now(struct engine *g, struct slice id, const char *who, engine_answer_fn fn,
                      void *ctx)
{
    struct err e = {0};
    struct item *w = ask(g, id, true, &e);
    if (w != NULL) {
        unsigned flags = item_newest(w)->flags | stays_kept(item_newest(w));
        enum task_kind kind = (flags & STORED_DELETING) != 0 ? TASK_DELETE : TASK_APPLY;
        (void)submit(w, who, flags, false, kind, CHANGE_FRESH, fn, ctx, &e);
    }
    if (e.code != 0)
        answer(g, fn, ctx, ENGINE_REFUSED, &e, NULL);
}

void engine_force(struct engine *g, struct slice id, const char *who, engine_answer_fn fn,
                  void *ctx)
{
    struct err e = {0};
    struct item *w = ask(g, id, true, &e);
    if (w != NULL) {
        unsigned flags =
            (unsigned)item_newest(w)->flags | STORED_FORCED | stays_kept(item_newest(w));
        enum task_kind kind = (flags & STORED_DELETING) != 0 ? TASK_DELETE : TASK_APPLY;
        (void)submit(w, who, flags, false, kind, 0, fn, ctx, &e);
    }
    if (e.code != 0)
        answer(g, fn, ctx, ENGINE_REFUSED, &e, NULL);
}
