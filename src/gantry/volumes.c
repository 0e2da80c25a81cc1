/* volumes.c: the commands about managed volumes. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"

#include <stdio.h>
#include <string.h>

#define MAX_CELL 16384

/* "web, db" */
static int add_users(struct buf *b, const json_t *volume)
{
    const json_t *users = json_object_get(volume, "users");
    for (size_t i = 0; i < json_array_size(users); i++) {
        const char *id = json_get_str(json_array_get(users, i), "workload_id");
        if (i > 0)
            buf_addlit(b, ", ");
        buf_adds(b, id != NULL ? id : "");
    }
    return b->err;
}

int cmd_volumes_list(struct cli *c)
{
    static const char *const heads[] = {"ID", "STATE", "SIZE", "USED BY", "DEVICE"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/volumes", NULL, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    _cleanup_(buf_done) struct buf cell = BUF_INIT(MAX_CELL);
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "volumes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        int64_t gb = 0;
        char size[32] = "";
        (void)json_get_int(row, "size_gb", &gb);
        if (gb > 0)
            snprintf(size, sizeof(size), "%lld GiB", (long long)gb);
        buf_clear(&cell);
        add_users(&cell, row);
        bool failed = json_get_str(row, "failure") != NULL;
        table_cells(&t, json_get_str(row, "id"));
        table_cell(&t, slice_of(json_get_str(row, "state")), failed ? TABLE_RED : TABLE_PLAIN);
        table_cells(&t, size);
        table_cell(&t, (struct slice){cell.data, cell.len}, TABLE_PLAIN);
        table_cells(&t, json_get_str(row, "device"));
    }
    return cell.err != 0 ? cli_fail(c, EXIT_NO, NULL, "out of memory") : cli_table(c, &t);
}

static void line(struct cli *c, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_addf(&c->out, "%-14s", name);
    text_clean(&c->out, slice_of(value));
    buf_addc(&c->out, '\n');
}

static void show_users(struct cli *c, const json_t *doc)
{
    const json_t *users = json_object_get(doc, "users");
    for (size_t i = 0; i < json_array_size(users); i++) {
        const json_t *u = json_array_get(users, i);
        bool read_only = false;
        (void)json_get_bool(u, "read_only", &read_only);
        const char *id = json_get_str(u, "workload_id"), *path = json_get_str(u, "mount_path");
        const char *retain = json_get_str(u, "retain_policy");
        buf_addf(&c->out, "%-14s", i == 0 ? "Used by:" : "");
        text_clean(&c->out, slice_of(id));
        buf_addlit(&c->out, " at ");
        text_clean(&c->out, slice_of(path));
        buf_adds(&c->out, read_only ? " (read only), " : ", ");
        text_clean(&c->out, slice_of(retain));
        buf_addc(&c->out, '\n');
    }
    if (json_array_size(users) == 0)
        line(c, "Used by:", "nobody");
}

int cmd_volumes_show(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/volumes/%s", c->args.words, &doc);
    if (doc == NULL || c->json)
        return rc;
    bool made = false;
    int64_t gb = 0;
    char size[48] = "the driver's own";
    (void)json_get_bool(doc, "made_here", &made);
    (void)json_get_int(doc, "size_gb", &gb);
    if (gb > 0)
        snprintf(size, sizeof(size), "%lld GiB", (long long)gb);
    line(c, "Id:", json_get_str(doc, "id"));
    line(c, "State:", json_get_str(doc, "state"));
    line(c, "Failure:", json_get_str(doc, "failure"));
    line(c, "Device:", json_get_str(doc, "device"));
    line(c, "Size:", size);
    line(c, "File system:", json_get_str(doc, "fs_type"));
    line(c, "Access mode:", json_get_str(doc, "access_mode"));
    line(c, "Data:", made ? "made here" : "was there before: never deleted");
    line(c, "Created:", json_get_str(doc, "created_at"));
    show_users(c, doc);
    return rc;
}

int cmd_volumes_delete(struct cli *c)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < c->args.n_words; i++) {
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        _cleanup_(json_decrefp) json_t *doc = NULL;
        bool kept = false;
        int rc = cli_path(c, &path, "/v1/volumes/%s", &c->args.words[i]);
        struct cli_call call = {.method = HTTP_METHOD_DELETE, .path = path.data};
        if (rc == EXIT_DONE)
            rc = cli_call_json(c, &call, &doc);
        if (doc != NULL) {
            (void)json_get_bool(doc, "data_kept", &kept);
            text_clean(&c->out, slice_of(c->args.words[i]));
            buf_adds(&c->out,
                     kept ? ": forgotten, its data was there before and stays\n" : ": deleted\n");
        }
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}
