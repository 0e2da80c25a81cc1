/* stop and remove: with the tool, and what it cannot reach with the engine itself. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_act.h"
#include <inttypes.h>
#include <stdio.h>

enum { STOP_DEFAULT_S = 30 };

/* ---- stop */

void compose_act_stop_noted(struct compose_act *a)
{
    a->record.stopped = true;
    if (a->has_record)
        compose_act_save(a, false, true, compose_act_saved);
    else
        compose_act_look_last(a);
}

static void stop_swept(void *ctx, const struct err *e)
{
    struct compose_act *a = ctx;
    a->sweep = NULL;
    if (e->code != 0)
        compose_act_fail(a, e);
    else
        compose_act_stop_noted(a);
}

static void sweep_looked(void *ctx, const struct fault *f, struct compose_look *l);

void compose_act_sweep(struct compose_act *a)
{
    struct err e = {0};
    if (compose_look_start(a->op.c, a->order.id, true, sweep_looked, a, &a->look, &e) != 0)
        compose_act_fail(a, &e);
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
    if (!compose_act_fault(end, &f)) {
        compose_act_stop_noted(a);
    } else if (sweepable(&f) && !a->cancelled) {
        a->swept = f;
        compose_act_sweep(a);
    } else {
        compose_act_end(a, &f, NULL);
    }
}

static uint64_t stop_limit(const struct compose_act *a)
{
    int64_t s = a->order.stop_timeout_s > 0 ? a->order.stop_timeout_s : 0;
    return a->op.c->stop_ms + (uint64_t)s * 1000;
}

void compose_act_stop(struct compose_act *a)
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
    compose_act_run(a, &argv, argv.dir, stop_limit(a), stop_done);
}

/* ---- remove */

static void removed(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (e->code != 0) {
        compose_act_fail(a, e);
        return;
    }
    if (a->order.for_good)
        compose_name_drop(a->op.c, a->order.id);
    compose_act_end(a, NULL, NULL);
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
    compose_act_fail(a, &e);
}

static void remove_swept(void *ctx, const struct err *e)
{
    struct compose_act *a = ctx;
    a->sweep = NULL;
    if (e->code != 0)
        compose_act_fail(a, e);
    else
        remove_folder(a);
}

static void sweep_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct compose_act *a = ctx;
    struct err e = {0};
    bool gone = a->kind == COMPOSE_REMOVE;
    a->look = NULL;
    if (f != NULL) {
        compose_act_end(a, f, NULL);
        return;
    }
    int rc =
        compose_sweep_start(a->op.c, l, gone ? COMPOSE_SWEEP_REMOVE : COMPOSE_SWEEP_STOP,
                            gone && !l->foreign, gone && !l->foreign && a->order.for_good,
                            a->order.stop_timeout_s > 0 ? a->order.stop_timeout_s : STOP_DEFAULT_S,
                            gone ? remove_swept : stop_swept, a, &a->sweep, &e);
    if (rc != 0)
        compose_act_fail(a, &e);
}

static void down_done(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    a->tool = NULL;
    if (!compose_act_fault(end, &f) || (sweepable(&f) && !a->cancelled))
        compose_act_sweep(a); /* what the file does not name (any more), too */
    else
        compose_act_end(a, &f, NULL);
}

void compose_act_down(struct compose_act *a)
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
    compose_act_run(a, &argv, argv.dir, stop_limit(a), down_done);
}
