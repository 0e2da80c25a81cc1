/* import.c: a "docker run" command line as a workload. */
#include "gantry/import.h"
#include "base/file.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/docker_run.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *variable(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

static int read_named(void *ctx, const char *path, struct buf *content, struct err *e)
{
    (void)ctx;
    return file_read(AT_FDCWD, path, 0, content, e);
}

static void tell_notes(struct cli *c, const struct docker_run_notes *notes)
{
    char *const *errors = notes->errors.items, *const *warnings = notes->warnings.items;
    for (size_t i = 0; i < notes->warnings.count; i++)
        cli_fail(c, 0, NULL, "warning: %s", warnings[i]);
    for (size_t i = 0; i < notes->errors.count; i++)
        cli_fail(c, 0, NULL, "%s", errors[i]);
}

/* The document as JSON text, with what it keeps secret: it came from our own command line. */
int import_json(struct cli *c, const struct workload_doc *d, struct buf *out)
{
    struct json_out j;
    json_begin(&j, out);
    schema_write_json_as(&workload_doc_schema, d, SCHEMA_JSON_COMPACT | SCHEMA_JSON_SECRETS, &j);
    return out->err == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "%s", err_row(out->err)->text);
}

static int print_document(struct cli *c, struct slice text)
{
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    if (c->format == CLI_JSON) {
        cli_json(c, text);
        return EXIT_DONE;
    }
    return doc != NULL ? cli_yaml(c, doc, 0) : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

static int apply_document(struct cli *c, const char *id, struct slice text)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    struct workload_wait w;
    int rc = cli_target(c);
    if (rc == EXIT_DONE)
        rc = cli_path(c, &path, "/v1/workloads/%s", &id);
    if (rc != EXIT_DONE)
        return rc;
    workload_wait_begin(&w, c);
    rc = cli_call_json(
        c, &(struct cli_call){.method = HTTP_METHOD_PUT, .path = path.data, .body = text}, &doc);
    if (doc != NULL)
        workload_told(c, id, doc);
    if (rc == EXIT_DONE && args_has(&c->args, OPTION_WAIT))
        rc = workload_wait(&w, id, GOAL_RUNNING);
    return rc;
}

int import_end(struct cli *c, const char *id, struct slice json)
{
    return args_has(&c->args, OPTION_APPLY) ? apply_document(c, id, json) : print_document(c, json);
}

/* The words of our own command line, or the text of a file. */
static int convert(struct cli *c, struct workload_doc *d, struct docker_run_notes *notes,
                   struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(DOCKER_RUN_TEXT_MAX);
    char cwd[4096];
    struct docker_run_options o = {
        .cwd = getcwd(cwd, sizeof cwd),
        .variable = variable,
        .file = read_named,
        .keep_going = args_has(&c->args, OPTION_KEEP_GOING),
    };
    if (!args_has(&c->args, OPTION_FILE))
        return docker_run_words(d, c->args.words, c->args.n_words, &o, notes, e);
    int rc = cli_input(c, c->args.value[OPTION_FILE], &text);
    if (rc == EXIT_DONE)
        return docker_run_text(d, (struct slice){text.data, text.len}, &o, notes, e);
    return ERR_CANCELLED; /* told already */
}

int cmd_import(struct cli *c)
{
    struct workload_doc d = {0};
    struct docker_run_notes notes = {0};
    struct err e = {0};
    _cleanup_(buf_done) struct buf text = BUF_INIT(2 * DOC_TEXT_MAX);
    if (args_has(&c->args, OPTION_FILE) == (c->args.n_words > 0))
        return cli_fail(c, EXIT_USAGE, "see: gantry help import docker-run",
                        "either the words of a command line or -f FILE that holds it");
    int code, rc = convert(c, &d, &notes, &e);
    tell_notes(c, &notes);
    if (rc == 0)
        code = import_json(c, &d, &text);
    else if (rc == ERR_CANCELLED)
        code = EXIT_NO;
    else if (notes.errors.count > 0)
        code = rc == ERR_UNSUPPORTED ? cli_fail(c, EXIT_NO, "--keep-going leaves these flags out",
                                                "not all of it can be kept")
                                     : EXIT_USAGE;
    else
        code = cli_fail(c, rc == ERR_NO_MEMORY ? EXIT_NO : EXIT_USAGE, NULL, "%s", e.msg);
    struct slice json = {text.data, text.len};
    if (code == EXIT_DONE)
        code = import_end(c, d.id, json);
    docker_run_notes_done(&notes);
    workload_doc_done(&d);
    return code;
}
