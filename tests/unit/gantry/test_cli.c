/* The whole CLI against a small server that answers as gantryd does, in a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli_server.h"

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "net/exchange.h"
#include "net/server.h"
#include "net/sse.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/gantry-cli-XXXXXX";
static char host[64]; /* "unix:<dir>/s" */
static const char *program;
static pid_t server_pid;

/* --- the server ----------------------------------------------------------------------------- */

struct canned {
    const char *method, *target;
    int status;
    const char *body;
};

#define SERVICES "/containers/robot/services"
static const struct canned answers[] = {
    {"GET", "/containers", 200,
     "{\"containers\":[{\"name\":\"robot\",\"socket_path\":\"/agents/robot.sock\"},"
     "{\"name\":\"\xe6\x97\xa5\",\"socket_path\":\"/b\\u001b[2J\"}]}"},
    {"GET", SERVICES, 200,
     "{\"container\":\"robot\",\"services\":[{\"id\":\"web\",\"label\":\"Web page\"}]}"},
    {"GET", SERVICES "/status", 200,
     "{\"container\":\"robot\",\"statuses\":[{\"service\":\"web\",\"service_label\":\"Web "
     "page\",\"name\":\"web\","
     "\"raw\":\"up (pid 7) 192 seconds, ready 1 "
     "seconds\",\"is_up\":true,\"pid\":7,\"uptime_seconds\":192},"
     "{\"service\":\"bad\",\"service_label\":\"bad\",\"name\":\"bad\","
     "\"raw\":\"down (exitcode 3) 0 seconds, want "
     "up\",\"is_up\":false,\"pid\":null,\"uptime_seconds\":null}]}"},
    {"GET", SERVICES "/a%20b%C3%A4%3F/status", 200,
     "{\"service\":\"a b\",\"is_up\":false,\"raw\":\"\",\"pid\":null,\"uptime_seconds\":null}"},
    {"POST", SERVICES "/web", 200, "{\"service\":\"web\",\"action\":\"up\",\"result\":\"ok\"}"},
    {"GET", SERVICES "/web/status", 200,
     "{\"service\":\"web\",\"is_up\":true,\"raw\":\"up (pid 7) 192 seconds\",\"pid\":7,"
     "\"uptime_seconds\":192}"},
    {"POST", SERVICES "/stuck", 200, "{\"service\":\"stuck\",\"result\":\"ok\"}"},
    {"GET", SERVICES "/stuck/status", 200,
     "{\"service\":\"stuck\",\"is_up\":false,\"raw\":\"down (exitcode 3) 0 seconds, want up\","
     "\"pid\":null,\"uptime_seconds\":null}"},
    {"GET", "/", 200, "{\"message\":\"Gantry API\",\"version\":\"9.9\"}"},
    {"GET", "/readyz", 503,
     "{\"ready\":false,\"checks\":[{\"name\":\"listeners\",\"ok\":true,\"required\":true,"
     "\"detail\":\"2 open\"},{\"name\":\"draining\",\"ok\":false,\"required\":true,"
     "\"detail\":\"stopping\"}]}"},
    {"GET", "/metrics", 200, "gantry_up 1\n"},
    {"GET", "/web/bashrc", 200, "{\"container\":\"web\",\"content\":\"alias x=y\\n\"}"},
    {"PUT", "/web/bashrc", 200, "{\"container\":\"web\",\"path\":\"/root/.bashrc\"}"},
    {"GET", "/docker/ai_worker/version", 200,
     "{\"container\":\"ai_worker\",\"current\":\"1.2\",\"latest\":\"unknown\"}"},
    {"PATCH", "/any?x=1", 200, "[1]"},
    {"GET", "/teapot", 400, "{\"error\":\"no\"}"},
    {"GET", "/secret", 403, "{\"error\":\"no\"}"},
    {"GET", "/docker/containers/gone/status", 404, "{\"error\":\"no such\"}"},
    {"POST", SERVICES "/locked", 403, "{\"error\":\"not\\nyours\",\"detail\":null}"},
    {"POST", SERVICES "/odd", 422,
     "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\"],\"msg\":\"Field required\"}]}"},
    {"POST", SERVICES "/gone", 503,
     "{\"error\":\"Failed to communicate with agent: Client error '404 Not Found' for url 'x'\\n"
     "For more information check: y\\nService 'gone' not found\",\"detail\":null}"},
    {"POST", SERVICES "/away", 503, "{\"error\":\"Failed to communicate with agent: no\"}"},
    {"POST", SERVICES "/html", 405, "<html>"},
    {"POST", SERVICES "/broken", 500, "Internal Server Error"},
    {"GET", SERVICES "/web/logs?tail=2", 200, "{\"logs\":\"one\\u001b[31m\\ntwo\",\"tail\":2}"},
    {"DELETE", SERVICES "/web/logs", 200, "{\"message\":\"Logs cleared successfully\"}"},
    {"GET", SERVICES "/web/run", 200,
     "{\"path\":\"/x/run\",\"content\":\"#!/bin/sh\\nexec true\\n\"}"},
    {"PUT", SERVICES "/web/run", 200, "{\"path\":\"/x/run\",\"content\":\"x\"}"},
    {"GET", "/docker/containers", 200, "{\"containers\":[]}"},
    {"GET", "/docker/containers?all=true", 200,
     "{\"containers\":[{\"id\":\"0123456789abcdef\",\"name\":\"zenoh\",\"status\":\"running\","
     "\"image\":\"\","
     "\"created\":\"2026-11-21T03:52:00.5Z\"}]}"},
    {"GET", "/docker/containers/zenoh/status", 200,
     "{\"id\":\"0123456789abcdef\",\"name\":\"zenoh\",\"status\":\"exited\",\"exit_code\":137,"
     "\"image\":\"z\","
     "\"started_at\":\"2026-11-21T03:52:00Z\",\"finished_at\":\"0001-01-01T00:00:00Z\"}"},
    {"POST", "/docker/containers/zenoh", 200, "{\"result\":\"ok\"}"},
    {"GET", "/docker/containers/zenoh/logs?tail=-1", 200, "{\"logs\":\"all\\n\",\"tail\":-1}"},
};

/* Follows: the first stream gives two lines and breaks, the second must resume behind them. */
static void follow(struct exchange *x, struct slice query)
{
    sse_start(x, NULL, 0);
    if (slice_eqs(query, "follow=true&tail=100")) {
        sse_send(x, SLICE_LIT("c1"), SLICE_LIT("logs"),
                 SLICE_LIT("{\"logs\":\"line 1\\n\",\"cursor\":\"c1\"}"));
        sse_send(x, SLICE_LIT("c/2"), SLICE_LIT("logs"),
                 SLICE_LIT("{\"logs\":\"line 2\\n\",\"cursor\":\"c/2\"}"));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("error"), SLICE_LIT("{\"error\":\"agent away\"}"));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("error"), SLICE_LIT("{\"error\":\"agent away\"}"));
        exchange_finish(x, NULL, 0);
    } else if (slice_eqs(query, "follow=true&cursor=c%2F2")) {
        sse_send(x, SLICE_LIT(""), SLICE_LIT("gap"), SLICE_LIT("{}"));
        sse_send(x, SLICE_LIT("c3"), SLICE_LIT("logs"),
                 SLICE_LIT("{\"logs\":\"line 3\\n\",\"cursor\":\"c3\"}"));
    } else {
        exchange_abort(x);
    }
}

static void on_closed(void *ctx, struct exchange *x, int err)
{
    (void)ctx;
    (void)x;
    (void)err;
}

/* Answers what it was asked in `seen`, so that bodies can be checked. */
static void with_body(void *ctx, struct exchange *x, int err, struct slice body)
{
    const struct canned *a = ctx;
    if (err != 0)
        return;
    char name[128];
    snprintf(name, sizeof name, "%s/seen", dir);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t n = write(fd, body.p, body.len);
        (void)n;
        close(fd);
    }
    exchange_respond(
        x, &(struct http_response){.status = a->status, .content_type = "application/json"},
        slice_of(a->body));
}

/* Tells what came with the request. */
static void echo(struct exchange *x, const struct http_request *r)
{
    static const struct http_header headers[] = {{SLICE_LIT("x-request-id"), SLICE_LIT("id-1")},
                                                 {SLICE_LIT("etag"), SLICE_LIT("\"tag\"")}};
    const struct http_header *a = http_find(r->headers, r->n_headers, "authorization");
    const struct http_header *m = http_find(r->headers, r->n_headers, "x-more");
    struct buf b = BUF_INIT(1024);
    buf_addlit(&b, "{\"authorization\":\"");
    if (a != NULL)
        buf_add(&b, a->value.p, a->value.len);
    buf_addlit(&b, "\",\"more\":\"");
    if (m != NULL)
        buf_add(&b, m->value.p, m->value.len);
    buf_addlit(&b, "\"}");
    exchange_respond(
        x,
        &(struct http_response){
            .status = 200, .content_type = "application/json", .headers = headers, .n_headers = 2},
        (struct slice){b.data, b.len});
    buf_done(&b);
}

static void serve(void *ctx, struct exchange *x)
{
    static const struct exchange_user user = {.closed = on_closed};
    const struct http_request *r = exchange_request(x);
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (slice_eqs(r->method_text, answers[i].method) &&
            slice_eqs(r->target, answers[i].target)) {
            exchange_collect(x, 1 << 20, with_body, (void *)&answers[i]);
            return;
        }
    if (slice_eqs(r->path, SERVICES "/web/logs") && slice_starts(r->query, "follow=true")) {
        exchange_set_user(x, &user, NULL);
        follow(x, r->query);
        return;
    }
    if (slice_eqs(r->path, "/echo")) {
        echo(x, r);
        return;
    }
    if (slice_eqs(r->path, "/slow")) { /* never an answer */
        exchange_set_user(x, &user, NULL);
        return;
    }
    if (slice_eqs(r->path, SERVICES "/dead/status")) {
        exchange_set_user(x, &user, NULL);
        exchange_abort(x);
        return;
    }
    exchange_respond(x, &(struct http_response){.status = 404, .content_type = "application/json"},
                     SLICE_LIT("{\"error\":\"Service 'nope' not found\",\"detail\":null}"));
}

static int start_server(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(host, sizeof host, "unix:%s/s", dir);
    server_pid = cli_server_start(host + 5, serve);
    return server_pid > 0 ? 0 : -1;
}

static int stop_server(void **state)
{
    char name[128];
    (void)state;
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    snprintf(name, sizeof name, "%s/seen", dir);
    unlink(name);
    unlink(host + 5);
    rmdir(dir);
    return 0;
}

/* --- running the CLI in this process -------------------------------------------------------- */

struct outcome {
    int code, sig;
    char out[8192], err[4096];
};

static void read_back(int fd, char *p, size_t n)
{
    ssize_t got = pread(fd, p, n - 1, 0);
    p[got > 0 ? got : 0] = '\0';
    close(fd);
}

static int scratch(void)
{
    char name[] = "/tmp/gantry-cli-out-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void run(struct outcome *o, const char *input, char **words)
{
    char *argv[16] = {"gantry", "--host", host};
    int n = 3;
    while (words[n - 3] != NULL && n < 15) {
        argv[n] = words[n - 3];
        n++;
    }
    int in = scratch(), out = scratch(), err = scratch();
    if (input != NULL)
        assert_int_equal(pwrite(in, input, strlen(input), 0), (ssize_t)strlen(input));
    *o = (struct outcome){0};
    o->code = cli_main(n, argv, &(struct cli_io){in, out, err}, &o->sig);
    close(in);
    read_back(out, o->out, sizeof o->out);
    read_back(err, o->err, sizeof o->err);
}
#define RUN(o, ...) run((o), NULL, (char *[]){__VA_ARGS__, NULL})

static void seen_body(char *p, size_t n)
{
    char name[128];
    snprintf(name, sizeof name, "%s/seen", dir);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    read_back(fd, p, n);
}

static void tables_of_answers(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "containers");
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out,
                        "NAME   SOCKET\nrobot  /agents/robot.sock\n\xe6\x97\xa5     /b^[[2J\n");
    RUN(&o, "services", "robot");
    assert_string_equal(o.out, "NAME  LABEL\nweb   Web page\n");
    RUN(&o, "status", "robot");
    assert_string_equal(o.out, "NAME  STATE  PID  UPTIME  LABEL     DETAIL\n"
                               "web   up     7    3m12s   Web page  ready 1 seconds\n"
                               "bad   down   -    -       bad       exitcode 3, want up\n");
    RUN(&o, "status", "robot", "a b\xc3\xa4?");
    assert_int_equal(o.code, EXIT_DONE);
    assert_non_null(strstr(o.out, "a b   down"));
}

static void json_is_the_servers(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "-o", "json", "services", "robot");
    assert_string_equal(
        o.out,
        "{\"container\":\"robot\",\"services\":[{\"id\":\"web\",\"label\":\"Web page\"}]}\n");
    RUN(&o, "-o", "xml", "services", "robot");
    assert_int_equal(o.code, EXIT_USAGE);
    assert_non_null(strstr(o.err, "\"xml\""));
}

static void control(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    RUN(&o, "up", "robot", "web");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "web: up: ok\n");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"up\"}");
    RUN(&o, "restart", "robot", "locked", "odd", "web"); /* the worst one counts; all are tried */
    assert_int_equal(o.code, EXIT_NOT_ALLOWED);
    assert_string_equal(o.out, "web: restart: ok\n");
    assert_non_null(strstr(o.err, "gantry: not yours (see: gantry whoami; an administrator gives "
                                  "rights with gantry token create)\n"));
    assert_non_null(strstr(o.err, "gantry: Field required\n"));
    RUN(&o, "up", "robot", "gone");
    assert_string_equal(o.err, "gantry: Service 'gone' not found (see: gantry containers, gantry "
                               "services CONTAINER)\n");
    RUN(&o, "up", "robot", "away");
    assert_non_null(strstr(o.err, "agent: no (is gantry-agent running in the container?)\n"));
    RUN(&o, "up", "robot", "html"); /* not gantryd */
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    RUN(&o, "up", "robot", "broken");
    assert_int_equal(o.code, EXIT_NO);
    RUN(&o, "up", "robot", "..");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "up", "robot", "a/b");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void logs(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "logs", "-n", "2", "robot", "web");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "one\033[31m\ntwo\n"); /* no terminal: as it is */
    RUN(&o, "logs", "--clear", "robot", "web");
    assert_string_equal(o.out, "Logs cleared successfully\n");
    RUN(&o, "logs", "--clear", "-f", "robot", "web");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "logs", "-n", "x", "robot", "web");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "logs", "-f", "robot", "nope");
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.err, "Service 'nope' not found"));
}

static void run_scripts(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    RUN(&o, "run-script", "robot", "web");
    assert_string_equal(o.out, "#!/bin/sh\nexec true\n");
    run(&o, "#!/bin/sh\necho \"\xc3\xa4\"\n",
        (char *[]){"run-script", "robot", "web", "--set", "-", NULL});
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "written: /x/run\n");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"content\":\"#!/bin/sh\\necho \\\"\xc3\xa4\\\"\\n\"}");
    run(&o, "\xff", (char *[]){"run-script", "robot", "web", "--set", "-", NULL});
    assert_int_equal(o.code, EXIT_USAGE);
    run(&o, " \n", (char *[]){"run-script", "robot", "web", "--set", "-", NULL});
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "run-script", "robot", "web", "--set", "/nonexistent/file");
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.err, "/nonexistent/file"));
}

static void docker(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    RUN(&o, "docker", "ps");
    assert_string_equal(o.out, "ID  NAME  STATUS  IMAGE  CREATED (UTC)\n");
    RUN(&o, "docker", "ps", "-a");
    assert_non_null(strstr(o.out, "0123456789ab  zenoh  running  -      2026-11-21 03:52:00\n"));
    RUN(&o, "docker", "status", "zenoh");
    assert_non_null(strstr(o.out, "exited  137   2026-11-21 03:52:00  -  "));
    RUN(&o, "docker", "stop", "-t", "3", "zenoh");
    assert_string_equal(o.out, "zenoh: stop: ok\n");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"stop\",\"timeout\":3}");
    RUN(&o, "docker", "start", "zenoh");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"start\"}");
    RUN(&o, "docker", "logs", "-n", "all", "zenoh");
    assert_string_equal(o.out, "all\n");
}

static void exit_codes(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "status", "robot", "nope");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.err, "gantry: Service 'nope' not found (see: gantry containers, gantry "
                               "services CONTAINER)\n");
    RUN(&o, "status", "robot", "dead");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    RUN(&o, "--host", "unix:/nonexistent/g.sock", "containers");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    assert_non_null(strstr(o.err, "/nonexistent/g.sock"));
    RUN(&o, "--host", "nonsense", "containers");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "--version");
    assert_int_equal(o.code, EXIT_DONE);
    assert_true(strncmp(o.out, "gantry " GANTRY_VERSION "\ncommit ",
                        sizeof("gantry " GANTRY_VERSION "\ncommit ") - 1) == 0);
    RUN(&o, "help", "docker", "stop");
    assert_int_equal(o.code, EXIT_DONE);
    assert_non_null(strstr(o.out, "--time"));
    RUN(&o, "help", "x");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "--help");
    assert_int_equal(o.code, EXIT_DONE);
}

static void formats(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "-o", "yaml", "services", "robot");
    assert_string_equal(o.out, "container: robot\nservices:\n  - id: web\n    label: Web page\n");
    RUN(&o, "-o", "yaml", "restart", "robot", "web", "web");
    assert_string_equal(o.out, "service: web\naction: up\nresult: ok\n---\n"
                               "service: web\naction: up\nresult: ok\n");
    RUN(&o, "services", "robot", "--no-headers");
    assert_string_equal(o.out, "web  Web page\n");
    RUN(&o, "docker", "ps", "-a", "-o", "wide");
    assert_non_null(strstr(o.out, "0123456789abcdef  zenoh"));
    assert_non_null(strstr(o.out, "2026-11-21T03:52:00.5Z"));
    RUN(&o, "status", "robot", "-o", "wide");
    assert_non_null(strstr(o.out, "  SECONDS  S6\n"));
    assert_non_null(strstr(o.out, "  192      up (pid 7) 192 seconds, ready 1 seconds\n"));
    RUN(&o, "containers", "-o", "wide");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.err, "");
    assert_string_equal(o.out, "NAME   SOCKET              AGENT  UP\n"
                               "robot  /agents/robot.sock  ok     1 of 2\n"
                               "\xe6\x97\xa5     /b^[[2J             away   -\n");
    RUN(&o, "services", "robot", "-o", "wide");
    assert_string_equal(o.out, "NAME  LABEL     STATE\nweb   Web page  up\n");
    RUN(&o, "status", "robot", "--colour=always");
    assert_non_null(strstr(o.out, "\033[32mup\033[0m"));
    RUN(&o, "status", "robot", "--colour=never");
    assert_null(strstr(o.out, "\033"));
}

static void raw_calls(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    RUN(&o, "api", "GET", "/containers");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.err, "");
    assert_non_null(strstr(o.out, "{\"containers\":[{\"name\":\"robot\""));
    RUN(&o, "api", "patch", "/any?x=1", "-d", "{\"a\":1}");
    assert_int_equal(o.code, EXIT_USAGE); /* methods are capital letters (RFC 9110, 9.1) */
    RUN(&o, "api", "PATCH", "/any?x=1", "-d", "{\"a\":1}");
    assert_string_equal(o.out, "[1]");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"a\":1}");
    run(&o, "from stdin", (char *[]){"api", "PATCH", "/any?x=1", "-d", "-", NULL});
    seen_body(body, sizeof body);
    assert_string_equal(body, "from stdin");
    RUN(&o, "api", "PATCH", "/any?x=1", "-d", "@/nonexistent/file");
    assert_int_equal(o.code, EXIT_NO);
    RUN(&o, "api", "GET", "/teapot");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.out, "{\"error\":\"no\"}");
    assert_string_equal(o.err, "gantry: 400 Bad Request\n");
    RUN(&o, "api", "GET", "/secret");
    assert_int_equal(o.code, EXIT_NOT_ALLOWED);
    RUN(&o, "api", "GET", "/echo", "-H", "X-More: some text", "-i");
    assert_non_null(strstr(o.out, "200 OK\n"));
    assert_non_null(strstr(o.out, "etag: \"tag\"\n"));
    assert_non_null(strstr(o.out, "\"more\":\"some text\""));
    RUN(&o, "-o", "yaml", "api", "GET", "/echo");
    assert_string_equal(o.out, "authorization: \"\"\nmore: \"\"\n");
    RUN(&o, "api", "GET", "echo");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "api", "GET", "/echo", "-H", "no colon");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "api", "GET", "/echo", "-H", "a b: c");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void calls_are_traced_without_secrets(void **state)
{
    (void)state;
    struct outcome o;
    setenv("GANTRY_TOKEN", "very-secret", 1);
    RUN(&o, "--trace", "api", "GET", "/echo");
    unsetenv("GANTRY_TOKEN");
    assert_non_null(strstr(o.out, "\"authorization\":\"Bearer very-secret\""));
    assert_null(strstr(o.err, "very-secret"));
    assert_non_null(strstr(o.err, "gantry: GET /echo: 200, "));
    assert_non_null(strstr(o.err, " bytes, request id-1\n"));
    RUN(&o, "--trace", "--host", "unix:/nonexistent/x", "containers");
    assert_non_null(strstr(o.err, "gantry: GET /containers: failed, "));
}

static void calls_are_bounded(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "--timeout", "200ms", "api", "GET", "/slow");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    assert_non_null(strstr(o.err, "200 ms"));
    RUN(&o, "--timeout", "0", "containers");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "--timeout", "soon", "containers");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void waiting(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "up", "--wait", "robot", "web");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "web: up: ok\n");
    RUN(&o, "up", "--wait", "--timeout", "600ms", "robot", "stuck");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.err, "gantry: robot/stuck is not up after 0.6 s, it is down, exitcode 3, "
                               "want up (see: gantry logs robot stuck)\n");
    RUN(&o, "restart", "--wait", "--timeout", "400ms", "robot", "web"); /* the same process */
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.err, "robot/web is not up again after 0.4 s, it is up"));
    RUN(&o, "docker", "stop", "--wait", "zenoh");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "docker", "start", "--wait", "--timeout", "300ms", "zenoh");
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.err, "zenoh is not running after 0.3 s, it is exited, exit code 137"));
    RUN(&o, "docker", "restart", "--wait", "gone");
    assert_int_equal(o.code, EXIT_NO);
    RUN(&o, "status", "--wait", "robot");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void the_daemon_and_files(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    RUN(&o, "health");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.out, "CHECK      STATE   NEEDED  DETAIL\n"
                               "listeners  ok      yes     2 open\n"
                               "draining   not ok  yes     stopping\n");
    assert_non_null(strstr(o.err, "is not ready"));
    RUN(&o, "health", "-o", "yaml");
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.out, "ready: false\nchecks:\n  - name: listeners\n"));
    RUN(&o, "metrics");
    assert_string_equal(o.out, "gantry_up 1\n");
    RUN(&o, "metrics", "-o", "json");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "bashrc", "get", "web");
    assert_string_equal(o.out, "alias x=y\n");
    run(&o, "alias a=b\n", (char *[]){"bashrc", "put", "web", "-", NULL});
    assert_string_equal(o.out, "written: /root/.bashrc\n");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"content\":\"alias a=b\\n\"}");
    run(&o, "\xff", (char *[]){"bashrc", "put", "web", "-", NULL});
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "docker", "version", "ai_worker");
    assert_string_equal(o.out, "CONTAINER  CURRENT  LATEST\nai_worker  1.2      unknown\n");
}

static void versions(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "version");
    assert_non_null(strstr(o.out, "gantry   " GANTRY_VERSION "\n"));
    assert_non_null(strstr(o.out, "gantryd  9.9  at unix:"));
    RUN(&o, "version", "-o", "json");
    assert_non_null(strstr(o.out, "\"gantryd\":\"9.9\""));
    RUN(&o, "--host", "/nonexistent/x", "version");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    assert_non_null(strstr(o.out, GANTRY_VERSION)); /* its own it knows anyway */
}

/* The scripts' question; words as typed, the last one unfinished. */
static void completed(struct outcome *o, char **words)
{
    char *argv[16] = {"gantry", "__complete", "--host", host};
    int n = 4;
    while (words[n - 4] != NULL && n < 15) {
        argv[n] = words[n - 4];
        n++;
    }
    int out = scratch(), err = scratch();
    *o = (struct outcome){0};
    o->code = cli_main(n, argv, &(struct cli_io){0, out, err}, &o->sig);
    read_back(out, o->out, sizeof o->out);
    read_back(err, o->err, sizeof o->err);
    assert_string_equal(o->err, ""); /* a prompt is no place for it */
}
#define COMPLETED(o, ...) completed((o), (char *[]){__VA_ARGS__, NULL})

static void completions(void **state)
{
    (void)state;
    struct outcome o;
    COMPLETED(&o, "stat");
    assert_string_equal(o.out, "stats\twhat workloads use\n"
                               "status\tstate of all services, or of one\n");
    COMPLETED(&o, "docker", "sta");
    assert_string_equal(o.out,
                        "status\tstate of a Docker container\nstart\tstart Docker containers\n");
    COMPLETED(&o, "status", "");
    assert_string_equal(o.out, "robot\t/agents/robot.sock\n\xe6\x97\xa5\t\n");
    COMPLETED(&o, "status", "robot", "w");
    assert_string_equal(o.out, "web\tWeb page\n");
    COMPLETED(&o, "up", "robot", "web", ""); /* given already */
    assert_string_equal(o.out, "");
    COMPLETED(&o, "status", "robot", "web", "");
    assert_string_equal(o.out, "");
    COMPLETED(&o, "docker", "stop", "-t", "3", "z");
    assert_string_equal(o.out, "zenoh\trunning\n");
    COMPLETED(&o, "logs", "--fo");
    assert_non_null(strstr(o.out, "--follow\t"));
    COMPLETED(&o, "status", "--fo");
    assert_string_equal(o.out, "");
    COMPLETED(&o, "-o", "j");
    assert_string_equal(o.out, "json\t\n");
    COMPLETED(&o, "--output=y");
    assert_string_equal(o.out, "--output=yaml\t\n");
    COMPLETED(&o, "--cacert", "");
    assert_string_equal(o.out, ":files\n");
    COMPLETED(&o, "run-script", "--set", "/e");
    assert_string_equal(o.out, ":files\n");
    COMPLETED(&o, "help", "contai");
    assert_non_null(strstr(o.out, "containers\t"));
    COMPLETED(&o, "help", "docker", "p");
    assert_non_null(strstr(o.out, "ps\t"));
    COMPLETED(&o, "nonsense", "x");
    assert_string_equal(o.out, "");
    COMPLETED(&o, "--host", "unix:/nonexistent/s", "status", "");
    assert_string_equal(o.out, "");
    COMPLETED(&o, "--host", "nonsense", "status", "");
    assert_string_equal(o.out, "");
    COMPLETED(&o, "status", "a/b", "");
    assert_string_equal(o.out, "");
    static char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        RUN(&o, "completion", shells[i]);
        assert_int_equal(o.code, EXIT_DONE);
        assert_non_null(strstr(o.out, "__complete"));
    }
    RUN(&o, "completion", "csh");
    assert_int_equal(o.code, EXIT_USAGE);
}

/* --- as a program of its own ---------------------------------------------------------------- */

static pid_t spawn(int out, int err, char *const argv[])
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    dup2(out, 1);
    dup2(err, 2);
    setenv("GANTRY_HOST", host, 1);
    alarm(100);
    execv(program, argv);
    _exit(127);
}

/* Reads until the text has been seen, 10 s at most. */
static bool read_until(int fd, char *p, size_t n, const char *text)
{
    size_t len = 0;
    struct pollfd pf = {.fd = fd, .events = POLLIN};
    while (len + 1 < n && poll(&pf, 1, 10000) > 0) {
        ssize_t got = read(fd, p + len, n - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        p[len] = '\0';
        if (strstr(p, text) != NULL)
            return true;
    }
    return false;
}

static void follow_resumes_and_ends_by_signal(void **state)
{
    (void)state;
    int p[2], status, err = scratch();
    char text[4096] = "", told[4096];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t pid = spawn(p[1], err, (char *[]){"gantry", "logs", "-f", "robot", "web", NULL});
    close(p[1]);
    assert_true(read_until(p[0], text, sizeof text, "line 3\n"));
    assert_string_equal(text, "line 1\nline 2\nline 3\n");
    kill(pid, SIGINT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(p[0]);
    read_back(err, told, sizeof told);
    const char *away = strstr(told, "agent away");
    assert_non_null(away);
    assert_null(strstr(away + 1, "agent away")); /* told once */
    assert_non_null(strstr(told, "connected again"));
    assert_non_null(strstr(told, "some lines are missing"));
}

static void watches_until_a_signal(void **state)
{
    (void)state;
    struct outcome o;
    int p[2], status, err = scratch();
    char text[4096] = "", told[1024];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t pid = spawn(p[1], err, (char *[]){"gantry", "--watch=100ms", "services", "robot", NULL});
    close(p[1]);
    /* Two blocks, each with its time, parted by an empty line. */
    assert_true(read_until(p[0], text, sizeof text, "Web page\n\n# "));
    assert_int_equal(strncmp(text, "# 20", 4), 0);
    assert_non_null(strstr(text, "\nNAME  LABEL\nweb   Web page\n\n# 20"));
    kill(pid, SIGINT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(p[0]);
    read_back(err, told, sizeof told);
    assert_string_equal(told, "");
    RUN(&o, "--watch", "status", "robot", "nope"); /* what fails at first ends it */
    assert_int_equal(o.code, EXIT_NO);
    assert_non_null(strstr(o.err, "not found"));
    RUN(&o, "--watch=x", "containers");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "--watch=1ms", "containers");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void full_disk_is_a_failure(void **state)
{
    (void)state;
    int status, full = open("/dev/full", O_WRONLY | O_CLOEXEC), err = scratch();
    char told[1024];
    char *const argv[] = {"gantry", "containers", NULL};
    pid_t pid = spawn(full, err, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO);
    read_back(err, told, sizeof told);
    assert_non_null(strstr(told, "No space left"));
    close(full);
}

static void reader_that_left_is_no_news(void **state)
{
    (void)state;
    int p[2], status, err = scratch();
    char told[1024];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    close(p[0]);
    pid_t pid = spawn(p[1], err, (char *[]){"gantry", "containers", NULL});
    close(p[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    read_back(err, told, sizeof told);
    assert_string_equal(told, "");
}

/* libuv ends the process when memory is short while it makes its loop, so that part is left out:
 * the linker sends loop_new here. */
static uint64_t fail_at, fail_start;
int __real_loop_new(struct loop **ret, const struct clock *clock, struct err *e);
int __wrap_loop_new(struct loop **ret, const struct clock *clock, struct err *e);

int __wrap_loop_new(struct loop **ret, const struct clock *clock, struct err *e)
{
    uint64_t used = mem_alloc_count() - fail_start;
    bool later = fail_at > used;
    if (later)
        mem_fail_at(0, false);
    int rc = __real_loop_new(ret, clock, e);
    if (later)
        mem_fail_at(fail_at - used, false);
    return rc;
}

/* Each allocation fails in turn: never a crash, and never success with a part missing. */
static void memory_runs_out(char **words, const char *want)
{
    for (uint64_t n = 1;; n++) {
        struct outcome o;
        assert_true(n < 3000);
        fail_at = n;
        fail_start = mem_alloc_count();
        mem_fail_at(n, false);
        run(&o, NULL, words);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        fail_at = 0;
        if (o.code == EXIT_DONE)
            assert_string_equal(o.out, want);
        else
            assert_string_not_equal(o.err, "");
        if (!hit) {
            assert_int_equal(o.code, EXIT_DONE);
            break;
        }
    }
}

static void completion_without_memory(void)
{
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct outcome o;
        assert_true(n < 3000);
        fail_at = n;
        fail_start = mem_alloc_count();
        mem_fail_at(n, false);
        COMPLETED(&o, "status", "robot", "w");
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        fail_at = 0;
        if (!hit)
            assert_string_equal(o.out, "web\tWeb page\n");
    }
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    completion_without_memory();
    memory_runs_out((char *[]){"services", "robot", NULL}, "NAME  LABEL\nweb   Web page\n");
    memory_runs_out((char *[]){"up", "robot", "web", NULL}, "web: up: ok\n");
    memory_runs_out((char *[]){"-o", "yaml", "services", "robot", NULL},
                    "container: robot\nservices:\n  - id: web\n    label: Web page\n");
    memory_runs_out((char *[]){"api", "PATCH", "/any?x=1", "-d", "x", NULL}, "[1]");
    memory_runs_out((char *[]){"up", "--wait", "--trace", "robot", "web", NULL}, "web: up: ok\n");
    memory_runs_out((char *[]){"logs", "-n2", "robot", "web", NULL}, "one\033[31m\ntwo\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_answers),
        cmocka_unit_test(json_is_the_servers),
        cmocka_unit_test(control),
        cmocka_unit_test(logs),
        cmocka_unit_test(run_scripts),
        cmocka_unit_test(docker),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(formats),
        cmocka_unit_test(raw_calls),
        cmocka_unit_test(calls_are_traced_without_secrets),
        cmocka_unit_test(calls_are_bounded),
        cmocka_unit_test(waiting),
        cmocka_unit_test(the_daemon_and_files),
        cmocka_unit_test(versions),
        cmocka_unit_test(completions),
        cmocka_unit_test(watches_until_a_signal),
        cmocka_unit_test(follow_resumes_and_ends_by_signal),
        cmocka_unit_test(full_disk_is_a_failure),
        cmocka_unit_test(reader_that_left_is_no_news),
        cmocka_unit_test(each_allocation_fails_once),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: %s GANTRY-PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
    signal(SIGPIPE, SIG_IGN);
    json_in_init();
    text_init();
    return cmocka_run_group_tests_name("gantry: against a server", tests, start_server,
                                       stop_server);
}
