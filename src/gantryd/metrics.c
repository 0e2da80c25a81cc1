#include "gantryd/metrics.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/process.h"
#include "base/str.h"
#include "net/server.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX (16u * 1024u * 1024u)

enum { CONNECTIONS = 100, STREAMS = 4, BODY_MAX = 1024 };

struct metrics {
    struct loop *loop;
    const struct config_metrics *c;
    struct keeper *keeper;
    const struct state *state;
    const struct rest *rest;
    const struct grpc_front *grpc;
    const struct certs *certs; /* NULL: none from Vault */
    const struct control_front *control;
    const struct traces *traces;
    struct server *server;
};

static const struct protocol *const protocols[] = {&protocol_http1, NULL};

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

/* --- our own names --- */

static void write_store(struct buf *b, const struct state *state)
{
    const struct workload_store *w = state_store(state);
    struct store_stats s = {0};
    one(b, "gantry_store_up", "gauge", "1 if there is a store for workloads", w != NULL);
    if (w != NULL)
        w->ops->stats(w->self, &s);
    one(b, "gantry_store_commits_total", "counter", "Transactions of the store", s.commits);
    one(b, "gantry_store_rows_total", "counter", "Rows that were written or removed", s.rows);
    one(b, "gantry_store_failures_total", "counter", "Transactions of the store that failed",
        s.failures);
    one(b, "gantry_store_size_bytes", "gauge", "Size of the store's file", s.bytes);
    one(b, "gantry_store_commits_waiting", "gauge", "Commits that wait for the disk", s.waiting);
}

static void write_engine(struct buf *b, const struct engine *g)
{
    struct engine_stats s = {0};
    if (g != NULL)
        engine_stats(g, &s);
    one(b, "gantry_workloads_acting", "gauge", "Workloads that are being changed", s.acting);
    one(b, "gantry_workloads_waiting", "gauge", "Workloads that wait for something", s.waiting);
    one(b, "gantry_workloads_given_up", "gauge", "Workloads that were given up", s.terminal);
    one(b, "gantry_workload_retries_total", "counter", "Tries after a failure", s.retried);
    one(b, "gantry_workload_give_ups_total", "counter", "Workloads given up after their last try",
        s.given_up);
    one(b, "gantry_workload_adoptions_total", "counter", "Objects of before that were taken over",
        s.adopted);
    one(b, "gantry_workload_acts_total", "counter", "Changes asked of runtimes", s.acts);
    one(b, "gantry_workload_looks_total", "counter", "Looks at single objects", s.looks);
    metric_family(b, "gantry_workload_act_duration_seconds", "histogram",
                  "Time a runtime took for a change");
    metric_histogram(b, "gantry_workload_act_duration_seconds", NULL, 0, &s.act_time);
    metric_family(b, "gantry_reconcile_duration_seconds", "histogram",
                  "Time of a pass over all workloads");
    metric_histogram(b, "gantry_reconcile_duration_seconds", NULL, 0, &s.pass_time);
}

static void write_runtime(struct buf *b, const struct keeper *k)
{
    static const char calls[] = "gantry_runtime_calls_total";
    static const char times[] = "gantry_runtime_call_duration_seconds";
    struct runtime rt;
    struct runtime_stats s = {0};
    bool there = keeper_runtime(k, &rt);
    if (there && rt.ops->stats != NULL)
        rt.ops->stats(rt.self, &s);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"ok", s.ok},
                {"error", s.error},
                {"unreachable", s.unreachable},
                {"timeout", s.timeout},
                {"failed", s.failed}};
    struct metric_label l[2] = {{"runtime", slice_of(there ? rt.ops->name : "")}};
    metric_family(b, calls, "counter", "Calls to workloads' runtimes by how they ended");
    for (size_t i = 0; there && i < ARRAY_LEN(rows); i++) {
        l[1] = (struct metric_label){"outcome", slice_of(rows[i].name)};
        metric_u64(b, calls, l, 2, rows[i].v);
    }
    metric_family(b, times, "histogram", "Time from a call to the runtime's answer");
    if (there)
        metric_histogram(b, times, l, 1, &s.time);
}

static void write_events(struct buf *b, const struct event_hub *h)
{
    struct event_stats s = {0};
    if (h != NULL)
        event_hub_stats(h, &s);
    one(b, "gantry_events_published_total", "counter", "Events", s.published);
    one(b, "gantry_events_lost_total", "counter", "Events that found no memory", s.lost);
    one(b, "gantry_events_kept", "gauge", "Events kept for those who come late", s.kept);
    one(b, "gantry_event_readers", "gauge", "Readers of events", s.readers);
    one(b, "gantry_event_readers_cut_total", "counter", "Readers that fell behind", s.cut_off);
}

void metrics_write(void *ctx, struct buf *out)
{
    const struct metrics *m = ctx;
    struct rest_options from = {0};
    keeper_rest(m->keeper, &from);
    const struct metrics_agent agent = {from.engine, from.tasks, from.host};
    if (m->grpc != NULL)
        grpc_front_write_metrics(m->grpc, out);
    if (m->control != NULL)
        control_front_write_metrics(m->control, out);
    metrics_write_agent(&agent, out);
    certs_write_metrics(m->certs, out);
    traces_write_metrics(m->traces, out);
    write_engine(out, from.engine);
    metrics_write_usage(from.engine, out);
    write_runtime(out, m->keeper);
    write_store(out, m->state);
    write_events(out, from.events);
}

/* --- the port --- */

static void answer(struct exchange *x, int status, const char *type, struct slice body)
{
    const struct http_response r = {.status = status, .content_type = type};
    (void)exchange_respond(x, &r, body);
}

/* The kernel's part is read off the loop; the rest belongs to the loop and is written there. */
struct scrape {
    uv_work_t uv;
    struct metrics *m;
    struct exchange *x; /* NULL: the client has left; m may have gone too */
    struct process_stats process;
    bool working;
};

static void scrape_free(struct scrape *s)
{
    if (s->x == NULL && !s->working)
        mem_free(s);
}

static void scrape_gone(void *ctx, struct exchange *x BASE_UNUSED, int err BASE_UNUSED)
{
    struct scrape *s = ctx;
    s->x = NULL;
    scrape_free(s);
}

static void scrape_read(uv_work_t *w)
{
    process_stats_read(&CONTAINER_OF(w, struct scrape, uv)->process);
}

static void scrape_done(uv_work_t *w, int status BASE_UNUSED)
{
    struct scrape *s = CONTAINER_OF(w, struct scrape, uv);
    s->working = false;
    if (s->x == NULL) {
        scrape_free(s);
        return;
    }
    struct buf b = BUF_INIT(TEXT_MAX);
    rest_write_metrics(s->m->rest, &s->process, &b);
    if (b.err == 0)
        answer(s->x, 200, METRIC_CONTENT_TYPE, (struct slice){b.data, b.len});
    else
        answer(s->x, 503, "text/plain", SLICE_LIT("out of memory\n"));
    buf_done(&b);
}

static void scrape(struct metrics *m, struct exchange *x)
{
    static const struct exchange_user user = {.closed = scrape_gone};
    struct scrape *s = mem_zalloc(sizeof(*s));
    if (s == NULL || m->rest == NULL) {
        mem_free(s);
        answer(x, 503, "text/plain", SLICE_LIT("out of memory\n"));
        return;
    }
    *s = (struct scrape){.m = m, .x = x, .working = true};
    exchange_set_user(x, &user, s);
    if (loop_work(m->loop, &s->uv, scrape_read, scrape_done) != 0) {
        s->working = false;
        answer(x, 503, "text/plain", SLICE_LIT("out of memory\n"));
    }
}

/* The body's shape is what clients of the compute agent know (contract 10.2). */
static void health(const struct metrics *m, struct exchange *x)
{
    bool well = state_fault(m->state)[0] == '\0';
    answer(x, well ? 200 : 503, "application/json",
           well ? SLICE_LIT("{\"status\":\"healthy\"}\n")
                : SLICE_LIT("{\"status\":\"unhealthy\"}\n"));
}

static void handle(void *ctx, struct exchange *x)
{
    const struct http_request *q = exchange_request(x);
    bool metrics = slice_eqs(q->path, "/metrics"), at_health = slice_eqs(q->path, "/health");
    if (!metrics && !at_health)
        answer(x, 404, "text/plain", SLICE_LIT("Here are /metrics and /health\n"));
    else if (q->method != HTTP_METHOD_GET && q->method != HTTP_METHOD_HEAD)
        answer(x, 405, "text/plain", SLICE_LIT("GET and HEAD are served here\n"));
    else if (metrics)
        scrape(ctx, x);
    else
        health(ctx, x);
}

int metrics_new(struct metrics **ret, struct loop *l, const struct config_metrics *c,
                struct keeper *k, const struct state *s, struct err *e)
{
    const struct server_options o = {.limits = {.max_streams = STREAMS, .max_body = BODY_MAX},
                                     .max_connections = CONNECTIONS,
                                     .server_name = "gantry"};
    struct metrics *m = mem_zalloc(sizeof(*m));
    if (m == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *m = (struct metrics){.loop = l, .c = c, .keeper = k, .state = s};
    int rc = server_new(&m->server, l, &o, e);
    if (rc != 0) {
        mem_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

void metrics_set_traces(struct metrics *m, const struct traces *traces)
{
    m->traces = traces;
}

void metrics_set_fronts(struct metrics *m, const struct rest *r, const struct grpc_front *f,
                        const struct certs *certs, const struct traces *traces,
                        const struct control_front *c)
{
    m->rest = r;
    m->grpc = f;
    m->certs = certs;
    m->control = c;
    m->traces = traces;
}

int metrics_listen(struct metrics *m, struct err *e)
{
    char text[64];
    struct listen_address a;
    struct listener *li;
    if (m->c->port == 0)
        return 0;
    bool v6 = strchr(m->c->address, ':') != NULL;
    (void)snprintf(text, sizeof(text), v6 ? "[%s]:%d" : "%s:%d", m->c->address, (int)m->c->port);
    int rc = listen_parse(text, &a, e);
    if (rc != 0)
        return rc;
    const struct listener_options o = {.host = a.host,
                                       .port = a.port,
                                       .unix_gid = (gid_t)-1,
                                       .protocols = protocols,
                                       .handler = handle,
                                       .ctx = m};
    rc = server_listen(m->server, &o, &li, e);
    if (rc != 0)
        return err_wrap(e, "cannot serve metrics on \"%s\"", text);
    if (!a.local)
        LOG(WARN, "gantryd", "metrics-open",
            "metrics can be read from other machines without asking who it is; "
            "metrics.address 127.0.0.1 keeps them here",
            LF_STR("address", text));
    LOG(INFO, "gantryd", "metrics-listening", "serving metrics",
        LF_STR("address", listener_address(li)));
    return 0;
}

void metrics_stop(struct metrics *m, void (*done)(void *ctx), void *ctx)
{
    server_stop(m->server, done, ctx);
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    server_free(m->server);
    mem_free(m);
}
