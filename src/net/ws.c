/* ws.c: WebSocket, server side. wslay cuts the bytes into frames; messages, control frames and the
 * close handshake are handled here, because frames that go to 1,000 viewers are shared, and because
 * an idle socket is to hold neither a frame parser (4 KiB) nor zlib state.
 *
 * Life: ws_accept -> ... -> the stream's `closed` -> ws_user.closed -> freed. Nothing frees
 * earlier.
 */
#include "net/ws.h"

#include <string.h>

#include <wslay/wslay.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"
#include "net/ws_priv.h"

#define WS_MAGIC 0x77735f31u
#define WS_MAX_MESSAGE (64u * 1024)
#define WS_MAX_QUEUE (1024u * 1024)
#define WS_PING_MS 20000u
#define WS_PONG_MS 20000u
#define WS_CLOSE_MS 5000u    /* for the peer's half of the close handshake */
#define WS_DEFLATE_FROM 64u  /* shorter messages are not worth it */
#define WS_QUEUE_SPARE 65536 /* of the stream's queue, for control frames beyond max_queue */
#define WS_CONTROL_MAX 125u  /* RFC 6455, section 5.5 */
#define WS_HEAD_MAX 10u
#define WS_SCRATCH_KEEP 65536u /* a larger work buffer is given back after use */

/* Close codes of RFC 6455, section 7.4. */
enum {
    CLOSE_NORMAL = 1000,
    CLOSE_PROTOCOL = 1002,
    CLOSE_NO_CODE = 1005,
    CLOSE_ABNORMAL = 1006,
    CLOSE_BAD_DATA = 1007,
    CLOSE_TOO_BIG = 1009,
    CLOSE_INTERNAL = 1011,
};

enum ws_state { WS_OPEN, WS_CLOSING, WS_CLOSED };
static const struct sm_state ws_states[] = {
    [WS_OPEN] = {"open", 1u << WS_CLOSING | 1u << WS_CLOSED, false},
    [WS_CLOSING] = {"closing", 1u << WS_CLOSED, false},
    [WS_CLOSED] = {"closed", 0, true},
};
static const struct sm_table ws_table = {"websocket", ws_states, ARRAY_LEN(ws_states)};

/* What the sockets of one loop share; there while there are any. */
struct ws_hub {
    struct list_node link; /* in hubs */
    struct loop *loop;
    struct list_node sockets;
    size_t n_sockets;
    struct loop_timer timer; /* at the earliest due time of all sockets */
    uint64_t timer_at_ms;    /* UINT64_MAX: stopped */
    uint64_t grain_ms;       /* the timer does not run more often than this */
    struct ws_zip *zip;
    struct buf squeezed;              /* compressed text to be sent */
    struct ws *reading;               /* whose bytes the parser's callback takes */
    wslay_frame_context_ptr spare_rx; /* kept for the next socket that has something to read */
};

struct ws {
    uint32_t magic;
    struct list_node link; /* in hub->sockets */
    struct ws_hub *hub;
    struct stream *stream; /* NULL until taken over */
    struct ws_user user;
    void *ctx;
    struct ws_options o;
    struct ws_deflate deflate;
    struct sm sm;
    uint64_t due_ms; /* ping, give up waiting for its pong, or give up closing */
    bool awaiting_pong;
    bool close_seen; /* the peer's close frame came, or we failed the connection: read no more */
    int code;        /* for `closed` */
    char *early;     /* bytes that came with the request, until the loop runs */
    size_t n_early;
    bool early_pending; /* ws_early_later holds a pointer to us */
    bool gone;          /* closed was told; ws_early_later frees */

    /* Reading. rx is NULL between frames when nothing is buffered in it. */
    wslay_frame_context_ptr rx;
    const char *in;
    size_t n_in;
    uint64_t fed, parsed; /* bytes given to rx, bytes of the frames it made of them */
    bool in_frame;
    uint64_t frame_left;
    struct buf message; /* data frames so far */
    bool in_message;
    uint8_t message_opcode;
    bool message_zipped;
    char control[WS_CONTROL_MAX];
    size_t n_control;
};

struct ws_frame {
    uint32_t refs;
    size_t head_len; /* of plain */
    struct chunk *plain;
    struct chunk *zipped; /* NULL: not made, or not shorter */
    bool zip_tried;
};

static struct list_node hubs = {&hubs, &hubs};

/* ---- the hub ---- */

static void hub_freed(void *ctx)
{
    struct ws_hub *h = ctx;
    mem_free(h);
}

static void hub_close(struct ws_hub *h)
{
    list_remove(&h->link);
    ws_zip_free(STEAL(h->zip));
    buf_done(&h->squeezed);
    if (h->spare_rx != NULL)
        wslay_frame_context_free(h->spare_rx);
    h->spare_rx = NULL;
    loop_timer_close(&h->timer, hub_freed);
}

static void hub_tick(void *ctx);

static struct ws_hub *hub_get(struct loop *l)
{
    LIST_FOR (it, &hubs) {
        struct ws_hub *h = CONTAINER_OF(it, struct ws_hub, link);
        if (h->loop == l)
            return h;
    }
    struct ws_hub *h = mem_zalloc(sizeof(*h));
    if (h == NULL)
        return NULL;
    h->loop = l;
    h->timer_at_ms = UINT64_MAX;
    h->grain_ms = 500;
    list_init(&h->sockets);
    list_init(&h->link);
    buf_init(&h->squeezed, SIZE_MAX / 4);
    if (loop_timer_init(l, &h->timer, hub_tick, h) != 0) {
        mem_free(h);
        return NULL;
    }
    list_push_back(&hubs, &h->link);
    return h;
}

static void hub_arm(struct ws_hub *h, uint64_t at_ms)
{
    if (at_ms >= h->timer_at_ms)
        return;
    uint64_t now = loop_now_ms(h->loop);
    uint64_t wait = at_ms > now ? at_ms - now : 0;
    if (wait < h->grain_ms)
        wait = h->grain_ms;
    h->timer_at_ms = now + wait;
    loop_timer_start(&h->timer, wait, 0);
}

static void ws_due(struct ws *w, uint64_t after_ms)
{
    w->due_ms = loop_now_ms(w->hub->loop) + after_ms;
    hub_arm(w->hub, w->due_ms);
}

static void hub_add(struct ws_hub *h, struct ws *w)
{
    list_push_back(&h->sockets, &w->link);
    h->n_sockets++;
    /* Time-outs under 4 s are for tests and demos; they get a finer clock. */
    if (w->o.ping_ms < 4000 || w->o.pong_ms < 4000)
        h->grain_ms = 10;
}

static void hub_drop(struct ws_hub *h, struct ws *w)
{
    list_remove(&w->link);
    if (--h->n_sockets == 0)
        hub_close(h);
}

static void hub_trim(struct buf *b)
{
    if (b->cap > WS_SCRATCH_KEEP)
        buf_done(b);
    else
        buf_clear(b);
}

/* ---- sending ---- */

/* The head of an unfragmented, unmasked frame (RFC 6455, section 5.2). */
static size_t frame_head(char out[WS_HEAD_MAX], uint8_t opcode, bool zipped, size_t len)
{
    out[0] = (char)(0x80 | (zipped ? 0x40 : 0) | opcode);
    if (len < 126) {
        out[1] = (char)len;
        return 2;
    }
    size_t n = len <= UINT16_MAX ? 2 : 8;
    out[1] = n == 2 ? 126 : 127;
    for (size_t i = 0; i < n; i++)
        out[2 + i] = (char)((uint64_t)len >> (8 * (n - 1 - i)));
    return 2 + n;
}

static int send_control(struct ws *w, uint8_t opcode, const char *p, size_t n)
{
    char out[2 + WS_CONTROL_MAX];
    INVARIANT(n <= WS_CONTROL_MAX);
    size_t head = frame_head(out, opcode, false, n);
    if (n > 0)
        memcpy(out + head, p, n);
    return stream_write(w->stream, out, head + n);
}

/* 0 if a message of that many bytes may be queued now. */
static int may_send(const struct ws *w, size_t n)
{
    if (w->sm.state != WS_OPEN || w->stream == NULL || stream_closing(w->stream))
        return ERR_GONE;
    size_t queued = stream_queued(w->stream);
    return n > w->o.max_queue || queued > w->o.max_queue - n ? ERR_LIMIT : 0;
}

/* Compressing pays, and the peer's window holds the whole message: so the one compressor with its
 * 32 KiB window serves peers that asked for a smaller one as well. */
static bool may_zip(const struct ws *w, size_t len)
{
    return w->deflate.on && len >= WS_DEFLATE_FROM &&
           (w->deflate.server_bits == 15 || len <= (size_t)1 << w->deflate.server_bits);
}

/* hub->squeezed holds the result; false: send it plain (no gain, or no memory for zlib). */
static bool squeeze(struct ws_hub *h, struct slice text)
{
    if (h->zip == NULL)
        h->zip = ws_zip_new();
    hub_trim(&h->squeezed);
    return h->zip != NULL && ws_zip_compress(h->zip, text, &h->squeezed) == 0 &&
           h->squeezed.len < text.len;
}

int ws_send_text(struct ws *w, struct slice text)
{
    CHECK_MAGIC(w, WS_MAGIC);
    int rc = may_send(w, text.len);
    if (rc != 0)
        return rc;
    bool zipped = may_zip(w, text.len) && squeeze(w->hub, text);
    if (zipped)
        text = (struct slice){w->hub->squeezed.data, w->hub->squeezed.len};
    char head[WS_HEAD_MAX];
    struct slice parts[2] = {{head, frame_head(head, WSLAY_TEXT_FRAME, zipped, text.len)}, text};
    return stream_writev(w->stream, parts, text.len > 0 ? 2 : 1);
}

static struct chunk *frame_chunk(struct slice body, bool zipped, size_t *head_len)
{
    char head[WS_HEAD_MAX];
    size_t n = frame_head(head, WSLAY_TEXT_FRAME, zipped, body.len);
    if (body.len > SIZE_MAX / 2)
        return NULL;
    struct chunk *c = mem_alloc(sizeof(*c) + n + body.len);
    if (c == NULL)
        return NULL;
    c->refs = 1;
    c->len = n + body.len;
    memcpy(c->data, head, n);
    if (body.len > 0)
        memcpy(c->data + n, body.p, body.len);
    if (head_len != NULL)
        *head_len = n;
    return c;
}

struct ws_frame *ws_frame_new(struct slice text)
{
    struct ws_frame *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return NULL;
    f->refs = 1;
    f->plain = frame_chunk(text, false, &f->head_len);
    if (f->plain == NULL) {
        mem_free(f);
        return NULL;
    }
    return f;
}

void ws_frame_unref(struct ws_frame *f)
{
    if (f == NULL || --f->refs > 0)
        return;
    chunk_unref(f->plain);
    if (f->zipped != NULL)
        chunk_unref(f->zipped);
    mem_free(f);
}

int ws_send_frame(struct ws *w, struct ws_frame *f)
{
    CHECK_MAGIC(w, WS_MAGIC);
    struct slice text = {f->plain->data + f->head_len, f->plain->len - f->head_len};
    int rc = may_send(w, text.len);
    if (rc != 0)
        return rc;
    if (!may_zip(w, text.len))
        return stream_write_chunk(w->stream, f->plain);
    if (!f->zip_tried) {
        f->zip_tried = true;
        if (squeeze(w->hub, text))
            f->zipped = frame_chunk((struct slice){w->hub->squeezed.data, w->hub->squeezed.len},
                                    true, NULL);
    }
    return stream_write_chunk(w->stream, f->zipped != NULL ? f->zipped : f->plain);
}

size_t ws_queued(const struct ws *w)
{
    CHECK_MAGIC(w, WS_MAGIC);
    return w->stream != NULL ? stream_queued(w->stream) : 0;
}

/* ---- closing ---- */

/* Sends our close frame and waits for the peer's, for a while. code CLOSE_NO_CODE: an empty one. */
static void begin_close(struct ws *w, int code, const char *reason)
{
    char body[WS_CONTROL_MAX];
    size_t n = 0;
    sm_move(&w->sm, WS_CLOSING, NULL);
    if (w->code == CLOSE_ABNORMAL)
        w->code = code;
    if (code != CLOSE_NO_CODE) {
        body[n++] = (char)(code >> 8);
        body[n++] = (char)code;
        size_t len = reason != NULL ? strlen(reason) : 0;
        /* A reason too long is cut, between characters. */
        if (len > WS_CONTROL_MAX - 2)
            len = WS_CONTROL_MAX - 2;
        while (len > 0 && !utf8_valid(reason, len))
            len--;
        if (len > 0)
            memcpy(body + n, reason, len);
        n += len;
    }
    w->awaiting_pong = false;
    ws_due(w, WS_CLOSE_MS);
    if (send_control(w, WSLAY_CONNECTION_CLOSE, body, n) != 0)
        stream_close(w->stream);
}

/* Both sides have closed, or there is nothing to wait for: send the rest and end. */
static void finish_close(struct ws *w)
{
    w->close_seen = true;
    if (!stream_closing(w->stream))
        stream_shutdown(w->stream);
}

/* The peer broke a rule: tell it, listen no more. */
static void fail(struct ws *w, int code)
{
    if (w->sm.state == WS_OPEN)
        begin_close(w, code, NULL);
    finish_close(w);
}

void ws_close(struct ws *w, int code, const char *reason)
{
    CHECK_MAGIC(w, WS_MAGIC);
    if (w->sm.state == WS_OPEN && w->stream != NULL && !stream_closing(w->stream))
        begin_close(w, code, reason);
}

void ws_abort(struct ws *w)
{
    CHECK_MAGIC(w, WS_MAGIC);
    if (w->stream != NULL)
        stream_close(w->stream);
}

const struct peer *ws_peer(const struct ws *w)
{
    CHECK_MAGIC(w, WS_MAGIC);
    return stream_peer(w->stream);
}

void ws_close_all(struct loop *l, int code, const char *reason)
{
    LIST_FOR (h, &hubs) {
        struct ws_hub *hub = CONTAINER_OF(h, struct ws_hub, link);
        if (hub->loop != l)
            continue;
        LIST_FOR (it, &hub->sockets)
            ws_close(CONTAINER_OF(it, struct ws, link), code, reason);
    }
}

/* ---- time ---- */

static void ws_expired(struct ws *w)
{
    if (w->sm.state != WS_OPEN || w->awaiting_pong) {
        stream_close(w->stream);
        w->due_ms = UINT64_MAX;
        return;
    }
    w->awaiting_pong = true;
    w->due_ms = loop_now_ms(w->hub->loop) + w->o.pong_ms;
    if (send_control(w, WSLAY_PING, NULL, 0) != 0)
        stream_close(w->stream);
}

static void hub_tick(void *ctx)
{
    struct ws_hub *h = ctx;
    uint64_t now = loop_now_ms(h->loop), next = UINT64_MAX;
    h->timer_at_ms = UINT64_MAX;
    LIST_FOR (it, &h->sockets) {
        struct ws *w = CONTAINER_OF(it, struct ws, link);
        if (w->due_ms <= now)
            ws_expired(w);
        if (w->due_ms < next)
            next = w->due_ms;
    }
    if (next != UINT64_MAX)
        hub_arm(h, next);
}

/* ---- reading ---- */

/* What a close frame of the peer may carry (RFC 6455, section 7.4, and the IANA registry). */
static bool close_code_ok(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void take_close(struct ws *w)
{
    int code = CLOSE_NO_CODE;
    if (w->n_control == 1) {
        fail(w, CLOSE_PROTOCOL);
        return;
    }
    if (w->n_control >= 2) {
        code = (uint8_t)w->control[0] << 8 | (uint8_t)w->control[1];
        if (!close_code_ok(code)) {
            fail(w, CLOSE_PROTOCOL);
            return;
        }
        if (!utf8_valid(w->control + 2, w->n_control - 2)) {
            fail(w, CLOSE_BAD_DATA);
            return;
        }
    }
    if (w->sm.state == WS_OPEN) {
        begin_close(w, code, NULL);
        w->code = code;
    }
    finish_close(w);
}

static void take_control(struct ws *w, uint8_t opcode)
{
    switch (opcode) {
    case WSLAY_PING:
        /* A peer that pings without reading gets no more pongs than fit its queue. */
        if (w->sm.state == WS_OPEN && stream_queued(w->stream) <= w->o.max_queue &&
            send_control(w, WSLAY_PONG, w->control, w->n_control) != 0)
            stream_close(w->stream);
        break;
    case WSLAY_PONG:
        if (w->sm.state == WS_OPEN && w->awaiting_pong) {
            w->awaiting_pong = false;
            ws_due(w, w->o.ping_ms);
        }
        break;
    default:
        take_close(w);
    }
}

static int close_code_for(int rc)
{
    switch (rc) {
    case ERR_LIMIT:
        return CLOSE_TOO_BIG;
    case ERR_NO_MEMORY:
        return CLOSE_INTERNAL;
    default:
        return CLOSE_BAD_DATA;
    }
}

/* A whole message is in w->message. */
static void take_message(struct ws *w)
{
    _cleanup_(buf_done) struct buf raw = w->message;
    _cleanup_(buf_done) struct buf plain = BUF_INIT(w->o.max_message);
    struct slice m = {raw.data, raw.len};
    buf_init(&w->message, raw.max);
    w->in_message = false;
    if (w->sm.state != WS_OPEN)
        return;
    if (w->message_zipped) {
        if (w->hub->zip == NULL)
            w->hub->zip = ws_zip_new();
        int rc = w->hub->zip == NULL ? ERR_NO_MEMORY : ws_zip_expand(w->hub->zip, m, &plain);
        if (rc != 0) {
            fail(w, close_code_for(rc));
            return;
        }
        m = (struct slice){plain.data, plain.len};
    }
    if (m.p == NULL)
        m.p = "";
    bool text = w->message_opcode == WSLAY_TEXT_FRAME;
    if (text && !utf8_valid(m.p, m.len))
        fail(w, CLOSE_BAD_DATA);
    else if (w->user.message != NULL)
        w->user.message(w->ctx, w, text, m.p, m.len);
}

/* Bytes a message may have on the wire: data that does not compress grows by its block heads. */
static size_t wire_max(const struct ws *w)
{
    return w->deflate.on ? w->o.max_message + w->o.max_message / 1024 + 64 : w->o.max_message;
}

/* Checks the head of a frame; 0 or the close code for the fault. */
static int begin_frame(struct ws *w, const struct wslay_frame_iocb *f)
{
    bool control = wslay_is_ctrl_frame(f->opcode);
    bool first = f->opcode == WSLAY_TEXT_FRAME || f->opcode == WSLAY_BINARY_FRAME;
    bool known = first || f->opcode == WSLAY_CONTINUATION_FRAME ||
                 (f->opcode >= WSLAY_CONNECTION_CLOSE && f->opcode <= WSLAY_PONG);
    bool zipped = f->rsv == WSLAY_RSV1_BIT && w->deflate.on && first;
    if (!f->mask || !known || (f->rsv != 0 && !zipped))
        return CLOSE_PROTOCOL;
    w->in_frame = true;
    w->frame_left = f->payload_length;
    if (control) {
        w->n_control = 0;
        return 0;
    }
    if (first == w->in_message)
        return CLOSE_PROTOCOL;
    if (first) {
        w->in_message = true;
        w->message_opcode = f->opcode;
        w->message_zipped = zipped;
    }
    size_t max = w->message_zipped ? wire_max(w) : w->o.max_message;
    return f->payload_length > max - w->message.len ? CLOSE_TOO_BIG : 0;
}

/* One piece of a frame from the parser. */
static void take_piece(struct ws *w, const struct wslay_frame_iocb *f)
{
    int code = w->in_frame ? 0 : begin_frame(w, f);
    bool control = wslay_is_ctrl_frame(f->opcode);
    if (code == 0 && control) {
        if (f->data_length > 0)
            memcpy(w->control + w->n_control, f->data, f->data_length);
        w->n_control += f->data_length;
    } else if (code == 0 && buf_add(&w->message, f->data, f->data_length) != 0) {
        code = CLOSE_INTERNAL;
    }
    if (code != 0) {
        fail(w, code);
        return;
    }
    w->frame_left -= f->data_length;
    if (w->frame_left > 0)
        return;
    w->in_frame = false;
    size_t ext = f->payload_length < 126 ? 0 : f->payload_length <= UINT16_MAX ? 2 : 8;
    w->parsed += 2 + ext + 4 + f->payload_length;
    if (control)
        take_control(w, f->opcode);
    else if (f->fin)
        take_message(w);
}

static ssize_t rx_pull(uint8_t *buf, size_t len, int flags, void *ctx)
{
    struct ws *w = ((struct ws_hub *)ctx)->reading;
    (void)flags;
    if (w->n_in == 0)
        return -1;
    if (len > w->n_in)
        len = w->n_in;
    memcpy(buf, w->in, len);
    w->in += len;
    w->n_in -= len;
    w->fed += len;
    return (ssize_t)len;
}

static bool rx_take(struct ws *w)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = rx_pull};
    if (w->rx != NULL)
        return true;
    w->rx = STEAL(w->hub->spare_rx);
    if (w->rx == NULL && wslay_frame_context_init(&w->rx, &callbacks, w->hub) != 0)
        w->rx = NULL;
    w->fed = w->parsed = 0;
    return w->rx != NULL;
}

/* Between frames, with nothing buffered, the parser is as good as new for another socket. */
static void rx_give(struct ws *w)
{
    if (w->rx == NULL || w->in_frame || w->fed != w->parsed)
        return;
    if (w->hub->spare_rx == NULL)
        w->hub->spare_rx = w->rx;
    else
        wslay_frame_context_free(w->rx);
    w->rx = NULL;
}

static void ws_read(struct ws *w, const char *p, size_t n)
{
    if (!rx_take(w)) {
        fail(w, CLOSE_INTERNAL);
        return;
    }
    w->in = p;
    w->n_in = n;
    while (!w->close_seen && !stream_closing(w->stream)) {
        struct wslay_frame_iocb f = {0};
        w->hub->reading = w;
        ssize_t r = wslay_frame_recv(w->rx, &f);
        if (r == WSLAY_ERR_WANT_READ)
            break;
        if (r < 0)
            fail(w, r == WSLAY_ERR_PROTO ? CLOSE_PROTOCOL : CLOSE_INTERNAL);
        else
            take_piece(w, &f);
    }
    w->in = NULL;
    w->n_in = 0;
    if (!w->close_seen)
        rx_give(w);
}

/* ---- the stream's side ---- */

static void ws_free(struct ws *w)
{
    w->magic = 0;
    mem_free(w->early);
    buf_done(&w->message);
    if (w->rx != NULL)
        wslay_frame_context_free(w->rx);
    mem_free(w);
}

static void ws_early_flush(struct ws *w)
{
    if (w->early == NULL)
        return;
    _cleanup_(mem_freep) char *p = STEAL(w->early);
    ws_read(w, p, w->n_early);
}

static void ws_early_later(void *ctx)
{
    struct ws *w = ctx;
    w->early_pending = false;
    if (w->gone) {
        ws_free(w);
        return;
    }
    stream_cork(w->stream);
    ws_early_flush(w);
    stream_uncork(w->stream);
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct ws *w = ctx;
    ws_early_flush(w);
    if (!w->close_seen && !stream_closing(w->stream))
        ws_read(w, p, n);
}

static void on_eof(void *ctx)
{
    struct ws *w = ctx;
    ws_early_flush(w);
    stream_close(w->stream);
}

static void on_failed(void *ctx, const struct err *e)
{
    struct ws *w = ctx;
    (void)e;
    stream_close(w->stream);
}

static void on_closed(void *ctx)
{
    struct ws *w = ctx;
    CHECK_MAGIC(w, WS_MAGIC);
    sm_move(&w->sm, WS_CLOSED, NULL);
    hub_drop(w->hub, w);
    if (w->user.closed != NULL)
        w->user.closed(w->ctx, w, w->code);
    w->stream = NULL;
    w->gone = true;
    if (!w->early_pending)
        ws_free(w);
}

static const struct stream_user ws_stream_user = {
    .data = on_data, .eof = on_eof, .failed = on_failed, .closed = on_closed};

/* ---- a new socket ---- */

struct ws *ws_new(struct loop *l, const struct ws_options *o, const struct ws_user *u, void *ctx,
                  struct ws_deflate deflate)
{
    struct ws *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return NULL;
    w->hub = hub_get(l);
    if (w->hub == NULL) {
        mem_free(w);
        return NULL;
    }
    w->magic = WS_MAGIC;
    w->user = *u;
    w->ctx = ctx;
    w->code = CLOSE_ABNORMAL;
    if (o != NULL)
        w->o = *o;
    if (w->o.max_message == 0)
        w->o.max_message = WS_MAX_MESSAGE;
    if (w->o.max_queue == 0)
        w->o.max_queue = WS_MAX_QUEUE;
    if (w->o.ping_ms == 0)
        w->o.ping_ms = WS_PING_MS;
    if (w->o.pong_ms == 0)
        w->o.pong_ms = WS_PONG_MS;
    w->deflate = deflate;
    buf_init(&w->message, wire_max(w));
    sm_init(&w->sm, &ws_table, WS_OPEN);
    hub_add(w->hub, w);
    return w;
}

void ws_discard(struct ws *w)
{
    hub_drop(w->hub, w);
    ws_free(w);
}

void ws_taken(void *ctx, struct stream *s, struct slice early)
{
    struct ws *w = ctx;
    w->stream = s;
    stream_set_user(s, &ws_stream_user, w);
    stream_set_limits(s, w->o.max_queue + WS_QUEUE_SPARE, w->o.max_queue / 4);
    ws_due(w, w->o.ping_ms);
    if (early.len == 0)
        return;
    w->early = mem_alloc(early.len);
    if (w->early != NULL) {
        memcpy(w->early, early.p, early.len);
        w->n_early = early.len;
        w->early_pending = loop_defer(w->hub->loop, ws_early_later, w) == 0;
    }
    if (!w->early_pending)
        stream_close(s);
}
