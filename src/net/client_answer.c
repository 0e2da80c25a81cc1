/* client_answer.c: llhttp in response mode, with the strictness and limits of client_answer.h. */
#include "net/client_answer.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/http1_check.h"
#include <string.h>

enum { TEXT_KEEP = 4096 };

enum head_line { LINE_STATUS, LINE_START, LINE_TEXT, LINE_CR, LINE_LAST_CR, LINE_DONE };

static struct answer *of(llhttp_t *p)
{
    return p->data;
}

/* Refuses the answer: the parser stops with the value. */
static int refuse(struct answer *a, int code, const char *why)
{
    if (a->error.code == 0)
        err_set(&a->error, code, "%s", why);
    return -1;
}

static int add_text(struct answer *a, const char *p, size_t n)
{
    if (buf_add(&a->text, p, n) == 0)
        return 0;
    return a->text.err == ERR_LIMIT ? refuse(a, ERR_LIMIT, "the answer's head is too large")
                                    : refuse(a, ERR_NO_MEMORY, "no memory for the answer's head");
}

static int add_trailer(struct answer *a, size_t n)
{
    a->head_seen += n;
    return a->head_seen <= a->text.max
               ? 0
               : refuse(a, ERR_LIMIT, "the answer's trailers are too large");
}

static int grow_headers(struct answer *a)
{
    size_t cap = a->cap_headers * 2 < ANSWER_MAX_HEADERS ? a->cap_headers * 2 : ANSWER_MAX_HEADERS;
    struct answer_field *fields;
    struct http_header *headers;

    if (a->cap_headers >= ANSWER_MAX_HEADERS)
        return refuse(a, ERR_LIMIT, "the answer has too many header lines");
    fields = mem_calloc(cap, sizeof(*fields));
    headers = mem_calloc(cap, sizeof(*headers));
    if (fields == NULL || headers == NULL) {
        mem_free(fields);
        mem_free(headers);
        return refuse(a, ERR_NO_MEMORY, "no memory for the answer's headers");
    }
    memcpy(fields, a->fields, a->n_headers * sizeof(*fields));
    if (a->fields != a->few_fields) {
        mem_free(a->fields);
        mem_free(a->headers);
    }
    a->fields = fields;
    a->headers = headers;
    a->cap_headers = cap;
    return 0;
}

/* ---- callbacks of llhttp --------------------------------------------------------------------- */

static int on_status(llhttp_t *p, const char *at, size_t n)
{
    struct answer *a = of(p);

    a->reason_len += (uint32_t)n;
    return add_text(a, at, n);
}

static int on_name(llhttp_t *p, const char *at, size_t n)
{
    struct answer *a = of(p);
    char *to;

    for (size_t i = 0; i < n; i++) {
        if (!http1_is_token((unsigned char)at[i])) /* the parser takes a blank before the colon */
            return refuse(a, ERR_PROTOCOL, "a header name of the answer is malformed");
    }
    if (a->head_done)
        return add_trailer(a, n);
    if (!a->in_name) {
        if (a->n_headers == a->cap_headers && grow_headers(a) != 0)
            return -1;
        a->fields[a->n_headers++] = (struct answer_field){.name = (uint32_t)a->text.len};
        a->in_name = true;
    }
    if (add_text(a, at, n) != 0)
        return -1;
    to = a->text.data + a->text.len - n;
    for (size_t i = 0; i < n; i++) {
        if (to[i] >= 'A' && to[i] <= 'Z')
            to[i] = (char)(to[i] + ('a' - 'A'));
    }
    a->fields[a->n_headers - 1].name_len += (uint32_t)n;
    return 0;
}

static int on_name_complete(llhttp_t *p)
{
    struct answer *a = of(p);

    if (a->head_done)
        return 0;
    if (!a->in_name || a->fields[a->n_headers - 1].name_len == 0)
        return refuse(a, ERR_PROTOCOL, "a header of the answer has no name");
    a->in_name = false;
    a->fields[a->n_headers - 1].value = (uint32_t)a->text.len;
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct answer *a = of(p);

    if (a->head_done)
        return add_trailer(a, n);
    if (a->n_headers == 0)
        return refuse(a, ERR_PROTOCOL, "a header value without a name");
    for (size_t i = 0; i < n; i++) {
        if (!http1_is_value((unsigned char)at[i]))
            return refuse(a, ERR_PROTOCOL, "a control character in a header of the answer");
    }
    if (add_text(a, at, n) != 0)
        return -1;
    a->fields[a->n_headers - 1].value_len += (uint32_t)n;
    return 0;
}

static int on_extension(llhttp_t *p, const char *at, size_t n)
{
    (void)at;
    return add_trailer(of(p), n);
}

/* Points the headers into the text, which no longer moves. */
static void resolve_headers(struct answer *a)
{
    const char *base = a->text.data;

    for (size_t i = 0; i < a->n_headers; i++) {
        const struct answer_field *f = &a->fields[i];
        a->headers[i].name = (struct slice){base + f->name, f->name_len};
        a->headers[i].value = slice_trim((struct slice){base + f->value, f->value_len});
    }
}

/* The only header of that name; *many if there are more. */
static const struct http_header *find_one(const struct answer *a, const char *name, bool *many)
{
    const struct http_header *h = http_find(a->headers, a->n_headers, name);
    const struct http_header *end = a->headers + a->n_headers;

    *many = h != NULL && http_find(h + 1, (size_t)(end - (h + 1)), name) != NULL;
    return h;
}

/* Whether the length of the body has one meaning (RFC 9112, 6.3). Looks at the headers themselves,
 * not only at what the parser made of them: it passes over empty values. */
static int check_framing(struct answer *a, bool no_body)
{
    const llhttp_t *p = &a->parser;
    bool many_te, many_cl;
    const struct http_header *te = find_one(a, "transfer-encoding", &many_te);
    const struct http_header *cl = find_one(a, "content-length", &many_cl);

    if (te != NULL && cl != NULL)
        return refuse(a, ERR_PROTOCOL, "the answer has both a length and a transfer coding");
    if (te != NULL && p->http_minor == 0)
        return refuse(a, ERR_PROTOCOL, "an HTTP/1.0 answer with a transfer coding");
    if (te != NULL && (many_te || !slice_eq_nocase(te->value, SLICE_LIT("chunked")) ||
                       (p->flags & F_CHUNKED) == 0))
        return refuse(a, ERR_PROTOCOL, "the answer's transfer coding is not \"chunked\"");
    if (cl != NULL && (many_cl || (p->flags & F_CONTENT_LENGTH) == 0))
        return refuse(a, ERR_PROTOCOL, "the answer's length is not a number");
    if (!no_body && cl != NULL && p->content_length > a->max_body)
        return refuse(a, ERR_LIMIT, "the answer's body is too large");
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct answer *a = of(p);
    int status = p->status_code;
    bool no_body = a->head_request || status / 100 == 1 || status == 204 || status == 304;
    struct client_response r;

    if (p->http_major != 1)
        return refuse(a, ERR_PROTOCOL, "the answer is not HTTP/1");
    if (status < 100 || status > 599 || status == 101)
        return refuse(a, ERR_PROTOCOL, "the answer's status cannot be");
    if (buf_reserve(&a->text, 0) != 0) /* an answer without any text: pointers need a base */
        return refuse(a, ERR_NO_MEMORY, "no memory for the answer's head");
    resolve_headers(a);
    if (check_framing(a, no_body) != 0)
        return -1;
    a->skip = status / 100 == 1;
    if (a->skip)
        return ++a->informational <= ANSWER_MAX_INFORMATIONAL
                   ? 1
                   : refuse(a, ERR_PROTOCOL, "too many informational answers");
    a->head_done = true;
    a->in_name = false;
    a->head_seen = 0; /* counts trailers from here on */
    r = (struct client_response){
        .status = status,
        .reason = {a->text.data, a->reason_len},
        .headers = a->headers,
        .n_headers = a->n_headers,
    };
    a->user->head(a->ctx, &r);
    if (no_body)
        return 1;
    return a->stopped ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct answer *a = of(p);

    if (n == 0)
        return 0;
    if (n > a->max_body - a->body_seen)
        return refuse(a, ERR_LIMIT, "the answer's body is too large");
    a->body_seen += n;
    a->user->body(a->ctx, at, n);
    return a->stopped ? HPE_PAUSED : 0;
}

static int on_chunk_header(llhttp_t *p)
{
    struct answer *a = of(p);

    if (p->content_length > a->max_body - a->body_seen)
        return refuse(a, ERR_LIMIT, "the answer's body is too large");
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct answer *a = of(p);

    a->complete = true;
    a->keep_alive = llhttp_should_keep_alive(p) != 0;
    return HPE_PAUSED; /* what follows is another message, or a mistake */
}

static const llhttp_settings_t settings = {
    .on_status = on_status,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

/* ---- public ---------------------------------------------------------------------------------- */

static void parser_reset(struct answer *a)
{
    llhttp_init(&a->parser, HTTP_RESPONSE, &settings);
    a->parser.data = a;
    buf_clear(&a->text);
    a->n_headers = 0;
    a->reason_len = 0;
    a->line = LINE_STATUS;
    a->in_name = a->skip = a->complete = false;
}

void answer_init(struct answer *a, const struct answer_user *u, void *ctx)
{
    a->user = u;
    a->ctx = ctx;
    buf_init(&a->text, 0);
    a->fields = a->few_fields;
    a->headers = a->few_headers;
    a->cap_headers = ANSWER_FEW_HEADERS;
    a->error = (struct err){0};
    parser_reset(a);
}

static void drop_headers(struct answer *a)
{
    if (a->fields != a->few_fields) {
        mem_free(a->fields);
        mem_free(a->headers);
    }
    a->fields = a->few_fields;
    a->headers = a->few_headers;
    a->cap_headers = ANSWER_FEW_HEADERS;
}

void answer_done(struct answer *a)
{
    buf_done(&a->text);
    drop_headers(a);
}

void answer_shrink(struct answer *a)
{
    if (a->text.cap > TEXT_KEEP)
        buf_done(&a->text);
    drop_headers(a);
}

void answer_begin(struct answer *a, bool head_request, size_t max_head, size_t max_body)
{
    if (a->text.cap > max_head)
        buf_done(&a->text); /* room beyond the maximum would be used */
    a->text.max = max_head;
    parser_reset(a);
    a->head_seen = a->body_seen = 0;
    a->max_body = max_body;
    a->informational = 0;
    a->head_request = head_request;
    a->started = a->head_done = a->keep_alive = a->stopped = false;
    if (a->error.code != 0)
        a->error = (struct err){0};
}

void answer_stop(struct answer *a)
{
    a->stopped = true;
}

/* The parser stopped with an error of its own or of a callback. */
static int fail(const struct answer *a, struct err *e)
{
    if (a->error.code != 0) {
        *e = a->error;
        return e->code;
    }
    return err_set(e, ERR_PROTOCOL, "the answer is malformed: %s",
                   a->parser.reason != NULL ? a->parser.reason : "it cannot be read");
}

/* Where the next byte leads; -1: it cannot stand there. */
static int next_line(int line, char c)
{
    switch (line) {
    case LINE_STATUS:
        return c == '\r' || c == '\n' || c == ' ' || c == '\t' ? -1 : LINE_TEXT;
    case LINE_START:
        if (c == '\r')
            return LINE_LAST_CR;
        return c == '\n' || c == ' ' || c == '\t' ? -1 : LINE_TEXT;
    case LINE_CR:
        return c == '\n' ? LINE_START : -1;
    case LINE_LAST_CR:
        return c == '\n' ? LINE_DONE : -1;
    default:
        if (c == '\r')
            return LINE_CR;
        return c == '\n' || c == '\0' ? -1 : LINE_TEXT;
    }
}

/* How many of the bytes the parser may have: up to the head's end, or to the first byte that is out
 * of place (*bad), or to the limit (*bad too). The parser alone would take bare CR and LF for line
 * ends. */
static size_t scan_head(struct answer *a, const char *p, size_t n, int *bad)
{
    size_t room = a->text.max - a->head_seen, i = 0;

    while (i < n && a->line != LINE_DONE && *bad == 0) {
        int next = next_line(a->line, p[i]);

        if (next < 0 || i == room) {
            *bad = next < 0 ? ERR_PROTOCOL : ERR_LIMIT;
        } else {
            a->line = next;
            i++;
        }
    }
    a->head_seen += i;
    return i;
}

/* One turn of the parser, over head or body. ANSWER_MORE: *at moved, there may be more. */
static int feed_some(struct answer *a, const char *p, size_t n, size_t *at, struct err *e)
{
    size_t len = n - *at;
    int bad = 0;
    llhttp_errno_t r;

    if (!a->head_done)
        len = scan_head(a, p + *at, len, &bad);
    r = llhttp_execute(&a->parser, p + *at, len);
    if (r == HPE_OK) {
        *at += len;
        if (bad == ERR_LIMIT)
            return err_set(e, ERR_LIMIT, "the answer's head is too large");
        if (bad != 0 || (a->line == LINE_DONE && !a->head_done))
            return err_set(e, ERR_PROTOCOL, "the answer's head is malformed");
        return ANSWER_MORE;
    }
    if (r != HPE_PAUSED)
        return fail(a, e);
    *at = (size_t)(llhttp_get_error_pos(&a->parser) - p);
    llhttp_resume(&a->parser);
    if (!a->complete)
        return ANSWER_STOPPED;
    if (!a->skip)
        return ANSWER_DONE;
    parser_reset(a); /* a 1xx: the answer itself follows */
    return ANSWER_MORE;
}

int answer_feed(struct answer *a, const char *p, size_t n, size_t *used, struct err *e)
{
    int r;

    a->stopped = false;
    *used = 0;
    if (n > 0)
        a->started = true;
    do
        r = feed_some(a, p, n, used, e);
    while (r == ANSWER_MORE && *used < n);
    return r;
}

int answer_eof(struct answer *a, struct err *e)
{
    if (a->head_done && !a->complete && llhttp_message_needs_eof(&a->parser) != 0) {
        a->complete = true;
        a->keep_alive = false;
        return 0;
    }
    return err_set(e, ERR_GONE,
                   a->started ? "the connection was closed in the middle of the answer"
                              : "the connection was closed without an answer");
}
