/* What others get to see of workloads. */
#include "core/engine_priv.h"

#include <stdio.h>

const char *missing_text(enum workload_type t)
{
    switch (t) {
    case WORKLOAD_COMPOSE:
        return "project not found";
    case WORKLOAD_VM:
        return "domain not found";
    default:
        return "container not found";
    }
}

static const char *for_condition(const struct engine *g, const char *id, enum doc_condition c,
                                 char *out, size_t size)
{
    const struct item *t = item_find(g, slice_of(id));
    if (t == NULL || t->now == NULL)
        (void)snprintf(out, size, "\"%s\", which does not exist", id);
    else if (c == DOC_DEPENDS_RUNNING ||
             (c == DOC_DEPENDS_ADDRESS && !item_meets(t, DOC_DEPENDS_RUNNING)))
        (void)snprintf(out, size, "\"%s\" to run", id);
    else if (c == DOC_DEPENDS_ADDRESS)
        (void)snprintf(out, size, "the address of \"%s\"", id);
    else if (t->actual == ACTUAL_RUNNING && item_health(t) == HEALTH_NONE)
        (void)snprintf(out, size, "\"%s\" to be healthy, but it has no health check", id);
    else
        (void)snprintf(out, size, "\"%s\" to be healthy", id);
    return out;
}

const char *outdated_text(const struct item *w, char *out, size_t size)
{
    struct slice has = slice_trim(object_revision(&w->object));
    out[0] = '\0';
    if (!object_outdated(w))
        return out;
    if (has.len == 0 || slice_eq(has, slice_trim(intent_revision(w->now))))
        (void)snprintf(out, size, "what was made before still runs");
    else
        (void)snprintf(out, size, "revision \"%.*s\" still runs",
                       (int)(has.len < 64 ? has.len : 64), has.p);
    return out;
}

static const char *on_dependency(const struct item *w, char *out, size_t size)
{
    const struct edge *x = depends_unmet(w, 0);
    return x != NULL ? for_condition(w->g, x->id, (enum doc_condition)x->condition, out, size) : "";
}

bool engine_meets(struct engine *g, const char *id, enum doc_condition c, char *out, size_t size)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *t = item_find(g, slice_of(id));
    if (item_meets(t, c))
        return true;
    address_look(t, c);
    (void)for_condition(g, id, c, out, size);
    return false;
}

/* The type whose runtime it waits for: its own, or one of its past. */
static const char *type_missing(const struct item *w)
{
    const struct engine *g = w->g;
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES; t++)
        if ((w->strays >> t & 1u) != 0 && g->runtimes[t].driver == NULL)
            return workload_type_name((enum workload_type)t);
    return workload_type_name((enum workload_type)w->now->type);
}

const char *waits_text(const struct item *w, char *out, size_t size)
{
    const struct item *o;
    const char *type = workload_type_name((enum workload_type)w->now->type);
    /* What was given up is still looked at now and then; that it waits for somebody stays true. */
    bool given_up = w->wait == WAIT_LOOK && w->tries.terminal;
    switch (given_up ? WAIT_TERMINAL : (enum wait_kind)w->wait) {
    case WAIT_COMMIT:
        return "its newest change to be on the disk";
    case WAIT_NO_DRIVER:
        (void)snprintf(out, size, "a runtime for type %s, which this machine does not have",
                       type_missing(w));
        return out;
    case WAIT_RUNTIME:
        (void)snprintf(out, size, "the runtime for type %s to answer", type);
        return out;
    case WAIT_LOOK:
        return "a look at its object";
    case WAIT_SLOT:
        return "others to finish: as many acts as may be are under way";
    case WAIT_LOCK:
        (void)snprintf(out, size, "lock file \"%s\" to go",
                       w->now->rules != NULL && w->now->rules->lock_file != NULL
                           ? w->now->rules->lock_file
                           : "");
        return out;
    case WAIT_DEPENDS:
        return on_dependency(w, out, size);
    case WAIT_DEPENDENTS:
        o = depends_on_it(w, true, 0);
        if (o == NULL)
            return "";
        (void)snprintf(out, size, "\"%.*s\" to be removed first", (int)item_id(o).len,
                       item_id(o).p);
        return out;
    case WAIT_RETRY:
        return "the time of the next try";
    case WAIT_TERMINAL:
        return "somebody to act: it has been given up";
    case WAIT_LATE:
        return "a creation that was cut off to come about or not";
    case WAIT_ORPHAN:
        return "an object that bears its name to be removed";
    default:
        return "";
    }
}

/* What is being done, waited for or was tried in vain, and that what was there before runs on. */
static const char *message_outdated(struct item *w)
{
    struct engine *g = w->g;
    char old[128], waits[320], text[340];
    const char *what = "to be replaced";
    (void)outdated_text(w, old, sizeof(old));
    if (w->act != NULL && w->act->progress[0] != '\0')
        what = w->act->progress;
    else if (w->actual == ACTUAL_FAILED && w->tries.text != NULL)
        what = w->tries.text;
    else if (w->act != NULL)
        what = item_reborn(w) ? "being deleted" : "fetching what takes its place";
    else if (w->wait != WAIT_NONE &&
             snprintf(text, sizeof(text), "waits for %s", waits_text(w, waits, sizeof(waits))) > 0)
        what = text;
    struct buf b = BUF_FIXED(g->text);
    (void)buf_add_words(&b, what, sizeof(g->text) - sizeof(old) - 4);
    (void)buf_addf(&b, "; %s", old);
    return g->text;
}

/* Why it is so, in the words of the contract where it has some. */
static const char *message_of(struct item *w)
{
    struct engine *g = w->g;
    const struct runtime *rt = &g->runtimes[w->now->type];
    const struct object *o = &w->object;
    if (rt->driver == NULL)
        return "runtime not available";
    if (!rt->up) {
        (void)snprintf(g->text, sizeof(g->text), "runtime unreachable: %s",
                       rt->driver->ops->condition(rt->driver->self));
        return g->text;
    }
    if (object_outdated(w))
        return message_outdated(w);
    if (w->act != NULL && w->act->progress[0] != '\0')
        return w->act->progress;
    if (w->actual == ACTUAL_FAILED && w->tries.text != NULL)
        return w->tries.text;
    if (!item_known(w))
        return w->look_fails > 0 ? "status check failed" : "not looked at yet";
    if (!o->exists)
        return intent_goes(w->now)           ? "being deleted"
               : w->actual == ACTUAL_PENDING ? "creating workload"
                                             : missing_text((enum workload_type)w->now->type);
    if (w->wait == WAIT_DEPENDS && w->actual == ACTUAL_PENDING) {
        char waits[320];
        struct buf b = BUF_FIXED(g->text);
        (void)buf_addlit(&b, "waits for ");
        (void)buf_add_words(&b, waits_text(w, waits, sizeof(waits)), sizeof(g->text) - 16);
        return g->text;
    }
    if (w->now->desired == DESIRED_STOPPED && o->actual == ACTUAL_FAILED) {
        if (w->asked_stop || object_message(o)[0] == '\0')
            return "stopped";
        (void)snprintf(g->text, sizeof(g->text), "stopped (previous runtime error: %s)",
                       object_message(o));
        return g->text;
    }
    if (o->actual == ACTUAL_PENDING && w->pending_ms != 0)
        return w->recovered                   ? "recovered from prolonged pending via restart"
               : object_message(o)[0] != '\0' ? object_message(o)
                                              : "workload pending; waiting for startup completion";
    return object_message(o);
}

static void view_task(const struct item *w, struct engine_view *v)
{
    struct task t;
    if (w->task == NULL && w->later == NULL)
        return;
    task_get(w->later != NULL ? w->later : w->task, &t);
    v->actual = ACTUAL_PENDING;
    /* What it waits for, or how far it is, says more than that there is a task. */
    if ((w->act == NULL || w->act->progress[0] == '\0') && !object_outdated(w))
        v->message = t.status == TASK_RUNNING ? "task running" : "task pending execution";
}

/* Nobody sees this before its first commit; only for completeness. */
static void view_uncommitted(const struct intent *n, struct engine_view *v)
{
    *v = (struct engine_view){.id = intent_id(n),
                              .revision = intent_revision(n),
                              .who = intent_who(n),
                              .type = (enum workload_type)n->type,
                              .desired = (enum workload_desired)n->desired,
                              .actual = ACTUAL_PENDING,
                              .seen = ACTUAL_UNKNOWN,
                              .message = "",
                              .own_message = "",
                              .phase = "waiting",
                              .waits_for = "",
                              .failure = "",
                              .address = "",
                              .exit_code = -1,
                              .generation = n->generation};
}

static int64_t next_try(const struct item *w)
{
    uint64_t now = eng_now(w->g);
    if (w->tries.next_ms > now && w->tries.next_ns != 0)
        return w->tries.next_ns;
    return w->wait == WAIT_RETRY && w->quick_ms > now
               ? eng_wall(w->g) + (int64_t)((w->quick_ms - now) * NS_PER_MS)
               : 0;
}

/* What was measured before it stopped is not what it uses now, nor when it is started again. Of a
 * Compose project that has failed some services may run. */
static void view_usage(struct item *w, struct engine_view *v)
{
    if (v->seen == ACTUAL_STOPPED || (v->seen == ACTUAL_FAILED && v->type != WORKLOAD_COMPOSE))
        mem_free(STEAL(w->usage));
    if (w->usage == NULL)
        return;
    v->has_usage = true;
    v->usage = *w->usage;
    v->usage.id = v->id;
}

void view_fill(struct item *w, struct engine_view *v)
{
    struct engine *g = w->g;
    const struct intent *n = w->now != NULL ? w->now : item_newest(w);
    if (w->now == NULL) {
        view_uncommitted(n, v);
        return;
    }
    const struct object *o = &w->object;
    bool failing = w->actual != ACTUAL_RUNNING || w->tries.terminal;
    struct sm m = {phase_table(), w->phase};
    *v = (struct engine_view){
        .id = intent_id(n),
        .revision = intent_revision(n),
        .who = intent_who(n),
        .type = (enum workload_type)n->type,
        .desired = (enum workload_desired)n->desired,
        .actual = (enum workload_actual)w->actual,
        .seen = (enum workload_actual)w->actual,
        .message = message_of(w),
        .reason = failing ? (enum fault_reason)w->tries.reason : FAULT_NONE,
        .cause = (enum stop_cause)w->cause,
        .health = item_health(w),
        .deleting = (n->flags & STORED_DELETING) != 0,
        .terminal = w->tries.terminal,
        .acting = w->act != NULL,
        .restart = w->restart,
        .phase = sm_name(&m),
        .waits_for = waits_text(w, g->waits, sizeof(g->waits)),
        .generation = n->generation,
        .attempts = w->tries.count,
        .restarts = o->restarts,
        .created_ns = n->created_ns,
        .updated_ns = n->updated_ns,
        .changed_ns = w->changed_ns,
        .next_try_ns = next_try(w),
        .last_failure_ns = w->tries.last_ns,
        .failure = w->tries.text != NULL ? w->tries.text : "",
        .object_id = object_oid(o),
        .address = object_address(o),
        .started_ns = o->started_ns,
        .finished_ns = o->finished_ns,
        .exit_code = o->exit_code,
    };
    v->own_message = v->message;
    view_task(w, v);
    view_usage(w, v);
}

bool engine_get(struct engine *g, struct slice id, struct engine_view *ret)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *w = item_find(g, id);
    if (w == NULL || w->now == NULL)
        return false;
    view_fill(w, ret);
    return true;
}

/* The first place whose id comes behind `after`. */
static uint32_t place_after(const struct engine *g, struct slice after)
{
    uint32_t low = 0, high = g->n_order;
    while (after.len > 0 && low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct slice id = item_id(g->order[mid]);
        size_t n = id.len < after.len ? id.len : after.len;
        int order = memcmp(id.p, after.p, n);
        if (order < 0 || (order == 0 && id.len <= after.len))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int engine_each(struct engine *g, enum workload_type type,
                int (*fn)(void *ctx, const struct engine_view *w), void *ctx)
{
    return engine_each_after(g, type, (struct slice){NULL, 0}, fn, ctx);
}

int engine_each_after(struct engine *g, enum workload_type type, struct slice after,
                      int (*fn)(void *ctx, const struct engine_view *w), void *ctx)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct engine_view v;
    int rc = 0;
    order_tidy(g);
    for (uint32_t i = place_after(g, after); i < g->n_order && rc == 0; i++) {
        struct item *w = g->order[i];
        if (w->now == NULL || (type != WORKLOAD_NONE && w->now->type != type))
            continue;
        view_fill(w, &v);
        rc = fn(ctx, &v);
    }
    return rc;
}

size_t engine_count(const struct engine *g)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    size_t n = 0;
    for (int t = 0; t < WORKLOAD_TYPES; t++)
        for (int a = 0; a <= ACTUAL_UNKNOWN; a++)
            n += g->stats.workloads[t][a];
    return n;
}

const struct driver *engine_driver(const struct engine *g, enum workload_type t)
{
    return (unsigned)t < WORKLOAD_TYPES && g->drivers[t].ops != NULL ? &g->drivers[t] : NULL;
}

void engine_note_usage(struct engine *g, const struct driver_usage *u)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *w = item_find(g, u->id);
    if (w == NULL)
        return;
    if (w->usage == NULL && (w->usage = mem_alloc(sizeof(*w->usage))) == NULL)
        return; /* the next sample tries again */
    *w->usage = *u;
    w->usage->id = (struct slice){"", 0};
}

void engine_drop_usage(struct engine *g, struct slice id)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *w = item_find(g, id);
    if (w != NULL)
        mem_free(STEAL(w->usage));
}

/* ---- metadata (contract 4.6) */

struct meta {
    void (*fn)(void *ctx, const char *key, const char *value);
    void *ctx;
};

static void put_time(const struct meta *m, const char *key, int64_t ns)
{
    char text[TIME_TEXT_SIZE] = "";
    if (ns != 0)
        time_format_rfc3339(text, ns);
    m->fn(m->ctx, key, text);
}

static void meta_tries(const struct item *w, const struct meta *m)
{
    const struct tries *t = &w->tries;
    bool failing = (w->actual != ACTUAL_RUNNING || t->terminal) && t->reason != FAULT_NONE;
    const char *text = failing && t->text != NULL ? t->text : "";
    char number[16];
    /* Clients merge: what is not so any more is said, not left out (contract 2.1). */
    m->fn(m->ctx, "retry_terminal", t->terminal ? "true" : "false");
    m->fn(m->ctx, "failure_reason", failing ? fault_name((enum fault_reason)t->reason) : "");
    if (t->reason == FAULT_NONE && !w->failed_once)
        return;
    (void)snprintf(number, sizeof(number), "%u", t->count);
    m->fn(m->ctx, "failure_message", text);
    m->fn(m->ctx, "last_error", text);
    m->fn(m->ctx, "last_runtime_error", text);
    m->fn(m->ctx, "retry_attempts", number);
    put_time(m, "next_retry_time", failing && !t->terminal ? t->next_ns : 0);
    m->fn(m->ctx, "retry_terminal_reason", t->terminal ? text : "");
    bool resources = failing && (t->reason == FAULT_RESOURCE_QUOTA_EXCEEDED ||
                                 t->reason == FAULT_INSUFFICIENT_RESOURCES);
    m->fn(m->ctx, "resource_issues", resources ? text : "");
    if (t->last_ns != 0)
        put_time(m, "last_failure_at", t->last_ns);
    if (failing && intent_goes(w->now))
        m->fn(m->ctx, "last_delete_error", text);
}

/* Said of all and always, as it is to be said when it is over, also after a restart of ours. */
static void meta_running(const struct item *w, const struct meta *m)
{
    char text[WORKLOAD_REVISION_MAX + 1];
    struct buf b = BUF_FIXED(text);
    struct slice has = slice_trim(object_revision(&w->object));
    text[0] = '\0';
    if (object_outdated(w))
        (void)buf_add(&b, has.p, has.len < WORKLOAD_REVISION_MAX ? has.len : WORKLOAD_REVISION_MAX);
    m->fn(m->ctx, "running_revision", text);
}

void engine_metadata(struct engine *g, struct slice id,
                     void (*fn)(void *ctx, const char *key, const char *value), void *ctx)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *w = item_find(g, id);
    struct meta m = {fn, ctx};
    if (w == NULL || w->now == NULL)
        return;
    if (w->object.exists)
        object_meta(&w->object, fn, ctx);
    meta_tries(w, &m);
    meta_running(w, &m);
    if (w->was_pending)
        put_time(&m, "pending_since", w->pending_ns);
    if (w->recovered) {
        fn(ctx, "pending_recovery_action", "restart");
        fn(ctx, "pending_recovery_reason", "pending for too long");
    }
    if (w->task != NULL || w->later != NULL) {
        struct task t;
        task_get(w->later != NULL ? w->later : w->task, &t);
        fn(ctx, "task_id", t.id);
        fn(ctx, "task_status", task_status_name(t.status));
    }
}

void engine_stats(const struct engine *g, struct engine_stats *ret)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    *ret = g->stats;
    ret->acting = g->n_acts;
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct item *w = g->order[i];
        if (w == NULL || w->now == NULL)
            continue;
        ret->waiting += w->phase == PHASE_WAITING ? 1 : 0;
        ret->terminal += w->tries.terminal ? 1 : 0;
        ret->due += w->queue != QUEUE_NONE ? 1 : 0;
    }
}
