/* schema_json.c: structs from JSON of our own making: what a store gives back. */
#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

enum { MAX_ITEMS = 10000 /* of a list whose row names no maximum */ };

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory while reading JSON");
}

static const char *kind_of(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null"};
    return names[json_typeof(v)];
}

static int wrong_kind(const json_t *v, const char *want, struct err *e)
{
    return err_set(e, ERR_INVALID, "%s, not %s, is wanted", want, kind_of(v));
}

static struct slice text_of(const json_t *v)
{
    return (struct slice){json_string_value(v), json_string_length(v)};
}

static int read_number(const struct schema_field *f, int64_t *member, const json_t *v,
                       struct err *e)
{
    char text[24];
    struct buf b = BUF_FIXED(text);
    if (json_is_string(v) && f->type != SCHEMA_INT)
        return schema_set_scalar(f, member, text_of(v), true, e);
    if (!json_is_integer(v))
        return wrong_kind(v, "a number", e);
    (void)buf_addi(&b, json_integer_value(v));
    int r = schema_check_range(f, json_integer_value(v), (struct slice){text, b.len}, e);
    if (r == 0)
        *member = json_integer_value(v);
    return r;
}

static int read_scalar(const struct schema_field *f, void *member, const json_t *v, struct err *e)
{
    if (json_is_null(v) && f->type == SCHEMA_STR) {
        schema_member_done(f, member);
        return 0;
    }
    if (f->type == SCHEMA_BOOL) {
        if (!json_is_boolean(v))
            return wrong_kind(v, "a boolean", e);
        *(bool *)member = json_is_true(v);
        return 0;
    }
    if (f->type == SCHEMA_STR || f->type == SCHEMA_ENUM)
        return json_is_string(v) ? schema_set_scalar(f, member, text_of(v), true, e)
                                 : wrong_kind(v, "text", e);
    return read_number(f, member, v, e);
}

static int read_struct(const struct schema *s, const struct schema_field *without, void *obj,
                       const json_t *v, struct schema_trail *t, struct err *e);

static int check_count(const struct schema_field *f, size_t n, struct err *e)
{
    size_t max = f->max > 0 ? (size_t)f->max : MAX_ITEMS;
    return n <= max ? 0 : err_set(e, ERR_INVALID, "%zu entries, at most %zu allowed", n, max);
}

static int read_array(const struct schema_field *f, struct schema_list *l, const json_t *v,
                      struct schema_trail *t, struct err *e)
{
    static const struct schema_field one = {.type = SCHEMA_STR};
    if (!json_is_array(v))
        return wrong_kind(v, "a list", e);
    int r = check_count(f, json_array_size(v), e);
    for (size_t i = 0; r == 0 && i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        void *to = schema_list_add(l, f->type == SCHEMA_STR_LIST ? sizeof(char *) : f->sub->size);
        if (to == NULL)
            return no_memory(e);
        if (f->type == SCHEMA_LIST)
            r = schema_defaults(f->sub, to, e);
        if (r == 0 && f->type == SCHEMA_LIST)
            r = read_struct(f->sub, NULL, to, item, t, e);
        else if (r == 0)
            r = json_is_string(item) ? read_scalar(&one, to, item, e) : wrong_kind(item, "text", e);
        if (r != 0)
            schema_trail_index(t, i);
    }
    return r;
}

static int read_entry(const struct schema_field *f, struct schema_list *l, const char *key,
                      const json_t *v, struct schema_trail *t, struct err *e)
{
    if (f->type == SCHEMA_STR_MAP) {
        const struct schema_field one = {.type = SCHEMA_STR, .flags = f->flags & SCHEMA_SECRET};
        struct schema_pair *pair = schema_list_add(l, sizeof(*pair));
        if (pair == NULL || schema_set_str(&pair->key, slice_of(key)) != 0 ||
            schema_set_str(&pair->value, SLICE_LIT("")) != 0)
            return no_memory(e);
        return json_is_string(v) ? read_scalar(&one, &pair->value, v, e) : wrong_kind(v, "text", e);
    }
    const struct schema_field *key_field = schema_key_field(f->sub);
    void *item = schema_list_add(l, f->sub->size);
    if (item == NULL || schema_defaults(f->sub, item, NULL) != 0 ||
        (key_field != NULL &&
         schema_set_str((char **)schema_member(key_field, item), slice_of(key)) != 0))
        return no_memory(e);
    return read_struct(f->sub, key_field, item, v, t, e);
}

static int read_map(const struct schema_field *f, struct schema_list *l, const json_t *v,
                    struct schema_trail *t, struct err *e)
{
    if (!json_is_object(v))
        return wrong_kind(v, "an object", e);
    int r = check_count(f, json_object_size(v), e);
    json_t *from = (json_t *)(uintptr_t)v; /* jansson's iterators take no const */
    for (void *i = json_object_iter(from); r == 0 && i != NULL;
         i = json_object_iter_next(from, i)) {
        r = read_entry(f, l, json_object_iter_key(i), json_object_iter_value(i), t, e);
        if (r != 0)
            schema_trail_key(t, json_object_iter_key(i));
    }
    return r;
}

static int read_field(const struct schema_field *f, void *member, const json_t *v,
                      struct schema_trail *t, struct err *e)
{
    switch (f->type) {
    case SCHEMA_ANY:
        *(bool *)member = true;
        return 0;
    case SCHEMA_STRUCT:
        return read_struct(f->sub, NULL, member, v, t, e);
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
        schema_member_done(f, member);
        return read_array(f, member, v, t, e);
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
        schema_member_done(f, member);
        return read_map(f, member, v, t, e);
    default:
        return read_scalar(f, member, v, e);
    }
}

static const char *unknown_key(const struct schema *s, const struct schema_field *without,
                               const json_t *v)
{
    json_t *from = (json_t *)(uintptr_t)v;
    for (void *i = json_object_iter(from); i != NULL; i = json_object_iter_next(from, i)) {
        const char *key = json_object_iter_key(i);
        bool known = false;
        for (size_t k = 0; !known && k < s->n_fields; k++)
            known = &s->fields[k] != without && strcmp(s->fields[k].name, key) == 0;
        if (!known)
            return key;
    }
    return "";
}

static int read_struct(const struct schema *s, const struct schema_field *without, void *obj,
                       const json_t *v, struct schema_trail *t, struct err *e)
{
    size_t read = 0;
    if (!json_is_object(v))
        return wrong_kind(v, "an object", e);
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct schema_field *f = &s->fields[i];
        const json_t *value = f != without ? json_object_get(v, f->name) : NULL;
        if (value == NULL)
            continue;
        read++;
        int r = read_field(f, schema_member(f, obj), value, t, e);
        if (r != 0) {
            if (r == ERR_INVALID && (f->flags & SCHEMA_SECRET) != 0)
                err_set(e, r, "the value is not valid here");
            schema_trail_key(t, f->name);
            return r;
        }
    }
    if (read == json_object_size(v))
        return 0;
    schema_trail_key(t, unknown_key(s, without, v));
    return err_set(e, ERR_INVALID, "is not known");
}

int schema_read_json(const struct schema *s, void *obj, const json_t *v, struct err *e)
{
    struct schema_trail t = {""};
    int r = read_struct(s, NULL, obj, v, &t, e);
    if (r == ERR_INVALID && t.text[0] != '\0')
        err_wrap(e, "%s", t.text);
    return r;
}
