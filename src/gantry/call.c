/* call.c: one call to gantryd: send, run the loop until the answer is whole. */
#include "base/str.h"
#include "gantry/cli.h"
#include "net/tls.h"

#define DEFAULT_PATIENCE_MS 15000
#define MAX_ANSWER ((size_t)128 << 20)

struct answer {
    struct err e;
    int status;
    bool done;
    struct buf *body; /* borrowed */
};

static void on_answer(void *ctx, const struct err *e, int status, const struct client_response *r,
                      struct slice body)
{
    struct answer *a = ctx;
    (void)r;
    a->e = *e;
    a->status = status;
    a->done = true;
    if (e->code == 0 && buf_add(a->body, body.p, body.len) != 0)
        err_set(&a->e, a->body->err, "%s",
                a->body->err == ERR_LIMIT ? "the answer is too large" : "out of memory");
}

static int make_tls(struct cli *c, struct err *e)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    struct tls_options o = {
        .ca_file = c->args.value[OPTION_CACERT], .alpn = alpn, .server_name = c->host.name};
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
        return e.code == ERR_NOT_FOUND ? cli_fail(c, EXIT_USAGE, NULL, "%s", e.msg)
                                       : cli_fail_err(c, &e);
    struct client_options o = {
        .target = {c->host.unix_path, c->host.name, c->host.port, c->tls},
        .host = c->host.header,
        .max_connections = 2,
    };
    if (client_pool_new(&c->pool, c->loop, &o, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    return EXIT_DONE;
}

int cli_call(struct cli *c, const struct cli_call *call, struct buf *body)
{
    int rc = cli_connect(c);
    if (rc != EXIT_DONE)
        return rc;
    uint64_t patience = call->patience_ms != 0 ? call->patience_ms : DEFAULT_PATIENCE_MS;
    struct client_request r = {
        .method = call->method,
        .target = slice_of(call->path),
        .body = call->body,
        .first_byte_ms = patience,
        .idle_ms = DEFAULT_PATIENCE_MS,
        .max_body = MAX_ANSWER,
    };
    struct answer a = {.body = body};
    if (client_fetch(c->pool, &r, on_answer, &a, NULL, &a.e) != 0)
        return cli_fail_err(c, &a.e);
    while (!a.done && loop_run_once(c->loop, true))
        ;
    if (!a.done) /* an end of all handles without an answer would be a fault of the client */
        err_set(&a.e, ERR_INTERNAL, "no answer");
    if (a.e.code != 0)
        return cli_fail_err(c, &a.e);
    if (a.status < 200 || a.status >= 300)
        return cli_fail_status(c, a.status, (struct slice){body->data, body->len});
    return EXIT_DONE;
}

int cli_call_json(struct cli *c, const struct cli_call *call, json_t **ret)
{
    *ret = NULL;
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_ANSWER);
    int rc = cli_call(c, call, &body);
    if (rc != EXIT_DONE)
        return rc;
    struct slice text = {body.data, body.len};
    if (c->json) {
        cli_json(c, text);
        return EXIT_DONE;
    }
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
