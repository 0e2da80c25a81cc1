/* config_grpc.h: the parts of the configuration about the gRPC port and the port of metrics. */
#ifndef GANTRY_GANTRYD_CONFIG_GRPC_H
#define GANTRY_GANTRYD_CONFIG_GRPC_H

#include "base/schema.h"

enum config_grpc_enabled { GRPC_AUTO, GRPC_ON, GRPC_OFF };
struct config_grpc_tls {
    bool enabled;
    char *cert, *key, *ca; /* NULL: the default place */
};
struct config_grpc {
    int enabled; /* enum config_grpc_enabled */
    char *address;
    int64_t port;
    bool insecure;
    struct config_grpc_tls tls;
    struct schema_list allowed_names; /* char *, patterns; none: every name */
    char *role;
    char *version; /* NULL: gantryd's */
    int64_t max_message, max_connections;
};
struct config_metrics {
    char *address;
    int64_t port; /* 0: off */
};

extern const struct schema config_grpc_schema, config_metrics_schema;

/* Where the compute agent keeps its certificate, its key and the authority of its clients: since
 * 2026, and before (compute-agent contract, 9.1). */
#define GRPC_TLS_FILES 3
extern const char *const config_grpc_places[2][GRPC_TLS_FILES];
/* The files that are named, and for the others those of the first place where all of them are;
 * borrowed. The place's index; -1: some are missing, and the first place's are told. */
int config_grpc_files(const struct config_grpc_tls *t, const char *files[GRPC_TLS_FILES]);

#endif
