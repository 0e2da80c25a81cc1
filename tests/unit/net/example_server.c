/* example_server.c: a server to try other people's clients on: curl, h2load, h2spec, websockets.
 *   GET /hello, GET /stream (a line every 100 ms, ten times), POST /echo, GET /big (10 MB), /ws
 * (echo), /ws-feed (a line every 100 ms, shared by all viewers). */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/server.h"
#include "net/sse.h"
#include "net/ws.h"

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};

#define MAX_VIEWERS 20000
static struct ws *viewers[MAX_VIEWERS];
static size_t n_viewers;
static struct loop_timer feed_timer;

/* ---- WebSocket ---- */

static void ws_echo(void *ctx BASE_UNUSED, struct ws *w, bool text BASE_UNUSED, const char *p,
                    size_t n)
{
    if (ws_send_text(w, (struct slice){p, n}) == ERR_LIMIT)
        ws_close(w, 1008, "slow");
}

static void ws_gone(void *ctx BASE_UNUSED, struct ws *w BASE_UNUSED, int code)
{
    fprintf(stderr, "ws closed %d\n", code);
}

static void viewer_gone(void *ctx BASE_UNUSED, struct ws *w, int code BASE_UNUSED)
{
    for (size_t i = 0; i < n_viewers; i++) {
        if (viewers[i] == w) {
            viewers[i] = viewers[--n_viewers];
            return;
        }
    }
}

static void feed(void *ctx BASE_UNUSED)
{
    static uint64_t line;
    char text[256];
    int n = snprintf(
        text, sizeof(text),
        "{\"type\":\"logs\",\"data\":\"line %llu of a log that says something about the state of a "
        "robot, its joints and its sensors, again and again\"}",
        (unsigned long long)line++);
    struct ws_frame *f = ws_frame_new((struct slice){text, (size_t)n});
    for (size_t i = 0; f != NULL && i < n_viewers; i++)
        ws_send_frame(viewers[i], f);
    ws_frame_unref(f);
}

/* ---- exchanges ---- */

struct ticker {
    struct loop_timer t;
    struct exchange *x;
    int left;
};

static void ticker_freed(void *ctx)
{
    mem_free(ctx);
}

static void tick(void *ctx)
{
    struct ticker *t = ctx;
    if (t->left-- > 0) {
        sse_send(t->x, SLICE_LIT("1"), SLICE_LIT("tick"), SLICE_LIT("a\nb"));
        return;
    }
    loop_timer_stop(&t->t);
    exchange_finish(t->x, NULL, 0);
}

static void ticker_closed(void *ctx, struct exchange *x BASE_UNUSED, int err BASE_UNUSED)
{
    struct ticker *t = ctx;
    loop_timer_close(&t->t, ticker_freed);
}

static const struct exchange_user ticker_user = {.closed = ticker_closed};

static void start_ticker(struct exchange *x)
{
    struct ticker *t = mem_zalloc(sizeof(*t));
    if (t == NULL || loop_timer_init(exchange_loop(x), &t->t, tick, t) != 0)
        abort();
    t->x = x;
    t->left = 10;
    exchange_set_user(x, &ticker_user, t);
    sse_start(x, NULL, 0);
    loop_timer_start(&t->t, 100, 100);
}

static void echo(void *ctx BASE_UNUSED, struct exchange *x, int err, struct slice body)
{
    if (err == 0)
        exchange_respond(x, &(struct http_response){.status = 200}, body);
}

static void handler(void *ctx BASE_UNUSED, struct exchange *x)
{
    static char big[10000000];
    static const struct ws_user echo_user = {ws_echo, ws_gone}, feed_user = {NULL, viewer_gone};
    const struct http_request *q = exchange_request(x);
    struct ws *w;
    if (ws_wanted(x)) {
        if (slice_eqs(q->path, "/ws"))
            ws_accept(x, &(struct ws_options){.max_message = 16u << 20, .max_queue = 32u << 20},
                      &echo_user, NULL, &w);
        else if (n_viewers < MAX_VIEWERS && ws_accept(x, NULL, &feed_user, NULL, &w) == 0)
            viewers[n_viewers++] = w;
    } else if (slice_eqs(q->path, "/stream")) {
        start_ticker(x);
    } else if (slice_eqs(q->path, "/echo")) {
        exchange_collect(x, 100u << 20, echo, NULL);
    } else if (slice_eqs(q->path, "/big")) {
        exchange_respond(x, &(struct http_response){.status = 200},
                         (struct slice){big, sizeof(big)});
    } else {
        exchange_respond(x, &(struct http_response){.status = 200, .content_type = "text/plain"},
                         SLICE_LIT("Hello"));
    }
}

int main(int argc, char **argv)
{
    struct loop *l;
    struct server *s;
    struct err e = {0};
    struct server_options so = {.limits = http_limits_default, .server_name = "gantry"};
    struct listener_options lo = {.host = "127.0.0.1", .protocols = protocols, .handler = handler};
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    struct tls_options to = {.server = true, .alpn = alpn};
    struct listener *li;
    uint64_t port = 8099;
    if (argc > 1 && str_to_u64(slice_of(argv[1]), &port) != 0)
        return 2;
    lo.port = (uint16_t)port;
    so.limits.max_body = 100u << 20;
    so.max_connections = 20000;
    if (argc > 3) {
        to.cert_file = argv[2];
        to.key_file = argv[3];
    }
    if (loop_new(&l, &clock_system, &e) != 0 ||
        (argc > 3 && tls_context_new(&lo.tls, l, &to, &e) != 0) ||
        server_new(&s, l, &so, &e) != 0 || server_listen(s, &lo, &li, &e) != 0 ||
        loop_timer_init(l, &feed_timer, feed, NULL) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    fprintf(stderr, "%s\n", listener_address(li));
    loop_timer_start(&feed_timer, 100, 100);
    return loop_run(l);
}
