#include "api/grpc/health.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "health.pb-c.h"

#define HEALTH_MAGIC 0x6865616cu

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_answer;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus health_state;
#define STATE(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct grpc_health {
    uint32_t magic;
    struct {
        const char *name;
        bool serving;
    } services[GRPC_HEALTH_SERVICES];
    size_t n;
    bool stopped;
    struct list_node watchers;
    size_t n_watchers;
    struct rpc_table table;
};

/* One Watch. Its service's name is the request's, which lives as long as the call. */
struct watcher {
    struct list_node link;
    struct grpc_health *health;
    struct rpc_call *call;
    struct slice service;
    health_state told;
    bool told_any;
};

static health_state state_of(const struct grpc_health *h, struct slice service)
{
    for (size_t i = 0; i < h->n; i++)
        if (slice_eqs(service, h->services[i].name))
            return h->services[i].serving && !h->stopped ? STATE(SERVING) : STATE(NOT_SERVING);
    return STATE(SERVICE_UNKNOWN);
}

static struct slice service_in(const ProtobufCMessage *request)
{
    return slice_of(((const health_request *)request)->service);
}

static void check(struct rpc_call *c, const ProtobufCMessage *request)
{
    health_answer a = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct slice service = service_in(request);
    a.status = state_of(c->app, service);
    if (a.status == STATE(SERVICE_UNKNOWN))
        rpc_finish(c, GRPC_NOT_FOUND, "unknown service \"%.*s\"",
                   (int)(service.len < 256 ? service.len : 256), service.p);
    else
        rpc_reply(c, &a.base);
}

/* A watcher whose queue is full is told later, and then only the last state. */
static void tell(struct watcher *w)
{
    health_answer a = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    a.status = state_of(w->health, w->service);
    if (w->told_any && w->told == a.status)
        return;
    int rc = rpc_send(w->call, &a.base);
    if (rc == 0) {
        w->told = a.status;
        w->told_any = true;
    } else if (rc == ERR_NO_MEMORY) {
        rpc_finish(w->call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    }
}

static void watcher_drained(void *ctx, struct rpc_call *c BASE_UNUSED)
{
    tell(ctx);
}

static void watcher_closed(void *ctx, struct rpc_call *c BASE_UNUSED, int err BASE_UNUSED)
{
    struct watcher *w = ctx;
    list_remove(&w->link);
    w->health->n_watchers--;
    mem_free(w);
}

static const struct rpc_user watcher_user = {
    .drained = watcher_drained,
    .closed = watcher_closed,
};

static void watch(struct rpc_call *c, const ProtobufCMessage *request)
{
    struct grpc_health *h = c->app;
    if (h->stopped) {
        rpc_finish(c, GRPC_UNAVAILABLE, "the server is stopping");
        return;
    }
    if (h->n_watchers == GRPC_HEALTH_WATCHERS) {
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "%d clients watch already", GRPC_HEALTH_WATCHERS);
        return;
    }
    struct watcher *w = mem_zalloc(sizeof(*w));
    if (w == NULL) {
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    w->health = h;
    w->call = c;
    w->service = service_in(request);
    list_push_back(&h->watchers, &w->link);
    h->n_watchers++;
    rpc_set_user(c, &watcher_user, w);
    tell(w);
}

static const struct rpc_row rows[] = {
    RPC("/grpc.health.v1.Health/Check", RIGHT_NONE, "",
        grpc__health__v1__health_check_request__descriptor,
        grpc__health__v1__health_check_response__descriptor, .open = true, .handler = check),
    RPC("/grpc.health.v1.Health/Watch", RIGHT_NONE, "",
        grpc__health__v1__health_check_request__descriptor,
        grpc__health__v1__health_check_response__descriptor, .open = true,
        .streams = GRPC_SERVER_STREAM, .handler = watch),
};

int grpc_health_new(struct grpc_health **ret)
{
    struct grpc_health *h = mem_zalloc(sizeof(*h));
    if (h == NULL)
        return ERR_NO_MEMORY;
    h->magic = HEALTH_MAGIC;
    list_init(&h->watchers);
    h->table = (struct rpc_table){.rows = rows, .n_rows = ARRAY_LEN(rows), .app = h};
    (void)grpc_health_set(h, "", true);
    *ret = h;
    return 0;
}

void grpc_health_free(struct grpc_health *h)
{
    if (h == NULL)
        return;
    CHECK_MAGIC(h, HEALTH_MAGIC);
    INVARIANT(list_empty(&h->watchers));
    h->magic = 0;
    mem_free(h);
}

const struct rpc_table *grpc_health_table(const struct grpc_health *h)
{
    CHECK_MAGIC(h, HEALTH_MAGIC);
    return &h->table;
}

/* Telling calls nobody back, so the list stays as it is. */
static void tell_all(struct grpc_health *h)
{
    LIST_FOR (it, &h->watchers)
        tell(CONTAINER_OF(it, struct watcher, link));
}

int grpc_health_set(struct grpc_health *h, const char *service, bool serving)
{
    size_t i = 0;
    CHECK_MAGIC(h, HEALTH_MAGIC);
    while (i < h->n && strcmp(h->services[i].name, service) != 0)
        i++;
    if (i == GRPC_HEALTH_SERVICES)
        return ERR_LIMIT;
    if (i == h->n) {
        h->services[i].name = service;
        h->n++;
    }
    h->services[i].serving = serving;
    tell_all(h);
    return 0;
}

void grpc_health_shutdown(struct grpc_health *h)
{
    CHECK_MAGIC(h, HEALTH_MAGIC);
    h->stopped = true;
    tell_all(h);
    LIST_FOR (it, &h->watchers)
        rpc_finish(CONTAINER_OF(it, struct watcher, link)->call, GRPC_UNAVAILABLE,
                   "the server is stopping");
}
