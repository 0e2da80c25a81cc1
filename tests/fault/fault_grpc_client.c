/* Each allocation failing in turn, once and for good, while gRPC calls of all kinds run between our
 * client and our server in one loop: every call that was accepted ends exactly once, nothing leaks
 * or wedges, and the client works afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "grpc_app.h"
#include "net/grpc_client.h"
#include "net_rig.h"

enum { CALLS = 4, ROUNDS_MAX = 5000 };

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

struct one {
    struct grpc_client_call *call;
    bool accepted, paused;
    int done, code, messages;
};

static void on_done(void *ctx, const struct grpc_result *r)
{
    struct one *o = ctx;
    assert_int_equal(o->done, 0);
    o->done++;
    o->code = r->code;
}

static void on_unary(void *ctx, const struct grpc_result *r, struct slice m)
{
    on_done(ctx, r);
    if (r->code == GRPC_OK)
        assert_int_equal(m.len, 5);
}

static void on_message(void *ctx, struct slice m BASE_UNUSED)
{
    struct one *o = ctx;
    if (o->messages++ == 2) {
        grpc_client_pause(o->call, true);
        o->paused = true;
    }
}

static void on_metadata(void *ctx BASE_UNUSED, const struct http_header *m BASE_UNUSED,
                        size_t n BASE_UNUSED)
{
}

static const struct grpc_client_user user = {
    .headers = on_metadata, .message = on_message, .trailers = on_metadata, .done = on_done};

static void begin_one(struct grpc_client *c, struct one *o, int kind)
{
    const struct http_header m[] = {{SLICE_LIT("x-a"), SLICE_LIT("1")},
                                    {SLICE_LIT("y-b-bin"), SLICE_LIT("\x01\x02")}};
    const char *const methods[] = {"/test.T/Echo", "/test.T/Count", "/test.T/Sum", "/test.T/Chat"};
    const struct grpc_request r = {
        .method = methods[kind], .metadata = m, .n_metadata = 2, .timeout_ms = 400};
    struct err e;
    if (kind == 0) {
        o->accepted = grpc_client_unary(c, &r, SLICE_LIT("hello"), on_unary, o, &o->call, &e) == 0;
        return;
    }
    o->accepted = grpc_client_start(&o->call, c, &r, &user, o, &e) == 0;
    if (!o->accepted)
        return;
    int rc = grpc_client_send(o->call, kind == 1 ? SLICE_LIT("6 30000") : SLICE_LIT("text"));
    if (rc == 0)
        rc = grpc_client_end(o->call);
    if (rc != 0)
        grpc_client_cancel(o->call);
}

static void run_all(struct loop *l, struct one *a)
{
    uint64_t end = clock_mono_ms(&clock_system) + 3000;
    for (;;) {
        bool all = true;
        for (int i = 0; i < CALLS; i++) {
            all = all && (!a[i].accepted || a[i].done == 1);
            if (a[i].paused && a[i].done == 0)
                grpc_client_pause(a[i].call, false);
        }
        if (all)
            return;
        assert_true(clock_mono_ms(&clock_system) < end);
        loop_run_once(l, false);
    }
}

/* True if the failure was met. */
static bool round_of(struct rig *rig, struct grpc_client *c, uint64_t n, bool sticky)
{
    struct one a[CALLS] = {0}, after = {0};
    mem_fail_at(n, sticky);
    for (int i = 0; i < CALLS; i++)
        begin_one(c, &a[i], i);
    for (int i = 0; i < 60; i++)
        loop_run_once(rig->loop, false);
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    run_all(rig->loop, a);
    if (!hit)
        for (int i = 0; i < CALLS; i++)
            assert_int_equal(a[i].code, GRPC_OK);
    const struct grpc_request r = {
        .method = "/test.T/Echo", .timeout_ms = 2000, .wait_for_ready = true};
    struct err e;
    assert_int_equal(grpc_client_unary(c, &r, SLICE_LIT("after"), on_unary, &after, NULL, &e), 0);
    for (uint64_t end = clock_mono_ms(&clock_system) + 3000;
         after.done == 0 && clock_mono_ms(&clock_system) < end;)
        loop_run_once(rig->loop, false);
    assert_int_equal(after.done, 1);
    return hit;
}

static void each_allocation(bool sticky, bool fresh)
{
    struct grpc_app app = {0};
    struct grpc_server *server;
    const struct grpc_server_options so = {
        .methods = grpc_app_methods, .n_methods = grpc_app_n_methods, .app = &app};
    struct rig rig;
    struct err e;
    struct grpc_client *c = NULL;
    bool hit = true;
    uint64_t n = 1;
    assert_int_equal(grpc_server_new(&server, &so, &e), 0);
    rig_open(&rig, protocols, NULL, grpc_server_handle, server);
    for (; hit && n < ROUNDS_MAX; n++) {
        const struct grpc_client_options o = {
            .http2.target = {.host = "127.0.0.1", .port = rig.port},
            .http2.backoff_ms = 1,
            .http2.backoff_max_ms = 4};
        if (c == NULL)
            assert_int_equal(grpc_client_new(&c, rig.loop, &o, &e), 0);
        hit = round_of(&rig, c, n, sticky);
        if (fresh) {
            grpc_client_free(c);
            c = NULL;
        }
    }
    assert_false(hit);
    assert_true(n > 10);
    grpc_client_free(c);
    rig_close(&rig);
    assert_int_equal(app.begun, app.closed);
    grpc_server_free(server);
}

static void once(void **state BASE_UNUSED)
{
    each_allocation(false, true);
    each_allocation(false, false);
}

static void for_good(void **state BASE_UNUSED)
{
    each_allocation(true, true);
    each_allocation(true, false);
}

static void making_clients(void **state BASE_UNUSED)
{
    struct loop *l;
    struct err e;
    bool hit = true;
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    for (uint64_t n = 1; hit; n++) {
        const struct grpc_client_options o = {.http2.target = {.unix_path = "/tmp/none"}};
        struct grpc_client *c = NULL;
        assert_true(n < 100);
        mem_fail_at(n, false);
        int rc = grpc_client_new(&c, l, &o, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        grpc_client_free(c);
        for (int i = 0; i < 20; i++)
            loop_run_once(l, false);
    }
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once),
        cmocka_unit_test(for_good),
        cmocka_unit_test(making_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
