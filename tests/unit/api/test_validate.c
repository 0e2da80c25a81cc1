/* Values of query and body: what is taken, and the entries of what is not (talos contract 1.3). */
#include "../base/unit.h"

#include "base/mem.h"
#include "base/str.h"
#include "fake_exchange.h"

#include <stdio.h>
#include <string.h>

static const char *const actions[] = {"up", "down", "restart", NULL};
static const struct api_param query[] = {
    {.name = "tail", .type = API_INT, .def = 100},
    {.name = "all", .type = API_BOOL},
    {.name = "name", .type = API_STR},
    {.name = "kind", .type = API_ENUM, .names = actions},
};
static const struct api_param must[] = {{.name = "must", .type = API_INT, .required = true}};
static const struct api_param body[] = {
    {.name = "action", .type = API_ENUM, .required = true, .names = actions},
    {.name = "timeout", .type = API_INT, .nullable = true, .def = 10},
    {.name = "content", .type = API_STR},
    {.name = "flag", .type = API_BOOL},
};

static const struct api_param args[] = {{.name = "args", .type = API_STR_MAP, .nullable = true}};

static void put(struct buf *b, const struct api_param *p, size_t n, const struct api_value *v)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i].type == API_STR)
            buf_addf(b, "%s%s=%.*s", b->len ? " " : "", p[i].name, (int)v[i].s.len, v[i].s.p);
        else
            buf_addf(b, "%s%s=%lld", b->len ? " " : "", p[i].name, (long long)v[i].i);
        buf_adds(b, v[i].set ? "" : "-");
    }
}

/* "tail=100- all=0-": the values, a dash behind those that were not given. */
static void show(struct api_call *c)
{
    struct buf b = BUF_INIT(4096);
    put(&b, c->route->query, c->route->n_query, c->query);
    put(&b, c->route->body, c->route->n_body, c->body_values);
    if (c->route->body_any_object)
        buf_adds(&b, json_is_object(c->body) ? "object" : "?");
    api_reply_json(c, 200, &b);
    buf_done(&b);
}
static bool never(struct api_call *c)
{
    api_reply_error(c, 503, "%s", "");
    return false;
}

#define MORE .summary = "s", .handler = show
static const struct api_route table[] = {
    ROUTE(GET, "/q", RIGHT_READ, "k", MORE, .query = query, .n_query = 4),
    ROUTE(GET, "/must", RIGHT_READ, "k", MORE, .query = must, .n_query = 1),
    ROUTE(POST, "/b", RIGHT_READ, "k", MORE, .body = body, .n_body = 4),
    ROUTE(POST, "/both", RIGHT_READ, "k", MORE, .query = must, .n_query = 1, .body = body,
          .n_body = 1),
    ROUTE(POST, "/map", RIGHT_READ, "k", MORE, .body = args, .n_body = 1),
    ROUTE(PUT, "/any", RIGHT_READ, "k", MORE, .body_any_object = true),
    ROUTE(POST, "/never", RIGHT_READ, "k", MORE, .body = body, .n_body = 1, .precondition = never),
};

struct row {
    const char *method, *target, *type, *body;
    int status;
    const char *text;
};

static void check(const struct row *r)
{
    struct api *a = NULL;
    struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table), .max_body = 4096};
    assert_int_equal(api_new(&a, &o, NULL), 0);
    struct fake f;
    fake_request(&f, r->method, r->target, r->type);
    fake_run(&f, api_handle, a, slice_of(r->body));
    if (f.answers != 1 || f.status != r->status || strcmp(f.body.data, r->text) != 0)
        fail_msg("%s %s %s: %d %s", r->method, r->target, r->body ? r->body : "", f.status,
                 f.body.data);
    fake_done(&f);
    api_free(a);
}

#define D(e) "{\"detail\":[" e "]}"
#define E(type, loc, msg, input)                                                                   \
    "{\"type\":\"" type "\",\"loc\":[" loc "],\"msg\":\"" msg "\",\"input\":" input
#define INT_Q(v)                                                                                   \
    D(E("int_parsing", "\"query\",\"tail\"",                                                       \
        "Input should be a valid integer, unable to parse string as an integer", v) "}")
#define BOOL_Q(v)                                                                                  \
    D(E("bool_parsing", "\"query\",\"all\"",                                                       \
        "Input should be a valid boolean, unable to interpret input", v) "}")
#define LITERAL(loc, v)                                                                            \
    E("literal_error", loc, "Input should be 'up', 'down' or 'restart'", v)                        \
    ",\"ctx\":{\"expected\":\"'up', 'down' or 'restart'\"}}"
#define MISSING(loc, v) E("missing", loc, "Field required", v) "}"
#define MODEL(v)                                                                                   \
    D(E("model_attributes_type", "\"body\"",                                                       \
        "Input should be a valid dictionary or object to extract fields from", v) "}")
#define DICT(v) E("dict_type", "\"body\",\"args\"", "Input should be a valid dictionary", v) "}"
#define NO_TEXT(k, v)                                                                              \
    E("string_type", "\"body\",\"args\",\"" k "\"", "Input should be a valid string", v) "}"
#define Q(t, a, n, k) "tail=" t " all=" a " name=" n " kind=" k

static const struct row rows[] = {
    {"GET", "/q", NULL, NULL, 200, Q("100-", "0-", "-", "0-")},
    {"GET", "/q?", NULL, NULL, 200, Q("100-", "0-", "-", "0-")},
    {"GET", "/q?&&x=1&tail=5&tail=7", NULL, NULL, 200, Q("7", "0-", "-", "0-")},
    {"GET", "/q?tail=-5", NULL, NULL, 200, Q("-5", "0-", "-", "0-")},
    {"GET", "/q?tail=+5", NULL, NULL, 200, Q("5", "0-", "-", "0-")},
    {"GET", "/q?tail=%2B5%20", NULL, NULL, 200, Q("5", "0-", "-", "0-")},
    {"GET", "/q?tail=1_000", NULL, NULL, 200, Q("1000", "0-", "-", "0-")},
    {"GET", "/q?tail=5.0", NULL, NULL, 200, Q("5", "0-", "-", "0-")},
    {"GET", "/q?tail=99999999999999999999", NULL, NULL, 200,
     Q("9223372036854775807", "0-", "-", "0-")},
    {"GET", "/q?tail=-99999999999999999999", NULL, NULL, 200,
     Q("-9223372036854775808", "0-", "-", "0-")},
    {"GET", "/q?tail=9223372036854775807", NULL, NULL, 200,
     Q("9223372036854775807", "0-", "-", "0-")},
    {"GET", "/q?tail=-9223372036854775808", NULL, NULL, 200,
     Q("-9223372036854775808", "0-", "-", "0-")},
    {"GET", "/q?tail=abc", NULL, NULL, 422, INT_Q("\"abc\"")},
    {"GET", "/q?tail=", NULL, NULL, 422, INT_Q("\"\"")},
    {"GET", "/q?tail", NULL, NULL, 422, INT_Q("\"\"")},
    {"GET", "/q?tail=1.5", NULL, NULL, 422, INT_Q("\"1.5\"")},
    {"GET", "/q?tail=1.", NULL, NULL, 422, INT_Q("\"1.\"")},
    {"GET", "/q?tail=1__0", NULL, NULL, 422, INT_Q("\"1__0\"")},
    {"GET", "/q?tail=_1", NULL, NULL, 422, INT_Q("\"_1\"")},
    {"GET", "/q?tail=1_", NULL, NULL, 422, INT_Q("\"1_\"")},
    {"GET", "/q?tail=-", NULL, NULL, 422, INT_Q("\"-\"")},
    {"GET", "/q?tail=0x10", NULL, NULL, 422, INT_Q("\"0x10\"")},
    {"GET", "/q?tail=1%002", NULL, NULL, 422, INT_Q("\"1\\u00002\"")},
    {"GET", "/q?all=YES&name=a+b%26%ff", NULL, NULL, 200, Q("100-", "1", "a b&\xEF\xBF\xBD", "0-")},
    {"GET", "/q?a%6Cl=oN", NULL, NULL, 200, Q("100-", "1", "-", "0-")},
    {"GET", "/q?all=f", NULL, NULL, 200, Q("100-", "0", "-", "0-")},
    {"GET", "/q?all=maybe", NULL, NULL, 422, BOOL_Q("\"maybe\"")},
    {"GET", "/q?all=", NULL, NULL, 422, BOOL_Q("\"\"")},
    {"GET", "/q?all=2", NULL, NULL, 422, BOOL_Q("\"2\"")},
    {"GET", "/q?kind=restart", NULL, NULL, 200, Q("100-", "0-", "-", "2")},
    {"GET", "/q?kind=UP", NULL, NULL, 422, D(LITERAL("\"query\",\"kind\"", "\"UP\""))},
    {"GET", "/must", NULL, NULL, 422, D(MISSING("\"query\",\"must\"", "null"))},

    {"POST", "/b", NULL, "{\"action\":\"up\"}", 200, "action=0 timeout=10- content=- flag=0-"},
    {"POST", "/b", "content-type: application/x+json; charset=utf-8",
     "{\"action\":\"down\",\"x\":[1]}", 200, "action=1 timeout=10- content=- flag=0-"},
    {"POST", "/b", "content-type: Application/JSON", "\xef\xbb\xbf{\"action\":\"down\"}", 200,
     "action=1 timeout=10- content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":null}", 200,
     "action=0 timeout=10- content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":1.5}", 200,
     "action=0 timeout=1 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":-1.5}", 200,
     "action=0 timeout=-1 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":\" 1 \"}", 200,
     "action=0 timeout=1 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":true}", 200,
     "action=0 timeout=1 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":1e300}", 200,
     "action=0 timeout=9223372036854775807 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":-99999999999999999999}", 200,
     "action=0 timeout=-9223372036854775808 content=- flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":5}", 200,
     "action=0 timeout=10- content=5 flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":1.5}", 200,
     "action=0 timeout=10- content=1.5 flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":5.0}", 200,
     "action=0 timeout=10- content=5.0 flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":1e30}", 200,
     "action=0 timeout=10- content=1e+30 flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":false}", 200,
     "action=0 timeout=10- content=False flag=0-"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"flag\":\"on\"}", 200,
     "action=0 timeout=10- content=- flag=1"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"flag\":0}", 200,
     "action=0 timeout=10- content=- flag=0"},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"action\":\"down\"}", 200,
     "action=1 timeout=10- content=- flag=0-"},

    {"POST", "/b", NULL, "{}", 422, D(MISSING("\"body\",\"action\"", "{}"))},
    {"POST", "/b", NULL, NULL, 422, D(MISSING("\"body\"", "null"))},
    {"POST", "/b", "content-type: text/plain", NULL, 422, D(MISSING("\"body\"", "null"))},
    {"POST", "/b", NULL, "null", 422, D(MISSING("\"body\"", "null"))},
    {"POST", "/b", NULL, "{\"action\":\"kill\"}", 422,
     D(LITERAL("\"body\",\"action\"", "\"kill\""))},
    {"POST", "/b", NULL, "{\"action\":null}", 422, D(LITERAL("\"body\",\"action\"", "null"))},
    {"POST", "/b", NULL, "{\"action\":7}", 422, D(LITERAL("\"body\",\"action\"", "7"))},
    {"POST", "/b", NULL, "[1]", 422, MODEL("[1]")},
    {"POST", "/b", NULL, "\"up\"", 422, MODEL("\"up\"")},
    {"POST", "/b", NULL, "5", 422, MODEL("5")},
    {"POST", "/b", "content-type: text/plain", "{\"action\":\"up\"}", 422,
     MODEL("\"{\\\"action\\\":\\\"up\\\"}\"")},
    {"POST", "/b", "content-type: application/x-www-form-urlencoded", "\xff", 422,
     MODEL("\"\xEF\xBF\xBD\"")},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":\"x\"}", 422,
     D(E("int_parsing", "\"body\",\"timeout\"",
         "Input should be a valid integer, unable to parse string as an integer", "\"x\"") "}")},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"timeout\":[]}", 422,
     D(E("int_type", "\"body\",\"timeout\"", "Input should be a valid integer", "[]") "}")},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"content\":null}", 422,
     D(E("string_type", "\"body\",\"content\"", "Input should be a valid string", "null") "}")},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"flag\":{}}", 422,
     D(E("bool_type", "\"body\",\"flag\"", "Input should be a valid boolean", "{}") "}")},
    {"POST", "/b", NULL, "{\"action\":\"up\",\"flag\":2}", 422,
     D(E("bool_parsing", "\"body\",\"flag\"",
         "Input should be a valid boolean, unable to interpret input", "2") "}")},
    {"POST", "/b", NULL, "{\"timeout\":[],\"content\":[1,\"\xc3\xa4\"]}", 422,
     D(MISSING("\"body\",\"action\"", "{\"timeout\":[],\"content\":[1,\"\xc3\xa4\"]}") "," E(
         "int_type", "\"body\",\"timeout\"", "Input should be a valid integer",
         "[]") "}," E("string_type", "\"body\",\"content\"", "Input should be a valid string",
                      "[1,\"\xc3\xa4\"]") "}")},
    {"POST", "/both?must=x", NULL, "{}", 422,
     D(E("int_parsing", "\"query\",\"must\"",
         "Input should be a valid integer, unable to parse string as an integer",
         "\"x\"") "}," MISSING("\"body\",\"action\"", "{}"))},
    {"POST", "/b", NULL, "{\"action\":", 422,
     D("{\"type\":\"json_invalid\",\"loc\":[\"body\",10],\"msg\":\"JSON decode "
       "error\",\"input\":{},\"ctx\":{\"error\":\"Expecting value\"}}")},
    {"POST", "/b", NULL, "{\"action\":\"\xff\"}", 400,
     "{\"detail\":\"There was an error parsing the body\"}"},

    {"POST", "/map", NULL, "{}", 200, "args=0-"},
    {"POST", "/map", NULL, "{\"args\":null}", 200, "args=0-"},
    {"POST", "/map", NULL, "{\"args\":{}}", 200, "args=0"},
    {"POST", "/map", NULL, "{\"args\":{\"a\":\"1\",\"b\":\"\"}}", 200, "args=2"},
    {"POST", "/map", NULL, "{\"args\":\"x\"}", 422, D(DICT("\"x\""))},
    {"POST", "/map", NULL, "{\"args\":5}", 422, D(DICT("5"))},
    {"POST", "/map", NULL, "{\"args\":true}", 422, D(DICT("true"))},
    {"POST", "/map", NULL, "{\"args\":[]}", 422, D(DICT("[]"))},
    {"POST", "/map", NULL, "{\"args\":{\"a\":1,\"b\":\"\",\"c\":null}}", 422,
     D(NO_TEXT("a", "1") "," NO_TEXT("c", "null"))},

    {"PUT", "/any", NULL, "{\"x\":1}", 200, "object"},
    {"PUT", "/any", NULL, "[]", 422,
     D(E("dict_type", "\"body\"", "Input should be a valid dictionary", "[]") "}")},
    {"PUT", "/any", NULL, NULL, 422, D(MISSING("\"body\"", "null"))},
    {"PUT", "/any", "content-type: text/plain", "x", 422,
     D(E("dict_type", "\"body\"", "Input should be a valid dictionary", "\"x\"") "}")},

    {"POST", "/never", NULL, "{\"action\":\"bogus\"}", 503,
     "{\"error\":\"Unknown error\",\"detail\":null}"},
    {"POST", "/never", NULL, "{", 422,
     D("{\"type\":\"json_invalid\",\"loc\":[\"body\",1],\"msg\":\"JSON decode "
       "error\",\"input\":{},\"ctx\":{\"error\":"
       "\"Expecting property name enclosed in double quotes\"}}")},
};

static void values(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void large_body(void **state)
{
    (void)state;
    static char big[8192];
    memset(big, 'x', sizeof(big) - 1);
    check(&(struct row){"POST", "/b", NULL, big, 413,
                        "{\"error\":\"The body of 8191 bytes is larger than the limit of 4096 "
                        "bytes\",\"detail\":null}"});
}

static void no_memory(void **state)
{
    (void)state;
    struct api *a = NULL;
    struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table)};
    assert_int_equal(api_new(&a, &o, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint64_t n = 1; n < 300; n++) {
            struct fake f;
            fake_request(&f, rows[i].method, rows[i].target, rows[i].type);
            mem_fail_at(n, false);
            fake_run(&f, api_handle, a, slice_of(rows[i].body));
            bool hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (f.answers != 1 || (hit && f.status != 503 && f.status != rows[i].status))
                fail_msg("%s %s, allocation %d: %d", rows[i].method, rows[i].target, (int)n,
                         f.status);
            fake_done(&f);
            if (!hit)
                break;
            assert_true(n < 299);
        }
    }
    api_free(a);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(large_body),
                                       cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
