/* grpc_echo.c: a gRPC server to try other people's clients on. One listener serves everything:
 * /test.T/... of tests/unit/net/grpc_app.h (bytes), health and reflection, GetWorkloadStatus of
 * persys.agent.v1.AgentService (the id back), and, for what is not gRPC, "other".
 *
 * usage: grpc_echo [-t CERT,KEY,CA] [-s STREAMS] [-k PING_MS,PONG_MS]
 * Says where it listens on standard output. SIGUSR1: the agent's service stops or starts serving.
 * SIGTERM: drains for at most 10 s, then ends. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent.pb-c.h"
#include "api/grpc/health.h"
#include "api/grpc/reflection.h"
#include "base/str.h"
#include "grpc_app.h"
#include "net/server.h"

#define AGENT "persys.agent.v1.AgentService"
#define DRAIN_MS 10000

static struct grpc_app app;
static struct grpc_server *raw;
static struct grpc_api *api;
static struct grpc_health *health;
static struct grpc_reflection *reflection;
static struct server *server;
static struct loop *loop;
static bool serving = true;

/* ---- more methods ---- */

/* What the tests ask of the server itself: "begun closed last_err last_status". */
static void stats(struct grpc_call *c, struct slice m BASE_UNUSED)
{
    char text[128];
    int n = snprintf(text, sizeof(text), "%d %d %d %d", app.begun, app.closed, app.last_err,
                     app.last_status);
    grpc_call_reply(c, (struct slice){text, (size_t)n});
}

static void get(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Persys__Agent__V1__GetWorkloadStatusRequest *q = (const void *)m;
    Persys__Agent__V1__GetWorkloadStatusResponse a =
        PERSYS__AGENT__V1__GET_WORKLOAD_STATUS_RESPONSE__INIT;
    Persys__Agent__V1__WorkloadStatus s = PERSYS__AGENT__V1__WORKLOAD_STATUS__INIT;
    s.id = q->id;
    s.actual_state = PERSYS__AGENT__V1__ACTUAL_STATE__ACTUAL_STATE_RUNNING;
    a.status = &s;
    rpc_reply(c, &a.base);
}

static const struct rpc_row agent_rows[] = {
    RPC("/" AGENT "/GetWorkloadStatus", RIGHT_READ, "workload",
        persys__agent__v1__get_workload_status_request__descriptor,
        persys__agent__v1__get_workload_status_response__descriptor, .handler = get),
};

/* ---- which is whose ---- */

static void other(void *ctx BASE_UNUSED, struct exchange *x)
{
    exchange_respond(x, &(struct http_response){.status = 200, .content_type = "text/plain"},
                     SLICE_LIT("other"));
}

static void handle(void *ctx BASE_UNUSED, struct exchange *x)
{
    if (grpc_wanted(x) && slice_starts(exchange_request(x)->path, "/test."))
        grpc_server_handle(raw, x);
    else
        grpc_api_handle(api, x);
}

static int make_api(struct err *e)
{
    static struct grpc_method methods[32];
    size_t n = grpc_app_n_methods;
    memcpy(methods, grpc_app_methods, n * sizeof(methods[0]));
    methods[n++] = (struct grpc_method){.path = "/test.T/Stats", .request = stats};
    const struct grpc_server_options so = {
        .methods = methods, .n_methods = n, .app = &app, .decided = grpc_app_decided};
    if (grpc_health_new(&health) != 0 || grpc_health_set(health, AGENT, true) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = grpc_reflection_new(&reflection, grpc_reflection_own_set(), e);
    if (rc == 0)
        rc = grpc_server_new(&raw, &so, e);
    if (rc != 0)
        return rc;
    const struct rpc_table tables[] = {{agent_rows, ARRAY_LEN(agent_rows), NULL},
                                       *grpc_health_table(health),
                                       *grpc_reflection_table(reflection)};
    const struct grpc_api_options o = {
        .tables = tables, .n_tables = ARRAY_LEN(tables), .other = other};
    rc = grpc_api_new(&api, &o, e);
    if (rc == 0)
        grpc_reflection_set_api(reflection, api);
    return rc;
}

/* ---- signals ---- */

static void drained(void *ctx BASE_UNUSED)
{
    loop_stop(loop);
}

static void on_signal(uv_signal_t *h BASE_UNUSED, int number)
{
    if (number == SIGTERM) {
        grpc_health_shutdown(health);
        server_drain(server, DRAIN_MS, drained, NULL);
        return;
    }
    serving = !serving;
    (void)grpc_health_set(health, AGENT, serving);
}

/* ---- beginning ---- */

static void told(void *ctx BASE_UNUSED, const struct err *e)
{
    fprintf(stderr, "certificates: %s\n", e->code == 0 ? "read again" : e->msg);
}

static int make_tls(char *files, struct tls_context **ret, struct err *e)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    char *comma = strchr(files, ','), *second = comma != NULL ? strchr(comma + 1, ',') : NULL;
    if (second == NULL)
        return err_set(e, ERR_INVALID, "\"%s\" is not CERT,KEY,CA", files);
    *comma = *second = '\0';
    const struct tls_options o = {.server = true,
                                  .cert_file = files,
                                  .key_file = comma + 1,
                                  .ca_file = second + 1,
                                  .require_client_cert = true,
                                  .alpn = alpn};
    int rc = tls_context_new(ret, loop, &o, e);
    if (rc == 0)
        tls_context_check_at_handshake(*ret, told, NULL);
    return rc;
}

static int read_options(int argc, char **argv, struct server_options *so, struct tls_context **tls,
                        struct err *e)
{
    int c, rc = 0;
    uint64_t n;
    while (rc == 0 && (c = getopt(argc, argv, "t:s:k:")) != -1) {
        struct slice rest = slice_of(optarg), first;
        switch (c) {
        case 't':
            rc = make_tls(optarg, tls, e);
            break;
        case 's':
            rc = str_to_u64(rest, &n);
            so->limits.max_streams = (size_t)n;
            break;
        case 'k':
            slice_split(&rest, ',', &first);
            rc = str_to_u64(first, &so->limits.ping_ms);
            if (rc == 0)
                rc = str_to_u64(rest, &so->limits.pong_ms);
            break;
        default:
            rc = err_set(e, ERR_INVALID, "unknown option");
        }
    }
    return rc;
}

static int serve(int argc, char **argv, struct err *e)
{
    static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};
    static const int numbers[] = {SIGTERM, SIGUSR1};
    static uv_signal_t signals[ARRAY_LEN(numbers)];
    struct server_options so = {.limits = http_limits_default};
    struct listener_options lo = {.host = "127.0.0.1", .protocols = protocols, .handler = handle};
    struct listener *li;
    int rc = loop_new(&loop, &clock_system, e);
    if (rc == 0)
        rc = read_options(argc, argv, &so, &lo.tls, e);
    if (rc == 0)
        rc = make_api(e);
    if (rc == 0)
        rc = server_new(&server, loop, &so, e);
    if (rc == 0)
        rc = server_listen(server, &lo, &li, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(loop_uv(loop), &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    printf("%u\n", (unsigned)listener_port(li));
    fflush(stdout);
    return loop_run(loop) < 0 ? ERR_IO : 0;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    (void)tls_init_memory();
    if (serve(argc, argv, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    /* Nothing may be left open: these check it. */
    grpc_api_free(api);
    grpc_server_free(raw);
    return app.begun == app.closed ? 0 : 1;
}
