/* Containers of the engine, asked of the runtime (talos contract 1.9). */
#include "api/rest/rest_priv.h"

#define DOCKER_DEFAULT_TIMEOUT_S 10

const char *const rest_docker_actions[] = {"start", "stop", "restart", NULL};

static const struct runtime *runtime_of(const struct api_call *c)
{
    return ((const struct rest *)c->app)->o.runtime;
}

bool rest_docker_ready(struct api_call *c)
{
    const struct runtime *rt = runtime_of(c);
    if (rt != NULL && rt->ops->reachable(rt->self))
        return true;
    api_reply_error(c, 503, "Docker client not available. Ensure Docker socket is mounted.");
    return false;
}

/* True if e is a failure; it has been answered. `named`: the call is about one container. */
static bool failed(struct api_call *c, const struct err *e, const char *prefix, bool named)
{
    if (e->code == 0)
        return false;
    if (named && e->code == ERR_NOT_FOUND)
        rest_reply_named(c, 404, "Docker container '", c->path[0], "' not found");
    else
        api_reply_error(c, 503, "%s%s", prefix, e->msg[0] ? e->msg : err_row(e->code)->text);
    return true;
}

#define LIST_FAILED "Failed to list containers: "
#define STATUS_FAILED "Failed to get container status: "
#define ACT_FAILED "Failed to control container: "
#define LOGS_FAILED "Failed to get container logs: "

/* The runtime did not take the call: its callback will not come. */
static void not_taken(struct api_call *c, int rc, const char *prefix)
{
    if (rc != 0)
        api_reply_error(c, 503, "%s%s", prefix, err_row(rc)->text);
}

/* --- Names --- */

/* A call about one container that waits until it is known which one the engine means. */
struct naming {
    struct api_call *c; /* held */
    void (*go)(struct api_call *held);
};

static void got_name(void *ctx, const struct err *e, const struct runtime_container *s)
{
    struct naming *n = ctx;
    struct api_call *c = n->c;
    void (*go)(struct api_call *) = n->go;
    mem_free(n);
    if (c->x == NULL) /* nobody waits for it any more, and nothing has been done */
        api_call_release(c);
    else if (e->code != 0 && e->code != ERR_NOT_FOUND)
        api_reply_error(c, 503, "Failed to find container: %s",
                        e->msg[0] ? e->msg : err_row(e->code)->text);
    else if (e->code != 0 || !slice_eqs(c->path[0], s->name))
        rest_reply_named(c, 404, "Docker container '", c->path[0], "' not found");
    else
        go(c);
}

void rest_docker_named(struct api_call *c, void (*go)(struct api_call *held))
{
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    if (api_may_see_all(held)) {
        go(held);
        return;
    }
    struct naming *n = mem_alloc(sizeof(*n));
    if (n == NULL) {
        api_reply_error(held, 503, "out of memory");
        return;
    }
    *n = (struct naming){.c = held, .go = go};
    const struct runtime *rt = runtime_of(held);
    int rc = rt->ops->inspect(rt->self, held->path[0], got_name, n);
    if (rc != 0) {
        mem_free(n);
        api_reply_error(held, 503, "Failed to find container: %s", err_row(rc)->text);
    }
}

static void got_list(void *ctx, const struct err *e, const struct runtime_container *items,
                     size_t n)
{
    struct api_call *c = ctx;
    if (failed(c, e, LIST_FAILED, false))
        return;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_key(&j, "containers");
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        if (!api_may_see(c, (struct slice){NULL, 0}, slice_of(items[i].name)))
            continue;
        json_obj(&j);
        json_kstr(&j, "id", items[i].id);
        json_kstr(&j, "name", items[i].name);
        json_kstr(&j, "status", items[i].status);
        json_kstr(&j, "image", items[i].image ? items[i].image : "");
        json_kstr(&j, "created", items[i].created ? items[i].created : "");
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    rest_reply_out(c);
}

void rest_docker_list(struct api_call *c)
{
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    const struct runtime *rt = runtime_of(held);
    not_taken(held, rt->ops->list(rt->self, held->query[0].i != 0, got_list, held), LIST_FAILED);
}

static void got_status(void *ctx, const struct err *e, const struct runtime_container *s)
{
    struct api_call *c = ctx;
    if (failed(c, e, STATUS_FAILED, true))
        return;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "id", s->id);
    json_kstr(&j, "name", s->name);
    json_kstr(&j, "status", s->status);
    json_kstr(&j, "state", s->status);
    json_kbool(&j, "running", slice_eqs(slice_of(s->status), "running"));
    json_kbool(&j, "restarting", s->restarting);
    json_kbool(&j, "paused", s->paused);
    json_kstr(&j, "image", s->image ? s->image : "");
    json_kstr(&j, "created", s->created ? s->created : "");
    json_kstr(&j, "started_at", s->started_at ? s->started_at : "");
    json_kstr(&j, "finished_at", s->finished_at ? s->finished_at : "");
    if (s->has_exit_code)
        json_kint(&j, "exit_code", s->exit_code);
    else
        json_knull(&j, "exit_code");
    json_end_obj(&j);
    rest_reply_out(c);
}

static void ask_status(struct api_call *held)
{
    const struct runtime *rt = runtime_of(held);
    not_taken(held, rt->ops->inspect(rt->self, held->path[0], got_status, held), STATUS_FAILED);
}

void rest_docker_status(struct api_call *c)
{
    rest_docker_named(c, ask_status);
}

static void got_act(void *ctx, const struct err *e)
{
    struct api_call *c = ctx;
    if (failed(c, e, ACT_FAILED, true))
        return;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "name", c->path[0]);
    json_kstr(&j, "action", rest_docker_actions[c->body_values[0].i]);
    json_kstr(&j, "result", "ok");
    json_end_obj(&j);
    rest_reply_out(c);
}

static void ask_act(struct api_call *held)
{
    static const enum runtime_action actions[] = {RUNTIME_START, RUNTIME_STOP, RUNTIME_RESTART};
    const struct runtime *rt = runtime_of(held);
    int64_t timeout = held->body_values[1].i ? held->body_values[1].i : DOCKER_DEFAULT_TIMEOUT_S;
    int rc = rt->ops->act(rt->self, held->path[0], actions[held->body_values[0].i], timeout,
                          got_act, held);
    not_taken(held, rc, ACT_FAILED);
}

void rest_docker_act(struct api_call *c)
{
    rest_docker_named(c, ask_act);
}

static void got_logs(void *ctx, const struct err *e, struct slice text)
{
    struct api_call *c = ctx;
    if (failed(c, e, LOGS_FAILED, true))
        return;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "container", c->path[0]);
    json_kslice(&j, "logs", text);
    json_kint(&j, "tail", c->query[0].i);
    json_end_obj(&j);
    rest_reply_out(c);
}

static void ask_logs(struct api_call *held)
{
    const struct runtime *rt = runtime_of(held);
    int rc = rt->ops->logs(rt->self, held->path[0], held->query[0].i, got_logs, held);
    not_taken(held, rc, LOGS_FAILED);
}

void rest_docker_logs(struct api_call *c)
{
    rest_docker_named(c, ask_logs);
}
