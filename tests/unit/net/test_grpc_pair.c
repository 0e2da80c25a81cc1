/* Our gRPC client and our gRPC server in one loop: all kinds of calls, many at once, slow sides, a
 * server that stops, TLS with certificates on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "grpc_app.h"
#include "net/grpc_client.h"
#include "net_rig.h"
#include "tls_files.h"

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

struct pair {
    struct rig rig;
    struct grpc_app app;
    struct grpc_server *server;
    struct grpc_client *client;
    struct tls_context *server_tls, *client_tls;
};

static void open_server(struct pair *p, const struct http_limits *limits)
{
    struct grpc_server_options o = {
        .methods = grpc_app_methods, .n_methods = grpc_app_n_methods, .app = &p->app};
    struct err e;
    *p = (struct pair){0};
    assert_int_equal(grpc_server_new(&p->server, &o, &e), 0);
    rig_open(&p->rig, protocols, limits, grpc_server_handle, p->server);
}

static void open_client(struct pair *p, uint16_t port)
{
    struct grpc_client_options o = {
        .http2.target = {.host = "127.0.0.1", .port = port, .tls = p->client_tls},
        .http2.backoff_ms = 10};
    struct err e;
    assert_int_equal(grpc_client_new(&p->client, p->rig.loop, &o, &e), 0);
}

static void pair_open(struct pair *p, const struct http_limits *limits)
{
    open_server(p, limits);
    open_client(p, p->rig.port);
}

static void pair_close(struct pair *p)
{
    grpc_client_free(p->client);
    tls_context_unref(p->client_tls);
    tls_context_unref(p->server_tls);
    rig_close(&p->rig);
    assert_int_equal(p->app.begun, p->app.closed);
    grpc_server_free(p->server);
}

static bool until(struct pair *p, const int *count, int n)
{
    for (uint64_t end = clock_mono_ms(&clock_system) + 20000;
         *count < n && clock_mono_ms(&clock_system) < end;)
        loop_run_once(p->rig.loop, true);
    return *count >= n;
}

struct one {
    struct grpc_client_call *call;
    int done, code, messages;
    size_t bytes;
    char text[200], first[200];
    unsigned pause_every;
    int pauses;
    size_t to_send, size; /* messages that are still to be sent, and their size */
    int refused;
};

static void on_done(void *ctx, const struct grpc_result *r)
{
    struct one *o = ctx;
    assert_int_equal(o->done, 0);
    o->done++;
    o->code = r->code;
    snprintf(o->text, sizeof(o->text), "%s", r->message);
}

static void on_unary(void *ctx, const struct grpc_result *r, struct slice m)
{
    struct one *o = ctx;
    on_done(ctx, r);
    o->bytes = m.len;
    snprintf(o->first, sizeof(o->first), "%.*s", (int)(m.len < 100 ? m.len : 100), m.p);
}

static void on_message(void *ctx, struct slice m)
{
    struct one *o = ctx;
    if (o->messages == 0)
        snprintf(o->first, sizeof(o->first), "%.*s", (int)(m.len < 100 ? m.len : 100), m.p);
    o->messages++;
    o->bytes += m.len;
    if (o->pause_every != 0 && (unsigned)o->messages % o->pause_every == 0) {
        grpc_client_pause(o->call, true);
        o->pauses++;
    }
}

static void send_more(void *ctx)
{
    static char block[1u << 20];
    struct one *o = ctx;
    while (o->to_send > 0) {
        int rc = grpc_client_send(o->call, (struct slice){block, o->size});
        if (rc == ERR_LIMIT) {
            o->refused++;
            return;
        }
        assert_int_equal(rc, 0);
        o->to_send--;
    }
    assert_int_equal(grpc_client_end(o->call), 0);
}

static const struct grpc_client_user user = {
    .message = on_message, .drained = send_more, .done = on_done};

static void unary(struct pair *p, struct one *o, const char *method, struct slice m)
{
    const struct grpc_request r = {.method = method, .timeout_ms = 15000};
    struct err e;
    *o = (struct one){0};
    assert_int_equal(grpc_client_unary(p->client, &r, m, on_unary, o, &o->call, &e), 0);
}

static void start(struct pair *p, struct one *o, const char *method)
{
    const struct grpc_request r = {.method = method, .timeout_ms = 15000};
    struct err e;
    assert_int_equal(grpc_client_start(&o->call, p->client, &r, &user, o, &e), 0);
}

static void all_kinds(void **state BASE_UNUSED)
{
    struct pair p;
    struct one o;
    pair_open(&p, NULL);
    unary(&p, &o, "/test.T/Echo", SLICE_LIT("hello"));
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_OK);
    assert_string_equal(o.first, "hello");
    unary(&p, &o, "/test.T/Fail", SLICE_LIT("moon"));
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_NOT_FOUND);
    assert_string_equal(o.text, "there is no \"moon\"");
    unary(&p, &o, "/test.T/None", SLICE_LIT(""));
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_UNIMPLEMENTED);
    o = (struct one){.to_send = 10, .size = 7};
    start(&p, &o, "/test.T/Sum");
    send_more(&o);
    assert_true(until(&p, &o.done, 1));
    assert_string_equal(o.first, "10 70");
    o = (struct one){0};
    start(&p, &o, "/test.T/Count");
    assert_int_equal(grpc_client_send(o.call, SLICE_LIT("1000 100")), 0);
    assert_int_equal(grpc_client_end(o.call), 0);
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_OK);
    assert_int_equal(o.messages, 1000);
    o = (struct one){0};
    start(&p, &o, "/test.T/Chat");
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(grpc_client_send(o.call, SLICE_LIT("ping")), 0);
        assert_true(until(&p, &o.messages, i));
    }
    assert_int_equal(grpc_client_end(o.call), 0);
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_OK);
    assert_int_equal(o.bytes, 20);
    assert_int_equal(h2_client_stats(grpc_client_http2(p.client))->connects, 1);
    pair_close(&p);
}

static void big_messages(void **state BASE_UNUSED)
{
    static char block[GRPC_MESSAGE_MAX + 1];
    struct pair p;
    struct one o;
    struct http_limits l = http_limits_default;
    l.max_body = 64u << 20;
    pair_open(&p, &l);
    unary(&p, &o, "/test.T/Echo", (struct slice){block, GRPC_MESSAGE_MAX});
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_OK);
    assert_int_equal(o.bytes, GRPC_MESSAGE_MAX);
    unary(&p, &o, "/test.T/Echo", (struct slice){block, GRPC_MESSAGE_MAX + 1});
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_RESOURCE_EXHAUSTED);
    pair_close(&p);
}

static void thousand_at_once(void **state BASE_UNUSED)
{
    enum { N = 1000 };
    static struct one many[N];
    struct pair p;
    int done = 0;
    pair_open(&p, NULL); /* the server allows 100 streams */
    for (int i = 0; i < N; i++) {
        char text[20];
        int n = snprintf(text, sizeof(text), "call %d", i);
        unary(&p, &many[i], "/test.T/Echo", (struct slice){text, (size_t)n});
    }
    for (int i = 0; i < N; i++) {
        char text[20];
        snprintf(text, sizeof(text), "call %d", i);
        assert_true(until(&p, &many[i].done, 1));
        assert_int_equal(many[i].code, GRPC_OK);
        assert_string_equal(many[i].first, text);
        done++;
    }
    assert_int_equal(done, N);
    assert_int_equal(h2_client_stats(grpc_client_http2(p.client))->connects, 1);
    pair_close(&p);
}

/* 100 MiB each way past a reader that stops all the time: memory stays within the windows. */
static void slow_sides(void **state BASE_UNUSED)
{
    struct pair p;
    struct one o = {.pause_every = 10};
    struct http_limits l = http_limits_default;
    l.max_body = 1u << 30;
    pair_open(&p, &l);
    start(&p, &o, "/test.T/Count");
    assert_int_equal(grpc_client_send(o.call, SLICE_LIT("1000 100000")), 0);
    assert_int_equal(grpc_client_end(o.call), 0);
    for (int i = 1; i <= 100; i++) {
        assert_true(until(&p, &o.pauses, i));
        assert_int_equal(o.messages, i * 10);
        grpc_client_pause(o.call, false);
    }
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_OK);
    assert_int_equal(o.bytes, 100000000);
    o = (struct one){.to_send = 100, .size = 1000000};
    p.app.pause_every = 20;
    start(&p, &o, "/test.T/Sum");
    send_more(&o);
    while (o.done == 0) {
        loop_run_once(p.rig.loop, p.app.paused == NULL);
        if (p.app.paused != NULL) {
            struct grpc_call *c = p.app.paused;
            p.app.paused = NULL;
            grpc_call_resume(c);
        }
    }
    assert_int_equal(o.code, GRPC_OK);
    assert_string_equal(o.first, "100 100000000");
    assert_true(o.refused > 10);
    pair_close(&p);
}

static void deadline(void **state BASE_UNUSED)
{
    struct pair p;
    struct one o = {0};
    const struct grpc_request r = {.method = "/test.T/Wait", .timeout_ms = 400};
    struct err e;
    pair_open(&p, NULL);
    assert_int_equal(grpc_client_unary(p.client, &r, SLICE_LIT("x"), on_unary, &o, &o.call, &e), 0);
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_DEADLINE_EXCEEDED);
    assert_true(until(&p, &p.app.closed, 1)); /* the server let go as well */
    unary(&p, &o, "/test.T/Wait", SLICE_LIT("x"));
    while (p.app.waiting == NULL)
        loop_run_once(p.rig.loop, true);
    grpc_client_cancel(o.call);
    assert_true(until(&p, &o.done, 1));
    assert_int_equal(o.code, GRPC_CANCELLED);
    assert_true(until(&p, &p.app.closed, 2));
    pair_close(&p);
}

static void stopped(void *ctx)
{
    ++*(int *)ctx;
}

/* The server drains: what runs is answered, what comes later finds nobody. */
static void server_stops(void **state BASE_UNUSED)
{
    struct pair p;
    struct one first, second;
    int gone = 0;
    pair_open(&p, NULL);
    unary(&p, &first, "/test.T/Wait", SLICE_LIT("x"));
    while (p.app.waiting == NULL)
        loop_run_once(p.rig.loop, true);
    server_drain(p.rig.server, 10000, stopped, &gone);
    const struct h2_client_stats *stats = h2_client_stats(grpc_client_http2(p.client));
    uint64_t end = clock_mono_ms(&clock_system) + 5000;
    while (stats->goaways == 0 && clock_mono_ms(&clock_system) < end)
        loop_run_once(p.rig.loop, false);
    assert_true(stats->goaways > 0);
    unary(&p, &second, "/test.T/Echo", SLICE_LIT("y"));
    assert_true(until(&p, &second.done, 1));
    assert_int_equal(second.code, GRPC_UNAVAILABLE);
    assert_int_equal(first.done, 0);
    grpc_call_reply(p.app.waiting, SLICE_LIT("late"));
    assert_true(until(&p, &first.done, 1));
    assert_int_equal(first.code, GRPC_OK);
    assert_string_equal(first.first, "late");
    assert_true(until(&p, &gone, 1));
    grpc_client_free(p.client);
    server_free(p.rig.server);
    for (int i = 0; i < 1000 && loop_run_once(p.rig.loop, false); i++)
        usleep(100);
    loop_free(p.rig.loop);
    grpc_server_free(p.server);
}

/* ---- TLS ---- */

static uint16_t open_tls(struct pair *p, const char *server, const char *client, bool alpn)
{
    static const char *const h2[] = {"h2", NULL};
    static const char *const h1[] = {"http/1.1", NULL};
    char pem[32], key[32];
    struct listener_options lo = {.host = "127.0.0.1",
                                  .protocols = protocols,
                                  .handler = grpc_server_handle,
                                  .ctx = p->server};
    struct listener *l;
    struct err e;
    snprintf(pem, sizeof(pem), "%s.pem", server);
    snprintf(key, sizeof(key), "%s.key", server);
    const struct tls_options so = {.server = true,
                                   .cert_file = tls_file(pem),
                                   .key_file = tls_file(key),
                                   .ca_file = tls_file("ca.pem"),
                                   .require_client_cert = true,
                                   .alpn = alpn ? h2 : h1};
    struct tls_options co = {.ca_file = tls_file("ca.pem")};
    if (client != NULL) {
        snprintf(pem, sizeof(pem), "%s.pem", client);
        snprintf(key, sizeof(key), "%s.key", client);
        co.cert_file = tls_file(pem);
        co.key_file = tls_file(key);
    }
    const struct stream_target target = {.host = "127.0.0.1"};
    assert_int_equal(tls_context_new(&p->server_tls, p->rig.loop, &so, &e), 0);
    assert_int_equal(h2_client_tls(&p->client_tls, p->rig.loop, &target, &co, &e), 0);
    lo.tls = p->server_tls;
    assert_int_equal(server_listen(p->rig.server, &lo, &l, &e), 0);
    return listener_port(l);
}

static void over_tls(void **state BASE_UNUSED)
{
    static const struct {
        const char *server, *client;
        bool alpn;
        int code;
        const char *word;
    } cases[] = {
        {"server", "client", true, GRPC_OK, ""},
        {"server", NULL, true, GRPC_UNAVAILABLE, ""},
        {"server", "stranger", true, GRPC_UNAVAILABLE, ""},
        {"wrong", "client", true, GRPC_UNAVAILABLE, "mismatch"},
        {"expired", "client", true, GRPC_UNAVAILABLE, "expired"},
        {"server", "client", false, GRPC_UNAVAILABLE, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p;
        struct one o;
        open_server(&p, NULL);
        open_client(&p, open_tls(&p, cases[i].server, cases[i].client, cases[i].alpn));
        unary(&p, &o, "/test.T/Echo", SLICE_LIT("secret"));
        assert_true(until(&p, &o.done, 1));
        if (o.code != cases[i].code || strstr(o.text, cases[i].word) == NULL)
            fail_msg("case %zu: %d, \"%s\"", i, o.code, o.text);
        if (o.code == GRPC_OK)
            assert_string_equal(o.first, "secret");
        pair_close(&p);
    }
    struct tls_context *c;
    struct err e;
    const struct stream_target target = {.unix_path = "/x"};
    assert_int_equal(h2_client_tls(&c, NULL, &target, NULL, &e), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds),        cmocka_unit_test(big_messages),
        cmocka_unit_test(thousand_at_once), cmocka_unit_test(slow_sides),
        cmocka_unit_test(deadline),         cmocka_unit_test(server_stops),
        cmocka_unit_test(over_tls),
    };
    (void)tls_init_memory();
    if (!tls_files_make())
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tls_files_remove();
    return rc;
}
