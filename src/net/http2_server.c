/* http2_server.c: HTTP/2 connections (RFC 9113): bytes to and from nghttp2, turns, deadlines, the
 * end. */
#include <string.h>

#include "base/mem.h"
#include "net/http2_priv.h"

#define ROUNDS_PER_TURN 8u /* of sending and telling, before the loop gets its turn */
#define BACKLOG_MAX                                                                                \
    512u /* frames nghttp2 wants to send while the peer takes none: stop reading                   \
          */
#define LINGER_BYTES                                                                               \
    (1024u * 1024u) /* read and dropped after our GOAWAY, so that it is not lost to a reset */
#define STALL_CHECK_MS 1000u
#define GOAWAY_TEXT_MAX 64u
#define STALL_SLACK_MS 300u /* deadlines come with a resolution of 250 ms */

static const struct sm_state h2_states[] = {
    [H2_OPEN] = {"open", 1u << H2_DRAINING | 1u << H2_ENDING | 1u << H2_GONE, false},
    [H2_DRAINING] = {"draining", 1u << H2_ENDING | 1u << H2_GONE, false},
    [H2_ENDING] = {"ending", 1u << H2_GONE, false},
    [H2_GONE] = {"gone", 0, true},
};
static const struct sm_table h2_table = {"http2-connection", h2_states, ARRAY_LEN(h2_states)};

const uint8_t h2_drain_ping[8] = "drain", h2_alive_ping[8] = "alive";

uint64_t h2_now(const struct h2_conn *h)
{
    return loop_now_ms(stream_loop(h->stream));
}

static const struct http_limits *limits(const struct h2_conn *h)
{
    return server_conn_limits(h->c);
}

void h2_wake(struct h2_conn *h)
{
    if (!h->busy && h->sm.state != H2_GONE)
        loop_post(stream_loop(h->stream), &h->turn);
}

/* ---- the end ---- */

static void close_streams(struct h2_conn *h, int err)
{
    LIST_FOR_SAFE (it, &h->streams) {
        struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);
        h2_stream_closed(s, s->end_sent ? 0 : s->dying ? s->close_err : err);
    }
}

/* Nothing more is exchanged. What is queued goes out, then our FIN; the peer's bytes are read and
 * dropped for a while, because closing with unread bytes would reset the connection under the
 * GOAWAY. */
static void begin_ending(struct h2_conn *h)
{
    sm_move(&h->sm, H2_ENDING, NULL);
    close_streams(h, ERR_GONE);
    if (!stream_closing(h->stream)) {
        stream_resume(h->stream);
        stream_shutdown(h->stream);
        server_conn_wait(h->c, WAIT_LINGER);
    }
    h2_wake(h);
}

/* The GOAWAY is written by hand: it must work when nghttp2 has failed, also for want of memory. */
void h2_end(struct h2_conn *h, uint32_t code)
{
    if (!h2_alive(h))
        return;
    uint32_t last = (uint32_t)nghttp2_session_get_last_proc_stream_id(h->session);
    uint8_t f[9 + 8 + GOAWAY_TEXT_MAX] = {0, 0, 8, NGHTTP2_GOAWAY};
    size_t n = h->cut_text != NULL ? strnlen(h->cut_text, GOAWAY_TEXT_MAX) : 0;
    f[2] = (uint8_t)(8 + n);
    if (n > 0)
        memcpy(f + 17, h->cut_text, n);
    for (unsigned i = 0; i < 4; i++) {
        f[9 + i] = (uint8_t)(last >> (24 - 8 * i));
        f[13 + i] = (uint8_t)(code >> (24 - 8 * i));
    }
    if (code != NGHTTP2_NO_ERROR)
        server_counts(h->c->server)->bad_requests++;
    if (stream_write(h->stream, f, 17 + n) != 0)
        stream_close(h->stream);
    begin_ending(h);
}

/* nghttp2 gave up: why, as an error code for the peer. */
static void end_for(struct h2_conn *h, ssize_t rc)
{
    uint32_t code = h->cut;
    if (code == 0 && (rc == NGHTTP2_ERR_NOMEM || rc == NGHTTP2_ERR_CALLBACK_FAILURE))
        code = NGHTTP2_INTERNAL_ERROR;
    else if (code == 0 && (rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS))
        code = NGHTTP2_ENHANCE_YOUR_CALM;
    else if (code == 0)
        code = NGHTTP2_PROTOCOL_ERROR;
    h2_end(h, code);
}

/* ---- sending and telling ---- */

/* Makes frames while the stream takes them. */
static void pump(struct h2_conn *h)
{
    stream_cork(h->stream);
    while (h2_alive(h) && !stream_closing(h->stream) && stream_queued(h->stream) < H2_SEND_HIGH) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n == 0)
            break;
        if (n < 0)
            end_for(h, n);
        else if (stream_write(h->stream, p, (size_t)n) != 0)
            stream_close(h->stream);
    }
    stream_uncork(h->stream);
    if (!h2_alive(h) || stream_closing(h->stream))
        return;
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session)) {
        begin_ending(h);
        return;
    }
    /* A peer that asks but takes no answers gets no further questions in. */
    if (stream_queued(h->stream) >= H2_SEND_HIGH &&
        nghttp2_session_get_outbound_queue_size(h->session) > BACKLOG_MAX)
        stream_pause(h->stream);
    else
        stream_resume(h->stream);
}

/* Queues fell: those who were refused for others' sake may try again. */
static void feed_starved(struct h2_conn *h)
{
    if (!h->starved || h->queued > H2_QUEUES * limits(h)->max_queue / 2)
        return;
    h->starved = false;
    LIST_FOR (it, &h->streams) {
        struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);
        if (s->want_drained && s->out.bytes <= H2_DRAINED_MARK && list_empty(&s->wake))
            list_push_back(&h->waking, &s->wake);
    }
}

static void tell_woken(struct h2_stream *s)
{
    if (s->want_drained && s->out.bytes <= H2_DRAINED_MARK) {
        s->want_drained = false;
        if (s->x.user != NULL && s->x.user->drained != NULL)
            s->x.user->drained(s->x.ctx, &s->x);
    }
    h2_stream_resume(s);
}

/* User callbacks that must not come from inside nghttp2 or a user's call. True if there were any.
 */
static bool deliver(struct h2_conn *h)
{
    bool any = false;
    feed_starved(h);
    struct list_node woken, *it;
    list_init(&woken);
    /* Those that wake while we tell wait for the next round. */
    while ((it = list_first(&h->waking)) != NULL) {
        list_remove(it);
        list_push_back(&woken, it);
    }
    while ((it = list_first(&woken)) != NULL) {
        list_remove(it);
        tell_woken(CONTAINER_OF(it, struct h2_stream, wake));
        any = true;
    }
    while ((it = list_first(&h->done)) != NULL) {
        struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);
        list_remove(it);
        exchange_close(&s->x, s->close_err);
        h2_stream_free(s);
        any = true;
    }
    return any;
}

/* ---- deadlines ---- */

static bool stalled(uint64_t now, uint64_t since, uint64_t limit)
{
    return now + STALL_SLACK_MS >= since + limit;
}

/* Once an answer has begun to stream, both sides may talk as long as they like (gRPC): the handler
 * has its own deadlines then. */
static bool awaits_body(const struct h2_stream *s)
{
    return !s->remote_ended && !s->x.paused && s->held.len == 0 && s->x.state != X_STARTED &&
           !s->x.patient;
}

/* The peer does not go on with its body. */
static void stop_body(struct h2_stream *s)
{
    s->deaf = true;
    exchange_end(&s->x, ERR_TIMEOUT);
    if (s->x.state == X_OPEN)
        exchange_respond(
            &s->x,
            &(struct http_response){.status = 408, .content_type = "text/plain; charset=utf-8"},
            SLICE_LIT("Request Timeout"));
    if (s->end_sent)
        h2_reset(s, NGHTTP2_NO_ERROR, 0);
}

/* Ends the exchanges whose peer does not go on with its body, or does not take the answer. */
static void check_stalls(struct h2_conn *h)
{
    uint64_t now = h2_now(h);
    h->checked_ms = now;
    LIST_FOR (it, &h->streams) {
        struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);
        bool writing = s->out.bytes > 0;
        if (s->dying)
            continue;
        if (writing && stalled(now, s->write_at_ms, limits(h)->write_ms)) {
            server_counts(h->c->server)->timeouts++;
            h2_reset(s, NGHTTP2_CANCEL, ERR_GONE);
        } else if (!writing && awaits_body(s) && stalled(now, s->read_at_ms, limits(h)->body_ms)) {
            server_counts(h->c->server)->timeouts++;
            stop_body(s);
        }
        if (!h2_alive(h)) /* then the list is another one */
            return;
    }
}

static enum conn_wait what_now(struct h2_conn *h)
{
    bool writing = stream_queued(h->stream) > 0, reading = false;
    if (h->in_block || !h->got_frame)
        return WAIT_HEAD;
    LIST_FOR (it, &h->streams) {
        struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);
        writing = writing || s->out.bytes > 0;
        reading = reading || awaits_body(s);
    }
    if (writing)
        return WAIT_WRITE;
    if (h->n_streams == 0)
        return WAIT_IDLE;
    return reading ? WAIT_BODY : WAIT_NONE;
}

/* progress: bytes came. Only the wait for a body is prolonged by it: the one for writing has the
 * kernel's count of bytes, and each stream its own time of progress (check_stalls). */
static void update_wait(struct h2_conn *h, bool progress)
{
    if (!h2_alive(h) || stream_closing(h->stream))
        return;
    enum conn_wait what = what_now(h);
    if (what != server_conn_waiting(h->c) || (progress && what == WAIT_BODY))
        server_conn_wait(h->c, what);
}

/* Sends and tells until there is nothing left of either, or others should have their turn. */
static void run(struct h2_conn *h, bool progress)
{
    bool more = true;
    h->busy = true;
    if (h2_alive(h) && h->n_streams > 0 && h2_now(h) >= h->checked_ms + STALL_CHECK_MS)
        check_stalls(h);
    for (unsigned i = 0; i < ROUNDS_PER_TURN && more; i++) {
        pump(h);
        more = deliver(h);
    }
    update_wait(h, progress);
    h->busy = false;
    if (more || !list_empty(&h->done) || !list_empty(&h->waking))
        h2_wake(h);
}

static void on_turn(struct loop_task *t)
{
    run(CONTAINER_OF(t, struct h2_conn, turn), false);
}

/* ---- the stream's side ---- */

static void on_data(void *ctx, const char *p, size_t n)
{
    struct h2_conn *h = ctx;
    CHECK_MAGIC(h, H2_MAGIC);
    if (!h2_alive(h)) {
        h->ignored += n;
        if (h->ignored > LINGER_BYTES)
            stream_close(h->stream);
        return;
    }
    server_conn_heard(h->c);
    h->busy = true;
    ssize_t rc = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n);
    if (rc < 0)
        end_for(h, rc);
    run(h, true);
}

static void on_eof(void *ctx)
{
    struct h2_conn *h = ctx;
    stream_close(h->stream);
}

static void on_failed(void *ctx, const struct err *e BASE_UNUSED)
{
    struct h2_conn *h = ctx;
    stream_close(h->stream);
}

static void on_drained(void *ctx)
{
    run(ctx, true);
}

static void conn_free(struct h2_conn *h)
{
    loop_task_cancel(&h->turn);
    nghttp2_session_del(h->session);
    h->magic = 0;
    mem_free(h);
}

static void on_closed(void *ctx)
{
    struct h2_conn *h = ctx;
    struct server_conn *c = h->c;
    CHECK_MAGIC(h, H2_MAGIC);
    sm_move(&h->sm, H2_GONE, NULL);
    h->busy = true;
    close_streams(h, server_draining(c->server) ? ERR_CANCELLED : ERR_GONE);
    deliver(h);
    conn_free(h);
    server_conn_gone(c);
}

static const struct stream_user h2_stream_user = {
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .drained = on_drained,
    .closed = on_closed,
};

/* ---- the protocol ---- */

static int h2_sniff(const char *p, size_t n)
{
    size_t len = n < NGHTTP2_CLIENT_MAGIC_LEN ? n : NGHTTP2_CLIENT_MAGIC_LEN;
    if (memcmp(p, NGHTTP2_CLIENT_MAGIC, len) != 0)
        return 0;
    return len == NGHTTP2_CLIENT_MAGIC_LEN ? 1 : -1;
}

static int h2_open(struct server_conn *c)
{
    struct h2_conn *h = mem_zalloc(sizeof(*h));
    if (h == NULL)
        return ERR_NO_MEMORY;
    h->magic = H2_MAGIC;
    h->c = c;
    h->stream = c->stream;
    list_init(&h->streams);
    list_init(&h->done);
    list_init(&h->waking);
    sm_init(&h->sm, &h2_table, H2_OPEN);
    loop_task_init(&h->turn, on_turn);
    h2_guard_init(&h->guard, h2_now(h));
    if (h2_session_open(h) != 0) {
        conn_free(h);
        return ERR_NO_MEMORY;
    }
    c->state = h;
    stream_set_user(c->stream, &h2_stream_user, h);
    /* We stop at H2_SEND_HIGH by ourselves; the rest is room for the frame being made. */
    stream_set_limits(c->stream, 4 * H2_SEND_HIGH, H2_SEND_LOW);
    server_conn_wait(c, WAIT_HEAD);
    h2_wake(h);
    return 0;
}

static void h2_drain(struct server_conn *c)
{
    struct h2_conn *h = c->state;
    CHECK_MAGIC(h, H2_MAGIC);
    if (h->sm.state != H2_OPEN)
        return;
    sm_move(&h->sm, H2_DRAINING, NULL);
    /* Two steps (RFC 9113, section 6.8): a first GOAWAY refuses nothing, a PING tells when the peer
     * has seen it; only then the second one says how far we got. */
    if (nghttp2_submit_shutdown_notice(h->session) != 0 ||
        nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, h2_drain_ping) != 0)
        h2_end(h, NGHTTP2_NO_ERROR);
    h2_wake(h);
}

static void h2_expire(struct server_conn *c)
{
    struct h2_conn *h = c->state;
    CHECK_MAGIC(h, H2_MAGIC);
    if (!h2_alive(h)) {
        stream_close(h->stream);
        return;
    }
    switch (server_conn_waiting(c)) {
    case WAIT_IDLE:
        h2_end(h, NGHTTP2_NO_ERROR);
        break;
    case WAIT_BODY:
    case WAIT_WRITE:
        if (stream_queued(h->stream) > 0) { /* the kernel took nothing for all this time */
            stream_close(h->stream);
            break;
        }
        h->checked_ms = 0;
        run(h, false);
        server_conn_wait(c, server_conn_waiting(c));
        break;
    default:
        h2_end(h, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

/* Nothing was heard for long: a PING, that a living peer answers. */
static void h2_probe(struct server_conn *c)
{
    struct h2_conn *h = c->state;
    CHECK_MAGIC(h, H2_MAGIC);
    if (h2_alive(h) && nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, h2_alive_ping) != 0)
        h2_end(h, NGHTTP2_INTERNAL_ERROR);
    h2_wake(h);
}

const struct protocol protocol_http2 = {
    .name = "h2",
    .sniff = h2_sniff,
    .open = h2_open,
    .drain = h2_drain,
    .expire = h2_expire,
    .probe = h2_probe,
};
