/* snapshots.c: snapshots of virtual machines. */
#include "base/json_out.h"
#include "gantry/workload.h"
#include <string.h>

/* With the memory of a large machine it takes minutes. */
#define PATIENCE_MS 600000

/* "2026-11-21 03:52:00" */
static void time_cell(struct table *t, const char *text)
{
    char brief[19];
    if (text == NULL || strlen(text) < sizeof(brief) || text[10] != 'T') {
        table_cells(t, text);
        return;
    }
    memcpy(brief, text, sizeof(brief));
    brief[10] = ' ';
    table_cell(t, (struct slice){brief, sizeof(brief)}, TABLE_PLAIN);
}

int cmd_snapshot_list(struct cli *c)
{
    static const char *const heads[] = {"NAME", "CREATED (UTC)", "CURRENT", "MEMORY",
                                        "DESCRIPTION"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/workloads/%s/snapshots", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "snapshots");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        table_cells(&t, json_get_str(row, "name"));
        time_cell(&t, json_get_str(row, "created_at"));
        table_cells(&t, json_is_true(json_object_get(row, "current")) ? "yes" : "no");
        table_cells(&t, json_is_true(json_object_get(row, "memory")) ? "yes" : "no");
        table_cells(&t, json_get_str(row, "description"));
    }
    return cli_table(c, &t);
}

static int change(struct cli *c, enum http_method method, const char *pattern, const char *name,
                  const char *said)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192), body = BUF_INIT(4096);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_path(c, &path, pattern, c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {.method = method, .path = path.data, .patience_ms = PATIENCE_MS};
    if (name != NULL) {
        struct json_out j;
        json_begin(&j, &body);
        json_obj(&j);
        json_kstr(&j, "name", name);
        json_end_obj(&j);
        if (body.err != 0)
            return cli_fail(c, EXIT_USAGE, NULL, "the name is too long, or memory is short");
        call.body = (struct slice){body.data, body.len};
    }
    rc = cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(buf_done) struct buf line = BUF_INIT(4096);
    (void)buf_addf(&line, "%s: snapshot %s %s", c->args.words[0], c->args.words[1], said);
    cli_text(c, (struct slice){line.data, line.len}, true);
    return rc;
}

int cmd_snapshot_create(struct cli *c)
{
    return change(c, HTTP_METHOD_POST, "/v1/workloads/%s/snapshots", c->args.words[1], "made");
}

int cmd_snapshot_revert(struct cli *c)
{
    return change(c, HTTP_METHOD_POST, "/v1/workloads/%s/snapshots/%s/revert", NULL,
                  "brought back");
}

int cmd_snapshot_delete(struct cli *c)
{
    return change(c, HTTP_METHOD_DELETE, "/v1/workloads/%s/snapshots/%s", NULL, "deleted");
}
