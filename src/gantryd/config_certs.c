#include "gantryd/config_certs.h"

#include "base/str.h"
#include "net/cert.h"
#include "net/url.h"

#include <string.h>

#define DAY_MS INT64_C(86400000)

static const char *const auth_names[] = {"approle", "token", NULL}; /* enum vault_auth */

#define FIELD(name_, type_, struct_, member_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member_), __VA_ARGS__ \
    }
#define SCHEMA(struct_, fields_, ...)                                                              \
    {                                                                                              \
        .size = sizeof(struct struct_), .fields = (fields_), .n_fields = ARRAY_LEN(fields_),       \
        __VA_ARGS__                                                                                \
    }

static int check_path(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || (*text)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "path \"%.200s\" does not begin with '/'", *text);
}

/* Part of a path of Vault's API. */
static int check_segment(const void *member, struct err *e)
{
    const char *const *text = member;
    for (const char *p = *text != NULL ? *text : "x"; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              (strchr("-_./", *p) != NULL && p != *text)))
            return err_set(e, ERR_INVALID,
                           "\"%.100s\" is more than letters, digits, '-', '_', '.' and '/'", *text);
    if (*text != NULL && ((*text)[0] == '\0' || strstr(*text, "..") != NULL))
        return err_set(e, ERR_INVALID, "\"%.100s\" cannot be a name in Vault", *text);
    return 0;
}

static int check_name(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || cert_is_host(*text))
        return 0;
    return err_set(e, ERR_INVALID, "\"%.100s\" cannot be a name in a certificate", *text);
}

static int check_header(const void *member, struct err *e)
{
    const char *const *text = member;
    for (const char *p = *text != NULL ? *text : ""; *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return err_set(e, ERR_INVALID, "\"%.100s\" is not of visible ASCII characters", *text);
    return 0;
}

static const struct schema_field vault_fields[] = {
    FIELD("enabled", SCHEMA_BOOL, config_vault, enabled, .def = "false",
          .doc = "Get the certificate of the gRPC port from HashiCorp Vault, into the files of "
                 "grpc.tls, and a new one at 80 % of its lifetime"),
    FIELD("address", SCHEMA_STR, config_vault, address, .def = "http://localhost:8200",
          .doc = "Where Vault is: http or https"),
    FIELD("auth", SCHEMA_ENUM, config_vault, auth, .names = auth_names, .def = "approle",
          .doc = "How to log in"),
    FIELD("token", SCHEMA_STR, config_vault, token, .flags = SCHEMA_SECRET | SCHEMA_PLAIN,
          .doc = "For auth: token. Better in token_file or PERSYS_VAULT_TOKEN"),
    FIELD("token_file", SCHEMA_STR, config_vault, token_file, .check = check_path,
          .example = "/etc/gantry/vault.token", .doc = "File with the token"),
    FIELD("role_id", SCHEMA_STR, config_vault, role_id, .flags = SCHEMA_PLAIN,
          .example = "c7a6ad2c-0a3f-4d9e-9f0d-7a7e9d6f2b11", .doc = "For auth: approle"),
    FIELD("secret_id", SCHEMA_STR, config_vault, secret_id, .flags = SCHEMA_SECRET | SCHEMA_PLAIN,
          .doc = "For auth: approle. Better in secret_id_file or PERSYS_VAULT_APPROLE_SECRET_ID"),
    FIELD("secret_id_file", SCHEMA_STR, config_vault, secret_id_file, .check = check_path,
          .example = "/etc/gantry/vault.secret-id", .doc = "File with the secret_id"),
    FIELD("mount", SCHEMA_STR, config_vault, mount, .def = "pki", .min = 1, .max = 200,
          .check = check_segment, .doc = "Where its PKI secrets engine is mounted"),
    FIELD("role", SCHEMA_STR, config_vault, role, .def = "compute-agent", .min = 1, .max = 200,
          .check = check_segment, .doc = "Role of that engine"),
    FIELD("ttl", SCHEMA_DURATION, config_vault, ttl, .min = 1000, .max = 3650 * DAY_MS,
          .def = "24h", .unit = "ms", .doc = "Lifetime to ask for"),
    FIELD("retry_interval", SCHEMA_DURATION, config_vault, retry_interval, .min = 1000,
          .max = DAY_MS, .def = "2m", .unit = "ms",
          .doc = "Between tries as long as Vault gives no certificate; at least 30 s while the "
                 "present one is good"),
    FIELD("service_name", SCHEMA_STR, config_vault, service_name, .def = "compute-agent", .min = 1,
          .max = 64, .check = check_name, .doc = "Common name to ask for"),
    FIELD("service_domain", SCHEMA_STR, config_vault, service_domain, .max = 180,
          .check = check_name, .example = "nodes.example",
          .doc = "Domain in which service_name and the host are named, too"),
    FIELD("ca_file", SCHEMA_STR, config_vault, ca_file, .check = check_path,
          .example = "/etc/gantry/vault-ca.pem",
          .doc = "Whom to trust for https; default: the system's authorities"),
    FIELD("namespace", SCHEMA_STR, config_vault, name_space, .max = 200, .check = check_header,
          .example = "team-a", .doc = "Namespace of Vault"),
};
const struct schema config_vault_schema = SCHEMA(config_vault, vault_fields, .name = "Vault");

static int check_endpoint(const void *member, struct err *e)
{
    const char *const *text = member;
    struct url u = {0};
    int rc = *text != NULL ? url_parse(&u, *text, true, e) : 0;
    url_done(&u);
    return rc;
}

static const struct schema_field traces_fields[] = {
    FIELD("endpoint", SCHEMA_STR, config_traces, endpoint, .flags = SCHEMA_RELOAD,
          .check = check_endpoint, .example = "http://localhost:4318",
          .doc = "Collector of OpenTelemetry traces, by OTLP over HTTP (protobuf): http, https, or "
                 "host:port; without a path /v1/traces. Default: no traces"),
    FIELD("service_name", SCHEMA_STR, config_traces, service_name, .def = "compute-agent",
          .flags = SCHEMA_RELOAD, .min = 1, .max = 200, .doc = "service.name of the traces"),
    FIELD("sample", SCHEMA_INT, config_traces, sample, .def = "100", .flags = SCHEMA_RELOAD,
          .min = 0, .max = 100,
          .doc = "Percent of requests that are traced if the caller does not say; what he says in "
                 "traceparent counts"),
};
const struct schema config_traces_schema = SCHEMA(config_traces, traces_fields, .name = "Traces");
