/* The commands of workloads against a small server that answers as gantryd does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli_server.h"

#include "base/clock.h"
#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include "net/exchange.h"
#include "net/server.h"
#include "net/sse.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/gantry-wl-XXXXXX";
static char host[64]; /* "unix:<dir>/s" */
static pid_t server_pid;

/* --- the server ----------------------------------------------------------------------------- */

#define W "/v1/workloads"
#define WEB                                                                                        \
    "\"id\":\"web\",\"type\":\"container\",\"revision_id\":\"7\",\"desired_state\":\"running\","   \
    "\"actual_state\":\"running\",\"message\":\"Up 3 seconds\",\"health\":\"healthy\","            \
    "\"phase\":\"idle\",\"generation\":3,\"started_at\":\"2026-01-01T00:00:00Z\","                 \
    "\"created_at\":\"2026-01-01T00:00:00.5Z\""
#define DB                                                                                         \
    "\"id\":\"db\",\"type\":\"container\",\"revision_id\":\"1\",\"desired_state\":\"running\","    \
    "\"actual_state\":\"pending\",\"message\":\"making\",\"phase\":\"waiting\",\"generation\":1,"  \
    "\"waits_for\":\"lock \\u001b[2J\",\"usage\":{\"cpu_percent\":12.5,\"memory_bytes\":8650752,"  \
    "\"collected_at\":\"2026-01-01T00:00:00Z\",\"source\":\"docker\"}"
#define BAD                                                                                        \
    "{\"id\":\"bad\",\"type\":\"container\",\"desired_state\":\"running\","                        \
    "\"actual_state\":\"failed\",\"message\":\"exited\",\"failure\":\"no such image\","            \
    "\"given_up\":true,\"phase\":\"idle\",\"generation\":1}"

static const struct canned {
    const char *method, *target;
    int status;
    const char *body;
} answers[] = {
    {"GET", W, 200, "{\"workloads\":[{" DB "}],\"more\":true}"},
    {"GET", W "?after=db", 200,
     "{\"workloads\":[{" WEB ",\"usage\":{\"cpu_percent\":90,\"net_rx_bytes\":1}}],"
     "\"more\":false}"},
    {"GET", W "?id=w%2A", 200, "{\"workloads\":[{" WEB "}],\"more\":false}"},
    {"GET", W "?limit=1000", 200, "{\"workloads\":[{" DB "},{" WEB "}],\"more\":false}"},
    {"GET", W "/web", 200,
     "{" WEB ",\"metadata\":{\"container.state\":\"running\"},"
     "\"spec\":{\"container\":{\"image\":\"busybox:local\",\"args\":[\"a\",\"b\"]},"
     "\"lock_file\":\"/run/x\"}}"},
    {"GET", W "/db", 200, "{" DB "}"},
    {"GET", W "/bad", 200, BAD},
    {"GET", W "/going", 200,
     "{\"id\":\"going\",\"type\":\"container\",\"desired_state\":\"running\",\"actual_state\":"
     "\"failed\",\"deleting\":true,\"waits_for\":\"the time of the next try\","
     "\"failure\":\"delete failed: device is busy\"}"},
    {"DELETE", W "/going", 202, "{\"verdict\":\"accepted\"}"},
    {"GET", W "/full", 200,
     "{\"id\":\"full\",\"type\":\"container\",\"desired_state\":\"running\",\"actual_state\":"
     "\"failed\",\"waits_for\":\"the time of the next try\",\"failure\":\"admission rejected due "
     "to resource constraints: [memory 85.0% > 80%]\"}"},
    {"GET", "/v1/explain/node", 200,
     "{\"kind\":\"node\",\"id\":\"edge-1\",\"is\":\"It is degraded.\",\"should_be\":\"x\","
     "\"why\":\"libvirt: away\",\"since\":null,\"next\":\"y\",\"next_at\":null,\"asked_by\":\"z\","
     "\"waits_for\":[\"libvirt\"],\"state\":\"degraded\",\"drain\":{\"draining\":true,"
     "\"refuses_new\":true,\"reason\":\"s drains it\",\"since\":\"2026-01-01T00:00:00Z\"},"
     "\"store\":{\"ok\":true,\"detail\":\"in good order\",\"failures\":0},"
     "\"control\":{\"state\":\"registered\"},\"drivers\":["
     "{\"type\":\"container\",\"name\":\"docker\",\"available\":true},"
     "{\"type\":\"compose\",\"available\":false,\"reason\":\"compose.enabled is false\"},"
     "{\"type\":\"vm\",\"name\":\"libvirt\",\"available\":true,\"detail\":\"kvm\"}],"
     "\"workloads\":{\"running\":3}}"},
    {"GET", W "/off", 200,
     "{\"id\":\"off\",\"desired_state\":\"stopped\",\"actual_state\":\"stopped\"}"},
    {"GET", "/v1/explain/workload/web", 200,
     "{\"kind\":\"workload\",\"id\":\"web\",\"is\":\"running\",\"should_be\":\"running\","
     "\"why\":\"it is as it should be\",\"since\":\"2026-01-01T00:00:00Z\",\"next\":\"nothing\","
     "\"next_at\":null,\"asked_by\":\"uid:0\",\"waits_for\":[\"db\",\"net\"]}"},
    {"GET", "/v1/explain/service/robot/talker", 200,
     "{\"kind\":\"service\",\"id\":\"robot/talker\",\"is\":\"not running: down\","
     "\"should_be\":\"running\",\"why\":\"it ended\",\"since\":null,\"next\":\"soon\","
     "\"next_at\":\"2199-01-01T00:00:00Z\",\"asked_by\":\"x\",\"waits_for\":[]}"},
    {"GET", "/v1/tasks?limit=5&workload=web", 200,
     "{\"tasks\":[{\"task_id\":\"apply-web-1\",\"workload_id\":\"web\","
     "\"kind\":\"apply_workload\",\"status\":\"completed\",\"who\":\"uid:0\"}],\"more\":true}"},
    {"GET", "/v1/tasks?limit=1", 200, "{\"tasks\":[],\"more\":true}"},
    {"PUT", W "/web", 202, "{\"verdict\":\"accepted\",\"task\":\"apply-web-1\"}"},
    {"PUT", W "/web?force=true", 202, "{\"verdict\":\"accepted\",\"task\":\"apply-web-2\"}"},
    {"PUT", W "/db", 200, "{\"verdict\":\"unchanged\"}"},
    {"PUT", W "/off", 202, "{\"verdict\":\"accepted\"}"},
    {"PUT", W "/bad", 409, "{\"error\":\"the memory is full\"}"},
    {"PUT", W "/web?dry_run=true", 200,
     "{\"verdict\":\"update\",\"recreate\":true,\"start\":false,\"stop\":false,\"changes\":["
     "{\"path\":\"container.image\",\"old\":\"a\",\"new\":\"b\"},"
     "{\"path\":\"container.env.A\",\"new\":{\"x\":[1]}},"
     "{\"path\":\"lock_file\",\"old\":\"/run/x\"}]}"},
    {"PUT", W "/db?dry_run=true", 200, "{\"verdict\":\"unchanged\",\"changes\":[]}"},
    {"PUT", W "/bad?dry_run=true", 200,
     "{\"verdict\":\"refused\",\"error\":\"bad depends on itself\",\"changes\":[]}"},
    {"DELETE", W "/web", 202, "{\"verdict\":\"accepted\",\"task\":\"delete-web-1\"}"},
    {"DELETE", W "/gone?force=true", 202, "{\"verdict\":\"accepted\"}"},
    {"DELETE", W "/never", 409, "{\"error\":\"web depends on it\"}"},
    {"POST", W "/web/action", 202, "{\"verdict\":\"accepted\",\"task\":\"apply-web-3\"}"},
    {"GET", W "/web/stats", 200,
     "{\"cpu_percent\":0.25,\"memory_bytes\":1023,\"disk_read_bytes\":1536,"
     "\"net_tx_bytes\":5368709120,\"collected_at\":\"2026-01-01T00:00:00Z\",\"source\":"
     "\"cgroup\"}"},
    {"GET", W "/slow/logs?tail=100", 503, "{\"error\":\"the Docker engine does not answer\"}"},
    {"GET", W "/bad/logs?tail=100", 404, "{\"error\":\"there is no container \\\"bad\\\"\"}"},
    {"GET", W "/web/logs?tail=100", 200,
     "{\"id\":\"web\",\"lines\":["
     "{\"time\":\"2026-01-01T00:00:00Z\",\"stream\":\"stdout\",\"text\":\"one\"},"
     "{\"time\":\"2026-01-01T00:00:01Z\",\"stream\":\"stderr\",\"text\":\"two\\n\"}]}"},
    {"GET", W "/web/logs?tail=all&since=2026-01-01T00%3A00%3A00Z", 200,
     "{\"id\":\"web\",\"lines\":[]}"},
    {"GET", "/v1/events?type=state&follow=false", 200,
     "{\"events\":[{\"index\":1,\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"workload\","
     "\"name\":\"web\",\"type\":\"state\",\"to\":\"running\",\"who\":\"uid:0\"}],"
     "\"cursor\":\"e-1\"}"},
    {"GET", "/v1/node", 200,
     "{\"id\":\"edge-1\",\"version\":\"9.9\",\"labels\":{\"region\":\"eu\"},"
     "\"usage\":{\"cpu_percent\":3.5},\"runtimes\":[{\"type\":\"container\",\"name\":\"docker\","
     "\"condition\":\"healthy\"}],\"workloads\":{\"running\":1}}"},
};

static void on_closed(void *ctx, struct exchange *x, int err)
{
    (void)ctx;
    (void)x;
    (void)err;
}

#define LINE(time, text)                                                                           \
    SLICE_LIT("{\"time\":\"2026-01-01T00:00:0" time "Z\",\"stream\":\"stdout\",\"text\":\"" text   \
              "\"}")
#define EVENT(cursor, rest)                                                                        \
    SLICE_LIT("{\"index\":1,\"cursor\":\"" cursor "\",\"time\":\"2026-01-01T00:00:00.123Z\"," rest \
              "}")

/* The first connection breaks behind the second line, the second one begins there again. */
static void follow_logs(struct exchange *x, struct slice query)
{
    sse_start(x, NULL, 0);
    if (slice_eqs(query, "follow=true&tail=100")) {
        sse_send(x, SLICE_LIT(""), SLICE_LIT("line"), LINE("1", "one"));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("line"), LINE("2", "two"));
    } else if (slice_eqs(query, "follow=true&tail=all&since=2026-01-01T00%3A00%3A02Z")) {
        sse_send(x, SLICE_LIT(""), SLICE_LIT("line"), LINE("2", "two"));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("line"), LINE("3", "three"));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("end"), SLICE_LIT("{\"error\":null}"));
    } else {
        sse_send(x, SLICE_LIT(""), SLICE_LIT("end"), SLICE_LIT("{\"error\":\"no such place\"}"));
    }
    exchange_finish(x, NULL, 0);
}

static void follow_events(struct exchange *x, struct slice query)
{
    sse_start(x, NULL, 0);
    if (slice_eqs(query, "kind=workload&after=e-2")) {
        sse_send(x, SLICE_LIT("e-3"), SLICE_LIT("workload"),
                 EVENT("e-3", "\"kind\":\"workload\",\"name\":\"web\",\"type\":\"deleted\","
                              "\"who\":\"uid:0\",\"revision\":\"7\""));
        sse_send(x, SLICE_LIT(""), SLICE_LIT("cut"), SLICE_LIT("{\"reason\":\"too slow\"}"));
    } else if (!slice_eqs(query, "kind=workload&after=e-3")) {
        sse_send(x, SLICE_LIT(""), SLICE_LIT("snapshot"), SLICE_LIT("{\"workloads\":[{" WEB "}]}"));
        sse_send(x, SLICE_LIT("e-1"), SLICE_LIT("live"), SLICE_LIT("{\"cursor\":\"e-1\"}"));
        sse_send(x, SLICE_LIT("e-2"), SLICE_LIT("workload"),
                 EVENT("e-2", "\"kind\":\"workload\",\"name\":\"web\",\"type\":\"state\","
                              "\"from\":\"pending\",\"to\":\"running\",\"reason\":\"crash\","
                              "\"message\":\"a\\u001bb\""));
    }
    exchange_finish(x, NULL, 0);
}

/* Needed by web until that is gone. */
static bool web_gone;

static void answer_needed(struct exchange *x)
{
    exchange_respond(
        x,
        &(struct http_response){.status = web_gone ? 202 : 409, .content_type = "application/json"},
        web_gone ? SLICE_LIT("{\"verdict\":\"accepted\"}")
                 : SLICE_LIT("{\"error\":\"web depends on it\"}"));
    web_gone = false;
}

static size_t n_looks;

/* Running only at the third look: what waits has to look again. */
static void answer_slow(struct exchange *x)
{
    bool up = ++n_looks >= 3;
    exchange_respond(
        x, &(struct http_response){.status = 200, .content_type = "application/json"},
        up ? SLICE_LIT("{" WEB "}")
           : SLICE_LIT("{\"id\":\"slow\",\"desired_state\":\"running\",\"actual_state\":\"pending\""
                       ",\"message\":\"pulling\"}"));
}

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

static void serve(void *ctx, struct exchange *x)
{
    static const struct exchange_user user = {.closed = on_closed};
    const struct http_request *r = exchange_request(x);
    (void)ctx;
    web_gone = web_gone || (slice_eqs(r->method_text, "DELETE") && slice_eqs(r->target, W "/web"));
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (slice_eqs(r->method_text, answers[i].method) &&
            slice_eqs(r->target, answers[i].target)) {
            exchange_collect(x, 1 << 20, with_body, (void *)&answers[i]);
            return;
        }
    if (slice_starts(r->path, W) && slice_starts(r->query, "follow=true")) {
        exchange_set_user(x, &user, NULL);
        follow_logs(x, r->query);
    } else if (slice_eqs(r->path, "/v1/events")) {
        exchange_set_user(x, &user, NULL);
        follow_events(x, r->query);
    } else if (slice_eqs(r->path, W "/needed")) {
        answer_needed(x);
    } else if (slice_eqs(r->path, W "/slow")) {
        answer_slow(x);
    } else if (slice_eqs(r->path, W "/html")) {
        exchange_respond(x, &(struct http_response){.status = 404, .content_type = "text/html"},
                         SLICE_LIT("<html>"));
    } else {
        exchange_respond(x,
                         &(struct http_response){.status = 404, .content_type = "application/json"},
                         SLICE_LIT("{\"error\":\"Workload 'gone' not found\",\"detail\":null}"));
    }
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

static char *in_dir(const char *name)
{
    static char path[4][160];
    static size_t turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static int stop_server(void **state)
{
    static const char *const files[] = {"seen",     "s",          "w.yaml",  "x.yaml",
                                        "d/b.yaml", "d/a.json",   "d/c.txt", "d/.h.yaml",
                                        "run.txt",  "full/f.yaml"};
    (void)state;
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(in_dir(files[i]));
    rmdir(in_dir("d"));
    return rmdir(dir);
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
    char name[] = "/tmp/gantry-wl-out-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void run(struct outcome *o, const char *input, char **words)
{
    char *argv[24] = {"gantry", "--host", host};
    int n = 3;
    while (words[n - 3] != NULL && n < 23) {
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

static void put_file(const char *name, const char *text)
{
    int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void seen_body(char *p, size_t n)
{
    int fd = open(in_dir("seen"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    read_back(fd, p, n);
}

#define HAS(text, part)                                                                            \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                   \
    } while (0)
#define HAS_NOT(text, part) assert_null(strstr((text), (part)))

/* --- reading them --------------------------------------------------------------------------- */

static void tables(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "get");
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.out, "ID   TYPE       DESIRED  STATE    HEALTH   AGE");
    HAS(o.out, "db   container  running  pending  -        -");
    HAS(o.out, "lock ^[[2J\n");
    HAS(o.out, "web  container  running  running  healthy  ");
    HAS(o.out, "Up 3 seconds\n");
    RUN(&o, "get", "workloads");
    HAS(o.out, "\nweb ");
    RUN(&o, "-o", "wide", "get", "w*", "bad");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.out, "REVISION");
    HAS(o.out, "no such image\n");
    HAS_NOT(o.out, "\ndb ");
    RUN(&o, "-o", "json", "get", "web", "gone");
    assert_int_equal(o.code, EXIT_NO);
    assert_int_equal(strncmp(o.out, "{\"id\":\"web\"", 11), 0);
    HAS(o.err, "Workload 'gone' not found (see: gantry get)");
    RUN(&o, "-o", "json", "get"); /* both pages, each as it came */
    HAS(o.out, "\"more\":true}\n{\"workloads\"");
    RUN(&o, "get", "a/b");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void descriptions(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "describe", "web");
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.out, "Workload:     web\n");
    HAS(o.out, "Started:      2026-01-01 00:00:00 UTC (");
    HAS(o.out, "\nDocument:\n  container:\n    image: busybox:local\n");
    HAS(o.out, "  lock_file: /run/x\n");
    HAS(o.out, "\nMetadata:\n  container.state: running\n");
    HAS(o.out, "\nLast tasks:\nTASK");
    HAS(o.out, "Waits for:    db\n");
    RUN(&o, "-o", "json", "describe", "web");
    HAS(o.out, "}\n{\"kind\":\"workload\"");
    HAS(o.out, "}\n{\"tasks\":");
    RUN(&o, "describe", "gone");
    assert_int_equal(o.code, EXIT_NO);
    RUN(&o, "explain", "web");
    HAS(o.out, "Why:          it is as it should be\n");
    HAS(o.out, "Asked by:     uid:0\n");
    HAS_NOT(o.out, "Next at");
    RUN(&o, "explain");
    HAS(o.out, "Node:         edge-1\nState:        degraded\nIs:           It is degraded.\n");
    HAS(o.out, "Waits for:    libvirt\nDraining:     s drains it\nDrain since:  2026-01-01");
    HAS(o.out, "Store:        in good order\n\nWorkloads:\n  running: 3\n\nScheduler:\n");
    HAS(o.out, "-        compose    no         compose.enabled is false\n");
    HAS(o.out, "libvirt  vm         yes        kvm\n");
    RUN(&o, "explain", "node"); /* there is no workload of that name */
    HAS(o.out, "State:        degraded\n");
    RUN(&o, "-o", "json", "explain");
    HAS(o.out, "{\"kind\":\"node\"");
    RUN(&o, "explain", "robot", "talker");
    HAS(o.out, "Service:      robot/talker\n");
    HAS(o.out, "Next at:      2199-01-01 00:00:00 UTC (in ");
    RUN(&o, "tasks", "-n", "1");
    HAS(o.err, "older tasks are left out (-n shows more)");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "node");
    HAS(o.out, "Node:         edge-1\n");
    HAS(o.out, "region: eu");
    HAS(o.out, "docker   container  healthy\n");
}

static void usage(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "stats", "web");
    assert_string_equal(o.err, "");
    HAS(o.out, "ID   CPU   MEMORY  READ  WRITTEN  NET IN  NET OUT  AGE\n");
    HAS(o.out, "web  0.2%  1023B   1.5K  -        -       5.0G     ");
    RUN(&o, "stats"); /* in the order of ids */
    assert_true(strstr(o.out, "\ndb ") < strstr(o.out, "\nweb "));
    RUN(&o, "--timeout", "1s", "top", "--watch=no");
    assert_int_equal(o.code, EXIT_USAGE);
}

/* top goes on for ever: its first block is read, the busiest first. */
static void top_is_sorted(void **state)
{
    (void)state;
    int p[2];
    char text[4096];
    size_t n = 0;
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int sig;
        char *argv[] = {"gantry", "--host", host, "top", "--watch=100ms", NULL};
        alarm(100);
        _exit(cli_main(5, argv, &(struct cli_io){0, p[1], 2}, &sig));
    }
    close(p[1]);
    while (n < sizeof text - 1) {
        ssize_t got = read(p[0], text + n, sizeof text - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
        if (strstr(text, "\n\n# ") != NULL) /* the second block begins */
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(p[0]);
    HAS(text, "\n\n# ");
    /* web has been asked; nobody answers for db, which keeps its last sample. */
    const char *db = strstr(text, "\ndb   12.5%"), *web = strstr(text, "\nweb  0.2%");
    assert_non_null(db);
    assert_non_null(web);
    assert_true(db < web);
}

/* --- changing them -------------------------------------------------------------------------- */

#define DOC(id) "id: " id "\ncontainer:\n  image: busybox:local\n"

static void applying(void **state)
{
    (void)state;
    struct outcome o;
    char body[512];
    put_file("w.yaml", "# first\n" DOC("web") "---\n" DOC("db"));
    RUN(&o, "apply", "-f", in_dir("w.yaml"));
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "web: accepted (apply-web-1)\ndb: unchanged\n");
    seen_body(body, sizeof body);
    HAS(body, "id: db\n");
    HAS_NOT(body, "id: web");
    run(&o, "{\"id\":\"web\",\"container\":{\"image\":\"x\"}}",
        (char *[]){"apply", "--force", "-f", "-", NULL});
    assert_string_equal(o.out, "web: accepted (apply-web-2)\n");
    RUN(&o, "-o", "json", "apply", "-f", in_dir("w.yaml"));
    HAS(o.out, "{\"verdict\":\"accepted\",\"task\":\"apply-web-1\"}\n{\"verdict\":\"unch");
    put_file("x.yaml", DOC("bad") "---\n" DOC("db"));
    RUN(&o, "apply", "-f", in_dir("x.yaml")); /* the others are still tried */
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.out, "db: unchanged\n");
    HAS(o.err, "the memory is full");
    RUN(&o, "apply");
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "\"apply\" needs -f FILE");
    RUN(&o, "apply", "-f", in_dir("none.yaml"));
    assert_int_equal(o.code, EXIT_NO);
}

static void faults_have_places(void **state)
{
    (void)state;
    struct outcome o;
    put_file("w.yaml", DOC("web") "---\n" DOC("x y") "  nonsense: 1\n");
    put_file("x.yaml", "id: [\n");
    unlink(in_dir("seen"));
    RUN(&o, "apply", "-f", in_dir("w.yaml"), "-f", in_dir("x.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    assert_string_equal(o.out, "");
    HAS(o.err, "w.yaml:5:");
    HAS(o.err, "\"x y\"");
    HAS(o.err, "w.yaml:8:3: ");
    HAS(o.err, "nonsense");
    HAS(o.err, "x.yaml:");
    assert_int_equal(access(in_dir("seen"), F_OK), -1); /* nothing was sent */
    run(&o, "id: web\n", (char *[]){"apply", "-f", "-", NULL});
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "standard input:");
    put_file("x.yaml", "# nothing\n---\n");
    RUN(&o, "apply", "-f", in_dir("x.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "there is no document in it");
    put_file("w.yaml", DOC("web"));
    put_file("x.yaml", DOC("db") "---\n" DOC("web"));
    RUN(&o, "apply", "-f", in_dir("w.yaml"), "-f", in_dir("x.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "workload \"web\" is in ");
    HAS(o.err, "w.yaml:1 and in ");
    HAS(o.err, "x.yaml:4");
}

#define ON(id, other) DOC(id) "depends_on: [{id: " other "}]\n"

/* A circle among the documents is seen before the first of them is sent. */
static void circles(void **state)
{
    (void)state;
    struct outcome o;
    char many[4096];
    struct buf b = BUF_FIXED(many);
    put_file("w.yaml", DOC("zz") "---\n" ON("aa", "zz") "---\n" ON("web", "db"));
    put_file("x.yaml", ON("cache", "web") "---\n" ON("db", "cache") "---\n" ON("yy", "db"));
    unlink(in_dir("seen"));
    RUN(&o, "apply", "-f", in_dir("w.yaml"), "-f", in_dir("x.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    assert_string_equal(o.out, "");
    HAS(o.err, "x.yaml:1: workload \"cache\" would wait for itself: cache -> web -> db -> cache\n");
    assert_int_equal(access(in_dir("seen"), F_OK), -1);
    RUN(&o, "diff", "-f", in_dir("w.yaml"), "-f", in_dir("x.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "cache -> web -> db -> cache\n");
    assert_int_equal(access(in_dir("seen"), F_OK), -1);
    /* A long one is told in short; what only leads into it is no part of it. */
    for (int i = 0; i < 12; i++)
        buf_addf(&b, "%sid: w%02d\ncontainer: {image: x}\ndepends_on: [{id: w%02d}]\n",
                 i > 0 ? "---\n" : "", i, i < 11 ? i + 1 : 2);
    assert_int_equal(b.err, 0);
    put_file("w.yaml", many);
    RUN(&o, "apply", "-f", in_dir("w.yaml"));
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "workload \"w02\" would wait for itself: w02 -> w03 -> w04 -> w05 -> w06 -> w07 -> "
               "w08 -> w09 -> (2 more) -> w02\n");
    /* Two ways to one are none, nor is what stands in no file. */
    put_file("w.yaml", DOC("db") "---\n" ON("cache", "db") "---\n" DOC(
                           "web") "depends_on: [{id: db}, {id: cache}, {id: elsewhere}]\n");
    RUN(&o, "apply", "-f", in_dir("w.yaml"));
    assert_null(strstr(o.err, "itself"));
    assert_int_equal(access(in_dir("seen"), F_OK), 0);
}

static void folders(void **state)
{
    (void)state;
    struct outcome o;
    assert_int_equal(mkdir(in_dir("d"), 0700), 0);
    RUN(&o, "apply", "-f", in_dir("d"));
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "no file here ends in .yaml, .yml or .json");
    put_file("d/b.yaml", DOC("web"));
    put_file("d/a.json", "{\"id\":\"db\",\"container\":{\"image\":\"x\"}}");
    put_file("d/c.txt", "nonsense");
    put_file("d/.h.yaml", "nonsense");
    RUN(&o, "apply", "-f", in_dir("d"));
    assert_string_equal(o.err, "");
    assert_string_equal(o.out, "db: unchanged\nweb: accepted (apply-web-1)\n");
    RUN(&o, "delete", "-f", in_dir("d")); /* the last one first */
    assert_string_equal(o.out, "web: accepted (delete-web-1)\n");
    assert_int_equal(o.code, EXIT_NO); /* nobody answers for db */
}

static void plans(void **state)
{
    (void)state;
    struct outcome o;
    put_file("w.yaml", DOC("web") "---\n" DOC("db"));
    RUN(&o, "diff", "-f", in_dir("w.yaml"));
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.out, "web: update, its object is made anew\n"
                               "  ~ container.image: \"a\" -> \"b\"\n"
                               "  + container.env.A: {\"x\":[1]}\n"
                               "  - lock_file: \"/run/x\"\n"
                               "db: unchanged\n");
    RUN(&o, "apply", "--dry-run", "-f", in_dir("w.yaml"));
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out, "web: update, its object is made anew\ndb: unchanged\n");
    put_file("w.yaml", DOC("db"));
    RUN(&o, "diff", "-f", in_dir("w.yaml"));
    assert_int_equal(o.code, EXIT_DONE);
    put_file("w.yaml", DOC("bad"));
    RUN(&o, "diff", "-f", in_dir("w.yaml"));
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "w.yaml:1: bad would be refused: bad depends on itself");
    RUN(&o, "-o", "json", "diff", "-f", in_dir("w.yaml"));
    assert_string_equal(
        o.out, "{\"verdict\":\"refused\",\"error\":\"bad depends on itself\",\"changes\":[]}\n");
}

static void actions(void **state)
{
    (void)state;
    struct outcome o;
    char body[256];
    RUN(&o, "restart", "web");
    assert_string_equal(o.out, "web: accepted (apply-web-3)\n");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"restart\"}");
    RUN(&o, "restart", "--force", "web");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"restart\",\"force\":true}");
    RUN(&o, "restart", "web", "db"); /* as if web were a container, and db a service of it */
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "gantry: \"web\" is a workload; one workload at a time: gantry restart web\n");
    RUN(&o, "restart", "gone", "db");
    assert_int_equal(o.code, EXIT_NO);
    assert_null(strstr(o.err, "is a workload"));
    RUN(&o, "retry", "web", "gone");
    assert_int_equal(o.code, EXIT_NO);
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"retry\"}");
    RUN(&o, "retry", "--wait", "web");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "force", "web");
    seen_body(body, sizeof body);
    assert_string_equal(body, "{\"action\":\"force\"}");
    RUN(&o, "delete", "--wait", "--timeout", "300ms", "web"); /* it stays */
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "web is not deleted: it was applied again meanwhile, and is to stay; it is running, "
               "healthy, Up 3 seconds (see: gantry explain web)");
    RUN(&o, "delete", "--wait", "--timeout", "300ms", "going"); /* it takes its time */
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "going is not deleted after 0.3 s, it is failed, delete failed: device is busy");
    RUN(&o, "wait", "--for", "deleted", "--timeout", "300ms", "web"); /* nobody has deleted it */
    HAS(o.err, "web is not deleted after 0.3 s, it is running, healthy, Up 3 seconds "
               "(see: gantry explain web)");
    RUN(&o, "wait", "--timeout", "300ms", "full");
    HAS(o.err, "full is not running after 0.3 s, it is failed, admission rejected");
    RUN(&o, "get", "full");
    HAS(o.out, "admission rejected due to resource constraints: [memory 85.0% > 80%]");
    RUN(&o, "delete", "--force", "--wait", "gone");
    assert_string_equal(o.out, "gone: accepted\n");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "delete", "needed"); /* web has been deleted above */
    assert_string_equal(o.out, "needed: accepted\n");
    RUN(&o, "delete", "needed", "web"); /* in whatever order */
    assert_string_equal(o.out, "web: accepted (delete-web-1)\nneeded: accepted\n");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "delete", "never", "web");
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "gantry: web depends on it");
    assert_string_equal(o.out, "web: accepted (delete-web-1)\n");
    RUN(&o, "delete");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void waiting(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "wait", "--for", "running", "slow");
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "wait", "--for", "healthy", "web");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "wait", "--for", "stopped", "off");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "wait", "--for", "deleted", "gone");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "wait", "gone");
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "gone is not running: there is none (see: gantry get)");
    RUN(&o, "wait", "bad"); /* at once */
    HAS(o.err, "bad is not running: it has been given up; it is failed, no such image");
    RUN(&o, "wait", "off");
    HAS(o.err, "off is not running: it should be stopped; it is stopped");
    RUN(&o, "wait", "--timeout", "200ms", "db");
    HAS(o.err, "db is not running after 0.2 s, it is pending, waits for lock ^[[2J");
    RUN(&o, "wait", "--timeout", "200ms", "html");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    HAS(o.err, "html: not known to be running");
    RUN(&o, "wait", "--for", "happy", "web");
    assert_int_equal(o.code, EXIT_USAGE);
    put_file("w.yaml", DOC("web") "health: {kind: tcp, port: 80}\n---\n" DOC(
                           "off") "desired_state: stopped\n");
    RUN(&o, "apply", "--wait", "-f", in_dir("w.yaml"));
    assert_string_equal(o.err, "");
    assert_string_equal(o.out, "web: accepted (apply-web-1)\noff: accepted\n"
                               "web: healthy\noff: stopped\n");
}

/* --- following, importing ------------------------------------------------------------------- */

static void logs(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "logs", "web");
    assert_string_equal(o.err, "");
    assert_string_equal(o.out, "one\ntwo\n");
    RUN(&o, "-o", "wide", "logs", "web");
    assert_string_equal(o.out, "2026-01-01T00:00:00Z O one\n2026-01-01T00:00:01Z E two\n");
    RUN(&o, "logs", "--since", "2026-01-01T00:00:00Z", "web");
    assert_int_equal(o.code, EXIT_DONE);
    RUN(&o, "logs", "bad"); /* never made: the workload is there all the same */
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "there is no container \"bad\" (see: gantry explain ID)");
    RUN(&o, "logs", "slow"); /* no agent has to do with it */
    assert_string_equal(o.err, "gantry: the Docker engine does not answer\n");
    RUN(&o, "logs", "-f", "web"); /* goes on behind the last line, which comes twice */
    assert_string_equal(o.out, "one\ntwo\nthree\n");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.err, "the server ended the stream");
    HAS(o.err, "connected again");
    RUN(&o, "logs", "-f", "-n", "5", "web");
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "no such place");
    RUN(&o, "logs", "--clear", "web");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "logs", "--since", "1m", "robot", "web");
    assert_int_equal(o.code, EXIT_USAGE);
}

static void events(void **state)
{
    (void)state;
    struct outcome o;
    RUN(&o, "events", "--type", "state");
    assert_string_equal(o.err, "");
    assert_int_equal(o.code, EXIT_DONE);
    assert_string_equal(o.out,
                        "2026-01-01 00:00:00  workload  web  state - -> running, by uid:0\n");
    RUN(&o, "-o", "json", "events", "--type", "state");
    HAS(o.out, "{\"events\":[{");
    RUN(&o, "events", "--kind", "nonsense");
    assert_int_equal(o.code, EXIT_USAGE);
}

/* Reads until the text is there, then ends it as a user does. */
static void events_go_on(void **state)
{
    (void)state;
    int p[2], q[2];
    char text[4096] = "", told[2048] = "";
    size_t n = 0;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(pipe(q), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int sig = 0;
        char *argv[] = {"gantry", "--host", host, "events", "-f", "--kind", "workload", NULL};
        alarm(100);
        cli_main(7, argv, &(struct cli_io){0, p[1], q[1]}, &sig);
        _exit(sig == SIGTERM ? 0 : 1);
    }
    close(p[1]);
    close(q[1]);
    while (n < sizeof text - 1 && strstr(text, "deleted, by uid:0") == NULL) {
        ssize_t got = read(p[0], text + n, sizeof text - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
    }
    kill(pid, SIGTERM);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
    ssize_t got = read(q[0], told, sizeof told - 1);
    close(p[0]);
    close(q[0]);
    assert_true(got > 0);
    HAS(text, "-  workload  web  is running, should be running: Up 3 seconds\n");
    HAS(text, "2026-01-01 00:00:00  workload  web  state pending -> running, crash: a^[b\n");
    HAS(told, "the server ended the stream");
}

static void importing(void **state)
{
    (void)state;
    struct outcome o;
    char body[1024];
    RUN(&o, "import", "docker-run", "--", "docker", "run", "-d", "--name", "web", "-p", "8080:80",
        "nginx", "-f");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.out, "id: web\n");
    HAS(o.out, "image: nginx");
    HAS(o.out, "- \"-f\"\n");
    RUN(&o, "import", "docker-run", "docker", "run", "-d", "--name", "web", "nginx");
    HAS(o.out, "id: web\n"); /* -- may be left out */
    put_file("run.txt", "docker run -d --name 'web' \\\n  nginx\n");
    RUN(&o, "-o", "json", "import", "docker-run", "-f", in_dir("run.txt"));
    HAS(o.out, "{\"id\":\"web\"");
    RUN(&o, "import", "docker-run", "--apply", "--", "docker", "run", "--name", "web", "nginx");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.out, "web: accepted (apply-web-1)\n");
    seen_body(body, sizeof body);
    HAS(body, "\"image\":\"nginx\"");
    RUN(&o, "import", "docker-run", "--", "docker", "run", "--gpus", "all", "nginx");
    assert_int_equal(o.code, EXIT_NO);
    assert_string_equal(o.out, "");
    HAS(o.err, "gpus");
    HAS(o.err, "--keep-going leaves these flags out");
    RUN(&o, "import", "docker-run", "--keep-going", "--", "docker", "run", "--gpus", "all",
        "nginx");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.err, "warning: ");
    RUN(&o, "import", "docker-run", "--", "docker", "run");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "import", "docker-run");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, "import", "docker-run", "-f", in_dir("nothing"));
    assert_int_equal(o.code, EXIT_NO);
}

static void complete(struct outcome *o, char **words)
{
    char *argv[24] = {"gantry", "__complete", "--host", host};
    int n = 4;
    while (words[n - 4] != NULL) {
        argv[n] = words[n - 4];
        n++;
    }
    int in = scratch(), out = scratch(), err = scratch();
    *o = (struct outcome){0};
    o->code = cli_main(n, argv, &(struct cli_io){in, out, err}, &o->sig);
    close(in);
    read_back(out, o->out, sizeof o->out);
    read_back(err, o->err, sizeof o->err);
}
#define COMPLETE(o, ...) complete((o), (char *[]){__VA_ARGS__, NULL})

static void completions(void **state)
{
    (void)state;
    struct outcome o;
    COMPLETE(&o, "describe", "");
    assert_string_equal(o.out, "db\tpending\nweb\trunning\n");
    COMPLETE(&o, "restart", "w");
    HAS(o.out, "web\trunning\n");
    COMPLETE(&o, "apply", "-f", "x");
    assert_string_equal(o.out, ":files\n");
    COMPLETE(&o, "logs", "-f", "w"); /* here it takes no value */
    HAS(o.out, "web\trunning\n");
    COMPLETE(&o, "wait", "--for", "he");
    assert_string_equal(o.out, "healthy\t\n");
}

/* Every allocation fails once: nothing leaks, nothing crashes, and it is said. */
static void no_memory(void **state)
{
    (void)state;
    struct outcome o;
    put_file("w.yaml", DOC("web") "---\n" DOC("db"));
    char *lines[][8] = {
        {"apply", "-f", in_dir("w.yaml"), NULL},
        {"diff", "-f", in_dir("w.yaml"), NULL},
        {"describe", "web", NULL},
        {"get", NULL},
        {"stats", "web", NULL},
        {"events", "--type", "state", NULL},
        {"import", "docker-run", "--", "docker", "run", "nginx", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        bool hit = true;
        for (uint64_t n = 1; hit && n < 3000; n++) {
            mem_fail_at(n, false);
            run(&o, NULL, lines[i]);
            hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (hit && o.code == EXIT_DONE && strcmp(lines[i][0], "diff") == 0)
                fail_msg("diff: no difference without memory (%llu)", (unsigned long long)n);
            if (o.code != EXIT_DONE && o.err[0] == '\0' && strcmp(lines[i][0], "diff") != 0)
                fail_msg("%s: failed without a word (%llu)", lines[i][0], (unsigned long long)n);
        }
        assert_false(hit);
    }
}

static void times(void **state)
{
    (void)state;
    int64_t ns = 0;
    assert_true(workload_time("1970-01-02T00:00:01.5Z", &ns));
    assert_int_equal(ns, INT64_C(86401500000000));
    assert_true(workload_time("2026-11-21T03:52:00.123456789Z", &ns));
    assert_int_equal(ns % 1000000000, 123456789);
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-21 03:52:00Z",
                                      "2026-11-21T03:52:00",
                                      "2026-11-21T03:52:00+01:00",
                                      "x026-11-21T03:52:00Z",
                                      "2999-01-01T00:00:00Z",
                                      "1969-12-31T23:59:59Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(workload_time(bad[i], &ns));
}

int main(void)
{
    json_in_init();
    text_init();
    unsetenv("GANTRY_HOST");
    unsetenv("GANTRY_TOKEN");
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),    cmocka_unit_test(descriptions),
        cmocka_unit_test(usage),     cmocka_unit_test(top_is_sorted),
        cmocka_unit_test(applying),  cmocka_unit_test(faults_have_places),
        cmocka_unit_test(circles),   cmocka_unit_test(folders),
        cmocka_unit_test(plans),     cmocka_unit_test(actions),
        cmocka_unit_test(waiting),   cmocka_unit_test(logs),
        cmocka_unit_test(events),    cmocka_unit_test(events_go_on),
        cmocka_unit_test(importing), cmocka_unit_test(completions),
        cmocka_unit_test(no_memory), cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
