/* What has been observed of one object. Steady objects cost no allocation: their texts are written
 * over the ones of the last look. */
#include "core/engine_priv.h"

enum { TEXT_MAX = 512, META_MAX = 64, META_BYTES_MAX = 12 * 1024 };

static struct slice cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max > 0 && ((unsigned char)s.p[max] & 0xC0) == 0x80)
        max--;
    return (struct slice){s.p, max};
}

static size_t meta_bounded(const struct driver_object *o, size_t *bytes)
{
    size_t n = 0;
    *bytes = 0;
    for (; n < o->n_meta && n < META_MAX; n++) {
        size_t more = strlen(o->meta[n].key) + strlen(o->meta[n].value) + 2;
        if (*bytes + more > META_BYTES_MAX)
            break;
        *bytes += more;
    }
    return n;
}

static char *put(char *at, struct slice s, uint16_t *len)
{
    if (s.len > 0)
        memcpy(at, s.p, s.len);
    at[s.len] = '\0';
    *len = (uint16_t)s.len;
    return at + s.len + 1;
}

static int texts_set(struct object *t, const struct driver_object *o)
{
    struct slice s[5] = {cut(o->revision, TEXT_MAX), cut(o->object_id, TEXT_MAX),
                         cut(o->node_id, TEXT_MAX), cut(slice_of(o->message), TEXT_MAX),
                         cut(slice_of(o->address), TEXT_MAX)};
    size_t meta_bytes, n_meta = meta_bounded(o, &meta_bytes), need = meta_bytes + ARRAY_LEN(s);
    for (size_t i = 0; i < ARRAY_LEN(s); i++)
        need += s[i].len;
    struct object_text *x = t->text;
    if (x == NULL || x->cap < need) {
        size_t cap = (need + 31) & ~(size_t)15; /* "Up 9 seconds" becomes "Up 10 seconds" */
        x = mem_alloc(sizeof(*x) + cap);
        if (x == NULL)
            return ERR_NO_MEMORY;
        mem_free(t->text);
        t->text = x;
        x->cap = (uint32_t)cap;
    }
    char *at = put(x->data, s[0], &x->revision);
    at = put(at, s[1], &x->object_id);
    at = put(at, s[2], &x->node_id);
    at = put(at, s[3], &x->message);
    at = put(at, s[4], &x->address);
    for (size_t i = 0; i < n_meta; i++) {
        size_t k = strlen(o->meta[i].key) + 1, v = strlen(o->meta[i].value) + 1;
        memcpy(at, o->meta[i].key, k);
        memcpy(at + k, o->meta[i].value, v);
        at += k + v;
    }
    x->n_meta = (uint16_t)n_meta;
    x->used = (uint32_t)(at - x->data);
    return 0;
}

uint64_t print_hash(struct slice print)
{
    uint64_t h = print.len > 0 ? hash_bytes(print.p, print.len) : 0;
    return h == 0 && print.len > 0 ? 1 : h;
}

int object_set(struct object *t, const struct driver_object *o)
{
    if (texts_set(t, o) != 0)
        return ERR_NO_MEMORY;
    t->exists = true;
    t->incomplete = o->incomplete;
    t->actual = (uint8_t)o->actual;
    t->cause = (uint8_t)o->cause;
    t->health = (uint8_t)o->health;
    t->restarts = o->restarts;
    t->created_ns = o->created_ns;
    t->started_ns = o->started_ns;
    t->finished_ns = o->finished_ns;
    t->exit_code = o->exit_code;
    t->print_hash = print_hash(o->print);
    return 0;
}

void object_gone(struct object *t)
{
    object_done(t);
    *t = (struct object){.exit_code = -1};
}

void object_done(struct object *t)
{
    mem_free(t->text);
    t->text = NULL;
}

struct slice object_revision(const struct object *t)
{
    return t->text != NULL ? (struct slice){t->text->data, t->text->revision}
                           : (struct slice){"", 0};
}

struct slice object_oid(const struct object *t)
{
    if (t->text == NULL)
        return (struct slice){"", 0};
    return (struct slice){t->text->data + t->text->revision + 1, t->text->object_id};
}

struct slice object_node(const struct object *t)
{
    if (t->text == NULL)
        return (struct slice){"", 0};
    return (struct slice){object_oid(t).p + t->text->object_id + 1, t->text->node_id};
}

const char *object_message(const struct object *t)
{
    return t->text != NULL ? object_node(t).p + t->text->node_id + 1 : "";
}

const char *object_address(const struct object *t)
{
    return t->text != NULL ? object_message(t) + t->text->message + 1 : "";
}

void object_meta(const struct object *t, void (*fn)(void *, const char *, const char *), void *ctx)
{
    if (t->text == NULL)
        return;
    const char *at = object_address(t) + t->text->address + 1;
    for (unsigned i = 0; i < t->text->n_meta; i++) {
        const char *value = at + strlen(at) + 1;
        fn(ctx, at, value);
        at = value + strlen(value) + 1;
    }
}
