#include "net_rig.h"

#include "../base/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void rig_open(struct rig *r, const struct protocol *const *protocols,
              const struct http_limits *limits, void (*handler)(void *ctx, struct exchange *x),
              void *ctx)
{
    struct err e = {0};
    struct server_options so = {.limits = limits ? *limits : http_limits_default,
                                .server_name = "gantry"};
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = handler, .ctx = ctx};
    *r = (struct rig){0};
    assert_int_equal(loop_new(&r->loop, &clock_system, &e), 0);
    assert_int_equal(server_new(&r->server, r->loop, &so, &e), 0);
    if (server_listen(r->server, &lo, &r->listener, &e) != 0)
        fail_msg("listen: %s", e.msg);
    r->port = listener_port(r->listener);
}

static void stopped(void *ctx)
{
    *(bool *)ctx = true;
}

void rig_close(struct rig *r)
{
    bool done = false;
    server_stop(r->server, stopped, &done);
    for (int i = 0; i < 10000 && !done; i++)
        loop_run_once(r->loop, true);
    assert_true(done);
    server_free(r->server);
    for (int i = 0; i < 10000 && loop_run_once(r->loop, false); i++)
        ;
    loop_free(r->loop);
}

int rig_connect(struct rig *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(r->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void rig_send(struct rig *r, int fd, const void *p, size_t n)
{
    const char *at = p;
    for (int i = 0; i < 100000 && n > 0; i++) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN)
            return; /* the server cut us: the test will see it when reading */
        if (k > 0) {
            at += k;
            n -= (size_t)k;
        }
        loop_run_once(r->loop, false);
    }
}

bool rig_read_until(struct rig *r, int fd, struct buf *b, bool (*done)(void *ctx), void *ctx,
                    unsigned ms)
{
    struct patience end = patience_of(ms);
    do {
        char tmp[65536];
        loop_run_once(r->loop, false);
        ssize_t n = recv(fd, tmp, sizeof(tmp), 0);
        if (n > 0 && b != NULL)
            buf_add(b, tmp, (size_t)n);
        if (done != NULL && done(ctx))
            return true;
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return done == NULL;
        if (n < 0) {
            struct pollfd p = {fd, POLLIN, 0};
            poll(&p, 1, 1);
        }
    } while (patience_left(&end));
    return false;
}

void rig_run(struct rig *r, unsigned ms)
{
    struct patience end = patience_of(ms);
    for (int turns = 0; patience_left(&end) || turns < 10; turns++) {
        loop_run_once(r->loop, false);
        poll(NULL, 0, 1);
    }
}
