/* config.h: gantryd's configuration file: one struct, one table.
 *
 * Talos contract, 4.1, with `ros2` and `repo_version.github_releases_api` accepted and reported as
 * not served, and unknown keys refused. The rest is Gantry's own; docs and the --check-config
 * faults come from the table.
 */
#ifndef GANTRY_GANTRYD_CONFIG_H
#define GANTRY_GANTRYD_CONFIG_H

#include "base/base.h"
#include "base/err.h"
#include "base/schema.h"
#include "gantryd/config_certs.h"
#include "gantryd/config_compose.h"
#include "gantryd/config_control.h"
#include "gantryd/config_grpc.h"
#include "gantryd/config_services.h"
#include "gantryd/config_vm.h"
#include "gantryd/config_volumes.h"
#include "gantryd/config_workloads.h"

struct config_label {
    char *id, *label;
};
struct config_repo_version {
    char *package_xml_path;   /* NULL: cyclo_manager's own */
    bool github_releases_api; /* given, not served */
};
struct config_container {
    char *name;
    char *socket_path;
    struct schema_list services; /* struct config_label */
    struct config_repo_version repo_version;
    bool ros2; /* given, not served */
};
struct config_tls {
    char *cert, *key, *client_ca;
    bool require_client_cert;
};
struct config_listener {
    char *address; /* "127.0.0.1:8081", "[::1]:8081", "unix:/path" */
    bool insecure;
    struct config_tls tls;
    char *mode, *group; /* of a Unix socket */
    int auth;           /* enum config_listener_auth */
};
enum config_listener_auth { LISTENER_AUTH_AUTO, LISTENER_AUTH_NONE, LISTENER_AUTH_REQUIRED };
struct config_limits {
    int64_t max_head, max_headers, max_target, max_body, max_queue, max_streams, max_pipelined;
    int64_t first_byte, head, body, idle, write, ping, pong; /* ms */
    int64_t max_connections, max_viewers, ws_queue, ws_message;
};
struct config_http {
    struct schema_list hosts;     /* char * */
    struct schema_list listeners; /* struct config_listener; none: the default ones */
    char *docs_root;              /* NULL: where the installation has them */
    struct config_limits limits;
};
struct config_auth_peer {
    int64_t uid; /* -1: not given */
    char *user, *group;
    char *role;
    struct schema_list rights; /* char * */
};
struct config_auth_certificate {
    char *name; /* pattern */
    char *role;
    struct schema_list rights;
};
struct config_auth {
    bool required;
    char *tokens; /* NULL: the default path */
    struct schema_list peers, certificates;
};
struct config_cors {
    struct schema_list allow_origins; /* char * */
};
struct config_docker {
    char *socket;
};
struct config_log {
    int level, format;        /* enum log_level, enum log_format */
    struct schema_list rooms; /* char *, "net=debug" */
    int64_t slow;             /* ms; 0: off */
};
struct config_audit {
    char *file; /* NULL: the default place; "none": only the log */
    int64_t max_size, keep;
};
struct config_state {
    char *path; /* NULL: the default place */
};
struct config_secrets {
    char *key_file;             /* NULL: the default place */
    struct schema_list sources; /* char *, seal_source_names */
};
struct config_shutdown {
    int64_t limit; /* ms */
};
enum config_compat { COMPAT_NONE, COMPAT_TALOS_0_1_2 };
struct config {
    struct schema_list containers; /* struct config_container */
    int compat;                    /* enum config_compat */
    struct config_auth auth;
    struct config_cors cors;
    struct config_http http;
    struct config_docker docker;
    struct config_workloads workloads;
    struct config_compose compose;
    struct config_vm vm;
    struct schema_list service_dependencies; /* struct config_service_dependency */
    struct config_volumes volumes;
    struct config_node node;
    struct config_grpc grpc;
    struct config_vault vault;
    struct config_control control;
    struct config_metrics metrics;
    struct config_traces traces;
    struct config_log log;
    struct config_audit audit;
    struct config_state state;
    struct config_secrets secrets;
    struct config_shutdown shutdown;
};

extern const struct schema config_schema;
extern const char *const config_compat_names[];

/* Where a listener listens. */
struct listen_address {
    const char *unix_path; /* borrowed from the text; or host and port */
    char host[64];
    uint16_t port;
    bool local; /* loopback or Unix */
};
/* ERR_INVALID. */
int listen_parse(const char *address, struct listen_address *ret, struct err *e);

/* "0660" -> 0660. ERR_INVALID. */
int mode_parse(const char *text, unsigned *ret, struct err *e);
/* "net=debug". ERR_INVALID. `room` takes at most 31 bytes. */
int room_level_parse(const char *text, char room[32], int *level, struct err *e);

/* Fills *c (uninitialised) with defaults, then with the file's values. path NULL: only defaults. 0;
 * ERR_INVALID with faults in *r; what the system says about reading it. *c must be freed with
 * config_done in any case but when the result is ERR_NO_MEMORY before anything was read; it is then
 * all zero, so that works too. */
int config_load(struct config *c, const char *path, struct schema_report *r, struct err *e);
void config_done(struct config *c);

/* The file to read: `flag`, else CONFIG_FILE, else config.yml, else /etc/gantry/config.yml, else
 * NULL. */
const char *config_path(const char *flag);

#endif
