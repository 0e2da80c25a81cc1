/* fuzz_http2.c: hostile bytes after the HTTP/2 preface and an empty SETTINGS frame, against
 * handlers that answer at once, later, in pieces, never, that pause, and that give up. The first
 * byte cuts the input. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "net/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct protocol *const protocols[] = {&protocol_http2, NULL};
static struct loop *loop;
static struct server *server;
static struct listener *listener;
static struct sockaddr_un address; /* a Unix socket: TCP would run out of ports */
static int open_exchanges;

static void on_body(void *ctx, struct exchange *x, const char *p, size_t n)
{
    (void)ctx;
    (void)p;
    if (n % 3 == 1) {
        exchange_pause(x);
        if (n % 2 == 0)
            exchange_resume(x);
    }
}

static void on_end(void *ctx, struct exchange *x, int err)
{
    const struct http_header t = {SLICE_LIT("grpc-status"), SLICE_LIT("0")};
    const struct http_response r = {.status = 200, .content_type = "application/grpc"};
    (void)ctx;
    if (err != 0)
        return;
    if (exchange_start(x, &r) == 0) {
        exchange_write(x, SLICE_LIT("an answer"));
        exchange_finish(x, &t, 1);
    }
}

static void on_drained(void *ctx, struct exchange *x)
{
    (void)ctx;
    exchange_finish(x, NULL, 0);
}

static void on_closed(void *ctx, struct exchange *x, int err)
{
    (void)ctx;
    (void)x;
    (void)err;
    open_exchanges--;
}

static const struct exchange_user user = {on_body, on_end, on_drained, on_closed};

static void collected(void *ctx, struct exchange *x, int err, struct slice body)
{
    (void)ctx;
    if (err == 0)
        exchange_respond(x, &(struct http_response){.status = 200}, body);
}

/* The second byte of the path says what to do. */
static void handler(void *ctx, struct exchange *x)
{
    static char block[200000];
    const struct http_request *q = exchange_request(x);
    (void)ctx;
    switch (q->path.len > 1 ? q->path.p[1] : 0) {
    case 'c':
        exchange_collect(x, 100, collected, NULL);
        break;
    case 'a':
        exchange_start(x, &(struct http_response){.status = 200});
        exchange_abort(x);
        break;
    case 'b':
        exchange_set_user(x, &user, NULL);
        open_exchanges++;
        if (exchange_start(x, &(struct http_response){.status = 200}) == 0)
            exchange_write(x, (struct slice){block, sizeof(block)});
        break;
    case 'u':
        exchange_set_user(x, &user, NULL);
        open_exchanges++;
        break;
    case 'n':
        break;
    default:
        exchange_respond(x, &(struct http_response){.status = 200}, SLICE_LIT("Hello"));
    }
}

static void clean_up(void)
{
    unlink(address.sun_path);
}

static void start(void)
{
    struct err e;
    struct server_options so = {.limits = http_limits_default};
    struct listener_options lo = {.unix_path = address.sun_path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = handler};
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz_http2.%d.sock", (int)getpid());
    so.limits.max_body = 1000;
    if (loop_new(&loop, &clock_system, &e) != 0 || server_new(&server, loop, &so, &e) != 0 ||
        server_listen(server, &lo, &listener, &e) != 0)
        abort();
    atexit(clean_up);
}

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        abort();
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void turn(int fd)
{
    char sink[65536];
    loop_run_once(loop, false);
    while (recv(fd, sink, sizeof(sink), 0) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if (loop == NULL)
        start();
    if (size < 1 || size > 60000)
        return 0;
    int fd = dial();
    size_t step = data[0] == 0 ? size : (size_t)data[0] * 4;
    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
    turn(fd);
    turn(fd);
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
            break;
        turn(fd);
    }
    turn(fd);
    close(fd);
    for (int i = 0; i < 1000 && server_stats(server)->connections > 0; i++)
        loop_run_once(loop, false);
    if (open_exchanges != 0 || server_stats(server)->exchanges != 0)
        abort();
    return 0;
}
