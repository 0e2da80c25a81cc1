/* The Docker driver while the n-th allocation fails: each call ends exactly once, and the next one
 * works. */
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

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char JSON[] = "application/json";

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    static const char frames[] = "\1\0\0\0\0\0\0\6out \xff\n";
    if (strcmp(line, "GET /version") == 0)
        fake_http_reply(x, 200, JSON, "{\"ApiVersion\":\"1.41\"}");
    else if (strstr(line, "/events?") != NULL)
        fake_http_stream(f, x, JSON);
    else if (strstr(line, "/containers/json") != NULL)
        fake_http_reply(
            x, 200, JSON,
            "[{\"Id\":\"" HEX_A "\",\"Names\":[\"/"
            "c0\"],\"ImageID\":\"sha256:i0\",\"State\":\"running\",\"Created\":1795234559},"
            "{\"Id\":\"bb\",\"Names\":[\"/"
            "c1\"],\"ImageID\":\"sha256:i9\",\"State\":\"exited\",\"Created\":1795234559}]");
    else if (strstr(line, "/images/json") != NULL)
        fake_http_reply(x, 200, JSON, "[{\"Id\":\"sha256:i0\",\"RepoTags\":[\"b:1\",\"a:1\"]}]");
    else if (strstr(line, "/images/") != NULL)
        fake_http_reply(x, 404, JSON, "{\"message\":\"no such image\"}");
    else if (strstr(line, "/logs?") != NULL)
        fake_http_reply_n(x, 200, "application/octet-stream", frames, sizeof(frames) - 1);
    else if (strstr(line, "/exec/e1/start") != NULL)
        fake_http_reply_n(x, 200, "application/octet-stream", frames, sizeof(frames) - 1);
    else if (strstr(line, "/exec/e1/json") != NULL)
        fake_http_reply(x, 200, JSON, "{\"Running\":false,\"ExitCode\":3}");
    else if (strstr(line, "/exec") != NULL)
        fake_http_reply(x, 201, JSON, "{\"Id\":\"e1\"}");
    else if (strncmp(line, "PUT ", 4) == 0)
        fake_http_reply(x, 200, NULL, "");
    else if (strncmp(line, "POST ", 5) == 0)
        fake_http_reply(x, 204, NULL, "");
    else
        fake_http_reply(
            x, 200, JSON,
            "{\"Id\":\"" HEX_A
            "\",\"Name\":\"/c0\",\"Created\":\"2026-11-21T04:15:59.1Z\",\"Image\":\"sha256:i0\","
            "\"Config\":{\"Tty\":false},\"State\":{\"Status\":\"running\",\"ExitCode\":0}}");
}

enum { LIST, INSPECT, ACT, LOGS, EXEC, PUT, REFUSED, CALLS };

struct world {
    struct loop *l;
    struct fake_http f;
    struct docker *d;
    struct runtime rt;
    bool due[CALLS]; /* a callback is to come */
    int code[CALLS];
};

struct slot {
    struct world *w;
    int i;
};

static void ended(void *ctx, const struct err *e)
{
    struct slot *s = ctx;
    assert_true(s->w->due[s->i]);
    s->w->due[s->i] = false;
    s->w->code[s->i] = e->code;
}

static void on_list(void *ctx, const struct err *e, const struct runtime_container *items, size_t n)
{
    if (e->code == 0) {
        assert_int_equal(n, 2);
        assert_string_equal(items[0].image, "a:1");
        assert_string_equal(items[1].image, "");
        assert_true(strlen(items[0].created) > 10 && strlen(items[1].created) > 10);
    }
    ended(ctx, e);
}

static void on_inspect(void *ctx, const struct err *e, const struct runtime_container *c)
{
    assert_int_equal(c != NULL, e->code == 0);
    ended(ctx, e);
}

static void on_logs(void *ctx, const struct err *e, struct slice text)
{
    if (e->code == 0)
        assert_true(slice_eqs(text, "out \xef\xbf\xbd\n"));
    ended(ctx, e);
}

static void on_exec(void *ctx, const struct err *e, int64_t exit_code, struct slice text)
{
    if (e->code == 0) {
        assert_int_equal(exit_code, 3);
        assert_true(slice_eqs(text, "out \xff\n"));
    }
    ended(ctx, e);
}

static bool all_ended(void *ctx)
{
    struct world *w = ctx;
    for (int i = 0; i < CALLS; i++)
        if (w->due[i])
            return false;
    return true;
}

static void begin(struct world *w, struct slot *s)
{
    const struct runtime_ops *ops = w->rt.ops;
    memset(w->code, 0, sizeof(w->code));
    for (int i = 0; i < CALLS; i++)
        s[i] = (struct slot){w, i};
    w->due[LIST] = (w->code[LIST] = ops->list(w->rt.self, true, on_list, &s[LIST])) == 0;
    w->due[INSPECT] = (w->code[INSPECT] =
                           ops->inspect(w->rt.self, SLICE_LIT("c0"), on_inspect, &s[INSPECT])) == 0;
    w->due[ACT] = (w->code[ACT] =
                       ops->act(w->rt.self, SLICE_LIT("c0"), RUNTIME_STOP, 1, ended, &s[ACT])) == 0;
    w->due[LOGS] =
        (w->code[LOGS] = ops->logs(w->rt.self, SLICE_LIT("c0"), 10, on_logs, &s[LOGS])) == 0;
    static const char *const argv[] = {"cat", "/x", NULL};
    static const struct runtime_file file = {"/root", "f", 0644, {"x", 1}};
    w->code[EXEC] = ops->exec(w->rt.self, SLICE_LIT("c0"), argv, 100, on_exec, &s[EXEC]);
    w->due[EXEC] = w->code[EXEC] == 0;
    w->code[PUT] = ops->put_file(w->rt.self, SLICE_LIT("c0"), &file, ended, &s[PUT]);
    w->due[PUT] = w->code[PUT] == 0;
    w->due[REFUSED] = (w->code[REFUSED] =
                           ops->inspect(w->rt.self, SLICE_LIT(".."), on_inspect, &s[REFUSED])) == 0;
}

/* true: the failure was reached. */
static bool one_round(struct world *w, uint64_t n, bool sticky)
{
    struct slot s[CALLS];
    struct docker_options o = {.socket_path = w->f.path, .answer_ms = 500, .probe_ms = 100};
    mem_fail_at(n, sticky);
    int rc = docker_new(&w->d, w->l, &o, NULL);
    if (rc == 0) {
        docker_runtime(w->d, &w->rt);
        begin(w, s);
        assert_true(test_run(w->l, all_ended, w, 10000));
    }
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    if (rc != 0) {
        assert_true(hit);
        return true;
    }
    /* With memory again, everything works again. */
    for (int tries = 0; tries < 20; tries++) {
        begin(w, s);
        assert_true(test_run(w->l, all_ended, w, 10000));
        if (w->code[LIST] == 0 && w->code[INSPECT] == 0 && w->code[ACT] == 0 &&
            w->code[LOGS] == 0 && w->code[EXEC] == 0 && w->code[PUT] == 0)
            break;
        assert_true(tries < 19);
        test_pass(w->l, 20);
    }
    assert_int_equal(w->code[REFUSED], ERR_NOT_FOUND);
    docker_free(STEAL(w->d));
    test_pass(w->l, 2);
    return hit;
}

static void rounds(bool sticky)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/fault_docker.%d", (int)getpid());
    w->l = test_loop();
    w->f.answer = answer;
    fake_http_start(&w->f, w->l, path);
    uint64_t n = 1;
    /* Every one of the first calls, then every third: the later ones are the same again and again.
     */
    while (one_round(w, n, sticky) && n < 5000) {
        n += n < 300 ? 1 : 3;
        fake_http_done(&w->f);
    }
    print_message("%d allocations\n", (int)n);
    assert_true(n > 100 && n < 5000);
    fake_http_stop(&w->f);
    fake_http_done(&w->f);
    test_loop_free(w->l);
    free(w);
}

static void each_allocation(void **state BASE_UNUSED)
{
    rounds(false);
}

static void from_each_allocation_on(void **state BASE_UNUSED)
{
    rounds(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation),
                                       cmocka_unit_test(from_each_allocation_on)};
    return cmocka_run_group_tests_name("fault_docker", tests, NULL, NULL);
}
