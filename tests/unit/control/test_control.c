/* The client with a scheduler in the same loop: what follows what over a real connection, what is
 * told, what is cut off, and memory that runs out at any point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/control/control.h"
#include "api/grpc/message.h"
#include "base/mem.h"
#include "base/str.h"
#include "control.pb-c.h"
#include "net/grpc_server.h"
#include "net_rig.h"
#include "tls_files.h"

enum { EVENTS = 32 };

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

struct world {
    struct rig rig;
    struct grpc_server *server;
    struct control *c;
    /* What the scheduler does. */
    bool refuse, forget, hang, nonsense, drain, deaf;
    unsigned registers, beats;
    /* What was told. */
    enum control_event events[EVENTS];
    bool on[EVENTS];
    size_t n_events;
    char error[480];
    bool tls_wrong;
    bool host_asked;
};

static void answer(struct grpc_call *call, const ProtobufCMessage *m)
{
    struct buf b = BUF_INIT(4096);
    if (message_encode(m, &b) == 0)
        grpc_call_reply(call, (struct slice){b.data, b.len});
    else
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
    buf_done(&b);
}

static void hung_closed(void *ctx, struct grpc_call *call, int err)
{
    (void)ctx;
    (void)call;
    (void)err;
}

static bool odd(struct world *w, struct grpc_call *call)
{
    static const struct grpc_user user = {.closed = hung_closed};
    if (w->hang)
        grpc_call_set_user(call, &user, w);
    else if (w->nonsense)
        grpc_call_reply(call, SLICE_LIT("\xff\xff\xff"));
    return w->hang || w->nonsense;
}

static void register_node(struct grpc_call *call, struct slice message)
{
    struct world *w = grpc_call_app(call);
    Persys__Control__V1__RegisterNodeResponse a = PERSYS__CONTROL__V1__REGISTER_NODE_RESPONSE__INIT;
    char reason[] = "full";
    assert_true(message.len > 0);
    w->registers++;
    if (odd(w, call))
        return;
    a.accepted = !w->refuse;
    a.reason = w->refuse ? reason : a.reason;
    a.heartbeat_interval_seconds = 1;
    answer(call, &a.base);
}

static void heartbeat(struct grpc_call *call, struct slice message)
{
    struct world *w = grpc_call_app(call);
    Persys__Control__V1__HeartbeatResponse a = PERSYS__CONTROL__V1__HEARTBEAT_RESPONSE__INIT;
    assert_true(message.len > 0);
    w->beats++;
    if (odd(w, call))
        return;
    if (w->forget) {
        w->forget = false;
        grpc_call_finish(call, GRPC_NOT_FOUND, SLICE_LIT("who is that"));
        return;
    }
    a.acknowledged = !w->deaf;
    a.drain_node = w->drain;
    answer(call, &a.base);
}

static const struct grpc_method methods[] = {
    {.path = "/persys.control.v1.AgentControl/RegisterNode", .request = register_node},
    {.path = "/persys.control.v1.AgentControl/Heartbeat", .request = heartbeat},
};

static void news(void *ctx, const struct control_news *n)
{
    struct world *w = ctx;
    if (w->n_events < EVENTS) {
        w->events[w->n_events] = n->event;
        w->on[w->n_events++] = n->on;
    }
    if (n->error != NULL) {
        size_t len = strlen(n->error->msg);
        memcpy(w->error, n->error->msg, len + 1);
    }
}

static void tls_of(void *ctx, const char *files[3])
{
    const struct world *w = ctx;
    files[0] = tls_file(w->tls_wrong ? "stranger.pem" : "client.pem");
    files[1] = tls_file(w->tls_wrong ? "stranger.key" : "client.key");
    files[2] = tls_file("ca.pem");
}

static void usage(void *self, struct host_usage *ret)
{
    ((struct world *)self)->host_asked = true;
    *ret = (struct host_usage){.memory_percent = 10, .cpu_percent = 10, .disk_percent = 10};
}

static const struct host_ops host_ops = {.usage = usage};

static struct control_options options(struct world *w, const char *address)
{
    return (struct control_options){.loop = w->rig.loop,
                                    .address = address,
                                    .insecure = true,
                                    .tls_files = tls_of,
                                    .grpc_host = "127.0.0.1",
                                    .grpc_port = 50051,
                                    .node = {.id = "node-1", .version = "1"},
                                    .host = {.ops = &host_ops, .self = w},
                                    .news = news,
                                    .ctx = w};
}

static void open_world(struct world *w)
{
    const struct grpc_server_options o = {
        .methods = methods, .n_methods = ARRAY_LEN(methods), .app = w};
    struct err e;
    *w = (struct world){0};
    assert_int_equal(grpc_server_new(&w->server, &o, &e), 0);
    rig_open(&w->rig, protocols, NULL, grpc_server_handle, w->server);
}

static void begin(struct world *w)
{
    char address[64];
    struct err e;
    struct buf b = BUF_FIXED(address);
    (void)buf_addf(&b, "127.0.0.1:%u", w->rig.port);
    const struct control_options o = options(w, address);
    assert_int_equal(control_new(&w->c, &o, &e), 0);
}

static void close_world(struct world *w)
{
    control_free(w->c);
    rig_close(&w->rig);
    grpc_server_free(w->server);
}

static bool until(struct world *w, const unsigned *count, unsigned n, uint64_t ms)
{
    for (uint64_t end = clock_mono_ms(&clock_system) + ms;
         *count < n && clock_mono_ms(&clock_system) < end;)
        loop_run_once(w->rig.loop, true);
    return *count >= n;
}

static bool told(struct world *w, enum control_event event, bool on, uint64_t ms)
{
    for (uint64_t end = clock_mono_ms(&clock_system) + ms; clock_mono_ms(&clock_system) < end;) {
        for (size_t i = 0; i < w->n_events; i++)
            if (w->events[i] == event && w->on[i] == on)
                return true;
        loop_run_once(w->rig.loop, true);
    }
    return false;
}

static enum node_link_state state_of(struct world *w, struct node_link_view *v)
{
    struct node_link link = control_link(w->c);
    link.view(link.self, v);
    return v->state;
}

static void the_usual(void **state)
{
    (void)state;
    struct world w;
    struct node_link_view v;
    open_world(&w);
    begin(&w);
    assert_int_equal(state_of(&w, &v), NODE_LINK_WAITING);
    assert_true(until(&w, &w.beats, 3, 60000));
    assert_int_equal(w.registers, 1);
    assert_true(w.host_asked);
    rig_run(&w.rig, 100);
    assert_int_equal(state_of(&w, &v), NODE_LINK_REGISTERED);
    assert_string_equal(v.endpoint, "127.0.0.1:50051");
    assert_true(v.heartbeat_ns > 0 && v.since_ns > 0 && v.next_ns > 0 && v.acknowledged);
    assert_int_equal(v.interval_ms, 1000);
    assert_string_equal(v.error, "");
    assert_int_equal(w.n_events, 1);
    /* Drained and not any more; not taken and taken again: each told once. */
    w.drain = w.deaf = true;
    assert_true(told(&w, CONTROL_EV_DRAINING, true, 60000));
    assert_true(until(&w, &w.beats, w.beats + 2, 60000));
    (void)state_of(&w, &v);
    assert_true(v.draining && !v.refusing && !v.acknowledged);
    assert_int_equal(w.n_events, 3);
    w.drain = w.deaf = false;
    assert_true(told(&w, CONTROL_EV_DRAINING, false, 60000));
    assert_int_equal(w.n_events, 5);
    assert_int_equal(control_stats(w.c)->dials, 1);
    control_stop(w.c);
    control_stop(w.c);
    assert_int_equal(state_of(&w, &v), NODE_LINK_STOPPED);
    unsigned beats = w.beats;
    rig_run(&w.rig, 1500);
    assert_int_equal(w.beats, beats);
    close_world(&w);
}

static void refused_and_forgotten(void **state)
{
    (void)state;
    struct world w;
    struct node_link_view v;
    open_world(&w);
    w.refuse = true;
    begin(&w);
    assert_true(told(&w, CONTROL_EV_FAILED, false, 60000));
    assert_non_null(strstr(w.error, "full"));
    assert_int_equal(state_of(&w, &v), NODE_LINK_WAITING);
    assert_int_equal(v.failures, 1);
    w.refuse = false;
    assert_true(until(&w, &w.beats, 2, 60000));
    uint64_t dials = control_stats(w.c)->dials;
    w.forget = true;
    assert_true(until(&w, &w.registers, 3, 60000));
    assert_true(told(&w, CONTROL_EV_LOST, false, 60000));
    assert_int_equal(control_stats(w.c)->dials, dials); /* the same connection */
    /* What is no answer is a failure like another. */
    w.nonsense = true;
    unsigned n = (unsigned)w.n_events;
    while (w.n_events < n + 2 && until(&w, &w.beats, UINT32_MAX, 200) == false)
        if (strstr(w.error, "answer to") != NULL)
            break;
    assert_non_null(strstr(w.error, "answer to"));
    close_world(&w);
}

/* Ends while everything that can be under way is: a look-up, a connection, a call. */
static void ends_at_any_time(void **state)
{
    (void)state;
    for (int passes = 0; passes < 40; passes++) {
        struct world w;
        open_world(&w);
        w.hang = passes >= 20;
        begin(&w);
        for (int i = 0; i < passes % 20; i++)
            loop_run_once(w.rig.loop, false);
        close_world(&w);
    }
}

static void no_scheduler(void **state)
{
    (void)state;
    struct world w;
    struct err e;
    open_world(&w);
    struct control_options o = options(&w, "127.0.0.1:1");
    assert_int_equal(control_new(&w.c, &o, &e), 0);
    assert_true(told(&w, CONTROL_EV_FAILED, false, 60000));
    assert_non_null(strstr(w.error, "RegisterNode"));
    control_free(w.c);
    o.address = "name-that-is.invalid:80";
    w.n_events = 0;
    assert_int_equal(control_new(&w.c, &o, &e), 0);
    assert_true(told(&w, CONTROL_EV_FAILED, false, 60000));
    assert_non_null(strstr(w.error, "\"name-that-is.invalid\""));
    control_free(w.c);
    /* TLS against a server that has none. */
    char address[64];
    struct buf b = BUF_FIXED(address);
    (void)buf_addf(&b, "127.0.0.1:%u", w.rig.port);
    o.address = address;
    o.insecure = false;
    w.n_events = 0;
    assert_int_equal(control_new(&w.c, &o, &e), 0);
    assert_true(told(&w, CONTROL_EV_FAILED, false, 60000));
    assert_int_equal(w.registers, 0);
    o.address = "nowhere";
    struct control *none = NULL;
    assert_int_equal(control_new(&none, &o, &e), ERR_INVALID);
    close_world(&w);
}

/* The n-th allocation of ours fails, from the first on: it goes on, and is registered in the end.
 */
static void memory_runs_out(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 400; n += n < 60 ? 1 : 7) {
        struct world w;
        struct err e;
        char address[64];
        struct buf b = BUF_FIXED(address);
        open_world(&w);
        (void)buf_addf(&b, "127.0.0.1:%u", w.rig.port);
        const struct control_options o = options(&w, address);
        mem_fail_at(n, false);
        int rc = control_new(&w.c, &o, &e);
        if (rc != 0)
            assert_int_equal(rc, ERR_NO_MEMORY);
        for (int i = 0; i < 60 && rc == 0 && w.beats == 0; i++)
            loop_run_once(w.rig.loop, false);
        mem_fail_at(0, false);
        if (rc != 0)
            w.c = NULL;
        else if (n % 20 == 0)
            assert_true(until(&w, &w.beats, 1, 60000));
        close_world(&w);
    }
}

static int make_files(void **state)
{
    (void)state;
    return tls_files_make() ? 0 : -1;
}

static int remove_files(void **state)
{
    (void)state;
    tls_files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual),        cmocka_unit_test(refused_and_forgotten),
        cmocka_unit_test(ends_at_any_time), cmocka_unit_test(no_scheduler),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
