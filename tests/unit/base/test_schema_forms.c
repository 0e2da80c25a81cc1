/* Maps of texts, secrets, JSON in both directions, checks and differences of the schema tables. */
#include "unit.h"

#include "sample.h"

#include "base/schema_priv.h"
#include "base/str.h"

/* What is wiped may never have been written: looking at it here is no fault. */
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_DEFINED(p, n) ((void)(p))
#endif

static struct err e;

/* Secrets that were wiped. */
static struct buf wiped;
void __real_mem_wipe(void *p, size_t len);
void __wrap_mem_wipe(void *p, size_t len);
void __wrap_mem_wipe(void *p, size_t len)
{
    if (buf_add(&wiped, p, len) == 0 && len > 0)
        (void)VALGRIND_MAKE_MEM_DEFINED(wiped.data + wiped.len - len, len);
    __real_mem_wipe(p, len);
}
static size_t wiped_count(const char *word)
{
    size_t n = 0;
    for (size_t i = 0; i + strlen(word) <= wiped.len; i++)
        n += memcmp(wiped.data + i, word, strlen(word)) == 0;
    buf_done(&wiped);
    wiped = BUF_INIT(10 << 20);
    return n;
}

struct inner {
    char *must;
    int64_t n;
};
struct forms {
    struct schema_list vars, hidden, words; /* maps; a list of secrets */
    char *name, *key;
    int64_t wait_ms, most;
    int kind;
    struct inner inner;
};

static int check_vars(const void *member, struct err *err)
{
    const struct schema_list *l = member;
    for (size_t i = 0; i < l->count; i++)
        if (((struct schema_pair *)l->items)[i].key[0] == '-')
            return err_set(err, ERR_INVALID, "a key begins with \"-\"");
    return 0;
}
static int check_forms(const void *obj, struct err *err)
{
    const struct forms *f = obj;
    return f->most < 0 && f->wait_ms > 1000
               ? err_set(err, ERR_INVALID, "wait and most do not fit together")
               : 0;
}

static const char *const kinds[] = {"", "one", "two", NULL};
static const struct schema_field inner_fields[] = {
    {"must", SCHEMA_STR, SCHEMA_REQUIRED, AT(inner, must)},
    {"n", SCHEMA_INT, SCHEMA_REQUIRED, AT(inner, n), .min = 1, .max = 9, .def = "1"},
};
static const struct schema inner_schema = {"Inner", sizeof(struct inner), NULL, inner_fields, 2,
                                           NULL};
static const struct schema_field forms_fields[] = {
    {"vars", SCHEMA_STR_MAP, SCHEMA_PLAIN, AT(forms, vars), .max = 3, .check = check_vars,
     .doc = "Variables", .example = "{A: b}"},
    {"hidden", SCHEMA_STR_MAP, SCHEMA_SECRET, AT(forms, hidden), .min = 1},
    {"words", SCHEMA_STR_LIST, SCHEMA_SECRET, AT(forms, words)},
    {"name", SCHEMA_STR, SCHEMA_PLAIN, AT(forms, name), .min = 2, .max = 5, .doc = "Name"},
    {"key", SCHEMA_STR, SCHEMA_SECRET, AT(forms, key), .max = 8},
    {"wait", SCHEMA_DURATION, SCHEMA_UNITS, AT(forms, wait_ms), .min = 10, .max = 5000,
     .def = "1s"},
    {"most", SCHEMA_SIZE, 0, AT(forms, most), .min = -1, .max = 1 << 20},
    {"kind", SCHEMA_ENUM, 0, AT(forms, kind), .names = kinds, .def = "two", .doc = "Kind"},
    {"inner", SCHEMA_STRUCT, 0, AT(forms, inner), .sub = &inner_schema, .doc = "Inner"},
};
static const struct schema forms_schema = {"Forms",  sizeof(struct forms), NULL, forms_fields, 9,
                                           "Forms.", check_forms};

static struct forms f;
static struct schema_report report;

static int read_text(const char *text)
{
    memset(&e, 0, sizeof(e));
    assert_int_equal(schema_defaults(&forms_schema, &f, &e), 0);
    return schema_read_yaml(&forms_schema, &f, slice_of(text), &report, &e);
}
static void drop(void)
{
    schema_report_done(&report);
    schema_done(&forms_schema, &f);
}

static const char whole[] = "vars: {A: 1, \"B\": true, 7: \"\", C.d/e: x y}\n";
static const char good[] = "vars: {A: 1, \"B\": true, C.d/e: x y}\n"
                           "hidden: {TOKEN: s3cret, OTHER: \"s3cret 2\"}\n"
                           "words: [s3cret]\n"
                           "name: 12\nkey: s3cret\nwait: 20ms\nmost: -1\nkind: one\n"
                           "inner: {must: x, n: 1}\n";

static void check_good(const struct forms *g)
{
    const struct schema_pair *v = g->vars.items, *h = g->hidden.items;
    assert_int_equal(g->vars.count, 3);
    assert_string_equal(v[0].key, "A");
    assert_string_equal(v[0].value, "1");
    assert_string_equal(v[1].value, "true");
    assert_string_equal(v[2].key, "C.d/e");
    assert_int_equal(g->hidden.count, 2);
    assert_string_equal(h[1].value, "s3cret 2");
    assert_string_equal(g->name, "12");
    assert_int_equal(g->wait_ms, 20);
    assert_int_equal(g->most, -1);
    assert_int_equal(g->kind, 1);
    assert_string_equal(g->inner.must, "x");
    assert_int_equal(g->inner.n, 1);
}

static void reads(void **state)
{
    (void)state;
    if (read_text(good) != 0)
        fail_msg("%s", e.msg);
    check_good(&f);
    assert_int_equal(schema_check(&forms_schema, &f, &e), 0);
    drop();
    /* Two maps, the list, the scalar: their events, their values at the end, libyaml's buffers. */
    assert_true(wiped_count("s3cret") >= 4 + 4 + 1);
    assert_int_equal(read_text(whole), ERR_INVALID);
    assert_int_equal(report.count, 1);
    assert_string_equal(report.faults[0].msg, "vars: more than 3 entries");
    drop();
    assert_int_equal(wiped_count("A"), 0); /* nothing secret, nothing wiped */

    /* Only of secrets is the one before wiped. */
    assert_int_equal(read_text("key: s3cret\n"), 0);
    assert_int_equal(schema_set_text(&forms_fields[4], &f.key, SLICE_LIT("new"), &e), 0);
    drop();
    assert_true(wiped_count("new") == 1);
}

static const struct {
    const char *text, *faults;
} cases[] = {
    {"vars: x\n", "1:7: vars: expected a mapping (key: value) such as {A: b}, not \"x\"\n"},
    {"vars: {A: , B: {x: 1}, A: 2, C: *x}\n",
     "1:11: vars.A: the value is missing: write \"\" for an empty text\n"
     "1:16: vars.B: expected a single value\n1:24: duplicate key \"A\" in vars\n"
     "1:33: vars: aliases are not supported\n"},
    {"vars: {? [a] : b, ~: x, \"a\\0b\": c}\n",
     "1:10: vars: a key must be text\n1:19: key \"~\" in vars is not text: put it in quotes\n"
     "1:25: key \"a\\u0000b\" in vars contains a NUL character\n"},
    {"vars: {-a: b}\n", "1:7: vars: a key begins with \"-\"\n"},
    {"hidden: {A: 12345, B: !x s3cret}\n",
     "1:13: hidden.A: the value is not valid here\n1:23: hidden.B: tags are not supported\n"
     "1:9: hidden: 0 entries, at least 1 wanted\n"},
    {"hidden: [s3cret]\n", "1:9: hidden: expected a mapping (key: value)\n"},
    {"key: [s3cret]\nname: a\n",
     "1:6: key: expected a single value\n2:7: name: \"a\" is shorter than 2 bytes\n"},
    {"key: s3crets3cret\nname: abcdef\n",
     "1:6: key: the value is not valid here (text in quotes is)\n"
     "2:7: name: \"abcdef\" is longer than 5 bytes\n"},
    {"wait: 9s\nmost: -2\nkind: \"\"\n",
     "1:7: wait: \"9s\" is not between 10ms and 5s\n2:7: most: \"-2\" is not between -1 and 1M\n"
     "3:7: kind: \"\" is not one of: one, two\n"},
    {"wait: 2s\nmost: -1\n", "1:1: wait and most do not fit together\n"},
};

static void tells_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(10000);
        assert_int_equal(read_text(cases[i].text), ERR_INVALID);
        for (size_t k = 0; k < report.count; k++)
            (void)buf_addf(&b, "%d:%d: %s\n", report.faults[k].line, report.faults[k].column,
                           report.faults[k].msg);
        assert_string_equal(b.data, cases[i].faults);
        assert_null(strstr(e.msg, "s3cret"));
        buf_done(&b);
        drop();
    }
    /* A text that begins somewhere in a file. */
    const struct schema_layer layer = {.first_line = 41};
    assert_int_equal(schema_defaults(&forms_schema, &f, &e), 0);
    assert_int_equal(
        schema_read_layer(&forms_schema, &f, SLICE_LIT("\nx: 1\n"), &layer, &report, &e),
        ERR_INVALID);
    assert_int_equal(report.faults[0].line, 42);
    assert_string_equal(e.msg, "line 42, column 1: unknown key \"x\" at the top level");
    drop();
}

static void writes(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(10000);
    struct json_out j;
    assert_int_equal(read_text(good), 0);
    json_begin(&j, &b);
    schema_write_json(&forms_schema, &f, &j);
    assert_buf_is(&b, "{\"vars\":{\"A\":\"1\",\"B\":\"true\",\"C.d/e\":\"x y\"},\"hidden\":{"
                      "\"TOKEN\":\"(set)\",\"OTHER\":\"(set)\"},\"words\":[\"(set)\"],\"name\":"
                      "\"12\",\"key\":\"(set)\",\"wait\":\"20ms\",\"most\":-1,\"kind\":\"one\","
                      "\"inner\":{\"must\":\"x\",\"n\":1}}");
    buf_clear(&b);
    json_begin(&j, &b);
    schema_write_json_as(&forms_schema, &f, SCHEMA_JSON_COMPACT | SCHEMA_JSON_SECRETS, &j);
    assert_buf_is(&b, "{\"vars\":{\"A\":\"1\",\"B\":\"true\",\"C.d/e\":\"x y\"},\"hidden\":{"
                      "\"TOKEN\":\"s3cret\",\"OTHER\":\"s3cret 2\"},\"words\":[\"s3cret\"],"
                      "\"name\":\"12\",\"key\":\"s3cret\",\"wait\":\"20ms\",\"most\":-1,\"kind\":"
                      "\"one\",\"inner\":{\"must\":\"x\",\"n\":1}}");
    buf_clear(&b);
    assert_int_equal(schema_write_yaml(&forms_schema, &f, &b), 0);
    assert_null(strstr(b.data, "s3cret"));
    assert_non_null(strstr(b.data, "\nvars:\n  \"A\": \"1\"\n  \"B\": \"true\"\n"));
    assert_non_null(strstr(b.data, "# Kind (one | two, default two)\n"));
    drop();
    buf_clear(&b);

    assert_int_equal(read_text(""), 0);
    json_begin(&j, &b);
    schema_write_json_as(&forms_schema, &f, SCHEMA_JSON_COMPACT, &j);
    schema_write_json_as(&forms_schema, &f, SCHEMA_JSON_COMPACT | SCHEMA_JSON_BARE, &j);
    assert_buf_is(&b, "{}");
    buf_clear(&b);
    assert_int_equal(schema_write_yaml(&forms_schema, &f, &b), 0);
    assert_non_null(strstr(b.data, "\nvars: {}\n"));
    buf_clear(&b);
    assert_int_equal(schema_write_template(&forms_schema, &b), 0);
    assert_non_null(strstr(b.data, "#vars: {A: b}\n"));
    assert_non_null(strstr(b.data, "#hidden: {}\n"));
    buf_clear(&b);
    json_begin(&j, &b);
    schema_write_openapi(&forms_schema, &j);
    static const char *const parts[] = {
        "\"vars\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
        "\"maxProperties\":3,",
        "\"hidden\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
        "\"minProperties\":1,\"writeOnly\":true}",
        "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":5,",
        "\"wait\":{\"type\":\"string\",\"pattern\":\"^[0-9]+(ms|s|m|h|d)?$\",\"default\":\"1s\"}",
        "\"enum\":[\"one\",\"two\"],",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(b.data, parts[i]) == NULL)
            fail_msg("no %s in %s", parts[i], b.data);
    drop();
    buf_done(&b);
}

/* Each struct once, and nothing that is referred to is missing. */
static void components(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(20000);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    schema_write_components(&sample_schema, &j);
    json_end_obj(&j);
    json_t *v = json_parse((struct slice){b.data, b.len}, NULL, &e);
    assert_non_null(v);
    assert_int_equal(json_object_size(v), 5);
    static const char *const names[] = {"Sample", "Http", "Container", "Service", "Listener"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_string_equal(json_get_str(json_object_get(v, names[i]), "title"), names[i]);
    json_decref(v);
    buf_done(&b);
}

static void pages(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(20000);
    assert_int_equal(schema_write_markdown(&forms_schema, &b), 0);
    assert_non_null(
        strstr(b.data, "\n## name, key, wait, most, kind\n\n| key | what | values |\n"));
    assert_non_null(strstr(b.data, "| `vars` | Variables | e.g. `{A: b}` |\n"));
    assert_non_null(strstr(b.data, "| `kind` | Kind | one \\| two, default two |\n"));
    buf_clear(&b);
    assert_int_equal(schema_write_roff(&forms_schema, &b), 0);
    assert_non_null(strstr(b.data, ".SS name, key, wait, most, kind\n.TP\n.B name\n"));
    buf_done(&b);
}

/* A later text gives a map of texts as a whole. */
static void layers(void **state)
{
    (void)state;
    const struct schema_layer layer = {.merge = true};
    assert_int_equal(read_text("vars: {A: a, B: b}\n"), 0);
    schema_report_done(&report);
    assert_int_equal(
        schema_read_layer(&forms_schema, &f, SLICE_LIT("vars: {C: c}\n"), &layer, &report, &e), 0);
    assert_int_equal(f.vars.count, 1);
    drop();
}

/* --- JSON in --- */

static int read_json(const struct schema *schema, void *obj, const char *text)
{
    json_t *v = json_parse(slice_of(text), NULL, &e);
    assert_non_null(v);
    int r = schema_read_json(schema, obj, v, &e);
    json_decref(v);
    return r;
}

static void json_goes_round(void **state)
{
    (void)state;
    struct buf one = BUF_INIT(10000), two = BUF_INIT(10000);
    struct json_out j;
    struct forms again;
    for (unsigned how = SCHEMA_JSON_SECRETS; how <= SCHEMA_JSON_SECRETS + SCHEMA_JSON_COMPACT;
         how++) {
        assert_int_equal(read_text(good), 0);
        buf_clear(&one);
        json_begin(&j, &one);
        schema_write_json_as(&forms_schema, &f, how, &j);
        FOR_EACH_FAILING_ALLOC(n)
        {
            assert_int_equal(schema_defaults(&forms_schema, &again, NULL), 0);
            json_t *v = json_parse((struct slice){one.data, one.len}, NULL, &e);
            mem_fail_at(n, false);
            int r = schema_read_json(&forms_schema, &again, v, &e);
            assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : 0);
            if (r == 0)
                check_good(&again);
            json_decref(v);
            schema_done(&forms_schema, &again);
        }
        drop();
    }
    /* With maps of structs. */
    struct sample s, t;
    assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
    assert_int_equal(schema_read_yaml(&sample_schema, &s, SLICE_LIT(sample_text), &report, &e), 0);
    schema_report_done(&report);
    buf_clear(&one);
    json_begin(&j, &one);
    schema_write_json_as(&sample_schema, &s, SCHEMA_JSON_SECRETS, &j);
    assert_int_equal(schema_defaults(&sample_schema, &t, &e), 0);
    if (read_json(&sample_schema, &t, one.data) != 0)
        fail_msg("%s", e.msg);
    json_begin(&j, &two);
    schema_write_json_as(&sample_schema, &t, SCHEMA_JSON_SECRETS, &j);
    assert_string_equal(one.data, two.data);
    schema_done(&sample_schema, &s);
    schema_done(&sample_schema, &t);
    buf_done(&one);
    buf_done(&two);
}

static void json_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *msg;
    } bad[] = {
        {"[]", "an object, not a list, is wanted"},
        {"{\"x\":1}", "x: is not known"},
        {"{\"vars\":[]}", "vars: an object, not a list, is wanted"},
        {"{\"vars\":{\"A\":1}}", "vars.A: text, not a number, is wanted"},
        {"{\"vars\":{\"A\":\"\",\"B\":\"\",\"C\":\"\",\"D\":\"\"}}",
         "vars: 4 entries, at most 3 allowed"},
        {"{\"words\":[1]}", "words[0]: the value is not valid here"},
        {"{\"name\":\"a\"}", "name: \"a\" is shorter than 2 bytes"},
        {"{\"key\":\"s3crets3cret\"}", "key: the value is not valid here"},
        {"{\"wait\":1}", "wait: \"1\" is not between 10ms and 5s"},
        {"{\"wait\":true}", "wait: a number, not a boolean, is wanted"},
        {"{\"most\":-2}", "most: \"-2\" is not between -1 and 1M"},
        {"{\"kind\":1}", "kind: text, not a number, is wanted"},
        {"{\"inner\":{\"n\":1.5}}", "inner.n: a number, not a number, is wanted"},
        {"{\"inner\":{\"must\":\"\",\"m\\u001b\":1}}", "inner.m\\u001b: is not known"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(schema_defaults(&forms_schema, &f, &e), 0);
        assert_int_equal(read_json(&forms_schema, &f, bad[i].text), ERR_INVALID);
        assert_string_equal(e.msg, bad[i].msg);
        schema_done(&forms_schema, &f);
    }
}

/* --- Checks of structs filled by hand --- */

static void checks(void **state)
{
    (void)state;
    assert_int_equal(read_text(""), 0);
    assert_int_equal(schema_check(&forms_schema, &f, &e), 0); /* `inner` is as if not there */
    f.inner.n = 10;
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "inner.must: the value is missing");
    assert_int_equal(schema_str_add(&f.words, SLICE_LIT("\xC3")), 0);
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "words[0]: the text is not UTF-8");
    ((char **)f.words.items)[0][0] = 'x';
    f.inner.must = mem_strdup("x");
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "inner.n: \"10\" is not between 1 and 9");
    f.inner.n = 0; /* required, and not its default */
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    f.inner.n = 9;
    assert_int_equal(schema_check(&forms_schema, &f, &e), 0);
    f.kind = 3;
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "kind: \"3\" is not known here");
    f.kind = 1;
    f.key = mem_strdup("s3crets3cret");
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "key: the value is not valid here");
    f.key[5] = '\0';
    assert_int_equal(schema_pair_add(&f.vars, SLICE_LIT("-"), SLICE_LIT("")), 0);
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "vars: a key begins with \"-\"");
    f.most = -1;
    f.wait_ms = 2000;
    ((struct schema_pair *)f.vars.items)[0].key[0] = 'A';
    assert_int_equal(schema_check(&forms_schema, &f, &e), ERR_INVALID);
    assert_string_equal(e.msg, "wait and most do not fit together");
    drop();

    struct sample s;
    assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
    struct container *c = schema_list_add(&s.containers, sizeof(*c));
    assert_int_equal(schema_defaults(&container_schema, c, &e), 0);
    c->name = mem_strdup("a");
    c->socket_path = mem_strdup("relative");
    assert_int_equal(schema_check(&sample_schema, &s, &e), ERR_INVALID);
    assert_string_equal(e.msg, "containers[0].socket_path: \"relative\" is not an absolute path");
    schema_done(&sample_schema, &s);
}

/* --- Differences --- */

static int add_difference(void *ctx, const char *path, struct slice a, struct slice b)
{
    struct buf *out = ctx;
    (void)buf_addf(out, "%s: %.*s -> %.*s\n", path, a.p != NULL ? (int)a.len : 1,
                   a.p != NULL ? a.p : "-", b.p != NULL ? (int)b.len : 1, b.p != NULL ? b.p : "-");
    return out->len > 5000 ? 42 : 0;
}
static int stop(void *ctx, const char *path, struct slice a, struct slice b)
{
    (void)path;
    (void)a;
    (void)b;
    return ++*(int *)ctx == 2 ? 42 : 0;
}

static void differs(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(10000);
    struct sample s, t;
    int calls = 0;
    assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
    assert_int_equal(schema_read_yaml(&sample_schema, &s, SLICE_LIT(sample_text), &report, &e), 0);
    schema_report_done(&report);
    assert_int_equal(schema_defaults(&sample_schema, &t, &e), 0);
    static const char other[] =
        "containers: {ai_worker: {socket_path: /run/a.sock, services: [{id: ticker, label: The "
        "ticker}]}, new one: {socket_path: /n}}\ntoken: other\nlevel: info\ntitle: t\n"
        "http: {port: 8080}\nlisteners: [{address: \"::1\"}]\n";
    assert_int_equal(schema_read_yaml(&sample_schema, &t, SLICE_LIT(other), &report, &e), 0);
    schema_report_done(&report);
    assert_int_equal(schema_diff(&sample_schema, &s, &t, add_difference, &out), 0);
    assert_string_equal(
        out.data,
        "http.idle: 5000 -> 90000\nhttp.body_max: 65536 -> 8388608\nhttp.compress: false -> true\n"
        "http.hosts: [\"a\",\"b\",\"7\"] -> [\"localhost\",\"robot\"]\n"
        "containers.ai_worker.services: [{\"id\":\"ticker\",\"label\":\"The "
        "ticker\"},{\"id\":\"x\",\"label\":\"two\\nlines\\n\"}] -> [{\"id\":\"ticker\",\"label\":"
        "\"The ticker\"}]\n"
        "containers.other one: {\"name\":\"other one\",\"socket_path\":\"/run/"
        "b.sock\",\"services\":[]} -> -\n"
        "containers.new one: - -> {\"name\":\"new one\",\"socket_path\":\"/n\",\"services\":[]}\n"
        "listeners: [{\"address\":\"127.0.0.1\",\"mode\":432},{\"address\":\"5\",\"mode\":384}] -> "
        "[{\"address\":\"::1\",\"mode\":432}]\n"
        "level: \"off\" -> \"info\"\ntoken: \"(set)\" -> \"(set)\"\n"
        "title: \"a: title\" -> \"t\"\n");
    buf_clear(&out);
    assert_int_equal(schema_diff(&sample_schema, &t, &t, add_difference, &out), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(schema_diff(&sample_schema, &s, &t, stop, &calls), 42);
    assert_int_equal(calls, 2);
    FOR_EACH_FAILING_ALLOC(n)
    {
        buf_done(&out);
        out = BUF_INIT(10000);
        assert_int_equal(buf_reserve(&out, 9000), 0);
        mem_fail_at(n, false);
        int r = schema_diff(&sample_schema, &s, &t, add_difference, &out);
        assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : 0);
    }
    schema_done(&sample_schema, &s);
    schema_done(&sample_schema, &t);
    buf_done(&out);
}

static void without_memory(void **state)
{
    (void)state;
    static const char bad[] = "vars: {A: {}, B: b, A: c, C: *x}\nhidden: {A: !x y}\nx: 1\n";
    for (int k = 0; k < 2; k++) {
        FOR_EACH_FAILING_ALLOC(n)
        {
            assert_int_equal(schema_defaults(&forms_schema, &f, NULL), 0);
            mem_fail_at(n, false);
            int r = schema_read_yaml(&forms_schema, &f, slice_of(k == 0 ? good : bad), &report, &e);
            assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : k == 0 ? 0 : ERR_INVALID);
            for (size_t i = 0; i < f.vars.count; i++)
                assert_non_null(((struct schema_pair *)f.vars.items)[i].value);
            drop();
        }
    }
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct schema_list l = {0}, m = {0};
        mem_fail_at(n, false);
        int r = schema_pair_add(&l, SLICE_LIT("a"), SLICE_LIT("b"));
        if (r == 0)
            r = schema_str_add(&m, SLICE_LIT("c"));
        assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        schema_member_done(&(const struct schema_field){.type = SCHEMA_STR_MAP}, &l);
        schema_member_done(&(const struct schema_field){.type = SCHEMA_STR_LIST}, &m);
    }
}

int main(void)
{
    json_in_init();
    wiped = BUF_INIT(10 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),           cmocka_unit_test(tells_faults),
        cmocka_unit_test(writes),          cmocka_unit_test(layers),
        cmocka_unit_test(components),      cmocka_unit_test(pages),
        cmocka_unit_test(json_goes_round), cmocka_unit_test(json_faults),
        cmocka_unit_test(checks),          cmocka_unit_test(differs),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
