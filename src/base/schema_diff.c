/* schema_diff.c: what differs between two structs of one table. */
#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

enum { MAX_BYTES = 16 << 20 /* of one path or value */ };

struct diff {
    struct buf path, a, b; /* the values as JSON */
    int (*fn)(void *ctx, const char *path, struct slice old_value, struct slice new_value);
    void *ctx;
};

/* Returns the length before, for path_cut. */
static size_t path_add(struct diff *d, const char *name)
{
    size_t before = d->path.len;
    if (before > 0)
        (void)buf_addc(&d->path, '.');
    (void)str_add_printable(&d->path, slice_of(name));
    return before;
}

static void path_cut(struct diff *d, size_t len)
{
    d->path.len = len;
    if (d->path.data != NULL)
        d->path.data[len] = '\0';
}

static struct slice value_of(const struct buf *b)
{
    return b->len > 0 ? (struct slice){b->data, b->len} : (struct slice){NULL, 0};
}

/* What is in a and b goes out, if memory held. */
static int emit(struct diff *d)
{
    const struct buf *parts[] = {&d->path, &d->a, &d->b};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i]->err != 0)
            return parts[i]->err;
    return d->fn(d->ctx, d->path.data, value_of(&d->a), value_of(&d->b));
}

static bool is_absent(const struct schema_field *f, const void *obj)
{
    const void *member = schema_member_const(f, obj);
    if (f->type == SCHEMA_STR)
        return *(char *const *)member == NULL;
    return !schema_is_scalar(f->type) && f->type != SCHEMA_STRUCT &&
           ((const struct schema_list *)member)->count == 0;
}

static void write_value(struct buf *out, const struct schema_field *f, const void *obj,
                        bool secrets)
{
    struct json_out j;
    buf_clear(out);
    if (is_absent(f, obj))
        return;
    json_begin(&j, out);
    schema_write_json_value(f, obj, secrets, &j);
}

static bool same_strings(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool same_scalar(const struct schema_field *f, const void *a, const void *b)
{
    const void *ma = schema_member_const(f, a), *mb = schema_member_const(f, b);
    if (f->type == SCHEMA_STR)
        return same_strings(*(char *const *)ma, *(char *const *)mb);
    if (f->type == SCHEMA_BOOL)
        return *(const bool *)ma == *(const bool *)mb;
    if (f->type == SCHEMA_ENUM)
        return *(const int *)ma == *(const int *)mb;
    return *(const int64_t *)ma == *(const int64_t *)mb;
}

/* Lists are compared by what they are written as. */
static int same_list(struct diff *d, const struct schema_field *f, const void *a, const void *b,
                     bool *same)
{
    write_value(&d->a, f, a, true);
    write_value(&d->b, f, b, true);
    int r = d->a.err != 0 ? d->a.err : d->b.err;
    *same = slice_eq(value_of(&d->a), value_of(&d->b));
    if (d->a.data != NULL)
        mem_wipe(d->a.data, d->a.len);
    if (d->b.data != NULL)
        mem_wipe(d->b.data, d->b.len);
    return r;
}

static int diff_value(struct diff *d, const struct schema_field *f, const void *a, const void *b)
{
    bool same = false;
    int r = 0;
    if (schema_is_scalar(f->type))
        same = same_scalar(f, a, b);
    else
        r = same_list(d, f, a, b, &same);
    if (r != 0 || same)
        return r;
    write_value(&d->a, f, a, false);
    write_value(&d->b, f, b, false);
    return emit(d);
}

static const struct schema_pair *find_pair(const struct schema_list *l, const char *key)
{
    const struct schema_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(p[i].key, key) == 0)
            return &p[i];
    return NULL;
}

static void write_pair(struct buf *out, const struct schema_field *f, const struct schema_pair *p)
{
    struct json_out j;
    buf_clear(out);
    if (p == NULL)
        return;
    json_begin(&j, out);
    json_cstr(&j, (f->flags & SCHEMA_SECRET) != 0 ? "(set)" : p->value);
}

static int diff_pair(struct diff *d, const struct schema_field *f, const struct schema_pair *a,
                     const struct schema_pair *b)
{
    if (a != NULL && b != NULL && same_strings(a->value, b->value))
        return 0;
    size_t before = path_add(d, a != NULL ? a->key : b->key);
    write_pair(&d->a, f, a);
    write_pair(&d->b, f, b);
    int r = emit(d);
    path_cut(d, before);
    return r;
}

static int diff_pairs(struct diff *d, const struct schema_field *f, const struct schema_list *a,
                      const struct schema_list *b)
{
    const struct schema_pair *pa = a->items, *pb = b->items;
    int r = 0;
    for (size_t i = 0; r == 0 && i < a->count; i++)
        r = diff_pair(d, f, &pa[i], find_pair(b, pa[i].key));
    for (size_t i = 0; r == 0 && i < b->count; i++)
        if (find_pair(a, pb[i].key) == NULL)
            r = diff_pair(d, f, NULL, &pb[i]);
    return r;
}

static int diff_struct(struct diff *d, const struct schema *s, const struct schema_field *without,
                       const void *a, const void *b);

static const char *key_of(const struct schema_field *f, const void *item)
{
    const struct schema_field *key = schema_key_field(f->sub);
    const char *text = key != NULL ? *(char *const *)schema_member_const(key, item) : NULL;
    return text != NULL ? text : "";
}

static const void *find_item(const struct schema_field *f, const struct schema_list *l,
                             const char *key)
{
    for (size_t i = 0; i < l->count; i++) {
        const void *item = (const char *)l->items + i * f->sub->size;
        if (strcmp(key_of(f, item), key) == 0)
            return item;
    }
    return NULL;
}

static int diff_item(struct diff *d, const struct schema_field *f, const void *a, const void *b)
{
    size_t before = path_add(d, key_of(f, a != NULL ? a : b));
    int r;
    if (a != NULL && b != NULL) {
        r = diff_struct(d, f->sub, schema_key_field(f->sub), a, b);
    } else {
        struct buf *out = a != NULL ? &d->a : &d->b;
        struct json_out j;
        buf_clear(&d->a);
        buf_clear(&d->b);
        json_begin(&j, out);
        schema_write_json(f->sub, a != NULL ? a : b, &j);
        r = emit(d);
    }
    path_cut(d, before);
    return r;
}

static int diff_map(struct diff *d, const struct schema_field *f, const struct schema_list *a,
                    const struct schema_list *b)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < a->count; i++) {
        const void *item = (const char *)a->items + i * f->sub->size;
        r = diff_item(d, f, item, find_item(f, b, key_of(f, item)));
    }
    for (size_t i = 0; r == 0 && i < b->count; i++) {
        const void *item = (const char *)b->items + i * f->sub->size;
        if (find_item(f, a, key_of(f, item)) == NULL)
            r = diff_item(d, f, NULL, item);
    }
    return r;
}

static int diff_struct(struct diff *d, const struct schema *s, const struct schema_field *without,
                       const void *a, const void *b)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n_fields; i++) {
        const struct schema_field *f = &s->fields[i];
        const void *ma = schema_member_const(f, a), *mb = schema_member_const(f, b);
        if (f == without || f->type == SCHEMA_ANY)
            continue;
        size_t before = path_add(d, f->name);
        if (f->type == SCHEMA_STRUCT)
            r = diff_struct(d, f->sub, NULL, ma, mb);
        else if (f->type == SCHEMA_STR_MAP)
            r = diff_pairs(d, f, ma, mb);
        else if (f->type == SCHEMA_MAP)
            r = diff_map(d, f, ma, mb);
        else
            r = diff_value(d, f, a, b);
        path_cut(d, before);
    }
    return r;
}

int schema_diff(const struct schema *s, const void *a, const void *b,
                int (*fn)(void *ctx, const char *path, struct slice old_value,
                          struct slice new_value),
                void *ctx)
{
    struct diff d = {.path = BUF_INIT(MAX_BYTES),
                     .a = BUF_INIT(MAX_BYTES),
                     .b = BUF_INIT(MAX_BYTES),
                     .fn = fn,
                     .ctx = ctx};
    int r = diff_struct(&d, s, NULL, a, b);
    buf_done(&d.path);
    buf_done(&d.a);
    buf_done(&d.b);
    return r;
}
