/* The answers as data. Order: as the talos contract lists the names in 1.6, then what came later.
 */
#include "api/rest/answers.h"
#include "api/rest/answers_node.h"
#include "api/rest/rest_priv.h"
#include "api/rest/workloads.h"

#include <string.h>

#define CONTAINER STR("container", "Container of the configuration", "robot")
#define SERVICE STR("service", "Service, as the agent names it", "talker")
#define DOCKER_ID STR("id", "Id of the engine, 64 hexadecimal digits", "4f1a7c0d9b2e")
#define DOCKER_NAME STR("name", "Name, without a leading slash", "web")
#define DOCKER_IMAGE STR("image", "A tag of the image; empty if it has none", "nginx:1.27")
#define DOCKER_CREATED                                                                             \
    STR("created", "When it was made (RFC 3339)", "2026-11-21T03:52:00.123456789Z")

static const char *const docker_states[] = {"created",  "running", "paused", "restarting",
                                            "removing", "exited",  "dead",   NULL};

static const struct answer_field root_docs[] = {
    STR("swagger_ui", "Path of Swagger UI", "/docs"),
    STR("redoc", "Path of ReDoc", "/redoc"),
    STR("openapi_schema", "Path of the OpenAPI document", "/openapi.json"),
};
static const struct answer_field root[] = {
    STR("message", "Name of the API", "Gantry API"),
    STR("version", "Version of gantryd", GANTRY_VERSION),
    FIELD("docs", ANSWER_OBJ, "Where the documentation is", .ref = "RootDocs"),
    STR("description", "What this is", "Everything that runs on this machine, behind one API"),
};
static const struct answer_field openapi[] = {
    STR("openapi", "Version of OpenAPI", "3.1.0"),
    FIELD("info", ANSWER_ANY, "Title and version", .example = "{}"),
    FIELD("servers", ANSWER_ANY, "This machine", .example = "[]"),
    FIELD("security", ANSWER_ANY, "How a client says who it is", .example = "[]"),
    FIELD("tags", ANSWER_ANY, "Groups of calls", .example = "[]"),
    FIELD("paths", ANSWER_ANY, "The calls", .example = "{}"),
    FIELD("components", ANSWER_ANY, "Schemas and common answers", .example = "{}"),
    FIELD("x-gantry-websockets", ANSWER_ANY, "The WebSockets", .example = "[]"),
};
static const struct answer_field container_info[] = {
    STR("name", "Name in the configuration", "robot"),
    STR("socket_path", "Unix socket of the agent in the container", "/agents/robot/s6_agent.sock"),
};
static const struct answer_field container_list[] = {
    LIST("containers", "ContainerInfo", "In the order of the configuration"),
};
static const struct answer_field docker_response[] = {
    STR("name", "The container", "web"),
    ENUM("action", rest_docker_actions, "What was asked", "restart"),
    STR("result", "Always ok: failures are errors", "ok"),
};
static const struct answer_field docker_info[] = {
    DOCKER_ID,
    DOCKER_NAME,
    ENUM("status", docker_states, "State of the container", "running"),
    DOCKER_IMAGE,
    DOCKER_CREATED,
};
static const struct answer_field docker_list[] = {
    LIST("containers", "DockerContainerInfo", "Containers of the engine"),
};
static const struct answer_field docker_logs[] = {
    STR("container", "The container", "web"),
    STR("logs", "The lines, each with its time", "2026-11-21T03:52:00.1Z started\\n"),
    INT("tail", "Lines that were asked for", 100),
};
static const struct answer_field docker_status[] = {
    DOCKER_ID,
    DOCKER_NAME,
    ENUM("status", docker_states, "State of the container", "running"),
    ENUM("state", docker_states, "The same", "running"),
    BOOL("running", "status is running", true),
    BOOL("restarting", "The engine is restarting it", false),
    BOOL("paused", "It is paused", false),
    DOCKER_IMAGE,
    DOCKER_CREATED,
    STR_NULL("started_at", "Last start; 0001-01-01T00:00:00Z if never", "2026-11-21T03:52:00.5Z"),
    STR_NULL("finished_at", "Last end; 0001-01-01T00:00:00Z if never", "0001-01-01T00:00:00Z"),
    INT_NULL("exit_code", "Exit status of the last run", 0),
};
static const struct answer_field config_value[] = {
    STR("key", "Path of the key", "http.limits.max_head"),
    FIELD("value", ANSWER_STR, "As it is written in the file; null: not set; lists are JSON",
          .flags = ANSWER_NULLABLE, .example = "\"16k\""),
    STR("source", "default, FILE:LINE, a variable or a flag", "/etc/gantry/config.yml:12"),
    BOOL("reload", "A reload changes it", true),
};
static const struct answer_field config_response[] = {
    FIELD("files", ANSWER_STRS, "The files that were read, in their order",
          .example = "[\"/etc/gantry/config.yml\"]"),
    LIST("values", "ConfigValue", "In the order of the reference page"),
};
static const struct answer_field config_change[] = {
    STR("key", "Path of the key", "containers.robot.socket_path"),
    FIELD("old", ANSWER_STR, "Value before; null: there was none", .flags = ANSWER_NULLABLE,
          .example = "\"/run/a.sock\""),
    FIELD("new", ANSWER_STR, "Value after; null: there is none", .flags = ANSWER_NULLABLE,
          .example = "\"/run/b.sock\""),
};
static const struct answer_field config_fault[] = {
    STR("file", "The file, variable or flag", "/etc/gantry/config.yml"),
    INT("line", "From 1; 0: of the whole", 3),
    INT("column", "From 1; 0: of the whole", 5),
    STR("message", "What is wrong", "http.limits.max_head: \\\"x\\\" is not a size"),
    BOOL("warning", "It is accepted, but has no effect", false),
};
static const struct answer_field config_report[] = {
    LIST("applied", "ConfigChange", "What was, or would be, changed"),
    LIST("restart", "ConfigChange", "What keeps its old value until a restart"),
    LIST("faults", "ConfigFault", "Faults and warnings of all files, variables and flags"),
};
static const struct answer_field error_response[] = {
    STR("error", "What is wrong, in one sentence", "Container 'robot2' not found"),
    FIELD("detail", ANSWER_ANY, "Null; of a refused reload of the configuration its ConfigReport",
          .flags = ANSWER_OPTIONAL, .example = "null"),
};
static const struct answer_field detail[] = {
    STR("detail", "What is wrong", "Not Found"),
};
static const struct answer_field http_error[] = {
    FIELD("detail", ANSWER_LIST, "All faults of the request", .flags = ANSWER_OPTIONAL,
          .ref = "ValidationError"),
};
static const struct answer_field topic_data[] = {
    CONTAINER,
    STR("topic", "Name of the topic", "/joint_states"),
    STR("msg_type", "Type of its messages", "sensor_msgs/msg/JointState"),
    FIELD("data", ANSWER_ANY, "The newest message", .flags = ANSWER_OPTIONAL, .example = "null"),
    BOOL("available", "There is a message", false),
    INT("domain_id", "ROS domain", 30),
};
static const struct answer_field topic_status[] = {
    STR("topic", "Name of the topic", "/joint_states"),
    STR("msg_type", "Type of its messages", "sensor_msgs/msg/JointState"),
    BOOL("configured", "It is in the configuration", true),
    BOOL("available", "There is a message", false),
    BOOL("subscribed", "Messages are being read", false),
};
static const struct answer_field topic_list[] = {
    CONTAINER,
    INT("domain_id", "ROS domain", 30),
    LIST("topics", "ROS2TopicStatus", "The topics"),
};
static const struct answer_field control_response[] = {
    CONTAINER,
    SERVICE,
    ENUM("action", rest_service_actions, "What was asked", "restart"),
    STR("result", "ok: the order was given; the service's status shows what became of it", "ok"),
};
static const struct answer_field service_info[] = {
    STR("id", "Name of the service", "talker"),
    STR("label", "What people are shown: the configuration's label, or the id", "Talker demo"),
};
static const struct answer_field service_list[] = {
    CONTAINER,
    LIST("services", "ServiceInfo", "In the agent's order"),
};
static const struct answer_field logs_clear[] = {
    CONTAINER,
    SERVICE,
    STR("message", "What was done", "Logs cleared successfully"),
    STR_NULL("log_path", "The file in the container", "/var/log/talker/current"),
};
static const struct answer_field logs_response[] = {
    CONTAINER,
    SERVICE,
    STR("logs", "The last lines; empty if there is no log", "[INFO] Publishing: 'Hello'\\n"),
    INT("tail", "Lines that were asked for", 100),
    STR_NULL("log_path", "The file in the container; null if there is no log",
             "/var/log/talker/current"),
};
static const struct answer_field run_response[] = {
    CONTAINER,
    SERVICE,
    STR("path", "The file in the container", "/etc/s6-overlay/s6-rc.d/talker/run"),
    STR("content", "The script", "#!/bin/sh\\nexec ros2 run demo_nodes_cpp talker\\n"),
};
static const struct answer_field run_backup[] = {
    INT("id", "Its number; the highest is the newest", 7),
    TIME("time", "When this version was written", "2026-11-21T03:52:00.000000Z"),
    INT("size", "Bytes", 58),
    STR("etag", "What the script's ETag was", "\\\"ba7816bf8f01cfea414140de5dae2223\\\""),
};
static const struct answer_field run_backups[] = {
    CONTAINER,
    SERVICE,
    LIST("backups", "ServiceRunBackup", "Newest first, at most 5"),
};
static const struct answer_field status_list[] = {
    CONTAINER,
    LIST("statuses", "ServiceStatusResponse", "In the agent's order"),
};
static const struct answer_field status_response[] = {
    CONTAINER,
    SERVICE,
    STR_NULL("service_label", "What people are shown for it", "Talker demo"),
    STR("name", "Name, as the agent says it", "talker"),
    STR("raw", "The supervisor's own words", "up (pid 412) 3600 seconds"),
    BOOL("is_up", "It runs", true),
    INT_NULL("pid", "Process in the container; null if it is down", 412),
    INT_NULL("uptime_seconds", "Since it has been up; null if it is down", 3600),
};
static const char *const gateway_states[] = {"down", "up", "ready", "finishing", "unknown", NULL};
#define PROFILE STR("name", "Name of the profile", "coder")
#define WARNING                                                                                    \
    FIELD("warning", ANSWER_STR, "What did not work on the side; null: nothing",                   \
          .flags = ANSWER_NULLABLE, .example = "null")
#define PROFILE_FIELDS                                                                             \
    PROFILE, BOOL("present", "Its folder and marker are there", true),                             \
        BOOL("registered", "Its gateway has a slot", true),                                        \
        ENUM("state", gateway_states, "State of the gateway", "up"),                               \
        FIELD("reason", ANSWER_STR,                                                                \
              "Why it is down: not_wanted, not_registered, not_supervised, crash_loop, "           \
              "fatal_exit, exited, restarting, locked",                                            \
              .flags = ANSWER_NULLABLE, .example = "null"),                                        \
        FIELD("pid", ANSWER_INT, "Process in the container", .flags = ANSWER_NULLABLE,             \
              .example = "412"),                                                                   \
        FIELD("uptime_seconds", ANSWER_INT, "Since it has been up; null if it is down",            \
              .flags = ANSWER_NULLABLE, .example = "3600"),                                        \
        FIELD("desired_state", ANSWER_STR, "What was asked last; null: nothing",                   \
              .flags = ANSWER_NULLABLE, .example = "\"running\""),                                 \
        FIELD("gateway_state", ANSWER_STR, "What the gateway says of itself; null: nothing",       \
              .flags = ANSWER_NULLABLE, .example = "\"running\""),                                 \
        INT("port", "The hint that follows from its name; nothing is reserved", 9570),             \
        STR("log_path", "The gateway's log in the container",                                      \
            "/opt/data/logs/gateways/coder/current"),                                              \
        FIELD("env_names", ANSWER_STRS,                                                            \
              "Names of the variables that are kept for its gateway, never their values; null: "   \
              "they cannot be told",                                                               \
              .flags = ANSWER_NULLABLE, .example = "[\"API_KEY\"]")
static const struct answer_field profile_info[] = {PROFILE_FIELDS};
static const struct answer_field profile_list[] = {
    CONTAINER,
    STR("layout", "Names and places that the agent goes by: plain or hermes", "hermes"),
    LIST("profiles", "ProfileInfo", "By name, the home's own first"),
};
static const struct answer_field profile_response[] = {CONTAINER, PROFILE_FIELDS};
static const struct answer_field profile_created[] = {CONTAINER, PROFILE_FIELDS, WARNING};
static const struct answer_field profile_deleted[] = {
    CONTAINER,
    PROFILE,
    STR("message", "What was done", "Profile deleted"),
    WARNING,
};
static const struct answer_field gateway_control[] = {
    CONTAINER,
    PROFILE,
    ENUM("action", rest_gateway_actions, "What was asked", "start"),
    STR("result", "Always ok: failures are errors", "ok"),
    BOOL("registered", "The slot was missing and has been made", false),
    WARNING,
};
#define TIME_NULL(n, d, ex)                                                                        \
    FIELD(n, ANSWER_STR, d, .flags = ANSWER_NULLABLE, .format = "date-time",                       \
          .example = "\"" ex "\"")
#define TOKEN_FIELDS                                                                               \
    STR("name", "Name of the token", "dashboard"),                                                 \
        STR("id", "Eight hexadecimal digits, for logs", "9e4c6404"),                               \
        FIELD("role", ANSWER_STR, "Its role; null if it has rights of its own",                    \
              .flags = ANSWER_NULLABLE, .example = "\"viewer\""),                                  \
        FIELD("rights", ANSWER_STRS, "Its own rights; empty if it has a role", .example = "[]"),   \
        TIME("created", "When it was made", "2026-11-21T03:52:00.123456Z"),                        \
        STR("created_by", "Who made it", "uid:0"),                                                 \
        TIME_NULL("expires", "Until when it is valid; null: no end",                               \
                  "2026-12-21T03:52:00.123456Z"),                                                  \
        BOOL("expired", "It is not valid any more", false),                                        \
        TIME_NULL("last_used", "Last use since gantryd started; null: none",                       \
                  "2026-11-21T03:52:00.123456Z")
static const struct answer_field token_info[] = {TOKEN_FIELDS};
static const struct answer_field token_created[] = {
    STR("token", "The token itself; it cannot be shown again",
        "gantry_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    TOKEN_FIELDS,
};
static const struct answer_field token_list[] = {
    LIST("tokens", "TokenInfo", "In the order in which they were made"),
};
static const char *const volume_drivers[] = {"local", "nfs", "ceph-rbd", NULL};
static const char *const volume_states[] = {"making", "ready", "deleting", NULL};
static const char *const volume_retains[] = {"Delete", "Retain", NULL};
static const struct answer_field volume_user[] = {
    STR("workload_id", "Who uses it", "web"),
    STR("mount_path", "Where it is inside", "/data"),
    BOOL("read_only", "It may only be read there", false),
    ENUM("retain_policy", volume_retains, "What happens to the data when this is the last user",
         "Delete"),
    TIME("created_at", "Since when", "2026-11-21T03:52:00.123456Z"),
};
static const struct answer_field volume_info[] = {
    STR("id", "Driver and name", "local:data"),
    STR("name", "Name of the volume", "data"),
    ENUM("driver", volume_drivers, "Where it is", "local"),
    ENUM("state", volume_states, "How far it is", "ready"),
    STR_NULL("failure", "Why its last step failed; null: it did not",
             "mount failed: the server does not answer"),
    INT("size_gb", "As it was asked for, in GiB; 0: the driver's own", 10),
    STR("device", "Folder, address or image of it", "/var/lib/persys/volumes/local/data"),
    STR_NULL("fs_type", "File system that was asked for", "ext4"),
    STR_NULL("access_mode", "As it was told", "ReadWriteOnce"),
    BOOL("made_here", "gantryd made it; else it was there before, and is never deleted", true),
    TIME("created_at", "Since when it is known", "2026-11-21T03:52:00.123456Z"),
    TIME("updated_at", "When it last changed", "2026-11-21T03:52:00.123456Z"),
    LIST("users", "VolumeUser", "Workloads that use it"),
};
static const struct answer_field volume_list[] = {
    LIST("volumes", "VolumeInfo", "In order of ids"),
};
static const struct answer_field volume_deleted[] = {
    STR("id", "The volume", "local:data"),
    BOOL("deleted", "It is known no more, or as soon as its data has gone", true),
    BOOL("data_kept", "What was there before stays", false),
};
static const struct answer_field store_restore[] = {
    INT("workloads", "In what was received", 12),
    INT("bytes", "Of what was received", 32768),
    BOOL("restart_needed", "It takes the store's place when gantryd starts next", true),
};
static const struct answer_field token_revoked[] = {
    STR("name", "Name of the token", "dashboard"),
    STR("id", "Eight hexadecimal digits, for logs", "9e4c6404"),
    BOOL("revoked", "Always true", true),
};
static const char *const identity_kinds[] = {"peer", "token", "certificate", "open", NULL};
static const struct answer_field whoami[] = {
    STR("name", "Who the caller is, as the audit has it", "token:dashboard"),
    ENUM("kind", identity_kinds, "How that was found out", "token"),
    FIELD("rights", ANSWER_STRS, "What the caller may do: verb, kind, pattern of names",
          .example = "[\"read * *\"]"),
    TIME_NULL("expires", "Until when; null: no end", "2026-12-21T03:52:00.123456Z"),
};
static const struct answer_field validation_error[] = {
    FIELD("loc", ANSWER_PLACE, "Where: query or body, then the name or the offset",
          .example = "[\"query\",\"tail\"]"),
    STR("msg", "What is wrong",
        "Input should be a valid integer, unable to parse string as an integer"),
    STR("type", "The fault, for programs", "int_parsing"),
    FIELD("input", ANSWER_ANY, "The value that is wrong", .flags = ANSWER_OPTIONAL,
          .example = "\"abc\""),
    FIELD("ctx", ANSWER_STR_MAP, "More about it", .flags = ANSWER_OPTIONAL, .example = "{}"),
};
#define LATEST                                                                                     \
    STR("latest", "Always unknown: no update server is asked", "unknown"),                         \
        BOOL("update_available", "Always false", false)
static const struct answer_field version_response[] = {
    STR("current", "Version of gantryd", GANTRY_VERSION),
    LATEST,
};
static const struct answer_field docker_version[] = {
    STR("container", "The container", "ai_worker"),
    STR("current", "Version of its software; unknown if it cannot be read", "1.0.0"),
    LATEST,
};
static const struct answer_field bashrc_response[] = {
    STR("container", "The container", "web"),
    STR("path", "The file in the container", "/root/.bashrc"),
    STR("content", "The file; empty if there is none", "export PS1='web> '\\n"),
};
static const struct answer_field topic_info[] = {
    STR("topic", "Name of the topic", "/joint_states"),
    STR("info", "Its publishers and subscribers, for people", "Publisher count: 1\\n"),
};
static const struct answer_field topic_subscribe[] = {
    BOOL("ok", "It was done", true),
};

static const char *const audit_results[] = {"done", "refused", "failed", "lost", NULL};
static const struct answer_field audit_record[] = {
    TIME("time", "When, to the millisecond", "2026-11-21T03:52:00.123Z"),
    STR("who", "Identity; gantryd itself for lost records", "uid:0"),
    STR("peer", "From where", "unix:pid=412,uid=0"),
    STR("request", "Id of the request, as in the log and in its answer", "1406d2d70832a9ba"),
    STR("method", "Method of the request", "PUT"),
    STR("path", "Path of the request, as sent", "/containers/robot/services/talker/run"),
    STR("verb", "The right that was needed: verb ...", "write"),
    STR("kind", "... and kind", "service"),
    STR("name", "On what", "robot/talker"),
    INT("status", "Status of the answer; 0: the client left before", 200),
    ENUM("result", audit_results, "What became of it", "done"),
    STR("detail", "The error's text, or more about the change", ""),
};
static const struct answer_field audit_records[] = {
    LIST("records", "AuditRecord", "Oldest first"),
    BOOL("more", "Older ones were left out", false),
};
static const struct answer_field readiness_check[] = {
    STR("name", "What was looked at", "listeners"),
    BOOL("ok", "It is as it should be", true),
    BOOL("required", "Without it, nothing is ready; else it is told for information", true),
    STR("detail", "How it is", "2 open"),
};
static const struct answer_field readiness[] = {
    BOOL("ready", "Every required check is ok", true),
    LIST("checks", "ReadinessCheck", "What was looked at"),
};

#define WORKLOAD_ID STR("id", "The workload", "web")
static const struct answer_field workload_usage[] = {
    FIELD("cpu_percent", ANSWER_NUM, "Of one core, times 100", .flags = OPT, .example = "12.5"),
    INT_OPT("memory_bytes", "Memory in use", 8388608),
    INT_OPT("disk_read_bytes", "Read since its start", 4096),
    INT_OPT("disk_write_bytes", "Written since its start", 4096),
    INT_OPT("net_rx_bytes", "Received since its start", 1500),
    INT_OPT("net_tx_bytes", "Sent since its start", 1500),
    TIME_OPT("collected_at", "When it was measured", "2026-11-21T03:52:00Z"),
    STR_OPT("source", "Who measured it", "docker"),
};
#define WORKLOAD_STATE                                                                             \
    WORKLOAD_ID, ENUM("type", rest_workload_types, "What runs it", "container"),                   \
        STR("revision_id", "Which version of its document", "7"),                                  \
        ENUM("desired_state", rest_workload_desired, "What it should be", "running"),              \
        ENUM("actual_state", rest_workload_actual,                                                 \
             "What it is; pending also while a change of it is under way", "running"),             \
        STR("message", "How it is, for people", "Up 3 seconds"),                                   \
        STR_OPT("health", "starting, healthy or unhealthy, if it has a check", "healthy"),         \
        STR("phase",                                                                               \
            "What is being done: idle, preparing (what an update needs is fetched), making, "      \
            "starting, "                                                                           \
            "stopping, removing, waiting",                                                         \
            "idle"),                                                                               \
        STR_OPT("waits_for", "What holds it up", "db to be healthy"),                              \
        BOOL_OPT("deleting", "It is being removed", true),                                         \
        STR_OPT("reason", "A stable word for the last failure", "IMAGE_PULL_TIMEOUT"),             \
        STR_OPT("failure", "The last failure since the last success", "pull failed"),              \
        TIME_OPT("last_failure_at", "When that was", "2026-11-21T03:52:00Z"),                      \
        INT_OPT("attempts", "Failures since the last success", 2),                                 \
        TIME_OPT("next_try_at", "When it is tried again", "2026-11-21T03:52:20Z"),                 \
        BOOL_OPT("given_up", "It is not tried again by itself", true),                             \
        STR_OPT("object_id", "The runtime's own id of it", "4f1a7c0d9b2e"),                        \
        STR_OPT("address", "Where it can be reached", "172.17.0.2"),                               \
        TIME_OPT("started_at", "Last start", "2026-11-21T03:52:00Z"),                              \
        TIME_OPT("finished_at", "Last end", "2026-11-21T03:51:00Z"),                               \
        INT_OPT("exit_code", "Exit status of the last run", 0),                                    \
        INT_OPT("restarts", "Restarts by the runtime itself", 1),                                  \
        STR_OPT("stop_cause", "Why it last stopped", "operator"),                                  \
        INT("generation", "Grows with each change of what is wanted", 3),                          \
        STR_OPT("applied_by", "Who asked last", "uid:0"),                                          \
        TIME_OPT("created_at", "First asked for", "2026-11-21T03:50:00Z"),                         \
        TIME_OPT("updated_at", "Last asked for", "2026-11-21T03:51:00Z"),                          \
        TIME_OPT("changed_at", "The actual state changed", "2026-11-21T03:52:00Z"),                \
        FIELD("usage", ANSWER_OBJ, "The last sample", .flags = OPT, .ref = "WorkloadUsage")
static const char *const log_streams[] = {"stdout", "stderr", NULL};
static const struct answer_field workload_log_line[] = {
    TIME_OR_NULL("time", "When the runtime got it, to the nanosecond"),
    ENUM("stream", log_streams, "Where it was written", "stdout"),
    STR("text", "The line, without its end", "ready"),
};
static const struct answer_field workload_logs[] = {
    WORKLOAD_ID,
    LIST("lines", "WorkloadLogLine", "The oldest first"),
    BOOL("cut", "Older lines were left out: the answer has its limit", false),
};
static const struct answer_field workload_exec_result[] = {
    INT("exit_code", "Exit status of the program", 0),
    STR("stdout", "What it wrote, at most 1 MiB", "bin\\n"),
    STR("stderr", "What it wrote as errors, at most 1 MiB", ""),
    BOOL("truncated", "It wrote more than that", false),
};
static const struct answer_field snapshot_info[] = {
    STR("name", "Name", "before-upgrade"),
    STR("description", "What it is for, if somebody wrote that down", ""),
    STR_NULL("created_at", "When it was made", "2026-11-21T03:52:00Z"),
    BOOL("current", "The machine goes on from this one", true),
    BOOL("memory", "It has the memory of the machine, which ran", false),
};
static const struct answer_field snapshot_list[] = {
    LIST("snapshots", "SnapshotInfo", "A parent before what came of it"),
};
static const struct answer_field snapshot_change[] = {
    STR("workload", "Of which workload", "db"),
    STR("name", "Which snapshot", "before-upgrade"),
};
static const struct answer_field event_info[] = {
    INT("index", "Grows by one with each event since gantryd began", 17),
    STR("cursor", "Of this event, for `after`", "3f2a9c0d11223344-17"),
    TIME("time", "When it happened", "2026-11-21T03:52:00Z"),
    STR("kind", "workload, service, task, node", "workload"),
    STR("name", "Of what; of a service container/service", "web"),
    STR("type", "What happened", "state"),
    STR_OPT("from", "The state before", "running"),
    STR_OPT("to", "The state now", "stopped"),
    STR_OPT("reason", "A stable word", "crash"),
    STR_OPT("message", "For people", "exited with code 1"),
    STR_OPT("who", "Who asked, if somebody did", "uid:0"),
    STR_OPT("revision", "Of the workload", "7"),
};
static const struct answer_field event_list[] = {
    LIST("events", "Event", "Those that are kept, the oldest first"),
    STR("cursor", "Where a stream goes on behind them: `after`", "3f2a9c0d11223344-17"),
};
static const struct answer_field workload_state[] = {WORKLOAD_STATE};
static const struct answer_field workload_whole[] = {
    WORKLOAD_STATE,
    FIELD("metadata", ANSWER_STR_MAP, "What runtime and engine know besides",
          .example = "{\"container.state\":\"running\"}"),
    FIELD("spec", ANSWER_ANY, "Its document; secrets are \"(set)\"",
          .example = "{\"container\":{\"image\":\"busybox:local\"}}"),
};
static const struct answer_field workload_list[] = {
    LIST("workloads", "WorkloadState", "In the order of their ids"),
    BOOL("more", "There are further ones: ask again with `after`", false),
};
static const char *const workload_verdicts[] = {"accepted", "unchanged", "create",
                                                "update",   "refused",   NULL};
static const struct answer_field workload_change[] = {
    ENUM("verdict", workload_verdicts,
         "accepted: it is kept and will be done; unchanged: it was so already. Of a dry run: "
         "create, update, unchanged or refused",
         "accepted"),
    STR_OPT("task", "Under which it is told of in /v1/tasks", "apply-web-1763697120123456789"),
    FIELD("workload", ANSWER_OBJ, "How it is now", .flags = OPT, .ref = "WorkloadState"),
    STR_OPT("revision_id", "Of a dry run: the revision", "7"),
    BOOL_OPT("recreate", "Of a dry run: its object is made anew", true),
    BOOL_OPT("start", "Of a dry run: it is started", true),
    BOOL_OPT("stop", "Of a dry run: it is stopped", false),
    STR_OPT("waits_for", "Of a dry run: what would hold it up", "lock file /run/web.lock"),
    STR_OPT("error", "Of a dry run: why it would be refused", "a depends on itself"),
    FIELD("changes", ANSWER_LIST, "Of a dry run: what differs", .flags = OPT,
          .ref = "WorkloadDifference"),
    FIELD("steps", ANSWER_LIST, "Of a dry run: what would be done with each service", .flags = OPT,
          .ref = "WorkloadStep"),
    STR_OPT("steps_error", "Of a dry run: why that cannot be told", "no Compose tool"),
};
static const char *const workload_steps[] = {"keep", "create", "recreate", "remove", NULL};
static const struct answer_field workload_step[] = {
    STR("part", "The service", "web"),
    ENUM("change", workload_steps, "What would be done with it", "recreate"),
    STR_OPT("why", "Why", "its image or settings differ"),
};
static const struct answer_field workload_part[] = {
    STR("name", "Service; of its second container and further ones with a number", "web"),
    STR("image", "What it runs; empty without a container", "nginx:1.27"),
    STR("object_id", "The runtime's own id of it; empty: there is none", "4f1a7c0d9b2e"),
    ENUM("state", rest_workload_actual, "How it is", "running"),
    STR("message", "The same, for people", "Up 3 minutes"),
    STR_OPT("health", "starting, healthy or unhealthy, if it has a check", "healthy"),
    INT_OPT("exit_code", "Of its last end", 0),
    TIME_OPT("started_at", "When it was started", "2026-11-21T03:52:00Z"),
};
static const struct answer_field workload_part_list[] = {
    WORKLOAD_ID,
    LIST("parts", "WorkloadPart", "By name"),
};
static const struct answer_field workload_difference[] = {
    STR("path", "Where", "container.image"),
    FIELD("old", ANSWER_ANY, "What is there; absent: nothing", .flags = OPT,
          .example = "\"web:1\""),
    FIELD("new", ANSWER_ANY, "What will be there; absent: nothing", .flags = OPT,
          .example = "\"web:2\""),
};
static const struct answer_field task_info[] = {
    STR("task_id", "The task", "apply-web-1763697120123456789"),
    STR("workload_id", "Its workload", "web"),
    ENUM("kind", rest_task_kinds, "What was asked for", "apply_workload"),
    ENUM("status", rest_task_statuses, "How far it is", "completed"),
    STR_OPT("text", "Why it failed, or what took its place", "superseded by apply-web-2"),
    STR_OPT("who", "Who asked", "uid:0"),
    TIME_OPT("created_at", "Accepted", "2026-11-21T03:52:00Z"),
    TIME_OPT("started_at", "Begun", "2026-11-21T03:52:00Z"),
    TIME_OPT("ended_at", "Ended", "2026-11-21T03:52:01Z"),
};
static const struct answer_field task_list[] = {
    LIST("tasks", "TaskInfo", "The newest first"),
    BOOL("more", "Older ones were left out", false),
};
static const struct answer_field explanation[] = {EXPLANATION};
#define SCHEMA(name_, doc_, fields_)                                                               \
    {                                                                                              \
        (name_), (doc_), (fields_), ARRAY_LEN(fields_)                                             \
    }
static const struct answer_schema schemas[] = {
    SCHEMA("ContainerInfo", "A container with an agent", container_info),
    SCHEMA("ContainerListResponse", "The containers of the configuration", container_list),
    SCHEMA("ConfigChange", "A value that differs", config_change),
    SCHEMA("ConfigFault", "Something wrong in the configuration", config_fault),
    SCHEMA("ConfigReport", "What a reload changes", config_report),
    SCHEMA("ConfigResponse", "The effective configuration", config_response),
    SCHEMA("ConfigValue", "A value of the configuration", config_value),
    SCHEMA("DockerContainerActionResponse", "What was done", docker_response),
    SCHEMA("DockerContainerInfo", "A container of the engine", docker_info),
    SCHEMA("DockerContainerListResponse", "Containers of the engine", docker_list),
    SCHEMA("DockerContainerLogsResponse", "The end of a container's log", docker_logs),
    SCHEMA("DockerContainerStatus", "What the engine knows of a container", docker_status),
    SCHEMA("ErrorResponse", "A call that failed", error_response),
    SCHEMA("HTTPValidationError", "A request with wrong parameters or a wrong body", http_error),
    SCHEMA("GatewayControlResponse", "What was done with a gateway", gateway_control),
    SCHEMA("ProfileCreatedResponse", "A new profile", profile_created),
    SCHEMA("ProfileDeletedResponse", "A profile that is no more", profile_deleted),
    SCHEMA("ProfileInfo", "A profile and its gateway", profile_info),
    SCHEMA("ProfileListResponse", "The profiles of a container", profile_list),
    SCHEMA("ProfileResponse", "A profile and its gateway", profile_response),
    SCHEMA("ROS2TopicDataResponse", "The newest message of a topic", topic_data),
    SCHEMA("ROS2TopicStatus", "A topic", topic_status),
    SCHEMA("ROS2TopicsListResponse", "The topics of a container", topic_list),
    SCHEMA("ServiceControlResponse", "What was asked of a service", control_response),
    SCHEMA("ServiceInfo", "A service", service_info),
    SCHEMA("ServiceListResponse", "The services of a container", service_list),
    SCHEMA("ServiceLogsClearResponse", "A log that was emptied", logs_clear),
    SCHEMA("ServiceLogsResponse", "The end of a service's log", logs_response),
    SCHEMA("ServiceRunBackup", "A former version of a run script", run_backup),
    SCHEMA("ServiceRunBackupsResponse", "Former versions of a run script", run_backups),
    SCHEMA("ServiceRunScriptResponse", "The run script of a service", run_response),
    SCHEMA("ServiceStatusListResponse", "The status of every service", status_list),
    SCHEMA("ServiceStatusResponse", "The status of a service", status_response),
    SCHEMA("StoreRestoreResponse", "A store that waits for the next start", store_restore),
    SCHEMA("TokenCreatedResponse", "A new token", token_created),
    SCHEMA("TokenInfo", "A token, without what it is", token_info),
    SCHEMA("TokenListResponse", "The tokens", token_list),
    SCHEMA("TokenRevokedResponse", "A token that is refused from now on", token_revoked),
    SCHEMA("VolumeDeleted", "A volume that is deleted", volume_deleted),
    SCHEMA("VolumeInfo", "A managed volume", volume_info),
    SCHEMA("VolumeList", "Managed volumes", volume_list),
    SCHEMA("VolumeUser", "A workload that uses a volume", volume_user),
    SCHEMA("WhoAmIResponse", "The caller", whoami),
    SCHEMA("ValidationError", "One fault of a request", validation_error),
    SCHEMA("AuditRecord", "A change or a refusal", audit_record),
    SCHEMA("AuditRecords", "Changes and refusals", audit_records),
    SCHEMA("Readiness", "Whether requests are served, and why not", readiness),
    SCHEMA("ReadinessCheck", "One of the reasons", readiness_check),
    SCHEMA("Detail", "A request that leads to no call", detail),
    SCHEMA("OpenApiDocument", "An OpenAPI 3.1 document", openapi),
    SCHEMA("RootDocs", "Paths of the documentation", root_docs),
    SCHEMA("ContainerBashrcResponse", "The .bashrc of a container's root", bashrc_response),
    SCHEMA("DockerContainerVersionResponse", "Version of a container's software", docker_version),
    SCHEMA("ROS2TopicInfoResponse", "About a topic", topic_info),
    SCHEMA("ROS2TopicSubscribeResponse", "A subscription", topic_subscribe),
    SCHEMA("VersionResponse", "Version of gantryd", version_response),
    SCHEMA("WorkloadInfo", "A workload, all of it", workload_whole),
    SCHEMA("WorkloadChange", "What was, or would be, done", workload_change),
    SCHEMA("WorkloadDifference", "A value that differs", workload_difference),
    SCHEMA("WorkloadList", "Workloads", workload_list),
    SCHEMA("WorkloadPart", "A service of a workload", workload_part),
    SCHEMA("WorkloadPartList", "What a workload is made of", workload_part_list),
    SCHEMA("WorkloadStep", "What would be done with a service", workload_step),
    SCHEMA("WorkloadState", "How a workload is", workload_state),
    SCHEMA("WorkloadUsage", "What a workload uses", workload_usage),
    SCHEMA("WorkloadLogs", "What a workload has written", workload_logs),
    SCHEMA("WorkloadLogLine", "One line of it", workload_log_line),
    SCHEMA("WorkloadExecResult", "A program that has ended", workload_exec_result),
    SCHEMA("SnapshotInfo", "A machine as it was", snapshot_info),
    SCHEMA("SnapshotList", "Snapshots of a workload", snapshot_list),
    SCHEMA("SnapshotChange", "What was done to a snapshot", snapshot_change),
    SCHEMA("Event", "Something that happened", event_info),
    SCHEMA("EventList", "Events that are kept", event_list),
    SCHEMA("TaskInfo", "A task", task_info),
    SCHEMA("TaskList", "Tasks", task_list),
    SCHEMA("Explanation", "Why something is as it is", explanation),
    SCHEMA("Node", "The machine", node_info),
    SCHEMA("NodeDrain", "Whether the machine is to be emptied", node_drain),
    SCHEMA("NodeDriver", "What can run a type of workload", node_driver),
    SCHEMA("NodeExplanation", "Why the machine is as it is", node_explanation),
    SCHEMA("NodeStore", "What keeps workloads", node_store),
    SCHEMA("NodeControl", "The way to a scheduler", node_control),
    SCHEMA("NodeRuntime", "A runtime of the machine", node_runtime),
    SCHEMA("NodeUsage", "How full the machine is", node_usage),
    SCHEMA("NodeWorkloads", "Workloads by state", node_workloads),
    SCHEMA("NodeCertificate", "A certificate from Vault", node_certificate),
    SCHEMA("RootResponse", "Name, version and documentation", root),
};

const struct answer_schema *answer_schemas(size_t *n)
{
    *n = ARRAY_LEN(schemas);
    return schemas;
}

const struct answer_schema *answer_schema_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        if (strcmp(schemas[i].name, name) == 0)
            return &schemas[i];
    }
    return NULL;
}

static const struct answer_tag tags[] = {
    {"root", "Name and version."},
    {"documents",
     "This documentation, for programs and for people. It works without the Internet."},
    {"containers", "The containers of the configuration, each with an agent inside."},
    {"services", "Services inside a container, supervised by s6: status, start and stop, logs, run "
                 "scripts. Live logs come as server-sent events (`follow=true`) or over the "
                 "WebSocket of the log, see `x-gantry-websockets`."},
    {"profiles", "Profiles inside a container, each with a gateway that s6 supervises. A gateway "
                 "is a service too, "
                 "`gateway-NAME`: its status and log are among the services."},
    {"config",
     "The configuration of gantryd: what is in force, what a reload would change, the reload."},
    {"workloads", "What should run on this machine, kept so through crashes and restarts."},
    {"volumes", "Volumes that are known by their names and outlive a workload's revisions."},
    {"docker", "Containers of the machine's container engine."},
    {"tokens", "Who the caller is, and the bearer tokens that others show."},
    {"audit", "The record of changes and refusals."},
    {"store", "The file that remembers the workloads: copies of it, and the way back."},
    {"health", "For supervisors, load balancers and Prometheus."},
    {"container", "A file of a container of the machine's container engine."},
    {"version", "Versions. No update server is asked."},
    {"ros2", "Paths of ROS 2 topics. They are kept for clients that ask; no topic is served."},
};

const struct answer_tag *answer_tags(size_t *n)
{
    *n = ARRAY_LEN(tags);
    return tags;
}

static const struct answer_path_param path_params[] = {
    {"container", NULL, "A container of the configuration", "robot", 0},
    {"container", "docker-container", "Name or id of a container of the engine", "web", 0},
    {"service", NULL, "A service of the container", "talker", REST_SERVICE_NAME_MAX},
    {"profile", NULL, "A profile of the container", "coder", 243},
    {"name", "docker-container", "Name or id of a container of the engine", "web", 0},
    {"id", "workload", "A workload", "web", 128},
    {"name", "workload", "A snapshot of the workload", "before-upgrade", 127},
    {"id", "volume", "A managed volume", "local:data", 144},
    {"name", "token", "A token", "dashboard", 64},
    {"topic", NULL, "Name of a topic; its slashes may be percent-encoded", "joint_states", 0},
    {"file", "api", "A file of the documentation pages", "swagger-ui.css", 0},
};

const struct answer_path_param *answer_path_param_find(const char *name, size_t len,
                                                       const char *kind)
{
    const struct answer_path_param *any = NULL;
    for (size_t i = 0; i < ARRAY_LEN(path_params); i++) {
        const struct answer_path_param *p = &path_params[i];
        if (!slice_eqs((struct slice){name, len}, p->name))
            continue;
        if (p->kind == NULL)
            any = p;
        else if (strcmp(p->kind, kind) == 0)
            return p;
    }
    return any;
}

#define ERROR_EXAMPLE(text) "{\"error\":\"" text "\",\"detail\":null}"
static const struct answer_status statuses[] = {
    {304, "NotModified", "The client has this already (If-None-Match)", NULL, NULL, NULL, NULL,
     NULL},
    {400, "BadRequest", "The body is not UTF-8, or its content makes no sense", "ErrorResponse",
     "Detail", ERROR_EXAMPLE("Content must not be empty"), NULL, NULL},
    {401, "Unauthorized", "The listener asks for an identity, and there is none that is known",
     "ErrorResponse", NULL,
     ERROR_EXAMPLE("Not authenticated: show a token as \\\"Authorization: Bearer TOKEN\\\""),
     "WWW-Authenticate", "Bearer"},
    {403, "Forbidden", "The identity lacks the right, or the Origin of a web page is not allowed",
     "ErrorResponse", NULL,
     ERROR_EXAMPLE("Origin \\\"http://evil.example\\\" is not allowed; add it to "
                   "cors.allow_origins if it should be"),
     NULL, NULL},
    {404, "NotFound", "There is nothing of that name", "ErrorResponse", NULL,
     ERROR_EXAMPLE("Container 'robot2' not found"), NULL, NULL},
    {409, "Conflict", "Not possible in the present state", "ErrorResponse", NULL,
     ERROR_EXAMPLE("There is nothing to go back to"), NULL, NULL},
    {412, "PreconditionFailed", "It has changed since it was read (If-Match)", "ErrorResponse",
     NULL,
     ERROR_EXAMPLE("Run script of service 'talker' is not written: it has changed: If-Match asks "
                   "for \\\"a\\\", but the ETag is \\\"b\\\""),
     NULL, NULL},
    {413, "ContentTooLarge", "The body is larger than the limit (http.limits.max_body)",
     "ErrorResponse", NULL,
     ERROR_EXAMPLE("The body of 2000000 bytes is larger than the limit of 1048576 bytes"), NULL,
     NULL},
    {421, "MisdirectedRequest", "The Host of the request is not served here", "ErrorResponse", NULL,
     ERROR_EXAMPLE("Host \\\"evil.example\\\" is not served here; add it to http.hosts if it "
                   "should be"),
     NULL, NULL},
    {422, "ValidationError", "A parameter or the body is wrong; all faults are listed",
     "HTTPValidationError", NULL, NULL, NULL, NULL},
    {429, "TooManyRequests", "Too many failed attempts from this peer", "ErrorResponse", NULL,
     ERROR_EXAMPLE("Too many wrong tokens from here; try again in 6 s"), "Retry-After", "Seconds"},
    {500, "InternalServerError", "The agent or the engine failed at it", "ErrorResponse", NULL,
     ERROR_EXAMPLE("Agent error for container 'robot': Failed to control service: no such tool"),
     NULL, NULL},
    {501, "NotImplemented", "Not served by this installation, or the agent lacks the tool for it",
     "ErrorResponse", NULL, ERROR_EXAMPLE("audit records are not kept: audit.file is \\\"none\\\""),
     NULL, NULL},
    {502, "BadGateway", "The agent's answer is a redirect, or says so itself", "ErrorResponse",
     NULL,
     ERROR_EXAMPLE("Agent error for container 'robot': Redirect response '307 Temporary Redirect'"),
     NULL, NULL},
    {503, "ServiceUnavailable",
     "The agent, the engine or the memory for it is not there now; trying again later may help. "
     "Of /readyz: not ready",
     "ErrorResponse", "Readiness",
     ERROR_EXAMPLE("Failed to communicate with agent: cannot connect: connection refused"), NULL,
     NULL},
    {0, "OtherError", "Any other error status of the agent, handed on", "ErrorResponse", NULL,
     ERROR_EXAMPLE("Service 'x' not found"), NULL, NULL},
    {507, "InsufficientStorage", "There is no room to keep it; nothing has changed",
     "ErrorResponse", NULL, ERROR_EXAMPLE("no space left on the disk of the store"), NULL, NULL},
    {504, "GatewayTimeout", "A program in the container did not end, or not start, in time",
     "ErrorResponse", NULL, ERROR_EXAMPLE("the program did not end within 60 s"), NULL, NULL},
};

const struct answer_status *answer_statuses(size_t *n)
{
    *n = ARRAY_LEN(statuses);
    return statuses;
}

const struct answer_status *answer_status_find(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if (statuses[i].status == status)
            return &statuses[i];
    }
    return NULL;
}

#define LOG_FRAME                                                                                  \
    "{\"type\":\"object\",\"required\":[\"type\",\"data\"],\"properties\":{\"type\":{\"enum\":["   \
    "\"logs\",\"error\"]},\"data\":{\"type\":\"string\"}}}"
#define ERROR_FRAME                                                                                \
    "{\"type\":\"object\",\"required\":[\"type\",\"data\"],\"properties\":{\"type\":{\"const\":"   \
    "\"error\"},\"data\":{\"type\":\"string\"}}}"
#define ABOUT_LOG                                                                                  \
    "The server sends one text frame a change: first the last 100 lines, then what is written. "   \
    "After a frame of type error the connection is closed. What a client sends is ignored. A "     \
    "browser, which cannot set headers here, shows its token as the subprotocol "                  \
    "`gantry.bearer.TOKEN` next to `gantry.v1`."
#define ABOUT_TOPIC                                                                                \
    "Answers with one frame of type error and closes. The path is kept for clients that ask."
const char answer_headers[] =
    "{\"ETag\":{\"description\":\"Changes when the content does\",\"schema\":{\"type\":"
    "\"string\"},\"example\":\"\\\"40703d81288b66943dd500efe188f312\\\"\"},\"RequestId\":{"
    "\"description\":\"Of this request; in gantryd's log and audit record, and in the agent's\","
    "\"schema\":{\"type\":\"string\"},\"example\":\"47b5e48cda260405\"}}";
const char answer_header_params[] =
    "{\"IfNoneMatch\":{\"name\":\"If-None-Match\",\"in\":\"header\",\"required\":false,"
    "\"description\":\"ETags that the client has: if one is the present one, 304 without a body\","
    "\"schema\":{\"type\":\"string\"}},\"IfMatch\":{\"name\":\"If-Match\",\"in\":\"header\","
    "\"required\":false,\"description\":\"The ETag that the change is meant for: if there is "
    "another by now, 412 and nothing is changed\",\"schema\":{\"type\":\"string\"}}}";

#define SHELL_FRAME "{\"type\":\"string\",\"contentEncoding\":\"binary\",\"minLength\":1}"
#define ABOUT_SHELL                                                                                \
    "Query: `command` for the program and once more for each argument; `tty`, `interactive` "      \
    "(true or false), `rows`, `columns`, `user`. Messages are binary, their first byte is the "    \
    "channel: 0 standard input (without bytes: its end), 1 standard output, 2 standard error, 3 "  \
    "the size of the terminal as JSON {rows, columns}, 4 the end as JSON {exit_code, error}, "     \
    "after which the connection is closed with 1000. Clients send 0 and 3. A client that leaves "  \
    "takes the program's input and output away. The subprotocol is `gantry.v1`; a token as with "  \
    "logs."
#define ABOUT_CONSOLE                                                                              \
    "Query: `force` (true or false) takes it from whom has it. The serial line both ways, in the " \
    "messages of `/v1/workloads/{id}/exec`: clients send 0, the machine writes 1; 4 is the end, "  \
    "when the machine has gone off. One client has it at a time."
static const struct answer_websocket websockets[] = {
    {"/v1/workloads/{id}/console", "control workload", "The serial console of a virtual machine",
     ABOUT_CONSOLE, SHELL_FRAME},
    {"/v1/workloads/{id}/exec", "control workload", "A program in a workload, interactive",
     ABOUT_SHELL, SHELL_FRAME},
    {"/ws/containers/{container}/services/{service}/logs", "read service",
     "The log of a service, live", ABOUT_LOG, LOG_FRAME},
    {"/ws/containers/{container}/ros2/topics/{topic}", "read topic",
     "Messages of a ROS 2 topic (not served)", ABOUT_TOPIC, ERROR_FRAME},
    {"/ws/{container}/services/{service}/logs", "read service",
     "The log of a service, live: the path of cyclo_manager", ABOUT_LOG, LOG_FRAME},
    {"/ws/{container}/ros2/topics/{topic}", "read topic",
     "Messages of a ROS 2 topic (not served): the path of cyclo_manager", ABOUT_TOPIC, ERROR_FRAME},
};

const struct answer_websocket *answer_websockets(size_t *n)
{
    *n = ARRAY_LEN(websockets);
    return websockets;
}
