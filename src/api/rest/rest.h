/* rest.h: gantryd's REST and WebSocket front end: one route table over services and a container
 * runtime.
 *
 * Wire: talos contract 1.4 to 1.9 and 2.1. Beyond it: server-sent events at
 * CS/{service}/logs?follow=true (event "logs", data {"logs","cursor"}; resumable with `cursor` or
 * Last-Event-ID). The paths of cyclo_manager (1.10) are served beside those of Talos, which win
 * where both fit. ROS 2 topics are not served: their paths answer 404 or 503 as without a plugin.
 */
#ifndef GANTRY_API_REST_H
#define GANTRY_API_REST_H

#include "api/route/route.h"
#include "core/engine.h"
#include "core/node_link.h"
#include "core/runtime.h"
#include "core/store_admin.h"
#include "core/token_admin.h"
#include "core/volume_admin.h"
#include "service/agent.h"
#include "service/log_hub.h"
#include "service/service_order.h"
#include "service/service_watch.h"

struct process_stats;
struct rest;
struct server;

/* What the program can tell of its configuration, and do with it. Each writes one JSON object. */
struct rest_config {
    void *self;
    int (*show)(void *self, struct buf *out, struct err *e);
    int (*diff)(void *self, struct buf *out, struct err *e);
    /* Reads everything anew and applies it, or nothing: ERR_INVALID (faults), ERR_CONFLICT (cannot
     * be applied now), both with the report in *out; ERR_NO_MEMORY. Never called inside a handler.
     */
    int (*reload)(void *self, struct buf *out, struct err *e);
};

/* Everything is borrowed and must outlive the front end. */
struct rest_options {
    struct loop *loop;
    struct agent_set *agents;
    struct log_hub *hub;
    const struct runtime *runtime; /* NULL: no container runtime, always 503 */
    const struct api_cors *cors;
    const struct api_guard *guard;    /* NULL: everybody may do everything */
    const struct token_admin *tokens; /* NULL: there is no place to keep them; 503 */
    const struct audit_sink *audit;   /* NULL: nothing is recorded */
    const struct rest_config *config; /* NULL: these calls get 503 */
    const char *const *hosts;         /* further Host names that are served; "*": every one */
    size_t n_hosts;
    const char
        *docs_root;    /* folder of Swagger UI and ReDoc; NULL or without them: a page of our own */
    size_t max_body;   /* of a request; 0: 1 MiB */
    size_t ws_queue;   /* bytes waiting for one WebSocket; 0: 1 MiB */
    size_t ws_message; /* of one message of a WebSocket client; 0: 64 KiB */
    size_t max_viewers;                      /* log viewers at a time; 0: 10,000. More get 503 */
    const struct audit_source *audit_source; /* NULL: nothing can be read */
    uint64_t slow_ms;                        /* requests that take longer are logged; 0: none */
    const struct store_admin *store;         /* NULL: there is none; 503 */
    const char *store_fault; /* why there is none; "" or NULL: the store is in order */
    const char *store_doubt; /* what is wrong with one that is in use; "" or NULL: nothing */
    const struct volume_admin *volumes; /* NULL: there are none; 503 */
    struct engine *engine;              /* NULL: no workloads; these calls get 503 */
    struct event_hub *events;           /* NULL: none; 503 */
    struct service_watch *services;     /* NULL: nothing is known of services without asking */
    struct service_order *order;        /* NULL: no service waits for workloads */
    const struct tasks *tasks;          /* with an engine */
    const struct sealer *sealer;        /* with an engine */
    const char *const *secret_env; /* patterns: variables that are secrets whoever sends them */
    size_t n_secret_env;
    /* Writes the program's own metrics behind those of the front end; NULL: there are none. */
    void (*more_metrics)(void *ctx, struct buf *out);
    void *more_metrics_ctx;
    /* Writes the member "certificate" of the node; NULL: it is null. */
    void (*write_certificate)(const void *ctx, struct json_out *j);
    const void *certificate;
    const struct host *host; /* NULL: not told */
    const char *node_id;
    const struct doc_pair *node_labels;
    size_t n_node_labels;
    const struct node_link *link; /* to the scheduler; NULL: not told */
    /* Why there is no driver of a type, by type; NULL: there is one. NULL: not told. */
    const char *const *no_driver;
};

/* ERR_NO_MEMORY. *ret is the caller's, free it with rest_free. */
int rest_new(struct rest **ret, const struct rest_options *o, struct err *e);
/* Whose listeners and counts /readyz and /metrics tell; may be NULL. Borrowed. */
void rest_set_server(struct rest *r, const struct server *s);
/* What /readyz says of the configuration; `detail` is copied, and cut at 200 bytes. */
void rest_note_config(struct rest *r, bool ok, const char *detail);
/* A listener's handler; ctx is the struct rest. */
void rest_handle(void *ctx, struct exchange *x);
/* True if the Host of a request is one that is served here; for other front ends on the same
 * listeners. `rest` is the struct rest. */
bool rest_host_allowed(void *rest, struct exchange *x);
/* Takes cors, hosts, max_body, ws_queue, ws_message, slow_ms, max_viewers and order of `o`, and
 * makes GET /containers anew of the agents there are. Cannot fail. */
void rest_change(struct rest *r, const struct rest_options *o);
/* Ends all log streams: WebSockets with close code 1012 (a client then comes back), events with a
 * proper end. New ones get 503. */
void rest_drain(struct rest *r);
/* All exchanges and WebSockets must be over. Closes its timer: run the loop until closed(ctx) came.
 */
void rest_free(struct rest *r, void (*closed)(void *ctx), void *ctx);

/* Of logs, and programs that run in workloads. */
size_t rest_viewers(const struct rest *r);
/* What GET /metrics answers, of METRIC_CONTENT_TYPE; `p` is read by process_stats_read, which asks
 * the kernel and so belongs off the loop. */
void rest_write_metrics(const struct rest *r, const struct process_stats *p, struct buf *out);
/* The OpenAPI 3.1 document; borrowed, made on first use. {NULL, 0}: out of memory. */
struct slice rest_openapi(struct rest *r);
/* The table, for tests and for the CLI's help. */
const struct api_route *rest_routes(size_t *n);

#endif
