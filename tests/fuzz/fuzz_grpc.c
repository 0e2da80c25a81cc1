/* fuzz_grpc.c: hostile gRPC clients over the real server: valid HTTP/2 around any sequence of
 * calls, pieces of messages, ends, resets and pauses, with and without protobuf behind it.
 *
 * The input is a list of orders; the low three bits say what, the high five give an argument a:
 *   0-3  the next byte and 64*(low bits) tell how many bytes follow for the present call
 *   4    the same with the client's end
 *   5    the present call is reset
 *   6    a new call of the method a; with a deadline for every fourth
 *   7    the loop turns, and a paused handler goes on */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "api/grpc/health.h"
#include "api/grpc/reflection.h"
#include "base/str.h"
#include "grpc_app.h"
#include "net/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 60000

static const struct protocol *const protocols[] = {&protocol_http2, NULL};
static struct loop *loop;
static struct server *server;
static struct sockaddr_un address; /* a Unix socket: TCP would run out of ports */
static struct grpc_app app;
static struct grpc_server *raw;
static struct grpc_api *api;

static void apply(struct rpc_call *c, const ProtobufCMessage *m)
{
    Persys__Agent__V1__ApplyWorkloadResponse a = PERSYS__AGENT__V1__APPLY_WORKLOAD_RESPONSE__INIT;
    a.message = ((const Persys__Agent__V1__ApplyWorkloadRequest *)m)->id;
    rpc_reply(c, &a.base);
}

static const struct rpc_row rows[] = {
    RPC("/a.A/Apply", RIGHT_WRITE, "workload",
        persys__agent__v1__apply_workload_request__descriptor,
        persys__agent__v1__apply_workload_response__descriptor, .handler = apply),
};
static const char *const paths[] = {
    "/test.T/Echo",
    "/test.T/Small",
    "/test.T/Fail",
    "/test.T/Forget",
    "/test.T/Wait",
    "/test.T/Sum",
    "/test.T/Count",
    "/test.T/Chat",
    "/a.A/Apply",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/no.Such/Method",
    "/test.T/None",
};

static void handler(void *ctx, struct exchange *x)
{
    (void)ctx;
    if (slice_starts(exchange_request(x)->path, "/test."))
        grpc_server_handle(raw, x);
    else
        grpc_api_handle(api, x);
}

static void clean_up(void)
{
    unlink(address.sun_path);
}

static void make_tables(void)
{
    static struct grpc_health *health;
    static struct grpc_reflection *reflection;
    struct err e;
    const struct grpc_server_options so = {.methods = grpc_app_methods,
                                           .n_methods = grpc_app_n_methods,
                                           .app = &app,
                                           .max_message = 100000,
                                           .decided = grpc_app_decided};
    if (grpc_server_new(&raw, &so, &e) != 0 || grpc_health_new(&health) != 0 ||
        grpc_reflection_new(&reflection, grpc_reflection_own_set(), &e) != 0)
        abort();
    const struct rpc_table tables[] = {{rows, ARRAY_LEN(rows), NULL},
                                       *grpc_health_table(health),
                                       *grpc_reflection_table(reflection)};
    const struct grpc_api_options ao = {.tables = tables, .n_tables = ARRAY_LEN(tables)};
    if (grpc_api_new(&api, &ao, &e) != 0)
        abort();
    grpc_reflection_set_api(reflection, api);
}

static void start(void)
{
    struct err e;
    struct listener *li;
    struct server_options so = {.limits = http_limits_default};
    struct listener_options lo = {.unix_path = address.sun_path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = handler};
    make_tables();
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz_grpc.%d.sock", (int)getpid());
    if (loop_new(&loop, &clock_system, &e) != 0 || server_new(&server, loop, &so, &e) != 0 ||
        server_listen(server, &lo, &li, &e) != 0)
        abort();
    atexit(clean_up);
}

/* ---- the client ---- */

static int fd;
static uint32_t stream;

static void turn(void)
{
    char sink[65536];
    loop_run_once(loop, false);
    while (recv(fd, sink, sizeof(sink), 0) > 0)
        ;
}

static void frame(uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
    uint8_t f[9] = {(uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
                    (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    if (send(fd, f, sizeof(f), MSG_NOSIGNAL) > 0 && n > 0)
        (void)!send(fd, p, n, MSG_NOSIGNAL);
}

/* A field without Huffman and without the table; name index 0: by name. */
static size_t field(uint8_t *out, uint8_t index, const char *name, const char *value)
{
    size_t n = 0, len = strlen(value);
    out[n++] = index;
    if (index == 0) {
        out[n++] = (uint8_t)strlen(name);
        memcpy(out + n, name, strlen(name));
        n += strlen(name);
    }
    out[n++] = (uint8_t)len;
    memcpy(out + n, value, len);
    return n + len;
}

static void new_call(unsigned a)
{
    uint8_t block[512];
    size_t n = 0;
    stream = stream == 0 ? 1 : stream + 2;
    block[n++] = 0x83; /* POST */
    block[n++] = 0x86; /* http */
    n += field(block + n, 4, NULL, paths[a % ARRAY_LEN(paths)]);
    n += field(block + n, 1, NULL, "a");
    n += field(block + n, 0, "content-type", "application/grpc+proto");
    if (a % 4 == 3)
        n += field(block + n, 0, "grpc-timeout", a % 8 == 3 ? "1n" : "1m");
    if (a > 25)
        n += field(block + n, 0, a % 2 == 0 ? "x-m-bin" : "y-m", a % 2 == 0 ? "AAEC/w" : "text");
    frame(1, 4, stream, block, n);
}

static void go_on(void)
{
    struct grpc_call *c = app.paused;
    app.paused = NULL;
    if (c != NULL)
        grpc_call_resume(c);
    if (app.waiting != NULL)
        grpc_call_reply(app.waiting, SLICE_LIT("late"));
}

static size_t order(const uint8_t *p, size_t n)
{
    unsigned what = p[0] & 7, a = p[0] >> 3;
    size_t used = 1, len;
    if (what <= 4) {
        len = n > 1 ? p[1] + 64u * (what & 3) : 0;
        used = n > 1 ? 2 : 1;
        len = len < n - used ? len : n - used;
        frame(0, what == 4, stream, p + used, len);
        return used + len;
    }
    if (what == 5)
        frame(3, 0, stream, "\0\0\0\x08", 4);
    else if (what == 6)
        new_call(a);
    else
        go_on();
    turn();
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if (loop == NULL)
        start();
    if (size < 1 || size > INPUT_MAX)
        return 0;
    app = (struct grpc_app){.pause_every = data[0] % 4};
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        abort();
    fcntl(fd, F_SETFL, O_NONBLOCK);
    stream = 0;
    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
    turn();
    new_call(data[0] >> 3);
    for (size_t at = 1; at < size;)
        at += order(data + at, size - at);
    turn();
    go_on();
    turn();
    close(fd);
    for (int i = 0; i < 1000 && server_stats(server)->connections > 0; i++)
        loop_run_once(loop, false);
    if (app.begun != app.closed || grpc_server_stats(raw)->open != 0 ||
        grpc_server_stats(raw)->partial != 0 || grpc_api_stats(api)->open != 0 ||
        server_stats(server)->exchanges != 0)
        abort();
    return 0;
}
