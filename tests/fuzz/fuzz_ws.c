/* fuzz_ws.c: hostile bytes after the WebSocket handshake. The first byte of the input chooses
 * compression and how the bytes are cut into reads. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream_priv.h"
#include "net/ws_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static int open_sockets;

static void on_message(void *ctx, struct ws *w, bool text, const char *p, size_t n)
{
    (void)ctx;
    if (text && ws_send_text(w, (struct slice){p, n}) == ERR_LIMIT)
        ws_close(w, 1008, "slow");
}

static void on_closed(void *ctx, struct ws *w, int code)
{
    (void)ctx;
    (void)w;
    (void)code;
    open_sockets--;
}

static void nobody(void *ctx)
{
    (void)ctx;
}

static void turn(int n)
{
    while (n-- > 0)
        loop_run_once(loop, false);
}

/* A socket as ws_accept leaves it, with the other end in *peer. */
static bool open_ws(bool zipped, int *peer)
{
    static const struct ws_user user = {on_message, on_closed};
    static const struct stream_user none = {.closed = nobody};
    const struct ws_options o = {.max_message = 4096, .max_queue = 65536};
    struct stream *s;
    struct err e = {0};
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return false;
    struct ws *w = ws_new(loop, &o, &user, NULL, (struct ws_deflate){zipped, 15});
    if (w == NULL || stream_accept(&s, loop, fds[0], NULL, NULL, &none, NULL, &e) != 0)
        abort();
    open_sockets++;
    ws_taken(w, s, (struct slice){NULL, 0});
    *peer = fds[1];
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char sink[65536];
    int fd;
    struct err e;
    if (loop == NULL && loop_new(&loop, &clock_system, &e) != 0)
        abort();
    if (size < 1 || size > 60000 || !open_ws((data[0] & 1) != 0, &fd))
        return 0;
    size_t step = (data[0] >> 1) == 0 ? size : (size_t)(data[0] >> 1);
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
            break;
        turn(1);
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            ;
    }
    turn(2);
    close(fd);
    for (int i = 0; i < 100 && open_sockets > 0; i++)
        turn(1);
    if (open_sockets != 0)
        abort();
    return 0;
}
