/* http2_recv.c: requests: what nghttp2 reports, made into exchanges. nghttp2 enforces the framing
 * and the message rules (RFC 9113, section 8); sizes, Host and floods are ours. */
#include "net/http2_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/http2_mem.h"

/* A block this much over max_head is not decoded to its end to be refused politely: its sender uses
 * header compression as a lever (a byte for a field of kilobytes). */
#define BOMB_FACTOR 8u
#define FIELD_OVERHEAD 4u    /* ": " and CR LF, as HTTP/1.1 has it */
#define MAX_CONTINUATIONS 8u /* CVE-2024-28182 */
#define MAX_OUTBOUND_ACKS 200u

static const struct http_limits *limits(const struct h2_stream *s)
{
    return server_conn_limits(s->h->c);
}

/* ---- streams ---- */

struct h2_stream *h2_stream_new(struct h2_conn *h, int32_t id)
{
    struct h2_stream *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    exchange_init(&s->x, &h2_exchange_ops, h->c);
    s->h = h;
    s->id = id;
    s->read_at_ms = s->write_at_ms = h2_now(h);
    /* Twice: cookies that came in pieces are joined behind the rest. */
    buf_init(&s->text, 2 * limits(s)->max_head + 256);
    buf_init(&s->trailer_text, limits(s)->max_head);
    buf_init(&s->held, NGHTTP2_INITIAL_WINDOW_SIZE);
    list_init(&s->wake);
    list_push_back(&h->streams, &s->link);
    h->n_streams++;
    return s;
}

void h2_stream_free(struct h2_stream *s)
{
    s->h->queued -= s->out.bytes;
    out_clear(&s->out, loop_out_pool(stream_loop(s->h->stream)));
    list_remove(&s->link);
    list_remove(&s->wake);
    buf_done(&s->text);
    buf_done(&s->trailer_text);
    buf_done(&s->held);
    mem_free(s->fields);
    mem_free(s->headers);
    mem_free(s->trailers);
    mem_free(s->reply_trailers);
    mem_free(s);
}

void h2_stream_closed(struct h2_stream *s, int err)
{
    if (s->closed)
        return;
    s->closed = true;
    s->close_err = err;
    list_remove(&s->wake);
    list_remove(&s->link);
    list_push_back(&s->h->done, &s->link);
    s->h->n_streams--;
}

void h2_stream_resume(struct h2_stream *s)
{
    if (s->x.paused || s->closed)
        return;
    if (s->held.len > 0) {
        _cleanup_(buf_done) struct buf b = s->held;
        buf_init(&s->held, b.max);
        if (!s->deaf)
            exchange_feed(&s->x, b.data, b.len);
        if (h2_alive(s->h) && !s->closed)
            nghttp2_session_consume_stream(s->h->session, s->id, b.len);
    }
    if (s->end_pending && !s->x.paused && s->held.len == 0) {
        s->end_pending = false;
        exchange_end(&s->x, 0);
    }
}

/* ---- the head ---- */

/* Trailers have a buffer of their own: the handler holds slices of the head's. */
static struct buf *block_text(struct h2_stream *s)
{
    return s->in_trailers ? &s->trailer_text : &s->text;
}

static struct slice field_name(struct h2_stream *s, const struct h2_field *f)
{
    return (struct slice){block_text(s)->data + f->name, f->name_len};
}

static struct slice field_value(struct h2_stream *s, const struct h2_field *f)
{
    return (struct slice){block_text(s)->data + f->value, f->value_len};
}

static int keep_field(struct h2_stream *s, struct slice name, struct slice value)
{
    if (s->n_fields == s->cap_fields) {
        size_t cap = s->cap_fields == 0 ? 16 : 2 * s->cap_fields;
        struct h2_field *grown = mem_realloc(s->fields, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        s->fields = grown;
        s->cap_fields = cap;
    }
    struct buf *text = block_text(s);
    struct h2_field *f = &s->fields[s->n_fields];
    f->name = (uint32_t)text->len;
    f->name_len = (uint32_t)name.len;
    buf_add(text, name.p, name.len);
    f->value = (uint32_t)text->len;
    f->value_len = (uint32_t)value.len;
    if (buf_add(text, value.p, value.len) != 0)
        return text->err;
    s->n_fields++;
    return 0;
}

static int on_header(nghttp2_session *session BASE_UNUSED, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
                     uint8_t flags BASE_UNUSED, void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!h2_alive(h))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s == NULL || s->closed)
        return 0;
    const struct http_limits *l = limits(s);
    s->block_size += name_len + value_len + FIELD_OVERHEAD;
    if (s->block_size > BOMB_FACTOR * l->max_head) {
        h->cut = NGHTTP2_ENHANCE_YOUR_CALM;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (s->refuse != 0)
        return 0;
    bool pseudo = name_len > 0 && name[0] == ':';
    bool target = name_len == 5 && memcmp(name, ":path", 5) == 0;
    if (target && value_len > l->max_target)
        s->refuse = 414;
    else if (s->block_size > l->max_head || (!pseudo && s->n_fields >= l->max_headers + 4))
        s->refuse = 431; /* 4: the pseudo headers */
    if (s->refuse != 0)
        return s->in_trailers ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
    int rc = keep_field(s, (struct slice){(const char *)name, name_len},
                        (struct slice){(const char *)value, value_len});
    return rc != 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* A field that nghttp2 would silently leave out: the request is not what its sender meant. */
static int on_invalid_header(nghttp2_session *session BASE_UNUSED,
                             const nghttp2_frame *frame BASE_UNUSED,
                             nghttp2_rcbuf *name BASE_UNUSED, nghttp2_rcbuf *value BASE_UNUSED,
                             uint8_t flags BASE_UNUSED, void *ctx BASE_UNUSED)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Cookies may come one a field; an application is to see one (RFC 9113, section 8.2.3). */
static int join_cookies(struct h2_stream *s)
{
    size_t n = 0, first = 0;
    for (size_t i = 0; i < s->n_fields; i++)
        if (slice_eqs(field_name(s, &s->fields[i]), "cookie") && n++ == 0)
            first = i;
    if (n < 2)
        return 0;
    size_t kept = first + 1, at = s->text.len;
    for (size_t i = first; i < s->n_fields; i++) {
        struct h2_field f = s->fields[i];
        if (!slice_eqs(field_name(s, &f), "cookie")) {
            s->fields[kept++] = f;
            continue;
        }
        if (s->text.len > at)
            buf_addlit(&s->text, "; ");
        if (buf_reserve(&s->text, f.value_len) != 0) /* so that the source does not move */
            return s->text.err;
        buf_add(&s->text, s->text.data + f.value, f.value_len);
    }
    s->fields[first].value = (uint32_t)at;
    s->fields[first].value_len = (uint32_t)(s->text.len - at);
    s->n_fields = kept;
    return s->text.err;
}

/* The collected fields as an array without pseudo headers; NULL: out of memory. */
static struct http_header *make_headers(struct h2_stream *s, size_t *n)
{
    struct http_header *all = mem_calloc(s->n_fields + 1, sizeof(*all));
    if (all == NULL)
        return NULL;
    *n = 0;
    for (size_t i = 0; i < s->n_fields; i++) {
        struct slice name = field_name(s, &s->fields[i]), value = field_value(s, &s->fields[i]);
        if (name.len == 0 || name.p[0] != ':')
            all[(*n)++] = (struct http_header){name, value};
        else if (slice_eqs(name, ":method"))
            s->method = value;
        else if (slice_eqs(name, ":path"))
            s->path = value;
        else if (slice_eqs(name, ":authority"))
            s->authority = value;
    }
    return all;
}

/* The characters of a host and port, as the check of HTTP/1.1 has them. */
static bool host_ok(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (c == '\0' || strchr("!$%&'()*+-.:;=[]_~", c) == NULL))
            return false;
    }
    return host.len > 0;
}

/* The same rule as over HTTP/1.1: exactly one host, told once or twice alike. */
static bool find_host(struct h2_stream *s, size_t n)
{
    struct http_request *r = &s->x.req;
    size_t hosts = 0;
    struct slice host = {NULL, 0};
    for (size_t i = 0; i < n; i++) {
        if (slice_eqs(s->headers[i].name, "host")) {
            hosts++;
            host = s->headers[i].value;
        }
    }
    r->host = s->authority.len > 0 ? s->authority : host;
    return hosts <= 1 && host_ok(r->host) && (hosts == 0 || slice_eq_nocase(r->host, host));
}

static int fill_request(struct h2_stream *s, bool end)
{
    struct http_request *r = &s->x.req;
    int rc = join_cookies(s);
    if (rc == 0)
        s->headers = make_headers(s, &r->n_headers);
    if (s->headers == NULL) {
        r->n_headers = 0;
        return ERR_NO_MEMORY;
    }
    r->headers = s->headers;
    r->version = 20;
    r->https = stream_peer(s->h->stream)->tls;
    r->method_text = s->method;
    r->method = http_method_parse(s->method);
    r->target = r->path = s->path;
    const char *mark = s->path.len > 0 ? memchr(s->path.p, '?', s->path.len) : NULL;
    if (mark != NULL) {
        r->path.len = (size_t)(mark - s->path.p);
        r->query = (struct slice){mark + 1, s->path.len - r->path.len - 1};
    }
    r->has_body = !end;
    r->content_length = -1;
    const struct http_header *cl = http_find(r->headers, r->n_headers, "content-length");
    if (cl != NULL && str_to_i64(cl->value, &r->content_length) != 0)
        return ERR_INVALID;
    const struct http_header *expect = http_find(r->headers, r->n_headers, "expect");
    s->expect_continue = !end && expect != NULL && http_list_has(expect->value, "100-continue");
    return 0;
}

/* The body was refused (too long, too late): the rest is dropped, and stopped when the answer is
 * out. */
static void refused_body(struct h2_stream *s)
{
    if (s->remote_ended || !s->x.end_told)
        return;
    s->deaf = true;
    if (s->end_sent)
        h2_reset(s, NGHTTP2_NO_ERROR, 0);
}

static void head_done(struct h2_stream *s, bool end)
{
    struct h2_conn *h = s->h;
    if (s->refuse == 0) {
        int rc = fill_request(s, end);
        if (rc == ERR_NO_MEMORY || rc == ERR_LIMIT)
            s->refuse = 503;
        else if (rc != 0 || !find_host(s, s->x.req.n_headers))
            s->refuse = 400;
        else if (s->x.req.method == HTTP_METHOD_CONNECT)
            s->refuse = 501;
    }
    s->read_at_ms = h2_now(h);
    if (s->refuse != 0) {
        server_counts(h->c->server)->bad_requests++;
        s->deaf = true;
        s->x.request_ended = s->x.end_told = true;
        h2_answer(s, s->refuse);
        return;
    }
    s->x.request_ended = end;
    exchange_dispatch(&s->x);
    s->dispatched = true;
    if (!end)
        refused_body(s);
    if (s->x.user != NULL && s->x.user->body != NULL)
        h2_continue(s);
}

static void trailers_done(struct h2_stream *s)
{
    size_t n;
    if (s->deaf || s->refuse != 0)
        return;
    s->trailers = make_headers(s, &n);
    if (s->trailers == NULL) {
        h2_reset(s, NGHTTP2_INTERNAL_ERROR, ERR_NO_MEMORY);
        return;
    }
    s->x.trailers = s->trailers;
    s->x.n_trailers = n;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *h = ctx;
    if (!h2_alive(h))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct h2_stream *s = h2_stream_new(h, frame->hd.stream_id);
        if (s == NULL)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
        return 0;
    }
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s != NULL && !s->in_trailers) {
        s->in_trailers = true;
        s->n_fields = 0;
        s->block_size = 0;
    }
    return 0;
}

/* ---- the body ---- */

static int on_data(nghttp2_session *session, uint8_t flags BASE_UNUSED, int32_t id,
                   const uint8_t *data, size_t n, void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!h2_alive(h))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    /* The connection's window goes back at once: one paused stream must not stop the others. Its
     * own window goes back when its bytes were told, which bounds what is held. */
    if (nghttp2_session_consume_connection(session, n) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s == NULL || s->closed) {
        nghttp2_session_consume_stream(session, id, n);
        return 0;
    }
    s->read_at_ms = h2_now(h);
    if (!s->deaf && (s->x.paused || s->held.len > 0)) {
        if (buf_add(&s->held, data, n) != 0)
            h2_reset(s, NGHTTP2_INTERNAL_ERROR, s->held.err);
        return 0;
    }
    if (!s->deaf)
        exchange_feed(&s->x, (const char *)data, n);
    refused_body(s);
    nghttp2_session_consume_stream(session, id, n);
    return 0;
}

static void request_ended(struct h2_stream *s)
{
    s->remote_ended = true;
    if (s->deaf || s->x.end_told)
        return;
    s->end_pending = true;
    s->x.request_ended = true;
    h2_stream_resume(s);
}

/* ---- frames ---- */

static int on_begin_frame(nghttp2_session *session BASE_UNUSED, const nghttp2_frame_hd *hd,
                          void *ctx)
{
    struct h2_conn *h = ctx;
    h->in_block = hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION;
    if (!h2_guard_frame(&h->guard, hd->type, hd->flags, hd->length, h2_now(h))) {
        h->cut = NGHTTP2_ENHANCE_YOUR_CALM;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (hd->type == NGHTTP2_PING && (hd->flags & NGHTTP2_FLAG_ACK) == 0 &&
        !h2_guard_ping(&h->guard, h2_now(h))) {
        h->cut = NGHTTP2_ENHANCE_YOUR_CALM;
        h->cut_text = "too_many_pings"; /* gRPC clients look for it, and ping less */
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static int count_reset(struct h2_conn *h)
{
    if (h2_guard_reset(&h->guard, h2_now(h)))
        return 0;
    h->cut = NGHTTP2_ENHANCE_YOUR_CALM;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Draining: the peer has seen the first GOAWAY, so no request can be on its way unseen. */
static void final_goaway(struct h2_conn *h)
{
    if (h->sm.state != H2_DRAINING || h->goaway_final)
        return;
    h->goaway_final = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    h->in_block = false;
    h->got_frame = true;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (s == NULL || s->closed)
            return 0;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            head_done(s, end);
        else
            trailers_done(s);
        if (end && !s->closed)
            request_ended(s);
        return 0;
    case NGHTTP2_DATA:
        if (s != NULL && !s->closed && end)
            request_ended(s);
        return 0;
    case NGHTTP2_RST_STREAM:
        return count_reset(h);
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
            memcmp(frame->ping.opaque_data, h2_drain_ping, sizeof(h2_drain_ping)) == 0)
            final_goaway(h);
        return 0;
    default:
        return 0;
    }
}

static int on_invalid_frame(nghttp2_session *session BASE_UNUSED,
                            const nghttp2_frame *frame BASE_UNUSED, int code BASE_UNUSED, void *ctx)
{
    struct h2_conn *h = ctx;
    h->in_block = false;
    server_counts(h->c->server)->bad_requests++;
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        h2_guard_data_sent(&h->guard);
        break;
    case NGHTTP2_HEADERS:
        h2_guard_head_sent(&h->guard);
        break;
    case NGHTTP2_RST_STREAM:
        h->in_block = false; /* the HEADERS of a refused stream are reported nowhere else */
        /* Not by our own wish, so the peer made us do it. */
        return s == NULL || !s->dying ? count_reset(h) : 0;
    default:
        return 0;
    }
    if (s == NULL || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    s->end_sent = true;
    /* The peer was told why its body is not wanted; what is left of it is of no use to anybody. */
    if (s->deaf && !s->remote_ended)
        h2_reset(s, NGHTTP2_NO_ERROR, 0);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code BASE_UNUSED,
                           void *ctx)
{
    struct h2_conn *h = ctx;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s == NULL || !h2_alive(h))
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    h2_stream_closed(s, s->end_sent ? 0 : s->dying ? s->close_err : ERR_GONE);
    return 0;
}

/* ---- the session ---- */

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
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(cb, h2_send_data);
    return cb;
}

static nghttp2_option *make_options(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, MAX_OUTBOUND_ACKS);
    nghttp2_option_set_max_continuations(o, MAX_CONTINUATIONS);
    /* Ours is the stricter one and cuts first; this one also sees resets of streams it never told
     * us. */
    nghttp2_option_set_stream_reset_rate_limit(o, 2ull * H2_RESETS_BURST, 2ull * H2_RESETS_PER_S);
    return o;
}

static int first_settings(struct h2_conn *h)
{
    const struct http_limits *l = server_conn_limits(h->c);
    nghttp2_settings_entry iv[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)l->max_streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->max_head},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 0},
    };
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, ARRAY_LEN(iv)) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) !=
            0)
        return ERR_NO_MEMORY;
    return 0;
}

int h2_session_open(struct h2_conn *h)
{
    nghttp2_mem mem = http2_mem;
    nghttp2_session_callbacks *cb = make_callbacks();
    nghttp2_option *o = make_options();
    int rc = ERR_NO_MEMORY;
    if (cb != NULL && o != NULL && nghttp2_session_server_new3(&h->session, cb, h, o, &mem) == 0)
        rc = first_settings(h);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    return rc;
}
