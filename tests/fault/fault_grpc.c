/* Each allocation failing in turn, once and for good, while gRPC calls of every kind are served,
 * with and without protobuf: nothing may crash, leak or wedge, and the server serves afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.pb-c.h"
#include "api/grpc/health.h"
#include "api/grpc/reflection.h"
#include "base/log.h"
#include "base/mem.h"
#include "grpc_app.h"
#include "grpc_rig.h"
#include "net/grpc_wire.h"

static const struct protocol *const protocols[] = {&protocol_http2, NULL};

static struct grpc_app app;
static struct grpc_server *raw;
static struct grpc_api *api;
static struct grpc_health *health;
static struct grpc_reflection *reflection;
static int records;

static void get(struct rpc_call *c, const ProtobufCMessage *m)
{
    Persys__Agent__V1__ApplyWorkloadResponse a = PERSYS__AGENT__V1__APPLY_WORKLOAD_RESPONSE__INIT;
    a.message = ((const Persys__Agent__V1__ApplyWorkloadRequest *)m)->id;
    rpc_reply(c, &a.base);
}

static struct slice id_of(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__ApplyWorkloadRequest *)m)->id);
}

static const struct rpc_row rows[] = {
    RPC("/persys.agent.v1.AgentService/ApplyWorkload", RIGHT_WRITE, "workload",
        persys__agent__v1__apply_workload_request__descriptor,
        persys__agent__v1__apply_workload_response__descriptor, .name = id_of, .handler = get),
};

/* "viewer" and "admin" are somebody. */
static int identify(void *ctx BASE_UNUSED, struct exchange *x BASE_UNUSED, struct slice token,
                    const struct identity **ret, uint32_t *wait BASE_UNUSED, struct err *e)
{
    if (token.p == NULL)
        return err_set(e, ERR_UNAUTHENTICATED, "Not authenticated");
    struct identity *i = identity_new(IDENTITY_TOKEN, "token:", token);
    if (i == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *ret = i;
    return rights_add(&i->rights, token, e);
}

static void count(void *ctx BASE_UNUSED, const struct audit_record *r BASE_UNUSED)
{
    records++;
}

static void handler(void *ctx BASE_UNUSED, struct exchange *x)
{
    if (slice_starts(exchange_request(x)->path, "/test."))
        grpc_server_handle(raw, x);
    else
        grpc_api_handle(api, x);
}

static int make_servers(struct err *e)
{
    static const struct api_guard guard = {identify, NULL};
    static const struct audit_sink sink = {count, NULL};
    const struct grpc_server_options so = {.methods = grpc_app_methods,
                                           .n_methods = grpc_app_n_methods,
                                           .app = &app,
                                           .decided = grpc_app_decided};
    int rc = grpc_server_new(&raw, &so, e);
    if (rc == 0)
        rc = grpc_health_new(&health);
    if (rc == 0)
        rc = grpc_reflection_new(&reflection, grpc_reflection_own_set(), e);
    if (rc != 0)
        return rc;
    const struct rpc_table tables[] = {{rows, ARRAY_LEN(rows), NULL},
                                       *grpc_health_table(health),
                                       *grpc_reflection_table(reflection)};
    const struct grpc_api_options ao = {
        .tables = tables, .n_tables = ARRAY_LEN(tables), .guard = &guard, .audit = &sink};
    rc = grpc_api_new(&api, &ao, e);
    if (rc == 0)
        grpc_reflection_set_api(reflection, api);
    return rc;
}

static void free_servers(void)
{
    grpc_api_free(api);
    grpc_reflection_free(reflection);
    grpc_health_free(health);
    grpc_server_free(raw);
    api = NULL;
    reflection = NULL;
    health = NULL;
    raw = NULL;
}

/* ---- what the client says, made before anything fails ---- */

static const struct {
    const char *path, *more;
    struct slice messages[3];
} talk[] = {
    {"/test.T/Echo", "x-a: 1\nx-b-bin: AAA\ny-c: 2\ngrpc-timeout: 9S\n", {{"hello", 5}}},
    {"/test.T/Fail", NULL, {{"7", 1}}},
    {"/test.T/None", NULL, {{"7", 1}}},
    {"/test.T/Wait", "grpc-timeout: 1m\n", {{"w", 1}}},
    {"/test.T/Sum", NULL, {{"one", 3}, {"two", 3}, {"", 0}}},
    {"/test.T/Count", NULL, {{"5 20000", 7}}},
    {"/test.T/Chat", NULL, {{"a", 1}, {"b", 1}, {"c", 1}}},
    {"/persys.agent.v1.AgentService/ApplyWorkload",
     "authorization: Bearer admin\n",
     {{"\x0a\x02w1\x2a\x0f\x0a\x0d\x0a\x03img\x22\x06\x0a\x01k\x12\x01v", 21}}},
    {"/persys.agent.v1.AgentService/ApplyWorkload",
     "authorization: Bearer viewer\n",
     {{"\x0a\x01w", 3}}},
    {"/persys.agent.v1.AgentService/ApplyWorkload", NULL, {{"\x0a\x01w", 3}}},
    {"/persys.agent.v1.AgentService/ApplyWorkload",
     "authorization: Bearer admin\n",
     {{"\x0a\x01\xff", 3}}},
    {"/grpc.health.v1.Health/Check", NULL, {{"", 0}}},
    {"/grpc.health.v1.Health/Watch", NULL, {{"", 0}}},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     "authorization: Bearer viewer\n",
     {{"\x3a\0", 2}, {"\x22\x1cpersys.agent.v1.AgentService", 30}, {"\x22\x02no", 4}}},
};

static void make_talk(struct buf *out)
{
    struct gc *c = mem_zalloc(sizeof(*c));
    const uint8_t *p;
    ssize_t n;
    assert_non_null(c);
    gc_offline(c);
    for (size_t i = 0; i < ARRAY_LEN(talk); i++) {
        struct gc_call *k = gc_call(c, talk[i].path, talk[i].more);
        for (size_t m = 0; m < 3 && talk[i].messages[m].p != NULL; m++)
            gc_message(c, k, talk[i].messages[m], m == 2 || talk[i].messages[m + 1].p == NULL);
    }
    while ((n = nghttp2_session_mem_send(c->s, &p)) > 0)
        buf_add(out, p, (size_t)n);
    assert_int_equal(out->err, 0);
    gc_done(c);
    mem_free(c);
}

/* ---- each allocation ---- */

static void drain(struct rig *r, int fd, int turns)
{
    char tmp[65536];
    for (int i = 0; i < turns; i++) {
        loop_run_once(r->loop, false);
        while (read(fd, tmp, sizeof(tmp)) > 0)
            ;
    }
}

static void once(struct rig *r, const struct buf *bytes, uint64_t n, bool sticky, bool *hit)
{
    int fd = rig_connect(r);
    mem_fail_at(n, sticky);
    /* In pieces, so that messages are cut. */
    for (size_t at = 0; at < bytes->len; at += 700) {
        size_t len = bytes->len - at < 700 ? bytes->len - at : 700;
        rig_send(r, fd, bytes->data + at, len);
        drain(r, fd, 2);
    }
    drain(r, fd, 15);
    *hit = mem_fail_hit();
    mem_fail_at(0, false);
    close(fd);
    drain(r, -1, 10);
}

static void serving(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf bytes = BUF_INIT(100000);
    struct err e = {0};
    make_talk(&bytes);
    for (int sticky = 0; sticky < 2; sticky++) {
        struct rig r;
        bool hit = true;
        uint64_t n = 1;
        app = (struct grpc_app){.pause_every = 0};
        assert_int_equal(make_servers(&e), 0);
        rig_open(&r, protocols, NULL, handler, NULL);
        for (; hit && n < 20000; n++)
            once(&r, &bytes, n, sticky != 0, &hit);
        assert_false(hit);
        assert_true(n > 100);
        rig_run(&r, 20);
        assert_true(app.begun > 100);
        assert_int_equal(app.begun, app.closed);
        assert_int_equal(grpc_server_stats(raw)->open, 0);
        assert_int_equal(grpc_server_stats(raw)->partial, 0);
        assert_int_equal(grpc_api_stats(api)->open, 0);
        assert_int_equal(grpc_api_stats(api)->partial, 0);
        assert_int_equal(server_stats(r.server)->exchanges, 0);
        assert_int_equal(server_stats(r.server)->connections, 0);
        /* It still works. */
        struct gc c;
        gc_open(&c, &r, 0, false);
        struct gc_call *k = gc_unary(&c, "/test.T/Echo", SLICE_LIT("still"));
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, GRPC_OK);
        k = gc_unary(&c, "/grpc.health.v1.Health/Check", SLICE_LIT(""));
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, GRPC_OK);
        gc_done(&c);
        rig_close(&r);
        free_servers();
    }
    assert_true(records > 0);
}

static void making(void **state BASE_UNUSED)
{
    bool hit = true;
    uint64_t n = 1;
    for (; hit && n < 1000; n++) {
        struct err e = {0};
        mem_fail_at(n, true);
        int rc = make_servers(&e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        free_servers();
    }
    assert_in_range(n, 4, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(serving), cmocka_unit_test(making)};
    log_setup(2, LOG_FORMAT_AUTO, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
