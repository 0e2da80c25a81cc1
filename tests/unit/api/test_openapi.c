/* The table of calls and what the document says of it: nothing may be missing, nothing left over.
 */
#include "../base/unit.h"

#include "api/rest/answers.h"
#include "api/rest/rest_priv.h"

#include <stdio.h>
#include <string.h>

static const struct api_route *rows;
static size_t n_rows;
static struct buf text = {.max = REST_MAX_OPENAPI};
static json_t *doc; /* of it */

static int setup(void **state)
{
    (void)state;
    rows = rest_routes(&n_rows);
    assert_int_equal(rest_openapi_write(&text, rows, n_rows), 0);
    doc = json_parse((struct slice){text.data, text.len}, NULL, NULL);
    assert_non_null(doc);
    /* Swagger UI reads it as YAML, which has no key twice. */
    json_t *strict = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(strict);
    json_decref(strict);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(doc);
    buf_done(&text);
    return 0;
}

static json_t *at(json_t *o, const char *a, const char *b)
{
    return json_object_get(json_object_get(o, a), b);
}

/* Follows {"$ref": "#/components/ROOM/NAME"}. */
static json_t *deref(json_t *o)
{
    const char *ref = json_get_str(o, "$ref");
    static const char start[] = "#/components/";
    if (ref == NULL)
        return o;
    assert_memory_equal(ref, start, sizeof(start) - 1);
    ref += sizeof(start) - 1;
    char room[32];
    size_t len = strcspn(ref, "/");
    snprintf(room, sizeof(room), "%.*s", (int)len, ref);
    json_t *to = at(json_object_get(doc, "components"), room, ref + len + 1);
    if (to == NULL)
        fail_msg("no %s", ref);
    return to;
}

static const char *const methods[] = {[HTTP_METHOD_GET] = "get",
                                      [HTTP_METHOD_POST] = "post",
                                      [HTTP_METHOD_PUT] = "put",
                                      [HTTP_METHOD_DELETE] = "delete",
                                      [HTTP_METHOD_PATCH] = "patch"};

static json_t *operation_of(const struct api_route *r)
{
    char path[256];
    size_t n = 0;
    for (const char *p = r->path; *p != '\0'; p++) {
        if (*p == ':')
            p += strcspn(p, "}");
        path[n++] = *p;
    }
    path[n] = '\0';
    return at(json_object_get(doc, "paths"), path, methods[r->method]);
}

static bool has_text(const char *s)
{
    return s != NULL && s[0] != '\0';
}

static void every_row_is_complete(void **state)
{
    (void)state;
    size_t n_tags;
    const struct answer_tag *tags = answer_tags(&n_tags);
    for (size_t i = 0; i < n_rows; i++) {
        const struct api_route *r = &rows[i];
        bool known = false;
        if (!has_text(r->summary) || !has_text(r->operation_id) || !has_text(r->tag))
            fail_msg("%s: a summary, an operation id and a tag are needed", r->path);
        for (size_t k = 0; k < n_tags; k++)
            known = known || strcmp(tags[k].name, r->tag) == 0;
        if (!known)
            fail_msg("%s: tag \"%s\" is not in answers.c", r->path, r->tag);
        if (r->verb == RIGHT_NONE || !has_text(r->kind))
            fail_msg("%s: no right", r->path);
        if ((r->answer_schema == NULL) == (r->answer_type == NULL))
            fail_msg("%s: either a schema or a media type of the answer", r->path);
        if (r->answer_schema != NULL && answer_schema_find(r->answer_schema) == NULL)
            fail_msg("%s: schema \"%s\" is not in answers.c", r->path, r->answer_schema);
        if ((r->body == NULL && r->body_raw == NULL) != (r->body_schema == NULL))
            fail_msg("%s: a body and its schema's name go together", r->path);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(rows[k].operation_id, r->operation_id) == 0)
                fail_msg("operation id %s is there twice", r->operation_id);
        }
    }
}

static void every_parameter_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        const struct api_route *r = &rows[i];
        for (const char *p = r->path; (p = strchr(p, '{')) != NULL; p++) {
            size_t n = strcspn(p + 1, ":}");
            if (answer_path_param_find(p + 1, n, r->kind) == NULL)
                fail_msg("%s: path parameter \"%.*s\" is not in answers.c", r->path, (int)n, p + 1);
        }
        for (size_t k = 0; k < r->n_query; k++) {
            if (!has_text(r->query[k].doc))
                fail_msg("%s: parameter %s has no text", r->path, r->query[k].name);
        }
        for (size_t k = 0; k < r->n_body; k++) {
            if (!has_text(r->body[k].doc))
                fail_msg("%s: member %s has no text", r->path, r->body[k].name);
        }
        for (size_t k = 0; k < ARRAY_LEN(r->statuses) && r->statuses[k] != 0; k++) {
            if (r->statuses[k] >= 300 && answer_status_find(r->statuses[k]) == NULL)
                fail_msg("%s: status %d is not in answers.c", r->path, r->statuses[k]);
        }
    }
}

static void every_row_is_in_the_document(void **state)
{
    (void)state;
    size_t n = 0;
    const char *path, *method;
    json_t *item, *op;
    for (size_t i = 0; i < n_rows; i++) {
        char right[64];
        op = operation_of(&rows[i]);
        if (op == NULL)
            fail_msg("%s %s is missing", methods[rows[i].method], rows[i].path);
        assert_string_equal(json_get_str(op, "operationId"), rows[i].operation_id);
        snprintf(right, sizeof(right), "%s %s", right_verb_name(rows[i].verb), rows[i].kind);
        assert_string_equal(json_get_str(op, "x-gantry-right"), right);
    }
    json_object_foreach(json_object_get(doc, "paths"), path, item)
        json_object_foreach(item, method, op) n++;
    assert_int_equal(n, n_rows);
}

/* The example has all members that are required, and none that is unknown. */
static void check_example(const char *name, json_t *schema, json_t *example)
{
    const char *key;
    json_t *value, *list = json_object_get(schema, "required");
    json_t *properties = json_object_get(schema, "properties");
    assert_true(json_is_object(example));
    for (size_t i = 0; i < json_array_size(list); i++) {
        key = json_string_value(json_array_get(list, i));
        if (json_object_get(example, key) == NULL)
            fail_msg("example of %s lacks %s", name, key);
    }
    json_object_foreach(example, key, value)
    {
        if (json_object_get(properties, key) == NULL)
            fail_msg("example of %s has %s", name, key);
    }
}

static void answers_have_schemas_and_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        json_t *op = operation_of(&rows[i]), *answer;
        const char *status;
        char success[8];
        snprintf(success, sizeof(success), "%d", rows[i].success != 0 ? rows[i].success : 200);
        assert_non_null(at(op, "responses", success));
        json_object_foreach(json_object_get(op, "responses"), status, answer)
        {
            json_t *media = at(deref(answer), "content", "application/json");
            if (media == NULL)
                continue;
            json_t *schema = json_object_get(media, "schema");
            json_t *any = json_object_get(schema, "anyOf");
            schema = deref(any ? json_array_get(any, 0) : schema);
            check_example(rows[i].path, schema, json_object_get(media, "example"));
        }
        json_t *body = at(json_object_get(op, "requestBody"), "content", "application/json");
        if (body != NULL)
            check_example(rows[i].path, deref(json_object_get(body, "schema")),
                          json_object_get(body, "example"));
    }
}

static bool status_is_told(const struct api_route *r, const char *status)
{
    return at(operation_of(r), "responses", status) != NULL;
}

static void statuses_follow_from_the_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        const struct api_route *r = &rows[i];
        bool path = strchr(r->path, '{') != NULL;
        bool body = r->body != NULL || r->body_raw != NULL;
        assert_true(status_is_told(r, "421") && status_is_told(r, "503"));
        assert_int_equal(status_is_told(r, "401"), !r->open);
        assert_int_equal(status_is_told(r, "413"), body || r->body_type != NULL);
        assert_int_equal(status_is_told(r, "422"), path || body || r->n_query > 0);
        assert_int_equal(status_is_told(r, "304"), r->conditional);
        if (path)
            assert_true(status_is_told(r, "404"));
    }
}

/* All refs lead somewhere, schemas have texts, and nothing is there that no row leads to. */
static void schemas_are_whole(void **state)
{
    (void)state;
    size_t n;
    const struct answer_schema *s = answer_schemas(&n);
    for (size_t i = 0; i < n; i++) {
        assert_true(has_text(s[i].doc));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(s[k].name, s[i].name);
        for (size_t k = 0; k < s[i].n; k++) {
            const struct answer_field *f = &s[i].fields[k];
            bool nested = f->type == ANSWER_OBJ || f->type == ANSWER_LIST;
            if (!has_text(f->doc))
                fail_msg("%s.%s has no text", s[i].name, f->name);
            if (nested ? answer_schema_find(f->ref) == NULL : f->example == NULL)
                fail_msg("%s.%s has no schema or example", s[i].name, f->name);
        }
    }
    const char *name;
    json_t *any;
    json_object_foreach(at(doc, "components", "schemas"), name, any)
    {
        char ref[128];
        snprintf(ref, sizeof(ref), "{\"$ref\":\"#/components/schemas/%s\"}", name);
        char member[128];
        snprintf(member, sizeof(member), "\"$ref\":\"#/components/schemas/%s\"", name);
        if (strstr(text.data, ref) == NULL && strstr(text.data, member) == NULL)
            fail_msg("nothing leads to schema %s", name);
    }
    json_object_foreach(at(doc, "components", "responses"), name, any)
    {
        char ref[128];
        snprintf(ref, sizeof(ref), "\"#/components/responses/%s\"", name);
        if (strstr(text.data, ref) == NULL && strcmp(name, "Conflict") != 0 &&
            strcmp(name, "PreconditionFailed") != 0)
            fail_msg("nothing leads to response %s", name);
    }
}

/* The names that clients were generated from (talos contract 1.6). */
static void old_names_stay(void **state)
{
    (void)state;
    static const char *const names[] = {"ContainerInfo",
                                        "ContainerListResponse",
                                        "DockerContainerActionRequest",
                                        "DockerContainerActionResponse",
                                        "DockerContainerInfo",
                                        "DockerContainerListResponse",
                                        "DockerContainerLogsResponse",
                                        "DockerContainerStatus",
                                        "HTTPValidationError",
                                        "ROS2TopicDataResponse",
                                        "ROS2TopicStatus",
                                        "ROS2TopicsListResponse",
                                        "ServiceActionRequest",
                                        "ServiceControlResponse",
                                        "ServiceInfo",
                                        "ServiceListResponse",
                                        "ServiceLogsClearResponse",
                                        "ServiceLogsResponse",
                                        "ServiceRunScriptResponse",
                                        "ServiceRunScriptUpdateRequest",
                                        "ServiceStatusListResponse",
                                        "ServiceStatusResponse",
                                        "ValidationError"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (at(json_object_get(doc, "components"), "schemas", names[i]) == NULL)
            fail_msg("no schema %s", names[i]);
    }
    assert_string_equal(json_get_str(doc, "openapi"), "3.1.0");
    assert_string_equal(json_get_str(json_object_get(doc, "info"), "title"), "Gantry API");
    assert_non_null(
        at(json_object_get(doc, "paths"), "/containers/{container}/ros2/topics/{topic}", "get"));
}

static void no_memory(void **state)
{
    (void)state;
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct buf b = BUF_INIT(REST_MAX_OPENAPI);
        mem_fail_at(n, false);
        int rc = rest_openapi_write(&b, rows, n_rows);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        buf_done(&b);
    }
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(every_parameter_is_told),
        cmocka_unit_test(every_row_is_in_the_document),
        cmocka_unit_test(answers_have_schemas_and_examples),
        cmocka_unit_test(statuses_follow_from_the_row),
        cmocka_unit_test(schemas_are_whole),
        cmocka_unit_test(old_names_stay),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
