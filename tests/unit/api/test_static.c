/* Files as answers, on an exchange in memory. */
#include "../base/unit.h"
#include "fake_exchange.h"

#include "api/rest/static.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIG 700000u
static char root[] = "/tmp/gantry-static-XXXXXX";
static struct api *api;
static const char *wanted; /* what the handler sends */

static void path_of(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", root, name);
}

static void put(const char *name, size_t len)
{
    char path[128];
    path_of(path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < len; i++)
        fputc((int)('a' + i % 23), f);
    fclose(f);
}

static void handler(struct api_call *c)
{
    const struct static_file f = {wanted, "text/css"};
    const struct http_header h[] = {{SLICE_LIT("x-own"), SLICE_LIT("1")}};
    if (static_send(c, root, &f, h, 1) != 0)
        api_reply_error(c, 404, "none");
}

static const struct api_route routes[] = {
    ROUTE(GET, "/f", RIGHT_READ, "api", .also_head = true, .summary = "s", .operation_id = "f",
          .tag = "t", .handler = handler),
};

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    put("small", 10);
    put("small.gz", 5);
    put("big", BIG);
    put("empty", 0);
    char path[128];
    path_of(path, "folder");
    assert_int_equal(mkdir(path, 0700), 0);
    struct api_options o = {.routes = routes, .n_routes = 1};
    assert_int_equal(api_new(&api, &o, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"small", "small.gz", "big", "empty", "shrinks"};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        path_of(path, names[i]);
        assert_true(unlink(path) == 0 || errno == ENOENT);
    }
    path_of(path, "folder");
    rmdir(path);
    assert_int_equal(rmdir(root), 0);
    api_free(api);
    return 0;
}

static void ask(struct fake *f, const char *method, const char *file, const char *headers)
{
    wanted = file;
    fake_request(f, method, "/f", headers);
    fake_run(f, api_handle, api, SLICE_LIT(""));
}

static void files_and_their_headers(void **state)
{
    (void)state;
    struct fake f;
    ask(&f, "GET", "small", NULL);
    assert_int_equal(f.status, 200);
    assert_true(f.finished);
    assert_string_equal(f.body.data, "abcdefghij");
    assert_string_equal(f.content_type, "text/css");
    assert_non_null(strstr(f.head, "x-own: 1\n"));
    assert_non_null(strstr(f.head, "vary: accept-encoding\n"));
    assert_null(strstr(f.head, "content-encoding"));
    fake_done(&f);
    ask(&f, "GET", "small", "accept-encoding: br, gzip");
    assert_string_equal(f.body.data, "abcde");
    assert_non_null(strstr(f.head, "content-encoding: gzip\n"));
    fake_done(&f);
    ask(&f, "GET", "empty", "accept-encoding: gzip"); /* has no .gz */
    assert_int_equal(f.status, 200);
    assert_true(f.finished && f.body.len == 0);
    fake_done(&f);
    ask(&f, "HEAD", "big", NULL);
    assert_int_equal(f.status, 200);
    assert_true(f.finished && f.writes == 0);
    fake_done(&f);
    static const char *const none[] = {"nope", "folder"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        ask(&f, "GET", none[i], NULL);
        assert_int_equal(f.status, 404);
        fake_done(&f);
    }
}

static void tags_spare_the_body(void **state)
{
    (void)state;
    struct fake f;
    char line[160], etag[64];
    ask(&f, "GET", "small", NULL);
    assert_int_equal(sscanf(strstr(f.head, "etag: "), "etag: %63s", etag), 1);
    fake_done(&f);
    static const struct {
        const char *before, *after, *more;
        int status;
    } cases[] = {{"", "", "", 304},
                 {"\"x\", ", "", "", 304},
                 {"W/", ", \"y\"", "", 304},
                 {"", "", "\naccept-encoding: gzip", 200}, /* that is another representation */
                 {"x", "", "", 200}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(line, sizeof(line), "if-none-match: %s%s%s%s", cases[i].before, etag,
                 cases[i].after, cases[i].more);
        ask(&f, "GET", "small", line);
        assert_int_equal(f.status, cases[i].status);
        if (f.status == 304)
            assert_non_null(strstr(f.head, etag));
        fake_done(&f);
    }
    ask(&f, "GET", "small", "if-none-match: *");
    assert_int_equal(f.status, 304);
    fake_done(&f);
}

/* No more waits than the client can be expected to read soon, and it all arrives. */
static void as_fast_as_it_is_read(void **state)
{
    (void)state;
    struct fake f;
    static const size_t limits[] = {0, 4096};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        wanted = "big";
        fake_request(&f, "GET", "/f", NULL);
        f.max_queue = limits[i];
        fake_run(&f, api_handle, api, SLICE_LIT(""));
        assert_false(f.finished);
        int turns = 0;
        for (; !f.finished && turns < 1000; turns++)
            fake_drain(&f);
        assert_true(f.finished && turns > 3);
        assert_true(f.most_queued <= 256 * 1024);
        assert_int_equal(f.body.len, BIG);
        for (size_t k = 0; k < BIG; k++)
            assert_int_equal(f.body.data[k], 'a' + k % 23);
        fake_done(&f);
    }
}

static void a_client_that_leaves(void **state)
{
    (void)state;
    struct fake f;
    ask(&f, "GET", "big", NULL);
    assert_false(f.finished);
    fake_done(&f); /* what is left is freed: valgrind and the sanitizers see it */
}

static void what_cannot_be_read_is_not_complete(void **state)
{
    (void)state;
    struct fake f;
    put("shrinks", BIG);
    ask(&f, "GET", "shrinks", NULL);
    char path[128];
    path_of(path, "shrinks");
    assert_int_equal(truncate(path, 1000), 0);
    fake_drain(&f);
    assert_true(f.aborted && !f.finished);
    fake_done(&f);
    wanted = "big";
    fake_request(&f, "GET", "/f", NULL);
    f.write_error = ERR_NO_MEMORY;
    fake_run(&f, api_handle, api, SLICE_LIT(""));
    assert_true(f.aborted && !f.finished);
    fake_done(&f);
}

static void no_memory(void **state)
{
    (void)state;
    struct fake f;
    mem_fail_at(1, false);
    ask(&f, "GET", "small", NULL);
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    assert_true(hit);
    assert_int_equal(f.status, 503);
    fake_done(&f);
}

static void encodings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool gzip;
    } cases[] = {{"gzip", true},      {"GZIP;q=0.5", true},     {"br;q=1.0, gzip;q=0.001", true},
                 {"gzip;q=0", false}, {"gzip; q=0.000", false}, {"deflate", false},
                 {"", false},         {"xgzip", false},         {"identity, , gzip", true},
                 {"gzip;q=1", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(static_takes_gzip(slice_of(cases[i].text)), cases[i].gzip);
    assert_false(static_takes_gzip((struct slice){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_their_headers),
        cmocka_unit_test(tags_spare_the_body),
        cmocka_unit_test(as_fast_as_it_is_read),
        cmocka_unit_test(a_client_that_leaves),
        cmocka_unit_test(what_cannot_be_read_is_not_complete),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(encodings),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
