/* If-Match and If-None-Match of a call, body_optional, and the answer's ETag. */
#include "../base/unit.h"

#include "api/route/condition.h"
#include "base/str.h"
#include "fake_exchange.h"

#include <string.h>

#define NOW "\"now\""
static int went_on;

static void h_write(struct api_call *c)
{
    if (!api_if_match(c, SLICE_LIT(NOW)))
        return;
    went_on++;
    struct buf b = BUF_INIT(100);
    (void)buf_addlit(&b, "{}");
    api_reply_json_etag(c, 200, &b, SLICE_LIT("\"next\""));
    buf_done(&b);
}

static void h_read(struct api_call *c)
{
    if (!api_if_none_match(c, SLICE_LIT(NOW)))
        return;
    went_on++;
    struct buf b = BUF_INIT(100);
    (void)buf_addlit(&b, "{}");
    api_reply_json_etag(c, 200, &b, (struct slice){NULL, 0});
    buf_done(&b);
}

static int64_t seen_id;
static bool seen_set;
static void h_optional(struct api_call *c)
{
    seen_id = c->body_values[0].i;
    seen_set = c->body_values[0].set;
    h_read(c);
}

static const struct api_param id_body[] = {
    {.name = "id", .type = API_INT, .nullable = true, .def = 7}};
static const struct api_route table[] = {
    ROUTE(PUT, "/x", RIGHT_WRITE, "x", .summary = "s", .handler = h_write),
    ROUTE(GET, "/x", RIGHT_READ, "x", .summary = "s", .handler = h_read),
    ROUTE(POST, "/x", RIGHT_WRITE, "x", .summary = "s", .handler = h_optional, .body = id_body,
          .n_body = 1, .body_optional = true),
};

static struct api *make(void)
{
    static const char *const any[] = {"*"};
    static const struct api_cors cors = {any, 1};
    struct api *a = NULL;
    struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table), .cors = &cors};
    assert_int_equal(api_new(&a, &o, NULL), 0);
    return a;
}

static void ask(struct fake *f, struct api *a, const char *method, const char *headers,
                const char *body)
{
    went_on = 0;
    fake_request(f, method, "/x", headers);
    fake_run(f, api_handle, a, slice_of(body));
    assert_int_equal(f->answers, 1);
}

static const struct {
    const char *method, *headers;
    int status;
    const char *text; /* in the body */
} rows[] = {
    {"PUT", NULL, 200, "{}"},
    {"PUT", "if-match: " NOW, 200, "{}"},
    {"PUT", "if-match: *", 200, "{}"},
    {"PUT", "if-match: \"a\", " NOW ",", 200, "{}"},
    {"PUT", "if-match: \"a\"\nif-match: " NOW, 200, "{}"}, /* two lines are one list */
    {"PUT", "if-match: \"a\"", 412, "asks for \\\"a\\\", but the ETag is \\\"now\\\""},
    {"PUT", "if-match: W/" NOW, 412, "but the ETag is \\\"now\\\""}, /* weak tags do not count */
    {"PUT", "if-match: now", 400, "If-Match: now is not a list of entity tags"},
    {"PUT", "if-match:", 400, "is not a list"},
    {"PUT", "if-match: *\nif-match: *", 400, "is not a list"},
    {"PUT", "if-match: " NOW "\nif-none-match: *", 412, "If-None-Match excludes *"},
    {"PUT", "if-none-match: \"a\"", 200, "{}"},
    {"PUT", "if-none-match: W/" NOW, 412, "it exists"},
    {"PUT", "if-none-match: a", 400, "If-None-Match: a is not a list"},
    {"GET", NULL, 200, "{}"},
    {"GET", "if-none-match: " NOW, 304, ""},
    {"GET", "if-none-match: \"a\", W/" NOW, 304, ""},
    {"GET", "if-none-match: *", 304, ""},
    {"GET", "if-none-match: \"a\"", 200, "{}"},
    {"GET", "if-none-match: a", 400, "is not a list"},
};

static void test_conditions(void **state)
{
    (void)state;
    struct api *a = make();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f;
        ask(&f, a, rows[i].method, rows[i].headers, NULL);
        if (f.status != rows[i].status || strstr(f.body.data, rows[i].text) == NULL ||
            went_on != (rows[i].status == 200))
            fail_msg("%s %s: %d %s", rows[i].method, rows[i].headers, f.status, f.body.data);
        fake_done(&f);
    }
    api_free(a);
}

static void test_headers(void **state)
{
    (void)state;
    struct api *a = make();
    struct fake f;
    ask(&f, a, "PUT", "origin: http://x", NULL);
    assert_non_null(strstr(f.head, "\netag: \"next\"\n"));
    assert_non_null(strstr(f.head, "access-control-expose-headers: ETag, X-Request-Id\n"));
    fake_done(&f);
    ask(&f, a, "GET", "origin: http://x\ncookie: a=b\nif-none-match: *", NULL);
    assert_int_equal(f.body.len, 0);
    assert_non_null(strstr(f.head, "\netag: \"now\"\n"));
    assert_non_null(strstr(f.head, "vary: Origin\n"));
    fake_done(&f);
    ask(&f, a, "GET", NULL, NULL);
    assert_null(strstr(f.head, "etag"));
    fake_done(&f);
    api_free(a);
}

static void test_long_list(void **state)
{
    (void)state;
    static char line[API_CONDITION_MAX + 100];
    struct api *a = make();
    struct fake f;
    int n = snprintf(line, sizeof(line), "if-match: \"");
    memset(line + n, 'x', API_CONDITION_MAX);
    memcpy(line + n + API_CONDITION_MAX, "\"", 2);
    ask(&f, a, "PUT", line, NULL);
    assert_int_equal(f.status, 413);
    assert_non_null(strstr(f.body.data, "longer than 8192 bytes"));
    fake_done(&f);
    api_free(a);
}

static void test_optional_body(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
        int64_t id;
        bool set;
    } bodies[] = {{"", 200, 7, false},
                  {"null", 200, 7, false},
                  {"{}", 200, 7, false},
                  {"{\"id\":null}", 200, 7, false},
                  {"{\"id\":3}", 200, 3, true},
                  {"[]", 422, 0, false},
                  {"{\"id\":\"x\"}", 422, 0, false}};
    struct api *a = make();
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct fake f;
        ask(&f, a, "POST", NULL, bodies[i].body);
        assert_int_equal(f.status, bodies[i].status);
        if (f.status == 200) {
            assert_int_equal(seen_id, bodies[i].id);
            assert_int_equal(seen_set, bodies[i].set);
        }
        fake_done(&f);
    }
    api_free(a);
}

static void test_memory(void **state)
{
    (void)state;
    struct api *a = make();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FOR_EACH_FAILING_ALLOC(n)
        {
            struct fake f;
            mem_fail_at(n, false);
            ask(&f, a, rows[i].method, rows[i].headers, NULL);
            bool hit = mem_fail_hit();
            assert_true(f.status == rows[i].status || (hit && f.status == 503));
            fake_done(&f);
        }
    }
    api_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_long_list),  cmocka_unit_test(test_optional_body),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
