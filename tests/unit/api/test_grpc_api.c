/* gRPC calls with protobuf: guard, records, bad messages, health and reflection, over real frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.pb-c.h"
#include "api/grpc/descriptors.h"
#include "api/grpc/health.h"
#include "api/grpc/message.h"
#include "api/grpc/reflection.h"
#include "base/mem.h"
#include "grpc_rig.h"
#include "health.pb-c.h"
#include "reflection.pb-c.h"

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};

#define SERVICE "/persys.agent.v1.AgentService/"
#define D(name) persys__agent__v1__##name##__descriptor

/* ---- a service ---- */

struct app {
    struct rig r;
    struct grpc_health *health;
    struct grpc_reflection *reflection;
    struct grpc_api *api;
    struct buf audit;
    int handled, closed, others;
    bool guard_on;
    struct identity *someone;
    struct rpc_call *held;
};

static struct slice id_of(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__GetWorkloadStatusRequest *)m)->id);
}

static void get(struct rpc_call *c, const ProtobufCMessage *m)
{
    Persys__Agent__V1__GetWorkloadStatusResponse a =
        PERSYS__AGENT__V1__GET_WORKLOAD_STATUS_RESPONSE__INIT;
    Persys__Agent__V1__WorkloadStatus s = PERSYS__AGENT__V1__WORKLOAD_STATUS__INIT;
    struct app *app = c->app;
    const Persys__Agent__V1__GetWorkloadStatusRequest *q = (const void *)m;
    app->handled++;
    s.id = q->id;
    s.message = strcmp(q->id, "broken") == 0 ? (char *)"\xff\xfe" : (char *)"fine";
    a.status = &s;
    rpc_reply(c, &a.base);
}

static void apply_closed(void *ctx, struct rpc_call *c BASE_UNUSED, int err BASE_UNUSED)
{
    struct app *app = ctx;
    app->closed++;
    app->held = NULL;
}

static const struct rpc_user apply_user = {.closed = apply_closed};

static void apply(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct app *app = c->app;
    const Persys__Agent__V1__ApplyWorkloadRequest *q = (const void *)m;
    app->handled++;
    if (strcmp(q->id, "forget") == 0)
        return;
    if (strcmp(q->id, "later") == 0) {
        app->held = c;
        rpc_set_user(c, &apply_user, app);
        return;
    }
    struct err e = {0};
    err_set(&e, ERR_CONFLICT, "workload \"%s\" is busy", q->id);
    rpc_fail(c, &e);
}

static struct slice apply_id(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__ApplyWorkloadRequest *)m)->id);
}

static void list(struct rpc_call *c, const ProtobufCMessage *m BASE_UNUSED)
{
    Persys__Agent__V1__ListWorkloadsResponse a = PERSYS__AGENT__V1__LIST_WORKLOADS_RESPONSE__INIT;
    Persys__Agent__V1__WorkloadStatus s[3], *all[3];
    static const char *const names[] = {"a1", "a2", "b1"};
    for (size_t i = 0; i < 3; i++) {
        persys__agent__v1__workload_status__init(&s[i]);
        s[i].id = (char *)(uintptr_t)names[i];
        if (rpc_may_see(c, slice_of(names[i])))
            all[a.n_workloads++] = &s[i];
    }
    a.workloads = all;
    rpc_reply(c, &a.base);
}

static const struct rpc_row rows[] = {
    RPC(SERVICE "ApplyWorkload", RIGHT_WRITE, "workload", D(apply_workload_request),
        D(apply_workload_response), .name = apply_id, .handler = apply),
    RPC(SERVICE "GetWorkloadStatus", RIGHT_READ, "workload", D(get_workload_status_request),
        D(get_workload_status_response), .name = id_of, .handler = get),
    RPC(SERVICE "ListWorkloads", RIGHT_READ, "workload", D(list_workloads_request),
        D(list_workloads_response), .list = true, .handler = list),
};

/* Tokens: "wrong" is none, "many" is one too many, others are rights. */
static int identify(void *ctx, struct exchange *x BASE_UNUSED, struct slice token,
                    const struct identity **ret, uint32_t *retry_after_s, struct err *e)
{
    struct app *app = ctx;
    if (!app->guard_on) {
        *ret = &identity_open;
        return 0;
    }
    if (token.p == NULL || token.len == 0 || slice_eqs(token, "wrong"))
        return err_set(e, ERR_UNAUTHENTICATED, "Not authenticated");
    if (slice_eqs(token, "many")) {
        *retry_after_s = 7;
        return err_set(e, ERR_LIMIT, "Too many wrong tokens");
    }
    struct identity *i = identity_new(IDENTITY_TOKEN, "token:", SLICE_LIT("test"));
    if (i == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    assert_int_equal(rights_add(&i->rights, token, e), 0);
    identity_unref(app->someone);
    app->someone = (struct identity *)(uintptr_t)identity_ref(i);
    *ret = i;
    return 0;
}

static void note(void *ctx, const struct audit_record *r)
{
    buf_addf(ctx, "%s %s %s \"%.*s\" %d %s: %.*s\n", r->who, r->verb, r->kind, (int)r->name.len,
             r->name.p ? r->name.p : "", r->status, r->result, (int)r->detail.len,
             r->detail.p ? r->detail.p : "");
}

static void other(void *ctx, struct exchange *x)
{
    struct app *app = ctx;
    app->others++;
    exchange_respond(x, &(struct http_response){.status = 200, .content_type = "text/plain"},
                     SLICE_LIT("REST"));
}

static bool host_allowed(void *app BASE_UNUSED, struct exchange *x)
{
    return !slice_eqs(exchange_request(x)->host, "evil");
}

static int setup(void **state)
{
    static struct app a;
    static struct audit_sink sink;
    static struct api_guard guard;
    struct err e = {0};
    memset(&a, 0, sizeof(a));
    buf_init(&a.audit, 65536);
    sink = (struct audit_sink){note, &a.audit};
    guard = (struct api_guard){identify, &a};
    assert_int_equal(grpc_health_new(&a.health), 0);
    assert_int_equal(grpc_reflection_new(&a.reflection, grpc_reflection_own_set(), &e), 0);
    const struct rpc_table tables[] = {{rows, ARRAY_LEN(rows), &a},
                                       *grpc_health_table(a.health),
                                       *grpc_reflection_table(a.reflection)};
    const struct grpc_api_options o = {.tables = tables,
                                       .n_tables = ARRAY_LEN(tables),
                                       .guard = &guard,
                                       .audit = &sink,
                                       .host_allowed = host_allowed,
                                       .other = other,
                                       .other_ctx = &a};
    assert_int_equal(grpc_api_new(&a.api, &o, &e), 0);
    grpc_reflection_set_api(a.reflection, a.api);
    rig_open(&a.r, protocols, NULL, grpc_api_handle, a.api);
    *state = &a;
    return 0;
}

static int teardown(void **state)
{
    struct app *a = *state;
    rig_close(&a->r);
    grpc_api_free(a->api);
    grpc_reflection_free(a->reflection);
    grpc_health_free(a->health);
    identity_unref(a->someone);
    buf_done(&a->audit);
    return 0;
}

static const char *text_of(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}
#define HAS(buf, text) assert_non_null(strstr(text_of(&(buf)), (text)))

/* A unary call of the message, with a token unless it is NULL. */
static struct gc_call *ask(struct gc *c, const char *path, const ProtobufCMessage *m,
                           const char *token)
{
    char more[256] = "";
    struct buf b = BUF_INIT(65536);
    if (token != NULL)
        snprintf(more, sizeof(more), "authorization: Bearer %s\n", token);
    struct gc_call *k = gc_call(c, path, more);
    buf_reserve(&b, 1);
    b.len = protobuf_c_message_get_packed_size(m);
    assert_int_equal(buf_reserve(&b, b.len), 0);
    protobuf_c_message_pack(m, (uint8_t *)b.data);
    gc_message(c, k, (struct slice){b.data, b.len}, true);
    buf_done(&b);
    gc_wait(c, k, 2000);
    return k;
}

static struct gc_call *ask_get(struct gc *c, const char *id, const char *token)
{
    Persys__Agent__V1__GetWorkloadStatusRequest q =
        PERSYS__AGENT__V1__GET_WORKLOAD_STATUS_REQUEST__INIT;
    q.id = (char *)(uintptr_t)id;
    return ask(c, SERVICE "GetWorkloadStatus", &q.base, token);
}

static struct gc_call *ask_apply(struct gc *c, const char *id, const char *token)
{
    Persys__Agent__V1__ApplyWorkloadRequest q = PERSYS__AGENT__V1__APPLY_WORKLOAD_REQUEST__INIT;
    q.id = (char *)(uintptr_t)id;
    return ask(c, SERVICE "ApplyWorkload", &q.base, token);
}

static ProtobufCMessage *answer_of(const struct gc_call *k, size_t n,
                                   const ProtobufCMessageDescriptor *d)
{
    struct slice m = gc_answer(k, n);
    assert_non_null(m.p);
    ProtobufCMessage *r = protobuf_c_message_unpack(d, NULL, m.len, (const uint8_t *)m.p);
    assert_non_null(r);
    return r;
}

static void calls(void **state)
{
    struct app *a = *state;
    struct gc c;
    gc_open(&c, &a->r, 0, false);
    struct gc_call *k = ask_get(&c, "w1", NULL);
    assert_int_equal(k->status, GRPC_OK);
    ProtobufCMessage *m = answer_of(k, 0, &D(get_workload_status_response));
    assert_string_equal(((Persys__Agent__V1__GetWorkloadStatusResponse *)m)->status->id, "w1");
    protobuf_c_message_free_unpacked(m, NULL);
    k = ask_get(&c, "broken", NULL);
    assert_int_equal(k->status, GRPC_INTERNAL);
    assert_int_equal(k->body.len, 0);
    k = ask_apply(&c, "busy", NULL);
    assert_int_equal(k->status, GRPC_FAILED_PRECONDITION);
    HAS(k->headers, "workload \"busy\" is busy");
    k = ask_apply(&c, "forget", NULL);
    assert_int_equal(k->status, GRPC_INTERNAL);
    assert_string_equal(text_of(&a->audit),
                        "open write workload \"busy\" 409 failed: workload \"busy\" is busy\n"
                        "open write workload \"forget\" 500 failed: the call was not answered\n");
    /* Later, and never. */
    k = ask_apply(&c, "later", NULL);
    assert_non_null(a->held);
    Persys__Agent__V1__ApplyWorkloadResponse r = PERSYS__AGENT__V1__APPLY_WORKLOAD_RESPONSE__INIT;
    r.applied = true;
    rpc_reply(a->held, &r.base);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    gc_run(&c, 5, NULL, NULL);
    assert_int_equal(a->closed, 1);
    buf_clear(&a->audit);
    k = ask_apply(&c, "later", NULL);
    gc_cancel(&c, k);
    gc_run(&c, 20, NULL, NULL);
    assert_int_equal(a->closed, 2);
    HAS(a->audit, "\"later\" 0 failed: the client left before it was done");
    /* Not gRPC: the other handler's. */
    k = gc_call(&c, "/anything", ":method: GET\ncontent-type: \n");
    gc_bytes(&c, k, "", 0, true);
    assert_true(gc_wait(&c, k, 2000));
    assert_true(slice_eqs((struct slice){k->body.data, k->body.len}, "REST"));
    k = gc_call(&c, SERVICE "GetWorkloadStatus", ":authority: evil\n");
    gc_message(&c, k, SLICE_LIT(""), true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_PERMISSION_DENIED);
    gc_done(&c);
}

static void bad_messages(void **state)
{
    struct app *a = *state;
    struct gc c;
    static const struct {
        struct slice bytes;
        int status;
        const char *has;
    } bad[] = {
        {{"\x0a\x05"
          "ab",
          4},
         GRPC_INTERNAL,
         "no persys.agent.v1.ApplyWorkloadRequest"},
        {{"\x0a\x02\xff\xfe", 4}, GRPC_INTERNAL, "field \"id\""},
        {{"\x0a\x02"
          "a\0",
          4},
         GRPC_INVALID_ARGUMENT,
         "holds a NUL"},
        /* spec.container.env["\xff"] */
        {{"\x2a\x07\x0a\x05\x22\x03\x0a\x01\xff", 9}, GRPC_INTERNAL, "field \"key\""},
        {{"\x2a\x02\x0a\x05", 4}, GRPC_INTERNAL, "no persys.agent.v1.WorkloadSpec"},
        {{"\x0b", 1}, GRPC_INTERNAL, ""},
        {{"\x00\x01", 2}, GRPC_INTERNAL, ""},
        {{"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, GRPC_INTERNAL, ""},
        {{"\x08\x01", 2}, GRPC_INTERNAL, "no persys"}, /* a number where a text should be */
    };
    gc_open(&c, &a->r, 0, false);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct gc_call *k = gc_call(&c, SERVICE "ApplyWorkload", NULL);
        gc_message(&c, k, bad[i].bytes, true);
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, bad[i].status);
        HAS(k->headers, bad[i].has);
    }
    assert_int_equal(a->handled, 0);
    /* Unknown fields are skipped: number 99, and number 12 of a VM (later clients send it). */
    struct gc_call *k = gc_call(&c, SERVICE "ApplyWorkload", NULL);
    gc_message(&c, k, SLICE_LIT("\x0a\x01w\x9a\x06\x02\xff\xfe\x2a\x06\x1a\x04\x62\x02\xff\xff"),
               true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_FAILED_PRECONDITION);
    assert_int_equal(a->handled, 1);
    /* Two bytes each on the wire, a struct each in memory. */
    struct buf many = BUF_INIT(4u << 20);
    buf_addlit(&many, "\x2a\x85\x80\x80\x01\x0a\x80\x80\x80\x01"); /* spec.container of 2 MiB */
    for (size_t i = 0; i < 1u << 20; i++)
        buf_addlit(&many, "\x2a\0"); /* an empty volume mount */
    k = gc_call(&c, SERVICE "ApplyWorkload", NULL);
    gc_message(&c, k, (struct slice){many.data, many.len}, true);
    assert_true(gc_wait(&c, k, 5000));
    assert_int_equal(k->status, GRPC_RESOURCE_EXHAUSTED);
    HAS(k->headers, "becomes too large");
    buf_done(&many);
    gc_done(&c);
}

static void rights(void **state)
{
    struct app *a = *state;
    struct gc c;
    a->guard_on = true;
    gc_open(&c, &a->r, 0, false);
    struct gc_call *k = ask_get(&c, "w1", NULL);
    assert_int_equal(k->status, GRPC_UNAUTHENTICATED);
    assert_true(k->only_head);
    k = ask_get(&c, "w1", "wrong");
    assert_int_equal(k->status, GRPC_UNAUTHENTICATED);
    k = ask_get(&c, "w1", "many");
    assert_int_equal(k->status, GRPC_RESOURCE_EXHAUSTED);
    HAS(k->headers, "retry-after: 7\n");
    assert_int_equal(a->handled, 0);
    k = ask_get(&c, "w1", "viewer");
    assert_int_equal(k->status, GRPC_OK);
    k = ask_apply(&c, "w1", "viewer");
    assert_int_equal(k->status, GRPC_PERMISSION_DENIED);
    HAS(k->headers, "has not the right \"write workload w1\"");
    k = ask_get(&c, "a1", "read workload a*");
    assert_int_equal(k->status, GRPC_OK);
    k = ask_get(&c, "b1", "read workload a*");
    assert_int_equal(k->status, GRPC_PERMISSION_DENIED);
    Persys__Agent__V1__ListWorkloadsRequest q = PERSYS__AGENT__V1__LIST_WORKLOADS_REQUEST__INIT;
    k = ask(&c, SERVICE "ListWorkloads", &q.base, "read workload a*");
    assert_int_equal(k->status, GRPC_OK);
    ProtobufCMessage *m = answer_of(k, 0, &D(list_workloads_response));
    assert_int_equal(((Persys__Agent__V1__ListWorkloadsResponse *)m)->n_workloads, 2);
    protobuf_c_message_free_unpacked(m, NULL);
    k = ask(&c, SERVICE "ListWorkloads", &q.base, "read service *");
    assert_int_equal(k->status, GRPC_PERMISSION_DENIED);
    assert_string_equal(
        text_of(&a->audit),
        "none read workload \"\" 401 refused: Not authenticated\n"
        "none read workload \"\" 401 refused: Not authenticated\n"
        "none read workload \"\" 429 refused: Too many wrong tokens\n"
        "token:test write workload \"w1\" 403 refused: token:test has not the right \"write "
        "workload w1\"\n"
        "token:test read workload \"b1\" 403 refused: token:test has not the right \"read workload "
        "b1\"\n"
        "token:test read workload \"\" 403 refused: token:test has not the right \"read workload "
        "*\"\n");
    /* Two of them are none; two names that differ only in what a text ends at are two. */
    k = gc_call(&c, SERVICE "GetWorkloadStatus", "authorization: Bearer viewer\n");
    gc_message(&c, k, SLICE_LIT("\x0a\x01w"), true);
    assert_true(gc_wait(&c, k, 2000));
    assert_int_equal(k->status, GRPC_OK);
    struct buf out = BUF_INIT(65536);
    grpc_api_write_metrics(a->api, &out);
    HAS(out, "gantry_grpc_requests_total{method=\"/persys.agent.v1.AgentService/ApplyWorkload\","
             "code=\"PERMISSION_DENIED\"} 1\n");
    HAS(out, "gantry_grpc_request_duration_seconds_count{method=\"/persys.agent.v1.AgentService/"
             "ListWorkloads\"} 2\n");
    buf_done(&out);
    gc_done(&c);
}

/* ---- health ---- */

static int state_of(const struct gc_call *k, size_t n)
{
    ProtobufCMessage *m = answer_of(k, n, &grpc__health__v1__health_check_response__descriptor);
    int s = (int)((Grpc__Health__V1__HealthCheckResponse *)m)->status;
    protobuf_c_message_free_unpacked(m, NULL);
    return s;
}

static void health(void **state)
{
    struct app *a = *state;
    struct gc c;
    Grpc__Health__V1__HealthCheckRequest q = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    a->guard_on = true; /* needs none */
    gc_open(&c, &a->r, 0, false);
    assert_int_equal(grpc_health_set(a->health, "persys.agent.v1.AgentService", true), 0);
    struct gc_call *k = ask(&c, "/grpc.health.v1.Health/Check", &q.base, NULL);
    assert_int_equal(k->status, GRPC_OK);
    assert_int_equal(state_of(k, 0), 1);
    q.service = (char *)"none.Such";
    k = ask(&c, "/grpc.health.v1.Health/Check", &q.base, NULL);
    assert_int_equal(k->status, GRPC_NOT_FOUND);
    struct gc_call *unknown = gc_call(&c, "/grpc.health.v1.Health/Watch", NULL);
    gc_message(&c, unknown, SLICE_LIT("\x0a\x04late"), true);
    struct gc_call *w = gc_call(&c, "/grpc.health.v1.Health/Watch", NULL);
    gc_message(&c, w, SLICE_LIT("\x0a\x1cpersys.agent.v1.AgentService"), true);
    gc_run(&c, 20, NULL, NULL);
    assert_int_equal(state_of(unknown, 0), 3);
    assert_int_equal(state_of(w, 0), 1);
    assert_int_equal(grpc_health_set(a->health, "persys.agent.v1.AgentService", false), 0);
    assert_int_equal(grpc_health_set(a->health, "persys.agent.v1.AgentService", false), 0);
    assert_int_equal(grpc_health_set(a->health, "late", true), 0);
    gc_run(&c, 20, NULL, NULL);
    assert_int_equal(state_of(w, 1), 2);
    assert_null(gc_answer(w, 2).p); /* told once */
    assert_int_equal(state_of(unknown, 1), 1);
    gc_cancel(&c, w);
    gc_run(&c, 20, NULL, NULL);
    grpc_health_shutdown(a->health);
    assert_true(gc_wait(&c, unknown, 2000));
    assert_int_equal(state_of(unknown, 2), 2);
    assert_int_equal(unknown->status, GRPC_UNAVAILABLE);
    q.service = (char *)"";
    k = ask(&c, "/grpc.health.v1.Health/Check", &q.base, NULL);
    assert_int_equal(state_of(k, 0), 2);
    k = ask(&c, "/grpc.health.v1.Health/Watch", &q.base, NULL);
    assert_int_equal(k->status, GRPC_UNAVAILABLE);
    for (int i = 0; i < GRPC_HEALTH_SERVICES - 3; i++) {
        static char names[GRPC_HEALTH_SERVICES][8];
        snprintf(names[i], sizeof(names[i]), "s%d", i);
        assert_int_equal(grpc_health_set(a->health, names[i], true), 0);
    }
    assert_int_equal(grpc_health_set(a->health, "more", true), ERR_LIMIT);
    gc_done(&c);
}

/* ---- reflection ---- */

static void question(struct gc *c, struct gc_call *k, struct slice bytes)
{
    gc_message(c, k, bytes, false);
    gc_run(c, 20, NULL, NULL);
}

static void reflection(void **state)
{
    struct app *a = *state;
    struct gc c;
    typedef Grpc__Reflection__V1__ServerReflectionResponse response;
    a->guard_on = true;
    gc_open(&c, &a->r, 0, false);
    static const char *const paths[] = {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    };
    for (size_t i = 0; i < 2; i++) {
        struct gc_call *k = gc_call(&c, paths[i], "authorization: Bearer viewer\n");
        question(&c, k, SLICE_LIT("\x3a\0"));
        question(&c, k, SLICE_LIT("\x22\x1cpersys.agent.v1.AgentService"));
        question(&c, k, SLICE_LIT("\x22\x07no.Such"));
        question(&c, k, SLICE_LIT("\x1a\x1bgrpc/health/v1/health.proto"));
        question(&c, k,
                 SLICE_LIT("\x32\x1epersys.agent.v1.AgentAction"
                           "XXX"));
        question(&c, k, SLICE_LIT("\x32\x1bpersys.agent.v1.AgentAction"));
        question(&c, k,
                 SLICE_LIT("\x2a\x04\x0a\x02"
                           "ab"));
        gc_bytes(&c, k, "", 0, true);
        assert_true(gc_wait(&c, k, 2000));
        assert_int_equal(k->status, GRPC_OK);
        response *r[7];
        for (size_t n = 0; n < 7; n++)
            r[n] = (response *)answer_of(
                k, n, &grpc__reflection__v1__server_reflection_response__descriptor);
        assert_int_equal(r[0]->message_response_case, 6);
        assert_int_equal(r[0]->list_services_response->n_service, 4);
        assert_string_equal(r[0]->list_services_response->service[0]->name,
                            "persys.agent.v1.AgentService");
        assert_int_equal(r[1]->message_response_case, 4);
        assert_int_equal(r[1]->file_descriptor_response->n_file_descriptor_proto, 1);
        assert_string_equal(r[1]->original_request->file_containing_symbol,
                            "persys.agent.v1.AgentService");
        assert_int_equal(r[2]->message_response_case, 7);
        assert_int_equal(r[2]->error_response->error_code, GRPC_NOT_FOUND);
        assert_int_equal(r[3]->message_response_case, 4);
        assert_int_equal(r[4]->message_response_case, 7);
        assert_int_equal(r[5]->message_response_case, 5);
        assert_int_equal(r[5]->all_extension_numbers_response->n_extension_number, 0);
        assert_int_equal(r[6]->error_response->error_code, GRPC_NOT_FOUND);
        for (size_t n = 0; n < 7; n++)
            protobuf_c_message_free_unpacked(&r[n]->base, NULL);
    }
    /* Nothing asked; without the right; a token that is revoked meanwhile. */
    struct gc_call *k = gc_call(&c, paths[0], "authorization: Bearer viewer\n");
    question(&c, k, SLICE_LIT(""));
    assert_int_equal(k->status, GRPC_INVALID_ARGUMENT);
    k = gc_call(&c, paths[0], "authorization: Bearer read workload *\n");
    question(&c, k, SLICE_LIT("\x3a\0"));
    assert_int_equal(k->status, GRPC_PERMISSION_DENIED);
    k = gc_call(&c, paths[0], "authorization: Bearer viewer\n");
    question(&c, k, SLICE_LIT("\x3a\0"));
    assert_non_null(gc_answer(k, 0).p);
    a->someone->revoked = true;
    question(&c, k, SLICE_LIT("\x3a\0"));
    assert_null(gc_answer(k, 1).p);
    assert_int_equal(k->status, GRPC_UNAUTHENTICATED);
    gc_done(&c);
}

static void indexes(void **state BASE_UNUSED)
{
    struct descriptors d;
    struct err e = {0};
    static const struct {
        const char *symbol;
        bool found, message;
    } rows_[] = {
        {"persys.agent.v1.AgentService.ApplyWorkload", true, false},
        {"persys.agent.v1.AgentService", true, false},
        {"persys.agent.v1.WorkloadType", true, false},
        {"persys.agent.v1.ContainerSpec", true, true},
        {"persys.agent.v1.ContainerSpec.EnvEntry", true, true},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", true, false},
        {"persys.agent.v1.AgentService.None", false, false},
        {"persys.agent.v1.AgentServic", false, false},
        {"persys.agent.v1", false, false},
        {"persys.agent.v1.", false, false},
        {"persys", false, false},
        {"", false, false},
        {"..", false, false},
        {"persys.agent.v1.ContainerSpec.EnvEntry.key", false, false},
    };
    assert_int_equal(descriptors_read(&d, grpc_reflection_own_set(), &e), 0);
    assert_true(d.n >= 4);
    for (size_t i = 0; i < ARRAY_LEN(rows_); i++) {
        assert_int_equal(descriptors_symbol(&d, slice_of(rows_[i].symbol)) >= 0, rows_[i].found);
        assert_int_equal(descriptors_is_message(&d, slice_of(rows_[i].symbol)), rows_[i].message);
    }
    /* Two files, the first imports the second and itself (and one that is not there). */
    static const char set[] = "\x0a\x14\x0a\x01"
                              "a\x1a\x01"
                              "b\x1a\x01"
                              "a\x1a\x01x\x22\x03\x0a\x01M\x12\x01p"
                              "\x0a\x03\x0a\x01"
                              "b";
    int files[DESCRIPTORS_FILES];
    assert_int_equal(descriptors_read(&d, (struct slice){set, sizeof(set) - 1}, &e), 0);
    assert_int_equal(d.n, 2);
    assert_int_equal(descriptors_closure(&d, 0, files), 2);
    assert_int_equal(files[1], 1);
    assert_int_equal(descriptors_closure(&d, 1, files), 1);
    assert_int_equal(descriptors_symbol(&d, SLICE_LIT("p.M")), 0);
    assert_int_equal(descriptors_read(&d, SLICE_LIT("\x0a\x7f"), &e), ERR_SYNTAX);
}

/* ---- tables ---- */

static void tables(void **state BASE_UNUSED)
{
    struct grpc_api *a;
    struct err e = {0};
    struct rpc_row row = rows[0];
    struct rpc_table t = {&row, 1, NULL};
    struct grpc_api_options o = {.tables = &t, .n_tables = 1};
    row.verb = RIGHT_NONE;
    assert_int_equal(grpc_api_new(&a, &o, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "has no right"));
    row = rows[0];
    row.handler = NULL;
    assert_int_equal(grpc_api_new(&a, &o, &e), ERR_INVALID);
    row = rows[0];
    row.streams = GRPC_BIDI;
    assert_int_equal(grpc_api_new(&a, &o, &e), ERR_INVALID);
    /* A type that holds itself. */
    static ProtobufCMessageDescriptor self;
    static ProtobufCFieldDescriptor field = {.name = "f", .type = PROTOBUF_C_TYPE_MESSAGE};
    self = D(list_workloads_request);
    field.descriptor = &self;
    self.fields = &field;
    self.n_fields = 1;
    row = rows[0];
    row.answer = &self;
    assert_int_equal(grpc_api_new(&a, &o, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "too deep"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(calls),
        T(bad_messages),
        T(rights),
        T(health),
        T(reflection),
        cmocka_unit_test(indexes),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
