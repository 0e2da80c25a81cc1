/* settings_env.c: values from variables and flags. */
#include "gantryd/settings_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "GANTRY_"

enum { VARIABLE_MAX = 128, NEAR = 4 };

/* Variables of the other programs, which may stand in the same environment. */
static const char *const foreign[] = {"GANTRY_HOST", "GANTRY_CONTEXT"};
static const char *const foreign_begins[] = {"GANTRY_TOKEN", "GANTRY_PROFILE_"};

static bool is_foreign(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (slice_eqs(name, foreign[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(foreign_begins); i++)
        if (slice_starts(name, foreign_begins[i]))
            return true;
    return false;
}

void settings_variable(char *out, size_t size, const char *key)
{
    size_t n = (size_t)snprintf(out, size, PREFIX "%s", key);
    for (size_t i = sizeof(PREFIX) - 1; i < n && i < size - 1; i++)
        out[i] = out[i] == '.' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* --- Finding the key --- */

struct finding {
    struct slice name; /* of the variable; or the key, for a flag */
    bool variable;
    bool found;
    char key[VARIABLE_MAX];
    const struct schema_field *field;
    void *obj;
    char nearest[VARIABLE_MAX];
    size_t distance;
};

static size_t least(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* How many characters must be put in, taken out or changed; SIZE_MAX for texts that are too long.
 */
static size_t edits(struct slice a, struct slice b)
{
    size_t row[VARIABLE_MAX + 1];
    if (a.len > VARIABLE_MAX || b.len > VARIABLE_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a.p[i - 1] != b.p[j - 1]));
            diagonal = above;
        }
    }
    return row[b.len];
}

static int compare_leaf(void *ctx, const struct schema_leaf *leaf)
{
    struct finding *f = ctx;
    char name[VARIABLE_MAX];
    if (f->variable)
        settings_variable(name, sizeof(name), leaf->path);
    else
        (void)snprintf(name, sizeof(name), "%s", leaf->path);
    if (slice_eqs(f->name, name)) {
        f->found = true;
        f->field = leaf->field;
        f->obj = leaf->obj;
        (void)snprintf(f->key, sizeof(f->key), "%s", leaf->path);
        return 1;
    }
    size_t d = edits(f->name, slice_of(name));
    if (d < f->distance) {
        f->distance = d;
        (void)snprintf(f->nearest, sizeof(f->nearest), "%s", name);
    }
    return 0;
}

static int find(struct settings *s, struct slice name, bool variable, struct finding *f)
{
    *f = (struct finding){.name = name, .variable = variable, .distance = SIZE_MAX};
    int rc = schema_walk(&config_schema, &s->c, true, compare_leaf, f);
    return rc == 1 ? 0 : rc;
}

/* --- Taking the value --- */

struct origin {
    struct settings *s;
    const char *place, *key;
};

/* Told of values inside of a map by their paths below it. */
static int on_taken(void *ctx, const char *path, int line, int column)
{
    const struct origin *o = ctx;
    const char *dot = strrchr(o->key, '.');
    (void)line;
    (void)column;
    struct buf whole = BUF_INIT(8192);
    (void)buf_add(&whole, o->key, dot != NULL ? (size_t)(dot + 1 - o->key) : 0);
    (void)buf_adds(&whole, path);
    int rc = whole.err != 0 ? whole.err : settings_set_origin(o->s, whole.data, o->place);
    buf_done(&whole);
    return rc == ERR_LIMIT ? 0 : rc;
}

/* "a, b" as a list of YAML; one in brackets is one already. */
static int quote_list(struct buf *out, struct slice text)
{
    struct slice word;
    text = slice_trim(text);
    if (slice_starts(text, "["))
        return buf_add(out, text.p, text.len);
    (void)buf_addc(out, '[');
    while (slice_split(&text, ',', &word)) {
        word = slice_trim(word);
        if (word.len == 0)
            continue;
        (void)buf_adds(out, out->len > 1 ? ", \"" : "\"");
        (void)str_add_printable(out, word);
        (void)buf_addc(out, '"');
    }
    return buf_addc(out, ']');
}

static int take_yaml(struct settings *s, const struct finding *f, const char *place,
                     struct slice value)
{
    struct origin o = {s, place, f->key};
    const struct schema_layer layer = {.merge = true, .taken = on_taken, .ctx = &o};
    struct schema_report report = {0};
    struct buf text = BUF_INIT((1 << 20) * 6 + 16);
    int rc = f->field->type == SCHEMA_STR_LIST ? quote_list(&text, value)
                                               : buf_add(&text, value.p, value.len);
    if (rc == 0)
        rc = schema_read_value(f->field, f->obj, (struct slice){text.data, text.len}, &layer,
                               &report, NULL);
    if (rc == ERR_LIMIT)
        rc = settings_fault(s, place, 0, 0, false, "the value is too long");
    else if (rc != ERR_NO_MEMORY)
        rc = settings_take_report(s, place, false, &report);
    schema_report_done(&report);
    buf_done(&text);
    return rc;
}

/* The value of one key. `place`: the variable or flag. */
static int take_value(struct settings *s, const struct finding *f, const char *place,
                      struct slice value)
{
    struct err e = {0};
    if (f->field->type == SCHEMA_STR_LIST || f->field->type == SCHEMA_LIST ||
        f->field->type == SCHEMA_MAP || f->field->type == SCHEMA_STR_MAP)
        return take_yaml(s, f, place, value);
    void *member = (char *)f->obj + f->field->offset;
    int rc = schema_set_text(f->field, member, value, &e);
    if (rc == 0 && f->field->check != NULL)
        rc = f->field->check(member, &e);
    if (rc == ERR_NO_MEMORY)
        return rc;
    if (rc != 0)
        return settings_fault(s, place, 0, 0, false, "%s",
                              (f->field->flags & SCHEMA_SECRET) != 0 ? "the value is not valid here"
                                                                     : e.msg);
    return settings_set_origin(s, f->key, place);
}

static int take_variable(struct settings *s, struct slice name, struct slice value)
{
    struct finding f;
    char place[VARIABLE_MAX] = "";
    struct buf b = BUF_FIXED(place);
    if (value.len == 0 || is_foreign(name))
        return 0;
    int rc = find(s, name, true, &f);
    (void)str_add_printable(&b, name);
    if (rc != 0)
        return rc;
    if (f.found)
        return take_value(s, &f, place, value);
    if (f.distance <= NEAR)
        return settings_fault(s, place, 0, 0, true,
                              "there is no such key, the variable has no effect; did you mean %s?",
                              f.nearest);
    return settings_fault(s, place, 0, 0, true,
                          "there is no such key, the variable has no effect; the nearest is %s",
                          f.nearest);
}

int settings_take(struct settings *s, const char *key, const char *place, struct slice value)
{
    struct finding f;
    int rc = find(s, slice_of(key), false, &f);
    INVARIANT(rc != 0 || f.found);
    return rc == 0 ? take_value(s, &f, place, value) : rc;
}

int settings_read_env(struct settings *s, const char *const *env, struct err *e)
{
    for (size_t i = 0; env[i] != NULL; i++) {
        const char *eq = strchr(env[i], '=');
        struct slice name = {env[i], eq != NULL ? (size_t)(eq - env[i]) : 0};
        if (!slice_starts(name, PREFIX))
            continue;
        if (take_variable(s, name, slice_of(eq + 1)) != 0)
            return err_set(e, ERR_NO_MEMORY, "out of memory while reading the environment");
    }
    return 0;
}

int settings_read_flags(struct settings *s, const struct settings_flag *flags, size_t n,
                        struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (settings_take(s, flags[i].key, flags[i].flag, slice_of(flags[i].value)) != 0)
            return err_set(e, ERR_NO_MEMORY, "out of memory while reading the flags");
    }
    return 0;
}
