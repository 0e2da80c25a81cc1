/* The table of calls: a row is all that is said about a call. */
#include "api/rest/params.h"
#include "api/rest/rest_priv.h"
#include "api/rest/workloads.h"

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
    ROUTE(GET, "/v1/workloads", RIGHT_READ, "workload", .query = rest_workload_query,
          .n_query = ARRAY_LEN(rest_workload_query), .list = true, .tag = "workloads",
          .summary = "All workloads and how they are", .operation_id = "workload_list",
          .statuses = {400}, .answer_schema = "WorkloadList", .precondition = rest_engine_ready,
          .handler = rest_workload_list),
    ROUTE(GET, "/v1/workloads/{id}", RIGHT_READ, "workload", .conditional = true,
          .tag = "workloads", .summary = "One workload: its state, its metadata, its document",
          .operation_id = "workload_get", .answer_schema = "WorkloadInfo",
          .precondition = rest_engine_ready, .handler = rest_workload_get),
    ROUTE(PUT, "/v1/workloads/{id}", RIGHT_WRITE, "workload", .query = rest_workload_put_query,
          .n_query = ARRAY_LEN(rest_workload_put_query), .body_raw = &workload_doc_schema,
          .body_example = "{\"id\":\"web\",\"type\":\"container\",\"container\":{\"image\":"
                          "\"busybox:local\",\"command\":[\"httpd\",\"-f\"]}}",
          .body_schema = "Workload", .success = 202, .statuses = {200, 409, 412, 501, 507},
          .tag = "workloads",
          .summary = "Say what should run. The same document twice changes nothing",
          .operation_id = "workload_put", .answer_schema = "WorkloadChange",
          .precondition = rest_engine_ready, .handler = rest_workload_put),
    ROUTE(DELETE, "/v1/workloads/{id}", RIGHT_DELETE, "workload",
          .query = rest_workload_delete_query, .n_query = ARRAY_LEN(rest_workload_delete_query),
          .success = 202, .statuses = {409, 412, 507}, .tag = "workloads",
          .summary = "Stop a workload, remove it and forget it", .operation_id = "workload_delete",
          .answer_schema = "WorkloadChange", .precondition = rest_engine_ready,
          .handler = rest_workload_delete),
    ROUTE(POST, "/v1/workloads/{id}/action", RIGHT_CONTROL, "workload",
          .body = rest_workload_act_body, .n_body = ARRAY_LEN(rest_workload_act_body),
          .body_schema = "WorkloadAction", .success = 202, .statuses = {200, 409},
          .tag = "workloads", .summary = "Restart a workload, try again, or let it go on",
          .operation_id = "workload_act", .answer_schema = "WorkloadChange",
          .precondition = rest_engine_ready, .handler = rest_workload_act),
    ROUTE(GET, "/v1/workloads/{id}/logs", RIGHT_READ, "workload", .query = rest_workload_logs_query,
          .n_query = ARRAY_LEN(rest_workload_logs_query), .statuses = {400, 501, 504},
          .events = true, .tag = "workloads", .summary = "What a workload has written",
          .description =
              "As the runtime has kept it, oldest line first, at most 8 MiB: `cut` tells that "
              "older lines were left out. With `follow=true` a stream of server-sent events: "
              "`line`, with the members of a line, and last `end` with `{\"error\"}`, null when "
              "the log is over. The id of a `line` is its time; sent back as Last-Event-ID the "
              "stream goes on behind it.",
          .operation_id = "workload_logs", .answer_schema = "WorkloadLogs",
          .precondition = rest_engine_ready, .handler = rest_workload_logs),
    ROUTE(GET, "/v1/workloads/{id}/parts", RIGHT_READ, "workload", .statuses = {501, 504},
          .tag = "workloads",
          .summary = "What a workload is made of: the services of a Compose project",
          .description = "Asked of the runtime at the moment of the call.",
          .operation_id = "workload_parts", .answer_schema = "WorkloadPartList",
          .precondition = rest_engine_ready, .handler = rest_workload_parts),
    ROUTE(GET, "/v1/workloads/{id}/stats", RIGHT_READ, "workload",
          .query = rest_workload_stats_query, .n_query = ARRAY_LEN(rest_workload_stats_query),
          .statuses = {409, 501, 504}, .tag = "workloads", .summary = "What a workload uses now",
          .description = "Asked of the runtime at the moment of the call.",
          .operation_id = "workload_stats", .answer_schema = "WorkloadUsage",
          .precondition = rest_engine_ready, .handler = rest_workload_stats),
    ROUTE(POST, "/v1/workloads/{id}/exec", RIGHT_CONTROL, "workload",
          .body = rest_workload_exec_body, .n_body = ARRAY_LEN(rest_workload_exec_body),
          .body_schema = "WorkloadExec", .statuses = {400, 409, 501, 504}, .tag = "workloads",
          .summary = "Run a program in a workload, and wait for its end",
          .description = "Of either output the first MiB is kept. A program that is not over after "
                         "`timeout` gets 504; it loses its output, and ends by that, or not. "
                         "Interactive programs: the WebSocket of the same path, see "
                         "`x-gantry-websockets`.",
          .operation_id = "workload_exec", .answer_schema = "WorkloadExecResult",
          .precondition = rest_engine_ready, .handler = rest_workload_exec),
    ROUTE(GET, "/v1/workloads/{id}/snapshots", RIGHT_READ, "workload", .statuses = {501, 504},
          .tag = "workloads", .summary = "Snapshots of a virtual machine",
          .description = "Those that the runtime knows, a parent before what came of it. Other "
                         "kinds of workloads have none: 501.",
          .operation_id = "snapshot_list", .answer_schema = "SnapshotList",
          .precondition = rest_engine_ready, .handler = rest_snapshot_list),
    ROUTE(POST, "/v1/workloads/{id}/snapshots", RIGHT_CONTROL, "workload",
          .body = rest_snapshot_body, .n_body = ARRAY_LEN(rest_snapshot_body),
          .body_schema = "SnapshotCreate", .success = 201, .statuses = {400, 409, 501, 504},
          .tag = "workloads", .summary = "Keep a virtual machine as it is now",
          .description = "Inside its disks, and of one that runs with its memory; answered when it "
                         "is done. Disks of a format without snapshots (raw) are refused: 501.",
          .operation_id = "snapshot_create", .answer_schema = "SnapshotChange",
          .precondition = rest_engine_ready, .handler = rest_snapshot_create),
    ROUTE(DELETE, "/v1/workloads/{id}/snapshots/{name}", RIGHT_DELETE, "workload",
          .statuses = {400, 409, 501, 504}, .tag = "workloads", .summary = "Drop a snapshot",
          .operation_id = "snapshot_delete", .answer_schema = "SnapshotChange",
          .precondition = rest_engine_ready, .handler = rest_snapshot_delete),
    ROUTE(POST, "/v1/workloads/{id}/snapshots/{name}/revert", RIGHT_CONTROL, "workload",
          .statuses = {400, 409, 501, 504}, .tag = "workloads",
          .summary = "Bring a virtual machine back to a snapshot",
          .description = "What it has written since is lost. Then it is kept as its document says: "
                         "started, if the snapshot is of one that was off and it should run.",
          .operation_id = "snapshot_revert", .answer_schema = "SnapshotChange",
          .precondition = rest_engine_ready, .handler = rest_snapshot_revert),
    ROUTE(GET, "/v1/tasks", RIGHT_READ, "workload", .query = rest_task_query,
          .n_query = ARRAY_LEN(rest_task_query), .list = true, .tag = "workloads",
          .summary = "What was asked for, and what became of it", .operation_id = "task_list",
          .statuses = {400}, .answer_schema = "TaskList", .precondition = rest_engine_ready,
          .handler = rest_task_list),
    ROUTE(
        GET, "/v1/events", RIGHT_READ, "event", .query = rest_event_query,
        .n_query = ARRAY_LEN(rest_event_query), .list = true, .tag = "workloads",
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
    ROUTE(GET, "/v1/explain/node", RIGHT_READ, "node", .tag = "workloads",
          .summary = "Why the machine is as it is: what it serves, what holds it, what comes next",
          .operation_id = "explain_node", .answer_schema = "NodeExplanation",
          .handler = rest_explain_node),
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
    ROUTE(GET, "/audit", RIGHT_ADMIN, "audit", QUERY(rest_audit_query), .tag = "audit",
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
    ROUTE(POST, CS "/{service}", RIGHT_CONTROL, "service", QUERY(rest_action_query),
          BODY(rest_action_body, "ServiceActionRequest"), .tag = "services", .statuses = {409},
          .summary = "Bring a service up or down, or restart it",
          .description = "Answers when the order has been given, not when it has been carried "
                         "out: the status shows what became of it. 409: it waits for a workload "
                         "(`service_dependencies` of the configuration).",
          .operation_id = "control_service_containers__container__services__service__post",
          .answer_schema = "ServiceControlResponse", .handler = rest_service_act),
    ROUTE(GET, CS "/{service}/logs", RIGHT_READ, "service", QUERY(rest_logs_query),
          .tag = "services", .summary = "Last lines of a service's log",
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
          BODY(rest_content_body, "ServiceRunScriptUpdateRequest"), .tag = "services",
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
          BODY(rest_revert_body, "ServiceRunScriptRevertRequest"), .body_optional = true,
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
    ROUTE(POST, CP, RIGHT_WRITE, "profile", .list = true,
          BODY(rest_profile_body, "ProfileCreateRequest"), .tag = "profiles",
          .summary = "Make a profile, and the slot of its gateway",
          .description =
              "The gateway is not started. `warning` tells why there is no slot yet; the "
              "profile is there all the same, and start makes the slot.",
          .operation_id = "create_profile", .answer_schema = "ProfileCreatedResponse",
          .success = 201, .statuses = {400, 409, 501, 504}, .handler = rest_profile_create),
    ROUTE(DELETE, CP "/{profile}", RIGHT_WRITE, "profile", .tag = "profiles",
          .summary = "Stop the gateway of a profile, and remove the profile with all its files",
          .operation_id = "delete_profile", .answer_schema = "ProfileDeletedResponse",
          .statuses = {400, 409, 501, 504}, .handler = rest_profile_delete),
    ROUTE(GET, CP "/{profile}/gateway", RIGHT_READ, "profile", .tag = "profiles",
          .summary = "A profile and the state of its gateway", .operation_id = "get_gateway",
          .answer_schema = "ProfileResponse", .statuses = {400, 501, 504}, .handler = rest_gateway),
    ROUTE(POST, CP "/{profile}/gateway", RIGHT_WRITE, "profile",
          BODY(rest_gateway_body, "GatewayActionRequest"), .tag = "profiles",
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
    ROUTE(GET, "/docker/containers", RIGHT_READ, "docker-container", QUERY(rest_docker_all_query),
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
          BODY(rest_docker_body, "DockerContainerActionRequest"), .tag = "docker",
          .summary = "Start, stop or restart a container",
          .description = "Answers when the engine has done it. A stop waits `timeout` seconds "
                         "before it kills.",
          .operation_id = "control_docker_container_docker_containers__name__post",
          .answer_schema = "DockerContainerActionResponse", .precondition = rest_docker_ready,
          .handler = rest_docker_act),
    ROUTE(GET, "/docker/containers/{name}/logs", RIGHT_READ, "docker-container",
          QUERY(rest_docker_logs_query), .tag = "docker", .summary = "Log of a container",
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
          BODY(rest_token_body, "TokenCreateRequest"), .statuses = {409}, .success = 201,
          .tag = "tokens", .summary = "Make a token; it is shown this once",
          .description = "Needs `role` or `rights`. Nobody can give away more than he has himself. "
                         "The answer comes once the token is on disk.",
          .operation_id = "create_token", .answer_schema = "TokenCreatedResponse",
          .precondition = rest_tokens_ready, .handler = rest_token_create),
    ROUTE(DELETE, "/tokens/{name}", RIGHT_ADMIN, "token", .tag = "tokens",
          .summary = "Revoke a token", .operation_id = "revoke_token",
          .answer_schema = "TokenRevokedResponse", .precondition = rest_tokens_ready,
          .handler = rest_token_revoke),

    ROUTE(GET, "/v1/volumes", RIGHT_READ, "volume", .list = true, .tag = "volumes",
          .summary = "Managed volumes, and who uses them", .operation_id = "volume_list",
          .answer_schema = "VolumeList", .precondition = rest_volumes_ready,
          .handler = rest_volume_list),
    ROUTE(GET, "/v1/volumes/{id}", RIGHT_READ, "volume", .tag = "volumes",
          .summary = "One managed volume", .operation_id = "volume_get",
          .answer_schema = "VolumeInfo", .precondition = rest_volumes_ready,
          .handler = rest_volume_get),
    ROUTE(DELETE, "/v1/volumes/{id}", RIGHT_DELETE, "volume", .success = 202,
          .statuses = {409, 507}, .tag = "volumes", .summary = "Delete a volume that nobody uses",
          .description = "Its data is deleted if gantryd made it; what was there before stays. The "
                         "answer comes when that is written down.",
          .operation_id = "volume_delete", .answer_schema = "VolumeDeleted",
          .precondition = rest_volumes_ready, .handler = rest_volume_delete),

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
          BODY(rest_bashrc_body, "ContainerBashrcUpdateRequest"), CYCLO_BASHRC,
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
    ROUTE(POST, C2 "/{service}", RIGHT_CONTROL, "service", QUERY(rest_action_query),
          BODY(rest_launch_body, "ServiceLaunchRequest"), CYCLO_SERVICE_ALSO(409),
          .summary = "Bring a service up or down, or restart it",
          .operation_id = "control_service__container__services__service__post",
          .answer_schema = "ServiceControlResponse", .handler = rest_service_act),
    ROUTE(GET, C2 "/{service}/logs", RIGHT_READ, "service", QUERY(rest_logs_query), CYCLO_SERVICE,
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
          BODY(rest_content_body, "ServiceRunScriptUpdateRequest"), CYCLO_SERVICE_ALSO(409, 412),
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
          BODY(rest_docker_body, "DockerContainerActionRequest"), CYCLO_DOCKER,
          .summary = "Start, stop or restart a container",
          .operation_id = "control_docker_container_docker__name__post",
          .answer_schema = "DockerContainerActionResponse", .handler = rest_docker_act),
    ROUTE(GET, "/docker/{name}/logs", RIGHT_READ, "docker-container", QUERY(rest_docker_logs_query),
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
