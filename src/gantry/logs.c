/* logs.c: a service's log: its last lines, following it, emptying it. */
#include "base/clock.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "net/sse.h"
#include <signal.h>

#define MAX_PATH_TEXT 8192
#define MAX_EVENT ((size_t)16 << 20)
#define MAX_ERROR_BODY ((size_t)64 << 10)
/* The server pings every 15 s; a silence of four pings is a dead connection. */
#define SILENCE_MS 60000
#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS 10000

static int clear(struct cli *c, const char *path)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_DELETE, .path = path}, &doc);
    if (doc == NULL)
        return rc;
    const char *message = json_get_str(doc, "message");
    text_clean(&c->out, slice_of(message != NULL ? message : "ok"));
    buf_addc(&c->out, '\n');
    return rc;
}

int cmd_logs(struct cli *c)
{
    int64_t lines;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    if (args_has(&c->args, OPTION_CLEAR) &&
        (args_has(&c->args, OPTION_FOLLOW) || args_has(&c->args, OPTION_LINES)))
        return cli_fail(c, EXIT_USAGE, NULL, "--clear goes with neither --follow nor --lines");
    int rc = cli_number(c, OPTION_LINES, 100, false, &lines);
    if (rc == EXIT_DONE)
        rc = cli_path(c, &path, "/containers/%s/services/%s/logs", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&c->args, OPTION_CLEAR))
        return clear(c, path.data);
    if (args_has(&c->args, OPTION_FOLLOW))
        return cmd_logs_follow(c, path.data, lines);
    if (buf_addf(&path, "?tail=%lld", (long long)lines) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &doc);
    const json_t *logs = json_object_get(doc, "logs");
    if (logs != NULL && json_is_string(logs))
        cli_text(c, (struct slice){json_string_value(logs), json_string_length(logs)}, true);
    return rc;
}

/* --- following ------------------------------------------------------------------------------ */

struct follow {
    struct cli *c;
    const char *path;
    int64_t lines;
    struct client_call *call; /* NULL between attempts */
    struct sse_parser parser;
    bool stream;           /* this answer is an event stream */
    int status;            /* of this answer; 0: no head yet */
    bool worked;           /* an event stream was there at least once */
    bool announced;        /* the loss was told; so is the return */
    struct buf cursor;     /* after the last text printed; empty: none yet */
    struct buf refusal;    /* body of an answer that is no stream */
    struct buf last_error; /* text of the last error event, told once */
    struct text_filter filter;
    uint64_t wait_ms;
    uint64_t began_ns; /* this attempt */
    struct loop_timer timer;
    uv_signal_t on_int, on_term;
    int open_handles;
    bool over;
    int code;
};

static void finish(struct follow *f, int code)
{
    if (f->over)
        return;
    f->over = true;
    f->code = code;
    loop_timer_stop(&f->timer);
    if (f->call != NULL)
        client_cancel(f->call);
    f->call = NULL;
}

static void print_text(struct follow *f, struct slice text)
{
    struct cli *c = f->c;
    if (c->terminal)
        text_filter_feed(&f->filter, text, &c->out);
    else
        buf_add(&c->out, text.p, text.len);
}

static void note(struct follow *f, const char *text)
{
    cli_fail(f->c, 0, NULL, "%s", text);
}

static void tell_error(struct follow *f, const json_t *doc, struct slice data)
{
    const char *text = json_get_str(doc, "error");
    struct slice s = text != NULL ? slice_of(text) : data;
    if (slice_eq(s, (struct slice){f->last_error.data, f->last_error.len}))
        return;
    buf_clear(&f->last_error);
    if (buf_add(&f->last_error, s.p, s.len) == 0 && s.len > 0)
        note(f, f->last_error.data);
}

static void on_logs(struct follow *f, const json_t *doc, struct slice id, struct slice data)
{
    struct cli *c = f->c;
    const json_t *logs = json_object_get(doc, "logs");
    if (c->json)
        cli_json(c, data);
    else if (logs != NULL && json_is_string(logs))
        print_text(f, (struct slice){json_string_value(logs), json_string_length(logs)});
    const char *cursor = json_get_str(doc, "cursor");
    buf_clear(&f->cursor);
    if (cursor != NULL && *cursor != '\0')
        buf_adds(&f->cursor, cursor);
    else
        buf_add(&f->cursor, id.p, id.len);
    buf_clear(&f->last_error);
    cli_flush(c);
    if (c->out_error != 0 || c->out.err != 0)
        finish(f, EXIT_NO);
}

static void on_event(void *ctx, struct slice id, struct slice event, struct slice data)
{
    struct follow *f = ctx;
    struct err e = {0};
    if (f->over)
        return;
    f->wait_ms = RETRY_FIRST_MS;
    _cleanup_(json_decrefp) json_t *doc = json_parse(data, NULL, &e);
    if (doc == NULL && e.code == ERR_NO_MEMORY)
        finish(f, cli_fail(f->c, EXIT_NO, NULL, "out of memory"));
    else if (slice_eqs(event, "logs"))
        on_logs(f, doc, id, data);
    else if (slice_eqs(event, "error"))
        tell_error(f, doc, data);
    else if (slice_eqs(event, "gap"))
        note(f, "some lines are missing here: they were dropped before they could be read");
}

static void trace(const struct follow *f, const struct client_response *r)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
    cli_trace_text(&b, r->status, clock_mono_ns(&clock_system) - f->began_ns, 0, r);
    if (b.err == 0)
        cli_trace(f->c, "GET", slice_of(f->path), b.data);
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct follow *f = ctx;
    const struct http_header *type = http_find(r->headers, r->n_headers, "content-type");
    f->status = r->status;
    trace(f, r);
    f->stream = r->status == 200 && type != NULL && type->value.len >= 17 &&
                slice_eq_nocase((struct slice){type->value.p, 17}, SLICE_LIT("text/event-stream"));
    if (!f->stream)
        return;
    f->worked = true;
    if (f->announced)
        note(f, "connected again");
    f->announced = false;
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct follow *f = ctx;
    if (f->over)
        return;
    if (!f->stream) {
        (void)buf_add(&f->refusal, p, n); /* cut at its maximum */
        return;
    }
    int rc = sse_parse(&f->parser, p, n, on_event, f);
    if (rc != 0 && !f->over)
        finish(f,
               cli_fail(f->c, EXIT_NO, NULL, "%s",
                        rc == ERR_LIMIT ? "an event of the server is too large" : "out of memory"));
}

static void retry(struct follow *f, const char *why)
{
    if (!f->announced)
        cli_fail(f->c, 0, "trying again; Ctrl-C ends", "lost %s: %s", f->c->host.text, why);
    f->announced = true;
    loop_timer_start(&f->timer, f->wait_ms, 0);
    f->wait_ms = f->wait_ms * 2 > RETRY_MOST_MS ? RETRY_MOST_MS : f->wait_ms * 2;
}

static void on_done(void *ctx, const struct err *e)
{
    struct follow *f = ctx;
    f->call = NULL;
    if (f->over)
        return;
    struct slice refusal = {f->refusal.data, f->refusal.len};
    if (e->code == ERR_NO_MEMORY)
        finish(f, cli_fail_err(f->c, e));
    else if (f->worked && (e->code != 0 || f->stream))
        retry(f, e->code != 0 ? e->msg : "the server ended the stream");
    else if (f->worked && f->status >= 500)
        retry(f, http_status_text(f->status));
    else if (e->code != 0)
        finish(f, cli_fail_err(f->c, e));
    else if (f->status >= 300)
        finish(f, cli_fail_status(f->c, f->status, refusal));
    else
        finish(f, cli_fail(f->c, EXIT_NO, "without -f it prints what is there",
                           "this server does not follow logs"));
}

static int request_path(const struct follow *f, struct buf *out)
{
    buf_addf(out, "%s?follow=true", f->path);
    if (f->cursor.len == 0)
        return buf_addf(out, "&tail=%lld", (long long)f->lines);
    buf_addlit(out, "&cursor=");
    return pct_encode(out, (struct slice){f->cursor.data, f->cursor.len});
}

static void send_request(void *ctx)
{
    static const struct client_user user = {on_head, on_body, on_done};
    struct follow *f = ctx;
    struct err e = {0};
    _cleanup_(buf_done) struct buf path = BUF_INIT(2 * MAX_PATH_TEXT);
    sse_parser_done(&f->parser);
    sse_parser_init(&f->parser, MAX_EVENT);
    buf_clear(&f->refusal);
    f->stream = false;
    f->status = 0;
    if (request_path(f, &path) != 0) {
        finish(f, cli_fail(f->c, EXIT_NO, NULL, "out of memory"));
        return;
    }
    struct http_header header = {.name = SLICE_LIT("authorization")};
    int rc = cli_authorization(f->c, &header.value);
    if (rc != EXIT_DONE) {
        finish(f, rc);
        return;
    }
    f->began_ns = clock_mono_ns(&clock_system);
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = {path.data, path.len},
        .headers = &header,
        .n_headers = header.value.len > 0 ? 1 : 0,
        .first_byte_ms = f->c->timeout_ms > 0 ? f->c->timeout_ms : 15000,
        .idle_ms = SILENCE_MS,
        .max_body = SIZE_MAX,
    };
    if (client_send(f->c->pool, &r, &user, f, &f->call, &e) != 0)
        finish(f, cli_fail_err(f->c, &e));
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct follow *f = h->data;
    f->c->signal = signum;
    finish(f, EXIT_DONE);
}

static void on_closed(void *ctx)
{
    ((struct follow *)ctx)->open_handles--;
}
static void on_signal_closed(uv_handle_t *h)
{
    on_closed(h->data);
}

static int start_signals(struct follow *f)
{
    uv_loop_t *uv = loop_uv(f->c->loop);
    f->on_int.data = f->on_term.data = f;
    if (uv_signal_init(uv, &f->on_int) != 0)
        return ERR_NO_MEMORY;
    f->open_handles++;
    if (uv_signal_init(uv, &f->on_term) != 0)
        return ERR_NO_MEMORY;
    f->open_handles++;
    if (uv_signal_start(&f->on_int, on_signal, SIGINT) != 0 ||
        uv_signal_start(&f->on_term, on_signal, SIGTERM) != 0)
        return ERR_NO_MEMORY;
    return 0;
}

static void stop_all(struct follow *f)
{
    uv_signal_t *s[] = {&f->on_int, &f->on_term};
    for (size_t i = 0; i < ARRAY_LEN(s); i++)
        if (s[i]->loop != NULL)
            uv_close((uv_handle_t *)s[i], on_signal_closed);
    loop_timer_close(&f->timer, on_closed);
    while (f->open_handles > 0 && loop_run_once(f->c->loop, true))
        ;
}

int cmd_logs_follow(struct cli *c, const char *path, int64_t lines)
{
    int rc = cli_connect(c);
    if (rc != EXIT_DONE)
        return rc;
    struct follow f = {
        .c = c,
        .path = path,
        .lines = lines,
        .cursor = BUF_INIT(1024),
        .refusal = BUF_INIT(MAX_ERROR_BODY),
        .last_error = BUF_INIT(4096),
        .wait_ms = RETRY_FIRST_MS,
    };
    text_filter_init(&f.filter, c->colour);
    sse_parser_init(&f.parser, MAX_EVENT);
    if (loop_timer_init(c->loop, &f.timer, send_request, &f) != 0) {
        sse_parser_done(&f.parser);
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    }
    f.open_handles = 1;
    if (start_signals(&f) != 0)
        finish(&f, cli_fail(c, EXIT_NO, NULL, "out of memory"));
    else
        send_request(&f);
    while (!f.over && loop_run_once(c->loop, true))
        ;
    stop_all(&f);
    text_filter_end(&f.filter, &c->out);
    sse_parser_done(&f.parser);
    buf_done(&f.cursor);
    buf_done(&f.refusal);
    buf_done(&f.last_error);
    return f.code;
}
