/* schema_doc.c: the annotated default file and the reference pages of a table. */
#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

static void add_spaces(struct buf *out, int n)
{
    for (int i = 0; i < n; i++)
        (void)buf_addc(out, ' ');
}

static bool is_told(const struct schema_field *f, const struct schema_field *without)
{
    return f != without && f->type != SCHEMA_ANY && (f->flags & SCHEMA_NOT_SERVED) == 0;
}

/* --- The file --- */

static void template_members(const struct schema *s, const struct schema_field *without,
                             struct buf *out, int indent, bool item);

/* One entry of a list or map, as an example. */
static void template_entry(const struct schema_field *f, struct buf *out, int indent)
{
    if (f->type == SCHEMA_MAP) {
        (void)buf_addc(out, '#');
        add_spaces(out, indent);
        (void)buf_addf(out, "%s:\n", f->example != NULL ? f->example : "name");
        template_members(f->sub, schema_key_field(f->sub), out, indent + 2, false);
    } else {
        template_members(f->sub, NULL, out, indent, true);
    }
}

/* "Doc (facts)", behind "name: " if there is one. */
static void template_words(const struct schema_field *f, const char *name, struct buf *out,
                           int indent)
{
    char text[1024], facts[512];
    struct buf b = BUF_FIXED(text), more = BUF_FIXED(facts);
    schema_add_facts(&more, f);
    if (name != NULL)
        (void)buf_addf(&b, "%s: ", name);
    (void)buf_adds(&b, f->doc != NULL ? f->doc : "");
    if (more.len > 0)
        (void)buf_addf(&b, " (%s)", facts);
    schema_add_comment(out, "##", indent, text);
}

/* What the entries of a list have whose example stands in one line. */
static void template_entry_words(const struct schema_field *list, struct buf *out, int indent)
{
    for (size_t i = 0; i < list->sub->n_fields; i++)
        if (is_told(&list->sub->fields[i], NULL))
            template_words(&list->sub->fields[i], list->sub->fields[i].name, out, indent);
}

static bool in_one_line(const struct schema_field *f)
{
    return f->type == SCHEMA_LIST && f->example != NULL;
}

static void template_value(const struct schema_field *f, struct buf *out, int indent)
{
    bool nested = (f->type == SCHEMA_LIST && !in_one_line(f)) || f->type == SCHEMA_MAP;
    if (f->type == SCHEMA_STRUCT) {
        (void)buf_addc(out, '\n');
        template_members(f->sub, NULL, out, indent + 2, false);
    } else if (f->def != NULL) {
        (void)buf_addf(out, " %s\n", f->def);
    } else if (nested) {
        (void)buf_addc(out, '\n');
        template_entry(f, out, indent + 2);
    } else {
        (void)buf_addf(out, " %s\n",
                       f->example != NULL           ? f->example
                       : f->type == SCHEMA_STR_LIST ? "[]"
                       : f->type == SCHEMA_STR_MAP  ? "{}"
                       : f->type == SCHEMA_STR      ? "\"...\""
                       : f->type == SCHEMA_BOOL     ? "false"
                                                    : "0");
    }
}

static void template_members(const struct schema *s, const struct schema_field *without,
                             struct buf *out, int indent, bool item)
{
    for (size_t i = 0; i < s->n_fields && out->err == 0; i++) {
        const struct schema_field *f = &s->fields[i];
        if (!is_told(f, without))
            continue;
        template_words(f, NULL, out, indent + (item ? 2 : 0));
        if (in_one_line(f))
            template_entry_words(f, out, indent + 2);
        (void)buf_addc(out, '#');
        add_spaces(out, indent);
        if (item) { /* the first member of a list's entry carries its dash */
            (void)buf_adds(out, "- ");
            indent += 2;
            item = false;
        }
        (void)buf_addf(out, "%s:", f->name);
        template_value(f, out, indent);
        if (indent == 0)
            (void)buf_addc(out, '\n');
    }
}

int schema_write_template(const struct schema *s, struct buf *out)
{
    template_members(s, NULL, out, 0, false);
    return out->err;
}

/* --- Pages --- */

struct page {
    struct buf *out;
    bool roff;
};

/* "containers.NAME.socket_path", "http.listeners[].address" */
static void page_key(struct buf *path, const struct schema_field *f)
{
    (void)buf_adds(path, path->len > 0 ? "." : "");
    (void)buf_adds(path, f->name);
}

static void add_roff(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '-')
            (void)buf_adds(out, "\\-");
        else if (*p == '\\')
            (void)buf_adds(out, "\\e");
        else
            (void)buf_addc(out, *p);
    }
}

/* A pipe would end the cell. */
static void add_cell(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            (void)buf_addc(out, '\\');
        (void)buf_addc(out, *p);
    }
}

static void page_row(const struct page *p, const char *path, const struct schema_field *f)
{
    char facts[512];
    struct buf more = BUF_FIXED(facts);
    schema_add_facts(&more, f);
    if (p->roff) {
        (void)buf_adds(p->out, ".TP\n.B ");
        add_roff(p->out, path);
        (void)buf_addc(p->out, '\n');
        add_roff(p->out, f->doc != NULL ? f->doc : "");
        (void)buf_adds(p->out, ".\n");
        if (more.len > 0) {
            (void)buf_addc(p->out, '(');
            add_roff(p->out, facts);
            (void)buf_adds(p->out, ")\n");
        }
        return;
    }
    (void)buf_addf(p->out, "| `%s` | ", path);
    add_cell(p->out, f->doc != NULL ? f->doc : "");
    (void)buf_adds(p->out, " | ");
    add_cell(p->out, facts);
    if (f->example != NULL && f->def == NULL && f->type != SCHEMA_MAP) {
        (void)buf_adds(p->out, more.len > 0 ? ", e.g. `" : "e.g. `");
        add_cell(p->out, f->example);
        (void)buf_addc(p->out, '`');
    }
    (void)buf_adds(p->out, " |\n");
}

static void page_members(const struct page *p, const struct schema *s,
                         const struct schema_field *without, struct buf *path)
{
    size_t before = path->len;
    for (size_t i = 0; i < s->n_fields && p->out->err == 0; i++) {
        const struct schema_field *f = &s->fields[i];
        if (!is_told(f, without))
            continue;
        page_key(path, f);
        if (f->type != SCHEMA_STRUCT)
            page_row(p, path->data, f);
        if (f->type == SCHEMA_MAP)
            (void)buf_adds(path, ".NAME");
        else if (f->type == SCHEMA_LIST)
            (void)buf_adds(path, "[]");
        if (f->sub != NULL)
            page_members(p, f->sub, f->type == SCHEMA_MAP ? schema_key_field(f->sub) : NULL, path);
        path->len = before;
        path->data[before] = '\0';
    }
}

/* How many members from this one on share a section: values that stand next to each other. */
static size_t section_length(const struct schema *s, size_t from)
{
    size_t n = from;
    while (n < s->n_fields && is_told(&s->fields[n], NULL) && schema_is_scalar(s->fields[n].type))
        n++;
    return n > from ? n - from : 1;
}

static void section_head(const struct page *p, const struct schema *section)
{
    const struct schema_field *f = section->fields;
    (void)buf_adds(p->out, p->roff ? ".SS " : "\n## ");
    for (size_t i = 0; i < section->n_fields; i++)
        (void)buf_addf(p->out, "%s%s", i > 0 ? ", " : "", f[i].name);
    (void)buf_adds(p->out, p->roff ? "\n" : "\n\n");
    if (f->type == SCHEMA_STRUCT)
        (void)buf_addf(p->out, p->roff ? "%s.\n" : "%s.\n\n", f->doc);
    if (!p->roff)
        (void)buf_adds(p->out, "| key | what | values |\n|---|---|---|\n");
}

/* A section for each member of the whole, or for several values. */
static int write_page(const struct schema *s, bool roff, struct buf *out)
{
    char room[256];
    struct buf path = BUF_FIXED(room);
    const struct page p = {out, roff};
    for (size_t i = 0, n; i < s->n_fields && out->err == 0; i += n) {
        n = section_length(s, i);
        const struct schema section = {.name = s->name, .fields = &s->fields[i], .n_fields = n};
        if (!is_told(&s->fields[i], NULL))
            continue;
        section_head(&p, &section);
        page_members(&p, &section, NULL, &path);
    }
    return out->err != 0 ? out->err : path.err;
}

int schema_write_markdown(const struct schema *s, struct buf *out)
{
    return write_page(s, false, out);
}

int schema_write_roff(const struct schema *s, struct buf *out)
{
    return write_page(s, true, out);
}
