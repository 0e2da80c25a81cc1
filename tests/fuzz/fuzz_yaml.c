/* Configuration: any text is read or refused with faults whose places are inside the text; what was
 * read is written as YAML and read again without a fault, with the same values. */
#include "base/mem.h"
#include "base/schema.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct service {
    char *id, *label;
};
struct container {
    char *name, *socket_path;
    struct schema_list services, tags;
    bool ros2;
};
struct http {
    int64_t port, idle_ms, body_max;
    bool compress;
    struct schema_list hosts;
};
struct config {
    struct http http;
    struct schema_list containers, listeners;
    int level;
    char *note;
};

#define AT(type, member) offsetof(struct type, member)

static const struct schema_field service_fields[] = {
    {"id", SCHEMA_STR, SCHEMA_REQUIRED, AT(service, id)},
    {"label", SCHEMA_STR, SCHEMA_REQUIRED, AT(service, label)},
};
static const struct schema service = {"Service", sizeof(struct service), NULL, service_fields, 2,
                                      NULL};

static const struct schema_field container_fields[] = {
    {"name", SCHEMA_STR, 0, AT(container, name)},
    {"socket_path", SCHEMA_STR, 0, AT(container, socket_path), .def = "/run/agent.sock"},
    {"services", SCHEMA_LIST, 0, AT(container, services), .sub = &service},
    {"tags", SCHEMA_STR_LIST, SCHEMA_NULLABLE, AT(container, tags), .max = 4},
    {"ros2", SCHEMA_ANY, SCHEMA_NOT_SERVED, AT(container, ros2)},
};
static const struct schema container = {
    "Container", sizeof(struct container), "name", container_fields, 5, NULL};

static const struct schema_field http_fields[] = {
    {"port", SCHEMA_INT, 0, AT(http, port), .min = 1, .max = 65535, .def = "8081"},
    {"idle", SCHEMA_DURATION, 0, AT(http, idle_ms), .def = "90s"},
    {"body_max", SCHEMA_SIZE, 0, AT(http, body_max), .def = "8M"},
    {"compress", SCHEMA_BOOL, 0, AT(http, compress)},
    {"hosts", SCHEMA_STR_LIST, 0, AT(http, hosts), .def = "[localhost]"},
};
static const struct schema http = {"Http", sizeof(struct http), NULL, http_fields, 5, NULL};

static const char *const levels[] = {"error", "info", "off", NULL};
static const struct schema_field config_fields[] = {
    {"http", SCHEMA_STRUCT, 0, AT(config, http), .sub = &http},
    {"containers", SCHEMA_MAP, 0, AT(config, containers), .sub = &container},
    {"listeners", SCHEMA_LIST, SCHEMA_NULLABLE, AT(config, listeners), .sub = &service},
    {"level", SCHEMA_ENUM, 0, AT(config, level), .names = levels},
    {"note", SCHEMA_STR, SCHEMA_NULLABLE, AT(config, note)},
};
static const struct schema config = {"Config", sizeof(struct config), NULL, config_fields, 5, NULL};

static void check_faults(const struct schema_report *r, size_t size)
{
    size_t errors = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct schema_fault *f = &r->faults[i];
        INVARIANT(f->line >= 1 && (size_t)f->line <= size + 1);
        INVARIANT(f->column >= 1 && (size_t)f->column <= size + 2);
        INVARIANT(f->msg[0] != '\0' && utf8_valid(f->msg, strlen(f->msg)));
        INVARIANT(strpbrk(f->msg, "\n\x1B") == NULL);
        errors += !f->warning;
    }
    INVARIANT(errors == r->errors);
}

static void check_round_trip(const struct config *c)
{
    struct buf yaml = BUF_INIT(1u << 20), one = BUF_INIT(SIZE_MAX / 4),
               two = BUF_INIT(SIZE_MAX / 4);
    struct config again;
    struct schema_report r;
    struct json_out j;
    if (schema_write_yaml(&config, c, &yaml) == 0) {
        INVARIANT(schema_defaults(&config, &again, NULL) == 0);
        INVARIANT(
            schema_read_yaml(&config, &again, (struct slice){yaml.data, yaml.len}, &r, NULL) == 0);
        json_begin(&j, &one);
        schema_write_json(&config, c, &j);
        json_begin(&j, &two);
        schema_write_json(&config, &again, &j);
        INVARIANT(slice_eq((struct slice){one.data, one.len}, (struct slice){two.data, two.len}));
        schema_report_done(&r);
        schema_done(&config, &again);
    }
    buf_done(&yaml);
    buf_done(&one);
    buf_done(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    struct schema_report r;
    struct err e = {0};
    INVARIANT(schema_defaults(&config, &c, &e) == 0);
    int result = schema_read_yaml(&config, &c, (struct slice){(const char *)data, size}, &r, &e);
    INVARIANT((result == 0) == (r.errors == 0));
    INVARIANT(result == 0 || e.code == result);
    check_faults(&r, size);
    if (result == 0)
        check_round_trip(&c);
    schema_report_done(&r);
    schema_done(&config, &c);
    return 0;
}
