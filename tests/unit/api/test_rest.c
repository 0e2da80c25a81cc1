/* gantryd's front end over a real server, with an agent and a runtime that answer as the test
 * wants. */
#include "../base/unit.h"

#include "api/rest/rest.h"
#include "base/str.h"
#include "net/client.h"
#include "net/server.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 20000

struct rig {
    struct loop *loop;
    struct server *agent, *server;
    struct agent_set *agents;
    struct log_hub *hub;
    struct runtime runtime;
    struct rest *rest;
    struct client_pool *pool;
    char agent_path[64];
    /* the last answer */
    bool done;
    int code, status;
    char type[64], text[65536];
};
static struct rig rig;

/* --- the agent --- */

#define PROFILE_BEFORE(name)                                                                       \
    "\"name\":\"" name "\",\"present\":true,\"registered\":true,\"state\":\"up\",\"reason\":null," \
    "\"pid\":7,\"uptime_seconds\":1,\"desired_state\":\"running\",\"gateway_state\":null,"         \
    "\"port\":"                                                                                    \
    "9570,\"log_path\":\"/l\""
#define PROFILE(name) PROFILE_BEFORE(name) ",\"env_names\":[\"A\"]"
static const struct {
    const char *method, *target, *answer;
    int status;
} agent_rows[] = {
    {"GET", "/profiles", "{\"profiles\":[{" PROFILE("a") ",\"x\":1}],\"layout\":\"plain\"}", 200},
    {"POST", "/profiles", "{" PROFILE("new") ",\"warning\":\"w\"}", 201},
    {"GET", "/profiles/a/gateway", "{" PROFILE("a") "}", 200},
    {"GET", "/profiles/before/gateway", "{" PROFILE_BEFORE("before") "}", 200},
    {"GET", "/profiles/types/gateway", "{\"name\":1}", 200},
    {"GET", "/profiles/list/gateway", "[]", 200},
    {"GET", "/profiles/off/gateway", "{\"error\":\"no profiles here\",\"detail\":null}", 501},
    {"GET", "/profiles/old/gateway", "{\"detail\":\"Not Found\"}", 404},
    {"GET", "/profiles/none/gateway", "{\"error\":\"there is none\",\"detail\":null}", 404},
    {"GET", "/profiles/fault/gateway", "{\"error\":\"disk\",\"detail\":null}", 500},
    {"GET", "/profiles/a%25/gateway", "{\"error\":\"bad name\"}", 400},
    {"POST", "/profiles/slow/gateway", "{\"error\":\"did not stop\"}", 504},
    {"POST", "/profiles/orphan/gateway", "{\"error\":\"nobody reads\"}", 409},
    {"POST", "/profiles/a/gateway",
     "{\"name\":\"a\",\"action\":\"start\",\"result\":\"ok\",\"registered\":true}", 200},
    {"DELETE", "/profiles/a", "{\"name\":\"a\",\"message\":\"gone\",\"warning\":null}", 200},
    {"GET", "/services", "{\"services\":[\"a\",\"b\"]}", 200},
    {"GET", "/services/status",
     "{\"statuses\":[{\"name\":\"a\",\"raw\":\"up\",\"is_up\":true,\"pid\":7,\"uptime_seconds\":1},"
     "{}]}",
     200},
    {"GET", "/services/a/status",
     "{\"name\":\"a\",\"raw\":\"r\",\"is_up\":true,\"pid\":7,\"uptime_seconds\":null,\"x\":1}",
     200},
    {"GET", "/services/a%20b/status", "{}", 200},
    {"GET", "/services/list/status", "[]", 200},
    {"GET", "/services/types/status", "{\"pid\":\"x\"}", 200},
    {"GET", "/services/types2/status", "{\"is_up\":null}", 200},
    {"GET", "/services/types3/status", "{\"raw\":null}", 200},
    {"POST", "/services/a", "{\"name\":\"a\",\"action\":\"up\",\"result\":\"ok\"}", 200},
    {"GET", "/services/a/logs?tail=100", "{\"logs\":\"l\\n\",\"tail\":100,\"log_path\":\"/p\"}",
     200},
    {"GET", "/services/a/logs?tail=-3", "{\"logs\":\"\",\"tail\":null,\"log_path\":null}", 200},
    {"DELETE", "/services/a/logs", "{\"log_path\":\"/p\"}", 200},
    {"GET", "/services/a/run", "{\"path\":\"/r\",\"content\":\"#!\"}", 200},
    {"PUT", "/services/a/run", "{\"path\":\"/r\",\"content\":\"new\"}", 200},
    {"GET", "/services/none/status", "{\"error\":\"Service 'none' not found\",\"detail\":null}",
     404},
    {"GET", "/services/teapot/status", "{\"detail\":\"short\"}", 418},
    {"GET", "/services/moved/status", "", 307},
    {"GET", "/services/text/status", "x", 200},
};

static char seen_headers[512]; /* of the request before */

static void note_header(struct exchange *x, const char *name)
{
    struct slice v = exchange_header(x, name);
    size_t at = strlen(seen_headers);
    if (v.p != NULL)
        snprintf(seen_headers + at, sizeof(seen_headers) - at, "%s=%.*s ", name, (int)v.len, v.p);
}

static void agent_handle(void *ctx, struct exchange *x)
{
    (void)ctx;
    seen_headers[0] = '\0';
    note_header(x, "x-request-id");
    note_header(x, "traceparent");
    note_header(x, "tracestate");
    const struct http_request *r = exchange_request(x);
    struct http_response resp = {.status = 500, .content_type = "application/json"};
    const char *text = "{\"error\":\"no such row\"}";
    for (size_t i = 0; i < ARRAY_LEN(agent_rows); i++) {
        if (slice_eqs(r->method_text, agent_rows[i].method) &&
            slice_eqs(r->target, agent_rows[i].target)) {
            text = agent_rows[i].answer;
            resp.status = agent_rows[i].status;
        }
    }
    (void)exchange_respond(x, &resp, slice_of(text));
}

/* --- the runtime --- */

struct job {
    enum { JOB_LIST, JOB_INSPECT, JOB_ACT, JOB_LOGS, JOB_EXEC } kind;
    struct err e;
    void (*fn)(void);
    void *ctx;
};
static bool runtime_up;
static int64_t seen_timeout, seen_tail;
static bool seen_all;
static int64_t exec_exit;
static const char *exec_text = "";
static char seen_exec[128], seen_file[256];

static const struct runtime_container one = {.id = "1234",
                                             .name = "web",
                                             .status = "running",
                                             .image = "",
                                             .created = "2026-11-21T03:52:00.1Z",
                                             .started_at = "s",
                                             .finished_at = "f",
                                             .has_exit_code = true,
                                             .exit_code = 0};

static void job_run(void *ctx)
{
    struct job *j = ctx;
    bool ok = j->e.code == 0;
    switch (j->kind) {
    case JOB_LIST:
        ((runtime_list_fn)j->fn)(j->ctx, &j->e, &one, ok);
        break;
    case JOB_INSPECT:
        ((runtime_inspect_fn)j->fn)(j->ctx, &j->e, ok ? &one : NULL);
        break;
    case JOB_ACT:
        ((runtime_done_fn)j->fn)(j->ctx, &j->e);
        break;
    case JOB_LOGS:
        ((runtime_logs_fn)j->fn)(j->ctx, &j->e, SLICE_LIT("line\n"));
        break;
    case JOB_EXEC:
        ((runtime_exec_fn)j->fn)(j->ctx, &j->e, exec_exit,
                                 ok ? slice_of(exec_text) : SLICE_LIT(""));
        break;
    }
    mem_free(j);
}

static int job(int kind, struct slice name, void (*fn)(void), void *ctx)
{
    struct job *j = mem_zalloc(sizeof(*j));
    if (j == NULL)
        return ERR_NO_MEMORY;
    j->kind = kind;
    j->fn = fn;
    j->ctx = ctx;
    if (slice_eqs(name, "none"))
        err_set(&j->e, ERR_NOT_FOUND, "no");
    else if (slice_eqs(name, "bad"))
        err_set(&j->e, ERR_RUNTIME, "409 Client Error");
    if (loop_defer(rig.loop, job_run, j) == 0)
        return 0;
    mem_free(j);
    return ERR_NO_MEMORY;
}

static int rt_list(void *self, bool all, runtime_list_fn fn, void *ctx)
{
    (void)self;
    seen_all = all;
    return job(JOB_LIST, SLICE_LIT(""), (void (*)(void))fn, ctx);
}
static int rt_inspect(void *self, struct slice name, runtime_inspect_fn fn, void *ctx)
{
    (void)self;
    return job(JOB_INSPECT, name, (void (*)(void))fn, ctx);
}
static int rt_act(void *self, struct slice name, enum runtime_action a, int64_t timeout_s,
                  runtime_done_fn fn, void *ctx)
{
    (void)self;
    (void)a;
    seen_timeout = timeout_s;
    return slice_eqs(name, "busy") ? ERR_BUSY : job(JOB_ACT, name, (void (*)(void))fn, ctx);
}
static int rt_logs(void *self, struct slice name, int64_t tail, runtime_logs_fn fn, void *ctx)
{
    (void)self;
    seen_tail = tail;
    return job(JOB_LOGS, name, (void (*)(void))fn, ctx);
}
static int rt_exec(void *self, struct slice name, const char *const *argv, size_t max_output,
                   runtime_exec_fn fn, void *ctx)
{
    (void)self;
    assert_int_equal(max_output, 1 << 20);
    assert_null(argv[2]);
    snprintf(seen_exec, sizeof(seen_exec), "%s %s", argv[0], argv[1]);
    return slice_eqs(name, "busy") ? ERR_BUSY : job(JOB_EXEC, name, (void (*)(void))fn, ctx);
}
static int rt_put_file(void *self, struct slice name, const struct runtime_file *f,
                       runtime_done_fn fn, void *ctx)
{
    (void)self;
    snprintf(seen_file, sizeof(seen_file), "%s/%s %o %.*s", f->dir, f->name, f->mode,
             (int)f->content.len, f->content.p);
    return slice_eqs(name, "busy") ? ERR_BUSY : job(JOB_ACT, name, (void (*)(void))fn, ctx);
}
static bool rt_reachable(void *self)
{
    (void)self;
    return runtime_up;
}
static const struct runtime_ops rt_ops = {.name = "fake",
                                          .list = rt_list,
                                          .inspect = rt_inspect,
                                          .act = rt_act,
                                          .logs = rt_logs,
                                          .reachable = rt_reachable,
                                          .exec = rt_exec,
                                          .put_file = rt_put_file};

static const struct audit_source audit_source;

/* A store that writes only when the test says so. */
static struct {
    void (*added)(void *ctx, const struct err *e);
    void *ctx;
    int drops;
} upload;

static int up_begin(void *self, struct store_upload **ret, struct err *e)
{
    (void)self;
    (void)e;
    *ret = (struct store_upload *)&upload;
    return 0;
}

static int up_add(struct store_upload *u, struct slice piece,
                  void (*fn)(void *ctx, const struct err *e), void *ctx)
{
    (void)u;
    (void)piece;
    upload.added = fn;
    upload.ctx = ctx;
    return 0;
}

static void up_drop(struct store_upload *u)
{
    (void)u;
    upload.drops++;
}
static const struct store_admin_ops store_ops = {
    .upload = up_begin, .upload_add = up_add, .drop = up_drop};
static struct store_admin *store_admin;

/* --- the rig --- */

static const struct protocol *const protocols[] = {&protocol_http1, NULL};
static const char *const hosts[] = {"robot.local", "named:8081"};
static const char *const origins[] = {"loopback"};
static const struct api_cors cors = {origins, 1};

static uint16_t port;

static int setup(void **state)
{
    (void)state;
    struct err e = {0};
    memset(&rig, 0, sizeof(rig));
    runtime_up = true;
    assert_int_equal(loop_new(&rig.loop, &clock_system, &e), 0);
    snprintf(rig.agent_path, sizeof(rig.agent_path), "/tmp/gantry-rest-%d.sock", (int)getpid());
    struct server_options so = {.limits = http_limits_default};
    assert_int_equal(server_new(&rig.agent, rig.loop, &so, &e), 0);
    assert_int_equal(server_new(&rig.server, rig.loop, &so, &e), 0);
    struct listener_options lo = {.unix_path = rig.agent_path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = agent_handle};
    struct listener *li;
    assert_int_equal(server_listen(rig.agent, &lo, &li, &e), 0);
    assert_int_equal(agent_set_new(&rig.agents, rig.loop, &(struct agent_set_options){0}, &e), 0);
    struct agent_label labels[] = {{"a", "First"}, {"a", "Last"}};
    struct agent_options ao = {"robot", rig.agent_path, labels, 2, NULL};
    assert_int_equal(agent_set_add(rig.agents, &ao, &e), 0);
    ao = (struct agent_options){"away", "/nonexistent/a.sock", NULL, 0, NULL};
    assert_int_equal(agent_set_add(rig.agents, &ao, &e), 0);
    ao = (struct agent_options){"ai-worker", "/nonexistent/b.sock", NULL, 0, "/x/package.xml"};
    assert_int_equal(agent_set_add(rig.agents, &ao, &e), 0);
    assert_int_equal(log_hub_new(&rig.hub, rig.loop, &e), 0);
    rig.runtime = (struct runtime){&rt_ops, NULL};
    store_admin = mem_zalloc(sizeof(*store_admin));
    assert_non_null(store_admin);
    store_admin->ops = &store_ops;
    struct rest_options ro = {.loop = rig.loop,
                              .agents = rig.agents,
                              .hub = rig.hub,
                              .runtime = &rig.runtime,
                              .cors = &cors,
                              .hosts = hosts,
                              .n_hosts = 2,
                              .audit_source = &audit_source,
                              .store = store_admin};
    assert_int_equal(rest_new(&rig.rest, &ro, &e), 0);
    lo = (struct listener_options){
        .host = "127.0.0.1", .protocols = protocols, .handler = rest_handle, .ctx = rig.rest};
    assert_int_equal(server_listen(rig.server, &lo, &li, &e), 0);
    port = listener_port(li);
    struct client_options co = {.target = {.host = "127.0.0.1", .port = port}, .host = "localhost"};
    assert_int_equal(client_pool_new(&rig.pool, rig.loop, &co, &e), 0);
    return 0;
}

static void step_until(const bool *flag)
{
    for (int i = 0; !*flag && i < STEPS_MAX; i++)
        (void)loop_run_once(rig.loop, true);
    assert_true(*flag);
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static int teardown(void **state)
{
    (void)state;
    bool stopped = false, agent_stopped = false, gone = false;
    client_pool_free(rig.pool);
    rest_drain(rig.rest);
    server_stop(rig.server, set_flag, &stopped);
    step_until(&stopped);
    server_free(rig.server);
    agent_set_free(rig.agents);
    server_stop(rig.agent, set_flag, &agent_stopped);
    step_until(&agent_stopped);
    server_free(rig.agent);
    rest_free(rig.rest, set_flag, &gone);
    step_until(&gone);
    log_hub_free(rig.hub);
    mem_free(STEAL(store_admin));
    (void)loop_run(rig.loop);
    loop_free(rig.loop);
    return 0;
}

static void answered(void *ctx, const struct err *e, int status, const struct client_response *r,
                     struct slice body)
{
    (void)ctx;
    rig.done = true;
    rig.code = e->code;
    rig.status = status;
    const struct http_header *h = r ? http_find(r->headers, r->n_headers, "content-type") : NULL;
    snprintf(rig.type, sizeof(rig.type), "%.*s", h ? (int)h->value.len : 0, h ? h->value.p : "");
    snprintf(rig.text, sizeof(rig.text), "%.*s", (int)body.len, body.p ? body.p : "");
}

/* False: it could not even be sent. */
static bool ask_pool(struct client_pool *p, enum http_method m, const char *target,
                     const char *body)
{
    struct client_request q = {.method = m,
                               .target = slice_of(target),
                               .body = body ? slice_of(body) : (struct slice){NULL, 0}};
    rig.done = false;
    if (client_fetch(p, &q, answered, NULL, NULL, NULL) != 0)
        return false;
    step_until(&rig.done);
    return true;
}

#define CS "/containers/robot/services"
#define CP "/containers/robot/profiles"
#define CS_ROW "/containers/{container}/services"
static const struct {
    enum http_method method;
    const char *target, *body;
    int status;
    const char *text;
} rows[] = {
    {HTTP_METHOD_GET, CP, NULL, 200,
     "{\"container\":\"robot\",\"layout\":\"plain\",\"profiles\":[{" PROFILE("a") "}]}"},
    {HTTP_METHOD_POST, CP, "{\"name\":\" New \",\"env\":{\"A\":\"b\"}}", 201,
     "{\"container\":\"robot\"," PROFILE("new") ",\"warning\":\"w\"}"},
    {HTTP_METHOD_GET, CP "/a/gateway", NULL, 200, "{\"container\":\"robot\"," PROFILE("a") "}"},
    {HTTP_METHOD_GET, CP "/before/gateway", NULL, 200,
     "{\"container\":\"robot\"," PROFILE_BEFORE("before") ",\"env_names\":null}"},
    {HTTP_METHOD_GET, CP "/types/gateway", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: member 'name' has a wrong "
     "type\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/list/gateway", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: not an "
     "object\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/off/gateway", NULL, 501,
     "{\"error\":\"no profiles here\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/old/gateway", NULL, 501,
     "{\"error\":\"The agent of container 'robot' knows no profiles: it is not a gantry-agent, or "
     "an "
     "old one\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/none/gateway", NULL, 404,
     "{\"error\":\"there is none\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/%2e%2e/gateway", NULL, 404,
     "{\"error\":\"there is no profile '..'\",\"detail\":null}"},
    {HTTP_METHOD_GET, CP "/a%25/gateway", NULL, 400, "{\"error\":\"bad name\",\"detail\":null}"},
    {HTTP_METHOD_POST, CP "/slow/gateway", "{\"action\":\"stop\",\"wait\":1}", 504,
     "{\"error\":\"did not stop\",\"detail\":null}"},
    {HTTP_METHOD_POST, CP "/orphan/gateway", "{\"action\":\"restart\"}", 409,
     "{\"error\":\"nobody reads\",\"detail\":null}"},
    {HTTP_METHOD_POST, CP "/a/gateway", "{\"action\":\"start\",\"wait\":null}", 200,
     "{\"container\":\"robot\",\"name\":\"a\",\"action\":\"start\",\"result\":\"ok\","
     "\"registered\":true,\"warning\":null}"},
    {HTTP_METHOD_DELETE, CP "/a", NULL, 200,
     "{\"container\":\"robot\",\"name\":\"a\",\"message\":\"gone\",\"warning\":null}"},
    {HTTP_METHOD_GET, "/containers/x/profiles", NULL, 404,
     "{\"error\":\"Container 'x' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/containers/away/profiles", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: [Errno 2] No such file or "
     "directory\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS, NULL, 200,
     "{\"container\":\"robot\",\"services\":[{\"id\":\"a\",\"label\":\"Last\"},{\"id\":\"b\","
     "\"label\":\"b\"}]}"},
    {HTTP_METHOD_GET, CS "/status", NULL, 200,
     "{\"container\":\"robot\",\"statuses\":[{\"container\":\"robot\",\"service\":\"a\",\"service_"
     "label\":\"First\","
     "\"name\":\"a\",\"raw\":\"up\",\"is_up\":true,\"pid\":7,\"uptime_seconds\":1},{\"container\":"
     "\"robot\","
     "\"service\":\"\",\"service_label\":\"\",\"name\":\"\",\"raw\":\"\",\"is_up\":false,\"pid\":"
     "null,"
     "\"uptime_seconds\":null}]}"},
    {HTTP_METHOD_GET, CS "/a/status", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"service_label\":\"First\",\"name\":\"a\","
     "\"raw\":\"r\","
     "\"is_up\":true,\"pid\":7,\"uptime_seconds\":null}"},
    {HTTP_METHOD_GET, CS "/a%20b/status", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a b\",\"service_label\":\"a b\",\"name\":\"a "
     "b\",\"raw\":\"\","
     "\"is_up\":false,\"pid\":null,\"uptime_seconds\":null}"},
    {HTTP_METHOD_GET, CS "/list/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: not an "
     "object\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS "/types/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: member 'pid' has a wrong "
     "type\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS "/types2/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: member 'is_up' has a wrong "
     "type\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS "/types3/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: unexpected answer: member 'raw' has a wrong "
     "type\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS "/%2e%2e/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: '..' is not a service "
     "name\",\"detail\":null}"},
    {HTTP_METHOD_GET, CS "/a%00b/status", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: 'a\\u0000b' is not a service "
     "name\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/containers/x%00y/services", NULL, 404,
     "{\"error\":\"Container 'x\\u0000y' not found\",\"detail\":null}"},
    {HTTP_METHOD_POST, CS "/a", "{\"action\":\"restart\"}", 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"action\":\"restart\",\"result\":\"ok\"}"},
    {HTTP_METHOD_GET, CS "/a/logs", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"logs\":\"l\\n\",\"tail\":100,\"log_path\":\"/"
     "p\"}"},
    {HTTP_METHOD_GET, CS "/a/logs?tail=-3&cursor=x", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"logs\":\"\",\"tail\":-3,\"log_path\":null}"},
    {HTTP_METHOD_DELETE, CS "/a/logs", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"message\":\"Logs cleared "
     "successfully\",\"log_path\":\"/p\"}"},
    {HTTP_METHOD_GET, CS "/a/run", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"path\":\"/r\",\"content\":\"#!\"}"},
    {HTTP_METHOD_PUT, CS "/a/run", "{\"content\":\"new\"}", 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"path\":\"/r\",\"content\":\"new\"}"},
    {HTTP_METHOD_PUT, CS "/a/run", "{\"content\":\" \\n\"}", 400,
     "{\"error\":\"Content must not be empty\",\"detail\":null}"},
    {HTTP_METHOD_PUT, "/containers/x/services/a/run", "{\"content\":\"\"}", 404,
     "{\"error\":\"Container 'x' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/containers/robot/ros2/topics", NULL, 503,
     "{\"error\":\"ROS2 plugin for container 'robot' is not available. Check if ROS2 configuration "
     "exists in "
     "config.yml and zenoh connection.\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/containers/x/ros2/topics/%2Fa", NULL, 404,
     "{\"error\":\"Container 'x' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/docker/containers?all=1", NULL, 200,
     "{\"containers\":[{\"id\":\"1234\",\"name\":\"web\",\"status\":\"running\",\"image\":\"\","
     "\"created\":\"2026-11-21T03:52:00.1Z\"}]}"},
    {HTTP_METHOD_GET, "/docker/containers/web/status", NULL, 200,
     "{\"id\":\"1234\",\"name\":\"web\",\"status\":\"running\",\"state\":\"running\",\"running\":"
     "true,"
     "\"restarting\":false,\"paused\":false,\"image\":\"\",\"created\":\"2026-11-21T03:52:00.1Z\","
     "\"started_at\":\"s\","
     "\"finished_at\":\"f\",\"exit_code\":0}"},
    {HTTP_METHOD_GET, "/docker/containers/none/status", NULL, 404,
     "{\"error\":\"Docker container 'none' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/docker/containers/bad/status", NULL, 503,
     "{\"error\":\"Failed to get container status: 409 Client Error\",\"detail\":null}"},
    {HTTP_METHOD_POST, "/docker/containers/web", "{\"action\":\"stop\",\"timeout\":\"3\"}", 200,
     "{\"name\":\"web\",\"action\":\"stop\",\"result\":\"ok\"}"},
    {HTTP_METHOD_POST, "/docker/containers/busy", "{\"action\":\"stop\"}", 503,
     "{\"error\":\"Failed to control container: too busy\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/docker/containers/web/logs?tail=-1", NULL, 200,
     "{\"container\":\"web\",\"logs\":\"line\\n\",\"tail\":-1}"},
    {HTTP_METHOD_GET, "/ws/containers/robot/services/a/logs", NULL, 404,
     "{\"detail\":\"Not Found\"}"},

    /* cyclo_manager's */
    {HTTP_METHOD_GET, "/robot/services", NULL, 200,
     "{\"container\":\"robot\",\"services\":[{\"id\":\"a\",\"label\":\"a\"},{\"id\":\"b\","
     "\"label\":\"b\"}]}"},
    {HTTP_METHOD_GET, "/robot/services/a/status", NULL, 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"service_label\":\"a\",\"name\":\"a\",\"raw\":"
     "\"r\","
     "\"is_up\":true,\"pid\":7,\"uptime_seconds\":null}"},
    {HTTP_METHOD_GET, "/robot/services/none/status", NULL, 404,
     "{\"error\":\"Agent error for container 'robot': Service 'none' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/robot/services/teapot/status", NULL, 418,
     "{\"error\":\"Agent error for container 'robot': short\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/robot/services/text/status", NULL, 500,
     "{\"error\":\"Internal error while processing service request: Expecting value: line 1 column "
     "1 "
     "(char 0)\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/robot/services/list/status", NULL, 500,
     "{\"error\":\"Internal error while processing service request: unexpected answer: not an "
     "object\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/away/services", NULL, 503,
     "{\"error\":\"Failed to communicate with agent: [Errno 2] No such file or directory\","
     "\"detail\":null}"},
    {HTTP_METHOD_POST, "/x/services/a", "{\"action\":\"bogus\"}", 404,
     "{\"error\":\"Container 'x' not found\",\"detail\":null}"},
    {HTTP_METHOD_POST, "/robot/services/a",
     "{\"action\":\"up\",\"launch_args\":{\"a\":\"b\"},\"robot_type\":\"sg2\"}", 200,
     "{\"container\":\"robot\",\"service\":\"a\",\"action\":\"up\",\"result\":\"ok\"}"},
    {HTTP_METHOD_POST, "/robot/ros2/topics/%2Fa/subscribe", NULL, 503,
     "{\"error\":\"ROS2 node for container 'robot' is not available.\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/docker/web/logs?tail=-1", NULL, 200,
     "{\"container\":\"web\",\"logs\":\"line\\n\",\"tail\":-1}"},
    {HTTP_METHOD_POST, "/docker/web", "{\"action\":\"stop\"}", 200,
     "{\"name\":\"web\",\"action\":\"stop\",\"result\":\"ok\"}"},
    {HTTP_METHOD_POST, "/docker/containers", "{\"action\":\"stop\"}", 405,
     "{\"detail\":\"Method Not Allowed\"}"},
    {HTTP_METHOD_GET, "/web/bashrc", NULL, 200,
     "{\"container\":\"web\",\"path\":\"/root/.bashrc\",\"content\":\"\"}"},
    {HTTP_METHOD_GET, "/none/bashrc", NULL, 404,
     "{\"error\":\"Docker container 'none' not found\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/bad/bashrc", NULL, 500, "{\"error\":\"409 Client Error\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/busy/bashrc", NULL, 503, "{\"error\":\"too busy\",\"detail\":null}"},
    {HTTP_METHOD_PUT, "/web/bashrc", "{\"content\":\"a\\n\"}", 200,
     "{\"container\":\"web\",\"path\":\"/root/.bashrc\",\"content\":\"a\\n\"}"},
    {HTTP_METHOD_PUT, "/web/bashrc", "{\"content\":\" \\n\"}", 400,
     "{\"error\":\"Content must not be empty\",\"detail\":null}"},
    {HTTP_METHOD_PUT, "/busy/bashrc", "{\"content\":\"a\"}", 503,
     "{\"error\":\"too busy\",\"detail\":null}"},
    {HTTP_METHOD_GET, "/version", NULL, 200,
     "{\"current\":\"" GANTRY_VERSION "\",\"latest\":\"unknown\",\"update_available\":false}"},
    {HTTP_METHOD_GET, "/docker/ai-worker/version", NULL, 200,
     "{\"container\":\"ai-worker\",\"current\":\"unknown\",\"latest\":\"unknown\",\"update_"
     "available\":"
     "false}"},
    {HTTP_METHOD_GET, "/docker/web/version", NULL, 404,
     "{\"error\":\"Version check is only supported for ai_worker, got: web\",\"detail\":null}"},
};

static void calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(ask_pool(rig.pool, rows[i].method, rows[i].target, rows[i].body));
        if (rig.code != 0 || rig.status != rows[i].status || strcmp(rig.text, rows[i].text) != 0)
            fail_msg("%s: %d %d %s", rows[i].target, rig.code, rig.status, rig.text);
        assert_string_equal(rig.type, "application/json");
    }
    assert_int_equal(seen_tail, -1);
    assert_true(seen_all);
}

/* What the runtime was asked to do, and what is made of what a program wrote. */
static void files_and_versions(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *version;
    } rows_[] = {
        {"<package><version>1.2.3</version></package>", "1.2.3"},
        {"<p>\n <version a=\"b>c\">", NULL},
        {"<version compatibility=\"1\">\n 2.0 \n</version ><version>3</version>", "2.0"},
        {"<version></version>", NULL},
        {"<version>", NULL},
        {"<version", NULL},
        {"", NULL},
    };
    char want[160];
    for (size_t i = 0; i < ARRAY_LEN(rows_); i++) {
        exec_text = rows_[i].xml;
        assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/docker/ai_worker/version", NULL));
        snprintf(want, sizeof(want), "\"current\":\"%s\"",
                 rows_[i].version ? rows_[i].version : "unknown");
        if (strstr(rig.text, want) == NULL)
            fail_msg("%s: %s", rows_[i].xml, rig.text);
        assert_string_equal(seen_exec, "cat /x/package.xml");
    }
    exec_text = rows_[0].xml;
    exec_exit = 1;
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/docker/ai_worker/version", NULL));
    assert_non_null(strstr(rig.text, "unknown"));
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/web/bashrc", NULL));
    assert_non_null(strstr(rig.text, "\"content\":\"\""));
    exec_exit = 0;
    exec_text = "a \xff\n";
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/web/bashrc", NULL));
    assert_non_null(strstr(rig.text, "\"content\":\"a \xef\xbf\xbd\\n\""));
    assert_string_equal(seen_exec, "cat /root/.bashrc");
    exec_text = "";
    assert_true(ask_pool(rig.pool, HTTP_METHOD_PUT, "/web/bashrc", "{\"content\":\"x y\"}"));
    assert_string_equal(seen_file, "/root/.bashrc 644 x y");
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/robot/services/moved/status", NULL));
    assert_int_equal(rig.status, 502);
}

static void timeouts(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int64_t want;
    } bodies[] = {{"{\"action\":\"stop\"}", 10},
                  {"{\"action\":\"stop\",\"timeout\":null}", 10},
                  {"{\"action\":\"stop\",\"timeout\":0}", 10},
                  {"{\"action\":\"stop\",\"timeout\":-1}", -1},
                  {"{\"action\":\"stop\",\"timeout\":3}", 3}};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_true(ask_pool(rig.pool, HTTP_METHOD_POST, "/docker/containers/web", bodies[i].body));
        assert_int_equal(rig.status, 200);
        assert_int_equal(seen_timeout, bodies[i].want);
    }
}

static void agent_texts(void **state)
{
    (void)state;
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/containers/away/services", NULL));
    assert_int_equal(rig.status, 503);
    assert_string_equal(
        rig.text,
        "{\"error\":\"Failed to communicate with agent: [Errno 2] No such file or directory\","
        "\"detail\":null}");
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, CS "/none/status", NULL));
    assert_int_equal(rig.status, 503);
    assert_non_null(strstr(
        rig.text, "Client error '404 Not Found' for url 'http://agent/services/none/status'"));
    assert_non_null(strstr(rig.text, "Service 'none' not found"));
}

static void engine_comes_and_goes(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        runtime_up = i == 1;
        assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/docker/containers", NULL));
        assert_int_equal(rig.status, runtime_up ? 200 : 503);
        /* the precondition comes before the values, and after the body's syntax */
        assert_true(
            ask_pool(rig.pool, HTTP_METHOD_POST, "/docker/containers/web", "{\"action\":\"x\"}"));
        assert_int_equal(rig.status, runtime_up ? 422 : 503);
        assert_true(ask_pool(rig.pool, HTTP_METHOD_POST, "/docker/containers/web", "{"));
        assert_int_equal(rig.status, 422);
    }
}

static void host_names(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool ok;
    } names[] = {
        {"localhost", true},       {"LOCALHOST:1", true},        {"127.0.0.1", true},
        {"127.9.9.9:80", true},    {"[::1]:80", true},           {"robot.local", true},
        {"Robot.Local:99", true},  {"named:8081", true},         {"named:8082", false},
        {"named", false},          {"evil.example", false},      {"127.evil.example", false},
        {"localhost.evil", false}, {"10.0.0.1", false},          {"[::2]", false},
        {"localhost:", true},      {"localhost:80.evil", false}, {"[::1].evil", false}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct client_pool *p = NULL;
        struct client_options o = {.target = {.host = "127.0.0.1", .port = port},
                                   .host = names[i].host};
        assert_int_equal(client_pool_new(&p, rig.loop, &o, NULL), 0);
        assert_true(ask_pool(p, HTTP_METHOD_GET, "/", NULL));
        if (rig.status != (names[i].ok ? 200 : 421))
            fail_msg("%s: %d", names[i].host, rig.status);
        client_pool_free(p);
    }
}

/* The document is what the table gives (test_openapi.c looks into it), made once. */
static void openapi(void **state)
{
    (void)state;
    struct slice first = rest_openapi(rig.rest);
    assert_non_null(first.p);
    assert_ptr_equal(rest_openapi(rig.rest).p, first.p);
    json_t *root = json_parse(first, NULL, NULL);
    assert_string_equal(json_get_str(root, "openapi"), "3.1.0");
    json_decref(root);
    /* Without a folder of files the pages are our own. */
    static const char *const pages[] = {"/docs", "/redoc", "/docs/oauth2-redirect"};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, pages[i], NULL));
        assert_int_equal(rig.status, 200);
        assert_string_equal(rig.type, "text/html; charset=utf-8");
        assert_null(strstr(rig.text, "<script>")); /* the policy forbids it */
    }
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/docs/list.js", NULL));
    assert_int_equal(rig.status, 200);
    assert_true(ask_pool(rig.pool, HTTP_METHOD_GET, "/docs/swagger-ui.css", NULL));
    assert_int_equal(rig.status, 404);
}

static void no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i += 3) {
        for (uint64_t n = 1; n < 400; n++) {
            mem_fail_at(n, false);
            bool sent = ask_pool(rig.pool, rows[i].method, rows[i].target, rows[i].body);
            bool hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (sent && rig.code == 0 && rig.status != rows[i].status && rig.status != 503)
                fail_msg("%s, allocation %d: %d %s", rows[i].target, (int)n, rig.status, rig.text);
            if (!hit)
                break;
        }
        assert_true(ask_pool(rig.pool, rows[i].method, rows[i].target, rows[i].body));
        assert_int_equal(rig.status, rows[i].status); /* and it has recovered */
    }
}

/* --- health, metrics, audit, traces --- */

static bool get(const char *target)
{
    return ask_pool(rig.pool, HTTP_METHOD_GET, target, NULL);
}

static void expect_text(const char *part)
{
    if (strstr(rig.text, part) == NULL)
        fail_msg("no %s in %s", part, rig.text);
}

static void health(void **state)
{
    (void)state;
    assert_true(get("/healthz"));
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.text, "ok\n");
    assert_true(get("/readyz")); /* nothing has been told yet */
    assert_int_equal(rig.status, 503);
    expect_text("{\"ready\":false,\"checks\":[{\"name\":\"configuration\",\"ok\":false");
    rest_note_config(rig.rest, true, "loaded");
    assert_true(get("/readyz"));
    assert_int_equal(rig.status, 503);
    expect_text("{\"name\":\"listeners\",\"ok\":false,\"required\":true,\"detail\":\"0 open\"}");
    rest_set_server(rig.rest, rig.server);
    runtime_up = false;
    assert_true(get("/readyz"));
    assert_int_equal(rig.status, 200); /* the engine is told, not required */
    expect_text("{\"ready\":true,");
    expect_text("{\"name\":\"fake\",\"ok\":false,\"required\":false,\"detail\":\"not reachable\"}");
    expect_text("\"0 of 3 answered the last call, the others were not asked\"");
    assert_true(get("/containers/away/services"));
    assert_true(get("/readyz"));
    assert_int_equal(rig.status, 200);
    expect_text("1 of 3 did not answer the last call, first \\\"away\\\"");
    rest_note_config(rig.rest, false, "reload refused: x");
    assert_true(get("/readyz"));
    assert_int_equal(rig.status, 200); /* the one before serves on */
    expect_text(
        "\"configuration\",\"ok\":false,\"required\":false,\"detail\":\"reload refused: x\"");
    rest_drain(rig.rest);
    assert_true(get("/readyz"));
    assert_int_equal(rig.status, 503);
    expect_text("{\"name\":\"draining\",\"ok\":false,\"required\":true,");
}

static void metrics(void **state)
{
    (void)state;
    rest_set_server(rig.rest, rig.server);
    assert_true(get(CS "/a/status"));
    assert_true(get(CS "/none/status"));
    assert_true(get("/containers/away/services"));
    assert_true(get("/metrics"));
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.type, "text/plain; version=0.0.4; charset=utf-8");
    expect_text("gantry_build_info{version=\"" GANTRY_VERSION "\"");
    expect_text("gantry_http_requests_total{method=\"GET\",route=\"" CS_ROW
                "/{service}/status\",status=\"200\"} 1\n");
    expect_text("gantry_agent_calls_total{container=\"robot\",outcome=\"ok\"} 1\n");
    expect_text("gantry_agent_calls_total{container=\"robot\",outcome=\"error\"} 1\n");
    expect_text("gantry_agent_calls_total{container=\"away\",outcome=\"unreachable\"} 1\n");
    expect_text("gantry_agent_call_duration_seconds_count{container=\"robot\"} 2\n");
    expect_text("gantry_http_listeners 1\n");
    expect_text("process_resident_memory_bytes ");
}

static struct audit_query seen_query;
static char seen_who[32];
static int audit_rc;
static struct audit_job {
    audit_read_fn fn;
    void *ctx;
} audit_job;

static void audit_tell(void *ctx)
{
    (void)ctx;
    struct err e = {0};
    if (audit_rc == ERR_IO)
        err_set(&e, ERR_IO, "no such luck");
    audit_job.fn(audit_job.ctx, &e, e.code == 0 ? SLICE_LIT("{\"a\":1}") : SLICE_LIT(""), true);
}

static int audit_begin(void *ctx, const struct audit_query *q, audit_read_fn fn, void *fn_ctx,
                       struct err *e)
{
    (void)ctx;
    seen_query = *q;
    snprintf(seen_who, sizeof(seen_who), "%.*s", (int)q->who.len, q->who.p ? q->who.p : "");
    if (audit_rc != 0 && audit_rc != ERR_IO)
        return err_set(e, audit_rc, "not now");
    audit_job = (struct audit_job){fn, fn_ctx};
    return loop_defer(rig.loop, audit_tell, NULL) == 0 ? 0 : err_set(e, ERR_NO_MEMORY, "oom");
}

static void audit_say(void *ctx, struct audit_stats *ret)
{
    (void)ctx;
    *ret = (struct audit_stats){.on = true, .writable = audit_rc == 0, .lost = 7};
}

static const struct audit_source audit_source = {.stats = audit_say, .read = audit_begin};

static void audit(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int status;
        size_t n;
        const char *who, *since; /* since "": a time that is not known before */
    } asks[] = {
        {"", 200, 100, "", NULL},
        {"?n=1&who=uid%3A0", 200, 1, "uid:0", NULL},
        {"?since=2026-11-21T03:52:00.123Z", 200, 100, "", "2026-11-21T03:52:00.123"},
        {"?since=2026-11-21T03:52:00Z", 200, 100, "", "2026-11-21T03:52:00"},
        {"?since=2026-11-21", 200, 100, "", "2026-11-21"},
        {"?since=10m", 200, 100, "", ""},
        {"?n=0", 400, 0, NULL, NULL},
        {"?n=10001", 400, 0, NULL, NULL},
        {"?n=x", 422, 0, NULL, NULL},
        {"?since=2026-11-21T03:52:00%2B01:00", 400, 0, NULL, NULL},
        {"?since=2026-11-2", 400, 0, NULL, NULL},
        {"?since=2026-11-21T03:52:00.", 400, 0, NULL, NULL},
        {"?since=2026-11-21T03:52:00.1234Z", 400, 0, NULL, NULL},
        {"?since=", 400, 0, NULL, NULL},
        {"?since=Z", 400, 0, NULL, NULL},
        {"?since=-5m", 400, 0, NULL, NULL},
        {"?since=90000000d", 400, 0, NULL, NULL},
    };
    audit_rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/audit%s", asks[i].query);
        assert_true(get(target));
        if (rig.status != asks[i].status)
            fail_msg("%s: %d %s", target, rig.status, rig.text);
        if (rig.status != 200)
            continue;
        assert_string_equal(rig.text, "{\"records\":[{\"a\":1}],\"more\":true}");
        assert_int_equal(seen_query.n, asks[i].n);
        assert_string_equal(seen_who, asks[i].who);
        if (asks[i].since == NULL || asks[i].since[0] != '\0')
            assert_string_equal(seen_query.since, asks[i].since ? asks[i].since : "");
        else
            assert_int_equal(strlen(seen_query.since), 23);
    }
    audit_rc = ERR_BUSY;
    assert_true(get("/audit"));
    assert_int_equal(rig.status, 503);
    audit_rc = ERR_IO;
    assert_true(get("/audit"));
    assert_int_equal(rig.status, 500);
    expect_text("no such luck");
    assert_true(get("/readyz"));
    expect_text("{\"name\":\"audit\",\"ok\":false,\"required\":true,");
    assert_true(get("/metrics"));
    expect_text("gantry_audit_records_lost_total 7\n");
}

static void traced(const char *traceparent, const char *id)
{
    struct http_header h[] = {{SLICE_LIT("traceparent"), slice_of(traceparent)},
                              {SLICE_LIT("tracestate"), SLICE_LIT("v=1")},
                              {SLICE_LIT("x-request-id"), slice_of(id)}};
    struct client_request q = {.method = HTTP_METHOD_GET,
                               .target = SLICE_LIT(CS "/a/status"),
                               .headers = h,
                               .n_headers = 3};
    rig.done = false;
    assert_int_equal(client_fetch(rig.pool, &q, answered, NULL, NULL, NULL), 0);
    step_until(&rig.done);
    assert_int_equal(rig.status, 200);
}

static void traces(void **state)
{
    (void)state;
#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
    traced("00-" TRACE_ID "-00f067aa0ba902b7-01", "my.id_1-A");
    assert_non_null(strstr(seen_headers, "x-request-id=my.id_1-A traceparent=00-" TRACE_ID "-"));
    assert_null(strstr(seen_headers, "00f067aa0ba902b7")); /* a parent of our own */
    assert_non_null(strstr(seen_headers, "-01 tracestate=v=1 "));
    traced("00-" TRACE_ID "-00f067aa0ba902b7-01 ", "a b");
    traced("00-" TRACE_ID "-00f067aa0ba902b7", "bad id");
    assert_null(strstr(seen_headers, "traceparent"));
    assert_null(strstr(seen_headers, "tracestate"));
    assert_null(strstr(seen_headers, "bad id"));
    assert_int_equal(strlen(seen_headers), strlen("x-request-id= ") + 16);
    traced("", "12345678901234567890123456789012345678901234567890123456789012345");
    assert_int_equal(strlen(seen_headers), strlen("x-request-id= ") + 16);
}

static void observe_no_memory(void **state)
{
    (void)state;
    static const char *const targets[] = {"/metrics", "/readyz", "/audit?since=1h", "/healthz"};
    audit_rc = 0;
    rest_set_server(rig.rest, rig.server);
    rest_note_config(rig.rest, true, "loaded");
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        for (uint64_t n = 1; n < 400; n++) {
            mem_fail_at(n, false);
            bool sent = get(targets[i]), hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (sent && rig.code == 0 && rig.status != 200 && rig.status != 503)
                fail_msg("%s, allocation %d: %d %s", targets[i], (int)n, rig.status, rig.text);
            if (!hit)
                break;
        }
        assert_true(get(targets[i]));
        assert_int_equal(rig.status, 200);
    }
}

/* A client leaves while a piece of its file is being written; the program ends, and the store's
 * owner with it, before that write does. */
static void upload_outlives_the_store(void **state)
{
    (void)state;
    static const char begin[] = "POST /v1/store/restore HTTP/1.1\r\nhost: localhost\r\n"
                                "content-length: 5000\r\n\r\nSQLite format 3";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct err e = {0};
    memset(&upload, 0, sizeof(upload));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(fd, begin, sizeof(begin) - 1), (ssize_t)sizeof(begin) - 1);
    for (int i = 0; upload.added == NULL && i < STEPS_MAX; i++)
        (void)loop_run_once(rig.loop, true);
    assert_non_null(upload.added);
    close(fd);
    for (int i = 0; upload.drops == 0 && i < 5000; i++) {
        (void)loop_run_once(rig.loop, false);
        usleep(200);
    }
    assert_int_equal(upload.drops, 1); /* told at once */
    mem_free(STEAL(store_admin));
    upload.added(upload.ctx, &e);
    assert_int_equal(upload.drops, 1);
}

int main(void)
{
    json_in_init();
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(calls),
                                       TEST(files_and_versions),
                                       TEST(timeouts),
                                       TEST(agent_texts),
                                       TEST(engine_comes_and_goes),
                                       TEST(health),
                                       TEST(metrics),
                                       TEST(audit),
                                       TEST(traces),
                                       TEST(observe_no_memory),
                                       TEST(host_names),
                                       TEST(upload_outlives_the_store),
                                       TEST(openapi),
                                       TEST(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
