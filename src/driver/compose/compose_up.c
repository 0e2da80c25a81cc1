/* ensure and start: files that are new are tried before they take the place of those there are, and
 * what runs is turned into the new at once. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_act.h"
#include <string.h>

/* ---- up */

static void up_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct fault bad = {0};
    a->look = NULL;
    if (f != NULL) {
        compose_act_end(a, f, NULL);
        return;
    }
    bool known = a->kind == COMPOSE_START && a->has_record && !a->record.stopped &&
                 a->record.n_parts == l->record.n_parts && l->record.n_parts > 0;
    if (compose_act_parts(&a->record, l) != 0 ||
        (a->kind == COMPOSE_ENSURE && compose_act_record(a) != 0)) {
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        compose_act_end(a, &bad, NULL);
        return;
    }
    a->record.stopped = false;
    struct compose_sum sum;
    compose_sum_up(l->list, l->n_boxes, &a->record, &sum);
    if (sum.incomplete) { /* it would be brought up again at once, and again */
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "not all of it came up: %s",
                        sum.message);
        compose_act_end(a, &bad, &l->object);
        return;
    }
    for (size_t i = 0; known && i < l->record.n_parts; i++)
        known = i < a->record.n_parts && a->record.parts[i].count == l->record.parts[i].count &&
                strcmp(a->record.parts[i].service, l->record.parts[i].service) == 0;
    if (!known && a->record.id != NULL)
        compose_act_save(a, false, true, compose_act_saved);
    else
        compose_act_end(a, NULL, l->exists ? &l->object : NULL);
}

static void up_done(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    struct err e = {0};
    a->tool = NULL;
    if (compose_act_fault(end, &f))
        compose_act_end(a, &f, NULL);
    else if (compose_look_start(a->op.c, a->order.id, true, up_looked, a, &a->look, &e) != 0)
        compose_act_fail(a, &e);
}

void compose_act_up(struct compose_act *a)
{
    struct compose_argv argv;
    compose_argv_begin(&argv, a->op.c, a->order.id, false, a->has_env);
    compose_argv_add(&argv, "up");
    compose_argv_add(&argv, "-d");
    compose_argv_add(&argv, "--remove-orphans");
    compose_act_run(a, &argv, argv.dir, a->op.c->up_ms, up_done);
}

/* ---- ensure */

static void ensure_save(struct compose_act *a);

static void ensured_files(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    a->has_env = a->env.len > 0;
    if (e->code != 0)
        compose_act_fail(a, e);
    else
        compose_act_lock(a, compose_act_up);
}

/* What runs is turned into the new one at once; its record comes after that. */
static void ensure_save(struct compose_act *a)
{
    struct err e = {0};
    if (a->alive)
        compose_act_save(a, true, false, ensured_files);
    else if (compose_act_record(a) == 0)
        compose_act_save(a, true, true, compose_act_saved);
    else {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        compose_act_fail(a, &e);
    }
}

static void unstaged(void *ctx, const struct err *e BASE_UNUSED, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (a->swept.e.code != 0)
        compose_act_end(a, &a->swept, NULL);
    else if (!compose_act_ended(a))
        compose_act_limit_paths(a, ensure_save);
}

static void unstage(struct compose_act *a)
{
    struct err e = {0};
    struct compose_disk *d = STEAL(a->unstage);
    if (compose_disk_start(d, a->op.c->loop, unstaged, a) == 0) {
        a->disk = d;
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    compose_act_fail(a, &e);
}

static void validated(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    a->tool = NULL;
    if (!compose_act_config_fault(end, &a->swept) && a->gate.unsure) {
        a->gate_told = true;
        compose_act_limit_told(a, end->out, &a->swept);
    }
    unstage(a);
}

static void staged(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    struct compose_argv argv;
    a->disk = NULL;
    if (e->code != 0) {
        compose_act_fail(a, e);
        return;
    }
    compose_argv_begin(&argv, a->op.c, a->order.id, true, a->env.len > 0);
    compose_argv_add(&argv, "config");
    if (!a->gate.unsure)
        compose_argv_add(&argv, "-q");
    compose_act_run(a, &argv, NULL, a->op.c->stop_ms, validated);
}

static void stage(struct compose_act *a)
{
    struct err e = {0};
    struct compose *c = a->op.c;
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_STAGE, c->root, a->order.id);
    /* Made before, so that what is staged can be removed whatever comes. */
    a->unstage = compose_disk_new(COMPOSE_DISK_UNSTAGE, c->root, a->order.id);
    int rc = d != NULL && a->unstage != NULL ? buf_adds(&d->yml, a->order.doc->compose.compose_yaml)
                                             : ERR_NO_MEMORY;
    if (rc == 0) {
        d->has_yml = true;
        d->has_env = a->env.len > 0;
        d->drop_env = !d->has_env;
        rc = compose_act_copy(&d->env, &a->env);
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
    compose_act_fail(a, &e);
}

static bool same_text(const struct buf *b, const char *text)
{
    return slice_eq(slice_trim((struct slice){b->data, b->len}), slice_trim(slice_of(text)));
}

void compose_act_compare(struct compose_act *a, const struct compose_look *l)
{
    const struct doc_compose *doc = &a->order.doc->compose;
    struct slice env = {l->env.data, l->env.len}, ours = {a->env.data, a->env.len};
    bool none = !l->has_env && a->env.len == 0;
    a->same_files =
        l->has_yml && same_text(&l->yml, doc->compose_yaml) &&
        (none ||
         (l->has_env && (slice_eq(env, ours) || (!l->has_record && compose_env_plain(env, doc)))));
}

bool compose_act_mendable(const struct compose_act *a, const struct compose_look *l)
{
    return l->has_record && slice_eqs(a->order.print, l->record.print);
}

/* False: out of memory, and the act has ended. */
static bool take_text(struct compose_act *a)
{
    struct err e = {0};
    buf_done(&a->yml);
    a->yml = BUF_INIT(DOC_TEXT_MAX);
    if (buf_adds(&a->yml, a->order.doc->compose.compose_yaml) == 0)
        return true;
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    compose_act_fail(a, &e);
    return false;
}

/* The same files, for another revision or in our hands for the first time. What the tool has seen
 * last is not known (an image may have changed behind its name, an `up` may have failed half way),
 * so it is asked, if the services are to run; where nothing differs it changes nothing. What the
 * original agent has brought up is taken as it is. */
static void ensure_same(struct compose_act *a, const struct compose_look *l)
{
    struct err e = {0};
    int rc = 0;
    if (a->has_record && a->order.start_follows && a->n_boxes > 0) {
        if (take_text(a))
            compose_act_start(a);
        return;
    }
    if (!a->has_record) {
        a->record.stopped = a->n_boxes > 0 && !a->alive;
        rc = compose_act_parts(&a->record, l);
    }
    if (rc == 0)
        rc = compose_act_record(a);
    if (rc == 0) {
        compose_act_save(a, false, true, compose_act_saved);
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    compose_act_fail(a, &e);
}

void compose_act_ensure(struct compose_act *a, const struct compose_look *l)
{
    const struct driver_order *o = &a->order;
    bool same_record =
        a->has_record &&
        slice_eq(slice_trim(o->revision), slice_trim(slice_of(a->record.revision))) &&
        slice_eqs(o->print, a->record.print);
    if (a->same_files && same_record) {
        compose_act_look_last(a);
        return;
    }
    if (a->same_files) {
        ensure_same(a, l);
        return;
    }
    if (!compose_act_limit(a, slice_of(o->doc->compose.compose_yaml), true))
        return;
    /* A file that is wrong must not take the place of one that `down` will need; and what has
     * containers is taken for allowed by `start`. */
    if (o->start_follows && !a->has_yml && a->n_boxes == 0)
        ensure_save(a);
    else
        stage(a);
}

/* ---- start */

static void mended(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    a->has_yml = true;
    a->has_env = a->env.len > 0;
    if (e->code != 0)
        compose_act_fail(a, e);
    else
        compose_act_start(a);
}

/* Somebody has changed or removed our files: they say again what the document says. */
void compose_act_mend(struct compose_act *a)
{
    if (take_text(a))
        compose_act_save(a, true, false, mended);
}
