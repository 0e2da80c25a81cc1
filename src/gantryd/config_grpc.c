#include "gantryd/config_grpc.h"

#include "base/str.h"
#include "core/rights.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#define MIB INT64_C(1048576)

const char *const config_grpc_places[2][GRPC_TLS_FILES] = {
    {"/etc/persys/certs/agent/compute-agent.pem", "/etc/persys/certs/agent/compute-agent-key.pem",
     "/etc/persys/certs/agent/ca.pem"},
    {"/etc/persys/certs/agent.crt", "/etc/persys/certs/agent.key", "/etc/persys/certs/ca.crt"},
};

static bool all_there(const char *const files[GRPC_TLS_FILES])
{
    for (size_t i = 0; i < GRPC_TLS_FILES; i++)
        if (access(files[i], F_OK) != 0)
            return false;
    return true;
}

int config_grpc_files(const struct config_grpc_tls *t, const char *files[GRPC_TLS_FILES])
{
    const char *const named[GRPC_TLS_FILES] = {t->cert, t->key, t->ca};
    for (size_t place = 0; place < ARRAY_LEN(config_grpc_places); place++) {
        for (size_t i = 0; i < GRPC_TLS_FILES; i++)
            files[i] = named[i] != NULL ? named[i] : config_grpc_places[place][i];
        if (all_there(files))
            return (int)place;
    }
    for (size_t i = 0; i < GRPC_TLS_FILES; i++)
        files[i] = named[i] != NULL ? named[i] : config_grpc_places[0][i];
    return -1;
}

static const char *const enabled_names[] = {"auto", "true", "false", NULL};

#define FIELD(name_, type_, struct_, member_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member_), __VA_ARGS__ \
    }
#define SCHEMA(struct_, fields_, ...)                                                              \
    {                                                                                              \
        .size = sizeof(struct struct_), .fields = (fields_), .n_fields = ARRAY_LEN(fields_),       \
        __VA_ARGS__                                                                                \
    }

static int check_address(const void *member, struct err *e)
{
    const char *const *text = member;
    unsigned char bytes[16];
    if (*text == NULL || strcmp(*text, "localhost") == 0 || inet_pton(AF_INET, *text, bytes) == 1 ||
        inet_pton(AF_INET6, *text, bytes) == 1)
        return 0;
    return err_set(e, ERR_INVALID, "address \"%.100s\" is neither numeric nor localhost", *text);
}

static int check_path(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || (*text)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "path \"%.200s\" does not begin with '/'", *text);
}

static int check_role(const void *member, struct err *e)
{
    const char *const *role = member;
    if (*role == NULL || right_is_role(slice_of(*role)))
        return 0;
    return err_set(e, ERR_INVALID, "role \"%.100s\" is none of viewer, operator, admin", *role);
}

static const struct schema_field tls_fields[] = {
    FIELD("enabled", SCHEMA_BOOL, config_grpc_tls, enabled, .def = "true",
          .doc = "Mutual TLS: clients must show a certificate of tls.ca; false: plain, see "
                 "grpc.insecure"),
    FIELD("cert", SCHEMA_STR, config_grpc_tls, cert, .check = check_path,
          .example = "/etc/persys/certs/agent/compute-agent.pem",
          .doc = "Certificate chain, PEM; default as the Persys compute agent has it: "
                 "/etc/persys/certs/agent/compute-agent.pem, else /etc/persys/certs/agent.crt"),
    FIELD("key", SCHEMA_STR, config_grpc_tls, key, .check = check_path,
          .example = "/etc/persys/certs/agent/compute-agent-key.pem",
          .doc = "Private key, PEM; default beside it, compute-agent-key.pem, else agent.key"),
    FIELD("ca", SCHEMA_STR, config_grpc_tls, ca, .check = check_path,
          .example = "/etc/persys/certs/agent/ca.pem",
          .doc = "Authority of the clients' certificates, PEM; default beside it, ca.pem, else "
                 "ca.crt"),
};
static const struct schema tls_schema = SCHEMA(config_grpc_tls, tls_fields, .name = "GrpcTls");

static const struct schema_field grpc_fields[] = {
    FIELD("enabled", SCHEMA_ENUM, config_grpc, enabled, .names = enabled_names, .def = "auto",
          .doc = "Serve gRPC on a port of its own, as the Persys compute agent does; auto: when "
                 "the files of grpc.tls are there, or a PERSYS_GRPC_ or PERSYS_TLS_ variable is "
                 "set. gRPC is served on the listeners of http as well, whatever is said here"),
    FIELD("address", SCHEMA_STR, config_grpc, address, .def = "0.0.0.0", .check = check_address,
          .doc = "Numeric address to listen on"),
    FIELD("port", SCHEMA_INT, config_grpc, port, .min = 1, .max = 65535, .def = "50051",
          .doc = "TCP port"),
    FIELD("insecure", SCHEMA_BOOL, config_grpc, insecure, .def = "false",
          .doc = "Without TLS and beyond this machine: everybody who can reach the port may do "
                 "everything"),
    FIELD("tls", SCHEMA_STRUCT, config_grpc, tls, .sub = &tls_schema, .doc = "TLS files"),
    FIELD("allowed_names", SCHEMA_STR_LIST, config_grpc, allowed_names, .max = 64,
          .example = "[\"scheduler-*\"]",
          .doc = "Common names of client certificates that may come in, '*' for any run of "
                 "characters; none named: every certificate of the authority"),
    FIELD("role", SCHEMA_STR, config_grpc, role, .def = "admin", .check = check_role,
          .doc = "What a client with a certificate may do: viewer, operator or admin. As soon as "
                 "auth.certificates has rules they decide instead"),
    FIELD("version", SCHEMA_STR, config_grpc, version, .example = "1.4.0", .max = 100,
          .doc = "Version that HealthCheck tells; default: gantryd's"),
    FIELD("max_message", SCHEMA_SIZE, config_grpc, max_message, .min = 1024, .max = 64 * MIB,
          .def = "4M", .unit = "bytes", .doc = "One message of a client"),
    FIELD("max_connections", SCHEMA_INT, config_grpc, max_connections, .min = 1, .max = 1000000,
          .def = "1000", .doc = "Connections to the port"),
};
const struct schema config_grpc_schema = SCHEMA(config_grpc, grpc_fields, .name = "Grpc");

static const struct schema_field metrics_fields[] = {
    FIELD("address", SCHEMA_STR, config_metrics, address, .def = "127.0.0.1",
          .check = check_address,
          .doc = "Numeric address to listen on; nobody is asked who he is there"),
    FIELD("port", SCHEMA_INT, config_metrics, port, .min = 0, .max = 65535, .def = "0",
          .doc =
              "Port of GET /metrics and GET /health over plain HTTP; 0: none. /metrics is on the "
              "listeners of http as well"),
};
const struct schema config_metrics_schema =
    SCHEMA(config_metrics, metrics_fields, .name = "Metrics");
