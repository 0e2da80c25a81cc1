/* grpc.c: a call's way: who, right, message, handler, answer, record. */
#include "api/grpc/grpc.h"

#include <stdio.h>
#include <string.h>

#include "api/grpc/message.h"
#include "api/route/access.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"

#define API_MAGIC 0x67415049u
#define CALL_MAGIC 0x67414343u
#define ANSWER_MAX (256u << 20) /* bytes of one answer; clients take 4 MiB unless they say more */
#define STATUSES (GRPC_UNAUTHENTICATED + 1)

struct row_stats {
    uint64_t statuses[STATUSES];
    struct histogram time;
};

struct grpc_api {
    uint32_t magic;
    struct grpc_api_options o;
    struct grpc_method *methods; /* one a row, with `row` a struct entry */
    struct entry *entries;
    size_t n;
    struct grpc_server *server;
    struct access_refusals refusals;
};

/* What a method is made of. */
struct entry {
    struct grpc_api *api;
    const struct rpc_row *row;
    void *app;
    struct row_stats stats;
};

/* A call with what handlers do not see. */
struct call {
    struct rpc_call c; /* first: the public part is the call */
    uint32_t magic;
    struct entry *entry;
    ProtobufCMessage *request;
    const struct rpc_user *user;
    void *ctx;
    uint64_t began_ns;
    bool refused; /* by the guard */
    struct span span;
    char peer[64], id[EXCHANGE_ID_MAX + 1]; /* for the record, when the client is gone */
};

static struct call *call_of(const struct rpc_call *c)
{
    struct call *k = (struct call *)(uintptr_t)c;
    CHECK_MAGIC(k, CALL_MAGIC);
    return k;
}

/* ---- the record ---- */

/* What the answer would have been over REST: records and their readers know these. */
static int http_of_status(int status)
{
    static const uint16_t map[STATUSES] = {
        [GRPC_OK] = 200,
        [GRPC_CANCELLED] = 499,
        [GRPC_UNKNOWN] = 500,
        [GRPC_INVALID_ARGUMENT] = 400,
        [GRPC_DEADLINE_EXCEEDED] = 504,
        [GRPC_NOT_FOUND] = 404,
        [GRPC_ALREADY_EXISTS] = 409,
        [GRPC_PERMISSION_DENIED] = 403,
        [GRPC_RESOURCE_EXHAUSTED] = 429,
        [GRPC_FAILED_PRECONDITION] = 409,
        [GRPC_ABORTED] = 409,
        [GRPC_OUT_OF_RANGE] = 400,
        [GRPC_UNIMPLEMENTED] = 501,
        [GRPC_INTERNAL] = 500,
        [GRPC_UNAVAILABLE] = 503,
        [GRPC_DATA_LOSS] = 500,
        [GRPC_UNAUTHENTICATED] = 401,
    };
    return map[status];
}

static void record(struct call *k, int status, struct slice message)
{
    struct grpc_api *a = k->entry->api;
    const struct rpc_row *row = k->c.row;
    bool here = grpc_call_exchange(k->c.g) != NULL;
    bool change = row->verb != RIGHT_READ && !row->open;
    if ((!change && !k->refused) || (a->o.audit == NULL && !k->refused))
        return;
    const struct audit_record r = {
        .time_ns = clock_real_ns(a->o.clock),
        .who = k->c.who->name,
        .peer = k->peer,
        .request = k->id,
        .method = "POST",
        .path = slice_of(row->path),
        .verb = right_verb_name(row->verb),
        .kind = row->kind,
        .name = k->c.object,
        .status = here ? http_of_status(status) : 0,
        .result = k->refused          ? "refused"
                  : status == GRPC_OK ? "done"
                                      : "failed",
        .detail = k->c.detail.p != NULL ? k->c.detail : message,
    };
    if (a->o.audit != NULL)
        a->o.audit->record(a->o.audit->ctx, &r);
    if (k->refused)
        access_log_refusal(&a->refusals, &r);
}

/* Names as OpenTelemetry has them for RPC servers. */
static void end_span(struct call *k, int status, struct slice message)
{
    const char *path = k->c.row->path, *slash = strrchr(path, '/');
    struct exchange *x = grpc_call_exchange(k->c.g);
    struct slice service = {path + 1, (size_t)(slash - path) - (slash > path ? 1 : 0)};
    const struct span_attr attrs[] = {
        SPAN_TEXT("rpc.system", SLICE_LIT("grpc")),
        SPAN_TEXT("rpc.service", service),
        SPAN_TEXT("rpc.method", slice_of(slash + 1)),
        SPAN_INT("rpc.grpc.status_code", status),
        SPAN_TEXT("enduser.id", slice_of(k->c.who->name)),
        SPAN_TEXT("gantry.request.id", slice_of(k->id)),
    };
    struct span_done d = {.kind = SPAN_SERVER,
                          .name = slice_of(path + 1),
                          .failed = status == GRPC_UNKNOWN || status == GRPC_DEADLINE_EXCEEDED ||
                                    status == GRPC_UNIMPLEMENTED || status == GRPC_INTERNAL ||
                                    status == GRPC_UNAVAILABLE || status == GRPC_DATA_LOSS,
                          .message = message,
                          .state = x != NULL ? exchange_header(x, "tracestate") : SLICE_LIT(""),
                          .attrs = attrs,
                          .n_attrs = ARRAY_LEN(attrs)};
    span_end(&k->span, &d);
}

static void decided(void *app BASE_UNUSED, struct grpc_call *g, int status, struct slice message)
{
    struct call *k = grpc_call_note(g);
    const struct grpc_method *m = grpc_call_method(g);
    struct entry *en = (struct entry *)(uintptr_t)m->row;
    en->stats.statuses[status]++;
    if (k == NULL)
        return;
    histogram_add(&en->stats.time, clock_mono_ns(en->api->o.clock) - k->began_ns);
    if (k->span.self.on)
        end_span(k, status, message);
    record(k, status, message);
}

/* ---- who, and may he ---- */

static bool refuse(struct call *k, int status, struct slice text)
{
    k->refused = true;
    grpc_call_finish(k->c.g, status, text);
    return false;
}

/* Two Authorization headers are no token that is right: what stands before us may have checked the
 * other one. */
static struct slice shown_token(struct exchange *x)
{
    const struct http_request *r = exchange_request(x);
    struct slice found = {NULL, 0};
    for (size_t i = 0; i < r->n_headers; i++) {
        if (!slice_eqs(r->headers[i].name, "authorization"))
            continue;
        if (found.p != NULL)
            return SLICE_LIT("");
        found = r->headers[i].value.p != NULL ? r->headers[i].value : SLICE_LIT("");
    }
    return found.p != NULL ? access_bearer(found) : found;
}

static bool identify(struct call *k, struct exchange *x)
{
    const struct api_guard *g = k->entry->api->o.guard;
    struct err e = {0};
    uint32_t wait_s = 0;
    char number[16];
    if (g == NULL) {
        k->c.who = &identity_open;
        return true;
    }
    int rc = g->identify(g->ctx, x, shown_token(x), &k->c.who, &wait_s, &e);
    if (rc == 0)
        return true;
    k->c.who = &identity_none;
    if (rc == ERR_UNAUTHENTICATED)
        return refuse(k, GRPC_UNAUTHENTICATED, slice_of(e.msg));
    if (rc == ERR_LIMIT) {
        int n = snprintf(number, sizeof(number), "%u", wait_s);
        (void)grpc_call_add_trailer(k->c.g, SLICE_LIT("retry-after"),
                                    (struct slice){number, (size_t)n});
        return refuse(k, GRPC_RESOURCE_EXHAUSTED, slice_of(e.msg));
    }
    grpc_call_finish(k->c.g, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
    return false;
}

static bool check_right(struct call *k, struct slice name)
{
    const struct rpc_row *row = k->c.row;
    if (access_allowed(k->c.who, row->verb, row->kind, name, row->list))
        return true;
    struct buf b = BUF_INIT(1024);
    (void)access_refusal_text(&b, k->c.who, row->verb, row->kind, name, row->list);
    refuse(k, GRPC_PERMISSION_DENIED,
           b.err == 0 ? (struct slice){b.data, b.len} : SLICE_LIT("a right is missing"));
    buf_done(&b);
    return false;
}

bool rpc_may_see(const struct rpc_call *c, struct slice name)
{
    return access_allowed(c->who, c->row->verb, c->row->kind, name, false);
}

/* ---- from net ---- */

/* Text that is no C text is the client's mistake; everything else here is no protobuf at all. */
static void bad_message(struct call *k, const struct err *e)
{
    int status = e->code == ERR_LIMIT || e->code == ERR_NO_MEMORY ? GRPC_RESOURCE_EXHAUSTED
                 : e->code == ERR_INVALID                         ? GRPC_INVALID_ARGUMENT
                                                                  : GRPC_INTERNAL;
    rpc_finish(&k->c, status, "cannot read the request: %s", e->msg);
}

static void on_message(void *ctx, struct grpc_call *g BASE_UNUSED, struct slice bytes)
{
    struct call *k = ctx;
    ProtobufCMessage *m = NULL;
    struct err e = {0};
    CHECK_MAGIC(k, CALL_MAGIC);
    if (message_decode(k->c.row->request, bytes, &m, &e) != 0) {
        bad_message(k, &e);
        return;
    }
    if (k->user != NULL && k->user->message != NULL)
        k->user->message(k->ctx, &k->c, m);
    message_free(m);
}

static void on_end(void *ctx, struct grpc_call *g BASE_UNUSED)
{
    struct call *k = ctx;
    if (k->user != NULL && k->user->end != NULL)
        k->user->end(k->ctx, &k->c);
}

static void on_drained(void *ctx, struct grpc_call *g BASE_UNUSED)
{
    struct call *k = ctx;
    if (k->user != NULL && k->user->drained != NULL)
        k->user->drained(k->ctx, &k->c);
}

static void on_closed(void *ctx, struct grpc_call *g BASE_UNUSED, int err)
{
    struct call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    if (k->user != NULL && k->user->closed != NULL)
        k->user->closed(k->ctx, &k->c, err);
    grpc_call_set_note(k->c.g, NULL);
    message_free(k->request);
    identity_unref(k->c.who);
    k->magic = 0;
    mem_free(k);
}

static const struct grpc_user side = {
    .message = on_message,
    .end = on_end,
    .drained = on_drained,
    .closed = on_closed,
};

static void run(struct call *k)
{
    if (span_wanted())
        span_current = k->span.self;
    k->c.row->handler(&k->c, k->request);
    span_current.on = false;
    if (k->user == NULL && rpc_open(&k->c))
        rpc_finish(&k->c, GRPC_INTERNAL, "the call was not answered");
}

static bool begin_checks(struct call *k, struct exchange *x)
{
    const struct grpc_api *a = k->entry->api;
    const struct rpc_row *row = k->c.row;
    if (a->o.host_allowed != NULL && !a->o.host_allowed(a->o.host_app, x))
        return refuse(k, GRPC_PERMISSION_DENIED, SLICE_LIT("This is not a host of this server"));
    return row->open ||
           (identify(k, x) && (row->name != NULL || check_right(k, (struct slice){NULL, 0})));
}

static void on_begin(struct grpc_call *g)
{
    struct entry *en = (struct entry *)(uintptr_t)grpc_call_method(g)->row;
    struct exchange *x = grpc_call_exchange(g);
    struct call *k = mem_zalloc(sizeof(*k));
    if (k == NULL) {
        grpc_call_finish(g, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
        return;
    }
    k->magic = CALL_MAGIC;
    k->entry = en;
    k->c = (struct rpc_call){.g = g, .app = en->app, .row = en->row, .who = &identity_none};
    k->began_ns = clock_mono_ns(en->api->o.clock);
    if (span_wanted())
        span_begin_request(&k->span, exchange_header(x, "traceparent"));
    snprintf(k->peer, sizeof(k->peer), "%s", exchange_peer(x)->text);
    snprintf(k->id, sizeof(k->id), "%s", exchange_id(x));
    grpc_call_set_note(g, k);
    grpc_call_set_user(g, &side, k);
    if (begin_checks(k, x) && grpc_kind_streams_in(en->row->streams))
        run(k);
}

static void on_request(struct grpc_call *g, struct slice bytes)
{
    struct call *k = grpc_call_note(g);
    struct err e = {0};
    CHECK_MAGIC(k, CALL_MAGIC);
    if (message_decode(k->c.row->request, bytes, &k->request, &e) != 0) {
        bad_message(k, &e);
        return;
    }
    if (k->c.row->name != NULL) {
        struct slice name = k->c.row->name(k->request);
        k->c.object = name.p != NULL ? name : SLICE_LIT("");
        if (!k->c.row->open && !check_right(k, k->c.object))
            return;
    }
    run(k);
}

void grpc_api_handle(void *ctx, struct exchange *x)
{
    struct grpc_api *a = ctx;
    CHECK_MAGIC(a, API_MAGIC);
    if (a->o.other != NULL && !grpc_wanted(x))
        a->o.other(a->o.other_ctx, x);
    else
        grpc_server_handle(a->server, x);
}

/* ---- what handlers ask ---- */

void rpc_set_user(struct rpc_call *c, const struct rpc_user *u, void *ctx)
{
    call_of(c)->user = u;
    call_of(c)->ctx = ctx;
}

bool rpc_open(const struct rpc_call *c)
{
    return grpc_call_open(call_of(c)->c.g);
}

void rpc_finish(struct rpc_call *c, int status, const char *fmt, ...)
{
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    err_format(text, sizeof(text), fmt, ap);
    va_end(ap);
    grpc_call_finish(call_of(c)->c.g, status, slice_of(text));
}

void rpc_fail(struct rpc_call *c, const struct err *e)
{
    grpc_call_fail(call_of(c)->c.g, e);
}

int rpc_send(struct rpc_call *c, const ProtobufCMessage *answer)
{
    struct call *k = call_of(c);
    struct buf b = BUF_INIT(ANSWER_MAX);
    INVARIANT(answer->descriptor == c->row->answer);
    if (!rpc_open(c))
        return ERR_STATE;
    if (identity_over(c->who, clock_real_ns(k->entry->api->o.clock))) {
        rpc_finish(c, GRPC_UNAUTHENTICATED, "the identity \"%s\" is not valid any more",
                   c->who->name);
        return ERR_DENIED;
    }
    int rc = message_encode(answer, &b);
    if (rc == 0)
        rc = grpc_call_send(c->g, (struct slice){b.data, b.len});
    buf_done(&b);
    return rc;
}

void rpc_reply(struct rpc_call *c, const ProtobufCMessage *answer)
{
    int rc = rpc_send(c, answer);
    if (rc == 0)
        rpc_finish(c, GRPC_OK, "%s", "");
    else if (rc == ERR_ENCODING)
        rpc_finish(c, GRPC_INTERNAL, "the answer holds text that is not UTF-8");
    else if (rc != ERR_STATE && rc != ERR_GONE && rc != ERR_DENIED)
        rpc_finish(c, grpc_status_of_err(rc), "%s", err_row(rc)->text);
}

/* ---- the table ---- */

static int check_row(const struct rpc_row *r, struct err *e)
{
    const char *path = r->path != NULL ? r->path : "";
    if (!r->open && (r->verb == RIGHT_NONE || r->kind == NULL || r->kind[0] == '\0'))
        return err_set(e, ERR_INVALID, "gRPC call \"%s\" has no right", path);
    if (r->request == NULL || r->answer == NULL || r->handler == NULL || r->kind == NULL)
        return err_set(e, ERR_INVALID, "gRPC call \"%s\" has no messages or no handler", path);
    if (r->name != NULL && grpc_kind_streams_in(r->streams))
        return err_set(e, ERR_INVALID, "gRPC call \"%s\" streams requests: no name in them", path);
    int rc = message_type_check(r->request, e);
    return rc == 0 ? message_type_check(r->answer, e) : rc;
}

static int take_table(struct grpc_api *a, const struct rpc_table *t, struct err *e)
{
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct rpc_row *r = &t->rows[i];
        int rc = check_row(r, e);
        if (rc != 0)
            return rc;
        a->entries[a->n] = (struct entry){.api = a, .row = r, .app = t->app};
        a->methods[a->n] = (struct grpc_method){.path = r->path,
                                                .kind = r->streams,
                                                .max_message = r->max_message,
                                                .begin = on_begin,
                                                .request = on_request,
                                                .row = &a->entries[a->n]};
        a->n++;
    }
    return 0;
}

static int compile(struct grpc_api *a, struct err *e)
{
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < a->o.n_tables; i++)
        n += a->o.tables[i].n_rows;
    a->methods = mem_calloc(n, sizeof(*a->methods));
    a->entries = mem_calloc(n, sizeof(*a->entries));
    if (a->methods == NULL || a->entries == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < a->o.n_tables && rc == 0; i++)
        rc = take_table(a, &a->o.tables[i], e);
    if (rc != 0)
        return rc;
    const struct grpc_server_options so = {.methods = a->methods,
                                           .n_methods = a->n,
                                           .app = a,
                                           .max_message = a->o.max_message,
                                           .decided = decided};
    return grpc_server_new(&a->server, &so, e);
}

int grpc_api_new(struct grpc_api **ret, const struct grpc_api_options *o, struct err *e)
{
    struct grpc_api *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->magic = API_MAGIC;
    a->o = *o;
    if (a->o.clock == NULL)
        a->o.clock = &clock_system;
    int rc = compile(a, e);
    if (rc != 0) {
        grpc_api_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void grpc_api_free(struct grpc_api *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, API_MAGIC);
    grpc_server_free(a->server);
    mem_free(a->methods);
    mem_free(a->entries);
    a->magic = 0;
    mem_free(a);
}

static struct slice service_of(const char *path)
{
    return (struct slice){path + 1, strcspn(path + 1, "/")};
}

struct slice grpc_api_service(const struct grpc_api *a, size_t i)
{
    CHECK_MAGIC(a, API_MAGIC);
    for (size_t k = 0; k < a->n; k++) {
        struct slice name = service_of(a->methods[k].path);
        bool seen = false;
        for (size_t b = 0; b < k && !seen; b++)
            seen = slice_eq(service_of(a->methods[b].path), name);
        if (!seen && i-- == 0)
            return name;
    }
    return (struct slice){NULL, 0};
}

const struct grpc_server_stats *grpc_api_stats(const struct grpc_api *a)
{
    CHECK_MAGIC(a, API_MAGIC);
    return grpc_server_stats(a->server);
}

void grpc_api_write_metrics(const struct grpc_api *a, struct buf *out)
{
    static const char requests[] = "gantry_grpc_requests_total";
    static const char times[] = "gantry_grpc_request_duration_seconds";
    CHECK_MAGIC(a, API_MAGIC);
    metric_family(out, requests, "counter", "gRPC calls by method and status");
    for (size_t i = 0; i < a->n; i++) {
        struct metric_label l[2] = {{"method", slice_of(a->methods[i].path)}};
        for (int s = 0; s < STATUSES; s++) {
            l[1] = (struct metric_label){"code", slice_of(grpc_status_name(s))};
            if (a->entries[i].stats.statuses[s] > 0)
                metric_u64(out, requests, l, 2, a->entries[i].stats.statuses[s]);
        }
    }
    metric_family(out, times, "histogram", "Time from a gRPC call's head to its status");
    for (size_t i = 0; i < a->n; i++) {
        const struct metric_label l = {"method", slice_of(a->methods[i].path)};
        if (histogram_count(&a->entries[i].stats.time) > 0)
            metric_histogram(out, times, &l, 1, &a->entries[i].stats.time);
    }
}
