/* http1_parse.c: bytes to requests: the strict check, then llhttp, then the exchange's view. */
#include "base/mem.h"
#include "base/str.h"
#include "net/http1_priv.h"
#include <string.h>

static struct http1_request *of(llhttp_t *p)
{
    return CONTAINER_OF(p, struct http1_request, parser);
}

/* ---- trailers ---- */

static int trailer_add(struct http1_request *r, bool name, const char *p, size_t n)
{
    struct http1_trailers *t = r->trailers;

    if (t == NULL) {
        t = r->trailers = mem_zalloc(sizeof(*t));
        if (t == NULL) {
            r->parse_error = 503;
            return -1;
        }
        buf_init(&t->text, http1_limits(r->conn)->max_head);
    }
    if (name && (t->n == 0 || t->line_done)) {
        if (t->n == H1_TRAILERS_MAX) {
            r->parse_error = 431;
            return -1;
        }
        t->at[t->n].name = t->text.len;
        t->at[t->n].name_len = t->at[t->n].value = t->at[t->n].value_len = 0;
        t->n++;
        t->line_done = false;
    }
    size_t at = t->text.len;
    if (buf_add(&t->text, p, n) != 0) {
        r->parse_error = t->text.err == ERR_LIMIT ? 431 : 503;
        return -1;
    }
    if (name) {
        t->at[t->n - 1].name_len += n;
    } else {
        if (t->at[t->n - 1].value == 0)
            t->at[t->n - 1].value = at;
        t->at[t->n - 1].value_len += n;
    }
    return 0;
}

static void lower(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] | 0x20);
    }
}

static void trailers_ready(struct http1_request *r)
{
    struct http1_trailers *t = r->trailers;

    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++) {
        lower(t->text.data + t->at[i].name, t->at[i].name_len);
        t->headers[i].name = (struct slice){t->text.data + t->at[i].name, t->at[i].name_len};
        t->headers[i].value =
            slice_trim((struct slice){t->text.data + t->at[i].value, t->at[i].value_len});
    }
    r->x.trailers = t->headers;
    r->x.n_trailers = t->n;
}

/* ---- llhttp's callbacks ---- */

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    of(p)->url = (struct slice){at, n};
    return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct http1_request *r = of(p);

    if (r->phase == H1_BODY)
        return trailer_add(r, true, at, n);
    if (r->n_headers == r->headers_cap) {
        size_t cap = http1_limits(r->conn)->max_headers;
        struct http_header *bigger = mem_alloc(cap * sizeof(*bigger));
        if (bigger == NULL) {
            r->parse_error = 503;
            return -1;
        }
        memcpy(bigger, r->headers, r->n_headers * sizeof(*bigger));
        r->headers = bigger;
        r->headers_cap = cap;
    }
    lower(r->head + (at - r->head), n);
    r->headers[r->n_headers++] = (struct http_header){.name = {at, n}, .value = {at + n, 0}};
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct http1_request *r = of(p);

    if (r->phase == H1_BODY)
        return trailer_add(r, false, at, n);
    while (n > 0 && (at[n - 1] == ' ' || at[n - 1] == '\t'))
        n--;
    r->headers[r->n_headers - 1].value = (struct slice){at, n};
    return 0;
}

static int on_value_complete(llhttp_t *p)
{
    if (of(p)->trailers != NULL)
        of(p)->trailers->line_done = true;
    return 0;
}

static int on_head(llhttp_t *p)
{
    of(p)->phase = H1_BODY;
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct http1_request *r = of(p);

    r->body_got += n;
    exchange_feed(&r->x, at, n);
    /* The handler may have paused, or ended the connection: the rest is not for now. */
    return r->x.paused || stream_closing(r->conn->conn->stream) ? HPE_PAUSED : 0;
}

static int on_complete(llhttp_t *p)
{
    of(p)->phase = H1_DONE;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void http1_request_reset(struct http1_request *r)
{
    if (r->head != r->inline_head)
        mem_free(r->head);
    if (r->headers != r->inline_headers)
        mem_free(r->headers);
    if (r->trailers != NULL) {
        buf_done(&r->trailers->text);
        mem_free(r->trailers);
    }
    memset(&r->check, 0, sizeof(r->check));
    memset(&r->chunks, 0, sizeof(r->chunks));
    r->body_left = r->body_got = 0;
    r->checked_ahead = 0;
    r->phase = H1_HEAD;
    r->body_checked = r->keep_alive = r->expects = r->bad_expect = false;
    r->close = r->chunked_out = r->no_body_out = false;
    r->head = r->inline_head;
    r->head_len = 0;
    r->head_cap = sizeof(r->inline_head);
    r->headers = r->inline_headers;
    r->n_headers = 0;
    r->headers_cap = ARRAY_LEN(r->inline_headers);
    r->url = (struct slice){NULL, 0};
    r->parse_error = 0;
    r->trailers = NULL;
    llhttp_init(&r->parser, HTTP_REQUEST, &settings);
}

/* ---- the head ---- */

static int head_append(struct http1_request *r, const char *p, size_t n)
{
    if (n > r->head_cap - r->head_len) {
        size_t cap = r->head_cap * 2 > r->head_len + n ? r->head_cap * 2 : r->head_len + n;
        char *bigger = mem_alloc(cap);
        if (bigger == NULL)
            return ERR_NO_MEMORY;
        memcpy(bigger, r->head, r->head_len);
        if (r->head != r->inline_head)
            mem_free(r->head);
        r->head = bigger;
        r->head_cap = cap;
    }
    memcpy(r->head + r->head_len, p, n);
    r->head_len += n;
    return 0;
}

/* "http://host:80/path": the authority wins over the Host header (RFC 9112, 3.2.2). */
static int split_absolute(struct http_request *q, struct slice *path)
{
    size_t scheme = slice_starts(*path, "http://") ? 7 : slice_starts(*path, "https://") ? 8 : 0;

    if (scheme == 0)
        return 400;
    path->p += scheme;
    path->len -= scheme;
    size_t n = 0;
    while (n < path->len && path->p[n] != '/' && path->p[n] != '?')
        n++;
    if (n == 0 || memchr(path->p, '@', n) != NULL)
        return 400;
    q->host = (struct slice){path->p, n};
    path->p += n;
    path->len -= n;
    return 0;
}

static int fill_target(struct http1_request *r)
{
    struct http_request *q = &r->x.req;
    struct slice path = r->url;

    q->target = r->url;
    if (path.len == 0)
        return 400;
    if (q->method == HTTP_METHOD_CONNECT) {
        q->path = path;
        return q->content_length >= 0 || r->check.chunked ? 400 : 0;
    }
    if (path.p[0] != '/' &&
        !(path.len == 1 && path.p[0] == '*' && q->method == HTTP_METHOD_OPTIONS)) {
        int rc = split_absolute(q, &path);
        if (rc != 0)
            return rc;
    }
    const char *mark = memchr(path.p, '?', path.len);
    if (mark != NULL) {
        q->query = (struct slice){mark + 1, (size_t)(path.p + path.len - mark - 1)};
        path.len = (size_t)(mark - path.p);
    }
    q->path = path.len > 0 ? path : SLICE_LIT("/"); /* "http://host" (RFC 9110, 4.2.3) */
    return 0;
}

static int fill_request(struct http1_request *r)
{
    struct http_request *q = &r->x.req;
    const char *method = r->head + (r->head[0] == '\r' ? 2 : 0);
    const char *blank = memchr(method, ' ', r->head_len);

    q->method_text = (struct slice){method, (size_t)(blank - method)};
    q->method = http_method_parse(q->method_text);
    q->version = r->check.minor0 ? 10 : 11;
    q->https = r->conn->conn->stream->tls != NULL;
    q->headers = r->headers;
    q->n_headers = r->n_headers;
    q->content_length = r->check.has_length ? (int64_t)r->check.length : -1;
    q->has_body = r->check.chunked || r->check.length > 0;
    for (size_t i = 0; i < r->n_headers; i++) {
        struct slice name = r->headers[i].name, value = r->headers[i].value;
        if (name.len == 4 && memcmp(name.p, "host", 4) == 0)
            q->host = value;
        else if (name.len == 6 && memcmp(name.p, "expect", 6) == 0 && q->version == 11)
            *(slice_eq_nocase(value, SLICE_LIT("100-continue")) ? &r->expects : &r->bad_expect) =
                true;
    }
    r->body_left = r->check.length;
    r->keep_alive = q->version == 11 ? (r->parser.flags & F_CONNECTION_CLOSE) == 0
                                     : (r->parser.flags & F_CONNECTION_KEEP_ALIVE) != 0;
    if (q->method == HTTP_METHOD_CONNECT)
        r->keep_alive = false;
    if (!q->has_body)
        r->expects = false;
    return fill_target(r);
}

/* The check found nothing wrong: parses. */
static int parse_checked(struct http1_request *r)
{
    llhttp_errno_t rc = llhttp_execute(&r->parser, r->head, r->head_len);

    if (r->parse_error != 0)
        return r->parse_error;
    if (rc == HPE_INVALID_METHOD)
        return 501; /* a proper token, but no method this server knows */
    if (rc == HPE_PAUSED || rc == HPE_PAUSED_UPGRADE)
        llhttp_resume(&r->parser);
    else if (rc != HPE_OK)
        return 400;
    if (r->phase == H1_HEAD)
        return 400;
    int status = fill_request(r);
    if (status != 0)
        return status;
    /* The two must agree about what follows; llhttp leaves upgrades and CONNECT to us. */
    if (r->x.req.has_body != (r->phase == H1_BODY)) {
        if (r->x.req.has_body)
            return 400;
        r->phase = H1_DONE;
    }
    return 0;
}

size_t http1_parse_head(struct http1_request *r, const char *p, size_t n, int *status)
{
    const struct http_limits *l = http1_limits(r->conn);
    size_t before = r->head_len, len = 0, take = n;
    int rc;

    if (before == 0) {
        rc = http1_check_head(&r->check, l, p, n, &len);
    } else {
        if (take > l->max_head + 1 - before)
            take = l->max_head + 1 - before;
        if (head_append(r, p, take) != 0) {
            *status = 503;
            return 0;
        }
        rc = http1_check_head(&r->check, l, r->head, r->head_len, &len);
    }
    if (rc == HTTP1_MORE) {
        *status = before == 0 && head_append(r, p, n) != 0 ? 503 : 0;
        return take;
    }
    if (rc != HTTP1_OK) {
        *status = rc;
        return take;
    }
    if (before == 0 && head_append(r, p, len) != 0) {
        *status = 503;
        return 0;
    }
    r->head_len = len;
    *status = parse_checked(r);
    return len - before;
}

/* ---- the body ---- */

/* How many of these bytes may go to the parser. */
static size_t body_part(struct http1_request *r, const char *p, size_t n, int *status)
{
    if (!r->check.chunked)
        return r->body_left < n ? (size_t)r->body_left : n;
    if (!r->body_checked && n > r->checked_ahead) {
        size_t used = 0;
        int rc = http1_check_chunks(&r->chunks, http1_limits(r->conn), p + r->checked_ahead,
                                    n - r->checked_ahead, &used);
        if (rc != HTTP1_OK && rc != HTTP1_MORE) {
            *status = rc;
            return 0;
        }
        r->body_checked = rc == HTTP1_OK;
        r->checked_ahead += used;
    }
    return r->checked_ahead < n ? r->checked_ahead : n;
}

size_t http1_parse_body(struct http1_request *r, const char *p, size_t n, int *status)
{
    size_t part, used;

    *status = 0;
    part = body_part(r, p, n, status);
    if (*status != 0)
        return 0;
    llhttp_errno_t rc = llhttp_execute(&r->parser, p, part);
    used = part;
    if (rc == HPE_PAUSED) {
        used = (size_t)(llhttp_get_error_pos(&r->parser) - p);
        llhttp_resume(&r->parser);
    } else if (rc != HPE_OK) {
        *status = r->parse_error != 0 ? r->parse_error : 400;
        return 0;
    }
    if (r->check.chunked)
        r->checked_ahead -= used;
    else
        r->body_left -= used;
    if (r->phase == H1_DONE)
        trailers_ready(r);
    return used;
}
