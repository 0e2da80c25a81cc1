/* settings_diff.c: what differs between two configurations. */
#include "gantryd/settings_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { TEXT_MAX_BYTES = 16 << 20 };

/* One value of one side. */
struct value {
    char *shown; /* NULL: absent */
    bool reload;
    bool present;
    uint64_t hash[2]; /* of all of it, secrets too, which are kept nowhere else */
    bool matched;
};

static void value_free(void *p)
{
    struct value *v = p;
    mem_free(v->shown);
    mem_free(v);
}

static void hash_value(struct value *v, const struct buf *text)
{
    v->hash[0] = hash_bytes(text->data, text->len);
    v->hash[1] = text->len;
}

static int collect(void *ctx, const struct schema_leaf *leaf)
{
    struct map *values = ctx;
    struct buf text = BUF_INIT(TEXT_MAX_BYTES);
    struct value *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return ERR_NO_MEMORY;
    v->reload = leaf->reload;
    v->present = schema_has_value(leaf->field, leaf->obj);
    schema_write_value(leaf->field, leaf->obj, true, &text);
    hash_value(v, &text);
    int rc = text.err;
    if (text.data != NULL)
        mem_wipe(text.data, text.len);
    buf_clear(&text);
    if (rc == 0 && v->present) {
        schema_write_value(leaf->field, leaf->obj, false, &text);
        v->shown = buf_steal(&text, NULL);
        rc = v->shown == NULL ? ERR_NO_MEMORY : 0;
    }
    buf_done(&text);
    if (rc == 0)
        rc = map_put(values, slice_of(leaf->path), v);
    if (rc != 0)
        value_free(v);
    /* Two keys that look alike (a container named "a.b") count as the first one. */
    return rc == ERR_EXISTS ? 0 : rc;
}

static int add_change(struct settings_changes *c, struct slice key, const struct value *before,
                      const struct value *after)
{
    struct settings_change *items = mem_realloc(c->items, (c->count + 1) * sizeof(*items));
    if (items == NULL)
        return ERR_NO_MEMORY;
    c->items = items;
    struct settings_change *n = &items[c->count];
    const char *old_text = before != NULL ? before->shown : NULL;
    const char *new_text = after != NULL ? after->shown : NULL;
    *n = (struct settings_change){.key = mem_strndup(key.p, key.len),
                                  .old_text = old_text != NULL ? mem_strdup(old_text) : NULL,
                                  .new_text = new_text != NULL ? mem_strdup(new_text) : NULL,
                                  .reload = after != NULL ? after->reload : before->reload};
    c->count++;
    return n->key == NULL || (old_text != NULL && n->old_text == NULL) ||
                   (new_text != NULL && n->new_text == NULL)
               ? ERR_NO_MEMORY
               : 0;
}

static bool same(const struct value *a, const struct value *b)
{
    return a->present == b->present && a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

static int compare_maps(struct settings_changes *ret, const struct map *before,
                        const struct map *after)
{
    int rc = 0;
    for (struct map_entry *n = map_first(after); n != NULL && rc == 0; n = map_next(n)) {
        struct value *old = map_get(before, map_key(n)), *new = map_value(n);
        if (old != NULL)
            old->matched = true;
        /* A value that is absent on both sides is no change, nor is one of a new entry. */
        if (old == NULL ? new->present : !same(old, new))
            rc = add_change(ret, map_key(n), old, new);
    }
    for (struct map_entry *n = map_first(before); n != NULL && rc == 0; n = map_next(n)) {
        const struct value *old = map_value(n);
        if (!old->matched && old->present)
            rc = add_change(ret, map_key(n), old, NULL);
    }
    return rc;
}

int settings_compare(struct settings_changes *ret, struct config *before, struct config *after,
                     struct err *e)
{
    struct map a, b;
    *ret = (struct settings_changes){0};
    map_init(&a);
    map_init(&b);
    int rc = schema_walk(&config_schema, before, false, collect, &a);
    if (rc == 0)
        rc = schema_walk(&config_schema, after, false, collect, &b);
    if (rc == 0)
        rc = compare_maps(ret, &a, &b);
    map_done(&a, value_free);
    map_done(&b, value_free);
    return rc == 0 ? 0 : err_set(e, rc, "cannot compare configurations: %s", err_row(rc)->text);
}

void settings_changes_done(struct settings_changes *c)
{
    for (size_t i = 0; i < c->count; i++) {
        mem_free(c->items[i].key);
        mem_free(c->items[i].old_text);
        mem_free(c->items[i].new_text);
    }
    mem_free(c->items);
    *c = (struct settings_changes){0};
}
