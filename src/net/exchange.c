/* exchange.c: one request and its answer, whatever the protocol: states, body limits, collecting.
 */
#include "net/exchange.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/exchange_priv.h"
#include <string.h>

enum { EXCHANGE_MAGIC = 0x58434847 };

void exchange_init(struct exchange *x, const struct exchange_ops *ops, struct server_conn *c)
{
    *x = (struct exchange){
        .magic = EXCHANGE_MAGIC,
        .ops = ops,
        .conn = c,
        .state = X_HEAD,
        .body_max = server_conn_limits(c)->max_body,
    };
}

/* ---- what protocols call ---- */

static void answer_text(struct exchange *x, int status, const char *text)
{
    const struct http_response r = {.status = status, .content_type = "text/plain; charset=utf-8"};

    (void)exchange_respond(x, &r, slice_of(text));
}

static void tell_end(struct exchange *x, int err)
{
    x->request_ended = x->end_told = true;
    if (x->user != NULL && x->user->end != NULL)
        x->user->end(x->ctx, x, err);
}

/* The body is, or will be, longer than allowed. */
static void refuse_body(struct exchange *x)
{
    bool tell = x->state < X_ANSWERED;

    if (x->state == X_OPEN)
        answer_text(x, 413, "Content Too Large");
    if (tell && !x->end_told)
        tell_end(x, ERR_LIMIT);
    x->end_told = true;
}

void exchange_dispatch(struct exchange *x)
{
    struct server_stats *st = server_counts(x->conn->server);

    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->state = X_OPEN;
    x->counted = true;
    st->requests++;
    st->exchanges++;
    server_handle(x);
    if (x->state == X_CLOSED)
        return;
    if (x->state == X_OPEN && x->user == NULL) {
        answer_text(x, 500, "Internal Server Error");
        return;
    }
    if (x->state < X_ANSWERED && x->req.content_length > 0 &&
        (uint64_t)x->req.content_length > x->body_max)
        refuse_body(x);
    else if (x->request_ended)
        exchange_end(x, 0);
}

void exchange_feed(struct exchange *x, const char *p, size_t n)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->end_told)
        return;
    x->body_seen += n;
    if (x->body_seen > x->body_max) {
        refuse_body(x);
        return;
    }
    if (x->state < X_ANSWERED && x->user != NULL && x->user->body != NULL)
        x->user->body(x->ctx, x, p, n);
}

void exchange_end(struct exchange *x, int err)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->request_ended = true;
    if (x->end_told)
        return;
    if (x->state < X_ANSWERED)
        tell_end(x, err);
    x->end_told = true;
}

void exchange_close(struct exchange *x, int err)
{
    const struct exchange_user *u = x->user;

    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return;
    x->state = X_CLOSED;
    x->user = NULL;
    if (x->counted)
        server_counts(x->conn->server)->exchanges--;
    if (u != NULL && u->closed != NULL)
        u->closed(x->ctx, x, err);
}

/* ---- what handlers ask ---- */

const struct http_request *exchange_request(const struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return &x->req;
}

struct slice exchange_header(const struct exchange *x, const char *name)
{
    const struct http_header *h = http_find(x->req.headers, x->req.n_headers, name);

    return h != NULL ? h->value : (struct slice){NULL, 0};
}

const struct http_header *exchange_trailers(const struct exchange *x, size_t *n)
{
    *n = x->n_trailers;
    return x->trailers;
}

const struct peer *exchange_peer(const struct exchange *x)
{
    return stream_peer(x->conn->stream);
}

bool exchange_peer_in_group(const struct exchange *x, gid_t gid)
{
    return stream_peer_in_group(x->conn->stream, gid);
}

struct loop *exchange_loop(struct exchange *x)
{
    return stream_loop(x->conn->stream);
}

static bool id_is_valid(struct slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.p[i], lower = (char)(c | 0x20);
        if (!((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || c == '-' || c == '.' ||
              c == '_'))
            return false;
    }
    return id.len > 0 && id.len <= EXCHANGE_ID_MAX;
}

const char *exchange_id(struct exchange *x)
{
    static const char hex[] = "0123456789abcdef";
    static uint64_t next;

    if (x->id[0] != '\0')
        return x->id;
    const struct http_header *given = http_find(x->req.headers, x->req.n_headers, "x-request-id");
    if (given != NULL && id_is_valid(given->value)) {
        memcpy(x->id, given->value.p, given->value.len);
        return x->id;
    }
    if (next == 0) {
        const struct clock *c = loop_clock(exchange_loop(x));
        /* Starts somewhere else in each process; without randomness the time will do. */
        if (c->random(c->ctx, &next, sizeof(next)) != 0)
            next = (uint64_t)clock_real_ns(c);
    }
    next++;
    for (size_t i = 0; i < 16; i++)
        x->id[i] = hex[(next >> (60 - 4 * i)) & 15];
    return x->id;
}

void exchange_set_user(struct exchange *x, const struct exchange_user *u, void *ctx)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return;
    x->user = u;
    x->ctx = ctx;
    if (u != NULL && u->body != NULL && x->ops->want_body != NULL)
        x->ops->want_body(x);
}

void *exchange_ctx(struct exchange *x)
{
    return x->ctx;
}

void exchange_pause(struct exchange *x)
{
    if (x->paused || x->state == X_CLOSED)
        return;
    x->paused = true;
    x->ops->pause(x, true);
}

void exchange_resume(struct exchange *x)
{
    if (!x->paused || x->state == X_CLOSED)
        return;
    x->paused = false;
    x->ops->pause(x, false);
}

void exchange_own_body(struct exchange *x, bool patient)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->body_max = SIZE_MAX;
    x->patient = patient;
}

void exchange_drop_body(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return;
    bool ended = x->request_ended;
    x->request_ended = x->end_told = true;
    exchange_resume(x);
    if (!ended && x->ops->drop_body != NULL)
        x->ops->drop_body(x);
}

/* ---- collecting ---- */

struct collect {
    struct buf body;
    void (*done)(void *ctx, struct exchange *x, int err, struct slice body);
    void *ctx;
    struct loop_task late; /* the body had ended before anybody asked for it */
    struct exchange *x;
};

static void collect_free(struct collect *c)
{
    loop_task_cancel(&c->late);
    buf_done(&c->body);
    mem_free(c);
}

/* Takes the exchange's user away first: done may set another, or answer. */
static void collect_finish(struct collect *c, struct exchange *x, int err)
{
    if (x->ctx == c)
        exchange_set_user(x, NULL, NULL);
    if (err == 0 && c->body.err != 0)
        err = c->body.err;
    c->done(c->ctx, x, err,
            err == 0 ? (struct slice){c->body.data, c->body.len} : (struct slice){NULL, 0});
    collect_free(c);
    /* Nobody is left who could answer. */
    if (err == 0 && x->state == X_OPEN && x->user == NULL)
        answer_text(x, 500, "Internal Server Error");
}

static void collect_body(void *ctx, struct exchange *x, const char *p, size_t n)
{
    struct collect *c = ctx;

    if (buf_add(&c->body, p, n) == 0)
        return;
    if (c->body.err == ERR_NO_MEMORY)
        answer_text(x, 503, "Service Unavailable");
    else
        answer_text(x, 413, "Content Too Large");
    x->request_ended = x->end_told = true;
    collect_finish(c, x, c->body.err);
}

static void collect_end(void *ctx, struct exchange *x, int err)
{
    collect_finish(ctx, x, err);
}

static void collect_closed(void *ctx, struct exchange *x, int err)
{
    collect_finish(ctx, x, err != 0 ? err : ERR_GONE);
}

static void collect_late(struct loop_task *t)
{
    struct collect *c = CONTAINER_OF(t, struct collect, late);

    collect_finish(c, c->x, 0);
}

static const struct exchange_user collect_user = {
    .body = collect_body,
    .end = collect_end,
    .closed = collect_closed,
};

void exchange_collect(struct exchange *x, size_t max,
                      void (*done)(void *ctx, struct exchange *x, int err, struct slice body),
                      void *ctx)
{
    struct collect *c = mem_zalloc(sizeof(*c));

    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (c == NULL) {
        answer_text(x, 503, "Service Unavailable");
        exchange_set_user(x, NULL, NULL);
        done(ctx, x, ERR_NO_MEMORY, (struct slice){NULL, 0});
        return;
    }
    if (max < x->body_max)
        x->body_max = max;
    buf_init(&c->body, x->body_max);
    loop_task_init(&c->late, collect_late);
    c->done = done;
    c->ctx = ctx;
    c->x = x;
    exchange_set_user(x, &collect_user, c);
    if (x->end_told)
        loop_post(exchange_loop(x), &c->late);
}

/* ---- answering ---- */

int exchange_respond(struct exchange *x, const struct http_response *r, struct slice body)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_OPEN)
        return ERR_STATE;
    x->state = X_ANSWERED;
    return x->ops->respond(x, r, body);
}

int exchange_start(struct exchange *x, const struct http_response *r)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_OPEN)
        return ERR_STATE;
    int rc = x->ops->start(x, r);
    if (rc == 0)
        x->state = X_STARTED;
    return rc;
}

int exchange_write(struct exchange *x, struct slice data)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_STARTED)
        return ERR_STATE;
    return data.len == 0 ? 0 : x->ops->write(x, data, NULL);
}

int exchange_write_chunk(struct exchange *x, struct chunk *c)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_STARTED)
        return ERR_STATE;
    return c->len == 0 ? 0 : x->ops->write(x, (struct slice){c->data, c->len}, c);
}

size_t exchange_queued(const struct exchange *x)
{
    return x->state == X_CLOSED ? 0 : x->ops->queued(x);
}

int exchange_finish(struct exchange *x, const struct http_header *trailers, size_t n)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_STARTED)
        return ERR_STATE;
    x->state = X_ANSWERED;
    return x->ops->finish(x, trailers, n);
}

void exchange_abort(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state != X_CLOSED)
        x->ops->abort(x);
}

int exchange_upgrade(struct exchange *x, const struct http_header *headers, size_t n,
                     void (*taken)(void *ctx, struct stream *s, struct slice early), void *ctx)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->state == X_CLOSED)
        return ERR_GONE;
    if (x->state != X_OPEN)
        return ERR_STATE;
    if (x->ops->upgrade == NULL)
        return ERR_UNSUPPORTED;
    return x->ops->upgrade(x, headers, n, taken, ctx);
}
