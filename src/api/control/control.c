#include "api/control/control.h"

#include "api/control/endpoint.h"
#include "api/control/plan.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/grpc_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SERVICE "/persys.control.v1.AgentControl/"

enum {
    DOCUMENTS_AT_ONCE = 500, /* read in one go: some milliseconds */
    ANSWER_MAX = 64 * 1024,
    IDLE_MS = 3600 * 1000, /* longer than any interval */
};

/* A look-up of the scheduler's name, which may outlive us. */
struct lookup {
    uv_getaddrinfo_t uv;
    struct control *c; /* NULL: nobody waits for it any more */
};

struct control {
    struct control_options o;
    struct control_address at;
    char address[CONTROL_ADDRESS_SIZE], endpoint[CONTROL_ADDRESS_SIZE];
    struct loop_timer timer;
    struct control_plan plan;
    struct control_report *report;
    struct grpc_client *client; /* NULL: there is none */
    struct tls_context *tls;    /* of the client; NULL: it is plain */
    struct grpc_client_call *call;
    struct lookup *lookup;
    uint64_t began_ms; /* the call that is under way */
    uint64_t due_ms;   /* when the heartbeat that is being prepared was due; 0: none is */
    struct control_sent sent;
    struct control_stats stats;
    unsigned types; /* of workloads, that the scheduler was told of */
    bool registered, draining, unacknowledged, clocks_told;
    int64_t since_ns, heartbeat_ns, draining_ns;
    struct err error; /* of the last try; code 0: it went well */
};

static void on_timer(void *ctx);

static uint64_t now_ms(const struct control *c)
{
    return loop_now_ms(c->o.loop);
}

static int64_t wall_ns(const struct control *c)
{
    return clock_real_ns(loop_clock(c->o.loop));
}

static void tell(struct control *c, enum control_event event, bool on, size_t count)
{
    uint64_t next = control_plan_next(&c->plan), now = now_ms(c);
    const struct control_news n = {.event = event,
                                   .on = on,
                                   .count = count,
                                   .wait_ms = next != UINT64_MAX && next > now ? next - now : 0,
                                   .error = c->error.code != 0 ? &c->error : NULL};
    if (c->o.news != NULL)
        c->o.news(c->o.ctx, &n);
}

/* --- the connection --- */

static void hang_up(struct control *c)
{
    if (c->call != NULL)
        grpc_client_drop(STEAL(c->call));
    if (c->client != NULL)
        grpc_client_free(STEAL(c->client));
    tls_context_unref(STEAL(c->tls));
    if (c->lookup != NULL) {
        c->lookup->c = NULL;
        (void)uv_cancel((uv_req_t *)&STEAL(c->lookup)->uv); /* it may have begun */
    }
}

static void arm(struct control *c)
{
    uint64_t next = control_plan_next(&c->plan), now = now_ms(c);
    if (next == UINT64_MAX)
        loop_timer_stop(&c->timer);
    else
        loop_timer_start(&c->timer, next > now ? next - now : 0, 0);
}

static void set_registered(struct control *c, bool on)
{
    if (c->registered == on)
        return;
    c->registered = on;
    c->since_ns = wall_ns(c);
    tell(c, on ? CONTROL_EV_REGISTERED : CONTROL_EV_LOST, on, 0);
}

/* Why is in c->error. The plan has taken notice. */
static void not_registered(struct control *c)
{
    c->stats.failures++;
    if (c->registered)
        set_registered(c, false);
    else
        tell(c, CONTROL_EV_FAILED, false, 0);
    arm(c);
}

static void failed(struct control *c)
{
    hang_up(c);
    control_plan_failed(&c->plan, now_ms(c));
    not_registered(c);
}

/* --- the calls --- */

static int ask(struct control *c, const char *method, struct buf *message, grpc_unary_fn fn)
{
    const struct grpc_request rq = {.method = method, .timeout_ms = CONTROL_CALL_MS};
    c->began_ms = now_ms(c);
    return grpc_client_unary(c->client, &rq, (struct slice){message->data, message->len}, fn, c,
                             &c->call, &c->error);
}

/* The end of a call: what went wrong is kept. */
static int ended(struct control *c, const struct grpc_result *r, struct histogram *time,
                 const char *what)
{
    c->call = NULL;
    c->error = (struct err){0};
    histogram_add(time, (now_ms(c) - c->began_ms) * NS_PER_MS);
    int rc = grpc_result_err(r, &c->error);
    return rc == 0 ? 0 : err_wrap(&c->error, "%s", what);
}

static void registered(void *ctx, const struct grpc_result *r, struct slice message)
{
    struct control *c = ctx;
    struct control_accepted a = {0};
    int rc = ended(c, r, &c->stats.register_time, "RegisterNode");
    if (rc == 0)
        rc = control_read_register(message, &a, &c->error);
    if (rc == 0 && !a.accepted) {
        c->stats.refusals++;
        rc = err_set(&c->error, ERR_DENIED, "the scheduler does not take this node: %s",
                     a.reason[0] != '\0' ? a.reason : "no reason is given");
    }
    if (rc != 0) {
        failed(c);
        return;
    }
    c->stats.registrations++;
    control_plan_accepted(&c->plan, now_ms(c), a.interval_s, a.lease_ns);
    set_registered(c, true);
    arm(c);
}

static void take_answer(struct control *c, const struct control_beaten *b)
{
    if (b->drain != c->draining) {
        c->draining = b->drain;
        c->draining_ns = b->drain ? wall_ns(c) : 0;
        if (c->o.engine != NULL && c->o.refuse_when_draining)
            engine_set_draining(c->o.engine, b->drain);
        tell(c, CONTROL_EV_DRAINING, b->drain, 0);
    }
    c->stats.unacknowledged += b->acknowledged ? 0 : 1;
    if (b->acknowledged)
        control_report_taken(c->report);
    if (b->acknowledged == c->unacknowledged) {
        c->unacknowledged = !b->acknowledged;
        tell(c, CONTROL_EV_ACKNOWLEDGED, b->acknowledged, 0);
    }
    if (c->plan.clocks_apart != c->clocks_told) {
        c->clocks_told = c->plan.clocks_apart;
        tell(c, CONTROL_EV_CLOCK, c->clocks_told, 0);
    }
}

static void beaten(void *ctx, const struct grpc_result *r, struct slice message)
{
    struct control *c = ctx;
    struct control_beaten b = {0};
    int rc = ended(c, r, &c->stats.heartbeat_time, "Heartbeat");
    if (rc == 0)
        rc = control_read_heartbeat(message, &b, &c->error);
    if (rc == ERR_NOT_FOUND) {
        control_plan_forgotten(&c->plan, now_ms(c));
        if (!c->plan.keep)
            hang_up(c);
        not_registered(c);
        return;
    }
    if (rc != 0) {
        failed(c);
        return;
    }
    c->stats.heartbeats++;
    c->heartbeat_ns = wall_ns(c);
    control_plan_beaten(&c->plan, now_ms(c), b.lease_ns);
    take_answer(c, &b);
    arm(c);
}

static void host_now(const struct control *c, struct host_usage *u)
{
    *u = (struct host_usage){.memory_percent = -1, .cpu_percent = -1, .disk_percent = -1};
    if (c->o.host.ops != NULL)
        c->o.host.ops->usage(c->o.host.self, u);
}

static void send_register(struct control *c)
{
    struct buf b = BUF_INIT(CONTROL_MESSAGE_MAX);
    struct control_node n = c->o.node;
    struct host_usage u;
    n.endpoint = c->endpoint;
    c->types = control_report_types(c->o.engine);
    host_now(c, &u);
    int rc = control_write_register(&b, &n, c->o.engine, &u, wall_ns(c));
    if (rc != 0)
        (void)err_set(&c->error, rc, "RegisterNode cannot be written: %s", err_row(rc)->text);
    else
        rc = ask(c, SERVICE "RegisterNode", &b, registered);
    buf_done(&b);
    if (rc != 0)
        failed(c);
}

static void send_heartbeat(struct control *c)
{
    struct buf b = BUF_INIT(CONTROL_MESSAGE_MAX);
    struct host_usage u;
    size_t before = c->sent.left_out;
    host_now(c, &u);
    int rc = control_report_write(c->report, &b, c->o.node.id, &u, wall_ns(c), CONTROL_MESSAGE_MAX,
                                  &c->sent);
    if (rc != 0)
        (void)err_set(&c->error, rc, "Heartbeat cannot be written: %s", err_row(rc)->text);
    else
        rc = ask(c, SERVICE "Heartbeat", &b, beaten);
    c->stats.bytes = b.len;
    buf_done(&b);
    if (rc != 0)
        failed(c);
    else if ((before > 0) != (c->sent.left_out > 0))
        tell(c, CONTROL_EV_LEFT_OUT, c->sent.left_out > 0, c->sent.left_out);
}

/* --- a new connection --- */

static int make_client(struct control *c)
{
    struct grpc_client_options o = {
        .http2 = {.target = {.host = c->at.host, .port = c->at.port},
                  .max_calls = 1,
                  .connect_ms = CONTROL_CALL_MS,
                  .idle_ms = IDLE_MS},
        .max_message = ANSWER_MAX,
    };
    struct tls_context *tls = NULL;
    int rc = 0;
    if (!c->o.insecure) {
        const char *files[3] = {NULL};
        c->o.tls_files(c->o.ctx, files);
        const struct tls_options t = {
            .cert_file = files[0], .key_file = files[1], .ca_file = files[2]};
        rc = h2_client_tls(&tls, c->o.loop, &o.http2.target, &t, &c->error);
        o.http2.target.tls = tls;
    }
    if (rc == 0)
        rc = grpc_client_new(&c->client, c->o.loop, &o, &c->error);
    if (rc == 0)
        c->tls = tls;
    else
        tls_context_unref(tls);
    return rc;
}

/* The connection lasts for days, and a certificate need not: a call that follows a change of the
 * files is made over a new one, and what the scheduler knows of this node stays. Files that are not
 * good (yet) change nothing. */
static void use_new_files(struct control *c)
{
    struct grpc_client *client = c->client;
    struct tls_context *tls = c->tls;
    if (tls == NULL || c->call != NULL || !tls_context_stale(tls))
        return;
    if (make_client(c) != 0) {
        c->error = (struct err){0};
        return;
    }
    c->stats.dials++;
    grpc_client_free(client);
    tls_context_unref(tls);
}

/* `to` NULL: where the scheduler is, is not known. */
static void connect_to(struct control *c, const struct sockaddr *to)
{
    char host[CONTROL_HOST_SIZE];
    if (c->o.endpoint != NULL) {
        (void)snprintf(c->endpoint, sizeof(c->endpoint), "%s", c->o.endpoint);
    } else {
        control_endpoint_host(host, c->o.grpc_host, to);
        control_endpoint_join(c->endpoint, host, c->o.grpc_port);
    }
    c->stats.dials++;
    if (make_client(c) != 0)
        failed(c);
    else
        send_register(c);
}

static void looked_up(uv_getaddrinfo_t *rq, int status, struct addrinfo *found)
{
    struct lookup *l = CONTAINER_OF(rq, struct lookup, uv);
    struct control *c = l->c;
    if (c != NULL)
        c->lookup = NULL;
    if (c != NULL && status != 0) {
        c->error = (struct err){0};
        (void)err_set(&c->error, ERR_UNREACHABLE,
                      "the scheduler's name \"%.150s\" is not known: %s", c->at.host,
                      uv_strerror(status));
        failed(c);
    } else if (c != NULL) {
        connect_to(c, found->ai_addr);
    }
    uv_freeaddrinfo(found);
    mem_free(l);
}

static void look_up(struct control *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];
    struct lookup *l = mem_zalloc(sizeof(*l));
    (void)snprintf(port, sizeof(port), "%u", c->at.port);
    int rc = l == NULL
                 ? UV_ENOMEM
                 : uv_getaddrinfo(loop_uv(c->o.loop), &l->uv, looked_up, c->at.host, port, &hints);
    if (rc == 0) {
        l->c = c;
        c->lookup = l;
        return;
    }
    mem_free(l);
    c->error = (struct err){0};
    (void)err_sys(&c->error, rc, "looking up \"%.150s\"", c->at.host);
    failed(c);
}

/* Only names are looked up, on a thread that may take its time. */
static void dial(struct control *c)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    hang_up(c);
    if (uv_ip4_addr(c->at.host, c->at.port, &in) == 0)
        connect_to(c, (const struct sockaddr *)&in);
    else if (uv_ip6_addr(c->at.host, c->at.port, &in6) == 0)
        connect_to(c, (const struct sockaddr *)&in6);
    else
        look_up(c);
}

/* --- time --- */

/* The scheduler, or what is between, may have closed it while nothing was asked. */
static bool connection_gone(const struct control *c)
{
    return c->client == NULL || h2_client_stats(grpc_client_http2(c->client))->connections == 0;
}

static void lost(struct control *c)
{
    hang_up(c);
    c->error = (struct err){0};
    (void)err_set(&c->error, ERR_GONE, "the connection to the scheduler was closed");
    control_plan_lost(&c->plan, now_ms(c));
    not_registered(c);
}

/* Documents that are new are read first, a few at a time, so that the figures are whole. */
static bool prepare(struct control *c)
{
    if (c->due_ms == 0)
        c->due_ms = control_plan_next(&c->plan);
    if (control_report_refresh(c->report, DOCUMENTS_AT_ONCE)) {
        loop_timer_start(&c->timer, 1, 0);
        return false;
    }
    return true;
}

static void on_timer(void *ctx)
{
    struct control *c = ctx;
    uint64_t now = now_ms(c);
    bool beats = control_plan_state(&c->plan) == CONTROL_REGISTERED;
    if (now < control_plan_next(&c->plan)) {
        arm(c);
        return;
    }
    if (beats && connection_gone(c)) {
        c->due_ms = 0;
        lost(c);
        return;
    }
    if (beats && !prepare(c))
        return;
    if (beats && control_report_types(c->o.engine) != c->types)
        control_plan_renew(&c->plan); /* a runtime has come, or gone */
    switch (control_plan_due(&c->plan, now)) {
    case CONTROL_DIAL:
        dial(c);
        break;
    case CONTROL_REGISTER:
        use_new_files(c);
        send_register(c);
        break;
    case CONTROL_BEAT:
        histogram_add(&c->stats.late, (now - c->due_ms) * NS_PER_MS);
        use_new_files(c);
        send_heartbeat(c);
        break;
    case CONTROL_NOTHING:
        break;
    }
    c->due_ms = 0;
}

/* --- life --- */

int control_new(struct control **ret, const struct control_options *o, struct err *e)
{
    struct control *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->o = *o;
    int rc = control_address_parse(o->address, &c->at, e);
    if (rc == 0)
        rc = control_report_new(&c->report, o->engine, e);
    if (rc == 0 && loop_timer_init(o->loop, &c->timer, on_timer, c) != 0)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc != 0) {
        control_report_free(c->report);
        mem_free(c);
        return rc;
    }
    control_endpoint_join(c->address, c->at.host, c->at.port);
    control_plan_init(&c->plan, loop_clock(o->loop), now_ms(c));
    arm(c);
    *ret = c;
    return 0;
}

void control_stop(struct control *c)
{
    if (control_plan_state(&c->plan) == CONTROL_STOPPED)
        return;
    hang_up(c);
    loop_timer_stop(&c->timer);
    control_plan_stop(&c->plan);
    c->error = (struct err){0};
}

static void closed(void *ctx)
{
    struct control *c = ctx;
    control_report_free(c->report);
    mem_free(c);
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    control_stop(c);
    loop_timer_close(&c->timer, closed);
}

/* --- what is told --- */

static enum node_link_state link_state(const struct control *c)
{
    switch (control_plan_state(&c->plan)) {
    case CONTROL_STOPPED:
        return NODE_LINK_STOPPED;
    case CONTROL_WAITING:
        return NODE_LINK_WAITING;
    case CONTROL_REGISTERING:
        return c->registered ? NODE_LINK_REGISTERED : NODE_LINK_REGISTERING;
    default:
        return NODE_LINK_REGISTERED;
    }
}

void control_view(const struct control *c, struct node_link_view *ret)
{
    uint64_t next = control_plan_next(&c->plan), now = now_ms(c);
    *ret = (struct node_link_view){
        .state = link_state(c),
        .address = c->address,
        .endpoint = c->endpoint,
        .insecure = c->o.insecure,
        .since_ns = c->since_ns,
        .heartbeat_ns = c->heartbeat_ns,
        .lease_ns = c->plan.lease_ns,
        .interval_ms = c->plan.interval_ms,
        .draining = c->draining,
        .draining_ns = c->draining_ns,
        .refusing = c->draining && c->o.refuse_when_draining,
        .acknowledged = !c->unacknowledged,
        .failures = c->plan.failures,
        .left_out = c->sent.left_out,
        .error = c->error.code != 0 ? c->error.msg : "",
    };
    if (next != UINT64_MAX)
        ret->next_ns = wall_ns(c) + (int64_t)((next > now ? next - now : 0) * NS_PER_MS);
}

static void link_view(void *self, struct node_link_view *ret)
{
    control_view(self, ret);
}

struct node_link control_link(struct control *c)
{
    return (struct node_link){.view = link_view, .self = c};
}

const struct control_stats *control_stats(const struct control *c)
{
    return &c->stats;
}
