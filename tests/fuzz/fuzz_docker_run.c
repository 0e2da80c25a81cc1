/* Command lines of docker run: any text gives a document that stands all checks, or notes that say
 * why not. */
#include "base/mem.h"
#include "base/str.h"
#include "core/docker_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *variable(void *ctx, const char *name)
{
    (void)ctx;
    return name[0] == 'A' ? "value of A" : NULL;
}

static int file(void *ctx, const char *path, struct buf *content, struct err *e)
{
    (void)ctx;
    if (strcmp(path, "x") != 0)
        return err_set(e, ERR_NOT_FOUND, "not there");
    return buf_adds(content, "A=1\n# b\nB\nA\n");
}

static void check_notes(const struct schema_list *l)
{
    INVARIANT(l->count <= DOCKER_RUN_NOTES_MAX);
    for (size_t i = 0; i < l->count; i++) {
        const char *text = ((char **)l->items)[i];
        INVARIANT(text[0] != '\0' && utf8_valid(text, strlen(text)));
        INVARIANT(strpbrk(text, "\n\x1B") == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct docker_run_options options[] = {
        {0},
        {.id = "mine", .cwd = "/work", .variable = variable, .file = file, .keep_going = true}};
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct workload_doc d;
        struct docker_run_notes n;
        struct err e = {0};
        int rc = docker_run_text(&d, (struct slice){(const char *)data, size}, &options[i], &n, &e);
        INVARIANT(rc == 0 || (e.code == rc && e.msg[0] != '\0'));
        if (rc == 0)
            INVARIANT(workload_doc_check(&d, &e) == 0 && n.errors.count == 0);
        check_notes(&n.errors);
        check_notes(&n.warnings);
        docker_run_notes_done(&n);
        workload_doc_done(&d);
    }
    return 0;
}
