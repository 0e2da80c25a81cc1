/* The OpenAPI 3.1 document, from the route table and the members listed here. */
#include "api/rest/rest_priv.h"

#include <stdio.h>
#include <string.h>

enum field_type { F_STR, F_INT, F_BOOL, F_ANY, F_LIST, F_LOC };
enum { F_NULLABLE = 1, F_OPTIONAL = 2 };
struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    const char *ref;           /* LIST: the schema of its items */
    const char *const *values; /* STR: what it may be, NULL-terminated; or NULL */
};
struct component {
    const char *name;
    const struct field *fields;
    size_t n;
};

#define STR(n)                                                                                     \
    {                                                                                              \
        (n), F_STR, 0, NULL, NULL                                                                  \
    }
#define INT(n)                                                                                     \
    {                                                                                              \
        (n), F_INT, 0, NULL, NULL                                                                  \
    }
#define BOOL(n)                                                                                    \
    {                                                                                              \
        (n), F_BOOL, 0, NULL, NULL                                                                 \
    }
#define ANY(n)                                                                                     \
    {                                                                                              \
        (n), F_ANY, F_OPTIONAL, NULL, NULL                                                         \
    }
#define STR_NULL(n)                                                                                \
    {                                                                                              \
        (n), F_STR, F_NULLABLE | F_OPTIONAL, NULL, NULL                                            \
    }
#define INT_NULL(n)                                                                                \
    {                                                                                              \
        (n), F_INT, F_NULLABLE | F_OPTIONAL, NULL, NULL                                            \
    }
#define LIST(n, of)                                                                                \
    {                                                                                              \
        (n), F_LIST, 0, (of), NULL                                                                 \
    }
#define ENUM(n, values)                                                                            \
    {                                                                                              \
        (n), F_STR, 0, NULL, (values)                                                              \
    }

static const struct field container_info[] = {STR("name"), STR("socket_path")};
static const struct field container_list[] = {LIST("containers", "ContainerInfo")};
static const struct field docker_request[] = {ENUM("action", rest_docker_actions),
                                              INT_NULL("timeout")};
static const struct field docker_response[] = {STR("name"), STR("action"), STR("result")};
static const struct field docker_info[] = {STR("id"), STR("name"), STR("status"), STR("image"),
                                           STR("created")};
static const struct field docker_list[] = {LIST("containers", "DockerContainerInfo")};
static const struct field docker_logs[] = {STR("container"), STR("logs"), INT("tail")};
static const struct field docker_status[] = {STR("id"),
                                             STR("name"),
                                             STR("status"),
                                             STR("state"),
                                             BOOL("running"),
                                             BOOL("restarting"),
                                             BOOL("paused"),
                                             STR("image"),
                                             STR("created"),
                                             STR_NULL("started_at"),
                                             STR_NULL("finished_at"),
                                             INT_NULL("exit_code")};
static const struct field error_response[] = {STR("error"), ANY("detail")};
static const struct field http_error[] = {{"detail", F_LIST, F_OPTIONAL, "ValidationError", NULL}};
static const struct field topic_data[] = {STR("container"), STR("topic"),      STR("msg_type"),
                                          ANY("data"),      BOOL("available"), INT("domain_id")};
static const struct field topic_status[] = {STR("topic"), STR("msg_type"), BOOL("configured"),
                                            BOOL("available"), BOOL("subscribed")};
static const struct field topic_list[] = {STR("container"), INT("domain_id"),
                                          LIST("topics", "ROS2TopicStatus")};
static const struct field action_request[] = {ENUM("action", rest_service_actions)};
static const struct field control_response[] = {STR("container"), STR("service"), STR("action"),
                                                STR("result")};
static const struct field service_info[] = {STR("id"), STR("label")};
static const struct field service_list[] = {STR("container"), LIST("services", "ServiceInfo")};
static const struct field logs_clear[] = {STR("container"), STR("service"), STR("message"),
                                          STR_NULL("log_path")};
static const struct field logs_response[] = {STR("container"), STR("service"), STR("logs"),
                                             INT("tail"), STR_NULL("log_path")};
static const struct field run_response[] = {STR("container"), STR("service"), STR("path"),
                                            STR("content")};
static const struct field run_request[] = {STR("content")};
static const struct field status_list[] = {STR("container"),
                                           LIST("statuses", "ServiceStatusResponse")};
static const struct field status_response[] = {
    STR("container"), STR("service"), STR_NULL("service_label"), STR("name"),
    STR("raw"),       BOOL("is_up"),  INT_NULL("pid"),           INT_NULL("uptime_seconds")};
static const struct field validation_error[] = {
    {"loc", F_LOC, 0, NULL, NULL}, STR("msg"), STR("type")};

#define COMPONENT(name_, fields_)                                                                  \
    {                                                                                              \
        (name_), (fields_), ARRAY_LEN(fields_)                                                     \
    }
static const struct component components[] = {
    COMPONENT("ContainerInfo", container_info),
    COMPONENT("ContainerListResponse", container_list),
    COMPONENT("DockerContainerActionRequest", docker_request),
    COMPONENT("DockerContainerActionResponse", docker_response),
    COMPONENT("DockerContainerInfo", docker_info),
    COMPONENT("DockerContainerListResponse", docker_list),
    COMPONENT("DockerContainerLogsResponse", docker_logs),
    COMPONENT("DockerContainerStatus", docker_status),
    COMPONENT("ErrorResponse", error_response),
    COMPONENT("HTTPValidationError", http_error),
    COMPONENT("ROS2TopicDataResponse", topic_data),
    COMPONENT("ROS2TopicStatus", topic_status),
    COMPONENT("ROS2TopicsListResponse", topic_list),
    COMPONENT("ServiceActionRequest", action_request),
    COMPONENT("ServiceControlResponse", control_response),
    COMPONENT("ServiceInfo", service_info),
    COMPONENT("ServiceListResponse", service_list),
    COMPONENT("ServiceLogsClearResponse", logs_clear),
    COMPONENT("ServiceLogsResponse", logs_response),
    COMPONENT("ServiceRunScriptResponse", run_response),
    COMPONENT("ServiceRunScriptUpdateRequest", run_request),
    COMPONENT("ServiceStatusListResponse", status_list),
    COMPONENT("ServiceStatusResponse", status_response),
    COMPONENT("ValidationError", validation_error),
};

static void write_ref(struct json_out *j, const char *name)
{
    char ref[128];
    snprintf(ref, sizeof(ref), "#/components/schemas/%s", name);
    json_obj(j);
    json_kstr(j, "$ref", ref);
    json_end_obj(j);
}

static const char *type_name(enum field_type t)
{
    return t == F_STR ? "string" : t == F_INT ? "integer" : t == F_BOOL ? "boolean" : "array";
}

static void write_names(struct json_out *j, const char *const *names)
{
    json_key(j, "enum");
    json_arr(j);
    for (size_t i = 0; names[i] != NULL; i++)
        json_cstr(j, names[i]);
    json_end_arr(j);
}

static void write_field(struct json_out *j, const struct field *f)
{
    json_obj(j);
    if (f->type != F_ANY) {
        json_key(j, "type");
        if (f->flags & F_NULLABLE) {
            json_arr(j);
            json_cstr(j, type_name(f->type));
            json_cstr(j, "null");
            json_end_arr(j);
        } else {
            json_cstr(j, type_name(f->type));
        }
    }
    if (f->type == F_LIST) {
        json_key(j, "items");
        write_ref(j, f->ref);
    } else if (f->type == F_LOC) {
        json_key(j, "items");
        json_raw(j, SLICE_LIT("{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}"));
    }
    if (f->values != NULL)
        write_names(j, f->values);
    json_kstr(j, "title", f->name);
    json_end_obj(j);
}

static void write_component(struct json_out *j, const struct component *c)
{
    json_key(j, c->name);
    json_obj(j);
    json_key(j, "properties");
    json_obj(j);
    for (size_t i = 0; i < c->n; i++) {
        json_key(j, c->fields[i].name);
        write_field(j, &c->fields[i]);
    }
    json_end_obj(j);
    json_kstr(j, "type", "object");
    bool any = false;
    for (size_t i = 0; i < c->n; i++)
        any = any || !(c->fields[i].flags & F_OPTIONAL);
    if (any) {
        json_key(j, "required");
        json_arr(j);
        for (size_t i = 0; i < c->n; i++) {
            if (!(c->fields[i].flags & F_OPTIONAL))
                json_cstr(j, c->fields[i].name);
        }
        json_end_arr(j);
    }
    json_kstr(j, "title", c->name);
    json_end_obj(j);
}

static void write_path_params(struct json_out *j, const char *path)
{
    for (const char *p = path; (p = strchr(p, '{')) != NULL; p++) {
        size_t n = strcspn(p + 1, ":}");
        json_obj(j);
        json_kslice(j, "name", (struct slice){p + 1, n});
        json_kstr(j, "in", "path");
        json_kbool(j, "required", true);
        json_key(j, "schema");
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
        json_end_obj(j);
    }
}

static void write_query_param(struct json_out *j, const struct api_param *p)
{
    static const char *const types[] = {"string", "integer", "boolean", "string"};
    json_obj(j);
    json_kstr(j, "name", p->name);
    json_kstr(j, "in", "query");
    json_kbool(j, "required", p->required);
    if (p->doc != NULL)
        json_kstr(j, "description", p->doc);
    json_key(j, "schema");
    json_obj(j);
    json_kstr(j, "type", types[p->type]);
    if (p->type == API_INT)
        json_kint(j, "default", p->def);
    else if (p->type == API_BOOL)
        json_kbool(j, "default", p->def != 0);
    json_kstr(j, "title", p->name);
    json_end_obj(j);
    json_end_obj(j);
}

static void write_content(struct json_out *j, const char *schema)
{
    json_key(j, "content");
    json_obj(j);
    json_key(j, "application/json");
    json_obj(j);
    json_key(j, "schema");
    if (schema != NULL) {
        write_ref(j, schema);
    } else {
        json_obj(j);
        json_end_obj(j);
    }
    json_end_obj(j);
    json_end_obj(j);
}

static void write_response(struct json_out *j, const char *status, const char *text,
                           const char *schema)
{
    json_key(j, status);
    json_obj(j);
    json_kstr(j, "description", text);
    write_content(j, schema);
    json_end_obj(j);
}

static void write_operation(struct json_out *j, const struct api_route *r)
{
    static const char *const methods[] = {[HTTP_METHOD_GET] = "get",
                                          [HTTP_METHOD_POST] = "post",
                                          [HTTP_METHOD_PUT] = "put",
                                          [HTTP_METHOD_DELETE] = "delete",
                                          [HTTP_METHOD_PATCH] = "patch"};
    bool params = strchr(r->path, '{') != NULL || r->n_query > 0;
    json_key(j, methods[r->method]);
    json_obj(j);
    json_key(j, "tags");
    json_arr(j);
    json_cstr(j, r->tag);
    json_end_arr(j);
    json_kstr(j, "summary", r->summary);
    json_kstr(j, "operationId", r->operation_id);
    if (params) {
        json_key(j, "parameters");
        json_arr(j);
        write_path_params(j, r->path);
        for (size_t i = 0; i < r->n_query; i++)
            write_query_param(j, &r->query[i]);
        json_end_arr(j);
    }
    if (r->body_schema != NULL) {
        json_key(j, "requestBody");
        json_obj(j);
        json_kbool(j, "required", true);
        write_content(j, r->body_schema);
        json_end_obj(j);
    }
    json_key(j, "responses");
    json_obj(j);
    write_response(j, "200", "Successful Response", r->answer_schema);
    if (params || r->body_schema != NULL) {
        write_response(j, "404", "No such container", "ErrorResponse");
        write_response(j, "422", "Validation Error", "HTTPValidationError");
        write_response(j, "503", "The agent or the engine cannot do it now", "ErrorResponse");
    }
    json_end_obj(j);
    json_end_obj(j);
}

/* "{topic:path}" is "{topic}" here. */
static void path_key(char *out, size_t size, const char *path)
{
    size_t n = 0;
    bool skip = false;
    for (; *path != '\0' && n + 1 < size; path++) {
        skip = *path == ':' || (skip && *path != '}');
        if (!skip)
            out[n++] = *path;
    }
    out[n] = '\0';
}

static void write_paths(struct json_out *j, const struct api_route *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool seen = rows[i].tag == NULL; /* the documentation itself is left out */
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(rows[k].path, rows[i].path) == 0;
        if (seen)
            continue;
        char key[256];
        path_key(key, sizeof(key), rows[i].path);
        json_key(j, key);
        json_obj(j);
        for (size_t k = i; k < n; k++) {
            if (strcmp(rows[k].path, rows[i].path) == 0)
                write_operation(j, &rows[k]);
        }
        json_end_obj(j);
    }
}

int rest_openapi_write(struct buf *out, const struct api_route *rows, size_t n)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "openapi", "3.1.0");
    json_key(&j, "info");
    json_obj(&j);
    json_kstr(&j, "title", "Gantry API");
    json_kstr(&j, "description", "Everything that runs on this machine, behind one API");
    json_kstr(&j, "version", GANTRY_VERSION);
    json_end_obj(&j);
    json_key(&j, "paths");
    json_obj(&j);
    write_paths(&j, rows, n);
    json_end_obj(&j);
    json_key(&j, "components");
    json_obj(&j);
    json_key(&j, "schemas");
    json_obj(&j);
    for (size_t i = 0; i < ARRAY_LEN(components); i++)
        write_component(&j, &components[i]);
    json_end_obj(&j);
    json_end_obj(&j);
    json_end_obj(&j);
    return out->err;
}
