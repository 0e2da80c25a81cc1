/* api.c: a call as it is (`gantry api`), and whose versions these are. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <string.h>

#define MAX_DATA ((size_t)64 << 20)
#define MAX_BODY ((size_t)128 << 20)

struct shown {
    struct cli *c;
    int status;
    bool whole;      /* for YAML */
    bool open_line;  /* what was printed last is no line's end */
    struct buf body; /* what is kept back */
};

static void add_header(struct cli *c, struct slice name, struct slice value)
{
    text_clean(&c->out, name);
    buf_addlit(&c->out, ": ");
    text_clean(&c->out, value);
    buf_addc(&c->out, '\n');
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct shown *s = ctx;
    struct cli *c = s->c;
    const struct http_header *type = http_find(r->headers, r->n_headers, "content-type");
    s->status = r->status;
    s->whole =
        c->format == CLI_YAML && type != NULL && slice_starts(type->value, "application/json");
    if (!args_has(&c->args, OPTION_INCLUDE))
        return;
    buf_addf(&c->out, "%d %s\n", r->status, http_status_text(r->status));
    for (size_t i = 0; i < r->n_headers; i++)
        add_header(c, r->headers[i].name, r->headers[i].value);
    buf_addc(&c->out, '\n');
}

static bool print_piece(struct shown *s, struct slice piece)
{
    cli_text(s->c, piece, false);
    s->open_line = piece.len > 0 && piece.p[piece.len - 1] != '\n';
    cli_flush(s->c); /* a stream's events are wanted when they come */
    return s->c->out_error == 0 && s->c->out.err == 0;
}

static bool on_piece(void *ctx, struct slice piece)
{
    struct shown *s = ctx;
    if (!s->whole && !s->c->terminal)
        return print_piece(s, piece);
    if (buf_add(&s->body, piece.p, piece.len) != 0)
        return false;
    /* What is made harmless for a terminal goes out by whole lines: a character or a sequence may
     * be cut by the end of a piece. */
    const char *end = s->whole ? NULL : memrchr(s->body.data, '\n', s->body.len);
    if (end == NULL)
        return true;
    size_t n = (size_t)(end + 1 - s->body.data);
    bool go_on = print_piece(s, (struct slice){s->body.data, n});
    buf_drop(&s->body, n);
    return go_on;
}

/* "Name: value" into parts; false if it is none. */
static bool split_header(const char *text, struct http_header *ret, char *name, size_t size)
{
    const char *colon = strchr(text, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);
    if (n == 0 || n >= size)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool token = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("!#$%&'*+-.^_`|~", c) != NULL; /* RFC 9110, 5.6.2 */
        if (!token)
            return false;
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    *ret = (struct http_header){{name, n}, slice_trim(slice_of(colon + 1))};
    return true;
}

struct head_lines {
    struct http_header headers[CLI_MAX_HEADERS];
    char names[CLI_MAX_HEADERS][64];
    const char *content_type;
    char type[256];
    size_t n;
};

static int read_headers(struct cli *c, struct head_lines *h)
{
    for (size_t i = 0; i < c->args.n_values; i++) {
        const struct args_value *v = &c->args.values[i];
        if (v->id != OPTION_HEADER)
            continue;
        if (h->n == CLI_MAX_HEADERS)
            return cli_fail(c, EXIT_USAGE, NULL, "more than %d headers", CLI_MAX_HEADERS);
        struct http_header *to = &h->headers[h->n];
        if (!split_header(v->value, to, h->names[h->n], sizeof h->names[0]))
            return cli_fail(c, EXIT_USAGE, NULL, "--header \"%s\" is not \"Name: value\"",
                            v->value);
        if (slice_eqs(to->name, "content-type")) { /* the client sends it with the body */
            struct buf b = BUF_FIXED(h->type);
            if (buf_add(&b, to->value.p, to->value.len) != 0)
                return cli_fail(c, EXIT_USAGE, NULL, "--header \"%s\" is too long", v->value);
            h->content_type = h->type;
        } else {
            h->n++;
        }
    }
    return EXIT_DONE;
}

static int read_data(struct cli *c, const char *data, struct buf *body)
{
    if (data[0] == '@')
        return cli_input(c, data + 1, body);
    if (strcmp(data, "-") == 0)
        return cli_input(c, data, body);
    return buf_adds(body, data) == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

static int call_api(struct cli *c, enum http_method method, const struct head_lines *h,
                    const struct buf *body)
{
    static const struct cli_sink sink = {on_head, on_piece};
    struct shown s = {.c = c, .body = BUF_INIT(MAX_BODY)};
    bool has_body = args_has(&c->args, OPTION_DATA);
    struct cli_call call = {
        .method = method,
        .path = c->args.words[1],
        .body = {has_body && body->data == NULL ? "" : body->data, body->len},
        .content_type = h->content_type,
        .headers = h->headers,
        .n_headers = h->n,
        .patience_ms = 120000, /* nobody knows here how long it takes */
        .sink = &sink,
        .sink_ctx = &s,
    };
    struct cli_answer a;
    int rc = cli_exchange(c, &call, NULL, &a);
    if (rc == EXIT_DONE && s.body.err != 0)
        rc = cli_fail(c, EXIT_NO, NULL, "the answer is too large");
    if (rc == EXIT_DONE && s.whole)
        cli_json(c, (struct slice){s.body.data, s.body.len});
    else if (rc == EXIT_DONE && s.body.len > 0)
        print_piece(&s, (struct slice){s.body.data, s.body.len});
    if (rc == EXIT_DONE && s.open_line && c->terminal)
        buf_addc(&c->out, '\n'); /* a prompt in the middle of a line is hard to see */
    buf_done(&s.body);
    if (rc != EXIT_DONE || (a.status >= 200 && a.status < 300))
        return rc;
    bool denied = a.status == 401 || a.status == 403 || a.status == 421;
    return cli_fail(c, denied ? EXIT_NOT_ALLOWED : EXIT_NO, NULL, "%d %s", a.status,
                    http_status_text(a.status));
}

int cmd_api(struct cli *c)
{
    const char *const *w = c->args.words;
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_DATA);
    struct head_lines h = {.n = 0};
    enum http_method method = http_method_parse(slice_of(w[0]));
    if (method == HTTP_METHOD_OTHER || method == HTTP_METHOD_CONNECT)
        return cli_fail(c, EXIT_USAGE, NULL,
                        "\"%s\" is no method: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", w[0]);
    if (w[1][0] != '/')
        return cli_fail(c, EXIT_USAGE, "see: gantry api GET /openapi.json",
                        "the path \"%s\" does not begin with \"/\"", w[1]);
    int rc = read_headers(c, &h);
    if (rc == EXIT_DONE && args_has(&c->args, OPTION_DATA))
        rc = read_data(c, c->args.value[OPTION_DATA], &body);
    if (rc != EXIT_DONE)
        return rc;
    return call_api(c, method, &h, &body);
}

int cmd_version(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    _cleanup_(buf_done) struct buf text = BUF_INIT(1024);
    struct json_out j;
    int rc = cli_call_parsed(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = "/"}, &doc);
    const char *server = json_get_str(doc, "version");
    if (!c->json) {
        buf_addlit(&c->out, "gantry   " GANTRY_VERSION "\n");
        if (doc == NULL)
            return rc;
        buf_addlit(&c->out, "gantryd  ");
        text_clean(&c->out, slice_of(server != NULL ? server : "unknown"));
        buf_addlit(&c->out, "  at ");
        text_clean(&c->out, slice_of(c->host.text));
        buf_addc(&c->out, '\n');
        return rc;
    }
    if (doc == NULL)
        return rc;
    json_begin(&j, &text);
    json_obj(&j);
    json_kstr(&j, "gantry", GANTRY_VERSION);
    json_kstr(&j, "gantryd", server);
    json_kstr(&j, "host", c->host.text);
    json_end_obj(&j);
    if (text.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    cli_json(c, (struct slice){text.data, text.len});
    return rc;
}
