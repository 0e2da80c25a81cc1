/* service.c: containers, services, status, up, down, restart. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "gantry/wait.h"
#include <string.h>

#define MAX_PATH_TEXT 8192
/* s6-rc may take 10 s for each half of a restart, and waits for the one before (contract 3.5). */
#define CONTROL_PATIENCE_MS 60000
/* An agent that hangs must not hold up the table of all. */
#define GLANCE_PATIENCE_MS 3000

/* The states of a container's services, for the wide tables; NULL if its agent does not tell. What
 * is wrong stands in the table then, and is no failure of the command. */
static json_t *statuses_of(struct cli *c, const char *container)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    json_t *doc = NULL;
    bool quiet = c->quiet;
    c->quiet = true;
    if (container != NULL &&
        cli_path(c, &path, "/containers/%s/services/status", &container) == EXIT_DONE)
        (void)cli_call_parsed(c,
                              &(struct cli_call){.method = HTTP_METHOD_GET,
                                                 .path = path.data,
                                                 .patience_ms = GLANCE_PATIENCE_MS},
                              &doc);
    c->quiet = quiet;
    return doc;
}

static void agent_cells(struct cli *c, struct table *t, const char *container)
{
    _cleanup_(json_decrefp) json_t *doc = statuses_of(c, container);
    const json_t *list = json_object_get(doc, "statuses");
    size_t up = 0, n = json_array_size(list);
    char text[64] = "";
    struct buf b = BUF_FIXED(text);
    for (size_t i = 0; i < n; i++) {
        bool is_up = false;
        (void)json_get_bool(json_array_get(list, i), "is_up", &is_up);
        up += is_up;
    }
    if (doc != NULL)
        buf_addf(&b, "%zu of %zu", up, n);
    table_cell(t, slice_of(doc != NULL ? "ok" : "away"), doc != NULL ? TABLE_GREEN : TABLE_RED);
    table_cells(t, text);
}

int cmd_containers(struct cli *c)
{
    static const char *const heads[] = {"NAME", "SOCKET", "AGENT", "UP"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/containers", NULL, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : 2);
    const json_t *list = json_object_get(doc, "containers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        table_cells(&t, json_get_str(row, "name"));
        table_cells(&t, json_get_str(row, "socket_path"));
        if (c->wide)
            agent_cells(c, &t, json_get_str(row, "name"));
    }
    return cli_table(c, &t);
}

/* "up" or "down" from the list of states. */
static void state_cell(struct table *t, const json_t *statuses, const char *id)
{
    for (size_t i = 0; i < json_array_size(statuses); i++) {
        const json_t *row = json_array_get(statuses, i);
        const char *name = json_get_str(row, "service");
        bool up = false;
        if (name == NULL || id == NULL || strcmp(name, id) != 0)
            continue;
        (void)json_get_bool(row, "is_up", &up);
        table_cell(t, slice_of(up ? "up" : "down"), up ? TABLE_GREEN : TABLE_YELLOW);
        return;
    }
    table_cells(t, NULL);
}

int cmd_services(struct cli *c)
{
    static const char *const heads[] = {"NAME", "LABEL", "STATE"};
    _cleanup_(json_decrefp) json_t *doc = NULL, *states = NULL;
    int rc = cli_get(c, "/containers/%s/services", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    if (c->wide)
        states = statuses_of(c, c->args.words[0]);
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : 2);
    const json_t *list = json_object_get(doc, "services");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        table_cells(&t, json_get_str(row, "id"));
        table_cells(&t, json_get_str(row, "label"));
        if (c->wide)
            state_cell(&t, json_object_get(states, "statuses"), json_get_str(row, "id"));
    }
    return cli_table(c, &t);
}

/* A service that should run and does not is the one to look at. */
static enum table_colour state_colour(bool up, const char *raw)
{
    if (up)
        return TABLE_GREEN;
    return raw != NULL && strstr(raw, ", want up") != NULL ? TABLE_RED : TABLE_YELLOW;
}

static void number_cell(struct table *t, const json_t *row, const char *key, bool duration)
{
    int64_t n;
    _cleanup_(buf_done) struct buf b = BUF_INIT(64);
    if (json_get_int(row, key, &n) && duration)
        text_duration(&b, n);
    else if (json_get_int(row, key, &n))
        buf_addi(&b, n);
    table_cell(t, (struct slice){b.data, b.len}, TABLE_PLAIN);
    t->text.err = t->text.err != 0 ? t->text.err : b.err;
}

static void status_row(struct table *t, const json_t *row, bool wide)
{
    bool up = false;
    const char *raw = json_get_str(row, "raw"), *name = json_get_str(row, "service");
    (void)json_get_bool(row, "is_up", &up);
    table_cells(t, name != NULL ? name : json_get_str(row, "name"));
    table_cell(t, slice_of(up ? "up" : "down"), state_colour(up, raw));
    number_cell(t, row, "pid", false);
    number_cell(t, row, "uptime_seconds", true);
    table_cells(t, json_get_str(row, "service_label"));
    _cleanup_(buf_done) struct buf detail = BUF_INIT(8192);
    text_status_detail(&detail, slice_of(raw != NULL ? raw : ""), up);
    table_cell(t, (struct slice){detail.data, detail.len}, TABLE_PLAIN);
    if (!wide)
        return;
    number_cell(t, row, "uptime_seconds", false);
    table_cells(t, raw);
}

int cmd_status(struct cli *c)
{
    static const char *const heads[] = {"NAME",  "STATE",  "PID",     "UPTIME",
                                        "LABEL", "DETAIL", "SECONDS", "S6"};
    bool one = c->args.n_words == 2;
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc =
        cli_get(c, one ? "/containers/%s/services/%s/status" : "/containers/%s/services/status",
                c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : 6);
    const json_t *list = json_object_get(doc, "statuses");
    if (one)
        status_row(&t, doc, c->wide);
    for (size_t i = 0; i < json_array_size(list); i++)
        status_row(&t, json_array_get(list, i), c->wide);
    return cli_table(c, &t);
}

static int send_action(struct cli *c, const char *const *words)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), body = BUF_INIT(256);
    int rc = cli_path(c, &path, "/containers/%s/services/%s", words);
    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&c->args, OPTION_FORCE))
        buf_addlit(&path, "?force=true");
    if (path.err != 0 || buf_addf(&body, "{\"action\":\"%s\"}", c->args.verb->name) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    struct cli_call call = {
        HTTP_METHOD_POST, path.data, {body.data, body.len}, CONTROL_PATIENCE_MS};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    text_clean(&c->out, slice_of(words[1]));
    buf_addf(&c->out, ": %s: ", c->args.verb->name);
    const char *result = json_get_str(doc, "result");
    text_clean(&c->out, slice_of(result != NULL ? result : "ok"));
    buf_addc(&c->out, '\n');
    return rc;
}

static int control_one(struct cli *c, const char *service)
{
    const char *const words[] = {c->args.words[0], service};
    struct wait w;
    if (!args_has(&c->args, OPTION_WAIT))
        return send_action(c, words);
    int rc = wait_begin(&w, c, false, words, c->args.verb->name);
    if (rc == EXIT_DONE)
        rc = send_action(c, words);
    return rc == EXIT_DONE ? wait_finish(&w) : rc;
}

int cmd_control(struct cli *c)
{
    int code = EXIT_DONE;
    for (size_t i = 1; i < c->args.n_words; i++) {
        int rc = control_one(c, c->args.words[i]);
        if (rc == EXIT_UNREACHABLE) /* the others would say the same again */
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}
