/* Programs and files in containers, against a scripted engine in the same loop. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker.h"
#include "fake_http.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *l;
    struct fake_http f;
    struct docker *d;
    struct runtime rt;
    /* what the engine does */
    const char *made; /* its answer to the making of a program; NULL: a good one */
    int made_status, start_status, put_status;
    const char *output; /* frames */
    size_t output_len;
    bool hang_start, cut_start;
    int running; /* so often it says that the program still runs */
    int exit_code;
    char request[4096];
    char put[8192];
    size_t put_len;
};

static const char JSON[] = "application/json";

static void took_request(void *ctx, struct exchange *x, int err, struct slice body)
{
    struct world *w = ctx;
    if (err != 0)
        return;
    snprintf(w->request, sizeof(w->request), "%.*s", (int)body.len, body.p);
    fake_http_reply(x, w->made_status ? w->made_status : 201, JSON,
                    w->made ? w->made : "{\"Id\":\"e1\"}");
}

static void took_file(void *ctx, struct exchange *x, int err, struct slice body)
{
    struct world *w = ctx;
    if (err != 0)
        return;
    const struct http_header *h =
        http_find(exchange_request(x)->headers, exchange_request(x)->n_headers, "content-type");
    assert_true(h != NULL && slice_eqs(h->value, "application/x-tar"));
    assert_true(body.len < sizeof(w->put));
    memcpy(w->put, body.p, body.len);
    w->put_len = body.len;
    fake_http_reply(x, w->put_status ? w->put_status : 200, JSON,
                    w->put_status ? "{\"message\":\"refused\"}" : "");
}

static void answer_start(struct world *w, struct fake_http *f, struct exchange *x)
{
    struct http_response r = {.status = 200, .content_type = "application/vnd.docker.raw-stream"};
    if (w->hang_start) {
        fake_http_keep(f, x);
    } else if (w->start_status != 0) {
        fake_http_reply(x, w->start_status, JSON, "{\"message\":\"container e1 is not running\"}");
    } else if (w->cut_start) {
        (void)exchange_start(x, &r);
        (void)exchange_write(x, (struct slice){w->output, w->output_len});
        exchange_abort(x);
    } else {
        fake_http_reply_n(x, 200, r.content_type, w->output, w->output_len);
    }
}

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    char text[80];
    if (strcmp(line, "GET /version") == 0) {
        fake_http_reply(x, 200, JSON, "{\"ApiVersion\":\"1.41\"}");
    } else if (strstr(line, "/events?") != NULL) {
        fake_http_stream(f, x, JSON);
    } else if (strncmp(line, "POST /v1.41/containers/", 23) == 0) {
        exchange_collect(x, 1 << 20, took_request, w);
    } else if (strncmp(line, "PUT ", 4) == 0) {
        exchange_collect(x, 1 << 20, took_file, w);
    } else if (strcmp(line, "POST /v1.41/exec/e1/start") == 0) {
        answer_start(w, f, x);
    } else if (strcmp(line, "GET /v1.41/exec/e1/json") == 0) {
        if (w->running-- > 0)
            snprintf(text, sizeof(text), "{\"Running\":true,\"ExitCode\":null}");
        else
            snprintf(text, sizeof(text), "{\"Running\":false,\"ExitCode\":%d}", w->exit_code);
        fake_http_reply(x, 200, JSON, text);
    } else {
        fake_http_reply(x, 404, JSON, "{\"message\":\"no such row\"}");
    }
}

struct got {
    int calls;
    struct err e;
    int64_t exit_code;
    char text[256];
    size_t len;
    struct docker *free_me;
};

static bool got_one(void *ctx)
{
    return ((struct got *)ctx)->calls > 0;
}

static void on_exec(void *ctx, const struct err *e, int64_t exit_code, struct slice output)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
    g->exit_code = exit_code;
    g->len = output.len;
    snprintf(g->text, sizeof(g->text), "%.*s", (int)output.len, output.p ? output.p : "");
    if (g->free_me != NULL)
        docker_free(STEAL(g->free_me));
}

static void on_done(void *ctx, const struct err *e)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_docker_exec.%d", (int)getpid());
    w->l = test_loop();
    w->f.answer = answer;
    w->f.ctx = w;
    fake_http_start(&w->f, w->l, path);
    struct docker_options o = {.socket_path = w->f.path};
    assert_int_equal(docker_new(&w->d, w->l, &o, NULL), 0);
    docker_runtime(w->d, &w->rt);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    docker_free(w->d);
    fake_http_stop(&w->f);
    fake_http_done(&w->f);
    test_loop_free(w->l);
    free(w);
    return 0;
}

static const char *const cat[] = {"cat", "/a \"b\"\n$(c)", NULL};

static struct got run(struct world *w, const char *name, size_t max)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->exec(w->rt.self, slice_of(name), cat, max, on_exec, &g), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    assert_int_equal(g.calls, 1);
    return g;
}

static struct got put(struct world *w, const char *name, const struct runtime_file *f)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->put_file(w->rt.self, slice_of(name), f, on_done, &g), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    assert_int_equal(g.calls, 1);
    return g;
}

#define FRAMES(w, text)                                                                            \
    do {                                                                                           \
        static const char frames_[] = text;                                                        \
        (w)->output = frames_;                                                                     \
        (w)->output_len = sizeof(frames_) - 1;                                                     \
    } while (0)

static void output(void **state)
{
    struct world *w = *state;
    FRAMES(w, "\1\0\0\0\0\0\0\4one "
              "\2\0\0\0\0\0\0\5oops\n"
              "\1\0\0\0\0\0\0\4two\n");
    w->running = 3;
    struct got g = run(w, "c0", 100);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.exit_code, 0);
    assert_string_equal(g.text, "one two\n");
    assert_string_equal(w->request,
                        "{\"AttachStdin\":false,\"AttachStdout\":true,\"AttachStderr\":"
                        "false,\"Tty\":false,\"Cmd\":[\"cat\",\"/a \\\"b\\\"\\n$(c)\"]}");
    assert_int_equal(fake_http_count(&w->f, "POST /v1.41/containers/c0/exec"), 1);
    assert_int_equal(fake_http_count(&w->f, "GET /v1.41/exec/e1/json"), 4);
    w->exit_code = 127;
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.exit_code, 127);
    w->output_len = 0;
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, 0);
    assert_string_equal(g.text, "");
}

static void limits(void **state)
{
    struct world *w = *state;
    FRAMES(w, "\1\0\0\0\0\0\0\4one "
              "\1\0\0\0\0\0\0\4two\n");
    struct got g = run(w, "c0", 8);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.len, 8);
    g = run(w, "c0", 7);
    assert_int_equal(g.e.code, ERR_LIMIT);
    assert_non_null(strstr(g.e.msg, "larger than 7 bytes"));
    assert_int_equal(g.len, 0);
    g = run(w, "c0", 0);
    assert_int_equal(g.e.code, ERR_LIMIT);
    /* argv that is no text is not sent */
    static const char *const bad[] = {"cat", "\xff", NULL};
    assert_int_equal(w->rt.ops->exec(w->rt.self, SLICE_LIT("c0"), bad, 8, on_exec, &g),
                     ERR_INVALID);
    static char huge[300 << 10];
    memset(huge, 'x', sizeof(huge) - 1);
    const char *const large[] = {"cat", huge, NULL};
    assert_int_equal(w->rt.ops->exec(w->rt.self, SLICE_LIT("c0"), large, 8, on_exec, &g),
                     ERR_LIMIT);
}

static void failures(void **state)
{
    struct world *w = *state;
    size_t before = w->f.n_lines;
    struct got g = run(w, "../x", 100);
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
    assert_int_equal(fake_http_count(&w->f, "POST "), 0);
    assert_true(before <= w->f.n_lines);
    w->made_status = 409;
    w->made = "{\"message\":\"Container c0 is not running\"}";
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(g.e.msg, "409 Client Error for http+docker://localhost/v1.41/containers/c0/"
                                 "exec: Conflict (\"Container c0 is not running\")");
    w->made_status = 404;
    assert_int_equal(run(w, "c0", 100).e.code, ERR_NOT_FOUND);
    w->made_status = 0;
    static const char *const ids[] = {"{}", "{\"Id\":7}", "{\"Id\":\"../x\"}", "[]", "x"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        w->made = ids[i];
        assert_int_equal(run(w, "c0", 100).e.code, ERR_RUNTIME);
    }
    w->made = NULL;
    w->start_status = 409;
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_non_null(strstr(g.e.msg, "is not running"));
    w->start_status = 0;
    FRAMES(w, "\1\0\0\0\0\0\0\4on");
    assert_int_equal(run(w, "c0", 100).e.code, ERR_RUNTIME);
    FRAMES(w, "\7\0\0\0\0\0\0\4one ");
    assert_int_equal(run(w, "c0", 100).e.code, ERR_RUNTIME);
    FRAMES(w, "\3\0\0\0\0\0\0\5why\n\n");
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(g.e.msg, "why");
    FRAMES(w, "\1\0\0\0\0\0\0\4one ");
    w->running = 1000;
    g = run(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_non_null(strstr(g.e.msg, "does not end"));
    w->running = 0;
    w->cut_start = true;
    assert_int_equal(run(w, "c0", 100).e.code, ERR_UNREACHABLE);
}

static void slow(void **state)
{
    struct world *w = *state;
    struct docker_options o = {.socket_path = w->f.path, .exec_ms = 100};
    docker_free(STEAL(w->d));
    assert_int_equal(docker_new(&w->d, w->l, &o, NULL), 0);
    docker_runtime(w->d, &w->rt);
    w->hang_start = true;
    struct got g = run(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_TIMEOUT);
    assert_non_null(strstr(g.e.msg, "did not end within"));
    w->hang_start = false;
    FRAMES(w, "\1\0\0\0\0\0\0\4one ");
    w->running = 4; /* the limit is over by then, but the output had ended before it */
    assert_int_equal(run(w, "c0", 100).e.code, 0);
}

static void files(void **state)
{
    struct world *w = *state;
    struct runtime_file f = {"/root/a b", ".bashrc", 0644, SLICE_LIT("hi\n")};
    struct got g = put(w, "c0", &f);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(fake_http_count(&w->f, "PUT /v1.41/containers/c0/"
                                            "archive?noOverwriteDirNonDir=1&path=%2Froot%2Fa%20b"),
                     1);
    assert_int_equal(w->put_len, 2048);
    assert_string_equal(w->put, ".bashrc");
    assert_string_equal(w->put + 512, "hi\n");
    w->put_status = 404;
    assert_int_equal(put(w, "c0", &f).e.code, ERR_NOT_FOUND);
    w->put_status = 403;
    g = put(w, "c0", &f);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_non_null(strstr(g.e.msg, "refused"));
    size_t sent = fake_http_count(&w->f, "PUT ");
    assert_int_equal(put(w, "..", &f).e.code, ERR_NOT_FOUND);
    assert_int_equal(put(w, "c0?x", &f).e.code, ERR_NOT_FOUND);
    const struct runtime_ops *ops = w->rt.ops;
    f.dir = "root";
    assert_int_equal(ops->put_file(w->rt.self, SLICE_LIT("c0"), &f, on_done, &g), ERR_INVALID);
    f.dir = "/";
    f.name = "../x";
    assert_int_equal(ops->put_file(w->rt.self, SLICE_LIT("c0"), &f, on_done, &g), ERR_INVALID);
    static char deep[600];
    memset(deep, '/', sizeof(deep) - 1);
    f = (struct runtime_file){deep, "x", 0644, SLICE_LIT("")};
    assert_int_equal(ops->put_file(w->rt.self, SLICE_LIT("c0"), &f, on_done, &g), ERR_LIMIT);
    assert_int_equal(fake_http_count(&w->f, "PUT "), sent);
}

/* Whatever it is doing, the end of the client ends it, once. */
static void free_at_any_time(void **state)
{
    struct world *w = *state;
    struct docker_options o = {.socket_path = w->f.path};
    FRAMES(w, "\1\0\0\0\0\0\0\4one ");
    for (int steps = 0; steps < 24; steps++) {
        struct got a = {0}, b = {0}, c = {0};
        struct runtime_file f = {"/root", "f", 0644, SLICE_LIT("x")};
        w->running = 1000;
        w->hang_start = steps % 2;
        docker_free(STEAL(w->d));
        assert_int_equal(docker_new(&w->d, w->l, &o, NULL), 0);
        docker_runtime(w->d, &w->rt);
        assert_int_equal(w->rt.ops->exec(w->rt.self, SLICE_LIT("c0"), cat, 9, on_exec, &a), 0);
        assert_int_equal(w->rt.ops->exec(w->rt.self, SLICE_LIT(".."), cat, 9, on_exec, &b), 0);
        assert_int_equal(w->rt.ops->put_file(w->rt.self, SLICE_LIT("c0"), &f, on_done, &c), 0);
        test_pass(w->l, (uint64_t)steps / 2);
        docker_free(STEAL(w->d));
        test_pass(w->l, 80);
        assert_int_equal(a.calls, 1);
        assert_int_equal(b.calls, 1);
        assert_int_equal(c.calls, 1);
        assert_int_equal(a.e.code, ERR_CANCELLED);
        assert_true(c.e.code == 0 || c.e.code == ERR_CANCELLED);
    }
    w->running = 0;
    w->hang_start = false;
    assert_int_equal(docker_new(&w->d, w->l, &o, NULL), 0);
    docker_runtime(w->d, &w->rt);
    struct got g = {.free_me = w->d};
    assert_int_equal(w->rt.ops->exec(w->rt.self, SLICE_LIT("c0"), cat, 9, on_exec, &g), 0);
    w->d = NULL;
    assert_true(test_run(w->l, got_one, &g, 3000));
    assert_int_equal(g.e.code, 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {CASE(output), CASE(limits), CASE(failures),
                                       CASE(slow),   CASE(files),  CASE(free_at_any_time)};
    return cmocka_run_group_tests_name("docker_exec", tests, NULL, NULL);
}
