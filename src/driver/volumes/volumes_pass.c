/* volumes_pass.c: what goes on to the inner driver as it is. */
#include "driver/volumes/volumes_priv.h"

#define INNER(self) (&((struct wrap *)(self))->inner)

static int pass_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return INNER(self)->ops->stop(INNER(self)->self, o, fn, ctx);
}

static int pass_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return INNER(self)->ops->prepare(INNER(self)->self, o, fn, ctx);
}

static int pass_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    return INNER(self)->ops->inspect(INNER(self)->self, id, fn, ctx);
}

static int pass_list(void *self, driver_list_fn fn, void *ctx)
{
    return INNER(self)->ops->list(INNER(self)->self, fn, ctx);
}

static void pass_watch(void *self, const struct driver_watcher *w)
{
    INNER(self)->ops->watch(INNER(self)->self, w);
}

static bool pass_reachable(void *self)
{
    return INNER(self)->ops->reachable(INNER(self)->self);
}

static const char *pass_condition(void *self)
{
    return INNER(self)->ops->condition(INNER(self)->self);
}

static const char *pass_detail(void *self)
{
    return INNER(self)->ops->detail(INNER(self)->self);
}

static int pass_logs(void *self, const struct driver_logs_order *o,
                     const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                     struct err *e)
{
    return INNER(self)->ops->logs(INNER(self)->self, o, u, ctx, ret, e);
}

static int pass_exec(void *self, const struct driver_exec_order *o,
                     const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                     struct err *e)
{
    return INNER(self)->ops->exec(INNER(self)->self, o, u, ctx, ret, e);
}

static int pass_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    return INNER(self)->ops->usage(INNER(self)->self, id, fn, ctx);
}

static bool pass_absent(void *self)
{
    return INNER(self)->ops->absent(INNER(self)->self);
}

static int pass_parts(void *self, struct slice id, driver_parts_fn fn, void *ctx)
{
    return INNER(self)->ops->parts(INNER(self)->self, id, fn, ctx);
}

static int pass_plan(void *self, const struct workload_doc *doc, driver_plan_fn fn, void *ctx)
{
    return INNER(self)->ops->plan(INNER(self)->self, doc, fn, ctx);
}

static int pass_usage_part(void *self, struct slice id, struct slice part, driver_usage_fn fn,
                           void *ctx)
{
    return INNER(self)->ops->usage_part(INNER(self)->self, id, part, fn, ctx);
}

static int pass_console(void *self, struct slice id, bool force, const struct driver_exec_user *u,
                        void *ctx, struct driver_call **ret, struct err *e)
{
    return INNER(self)->ops->console(INNER(self)->self, id, force, u, ctx, ret, e);
}

static int pass_snapshots(void *self, struct slice id, driver_snapshots_fn fn, void *ctx)
{
    return INNER(self)->ops->snapshots(INNER(self)->self, id, fn, ctx);
}

static int pass_snapshot(void *self, struct slice id, enum driver_snapshot_verb verb,
                         struct slice name, driver_done_fn fn, void *ctx)
{
    return INNER(self)->ops->snapshot(INNER(self)->self, id, verb, name, fn, ctx);
}

/* Calls of a driver_call need no self, and stay; what the inner one does not have, this has not. */
#define PASS(member)                                                                               \
    if (inner->member != NULL)                                                                     \
    ops->member = pass_##member
/* A new member is passed on below, and then counted here: our self is not the inner driver's. */
_Static_assert(sizeof(struct driver_ops) == 31 * sizeof(void *), "a call is not passed on");

void pass_fill(struct driver_ops *ops, const struct driver_ops *inner)
{
    *ops = *inner;
    ops->check = act_check;
    ops->ensure = act_ensure;
    ops->start = act_start;
    ops->remove = act_remove;
    ops->cancel = act_cancel_volumes;
    ops->releases = true;
    PASS(stop);
    PASS(prepare);
    PASS(inspect);
    PASS(list);
    PASS(watch);
    PASS(reachable);
    PASS(condition);
    PASS(detail);
    PASS(absent);
    PASS(logs);
    PASS(exec);
    PASS(usage);
    PASS(parts);
    PASS(plan);
    PASS(usage_part);
    PASS(console);
    PASS(snapshots);
    PASS(snapshot);
}
