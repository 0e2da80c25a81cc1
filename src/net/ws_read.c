/* ws_read.c: a WebSocket's frames, cut by wslay, made into messages, and what control frames ask
 * for. */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/ws_priv.h"

/* What a close frame of the peer may carry (RFC 6455, section 7.4, and the IANA registry). */
static bool close_code_ok(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void take_close(struct ws *w)
{
    int code = WS_CLOSE_NO_CODE;
    if (w->n_control == 1) {
        ws_fail(w, WS_CLOSE_PROTOCOL);
        return;
    }
    if (w->n_control >= 2) {
        code = (uint8_t)w->control[0] << 8 | (uint8_t)w->control[1];
        if (!close_code_ok(code)) {
            ws_fail(w, WS_CLOSE_PROTOCOL);
            return;
        }
        if (!utf8_valid(w->control + 2, w->n_control - 2)) {
            ws_fail(w, WS_CLOSE_BAD_DATA);
            return;
        }
    }
    if (w->sm.state == WS_OPEN) {
        ws_begin_close(w, code, NULL);
        w->code = code;
    }
    ws_finish_close(w);
}

static void take_control(struct ws *w, uint8_t opcode)
{
    switch (opcode) {
    case WSLAY_PING:
        /* A peer that pings without reading gets no more pongs than fit its queue. */
        if (w->sm.state == WS_OPEN && stream_queued(w->stream) <= w->o.max_queue &&
            ws_send_control(w, WSLAY_PONG, w->control, w->n_control) != 0)
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
        return WS_CLOSE_TOO_BIG;
    case ERR_NO_MEMORY:
        return WS_CLOSE_INTERNAL;
    default:
        return WS_CLOSE_BAD_DATA;
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
            ws_fail(w, close_code_for(rc));
            return;
        }
        m = (struct slice){plain.data, plain.len};
    }
    if (m.p == NULL)
        m.p = "";
    bool text = w->message_opcode == WSLAY_TEXT_FRAME;
    if (text && !utf8_valid(m.p, m.len))
        ws_fail(w, WS_CLOSE_BAD_DATA);
    else if (w->user.message != NULL)
        w->user.message(w->ctx, w, text, m.p, m.len);
}

size_t ws_wire_max(const struct ws *w)
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
        return WS_CLOSE_PROTOCOL;
    w->in_frame = true;
    w->frame_left = f->payload_length;
    if (control) {
        w->n_control = 0;
        return 0;
    }
    if (first == w->in_message)
        return WS_CLOSE_PROTOCOL;
    if (first) {
        w->in_message = true;
        w->message_opcode = f->opcode;
        w->message_zipped = zipped;
    }
    size_t max = w->message_zipped ? ws_wire_max(w) : w->o.max_message;
    return f->payload_length > max - w->message.len ? WS_CLOSE_TOO_BIG : 0;
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
        code = WS_CLOSE_INTERNAL;
    }
    if (code != 0) {
        ws_fail(w, code);
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

void ws_read(struct ws *w, const char *p, size_t n)
{
    if (!rx_take(w)) {
        ws_fail(w, WS_CLOSE_INTERNAL);
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
            ws_fail(w, r == WSLAY_ERR_PROTO ? WS_CLOSE_PROTOCOL : WS_CLOSE_INTERNAL);
        else
            take_piece(w, &f);
    }
    w->in = NULL;
    w->n_in = 0;
    if (!w->close_seen)
        rx_give(w);
}
