/* The fake runtime: life, calls, and the times at which they are carried out. */
#include "driver/fake/fake_priv.h"

static const char *const op_names[] = {"ensure",  "start", "stop",   "remove",
                                       "inspect", "list",  "prepare"};

uint64_t fake_now(const struct fake *f)
{
    return clock_mono_ms(f->clock);
}

uint64_t fake_random(struct fake *f)
{
    /* splitmix64 */
    uint64_t z = (f->random += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- what is due */

static bool earlier(const struct due *a, const struct due *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

int fake_plan(struct fake *f, struct due *d)
{
    if (f->n_heap + 2 > f->heap_cap) {
        size_t cap = f->heap_cap == 0 ? 64 : f->heap_cap * 2;
        struct due **more = mem_realloc(f->heap, cap * sizeof(struct due *));
        if (more == NULL) {
            mem_free(d);
            return ERR_NO_MEMORY;
        }
        f->heap = more;
        f->heap_cap = cap;
    }
    d->seq = ++f->seq;
    size_t at = ++f->n_heap;
    for (; at > 1 && earlier(d, f->heap[at / 2]); at /= 2)
        f->heap[at] = f->heap[at / 2];
    f->heap[at] = d;
    if (f->wake != NULL && at == 1)
        f->wake(f->ctx, d->at_ms);
    return 0;
}

static struct due *take(struct fake *f)
{
    struct due *top = f->heap[1], *last = f->heap[f->n_heap--];
    size_t at = 1;
    for (size_t next; (next = at * 2) <= f->n_heap; at = next) {
        if (next < f->n_heap && earlier(f->heap[next + 1], f->heap[next]))
            next++;
        if (!earlier(f->heap[next], last))
            break;
        f->heap[at] = f->heap[next];
    }
    if (f->n_heap > 0)
        f->heap[at] = last;
    return top;
}

uint64_t fake_next(const struct fake *f)
{
    return f->n_heap > 0 ? f->heap[1]->at_ms : UINT64_MAX;
}

/* ---- carrying out */

static int refuse(struct fake *f, struct fault *x, const char *id)
{
    f->stats.refused++;
    return fault_set(x, FAULT_INVALID_CONFIGURATION, ERR_EXISTS,
                     "container name \"%s\" is already in use by somebody else", id);
}

static int do_ensure(struct fake *f, struct call *c, struct fault *x)
{
    struct slice id = slice_of(c->id), revision = slice_of(c->revision);
    struct thing *t = thing_find(f, id);
    if (t != NULL && (revision.len == 0 || slice_eqs(revision, t->text + t->id_len + 1)))
        return 0;
    if (t != NULL) {
        thing_free(f, t);
        f->stats.removed++;
    }
    if (thing_make(f, id, revision, c->node_id, &t) != 0)
        return fault_set(x, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    memcpy(t->print, c->print, sizeof(t->print));
    return 0;
}

static int do_act(struct fake *f, struct call *c, struct fault *x)
{
    struct thing *t = thing_find(f, slice_of(c->id));
    if (t != NULL && t->foreign && c->op != FAKE_PREPARE)
        return refuse(f, x, c->id);
    switch (c->op) {
    case FAKE_ENSURE:
        return do_ensure(f, c, x);
    case FAKE_START:
        if (t == NULL)
            return fault_set(x, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                             "there is no container \"%s\"", c->id);
        if (t->actual == ACTUAL_RUNNING || t->actual == ACTUAL_PENDING)
            return 0;
        if (thing_start(f, t) != 0)
            return fault_set(x, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        return 0;
    case FAKE_PREPARE:
        return 0;
    case FAKE_STOP:
        if (t != NULL) {
            f->stats.stopped++;
            thing_end(f, t, 0, true);
        }
        return 0;
    default:
        if (t != NULL) {
            f->stats.removed++;
            thing_free(f, t);
        }
        return 0;
    }
}

static void answer_list(struct fake *f, struct call *c, const struct fault *x)
{
    size_t n = 0;
    struct fault lost;
    if (x == NULL && f->items_cap < f->ours) {
        struct driver_object *more =
            mem_realloc(f->items, (f->ours + f->ours / 4 + 16) * sizeof(*more));
        if (more == NULL) {
            (void)fault_set(&lost, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
            x = &lost;
        } else {
            f->items = more;
            f->items_cap = f->ours + f->ours / 4 + 16;
        }
    }
    if (x == NULL)
        LIST_FOR (i, &f->all) {
            const struct thing *t = CONTAINER_OF(i, struct thing, link);
            if (!t->foreign)
                thing_view(t, &f->items[n++]);
        }
    c->fn.list(c->ctx, x, f->items, n);
}

static void answer_call(struct fake *f, struct call *c, const struct fault *x)
{
    struct thing *t = thing_find(f, slice_of(c->id));
    struct driver_object o;
    list_remove(&c->link);
    f->stats.acts -= c->act && !c->forgotten ? 1 : 0;
    if (t != NULL)
        thing_view(t, &o);
    if (c->op == FAKE_LIST)
        answer_list(f, c, x);
    else if (c->act)
        c->fn.done(c->ctx, x, x == NULL && t != NULL && c->op != FAKE_PREPARE ? &o : NULL);
    else
        c->fn.object(c->ctx, x, x == NULL && t != NULL ? &o : NULL);
    mem_free(c);
}

static void carry_out(struct fake *f, struct call *c)
{
    struct fault x = {0};
    const struct thing *t = thing_find(f, slice_of(c->id));
    if (c->cancelled)
        (void)fault_set(&x, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    else if (!f->up)
        (void)fault_set(&x, FAULT_RUNTIME_ERROR, ERR_UNREACHABLE, "the fake runtime is away");
    else if (c->has_fault && !c->after)
        x = c->fault;
    else if (c->act && do_act(f, c, &x) == 0 && c->has_fault)
        x = c->fault;
    else if (!c->act && c->has_fault)
        x = c->fault;
    else if (c->op == FAKE_INSPECT && t != NULL && t->foreign)
        (void)fault_set(&x, FAULT_INVALID_CONFIGURATION, ERR_EXISTS, "container \"%s\" is not ours",
                        c->id);
    answer_call(f, c, x.e.code != 0 ? &x : NULL);
}

void fake_run(struct fake *f)
{
    CHECK_MAGIC(f, FAKE_MAGIC);
    /* What calls make due at once is for the next run: a run ends. */
    uint64_t now = fake_now(f), last = f->seq;
    while (f->n_heap > 0 && f->heap[1]->at_ms <= now && f->heap[1]->seq <= last) {
        struct due *d = take(f);
        if (d->kind != DUE_CALL)
            thing_due(f, d);
        else if (!d->call->hung || d->call->cancelled || !f->up)
            carry_out(f, d->call); /* what hangs stays in the list of calls until it is released */
        mem_free(d);
    }
    if (f->wake != NULL && f->n_heap > 0)
        f->wake(f->ctx, fake_next(f));
}

/* ---- calls */

static int plan_call(struct fake *f, struct call *c, uint64_t in_ms)
{
    struct due *d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->kind = DUE_CALL;
    d->call = c;
    d->at_ms = fake_now(f) + in_ms;
    return fake_plan(f, d);
}

static struct call *call_new(struct fake *f, enum fake_op op, struct slice id)
{
    struct call *c = mem_zalloc(sizeof(*c));
    if (c == NULL || id.len > WORKLOAD_ID_MAX) {
        mem_free(c);
        return NULL;
    }
    if (id.len > 0)
        memcpy(c->id, id.p, id.len);
    c->op = op;
    c->act = (op & FAKE_ACTS) != 0;
    list_push_back(&f->calls, &c->link);
    return c;
}

static int begin(struct fake *f, struct call *c)
{
    struct fake_rule r = {0};
    uint64_t in = 0;
    if (fake_ruled(f, c->op, c->id, &r)) {
        in = r.least_ms;
        if (r.most_ms > r.least_ms)
            in += fake_random(f) % (r.most_ms - r.least_ms + 1);
        c->has_fault = r.fault.e.code != 0;
        c->fault = r.fault;
        c->after = r.after;
        c->hung = r.hang;
    }
    f->stats.calls[__builtin_ctz((unsigned)c->op)]++;
    if (plan_call(f, c, in) != 0) {
        list_remove(&c->link);
        mem_free(c);
        return ERR_NO_MEMORY;
    }
    if (c->act) {
        f->stats.acts++;
        if (f->stats.acts > f->stats.acts_most)
            f->stats.acts_most = f->stats.acts;
        if (c->progress != NULL && in > 0)
            c->progress(c->ctx, op_names[__builtin_ctz((unsigned)c->op)]);
    }
    return 0;
}

static int act(void *self, enum fake_op op, const struct driver_order *o, driver_done_fn fn,
               void *ctx)
{
    struct fake *f = self;
    CHECK_MAGIC(f, FAKE_MAGIC);
    LIST_FOR (n, &f->calls) {
        const struct call *other = CONTAINER_OF(n, struct call, link);
        if (other->act && !other->forgotten && slice_eqs(o->id, other->id))
            f->stats.overlaps++;
    }
    struct call *c = call_new(f, op, o->id);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->fn.done = fn;
    c->ctx = ctx;
    c->progress = o->progress;
    struct buf revision = BUF_FIXED(c->revision), node = BUF_FIXED(c->node_id),
               print = BUF_FIXED(c->print);
    (void)buf_add(&revision, o->revision.p, o->revision.len);
    (void)buf_add(&node, o->node_id.p, o->node_id.len);
    (void)buf_add(&print, o->print.p, o->print.len);
    return begin(f, c);
}

static int fake_op_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act(self, FAKE_ENSURE, o, fn, ctx);
}

static int fake_op_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act(self, FAKE_START, o, fn, ctx);
}

static int fake_op_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act(self, FAKE_PREPARE, o, fn, ctx);
}

static int fake_op_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act(self, FAKE_STOP, o, fn, ctx);
}

static int fake_op_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act(self, FAKE_REMOVE, o, fn, ctx);
}

static int fake_op_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct fake *f = self;
    struct call *c = call_new(f, FAKE_INSPECT, id);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->fn.object = fn;
    c->ctx = ctx;
    return begin(f, c);
}

static int fake_op_list(void *self, driver_list_fn fn, void *ctx)
{
    struct fake *f = self;
    struct call *c = call_new(f, FAKE_LIST, (struct slice){"", 0});
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->fn.list = fn;
    c->ctx = ctx;
    return begin(f, c);
}

/* A call that waits for its time keeps it; one that hangs has none and gets it now. */
static void answer_soon(struct fake *f, struct call *c)
{
    if (!c->hung)
        return;
    c->hung = false;
    if (plan_call(f, c, 0) != 0)
        c->hung = true; /* released with the next one */
}

static void fake_op_cancel(void *self, struct slice id)
{
    struct fake *f = self;
    LIST_FOR (n, &f->calls) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        if (!c->act || c->forgotten || !slice_eqs(id, c->id))
            continue;
        c->cancelled = true;
        for (size_t i = 1; i <= f->n_heap; i++)
            if (f->heap[i]->kind == DUE_CALL && f->heap[i]->call == c)
                return; /* answered in its time, as a runtime that is slow to cancel */
        answer_soon(f, c);
        return;
    }
}

static bool pending(const struct fake *f, const struct call *c)
{
    for (size_t i = 1; i <= f->n_heap; i++)
        if (f->heap[i]->kind == DUE_CALL && f->heap[i]->call == c)
            return true;
    return false;
}

void fake_forget(struct fake *f)
{
    LIST_FOR (n, &f->calls) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        f->stats.acts -= c->act && !c->forgotten ? 1 : 0;
        c->forgotten = true;
    }
}

void fake_release(struct fake *f)
{
    LIST_FOR (n, &f->calls) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        if (!c->hung)
            continue;
        if (pending(f, c))
            c->hung = false;
        else
            answer_soon(f, c);
    }
}

void fake_abandon(struct fake *f, unsigned done, unsigned lost)
{
    fake_forget(f);
    LIST_FOR (n, &f->calls) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        uint64_t chance = fake_random(f) % 100;
        c->cancelled = c->cancelled || chance >= 100 - lost;
        c->hurried = c->cancelled || chance < done;
        if (c->hurried && c->hung && !pending(f, c))
            answer_soon(f, c);
        c->hung = c->hung && !c->hurried;
    }
    /* Their places in the heap change, so all of it is made anew. */
    size_t n = f->n_heap;
    f->n_heap = 0;
    for (size_t i = 1; i <= n; i++) {
        struct due *later = f->heap[i];
        if (later->kind == DUE_CALL && later->call->hurried)
            later->at_ms = fake_now(f);
        (void)fake_plan(f, later); /* there is room: there was */
    }
}

void fake_hasten(struct fake *f, uint64_t most_ms)
{
    uint64_t now = fake_now(f);
    LIST_FOR (n, &f->calls) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        if (!c->forgotten || !c->hung)
            continue;
        if (pending(f, c))
            c->hung = false;
        else
            answer_soon(f, c);
    }
    size_t n = f->n_heap;
    f->n_heap = 0;
    for (size_t i = 1; i <= n; i++) {
        struct due *d = f->heap[i];
        if (d->kind == DUE_CALL && d->call->forgotten && d->at_ms > now + most_ms)
            d->at_ms = now + fake_random(f) % (most_ms + 1);
        (void)fake_plan(f, d); /* there is room: there was */
    }
}

bool fake_making(const struct fake *f, struct slice id)
{
    LIST_FOR (n, &f->calls) {
        const struct call *c = CONTAINER_OF(n, struct call, link);
        if (c->op == FAKE_ENSURE && c->forgotten && !c->cancelled && slice_eqs(id, c->id))
            return true;
    }
    return false;
}

bool fake_forgotten(const struct fake *f, struct slice id)
{
    LIST_FOR (n, &f->calls) {
        const struct call *c = CONTAINER_OF(n, struct call, link);
        if (c->act && c->forgotten && slice_eqs(id, c->id))
            return true;
    }
    return false;
}

void fake_reach(struct fake *f, bool up, bool stops, bool tell)
{
    bool was = f->up;
    f->up = up;
    if (stops)
        LIST_FOR (n, &f->all)
            thing_end(f, CONTAINER_OF(n, struct thing, link), 137, false);
    if (!up)
        fake_release(f);
    if (tell && was != up && f->watcher != NULL)
        f->watcher->reachable(f->watcher->ctx, up);
}

static int fake_op_check(void *self, const struct workload_doc *doc, struct err *e)
{
    const struct fake *f = self;
    const char *image = doc->container.image;
    if (f->refused_image != NULL && image != NULL && strcmp(f->refused_image, image) == 0)
        return err_set(e, ERR_INVALID, "image \"%s\" is refused", image);
    return 0;
}

static void fake_op_watch(void *self, const struct driver_watcher *w)
{
    ((struct fake *)self)->watcher = w;
}

static bool fake_op_reachable(void *self)
{
    return ((struct fake *)self)->up;
}

static const char *fake_op_condition(void *self)
{
    return ((struct fake *)self)->up ? "healthy" : "the fake runtime is away";
}

int fake_refuse_image(struct fake *f, const char *image)
{
    char *copy = image != NULL ? mem_strdup(image) : NULL;
    if (image != NULL && copy == NULL)
        return ERR_NO_MEMORY;
    mem_free(f->refused_image);
    f->refused_image = copy;
    return 0;
}

void fake_stats(const struct fake *f, struct fake_stats *ret)
{
    *ret = f->stats;
}

/* ---- logs, commands, usage: there are none, and that is said */

static int fake_op_logs(void *self, const struct driver_logs_order *o,
                        const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                        struct err *e)
{
    (void)self, (void)o, (void)u, (void)ctx, (void)ret;
    return err_set(e, ERR_UNSUPPORTED, "the fake runtime has no logs");
}

static int fake_op_exec(void *self, const struct driver_exec_order *o,
                        const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                        struct err *e)
{
    (void)self, (void)o, (void)u, (void)ctx, (void)ret;
    return err_set(e, ERR_UNSUPPORTED, "the fake runtime runs no commands");
}

static void fake_op_pause(struct driver_call *c, bool paused)
{
    (void)c, (void)paused;
}

static int fake_op_write(struct driver_call *c, struct slice bytes, bool end)
{
    (void)c, (void)bytes, (void)end;
    return ERR_UNSUPPORTED;
}

static int fake_op_resize(struct driver_call *c, uint16_t rows, uint16_t columns)
{
    (void)c, (void)rows, (void)columns;
    return ERR_UNSUPPORTED;
}

static void fake_op_cancel_call(struct driver_call *c)
{
    (void)c;
}

static int fake_op_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    (void)self, (void)id, (void)fn, (void)ctx;
    return ERR_UNSUPPORTED;
}

static const struct driver_ops fake_ops = {.name = "fake",
                                           .usage_source = "fake",
                                           .check = fake_op_check,
                                           .ensure = fake_op_ensure,
                                           .start = fake_op_start,
                                           .prepare = fake_op_prepare,
                                           .stop = fake_op_stop,
                                           .remove = fake_op_remove,
                                           .cancel = fake_op_cancel,
                                           .inspect = fake_op_inspect,
                                           .list = fake_op_list,
                                           .watch = fake_op_watch,
                                           .reachable = fake_op_reachable,
                                           .condition = fake_op_condition,
                                           .logs = fake_op_logs,
                                           .logs_pause = fake_op_pause,
                                           .exec = fake_op_exec,
                                           .exec_write = fake_op_write,
                                           .exec_resize = fake_op_resize,
                                           .cancel_call = fake_op_cancel_call,
                                           .usage = fake_op_usage};

/* ---- life */

struct fake *fake_new(const struct fake_options *o)
{
    struct fake *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return NULL;
    *f = (struct fake){.magic = FAKE_MAGIC,
                       .clock = o->clock,
                       .ops = fake_ops,
                       .wake = o->wake,
                       .ctx = o->ctx,
                       .random = o->seed,
                       .up = true};
    f->ops.type = o->type != WORKLOAD_NONE ? o->type : WORKLOAD_CONTAINER;
    map_init(&f->things);
    list_init(&f->all);
    list_init(&f->calls);
    list_init(&f->rules);
    list_init(&f->lives);
    return f;
}

void fake_free(struct fake *f)
{
    if (f == NULL)
        return;
    while (f->n_heap > 0)
        mem_free(take(f));
    mem_free(f->heap);
    LIST_FOR_SAFE (n, &f->calls)
        mem_free(CONTAINER_OF(n, struct call, link));
    LIST_FOR_SAFE (n, &f->all)
        thing_free(f, CONTAINER_OF(n, struct thing, link));
    map_done(&f->things, NULL);
    rules_free_all(&f->rules);
    lives_free_all(&f->lives);
    mem_free(f->refused_image);
    mem_free(f->items);
    f->magic = 0;
    mem_free(f);
}

struct driver fake_driver(struct fake *f)
{
    return (struct driver){&f->ops, f};
}
