/* The WebSocket of an interactive program in a workload, or of its serial console. Binary messages,
 * of which the first byte is the channel:
 *
 *   0  to it: standard input; without bytes: its end
 *   1  from it: standard output (of a terminal: all output)
 *   2  from it: standard error
 *   3  to it: the terminal's size, {"rows","columns"}
 *   4  from it, last: {"exit_code","error"}; then close 1000
 *
 * Either direction holds back the other side's sender: output beyond QUEUE_HIGH waits in the
 * runtime, input that the program does not read waits in the client. A client that leaves takes the
 * program's input and output away.
 */
#include "api/rest/live.h"
#include "net/ws.h"

#include <stdio.h>
#include <string.h>

enum {
    SHELL_INPUT,
    SHELL_STDOUT,
    SHELL_STDERR,
    SHELL_SIZE,
    SHELL_EXIT,
    QUEUE_MAX = 1 << 20,
    QUEUE_HIGH = 256 << 10,
    MESSAGE_MAX = 64 << 10,
    /* What a pause still lets through: one read of the connection, in messages. */
    PENDING_MAX = 4 * MESSAGE_MAX,
    WS_NORMAL = 1000,
    WS_UNSUPPORTED = 1003,
    WS_POLICY = 1008,
    WS_RESTART = 1012,
};

struct shell {
    struct live live;
    struct ws *ws; /* valid until `closed` */
    const struct driver *d;
    struct driver_call *call; /* NULL: over */
    struct buf pending;       /* input that the runtime did not take yet */
    bool pending_end;         /* and then its end */
    bool full;                /* the runtime is held back */
};

static void shell_cancel(struct shell *s)
{
    if (s->call != NULL)
        s->d->ops->cancel_call(STEAL(s->call));
}

static void shell_free(struct shell *s)
{
    shell_cancel(s);
    live_remove(&s->live);
    if (s->pending.data != NULL)
        mem_wipe(s->pending.data, s->pending.cap);
    buf_done(&s->pending);
    mem_free(s);
}

/* The program is let go, the client told why. */
static void shell_cut(struct shell *s, int code, const char *reason)
{
    shell_cancel(s);
    ws_close(s->ws, code, reason);
}

static void shell_exit(struct shell *s, int64_t exit_code, const char *error)
{
    static const char channel[] = {SHELL_EXIT};
    struct buf b = BUF_INIT(8192);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kint(&j, "exit_code", exit_code);
    json_kstr(&j, "error", error);
    json_end_obj(&j);
    if (b.err == 0)
        (void)ws_send_binary(s->ws, (struct slice){channel, 1}, (struct slice){b.data, b.len});
    buf_done(&b);
    ws_close(s->ws, WS_NORMAL, "");
}

/* --- from the program --- */

static void on_output(void *ctx, enum driver_stream from, struct slice bytes)
{
    struct shell *s = ctx;
    const char channel[] = {from == DRIVER_STDERR ? SHELL_STDERR : SHELL_STDOUT};
    if (live_over(&s->live)) {
        shell_cut(s, WS_POLICY, live_over_text);
        return;
    }
    int rc = ws_send_binary(s->ws, (struct slice){channel, 1}, bytes);
    if (rc != 0 && rc != ERR_GONE) {
        shell_cut(s, WS_POLICY, "the client cannot keep up");
    } else if (rc == 0 && !s->full && ws_queued(s->ws) > QUEUE_HIGH) {
        s->full = true;
        s->d->ops->logs_pause(s->call, true);
    }
}

/* What the client sent meanwhile goes on. */
static void input_flush(struct shell *s)
{
    if (s->call == NULL || (s->pending.len == 0 && !s->pending_end))
        return;
    struct slice bytes = {s->pending.data, s->pending.len};
    int rc = s->d->ops->exec_write(s->call, bytes, s->pending_end);
    if (rc == ERR_LIMIT)
        return;             /* `drained` comes again */
    buf_clear(&s->pending); /* else it reads no more: nothing waits for it */
    s->pending_end = false;
    ws_pause(s->ws, false);
}

static void on_input_drained(void *ctx)
{
    input_flush(ctx);
}

static void on_done(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct shell *s = ctx;
    s->call = NULL;
    shell_exit(s, f != NULL ? -1 : exit_code, f != NULL ? f->e.msg : NULL);
}

static const struct driver_exec_user exec_user = {
    .output = on_output, .drained = on_input_drained, .done = on_done};

/* --- from the client --- */

static void take_input(struct shell *s, struct slice bytes)
{
    bool end = bytes.len == 0;
    bool waits = s->pending.len > 0 || s->pending_end;
    int rc = waits ? ERR_LIMIT : s->d->ops->exec_write(s->call, bytes, end);
    if (rc != ERR_LIMIT)
        return; /* taken; or it reads no more, which is no fault of the client */
    if (s->pending_end || buf_add(&s->pending, bytes.p, bytes.len) != 0) {
        shell_cut(s, WS_POLICY, "too much input waits for the program");
        return;
    }
    s->pending_end = end;
    ws_pause(s->ws, true);
}

static void take_size(struct shell *s, struct slice text)
{
    struct err e = {0};
    int64_t rows = 0, columns = 0;
    json_t *v = json_parse(text, NULL, &e);
    bool ok = json_get_int(v, "rows", &rows) && json_get_int(v, "columns", &columns) && rows > 0 &&
              columns > 0 && rows <= UINT16_MAX && columns <= UINT16_MAX;
    json_decref(v);
    if (!ok)
        shell_cut(s, WS_POLICY, "a size is {\"rows\":1 to 65535,\"columns\":1 to 65535}");
    else if (s->d->ops->exec_resize != NULL)
        (void)s->d->ops->exec_resize(s->call, (uint16_t)rows, (uint16_t)columns);
}

static void on_message(void *ctx, struct ws *w, bool text, const char *p, size_t n)
{
    struct shell *s = ctx;
    (void)w;
    if (s->call == NULL)
        return;
    if (text || n == 0) {
        shell_cut(s, WS_UNSUPPORTED, "messages are binary; their first byte is the channel");
        return;
    }
    struct slice rest = {p + 1, n - 1};
    if (*p == SHELL_INPUT)
        take_input(s, rest);
    else if (*p == SHELL_SIZE)
        take_size(s, rest);
    else
        shell_cut(s, WS_POLICY, "clients send on the channels 0 and 3");
}

static void on_drained(void *ctx, struct ws *w)
{
    struct shell *s = ctx;
    (void)w;
    if (!s->full || s->call == NULL)
        return;
    s->full = false;
    s->d->ops->logs_pause(s->call, false);
}

static void on_closed(void *ctx, struct ws *w, int code)
{
    (void)w;
    (void)code;
    shell_free(ctx);
}

static const struct ws_user ws_user = {
    .message = on_message, .closed = on_closed, .drained = on_drained};

static void shell_end(struct live *l, enum live_why why)
{
    struct shell *s = CONTAINER_OF(l, struct shell, live);
    if (why == LIVE_OVER)
        shell_cut(s, WS_POLICY, live_over_text);
    else
        shell_cut(s, WS_RESTART, live_stop_text);
}

/* --- the request --- */

struct wish {
    bool console, force;
    struct live_words words;
    struct buf user; /* a string; empty: the workload's */
    struct buf service;
    bool tty, interactive;
    int64_t rows, columns;
};

static void wish_done(struct wish *w)
{
    live_words_done(&w->words);
    buf_done(&w->user);
    buf_done(&w->service);
}

static int wish_bool(bool *ret, struct slice name, struct slice v, struct err *e)
{
    *ret = slice_eqs(v, "true") || slice_eqs(v, "1");
    if (*ret || slice_eqs(v, "false") || slice_eqs(v, "0"))
        return 0;
    return err_set(e, ERR_INVALID, "%.*s \"%.*s\" is neither true nor false", (int)name.len, name.p,
                   (int)(v.len < 100 ? v.len : 100), v.p);
}

static int wish_size(int64_t *ret, struct slice name, struct slice v, struct err *e)
{
    if (str_to_i64(v, ret) == 0 && *ret >= 0 && *ret <= UINT16_MAX)
        return 0;
    return err_set(e, ERR_INVALID, "%.*s \"%.*s\" is not from 0 to 65535", (int)name.len, name.p,
                   (int)(v.len < 100 ? v.len : 100), v.p);
}

static int wish_text(struct buf *to, const char *name, struct slice v, struct err *e)
{
    if (v.len > 0 && memchr(v.p, '\0', v.len) != NULL)
        return err_set(e, ERR_INVALID, "\"%s\" has a NUL in it", name);
    buf_clear(to);
    int rc = buf_add(to, v.p, v.len);
    return rc == 0 ? 0 : err_set(e, rc, "\"%s\": %s", name, err_row(rc)->text);
}

static int wish_param(struct wish *w, struct slice name, struct slice v, struct err *e)
{
    if (slice_eqs(name, "force"))
        return wish_bool(&w->force, name, v, e);
    if (slice_eqs(name, "command"))
        return live_words_arg(&w->words, v, e);
    if (slice_eqs(name, "tty"))
        return wish_bool(&w->tty, name, v, e);
    if (slice_eqs(name, "interactive"))
        return wish_bool(&w->interactive, name, v, e);
    if (slice_eqs(name, "rows"))
        return wish_size(&w->rows, name, v, e);
    if (slice_eqs(name, "columns"))
        return wish_size(&w->columns, name, v, e);
    if (slice_eqs(name, "user"))
        return wish_text(&w->user, "user", v, e);
    if (slice_eqs(name, "service"))
        return wish_text(&w->service, "service", v, e);
    return 0; /* as everywhere: what is not known is no fault */
}

/* command=ls&command=-l&tty=true: a parameter may come again, so the table's values do not serve.
 */
static int wish_read(struct wish *w, bool console, struct slice query, struct err *e)
{
    *w = (struct wish){.console = console, .user = BUF_INIT(4096), .service = BUF_INIT(256)};
    struct buf name = BUF_INIT(64), value = BUF_INIT(3 * (size_t)LIVE_WORDS + 1);
    struct slice rest = query, pair;
    int rc = live_words_init(&w->words, LIVE_WORDS, e);
    while (rc == 0 && query.len > 0 && slice_split(&rest, '&', &pair)) {
        struct slice v = pair, n;
        if (!slice_split(&v, '=', &n) || n.len > 20)
            continue; /* none of ours is as long */
        if (v.p == NULL)
            v = SLICE_LIT("");
        buf_clear(&name);
        buf_clear(&value);
        rc = pct_decode(&name, n, true);
        if (rc == 0)
            rc = pct_decode(&value, v, true);
        if (rc != 0)
            (void)err_set(e, rc, "the query: %s", err_row(rc)->text);
        else
            rc = wish_param(w, (struct slice){name.data, name.len},
                            (struct slice){value.data != NULL ? value.data : "", value.len}, e);
    }
    if (rc == 0 && !console && (w->words.n_argv == 0 || w->words.argv[0][0] == '\0'))
        rc = err_set(e, ERR_INVALID, "\"command\" is missing: the program, then its arguments");
    if (value.data != NULL)
        mem_wipe(value.data, value.cap);
    buf_done(&value);
    buf_done(&name);
    return rc;
}

static void refuse(struct rest *r, struct exchange *x, const struct err *e)
{
    int status = err_row(e->code)->http_status;
    struct http_response a = {.status = status, .content_type = "application/json"};
    struct buf b = BUF_INIT(16384);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "error", e->msg);
    json_knull(&j, "detail");
    json_end_obj(&j);
    struct slice body = b.err == 0 ? (struct slice){b.data, b.len}
                                   : SLICE_LIT("{\"error\":\"out of memory\",\"detail\":null}");
    api_count_upgrade(r->api, status);
    (void)exchange_respond(x, &a, body);
    buf_done(&b);
}

/* Only refusals are recorded where rights are checked. */
static void record(struct rest *r, struct exchange *x, struct slice id, const struct identity *who,
                   const struct wish *w)
{
    char detail[LIVE_DETAIL];
    const struct audit_sink *sink = r->o.audit;
    if (sink == NULL)
        return;
    live_words_tell(&w->words, detail);
    if (w->console)
        (void)snprintf(detail, sizeof(detail), "console%s", w->force ? ", by force" : "");
    const struct audit_record a = {
        .time_ns = clock_real_ns(&clock_system),
        .who = who->name,
        .peer = exchange_peer(x)->text,
        .request = exchange_id(x),
        .method = "GET",
        .path = exchange_request(x)->path,
        .verb = right_verb_name(RIGHT_CONTROL),
        .kind = "workload",
        .name = id,
        .status = 101,
        .result = "done",
        .detail = slice_of(detail),
    };
    sink->record(sink->ctx, &a);
}

static const struct driver *driver_of(struct rest *r, struct slice id, bool console, struct err *e)
{
    if (r->o.engine == NULL) {
        (void)err_set(e, ERR_BUSY, "Workloads are off; set workloads.enabled");
        return NULL;
    }
    const struct driver *d = live_driver(r, id, true, e);
    if (d != NULL && console && d->ops->console == NULL) {
        (void)err_set(e, ERR_UNSUPPORTED, "the runtime has no consoles: %s", d->ops->name);
        return NULL;
    }
    if (d == NULL || ((console || d->ops->exec != NULL) && d->ops->exec_write != NULL &&
                      d->ops->logs_pause != NULL && d->ops->cancel_call != NULL))
        return d;
    (void)err_set(e, ERR_UNSUPPORTED, "the runtime runs no further programs: %s", d->ops->name);
    return NULL;
}

/* Accepted: the program begins. */
static void shell_begin(struct shell *s, struct slice id, const struct wish *w)
{
    struct err e = {0};
    struct driver_exec_order o = {
        .id = id,
        .argv = w->words.argv,
        .tty = w->tty,
        .interactive = w->interactive,
        .rows = (uint16_t)w->rows,
        .columns = (uint16_t)w->columns,
        .user = w->user.len > 0 ? w->user.data : NULL,
        .part = {w->service.data, w->service.len},
    };
    int rc = w->console ? s->d->ops->console(s->d->self, id, w->force, &exec_user, s, &s->call, &e)
                        : s->d->ops->exec(s->d->self, &o, &exec_user, s, &s->call, &e);
    if (rc == 0)
        return;
    s->call = NULL;
    shell_exit(s, -1, e.msg);
}

static void shell_open(struct rest *r, struct exchange *x, struct slice id, bool console,
                       const struct identity *who)
{
    struct wish w;
    struct err e = {0};
    const struct driver *d = driver_of(r, id, console, &e);
    int rc = wish_read(&w, console, exchange_request(x)->query, d != NULL ? &e : NULL);
    if (rc == 0 && !console)
        d = live_part(d, (struct slice){w.service.data, w.service.len}, &e);
    struct shell *s = rc == 0 && d != NULL ? mem_zalloc(sizeof(*s)) : NULL;
    if (s == NULL) {
        if (e.code == 0)
            (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        refuse(r, x, &e);
        wish_done(&w);
        return;
    }
    s->d = d;
    s->live.end = shell_end;
    buf_init(&s->pending, PENDING_MAX);
    if (!live_add(&s->live, r, who)) {
        (void)err_set(&e, ERR_BUSY, "No more programs can be run at present");
        refuse(r, x, &e);
        mem_free(s);
        wish_done(&w);
        return;
    }
    /* The path belongs to the exchange, which ends when it is accepted. */
    char kept[WORKLOAD_ID_MAX + 1];
    size_t n = id.len <= WORKLOAD_ID_MAX ? id.len : WORKLOAD_ID_MAX;
    memcpy(kept, id.p, n);
    struct ws_options o = {.max_queue = QUEUE_MAX,
                           .max_message = MESSAGE_MAX,
                           .plain = true,
                           .protocol = API_WS_PROTOCOL};
    record(r, x, id, who, &w);
    bool ok = ws_accept(x, &o, &ws_user, s, &s->ws) == 0;
    api_count_upgrade(r->api, ok ? 101 : 400);
    if (ok)
        shell_begin(s, (struct slice){kept, n}, &w);
    else
        shell_free(s); /* it has been answered */
    wish_done(&w);
}

bool rest_shell_upgrade(struct rest *r, struct exchange *x, struct slice path)
{
    struct slice id;
    const struct identity *who;
    bool console = api_path_match("/v1/workloads/{id}/console", path, &id, 1);
    if (!console && !api_path_match("/v1/workloads/{id}/exec", path, &id, 1))
        return false;
    if (!api_upgrade_allowed(r->api, x, RIGHT_CONTROL, "workload", &id, 1, &who))
        return true;
    shell_open(r, x, id, console, who);
    identity_unref(who);
    return true;
}
