/* Calls of drivers and their ends. */
#include "core/engine_priv.h"

#include <stdio.h>

/* What makes objects may take long (an image comes over a slow line); so it never has all the
 * places, and what is short gets its turn. */
static unsigned makes_most(const struct engine *g)
{
    unsigned most = g->lim.max_acts - g->lim.max_acts / 4;
    return most == g->lim.max_acts && most > 1 ? most - 1 : most;
}

bool act_room(const struct engine *g, enum act_kind k)
{
    return g->n_acts < g->lim.max_acts && (!act_is_long(k) || g->n_makes < makes_most(g));
}

bool act_is_long(enum act_kind k)
{
    return k == ACT_MAKE || k == ACT_PREPARE;
}

static void act_free(struct act *a)
{
    if (a->g != NULL) {
        list_remove(&a->link);
        a->g->n_acts--;
        a->g->n_makes -= act_is_long(a->kind) ? 1 : 0;
    }
    if (a->has_doc)
        workload_doc_done(&a->doc);
    intent_unref(a->intent);
    mem_free(a);
}

static void on_progress(void *ctx, const char *text)
{
    struct act *a = ctx;
    struct buf b = BUF_FIXED(a->progress);
    (void)buf_adds(&b, text);
}

static void act_done(void *ctx, const struct fault *f, const struct driver_object *o);

/* ---- beginning */

static int load_doc(struct act *a, struct fault *f)
{
    int rc = workload_doc_load(&a->doc, intent_id(a->intent), (enum workload_type)a->intent->type,
                               intent_doc(a->intent), &a->g->sealer, &f->e);
    a->has_doc = true; /* whatever came of it, it has to be wiped */
    f->reason = FAULT_INVALID_CONFIGURATION;
    return rc;
}

static int64_t stop_timeout(const struct act *a)
{
    switch (a->intent->type) {
    case WORKLOAD_COMPOSE:
        return a->doc.compose.stop_timeout_s;
    case WORKLOAD_VM:
        return a->doc.vm.stop_timeout_s;
    default:
        return a->doc.container.stop_timeout_s;
    }
}

/* What it removes does not come back: not only to make room. */
static bool goes_for_good(const struct act *a)
{
    const struct intent *n = a->intent;
    return a->kind == ACT_REMOVE && intent_goes(n) &&
           (a->type == (enum workload_type)n->type || (intent_were(n) >> a->type & 1u) != 0);
}

static int call(struct act *a, const struct driver *d, struct fault *f)
{
    struct engine *g = a->g;
    struct driver_order o = {.id = intent_id(a->intent),
                             .revision = intent_revision(a->intent),
                             .node_id = g->node_id,
                             .progress = on_progress};
    struct fault ignored = {0};
    int rc = 0;
    if (act_is_long(a->kind) || a->kind == ACT_START) {
        rc = load_doc(a, f);
        if (rc != 0)
            return rc;
        o.doc = &a->doc;
        o.print = intent_print(a->intent);
    } else if (load_doc(a, &ignored) == 0) {
        /* Only for how long to wait; a document that cannot be opened must not keep it running. */
        o.stop_timeout_s = stop_timeout(a);
    }
    o.start_follows = a->kind == ACT_MAKE && a->intent->desired == DESIRED_RUNNING &&
                      depends_unmet(a->w, 0) == NULL;
    o.for_good = goes_for_good(a) && !intent_keeps(a->intent);
    o.forgotten = goes_for_good(a) && intent_keeps(a->intent);
    f->reason = FAULT_RUNTIME_ERROR;
    switch (a->kind) {
    case ACT_PREPARE:
        rc = d->ops->prepare(d->self, &o, act_done, a);
        break;
    case ACT_MAKE:
        rc = d->ops->ensure(d->self, &o, act_done, a);
        break;
    case ACT_START:
        rc = d->ops->start(d->self, &o, act_done, a);
        break;
    case ACT_STOP:
        rc = d->ops->stop(d->self, &o, act_done, a);
        break;
    default:
        rc = d->ops->remove(d->self, &o, act_done, a);
        break;
    }
    if (rc != 0)
        (void)err_set(&f->e, rc, "%s", err_row(rc)->text);
    return rc;
}

static const char *what_failed(enum act_kind k)
{
    switch (k) {
    case ACT_PREPARE:
        return "update failed";
    case ACT_MAKE:
        return "create failed";
    case ACT_START:
        return "start failed";
    case ACT_STOP:
        return "stop failed";
    default:
        return "delete failed";
    }
}

/* "failed to apply workload web: [CREATE_FAILED] Failed to create ... (workload: web): ..." */
static void task_failed(struct item *w, enum act_kind k, const struct fault *f)
{
    static const char *const codes[][2] = {
        [ACT_PREPARE] = {"CREATE_FAILED", "Failed to fetch what takes the place of what is there"},
        [ACT_MAKE] = {"CREATE_FAILED", "Failed to create workload in runtime"},
        [ACT_START] = {"START_FAILED", "Failed to start workload"},
        [ACT_STOP] = {"STOP_FAILED", "Failed to stop workload"},
        [ACT_REMOVE] = {"DELETE_FAILED", "Failed to delete workload from runtime"},
    };
    char text[sizeof(f->e.msg) + 480];
    struct slice id = intent_id(w->now);
    bool deleting = intent_goes(w->now);
    const char *const *code = codes[k];
    static const char *const volume[2] = {"VOLUME_MOUNT_FAILED", "Failed to prepare volumes"};
    if ((k == ACT_MAKE || k == ACT_START) &&
        (f->reason == FAULT_STORAGE_PROVISION_FAILED || f->reason == FAULT_STORAGE_ATTACH_FAILED))
        code = volume; /* contract 4.3 */
    /* What is being deleted stays so and is tried again; that it was refused is to be seen. */
    (void)snprintf(text, sizeof(text), "failed to %s workload %.*s: [%s] %s (workload: %.*s): %s",
                   deleting ? "delete" : "apply", (int)id.len, id.p, code[0], code[1], (int)id.len,
                   id.p, f->e.msg);
    task_done(w, false, text);
}

/* False: nothing was tried. */
static bool failed(struct item *w, enum act_kind k, const struct fault *f)
{
    if (!tries_failed(w, what_failed(k), f))
        return false;
    task_failed(w, k, f);
    return true;
}

static void end_span(struct act *a, const struct fault *f)
{
    static const char *const names[] = {[ACT_MAKE] = "workload create",
                                        [ACT_START] = "workload start",
                                        [ACT_STOP] = "workload stop",
                                        [ACT_REMOVE] = "workload delete"};
    struct task t = {.id = ""};
    if (!a->span.self.on)
        return;
    if (a->w != NULL && a->w->task != NULL)
        task_get(a->w->task, &t);
    const struct span_attr attrs[] = {
        SPAN_TEXT("gantry.workload.id", intent_id(a->intent)),
        SPAN_TEXT("gantry.workload.type", slice_of(workload_type_name(a->type))),
        SPAN_TEXT("gantry.task.id", slice_of(t.id)),
        SPAN_TEXT("error.type", slice_of(f != NULL ? fault_name(f->reason) : "")),
    };
    struct span_done d = {.kind = SPAN_INTERNAL,
                          .name = slice_of(names[a->kind]),
                          .failed = f != NULL,
                          .message = slice_of(f != NULL ? f->e.msg : ""),
                          .attrs = attrs,
                          .n_attrs = f != NULL ? 4 : 3};
    span_end(&a->span, &d);
}

void act_begin(struct item *w, enum act_kind k, enum workload_type type, enum stop_cause cause)
{
    struct engine *g = w->g;
    struct fault f = {0};
    item_queue(w, QUEUE_NONE);
    struct act *a = mem_zalloc(sizeof(*a));
    if (a == NULL) {
        (void)err_set(&f.e, ERR_NO_MEMORY, "out of memory");
        (void)failed(w, k, &f);
        w->wait = WAIT_RETRY;
        return;
    }
    *a = (struct act){.g = g,
                      .w = w,
                      .intent = intent_ref(w->now),
                      .kind = k,
                      .type = type,
                      .cause = cause,
                      .begun_ms = eng_now(g)};
    list_push_back(&g->acts, &a->link);
    g->n_acts++;
    g->n_makes += act_is_long(k) ? 1 : 0;
    w->act = a;
    if (span_wanted() && w->task != NULL) {
        span_begin(&a->span, task_span(w->task));
        span_current = a->span.self;
    }
    int rc = call(a, &g->drivers[type], &f);
    span_current.on = false;
    if (rc != 0) {
        w->act = NULL;
        end_span(a, &f);
        act_free(a);
        (void)failed(w, k, &f);
        w->wait = w->tries.terminal ? WAIT_TERMINAL : WAIT_RETRY;
        return;
    }
    if (k != ACT_PREPARE) /* which touches no object: looks at it stay as good as they are */
        w->seq = ++g->seq;
    health_end(w);
    if (w->task != NULL) {
        struct task t;
        task_get(w->task, &t);
        if (t.status == TASK_PENDING)
            task_start(g->tasks, w->task);
    }
    if (w->tries.count > 0)
        g->stats.retried++;
    g->stats.acts++;
}

void act_cancel(struct item *w)
{
    struct act *a = w->act;
    if (a == NULL || a->cancelled)
        return;
    a->cancelled = true;
    const struct driver *d = &w->g->drivers[a->type];
    d->ops->cancel(d->self, intent_id(a->intent));
}

/* ---- ends */

static void made(struct item *w, const struct act *a, const struct driver_object *o)
{
    struct engine *g = w->g;
    histogram_add(&g->stats.apply_time, (eng_now(g) - a->begun_ms) * NS_PER_MS);
    w->remake = false;
    w->quick = 0;
    w->quick_ms = 0;
    if (o != NULL && o->created_ns != 0 && o->created_ns < a->intent->created_ns)
        g->stats.adopted++;
    else
        g->stats.created++;
    w->replacing = false;
    w->unsure = false;
    w->prepared_ms = 0;
    if (o == NULL || a->intent != w->now || object_fits(w)) {
        w->misfit = false;
        return;
    }
    /* It took one that was there already and is another one: that is replaced, but only once. */
    bool again = w->misfit;
    struct fault f;
    w->misfit = !again;
    (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "its object still has revision \"%.*s\"",
                    (int)(o->revision.len < 128 ? o->revision.len : 128), o->revision.p);
    if (again)
        (void)failed(w, ACT_MAKE, &f);
}

static void stopped(struct item *w, const struct act *a)
{
    w->asked_stop = true;
    w->cause = (uint8_t)a->cause;
    w->sick = false;
    w->restart = false;
    w->pending_ms = 0; /* counted anew from the start that follows */
    w->pending_ns = 0;
}

/* It is removed; and if that was less than what is asked for now, it is removed once more. */
static void removed(struct item *w, const struct act *a)
{
    bool enough = goes_for_good(a) && (!intent_keeps(a->intent) || intent_keeps(w->now));
    if (enough || (intent_were(w->now) >> a->type & 1u) == 0)
        w->strays &= (uint8_t) ~(1u << a->type);
    if (a->type == (enum workload_type)w->now->type) {
        w->released = enough;
        object_gone(&w->object);
        w->assumed = false;
        w->remake = false;
    }
    w->cause = (uint8_t)a->cause;
}

static void succeeded(struct item *w, const struct act *a, const struct driver_object *o)
{
    struct engine *g = w->g;
    switch (a->kind) {
    case ACT_PREPARE:
        if (!a->cancelled)
            w->prepared_ms = eng_now(g);
        break;
    case ACT_MAKE:
        made(w, a, o);
        break;
    case ACT_START:
        w->cause = STOP_NONE;
        w->start_ms = eng_now(g);
        w->asked_stop = false;
        w->remake = false;
        break;
    case ACT_STOP:
        stopped(w, a);
        break;
    default:
        removed(w, a);
        break;
    }
}

/* Whether the object has to be looked at to know how it is now. */
static bool unclear(struct item *w, const struct act *a, const struct fault *f,
                    const struct driver_object *o)
{
    if (a->type != (enum workload_type)w->now->type || a->kind == ACT_PREPARE)
        return false;
    if (o != NULL)
        return item_observe(w, o) != 0;
    return f != NULL || a->kind != ACT_REMOVE;
}

/* It was cut off: the runtime may have got it, and be at it. */
static void made_or_not(struct item *w, const struct act *a)
{
    if (a->kind != ACT_MAKE)
        return;
    w->unsure = true;
    w->last_looks = false;
    w->absent_ms = 0;
}

static void act_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct act *a = ctx;
    struct engine *g = a->g;
    if (g == NULL) {
        act_free(a);
        return;
    }
    struct item *w = a->w;
    end_span(a, f);
    w->act = NULL;
    if (a->kind != ACT_PREPARE) {
        w->seq = ++g->seq;
        w->assumed = false;
    }
    histogram_add(&g->stats.act_time, (eng_now(g) - a->begun_ms) * NS_PER_MS);
    bool look = unclear(w, a, f, o);
    if (f == NULL) {
        succeeded(w, a, o);
    } else if (f->e.code == ERR_UNREACHABLE) {
        made_or_not(w, a);
        runtime_down(&g->runtimes[a->type]);
    } else {
        /* What has never run and could not be started is made anew. */
        bool late = f->e.code == ERR_TIMEOUT;
        if (late)
            made_or_not(w, a);
        bool counted =
            !(a->cancelled && (late || f->e.code == ERR_CANCELLED)) && failed(w, a->kind, f);
        if (counted && a->kind == ACT_START && w->object.started_ns == 0 &&
            !g->drivers[a->type].ops->in_place)
            w->remake = true;
    }
    act_free(a);
    if (look)
        look_want(w);
    item_refresh(w);
    item_ready(w);
    eng_check_stopped(g);
}

static struct item *first_of(struct list_node *head)
{
    struct list_node *n = list_first(head);
    return n != NULL ? CONTAINER_OF(n, struct item, link) : NULL;
}

void acts_from_queues(struct engine *g)
{
    for (;;) {
        struct item *make = act_room(g, ACT_MAKE) ? first_of(&g->make) : NULL;
        struct item *other = act_room(g, ACT_START) ? first_of(&g->shorts) : NULL;
        struct item *w = make == NULL || (other != NULL && g->turn) ? other : make;
        g->turn = !g->turn;
        if (w == NULL)
            return;
        item_queue(w, QUEUE_NONE);
        item_step(w);
    }
}
