/* A client's bytes, whole and cut into pieces, to an HTTP/1.1 server over a socket: it must not
 * crash, leak an exchange or hang, and how the bytes were cut must not change which requests it
 * saw.
 *
 * The first byte of the input chooses the cuts; the rest is sent. */
#include "base/mem.h"
#include "base/str.h"
#include "net/loop.h"
#include "net/server.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { INPUT_MAX = 20000, ROUNDS = 100000 };

static struct loop *loop;
static struct server *server;
static char path[64];

/* What a run showed of the requests. */
struct sight {
    uint64_t requests, answered, hash;
};
static struct sight now;

static void saw(struct slice s)
{
    now.hash = now.hash * 1099511628211u + hash_bytes(s.p, s.len);
}

static void done(void *ctx, struct exchange *x, int err, struct slice body)
{
    const struct http_response r = {.status = 200, .content_type = "text/plain"};
    size_t n;
    const struct http_header *t = exchange_trailers(x, &n);

    (void)ctx;
    if (err != 0)
        return;
    saw(body);
    for (size_t i = 0; i < n; i++) {
        saw(t[i].name);
        saw(t[i].value);
    }
    now.answered++;
    (void)exchange_respond(x, &r, body);
}

static void handler(void *ctx, struct exchange *x)
{
    const struct http_request *q = exchange_request(x);

    (void)ctx;
    now.requests++;
    saw(q->method_text);
    saw(q->path);
    saw(q->host);
    for (size_t i = 0; i < q->n_headers; i++) {
        saw(q->headers[i].name);
        saw(q->headers[i].value);
    }
    exchange_collect(x, 1 << 20, done, NULL);
}

static void remove_socket(void)
{
    (void)unlink(path);
}

static void start(void)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options so = {.server_name = "fuzz"};
    struct listener_options lo = {.unix_path = path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = handler};
    struct err e = {0};

    snprintf(path, sizeof(path), "/tmp/gantry-fuzz-http1-%ld.sock", (long)getpid());
    so.limits.max_head = 4096;
    so.limits.max_target = 1024;
    if (loop_new(&loop, &clock_system, &e) != 0 || server_new(&server, loop, &so, &e) != 0 ||
        server_listen(server, &lo, NULL, &e) != 0)
        abort();
    atexit(remove_socket);
}

/* Sends the bytes in pieces of at most `step`, ends, and reads until the server has closed. */
static struct sight run(const uint8_t *p, size_t n, size_t step)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char drop[4096];
    size_t at = 0;

    memset(&now, 0, sizeof(now));
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0)
        abort();
    for (int i = 0;; i++) {
        if (i > ROUNDS)
            abort(); /* stuck */
        if (at < n) {
            ssize_t k =
                send(fd, p + at, step < n - at ? step : n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (k > 0)
                at += (size_t)k;
            else if (errno != EAGAIN)
                at = n;
            if (at == n)
                shutdown(fd, SHUT_WR);
        } else if (i == 0) {
            shutdown(fd, SHUT_WR);
        }
        loop_run_once(loop, false);
        ssize_t got = recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            break;
    }
    close(fd);
    for (int i = 0; i < ROUNDS && server_stats(server)->connections > 0; i++)
        loop_run_once(loop, false);
    if (server_stats(server)->connections != 0 || server_stats(server)->exchanges != 0)
        abort();
    return now;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX)
        return 0;
    if (loop == NULL)
        start();
    struct sight whole = run(data + 1, size - 1, size);
    struct sight cut = run(data + 1, size - 1, 1 + data[0] % 64);
    if (whole.requests != cut.requests || whole.answered != cut.answered || whole.hash != cut.hash)
        abort();
    return 0;
}
