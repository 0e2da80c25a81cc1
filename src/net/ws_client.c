#include "net/ws_client.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"
#include "net/client_answer.h"
#include "net/http1_check.h"
#include "net/ws_client_in.h"
#include "net/ws_key.h"
#include <string.h>

#define WSC_MAGIC 0x57534375u
enum {
    HEAD_MAX = 16 << 10,
    BODY_MAX = 64 << 10,
    CLOSE_WAIT_MS = 5000,
    PONGS_MAX = 256 << 10 /* a server that pings without reading gets no more than fit in here */
};
enum { CLOSE_NORMAL = 1000, CLOSE_NO_CODE = 1005, CLOSE_ABNORMAL = 1006 };

/* Connecting; the answer's head is read; it is none that opens, its body is read; open; our close
 * frame is sent; over. */
enum wsc_state { WSC_CONNECTING, WSC_ASKING, WSC_REFUSED, WSC_OPEN, WSC_CLOSING, WSC_OVER };
#define TO(state) (1u << (state))
static const struct sm_state states[] = {
    [WSC_CONNECTING] = {"connecting", TO(WSC_ASKING) | TO(WSC_OVER), false},
    [WSC_ASKING] = {"asking", TO(WSC_REFUSED) | TO(WSC_OPEN) | TO(WSC_OVER), false},
    [WSC_REFUSED] = {"refused", TO(WSC_OVER), false},
    [WSC_OPEN] = {"open", TO(WSC_CLOSING) | TO(WSC_OVER), false},
    [WSC_CLOSING] = {"closing", TO(WSC_OVER), false},
    [WSC_OVER] = {"over", 0, true},
};
static const struct sm_table table = {"websocket-client", states, ARRAY_LEN(states)};

struct wsc {
    uint32_t magic;
    struct stream *stream;
    struct loop *loop;
    struct wsc_user user;
    void *ctx;
    struct sm sm;
    struct loop_timer timer; /* the answer, silence, the server's close frame */
    unsigned handles;        /* stream and timer not closed yet */
    uint64_t answer_ms, silence_ms;
    bool patient, pinged;
    struct buf request;
    struct buf head; /* of the answer, so far */
    char *protocol;  /* owned; NULL: none */
    char accept[WS_ACCEPT_SIZE];
    struct answer answer; /* of a refusal */
    struct buf body;
    struct ws_in in;
    struct wsc_end end;
};

/* ---- the end --------------------------------------------------------------------------------- */

static void part_closed(void *ctx)
{
    struct wsc *w = ctx;
    if (--w->handles > 0)
        return;
    w->end.body = (struct slice){w->body.data, w->body.len};
    w->user.closed(w->ctx, &w->end);
    w->magic = 0;
    buf_done(&w->request);
    buf_done(&w->head);
    buf_done(&w->body);
    answer_done(&w->answer);
    ws_in_done(&w->in);
    mem_free(w->protocol);
    mem_free(w);
}

static void finish(struct wsc *w)
{
    if (w->sm.state == WSC_OVER)
        return;
    sm_move(&w->sm, WSC_OVER, NULL);
    ws_in_stop(&w->in);
    loop_timer_close(&w->timer, part_closed);
    stream_close(w->stream);
}

static void fail(struct wsc *w, int code, const char *text)
{
    if (w->end.e.code == 0)
        err_set(&w->end.e, code, "%s", text);
    finish(w);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* A frame of our own: always whole, always masked (RFC 6455, section 5.3). */
static int send_frame(struct wsc *w, uint8_t opcode, struct slice first, struct slice second)
{
    uint8_t mask[4];
    size_t n = first.len + second.len, head = n < 126 ? 2 : n < 65536 ? 4 : 10, at = 0;
    const struct clock *clock = loop_clock(w->loop);
    if (stream_closing(w->stream))
        return ERR_GONE;
    if (clock->random(clock->ctx, mask, sizeof mask) != 0)
        return ERR_IO;
    char *p = stream_reserve(w->stream, head + sizeof mask + n);
    if (p == NULL)
        return stream_queued(w->stream) > 0 ? ERR_LIMIT : ERR_NO_MEMORY;
    p[at++] = (char)(0x80 | opcode);
    p[at++] = (char)(0x80 | (head == 2 ? n : head == 4 ? 126 : 127));
    for (size_t i = head - 2; i > 0; i--)
        p[at++] = (char)(uint8_t)((uint64_t)n >> (8 * (i - 1)));
    memcpy(p + at, mask, sizeof mask);
    at += sizeof mask;
    for (size_t i = 0; i < first.len; i++)
        p[at + i] = (char)(first.p[i] ^ mask[i & 3]);
    for (size_t i = 0; i < second.len; i++)
        p[at + first.len + i] = (char)(second.p[i] ^ mask[(first.len + i) & 3]);
    stream_commit(w->stream, at + n);
    return 0;
}

static void send_close(struct wsc *w, int code)
{
    char text[2] = {(char)(code >> 8), (char)(code & 0xff)};
    size_t n = code == CLOSE_NO_CODE ? 0 : sizeof text;
    sm_move(&w->sm, WSC_CLOSING, NULL);
    if (send_frame(w, WS_IN_CLOSE, (struct slice){text, n}, SLICE_LIT("")) != 0)
        finish(w);
    else
        loop_timer_start(&w->timer, CLOSE_WAIT_MS, 0);
}

int wsc_send(struct wsc *w, bool text, struct slice first, struct slice second)
{
    CHECK_MAGIC(w, WSC_MAGIC);
    if (w->sm.state != WSC_OPEN)
        return ERR_GONE;
    return send_frame(w, text ? WS_IN_TEXT : WS_IN_BINARY, first, second);
}

size_t wsc_queued(const struct wsc *w)
{
    return stream_queued(w->stream);
}

void wsc_close(struct wsc *w, int code)
{
    CHECK_MAGIC(w, WSC_MAGIC);
    if (w->sm.state == WSC_OPEN)
        send_close(w, code);
    else if (w->sm.state != WSC_CLOSING)
        finish(w);
}

void wsc_abort(struct wsc *w)
{
    CHECK_MAGIC(w, WSC_MAGIC);
    finish(w);
}

/* ---- an open connection ---------------------------------------------------------------------- */

static void on_message(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    struct wsc *w = ctx;
    if (w->sm.state == WSC_OPEN)
        w->user.message(w->ctx, opcode == WS_IN_TEXT, p, n);
}

static void on_control(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    struct wsc *w = ctx;
    if (opcode == WS_IN_PING && w->sm.state == WSC_OPEN && stream_queued(w->stream) < PONGS_MAX)
        (void)send_frame(w, WS_IN_PONG, (struct slice){p, n}, SLICE_LIT(""));
    if (opcode != WS_IN_CLOSE)
        return;
    w->end.code = n >= 2 ? (uint8_t)p[0] << 8 | (uint8_t)p[1] : CLOSE_NO_CODE;
    if (w->sm.state == WSC_OPEN)
        send_close(w, w->end.code);
    ws_in_stop(&w->in);
    if (w->sm.state == WSC_CLOSING)
        stream_shutdown(w->stream); /* the server closes; the timer sees that it does */
}

static void take_frames(struct wsc *w, const char *p, size_t n)
{
    int code = ws_in_feed(&w->in, p, n);
    if (code == 0 || w->sm.state == WSC_OVER)
        return;
    err_set(&w->end.e,
            code == 1011   ? ERR_NO_MEMORY
            : code == 1009 ? ERR_LIMIT
                           : ERR_PROTOCOL,
            code == 1011   ? "out of memory"
            : code == 1009 ? "a message of the server is too large"
                           : "the server breaks the rules of WebSocket");
    if (w->sm.state == WSC_OPEN)
        send_close(w, code);
    finish(w);
}

/* ---- the handshake --------------------------------------------------------------------------- */

/* What has to be in the answer, each exactly once. */
struct shaken {
    int upgrade, connection, accept, protocol;
    bool bad;
};

static void take_header(const struct wsc *w, struct slice name, struct slice value,
                        struct shaken *s)
{
    if (slice_eq_nocase(name, SLICE_LIT("upgrade")))
        s->upgrade += slice_eq_nocase(value, SLICE_LIT("websocket")) ? 1 : 2;
    else if (slice_eq_nocase(name, SLICE_LIT("connection")))
        s->connection += http_list_has(value, "upgrade") ? 1 : 2;
    else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-accept")))
        s->accept += slice_eqs(value, w->accept) ? 1 : 2;
    else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-protocol")))
        s->protocol += w->protocol != NULL && slice_eqs(value, w->protocol) ? 1 : 2;
    else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-extensions")))
        s->bad = true; /* we asked for none */
}

/* A head that says 101: without its first line and the empty one. */
static bool check_head(const struct wsc *w, struct slice rest)
{
    struct shaken s = {0};
    struct slice line;
    while (rest.len > 0 && slice_split(&rest, '\n', &line)) {
        const char *colon = line.len > 0 ? memchr(line.p, ':', line.len) : NULL;
        if (line.len < 2 || line.p[line.len - 1] != '\r' || colon == NULL || colon == line.p)
            return false;
        struct slice name = {line.p, (size_t)(colon - line.p)};
        struct slice value = {colon + 1, line.len - name.len - 2};
        for (size_t i = 0; i < name.len; i++)
            if (!http1_is_token((unsigned char)name.p[i]))
                return false;
        for (size_t i = 0; i < value.len; i++)
            if (!http1_is_value((unsigned char)value.p[i]))
                return false;
        take_header(w, name, slice_trim(value), &s);
    }
    return !s.bad && s.upgrade == 1 && s.connection == 1 && s.accept == 1 &&
           s.protocol == (w->protocol != NULL ? 1 : 0);
}

static void on_refusal_head(void *ctx, const struct client_response *r)
{
    ((struct wsc *)ctx)->end.status = r->status;
}

static void on_refusal_body(void *ctx, const char *p, size_t n)
{
    (void)buf_add(&((struct wsc *)ctx)->body, p, n);
}

/* An answer that does not open: its body says why. */
static void take_refusal(struct wsc *w, const char *p, size_t n)
{
    size_t used;
    int rc = answer_feed(&w->answer, p, n, &used, &w->end.e);
    if (rc == ANSWER_MORE)
        return;
    if (rc < 0)
        w->end.status = 0;
    finish(w);
}

static void refused(struct wsc *w)
{
    sm_move(&w->sm, WSC_REFUSED, NULL);
    answer_begin(&w->answer, false, HEAD_MAX, BODY_MAX);
    take_refusal(w, w->head.data, w->head.len);
}

static void opened(struct wsc *w, size_t n_head)
{
    const char *line = memchr(w->head.data, '\n', n_head);
    struct slice fields = {line + 1, (size_t)(w->head.data + n_head - 2 - (line + 1))};
    if (!check_head(w, fields)) {
        fail(w, ERR_PROTOCOL, "the server does not open a WebSocket as it should");
        return;
    }
    sm_move(&w->sm, WSC_OPEN, NULL);
    if (w->user.open != NULL)
        w->user.open(w->ctx);
    if (w->sm.state == WSC_OPEN || w->sm.state == WSC_CLOSING)
        take_frames(w, w->head.data + n_head, w->head.len - n_head);
    buf_clear(&w->head);
}

/* Bytes of the answer until its head is there. */
static void take_head(struct wsc *w, const char *p, size_t n)
{
    static const char opens[] = "HTTP/1.1 101 ";
    if (buf_add(&w->head, p, n) != 0) {
        fail(w, w->head.err, err_row(w->head.err)->text);
        return;
    }
    size_t have = w->head.len < sizeof opens - 1 ? w->head.len : sizeof opens - 1;
    if (memcmp(w->head.data, opens, have) != 0) {
        refused(w);
        return;
    }
    const char *end = memmem(w->head.data, w->head.len, "\r\n\r\n", 4);
    if (end != NULL)
        opened(w, (size_t)(end + 4 - w->head.data));
    else if (w->head.len > HEAD_MAX)
        fail(w, ERR_LIMIT, "the head of the answer is too large");
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void on_ready(void *ctx)
{
    struct wsc *w = ctx;
    sm_move(&w->sm, WSC_ASKING, NULL);
    loop_timer_start(&w->timer, w->answer_ms, 0);
    if (stream_write(w->stream, w->request.data, w->request.len) != 0)
        fail(w, ERR_NO_MEMORY, "out of memory");
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct wsc *w = ctx;
    switch (w->sm.state) {
    case WSC_ASKING:
        take_head(w, p, n);
        break;
    case WSC_REFUSED:
        take_refusal(w, p, n);
        break;
    case WSC_OPEN:
    case WSC_CLOSING:
        take_frames(w, p, n);
        break;
    default:
        break;
    }
    w->pinged = false;
    if (w->sm.state == WSC_OPEN)
        loop_timer_start(&w->timer, w->silence_ms, 0);
}

static void on_eof(void *ctx)
{
    struct wsc *w = ctx;
    if (w->sm.state == WSC_REFUSED) {
        if (answer_eof(&w->answer, &w->end.e) != 0)
            w->end.status = 0;
        finish(w);
    } else if (w->sm.state == WSC_CLOSING) {
        finish(w);
    } else {
        fail(w, ERR_GONE, "the server has closed the connection");
    }
}

static void on_failed(void *ctx, const struct err *e)
{
    struct wsc *w = ctx;
    if (w->end.e.code == 0 && w->end.code == CLOSE_ABNORMAL)
        w->end.e = *e;
    finish(w);
}

static void on_drained(void *ctx)
{
    struct wsc *w = ctx;
    if (w->sm.state == WSC_OPEN && w->user.drained != NULL)
        w->user.drained(w->ctx);
}

static void on_timer(void *ctx)
{
    struct wsc *w = ctx;
    if (w->sm.state == WSC_CLOSING) {
        finish(w);
    } else if (w->sm.state == WSC_OPEN && (w->patient || !w->pinged)) {
        w->pinged = true;
        (void)send_frame(w, WS_IN_PING, SLICE_LIT(""), SLICE_LIT(""));
        loop_timer_start(&w->timer, w->silence_ms, 0);
    } else {
        fail(w, ERR_TIMEOUT,
             w->sm.state == WSC_OPEN ? "nothing has come for too long" : "no answer in time");
    }
}

static const struct stream_user stream_user = {.ready = on_ready,
                                               .data = on_data,
                                               .eof = on_eof,
                                               .failed = on_failed,
                                               .drained = on_drained,
                                               .closed = part_closed};

/* ---- opening --------------------------------------------------------------------------------- */

/* Nothing in it may end a line or a word of the request's head. */
static bool clean(struct slice s, bool blanks)
{
    for (size_t i = 0; i < s.len; i++)
        if (!http1_is_value((unsigned char)s.p[i]) || (!blanks && s.p[i] == ' '))
            return false;
    return true;
}

static int make_request(struct wsc *w, const struct wsc_options *o, struct err *e)
{
    const struct clock *clock = loop_clock(w->loop);
    uint8_t raw[WS_KEY_BYTES];
    char key[WS_KEY_SIZE];
    struct buf *b = &w->request;
    if (clock->random(clock->ctx, raw, sizeof raw) != 0)
        return err_set(e, ERR_IO, "no randomness");
    ws_make_key(raw, key);
    if (!ws_accept_key(slice_of(key), w->accept))
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    bool ok = o->path.len > 0 && o->path.p[0] == '/' && clean(o->path, false) &&
              clean(slice_of(o->host), false);
    buf_addf(b, "GET %.*s HTTP/1.1\r\nHost: %s\r\n", (int)o->path.len, o->path.p, o->host);
    buf_addf(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    buf_addf(b, "Sec-WebSocket-Key: %s\r\n", key);
    if (o->protocol != NULL)
        buf_addf(b, "Sec-WebSocket-Protocol: %s\r\n", o->protocol);
    for (size_t i = 0; i < o->n_headers; i++) {
        const struct http_header *h = &o->headers[i];
        ok = ok && clean(h->name, false) && clean(h->value, true);
        buf_addf(b, "%.*s: %.*s\r\n", (int)h->name.len, h->name.p, (int)h->value.len, h->value.p);
    }
    buf_addlit(b, "\r\n");
    if (!ok || b->err == ERR_LIMIT)
        return err_set(e, ERR_INVALID, "this cannot be asked for: it is %s",
                       ok ? "too long" : "no valid path or header");
    return b->err == 0 ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static void discard(struct wsc *w)
{
    buf_done(&w->request);
    mem_free(w->protocol);
    mem_free(w);
}

static void discard_timer(void *ctx)
{
    discard(ctx);
}

int wsc_open(struct wsc **ret, struct loop *l, const struct wsc_options *o,
             const struct wsc_user *u, void *ctx, struct err *e)
{
    static const struct ws_in_user in_user = {on_message, on_control};
    static const struct answer_user answer_user = {on_refusal_head, on_refusal_body};
    struct wsc *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->magic = WSC_MAGIC;
    w->loop = l;
    w->user = *u;
    w->ctx = ctx;
    w->answer_ms = o->answer_ms != 0 ? o->answer_ms : 15000;
    w->silence_ms = o->silence_ms != 0 ? o->silence_ms : 30000;
    w->patient = o->patient;
    w->end.code = CLOSE_ABNORMAL;
    buf_init(&w->request, HEAD_MAX);
    buf_init(&w->head, HEAD_MAX + ((size_t)1 << 20));
    buf_init(&w->body, BODY_MAX);
    ws_in_init(&w->in, &in_user, w, o->max_message != 0 ? o->max_message : (size_t)1 << 20);
    answer_init(&w->answer, &answer_user, w);
    sm_init(&w->sm, &table, WSC_CONNECTING);
    w->protocol = o->protocol != NULL ? mem_strdup(o->protocol) : NULL;
    int rc = o->protocol == NULL || w->protocol != NULL
                 ? make_request(w, o, e)
                 : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0 && loop_timer_init(l, &w->timer, on_timer, w) != 0)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc != 0) {
        discard(w);
        return rc;
    }
    rc = stream_connect(&w->stream, l, &o->target, o->connect_ms != 0 ? o->connect_ms : 5000,
                        &stream_user, w, e);
    if (rc != 0) {
        loop_timer_close(&w->timer, discard_timer);
        return rc;
    }
    w->handles = 2;
    *ret = w;
    return 0;
}
