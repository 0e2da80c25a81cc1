/* docker.c: the commands for Docker containers. */
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "gantry/wait.h"
#include <string.h>

#define MAX_PATH_TEXT 8192
#define ENGINE_PATIENCE_MS 75000 /* gantryd gives the engine 60 s */

static int get(struct cli *c, const char *path, json_t **ret)
{
    struct cli_call call = {
        .method = HTTP_METHOD_GET, .path = path, .patience_ms = ENGINE_PATIENCE_MS};
    return cli_call_json(c, &call, ret);
}

static enum table_colour status_colour(const char *status)
{
    if (status == NULL)
        return TABLE_PLAIN;
    if (strcmp(status, "running") == 0)
        return TABLE_GREEN;
    if (strcmp(status, "restarting") == 0 || strcmp(status, "dead") == 0)
        return TABLE_RED;
    return TABLE_YELLOW;
}

/* "2026-11-21T03:52:00.123456789Z" as "2026-11-21 03:52:00", or whole; "-" for the engine's
 * "never". */
static void time_cell(struct table *t, const char *text, bool whole)
{
    struct slice s = slice_of(text != NULL ? text : "");
    if (slice_starts(s, "0001-01-01"))
        s.len = 0;
    char brief[20];
    if (s.len >= 19 && s.p[10] == 'T' && !whole) {
        memcpy(brief, s.p, 19);
        brief[10] = ' ';
        s = (struct slice){brief, 19};
    }
    table_cell(t, s, TABLE_PLAIN);
}

static void id_cell(struct table *t, const char *id, bool whole)
{
    struct slice s = slice_of(id);
    s.len = s.len > 12 && !whole ? 12 : s.len;
    table_cell(t, s, TABLE_PLAIN);
}

int cmd_docker_ps(struct cli *c)
{
    static const char *const heads[] = {"ID", "NAME", "STATUS", "IMAGE", "CREATED (UTC)"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = get(
        c, args_has(&c->args, OPTION_ALL) ? "/docker/containers?all=true" : "/docker/containers",
        &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "containers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *status = json_get_str(row, "status");
        id_cell(&t, json_get_str(row, "id"), c->wide);
        table_cells(&t, json_get_str(row, "name"));
        table_cell(&t, slice_of(status), status_colour(status));
        table_cells(&t, json_get_str(row, "image"));
        time_cell(&t, json_get_str(row, "created"), c->wide);
    }
    return cli_table(c, &t);
}

int cmd_docker_status(struct cli *c)
{
    static const char *const heads[] = {
        "ID", "NAME", "STATUS", "EXIT", "STARTED (UTC)", "FINISHED (UTC)", "IMAGE"};
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), number = BUF_INIT(32);
    int rc = cli_path(c, &path, "/docker/containers/%s/status", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = get(c, path.data, &doc);
    if (doc == NULL)
        return rc;
    const char *status = json_get_str(doc, "status");
    int64_t exit_code;
    if (json_get_int(doc, "exit_code", &exit_code))
        buf_addi(&number, exit_code);
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    id_cell(&t, json_get_str(doc, "id"), c->wide);
    table_cells(&t, json_get_str(doc, "name"));
    table_cell(&t, slice_of(status), status_colour(status));
    table_cell(&t, (struct slice){number.data, number.len}, TABLE_PLAIN);
    time_cell(&t, json_get_str(doc, "started_at"), c->wide);
    time_cell(&t, json_get_str(doc, "finished_at"), c->wide);
    table_cells(&t, json_get_str(doc, "image"));
    return number.err != 0 ? cli_fail(c, EXIT_NO, NULL, "out of memory") : cli_table(c, &t);
}

static int send_action(struct cli *c, const char *name, int64_t seconds)
{
    const char *action = c->args.verb->name;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), body = BUF_INIT(256);
    int rc = cli_path(c, &path, "/docker/containers/%s", &name);
    if (rc != EXIT_DONE)
        return rc;
    buf_addf(&body, "{\"action\":\"%s\"", action);
    if (seconds >= 0)
        buf_addf(&body, ",\"timeout\":%lld", (long long)seconds);
    if (buf_addc(&body, '}') != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    uint64_t patience = ENGINE_PATIENCE_MS + 1000 * (uint64_t)(seconds > 10 ? seconds : 10);
    struct cli_call call = {HTTP_METHOD_POST, path.data, {body.data, body.len}, patience};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    text_clean(&c->out, slice_of(name));
    buf_addf(&c->out, ": %s: ok\n", action);
    return rc;
}

static int control_one(struct cli *c, const char *name, int64_t seconds)
{
    struct wait w;
    if (!args_has(&c->args, OPTION_WAIT))
        return send_action(c, name, seconds);
    int rc = wait_begin(&w, c, true, &name, c->args.verb->name);
    if (rc == EXIT_DONE)
        rc = send_action(c, name, seconds);
    return rc == EXIT_DONE ? wait_finish(&w) : rc;
}

int cmd_docker_control(struct cli *c)
{
    int64_t seconds;
    int code = cli_number(c, OPTION_TIME, -1, false, &seconds);
    if (code != EXIT_DONE)
        return code;
    for (size_t i = 0; i < c->args.n_words; i++) {
        int rc = control_one(c, c->args.words[i], seconds);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

int cmd_docker_logs(struct cli *c)
{
    int64_t lines;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = cli_number(c, OPTION_LINES, 100, true, &lines);
    if (rc == EXIT_DONE)
        rc = cli_path(c, &path, "/docker/containers/%s/logs", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    if (buf_addf(&path, "?tail=%lld", (long long)lines) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = get(c, path.data, &doc);
    const json_t *logs = json_object_get(doc, "logs");
    if (logs != NULL && json_is_string(logs))
        cli_text(c, (struct slice){json_string_value(logs), json_string_length(logs)}, true);
    return rc;
}
