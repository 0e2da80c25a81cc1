/* client_conn.c: one connection of a client pool: sends a request, parses its answer, and is then
 * idle or closed. */
#include "net/client_priv.h"

#include "base/mem.h"
#include "net/stream_priv.h"
#include <string.h>

enum { STASH_MAX = 8 << 20, STASH_KEEP = 4096, QUEUE_EXTRA = 64 << 10 };
#define QUEUE_DEFAULT ((size_t)16 << 20)
#define NEVER UINT64_MAX

#define TO(state) (1u << (state))
static const struct sm_state conn_states[] = {
    [CONN_CONNECTING] = {"connecting", TO(CONN_BUSY) | TO(CONN_CLOSING), false},
    [CONN_BUSY] = {"busy", TO(CONN_IDLE) | TO(CONN_CLOSING), false},
    [CONN_IDLE] = {"idle", TO(CONN_BUSY) | TO(CONN_CLOSING), false},
    [CONN_CLOSING] = {"closing", 0, true},
};
static const struct sm_table conn_table = {"client-connection", conn_states,
                                           ARRAY_LEN(conn_states)};

/* ---- deadlines ------------------------------------------------------------------------------- */

/* The timer is left running when a deadline moves away, which is the usual case: it looks again
 * when it fires. So a call costs no timer operation at all. */
static void set_deadline(struct client_conn *k, uint64_t after_ms)
{
    uint64_t now = loop_now_ms(k->pool->loop);

    k->deadline_ms = after_ms >= NEVER - now ? NEVER : now + after_ms;
    if (k->deadline_ms >= k->timer_ms)
        return;
    k->timer_ms = k->deadline_ms;
    loop_timer_start(&k->timer, k->deadline_ms - now, 0);
}

/* Call and connection part; a parser that is on the stack tells no more. */
static struct client_call *take_call(struct client_conn *k)
{
    struct client_call *c = k->call;

    k->call = NULL;
    if (c == NULL)
        return NULL;
    c->conn = NULL;
    if (c->in_feed)
        answer_stop(&c->answer);
    return c;
}

static bool may_retry(const struct client_conn *k, const struct client_call *c, int code)
{
    return code == ERR_GONE && k->uses > 1 && c->may_retry && !c->answer.started &&
           !k->pool->closing;
}

/* The connection is of no use any more; e says why, to its call if it has one. */
static void lose(struct client_conn *k, const struct err *why)
{
    struct client_pool *p = k->pool;
    struct client_call *c = take_call(k);
    bool retry = c != NULL && may_retry(k, c, why->code);
    struct err e = *why;

    client_conn_close(k);
    if (retry) {
        c->may_retry = false;
        p->stats.retried++;
        if (client_conn_open(p, c, (struct slice){NULL, 0}, &e) == 0)
            c = NULL;
    }
    client_pool_dispatch(p);
    if (c == NULL)
        return;
    if (e.code == ERR_TIMEOUT)
        p->stats.timeouts++;
    if (strstr(e.msg, p->name) == NULL)
        err_wrap(&e, "%s", p->name);
    client_call_tell(c, &e);
}

static void on_timer(void *ctx)
{
    struct client_conn *k = ctx;
    uint64_t now = loop_now_ms(k->pool->loop);
    struct err e = {0};

    k->timer_ms = NEVER;
    if (k->sm.state == CONN_CLOSING || k->deadline_ms == NEVER)
        return;
    if (now < k->deadline_ms) {
        k->timer_ms = k->deadline_ms;
        loop_timer_start(&k->timer, k->deadline_ms - now, 0);
        return;
    }
    if (k->call == NULL) {
        client_conn_close(k); /* idle for long enough */
        return;
    }
    if (k->call->answer.head_done)
        err_set(&e, ERR_TIMEOUT, "the answer stopped for %llu ms",
                (unsigned long long)k->call->idle_ms);
    else
        err_set(&e, ERR_TIMEOUT, "no answer within %llu ms",
                (unsigned long long)k->call->first_byte_ms);
    lose(k, &e);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The answer is complete; `clean`: nothing follows it. */
static void complete(struct client_conn *k, bool clean)
{
    static const struct err fine = {0};
    struct client_pool *p = k->pool;
    struct client_call *c = take_call(k);

    if (clean && c->answer.keep_alive && !k->eof && !p->closing && p->max_idle > 0 &&
        stream_queued(k->stream) == 0 && !stream_closing(k->stream)) {
        sm_move(&k->sm, CONN_IDLE, p->name);
        k->halted = false;
        stream_resume(k->stream); /* the call may have been paused up to here */
        list_push_front(&p->idle, &k->idle);
        p->stats.idle++;
        set_deadline(k, p->idle_ms);
        if (p->stats.idle > p->max_idle)
            client_conn_close(CONTAINER_OF(p->idle.prev, struct client_conn, idle));
    } else {
        client_conn_close(k);
    }
    client_pool_dispatch(p);
    client_call_tell(c, &fine);
}

/* Lets the call's parser have bytes; returns how many it used. Afterwards the call may be over, the
 * connection too, or it is halted with the rest unused. */
static size_t parse(struct client_conn *k, const char *p, size_t n)
{
    size_t total = 0;

    for (;;) {
        struct client_call *c = k->call;
        struct err e = {0};
        size_t used = 0;
        int r;

        c->in_feed = true;
        r = answer_feed(&c->answer, p + total, n - total, &used, &e);
        c->in_feed = false;
        total += used;
        if (c->dropped) {
            client_call_recycle(c);
            return n;
        }
        if (k->call != c)
            return n; /* the pool is being freed */
        if (r == ANSWER_STOPPED && !c->paused)
            continue;
        if (r >= 0 && (c->whole.err != 0 || (r != ANSWER_DONE && client_call_keep_piece(c) != 0)))
            r = err_set(&e, c->whole.err, "the answer's body: %s", err_row(c->whole.err)->text);
        if (r == ANSWER_DONE) {
            complete(k, total == n);
            return n;
        }
        if (r < 0) {
            lose(k, &e);
            return n;
        }
        k->halted = r == ANSWER_STOPPED;
        if (!k->halted && c->answer.head_done)
            set_deadline(k, c->idle_ms);
        return total;
    }
}

static void on_ready(void *ctx);

static void on_data(void *ctx, const char *p, size_t n)
{
    struct client_conn *k = ctx;
    struct err e = {0};
    size_t used = 0;

    if (k->sm.state == CONN_CLOSING)
        return;
    if (k->call == NULL) {
        client_conn_close(k); /* nobody asked */
        return;
    }
    on_ready(k); /* does nothing if it was told before */
    if (!k->halted)
        used = parse(k, p, n);
    if (used < n && k->halted && buf_add(&k->stash, p + used, n - used) != 0) {
        err_set(&e, k->stash.err, "the answer cannot be kept: %s", err_row(k->stash.err)->text);
        lose(k, &e);
    }
}

static void end_of_stream(struct client_conn *k)
{
    struct client_call *c = k->call;
    struct err e = {0};

    if (c == NULL) {
        client_conn_close(k);
        return;
    }
    k->eof = true;
    if (k->halted || c->paused)
        return; /* comes again when the call goes on */
    if (answer_eof(&c->answer, &e) == 0)
        complete(k, true);
    else
        lose(k, &e);
}

void client_conn_go_on(struct client_conn *k)
{
    if (k->sm.state != CONN_BUSY || k->call == NULL || k->call->paused)
        return;
    if (k->halted) {
        k->halted = false;
        if (k->stash.len > k->stash_off)
            k->stash_off += parse(k, k->stash.data + k->stash_off, k->stash.len - k->stash_off);
        else
            (void)parse(k, "", 0); /* the parser still owes the end of the answer */
        if (k->halted || k->sm.state != CONN_BUSY || k->call == NULL)
            return;
        k->stash_off = 0;
        if (k->stash.cap > STASH_KEEP)
            buf_done(&k->stash);
        else
            buf_clear(&k->stash);
    }
    if (k->eof)
        end_of_stream(k);
    else
        stream_resume(k->stream);
}

void client_conn_pause(struct client_conn *k, bool paused)
{
    struct client_call *c = k->call;

    if (k->sm.state != CONN_BUSY)
        return; /* a handshake must go on; on_ready looks at the call */
    if (paused) {
        stream_pause(k->stream);
        if (c->in_feed)
            answer_stop(&c->answer);
        set_deadline(k, NEVER);
        list_remove(&k->resumed);
        return;
    }
    set_deadline(k, c->answer.head_done ? c->idle_ms : c->first_byte_ms);
    if (c->in_feed) {
        stream_resume(k->stream);
    } else if (k->halted || k->eof) {
        list_remove(&k->resumed);
        list_push_back(&k->pool->resumed, &k->resumed);
        loop_post(k->pool->loop, &k->pool->task);
    } else {
        stream_resume(k->stream);
    }
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void wait_for_answer(struct client_conn *k)
{
    if (k->call->paused) {
        stream_pause(k->stream);
        set_deadline(k, NEVER);
    } else {
        set_deadline(k, k->call->first_byte_ms);
    }
}

static void on_ready(void *ctx)
{
    struct client_conn *k = ctx;

    if (k->sm.state != CONN_CONNECTING)
        return;
    sm_move(&k->sm, CONN_BUSY, k->pool->name);
    wait_for_answer(k);
}

static void on_eof(void *ctx)
{
    struct client_conn *k = ctx;

    if (k->sm.state == CONN_CLOSING)
        return;
    end_of_stream(k);
}

static void on_failed(void *ctx, const struct err *e)
{
    struct client_conn *k = ctx;

    if (k->sm.state != CONN_CLOSING)
        lose(k, e);
}

static void handle_closed(void *ctx)
{
    struct client_conn *k = ctx;
    struct client_pool *p = k->pool;

    if (--k->handles > 0)
        return;
    list_remove(&k->link);
    buf_done(&k->stash);
    k->magic = 0;
    mem_free(k);
    client_pool_maybe_end(p);
}

static const struct stream_user stream_user = {
    .ready = on_ready,
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .closed = handle_closed,
};

void client_conn_close(struct client_conn *k)
{
    CHECK_MAGIC(k, CLIENT_CONN_MAGIC);
    if (k->sm.state == CONN_CLOSING)
        return;
    if (k->sm.state == CONN_IDLE) {
        list_remove(&k->idle);
        k->pool->stats.idle--;
    }
    take_call(k);
    sm_move(&k->sm, CONN_CLOSING, k->pool->name);
    list_remove(&k->resumed);
    k->halted = false;
    k->pool->stats.open--;
    loop_timer_close(&k->timer, handle_closed);
    stream_close(k->stream);
}

int client_conn_send(struct client_conn *k, struct client_call *c, struct slice body, struct err *e)
{
    const struct slice parts[2] = {{c->head.data, c->head.len}, body};
    size_t need = c->head.len + body.len + QUEUE_EXTRA;
    int r;

    CHECK_MAGIC(k, CLIENT_CONN_MAGIC);
    if (k->sm.state == CONN_IDLE) {
        list_remove(&k->idle);
        k->pool->stats.idle--;
        k->pool->stats.reused++;
        sm_move(&k->sm, CONN_BUSY, k->pool->name);
    }
    if (need > QUEUE_DEFAULT)
        stream_set_limits(k->stream, need, QUEUE_EXTRA);
    uint64_t sent = stream_sent(k->stream);
    stream_set_secret(k->stream, c->secret);
    r = stream_writev(k->stream, parts, body.len > 0 ? 2 : 1);
    /* The peer of a reused connection had left, and not a byte went out: any request may go
     * elsewhere. Unix sockets tell this at once. */
    if (r == 0 && k->uses > 0 && stream_closing(k->stream) && stream_sent(k->stream) == sent)
        r = ERR_GONE;
    /* A connect that failed at once: `failed` will tell why (no such socket, refused), from the
     * loop. */
    if (r == ERR_GONE && k->sm.state == CONN_CONNECTING)
        r = 0;
    if (r != 0) {
        client_conn_close(k);
        return err_set(e, r, "%s: cannot send: %s", k->pool->name, err_row(r)->text);
    }
    k->uses++;
    k->call = c;
    c->conn = k;
    if (k->sm.state == CONN_BUSY)
        wait_for_answer(k);
    return 0;
}

int client_conn_open(struct client_pool *p, struct client_call *c, struct slice body, struct err *e)
{
    struct client_conn *k = mem_zalloc(sizeof(*k));
    int r;

    if (k == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", p->name);
    k->magic = CLIENT_CONN_MAGIC;
    k->pool = p;
    k->deadline_ms = k->timer_ms = NEVER;
    list_init(&k->idle);
    list_init(&k->resumed);
    sm_init(&k->sm, &conn_table, CONN_CONNECTING);
    buf_init(&k->stash, STASH_MAX);
    r = stream_connect(&k->stream, p->loop, &p->target, p->connect_ms, &stream_user, k, e);
    if (r != 0) {
        mem_free(k);
        return r;
    }
    loop_timer_init(p->loop, &k->timer, on_timer, k);
    k->handles = 2;
    list_push_back(&p->conns, &k->link);
    p->stats.connects++;
    p->stats.open++;
    return client_conn_send(k, c, body, e);
}
