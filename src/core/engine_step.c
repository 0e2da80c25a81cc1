/* The next act of one workload: intent against observation. It looks at levels only, so it does not
 * matter what was missed on the way here. */
#include "core/engine_priv.h"

#include <stdio.h>

struct next {
    enum act_kind act;
    enum wait_kind wait;
    enum workload_type type;
    enum stop_cause cause;
};

static struct next waits(enum wait_kind k)
{
    return (struct next){.wait = k};
}

/* Of the revision that is wanted, and made from its document, as far as labels tell. What the
 * original agent made without a revision is taken as it is (contract 5.1). */
bool object_fits(const struct item *w)
{
    const struct object *o = &w->object;
    struct slice want = slice_trim(intent_revision(w->now)), has = slice_trim(object_revision(o));
    if (!o->exists || item_reborn(w))
        return false;
    if (has.len == 0 && o->print_hash == 0)
        return true;
    return slice_eq(want, has) &&
           (o->print_hash == 0 || w->now->print_hash == 0 || o->print_hash == w->now->print_hash);
}

static bool runs(const struct item *w)
{
    return w->object.exists &&
           (w->object.actual == ACTUAL_RUNNING || w->object.actual == ACTUAL_PENDING);
}

bool object_outdated(const struct item *w)
{
    return w->object.exists && w->object.actual == ACTUAL_RUNNING && !object_fits(w) &&
           item_known(w) && (w->now->flags & STORED_DELETING) == 0;
}

bool item_settled(const struct item *w)
{
    if (w->now == NULL || w->changes != NULL || w->act != NULL || w->wait != WAIT_NONE ||
        w->restart || w->strays != 0 || (w->now->flags & STORED_DELETING) != 0 || w->tries.terminal)
        return false;
    return object_fits(w) && (w->now->desired == DESIRED_STOPPED ? !runs(w) : runs(w));
}

static bool locked(struct item *w, bool running)
{
    struct engine *g = w->g;
    const struct rules *r = w->now->rules;
    struct err e = {0};
    if (r == NULL || r->lock_file == NULL || (w->now->flags & STORED_FORCED) != 0 || !running)
        return false;
    if (g->host.ops->lock_held(g->host.self, r->lock_file, &e) == 0)
        return false;
    slot_set(w, SLOT_LOCK, eng_now(g) + g->lim.lock_poll_ms);
    return true;
}

/* Acts that end something that runs. */
static struct next ends(struct item *w, enum act_kind act, enum stop_cause cause)
{
    if (locked(w, runs(w)))
        return waits(WAIT_LOCK);
    return (struct next){.act = act, .type = w->now->type, .cause = cause};
}

/* What takes the place of something is fetched before that goes: a mistyped image must not take
 * down what runs. What was fetched is not fetched again for as long as a lock file holds up the
 * rest; but when that has gone, and it was long ago, then it is. */
static bool unprepared(struct item *w, bool running)
{
    const struct engine *g = w->g;
    if (g->drivers[w->now->type].ops->prepare == NULL)
        return false;
    if (w->prepared_ms == 0)
        return true;
    return eng_now(g) - w->prepared_ms >= PREPARED_MS && !locked(w, running);
}

static struct next prepare(const struct item *w)
{
    return (struct next){.act = ACT_PREPARE, .type = w->now->type};
}

/* An object of an earlier type goes first; nobody has looked whether it runs. */
static struct next next_stray(struct item *w, enum stop_cause cause)
{
    unsigned t = WORKLOAD_CONTAINER;
    while ((w->strays >> t & 1u) == 0)
        t++;
    if (w->g->runtimes[t].driver == NULL)
        return waits(WAIT_NO_DRIVER);
    if (locked(w, true))
        return waits(WAIT_LOCK);
    return (struct next){.act = ACT_REMOVE, .type = (enum workload_type)t, .cause = cause};
}

/* Its tries are over, or the next one is not due. */
static bool held_back(const struct item *w, struct next *ret)
{
    if (w->tries.terminal)
        *ret = waits(WAIT_TERMINAL);
    else if (tries_wait(w))
        *ret = waits(WAIT_RETRY);
    else
        return false;
    return true;
}

/* Who was killed, or cut off, in the middle of a creation does not know what came of it: a runtime
 * that has got the request carries it out for nobody, and the object of a workload that is long
 * forgotten appears. How long that can take nobody can say for sure; but the image was there
 * already (it is fetched before, and that ends with the connection), so a runtime that answers has
 * done it within a second or so. So a workload of which no object was seen since is not forgotten
 * before the runtime has answered over `late_ms` that there is none, and once more after that. What
 * appears later still goes as an orphan. */
static bool surely_gone(struct item *w)
{
    uint64_t now = eng_now(w->g);
    if (!w->unsure)
        return true;
    if (w->absent_ms == 0)
        w->absent_ms = now;
    if (now - w->absent_ms < w->g->lim.late_ms) {
        slot_set(w, SLOT_RETRY, w->absent_ms + w->g->lim.late_ms);
        return false;
    }
    if (w->last_looks)
        return true;
    w->last_looks = true;
    look_want(w);
    return false;
}

/* It needs others that are not as it needs them. */
static bool waits_for_others(struct item *w)
{
    if (depends_unmet(w, 0) == NULL)
        return false;
    depends_look(w);
    return true;
}

/* Another one is wanted than the one that is there. */
static struct next next_update(struct item *w)
{
    struct next n;
    bool stopped = w->now->desired == DESIRED_STOPPED;
    if (held_back(w, &n))
        return n;
    /* What could not be started yet takes the place of nothing. */
    if (!stopped && !object_fits(w) && waits_for_others(w))
        return waits(WAIT_DEPENDS);
    /* To be stopped does not wait for a successor that may never come. */
    if (w->strays != 0)
        return !stopped && unprepared(w, true) ? prepare(w) : next_stray(w, STOP_UPDATE);
    if (stopped && runs(w))
        return ends(w, ACT_STOP, w->now->cause != STOP_NONE ? w->now->cause : STOP_OPERATOR);
    if (unprepared(w, runs(w)))
        return prepare(w);
    const struct driver *d = w->g->runtimes[w->now->type].driver;
    n = ends(w, d->ops->in_place ? ACT_MAKE : ACT_REMOVE, STOP_UPDATE);
    w->replacing = n.act == ACT_REMOVE;
    return n;
}

static struct next next_deleting(struct item *w)
{
    bool forced = (w->now->flags & STORED_FORCED) != 0;
    if (!forced && depends_on_it(w, true, 0) != NULL)
        return waits(WAIT_DEPENDENTS);
    if (tries_wait(w))
        return waits(WAIT_RETRY);
    if (w->strays != 0)
        return next_stray(w, STOP_OPERATOR);
    if (!w->object.exists && !w->assumed && !surely_gone(w))
        return waits(WAIT_LATE);
    if (!w->object.exists && !w->assumed &&
        (w->released || !w->g->drivers[w->now->type].ops->releases))
        return (struct next){.act = ACT_ERASE};
    return ends(w, ACT_REMOVE, STOP_OPERATOR);
}

/* Contract 3.2 (2) and 12.12: only what is not there is refused for want of room. */
static bool admitted(struct item *w, struct fault *f);

static struct next next_missing(struct item *w)
{
    struct next n;
    struct fault f = {0};
    if (held_back(w, &n))
        return n;
    if (!w->replacing && !admitted(w, &f)) {
        if (w->assumed) { /* it may run already: look before refusing it */
            w->assumed = false;
            look_want(w);
            return waits(WAIT_LOOK);
        }
        if (tries_failed(w, "admission rejected due to resource constraints", &f))
            task_done(w, false, w->tries.text);
        (void)held_back(w, &n);
        return n;
    }
    return (struct next){.act = ACT_MAKE, .type = w->now->type};
}

static struct next next_start(struct item *w)
{
    struct next n;
    if (held_back(w, &n))
        return n;
    if (w->quick_ms > eng_now(w->g)) {
        slot_set(w, SLOT_RETRY, w->quick_ms);
        return waits(WAIT_RETRY);
    }
    if (waits_for_others(w))
        return waits(WAIT_DEPENDS);
    if (w->remake)
        return (struct next){.act = ACT_REMOVE, .type = w->now->type, .cause = w->object.cause};
    return (struct next){.act = ACT_START, .type = w->now->type};
}

/* Contract 8.1 (2): pending for too long is restarted. */
static struct next next_pending(struct item *w)
{
    struct engine *g = w->g;
    struct next n;
    uint64_t at = w->pending_ms + g->lim.pending_ms;
    if (w->object.incomplete) /* the rest of it runs on meanwhile */
        return next_start(w);
    if (w->pending_ms == 0 || eng_now(g) < at) {
        if (w->pending_ms != 0)
            slot_set(w, SLOT_PENDING, at);
        return waits(WAIT_NONE);
    }
    if (held_back(w, &n))
        return n;
    n = ends(w, ACT_STOP, STOP_POLICY);
    if (n.act == ACT_STOP)
        w->recovered = true;
    return n;
}

static struct next next_running(struct item *w)
{
    struct next n;
    switch ((enum workload_actual)w->object.actual) {
    case ACTUAL_RUNNING:
        if (!w->sick)
            return waits(WAIT_NONE);
        if (held_back(w, &n))
            return n;
        return ends(w, ACT_STOP, STOP_POLICY);
    case ACTUAL_PENDING:
        return next_pending(w);
    default:
        return next_start(w);
    }
}

/* Whether what runs was started after the restart that it is to have was asked for; by that
 * restart, before a kill -9 kept us from writing down that it is done, or by anything else. So none
 * is lost and none happens twice. It compares times of the wall clock. If that is set back between
 * the asking and the start, and gantryd is killed before the start is written down, then it is
 * restarted once more; and one is lost only if the clock was set back between the start of what
 * runs and the asking while nobody had looked at it yet. */
static bool started_since(const struct item *w)
{
    return w->object.started_ns >= w->now->updated_ns;
}

static struct next next_of(struct item *w)
{
    struct engine *g = w->g;
    const struct runtime *rt = &g->runtimes[w->now->type];
    struct next n;
    if (w->changes != NULL)
        return waits(WAIT_COMMIT);
    if (rt->driver == NULL)
        return waits(WAIT_NO_DRIVER);
    if (gc_busy(g, intent_id(w->now)))
        return waits(WAIT_ORPHAN);
    if (!rt->up)
        return waits(WAIT_RUNTIME);
    if (!item_known(w) || w->look != NULL || w->look_wanted)
        return waits(WAIT_LOOK);
    if (intent_goes(w->now))
        return next_deleting(w);
    if (!g->lim.reconcile && !w->ordered)
        return waits(WAIT_NONE);
    if (w->strays != 0 || (w->object.exists && !object_fits(w)))
        return next_update(w);
    if (!w->object.exists)
        return next_missing(w);
    if (w->restart && runs(w) && !started_since(w))
        return held_back(w, &n) ? n : ends(w, ACT_STOP, STOP_OPERATOR);
    w->restart = false;
    if (w->now->desired == DESIRED_RUNNING)
        return next_running(w);
    if (!runs(w))
        return waits(WAIT_NONE);
    if (held_back(w, &n))
        return n;
    return ends(w, ACT_STOP, w->now->cause != STOP_NONE ? w->now->cause : STOP_OPERATOR);
}

/* ---- admission */

static double threshold(double set, double usual)
{
    return set == 0 ? usual : set;
}

static void over(struct buf *b, const char *what, double is, double most)
{
    if (most <= 100 && is > most)
        (void)buf_addf(b, "%s%s %.1f%% > %.0f%%", b->len > 0 ? ", " : "", what, is, most);
}

static int64_t memory_wanted(struct item *w)
{
    struct workload_doc doc;
    int64_t bytes = 0;
    if (workload_doc_load(&doc, intent_id(w->now), (enum workload_type)w->now->type,
                          intent_doc(w->now), &w->g->sealer, NULL) == 0)
        bytes = doc.container.resources.memory_bytes;
    workload_doc_done(&doc);
    return bytes;
}

static bool admitted(struct item *w, struct fault *f)
{
    struct engine *g = w->g;
    struct host_usage u;
    char text[160];
    struct buf b = BUF_FIXED(text);
    if (g->host.ops == NULL)
        return true;
    g->host.ops->usage(g->host.self, &u);
    over(&b, "memory", u.memory_percent, threshold(g->lim.max_memory, 80));
    over(&b, "cpu", u.cpu_percent, threshold(g->lim.max_cpu, 80));
    over(&b, "disk", u.disk_percent, threshold(g->lim.max_disk, 90));
    if (b.len > 0) {
        (void)fault_set(f, FAULT_RESOURCE_QUOTA_EXCEEDED, ERR_RUNTIME, "[%s]", text);
        return false;
    }
    if (u.memory_available_bytes < 0)
        return true;
    int64_t wanted = memory_wanted(w);
    if (wanted <= 0 || wanted <= u.memory_available_bytes - g->lim.reserve_memory)
        return true;
    (void)fault_set(f, FAULT_INSUFFICIENT_RESOURCES, ERR_RUNTIME,
                    "[it asks for %lld MiB of memory, %lld MiB are available]",
                    (long long)(wanted >> 20), (long long)(u.memory_available_bytes >> 20));
    return false;
}

/* ---- failures that are seen, not met */

/* A run that ended badly is a failure, once. Runs that ended before intent was last told, or while
 * nobody could look, are none; what was seen running counts, whatever the wall clock says. */
static void count_crash(struct item *w)
{
    struct object *o = &w->object;
    int64_t end = o->finished_ns;
    if (w->now->desired != DESIRED_RUNNING || o->actual != ACTUAL_FAILED || !object_fits(w) ||
        end == 0 || end == w->tries.counted_ns || w->asked_stop)
        return;
    if (w->start_ms == 0 && (end <= w->tries.last_ns || end <= w->now->updated_ns))
        return;
    w->tries.counted_ns = end;
    if (w->first_look || w->was_up) {
        w->cause = w->was_up ? STOP_PARENT : o->cause;
        return;
    }
    w->cause = o->cause != STOP_NONE ? o->cause : STOP_CRASH;
    struct fault f = {.reason = FAULT_RUNTIME_ERROR};
    (void)err_set(&f.e, ERR_RUNTIME, "%s", object_message(o));
    if (tries_failed(w, o->cause == STOP_OOM ? "out of memory" : "crashed", &f))
        task_done(w, false, w->tries.text);
}

static void follow_pending(struct item *w)
{
    bool pending = w->object.exists && w->object.actual == ACTUAL_PENDING &&
                   w->now->desired == DESIRED_RUNNING && object_fits(w);
    if (pending && w->pending_ms == 0) {
        w->pending_ms = eng_now(w->g);
        w->pending_ns = eng_wall(w->g);
        w->was_pending = true;
    } else if (!pending && w->pending_ms != 0) {
        w->pending_ms = 0;
        w->pending_ns = 0;
        slot_clear(w, SLOT_PENDING);
    }
    if (w->object.actual == ACTUAL_RUNNING || w->now->desired == DESIRED_STOPPED)
        w->recovered = w->recovered && w->pending_ms != 0;
}

/* What the newest observation means for retry, health and deadlines. */
static void follow(struct item *w)
{
    if (w->now == NULL || !item_known(w) || w->look != NULL)
        return;
    if (!intent_goes(w->now)) {
        count_crash(w);
        bool stopped = w->object.actual == ACTUAL_STOPPED || w->object.incomplete;
        if (stopped && w->now->desired == DESIRED_RUNNING && object_fits(w) && !w->asked_stop &&
            !w->was_up && !w->first_look)
            tries_start_backoff(w);
        follow_pending(w);
    }
    bool running = w->object.exists && w->object.actual == ACTUAL_RUNNING && object_fits(w);
    if (running) {
        w->asked_stop = false;
        if (w->start_ms == 0)
            w->start_ms = eng_now(w->g);
        if (w->tries.count > 0 || w->tries.terminal || w->quick > 0)
            tries_steady(w);
        health_begin(w);
        health_judge(w);
    } else {
        w->start_ms = 0;
        w->sick = false;
        slot_clear(w, SLOT_STEADY);
        health_end(w);
    }
    w->first_look = false;
    w->was_up = false;
}

/* ---- one step */

static void settle(struct item *w)
{
    w->ordered = false;
    w->fresh = false;
    task_done(w, true, NULL);
    if (w->now->desired == DESIRED_STOPPED)
        tries_clear(w);
    if ((w->now->flags & (STORED_FORCED | STORED_RESTART)) != 0) {
        /* The word of the operator was for this change, not for all to come. */
        w->now->flags &= (uint16_t) ~(STORED_FORCED | STORED_RESTART);
        tries_write(w);
    }
}

static void forget_given_up(struct item *w)
{
    struct engine *g = w->g;
    struct err e = {0};
    struct stored_workload row;
    struct intent *n;
    if (g->lim.failed_ttl_ms == 0 || !w->tries.terminal || w->changes != NULL ||
        intent_goes(w->now))
        return;
    int64_t left =
        (int64_t)g->lim.failed_ttl_ms - (eng_wall(g) - w->tries.last_ns) / (int64_t)NS_PER_MS;
    if (left > 0) {
        slot_set(w, SLOT_LOOK, eng_now(g) + (uint64_t)left);
        return;
    }
    intent_row(w->now, &row);
    row.flags = (row.flags & ~(unsigned)STORED_RESTART) | STORED_DELETING;
    row.who = SLICE_LIT(POLICY_WHO "failed-ttl");
    row.generation++;
    row.updated_ns = eng_wall(g);
    if (depends_on_it(w, false, 0) != NULL || intent_new(&n, &row, NULL) != 0)
        return;
    n->rules = rules_ref(w->now->rules);
    slot_set(w, SLOT_LOOK, eng_now(g) + g->lim.pass_ms); /* should it not come about */
    if (change_begin(g, w, n, TASK_DELETE, CHANGE_FRESH, NULL, &e) != 0)
        intent_unref(n);
}

static void begin(struct item *w, const struct next *n)
{
    if (!act_room(w->g, n->act)) {
        w->wait = WAIT_SLOT;
        item_queue(w, act_is_long(n->act) ? QUEUE_MAKE : QUEUE_SHORT);
        return;
    }
    if (w->fresh && w->task == NULL)
        (void)task_new(w, TASK_RECONCILE);
    w->fresh = false;
    act_begin(w, n->act, n->type, n->cause);
}

static void tell_waiting(struct item *w, uint8_t before)
{
    if (w->wait == before ||
        (w->wait != WAIT_LOCK && w->wait != WAIT_DEPENDS && w->wait != WAIT_DEPENDENTS))
        return;
    char text[320];
    eng_event(w->g, w, "waiting", NULL, NULL,
              w->wait == WAIT_LOCK ? SLICE_LIT("lock") : SLICE_LIT("depends"),
              waits_text(w, text, sizeof(text)));
}

void item_step(struct item *w)
{
    struct engine *g = w->g;
    if (w->now == NULL || w->erasing || g->stopping)
        return;
    if (w->due_look) {
        w->due_look = false;
        if (w->tries.terminal)
            forget_given_up(w);
        else
            look_want(w);
    }
    if (w->act != NULL)
        return;
    follow(w);
    if (w->due_probe) {
        w->due_probe = false;
        health_due(w);
    }
    uint8_t before = w->wait;
    struct next n = next_of(w);
    w->wait = (uint8_t)n.wait;
    if (n.wait != WAIT_LOCK)
        slot_clear(w, SLOT_LOCK);
    if (n.act == ACT_ERASE)
        row_erase(w);
    else if (n.act != ACT_NONE)
        begin(w, &n);
    else if (item_settled(w))
        settle(w);
    if (n.act == ACT_NONE && w->look_after) {
        w->look_after = false;
        look_want(w);
    }
    tell_waiting(w, before);
    item_refresh(w);
}

/* ---- what others are told */

static const struct sm_state actual_states[] = {
#define ALL                                                                                        \
    (1u << ACTUAL_PENDING | 1u << ACTUAL_RUNNING | 1u << ACTUAL_STOPPED | 1u << ACTUAL_FAILED |    \
     1u << ACTUAL_UNKNOWN)
    [ACTUAL_NONE] = {"none", ALL, false},
    /* From each of the others to all but itself: an object may vanish, end, or come back between
     * two looks. None is never come back to. */
    [ACTUAL_PENDING] = {"pending", ALL & ~(1u << ACTUAL_PENDING), false},
    [ACTUAL_RUNNING] = {"running", ALL & ~(1u << ACTUAL_RUNNING), false},
    [ACTUAL_STOPPED] = {"stopped", ALL & ~(1u << ACTUAL_STOPPED), false},
    [ACTUAL_FAILED] = {"failed", ALL & ~(1u << ACTUAL_FAILED), false},
    [ACTUAL_UNKNOWN] = {"unknown", ALL & ~(1u << ACTUAL_UNKNOWN), false},
#undef ALL
};
static const struct sm_table actual_table = {"workload-actual", actual_states,
                                             ARRAY_LEN(actual_states)};

static const struct sm_state phase_states[] = {
#define BUSY                                                                                       \
    (1u << PHASE_PREPARING | 1u << PHASE_MAKING | 1u << PHASE_STARTING | 1u << PHASE_STOPPING |    \
     1u << PHASE_REMOVING)
#define REST (1u << PHASE_IDLE | 1u << PHASE_WAITING)
    [PHASE_IDLE] = {"idle", 1u << PHASE_WAITING | BUSY | 1u << PHASE_GONE, false},
    [PHASE_WAITING] = {"waiting", 1u << PHASE_IDLE | BUSY | 1u << PHASE_GONE, false},
    /* An act ends before the next one begins. */
    [PHASE_PREPARING] = {"preparing", REST, false},
    [PHASE_MAKING] = {"making", REST, false},
    [PHASE_STARTING] = {"starting", REST, false},
    [PHASE_STOPPING] = {"stopping", REST, false},
    [PHASE_REMOVING] = {"removing", REST, false},
    [PHASE_GONE] = {"gone", 0, true},
#undef BUSY
#undef REST
};
static const struct sm_table phases = {"workload-phase", phase_states, ARRAY_LEN(phase_states)};

const struct sm_table *phase_table(void)
{
    return &phases;
}

static enum phase phase_of(const struct item *w)
{
    if (w->act != NULL)
        switch (w->act->kind) {
        case ACT_PREPARE:
            return PHASE_PREPARING;
        case ACT_MAKE:
            return PHASE_MAKING;
        case ACT_START:
            return PHASE_STARTING;
        case ACT_STOP:
            return PHASE_STOPPING;
        default:
            return PHASE_REMOVING;
        }
    return w->wait == WAIT_NONE ? PHASE_IDLE : PHASE_WAITING;
}

static enum workload_actual actual_of(const struct item *w)
{
    const struct runtime *rt = &w->g->runtimes[w->now->type];
    bool failing = w->tries.count > 0 || w->tries.terminal;
    bool deleting = (w->now->flags & STORED_DELETING) != 0;
    if (rt->driver == NULL || !rt->up || !item_known(w))
        return w->act != NULL ? (enum workload_actual)w->actual : ACTUAL_UNKNOWN;
    if (deleting && failing)
        return ACTUAL_FAILED;
    bool fits = object_fits(w);
    if (fits && (w->object.actual == ACTUAL_RUNNING || w->object.actual == ACTUAL_PENDING))
        return w->tries.terminal && w->object.actual == ACTUAL_PENDING
                   ? ACTUAL_FAILED
                   : (enum workload_actual)w->object.actual;
    if (failing)
        return ACTUAL_FAILED;
    if (!w->object.exists)
        return deleting || item_reborn(w) || w->act != NULL || w->task != NULL ? ACTUAL_PENDING
                                                                               : ACTUAL_UNKNOWN;
    if (!fits) /* whatever runs, it is not what is wanted */
        return deleting && runs(w) ? (enum workload_actual)w->object.actual : ACTUAL_PENDING;
    if (w->now->desired == DESIRED_STOPPED)
        return ACTUAL_STOPPED;
    /* That it had to be killed, or says so with its status, is no failure of one that we stopped.
     */
    if (w->asked_stop && w->object.actual == ACTUAL_FAILED)
        return ACTUAL_STOPPED;
    /* It comes by itself. Schedulers apply what is stopped again and again, and leave alone what is
     * pending (contract 2.1). */
    if (w->wait == WAIT_DEPENDS && w->object.actual == ACTUAL_STOPPED)
        return ACTUAL_PENDING;
    return (enum workload_actual)w->object.actual;
}

void item_refresh(struct item *w)
{
    struct engine *g = w->g;
    if (w->now == NULL)
        return;
    enum phase p = phase_of(w);
    if (p != w->phase) {
        struct sm m = {&phases, w->phase};
        if (!sm_can(&m, (int)p)) /* two acts with nothing between them */
            sm_move(&m, PHASE_IDLE, intent_id(w->now).p);
        sm_move(&m, (int)p, intent_id(w->now).p);
        w->phase = (uint8_t)p;
    }
    enum workload_actual a = actual_of(w);
    if (a == w->actual)
        return;
    struct sm m = {&actual_table, w->actual};
    sm_move(&m, (int)a, intent_id(w->now).p);
    enum workload_actual from = (enum workload_actual)w->actual;
    g->stats.workloads[w->now->type][from]--;
    g->stats.workloads[w->now->type][a]++;
    w->actual = (uint8_t)a;
    w->changed_ns = eng_wall(g);
    struct engine_view v;
    view_fill(w, &v);
    struct slice reason =
        a == ACTUAL_FAILED ? slice_of(fault_name(v.reason)) : slice_of(stop_cause_name(v.cause));
    if (a == ACTUAL_RUNNING || a == ACTUAL_PENDING)
        reason = (struct slice){"", 0};
    eng_event(g, w, "state", actual_name(from), actual_name(a), reason, v.message);
    depends_wake(w);
}
