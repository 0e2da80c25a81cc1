/* schema_fault.c: the faults of a YAML text, each with its place and its path. */
#include "base/schema_yaml_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

/* "containers.ai_worker.services[2]" */
void schema_add_path(const struct schema_reader *rd, struct buf *b)
{
    for (size_t i = 0; i < rd->depth; i++) {
        const struct schema_frame *f = &rd->stack[i];
        bool element = f->kind == IN_STRUCT && i > 0 && rd->stack[i - 1].kind != IN_STRUCT;
        const char *dot = b->len > 0 ? "." : "";
        if (element && f->map_key != NULL) {
            (void)buf_adds(b, dot);
            (void)str_add_printable(b, slice_of(f->map_key));
        } else if (element) {
            (void)buf_addf(b, "[%zu]", f->index);
        } else if (f->field != NULL) {
            (void)buf_addf(b, "%s%s", dot, f->field->name);
        }
    }
}

/* Lines count from 1, and from where the text begins in its file. */
int schema_line_of(const struct schema_reader *rd, yaml_mark_t at)
{
    return (int)at.line + (rd->layer.first_line > 0 ? rd->layer.first_line : 1);
}

static struct schema_fault *new_fault(struct schema_reader *rd, yaml_mark_t at, bool warning)
{
    struct schema_report *r = rd->report;
    /* The text below says when there are more; a hostile file is not worth more memory. */
    if (r->count == MAX_FAULTS) {
        rd->stop = ERR_INVALID;
        return NULL;
    }
    struct schema_fault *faults = mem_realloc(r->faults, (r->count + 1) * sizeof(*faults));
    if (faults == NULL) {
        rd->stop = ERR_NO_MEMORY;
        return NULL;
    }
    r->faults = faults;
    struct schema_fault *f = &faults[r->count++];
    *f = (struct schema_fault){
        .line = schema_line_of(rd, at), .column = (int)at.column + 1, .warning = warning};
    r->errors += !warning;
    if (r->count == MAX_FAULTS) {
        (void)snprintf(f->msg, sizeof(f->msg), "too many faults, the rest of the text is not read");
        r->errors += warning;
        f->warning = false;
        rd->stop = ERR_INVALID;
        return NULL;
    }
    return f;
}

void schema_fault(struct schema_reader *rd, yaml_mark_t at, bool warning, const char *fmt, ...)
{
    struct schema_fault *f = new_fault(rd, at, warning);
    if (f == NULL)
        return;
    va_list ap;
    va_start(ap, fmt);
    err_format(f->msg, sizeof(f->msg), fmt, ap);
    va_end(ap);
}

/* "<path>.<name>: <text>"; name may be NULL. */
void schema_fault_at(struct schema_reader *rd, yaml_mark_t at, const char *name, const char *text)
{
    char path[160];
    struct buf b = BUF_FIXED(path);
    schema_add_path(rd, &b);
    if (name != NULL)
        (void)buf_addf(&b, "%s%s", b.len > 0 && name[0] != '[' ? "." : "", name);
    schema_fault(rd, at, false, "%s%s%s", path, b.len > 0 ? ": " : "", text);
}

/* "<what> "<name>" in <path>" */
void schema_fault_in(struct schema_reader *rd, yaml_mark_t at, bool warning, const char *what,
                     struct slice name, const char *more)
{
    char path[160], shown[96];
    struct buf p = BUF_FIXED(path), s = BUF_FIXED(shown);
    schema_add_path(rd, &p);
    if (str_add_printable(&s, name) != 0) {
        s.err = 0;
        s.len = s.len > 90 ? 90 : s.len;
        while (s.len > 0 && !utf8_valid(shown, s.len))
            s.len--;
        (void)buf_addlit(&s, "...");
    }
    schema_fault(rd, at, warning, "%s \"%s\" %s%s%s", what, shown,
                 p.len > 0 ? "in " : "at the top level", path, more);
}

struct wanted {
    char text[160];
};
/* What the value of a row must look like; for lists and maps of texts with the row's example. */
static const char *expected(struct wanted *w, const struct schema_field *f)
{
    struct buf b = BUF_FIXED(w->text);
    switch (f->type) {
    case SCHEMA_STRUCT:
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
        (void)buf_addlit(&b, "expected a mapping (key: value)");
        break;
    case SCHEMA_LIST:
    case SCHEMA_STR_LIST:
        (void)buf_addlit(&b, "expected a list");
        break;
    default:
        (void)buf_addlit(&b, "expected a single value");
        break;
    }
    if ((f->type == SCHEMA_STR_LIST || f->type == SCHEMA_STR_MAP) && f->example != NULL)
        (void)buf_addf(&b, " such as %s", f->example);
    return w->text;
}

/* "<path>.<name>: <want>, not <what is there>" */
void schema_fault_shape(struct schema_reader *rd, const yaml_event_t *ev, const char *name,
                        const char *want)
{
    char text[240];
    struct buf b = BUF_FIXED(text);
    (void)buf_adds(&b, want);
    if (ev->type == YAML_SCALAR_EVENT) {
        struct slice v = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
        v.len = v.len > 24 ? 24 : v.len;
        (void)buf_addlit(&b, ", not \"");
        (void)str_add_printable(&b, v);
        (void)buf_adds(&b, v.len < ev->data.scalar.length ? "...\"" : "\"");
    } else {
        (void)buf_adds(&b,
                       ev->type == YAML_MAPPING_START_EVENT ? ", not a mapping" : ", not a list");
    }
    schema_fault_at(rd, ev->start_mark, name, text);
}

/* The value of a row has another shape. What stands in a secret's place is not shown. */
void schema_fault_value_shape(struct schema_reader *rd, const yaml_event_t *ev,
                              const struct schema_field *f)
{
    struct wanted w;
    if ((f->flags & SCHEMA_SECRET) != 0)
        schema_fault_at(rd, ev->start_mark, f->name, expected(&w, f));
    else
        schema_fault_shape(rd, ev, f->name, expected(&w, f));
}

/* libyaml gives the place of a byte that is no UTF-8 as an offset. */
static yaml_mark_t mark_of_offset(struct slice text, size_t offset)
{
    yaml_mark_t m = {0};
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.p[i] == '\n') {
            m.line++;
            m.column = 0;
        } else if (((unsigned char)text.p[i] & 0xC0) != 0x80) {
            m.column++;
        }
    }
    return m;
}

void schema_fault_parser(struct schema_reader *rd, struct slice text)
{
    const yaml_parser_t *p = &rd->parser;
    const char *problem = p->problem != NULL ? p->problem : "not YAML";
    if (p->error == YAML_MEMORY_ERROR) {
        rd->stop = ERR_NO_MEMORY;
        return;
    }
    bool reader = p->error == YAML_READER_ERROR;
    yaml_mark_t at = reader ? mark_of_offset(text, p->problem_offset) : p->problem_mark;
    schema_fault(rd, at, false, "%s%s%s", p->context != NULL && !reader ? p->context : "",
                 p->context != NULL && !reader ? ", " : "", problem);
    if (rd->stop == 0)
        rd->stop = ERR_INVALID;
}
