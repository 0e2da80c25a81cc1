/* The OpenAPI 3.1 document: the route table gives the operations, answers.c what they answer. */
#include "api/rest/answers.h"
#include "api/rest/rest_priv.h"

#include <stdio.h>
#include <string.h>

/* Statuses that follow from what a row has. Rows list further ones themselves. */
struct rule {
    int status;
    bool (*applies)(const struct api_route *r);
};
static bool always(const struct api_route *r)
{
    (void)r;
    return true;
}
static bool is_guarded(const struct api_route *r)
{
    return !r->open;
}
static bool has_path_param(const struct api_route *r)
{
    return strchr(r->path, '{') != NULL;
}
static bool has_body(const struct api_route *r)
{
    return r->body != NULL || r->body_raw != NULL;
}
static bool has_params(const struct api_route *r)
{
    return has_path_param(r) || has_body(r) || r->n_query > 0;
}
static bool is_conditional(const struct api_route *r)
{
    return r->conditional;
}
static const struct rule rules[] = {
    {304, is_conditional}, {400, has_body}, {401, is_guarded}, {403, is_guarded},
    {404, has_path_param}, {413, has_body}, {421, always},     {422, has_params},
    {429, is_guarded},     {503, always},
};

static bool row_has_status(const struct api_route *r, int status)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].status == status && rules[i].applies(r))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(r->statuses); i++) {
        if (r->statuses[i] == status)
            return true;
    }
    return false;
}

static void put_ref(struct json_out *j, const char *room, const char *name)
{
    char ref[160];
    snprintf(ref, sizeof(ref), "#/components/%s/%s", room, name);
    json_obj(j);
    json_kstr(j, "$ref", ref);
    json_end_obj(j);
}

static void put_names(struct json_out *j, const char *const *names, bool or_null)
{
    json_key(j, "enum");
    json_arr(j);
    for (size_t i = 0; names[i] != NULL; i++)
        json_cstr(j, names[i]);
    if (or_null)
        json_nil(j);
    json_end_arr(j);
}

/* "type": "string", or ["string", "null"] */
static void put_type(struct json_out *j, const char *type, bool nullable)
{
    json_key(j, "type");
    if (!nullable) {
        json_cstr(j, type);
        return;
    }
    json_arr(j);
    json_cstr(j, type);
    json_cstr(j, "null");
    json_end_arr(j);
}

static void put_doc(struct json_out *j, const char *doc)
{
    if (doc != NULL)
        json_kstr(j, "description", doc);
}

/* --- schemas of answers --- */

static void put_items(struct json_out *j, const struct answer_field *f)
{
    json_key(j, "items");
    if (f->type == ANSWER_LIST)
        put_ref(j, "schemas", f->ref);
    else if (f->type == ANSWER_STRS)
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
    else
        json_raw(j, SLICE_LIT("{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}"));
}

static void put_object_field(struct json_out *j, const struct answer_field *f)
{
    char ref[160];
    snprintf(ref, sizeof(ref), "#/components/schemas/%s", f->ref);
    if (f->flags & ANSWER_NULLABLE) {
        json_key(j, "anyOf");
        json_arr(j);
        put_ref(j, "schemas", f->ref);
        json_raw(j, SLICE_LIT("{\"type\":\"null\"}"));
        json_end_arr(j);
    } else {
        json_kstr(j, "$ref", ref);
    }
}

static void put_field(struct json_out *j, const struct answer_field *f)
{
    static const char *const types[] = {
        [ANSWER_STR] = "string",   [ANSWER_INT] = "integer",   [ANSWER_NUM] = "number",
        [ANSWER_BOOL] = "boolean", [ANSWER_LIST] = "array",    [ANSWER_STRS] = "array",
        [ANSWER_PLACE] = "array",  [ANSWER_STR_MAP] = "object"};
    bool nullable = (f->flags & ANSWER_NULLABLE) != 0;
    json_obj(j);
    if (f->type == ANSWER_OBJ)
        put_object_field(j, f);
    else if (f->type != ANSWER_ANY)
        put_type(j, types[f->type], nullable);
    if (f->type == ANSWER_LIST || f->type == ANSWER_STRS || f->type == ANSWER_PLACE)
        put_items(j, f);
    if (f->type == ANSWER_STR_MAP) {
        json_key(j, "additionalProperties");
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
    }
    if (f->values != NULL)
        put_names(j, f->values, nullable);
    if (f->format != NULL)
        json_kstr(j, "format", f->format);
    put_doc(j, f->doc);
    json_end_obj(j);
}

static void put_schema(struct json_out *j, const struct answer_schema *s)
{
    bool required = false;
    json_key(j, s->name);
    json_obj(j);
    json_kstr(j, "title", s->name);
    put_doc(j, s->doc);
    json_kstr(j, "type", "object");
    json_key(j, "properties");
    json_obj(j);
    for (size_t i = 0; i < s->n; i++) {
        json_key(j, s->fields[i].name);
        put_field(j, &s->fields[i]);
        required = required || !(s->fields[i].flags & ANSWER_OPTIONAL);
    }
    json_end_obj(j);
    if (required) {
        json_key(j, "required");
        json_arr(j);
        for (size_t i = 0; i < s->n; i++) {
            if (!(s->fields[i].flags & ANSWER_OPTIONAL))
                json_cstr(j, s->fields[i].name);
        }
        json_end_arr(j);
    }
    json_end_obj(j);
}

/* An object with the example of each member. Goes as deep as the tables do, which have no circle
 * (their test writes them all); the limit is for those who add one. */
static void put_example(struct json_out *j, const char *name, unsigned depth)
{
    const struct answer_schema *s = answer_schema_find(name);
    json_obj(j);
    for (size_t i = 0; s != NULL && i < s->n && depth < 8; i++) {
        const struct answer_field *f = &s->fields[i];
        json_key(j, f->name);
        if (f->example != NULL) {
            json_raw(j, slice_of(f->example));
        } else if (f->type == ANSWER_LIST) {
            json_arr(j);
            put_example(j, f->ref, depth + 1);
            json_end_arr(j);
        } else if (f->type == ANSWER_OBJ) {
            put_example(j, f->ref, depth + 1);
        } else {
            json_nil(j);
        }
    }
    json_end_obj(j);
}

/* --- parameters and bodies of requests --- */

static const char *param_type(const struct api_param *p)
{
    static const char *const types[] = {
        [API_STR] = "string",  [API_INT] = "integer",    [API_BOOL] = "boolean",
        [API_ENUM] = "string", [API_STR_MAP] = "object", [API_STRS] = "array"};
    return types[p->type];
}

static void put_param_schema(struct json_out *j, const struct api_param *p, bool with_doc)
{
    json_obj(j);
    put_type(j, param_type(p), p->nullable);
    if (p->type == API_ENUM)
        put_names(j, p->names, p->nullable);
    if (p->type == API_STRS) {
        json_key(j, "items");
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
    }
    if (p->type == API_STR_MAP) {
        json_key(j, "additionalProperties");
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
    }
    if (p->type == API_INT && !p->required && !p->nullable)
        json_kint(j, "default", p->def);
    else if (p->type == API_BOOL && !p->required)
        json_kbool(j, "default", p->def != 0);
    if (with_doc)
        put_doc(j, p->doc);
    json_end_obj(j);
}

static void put_param_example(struct json_out *j, const struct api_param *p)
{
    if (p->example != NULL)
        json_raw(j, slice_of(p->example));
    else if (p->type == API_ENUM)
        json_cstr(j, p->names[0]);
    else if (p->type == API_BOOL)
        json_bool(j, p->def != 0);
    else if (p->type == API_INT)
        json_int(j, p->def);
    else if (p->type == API_STR_MAP)
        json_raw(j, SLICE_LIT("{}"));
    else
        json_cstr(j, "");
}

/* The schema of a body, from the members that the row has. */
static void put_body_schema(struct json_out *j, const struct api_route *r)
{
    if (r->body_raw != NULL) {
        schema_write_components(r->body_raw, j);
        return;
    }
    json_key(j, r->body_schema);
    json_obj(j);
    json_kstr(j, "title", r->body_schema);
    json_kstr(j, "type", "object");
    json_key(j, "properties");
    json_obj(j);
    for (size_t i = 0; i < r->n_body; i++) {
        json_key(j, r->body[i].name);
        put_param_schema(j, &r->body[i], true);
    }
    json_end_obj(j);
    json_key(j, "required");
    json_arr(j);
    for (size_t i = 0; i < r->n_body; i++) {
        if (r->body[i].required)
            json_cstr(j, r->body[i].name);
    }
    json_end_arr(j);
    json_end_obj(j);
}

static void put_path_param(struct json_out *j, const struct api_route *r, const char *name,
                           size_t len)
{
    const struct answer_path_param *p = answer_path_param_find(name, len, r->kind);
    json_obj(j);
    json_kslice(j, "name", (struct slice){name, len});
    json_kstr(j, "in", "path");
    json_kbool(j, "required", true);
    put_doc(j, p ? p->doc : NULL);
    json_key(j, "schema");
    json_obj(j);
    json_kstr(j, "type", "string");
    if (p != NULL && p->max_len > 0)
        json_kint(j, "maxLength", p->max_len);
    json_end_obj(j);
    if (p != NULL)
        json_kstr(j, "example", p->example);
    json_end_obj(j);
}

static void put_params(struct json_out *j, const struct api_route *r)
{
    bool match = row_has_status(r, 412);
    if (!has_path_param(r) && r->n_query == 0 && !r->conditional && !match)
        return;
    json_key(j, "parameters");
    json_arr(j);
    for (const char *p = r->path; (p = strchr(p, '{')) != NULL; p++)
        put_path_param(j, r, p + 1, strcspn(p + 1, ":}"));
    for (size_t i = 0; i < r->n_query; i++) {
        const struct api_param *q = &r->query[i];
        json_obj(j);
        json_kstr(j, "name", q->name);
        json_kstr(j, "in", "query");
        json_kbool(j, "required", q->required);
        put_doc(j, q->doc);
        json_key(j, "schema");
        put_param_schema(j, q, false);
        if (q->example != NULL) {
            json_key(j, "example");
            put_param_example(j, q);
        }
        json_end_obj(j);
    }
    if (r->conditional)
        put_ref(j, "parameters", "IfNoneMatch");
    if (match)
        put_ref(j, "parameters", "IfMatch");
    json_end_arr(j);
}

/* Bytes of a media type have no schema (OpenAPI 3.1, 4.8.14.3). */
static void put_bytes_body(struct json_out *j, const char *type)
{
    json_key(j, "requestBody");
    json_obj(j);
    json_kbool(j, "required", true);
    json_key(j, "content");
    json_obj(j);
    json_key(j, type);
    json_obj(j);
    json_end_obj(j);
    json_end_obj(j);
    json_end_obj(j);
}

/* A document: JSON is a form of YAML, and both are read. */
static void put_document_body(struct json_out *j, const struct api_route *r)
{
    static const char *const types[] = {"application/json", "application/yaml"};
    json_key(j, "requestBody");
    json_obj(j);
    json_kbool(j, "required", true);
    json_key(j, "content");
    json_obj(j);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        json_key(j, types[i]);
        json_obj(j);
        json_key(j, "schema");
        put_ref(j, "schemas", r->body_schema);
        json_key(j, "example");
        json_raw(j, slice_of(r->body_example));
        json_end_obj(j);
    }
    json_end_obj(j);
    json_end_obj(j);
}

static void put_body(struct json_out *j, const struct api_route *r)
{
    if (r->body_type != NULL)
        put_bytes_body(j, r->body_type);
    if (r->body_raw != NULL)
        put_document_body(j, r);
    if (r->body == NULL)
        return;
    json_key(j, "requestBody");
    json_obj(j);
    json_kbool(j, "required", !r->body_optional);
    json_key(j, "content");
    json_obj(j);
    json_key(j, "application/json");
    json_obj(j);
    json_key(j, "schema");
    put_ref(j, "schemas", r->body_schema);
    json_key(j, "example");
    json_obj(j);
    for (size_t i = 0; i < r->n_body; i++) {
        json_key(j, r->body[i].name);
        put_param_example(j, &r->body[i]);
    }
    json_end_obj(j);
    json_end_obj(j);
    json_end_obj(j);
    json_end_obj(j);
}

/* --- answers --- */

#define CURSOR "g1-ab058c-18ea02bd164583dd-15-223d20d1836b61a4-223d20d1836b61a4-"

/* ETag where there is one, and the request's id. */
static void put_headers(struct json_out *j, const struct api_route *r)
{
    json_key(j, "headers");
    json_obj(j);
    if (r->conditional || row_has_status(r, 412)) {
        json_key(j, "ETag");
        put_ref(j, "headers", "ETag");
    }
    json_key(j, "X-Request-Id");
    put_ref(j, "headers", "RequestId");
    json_end_obj(j);
}

static void put_success(struct json_out *j, const struct api_route *r, int status)
{
    char key[12];
    snprintf(key, sizeof(key), "%d", status);
    json_key(j, key);
    json_obj(j);
    json_kstr(j, "description", "Successful Response");
    put_headers(j, r);
    json_key(j, "content");
    json_obj(j);
    json_key(j, r->answer_type ? r->answer_type : "application/json");
    json_obj(j);
    json_key(j, "schema");
    if (r->answer_type != NULL) {
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
    } else if (r->answer_schema != NULL) {
        put_ref(j, "schemas", r->answer_schema);
        json_key(j, "example");
        put_example(j, r->answer_schema, 0);
    } else {
        json_raw(j, SLICE_LIT("{\"type\":\"object\"}"));
    }
    json_end_obj(j);
    if (r->events) {
        json_key(j, "text/event-stream");
        json_raw(j, SLICE_LIT("{\"schema\":{\"type\":\"string\"},\"example\":\"id: " CURSOR
                              "\\nevent: logs\\ndata: {\\\"logs\\\":\\\"a line\\\\n\\\","
                              "\\\"cursor\\\":\\\"" CURSOR "\\\"}\\n\\n\"}"));
    }
    json_end_obj(j);
    json_end_obj(j);
}

static void put_status_content(struct json_out *j, const struct answer_status *s)
{
    json_key(j, "content");
    json_obj(j);
    json_key(j, "application/json");
    json_obj(j);
    json_key(j, "schema");
    if (s->other != NULL) {
        json_obj(j);
        json_key(j, "anyOf");
        json_arr(j);
        put_ref(j, "schemas", s->schema);
        put_ref(j, "schemas", s->other);
        json_end_arr(j);
        json_end_obj(j);
    } else {
        put_ref(j, "schemas", s->schema);
    }
    json_key(j, "example");
    if (s->example != NULL)
        json_raw(j, slice_of(s->example));
    else
        put_example(j, s->schema, 0);
    json_end_obj(j);
    json_end_obj(j);
}

static void put_status(struct json_out *j, const struct answer_status *s)
{
    json_obj(j);
    put_doc(j, s->doc);
    if (s->header != NULL) {
        json_key(j, "headers");
        json_obj(j);
        json_key(j, s->header);
        json_obj(j);
        put_doc(j, s->header_doc);
        json_key(j, "schema");
        json_raw(j, SLICE_LIT("{\"type\":\"string\"}"));
        json_end_obj(j);
        json_end_obj(j);
    }
    if (s->schema != NULL)
        put_status_content(j, s);
    json_end_obj(j);
}

static void put_responses(struct json_out *j, const struct api_route *r)
{
    size_t n;
    const struct answer_status *all = answer_statuses(&n);
    json_key(j, "responses");
    json_obj(j);
    put_success(j, r, r->success != 0 ? r->success : 200);
    for (size_t i = 0; i < ARRAY_LEN(r->statuses); i++)
        if (r->statuses[i] >= 200 && r->statuses[i] < 300)
            put_success(j, r, r->statuses[i]);
    for (size_t i = 0; i < n; i++) {
        char key[12];
        if (all[i].status == 0 || !row_has_status(r, all[i].status))
            continue;
        snprintf(key, sizeof(key), "%d", all[i].status);
        json_key(j, key);
        if (all[i].status == 422 && r->other_statuses) { /* of the other program, with its text */
            struct answer_status either = all[i];
            either.other = "ErrorResponse";
            put_status(j, &either);
        } else {
            put_ref(j, "responses", all[i].name);
        }
    }
    if (r->other_statuses) {
        json_key(j, "default");
        put_ref(j, "responses", answer_status_find(0)->name);
    }
    json_end_obj(j);
}

/* --- the document --- */

static void put_operation(struct json_out *j, const struct api_route *r)
{
    static const char *const methods[] = {[HTTP_METHOD_GET] = "get",
                                          [HTTP_METHOD_POST] = "post",
                                          [HTTP_METHOD_PUT] = "put",
                                          [HTTP_METHOD_DELETE] = "delete",
                                          [HTTP_METHOD_PATCH] = "patch"};
    char right[64];
    json_key(j, methods[r->method]);
    json_obj(j);
    json_key(j, "tags");
    json_arr(j);
    json_cstr(j, r->tag);
    json_end_arr(j);
    json_kstr(j, "summary", r->summary);
    put_doc(j, r->description);
    json_kstr(j, "operationId", r->operation_id);
    snprintf(right, sizeof(right), "%s %s", right_verb_name(r->verb), r->kind);
    json_kstr(j, "x-gantry-right", right);
    if (r->yields)
        json_kbool(j, "x-gantry-yields", true);
    if (r->open) {
        json_key(j, "security");
        json_raw(j, SLICE_LIT("[]"));
    }
    put_params(j, r);
    put_body(j, r);
    put_responses(j, r);
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

static void put_paths(struct json_out *j, const struct api_route *rows, size_t n)
{
    json_key(j, "paths");
    json_obj(j);
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
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
                put_operation(j, &rows[k]);
        }
        json_end_obj(j);
    }
    json_end_obj(j);
}

static bool body_written(const struct api_route *rows, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (rows[k].body_schema != NULL && strcmp(rows[k].body_schema, rows[i].body_schema) == 0)
            return true;
    }
    return false;
}

static void put_components(struct json_out *j, const struct api_route *rows, size_t n_rows)
{
    size_t n;
    json_key(j, "components");
    json_obj(j);
    json_key(j, "schemas");
    json_obj(j);
    const struct answer_schema *schemas = answer_schemas(&n);
    for (size_t i = 0; i < n; i++)
        put_schema(j, &schemas[i]);
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].body_schema != NULL && !body_written(rows, i))
            put_body_schema(j, &rows[i]);
    }
    json_end_obj(j);
    json_key(j, "responses");
    json_obj(j);
    const struct answer_status *statuses = answer_statuses(&n);
    for (size_t i = 0; i < n; i++) {
        json_key(j, statuses[i].name);
        put_status(j, &statuses[i]);
    }
    json_end_obj(j);
    json_key(j, "headers");
    json_raw(j, slice_of(answer_headers));
    json_key(j, "parameters");
    json_raw(j, slice_of(answer_header_params));
    json_key(j, "securitySchemes");
    json_raw(j, SLICE_LIT("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":"
                          "\"A token made with `gantry token create`\"},\"mutualTLS\":{\"type\":"
                          "\"mutualTLS\",\"description\":\"A client certificate, on listeners "
                          "with TLS\"}}"));
    json_end_obj(j);
}

static void put_info(struct json_out *j)
{
    json_key(j, "info");
    json_obj(j);
    json_kstr(j, "title", "Gantry API");
    json_kstr(
        j, "description",
        "Everything that runs on this machine, behind one API.\n\nErrors are "
        "`{\"error\": text, \"detail\": null}`; wrong parameters and bodies are answered with 422 "
        "and a list of all faults. A path that leads nowhere is 404 `{\"detail\": \"Not Found\"}`, "
        "a wrong method 405 with `Allow`. A slash too many or too few at the end is redirected "
        "(307).\n\nWho asks is known from the Unix socket's peer, a bearer token or a client "
        "certificate, where the listener asks for it; each call names the right it needs in "
        "`x-gantry-right`.\n\nEvery answer has the request's id in `X-Request-Id`; a `traceparent` "
        "of "
        "the request goes on to the agent and into the log.");
    json_kstr(j, "version", GANTRY_VERSION);
    json_key(j, "license");
    json_raw(j, SLICE_LIT("{\"name\":\"Apache License 2.0\",\"identifier\":\"Apache-2.0\"}"));
    json_end_obj(j);
    json_key(j, "servers");
    json_raw(j, SLICE_LIT("[{\"url\":\"/\",\"description\":\"This machine\"}]"));
    json_key(j, "security"); /* listeners decide: none, a token, a certificate */
    json_raw(j, SLICE_LIT("[{},{\"bearer\":[]},{\"mutualTLS\":[]}]"));
}

static void put_tags(struct json_out *j)
{
    size_t n;
    const struct answer_tag *tags = answer_tags(&n);
    json_key(j, "tags");
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_kstr(j, "name", tags[i].name);
        put_doc(j, tags[i].doc);
        json_end_obj(j);
    }
    json_end_arr(j);
}

static void put_websockets(struct json_out *j)
{
    size_t n;
    const struct answer_websocket *w = answer_websockets(&n);
    json_key(j, "x-gantry-websockets");
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_kstr(j, "path", w[i].path);
        json_kstr(j, "summary", w[i].summary);
        put_doc(j, w[i].description);
        json_kstr(j, "x-gantry-right", w[i].right);
        json_key(j, "frame");
        json_raw(j, slice_of(w[i].frame));
        json_end_obj(j);
    }
    json_end_arr(j);
}

int rest_openapi_write(struct buf *out, const struct api_route *rows, size_t n)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "openapi", "3.1.0");
    put_info(&j);
    put_tags(&j);
    put_paths(&j, rows, n);
    put_components(&j, rows, n);
    put_websockets(&j);
    json_end_obj(&j);
    return out->err;
}
