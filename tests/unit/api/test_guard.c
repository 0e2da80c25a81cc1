/* Who asks, whether he may, what browsers may make him ask, and the record of it. */
#include "../base/unit.h"

#include "base/log.h"
#include "base/str.h"
#include "fake_exchange.h"

#include <stdio.h>
#include <string.h>

/* --- what the fake has not: a peer --- */

const struct peer *__wrap_exchange_peer(const struct exchange *x);
const struct peer *__wrap_exchange_peer(const struct exchange *x)
{
    static const struct peer p = {.kind = PEER_TCP, .text = "127.0.0.1:5"};
    (void)x;
    return &p;
}

/* --- the guard: tokens are names of rights --- */

static int asked;
static struct identity *made;

static int identify(void *ctx, struct exchange *x, struct slice token, const struct identity **ret,
                    uint32_t *retry_after_s, struct err *e)
{
    (void)x;
    asked++;
    if (token.p == NULL && ctx != NULL) { /* an open listener */
        *ret = &identity_open;
        return 0;
    }
    if (token.p == NULL)
        return err_set(e, ERR_UNAUTHENTICATED, "nobody");
    if (slice_eqs(token, "flood")) {
        *retry_after_s = 17;
        return err_set(e, ERR_LIMIT, "wait");
    }
    if (slice_eqs(token, "short"))
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct identity *who = identity_new(IDENTITY_TOKEN, "token:", token);
    if (who == NULL)
        return ERR_NO_MEMORY;
    char text[128];
    snprintf(text, sizeof(text), "%.*s", (int)token.len, token.p);
    for (char *p = text; *p != '\0'; p++)
        *p = *p == '+' ? ' ' : *p;
    if (rights_add(&who->rights, slice_of(text), NULL) != 0) {
        identity_unref(who);
        return err_set(e, ERR_UNAUTHENTICATED, "unknown");
    }
    *ret = made = who;
    return 0;
}

/* --- the record --- */

static struct {
    int n, status;
    char who[64], verb[16], kind[32], name[128], result[16], detail[256], path[128], method[16],
        peer[64];
} record;

static void put(char *to, size_t size, struct slice s)
{
    snprintf(to, size, "%.*s", (int)s.len, s.p ? s.p : "");
}

static void take_record(void *ctx, const struct audit_record *r)
{
    (void)ctx;
    record.n++;
    record.status = r->status;
    assert_true(r->time_ns > 0);
    assert_true(r->request[0] != '\0');
    put(record.who, sizeof(record.who), slice_of(r->who));
    put(record.verb, sizeof(record.verb), slice_of(r->verb));
    put(record.kind, sizeof(record.kind), slice_of(r->kind));
    put(record.name, sizeof(record.name), r->name);
    put(record.result, sizeof(record.result), slice_of(r->result));
    put(record.detail, sizeof(record.detail), r->detail);
    put(record.path, sizeof(record.path), r->path);
    put(record.method, sizeof(record.method), slice_of(r->method));
    put(record.peer, sizeof(record.peer), slice_of(r->peer));
}
static const struct audit_sink sink = {.record = take_record};

/* --- the table --- */

static int handled;
static struct api_call *kept;

static void h_ok(struct api_call *c)
{
    handled++;
    api_reply_text(c, 200, "text/plain", SLICE_LIT("ok"));
}
static void h_fail(struct api_call *c)
{
    handled++;
    api_reply_error(c, 503, "the agent is away");
}
static void h_later(struct api_call *c)
{
    handled++;
    (void)api_call_hold(c, NULL, NULL, &kept);
}
static void h_list(struct api_call *c)
{
    static const char *const names[] = {"talker", "listener", "t2"};
    struct buf b = BUF_INIT(256);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (api_may_see(c, c->path[0], slice_of(names[i])))
            buf_addf(&b, "%s ", names[i]);
    }
    if (api_may_see_all(c))
        buf_adds(&b, "all");
    api_reply_text(c, 200, "text/plain", (struct slice){b.data, b.len});
    buf_done(&b);
}

static const struct api_param body[] = {
    {.name = "x", .type = API_STR},
    {.name = "texts", .type = API_STRS, .nullable = true},
};
static const struct api_route rows[] = {
    ROUTE(GET, "/open", RIGHT_READ, "api", .open = true, .summary = "x", .handler = h_ok),
    ROUTE(GET, "/self", RIGHT_READ, "self", .summary = "x", .handler = h_ok),
    ROUTE(GET, "/c/{c}/s", RIGHT_READ, "service", .list = true, .summary = "x", .handler = h_list),
    ROUTE(GET, "/c/{c}/s/{s}", RIGHT_READ, "service", .summary = "x", .handler = h_ok),
    ROUTE(POST, "/c/{c}/s/{s}", RIGHT_CONTROL, "service", .summary = "x", .body = body,
          .n_body = ARRAY_LEN(body), .handler = h_ok),
    ROUTE(PUT, "/c/{c}/s/{s}", RIGHT_WRITE, "service", .summary = "x", .handler = h_fail),
    ROUTE(DELETE, "/c/{c}/s/{s}", RIGHT_DELETE, "service", .summary = "x", .handler = h_later),
    ROUTE(GET, "/tokens", RIGHT_ADMIN, "token", .list = true, .summary = "x", .handler = h_ok),
};

static struct api *api;
static struct api_guard guard = {.identify = identify};

static int setup(void **state)
{
    static const char *const origins[] = {"https://ui.example"};
    static const struct api_cors cors = {.allow_origins = origins, .n = 1};
    (void)state;
    struct api_options o = {.routes = rows,
                            .n_routes = ARRAY_LEN(rows),
                            .cors = &cors,
                            .guard = &guard,
                            .audit = &sink};
    guard.ctx = NULL;
    return api_new(&api, &o, NULL);
}

static int teardown(void **state)
{
    (void)state;
    api_free(api);
    return 0;
}

static void start(struct fake *f, const char *method, const char *target, const char *headers)
{
    memset(&record, 0, sizeof(record));
    handled = asked = 0;
    kept = NULL;
    fake_request(f, method, target, headers);
    snprintf(f->x.id, sizeof(f->x.id), "request1"); /* it has no server that could number it */
    f->x.state = X_OPEN;
}

/* Status of one request; headers as lines. */
static int ask_body(struct fake *f, const char *method, const char *target, const char *headers,
                    const char *text)
{
    start(f, method, target, headers);
    fake_run(f, api_handle, api, text ? slice_of(text) : (struct slice){NULL, 0});
    return f->status;
}

static int ask(const char *method, const char *target, const char *headers)
{
    struct fake f;
    int status = ask_body(&f, method, target, headers, NULL);
    fake_done(&f);
    return status;
}

static void nobody_known(void **state)
{
    (void)state;
    struct fake f;
    assert_int_equal(ask_body(&f, "GET", "/c/robot/s/talker", NULL, NULL), 401);
    assert_non_null(strstr(f.head, "www-authenticate: Bearer realm=\"gantry\"\n"));
    assert_string_equal(f.body.data, "{\"error\":\"nobody\",\"detail\":null}");
    fake_done(&f);
    assert_int_equal(handled, 0);
    assert_int_equal(record.n, 1);
    assert_string_equal(record.who, "none");
    assert_string_equal(record.result, "refused");
    assert_string_equal(record.verb, "read");
    assert_string_equal(record.name, ""); /* not looked at before it is known who asks */
    assert_string_equal(record.path, "/c/robot/s/talker");
    assert_string_equal(record.peer, "127.0.0.1:5");
    assert_int_equal(record.status, 401);
    /* What there is, is not told either. */
    assert_int_equal(ask("GET", "/nothing", NULL), 401);
    assert_int_equal(ask("GET", "/c/robot/s/", NULL), 401);
    assert_int_equal(ask("PATCH", "/c/robot/s/talker", NULL), 401);
    assert_int_equal(ask("GET", "/open", NULL), 200);
    assert_int_equal(asked, 0);
    assert_int_equal(record.n, 0);
}

#define BEARER(right) "authorization: Bearer " right

static void tokens(void **state)
{
    (void)state;
    struct fake f;
    assert_int_equal(ask("GET", "/c/robot/s/talker", BEARER("viewer")), 200);
    assert_int_equal(ask("GET", "/c/robot/s/talker", "authorization: bearer  viewer "), 200);
    assert_int_equal(ask("GET", "/c/robot/s/talker", "authorization: Basic viewer"), 401);
    assert_int_equal(ask("GET", "/c/robot/s/talker", "cookie: token=viewer"), 401);
    assert_int_equal(ask("GET", "/c/robot/s/talker?token=viewer&access_token=viewer", NULL), 401);
    assert_int_equal(
        ask("GET", "/c/robot/s/talker", BEARER("viewer\nauthorization: Bearer viewer")), 401);
    assert_int_equal(ask_body(&f, "GET", "/c/robot/s/talker", BEARER("wrong"), NULL), 401);
    assert_non_null(strstr(f.head, "error=\"invalid_token\""));
    fake_done(&f);
    assert_int_equal(ask_body(&f, "GET", "/c/robot/s/talker", BEARER("flood"), NULL), 429);
    assert_non_null(strstr(f.head, "retry-after: 17\n"));
    fake_done(&f);
    assert_string_equal(record.result, "refused");
    assert_int_equal(ask("GET", "/c/robot/s/talker", BEARER("short")), 503);
    /* On an open listener what is shown is checked too. */
    guard.ctx = &guard;
    assert_int_equal(ask("POST", "/c/robot/s/talker", NULL), 422);
    assert_string_equal(record.who, "open");
    assert_int_equal(ask("GET", "/c/robot/s/talker", BEARER("wrong")), 401);
    /* A subprotocol is a token only where something is to be upgraded. */
    assert_int_equal(
        ask("GET", "/c/robot/s/talker", "sec-websocket-protocol: gantry.bearer.wrong, gantry.v1"),
        200);
    assert_int_equal(ask("GET", "/c/robot/s/talker",
                         "upgrade: websocket\nsec-websocket-protocol: x, gantry.bearer.wrong"),
                     401);
}

static void rights(void **state)
{
    (void)state;
    struct fake f;
    assert_int_equal(ask_body(&f, "POST", "/c/robot/s/talker", BEARER("viewer"), "{}"), 403);
    assert_string_equal(f.body.data, "{\"error\":\"token:viewer has not the right \\\"control "
                                     "service robot/talker\\\"\",\"detail\":null}");
    fake_done(&f);
    assert_int_equal(handled, 0);
    assert_string_equal(record.who, "token:viewer");
    assert_string_equal(record.name, "robot/talker");
    assert_string_equal(record.detail,
                        "token:viewer has not the right \"control service robot/talker\"");
    static const struct {
        const char *right, *method, *path;
        int status;
    } all[] = {
        {"read+service+robot/talker", "GET", "/c/robot/s/talker", 200},
        {"read+service+robot/talker", "GET", "/c/robot/s/talker2", 403},
        {"read+service+robot/talker", "GET", "/c/robot2/s/talker", 403},
        {"read+service+robot/talker", "DELETE", "/c/robot/s/talker", 403},
        {"read+service+robot/talker", "GET", "/c/robot/s", 200},
        {"read+service+robot/talker", "GET", "/c/other/s", 403},
        {"read+service+robot/*", "GET", "/c/robot/s/%2e%2e", 200}, /* a name like another */
        {"read+service+robot/*", "GET", "/c/robot%2fx/s/y", 404},
        {"read+service+robot/*", "GET", "/c/rob%6ft/s/y", 200},
        {"read+service+robot/*", "GET", "/c/robot%00/s/y", 403},
        {"read+service+robot/*", "GET", "/c/%00robot/s/y", 403},
        {"read+service+robot/talker", "GET", "/c/robot/s/talker%00", 403},
        {"read+service+robot/talker", "GET", "/c/robot/s/talker%0a", 403},
        {"read+service+robot/*", "GET", "/c/../c/robot/s/y", 404},
        {"read+service+robot/*", "GET", "/c/x/../robot/s/y", 404},
        {"read+container+*", "GET", "/c/robot/s/talker", 403},
        {"read+service+x", "GET", "/self", 200},
        {"read+service+x", "GET", "/nothing", 404},
        {"operator", "PUT", "/c/robot/s/talker", 403},
        {"admin", "PUT", "/c/robot/s/talker", 503},
        {"viewer", "GET", "/tokens", 403},
        {"admin+token+x*", "GET", "/tokens", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char header[128];
        snprintf(header, sizeof(header), "authorization: Bearer %s", all[i].right);
        int status = ask(all[i].method, all[i].path, header);
        if (status != all[i].status)
            fail_msg("%s %s with %s: %d", all[i].method, all[i].path, all[i].right, status);
        assert_int_equal(record.n, status == 403 || status == 503);
    }
}

static void overlong_names(void **state)
{
    (void)state;
    char target[8200] = "/c/robot/s/";
    size_t n = strlen(target);
    memset(target + n, 'x', sizeof(target) - n - 1);
    target[sizeof(target) - 1] = '\0';
    assert_int_equal(ask("GET", target, BEARER("read+service+robot/y*")), 403);
    assert_int_equal(ask("GET", target, BEARER("read+service+robot/x*")), 200);
}

static void lists(void **state)
{
    (void)state;
    struct fake f;
    assert_int_equal(ask_body(&f, "GET", "/c/robot/s", BEARER("read+service+robot/t*"), NULL), 200);
    assert_string_equal(f.body.data, "talker t2 ");
    fake_done(&f);
    assert_int_equal(ask_body(&f, "GET", "/c/robot/s", BEARER("viewer"), NULL), 200);
    assert_string_equal(f.body.data, "talker listener t2 all");
    fake_done(&f);
}

static void changes_are_told(void **state)
{
    (void)state;
    struct fake f;
    assert_int_equal(ask_body(&f, "POST", "/c/robot/s/a", BEARER("operator"), "{}"), 200);
    fake_done(&f);
    assert_int_equal(record.n, 1);
    assert_string_equal(record.result, "done");
    assert_string_equal(record.method, "POST");
    assert_string_equal(record.verb, "control");
    assert_string_equal(record.kind, "service");
    assert_string_equal(record.name, "robot/a");
    assert_int_equal(ask("PUT", "/c/robot/s/a", BEARER("admin")), 503);
    assert_string_equal(record.result, "failed");
    assert_string_equal(record.detail, "the agent is away");
    assert_int_equal(ask_body(&f, "POST", "/c/robot/s/a", BEARER("operator"), "{"), 422);
    fake_done(&f);
    assert_string_equal(record.result, "failed");
    assert_int_equal(ask_body(&f, "POST", "/c/robot/s/a", BEARER("operator"), "{\"texts\":[1]}"),
                     422);
    fake_done(&f);
    assert_int_equal(ask_body(&f, "POST", "/c/robot/s/a", BEARER("operator"), "{\"texts\":7}"),
                     422);
    fake_done(&f);
    assert_int_equal(
        ask_body(&f, "POST", "/c/robot/s/a", BEARER("operator"), "{\"texts\":[\"a\"]}"), 200);
    fake_done(&f);
    assert_int_equal(ask("GET", "/c/robot/s/a", BEARER("viewer")), 200);
    assert_int_equal(record.n, 0);
}

/* Answered later, the client there or not: told once, with who it was, though the token is long
 * gone. */
static void held_changes(void **state)
{
    (void)state;
    struct fake f;
    start(&f, "DELETE", "/c/robot/s/%C3%A9", BEARER("admin"));
    fake_run(&f, api_handle, api, (struct slice){NULL, 0});
    assert_int_equal(record.n, 0);
    assert_non_null(kept);
    made->revoked = true;
    api_reply_text(kept, 200, "text/plain", SLICE_LIT("gone"));
    assert_int_equal(record.n, 1);
    assert_string_equal(record.who, "token:admin");
    assert_string_equal(record.name, "robot/\xc3\xa9");
    fake_done(&f);
    start(&f, "DELETE", "/c/robot/s/a", BEARER("admin"));
    fake_run(&f, api_handle, api, (struct slice){NULL, 0});
    fake_close(&f, ERR_GONE);
    memset(f.headers, 'z',
           sizeof(f.headers)); /* what belonged to the request is not ours any more */
    api_reply_text(kept, 200, "text/plain", SLICE_LIT("gone"));
    assert_int_equal(record.n, 1);
    assert_int_equal(record.status, 0);
    assert_string_equal(record.result, "done");
    assert_string_equal(record.path, "/c/robot/s/a");
    assert_string_equal(record.peer, "127.0.0.1:5");
    assert_string_equal(record.name, "robot/a");
    start(&f, "DELETE", "/c/robot/s/a", BEARER("admin"));
    fake_run(&f, api_handle, api, (struct slice){NULL, 0});
    fake_close(&f, ERR_GONE);
    api_call_release(kept);
    assert_int_equal(record.n, 1);
    assert_string_equal(record.result, "failed");
}

static void browsers(void **state)
{
    (void)state;
    guard.ctx = &guard;
    static const struct {
        const char *method, *headers;
        bool refused;
    } all[] = {
        {"PUT", "origin: https://ui.example", false},
        {"PUT", "origin: http://127.0.0.1:8081", false}, /* of this very host */
        {"PUT", "origin: https://evil.example", true},
        {"PUT", "origin: http://127.0.0.1:9999", true},
        {"PUT", "origin: null", true},
        {"PUT", "origin: ", true},
        {"PUT", "sec-fetch-site: cross-site", true},
        {"PUT", "sec-fetch-site: Cross-Site", true},
        {"PUT", "origin: https://ui.example\nsec-fetch-site: cross-site", false},
        {"PUT", "sec-fetch-site: same-origin", false},
        {"PUT", "sec-fetch-site: none", false},
        {"PUT", NULL, false},
        {"DELETE", "origin: https://evil.example", true},
        {"GET", "origin: https://evil.example\nsec-fetch-site: cross-site", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct fake f;
        int status = ask_body(&f, all[i].method, "/c/robot/s/a", all[i].headers, NULL);
        if (kept != NULL)
            api_reply_text(kept, 200, "text/plain", SLICE_LIT(""));
        fake_done(&f);
        if ((status == 403) != all[i].refused)
            fail_msg("%s with %s: %d", all[i].method, all[i].headers, status);
        assert_int_equal(handled, !all[i].refused);
        if (all[i].refused)
            assert_string_equal(record.result, "refused");
    }
    /* A preflight asks for nothing yet. */
    guard.ctx = NULL;
    assert_int_equal(ask("OPTIONS", "/c/robot/s/a",
                         "origin: https://ui.example\naccess-control-request-method: PUT"),
                     200);
    assert_int_equal(asked, 0);
    /* A page of an allowed origin can read why it was refused. */
    struct fake f;
    assert_int_equal(ask_body(&f, "GET", "/self", "origin: https://ui.example", NULL), 401);
    assert_non_null(strstr(f.head, "access-control-allow-origin: https://ui.example"));
    fake_done(&f);
}

static int upgrade_status(const char *headers, const char *service)
{
    struct fake f;
    const struct identity *who = NULL;
    struct slice names[] = {SLICE_LIT("robot"), slice_of(service)};
    start(&f, "GET", "/ws", headers);
    bool ok = api_upgrade_allowed(api, &f.x, RIGHT_READ, "service", names, 2, &who);
    assert_int_equal(ok, f.status == 0);
    assert_int_equal(ok, who != NULL);
    assert_int_equal(record.n, !ok);
    identity_unref(who);
    int status = f.status;
    fake_done(&f);
    return status;
}

static void websockets(void **state)
{
    (void)state;
#define UP "upgrade: websocket\n"
    assert_int_equal(upgrade_status(UP, "a"), 401);
    assert_int_equal(upgrade_status(UP "authorization: Bearer viewer", "a"), 0);
    assert_int_equal(
        upgrade_status(UP "sec-websocket-protocol: gantry.v1, gantry.bearer.viewer", "a"), 0);
    assert_int_equal(upgrade_status(UP "sec-websocket-protocol: gantry.v1\n"
                                       "sec-websocket-protocol: gantry.bearer.viewer",
                                    "a"),
                     0);
    assert_int_equal(upgrade_status(UP "sec-websocket-protocol: gantry.bearer.", "a"), 401);
    assert_int_equal(upgrade_status(UP "sec-websocket-protocol: gantry.bearer.flood", "a"), 429);
    assert_int_equal(upgrade_status(UP BEARER("read+service+robot/a"), "a"), 0);
    assert_int_equal(upgrade_status(UP BEARER("read+service+robot/a"), "b"), 403);
    assert_string_equal(record.name, "robot/b");
    assert_int_equal(upgrade_status(UP "origin: https://evil.example\n" BEARER("admin"), "a"), 403);
    assert_int_equal(upgrade_status(UP "origin: https://ui.example\n" BEARER("admin"), "a"), 0);
    assert_int_equal(upgrade_status(UP "origin: null\n" BEARER("admin"), "a"), 403);
}

static void open_costs_nothing(void **state)
{
    (void)state;
    guard.ctx = &guard;
    struct fake f;
    start(&f, "GET", "/c/robot/s/a", "accept: */*\nuser-agent: x");
    uint64_t before = mem_alloc_count();
    api_handle(api, &f.x);
    assert_int_equal(mem_alloc_count(), before);
    assert_int_equal(f.status, 200);
    fake_done(&f);
}

static void no_memory(void **state)
{
    (void)state;
    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int status = ask("GET", "/c/robot/s/a", BEARER("read+service+robot/a"));
        assert_true(status == 200 || status == 503);
        mem_fail_at(n, false);
        status = ask("POST", "/c/robot/s/a", BEARER("viewer"));
        assert_true(status == 403 || status == 503);
        mem_fail_at(n, false);
        status = ask("POST", "/c/robot/s/a", NULL);
        assert_int_equal(status, 401);
    }
}

int main(void)
{
    log_setup(2, LOG_FORMAT_LOGFMT, LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_known, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(rights, setup, teardown),
        cmocka_unit_test_setup_teardown(overlong_names, setup, teardown),
        cmocka_unit_test_setup_teardown(lists, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(held_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(browsers, setup, teardown),
        cmocka_unit_test_setup_teardown(websockets, setup, teardown),
        cmocka_unit_test_setup_teardown(open_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
