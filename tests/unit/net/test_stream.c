/* stream.c and its queue: order, limits, back-pressure, connecting, the end. */
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/patience.h"
#include "base/buf.h"
#include "base/mem.h"
#include "net/stream_priv.h"

static struct loop *loop;

struct seen {
    struct stream *s;
    struct buf in;
    unsigned ready, eof, drained, failed, closed;
    int fail_code, fail_sys;
    bool gone_after_closed;
    bool pause_in_data, close_in_data;
};

static void on_ready(void *ctx)
{
    ((struct seen *)ctx)->ready++;
}
static void on_drained(void *ctx)
{
    ((struct seen *)ctx)->drained++;
}
static void on_eof(void *ctx)
{
    ((struct seen *)ctx)->eof++;
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct seen *v = ctx;

    buf_add(&v->in, p, n);
    if (v->pause_in_data)
        stream_pause(v->s);
    if (v->close_in_data)
        stream_close(v->s);
}

static void on_failed(void *ctx, const struct err *e)
{
    struct seen *v = ctx;

    v->failed++;
    v->fail_code = e->code;
    v->fail_sys = e->sys;
    stream_close(v->s);
}

static void on_closed(void *ctx)
{
    ((struct seen *)ctx)->closed++;
}
static void on_gone(void *ctx)
{
    struct seen *v = ctx;

    v->gone_after_closed = v->closed == 1;
}

static const struct stream_user user = {.ready = on_ready,
                                        .data = on_data,
                                        .eof = on_eof,
                                        .failed = on_failed,
                                        .drained = on_drained,
                                        .closed = on_closed};

static struct seen v;
static int peer;

static void run_ms(unsigned ms)
{
    struct patience end = patience_of(ms);

    for (int turns = 0; patience_left(&end) || turns < 10; turns++) {
        loop_run_once(loop, false);
        poll(NULL, 0, 1);
    }
}

static int setup(void **state)
{
    struct err e = {0};
    int fd[2];

    (void)state;
    memset(&v, 0, sizeof(v));
    buf_init(&v.in, 64 << 20);
    assert_int_equal(loop_new(&loop, &clock_system, &e), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
    peer = fd[1];
    assert_int_equal(stream_accept(&v.s, loop, fd[0], NULL, NULL, &user, &v, &e), 0);
    stream_on_gone(v.s, on_gone, &v);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (v.closed == 0)
        stream_close(v.s);
    for (int i = 0; i < 100 && v.closed == 0; i++)
        loop_run_once(loop, false);
    assert_int_equal(v.closed, 1);
    assert_true(v.gone_after_closed);
    while (loop_run_once(loop, false))
        ;
    loop_free(loop);
    buf_done(&v.in);
    if (peer >= 0)
        close(peer);
    return 0;
}

/* What the peer has received. */
static size_t receive(char *to, size_t max)
{
    size_t n = 0;

    for (int i = 0; i < 200 && n < max; i++) {
        ssize_t k = recv(peer, to + n, max - n, MSG_DONTWAIT);
        if (k > 0)
            n += (size_t)k;
        else
            run_ms(1);
    }
    return n;
}

static void test_order_of_mixed_writes(void **state)
{
    struct slice parts[3] = {SLICE_LIT("two "), SLICE_LIT(""), SLICE_LIT("three ")};
    struct chunk *c = chunk_new("four ", 5);
    char got[64] = "";
    (void)state;
    stream_cork(v.s);
    assert_int_equal(stream_write(v.s, "one ", 4), 0);
    assert_int_equal(stream_writev(v.s, parts, 3), 0);
    assert_int_equal(stream_write_chunk(v.s, c), 0);
    memcpy(stream_reserve(v.s, 100), "five ", 5);
    stream_commit(v.s, 5);
    assert_int_equal(stream_write_chunk(v.s, c), 0);
    assert_int_equal(stream_queued(v.s), 4 + 10 + 5 + 5 + 5);
    assert_int_equal(recv(peer, got, sizeof(got), MSG_DONTWAIT), -1);
    stream_uncork(v.s);
    assert_int_equal(stream_queued(v.s), 0);
    assert_int_equal(c->refs, 1);
    assert_int_equal(receive(got, 29), 29);
    assert_string_equal(got, "one two three four five four ");
    assert_int_equal(stream_sent(v.s), 29);
    chunk_unref(c);
}

static void test_queue_limit_and_drained(void **state)
{
    static char piece[10000];
    char *all = malloc(1 << 20);
    size_t queued = 0, got;
    int rc = 0;
    (void)state;
    stream_set_limits(v.s, 300000, 50000);
    while (rc == 0) {
        memset(piece, 'a' + (int)(queued / sizeof(piece)) % 26, sizeof(piece));
        rc = stream_write(v.s, piece, sizeof(piece));
        if (rc == 0)
            queued += sizeof(piece);
    }
    assert_int_equal(rc, ERR_LIMIT);
    assert_true(stream_queued(v.s) <= 300000);
    assert_null(stream_reserve(v.s, sizeof(piece)));
    run_ms(10);
    assert_int_equal(v.drained, 0);
    got = receive(all, queued);
    assert_int_equal(got, queued);
    for (size_t i = 0; i < got; i++)
        assert_int_equal(all[i], 'a' + (int)(i / sizeof(piece)) % 26);
    assert_int_equal(v.drained, 1);
    assert_int_equal(stream_queued(v.s), 0);
    free(all);
}

static void test_pause(void **state)
{
    (void)state;
    v.pause_in_data = true;
    assert_int_equal(send(peer, "a", 1, 0), 1);
    run_ms(5);
    assert_int_equal(v.in.len, 1);
    assert_int_equal(send(peer, "b", 1, 0), 1);
    shutdown(peer, SHUT_WR);
    run_ms(20);
    assert_int_equal(v.in.len, 1);
    assert_int_equal(v.eof, 0); /* not before the bytes in front of it */
    v.pause_in_data = false;
    stream_resume(v.s);
    run_ms(5);
    assert_int_equal(v.in.len, 2);
    assert_int_equal(v.eof, 1);
}

static void test_end_while_paused(void **state)
{
    (void)state;
    stream_pause(v.s);
    assert_int_equal(send(peer, "a", 1, 0), 1);
    run_ms(5);
    stream_resume(v.s);
    run_ms(5);
    assert_int_equal(v.in.len, 1);
    v.pause_in_data = true;
    assert_int_equal(send(peer, "b", 1, 0), 1);
    run_ms(5);
    close(peer);
    peer = -1;
    run_ms(5);
    stream_resume(v.s);
    run_ms(5);
    assert_int_equal(v.eof, 1);
}

static void test_close_in_data(void **state)
{
    (void)state;
    v.close_in_data = true;
    assert_int_equal(send(peer, "abc", 3, 0), 3);
    run_ms(5);
    assert_int_equal(v.closed, 1);
    assert_int_equal(v.eof, 0);
}

static void test_shutdown_after_queue(void **state)
{
    char *all = calloc(1, 1 << 20), *got = malloc(1 << 20);
    (void)state;
    assert_int_equal(stream_write(v.s, all, 1 << 20), 0);
    stream_shutdown(v.s);
    assert_int_equal(stream_write(v.s, "x", 1), ERR_GONE);
    assert_int_equal(receive(got, 1 << 20), 1 << 20);
    run_ms(5);
    assert_int_equal(recv(peer, got, 1, 0), 0);
    assert_int_equal(send(peer, "still", 5, 0), 5); /* the other way is open */
    run_ms(5);
    assert_int_equal(v.in.len, 5);
    free(all);
    free(got);
}

static void test_write_to_closed_peer(void **state)
{
    (void)state;
    assert_int_equal(send(peer, "last words", 10, 0), 10);
    close(peer);
    peer = -1;
    (void)stream_write(v.s, "x", 1);
    assert_int_equal(v.failed, 0); /* never from inside */
    run_ms(5);
    assert_int_equal(v.in.len, 10); /* what came before is not lost */
    assert_int_equal(v.failed, 1);
    assert_int_equal(v.fail_code, ERR_GONE);
    assert_int_equal(v.closed, 1);
}

static void test_peer(void **state)
{
    const struct peer *p = stream_peer(v.s);
    char want[64];
    (void)state;
    snprintf(want, sizeof(want), "unix:pid=%ld,uid=%ld", (long)getpid(), (long)getuid());
    assert_string_equal(p->text, want);
    assert_true(p->loopback);
    assert_int_equal(p->uid, getuid());
}

static void test_out_of_memory(void **state)
{
    char *big = calloc(1, 1 << 20);
    (void)state;
    stream_cork(v.s);
    mem_fail_at(1, true);
    assert_int_equal(stream_write(v.s, big, 1 << 20), ERR_NO_MEMORY);
    assert_null(stream_reserve(v.s, 1 << 20));
    mem_fail_at(0, false);
    assert_int_equal(stream_queued(v.s), 0);
    stream_uncork(v.s);
    /* A write that went out in part cannot be taken back: then the stream is dead. */
    mem_fail_at(1, true);
    assert_int_equal(stream_write(v.s, big, 1 << 20), ERR_GONE);
    mem_fail_at(0, false);
    run_ms(5);
    assert_int_equal(v.failed, 1);
    free(big);
}

/* ---- connecting ---- */

static struct seen c;

static int connect_to(const struct stream_target *t, uint64_t ms)
{
    struct err e = {0};

    memset(&c, 0, sizeof(c));
    buf_init(&c.in, 1000);
    int rc = stream_connect(&c.s, loop, t, ms, &user, &c, &e);
    assert_int_equal(c.ready + c.failed, 0);
    return rc;
}

static void settle(unsigned ms)
{
    struct patience end = patience_of(ms);

    while (c.ready + c.failed == 0 && patience_left(&end))
        run_ms(1);
}

static void finish(void)
{
    if (!c.closed)
        stream_close(c.s);
    run_ms(5);
    for (int i = 0; i < 500 && !c.closed; i++)
        run_ms(10);
    assert_int_equal(c.closed, 1);
    buf_done(&c.in);
}

static int listening(const char *path, int backlog)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void test_connect_unix(void **state)
{
    char dir[] = "/tmp/gantry-stream-XXXXXX", deep[400], path[500];
    struct stream_target t = {.unix_path = path};
    int fd, was;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(deep, sizeof(deep), "%s/%0150d", dir, 7);
    assert_int_equal(mkdir(deep, 0700), 0);
    /* Too long for a socket address: by way of the folder. */
    snprintf(path, sizeof(path), "%s/s", deep);
    was = open(".", O_PATH | O_CLOEXEC);
    assert_int_equal(chdir(deep), 0);
    fd = listening("s", 1);
    assert_int_equal(fchdir(was), 0);
    close(was);
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.ready, 1);
    finish();
    close(fd);
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.fail_code, ERR_REFUSED);
    assert_int_equal(c.fail_sys, ECONNREFUSED);
    finish();
    unlink(path);
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.fail_code, ERR_NOT_FOUND);
    assert_int_equal(c.fail_sys, ENOENT);
    finish();
    rmdir(deep);
    rmdir(dir);
}

/* Stands in for the C library's: two addresses, of which the first cannot be reached at all. */
static struct sockaddr_in name_addr[2];
static struct addrinfo name_found[2];

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    (void)node;
    (void)hints;
    for (int i = 0; i < 2; i++) {
        name_addr[i] = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(service, NULL, 10))};
        name_addr[i].sin_addr.s_addr = i == 0 ? INADDR_BROADCAST : htonl(INADDR_LOOPBACK);
        name_found[i] = (struct addrinfo){.ai_family = AF_INET,
                                          .ai_socktype = SOCK_STREAM,
                                          .ai_addrlen = sizeof(name_addr[i]),
                                          .ai_addr = (struct sockaddr *)&name_addr[i],
                                          .ai_next = i == 0 ? &name_found[1] : NULL};
    }
    *ret = name_found;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}

static void test_connect_next_address(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stream_target t = {.host = "two.addresses"};
    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    t.port = ntohs(a.sin_port);
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.ready, 1);
    finish();
    close(fd);
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.fail_sys, ECONNREFUSED); /* the last address tells */
    finish();
}

static void test_connect_full_backlog(void **state)
{
    char path[] = "/tmp/gantry-backlog.sock";
    struct stream_target t = {.unix_path = path};
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/gantry-backlog.sock"};
    int fd = listening(path, 0), hog = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    assert_int_equal(connect(hog, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(connect_to(&t, 100), 0);
    settle(1000);
    assert_int_equal(c.fail_code, ERR_TIMEOUT);
    finish();
    assert_int_equal(connect_to(&t, 1000), 0);
    run_ms(20);
    assert_int_equal(c.ready, 0);
    close(accept(fd, NULL, NULL));
    settle(1000);
    assert_int_equal(c.ready, 1);
    finish();
    close(hog);
    close(fd);
    unlink(path);
}

static void test_connect_tcp(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stream_target t = {.host = "127.0.0.1"};
    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    t.port = ntohs(a.sin_port);
    assert_int_equal(connect_to(&t, 1000), 0);
    assert_int_equal(stream_write(c.s, "early", 5), 0);
    settle(1000);
    assert_int_equal(c.ready, 1);
    int got = accept(fd, NULL, NULL);
    char text[8] = "";
    run_ms(5);
    assert_int_equal(recv(got, text, sizeof(text), MSG_DONTWAIT), 5);
    assert_int_equal(stream_peer(c.s)->kind, PEER_TCP);
    close(got);
    finish();
    t.host = "localhost"; /* ::1 first, perhaps: refused there, then 127.0.0.1 */
    assert_int_equal(connect_to(&t, 5000), 0);
    settle(5000);
    assert_int_equal(c.ready, 1);
    finish();
    close(fd);
    t.host = "127.0.0.1";
    assert_int_equal(connect_to(&t, 1000), 0);
    settle(1000);
    assert_int_equal(c.fail_code, ERR_REFUSED);
    finish();
    t.host = "no-such-name.invalid";
    assert_int_equal(connect_to(&t, 5000), 0);
    stream_close(c.s); /* in the middle of the look-up */
    finish();
    assert_int_equal(c.failed, 0);
}

static void test_connect_out_of_memory(void **state)
{
    struct stream_target t = {.unix_path = "/tmp/gantry-nobody.sock"};
    (void)state;
    for (uint64_t n = 1; n < 50; n++) {
        mem_fail_at(n, false);
        int rc = connect_to(&t, 1000);
        if (rc == 0) {
            settle(1000);
            assert_int_equal(c.failed, 1);
        }
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc == 0)
            finish();
        if (!hit)
            return;
    }
    fail_msg("allocations without end");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_order_of_mixed_writes),
        T(test_queue_limit_and_drained),
        T(test_pause),
        T(test_end_while_paused),
        T(test_close_in_data),
        T(test_shutdown_after_queue),
        T(test_write_to_closed_peer),
        T(test_peer),
        T(test_out_of_memory),
        T(test_connect_unix),
        T(test_connect_next_address),
        T(test_connect_full_backlog),
        T(test_connect_tcp),
        T(test_connect_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
