/* fuzz_grpc_client.c: what a hostile server may answer to three calls of ours (streams 1, 3 and 5:
 * unary, streaming, paused now and then), after an empty SETTINGS frame. The first byte cuts the
 * input. Each call must end once, whatever comes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "net/grpc_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static int listener;
static struct sockaddr_un address;

struct one {
    struct grpc_client_call *call;
    unsigned pause_every, messages;
    bool paused, done;
};

static void on_metadata(void *ctx, const struct http_header *m, size_t n)
{
    struct one *o = ctx;
    INVARIANT(!o->done);
    for (size_t i = 0; i < n; i++)
        INVARIANT(m[i].name.len > 0 && m[i].name.p[0] != ':' && !grpc_metadata_reserved(m[i].name));
}

static void on_message(void *ctx, struct slice m)
{
    struct one *o = ctx;
    INVARIANT(!o->done && m.len <= 1000);
    if (o->pause_every != 0 && ++o->messages % o->pause_every == 0) {
        grpc_client_pause(o->call, true);
        o->paused = true;
    }
}

static void on_done(void *ctx, const struct grpc_result *r)
{
    struct one *o = ctx;
    INVARIANT(!o->done);
    INVARIANT(r->code >= 0 && r->code <= GRPC_UNAUTHENTICATED);
    INVARIANT(utf8_valid(r->message, strlen(r->message)));
    o->done = true;
}

static void on_unary(void *ctx, const struct grpc_result *r, struct slice m)
{
    INVARIANT(m.len <= 1000);
    on_done(ctx, r);
}

static const struct grpc_client_user user = {
    .headers = on_metadata, .message = on_message, .trailers = on_metadata, .done = on_done};

static void clean_up(void)
{
    unlink(address.sun_path);
}

static void start(void)
{
    struct err e;
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz_grpc_client.%d.sock",
             (int)getpid());
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (loop_new(&loop, &clock_system, &e) != 0 || listener < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 10) != 0)
        abort();
    atexit(clean_up);
}

static void turn(int fd)
{
    char sink[65536];
    loop_run_once(loop, false);
    while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        ;
}

static struct grpc_client *begin(struct one a[3])
{
    const struct grpc_client_options o = {
        .http2.target.unix_path = address.sun_path, .max_message = 1000, .http2.max_head = 4096};
    const struct grpc_request r = {.method = "/p.S/M"};
    struct grpc_client *c;
    struct err e;
    if (grpc_client_new(&c, loop, &o, &e) != 0 ||
        grpc_client_unary(c, &r, SLICE_LIT("question"), on_unary, &a[0], &a[0].call, &e) != 0 ||
        grpc_client_start(&a[1].call, c, &r, &user, &a[1], &e) != 0 ||
        grpc_client_start(&a[2].call, c, &r, &user, &a[2], &e) != 0 ||
        grpc_client_send(a[1].call, SLICE_LIT("first")) != 0)
        abort();
    a[2].pause_every = 2;
    return c;
}

static void go_on(struct one *o)
{
    if (o->paused && !o->done)
        grpc_client_pause(o->call, false);
    o->paused = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
    struct one a[3] = {0};
    if (loop == NULL)
        start();
    if (size < 1 || size > 60000)
        return 0;
    struct grpc_client *c = begin(a);
    int fd = -1;
    for (int i = 0; i < 100 && fd < 0; i++) {
        loop_run_once(loop, false);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    if (fd < 0)
        abort();
    size_t step = data[0] == 0 ? size : (size_t)data[0] * 4;
    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
    for (int i = 0; i < 3; i++)
        turn(fd);
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
            break;
        turn(fd);
        go_on(&a[2]);
    }
    for (int i = 0; i < 3; i++)
        turn(fd);
    close(fd);
    grpc_client_free(c);
    /* It may have connected once more, for a call that was not processed. */
    for (int i = 0; i < 1000 && loop_run_once(loop, false); i++) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            close(fd);
    }
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        close(fd);
    if (!a[0].done || !a[1].done || !a[2].done)
        abort();
    return 0;
}
