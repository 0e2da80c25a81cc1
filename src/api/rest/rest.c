/* The front end itself: what all calls share, and its life. */
#include "api/rest/rest_priv.h"
#include "base/clock.h"
#include "net/server.h"

#include <stdio.h>

struct buf *rest_out(struct rest *r)
{
    if (r->out.cap > REST_KEEP_BUFFER)
        buf_done(&r->out);
    buf_clear(&r->out);
    return &r->out;
}

void rest_reply_out(struct api_call *c)
{
    api_reply_json(c, 200, &((struct rest *)c->app)->out);
}

void rest_reply_named(struct api_call *c, int status, const char *before, struct slice name,
                      const char *after)
{
    struct slice parts[] = {slice_of(before), name, slice_of(after)};
    api_reply_error_parts(c, status, parts, ARRAY_LEN(parts));
}

void rest_put_time(struct json_out *j, const char *key, int64_t ns)
{
    char text[TIME_TEXT_SIZE];
    if (ns == 0) {
        json_knull(j, key);
        return;
    }
    time_format_rfc3339(text, ns);
    json_kstr(j, key, text);
}

struct agent *rest_agent(struct api_call *c)
{
    struct rest *r = c->app;
    struct agent *a = agent_set_find(r->o.agents, c->path[0]);
    if (a == NULL)
        rest_reply_named(c, 404, "Container '", c->path[0], "' not found");
    return a;
}
/* Answers that are the same for all. */
static int make_static(struct rest *r)
{
    struct json_out j;
    buf_init(&r->root, 4096);
    json_begin(&j, &r->root);
    json_obj(&j);
    json_kstr(&j, "message", "Gantry API");
    json_kstr(&j, "version", GANTRY_VERSION);
    json_key(&j, "docs");
    json_obj(&j);
    json_kstr(&j, "swagger_ui", "/docs");
    json_kstr(&j, "redoc", "/redoc");
    json_kstr(&j, "openapi_schema", "/openapi.json");
    json_end_obj(&j);
    json_kstr(&j, "description", "Everything that runs on this machine, behind one API");
    json_end_obj(&j);

    buf_init(&r->containers, REST_MAX_ANSWER);
    rest_write_containers(&r->containers, r, NULL);
    return r->root.err != 0 ? r->root.err : r->containers.err;
}

static void rest_destroy(void *ctx)
{
    struct rest *r = ctx;
    void (*closed)(void *) = r->closed;
    void *closed_ctx = r->closed_ctx;
    api_free(r->api);
    buf_done(&r->out);
    buf_done(&r->root);
    buf_done(&r->containers);
    buf_done(&r->openapi);
    r->magic = 0;
    mem_free(r);
    if (closed != NULL)
        closed(closed_ctx);
}

int rest_new(struct rest **ret, const struct rest_options *o, struct err *e)
{
    struct rest *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->magic = REST_MAGIC;
    r->o = *o;
    r->began_ns = clock_real_ns(loop_clock(o->loop));
    if (r->o.max_viewers == 0)
        r->o.max_viewers = REST_MAX_VIEWERS;
    list_init(&r->viewers);
    buf_init(&r->out, REST_MAX_ANSWER);
    size_t n_routes;
    const struct api_route *routes = rest_routes(&n_routes);
    struct api_options ao = {.routes = routes,
                             .n_routes = n_routes,
                             .app = r,
                             .cors = o->cors,
                             .host_allowed = rest_host_allowed,
                             .upgrade = rest_upgrade,
                             .guard = o->guard,
                             .audit = o->audit,
                             .max_body = o->max_body,
                             .clock = loop_clock(o->loop),
                             .slow_ns = o->slow_ms * NS_PER_MS};
    int rc = make_static(r);
    if (rc != 0)
        err_set(e, rc, "cannot build the list of containers: %s", err_row(rc)->text);
    else
        rc = api_new(&r->api, &ao, e);
    if (rc == 0)
        rc = rest_events_open(r, e);
    if (rc == 0)
        rc = rest_live_open(r, e);
    if (rc == 0 && (rc = loop_timer_init(o->loop, &r->ping, rest_ping, r)) != 0)
        err_set(e, rc, "cannot make a timer");
    if (rc != 0) {
        rest_events_close(r);
        rest_live_close(r);
        rest_destroy(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void rest_handle(void *ctx, struct exchange *x)
{
    struct rest *r = ctx;
    CHECK_MAGIC(r, REST_MAGIC);
    api_handle(r->api, x);
}

void rest_set_server(struct rest *r, const struct server *s)
{
    CHECK_MAGIC(r, REST_MAGIC);
    r->server = s;
}

void rest_note_config(struct rest *r, bool ok, const char *detail)
{
    CHECK_MAGIC(r, REST_MAGIC);
    r->config_ok = ok;
    r->config_loaded = r->config_loaded || ok;
    snprintf(r->config_detail, sizeof(r->config_detail), "%s", detail);
}

void rest_change(struct rest *r, const struct rest_options *o)
{
    CHECK_MAGIC(r, REST_MAGIC);
    r->o.hosts = o->hosts;
    r->o.n_hosts = o->n_hosts;
    r->o.order = o->order;
    r->o.ws_queue = o->ws_queue;
    r->o.ws_message = o->ws_message;
    r->o.max_viewers = o->max_viewers != 0 ? o->max_viewers : REST_MAX_VIEWERS;
    api_set_max_body(r->api, o->max_body);
    api_set_slow(r->api, o->slow_ms * NS_PER_MS);
    if (o->cors != NULL)
        api_set_cors(r->api, o->cors);
    buf_done(&r->containers);
}

void rest_drain(struct rest *r)
{
    CHECK_MAGIC(r, REST_MAGIC);
    r->draining = true;
    rest_viewers_drain(r);
    rest_events_drain(r);
    rest_live_drain(r);
}

void rest_free(struct rest *r, void (*closed)(void *ctx), void *ctx)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, REST_MAGIC);
    INVARIANT(r->n_viewers == 0);
    r->closed = closed;
    r->closed_ctx = ctx;
    rest_events_close(r);
    rest_live_close(r);
    loop_timer_close(&r->ping, rest_destroy);
}

size_t rest_viewers(const struct rest *r)
{
    return r->n_viewers + rest_live_count(r);
}
