/* config_certs.h: the parts of the configuration about certificates from Vault, and about traces.
 */
#ifndef GANTRY_GANTRYD_CONFIG_CERTS_H
#define GANTRY_GANTRYD_CONFIG_CERTS_H

#include "base/schema.h"

struct config_vault {
    bool enabled;
    char *address;
    int auth;         /* enum vault_auth */
    char *token;      /* secret; NULL: of token_file */
    char *token_file; /* NULL: none */
    char *role_id;    /* NULL: none */
    char *secret_id;  /* secret; NULL: of secret_id_file */
    char *secret_id_file;
    char *mount, *role;
    int64_t ttl, retry_interval; /* ms */
    char *service_name;
    char *service_domain; /* NULL: none */
    char *ca_file;        /* NULL: the system's authorities */
    char *name_space;     /* NULL: none */
};
struct config_traces {
    char *endpoint; /* NULL: off */
    char *service_name;
    int64_t sample; /* percent */
};

extern const struct schema config_vault_schema, config_traces_schema;

#endif
