/* call.c: one call to gantryd: send, run the loop until the answer is whole. */
#include "base/clock.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "net/tls.h"
#include <string.h>

#define DEFAULT_PATIENCE_MS 15000
#define CONNECT_MS 5000
#define MAX_ANSWER ((size_t)128 << 20)

struct exchange_state {
    struct cli *c;
    const struct cli_call *call;
    struct err e;
    bool done;
    struct buf *body; /* borrowed; NULL with a sink */
    struct cli_answer *ret;
    struct client_call *sent; /* NULL: done */
    struct loop_timer deadline;
    bool closed; /* the timer */
    struct buf trace;
    uint64_t began_ns;
    size_t bytes;
    bool unwanted; /* the sink has enough */
};

void cli_trace_text(struct buf *out, int status, uint64_t ns, size_t bytes,
                    const struct client_response *head)
{
    const struct http_header *id =
        head == NULL ? NULL : http_find(head->headers, head->n_headers, "x-request-id");
    buf_clear(out);
    buf_addf(out, "%d, %llu.%llu ms, %zu bytes", status, (unsigned long long)(ns / NS_PER_MS),
             (unsigned long long)(ns / (NS_PER_MS / 10) % 10), bytes);
    if (id != NULL)
        buf_addf(out, ", request %.*s", (int)id->value.len, id->value.p);
}

void cli_trace(struct cli *c, const char *method, struct slice path, const char *text)
{
    if (args_has(&c->args, OPTION_TRACE))
        cli_fail(c, 0, NULL, "%s %.*s: %s", method, (int)path.len, path.p, text);
}

static uint64_t since(const struct exchange_state *x)
{
    return clock_mono_ns(&clock_system) - x->began_ns;
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct exchange_state *x = ctx;
    const struct http_header *tag = http_find(r->headers, r->n_headers, "etag");
    x->ret->status = r->status;
    if (tag != NULL && tag->value.len < sizeof x->ret->etag) {
        memcpy(x->ret->etag, tag->value.p, tag->value.len);
        x->ret->etag[tag->value.len] = '\0';
    }
    if (args_has(&x->c->args, OPTION_TRACE)) { /* completed when the body is there */
        const struct http_header *id = http_find(r->headers, r->n_headers, "x-request-id");
        if (id != NULL)
            buf_addf(&x->trace, ", request %.*s", (int)id->value.len, id->value.p);
    }
    if (x->call->sink != NULL && x->call->sink->head != NULL)
        x->call->sink->head(x->call->sink_ctx, r);
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct exchange_state *x = ctx;
    x->bytes += n;
    if (x->call->sink == NULL) {
        (void)buf_add(x->body, p, n);
        return;
    }
    if (!x->unwanted && !x->call->sink->piece(x->call->sink_ctx, (struct slice){p, n}))
        x->unwanted = true;
}

static void on_done(void *ctx, const struct err *e)
{
    struct exchange_state *x = ctx;
    x->e = *e;
    x->done = true;
    x->sent = NULL;
    if (e->code == 0 && x->body != NULL && x->body->err != 0)
        err_set(&x->e, x->body->err, "%s",
                x->body->err == ERR_LIMIT ? "the answer is too large" : "out of memory");
}

static void on_deadline(void *ctx)
{
    struct exchange_state *x = ctx;
    if (x->done)
        return;
    client_cancel(x->sent);
    x->sent = NULL;
    x->done = true;
    err_set(&x->e, ERR_TIMEOUT, "not done within %llu ms", (unsigned long long)x->c->timeout_ms);
}

static void on_closed(void *ctx)
{
    ((struct exchange_state *)ctx)->closed = true;
}

static int make_tls(struct cli *c, struct err *e)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    const struct credentials *k = &c->creds;
    struct tls_options o = {
        .cert_file = k->cert,
        .key_file = k->cert != NULL && k->key == NULL ? k->cert : k->key,
        .ca_file = k->cacert,
        .alpn = alpn,
        .server_name = c->host.name,
    };
    return tls_context_new(&c->tls, c->loop, &o, e);
}

int cli_connect(struct cli *c)
{
    struct err e = {0};
    if (c->pool != NULL)
        return EXIT_DONE;
    if (c->loop == NULL && loop_new(&c->loop, &clock_system, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    if (c->host.tls && c->tls == NULL && make_tls(c, &e) != 0)
        return e.code == ERR_NO_MEMORY ? cli_fail_err(c, &e)
                                       : cli_fail(c, EXIT_USAGE, NULL, "%s", e.msg);
    struct client_options o = {
        .target = {c->host.unix_path, c->host.name, c->host.port, c->tls},
        .host = c->host.header,
        .max_connections = 2,
        .connect_ms = c->timeout_ms > 0 && c->timeout_ms < CONNECT_MS ? c->timeout_ms : CONNECT_MS,
    };
    if (client_pool_new(&c->pool, c->loop, &o, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    return EXIT_DONE;
}

/* Sends; x->done tells of a failure. */
static void send_call(struct exchange_state *x, struct slice authorization)
{
    static const struct client_user user = {on_head, on_body, on_done};
    const struct cli_call *call = x->call;
    struct cli *c = x->c;
    struct http_header headers[CLI_MAX_HEADERS + 1];
    size_t n = 0;
    while (n < call->n_headers && n < CLI_MAX_HEADERS) {
        headers[n] = call->headers[n];
        n++;
    }
    if (authorization.len > 0)
        headers[n++] = (struct http_header){SLICE_LIT("authorization"), authorization};
    uint64_t patience = call->patience_ms != 0 ? call->patience_ms : DEFAULT_PATIENCE_MS;
    struct client_request r = {
        .method = call->method,
        .target = slice_of(call->path),
        .headers = headers,
        .n_headers = n,
        .body = call->body,
        .content_type = call->content_type,
        .first_byte_ms = c->timeout_ms > 0 ? c->timeout_ms : patience,
        .idle_ms = c->timeout_ms > 0 ? c->timeout_ms : DEFAULT_PATIENCE_MS,
        .max_body = MAX_ANSWER,
    };
    if (call->sink != NULL) { /* it may be an endless stream */
        r.max_body = SIZE_MAX;
        r.idle_ms = UINT64_MAX;
    }
    if (client_send(c->pool, &r, &user, x, &x->sent, &x->e) != 0) {
        x->done = true;
        return;
    }
    if (c->timeout_ms > 0)
        loop_timer_start(&x->deadline, c->timeout_ms, 0);
}

static void trace(struct exchange_state *x)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
    struct cli *c = x->c;
    if (!args_has(&c->args, OPTION_TRACE))
        return;
    if (x->e.code != 0) {
        buf_addf(&b, "failed, %llu ms", (unsigned long long)(since(x) / NS_PER_MS));
    } else {
        cli_trace_text(&b, x->ret->status, since(x), x->bytes, NULL);
        buf_add(&b, x->trace.data, x->trace.len);
    }
    if (b.err == 0)
        cli_trace(c, http_method_name(x->call->method), slice_of(x->call->path), b.data);
}

int cli_exchange(struct cli *c, const struct cli_call *call, struct buf *body,
                 struct cli_answer *ret)
{
    struct slice authorization;
    int rc = cli_authorization(c, &authorization);
    if (rc == EXIT_DONE)
        rc = cli_connect(c);
    if (rc != EXIT_DONE)
        return rc;
    *ret = (struct cli_answer){0};
    struct exchange_state x = {.c = c,
                               .call = call,
                               .body = call->sink == NULL ? body : NULL,
                               .ret = ret,
                               .trace = BUF_INIT(512),
                               .began_ns = clock_mono_ns(&clock_system)};
    if (loop_timer_init(c->loop, &x.deadline, on_deadline, &x) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    send_call(&x, authorization);
    while (!x.done && !x.unwanted && !c->ended && loop_run_once(c->loop, true))
        ;
    if (x.sent != NULL) {
        client_cancel(x.sent);
        if (!x.done && !x.unwanted) /* an end of all handles would be a fault of the client */
            err_set(&x.e, ERR_INTERNAL, "no answer");
    }
    loop_timer_close(&x.deadline, on_closed);
    while (!x.closed && loop_run_once(c->loop, true))
        ;
    trace(&x);
    buf_done(&x.trace);
    return x.e.code != 0 ? cli_fail_err(c, &x.e) : EXIT_DONE;
}

int cli_call(struct cli *c, const struct cli_call *call, struct buf *body)
{
    struct cli_answer a;
    int rc = cli_exchange(c, call, body, &a);
    if (rc == EXIT_DONE && (a.status < 200 || a.status >= 300))
        rc = cli_fail_status(c, a.status, (struct slice){body->data, body->len});
    return rc;
}

static int parse(struct cli *c, struct slice text, json_t **ret)
{
    struct err e = {0};
    json_t *doc = json_parse(text, NULL, &e);
    if (doc == NULL && e.code == ERR_NO_MEMORY)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    if (!json_is_object(doc)) {
        json_decref(doc);
        return cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                        "%s does not answer as gantryd does", c->host.text);
    }
    *ret = doc;
    return EXIT_DONE;
}

int cli_call_parsed(struct cli *c, const struct cli_call *call, json_t **ret)
{
    *ret = NULL;
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_ANSWER);
    int rc = cli_call(c, call, &body);
    return rc == EXIT_DONE ? parse(c, (struct slice){body.data, body.len}, ret) : rc;
}

int cli_call_json(struct cli *c, const struct cli_call *call, json_t **ret)
{
    *ret = NULL;
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_ANSWER);
    int rc = cli_call(c, call, &body);
    if (rc != EXIT_DONE)
        return rc;
    struct slice text = {body.data, body.len};
    if (!c->json)
        return parse(c, text, ret);
    cli_json(c, text);
    return EXIT_DONE;
}

int cli_get(struct cli *c, const char *pattern, const char *const *words, json_t **ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192);
    int rc = cli_path(c, &path, pattern, words);
    *ret = NULL;
    if (rc != EXIT_DONE)
        return rc;
    return cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, ret);
}
