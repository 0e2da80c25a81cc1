#include "gantryd/config_workloads.h"

#include "core/workload_doc.h"

#define GIB INT64_C(1073741824)
#define DAY_MS INT64_C(86400000)
#define YEAR_MS (366 * DAY_MS)

#define FIELD(name_, type_, struct_, member_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member_), __VA_ARGS__ \
    }
#define SCHEMA(struct_, fields_, ...)                                                              \
    {                                                                                              \
        .size = sizeof(struct struct_), .fields = (fields_), .n_fields = ARRAY_LEN(fields_),       \
        __VA_ARGS__                                                                                \
    }
#define TIME(struct_, name_, member_, min_, def_, doc_)                                            \
    FIELD(name_, SCHEMA_DURATION, struct_, member_, .min = (min_), .max = YEAR_MS, .def = (def_),  \
          .unit = "ms", .flags = SCHEMA_RELOAD, .doc = (doc_))

/* Lists of folders: absolute, and without "..". */
static int check_roots(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    char *const *items = l->items;
    for (size_t i = 0; i < l->count; i++) {
        const char *p = items[i];
        bool up = false;
        for (const char *at = p; *at != '\0'; at++)
            up = up ||
                 (at[0] == '/' && at[1] == '.' && at[2] == '.' && (at[3] == '/' || at[3] == '\0'));
        if (p[0] != '/' || up)
            return err_set(e, ERR_INVALID, "\"%s\" is not a folder's absolute path without \"..\"",
                           p);
    }
    return 0;
}

static int check_password_file(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || (*text)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "\"%s\" does not begin with '/'", *text);
}

#define PERCENT(name_, def_, doc_)                                                                 \
    FIELD(#name_, SCHEMA_INT, config_admission, name_, .min = 0, .max = 100, .def = (def_),        \
          .unit = "%", .flags = SCHEMA_RELOAD, .doc = (doc_))
static const struct schema_field admission_fields[] = {
    PERCENT(memory, "80", "Memory in use beyond which nothing new is made; 0: no limit"),
    PERCENT(cpu, "80", "Processors busy beyond which nothing new is made; 0: no limit"),
    PERCENT(disk, "90", "Root file system in use beyond which nothing new is made; 0: no limit"),
    FIELD("reserve_memory", SCHEMA_SIZE, config_admission, reserve_memory, .min = 0,
          .max = 1024 * GIB, .def = "0", .unit = "bytes", .flags = SCHEMA_RELOAD,
          .doc = "Memory that must stay free beside what a new workload asks for itself"),
};
static const struct schema admission_schema =
    SCHEMA(config_admission, admission_fields, .name = "Admission");

static const struct schema_field retry_fields[] = {
    FIELD("attempts", SCHEMA_INT, config_retry, attempts, .min = 1, .max = 1000, .def = "3",
          .flags = SCHEMA_RELOAD, .doc = "Failures that are tried again before it is given up"),
    TIME(config_retry, "first", first, 100, "5s", "Wait before the first try; doubles each time"),
    TIME(config_retry, "most", most, 100, "2m", "Longest wait"),
    FIELD("jitter", SCHEMA_INT, config_retry, jitter, .min = 0, .max = 100, .def = "10",
          .unit = "%", .flags = SCHEMA_RELOAD, .doc = "So much more, at random, is waited"),
    TIME(config_retry, "steady", steady, 1000, "1m",
         "Running for so long, its failures are forgotten"),
};
static const struct schema retry_schema = SCHEMA(config_retry, retry_fields, .name = "Retry");

static const struct schema_field registry_fields[] = {
    FIELD("host", SCHEMA_STR, config_registry, host, .doc = "Registry, as in the image's name"),
    FIELD("username", SCHEMA_STR, config_registry, username, .flags = SCHEMA_REQUIRED,
          .doc = "User", .example = "robot"),
    FIELD("password_file", SCHEMA_STR, config_registry, password_file, .flags = SCHEMA_REQUIRED,
          .check = check_password_file, .doc = "File with the password, read at start",
          .example = "/etc/gantry/registry.password"),
};
static const struct schema registry_schema =
    SCHEMA(config_registry, registry_fields, .name = "Registry", .key = "host");

static const struct schema_field rotation_fields[] = {
    FIELD("max_size", SCHEMA_SIZE, config_log_rotation, max_size, .min = 0, .max = 1024 * GIB,
          .def = "0", .unit = "bytes",
          .doc = "A container's log is begun anew at this size; 0: as the engine is set up"),
    FIELD("files", SCHEMA_INT, config_log_rotation, files, .min = 0, .max = 1000, .def = "0",
          .doc = "Files of a container's log; 0: as the engine is set up"),
};
static const struct schema rotation_schema =
    SCHEMA(config_log_rotation, rotation_fields, .name = "LogRotation");

static const struct schema_field workloads_fields[] = {
    FIELD("enabled", SCHEMA_BOOL, config_workloads, enabled, .def = "true",
          .doc = "Keep workloads; without it their calls answer 503"),
    FIELD("docker", SCHEMA_BOOL, config_workloads, docker, .def = "true",
          .doc = "Run containers, on the engine of docker.socket"),
    FIELD("reconcile", SCHEMA_BOOL, config_workloads, reconcile, .def = "true",
          .flags = SCHEMA_RELOAD,
          .doc =
              "Bring back what stopped or vanished; false: only what is asked for is done, once"),
    TIME(config_workloads, "interval", interval, 1000, "30s", "Between two looks at everything"),
    TIME(config_workloads, "gc_interval", gc_interval, 1000, "5m",
         "Between two looks for what nobody asked for any more"),
    TIME(config_workloads, "orphan_age", orphan_age, 0, "30m",
         "An object of this node that no workload knows goes when it was seen for so long"),
    TIME(config_workloads, "pending_limit", pending_limit, 1000, "5m",
         "What is pending for longer is started anew"),
    TIME(config_workloads, "failed_ttl", failed_ttl, 0, "0s",
         "What was given up is forgotten after; 0: never"),
    TIME(config_workloads, "usage_interval", usage_interval, 0, "30s",
         "Between two samples of what each workload uses; 0: none"),
    FIELD("max_workloads", SCHEMA_INT, config_workloads, max_workloads, .min = 1, .max = 1000000,
          .def = "200000", .flags = SCHEMA_RELOAD, .doc = "Workloads in all"),
    FIELD("max_acts", SCHEMA_INT, config_workloads, max_acts, .min = 1, .max = 1000, .def = "10",
          .flags = SCHEMA_RELOAD, .doc = "Workloads that are changed at a time"),
    FIELD("admission", SCHEMA_STRUCT, config_workloads, admission, .sub = &admission_schema,
          .doc = "When nothing new is made; what runs already stays"),
    FIELD("retry", SCHEMA_STRUCT, config_workloads, retry, .sub = &retry_schema,
          .doc = "What failed is tried again"),
    FIELD("secret_env", SCHEMA_STR_LIST, config_workloads, secret_env,
          .def = "[\"*PASSWORD*\", \"*SECRET*\", \"*TOKEN*\", \"*_KEY\"]", .max = 100,
          .doc = "Variables with these names are kept as secrets; '*' stands for anything"),
    FIELD("bind_roots", SCHEMA_STR_LIST, config_workloads, bind_roots, .check = check_roots,
          .max = 100, .example = "[/srv, /data]",
          .doc = "Folders of the host that workloads may be given, with what is below; none named: "
                 "all"),
    FIELD("privileged", SCHEMA_BOOL, config_workloads, privileged, .def = "false",
          .doc = "Take documents with container.privileged, which gives a container all rights of "
                 "the machine's root, and Compose files that ask for any of them; what was taken "
                 "before stays"),
    /* Not /tmp: under systemd gantryd has one of its own, and would see none of the files there. */
    FIELD("lock_roots", SCHEMA_STR_LIST, config_workloads, lock_roots, .check = check_roots,
          .def = "[/run, /var/lock]", .max = 100, .doc = "Folders in which lock files may be"),
    FIELD("registries", SCHEMA_MAP, config_workloads, registries, .sub = &registry_schema,
          .example = "registry.example.org", .doc = "Credentials for pulling images"),
    FIELD("log_rotation", SCHEMA_STRUCT, config_workloads, log_rotation, .sub = &rotation_schema,
          .doc = "Logs of new containers"),
};
const struct schema config_workloads_schema =
    SCHEMA(config_workloads, workloads_fields, .name = "Workloads");

static const struct schema_field node_fields[] = {
    FIELD("id", SCHEMA_STR, config_node, id, .example = "edge-1",
          .doc = "Name of this machine among others; default, and for \"auto\": the host name and "
                 "the beginning of /etc/machine-id"),
    FIELD("region", SCHEMA_STR, config_node, region, .example = "eu-1",
          .doc = "Label region of the node"),
    FIELD("env", SCHEMA_STR, config_node, env, .example = "production",
          .doc = "Label env of the node"),
    FIELD("labels", SCHEMA_STR_MAP, config_node, labels, .flags = SCHEMA_PLAIN, .max = 100,
          .example = "{rack: a1}", .doc = "Further labels of the node"),
};
const struct schema config_node_schema = SCHEMA(config_node, node_fields, .name = "Node");
