#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

/* --- Plain scalars --- */

static bool is_one_of(struct slice s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eqs(s, words[i]))
            return true;
    return false;
}

static bool is_true(struct slice s)
{
    return is_one_of(s, (const char *const[]){"true", "True", "TRUE"}, 3);
}

static size_t digits_at(struct slice s, size_t i)
{
    size_t n = 0;
    while (i + n < s.len && s.p[i + n] >= '0' && s.p[i + n] <= '9')
        n++;
    return n;
}

/* [-+]? ( . digits | digits ( . digits* )? ) ( [eE] [-+]? digits )? */
static enum schema_scalar number_kind(struct slice s)
{
    size_t i = s.p[0] == '-' || s.p[0] == '+';
    size_t whole = digits_at(s, i), fraction = 0;
    i += whole;
    if (i == s.len)
        return whole > 0 ? SCALAR_INT : SCALAR_TEXT;
    if (s.p[i] == '.') {
        fraction = digits_at(s, i + 1);
        i += 1 + fraction;
    }
    if (whole + fraction == 0)
        return SCALAR_TEXT;
    if (i < s.len && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        i += i < s.len && (s.p[i] == '-' || s.p[i] == '+');
        size_t exponent = digits_at(s, i);
        if (exponent == 0)
            return SCALAR_TEXT;
        i += exponent;
    }
    return i == s.len ? SCALAR_FLOAT : SCALAR_TEXT;
}

/* Digits of base 8 or 16 after "0o" or "0x"; false if it is not such a number at all. */
static bool based_number(struct slice s, uint64_t *value, bool *over)
{
    unsigned shift = slice_starts(s, "0x") ? 4 : slice_starts(s, "0o") ? 3 : 0;
    uint64_t v = 0;
    *over = false;
    if (shift == 0 || s.len == 2)
        return false;
    for (size_t i = 2; i < s.len; i++) {
        char c = s.p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : 99;
        if (digit >= 1 << shift)
            return false;
        *over = *over || v >> (64 - shift) != 0;
        v = v << shift | (uint64_t)digit;
    }
    *value = v;
    return true;
}

enum schema_scalar schema_scalar_kind(struct slice s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    static const char *const floats[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF",
                                         "-.inf", "-.Inf", "-.INF", ".nan",  ".NaN",  ".NAN"};
    uint64_t v;
    bool over;
    if (is_one_of(s, nulls, ARRAY_LEN(nulls)))
        return SCALAR_NULL;
    if (is_true(s) || is_one_of(s, falses, ARRAY_LEN(falses)))
        return SCALAR_BOOL;
    if (based_number(s, &v, &over))
        return SCALAR_INT;
    if (is_one_of(s, floats, ARRAY_LEN(floats)))
        return SCALAR_FLOAT;
    return number_kind(s);
}

/* --- Setting members --- */

bool schema_is_scalar(enum schema_type type)
{
    return type <= SCHEMA_ENUM;
}

/* A value as messages show it: printable and not too long. */
struct shown {
    char text[96];
};
static const char *show(struct shown *out, struct slice v)
{
    struct buf b = BUF_FIXED(out->text);
    size_t n = v.len > 14 ? 14 : v.len; /* 14 bytes of six characters surely fit */
    if (str_add_printable(&b, v) == 0)
        return out->text;
    buf_clear(&b);
    while (n > 0 && ((unsigned char)v.p[n] & 0xC0) == 0x80)
        n--;
    (void)str_add_printable(&b, (struct slice){v.p, n});
    (void)buf_addlit(&b, "...");
    return out->text;
}

static int invalid(struct err *e, struct slice text, const char *what)
{
    struct shown s;
    return err_set(e, ERR_INVALID, "\"%s\" is not %s", show(&s, text), what);
}

int schema_set_str(char **member, struct slice text)
{
    char *copy = mem_strndup(text.p, text.len);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    mem_free(*member);
    *member = copy;
    return 0;
}

bool schema_takes_plain(const struct schema_field *f, struct slice text)
{
    return (f->flags & SCHEMA_PLAIN) != 0 && schema_scalar_kind(text) != SCALAR_NULL;
}

int schema_check_length(const struct schema_field *f, struct slice text, struct err *e)
{
    struct shown s;
    if (f->type != SCHEMA_STR || f->max == 0)
        return 0;
    if ((int64_t)text.len > f->max)
        return err_set(e, ERR_INVALID, "\"%s\" is longer than %lld bytes", show(&s, text),
                       (long long)f->max);
    if ((int64_t)text.len < f->min)
        return err_set(e, ERR_INVALID, "\"%s\" is shorter than %lld bytes", show(&s, text),
                       (long long)f->min);
    return 0;
}

static void secret_done(char *text)
{
    if (text != NULL)
        mem_wipe(text, strlen(text));
}

static int set_str(const struct schema_field *f, char **member, struct slice text, bool quoted,
                   struct err *e)
{
    static const char *const kinds[] = {"null", "a boolean", "a number", "a number"};
    enum schema_scalar kind = quoted ? SCALAR_TEXT : schema_scalar_kind(text);
    struct shown s;
    if (kind != SCALAR_TEXT)
        return err_set(e, ERR_INVALID, "\"%s\" is %s, not text: put it in quotes", show(&s, text),
                       kinds[kind]);
    if (memchr(text.p, '\0', text.len) != NULL)
        return err_set(e, ERR_INVALID, "\"%s\" contains a NUL character", show(&s, text));
    int r = schema_check_length(f, text, e);
    if (r != 0)
        return r;
    if ((f->flags & SCHEMA_SECRET) != 0)
        secret_done(*member);
    if (schema_set_str(member, text) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return 0;
}

int schema_check_range(const struct schema_field *f, int64_t v, struct slice text, struct err *e)
{
    struct shown s;
    char low[32], high[32];
    struct buf lo = BUF_FIXED(low), hi = BUF_FIXED(high);
    if ((f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max))
        return 0;
    void (*add)(struct buf *, int64_t) =
        f->type == SCHEMA_DURATION ? schema_add_duration : schema_add_size;
    if (f->type == SCHEMA_INT) {
        (void)buf_addi(&lo, f->min);
        (void)buf_addi(&hi, f->max);
    } else {
        add(&lo, f->min);
        add(&hi, f->max);
    }
    return err_set(e, ERR_INVALID, "\"%s\" is not between %s and %s", show(&s, text), low, high);
}

static int set_int(const struct schema_field *f, int64_t *member, struct slice text, bool quoted,
                   struct err *e)
{
    struct shown s;
    uint64_t based;
    bool over;
    int64_t v = 0;
    if (quoted || schema_scalar_kind(text) != SCALAR_INT)
        return invalid(e, text, "an integer");
    size_t sign = text.p[0] == '-' || text.p[0] == '+';
    if (based_number(text, &based, &over)) {
        over = over || based > INT64_MAX;
        v = over ? 0 : (int64_t)based;
    } else if (text.len - sign > 1 && text.p[sign] == '0') {
        /* Octal for one generation of YAML readers, decimal for the other. */
        return err_set(e, ERR_INVALID,
                       "\"%s\" is ambiguous: write octal with 0o, decimal without the leading 0",
                       show(&s, text));
    } else {
        over = str_to_i64(text, &v) != 0;
    }
    if (over)
        return invalid(e, text, "an integer of 64 bits");
    int r = schema_check_range(f, v, text, e);
    if (r == 0)
        *member = v;
    return r;
}

static int set_quantity(const struct schema_field *f, int64_t *member, struct slice text,
                        struct err *e)
{
    int64_t v = 0;
    uint64_t size = 0;
    int r;
    if (f->type == SCHEMA_DURATION) {
        r = str_to_ms(text, &v);
    } else {
        r = str_to_size(text, &size);
        if (r == 0 && size > INT64_MAX)
            r = ERR_LIMIT;
        v = (int64_t)size;
    }
    if (r != 0 && f->min < 0) /* such as -1 for "no limit" */
        r = str_to_i64(text, &v);
    if (r != 0 && f->type == SCHEMA_DURATION)
        return invalid(e, text, "a duration such as 250ms, 5s, 2m, 1h or 1d");
    if (r != 0)
        return invalid(e, text, "a size such as 512, 64k, 8M or 1G");
    r = schema_check_range(f, v, text, e);
    if (r == 0)
        *member = v;
    return r;
}

static int set_enum(const struct schema_field *f, int *member, struct slice text, struct err *e)
{
    struct shown s;
    char list[160];
    struct buf names = BUF_FIXED(list);
    for (int i = 0; f->names[i] != NULL; i++) {
        if (f->names[i][0] == '\0')
            continue;
        if (slice_eqs(text, f->names[i])) {
            *member = i;
            return 0;
        }
        (void)buf_addf(&names, "%s%s", names.len > 0 ? ", " : "", f->names[i]);
    }
    return err_set(e, ERR_INVALID, "\"%s\" is not one of: %s", show(&s, text), list);
}

int schema_set_scalar(const struct schema_field *f, void *member, struct slice text, bool quoted,
                      struct err *e)
{
    if (!quoted && schema_scalar_kind(text) == SCALAR_NULL && f->type != SCHEMA_ENUM) {
        if ((f->flags & SCHEMA_NULLABLE) == 0)
            return text.len == 0 ? err_set(e, ERR_INVALID, "the value is missing")
                                 : invalid(e, text, "allowed here");
        schema_member_done(f, member);
        return 0;
    }
    switch (f->type) {
    case SCHEMA_STR:
        return set_str(f, member, text, quoted || schema_takes_plain(f, text), e);
    case SCHEMA_BOOL:
        if (quoted || schema_scalar_kind(text) != SCALAR_BOOL)
            return invalid(e, text, "true or false");
        *(bool *)member = is_true(text);
        return 0;
    case SCHEMA_INT:
        return set_int(f, member, text, quoted, e);
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
        return set_quantity(f, member, text, e);
    case SCHEMA_ENUM:
        return set_enum(f, member, text, e);
    default:
        return err_set(e, ERR_INTERNAL, "\"%s\" is not a scalar", f->name);
    }
}

void *schema_list_add(struct schema_list *l, size_t size)
{
    /* The array doubles whenever the count is a power of two, so no capacity is stored. */
    if ((l->count & (l->count - 1)) == 0) {
        size_t n, cap = l->count == 0 ? 1 : l->count * 2;
        if (__builtin_mul_overflow(cap, size, &n))
            return NULL;
        void *items = mem_realloc(l->items, n);
        if (items == NULL)
            return NULL;
        l->items = items;
    }
    void *item = (char *)l->items + l->count++ * size;
    memset(item, 0, size);
    return item;
}

int schema_str_add(struct schema_list *l, struct slice text)
{
    char *copy = mem_strndup(text.p, text.len);
    char **item = copy != NULL ? schema_list_add(l, sizeof(*item)) : NULL;
    if (item == NULL) {
        mem_free(copy);
        return ERR_NO_MEMORY;
    }
    *item = copy;
    return 0;
}

int schema_pair_add(struct schema_list *l, struct slice key, struct slice value)
{
    struct schema_pair pair = {mem_strndup(key.p, key.len), mem_strndup(value.p, value.len)};
    struct schema_pair *item =
        pair.key != NULL && pair.value != NULL ? schema_list_add(l, sizeof(*item)) : NULL;
    if (item == NULL) {
        mem_free(pair.key);
        mem_free(pair.value);
        return ERR_NO_MEMORY;
    }
    *item = pair;
    return 0;
}

const struct schema_field *schema_key_field(const struct schema *s)
{
    for (size_t i = 0; s->key != NULL && i < s->n_fields; i++)
        if (strcmp(s->fields[i].name, s->key) == 0)
            return &s->fields[i];
    return NULL;
}

/* --- Units --- */

static void add_unit(struct buf *b, int64_t v, const char *const *names, const int64_t *factors,
                     size_t n)
{
    size_t i = 0;
    while (v != 0 && i + 1 < n && v % factors[i] != 0)
        i++;
    if (v == 0)
        i = n - 1;
    (void)buf_addi(b, v / factors[i]);
    (void)buf_adds(b, names[i]);
}

void schema_add_duration(struct buf *b, int64_t ms)
{
    static const char *const names[] = {"d", "h", "m", "s", "ms"};
    static const int64_t factors[] = {86400000, 3600000, 60000, 1000, 1};
    add_unit(b, ms, names, factors, ARRAY_LEN(names));
}

void schema_add_size(struct buf *b, int64_t bytes)
{
    static const char *const names[] = {"G", "M", "k", ""};
    static const int64_t factors[] = {1 << 30, 1 << 20, 1 << 10, 1};
    add_unit(b, bytes, names, factors, ARRAY_LEN(names));
}

/* --- Defaults and the end --- */

static int default_of(const struct schema_field *f, void *obj, struct err *e)
{
    if (f->type == SCHEMA_STRUCT)
        return schema_defaults(f->sub, schema_member(f, obj), e);
    if (f->def == NULL)
        return 0;
    /* Most defaults are bare words; only quotes and brackets need the YAML reader. */
    if (schema_is_scalar(f->type) && f->def[0] != '"' && f->def[0] != '\'')
        return schema_set_scalar(f, schema_member(f, obj), slice_of(f->def), false, e);
    return schema_read_member(f, obj, slice_of(f->def), e);
}

int schema_defaults(const struct schema *s, void *obj, struct err *e)
{
    memset(obj, 0, s->size);
    for (size_t i = 0; i < s->n_fields; i++) {
        int r = default_of(&s->fields[i], obj, e);
        if (r != 0) {
            err_wrap(e, "default of \"%s\" in %s", s->fields[i].name, s->name);
            schema_done(s, obj);
            return r;
        }
    }
    return 0;
}

static void text_done(char *text, bool secret)
{
    if (secret)
        secret_done(text);
    mem_free(text);
}

static void list_done(const struct schema_field *f, struct schema_list *l)
{
    bool secret = (f->flags & SCHEMA_SECRET) != 0;
    for (size_t i = 0; i < l->count; i++) {
        if (f->type == SCHEMA_STR_LIST) {
            text_done(((char **)l->items)[i], secret);
        } else if (f->type == SCHEMA_STR_MAP) {
            struct schema_pair *p = (struct schema_pair *)l->items + i;
            mem_free(p->key);
            text_done(p->value, secret);
        } else {
            schema_done(f->sub, (char *)l->items + i * f->sub->size);
        }
    }
    mem_free(l->items);
    *l = (struct schema_list){NULL, 0};
}

void schema_member_done(const struct schema_field *f, void *member)
{
    switch (f->type) {
    case SCHEMA_STR:
        text_done(*(char **)member, (f->flags & SCHEMA_SECRET) != 0);
        *(char **)member = NULL;
        break;
    case SCHEMA_BOOL:
    case SCHEMA_ANY:
        *(bool *)member = false;
        break;
    case SCHEMA_INT:
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
        *(int64_t *)member = 0;
        break;
    case SCHEMA_ENUM:
        *(int *)member = 0;
        break;
    case SCHEMA_STRUCT:
        schema_done(f->sub, member);
        break;
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
        list_done(f, member);
        break;
    }
}

void schema_done(const struct schema *s, void *obj)
{
    if (obj == NULL)
        return;
    for (size_t i = 0; i < s->n_fields; i++)
        schema_member_done(&s->fields[i], schema_member(&s->fields[i], obj));
}

void schema_report_done(struct schema_report *r)
{
    if (r == NULL)
        return;
    mem_free(r->faults);
    *r = (struct schema_report){0};
}
