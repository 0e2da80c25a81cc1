/* client.c: client pools and their calls: queueing, the request's head, telling users. */
#include "net/client.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/client_priv.h"
#include "net/http1_check.h"
#include "net/stream_priv.h"
#include <stdio.h>
#include <string.h>

enum {
    HEAD_MAX = 256 << 10, /* of a request */
    HEAD_KEEP = 4096,     /* memory that a free call keeps for its next request */
    FREE_CALLS = 32,
    EAGER_BODY = 1 << 20, /* how much a Content-Length is believed before the bytes come */
};

#define TO(state) (1u << (state))
static const struct sm_state call_states[] = {
    [CALL_FREE] = {"free", TO(CALL_WAITING) | TO(CALL_ACTIVE), false},
    [CALL_WAITING] = {"waiting", TO(CALL_FREE) | TO(CALL_ACTIVE) | TO(CALL_FINISHED), false},
    [CALL_ACTIVE] = {"active", TO(CALL_FREE) | TO(CALL_FINISHED), false},
    [CALL_FINISHED] = {"finished", TO(CALL_FREE), false},
};
static const struct sm_table call_table = {"client-call", call_states, ARRAY_LEN(call_states)};

/* ---- calls ----------------------------------------------------------------------------------- */

static struct client_call *call_take(struct client_pool *p)
{
    struct list_node *n = list_first(&p->free_calls);
    struct client_call *c;

    if (n != NULL) {
        list_remove(n);
        p->n_free--;
        return CONTAINER_OF(n, struct client_call, link);
    }
    c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return NULL;
    c->magic = CLIENT_CALL_MAGIC;
    c->pool = p;
    list_init(&c->link);
    sm_init(&c->sm, &call_table, CALL_FREE);
    answer_init(&c->answer, &client_answer_user, c);
    buf_init(&c->head, HEAD_MAX);
    buf_init(&c->body, SIZE_MAX);
    buf_init(&c->whole, SIZE_MAX);
    return c;
}

/* Empties one of the request's own buffers; the memory is kept. */
static void forget(const struct client_call *c, struct buf *b)
{
    if (c->secret && b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_clear(b);
}

static void call_free(struct client_call *c)
{
    answer_done(&c->answer);
    buf_done(&c->head);
    buf_done(&c->body);
    buf_done(&c->whole);
    c->magic = 0;
    mem_free(c);
}

void client_call_recycle(struct client_call *c)
{
    struct client_pool *p = c->pool;

    if (c->sm.state != CALL_FREE)
        sm_move(&c->sm, CALL_FREE, p->name);
    forget(c, &c->head);
    forget(c, &c->body);
    c->secret = false;
    if (p->closing || p->n_free >= FREE_CALLS) {
        call_free(c);
        return;
    }
    answer_shrink(&c->answer);
    if (c->head.cap > HEAD_KEEP)
        buf_done(&c->head);
    buf_done(&c->body);
    buf_done(&c->whole);
    list_push_front(&p->free_calls, &c->link);
    p->n_free++;
}

void client_call_tell(struct client_call *c, const struct err *e)
{
    struct slice body = c->whole.len > 0 ? (struct slice){c->whole.data, c->whole.len} : c->piece;

    sm_move(&c->sm, CALL_FREE, c->pool->name);
    if (e->code != 0)
        c->pool->stats.failed++;
    if (c->fetch == NULL)
        c->user.done(c->ctx, e);
    else if (e->code == 0)
        c->fetch(c->ctx, e, c->response.status, &c->response, body);
    else
        c->fetch(c->ctx, e, 0, NULL, (struct slice){NULL, 0});
    client_call_recycle(c);
}

void client_call_finish(struct client_call *c, const struct err *e)
{
    struct client_pool *p = c->pool;

    sm_move(&c->sm, CALL_FINISHED, p->name);
    c->error = *e;
    list_push_back(&p->finished, &c->link);
    loop_post(p->loop, &p->task);
}

int client_call_keep_piece(struct client_call *c)
{
    if (c->piece.len > 0)
        (void)buf_add(&c->whole, c->piece.p, c->piece.len);
    c->piece = (struct slice){NULL, 0};
    return c->whole.err;
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct client_call *c = ctx;
    uint64_t length = c->answer.parser.content_length;

    if (c->fetch == NULL) {
        if (c->user.head != NULL)
            c->user.head(c->ctx, r);
        return;
    }
    c->response = *r;
    c->whole_max = length > 0 && length <= EAGER_BODY ? (size_t)length : 0;
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct client_call *c = ctx;

    if (c->fetch == NULL) {
        if (c->user.body != NULL)
            c->user.body(c->ctx, p, n);
        return;
    }
    /* A body in one piece is handed over where it lies. Failures stick in `whole` and end the call.
     */
    if (c->piece.len == 0 && c->whole.len == 0) {
        if (n < c->whole_max)
            (void)buf_reserve(&c->whole, c->whole_max);
        c->piece = (struct slice){p, n};
        return;
    }
    (void)client_call_keep_piece(c);
    (void)buf_add(&c->whole, p, n);
}

const struct answer_user client_answer_user = {.head = on_head, .body = on_body};

/* ---- the request's head ---------------------------------------------------------------------- */

static bool value_is_clean(struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        if (!http1_is_value((unsigned char)v.p[i]))
            return false;
    }
    return true;
}

static bool name_is_clean(struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        if (!http1_is_token((unsigned char)v.p[i]))
            return false;
    }
    return v.len > 0;
}

static bool target_is_clean(struct slice t)
{
    for (size_t i = 0; i < t.len; i++) {
        if ((unsigned char)t.p[i] <= ' ' || t.p[i] == 0x7f)
            return false;
    }
    return t.len > 0 && (t.p[0] == '/' || (t.len == 1 && t.p[0] == '*'));
}

static int add_headers(struct buf *b, const struct client_request *r, struct err *e)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct http_header *h = &r->headers[i];

        if (!name_is_clean(h->name) || !value_is_clean(h->value))
            return err_set(e, ERR_INVALID, "header \"%.*s\" cannot be sent", (int)h->name.len,
                           h->name.p);
        buf_add(b, h->name.p, h->name.len);
        buf_addlit(b, ": ");
        buf_add(b, h->value.p, h->value.len);
        buf_addlit(b, "\r\n");
    }
    return 0;
}

static bool wants_length(enum http_method m)
{
    return m == HTTP_METHOD_POST || m == HTTP_METHOD_PUT || m == HTTP_METHOD_PATCH;
}

/* More than its head can have; what does not fit in SIZE_MAX is over the limit of heads anyway. */
static size_t head_bound(const struct client_call *c, const struct client_request *r)
{
    size_t n = r->target.len + c->pool->common.len + 128;

    if (r->content_type != NULL)
        n += strlen(r->content_type);
    for (size_t i = 0; i < r->n_headers; i++)
        n += r->headers[i].name.len + r->headers[i].value.len + 4;
    return n;
}

static int format_head(struct client_call *c, const struct client_request *r, struct err *e)
{
    const char *method = http_method_name(r->method);
    const char *type = r->content_type != NULL ? r->content_type : "application/json";
    struct buf *b = &c->head;

    if (method[0] == '\0' || r->method == HTTP_METHOD_CONNECT)
        return err_set(e, ERR_INVALID, "a method that cannot be sent");
    if (!target_is_clean(r->target))
        return err_set(e, ERR_INVALID, "target \"%.*s\" cannot be sent", (int)r->target.len,
                       r->target.p);
    if (r->body.p != NULL && !value_is_clean(slice_of(type)))
        return err_set(e, ERR_INVALID, "content type \"%s\" cannot be sent", type);
    buf_clear(b);
    if (c->secret && buf_reserve(b, head_bound(c, r)) != 0) /* growing would leave copies */
        return err_set(e, b->err, "the request's head: %s", err_row(b->err)->text);
    buf_adds(b, method);
    buf_addc(b, ' ');
    buf_add(b, r->target.p, r->target.len);
    buf_add(b, c->pool->common.data, c->pool->common.len);
    if (add_headers(b, r, e) != 0)
        return ERR_INVALID;
    if (r->body.p != NULL) {
        buf_addlit(b, "Content-Type: ");
        buf_adds(b, type);
        buf_addlit(b, "\r\n");
    }
    if (r->body.p != NULL || wants_length(r->method)) {
        buf_addlit(b, "Content-Length: ");
        buf_addu(b, r->body.len);
        buf_addlit(b, "\r\n");
    }
    buf_addlit(b, "\r\n");
    return b->err == 0 ? 0 : err_set(e, b->err, "the request's head: %s", err_row(b->err)->text);
}

/* ---- places ---------------------------------------------------------------------------------- */

static bool has_place(struct client_pool *p)
{
    return !list_empty(&p->idle) || p->stats.open < p->max_connections;
}

/* Puts a call on an idle connection, or on a new one. The call is not in a list. */
static int give_place(struct client_pool *p, struct client_call *c, struct slice body,
                      struct err *e)
{
    struct err left = {.code = ERR_GONE}; /* those who left are no failure of the call */

    while (left.code == ERR_GONE && !list_empty(&p->idle)) {
        left.code = 0;
        (void)client_conn_send(CONTAINER_OF(p->idle.next, struct client_conn, idle), c, body,
                               &left);
    }
    if (left.code == ERR_GONE)
        return client_conn_open(p, c, body, e);
    if (left.code != 0 && e != NULL)
        *e = left;
    return left.code;
}

static void arm_waiting(struct client_pool *p)
{
    uint64_t now = loop_now_ms(p->loop), at;

    if (list_empty(&p->waiting)) {
        loop_timer_stop(&p->timer);
        return;
    }
    at = CONTAINER_OF(p->waiting.next, struct client_call, link)->wait_until_ms;
    loop_timer_start(&p->timer, at > now ? at - now : 0, 0);
}

static void stop_waiting(struct client_call *c)
{
    list_remove(&c->link);
    c->pool->stats.waiting--;
}

void client_pool_dispatch(struct client_pool *p)
{
    if (p->closing || list_empty(&p->waiting))
        return;
    while (!list_empty(&p->waiting) && has_place(p)) {
        struct client_call *c = CONTAINER_OF(p->waiting.next, struct client_call, link);
        struct err e = {0};

        stop_waiting(c);
        if (give_place(p, c, (struct slice){c->body.data, c->body.len}, &e) != 0) {
            client_call_finish(c, &e);
            continue;
        }
        sm_move(&c->sm, CALL_ACTIVE, p->name);
        forget(c, &c->body);
        buf_done(&c->body);
    }
    arm_waiting(p);
}

static void on_waiting_timer(void *ctx)
{
    struct client_pool *p = ctx;
    uint64_t now = loop_now_ms(p->loop);

    while (!list_empty(&p->waiting)) {
        struct client_call *c = CONTAINER_OF(p->waiting.next, struct client_call, link);
        struct err e = {0};

        if (c->wait_until_ms > now)
            break;
        stop_waiting(c);
        p->stats.timeouts++;
        err_set(&e, ERR_TIMEOUT, "%s: no connection became free within %llu ms", p->name,
                (unsigned long long)p->connect_ms);
        client_call_finish(c, &e);
    }
    arm_waiting(p);
}

static int wait_for_place(struct client_call *c, struct slice body, struct err *e)
{
    struct client_pool *p = c->pool;

    if (p->stats.waiting >= p->max_waiting)
        return err_set(e, ERR_BUSY, "%s: %zu calls are waiting already", p->name, p->stats.waiting);
    if (body.len > 0 && buf_add(&c->body, body.p, body.len) != 0)
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", p->name);
    sm_move(&c->sm, CALL_WAITING, p->name);
    c->wait_until_ms = loop_now_ms(p->loop) + p->connect_ms;
    list_push_back(&p->waiting, &c->link);
    p->stats.waiting++;
    if (p->stats.waiting == 1)
        arm_waiting(p);
    return 0;
}

/* ---- the pool -------------------------------------------------------------------------------- */

static void pool_closed(void *ctx)
{
    struct client_pool *p = ctx;

    while (!list_empty(&p->free_calls)) {
        struct client_call *c = CONTAINER_OF(p->free_calls.next, struct client_call, link);
        list_remove(&c->link);
        call_free(c);
    }
    if (p->target.tls != NULL)
        stream_tls_release(p->target.tls);
    mem_free(p->unix_path);
    mem_free(p->host_name);
    buf_done(&p->common);
    p->magic = 0;
    mem_free(p);
}

void client_pool_maybe_end(struct client_pool *p)
{
    if (!p->closing || p->ending || !list_empty(&p->finished) || !list_empty(&p->conns))
        return;
    p->ending = true;
    loop_task_cancel(&p->task);
    loop_timer_close(&p->timer, pool_closed);
}

static void on_task(struct loop_task *t)
{
    struct client_pool *p = CONTAINER_OF(t, struct client_pool, task);

    while (!list_empty(&p->resumed)) {
        struct client_conn *k = CONTAINER_OF(p->resumed.next, struct client_conn, resumed);
        list_remove(&k->resumed);
        client_conn_go_on(k);
    }
    while (!list_empty(&p->finished)) {
        struct client_call *c = CONTAINER_OF(p->finished.next, struct client_call, link);
        list_remove(&c->link);
        client_call_tell(c, &c->error);
    }
    client_pool_maybe_end(p);
}

static void format_common(struct client_pool *p, const struct client_options *o)
{
    struct buf *b = &p->common;

    buf_init(b, HEAD_MAX / 4);
    buf_addlit(b, " HTTP/1.1\r\nHost: ");
    buf_adds(b, o->host != NULL ? o->host : o->target.host != NULL ? o->target.host : "localhost");
    buf_addlit(b, "\r\n");
    if (o->user_agent == NULL || o->user_agent[0] != '\0') {
        buf_addlit(b, "User-Agent: ");
        buf_adds(b, o->user_agent != NULL ? o->user_agent : "gantry/" GANTRY_VERSION);
        buf_addlit(b, "\r\nAccept: */*\r\n");
    }
}

static int check_options(const struct client_options *o, struct err *e)
{
    if ((o->target.unix_path == NULL) == (o->target.host == NULL))
        return err_set(e, ERR_INVALID, "a client needs either a socket's path or a host");
    if ((o->host != NULL && (o->host[0] == '\0' || !value_is_clean(slice_of(o->host)))) ||
        (o->user_agent != NULL && !value_is_clean(slice_of(o->user_agent))))
        return err_set(e, ERR_INVALID, "a Host or User-Agent that cannot be sent");
    return 0;
}

static void set_limits(struct client_pool *p, const struct client_options *o)
{
    p->max_connections = o->max_connections > 0 ? o->max_connections : 100;
    p->max_waiting = o->max_waiting > 0 ? o->max_waiting : 1000;
    p->max_idle = o->max_idle > 0 ? o->max_idle : p->max_connections;
    p->max_head = o->max_head > 0 ? o->max_head : 64 << 10;
    p->idle_ms = o->idle_ms > 0 ? o->idle_ms : 5000;
    p->connect_ms = o->connect_ms > 0 ? o->connect_ms : 5000;
}

int client_pool_new(struct client_pool **ret, struct loop *l, const struct client_options *o,
                    struct err *e)
{
    struct client_pool *p;
    int r = check_options(o, e);

    if (r != 0)
        return r;
    p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    p->magic = CLIENT_POOL_MAGIC;
    p->loop = l;
    set_limits(p, o);
    struct list_node *const lists[] = {&p->conns,    &p->idle,    &p->waiting,
                                       &p->finished, &p->resumed, &p->free_calls};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    loop_task_init(&p->task, on_task);
    format_common(p, o);
    if (o->target.unix_path != NULL) {
        p->unix_path = mem_strdup(o->target.unix_path);
        snprintf(p->name, sizeof(p->name), "unix:%s", o->target.unix_path);
    } else {
        p->host_name = mem_strdup(o->target.host);
        snprintf(p->name, sizeof(p->name), "%s:%u", o->target.host, o->target.port);
    }
    p->target = (struct stream_target){
        .unix_path = p->unix_path, .host = p->host_name, .port = o->target.port};
    if (o->target.tls != NULL)
        stream_tls_hold(p->target.tls = o->target.tls);
    if ((p->unix_path == NULL && p->host_name == NULL) || p->common.err != 0) {
        pool_closed(p); /* its timer was not begun */
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    loop_timer_init(l, &p->timer, on_waiting_timer, p);
    *ret = p;
    return 0;
}

void client_pool_free(struct client_pool *p)
{
    struct err e = {0};

    if (p == NULL)
        return;
    CHECK_MAGIC(p, CLIENT_POOL_MAGIC);
    INVARIANT(!p->closing);
    p->closing = true;
    err_set(&e, ERR_CANCELLED, "%s: the client stops", p->name);
    while (!list_empty(&p->waiting)) {
        struct client_call *c = CONTAINER_OF(p->waiting.next, struct client_call, link);
        stop_waiting(c);
        client_call_finish(c, &e);
    }
    LIST_FOR (n, &p->conns) {
        struct client_conn *k = CONTAINER_OF(n, struct client_conn, link);
        struct client_call *c = k->call;
        client_conn_close(k);
        if (c != NULL)
            client_call_finish(c, &e);
    }
    loop_post(p->loop, &p->task); /* ends the pool, or tells the calls first */
}

size_t client_pool_open(const struct client_pool *p)
{
    CHECK_MAGIC(p, CLIENT_POOL_MAGIC);
    return p->stats.open;
}

const struct client_stats *client_pool_stats(const struct client_pool *p)
{
    CHECK_MAGIC(p, CLIENT_POOL_MAGIC);
    return &p->stats;
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool is_idempotent(enum http_method m)
{
    return m != HTTP_METHOD_POST && m != HTTP_METHOD_PATCH;
}

static void prepare(struct client_call *c, const struct client_request *r, void *ctx)
{
    size_t max_body = r->max_body > 0 ? r->max_body : 8 << 20;

    c->ctx = ctx;
    c->conn = NULL;
    c->first_byte_ms = r->first_byte_ms > 0 ? r->first_byte_ms : 5000;
    c->idle_ms = r->idle_ms > 0 ? r->idle_ms : 5000;
    c->may_retry = r->body.p == NULL && is_idempotent(r->method);
    c->secret = r->secret;
    c->paused = c->in_feed = c->dropped = false;
    c->piece = (struct slice){NULL, 0};
    c->whole_max = 0;
    answer_begin(&c->answer, r->method == HTTP_METHOD_HEAD, c->pool->max_head, max_body);
}

static int send_call(struct client_pool *p, const struct client_request *r,
                     const struct client_user *u, client_fetch_fn fetch, void *ctx,
                     struct client_call **ret, struct err *e)
{
    struct client_call *c;
    int rc;

    CHECK_MAGIC(p, CLIENT_POOL_MAGIC);
    if (p->closing)
        return err_set(e, ERR_STATE, "%s: the client is being stopped", p->name);
    c = call_take(p);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", p->name);
    prepare(c, r, ctx);
    c->fetch = fetch;
    if (u != NULL)
        c->user = *u;
    rc = format_head(c, r, e);
    if (rc == 0 && (!list_empty(&p->waiting) || !has_place(p))) {
        rc = wait_for_place(c, r->body, e);
    } else if (rc == 0) {
        rc = give_place(p, c, r->body, e);
        if (rc == 0)
            sm_move(&c->sm, CALL_ACTIVE, p->name);
    }
    if (rc != 0) {
        client_call_recycle(c);
        return rc;
    }
    p->stats.calls++;
    if (ret != NULL)
        *ret = c;
    return 0;
}

int client_send(struct client_pool *p, const struct client_request *r, const struct client_user *u,
                void *ctx, struct client_call **ret, struct err *e)
{
    return send_call(p, r, u, NULL, ctx, ret, e);
}

int client_fetch(struct client_pool *p, const struct client_request *r, client_fetch_fn fn,
                 void *ctx, struct client_call **ret, struct err *e)
{
    return send_call(p, r, NULL, fn, ctx, ret, e);
}

void client_cancel(struct client_call *c)
{
    struct client_pool *p;

    CHECK_MAGIC(c, CLIENT_CALL_MAGIC);
    INVARIANT(c->sm.state != CALL_FREE);
    p = c->pool;
    p->stats.cancelled++;
    if (c->sm.state == CALL_WAITING)
        stop_waiting(c);
    else if (c->sm.state == CALL_FINISHED)
        list_remove(&c->link);
    else if (c->conn != NULL)
        client_conn_close(c->conn);
    if (c->in_feed)
        c->dropped = true;
    else
        client_call_recycle(c);
    client_pool_dispatch(p);
}

void client_pause(struct client_call *c, bool paused)
{
    CHECK_MAGIC(c, CLIENT_CALL_MAGIC);
    if (c->paused == paused)
        return;
    c->paused = paused;
    if (c->sm.state == CALL_ACTIVE && c->conn != NULL)
        client_conn_pause(c->conn, paused);
}
