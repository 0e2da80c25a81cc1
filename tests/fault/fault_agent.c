/* The agent's API on a real server: each allocation failing in turn in each call, no descriptors
 * left, no room for a run script. It never dies, leaks or gets stuck, no file is left half-written,
 * and it serves again afterwards. */
#include "../unit/s6/s6_rig.h"

#include "api/agent/agent.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "net/server.h"
#include "s6/profile.h"

#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct rig {
    struct loop *loop;
    struct server *server;
    struct agent *agent;
    struct buf in; /* what the client got */
    char socket[100], tool[100];
    struct profile_layout profiles;
} rig;
static pid_t service;

static void put_file(const char *rest, const char *text)
{
    rig_write(rig_path("%s", rest), text);
}

static int setup(void **state)
{
    uint8_t b[43];
    static const char *const dirs[] = {
        "scan",    "log", "log/svc", "src",           "src/svc",
        "scan/rc", "run", "home",    "home/profiles", "home/profiles/coder"};
    if (rig_setup(state) != 0)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        rig_mkdir(rig_path("%s", dirs[i]));
    service = rig_supervise(rig_path("scan/svc"));
    rig_put_status(rig_path("scan/svc"), b, rig_status(b, 1700000000, 0, 1700000000, 5, 0, 0, 12));
    put_file("scan/rc/producer-for", "x\n");
    put_file("log/svc/current", "one\ntwo\n");
    put_file("src/svc/run", "#!/bin/sh\nold\n");
    put_file("s6-rc", "#!/bin/sh\nexit 0\n");
    put_file("home/profiles/coder/profile.yaml", "#\n");
    put_file("home/profiles/coder/gateway_state.json", "{\"gateway_state\":\"running\"}");
    (void)snprintf(rig.tool, sizeof(rig.tool), "%s/s6-rc", rig_dir);
    (void)snprintf(rig.socket, sizeof(rig.socket), "%s/agent.sock", rig_dir);
    return chmod(rig.tool, 0755);
}

static int teardown(void **state)
{
    rig_unsupervise(service);
    return rig_teardown(state);
}

static void serve(void)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options s = {.limits = http_limits_default};
    struct agent_options a = {.rc_tool = rig.tool};
    struct listener_options l = {.unix_path = rig.socket,
                                 .unix_mode = 0600,
                                 .unix_gid = (gid_t)-1,
                                 .protocols = protocols,
                                 .handler = agent_handle};
    assert_int_equal(profile_layout_init(&rig.profiles, "plain", NULL), 0);
    (void)snprintf(rig.profiles.home, sizeof(rig.profiles.home), "%s/home", rig_dir);
    (void)snprintf(rig.profiles.scandir, sizeof(rig.profiles.scandir), "%s/scan", rig_dir);
    rig.profiles.uid = geteuid(); /* who owns the folders that the test made */
    rig.profiles.gid = getegid();
    a.profiles = &rig.profiles;
    a.scandir = rig_path("scan");
    a.log_dir = rig_path("log");
    a.source_dir = rig_path("src");
    a.run_dir = rig_path("run");
    a.backup_dir = rig_path("backups");
    s.limits.max_queue = 16u << 20;
    assert_int_equal(loop_new(&rig.loop, &clock_system, NULL), 0);
    assert_int_equal(agent_new(&rig.agent, rig.loop, &a, NULL), 0);
    assert_int_equal(server_new(&rig.server, rig.loop, &s, NULL), 0);
    l.ctx = rig.agent;
    assert_int_equal(server_listen(rig.server, &l, NULL, NULL), 0);
    buf_init(&rig.in, 32u << 20);
    assert_int_equal(buf_reserve(&rig.in, 16u << 20), 0);
}

static void on_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void unserve(void)
{
    bool done = false;
    agent_drain(rig.agent);
    server_drain(rig.server, 200, on_drained, &done);
    while (!done)
        (void)loop_run_once(rig.loop, true);
    server_free(rig.server);
    agent_free(rig.agent);
    while (loop_run_once(rig.loop, true))
        ;
    loop_free(rig.loop);
    buf_done(&rig.in);
}

static int dial(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, rig.socket, strlen(rig.socket) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

/* True once the answer is whole; `until` (may be NULL) is the text that ends an answer without a
 * length. */
static bool is_whole(const char *until)
{
    const char *text = rig.in.data ? rig.in.data : "";
    const char *end = strstr(text, "\r\n\r\n"), *len = strstr(text, "content-length: ");
    if (until != NULL && (strstr(text, until) != NULL || strstr(text, "\r\n0\r\n\r\n") != NULL))
        return true; /* the last chunk: ended before its time, but properly */
    return end != NULL && len != NULL && len < end &&
           rig.in.len >= (size_t)(end + 4 - text) + strtoul(len + 16, NULL, 10);
}

/* Sends and takes the answer. False: neither an answer nor an end within the time. */
static bool talk(int fd, const char *request, const char *until)
{
    uint64_t start = clock_mono_ms(&clock_system);
    buf_clear(&rig.in);
    (void)send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (!is_whole(until)) {
        char b[65536];
        (void)loop_run_once(rig.loop, false);
        ssize_t n = recv(fd, b, sizeof(b), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return true;
        if (n > 0)
            (void)buf_add(&rig.in, b, (size_t)n);
        else if (clock_mono_ms(&clock_system) - start > 8000)
            return false;
        else
            (void)poll(&(struct pollfd){fd, POLLIN, 0}, 1, 1);
    }
    return true;
}

static bool got(const char *text)
{
    return rig.in.len > 0 && strstr(rig.in.data, text) != NULL;
}

#define HEAD " HTTP/1.1\r\nHost: agent\r\n"
#define BODY(text, len)                                                                            \
    HEAD "Content-Type: application/json\r\nContent-Length: " #len "\r\n\r\n" text

static const struct call {
    const char *request, *until, *want;
} calls[] = {
    {"GET /" HEAD "\r\n", NULL, "s6 Agent API"},
    {"GET /services" HEAD "\r\n", NULL, "[\"svc\"]"},
    {"GET /services/svc/status" HEAD "\r\n", NULL, "up (pid 5)"},
    {"GET /services/status" HEAD "\r\n", NULL, "up (pid 5)"},
    {"GET /services/none/status" HEAD "\r\n", NULL, "404 Not Found"},
    {"GET /services/%2e%2e/status" HEAD "\r\n", NULL, "404 Not Found"},
    {"POST /services/svc" BODY("{\"action\":\"up\"}", 15), NULL, "\"result\":\"ok\""},
    {"POST /services/rc" BODY("{\"action\":\"up\"}", 15), NULL, "\"result\":\"ok\""},
    {"POST /services/svc" BODY("{\"action\":\"xx\"}", 15), NULL, "422 "},
    {"POST /services/svc" BODY("{\"action\":\"up\",\"launch_args\":{\"a\":\"b c\"}}", 41), NULL,
     "\"result\":\"ok\""},
    {"GET /services/svc/logs?tail=5" HEAD "\r\n", NULL, "one\\ntwo\\n"},
    {"GET /services/svc/logs?cursor=4&strip_ansi=1" HEAD "\r\n", NULL, "\"logs\":\"two\\n"},
    {"GET /services/svc/logs?cursor=x" HEAD "\r\n", NULL, "422 "},
    {"GET /services/svc/logs?follow=true" HEAD "\r\n", "event: logs", "one\\ntwo\\n"},
    {"GET /services/svc/logs?follow=true&cursor=g1-1-1-1-1-1-" HEAD "\r\n", "event: logs",
     "event: gap"},
    {"GET /services/svc/logs?follow=1&cursor=4" HEAD "\r\n", "event: logs", "\"two\\n\""},
    {"GET /services/later/logs?follow=true" HEAD "\r\n", "\r\n\r\n", "text/event-stream"},
    {"GET /services/events" HEAD "\r\n", "event: status", "up (pid 5)"},
    {"GET /services/svc/run" HEAD "\r\n", NULL, "#!/bin/sh"},
    {"PUT /services/svc/run" BODY("{\"content\":\"#!/bin/sh\\nnew\\n\"}", 30), NULL, "new"},
    {"PUT /services/svc/run" HEAD "If-Match: \"no\"\r\nContent-Type: application/json\r\n"
     "Content-Length: 15\r\n\r\n{\"content\":\"x\"}",
     NULL, "412 "},
    {"POST /services/svc/run/revert" HEAD "\r\n", NULL, "\"content\":"},
    {"GET /services/svc/run/backups" HEAD "\r\n", NULL, "\"backups\":[{"},
    {"DELETE /services/gone/logs" HEAD "\r\n", NULL, "404 Not Found"},
    {"GET /services/gateway-coder/logs?follow=true" HEAD "\r\n", "\r\n\r\n", "text/event-stream"},
    {"GET /profiles" HEAD "\r\n", NULL, "\"gateway_state\":\"running\""},
    {"GET /profiles/coder/gateway" HEAD "\r\n", NULL, "\"reason\":\"not_registered\""},
    {"GET /profiles/none/gateway" HEAD "\r\n", NULL, "404 Not Found"},
    {"POST /profiles" BODY("{\"name\":\"coder\",\"env\":{\"A\":\"b\"}}", 32), NULL, "409 "},
    {"POST /profiles" BODY("{\"name\":\"_\"}", 12), NULL, "400 "},
    {"POST /profiles/coder/gateway" BODY("{\"action\":\"stop\",\"wait\":1}", 26), NULL,
     "404 Not Found"},
    {"DELETE /profiles/none" HEAD "\r\n", NULL, "404 Not Found"},
};

static void check_script(void)
{
    char text[64] = "";
    int fd = open(rig_path("src/svc/run"), O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    if (strcmp(text, "#!/bin/sh\nold\n") != 0 && strcmp(text, "#!/bin/sh\nnew\n") != 0)
        fail_msg("half a script: \"%s\"", text);
}

/* False when no allocation was left to fail. */
static bool fail_one(const struct call *c, uint64_t n, bool sticky)
{
    serve();
    int fd = dial();
    mem_fail_at(n, sticky);
    bool ended = talk(fd, c->request, c->until);
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    close(fd);
    if (!ended)
        fail_msg("stuck after failure %d%s: %s", (int)n, sticky ? " and all later" : "",
                 c->request);
    if (!hit && !got(c->want))
        fail_msg("without a failure: %s%s", c->request, rig.in.data);
    check_script();
    fd = dial();
    assert_true(talk(fd, "GET /services/svc/status" HEAD "\r\n", NULL));
    if (!got("up (pid 5)"))
        fail_msg("not served after failure %d: %s", (int)n, c->request);
    close(fd);
    unserve();
    return hit;
}

static void test_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        for (int sticky = 0; sticky < 2; sticky++)
            for (uint64_t n = 1; fail_one(&calls[i], n, sticky == 1); n++)
                assert_true(n < 500);
}

static void test_making_an_agent(void **state)
{
    (void)state;
    struct profile_layout profiles;
    assert_int_equal(profile_layout_init(&profiles, NULL, NULL), 0);
    struct agent_options o = {.scandir = "/x",
                              .log_dir = "/y",
                              .source_dir = "/z",
                              .backup_dir = "/b",
                              .profiles = &profiles};
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct loop *l = NULL;
        struct agent *a = NULL;
        assert_int_equal(loop_new(&l, &clock_system, NULL), 0);
        mem_fail_at(n, true);
        int rc = agent_new(&a, l, &o, NULL);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        agent_free(a);
        while (loop_run_once(l, true))
            ;
        loop_free(l);
    }
}

static void test_no_descriptors(void **state)
{
    (void)state;
    static int spare[65536];
    struct rlimit was, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = 64;
    serve();
    int fd[ARRAY_LEN(calls)];
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        fd[i] = dial(); /* accepted while there are descriptors */
        assert_true(talk(fd[i], "GET /" HEAD "\r\n", NULL));
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    size_t n = 0;
    while (n < ARRAY_LEN(spare) && (spare[n] = dup(0)) >= 0)
        n++;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        assert_true(talk(fd[i], calls[i].request, calls[i].until ? "\r\n\r\n" : NULL));
        if (!got("HTTP/1.1 "))
            fail_msg("no answer without descriptors: %s", calls[i].request);
    }
    while (n > 0)
        close(spare[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    check_script();
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        close(fd[i]);
    int again = dial();
    assert_true(talk(again, "GET /services/svc/status" HEAD "\r\n", NULL) && got("up (pid 5)"));
    close(again);
    unserve();
}

static void test_no_room(void **state)
{
    (void)state;
    struct rlimit was, few;
    size_t size = 100000;
    char *body = malloc(size + 400);
    int n = snprintf(body, 300,
                     "PUT /services/svc/run" HEAD "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n{\"content\":\"",
                     size + 14);
    memset(body + n, 'x', size);
    memcpy(body + n + size, "\"}", 3);
    serve();
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    few = was;
    few.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
    int fd = dial();
    assert_true(talk(fd, body, NULL));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_true(got("HTTP/1.1 500") || got("HTTP/1.1 507"));
    check_script();
    struct stat st;
    assert_int_equal(stat(rig_path("src/svc"), &st), 0);
    assert_true(talk(fd, body, NULL) && got("HTTP/1.1 200"));
    close(fd);
    free(body);
    unserve();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_making_an_agent),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
    };
    json_in_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
