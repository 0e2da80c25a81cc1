/* Limits, deadlines, draining, and a server that runs out of connections or descriptors. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "http1_rig.h"

#define HOST "Host: a\r\n"
#define HELLO "GET /hello HTTP/1.1\r\n" HOST "\r\n"

static struct http1_rig rig;

static struct http_limits quick(void)
{
    struct http_limits l = http_limits_default;

    l.first_byte_ms = l.head_ms = l.body_ms = l.idle_ms = l.write_ms = 300;
    l.max_body = 1000;
    return l;
}

static void open_quick(void)
{
    struct http_limits l = quick();

    http1_rig_open(&rig, &l);
}

static void expect(const char *needle)
{
    if (rig.in.data == NULL || strstr(rig.in.data, needle) == NULL)
        fail_msg("\"%s\" is missing in:\n%.2000s", needle, rig.in.data);
}

static bool says(const void *p, size_t n)
{
    return http1_talk(&rig, p, n, 1200);
}
#define SEND(fd, text) rig_send(&rig.r, (fd), (text), sizeof(text) - 1)
#define SAYS(text) says((text), sizeof(text) - 1)

static void test_silent_client(void **state)
{
    (void)state;
    open_quick();
    assert_true(SAYS(""));
    assert_int_equal(rig.in.len, 0);
    assert_int_equal(server_stats(rig.r.server)->timeouts, 1);
    http1_rig_close(&rig);
}

static void test_half_a_head(void **state)
{
    (void)state;
    open_quick();
    assert_true(SAYS("GET /hello HTTP/1.1\r\nHost:"));
    expect("HTTP/1.1 408 Request Timeout\r\n");
    expect("connection: close\r\n");
    http1_rig_close(&rig);
}

/* One byte now and then must not buy more time. */
static void test_slow_head(void **state)
{
    int fd;
    bool closed = false;
    (void)state;
    open_quick();
    fd = rig_connect(&rig.r);
    rig_send(&rig.r, fd, "GET /", 5);
    for (int i = 0; i < 30 && !closed; i++) {
        rig_send(&rig.r, fd, "a", 1);
        closed = http1_listen_to(&rig, fd, 50);
    }
    assert_true(closed);
    expect("HTTP/1.1 408");
    close(fd);
    http1_rig_close(&rig);
}

static void test_idle(void **state)
{
    uint64_t before;
    (void)state;
    open_quick();
    before = clock_mono_ms(&clock_system);
    assert_true(SAYS(HELLO));
    expect("hello");
    assert_null(strstr(rig.in.data, "408"));
    assert_true(clock_mono_ms(&clock_system) - before >= 290);
    assert_int_equal(server_stats(rig.r.server)->timeouts, 0);
    http1_rig_close(&rig);
}

static void test_half_a_body(void **state)
{
    (void)state;
    open_quick();
    assert_true(SAYS("POST /sink HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc"));
    expect("HTTP/1.1 408");
    assert_int_equal(rig.seen.end_err, ERR_TIMEOUT);
    assert_int_equal(rig.seen.closed, 1);
    http1_rig_close(&rig);
}

static void test_handler_may_take_its_time(void **state)
{
    int fd;
    (void)state;
    open_quick();
    fd = rig_connect(&rig.r);
    SEND(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_false(http1_listen_to(&rig, fd, 1200));
    assert_non_null(rig.seen.held);
    assert_int_equal(rig.seen.closed, 0);
    close(fd);
    http1_rig_close(&rig);
}

static void test_peer_that_does_not_read(void **state)
{
    struct http_limits l = quick();
    int fd, size = 4096;
    (void)state;
    l.max_queue = 100000;
    http1_rig_open(&rig, &l);
    fd = rig_connect(&rig.r);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    SEND(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 30 && rig.seen.closed == 0; i++)
        rig_run(&rig.r, 100);
    assert_int_equal(rig.seen.closed, 1);
    assert_int_equal(rig.seen.close_err, ERR_GONE);
    close(fd);
    http1_rig_close(&rig);
}

/* Pipelined requests without reading the answers: memory stays bounded, then the time-out comes. */
static void test_flood_of_pipelined_requests(void **state)
{
    char *many;
    size_t n = 0, sent = 0;
    int fd;
    (void)state;
    open_quick();
    many = malloc(1 << 20);
    while (n + sizeof(HELLO) < 1 << 20) {
        memcpy(many + n, HELLO, sizeof(HELLO) - 1);
        n += sizeof(HELLO) - 1;
    }
    fd = rig_connect(&rig.r);
    for (int i = 0; i < 2000; i++) {
        ssize_t k = send(fd, many + sent % n, n - sent % n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k > 0)
            sent += (size_t)k;
        loop_run_once(rig.r.loop, false);
    }
    assert_true(sent < 64u << 20);
    size_t requests = rig.seen.requests;
    rig_run(&rig.r, 100);
    assert_int_equal(requests, rig.seen.requests); /* reading has stopped */
    for (int i = 0; i < 30 && server_stats(rig.r.server)->connections > 0; i++)
        rig_run(&rig.r, 100);
    assert_int_equal(server_stats(rig.r.server)->connections, 0);
    close(fd);
    free(many);
    http1_rig_close(&rig);
}

static void test_body_limits(void **state)
{
    char big[1200];
    (void)state;
    open_quick();
    assert_true(SAYS("POST /sink HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n"));
    expect("HTTP/1.1 413 Content Too Large\r\n");
    assert_int_equal(rig.seen.end_err, ERR_LIMIT);
    assert_int_equal(rig.seen.closed, 1);
    memset(&rig.seen, 0, sizeof(rig.seen));
    int n = snprintf(big, sizeof(big),
                     "POST /sink HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n");
    memset(big + n, 'x', sizeof(big) - (size_t)n);
    assert_true(says(big, (size_t)n + 1001));
    expect("HTTP/1.1 413");
    assert_int_equal(rig.seen.end_err, ERR_LIMIT);
    memset(&rig.seen, 0, sizeof(rig.seen));
    /* A lower limit of the handler's own; this body is short, so the connection lives on. */
    TALK(&rig, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890" HELLO);
    expect("HTTP/1.1 413");
    assert_int_equal(rig.seen.end_err, ERR_LIMIT);
    assert_int_equal(rig.seen.ended, 1);
    expect("\r\n\r\nhello");
    TALK(&rig, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789");
    expect("\r\n\r\n0123456789");
    http1_rig_close(&rig);
}

/* The 400 arrives although the client goes on sending. */
static void test_lingering(void **state)
{
    char more[60000];
    int fd;
    (void)state;
    open_quick();
    memset(more, 'x', sizeof(more));
    fd = rig_connect(&rig.r);
    rig_send(&rig.r, fd, "rubbish\r\n\r\n", 11);
    rig_send(&rig.r, fd, more, sizeof(more));
    rig_run(&rig.r, 20);
    rig_send(&rig.r, fd, more, sizeof(more));
    rig_run(&rig.r, 20);
    assert_true(http1_listen_to(&rig, fd, 100));
    expect("HTTP/1.1 400 Bad Request");
    expect("Invalid HTTP request received.");
    close(fd);
    rig_run(&rig.r, 20);
    assert_int_equal(server_stats(rig.r.server)->connections, 0);
    http1_rig_close(&rig);
}

/* ---- draining ---- */

static void done(void *ctx)
{
    *(bool *)ctx = true;
}

static void test_drain(void **state)
{
    const struct http_response r = {.status = 200, .content_type = "text/plain"};
    bool drained = false;
    int idle, busy;
    (void)state;
    http1_rig_open(&rig, NULL);
    idle = rig_connect(&rig.r);
    rig_send(&rig.r, idle, HELLO, sizeof(HELLO) - 1);
    http1_listen_to(&rig, idle, 30);
    busy = rig_connect(&rig.r);
    SEND(busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    rig_run(&rig.r, 20);
    server_drain(rig.r.server, 5000, done, &drained);
    assert_true(http1_listen_to(&rig, idle, 100));
    assert_false(drained);
    buf_clear(&rig.in);
    exchange_respond(rig.seen.held, &r, SLICE_LIT("at last"));
    assert_true(http1_listen_to(&rig, busy, 100));
    expect("connection: close\r\n");
    expect("at last");
    close(idle);
    close(busy);
    http1_until(&rig, &drained);
    http1_rig_close(&rig);
}

static void test_drain_after_the_head_of_an_answer(void **state)
{
    const struct http_response r = {.status = 200, .content_type = "text/plain"};
    bool drained = false;
    int fd;
    (void)state;
    http1_rig_open(&rig, NULL);
    fd = rig_connect(&rig.r);
    SEND(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    rig_run(&rig.r, 20);
    assert_int_equal(exchange_start(rig.seen.held, &r), 0);
    server_drain(rig.r.server, 5000, done, &drained);
    rig_run(&rig.r, 20);
    assert_int_equal(exchange_write(rig.seen.held, SLICE_LIT("late")), 0);
    assert_int_equal(exchange_finish(rig.seen.held, NULL, 0), 0);
    assert_true(http1_listen_to(&rig, fd, 500));
    expect("4\r\nlate\r\n0\r\n\r\n");
    close(fd);
    http1_until(&rig, &drained);
    assert_int_equal(rig.seen.close_err, 0);
    http1_rig_close(&rig);
}

static void test_drain_cuts(void **state)
{
    bool drained = false;
    int busy, upgraded;
    (void)state;
    http1_rig_open(&rig, NULL);
    busy = rig_connect(&rig.r);
    SEND(busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    upgraded = rig_connect(&rig.r);
    SEND(upgraded, "GET /upgrade HTTP/1.1\r\n" HOST "\r\n");
    rig_run(&rig.r, 20);
    assert_true(rig.seen.upgraded);
    server_drain(rig.r.server, 1500, done, &drained);
    rig_run(&rig.r, 100);
    assert_false(drained);
    http1_until(&rig, &drained);
    assert_int_equal(rig.seen.close_err, ERR_CANCELLED);
    assert_true(rig.seen.stream_closed);
    close(busy);
    close(upgraded);
    http1_rig_close(&rig);
}

static void test_stop_during_drain(void **state)
{
    bool drained = false, stopped = false;
    int busy;
    (void)state;
    http1_rig_open(&rig, NULL);
    busy = rig_connect(&rig.r);
    SEND(busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    rig_run(&rig.r, 20);
    server_drain(rig.r.server, 60000, done, &drained);
    rig_run(&rig.r, 20);
    server_stop(rig.r.server, done, &stopped);
    http1_until(&rig, &stopped);
    assert_true(drained);
    close(busy);
    http1_rig_close(&rig);
}

/* ---- too many ---- */

struct small {
    struct loop *loop;
    struct server *server;
    struct listener *tcp, *local;
    char path[64];
};

static void small_handler(void *ctx, struct exchange *x)
{
    const struct http_response r = {.status = 200, .content_type = "text/plain"};

    (void)ctx;
    exchange_respond(x, &r, slice_of(exchange_peer(x)->text));
}

static void small_open(struct small *m, size_t max_connections)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options so = {.max_connections = max_connections};
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = small_handler};
    struct err e = {0};

    memset(m, 0, sizeof(*m));
    snprintf(m->path, sizeof(m->path), "/tmp/gantry-test-%ld.sock", (long)getpid());
    assert_int_equal(loop_new(&m->loop, &clock_system, &e), 0);
    assert_int_equal(server_new(&m->server, m->loop, &so, &e), 0);
    assert_int_equal(server_listen(m->server, &lo, &m->tcp, &e), 0);
    lo.host = NULL;
    lo.unix_path = m->path;
    lo.unix_mode = 0640;
    lo.unix_gid = (gid_t)-1;
    if (server_listen(m->server, &lo, &m->local, &e) != 0)
        fail_msg("%s", e.msg);
    rig.r = (struct rig){m->loop, m->server, m->tcp, listener_port(m->tcp)};
    buf_init(&rig.in, 1 << 20);
}

static void small_close(struct small *m)
{
    struct stat st;

    rig_close(&rig.r);
    buf_done(&rig.in);
    assert_int_equal(stat(m->path, &st), -1);
}

static int local_connect(struct small *m)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", m->path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool ask(int fd)
{
    buf_clear(&rig.in);
    buf_addlit(&rig.in, "");
    rig_send(&rig.r, fd, HELLO, sizeof(HELLO) - 1);
    return http1_listen_to(&rig, fd, 50);
}

static void test_max_connections(void **state)
{
    struct small m;
    int fd[3];
    (void)state;
    small_open(&m, 2);
    for (int i = 0; i < 3; i++) {
        fd[i] = rig_connect(&rig.r);
        rig_run(&rig.r, 10);
    }
    assert_true(http1_listen_to(&rig, fd[2], 50));
    expect("HTTP/1.1 503 Service Unavailable\r\n");
    assert_int_equal(server_stats(m.server)->refused, 1);
    close(fd[0]);
    close(fd[2]);
    rig_run(&rig.r, 20);
    fd[0] = rig_connect(&rig.r);
    assert_false(ask(fd[0]));
    expect("HTTP/1.1 200");
    close(fd[0]);
    close(fd[1]);
    small_close(&m);
}

static void test_unix_socket(void **state)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct listener_options lo = {
        .protocols = protocols, .handler = small_handler, .unix_mode = 0600, .unix_gid = (gid_t)-1};
    struct small m;
    struct stat st;
    struct err e = {0};
    char want[64];
    int fd;
    (void)state;
    small_open(&m, 0);
    assert_int_equal(stat(m.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    fd = local_connect(&m);
    assert_false(ask(fd));
    snprintf(want, sizeof(want), "unix:pid=%ld,uid=%ld", (long)getpid(), (long)getuid());
    expect(want);
    lo.unix_path = m.path;
    assert_int_equal(server_listen(m.server, &lo, NULL, &e), ERR_EXISTS); /* somebody answers */
    lo.unix_path = "/tmp";
    assert_int_equal(server_listen(m.server, &lo, NULL, &e), ERR_EXISTS);
    lo.unix_path = "/nonexistent/x.sock";
    assert_int_equal(server_listen(m.server, &lo, NULL, &e), ERR_NOT_FOUND);
    close(fd);
    small_close(&m);
}

/* Stale file: replaced. Somebody else's in our place: left alone when we go. */
static void test_unix_socket_files(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct small m;
    char path[64];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    snprintf(path, sizeof(path), "/tmp/gantry-test-%ld.sock", (long)getpid());
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd);
    small_open(&m, 0);
    fd = local_connect(&m);
    assert_false(ask(fd));
    expect("HTTP/1.1 200");
    close(fd);
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    rig_close(&rig.r);
    buf_done(&rig.in);
    assert_int_equal(unlink(path), 0);
}

/* Every descriptor in use: callers are told or dropped, nothing spins, and it recovers. */
static void out_of_descriptors(bool local)
{
    struct small m;
    struct rlimit old, low;
    int hog[256], n = 0, fd[8];
    small_open(&m, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 8; i++)
        fd[i] = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (n < 256 && (hog[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    assert_true(n > 0);
    for (int i = 0; i < 8; i++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons(rig.r.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", m.path);
        assert_int_equal(local ? connect(fd[i], (struct sockaddr *)&un, sizeof(un))
                               : connect(fd[i], (struct sockaddr *)&in, sizeof(in)),
                         0);
    }
    rig_run(&rig.r, 50);
    assert_int_equal(server_stats(m.server)->refused, 8);
    assert_int_equal(server_stats(m.server)->connections, 0);
    buf_clear(&rig.in);
    http1_listen_to(&rig, fd[0], 50);
    expect("HTTP/1.1 503");
    /* Quiet: no callback until somebody calls again. */
    struct pollfd quiet = {.fd = uv_backend_fd(loop_uv(m.loop)), .events = POLLIN};
    assert_int_equal(poll(&quiet, 1, 50), 0);
    while (n > 0)
        close(hog[--n]);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    int again = local ? local_connect(&m) : rig_connect(&rig.r);
    assert_false(ask(again));
    expect("HTTP/1.1 200");
    close(again);
    small_close(&m);
}

static void test_out_of_descriptors_tcp(void **state)
{
    (void)state;
    out_of_descriptors(false);
}

static void test_out_of_descriptors_unix(void **state)
{
    (void)state;
    out_of_descriptors(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_client),
        cmocka_unit_test(test_half_a_head),
        cmocka_unit_test(test_slow_head),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_half_a_body),
        cmocka_unit_test(test_handler_may_take_its_time),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_flood_of_pipelined_requests),
        cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_lingering),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_after_the_head_of_an_answer),
        cmocka_unit_test(test_drain_cuts),
        cmocka_unit_test(test_stop_during_drain),
        cmocka_unit_test(test_max_connections),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_unix_socket_files),
        cmocka_unit_test(test_out_of_descriptors_tcp),
        cmocka_unit_test(test_out_of_descriptors_unix),
    };
    /* valgrind answers for the limit of descriptors itself; without it these two run, and with
     * sanitizers. */
    if (getenv("GANTRY_UNDER_VALGRIND") != NULL)
        cmocka_set_skip_filter("test_out_of_descriptors_*");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
