/* The table of gantryd's configuration, and the checks that go beyond single values. */
#include "gantryd/config.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/rights.h"
#include "secret/seal.h"
#include "store/audit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES (1u << 20)
#define CONFIG_DEFAULT "config.yml"
#define CONFIG_SYSTEM "/etc/gantry/config.yml"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define DAY_MS INT64_C(86400000)

const char *const config_compat_names[] = {"none", "talos-0.1.2", NULL};
static const char *const config_auth_names[] = {"auto", "none", "required", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", NULL};
static const char *const format_names[] = {"auto", "logfmt", "json", NULL};

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static int port_parse(struct slice text, const char *whole, uint16_t *ret, struct err *e)
{
    uint64_t v;
    if (str_to_u64(text, &v) != 0 || v > 65535)
        return err_set(e, ERR_INVALID, "address \"%s\" has no port from 0 to 65535", whole);
    *ret = (uint16_t)v;
    return 0;
}

int listen_parse(const char *address, struct listen_address *ret, struct err *e)
{
    struct listen_address a = {0};
    unsigned char bytes[16];
    if (strncmp(address, "unix:", 5) == 0) {
        a.unix_path = address + 5;
        a.local = true;
        if (a.unix_path[0] != '/')
            return err_set(e, ERR_INVALID, "address \"%s\": a socket's path begins with '/'",
                           address);
        *ret = a;
        return 0;
    }
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return err_set(e, ERR_INVALID, "address \"%s\" is neither \"host:port\" nor \"unix:/path\"",
                       address);
    struct slice host = {address, (size_t)(colon - address)};
    bool v6 = host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']';
    if (v6)
        host = (struct slice){host.p + 1, host.len - 2};
    if (slice_eqs(host, "localhost"))
        host = SLICE_LIT("127.0.0.1");
    if (host.len >= sizeof(a.host))
        return err_set(e, ERR_INVALID, "address \"%s\" is too long", address);
    memcpy(a.host, host.p, host.len);
    if (inet_pton(v6 ? AF_INET6 : AF_INET, a.host, bytes) != 1)
        return err_set(e, ERR_INVALID,
                       "address \"%s\": the host must be a numeric address or localhost", address);
    int rc = port_parse(slice_of(colon + 1), address, &a.port, e);
    if (rc != 0)
        return rc;
    a.local = is_loopback(a.host);
    *ret = a;
    return 0;
}

int mode_parse(const char *text, unsigned *ret, struct err *e)
{
    unsigned v = 0;
    size_t n = strlen(text);
    for (size_t i = 0; i < n && v <= 0777; i++)
        v = text[i] >= '0' && text[i] <= '7' ? v * 8 + (unsigned)(text[i] - '0') : 01000;
    if (n == 0 || v > 0777)
        return err_set(e, ERR_INVALID, "mode \"%s\" is not octal from 0 to 0777", text);
    *ret = v;
    return 0;
}

int room_level_parse(const char *text, char room[32], int *level, struct err *e)
{
    const char *eq = strchr(text, '=');
    enum log_level l;
    if (eq == NULL || eq == text || eq - text > 31 || log_level_parse(eq + 1, &l) != 0)
        return err_set(e, ERR_INVALID, "\"%s\" is not \"room=level\", for example \"net=debug\"",
                       text);
    memcpy(room, text, (size_t)(eq - text));
    room[eq - text] = '\0';
    *level = (int)l;
    return 0;
}

static int check_rooms(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    char room[32];
    int level, rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = room_level_parse(((char **)l->items)[i], room, &level, e);
    return rc;
}

static int check_address(const void *member, struct err *e)
{
    const char *const *text = member;
    struct listen_address a;
    return *text ? listen_parse(*text, &a, e) : 0;
}

static int check_mode(const void *member, struct err *e)
{
    const char *const *text = member;
    unsigned mode;
    return *text ? mode_parse(*text, &mode, e) : 0;
}

static int check_docs_root(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text != NULL && (*text)[0] != '/')
        return err_set(e, ERR_INVALID, "docs_root \"%s\": a folder's path begins with '/'", *text);
    return 0;
}

static int check_audit_file(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || (*text)[0] == '/' || strcmp(*text, "none") == 0)
        return 0;
    return err_set(e, ERR_INVALID, "\"%s\" is neither an absolute path nor \"none\"", *text);
}

static int check_listener(const struct config_listener *li, struct err *e)
{
    struct listen_address a;
    if (li->address == NULL || listen_parse(li->address, &a, NULL) != 0)
        return 0; /* told at its own place */
    if (!a.local && li->auth == LISTENER_AUTH_NONE && !li->insecure)
        return err_set(
            e, ERR_INVALID,
            "listener \"%s\" can be reached from other machines, and with \"auth: none\" anybody "
            "there could control this one; say \"auth: required\", or \"insecure: true\" for this "
            "listener to accept that",
            li->address);
    if (li->auth == LISTENER_AUTH_REQUIRED && li->insecure)
        return err_set(e, ERR_INVALID,
                       "listener \"%s\": \"insecure: true\" says that nobody is asked who he is, "
                       "\"auth: required\" that everybody is; say one of them",
                       li->address);
    if ((li->tls.cert == NULL) != (li->tls.key == NULL))
        return err_set(e, ERR_INVALID, "listener \"%s\": tls needs both cert and key", li->address);
    if (li->tls.cert == NULL && (li->tls.client_ca != NULL || li->tls.require_client_cert))
        return err_set(e, ERR_INVALID, "listener \"%s\": tls needs cert and key", li->address);
    if (li->tls.require_client_cert && li->tls.client_ca == NULL)
        return err_set(e, ERR_INVALID, "listener \"%s\": require_client_cert needs client_ca",
                       li->address);
    return 0;
}

static int check_listeners(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = check_listener(&((const struct config_listener *)l->items)[i], e);
    return rc;
}

#define FIELD(name_, type_, struct_, member_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member_), __VA_ARGS__ \
    }
#define SCHEMA(struct_, fields_, ...)                                                              \
    {                                                                                              \
        .size = sizeof(struct struct_), .fields = (fields_), .n_fields = ARRAY_LEN(fields_),       \
        __VA_ARGS__                                                                                \
    }

static const struct schema_field label_fields[] = {
    FIELD("id", SCHEMA_STR, config_label, id, .flags = SCHEMA_REQUIRED, .doc = "Service",
          .example = "talker"),
    FIELD("label", SCHEMA_STR, config_label, label, .flags = SCHEMA_REQUIRED,
          .doc = "What people are shown for it", .example = "Talker"),
};
static const struct schema label_schema = SCHEMA(config_label, label_fields, .name = "Label");

static int check_xml_path(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || (*text)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "package_xml_path \"%s\" does not begin with '/'", *text);
}

static const struct schema_field repo_version_fields[] = {
    FIELD("package_xml_path", SCHEMA_STR, config_repo_version, package_xml_path,
          .check = check_xml_path,
          .doc = "package.xml in the container, whose version GET /docker/ai_worker/version tells; "
                 "default /root/ros2_ws/src/ai_worker/ffw/package.xml",
          .example = "/root/ros2_ws/src/ai_worker/ffw/package.xml"),
    FIELD("github_releases_api", SCHEMA_ANY, config_repo_version, github_releases_api,
          .flags = SCHEMA_NOT_SERVED | SCHEMA_NULLABLE,
          .doc = "Accepted; no update server is asked"),
};
static const struct schema repo_version_schema =
    SCHEMA(config_repo_version, repo_version_fields, .name = "RepoVersion");

static const struct schema_field container_fields[] = {
    FIELD("name", SCHEMA_STR, config_container, name, .doc = "Name of the container"),
    FIELD("socket_path", SCHEMA_STR, config_container, socket_path, .flags = SCHEMA_REQUIRED,
          .doc = "Unix socket of the agent in the container", .example = "/run/robot/agent.sock"),
    FIELD("services", SCHEMA_LIST, config_container, services, .sub = &label_schema,
          .doc = "Labels of services"),
    FIELD("ros2", SCHEMA_ANY, config_container, ros2, .flags = SCHEMA_NOT_SERVED | SCHEMA_NULLABLE,
          .doc = "ROS 2 topics; accepted, not served"),
    FIELD("repo_version", SCHEMA_STRUCT, config_container, repo_version, .flags = SCHEMA_NULLABLE,
          .sub = &repo_version_schema, .doc = "Where the version of the container's software is"),
};
static const struct schema container_schema =
    SCHEMA(config_container, container_fields, .name = "Container", .key = "name");

static int check_role(const void *member, struct err *e)
{
    const char *const *role = member;
    if (*role == NULL || right_is_role(slice_of(*role)))
        return 0;
    return err_set(e, ERR_INVALID, "role \"%.100s\" is none of viewer, operator, admin", *role);
}

static int check_rights(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    struct right r;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = right_parse(&r, slice_of(((char **)l->items)[i]), e);
    return rc;
}

/* What may go into one identity: a role, or rights. */
static int check_grant(const char *what, const char *role, const struct schema_list *rights,
                       struct err *e)
{
    if ((role == NULL) != (rights->count == 0))
        return 0;
    return err_set(e, ERR_INVALID, "%s needs either a role or a list of rights", what);
}

static int check_peers(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct config_auth_peer *items = l->items;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++) {
        int given = (items[i].uid >= 0) + (items[i].user != NULL) + (items[i].group != NULL);
        if (given != 1)
            return err_set(e, ERR_INVALID, "a peer has one of uid, user and group");
        rc = check_grant("a peer", items[i].role, &items[i].rights, e);
    }
    return rc;
}

static int check_certificates(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct config_auth_certificate *items = l->items;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = check_grant("a certificate", items[i].role, &items[i].rights, e);
    return rc;
}

static int check_path(const void *member, struct err *e)
{
    const char *const *path = member;
    if (*path == NULL || (*path)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "path \"%.200s\" does not begin with '/'", *path);
}

#define GRANT(struct_)                                                                             \
    FIELD("role", SCHEMA_STR, struct_, role, .check = check_role,                                  \
          .doc = "viewer, operator or admin"),                                                     \
        FIELD("rights", SCHEMA_STR_LIST, struct_, rights, .max = RIGHTS_MAX,                       \
              .check = check_rights, .doc = "Or rights of their own: \"read service robot/*\"")
static const struct schema_field auth_peer_fields[] = {
    FIELD("uid", SCHEMA_INT, config_auth_peer, uid, .min = -1, .max = UINT32_MAX - 1, .def = "-1",
          .doc = "Number of a user"),
    FIELD("user", SCHEMA_STR, config_auth_peer, user, .doc = "Or name of a user"),
    FIELD("group", SCHEMA_STR, config_auth_peer, group,
          .doc = "Or name or number of a group; supplementary ones count"),
    GRANT(config_auth_peer),
};
static const struct schema auth_peer_schema =
    SCHEMA(config_auth_peer, auth_peer_fields, .name = "AuthPeer");
static const struct schema_field auth_certificate_fields[] = {
    FIELD("name", SCHEMA_STR, config_auth_certificate, name, .flags = SCHEMA_REQUIRED,
          .doc = "Common name of client certificates; '*' for any run of characters"),
    GRANT(config_auth_certificate),
};
static const struct schema auth_certificate_schema =
    SCHEMA(config_auth_certificate, auth_certificate_fields, .name = "AuthCertificate");
static const struct schema_field auth_fields[] = {
    FIELD("required", SCHEMA_BOOL, config_auth, required, .def = "false", .flags = SCHEMA_RELOAD,
          .doc = "Ask on loopback and Unix listeners too who it is"),
    FIELD("tokens", SCHEMA_STR, config_auth, tokens, .check = check_path,
          .example = "/var/lib/gantry/tokens.json",
          .doc = "File of the tokens; default /var/lib/gantry/tokens.json, for other users than "
                 "root $XDG_STATE_HOME/gantry/tokens.json"),
    FIELD("peers", SCHEMA_LIST, config_auth, peers, .sub = &auth_peer_schema, .max = 64,
          .flags = SCHEMA_RELOAD, .check = check_peers,
          .example = "[{user: robot, role: operator}]",
          .doc = "Who may do what over Unix sockets, the first that fits; none: everybody who can "
                 "open the socket may do everything"),
    FIELD("certificates", SCHEMA_LIST, config_auth, certificates, .sub = &auth_certificate_schema,
          .max = 64, .flags = SCHEMA_RELOAD, .check = check_certificates,
          .example = "[{name: \"operator-*\", role: operator}]",
          .doc = "Who may do what with a client certificate, the first that fits"),
};
static const struct schema auth_schema = SCHEMA(config_auth, auth_fields, .name = "Auth");

static const struct schema_field tls_fields[] = {
    FIELD("cert", SCHEMA_STR, config_tls, cert, .doc = "Certificate chain, PEM",
          .example = "/etc/gantry/cert.pem"),
    FIELD("key", SCHEMA_STR, config_tls, key, .doc = "Private key, PEM",
          .example = "/etc/gantry/key.pem"),
    FIELD("client_ca", SCHEMA_STR, config_tls, client_ca,
          .doc = "Client certificates are verified against it", .example = "/etc/gantry/ca.pem"),
    FIELD("require_client_cert", SCHEMA_BOOL, config_tls, require_client_cert, .def = "false",
          .doc = "Refuse clients without a certificate"),
};
static const struct schema tls_schema = SCHEMA(config_tls, tls_fields, .name = "Tls");

static const struct schema_field listener_fields[] = {
    FIELD("address", SCHEMA_STR, config_listener, address, .flags = SCHEMA_REQUIRED,
          .check = check_address, .doc = "127.0.0.1:8081, [::1]:8081 or unix:/path",
          .example = "\"127.0.0.1:8081\""),
    FIELD("insecure", SCHEMA_BOOL, config_listener, insecure, .def = "false",
          .doc = "Listen beyond this machine without asking who it is"),
    FIELD("auth", SCHEMA_ENUM, config_listener, auth, .names = config_auth_names, .def = "auto",
          .doc =
              "required: everybody must show who he is; none: nobody must; auto: as auth.required "
              "and auth.peers say, and beyond this machine required"),
    FIELD("tls", SCHEMA_STRUCT, config_listener, tls, .sub = &tls_schema, .doc = "TLS files"),
    FIELD("mode", SCHEMA_STR, config_listener, mode, .def = "\"0660\"", .check = check_mode,
          .doc = "Mode of a Unix socket, octal in quotes"),
    FIELD("group", SCHEMA_STR, config_listener, group, .doc = "Group of a Unix socket",
          .example = "root"),
};
static const struct schema listener_schema =
    SCHEMA(config_listener, listener_fields, .name = "Listener");

#define SIZE(name_, min_, max_, def_, doc_)                                                        \
    FIELD(#name_, SCHEMA_SIZE, config_limits, name_, .min = (min_), .max = (max_), .def = (def_),  \
          .unit = "bytes", .flags = SCHEMA_RELOAD, .doc = (doc_))
#define COUNT(name_, max_, def_, doc_)                                                             \
    FIELD(#name_, SCHEMA_INT, config_limits, name_, .min = 1, .max = (max_), .def = (def_),        \
          .flags = SCHEMA_RELOAD, .doc = (doc_))
#define TIME(name_, def_, doc_)                                                                    \
    FIELD(#name_, SCHEMA_DURATION, config_limits, name_, .min = 10, .max = DAY_MS, .def = (def_),  \
          .unit = "ms", .flags = SCHEMA_RELOAD, .doc = (doc_))
static const struct schema_field limits_fields[] = {
    SIZE(max_head, 256, MIB, "16k", "Request line and header block"),
    COUNT(max_headers, 10000, "100", "Header lines"),
    SIZE(max_target, 64, MIB, "8k", "Request target"),
    SIZE(max_body, 1, GIB, "1M", "Request body"),
    SIZE(max_queue, 4 * KIB, GIB, "1M", "Waiting for a client that does not read"),
    COUNT(max_streams, 10000, "100", "HTTP/2 streams of a connection"),
    COUNT(max_pipelined, 10000, "64", "HTTP/1.1 answers waiting for an earlier one"),
    TIME(first_byte, "10s", "From connecting to the first byte"),
    TIME(head, "10s", "From the first byte to the end of the header block"),
    TIME(body, "30s", "Between two pieces of a request body"),
    TIME(idle, "75s", "A connection without a request"),
    TIME(write, "30s", "A client that takes nothing of an answer"),
    TIME(ping, "2h", "An HTTP/2 client that has sent nothing: it is asked whether it lives"),
    TIME(pong, "20s", "Its answer to that; else its connection is cut"),
    COUNT(max_connections, 1000000, "10000", "Connections in all"),
    COUNT(max_viewers, 1000000, "10000", "Log viewers in all"),
    SIZE(ws_queue, 4 * KIB, GIB, "1M", "Waiting for a log viewer; one that exceeds it is cut"),
    SIZE(ws_message, 128, 64 * MIB, "64k", "One message of a WebSocket client"),
};
static const struct schema limits_schema = SCHEMA(config_limits, limits_fields, .name = "Limits");

static const struct schema_field http_fields[] = {
    FIELD("hosts", SCHEMA_STR_LIST, config_http, hosts, .flags = SCHEMA_RELOAD,
          .example = "[robot.local]",
          .doc = "Names under which this server may be asked, beyond loopback and its addresses"),
    FIELD("listeners", SCHEMA_LIST, config_http, listeners, .sub = &listener_schema, .min = 1,
          .max = 64, .flags = SCHEMA_RELOAD, .check = check_listeners,
          .doc = "Where to listen; default 127.0.0.1:8081 and a Unix socket"),
    FIELD("docs_root", SCHEMA_STR, config_http, docs_root, .check = check_docs_root,
          .example = "/usr/share/gantry/apidocs",
          .doc =
              "Folder of Swagger UI and ReDoc; default: share/gantry/apidocs of the installation"),
    FIELD("limits", SCHEMA_STRUCT, config_http, limits, .sub = &limits_schema, .doc = "Limits"),
};
static const struct schema http_schema = SCHEMA(config_http, http_fields, .name = "Http");

static const struct schema_field cors_fields[] = {
    FIELD("allow_origins", SCHEMA_STR_LIST, config_cors, allow_origins, .def = "[loopback]",
          .flags = SCHEMA_RELOAD,
          .doc = "Origins of web pages that may ask; \"loopback\", or \"*\" for all"),
};
static const struct schema cors_schema = SCHEMA(config_cors, cors_fields, .name = "Cors");
static const struct schema_field docker_fields[] = {
    FIELD("socket", SCHEMA_STR, config_docker, socket, .def = "/var/run/docker.sock",
          .flags = SCHEMA_RELOAD, .doc = "Unix socket of the Docker Engine"),
};
static const struct schema docker_schema = SCHEMA(config_docker, docker_fields, .name = "Docker");
static const struct schema_field log_fields[] = {
    FIELD("level", SCHEMA_ENUM, config_log, level, .names = level_names, .def = "info",
          .flags = SCHEMA_RELOAD, .doc = "Least important lines that are written"),
    FIELD("format", SCHEMA_ENUM, config_log, format, .names = format_names, .def = "auto",
          .flags = SCHEMA_RELOAD, .doc = "auto: logfmt on a terminal, else JSON"),
    FIELD("rooms", SCHEMA_STR_LIST, config_log, rooms, .max = 32, .check = check_rooms,
          .flags = SCHEMA_RELOAD, .example = "[\"net=debug\"]",
          .doc = "Levels of single rooms, as \"net=debug\""),
    FIELD("slow", SCHEMA_DURATION, config_log, slow, .min = 0, .max = DAY_MS, .def = "1s",
          .unit = "ms", .flags = SCHEMA_RELOAD,
          .doc = "Requests that take longer are logged; 0: none"),
};
static const struct schema log_schema = SCHEMA(config_log, log_fields, .name = "Log");
static const struct schema_field audit_fields[] = {
    FIELD("file", SCHEMA_STR, config_audit, file, .check = check_audit_file,
          .example = "/var/log/gantry/audit.log",
          .doc = "Absolute path; none: records go to the log only. Default: "
                 "$LOGS_DIRECTORY/audit.log, as systemd sets it; else "
                 "/var/log/gantry/audit.log for root, $XDG_STATE_HOME/gantry/audit.log for others"),
    FIELD("max_size", SCHEMA_SIZE, config_audit, max_size, .min = AUDIT_SIZE_MIN, .max = GIB,
          .def = "8M", .unit = "bytes", .doc = "A file that would grow beyond becomes FILE.1"),
    FIELD("keep", SCHEMA_INT, config_audit, keep, .min = 1, .max = AUDIT_KEEP_MAX, .def = "5",
          .doc = "Old files that are kept"),
};
static const struct schema audit_schema = SCHEMA(config_audit, audit_fields, .name = "Audit");
static int check_sources(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    for (size_t i = 0; i < l->count; i++) {
        const char *name = ((char **)l->items)[i];
        size_t k = 0;
        while (seal_source_names[k] != NULL && strcmp(name, seal_source_names[k]) != 0)
            k++;
        if (seal_source_names[k] == NULL)
            return err_set(e, ERR_INVALID, "\"%.100s\" is none of credential, file, keyring", name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(name, ((char **)l->items)[j]) == 0)
                return err_set(e, ERR_INVALID, "\"%.100s\" is there twice", name);
    }
    return 0;
}

static const struct schema_field state_fields[] = {
    FIELD("path", SCHEMA_STR, config_state, path, .check = check_path,
          .example = "/var/lib/gantry/state.db",
          .doc = "File of the workloads' intents; its folder is made if it is missing. Default "
                 "/var/lib/gantry/state.db, for other users than root "
                 "$XDG_STATE_HOME/gantry/state.db"),
};
static const struct schema state_schema = SCHEMA(config_state, state_fields, .name = "State");
static const struct schema_field secrets_fields[] = {
    FIELD("key_file", SCHEMA_STR, config_secrets, key_file, .check = check_path,
          .example = "/etc/gantry/secret.key",
          .doc = "File of the key that seals secrets; made when a key is needed for the first time "
                 "and none is found. Never in the folder of state.path. Default "
                 "/etc/gantry/secret.key, for other users than root "
                 "$XDG_CONFIG_HOME/gantry/secret.key"),
    FIELD("sources", SCHEMA_STR_LIST, config_secrets, sources, .max = SEAL_SOURCES,
          .check = check_sources, .def = "[credential, file, keyring]",
          .doc = "Where the key is looked for, the first that has one: \"credential\" (systemd's "
                 "gantry-secret-key), \"file\" (key_file), \"keyring\" (the kernel's key "
                 "gantry:secret-key)"),
};
static const struct schema secrets_schema =
    SCHEMA(config_secrets, secrets_fields, .name = "Secrets");
static const struct schema_field shutdown_fields[] = {
    FIELD("limit", SCHEMA_DURATION, config_shutdown, limit, .min = 0, .max = DAY_MS, .def = "10s",
          .unit = "ms", .flags = SCHEMA_RELOAD,
          .doc = "How long answers under way may take when stopping"),
};
static const struct schema shutdown_schema =
    SCHEMA(config_shutdown, shutdown_fields, .name = "Shutdown");

static const struct schema_field config_fields[] = {
    FIELD("containers", SCHEMA_MAP, config, containers, .sub = &container_schema,
          .flags = SCHEMA_RELOAD, .example = "robot", .doc = "Containers with an agent"),
    FIELD("compat", SCHEMA_ENUM, config, compat, .names = config_compat_names, .def = "none",
          .flags = SCHEMA_RELOAD,
          .doc = "talos-0.1.2: also its faulty answers about Docker containers"),
    FIELD("auth", SCHEMA_STRUCT, config, auth, .sub = &auth_schema,
          .doc = "Who may do what; tokens are made with gantry token create"),
    FIELD("cors", SCHEMA_STRUCT, config, cors, .sub = &cors_schema, .doc = "Web pages"),
    FIELD("http", SCHEMA_STRUCT, config, http, .sub = &http_schema, .doc = "HTTP server"),
    FIELD("docker", SCHEMA_STRUCT, config, docker, .sub = &docker_schema, .doc = "Docker Engine"),
    FIELD("workloads", SCHEMA_STRUCT, config, workloads, .sub = &config_workloads_schema,
          .doc = "What should run on this machine, and is kept so"),
    FIELD("compose", SCHEMA_STRUCT, config, compose, .sub = &config_compose_schema,
          .doc = "Compose projects"),
    FIELD("vm", SCHEMA_STRUCT, config, vm, .sub = &config_vm_schema, .doc = "Virtual machines"),
    FIELD("service_dependencies", SCHEMA_LIST, config, service_dependencies,
          .sub = &config_service_dependency_schema, .max = SERVICE_DEPENDENCIES_MAX,
          .flags = SCHEMA_RELOAD, .check = config_check_service_dependencies,
          .doc = "Services of containers that are not started before workloads are there"),
    FIELD("volumes", SCHEMA_STRUCT, config, volumes, .sub = &config_volumes_schema,
          .doc = "Volumes that workloads name (managed_volumes)"),
    FIELD("node", SCHEMA_STRUCT, config, node, .sub = &config_node_schema,
          .doc = "What this machine is called"),
    FIELD("grpc", SCHEMA_STRUCT, config, grpc, .sub = &config_grpc_schema,
          .doc = "gRPC for schedulers that know the Persys compute agent"),
    FIELD("vault", SCHEMA_STRUCT, config, vault, .sub = &config_vault_schema,
          .doc = "Certificates from HashiCorp Vault"),
    FIELD("control", SCHEMA_STRUCT, config, control, .sub = &config_control_schema,
          .doc = "The scheduler that this machine reports to"),
    FIELD("metrics", SCHEMA_STRUCT, config, metrics, .sub = &config_metrics_schema,
          .doc = "A port for metrics alone"),
    FIELD("traces", SCHEMA_STRUCT, config, traces, .sub = &config_traces_schema,
          .doc = "Traces for OpenTelemetry"),
    FIELD("log", SCHEMA_STRUCT, config, log, .sub = &log_schema, .doc = "Log"),
    FIELD("audit", SCHEMA_STRUCT, config, audit, .sub = &audit_schema,
          .doc = "Record of changes and refusals"),
    FIELD("state", SCHEMA_STRUCT, config, state, .sub = &state_schema,
          .doc = "What is remembered through restarts"),
    FIELD("secrets", SCHEMA_STRUCT, config, secrets, .sub = &secrets_schema,
          .doc = "How secrets of workloads are kept unreadable"),
    FIELD("shutdown", SCHEMA_STRUCT, config, shutdown, .sub = &shutdown_schema, .doc = "Stopping"),
};
const struct schema config_schema =
    SCHEMA(config, config_fields, .name = "Config", .doc = "Configuration of gantryd");

int config_load(struct config *c, const char *path, struct schema_report *r, struct err *e)
{
    memset(c, 0, sizeof(*c));
    int rc = schema_defaults(&config_schema, c, e);
    if (rc != 0 || path == NULL)
        return rc;
    struct buf text = BUF_INIT(CONFIG_MAX_BYTES);
    rc = file_read(AT_FDCWD, path, 0, &text, e);
    if (rc == 0)
        rc = schema_read_yaml(&config_schema, c, (struct slice){text.data, text.len}, r, e);
    buf_done(&text);
    return rc;
}

void config_done(struct config *c)
{
    schema_done(&config_schema, c);
    memset(c, 0, sizeof(*c));
}

const char *config_path(const char *flag)
{
    if (flag != NULL)
        return flag;
    const char *env = getenv("CONFIG_FILE");
    if (env != NULL && env[0] != '\0')
        return env;
    if (access(CONFIG_DEFAULT, F_OK) == 0)
        return CONFIG_DEFAULT;
    return access(CONFIG_SYSTEM, F_OK) == 0 ? CONFIG_SYSTEM : NULL;
}
