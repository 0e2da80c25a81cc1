#include "gantryd/grpc_front.h"

#include "api/grpc/agent.h"
#include "api/grpc/health.h"
#include "api/grpc/reflection.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "net/server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AGENT_SERVICE "persys.agent.v1.AgentService"

/* Of the port; of the listeners of HTTP the configuration has its own. */
enum { STREAMS = 256, IDLE_MS = 7200000, TLS_WATCH_MS = 2000 };

struct grpc_front {
    struct grpc_front_options o;
    struct rpc_agent agent;
    struct rpc_table tables[3];
    struct grpc_health *health;
    struct grpc_reflection *reflection;
    struct grpc_api *api;
    struct server *server; /* of the port */
    struct tls_context *tls;
};

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

/* --- handlers --- */

/* Names that point here against the browser's will matter where there is REST. */
static bool host_allowed(void *app, struct exchange *x)
{
    struct grpc_front *f = app;
    return f->o.rest == NULL || listener_mark(exchange_listener(x)) == GUARD_GRPC ||
           rest_host_allowed(f->o.rest, x);
}

static void other(void *ctx, struct exchange *x)
{
    struct grpc_front *f = ctx;
    rest_handle(f->o.rest, x);
}

void grpc_front_handle(void *ctx, struct exchange *x)
{
    struct grpc_front *f = ctx;
    grpc_api_handle(f->api, x);
}

/* The port speaks nothing but gRPC. */
static void port_handle(void *ctx, struct exchange *x)
{
    static const char text[] = "This port speaks gRPC; HTTP is served elsewhere\n";
    const struct http_response r = {.status = 415, .content_type = "text/plain; charset=utf-8"};
    struct grpc_front *f = ctx;
    if (grpc_wanted(x))
        grpc_api_handle(f->api, x);
    else
        (void)exchange_respond(x, &r, SLICE_LIT(text));
}

/* --- making --- */

static void fill_agent(struct grpc_front *f)
{
    struct rest_options from = {0};
    keeper_rest(f->o.keeper, &from);
    const char *fault = state_fault(f->o.state);
    f->agent = (struct rpc_agent){
        .engine = from.engine,
        .tasks = from.tasks,
        .host = from.host,
        .secret_env = from.secret_env,
        .n_secret_env = from.n_secret_env,
        .version = f->o.config->grpc.version,
        .fault = fault[0] != '\0' ? fault : "workloads are switched off on this node"};
}

static int make_api(struct grpc_front *f, struct err *e)
{
    int rc = grpc_health_new(&f->health);
    if (rc == 0)
        rc = grpc_health_set(f->health, AGENT_SERVICE, f->agent.engine != NULL);
    if (rc != 0)
        return err_set(e, rc, "out of memory");
    rc = grpc_reflection_new(&f->reflection, grpc_reflection_own_set(), e);
    if (rc != 0)
        return rc;
    f->tables[0] = rpc_agent_table(&f->agent);
    f->tables[1] = *grpc_health_table(f->health);
    f->tables[2] = *grpc_reflection_table(f->reflection);
    const struct grpc_api_options o = {
        .tables = f->tables,
        .n_tables = ARRAY_LEN(f->tables),
        .guard = guard_api(f->o.guard),
        .audit = f->o.audit,
        .max_message = (uint32_t)f->o.config->grpc.max_message,
        .host_allowed = host_allowed,
        .host_app = f,
        .other = other,
        .other_ctx = f,
    };
    rc = grpc_api_new(&f->api, &o, e);
    if (rc == 0)
        grpc_reflection_set_api(f->reflection, f->api);
    return rc;
}

static int make_server(struct grpc_front *f, struct err *e)
{
    struct server_options o = {
        .limits = {.max_streams = STREAMS, .idle_ms = IDLE_MS},
        .max_connections = (size_t)f->o.config->grpc.max_connections,
    };
    return server_new(&f->server, f->o.loop, &o, e);
}

int grpc_front_new(struct grpc_front **ret, const struct grpc_front_options *o, struct err *e)
{
    struct grpc_front *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    f->o = *o;
    fill_agent(f);
    int rc = guard_set_grpc(o->guard, &o->config->grpc, e);
    if (rc == 0)
        rc = make_api(f, e);
    if (rc == 0)
        rc = make_server(f, e);
    if (rc != 0) {
        grpc_front_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

/* --- the port --- */

/* False: some are missing. */
static bool find_files(const struct config_grpc_tls *t, const char *files[GRPC_TLS_FILES])
{
    int place = config_grpc_files(t, files);
    if (place > 0 && (t->cert == NULL || t->key == NULL || t->ca == NULL))
        LOG(WARN, "gantryd", "grpc-old-files",
            "certificates of gRPC are taken from the place of old; move them to "
            "/etc/persys/certs/agent, or name them in grpc.tls",
            LF_STR("cert", files[0]));
    return place >= 0;
}

static int bad_files(const char *const files[GRPC_TLS_FILES], struct err *e)
{
    static const char *const keys[] = {"cert", "key", "ca"};
    for (size_t i = 0; i < GRPC_TLS_FILES; i++)
        if (access(files[i], R_OK) != 0)
            return err_set(
                e, ERR_INVALID,
                "grpc.tls.%s: \"%.150s\" is missing or cannot be read; name the files in "
                "grpc.tls or PERSYS_TLS_CERT, _KEY and _CA, make them as the operator's "
                "guide shows, or do without gRPC's port (grpc.enabled: false) or without "
                "TLS (grpc.tls.enabled: false)",
                keys[i], files[i]);
    return 0;
}

static void tls_report(void *ctx, const struct err *e)
{
    (void)ctx;
    if (e->code == 0)
        LOG(INFO, "gantryd", "grpc-tls-reloaded", "TLS files of gRPC were read again");
    else
        LOG(ERROR, "gantryd", "grpc-tls-reload-failed",
            "TLS files of gRPC are bad, the old ones stay in use", LF_ERR(e));
}

static int make_tls(struct grpc_front *f, const char *const files[GRPC_TLS_FILES], struct err *e)
{
    static const char *const alpn[] = {"h2", NULL};
    const struct tls_options o = {.server = true,
                                  .cert_file = files[0],
                                  .key_file = files[1],
                                  .ca_file = files[2],
                                  .require_client_cert = true,
                                  .alpn = alpn};
    int rc = tls_context_new(&f->tls, f->o.loop, &o, e);
    if (rc != 0)
        return rc;
    rc = tls_context_watch(f->tls, TLS_WATCH_MS, tls_report, NULL);
    if (rc != 0)
        return err_set(e, rc, "cannot watch \"%s\"", files[0]);
    tls_context_check_at_handshake(f->tls, tls_report, NULL);
    return 0;
}

/* "0.0.0.0:50051", "[::1]:50051" */
static void address_text(char *out, size_t size, const char *host, int64_t port)
{
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(out, size, v6 ? "[%s]:%d" : "%s:%d", host, (int)port);
}

static int plain_mark(const struct grpc_front *f, char *address, unsigned *mark, struct err *e)
{
    const struct config *c = f->o.config;
    const struct config_listener li = {.address = address, .insecure = c->grpc.insecure};
    struct listen_address a;
    int rc = listen_parse(address, &a, e);
    if (rc == 0)
        rc = guard_listener(f->o.guard, &c->auth, &li, mark, e);
    if (rc != 0)
        return err_wrap(e, "grpc without TLS");
    if (a.local)
        LOG(WARN, "gantryd", "grpc-plain", "gRPC is served without TLS on this machine",
            LF_STR("address", address));
    else if (*mark == GUARD_OPEN)
        LOG(WARN, "gantryd", "grpc-insecure",
            "gRPC is served WITHOUT TLS and without asking who it is: everybody who can reach this "
            "port may do everything on this machine",
            LF_STR("address", address));
    else
        LOG(WARN, "gantryd", "grpc-plain-tokens",
            "gRPC is served without TLS: tokens will cross the network unencrypted",
            LF_STR("address", address));
    return 0;
}

static int open_port(struct grpc_front *f, unsigned mark, struct err *e)
{
    const struct config_grpc *c = &f->o.config->grpc;
    char text[64];
    struct listen_address a;
    struct listener *li;
    address_text(text, sizeof(text), c->address, c->port);
    int rc = listen_parse(text, &a, e);
    if (rc == 0 && f->tls == NULL)
        rc = plain_mark(f, text, &mark, e);
    if (rc != 0)
        return rc;
    const struct listener_options o = {.host = a.host,
                                       .port = a.port,
                                       .unix_gid = (gid_t)-1,
                                       .tls = f->tls,
                                       .mark = mark,
                                       .protocols = protocols,
                                       .handler = port_handle,
                                       .ctx = f};
    rc = server_listen(f->server, &o, &li, e);
    if (rc != 0)
        return err_wrap(e, "cannot serve gRPC on \"%s\"", text);
    LOG(INFO, "gantryd", "grpc-listening", "serving gRPC", LF_STR("address", listener_address(li)),
        LF_STR("tls", f->tls != NULL ? "mutual" : "none"));
    return 0;
}

int grpc_front_listen(struct grpc_front *f, struct err *e)
{
    const struct config_grpc *c = &f->o.config->grpc;
    const struct config_grpc_tls *t = &c->tls;
    const char *files[GRPC_TLS_FILES];
    bool named = t->cert != NULL || t->key != NULL || t->ca != NULL;
    if (c->enabled == GRPC_OFF)
        return 0;
    bool there = find_files(t, files);
    if (c->enabled == GRPC_AUTO && !there && !named)
        return 0;
    if (!t->enabled)
        return open_port(f, GUARD_OPEN, e);
    int rc = bad_files(files, e);
    if (rc == 0)
        rc = make_tls(f, files, e);
    return rc == 0 ? open_port(f, GUARD_GRPC, e) : rc;
}

/* --- the end --- */

void grpc_front_drain(struct grpc_front *f, uint64_t limit_ms, void (*done)(void *ctx), void *ctx)
{
    grpc_health_shutdown(f->health);
    server_drain(f->server, limit_ms, done, ctx);
}

void grpc_front_stop(struct grpc_front *f, void (*done)(void *ctx), void *ctx)
{
    grpc_health_shutdown(f->health);
    server_stop(f->server, done, ctx);
}

void grpc_front_free(struct grpc_front *f)
{
    if (f == NULL)
        return;
    server_free(f->server);
    if (f->tls != NULL)
        tls_context_unref(f->tls);
    grpc_api_free(f->api);
    grpc_reflection_free(f->reflection);
    grpc_health_free(f->health);
    mem_free(f);
}

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

void grpc_front_write_metrics(const struct grpc_front *f, struct buf *out)
{
    const struct server_stats *s = server_stats(f->server);
    grpc_api_write_metrics(f->api, out);
    one(out, "gantry_grpc_connections", "gauge", "Open connections to the gRPC port",
        s->connections);
    one(out, "gantry_grpc_connections_accepted_total", "counter",
        "Connections accepted on the gRPC port", s->accepted);
    one(out, "gantry_grpc_connections_refused_total", "counter",
        "Connections to the gRPC port closed at once: too many, or no descriptor left", s->refused);
}
