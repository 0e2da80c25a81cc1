/* sample.h: a configuration with every type of row, for the tests of the schema tables. */
#ifndef GANTRY_TEST_SAMPLE_H
#define GANTRY_TEST_SAMPLE_H

#include "base/schema.h"

#include <string.h>

struct service {
    char *id, *label;
};
struct container {
    char *name, *socket_path;
    struct schema_list services;
    bool ros2;
};
struct http {
    int64_t port, idle_ms, body_max;
    bool compress;
    struct schema_list hosts;
};
struct sample {
    struct http http;
    struct schema_list containers; /* map */
    struct schema_list listeners;
    int level;
    char *token, *note, *title;
};
struct listener {
    char *address;
    int64_t mode;
};

static int check_absolute(const void *member, struct err *e)
{
    const char *path = *(char *const *)member;
    return path[0] == '/' ? 0 : err_set(e, ERR_INVALID, "\"%s\" is not an absolute path", path);
}

#define AT(type, member) offsetof(struct type, member)

static const struct schema_field service_fields[] = {
    {"id", SCHEMA_STR, SCHEMA_REQUIRED, AT(service, id), .doc = "Name of the service."},
    {"label", SCHEMA_STR, SCHEMA_REQUIRED, AT(service, label), .doc = "What people read."},
};
static const struct schema service_schema = {
    "Service", sizeof(struct service), NULL, service_fields, 2, NULL};

static const struct schema_field container_fields[] = {
    {"name", SCHEMA_STR, SCHEMA_REQUIRED, AT(container, name)},
    {"socket_path", SCHEMA_STR, SCHEMA_REQUIRED, AT(container, socket_path),
     .check = check_absolute, .doc = "Socket of the agent."},
    {"services", SCHEMA_LIST, 0, AT(container, services), .max = 3, .sub = &service_schema},
    {"ros2", SCHEMA_ANY, SCHEMA_NOT_SERVED, AT(container, ros2)},
};
static const struct schema container_schema = {
    "Container", sizeof(struct container), "name", container_fields, 4, "A robot container."};

static const struct schema_field listener_fields[] = {
    {"address", SCHEMA_STR, SCHEMA_REQUIRED, AT(listener, address)},
    {"mode", SCHEMA_INT, 0, AT(listener, mode), .min = 0, .max = 07777, .def = "0o660"},
};
static const struct schema listener_schema = {
    "Listener", sizeof(struct listener), NULL, listener_fields, 2, NULL};

static const struct schema_field http_fields[] = {
    {"port", SCHEMA_INT, 0, AT(http, port), .min = 1, .max = 65535, .def = "8081",
     .doc = "TCP port."},
    {"idle", SCHEMA_DURATION, SCHEMA_RELOAD, AT(http, idle_ms), .min = 100, .max = 3600000,
     .def = "90s", .doc = "Connections without a request are closed."},
    {"body_max", SCHEMA_SIZE, 0, AT(http, body_max), .def = "8M"},
    {"compress", SCHEMA_BOOL, 0, AT(http, compress), .def = "true"},
    {"hosts", SCHEMA_STR_LIST, 0, AT(http, hosts), .def = "[\"localhost\", robot]"},
};
static const struct schema http_schema = {"Http", sizeof(struct http), NULL, http_fields, 5, NULL};

static const char *const level_names[] = {"error", "info", "off", NULL};
static const struct schema_field sample_fields[] = {
    {"http", SCHEMA_STRUCT, 0, AT(sample, http), .sub = &http_schema, .doc = "The HTTP server."},
    {"containers", SCHEMA_MAP, 0, AT(sample, containers), .sub = &container_schema},
    {"listeners", SCHEMA_LIST, SCHEMA_NULLABLE, AT(sample, listeners), .min = 1,
     .sub = &listener_schema},
    {"level", SCHEMA_ENUM, 0, AT(sample, level), .def = "info", .names = level_names},
    {"token", SCHEMA_STR, SCHEMA_SECRET, AT(sample, token)},
    {"note", SCHEMA_STR, SCHEMA_NULLABLE, AT(sample, note)},
    {"title", SCHEMA_STR, 0, AT(sample, title), .def = "\"a: title\""},
};
static const struct schema sample_schema = {"Sample", sizeof(struct sample),   NULL, sample_fields,
                                            7,        "A sample of every row."};

static const char sample_text[] = "# a comment\n"
                                  "http:\n"
                                  "  port: 0x1F90\n"
                                  "  idle: 5s\n"
                                  "  body_max: 64k\n"
                                  "  compress: false\n"
                                  "  hosts: [a, \"b\", '7']\n"
                                  "containers:\n"
                                  "  ai_worker:\n"
                                  "    socket_path: /run/a.sock\n"
                                  "    services:\n"
                                  "    - {id: \"ticker\", label: The ticker}\n"
                                  "    - id: x\n"
                                  "      label: |\n"
                                  "        two\n"
                                  "        lines\n"
                                  "    ros2: &r {domain_id: 30, topics: {/a: [1, *r]}}\n"
                                  "  \"other one\": {socket_path: /run/b.sock}\n"
                                  "listeners:\n"
                                  "- address: 127.0.0.1\n"
                                  "- address: !!str 5\n"
                                  "  mode: 0o600\n"
                                  "level: off\n"
                                  "token: s3cret\n"
                                  "note: ~\n";

#endif
