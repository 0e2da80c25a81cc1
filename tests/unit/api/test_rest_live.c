/* Logs, stats and programs of workloads, over a real server, with an engine in memory and a runtime
 * that does what its script says. */
#include "../core/engine_rig.h"

#include "api/rest/rest.h"
#include "net/client.h"
#include "net/server.h"

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

/* --- the runtime --- */

struct driver_call {
    struct driver_logs_user logs;
    struct driver_exec_user exec;
    void *ctx;
    int64_t tail, since_ns;
    bool follow, cancelled, forever;
    size_t flood; /* bytes of output, or lines of a log */
};
static int calls; /* under way */
static int64_t seen_tail, seen_since;
static bool seen_pause;
static char seen_argv[200], seen_env[200], seen_user[40];
static int cpu_misses;
static int usages;

static void call_free(void *ctx)
{
    struct driver_call *c = ctx;
    calls--;
    mem_free(c);
}

static void logs_go(void *ctx)
{
    struct driver_call *c = ctx;
    if (!c->cancelled)
        c->logs.line(c->ctx, DRIVER_STDOUT, 1800000000123456789, SLICE_LIT("one"));
    for (size_t i = 0; i < c->flood && !c->cancelled; i++)
        c->logs.line(c->ctx, DRIVER_STDOUT, 0,
                     SLICE_LIT("0123456789012345678901234567890123456789"));
    if (!c->cancelled)
        c->logs.line(c->ctx, DRIVER_STDERR, 0, SLICE_LIT("t\xffo"));
    if (c->cancelled || !c->forever) {
        if (!c->cancelled)
            c->logs.done(c->ctx, NULL);
        call_free(c);
    }
}

static int dr_logs(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                   void *ctx, struct driver_call **ret, struct err *e)
{
    (void)self;
    struct driver_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL || loop_defer(loop, logs_go, c) != 0) {
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    calls++;
    c->logs = *u;
    c->ctx = ctx;
    c->flood = o->tail == 7 ? 300000 : 0;
    c->forever = o->tail == 8;
    seen_tail = o->tail;
    seen_since = o->since_ns;
    *ret = c;
    return 0;
}

static void dr_pause(struct driver_call *c, bool paused)
{
    (void)c;
    seen_pause = seen_pause || paused;
}

static void exec_go(void *ctx)
{
    struct driver_call *c = ctx;
    char text[1000];
    memset(text, 'x', sizeof(text));
    if (!c->cancelled)
        c->exec.output(c->ctx, DRIVER_STDOUT, SLICE_LIT("out\xff"));
    for (size_t n = 0; n < c->flood && !c->cancelled; n += sizeof(text))
        c->exec.output(c->ctx, DRIVER_STDERR, (struct slice){text, sizeof(text)});
    if (c->cancelled || !c->forever) {
        if (!c->cancelled)
            c->exec.done(c->ctx, NULL, 7);
        call_free(c);
    }
}

static int dr_exec(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                   void *ctx, struct driver_call **ret, struct err *e)
{
    (void)self;
    if (strcmp(o->argv[0], "refused") == 0)
        return err_set(e, ERR_STATE, "no");
    struct driver_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL || loop_defer(loop, exec_go, c) != 0) {
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    calls++;
    c->exec = *u;
    c->ctx = ctx;
    c->forever = strcmp(o->argv[0], "forever") == 0;
    c->flood = strcmp(o->argv[0], "flood") == 0 ? 3u << 20 : 0;
    struct buf a = BUF_FIXED(seen_argv), v = BUF_FIXED(seen_env);
    for (size_t i = 0; o->argv[i] != NULL; i++)
        buf_addf(&a, "[%s]", o->argv[i]);
    for (size_t i = 0; o->env != NULL && o->env[i] != NULL; i++)
        buf_addf(&v, "[%s]", o->env[i]);
    snprintf(seen_user, sizeof(seen_user), "%s", o->user != NULL ? o->user : "-");
    *ret = c;
    return 0;
}

static void dr_cancel(struct driver_call *c)
{
    if (c->forever && !c->cancelled) {
        c->cancelled = true;
        call_free(c);
        return;
    }
    c->cancelled = true; /* what is deferred frees it */
}

struct sample {
    driver_usage_fn fn;
    void *ctx;
};

static void usage_go(void *ctx)
{
    struct sample *s = ctx;
    const struct driver_usage u = {.id = SLICE_LIT("a"),
                                   .cpu_percent = ++usages <= cpu_misses ? -1 : 12.5,
                                   .memory_bytes = 4096,
                                   .disk_read_bytes = -1,
                                   .disk_write_bytes = -1,
                                   .net_rx_bytes = -1,
                                   .net_tx_bytes = -1,
                                   .source = "fake"};
    s->fn(s->ctx, NULL, &u);
    mem_free(s);
}

static int dr_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    (void)self;
    (void)id;
    struct sample *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    *s = (struct sample){fn, ctx};
    if (loop_defer(loop, usage_go, s) == 0)
        return 0;
    mem_free(s);
    return ERR_NO_MEMORY;
}

/* --- the rig --- */

static const struct protocol *const protocols[] = {&protocol_http1, NULL};

static int setup(void **state)
{
    (void)state;
    struct err e = {0};
    rig_init(&core);
    rig_open(&core);
    struct driver *d = (struct driver *)engine_driver(core.g, WORKLOAD_CONTAINER);
    ops = *d->ops;
    ops.logs = dr_logs;
    ops.logs_pause = dr_pause;
    ops.exec = dr_exec;
    ops.cancel_call = dr_cancel;
    ops.usage = dr_usage;
    d->ops = &ops;
    (void)rig_apply(&core, "web", "1", NULL);
    (void)rig_apply(&core, "still", "1", NULL);
    (void)rig_stop(&core, "still", "1", NULL);
    rig_pass(&core, 5000);
    assert_state(&core, "web", ACTUAL_RUNNING);
    calls = usages = 0;
    cpu_misses = 0;
    seen_pause = false;
    assert_int_equal(loop_new(&loop, &clock_system, &e), 0);
    struct server_options so = {.limits = http_limits_default};
    assert_int_equal(server_new(&server, loop, &so, &e), 0);
    assert_int_equal(agent_set_new(&agents, loop, &(struct agent_set_options){0}, &e), 0);
    assert_int_equal(log_hub_new(&hub, loop, &e), 0);
    struct rest_options ro = {.loop = loop,
                              .agents = agents,
                              .hub = hub,
                              .engine = core.g,
                              .events = core.events,
                              .tasks = core.tasks};
    assert_int_equal(rest_new(&rest, &ro, &e), 0);
    struct listener *li;
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = rest_handle, .ctx = rest};
    assert_int_equal(server_listen(server, &lo, &li, &e), 0);
    struct client_options co = {.target = {.host = "127.0.0.1", .port = listener_port(li)},
                                .host = "localhost"};
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
static char text[16u << 20];

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

static bool ask(enum http_method m, const char *target, const char *body)
{
    struct client_request q = {.method = m,
                               .target = slice_of(target),
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
        fail_msg("%d %.300s, not %d with %s", status, text, want, part);
}

#define W "/v1/workloads/"
#define GET HTTP_METHOD_GET
#define POST HTTP_METHOD_POST
static const struct {
    enum http_method method;
    const char *target, *body;
    int status;
    const char *text;
} rows[] = {
    {GET, W "web/logs", NULL, 200,
     "{\"id\":\"web\",\"lines\":[{\"time\":\"2027-01-15T08:00:00.123456789Z\",\"stream\":"
     "\"stdout\","
     "\"text\":\"one\"},{\"time\":null,\"stream\":\"stderr\",\"text\":\"t\xef\xbf\xbdo\"}],"
     "\"cut\":false}"},
    {GET, W "web/logs?follow=true", NULL, 200,
     "id: 2027-01-15T08:00:00.123456789Z\nevent: line\ndata: {\"time\":\"2027-01-15T08:00:00."
     "123456789Z\",\"stream\":\"stdout\",\"text\":\"one\"}\n\nevent: line\ndata: {\"time\":null,"
     "\"stream\":\"stderr\",\"text\":\"t\xef\xbf\xbdo\"}\n\nevent: end\ndata: "
     "{\"error\":null}\n\n"},
    {GET, W "web/stats", NULL, 200, "{\"cpu_percent\":"},
    {POST, W "web/exec", "{\"command\":[\"ls\",\"-l\"],\"env\":{\"A\":\"b=c\"},\"user\":\"me\"}",
     200, "{\"exit_code\":7,\"stdout\":\"out\xef\xbf\xbd\",\"stderr\":\"\",\"truncated\":false}"},
    {GET, W "none/logs", NULL, 404, "'none' not found"},
    {GET, W "none/stats", NULL, 404, "'none' not found"},
    {POST, W "none/exec", "{\"command\":[\"a\"]}", 404, "'none' not found"},
    {GET, W "still/stats", NULL, 409, "'still' is not running"},
    {POST, W "still/exec", "{\"command\":[\"a\"]}", 409, "'still' is not running"},
    {POST, W "web/exec", "{\"command\":[\"refused\"]}", 409, "\"no\""},
    {POST, W "web/exec", "{\"command\":[]}", 400, "names no program"},
    {POST, W "web/exec", "{\"command\":[\"\"]}", 400, "names no program"},
    {POST, W "web/exec", "{\"command\":[\"a\\u0000b\"]}", 400, "part 1 of the command has a NUL"},
    {POST, W "web/exec", "{\"command\":[\"a\"],\"timeout\":3601}", 400, "timeout \\\"3601\\\""},
    {POST, W "web/exec", "{\"command\":[\"a\"],\"env\":{\"B=\":\"\"}}", 400,
     "no name of a variable"},
    {POST, W "web/exec", "{\"command\":[\"forever\"],\"timeout\":1}", 504, "within 1 s"},
    {GET, W "web/logs?tail=ten", NULL, 400, "tail \\\"ten\\\""},
    {GET, W "web/logs?since=2026-02-3", NULL, 400, "since \\\"2026-02-3\\\""},
    {GET, W "web/logs?since=2026-1300", NULL, 400, "since"},
};

static void all_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(ask(rows[i].method, rows[i].target, rows[i].body));
        if (status != rows[i].status || strstr(text, rows[i].text) == NULL)
            fail_msg("%s %s: %d %.300s", rows[i].target, rows[i].body, status, text);
    }
    assert_true(ask(POST, W "web/exec", rows[3].body));
    assert_string_equal(seen_argv, "[ls][-l]");
    assert_string_equal(seen_env, "[A=b=c]");
    assert_string_equal(seen_user, "me");
}

static void which_lines(void **state)
{
    (void)state;
    assert_true(ask(GET, W "web/logs", NULL));
    assert_int_equal(seen_tail, 100);
    assert_int_equal(seen_since, 0);
    assert_true(ask(GET, W "web/logs?tail=all&since=2027-01-15T08:00:00.5Z", NULL));
    assert_int_equal(seen_tail, -1);
    assert_true(seen_since == 1800000000500000000);
    assert_true(ask(GET, W "web/logs?tail=-1&since=2027-01", NULL));
    assert_true(seen_since == (int64_t)1798761600 * 1000000000);
    struct http_header last = {SLICE_LIT("last-event-id"),
                               SLICE_LIT("2027-01-15T08:00:00.123456789Z")};
    struct client_request q = {.method = GET,
                               .target = SLICE_LIT(W "web/logs?follow=true"),
                               .headers = &last,
                               .n_headers = 1};
    done = false;
    assert_int_equal(client_fetch(pool, &q, answered, NULL, NULL, NULL), 0);
    step_until(&done);
    assert_int_equal(seen_tail, -1);
    assert_true(seen_since == 1800000000123456790); /* behind that line */
    last.value = SLICE_LIT("17");
    done = false;
    assert_int_equal(client_fetch(pool, &q, answered, NULL, NULL, NULL), 0);
    step_until(&done);
    expect(400, "no id of this stream");
}

static void too_much(void **state)
{
    (void)state;
    assert_true(ask(GET, W "web/logs?tail=7", NULL));
    assert_int_equal(status, 200);
    size_t n = strlen(text);
    assert_true(n > 7u << 20 && n < (8u << 20) + 4096);
    assert_true(strncmp(text, "{\"id\":\"web\",\"lines\":[{\"time\":null", 33) == 0);
    assert_string_equal(text + n - 14, "}],\"cut\":true}");
    assert_true(
        ask(GET, W "web/logs?tail=7&follow=true", NULL)); /* it goes on; the test ignores it */
    assert_true(seen_pause);
    assert_true(ask(POST, W "web/exec", "{\"command\":[\"flood\"]}"));
    expect(200, "\"truncated\":true");
    n = strlen(text);
    assert_true(n > 1u << 20 && n < (1u << 20) + 200);
}

static void the_second_sample_has_the_cpu(void **state)
{
    (void)state;
    cpu_misses = 1;
    assert_true(ask(GET, W "web/stats", NULL));
    expect(200, "{\"cpu_percent\":12.5,\"memory_bytes\":4096,");
    assert_int_equal(usages, 2);
    usages = 0;
    cpu_misses = 100; /* it cannot be told: no more than four are asked for */
    assert_true(ask(GET, W "web/stats", NULL));
    expect(200, "{\"memory_bytes\":4096,");
    assert_int_equal(usages, 4);
}

/* The client leaves, or gantryd stops, in the middle: the runtime's calls end (teardown looks). */
static void left_alone(void **state)
{
    (void)state;
    static const struct client_request asks[] = {
        {.target = SLICE_LIT(W "web/logs?tail=8&follow=true"), .idle_ms = UINT64_MAX},
        {.target = SLICE_LIT(W "web/logs?tail=8")},
        {.method = POST,
         .target = SLICE_LIT(W "web/exec"),
         .body = SLICE_LIT("{\"command\":[\"forever\"]}")},
    };
    for (size_t round = 0; round < 2; round++) {
        struct client_call *c[ARRAY_LEN(asks)];
        for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
            struct client_request q = asks[i];
            q.method = i == 2 ? POST : GET;
            assert_int_equal(client_fetch(pool, &q, answered, NULL, &c[i], NULL), 0);
        }
        for (int i = 0; i < 200 && calls < 3; i++)
            (void)loop_run_once(loop, true);
        for (int i = 0; i < 20; i++)
            (void)loop_run_once(loop, false);
        assert_int_equal(calls, 3);
        if (round == 1)
            break;
        for (size_t i = 0; i < ARRAY_LEN(asks); i++)
            client_cancel(c[i]);
        for (int i = 0; i < 200 && calls > 0; i++)
            (void)loop_run_once(loop, true);
        assert_int_equal(calls, 0);
    }
}

static void no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (uint64_t n = 1; n < 600; n++) {
            mem_fail_at(n, false);
            bool sent = ask(rows[i].method, rows[i].target, rows[i].body);
            bool hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (sent && code == 0 && status != 200 && status != 503 && status != 413)
                fail_msg("%s, allocation %d: %d %.200s", rows[i].target, (int)n, status, text);
            if (!hit)
                break;
        }
        assert_true(ask(rows[i].method, rows[i].target, rows[i].body));
        expect(200, rows[i].text); /* it has recovered */
        for (int k = 0; k < 50 && calls > 0; k++)
            (void)loop_run_once(loop, false);
        assert_int_equal(calls, 0);
    }
}

int main(void)
{
    json_in_init();
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(all_calls),  TEST(which_lines),
                                       TEST(too_much),   TEST(the_second_sample_has_the_cpu),
                                       TEST(left_alone), TEST(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
