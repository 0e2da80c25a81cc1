/* schema_walk.c: the values of a struct one by one, with the paths of their keys. */
#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

enum { MAX_PATH_BYTES = 1 << 20 };

struct walk {
    struct buf path;
    bool whole_maps;
    int (*fn)(void *ctx, const struct schema_leaf *leaf);
    void *ctx;
};

static void path_add(struct walk *w, const char *name)
{
    if (w->path.len > 0)
        (void)buf_addc(&w->path, '.');
    (void)str_add_printable(&w->path, slice_of(name));
}

static void path_cut(struct walk *w, size_t len)
{
    w->path.len = len;
    if (w->path.data != NULL)
        w->path.data[len] = '\0';
}

static int walk_struct(struct walk *w, const struct schema *s, const struct schema_field *without,
                       void *obj, bool reload);

static int walk_map(struct walk *w, const struct schema_field *f, struct schema_list *l,
                    bool reload)
{
    const struct schema_field *key = schema_key_field(f->sub);
    size_t before = w->path.len;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++) {
        void *item = (char *)l->items + i * f->sub->size;
        const char *name = key != NULL ? *(char **)schema_member(key, item) : NULL;
        path_add(w, name != NULL ? name : "");
        rc = walk_struct(w, f->sub, key, item, reload);
        path_cut(w, before);
    }
    return rc;
}

static int walk_field(struct walk *w, const struct schema_field *f, void *obj, bool reload)
{
    if (f->type == SCHEMA_STRUCT)
        return walk_struct(w, f->sub, NULL, schema_member(f, obj), reload);
    if (f->type == SCHEMA_MAP && !w->whole_maps)
        return walk_map(w, f, schema_member(f, obj), reload);
    if (w->path.err != 0)
        return w->path.err;
    const struct schema_leaf leaf = {
        .path = w->path.data, .field = f, .obj = obj, .reload = reload};
    return w->fn(w->ctx, &leaf);
}

static int walk_struct(struct walk *w, const struct schema *s, const struct schema_field *without,
                       void *obj, bool reload)
{
    size_t before = w->path.len;
    int rc = 0;
    for (size_t i = 0; i < s->n_fields && rc == 0; i++) {
        const struct schema_field *f = &s->fields[i];
        if (f == without || f->type == SCHEMA_ANY || (f->flags & SCHEMA_NOT_SERVED) != 0)
            continue;
        path_add(w, f->name);
        rc = w->path.err != 0 ? w->path.err
                              : walk_field(w, f, obj, reload || (f->flags & SCHEMA_RELOAD) != 0);
        path_cut(w, before);
    }
    return rc;
}

int schema_walk(const struct schema *s, void *obj, bool whole_maps,
                int (*fn)(void *ctx, const struct schema_leaf *leaf), void *ctx)
{
    struct walk w = {
        .path = BUF_INIT(MAX_PATH_BYTES), .whole_maps = whole_maps, .fn = fn, .ctx = ctx};
    int rc = walk_struct(&w, s, NULL, obj, false);
    buf_done(&w.path);
    return rc;
}

void schema_write_value(const struct schema_field *f, const void *obj, bool secrets,
                        struct buf *out)
{
    const void *member = schema_member_const(f, obj);
    struct json_out j;
    if (!schema_has_value(f, obj))
        return;
    switch (f->type) {
    case SCHEMA_STR:
        (void)buf_adds(out, (f->flags & SCHEMA_SECRET) != 0 && !secrets ? "(set)"
                                                                        : *(char *const *)member);
        break;
    case SCHEMA_BOOL:
        (void)buf_adds(out, *(const bool *)member ? "true" : "false");
        break;
    case SCHEMA_ENUM:
        (void)buf_adds(out, f->names[*(const int *)member]);
        break;
    case SCHEMA_INT:
        (void)buf_addi(out, *(const int64_t *)member);
        break;
    case SCHEMA_DURATION:
        schema_add_duration(out, *(const int64_t *)member);
        break;
    case SCHEMA_SIZE:
        schema_add_size(out, *(const int64_t *)member);
        break;
    default:
        json_begin(&j, out);
        schema_write_json_value(f, obj, secrets, &j);
        break;
    }
}

int schema_set_text(const struct schema_field *f, void *member, struct slice text, struct err *e)
{
    return schema_set_scalar(f, member, text, f->type == SCHEMA_STR, e);
}

/* --- Exchanging --- */

static size_t member_size(enum schema_type type)
{
    switch (type) {
    case SCHEMA_STR:
        return sizeof(char *);
    case SCHEMA_BOOL:
    case SCHEMA_ANY:
        return sizeof(bool);
    case SCHEMA_INT:
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
        return sizeof(int64_t);
    case SCHEMA_ENUM:
        return sizeof(int);
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
        return sizeof(struct schema_list);
    case SCHEMA_STRUCT:
        break;
    }
    return 0;
}

static void swap_bytes(void *a, void *b, size_t n)
{
    unsigned char room[sizeof(struct schema_list)];
    INVARIANT(n <= sizeof(room));
    memcpy(room, a, n);
    memcpy(a, b, n);
    memcpy(b, room, n);
}

static void swap_members(const struct schema *s, void *a, void *b, bool reload)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct schema_field *f = &s->fields[i];
        bool mine = reload || (f->flags & SCHEMA_RELOAD) != 0;
        if (f->type == SCHEMA_STRUCT)
            swap_members(f->sub, schema_member(f, a), schema_member(f, b), mine);
        else if (mine)
            swap_bytes(schema_member(f, a), schema_member(f, b), member_size(f->type));
    }
}

void schema_swap_reload(const struct schema *s, void *a, void *b)
{
    swap_members(s, a, b, false);
}
