/* http2_client.c: calls of the HTTP/2 client: waiting, deadlines, telling users, the client's end.
 */
#include "net/http2_client.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/http2_client_priv.h"
#include "net/stream_priv.h"

#define ROUNDS_PER_TURN 8u
#define NV_PSEUDO 4u
/* Of a request; together within the 64 KiB to which nghttp2 compresses. */
#define HEADERS_MAX 500u
#define HEAD_MAX (48u * 1024)

#define TO(state) (1u << (state))
static const struct sm_state call_states[] = {
    [CALL_WAITING] = {"waiting", TO(CALL_ACTIVE) | TO(CALL_OVER), false},
    [CALL_ACTIVE] = {"active", TO(CALL_OVER), false},
    [CALL_OVER] = {"over", TO(CALL_TOLD), false},
    [CALL_TOLD] = {"told", 0, true},
};
static const struct sm_table call_table = {"http2-call", call_states, ARRAY_LEN(call_states)};

/* ---- deadlines: a heap, the earliest first ----------------------------------------------------
 */

static void heap_set(struct h2_client *c, size_t at, struct h2_call *k)
{
    c->heap[at] = k;
    k->heap_at = at;
}

static void heap_up(struct h2_client *c, size_t at, struct h2_call *k)
{
    while (at > 0 && c->heap[(at - 1) / 2]->deadline_ms > k->deadline_ms) {
        heap_set(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(c, at, k);
}

static void heap_down(struct h2_client *c, size_t at, struct h2_call *k)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= c->n_heap)
            break;
        if (child + 1 < c->n_heap && c->heap[child + 1]->deadline_ms < c->heap[child]->deadline_ms)
            child++;
        if (c->heap[child]->deadline_ms >= k->deadline_ms)
            break;
        heap_set(c, at, c->heap[child]);
        at = child;
    }
    heap_set(c, at, k);
}

/* The timer is moved only forward in time: calls that end before their deadline, most of them, cost
 * no timer. */
static void arm_deadline(struct h2_client *c)
{
    uint64_t now = h2c_now(c);
    if (c->n_heap == 0 || c->heap[0]->deadline_ms >= c->deadline_at_ms || c->closing)
        return;
    uint64_t at = c->heap[0]->deadline_ms;
    c->deadline_at_ms = at;
    loop_timer_start(&c->deadline_timer, at > now ? at - now : 0, 0);
}

static int heap_add(struct h2_call *k)
{
    struct h2_client *c = k->client;
    if (c->n_heap == c->cap_heap) {
        size_t cap = c->cap_heap == 0 ? 16 : 2 * c->cap_heap;
        struct h2_call **grown = mem_realloc(c->heap, cap * sizeof(struct h2_call *));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        c->heap = grown;
        c->cap_heap = cap;
    }
    heap_up(c, c->n_heap++, k);
    arm_deadline(c);
    return 0;
}

static void heap_remove(struct h2_call *k)
{
    struct h2_client *c = k->client;
    size_t at = k->heap_at;
    if (at == SIZE_MAX)
        return;
    k->heap_at = SIZE_MAX;
    struct h2_call *last = c->heap[--c->n_heap];
    if (last == k)
        return;
    if (at > 0 && c->heap[(at - 1) / 2]->deadline_ms > last->deadline_ms)
        heap_up(c, at, last);
    else
        heap_down(c, at, last);
}

static void deadline_passed(struct h2_call *k)
{
    struct h2_client *c = k->client;
    struct err e = {0};
    if (k->sm.state == CALL_WAITING && c->last_error.code != 0)
        err_set(&e, ERR_TIMEOUT, "%s: no connection before the deadline: %s", c->name,
                c->last_error.msg);
    else
        err_set(&e, ERR_TIMEOUT, "%s: %s before the deadline", c->name,
                k->sm.state == CALL_WAITING ? "no place for the call" : "no whole answer");
    h2c_conn_reset(k, NGHTTP2_CANCEL);
    h2c_call_over(k, H2_DEADLINE, &e);
}

static void on_deadline_timer(void *ctx)
{
    struct h2_client *c = ctx;
    c->deadline_at_ms = UINT64_MAX;
    while (c->n_heap > 0 && c->heap[0]->deadline_ms <= h2c_now(c))
        deadline_passed(c->heap[0]);
    arm_deadline(c);
}

/* ---- the life of a call -----------------------------------------------------------------------
 */

static void call_free(struct h2_call *k)
{
    out_clear(&k->out, loop_out_pool(k->client->loop));
    buf_done(&k->held);
    mem_free(k->trailers);
    k->magic = 0;
    mem_free(k);
}

void h2c_wake(struct h2_client *c)
{
    if (!c->busy && !c->ending)
        loop_post(c->loop, &c->task);
}

void h2c_call_over(struct h2_call *k, enum h2_why why, const struct err *e)
{
    struct h2_client *c = k->client;
    if (k->sm.state >= CALL_OVER)
        return;
    if (k->sm.state == CALL_WAITING) {
        c->stats.waiting--;
        k->outcome.unprocessed = true;
    } else {
        c->stats.active--;
        if (!k->sent)
            k->outcome.unprocessed = true;
    }
    if (why == H2_ANSWERED) {
        k->outcome.unprocessed = false;
        c->stats.answered++;
    } else {
        c->stats.failed++;
    }
    sm_move(&k->sm, CALL_OVER, c->name);
    k->outcome.why = why;
    if (e != NULL)
        k->outcome.err = *e;
    heap_remove(k);
    list_remove(&k->wake);
    list_remove(&k->link);
    list_push_back(&c->over, &k->link);
    h2c_wake(c);
}

void h2c_call_detach(struct h2_call *k)
{
    if (k->conn == NULL)
        return;
    list_remove(&k->conn_link);
    if (--k->conn->n_calls == 0) {
        k->conn->idle_since_ms = h2c_now(k->client);
        h2c_conn_arm(k->conn);
    }
    k->conn = NULL;
    if (k->sm.state == CALL_TOLD)
        call_free(k);
}

/* The answer is whole and told. */
static void answered(struct h2_call *k)
{
    if (k->trailers != NULL && k->user.trailers != NULL)
        k->user.trailers(k->ctx, k->trailers, k->n_trailers);
    if (k->sm.state != CALL_ACTIVE)
        return;
    /* Whoever answers before the end of our body does not want the rest. */
    if (!k->end_sent)
        h2c_conn_reset(k, NGHTTP2_NO_ERROR);
    h2c_call_over(k, H2_ANSWERED, NULL);
}

void h2c_call_resume(struct h2_call *k)
{
    if (k->sm.state != CALL_ACTIVE || k->paused)
        return;
    if (k->held.len > 0) {
        _cleanup_(buf_done) struct buf b = k->held;
        buf_init(&k->held, b.max);
        if (k->user.data != NULL)
            k->user.data(k->ctx, b.data, b.len);
        if (k->conn != NULL && h2c_conn_alive(k->conn))
            nghttp2_session_consume_stream(k->conn->session, k->id, b.len);
    }
    if (k->sm.state == CALL_ACTIVE && k->complete && !k->paused && k->held.len == 0)
        answered(k);
}

static void wake_call(struct h2_call *k)
{
    if (list_empty(&k->wake))
        list_push_back(&k->client->waking, &k->wake);
    h2c_wake(k->client);
}

/* ---- turns ------------------------------------------------------------------------------------
 */

static void tell_woken(struct h2_call *k)
{
    if (k->want_drained && k->out.bytes <= H2C_DRAINED_MARK) {
        k->want_drained = false;
        if (k->user.drained != NULL)
            k->user.drained(k->ctx);
    }
    h2c_call_resume(k);
}

/* True if there was anything. */
static bool tell(struct h2_client *c)
{
    struct list_node woken, *it;
    bool any = false;
    list_init(&woken);
    while ((it = list_first(&c->waking)) != NULL) { /* those that wake meanwhile come next time */
        list_remove(it);
        list_push_back(&woken, it);
    }
    while ((it = list_first(&woken)) != NULL) {
        list_remove(it);
        tell_woken(CONTAINER_OF(it, struct h2_call, wake));
        any = true;
    }
    while ((it = list_first(&c->over)) != NULL) {
        struct h2_call *k = CONTAINER_OF(it, struct h2_call, link);
        list_remove(it);
        sm_move(&k->sm, CALL_TOLD, c->name);
        if (k->user.closed != NULL)
            k->user.closed(k->ctx, &k->outcome);
        if (k->conn == NULL)
            call_free(k);
        any = true;
    }
    return any;
}

static void connect_now(struct h2_client *c)
{
    struct err e = {0};
    uint64_t now = h2c_now(c);
    if (!c->try_now && now < c->next_try_ms) {
        loop_timer_start(&c->retry_timer, c->next_try_ms - now, 0);
        return;
    }
    c->try_now = false;
    c->stats.connects++;
    if (h2c_conn_open(c, &e) != 0)
        h2c_connect_failed(c, &e);
}

/* Gives waiting calls their places. */
static void dispatch(struct h2_client *c)
{
    struct list_node *it;
    while ((it = list_first(&c->waiting)) != NULL && !c->closing) {
        struct h2_call *k = CONTAINER_OF(it, struct h2_call, link);
        if (c->current == NULL) {
            connect_now(c);
            if (c->current == NULL)
                return;
        }
        if (!h2c_conn_has_place(c->current))
            return;
        int rc = h2c_conn_start(c->current, k);
        if (rc == ERR_NO_MEMORY) {
            struct err e = {0};
            err_set(&e, ERR_NO_MEMORY, "%s: out of memory", c->name);
            h2c_call_over(k, H2_FAILED, &e);
        } else if (rc == 0) {
            c->stats.waiting--;
            c->stats.active++;
            sm_move(&k->sm, CALL_ACTIVE, c->name);
            list_remove(&k->link);
            list_push_back(&c->active, &k->link);
        }
    }
}

void h2c_turn(struct h2_client *c)
{
    bool more = true;
    c->busy = true;
    for (unsigned i = 0; i < ROUNDS_PER_TURN && more; i++) {
        dispatch(c);
        LIST_FOR_SAFE (it, &c->conns)
            h2c_conn_pump(CONTAINER_OF(it, struct h2c_conn, link));
        more = tell(c);
    }
    c->busy = false;
    if (more)
        h2c_wake(c);
    h2c_maybe_end(c);
}

static void on_task(struct loop_task *t)
{
    h2c_turn(CONTAINER_OF(t, struct h2_client, task));
}

static void on_retry_timer(void *ctx)
{
    h2c_wake(ctx);
}

/* A wait, a fifth more or less by chance, so that many clients do not come back at once. */
static uint64_t backoff(struct h2_client *c)
{
    double ms = (double)c->o.backoff_ms;
    for (unsigned i = 1; i < c->fails && ms < (double)c->o.backoff_max_ms; i++)
        ms *= 1.6;
    if (ms > (double)c->o.backoff_max_ms)
        ms = (double)c->o.backoff_max_ms;
    const struct clock *k = loop_clock(c->loop);
    uint16_t r = 0;
    (void)k->random(k->ctx, &r, sizeof(r));
    return (uint64_t)(ms * (0.8 + 0.4 * (double)r / 65536.0));
}

void h2c_back_off(struct h2_client *c)
{
    c->fails++;
    c->next_try_ms = h2c_now(c) + backoff(c);
}

void h2c_connect_failed(struct h2_client *c, const struct err *e)
{
    c->stats.connect_failures++;
    c->last_error = *e;
    h2c_back_off(c);
    LIST_FOR_SAFE (it, &c->waiting) {
        struct h2_call *k = CONTAINER_OF(it, struct h2_call, link);
        if (!k->wait_for_ready)
            h2c_call_over(k, H2_CONNECT, e);
    }
    if (!list_empty(&c->waiting))
        loop_timer_start(&c->retry_timer, c->next_try_ms - h2c_now(c), 0);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static bool pseudo_ok(struct slice v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.p[i] <= ' ' || (unsigned char)v.p[i] >= 0x7f)
            return false;
    return v.len > 0;
}

/* The size of the head's text, 0 if it cannot be sent. */
static size_t check_request(const struct h2_request *r, struct err *e)
{
    size_t size = r->method.len + r->path.len;
    if (!pseudo_ok(r->path) || r->path.p[0] != '/' ||
        (r->method.p != NULL && !pseudo_ok(r->method))) {
        err_set(e, ERR_INVALID, "method \"%.*s\", path \"%.*s\" cannot be sent", (int)r->method.len,
                r->method.p, (int)r->path.len, r->path.p);
        return 0;
    }
    for (size_t i = 0; i < r->n_headers && i < HEADERS_MAX; i++) {
        const struct http_header *h = &r->headers[i];
        if (h->name.len == 0 || h->name.p[0] == ':' ||
            !nghttp2_check_header_name((const uint8_t *)h->name.p, h->name.len) ||
            !nghttp2_check_header_value_rfc9113((const uint8_t *)h->value.p, h->value.len)) {
            err_set(e, ERR_INVALID, "header \"%.*s\" cannot be sent", (int)h->name.len, h->name.p);
            return 0;
        }
        size += h->name.len + h->value.len;
    }
    if (r->n_headers > HEADERS_MAX || size > HEAD_MAX) {
        err_set(e, ERR_INVALID, "a head of %zu headers and %zu bytes cannot be sent", r->n_headers,
                size);
        return 0;
    }
    return size;
}

/* Text that lives as long as the frame that is made of it: nghttp2 need not copy it. */
#define NV_KEPT (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)

static void add_nv(struct h2_call *k, struct slice name, struct slice value)
{
    k->nv[k->n_nv++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p,
                                    name.len, value.len, NV_KEPT};
}

static struct slice keep(char **at, struct slice s)
{
    struct slice kept = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
    return kept;
}

static void fill_head(struct h2_call *k, const struct h2_request *r, char *at)
{
    struct h2_client *c = k->client;
    struct slice method = r->method.p != NULL ? keep(&at, r->method) : SLICE_LIT("POST");
    struct slice path = keep(&at, r->path);
    add_nv(k, SLICE_LIT(":method"), method);
    add_nv(k, SLICE_LIT(":scheme"),
           c->o.target.tls != NULL ? SLICE_LIT("https") : SLICE_LIT("http"));
    add_nv(k, SLICE_LIT(":path"), path);
    add_nv(k, SLICE_LIT(":authority"), slice_of(c->authority));
    for (size_t i = 0; i < r->n_headers; i++) {
        struct slice name = keep(&at, r->headers[i].name);
        add_nv(k, name, keep(&at, r->headers[i].value));
    }
}

static struct h2_call *make_call(struct h2_client *c, const struct h2_request *r, size_t text)
{
    size_t n = NV_PSEUDO + r->n_headers;
    struct h2_call *k = mem_zalloc(sizeof(*k) + n * sizeof(k->nv[0]) + text);
    if (k == NULL)
        return NULL;
    k->magic = H2C_CALL_MAGIC;
    k->client = c;
    k->heap_at = SIZE_MAX;
    list_init(&k->link);
    list_init(&k->conn_link);
    list_init(&k->wake);
    sm_init(&k->sm, &call_table, CALL_WAITING);
    buf_init(&k->held, NGHTTP2_INITIAL_WINDOW_SIZE);
    k->max_body = r->max_body != 0 ? r->max_body : 8u << 20;
    k->deadline_ms = r->deadline_ms;
    k->wait_for_ready = r->wait_for_ready;
    fill_head(k, r, (char *)&k->nv[n]);
    return k;
}

int h2_call_open(struct h2_call **ret, struct h2_client *c, const struct h2_request *r,
                 const struct h2_call_user *u, void *ctx, struct err *e)
{
    CHECK_MAGIC(c, H2C_MAGIC);
    if (c->closing)
        return err_set(e, ERR_STATE, "%s: the client is being stopped", c->name);
    if (c->stats.waiting >= c->o.max_waiting)
        return err_set(e, ERR_BUSY, "%s: %zu calls are waiting already", c->name, c->stats.waiting);
    size_t text = check_request(r, e);
    if (text == 0)
        return ERR_INVALID;
    struct h2_call *k = make_call(c, r, text);
    if (k == NULL || (k->deadline_ms != 0 && heap_add(k) != 0)) {
        if (k != NULL)
            call_free(k);
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", c->name);
    }
    k->user = *u;
    k->ctx = ctx;
    list_push_back(&c->waiting, &k->link);
    c->stats.waiting++;
    c->stats.calls++;
    if (!k->wait_for_ready && c->current == NULL)
        c->try_now = true;
    h2c_wake(c);
    *ret = k;
    return 0;
}

static int write_part(struct h2_call *k, struct slice data, struct chunk *shared)
{
    size_t max = k->client->o.max_queue;
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    if (k->sm.state >= CALL_OVER || k->dying)
        return ERR_GONE;
    if (k->ended)
        return ERR_STATE;
    if (k->out.bytes > 0 && (data.len > max || k->out.bytes > max - data.len)) {
        k->want_drained = true;
        return ERR_LIMIT;
    }
    int rc = shared != NULL ? out_add_chunk(&k->out, shared, 0)
                            : out_add(&k->out, loop_out_pool(k->client->loop), data.p, data.len);
    if (rc != 0)
        return rc;
    if (k->out.bytes > H2C_DRAINED_MARK)
        k->want_drained = true;
    h2c_conn_resume_sending(k);
    return 0;
}

int h2_call_write(struct h2_call *k, struct slice data)
{
    return write_part(k, data, NULL);
}

int h2_call_write_chunk(struct h2_call *k, struct chunk *c)
{
    return write_part(k, (struct slice){c->data, c->len}, c);
}

size_t h2_call_queued(const struct h2_call *k)
{
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    return k->out.bytes;
}

int h2_call_end(struct h2_call *k)
{
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    if (k->sm.state >= CALL_OVER || k->dying)
        return ERR_GONE;
    if (k->ended)
        return ERR_STATE;
    k->ended = true;
    k->want_drained = false;
    h2c_conn_resume_sending(k);
    return 0;
}

void h2_call_pause(struct h2_call *k, bool paused)
{
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    if (k->paused == paused || k->sm.state >= CALL_OVER)
        return;
    k->paused = paused;
    if (!paused && k->sm.state == CALL_ACTIVE)
        wake_call(k);
}

void h2_call_cancel(struct h2_call *k)
{
    struct err e = {0};
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    if (k->sm.state >= CALL_OVER)
        return;
    err_set(&e, ERR_CANCELLED, "%s: the call was cancelled", k->client->name);
    h2c_conn_reset(k, NGHTTP2_CANCEL);
    h2c_call_over(k, H2_CANCELLED, &e);
}

void h2_call_drop(struct h2_call *k)
{
    CHECK_MAGIC(k, H2C_CALL_MAGIC);
    k->user = (struct h2_call_user){0};
    h2_call_cancel(k);
}

/* ---- the client -------------------------------------------------------------------------------
 */

static void client_gone(struct h2_client *c)
{
    if (c->o.target.tls != NULL)
        stream_tls_release(c->o.target.tls);
    mem_free(c->unix_path);
    mem_free(c->host);
    mem_free(c->authority);
    mem_free(c->heap);
    c->magic = 0;
    mem_free(c);
}

static void retry_closed(void *ctx)
{
    client_gone(ctx);
}

static void deadline_closed(void *ctx)
{
    struct h2_client *c = ctx;
    loop_timer_close(&c->retry_timer, retry_closed);
}

void h2c_maybe_end(struct h2_client *c)
{
    if (!c->closing || c->ending || c->busy || !list_empty(&c->over) || !list_empty(&c->conns))
        return;
    c->ending = true;
    loop_task_cancel(&c->task);
    loop_timer_close(&c->deadline_timer, deadline_closed);
}

static void cancel_all(struct h2_client *c, struct list_node *calls)
{
    struct list_node *it;
    struct err e = {0};
    err_set(&e, ERR_CANCELLED, "%s: the client stops", c->name);
    while ((it = list_first(calls)) != NULL)
        h2c_call_over(CONTAINER_OF(it, struct h2_call, link), H2_CANCELLED, &e);
}

void h2_client_free(struct h2_client *c)
{
    struct err e = {0};
    if (c == NULL)
        return;
    CHECK_MAGIC(c, H2C_MAGIC);
    INVARIANT(!c->closing);
    c->closing = true;
    cancel_all(c, &c->waiting);
    cancel_all(c, &c->active);
    err_set(&e, ERR_CANCELLED, "%s: the client stops", c->name);
    LIST_FOR_SAFE (it, &c->conns)
        h2c_conn_end(CONTAINER_OF(it, struct h2c_conn, link), NGHTTP2_NO_ERROR, &e);
    h2c_wake(c);
}

static void set_options(struct h2_client *c, const struct h2_client_options *o)
{
    struct h2_client_options *d = &c->o;
#define DEFAULT(field, value) d->field = o->field != 0 ? o->field : (value)
    DEFAULT(max_calls, 1000);
    DEFAULT(max_waiting, 10000);
    DEFAULT(max_queue, 1u << 20);
    DEFAULT(max_head, 64u << 10);
    DEFAULT(connect_ms, 5000);
    DEFAULT(idle_ms, 300000);
    DEFAULT(ping_ms, 310000);
    DEFAULT(ping_timeout_ms, 20000);
    DEFAULT(backoff_ms, 250);
    DEFAULT(backoff_max_ms, 30000);
#undef DEFAULT
    d->ping_idle = o->ping_idle;
    if (d->ping_ms < H2_PING_FLOOR_MS)
        d->ping_ms = H2_PING_FLOOR_MS;
}

void h2c_set_ping(struct h2_client *c, uint64_t ping_ms)
{
    c->o.ping_ms = ping_ms;
}

static int copy_names(struct h2_client *c, const struct h2_client_options *o)
{
    struct buf name = BUF_FIXED(c->name);
    const struct stream_target *t = &o->target;
    bool v6 = t->host != NULL && strchr(t->host, ':') != NULL;
    if (t->unix_path != NULL) {
        c->unix_path = mem_strdup(t->unix_path);
        (void)buf_addf(&name, "unix:%s", t->unix_path);
    } else {
        c->host = mem_strdup(t->host);
        (void)buf_addf(&name, v6 ? "[%s]:%u" : "%s:%u", t->host, t->port);
    }
    c->authority = mem_strdup(o->authority != NULL   ? o->authority
                              : t->unix_path != NULL ? "localhost"
                                                     : c->name);
    c->o.target = (struct stream_target){c->unix_path, c->host, t->port, NULL};
    return (c->unix_path == NULL && c->host == NULL) || c->authority == NULL ? ERR_NO_MEMORY : 0;
}

static int check_options(const struct h2_client_options *o, struct err *e)
{
    if ((o->target.unix_path == NULL) == (o->target.host == NULL))
        return err_set(e, ERR_INVALID, "a client needs either a socket's path or a host");
    if (o->target.host != NULL && (!pseudo_ok(slice_of(o->target.host)) || o->target.port == 0))
        return err_set(e, ERR_INVALID, "host \"%s\" with port %u cannot be connected to",
                       o->target.host, o->target.port);
    if (o->authority != NULL && !pseudo_ok(slice_of(o->authority)))
        return err_set(e, ERR_INVALID, "authority \"%s\" cannot be sent", o->authority);
    return 0;
}

int h2_client_new(struct h2_client **ret, struct loop *l, const struct h2_client_options *o,
                  struct err *e)
{
    int rc = check_options(o, e);
    if (rc != 0)
        return rc;
    struct h2_client *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->magic = H2C_MAGIC;
    c->loop = l;
    set_options(c, o);
    struct list_node *const lists[] = {&c->conns, &c->waiting, &c->active, &c->over, &c->waking};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    loop_task_init(&c->task, on_task);
    c->deadline_at_ms = UINT64_MAX;
    if (copy_names(c, o) != 0) {
        client_gone(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    if (o->target.tls != NULL)
        stream_tls_hold(c->o.target.tls = o->target.tls);
    (void)loop_timer_init(l, &c->deadline_timer, on_deadline_timer, c);
    (void)loop_timer_init(l, &c->retry_timer, on_retry_timer, c);
    *ret = c;
    return 0;
}

int h2_client_tls(struct tls_context **ret, struct loop *l, const struct stream_target *target,
                  const struct tls_options *o, struct err *e)
{
    static const char *const alpn[] = {"h2", NULL};
    struct tls_options own = o != NULL ? *o : (struct tls_options){0};
    own.server = false;
    own.alpn = alpn;
    if (own.server_name == NULL)
        own.server_name = target->host;
    if (own.server_name == NULL && !own.insecure_no_verify)
        return err_set(e, ERR_INVALID, "TLS to \"%s\" needs the server's name", target->unix_path);
    return tls_context_new(ret, l, &own, e);
}

const struct h2_client_stats *h2_client_stats(const struct h2_client *c)
{
    CHECK_MAGIC(c, H2C_MAGIC);
    return &c->stats;
}

const char *h2_client_name(const struct h2_client *c)
{
    CHECK_MAGIC(c, H2C_MAGIC);
    return c->name;
}

struct loop *h2_client_loop(const struct h2_client *c)
{
    CHECK_MAGIC(c, H2C_MAGIC);
    return c->loop;
}
