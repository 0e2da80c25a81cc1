/* Requests that hold secrets: no memory that is given back still has a copy of one. The peer is a
 * process of its own, so that all memory looked at is the client's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/client.h"
#include "net/loop.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "s3cret-t0ken-of-a-registry"
#define END "--the end--"
enum { LARGE = 3 << 20 };

static char dir[] = "/tmp/gantry-secret-XXXXXX", path[64];
static pid_t peer;

/* ---- memory that is given back ---- */

static unsigned copies; /* blocks with the secret in them */

/* Empties the block, too: it must not be found again in another that has its place. */
static void look(void *p)
{
    size_t n = p != NULL ? malloc_usable_size(p) : 0;
    if (n > 0 && memmem(p, n, SECRET, strlen(SECRET)) != NULL)
        copies++;
    mem_wipe(p, n);
}

void __real_mem_free(void *p);
void *__real_mem_realloc(void *p, size_t size);
void __wrap_mem_free(void *p);
void *__wrap_mem_realloc(void *p, size_t size);

void __wrap_mem_free(void *p)
{
    look(p);
    __real_mem_free(p);
}

void *__wrap_mem_realloc(void *p, size_t size)
{
    /* Always moves. */
    void *moved = __real_mem_realloc(NULL, size);
    size_t n = p != NULL ? malloc_usable_size(p) : 0;
    if (moved != NULL && n > 0)
        memcpy(moved, p, n < size ? n : size);
    if (moved != NULL)
        __wrap_mem_free(p);
    return moved;
}

/* ---- the peer ---- */

_Noreturn static void serve(int listener)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    static char text[LARGE + 4096];
    alarm(50);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        size_t n = 0;
        ssize_t got;
        while (fd >= 0 && (got = read(fd, text + n, sizeof(text) - n)) > 0) {
            n += (size_t)got;
            if (n >= strlen(END) && memcmp(text + n - strlen(END), END, strlen(END)) == 0) {
                if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
                    break;
                n = 0;
            }
        }
        close(fd);
    }
}

static int start_peer(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/s", dir);
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 10) != 0)
        return -1;
    peer = fork();
    if (peer == 0)
        serve(fd);
    close(fd);
    return peer > 0 ? 0 : -1;
}

static int stop_peer(void **state)
{
    (void)state;
    kill(peer, SIGKILL);
    waitpid(peer, NULL, 0);
    unlink(path);
    return rmdir(dir);
}

/* ---- calls ---- */

struct rig {
    struct loop *loop;
    struct client_pool *pool;
    int n, done, failed;
};

static void told(void *ctx, const struct err *e, int status, const struct client_response *r,
                 struct slice body)
{
    struct rig *g = ctx;
    (void)r;
    (void)body;
    g->failed += e->code != 0 || status != 200;
    if (++g->done == g->n)
        loop_stop(g->loop);
}

static void late(void *ctx)
{
    loop_stop(((struct rig *)ctx)->loop);
}

static void gone(void *ctx)
{
    (void)ctx;
}

/* Sends n calls at once over one connection; how many copies were left by them. */
static unsigned copies_of(int n, size_t size, bool secret, bool cancelled)
{
    struct rig g = {.n = n};
    struct client_options o = {.target = {.unix_path = path}, .host = "peer", .max_connections = 1};
    struct http_header h = {SLICE_LIT("x-registry-auth"), SLICE_LIT("abc" SECRET "def")};
    struct loop_timer limit;
    struct err e = {0};
    char *body = calloc(1, size + 1);
    for (size_t i = 0; i + 64 < size; i += 64)
        memcpy(body + i, SECRET, strlen(SECRET));
    memcpy(body + size - strlen(END), END, strlen(END));
    struct client_request q = {.method = HTTP_METHOD_POST,
                               .target = SLICE_LIT("/"),
                               .headers = &h,
                               .n_headers = 1,
                               .body = {body, size},
                               .secret = secret};
    copies = 0;
    assert_int_equal(loop_new(&g.loop, &clock_system, &e), 0);
    assert_int_equal(client_pool_new(&g.pool, g.loop, &o, &e), 0);
    assert_int_equal(loop_timer_init(g.loop, &limit, late, &g), 0);
    loop_timer_start(&limit, 10000, 0);
    for (int i = 0; i < n; i++) {
        struct client_call *c;
        assert_int_equal(client_fetch(g.pool, &q, told, &g, &c, &e), 0);
        if (cancelled)
            client_cancel(c);
    }
    if (!cancelled) {
        loop_run(g.loop);
        assert_int_equal(g.done, n);
        assert_int_equal(g.failed, 0);
        /* One that is none goes the same way, in the memory of the others. */
        q.body = SLICE_LIT(END);
        q.n_headers = 0;
        q.secret = false;
        g.done = 0;
        g.n = 1;
        assert_int_equal(client_fetch(g.pool, &q, told, &g, NULL, &e), 0);
        loop_run(g.loop);
        assert_int_equal(g.done, 1);
    }
    client_pool_free(g.pool);
    loop_timer_close(&limit, gone);
    loop_run(g.loop);
    loop_free(g.loop);
    mem_wipe(body, size);
    free(body);
    return copies;
}

static void no_copies_stay(void **state)
{
    (void)state;
    if (getenv("GANTRY_UNDER_VALGRIND") != NULL)
        skip(); /* it minds that unused memory is looked at */
    static const size_t sizes[] = {200, 20000, LARGE};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(copies_of(1, sizes[i], true, false), 0);
        assert_int_equal(copies_of(4, sizes[i], true, false), 0); /* three wait for their turn */
        assert_int_equal(copies_of(3, sizes[i], true, true), 0);
        /* Else there would be some, and this test would see them. */
        assert_true(copies_of(1, sizes[i], false, false) > 0);
        assert_true(copies_of(4, sizes[i], false, false) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_copies_stay)};
    return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
