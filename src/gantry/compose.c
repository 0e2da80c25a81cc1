/* compose.c: Compose projects: their services, and Compose files as workloads. */
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/compose_import.h"
#include "gantry/import.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_ROOM = 1 << 20, PATH_ROOM = 4096 };

/* --- compose ps ----------------------------------------------------------------------------- */

int cmd_compose_ps(struct cli *c)
{
    static const char *const brief[] = {"SERVICE", "STATE", "HEALTH", "IMAGE", "MESSAGE"};
    static const char *const wide[] = {"SERVICE", "STATE",  "HEALTH", "EXIT CODE",
                                       "STARTED", "OBJECT", "IMAGE",  "MESSAGE"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    struct table t;
    int rc = cli_get(c, "/v1/workloads/%s/parts", c->args.words, &doc);
    if (doc == NULL || c->json)
        return rc;
    table_init(&t, c->wide ? wide : brief, c->wide ? ARRAY_LEN(wide) : ARRAY_LEN(brief));
    const json_t *parts = json_object_get(doc, "parts");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *p = json_array_get(parts, i);
        const char *state = workload_text(p, "state"), *health = workload_text(p, "health");
        char text[32] = "";
        struct buf b = BUF_FIXED(text);
        int64_t code;
        table_cells(&t, workload_text(p, "name"));
        table_cell(&t, slice_of(state), workload_colour(state));
        table_cell(&t, slice_of(health), workload_colour(health));
        if (c->wide) {
            if (json_get_int(p, "exit_code", &code))
                buf_addi(&b, code);
            table_cell(&t, (struct slice){b.data, b.len}, TABLE_PLAIN);
            table_cells(&t, workload_text(p, "started_at"));
            table_cell(&t,
                       (struct slice){workload_text(p, "object_id"),
                                      strnlen(workload_text(p, "object_id"), 12)},
                       TABLE_PLAIN);
        }
        table_cells(&t, workload_text(p, "image"));
        table_cells(&t, workload_text(p, "message"));
    }
    rc = cli_table(c, &t);
    table_done(&t);
    return rc;
}

/* --- import compose ------------------------------------------------------------------------- */

struct telling {
    struct cli *c;
    const char *file;
};

static void tell(void *ctx, bool fault, size_t line, const char *text)
{
    const struct telling *t = ctx;
    cli_fail(t->c, 0, NULL, "%s:%zu: %s%s", t->file, line, fault ? "" : "note: ", text);
}

static int no_memory(struct cli *c)
{
    return cli_fail(c, EXIT_NO, NULL, "out of memory");
}

/* The folder of the file, absolute. */
static int folder_of(struct cli *c, const char *file, char out[PATH_ROOM])
{
    char real[PATH_ROOM];
    if (strcmp(file, "-") == 0)
        return cli_fail(
            c, EXIT_USAGE, NULL,
            "\"-\": paths in a Compose file are those of its folder: give it as a file");
    const char *slash = strrchr(file, '/');
    size_t n = slash != NULL ? (size_t)(slash - file) : 0;
    char *dir = slash == NULL ? mem_strdup(".") : mem_strndup(file, n > 0 ? n : 1);
    if (dir == NULL)
        return no_memory(c);
    const char *found = realpath(dir, real);
    mem_free(dir);
    if (found == NULL)
        return cli_fail(c, EXIT_USAGE, NULL, "%s: its folder cannot be found", file);
    (void)snprintf(out, PATH_ROOM, "%s", real);
    return EXIT_DONE;
}

/* --env-file, else .env beside the file if it is there. */
static int take_env(struct cli *c, const char *dir, struct workload_doc *d)
{
    const char *given = c->args.value[OPTION_ENV_FILE];
    char beside[PATH_ROOM + 8];
    struct buf text = BUF_INIT(FILE_ROOM);
    struct err e = {0};
    (void)snprintf(beside, sizeof(beside), "%s/.env", dir);
    int rc = file_read(AT_FDCWD, given != NULL ? given : beside, 0, &text, &e), code = EXIT_DONE;
    if (rc == 0)
        rc = compose_import_env((struct slice){text.data, text.len}, &d->compose.env, &e);
    else if (rc == ERR_NOT_FOUND && given == NULL)
        rc = 0;
    if (rc == 0 && given == NULL && text.len > 0)
        cli_fail(c, 0, NULL, "note: its variables are those of %s", beside);
    if (rc != 0)
        code = cli_fail(c, EXIT_USAGE, NULL, "%s: %s", given != NULL ? given : beside, e.msg);
    if (text.data != NULL)
        mem_wipe(text.data, text.cap);
    buf_done(&text);
    return code;
}

/* --id, else the name of the folder in which the file lies. */
static int take_id(struct cli *c, const char *dir, struct workload_doc *d)
{
    struct err e = {0};
    const char *slash = strrchr(dir, '/');
    const char *id = c->args.value[OPTION_ID] != NULL ? c->args.value[OPTION_ID] : slash + 1;
    if (workload_id_check(slice_of(id), &e) != 0)
        return cli_fail(c, EXIT_USAGE, "--id gives it another one", "%s", e.msg);
    d->id = mem_strdup(id);
    return d->id != NULL ? EXIT_DONE : no_memory(c);
}

static int take_file(struct cli *c, const char *file, const char *dir, struct workload_doc *d)
{
    struct telling t = {c, file};
    struct err e = {0};
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_ROOM);
    struct buf out = BUF_INIT(DOC_TEXT_MAX);
    int rc = cli_input(c, file, &text);
    if (rc != EXIT_DONE)
        return rc;
    rc = compose_import((struct slice){text.data, text.len}, dir, &out, tell, &t, &e);
    if (rc == 0)
        d->compose.compose_yaml = buf_steal(&out, NULL);
    buf_done(&out);
    if (rc == 0)
        return d->compose.compose_yaml != NULL ? EXIT_DONE : no_memory(c);
    return cli_fail(c, rc == ERR_UNSUPPORTED ? EXIT_NO : EXIT_USAGE, NULL, "%s: %s", file, e.msg);
}

int cmd_import_compose(struct cli *c)
{
    struct workload_doc d = {0};
    struct err e = {0};
    char dir[PATH_ROOM];
    const char *file = c->args.words[0];
    _cleanup_(buf_done) struct buf text = BUF_INIT(2 * DOC_TEXT_MAX);
    if (workload_doc_init(&d, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    d.type = WORKLOAD_COMPOSE;
    int code = folder_of(c, file, dir);
    if (code == EXIT_DONE)
        code = take_id(c, dir, &d);
    if (code == EXIT_DONE)
        code = take_file(c, file, dir, &d);
    if (code == EXIT_DONE)
        code = take_env(c, dir, &d);
    if (code == EXIT_DONE && workload_doc_check(&d, &e) != 0)
        code = cli_fail(c, EXIT_USAGE, NULL, "%s: %s", file, e.msg);
    if (code == EXIT_DONE)
        code = import_json(c, &d, &text);
    if (code == EXIT_DONE)
        code = import_end(c, d.id, (struct slice){text.data, text.len});
    workload_doc_done(&d);
    return code;
}
