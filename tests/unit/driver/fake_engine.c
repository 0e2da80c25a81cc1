#include "fake_engine.h"
#include "base/str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char JSON[] = "application/json";

static void inspect_text(const struct fake_engine *g, char *out, size_t size)
{
    const char *status = g->paused ? "paused" : g->running ? "running" : "exited";
    snprintf(out, size,
             "{\"Id\":\"" ENGINE_CID "\",\"Name\":\"/web\",\"Created\":\"2026-11-21T04:15:59Z\","
             "\"Config\":{\"Image\":\"i:1\",\"Tty\":%s,\"Labels\":{\"persys.managed\":\"%s\","
             "\"persys.workload_id\":\"web\",\"persys.revision_id\":\"%s\"}},"
             "\"State\":{\"Status\":\"%s\",\"Running\":%s,\"Paused\":%s,\"ExitCode\":%d,"
             "\"StartedAt\":\"2026-11-21T04:16:00Z\",\"FinishedAt\":\"2026-11-21T04:17:00Z\"}}",
             g->tty ? "true" : "false", g->foreign ? "no" : "true", g->revision, status,
             g->running ? "true" : "false", g->paused ? "true" : "false",
             g->running ? 0 : g->exit_code);
}

static void answer_look(struct fake_engine *g, struct exchange *x)
{
    char text[2000];
    inspect_text(g, text, sizeof(text));
    fake_http_reply(x, g->exists ? 200 : 404, JSON,
                    g->exists ? text : "{\"message\":\"No such container: web\"}");
}

static void answer_list(struct fake_engine *g, struct exchange *x)
{
    char text[2000];
    snprintf(text, sizeof(text),
             "[{\"Id\":\"" ENGINE_CID "\",\"Names\":[\"/web\"],\"State\":\"%s\",\"Status\":\"Up\","
             "\"Labels\":{\"persys.managed\":\"true\",\"persys.workload_id\":\"web\"}},"
             "{\"Id\":\"x\",\"Names\":[\"/other\"],\"State\":\"running\",\"Labels\":{"
             "\"persys.managed\":\"true\",\"persys.workload_id\":\"web\"}},7]",
             g->running ? "running" : "exited");
    fake_http_reply(x, 200, JSON, g->exists ? text : "[]");
}

static void answer_pull(struct fake_engine *g, struct exchange *x)
{
    struct http_response r = {.status = g->pull_status != 0 ? g->pull_status : 200,
                              .content_type = JSON};
    snprintf(g->auth, sizeof(g->auth), "%.*s", (int)exchange_header(x, "x-registry-auth").len,
             exchange_header(x, "x-registry-auth").p);
    if (r.status != 200) {
        fake_http_reply(x, r.status, JSON, g->news);
        return;
    }
    (void)exchange_start(x, &r);
    fake_http_send(x, "{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\r\n{\"status\":\"Already "
                      "exists\",\"id\":\"b\"}\r\n");
    fake_http_send(x,
                   g->news != NULL ? g->news : "{\"status\":\"Pull complete\",\"id\":\"a\"}\r\n");
    (void)exchange_finish(x, NULL, 0);
    g->image |= g->news == NULL;
}

static void took_create(void *ctx, struct exchange *x, int err, struct slice body)
{
    static const char label[] = "\"persys.revision_id\":\"";
    struct fake_engine *g = ctx;
    if (err != 0)
        return;
    snprintf(g->body, sizeof(g->body), "%.*s", (int)body.len, body.p);
    if (g->race)
        g->exists = g->foreign = true;
    if (!g->image) {
        fake_http_reply(x, 404, JSON, "{\"message\":\"No such image: i:1\"}");
    } else if (g->exists) {
        g->race = false;
        fake_http_reply(x, 409, JSON, "{\"message\":\"Conflict. The name is in use\"}");
    } else {
        const char *r = strstr(g->body, label);
        g->exists = true;
        g->running = g->foreign = false;
        snprintf(g->revision, sizeof(g->revision), "%.*s",
                 r != NULL ? (int)strcspn(r + strlen(label), "\"") : 0,
                 r != NULL ? r + strlen(label) : "");
        fake_http_reply(x, 201, JSON, "{\"Id\":\"" ENGINE_CID "\",\"Warnings\":[]}");
    }
}

static void answer_container(struct fake_engine *g, struct exchange *x, const char *verb)
{
    bool known = g->exists;
    if (known && g->foreign)
        fail_msg("a foreign container was touched: %s", verb);
    if (strncmp(verb, "/start", 6) == 0)
        g->running = known && !g->dies;
    else if (strncmp(verb, "/stop", 5) == 0)
        g->running = g->paused = false;
    else if (strncmp(verb, "/unpause", 8) == 0)
        g->paused = false;
    fake_http_reply(x, known ? 204 : 404, JSON, known ? "" : "{\"message\":\"No such container\"}");
}

static void answer_delete(struct fake_engine *g, struct exchange *x, const char *line)
{
    if (g->exists && g->foreign)
        fail_msg("a foreign container was touched: %s", line);
    assert_non_null(strstr(line, "v=1"));
    if (g->conflicts > 0) {
        g->exists = --g->conflicts > 0;
        fake_http_reply(x, 409, JSON, "{\"message\":\"removal is already in progress\"}");
        return;
    }
    fake_http_reply(x, g->exists ? 204 : 404, JSON, g->exists ? "" : "{\"message\":\"none\"}");
    g->exists = false;
}

/* ---- programs */

static void took_exec(void *ctx, struct exchange *x, int err, struct slice body)
{
    struct fake_engine *g = ctx;
    if (err != 0)
        return;
    snprintf(g->exec_body, sizeof(g->exec_body), "%.*s", (int)body.len, body.p);
    fake_http_reply(x, 201, JSON, "{\"Id\":\"e1\"}");
}

static void hijacked_data(void *ctx, const char *p, size_t n)
{
    struct fake_engine *g = ctx;
    if (n <= sizeof(g->input) - g->input_len) {
        memcpy(g->input + g->input_len, p, n);
        g->input_len += n;
    }
    if (g->echo) {
        char head[8] = {1, 0, 0, 0, 0, 0, (char)(n >> 8), (char)n};
        stream_write(g->hijacked, head, sizeof(head));
        stream_write(g->hijacked, p, n);
    }
}

static void hijacked_eof(void *ctx)
{
    struct fake_engine *g = ctx;
    stream_shutdown(g->hijacked);
}

static void hijacked_failed(void *ctx, const struct err *e BASE_UNUSED)
{
    struct fake_engine *g = ctx;
    stream_close(g->hijacked);
}

static void hijacked_closed(void *ctx)
{
    struct fake_engine *g = ctx;
    g->hijacked = NULL;
}

static void taken(void *ctx, struct stream *s, struct slice early BASE_UNUSED)
{
    static const struct stream_user user = {.data = hijacked_data,
                                            .eof = hijacked_eof,
                                            .failed = hijacked_failed,
                                            .closed = hijacked_closed};
    struct fake_engine *g = ctx;
    g->hijacked = s;
    stream_set_user(s, &user, g);
    if (g->output_len > 0)
        stream_write(s, g->output, g->output_len);
    if (!g->echo)
        stream_shutdown(s);
}

static void took_start(void *ctx, struct exchange *x, int err, struct slice body)
{
    static const struct http_header headers[] = {
        {SLICE_LIT("connection"), SLICE_LIT("Upgrade")},
        {SLICE_LIT("upgrade"), SLICE_LIT("tcp")},
    };
    struct fake_engine *g = ctx;
    if (err != 0)
        return;
    assert_true(slice_starts(body, "{\"Detach\":false,\"Tty\":"));
    assert_true(slice_eqs(exchange_header(x, "upgrade"), "tcp"));
    if (g->exec_status != 0)
        fake_http_reply(x, g->exec_status, JSON, "{\"message\":\"Container web is paused\"}");
    else
        (void)exchange_upgrade(x, headers, 2, taken, g);
}

/* ---- logs */

static void answer_logs(struct fake_engine *g, struct exchange *x)
{
    struct http_response r = {.status = 200, .content_type = "application/octet-stream"};
    if (!g->logs_open) {
        fake_http_reply_n(x, 200, r.content_type, g->logs, g->logs_len);
        return;
    }
    fake_http_stream(&g->f, x, r.content_type);
    if (g->logs_len > 0)
        (void)exchange_write(x, (struct slice){g->logs, g->logs_len});
    g->log = x;
}

/* ---- all */

/* true: it was answered by a fault. */
static bool faulty(struct fake_engine *g, struct exchange *x)
{
    if (++g->requests != g->fault_at)
        return false;
    if (g->fault == ENGINE_CUT)
        exchange_abort(x);
    else if (g->fault == ENGINE_500)
        fake_http_reply(x, 500, JSON, "{\"message\":\"the engine is unwell\"}");
    else if (g->fault == ENGINE_HANG)
        fake_http_keep(&g->f, x);
    else if (g->fault == ENGINE_GARBAGE)
        fake_http_reply(x, 200, JSON, "}{");
    return g->fault != ENGINE_FINE;
}

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct fake_engine *g = f->ctx;
    const char *after = strstr(line, ENGINE_CID);
    after = after != NULL ? after + strlen(ENGINE_CID) : "";
    if (strcmp(line, "GET /version") == 0) {
        fake_http_reply(x, 200, JSON, "{\"ApiVersion\":\"1.41\"}");
    } else if (strstr(line, "/events?") != NULL) {
        fake_http_stream(f, x, JSON);
        if (strstr(line, "persys") != NULL)
            g->watch = x;
    } else if (faulty(g, x)) {
        return;
    } else if (strstr(line, "/containers/json") != NULL) {
        answer_list(g, x);
    } else if (strncmp(line, "GET /v1.41/containers/web/json", 30) == 0) {
        answer_look(g, x);
    } else if (strstr(line, "/images/create") != NULL) {
        answer_pull(g, x);
    } else if (strncmp(line, "GET /v1.41/images/", 18) == 0) {
        fake_http_reply(x, g->image ? 200 : 404, JSON,
                        g->image ? "{}" : "{\"message\":\"No such image\"}");
    } else if (strcmp(line, "POST /v1.41/containers/create?name=web") == 0) {
        exchange_collect(x, 1 << 20, took_create, g);
    } else if (strncmp(line, "DELETE ", 7) == 0) {
        answer_delete(g, x, line);
    } else if (strcmp(after, "/exec") == 0) {
        exchange_collect(x, 1 << 20, took_exec, g);
    } else if (strncmp(after, "/logs?", 6) == 0) {
        answer_logs(g, x);
    } else if (strncmp(after, "/stats?", 7) == 0) {
        fake_http_reply(x, 200, JSON, g->stats);
    } else if (after[0] != '\0') {
        answer_container(g, x, after);
    } else if (strcmp(line, "POST /v1.41/exec/e1/start") == 0) {
        exchange_collect(x, 1 << 20, took_start, g);
    } else if (strncmp(line, "POST /v1.41/exec/e1/resize", 26) == 0) {
        fake_http_reply(x, 201, JSON, "");
    } else if (strcmp(line, "GET /v1.41/exec/e1/json") == 0) {
        fake_http_reply(x, 200, JSON, "{\"Running\":false,\"ExitCode\":3}");
    } else {
        fake_http_reply(x, 404, JSON, "{\"message\":\"no such row\"}");
    }
}

void fake_engine_start(struct fake_engine *g, struct loop *l, const char *path)
{
    g->f.answer = answer;
    g->f.ctx = g;
    g->image = true;
    g->logs = g->output = "";
    g->stats = "{\"read\":\"2026-11-21T03:52:00Z\",\"memory_stats\":{\"usage\":7},\"cpu_stats\":{"
               "\"cpu_usage\":{\"total_usage\":5}}}";
    fake_http_start(&g->f, l, path);
}

void fake_engine_stop(struct fake_engine *g)
{
    fake_http_stop(&g->f);
    fake_http_done(&g->f);
    if (g->hijacked != NULL)
        stream_close(g->hijacked);
}

void fake_engine_event(struct fake_engine *g, const char *text)
{
    assert_non_null(g->watch);
    fake_http_send(g->watch, text != NULL
                                 ? text
                                 : "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":"
                                   "\"x\",\"Attributes\":{\"persys.managed\":\"true\",\"persys."
                                   "workload_id\":\"web\",\"name\":\"web\"}}}\n");
}
