/* ws.c: WebSocket, server side: sending, closing, time; reading is in ws_read.c. wslay cuts the
 * bytes into frames; messages, control frames and the close handshake are handled here, because
 * frames that go to 1,000 viewers are shared, and because an idle socket is to hold neither a frame
 * parser (4 KiB) nor zlib state.
 *
 * Life: ws_accept -> ... -> the stream's `closed` -> ws_user.closed -> freed. Nothing frees
 * earlier.
 */
#include "net/ws.h"

#include <string.h>

#include "base/mem.h"
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
#define WS_HEAD_MAX 10u
#define WS_SCRATCH_KEEP 65536u /* a larger work buffer is given back after use */

static const struct sm_state ws_states[] = {
    [WS_OPEN] = {"open", 1u << WS_CLOSING | 1u << WS_CLOSED, false},
    [WS_CLOSING] = {"closing", 1u << WS_CLOSED, false},
    [WS_CLOSED] = {"closed", 0, true},
};
static const struct sm_table ws_table = {"websocket", ws_states, ARRAY_LEN(ws_states)};

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

void ws_due(struct ws *w, uint64_t after_ms)
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

int ws_send_control(struct ws *w, uint8_t opcode, const char *p, size_t n)
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

int ws_send_binary(struct ws *w, struct slice head, struct slice body)
{
    CHECK_MAGIC(w, WS_MAGIC);
    int rc = may_send(w, head.len + body.len);
    if (rc != 0)
        return rc;
    char frame[WS_HEAD_MAX];
    struct slice parts[3] = {
        {frame, frame_head(frame, WSLAY_BINARY_FRAME, false, head.len + body.len)}};
    size_t n = 1;
    if (head.len > 0)
        parts[n++] = head;
    if (body.len > 0)
        parts[n++] = body;
    return stream_writev(w->stream, parts, n);
}

void ws_pause(struct ws *w, bool paused)
{
    CHECK_MAGIC(w, WS_MAGIC);
    if (w->paused == paused || w->stream == NULL || stream_closing(w->stream))
        return;
    w->paused = paused;
    if (paused) {
        stream_pause(w->stream);
        return;
    }
    if (w->sm.state == WS_OPEN) {
        w->awaiting_pong = false; /* it had no chance */
        ws_due(w, w->o.ping_ms);
    }
    stream_resume(w->stream);
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

void ws_begin_close(struct ws *w, int code, const char *reason)
{
    char body[WS_CONTROL_MAX];
    size_t n = 0;
    sm_move(&w->sm, WS_CLOSING, NULL);
    if (w->code == WS_CLOSE_ABNORMAL)
        w->code = code;
    if (code != WS_CLOSE_NO_CODE) {
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
    ws_pause(w, false); /* the peer's half of the handshake is to come */
    ws_due(w, WS_CLOSE_MS);
    if (ws_send_control(w, WSLAY_CONNECTION_CLOSE, body, n) != 0)
        stream_close(w->stream);
}

void ws_finish_close(struct ws *w)
{
    w->close_seen = true;
    if (!stream_closing(w->stream))
        stream_shutdown(w->stream);
}

void ws_fail(struct ws *w, int code)
{
    if (w->sm.state == WS_OPEN)
        ws_begin_close(w, code, NULL);
    ws_finish_close(w);
}

void ws_close(struct ws *w, int code, const char *reason)
{
    CHECK_MAGIC(w, WS_MAGIC);
    if (w->sm.state == WS_OPEN && w->stream != NULL && !stream_closing(w->stream))
        ws_begin_close(w, code, reason);
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
    if (w->paused && w->sm.state == WS_OPEN) {
        w->due_ms = loop_now_ms(w->hub->loop) + w->o.ping_ms;
        return;
    }
    if (w->sm.state != WS_OPEN || w->awaiting_pong) {
        stream_close(w->stream);
        w->due_ms = UINT64_MAX;
        return;
    }
    w->awaiting_pong = true;
    w->due_ms = loop_now_ms(w->hub->loop) + w->o.pong_ms;
    if (ws_send_control(w, WSLAY_PING, NULL, 0) != 0)
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

static void on_drained(void *ctx)
{
    struct ws *w = ctx;
    if (w->user.drained != NULL && w->sm.state == WS_OPEN)
        w->user.drained(w->ctx, w);
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
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .drained = on_drained,
    .closed = on_closed,
};

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
    w->code = WS_CLOSE_ABNORMAL;
    w->due_ms = UINT64_MAX;
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
    buf_init(&w->message, ws_wire_max(w));
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
