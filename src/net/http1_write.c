/* http1_write.c: answers to bytes, formatted straight into the stream's queue. */
#include "base/mem.h"
#include "base/str.h"
#include "net/http1_priv.h"
#include <stdio.h>
#include <string.h>

static struct http1_request *of(const struct exchange *x)
{
    return CONTAINER_OF(x, struct http1_request, x);
}

/* ---- formatting; the room was computed before ---- */

static char *put(char *to, const char *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}
#define PUT_LIT(to, lit) put((to), (lit), sizeof(lit) - 1)

static char *put_decimal(char *to, uint64_t v)
{
    char digits[20];
    size_t n = 0;

    do {
        digits[sizeof(digits) - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return put(to, digits + sizeof(digits) - n, n);
}

static char *put_hex(char *to, uint64_t v)
{
    char digits[16];
    size_t n = 0;

    do {
        digits[sizeof(digits) - ++n] = "0123456789abcdef"[v % 16];
        v /= 16;
    } while (v > 0);
    return put(to, digits + sizeof(digits) - n, n);
}

/* Control characters would end the line and begin one of somebody else's making: blanks instead. */
static char *put_value(char *to, struct slice v)
{
    for (size_t i = 0; i < v.len; i++)
        *to++ = http1_is_value((unsigned char)v.p[i]) ? v.p[i] : ' ';
    return to;
}

static char *put_headers(char *to, const struct http_header *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < h[i].name.len; k++)
            *to++ = http1_is_token((unsigned char)h[i].name.p[k]) ? h[i].name.p[k] : '-';
        to = PUT_LIT(to, ": ");
        to = put_value(to, h[i].value);
        to = PUT_LIT(to, "\r\n");
    }
    return to;
}

static size_t headers_size(const struct http_header *h, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += h[i].name.len + h[i].value.len + 4;
    return size;
}

/* Status line, date and server. */
static char *put_begin(char *to, struct http1 *h, int status)
{
    const char *name = server_options(h->conn->server)->server_name;
    struct slice date = loop_http_date(stream_loop(h->conn->stream));

    if (status == 200) {
        to = PUT_LIT(to, "HTTP/1.1 200 OK\r\ndate: ");
    } else {
        const char *text = http_status_text(status);
        to = PUT_LIT(to, "HTTP/1.1 ");
        to = put_decimal(to, (unsigned)status % 1000);
        *to++ = ' ';
        to = put(to, text, strlen(text));
        to = PUT_LIT(to, "\r\ndate: ");
    }
    to = put(to, date.p, date.len);
    to = PUT_LIT(to, "\r\n");
    if (name != NULL) {
        to = PUT_LIT(to, "server: ");
        to = put(to, name, strlen(name));
        to = PUT_LIT(to, "\r\n");
    }
    return to;
}

static char *put_id(char *to, struct http1_request *r)
{
    if (!server_options(r->conn->conn->server)->request_ids)
        return to;
    const char *id = exchange_id(&r->x);
    to = PUT_LIT(to, "x-request-id: ");
    to = put(to, id, strlen(id));
    return PUT_LIT(to, "\r\n");
}

/* Room for what the transport writes: status line, date, lengths, connection; with slack. */
static size_t begin_size(struct http1 *h)
{
    const char *name = server_options(h->conn->server)->server_name;

    return 256 + (name != NULL ? strlen(name) : 0);
}
enum { ID_SIZE = EXCHANGE_ID_MAX + 16 }; /* put_id: name, value, ": " and the line's end */

enum framing { FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE, FRAME_NONE };

static char *put_rest(char *to, const struct http1_request *r, const struct http_response *a,
                      enum framing f, size_t length)
{
    if (f == FRAME_LENGTH) {
        to = PUT_LIT(to, "content-length: ");
        to = put_decimal(to, length);
        to = PUT_LIT(to, "\r\n");
    } else if (f == FRAME_CHUNKED) {
        to = PUT_LIT(to, "transfer-encoding: chunked\r\n");
    }
    if (a->content_type != NULL) {
        to = PUT_LIT(to, "content-type: ");
        to = put_value(to, slice_of(a->content_type));
        to = PUT_LIT(to, "\r\n");
    }
    to = put_headers(to, a->headers, a->n_headers);
    if (r->close)
        to = PUT_LIT(to, "connection: close\r\n");
    else if (r->x.req.version == 10)
        to = PUT_LIT(to, "connection: keep-alive\r\n");
    return PUT_LIT(to, "\r\n");
}

/* Whether the connection can serve another request after this answer. */
static bool must_close(const struct http1_request *r)
{
    const struct http1 *h = r->conn;
    const struct http_limits *l = http1_limits(h);

    if (!r->keep_alive || h->draining || server_draining(h->conn->server))
        return true;
    if (r->phase == H1_DONE)
        return false;
    if (r->expects || r->bad_expect || r->body_got > r->x.body_max)
        return true; /* the client may or may not send its body: nobody can tell what comes next */
    return !r->check.chunked && (r->body_left > H1_DRAIN_MAX || r->check.length > l->max_body);
}

static bool has_no_body(const struct http1_request *r, int status)
{
    return r->x.req.method == HTTP_METHOD_HEAD || status == 204 || status == 304;
}

/* The stream has a limit of its own only for what handlers stream; whole answers always go out. */
static char *reserve(struct http1 *h, size_t n)
{
    return stream_closing(h->conn->stream) ? NULL : stream_reserve(h->conn->stream, n);
}

/* The handler's answer could not be made: says so with the little that is there. */
static void answer_no_memory(struct http1_request *r)
{
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    r->close = true;
    if (stream_write(r->conn->conn->stream, text, sizeof(text) - 1) != 0)
        stream_close(r->conn->conn->stream);
    http1_touch(r->conn);
}

static int gone_or_memory(struct http1_request *r)
{
    if (stream_closing(r->conn->conn->stream))
        return ERR_GONE;
    answer_no_memory(r);
    return ERR_NO_MEMORY;
}

static int op_respond(struct exchange *x, const struct http_response *a, struct slice body)
{
    struct http1_request *r = of(x);
    struct http1 *h = r->conn;
    size_t sent = has_no_body(r, a->status) ? 0 : body.len;
    size_t type = a->content_type != NULL ? strlen(a->content_type) : 0;
    size_t room = begin_size(h) + ID_SIZE + type + headers_size(a->headers, a->n_headers) + sent;
    char *start = reserve(h, room), *to;

    if (start == NULL)
        return gone_or_memory(r);
    r->close = r->close || must_close(r);
    to = put_id(put_begin(start, h, a->status), r);
    to = put_rest(to, r, a, a->status == 204 || a->status == 304 ? FRAME_NONE : FRAME_LENGTH,
                  body.len);
    if (sent > 0)
        to = put(to, body.p, sent);
    INVARIANT((size_t)(to - start) <= room);
    stream_commit(h->conn->stream, (size_t)(to - start));
    http1_touch(h);
    return 0;
}

static int op_start(struct exchange *x, const struct http_response *a)
{
    struct http1_request *r = of(x);
    struct http1 *h = r->conn;
    size_t type = a->content_type != NULL ? strlen(a->content_type) : 0;
    size_t room = begin_size(h) + ID_SIZE + type + headers_size(a->headers, a->n_headers);
    char *start = reserve(h, room), *to;

    if (start == NULL)
        return stream_closing(h->conn->stream) ? ERR_GONE : ERR_NO_MEMORY;
    r->no_body_out = has_no_body(r, a->status);
    r->chunked_out = x->req.version == 11 && a->status != 204 && a->status != 304;
    r->close = must_close(r) || (!r->chunked_out && !r->no_body_out);
    to = put_id(put_begin(start, h, a->status), r);
    to = put_rest(to, r, a,
                  r->chunked_out   ? FRAME_CHUNKED
                  : r->no_body_out ? FRAME_NONE
                                   : FRAME_CLOSE,
                  0);
    stream_commit(h->conn->stream, (size_t)(to - start));
    http1_touch(h);
    return 0;
}

/* A piece that is queued in part would garble the answer: then the connection ends. */
static int write_shared(struct http1_request *r, struct chunk *c)
{
    struct stream *s = r->conn->conn->stream;
    char size[20];
    char *end = PUT_LIT(put_hex(size, c->len), "\r\n");
    int rc = 0;

    stream_cork(s);
    if (r->chunked_out)
        rc = stream_write(s, size, (size_t)(end - size));
    if (rc == 0) {
        rc = stream_write_chunk(s, c);
        if (rc == 0 && r->chunked_out)
            rc = stream_write(s, "\r\n", 2);
        if (rc != 0)
            stream_close(s);
    }
    stream_uncork(s);
    return rc;
}

static int write_copy(struct http1_request *r, struct slice data)
{
    struct stream *s = r->conn->conn->stream;
    char size[20];
    char *end = PUT_LIT(put_hex(size, data.len), "\r\n");
    struct slice parts[3] = {{size, (size_t)(end - size)}, data, SLICE_LIT("\r\n")};

    return r->chunked_out ? stream_writev(s, parts, 3) : stream_writev(s, &parts[1], 1);
}

static int op_write(struct exchange *x, struct slice data, struct chunk *shared)
{
    enum { SHARE_FROM = 4096 }; /* below, a copy is cheaper than the node for a reference */
    struct http1_request *r = of(x);
    struct stream *s = r->conn->conn->stream;
    size_t queued = stream_queued(s);

    if (r->no_body_out)
        return 0;
    if (stream_closing(s))
        return ERR_GONE;
    if (queued > 0 && queued + data.len > http1_limits(r->conn)->max_queue)
        return ERR_LIMIT;
    int rc =
        shared != NULL && data.len >= SHARE_FROM ? write_shared(r, shared) : write_copy(r, data);
    if (rc == 0 && stream_queued(s) > 0 && r->conn->conn->waiting != WAIT_WRITE)
        http1_touch(r->conn);
    return rc;
}

static int op_finish(struct exchange *x, const struct http_header *trailers, size_t n)
{
    struct http1_request *r = of(x);
    struct http1 *h = r->conn;

    http1_touch(h);
    if (!r->chunked_out || r->no_body_out)
        return 0; /* the end of the connection, or of the head, says it */
    size_t room = 16 + headers_size(trailers, n);
    char *start = reserve(h, room);
    if (start == NULL) {
        int rc = stream_closing(h->conn->stream) ? ERR_GONE : ERR_NO_MEMORY;
        stream_close(h->conn->stream); /* the client must not take it for complete */
        return rc;
    }
    char *to = PUT_LIT(start, "0\r\n");
    to = put_headers(to, trailers, n);
    to = PUT_LIT(to, "\r\n");
    stream_commit(h->conn->stream, (size_t)(to - start));
    return 0;
}

static void op_abort(struct exchange *x)
{
    stream_close(of(x)->conn->conn->stream);
}

static void op_pause(struct exchange *x, bool paused)
{
    struct http1 *h = of(x)->conn;

    if (paused) {
        if (of(x)->phase == H1_BODY)
            stream_pause(h->conn->stream);
    } else {
        http1_touch(h);
    }
}

static size_t op_queued(const struct exchange *x)
{
    return stream_queued(of(x)->conn->conn->stream);
}

void http1_send_continue(struct http1_request *r)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (!r->expects)
        return;
    r->expects = false;
    if (stream_write(r->conn->conn->stream, text, sizeof(text) - 1) != 0)
        stream_close(r->conn->conn->stream);
}

static void op_want_body(struct exchange *x)
{
    struct http1_request *r = of(x);

    /* Inside the handler it may still answer at once; then nobody wants the body. */
    if (r->expects && !r->conn->feeding && x->state == X_OPEN)
        http1_send_continue(r);
}

static int op_upgrade(struct exchange *x, const struct http_header *headers, size_t n,
                      void (*taken)(void *ctx, struct stream *s, struct slice early), void *ctx)
{
    struct http1_request *r = of(x);
    struct http1 *h = r->conn;
    struct stream *s = h->conn->stream;

    if (r->phase != H1_DONE || x->req.version != 11)
        return ERR_STATE;
    size_t room = begin_size(h) + ID_SIZE + headers_size(headers, n);
    char *start = reserve(h, room), *to;
    if (start == NULL)
        return stream_closing(s) ? ERR_GONE : ERR_NO_MEMORY;
    to = put_id(put_begin(start, h, 101), r);
    to = put_headers(to, headers, n);
    to = PUT_LIT(to, "\r\n");
    stream_commit(s, (size_t)(to - start));
    http1_upgrade(h, taken, ctx);
    return 0;
}

const struct exchange_ops http1_ops = {
    .respond = op_respond,
    .start = op_start,
    .write = op_write,
    .finish = op_finish,
    .abort = op_abort,
    .pause = op_pause,
    .queued = op_queued,
    .upgrade = op_upgrade,
    .want_body = op_want_body,
};

void http1_refuse(struct http1 *h, int status)
{
    char text[512], *to;
    struct slice body = status == 400 ? SLICE_LIT("Invalid HTTP request received.")
                                      : slice_of(http_status_text(status));

    server_counts(h->conn->server)->bad_requests++;
    INVARIANT(begin_size(h) < 300 + sizeof(text) / 8);
    to = put_begin(text, h, status);
    to = PUT_LIT(to, "content-length: ");
    to = put_decimal(to, body.len);
    to = PUT_LIT(to, "\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n");
    to = put(to, body.p, body.len);
    if (stream_write(h->conn->stream, text, (size_t)(to - text)) != 0)
        stream_close(h->conn->stream);
    else
        http1_begin_close(h);
}
