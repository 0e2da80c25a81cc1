#include "unit.h"

#include "sample.h"

#include "base/schema_priv.h"
#include "base/str.h"

static struct err e;

static void defaults(void **state)
{
    (void)state;
    struct sample s;
    assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
    assert_int_equal(s.http.port, 8081);
    assert_int_equal(s.http.idle_ms, 90000);
    assert_int_equal(s.http.body_max, 8 << 20);
    assert_true(s.http.compress);
    assert_int_equal(s.http.hosts.count, 2);
    assert_string_equal(((char **)s.http.hosts.items)[1], "robot");
    assert_int_equal(s.level, 1);
    assert_string_equal(s.title, "a: title");
    assert_null(s.token);
    assert_int_equal(s.containers.count, 0);
    schema_done(&sample_schema, &s);
    assert_null(s.title);
    schema_done(&sample_schema, &s); /* twice is fine */
    schema_done(&sample_schema, NULL);

    /* A default of a table that is no value of its row is our mistake and is told. */
    static const struct schema_field bad_field[] = {{"n", SCHEMA_INT, 0, 0, .def = "x"}};
    static const struct schema bad = {"Bad", sizeof(int64_t), NULL, bad_field, 1, NULL};
    int64_t n;
    assert_int_equal(schema_defaults(&bad, &n, &e), ERR_INVALID);
    assert_string_equal(e.msg, "default of \"n\" in Bad: \"x\" is not an integer");
}

static void scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum schema_scalar kind;
    } cases[] = {
        {"", SCALAR_NULL},       {"~", SCALAR_NULL},         {"null", SCALAR_NULL},
        {"nULL", SCALAR_TEXT},   {"true", SCALAR_BOOL},      {"FALSE", SCALAR_BOOL},
        {"yes", SCALAR_TEXT},    {"on", SCALAR_TEXT},        {"0", SCALAR_INT},
        {"-12", SCALAR_INT},     {"+1", SCALAR_INT},         {"0x1F", SCALAR_INT},
        {"0o17", SCALAR_INT},    {"0o8", SCALAR_TEXT},       {"0x", SCALAR_TEXT},
        {"0xg", SCALAR_TEXT},    {"1.", SCALAR_FLOAT},       {".5", SCALAR_FLOAT},
        {"1.5e3", SCALAR_FLOAT}, {"1e-3", SCALAR_FLOAT},     {"1e", SCALAR_TEXT},
        {".", SCALAR_TEXT},      {"-", SCALAR_TEXT},         {"-.5", SCALAR_FLOAT},
        {".inf", SCALAR_FLOAT},  {"-.INF", SCALAR_FLOAT},    {".nan", SCALAR_FLOAT},
        {"inf", SCALAR_TEXT},    {"1_000", SCALAR_TEXT},     {"1:30", SCALAR_TEXT},
        {"5s", SCALAR_TEXT},     {"127.0.0.1", SCALAR_TEXT}, {"1.2.3", SCALAR_TEXT},
        {"e5", SCALAR_TEXT},     {"1 ", SCALAR_TEXT},        {"--1", SCALAR_TEXT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (schema_scalar_kind(slice_of(cases[i].text)) != cases[i].kind)
            fail_msg("\"%s\" is %d", cases[i].text, schema_scalar_kind(slice_of(cases[i].text)));
}

static void read_sample(struct sample *s)
{
    struct schema_report r;
    assert_int_equal(schema_defaults(&sample_schema, s, &e), 0);
    assert_int_equal(schema_read_yaml(&sample_schema, s, SLICE_LIT(sample_text), &r, &e), 0);
    schema_report_done(&r);
}

static void writes_json(void **state)
{
    (void)state;
    struct sample s;
    struct buf b = BUF_INIT(10000);
    struct json_out j;
    read_sample(&s);
    json_begin(&j, &b);
    schema_write_json(&sample_schema, &s, &j);
    assert_buf_is(
        &b,
        "{\"http\":{\"port\":8080,\"idle\":5000,\"body_max\":65536,\"compress\":false,"
        "\"hosts\":[\"a\",\"b\",\"7\"]},"
        "\"containers\":{\"ai_worker\":{\"socket_path\":\"/run/a.sock\",\"services\":["
        "{\"id\":\"ticker\",\"label\":\"The "
        "ticker\"},{\"id\":\"x\",\"label\":\"two\\nlines\\n\"}]},"
        "\"other one\":{\"socket_path\":\"/run/b.sock\",\"services\":[]}},"
        "\"listeners\":[{\"address\":\"127.0.0.1\",\"mode\":432},{\"address\":\"5\",\"mode\":384}],"
        "\"level\":\"off\",\"token\":\"(set)\",\"note\":null,\"title\":\"a: title\"}");
    buf_done(&b);
    schema_done(&sample_schema, &s);
}

/* What is written as YAML reads back as the same, but for the secret. */
static void yaml_goes_round(void **state)
{
    (void)state;
    struct sample s, again;
    struct schema_report r;
    struct json_out j;
    struct buf yaml = BUF_INIT(20000), one = BUF_INIT(10000), two = BUF_INIT(10000);
    for (int k = 0; k < 2; k++) {
        if (k == 0)
            read_sample(&s);
        else
            assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
        if (k == 0)
            assert_int_equal(
                schema_set_str(&s.title, SLICE_LIT("\"\\ \n\t\x7F\xC2\x85\xE2\x82\xAC: #")), 0);
        if (k == 1) { /* an empty list would be refused when read: the row wants one */
            struct listener *l = schema_list_add(&s.listeners, sizeof(struct listener));
            assert_int_equal(schema_defaults(&listener_schema, l, &e), 0);
            assert_int_equal(schema_set_str(&l->address, SLICE_LIT("::1")), 0);
        }
        buf_clear(&yaml);
        assert_int_equal(schema_write_yaml(&sample_schema, &s, &yaml), 0);
        assert_null(strstr(yaml.data, "s3cret"));
        assert_int_equal(schema_defaults(&sample_schema, &again, &e), 0);
        if (schema_read_yaml(&sample_schema, &again, (struct slice){yaml.data, yaml.len}, &r, &e) !=
            0)
            fail_msg("%s\n%s", e.msg, yaml.data);
        assert_int_equal(r.count, 0);
        if (k == 0)
            assert_string_equal(again.token, "(set)");
        buf_clear(&one);
        buf_clear(&two);
        json_begin(&j, &one);
        schema_write_json(&sample_schema, &s, &j);
        json_begin(&j, &two);
        schema_write_json(&sample_schema, &again, &j);
        assert_string_equal(one.data, two.data);
        schema_report_done(&r);
        schema_done(&sample_schema, &s);
        schema_done(&sample_schema, &again);
    }
    assert_memory_equal(
        yaml.data,
        "# A sample of every row.\n# The HTTP server.\nhttp:\n"
        "  # TCP port. (1 to 65535, default 8081)\n  port: 8081\n"
        "  # Connections without a request are closed. (100ms to 1h, default 90s, a reload "
        "changes it)\n  idle: 90s\n",
        200);
    assert_non_null(strstr(yaml.data, "  body_max: 8M\n"));
    assert_non_null(strstr(yaml.data, "# token:\n"));
    buf_done(&yaml);
    buf_done(&one);
    buf_done(&two);
}

static void units(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        const char *duration, *size;
    } cases[] = {{0, "0ms", "0"},
                 {1, "1ms", "1"},
                 {1000, "1s", "1000"},
                 {1024, "1024ms", "1k"},
                 {86400000, "1d", "84375k"},
                 {90000, "90s", "90000"},
                 {8 << 20, "8388608ms", "8M"}};
    struct buf b = BUF_INIT(100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        schema_add_duration(&b, cases[i].v);
        assert_string_equal(b.data, cases[i].duration);
        buf_clear(&b);
        schema_add_size(&b, cases[i].v);
        assert_string_equal(b.data, cases[i].size);
    }
    buf_done(&b);
}

static void writes_json_schema(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(10000);
    struct json_out j;
    json_begin(&j, &b);
    schema_write_openapi(&http_schema, &j);
    assert_buf_is(
        &b,
        "{\"type\":\"object\",\"title\":\"Http\",\"properties\":{"
        "\"port\":{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":1,\"maximum\":65535,"
        "\"description\":\"TCP port.\",\"default\":8081},"
        "\"idle\":{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":100,\"maximum\":3600000,"
        "\"description\":\"Connections without a request are closed. "
        "(milliseconds)\",\"default\":90000},"
        "\"body_max\":{\"type\":\"integer\",\"format\":\"int64\",\"description\":\"(bytes)\","
        "\"default\":8388608},"
        "\"compress\":{\"type\":\"boolean\",\"default\":true},"
        "\"hosts\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"default\":[\"localhost\","
        "\"robot\"]}}}");
    buf_clear(&b);
    json_begin(&j, &b);
    schema_write_openapi(&container_schema, &j);
    assert_buf_is(&b,
                  "{\"type\":\"object\",\"title\":\"Container\",\"description\":\"A robot "
                  "container.\",\"properties\":{"
                  "\"name\":{\"type\":\"string\"},"
                  "\"socket_path\":{\"type\":\"string\",\"description\":\"Socket of the agent.\"},"
                  "\"services\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
                  "Service\"},\"maxItems\":3},"
                  "\"ros2\":{\"deprecated\":true}},\"required\":[\"name\",\"socket_path\"]}");
    buf_clear(&b);
    json_begin(&j, &b);
    schema_write_openapi(&sample_schema, &j);
    static const char *const parts[] = {
        "\"http\":{\"$ref\":\"#/components/schemas/Http\",\"description\":\"The HTTP server.\"}",
        "\"containers\":{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/components/"
        "schemas/Container\"}}",
        "\"listeners\":{\"type\":[\"array\",\"null\"],",
        "\"level\":{\"type\":\"string\",\"enum\":[\"error\",\"info\",\"off\"],\"default\":"
        "\"info\"}",
        "\"token\":{\"type\":\"string\",\"writeOnly\":true}",
        "\"note\":{\"type\":[\"string\",\"null\"]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(b.data, parts[i]) == NULL)
            fail_msg("no %s in %s", parts[i], b.data);
    buf_done(&b);
}

static void output_without_memory(void **state)
{
    (void)state;
    struct sample s;
    read_sample(&s);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(100000);
        struct json_out j;
        json_begin(&j, &b);
        mem_fail_at(n, false);
        schema_write_json(&sample_schema, &s, &j);
        schema_write_openapi(&sample_schema, &j);
        (void)schema_write_yaml(&sample_schema, &s, &b);
        assert_int_equal(b.err, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        buf_done(&b);
    }
    schema_done(&sample_schema, &s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(scalars),
        cmocka_unit_test(writes_json),
        cmocka_unit_test(yaml_goes_round),
        cmocka_unit_test(units),
        cmocka_unit_test(writes_json_schema),
        cmocka_unit_test(output_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
