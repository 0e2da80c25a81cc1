#include "unit.h"

#include "sample.h"

#include <stdio.h>
#include <stdlib.h>

static struct sample s;
static struct schema_report report;
static struct err e;

static int read_text(const char *text, size_t len)
{
    memset(&e, 0, sizeof(e));
    assert_int_equal(schema_defaults(&sample_schema, &s, &e), 0);
    return schema_read_yaml(&sample_schema, &s, (struct slice){text, len}, &report, &e);
}

static void drop(void)
{
    schema_report_done(&report);
    schema_done(&sample_schema, &s);
}

static void reads_everything(void **state)
{
    (void)state;
    int r = read_text(sample_text, sizeof(sample_text) - 1);
    if (r != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(s.http.port, 8080);
    assert_int_equal(s.http.idle_ms, 5000);
    assert_int_equal(s.http.body_max, 65536);
    assert_false(s.http.compress);
    assert_int_equal(s.http.hosts.count, 3);
    assert_string_equal(((char **)s.http.hosts.items)[2], "7");
    assert_int_equal(s.containers.count, 2);
    const struct container *c = s.containers.items;
    assert_string_equal(c[0].name, "ai_worker");
    assert_string_equal(c[0].socket_path, "/run/a.sock");
    assert_true(c[0].ros2);
    assert_false(c[1].ros2);
    assert_string_equal(c[1].name, "other one");
    assert_int_equal(c[0].services.count, 2);
    const struct service *services = c[0].services.items;
    assert_string_equal(services[0].label, "The ticker");
    assert_string_equal(services[1].label, "two\nlines\n");
    const struct listener *l = s.listeners.items;
    assert_int_equal(s.listeners.count, 2);
    assert_string_equal(l[1].address, "5");
    assert_int_equal(l[0].mode, 0660);
    assert_int_equal(l[1].mode, 0600);
    assert_int_equal(s.level, 2);
    assert_string_equal(s.token, "s3cret");
    assert_null(s.note);
    assert_string_equal(s.title, "a: title");
    assert_int_equal(report.count, 1);
    assert_int_equal(report.errors, 0);
    assert_true(report.faults[0].warning);
    assert_int_equal(report.faults[0].line, 17);
    assert_string_equal(report.faults[0].msg,
                        "key \"ros2\" in containers.ai_worker is accepted, but has no effect");
    drop();
}

static void empty_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {"",   "# only a comment\n", "---\n", "--- ~\n...\n",
                                        "{}", "\xEF\xBB\xBF",       "null"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (read_text(texts[i], strlen(texts[i])) != 0)
            fail_msg("\"%s\": %s", texts[i], e.msg);
        assert_int_equal(s.http.port, 8081);
        assert_int_equal(s.http.hosts.count, 2);
        drop();
    }
    assert_int_equal(schema_defaults(&service_schema, &s, &e), 0);
    assert_int_equal(schema_read_yaml(&service_schema, &s, SLICE_LIT(""), &report, &e),
                     ERR_INVALID);
    assert_int_equal(report.errors, 2);
    assert_string_equal(report.faults[1].msg, "missing key \"label\" at the top level");
    schema_report_done(&report);
}

/* Text, then every fault as line:column: message. */
static const struct {
    const char *text, *faults;
} cases[] = {
    {"x: 1\n", "1:1: unknown key \"x\" at the top level\n"},
    {"http:\n  prot: 1\n", "2:3: unknown key \"prot\" in http\n"},
    {"\xEF\xBB\xBFhttp:\r\n  port: 1\r\nx: 1\r\n", "3:1: unknown key \"x\" at the top level\n"},
    {"http:\n  port: 0\n", "2:9: http.port: \"0\" is not between 1 and 65535\n"},
    {"http: {port: 99999}", "1:14: http.port: \"99999\" is not between 1 and 65535\n"},
    {"http: {port: \"80\"}", "1:14: http.port: \"80\" is not an integer\n"},
    {"http: {port: 8e3}", "1:14: http.port: \"8e3\" is not an integer\n"},
    {"http: {port: 99999999999999999999}",
     "1:14: http.port: \"99999999999999999999\" is not an integer of 64 bits\n"},
    {"http: {port: 0xFFFFFFFFFFFFFFFF1}",
     "1:14: http.port: \"0xFFFFFFFFFFFFFFFF1\" is not an integer of 64 bits\n"},
    {"http: {port: 0660}", "1:14: http.port: \"0660\" is ambiguous: write octal with 0o, decimal "
                           "without the leading 0\n"},
    {"http: {port: }", "1:14: http.port: the value is missing\n"},
    {"http: {port: [1]}", "1:14: http.port: expected a single value, not a list\n"},
    {"http: {idle: fast}",
     "1:14: http.idle: \"fast\" is not a duration such as 250ms, 5s, 2m, 1h or 1d\n"},
    {"http: {idle: 2h}", "1:14: http.idle: \"2h\" is not between 100ms and 1h\n"},
    {"http: {idle: 99ms}", "1:14: http.idle: \"99ms\" is not between 100ms and 1h\n"},
    {"http: {body_max: 1.5M}",
     "1:18: http.body_max: \"1.5M\" is not a size such as 512, 64k, 8M or 1G\n"},
    {"http: {compress: yes}", "1:18: http.compress: \"yes\" is not true or false\n"},
    {"http: {compress: \"true\"}", "1:18: http.compress: \"true\" is not true or false\n"},
    {"http: {hosts: a}", "1:15: http.hosts: expected a list, not \"a\"\n"},
    {"http: {hosts: [a, 1, [b], {c: d}, ~, e]}",
     "1:19: http.hosts[1]: \"1\" is a number, not text: put it in quotes\n"
     "1:22: http.hosts[2]: expected a single value\n"
     "1:27: http.hosts[3]: expected a single value\n"
     "1:35: http.hosts[4]: \"~\" is not allowed here\n"},
    {"http:\n", "1:6: http: expected a mapping (key: value), not \"\"\n"},
    {"http: []\n", "1:7: http: expected a mapping (key: value), not a list\n"},
    {"containers: [a]\n", "1:13: containers: expected a mapping (key: value), not a list\n"},
    {"containers:\n", "1:12: containers: expected a mapping (key: value), not \"\"\n"},
    {"containers:\n  a:\n", "2:5: containers.a: expected a mapping (key: value), not \"\"\n"},
    {"containers:\n  a: {}\n", "2:6: missing key \"socket_path\" in containers.a\n"},
    {"containers:\n  a:\n    socket_path: run\n",
     "3:18: containers.a.socket_path: \"run\" is not an absolute path\n"},
    {"containers:\n  a: {socket_path: /x, name: b}\n",
     "2:24: unknown key \"name\" in containers.a\n"},
    {"containers:\n  a: {socket_path: /x}\n  a: {socket_path: /y, z: 1}\n",
     "3:3: duplicate key \"a\" in containers\n"},
    {"containers:\n  30: {socket_path: /x}\n",
     "2:3: key \"30\" in containers is not text: put it in quotes\n"},
    {"containers: {\"a\\0b\": {}}",
     "1:14: key \"a\\u0000b\" in containers contains a NUL character\n"},
    {"containers:\n  a:\n    socket_path: /x\n    services:\n    - {id: x, label: y}\n    - {id: "
     "5}\n    - z\n",
     "6:12: containers.a.services[1].id: \"5\" is a number, not text: put it in quotes\n"
     "6:7: missing key \"label\" in containers.a.services[1]\n"
     "7:7: containers.a.services[2]: expected a mapping (key: value), not \"z\"\n"},
    {"containers:\n  a:\n    socket_path: /x\n    services: [{id: a, label: b}, {id: a, label: b}, "
     "{id: a, label: b},"
     " {id: a, label: b}, {id: 5}]\n",
     "4:73: containers.a.services: more than 3 entries\n"},
    {"level: debug\n", "1:8: level: \"debug\" is not one of: error, info, off\n"},
    {"level: info\nlevel: off\n", "2:1: duplicate key \"level\" at the top level\n"},
    {"listeners: []\n", "1:12: listeners: 0 entries, at least 1 wanted\n"},
    {"token: 5\n", "1:8: token: the value is not valid here (text in quotes is)\n"},
    {"title: true\n", "1:8: title: \"true\" is a boolean, not text: put it in quotes\n"},
    {"title: 1.5\n", "1:8: title: \"1.5\" is a number, not text: put it in quotes\n"},
    {"title: .inf\n", "1:8: title: \".inf\" is a number, not text: put it in quotes\n"},
    {"title: \"a\\0b\"\n", "1:8: title: \"a\\u0000b\" contains a NUL character\n"},
    {"title: !!int 5\n", "1:8: title: tags are not supported\n"},
    {"http: !x {port: 1}\n", "1:7: http: tags are not supported\n"},
    {"title: &a x\nnote: *a\n", "2:7: note: aliases are not supported\n"},
    {"? [a, {b: c}]\n: x\nlevel: off\n", "1:3: a key must be text\n"},
    {"*a : x\n", "1:1: aliases are not supported\n"},
    {"- a\n", "1:1: expected a mapping (key: value), not a list\n"},
    {"text\n", "1:1: expected a mapping (key: value), not \"text\"\n"},
    {"level: off\n---\nlevel: off\n", "2:1: only one document is allowed\n"},
    {"level: [a\n", "1:8: level: expected a single value, not a list\n"
                    "2:1: *\n"},
    {"a: 1\nhttp:\n\tport: 1\n", "1:1: unknown key \"a\" at the top level\n3:1: *\n"},
    {"level: \xFF\n", "1:8: *\n"},
    {"# \xC3\xA4\nlevel: \xC3\xA4\xFF\n", "2:9: *\n"},
    /* several at once, in the order of the text */
    {"x: {y: [1, 2]}\nhttp:\n  port: a\n  z: 1\nlevel: off\ncontainers: {a: 1}\n",
     "1:1: unknown key \"x\" at the top level\n"
     "3:9: http.port: \"a\" is not an integer\n"
     "4:3: unknown key \"z\" in http\n"
     "6:17: containers.a: expected a mapping (key: value), not \"1\"\n"},
};

/* Compares line by line; "*" stands for any message, because libyaml words some of them. */
static bool same_faults(const char *want)
{
    size_t i = 0;
    for (; *want != '\0'; i++) {
        char got[400];
        if (i == report.count)
            return false;
        const struct schema_fault *f = &report.faults[i];
        snprintf(got, sizeof(got), "%d:%d: %s\n", f->line, f->column, f->msg);
        size_t len = strcspn(want, "\n");
        const char *star = want[len - 1] == '*' ? want + len - 1 : NULL;
        size_t n = star != NULL ? (size_t)(star - want) : len + 1;
        if (strncmp(want, got, n) != 0)
            return false;
        want += len + 1;
    }
    return i == report.count;
}

static void fault_table(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r = read_text(cases[i].text, strlen(cases[i].text));
        if (!same_faults(cases[i].faults)) {
            print_error("%s\n", cases[i].text);
            for (size_t k = 0; k < report.count; k++)
                print_error("  got %d:%d: %s\n", report.faults[k].line, report.faults[k].column,
                            report.faults[k].msg);
            wrong++;
        }
        assert_int_equal(r, ERR_INVALID);
        assert_int_equal(e.code, ERR_INVALID);
        drop();
    }
    assert_int_equal(wrong, 0);
    /* What is good beside a fault is there. */
    read_text("x: 1\nlevel: off\n", 16);
    assert_int_equal(s.level, 2);
    assert_string_equal(e.msg, "line 1, column 1: unknown key \"x\" at the top level");
    drop();
}

/* Wherever a message shows a piece of the text. */
static void messages_of_one_line(void **state)
{
    (void)state;
#define NASTY "\"a\\nb\\e\\x9B\\x7F\""
    static const char *const texts[] = {
        NASTY ": 1\n",
        "http: {" NASTY ": 1}\n",
        "level: " NASTY "\n",
        "http: " NASTY "\n",
        "http: {port: " NASTY "}\n",
        "http: {idle: " NASTY "}\n",
        "http: {body_max: " NASTY "}\n",
        "http: {compress: " NASTY "}\n",
        "http: {hosts: " NASTY "}\n",
        "containers: {" NASTY ": 5}\n",
        "containers: {" NASTY ": {x: 1, socket_path: /a}}\n",
        "containers: {c: {socket_path: " NASTY "}}\n",
        "containers: {" NASTY ": {socket_path: " NASTY "}}\n",
        "http: !<tag:a%0A> {}\n",
        "http: *a%0A\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(read_text(texts[i], strlen(texts[i])), ERR_INVALID);
        for (size_t k = 0; k < report.count; k++) {
            const char *m = report.faults[k].msg;
            if (m[strcspn(m, "\n\x1B\x7F")] != '\0' || strstr(m, "\xC2\x9B") != NULL)
                fail_msg("%s gave \"%s\"", texts[i], m);
        }
        assert_true(report.count > 0);
        drop();
    }
    static const char path[] = "containers: {c: {socket_path: \"a\\nb\"}}\n";
    read_text(path, sizeof(path) - 1);
    assert_string_equal(report.faults[0].msg,
                        "containers.c.socket_path: \"a\\nb\" is not an absolute path");
    drop();
}

static void texts_that_must_not_hurt(void **state)
{
    (void)state;
    static char big[(1 << 20) + 10];
    /* nested without end, in a known and in an unknown place */
    memset(big, '[', 100000);
    assert_int_equal(read_text(big, 100000), ERR_INVALID);
    drop();
    memcpy(big, "x: ", 3);
    assert_int_equal(read_text(big, 100000), ERR_INVALID);
    assert_true(report.count == 2);
    assert_string_equal(report.faults[1].msg, "nested deeper than 32");
    drop();
    /* faults without end */
    for (size_t i = 0; i < 100000; i += 5)
        memcpy(big + i, "a: b\n", 5);
    assert_int_equal(read_text(big, 100000), ERR_INVALID);
    assert_int_equal(report.count, 100);
    assert_string_equal(report.faults[99].msg, "too many faults, the rest of the text is not read");
    drop();
    /* elements without end */
    memcpy(big, "listeners: [", 12);
    size_t n = 12;
    for (; n < 1000000; n += 14)
        memcpy(big + n, "{address: a}, ", 14);
    big[n++] = ']';
    assert_int_equal(read_text(big, n), ERR_INVALID);
    assert_int_equal(report.count, 1);
    assert_string_equal(report.faults[0].msg, "listeners: more than 10000 entries");
    assert_int_equal(s.listeners.count, 10000);
    drop();
    memset(big, ' ', sizeof(big));
    assert_int_equal(read_text(big, sizeof(big)), ERR_INVALID);
    drop();
    /* long and strange names in messages stay within them */
    memcpy(big, "containers:\n  \"", 15);
    for (n = 15; n < 900; n += 3)
        memcpy(big + n, "\xE2\x82\xAC", 3);
    memcpy(big + n, "\\e[31m\": {socket_path: /x, bad: 1}\n", 35);
    assert_int_equal(read_text(big, n + 35), ERR_INVALID);
    assert_true(strlen(report.faults[0].msg) < 256);
    assert_null(strchr(report.faults[0].msg, '\x1B'));
    drop();
}

static void yaml_without_memory(void **state)
{
    (void)state;
    static const char bad[] =
        "x: 1\nhttp: {port: 0, hosts: [1]}\ncontainers: {a: {socket_path: b}, a: {}}\n";
    for (int k = 0; k < 2; k++) {
        struct slice text = k == 0 ? (struct slice){sample_text, sizeof(sample_text) - 1}
                                   : (struct slice){bad, sizeof(bad) - 1};
        FOR_EACH_FAILING_ALLOC(n)
        {
            assert_int_equal(schema_defaults(&sample_schema, &s, NULL), 0);
            mem_fail_at(n, false);
            int r = schema_read_yaml(&sample_schema, &s, text, &report, &e);
            assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : k == 0 ? 0 : ERR_INVALID);
            drop();
        }
    }
    FOR_EACH_FAILING_ALLOC(n)
    {
        memset(&s, 0xAA, sizeof(s));
        mem_fail_at(n, true);
        int r = schema_defaults(&sample_schema, &s, &e);
        assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        schema_done(&sample_schema, &s);
    }
}

/* Any cut of a good text is read without harm. */
static void cut_texts(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(sample_text); n++) {
        char *copy = malloc(n > 0 ? n : 1); /* exact, so that a read beyond it is seen */
        assert_non_null(copy);
        memcpy(copy, sample_text, n);
        (void)read_text(copy, n);
        drop();
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_everything),
        cmocka_unit_test(empty_texts),
        cmocka_unit_test(fault_table),
        cmocka_unit_test(messages_of_one_line),
        cmocka_unit_test(texts_that_must_not_hurt),
        cmocka_unit_test(yaml_without_memory),
        cmocka_unit_test(cut_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
