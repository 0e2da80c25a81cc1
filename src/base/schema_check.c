/* schema_check.c: what the readers check, for structs that were filled by hand. */
#include "base/schema.h"

#include "base/mem.h"
#include "base/schema_priv.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

/* The functions here recurse along tables of ours, never along input. */

static void trail_put(struct schema_trail *t, const char *part)
{
    struct schema_trail before = *t;
    struct buf b = BUF_FIXED(t->text);
    bool joined = before.text[0] == '[' || before.text[0] == '\0';
    if (buf_adds(&b, part) != 0 || buf_adds(&b, joined ? "" : ".") != 0 ||
        buf_adds(&b, before.text) != 0)
        *t = before; /* too long: its end says most */
}

void schema_trail_key(struct schema_trail *t, const char *name)
{
    char part[120];
    struct buf b = BUF_FIXED(part);
    (void)str_add_printable(&b, slice_of(name));
    trail_put(t, part);
}

void schema_trail_index(struct schema_trail *t, size_t index)
{
    char part[32];
    (void)snprintf(part, sizeof(part), "[%zu]", index);
    trail_put(t, part);
}

/* --- Defaults --- */

static bool same_text(const char *value, const char *def)
{
    return (value == NULL) == (def == NULL) && (value == NULL || strcmp(value, def) == 0);
}

static bool is_default_number(const struct schema_field *f, const void *member)
{
    int64_t number = 0;
    int index = 0;
    bool yes = false;
    void *room = f->type == SCHEMA_BOOL   ? (void *)&yes
                 : f->type == SCHEMA_ENUM ? (void *)&index
                                          : (void *)&number;
    if (f->def != NULL && schema_set_scalar(f, room, slice_of(f->def), false, NULL) != 0)
        return false;
    if (f->type == SCHEMA_BOOL)
        return *(const bool *)member == yes;
    if (f->type == SCHEMA_ENUM)
        return *(const int *)member == index;
    return *(const int64_t *)member == number;
}

bool schema_is_default(const struct schema_field *f, const void *obj)
{
    const void *member = schema_member_const(f, obj);
    switch (f->type) {
    case SCHEMA_ANY:
        return true;
    case SCHEMA_STR:
        return same_text(*(char *const *)member, f->def);
    case SCHEMA_BOOL:
    case SCHEMA_INT:
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
    case SCHEMA_ENUM:
        return is_default_number(f, member);
    case SCHEMA_STRUCT:
        for (size_t i = 0; i < f->sub->n_fields; i++)
            if (!schema_is_default(&f->sub->fields[i], member))
                return false;
        return true;
    default:
        return ((const struct schema_list *)member)->count == 0 && f->def == NULL;
    }
}

/* --- Checking --- */

static int check_text(const struct schema_field *f, const char *text, struct err *e)
{
    struct slice s = slice_of(text);
    if (text == NULL)
        return err_set(e, ERR_INVALID, "the value is missing");
    if (!utf8_valid(s.p, s.len))
        return err_set(e, ERR_INVALID, "the text is not UTF-8");
    return schema_check_length(f, s, e);
}

static int check_number(const struct schema_field *f, int64_t v, struct err *e)
{
    char text[24];
    struct buf b = BUF_FIXED(text);
    (void)buf_addi(&b, v);
    return schema_check_range(f, v, (struct slice){text, b.len}, e);
}

static int check_enum(const struct schema_field *f, int v, struct err *e)
{
    int n = 0;
    while (f->names[n] != NULL)
        n++;
    return v >= 0 && v < n ? 0 : err_set(e, ERR_INVALID, "\"%d\" is not known here", v);
}

static int check_struct(const struct schema *s, const struct schema_field *without, const void *obj,
                        struct schema_trail *t, struct err *e);

static int check_list(const struct schema_field *f, const struct schema_list *l,
                      struct schema_trail *t, struct err *e)
{
    int r = 0;
    if (f->max > 0 && l->count > (size_t)f->max)
        return err_set(e, ERR_INVALID, "%zu entries, more than %lld", l->count, (long long)f->max);
    if (f->min > 0 && l->count < (size_t)f->min)
        return err_set(e, ERR_INVALID, "%zu entries, at least %lld wanted", l->count,
                       (long long)f->min);
    for (size_t i = 0; r == 0 && i < l->count; i++) {
        if (f->type == SCHEMA_STR_LIST) {
            r = check_text(f, ((char *const *)l->items)[i], e);
        } else if (f->type == SCHEMA_STR_MAP) {
            const struct schema_pair *p = (const struct schema_pair *)l->items + i;
            r = check_text(f, p->key, e);
            if (r == 0 && (r = check_text(f, p->value, e)) != 0)
                schema_trail_key(t, p->key);
            continue;
        } else {
            r = check_struct(f->sub, schema_key_field(f->sub),
                             (const char *)l->items + i * f->sub->size, t, e);
        }
        if (r != 0)
            schema_trail_index(t, i);
    }
    return r;
}

static int check_value(const struct schema_field *f, const void *obj, struct schema_trail *t,
                       struct err *e)
{
    const void *member = schema_member_const(f, obj);
    switch (f->type) {
    case SCHEMA_STR:
        return check_text(f, *(char *const *)member, e);
    case SCHEMA_INT:
    case SCHEMA_DURATION:
    case SCHEMA_SIZE:
        return check_number(f, *(const int64_t *)member, e);
    case SCHEMA_ENUM:
        return check_enum(f, *(const int *)member, e);
    case SCHEMA_STRUCT:
        return check_struct(f->sub, NULL, member, t, e);
    case SCHEMA_STR_LIST:
    case SCHEMA_LIST:
    case SCHEMA_MAP:
    case SCHEMA_STR_MAP:
        return check_list(f, member, t, e);
    case SCHEMA_BOOL:
    case SCHEMA_ANY:
        break;
    }
    return 0;
}

static int check_struct(const struct schema *s, const struct schema_field *without, const void *obj,
                        struct schema_trail *t, struct err *e)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct schema_field *f = &s->fields[i];
        bool required = (f->flags & SCHEMA_REQUIRED) != 0 && f != without;
        int r = 0;
        /* What is as if it had not been given is fine, unless it must be. */
        if (!schema_is_default(f, obj)) {
            r = check_value(f, obj, t, e);
            if (r == 0 && f->check != NULL)
                r = f->check(schema_member_const(f, obj), e);
        } else if (required && f->type == SCHEMA_STR) {
            r = err_set(e, ERR_INVALID, "the value is missing");
        } else if (required) {
            r = check_value(f, obj, t, e);
        }
        if (r == ERR_INVALID && (f->flags & SCHEMA_SECRET) != 0 && f->type == SCHEMA_STR)
            err_set(e, r, "the value is not valid here"); /* and must not get into a message */
        if (r != 0) {
            schema_trail_key(t, f->name);
            return r;
        }
    }
    return s->check != NULL ? s->check(obj, e) : 0;
}

int schema_check(const struct schema *s, const void *obj, struct err *e)
{
    struct schema_trail t = {""};
    struct err own = {0};
    int r = check_struct(s, NULL, obj, &t, &own);
    if (r != 0 && t.text[0] != '\0')
        err_wrap(&own, "%s", t.text);
    if (r != 0 && e != NULL)
        *e = own;
    return r;
}
