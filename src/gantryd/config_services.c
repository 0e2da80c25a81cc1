#include "gantryd/config_services.h"

#include "base/str.h"
#include "core/workload_doc.h"

#include <string.h>

#define FIELD(name_, type_, member_, ...)                                                          \
    {                                                                                              \
        .name = (name_), .type = (type_),                                                          \
        .offset = offsetof(struct config_service_dependency, member_), __VA_ARGS__                 \
    }

static int check_name(const void *member, struct err *e)
{
    const char *const *text = member;
    if (*text == NULL || name_is_safe(slice_of(*text), 255))
        return 0;
    return err_set(e, ERR_INVALID, "\"%.100s\" is not the name of a service", *text);
}

static int check_needs(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_depends *d = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; d[i].id != NULL && k < l->count; k++)
            if (d[k].id != NULL && strcmp(d[i].id, d[k].id) == 0)
                return err_set(e, ERR_INVALID, "\"%s\" is there twice", d[k].id);
    return 0;
}

int config_check_service_dependencies(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct config_service_dependency *d = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; d[i].container != NULL && d[i].service != NULL && k < l->count; k++)
            if (d[k].container != NULL && d[k].service != NULL &&
                strcmp(d[i].container, d[k].container) == 0 &&
                strcmp(d[i].service, d[k].service) == 0)
                return err_set(e, ERR_INVALID, "service \"%.100s\" of \"%.100s\" is there twice",
                               d[k].service, d[k].container);
    return 0;
}

static const char *const desires[] = {"running", "stopped", NULL};
static const struct schema_field fields[] = {
    FIELD("container", SCHEMA_STR, container, .flags = SCHEMA_REQUIRED,
          .doc = "A container of `containers`", .example = "robot"),
    FIELD("service", SCHEMA_STR, service, .flags = SCHEMA_REQUIRED, .check = check_name,
          .doc = "A service in it; with a file `down` in its service directory, or its supervisor "
                 "starts it with the container",
          .example = "talker"),
    FIELD("depends_on", SCHEMA_LIST, depends_on, .flags = SCHEMA_REQUIRED,
          .sub = &doc_depends_schema, .min = 1, .max = DOC_DEPENDS_MAX, .check = check_needs,
          .doc = "Workloads that it needs before it is started; it stays up when they go later",
          .example = "[{id: db, condition: healthy}]"),
    FIELD("desired_state", SCHEMA_ENUM, desired_state, .names = desires, .def = "running",
          .doc = "running: it is started as soon as its needs are met; stopped: only when somebody "
                 "starts it, which is refused until then"),
};
const struct schema config_service_dependency_schema = {
    .name = "ServiceDependency",
    .size = sizeof(struct config_service_dependency),
    .fields = fields,
    .n_fields = ARRAY_LEN(fields),
};
