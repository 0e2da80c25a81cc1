/* answers_node.h: what is said of the machine itself: a part of answers.c, for it alone. */
#ifndef GANTRY_API_REST_ANSWERS_NODE_H
#define GANTRY_API_REST_ANSWERS_NODE_H

#include "api/rest/answers_words.h"
#include "api/rest/workloads.h"

static const struct answer_field node_runtime[] = {
    ENUM("type", rest_workload_types, "What it runs", "container"),
    STR("name", "The driver", "docker"),
    STR("condition", "healthy, or why not", "healthy"),
};
static const struct answer_field node_usage[] = {
    FIELD("memory_percent", ANSWER_NUM, "In use", .flags = ANSWER_NULLABLE, .example = "41.5"),
    FIELD("cpu_percent", ANSWER_NUM, "Busy, of all cores", .flags = ANSWER_NULLABLE,
          .example = "3.5"),
    FIELD("disk_percent", ANSWER_NUM, "In use, of the root file system", .flags = ANSWER_NULLABLE,
          .example = "20"),
    INT("memory_total_bytes", "All memory", 25769803776),
    INT("memory_available_bytes", "What programs could still have", 20769803776),
    INT("disk_total_bytes", "Size of the root file system", 270582939648),
    INT("disk_free_bytes", "What is free of it", 170582939648),
    INT("cpu_millicores", "Cores times 1,000", 2000),
};
static const struct answer_field node_workloads[] = {
    INT("pending", "So many are pending", 0),
    INT("running", "running", 3),
    INT("stopped", "stopped", 1),
    INT("failed", "failed", 0),
    INT("unknown", "not known", 0),
};
static const char *const node_states[] = {"ready",    "degraded",  "draining",
                                          "stopping", "not_ready", NULL};
static const struct answer_field node_drain[] = {
    BOOL("draining", "Whether the scheduler has this node drained", false),
    BOOL("refuses_new", "Whether new workloads are refused because of that", false),
    STR_OPT("reason", "Who wants it, and what follows", "the scheduler at s:8085 drains this node"),
    TIME_OPT("since", "Since when", "2026-11-21T03:52:00Z"),
};
static const struct answer_field node_store[] = {
    BOOL("ok", "It keeps what is accepted", true),
    STR("detail", "The same, for people", "in good order; what is accepted is on the disk"),
    INT("failures", "Changes that could not be written since gantryd began", 0),
};
static const struct answer_field node_driver[] = {
    ENUM("type", rest_workload_types, "What it runs", "vm"),
    STR_OPT("name", "The driver, if there is one", "libvirt"),
    BOOL("available", "Whether it can be used now", true),
    STR_OPT("detail", "What it works with here", "qemu without kvm, which cannot be used here"),
    STR_OPT("reason", "Why it cannot be used", "vm.enabled is false"),
};
static const struct answer_field node_explanation[] = {
    EXPLANATION,
    ENUM("state", node_states,
         "ready; degraded: requests are served, and something is amiss; draining; stopping; "
         "not_ready: they are not",
         "ready"),
    FIELD("drain", ANSWER_OBJ, "Whether it is to be emptied", .ref = "NodeDrain"),
    FIELD("store", ANSWER_OBJ, "What keeps workloads", .ref = "NodeStore"),
    FIELD("control", ANSWER_OBJ, "The scheduler that it reports to", .ref = "NodeControl",
          .flags = ANSWER_OPTIONAL),
    LIST("drivers", "NodeDriver", "One a type of workload, in the order of types"),
    FIELD("workloads", ANSWER_OBJ, "How many are in which state", .ref = "NodeWorkloads"),
};
static const char *const certificate_states[] = {"good", "failing", "old", "expired", NULL};
static const struct answer_field node_certificate[] = {
    ENUM("state", certificate_states,
         "good; failing: a new one is not to be had; old: it served from the start, for want of "
         "another; expired",
         "good"),
    STR("file", "Where it is", "/etc/persys/certs/agent/compute-agent.pem"),
    TIME_OR_NULL("not_after", "Its end"),
    TIME_OR_NULL("next_at", "When Vault is asked next"),
    STR("error", "Why the last try brought none", ""),
};
static const char *const link_states[] = {"off",        "waiting", "registering",
                                          "registered", "stopped", NULL};
#define LINK_TIME(n, d)                                                                            \
    FIELD(n, ANSWER_STR, d, .flags = ANSWER_OPTIONAL, .format = "date-time",                       \
          .example = "\"2026-11-21T03:52:00.123456Z\"")
#define LINK_INT(n, d, ex) FIELD(n, ANSWER_INT, d, .flags = ANSWER_OPTIONAL, .example = #ex)
#define LINK_BOOL(n, d, ex) FIELD(n, ANSWER_BOOL, d, .flags = ANSWER_OPTIONAL, .example = #ex)
#define LINK_STR(n, d, ex)                                                                         \
    FIELD(n, ANSWER_STR, d, .flags = ANSWER_OPTIONAL, .example = "\"" ex "\"")
static const struct answer_field node_control[] = {
    ENUM("state", link_states, "Of the way to the scheduler; off: there is none", "registered"),
    LINK_STR("address", "The scheduler", "10.0.0.1:8085"),
    LINK_STR("endpoint", "Where it was told to find this node", "10.0.0.7:50051"),
    LINK_BOOL("tls", "Whether it is asked over TLS", true),
    LINK_TIME("since", "Since when it is registered, or not any more"),
    LINK_TIME("last_heartbeat_at", "When a heartbeat was answered last"),
    LINK_TIME("lease_expires_at", "The registration holds until then"),
    LINK_TIME("next_at", "When the next heartbeat, or the next try, is due"),
    LINK_INT("heartbeat_interval_ms", "As the scheduler wants it", 60000),
    LINK_BOOL("acknowledged", "Whether the scheduler took the last heartbeat", true),
    LINK_BOOL("draining", "Whether the scheduler has this node drained", false),
    LINK_BOOL("refuses_new", "Whether new workloads are refused because of that", false),
    LINK_INT("failures", "Tries in vain in a row", 0),
    LINK_INT("left_out", "Workloads that the last heartbeat had no room for", 0),
    LINK_STR("error", "Why the last try failed", "Heartbeat: cannot be reached"),
};
static const struct answer_field node_info[] = {
    STR("id", "Name of the node", "edge-1-0123456789ab"),
    STR("version", "Version of gantryd", GANTRY_VERSION),
    FIELD("labels", ANSWER_STR_MAP, "Labels of the node", .example = "{\"region\":\"eu\"}"),
    FIELD("usage", ANSWER_OBJ, "How full it is", .ref = "NodeUsage"),
    LIST("runtimes", "NodeRuntime", "What it can run"),
    FIELD("workloads", ANSWER_OBJ, "How many are in which state", .ref = "NodeWorkloads"),
    FIELD("certificate", ANSWER_OBJ, "That of the gRPC port, if it is from Vault",
          .ref = "NodeCertificate", .flags = ANSWER_NULLABLE),
    FIELD("control", ANSWER_OBJ, "The scheduler that it reports to", .ref = "NodeControl",
          .flags = ANSWER_OPTIONAL),
};

#endif
