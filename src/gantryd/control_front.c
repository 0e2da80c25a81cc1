#include "gantryd/control_front.h"

#include "api/control/control.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

struct control_front {
    const struct config *c;
    const char *node_id;
    struct event_hub *events;
    struct control *control; /* NULL: there is no scheduler */
};

/* --- what happens --- */

static void publish(struct control_front *f, const char *type, const char *from, const char *to,
                    const struct err *e, const char *text)
{
    const struct event ev = {.kind = "node",
                             .name = slice_of(f->node_id),
                             .type = type,
                             .from = slice_of(from),
                             .to = slice_of(to),
                             .reason = slice_of(e != NULL ? err_name(e->code) : ""),
                             .message = slice_of(text)};
    if (f->events != NULL)
        event_publish(f->events, &ev);
}

static void on_registered(struct control_front *f)
{
    struct node_link_view v;
    control_view(f->control, &v);
    LOG(INFO, "control", "control-registered", "the scheduler has taken this node",
        LF_STR("scheduler", v.address), LF_STR("node", f->node_id), LF_STR("endpoint", v.endpoint),
        LF_INT("interval_ms", v.interval_ms));
    publish(f, "registered", "", "registered", NULL, "the scheduler has taken this node");
}

static void on_lost(struct control_front *f, const struct control_news *n)
{
    LOG(WARN, "control", "control-lost",
        "this node is not registered at the scheduler any more, trying again; workloads stay as "
        "they are",
        LF_INT("wait_ms", n->wait_ms), LF_ERR(n->error));
    publish(f, "lost", "registered", "", n->error, n->error->msg);
}

static void on_draining(struct control_front *f, bool on)
{
    const char *text = !on ? "the scheduler does not drain this node any more"
                       : f->c->control.refuse_when_draining
                           ? "the scheduler drains this node: new workloads are refused"
                           : "the scheduler drains this node: workloads stay, new ones are taken";
    LOG(WARN, "control", on ? "control-draining" : "control-not-draining", text,
        LF_STR("node", f->node_id));
    publish(f, "draining", on ? "serving" : "draining", on ? "draining" : "serving", NULL, text);
}

static void on_left_out(const struct control_news *n)
{
    if (n->on)
        LOG(WARN, "control", "control-left-out",
            "a heartbeat has no room for all workloads, they are told in turn",
            LF_INT("left_out", n->count));
    else
        LOG(INFO, "control", "control-complete", "heartbeats hold all workloads again");
}

static void on_news(void *ctx, const struct control_news *n)
{
    struct control_front *f = ctx;
    switch (n->event) {
    case CONTROL_EV_REGISTERED:
        on_registered(f);
        break;
    case CONTROL_EV_LOST:
        on_lost(f, n);
        break;
    case CONTROL_EV_FAILED:
        LOG(WARN, "control", "control-failed",
            "this node is not registered at the scheduler, trying again",
            LF_INT("wait_ms", n->wait_ms), LF_ERR(n->error));
        break;
    case CONTROL_EV_DRAINING:
        on_draining(f, n->on);
        break;
    case CONTROL_EV_ACKNOWLEDGED:
        if (n->on)
            LOG(INFO, "control", "control-acknowledged", "the scheduler takes heartbeats again");
        else
            LOG(WARN, "control", "control-not-acknowledged",
                "the scheduler answers heartbeats, but does not take them; going on");
        break;
    case CONTROL_EV_LEFT_OUT:
        on_left_out(n);
        break;
    case CONTROL_EV_CLOCK:
        if (n->on)
            LOG(WARN, "control", "control-clock",
                "leases of the scheduler are over when they come, its clock is another; they are "
                "not heeded");
        else
            LOG(INFO, "control", "control-clock-fine", "leases are heeded again");
        break;
    }
}

/* --- life --- */

static bool wanted(const struct config_control *c)
{
    return c->enabled == CONTROL_ON || (c->enabled == CONTROL_AUTO && c->address != NULL);
}

static void tls_files(void *ctx, const char *files[GRPC_TLS_FILES])
{
    const struct control_front *f = ctx;
    (void)config_grpc_files(&f->c->grpc.tls, files);
}

static int make_control(struct control_front *f, struct loop *l, struct keeper *k, struct err *e)
{
    const struct config *c = f->c;
    struct rest_options from = {0};
    keeper_rest(k, &from);
    struct control_options o = {
        .loop = l,
        .address = c->control.address != NULL ? c->control.address : CONFIG_CONTROL_ADDRESS,
        .insecure = c->control.insecure,
        .tls_files = tls_files,
        .endpoint = c->control.endpoint,
        .grpc_host = c->grpc.address,
        .grpc_port = (uint16_t)c->grpc.port,
        .node = {.id = from.node_id,
                 .version = c->grpc.version != NULL ? c->grpc.version : GANTRY_VERSION,
                 .cluster_id = c->control.cluster_id,
                 .labels = from.node_labels,
                 .n_labels = from.n_node_labels},
        .engine = from.engine,
        .refuse_when_draining = c->control.refuse_when_draining,
        .news = on_news,
        .ctx = f,
    };
    if (from.host != NULL)
        o.host = *from.host;
    o.node.storage_drivers = keeper_storage_drivers(k, &o.node.n_storage_drivers);
    if (o.insecure)
        LOG(WARN, "control", "control-insecure", "the scheduler is asked without TLS",
            LF_STR("scheduler", o.address));
    if (c->grpc.enabled == GRPC_OFF)
        LOG(WARN, "control", "control-no-port",
            "a scheduler is to be told of this node, but gRPC's port is off: it will not be able "
            "to ask for anything");
    return control_new(&f->control, &o, e);
}

int control_front_new(struct control_front **ret, struct loop *l, const struct config *c,
                      struct keeper *k, struct err *e)
{
    struct rest_options from = {0};
    struct control_front *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    keeper_rest(k, &from);
    *f = (struct control_front){.c = c, .node_id = from.node_id, .events = from.events};
    int rc = wanted(&c->control) ? make_control(f, l, k, e) : 0;
    if (rc != 0) {
        mem_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

static void view(void *self, struct node_link_view *ret)
{
    const struct control_front *f = self;
    if (f->control != NULL)
        control_view(f->control, ret);
    else
        *ret = (struct node_link_view){.address = "", .endpoint = "", .error = ""};
}

struct node_link control_front_link(struct control_front *f)
{
    return (struct node_link){.view = view, .self = f};
}

void control_front_stop(struct control_front *f)
{
    if (f->control != NULL)
        control_stop(f->control);
}

void control_front_free(struct control_front *f)
{
    if (f == NULL)
        return;
    control_free(f->control);
    mem_free(f);
}

/* --- metrics --- */

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

static void times(struct buf *b, const char *name, const char *help, const struct histogram *h)
{
    metric_family(b, name, "histogram", help);
    metric_histogram(b, name, NULL, 0, h);
}

static void write_state(struct buf *b, const struct node_link_view *v)
{
    metric_family(b, "gantry_control_state", "gauge",
                  "1 for the state of the way to the scheduler");
    for (unsigned i = NODE_LINK_OFF; i <= NODE_LINK_STOPPED; i++) {
        const struct metric_label l = {"state",
                                       slice_of(node_link_state_name((enum node_link_state)i))};
        metric_u64(b, "gantry_control_state", &l, 1, v->state == i);
    }
    one(b, "gantry_control_draining", "gauge", "1 while the scheduler has this node drained",
        v->draining);
    one(b, "gantry_control_heartbeat_timestamp_seconds", "gauge",
        "When the last heartbeat was answered", (uint64_t)v->heartbeat_ns / NS_PER_S);
    one(b, "gantry_control_workloads_left_out", "gauge",
        "Workloads that the last heartbeat had no room for", v->left_out);
}

void control_front_write_metrics(const struct control_front *f, struct buf *b)
{
    struct node_link_view v;
    view((void *)(uintptr_t)f, &v);
    write_state(b, &v);
    if (f->control == NULL)
        return;
    const struct control_stats *s = control_stats(f->control);
    one(b, "gantry_control_connections_total", "counter", "Connections to the scheduler tried",
        s->dials);
    one(b, "gantry_control_registrations_total", "counter",
        "Times that the scheduler took this node", s->registrations);
    one(b, "gantry_control_refusals_total", "counter",
        "Times that the scheduler did not take this node", s->refusals);
    one(b, "gantry_control_heartbeats_total", "counter", "Heartbeats that were answered",
        s->heartbeats);
    one(b, "gantry_control_heartbeats_unacknowledged_total", "counter",
        "Of these, those that the scheduler did not take", s->unacknowledged);
    one(b, "gantry_control_failures_total", "counter",
        "Calls to the scheduler, or connections, in vain", s->failures);
    one(b, "gantry_control_heartbeat_bytes", "gauge", "Size of the last heartbeat", s->bytes);
    times(b, "gantry_control_heartbeat_duration_seconds", "Time until a heartbeat was answered",
          &s->heartbeat_time);
    times(b, "gantry_control_heartbeat_delay_seconds",
          "Time by which heartbeats were sent later than they were due", &s->late);
}
