/* Health and metrics: what a supervisor, a load balancer and Prometheus ask. */
#include "api/rest/rest_priv.h"
#include "base/build.h"
#include "base/metric.h"
#include "base/process.h"
#include "net/server.h"

#include <stdio.h>

#define METRICS_MAX (16u * 1024u * 1024u)

/* --- health --- */

void rest_healthz(struct api_call *c)
{
    api_reply_text(c, 200, "text/plain; charset=utf-8", SLICE_LIT("ok\n"));
}

struct checks {
    rest_check_fn fn;
    void *ctx;
};

static void check(struct checks *k, const char *name, bool ok, bool required, const char *detail)
{
    const struct rest_check c = {name, ok, required, detail};
    k->fn(k->ctx, &c);
}

static void check_listeners(struct checks *k, const struct rest *r)
{
    char text[48];
    size_t n = r->server ? server_stats(r->server)->listeners : 0;
    snprintf(text, sizeof(text), "%zu open", n);
    check(k, "listeners", n > 0, true, text);
}

static void check_audit(struct checks *k, const struct rest *r)
{
    struct audit_stats s = {0};
    const struct audit_source *from = r->o.audit_source;
    if (from != NULL)
        from->stats(from->ctx, &s);
    if (!s.on)
        check(k, "audit", true, false, "switched off");
    else
        check(k, "audit", s.writable, true,
              s.writable ? "writable" : "records cannot be written, see the log");
}

static void check_agents(struct checks *k, const struct rest *r)
{
    char text[256];
    size_t total = agent_set_count(r->o.agents), asked = 0, bad = 0;
    const char *first = NULL;
    for (size_t i = 0; i < total; i++) {
        const struct agent *a = agent_set_at(r->o.agents, i);
        const struct agent_stats *s = agent_stats(a);
        if (!s->asked)
            continue;
        asked++;
        if (s->last != AGENT_OK && s->last != AGENT_ERROR) {
            bad++;
            first = first != NULL ? first : agent_name(a);
        }
    }
    if (bad > 0)
        snprintf(text, sizeof(text), "%zu of %zu did not answer the last call, first \"%.150s\"",
                 bad, total, first);
    else
        snprintf(text, sizeof(text), "%zu of %zu answered the last call, the others were not asked",
                 asked, total);
    check(k, "agents", bad == 0, false, text);
}

static void check_store(struct checks *k, const struct rest *r)
{
    const char *fault = r->o.store_fault;
    if (fault == NULL || fault[0] == '\0')
        fault = r->o.store_doubt;
    bool ok = fault == NULL || fault[0] == '\0';
    check(k, "store", ok, false, ok ? "in good order" : fault);
}

/* The engine is asked over two links, for the calls of containers and for workloads: one that hangs
 * is noticed by the link that waits for an answer. */
static void check_runtime(struct checks *k, const struct rest *r)
{
    char text[256];
    const struct runtime *rt = r->o.runtime;
    const struct driver *d =
        r->o.engine != NULL ? engine_driver(r->o.engine, WORKLOAD_CONTAINER) : NULL;
    if (rt == NULL)
        return;
    bool up = rt->ops->reachable(rt->self), driven = d == NULL || d->ops->reachable(d->self);
    if (driven)
        snprintf(text, sizeof(text), "%s", up ? "reachable" : "not reachable");
    else
        snprintf(text, sizeof(text), "not reachable: %s", d->ops->condition(d->self));
    check(k, rt->ops->name, up && driven, false, text);
}

void rest_each_check(const struct rest *r, rest_check_fn fn, void *ctx)
{
    struct checks k = {fn, ctx};
    /* After a reload that was refused, the configuration before serves on. */
    check(&k, "configuration", r->config_ok, !r->config_loaded, r->config_detail);
    check_listeners(&k, r);
    check(&k, "draining", !r->draining, true, r->draining ? "gantryd is stopping" : "no");
    check_audit(&k, r);
    check_store(&k, r);
    check_runtime(&k, r);
    check_agents(&k, r);
}

struct readiness {
    struct json_out j;
    bool ready;
};

/* What is not required is told, but does not count. */
static void put_check(void *ctx, const struct rest_check *c)
{
    struct readiness *k = ctx;
    k->ready = k->ready && (c->ok || !c->required);
    json_obj(&k->j);
    json_kstr(&k->j, "name", c->name);
    json_kbool(&k->j, "ok", c->ok);
    json_kbool(&k->j, "required", c->required);
    json_kslice(&k->j, "detail", slice_of(c->detail));
    json_end_obj(&k->j);
}

void rest_readyz(struct api_call *c)
{
    struct buf list = BUF_INIT(64 * 1024), b = BUF_INIT(128 * 1024);
    struct readiness k = {.ready = true};
    json_begin(&k.j, &list);
    json_arr(&k.j);
    rest_each_check(c->app, put_check, &k);
    json_end_arr(&k.j);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kbool(&j, "ready", k.ready);
    json_key(&j, "checks");
    json_raw(&j, (struct slice){list.data, list.len});
    json_end_obj(&j);
    b.err = b.err != 0 ? b.err : list.err;
    api_reply_json(c, k.ready ? 200 : 503, &b);
    buf_done(&list);
    buf_done(&b);
}

/* --- metrics --- */

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

static void write_build(struct buf *b)
{
    struct metric_label l[] = {{"version", SLICE_LIT(GANTRY_VERSION)},
                               {"commit", slice_of(build_commit)},
                               {"compiler", slice_of(build_compiler)}};
    metric_family(b, "gantry_build_info", "gauge", "Always 1; what this program was built from");
    metric_u64(b, "gantry_build_info", l, ARRAY_LEN(l), 1);
}

static void write_server(struct buf *b, const struct server *server)
{
    const struct server_stats *s = server_stats(server);
    one(b, "gantry_http_connections", "gauge", "Open connections of clients", s->connections);
    one(b, "gantry_http_exchanges", "gauge", "Requests that are not over", s->exchanges);
    one(b, "gantry_http_listeners", "gauge", "Listeners that accept", s->listeners);
    one(b, "gantry_http_connections_accepted_total", "counter", "Connections accepted",
        s->accepted);
    one(b, "gantry_http_connections_refused_total", "counter",
        "Connections closed at once: too many, or no descriptor left", s->refused);
    one(b, "gantry_http_bad_requests_total", "counter",
        "Requests refused before they had a route: not HTTP, or over a limit", s->bad_requests);
    one(b, "gantry_http_timeouts_total", "counter", "Connections closed by a time limit",
        s->timeouts);
}

static void write_agent_calls(struct buf *b, const struct agent_set *set)
{
    static const char calls[] = "gantry_agent_calls_total";
    static const char times[] = "gantry_agent_call_duration_seconds";
    metric_family(b, calls, "counter", "Calls to agents by how they ended");
    for (size_t i = 0; i < agent_set_count(set); i++) {
        const struct agent *a = agent_set_at(set, i);
        struct metric_label l[2] = {{"container", slice_of(agent_name(a))}};
        for (size_t o = 0; o < AGENT_OUTCOMES; o++) {
            l[1] = (struct metric_label){"outcome", slice_of(agent_outcome_names[o])};
            metric_u64(b, calls, l, 2, agent_stats(a)->outcomes[o]);
        }
    }
    metric_family(b, times, "histogram", "Seconds from a call to the agent's answer");
    for (size_t i = 0; i < agent_set_count(set); i++) {
        const struct agent *a = agent_set_at(set, i);
        struct metric_label l = {"container", slice_of(agent_name(a))};
        if (agent_stats(a)->asked)
            metric_histogram(b, times, &l, 1, &agent_stats(a)->time);
    }
}

static void write_agent_pools(struct buf *b, const struct agent_set *set)
{
    static const char open[] = "gantry_agent_connections", waits[] = "gantry_agent_calls_waiting";
    metric_family(b, open, "gauge", "Connections to agents; use: calls, or live logs");
    for (size_t i = 0; i < agent_set_count(set) * 2; i++) {
        const struct agent *a = agent_set_at(set, i / 2);
        struct client_stats s = agent_connections(a, i % 2 == 1);
        struct metric_label l[] = {{"container", slice_of(agent_name(a))},
                                   {"use", slice_of(i % 2 == 1 ? "logs" : "calls")},
                                   {"state", SLICE_LIT("idle")}};
        metric_u64(b, open, l, 3, s.idle);
        l[2].value = SLICE_LIT("busy");
        metric_u64(b, open, l, 3, s.open - s.idle);
    }
    metric_family(b, waits, "gauge", "Calls to agents that wait for a connection");
    for (size_t i = 0; i < agent_set_count(set); i++) {
        const struct agent *a = agent_set_at(set, i);
        struct metric_label l = {"container", slice_of(agent_name(a))};
        metric_u64(b, waits, &l, 1, agent_connections(a, false).waiting);
    }
}

static void write_engine(struct buf *b, const struct runtime *rt)
{
    static const char calls[] = "gantry_engine_calls_total", open[] = "gantry_engine_connections";
    struct runtime_stats s = {0};
    if (rt->ops->stats != NULL)
        rt->ops->stats(rt->self, &s);
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"ok", s.ok},
                {"error", s.error},
                {"unreachable", s.unreachable},
                {"timeout", s.timeout},
                {"failed", s.failed}};
    struct metric_label l[2] = {{"engine", slice_of(rt->ops->name)}};
    metric_family(b, calls, "counter", "Calls to the container engine by how they ended");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        l[1] = (struct metric_label){"outcome", slice_of(rows[i].name)};
        metric_u64(b, calls, l, 2, rows[i].v);
    }
    metric_family(b, "gantry_engine_call_duration_seconds", "histogram",
                  "Seconds from a call to the engine's answer");
    if (histogram_count(&s.time) > 0)
        metric_histogram(b, "gantry_engine_call_duration_seconds", l, 1, &s.time);
    metric_family(b, "gantry_engine_reachable", "gauge", "1 if the engine has answered lately");
    metric_u64(b, "gantry_engine_reachable", l, 1, rt->ops->reachable(rt->self));
    metric_family(b, open, "gauge", "Connections to the container engine");
    l[1] = (struct metric_label){"state", SLICE_LIT("idle")};
    metric_u64(b, open, l, 2, s.idle);
    l[1].value = SLICE_LIT("busy");
    metric_u64(b, open, l, 2, s.open - s.idle);
    metric_family(b, "gantry_engine_calls_waiting", "gauge",
                  "Calls to the engine that wait for a connection");
    metric_u64(b, "gantry_engine_calls_waiting", l, 1, s.waiting);
}

static void write_audit(struct buf *b, const struct audit_source *from)
{
    struct audit_stats s;
    from->stats(from->ctx, &s);
    one(b, "gantry_audit_records_total", "counter", "Audit records written to the file", s.written);
    one(b, "gantry_audit_records_lost_total", "counter",
        "Audit records that found no room to wait for the file", s.lost);
    one(b, "gantry_audit_write_failures_total", "counter",
        "Writes to the audit file that failed and were tried again", s.failures);
    one(b, "gantry_audit_queue_bytes", "gauge", "Bytes of audit records that wait to be written",
        s.queued);
}

static void write_process(struct buf *b, const struct process_stats *p)
{
    one(b, "process_resident_memory_bytes", "gauge", "Resident memory", p->resident_bytes);
    one(b, "process_virtual_memory_bytes", "gauge", "Virtual memory", p->virtual_bytes);
    one(b, "process_open_fds", "gauge", "Open file descriptors", p->open_fds);
    one(b, "process_max_fds", "gauge", "Most file descriptors that may be open", p->max_fds);
    metric_family(b, "process_cpu_seconds_total", "counter", "User and system CPU time");
    metric_ns(b, "process_cpu_seconds_total", NULL, 0, p->cpu_ns);
    metric_family(b, "process_start_time_seconds", "gauge", "Start of the process since 1970");
    metric_ns(b, "process_start_time_seconds", NULL, 0, p->start_ns);
}

void rest_write_metrics(const struct rest *r, const struct process_stats *p, struct buf *b)
{
    write_build(b);
    api_write_metrics(r->api, b);
    if (r->server != NULL)
        write_server(b, r->server);
    one(b, "gantry_log_viewers", "gauge", "Viewers of live logs", r->n_viewers);
    one(b, "gantry_log_upstreams", "gauge", "Live logs that are followed for them",
        log_hub_upstreams(r->o.hub));
    write_agent_calls(b, r->o.agents);
    write_agent_pools(b, r->o.agents);
    if (r->o.runtime != NULL)
        write_engine(b, r->o.runtime);
    if (r->o.audit_source != NULL)
        write_audit(b, r->o.audit_source);
    if (r->o.more_metrics != NULL)
        r->o.more_metrics(r->o.more_metrics_ctx, b);
    write_process(b, p);
}

/* The kernel's part is read off the loop; the rest belongs to the loop and is written there. */
struct scrape {
    uv_work_t uv;
    struct api_call *c;
    struct process_stats process;
};

static void scrape_read(uv_work_t *w)
{
    struct scrape *s = CONTAINER_OF(w, struct scrape, uv);
    process_stats_read(&s->process);
}

static void scrape_done(uv_work_t *w, int status)
{
    (void)status; /* cancelled by nobody */
    struct scrape *s = CONTAINER_OF(w, struct scrape, uv);
    struct api_call *c = s->c;
    if (c->x == NULL) { /* the client left; the front end may have gone too */
        api_call_release(c);
        mem_free(s);
        return;
    }
    struct buf b = BUF_INIT(METRICS_MAX);
    rest_write_metrics(c->app, &s->process, &b);
    if (b.err == 0)
        api_reply_text(c, 200, METRIC_CONTENT_TYPE, (struct slice){b.data, b.len});
    else
        api_reply_json(c, 200, &b); /* tells the buffer's failure */
    buf_done(&b);
    mem_free(s);
}

void rest_metrics(struct api_call *c)
{
    struct loop *loop = exchange_loop(c->x);
    struct scrape *s = mem_zalloc(sizeof(*s));
    if (s == NULL) {
        api_reply_error(c, 503, "out of memory");
        return;
    }
    if (api_call_hold(c, NULL, NULL, &s->c) != 0) {
        mem_free(s);
        return;
    }
    if (loop_work(loop, &s->uv, scrape_read, scrape_done) != 0) {
        api_reply_error(s->c, 503, "out of memory");
        mem_free(s);
    }
}
