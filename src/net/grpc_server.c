/* grpc_server.c: the table of methods, and requests: their heads, messages, deadlines and ends. */
#include "net/grpc_server.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/grpc_server_priv.h"

#define MAX_PARTIAL (64u << 20)
#define REST_MAX (256u * 1024)          /* of one piece of a body */
#define DEADLINE_MAX_MS 315360000000ull /* ten years: no timer runs over */
#define MAX_TOLD 256                    /* of a name, in a status text */

static const struct sm_state states[] = {
    [GC_OPEN] = {"open", 1u << GC_STARTED | 1u << GC_DECIDED, false},
    [GC_STARTED] = {"started", 1u << GC_DECIDED, false},
    [GC_DECIDED] = {"decided", 0, true},
};
static const struct sm_table table = {"grpc-call", states, ARRAY_LEN(states)};

static int told(struct slice s)
{
    return (int)(s.len < MAX_TOLD ? s.len : MAX_TOLD);
}

/* ---- the end of a call ---- */

static void call_free(struct grpc_call *c)
{
    loop_task_cancel(&c->resume);
    grpc_reader_done(&c->reader);
    buf_done(&c->rest);
    grpc_pairs_free(c->headers);
    grpc_pairs_free(c->trailers);
    c->magic = 0;
    mem_free(c);
}

static void timer_closed(void *ctx)
{
    call_free(ctx);
}

static void count_partial(struct grpc_call *c)
{
    struct grpc_server_stats *st = &c->server->stats;
    st->partial += c->reader.body.len - c->partial;
    c->partial = c->reader.body.len;
}

/* `closed`, once. From the loop only. */
static void tell_closed(struct grpc_call *c, int err)
{
    const struct grpc_user *u = c->user;
    if (c->closed_told)
        return;
    c->closed_told = true;
    c->user = NULL;
    if (u != NULL && u->closed != NULL)
        u->closed(c->ctx, c, err);
}

/* The request cannot be served any further: the answer, and the user's last word. */
static void give_up(struct grpc_call *c, int err, int status, const char *fmt, ...)
    BASE_PRINTF(4, 5);
static void give_up(struct grpc_call *c, int err, int status, const char *fmt, ...)
{
    char room[512];
    struct buf text = BUF_FIXED(room);
    va_list ap;
    va_start(ap, fmt);
    buf_addvf(&text, fmt, ap);
    va_end(ap);
    grpc_call_finish(c, status, (struct slice){text.data, text.len});
    tell_closed(c, err);
}

static void on_deadline(void *ctx)
{
    give_up(ctx, ERR_TIMEOUT, GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
}

/* ---- messages ---- */

static void hand_on(struct grpc_call *c, struct slice message)
{
    const struct grpc_method *m = c->method;
    if (grpc_kind_streams_in(m->kind)) {
        if (c->user != NULL && c->user->message != NULL)
            c->user->message(c->ctx, c, message);
        return;
    }
    if (c->answered_request) {
        give_up(c, ERR_PROTOCOL, GRPC_INTERNAL, "%s takes one message", m->path);
        return;
    }
    c->answered_request = true;
    m->request(c, message);
    if (grpc_call_open(c) && c->user == NULL)
        give_up(c, ERR_INTERNAL, GRPC_INTERNAL, "the call was not answered");
}

static void bad_frame(struct grpc_call *c, int rc)
{
    if (rc == ERR_LIMIT)
        give_up(c, rc, GRPC_RESOURCE_EXHAUSTED,
                "a message of \"%u\" bytes is longer than the %u that are allowed",
                (unsigned)c->reader.length, (unsigned)c->reader.max);
    else if (rc == ERR_NO_MEMORY)
        give_up(c, rc, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    else
        give_up(c, rc, GRPC_INTERNAL, "the message flag \"%u\" is neither 0 nor 1",
                (unsigned)(uint8_t)c->reader.prefix[0]);
}

/* True to go on with what is left. */
static bool take_message(struct grpc_call *c, struct slice *in)
{
    struct slice message;
    bool compressed = false;
    int rc = grpc_reader_next(&c->reader, in, &message, &compressed);
    count_partial(c);
    if (rc < 0) {
        bad_frame(c, rc);
        return false;
    }
    if (c->server->stats.partial > c->server->o.max_partial) {
        give_up(c, ERR_LIMIT, GRPC_RESOURCE_EXHAUSTED, "too much is being received at once");
        return false;
    }
    if (rc == 1 && compressed) {
        give_up(c, ERR_PROTOCOL, GRPC_INTERNAL, "a message is compressed without grpc-encoding");
        return false;
    }
    if (rc == 1)
        hand_on(c, message);
    return rc == 1 && grpc_call_open(c);
}

/* Messages until there is none, or the handler pauses; what is left then waits in `rest`. */
static void take(struct grpc_call *c, struct slice in)
{
    while (!c->paused && take_message(c, &in))
        ;
    if (in.len > 0 && grpc_call_open(c) && buf_add(&c->rest, in.p, in.len) != 0)
        give_up(c, c->rest.err, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void request_done(struct grpc_call *c)
{
    if (!grpc_call_open(c))
        return;
    if (!grpc_reader_at_edge(&c->reader))
        give_up(c, ERR_PROTOCOL, GRPC_INTERNAL, "the request ends in the middle of a message");
    else if (!grpc_kind_streams_in(c->method->kind) && !c->answered_request)
        give_up(c, ERR_PROTOCOL, GRPC_INTERNAL, "the request has no message");
    else if (c->user != NULL && c->user->end != NULL)
        c->user->end(c->ctx, c);
}

/* After grpc_call_resume. */
static void on_resume(struct loop_task *t)
{
    struct grpc_call *c = CONTAINER_OF(t, struct grpc_call, resume);
    if (c->paused || !grpc_call_open(c))
        return;
    if (c->rest.len > 0) {
        _cleanup_(buf_done) struct buf b = c->rest;
        buf_init(&c->rest, b.max);
        take(c, (struct slice){b.data, b.len});
    }
    if (!c->paused && c->x != NULL && grpc_call_open(c))
        exchange_resume(c->x);
}

/* ---- the exchange's side ---- */

static void on_body(void *ctx, struct exchange *x BASE_UNUSED, const char *p, size_t n)
{
    struct grpc_call *c = ctx;
    CHECK_MAGIC(c, GRPC_CALL_MAGIC);
    if (!grpc_call_open(c))
        return;
    if (c->rest.len > 0) { /* resumed, and not looked at yet */
        if (buf_add(&c->rest, p, n) != 0)
            give_up(c, c->rest.err, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    take(c, (struct slice){p, n});
}

static void on_end(void *ctx, struct exchange *x BASE_UNUSED, int err)
{
    struct grpc_call *c = ctx;
    CHECK_MAGIC(c, GRPC_CALL_MAGIC);
    if (err == 0)
        request_done(c);
    else if (err == ERR_TIMEOUT && grpc_call_open(c))
        give_up(c, err, GRPC_DEADLINE_EXCEEDED, "the request did not come in time");
}

static void on_drained(void *ctx, struct exchange *x BASE_UNUSED)
{
    struct grpc_call *c = ctx;
    CHECK_MAGIC(c, GRPC_CALL_MAGIC);
    if (grpc_call_open(c) && c->user != NULL && c->user->drained != NULL)
        c->user->drained(c->ctx, c);
}

static void on_closed(void *ctx, struct exchange *x BASE_UNUSED, int err)
{
    struct grpc_call *c = ctx;
    struct grpc_server_stats *st = &c->server->stats;
    CHECK_MAGIC(c, GRPC_CALL_MAGIC);
    c->x = NULL;
    if (grpc_call_open(c)) {
        err = err == 0 ? ERR_GONE : err;
        grpc_call_decide(c, GRPC_CANCELLED, SLICE_LIT("the client left before it was done"));
    }
    tell_closed(c, err);
    st->partial -= c->partial;
    st->open--;
    if (c->timer_live)
        loop_timer_close(&c->timer, timer_closed);
    else
        call_free(c);
}

static const struct exchange_user exchange_side = {
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .closed = on_closed,
};

/* ---- the head ---- */

static void refuse(struct grpc_server *s, struct exchange *x, int http_status, int status,
                   const struct http_header *more, struct slice text)
{
    s->stats.statuses[status]++;
    grpc_answer_headers(x, http_status, status, text, more, more != NULL ? 1 : 0);
}

bool grpc_wanted(const struct exchange *x)
{
    bool other = false;
    return grpc_content_type(exchange_header(x, "content-type"), &other) || other;
}

/* What HTTP has to say before gRPC begins. False: it has been answered. */
static bool is_grpc(struct grpc_server *s, struct exchange *x)
{
    const struct http_request *r = exchange_request(x);
    const struct http_header allow = {SLICE_LIT("allow"), SLICE_LIT("POST")};
    if (r->version != 20) {
        (void)exchange_respond(x, &(struct http_response){505, "text/plain", NULL, 0, false},
                               SLICE_LIT("gRPC needs HTTP/2\n"));
        return false;
    }
    if (!grpc_content_type(exchange_header(x, "content-type"), NULL)) {
        refuse(s, x, 415, GRPC_INVALID_ARGUMENT, NULL,
               SLICE_LIT("the content-type is not application/grpc with messages in protobuf"));
        return false;
    }
    if (r->method == HTTP_METHOD_POST)
        return true;
    refuse(s, x, 405, GRPC_INTERNAL, &allow, SLICE_LIT("gRPC calls are made with POST"));
    return false;
}

static const struct grpc_method *find(const struct grpc_server *s, struct slice path)
{
    for (size_t i = 0; i < s->o.n_methods; i++)
        if (slice_eqs(path, s->o.methods[i].path))
            return &s->o.methods[i];
    return NULL;
}

static void refuse_unknown(struct grpc_server *s, struct exchange *x, struct slice path)
{
    char room[1024];
    struct buf text = BUF_FIXED(room);
    const char *slash = path.len > 1 ? memrchr(path.p + 1, '/', path.len - 1) : NULL;
    if (path.len == 0 || path.p[0] != '/' || slash == NULL) {
        buf_addf(&text, "malformed method name \"%.*s\"", told(path), path.p);
    } else {
        size_t dir = (size_t)(slash - path.p) + 1;
        struct slice service = {path.p + 1, dir - 2};
        struct slice name = {slash + 1, path.len - dir};
        bool known = false;
        for (size_t i = 0; i < s->o.n_methods && !known; i++)
            known = strncmp(s->o.methods[i].path, path.p, dir) == 0;
        if (known)
            buf_addf(&text, "unknown method \"%.*s\" of service \"%.*s\"", told(name), name.p,
                     told(service), service.p);
        else
            buf_addf(&text, "unknown service \"%.*s\"", told(service), service.p);
    }
    refuse(s, x, 200, GRPC_UNIMPLEMENTED, NULL, (struct slice){text.data, text.len});
}

/* The compression and the time that the client asks for. False: refused. */
static bool read_head(struct grpc_server *s, struct exchange *x, uint64_t *timeout_ns)
{
    const struct http_header accept = {SLICE_LIT("grpc-accept-encoding"), SLICE_LIT("identity")};
    struct slice encoding = exchange_header(x, "grpc-encoding");
    struct slice timeout = exchange_header(x, "grpc-timeout");
    char room[512];
    struct buf text = BUF_FIXED(room);
    *timeout_ns = UINT64_MAX;
    if (encoding.p != NULL && !slice_eqs(encoding, "identity")) {
        buf_addf(&text, "messages in grpc-encoding \"%.*s\" are not read here", told(encoding),
                 encoding.p);
        refuse(s, x, 200, GRPC_UNIMPLEMENTED, &accept, (struct slice){text.data, text.len});
        return false;
    }
    if (timeout.p != NULL && grpc_timeout_parse(timeout, timeout_ns) != 0) {
        buf_addf(&text, "malformed grpc-timeout \"%.*s\"", told(timeout), timeout.p);
        refuse(s, x, 200, GRPC_INTERNAL, NULL, (struct slice){text.data, text.len});
        return false;
    }
    return true;
}

/* ERR_TIMEOUT: it has passed already. */
static int set_deadline(struct grpc_call *c, uint64_t ns)
{
    c->deadline_ms = UINT64_MAX;
    if (ns == UINT64_MAX)
        return 0;
    uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0), now = loop_now_ms(c->loop);
    if (ms > DEADLINE_MAX_MS)
        return 0;
    c->deadline_ms = now + ms;
    if (ms == 0)
        return ERR_TIMEOUT;
    int rc = loop_timer_init(c->loop, &c->timer, on_deadline, c);
    if (rc != 0)
        return rc;
    c->timer_live = true;
    loop_timer_start(&c->timer, ms, 0);
    return 0;
}

static struct grpc_call *call_new(struct grpc_server *s, struct exchange *x,
                                  const struct grpc_method *m)
{
    struct grpc_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return NULL;
    c->magic = GRPC_CALL_MAGIC;
    c->server = s;
    c->method = m;
    c->x = x;
    c->loop = exchange_loop(x);
    sm_init(&c->sm, &table, GC_OPEN);
    grpc_reader_init(&c->reader, m->max_message != 0 ? m->max_message : s->o.max_message);
    buf_init(&c->rest, REST_MAX);
    loop_task_init(&c->resume, on_resume);
    s->stats.calls++;
    s->stats.open++;
    return c;
}

void grpc_server_handle(void *ctx, struct exchange *x)
{
    struct grpc_server *s = ctx;
    uint64_t timeout_ns;
    CHECK_MAGIC(s, GRPC_SERVER_MAGIC);
    if (!is_grpc(s, x))
        return;
    const struct grpc_method *m = find(s, exchange_request(x)->target);
    if (m == NULL) {
        refuse_unknown(s, x, exchange_request(x)->target);
        return;
    }
    if (!read_head(s, x, &timeout_ns))
        return;
    struct grpc_call *c = call_new(s, x, m);
    if (c == NULL) {
        refuse(s, x, 200, GRPC_RESOURCE_EXHAUSTED, NULL, SLICE_LIT("out of memory"));
        return;
    }
    /* Messages have their own limit, and streams may rest for as long as they like. */
    exchange_own_body(x, grpc_kind_streams_in(m->kind));
    exchange_set_user(x, &exchange_side, c);
    int rc = set_deadline(c, timeout_ns);
    if (rc == ERR_TIMEOUT)
        grpc_call_finish(c, GRPC_DEADLINE_EXCEEDED, SLICE_LIT("the deadline has passed"));
    else if (rc != 0)
        grpc_call_finish(c, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
    else if (m->begin != NULL)
        m->begin(c);
    if (grpc_call_open(c) && c->user == NULL && grpc_kind_streams_in(m->kind))
        grpc_call_finish(c, GRPC_INTERNAL, SLICE_LIT("the call was not answered"));
}

/* ---- beginning and end ---- */

static int check_row(const struct grpc_server *s, const struct grpc_method *m, struct err *e)
{
    if (m->path == NULL || m->path[0] != '/' || strchr(m->path + 1, '/') == NULL)
        return err_set(e, ERR_INVALID, "gRPC method \"%s\" is no path of service and method",
                       m->path != NULL ? m->path : "");
    if (grpc_kind_streams_in(m->kind) ? m->begin == NULL : m->request == NULL)
        return err_set(e, ERR_INVALID, "gRPC method \"%s\" has no handler", m->path);
    if (find(s, slice_of(m->path)) != m)
        return err_set(e, ERR_INVALID, "gRPC method \"%s\" is there twice", m->path);
    return 0;
}

int grpc_server_new(struct grpc_server **ret, const struct grpc_server_options *o, struct err *e)
{
    struct grpc_server *s = mem_zalloc(sizeof(*s));
    int rc = 0;
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->magic = GRPC_SERVER_MAGIC;
    s->o = *o;
    if (s->o.max_message == 0)
        s->o.max_message = GRPC_MESSAGE_MAX;
    if (s->o.max_partial == 0)
        s->o.max_partial = MAX_PARTIAL;
    for (size_t i = 0; i < o->n_methods && rc == 0; i++)
        rc = check_row(s, &o->methods[i], e);
    if (rc != 0) {
        grpc_server_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void grpc_server_free(struct grpc_server *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, GRPC_SERVER_MAGIC);
    INVARIANT(s->stats.open == 0);
    s->magic = 0;
    mem_free(s);
}

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *s)
{
    CHECK_MAGIC(s, GRPC_SERVER_MAGIC);
    return &s->stats;
}
