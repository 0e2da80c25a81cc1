/* workloads.h: the calls about workloads, of this folder's files workloads.c, explain.c, events.c,
 * workload_logs.c, workload_exec.c, workload_parts.c. */
#ifndef GANTRY_API_REST_WORKLOADS_H
#define GANTRY_API_REST_WORKLOADS_H

#include "api/rest/rest_priv.h"
#include "core/engine.h"

#define WORKLOADS_LISTED 10000 /* in one answer */
#define TASKS_LISTED 1000

/* A precondition: 503 without an engine. */
bool rest_engine_ready(struct api_call *c);

/* workloads.c. Places of parameters. */
enum {
    WORKLOAD_QUERY_TYPE,
    WORKLOAD_QUERY_ACTUAL,
    WORKLOAD_QUERY_DESIRED,
    WORKLOAD_QUERY_ID,
    WORKLOAD_QUERY_AFTER,
    WORKLOAD_QUERY_LIMIT,
    WORKLOAD_QUERY_COUNT
};
enum { WORKLOAD_PUT_DRY_RUN, WORKLOAD_PUT_FORCE, WORKLOAD_PUT_COUNT };
enum { WORKLOAD_DELETE_FORCE, WORKLOAD_DELETE_COUNT };
enum { WORKLOAD_ACT_ACTION, WORKLOAD_ACT_FORCE, WORKLOAD_ACT_COUNT };
enum {
    TASK_QUERY_WORKLOAD,
    TASK_QUERY_STATUS,
    TASK_QUERY_KIND,
    TASK_QUERY_LIMIT,
    TASK_QUERY_COUNT
};
extern const char *const rest_workload_types[],
    *const rest_workload_desired[], *const rest_workload_actual[], *const rest_workload_actions[],
                                                                       *const rest_task_statuses[],
                                                                           *const rest_task_kinds[];
void rest_workload_list(struct api_call *c);
void rest_workload_get(struct api_call *c);
void rest_workload_put(struct api_call *c);
void rest_workload_delete(struct api_call *c);
void rest_workload_act(struct api_call *c);
void rest_task_list(struct api_call *c);

/* Members of an open object: how a workload is. */
void rest_put_view(struct json_out *j, const struct engine_view *w);
/* An object. */
void rest_put_usage(struct json_out *j, const struct driver_usage *u);

/* workload_logs.c */
enum {
    WORKLOAD_LOGS_TAIL,
    WORKLOAD_LOGS_SINCE,
    WORKLOAD_LOGS_FOLLOW,
    WORKLOAD_LOGS_SERVICE,
    WORKLOAD_LOGS_COUNT
};
enum { WORKLOAD_STATS_SERVICE, WORKLOAD_STATS_COUNT };
void rest_workload_logs(struct api_call *c);
void rest_workload_stats(struct api_call *c);

/* workload_parts.c */
void rest_workload_parts(struct api_call *c);
/* Answers with the object of a dry run, which is open and in `b`, and what the runtime would do
 * with each part of the workload: "steps". Takes the call and b. */
void rest_workload_steps(struct api_call *c, const struct driver *d, const struct workload_doc *doc,
                         struct buf *b);

/* workload_exec.c */
enum {
    WORKLOAD_EXEC_COMMAND,
    WORKLOAD_EXEC_USER,
    WORKLOAD_EXEC_ENV,
    WORKLOAD_EXEC_DIR,
    WORKLOAD_EXEC_TIMEOUT,
    WORKLOAD_EXEC_SERVICE,
    WORKLOAD_EXEC_COUNT
};
void rest_workload_exec(struct api_call *c);

/* workload_snapshots.c */
void rest_snapshot_list(struct api_call *c);
void rest_snapshot_create(struct api_call *c);
void rest_snapshot_delete(struct api_call *c);
void rest_snapshot_revert(struct api_call *c);

/* events.c */
enum {
    EVENT_QUERY_KIND,
    EVENT_QUERY_NAME,
    EVENT_QUERY_TYPE,
    EVENT_QUERY_REASON,
    EVENT_QUERY_AFTER,
    EVENT_QUERY_FOLLOW,
    EVENT_QUERY_COUNT
};
bool rest_events_ready(struct api_call *c);
void rest_events(struct api_call *c);

/* explain.c */
void rest_explain_workload(struct api_call *c);
void rest_explain_service(struct api_call *c);

/* node.c */
void rest_node_get(struct api_call *c);
void rest_explain_node(struct api_call *c);

#endif
