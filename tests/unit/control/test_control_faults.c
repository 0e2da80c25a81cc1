/* The client of a scheduler with somebody between them, who cuts the connection after any byte in
 * either direction, silently or with a reset: what was asked ends, it is told, and a later try is
 * good. And memory that runs out at any point: it always has a next try planned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/control/control.h"
#include "api/grpc/message.h"
#include "base/mem.h"
#include "base/str.h"
#include "control.pb-c.h"
#include "net/grpc_server.h"
#include "net_rig.h"

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

enum { LINKS = 8, PIECE = 4096 };

struct world;
/* One connection: both ends of it here. */
struct link {
    struct world *w;
    uv_tcp_t side[2]; /* of the client; of the scheduler */
    int open;         /* handles of it */
    bool closing;
};

struct world {
    struct rig rig;
    struct grpc_server *server;
    struct control *c;
    uv_tcp_t between;
    uint16_t port;
    long left[2]; /* bytes until it is cut: from the client; from the scheduler; -1: never */
    bool reset;
    unsigned cuts, registers, beats, failed;
    size_t most[2]; /* bytes that went through, of the connection that was not cut */
};

/* ---- the scheduler */

static void answer(struct grpc_call *call, const ProtobufCMessage *m)
{
    struct buf b = BUF_INIT(4096);
    if (message_encode(m, &b) == 0)
        grpc_call_reply(call, (struct slice){b.data, b.len});
    else
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
    buf_done(&b);
}

static void register_node(struct grpc_call *call, struct slice message)
{
    struct world *w = grpc_call_app(call);
    Persys__Control__V1__RegisterNodeResponse a = PERSYS__CONTROL__V1__REGISTER_NODE_RESPONSE__INIT;
    (void)message;
    w->registers++;
    a.accepted = true;
    a.heartbeat_interval_seconds = 1;
    answer(call, &a.base);
}

static void heartbeat(struct grpc_call *call, struct slice message)
{
    struct world *w = grpc_call_app(call);
    Persys__Control__V1__HeartbeatResponse a = PERSYS__CONTROL__V1__HEARTBEAT_RESPONSE__INIT;
    (void)message;
    w->beats++;
    a.acknowledged = true;
    answer(call, &a.base);
}

static const struct grpc_method methods[] = {
    {.path = "/persys.control.v1.AgentControl/RegisterNode", .request = register_node},
    {.path = "/persys.control.v1.AgentControl/Heartbeat", .request = heartbeat},
};

/* ---- who is between */

static void side_closed(uv_handle_t *h)
{
    struct link *l = h->data;
    if (--l->open == 0)
        free(l);
}

static void link_close(struct link *l, bool reset)
{
    if (l->closing)
        return;
    l->closing = true;
    for (int i = 0; i < 2; i++) {
        uv_handle_t *h = (uv_handle_t *)&l->side[i];
        if (!reset || i == 1 || uv_tcp_close_reset(&l->side[i], side_closed) != 0)
            uv_close(h, side_closed);
    }
}

struct out {
    uv_write_t rq;
    char bytes[PIECE];
};

static void sent(uv_write_t *rq, int status)
{
    (void)status;
    free(rq->data);
}

static void alloc(uv_handle_t *h, size_t wanted, uv_buf_t *ret)
{
    static char room[PIECE];
    (void)h, (void)wanted;
    *ret = uv_buf_init(room, sizeof(room));
}

static void came(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct link *l = s->data;
    struct world *w = l->w;
    int from = s == (uv_stream_t *)&l->side[1];
    if (n < 0) {
        link_close(l, false);
        return;
    }
    bool cut = w->left[from] >= 0 && n >= w->left[from];
    size_t take = cut ? (size_t)w->left[from] : (size_t)n;
    if (w->left[from] >= 0)
        w->left[from] -= (long)take;
    w->most[from] += take;
    struct out *o = malloc(sizeof(*o));
    assert_non_null(o);
    memcpy(o->bytes, b->base, take);
    o->rq.data = o;
    uv_buf_t out = uv_buf_init(o->bytes, (unsigned)take);
    if (l->closing || uv_write(&o->rq, (uv_stream_t *)&l->side[!from], &out, 1, sent) != 0)
        free(o);
    if (cut) {
        w->cuts++;
        w->left[0] = w->left[1] = -1; /* the next one goes through */
        link_close(l, w->reset);
    }
}

static void connected(uv_connect_t *rq, int status)
{
    struct link *l = rq->data;
    free(rq);
    if (status != 0 || l->closing) {
        link_close(l, false);
        return;
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(uv_read_start((uv_stream_t *)&l->side[i], alloc, came), 0);
}

static void listened(uv_stream_t *s, int status)
{
    struct world *w = s->data;
    struct link *l = calloc(1, sizeof(*l));
    uv_connect_t *rq = malloc(sizeof(*rq));
    struct sockaddr_in a;
    assert_true(status == 0 && l != NULL && rq != NULL);
    l->w = w;
    l->open = 2;
    rq->data = l;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uv_tcp_init(s->loop, &l->side[i]), 0);
        l->side[i].data = l;
    }
    assert_int_equal(uv_accept(s, (uv_stream_t *)&l->side[0]), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", w->rig.port, &a), 0);
    assert_int_equal(uv_tcp_connect(rq, &l->side[1], (struct sockaddr *)&a, connected), 0);
}

/* ---- us */

static void news(void *ctx, const struct control_news *n)
{
    struct world *w = ctx;
    if (n->event == CONTROL_EV_FAILED || n->event == CONTROL_EV_LOST) {
        w->failed++;
        assert_true(n->error != NULL && n->error->msg[0] != '\0');
        assert_true(n->wait_ms > 0 || n->event == CONTROL_EV_LOST);
    }
}

static void open_world(struct world *w)
{
    const struct grpc_server_options o = {
        .methods = methods, .n_methods = ARRAY_LEN(methods), .app = w};
    struct err e;
    struct sockaddr_in a;
    int n = sizeof(a);
    *w = (struct world){.left = {-1, -1}};
    assert_int_equal(grpc_server_new(&w->server, &o, &e), 0);
    rig_open(&w->rig, protocols, NULL, grpc_server_handle, w->server);
    w->between.data = w;
    assert_int_equal(uv_tcp_init(loop_uv(w->rig.loop), &w->between), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
    assert_int_equal(uv_tcp_bind(&w->between, (const struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&w->between, LINKS, listened), 0);
    assert_int_equal(uv_tcp_getsockname(&w->between, (struct sockaddr *)&a, &n), 0);
    w->port = ntohs(a.sin_port);
}

static int begin(struct world *w)
{
    char address[64];
    struct err e = {0};
    struct buf b = BUF_FIXED(address);
    (void)buf_addf(&b, "127.0.0.1:%u", w->port);
    const struct control_options o = {.loop = w->rig.loop,
                                      .address = address,
                                      .insecure = true,
                                      .grpc_host = "127.0.0.1",
                                      .grpc_port = 50051,
                                      .node = {.id = "node-1", .version = "1"},
                                      .news = news,
                                      .ctx = w};
    w->c = NULL;
    return control_new(&w->c, &o, &e);
}

static void close_world(struct world *w)
{
    control_free(w->c);
    uv_close((uv_handle_t *)&w->between, NULL);
    for (int i = 0; i < 20; i++)
        (void)loop_run_once(w->rig.loop, false);
    rig_close(&w->rig);
    grpc_server_free(w->server);
}

static bool until(struct world *w, const unsigned *count, unsigned n, uint64_t ms)
{
    for (uint64_t end = clock_mono_ms(&clock_system) + ms;
         *count < n && clock_mono_ms(&clock_system) < end;)
        (void)loop_run_once(w->rig.loop, true);
    return *count >= n;
}

/* It is registered, or at it, or says when it will try next. */
static void has_a_plan(const struct world *w)
{
    struct node_link_view v;
    control_view(w->c, &v);
    assert_true(v.state != NODE_LINK_STOPPED);
    if (v.state == NODE_LINK_WAITING)
        assert_true(v.next_ns > 0);
}

/* ---- tests */

static void cut_after(int from, long bytes, bool reset, bool again)
{
    struct world w;
    open_world(&w);
    w.left[from] = bytes;
    w.reset = reset;
    assert_int_equal(begin(&w), 0);
    if (!until(&w, &w.cuts, 1, 60000))
        fail_msg("byte %ld from %d never came", bytes, from);
    if (!until(&w, &w.failed, 1, 60000))
        fail_msg("byte %ld from %d: nothing is told", bytes, from);
    has_a_plan(&w);
    if (again && !until(&w, &w.beats, w.beats + 1, 60000))
        fail_msg("byte %ld from %d: it does not come again", bytes, from);
    close_world(&w);
}

static void each_byte_is_the_last(void **state)
{
    (void)state;
    struct world w;
    /* How much it is until the first heartbeat is answered. */
    open_world(&w);
    assert_int_equal(begin(&w), 0);
    assert_true(until(&w, &w.beats, 1, 60000));
    size_t most[2] = {w.most[0], w.most[1]};
    close_world(&w);
    assert_true(most[0] > 200 && most[1] > 50);
    /* The first message; after it a second passes until the next one. */
    for (int from = 0; from < 2; from++)
        for (size_t at = 0; at < most[from] / 2; at += from == 0 ? 5 : 3)
            cut_after(from, (long)at, at % 2 == 1, at % 45 == 0);
    cut_after(0, (long)most[0] - 5, true, true);
    cut_after(0, (long)most[0] - 40, false, true);
}

/* After so many allocations of registering and of heartbeats. */
static void memory_runs_out(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 260; n++) {
        struct world w;
        open_world(&w);
        mem_fail_at(n, n % 2 == 0);
        int rc = begin(&w);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        for (int i = 0; i < 60 && rc == 0; i++)
            (void)loop_run_once(w.rig.loop, false);
        mem_fail_at(0, false);
        if (rc == 0) {
            has_a_plan(&w);
            if (n % 26 == 0)
                assert_true(until(&w, &w.beats, w.beats + 1, 60000));
        }
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_is_the_last),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests_name("control faults", tests, NULL, NULL);
}
