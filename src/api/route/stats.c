/* What is counted of each call, and the line about a slow one. */
#include "api/route/route_priv.h"
#include "base/log.h"
#include "base/trace.h"

#include <string.h>

/* Slot 0 is "other". */
static const uint16_t counted[] = {
    0,   101, 200, 201, 202, 204, 206, 304, 307, 308, 400, 401, 403, 404, 405, 406,
    409, 410, 412, 413, 415, 421, 422, 426, 428, 429, 499, 500, 501, 503, 504, 507,
};
_Static_assert(ARRAY_LEN(counted) == API_STATUSES, "one slot a status");

int api_stats_init(struct api *a)
{
    a->stats = mem_calloc(a->o.n_routes + STATS_PSEUDO, sizeof(*a->stats));
    return a->stats != NULL ? 0 : ERR_NO_MEMORY;
}

static void count_status(struct route_stats *s, int status)
{
    size_t i = status == 200 ? 2 : 1;
    while (i < API_STATUSES && counted[i] != status)
        i++;
    s->statuses[i < API_STATUSES ? i : 0]++;
}

static void log_slow(const struct call *k, int status, uint64_t ns)
{
    struct exchange *x = k->c.x;
    struct trace t;
    bool traced = trace_parse(exchange_header(x, "traceparent"), &t);
    LOG(WARN, "api", "slow-request", "a request took long", LF_STR("route", k->c.route->path),
        LF_SLICE("method", exchange_request(x)->method_text), LF_INT("status", status),
        LF_INT("ms", ns / NS_PER_MS), LF_STR("peer", exchange_peer(x)->text),
        LF_STR("request", exchange_id(x)), LF_STR("trace", traced ? t.trace_id : NULL));
}

/* Names as OpenTelemetry has them for HTTP servers. */
static void end_span(struct call *k, int status)
{
    const struct api_route *r = k->c.route;
    char name[160];
    struct buf b = BUF_FIXED(name);
    const char *method = http_method_name(r->method);
    const struct span_attr attrs[] = {
        SPAN_TEXT("http.request.method", slice_of(method)),
        SPAN_TEXT("http.route", slice_of(r->path)),
        SPAN_TEXT("url.path", k->c.x != NULL ? exchange_request(k->c.x)->path : SLICE_LIT("")),
        SPAN_INT("http.response.status_code", status),
        SPAN_TEXT("enduser.id", slice_of(k->c.who->name)),
        SPAN_TEXT("gantry.request.id", slice_of(k->c.x != NULL ? exchange_id(k->c.x) : "")),
    };
    (void)buf_addf(&b, "%s %s", method, r->path);
    struct span_done d = {.kind = SPAN_SERVER,
                          .name = {name, b.len},
                          .failed = status >= 500,
                          .state = k->c.x != NULL ? exchange_header(k->c.x, "tracestate")
                                                  : SLICE_LIT(""),
                          .attrs = attrs,
                          .n_attrs = ARRAY_LEN(attrs)};
    span_end(&k->span, &d);
}

void call_count(struct call *k, int status, bool stream)
{
    struct api *a = k->api;
    if (k->counted)
        return;
    k->counted = true;
    if (k->c.route == NULL) {
        size_t i = k->upgrade ? STATS_WEBSOCKET : STATS_NO_ROUTE;
        count_status(&a->stats[a->o.n_routes + i], status);
        return;
    }
    struct route_stats *s = &a->stats[k->c.route - a->o.routes];
    count_status(s, status);
    if (k->began_ns == 0)
        return;
    if (k->span.self.on)
        end_span(k, status);
    uint64_t ns = clock_mono_ns(a->o.clock) - k->began_ns;
    histogram_add(&s->time, ns);
    if (a->o.slow_ns != 0 && ns > a->o.slow_ns && !stream && k->c.x != NULL)
        log_slow(k, status, ns);
}

bool api_call_traceparent(const struct api_call *c, char *out)
{
    const struct call *k = call_of((struct api_call *)(uintptr_t)c);
    if (!k->span.self.on)
        return false;
    memcpy(out, "00-", 3);
    hex_encode(out + 3, k->span.self.trace, SPAN_TRACE_BYTES);
    out[35] = '-';
    hex_encode(out + 36, k->span.self.id, SPAN_ID_BYTES);
    memcpy(out + 52, "-01", 4);
    return true;
}

void api_set_slow(struct api *a, uint64_t ns)
{
    CHECK_MAGIC(a, API_MAGIC);
    a->o.slow_ns = ns;
}

void api_count_upgrade(struct api *a, int status)
{
    CHECK_MAGIC(a, API_MAGIC);
    count_status(&a->stats[a->o.n_routes + STATS_WEBSOCKET], status);
}

/* Method and path of a row, or of what stands for one. */
static void labels_of(const struct api *a, size_t i, struct metric_label l[2])
{
    const struct api_route *r = i < a->o.n_routes ? &a->o.routes[i] : NULL;
    const char *method = "any", *path = "none";
    if (r != NULL) {
        method = http_method_name(r->method);
        path = r->path;
    } else if (i == a->o.n_routes + STATS_WEBSOCKET) {
        method = "GET";
        path = "websocket";
    }
    l[0] = (struct metric_label){"method", slice_of(method)};
    l[1] = (struct metric_label){"route", slice_of(path)};
}

void api_write_metrics(const struct api *a, struct buf *out)
{
    static const char requests[] = "gantry_http_requests_total";
    static const char times[] = "gantry_http_request_duration_seconds";
    struct metric_label l[3];
    CHECK_MAGIC(a, API_MAGIC);
    metric_family(out, requests, "counter", "Requests by route and status of the answer");
    for (size_t i = 0; i < a->o.n_routes + STATS_PSEUDO; i++) {
        labels_of(a, i, l);
        for (size_t k = 0; k < API_STATUSES; k++) {
            char text[8];
            struct buf status = BUF_FIXED(text);
            if (a->stats[i].statuses[k] == 0)
                continue;
            if (k > 0)
                buf_addu(&status, counted[k]);
            else
                buf_addlit(&status, "other");
            l[2] = (struct metric_label){"status", {status.data, status.len}};
            metric_u64(out, requests, l, 3, a->stats[i].statuses[k]);
        }
    }
    metric_family(out, times, "histogram", "Seconds from the handler's call to its answer");
    for (size_t i = 0; i < a->o.n_routes; i++) {
        labels_of(a, i, l);
        if (histogram_count(&a->stats[i].time) > 0)
            metric_histogram(out, times, l, 2, &a->stats[i].time);
    }
}
