#include "gantryd/traces.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"
#include "gantryd/traces_wire.h"
#include "net/client.h"
#include "net/tls.h"
#include "net/url.h"

#include <string.h>

#define TRACES_MAGIC 0x74726163u
#define DEFAULT_PATH "/v1/traces"
#define BATCH_BYTES (256u * 1024u)
#define HEAD_BYTES 16384u

enum {
    BATCH_SPANS = 512,
    BATCHES = 8, /* that wait, full or not */
    LINGER_MS = 1000,
    LIMIT_MS = 10000,
    CONNECT_MS = 5000,
    ANSWER_MAX = 64 * 1024,
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 30000,
    LOG_EVERY_MS = 60000,
    RETIRE_MS = 2000,
};

struct batch {
    struct list_node link;
    size_t n;
    struct buf spans;
};

struct traces {
    uint32_t magic;
    struct loop *loop;
    char *service, *node_id, *path, *endpoint;
    struct span_sink sink;
    struct tls_context *tls;
    struct client_pool *pool;
    struct client_call *call;
    struct list_node waiting; /* struct batch, the oldest first; spans go to the last one */
    size_t n_waiting;
    struct batch *sending; /* not among the waiting */
    struct loop_timer timer, limit;
    size_t timers; /* made */
    bool armed, pausing, flushing, retired;
    uint64_t pause_ms; /* 0: the last try was good */
    uint64_t logged_ms;
    void (*flushed)(void *ctx);
    void *flushed_ctx;
    uint64_t exported, dropped, batches, failures;
};

/* --- Batches --- */

static void batch_free(struct batch *b)
{
    if (b == NULL)
        return;
    buf_done(&b->spans);
    mem_free(b);
}

/* There is one. */
static struct batch *last_of(struct traces *t)
{
    return CONTAINER_OF(t->waiting.prev, struct batch, link);
}

static struct batch *take_first(struct traces *t)
{
    struct batch *b = CONTAINER_OF(list_first(&t->waiting), struct batch, link);
    list_remove(&b->link);
    t->n_waiting--;
    return b;
}

static void drop_oldest(struct traces *t)
{
    struct batch *b = take_first(t);
    t->dropped += b->n;
    batch_free(b);
}

static struct batch *batch_new(struct traces *t)
{
    struct batch *b = mem_zalloc(sizeof(*b));
    if (b == NULL)
        return NULL;
    buf_init(&b->spans, BATCH_BYTES);
    if (t->n_waiting >= BATCHES)
        drop_oldest(t);
    list_push_back(&t->waiting, &b->link);
    t->n_waiting++;
    return b;
}

static void send_next(struct traces *t);

static void arm(struct traces *t, uint64_t ms)
{
    t->armed = true;
    loop_timer_start(&t->timer, ms, 0);
}

static void on_span(void *ctx, const struct span_done *d)
{
    struct traces *t = ctx;
    struct batch *b = NULL;
    int rc = ERR_LIMIT;
    if (t->n_waiting > 0) {
        b = last_of(t);
        if (b->n < BATCH_SPANS && (rc = traces_add_span(&b->spans, d)) != 0)
            b->spans.err = 0; /* what was in it before is still whole */
    }
    if (rc == ERR_LIMIT) {
        b = batch_new(t);
        rc = b != NULL ? traces_add_span(&b->spans, d) : ERR_NO_MEMORY;
        if (b != NULL)
            b->spans.err = 0;
    }
    if (rc != 0) {
        t->dropped++;
        return;
    }
    b->n++;
    /* A full batch goes at once, but not from here: somebody is in the middle of his work. */
    if (b->n == BATCH_SPANS && !t->pausing && t->sending == NULL)
        arm(t, 0);
    else if (!t->armed)
        arm(t, LINGER_MS);
}

/* --- Sending --- */

static void flush_over(struct traces *t)
{
    void (*done)(void *) = t->flushed;
    t->flushed = NULL;
    loop_timer_stop(&t->limit);
    if (t->retired) { /* not from here: somebody is in the middle of his work */
        loop_timer_start(&t->limit, 0, 0);
        return;
    }
    if (done != NULL)
        done(t->flushed_ctx);
}

static void go_on(struct traces *t)
{
    t->armed = false;
    if (t->n_waiting == 0 || t->sending != NULL) {
        if (t->flushing && t->sending == NULL)
            flush_over(t);
        return;
    }
    arm(t, t->flushing || t->n_waiting > 1 ? 0 : LINGER_MS);
}

static void tell_failure(struct traces *t, const char *what, const struct err *e, int status)
{
    uint64_t now = loop_now_ms(t->loop);
    t->failures++;
    if (t->logged_ms != 0 && now - t->logged_ms < LOG_EVERY_MS)
        return;
    t->logged_ms = now;
    LOG(WARN, "traces", "traces-not-sent", what, LF_STR("error", e->msg), LF_INT("status", status),
        LF_INT("waiting", t->n_waiting), LF_INT("dropped_so_far", t->dropped));
}

/* It goes back to where it was, if there is room. */
static void try_later(struct traces *t)
{
    struct batch *b = STEAL(t->sending);
    uint32_t random = 0;
    const struct clock *clock = loop_clock(t->loop);
    if (t->n_waiting >= BATCHES) {
        t->dropped += b->n;
        batch_free(b);
    } else {
        list_push_front(&t->waiting, &b->link);
        t->n_waiting++;
    }
    t->pause_ms = t->pause_ms == 0 ? PAUSE_MIN_MS : t->pause_ms * 2;
    if (t->pause_ms > PAUSE_MAX_MS)
        t->pause_ms = PAUSE_MAX_MS;
    (void)clock->random(clock->ctx, &random, sizeof(random));
    t->pausing = true;
    arm(t, t->pause_ms / 2 + random % t->pause_ms); /* half to one and a half */
}

static bool may_succeed_later(const struct err *e, int status)
{
    return e->code != 0 || status == 429 || status == 502 || status == 503 || status == 504;
}

static void on_sent(void *ctx, const struct err *e, int status, const struct client_response *r,
                    struct slice body)
{
    struct traces *t = ctx;
    (void)r;
    (void)body;
    t->call = NULL;
    if (e->code == 0 && status >= 200 && status < 300) {
        t->exported += t->sending->n;
        t->batches++;
        t->pause_ms = 0;
        batch_free(STEAL(t->sending));
        go_on(t);
    } else if (may_succeed_later(e, status)) {
        tell_failure(t, "the collector does not take traces, they are tried again", e, status);
        try_later(t);
    } else {
        tell_failure(t, "the collector refuses traces, they are dropped", e, status);
        t->dropped += t->sending->n;
        batch_free(STEAL(t->sending));
        go_on(t);
    }
}

static void send_next(struct traces *t)
{
    struct batch *b = take_first(t);
    struct buf body = BUF_INIT(BATCH_BYTES + HEAD_BYTES);
    struct err e = {0};
    if (b->n == 0) { /* there was memory for it, and none for a span */
        batch_free(b);
        go_on(t);
        return;
    }
    t->sending = b;
    int rc = traces_add_head(&body, t->service, t->node_id, b->spans.len);
    if (rc == 0)
        rc = buf_add(&body, b->spans.data, b->spans.len);
    const struct client_request r = {.method = HTTP_METHOD_POST,
                                     .target = slice_of(t->path),
                                     .body = {body.data, body.len},
                                     .content_type = "application/x-protobuf",
                                     .first_byte_ms = LIMIT_MS,
                                     .idle_ms = LIMIT_MS,
                                     .max_body = ANSWER_MAX};
    if (rc != 0)
        (void)err_set(&e, rc, "out of memory");
    else
        rc = client_fetch(t->pool, &r, on_sent, t, &t->call, &e);
    buf_done(&body);
    if (rc == 0)
        return;
    tell_failure(t, "traces cannot be sent now, they are tried again", &e, 0);
    try_later(t);
}

static void on_timer(void *ctx)
{
    struct traces *t = ctx;
    t->armed = false;
    t->pausing = false;
    if (t->sending == NULL && t->n_waiting > 0)
        send_next(t);
    else
        go_on(t);
}

static void on_limit(void *ctx)
{
    struct traces *t = ctx;
    if (t->retired)
        traces_free(t);
    else
        flush_over(t);
}

static void flush(struct traces *t, uint64_t limit_ms)
{
    t->flushing = true;
    if (t->n_waiting == 0 && t->sending == NULL) {
        flush_over(t);
        return;
    }
    loop_timer_start(&t->limit, limit_ms, 0);
    if (t->sending == NULL)
        arm(t, 0);
}

void traces_retire(struct traces *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TRACES_MAGIC);
    INVARIANT(span_sink != &t->sink);
    t->retired = true;
    flush(t, RETIRE_MS);
}

void traces_flush(struct traces *t, uint64_t limit_ms, void (*done)(void *ctx), void *ctx)
{
    if (t == NULL) {
        done(ctx);
        return;
    }
    CHECK_MAGIC(t, TRACES_MAGIC);
    span_sink_set(NULL);
    t->flushed = done;
    t->flushed_ctx = ctx;
    flush(t, limit_ms);
}

/* --- Life --- */

static int make_pool(struct traces *t, const struct config_traces *c, struct err *e)
{
    struct url u;
    int rc = url_parse(&u, c->endpoint, true, e);
    if (rc == 0 && u.tls) {
        static const char *const alpn[] = {"http/1.1", NULL};
        const struct tls_options o = {.alpn = alpn, .server_name = u.host};
        rc = tls_context_new(&t->tls, t->loop, &o, e);
    }
    if (rc == 0) {
        bool none = u.path[0] == '\0' || strcmp(u.path, "/") == 0;
        t->path = mem_strdup(none ? DEFAULT_PATH : u.path);
        t->service = mem_strdup(c->service_name);
        t->endpoint = mem_strdup(c->endpoint);
        if (t->path == NULL || t->service == NULL || t->endpoint == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    if (rc == 0) {
        const struct client_options o = {.target = {.host = u.host, .port = u.port, .tls = t->tls},
                                         .host = u.header,
                                         .max_connections = 1,
                                         .connect_ms = CONNECT_MS};
        rc = client_pool_new(&t->pool, t->loop, &o, e);
    }
    url_done(&u);
    return rc == 0 ? 0 : err_wrap(e, "traces.endpoint");
}

static int make_timers(struct traces *t, struct err *e)
{
    int rc = loop_timer_init(t->loop, &t->timer, on_timer, t);
    if (rc == 0) {
        t->timers = 1;
        rc = loop_timer_init(t->loop, &t->limit, on_limit, t);
    }
    if (rc != 0)
        return err_set(e, rc, "cannot make a timer");
    t->timers = 2;
    uv_unref((uv_handle_t *)&t->timer.uv);
    return 0;
}

int traces_new(struct traces **ret, struct loop *l, const struct config_traces *c,
               const char *node_id, struct err *e)
{
    *ret = NULL;
    if (c->endpoint == NULL)
        return 0;
    struct traces *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    t->magic = TRACES_MAGIC;
    t->loop = l;
    list_init(&t->waiting);
    t->node_id = mem_strdup(node_id);
    int rc = t->node_id == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : 0;
    if (rc == 0)
        rc = make_pool(t, c, e);
    if (rc == 0)
        rc = make_timers(t, e);
    if (rc != 0) {
        traces_free(t);
        return rc;
    }
    t->sink = (struct span_sink){on_span, t, loop_clock(l), (unsigned)c->sample};
    *ret = t;
    return 0;
}

void traces_begin(struct traces *t)
{
    if (t == NULL) {
        span_sink_set(NULL);
        return;
    }
    CHECK_MAGIC(t, TRACES_MAGIC);
    span_sink_set(&t->sink);
    LOG(INFO, "traces", "traces-on", "traces are sent to a collector",
        LF_STR("endpoint", t->endpoint), LF_STR("service", t->service));
}

static void release(struct traces *t)
{
    while (t->n_waiting > 0)
        batch_free(take_first(t));
    batch_free(t->sending);
    mem_free(t->service);
    mem_free(t->node_id);
    mem_free(t->path);
    mem_free(t->endpoint);
    t->magic = 0;
    mem_free(t);
}

static void timer_gone(void *ctx)
{
    struct traces *t = ctx;
    if (--t->timers == 0)
        release(t);
}

void traces_free(struct traces *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TRACES_MAGIC);
    if (span_sink == &t->sink)
        span_sink_set(NULL);
    if (t->call != NULL)
        client_cancel(STEAL(t->call));
    if (t->pool != NULL)
        client_pool_free(t->pool);
    if (t->tls != NULL)
        tls_context_unref(t->tls);
    if (t->timers == 0) {
        release(t);
        return;
    }
    bool both = t->timers == 2;
    loop_timer_close(&t->timer, timer_gone);
    if (both)
        loop_timer_close(&t->limit, timer_gone);
}

static void one(struct buf *b, const char *name, const char *help, uint64_t v)
{
    metric_family(b, name, "counter", help);
    metric_u64(b, name, NULL, 0, v);
}

void traces_write_metrics(const struct traces *t, struct buf *out)
{
    if (t == NULL)
        return;
    one(out, "gantry_trace_spans_exported_total", "Spans that the collector has taken",
        t->exported);
    one(out, "gantry_trace_spans_dropped_total",
        "Spans that were not: too many, no memory, refused", t->dropped);
    one(out, "gantry_trace_exports_total", "Batches that the collector has taken", t->batches);
    one(out, "gantry_trace_export_failures_total", "Tries to send a batch that failed",
        t->failures);
}
