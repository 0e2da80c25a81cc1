/* workload_doc.h: a workload as people and programs write it: one struct with one schema, from
 * which YAML, JSON, OpenAPI and the reference pages come (design, section 5).
 *
 *   id: web
 *   type: container
 *   desired_state: running
 *   container:
 *     image: busybox:local
 *     command: [httpd, "-f"]
 *     ports: [{host_port: 8080, container_port: 80}]
 *     resources: {memory_bytes: 64M}
 *   depends_on: [{id: db, condition: healthy}]
 *   health: {kind: http, port: 80, path: /, interval: 5s, action: restart}
 *
 * Three forms: plain (secrets readable, in memory for as short as can be), stored (JSON, secrets
 * sealed), shown (JSON, secrets as "(set)"). Names of members are those of the wire (contract 1.1).
 */
#ifndef GANTRY_CORE_WORKLOAD_DOC_H
#define GANTRY_CORE_WORKLOAD_DOC_H

#include "base/schema.h"
#include "core/sealer.h"
#include "core/workload.h"

/* Limits: a message over any of them names the value. */
#define DOC_TEXT_MAX (1024u * 1024u) /* one document */
#define DOC_LIST_MAX 256             /* members of a list or map */
#define DOC_DEPENDS_MAX 32
#define DOC_PATH_MAX 4095
#define DOC_NAME_MAX 256         /* bytes of the name of a variable or label */
#define DOC_VOLUME_NAME_SIZE 129 /* with the NUL */
#define DOC_DISKS_MAX 64
#define DOC_NETWORKS_MAX 32
#define DOC_VOLUMES_MAX 24 /* managed ones: a machine has so many letters for them */
#define DOC_VCPUS_MAX 512
#define DOC_MEMORY_MB_MIN 16
#define DOC_MEMORY_MB_MAX (16 * 1024 * 1024)
#define DOC_DISK_GB_MAX 65536
#define DOC_CLOUD_INIT_MAX (256u * 1024u) /* of all its parts together (contract 5.3) */
#define DOCS_MAX 1000                     /* documents of one text */
#define DOCS_TEXT_MAX (16u * 1024u * 1024u)

struct doc_pair { /* element of a map of texts; the same as struct schema_pair */
    char *key, *value;
};
struct doc_mount {
    char *host_path, *container_path;
    bool read_only;
};
struct doc_port {
    int64_t host_port; /* 0: any free one */
    int64_t container_port;
    int protocol;  /* 0 tcp, 1 udp */
    char *host_ip; /* NULL: 0.0.0.0 */
};
struct doc_resources {
    int64_t cpu_shares, memory_bytes, memory_swap_bytes; /* 0: the runtime's default */
};
enum doc_restart {
    DOC_RESTART_NO,
    DOC_RESTART_ALWAYS,
    DOC_RESTART_ON_FAILURE,
    DOC_RESTART_UNLESS_STOPPED
};
struct doc_restart_policy {
    int policy; /* enum doc_restart */
    int64_t max_retry_count;
};
enum doc_pull {
    DOC_PULL_DEFAULT, /* pull, else what is there (contract 5.1, [R]) */
    DOC_PULL_ALWAYS,
    DOC_PULL_MISSING,
    DOC_PULL_NEVER
};
enum doc_volume_driver { DOC_VOLUME_LOCAL, DOC_VOLUME_NFS, DOC_VOLUME_CEPH_RBD };
enum doc_retain { DOC_RETAIN_DELETE, DOC_RETAIN_RETAIN };
/* A volume that is known by its name and outlives a revision (contract 6). */
struct doc_managed_volume {
    char *name;                  /* as doc_volume_name makes it */
    int driver;                  /* enum doc_volume_driver */
    int64_t size_gb;             /* 0: the driver's default */
    char *access_mode, *fs_type; /* NULL: the driver's own */
    char *mount_path;            /* absolute, inside */
    bool read_only;
    int retain_policy; /* enum doc_retain */
};
struct doc_registry {
    char *username, *password; /* password: secret */
};
struct doc_container {
    char *image;
    struct schema_list command, args; /* char * */
    struct schema_list env;           /* struct doc_pair */
    struct schema_list secret_env;    /* struct doc_pair; values are secrets */
    struct schema_list volumes;       /* struct doc_mount */
    struct schema_list ports;         /* struct doc_port */
    struct doc_resources resources;
    struct doc_restart_policy restart_policy;
    struct schema_list labels; /* struct doc_pair */
    int image_pull;            /* enum doc_pull */
    struct doc_registry registry;
    char *user, *working_dir, *hostname, *network_mode;
    struct schema_list entrypoint; /* char *; empty: the image's */
    bool tty, privileged, read_only_rootfs;
    int64_t stop_timeout_s;             /* before it is killed; 0: 30 */
    struct schema_list managed_volumes; /* struct doc_managed_volume */
};

struct doc_compose {
    char *project_name; /* kept and shown; the project's name is made from the id (contract 5.2) */
    char *compose_yaml; /* plain text; the readers of documents and of the wire decode base64 */
    struct schema_list env;        /* struct doc_pair */
    struct schema_list secret_env; /* struct doc_pair; values are secrets */
    int64_t stop_timeout_s;        /* of each service; 0: the services' own */
};

enum doc_disk_type { DOC_DISK_DISK, DOC_DISK_CDROM };
struct doc_disk {
    char *path;      /* absolute, or "rbd:POOL/IMAGE", "nfs://HOST[:PORT]/PATH" */
    char *device;    /* "vda"; NULL: the next free one */
    char *format;    /* "qcow2", "raw"; NULL: qcow2, of a cdrom raw */
    int64_t size_gb; /* of a disk that is made; 0: it must be there, or has a backing file */
    int type;        /* enum doc_disk_type */
    bool boot;
    char *backing_file; /* absolute: the disk is made as an overlay of it; NULL: none */
};
struct doc_network {
    char *network;     /* of libvirt, or "bridge:NAME"; NULL: "default" */
    char *mac_address; /* NULL: one that is made from the id, and stays */
    char *ip_address;  /* kept and shown; the network gives addresses */
    char *model;       /* NULL: virtio */
    char *bridge;      /* NULL: none */
};
struct doc_cloud_init { /* all of them secrets */
    char *user_data, *meta_data, *network_config, *vendor_data;
};
enum doc_firmware { DOC_FIRMWARE_BIOS, DOC_FIRMWARE_UEFI };
struct doc_vm {
    char *name; /* host name for cloud-init; the domain is named after the id */
    int64_t vcpus, memory_mb;
    struct schema_list disks;    /* struct doc_disk */
    struct schema_list networks; /* struct doc_network */
    char *cloud_init;            /* user data; secret */
    struct doc_cloud_init cloud_init_config;
    struct schema_list metadata;        /* struct doc_pair */
    struct schema_list managed_volumes; /* struct doc_managed_volume */
    char *os_image;         /* absolute: the first disk is an overlay of it when no disk is named */
    int64_t disk_gb;        /* of that disk; 0: the image's own */
    int firmware;           /* enum doc_firmware */
    int64_t stop_timeout_s; /* before it is forced off; 0: 30 */
};

enum doc_condition { DOC_DEPENDS_RUNNING, DOC_DEPENDS_HEALTHY, DOC_DEPENDS_ADDRESS };
struct doc_depends {
    char *id;
    int condition; /* enum doc_condition */
};

enum doc_health_kind {
    DOC_HEALTH_NONE,
    DOC_HEALTH_RUNTIME,
    DOC_HEALTH_TCP,
    DOC_HEALTH_HTTP,
    DOC_HEALTH_COMMAND
};
enum doc_health_action { DOC_HEALTH_NOTHING, DOC_HEALTH_RESTART, DOC_HEALTH_STOP };
struct doc_health {
    int kind; /* enum doc_health_kind: none, runtime (the image's own check), tcp, http, command */
    int64_t port;               /* tcp, http: of the workload itself */
    char *path;                 /* http; NULL: "/" */
    struct schema_list command; /* command: argv, run inside without a shell */
    int64_t interval_ms, timeout_ms, start_period_ms;
    int64_t retries; /* failures in a row until it is unhealthy */
    int action;      /* enum doc_health_action */
};

struct workload_doc {
    char *id;
    int type;                       /* enum workload_type */
    char *revision_id;              /* NULL: front ends take the print of the document */
    int desired_state;              /* enum workload_desired */
    struct doc_container container; /* image NULL: not there */
    struct doc_compose compose;     /* compose_yaml NULL: not there */
    struct doc_vm vm;               /* vcpus 0: not there */
    struct schema_list depends_on;  /* struct doc_depends */
    struct doc_health health;
    char *lock_file; /* absolute; NULL: none */
};

extern const struct schema workload_doc_schema; /* "Workload" */
extern const struct schema doc_depends_schema;  /* of struct doc_depends */

int workload_doc_init(struct workload_doc *d, struct err *e); /* defaults */
/* Wipes secrets, frees members. */
void workload_doc_done(struct workload_doc *d);

/* Reads one document (YAML; JSON is YAML) over defaults, and checks it: all faults of a text in one
 * pass, with line and column. ERR_INVALID, ERR_LIMIT, ERR_NO_MEMORY. `d` is initialised by it and
 * must be done in any case. */
int workload_doc_read(struct workload_doc *d, struct slice text, struct schema_report *r,
                      struct err *e);
/* The same for a document that begins at this line of its file. */
int workload_doc_read_at(struct workload_doc *d, struct slice text, int first_line,
                         struct schema_report *r, struct err *e);
/* The documents of a text with "---" lines between them, in order, those without content left out;
 * fn's result ends it if it is not 0, and is returned. ERR_LIMIT. */
int workload_docs_split(struct slice text,
                        int (*fn)(void *ctx, struct slice document, int first_line), void *ctx,
                        struct err *e);
/* All documents of a text, with the faults of all of them in one report: lines are those of the
 * text, and no id may be there twice. ERR_INVALID, ERR_LIMIT, ERR_NO_MEMORY; *ret is then empty. */
struct workload_docs {
    struct workload_doc *items; /* owned */
    size_t count;
};
int workload_docs_read(struct workload_docs *ret, struct slice text, struct schema_report *r,
                       struct err *e);
void workload_docs_done(struct workload_docs *d);
/* What one look at the document can tell: ids, paths, numbers, arms and type; not what needs the
 * machine. ERR_INVALID with the first fault. Front ends that fill the struct by hand call it. */
int workload_doc_check(const struct workload_doc *d, struct err *e);
/* Makes plain texts of those that may come in base64 (the Compose file; user data and vendor data
 * of cloud-init that begin with "#" then), and names of managed volumes what doc_volume_name makes
 * of them. The readers do it; front ends that fill the struct by hand call it before the check.
 * ERR_INVALID with the path, ERR_NO_MEMORY. */
int workload_doc_settle(struct workload_doc *d, struct err *e);
/* The name by which a managed volume is known (contract 6): white space around it and "-" at its
 * ends are cut off, letters become small, other characters than letters, digits, "_", "." and "-"
 * become
 * "-". ERR_INVALID: nothing is left, ".", a name with "..", or one that is too long. */
int doc_volume_name(struct slice name, char out[DOC_VOLUME_NAME_SIZE], struct err *e);

/* ---- the three forms */

/* Appends the stored form: compact JSON, members that have their default left out, secrets sealed;
 * id, type, revision_id and desired_state are not part of it (columns of their own). `s` may be
 * NULL where there are no secrets. ERR_STATE: a secret and no key; ERR_LIMIT: over 2 MiB;
 * ERR_NO_MEMORY. */
int workload_doc_store(const struct workload_doc *d, const struct sealer *s, struct buf *out,
                       struct err *e);
/* The way back: `d` is initialised by it, secrets are plain in it; revision_id and desired_state
 * have their defaults. ERR_DENIED (another key, or sealed for another place), ERR_STATE (a secret
 * and no key), ERR_INVALID (damaged), ERR_NO_MEMORY; `d` is then empty, and may be done. */
int workload_doc_load(struct workload_doc *d, struct slice id, enum workload_type type,
                      struct slice stored, const struct sealer *s, struct err *e);
/* Appends what may be shown of a stored document, as the members of a JSON object without braces:
 * "container":{...},"health":{...}. What has its default is left out. Cheap: no secret is opened.
 * ERR_INVALID, ERR_NO_MEMORY. */
int workload_doc_show(struct slice stored, struct buf *out, struct err *e);
/* The print of what is to run: all of the document but id, revision_id and desired_state, secrets
 * included. Equal documents have equal prints, whatever the order of maps. ERR_NO_MEMORY. */
int workload_doc_print(const struct workload_doc *d, const struct sealer *s,
                       char out[SEALER_PRINT_SIZE], struct err *e);

/* One difference between two shown forms: "container.env.A", old and new value as JSON text; p
 * NULL: absent. Values of secrets are never told: old and new are then both "(set)". */
int workload_doc_diff(const struct workload_doc *before, const struct workload_doc *after,
                      int (*fn)(void *ctx, const char *path, struct slice old_value,
                                struct slice new_value),
                      void *ctx, struct err *e);

/* Moves values of `env` whose name matches one of the patterns ('*' is any run) to secret_env. */
int workload_doc_hide_env(struct workload_doc *d, const char *const *patterns, size_t n,
                          struct err *e);

/* A secret whose value is "(set)", as it is shown, keeps the value that `old` has (NULL: there is
 * none), so that what was shown can be given back. ERR_INVALID: there is no such value. */
int workload_doc_keep_secrets(struct workload_doc *d, const struct workload_doc *old,
                              struct err *e);

#endif
