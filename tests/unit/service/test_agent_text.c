#include "base/mem.h"
#include "base/str.h"
#include "service/agent_text.h"
#include "service/log_history.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void targets(void **state BASE_UNUSED)
{
    static const struct {
        const char *service, *tail, *query, *want;
        int rc;
    } rows[] = {
        {NULL, "", "", "/services", 0},
        {NULL, "/status", "", "/services/status", 0},
        {"x", "/status", "", "/services/x/status", 0},
        {"a b?#%", "/logs", "tail=5", "/services/a%20b%3F%23%25/logs?tail=5", 0},
        {"\xc3\xa4", "", "", "/services/%C3%A4", 0},
        {"...", "", "", "/services/...", 0},
        {"..", "/status", "", "/services/../status", ERR_NOT_FOUND},
        {".", "/status", "", "/services/./status", ERR_NOT_FOUND},
        {"", "/status", "", "/services//status", ERR_NOT_FOUND},
        {"a/b", "/status", "", "/services/a%2Fb/status", ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = BUF_INIT(AGENT_TARGET_MAX);
        struct slice service = {rows[i].service,
                                rows[i].service != NULL ? strlen(rows[i].service) : 0};
        assert_int_equal(agent_target(&out, service, rows[i].tail, slice_of(rows[i].query)),
                         rows[i].rc);
        assert_string_equal(out.data, rows[i].want);
        buf_done(&out);
    }
    struct buf out = BUF_INIT(8);
    assert_int_equal(agent_target(&out, SLICE_LIT("x"), "/status", (struct slice){NULL, 0}),
                     ERR_LIMIT);
    buf_done(&out);
}

static void transport_texts(void **state BASE_UNUSED)
{
    struct err in, out;
    err_sys(&in, ENOENT, "x");
    assert_int_equal(agent_text_transport(&out, &in, 5000), ERR_NOT_FOUND);
    assert_string_equal(out.msg, "[Errno 2] No such file or directory");
    err_sys(&in, ECONNREFUSED, "x");
    agent_text_transport(&out, &in, 5000);
    assert_string_equal(out.msg, "[Errno 111] Connection refused");
    err_set(&in, ERR_GONE, "x");
    agent_text_transport(&out, &in, 5000);
    assert_string_equal(out.msg, "Server disconnected without sending a response.");
    err_set(&in, ERR_TIMEOUT, "x");
    assert_int_equal(agent_text_transport(&out, &in, 5000), ERR_TIMEOUT);
    assert_string_equal(out.msg, "no answer within 5.0 s");
    err_set(&in, ERR_LIMIT, "too large");
    agent_text_transport(&out, &in, 5000);
    assert_string_equal(out.msg, "too large");
}

static void status_texts(void **state BASE_UNUSED)
{
    struct err e;
    struct slice none = {NULL, 0};
    struct slice t = SLICE_LIT("/services/x/status");
    assert_int_equal(agent_text_status(&e, 404, SLICE_LIT("Not Found"), t, none,
                                       SLICE_LIT("{\"error\":\"Service 'x' not found\"}")),
                     ERR_NOT_FOUND);
    assert_string_equal(
        e.msg, "Client error '404 Not Found' for url 'http://agent/services/x/status'\n"
               "For more information check: https://httpstatuses.com/404\nService 'x' not found");
    agent_text_status(&e, 500, none, t, none, SLICE_LIT("<html>"));
    assert_string_equal(
        e.msg, "Server error '500 Internal Server Error' for url 'http://agent/services/x/status'\n"
               "For more information check: https://httpstatuses.com/500");
    assert_int_equal(agent_text_status(&e, 307, SLICE_LIT("Temporary Redirect"), t,
                                       SLICE_LIT("http://agent/y"), none),
                     ERR_PROTOCOL);
    assert_string_equal(
        e.msg,
        "Redirect response '307 Temporary Redirect' for url 'http://agent/services/x/status'\n"
        "Redirect location: 'http://agent/y'\n"
        "For more information check: https://httpstatuses.com/307");
    assert_int_equal(agent_text_status(&e, 422, none, t, none, SLICE_LIT("{\"detail\":[]}")),
                     ERR_INVALID);
    assert_int_equal(agent_text_status(&e, 503, none, t, none, SLICE_LIT("{\"detail\":\"no s6\"}")),
                     ERR_BUSY);
    assert_non_null(strstr(e.msg, "/503\nno s6"));
}

static void own_texts(void **state BASE_UNUSED)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"{\"error\":\"no\",\"detail\":null}", "no"},
        {"{\"detail\":\"Not Found\"}", "Not Found"},
        {"{\"detail\":[1]}", "{\"detail\":[1]}"},
        {" plain\n", "plain"},
        {"ok \xff bad", "ok "},
        {"{\"error\":\"\"}", "{\"error\":\"\"}"},
        {"", "long"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e;
        err_set(&e, ERR_NOT_FOUND, "long");
        assert_int_equal(agent_text_own(&e, slice_of(rows[i].body)), ERR_NOT_FOUND);
        assert_string_equal(e.msg, rows[i].want);
    }
}

static void json_faults(void **state BASE_UNUSED)
{
    struct err e;
    assert_null(agent_json(SLICE_LIT("<html>"), &e));
    assert_int_equal(e.code, ERR_SYNTAX);
    assert_string_equal(e.msg, "Expecting value: line 1 column 1 (char 0)");
    assert_null(agent_json(SLICE_LIT(""), &e));
    assert_string_equal(e.msg, "Expecting value: line 1 column 1 (char 0)");
    assert_null(agent_json(SLICE_LIT("{\n \"\xc3\xa4\": x}"), &e));
    assert_string_equal(e.msg, "Expecting value: line 2 column 7 (char 8)");
    json_t *j = agent_json(SLICE_LIT("[1]"), &e);
    assert_true(json_is_array(j));
    json_decref(j);
}

/* --- history --- */

static void add(struct log_history *h, const char *text)
{
    log_history_add(h, slice_of(text));
}

static void history_lines(void **state BASE_UNUSED)
{
    struct log_history h;
    log_history_init(&h);
    assert_int_equal(log_history_last(&h).len, 0);
    add(&h, "a\nb");
    assert_true(slice_eqs(log_history_last(&h), "a\nb"));
    add(&h, "c\n");
    assert_true(slice_eqs(log_history_last(&h), "a\nbc\n"));
    for (int i = 0; i < 98; i++)
        add(&h, "x\n");
    assert_true(slice_starts(log_history_last(&h), "a\nbc\nx"));
    add(&h, "last, unfinished");
    assert_true(slice_starts(log_history_last(&h), "bc\nx"));
    add(&h, "\n");
    assert_true(slice_starts(log_history_last(&h), "bc\nx"));
    add(&h, "y\n");
    struct slice s = log_history_last(&h);
    assert_true(slice_starts(s, "x\nx\n"));
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.p[i] == '\n';
    assert_int_equal(n, 100);
    log_history_done(&h);
}

/* Whatever is added in whatever pieces: the end of the whole, at a line's begin, within both
 * limits. */
static void history_limits(void **state BASE_UNUSED)
{
    static const size_t line_sizes[] = {1, 10, 3000, 5000, 70000, 300000};
    for (size_t k = 0; k < ARRAY_LEN(line_sizes); k++) {
        struct log_history h;
        size_t size = line_sizes[k], total = 0;
        char *line = mem_alloc(size + 2);
        log_history_init(&h);
        for (int i = 0; total < 2000000 && i < 5000; i++) {
            memset(line, 'a' + i % 26, size);
            line[size] = '\n';
            size_t half = size / 3;
            log_history_add(&h, (struct slice){line, half});
            log_history_add(&h, (struct slice){line + half, size + 1 - half});
            total += size + 1;
            struct slice s = log_history_last(&h);
            assert_true(s.len > 0 && s.len <= LOG_HISTORY_BYTES);
            assert_true(s.p[s.len - 1] == '\n');
            if (size < 100000) /* a whole first line */
                assert_int_equal((const char *)memchr(s.p, '\n', s.len) - s.p, size);
            size_t want = (size_t)(i + 1) < 100 ? (size_t)(i + 1) : 100;
            if (want * (size + 1) <= LOG_HISTORY_BYTES)
                assert_int_equal(s.len, want * (size + 1));
        }
        log_history_done(&h);
        mem_free(line);
    }
}

static void history_characters(void **state BASE_UNUSED)
{
    struct log_history h;
    size_t n = LOG_HISTORY_BYTES + 1001;
    char *text = mem_alloc(n + 3);
    for (size_t i = 0; i < n; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    n -= n % 3;
    log_history_init(&h);
    log_history_add(&h, (struct slice){text, n});
    struct slice s = log_history_last(&h);
    assert_true(s.len > LOG_HISTORY_BYTES - 3 && utf8_valid(s.p, s.len));
    log_history_done(&h);
    mem_free(text);
}

static void history_no_memory(void **state BASE_UNUSED)
{
    struct log_history h;
    log_history_init(&h);
    mem_fail_at(1, false);
    add(&h, "lost\nhalf");
    assert_true(mem_fail_hit());
    mem_fail_at(0, false);
    assert_int_equal(log_history_last(&h).len, 0);
    add(&h, " a line\nnext\n");
    assert_true(slice_eqs(log_history_last(&h), "next\n"));
    log_history_done(&h);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets),           cmocka_unit_test(transport_texts),
        cmocka_unit_test(status_texts),      cmocka_unit_test(own_texts),
        cmocka_unit_test(json_faults),       cmocka_unit_test(history_lines),
        cmocka_unit_test(history_limits),    cmocka_unit_test(history_characters),
        cmocka_unit_test(history_no_memory),
    };
    return cmocka_run_group_tests_name("agent_text", tests, NULL, NULL);
}
