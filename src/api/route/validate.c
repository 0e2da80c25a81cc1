/* Values of query and body, and the entries of a 422 (talos contract 1.3). Strict forms of the
 * faults, but as lenient in what is taken as the recorded implementation: digits and booleans are
 * integers, a fraction is cut, a number is text. */
#include "api/route/route_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct faults {
    struct buf *b;
    struct json_out j;
    size_t n;
};

/* Where the bad value is, and what it was. */
struct place {
    const char *part, *name; /* "query"/"body"; name NULL: the body itself */
    const char *member;      /* of a map, or NULL */
    const json_t *json;      /* input; NULL: text */
    struct slice text;       /* p NULL: null */
};

static int dump_to_buf(const char *p, size_t n, void *ctx)
{
    return buf_add(ctx, p, n) == 0 ? 0 : -1;
}

static void add_input(struct faults *f, const struct place *at)
{
    json_key(&f->j, "input");
    if (at->json != NULL) {
        json_raw(&f->j, SLICE_LIT(""));
        (void)json_dump_callback(at->json, dump_to_buf, f->b, JSON_COMPACT | JSON_ENCODE_ANY);
        f->j.comma = true;
    } else if (at->text.p != NULL) {
        json_str(&f->j, at->text);
    } else {
        json_nil(&f->j);
    }
}

/* `expected`: ctx of a literal_error, or NULL. */
static void add_fault(struct faults *f, const struct place *at, const char *type, const char *msg,
                      const char *expected)
{
    f->n++;
    json_obj(&f->j);
    json_kstr(&f->j, "type", type);
    json_key(&f->j, "loc");
    json_arr(&f->j);
    json_cstr(&f->j, at->part);
    if (at->name != NULL)
        json_cstr(&f->j, at->name);
    if (at->member != NULL)
        json_cstr(&f->j, at->member);
    json_end_arr(&f->j);
    json_kstr(&f->j, "msg", msg);
    add_input(f, at);
    if (expected != NULL) {
        json_key(&f->j, "ctx");
        json_obj(&f->j);
        json_kstr(&f->j, "expected", expected);
        json_end_obj(&f->j);
    }
    json_end_obj(&f->j);
}

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}
static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

bool parse_int_lenient(struct slice s, int64_t *ret)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    bool negative = s.len > 0 && s.p[0] == '-';
    size_t i = s.len > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    if (i >= s.len || !is_digit(s.p[i]))
        return false;
    uint64_t v = 0;
    const uint64_t top = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    for (; i < s.len && s.p[i] != '.'; i++) {
        if (s.p[i] == '_') { /* only between digits */
            if (!is_digit(s.p[i - 1]) || i + 1 >= s.len || !is_digit(s.p[i + 1]))
                return false;
            continue;
        }
        if (!is_digit(s.p[i]))
            return false;
        uint64_t d = (uint64_t)(s.p[i] - '0');
        v = v > (top - d) / 10 ? top : v * 10 + d;
    }
    if (i < s.len) { /* "5.0" counts, "5." and "5.1" do not */
        if (i + 1 == s.len)
            return false;
        for (i++; i < s.len; i++) {
            if (s.p[i] != '0')
                return false;
        }
    }
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool parse_bool_lenient(struct slice s, int64_t *ret)
{
    static const char *const yes[] = {"true", "1", "yes", "on", "t", "y"};
    static const char *const no[] = {"false", "0", "no", "off", "f", "n"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (slice_eq_nocase(s, slice_of(yes[i]))) {
            *ret = 1;
            return true;
        }
        if (slice_eq_nocase(s, slice_of(no[i]))) {
            *ret = 0;
            return true;
        }
    }
    return false;
}

/* "'up', 'down' or 'restart'" */
static void enum_text(char *out, size_t size, const char *const *names)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && at < size; i++) {
        const char *sep = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";
        int n = snprintf(out + at, size - at, "%s'%s'", sep, names[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

static bool enum_index(const char *const *names, struct slice s, int64_t *ret)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (slice_eqs(s, names[i])) {
            *ret = (int64_t)i;
            return true;
        }
    }
    return false;
}

static void add_enum_fault(struct faults *f, const struct place *at, const char *const *names)
{
    char expected[256], msg[288];
    enum_text(expected, sizeof(expected), names);
    snprintf(msg, sizeof(msg), "Input should be %s", expected);
    add_fault(f, at, "literal_error", msg, expected);
}

/* A value that came as text: from the query, or a string of the body. */
static bool value_from_text(const struct api_param *p, struct slice s, struct api_value *v,
                            struct faults *f, const struct place *at)
{
    bool ok = true;
    int64_t i = 0;
    switch (p->type) {
    case API_STR:
        v->s = s;
        break;
    case API_INT:
        ok = parse_int_lenient(s, &i);
        if (!ok)
            add_fault(f, at, "int_parsing",
                      "Input should be a valid integer, unable to parse string as an integer",
                      NULL);
        break;
    case API_BOOL:
        ok = parse_bool_lenient(s, &i);
        if (!ok)
            add_fault(f, at, "bool_parsing",
                      "Input should be a valid boolean, unable to interpret input", NULL);
        break;
    case API_ENUM:
        ok = enum_index(p->names, s, &i);
        if (!ok)
            add_enum_fault(f, at, p->names);
        break;
    case API_STR_MAP:
        ok = false;
        add_fault(f, at, "dict_type", "Input should be a valid dictionary", NULL);
        break;
    case API_STRS: /* comes only as a list, see validate_texts */
        ok = false;
        break;
    }
    if (ok) {
        v->set = true;
        if (p->type != API_STR)
            v->i = i;
    }
    return ok;
}

static bool text_is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '%' || s.p[i] == '+' || (unsigned char)s.p[i] >= 0x80)
            return false;
    }
    return true;
}

/* Decodes a part of the query; query_buf has room for all of it, so earlier slices stay valid. */
static int query_decode(struct call *k, struct slice raw, struct slice *ret)
{
    *ret = raw;
    if (text_is_plain(raw))
        return 0;
    size_t from = k->query_buf.len;
    int rc = pct_decode(&k->query_buf, raw, true);
    *ret = (struct slice){k->query_buf.data + from, k->query_buf.len - from};
    return rc;
}

static int query_read(struct call *k, struct slice raw[API_MAX_QUERY_PARAMS])
{
    const struct api_route *row = k->c.route;
    struct slice rest = exchange_request(k->c.x)->query, pair;
    if (rest.len == 0)
        return 0;
    if (!text_is_plain(rest)) {
        /* One byte that is no UTF-8 becomes three. */
        buf_init(&k->query_buf, rest.len * 3 + 1);
        int rc = buf_reserve(&k->query_buf, rest.len * 3);
        if (rc != 0)
            return rc;
    }
    while (slice_split(&rest, '&', &pair)) {
        if (pair.len == 0)
            continue;
        struct slice value = pair, name;
        slice_split(&value, '=', &name);
        if (value.p == NULL)
            value = SLICE_LIT("");
        int rc = query_decode(k, name, &name);
        for (size_t i = 0; rc == 0 && i < row->n_query; i++) {
            if (slice_eqs(name, row->query[i].name))
                rc = query_decode(k, value, &raw[i]);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int validate_query(struct call *k, struct faults *f)
{
    const struct api_route *row = k->c.route;
    struct slice raw[API_MAX_QUERY_PARAMS] = {{0}};
    int rc = query_read(k, raw);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < row->n_query; i++) {
        const struct api_param *p = &row->query[i];
        struct api_value *v = &k->c.query[i];
        struct place at = {.part = "query", .name = p->name, .text = raw[i]};
        *v = (struct api_value){.i = p->def};
        if (raw[i].p != NULL)
            value_from_text(p, raw[i], v, f, &at);
        else if (p->required)
            add_fault(f, &at, "missing", "Field required", NULL);
    }
    return 0;
}

/* The text of a number or boolean as the recorded implementation (Python's str) writes it. */
static int number_text(struct call *k, const json_t *j, struct slice *ret)
{
    char t[64];
    if (json_is_boolean(j)) {
        snprintf(t, sizeof(t), "%s", json_is_true(j) ? "True" : "False");
    } else if (json_is_integer(j)) {
        snprintf(t, sizeof(t), "%lld", (long long)json_integer_value(j));
    } else {
        double d = json_real_value(j);
        if (fabs(d) < 1e16 && d == trunc(d)) {
            snprintf(t, sizeof(t), "%.1f", d);
        } else {
            for (int digits = 1; digits <= 17; digits++) {
                snprintf(t, sizeof(t), "%.*g", digits, d);
                if (strtod(t, NULL) == d)
                    break;
            }
        }
    }
    if (k->text_buf.max == 0) {
        buf_init(&k->text_buf, API_MAX_QUERY_PARAMS * sizeof(t));
        int rc = buf_reserve(&k->text_buf, API_MAX_QUERY_PARAMS * sizeof(t));
        if (rc != 0)
            return rc;
    }
    size_t from = k->text_buf.len;
    int rc = buf_adds(&k->text_buf, t);
    *ret = (struct slice){k->text_buf.data + from, k->text_buf.len - from};
    return rc;
}

static int64_t double_to_int(double d)
{
    if (d >= 9223372036854775807.0)
        return INT64_MAX;
    if (d <= -9223372036854775808.0)
        return INT64_MIN;
    return (int64_t)d;
}

static void add_type_fault(struct faults *f, const struct place *at, const struct api_param *p)
{
    if (p->type == API_INT)
        add_fault(f, at, "int_type", "Input should be a valid integer", NULL);
    else if (p->type == API_BOOL)
        add_fault(f, at, "bool_type", "Input should be a valid boolean", NULL);
    else if (p->type == API_STR)
        add_fault(f, at, "string_type", "Input should be a valid string", NULL);
    else if (p->type == API_STR_MAP)
        add_fault(f, at, "dict_type", "Input should be a valid dictionary", NULL);
    else
        add_enum_fault(f, at, p->names);
}

static void validate_map(struct place at, struct api_value *v, struct faults *f)
{
    const json_t *map = at.json;
    json_t *item;
    size_t before = f->n;
    json_object_foreach((json_t *)(uintptr_t)map, at.member, item)
    {
        at.json = item;
        if (!json_is_string(item))
            add_fault(f, &at, "string_type", "Input should be a valid string", NULL);
    }
    if (f->n > before)
        return;
    v->set = true;
    v->i = (int64_t)json_object_size(map);
}

/* An entry that is no text is told with the name of the list. */
static void validate_texts(const struct api_param *p, const json_t *list, struct api_value *v,
                           struct faults *f)
{
    struct place at = {.part = "body", .name = p->name, .json = list};
    v->set = json_is_array(list);
    if (!v->set)
        add_fault(f, &at, "list_type", "Input should be a valid list", NULL);
    for (size_t i = 0; i < json_array_size(list); i++) {
        at.json = json_array_get(list, i);
        if (!json_is_string(at.json))
            add_fault(f, &at, "string_type", "Input should be a valid string", NULL);
    }
}

static int validate_member(struct call *k, const struct api_param *p, struct api_value *v,
                           struct faults *f)
{
    const json_t *j = json_object_get(k->c.body, p->name);
    struct place at = {.part = "body", .name = p->name, .json = j};
    *v = (struct api_value){.i = p->def};
    if (j == NULL) {
        at.json = k->c.body;
        if (p->required)
            add_fault(f, &at, "missing", "Field required", NULL);
        return 0;
    }
    if (json_is_null(j) && p->nullable)
        return 0;
    if (p->type == API_STRS) {
        validate_texts(p, j, v, f);
        return 0;
    }
    if (json_is_string(j)) {
        struct slice s = {json_string_value(j), json_string_length(j)};
        value_from_text(p, s, v, f, &at);
        return 0;
    }
    if (p->type == API_STR_MAP && json_is_object(j)) {
        validate_map(at, v, f);
        return 0;
    }
    bool number = json_is_number(j) || json_is_boolean(j);
    if (!number || p->type == API_ENUM || p->type == API_STR_MAP) {
        add_type_fault(f, &at, p);
        return 0;
    }
    if (p->type == API_STR) {
        v->set = true;
        return number_text(k, j, &v->s);
    }
    int64_t i = json_is_boolean(j)   ? json_is_true(j)
                : json_is_integer(j) ? (int64_t)json_integer_value(j)
                                     : double_to_int(json_real_value(j));
    if (p->type == API_BOOL && i != 0 && i != 1) {
        add_fault(f, &at, "bool_parsing",
                  "Input should be a valid boolean, unable to interpret input", NULL);
        return 0;
    }
    v->set = true;
    v->i = i;
    return 0;
}

static int validate_body(struct call *k, struct faults *f)
{
    const struct api_route *row = k->c.route;
    struct place at = {.part = "body"};
    bool none = k->body_kind == BODY_NONE || (k->body_kind == BODY_JSON && json_is_null(k->c.body));
    if (none && row->body_optional) {
        for (size_t i = 0; i < row->n_body; i++)
            k->c.body_values[i] = (struct api_value){.i = row->body[i].def};
        return 0;
    }
    if (none) {
        add_fault(f, &at, "missing", "Field required", NULL);
        return 0;
    }
    if (k->body_kind == BODY_TEXT || !json_is_object(k->c.body)) {
        at.json = k->c.body;
        at.text = k->body_text;
        if (row->body_any_object)
            add_fault(f, &at, "dict_type", "Input should be a valid dictionary", NULL);
        else
            add_fault(f, &at, "model_attributes_type",
                      "Input should be a valid dictionary or object to extract fields from", NULL);
        return 0;
    }
    for (size_t i = 0; !row->body_any_object && i < row->n_body; i++) {
        int rc = validate_member(k, &row->body[i], &k->c.body_values[i], f);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int call_validate(struct call *k, struct buf *faults, size_t *n_faults)
{
    const struct api_route *row = k->c.route;
    struct faults f = {.b = faults};
    json_begin(&f.j, faults);
    int rc = validate_query(k, &f);
    if (rc == 0 && (row->body != NULL || row->body_any_object))
        rc = validate_body(k, &f);
    *n_faults = f.n;
    return rc != 0 ? rc : faults->err;
}
