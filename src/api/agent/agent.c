/* The table of calls, and the life of an agent. */
#include "api/agent/agent_priv.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define MAX_BODY (2u * 1024u * 1024u) /* a run script of the largest size, in JSON */

static void agent_root(struct api_call *c)
{
    struct buf b = BUF_INIT(256);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "message", "s6 Agent API");
    json_kstr(&j, "version", GANTRY_VERSION);
    json_end_obj(&j);
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

static const char *const action_names[] = {"up", "down", "restart", NULL};

static const struct api_param action_body[ACTION_PARAMS] = {
    [ACTION_ACTION] = {.name = "action",
                       .type = API_ENUM,
                       .required = true,
                       .names = action_names,
                       .doc = "what the service is to do"},
    [ACTION_LAUNCH_ARGS] = {.name = "launch_args",
                            .type = API_STR_MAP,
                            .nullable = true,
                            .doc = "arguments of ros2 launch, for up and restart"},
    [ACTION_ROBOT_TYPE] = {.name = "robot_type",
                           .type = API_STR,
                           .nullable = true,
                           .doc = "for up and restart of ai_worker_bringup"},
};
static const struct api_param revert_body[] = {
    {.name = "backup", .type = API_INT, .nullable = true, .doc = "its id; none: the newest"},
};
static const struct api_param profile_body[PROFILE_PARAMS] = {
    [PROFILE_NAME] = {.name = "name",
                      .type = API_STR,
                      .required = true,
                      .doc = "of the new profile"},
    [PROFILE_ENV] = {.name = "env",
                     .type = API_STR_MAP,
                     .nullable = true,
                     .doc = "further variables of its gateway, until the container ends"},
};
static const char *const gateway_actions[] = {"start", "stop", "restart",
                                              NULL}; /* as enum gateway_action */
static const struct api_param gateway_body[GATEWAY_PARAMS] = {
    [GATEWAY_ACTION] = {.name = "action",
                        .type = API_ENUM,
                        .required = true,
                        .names = gateway_actions,
                        .doc = "what the gateway is to do"},
    [GATEWAY_WAIT] = {.name = "wait",
                      .type = API_INT,
                      .nullable = true,
                      .doc = "seconds to wait for the effect, at most 300"},
};
static const struct api_param logs_query[LOGS_PARAMS] = {
    [LOGS_TAIL] = {.name = "tail", .type = API_INT, .def = 100, .doc = "this many last lines"},
    [LOGS_STRIP_ANSI] = {.name = "strip_ansi", .type = API_BOOL, .doc = "without colour codes"},
    /* Text, because with follow it may be a token; checked in the handler. */
    [LOGS_CURSOR] = {.name = "cursor",
                     .type = API_STR,
                     .doc =
                         "everything from there on: a byte offset, or with follow an event's id"},
    [LOGS_FOLLOW] = {.name = "follow", .type = API_BOOL, .doc = "an event stream of new lines"},
};

/* A path that also fits {name} stands before it: `allow` names the methods of the first that
 * matches. */
static const struct api_route routes[] = {
    ROUTE(GET, "/", RIGHT_READ, "api", .tag = "root", .operation_id = "root",
          .summary = "name and version", .handler = agent_root),
    ROUTE(GET, "/services", RIGHT_READ, "service", .tag = "services",
          .operation_id = "list_services", .summary = "names of all services",
          .handler = agent_services),
    ROUTE(GET, "/services/status", RIGHT_READ, "service", .tag = "services",
          .operation_id = "list_statuses", .summary = "states of all services",
          .handler = agent_statuses),
    ROUTE(GET, "/services/events", RIGHT_READ, "service", .tag = "services",
          .operation_id = "follow_services",
          .summary = "an event stream: every state once, then live, then every change",
          .handler = agent_events),
    ROUTE(GET, "/services/{name}/status", RIGHT_READ, "service", .tag = "services",
          .operation_id = "get_status", .summary = "state of a service", .handler = agent_status),
    ROUTE(POST, "/services/{name}", RIGHT_CONTROL, "service", .tag = "services",
          .operation_id = "control_service", .summary = "starts, stops or restarts a service",
          .body = action_body, .n_body = ARRAY_LEN(action_body), .handler = agent_action),
    ROUTE(GET, "/services/{name}/logs", RIGHT_READ, "service", .tag = "logs",
          .operation_id = "get_logs", .summary = "the log of a service", .query = logs_query,
          .n_query = ARRAY_LEN(logs_query), .handler = agent_logs),
    ROUTE(DELETE, "/services/{name}/logs", RIGHT_DELETE, "service", .tag = "logs",
          .operation_id = "clear_logs", .summary = "empties the present log file",
          .handler = agent_logs_clear),
    ROUTE(GET, "/services/{name}/run", RIGHT_READ, "service", .tag = "scripts",
          .operation_id = "get_run", .summary = "the source of the run script",
          .handler = agent_run_get),
    ROUTE(PUT, "/services/{name}/run", RIGHT_WRITE, "service", .tag = "scripts",
          .operation_id = "put_run", .summary = "replaces the source of the run script",
          .body_any_object = true, .handler = agent_run_put),
    ROUTE(POST, "/services/{name}/run/revert", RIGHT_WRITE, "service", .tag = "scripts",
          .operation_id = "revert_run", .summary = "brings back a backup of the run script",
          .body = revert_body, .n_body = ARRAY_LEN(revert_body), .body_optional = true,
          .handler = agent_run_revert),
    ROUTE(GET, "/services/{name}/run/backups", RIGHT_READ, "service", .tag = "scripts",
          .operation_id = "list_run_backups", .summary = "former versions of the run script",
          .handler = agent_run_backups),
    ROUTE(GET, "/profiles", RIGHT_READ, "profile", .tag = "profiles",
          .operation_id = "list_profiles", .summary = "profiles and their gateways",
          .handler = agent_profiles),
    ROUTE(POST, "/profiles", RIGHT_WRITE, "profile", .tag = "profiles",
          .operation_id = "create_profile",
          .summary = "makes a profile, and the service of its gateway", .body = profile_body,
          .n_body = ARRAY_LEN(profile_body), .success = 201, .handler = agent_profile_create),
    ROUTE(DELETE, "/profiles/{name}", RIGHT_WRITE, "profile", .tag = "profiles",
          .operation_id = "delete_profile", .summary = "stops its gateway and removes all of it",
          .handler = agent_profile_delete),
    ROUTE(GET, "/profiles/{name}/gateway", RIGHT_READ, "profile", .tag = "profiles",
          .operation_id = "get_gateway", .summary = "state of a profile's gateway",
          .handler = agent_gateway),
    ROUTE(POST, "/profiles/{name}/gateway", RIGHT_WRITE, "profile", .tag = "profiles",
          .operation_id = "control_gateway", .summary = "starts, stops or restarts a gateway",
          .body = gateway_body, .n_body = ARRAY_LEN(gateway_body), .handler = agent_gateway_act),
};

bool agent_name(struct api_call *c, struct slice *name)
{
    *name = c->path[0];
    if (name_is_safe(*name, AGENT_NAME_MAX))
        return true;
    agent_reply_no_service(c, *name);
    return false;
}

void agent_reply_no_service(struct api_call *c, struct slice name)
{
    size_t n = name.len < 512 ? name.len : 512;
    api_reply_error(c, 404, "Service '%.*s' not found", (int)n, name.p);
}

void agent_reply_failure(struct api_call *c, const char *what, const struct err *e)
{
    int status = 500;
    if (e->code == ERR_NO_MEMORY || e->code == ERR_NO_FILES || e->code == ERR_NO_SPACE ||
        e->code == ERR_BUSY || e->code == ERR_NO_TOOL)
        status = err_row(e->code)->http_status;
    api_reply_error(c, status, "%s: %s", what, e->msg);
}

static void companion_failed(void *ctx, struct slice name, const struct err *e)
{
    (void)ctx;
    LOG(WARN, "agent", "log-companion-failed", "a log service did not follow its service, ignoring",
        LF_SLICE("service", name), LF_ERR(e));
}

/* The logs of gateways belong to their user. */
static int gateway_follow_new(struct agent *a, struct err *e)
{
    struct s6_rights rights = profile_rights(a->profiles);
    return s6_follow_new(&a->gateway_follow, a->loop, a->watcher, a->profiles->home, &rights, e);
}

static int make_parts(struct agent *a, const struct agent_options *o, struct err *e)
{
    struct api_options api = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .app = a, .max_body = MAX_BODY};
    struct s6_control_options control = {.rc_tool = o->rc_tool ? o->rc_tool : "s6-rc",
                                         .restart_only_running = o->strict_talos,
                                         .companion_failed = companion_failed};
    int rc = agent_jobs_init(&a->jobs, a->loop, e);
    if (rc == 0 && o->profiles != NULL)
        rc = agent_lanes_init(a, o->profiles, e);
    if (rc == 0)
        agent_places_init(a);
    control.place = a->services;
    if (rc == 0)
        rc = api_new(&a->api, &api, e);
    if (rc == 0)
        rc = s6_watcher_new(&a->watcher, a->loop, e);
    if (rc == 0)
        rc = s6_follow_new(&a->follow, a->loop, a->watcher, o->log_dir, NULL, e);
    if (rc == 0 && a->profiles != NULL)
        rc = gateway_follow_new(a, e);
    if (rc == 0)
        rc = s6_events_new(&a->events, a->loop, a->watcher, &a->services, e);
    if (rc == 0)
        rc = s6_control_new(&a->control, a->loop, &control, e);
    if (rc != 0 || a->gateways.scandir == NULL)
        return rc;
    control.place = a->gateways;
    rc = s6_events_new(&a->gateway_events, a->loop, a->watcher, &control.place, e);
    if (rc == 0)
        rc = s6_control_new(&a->gateway_control, a->loop, &control, e);
    return rc;
}

int agent_new(struct agent **ret, struct loop *l, const struct agent_options *o, struct err *e)
{
    struct agent *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->magic = AGENT_MAGIC;
    a->loop = l;
    a->strict_talos = o->strict_talos;
    list_init(&a->streams);
    (void)loop_timer_init(l, &a->tick, agent_streams_tick, a);
    a->scandir = mem_strdup(o->scandir);
    a->log_dir = mem_strdup(o->log_dir);
    a->source_dir = mem_strdup(o->source_dir);
    a->run_dir = mem_strdup(o->run_dir ? o->run_dir : "/run");
    a->backup_dir = o->backup_dir != NULL ? mem_strdup(o->backup_dir) : NULL;
    int rc = a->scandir != NULL && a->log_dir != NULL && a->source_dir != NULL &&
                     a->run_dir != NULL && (a->backup_dir != NULL || o->backup_dir == NULL)
                 ? make_parts(a, o, e)
                 : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc != 0) {
        agent_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void agent_handle(void *ctx, struct exchange *x)
{
    struct agent *a = ctx;
    CHECK_MAGIC(a, AGENT_MAGIC);
    api_handle(a->api, x);
}

static void on_tick_closed(void *ctx)
{
    mem_free(ctx);
}

static void on_lanes_closed(struct agent *a)
{
    s6_control_free(a->control);
    s6_events_free(a->events);
    s6_control_free(a->gateway_control);
    s6_events_free(a->gateway_events);
    s6_follow_free(a->follow);
    s6_follow_free(a->gateway_follow);
    s6_watcher_free(a->watcher);
    api_free(a->api);
    mem_free(a->scandir);
    mem_free(a->log_dir);
    mem_free(a->source_dir);
    mem_free(a->run_dir);
    mem_free(a->backup_dir);
    mem_free(a->profiles);
    a->magic = 0;
    loop_timer_close(&a->tick, on_tick_closed);
}

static void on_jobs_closed(void *ctx)
{
    agent_lanes_close(ctx, on_lanes_closed);
}

void agent_free(struct agent *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, AGENT_MAGIC);
    INVARIANT(list_empty(&a->streams));
    agent_jobs_close(&a->jobs, on_jobs_closed, a);
}
