/* run-script: get, put, edit, revert, backups. */
#include "base/file.h"
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/editor.h"
#include "gantry/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PATH_TEXT 8192
#define MAX_SCRIPT ((size_t)1 << 20)
#define MAX_ANSWER (16 * MAX_SCRIPT)
#define WRITE_PATIENCE_MS 40000 /* above gantryd's own for an agent that waits for its disk */
#define RUN "/containers/%s/services/%s/run"

static int write_call(struct cli *c, enum http_method method, const char *pattern,
                      struct slice body, const char *if_match, struct buf *answer,
                      struct cli_answer *ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), tag = BUF_INIT(MAX_PATH_TEXT);
    struct http_header h = {SLICE_LIT("if-match"), {NULL, 0}};
    int rc = cli_path(c, &path, pattern, c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    if (if_match != NULL) { /* people may leave the quotes out, which a shell takes away */
        bool bare = strpbrk(if_match, "\"*,") == NULL;
        (void)buf_addf(&tag, "%s%s%s", bare ? "\"" : "", if_match, bare ? "\"" : "");
        if (tag.err != 0)
            return cli_fail(c, EXIT_USAGE, NULL, "--if-match is too long");
        h.value = (struct slice){tag.data, tag.len};
    }
    const struct cli_call call = {.method = method,
                                  .path = path.data,
                                  .body = body,
                                  .patience_ms = WRITE_PATIENCE_MS,
                                  .headers = &h,
                                  .n_headers = if_match != NULL ? 1 : 0};
    return cli_exchange(c, &call, answer, ret);
}

/* Tells what a write has come to: "written: PATH", or the answer itself with -o json. */
static int tell_written(struct cli *c, const char *word, const struct buf *answer,
                        const struct cli_answer *a)
{
    struct slice text = {answer->data, answer->len};
    if (a->status < 200 || a->status >= 300)
        return cli_fail_status(c, a->status, text);
    if (c->json) {
        cli_json(c, text);
        return EXIT_DONE;
    }
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    const char *where = json_get_str(doc, "path");
    buf_addf(&c->out, "%s: ", word);
    text_clean(&c->out, slice_of(where != NULL ? where : ""));
    buf_addc(&c->out, '\n');
    return EXIT_DONE;
}

/* JSON carries text only: other bytes would arrive changed. */
static int check_script(struct cli *c, const char *name, const struct buf *text)
{
    if (slice_trim((struct slice){text->data, text->len}).len == 0)
        return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" is empty", name);
    if (!utf8_valid(text->data, text->len))
        return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" is not UTF-8 text", name);
    return EXIT_DONE;
}

static int content_body(struct cli *c, const struct buf *text, struct buf *body)
{
    struct json_out j;
    json_begin(&j, body);
    json_obj(&j);
    json_kslice(&j, "content", (struct slice){text->data, text->len});
    json_end_obj(&j);
    return body->err == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

static const char *if_match(const struct cli *c)
{
    return args_has(&c->args, OPTION_IF_MATCH) ? c->args.value[OPTION_IF_MATCH] : NULL;
}

static int put_file(struct cli *c, const char *name)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(MAX_SCRIPT), body = BUF_INIT(8 * MAX_SCRIPT),
                                   answer = BUF_INIT(MAX_ANSWER);
    struct cli_answer a;
    int rc = cli_input(c, name, &text);
    if (rc == EXIT_DONE)
        rc = check_script(c, name, &text);
    if (rc == EXIT_DONE)
        rc = content_body(c, &text, &body);
    if (rc == EXIT_DONE)
        rc = write_call(c, HTTP_METHOD_PUT, RUN, (struct slice){body.data, body.len}, if_match(c),
                        &answer, &a);
    return rc == EXIT_DONE ? tell_written(c, "written", &answer, &a) : rc;
}

/* The script and its tag. EXIT_DONE with *doc, or having said why not. */
static int get_script(struct cli *c, struct buf *answer, struct cli_answer *a, json_t **doc)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = cli_path(c, &path, RUN, c->args.words);
    const struct cli_call call = {.method = HTTP_METHOD_GET, .path = path.data};
    if (rc == EXIT_DONE)
        rc = cli_exchange(c, &call, answer, a);
    if (rc != EXIT_DONE)
        return rc;
    struct slice text = {answer->data, answer->len};
    if (a->status < 200 || a->status >= 300)
        return cli_fail_status(c, a->status, text);
    *doc = json_parse(text, NULL, NULL);
    if (json_get_str(*doc, "content") != NULL)
        return EXIT_DONE;
    return cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                    "%s does not answer as gantryd does", c->host.text);
}

static struct slice content_of(const json_t *doc)
{
    const json_t *v = json_object_get(doc, "content");
    return (struct slice){json_string_value(v), json_string_length(v)};
}

int cmd_run_script_get(struct cli *c)
{
    _cleanup_(buf_done) struct buf answer = BUF_INIT(MAX_ANSWER);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    struct cli_answer a;
    int rc = get_script(c, &answer, &a, &doc);
    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&c->args, OPTION_ETAG)) {
        if (a.etag[0] == '\0')
            return cli_fail(c, EXIT_NO, NULL, "%s sends no ETag", c->host.text);
        cli_text(c, slice_of(a.etag), true);
    } else if (c->json) {
        cli_json(c, (struct slice){answer.data, answer.len});
    } else {
        cli_text(c, content_of(doc), false);
    }
    return EXIT_DONE;
}

int cmd_run_script_put(struct cli *c)
{
    return put_file(c, c->args.words[2]);
}

/* The older form: prints, or with --set replaces. */
int cmd_run_script(struct cli *c)
{
    if (args_has(&c->args, OPTION_SET))
        return put_file(c, c->args.value[OPTION_SET]);
    if (if_match(c) != NULL)
        return cli_fail(c, EXIT_USAGE, NULL, "--if-match goes with --set");
    return cmd_run_script_get(c);
}

int cmd_run_script_revert(struct cli *c)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT(128), answer = BUF_INIT(MAX_ANSWER);
    struct cli_answer a;
    int64_t id;
    if (c->args.n_words < 3)
        (void)buf_addlit(&body, "{}");
    else if (str_to_i64(slice_of(c->args.words[2]), &id) != 0 || id <= 0)
        return cli_fail(c, EXIT_USAGE, "see: gantry run-script backups CONTAINER SERVICE",
                        "\"%s\" is not the ID of a backup", c->args.words[2]);
    else
        (void)buf_addf(&body, "{\"backup\":%lld}", (long long)id);
    if (body.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    int rc = write_call(c, HTTP_METHOD_POST, RUN "/revert", (struct slice){body.data, body.len},
                        if_match(c), &answer, &a);
    return rc == EXIT_DONE ? tell_written(c, "brought back", &answer, &a) : rc;
}

int cmd_run_script_backups(struct cli *c)
{
    static const char *const heads[] = {"ID", "WRITTEN (UTC)", "SIZE", "ETAG"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, RUN "/backups", c->args.words, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "backups");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *time = json_get_str(row, "time");
        int64_t id = 0, size = 0;
        char cell[32];
        struct buf b = BUF_FIXED(cell);
        (void)json_get_int(row, "id", &id);
        (void)json_get_int(row, "size", &size);
        (void)buf_addi(&b, id);
        table_cells(&t, cell);
        buf_clear(&b);
        if (time != NULL && strlen(time) >= 19)
            (void)buf_addf(&b, "%.10s %.8s", time, time + 11);
        table_cells(&t, time != NULL && b.len > 0 ? cell : time);
        buf_clear(&b);
        (void)buf_addi(&b, size);
        table_cells(&t, cell);
        table_cells(&t, json_get_str(row, "etag"));
    }
    return cli_table(c, &t);
}

/* --- edit --- */

/* A file of the user's own with the script in it; *path is owned. */
static int make_draft(struct cli *c, struct slice text, struct buf *path)
{
    struct err e = {0};
    const char *dir = getenv("TMPDIR");
    (void)buf_addf(path, "%s/gantry-run-XXXXXX", dir != NULL && dir[0] == '/' ? dir : "/tmp");
    if (path->err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    _cleanup_(file_closep) int fd = mkostemp(path->data, O_CLOEXEC);
    if (fd < 0)
        return cli_fail(c, EXIT_NO, NULL, "cannot make \"%s\": %s", path->data, strerror(errno));
    if (file_write_all(fd, text, &e) == 0)
        return EXIT_DONE;
    (void)unlink(path->data);
    return cli_fail(c, EXIT_NO, NULL, "\"%s\": %s", path->data, e.msg);
}

static int keep(struct cli *c, int code, const char *path)
{
    return cli_fail(c, code, NULL, "your text is kept in \"%s\"", path);
}

/* Sends the edited text, if the script is still the one that was shown. */
static int put_draft(struct cli *c, const char *path, const struct buf *text, const char *etag)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT(8 * MAX_SCRIPT), answer = BUF_INIT(MAX_ANSWER);
    struct cli_answer a;
    int rc = content_body(c, text, &body);
    /* The connection has been idle for as long as the user thought; nobody looked after it. */
    client_pool_free(c->pool);
    c->pool = NULL;
    if (rc == EXIT_DONE)
        rc = write_call(c, HTTP_METHOD_PUT, RUN, (struct slice){body.data, body.len}, etag, &answer,
                        &a);
    if (rc == EXIT_DONE && a.status == 412) {
        rc = cli_fail(c, EXIT_NO, "see: gantry run-script get",
                      "somebody else has changed the run script of \"%s\" meanwhile; it is not "
                      "overwritten",
                      c->args.words[1]);
        return keep(c, rc, path);
    }
    if (rc == EXIT_DONE)
        rc = tell_written(c, "written", &answer, &a);
    if (rc != EXIT_DONE)
        return keep(c, rc, path);
    (void)unlink(path);
    return EXIT_DONE;
}

static int edit_draft(struct cli *c, const char *path, struct slice shown, const char *etag)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(MAX_SCRIPT);
    struct err e = {0};
    bool edited = editor_run(&c->io, path, &e) == 0;
    if (!edited)
        (void)cli_fail(c, EXIT_NO,
                       e.code == ERR_NOT_FOUND ? "VISUAL or EDITOR names another" : NULL,
                       "%s; nothing is written", e.msg);
    /* Editors put a new file in the old one's place: it is opened by its name again. */
    int rc = cli_input(c, path, &text);
    if (rc != EXIT_DONE)
        return keep(c, rc, path);
    if (slice_eq((struct slice){text.data, text.len}, shown)) {
        (void)unlink(path);
        if (edited)
            buf_addlit(&c->out, "not changed\n");
        return edited ? EXIT_DONE : EXIT_NO;
    }
    if (!edited)
        return keep(c, EXIT_NO, path);
    rc = check_script(c, path, &text);
    return rc == EXIT_DONE ? put_draft(c, path, &text, etag) : keep(c, rc, path);
}

int cmd_run_script_edit(struct cli *c)
{
    _cleanup_(buf_done) struct buf answer = BUF_INIT(MAX_ANSWER), path = BUF_INIT(MAX_PATH_TEXT);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    struct cli_answer a;
    int rc = get_script(c, &answer, &a, &doc);
    if (rc != EXIT_DONE)
        return rc;
    if (a.etag[0] == '\0')
        return cli_fail(c, EXIT_NO, NULL,
                        "%s sends no ETag, so changes of others could be overwritten",
                        c->host.text);
    rc = make_draft(c, content_of(doc), &path);
    return rc == EXIT_DONE ? edit_draft(c, path.data, content_of(doc), a.etag) : rc;
}
