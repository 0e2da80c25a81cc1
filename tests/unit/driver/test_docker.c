/* The Docker driver against a scripted engine in the same loop. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker.h"
#include "fake_http.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* What the engine does; a test changes it. */
struct script {
    size_t containers; /* c0, c1... newest first, with image i<n> */
    bool gone_image;   /* the first one's image is no more */
    bool hang_version, hang_list, hang_stop, cut_list, forbid_events, no_json;
    bool tag_changes; /* the first image's tag becomes "new:1" */
    const char *logs; /* body of the logs answer */
    size_t logs_len;
    int logs_status, act_status;
    bool tty;
    const char *version;
};

struct world {
    struct loop *l;
    struct fake_http f;
    struct script s;
    struct docker *d;
    struct runtime rt;
};

static const char JSON[] = "application/json";

static void container_id(char out[65], size_t i)
{
    snprintf(out, 65, "%064zx", i + 1);
}

static void answer_list(struct world *w, struct exchange *x)
{
    struct buf b = BUF_INIT(64 << 20);
    buf_addc(&b, '[');
    for (size_t i = 0; i < w->s.containers; i++) {
        char id[65];
        container_id(id, i);
        buf_addf(&b,
                 "%s{\"Id\":\"%s\",\"Names\":[\"/link/c%zu\",\"/"
                 "c%zu\"],\"ImageID\":\"sha256:i%zu\",\"State\":\"%s\",\"Created\":1795234559}",
                 i > 0 ? "," : "", id, i, i, i % 3, i == 0 ? "paused" : "running");
    }
    buf_addc(&b, ']');
    if (w->s.cut_list) {
        struct http_response r = {.status = 200, .content_type = JSON};
        (void)exchange_start(x, &r);
        (void)exchange_write(x, (struct slice){b.data, b.len / 2});
        exchange_abort(x);
    } else {
        fake_http_reply_n(x, 200, JSON, b.data, b.len);
    }
    buf_done(&b);
}

static void answer_images(struct world *w, struct exchange *x)
{
    char text[400];
    snprintf(text, sizeof(text),
             "[%s{\"Id\":\"sha256:i1\",\"RepoTags\":[\"zz:1\",\"aa:1\"]},{\"Id\":\"sha256:i2\","
             "\"RepoTags\":null}]",
             w->s.gone_image    ? ""
             : w->s.tag_changes ? "{\"Id\":\"sha256:i0\",\"RepoTags\":[\"new:1\"]},"
                                : "{\"Id\":\"sha256:i0\",\"RepoTags\":[\"old:1\"]},");
    fake_http_reply(x, 200, JSON, text);
}

static void answer_container(struct world *w, struct exchange *x, const char *line)
{
    const char *id = line + strlen("GET /v1.41/containers/");
    char text[600], full[65];
    if (strncmp(id, "nope", 4) == 0) {
        fake_http_reply(x, 404, JSON, "{\"message\":\"No such container: nope\"}");
        return;
    }
    snprintf(full, sizeof(full), "%.64s", strncmp(id, "c0", 2) == 0 ? HEX_A : id);
    snprintf(
        text, sizeof(text),
        "{\"Id\":\"%s\",\"Name\":\"/"
        "c0\",\"Created\":\"2026-11-21T04:15:59.123456789Z\",\"Image\":\"sha256:i0\",\"Config\":{"
        "\"Tty\":%s},"
        "\"State\":{\"Status\":\"exited\",\"Restarting\":false,\"Paused\":false,\"ExitCode\":7,"
        "\"StartedAt\":\"2026-11-21T04:16:00Z\",\"FinishedAt\":\"0001-01-01T00:00:00Z\"}}",
        full, w->s.tty ? "true" : "false");
    fake_http_reply(x, 200, JSON, text);
}

static void answer_act(struct world *w, struct exchange *x, const char *line)
{
    if (w->s.hang_stop && strstr(line, "/stop") != NULL) {
        fake_http_keep(&w->f, x);
        return;
    }
    int status = w->s.act_status != 0 ? w->s.act_status : 204;
    fake_http_reply(x, status, JSON,
                    status >= 400
                        ? "{\"message\":\"cannot start a paused container, try unpause instead\"}"
                        : "");
}

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    if (w->s.no_json)
        fake_http_reply(x, 200, "text/html", "<html>");
    else if (strcmp(line, "GET /version") == 0 && w->s.hang_version)
        fake_http_keep(f, x);
    else if (strcmp(line, "GET /version") == 0)
        fake_http_reply(x, 200, JSON,
                        w->s.version != NULL ? w->s.version : "{\"ApiVersion\":\"1.41\"}");
    else if (strstr(line, "/events?") != NULL && w->s.forbid_events)
        fake_http_reply(x, 403, JSON, "{\"message\":\"forbidden\"}");
    else if (strstr(line, "/events?") != NULL)
        fake_http_stream(f, x, JSON);
    else if (strncmp(line, "GET /v1.41/containers/json", 26) == 0 && w->s.hang_list)
        fake_http_keep(f, x);
    else if (strncmp(line, "GET /v1.41/containers/json", 26) == 0)
        answer_list(w, x);
    else if (strncmp(line, "GET /v1.41/images/json", 22) == 0)
        answer_images(w, x);
    else if (strncmp(line, "GET /v1.41/images/", 18) == 0 && w->s.gone_image)
        fake_http_reply(x, 404, JSON, "{\"message\":\"no such image: i0\"}");
    else if (strncmp(line, "GET /v1.41/images/", 18) == 0)
        fake_http_reply(x, 200, JSON, "{\"RepoTags\":[\"<none>:<none>\",\"old:1\"]}");
    else if (strstr(line, "/logs?") != NULL && w->s.logs_status != 0)
        fake_http_reply(x, w->s.logs_status, JSON,
                        "{\"message\":\"configured logging driver does not support reading\"}");
    else if (strstr(line, "/logs?") != NULL)
        fake_http_reply_n(x, 200, "application/octet-stream", w->s.logs, w->s.logs_len);
    else if (strncmp(line, "POST ", 5) == 0)
        answer_act(w, x, line);
    else
        answer_container(w, x, line);
}

/* --- what comes back --- */

struct got {
    int calls;
    struct err e;
    size_t n;
    char name[64], image[64], created[64], status[32], id[65], last_created[64];
    int64_t exit_code;
    struct buf text;
    struct docker *free_me; /* a user may free the driver in its callback */
};

static bool got_one(void *ctx)
{
    return ((struct got *)ctx)->calls > 0;
}

static void keep_text(char *out, size_t size, const char *in)
{
    snprintf(out, size, "%s", in);
}

static void got_container(struct got *g, const struct runtime_container *c)
{
    keep_text(g->name, sizeof(g->name), c->name);
    keep_text(g->image, sizeof(g->image), c->image);
    keep_text(g->created, sizeof(g->created), c->created);
    keep_text(g->status, sizeof(g->status), c->status);
    keep_text(g->id, sizeof(g->id), c->id);
    g->exit_code = c->exit_code;
}

static void on_list(void *ctx, const struct err *e, const struct runtime_container *items, size_t n)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
    g->n = n;
    if (n > 0) {
        got_container(g, &items[0]);
        keep_text(g->last_created, sizeof(g->last_created), items[n - 1].created);
    }
    if (g->free_me != NULL)
        docker_free(STEAL(g->free_me));
}

static void on_inspect(void *ctx, const struct err *e, const struct runtime_container *c)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
    assert_int_equal(c != NULL, e->code == 0);
    if (c != NULL)
        got_container(g, c);
}

static void on_done(void *ctx, const struct err *e)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
}

static void on_logs(void *ctx, const struct err *e, struct slice text)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
    buf_init(&g->text, 64 << 20);
    buf_add(&g->text, text.p, text.len);
}

/* --- set-up --- */

static int world_start(struct world *w, const struct docker_options *more)
{
    struct docker_options o = more != NULL ? *more : (struct docker_options){0};
    o.socket_path = w->f.path;
    int rc = docker_new(&w->d, w->l, &o, NULL);
    if (rc == 0)
        docker_runtime(w->d, &w->rt);
    return rc;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_docker.%d", (int)getpid());
    w->l = test_loop();
    w->s.containers = 3;
    w->f.answer = answer;
    w->f.ctx = w;
    fake_http_start(&w->f, w->l, path);
    assert_int_equal(world_start(w, NULL), 0);
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

static struct got list(struct world *w, bool all)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->list(w->rt.self, all, on_list, &g), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    return g;
}

static struct got inspect(struct world *w, const char *name)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->inspect(w->rt.self, slice_of(name), on_inspect, &g), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    return g;
}

static struct got act(struct world *w, const char *name, enum runtime_action a, int64_t timeout_s)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->act(w->rt.self, slice_of(name), a, timeout_s, on_done, &g), 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    return g;
}

static struct got logs(struct world *w, const char *name, int64_t tail)
{
    struct got g = {0};
    assert_int_equal(w->rt.ops->logs(w->rt.self, slice_of(name), tail, on_logs, &g), 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    return g;
}

static bool reachable(void *ctx)
{
    struct world *w = ctx;
    return w->rt.ops->reachable(w->rt.self);
}

static bool unreachable(void *ctx)
{
    return !reachable(ctx);
}

/* Ready, and its event stream has begun. */
static bool following(void *ctx)
{
    struct world *w = ctx;
    return reachable(w) && w->f.n_kept > 0;
}

/* --- tests --- */

static void list_fields(void **state)
{
    struct world *w = *state;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.n, 3);
    assert_string_equal(g.name, "c0");
    assert_string_equal(g.image, "old:1");
    assert_string_equal(g.status, "paused");
    assert_string_equal(g.created, "2026-11-21T04:15:59.123456789Z");
    assert_int_equal(
        fake_http_count(&w->f, "GET /v1.41/containers/json?limit=-1&all=1&size=0&trunc_cmd=0"), 1);
    assert_int_equal(fake_http_count(&w->f, "GET /version"), 1);
    g = list(w, false);
    assert_int_equal(
        fake_http_count(&w->f, "GET /v1.41/containers/json?limit=-1&all=0&size=0&trunc_cmd=0"), 1);
}

/* Later lists cost one call, as long as no image changes. */
static void list_cost(void **state)
{
    struct world *w = *state;
    assert_true(test_run(w->l, following, w, 3000));
    test_pass(w->l, 20);
    struct got g = list(w, true);
    size_t before = w->f.n_lines;
    for (int i = 0; i < 5; i++)
        g = list(w, true);
    assert_int_equal(w->f.n_lines - before, 5);
    assert_string_equal(g.image, "old:1");
    /* A tag moves: the event makes the next list ask. */
    w->s.tag_changes = true;
    fake_http_send(w->f.kept[0], "{\"Type\":\"image\",\"Action\":\"tag\"}\n");
    test_pass(w->l, 20);
    before = w->f.n_lines;
    g = list(w, true);
    assert_string_equal(g.image, "new:1");
    assert_int_equal(w->f.n_lines - before, 2);
    g = list(w, true);
    assert_int_equal(w->f.n_lines - before, 3);
}

static void list_without_events(void **state)
{
    struct world *w = *state;
    w->s.forbid_events = true;
    struct got g = list(w, true);
    assert_string_equal(g.image, "old:1");
    w->s.tag_changes = true;
    size_t before = w->f.n_lines;
    g = list(w, true);
    assert_string_equal(g.image, "new:1");
    assert_int_equal(w->f.n_lines - before, 2);
    assert_true(reachable(w));
}

static void list_image_gone(void **state)
{
    struct world *w = *state;
    assert_true(test_run(w->l, following, w, 3000));
    test_pass(w->l, 20);
    w->s.gone_image = true;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.n, 3);
    assert_string_equal(g.image, "");
    /* That it is gone is remembered as well. */
    size_t before = w->f.n_lines;
    g = list(w, true);
    assert_int_equal(w->f.n_lines - before, 1);
    g = inspect(w, "c0");
    assert_int_equal(g.e.code, 0);
    assert_string_equal(g.image, "");
}

static void strict_image_gone(void **state)
{
    struct world *w = *state;
    docker_free(w->d);
    assert_int_equal(world_start(w, &(struct docker_options){.strict_talos = true}), 0);
    w->s.gone_image = true;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(g.e.msg,
                        "404 Client Error for http+docker://localhost/v1.41/images/i0/json: Not "
                        "Found (\"no such image: i0\")");
    g = inspect(w, "c0");
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
    w->s.gone_image = false;
    g = list(w, true);
    assert_int_equal(g.e.code, 0);
    static const char bad[] = "\1\0\0\0\0\0\0\3\xff\xfe\n";
    w->s.logs = bad;
    w->s.logs_len = sizeof(bad) - 1;
    g = logs(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(g.e.msg,
                        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte");
    buf_done(&g.text);
}

/* New containers are inspected once each, at most max_fill a list. */
static void list_thousand(void **state)
{
    struct world *w = *state;
    w->s.containers = 1000;
    struct got g = list(w, true);
    assert_int_equal(g.n, 1000);
    assert_string_equal(g.created, "2026-11-21T04:15:59.123456789Z");
    assert_string_equal(g.last_created, "2026-11-21T04:15:59.000000000Z");
    assert_int_equal(fake_http_count(&w->f, "GET /v1.41/containers/0"), 64);
    for (int i = 0; i < 15; i++)
        g = list(w, true);
    assert_string_equal(g.last_created, "2026-11-21T04:15:59.123456789Z");
    assert_int_equal(fake_http_count(&w->f, "GET /v1.41/containers/0"), 1000);
    /* Those that are gone are forgotten, and asked anew if they ever come back. */
    w->s.containers = 2;
    g = list(w, true);
    w->s.containers = 5;
    g = list(w, true);
    assert_int_equal(fake_http_count(&w->f, "GET /v1.41/containers/0"), 1003);
}

static void list_empty_engine(void **state)
{
    struct world *w = *state;
    w->s.containers = 0;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.n, 0);
}

static void inspect_fields(void **state)
{
    struct world *w = *state;
    struct got g = inspect(w, "c0");
    assert_int_equal(g.e.code, 0);
    assert_string_equal(g.id, HEX_A);
    assert_string_equal(g.name, "c0");
    assert_string_equal(g.status, "exited");
    assert_string_equal(g.image, "old:1");
    assert_int_equal(g.exit_code, 7);
    g = inspect(w, "nope");
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
}

static void names_stay_here(void **state)
{
    static const char *const bad[] = {"..", "a b", "c0?size=1", "c0/json", "", "%2e"};
    struct world *w = *state;
    assert_true(test_run(w->l, following, w, 3000));
    size_t before = w->f.n_lines;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct got g = inspect(w, bad[i]);
        assert_int_equal(g.e.code, ERR_NOT_FOUND);
        g = act(w, bad[i], RUNTIME_STOP, 1);
        assert_int_equal(g.e.code, ERR_NOT_FOUND);
        g = logs(w, bad[i], 1);
        assert_int_equal(g.e.code, ERR_NOT_FOUND);
        buf_done(&g.text);
    }
    assert_int_equal(w->f.n_lines, before);
}

static void actions(void **state)
{
    struct world *w = *state;
    struct got g = act(w, "c0", RUNTIME_START, 10);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(fake_http_count(&w->f, "POST /v1.41/containers/" HEX_A "/start"), 1);
    g = act(w, "c0", RUNTIME_STOP, 3);
    assert_int_equal(fake_http_count(&w->f, "POST /v1.41/containers/" HEX_A "/stop?t=3"), 1);
    g = act(w, "c0", RUNTIME_RESTART, -1);
    assert_int_equal(fake_http_count(&w->f, "POST /v1.41/containers/" HEX_A "/restart?t=-1"), 1);
    w->s.act_status = 304;
    g = act(w, "c0", RUNTIME_START, 10);
    assert_int_equal(g.e.code, 0);
    w->s.act_status = 409;
    g = act(w, "c0", RUNTIME_START, 10);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(
        g.e.msg, "409 Client Error for http+docker://localhost/v1.41/containers/" HEX_A
                 "/start: Conflict (\"cannot start a paused container, try unpause instead\")");
    g = act(w, "nope", RUNTIME_START, 10);
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
    g = act(w, "c0", RUNTIME_STOP, INT64_MAX);
    assert_int_equal(g.e.code, ERR_RUNTIME);
}

/* 40 stops that take long; questions are answered meanwhile. */
static void slow_stops(void **state)
{
    struct world *w = *state;
    struct got slow[40];
    memset(slow, 0, sizeof(slow));
    w->s.hang_stop = true;
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        assert_int_equal(
            w->rt.ops->act(w->rt.self, SLICE_LIT("c0"), RUNTIME_STOP, 100, on_done, &slow[i]), 0);
    test_pass(w->l, 100);
    struct got g = list(w, true);
    assert_int_equal(g.e.code, 0);
    g = inspect(w, "c0");
    assert_int_equal(g.e.code, 0);
    assert_int_equal(slow[0].calls, 0);
    docker_free(STEAL(w->d));
    test_pass(w->l, 50);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        assert_int_equal(slow[i].calls, 1);
        assert_int_equal(slow[i].e.code, ERR_CANCELLED);
    }
}

static void log_texts(void **state)
{
    static const char muxed[] = "\1\0\0\0\0\0\0\6out 1\n"
                                "\2\0\0\0\0\0\0\7err \xff\xe2\n";
    struct world *w = *state;
    w->s.logs = muxed;
    w->s.logs_len = sizeof(muxed) - 1;
    struct got g = logs(w, "c0", 100);
    assert_int_equal(g.e.code, 0);
    assert_string_equal(g.text.data, "out 1\nerr \xef\xbf\xbd\xef\xbf\xbd\n");
    buf_done(&g.text);
    assert_int_equal(fake_http_count(&w->f,
                                     "GET /v1.41/containers/" HEX_A
                                     "/logs?stderr=1&stdout=1&timestamps=1&follow=0&tail=100"),
                     1);
    g = logs(w, "c0", -5);
    assert_int_equal(fake_http_count(&w->f,
                                     "GET /v1.41/containers/" HEX_A
                                     "/logs?stderr=1&stdout=1&timestamps=1&follow=0&tail=all"),
                     1);
    buf_done(&g.text);
    g = logs(w, "c0", 0);
    assert_int_equal(g.text.len, 0);
    buf_done(&g.text);
    w->s.logs_len -= 3; /* inside a frame */
    g = logs(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    buf_done(&g.text);
    w->s.tty = true;
    w->s.logs = "tty line\r\n";
    w->s.logs_len = strlen(w->s.logs);
    g = logs(w, "c0", 100);
    assert_string_equal(g.text.data, "tty line\r\n");
    buf_done(&g.text);
    w->s.logs_status = 501;
    g = logs(w, "c0", 100);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    assert_string_equal(g.e.msg,
                        "501 Server Error for http+docker://localhost/v1.41/containers/" HEX_A
                        "/logs?stderr=1&stdout=1&timestamps=1&follow=0&tail=100: Not Implemented "
                        "(\"configured logging driver does not support reading\")");
    buf_done(&g.text);
    g = logs(w, "nope", 100);
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
    buf_done(&g.text);
}

static void logs_are_bounded(void **state)
{
    struct world *w = *state;
    docker_free(w->d);
    assert_int_equal(world_start(w, &(struct docker_options){.max_logs = 1000}), 0);
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_addf(&b, "line %05d\n", i);
    w->s.tty = true;
    w->s.logs = b.data;
    w->s.logs_len = b.len;
    struct got g = logs(w, "c0", -1);
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.text.len, 990); /* 90 lines of 11 bytes */
    assert_memory_equal(g.text.data, "line 04910\n", 11);
    assert_memory_equal(g.text.data + 979, "line 04999\n", 11);
    buf_done(&g.text);
    buf_done(&b);
}

static void engine_comes_and_goes(void **state)
{
    struct world *w = *state;
    assert_true(test_run(w->l, following, w, 3000));
    char path[100];
    snprintf(path, sizeof(path), "%s", w->f.path);
    fake_http_stop(&w->f);
    assert_true(test_run(w->l, unreachable, w, 3000));
    struct got g = list(w, true);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    assert_string_equal(
        g.e.msg, "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))");
    g = act(w, "c0", RUNTIME_START, 1);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    assert_false(reachable(w));
    fake_http_start(&w->f, w->l, path);
    g = list(w, true); /* at once, whatever the probe's delay */
    assert_int_equal(g.e.code, 0);
    assert_true(reachable(w));
    /* And by itself. */
    fake_http_stop(&w->f);
    assert_true(test_run(w->l, unreachable, w, 3000));
    fake_http_start(&w->f, w->l, path);
    assert_true(test_run(w->l, reachable, w, 8000));
}

static void engine_cut_and_nonsense(void **state)
{
    struct world *w = *state;
    w->s.cut_list = true;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    w->s.cut_list = false;
    g = list(w, true);
    assert_int_equal(g.e.code, 0);
    w->s.no_json = true;
    g = list(w, true);
    assert_int_equal(g.e.code, ERR_RUNTIME);
    docker_free(w->d);
    assert_int_equal(world_start(w, NULL), 0);
    g = list(w, true); /* something answers, but no engine */
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    w->s.no_json = false;
    w->s.version = "{\"ApiVersion\":\"1.12\"}";
    g = list(w, true);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    assert_non_null(strstr(g.e.msg, "\"1.12\""));
}

static void engine_slow(void **state)
{
    struct world *w = *state;
    docker_free(w->d);
    assert_int_equal(world_start(w, &(struct docker_options){.answer_ms = 300}), 0);
    w->s.hang_list = true;
    struct got g = list(w, true);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
    assert_non_null(strstr(g.e.msg, "Read timed out."));
    assert_true(reachable(w));
    g = inspect(w, "c0");
    assert_int_equal(g.e.code, 0);
    docker_free(w->d);
    w->s.hang_version = true;
    assert_int_equal(world_start(w, &(struct docker_options){.answer_ms = 300}), 0);
    g = list(w, true);
    assert_int_equal(g.e.code, ERR_UNREACHABLE);
}

static void free_at_any_time(void **state)
{
    struct world *w = *state;
    for (uint64_t ms = 0; ms < 12; ms++) {
        struct got a = {0}, b = {0}, c = {0};
        docker_free(STEAL(w->d));
        assert_int_equal(world_start(w, NULL), 0);
        assert_int_equal(w->rt.ops->list(w->rt.self, true, on_list, &a), 0);
        assert_int_equal(w->rt.ops->inspect(w->rt.self, SLICE_LIT("c0"), on_inspect, &b), 0);
        assert_int_equal(w->rt.ops->inspect(w->rt.self, SLICE_LIT(".."), on_inspect, &c), 0);
        for (uint64_t i = 0; i < ms; i++)
            loop_run_once(w->l, true);
        docker_free(STEAL(w->d));
        test_pass(w->l, 30);
        assert_int_equal(a.calls, 1);
        assert_int_equal(b.calls, 1);
        assert_int_equal(c.calls, 1);
        assert_true(a.e.code == 0 || a.e.code == ERR_CANCELLED);
    }
    assert_int_equal(world_start(w, NULL), 0);
    struct got g = {.free_me = w->d};
    struct got other = {0};
    w->d = NULL;
    assert_int_equal(w->rt.ops->list(w->rt.self, true, on_list, &g), 0);
    assert_int_equal(w->rt.ops->list(w->rt.self, true, on_list, &other), 0);
    assert_true(test_run(w->l, got_one, &other, 3000));
    assert_int_equal(g.calls, 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(list_fields),
        CASE(list_cost),
        CASE(list_without_events),
        CASE(list_image_gone),
        CASE(strict_image_gone),
        CASE(list_thousand),
        CASE(list_empty_engine),
        CASE(inspect_fields),
        CASE(names_stay_here),
        CASE(actions),
        CASE(slow_stops),
        CASE(log_texts),
        CASE(logs_are_bounded),
        CASE(engine_comes_and_goes),
        CASE(engine_cut_and_nonsense),
        CASE(engine_slow),
        CASE(free_at_any_time),
    };
    return cmocka_run_group_tests_name("docker", tests, NULL, NULL);
}
