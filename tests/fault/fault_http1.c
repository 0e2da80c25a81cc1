/* The HTTP/1.1 server with each allocation failing in turn, once and from then on: it never
 * crashes, leaks or gets stuck, every exchange ends, and it serves again when memory is back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http1_rig.h"

#define HOST "Host: a\r\n"
#define HELLO "GET /hello HTTP/1.1\r\n" HOST "\r\n"

static struct http1_rig rig;

struct script {
    const char *what;
    const char *bytes;
    size_t len;
    size_t pieces; /* sent in so many pieces */
};
#define S(text) (text), sizeof(text) - 1

#define H8 "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: 6\r\ng: 7\r\nh: 8\r\n"
#define X64 "0123456789012345678901234567890123456789012345678901234567890123"
#define X512 X64 X64 X64 X64 X64 X64 X64 X64

static const struct script scripts[] = {
    {"pipelined", S(HELLO HELLO HELLO), 1},
    {"pieces", S(HELLO HELLO), 9},
    {"many headers", S("GET /hello HTTP/1.1\r\n" HOST H8 H8 H8 H8 "\r\n" HELLO), 3},
    {"long head", S("GET /hello HTTP/1.1\r\n" HOST "x: " X512 X512 X512 "\r\n\r\n" HELLO), 4},
    {"collected", S("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello" HELLO), 5},
    {"chunked with trailers",
     S("POST /sink HTTP/1.1\r\n" HOST
       "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n" HELLO),
     6},
    {"expect",
     S("POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"), 2},
    {"streamed", S("GET /stream HTTP/1.1\r\n" HOST "\r\n" HELLO), 1},
    {"big", S("GET /big HTTP/1.1\r\n" HOST "\r\n"), 1},
    {"upgrade", S("GET /upgrade HTTP/1.1\r\n" HOST "\r\nearly"), 1},
    {"paused", S("POST /pause HTTP/1.1\r\n" HOST "Content-Length: 64\r\n\r\n" X64 HELLO), 1},
    {"held, then gone", S("GET /hold HTTP/1.1\r\n" HOST "\r\n" HELLO HELLO), 2},
    {"no answer", S("GET /none HTTP/1.1\r\n" HOST "\r\n"), 1},
    {"refused", S("GET /hello HTTP/1.1\r\n" HOST HOST "\r\n"), 1},
    {"unfinished", S("POST /sink HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\nhel"), 2},
};

static void run_script(const struct script *s)
{
    int fd = rig_connect(&rig.r);
    size_t step = (s->len + s->pieces - 1) / s->pieces;

    for (size_t at = 0; at < s->len; at += step) {
        rig_send(&rig.r, fd, s->bytes + at, step < s->len - at ? step : s->len - at);
        loop_run_once(rig.r.loop, false);
        loop_run_once(rig.r.loop, false);
    }
    http1_listen_to(&rig, fd, 12);
    close(fd);
}

/* False when no allocation was left to fail. */
static bool fail_one(const struct script *s, uint64_t n, bool sticky)
{
    bool hit;

    http1_rig_open(&rig, NULL);
    buf_reserve(&rig.in, 8 << 20);
    mem_fail_at(n, sticky);
    run_script(s);
    hit = mem_fail_hit();
    mem_fail_at(0, false);
    rig_run(&rig.r, 2);
    buf_clear(&rig.in);
    TALK(&rig, HELLO);
    if (rig.in.data == NULL || strstr(rig.in.data, "\r\n\r\nhello") == NULL)
        fail_msg("%s: not served after failure %d", s->what, (int)n);
    http1_rig_close(&rig);
    assert_null(rig.seen.held); /* its `closed` came */
    return hit;
}

static void test_scripts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            for (uint64_t n = 1; fail_one(&scripts[i], n, sticky == 1); n++) {
                if (n > 500)
                    fail_msg("%s: allocations without end", scripts[i].what);
            }
        }
    }
}

static void handler(void *ctx, struct exchange *x)
{
    (void)ctx;
    (void)x;
}

static void stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static void test_making_a_server(void **state)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    char path[64];
    const struct server_options so = {.server_name = "x"};
    struct listener_options lo = {.unix_path = path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = handler};
    bool hit = true;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/gantry-fault-%ld.sock", (long)getpid());
    for (uint64_t n = 1; hit && n < 200; n++) {
        struct loop *l = NULL;
        struct server *s = NULL;
        struct err e = {0};
        bool done = false;
        assert_int_equal(loop_new(&l, &clock_system, &e), 0);
        mem_fail_at(n, false);
        int rc = server_new(&s, l, &so, &e);
        if (rc == 0)
            rc = server_listen(s, &lo, NULL, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (s != NULL) {
            server_stop(s, stopped, &done);
            while (!done)
                loop_run_once(l, false);
            server_free(s);
        }
        while (loop_run_once(l, false))
            ;
        loop_free(l);
        assert_int_equal(access(path, F_OK), -1);
    }
    assert_false(hit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_making_a_server),
                                       cmocka_unit_test(test_scripts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
