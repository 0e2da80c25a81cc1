/* rest_priv.h: what the files of this folder share. */
#ifndef GANTRY_API_REST_PRIV_H
#define GANTRY_API_REST_PRIV_H

#include "api/rest/rest.h"
#include "base/etag.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/trace.h"
#include "net/loop.h"

#define REST_MAX_ANSWER (64u * 1024u * 1024u)
#define REST_KEEP_BUFFER (256u * 1024u)
#define REST_MAX_OPENAPI (4u * 1024u * 1024u)
#define REST_SERVICE_NAME_MAX 255
#define REST_LOG_TAIL 100
#define REST_MAX_VIEWERS 10000

/* api_route.variant: the paths of Talos, and those of its successor cyclo_manager (talos contract
 * 1.10). */
enum { REST_TALOS, REST_CYCLO };

#define REST_MAGIC 0x52455354u
struct rest {
    uint32_t magic;
    struct rest_options o;
    int64_t began_ns; /* wall time */
    struct api *api;
    struct buf out;        /* answers are built here, one after the other */
    struct buf root;       /* GET / */
    struct buf containers; /* GET /containers; made on first use after each change of the agents */
    struct buf openapi;    /* made on first use, and then kept */
    char openapi_etag[ETAG_SIZE];
    struct list_node viewers;
    size_t n_viewers, n_sse;
    struct loop_timer ping; /* for the event streams; runs only while there are any */
    bool draining;
    struct event_front *events; /* NULL: none */
    struct live_front *live;
    const struct server *server;
    bool config_ok, config_loaded; /* the last one; any one */
    char config_detail[201];
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* The empty answer buffer. */
struct buf *rest_out(struct rest *r);
/* 200 with what is in the answer buffer. */
void rest_reply_out(struct api_call *c);
/* An error about a name, which may hold any character. */
void rest_reply_named(struct api_call *c, int status, const char *before, struct slice name,
                      const char *after);
/* A member of an open object: ns since 1970 as RFC 3339 in UTC; 0: null. */
void rest_put_time(struct json_out *j, const char *key, int64_t ns);
/* The agent of path parameter 0; NULL: 404 has been answered. */
struct agent *rest_agent(struct api_call *c);

/* events.c: all streams of events. Open: 0, ERR_NO_MEMORY. Close: they are over by then; the loop
 * runs on. */
int rest_events_open(struct rest *r, struct err *e);
void rest_events_drain(struct rest *r);
void rest_events_close(struct rest *r);
size_t rest_events_count(const struct rest *r);

/* live.c: logs that are followed, programs that run. As above. */
int rest_live_open(struct rest *r, struct err *e);
void rest_live_drain(struct rest *r);
void rest_live_close(struct rest *r);
size_t rest_live_count(const struct rest *r);

/* services.c */
void rest_containers(struct api_call *c);
/* All configured containers, or with a call only those that its caller may see. */
void rest_write_containers(struct buf *b, const struct rest *r, const struct api_call *c);
void rest_service_list(struct api_call *c);
void rest_service_status_all(struct api_call *c);
void rest_service_status(struct api_call *c);
void rest_service_act(struct api_call *c);
void rest_service_logs(struct api_call *c);
void rest_service_logs_clear(struct api_call *c);
/* A call of cyclo_manager's paths: failures are told as it tells them. */
bool rest_is_cyclo(const struct api_call *c);
/* The service's name can be one; else that has been answered. */
bool rest_service_named(struct api_call *c);
/* True if there is an object to read; else the failure has been answered. status 0: no answer. */
bool rest_agent_usable(struct api_call *c, const struct err *e, int status, const json_t *answer);
/* Answers that an agent's answer makes no sense. */
void rest_bad_answer(struct api_call *c, const char *what);
#define REST_AGENT_FAILED "Failed to communicate with agent: "
void rest_topics(struct api_call *c);
extern const char *const rest_service_actions[];
/* The text that every answer about absent ROS 2 topics has, around the container's name. */
#define REST_NO_ROS2_BEFORE "ROS2 plugin for container '"
#define REST_NO_ROS2_AFTER                                                                         \
    "' is not available. Check if ROS2 configuration exists in config.yml and zenoh connection."
#define REST_NO_NODE_BEFORE "ROS2 node for container '"
#define REST_NO_NODE_AFTER "' is not available."
/* A precondition: cyclo_manager says 404 before it looks at values. */
bool rest_container_known(struct api_call *c);

/* run.c: run scripts */
void rest_service_run_get(struct api_call *c);
void rest_service_run_put(struct api_call *c);
void rest_service_run_revert(struct api_call *c);
void rest_service_run_backups(struct api_call *c);

/* profiles.c */
enum { PROFILE_BODY_NAME, PROFILE_BODY_ENV, PROFILE_BODY_COUNT };
enum { GATEWAY_BODY_ACTION, GATEWAY_BODY_WAIT, GATEWAY_BODY_COUNT };
extern const char *const rest_gateway_actions[];
void rest_profile_list(struct api_call *c);
void rest_profile_create(struct api_call *c);
void rest_profile_delete(struct api_call *c);
void rest_gateway(struct api_call *c);
void rest_gateway_act(struct api_call *c);

/* containers.c: the container runtime */
bool rest_docker_ready(struct api_call *c);
void rest_docker_list(struct api_call *c);
/* Holds the call and goes on with it once the container is known to have the name of path parameter
 * 0. The engine also takes the beginning of an id for a name; whoever has a right to some names
 * only must not get at others that way, so for him it is asked first: 404 for everything but the
 * very name. */
void rest_docker_named(struct api_call *c, void (*go)(struct api_call *held));
void rest_docker_status(struct api_call *c);
void rest_docker_act(struct api_call *c);
void rest_docker_logs(struct api_call *c);
extern const char *const rest_docker_actions[];

/* observe.c: health and metrics */
struct rest_check {
    const char *name;
    bool ok, required; /* required: else requests are served all the same */
    const char *detail;
};
typedef void (*rest_check_fn)(void *ctx, const struct rest_check *c);
/* What /readyz tells, in its order. */
void rest_each_check(const struct rest *r, rest_check_fn fn, void *ctx);
void rest_healthz(struct api_call *c);
void rest_readyz(struct api_call *c);
void rest_metrics(struct api_call *c);

/* audit.c */
void rest_audit(struct api_call *c);

/* trace.c: on whose behalf an agent is asked. Fills the request's headers; *t and the call's
 * exchange must outlive agent_call. */
struct rest_trace {
    char traceparent[TRACE_TEXT_SIZE];
};
void rest_trace(struct api_call *c, struct agent_request *rq, struct rest_trace *t);
/* bashrc.c: a file of a container */
void rest_bashrc_get(struct api_call *c);
void rest_bashrc_put(struct api_call *c);
/* version.c */
void rest_version(struct api_call *c);
void rest_docker_version(struct api_call *c);

/* viewers.c: live logs */
void rest_follow(struct api_call *c, struct agent *a);
bool rest_upgrade(void *app, struct exchange *x, struct slice path);
void rest_viewers_drain(struct rest *r);
void rest_ping(void *ctx);

/* tokens.c */
enum { TOKEN_BODY_NAME, TOKEN_BODY_ROLE, TOKEN_BODY_RIGHTS, TOKEN_BODY_EXPIRES, TOKEN_BODY_COUNT };
extern const char *const rest_token_roles[];
bool rest_tokens_ready(struct api_call *c);
void rest_token_list(struct api_call *c);
void rest_token_create(struct api_call *c);
void rest_token_revoke(struct api_call *c);
void rest_whoami(struct api_call *c);

/* volumes.c */
bool rest_volumes_ready(struct api_call *c);
void rest_volume_list(struct api_call *c);
void rest_volume_get(struct api_call *c);
void rest_volume_delete(struct api_call *c);

/* store.c */
bool rest_store_ready(struct api_call *c);
void rest_store_backup(struct api_call *c);
void rest_store_restore(struct api_call *c);

/* config.c */
void rest_config_get(struct api_call *c);
void rest_config_diff(struct api_call *c);
void rest_config_reload(struct api_call *c);

/* docs.c, openapi.c */
void rest_docs(struct api_call *c);
void rest_docs_file(struct api_call *c);
void rest_openapi_get(struct api_call *c);
int rest_openapi_write(struct buf *out, const struct api_route *rows, size_t n);

#endif
