#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_skim.h"
#include "driver/docker/docker_stream.h"
#include "driver/docker/docker_text.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *parsed(const char *text)
{
    json_t *j = json_parse(slice_of(text), NULL, NULL);
    assert_non_null(j);
    return j;
}

static void names(void **state BASE_UNUSED)
{
    static const char *const good[] = {"a", "tal_run", "0a1b2c", "x.y-z_1", "A"};
    static const char *const bad[] = {"",   ".",   "..", "a b",  "a/b", "-a",       "_a",
                                      ".a", "a?b", "a#", "a%2f", "a\n", "\xc3\xa4", "/a"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(docker_name_valid(slice_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(docker_name_valid(slice_of(bad[i])));
    char overlong[DOCKER_NAME_MAX + 2];
    memset(overlong, 'a', sizeof(overlong));
    assert_true(docker_name_valid((struct slice){overlong, DOCKER_NAME_MAX}));
    assert_false(docker_name_valid((struct slice){overlong, DOCKER_NAME_MAX + 1}));
    assert_false(docker_name_valid((struct slice){"a\0b", 3}));
}

static void versions(void **state BASE_UNUSED)
{
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"{\"ApiVersion\":\"1.41\"}", "1.41"},
        {"{\"ApiVersion\":\"1.24\"}", "1.24"},
        {"{\"ApiVersion\":\"2.0\"}", "2.0"},
        {"{\"ApiVersion\":\"1.23\"}", NULL},
        {"{\"ApiVersion\":\"1\"}", NULL},
        {"{\"ApiVersion\":\"1.41/..\"}", NULL},
        {"{\"ApiVersion\":141}", NULL},
        {"{}", NULL},
        {"[]", NULL},
        {"{\"ApiVersion\":\"1.4100000000000000000000\"}", NULL},
        {"{\"ApiVersion\":\"1.\"}", NULL},
        {"{\"ApiVersion\":\"\"}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[DOCKER_VERSION_SIZE] = "";
        json_t *j = parsed(rows[i].json);
        assert_int_equal(docker_version_read(j, out), rows[i].want != NULL);
        if (rows[i].want != NULL)
            assert_string_equal(out, rows[i].want);
        json_decref(j);
    }
}

static void status_texts(void **state BASE_UNUSED)
{
    struct err e;
    static const char paused[] =
        "{\"message\":\"cannot start a paused container, try unpause instead\"}\n";
    assert_int_equal(docker_text_status(&e, 409, SLICE_LIT("Conflict"), "1.41",
                                        "/containers/abc/start", SLICE_LIT(paused)),
                     ERR_RUNTIME);
    assert_string_equal(
        e.msg, "409 Client Error for http+docker://localhost/v1.41/containers/abc/start: Conflict "
               "(\"cannot start a paused container, try unpause instead\")");
    docker_text_status(
        &e, 501, SLICE_LIT("Not Implemented"), "1.41", "/containers/abc/logs?tail=100",
        SLICE_LIT("{\"message\":\"configured logging driver does not support reading\"}"));
    assert_string_equal(
        e.msg, "501 Server Error for http+docker://localhost/v1.41/containers/abc/logs?tail=100: "
               "Not Implemented (\"configured logging driver does not support reading\")");
    assert_int_equal(
        docker_text_status(&e, 404, (struct slice){NULL, 0}, "", "/version", SLICE_LIT("")),
        ERR_NOT_FOUND);
    assert_string_equal(e.msg, "404 Client Error for http+docker://localhost/version: Not Found");
    docker_text_status(&e, 500, SLICE_LIT("X"), "1.41", "/a", SLICE_LIT(" no json here \n"));
    assert_string_equal(
        e.msg, "500 Server Error for http+docker://localhost/v1.41/a: X (\"no json here\")");
    /* A long explanation is cut, never in the middle of a character. */
    char *text = mem_zalloc(2000);
    for (int i = 0; i < 600; i++)
        memcpy(text + 2 * i, "\xc3\xa4", 2);
    docker_text_status(&e, 500, SLICE_LIT("X"), "1.41", "/aa", slice_of(text));
    assert_true(utf8_valid(e.msg, strlen(e.msg)));
    mem_free(text);
}

static void transport_texts(void **state BASE_UNUSED)
{
    struct err in, out;
    err_sys(&in, ECONNREFUSED, "x");
    assert_int_equal(docker_text_transport(&out, &in, 60000), ERR_UNREACHABLE);
    assert_string_equal(
        out.msg, "('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))");
    err_sys(&in, ENOENT, "x");
    docker_text_transport(&out, &in, 60000);
    assert_string_equal(
        out.msg, "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))");
    err_set(&in, ERR_GONE, "gone");
    assert_int_equal(docker_text_transport(&out, &in, 60000), ERR_UNREACHABLE);
    assert_string_equal(out.msg, "('Connection aborted.', RemoteDisconnected('Remote end closed "
                                 "connection without response'))");
    err_set(&in, ERR_TIMEOUT, "x");
    docker_text_transport(&out, &in, 60000);
    assert_string_equal(
        out.msg,
        "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read timeout=60)");
    assert_false(docker_transport_lost(&in));
    err_set(&in, ERR_LIMIT, "over");
    assert_int_equal(docker_text_transport(&out, &in, 60000), ERR_RUNTIME);
    err_set(&in, ERR_CANCELLED, "x");
    assert_int_equal(docker_text_transport(&out, &in, 60000), ERR_CANCELLED);
}

static void main_name_and_tag(void **state BASE_UNUSED)
{
    json_t *j = parsed("[\"/web/db\",\"/db\",\"/other\"]");
    assert_string_equal(docker_main_name(j), "db");
    json_decref(j);
    j = parsed("[\"/web/db\"]");
    assert_string_equal(docker_main_name(j), "web/db");
    json_decref(j);
    assert_string_equal(docker_main_name(NULL), "");
    j = parsed("[5,null]");
    assert_string_equal(docker_main_name(j), "");
    json_decref(j);
    j = parsed("[\"tal_img:zz\",\"<none>:<none>\",\"aaa_tal_img:9\",7]");
    assert_string_equal(docker_first_tag(j), "aaa_tal_img:9");
    json_decref(j);
    j = parsed("[\"<none>:<none>\"]");
    assert_string_equal(docker_first_tag(j), "");
    json_decref(j);
    assert_string_equal(docker_first_tag(NULL), "");
    char out[DOCKER_CREATED_SIZE];
    docker_created_text(out, 1795234559);
    assert_string_equal(out, "2026-11-21T04:15:59.000000000Z");
    docker_created_text(out, INT64_MAX);
    assert_string_equal(out, "1970-01-01T00:00:00.000000000Z");
}

static void utf8_faults(void **state BASE_UNUSED)
{
    struct err e;
    assert_int_equal(
        docker_text_utf8(SLICE_LIT("2026-11-21T01:57:02.748191780Z ok \xff\xfe bad\n"), &e),
        ERR_RUNTIME);
    assert_string_equal(e.msg,
                        "'utf-8' codec can't decode byte 0xff in position 34: invalid start byte");
    docker_text_utf8(SLICE_LIT("a\xc3("), &e);
    assert_string_equal(
        e.msg, "'utf-8' codec can't decode byte 0xc3 in position 1: invalid continuation byte");
    docker_text_utf8(SLICE_LIT("ab\xe2\x82"), &e);
    assert_string_equal(
        e.msg, "'utf-8' codec can't decode byte 0xe2 in position 2: unexpected end of data");
    assert_int_equal(docker_text_utf8(SLICE_LIT("\xc3\xa4"), &e), 0);
    assert_int_equal(docker_text_utf8((struct slice){NULL, 0}, &e), 0);
}

static void last_lines(void **state BASE_UNUSED)
{
    struct slice s = docker_last_lines(SLICE_LIT("one\ntwo\nthree\n"), 10);
    assert_true(slice_eqs(s, "two\nthree\n"));
    s = docker_last_lines(SLICE_LIT("one\ntwo\nthree\n"), 9);
    assert_true(slice_eqs(s, "three\n"));
    s = docker_last_lines(SLICE_LIT("one\ntwo\nthree\n"), 100);
    assert_true(slice_eqs(s, "one\ntwo\nthree\n"));
    s = docker_last_lines(SLICE_LIT("abcdefgh"), 3);
    assert_true(slice_eqs(s, "fgh"));
}

/* --- the log stream --- */

struct sink {
    char text[256];
    size_t len;
    char kinds[64];
};

static void sink_add(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct sink *s = ctx;
    assert_true(n > 0 && s->len + n < sizeof(s->text));
    memcpy(s->text + s->len, p, n);
    s->len += n;
    size_t k = strlen(s->kinds);
    if (k == 0 || s->kinds[k - 1] != (char)('0' + kind))
        s->kinds[k] = (char)('0' + kind);
}

static const char frames[] = "\1\0\0\0\0\0\0\6out 1\n"
                             "\2\0\0\0\0\0\0\0"
                             "\2\0\0\0\0\0\0\6err 1\n"
                             "\1\0\0\0\0\0\0\3end";

static void stream_any_cut(void **state BASE_UNUSED)
{
    size_t n = sizeof(frames) - 1;
    for (size_t step = 1; step <= n; step++) {
        struct docker_stream s;
        struct sink out = {0};
        docker_stream_init(&s, false);
        for (size_t i = 0; i < n; i += step)
            assert_int_equal(
                docker_stream_feed(&s, frames + i, i + step < n ? step : n - i, sink_add, &out), 0);
        assert_int_equal(docker_stream_end(&s), 0);
        assert_string_equal(out.text, "out 1\nerr 1\nend");
        assert_string_equal(out.kinds, "121");
    }
}

static void stream_damaged(void **state BASE_UNUSED)
{
    struct docker_stream s;
    struct sink out = {0};
    for (size_t n = 1; n < 8 + 6; n++) {
        docker_stream_init(&s, false);
        assert_int_equal(docker_stream_feed(&s, frames, n, sink_add, &out), 0);
        assert_int_equal(docker_stream_end(&s), ERR_GONE);
        out.len = 0;
    }
    docker_stream_init(&s, false);
    assert_int_equal(docker_stream_feed(&s, "hello, no head", 14, sink_add, &out), ERR_PROTOCOL);
    assert_int_equal(docker_stream_feed(&s, frames, 14, sink_add, &out), ERR_PROTOCOL);
    assert_int_equal(docker_stream_end(&s), ERR_PROTOCOL);
    assert_int_equal(out.len, 0);
    docker_stream_init(&s, true);
    assert_int_equal(docker_stream_feed(&s, "tty\r\n", 5, sink_add, &out), 0);
    assert_int_equal(out.len, 5);
    assert_int_equal(docker_stream_end(&s), 0);
}

/* --- the list, reduced --- */

static void skim_lists(void **state BASE_UNUSED)
{
    static const struct {
        const char *in, *want; /* NULL: ERR_SYNTAX */
    } rows[] = {
        {"[]", "[]"},
        {" [ ] \n", "[]"},
        {"[{}]", "[{}]"},
        {"[{\"Id\":\"a\",\"X\":1,\"State\":\"b\"},{\"Y\":{},\"Created\":12}]\n",
         "[{\"Id\":\"a\",\"State\":\"b\"},{\"Created\":12}]"},
        {"[{\"Labels\":{\"Id\":\"}\\\"]\"},\"Names\":[\"/a\",\"/"
         "b\"],\"M\":[[{}],[]],\"ImageID\":null}]",
         "[{\"Names\":[\"/a\",\"/b\"],\"ImageID\":null}]"},
        {"[ { \"Id\" : \"a\" , \"X\" : -1.5e3 } ]", "[{\"Id\": \"a\"}]"},
        {"", NULL},
        {"{}", NULL},
        {"[1]", NULL},
        {"[{}", NULL},
        {"[{},]", NULL},
        {"[{\"Id\"}]", NULL},
        {"[{\"Id\":}]", NULL},
        {"[{\"Id\":\"a}]", NULL},
        {"[{\"Id\":\"a\\", NULL},
        {"[{\"Id\":[1}]", NULL},
        {"[{\"Id\":1}] x", NULL},
        {"[{\"Id\":1,}]", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = BUF_INIT(1000);
        int rc = docker_skim(&out, slice_of(rows[i].in));
        assert_int_equal(rc, rows[i].want != NULL ? 0 : ERR_SYNTAX);
        if (rows[i].want != NULL)
            assert_string_equal(out.data, rows[i].want);
        buf_done(&out);
    }
    struct buf small = BUF_INIT(8);
    assert_int_equal(docker_skim(&small, SLICE_LIT("[{\"Id\":\"abcdef\"}]")), ERR_LIMIT);
    buf_done(&small);
}

static void images_faults(void **state BASE_UNUSED)
{
    json_t *list = parsed("[{\"Id\":\"sha256:1\",\"RepoTags\":[\"b:1\",\"a:1\"]},{\"Id\":\"sha256:"
                          "2\",\"RepoTags\":null},{},5]");
    bool failed = true;
    for (uint64_t n = 1; failed && n < 50; n++) {
        mem_fail_at(n, false);
        struct docker_images *m = docker_images_read(list);
        failed = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(m == NULL, failed);
        if (m == NULL)
            continue;
        assert_string_equal(docker_images_tag(m, "sha256:1"), "a:1");
        assert_string_equal(docker_images_tag(m, "sha256:2"), "");
        assert_null(docker_images_tag(m, "sha256:3"));
        assert_int_equal(docker_images_add(m, "sha256:1", "z"), 0);
        assert_string_equal(docker_images_tag(docker_images_ref(m), "sha256:1"), "a:1");
        docker_images_unref(m);
        docker_images_unref(m);
    }
    assert_false(failed);
    json_decref(list);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(versions),
        cmocka_unit_test(status_texts),
        cmocka_unit_test(transport_texts),
        cmocka_unit_test(main_name_and_tag),
        cmocka_unit_test(utf8_faults),
        cmocka_unit_test(last_lines),
        cmocka_unit_test(stream_any_cut),
        cmocka_unit_test(stream_damaged),
        cmocka_unit_test(images_faults),
        cmocka_unit_test(skim_lists),
    };
    return cmocka_run_group_tests_name("docker_text", tests, NULL, NULL);
}
