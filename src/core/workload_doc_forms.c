/* workload_doc_forms.c: the stored and the shown form, prints and differences. */
#include "core/workload_doc.h"

#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "core/workload_doc_priv.h"

#include <string.h>

/* A sealed text is a third longer than its secret. */
enum { STORED_MAX = 2 * DOC_TEXT_MAX, BOUND_MAX = 1024 };
static const char set[] = "(set)";

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory with a workload's document");
}

static struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

/* --- Secrets ---
 *
 * Texts and the values of maps, in two tables. Each has a place, which its sealed form is bound to:
 * places stay as they are for ever. A copy of the document that borrows all but the secrets goes
 * through one function for each. */

#define SECRET(member) offsetof(struct workload_doc, member)
static const struct {
    const char *place;
    size_t at; /* of a char * */
} texts[] = {
    {"container/registry/password", SECRET(container.registry.password)},
    {"vm/cloud_init", SECRET(vm.cloud_init)},
    {"vm/cloud_init_config/user_data", SECRET(vm.cloud_init_config.user_data)},
    {"vm/cloud_init_config/meta_data", SECRET(vm.cloud_init_config.meta_data)},
    {"vm/cloud_init_config/network_config", SECRET(vm.cloud_init_config.network_config)},
    {"vm/cloud_init_config/vendor_data", SECRET(vm.cloud_init_config.vendor_data)},
};
static const struct {
    const char *place; /* before the name */
    size_t at;         /* of a schema_list of struct doc_pair */
} maps[] = {
    {"container/secret_env/", SECRET(container.secret_env)},
    {"compose/secret_env/", SECRET(compose.secret_env)},
};

static char **text_at(struct workload_doc *d, size_t i)
{
    return (char **)(void *)((char *)d + texts[i].at);
}
static const char *text_of(const struct workload_doc *d, size_t i)
{
    return *(char *const *)(const void *)((const char *)d + texts[i].at);
}
static struct schema_list *map_at(struct workload_doc *d, size_t i)
{
    return (struct schema_list *)(void *)((char *)d + maps[i].at);
}
static const struct schema_list *map_of(const struct workload_doc *d, size_t i)
{
    return (const struct schema_list *)(const void *)((const char *)d + maps[i].at);
}

struct secrets {
    struct workload_doc doc;                 /* borrows but for these: */
    struct doc_pair *pairs[ARRAY_LEN(maps)]; /* keys borrowed, values owned */
    char *owned[ARRAY_LEN(texts)];
};

/* Makes of a secret at this place what stands for it, as an owned text. */
typedef int (*secret_fn)(void *ctx, const char *place, struct slice secret, char **ret,
                         struct err *e);

static void secrets_done(struct secrets *s)
{
    for (size_t m = 0; m < ARRAY_LEN(maps); m++) {
        for (size_t i = 0; s->pairs[m] != NULL && i < map_of(&s->doc, m)->count; i++)
            mem_free(s->pairs[m][i].value);
        mem_free(s->pairs[m]);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        mem_free(s->owned[i]);
}

/* "container/secret_env/NAME" */
static const char *pair_place(char (*room)[BOUND_MAX], size_t map, const char *name)
{
    struct buf b = BUF_FIXED(*room);
    (void)buf_adds(&b, maps[map].place);
    (void)buf_adds(&b, name);
    return *room;
}

static int map_replace(struct secrets *s, const struct workload_doc *d, size_t m, secret_fn fn,
                       void *ctx, struct err *e)
{
    const struct schema_list *l = map_of(d, m);
    const struct doc_pair *from = l->items;
    char room[BOUND_MAX];
    int r = 0;
    if (l->count == 0)
        return 0;
    s->pairs[m] = mem_calloc(l->count, sizeof(*s->pairs[m]));
    if (s->pairs[m] == NULL)
        return no_memory(e);
    map_at(&s->doc, m)->items = s->pairs[m];
    for (size_t i = 0; r == 0 && i < l->count; i++) {
        s->pairs[m][i].key = from[i].key;
        r = fn(ctx, pair_place(&room, m, from[i].key), slice_of(from[i].value),
               &s->pairs[m][i].value, e);
    }
    return r;
}

static int secrets_replace(struct secrets *s, const struct workload_doc *d, secret_fn fn, void *ctx,
                           struct err *e)
{
    int r = 0;
    *s = (struct secrets){.doc = *d};
    for (size_t m = 0; r == 0 && m < ARRAY_LEN(maps); m++)
        r = map_replace(s, d, m, fn, ctx, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
        if (text_of(d, i) != NULL) {
            r = fn(ctx, texts[i].place, slice_of(text_of(d, i)), &s->owned[i], e);
            *text_at(&s->doc, i) = s->owned[i];
        }
    return r;
}

/* --- The stored form --- */

struct sealing {
    const struct sealer *sealer;
    const char *id;
};

static int bound_to(struct buf *b, const char *id, const char *place, struct err *e)
{
    (void)buf_adds(b, id);
    (void)buf_addc(b, '/');
    (void)buf_adds(b, place);
    return b->err == 0 ? 0 : err_set(e, ERR_INVALID, "\"%.80s\" is too long a name", place);
}

static int seal_one(void *ctx, const char *place, struct slice secret, char **ret, struct err *e)
{
    const struct sealing *s = ctx;
    char room[BOUND_MAX + WORKLOAD_ID_MAX];
    struct buf bound = BUF_FIXED(room), out = BUF_INIT(STORED_MAX);
    int r = bound_to(&bound, s->id, place, e);
    if (r == 0)
        r = s->sealer->seal(s->sealer->ctx, buf_slice(&bound), secret, &out, e);
    if (r == 0 && (*ret = buf_steal(&out, NULL)) == NULL)
        r = no_memory(e);
    buf_done(&out);
    return r;
}

static bool has_secrets(const struct workload_doc *d)
{
    for (size_t m = 0; m < ARRAY_LEN(maps); m++)
        if (map_of(d, m)->count > 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (text_of(d, i) != NULL)
            return true;
    return false;
}

int workload_doc_store(const struct workload_doc *d, const struct sealer *s, struct buf *out,
                       struct err *e)
{
    struct sealing ctx = {s, d->id};
    struct secrets sealed = {.doc = *d};
    struct json_out j;
    size_t before = out->len;
    int r = 0;
    if (has_secrets(d) && (s == NULL || s->seal == NULL))
        return err_set(e, ERR_STATE, "there is no key, and so no secret can be stored");
    if (has_secrets(d))
        r = secrets_replace(&sealed, d, seal_one, &ctx, e);
    if (r == 0) {
        json_begin(&j, out);
        schema_write_json_as(&workload_doc_stored_schema, &sealed.doc,
                             SCHEMA_JSON_COMPACT | SCHEMA_JSON_SECRETS, &j);
        if (out->err == ERR_NO_MEMORY)
            r = no_memory(e);
        else if (out->err != 0 || out->len - before > STORED_MAX)
            r = err_set(e, ERR_LIMIT, "the document is larger than %d bytes", STORED_MAX);
    }
    secrets_done(&sealed);
    return r;
}

/* What a store holds, without opening secrets. */
static int read_stored(struct workload_doc *d, struct slice stored, struct err *e)
{
    struct err why = {0};
    int r = workload_doc_init(d, e);
    if (r != 0)
        return r;
    json_t *v = json_parse(stored, NULL, &why);
    if (v != NULL)
        r = schema_read_json(&workload_doc_stored_schema, d, v, &why);
    else
        r = why.code;
    json_decref(v);
    if (r == ERR_NO_MEMORY)
        return no_memory(e);
    return r == 0 ? 0 : err_set(e, ERR_INVALID, "the stored document is damaged: %s", why.msg);
}

/* Opens a sealed text in its place. */
static int open_one(const struct sealing *s, const char *place, char **text, struct err *e)
{
    char room[BOUND_MAX + WORKLOAD_ID_MAX];
    struct buf bound = BUF_FIXED(room), plain = BUF_INIT(STORED_MAX);
    struct slice sealed = slice_of(*text);
    char *opened = NULL;
    int r = bound_to(&bound, s->id, place, e);
    /* Room for all of it at once, so that no copy is left behind. */
    if (r == 0 && buf_reserve(&plain, sealed.len) != 0)
        r = no_memory(e);
    if (r == 0)
        r = s->sealer->open(s->sealer->ctx, buf_slice(&bound), sealed, &plain, e);
    if (r == 0 && memchr(plain.data, '\0', plain.len) != NULL)
        r = err_set(e, ERR_INVALID, "the stored document is damaged: %s holds a NUL", place);
    if (r == 0 && (opened = mem_strndup(plain.data, plain.len)) == NULL)
        r = no_memory(e);
    if (r == 0) {
        mem_free(*text);
        *text = opened;
    }
    if (plain.data != NULL)
        mem_wipe(plain.data, plain.cap);
    buf_done(&plain);
    return r;
}

static int open_all(struct workload_doc *d, const struct sealer *s, struct err *e)
{
    const struct sealing ctx = {s, d->id};
    char room[BOUND_MAX];
    int r = 0;
    if (has_secrets(d) && (s == NULL || s->open == NULL))
        return err_set(e, ERR_STATE, "there is no key, and so no secret can be opened");
    for (size_t m = 0; m < ARRAY_LEN(maps); m++) {
        struct doc_pair *p = map_at(d, m)->items;
        for (size_t i = 0; r == 0 && i < map_at(d, m)->count; i++)
            r = open_one(&ctx, pair_place(&room, m, p[i].key), &p[i].value, e);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
        if (text_of(d, i) != NULL)
            r = open_one(&ctx, texts[i].place, text_at(d, i), e);
    return r;
}

int workload_doc_load(struct workload_doc *d, struct slice id, enum workload_type type,
                      struct slice stored, const struct sealer *s, struct err *e)
{
    int r = read_stored(d, stored, e);
    d->type = (int)type;
    if (r == 0 && (d->id = mem_strndup(id.p, id.len)) == NULL)
        r = no_memory(e);
    if (r == 0)
        r = open_all(d, s, e);
    if (r != 0) /* half of it is of no use to anybody */
        workload_doc_done(d);
    return r;
}

int workload_doc_show(struct slice stored, struct buf *out, struct err *e)
{
    struct workload_doc d;
    struct json_out j;
    int r = read_stored(&d, stored, e);
    if (r == 0) {
        json_begin(&j, out);
        schema_write_json_as(&workload_doc_stored_schema, &d,
                             SCHEMA_JSON_COMPACT | SCHEMA_JSON_BARE, &j);
        if (out->err != 0)
            r = err_set(e, out->err, "no room for a workload's document");
    }
    workload_doc_done(&d);
    return r;
}

/* --- Prints --- */

/* By key; the lists are short. */
static void sort_pairs(struct doc_pair *p, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct doc_pair one = p[i];
        size_t k = i;
        for (; k > 0 && strcmp(p[k - 1].key, one.key) > 0; k--)
            p[k] = p[k - 1];
        p[k] = one;
    }
}

/* A sorted copy that borrows the texts; the caller frees the items. */
static int sorted_copy(struct schema_list *l)
{
    struct doc_pair *copy = mem_calloc(l->count + 1, sizeof(*copy));
    if (copy == NULL)
        return ERR_NO_MEMORY;
    if (l->count > 0)
        memcpy(copy, l->items, l->count * sizeof(*copy));
    sort_pairs(copy, l->count);
    l->items = copy;
    return 0;
}

static void print_text(const struct sealer *s, struct slice text, char out[SEALER_PRINT_SIZE])
{
    unsigned char digest[SHA256_SIZE];
    if (s != NULL && s->print != NULL) {
        s->print(s->ctx, text, out);
        return;
    }
    sha256(text, digest);
    hex_encode(out, digest, sizeof(digest));
}

static int print_secret(void *ctx, const char *place, struct slice secret, char **ret,
                        struct err *e)
{
    char print[SEALER_PRINT_SIZE];
    (void)place;
    print_text(ctx, secret, print);
    *ret = mem_strdup(print);
    return *ret != NULL ? 0 : no_memory(e);
}

/* Maps of which the order does not count. */
static const size_t unordered[] = {SECRET(container.env), SECRET(container.labels),
                                   SECRET(compose.env), SECRET(vm.metadata)};

/* The maps of `to`, which borrows all, are sorted copies then; the caller frees the items of so
 * many of them as *n says. */
static int sort_maps(struct workload_doc *to, size_t *n)
{
    for (*n = 0; *n < ARRAY_LEN(unordered); ++*n)
        if (sorted_copy((struct schema_list *)(void *)((char *)to + unordered[*n])) != 0)
            return ERR_NO_MEMORY;
    return 0;
}

static void free_maps(struct workload_doc *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(((struct schema_list *)(void *)((char *)d + unordered[i]))->items);
}

/* A secret takes part with its own print, so that no text with secrets is ever put together. */
int workload_doc_print(const struct workload_doc *d, const struct sealer *s,
                       char out[SEALER_PRINT_SIZE], struct err *e)
{
    struct secrets masked;
    struct buf text = BUF_INIT(8 * STORED_MAX);
    struct json_out j;
    size_t sorted = 0;
    int r = secrets_replace(&masked, d, print_secret, (void *)(uintptr_t)s, e);
    if (r == 0 && sort_maps(&masked.doc, &sorted) != 0)
        r = no_memory(e);
    if (r == 0) {
        for (size_t m = 0; m < ARRAY_LEN(maps); m++)
            if (masked.pairs[m] != NULL)
                sort_pairs(masked.pairs[m], map_of(&masked.doc, m)->count);
        json_begin(&j, &text);
        schema_write_json_as(&workload_doc_print_schema, &masked.doc,
                             SCHEMA_JSON_COMPACT | SCHEMA_JSON_SECRETS, &j);
        if (text.err != 0)
            r = err_set(e, text.err, "no room for a workload's document");
        else
            print_text(s, buf_slice(&text), out);
    }
    free_maps(&masked.doc, sorted);
    secrets_done(&masked);
    buf_done(&text);
    return r;
}

int workload_doc_diff(const struct workload_doc *before, const struct workload_doc *after,
                      int (*fn)(void *ctx, const char *path, struct slice old_value,
                                struct slice new_value),
                      void *ctx, struct err *e)
{
    int r = schema_diff(&workload_doc_print_schema, before, after, fn, ctx);
    return r == ERR_NO_MEMORY ? no_memory(e) : r;
}

/* --- Hiding and keeping --- */

static struct doc_pair *find_pair(const struct schema_list *l, const char *key)
{
    struct doc_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(p[i].key, key) == 0)
            return &p[i];
    return NULL;
}

/* '*' is any run of characters: after a mismatch the last one takes one more. */
static bool matches(const char *pattern, const char *name)
{
    const char *star = NULL, *from = name;
    while (*name != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool is_hidden(const char *name, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (matches(patterns[i], name))
            return true;
    return false;
}

static int hide(struct schema_list *env, struct schema_list *secret, const char *const *patterns,
                size_t n, struct err *e)
{
    struct doc_pair *p = env->items;
    size_t kept = 0;
    int r = 0;
    for (size_t i = 0; i < env->count; i++) {
        if (r != 0 || !is_hidden(p[i].key, patterns, n)) {
            p[kept++] = p[i];
            continue;
        }
        struct doc_pair *to = NULL;
        if (find_pair(secret, p[i].key) != NULL)
            r = err_set(e, ERR_INVALID, "\"%.200s\" is in env and in secret_env", p[i].key);
        else if (secret->count >= DOC_LIST_MAX)
            r = err_set(e, ERR_LIMIT, "more than %d variables in secret_env", DOC_LIST_MAX);
        else if ((to = schema_list_add(secret, sizeof(*to))) == NULL)
            r = no_memory(e);
        if (to != NULL)
            *to = p[i];
        else
            p[kept++] = p[i];
    }
    env->count = kept;
    return r;
}

int workload_doc_hide_env(struct workload_doc *d, const char *const *patterns, size_t n,
                          struct err *e)
{
    int r = hide(&d->container.env, &d->container.secret_env, patterns, n, e);
    return r == 0 ? hide(&d->compose.env, &d->compose.secret_env, patterns, n, e) : r;
}

static int keep_one(char **value, const char *old, const char *place, struct err *e)
{
    if (strcmp(*value, set) != 0)
        return 0;
    if (old == NULL)
        return err_set(e, ERR_INVALID,
                       "%.200s: \"(set)\" stands for a value that is stored, and there is none",
                       place);
    char *copy = mem_strdup(old);
    if (copy == NULL)
        return no_memory(e);
    mem_free(*value);
    *value = copy;
    return 0;
}

static int keep_pairs(struct workload_doc *d, const struct workload_doc *old, size_t m,
                      struct err *e)
{
    struct doc_pair *p = map_at(d, m)->items;
    char room[BOUND_MAX];
    int r = 0;
    for (size_t i = 0; r == 0 && i < map_at(d, m)->count; i++) {
        const struct doc_pair *had = old != NULL ? find_pair(map_of(old, m), p[i].key) : NULL;
        r = keep_one(&p[i].value, had != NULL ? had->value : NULL, pair_place(&room, m, p[i].key),
                     e);
    }
    return r;
}

int workload_doc_keep_secrets(struct workload_doc *d, const struct workload_doc *old, struct err *e)
{
    int r = 0;
    for (size_t m = 0; r == 0 && m < ARRAY_LEN(maps); m++)
        r = keep_pairs(d, old, m, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
        if (text_of(d, i) != NULL)
            r = keep_one(text_at(d, i), old != NULL ? text_of(old, i) : NULL, texts[i].place, e);
    return r == 0 ? doc_check_cloud_init(&d->vm, e) : r; /* old and new together may be too much */
}
