/* Each allocation of the client failing in turn: every call that was accepted ends exactly once,
 * with the whole answer or an error, nothing leaks, and the pool works afterwards. */
#include "../unit/net/client_rig.h"

#include "base/mem.h"
#include "base/str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { CALLS = 6, ROUNDS_MAX = 5000 };

#define HEADERS_8 "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nH: 8\r\n"
#define CHUNKED                                                                                    \
    "HTTP/1.1 200 OK\r\n" HEADERS_8 HEADERS_8 HEADERS_8 HEADERS_8                                  \
    "Transfer-Encoding: chunked\r\n\r\n"                                                           \
    "3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n"

static void script(struct peer_conn *c, const char *text)
{
    if (slice_starts(slice_of(text), "PUT"))
        peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi");
    else
        peer_say(c, CHUNKED);
}

static void pause_it(struct result *r)
{
    client_pause(r->call, true);
}

/* Sends calls of every sort: fresh, waiting with a body, fetched, paused. */
static void send_all(struct result *r, bool *accepted)
{
    const struct client_request put = {.method = HTTP_METHOD_PUT,
                                       .target = SLICE_LIT("/"),
                                       .body = SLICE_LIT("hello"),
                                       .first_byte_ms = 150,
                                       .idle_ms = 150};
    const struct client_request get = {
        .method = HTTP_METHOD_GET, .target = SLICE_LIT("/"), .first_byte_ms = 150, .idle_ms = 150};

    for (int i = 0; i < CALLS; i++) {
        const struct client_request *q = i % 2 == 0 ? &get : &put;
        if (i == 0 || i == 4)
            r[i].on_piece = pause_it;
        accepted[i] = (i < 3 ? result_send(&r[i], q) : result_fetch(&r[i], q)) == 0;
    }
}

static void go_on(struct result *r)
{
    for (int i = 0; i < CALLS; i++) {
        if (r[i].call != NULL)
            client_pause(r[i].call, false);
    }
}

static bool all_done(const struct result *r, const bool *accepted)
{
    for (int i = 0; i < CALLS; i++) {
        if (accepted[i] && r[i].done == 0)
            return false;
    }
    return true;
}

static void check(const struct result *r, bool accepted)
{
    assert_int_equal(r->done, accepted);
    if (accepted && r->e.code == 0) {
        assert_int_equal(r->body.len, 9);
        assert_memory_equal(r->body.data, "abcdefghi", 9);
    }
}

static void reserve(struct result *r)
{
    assert_int_equal(buf_reserve(&r->body, 100), 0); /* the test's own memory must not fail */
}

/* True when no allocation failed any more. */
static bool one_round(uint64_t n)
{
    const struct client_options o = {.max_connections = 2, .connect_ms = 150};
    struct client_options mine = o;
    struct result r[CALLS], after;
    bool accepted[CALLS] = {false}, hit;
    struct client_rig rig;
    struct err e = {0};

    client_rig_open(&rig, script, &o);
    client_rig_end_pool(&rig);
    for (int i = 0; i < CALLS; i++) {
        result_init(&r[i], &rig);
        reserve(&r[i]);
    }
    mine.target.unix_path = rig.path;
    mem_fail_at(n, false);
    if (client_pool_new(&rig.pool, rig.loop, &mine, &e) == 0) {
        send_all(r, accepted);
        for (int i = 0; i < 2000 && !all_done(r, accepted); i++) {
            rig_spin(&rig, 1);
            go_on(r);
        }
    }
    hit = mem_fail_hit();
    mem_fail_at(0, false);
    for (int i = 0; i < CALLS; i++) {
        check(&r[i], accepted[i]);
        result_free(&r[i]);
    }
    if (rig.pool != NULL) {
        result_init(&after, &rig);
        assert_int_equal(result_fetch(&after, NULL), 0);
        assert_true(rig_wait(&rig, &after.done, 1, 2000));
        if (after.e.code != 0)
            fail_msg("after allocation %llu failed: %s", (unsigned long long)n, after.e.msg);
        result_free(&after);
    } else {
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    client_rig_close(&rig);
    return !hit;
}

static void test_each_allocation(void **state)
{
    uint64_t n = 1;

    (void)state;
    while (n < ROUNDS_MAX && !one_round(n))
        n++;
    assert_true(n > 20); /* else the allocations are not where they should be */
    assert_true(n < ROUNDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
