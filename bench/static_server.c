/* static_server.c: answers every request with the same JSON text; the HTTP room alone, against
 * nginx. Usage: static_server PORT [BODY] */
#include "base/str.h"
#include "net/loop.h"
#include "net/server.h"
#include <stdio.h>
#include <stdlib.h>

static void on_request(void *ctx, struct exchange *x)
{
    const struct http_response r = {.status = 200, .content_type = "application/json"};

    (void)exchange_respond(x, &r, slice_of(ctx));
}

int main(int argc, char **argv)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options so = {.server_name = "gantry"};
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = on_request};
    struct loop *l = NULL;
    struct server *s = NULL;
    struct err e = {0};

    if (argc < 2)
        return 2;
    lo.port = (uint16_t)strtoul(argv[1], NULL, 10);
    lo.ctx = argc > 2 ? argv[2] : (char[]){"{\"containers\":[],\"count\":0}"};
    so.limits.max_body = 64 << 20;
    if (loop_new(&l, &clock_system, &e) != 0 || server_new(&s, l, &so, &e) != 0 ||
        server_listen(s, &lo, NULL, &e) != 0) {
        fprintf(stderr, "static_server: %s\n", e.msg);
        return 1;
    }
    return loop_run(l);
}
