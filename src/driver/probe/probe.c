#include "driver/probe/probe.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/client.h"
#include "net/stream.h"

#include <stdio.h>
#include <string.h>

enum { MAGIC = 0x50524f42, CALLS_DEFAULT = 256, OUTPUT_MAX = 200 };

struct probe {
    uint32_t magic;
    struct loop *loop;
    size_t n, max;
};

/* One look. It lives until its timer and what it asked with are closed. */
struct call {
    struct probe *p;
    unsigned parts; /* that are still open: the timer, a stream */
    struct loop_timer timer;
    bool over;        /* fn was called, or will not be */
    struct err early; /* it could not even begin: told by the timer */
    probe_fn fn;
    void *ctx;
    int64_t timeout_ms;
    struct stream *stream;
    struct client_pool *pool;
    struct client_call *http;
    const struct driver *driver;
    struct driver_call *exec;
    const char **argv;
    char output[OUTPUT_MAX + 1]; /* the beginning of what a command says */
    size_t n_output;
};

static void part_closed(struct call *c)
{
    if (--c->parts > 0)
        return;
    client_pool_free(c->pool);
    c->p->n--;
    mem_free(c->argv);
    mem_free(c);
}

static void timer_closed(void *ctx)
{
    part_closed(ctx);
}

static void end(struct call *c)
{
    c->over = true;
    if (c->stream != NULL)
        stream_close(c->stream);
    if (c->exec != NULL)
        c->driver->ops->cancel_call(STEAL(c->exec));
    if (c->http != NULL)
        client_cancel(STEAL(c->http));
    loop_timer_close(&c->timer, timer_closed);
}

static void finish(struct call *c, const struct err *e)
{
    if (c->over)
        return;
    end(c);
    c->fn(c->ctx, e);
}

static void timed_out(void *ctx)
{
    struct call *c = ctx;
    struct err e = c->early;
    if (e.code == 0)
        (void)err_set(&e, ERR_TIMEOUT, "no answer within %lld ms", (long long)c->timeout_ms);
    finish(c, &e);
}

/* ---- TCP */

static void tcp_ready(void *ctx)
{
    finish(ctx, &(struct err){0});
}

static void tcp_failed(void *ctx, const struct err *e)
{
    struct call *c = ctx;
    stream_close(c->stream);
    finish(c, e);
}

static void tcp_closed(void *ctx)
{
    struct call *c = ctx;
    c->stream = NULL;
    part_closed(c);
}

static void tcp_nothing(void *ctx)
{
    (void)ctx;
}

static void tcp_data(void *ctx, const char *p, size_t n)
{
    (void)ctx;
    (void)p;
    (void)n;
}

static int tcp(struct call *c, const struct probe_order *o, struct err *e)
{
    static const struct stream_user user = {
        .ready = tcp_ready,
        .data = tcp_data,
        .eof = tcp_nothing,
        .failed = tcp_failed,
        .drained = tcp_nothing,
        .closed = tcp_closed,
    };
    const struct stream_target t = {.host = o->address, .port = (uint16_t)o->health->port};
    int rc = stream_connect(&c->stream, c->p->loop, &t, (uint64_t)c->timeout_ms, &user, c, e);
    if (rc == 0)
        c->parts++;
    return rc;
}

/* ---- HTTP */

static void http_head(void *ctx, const struct client_response *r)
{
    struct err e = {0};
    if (r->status < 200 || r->status > 399)
        (void)err_set(&e, ERR_STATE, "HTTP %d", r->status);
    finish(ctx, &e); /* its body may be as long as it likes */
}

static void http_done(void *ctx, const struct err *e)
{
    struct call *c = ctx;
    c->http = NULL;
    finish(c, e);
}

static int http(struct call *c, const struct probe_order *o, struct err *e)
{
    static const struct client_user user = {.head = http_head, .done = http_done};
    uint64_t ms = (uint64_t)c->timeout_ms;
    const struct client_options po = {
        .target = {.host = o->address, .port = (uint16_t)o->health->port},
        .host = o->address,
        .max_connections = 1,
        .connect_ms = ms,
    };
    int rc = client_pool_new(&c->pool, c->p->loop, &po, e);
    if (rc != 0)
        return rc;
    const char *path = o->health->path != NULL ? o->health->path : "/";
    const struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(path),
        .first_byte_ms = ms,
        .max_body = SIZE_MAX, /* it ends with the head */
    };
    return client_send(c->pool, &r, &user, c, &c->http, e);
}

/* ---- a command */

static void exec_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    (void)s;
    struct call *c = ctx;
    size_t room = OUTPUT_MAX - c->n_output;
    size_t n = bytes.len < room ? bytes.len : room;
    if (n > 0)
        memcpy(c->output + c->n_output, bytes.p, n);
    c->n_output += n;
}

static void exec_done(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct call *c = ctx;
    c->exec = NULL;
    struct err e = {0};
    struct slice said = slice_trim((struct slice){c->output, c->n_output});
    char text[OUTPUT_MAX * 6 + 1];
    struct buf b = BUF_FIXED(text);
    (void)str_add_printable(&b, said);
    if (f != NULL)
        e = f->e;
    else if (exit_code != 0)
        (void)err_set(&e, ERR_STATE, "exit status %lld%s%s", (long long)exit_code,
                      said.len > 0 ? ": " : "", text);
    finish(c, &e);
}

static int command(struct call *c, const struct probe_order *o, struct err *e)
{
    static const struct driver_exec_user user = {
        .output = exec_output,
        .drained = tcp_nothing,
        .done = exec_done,
    };
    const struct schema_list *words = &o->health->command;
    char *const *items = words->items;
    c->argv = mem_calloc(words->count + 1, sizeof(char *));
    if (c->argv == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < words->count; i++)
        c->argv[i] = items[i];
    c->driver = o->driver;
    if (o->driver == NULL || o->driver->ops == NULL || o->driver->ops->exec == NULL)
        return err_set(e, ERR_UNSUPPORTED, "this runtime cannot run commands in a workload");
    const struct driver_exec_order order = {.id = o->id, .argv = c->argv};
    return o->driver->ops->exec(o->driver->self, &order, &user, c, &c->exec, e);
}

/* ---- struct prober_ops */

static int begin(struct call *c, const struct probe_order *o, struct err *e)
{
    if (o->health->kind == DOC_HEALTH_COMMAND)
        return command(c, o, e);
    if (o->address == NULL || o->address[0] == '\0')
        return err_set(e, ERR_UNREACHABLE, "the workload has no address");
    if (o->health->kind == DOC_HEALTH_TCP)
        return tcp(c, o, e);
    if (o->health->kind == DOC_HEALTH_HTTP)
        return http(c, o, e);
    return err_set(e, ERR_INVALID, "not a check that can be made from outside");
}

static int probe_probe(void *self, const struct probe_order *o, probe_fn fn, void *ctx, void **ret)
{
    struct probe *p = self;
    CHECK_MAGIC(p, MAGIC);
    if (p->n >= p->max)
        return ERR_BUSY;
    struct call *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return ERR_NO_MEMORY;
    *c = (struct call){
        .p = p, .parts = 1, .fn = fn, .ctx = ctx, .timeout_ms = o->health->timeout_ms};
    int rc = loop_timer_init(p->loop, &c->timer, timed_out, c);
    if (rc != 0) {
        mem_free(c);
        return rc;
    }
    p->n++;
    rc = begin(c, o, &c->early);
    /* What could not begin is told from the loop, as everything is. */
    loop_timer_start(&c->timer, rc == 0 ? (uint64_t)c->timeout_ms : 0, 0);
    *ret = c;
    return 0;
}

static void probe_cancel(void *self, void *call)
{
    struct probe *p = self;
    CHECK_MAGIC(p, MAGIC);
    struct call *c = call;
    if (c != NULL && !c->over)
        end(c);
}

void probe_prober(struct probe *p, struct prober *out)
{
    static const struct prober_ops ops = {.probe = probe_probe, .cancel = probe_cancel};
    *out = (struct prober){.ops = &ops, .self = p};
}

int probe_new(struct probe **ret, struct loop *l, size_t max_calls, struct err *e)
{
    struct probe *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *p = (struct probe){
        .magic = MAGIC, .loop = l, .max = max_calls == 0 ? CALLS_DEFAULT : max_calls};
    *ret = p;
    return 0;
}

void probe_free(struct probe *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, MAGIC);
    INVARIANT(p->n == 0);
    mem_free(p);
}
