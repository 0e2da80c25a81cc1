/* What the node has to say of itself, and why it is as it is. */
#include "api/rest/workloads.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

/* --- GET /v1/node --- */

static void put_percent(struct json_out *j, const char *key, double v)
{
    json_key(j, key);
    if (v < 0)
        json_nil(j);
    else
        json_double(j, v);
}

static void put_usage(struct json_out *j, const struct host *h)
{
    struct host_usage u = {.memory_percent = -1, .cpu_percent = -1, .disk_percent = -1};
    if (h != NULL && h->ops != NULL)
        h->ops->usage(h->self, &u);
    json_key(j, "usage");
    json_obj(j);
    put_percent(j, "memory_percent", u.memory_percent);
    put_percent(j, "cpu_percent", u.cpu_percent);
    put_percent(j, "disk_percent", u.disk_percent);
    json_kint(j, "memory_total_bytes", u.memory_total_bytes);
    json_kint(j, "memory_available_bytes", u.memory_available_bytes);
    json_kint(j, "disk_total_bytes", u.disk_total_bytes);
    json_kint(j, "disk_free_bytes", u.disk_free_bytes);
    json_kint(j, "cpu_millicores", u.cpu_millicores);
    json_end_obj(j);
}

static void put_runtimes(struct json_out *j, const struct engine *g)
{
    json_key(j, "runtimes");
    json_arr(j);
    for (unsigned t = WORKLOAD_CONTAINER; g != NULL && t < WORKLOAD_TYPES; t++) {
        const struct driver *d = engine_driver(g, (enum workload_type)t);
        if (d == NULL)
            continue;
        json_obj(j);
        json_kstr(j, "type", workload_type_name((enum workload_type)t));
        json_kstr(j, "name", d->ops->name);
        json_kstr(j, "condition", d->ops->condition(d->self));
        json_end_obj(j);
    }
    json_end_arr(j);
}

static void put_counts(struct json_out *j, const struct engine *g)
{
    struct engine_stats s = {0};
    if (g != NULL)
        engine_stats(g, &s);
    json_key(j, "workloads");
    json_obj(j);
    for (unsigned a = ACTUAL_PENDING; a <= ACTUAL_UNKNOWN; a++) {
        size_t n = 0;
        for (unsigned t = 0; t < WORKLOAD_TYPES; t++)
            n += s.workloads[t][a];
        json_kint(j, actual_name((enum workload_actual)a), (int64_t)n);
    }
    json_end_obj(j);
}

static void put_known_time(struct json_out *j, const char *key, int64_t ns)
{
    if (ns != 0)
        rest_put_time(j, key, ns);
}

static void put_tries(struct json_out *j, const struct node_link_view *v)
{
    if (v->failures > 0)
        json_kint(j, "failures", v->failures);
    if (v->left_out > 0)
        json_kint(j, "left_out", (int64_t)v->left_out);
    if (v->error[0] != '\0')
        json_kstr(j, "error", v->error);
}

static void put_link(struct json_out *j, const struct node_link *link)
{
    struct node_link_view v;
    if (link == NULL)
        return;
    link->view(link->self, &v);
    json_key(j, "control");
    json_obj(j);
    json_kstr(j, "state", node_link_state_name(v.state));
    if (v.state != NODE_LINK_OFF) {
        json_kstr(j, "address", v.address);
        if (v.endpoint[0] != '\0')
            json_kstr(j, "endpoint", v.endpoint);
        json_kbool(j, "tls", !v.insecure);
        put_known_time(j, "since", v.since_ns);
        put_known_time(j, "last_heartbeat_at", v.heartbeat_ns);
        put_known_time(j, "lease_expires_at", v.lease_ns);
        put_known_time(j, "next_at", v.next_ns);
        if (v.interval_ms > 0)
            json_kint(j, "heartbeat_interval_ms", (int64_t)v.interval_ms);
        json_kbool(j, "acknowledged", v.acknowledged);
        json_kbool(j, "draining", v.draining);
        json_kbool(j, "refuses_new", v.refusing);
        put_tries(j, &v);
    }
    json_end_obj(j);
}

void rest_node_get(struct api_call *c)
{
    const struct rest_options *o = &((const struct rest *)c->app)->o;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "id", o->node_id != NULL ? o->node_id : "");
    json_kstr(&j, "version", GANTRY_VERSION);
    json_key(&j, "labels");
    json_obj(&j);
    for (size_t i = 0; i < o->n_node_labels; i++)
        json_kstr(&j, o->node_labels[i].key, o->node_labels[i].value);
    json_end_obj(&j);
    put_usage(&j, o->host);
    put_runtimes(&j, o->engine);
    put_counts(&j, o->engine);
    if (o->write_certificate != NULL) {
        o->write_certificate(o->certificate, &j);
    } else {
        json_knull(&j, "certificate");
    }
    put_link(&j, o->link);
    json_end_obj(&j);
    rest_reply_out(c);
}

/* --- GET /v1/explain/node --- */

enum { PROBLEMS_MAX = 16 };

/* What is not as it should be. */
struct problems {
    bool not_ready; /* one of them keeps requests from being served */
    size_t n;
    const char *names[PROBLEMS_MAX];
    struct buf why;
};

static void problem(struct problems *p, const char *name, const char *detail)
{
    size_t room = p->why.max - p->why.len, need = strlen(name) + strlen(detail) + 4;
    if (p->n < PROBLEMS_MAX)
        p->names[p->n++] = name;
    if (need < room)
        (void)buf_addf(&p->why, "%s%s: %s", p->why.len > 0 ? "; " : "", name, detail);
}

static void on_check(void *ctx, const struct rest_check *c)
{
    struct problems *p = ctx;
    if (c->ok)
        return;
    p->not_ready = p->not_ready || c->required;
    problem(p, c->name, c->detail);
}

static size_t count_of(const struct engine_stats *s, enum workload_type t)
{
    size_t n = 0;
    for (unsigned a = ACTUAL_PENDING; a <= ACTUAL_UNKNOWN; a++)
        n += s->workloads[t][a];
    return n;
}

/* One that could do more, and need not, is no problem: no Compose tool, where nobody wants any. The
 * engine of containers is among the checks. */
static void driver_problems(struct problems *p, const struct rest_options *o,
                            const struct engine_stats *s)
{
    for (unsigned t = WORKLOAD_CONTAINER; o->engine != NULL && t < WORKLOAD_TYPES; t++) {
        const struct driver *d = engine_driver(o->engine, (enum workload_type)t);
        bool wanted = count_of(s, (enum workload_type)t) > 0;
        if (d == NULL && wanted && o->no_driver != NULL && o->no_driver[t] != NULL)
            problem(p, workload_type_name((enum workload_type)t), o->no_driver[t]);
        if (d == NULL || t == WORKLOAD_CONTAINER)
            continue;
        const char *condition = d->ops->condition(d->self);
        if (strcmp(condition, "healthy") != 0 && (wanted || !d->ops->reachable(d->self)))
            problem(p, d->ops->name, condition);
    }
}

struct node_state {
    const struct rest *r;
    struct node_link_view link;
    struct engine_stats stats;
    struct problems problems;
    size_t total, running;
    const char *state;
    char why[1024];
};

static void judge(struct node_state *n, const struct rest *r)
{
    const struct rest_options *o = &r->o;
    *n = (struct node_state){.r = r, .link.state = NODE_LINK_OFF};
    n->problems.why = (struct buf)BUF_FIXED(n->why);
    if (o->link != NULL && o->link->view != NULL)
        o->link->view(o->link->self, &n->link);
    if (o->engine != NULL)
        engine_stats(o->engine, &n->stats);
    for (unsigned t = 0; t < WORKLOAD_TYPES; t++) {
        n->total += count_of(&n->stats, (enum workload_type)t);
        n->running += n->stats.workloads[t][ACTUAL_RUNNING];
    }
    rest_each_check(r, on_check, &n->problems);
    driver_problems(&n->problems, o, &n->stats);
    if (n->link.failures > 0)
        problem(&n->problems, "scheduler", n->link.error);
    n->state = r->draining             ? "stopping"
               : n->problems.not_ready ? "not_ready"
               : n->link.draining      ? "draining"
               : n->problems.n > 0     ? "degraded"
                                       : "ready";
}

static void put_drain(struct json_out *j, const struct node_link_view *v)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "the scheduler at %.120s drains this node; %s", v->address,
                   v->refusing ? "new workloads are refused" : "new workloads are still taken");
    json_key(j, "drain");
    json_obj(j);
    json_kbool(j, "draining", v->draining);
    json_kbool(j, "refuses_new", v->refusing);
    if (v->draining) {
        json_kstr(j, "reason", text);
        put_known_time(j, "since", v->draining_ns);
    }
    json_end_obj(j);
}

static void put_store(struct json_out *j, const struct node_state *n)
{
    const struct rest_options *o = &n->r->o;
    const char *text = o->store_fault;
    if (text == NULL || text[0] == '\0')
        text = o->store_doubt;
    bool bad = text != NULL && text[0] != '\0';
    json_key(j, "store");
    json_obj(j);
    json_kbool(j, "ok", !bad);
    json_kstr(j, "detail",
              bad                 ? text
              : o->engine == NULL ? "nothing is kept: workloads are switched off"
                                  : "in good order; what is accepted is on the disk");
    json_kint(j, "failures", (int64_t)n->stats.store_failures);
    json_end_obj(j);
}

static void put_driver(struct json_out *j, const struct rest_options *o, enum workload_type t)
{
    const struct driver *d = o->engine != NULL ? engine_driver(o->engine, t) : NULL;
    const char *condition = d != NULL ? d->ops->condition(d->self) : "";
    bool available = d != NULL && strcmp(condition, "healthy") == 0;
    const char *detail = d != NULL && d->ops->detail != NULL ? d->ops->detail(d->self) : "";
    json_obj(j);
    json_kstr(j, "type", workload_type_name(t));
    if (d != NULL)
        json_kstr(j, "name", d->ops->name);
    json_kbool(j, "available", available);
    if (detail[0] != '\0')
        json_kstr(j, "detail", detail);
    if (d != NULL && !available)
        json_kstr(j, "reason", condition);
    else if (d == NULL)
        json_kstr(j, "reason",
                  o->no_driver != NULL && o->no_driver[t] != NULL ? o->no_driver[t]
                                                                  : "there is no driver");
    json_end_obj(j);
}

static const char *next_of(const struct node_state *n, int64_t *ret_ns)
{
    bool on = n->link.state == NODE_LINK_REGISTERED;
    *ret_ns = n->link.next_ns;
    if (n->r->draining) {
        *ret_ns = 0;
        return "It ends when what is under way is over.";
    }
    if (n->link.failures > 0 || n->link.state == NODE_LINK_WAITING ||
        n->link.state == NODE_LINK_REGISTERING)
        return "The scheduler is asked again.";
    if (n->link.draining)
        return "The next heartbeat; its answer says whether the drain goes on.";
    if (on)
        return n->problems.n > 0 ? "The next heartbeat; what is away is asked again by itself."
                                 : "The next heartbeat.";
    *ret_ns = 0;
    return n->problems.n > 0 ? "What is away is asked again by itself." : "Nothing has to be done.";
}

/* The six answers, as those about a workload. */
static void put_sentences(struct json_out *j, const struct node_state *n)
{
    char is[160], should[160], asked[200] = "the configuration";
    const struct node_link_view *v = &n->link;
    int64_t next_ns;
    const char *next = next_of(n, &next_ns);
    (void)snprintf(is, sizeof(is), "It is %s, and has %zu workload%s, %zu of them running.",
                   strcmp(n->state, "not_ready") == 0 ? "not ready" : n->state, n->total,
                   n->total == 1 ? "" : "s", n->running);
    (void)snprintf(should, sizeof(should),
                   "It should serve requests and keep its workloads as they are wanted%s.",
                   v->draining ? ", and be drained" : "");
    if (v->draining)
        (void)snprintf(asked, sizeof(asked), "the scheduler at %.120s", v->address);
    json_kstr(j, "kind", "node");
    json_kstr(j, "id", n->r->o.node_id != NULL ? n->r->o.node_id : "");
    json_kstr(j, "is", is);
    json_kstr(j, "should_be", should);
    json_kstr(j, "why", n->problems.n > 0 ? n->why : "It is as it should be.");
    /* Since when something is amiss is not kept: not told, rather than the start of gantryd. */
    rest_put_time(j, "since",
                  v->draining          ? v->draining_ns
                  : n->problems.n == 0 ? n->r->began_ns
                                       : 0);
    json_kstr(j, "next", next);
    rest_put_time(j, "next_at", next_ns);
    json_kstr(j, "asked_by", asked);
    json_key(j, "waits_for");
    json_arr(j);
    for (size_t i = 0; i < n->problems.n; i++)
        json_str(j, slice_of(n->problems.names[i]));
    json_end_arr(j);
}

void rest_explain_node(struct api_call *c)
{
    const struct rest *r = c->app;
    struct node_state n;
    struct json_out j;
    judge(&n, r);
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    put_sentences(&j, &n);
    json_kstr(&j, "state", n.state);
    put_drain(&j, &n.link);
    put_store(&j, &n);
    put_link(&j, r->o.link);
    json_key(&j, "drivers");
    json_arr(&j);
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES; t++)
        put_driver(&j, &r->o, (enum workload_type)t);
    json_end_arr(&j);
    put_counts(&j, r->o.engine);
    json_end_obj(&j);
    rest_reply_out(c);
}
