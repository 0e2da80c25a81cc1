/* Wiring, and the order of starting and stopping.
 *
 * Stopping: log viewers are told and closed, the server takes nothing new and finishes what is
 * under way (at most shutdown.limit), then agents, runtime, hub and front end go, and the loop runs
 * empty.
 */
#include "gantryd/daemon_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantryd/audit_place.h"
#include "gantryd/machine.h"
#include "gantryd/ordering.h"
#include "gantryd/share.h"
#include "net/ws.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_FILES = 65536, FILES_KEPT = 512, STOP_STEP_MS = 20, FLUSH_MS = 5000 };

/* As many open files as allowed, but no more than the loop can watch without asking for memory. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    rlim_t want = r.rlim_max > MAX_FILES ? MAX_FILES : r.rlim_max;
    if (r.rlim_cur == want)
        return;
    r.rlim_cur = want;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* the old limit serves too, with fewer connections */
}

static int label_options(const struct config_container *k, struct agent_options *o)
{
    size_t n = k->services.count;
    struct agent_label *labels = mem_calloc(n, sizeof(*labels));
    if (labels == NULL)
        return ERR_NO_MEMORY;
    const struct config_label *from = k->services.items;
    for (size_t i = 0; i < n; i++)
        labels[i] = (struct agent_label){from[i].id, from[i].label};
    *o = (struct agent_options){.name = k->name,
                                .socket_path = k->socket_path,
                                .labels = labels,
                                .n_labels = n,
                                .package_xml = k->repo_version.package_xml_path};
    return 0;
}

void daemon_agent_options_free(struct agent_options *o, size_t n)
{
    for (size_t i = 0; o != NULL && i < n; i++)
        mem_free((void *)o[i].labels);
    mem_free(o);
}

int daemon_agent_options(const struct config *c, struct agent_options **ret, struct err *e)
{
    size_t n = c->containers.count;
    const struct config_container *items = c->containers.items;
    struct agent_options *o = mem_calloc(n, sizeof(*o));
    int rc = o == NULL ? ERR_NO_MEMORY : 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = label_options(&items[i], &o[i]);
    if (rc != 0) {
        daemon_agent_options_free(o, n);
        return err_set(e, rc, "out of memory");
    }
    *ret = o;
    return 0;
}

static int make_agents(struct daemon *d, struct err *e)
{
    struct agent_set_options o = {0};
    struct agent_options *items = NULL;
    size_t n = d->c->containers.count;
    int rc = agent_set_new(&d->agents, d->loop, &o, e);
    if (rc == 0)
        rc = daemon_agent_options(d->c, &items, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = agent_set_add(d->agents, &items[i], e);
    daemon_agent_options_free(items, n);
    return rc;
}

int daemon_docker(struct daemon *d, const struct config *c, struct docker **ret, struct err *e)
{
    struct docker_options o = {.socket_path = c->docker.socket,
                               .strict_talos = c->compat == COMPAT_TALOS_0_1_2};
    return docker_new(ret, d->loop, &o, e);
}

static int make_runtime(struct daemon *d, struct err *e)
{
    int rc = daemon_docker(d, d->c, &d->docker, e);
    if (rc == 0)
        docker_runtime(d->docker, &d->runtime);
    return rc;
}

/* Traces, and then certificates, which may take a while; both before the store, as the compute
 * agent does (contract 9.3). */
static int make_certs(struct daemon *d, struct err *e)
{
    char node_id[MACHINE_NODE_ID_SIZE];
    int rc = machine_node_id(node_id, NULL, d->c->node.id, e);
    if (rc == 0)
        rc = traces_new(&d->traces, d->loop, &d->c->traces, node_id, e);
    if (rc == 0)
        traces_begin(d->traces);
    return rc == 0 ? certs_new(&d->certs, d->loop, d->c, node_id, e) : rc;
}

static int make_audit(struct daemon *d, struct err *e)
{
    int rc = audit_open(&d->audit, d->loop, &d->c->audit, e);
    if (rc == 0) {
        audit_sink(d->audit, &d->audit_sink);
        audit_source(d->audit, &d->audit_source);
    }
    return rc;
}

struct rest_options daemon_rest_options(struct daemon *d, const struct config *c)
{
    d->cors = (struct api_cors){.allow_origins = c->cors.allow_origins.items,
                                .n = c->cors.allow_origins.count};
    struct rest_options o = {.loop = d->loop,
                             .agents = d->agents,
                             .hub = d->hub,
                             .runtime = &d->runtime,
                             .cors = &d->cors,
                             .guard = guard_api(d->guard),
                             .tokens = guard_tokens(d->guard),
                             .config = &d->config_calls,
                             .hosts = c->http.hosts.items,
                             .n_hosts = c->http.hosts.count,
                             .docs_root = share_docs(d->docs_root, c->http.docs_root),
                             .max_body = (size_t)c->http.limits.max_body,
                             .ws_queue = (size_t)c->http.limits.ws_queue,
                             .ws_message = (size_t)c->http.limits.ws_message,
                             .max_viewers = (size_t)c->http.limits.max_viewers,
                             .audit = &d->audit_sink,
                             .audit_source = &d->audit_source,
                             .slow_ms = (uint64_t)c->log.slow,
                             .store = state_admin(d->state),
                             .store_fault = state_fault(d->state),
                             .store_doubt =
                                 keeper_engine(d->keeper) != NULL ? state_doubt(d->state) : "",
                             .more_metrics = metrics_write,
                             .more_metrics_ctx = d->metrics,
                             .write_certificate = certs_write_json,
                             .certificate = d->certs};
    keeper_rest(d->keeper, &o);
    o.services = d->services;
    o.link = &d->link;
    o.order = d->order;
    return o;
}

static int make_grpc(struct daemon *d, struct err *e)
{
    const struct grpc_front_options o = {.loop = d->loop,
                                         .config = d->c,
                                         .keeper = d->keeper,
                                         .state = d->state,
                                         .guard = d->guard,
                                         .audit = &d->audit_sink,
                                         .rest = d->rest};
    int rc = grpc_front_new(&d->grpc, &o, e);
    if (rc == 0)
        metrics_set_fronts(d->metrics, d->rest, d->grpc, d->certs, d->traces, d->control);
    return rc;
}

static int make_control(struct daemon *d, struct err *e)
{
    int rc = control_front_new(&d->control, d->loop, d->c, d->keeper, e);
    if (rc == 0)
        d->link = control_front_link(d->control);
    return rc;
}

/* What happens to services goes where everything goes that happens. */
static int make_services(struct daemon *d, struct err *e)
{
    struct rest_options o = {0};
    keeper_rest(d->keeper, &o);
    certs_set_events(d->certs, o.events);
    int rc = o.events == NULL ? 0 : service_watch_new(&d->services, d->loop, o.events, e);
    if (rc == 0 && d->services != NULL)
        rc = service_watch_sync(d->services, d->agents, e);
    if (rc == 0)
        rc = daemon_order(d, d->c, &d->order, e);
    if (rc == 0)
        ordering_tell(d->c);
    return rc;
}

int daemon_order(struct daemon *d, const struct config *c, struct service_order **ret,
                 struct err *e)
{
    struct rest_options from = {0};
    keeper_rest(d->keeper, &from);
    const struct service_order_options o = {.loop = d->loop,
                                            .agents = d->agents,
                                            .watch = d->services,
                                            .engine = keeper_engine(d->keeper),
                                            .hub = from.events};
    return ordering_new(ret, &o, c, e);
}

static int make_rest(struct daemon *d, struct err *e)
{
    daemon_reload_calls(d);
    struct rest_options o = daemon_rest_options(d, d->c);
    return rest_new(&d->rest, &o, e);
}

/* Clients must not take the descriptors that agents and the engine are asked through. */
static size_t most_connections(size_t wanted)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur < 4)
        return wanted;
    size_t kept = r.rlim_cur / 4 < FILES_KEPT ? (size_t)r.rlim_cur / 4 : FILES_KEPT;
    size_t most = (size_t)r.rlim_cur - kept;
    return wanted < most ? wanted : most;
}

struct http_limits daemon_limits(const struct config *c)
{
    const struct config_limits *l = &c->http.limits;
    return (struct http_limits){.max_head = (size_t)l->max_head,
                                .max_headers = (size_t)l->max_headers,
                                .max_target = (size_t)l->max_target,
                                .max_body = (size_t)l->max_body,
                                .max_queue = (size_t)l->max_queue,
                                .max_streams = (size_t)l->max_streams,
                                .max_pipelined = (size_t)l->max_pipelined,
                                .first_byte_ms = (uint64_t)l->first_byte,
                                .head_ms = (uint64_t)l->head,
                                .body_ms = (uint64_t)l->body,
                                .idle_ms = (uint64_t)l->idle,
                                .write_ms = (uint64_t)l->write,
                                .ping_ms = (uint64_t)l->ping,
                                .pong_ms = (uint64_t)l->pong};
}

size_t daemon_max_connections(const struct config *c)
{
    return most_connections((size_t)c->http.limits.max_connections);
}

static int make_server(struct daemon *d, struct err *e)
{
    struct server_options o = {
        .limits = daemon_limits(d->c),
        .max_connections = daemon_max_connections(d->c),
        .server_name = "gantry",
        .request_ids = true,
    };
    return server_new(&d->server, d->loop, &o, e);
}

static int make_listeners(struct daemon *d, struct err *e)
{
    struct listeners_change *change;
    listeners_init(&d->listeners, d->loop, d->server, d->guard, grpc_front_handle, d->grpc);
    int rc = listeners_prepare(&d->listeners, d->c, &change, e);
    if (rc == 0)
        listeners_commit(&d->listeners, change, 0);
    return rc;
}

void daemon_tell_ready(struct daemon *d)
{
    char text[64];
    size_t n = d->c->containers.count;
    (void)snprintf(text, sizeof(text), "Serving %zu container%s", n, n == 1 ? "" : "s");
    notify_ready(d->notify, text);
}

static void rest_gone(void *ctx)
{
    struct daemon *d = ctx;
    d->rest = NULL;
}

/* Frees what the server's exchanges used; they are all over. The loop then runs empty. */
static void free_parts(struct daemon *d)
{
    if (d->parts_gone)
        return;
    d->parts_gone = true;
    server_free(d->server);
    d->server = NULL;
    listeners_done(&d->listeners);
    grpc_front_free(STEAL(d->grpc));
    metrics_free(STEAL(d->metrics));
    certs_free(STEAL(d->certs));
    traces_free(STEAL(d->traces));
    service_order_free(STEAL(d->order));
    service_watch_free(STEAL(d->services));
    agent_set_free(d->agents);
    docker_free(d->docker);
    notify_free(d->notify);
    d->notify = NULL;
    lean_free(STEAL(d->lean));
    guard_free(d->guard);
    loop_hold_signals();
    for (size_t i = 0; i < d->n_signals; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    if (d->has_step)
        loop_timer_close(&d->step, NULL);
    if (d->rest != NULL)
        rest_free(d->rest, rest_gone, d);
    control_front_free(STEAL(d->control));
    keeper_free(STEAL(d->keeper));
    state_free(d->state);
    d->state = NULL;
}

static void on_step(void *ctx);

static void on_flushed(void *ctx)
{
    struct daemon *d = ctx;
    d->flushed = true;
    (void)loop_defer(d->loop, on_step, d);
}

/* Server and viewers are over, and what was recorded of them is told: so are we. */
static void on_step(void *ctx)
{
    struct daemon *d = ctx;
    if (d->parts_gone || !d->drained || !d->grpc_drained || !d->metrics_drained || !d->kept ||
        rest_viewers(d->rest) != 0)
        return;
    if (!d->flushing) {
        d->flushing = true;
        traces_flush(d->traces, FLUSH_MS, on_flushed, d);
    } else if (d->flushed) {
        free_parts(d);
    }
}

static void on_drained(void *ctx)
{
    struct daemon *d = ctx;
    d->drained = true;
    /* Not from here: the server is still in its own code. Without memory the timer does it. */
    (void)loop_defer(d->loop, on_step, d);
}

static void on_grpc_drained(void *ctx)
{
    struct daemon *d = ctx;
    d->grpc_drained = true;
    (void)loop_defer(d->loop, on_step, d);
}

static void on_metrics_drained(void *ctx)
{
    struct daemon *d = ctx;
    d->metrics_drained = true;
    (void)loop_defer(d->loop, on_step, d);
}

static void on_kept(void *ctx)
{
    struct daemon *d = ctx;
    d->kept = true;
    (void)loop_defer(d->loop, on_step, d);
}

static void stop(struct daemon *d, int signum)
{
    d->asked++;
    if (d->asked > 2 && !d->parts_gone) {
        /* Asked for the third time. The socket files went when the listeners were closed; one that
         * is there by now is somebody else's. */
        LOG(WARN, "gantryd", "stop-exit", "asked to stop once more, ending",
            LF_INT("signal", signum));
        _exit(128 + signum);
    }
    if (d->asked == 2 && !d->parts_gone) {
        LOG(WARN, "gantryd", "stop-now", "asked to stop again, cutting what is under way",
            LF_INT("signal", signum), LF_INT("under_way", server_stats(d->server)->exchanges));
        server_stop(d->server, on_drained, d);
        grpc_front_stop(d->grpc, on_grpc_drained, d);
        metrics_stop(d->metrics, on_metrics_drained, d);
    }
    if (d->asked > 1)
        return;
    LOG(INFO, "gantryd", "stop", "stopping: answers under way are finished first",
        LF_INT("signal", signum), LF_INT("limit_ms", d->c->shutdown.limit));
    notify_stopping(d->notify, "Stopping: answers under way are finished first");
    control_front_stop(d->control);
    service_order_stop(d->order);
    rest_drain(d->rest);
    keeper_stop(d->keeper, (uint64_t)d->c->shutdown.limit, on_kept, d);
    server_drain(d->server, (uint64_t)d->c->shutdown.limit, on_drained, d);
    grpc_front_drain(d->grpc, (uint64_t)d->c->shutdown.limit, on_grpc_drained, d);
    metrics_stop(d->metrics, on_metrics_drained, d);
    loop_timer_start(&d->step, STOP_STEP_MS, STOP_STEP_MS);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct daemon *d = h->data;
    if (signum == SIGHUP)
        daemon_reload(d);
    else
        stop(d, signum);
}

static int make_signals(struct daemon *d, struct err *e)
{
    static const int wanted[DAEMON_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    int rc = loop_timer_init(d->loop, &d->step, on_step, d);
    if (rc != 0)
        return err_set(e, rc, "cannot make a timer");
    d->has_step = true;
    for (size_t i = 0; i < DAEMON_SIGNALS; i++) {
        uv_signal_t *h = &d->signals[i];
        rc = uv_signal_init(loop_uv(d->loop), h);
        if (rc != 0)
            return err_sys(e, rc, "cannot watch signals");
        d->n_signals++;
        h->data = d;
        rc = uv_signal_start(h, on_signal, wanted[i]);
        if (rc != 0)
            return err_sys(e, rc, "cannot watch signal %d", wanted[i]);
    }
    return 0;
}

static void on_stopped(void *ctx)
{
    (void)ctx;
}

int daemon_new(struct daemon **ret, struct settings *s, const struct settings_source *from,
               struct err *e)
{
    struct daemon *d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    d->settings = s;
    d->from = from;
    d->c = &s->c;
    raise_file_limit();
    int rc = loop_new(&d->loop, &clock_system, e);
    if (rc == 0)
        rc = make_agents(d, e);
    if (rc == 0)
        rc = log_hub_new(&d->hub, d->loop, e);
    if (rc == 0)
        rc = make_runtime(d, e);
    if (rc == 0)
        rc = make_audit(d, e);
    if (rc == 0)
        rc = make_certs(d, e);
    if (rc == 0)
        rc = state_new(&d->state, d->loop, d->c, e);
    if (rc == 0)
        rc = keeper_new(&d->keeper, d->loop, d->c, d->state, e);
    if (rc == 0)
        rc = make_services(d, e);
    if (rc == 0)
        rc = make_control(d, e);
    if (rc == 0)
        rc = guard_new(&d->guard, d->loop, &clock_system, &d->c->auth, e);
    if (rc == 0)
        rc = metrics_new(&d->metrics, d->loop, &d->c->metrics, d->keeper, d->state, e);
    if (rc == 0)
        rc = make_rest(d, e);
    if (rc == 0)
        rc = make_grpc(d, e);
    if (rc == 0)
        rc = make_server(d, e);
    if (rc == 0) {
        rest_set_server(d->rest, d->server);
        rest_note_config(d->rest, true, "loaded");
    }
    if (rc == 0)
        rc = make_signals(d, e);
    if (rc == 0)
        rc = notify_new(&d->notify, d->loop, e);
    if (rc == 0)
        rc = lean_new(&d->lean, d->loop, &(struct lean_options){0}, e);
    if (rc == 0)
        rc = make_listeners(d, e);
    if (rc == 0)
        rc = grpc_front_listen(d->grpc, e);
    if (rc == 0)
        rc = metrics_listen(d->metrics, e);
    if (rc != 0) {
        daemon_free(d);
        return rc;
    }
    daemon_tell_ready(d);
    *ret = d;
    return 0;
}

void daemon_run(struct daemon *d)
{
    (void)loop_run(d->loop);
    LOG(INFO, "gantryd", "stopped", "stopped");
}

void daemon_free(struct daemon *d)
{
    if (d == NULL)
        return;
    if (!d->parts_gone && d->loop != NULL) {
        if (d->server != NULL)
            server_stop(d->server, on_stopped, d);
        if (d->grpc != NULL)
            grpc_front_stop(d->grpc, on_stopped, d);
        if (d->metrics != NULL)
            metrics_stop(d->metrics, on_stopped, d);
        (void)loop_run_once(d->loop, false);
        free_parts(d);
        (void)loop_run(d->loop);
    }
    log_hub_free(d->hub);
    audit_free(d->audit);
    loop_free(d->loop);
    mem_free(d);
}
