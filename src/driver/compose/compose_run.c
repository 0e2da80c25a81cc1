/* The tool as an act runs it: its arguments, what its end means, and the lock of the project: one
 * tool at a time, over a restart of gantryd too. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_act.h"
#include <stdio.h>

enum { LOCK_WAIT_MS = 300, PROGRESS_MS = 1000 };

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

bool compose_act_fault(const struct compose_tool_end *end, struct fault *ret)
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
    return true;
}

bool compose_act_config_fault(const struct compose_tool_end *end, struct fault *ret)
{
    if (!compose_act_fault(end, ret))
        return false;
    if (ret->e.code == ERR_TOOL) {
        ret->e.code = ERR_INVALID;
        ret->reason = FAULT_INVALID_SPECIFICATION;
    }
    return true;
}

void compose_act_run(struct compose_act *a, struct compose_argv *argv, const char *cwd,
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
    if (compose_act_ended(a))
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
    compose_act_end(a, &f, NULL);
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
        compose_act_fail(a, e);
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
    compose_act_fail(a, &e);
}

void compose_act_lock_again(void *ctx)
{
    lock_ask(ctx);
}

void compose_act_lock(struct compose_act *a, void (*then)(struct compose_act *a))
{
    a->locked = then;
    a->lock_until_ms = loop_now_ms(a->op.c->loop) + a->op.c->up_ms;
    lock_ask(a);
}
