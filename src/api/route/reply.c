/* Answers, and the life of a call that is answered later. */
#include "api/route/route_priv.h"
#include "base/etag.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLY_MAX_ERROR (64u * 1024u)

void call_done(struct call *k)
{
    if (!k->audited && call_is_change(k))
        call_audit(k, 0);
    identity_unref(k->c.who);
    k->c.who = &identity_none;
    json_decref(k->c.body);
    k->c.body = NULL;
    buf_done(&k->path_buf);
    buf_done(&k->query_buf);
    buf_done(&k->text_buf);
    mem_free(k->strings);
    k->strings = NULL;
    k->magic = 0;
    if (k->heap)
        mem_free(k);
}

/* Frees a held call once its exchange is over and its owner has let go. While its handler still
 * runs, route.c does it afterwards. */
static void call_settle(struct call *k)
{
    if (k->released && k->closed && !k->running)
        call_done(k);
}

static void held_closed(void *ctx, struct exchange *x, int err)
{
    (void)x;
    (void)err;
    struct call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    if (!k->answered)
        call_count(k, 499, false);
    k->closed = true;
    k->c.x = NULL;
    if (k->released)
        call_settle(k);
    else if (k->gone != NULL)
        k->gone(k->gone_ctx, &k->c);
}

static const struct exchange_user held_user = {.closed = held_closed};

void reply_send(struct call *k, const struct http_response *r, struct slice body)
{
    struct exchange *x = k->c.x;
    call_audit(k, r->status);
    k->answered = true;
    if (k->held)
        k->released = true;
    if (x == NULL) {
        call_settle(k);
        return;
    }
    const struct http_request *q = exchange_request(x);
    LOG(DEBUG, "api", "answered", "answered", LF_STR("request", exchange_id(x)),
        LF_SLICE("method", q->method_text), LF_SLICE("path", q->path), LF_INT("status", r->status),
        LF_STR("peer", exchange_peer(x)->text),
        LF_SLICE("traceparent", exchange_header(x, "traceparent")));
    call_count(k, r->status, false);
    /* A failure here is the transport's to tell: it tried a bare 503, or the peer has gone. With a
     * user set, `closed` follows and frees the call, so k is not touched after this line. */
    (void)exchange_respond(x, r, body);
}

void api_reply(struct api_call *c, int status, const char *content_type,
               const struct http_header *headers, size_t n, struct slice body)
{
    struct call *k = call_of(c);
    struct http_header h[API_MAX_HEADERS + 4];
    struct http_response r = {.status = status, .content_type = content_type, .headers = h};
    INVARIANT(n <= API_MAX_HEADERS);
    r.n_headers = k->c.x ? cors_headers(k, h) : 0;
    for (size_t i = 0; i < n; i++)
        h[r.n_headers++] = headers[i];
    reply_send(k, &r, body);
}

static void reply_with_cors(struct call *k, int status, const char *content_type, struct slice body)
{
    api_reply(&k->c, status, content_type, NULL, 0, body);
}

bool api_not_modified(const struct api_call *c, struct slice etag)
{
    const struct http_request *r = c->x ? exchange_request(c->x) : NULL;
    for (size_t i = 0; r != NULL && i < r->n_headers; i++) {
        if (slice_eqs(r->headers[i].name, "if-none-match") &&
            etag_list_has(r->headers[i].value, etag, true) == 1)
            return true;
    }
    return false;
}

void api_reply_json_etag(struct api_call *c, int status, const struct buf *body, struct slice etag)
{
    const struct http_header h = {SLICE_LIT("etag"), etag};
    if (body->err != 0)
        api_reply_json(c, status, body);
    else
        api_reply(c, status, "application/json", &h, etag.p != NULL ? 1 : 0,
                  (struct slice){body->data, body->len});
}

void api_reply_json(struct api_call *c, int status, const struct buf *body)
{
    struct call *k = call_of(c);
    if (body->err == 0) {
        reply_with_cors(k, status, "application/json", (struct slice){body->data, body->len});
        return;
    }
    struct slice text = SLICE_LIT("{\"error\":\"out of memory\",\"detail\":null}");
    if (body->err == ERR_LIMIT)
        text = SLICE_LIT("{\"error\":\"the answer is larger than the limit\",\"detail\":null}");
    reply_with_cors(k, 503, "application/json", text);
}

void api_reply_text(struct api_call *c, int status, const char *content_type, struct slice body)
{
    reply_with_cors(call_of(c), status, content_type, body);
}

static void reply_error_text(struct api_call *c, int status, struct slice text)
{
    struct buf b = BUF_INIT(REPLY_MAX_ERROR * 6 + 64);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    if (text.len == 0)
        text = SLICE_LIT("Unknown error");
    if (call_of(c)->c.detail.p == NULL)
        c->detail = text;
    json_kslice(&j, "error", text);
    json_knull(&j, "detail");
    json_end_obj(&j);
    api_reply_json(c, status, &b);
    buf_done(&b);
}

void api_reply_error(struct api_call *c, int status, const char *fmt, ...)
{
    struct buf text = BUF_INIT(REPLY_MAX_ERROR);
    va_list ap;
    va_start(ap, fmt);
    int rc = buf_addvf(&text, fmt, ap);
    va_end(ap);
    if (rc == 0)
        reply_error_text(c, status, (struct slice){text.data, text.len});
    else
        api_reply_json(c, status, &text); /* tells the buffer's failure */
    buf_done(&text);
}

void api_reply_error_parts(struct api_call *c, int status, const struct slice *parts, size_t n)
{
    struct buf text = BUF_INIT(REPLY_MAX_ERROR);
    for (size_t i = 0; i < n; i++)
        (void)buf_add(&text, parts[i].p, parts[i].len);
    if (text.err == 0)
        reply_error_text(c, status, (struct slice){text.data, text.len});
    else
        api_reply_json(c, status, &text);
    buf_done(&text);
}

void api_reply_err(struct api_call *c, const struct err *e)
{
    const struct err_row *row = err_row(e->code);
    reply_error_text(c, row->http_status, slice_of(e->msg[0] ? e->msg : row->text));
}

void reply_detail(struct call *k, int status, const char *detail)
{
    struct buf b = BUF_INIT(1024);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "detail", detail);
    json_end_obj(&j);
    api_reply_json(&k->c, status, &b);
    buf_done(&b);
}

/* All values of a call that are text, in a fixed order. */
static size_t call_texts(struct call *k, struct slice *out[])
{
    size_t n = 0;
    out[n++] = &k->object_path;
    for (size_t i = 0; i < API_MAX_PATH_PARAMS; i++)
        out[n++] = &k->c.path[i];
    for (size_t i = 0; i < API_MAX_QUERY_PARAMS; i++) {
        out[n++] = &k->c.query[i].s;
        out[n++] = &k->c.body_values[i].s;
    }
    return n;
}
#define CALL_MAX_TEXTS (1 + API_MAX_PATH_PARAMS + 2 * API_MAX_QUERY_PARAMS)

/* A held call outlives its request: its texts move into memory of its own. */
static void call_own_texts(struct call *k, char *to)
{
    struct slice *texts[CALL_MAX_TEXTS];
    size_t n = call_texts(k, texts);
    for (size_t i = 0; i < n; i++) {
        if (texts[i]->p == NULL)
            continue;
        memcpy(to, texts[i]->p, texts[i]->len);
        texts[i]->p = to;
        to += texts[i]->len;
    }
}

/* A held call of its own, with room for `total` bytes of text behind it; the stack's call ends:
 * nothing is left in it to free or to answer. */
static struct call *call_to_heap(struct call *k, size_t total)
{
    struct call *h = mem_alloc(sizeof(*h) + total);
    if (h == NULL)
        return NULL;
    memcpy(h, k, sizeof(*h));
    h->heap = true;
    h->running = false;
    k->answered = k->audited = true;
    k->c.body = NULL;
    k->c.who = &identity_none;
    k->path_buf = k->query_buf = k->text_buf = (struct buf){0};
    call_own_texts(h, (char *)(h + 1));
    return h;
}

int api_call_hold(struct api_call *c, void (*gone)(void *ctx, struct api_call *c), void *ctx,
                  struct api_call **ret)
{
    struct call *k = call_of(c), *h = NULL;
    INVARIANT(!k->held && !k->answered && c->x != NULL);
    if (k->api->o.audit != NULL && call_is_change(k)) {
        /* Told when it is answered, even if the client has gone by then. */
        k->object_path = exchange_request(c->x)->path;
        snprintf(k->peer, sizeof(k->peer), "%s", exchange_peer(c->x)->text);
        snprintf(k->id, sizeof(k->id), "%s", exchange_id(c->x));
    }
    struct slice *texts[CALL_MAX_TEXTS];
    size_t total = 1, n = call_texts(k, texts);
    for (size_t i = 0; i < n; i++)
        total += texts[i]->len;
    if (!k->heap) {
        h = call_to_heap(k, total);
    } else if ((k->strings = mem_alloc(total)) != NULL) {
        h = k;
        call_own_texts(h, h->strings);
    }
    if (h == NULL) {
        api_reply_error(c, 503, "out of memory");
        return ERR_NO_MEMORY;
    }
    buf_done(&h->path_buf);
    buf_done(&h->query_buf);
    buf_done(&h->text_buf);
    h->held = true;
    h->gone = gone;
    h->gone_ctx = ctx;
    exchange_set_user(h->c.x, &held_user, h);
    *ret = &h->c;
    return 0;
}

static void body_piece(void *ctx, struct exchange *x, const char *p, size_t n)
{
    (void)x;
    struct call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    if (!k->answered)
        k->body_user->piece(k->body_ctx, &k->c, p, n);
}

static void body_end(void *ctx, struct exchange *x, int err)
{
    (void)x;
    struct call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    if (err == 0 && !k->answered) /* else it was answered for us, and `closed` follows */
        k->body_user->end(k->body_ctx, &k->c);
}

void api_call_body(struct api_call *c, const struct api_body *b, void *ctx)
{
    static const struct exchange_user user = {
        .body = body_piece, .end = body_end, .closed = held_closed};
    struct call *k = call_of(c);
    INVARIANT(k->held && !k->answered && c->x != NULL);
    k->body_user = b;
    k->body_ctx = ctx;
    exchange_own_body(c->x, false);
    exchange_set_user(c->x, &user, k);
}

void api_call_release(struct api_call *c)
{
    struct call *k = call_of(c);
    INVARIANT(k->held);
    k->answered = k->released = true;
    call_settle(k);
}

struct exchange *api_call_take(struct api_call *c)
{
    struct call *k = call_of(c);
    struct exchange *x = c->x;
    call_audit(k, 200);
    if (x != NULL)
        call_count(k, 200, true);
    k->answered = true;
    c->x = NULL;
    if (k->held) {
        /* The caller sets a user of its own, so `closed` will not come to this call any more. */
        k->released = k->closed = true;
        call_settle(k);
    }
    return x;
}
