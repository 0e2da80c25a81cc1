#include "gantryd/config_compose.h"

#define DAY_MS INT64_C(86400000)

#define FIELD(name_, type_, member_, ...)                                                          \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct config_compose, member_),      \
        __VA_ARGS__                                                                                \
    }

static int check_root(const void *member, struct err *e)
{
    const char *p = *(char *const *)member;
    size_t n = strlen(p);
    if (p[0] != '/' || p[1] == '\0' || strstr(p, "/../") != NULL ||
        (n >= 3 && strcmp(p + n - 3, "/..") == 0))
        return err_set(e, ERR_INVALID,
                       "\"%s\" is not a folder's absolute path without \"..\" and not /", p);
    return 0;
}

static const struct schema_field fields[] = {
    FIELD("enabled", SCHEMA_BOOL, enabled, .def = "true",
          .doc = "Run Compose projects, on the engine of docker.socket"),
    FIELD("binary", SCHEMA_STR, binary, .min = 1, .max = 1000, .example = "docker compose",
          .doc = "The Compose tool, with blanks between its words; none named: docker compose, "
                 "else docker-compose"),
    FIELD("root", SCHEMA_STR, root, .check = check_root, .def = "/var/lib/persys/compose",
          .max = 2000, .doc = "Folder of the projects' folders"),
    FIELD("timeout", SCHEMA_DURATION, timeout, .min = 1000, .max = DAY_MS, .def = "10m",
          .unit = "ms", .doc = "Bringing a project up must end in so long, pulling included"),
    FIELD("stop_timeout", SCHEMA_DURATION, stop_timeout, .min = 1000, .max = DAY_MS, .def = "5m",
          .unit = "ms",
          .doc = "Stopping or removing a project must end in so long, beside the time that its "
                 "services have to end by themselves"),
};
const struct schema config_compose_schema = {.size = sizeof(struct config_compose),
                                             .fields = fields,
                                             .n_fields = ARRAY_LEN(fields),
                                             .name = "Compose"};
