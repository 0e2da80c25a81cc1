#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

/* --- JSON --- */

/* How, as in enum schema_json_how, and where to. */
struct json_writer {
    struct json_out *j;
    unsigned how;
};

static void write_member_json(const struct json_writer *w, const struct schema_field *f,
                              const void *obj);

static void write_members_json(const struct json_writer *w, const struct schema *s,
                               const struct schema_field *without, const void *obj)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct schema_field *f = &s->fields[i];
        /* What is required would be missed by a reader. */
        bool wanted = (w->how & SCHEMA_JSON_COMPACT) == 0 ||
                      ((f->flags & SCHEMA_REQUIRED) != 0 && schema_has_value(f, obj));
        if (f == without || f->type == SCHEMA_ANY || (!wanted && schema_is_default(f, obj)))
            continue;
        json_key(w->j, f->name);
        write_member_json(w, f, obj);
    }
}

static void write_struct_json(const struct json_writer *w, const struct schema *s,
                              const struct schema_field *without, const void *obj)
{
    json_obj(w->j);
    write_members_json(w, s, without, obj);
    json_end_obj(w->j);
}

static bool is_hidden(const struct json_writer *w, const struct schema_field *f)
{
    return (f->flags & SCHEMA_SECRET) != 0 && (w->how & SCHEMA_JSON_SECRETS) == 0;
}

static void write_list_json(const struct json_writer *w, const struct schema_field *f,
                            const struct schema_list *l)
{
    json_arr(w->j);
    for (size_t i = 0; i < l->count; i++) {
        if (f->type == SCHEMA_STR_LIST)
            json_cstr(w->j, is_hidden(w, f) ? "(set)" : ((char **)l->items)[i]);
        else
            write_struct_json(w, f->sub, NULL, (const char *)l->items + i * f->sub->size);
    }
    json_end_arr(w->j);
}

static const char *key_of(const struct schema_field *key, const void *item)
{
    const char *text = key != NULL ? *(char *const *)schema_member_const(key, item) : NULL;
    return text != NULL ? text : "";
}

static void write_map_json(const struct json_writer *w, const struct schema_field *f,
                           const struct schema_list *l)
{
    const struct schema_field *key = schema_key_field(f->sub);
    json_obj(w->j);
    for (size_t i = 0; i < l->count; i++) {
        const void *item = (const char *)l->items + i * f->sub->size;
        json_key(w->j, key_of(key, item));
        write_struct_json(w, f->sub, key, item);
    }
    json_end_obj(w->j);
}

static void write_pairs_json(const struct json_writer *w, const struct schema_field *f,
                             const struct schema_list *l)
{
    const struct schema_pair *pairs = l->items;
    json_obj(w->j);
    for (size_t i = 0; i < l->count; i++)
        json_kstr(w->j, pairs[i].key, is_hidden(w, f) ? "(set)" : pairs[i].value);
    json_end_obj(w->j);
}

static void write_duration_json(const struct schema_field *f, int64_t ms, struct json_out *j)
{
    char text[32];
    struct buf b = BUF_FIXED(text);
    if ((f->flags & SCHEMA_UNITS) == 0) {
        json_int(j, ms);
        return;
    }
    schema_add_duration(&b, ms);
    json_cstr(j, text);
}

static void write_member_json(const struct json_writer *w, const struct schema_field *f,
                              const void *obj)
{
    const void *member = schema_member_const(f, obj);
    const char *text;
    switch (f->type) {
    case SCHEMA_STR:
        text = *(char *const *)member;
        json_cstr(w->j, text != NULL && is_hidden(w, f) ? "(set)" : text);
        break;
    case SCHEMA_BOOL:
    case SCHEMA_ANY:
        json_bool(w->j, *(const bool *)member);
        break;
    case SCHEMA_DURATION:
        write_duration_json(f, *(const int64_t *)member, w->j);
        break;
    case SCHEMA_INT:
    case SCHEMA_SIZE:
        json_int(w->j, *(const int64_t *)member);
        break;
    case SCHEMA_ENUM:
        json_cstr(w->j, f->names[*(const int *)member]);
        break;
    case SCHEMA_STRUCT:
        write_struct_json(w, f->sub, NULL, member);
        break;
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
        write_list_json(w, f, member);
        break;
    case SCHEMA_MAP:
        write_map_json(w, f, member);
        break;
    case SCHEMA_STR_MAP:
        write_pairs_json(w, f, member);
        break;
    }
}

void schema_write_json_as(const struct schema *s, const void *obj, unsigned how, struct json_out *j)
{
    const struct json_writer w = {j, how};
    if ((how & SCHEMA_JSON_BARE) != 0)
        write_members_json(&w, s, NULL, obj);
    else
        write_struct_json(&w, s, NULL, obj);
}

void schema_write_json(const struct schema *s, const void *obj, struct json_out *j)
{
    schema_write_json_as(s, obj, 0, j);
}

void schema_write_json_value(const struct schema_field *f, const void *obj, bool secrets,
                             struct json_out *j)
{
    const struct json_writer w = {j, secrets ? SCHEMA_JSON_SECRETS : 0};
    write_member_json(&w, f, obj);
}

/* --- YAML --- */

enum { INDENT_STEP = 2, COMMENT_WIDTH = 96 };

static void add_indent(struct buf *out, int indent)
{
    for (int i = 0; i < indent; i++)
        (void)buf_addc(out, ' ');
}

/* One paragraph of comment, broken between words. */
void schema_add_comment(struct buf *out, const char *prefix, int indent, const char *text)
{
    struct slice rest = slice_of(text), word;
    size_t column = 0;
    while (slice_split(&rest, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (column > 0 && column + 1 + word.len > COMMENT_WIDTH) {
            (void)buf_addc(out, '\n');
            column = 0;
        }
        if (column == 0) {
            (void)buf_adds(out, prefix);
            add_indent(out, indent);
            if (prefix[0] == '\0')
                (void)buf_addc(out, '#');
            column = (size_t)indent + strlen(prefix) + 1;
        }
        (void)buf_addc(out, ' ');
        (void)buf_add(out, word.p, word.len);
        column += 1 + word.len;
    }
    if (column > 0)
        (void)buf_addc(out, '\n');
}

static void add_quantity(struct buf *b, enum schema_type type, int64_t v)
{
    if (type == SCHEMA_DURATION)
        schema_add_duration(b, v);
    else if (type == SCHEMA_SIZE)
        schema_add_size(b, v);
    else
        (void)buf_addi(b, v);
}

static void add_fact(struct buf *b, size_t begin, const char *text)
{
    (void)buf_adds(b, b->len > begin ? ", " : "");
    (void)buf_adds(b, text);
}

void schema_add_facts(struct buf *b, const struct schema_field *f)
{
    size_t begin = b->len;
    bool number = f->type == SCHEMA_INT || f->type == SCHEMA_DURATION || f->type == SCHEMA_SIZE;
    if (f->unit != NULL)
        add_fact(b, begin, f->unit);
    if (number && (f->min != 0 || f->max != 0)) {
        add_fact(b, begin, "");
        add_quantity(b, f->type, f->min);
        (void)buf_adds(b, " to ");
        add_quantity(b, f->type, f->max);
    }
    bool first = true;
    for (int i = 0; f->type == SCHEMA_ENUM && f->names[i] != NULL; i++) {
        if (f->names[i][0] == '\0')
            continue;
        add_fact(b, first ? begin : SIZE_MAX, first ? "" : " | ");
        (void)buf_adds(b, f->names[i]);
        first = false;
    }
    if ((f->flags & SCHEMA_REQUIRED) != 0)
        add_fact(b, begin, "required");
    if (f->def != NULL) {
        add_fact(b, begin, "default ");
        (void)buf_adds(b, f->def);
    }
    if ((f->flags & SCHEMA_RELOAD) != 0)
        add_fact(b, begin, "a reload changes it");
}

/* Doc, then what the row says about values, in brackets. */
static void add_field_comment(struct buf *out, int indent, const struct schema_field *f)
{
    char text[1024], facts[512];
    struct buf b = BUF_FIXED(text), more = BUF_FIXED(facts);
    schema_add_facts(&more, f);
    (void)buf_adds(&b, f->doc != NULL ? f->doc : "");
    if (more.len > 0)
        (void)buf_addf(&b, " (%s)", facts);
    schema_add_comment(out, "", indent, text);
}

static void add_quoted(struct buf *out, const char *text)
{
    (void)buf_addc(out, '"');
    (void)str_add_printable(out, slice_of(text)); /* its escapes are those of YAML, too */
    (void)buf_addc(out, '"');
}

static void write_members_yaml(const struct schema *s, const struct schema_field *without,
                               const void *obj, struct buf *out, int indent);

static void write_scalar_yaml(const struct schema_field *f, const void *member, struct buf *out)
{
    switch (f->type) {
    case SCHEMA_STR:
        add_quoted(out, (f->flags & SCHEMA_SECRET) != 0 ? "(set)" : *(char *const *)member);
        break;
    case SCHEMA_BOOL:
        (void)buf_adds(out, *(const bool *)member ? "true" : "false");
        break;
    case SCHEMA_ENUM:
        add_quoted(out, f->names[*(const int *)member]);
        break;
    default:
        add_quantity(out, f->type, *(const int64_t *)member);
        break;
    }
}

static void write_pairs_yaml(const struct schema_field *f, const struct schema_list *l,
                             struct buf *out, int indent)
{
    const struct schema_pair *pairs = l->items;
    (void)buf_adds(out, l->count == 0 ? " {}\n" : "\n");
    for (size_t i = 0; i < l->count; i++) {
        add_indent(out, indent + INDENT_STEP);
        add_quoted(out, pairs[i].key);
        (void)buf_adds(out, ": ");
        add_quoted(out, (f->flags & SCHEMA_SECRET) != 0 ? "(set)" : pairs[i].value);
        (void)buf_addc(out, '\n');
    }
}

static void write_list_yaml(const struct schema_field *f, const struct schema_list *l,
                            struct buf *out, int indent)
{
    const struct schema_field *key = f->type == SCHEMA_MAP ? schema_key_field(f->sub) : NULL;
    if (l->count == 0) {
        (void)buf_adds(out, f->type == SCHEMA_MAP ? " {}\n" : " []\n");
        return;
    }
    (void)buf_addc(out, '\n');
    for (size_t i = 0; i < l->count; i++) {
        add_indent(out, indent + INDENT_STEP);
        if (f->type == SCHEMA_STR_LIST) {
            (void)buf_adds(out, "- ");
            add_quoted(out, (f->flags & SCHEMA_SECRET) != 0 ? "(set)" : ((char **)l->items)[i]);
            (void)buf_addc(out, '\n');
            continue;
        }
        const void *item = (const char *)l->items + i * f->sub->size;
        if (f->type == SCHEMA_MAP) {
            add_quoted(out, key_of(key, item));
            (void)buf_adds(out, ":\n");
        } else {
            (void)buf_adds(out, "-\n");
        }
        write_members_yaml(f->sub, key, item, out, indent + 2 * INDENT_STEP);
    }
}

/* If absent, only the name is shown, as a comment. */
bool schema_has_value(const struct schema_field *f, const void *obj)
{
    if (f->type == SCHEMA_STR)
        return *(char *const *)schema_member_const(f, obj) != NULL;
    return f->type != SCHEMA_ANY;
}

static void write_members_yaml(const struct schema *s, const struct schema_field *without,
                               const void *obj, struct buf *out, int indent)
{
    bool any = false;
    for (size_t i = 0; i < s->n_fields && out->err == 0; i++) {
        const struct schema_field *f = &s->fields[i];
        const void *member = schema_member_const(f, obj);
        if (f == without || (f->flags & SCHEMA_NOT_SERVED) != 0)
            continue;
        add_field_comment(out, indent, f);
        add_indent(out, indent);
        if (!schema_has_value(f, obj)) {
            (void)buf_addf(out, "# %s:\n", f->name);
            continue;
        }
        any = true;
        (void)buf_addf(out, "%s:", f->name);
        if (schema_is_scalar(f->type)) {
            (void)buf_addc(out, ' ');
            write_scalar_yaml(f, member, out);
            (void)buf_addc(out, '\n');
        } else if (f->type == SCHEMA_STRUCT) {
            (void)buf_addc(out, '\n');
            write_members_yaml(f->sub, NULL, member, out, indent + INDENT_STEP);
        } else if (f->type == SCHEMA_STR_MAP) {
            write_pairs_yaml(f, member, out, indent);
        } else {
            write_list_yaml(f, member, out, indent);
        }
    }
    if (!any && indent > 0) { /* nothing but comments would read back as null */
        add_indent(out, indent);
        (void)buf_adds(out, "{}\n");
    }
}

int schema_write_yaml(const struct schema *s, const void *obj, struct buf *out)
{
    if (s->doc != NULL)
        schema_add_comment(out, "", 0, s->doc);
    write_members_yaml(s, NULL, obj, out, 0);
    return out->err;
}

/* --- JSON Schema --- */

static const char *json_type_of(const struct schema_field *f)
{
    switch (f->type) {
    case SCHEMA_STR:
    case SCHEMA_ENUM:
        return "string";
    case SCHEMA_BOOL:
        return "boolean";
    case SCHEMA_DURATION:
        return (f->flags & SCHEMA_UNITS) != 0 ? "string" : "integer";
    case SCHEMA_INT:
    case SCHEMA_SIZE:
        return "integer";
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
        return "array";
    case SCHEMA_STRUCT:
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
    case SCHEMA_ANY:
        break;
    }
    return "object";
}

static void write_ref(const struct schema *sub, struct json_out *j)
{
    char text[128];
    struct buf b = BUF_FIXED(text);
    (void)buf_addf(&b, "#/components/schemas/%s", sub->name);
    json_kstr(j, "$ref", text);
}

static void write_type(const struct schema_field *f, struct json_out *j)
{
    json_key(j, "type");
    if ((f->flags & SCHEMA_NULLABLE) == 0) {
        json_cstr(j, json_type_of(f));
        return;
    }
    json_arr(j);
    json_cstr(j, json_type_of(f));
    json_cstr(j, "null");
    json_end_arr(j);
}

static void write_enum(const struct schema_field *f, struct json_out *j)
{
    json_key(j, "enum");
    json_arr(j);
    for (int i = 0; f->names[i] != NULL; i++)
        if (f->names[i][0] != '\0')
            json_cstr(j, f->names[i]);
    if ((f->flags & SCHEMA_NULLABLE) != 0)
        json_nil(j);
    json_end_arr(j);
}

static void write_struct_ref(const struct schema_field *f, struct json_out *j)
{
    if ((f->flags & SCHEMA_NULLABLE) == 0) {
        write_ref(f->sub, j);
        return;
    }
    json_key(j, "anyOf");
    json_arr(j);
    json_obj(j);
    write_ref(f->sub, j);
    json_end_obj(j);
    json_obj(j);
    json_kstr(j, "type", "null");
    json_end_obj(j);
    json_end_arr(j);
}

/* What lists and maps say about their elements. */
static void write_elements(const struct schema_field *f, struct json_out *j)
{
    bool map = f->type == SCHEMA_MAP || f->type == SCHEMA_STR_MAP;
    json_key(j, map ? "additionalProperties" : "items");
    json_obj(j);
    if (f->type == SCHEMA_STR_LIST || f->type == SCHEMA_STR_MAP)
        json_kstr(j, "type", "string");
    else
        write_ref(f->sub, j);
    json_end_obj(j);
    if (f->min > 0)
        json_kint(j, map ? "minProperties" : "minItems", f->min);
    if (f->max > 0)
        json_kint(j, map ? "maxProperties" : "maxItems", f->max);
}

static void write_description(const struct schema_field *f, struct json_out *j)
{
    const char *unit = f->type == SCHEMA_DURATION && (f->flags & SCHEMA_UNITS) == 0 ? "milliseconds"
                       : f->type == SCHEMA_SIZE                                     ? "bytes"
                                                                                    : f->unit;
    if (f->doc != NULL && unit == NULL) {
        json_kstr(j, "description", f->doc);
    } else if (f->doc != NULL || unit != NULL) {
        json_key(j, "description");
        char text[768];
        struct buf b = BUF_FIXED(text);
        (void)buf_addf(&b, "%s%s(%s)", f->doc != NULL ? f->doc : "", f->doc != NULL ? " " : "",
                       unit);
        json_cstr(j, b.err == 0 ? text : f->doc);
    }
}

/* Rows count bytes and JSON Schema characters, of which there are never more; a byte is not always
 * one, so that only a minimum of one can be told. */
static void write_lengths(const struct schema_field *f, struct json_out *j)
{
    if (f->max <= 0)
        return;
    if (f->min > 0)
        json_kint(j, "minLength", 1);
    json_kint(j, "maxLength", f->max);
}

static void write_property(const struct schema_field *f, const void *defaults, struct json_out *j)
{
    json_key(j, f->name);
    json_obj(j);
    if (f->type == SCHEMA_STRUCT)
        write_struct_ref(f, j);
    else if (f->type != SCHEMA_ANY)
        write_type(f, j);
    if (f->type == SCHEMA_DURATION && (f->flags & SCHEMA_UNITS) != 0) {
        json_kstr(j, "pattern", "^[0-9]+(ms|s|m|h|d)?$");
    } else if (f->type == SCHEMA_INT || f->type == SCHEMA_DURATION || f->type == SCHEMA_SIZE) {
        json_kstr(j, "format", "int64");
        if (f->min != 0 || f->max != 0) {
            json_kint(j, "minimum", f->min);
            json_kint(j, "maximum", f->max);
        }
    } else if (f->type == SCHEMA_STR) {
        write_lengths(f, j);
    } else if (f->type == SCHEMA_ENUM) {
        write_enum(f, j);
    } else if (f->type == SCHEMA_STR_LIST || f->type == SCHEMA_LIST || f->type == SCHEMA_MAP ||
               f->type == SCHEMA_STR_MAP) {
        write_elements(f, j);
    }
    write_description(f, j);
    if (f->def != NULL && (f->flags & SCHEMA_SECRET) == 0) {
        json_key(j, "default");
        schema_write_json_value(f, defaults, false, j);
    }
    if ((f->flags & SCHEMA_SECRET) != 0)
        json_kbool(j, "writeOnly", true);
    if ((f->flags & SCHEMA_NOT_SERVED) != 0)
        json_kbool(j, "deprecated", true);
    json_end_obj(j);
}

static void write_required(const struct schema *s, struct json_out *j)
{
    bool open = false;
    for (size_t i = 0; i < s->n_fields; i++) {
        if ((s->fields[i].flags & SCHEMA_REQUIRED) == 0)
            continue;
        if (!open) {
            json_key(j, "required");
            json_arr(j);
            open = true;
        }
        json_cstr(j, s->fields[i].name);
    }
    if (open)
        json_end_arr(j);
}

void schema_write_openapi(const struct schema *s, struct json_out *j)
{
    /* Defaults are written as the values they become, so "5s" shows as 5000. */
    void *defaults = mem_alloc(s->size > 0 ? s->size : 1);
    if (defaults == NULL || schema_defaults(s, defaults, NULL) != 0) {
        mem_free(defaults);
        j->b->err = j->b->err != 0 ? j->b->err : ERR_NO_MEMORY;
        return;
    }
    json_obj(j);
    json_kstr(j, "type", "object");
    json_kstr(j, "title", s->name);
    if (s->doc != NULL)
        json_kstr(j, "description", s->doc);
    json_key(j, "properties");
    json_obj(j);
    for (size_t i = 0; i < s->n_fields; i++)
        write_property(&s->fields[i], defaults, j);
    json_end_obj(j);
    write_required(s, j);
    json_end_obj(j);
    schema_done(s, defaults);
    mem_free(defaults);
}

enum { MAX_COMPONENTS = 64 };

void schema_write_components(const struct schema *s, struct json_out *j)
{
    const struct schema *found[MAX_COMPONENTS] = {s};
    size_t n = 1;
    for (size_t i = 0; i < n; i++) {
        json_key(j, found[i]->name);
        schema_write_openapi(found[i], j);
        for (size_t k = 0; k < found[i]->n_fields; k++) {
            const struct schema *sub = found[i]->fields[k].sub;
            size_t at = 0;
            while (at < n && found[at] != sub)
                at++;
            INVARIANT(at < MAX_COMPONENTS);
            if (sub != NULL && at == n)
                found[n++] = sub;
        }
    }
}
