#include "gantryd/config_control.h"

#include "api/control/endpoint.h"

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
    struct control_address a;
    return *text == NULL ? 0 : control_address_parse(*text, &a, e);
}

static const struct schema_field control_fields[] = {
    FIELD("enabled", SCHEMA_ENUM, config_control, enabled, .names = enabled_names, .def = "auto",
          .doc = "Report to a scheduler; auto: when control.address, PERSYS_SCHEDULER_ADDR or "
                 "PERSYS_SCHEDULER_INSECURE is set. The flag --standalone says false"),
    FIELD("address", SCHEMA_STR, config_control, address, .check = check_address,
          .example = "scheduler.example.org:8085",
          .doc = "The scheduler, HOST:PORT; default " CONFIG_CONTROL_ADDRESS),
    FIELD("insecure", SCHEMA_BOOL, config_control, insecure, .def = "false",
          .doc = "Without TLS; else with the files of grpc.tls, read anew for each connection"),
    FIELD("endpoint", SCHEMA_STR, config_control, endpoint, .check = check_address,
          .example = "10.0.0.7:50051",
          .doc =
              "HOST:PORT under which the scheduler finds this node's gRPC; default: grpc.address "
              "and grpc.port, and where that is every address, the one towards the scheduler"),
    FIELD("cluster_id", SCHEMA_STR, config_control, cluster_id, .max = 256, .example = "site-1",
          .doc = "Told to the scheduler as it is; default: none"),
    FIELD("refuse_when_draining", SCHEMA_BOOL, config_control, refuse_when_draining, .def = "false",
          .doc = "Take no new workloads from anybody while the scheduler has this node drained; "
                 "those that are there stay. Schedulers also say so while they have trouble "
                 "themselves"),
};
const struct schema config_control_schema =
    SCHEMA(config_control, control_fields, .name = "Control");
