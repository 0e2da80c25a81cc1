/* Workload documents: any text is read or refused with faults whose places are inside the text;
 * what was read is stored, loaded and stored again the same, shown and read back, and has one
 * print. */
#include "../unit/core/sealer_fake.h"

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/workload_doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sealer_fake fake = {.key = 7};

static void check_faults(const struct schema_report *r, size_t size)
{
    size_t errors = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct schema_fault *f = &r->faults[i];
        INVARIANT(f->line >= 1 && (size_t)f->line <= size + 1);
        INVARIANT(f->column >= 1 && (size_t)f->column <= size + 2);
        INVARIANT(f->msg[0] != '\0' && utf8_valid(f->msg, strlen(f->msg)));
        INVARIANT(strpbrk(f->msg, "\n\x1B") == NULL);
        errors += !f->warning;
    }
    INVARIANT(errors == r->errors);
}

static int no_difference(void *ctx, const char *path, struct slice a, struct slice b)
{
    (void)ctx;
    (void)path;
    (void)a;
    (void)b;
    return ERR_INTERNAL;
}

/* The shown form is read as a document and differs in nothing. */
static void check_shown(const struct workload_doc *d, struct slice stored)
{
    struct workload_doc again;
    struct schema_report r;
    struct err e = {0};
    struct buf text = BUF_INIT(16u << 20), shown = BUF_INIT(16u << 20);
    INVARIANT(workload_doc_show(stored, &shown, &e) == 0);
    (void)buf_addf(&text, "{\"id\":\"%s\",\"type\":\"%s\"%s", d->id,
                   workload_type_name((enum workload_type)d->type), shown.len > 0 ? "," : "");
    (void)buf_add(&text, shown.data, shown.len);
    (void)buf_addlit(&text, "}");
    /* What was 1 MiB of YAML may be more as JSON. */
    if (text.len <= DOC_TEXT_MAX) {
        INVARIANT(workload_doc_read(&again, (struct slice){text.data, text.len}, &r, &e) == 0);
        INVARIANT(workload_doc_keep_secrets(&again, d, &e) == 0);
        INVARIANT(workload_doc_diff(d, &again, no_difference, NULL, &e) == 0);
        schema_report_done(&r);
        workload_doc_done(&again);
    }
    buf_done(&text);
    buf_done(&shown);
}

static void check_forms(const struct workload_doc *d)
{
    const struct sealer s = SEALER_FAKE(&fake);
    struct buf one = BUF_INIT(16u << 20), two = BUF_INIT(16u << 20);
    struct workload_doc again;
    struct err e = {0};
    char print[SEALER_PRINT_SIZE], print2[SEALER_PRINT_SIZE];
    INVARIANT(workload_doc_check(d, &e) == 0);
    int rc = workload_doc_store(d, &s, &one, &e);
    if (rc == 0) {
        struct slice stored = {one.data, one.len};
        INVARIANT(workload_doc_load(&again, slice_of(d->id), (enum workload_type)d->type, stored,
                                    &s, &e) == 0);
        INVARIANT(workload_doc_store(&again, &s, &two, &e) == 0);
        INVARIANT(slice_eq(stored, (struct slice){two.data, two.len}));
        INVARIANT(workload_doc_diff(d, &again, no_difference, NULL, &e) == 0);
        INVARIANT(workload_doc_print(d, &s, print, &e) == 0);
        INVARIANT(workload_doc_print(&again, &s, print2, &e) == 0);
        INVARIANT(strcmp(print, print2) == 0);
        check_shown(d, stored);
        workload_doc_done(&again);
    } else {
        INVARIANT(rc == ERR_LIMIT);
    }
    buf_done(&one);
    buf_done(&two);
}

/* What a damaged store may hold is loaded or refused. */
static void check_damage(struct slice text)
{
    const struct sealer s = SEALER_FAKE(&fake);
    struct workload_doc d;
    struct err e = {0};
    struct buf shown = BUF_INIT(16u << 20);
    (void)workload_doc_load(&d, SLICE_LIT("web"), WORKLOAD_CONTAINER, text, &s, &e);
    workload_doc_done(&d);
    (void)workload_doc_show(text, &shown, &e);
    buf_done(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct workload_docs docs;
    struct schema_report r;
    struct err e = {0};
    json_in_init();
    int rc = workload_docs_read(&docs, text, &r, &e);
    INVARIANT(rc == 0 || e.code == rc);
    INVARIANT((rc == ERR_INVALID) == (r.errors > 0) || rc == ERR_LIMIT);
    check_faults(&r, size);
    for (size_t i = 0; i < docs.count; i++)
        check_forms(&docs.items[i]);
    schema_report_done(&r);
    workload_docs_done(&docs);
    check_damage(text);
    return 0;
}
