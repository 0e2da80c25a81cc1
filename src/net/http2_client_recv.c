/* http2_client_recv.c: answers: what nghttp2 reports, told to the calls' users. nghttp2 enforces
 * the framing and the message rules (RFC 9113, section 8); sizes and floods are ours. */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/http2_client_priv.h"
#include "net/http2_mem.h"

/* As on the server's side: a block this much over the maximum is not decoded to its end. */
#define BOMB_FACTOR 8u
#define FIELD_OVERHEAD 4u
#define HEADERS_MAX 1000u
#define MAX_CONTINUATIONS 8u /* CVE-2024-28182 */
#define MAX_OUTBOUND_ACKS 200u
/* Keep-alive that a peer finds too much is made rarer, to at most this. */
#define PING_MAX_MS 7200000u

static struct h2_call *call_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int cut(struct h2c_conn *n, uint32_t code, const char *why)
{
    n->cut = why;
    n->cut_code = code;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* ---- header blocks ----------------------------------------------------------------------------
 */

void h2c_block_done(struct h2c_block *b)
{
    buf_done(&b->text);
    mem_free(b->fields);
    mem_free(b->headers);
}

static int block_grow(struct h2c_block *b)
{
    size_t cap = b->cap == 0 ? 16 : 2 * b->cap;
    struct h2c_field *fields = mem_realloc(b->fields, cap * sizeof(*fields));
    if (fields == NULL)
        return ERR_NO_MEMORY;
    b->fields = fields;
    struct http_header *headers = mem_realloc(b->headers, cap * sizeof(*headers));
    if (headers == NULL)
        return ERR_NO_MEMORY;
    b->headers = headers;
    b->cap = cap;
    return 0;
}

static int block_add(struct h2c_block *b, struct slice name, struct slice value)
{
    if (b->n >= HEADERS_MAX)
        return ERR_HEADER_LIMIT;
    if (b->n == b->cap && block_grow(b) != 0)
        return ERR_NO_MEMORY;
    struct h2c_field *f = &b->fields[b->n];
    *f = (struct h2c_field){(uint32_t)b->text.len, (uint32_t)name.len,
                            (uint32_t)(b->text.len + name.len), (uint32_t)value.len};
    (void)buf_add(&b->text, name.p, name.len);
    if (buf_add(&b->text, value.p, value.len) != 0)
        return b->text.err == ERR_LIMIT ? ERR_HEADER_LIMIT : ERR_NO_MEMORY;
    b->n++;
    return 0;
}

/* Offsets become slices, once the text does not move any more. */
static void block_finish(struct h2c_block *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct h2c_field *f = &b->fields[i];
        b->headers[i].name = (struct slice){b->text.data + f->name, f->name_len};
        b->headers[i].value = (struct slice){b->text.data + f->value, f->value_len};
    }
}

/* The answer breaks a limit of ours, or there is no memory for it. */
static void give_up(struct h2_call *k, int code, const char *what)
{
    struct err e = {0};
    if (k->sm.state >= CALL_OVER)
        return;
    err_set(&e, code, "%s: %s", k->client->name, code == ERR_NO_MEMORY ? "out of memory" : what);
    h2c_conn_reset(k, code == ERR_NO_MEMORY ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
    h2c_call_over(k, code == ERR_NO_MEMORY ? H2_FAILED : H2_LIMIT, &e);
}

static int on_begin_headers(nghttp2_session *session BASE_UNUSED,
                            const nghttp2_frame *frame BASE_UNUSED, void *ctx)
{
    struct h2c_conn *n = ctx;
    if (!h2c_conn_alive(n))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    buf_clear(&n->block.text);
    n->block.n = n->block.size = 0;
    n->block.status = 0;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len,
                     uint8_t flags BASE_UNUSED, void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2c_block *b = &n->block;
    struct h2_call *k = call_of(session, frame->hd.stream_id);
    if (!h2c_conn_alive(n))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    b->size += name_len + value_len + FIELD_OVERHEAD;
    if (b->size > BOMB_FACTOR * n->client->o.max_head)
        return cut(n, NGHTTP2_ENHANCE_YOUR_CALM, "a header block that is far too large");
    if (k == NULL || k->sm.state != CALL_ACTIVE)
        return 0;
    if (name_len > 0 && name[0] == ':') { /* ":status": nghttp2 lets three digits through */
        for (size_t i = 0; i < value_len; i++)
            b->status = 10 * b->status + (value[i] - '0');
        return 0;
    }
    int rc = block_add(b, (struct slice){(const char *)name, name_len},
                       (struct slice){(const char *)value, value_len});
    if (rc != 0)
        give_up(k, rc, "the answer's header list is too large");
    return 0;
}

/* A field that nghttp2 would silently leave out: the answer is not what its sender meant. */
static int on_invalid_header(nghttp2_session *session BASE_UNUSED,
                             const nghttp2_frame *frame BASE_UNUSED,
                             nghttp2_rcbuf *name BASE_UNUSED, nghttp2_rcbuf *value BASE_UNUSED,
                             uint8_t flags BASE_UNUSED, void *ctx BASE_UNUSED)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int keep_trailers(struct h2_call *k, const struct h2c_block *b)
{
    size_t size = b->n * sizeof(*k->trailers) + b->text.len;
    k->trailers = mem_alloc(size);
    if (k->trailers == NULL)
        return ERR_NO_MEMORY;
    char *text = (char *)(k->trailers + b->n);
    if (b->text.len > 0)
        memcpy(text, b->text.data, b->text.len);
    for (size_t i = 0; i < b->n; i++) {
        const struct h2c_field *f = &b->fields[i];
        k->trailers[i].name = (struct slice){text + f->name, f->name_len};
        k->trailers[i].value = (struct slice){text + f->value, f->value_len};
    }
    k->n_trailers = b->n;
    return 0;
}

static void head_came(struct h2_call *k, bool last)
{
    struct h2c_conn *n = k->conn;
    struct h2_client *c = k->client;
    if (n->block.status < 200)
        return;
    k->got_head = n->answered = true;
    c->fails = 0;
    c->next_try_ms = 0;
    c->last_error.code = 0;
    const struct h2_head h = {n->block.status, n->block.headers, n->block.n, last};
    if (k->user.head != NULL)
        k->user.head(k->ctx, &h);
}

static void trailers_came(struct h2_call *k)
{
    struct h2c_block *b = &k->conn->block;
    if (k->paused || k->held.len > 0) {
        if (keep_trailers(k, b) != 0)
            give_up(k, ERR_NO_MEMORY, NULL);
    } else if (k->user.trailers != NULL) {
        k->user.trailers(k->ctx, b->headers, b->n);
    }
}

static void headers_came(struct h2_call *k, bool end)
{
    block_finish(&k->conn->block);
    if (!k->got_head)
        head_came(k, end);
    else
        trailers_came(k);
}

/* The peer's END_STREAM. */
static void answer_ended(struct h2_call *k)
{
    if (k->sm.state != CALL_ACTIVE)
        return;
    k->complete = true;
    h2c_call_resume(k);
}

/* ---- bodies -----------------------------------------------------------------------------------
 */

static void take_body(struct h2_call *k, const uint8_t *p, size_t len)
{
    if (len > k->max_body - k->body_bytes) {
        give_up(k, ERR_LIMIT, "the answer's body is too large");
        return;
    }
    k->body_bytes += len;
    if (k->paused || k->held.len > 0) {
        if (buf_add(&k->held, p, len) != 0)
            give_up(k, k->held.err, "more than the window came");
    } else if (k->user.data != NULL) {
        k->user.data(k->ctx, (const char *)p, len);
    }
}

static int on_data(nghttp2_session *session, uint8_t flags BASE_UNUSED, int32_t id,
                   const uint8_t *data, size_t len, void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2_call *k = call_of(session, id);
    if (!h2c_conn_alive(n))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    /* The connection's window goes back at once: one paused call must not stop the others. A call's
     * own window goes back when its bytes were told, which bounds what is held. */
    if (nghttp2_session_consume_connection(session, len) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (k != NULL && k->sm.state == CALL_ACTIVE)
        take_body(k, data, len);
    if (!h2c_conn_alive(n))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (k == NULL || k->held.len == 0)
        nghttp2_session_consume_stream(session, id, len);
    return 0;
}

/* ---- frames -----------------------------------------------------------------------------------
 */

static int on_begin_frame(nghttp2_session *session BASE_UNUSED, const nghttp2_frame_hd *hd,
                          void *ctx)
{
    struct h2c_conn *n = ctx;
    if (!h2_guard_frame(&n->guard, hd->type, hd->flags, hd->length, h2c_now(n->client)))
        return cut(n, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames that bring nothing");
    return 0;
}

static void goaway_came(struct h2c_conn *n, const nghttp2_goaway *g)
{
    struct h2_client *c = n->client;
    struct slice why = {(const char *)g->opaque_data, g->opaque_data_len};
    c->stats.goaways++;
    if (g->error_code == NGHTTP2_ENHANCE_YOUR_CALM && slice_eqs(why, "too_many_pings") &&
        c->o.ping_ms <= PING_MAX_MS / 2)
        c->o.ping_ms *= 2;
    h2c_conn_drain(n);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2_call *k = call_of(session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (k == NULL || k->sm.state != CALL_ACTIVE)
            break;
        if (frame->hd.type == NGHTTP2_HEADERS)
            headers_came(k, end);
        if (end)
            answer_ended(k);
        break;
    case NGHTTP2_SETTINGS:
        if (!ack && n->sm.state == CONN_SETTLING) {
            sm_move(&n->sm, CONN_OPEN, n->client->name);
            n->client->stats.connections++;
            n->idle_since_ms = h2c_now(n->client);
            n->timer_at_ms = UINT64_MAX; /* it waits for this */
            h2c_conn_arm(n);
        }
        break;
    case NGHTTP2_PING:
        if (ack)
            n->pinging = false;
        break;
    case NGHTTP2_GOAWAY:
        goaway_came(n, &frame->goaway);
        break;
    default:
        break;
    }
    return h2c_conn_alive(n) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* From here on the bytes of the frame may leave at any time. */
static int before_frame_send(nghttp2_session *session, const nghttp2_frame *frame,
                             void *ctx BASE_UNUSED)
{
    struct h2_call *k = call_of(session, frame->hd.stream_id);
    if (k != NULL && frame->hd.type == NGHTTP2_HEADERS)
        k->sent = true;
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2c_conn *n = ctx;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_guard_data_sent(&n->guard);
    else if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_call *k = call_of(session, frame->hd.stream_id);
    if (k != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        k->end_sent = true;
    return 0;
}

static void call_reset(struct h2_call *k, uint32_t code)
{
    struct err e = {0};
    if (k->sm.state != CALL_ACTIVE || k->complete)
        return;
    k->outcome.code = code;
    k->outcome.unprocessed = code == NGHTTP2_REFUSED_STREAM;
    err_set(&e, code == NGHTTP2_REFUSED_STREAM ? ERR_BUSY : ERR_GONE, "%s: the call was reset (%s)",
            k->client->name, nghttp2_http2_strerror(code));
    h2c_call_over(k, H2_RESET, &e);
}

/* A head that never left: a GOAWAY came first, or the call was cancelled. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame,
                             int rc BASE_UNUSED, void *ctx)
{
    struct h2c_conn *n = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    LIST_FOR_SAFE (it, &n->calls) {
        struct h2_call *k = CONTAINER_OF(it, struct h2_call, conn_link);
        if (k->id != frame->hd.stream_id)
            continue;
        call_reset(k, NGHTTP2_REFUSED_STREAM);
        if (call_of(session, k->id) == NULL) /* else on_stream_close follows */
            h2c_call_detach(k);
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2_call *k = call_of(session, id);
    if (k == NULL || !h2c_conn_alive(n))
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    call_reset(k, code);
    h2c_call_detach(k);
    h2c_wake(n->client);
    return 0;
}

/* ---- the session ------------------------------------------------------------------------------
 */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_frame_send);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    h2c_set_send_data(cb);
    return cb;
}

static nghttp2_option *make_options(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_outbound_ack(o, MAX_OUTBOUND_ACKS);
    nghttp2_option_set_max_continuations(o, MAX_CONTINUATIONS);
    return o;
}

static int first_settings(struct h2c_conn *n)
{
    const nghttp2_settings_entry iv[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)n->client->o.max_head},
    };
    if (nghttp2_submit_settings(n->session, NGHTTP2_FLAG_NONE, iv, ARRAY_LEN(iv)) != 0 ||
        nghttp2_session_set_local_window_size(n->session, NGHTTP2_FLAG_NONE, 0, H2C_CONN_WINDOW) !=
            0)
        return ERR_NO_MEMORY;
    return 0;
}

int h2c_session_open(struct h2c_conn *n)
{
    nghttp2_mem mem = http2_mem;
    nghttp2_session_callbacks *cb = make_callbacks();
    nghttp2_option *o = make_options();
    int rc = ERR_NO_MEMORY;
    if (cb != NULL && o != NULL && nghttp2_session_client_new3(&n->session, cb, n, o, &mem) == 0)
        rc = first_settings(n);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    return rc;
}
