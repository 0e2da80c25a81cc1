/* output.c: what is said: results on standard output, failures on standard error. */
#include "base/file.h"
#include "base/json_in.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "gantry/yaml_out.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define OUT_FLUSH ((size_t)64 << 10)
#define YAML_MAX ((size_t)256 << 20)

int cli_fail(struct cli *c, int code, const char *hint, const char *fmt, ...)
{
    if (c->quiet)
        return code;
    cli_flush(c); /* so that what was said before stands before it on a terminal */
    struct err e;
    va_list ap;
    _cleanup_(buf_done) struct buf text = BUF_INIT(8192), line = BUF_INIT(16384);
    va_start(ap, fmt);
    buf_addvf(&text, fmt, ap);
    va_end(ap);
    buf_addlit(&line, "gantry: ");
    text_clean(&line, slice_trim((struct slice){text.data, text.len}));
    if (hint != NULL) {
        buf_addlit(&line, " (");
        text_clean(&line, slice_of(hint));
        buf_addc(&line, ')');
    }
    buf_addc(&line, '\n');
    if (c->holding && text.err == 0 && line.err == 0) {
        (void)buf_add(&c->failures, line.data, line.len);
        return code;
    }
    if (text.err == ERR_NO_MEMORY || line.err == ERR_NO_MEMORY)
        (void)file_write_all(c->io.err, SLICE_LIT("gantry: out of memory\n"), &e);
    else
        (void)file_write_all(c->io.err, (struct slice){line.data, line.len}, &e);
    return code;
}

int cli_fail_err(struct cli *c, const struct err *e)
{
    switch (e->code) {
    case ERR_NO_MEMORY:
    case ERR_LIMIT:
    case ERR_NO_FILES:
        return cli_fail(c, EXIT_NO, NULL, "%s", e->msg);
    case ERR_DENIED:
        return cli_fail(c, EXIT_NOT_ALLOWED, "be root, or in the group of the socket", "%s: %s",
                        c->host.text, e->msg);
    case ERR_TIMEOUT:
        return cli_fail(c, EXIT_UNREACHABLE, "gantryd is there but does not answer; see its log",
                        "no answer from %s: %s", c->host.text, e->msg);
    case ERR_TLS:
        return cli_fail(c, EXIT_UNREACHABLE, "--cacert FILE names the authorities to trust",
                        "cannot talk to %s: %s", c->host.text, e->msg);
    default:
        return cli_fail(c, EXIT_UNREACHABLE,
                        "is gantryd running there? --host or GANTRY_HOST says where",
                        "cannot reach gantryd at %s: %s", c->host.text, e->msg);
    }
}

/* The text of an error answer, in any of the shapes of the talos contract, 1.3. */
static const char *error_text(const json_t *doc)
{
    const char *text = json_get_str(doc, "error");
    if (text != NULL && *text != '\0')
        return text;
    text = json_get_str(doc, "detail");
    if (text != NULL)
        return text;
    const json_t *list = json_object_get(doc, "detail");
    return json_get_str(json_array_get(list, 0), "msg");
}

/* An agent's own words come third, behind the two lines that old clients know (contract 1.8):
 * "...: Client error '404 Not Found' for url '...'\nFor more information check: ...\nService ..."
 */
static const char *agents_words(const char *text)
{
    const char *line = strstr(text, "\nFor more information check: ");
    const char *words = line == NULL ? NULL : strchr(line + 1, '\n');
    return words == NULL || words[1] == '\0' ? text : words + 1;
}

/* Whether the command is about workloads only. */
static bool workload_verb(const struct verb *v)
{
    static int (*const runs[])(struct cli *) = {cmd_apply,
                                                cmd_diff,
                                                cmd_get,
                                                cmd_describe,
                                                cmd_delete,
                                                cmd_exec,
                                                cmd_stats,
                                                cmd_top,
                                                cmd_tasks,
                                                cmd_workload_act,
                                                cmd_wait,
                                                cmd_import,
                                                cmd_node,
                                                cmd_events,
                                                cmd_console,
                                                cmd_snapshot_list,
                                                cmd_snapshot_create,
                                                cmd_snapshot_revert,
                                                cmd_snapshot_delete};
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        if (v->run == runs[i])
            return true;
    return false;
}

static const char *hint_for(const struct cli *c, int status, const char *text)
{
    static const char see_services[] = "see: gantry containers, gantry services CONTAINER";
    const struct verb *v = c->args.verb;
    bool docker = v != NULL && v->group != NULL &&
                  (strcmp(v->group, "docker") == 0 || strcmp(v->group, "bashrc") == 0);
    bool workload = v != NULL && workload_verb(v);
    bool its_log = v != NULL && v->run == cmd_logs && c->args.n_words == 1;
    bool token = v != NULL && v->group != NULL && strcmp(v->group, "token") == 0;
    switch (status) {
    case 401:
        return "--token-file FILE, GANTRY_TOKEN or a context's token_file says who we are";
    case 403:
        return "see: gantry whoami; an administrator gives rights with gantry token create";
    case 412:
        if (workload)
            return "it has been changed meanwhile";
        return "see: gantry run-script get CONTAINER SERVICE --etag";
    case 404:
        if (token)
            return "see: gantry token list";
        if (strncmp(text, "workload \"", 10) == 0 && strstr(text, "\" has no service \"") != NULL)
            return NULL; /* it names those that are there */
        if (workload || strncmp(text, "Workload '", 10) == 0)
            return "see: gantry get";
        if (its_log) /* the workload is there */
            return "see: gantry explain ID";
        if (strstr(text, "o backup") != NULL) /* the service is there */
            return "see: gantry run-script backups CONTAINER SERVICE";
        if (v != NULL && v->group != NULL && strcmp(v->group, "profiles") == 0)
            return "see: gantry containers, gantry profiles list CONTAINER";
        return docker ? "see: gantry docker ps -a" : see_services;
    case 503:
        if (docker)
            return "is the Docker engine running?";
        if (workload || its_log)
            return NULL;
        if (strstr(text, ": Client error '404") != NULL)
            return see_services;
        return strstr(text, ": Client error") == NULL ? "is gantry-agent running in the container?"
                                                      : NULL;
    case 504:
        return "try again, or see the log of gantryd";
    default:
        return NULL;
    }
}

int cli_fail_status(struct cli *c, int status, struct slice body)
{
    int code = status == 401 || status == 403 || status == 421 ? EXIT_NOT_ALLOWED : EXIT_NO;
    _cleanup_(json_decrefp) json_t *doc = json_parse(body, NULL, NULL);
    const char *text = error_text(doc);
    if (text != NULL)
        return cli_fail(c, code, hint_for(c, status, text), "%s", agents_words(text));
    /* gantryd itself says without JSON only that a request was bad, or that it has failed. */
    bool foreign = status < 400 || (status != 400 && status < 500 && code == EXIT_NO);
    return cli_fail(c, foreign ? EXIT_UNREACHABLE : code,
                    foreign ? "is this address gantryd's?" : hint_for(c, status, ""),
                    "%s answered %d %s", c->host.text, status, http_status_text(status));
}

void cli_flush(struct cli *c)
{
    struct err e = {0};
    if (c->holding)
        return;
    if (c->out.len > 0 && c->out_error == 0 &&
        file_write_all(c->io.out, (struct slice){c->out.data, c->out.len}, &e) != 0)
        c->out_error = e.sys != 0 ? e.sys : EIO;
    if (c->out.err == 0)
        buf_clear(&c->out);
}

void cli_text(struct cli *c, struct slice text, bool line)
{
    if (c->terminal) {
        struct text_filter f;
        text_filter_init(&f, c->colour);
        text_filter_feed(&f, text, &c->out);
        text_filter_end(&f, &c->out);
    } else {
        buf_add(&c->out, text.p, text.len);
    }
    if (line && text.len > 0 && text.p[text.len - 1] != '\n')
        buf_addc(&c->out, '\n');
    if (c->out.len > OUT_FLUSH)
        cli_flush(c);
}

void cli_json(struct cli *c, struct slice body)
{
    struct err e = {0};
    _cleanup_(json_decrefp) json_t *doc = c->format == CLI_YAML ? json_parse(body, NULL, &e) : NULL;
    if (doc == NULL) { /* also an answer that is no JSON: then it is what can be shown */
        if (e.code == ERR_NO_MEMORY)
            c->out.err = c->out.err != 0 ? c->out.err : ERR_NO_MEMORY;
        cli_text(c, body, true);
        return;
    }
    _cleanup_(buf_done) struct buf yaml = BUF_INIT(YAML_MAX);
    int rc = yaml_write(&yaml, doc);
    if (rc != 0) {
        c->out.err = c->out.err != 0 ? c->out.err : rc;
        return;
    }
    if (c->n_documents++ > 0)
        cli_text(c, SLICE_LIT("---\n"), true);
    cli_text(c, (struct slice){yaml.data, yaml.len}, true);
}

void cli_json_value(struct cli *c, const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        c->out.err = c->out.err != 0 ? c->out.err : ERR_NO_MEMORY;
        return;
    }
    cli_json(c, slice_of(text));
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
}

int cli_yaml(struct cli *c, const json_t *doc, size_t indent)
{
    static const char blanks[] = "        ";
    _cleanup_(buf_done) struct buf yaml = BUF_INIT(YAML_MAX), text = BUF_INIT(YAML_MAX);
    struct slice rest, line;
    if (yaml_write(&yaml, doc) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", err_row(yaml.err)->text);
    rest = (struct slice){yaml.data, yaml.len > 0 ? yaml.len - 1 : 0};
    while (slice_split(&rest, '\n', &line)) {
        if (line.len > 0)
            buf_add(&text, blanks, indent < sizeof blanks ? indent : sizeof blanks - 1);
        buf_add(&text, line.p, line.len);
        buf_addc(&text, '\n');
    }
    if (text.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    cli_text(c, (struct slice){text.data, text.len}, true);
    return EXIT_DONE;
}

int cli_table(struct cli *c, const struct table *t)
{
    if (table_print(t, c->colour, !args_has(&c->args, OPTION_NO_HEADERS), &c->out) != 0)
        return cli_fail(c, EXIT_NO, NULL, "the table is too large");
    return EXIT_DONE;
}
