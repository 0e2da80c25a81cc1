/* config_workloads.h: the parts of the configuration about workloads and the node. */
#ifndef GANTRY_GANTRYD_CONFIG_WORKLOADS_H
#define GANTRY_GANTRYD_CONFIG_WORKLOADS_H

#include "base/schema.h"

struct config_admission {
    int64_t memory, cpu, disk; /* percent; 0: never refused */
    int64_t reserve_memory;    /* bytes */
};
struct config_retry {
    int64_t attempts;
    int64_t first, most; /* ms */
    int64_t jitter;      /* percent */
    int64_t steady;      /* ms */
};
struct config_registry {
    char *host; /* key */
    char *username, *password_file;
};
struct config_log_rotation {
    int64_t max_size, files; /* 0: the engine's own */
};
struct config_workloads {
    bool enabled, docker, reconcile, privileged;
    int64_t interval, gc_interval, orphan_age, pending_limit, failed_ttl; /* ms */
    int64_t usage_interval;                                               /* ms; 0: off */
    int64_t max_workloads, max_acts;
    struct config_admission admission;
    struct config_retry retry;
    struct schema_list secret_env, bind_roots, lock_roots; /* char * */
    struct schema_list registries;                         /* struct config_registry */
    struct config_log_rotation log_rotation;
};
struct config_node {
    char *id; /* NULL or "auto": made of host name and machine id */
    char *region, *env;
    struct schema_list labels; /* struct doc_pair */
};

extern const struct schema config_workloads_schema, config_node_schema;

#endif
