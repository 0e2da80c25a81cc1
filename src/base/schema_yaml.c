#include "base/schema_yaml_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

/* --- Frames --- */

/* Tells whoever keeps account that the value of this name was taken. */
static void taken(struct schema_reader *rd, const char *name, yaml_mark_t at)
{
    if (rd->layer.taken == NULL || rd->stop != 0)
        return;
    for (size_t i = 0; i < rd->depth; i++)
        if (rd->stack[i].kind == IN_LIST)
            return; /* part of a value */
    struct buf b = BUF_INIT(MAX_PATH_BYTES);
    schema_add_path(rd, &b);
    (void)buf_addf(&b, "%s%s", b.len > 0 ? "." : "", name);
    if (b.err == 0)
        rd->stop =
            rd->layer.taken(rd->layer.ctx, b.data, schema_line_of(rd, at), (int)at.column + 1);
    else if (b.err == ERR_NO_MEMORY)
        rd->stop = b.err;
    buf_done(&b);
}

static const char *name_of(const struct schema_field *f)
{
    return f != NULL ? f->name : NULL;
}

static void out_of_memory(struct schema_reader *rd)
{
    rd->stop = ERR_NO_MEMORY;
}

static struct schema_frame *top(struct schema_reader *rd)
{
    return rd->depth > 0 ? &rd->stack[rd->depth - 1] : NULL;
}

static struct schema_frame *push(struct schema_reader *rd, enum schema_frame_kind kind,
                                 const yaml_event_t *ev)
{
    if (rd->depth == MAX_DEPTH) {
        schema_fault(rd, ev->start_mark, false, "nested deeper than %d", MAX_DEPTH);
        if (rd->stop == 0)
            rd->stop = ERR_INVALID;
        return NULL;
    }
    struct schema_frame *f = &rd->stack[rd->depth++];
    *f = (struct schema_frame){
        .kind = kind, .is_mapping = ev->type == YAML_MAPPING_START_EVENT, .start = ev->start_mark};
    map_init(&f->keys);
    map_init(&f->had);
    return f;
}

/* NULL when the text ends here. */
static struct schema_frame *push_struct(struct schema_reader *rd, const struct schema *s, void *obj,
                                        const yaml_event_t *ev)
{
    INVARIANT(s->n_fields <= MAX_FIELDS);
    struct schema_frame *f = push(rd, IN_STRUCT, ev);
    if (f != NULL) {
        f->schema = s;
        f->obj = obj;
    }
    return f;
}

static void check_member(struct schema_reader *rd, const struct schema_field *field,
                         const void *member, const char *name, yaml_mark_t at)
{
    struct err e = {0};
    if (field->check == NULL || field->check(member, &e) == 0)
        return;
    if (e.code == ERR_NO_MEMORY)
        out_of_memory(rd);
    else
        schema_fault_at(rd, at, name, e.msg);
}

static void check_struct(struct schema_reader *rd, const struct schema_frame *f)
{
    struct err e = {0};
    if (rd->stop != 0 || f->schema->check == NULL || f->schema->check(f->obj, &e) == 0)
        return;
    if (e.code == ERR_NO_MEMORY)
        out_of_memory(rd);
    else
        schema_fault_at(rd, f->start, NULL, e.msg);
}

/* An earlier text has given it, or was told that it did not. */
static bool is_there(const struct schema_reader *rd, const struct schema_frame *f,
                     const struct schema_field *field)
{
    return rd->layer.merge &&
           (f->existing || (field->type == SCHEMA_STR && schema_has_value(field, f->obj)));
}

static void end_struct(struct schema_reader *rd, const struct schema_frame *f)
{
    for (size_t i = 0; i < f->schema->n_fields && rd->stop == 0; i++) {
        const struct schema_field *field = &f->schema->fields[i];
        if ((field->flags & SCHEMA_REQUIRED) != 0 && field != f->hidden &&
            (f->seen[i / 64] >> i % 64 & 1u) == 0 && !is_there(rd, f, field))
            schema_fault_in(rd, f->start, false, "missing key", slice_of(field->name), "");
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

static void end_list(struct schema_reader *rd, const struct schema_frame *f)
{
    const struct schema_list *l = f->obj;
    if ((uint64_t)f->field->min > l->count && f->field->min > 0) {
        char text[96];
        (void)snprintf(text, sizeof(text), "%zu entries, at least %lld wanted", l->count,
                       (long long)f->field->min);
        schema_fault_at(rd, f->start, NULL, text);
    }
    check_member(rd, f->field, l, NULL, f->start);
}

static void pop(struct schema_reader *rd)
{
    struct schema_frame *f = top(rd);
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
static void *add_element(struct schema_reader *rd, struct schema_frame *f, size_t size,
                         yaml_mark_t at)
{
    struct schema_list *l = f->obj;
    size_t max = f->field->max > 0 ? (size_t)f->field->max : MAX_ITEMS;
    if (l->count >= max) {
        char text[64];
        (void)snprintf(text, sizeof(text), "more than %zu entries", max);
        if (!f->too_many)
            schema_fault_at(rd, at, NULL, text);
        f->too_many = true;
        return NULL;
    }
    void *item = schema_list_add(l, size);
    if (item == NULL)
        out_of_memory(rd);
    return item;
}

static void *add_struct(struct schema_reader *rd, struct schema_frame *f, yaml_mark_t at)
{
    void *item = add_element(rd, f, f->field->sub->size, at);
    if (item != NULL && schema_defaults(f->field->sub, item, NULL) != 0) {
        out_of_memory(rd);
        return NULL;
    }
    return item;
}

/* --- Keys --- */

static void struct_key(struct schema_reader *rd, struct schema_frame *f, struct slice key,
                       yaml_mark_t at)
{
    f->target = NULL;
    for (size_t i = 0; i < f->schema->n_fields; i++) {
        const struct schema_field *field = &f->schema->fields[i];
        if (field == f->hidden || !slice_eqs(key, field->name))
            continue;
        if ((f->seen[i / 64] >> i % 64 & 1u) != 0) {
            schema_fault_in(rd, at, false, "duplicate key", key, "");
            return;
        }
        f->seen[i / 64] |= (uint64_t)1 << i % 64;
        f->target = field;
        if ((field->flags & SCHEMA_NOT_SERVED) != 0)
            schema_fault_in(rd, at, true, "key", key, " is accepted, but has no effect");
        return;
    }
    schema_fault_in(rd, at, false, "unknown key", key, "");
}

/* 0: the key is new in this mapping; else a fault was told or memory ran out. */
static int new_key(struct schema_reader *rd, struct schema_frame *f, struct slice key, bool quoted,
                   yaml_mark_t at)
{
    if (!quoted && schema_scalar_kind(key) != SCALAR_TEXT) {
        schema_fault_in(rd, at, false, "key", key, " is not text: put it in quotes");
        return ERR_INVALID;
    }
    if (memchr(key.p, '\0', key.len) != NULL) {
        schema_fault_in(rd, at, false, "key", key, " contains a NUL character");
        return ERR_INVALID;
    }
    int r = map_put(&f->keys, key, NULL);
    if (r == ERR_EXISTS)
        schema_fault_in(rd, at, false, "duplicate key", key, "");
    else if (r != 0)
        out_of_memory(rd);
    return r;
}

static void str_map_key(struct schema_reader *rd, struct schema_frame *f, struct slice key,
                        bool quoted, yaml_mark_t at)
{
    if (new_key(rd, f, key, quoted || schema_takes_plain(f->field, key), at) != 0)
        return;
    struct schema_pair *pair = add_element(rd, f, sizeof(*pair), at);
    if (pair != NULL && schema_set_str(&pair->key, key) != 0)
        out_of_memory(rd);
    else
        f->element = pair;
}

static void map_entry_key(struct schema_reader *rd, struct schema_frame *f, struct slice key,
                          bool quoted, yaml_mark_t at)
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

static void on_key(struct schema_reader *rd, struct schema_frame *f, const yaml_event_t *ev)
{
    f->value_next = true;
    f->target = NULL;
    f->element = NULL;
    if (ev->type != YAML_SCALAR_EVENT)
        schema_fault_at(rd, ev->start_mark, NULL, "a key must be text");
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
static void skip_value(struct schema_reader *rd, const yaml_event_t *ev)
{
    if (ev->type == YAML_MAPPING_START_EVENT || ev->type == YAML_SEQUENCE_START_EVENT)
        (void)push(rd, IN_SKIPPED, ev);
}

static void scalar_value(struct schema_reader *rd, const struct schema_field *field, void *member,
                         const yaml_event_t *ev)
{
    struct err e = {0};
    if (ev->type != YAML_SCALAR_EVENT) {
        schema_fault_value_shape(rd, ev, field);
        skip_value(rd, ev);
        return;
    }
    int r = schema_set_scalar(field, member, scalar_text(ev), is_quoted(ev), &e);
    if (r == ERR_NO_MEMORY) {
        out_of_memory(rd);
    } else if (r != 0) {
        if ((field->flags & SCHEMA_SECRET) != 0) /* the value must not get into a message */
            (void)snprintf(e.msg, sizeof(e.msg), "the value is not valid here (text in quotes is)");
        schema_fault_at(rd, ev->start_mark, field->name, e.msg);
    } else {
        if (!is_null(ev))
            check_member(rd, field, member, field->name, ev->start_mark);
        taken(rd, field->name, ev->start_mark);
    }
}

/* The entries that earlier texts have made, by key. */
static void note_entries(struct schema_reader *rd, struct schema_frame *f)
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

static void open_list(struct schema_reader *rd, const struct schema_field *field, void *member,
                      const yaml_event_t *ev)
{
    static const enum schema_frame_kind kinds[] = {[SCHEMA_LIST] = IN_LIST,
                                                   [SCHEMA_MAP] = IN_MAP,
                                                   [SCHEMA_STR_LIST] = IN_STR_LIST,
                                                   [SCHEMA_STR_MAP] = IN_STR_MAP};
    bool merge = rd->layer.merge && field->type == SCHEMA_MAP;
    if (!merge)
        schema_member_done(field, member); /* a list in the text replaces the default */
    if (field->type != SCHEMA_MAP)
        taken(rd, field->name, ev->start_mark);
    struct schema_frame *f = push(rd, kinds[field->type], ev);
    if (f != NULL) {
        f->field = field;
        f->obj = member;
        if (merge)
            note_entries(rd, f);
    }
}

/* The value of a row: `member` is its place. */
static void member_value(struct schema_reader *rd, const struct schema_field *field, void *member,
                         const yaml_event_t *ev)
{
    rd->secrets = rd->secrets || (field->flags & SCHEMA_SECRET) != 0;
    if (field->type == SCHEMA_ANY) {
        *(bool *)member = true;
        skip_value(rd, ev);
        return;
    }
    if (!tag_is_fine(ev)) {
        schema_fault_at(rd, ev->start_mark, field->name, "tags are not supported");
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
        schema_fault_value_shape(rd, ev, field);
        skip_value(rd, ev);
    } else if (field->type == SCHEMA_STRUCT) {
        struct schema_frame *f = push_struct(rd, field->sub, member, ev);
        if (f != NULL)
            f->field = field;
    } else {
        open_list(rd, field, member, ev);
    }
}

/* The struct of a list or map element. */
static void element_value(struct schema_reader *rd, struct schema_frame *list, void *item,
                          const yaml_event_t *ev)
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
        schema_fault_shape(rd, ev, name, "expected a mapping (key: value)");
        skip_value(rd, ev);
        return;
    }
    struct schema_frame *f = push_struct(rd, list->field->sub, item, ev);
    if (f != NULL) {
        f->map_key = key;
        f->hidden = hidden;
        f->index = index;
        f->existing = is_old;
    }
}

static void str_list_value(struct schema_reader *rd, struct schema_frame *f, const yaml_event_t *ev)
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
        schema_fault_at(rd, ev->start_mark, place, e.msg);
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

static void str_map_value(struct schema_reader *rd, struct schema_frame *f, const yaml_event_t *ev)
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
        schema_fault_at(rd, ev->start_mark, name, e.msg);
        skip_value(rd, ev);
    }
}

static void on_root(struct schema_reader *rd, const yaml_event_t *ev)
{
    if (rd->lone != NULL) {
        member_value(rd, rd->lone, schema_member(rd->lone, rd->obj), ev);
    } else if (ev->type == YAML_MAPPING_START_EVENT && tag_is_fine(ev)) {
        push_struct(rd, rd->root, rd->obj, ev);
    } else if (is_null(ev)) {
        rd->had_document = false; /* only comments, perhaps: as an empty text */
    } else {
        schema_fault_shape(rd, ev, NULL, "expected a mapping (key: value)");
        skip_value(rd, ev);
    }
}

/* A scalar, alias, or the start of a mapping or sequence. */
static void on_node(struct schema_reader *rd, const yaml_event_t *ev)
{
    struct schema_frame *f = top(rd);
    if (f != NULL && f->kind == IN_SKIPPED) {
        skip_value(rd, ev);
        return;
    }
    bool wanted = f == NULL || !f->is_mapping || !f->value_next || f->target == NULL ||
                  f->target->type != SCHEMA_ANY;
    if (ev->type == YAML_ALIAS_EVENT && wanted) {
        schema_fault_at(rd, ev->start_mark, f != NULL && f->value_next ? name_of(f->target) : NULL,
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

static void on_event(struct schema_reader *rd, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (rd->had_document) {
            schema_fault(rd, ev->start_mark, false, "only one document is allowed");
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

/* What libyaml has read ahead is freed by it as it is. */
static void wipe_buffers(yaml_parser_t *p)
{
    mem_wipe(p->raw_buffer.start, (size_t)(p->raw_buffer.end - p->raw_buffer.start));
    mem_wipe(p->buffer.start, (size_t)(p->buffer.end - p->buffer.start));
}

static void read_events(struct schema_reader *rd, struct slice text)
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
            schema_fault_parser(rd, text);
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

static int conclude(struct schema_reader *rd, struct err *e)
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

struct slice schema_text(struct slice text)
{
    return slice_starts(text, "\xef\xbb\xbf") ? (struct slice){text.p + 3, text.len - 3} : text;
}

static int read_text(struct schema_reader *rd, struct slice text, struct err *e)
{
    text = schema_text(text); /* to the parser it is a column: the next line is less deep */
    if (text.len > MAX_BYTES) {
        schema_fault(rd, (yaml_mark_t){0}, false, "the text is larger than %d bytes", MAX_BYTES);
    } else {
        read_events(rd, text.len > 0 ? text : SLICE_LIT(""));
        if (rd->stop == 0 && !rd->had_document && rd->root != NULL) {
            /* What an empty text leaves out must be told as well. */
            rd->stack[rd->depth++] =
                (struct schema_frame){.kind = IN_STRUCT, .schema = rd->root, .obj = rd->obj};
            pop(rd);
        }
    }
    int result = conclude(rd, e);
    mem_free(rd);
    return result;
}

static struct schema_reader *reader_new(void *obj, const struct schema_layer *layer,
                                        struct schema_report *r, struct err *e)
{
    *r = (struct schema_report){0};
    struct schema_reader *rd = mem_zalloc(sizeof(*rd));
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
    struct schema_reader *rd = reader_new(obj, layer, r, e);
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
    struct schema_reader *rd = reader_new(obj, layer, r, e);
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
