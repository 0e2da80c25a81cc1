/* workloads.c: get, describe, explain, delete, restart, retry, force, tasks, node. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <string.h>

#define MAX_PATH_TEXT 8192

static struct slice shown(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

/* --- get ------------------------------------------------------------------------------------ */

struct listing {
    struct cli *c;
    struct table t;
    size_t n;
};

static void number_cell(struct table *t, const json_t *row, const char *key)
{
    char text[32];
    struct buf b = BUF_FIXED(text);
    int64_t n;
    if (json_get_int(row, key, &n))
        buf_addi(&b, n);
    table_cell(t, shown(&b), TABLE_PLAIN);
}

/* What went wrong, what it waits for, or how it is. */
static void message_cell(struct table *t, const json_t *row)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(MAX_PATH_TEXT);
    const char *waits = workload_text(row, "waits_for"), *failure = workload_text(row, "failure");
    bool running = strcmp(workload_text(row, "actual_state"), "running") == 0;
    const char *text = *failure != '\0' && !running ? failure : workload_text(row, "message");
    if (text != failure && *waits != '\0' && buf_addf(&b, "waits for %s", waits) == 0)
        text = b.data;
    table_cells(t, text);
}

static int list_row(void *ctx, const json_t *row)
{
    struct listing *l = ctx;
    struct table *t = &l->t;
    const char *state = workload_text(row, "actual_state"), *health = json_get_str(row, "health");
    l->n++;
    table_cells(t, json_get_str(row, "id"));
    table_cells(t, json_get_str(row, "type"));
    table_cells(t, json_get_str(row, "desired_state"));
    table_cell(t, slice_of(state), workload_colour(state));
    table_cell(t, slice_of(health != NULL ? health : ""), workload_colour(health ? health : ""));
    workload_age_cell(t, row, "created_at");
    if (l->c->wide) {
        table_cells(t, json_get_str(row, "phase"));
        number_cell(t, row, "restarts");
        number_cell(t, row, "attempts");
        table_cells(t, json_get_str(row, "next_try_at"));
        table_cells(t, json_get_str(row, "revision_id"));
        table_cells(t, json_get_str(row, "address"));
        table_cells(t, json_get_str(row, "object_id"));
        table_cells(t, json_get_str(row, "applied_by"));
    }
    message_cell(t, row);
    return EXIT_DONE;
}

static int get_one(struct cli *c, struct listing *l, const char *id)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/workloads/%s", &id, &doc);
    return doc != NULL ? list_row(l, doc) : rc;
}

/* Patterns are the server's to match: "id=web%2A". */
static int get_matching(struct cli *c, struct listing *l, const char *pattern)
{
    _cleanup_(buf_done) struct buf query = BUF_INIT(MAX_PATH_TEXT);
    buf_addlit(&query, "id=");
    if (pct_encode(&query, slice_of(pattern)) != 0)
        return cli_fail(c, EXIT_NO, NULL, "\"%.64s\" is too long for a pattern", pattern);
    return workload_each(c, query.data, true, list_row, l);
}

static int get_words(struct cli *c, struct listing *l)
{
    size_t n = c->args.n_words;
    int code = EXIT_DONE;
    if (n == 0 || (n == 1 && strcmp(c->args.words[0], "workloads") == 0))
        return workload_each(c, NULL, true, list_row, l);
    for (size_t i = 0; i < n; i++) {
        const char *word = c->args.words[i];
        int rc = strchr(word, '*') != NULL ? get_matching(c, l, word) : get_one(c, l, word);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

int cmd_get(struct cli *c)
{
    static const char *const brief[] = {"ID",     "TYPE", "DESIRED", "STATE",
                                        "HEALTH", "AGE",  "MESSAGE"};
    static const char *const wide[] = {"ID",       "TYPE",    "DESIRED",  "STATE",      "HEALTH",
                                       "AGE",      "PHASE",   "RESTARTS", "FAILURES",   "NEXT TRY",
                                       "REVISION", "ADDRESS", "OBJECT",   "APPLIED BY", "MESSAGE"};
    struct listing l = {.c = c};
    table_init(&l.t, c->wide ? wide : brief, c->wide ? ARRAY_LEN(wide) : ARRAY_LEN(brief));
    int code = get_words(c, &l);
    bool some = l.n > 0 || (code == EXIT_DONE && !c->json);
    int rc = some && !c->json ? cli_table(c, &l.t) : EXIT_DONE;
    table_done(&l.t);
    return rc != EXIT_DONE ? rc : code;
}

/* --- describe, explain ---------------------------------------------------------------------- */

/* "Label:      text", the text in the form for one line. */
static void add_line(struct cli *c, const char *label, const char *text)
{
    enum { COLUMN = 14 };
    size_t n = strlen(label) + 1;
    if (text == NULL || *text == '\0')
        return;
    buf_addf(&c->out, "%s:", label);
    for (; n < COLUMN; n++)
        buf_addc(&c->out, ' ');
    text_clean(&c->out, slice_of(text));
    buf_addc(&c->out, '\n');
}

/* "2026-11-21 03:52:00 UTC (2m10s ago)", or "(in 20s)". */
static void add_time(struct cli *c, const char *label, const char *time)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(512);
    int64_t ns;
    if (time == NULL || *time == '\0')
        return;
    if (!workload_time(time, &ns)) {
        add_line(c, label, time);
        return;
    }
    int64_t ago = (clock_real_ns(&clock_system) - ns) / (int64_t)NS_PER_S;
    buf_addf(&b, "%.10s %.8s UTC (%s", time, time + 11, ago < 0 ? "in " : "");
    text_duration(&b, ago < 0 ? -ago : ago);
    buf_adds(&b, ago < 0 ? ")" : " ago)");
    if (b.err == 0)
        add_line(c, label, b.data);
}

static void add_explanation(struct cli *c, const json_t *x)
{
    add_line(c, "Is", json_get_str(x, "is"));
    add_line(c, "Should be", json_get_str(x, "should_be"));
    add_line(c, "Why", json_get_str(x, "why"));
    add_time(c, "Since", json_get_str(x, "since"));
    add_line(c, "Next", json_get_str(x, "next"));
    add_time(c, "Next at", json_get_str(x, "next_at"));
    add_line(c, "Asked by", json_get_str(x, "asked_by"));
    const json_t *list = json_object_get(x, "waits_for");
    for (size_t i = 0; i < json_array_size(list); i++)
        add_line(c, i == 0 ? "Waits for" : "", json_string_value(json_array_get(list, i)));
}

/* An object as YAML under a heading, if there is something in it. */
static int add_part(struct cli *c, const char *heading, const json_t *part)
{
    if (!json_is_object(part) || json_object_size(part) == 0)
        return EXIT_DONE;
    buf_addf(&c->out, "\n%s:\n", heading);
    return cli_yaml(c, part, 2);
}

/* "Draining:     yes, the scheduler at ... drains this node" */
static void add_drain(struct cli *c, const json_t *drain)
{
    bool draining = false;
    (void)json_get_bool(drain, "draining", &draining);
    add_line(c, "Draining", draining ? json_get_str(drain, "reason") : "no");
    if (draining)
        add_time(c, "Drain since", json_get_str(drain, "since"));
}

static int explain_drivers(struct cli *c, const json_t *list)
{
    static const char *const heads[] = {"DRIVER", "TYPE", "AVAILABLE", "DETAIL"};
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *name = workload_text(row, "name"), *why = workload_text(row, "reason");
        bool available = false;
        (void)json_get_bool(row, "available", &available);
        table_cells(&t, *name != '\0' ? name : "-");
        table_cells(&t, workload_text(row, "type"));
        table_cell(&t, slice_of(available ? "yes" : "no"), available ? TABLE_GREEN : TABLE_YELLOW);
        table_cells(&t, *why != '\0' ? why : workload_text(row, "detail"));
    }
    buf_addc(&c->out, '\n');
    return cli_table(c, &t);
}

static int explain_node(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/explain/node", NULL, &doc);
    if (doc == NULL)
        return rc;
    add_line(c, "Node", json_get_str(doc, "id"));
    add_line(c, "State", json_get_str(doc, "state"));
    add_explanation(c, doc);
    add_drain(c, json_object_get(doc, "drain"));
    add_line(c, "Store", json_get_str(json_object_get(doc, "store"), "detail"));
    rc = add_part(c, "Workloads", json_object_get(doc, "workloads"));
    if (rc == EXIT_DONE)
        rc = add_part(c, "Scheduler", json_object_get(doc, "control"));
    return rc == EXIT_DONE ? explain_drivers(c, json_object_get(doc, "drivers")) : rc;
}

/* "node" is this machine, but for a workload of that name. */
static int names_node(struct cli *c, bool *ret)
{
    struct cli_answer a;
    _cleanup_(buf_done) struct buf body = BUF_INIT((size_t)8 << 20);
    const struct cli_call call = {.method = HTTP_METHOD_GET, .path = "/v1/explain/workload/node"};
    *ret = c->args.n_words == 0;
    if (c->args.n_words != 1 || strcmp(c->args.words[0], "node") != 0)
        return EXIT_DONE;
    int rc = cli_exchange(c, &call, &body, &a);
    *ret = rc == EXIT_DONE && a.status != 200;
    return rc;
}

int cmd_explain(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    bool service = c->args.n_words == 2, node;
    int rc = names_node(c, &node);
    if (rc != EXIT_DONE || node)
        return rc != EXIT_DONE ? rc : explain_node(c);
    rc = cli_get(c, service ? "/v1/explain/service/%s/%s" : "/v1/explain/workload/%s",
                 c->args.words, &doc);
    if (doc == NULL)
        return rc;
    add_line(c, service ? "Service" : "Workload", json_get_str(doc, "id"));
    add_explanation(c, doc);
    return EXIT_DONE;
}

static void add_number(struct cli *c, const char *label, const json_t *w, const char *key)
{
    char text[32];
    struct buf b = BUF_FIXED(text);
    int64_t n;
    if (json_get_int(w, key, &n) && buf_addi(&b, n) == 0)
        add_line(c, label, text);
}

static void add_state(struct cli *c, const json_t *w)
{
    static const struct {
        const char *label, *key;
        char kind; /* t text, d date, n number */
    } rows[] = {
        {"Workload", "id", 't'},           {"Type", "type", 't'},
        {"Revision", "revision_id", 't'},  {"Desired", "desired_state", 't'},
        {"State", "actual_state", 't'},    {"Health", "health", 't'},
        {"Message", "message", 't'},       {"Phase", "phase", 't'},
        {"Waits for", "waits_for", 't'},   {"Failure", "failure", 't'},
        {"Reason", "reason", 't'},         {"Failed at", "last_failure_at", 'd'},
        {"Failures", "attempts", 'n'},     {"Next try", "next_try_at", 'd'},
        {"Object", "object_id", 't'},      {"Address", "address", 't'},
        {"Started", "started_at", 'd'},    {"Finished", "finished_at", 'd'},
        {"Exit code", "exit_code", 'n'},   {"Restarts", "restarts", 'n'},
        {"Stop cause", "stop_cause", 't'}, {"Created", "created_at", 'd'},
        {"Updated", "updated_at", 'd'},    {"Applied by", "applied_by", 't'},
        {"Generation", "generation", 'n'},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].kind == 'n')
            add_number(c, rows[i].label, w, rows[i].key);
        else if (rows[i].kind == 'd')
            add_time(c, rows[i].label, json_get_str(w, rows[i].key));
        else
            add_line(c, rows[i].label, json_get_str(w, rows[i].key));
    }
}

static int tasks_table(struct cli *c, const json_t *doc, bool of_one);

static int describe_tasks(struct cli *c, const char *id)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/tasks?limit=5&workload=%s", &id, &doc);
    if (doc == NULL || json_array_size(json_object_get(doc, "tasks")) == 0)
        return rc;
    buf_addlit(&c->out, "\nLast tasks:\n");
    return tasks_table(c, doc, true);
}

static int describe_one(struct cli *c, const char *id)
{
    _cleanup_(json_decrefp) json_t *w = NULL, *x = NULL;
    int rc = cli_get(c, "/v1/workloads/%s", &id, &w);
    if (rc == EXIT_DONE)
        rc = cli_get(c, "/v1/explain/workload/%s", &id, &x);
    if (rc == EXIT_DONE && !c->json) {
        add_state(c, w);
        buf_addlit(&c->out, "\nExplanation:\n");
        add_explanation(c, x);
        rc = add_part(c, "Usage", json_object_get(w, "usage"));
        if (rc == EXIT_DONE)
            rc = add_part(c, "Document", json_object_get(w, "spec"));
        if (rc == EXIT_DONE)
            rc = add_part(c, "Metadata", json_object_get(w, "metadata"));
    }
    return rc == EXIT_DONE ? describe_tasks(c, id) : rc;
}

int cmd_describe(struct cli *c)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < c->args.n_words; i++) {
        if (i > 0 && !c->json)
            buf_addc(&c->out, '\n');
        int rc = describe_one(c, c->args.words[i]);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

/* --- delete, restart, retry, force ---------------------------------------------------------- */

/* Sends a change; *ret is the answer, or NULL if it has been printed. */
static int change(struct cli *c, enum http_method method, const char *pattern, const char *id,
                  const char *body, json_t **ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    *ret = NULL;
    int rc = cli_path(c, &path, pattern, &id);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {.method = method, .path = path.data, .body = slice_of(body)};
    return cli_call_json(c, &call, ret);
}

/* What is to be deleted, and how far each is. */
struct deletion {
    struct cli *c;
    const char *const *ids;
    enum { DELETE_OPEN, DELETE_DONE, DELETE_FAILED } * states; /* owned */
    size_t n, left;
    int code;
};

static int ask_delete(struct cli *c, const char *id, struct buf *body, struct cli_answer *ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = cli_path(
        c, &path,
        args_has(&c->args, OPTION_FORCE) ? "/v1/workloads/%s?force=true" : "/v1/workloads/%s", &id);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {.method = HTTP_METHOD_DELETE, .path = path.data};
    return cli_exchange(c, &call, body, ret);
}

/* One that others need is refused as long as they are there: `last` says that it is told, and not
 * tried again. Exit code. */
static int delete_one(struct deletion *d, size_t at, bool last)
{
    struct cli *c = d->c;
    struct cli_answer a = {0};
    _cleanup_(buf_done) struct buf body = BUF_INIT((size_t)8 << 20);
    int rc = ask_delete(c, d->ids[at], &body, &a);
    struct slice text = shown(&body);
    if (rc == EXIT_DONE && a.status == 409 && !last)
        return EXIT_DONE;
    if (rc == EXIT_DONE && (a.status < 200 || a.status >= 300))
        rc = cli_fail_status(c, a.status, text);
    d->left--;
    d->states[at] = rc == EXIT_DONE ? DELETE_DONE : DELETE_FAILED;
    if (rc != EXIT_DONE)
        return rc;
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    if (c->json)
        cli_json(c, text);
    else
        workload_told(c, d->ids[at], doc);
    return EXIT_DONE;
}

/* False: nobody answers. */
static bool delete_round(struct deletion *d, bool last)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->states[i] != DELETE_OPEN)
            continue;
        int rc = delete_one(d, i, last);
        d->code = rc > d->code ? rc : d->code;
        if (rc == EXIT_UNREACHABLE)
            return false;
    }
    return true;
}

static void wait_deleted(struct deletion *d, struct workload_wait *w)
{
    for (size_t i = 0; i < d->n && args_has(&d->c->args, OPTION_WAIT); i++) {
        if (d->states[i] != DELETE_DONE)
            continue;
        int rc = workload_wait(w, d->ids[i], GOAL_DELETED);
        d->code = rc > d->code ? rc : d->code;
    }
}

/* Whatever their order, those that need others go before these: again and again, as long as it
 * helps. */
static int delete_all(struct cli *c, const char *const *ids, size_t n)
{
    struct workload_wait w;
    struct deletion d = {.c = c, .ids = ids, .n = n, .left = n};
    d.states = mem_calloc(n + 1, sizeof *d.states);
    if (d.states == NULL)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    workload_wait_begin(&w, c);
    w.deleted = true;
    size_t before = n + 1;
    bool there = true;
    while (there && d.left > 0) {
        bool last = d.left == before;
        before = d.left;
        there = delete_round(&d, last);
    }
    if (there)
        wait_deleted(&d, &w);
    mem_free(d.states);
    return d.code;
}

/* What depends on others stands behind them in a file, as a rule: the last one goes first. */
static int delete_files(struct cli *c)
{
    struct workload_items items;
    int rc = workload_items_read(&items, c);
    const char **ids = rc == EXIT_DONE ? mem_calloc(items.n_items + 1, sizeof *ids) : NULL;
    if (rc == EXIT_DONE && ids == NULL)
        rc = cli_fail(c, EXIT_NO, NULL, "out of memory");
    for (size_t i = 0; i < items.n_items && ids != NULL; i++)
        ids[i] = items.items[items.n_items - 1 - i].id;
    if (ids != NULL)
        rc = delete_all(c, ids, items.n_items);
    mem_free(ids);
    workload_items_done(&items);
    return rc;
}

int cmd_delete(struct cli *c)
{
    bool files = args_has(&c->args, OPTION_FILE);
    if (files == (c->args.n_words > 0))
        return cli_fail(c, EXIT_USAGE, "see: gantry help delete",
                        files ? "either ids or -f, not both" : "\"delete\" needs ID... or -f FILE");
    return files ? delete_files(c) : delete_all(c, c->args.words, c->args.n_words);
}

static int act_one(struct cli *c, const char *id)
{
    const char *action = c->args.verb->name;
    char body[64];
    struct buf b = BUF_FIXED(body);
    struct workload_wait w;
    _cleanup_(json_decrefp) json_t *doc = NULL;
    workload_wait_begin(&w, c);
    buf_addf(&b, "{\"action\":\"%s\"%s}", action,
             args_has(&c->args, OPTION_FORCE) ? ",\"force\":true" : "");
    int rc = change(c, HTTP_METHOD_POST, "/v1/workloads/%s/action", id, body, &doc);
    if (doc != NULL)
        workload_told(c, id, doc);
    if (rc == EXIT_DONE && args_has(&c->args, OPTION_WAIT))
        rc = workload_wait(&w, id, GOAL_RUNNING);
    return rc;
}

int cmd_workload_act(struct cli *c)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < c->args.n_words; i++) {
        int rc = act_one(c, c->args.words[i]);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

static bool is_there(struct cli *c, const char *pattern, const char *name)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    struct cli_call call = {.method = HTTP_METHOD_GET};
    if (cli_path(c, &path, pattern, &name) != EXIT_DONE)
        return false;
    call.path = path.data;
    return cli_call_parsed(c, &call, &doc) == EXIT_DONE;
}

/* Two workloads look like a container and a service of it. */
static void tell_workload(struct cli *c)
{
    const char *id = c->args.words[0];
    bool quiet = c->quiet;
    c->quiet = true;
    bool workload =
        is_there(c, "/v1/workloads/%s", id) && !is_there(c, "/containers/%s/services", id);
    c->quiet = quiet;
    if (workload)
        cli_fail(c, EXIT_NO, NULL,
                 "\"%s\" is a workload; one workload at a time: gantry restart %s", id, id);
}

/* One word is a workload, more are a container and its services. */
int cmd_restart(struct cli *c)
{
    if (c->args.n_words == 1)
        return act_one(c, c->args.words[0]);
    int rc = cmd_control(c);
    if (rc == EXIT_NO)
        tell_workload(c);
    return rc;
}

/* --- tasks, node ---------------------------------------------------------------------------- */

static int tasks_table(struct cli *c, const json_t *doc, bool of_one)
{
    static const char *const heads[] = {"TASK", "WORKLOAD", "KIND", "STATUS", "AGE", "WHO", "TEXT"};
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "tasks");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *status = workload_text(row, "status");
        table_cells(&t, json_get_str(row, "task_id"));
        table_cells(&t, json_get_str(row, "workload_id"));
        table_cells(&t, json_get_str(row, "kind"));
        table_cell(&t, slice_of(status), workload_colour(status));
        workload_age_cell(&t, row, "created_at");
        table_cells(&t, json_get_str(row, "who"));
        table_cells(&t, json_get_str(row, "text"));
    }
    bool more = false;
    (void)json_get_bool(doc, "more", &more);
    int rc = cli_table(c, &t);
    if (rc == EXIT_DONE && more && !of_one)
        return cli_fail(c, EXIT_DONE, "-n shows more", "older tasks are left out");
    return rc;
}

int cmd_tasks(struct cli *c)
{
    _cleanup_(buf_done) struct buf pattern = BUF_INIT(256);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int64_t n;
    int rc = cli_number(c, OPTION_LINES, 100, false, &n);
    if (rc != EXIT_DONE)
        return rc;
    buf_addf(&pattern, "/v1/tasks?limit=%lld%s", (long long)n,
             c->args.n_words > 0 ? "&workload=%s" : "");
    if (pattern.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    rc = cli_get(c, pattern.data, c->args.words, &doc);
    return doc != NULL ? tasks_table(c, doc, false) : rc;
}

/* "Memory:       2.0 % of 23.5G, 23.1G free" */
static void add_share(struct cli *c, const char *label, double percent, int64_t total, int64_t left)
{
    char text[128];
    struct buf b = BUF_FIXED(text);
    if (percent < 0 || buf_addf(&b, "%.1f %%", percent) != 0)
        return;
    if (total > 0) {
        buf_addlit(&b, " of ");
        workload_bytes(&b, total);
        buf_addlit(&b, ", ");
        workload_bytes(&b, left);
        buf_addlit(&b, " left");
    }
    if (b.err == 0)
        add_line(c, label, text);
}

static double percent_of(const json_t *usage, const char *key)
{
    const json_t *v = json_object_get(usage, key);
    return json_is_number(v) ? json_number_value(v) : -1;
}

static void add_usage(struct cli *c, const json_t *usage)
{
    int64_t total = 0, left = 0, millicores = 0;
    char text[64];
    struct buf b = BUF_FIXED(text);
    double cpu = percent_of(usage, "cpu_percent");
    (void)json_get_int(usage, "cpu_millicores", &millicores);
    if (cpu >= 0 && buf_addf(&b, "%.1f %% of %lld", cpu, (long long)(millicores / 1000)) == 0)
        add_line(c, "Processors", text);
    (void)json_get_int(usage, "memory_total_bytes", &total);
    (void)json_get_int(usage, "memory_available_bytes", &left);
    add_share(c, "Memory", percent_of(usage, "memory_percent"), total, left);
    total = left = 0;
    (void)json_get_int(usage, "disk_total_bytes", &total);
    (void)json_get_int(usage, "disk_free_bytes", &left);
    add_share(c, "Disk", percent_of(usage, "disk_percent"), total, left);
}

int cmd_node(struct cli *c)
{
    static const char *const heads[] = {"RUNTIME", "TYPE", "CONDITION"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/v1/node", NULL, &doc);
    if (doc == NULL)
        return rc;
    add_line(c, "Node", json_get_str(doc, "id"));
    add_line(c, "Version", json_get_str(doc, "version"));
    add_usage(c, json_object_get(doc, "usage"));
    rc = add_part(c, "Labels", json_object_get(doc, "labels"));
    if (rc == EXIT_DONE)
        rc = add_part(c, "Workloads", json_object_get(doc, "workloads"));
    if (rc == EXIT_DONE)
        rc = add_part(c, "Scheduler", json_object_get(doc, "control"));
    const json_t *list = json_object_get(doc, "runtimes");
    if (rc != EXIT_DONE || json_array_size(list) == 0)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *condition = workload_text(row, "condition");
        table_cells(&t, json_get_str(row, "name"));
        table_cells(&t, json_get_str(row, "type"));
        table_cell(&t, slice_of(condition), workload_colour(condition));
    }
    buf_addc(&c->out, '\n');
    return cli_table(c, &t);
}
