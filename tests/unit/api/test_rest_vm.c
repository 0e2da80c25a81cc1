/* Snapshots and serial consoles of workloads, and what is said of the machine: over a real server,
 * with an engine in memory and a runtime that does what its script says. */
#include "../core/engine_rig.h"

#include "api/rest/rest.h"
#include "net/client.h"
#include "net/server.h"
#include "net/ws_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS_MAX 20000

static struct rig core;
static struct driver_ops ops;
static struct loop *loop;
static struct server *server;
static struct agent_set *agents;
static struct log_hub *hub;
static struct rest *rest;
static struct client_pool *pool;
static struct stream_target target;
static struct node_link_view link_now;
static const char *no_driver[WORKLOAD_TYPES] = {
    [WORKLOAD_COMPOSE] = "compose.enabled is false", [WORKLOAD_VM] = "vm.enabled is false"};
static struct rest_options options;

/* --- the runtime --- */

static char seen[200]; /* the last order: "revert web before" */
static int calls;      /* consoles that are open */
static int refuses;    /* error code */
static const char *condition_text = "healthy", *detail_text = "";

struct order {
    driver_snapshots_fn list;
    driver_done_fn done;
    void *ctx;
};

static void order_go(void *ctx)
{
    struct order *o = ctx;
    static const struct driver_snapshot all[] = {{"first", "", 1800000000123456789, false, true},
                                                 {"second", "a \"quote\"", 0, true, false}};
    struct fault f = {0};
    if (refuses != 0)
        (void)fault_set(&f, FAULT_RUNTIME_ERROR, refuses, "the disk is no qcow2");
    if (o->list != NULL)
        o->list(o->ctx, refuses != 0 ? &f : NULL, all, refuses != 0 ? 0 : ARRAY_LEN(all));
    else
        o->done(o->ctx, refuses != 0 ? &f : NULL, NULL);
    mem_free(o);
}

static int order_begin(struct order o)
{
    struct order *x = mem_alloc(sizeof(*x));
    if (x == NULL)
        return ERR_NO_MEMORY;
    *x = o;
    if (loop_defer(loop, order_go, x) == 0)
        return 0;
    mem_free(x);
    return ERR_NO_MEMORY;
}

static int dr_snapshots(void *self, struct slice id, driver_snapshots_fn fn, void *ctx)
{
    (void)self;
    snprintf(seen, sizeof(seen), "list %.*s", (int)id.len, id.p);
    return refuses == ERR_BUSY ? ERR_BUSY : order_begin((struct order){.list = fn, .ctx = ctx});
}

static int dr_snapshot(void *self, struct slice id, enum driver_snapshot_verb verb,
                       struct slice name, driver_done_fn fn, void *ctx)
{
    static const char *const verbs[] = {"create", "revert", "delete"};
    (void)self;
    snprintf(seen, sizeof(seen), "%s %.*s %.*s", verbs[verb], (int)id.len, id.p, (int)name.len,
             name.p);
    return refuses == ERR_BUSY ? ERR_BUSY : order_begin((struct order){.done = fn, .ctx = ctx});
}

struct driver_call {
    struct driver_exec_user user;
    void *ctx;
    bool cancelled, off;
};

static void console_go(void *ctx)
{
    struct driver_call *c = ctx;
    if (!c->cancelled && !c->off) {
        c->user.output(c->ctx, DRIVER_STDOUT, SLICE_LIT("login: "));
        return;
    }
    if (!c->cancelled)
        c->user.done(c->ctx, NULL, 0);
    calls--;
    mem_free(c);
}

static int dr_console(void *self, struct slice id, bool force, const struct driver_exec_user *u,
                      void *ctx, struct driver_call **ret, struct err *e)
{
    (void)self;
    snprintf(seen, sizeof(seen), "console %.*s%s", (int)id.len, id.p, force ? " by force" : "");
    if (refuses != 0)
        return err_set(e, refuses, "somebody has it");
    struct driver_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL || loop_defer(loop, console_go, c) != 0) {
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    calls++;
    c->user = *u;
    c->ctx = ctx;
    *ret = c;
    return 0;
}

/* What is typed comes back; "off" switches the machine off. */
static int dr_write(struct driver_call *c, struct slice bytes, bool end)
{
    (void)end;
    if (slice_eqs(bytes, "off")) {
        c->off = true;
        return loop_defer(loop, console_go, c);
    }
    c->user.output(c->ctx, DRIVER_STDOUT, bytes);
    return 0;
}

static int dr_resize(struct driver_call *c, uint16_t rows, uint16_t columns)
{
    (void)c;
    (void)rows;
    (void)columns;
    return 0;
}

static void dr_pause(struct driver_call *c, bool paused)
{
    (void)c;
    (void)paused;
}

static void dr_cancel(struct driver_call *c)
{
    c->cancelled = true;
    assert_int_equal(loop_defer(loop, console_go, c), 0);
}

static const char *dr_condition(void *self)
{
    (void)self;
    return condition_text;
}

static const char *dr_detail(void *self)
{
    (void)self;
    return detail_text;
}

/* --- the rig --- */

static const struct protocol *const protocols[] = {&protocol_http1, NULL};

static void link_view(void *self, struct node_link_view *ret)
{
    (void)self;
    *ret = link_now;
}
static const struct node_link link_of = {link_view, NULL};

static void begin_core(void)
{
    rig_init(&core);
    rig_open(&core);
    struct driver *d = (struct driver *)engine_driver(core.g, WORKLOAD_CONTAINER);
    ops = *d->ops;
    ops.snapshots = dr_snapshots;
    ops.snapshot = dr_snapshot;
    ops.console = dr_console;
    ops.exec_write = dr_write;
    ops.exec_resize = dr_resize;
    ops.logs_pause = dr_pause;
    ops.cancel_call = dr_cancel;
    ops.condition = dr_condition;
    ops.detail = dr_detail;
    d->ops = &ops;
    (void)rig_apply(&core, "web", "1", NULL);
    (void)rig_apply(&core, "still", "1", NULL);
    (void)rig_stop(&core, "still", "1", NULL);
    rig_pass(&core, 5000);
    assert_state(&core, "web", ACTUAL_RUNNING);
}

static int setup(void **state)
{
    (void)state;
    struct err e = {0};
    begin_core();
    calls = refuses = 0;
    seen[0] = '\0';
    condition_text = "healthy";
    detail_text = "";
    link_now =
        (struct node_link_view){.state = NODE_LINK_OFF, .address = "", .endpoint = "", .error = ""};
    assert_int_equal(loop_new(&loop, &clock_system, &e), 0);
    struct server_options so = {.limits = http_limits_default};
    assert_int_equal(server_new(&server, loop, &so, &e), 0);
    assert_int_equal(agent_set_new(&agents, loop, &(struct agent_set_options){0}, &e), 0);
    assert_int_equal(log_hub_new(&hub, loop, &e), 0);
    options = (struct rest_options){.loop = loop,
                                    .agents = agents,
                                    .hub = hub,
                                    .engine = core.g,
                                    .events = core.events,
                                    .tasks = core.tasks,
                                    .node_id = "node-1",
                                    .link = &link_of,
                                    .no_driver = no_driver};
    assert_int_equal(rest_new(&rest, &options, &e), 0);
    rest_set_server(rest, server);
    rest_note_config(rest, true, "loaded");
    struct listener *li;
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = rest_handle, .ctx = rest};
    assert_int_equal(server_listen(server, &lo, &li, &e), 0);
    target = (struct stream_target){.host = "127.0.0.1", .port = listener_port(li)};
    struct client_options co = {.target = target, .host = "localhost"};
    assert_int_equal(client_pool_new(&pool, loop, &co, &e), 0);
    return 0;
}

static void step_until(const bool *flag)
{
    for (int i = 0; !*flag && i < STEPS_MAX; i++)
        (void)loop_run_once(loop, true);
    assert_true(*flag);
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static int teardown(void **state)
{
    (void)state;
    bool stopped = false, gone = false;
    client_pool_free(pool);
    rest_drain(rest);
    server_stop(server, set_flag, &stopped);
    step_until(&stopped);
    server_free(server);
    agent_set_free(agents);
    rest_free(rest, set_flag, &gone);
    step_until(&gone);
    log_hub_free(hub);
    (void)loop_run(loop);
    loop_free(loop);
    assert_int_equal(calls, 0); /* each was ended, or cancelled */
    rig_close(&core);
    rig_done(&core);
    return 0;
}

static bool done;
static int code, status;
static char text[1u << 20];

static void answered(void *ctx, const struct err *e, int st, const struct client_response *r,
                     struct slice body)
{
    (void)ctx;
    (void)r;
    done = true;
    code = e->code;
    status = st;
    snprintf(text, sizeof(text), "%.*s", (int)body.len, body.p != NULL ? body.p : "");
}

static bool ask(enum http_method m, const char *path, const char *body)
{
    struct client_request q = {.method = m,
                               .target = slice_of(path),
                               .body = body != NULL ? slice_of(body) : (struct slice){NULL, 0},
                               .max_body = sizeof(text)};
    done = false;
    if (client_fetch(pool, &q, answered, NULL, NULL, NULL) != 0)
        return false;
    step_until(&done);
    return true;
}

static void expect(int want, const char *part)
{
    if (status != want || strstr(text, part) == NULL)
        fail_msg("%d %.600s, not %d with %s", status, text, want, part);
}

/* --- snapshots --- */

#define W "/v1/workloads/"
#define GET HTTP_METHOD_GET
#define POST HTTP_METHOD_POST
#define DELETE HTTP_METHOD_DELETE
static const struct {
    enum http_method method;
    const char *target, *body;
    int refuses, status;
    const char *text, *seen;
} rows[] = {
    {GET, W "web/snapshots", NULL, 0, 200,
     "{\"snapshots\":[{\"name\":\"first\",\"description\":\"\",\"created_at\":"
     "\"2027-01-15T08:00:00.123456Z\",\"current\":false,\"memory\":true},{\"name\":\"second\","
     "\"description\":\"a \\\"quote\\\"\",\"created_at\":null,\"current\":true,\"memory\":false}]}",
     "list web"},
    {POST, W "web/snapshots", "{\"name\":\"before\"}", 0, 201,
     "{\"workload\":\"web\",\"name\":\"before\"}", "create web before"},
    {POST, W "still/snapshots/before/revert", NULL, 0, 200,
     "{\"workload\":\"still\",\"name\":\"before\"}", "revert still before"},
    {DELETE, W "web/snapshots/a%20b", NULL, 0, 200, "{\"workload\":\"web\",\"name\":\"a b\"}",
     "delete web a b"},
    {GET, W "none/snapshots", NULL, 0, 404, "'none' not found", ""},
    {POST, W "none/snapshots", "{\"name\":\"a\"}", 0, 404, "'none' not found", ""},
    {POST, W "web/snapshots", "{}", 0, 422, "Field required", ""},
    {POST, W "web/snapshots", "{\"name\":\"\"}", 0, 400, "is no name of a snapshot", ""},
    {POST, W "web/snapshots", "{\"name\":\"-a\"}", 0, 400, "\\\"-a\\\" is no name", ""},
    {POST, W "web/snapshots", "{\"name\":\"a/b\"}", 0, 400, "is no name of a snapshot", ""},
    {DELETE, W "web/snapshots/-x", NULL, 0, 400, "is no name of a snapshot", ""},
    {POST, W "web/snapshots/%01/revert", NULL, 0, 400, "is no name of a snapshot", ""},
    {GET, W "web/snapshots", NULL, ERR_RUNTIME, 503, "the disk is no qcow2", "list web"},
    {POST, W "web/snapshots", "{\"name\":\"b\"}", ERR_EXISTS, 409, "the disk is no qcow2",
     "create web b"},
    {GET, W "web/snapshots", NULL, ERR_BUSY, 503, "the runtime cannot be asked", "list web"},
    {DELETE, W "web/snapshots/b", NULL, ERR_BUSY, 503, "the runtime cannot be asked",
     "delete web b"},
};

static void snapshots(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        refuses = rows[i].refuses;
        seen[0] = '\0';
        assert_true(ask(rows[i].method, rows[i].target, rows[i].body));
        if (status != rows[i].status || strstr(text, rows[i].text) == NULL ||
            strcmp(seen, rows[i].seen) != 0)
            fail_msg("%s %s: %d %.400s (%s)", rows[i].target, rows[i].body, status, text, seen);
    }
    refuses = 0;
    ops.snapshot = NULL; /* containers have none */
    assert_true(ask(GET, W "web/snapshots", NULL));
    expect(501, "the runtime keeps no snapshots: fake");
    assert_true(ask(POST, W "web/snapshots", "{\"name\":\"a\"}"));
    expect(501, "the runtime keeps no snapshots: fake");
}

static void no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t n = 1; n < 600; n++) {
            mem_fail_at(n, false);
            bool sent = ask(rows[i].method, rows[i].target, rows[i].body);
            bool hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (sent && code == 0 && status != rows[i].status && status != 503 && status != 413)
                fail_msg("%s, allocation %d: %d %.200s", rows[i].target, (int)n, status, text);
            if (!hit)
                break;
        }
        assert_true(ask(rows[i].method, rows[i].target, rows[i].body));
        expect(rows[i].status, rows[i].text); /* it has recovered */
    }
}

/* --- consoles --- */

static struct {
    struct wsc *w;
    bool open, closed;
    char got[400];
    int status, code;
    char body[400];
} ws;

static void ws_open(void *ctx)
{
    (void)ctx;
    ws.open = true;
}
static void ws_message(void *ctx, bool is_text, const char *p, size_t n)
{
    size_t at = strlen(ws.got);
    (void)ctx;
    assert_false(is_text);
    assert_true(n > 0);
    snprintf(ws.got + at, sizeof(ws.got) - at, "[%d %.*s]", p[0], (int)n - 1, p + 1);
}
static void ws_closed(void *ctx, const struct wsc_end *end)
{
    (void)ctx;
    ws.closed = true;
    ws.status = end->status;
    ws.code = end->code;
    snprintf(ws.body, sizeof(ws.body), "%.*s", (int)end->body.len, end->body.p);
}

static void ws_begin(const char *path)
{
    static const struct wsc_user user = {
        .open = ws_open, .message = ws_message, .closed = ws_closed};
    struct err e = {0};
    struct wsc_options o = {.target = target, .host = "localhost", .path = slice_of(path)};
    memset(&ws, 0, sizeof(ws));
    assert_int_equal(wsc_open(&ws.w, loop, &o, &user, NULL, &e), 0);
}

static void ws_until(const char *got)
{
    for (int i = 0; strstr(ws.got, got) == NULL && !ws.closed && i < STEPS_MAX; i++)
        (void)loop_run_once(loop, true);
    if (strstr(ws.got, got) == NULL)
        fail_msg("\"%s\", not %s", ws.got, got);
}

/* Nobody gets as far as to a console. */
static void ws_refused(const char *path, int want, const char *part)
{
    ws_begin(path);
    step_until(&ws.closed);
    if (ws.open || ws.status != want || strstr(ws.body, part) == NULL)
        fail_msg("%s: %d %s", path, ws.status, ws.body);
}

static void consoles(void **state)
{
    (void)state;
    ws_begin(W "web/console");
    ws_until("[1 login: ]");
    assert_string_equal(seen, "console web");
    assert_int_equal(wsc_send(ws.w, false, (struct slice){"\0", 1}, SLICE_LIT("root")), 0);
    ws_until("[1 root]");
    assert_int_equal(wsc_send(ws.w, false, (struct slice){"\0", 1}, SLICE_LIT("off")), 0);
    step_until(&ws.closed);
    ws_until("[4 {\"exit_code\":0,\"error\":null}]");
    assert_int_equal(ws.code, 1000);
    assert_int_equal(calls, 0);
    /* Somebody has it; and it is taken from him. */
    refuses = ERR_BUSY;
    ws_begin(W "web/console");
    step_until(&ws.closed);
    ws_until("[4 {\"exit_code\":-1,\"error\":\"somebody has it\"}]");
    refuses = 0;
    ws_begin(W "web/console?force=true&unknown=1");
    ws_until("[1 login: ]");
    assert_string_equal(seen, "console web by force");
    wsc_close(ws.w, 1000); /* who leaves gives it back */
    step_until(&ws.closed);
    for (int i = 0; i < 200 && calls > 0; i++)
        (void)loop_run_once(loop, false);
    assert_int_equal(calls, 0);
    ws_refused(W "none/console", 404, "'none' not found");
    ws_refused(W "still/console", 409, "'still' is not running");
    ws_refused(W "web/console?force=maybe", 400, "force \\\"maybe\\\" is neither true nor false");
    ops.console = NULL;
    ws_refused(W "web/console", 501, "the runtime has no consoles: fake");
}

/* gantryd stops while somebody looks at one (teardown sees that it ends). */
static void console_at_the_end(void **state)
{
    (void)state;
    ws_begin(W "web/console");
    ws_until("[1 login: ]");
    rest_drain(rest);
    step_until(&ws.closed);
    assert_int_equal(ws.code, 1012);
    ws_refused(W "web/console", 503, "");
}

/* --- the machine --- */

static void explained(const char *part)
{
    assert_true(ask(GET, "/v1/explain/node", NULL));
    expect(200, part);
}

static void the_node(void **state)
{
    (void)state;
    explained(
        "{\"kind\":\"node\",\"id\":\"node-1\",\"is\":\"It is ready, and has 2 workloads, 1 of "
        "them running.\",\"should_be\":\"It should serve requests and keep its workloads as "
        "they are wanted.\",\"why\":\"It is as it should be.\",\"since\":\"20");
    expect(200,
           "\"next\":\"Nothing has to be done.\",\"next_at\":null,\"asked_by\":\"the "
           "configuration\",\"waits_for\":[],\"state\":\"ready\",\"drain\":{\"draining\":false,"
           "\"refuses_new\":false},\"store\":{\"ok\":true,\"detail\":\"in good order; what is "
           "accepted is on the disk\",\"failures\":0},\"control\":{\"state\":\"off\"}");
    expect(200,
           "\"drivers\":[{\"type\":\"container\",\"name\":\"fake\",\"available\":true},"
           "{\"type\":\"compose\",\"available\":false,\"reason\":\"compose.enabled is false\"},"
           "{\"type\":\"vm\",\"available\":false,\"reason\":\"vm.enabled is false\"}],"
           "\"workloads\":{\"pending\":0,\"running\":1,\"stopped\":1,");
    detail_text = "kvm";
    explained("\"name\":\"fake\",\"available\":true,\"detail\":\"kvm\"}");
    condition_text = "no Compose tool";
    explained("\"available\":false,\"detail\":\"kvm\",\"reason\":\"no Compose tool\"}");
}

static void the_scheduler(void **state)
{
    (void)state;
    link_now = (struct node_link_view){.state = NODE_LINK_REGISTERED,
                                       .address = "s:8085",
                                       .endpoint = "n:50051",
                                       .error = "",
                                       .next_ns = 1800000000000000000};
    explained("\"next\":\"The next heartbeat.\",\"next_at\":\"2027-01-15T08:00:00.000000Z\"");
    expect(200, "\"state\":\"ready\"");
    link_now.draining = true;
    link_now.draining_ns = 1800000000000000000;
    explained("\"should_be\":\"It should serve requests and keep its workloads as they are wanted, "
              "and be drained.\"");
    expect(200, "\"since\":\"2027-01-15T08:00:00.000000Z\"");
    expect(200, "\"asked_by\":\"the scheduler at s:8085\"");
    expect(200, "\"state\":\"draining\",\"drain\":{\"draining\":true,\"refuses_new\":false,"
                "\"reason\":\"the scheduler at s:8085 drains this node; new workloads are still "
                "taken\",\"since\":\"2027-01-15T08:00:00.000000Z\"}");
    link_now.refusing = true;
    explained("new workloads are refused\"");
    link_now = (struct node_link_view){.state = NODE_LINK_WAITING,
                                       .address = "s:8085",
                                       .endpoint = "",
                                       .failures = 3,
                                       .error = "Heartbeat: cannot be reached",
                                       .next_ns = 1800000000000000000};
    explained("\"why\":\"scheduler: Heartbeat: cannot be reached\"");
    expect(
        200,
        "\"next\":\"The scheduler is asked again.\",\"next_at\":\"2027-01-15T08:00:00.000000Z\"");
    expect(200, "\"waits_for\":[\"scheduler\"],\"state\":\"degraded\"");
}

static void what_is_amiss(void **state)
{
    (void)state;
    rest_note_config(rest, false, "reload refused: 3 faults");
    explained("\"why\":\"configuration: reload refused: 3 faults\"");
    expect(200, "\"waits_for\":[\"configuration\"],\"state\":\"degraded\"");
    rest_drain(rest);
    explained("\"state\":\"stopping\"");
    expect(200, "configuration: reload refused: 3 faults; draining: gantryd is stopping");
    expect(200, "\"next\":\"It ends when what is under way is over.\",\"next_at\":null");
}

int main(void)
{
    json_in_init();
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(snapshots), TEST(no_memory),     TEST(consoles),     TEST(console_at_the_end),
        TEST(the_node),  TEST(the_scheduler), TEST(what_is_amiss)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
