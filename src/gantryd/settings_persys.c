/* settings_persys.c: the variables of the Persys compute agent, and its file, as keys of ours
 * (compute-agent contract, 9.1).
 *
 * The file that PERSYS_CONFIG_FILE names comes first, the variables win over it. A value that is
 * not valid is a fault that names the variable, or the line of the file. What has no meaning here
 * is told as a warning.
 */
#include "gantryd/settings_priv.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "PERSYS_"
#define FILE_MAX_BYTES (1u << 20)
#define BILLION INT64_C(1000000000)
#define DURATION_MAX_NS (INT64_C(366) * 86400 * BILLION)

enum { NAME_MAX_BYTES = 64, PLACE_MAX = 4200 };

enum form {
    TEXT,
    NUMBER, /* 1 to 65535: all numbers there are ports */
    BOOL,
    DURATION,
    LEVEL,
    LABELS,
    DOCKER,
};

/* One variable. `key`: ours. */
struct row {
    const char *variable, *also; /* also: another name of it; NULL: none */
    const char *file_key;
    const char *key;
    enum form form;
    bool grpc;    /* who sets it wants the port of gRPC */
    bool control; /* who sets it wants a scheduler */
};

static const struct row rows[] = {
    {"PERSYS_GRPC_ADDR", NULL, "grpc_addr", "grpc.address", TEXT, true},
    {"PERSYS_GRPC_PORT", NULL, "grpc_port", "grpc.port", NUMBER, true},
    {"PERSYS_METRICS_PORT", NULL, "metrics_port", "metrics.port", NUMBER, false},
    {"PERSYS_TLS_ENABLED", NULL, "tls_enabled", "grpc.tls.enabled", BOOL, true},
    {"PERSYS_TLS_CERT", NULL, "tls_cert_path", "grpc.tls.cert", TEXT, true},
    {"PERSYS_TLS_KEY", NULL, "tls_key_path", "grpc.tls.key", TEXT, true},
    {"PERSYS_TLS_CA", NULL, "tls_ca_path", "grpc.tls.ca", TEXT, true},
    {"PERSYS_TLS_ALLOWED_CN", NULL, "tls_allowed_cn", "grpc.allowed_names", TEXT, true},
    {"PERSYS_STATE_PATH", "PERSYS_STATE_STORE_PATH", "state_store_path", "state.path", TEXT, false},
    {"PERSYS_DOCKER_ENABLED", NULL, "docker_enabled", "workloads.docker", BOOL, false},
    {"PERSYS_COMPOSE_ENABLED", NULL, "compose_enabled", "compose.enabled", BOOL, false},
    {"PERSYS_COMPOSE_BINARY", NULL, "compose_binary", "compose.binary", TEXT, false},
    {"DOCKER_HOST", NULL, "docker_endpoint", "docker.socket", DOCKER, false},
    {"PERSYS_RECONCILE_ENABLED", NULL, "reconcile_enabled", "workloads.reconcile", BOOL, false},
    {"PERSYS_RECONCILE_INTERVAL", NULL, "reconcile_interval", "workloads.interval", DURATION,
     false},
    {"PERSYS_LOG_LEVEL", NULL, "log_level", "log.level", LEVEL, false},
    {"PERSYS_NODE_ID", NULL, "node_id", "node.id", TEXT, false},
    {"PERSYS_VERSION", NULL, "version", "grpc.version", TEXT, false},
    {"PERSYS_NODE_REGION", NULL, "node_region", "node.region", TEXT, false},
    {"PERSYS_NODE_ENV", NULL, "node_env", "node.env", TEXT, false},
    {"PERSYS_NODE_LABELS", NULL, "node_labels", "node.labels", LABELS, false},
    {"PERSYS_VAULT_ENABLED", NULL, "vault_enabled", "vault.enabled", BOOL, false},
    {"PERSYS_VAULT_ADDR", "VAULT_ADDR", "vault_addr", "vault.address", TEXT, false},
    {"PERSYS_VAULT_AUTH_METHOD", NULL, "vault_auth_method", "vault.auth", TEXT, false},
    {"PERSYS_VAULT_TOKEN", "VAULT_TOKEN", "vault_token", "vault.token", TEXT, false},
    {"VAULT_CACERT", NULL, "vault_cacert", "vault.ca_file", TEXT, false},
    {"VAULT_NAMESPACE", NULL, "vault_namespace", "vault.namespace", TEXT, false},
    {"PERSYS_VAULT_APPROLE_ROLE_ID", NULL, "vault_approle_role_id", "vault.role_id", TEXT, false},
    {"PERSYS_VAULT_APPROLE_SECRET_ID", NULL, "vault_approle_secret_id", "vault.secret_id", TEXT,
     false},
    {"PERSYS_VAULT_PKI_MOUNT", NULL, "vault_pki_mount", "vault.mount", TEXT, false},
    {"PERSYS_VAULT_PKI_ROLE", NULL, "vault_pki_role", "vault.role", TEXT, false},
    {"PERSYS_VAULT_CERT_TTL", NULL, "vault_cert_ttl", "vault.ttl", DURATION, false},
    {"PERSYS_VAULT_RETRY_INTERVAL", NULL, "vault_retry_interval", "vault.retry_interval", DURATION,
     false},
    {"PERSYS_VAULT_SERVICE_NAME", NULL, "vault_service_name", "vault.service_name", TEXT, false},
    {"PERSYS_VAULT_SERVICE_DOMAIN", NULL, "vault_service_domain", "vault.service_domain", TEXT,
     false},
    {"PERSYS_SCHEDULER_ADDR", NULL, "scheduler_addr", "control.address", TEXT, false, true},
    {"PERSYS_SCHEDULER_INSECURE", NULL, "scheduler_insecure", "control.insecure", BOOL, false,
     true},
    {"PERSYS_AGENT_GRPC_ENDPOINT", NULL, "agent_grpc_endpoint", "control.endpoint", TEXT, false},
    {"PERSYS_VM_ENABLED", NULL, "vm_enabled", "vm.enabled", BOOL, false},
    {"PERSYS_LIBVIRT_URI", NULL, "libvirt_uri", "vm.uri", TEXT, false},
    {"OTEL_EXPORTER_JAEGER_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint",
     "traces.endpoint", TEXT, false},
    {"OTEL_SERVICE_NAME", NULL, "otel_service_name", "traces.service_name", TEXT, false},
    {"PERSYS_STORAGE_LOCAL_ROOT", NULL, "storage_local_root", "volumes.local_root", TEXT, false},
    {"PERSYS_STORAGE_NFS_SERVER", NULL, "storage_nfs_server", "volumes.nfs.server", TEXT, false},
    {"PERSYS_STORAGE_NFS_EXPORT", NULL, "storage_nfs_export", "volumes.nfs.export", TEXT, false},
    {"PERSYS_STORAGE_NFS_MOUNT_OPTIONS", NULL, "storage_nfs_options", "volumes.nfs.options", TEXT,
     false},
    {"PERSYS_STORAGE_NFS_STAGE_ROOT", NULL, "storage_nfs_stage_dir", "volumes.nfs.stage_root", TEXT,
     false},
    {"PERSYS_STORAGE_CEPH_CLUSTER", NULL, "storage_ceph_cluster", "volumes.ceph.cluster", TEXT,
     false},
    {"PERSYS_STORAGE_CEPH_POOL", NULL, "storage_ceph_pool", "volumes.ceph.pool", TEXT, false},
    {"PERSYS_STORAGE_CEPH_USER", NULL, "storage_ceph_user", "volumes.ceph.user", TEXT, false},
    {"PERSYS_STORAGE_CEPH_KEYRING", NULL, "storage_ceph_keyring", "volumes.ceph.keyring", TEXT,
     false},
    {"PERSYS_STORAGE_CEPH_STAGE_ROOT", NULL, "storage_ceph_stage_dir", "volumes.ceph.stage_root",
     TEXT, false},
};

/* What was seen on the way. */
struct seen {
    const char *grpc; /* a place that asks for the port; NULL: none */
    char grpc_place[PLACE_MAX];
    const char *control; /* the same for a scheduler */
    char control_place[PLACE_MAX];
    unsigned off; /* runtimes that were switched off: 1 docker, 2 compose, 4 VMs */
};

/* --- Forms --- */

/* Go's words (strconv.ParseBool). */
static bool read_bool(struct slice v, bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (slice_eqs(v, yes[i]) || slice_eqs(v, no[i])) {
            *ret = slice_eqs(v, yes[i]);
            return true;
        }
    return false;
}

/* Cuts a unit off; its nanoseconds, 0: there is none. */
static int64_t cut_unit(struct slice *v)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1},       {"us", 1000},      {"\xC2\xB5s", 1000}, {"\xCE\xBCs", 1000},
                 {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000},  {"h", 3600000000000}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].name);
        if (slice_starts(*v, units[i].name)) {
            *v = (struct slice){v->p + n, v->len - n};
            return units[i].ns;
        }
    }
    return 0;
}

/* "1.5" of "1.5h": the whole part, and the rest in billionths. */
static bool cut_number(struct slice *v, int64_t *whole, int64_t *rest)
{
    size_t i = 0, digits = 0;
    int64_t scale = BILLION / 10;
    *whole = *rest = 0;
    for (; i < v->len && v->p[i] >= '0' && v->p[i] <= '9'; i++, digits++) {
        if (*whole > DURATION_MAX_NS / 10)
            return false;
        *whole = *whole * 10 + (v->p[i] - '0');
    }
    if (i < v->len && v->p[i] == '.')
        for (i++; i < v->len && v->p[i] >= '0' && v->p[i] <= '9'; i++, digits++, scale /= 10)
            *rest += scale * (v->p[i] - '0');
    *v = (struct slice){v->p + i, v->len - i};
    return digits > 0;
}

/* Go's form (time.ParseDuration), without a sign, up to a year; in ms, rounded up. */
static bool read_duration(struct slice v, int64_t *ret)
{
    int64_t sum = 0, whole, rest;
    if (slice_eqs(v, "0")) {
        *ret = 0;
        return true;
    }
    if (v.len == 0)
        return false;
    while (v.len > 0) {
        if (!cut_number(&v, &whole, &rest))
            return false;
        int64_t unit = cut_unit(&v);
        if (unit == 0 || whole > DURATION_MAX_NS / unit)
            return false;
        /* Billionths of an hour are whole nanoseconds; of a millisecond their product fits. */
        sum += whole * unit + (unit >= BILLION ? rest * (unit / BILLION) : rest * unit / BILLION);
        if (sum > DURATION_MAX_NS)
            return false;
    }
    *ret = (sum + (int64_t)NS_PER_MS - 1) / (int64_t)NS_PER_MS;
    return true;
}

/* logrus' names; one that is none is "info", as the compute agent has it. */
static const char *read_level(struct slice v, bool *known)
{
    static const char *const names[][2] = {
        {"panic", "error"},  {"fatal", "error"}, {"error", "error"}, {"warn", "warn"},
        {"warning", "warn"}, {"info", "info"},   {"debug", "debug"}, {"trace", "trace"}};
    *known = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_eq_nocase(v, slice_of(names[i][0])))
            return names[i][1];
    *known = false;
    return "info";
}

/* --- Taking --- */

static int bad(struct settings *s, const char *place, const char *what, struct slice v)
{
    char text[128];
    struct buf b = BUF_FIXED(text);
    (void)str_add_printable(&b, (struct slice){v.p, v.len < 60 ? v.len : 60});
    return settings_fault(s, place, 0, 0, false, "\"%s\" is no %s", text, what);
}

static int take_bool(struct settings *s, const struct row *r, const char *place, struct slice v,
                     struct seen *seen)
{
    bool on;
    if (!read_bool(v, &on))
        return bad(s, place, "truth value, which is one of true, false, t, f, 1, 0", v);
    if (strcmp(r->file_key, "docker_enabled") == 0)
        seen->off = on ? seen->off & ~1u : seen->off | 1u;
    if (strcmp(r->file_key, "compose_enabled") == 0)
        seen->off = on ? seen->off & ~2u : seen->off | 2u;
    if (strcmp(r->file_key, "vm_enabled") == 0)
        seen->off = on ? seen->off & ~4u : seen->off | 4u;
    int rc = settings_take(s, r->key, place, slice_of(on ? "true" : "false"));
    /* Who says so wants it plain, wherever it listens. */
    if (rc == 0 && strcmp(r->file_key, "tls_enabled") == 0)
        rc = settings_take(s, "grpc.insecure", place, slice_of(on ? "false" : "true"));
    return rc;
}

static int take_duration(struct settings *s, const struct row *r, const char *place, struct slice v)
{
    int64_t ms;
    char text[32];
    if (!read_duration(v, &ms) || ms == 0)
        return bad(s, place, "duration above 0, such as 300ms, 30s or 1m30s", v);
    (void)snprintf(text, sizeof(text), "%lldms", (long long)ms);
    return settings_take(s, r->key, place, slice_of(text));
}

static int take_port(struct settings *s, const struct row *r, const char *place, struct slice v)
{
    uint64_t n;
    if (str_to_u64(v, &n) != 0 || n < 1 || n > 65535)
        return bad(s, place, "port from 1 to 65535", v);
    int rc = settings_take(s, r->key, place, v);
    /* The compute agent's metrics are for everybody who can reach it. */
    if (rc == 0 && strcmp(r->key, "metrics.port") == 0 &&
        strcmp(settings_origin(s, "metrics.address"), "default") == 0)
        rc = settings_take(s, "metrics.address", place, SLICE_LIT("0.0.0.0"));
    return rc;
}

static int take_docker(struct settings *s, const struct row *r, const char *place, struct slice v)
{
    if (!slice_starts(v, "unix:///"))
        return bad(s, place, "Unix socket (unix:///path); an engine is asked in no other way", v);
    v = (struct slice){v.p + sizeof("unix://") - 1, v.len - (sizeof("unix://") - 1)};
    return settings_take(s, r->key, place, v);
}

static void quote(struct buf *b, struct slice text)
{
    (void)buf_addc(b, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            (void)buf_addc(b, '\\');
        (void)buf_addc(b, text.p[i]);
    }
    (void)buf_addc(b, '"');
}

/* "k=v,k2=v2"; what has no '=', key or value is left out (contract 9.1). */
static int take_labels(struct settings *s, const struct row *r, const char *place, struct slice v)
{
    struct buf b = BUF_INIT(FILE_MAX_BYTES);
    struct slice word;
    (void)buf_addc(&b, '{');
    while (slice_split(&v, ',', &word)) {
        const char *eq = word.len > 0 ? memchr(word.p, '=', word.len) : NULL;
        if (eq == NULL)
            continue;
        struct slice key = slice_trim((struct slice){word.p, (size_t)(eq - word.p)});
        struct slice value =
            slice_trim((struct slice){eq + 1, (size_t)(word.p + word.len - eq - 1)});
        if (key.len == 0 || value.len == 0)
            continue;
        if (b.len > 1)
            (void)buf_adds(&b, ", ");
        quote(&b, key);
        (void)buf_adds(&b, ": ");
        quote(&b, value);
    }
    (void)buf_addc(&b, '}');
    int rc = b.err;
    if (rc == ERR_LIMIT)
        rc = settings_fault(s, place, 0, 0, false, "the value is too long");
    else if (rc == 0)
        rc = settings_take(s, r->key, place, (struct slice){b.data, b.len});
    buf_done(&b);
    return rc;
}

static int take_row(struct settings *s, const struct row *r, const char *place, struct slice v,
                    struct seen *seen)
{
    bool known = true;
    int rc = 0;
    if (v.len == 0)
        return 0; /* counts as absent */
    if (r->grpc) {
        (void)snprintf(seen->grpc_place, sizeof(seen->grpc_place), "%s", place);
        seen->grpc = seen->grpc_place;
    }
    if (r->control) {
        (void)snprintf(seen->control_place, sizeof(seen->control_place), "%s", place);
        seen->control = seen->control_place;
    }
    switch (r->form) {
    case TEXT:
        rc = settings_take(s, r->key, place, v);
        break;
    case NUMBER:
        rc = take_port(s, r, place, v);
        break;
    case BOOL:
        rc = take_bool(s, r, place, v, seen);
        break;
    case DURATION:
        rc = take_duration(s, r, place, v);
        break;
    case LEVEL:
        rc = settings_take(s, r->key, place, slice_of(read_level(v, &known)));
        break;
    case LABELS:
        rc = take_labels(s, r, place, v);
        break;
    case DOCKER:
        rc = take_docker(s, r, place, v);
        break;
    }
    if (rc == 0 && !known)
        rc = settings_fault(s, place, 0, 0, true, "unknown level, \"info\" is taken");
    return rc;
}

/* --- The file --- */

struct file {
    char *values[ARRAY_LEN(rows)];
    struct schema_list labels;
    int lines[ARRAY_LEN(rows)];
};

static int note_line(void *ctx, const char *path, int line, int column BASE_UNUSED)
{
    struct file *f = ctx;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strncmp(path, rows[i].file_key, strlen(rows[i].file_key)) == 0 &&
            (path[strlen(rows[i].file_key)] == '\0' || path[strlen(rows[i].file_key)] == '.'))
            f->lines[i] = line;
    return 0;
}

static int take_pairs(struct settings *s, const struct row *r, const char *place,
                      const struct schema_list *labels)
{
    const struct schema_pair *pairs = labels->items;
    struct buf b = BUF_INIT(FILE_MAX_BYTES);
    int rc = 0;
    for (size_t i = 0; i < labels->count; i++)
        (void)buf_addf(&b, "%s%s=%s", i > 0 ? "," : "", pairs[i].key, pairs[i].value);
    rc = b.err;
    if (rc == 0 && b.len > 0)
        rc = take_labels(s, r, place, (struct slice){b.data, b.len});
    buf_done(&b);
    return rc;
}

static int take_file(struct settings *s, const char *path, const struct file *f, struct seen *seen)
{
    char place[PLACE_MAX];
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++) {
        (void)snprintf(place, sizeof(place), "%.4000s:%d", path, f->lines[i]);
        if (rows[i].form == LABELS)
            rc = take_pairs(s, &rows[i], place, &f->labels);
        else if (f->values[i] != NULL)
            rc = take_row(s, &rows[i], place, slice_trim(slice_of(f->values[i])), seen);
    }
    return rc;
}

/* Wiped when it is no longer needed. */
static bool is_secret(const struct row *r)
{
    return strcmp(r->file_key, "vault_token") == 0 ||
           strcmp(r->file_key, "vault_approle_secret_id") == 0;
}

static int read_file(struct settings *s, const char *path, struct seen *seen)
{
    struct schema_field fields[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool labels = rows[i].form == LABELS;
        fields[i] = (struct schema_field){
            .name = rows[i].file_key,
            .type = labels ? SCHEMA_STR_MAP : SCHEMA_STR,
            .flags = SCHEMA_PLAIN | SCHEMA_NULLABLE | (is_secret(&rows[i]) ? SCHEMA_SECRET : 0u),
            .offset = labels ? offsetof(struct file, labels)
                             : offsetof(struct file, values) + i * sizeof(char *)};
    }
    const struct schema schema = {.name = "AgentConfig",
                                  .size = sizeof(struct file),
                                  .fields = fields,
                                  .n_fields = ARRAY_LEN(fields)};
    struct file f = {0};
    const struct schema_layer layer = {.merge = true, .taken = note_line, .ctx = &f};
    struct schema_report report = {0};
    struct buf text = BUF_INIT(FILE_MAX_BYTES);
    struct err e = {0};
    int rc = file_read(AT_FDCWD, path, 0, &text, &e);
    if (rc != 0 && rc != ERR_NO_MEMORY) {
        rc = settings_fault(s, "PERSYS_CONFIG_FILE", 0, 0, false, "%s", e.msg);
    } else if (rc == 0) {
        rc = schema_read_layer(&schema, &f, (struct slice){text.data, text.len}, &layer, &report,
                               &e);
        if (rc != ERR_NO_MEMORY)
            rc = settings_take_report(s, path, true, &report);
        if (rc == 0)
            rc = take_file(s, path, &f, seen);
    }
    schema_report_done(&report);
    schema_done(&schema, &f);
    buf_done(&text);
    return rc;
}

/* --- The variables --- */

/* PERSYS_ and the key of the file in capitals is a name of it too. */
static bool is_alias(const struct row *r, struct slice name)
{
    char text[NAME_MAX_BYTES];
    int n = snprintf(text, sizeof(text), PREFIX "%s", r->file_key);
    for (int i = 0; i < n && i < (int)sizeof(text) - 1; i++)
        text[i] = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 'a' + 'A') : text[i];
    return slice_eqs(name, text);
}

static const struct row *find(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_eqs(name, rows[i].variable) ||
            (rows[i].also != NULL && slice_eqs(name, rows[i].also)) || is_alias(&rows[i], name))
            return &rows[i];
    return NULL;
}

static bool is_second(struct slice name)
{
    const struct row *r = find(name);
    return r != NULL && !slice_eqs(name, r->variable);
}

static int take_variable(struct settings *s, struct slice name, struct slice value,
                         struct seen *seen)
{
    char place[NAME_MAX_BYTES * 2] = "";
    struct buf b = BUF_FIXED(place);
    const struct row *r = find(name);
    (void)str_add_printable(&b, name);
    if (r != NULL)
        return take_row(s, r, place, slice_trim(value), seen);
    if (value.len == 0 || !slice_starts(name, PREFIX) || slice_eqs(name, "PERSYS_CONFIG_FILE"))
        return 0;
    return settings_fault(s, place, 0, 0, true, "there is no such setting, it has no effect");
}

static int take_all(struct settings *s, const char *const *env, struct seen *seen)
{
    static const char file[] = "PERSYS_CONFIG_FILE=";
    int rc = 0;
    for (size_t i = 0; env[i] != NULL && rc == 0; i++)
        if (strncmp(env[i], file, sizeof(file) - 1) == 0 && env[i][sizeof(file) - 1] != '\0')
            rc = read_file(s, env[i] + sizeof(file) - 1, seen);
    /* What goes by a second name comes first, so that the first name wins. */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; env[i] != NULL && rc == 0; i++) {
            const char *eq = strchr(env[i], '=');
            struct slice name = {env[i], eq != NULL ? (size_t)(eq - env[i]) : 0};
            if (eq != NULL && is_second(name) == (pass == 0))
                rc = take_variable(s, name, slice_of(eq + 1), seen);
        }
    return rc;
}

int settings_read_persys(struct settings *s, const char *const *env, struct err *e)
{
    struct seen *seen = mem_zalloc(sizeof(*seen));
    int rc = seen == NULL ? ERR_NO_MEMORY : take_all(s, env, seen);
    if (rc == 0 && seen->off == 7)
        rc = settings_fault(s, "PERSYS_DOCKER_ENABLED", 0, 0, false,
                            "no runtime is left: Docker, Compose and virtual machines are all "
                            "switched off");
    if (rc == 0 && seen->grpc != NULL && s->c.grpc.enabled == GRPC_AUTO)
        rc = settings_take(s, "grpc.enabled", seen->grpc, SLICE_LIT("true"));
    if (rc == 0 && seen->control != NULL && s->c.control.enabled == CONTROL_AUTO)
        rc = settings_take(s, "control.enabled", seen->control, SLICE_LIT("true"));
    mem_free(seen);
    return rc == 0 ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory while reading the environment");
}
