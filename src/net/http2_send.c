/* http2_send.c: answers: exchange_ops over nghttp2. Bodies wait in the stream's own queue and are
 * written by reference to it, behind each frame's head, when nghttp2 says there is a window. */
#include "net/http2_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define MAX_PARTS 16u /* pieces of the queue in one DATA frame */
#define NV_OWN 6u     /* :status, date, server, x-request-id, content-length, content-type */

static struct h2_stream *stream_of(const struct exchange *x)
{
    return CONTAINER_OF(x, struct h2_stream, x);
}

static bool can_answer(const struct h2_stream *s)
{
    return h2_alive(s->h) && !s->closed && !s->dying;
}

static struct out_pool *pool_of(const struct h2_stream *s)
{
    return loop_out_pool(stream_loop(s->h->stream));
}

void h2_reset(struct h2_stream *s, uint32_t code, int err)
{
    if (!can_answer(s))
        return;
    s->dying = true;
    s->close_err = err;
    if (nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, code) != 0)
        h2_end(s->h, NGHTTP2_INTERNAL_ERROR);
    h2_wake(s->h);
}

/* ---- bodies ---- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf BASE_UNUSED,
                         size_t length, uint32_t *flags, nghttp2_data_source *source,
                         void *ctx BASE_UNUSED)
{
    struct h2_stream *s = source->ptr;
    struct iovec iov[MAX_PARTS];
    size_t n = 0, n_parts = out_parts(&s->out, iov, MAX_PARTS);
    for (size_t i = 0; i < n_parts && n < length; i++)
        n += iov[i].iov_len < length - n ? iov[i].iov_len : length - n;
    if (n == 0 && !s->finished) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == s->out.bytes && s->finished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->n_reply_trailers > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, id, s->reply_trailers, s->n_reply_trailers) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

int h2_send_data(nghttp2_session *session BASE_UNUSED, nghttp2_frame *frame BASE_UNUSED,
                 const uint8_t *framehd, size_t length, nghttp2_data_source *source, void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = source->ptr;
    if (stream_queued(h->stream) >= H2_SEND_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    struct slice parts[MAX_PARTS + 1] = {{(const char *)framehd, 9}};
    struct iovec iov[MAX_PARTS];
    size_t n = out_parts(&s->out, iov, MAX_PARTS), left = length, used = 1;
    for (size_t i = 0; i < n && left > 0; i++) {
        size_t take = iov[i].iov_len < left ? iov[i].iov_len : left;
        parts[used++] = (struct slice){iov[i].iov_base, take};
        left -= take;
    }
    /* read_body counted the same pieces, and the queue only grows behind them. */
    INVARIANT(left == 0);
    if (stream_writev(h->stream, parts, used) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    out_drop(&s->out, pool_of(s), length);
    h->queued -= length;
    s->write_at_ms = h2_now(h);
    if (s->want_drained && s->out.bytes <= H2_DRAINED_MARK && list_empty(&s->wake))
        list_push_back(&h->waking, &s->wake);
    return 0;
}

static int queue_body(struct h2_stream *s, struct slice data, struct chunk *shared)
{
    int rc = shared != NULL ? out_add_chunk(&s->out, shared, 0)
                            : out_add(&s->out, pool_of(s), data.p, data.len);
    if (rc != 0)
        return rc;
    if (s->out.bytes == data.len)
        s->write_at_ms = h2_now(s->h);
    s->h->queued += data.len;
    if (s->out.bytes > H2_DRAINED_MARK)
        s->want_drained = true;
    return 0;
}

/* Tells nghttp2 that there is something to send on the stream. */
static void resume_sending(struct h2_stream *s)
{
    if (s->deferred) {
        s->deferred = false;
        if (nghttp2_session_resume_data(s->h->session, s->id) == NGHTTP2_ERR_NOMEM)
            h2_reset(s, NGHTTP2_INTERNAL_ERROR, ERR_NO_MEMORY);
    }
    h2_wake(s->h);
}

/* ---- heads ---- */

/* Names are ours and lower-case; what a handler puts into a value must not break the head for peers
 * behind a proxy that speaks HTTP/1.1. */
static bool header_ok(const struct http_header *h)
{
    return nghttp2_check_header_name((const uint8_t *)h->name.p, h->name.len) &&
           nghttp2_check_header_value_rfc9113((const uint8_t *)h->value.p, h->value.len);
}

static nghttp2_nv nv_of(struct slice name, struct slice value, uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.len,
                        value.len, flags};
}

static bool status_without_body(int status)
{
    return status == 204 || status == 304 || status < 200;
}

/* Fills nv (room for NV_OWN + n_headers) in the order that HTTP/1.1 has; texts must live until the
 * submit call, which copies them. length < 0: no content-length. */
static size_t fill_head(struct h2_stream *s, const struct http_response *r, int64_t length,
                        char status[4], char digits[24], nghttp2_nv *nv)
{
    const struct server_options *o = server_options(s->h->c->server);
    const uint8_t fixed = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    size_t n = 0;
    snprintf(status, 4, "%03u", (unsigned)r->status % 1000u);
    nv[n++] = nv_of(SLICE_LIT(":status"), (struct slice){status, 3}, fixed);
    nv[n++] = nv_of(SLICE_LIT("date"), loop_http_date(stream_loop(s->h->stream)), fixed);
    if (o->server_name != NULL)
        nv[n++] = nv_of(SLICE_LIT("server"), slice_of(o->server_name), fixed);
    if (o->request_ids)
        nv[n++] = nv_of(SLICE_LIT("x-request-id"), slice_of(exchange_id(&s->x)), fixed);
    if (length >= 0) {
        snprintf(digits, 24, "%lld", (long long)length);
        nv[n++] = nv_of(SLICE_LIT("content-length"), slice_of(digits), fixed);
    }
    if (r->content_type != NULL)
        nv[n++] = nv_of(SLICE_LIT("content-type"), slice_of(r->content_type), fixed);
    for (size_t i = 0; i < r->n_headers; i++)
        nv[n++] = nv_of(r->headers[i].name, r->headers[i].value, NGHTTP2_NV_FLAG_NONE);
    return n;
}

/* Submits the head; without `body` it also ends the answer. */
static int submit_head(struct h2_stream *s, const struct http_response *r, int64_t length,
                       bool body)
{
    char status[4], digits[24];
    nghttp2_nv few[24], *nv = few, *many = NULL;
    for (size_t i = 0; i < r->n_headers; i++)
        if (!header_ok(&r->headers[i]))
            return ERR_INVALID;
    if (NV_OWN + r->n_headers > ARRAY_LEN(few)) {
        nv = many = mem_calloc(NV_OWN + r->n_headers, sizeof(*nv));
        if (nv == NULL)
            return ERR_NO_MEMORY;
    }
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_body};
    size_t n = fill_head(s, r, length, status, digits, nv);
    int rc = nghttp2_submit_response(s->h->session, s->id, nv, n, body ? &provider : NULL);
    mem_free(many);
    if (rc != 0)
        return rc == NGHTTP2_ERR_NOMEM ? ERR_NO_MEMORY : ERR_GONE;
    s->answered = true;
    s->no_body = !body;
    h2_wake(s->h);
    return 0;
}

void h2_answer(struct h2_stream *s, int status)
{
    if (!can_answer(s) || s->answered)
        return;
    const struct http_response r = {.status = status};
    s->finished = true;
    if (submit_head(s, &r, 0, false) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR, ERR_NO_MEMORY);
}

void h2_continue(struct h2_stream *s)
{
    nghttp2_nv nv = nv_of(SLICE_LIT(":status"), SLICE_LIT("100"), NGHTTP2_NV_FLAG_NO_COPY_NAME);
    if (!s->expect_continue || s->remote_ended || s->answered || !can_answer(s))
        return;
    s->expect_continue = false;
    nghttp2_submit_headers(s->h->session, NGHTTP2_FLAG_NONE, s->id, NULL, &nv, 1, NULL);
    h2_wake(s->h);
}

/* ---- exchange_ops ---- */

static int op_respond(struct exchange *x, const struct http_response *r, struct slice body)
{
    struct h2_stream *s = stream_of(x);
    if (!can_answer(s))
        return ERR_GONE;
    bool has_length = r->status != 204 && r->status >= 200 && !r->no_length;
    bool with_body =
        body.len > 0 && x->req.method != HTTP_METHOD_HEAD && !status_without_body(r->status);
    int rc = 0;
    s->finished = true;
    if (with_body)
        rc = queue_body(s, body, NULL);
    if (rc == 0)
        rc = submit_head(s, r, has_length ? (int64_t)body.len : -1, with_body);
    if (rc != 0) {
        s->h->queued -= s->out.bytes;
        out_clear(&s->out, pool_of(s));
        h2_answer(s, rc == ERR_NO_MEMORY ? 503 : 500);
    }
    s->want_drained = false; /* nothing more will be written */
    return rc;
}

static int op_start(struct exchange *x, const struct http_response *r)
{
    struct h2_stream *s = stream_of(x);
    if (!can_answer(s))
        return ERR_GONE;
    return submit_head(s, r, -1,
                       x->req.method != HTTP_METHOD_HEAD && !status_without_body(r->status));
}

static int op_write(struct exchange *x, struct slice data, struct chunk *shared)
{
    struct h2_stream *s = stream_of(x);
    size_t max = server_conn_limits(s->h->c)->max_queue;
    if (!can_answer(s))
        return ERR_GONE;
    if (s->no_body)
        return 0;
    if (s->out.bytes > 0 && (data.len > max || s->out.bytes > max - data.len)) {
        s->want_drained = true;
        return ERR_LIMIT;
    }
    if (s->h->queued > H2_QUEUES * max) {
        s->want_drained = s->h->starved = true;
        return ERR_LIMIT;
    }
    int rc = queue_body(s, data, shared);
    if (rc == 0)
        resume_sending(s);
    return rc;
}

/* The trailers as one allocation: the array, then the text it points to. */
static int keep_trailers(struct h2_stream *s, const struct http_header *t, size_t n)
{
    size_t size = n * sizeof(nghttp2_nv);
    for (size_t i = 0; i < n; i++) {
        if (!header_ok(&t[i]))
            return ERR_INVALID;
        size += t[i].name.len + t[i].value.len;
    }
    s->reply_trailers = mem_alloc(size);
    if (s->reply_trailers == NULL)
        return ERR_NO_MEMORY;
    char *text = (char *)(s->reply_trailers + n);
    for (size_t i = 0; i < n; i++) {
        struct slice name = {text, t[i].name.len}, value = {text + name.len, t[i].value.len};
        memcpy(text, t[i].name.p, name.len);
        if (value.len > 0)
            memcpy(text + name.len, t[i].value.p, value.len);
        text += name.len + value.len;
        s->reply_trailers[i] = nv_of(name, value, NGHTTP2_NV_FLAG_NONE);
    }
    s->n_reply_trailers = n;
    return 0;
}

static int op_finish(struct exchange *x, const struct http_header *trailers, size_t n)
{
    struct h2_stream *s = stream_of(x);
    if (!can_answer(s))
        return ERR_GONE;
    s->finished = true;
    s->want_drained = false;
    if (s->no_body)
        return 0;
    int rc = n > 0 ? keep_trailers(s, trailers, n) : 0;
    if (rc != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR, rc);
    else
        resume_sending(s);
    return rc;
}

static void op_abort(struct exchange *x)
{
    struct h2_stream *s = stream_of(x);
    if (!s->end_sent)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR, ERR_CANCELLED);
}

static void op_pause(struct exchange *x, bool paused)
{
    struct h2_stream *s = stream_of(x);
    if (paused || s->closed || (s->held.len == 0 && !s->end_pending))
        return;
    if (list_empty(&s->wake))
        list_push_back(&s->h->waking, &s->wake);
    h2_wake(s->h);
}

/* Inside the handler it may still answer at once; then nobody wants the body. */
static void op_want_body(struct exchange *x)
{
    if (stream_of(x)->dispatched)
        h2_continue(stream_of(x));
}

static void op_drop_body(struct exchange *x)
{
    struct h2_stream *s = stream_of(x);
    if (s->remote_ended || !can_answer(s))
        return;
    s->deaf = true;
    if (s->end_sent)
        h2_reset(s, NGHTTP2_NO_ERROR, 0);
}

static size_t op_queued(const struct exchange *x)
{
    return CONTAINER_OF(x, const struct h2_stream, x)->out.bytes;
}

const struct exchange_ops h2_exchange_ops = {
    .respond = op_respond,
    .start = op_start,
    .write = op_write,
    .finish = op_finish,
    .abort = op_abort,
    .pause = op_pause,
    .queued = op_queued,
    .want_body = op_want_body,
    .drop_body = op_drop_body,
    .upgrade = NULL, /* RFC 9113, section 8.6: there is no 101 */
};
