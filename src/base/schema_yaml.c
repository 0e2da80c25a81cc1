#include "base/schema.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum {
    MAX_DEPTH = 32,
    MAX_BYTES = 1 << 20,
    MAX_FAULTS = 100,
    MAX_ITEMS =
        10000, /* of a list whose row names no maximum: what a small text may make us allocate */
    MAX_FIELDS = 128,
    MAX_PATH_BYTES = 4096
};

enum frame_kind { IN_STRUCT, IN_MAP, IN_LIST, IN_STR_LIST, IN_STR_MAP, IN_SKIPPED };

/* One open mapping or sequence. The array of a list does not move while one of its elements is
 * open, so pointers into elements stay good for as long as their frames. */
struct frame {
    enum frame_kind kind;
    bool is_mapping;
    bool value_next;                   /* mappings: the key has been read */
    bool too_many;                     /* lists: the fault has been told */
    bool old_element;                  /* IN_MAP: `element` is of an earlier text */
    bool existing;                     /* IN_STRUCT: an entry that an earlier text began */
    const struct schema_field *field;  /* the list, or the row of an embedded struct; may be NULL */
    const struct schema *schema;       /* IN_STRUCT */
    void *obj;                         /* IN_STRUCT: the struct; lists: their struct schema_list */
    const struct schema_field *hidden; /* IN_STRUCT in a map: the member that has the key */
    const char *map_key;               /* IN_STRUCT in a map: borrowed from the element */
    size_t index; /* IN_STRUCT in a list: its place; IN_STR_LIST: of the next value */
    uint64_t seen[MAX_FIELDS / 64];
    const struct schema_field *target; /* where the value goes; NULL: nowhere */
    void *element;   /* IN_MAP: the struct that the value fills; IN_STR_MAP: the pair; NULL: none */
    struct map keys; /* IN_MAP, IN_STR_MAP: those read so far; values are unused */
    struct map had;  /* IN_MAP: those of earlier texts, with place + 1 */
    yaml_mark_t start;
};

struct reader {
    yaml_parser_t parser;
    struct schema_report *report;
    struct frame stack[MAX_DEPTH];
    size_t depth;
    const struct schema *root;
    void *obj;
    const struct schema_field *lone; /* schema_read_member: the document is its value */
    int stop;                        /* not 0: end with this code */
    bool had_document;
    bool secrets; /* a row of secrets was filled: libyaml's buffers are wiped */
    struct schema_layer layer;
};

/* --- Faults --- */

/* "containers.ai_worker.services[2]" */
static void add_path(const struct reader *rd, struct buf *b)
{
    for (size_t i = 0; i < rd->depth; i++) {
        const struct frame *f = &rd->stack[i];
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
static int line_of(const struct reader *rd, yaml_mark_t at)
{
    return (int)at.line + (rd->layer.first_line > 0 ? rd->layer.first_line : 1);
}

/* Tells whoever keeps account that the value of this name was taken. */
static void taken(struct reader *rd, const char *name, yaml_mark_t at)
{
    if (rd->layer.taken == NULL || rd->stop != 0)
        return;
    for (size_t i = 0; i < rd->depth; i++)
        if (rd->stack[i].kind == IN_LIST)
            return; /* part of a value */
    struct buf b = BUF_INIT(MAX_PATH_BYTES);
    add_path(rd, &b);
    (void)buf_addf(&b, "%s%s", b.len > 0 ? "." : "", name);
    if (b.err == 0)
        rd->stop = rd->layer.taken(rd->layer.ctx, b.data, line_of(rd, at), (int)at.column + 1);
    else if (b.err == ERR_NO_MEMORY)
        rd->stop = b.err;
    buf_done(&b);
}

static struct schema_fault *new_fault(struct reader *rd, yaml_mark_t at, bool warning)
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
        .line = line_of(rd, at), .column = (int)at.column + 1, .warning = warning};
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

static void BASE_PRINTF(4, 5)
    fault(struct reader *rd, yaml_mark_t at, bool warning, const char *fmt, ...)
{
    struct schema_fault *f = new_fault(rd, at, warning);
    if (f == NULL)
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(f->msg, sizeof(f->msg), fmt, ap);
    va_end(ap);
    if (n < (int)sizeof(f->msg))
        return;
    /* Cut between characters. */
    size_t end = sizeof(f->msg) - sizeof("...");
    while (end > 0 && ((unsigned char)f->msg[end] & 0xC0) == 0x80)
        end--;
    memcpy(f->msg + end, "...", sizeof("..."));
}

/* "<path>.<name>: <text>"; name may be NULL. */
static void fault_at(struct reader *rd, yaml_mark_t at, const char *name, const char *text)
{
    char path[160];
    struct buf b = BUF_FIXED(path);
    add_path(rd, &b);
    if (name != NULL)
        (void)buf_addf(&b, "%s%s", b.len > 0 && name[0] != '[' ? "." : "", name);
    fault(rd, at, false, "%s%s%s", path, b.len > 0 ? ": " : "", text);
}

/* "<what> "<name>" in <path>" */
static void fault_in(struct reader *rd, yaml_mark_t at, bool warning, const char *what,
                     struct slice name, const char *more)
{
    char path[160], shown[96];
    struct buf p = BUF_FIXED(path), s = BUF_FIXED(shown);
    add_path(rd, &p);
    if (str_add_printable(&s, name) != 0) {
        s.err = 0;
        s.len = s.len > 90 ? 90 : s.len;
        while (s.len > 0 && !utf8_valid(shown, s.len))
            s.len--;
        (void)buf_addlit(&s, "...");
    }
    fault(rd, at, warning, "%s \"%s\" %s%s%s", what, shown, p.len > 0 ? "in " : "at the top level",
          path, more);
}

static const char *name_of(const struct schema_field *f)
{
    return f != NULL ? f->name : NULL;
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
static void fault_shape(struct reader *rd, const yaml_event_t *ev, const char *name,
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
    fault_at(rd, ev->start_mark, name, text);
}

/* The value of a row has another shape. What stands in a secret's place is not shown. */
static void fault_value_shape(struct reader *rd, const yaml_event_t *ev,
                              const struct schema_field *f)
{
    struct wanted w;
    if ((f->flags & SCHEMA_SECRET) != 0)
        fault_at(rd, ev->start_mark, f->name, expected(&w, f));
    else
        fault_shape(rd, ev, f->name, expected(&w, f));
}

static void out_of_memory(struct reader *rd)
{
    rd->stop = ERR_NO_MEMORY;
}

/* --- Frames --- */

static struct frame *top(struct reader *rd)
{
    return rd->depth > 0 ? &rd->stack[rd->depth - 1] : NULL;
}

static struct frame *push(struct reader *rd, enum frame_kind kind, const yaml_event_t *ev)
{
    if (rd->depth == MAX_DEPTH) {
        fault(rd, ev->start_mark, false, "nested deeper than %d", MAX_DEPTH);
        if (rd->stop == 0)
            rd->stop = ERR_INVALID;
        return NULL;
    }
    struct frame *f = &rd->stack[rd->depth++];
    *f = (struct frame){
        .kind = kind, .is_mapping = ev->type == YAML_MAPPING_START_EVENT, .start = ev->start_mark};
    map_init(&f->keys);
    map_init(&f->had);
    return f;
}

/* NULL when the text ends here. */
static struct frame *push_struct(struct reader *rd, const struct schema *s, void *obj,
                                 const yaml_event_t *ev)
{
    INVARIANT(s->n_fields <= MAX_FIELDS);
    struct frame *f = push(rd, IN_STRUCT, ev);
    if (f != NULL) {
        f->schema = s;
        f->obj = obj;
    }
    return f;
}

static void check_member(struct reader *rd, const struct schema_field *field, const void *member,
                         const char *name, yaml_mark_t at)
{
    struct err e = {0};
    if (field->check == NULL || field->check(member, &e) == 0)
        return;
    if (e.code == ERR_NO_MEMORY)
        out_of_memory(rd);
    else
        fault_at(rd, at, name, e.msg);
}

static void check_struct(struct reader *rd, const struct frame *f)
{
    struct err e = {0};
    if (rd->stop != 0 || f->schema->check == NULL || f->schema->check(f->obj, &e) == 0)
        return;
    if (e.code == ERR_NO_MEMORY)
        out_of_memory(rd);
    else
        fault_at(rd, f->start, NULL, e.msg);
}

/* An earlier text has given it, or was told that it did not. */
static bool is_there(const struct reader *rd, const struct frame *f,
                     const struct schema_field *field)
{
    return rd->layer.merge &&
           (f->existing || (field->type == SCHEMA_STR && schema_has_value(field, f->obj)));
}

static void end_struct(struct reader *rd, const struct frame *f)
{
    for (size_t i = 0; i < f->schema->n_fields && rd->stop == 0; i++) {
        const struct schema_field *field = &f->schema->fields[i];
        if ((field->flags & SCHEMA_REQUIRED) != 0 && field != f->hidden &&
            (f->seen[i / 64] >> i % 64 & 1u) == 0 && !is_there(rd, f, field))
            fault_in(rd, f->start, false, "missing key", slice_of(field->name), "");
    }
    if (f->field != NULL && f->field->type == SCHEMA_STRUCT)
        check_member(rd, f->field, f->obj, NULL, f->start);
    check_struct(rd, f);
}

/* Keys whose values were refused. */
static void drop_unfinished(struct schema_list *l)
{
    struct schema_pair *pairs = l->items;
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (pairs[i].value != NULL)
            pairs[kept++] = pairs[i];
        else
            mem_free(pairs[i].key);
    }
    l->count = kept;
}

static void end_list(struct reader *rd, const struct frame *f)
{
    const struct schema_list *l = f->obj;
    if ((uint64_t)f->field->min > l->count && f->field->min > 0) {
        char text[96];
        (void)snprintf(text, sizeof(text), "%zu entries, at least %lld wanted", l->count,
                       (long long)f->field->min);
        fault_at(rd, f->start, NULL, text);
    }
    check_member(rd, f->field, l, NULL, f->start);
}

static void pop(struct reader *rd)
{
    struct frame *f = top(rd);
    if (f->kind == IN_STR_MAP)
        drop_unfinished(f->obj);
    if (rd->stop == 0 && f->kind == IN_STRUCT)
        end_struct(rd, f);
    else if (rd->stop == 0 && f->kind != IN_SKIPPED)
        end_list(rd, f);
    map_done(&f->keys, NULL);
    map_done(&f->had, NULL);
    rd->depth--;
}

/* A new element, or NULL: too many (told once), or out of memory. */
static void *add_element(struct reader *rd, struct frame *f, size_t size, yaml_mark_t at)
{
    struct schema_list *l = f->obj;
    size_t max = f->field->max > 0 ? (size_t)f->field->max : MAX_ITEMS;
    if (l->count >= max) {
        char text[64];
        (void)snprintf(text, sizeof(text), "more than %zu entries", max);
        if (!f->too_many)
            fault_at(rd, at, NULL, text);
        f->too_many = true;
        return NULL;
    }
    void *item = schema_list_add(l, size);
    if (item == NULL)
        out_of_memory(rd);
    return item;
}

static void *add_struct(struct reader *rd, struct frame *f, yaml_mark_t at)
{
    void *item = add_element(rd, f, f->field->sub->size, at);
    if (item != NULL && schema_defaults(f->field->sub, item, NULL) != 0) {
        out_of_memory(rd);
        return NULL;
    }
    return item;
}

/* --- Keys --- */

static void struct_key(struct reader *rd, struct frame *f, struct slice key, yaml_mark_t at)
{
    f->target = NULL;
    for (size_t i = 0; i < f->schema->n_fields; i++) {
        const struct schema_field *field = &f->schema->fields[i];
        if (field == f->hidden || !slice_eqs(key, field->name))
            continue;
        if ((f->seen[i / 64] >> i % 64 & 1u) != 0) {
            fault_in(rd, at, false, "duplicate key", key, "");
            return;
        }
        f->seen[i / 64] |= (uint64_t)1 << i % 64;
        f->target = field;
        if ((field->flags & SCHEMA_NOT_SERVED) != 0)
            fault_in(rd, at, true, "key", key, " is accepted, but has no effect");
        return;
    }
    fault_in(rd, at, false, "unknown key", key, "");
}

/* 0: the key is new in this mapping; else a fault was told or memory ran out. */
static int new_key(struct reader *rd, struct frame *f, struct slice key, bool quoted,
                   yaml_mark_t at)
{
    if (!quoted && schema_scalar_kind(key) != SCALAR_TEXT) {
        fault_in(rd, at, false, "key", key, " is not text: put it in quotes");
        return ERR_INVALID;
    }
    if (memchr(key.p, '\0', key.len) != NULL) {
        fault_in(rd, at, false, "key", key, " contains a NUL character");
        return ERR_INVALID;
    }
    int r = map_put(&f->keys, key, NULL);
    if (r == ERR_EXISTS)
        fault_in(rd, at, false, "duplicate key", key, "");
    else if (r != 0)
        out_of_memory(rd);
    return r;
}

static void str_map_key(struct reader *rd, struct frame *f, struct slice key, bool quoted,
                        yaml_mark_t at)
{
    if (new_key(rd, f, key, quoted || schema_takes_plain(f->field, key), at) != 0)
        return;
    struct schema_pair *pair = add_element(rd, f, sizeof(*pair), at);
    if (pair != NULL && schema_set_str(&pair->key, key) != 0)
        out_of_memory(rd);
    else
        f->element = pair;
}

static void map_entry_key(struct reader *rd, struct frame *f, struct slice key, bool quoted,
                          yaml_mark_t at)
{
    f->old_element = false;
    if (new_key(rd, f, key, quoted, at) != 0)
        return;
    size_t place = (size_t)map_get(&f->had, key);
    if (place > 0) {
        const struct schema_list *l = f->obj;
        f->element = (char *)l->items + (place - 1) * f->field->sub->size;
        f->old_element = true;
        return;
    }
    void *item = add_struct(rd, f, at);
    const struct schema_field *key_field = schema_key_field(f->field->sub);
    if (item != NULL && key_field != NULL &&
        schema_set_str((char **)schema_member(key_field, item), key) != 0) {
        out_of_memory(rd);
        return;
    }
    f->element = item;
}

static bool is_quoted(const yaml_event_t *ev)
{
    return ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
           (ev->data.scalar.tag != NULL && !ev->data.scalar.plain_implicit);
}

static struct slice scalar_text(const yaml_event_t *ev)
{
    return (struct slice){(const char *)ev->data.scalar.value, ev->data.scalar.length};
}

static void on_key(struct reader *rd, struct frame *f, const yaml_event_t *ev)
{
    f->value_next = true;
    f->target = NULL;
    f->element = NULL;
    if (ev->type != YAML_SCALAR_EVENT)
        fault_at(rd, ev->start_mark, NULL, "a key must be text");
    else if (f->kind == IN_STRUCT)
        struct_key(rd, f, scalar_text(ev), ev->start_mark);
    else if (f->kind == IN_STR_MAP)
        str_map_key(rd, f, scalar_text(ev), is_quoted(ev), ev->start_mark);
    else
        map_entry_key(rd, f, scalar_text(ev), is_quoted(ev), ev->start_mark);
    if (ev->type == YAML_MAPPING_START_EVENT || ev->type == YAML_SEQUENCE_START_EVENT)
        (void)push(rd, IN_SKIPPED, ev);
}

/* --- Values --- */

/* Only !!str and "!" (both: text) have a meaning here. */
static bool tag_is_fine(const yaml_event_t *ev)
{
    const char *tag = NULL;
    if (ev->type == YAML_SCALAR_EVENT)
        tag = (const char *)ev->data.scalar.tag;
    else if (ev->type == YAML_SEQUENCE_START_EVENT)
        tag = (const char *)ev->data.sequence_start.tag;
    else if (ev->type == YAML_MAPPING_START_EVENT)
        tag = (const char *)ev->data.mapping_start.tag;
    return tag == NULL || (ev->type == YAML_SCALAR_EVENT &&
                           (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0));
}

static bool is_null(const yaml_event_t *ev)
{
    return ev->type == YAML_SCALAR_EVENT && !is_quoted(ev) &&
           schema_scalar_kind(scalar_text(ev)) == SCALAR_NULL;
}

/* A mapping or sequence of which nothing is wanted. */
static void skip_value(struct reader *rd, const yaml_event_t *ev)
{
    if (ev->type == YAML_MAPPING_START_EVENT || ev->type == YAML_SEQUENCE_START_EVENT)
        (void)push(rd, IN_SKIPPED, ev);
}

static void scalar_value(struct reader *rd, const struct schema_field *field, void *member,
                         const yaml_event_t *ev)
{
    struct err e = {0};
    if (ev->type != YAML_SCALAR_EVENT) {
        fault_value_shape(rd, ev, field);
        skip_value(rd, ev);
        return;
    }
    int r = schema_set_scalar(field, member, scalar_text(ev), is_quoted(ev), &e);
    if (r == ERR_NO_MEMORY) {
        out_of_memory(rd);
    } else if (r != 0) {
        if ((field->flags & SCHEMA_SECRET) != 0) /* the value must not get into a message */
            (void)snprintf(e.msg, sizeof(e.msg), "the value is not valid here (text in quotes is)");
        fault_at(rd, ev->start_mark, field->name, e.msg);
    } else {
        if (!is_null(ev))
            check_member(rd, field, member, field->name, ev->start_mark);
        taken(rd, field->name, ev->start_mark);
    }
}

/* The entries that earlier texts have made, by key. */
static void note_entries(struct reader *rd, struct frame *f)
{
    const struct schema_list *l = f->obj;
    const struct schema_field *key = schema_key_field(f->field->sub);
    for (size_t i = 0; i < l->count && key != NULL && rd->stop == 0; i++) {
        void *item = (char *)l->items + i * f->field->sub->size;
        const char *text = *(char **)schema_member(key, item);
        if (text != NULL && map_put(&f->had, slice_of(text), (void *)(i + 1)) == ERR_NO_MEMORY)
            out_of_memory(rd);
    }
}

static void open_list(struct reader *rd, const struct schema_field *field, void *member,
                      const yaml_event_t *ev)
{
    static const enum frame_kind kinds[] = {[SCHEMA_LIST] = IN_LIST,
                                            [SCHEMA_MAP] = IN_MAP,
                                            [SCHEMA_STR_LIST] = IN_STR_LIST,
                                            [SCHEMA_STR_MAP] = IN_STR_MAP};
    bool merge = rd->layer.merge && field->type == SCHEMA_MAP;
    if (!merge)
        schema_member_done(field, member); /* a list in the text replaces the default */
    if (field->type != SCHEMA_MAP)
        taken(rd, field->name, ev->start_mark);
    struct frame *f = push(rd, kinds[field->type], ev);
    if (f != NULL) {
        f->field = field;
        f->obj = member;
        if (merge)
            note_entries(rd, f);
    }
}

/* The value of a row: `member` is its place. */
static void member_value(struct reader *rd, const struct schema_field *field, void *member,
                         const yaml_event_t *ev)
{
    rd->secrets = rd->secrets || (field->flags & SCHEMA_SECRET) != 0;
    if (field->type == SCHEMA_ANY) {
        *(bool *)member = true;
        skip_value(rd, ev);
        return;
    }
    if (!tag_is_fine(ev)) {
        fault_at(rd, ev->start_mark, field->name, "tags are not supported");
        skip_value(rd, ev);
        return;
    }
    if (schema_is_scalar(field->type)) {
        scalar_value(rd, field, member, ev);
        return;
    }
    if (is_null(ev) && (field->flags & SCHEMA_NULLABLE) != 0) {
        /* An embedded struct keeps its defaults. */
        if (field->type != SCHEMA_STRUCT)
            schema_member_done(field, member);
        return;
    }
    bool mapping =
        field->type == SCHEMA_STRUCT || field->type == SCHEMA_MAP || field->type == SCHEMA_STR_MAP;
    if (ev->type != (mapping ? YAML_MAPPING_START_EVENT : YAML_SEQUENCE_START_EVENT)) {
        fault_value_shape(rd, ev, field);
        skip_value(rd, ev);
    } else if (field->type == SCHEMA_STRUCT) {
        struct frame *f = push_struct(rd, field->sub, member, ev);
        if (f != NULL)
            f->field = field;
    } else {
        open_list(rd, field, member, ev);
    }
}

/* The struct of a list or map element. */
static void element_value(struct reader *rd, struct frame *list, void *item, const yaml_event_t *ev)
{
    const char *key = NULL;
    const struct schema_field *hidden = NULL;
    const struct schema_list *l = list->obj;
    size_t index = l->count - 1;
    bool is_old = list->kind == IN_MAP && list->old_element;
    if (list->kind == IN_MAP && (hidden = schema_key_field(list->field->sub)) != NULL)
        key = *(char **)schema_member(hidden, item);
    if (ev->type != YAML_MAPPING_START_EVENT || !tag_is_fine(ev)) {
        char name[96];
        struct buf b = BUF_FIXED(name);
        if (key != NULL)
            (void)str_add_printable(&b, slice_of(key));
        else
            (void)buf_addf(&b, "[%zu]", index);
        fault_shape(rd, ev, name, "expected a mapping (key: value)");
        skip_value(rd, ev);
        return;
    }
    struct frame *f = push_struct(rd, list->field->sub, item, ev);
    if (f != NULL) {
        f->map_key = key;
        f->hidden = hidden;
        f->index = index;
        f->existing = is_old;
    }
}

static void str_list_value(struct reader *rd, struct frame *f, const yaml_event_t *ev)
{
    struct err e = {0};
    const struct schema_field one = {
        .name = f->field->name, .type = SCHEMA_STR, .flags = f->field->flags & SCHEMA_PLAIN};
    char *text = NULL;
    int r = ERR_INVALID;
    if (ev->type != YAML_SCALAR_EVENT)
        err_set(&e, ERR_INVALID, "expected a single value");
    else if (!tag_is_fine(ev))
        err_set(&e, ERR_INVALID, "tags are not supported");
    else
        r = schema_set_scalar(&one, &text, scalar_text(ev), is_quoted(ev), &e);
    if (r == ERR_NO_MEMORY) {
        out_of_memory(rd);
    } else if (r != 0) {
        char place[32];
        (void)snprintf(place, sizeof(place), "[%zu]", f->index);
        fault_at(rd, ev->start_mark, place, e.msg);
        skip_value(rd, ev);
    } else {
        char **item = add_element(rd, f, sizeof(*item), ev->start_mark);
        if (item != NULL)
            *item = text;
        else
            mem_free(text);
    }
    f->index++;
}

static void str_map_value(struct reader *rd, struct frame *f, const yaml_event_t *ev)
{
    struct err e = {0};
    const unsigned flags = f->field->flags & (SCHEMA_PLAIN | SCHEMA_SECRET);
    const struct schema_field one = {.name = f->field->name, .type = SCHEMA_STR, .flags = flags};
    struct schema_pair *pair = f->element;
    int r = ERR_INVALID;
    if (pair == NULL) {
        skip_value(rd, ev);
        return;
    }
    if (ev->type != YAML_SCALAR_EVENT)
        err_set(&e, ERR_INVALID, "expected a single value");
    else if (!tag_is_fine(ev))
        err_set(&e, ERR_INVALID, "tags are not supported");
    else if (is_null(ev))
        err_set(&e, ERR_INVALID, "the value is missing: write \"\" for an empty text");
    else if ((r = schema_set_scalar(&one, &pair->value, scalar_text(ev), is_quoted(ev), &e)) ==
                 ERR_INVALID &&
             (flags & SCHEMA_SECRET) != 0)
        err_set(&e, r, "the value is not valid here"); /* and must not get into a message */
    if (r == ERR_NO_MEMORY) {
        out_of_memory(rd);
    } else if (r != 0) {
        char name[96];
        struct buf b = BUF_FIXED(name);
        (void)str_add_printable(&b, slice_of(pair->key));
        fault_at(rd, ev->start_mark, name, e.msg);
        skip_value(rd, ev);
    }
}

static void on_root(struct reader *rd, const yaml_event_t *ev)
{
    if (rd->lone != NULL) {
        member_value(rd, rd->lone, schema_member(rd->lone, rd->obj), ev);
    } else if (ev->type == YAML_MAPPING_START_EVENT && tag_is_fine(ev)) {
        push_struct(rd, rd->root, rd->obj, ev);
    } else if (is_null(ev)) {
        rd->had_document = false; /* only comments, perhaps: as an empty text */
    } else {
        fault_shape(rd, ev, NULL, "expected a mapping (key: value)");
        skip_value(rd, ev);
    }
}

/* A scalar, alias, or the start of a mapping or sequence. */
static void on_node(struct reader *rd, const yaml_event_t *ev)
{
    struct frame *f = top(rd);
    if (f != NULL && f->kind == IN_SKIPPED) {
        skip_value(rd, ev);
        return;
    }
    bool wanted = f == NULL || !f->is_mapping || !f->value_next || f->target == NULL ||
                  f->target->type != SCHEMA_ANY;
    if (ev->type == YAML_ALIAS_EVENT && wanted) {
        fault_at(rd, ev->start_mark, f != NULL && f->value_next ? name_of(f->target) : NULL,
                 "aliases are not supported");
        if (f != NULL && f->is_mapping) {
            f->value_next = !f->value_next;
            f->target = NULL;
            f->element = NULL;
        }
        return;
    }
    if (f == NULL) {
        on_root(rd, ev);
    } else if (f->is_mapping && !f->value_next) {
        on_key(rd, f, ev);
    } else if (f->kind == IN_STRUCT) {
        f->value_next = false;
        if (f->target != NULL)
            member_value(rd, f->target, schema_member(f->target, f->obj), ev);
        else
            skip_value(rd, ev);
    } else if (f->kind == IN_STR_LIST) {
        str_list_value(rd, f, ev);
    } else if (f->kind == IN_STR_MAP) {
        f->value_next = false;
        str_map_value(rd, f, ev);
    } else {
        void *item = f->kind == IN_MAP ? f->element : add_struct(rd, f, ev->start_mark);
        f->value_next = false;
        if (item != NULL)
            element_value(rd, f, item, ev);
        else if (rd->stop == 0)
            skip_value(rd, ev);
    }
}

/* --- The document --- */

static void on_event(struct reader *rd, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (rd->had_document) {
            fault(rd, ev->start_mark, false, "only one document is allowed");
            rd->stop = rd->stop != 0 ? rd->stop : ERR_INVALID;
        }
        rd->had_document = true;
        break;
    case YAML_ALIAS_EVENT:
    case YAML_SCALAR_EVENT:
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        on_node(rd, ev);
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        pop(rd);
        break;
    default:
        break;
    }
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

static void parser_fault(struct reader *rd, struct slice text)
{
    const yaml_parser_t *p = &rd->parser;
    const char *problem = p->problem != NULL ? p->problem : "not YAML";
    if (p->error == YAML_MEMORY_ERROR) {
        out_of_memory(rd);
        return;
    }
    bool reader = p->error == YAML_READER_ERROR;
    yaml_mark_t at = reader ? mark_of_offset(text, p->problem_offset) : p->problem_mark;
    fault(rd, at, false, "%s%s%s", p->context != NULL && !reader ? p->context : "",
          p->context != NULL && !reader ? ", " : "", problem);
    if (rd->stop == 0)
        rd->stop = ERR_INVALID;
}

/* What libyaml has read ahead is freed by it as it is. */
static void wipe_buffers(yaml_parser_t *p)
{
    mem_wipe(p->raw_buffer.start, (size_t)(p->raw_buffer.end - p->raw_buffer.start));
    mem_wipe(p->buffer.start, (size_t)(p->buffer.end - p->buffer.start));
}

static void read_events(struct reader *rd, struct slice text)
{
    yaml_event_t ev;
    bool end = false;
    if (!yaml_parser_initialize(&rd->parser)) {
        out_of_memory(rd);
        return;
    }
    yaml_parser_set_encoding(&rd->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&rd->parser, (const unsigned char *)text.p, text.len);
    while (rd->stop == 0 && !end) {
        if (!yaml_parser_parse(&rd->parser, &ev)) {
            parser_fault(rd, text);
            break;
        }
        on_event(rd, &ev);
        end = ev.type == YAML_STREAM_END_EVENT;
        if (rd->secrets && ev.type == YAML_SCALAR_EVENT)
            mem_wipe(ev.data.scalar.value, ev.data.scalar.length);
        yaml_event_delete(&ev);
    }
    if (rd->secrets)
        wipe_buffers(&rd->parser);
    yaml_parser_delete(&rd->parser);
    while (rd->depth > 0)
        pop(rd);
}

static int conclude(struct reader *rd, struct err *e)
{
    const struct schema_report *r = rd->report;
    if (rd->stop == ERR_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "out of memory while reading YAML");
    if (r->errors == 0)
        return 0;
    size_t first = 0;
    while (r->faults[first].warning)
        first++;
    const struct schema_fault *f = &r->faults[first];
    if (r->errors == 1)
        return err_set(e, ERR_INVALID, "line %d, column %d: %s", f->line, f->column, f->msg);
    return err_set(e, ERR_INVALID, "line %d, column %d: %s (and %zu more)", f->line, f->column,
                   f->msg, r->errors - 1);
}

static int read_text(struct reader *rd, struct slice text, struct err *e)
{
    if (text.len > MAX_BYTES) {
        fault(rd, (yaml_mark_t){0}, false, "the text is larger than %d bytes", MAX_BYTES);
    } else {
        read_events(rd, text.len > 0 ? text : SLICE_LIT(""));
        if (rd->stop == 0 && !rd->had_document && rd->root != NULL) {
            /* What an empty text leaves out must be told as well. */
            rd->stack[rd->depth++] =
                (struct frame){.kind = IN_STRUCT, .schema = rd->root, .obj = rd->obj};
            pop(rd);
        }
    }
    int result = conclude(rd, e);
    mem_free(rd);
    return result;
}

static struct reader *reader_new(void *obj, const struct schema_layer *layer,
                                 struct schema_report *r, struct err *e)
{
    *r = (struct schema_report){0};
    struct reader *rd = mem_zalloc(sizeof(*rd));
    if (rd == NULL) {
        err_set(e, ERR_NO_MEMORY, "out of memory while reading YAML");
        return NULL;
    }
    rd->report = r;
    rd->obj = obj;
    if (layer != NULL)
        rd->layer = *layer;
    return rd;
}

int schema_read_layer(const struct schema *s, void *obj, struct slice text,
                      const struct schema_layer *layer, struct schema_report *r, struct err *e)
{
    struct reader *rd = reader_new(obj, layer, r, e);
    if (rd == NULL)
        return ERR_NO_MEMORY;
    rd->root = s;
    return read_text(rd, text, e);
}

int schema_read_yaml(const struct schema *s, void *obj, struct slice text, struct schema_report *r,
                     struct err *e)
{
    return schema_read_layer(s, obj, text, NULL, r, e);
}

int schema_read_value(const struct schema_field *f, void *obj, struct slice text,
                      const struct schema_layer *layer, struct schema_report *r, struct err *e)
{
    struct reader *rd = reader_new(obj, layer, r, e);
    if (rd == NULL)
        return ERR_NO_MEMORY;
    rd->lone = f;
    return read_text(rd, text, e);
}

int schema_read_member(const struct schema_field *f, void *obj, struct slice text, struct err *e)
{
    struct schema_report report;
    int result = schema_read_value(f, obj, text, NULL, &report, e);
    schema_report_done(&report);
    return result;
}
