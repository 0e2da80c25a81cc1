/* profiles.c: profiles of a container and their gateways: list, show, create, delete, start, stop,
 * restart. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_TEXT 8192
#define MAX_BODY (512u * 1024u) /* gantryd knows the real limit, and says so */
#define PATIENCE_MS 60000       /* a gateway may take 10 s to end, and its supervisors some more */
#define WAIT_DEFAULT_MS 30000
#define WAIT_MAX_S 300 /* the agent's limit */
#define MS_PER_SECOND 1000

static const char *const heads[] = {"NAME",   "STATE",  "PID",          "UPTIME",
                                    "WANTED", "REASON", "GATEWAY SAYS", "PORT",
                                    "FOLDER", "SLOT",   "LOG",          "VARIABLES"};
#define NARROW 6

static void number_cell(struct table *t, const json_t *row, const char *key, bool duration)
{
    int64_t n;
    char text[64] = "";
    struct buf b = BUF_FIXED(text);
    if (json_get_int(row, key, &n) && duration)
        text_duration(&b, n);
    else if (json_get_int(row, key, &n))
        buf_addi(&b, n);
    table_cell(t, (struct slice){text, b.len}, TABLE_PLAIN);
}

static void bool_cell(struct table *t, const json_t *row, const char *key)
{
    bool yes = false;
    (void)json_get_bool(row, key, &yes);
    table_cell(t, slice_of(yes ? "yes" : "no"), yes ? TABLE_PLAIN : TABLE_YELLOW);
}

/* Names, as long as they fit. */
static void env_cell(struct table *t, const json_t *names)
{
    char text[512] = "";
    struct buf b = BUF_FIXED(text);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name != NULL && buf_addf(&b, "%s%s", b.len > 0 ? "," : "", name) != 0)
            break;
    }
    table_cell(t, (struct slice){text, b.len}, TABLE_PLAIN);
}

/* One that is down although nobody asked for it is the one to look at. */
static enum table_colour state_colour(const char *state, const char *reason)
{
    if (state != NULL && (strcmp(state, "up") == 0 || strcmp(state, "ready") == 0))
        return TABLE_GREEN;
    return reason != NULL && strcmp(reason, "not_wanted") != 0 ? TABLE_RED : TABLE_YELLOW;
}

static void add_row(struct table *t, const json_t *row, bool wide)
{
    const char *state = json_get_str(row, "state"), *reason = json_get_str(row, "reason");
    table_cells(t, json_get_str(row, "name"));
    table_cell(t, slice_of(state != NULL ? state : ""), state_colour(state, reason));
    number_cell(t, row, "pid", false);
    number_cell(t, row, "uptime_seconds", true);
    table_cells(t, json_get_str(row, "desired_state"));
    table_cells(t, reason);
    if (!wide)
        return;
    table_cells(t, json_get_str(row, "gateway_state"));
    number_cell(t, row, "port", false);
    bool_cell(t, row, "present");
    bool_cell(t, row, "registered");
    table_cells(t, json_get_str(row, "log_path"));
    env_cell(t, json_object_get(row, "env_names"));
}

int cmd_profiles_list(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/containers/%s/profiles", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : NARROW);
    const json_t *list = json_object_get(doc, "profiles");
    for (size_t i = 0; i < json_array_size(list); i++)
        add_row(&t, json_array_get(list, i), c->wide);
    return cli_table(c, &t);
}

int cmd_profiles_show(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/containers/%s/profiles/%s/gateway", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : NARROW);
    add_row(&t, doc, c->wide);
    return cli_table(c, &t);
}

/* "coder: created", and what did not work on the side. */
static void tell(struct cli *c, const json_t *doc, const char *name, const char *what)
{
    const char *own = json_get_str(doc, "name"), *warning = json_get_str(doc, "warning");
    text_clean(&c->out, slice_of(own != NULL ? own : name));
    buf_addf(&c->out, ": %s\n", what);
    if (warning != NULL)
        (void)cli_fail(c, EXIT_DONE, NULL, "warning: %s", warning);
}

static int call(struct cli *c, struct cli_call *call, const char *name, const char *what)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_call_json(c, call, &doc);
    if (doc != NULL)
        tell(c, doc, name, what);
    return rc;
}

/* The variables that were given, of equal names the last one; EXIT_DONE, or said what is wrong. */
static int add_env(struct cli *c, struct json_out *j)
{
    _cleanup_(json_decrefp) json_t *env = json_object();
    const char *key;
    json_t *v;
    for (size_t i = 0; i < c->args.n_values; i++) {
        const char *text = c->args.values[i].value;
        if (c->args.values[i].id != OPTION_ENV)
            continue;
        const char *equals = strchr(text, '=');
        size_t len = equals != NULL ? (size_t)(equals - text) : strlen(text);
        const char *value = equals != NULL ? equals + 1 : getenv(text);
        if (len == 0 || value == NULL)
            return cli_fail(c, EXIT_USAGE, NULL,
                            "--env \"%.*s\" is neither NAME=VALUE nor a variable that is set here",
                            (int)(len > 100 ? 100 : len), text);
        if (json_object_setn_new(env, text, len, json_string(value)) != 0)
            return cli_fail(c, EXIT_USAGE, NULL, "--env %.*s: not UTF-8, or memory is short",
                            (int)(len > 100 ? 100 : len), text);
    }
    json_key(j, "env");
    json_obj(j);
    json_object_foreach(env, key, v)
        json_kslice(j, key, (struct slice){json_string_value(v), json_string_length(v)});
    json_end_obj(j);
    return EXIT_DONE;
}

int cmd_profiles_create(struct cli *c)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), body = BUF_INIT(MAX_BODY);
    struct json_out j;
    int rc = cli_path(c, &path, "/containers/%s/profiles", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    json_begin(&j, &body);
    json_obj(&j);
    json_kstr(&j, "name", c->args.words[1]);
    if (args_has(&c->args, OPTION_ENV))
        rc = add_env(c, &j);
    json_end_obj(&j);
    if (rc != EXIT_DONE)
        return rc;
    if (body.err != 0)
        return cli_fail(c, EXIT_USAGE, NULL, "that is too long, or memory is short");
    return call(c,
                &(struct cli_call){.method = HTTP_METHOD_POST,
                                   .path = path.data,
                                   .body = {body.data, body.len},
                                   .patience_ms = PATIENCE_MS},
                c->args.words[1], "created");
}

static int delete_one(struct cli *c, const char *const *words)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = cli_path(c, &path, "/containers/%s/profiles/%s", words);
    if (rc != EXIT_DONE)
        return rc;
    return call(c,
                &(struct cli_call){
                    .method = HTTP_METHOD_DELETE, .path = path.data, .patience_ms = PATIENCE_MS},
                words[1], "deleted");
}

/* Whole seconds to wait for, which the agent does; 0 without --wait. */
static int64_t wait_seconds(const struct cli *c)
{
    uint64_t ms = c->timeout_ms != 0 ? c->timeout_ms : WAIT_DEFAULT_MS;
    if (!args_has(&c->args, OPTION_WAIT))
        return 0;
    uint64_t s = (ms + MS_PER_SECOND - 1) / MS_PER_SECOND;
    return s > WAIT_MAX_S ? WAIT_MAX_S : (int64_t)s;
}

static int act_one(struct cli *c, const char *const *words)
{
    const char *action = c->args.verb->name;
    char text[96];
    struct buf body = BUF_FIXED(text);
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int64_t wait = wait_seconds(c);
    uint64_t timeout_ms = c->timeout_ms;
    int rc = cli_path(c, &path, "/containers/%s/profiles/%s/gateway", words);
    if (rc != EXIT_DONE)
        return rc;
    (void)buf_addf(&body, "{\"action\":\"%s\",\"wait\":%lld}", action, (long long)wait);
    if (wait > 0)
        c->timeout_ms = 0; /* it is the agent that looks at the time; we only see that it answers */
    rc = call(c,
              &(struct cli_call){.method = HTTP_METHOD_POST,
                                 .path = path.data,
                                 .body = {text, body.len},
                                 .patience_ms = PATIENCE_MS + (uint64_t)wait * MS_PER_SECOND},
              words[1], action);
    c->timeout_ms = timeout_ms;
    return rc;
}

static int each(struct cli *c, int (*one)(struct cli *c, const char *const *words))
{
    int code = EXIT_DONE;
    for (size_t i = 1; i < c->args.n_words; i++) {
        const char *const words[] = {c->args.words[0], c->args.words[i]};
        int rc = one(c, words);
        if (rc == EXIT_UNREACHABLE) /* the others would say the same again */
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

int cmd_profiles_delete(struct cli *c)
{
    return each(c, delete_one);
}

int cmd_profiles_act(struct cli *c)
{
    return each(c, act_one);
}
