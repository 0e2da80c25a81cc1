/* grpc_echo.c: a unary gRPC call that answers with its request: the gRPC server of the net room
 * alone, against Debian's gRPC core. Usage: grpc_echo PORT */
#include "net/grpc_server.h"
#include "net/server.h"
#include <stdio.h>
#include <stdlib.h>

static void echo(struct grpc_call *c, struct slice message)
{
    grpc_call_reply(c, message);
}

int main(int argc, char **argv)
{
    static const struct protocol *const protocols[] = {&protocol_http2, NULL};
    static const struct grpc_method methods[] = {
        {.path = "/bench.Echo/Unary", .kind = GRPC_UNARY, .request = echo}};
    const struct grpc_server_options go = {.methods = methods, .n_methods = ARRAY_LEN(methods)};
    struct server_options so = {.limits = http_limits_default};
    struct grpc_server *g = NULL;
    struct loop *l = NULL;
    struct server *s = NULL;
    struct err e = {0};

    if (argc != 2)
        return 2;
    so.limits.max_streams = 1000;
    if (loop_new(&l, &clock_system, &e) != 0 || grpc_server_new(&g, &go, &e) != 0 ||
        server_new(&s, l, &so, &e) != 0) {
        fprintf(stderr, "grpc_echo: %s\n", e.msg);
        return 1;
    }
    const struct listener_options lo = {.host = "127.0.0.1",
                                        .port = (uint16_t)strtoul(argv[1], NULL, 10),
                                        .protocols = protocols,
                                        .handler = grpc_server_handle,
                                        .ctx = g};
    if (server_listen(s, &lo, NULL, &e) != 0) {
        fprintf(stderr, "grpc_echo: %s\n", e.msg);
        return 1;
    }
    return loop_run(l);
}
