/* Viewers of live logs: WebSockets (talos contract 2.1) and server-sent events. All of one log
 * share what the hub reads; a text is encoded once for all of them. A viewer that does not keep up
 * is cut. */
#include "api/rest/live.h"
#include "base/log.h"
#include "net/sse.h"
#include "net/ws.h"

#include <string.h>

#define SSE_PING_MS 15000
#define WS_NORMAL 1000
#define WS_GOING_AWAY 1001
#define WS_POLICY 1008
#define WS_INTERNAL 1011
#define WS_RESTART 1012
#define VIEWER_MAX_TAIL 10000

struct viewer {
    struct list_node link;
    struct rest *r;
    struct ws *ws; /* one of the two */
    struct exchange *x;
    struct log_view *view;
    const struct identity *who; /* a reference */
};

/* One event, encoded for each kind of viewer on first need. */
struct encoded {
    struct ws_frame *frame;
    struct chunk *sse;
};

static void encoded_free(void *p)
{
    struct encoded *c = p;
    if (c == NULL)
        return;
    if (c->frame != NULL)
        ws_frame_unref(c->frame);
    if (c->sse != NULL)
        chunk_unref(c->sse);
    mem_free(c);
}

/* {"type":"logs","data":"..."} */
static void ws_text(struct buf *b, const char *type, struct slice text)
{
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_kstr(&j, "type", type);
    json_kslice(&j, "data", text);
    json_end_obj(&j);
}

/* The event as it goes over a stream of events; data is {"logs","cursor"} or {"error"}. */
static int sse_text(struct buf *b, const struct log_event *ev)
{
    struct buf data = BUF_INIT(REST_MAX_ANSWER);
    struct json_out j;
    json_begin(&j, &data);
    json_obj(&j);
    bool error = ev->kind != LOG_EVENT_TEXT;
    json_kslice(&j, error ? "error" : "logs", ev->text);
    if (!error) {
        if (ev->cursor.len > 0)
            json_kslice(&j, "cursor", ev->cursor);
        else
            json_knull(&j, "cursor");
    }
    json_end_obj(&j);
    int rc = data.err;
    if (rc == 0)
        rc = sse_format(b, error ? SLICE_LIT("") : ev->cursor,
                        error ? SLICE_LIT("error") : SLICE_LIT("logs"),
                        (struct slice){data.data, data.len});
    buf_done(&data);
    return rc;
}

static struct ws_frame *make_frame(const struct log_event *ev)
{
    struct buf b = BUF_INIT(REST_MAX_ANSWER);
    ws_text(&b, ev->kind == LOG_EVENT_TEXT ? "logs" : "error", ev->text);
    struct ws_frame *f = b.err == 0 ? ws_frame_new((struct slice){b.data, b.len}) : NULL;
    buf_done(&b);
    return f;
}

static struct chunk *make_chunk(const struct log_event *ev)
{
    struct buf b = BUF_INIT(REST_MAX_ANSWER);
    struct chunk *c = NULL;
    if (sse_text(&b, ev) == 0 && b.err == 0)
        c = chunk_new(b.data, b.len);
    buf_done(&b);
    return c;
}

static void viewer_stop(struct viewer *v)
{
    if (v->view != NULL)
        log_view_close(v->view);
    v->view = NULL;
}

static void viewer_free(struct viewer *v)
{
    struct rest *r = v->r;
    viewer_stop(v);
    list_remove(&v->link);
    r->n_viewers--;
    if (v->x != NULL && --r->n_sse == 0)
        loop_timer_stop(&r->ping);
    identity_unref(v->who);
    mem_free(v);
}

static void viewer_cut(struct viewer *v, int rc)
{
    const char *reason = rc == ERR_LIMIT    ? "the viewer cannot keep up with the log"
                         : rc == ERR_DENIED ? "the token is revoked or has expired"
                                            : err_row(rc)->text;
    const struct peer *peer = v->ws ? ws_peer(v->ws) : exchange_peer(v->x);
    LOG(INFO, "api", "log-viewer-cut", "a log viewer was cut", LF_STR("reason", reason),
        LF_STR("peer", peer ? peer->text : NULL));
    viewer_stop(v);
    if (v->x != NULL) {
        exchange_abort(v->x);
        return;
    }
    struct buf b = BUF_INIT(1024);
    ws_text(&b, "error", slice_of(reason));
    if (b.err == 0) /* fits only if the text that was too much was a large one */
        (void)ws_send_text(v->ws, (struct slice){b.data, b.len});
    buf_done(&b);
    ws_close(v->ws, rc == ERR_LIMIT || rc == ERR_DENIED ? WS_POLICY : WS_INTERNAL, reason);
}

static int viewer_send(struct viewer *v, struct encoded *c)
{
    return v->ws ? ws_send_frame(v->ws, c->frame) : exchange_write_chunk(v->x, c->sse);
}

/* The log is not there any more: the viewer was told why. */
static void viewer_end(struct viewer *v, struct slice why)
{
    char reason[120]; /* a close frame has room for 123 bytes */
    struct buf b = BUF_FIXED(reason);
    (void)buf_add(&b, why.p, why.len);
    viewer_stop(v);
    if (v->ws != NULL)
        ws_close(v->ws, WS_GOING_AWAY, b.err == 0 ? reason : "the container was removed");
    else if (exchange_finish(v->x, NULL, 0) != 0)
        exchange_abort(v->x);
}

static void viewer_event(void *ctx, const struct log_event *ev)
{
    struct viewer *v = ctx;
    struct encoded own = {0}, *c = &own;
    if (identity_over(v->who, v->who->expires_ns ? clock_real_ns(loop_clock(v->r->o.loop)) : 0)) {
        viewer_cut(v, ERR_DENIED);
        return;
    }
    if (ev->shared != NULL) {
        if (*ev->shared == NULL && (*ev->shared = mem_zalloc(sizeof(*c))) != NULL)
            *ev->shared_free = encoded_free;
        if (*ev->shared != NULL)
            c = *ev->shared;
    }
    if (v->ws != NULL && c->frame == NULL)
        c->frame = make_frame(ev);
    if (v->x != NULL && c->sse == NULL)
        c->sse = make_chunk(ev);
    bool made = v->ws ? c->frame != NULL : c->sse != NULL;
    int rc = made ? viewer_send(v, c) : ERR_NO_MEMORY;
    if (own.frame != NULL)
        ws_frame_unref(own.frame);
    if (own.sse != NULL)
        chunk_unref(own.sse);
    if (rc == ERR_GONE)
        viewer_stop(v); /* its `closed` is on the way */
    else if (rc != 0)
        viewer_cut(v, rc);
    else if (ev->kind == LOG_EVENT_GONE)
        viewer_end(v, ev->text);
}

/* NULL: too many, or out of memory. */
static struct viewer *viewer_new(struct rest *r, const struct identity *who)
{
    if (r->draining || r->n_viewers >= r->o.max_viewers)
        return NULL;
    struct viewer *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return NULL;
    v->r = r;
    v->who = identity_ref(who);
    list_push_back(&r->viewers, &v->link);
    r->n_viewers++;
    return v;
}

/* --- WebSocket --- */

static void ws_gone(void *ctx, struct ws *w, int code)
{
    (void)w;
    (void)code;
    viewer_free(ctx);
}

static const struct ws_user ws_viewer = {.closed = ws_gone};

/* The last word of a stream that ends at once. `text` is freed. */
static void ws_end(struct viewer *v, struct buf *text)
{
    struct buf b = BUF_INIT(128 * 1024);
    ws_text(&b, "error", (struct slice){text->data, text->len});
    if (b.err == 0 && text->err == 0)
        (void)ws_send_text(v->ws, (struct slice){b.data, b.len});
    ws_close(v->ws, WS_NORMAL, "");
    buf_done(text);
    buf_done(&b);
}

/* The paths: those of Talos first, then cyclo_manager's (talos contract 2). */
static const struct ws_path {
    const char *pattern;
    bool logs;
    const char *before, *after; /* of the text about absent topics */
} ws_paths[] = {
    {"/ws/containers/{container}/services/{service}/logs", true, NULL, NULL},
    {"/ws/containers/{container}/ros2/topics/{topic:path}", false, REST_NO_ROS2_BEFORE,
     REST_NO_ROS2_AFTER},
    {"/ws/{container}/services/{service}/logs", true, NULL, NULL},
    {"/ws/{container}/ros2/topics/{topic:path}", false, REST_NO_NODE_BEFORE, REST_NO_NODE_AFTER},
};

/* NULL: none. parts: container, then service or topic. */
static const struct ws_path *ws_path_find(struct slice path, struct slice parts[2])
{
    for (size_t i = 0; i < ARRAY_LEN(ws_paths); i++)
        if (api_path_match(ws_paths[i].pattern, path, parts, 2))
            return &ws_paths[i];
    return NULL;
}

/* Accepted: what the path asks for begins. */
static void ws_begin(struct viewer *v, const struct ws_path *path, const struct slice parts[2])
{
    struct buf text = BUF_INIT(16 * 1024);
    struct agent *a = agent_set_find(v->r->o.agents, parts[0]);
    if (a == NULL) {
        buf_adds(&text, "Container '");
        buf_add(&text, parts[0].p, parts[0].len);
        buf_adds(&text, "' not found");
        ws_end(v, &text);
        return;
    }
    if (!path->logs) {
        buf_adds(&text, path->before);
        buf_add(&text, parts[0].p, parts[0].len);
        buf_adds(&text, path->after);
        ws_end(v, &text);
        return;
    }
    struct err e = {0};
    int rc = ERR_INVALID;
    if (name_is_safe(parts[1], REST_SERVICE_NAME_MAX))
        rc = log_hub_view(v->r->o.hub, a, parts[1], REST_LOG_TAIL, SLICE_LIT(""), viewer_event, v,
                          &v->view, &e);
    else
        err_set(&e, rc, "'%.*s' is not a service name", (int)parts[1].len, parts[1].p);
    if (rc != 0) {
        buf_addf(&text, "Failed to fetch initial logs: %s", e.msg);
        ws_end(v, &text);
    }
}

static void refuse(struct rest *r, struct exchange *x, int status, struct slice body)
{
    struct http_response a = {.status = status, .content_type = "application/json"};
    api_count_upgrade(r->api, status);
    (void)exchange_respond(x, &a, body);
}

bool rest_upgrade(void *app, struct exchange *x, struct slice path)
{
    struct rest *r = app;
    struct slice parts[2] = {{0}};
    if (rest_shell_upgrade(r, x, path))
        return true;
    const struct ws_path *what = ws_path_find(path, parts);
    if (what == NULL) {
        refuse(r, x, 403, SLICE_LIT("{\"error\":\"No WebSocket is served here\",\"detail\":null}"));
        return true;
    }
    const struct identity *who;
    const char *kind = what->logs ? "service" : "topic";
    if (!api_upgrade_allowed(r->api, x, RIGHT_READ, kind, parts, 2, &who))
        return true;
    struct viewer *v = viewer_new(r, who);
    identity_unref(who);
    if (v == NULL) {
        refuse(r, x, 503,
               SLICE_LIT("{\"error\":\"No more WebSockets at present\",\"detail\":null}"));
        return true;
    }
    struct ws_options o = {
        .max_queue = r->o.ws_queue, .max_message = r->o.ws_message, .protocol = API_WS_PROTOCOL};
    bool ok = ws_accept(x, &o, &ws_viewer, v, &v->ws) == 0;
    api_count_upgrade(r->api, ok ? 101 : 400);
    if (ok)
        ws_begin(v, what, parts);
    else
        viewer_free(v); /* it has been answered */
    return true;
}

/* --- Server-sent events --- */

static void sse_gone(void *ctx, struct exchange *x, int err)
{
    (void)x;
    (void)err;
    viewer_free(ctx);
}

static const struct exchange_user sse_viewer = {.closed = sse_gone};

void rest_ping(void *ctx)
{
    struct rest *r = ctx;
    LIST_FOR_SAFE (n, &r->viewers) {
        struct viewer *v = CONTAINER_OF(n, struct viewer, link);
        if (v->x == NULL)
            continue;
        int rc = sse_ping(v->x);
        if (rc == ERR_LIMIT || rc == ERR_NO_MEMORY) /* else it has ended already */
            viewer_cut(v, rc);
    }
}

/* Where to go on: `cursor`, or what a browser's EventSource sends when it connects again. */
static struct slice resume_at(const struct api_call *c)
{
    if (c->query[2].set)
        return c->query[2].s;
    struct slice last = exchange_header(c->x, "last-event-id");
    return last.p ? last : SLICE_LIT("");
}

void rest_follow(struct api_call *c, struct agent *a)
{
    struct rest *r = c->app;
    if (!name_is_safe(c->path[1], REST_SERVICE_NAME_MAX)) {
        api_reply_error(c, 503, "Failed to communicate with agent: not a service name");
        return;
    }
    struct viewer *v = viewer_new(r, c->who);
    if (v == NULL) {
        api_reply_error(c, 503, "No more log viewers at present");
        return;
    }
    int64_t tail = c->query[0].i < 0 ? 0 : c->query[0].i;
    tail = tail > VIEWER_MAX_TAIL ? VIEWER_MAX_TAIL : tail;
    struct err e = {0};
    int rc =
        log_hub_view(r->o.hub, a, c->path[1], tail, resume_at(c), viewer_event, v, &v->view, &e);
    if (rc != 0) {
        viewer_free(v);
        api_reply_error(c, 503, "Failed to communicate with agent: %s", e.msg);
        return;
    }
    struct http_header h[4];
    size_t n = api_cors_headers(c, h);
    v->x = api_call_take(c);
    if (r->n_sse++ == 0)
        loop_timer_start(&r->ping, SSE_PING_MS, SSE_PING_MS);
    exchange_set_user(v->x, &sse_viewer, v);
    if (sse_start(v->x, h, n) != 0) {
        viewer_stop(v);
        exchange_abort(v->x); /* `closed` then frees the viewer */
    }
}

void rest_viewers_drain(struct rest *r)
{
    LIST_FOR_SAFE (n, &r->viewers) {
        struct viewer *v = CONTAINER_OF(n, struct viewer, link);
        viewer_stop(v);
        if (v->ws != NULL)
            ws_close(v->ws, WS_RESTART, "gantryd is stopping");
        else if (v->x != NULL && exchange_finish(v->x, NULL, 0) != 0)
            exchange_abort(v->x);
    }
}
