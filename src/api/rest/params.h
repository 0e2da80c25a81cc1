/* params.h: the parameters of the calls, one table for each query and each body.
 *
 * A handler reads a value by its place in the table: where there is more than one the places have
 * names, in the header that declares the handler. */
#ifndef GANTRY_API_REST_PARAMS_H
#define GANTRY_API_REST_PARAMS_H

#include "api/rest/rest_priv.h"
#include "api/rest/workloads.h"

extern const struct api_param rest_logs_query[3];
extern const struct api_param rest_action_query[1];
extern const struct api_param rest_action_body[1];
extern const struct api_param rest_launch_body[3];
extern const struct api_param rest_content_body[1];
extern const struct api_param rest_bashrc_body[1];
extern const struct api_param rest_revert_body[1];
extern const struct api_param rest_profile_body[PROFILE_BODY_COUNT];
extern const struct api_param rest_gateway_body[GATEWAY_BODY_COUNT];
extern const struct api_param rest_docker_all_query[1];
extern const struct api_param rest_docker_logs_query[1];
extern const struct api_param rest_docker_body[2];
extern const struct api_param rest_audit_query[3];
extern const struct api_param rest_token_body[TOKEN_BODY_COUNT];
extern const struct api_param rest_workload_query[WORKLOAD_QUERY_COUNT];
extern const struct api_param rest_workload_put_query[WORKLOAD_PUT_COUNT];
extern const struct api_param rest_workload_delete_query[WORKLOAD_DELETE_COUNT];
extern const struct api_param rest_workload_act_body[WORKLOAD_ACT_COUNT];
extern const struct api_param rest_workload_logs_query[WORKLOAD_LOGS_COUNT];
extern const struct api_param rest_workload_stats_query[WORKLOAD_STATS_COUNT];
extern const struct api_param rest_workload_exec_body[WORKLOAD_EXEC_COUNT];
extern const struct api_param rest_snapshot_body[1];
extern const struct api_param rest_task_query[TASK_QUERY_COUNT];
extern const struct api_param rest_event_query[EVENT_QUERY_COUNT];

#endif
