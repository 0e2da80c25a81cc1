/* What the calls take, a table for each: query parameters and members of bodies. */
#include "api/rest/params.h"

const struct api_param rest_logs_query[3] = {
    {.name = "tail", .type = API_INT, .def = REST_LOG_TAIL, .doc = "Last lines to show"},
    {.name = "follow",
     .type = API_BOOL,
     .doc = "Go on as server-sent events: event logs, data {logs, cursor}"},
    {.name = "cursor",
     .type = API_STR,
     .doc = "With follow: go on after this position",
     .example = "\"g1-ab058c-18ea02bd164583dd-15-223d20d1836b61a4-223d20d1836b61a4-\""},
};
const struct api_param rest_action_query[1] = {
    {.name = "force",
     .type = API_BOOL,
     .doc = "Start it also when a workload that it needs is not there"},
};
const struct api_param rest_action_body[1] = {
    {.name = "action",
     .type = API_ENUM,
     .required = true,
     .names = rest_service_actions,
     .doc = "up starts it, down stops it, restart ends it so that it starts anew",
     .example = "\"restart\""},
};
const struct api_param rest_launch_body[3] = {
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
const struct api_param rest_content_body[1] = {
    {.name = "content",
     .type = API_STR,
     .required = true,
     .doc = "The whole script; not empty",
     .example = "\"#!/bin/sh\\nexec ros2 run demo_nodes_cpp talker\\n\""},
};
const struct api_param rest_bashrc_body[1] = {
    {.name = "content",
     .type = API_STR,
     .required = true,
     .doc = "The whole file; not empty",
     .example = "\"export PS1='web> '\\n\""},
};
const struct api_param rest_revert_body[1] = {
    {.name = "backup",
     .type = API_INT,
     .nullable = true,
     .doc = "Its id; none: the newest",
     .example = "7"},
};
const struct api_param rest_profile_body[PROFILE_BODY_COUNT] = {
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
const struct api_param rest_gateway_body[GATEWAY_BODY_COUNT] = {
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
const struct api_param rest_docker_all_query[1] = {
    {.name = "all", .type = API_BOOL, .doc = "Also those that are not running"},
};
const struct api_param rest_docker_logs_query[1] = {
    {.name = "tail", .type = API_INT, .def = REST_LOG_TAIL, .doc = "Last lines; negative: all"},
};
const struct api_param rest_docker_body[2] = {
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

const struct api_param rest_audit_query[3] = {
    {.name = "n", .type = API_INT, .def = 100, .doc = "How many, from 1 to 10000"},
    {.name = "who", .type = API_STR, .doc = "Only of this identity, for example uid:0"},
    {.name = "since",
     .type = API_STR,
     .doc =
         "Only from this time on: 2026-11-21T03:52:00Z, a beginning of that, or 10m for the last "
         "ten minutes"},
};
const struct api_param rest_token_body[TOKEN_BODY_COUNT] = {
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

const struct api_param rest_workload_query[WORKLOAD_QUERY_COUNT] = {
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
const struct api_param rest_workload_put_query[WORKLOAD_PUT_COUNT] = {
    [WORKLOAD_PUT_DRY_RUN] = {.name = "dry_run",
                              .type = API_BOOL,
                              .doc = "Change nothing; answer what would be done, and what differs"},
    [WORKLOAD_PUT_FORCE] = {.name = "force",
                            .type = API_BOOL,
                            .doc = "Do not wait for the workload's lock file"},
};
const struct api_param rest_workload_delete_query[WORKLOAD_DELETE_COUNT] = {
    [WORKLOAD_DELETE_FORCE] = {.name = "force",
                               .type = API_BOOL,
                               .doc = "Wait neither for the lock file nor for those that depend on "
                                      "it"},
};
const struct api_param rest_workload_act_body[WORKLOAD_ACT_COUNT] = {
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
const struct api_param rest_workload_logs_query[WORKLOAD_LOGS_COUNT] = {
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
    [WORKLOAD_LOGS_SERVICE] = {.name = "service",
                               .type = API_STR,
                               .doc = "Of a Compose project: only of this service; without it "
                                      "each line begins with its service's name",
                               .example = "\"web\""},
};
const struct api_param rest_workload_stats_query[WORKLOAD_STATS_COUNT] = {
    [WORKLOAD_STATS_SERVICE] = {.name = "service",
                                .type = API_STR,
                                .doc = "Of a Compose project: only of this service",
                                .example = "\"web\""},
};
const struct api_param rest_workload_exec_body[WORKLOAD_EXEC_COUNT] = {
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
    [WORKLOAD_EXEC_SERVICE] = {.name = "service",
                               .type = API_STR,
                               .nullable = true,
                               .doc = "Of a Compose project: in which service; null: the only one",
                               .example = "\"web\""},
};
const struct api_param rest_task_query[TASK_QUERY_COUNT] = {
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

const struct api_param rest_event_query[EVENT_QUERY_COUNT] = {
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

const struct api_param rest_snapshot_body[1] = {
    {.name = "name",
     .type = API_STR,
     .required = true,
     .doc = "Name of the snapshot, at most 127 bytes",
     .example = "\"before-upgrade\""},
};
