/* ensure, start, stop, remove. Each looks first (whose is it, what is there), then writes files or
 * runs the tool, then looks again. The record is written last: what a crash leaves does not fit,
 * and is done again. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum act_kind { ENSURE, START, STOP, REMOVE };
enum { LOCK_WAIT_MS = 300, PROGRESS_MS = 1000, STOP_DEFAULT_S = 30 };

struct compose_act {
    struct compose_op op;
    enum act_kind kind;
    struct driver_order order; /* what it points to is borrowed until the end */
    driver_done_fn fn;
    void *ctx;
    bool cancelled, has_timer;
    struct compose_wait wait;
    struct compose_look *look; /* under way, or kept as the first one's result */
    struct compose_disk *disk;
    struct compose_tool *tool;
    struct compose_sweep *sweep;
    struct loop_timer timer; /* asks for the lock again */
    uint64_t lock_until_ms, said_ms;
    int lock_fd;
    void (*locked)(struct compose_act *a);

    /* what the first look found */
    bool looked, exists, has_yml, has_env, alive, same_files, foreign;
    bool was_running;
    size_t n_boxes;
    struct compose_record record; /* as it is to be written */
    bool has_record;
    struct buf env;     /* .env as it is to be */
    struct fault swept; /* why the tool failed, when the rest is done without it */
};

/* ---- ends */

static void act_closed(void *ctx)
{
    struct compose_act *a = ctx;
    compose_unref(a->op.c);
    mem_free(a);
}

static void act_free(struct compose_act *a)
{
    struct compose *c = a->op.c;
    if (map_get(&c->acts, a->order.id) == a)
        (void)map_take(&c->acts, a->order.id);
    list_remove(&a->wait.link);
    compose_look_cancel(STEAL(a->look));
    compose_disk_abandon(STEAL(a->disk));
    compose_tool_abandon(STEAL(a->tool));
    compose_sweep_cancel(STEAL(a->sweep));
    compose_record_done(&a->record);
    if (a->env.data != NULL)
        mem_wipe(a->env.data, a->env.cap);
    buf_done(&a->env);
    compose_ref(c); /* until the timer is closed */
    compose_op_over(&a->op);
    if (a->has_timer)
        loop_timer_close(&a->timer, act_closed);
    else
        act_closed(a);
}

static void act_end(struct compose_act *a, const struct fault *f, const struct driver_object *o)
{
    struct fault cancelled = {0};
    struct compose *c = a->op.c;
    if (f != NULL && a->cancelled) {
        (void)fault_set(&cancelled, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
        f = &cancelled;
    }
    compose_ref(c);
    (void)map_take(&c->acts, a->order.id);
    a->fn(a->ctx, f, o);
    act_free(a);
    compose_unref(c);
}

static void act_fail(struct compose_act *a, const struct err *e)
{
    struct fault f = {0};
    compose_fault_err(&f, e);
    act_end(a, &f, NULL);
}

static void act_drop(struct compose_op *op)
{
    act_fail(CONTAINER_OF(op, struct compose_act, op), &op->c->over);
}

/* True: it was cancelled, and has ended. */
static bool ended(struct compose_act *a)
{
    struct err e = {0};
    if (!a->cancelled)
        return false;
    (void)err_set(&e, ERR_CANCELLED, "cancelled");
    act_fail(a, &e);
    return true;
}

/* ---- the last look, and what it says */

static void last_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    a->look = NULL;
    act_end(a, f, f == NULL && l->exists ? &l->object : NULL);
}

static void look_last(struct compose_act *a)
{
    struct err e = {0};
    if (compose_look_start(a->op.c, a->order.id, true, last_looked, a, &a->look, &e) != 0)
        act_fail(a, &e);
}

/* ---- the record */

static int record_text(char **to, struct slice from)
{
    char *copy = mem_strndup(from.p != NULL ? from.p : "", from.len);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    mem_free(*to);
    *to = copy;
    return 0;
}

static int record_take(struct compose_act *a)
{
    struct compose_record *r = &a->record;
    const struct driver_order *o = &a->order;
    if (r->created_ns == 0)
        r->created_ns = clock_real_ns(loop_clock(a->op.c->loop));
    if (record_text(&r->id, o->id) != 0 || record_text(&r->revision, o->revision) != 0 ||
        record_text(&r->print, o->print) != 0 || record_text(&r->node, o->node_id) != 0)
        return ERR_NO_MEMORY;
    return 0;
}

static void saved(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (e->code != 0)
        act_fail(a, e);
    else
        look_last(a);
}

static int copy_buf(struct buf *to, const struct buf *from)
{
    return from->len > 0 ? buf_add(to, from->data, from->len) : 0;
}

/* files: the Compose file and .env, too. record: what is known of it. */
static void save(struct compose_act *a, bool files, bool record, compose_disk_fn then)
{
    struct compose *c = a->op.c;
    struct err e = {0};
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_SAVE, c->root, a->order.id);
    int rc = d != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0 && files) {
        d->has_yml = true;
        d->has_env = a->env.len > 0;
        d->drop_env = !d->has_env;
        rc = buf_adds(&d->yml, a->order.doc->compose.compose_yaml);
        if (rc == 0)
            rc = copy_buf(&d->env, &a->env);
    }
    if (rc == 0 && record) {
        d->has_record = true;
        rc = compose_record_write(&a->record, &d->record);
    }
    if (rc != 0) {
        compose_disk_free(d);
    } else {
        rc = compose_disk_start(d, c->loop, then, a);
        a->disk = rc == 0 ? d : NULL;
    }
    if (rc != 0) {
        (void)err_set(&e, rc, "the files of project \"%.*s\": %s", (int)a->order.id.len,
                      a->order.id.p, err_row(rc)->text);
        act_fail(a, &e);
    }
}

/* How many containers each service has now that it is up. */
static int record_parts(struct compose_record *r, const struct compose_look *l)
{
    struct compose_want *parts = mem_calloc(l->n_boxes + 1, sizeof(*parts));
    size_t n = 0;
    if (parts == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < l->n_boxes && n < COMPOSE_PARTS_MAX; i++) {
        size_t k = 0;
        while (k < n && strcmp(parts[k].service, l->boxes[i].service) != 0)
            k++;
        if (k == n && (parts[n++].service = mem_strdup(l->boxes[i].service)) == NULL) {
            while (n > 0)
                mem_free(parts[--n].service);
            mem_free(parts);
            return ERR_NO_MEMORY;
        }
        parts[k].count++;
    }
    for (size_t i = 0; i < r->n_parts; i++)
        mem_free(r->parts[i].service);
    mem_free(r->parts);
    r->parts = parts;
    r->n_parts = n;
    return 0;
}

/* ---- the tool */

void compose_argv_add(struct compose_argv *a, const char *word)
{
    INVARIANT(a->n + 1 < COMPOSE_TOOL_ARGS);
    a->at[a->n++] = word;
    a->at[a->n] = NULL;
}

void compose_argv_begin(struct compose_argv *a, const struct compose *c, struct slice id, bool new,
                        bool with_env)
{
    const char *mark = new ? COMPOSE_NEW : "";
    int n = (int)id.len;
    a->n = 0;
    (void)snprintf(a->dir, sizeof(a->dir), "%s/%.*s", c->root, n, id.p);
    (void)snprintf(a->yml, sizeof(a->yml), "%s/%s%.*s/" COMPOSE_FILE, c->root, mark, n, id.p);
    (void)snprintf(a->env, sizeof(a->env), "%s/%s%.*s/" COMPOSE_ENV, c->root, mark, n, id.p);
    compose_project_name(id, a->name);
    for (size_t i = 0; i < c->n_bin; i++)
        compose_argv_add(a, c->bin[i]);
    compose_argv_add(a, "-f");
    compose_argv_add(a, a->yml);
    if (with_env) {
        compose_argv_add(a, "--env-file");
        compose_argv_add(a, a->env);
    }
    compose_argv_add(a, "-p");
    compose_argv_add(a, a->name);
    compose_argv_add(a, "--project-directory");
    compose_argv_add(a, a->dir);
}

static void on_line(void *ctx, const char *text)
{
    struct compose_act *a = ctx;
    uint64_t now = loop_now_ms(a->op.c->loop);
    if (a->order.progress == NULL || (a->said_ms != 0 && now < a->said_ms + PROGRESS_MS))
        return;
    a->said_ms = now;
    a->order.progress(a->ctx, text);
}

/* What the tool's end means; false: it was well. */
static bool tool_fault(struct compose_act *a, const struct compose_tool_end *end, struct fault *ret)
{
    if (end->e.code == 0)
        return false;
    if (end->e.code == ERR_TOOL)
        (void)compose_fault(ret, end->e.msg, end->tail);
    else if (end->e.code == ERR_TIMEOUT) {
        char why[160];
        struct buf b = BUF_FIXED(why);
        compose_why(&b, end->tail, sizeof(why) - 1);
        (void)fault_set(ret, FAULT_RUNTIME_UNHEALTHY, ERR_TIMEOUT, "%s%s%s", end->e.msg,
                        b.len > 0 ? ": " : "", why);
    } else {
        compose_fault_err(ret, &end->e);
    }
    (void)a;
    return true;
}

static void run(struct compose_act *a, struct compose_argv *argv, const char *cwd,
                uint64_t limit_ms, compose_tool_fn then)
{
    struct compose *c = a->op.c;
    struct fault f = {0};
    int fd = a->lock_fd; /* closed after this call, but not the tool's own of it */
    struct compose_tool_order o = {
        .argv = argv->at,
        .cwd = cwd,
        .docker_host = c->docker_host,
        .limit_ms = limit_ms,
        .lock_fd = fd,
        .line = on_line,
    };
    a->lock_fd = -1;
    if (ended(a))
        return;
    if (compose_tool_run(&a->tool, c->loop, &o, then, a, &f.e) == 0)
        return;
    if (f.e.code == ERR_NO_TOOL) {
        (void)snprintf(c->tool_text, sizeof(c->tool_text), "%.190s", f.e.msg);
        compose_tool_lost(c);
        (void)compose_no_tool(c, &f);
    } else {
        f.reason = FAULT_RUNTIME_ERROR;
    }
    act_end(a, &f, NULL);
}

/* ---- the lock: one tool at a time on a project, over a restart of gantryd too */

static void lock_ask(struct compose_act *a);

static void lock_asked(void *ctx, const struct err *e, struct compose_disk *d)
{
    struct compose_act *a = ctx;
    struct compose *c = a->op.c;
    a->disk = NULL;
    if (e->code == ERR_BUSY && loop_now_ms(c->loop) < a->lock_until_ms && !a->cancelled) {
        loop_timer_start(&a->timer, LOCK_WAIT_MS, 0);
        return;
    }
    if (e->code != 0) {
        act_fail(a, e);
        return;
    }
    /* Held until the end of this call, and by the tool. */
    a->lock_fd = d->fd;
    a->locked(a);
}

static void lock_ask(struct compose_act *a)
{
    struct err e = {0};
    struct compose *c = a->op.c;
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_LOCK, c->root, a->order.id);
    if (d != NULL && compose_disk_start(d, c->loop, lock_asked, a) == 0) {
        a->disk = d;
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    act_fail(a, &e);
}

static void on_timer(void *ctx)
{
    lock_ask(ctx);
}

static void lock(struct compose_act *a, void (*then)(struct compose_act *a))
{
    a->locked = then;
    a->lock_until_ms = loop_now_ms(a->op.c->loop) + a->op.c->up_ms;
    lock_ask(a);
}

/* ---- up */

static void up_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct fault bad = {0};
    a->look = NULL;
    if (f != NULL) {
        act_end(a, f, NULL);
        return;
    }
    bool known = a->kind == START && a->has_record && !a->record.stopped &&
                 a->record.n_parts == l->record.n_parts && l->record.n_parts > 0;
    if (record_parts(&a->record, l) != 0 || (a->kind == ENSURE && record_take(a) != 0)) {
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        act_end(a, &bad, NULL);
        return;
    }
    a->record.stopped = false;
    struct compose_sum sum;
    compose_sum_up(l->list, l->n_boxes, &a->record, &sum);
    if (sum.incomplete) { /* it would be brought up again at once, and again */
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "not all of it came up: %s",
                        sum.message);
        act_end(a, &bad, &l->object);
        return;
    }
    for (size_t i = 0; known && i < l->record.n_parts; i++)
        known = i < a->record.n_parts && a->record.parts[i].count == l->record.parts[i].count &&
                strcmp(a->record.parts[i].service, l->record.parts[i].service) == 0;
    if (!known && a->record.id != NULL)
        save(a, false, true, saved);
    else
        act_end(a, NULL, l->exists ? &l->object : NULL);
}

static void up_done(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    struct err e = {0};
    a->tool = NULL;
    if (tool_fault(a, end, &f))
        act_end(a, &f, NULL);
    else if (compose_look_start(a->op.c, a->order.id, true, up_looked, a, &a->look, &e) != 0)
        act_fail(a, &e);
}

static void up(struct compose_act *a)
{
    struct compose_argv argv;
    compose_argv_begin(&argv, a->op.c, a->order.id, false, a->has_env);
    compose_argv_add(&argv, "up");
    compose_argv_add(&argv, "-d");
    compose_argv_add(&argv, "--remove-orphans");
    run(a, &argv, argv.dir, a->op.c->up_ms, up_done);
}

/* ---- ensure */

static void ensure_save(struct compose_act *a);

static void ensured_files(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    a->has_env = a->env.len > 0;
    if (e->code != 0)
        act_fail(a, e);
    else
        lock(a, up);
}

/* What runs is turned into the new one at once; its record comes after that. */
static void ensure_save(struct compose_act *a)
{
    struct err e = {0};
    if (a->alive)
        save(a, true, false, ensured_files);
    else if (record_take(a) == 0)
        save(a, true, true, saved);
    else {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        act_fail(a, &e);
    }
}

static void unstaged(void *ctx, const struct err *e BASE_UNUSED, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (a->swept.e.code != 0)
        act_end(a, &a->swept, NULL);
    else if (!ended(a))
        ensure_save(a);
}

static void unstage(struct compose_act *a)
{
    struct err e = {0};
    struct compose *c = a->op.c;
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_UNSTAGE, c->root, a->order.id);
    if (d != NULL && compose_disk_start(d, c->loop, unstaged, a) == 0) {
        a->disk = d;
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    act_fail(a, &e);
}

static void validated(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    a->tool = NULL;
    if (tool_fault(a, end, &a->swept) && a->swept.e.code == ERR_TOOL) {
        /* Whatever it says: `config` does nothing but read the file. */
        a->swept.e.code = ERR_INVALID;
        a->swept.reason = FAULT_INVALID_SPECIFICATION;
    }
    unstage(a);
}

static void staged(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    struct compose_argv argv;
    a->disk = NULL;
    if (e->code != 0) {
        act_fail(a, e);
        return;
    }
    compose_argv_begin(&argv, a->op.c, a->order.id, true, a->env.len > 0);
    compose_argv_add(&argv, "config");
    compose_argv_add(&argv, "-q");
    run(a, &argv, NULL, a->op.c->stop_ms, validated);
}

static void stage(struct compose_act *a)
{
    struct err e = {0};
    struct compose *c = a->op.c;
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_STAGE, c->root, a->order.id);
    int rc = d != NULL ? buf_adds(&d->yml, a->order.doc->compose.compose_yaml) : ERR_NO_MEMORY;
    if (rc == 0) {
        d->has_yml = true;
        d->has_env = a->env.len > 0;
        d->drop_env = !d->has_env;
        rc = copy_buf(&d->env, &a->env);
    }
    if (rc != 0)
        compose_disk_free(d);
    else
        rc = compose_disk_start(d, c->loop, staged, a);
    if (rc == 0) {
        a->disk = d;
        return;
    }
    (void)err_set(&e, rc, "out of memory");
    act_fail(a, &e);
}

static bool same_text(const struct buf *b, const char *text)
{
    return slice_eq(slice_trim((struct slice){b->data, b->len}), slice_trim(slice_of(text)));
}

/* The files say what the document says, in our words or in those of the original agent. */
static void compare(struct compose_act *a, const struct compose_look *l)
{
    const struct doc_compose *doc = &a->order.doc->compose;
    struct slice env = {l->env.data, l->env.len}, ours = {a->env.data, a->env.len};
    bool none = !l->has_env && a->env.len == 0;
    a->same_files =
        l->has_yml && same_text(&l->yml, doc->compose_yaml) &&
        (none ||
         (l->has_env && (slice_eq(env, ours) || (!l->has_record && compose_env_plain(env, doc)))));
}

static void ensure_decide(struct compose_act *a)
{
    struct err e = {0};
    const struct driver_order *o = &a->order;
    bool same_record =
        a->has_record &&
        slice_eq(slice_trim(o->revision), slice_trim(slice_of(a->record.revision))) &&
        slice_eqs(o->print, a->record.print);
    if (a->same_files && same_record) {
        look_last(a);
        return;
    }
    if (a->same_files) {
        /* Only the rest of the document differs, or nothing at all: no container has to know. */
        if (!a->has_record)
            a->record.stopped = a->n_boxes > 0 && !a->alive;
        if (record_take(a) == 0) {
            save(a, false, true, saved);
            return;
        }
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        act_fail(a, &e);
        return;
    }
    /* A file that is wrong must not take the place of one that `down` will need. */
    if (o->start_follows && !a->has_yml && !a->alive)
        ensure_save(a);
    else
        stage(a);
}

/* ---- stop */

static void stop_noted(struct compose_act *a)
{
    a->record.stopped = true;
    if (a->has_record)
        save(a, false, true, saved);
    else
        look_last(a);
}

static void stop_swept(void *ctx, const struct err *e)
{
    struct compose_act *a = ctx;
    a->sweep = NULL;
    if (e->code != 0)
        act_fail(a, e);
    else
        stop_noted(a);
}

static void sweep_looked(void *ctx, const struct fault *f, struct compose_look *l);

/* Without the tool: there is no file, or it cannot be used. */
static void sweep(struct compose_act *a)
{
    struct err e = {0};
    if (compose_look_start(a->op.c, a->order.id, true, sweep_looked, a, &a->look, &e) != 0)
        act_fail(a, &e);
}

/* Failures after which the engine itself is asked; others are tried again. */
static bool sweepable(const struct fault *f)
{
    return f->e.code == ERR_TOOL || f->e.code == ERR_INVALID || f->e.code == ERR_NO_TOOL;
}

static void stop_done(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    a->tool = NULL;
    if (!tool_fault(a, end, &f)) {
        stop_noted(a);
    } else if (sweepable(&f) && !a->cancelled) {
        a->swept = f;
        sweep(a);
    } else {
        act_end(a, &f, NULL);
    }
}

static uint64_t stop_limit(const struct compose_act *a)
{
    int64_t s = a->order.stop_timeout_s > 0 ? a->order.stop_timeout_s : 0;
    return a->op.c->stop_ms + (uint64_t)s * 1000;
}

static void stop_run(struct compose_act *a)
{
    struct compose_argv argv;
    char seconds[24];
    compose_argv_begin(&argv, a->op.c, a->order.id, false, a->has_env);
    compose_argv_add(&argv, "stop");
    if (a->order.stop_timeout_s > 0) {
        (void)snprintf(seconds, sizeof(seconds), "%" PRId64, a->order.stop_timeout_s);
        compose_argv_add(&argv, "-t");
        compose_argv_add(&argv, seconds);
    }
    run(a, &argv, argv.dir, stop_limit(a), stop_done);
}

/* ---- remove */

static void removed(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (e->code != 0) {
        act_fail(a, e);
        return;
    }
    if (a->order.for_good)
        compose_name_drop(a->op.c, a->order.id);
    act_end(a, NULL, NULL);
}

static void remove_folder(struct compose_act *a)
{
    struct err e = {0};
    struct compose *c = a->op.c;
    struct compose_disk *d = compose_disk_new(
        a->order.for_good ? COMPOSE_DISK_REMOVE : COMPOSE_DISK_FORGET, c->root, a->order.id);
    if (d != NULL && compose_disk_start(d, c->loop, removed, a) == 0) {
        a->disk = d;
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    act_fail(a, &e);
}

static void remove_swept(void *ctx, const struct err *e)
{
    struct compose_act *a = ctx;
    a->sweep = NULL;
    if (e->code != 0)
        act_fail(a, e);
    else
        remove_folder(a);
}

static void sweep_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct err e = {0};
    bool gone = a->kind == REMOVE;
    a->look = NULL;
    if (f != NULL) {
        act_end(a, f, NULL);
        return;
    }
    int rc =
        compose_sweep_start(a->op.c, l, gone ? COMPOSE_SWEEP_REMOVE : COMPOSE_SWEEP_STOP,
                            gone && !l->foreign, gone && !l->foreign && a->order.for_good,
                            a->order.stop_timeout_s > 0 ? a->order.stop_timeout_s : STOP_DEFAULT_S,
                            gone ? remove_swept : stop_swept, a, &a->sweep, &e);
    if (rc != 0)
        act_fail(a, &e);
}

static void down_done(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    a->tool = NULL;
    if (!tool_fault(a, end, &f) || (sweepable(&f) && !a->cancelled))
        sweep(a); /* what the file does not name (any more), too */
    else
        act_end(a, &f, NULL);
}

static void down(struct compose_act *a)
{
    struct compose_argv argv;
    char seconds[24];
    compose_argv_begin(&argv, a->op.c, a->order.id, false, a->has_env);
    compose_argv_add(&argv, "down");
    compose_argv_add(&argv, "--remove-orphans");
    if (a->order.for_good)
        compose_argv_add(&argv, "-v");
    if (a->order.stop_timeout_s > 0) {
        (void)snprintf(seconds, sizeof(seconds), "%" PRId64, a->order.stop_timeout_s);
        compose_argv_add(&argv, "-t");
        compose_argv_add(&argv, seconds);
    }
    run(a, &argv, argv.dir, stop_limit(a), down_done);
}

/* ---- after the first look */

static void decide(struct compose_act *a, const struct compose_look *l)
{
    switch (a->kind) {
    case ENSURE:
        ensure_decide(a);
        break;
    case START:
        if (a->was_running && a->has_record)
            act_end(a, NULL, &l->object);
        else
            lock(a, up);
        break;
    case STOP:
        if (!a->exists)
            act_end(a, NULL, NULL);
        else if (!a->alive)
            stop_noted(a);
        else if (a->has_yml && !a->foreign)
            lock(a, stop_run);
        else
            sweep(a);
        break;
    case REMOVE:
        if (a->has_yml && !a->foreign)
            lock(a, down);
        else if (a->exists)
            sweep(a);
        else
            act_end(a, NULL, NULL); /* a folder with neither file nor record is nobody's */
        break;
    }
}

static void first_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct fault bad = {0};
    a->look = NULL;
    if (f != NULL) {
        act_end(a, f, NULL);
        return;
    }
    a->exists = l->exists;
    a->has_yml = l->has_yml;
    a->has_env = l->has_env;
    a->foreign = l->foreign;
    a->n_boxes = l->n_boxes;
    for (size_t i = 0; i < l->n_boxes; i++)
        a->alive = a->alive || l->boxes[i].state == COMPOSE_BOX_RUNNING ||
                   l->boxes[i].state == COMPOSE_BOX_PAUSED ||
                   l->boxes[i].state == COMPOSE_BOX_RESTARTING;
    a->was_running = l->sum.actual == ACTUAL_RUNNING && l->record.n_parts > 0;
    if (a->kind == ENSURE)
        compare(a, l);
    a->has_record = l->has_record;
    if (l->foreign && (a->kind == ENSURE || a->kind == START)) {
        (void)compose_foreign(l, &bad);
        act_end(a, &bad, NULL);
    } else if (a->kind == START && !l->has_yml) {
        (void)fault_set(&bad, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                        "workload \"%s\" has no Compose project", l->id);
        act_end(a, &bad, NULL);
    } else if (!ended(a)) {
        /* `start` tells of an object that points into the look's record. */
        if (!(a->kind == START && a->was_running && a->has_record)) {
            a->record = l->record;
            l->record = (struct compose_record){0};
        }
        decide(a, l);
    }
}

/* ---- beginning */

static int write_env(struct compose_act *a, struct err *e)
{
    const struct doc_compose *doc = a->order.doc != NULL ? &a->order.doc->compose : NULL;
    if (a->kind != ENSURE || doc == NULL)
        return 0;
    size_t most = 16;
    const struct schema_list *lists[] = {&doc->env, &doc->secret_env};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (size_t k = 0; k < lists[i]->count; k++) {
            const struct doc_pair *p = (const struct doc_pair *)lists[i]->items + k;
            most += strlen(p->key) + 6 * slice_of(p->value).len + 8;
        }
    /* All room at once: growing would leave copies of secrets. */
    if (buf_reserve(&a->env, most < COMPOSE_ENV_MAX ? most : COMPOSE_ENV_MAX) != 0)
        return err_set(e, a->env.err, "out of memory");
    return compose_env_write(&a->env, a->op.c->flavour, doc, e);
}

static int look_first(struct compose_act *a, struct err *e)
{
    int rc = write_env(a, e);
    return rc != 0 ? rc
                   : compose_look_start(a->op.c, a->order.id, true, first_looked, a, &a->look, e);
}

static void tool_known(void *ctx)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    /* What there is can be stopped and removed without it. */
    if (a->op.c->flavour == COMPOSE_NONE && (a->kind == ENSURE || a->kind == START)) {
        (void)compose_no_tool(a->op.c, &f);
        act_end(a, &f, NULL);
        return;
    }
    if (!ended(a) && look_first(a, &f.e) != 0)
        act_fail(a, &f.e);
}

static int name_free(struct compose *c, const struct driver_order *o, struct fault *f)
{
    const char *holder = compose_name_holder(c, o->id);
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(o->id, name);
    if (holder[0] != '\0')
        return fault_set(f, FAULT_INVALID_SPECIFICATION, ERR_EXISTS,
                         "the Compose project name \"%s\" is that of workload \"%s\"", name,
                         holder);
    return compose_name_claim(c, o->id);
}

static void refused(void *ctx)
{
    struct compose_act *a = ctx;
    act_end(a, &a->swept, NULL);
}

static int begin(void *self, enum act_kind kind, const struct driver_order *o, driver_done_fn fn,
                 void *ctx)
{
    struct compose *c = compose_of(self);
    if (workload_id_check(o->id, NULL) != 0)
        return ERR_INVALID;
    struct compose_act *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->kind = kind;
    a->order = *o;
    a->fn = fn;
    a->ctx = ctx;
    a->lock_fd = -1;
    a->wait.fn = tool_known;
    a->wait.ctx = a;
    list_init(&a->wait.link);
    buf_init(&a->env, COMPOSE_ENV_MAX);
    compose_op_begin(&a->op, c, act_drop);
    int rc = loop_timer_init(c->loop, &a->timer, on_timer, a);
    a->has_timer = rc == 0;
    if (rc == 0)
        rc = map_put(&c->acts, o->id, a);
    if (rc == 0 && kind == ENSURE) {
        rc = name_free(c, o, &a->swept);
        if (rc == ERR_EXISTS && loop_defer(c->loop, refused, a) == 0)
            return 0;
    }
    if (rc == 0 && !compose_find(c, &a->wait))
        rc = look_first(a, NULL);
    if (rc != 0)
        act_free(a);
    return rc;
}

int compose_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, ENSURE, o, fn, ctx);
}

int compose_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, START, o, fn, ctx);
}

int compose_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, STOP, o, fn, ctx);
}

int compose_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, REMOVE, o, fn, ctx);
}

void compose_cancel(void *self, struct slice id)
{
    struct compose *c = compose_of(self);
    struct compose_act *a = map_get(&c->acts, id);
    if (a == NULL || a->cancelled)
        return;
    a->cancelled = true;
    if (a->tool != NULL)
        compose_tool_cancel(a->tool);
}
