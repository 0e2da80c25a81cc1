/* Writing intents down, and answering when they are. Of one workload one change is in the store's
 * hands at a time; what comes meanwhile is put together into the next one, so that a hundred
 * applies of one id cost two commits and each is answered by the one that holds it. */
#include "core/engine_priv.h"

static void sent_done(void *ctx, const struct err *e);

/* Frees a change that nobody waits for any more. */
void change_free(struct changes *c)
{
    if (c == NULL)
        return;
    intent_unref(c->sent.intent);
    intent_unref(c->next.intent);
    LIST_FOR_SAFE (n, &c->sent.waiters)
        mem_free(CONTAINER_OF(n, struct waiter, link));
    LIST_FOR_SAFE (n, &c->next.waiters)
        mem_free(CONTAINER_OF(n, struct waiter, link));
    mem_free(c);
}

void answer(struct engine *g, engine_answer_fn fn, void *ctx, enum engine_verdict v,
            const struct err *e, struct item *w)
{
    if (fn == NULL)
        return;
    struct engine_view view;
    struct task t = {.id = ""};
    (void)g;
    if (w != NULL) {
        view_fill(w, &view);
        if (w->task != NULL || w->later != NULL)
            task_get(w->later != NULL ? w->later : w->task, &t);
    }
    fn(ctx, v, e, w != NULL ? &view : NULL, t.id);
}

static void answer_all(struct engine *g, struct list_node *waiters, enum engine_verdict v,
                       const struct err *e, struct slice id)
{
    /* A waiter may ask for more, so none of the lists is walked while they are told. */
    while (!list_empty(waiters)) {
        struct waiter *x = CONTAINER_OF(list_first(waiters), struct waiter, link);
        list_remove(&x->link);
        answer(g, x->fn, x->ctx, v, e, v == ENGINE_REFUSED ? NULL : item_find(g, id));
        mem_free(x);
    }
}

static void splice(struct list_node *to, struct list_node *from)
{
    while (!list_empty(from)) {
        struct list_node *n = list_first(from);
        list_remove(n);
        list_push_back(to, n);
    }
}

static int send(struct item *w, struct err *e)
{
    struct engine *g = w->g;
    struct store_change c = {.op = STORE_PUT};
    intent_row(w->changes->sent.intent, &c.w);
    if ((w->changes->sent.how & CHANGE_FRESH) == 0) {
        c.w.attempts = w->tries.count;
        c.w.last_failure_ns = w->tries.last_ns;
        c.w.next_try_ns = w->tries.next_ns;
        c.w.reason = (enum fault_reason)w->tries.reason;
        c.w.failure = slice_of(w->tries.text);
        c.w.flags |= w->tries.terminal ? STORED_TERMINAL : 0;
    }
    g->commits++;
    if (span_wanted())
        span_begin(&w->changes->sent.commit, &w->changes->sent.asked);
    int rc = g->store.ops->commit(g->store.self, &c, 1, sent_done, w);
    if (rc != 0) {
        g->commits--;
        g->stats.store_failures++;
        return err_set(e, rc, rc == ERR_BUSY ? "the store is too busy" : "out of memory");
    }
    return 0;
}

static struct changes *changes_new(void)
{
    struct changes *c = mem_zalloc(sizeof(*c));
    if (c != NULL) {
        list_init(&c->sent.waiters);
        list_init(&c->next.waiters);
    }
    return c;
}

int change_begin(struct engine *g, struct item *w, struct intent *n, enum task_kind kind,
                 unsigned how, struct waiter *waiter, struct err *e)
{
    (void)g;
    bool first = w->changes == NULL;
    if (first && (w->changes = changes_new()) == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct change *c = first ? &w->changes->sent : &w->changes->next;
    struct intent *before = c->intent;
    c->intent = n;
    c->kind = kind;
    c->how |= how;
    if (span_current.on) /* the last one that asks gives it its trace */
        c->asked = span_current;
    if (waiter != NULL)
        list_push_back(&c->waiters, &waiter->link);
    if (!first) {
        intent_unref(before);
        return 0;
    }
    int rc = send(w, e);
    if (rc != 0) {
        if (waiter != NULL)
            list_remove(&waiter->link);
        w->changes->sent.intent = NULL;
        change_free(STEAL(w->changes));
    }
    return rc;
}

/* ---- a change has been committed */

static void rules_in_force(struct item *w, struct intent *old)
{
    if (old != NULL && old->rules != NULL && old->rules != w->now->rules)
        depends_unlink(w->g, old->rules);
    if (w->now->rules != NULL && (old == NULL || old->rules != w->now->rules))
        /* Without its edges a workload is not woken by others; the next pass looks anyway. */
        (void)depends_link(w, w->now->rules);
}

static void forget_tries(struct item *w)
{
    tries_forget(&w->tries);
    slot_clear(w, SLOT_RETRY);
    w->quick = 0;
    w->quick_ms = 0;
    w->remake = false;
    w->sick = false;
    w->dirty = false;
}

static void tell_change(struct item *w, const struct intent *old)
{
    struct engine *g = w->g;
    struct slice who = intent_who(w->now);
    const char *type = old == NULL                              ? "created"
                       : (w->now->flags & STORED_DELETING) != 0 ? "deleting"
                       : w->now->generation != old->generation  ? "changed"
                                                                : "asked";
    struct event ev = {
        .kind = "workload",
        .name = intent_id(w->now),
        .type = type,
        .to = slice_of(desired_name((enum workload_desired)w->now->desired)),
        .from = slice_of(old == NULL ? "" : desired_name((enum workload_desired)old->desired)),
        .reason = slice_of(stop_cause_name((enum stop_cause)w->now->cause)),
        .who = who,
        .revision = intent_revision(w->now)};
    event_publish(g->events, &ev);
}

static bool same_document(const struct intent *a, const struct intent *b)
{
    return a->type == b->type && slice_eq(intent_revision(a), intent_revision(b)) &&
           slice_eq(intent_print(a), intent_print(b));
}

/* The act under way may be for something that nobody wants any more. */
static void drop_old_act(struct item *w)
{
    if (w->act == NULL || !act_is_long(w->act->kind))
        return;
    /* What runs is not to be stopped only when its successor has been fetched. */
    bool stops = w->act->kind == ACT_PREPARE && w->now->desired == DESIRED_STOPPED &&
                 w->act->intent->desired != DESIRED_STOPPED;
    if (stops || intent_goes(w->now) || !same_document(w->now, w->act->intent))
        act_cancel(w);
}

/* All that was of the one before has gone with it. */
static void born(struct item *w)
{
    struct engine *g = w->g;
    task_done(w, true, NULL);
    w->task = STEAL(w->later);
    w->released = false;
    w->unsure = false;
    w->last_looks = false;
    w->absent_ms = 0;
    w->replacing = false;
    w->misfit = false;
    w->asked_stop = false;
    w->was_up = false;
    w->was_pending = false;
    w->recovered = false;
    w->cause = w->now->cause;
    g->stats.deleted++;
}

static void take_over(struct item *w, struct change *c)
{
    struct engine *g = w->g;
    struct intent *old = w->now;
    w->now = STEAL(c->intent);
    bool moved = old != NULL && old->type != w->now->type;
    if (moved) {
        if (g->runtimes[old->type].driver != NULL)
            w->strays |= (uint8_t)(1u << old->type);
        object_gone(&w->object);
        g->stats.workloads[old->type][w->actual]--;
    }
    if (moved || old == NULL) {
        g->stats.workloads[w->now->type][w->actual]++;
        /* Nobody looked for it, but nobody asked for it either: most likely it is not there. */
        w->strays &= (uint8_t) ~(1u << w->now->type);
        w->epoch = g->runtimes[w->now->type].epoch;
        w->assumed = w->epoch != 0;
    }
    w->strays |= (uint8_t)(intent_were(w->now) & ~(1u << w->now->type));
    if (old == NULL || !same_document(w->now, old))
        w->prepared_ms = 0;
    rules_in_force(w, old);
    health_end(w);
    if ((c->how & CHANGE_FRESH) != 0)
        forget_tries(w);
    /* One that was asked for before is moot when this no longer says so. */
    w->restart =
        (w->now->flags & STORED_RESTART) != 0 && ((c->how & CHANGE_RESTART) != 0 || w->restart);
    w->fresh = false;
    w->first_look = false;
    w->ordered = true;
    if ((c->how & CHANGE_BORN) != 0) {
        born(w);
    } else {
        tell_change(w, old);
        struct task_entry *t = task_new(w, c->kind);
        if (t != NULL)
            task_set_span(t, &c->asked);
    }
    drop_old_act(w);
    if (old != NULL && intent_goes(old))
        depends_wake_used(g, old->rules);
    intent_unref(old);
}

static void refuse_all(struct item *w, const struct err *e)
{
    struct engine *g = w->g;
    struct changes *c = STEAL(w->changes);
    struct list_node all;
    list_init(&all);
    splice(&all, &c->sent.waiters);
    splice(&all, &c->next.waiters);
    struct slice id = {0};
    if (w->now == NULL) {
        /* It never was. Its id lives in the change, which goes last. */
        w->changes = c;
        item_free(w);
    } else {
        change_free(c);
        w->hold_ms = eng_now(g) + SOON_MS;
        item_ready(w);
    }
    answer_all(g, &all, ENGINE_REFUSED, e, id);
}

static void end_commit(struct item *w, const struct err *e)
{
    struct span *s = &w->changes->sent.commit;
    const struct span_attr attrs[] = {SPAN_TEXT("gantry.workload.id", item_id(w))};
    struct span_done d = {.kind = SPAN_INTERNAL,
                          .name = SLICE_LIT("store commit"),
                          .failed = e->code != 0,
                          .message = slice_of(e->msg),
                          .attrs = attrs,
                          .n_attrs = ARRAY_LEN(attrs)};
    if (s->self.on)
        span_end(s, &d);
}

static void sent_done(void *ctx, const struct err *e)
{
    struct item *w = ctx;
    struct engine *g = w->g;
    g->commits--;
    end_commit(w, e);
    if (e->code != 0) {
        g->stats.store_failures++;
        /* What was stacked on top was judged by what has just failed. */
        refuse_all(w, e);
        eng_check_stopped(g);
        return;
    }
    struct changes *c = w->changes;
    take_over(w, &c->sent);
    struct list_node told;
    list_init(&told);
    splice(&told, &c->sent.waiters);
    if (c->next.intent != NULL) {
        c->sent.intent = STEAL(c->next.intent);
        c->sent.kind = c->next.kind;
        c->sent.how = c->next.how;
        c->sent.asked = c->next.asked;
        c->next.how = 0;
        c->next.asked = (struct span_ref){0};
        splice(&c->sent.waiters, &c->next.waiters);
        struct err failed = {0};
        if (send(w, &failed) != 0)
            refuse_all(w, &failed);
    } else {
        change_free(STEAL(w->changes));
    }
    item_refresh(w);
    depends_wake(w);
    item_ready(w);
    char id[WORKLOAD_ID_MAX + 1];
    struct slice known = {id, item_id(w).len};
    memcpy(id, item_id(w).p, known.len);
    static const struct err none;
    answer_all(g, &told, ENGINE_ACCEPTED, &none, known);
    eng_check_stopped(g);
}

int change_policy(struct item *w, const char *who, struct err *e)
{
    struct stored_workload row;
    struct intent *n;
    if (w->changes != NULL || intent_goes(w->now))
        return ERR_STATE;
    intent_row(w->now, &row);
    row.desired = DESIRED_STOPPED;
    row.flags &= ~(unsigned)STORED_RESTART;
    row.cause = STOP_POLICY;
    row.who = slice_of(who);
    row.generation++;
    row.updated_ns = eng_wall(w->g);
    int rc = intent_new(&n, &row, NULL);
    if (rc != 0)
        return err_set(e, rc, "out of memory");
    n->rules = rules_ref(w->now->rules);
    rc = change_begin(w->g, w, n, TASK_APPLY, CHANGE_FRESH, NULL, e);
    if (rc != 0)
        intent_unref(n);
    return rc;
}

/* ---- tries, and the end of a row */

static void tries_done(void *ctx, const struct err *e)
{
    struct item *w = ctx;
    struct engine *g = w->g;
    g->commits--;
    w->writing = false;
    if (e->code != 0) {
        g->stats.store_failures++;
        w->dirty = true; /* the next pass tries again */
    } else if (w->dirty) {
        tries_write(w);
    }
    item_ready(w); /* the end of its row may have waited for this */
    eng_check_stopped(g);
}

void tries_write(struct item *w)
{
    struct engine *g = w->g;
    w->dirty = true;
    /* A change on its way either takes them along or makes them void. */
    if (w->changes != NULL || w->writing || w->erasing || w->now == NULL || g->told)
        return;
    struct store_change c = {.op = STORE_PUT};
    intent_row(w->now, &c.w);
    c.w.attempts = w->tries.count;
    c.w.last_failure_ns = w->tries.last_ns;
    c.w.next_try_ns = w->tries.next_ns;
    c.w.reason = (enum fault_reason)w->tries.reason;
    c.w.failure = slice_of(w->tries.text);
    c.w.flags |= w->tries.terminal ? STORED_TERMINAL : 0;
    g->commits++;
    w->writing = true;
    w->dirty = false;
    if (g->store.ops->commit(g->store.self, &c, 1, tries_done, w) != 0) {
        g->commits--;
        w->writing = false;
        w->dirty = true;
        g->stats.store_failures++;
    }
}

static void erase_later(struct item *w)
{
    w->tries.next_ms = eng_now(w->g) + SOON_MS;
    slot_set(w, SLOT_RETRY, w->tries.next_ms);
}

static void erase_done(void *ctx, const struct err *e)
{
    struct item *w = ctx;
    struct engine *g = w->g;
    g->commits--;
    if (e->code != 0) {
        g->stats.store_failures++;
        w->erasing = false;
        erase_later(w);
        eng_check_stopped(g);
        return;
    }
    if (w->changes != NULL) {
        /* It was applied meanwhile: its row comes back with the next commit, or it goes again. */
        w->erasing = false;
        eng_check_stopped(g);
        return;
    }
    struct sm m = {phase_table(), w->phase};
    sm_move(&m, PHASE_GONE, intent_id(w->now).p);
    eng_event(g, w, "deleted", actual_name((enum workload_actual)w->actual), NULL,
              slice_of("operator"), NULL);
    task_done(w, true, NULL);
    w->task = STEAL(w->later); /* there is none, unless memory was short for that of the deletion */
    task_done(w, true, NULL);
    task_release(g->tasks, intent_id(w->now));
    g->stats.deleted++;
    histogram_add(
        &g->stats.delete_time,
        (uint64_t)(eng_wall(g) > w->now->updated_ns ? eng_wall(g) - w->now->updated_ns : 0));
    g->stats.workloads[w->now->type][w->actual]--;
    depends_wake(w);
    item_free(w);
    eng_check_stopped(g);
}

/* The row says from now on that there is nothing of the one before. */
static void row_begin(struct item *w)
{
    struct engine *g = w->g;
    struct stored_workload row;
    struct intent *n = NULL;
    struct err e = {0};
    if (eng_now(g) < w->hold_ms) {
        slot_set(w, SLOT_RETRY, w->hold_ms);
        return;
    }
    intent_row(w->now, &row);
    row.flags &= ~(unsigned)(STORED_REBORN | STORED_KEEPS | STORED_WERE);
    if (intent_new(&n, &row, NULL) != 0) {
        erase_later(w);
        return;
    }
    n->rules = rules_ref(w->now->rules);
    if (change_begin(g, w, n, TASK_APPLY, CHANGE_FRESH | CHANGE_BORN, NULL, &e) != 0) {
        intent_unref(n);
        erase_later(w);
    }
}

void row_erase(struct item *w)
{
    struct engine *g = w->g;
    if (w->erasing || w->changes != NULL || w->writing)
        return;
    if (item_reborn(w)) {
        row_begin(w);
        return;
    }
    struct store_change c = {.op = STORE_REMOVE, .w.id = intent_id(w->now)};
    g->commits++;
    w->erasing = true;
    if (g->store.ops->commit(g->store.self, &c, 1, erase_done, w) != 0) {
        g->commits--;
        w->erasing = false;
        g->stats.store_failures++;
        erase_later(w);
    }
}

/* ---- tasks */

/* What became of it, for its record and for those that read events. */
static void task_close(struct engine *g, struct task_entry *e, bool ok, const char *text)
{
    struct task t;
    task_get(e, &t);
    struct event ev = {.kind = "task",
                       .name = t.workload,
                       .type = ok ? "completed" : "failed",
                       .reason = slice_of(task_kind_name(t.kind)),
                       .message = text != NULL ? slice_of(text) : (struct slice){"", 0},
                       .who = t.who};
    event_publish(g->events, &ev);
    task_end(g->tasks, e, ok ? TASK_COMPLETED : TASK_FAILED, text);
}

static void supersede(struct engine *g, struct task_entry *old, const struct task_entry *by)
{
    struct task t;
    char text[320];
    if (old == NULL)
        return;
    task_get(by, &t);
    struct buf b = BUF_FIXED(text);
    (void)buf_addf(&b, "superseded by %s", t.id);
    task_close(g, old, true, text);
}

static bool is_deletion(const struct task_entry *e)
{
    struct task t = {.kind = TASK_APPLY};
    if (e != NULL)
        task_get(e, &t);
    return t.kind == TASK_DELETE;
}

struct task_entry *task_new(struct item *w, enum task_kind kind)
{
    struct engine *g = w->g;
    struct task_entry *e;
    if (task_begin(g->tasks, kind, intent_id(w->now), intent_who(w->now), &e) != 0)
        return NULL; /* the change is made all the same, without a task to look at */
    /* A deletion is done to its end before what comes after it has its turn. */
    bool after = item_reborn(w) && (is_deletion(w->task) || w->later != NULL);
    struct task_entry *now = after ? NULL : w->task, *later = w->later;
    w->later = after ? e : NULL;
    w->task = after ? w->task : e;
    supersede(g, now, e);
    supersede(g, later, e);
    return e;
}

void task_done(struct item *w, bool ok, const char *text)
{
    struct task_entry *e = STEAL(w->task);
    if (e != NULL)
        task_close(w->g, e, ok, text);
}
