/* The table of calls, and what belongs to all of them. */
#include "api/rest/rest_priv.h"
#include "api/rest/workloads.h"
#include "net/server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define CS "/containers/{container}/services"
/* The paths of cyclo_manager (talos contract 1.10). */
#define C2 "/{container}/services"
#define CT "/{container}/ros2/topics"
#define CYCLO .yields = true, .variant = REST_CYCLO
#define CYCLO_SERVICE CYCLO_SERVICE_ALSO()
#define CYCLO_SERVICE_ALSO(...) /* further statuses */                                             \
    CYCLO, .tag = "services", .precondition = rest_container_known,                                \
           .description = "An error of the agent keeps its status.",                               \
           .statuses = {400, 500, 501, 502, __VA_ARGS__}, .other_statuses = true
#define CYCLO_BASHRC                                                                               \
    CYCLO, .tag = "container", .precondition = rest_docker_ready, .statuses = {500, 504}
#define CYCLO_TOPIC                                                                                \
    CYCLO, .tag = "ros2", .precondition = rest_container_known, .handler = rest_topics
#define CYCLO_DOCKER CYCLO, .tag = "docker", .precondition = rest_docker_ready
#define CP "/containers/{container}/profiles"
#define QUERY(q) .query = (q), .n_query = ARRAY_LEN(q)
#define BODY(b, schema) .body = (b), .n_body = ARRAY_LEN(b), .body_schema = (schema)

static const struct api_param logs_query[] = {
    {.name = "tail", .type = API_INT, .def = REST_LOG_TAIL, .doc = "Last lines to show"},
    {.name = "follow",
     .type = API_BOOL,
     .doc = "Go on as server-sent events: event logs, data {logs, cursor}"},
    {.name = "cursor",
     .type = API_STR,
     .doc = "With follow: go on after this position",
     .example = "\"g1-ab058c-18ea02bd164583dd-15-223d20d1836b61a4-223d20d1836b61a4-\""},
};
static const struct api_param action_body[] = {
    {.name = "action",
     .type = API_ENUM,
     .required = true,
     .names = rest_service_actions,
     .doc = "up starts it, down stops it, restart ends it so that it starts anew",
     .example = "\"restart\""},
};
static const struct api_param launch_body[] = {
    {.name = "action",
     .type = API_ENUM,
     .required = true,
     .names = rest_service_actions,
     .doc = "up starts it, down stops it, restart ends it so that it starts anew",
     .example = "\"restart\""},
    {.name = "launch_args",
     .type = API_STR_MAP,
     .nullable = true,
     .doc = "Arguments of ros2 launch, for up and restart; they stay until others come, an empty "
            "object removes them",
     .example = "{\"use_sim\":\"true\"}"},
    {.name = "robot_type",
     .type = API_STR,
     .nullable = true,
     .doc = "sg2, bg2, sh5 or bh5; needed for up and restart of ai_worker_bringup, else ignored",
     .example = "\"sg2\""},
};
static const struct api_param content_body[] = {
    {.name = "content",
     .type = API_STR,
     .required = true,
     .doc = "The whole script; not empty",
     .example = "\"#!/bin/sh\\nexec ros2 run demo_nodes_cpp talker\\n\""},
};
static const struct api_param bashrc_body[] = {
    {.name = "content",
     .type = API_STR,
     .required = true,
     .doc = "The whole file; not empty",
     .example = "\"export PS1='web> '\\n\""},
};
static const struct api_param revert_body[] = {
    {.name = "backup",
     .type = API_INT,
     .nullable = true,
     .doc = "Its id; none: the newest",
     .example = "7"},
};
static const struct api_param profile_body[PROFILE_BODY_COUNT] = {
    [PROFILE_BODY_NAME] = {.name = "name",
                           .type = API_STR,
                           .required = true,
                           .doc =
                               "Lower-case letters, digits, '_' and '-'; 64 at most, the first one "
                               "a letter or digit",
                           .example = "\"coder\""},
    [PROFILE_BODY_ENV] = {.name = "env",
                          .type = API_STR_MAP,
                          .nullable = true,
                          .doc =
                              "Further variables of its gateway, 64 at most, until the container "
                              "is started anew",
                          .example = "{\"API_SERVER_PORT\":\"8650\"}"},
};
static const struct api_param gateway_body[GATEWAY_BODY_COUNT] = {
    [GATEWAY_BODY_ACTION] =
        {.name = "action",
         .type = API_ENUM,
         .required = true,
         .names = rest_gateway_actions,
         .doc = "What the gateway is to do; it is kept as what is wanted at the next boot",
         .example = "\"start\""},
    [GATEWAY_BODY_WAIT] = {.name = "wait",
                           .type = API_INT,
                           .nullable = true,
                           .doc = "Seconds to wait for the effect, 300 at most; null or 0: not",
                           .example = "10"},
};
static const struct api_param docker_all_query[] = {
    {.name = "all", .type = API_BOOL, .doc = "Also those that are not running"},
};
static const struct api_param docker_logs_query[] = {
    {.name = "tail", .type = API_INT, .def = REST_LOG_TAIL, .doc = "Last lines; negative: all"},
};
static const struct api_param docker_body[] = {
    {.name = "action",
     .type = API_ENUM,
     .required = true,
     .names = rest_docker_actions,
     .doc = "What to do",
     .example = "\"restart\""},
    {.name = "timeout",
     .type = API_INT,
     .nullable = true,
     .def = 10,
     .doc = "Seconds until a stop kills; null and 0 mean 10"},
};

static const struct api_param audit_query[] = {
    {.name = "n", .type = API_INT, .def = 100, .doc = "How many, from 1 to 10000"},
    {.name = "who", .type = API_STR, .doc = "Only of this identity, for example uid:0"},
    {.name = "since",
     .type = API_STR,
     .doc =
         "Only from this time on: 2026-11-21T03:52:00Z, a beginning of that, or 10m for the last "
         "ten minutes"},
};
static const struct api_param token_body[TOKEN_BODY_COUNT] = {
    [TOKEN_BODY_NAME] = {.name = "name",
                         .type = API_STR,
                         .required = true,
                         .doc = "1 to 64 of letters, digits, '.', '_' and '-'; unique",
                         .example = "\"dashboard\""},
    [TOKEN_BODY_ROLE] = {.name = "role",
                         .type = API_ENUM,
                         .nullable = true,
                         .names = rest_token_roles,
                         .doc = "viewer: read; operator: also control; admin: everything"},
    [TOKEN_BODY_RIGHTS] = {.name = "rights",
                           .type = API_STRS,
                           .nullable = true,
                           .doc = "Instead of a role: up to 16 of \"VERB KIND PATTERN\", for "
                                  "example \"control service robot/*\"",
                           .example = "null"},
    [TOKEN_BODY_EXPIRES] = {.name = "expires_in",
                            .type = API_INT,
                            .nullable = true,
                            .doc = "Seconds from now; null: it does not expire",
                            .example = "2592000"},
};

static const struct api_param workload_query[WORKLOAD_QUERY_COUNT] = {
    [WORKLOAD_QUERY_TYPE] = {.name = "type",
                             .type = API_ENUM,
                             .names = rest_workload_types,
                             .doc = "Only of this type"},
    [WORKLOAD_QUERY_ACTUAL] = {.name = "state",
                               .type = API_ENUM,
                               .names = rest_workload_actual,
                               .doc = "Only in this state"},
    [WORKLOAD_QUERY_DESIRED] = {.name = "desired_state",
                                .type = API_ENUM,
                                .names = rest_workload_desired,
                                .doc = "Only what should be so"},
    [WORKLOAD_QUERY_ID] = {.name = "id",
                           .type = API_STR,
                           .doc = "Only these ids; '*' stands for anything",
                           .example = "\"web*\""},
    [WORKLOAD_QUERY_AFTER] = {.name = "after",
                              .type = API_STR,
                              .doc = "Only ids that come after this one in the order of bytes: the "
                                     "last one of the page before",
                              .example = "\"web-1\""},
    [WORKLOAD_QUERY_LIMIT] = {.name = "limit",
                              .type = API_INT,
                              .def = WORKLOADS_LISTED,
                              .doc = "How many, from 1 to 10000"},
};
static const struct api_param workload_put_query[WORKLOAD_PUT_COUNT] = {
    [WORKLOAD_PUT_DRY_RUN] = {.name = "dry_run",
                              .type = API_BOOL,
                              .doc = "Change nothing; answer what would be done, and what differs"},
    [WORKLOAD_PUT_FORCE] = {.name = "force",
                            .type = API_BOOL,
                            .doc = "Do not wait for the workload's lock file"},
};
static const struct api_param workload_delete_query[WORKLOAD_DELETE_COUNT] = {
    [WORKLOAD_DELETE_FORCE] = {.name = "force",
                               .type = API_BOOL,
                               .doc = "Wait neither for the lock file nor for those that depend on "
                                      "it"},
};
static const struct api_param workload_act_body[WORKLOAD_ACT_COUNT] = {
    [WORKLOAD_ACT_ACTION] = {.name = "action",
                             .type = API_ENUM,
                             .required = true,
                             .names = rest_workload_actions,
                             .doc =
                                 "restart: stop it and start it again; retry: try again now, also "
                                 "what was given up; force: do not wait for the lock file any "
                                 "more",
                             .example = "\"restart\""},
    [WORKLOAD_ACT_FORCE] = {.name = "force",
                            .type = API_BOOL,
                            .nullable = true,
                            .doc = "With restart: do not wait for the lock file",
                            .example = "false"},
};
static const struct api_param workload_logs_query[WORKLOAD_LOGS_COUNT] = {
    [WORKLOAD_LOGS_TAIL] = {.name = "tail",
                            .type = API_STR,
                            .doc = "Last lines to show, 100 unless told; \"all\" or -1: all",
                            .example = "\"100\""},
    [WORKLOAD_LOGS_SINCE] = {.name = "since",
                             .type = API_STR,
                             .doc = "Only from this time on: 2026-11-21T03:52:00Z, a beginning of "
                                    "that, or 10m for the last ten minutes",
                             .example = "\"10m\""},
    [WORKLOAD_LOGS_FOLLOW] = {.name = "follow",
                              .type = API_BOOL,
                              .doc = "Go on as server-sent events: event line, then end"},
};
static const struct api_param workload_exec_body[WORKLOAD_EXEC_COUNT] = {
    [WORKLOAD_EXEC_COMMAND] = {.name = "command",
                               .type = API_STRS,
                               .required = true,
                               .doc = "The program and its arguments; no shell is between",
                               .example = "[\"ls\",\"-l\"]"},
    [WORKLOAD_EXEC_USER] = {.name = "user",
                            .type = API_STR,
                            .nullable = true,
                            .doc = "As whom; null: as the workload",
                            .example = "\"root\""},
    [WORKLOAD_EXEC_ENV] = {.name = "env",
                           .type = API_STR_MAP,
                           .nullable = true,
                           .doc = "Further variables, 256 at most",
                           .example = "{\"LANG\":\"C.UTF-8\"}"},
    [WORKLOAD_EXEC_DIR] = {.name = "working_dir",
                           .type = API_STR,
                           .nullable = true,
                           .doc = "Where; null: as the workload",
                           .example = "\"/\""},
    [WORKLOAD_EXEC_TIMEOUT] = {.name = "timeout",
                               .type = API_INT,
                               .nullable = true,
                               .def = 60,
                               .doc = "Seconds to wait for its end, from 1 to 3600; null: 60"},
};
static const struct api_param task_query[TASK_QUERY_COUNT] = {
    [TASK_QUERY_WORKLOAD] = {.name = "workload",
                             .type = API_STR,
                             .doc = "Only of this workload",
                             .example = "\"web\""},
    [TASK_QUERY_STATUS] = {.name = "status",
                           .type = API_ENUM,
                           .names = rest_task_statuses,
                           .doc = "Only with this status"},
    [TASK_QUERY_KIND] = {.name = "kind",
                         .type = API_ENUM,
                         .names = rest_task_kinds,
                         .doc = "Only of this kind"},
    [TASK_QUERY_LIMIT] = {.name = "limit",
                          .type = API_INT,
                          .def = TASKS_LISTED,
                          .doc = "How many, from 1 to 1000; the newest come first"},
};

static const struct api_param event_query[EVENT_QUERY_COUNT] = {
    [EVENT_QUERY_KIND] = {.name = "kind",
                          .type = API_STR,
                          .doc = "Only of this kind: workload, service, task, node",
                          .example = "\"workload\""},
    [EVENT_QUERY_NAME] = {.name = "name",
                          .type = API_STR,
                          .doc = "Only of these names; '*' stands for anything",
                          .example = "\"web*\""},
    [EVENT_QUERY_TYPE] = {.name = "type",
                          .type = API_STR,
                          .doc = "Only of this type",
                          .example = "\"state\""},
    [EVENT_QUERY_REASON] = {.name = "reason",
                            .type = API_STR,
                            .doc = "Only with this reason",
                            .example = "\"crash\""},
    [EVENT_QUERY_AFTER] = {.name = "after",
                           .type = API_STR,
                           .doc =
                               "Go on after this cursor; also as Last-Event-ID. If it is not kept "
                               "any more, there is a snapshot first",
                           .example = "\"3f2a9c0d11223344-17\""},
    [EVENT_QUERY_FOLLOW] = {.name = "follow",
                            .type = API_BOOL,
                            .def = 1,
                            .doc = "false: the events that are kept, as one answer"},
};

static void get_root(struct api_call *c)
{
    api_reply_json(c, 200, &((struct rest *)c->app)->root);
}

static const struct api_route routes[] = {
    ROUTE(GET, "/", RIGHT_READ, "api", .tag = "root", .summary = "Name, version and documentation",
          .operation_id = "root__get", .answer_schema = "RootResponse", .handler = get_root),
    ROUTE(GET, "/openapi.json", RIGHT_READ, "api", .also_head = true, .conditional = true,
          .tag = "documents", .summary = "This document",
          .operation_id = "openapi_openapi_json_get", .answer_schema = "OpenApiDocument",
          .handler = rest_openapi_get),
    ROUTE(GET, "/docs", RIGHT_READ, "api", .also_head = true, .conditional = true,
          .tag = "documents", .summary = "The calls in Swagger UI, to read and to try",
          .operation_id = "swagger_ui_docs_get", .answer_type = "text/html", .handler = rest_docs),
    ROUTE(GET, "/docs/oauth2-redirect", RIGHT_READ, "api", .also_head = true, .tag = "documents",
          .summary = "Kept for its path: there is no OAuth 2",
          .operation_id = "oauth2_redirect_docs_oauth2_redirect_get", .answer_type = "text/html",
          .handler = rest_docs),
    ROUTE(GET, "/docs/{file}", RIGHT_READ, "api", .also_head = true, .conditional = true,
          .tag = "documents", .summary = "A file of the documentation pages",
          .operation_id = "docs_file_docs__file__get", .answer_type = "*/*",
          .handler = rest_docs_file),
    ROUTE(GET, "/redoc", RIGHT_READ, "api", .also_head = true, .conditional = true,
          .tag = "documents", .summary = "The calls in ReDoc, to read",
          .operation_id = "redoc_redoc_get", .answer_type = "text/html", .handler = rest_docs),
    ROUTE(GET, "/v1/workloads", RIGHT_READ, "workload", .query = workload_query,
          .n_query = ARRAY_LEN(workload_query), .list = true, .tag = "workloads",
          .summary = "All workloads and how they are", .operation_id = "workload_list",
          .statuses = {400}, .answer_schema = "WorkloadList", .precondition = rest_engine_ready,
          .handler = rest_workload_list),
    ROUTE(GET, "/v1/workloads/{id}", RIGHT_READ, "workload", .conditional = true,
          .tag = "workloads", .summary = "One workload: its state, its metadata, its document",
          .operation_id = "workload_get", .answer_schema = "WorkloadInfo",
          .precondition = rest_engine_ready, .handler = rest_workload_get),
    ROUTE(PUT, "/v1/workloads/{id}", RIGHT_WRITE, "workload", .query = workload_put_query,
          .n_query = ARRAY_LEN(workload_put_query), .body_raw = &workload_doc_schema,
          .body_example = "{\"id\":\"web\",\"type\":\"container\",\"container\":{\"image\":"
                          "\"busybox:local\",\"command\":[\"httpd\",\"-f\"]}}",
          .body_schema = "Workload", .success = 202, .statuses = {200, 409, 412, 501, 507},
          .tag = "workloads",
          .summary = "Say what should run. The same document twice changes nothing",
          .operation_id = "workload_put", .answer_schema = "WorkloadChange",
          .precondition = rest_engine_ready, .handler = rest_workload_put),
    ROUTE(DELETE, "/v1/workloads/{id}", RIGHT_DELETE, "workload", .query = workload_delete_query,
          .n_query = ARRAY_LEN(workload_delete_query), .success = 202, .statuses = {409, 412, 507},
          .tag = "workloads", .summary = "Stop a workload, remove it and forget it",
          .operation_id = "workload_delete", .answer_schema = "WorkloadChange",
          .precondition = rest_engine_ready, .handler = rest_workload_delete),
    ROUTE(POST, "/v1/workloads/{id}/action", RIGHT_CONTROL, "workload", .body = workload_act_body,
          .n_body = ARRAY_LEN(workload_act_body), .body_schema = "WorkloadAction", .success = 202,
          .statuses = {200, 409}, .tag = "workloads",
          .summary = "Restart a workload, try again, or let it go on",
          .operation_id = "workload_act", .answer_schema = "WorkloadChange",
          .precondition = rest_engine_ready, .handler = rest_workload_act),
    ROUTE(GET, "/v1/workloads/{id}/logs", RIGHT_READ, "workload", .query = workload_logs_query,
          .n_query = ARRAY_LEN(workload_logs_query), .statuses = {400, 501, 504}, .events = true,
          .tag = "workloads", .summary = "What a workload has written",
          .description =
              "As the runtime has kept it, oldest line first, at most 8 MiB: `cut` tells that "
              "older lines were left out. With `follow=true` a stream of server-sent events: "
              "`line`, with the members of a line, and last `end` with `{\"error\"}`, null when "
              "the log is over. The id of a `line` is its time; sent back as Last-Event-ID the "
              "stream goes on behind it.",
          .operation_id = "workload_logs", .answer_schema = "WorkloadLogs",
          .precondition = rest_engine_ready, .handler = rest_workload_logs),
    ROUTE(GET, "/v1/workloads/{id}/stats", RIGHT_READ, "workload", .statuses = {409, 501, 504},
          .tag = "workloads", .summary = "What a workload uses now",
          .description = "Asked of the runtime at the moment of the call.",
          .operation_id = "workload_stats", .answer_schema = "WorkloadUsage",
          .precondition = rest_engine_ready, .handler = rest_workload_stats),
    ROUTE(POST, "/v1/workloads/{id}/exec", RIGHT_CONTROL, "workload", .body = workload_exec_body,
          .n_body = ARRAY_LEN(workload_exec_body), .body_schema = "WorkloadExec",
          .statuses = {400, 409, 501, 504}, .tag = "workloads",
          .summary = "Run a program in a workload, and wait for its end",
          .description = "Of either output the first MiB is kept. A program that is not over after "
                         "`timeout` gets 504; it loses its output, and ends by that, or not. "
                         "Interactive programs: the WebSocket of the same path, see "
                         "`x-gantry-websockets`.",
          .operation_id = "workload_exec", .answer_schema = "WorkloadExecResult",
          .precondition = rest_engine_ready, .handler = rest_workload_exec),
    ROUTE(GET, "/v1/tasks", RIGHT_READ, "workload", .query = task_query,
          .n_query = ARRAY_LEN(task_query), .list = true, .tag = "workloads",
          .summary = "What was asked for, and what became of it", .operation_id = "task_list",
          .statuses = {400}, .answer_schema = "TaskList", .precondition = rest_engine_ready,
          .handler = rest_task_list),
    ROUTE(
        GET, "/v1/events", RIGHT_READ, "event", .query = event_query,
        .n_query = ARRAY_LEN(event_query), .list = true, .tag = "workloads",
        .summary = "What happens, live: a snapshot, then one event a change",
        .description =
            "Server-sent events: `snapshot` (one or more) with workloads and services as they are, "
            "`live` with the cursor, then one event a change, named by its kind. With "
            "`follow=false` one answer: the events that are kept.",
        .operation_id = "events", .statuses = {400}, .events = true, .answer_schema = "EventList",
        .precondition = rest_events_ready, .handler = rest_events),
    ROUTE(GET, "/v1/explain/workload/{id}", RIGHT_READ, "workload", .tag = "workloads",
          .summary = "Why a workload is as it is, and what comes next",
          .operation_id = "explain_workload", .answer_schema = "Explanation",
          .precondition = rest_engine_ready, .handler = rest_explain_workload),
    ROUTE(GET, "/v1/explain/service/{container}/{service}", RIGHT_READ, "service",
          .tag = "services", .summary = "Why a service is as it is, and what comes next",
          .operation_id = "explain_service", .answer_schema = "Explanation",
          .handler = rest_explain_service),
    ROUTE(GET, "/v1/node", RIGHT_READ, "node", .tag = "workloads",
          .summary = "The machine: its name, how full it is, what it can run",
          .operation_id = "node_get", .answer_schema = "Node", .handler = rest_node_get),
    ROUTE(GET, "/healthz", RIGHT_READ, "health", .open = true, .also_head = true, .tag = "health",
          .summary = "200 as long as the program answers at all", .operation_id = "healthz",
          .answer_type = "text/plain", .handler = rest_healthz),
    ROUTE(GET, "/readyz", RIGHT_READ, "health", .open = true, .also_head = true, .tag = "health",
          .summary = "200 when requests are served, else 503, with the reasons",
          .operation_id = "readyz", .answer_schema = "Readiness", .handler = rest_readyz),
    ROUTE(GET, "/metrics", RIGHT_READ, "metrics", .also_head = true, .tag = "health",
          .summary = "Metrics for Prometheus, text format 0.0.4", .operation_id = "metrics",
          .answer_type = "text/plain", .handler = rest_metrics),
    ROUTE(GET, "/audit", RIGHT_ADMIN, "audit", QUERY(audit_query), .tag = "audit",
          .summary = "The newest records of changes and refusals, oldest first",
          .operation_id = "read_audit", .answer_schema = "AuditRecords", .statuses = {400, 501},
          .handler = rest_audit),
    ROUTE(GET, "/containers", RIGHT_READ, "container", .list = true, .tag = "containers",
          .summary = "Containers of the configuration",
          .description = "In the order of the configuration. No agent is asked: a container whose "
                         "agent is away is listed like the others.",
          .operation_id = "list_containers_containers_get",
          .answer_schema = "ContainerListResponse", .handler = rest_containers),
    ROUTE(GET, CS, RIGHT_READ, "service", .list = true, .tag = "services",
          .summary = "Services of a container",
          .description =
              "As the container's agent reports them, with the labels of the configuration.",
          .operation_id = "list_services_containers__container__services_get",
          .answer_schema = "ServiceListResponse", .handler = rest_service_list),
    ROUTE(GET, CS "/status", RIGHT_READ, "service", .list = true, .tag = "services",
          .summary = "Status of every service of a container",
          .operation_id = "get_all_services_status_containers__container__services_status_get",
          .answer_schema = "ServiceStatusListResponse", .handler = rest_service_status_all),
    ROUTE(GET, CS "/{service}/status", RIGHT_READ, "service", .tag = "services",
          .summary = "Status of a service",
          .description = "As its supervisor in the container says it, at the moment of the call.",
          .operation_id = "get_service_status_containers__container__services__service__status_get",
          .answer_schema = "ServiceStatusResponse", .handler = rest_service_status),
    ROUTE(POST, CS "/{service}", RIGHT_CONTROL, "service",
          BODY(action_body, "ServiceActionRequest"), .tag = "services",
          .summary = "Bring a service up or down, or restart it",
          .description = "Answers when the order has been given, not when it has been carried "
                         "out: the status shows what became of it.",
          .operation_id = "control_service_containers__container__services__service__post",
          .answer_schema = "ServiceControlResponse", .handler = rest_service_act),
    ROUTE(GET, CS "/{service}/logs", RIGHT_READ, "service", QUERY(logs_query), .tag = "services",
          .summary = "Last lines of a service's log",
          .description =
              "With `follow=true` the answer does not end: it is a stream of server-sent "
              "events, `logs` with `{\"logs\",\"cursor\"}` and `error` with "
              "`{\"error\"}`. `cursor` (or the header Last-Event-ID, as browsers "
              "send it) goes on where a stream broke off.",
          .events = true,
          .operation_id = "get_service_logs_containers__container__services__service__logs_get",
          .answer_schema = "ServiceLogsResponse", .handler = rest_service_logs),
    ROUTE(DELETE, CS "/{service}/logs", RIGHT_DELETE, "service", .tag = "services",
          .summary = "Empty a service's log",
          .description = "The file is kept and emptied; older files of the log are not touched.",
          .operation_id =
              "clear_service_logs_containers__container__services__service__logs_delete",
          .answer_schema = "ServiceLogsClearResponse", .handler = rest_service_logs_clear),
    ROUTE(
        GET, CS "/{service}/run", RIGHT_READ, "service", .tag = "services",
        .summary = "Run script of a service",
        .description = "The script in the service's source folder, whole. Its ETag, in If-Match of "
                       "a PUT, keeps two people from overwriting each other's work.",
        .conditional = true, .statuses = {400},
        .operation_id = "get_service_run_script_containers__container__services__service__run_get",
        .answer_schema = "ServiceRunScriptResponse", .handler = rest_service_run_get),
    ROUTE(PUT, CS "/{service}/run", RIGHT_WRITE, "service",
          BODY(content_body, "ServiceRunScriptUpdateRequest"), .tag = "services",
          .summary = "Replace the run script of a service",
          .description =
              "The file is replaced as a whole: the old or the new one is there at any "
              "time. The running service is not touched. With If-Match only if the script "
              "still has that ETag, else 412. gantry-agent keeps the replaced script as "
              "a backup; with an agent that sends no ETag, If-Match is a comparison "
              "before the write and not one step with it.",
          .statuses = {409, 412},
          .operation_id =
              "update_service_run_script_containers__container__services__service__run_put",
          .answer_schema = "ServiceRunScriptResponse", .handler = rest_service_run_put),
    ROUTE(POST, CS "/{service}/run/revert", RIGHT_WRITE, "service",
          BODY(revert_body, "ServiceRunScriptRevertRequest"), .body_optional = true,
          .tag = "services", .summary = "Bring back a backup of the run script of a service",
          .description = "The newest, or the one named, with its mode and owner. What it replaces "
                         "becomes the newest backup, so that a second call undoes the first. "
                         "If-Match as with PUT.",
          .statuses = {409, 412, 501},
          .operation_id =
              "revert_service_run_script_containers__container__services__service__run_revert_post",
          .answer_schema = "ServiceRunScriptResponse", .handler = rest_service_run_revert),
    ROUTE(GET, CS "/{service}/run/backups", RIGHT_READ, "service", .tag = "services",
          .summary = "Former versions of the run script of a service",
          .description = "The last 5 that were replaced.", .statuses = {501},
          .operation_id =
              "list_service_run_backups_containers__container__services__service__run_backups_get",
          .answer_schema = "ServiceRunBackupsResponse", .handler = rest_service_run_backups),
    ROUTE(GET, CP, RIGHT_READ, "profile", .list = true, .tag = "profiles",
          .summary = "Profiles of a container, and their gateways",
          .description = "As the container's agent finds them: folders of its home with a marker "
                         "file, and slots of gateways.",
          .operation_id = "list_profiles", .answer_schema = "ProfileListResponse",
          .statuses = {501, 504}, .handler = rest_profile_list),
    ROUTE(
        POST, CP, RIGHT_WRITE, "profile", .list = true, BODY(profile_body, "ProfileCreateRequest"),
        .tag = "profiles", .summary = "Make a profile, and the slot of its gateway",
        .description = "The gateway is not started. `warning` tells why there is no slot yet; the "
                       "profile is there all the same, and start makes the slot.",
        .operation_id = "create_profile", .answer_schema = "ProfileCreatedResponse", .success = 201,
        .statuses = {400, 409, 501, 504}, .handler = rest_profile_create),
    ROUTE(DELETE, CP "/{profile}", RIGHT_WRITE, "profile", .tag = "profiles",
          .summary = "Stop the gateway of a profile, and remove the profile with all its files",
          .operation_id = "delete_profile", .answer_schema = "ProfileDeletedResponse",
          .statuses = {400, 409, 501, 504}, .handler = rest_profile_delete),
    ROUTE(GET, CP "/{profile}/gateway", RIGHT_READ, "profile", .tag = "profiles",
          .summary = "A profile and the state of its gateway", .operation_id = "get_gateway",
          .answer_schema = "ProfileResponse", .statuses = {400, 501, 504}, .handler = rest_gateway),
    ROUTE(POST, CP "/{profile}/gateway", RIGHT_WRITE, "profile",
          BODY(gateway_body, "GatewayActionRequest"), .tag = "profiles",
          .summary = "Start, stop or restart the gateway of a profile",
          .description = "Without `wait` it answers when the supervisor has the order; a restart "
                         "always when the old process is gone. start makes a missing slot.",
          .operation_id = "control_gateway", .answer_schema = "GatewayControlResponse",
          .statuses = {400, 409, 501, 504}, .handler = rest_gateway_act),
    ROUTE(GET, "/config", RIGHT_READ, "config", .tag = "config",
          .summary = "Effective configuration, and where each value comes from",
          .description = "Defaults, files, environment and flags taken together, as they are in "
                         "force. Secrets show as `(set)`.",
          .operation_id = "get_config_config_get", .answer_schema = "ConfigResponse",
          .handler = rest_config_get),
    ROUTE(GET, "/config/diff", RIGHT_READ, "config", .tag = "config",
          .summary = "What a reload would change",
          .description =
              "The configuration in force against files and environment as they are now. "
              "Changes nothing, and shows faults as a reload would.",
          .operation_id = "diff_config_config_diff_get", .answer_schema = "ConfigReport",
          .handler = rest_config_diff),
    ROUTE(POST, "/config/reload", RIGHT_ADMIN, "config", .tag = "config",
          .summary = "Read the configuration anew and apply it, all of it or nothing",
          .description =
              "As SIGHUP does. Values that need a restart are reported and keep their old "
              "value. 400: there are faults; 409: it cannot be applied now. Both have the "
              "report as their `detail`.",
          .operation_id = "reload_config_config_reload_post", .answer_schema = "ConfigReport",
          .statuses = {400, 409}, .handler = rest_config_reload),
    ROUTE(GET, "/docker/containers", RIGHT_READ, "docker-container", QUERY(docker_all_query),
          .list = true, .tag = "docker", .summary = "Containers of the engine",
          .description = "Those that run; with `all` every one.",
          .operation_id = "list_docker_containers_docker_containers_get",
          .answer_schema = "DockerContainerListResponse", .precondition = rest_docker_ready,
          .handler = rest_docker_list),
    ROUTE(GET, "/docker/containers/{name}/status", RIGHT_READ, "docker-container", .tag = "docker",
          .summary = "Status of a container",
          .operation_id = "get_docker_container_status_docker_containers__name__status_get",
          .answer_schema = "DockerContainerStatus", .precondition = rest_docker_ready,
          .handler = rest_docker_status),
    ROUTE(POST, "/docker/containers/{name}", RIGHT_CONTROL, "docker-container",
          BODY(docker_body, "DockerContainerActionRequest"), .tag = "docker",
          .summary = "Start, stop or restart a container",
          .description = "Answers when the engine has done it. A stop waits `timeout` seconds "
                         "before it kills.",
          .operation_id = "control_docker_container_docker_containers__name__post",
          .answer_schema = "DockerContainerActionResponse", .precondition = rest_docker_ready,
          .handler = rest_docker_act),
    ROUTE(GET, "/docker/containers/{name}/logs", RIGHT_READ, "docker-container",
          QUERY(docker_logs_query), .tag = "docker", .summary = "Log of a container",
          .description = "Standard output and error, in the order in which they came.",
          .operation_id = "get_docker_container_logs_docker_containers__name__logs_get",
          .answer_schema = "DockerContainerLogsResponse", .precondition = rest_docker_ready,
          .handler = rest_docker_logs),
    ROUTE(GET, "/containers/{container}/ros2/topics", RIGHT_READ, "topic", .list = true,
          .tag = "ros2", .summary = "ROS 2 topics of a container (not served: 503)",
          .operation_id = "list_ros2_topics_containers__container__ros2_topics_get",
          .answer_schema = "ROS2TopicsListResponse", .handler = rest_topics),
    ROUTE(GET, "/containers/{container}/ros2/topics/{topic:path}", RIGHT_READ, "topic",
          .tag = "ros2", .summary = "Newest message of a ROS 2 topic (not served: 503)",
          .operation_id = "get_ros2_topic_data_containers__container__ros2_topics__topic__get",
          .answer_schema = "ROS2TopicDataResponse", .handler = rest_topics),
    ROUTE(GET, "/whoami", RIGHT_READ, "self", .tag = "tokens",
          .summary = "Who the caller is, and what he may do", .operation_id = "whoami",
          .answer_schema = "WhoAmIResponse", .handler = rest_whoami),
    ROUTE(GET, "/tokens", RIGHT_READ, "token", .list = true, .tag = "tokens",
          .summary = "Tokens, without what they are", .operation_id = "list_tokens",
          .answer_schema = "TokenListResponse", .precondition = rest_tokens_ready,
          .handler = rest_token_list),
    ROUTE(POST, "/tokens", RIGHT_ADMIN, "token", .list = true,
          BODY(token_body, "TokenCreateRequest"), .statuses = {409}, .success = 201,
          .tag = "tokens", .summary = "Make a token; it is shown this once",
          .description = "Needs `role` or `rights`. Nobody can give away more than he has himself. "
                         "The answer comes once the token is on disk.",
          .operation_id = "create_token", .answer_schema = "TokenCreatedResponse",
          .precondition = rest_tokens_ready, .handler = rest_token_create),
    ROUTE(DELETE, "/tokens/{name}", RIGHT_ADMIN, "token", .tag = "tokens",
          .summary = "Revoke a token", .operation_id = "revoke_token",
          .answer_schema = "TokenRevokedResponse", .precondition = rest_tokens_ready,
          .handler = rest_token_revoke),

    ROUTE(POST, "/v1/store/backup", RIGHT_ADMIN, "store", .statuses = {507}, .tag = "store",
          .summary = "A copy of the store as of now",
          .description = "An SQLite file, made while changes go on. It holds every workload, with "
                         "its secrets sealed: whoever has the key too can read them. "
                         "`gantryd --check-store FILE` looks through it.",
          .operation_id = "backup_store", .answer_type = "application/vnd.sqlite3",
          .precondition = rest_store_ready, .handler = rest_store_backup),
    ROUTE(POST, "/v1/store/restore", RIGHT_ADMIN, "store", .statuses = {400, 413, 507},
          .success = 202, .tag = "store",
          .summary = "Put a copy in the store's place, at the next start",
          .description =
              "The body is the file. It is checked as a whole, and refused with 400 if it is not "
              "in good order. It takes the store's place when gantryd starts next; the store that "
              "it replaces, with all that changed until then, is kept beside it as "
              "`FILE.before-TIME`.",
          .operation_id = "restore_store", .body_type = "application/vnd.sqlite3",
          .answer_schema = "StoreRestoreResponse", .precondition = rest_store_ready,
          .handler = rest_store_restore),

    /* cyclo_manager's, in its own order: which row a container called "docker" meets depends on it.
     */
    ROUTE(GET, "/{container}/bashrc", RIGHT_READ, "docker-container", CYCLO_BASHRC,
          .summary = "/root/.bashrc of a container of the engine",
          .operation_id = "get_container_bashrc__container__bashrc_get",
          .answer_schema = "ContainerBashrcResponse", .handler = rest_bashrc_get),
    ROUTE(PUT, "/{container}/bashrc", RIGHT_WRITE, "docker-container",
          BODY(bashrc_body, "ContainerBashrcUpdateRequest"), CYCLO_BASHRC,
          .summary = "Replace /root/.bashrc of a container of the engine",
          .operation_id = "update_container_bashrc__container__bashrc_put",
          .answer_schema = "ContainerBashrcResponse", .handler = rest_bashrc_put),
    ROUTE(GET, C2, RIGHT_READ, "service", CYCLO_SERVICE, .list = true,
          .summary = "Services of a container",
          .operation_id = "list_services__container__services_get",
          .answer_schema = "ServiceListResponse", .handler = rest_service_list),
    ROUTE(GET, C2 "/status", RIGHT_READ, "service", CYCLO_SERVICE, .list = true,
          .summary = "Status of every service of a container",
          .operation_id = "get_all_services_status__container__services_status_get",
          .answer_schema = "ServiceStatusListResponse", .handler = rest_service_status_all),
    ROUTE(GET, C2 "/{service}/status", RIGHT_READ, "service", CYCLO_SERVICE,
          .summary = "Status of a service",
          .operation_id = "get_service_status__container__services__service__status_get",
          .answer_schema = "ServiceStatusResponse", .handler = rest_service_status),
    ROUTE(POST, C2 "/{service}", RIGHT_CONTROL, "service",
          BODY(launch_body, "ServiceLaunchRequest"), CYCLO_SERVICE,
          .summary = "Bring a service up or down, or restart it",
          .operation_id = "control_service__container__services__service__post",
          .answer_schema = "ServiceControlResponse", .handler = rest_service_act),
    ROUTE(GET, C2 "/{service}/logs", RIGHT_READ, "service", QUERY(logs_query), CYCLO_SERVICE,
          .events = true, .summary = "Last lines of a service's log",
          .operation_id = "get_service_logs__container__services__service__logs_get",
          .answer_schema = "ServiceLogsResponse", .handler = rest_service_logs),
    ROUTE(DELETE, C2 "/{service}/logs", RIGHT_DELETE, "service", CYCLO_SERVICE,
          .summary = "Empty a service's log",
          .operation_id = "clear_service_logs__container__services__service__logs_delete",
          .answer_schema = "ServiceLogsClearResponse", .handler = rest_service_logs_clear),
    ROUTE(GET, C2 "/{service}/run", RIGHT_READ, "service", CYCLO_SERVICE, .conditional = true,
          .summary = "Run script of a service",
          .operation_id = "get_service_run_script__container__services__service__run_get",
          .answer_schema = "ServiceRunScriptResponse", .handler = rest_service_run_get),
    ROUTE(PUT, C2 "/{service}/run", RIGHT_WRITE, "service",
          BODY(content_body, "ServiceRunScriptUpdateRequest"), CYCLO_SERVICE_ALSO(409, 412),
          .summary = "Replace the run script of a service",
          .operation_id = "update_service_run_script__container__services__service__run_put",
          .answer_schema = "ServiceRunScriptResponse", .handler = rest_service_run_put),
    ROUTE(GET, "/version", RIGHT_READ, "api", CYCLO, .tag = "version",
          .summary = "Version of this program; no update server is asked",
          .operation_id = "get_version_version_get", .answer_schema = "VersionResponse",
          .handler = rest_version),
    ROUTE(GET, "/docker/{name}/status", RIGHT_READ, "docker-container", CYCLO_DOCKER,
          .summary = "Status of a container",
          .operation_id = "get_docker_container_status_docker__name__status_get",
          .answer_schema = "DockerContainerStatus", .handler = rest_docker_status),
    ROUTE(POST, "/docker/{name}", RIGHT_CONTROL, "docker-container",
          BODY(docker_body, "DockerContainerActionRequest"), CYCLO_DOCKER,
          .summary = "Start, stop or restart a container",
          .operation_id = "control_docker_container_docker__name__post",
          .answer_schema = "DockerContainerActionResponse", .handler = rest_docker_act),
    ROUTE(GET, "/docker/{name}/logs", RIGHT_READ, "docker-container", QUERY(docker_logs_query),
          CYCLO_DOCKER, .summary = "Log of a container",
          .operation_id = "get_docker_container_logs_docker__name__logs_get",
          .answer_schema = "DockerContainerLogsResponse", .handler = rest_docker_logs),
    ROUTE(GET, "/docker/{name}/version", RIGHT_READ, "docker-container", CYCLO_DOCKER,
          .summary = "Version of the software in the container ai_worker",
          .operation_id = "get_docker_container_version_docker__name__version_get",
          .answer_schema = "DockerContainerVersionResponse", .handler = rest_docker_version),
    ROUTE(GET, CT, RIGHT_READ, "topic", CYCLO_TOPIC, .list = true,
          .summary = "ROS 2 topics of a container (not served: 503)",
          .operation_id = "list_ros2_topics__container__ros2_topics_get",
          .answer_schema = "ROS2TopicsListResponse"),
    ROUTE(GET, CT "/{topic:path}/info", RIGHT_READ, "topic", CYCLO_TOPIC,
          .summary = "About a ROS 2 topic (not served: 503)",
          .operation_id = "get_ros2_topic_info__container__ros2_topics__topic__info_get",
          .answer_schema = "ROS2TopicInfoResponse"),
    ROUTE(POST, CT "/{topic:path}/subscribe", RIGHT_CONTROL, "topic", CYCLO_TOPIC,
          .summary = "Subscribe to a ROS 2 topic (not served: 503)",
          .operation_id = "subscribe_ros2_topic__container__ros2_topics__topic__subscribe_post",
          .answer_schema = "ROS2TopicSubscribeResponse"),
    ROUTE(POST, CT "/{topic:path}/unsubscribe", RIGHT_CONTROL, "topic", CYCLO_TOPIC,
          .summary = "End the subscription of a ROS 2 topic (not served: 503)",
          .operation_id = "unsubscribe_ros2_topic__container__ros2_topics__topic__unsubscribe_post",
          .answer_schema = "ROS2TopicSubscribeResponse"),
    ROUTE(GET, CT "/{topic:path}", RIGHT_READ, "topic", CYCLO_TOPIC,
          .summary = "Newest message of a ROS 2 topic (not served: 503)",
          .operation_id = "get_ros2_topic_data__container__ros2_topics__topic__get",
          .answer_schema = "ROS2TopicDataResponse"),
};

const struct api_route *rest_routes(size_t *n)
{
    *n = ARRAY_LEN(routes);
    return routes;
}

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

struct agent *rest_agent(struct api_call *c)
{
    struct rest *r = c->app;
    struct agent *a = agent_set_find(r->o.agents, c->path[0]);
    if (a == NULL)
        rest_reply_named(c, 404, "Container '", c->path[0], "' not found");
    return a;
}

/* Host without its port, brackets of IPv6 kept; all of it if what follows the name is no port. */
static struct slice host_name(struct slice h)
{
    const char *end = h.len > 0 ? memchr(h.p, h.p[0] == '[' ? ']' : ':', h.len) : NULL;
    if (end == NULL)
        return h;
    struct slice name = {h.p, (size_t)(end - h.p) + (h.p[0] == '[')};
    if (name.len < h.len && h.p[name.len] != ':')
        return h;
    for (size_t i = name.len + 1; i < h.len; i++) {
        if (h.p[i] < '0' || h.p[i] > '9')
            return h;
    }
    return name;
}

static bool is_address(struct slice h)
{
    char text[64];
    unsigned char bytes[16];
    bool v6 = h.len > 2 && h.p[0] == '[';
    size_t n = v6 ? h.len - 2 : h.len;
    if (n == 0 || n >= sizeof(text))
        return false;
    memcpy(text, h.p + (v6 ? 1 : 0), n);
    text[n] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

static bool is_loopback_name(struct slice h)
{
    return slice_eq_nocase(h, SLICE_LIT("localhost")) || slice_eqs(h, "[::1]") ||
           (slice_starts(h, "127.") && is_address(h));
}

/* The address part of "http://127.0.0.1:8081". */
static struct slice listener_host(const struct exchange *x)
{
    const char *url = listener_address(exchange_listener(x));
    const char *host = url ? strstr(url, "://") : NULL;
    return host ? host_name(slice_of(host + 3)) : SLICE_LIT("");
}

bool rest_host_allowed(void *rest, struct exchange *x)
{
    struct rest *r = rest;
    if (exchange_peer(x)->kind == PEER_UNIX)
        return true;
    const struct http_request *req = exchange_request(x);
    if (req->host.len == 0)
        return req->version == 10; /* HTTP/1.0 has none, and no browser sends it */
    struct slice name = host_name(req->host);
    if (is_loopback_name(name))
        return true;
    struct slice own = listener_host(x);
    if (slice_eq_nocase(name, own))
        return true;
    /* A listener on all addresses has each of them; a name made to point here is none. */
    if ((slice_eqs(own, "0.0.0.0") || slice_eqs(own, "[::]")) && is_address(name))
        return true;
    for (size_t i = 0; i < r->o.n_hosts; i++) {
        struct slice h = slice_of(r->o.hosts[i]);
        if (slice_eqs(h, "*") || slice_eq_nocase(h, name) || slice_eq_nocase(h, req->host))
            return true;
    }
    return false;
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
    if (r->o.max_viewers == 0)
        r->o.max_viewers = REST_MAX_VIEWERS;
    list_init(&r->viewers);
    buf_init(&r->out, REST_MAX_ANSWER);
    struct api_options ao = {.routes = routes,
                             .n_routes = ARRAY_LEN(routes),
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
