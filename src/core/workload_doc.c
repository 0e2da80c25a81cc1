/* workload_doc.c: reading documents. */
#include "core/workload_doc.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

int workload_doc_init(struct workload_doc *d, struct err *e)
{
    return schema_defaults(&workload_doc_schema, d, e);
}

void workload_doc_done(struct workload_doc *d)
{
    schema_done(&workload_doc_schema, d);
}

int workload_doc_check(const struct workload_doc *d, struct err *e)
{
    return schema_check(&workload_doc_schema, d, e);
}

/* --- Characters beyond U+FFFF in JSON ---
 *
 * JSON writes them as two \u of surrogates, YAML as \U and eight digits. A text that was refused is
 * read again with the latter, so that JSON of any program is understood. */

static int hex4(struct slice s)
{
    int v = 0;
    if (s.len < 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        char c = s.p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* The character of the two halves at the start of s, after the first backslash; 0 if none. */
static uint32_t surrogate_pair(struct slice s)
{
    if (s.len < 11 || s.p[0] != 'u' || s.p[5] != '\\' || s.p[6] != 'u')
        return 0;
    int high = hex4((struct slice){s.p + 1, 4}), low = hex4((struct slice){s.p + 7, 4});
    if (high < 0xD800 || high > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return 0;
    return 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
}

static bool has_surrogates(struct slice text)
{
    struct slice t = slice_trim(text);
    if (t.len == 0 || (t.p[0] != '{' && !slice_starts(t, "---")))
        return false;
    for (size_t i = 0; i + 2 < t.len; i++)
        if (t.p[i] == '\\' && t.p[i + 1] == 'u' && (t.p[i + 2] == 'd' || t.p[i + 2] == 'D'))
            return true;
    return false;
}

/* Never longer than the text. */
static int join_surrogates(struct slice text, struct buf *out)
{
    bool text_part = false;
    int r = buf_reserve(out, text.len);
    for (size_t i = 0; r == 0 && i < text.len; i++) {
        uint32_t c = 0;
        if (text.p[i] == '"')
            text_part = !text_part;
        if (text_part && text.p[i] == '\\' && i + 1 < text.len) {
            c = surrogate_pair((struct slice){text.p + i + 1, text.len - i - 1});
            if (c != 0)
                r = buf_addf(out, "\\U%08X", c);
            else
                r = buf_add(out, text.p + i, 2);
            i += c != 0 ? 11 : 1;
        } else {
            r = buf_addc(out, text.p[i]);
        }
    }
    return r;
}

static void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

/* --- One document --- */

static int read_once(struct workload_doc *d, struct slice text, int first_line,
                     struct schema_report *r, struct err *e)
{
    const struct schema_layer layer = {.first_line = first_line};
    int rc = workload_doc_init(d, e);
    if (rc != 0)
        return rc;
    rc = schema_read_layer(&workload_doc_schema, d, text, &layer, r, e);
    return rc == 0 ? workload_doc_settle(d, e) : rc;
}

int workload_doc_read_at(struct workload_doc *d, struct slice text, int first_line,
                         struct schema_report *r, struct err *e)
{
    *r = (struct schema_report){0};
    memset(d, 0, sizeof(*d));
    if (text.len > DOC_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the document has %zu bytes, more than %u", text.len,
                       DOC_TEXT_MAX);
    int rc = read_once(d, text, first_line, r, e);
    if (rc != ERR_INVALID || !has_surrogates(text))
        return rc;
    struct buf joined = BUF_INIT(DOC_TEXT_MAX);
    rc = join_surrogates(text, &joined);
    if (rc == 0) {
        workload_doc_done(d);
        schema_report_done(r);
        rc = read_once(d, (struct slice){joined.data, joined.len}, first_line, r, e);
    } else {
        rc = err_set(e, rc, "out of memory while reading a document");
    }
    buf_wipe(&joined);
    return rc;
}

int workload_doc_read(struct workload_doc *d, struct slice text, struct schema_report *r,
                      struct err *e)
{
    return workload_doc_read_at(d, text, 1, r, e);
}

/* --- Several --- */

static bool is_mark(struct slice line)
{
    return slice_starts(line, "---") &&
           (line.len == 3 || line.p[3] == ' ' || line.p[3] == '\t' || line.p[3] == '\r');
}

/* Nothing but blanks, comments, directives and the marks themselves. */
static bool is_idle(struct slice line)
{
    if (is_mark(line))
        line = (struct slice){line.p + 3, line.len - 3};
    else if (line.len > 0 && line.p[0] == '%')
        return true;
    line = slice_trim(line);
    return line.len == 0 || line.p[0] == '#' || slice_eqs(line, "...");
}

int workload_docs_split(struct slice text,
                        int (*fn)(void *ctx, struct slice document, int first_line), void *ctx,
                        struct err *e)
{
    text = schema_text(text);
    struct slice rest = text, line;
    const char *begin = text.p;
    bool idle = true, marked = false;
    int number = 0, first = 1, rc = 0;
    size_t count = 0;
    if (text.len > DOCS_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the text has %zu bytes, more than %u", text.len,
                       DOCS_TEXT_MAX);
    while (rc == 0 && slice_split(&rest, '\n', &line)) {
        number++;
        if (is_mark(line)) {
            if (!idle && ++count > DOCS_MAX)
                return err_set(e, ERR_LIMIT, "more than %d documents", DOCS_MAX);
            if (!idle)
                rc = fn(ctx, (struct slice){begin, (size_t)(line.p - begin)}, first);
            /* Directives belong to the document behind them. */
            if (!idle || marked) {
                begin = line.p;
                first = number;
            }
            idle = true;
            marked = true;
        }
        idle = idle && is_idle(line);
    }
    if (rc != 0 || idle)
        return rc;
    return fn(ctx, (struct slice){begin, (size_t)(text.p + text.len - begin)}, first);
}

struct reading {
    struct workload_docs *docs;
    struct schema_report *report;
    struct map ids;
    struct err *e;
};

/* Takes the faults of one document over; `part` is then empty. */
static int add_report(struct schema_report *whole, struct schema_report *part)
{
    struct schema_fault *all;
    if (whole->count == 0) {
        *whole = *part;
        *part = (struct schema_report){0};
        return 0;
    }
    if (part->count == 0)
        return 0;
    all = mem_realloc(whole->faults, (whole->count + part->count) * sizeof(*all));
    if (all == NULL)
        return ERR_NO_MEMORY;
    memcpy(all + whole->count, part->faults, part->count * sizeof(*all));
    whole->faults = all;
    whole->count += part->count;
    whole->errors += part->errors;
    schema_report_done(part);
    return 0;
}

static int fault_twice(struct reading *g, const char *id, int line)
{
    struct schema_fault *f = mem_zalloc(sizeof(*f));
    struct schema_report one = {.faults = f, .count = 1, .errors = 1};
    struct err e;
    if (f == NULL)
        return ERR_NO_MEMORY;
    *f = (struct schema_fault){.line = line, .column = 1};
    err_set(&e, ERR_INVALID, "id: \"%s\" is that of a document before it", id);
    (void)str_put_plain(f->msg, sizeof(f->msg), slice_of(e.msg), false);
    int rc = add_report(g->report, &one);
    schema_report_done(&one);
    return rc;
}

enum { REPORT_MAX = 100 };

static int read_next(void *ctx, struct slice text, int first_line)
{
    struct reading *g = ctx;
    struct schema_report part;
    struct schema_list list = {g->docs->items, g->docs->count};
    if (g->report->count >= REPORT_MAX)
        return 0; /* enough to do for one pass */
    struct workload_doc *d = schema_list_add(&list, sizeof(*d));
    if (d == NULL)
        return err_set(g->e, ERR_NO_MEMORY, "out of memory while reading documents");
    *g->docs = (struct workload_docs){list.items, list.count};
    int rc = workload_doc_read_at(d, text, first_line, &part, g->e);
    if (rc == ERR_INVALID)
        rc = 0; /* the others are read, too */
    if (rc == 0)
        rc = add_report(g->report, &part);
    if (rc == 0 && d->id != NULL) {
        rc = map_put(&g->ids, slice_of(d->id), d->id);
        if (rc == ERR_EXISTS)
            rc = fault_twice(g, d->id, first_line);
    }
    schema_report_done(&part);
    if (rc == ERR_NO_MEMORY)
        err_set(g->e, rc, "out of memory while reading documents");
    return rc;
}

static int conclude(const struct schema_report *r, struct err *e)
{
    size_t first = 0;
    if (r->errors == 0)
        return 0;
    while (r->faults[first].warning)
        first++;
    const struct schema_fault *f = &r->faults[first];
    if (r->errors == 1)
        return err_set(e, ERR_INVALID, "line %d, column %d: %s", f->line, f->column, f->msg);
    return err_set(e, ERR_INVALID, "line %d, column %d: %s (and %zu more)", f->line, f->column,
                   f->msg, r->errors - 1);
}

int workload_docs_read(struct workload_docs *ret, struct slice text, struct schema_report *r,
                       struct err *e)
{
    struct reading g = {.docs = ret, .report = r, .e = e};
    *ret = (struct workload_docs){0};
    *r = (struct schema_report){0};
    map_init(&g.ids);
    int rc = workload_docs_split(text, read_next, &g, e);
    if (rc == 0)
        rc = conclude(r, e);
    map_done(&g.ids, NULL);
    if (rc != 0)
        workload_docs_done(ret);
    return rc;
}

void workload_docs_done(struct workload_docs *d)
{
    for (size_t i = 0; i < d->count; i++)
        workload_doc_done(&d->items[i]);
    mem_free(d->items);
    *d = (struct workload_docs){0};
}
