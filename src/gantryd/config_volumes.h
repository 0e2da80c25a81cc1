/* config_volumes.h: the part of the configuration about managed volumes (compute-agent contract,
 * 9.1). */
#ifndef GANTRY_GANTRYD_CONFIG_VOLUMES_H
#define GANTRY_GANTRYD_CONFIG_VOLUMES_H

#include "base/schema.h"

struct config_nfs {
    char *server, *export, *options; /* NULL: not set */
    char *stage_root;
};
struct config_ceph {
    char *pool, *cluster, *user, *keyring; /* NULL: not set */
    char *stage_root;
};
struct config_volumes {
    char *local_root;
    int64_t tool_limit; /* ms */
    struct config_nfs nfs;
    struct config_ceph ceph;
};

extern const struct schema config_volumes_schema;

#endif
