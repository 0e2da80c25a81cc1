/* ensure, start, stop, remove. Each looks first (whose is it, what is there), then writes files or
 * runs the tool, then looks again. */
#include "driver/compose/compose_act.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>
#include <string.h>

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
    if (a->unstage != NULL)
        (void)compose_disk_start(STEAL(a->unstage), c->loop, NULL, NULL);
    compose_tool_abandon(STEAL(a->tool));
    compose_sweep_cancel(STEAL(a->sweep));
    docker_paths_cancel(STEAL(a->paths));
    compose_gate_done(&a->gate);
    buf_done(&a->yml);
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

static void end_unstaged(void *ctx, const struct err *e BASE_UNUSED,
                         struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    compose_act_end(a, &a->swept, NULL);
}

/* What was being tried has secrets in it. True: it goes first. */
static bool unstage_first(struct compose_act *a, const struct fault *f)
{
    struct compose_disk *d = f != NULL && !a->op.c->closed ? STEAL(a->unstage) : NULL;
    if (d == NULL)
        return false;
    a->swept = *f;
    if (compose_disk_start(d, a->op.c->loop, end_unstaged, a) != 0)
        return false;
    a->disk = d;
    return true;
}

void compose_act_end(struct compose_act *a, const struct fault *f, const struct driver_object *o)
{
    struct fault cancelled = {0};
    struct compose *c = a->op.c;
    if (unstage_first(a, f))
        return;
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

void compose_act_fail(struct compose_act *a, const struct err *e)
{
    struct fault f = {0};
    compose_fault_err(&f, e);
    compose_act_end(a, &f, NULL);
}

static void act_drop(struct compose_op *op)
{
    compose_act_fail(CONTAINER_OF(op, struct compose_act, op), &op->c->over);
}

bool compose_act_ended(struct compose_act *a)
{
    struct err e = {0};
    if (!a->cancelled)
        return false;
    (void)err_set(&e, ERR_CANCELLED, "cancelled");
    compose_act_fail(a, &e);
    return true;
}

/* ---- the last look, and what it says */

static void last_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    a->look = NULL;
    compose_act_end(a, f, f == NULL && l->exists ? &l->object : NULL);
}

void compose_act_look_last(struct compose_act *a)
{
    struct err e = {0};
    if (compose_look_start(a->op.c, a->order.id, true, last_looked, a, &a->look, &e) != 0)
        compose_act_fail(a, &e);
}
/* ---- after the first look */

static void decide(struct compose_act *a, const struct compose_look *l)
{
    switch (a->kind) {
    case COMPOSE_ENSURE:
        compose_act_ensure(a, l);
        break;
    case COMPOSE_START:
        if (a->was_running && a->has_record)
            compose_act_end(a, NULL, &l->object);
        else if (a->mend)
            compose_act_mend(a);
        else
            compose_act_start(a);
        break;
    case COMPOSE_STOP:
        if (!a->exists)
            compose_act_end(a, NULL, NULL);
        else if (!a->alive)
            compose_act_stop_noted(a);
        else if (a->has_yml && !a->foreign)
            compose_act_lock(a, compose_act_stop);
        else
            compose_act_sweep(a);
        break;
    case COMPOSE_REMOVE:
        if (a->has_yml && !a->foreign)
            compose_act_lock(a, compose_act_down);
        else if (a->exists)
            compose_act_sweep(a);
        else
            compose_act_end(a, NULL, NULL); /* a folder with neither file nor record is nobody's */
        break;
    }
}

static void first_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct fault bad = {0};
    a->look = NULL;
    if (f != NULL) {
        compose_act_end(a, f, NULL);
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
    a->has_record = l->has_record;
    if (a->order.doc != NULL && (a->kind == COMPOSE_ENSURE || a->kind == COMPOSE_START))
        compose_act_compare(a, l);
    a->mend = a->kind == COMPOSE_START && !a->same_files && compose_act_mendable(a, l);
    if (a->kind == COMPOSE_START) {
        a->yml = l->yml;
        l->yml = (struct buf){0};
    }
    if (l->foreign && (a->kind == COMPOSE_ENSURE || a->kind == COMPOSE_START)) {
        (void)compose_foreign(l, &bad);
        compose_act_end(a, &bad, NULL);
    } else if (a->kind == COMPOSE_START && !l->has_yml && !a->mend) {
        (void)fault_set(&bad, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                        "workload \"%s\" has no Compose project", l->id);
        compose_act_end(a, &bad, NULL);
    } else if (!compose_act_ended(a)) {
        /* `start` tells of an object that points into the look's record. */
        if (!(a->kind == COMPOSE_START && a->was_running && a->has_record)) {
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
    if ((a->kind != COMPOSE_ENSURE && a->kind != COMPOSE_START) || doc == NULL)
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
    if (a->op.c->flavour == COMPOSE_NONE &&
        (a->kind == COMPOSE_ENSURE || a->kind == COMPOSE_START)) {
        (void)compose_no_tool(a->op.c, &f);
        compose_act_end(a, &f, NULL);
        return;
    }
    if (!compose_act_ended(a) && look_first(a, &f.e) != 0)
        compose_act_fail(a, &f.e);
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
    compose_act_end(a, &a->swept, NULL);
}

static int begin(void *self, enum compose_act_kind kind, const struct driver_order *o,
                 driver_done_fn fn, void *ctx)
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
    int rc = loop_timer_init(c->loop, &a->timer, compose_act_lock_again, a);
    a->has_timer = rc == 0;
    if (rc == 0)
        rc = map_put(&c->acts, o->id, a);
    if (rc == 0 && kind == COMPOSE_ENSURE) {
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
    return begin(self, COMPOSE_ENSURE, o, fn, ctx);
}

int compose_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, COMPOSE_START, o, fn, ctx);
}

int compose_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, COMPOSE_STOP, o, fn, ctx);
}

int compose_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, COMPOSE_REMOVE, o, fn, ctx);
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
