/* http2_client_conn.c: connections of the HTTP/2 client: bytes to and from nghttp2, PINGs, the end.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/http2_client_priv.h"

#define BACKLOG_MAX 512u /* frames that wait while the peer takes none: stop reading */
#define MAX_PARTS 16u    /* pieces of a call's queue in one DATA frame */
#define LINGER_MS 250u   /* for a GOAWAY of ours to be taken, and the peer's end to come */

#define TO(state) (1u << (state))
static const struct sm_state conn_states[] = {
    [CONN_CONNECTING] = {"connecting", TO(CONN_SETTLING) | TO(CONN_ENDING), false},
    [CONN_SETTLING] = {"settling", TO(CONN_OPEN) | TO(CONN_DRAINING) | TO(CONN_ENDING), false},
    [CONN_OPEN] = {"open", TO(CONN_DRAINING) | TO(CONN_ENDING), false},
    [CONN_DRAINING] = {"draining", TO(CONN_ENDING), false},
    [CONN_ENDING] = {"ending", 0, true},
};
static const struct sm_table conn_table = {"http2-client-connection", conn_states,
                                           ARRAY_LEN(conn_states)};

static uint64_t later(uint64_t at, uint64_t by)
{
    return by > UINT64_MAX - at ? UINT64_MAX : at + by;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

/* Written by hand: it must work when nghttp2 has failed, also for want of memory. */
static void write_goaway(struct h2c_conn *n, uint32_t code)
{
    uint8_t f[17] = {0, 0, 8, NGHTTP2_GOAWAY};
    for (unsigned i = 0; i < 4; i++)
        f[13 + i] = (uint8_t)(code >> (24 - 8 * i));
    (void)stream_write(n->stream, f, sizeof(f));
}

static void lose_calls(struct h2c_conn *n, const struct err *e)
{
    struct list_node *it;
    while ((it = list_first(&n->calls)) != NULL) {
        struct h2_call *k = CONTAINER_OF(it, struct h2_call, conn_link);
        if (!k->complete)
            h2c_call_over(k, H2_LOST, e);
        h2c_call_detach(k);
    }
}

void h2c_conn_end(struct h2c_conn *n, uint32_t code, const struct err *e)
{
    struct h2_client *c = n->client;
    int was = n->sm.state;
    bool current = c->current == n;
    if (was == CONN_ENDING)
        return;
    sm_move(&n->sm, CONN_ENDING, c->name);
    n->settle_by_ms = h2c_now(c) + LINGER_MS;
    if (current)
        c->current = NULL;
    if (was == CONN_OPEN || was == CONN_DRAINING)
        c->stats.connections--;
    lose_calls(n, e);
    if (was == CONN_CONNECTING || stream_closing(n->stream)) {
        stream_close(n->stream);
    } else {
        write_goaway(n, code);
        stream_resume(n->stream);
        stream_shutdown(n->stream);
        n->timer_at_ms = UINT64_MAX;
        h2c_conn_arm(n);
    }
    if (current && e->code != 0 && !n->answered && !c->closing)
        h2c_connect_failed(c, e);
    h2c_wake(c);
}

/* The peer, or the way to it, has gone: nothing can be said any more. */
static void conn_lost(struct h2c_conn *n, const struct err *e)
{
    stream_close(n->stream);
    h2c_conn_end(n, NGHTTP2_NO_ERROR, e);
}

void h2c_conn_drain(struct h2c_conn *n)
{
    struct h2_client *c = n->client;
    if (n->sm.state != CONN_OPEN && n->sm.state != CONN_SETTLING)
        return;
    if (n->sm.state == CONN_SETTLING)
        c->stats.connections++;
    sm_move(&n->sm, CONN_DRAINING, c->name);
    if (c->current == n)
        c->current = NULL;
    /* A peer that leaves before it has answered anything is not asked again at once. */
    if (!n->answered)
        h2c_back_off(c);
    h2c_wake(c);
}

static void handle_gone(struct h2c_conn *n)
{
    struct h2_client *c = n->client;
    if (--n->handles > 0)
        return;
    nghttp2_session_del(n->session);
    h2c_block_done(&n->block);
    list_remove(&n->link);
    n->magic = 0;
    mem_free(n);
    h2c_maybe_end(c);
}

static void on_timer_closed(void *ctx)
{
    handle_gone(ctx);
}

static void on_stream_closed(void *ctx)
{
    struct h2c_conn *n = ctx;
    loop_timer_close(&n->timer, on_timer_closed);
    handle_gone(n);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static void end_for_send(struct h2c_conn *n, ssize_t rc)
{
    struct err e = {0};
    err_set(&e, rc == NGHTTP2_ERR_NOMEM || n->cut == NULL ? ERR_NO_MEMORY : ERR_PROTOCOL,
            "%s: connection ended: %s", n->client->name,
            n->cut != NULL ? n->cut : nghttp2_strerror((int)rc));
    h2c_conn_end(n, NGHTTP2_INTERNAL_ERROR, &e);
}

void h2c_conn_pump(struct h2c_conn *n)
{
    struct err e = {0};
    if (!h2c_conn_alive(n))
        return;
    stream_cork(n->stream);
    while (h2c_conn_alive(n) && stream_queued(n->stream) < H2C_SEND_HIGH) {
        const uint8_t *p;
        ssize_t len = nghttp2_session_mem_send(n->session, &p);
        if (len == 0)
            break;
        if (len < 0)
            end_for_send(n, len);
        else if (stream_write(n->stream, p, (size_t)len) != 0)
            end_for_send(n, NGHTTP2_ERR_NOMEM);
    }
    stream_uncork(n->stream);
    if (!h2c_conn_alive(n))
        return;
    if (n->sm.state == CONN_DRAINING && n->n_calls == 0) {
        h2c_conn_end(n, NGHTTP2_NO_ERROR, &e);
        return;
    }
    if (!nghttp2_session_want_read(n->session) && !nghttp2_session_want_write(n->session)) {
        err_set(&e, ERR_PROTOCOL, "%s: the connection came to its end", n->client->name);
        h2c_conn_end(n, NGHTTP2_NO_ERROR, &e);
        return;
    }
    /* A peer that talks but takes nothing is not listened to. */
    if (stream_queued(n->stream) >= H2C_SEND_HIGH &&
        nghttp2_session_get_outbound_queue_size(n->session) > BACKLOG_MAX)
        stream_pause(n->stream);
    else
        stream_resume(n->stream);
}

static ssize_t read_body(nghttp2_session *session BASE_UNUSED, int32_t id BASE_UNUSED,
                         uint8_t *buf BASE_UNUSED, size_t length, uint32_t *flags,
                         nghttp2_data_source *source, void *ctx BASE_UNUSED)
{
    struct h2_call *k = source->ptr;
    struct iovec iov[MAX_PARTS];
    size_t n = 0, parts = out_parts(&k->out, iov, MAX_PARTS);
    for (size_t i = 0; i < parts && n < length; i++)
        n += iov[i].iov_len < length - n ? iov[i].iov_len : length - n;
    if (n == 0 && !k->ended) {
        k->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == k->out.bytes && k->ended)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* nghttp2_send_data_callback: a DATA frame, its bytes straight from the call's queue. */
static int send_data(nghttp2_session *session BASE_UNUSED, nghttp2_frame *frame BASE_UNUSED,
                     const uint8_t *framehd, size_t length, nghttp2_data_source *source, void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2_call *k = source->ptr;
    if (stream_queued(n->stream) >= H2C_SEND_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    struct slice parts[MAX_PARTS + 1] = {{(const char *)framehd, 9}};
    struct iovec iov[MAX_PARTS];
    size_t got = out_parts(&k->out, iov, MAX_PARTS), left = length, used = 1;
    for (size_t i = 0; i < got && left > 0; i++) {
        size_t take = iov[i].iov_len < left ? iov[i].iov_len : left;
        parts[used++] = (struct slice){iov[i].iov_base, take};
        left -= take;
    }
    INVARIANT(left == 0); /* read_body counted the same pieces, and the queue grows only behind */
    if (stream_writev(n->stream, parts, used) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    out_drop(&k->out, loop_out_pool(n->client->loop), length);
    if (k->want_drained && k->out.bytes <= H2C_DRAINED_MARK && k->sm.state == CALL_ACTIVE &&
        list_empty(&k->wake))
        list_push_back(&n->client->waking, &k->wake);
    return 0;
}

void h2c_set_send_data(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

bool h2c_conn_has_place(const struct h2c_conn *n)
{
    if (n->sm.state != CONN_OPEN || n->n_calls >= n->client->o.max_calls)
        return false;
    return n->n_calls <
           nghttp2_session_get_remote_settings(n->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

int h2c_conn_start(struct h2c_conn *n, struct h2_call *k)
{
    nghttp2_data_provider provider = {.source.ptr = k, .read_callback = read_body};
    bool body = !k->ended || k->out.bytes > 0;
    int32_t id =
        nghttp2_submit_request(n->session, NULL, k->nv, k->n_nv, body ? &provider : NULL, k);
    if (id == NGHTTP2_ERR_NOMEM)
        return ERR_NO_MEMORY;
    if (id < 0) { /* this connection's numbers are used up */
        h2c_conn_drain(n);
        return ERR_STATE;
    }
    k->id = id;
    k->conn = n;
    list_push_back(&n->calls, &k->conn_link);
    if (n->n_calls++ == 0 && later(n->heard_ms, n->client->o.ping_ms) < h2c_now(n->client))
        n->heard_ms = h2c_now(n->client); /* silence without calls does not count */
    h2c_conn_arm(n);
    return 0;
}

void h2c_conn_reset(struct h2_call *k, uint32_t code)
{
    struct h2c_conn *n = k->conn;
    if (n == NULL || k->dying || !h2c_conn_alive(n))
        return;
    k->dying = true;
    if (nghttp2_submit_rst_stream(n->session, NGHTTP2_FLAG_NONE, k->id, code) != 0) {
        struct err e = {0};
        err_set(&e, ERR_NO_MEMORY, "%s: out of memory", n->client->name);
        h2c_conn_end(n, NGHTTP2_INTERNAL_ERROR, &e);
    }
    h2c_wake(k->client);
}

void h2c_conn_resume_sending(struct h2_call *k)
{
    struct h2c_conn *n = k->conn;
    if (n != NULL && k->deferred && h2c_conn_alive(n)) {
        k->deferred = false;
        if (nghttp2_session_resume_data(n->session, k->id) == NGHTTP2_ERR_NOMEM) {
            struct err e = {0};
            err_set(&e, ERR_NO_MEMORY, "%s: out of memory", n->client->name);
            h2c_conn_reset(k, NGHTTP2_INTERNAL_ERROR);
            h2c_call_over(k, H2_FAILED, &e);
        }
    }
    h2c_wake(k->client);
}

/* ---- time -------------------------------------------------------------------------------------
 */

static bool wants_ping(const struct h2c_conn *n)
{
    return n->client->o.ping_ms != UINT64_MAX && (n->n_calls > 0 || n->client->o.ping_idle);
}

static uint64_t next_due(const struct h2c_conn *n)
{
    const struct h2_client_options *o = &n->client->o;
    uint64_t due = UINT64_MAX;
    if (n->sm.state == CONN_CONNECTING)
        return UINT64_MAX; /* the stream has a time limit of its own */
    if (n->sm.state == CONN_SETTLING || n->sm.state == CONN_ENDING)
        return n->settle_by_ms;
    if (n->n_calls == 0)
        due = later(n->idle_since_ms, o->idle_ms);
    uint64_t ping = UINT64_MAX;
    if (n->pinging)
        ping = later(n->pinged_ms, o->ping_timeout_ms);
    else if (wants_ping(n))
        ping = later(n->heard_ms, o->ping_ms);
    return ping < due ? ping : due;
}

/* The timer is moved only forward in time; when it fires too early it is set anew. */
void h2c_conn_arm(struct h2c_conn *n)
{
    uint64_t due = next_due(n), now = h2c_now(n->client);
    if (due >= n->timer_at_ms || n->handles < 2)
        return;
    n->timer_at_ms = due;
    loop_timer_start(&n->timer, due > now ? due - now : 0, 0);
}

static void send_ping(struct h2c_conn *n)
{
    if (nghttp2_submit_ping(n->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        return; /* no memory now; the next time */
    n->pinging = true;
    n->pinged_ms = h2c_now(n->client);
    n->client->stats.pings++;
    h2c_wake(n->client);
}

static void on_timer(void *ctx)
{
    struct h2c_conn *n = ctx;
    const struct h2_client_options *o = &n->client->o;
    uint64_t now = h2c_now(n->client);
    struct err e = {0};
    n->timer_at_ms = UINT64_MAX;
    if (n->sm.state == CONN_ENDING) {
        stream_close(n->stream);
        return;
    }
    if (now < next_due(n)) {
        h2c_conn_arm(n);
        return;
    }
    if (n->sm.state == CONN_SETTLING) {
        err_set(&e, ERR_TIMEOUT, "%s: no HTTP/2 SETTINGS within %llu ms", n->client->name,
                (unsigned long long)o->connect_ms);
        h2c_conn_end(n, NGHTTP2_SETTINGS_TIMEOUT, &e);
    } else if (n->pinging && now >= later(n->pinged_ms, o->ping_timeout_ms)) {
        err_set(&e, ERR_TIMEOUT, "%s: no answer to a PING within %llu ms", n->client->name,
                (unsigned long long)o->ping_timeout_ms);
        h2c_conn_end(n, NGHTTP2_NO_ERROR, &e);
    } else if (n->n_calls == 0 && now >= later(n->idle_since_ms, o->idle_ms)) {
        h2c_conn_end(n, NGHTTP2_NO_ERROR, &e);
    } else {
        send_ping(n);
    }
    if (n->sm.state != CONN_ENDING)
        h2c_conn_arm(n);
}

/* ---- the stream's side ------------------------------------------------------------------------
 */

static void on_ready(void *ctx)
{
    struct h2c_conn *n = ctx;
    struct h2_client *c = n->client;
    struct slice alpn = stream_alpn(n->stream);
    struct err e = {0};
    if (n->sm.state != CONN_CONNECTING)
        return;
    if (c->o.target.tls != NULL && !slice_eqs(alpn, "h2")) {
        err_set(&e, ERR_PROTOCOL, "%s: the server does not offer HTTP/2 (ALPN \"%.*s\")", c->name,
                (int)alpn.len, alpn.p);
        conn_lost(n, &e);
        return;
    }
    if (h2c_session_open(n) != 0) {
        err_set(&e, ERR_NO_MEMORY, "%s: out of memory", c->name);
        conn_lost(n, &e);
        return;
    }
    sm_move(&n->sm, CONN_SETTLING, c->name);
    h2_guard_init(&n->guard, h2c_now(c));
    /* We stop at H2C_SEND_HIGH by ourselves; the rest is room for the frame being made. */
    stream_set_limits(n->stream, 4 * H2C_SEND_HIGH, H2C_SEND_LOW);
    n->settle_by_ms = later(h2c_now(c), c->o.connect_ms);
    n->heard_ms = n->idle_since_ms = h2c_now(c);
    h2c_conn_arm(n);
    h2c_wake(c);
}

/* Why nghttp2 gave up on what came: for the peer, and for us. */
static void end_for_recv(struct h2c_conn *n, ssize_t rc)
{
    struct err e = {0};
    uint32_t code = n->cut_code;
    bool memory = n->cut == NULL && (rc == NGHTTP2_ERR_NOMEM || rc == NGHTTP2_ERR_CALLBACK_FAILURE);
    if (memory)
        code = NGHTTP2_INTERNAL_ERROR;
    else if (n->cut == NULL &&
             (rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS))
        code = NGHTTP2_ENHANCE_YOUR_CALM;
    else if (n->cut == NULL)
        code = NGHTTP2_PROTOCOL_ERROR;
    err_set(&e, memory ? ERR_NO_MEMORY : ERR_PROTOCOL, "%s: %s", n->client->name,
            n->cut != NULL ? n->cut
            : memory       ? "out of memory"
                           : nghttp2_strerror((int)rc));
    h2c_conn_end(n, code, &e);
}

static void on_data(void *ctx, const char *p, size_t len)
{
    struct h2c_conn *n = ctx;
    struct h2_client *c = n->client;
    CHECK_MAGIC(n, H2C_CONN_MAGIC);
    if (!h2c_conn_alive(n))
        return;
    n->heard_ms = h2c_now(c);
    c->busy = true;
    ssize_t rc = nghttp2_session_mem_recv(n->session, (const uint8_t *)p, len);
    if (rc < 0)
        end_for_recv(n, rc);
    h2c_turn(c);
}

static void on_eof(void *ctx)
{
    struct h2c_conn *n = ctx;
    struct err e = {0};
    err_set(&e, ERR_GONE, "%s: the peer closed the connection", n->client->name);
    conn_lost(n, &e);
}

static void on_failed(void *ctx, const struct err *failure)
{
    struct h2c_conn *n = ctx;
    struct err e = *failure;
    if (n->sm.state != CONN_CONNECTING)
        err_wrap(&e, "%s", n->client->name);
    conn_lost(n, &e);
}

static void on_drained(void *ctx)
{
    struct h2c_conn *n = ctx;
    h2c_wake(n->client);
}

static const struct stream_user conn_user = {
    .ready = on_ready,
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .drained = on_drained,
    .closed = on_stream_closed,
};

int h2c_conn_open(struct h2_client *c, struct err *e)
{
    struct h2c_conn *n = mem_zalloc(sizeof(*n));
    if (n == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", c->name);
    n->magic = H2C_CONN_MAGIC;
    n->client = c;
    n->timer_at_ms = UINT64_MAX;
    list_init(&n->calls);
    buf_init(&n->block.text, c->o.max_head);
    sm_init(&n->sm, &conn_table, CONN_CONNECTING);
    int rc = stream_connect(&n->stream, c->loop, &c->o.target, c->o.connect_ms, &conn_user, n, e);
    if (rc != 0) {
        mem_free(n);
        return rc;
    }
    (void)loop_timer_init(c->loop, &n->timer, on_timer, n);
    n->handles = 2;
    list_push_back(&c->conns, &n->link);
    c->current = n;
    return 0;
}
