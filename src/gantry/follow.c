#include "gantry/follow.h"
#include "base/clock.h"
#include "base/str.h"
#include "gantry/terminal.h"
#include "net/sse.h"

#define MAX_PATH_TEXT 16384
#define MAX_EVENT ((size_t)16 << 20)
#define MAX_ERROR_BODY ((size_t)64 << 10)
/* The server pings every 15 s; a silence of four pings is a dead connection. */
#define SILENCE_MS 60000
#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS 10000

struct follow {
    struct cli *c;
    const struct follow_user *user;
    void *ctx;
    struct client_call *call; /* NULL between attempts */
    struct sse_parser parser;
    bool stream;           /* this answer is an event stream */
    int status;            /* of this answer; 0: no head yet */
    bool worked;           /* an event stream was there at least once */
    bool announced;        /* the loss was told; so is the return */
    struct buf cursor;     /* after the last text printed; empty: none yet */
    struct buf refusal;    /* body of an answer that is no stream */
    struct buf last_error; /* text of the last error event, told once */
    struct buf path;       /* of this attempt */
    uint64_t wait_ms;
    uint64_t began_ns; /* this attempt */
    struct loop_timer timer;
    bool timer_closed;
    struct signals signals;
    bool over;
    int code;
};

void follow_end(struct follow *f, int code)
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

struct cli *follow_cli(const struct follow *f)
{
    return f->c;
}

struct slice follow_cursor(const struct follow *f)
{
    return (struct slice){f->cursor.data, f->cursor.len};
}

void follow_set_cursor(struct follow *f, struct slice cursor)
{
    buf_clear(&f->cursor);
    (void)buf_add(&f->cursor, cursor.p, cursor.len);
}

void follow_well(struct follow *f)
{
    buf_clear(&f->last_error);
}

static void note(struct follow *f, const char *text)
{
    cli_fail(f->c, 0, NULL, "%s", text);
}

void follow_tell(struct follow *f, struct slice text)
{
    if (slice_eq(text, (struct slice){f->last_error.data, f->last_error.len}))
        return;
    buf_clear(&f->last_error);
    if (buf_add(&f->last_error, text.p, text.len) == 0 && text.len > 0)
        note(f, f->last_error.data);
}

void follow_flush(struct follow *f)
{
    cli_flush(f->c);
    if (f->c->out_error != 0 || f->c->out.err != 0)
        follow_end(f, EXIT_NO);
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
        follow_end(f, cli_fail(f->c, EXIT_NO, NULL, "out of memory"));
    else
        f->user->event(f->ctx, f, id, event, doc, data);
}

static void trace(const struct follow *f, const struct client_response *r)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
    cli_trace_text(&b, r->status, clock_mono_ns(&clock_system) - f->began_ns, 0, r);
    if (b.err == 0)
        cli_trace(f->c, "GET", (struct slice){f->path.data, f->path.len}, b.data);
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
        follow_end(
            f, cli_fail(f->c, EXIT_NO, NULL, "%s",
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
        follow_end(f, cli_fail_err(f->c, e));
    else if (f->worked && (e->code != 0 || f->stream))
        retry(f, e->code != 0 ? e->msg : "the server ended the stream");
    else if (f->worked && f->status >= 500)
        retry(f, http_status_text(f->status));
    else if (e->code != 0)
        follow_end(f, cli_fail_err(f->c, e));
    else if (f->status >= 300)
        follow_end(f, cli_fail_status(f->c, f->status, refusal));
    else
        follow_end(f, cli_fail(f->c, EXIT_NO, "without -f it prints what is there",
                               "this server does not follow %s", f->user->what));
}

static void send_request(void *ctx)
{
    static const struct client_user user = {on_head, on_body, on_done};
    struct follow *f = ctx;
    struct err e = {0};
    sse_parser_done(&f->parser);
    sse_parser_init(&f->parser, MAX_EVENT);
    buf_clear(&f->refusal);
    f->stream = false;
    f->status = 0;
    buf_clear(&f->path);
    if (f->user->path(f->ctx, f, &f->path) != 0 || f->path.err != 0) {
        follow_end(f, cli_fail(f->c, EXIT_NO, NULL, "out of memory"));
        return;
    }
    struct http_header header = {.name = SLICE_LIT("authorization")};
    int rc = cli_authorization(f->c, &header.value);
    if (rc != EXIT_DONE) {
        follow_end(f, rc);
        return;
    }
    f->began_ns = clock_mono_ns(&clock_system);
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = {f->path.data, f->path.len},
        .headers = &header,
        .n_headers = header.value.len > 0 ? 1 : 0,
        .first_byte_ms = f->c->timeout_ms > 0 ? f->c->timeout_ms : 15000,
        .idle_ms = SILENCE_MS,
        .max_body = SIZE_MAX,
    };
    if (client_send(f->c->pool, &r, &user, f, &f->call, &e) != 0)
        follow_end(f, cli_fail_err(f->c, &e));
}

static void on_signal(void *ctx, int signum)
{
    struct follow *f = ctx;
    f->c->signal = signum;
    follow_end(f, EXIT_DONE);
}

static void on_timer_closed(void *ctx)
{
    ((struct follow *)ctx)->timer_closed = true;
}

int follow_run(struct cli *c, const struct follow_user *u, void *ctx)
{
    int rc = cli_connect(c);
    if (rc != EXIT_DONE)
        return rc;
    struct follow f = {
        .c = c,
        .user = u,
        .ctx = ctx,
        .cursor = BUF_INIT(1024),
        .refusal = BUF_INIT(MAX_ERROR_BODY),
        .last_error = BUF_INIT(4096),
        .path = BUF_INIT(MAX_PATH_TEXT),
        .wait_ms = RETRY_FIRST_MS,
    };
    sse_parser_init(&f.parser, MAX_EVENT);
    if (loop_timer_init(c->loop, &f.timer, send_request, &f) != 0) {
        sse_parser_done(&f.parser);
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    }
    if (signals_open(&f.signals, c->loop, on_signal, &f) != 0)
        follow_end(&f, cli_fail(c, EXIT_NO, NULL, "out of memory"));
    else
        send_request(&f);
    while (!f.over && loop_run_once(c->loop, true))
        ;
    signals_close(&f.signals);
    loop_timer_close(&f.timer, on_timer_closed);
    while (!f.timer_closed && loop_run_once(c->loop, true))
        ;
    sse_parser_done(&f.parser);
    buf_done(&f.cursor);
    buf_done(&f.refusal);
    buf_done(&f.last_error);
    buf_done(&f.path);
    return f.code;
}
