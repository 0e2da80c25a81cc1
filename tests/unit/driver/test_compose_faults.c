/* The Compose driver without memory: the n-th allocation fails, for every n, through all that it
 * does. The engine is a process of its own and the tool a script, so that only the driver's
 * allocations count; both know the project from one small file. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose.h"
#include "fake_http.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define JSON "application/json"
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char dir[] = "/tmp/test_compose_faults.XXXXXX";
static pid_t engine;
static struct loop *loop;
static struct docker *docker;
static struct compose *compose;
static struct driver drv;

static const char *path(const char *name)
{
    static char text[8][200];
    static unsigned i;
    char *at = text[i++ % 8];
    (void)snprintf(at, sizeof(text[0]), "%s/%s", dir, name);
    return at;
}

static void put(const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(path(name), "w");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path(name), mode), 0);
}

static bool there(const char *name)
{
    return access(path(name), F_OK) == 0;
}

/* ---- the engine, in its own process: containers "web" and "db" if there is a file "state" */

static const char *state_now(void)
{
    static char text[32];
    FILE *f = fopen(path("state"), "r");
    text[0] = '\0';
    if (f != NULL) {
        if (fgets(text, sizeof(text), f) != NULL)
            text[strcspn(text, "\n")] = '\0';
        (void)fclose(f);
    }
    return text;
}

static void answer_list(struct exchange *x)
{
    static const char *const names[] = {"web", "db"};
    char text[4000] = "[]";
    const char *state = state_now();
    size_t n = 0;
    for (int i = 0; state[0] != '\0' && i < 2; i++)
        n += (size_t)snprintf(
            text + n, sizeof(text) - n,
            "%c{\"Id\":\"%064d\",\"Names\":[\"/shop_%s_1\"],\"Image\":\"x\",\"State\":\"%s\","
            "\"Status\":\"%s\",\"Created\":1700000000,\"Labels\":{"
            "\"com.docker.compose.project\":\"shop\",\"com.docker.compose.service\":\"%s\","
            "\"com.docker.compose.container-number\":\"1\",\"com.docker.compose.config-hash\":"
            "\"" HASH "\",\"com.docker.compose.project.working_dir\":\"%s\"}}%s",
            i == 0 ? '[' : ',', i + 1, names[i], state,
            strcmp(state, "running") == 0 ? "Up 1 second" : "Exited (0) 1 second ago", names[i],
            path("root/shop"), i == 1 ? "]" : "");
    fake_http_reply(x, 200, JSON, text);
}

static void answer_one(struct exchange *x, int i)
{
    char text[1000];
    const char *state = state_now();
    (void)snprintf(text, sizeof(text),
                   "{\"Id\":\"%064d\",\"Name\":\"/shop_%s_1\",\"Created\":\"2026-11-21T04:15:59Z\","
                   "\"Config\":{\"Image\":\"x\",\"Tty\":false,\"Labels\":{}},\"State\":{\"Status\":"
                   "\"%s\",\"Running\":%s,\"ExitCode\":0,\"StartedAt\":\"2026-11-21T04:16:00Z\"},"
                   "\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"no\"}}}",
                   i, i == 1 ? "web" : "db", state,
                   strcmp(state, "running") == 0 ? "true" : "false");
    fake_http_reply(x, state[0] != '\0' ? 200 : 404, JSON, state[0] != '\0' ? text : "{}");
}

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    static const char logs[] = "\001\0\0\0\0\0\0\043"
                               "2026-11-21T04:16:00.000000001Z out\n"
                               "\002\0\0\0\0\0\0\043"
                               "2026-11-21T04:16:00.000000002Z err\n";
    const char *zeros = strstr(line, "/containers/0000");
    int i = zeros != NULL ? zeros[strlen("/containers/") + 63] - '0' : 0;
    const char *rest = zeros != NULL ? zeros + strlen("/containers/") + 64 : "";
    if (strcmp(line, "GET /version") == 0 || strstr(line, "/version") != NULL)
        fake_http_reply(x, 200, JSON, "{\"ApiVersion\":\"1.41\"}");
    else if (strstr(line, "/events?") != NULL)
        fake_http_stream(f, x, JSON);
    else if (strstr(line, "/containers/json") != NULL)
        answer_list(x);
    else if (strncmp(rest, "/json", 5) == 0)
        answer_one(x, i);
    else if (strncmp(rest, "/logs?", 6) == 0)
        fake_http_reply_n(x, 200, "application/octet-stream", logs, sizeof(logs) - 1);
    else if (strncmp(rest, "/stop", 5) == 0) {
        put("state", "exited\n", 0644);
        fake_http_reply(x, 204, JSON, "");
    } else if (strncmp(line, "DELETE ", 7) == 0) {
        (void)unlink(path("state"));
        fake_http_reply(x, 204, JSON, "");
    } else if (strstr(line, "/volumes?") != NULL)
        fake_http_reply(x, 200, JSON, "{\"Volumes\":[]}");
    else
        fake_http_reply(x, 200, JSON, "[]");
}

static void run_engine(void)
{
    static struct fake_http f;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    f.answer = answer;
    struct loop *l = test_loop();
    fake_http_start(&f, l, path("engine"));
    for (;;) {
        loop_run_once(l, true);
        while (f.n_lines > FAKE_LOG_MAX / 2) /* what was asked is of no interest */
            free(f.lines[--f.n_lines]);
    }
}

/* ---- the world */

static int setup(void **state)
{
    char tool[2000];
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mkdir(path("in"), 0755), 0);
    (void)snprintf(tool, sizeof(tool),
                   "#!/bin/sh\n"
                   "case \"$*\" in\n"
                   "*version*) echo 'docker-compose version 1.29.2';;\n"
                   "*' config --hash'*) echo 'web " HASH "'; echo 'db 1" HASH "';;\n"
                   "*' config -q'*) :;;\n"
                   "*' config'*) echo 'services: {web: {image: x, volumes: [\"%s/in:/x:rw\"]}, db: "
                   "{image: x}}';;\n"
                   "*' up '*) echo running > %s/state; echo up;;\n"
                   "*' stop'*) echo exited > %s/state;;\n"
                   "*' down'*) rm -f %s/state;;\n"
                   "esac\n",
                   dir, dir, dir, dir);
    put("tool", tool, 0755);
    engine = fork();
    if (engine == 0) {
        run_engine();
        _exit(0);
    }
    for (int i = 0; i < 500 && !there("engine"); i++)
        (void)usleep(10000);
    assert_true(there("engine"));
    loop = test_loop();
    return 0;
}

static int teardown(void **state)
{
    char command[64];
    (void)state;
    (void)kill(engine, SIGKILL);
    (void)waitpid(engine, NULL, 0);
    test_loop_free(loop);
    /* "rm" by a path of its own; nothing of it comes from outside. */
    (void)snprintf(command, sizeof(command), "%s", dir);
    pid_t p = fork();
    if (p == 0) {
        (void)execl("/bin/rm", "rm", "-rf", command, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(p, NULL, 0);
    return 0;
}

static bool known(void *ctx)
{
    (void)ctx;
    return strcmp(drv.ops->condition(drv.self), "healthy") == 0;
}

static void watcher_changed(void *ctx, struct slice id)
{
    (void)ctx;
    (void)id;
}

static void watcher_reachable(void *ctx, bool up)
{
    (void)ctx;
    (void)up;
}

static void begin(void)
{
    static const struct driver_watcher watcher = {watcher_changed, watcher_reachable, NULL};
    static const char *roots[1];
    static struct driver inner;
    struct err e = {0};
    roots[0] = path("in");
    struct docker_options o = {.socket_path = path("engine"), .answer_ms = 3000, .probe_ms = 20};
    struct docker_driver_options d = {.look_ms = 3000};
    struct compose_options c = {.root = path("root"),
                                .binary = path("tool"),
                                .bind_roots = roots,
                                .n_bind_roots = 1,
                                .up_ms = 5000,
                                .stop_ms = 5000,
                                .look_ms = 3000};
    assert_int_equal(docker_new(&docker, loop, &o, &e), 0);
    assert_int_equal(docker_driver(docker, &d, &inner, &e), 0);
    assert_int_equal(compose_new(&compose, docker, &c, &drv, &e), 0);
    drv.ops->watch(drv.self, &watcher);
    assert_true(test_run(loop, known, NULL, 10000));
}

static void end(void)
{
    compose_free(STEAL(compose));
    docker_free(STEAL(docker));
    test_pass(loop, 30);
}

/* ---- one thing at a time, to its end */

struct got {
    int calls;
    struct fault f;
    size_t n; /* lines, items */
    enum workload_actual actual;
    struct driver_call *call;
};

static struct got got;

static bool got_one(void *ctx)
{
    (void)ctx;
    return got.calls > 0;
}

static void note(const struct fault *f)
{
    got.calls++;
    if (f != NULL)
        got.f = *f;
}

static void on_object(void *ctx, const struct fault *f, const struct driver_object *o)
{
    (void)ctx;
    note(f);
    if (f == NULL && o != NULL) {
        got.n++;
        got.actual = o->actual;
    }
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    (void)ctx;
    (void)items;
    note(f);
    got.n = n;
}

static void on_parts(void *ctx, const struct fault *f, const struct driver_part *p, size_t n)
{
    (void)ctx;
    (void)p;
    note(f);
    got.n = n;
}

static void on_plan(void *ctx, const struct fault *f, const struct driver_step *s, size_t n)
{
    (void)ctx;
    (void)s;
    note(f);
    got.n = n;
}

static void on_line(void *ctx, enum driver_stream s, int64_t ns, struct slice text)
{
    (void)ctx;
    (void)s;
    (void)ns;
    (void)text;
    got.n++;
}

static void on_logs_done(void *ctx, const struct fault *f)
{
    (void)ctx;
    note(f);
}

/* 0 or its fault's code; the callback has come exactly once, or never if it was refused. */
static int over(int rc)
{
    if (rc == 0) {
        assert_true(test_run(loop, got_one, NULL, 15000));
        rc = got.f.e.code;
        assert_true(rc == 0 || got.f.e.msg[0] != '\0');
    }
    assert_true(got.calls <= 1);
    return rc;
}

static struct doc_pair env[] = {{(char *)(uintptr_t) "DIR", NULL}};
static struct doc_pair secret[] = {{(char *)(uintptr_t) "KEY", (char *)(uintptr_t) "a b"}};

static void document(struct workload_doc *d, const char *yaml)
{
    env[0].value = (char *)(uintptr_t)path("in");
    *d = (struct workload_doc){.id = (char *)(uintptr_t) "shop", .type = WORKLOAD_COMPOSE};
    d->compose.compose_yaml = (char *)(uintptr_t)yaml;
    d->compose.env = (struct schema_list){env, 1};
    d->compose.secret_env = (struct schema_list){secret, 1};
}

/* With a value that only the tool can tell, a folder to be looked at, and labels to be merged. */
#define FIRST                                                                                      \
    "x-a: &a {labels: {a: b}}\nservices: {web: {<<: *a, image: x, volumes: ['${DIR}:/x']}, db: "   \
    "{image: x}}\n"
#define SECOND "services: {web: {image: y, volumes: ['${DIR}:/x']}, db: {image: x}}\n"

static int act(int (*fn)(void *, const struct driver_order *, driver_done_fn, void *),
               const char *yaml, bool follows, bool for_good)
{
    struct workload_doc d;
    document(&d, yaml);
    struct driver_order o = {.id = SLICE_LIT("shop"),
                             .revision = SLICE_LIT("1"),
                             .doc = &d,
                             .node_id = SLICE_LIT("n"),
                             .print = slice_of(yaml[0] == 'x' ? "p1" : "p2"),
                             .start_follows = follows,
                             .stop_timeout_s = 1,
                             .for_good = for_good};
    got = (struct got){0};
    return over(fn(drv.self, &o, on_object, NULL));
}

static int up(const char *yaml, bool follows)
{
    int rc = act(drv.ops->ensure, yaml, follows, false);
    return rc != 0 ? rc : act(drv.ops->start, yaml, false, false);
}

static int stop(void)
{
    return act(drv.ops->stop, FIRST, false, false);
}

static int removal(void)
{
    return act(drv.ops->remove, FIRST, false, true);
}

static int create_first(void)
{
    return up(FIRST, true);
}

static int update(void)
{
    return up(SECOND, false);
}

static int look(void)
{
    got = (struct got){0};
    return over(drv.ops->inspect(drv.self, SLICE_LIT("shop"), on_object, NULL));
}

static int list(void)
{
    got = (struct got){0};
    return over(drv.ops->list(drv.self, on_list, NULL));
}

static int parts(void)
{
    got = (struct got){0};
    return over(drv.ops->parts(drv.self, SLICE_LIT("shop"), on_parts, NULL));
}

static int plan(void)
{
    struct workload_doc d;
    document(&d, SECOND);
    got = (struct got){0};
    return over(drv.ops->plan(drv.self, &d, on_plan, NULL));
}

static int logs(bool follow)
{
    static const struct driver_logs_user user = {on_line, on_logs_done};
    struct driver_logs_order o = {.id = SLICE_LIT("shop"), .tail = -1, .follow = follow};
    struct err e = {0};
    got = (struct got){0};
    return over(drv.ops->logs(drv.self, &o, &user, NULL, &got.call, &e));
}

static int read_logs(void)
{
    return logs(false);
}

static int follow_logs(void)
{
    return logs(true);
}

/* To begin a program takes a sanitized one a hundred times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { STEP = 7 };
#else
enum { STEP = 1 };
#endif

static bool slow(void)
{
    return getenv("GANTRY_UNDER_VALGRIND") != NULL;
}

/* `what` with every step-th allocation failing in turn, each time from `before`; then it works. */
static void each_allocation(const char *name, int (*before)(void), int (*what)(void), size_t items,
                            uint64_t step)
{
    bool hit = true;
    uint64_t n = 1;
    for (; hit; n += slow() ? 17 * step : step) {
        assert_int_equal(before != NULL ? before() : 0, 0);
        mem_fail_at(n, false);
        int rc = what();
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc != 0 && !hit)
            print_error("%s, allocation %d: %d %s\n", name, (int)n, rc, got.f.e.msg);
        assert_true(rc == 0 || hit);
        assert_true(known(NULL) || test_run(loop, known, NULL, 10000));
        if (rc == 0 && items > 0 && got.n != items && !hit)
            print_error("%s: %zu items\n", name, got.n);
        assert_true(rc != 0 || hit || items == 0 || got.n == items);
        /* What was left half done is no hindrance. */
        rc = what();
        if (rc != 0)
            print_error("%s, after allocation %d: %d %s\n", name, (int)n, rc, got.f.e.msg);
        assert_int_equal(rc, 0);
        assert_true(items == 0 || got.n == items);
    }
    assert_true(n > 5);
}

/* Nothing that was being tried is left: it has secrets in it. */
static void nothing_tried(void)
{
    DIR *d = opendir(path("root"));
    test_pass(loop, 30);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        assert_int_not_equal(strncmp(e->d_name, ".new-", 5), 0);
    if (d != NULL)
        (void)closedir(d);
}

static int nothing(void)
{
    int rc = removal();
    assert_false(there("state"));
    assert_false(there("root/shop"));
    assert_false(there("root/.new-shop"));
    return rc;
}

static int first(void)
{
    int rc = nothing();
    return rc != 0 ? rc : create_first();
}

static int stopped(void)
{
    int rc = first();
    return rc != 0 ? rc : stop();
}

static void creating(void **state)
{
    (void)state;
    begin();
    each_allocation("create", nothing, create_first, 1, STEP);
    assert_string_equal(state_now(), "running");
    assert_int_equal(nothing(), 0);
    end();
}

static void updating(void **state)
{
    (void)state;
    begin();
    each_allocation("update", first, update, 1, STEP);
    assert_int_equal(nothing(), 0);
    end();
}

static void stopping(void **state)
{
    (void)state;
    begin();
    each_allocation("stop", first, stop, 1, STEP);
    assert_int_equal(look(), 0);
    assert_int_equal(got.actual, ACTUAL_STOPPED);
    each_allocation("remove", first, removal, 0, STEP);
    assert_int_equal(nothing(), 0);
    end();
}

static void looking(void **state)
{
    (void)state;
    begin();
    assert_int_equal(first(), 0);
    each_allocation("inspect", NULL, look, 1, STEP);
    assert_int_equal(got.actual, ACTUAL_RUNNING);
    each_allocation("list", NULL, list, 1, STEP);
    each_allocation("parts", NULL, parts, 2, STEP);
    each_allocation("plan", NULL, plan, 2, STEP);
    nothing_tried();
    assert_int_equal(nothing(), 0);
    end();
}

static void reading(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stopped(), 0);
    each_allocation("logs", NULL, read_logs, 4, STEP);
    each_allocation("followed logs", NULL, follow_logs, 4, 5 * STEP); /* ends, as nothing runs */
    assert_int_equal(nothing(), 0);
    end();
}

/* The driver goes while something is under way: it is told, once, and nothing is touched after. */
static void going(void **state)
{
    (void)state;
    static int (*const what[])(void) = {create_first, look, list, parts, plan, read_logs};
    for (size_t i = 0; i < ARRAY_LEN(what); i++)
        for (int ms = 0; ms < 6; ms += 2) {
            static const struct driver_logs_user user = {on_line, on_logs_done};
            struct workload_doc d;
            struct driver_order o = {.id = SLICE_LIT("shop"), .doc = &d};
            struct driver_logs_order l = {.id = SLICE_LIT("shop"), .tail = -1, .follow = ms > 0};
            begin();
            document(&d, FIRST);
            got = (struct got){0};
            int rc = i == 0   ? drv.ops->ensure(drv.self, &o, on_object, NULL)
                     : i == 1 ? drv.ops->inspect(drv.self, o.id, on_object, NULL)
                     : i == 2 ? drv.ops->list(drv.self, on_list, NULL)
                     : i == 3 ? drv.ops->parts(drv.self, o.id, on_parts, NULL)
                     : i == 4 ? drv.ops->plan(drv.self, &d, on_plan, NULL)
                              : drv.ops->logs(drv.self, &l, &user, NULL, &got.call, NULL);
            assert_int_equal(rc, 0);
            test_pass(loop, (uint64_t)ms);
            end();
            assert_int_equal(got.calls, 1);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creating), cmocka_unit_test(updating), cmocka_unit_test(stopping),
        cmocka_unit_test(looking),  cmocka_unit_test(reading),  cmocka_unit_test(going),
    };
    return cmocka_run_group_tests_name("compose_faults", tests, setup, teardown);
}
