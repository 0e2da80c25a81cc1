/* system.c: the daemon itself (health, metrics), and files in containers. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <string.h>

#define MAX_BODY ((size_t)64 << 20)
#define MAX_FILE ((size_t)1 << 20)
#define ENGINE_PATIENCE_MS 75000 /* gantryd gives the engine 60 s */

static int health_table(struct cli *c, const json_t *doc)
{
    static const char *const heads[] = {"CHECK", "STATE", "NEEDED", "DETAIL"};
    const json_t *list = json_object_get(doc, "checks");
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        bool ok = false, needed = false;
        (void)json_get_bool(row, "ok", &ok);
        (void)json_get_bool(row, "required", &needed);
        table_cells(&t, json_get_str(row, "name"));
        table_cell(&t, slice_of(ok ? "ok" : "not ok"),
                   ok       ? TABLE_GREEN
                   : needed ? TABLE_RED
                            : TABLE_YELLOW);
        table_cells(&t, needed ? "yes" : "no");
        table_cells(&t, json_get_str(row, "detail"));
    }
    return cli_table(c, &t);
}

/* 503 with the list of checks is an answer too: "no". */
int cmd_health(struct cli *c)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_BODY);
    struct cli_call call = {.method = HTTP_METHOD_GET, .path = "/readyz"};
    struct cli_answer a;
    bool ready = false;
    int rc = cli_exchange(c, &call, &body, &a);
    if (rc != EXIT_DONE)
        return rc;
    struct slice text = {body.data, body.len};
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    if ((a.status != 200 && a.status != 503) || !json_get_bool(doc, "ready", &ready))
        return cli_fail_status(c, a.status, text);
    if (c->json)
        cli_json(c, text);
    else
        rc = health_table(c, doc);
    return rc != EXIT_DONE || ready
               ? rc
               : cli_fail(c, EXIT_NO, "see the checks that are needed and not ok",
                          "gantryd at %s is not ready", c->host.text);
}

int cmd_metrics(struct cli *c)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_BODY);
    if (c->json)
        return cli_fail(c, EXIT_USAGE, NULL, "metrics are text: there is no -o json or yaml");
    int rc = cli_call(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = "/metrics"}, &body);
    if (rc == EXIT_DONE)
        cli_text(c, (struct slice){body.data, body.len}, true);
    return rc;
}

int cmd_bashrc_get(struct cli *c)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_path(c, &path, "/%s/bashrc", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {
        .method = HTTP_METHOD_GET, .path = path.data, .patience_ms = ENGINE_PATIENCE_MS};
    rc = cli_call_json(c, &call, &doc);
    const json_t *content = json_object_get(doc, "content");
    if (content != NULL && json_is_string(content))
        cli_text(c, (struct slice){json_string_value(content), json_string_length(content)}, false);
    return rc;
}

int cmd_bashrc_put(struct cli *c)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192);
    _cleanup_(buf_done) struct buf text = BUF_INIT(MAX_FILE), body = BUF_INIT(8 * MAX_FILE);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_path(c, &path, "/%s/bashrc", c->args.words);
    if (rc == EXIT_DONE)
        rc = cli_input(c, c->args.words[1], &text);
    if (rc != EXIT_DONE)
        return rc;
    if (!utf8_valid(text.data, text.len)) /* JSON carries text only */
        return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" is not UTF-8 text", c->args.words[1]);
    struct json_out j;
    json_begin(&j, &body);
    json_obj(&j);
    json_kslice(&j, "content", (struct slice){text.data, text.len});
    json_end_obj(&j);
    if (body.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    struct cli_call call = {HTTP_METHOD_PUT, path.data, {body.data, body.len}, ENGINE_PATIENCE_MS};
    rc = cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    const char *where = json_get_str(doc, "path");
    buf_addlit(&c->out, "written: ");
    text_clean(&c->out, slice_of(where != NULL ? where : ""));
    buf_addc(&c->out, '\n');
    return rc;
}

int cmd_docker_version(struct cli *c)
{
    static const char *const heads[] = {"CONTAINER", "CURRENT", "LATEST"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/docker/%s/version", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    table_cells(&t, json_get_str(doc, "container"));
    table_cells(&t, json_get_str(doc, "current"));
    table_cells(&t, json_get_str(doc, "latest"));
    return cli_table(c, &t);
}
