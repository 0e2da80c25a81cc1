/* Routing, origins, hosts, and calls that are answered later. */
#include "../base/unit.h"

#include "base/mem.h"
#include "base/str.h"
#include "fake_exchange.h"

#include <stdio.h>
#include <string.h>

static int hits;
static char seen[512];

static void note(struct api_call *c, const char *what)
{
    hits++;
    struct buf b = BUF_INIT(4096);
    buf_adds(&b, what);
    for (size_t i = 0; i < API_MAX_PATH_PARAMS; i++) {
        if (c->path[i].p != NULL)
            buf_addf(&b, "|%.*s", (int)c->path[i].len, c->path[i].p);
    }
    snprintf(seen, sizeof(seen), "%s", b.err == 0 ? b.data : "(no memory)");
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

static void h_root(struct api_call *c)
{
    note(c, "root");
}
static void h_list(struct api_call *c)
{
    note(c, "list");
}
static void h_all(struct api_call *c)
{
    note(c, "all");
}
static void h_one(struct api_call *c)
{
    note(c, "one");
}
static void h_act(struct api_call *c)
{
    note(c, "act");
}
static void h_topic(struct api_call *c)
{
    note(c, "topic");
}
static void h_doc(struct api_call *c)
{
    note(c, "doc");
}
static void h_silent(struct api_call *c)
{
    (void)c;
}
static void h_wild(struct api_call *c)
{
    note(c, "wild");
}
static void h_newer(struct api_call *c)
{
    note(c, "newer");
}

#define MORE(h) .summary = "s", .handler = (h)
static const struct api_route table[] = {
    ROUTE(GET, "/", RIGHT_READ, "api", MORE(h_root)),
    ROUTE(GET, "/docs", RIGHT_READ, "api", .also_head = true, MORE(h_doc)),
    ROUTE(GET, "/c", RIGHT_READ, "c", MORE(h_list)),
    ROUTE(GET, "/c/{c}/s/status", RIGHT_READ, "s", MORE(h_all)),
    ROUTE(GET, "/c/{c}/s/{s}/status", RIGHT_READ, "s", MORE(h_one)),
    ROUTE(POST, "/c/{c}/s/{s}", RIGHT_CONTROL, "s", MORE(h_act)),
    ROUTE(GET, "/c/{c}/t", RIGHT_READ, "t", MORE(h_list)),
    ROUTE(GET, "/c/{c}/t/{t:path}", RIGHT_READ, "t", MORE(h_topic)),
    ROUTE(GET, "/silent", RIGHT_READ, "s", MORE(h_silent)),
    ROUTE(PUT, "/{c}/bashrc", RIGHT_WRITE, "s", MORE(h_wild)),
    /* A newer generation of paths, beside the older one. */
    ROUTE(GET, "/{c}/s", RIGHT_READ, "s", .yields = true, MORE(h_newer)),
    ROUTE(POST, "/{c}/s", RIGHT_READ, "s", .yields = true, MORE(h_newer)),
    ROUTE(POST, "/c/{x}", RIGHT_CONTROL, "s", .yields = true, MORE(h_newer)),
    ROUTE(GET, "/{c}/{x}/s/status", RIGHT_READ, "s", .yields = true, MORE(h_newer)),
    ROUTE(DELETE, "/{c}/{x}/s/status", RIGHT_READ, "s", .yields = true, MORE(h_newer)),
    ROUTE(GET, "/{c}/t/{t:path}/info", RIGHT_READ, "t", .yields = true, MORE(h_newer)),
    ROUTE(GET, "/{c}/t/{t:path}", RIGHT_READ, "t", .yields = true, MORE(h_topic)),
};

static struct api *make(const struct api_cors *cors, bool (*host)(void *, struct exchange *))
{
    struct api *a = NULL;
    struct err e = {0};
    struct api_options o = {
        .routes = table, .n_routes = ARRAY_LEN(table), .cors = cors, .host_allowed = host};
    assert_int_equal(api_new(&a, &o, &e), 0);
    return a;
}

static void ask(struct fake *f, struct api *a, const char *method, const char *target,
                const char *headers)
{
    hits = 0;
    seen[0] = '\0';
    fake_request(f, method, target, headers);
    fake_run(f, api_handle, a, SLICE_LIT(""));
    assert_int_equal(f->answers, 1);
}

/* status, and: what the handler saw, the allow or location header, or the body. */
static const struct {
    const char *method, *target;
    int status;
    const char *text;
} paths[] = {
    {"GET", "/", 200, "root"},
    {"GET", "/?x=1", 200, "root"},
    {"HEAD", "/", 405, "allow: GET\n"},
    {"POST", "/", 405, "allow: GET\n"},
    {"OPTIONS", "/", 405, "allow: GET\n"},
    {"HEAD", "/docs", 200, "doc"},
    {"POST", "/docs", 405, "allow: GET, HEAD\n"},
    {"BREW", "/docs", 405, "allow: GET, HEAD\n"},
    {"GET", "/nope", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/C", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "//c", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/c//s/status", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/%63", 200, "list"},
    {"GET", "/c/", 307, "location: http://127.0.0.1:8081/c\n"},
    {"DELETE", "/c///?a=b&c", 307, "location: http://127.0.0.1:8081/c?a=b&c\n"},
    {"GET", "/c/a%20b%0d%0a%3f%23%25/s/status/", 307,
     "location: http://127.0.0.1:8081/c/a%20b%0D%0A%3F%23%25/s/status\n"},
    {"GET", "/c/x/s/status", 200, "all|x"},
    {"GET", "/c/x/s/status/status", 200, "one|x|status"},
    {"PUT", "/c/x/s/status", 405, "allow: GET\n"},
    {"POST", "/c/x/s/status", 200, "act|x|status"},
    {"GET", "/c/x/s/idle", 405, "allow: POST\n"},
    {"GET", "/c/x/s/..%2f/status", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/c/../s/%2e%2e/status", 200, "one|..|.."},
    {"GET", "/c/x/s/a%2Fb/status", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/c/x/s/caf%C3%A9%ff/status", 200, "one|x|caf\xC3\xA9\xEF\xBF\xBD"},
    {"GET", "/c/x/s/a%2523/status", 200, "one|x|a%23"},
    {"GET", "/c/x/s/%zz/status", 200, "one|x|%zz"},
    {"GET", "/c/x/t", 200, "list|x"},
    {"GET", "/c/x/t/", 200, "topic|x|"},
    {"GET", "/c/x/t/%2Fjoint%2Fstates", 200, "topic|x|/joint/states"},
    {"GET", "/c/x/t/a/b/c/d/e/f/g/h/i/j/k/", 200, "topic|x|a/b/c/d/e/f/g/h/i/j/k/"},
    {"GET", "/c/x/s/a/b/c/d/e/f/g/h/i/j/k", 404, "{\"detail\":\"Not Found\"}"},
    {"PUT", "/c/bashrc", 200, "wild|c"},
    {"PUT", "/zz/bashrc", 200, "wild|zz"},
    {"GET", "/zz/bashrc", 405, "allow: PUT\n"},
    {"GET", "/zz/s", 200, "newer|zz"},
    {"POST", "/zz/s", 200, "newer|zz"}, /* it yields to older rows, not to those of its own */
    {"PUT", "/zz/s", 405, "allow: GET\n"},
    {"POST", "/zz/bashrc", 405, "allow: PUT\n"},
    {"POST", "/c/x", 200, "newer|x"},
    {"DELETE", "/c/x/s/status", 405, "allow: GET\n"},
    {"DELETE", "/d/x/s/status", 200, "newer|d|x"},
    {"GET", "/zz/s/", 307, "location: http://127.0.0.1:8081/zz/s\n"},
    {"GET", "/zz/t/a/info", 200, "newer|zz|a"},
    {"GET", "/zz/t//a/b/info", 200, "newer|zz|/a/b"},
    {"GET", "/zz/t/%2Fa%2Fb/info", 200, "newer|zz|/a/b"},
    {"GET", "/zz/t//info", 200, "newer|zz|"},
    {"GET", "/zz/t/info", 200, "topic|zz|info"},
    {"GET", "/zz/t/xinfo", 200, "topic|zz|xinfo"},
    {"GET", "/zz/t/a/info/", 200, "topic|zz|a/info/"},
    {"GET", "/zz/t/a/b/c/d/e/f/g/h/i/j/k/info", 200, "newer|zz|a/b/c/d/e/f/g/h/i/j/k"},
    {"GET", "http://127.0.0.1:8081/c", 200, "list"},
    {"GET", "http://127.0.0.1:8081", 200, "root"},
    {"OPTIONS", "*", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "//", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/silent", 500, "{\"error\":\"Internal server error\",\"detail\":null}"},
};

static void routing(void **state)
{
    (void)state;
    struct api *a = make(NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct fake f;
        ask(&f, a, paths[i].method, paths[i].target, NULL);
        const char *got = f.status == 200                      ? seen
                          : f.status == 405 || f.status == 307 ? f.head
                                                               : f.body.data;
        if (f.status != paths[i].status || strcmp(got, paths[i].text) != 0)
            fail_msg("%s %s: %d %s", paths[i].method, paths[i].target, f.status, got);
        assert_int_equal(hits, f.status == 200);
        fake_done(&f);
    }
    api_free(a);
}

static void path_match(void **state)
{
    (void)state;
    struct slice p[2];
    assert_true(api_path_match("/ws/{c}/logs", SLICE_LIT("/ws/a/logs"), p, 2));
    assert_true(slice_eqs(p[0], "a"));
    assert_false(api_path_match("/ws/{c}/logs", SLICE_LIT("/ws//logs"), p, 2));
    assert_false(api_path_match("/ws/{c}/logs", SLICE_LIT("/ws/a/logs/"), p, 2));
    assert_true(api_path_match("/t/{c:path}", SLICE_LIT("/t//x/y"), p, 2));
    assert_true(slice_eqs(p[0], "/x/y"));
    assert_true(api_path_match("/t/{c:path}/end", SLICE_LIT("/t/x/y/end"), p, 2));
    assert_true(slice_eqs(p[0], "x/y"));
    assert_false(api_path_match("/t/{c:path}/end", SLICE_LIT("/t/x/y/ends"), p, 2));
    assert_false(api_path_match("/t/{c:path}/end", SLICE_LIT("/t/end"), p, 2));
    assert_false(api_path_match("t", SLICE_LIT("/t"), p, 2));
}

static void bad_tables(void **state)
{
    (void)state;
    static const struct api_route rows[] = {
        {.method = HTTP_METHOD_GET, .path = "/x", .kind = "k", MORE(h_root)},
        {.method = HTTP_METHOD_GET, .path = "/x", .verb = RIGHT_READ, MORE(h_root)},
        ROUTE(GET, "/x", RIGHT_READ, "k", .summary = "s"),
        ROUTE(GET, "/x", RIGHT_READ, "k", .handler = h_root),
        ROUTE(GET, "x", RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, NULL, RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, "/{x:path}/y/z", RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, "/{x:path}/{y}", RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, "/{a}/{b}/{c}/{d}", RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, "/{a", RIGHT_READ, "k", MORE(h_root)),
        ROUTE(GET, "/1/2/3/4/5/6/7/8/9/10/11", RIGHT_READ, "k", MORE(h_root)),
        {.path = "/x", .verb = RIGHT_READ, .kind = "k", MORE(h_root)},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct api *a = NULL;
        struct err e = {0};
        struct api_options o = {.routes = &rows[i], .n_routes = 1};
        if (api_new(&a, &o, &e) != ERR_INVALID || e.msg[0] == '\0' || a != NULL)
            fail_msg("row %zu was taken", i);
    }
    struct api *a = NULL;
    assert_int_equal(api_new(&a, &(struct api_options){.routes = rows}, NULL), ERR_INVALID);
}

/* --- origins --- */

static const char *const any[] = {"*"};
static const char *const some[] = {"loopback", "https://ui.example"};
static const struct api_cors cors_any = {any, 1}, cors_some = {some, 2};

#define ALLOWED(o)                                                                                 \
    "access-control-allow-origin: " o "\naccess-control-allow-credentials: true\n"                 \
    "access-control-expose-headers: ETag, X-Request-Id\n"
#define METHODS                                                                                    \
    "access-control-allow-methods: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\n"                 \
    "access-control-max-age: 600\naccess-control-allow-credentials: true\n"
static const struct {
    const struct api_cors *cors;
    const char *method, *target, *headers;
    int status;
    const char *head, *body; /* body NULL: not compared */
} origins[] = {
    {&cors_any, "GET", "/", "origin: http://x", 200, ALLOWED("*"), NULL},
    {&cors_any, "GET", "/nope", "origin: http://x", 404, ALLOWED("*"), NULL},
    {&cors_any, "GET", "/silent", "origin: http://x", 500, ALLOWED("*"), NULL},
    {&cors_any, "GET", "/", "origin: http://x\ncookie: a=b", 200,
     ALLOWED("http://x") "vary: Origin\n", NULL},
    {&cors_any, "GET", "/", NULL, 200, "", NULL},
    {&cors_any, "OPTIONS", "/", "origin: http://x", 405, ALLOWED("*") "allow: GET\n", NULL},
    {&cors_any, "OPTIONS", "/nope",
     "origin: http://x\naccess-control-request-method: PUT\naccess-control-request-headers: a,b-c",
     200,
     "vary: Origin\naccess-control-allow-origin: http://x\n" METHODS
     "access-control-allow-headers: a,b-c\n",
     "OK"},
    {&cors_any, "OPTIONS", "/", "origin: http://x\naccess-control-request-method: TRACE", 400,
     "vary: Origin\naccess-control-allow-origin: http://x\n" METHODS, "Disallowed CORS method"},
    {&cors_some, "GET", "/", "origin: https://ui.example", 200,
     ALLOWED("https://ui.example") "vary: Origin\n", NULL},
    {&cors_some, "GET", "/", "origin: http://evil.example", 200, "", NULL},
    {&cors_some, "GET", "/", "origin: null", 200, "", NULL},
    {&cors_some, "OPTIONS", "/", "origin: http://evil.example\naccess-control-request-method: PUT",
     400, "vary: Origin\n" METHODS, "Disallowed CORS origin"},
    {&cors_some, "OPTIONS", "/", "origin: http://evil.example\naccess-control-request-method: X",
     400, "vary: Origin\n" METHODS, "Disallowed CORS origin, method"},
    {&cors_some, "POST", "/c/x/s/y", "origin: http://evil.example", 403, "", NULL},
    {&cors_some, "POST", "/c/x/s/y", "origin: http://127.0.0.1:8081", 200,
     ALLOWED("http://127.0.0.1:8081") "vary: Origin\n", NULL},
    {NULL, "POST", "/c/x/s/y", "origin: http://evil.example", 200, "", NULL},
    {NULL, "OPTIONS", "/", "origin: http://x\naccess-control-request-method: PUT", 405,
     "allow: GET\n", NULL},
};

static void cors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        struct api *a = make(origins[i].cors, NULL);
        struct fake f;
        ask(&f, a, origins[i].method, origins[i].target, origins[i].headers);
        if (f.status != origins[i].status || strcmp(f.head, origins[i].head) != 0)
            fail_msg("row %zu: %d\n%s", i, f.status, f.head);
        if (origins[i].body != NULL) {
            assert_string_equal(f.body.data, origins[i].body);
            assert_string_equal(f.content_type, "text/plain; charset=utf-8");
        }
        fake_done(&f);
        api_free(a);
    }
}

static void loopback_origins(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        bool ok;
    } rows[] = {
        {"origin: http://localhost", true},
        {"origin: https://localhost:3000", true},
        {"origin: http://127.0.0.1:3000", true},
        {"origin: http://127.9.8.7", true},
        {"origin: http://[::1]:3000", true},
        {"origin: http://[::1]", true},
        {"origin: http://localhost.evil.x", false},
        {"origin: http://127.0.0.1.evil.x", false},
        {"origin: http://127.evil.x", false},
        {"origin: ftp://localhost", false},
        {"origin: http://localhost:", false},
        {"origin: http://localhost:x", false},
        {"origin: http://[::1].x", false},
        {"origin: http://127.0.0", false},
        {"origin: http://localhost:300000", false},
        {"origin: ", false},
        {"x: y", true},
    };
    struct api *a = make(&cors_some, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f;
        fake_request(&f, "GET", "/", rows[i].origin);
        f.x.req.host = SLICE_LIT("robot.example:8081");
        if (api_origin_allowed(a, &f.x) != rows[i].ok)
            fail_msg("%s", rows[i].origin);
    }
    struct fake f;
    fake_request(&f, "GET", "/", "origin: http://Robot.example:8081");
    f.x.req.host = SLICE_LIT("robot.example:8081");
    assert_true(api_origin_allowed(a, &f.x)); /* the page came from here */
    f.x.req.https = true;
    assert_false(api_origin_allowed(a, &f.x));
    api_free(a);
}

static bool no_host(void *app, struct exchange *x)
{
    (void)app;
    return slice_eqs(exchange_request(x)->host, "good");
}

static void hosts(void **state)
{
    (void)state;
    struct api *a = make(NULL, no_host);
    struct fake f;
    ask(&f, a, "GET", "/", NULL);
    assert_int_equal(f.status, 421);
    assert_int_equal(hits, 0);
    assert_non_null(
        strstr(f.body.data, "{\"error\":\"Host \\\"127.0.0.1:8081\\\" is not served here"));
    fake_done(&f);
    fake_request(&f, "GET", "/", NULL);
    f.x.req.host = SLICE_LIT("good");
    fake_run(&f, api_handle, a, SLICE_LIT(""));
    assert_int_equal(f.status, 200);
    fake_done(&f);
    api_free(a);
}

static bool upgrade(void *app, struct exchange *x, struct slice path)
{
    (void)app;
    if (!slice_eqs(path, "/ws/a b"))
        return false;
    struct http_response r = {.status = 499};
    (void)exchange_respond(x, &r, SLICE_LIT(""));
    return true;
}

static void upgrades(void **state)
{
    (void)state;
    struct api *a = NULL;
    struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table), .upgrade = upgrade};
    assert_int_equal(api_new(&a, &o, NULL), 0);
    struct fake f;
    ask(&f, a, "GET", "/ws/a%20b", "upgrade: WebSocket");
    assert_int_equal(f.status, 499);
    fake_done(&f);
    ask(&f, a, "GET", "/ws/a%20b", "upgrade: h2c");
    assert_int_equal(f.status, 404);
    fake_done(&f);
    ask(&f, a, "GET", "/", "upgrade: websocket");
    assert_int_equal(f.status, 200);
    fake_done(&f);
    api_free(a);
}

/* --- calls answered later --- */

static struct api_call *held;
static int gone_calls;
static void on_gone(void *ctx, struct api_call *c)
{
    assert_ptr_equal(ctx, &gone_calls);
    assert_ptr_equal(c, held);
    assert_null(c->x);
    gone_calls++;
}
static void h_hold(struct api_call *c)
{
    struct api_call *h;
    if (api_call_hold(c, on_gone, &gone_calls, &h) == 0)
        held = h;
}
static void h_hold_and_reply(struct api_call *c)
{
    h_hold(c);
    api_reply_error(held, 503, "%s", "at once");
}
static void h_take(struct api_call *c)
{
    struct exchange *x = api_call_take(c);
    struct http_response r = {.status = 204};
    (void)exchange_respond(x, &r, SLICE_LIT(""));
}

static const struct api_param q[] = {{.name = "q", .type = API_STR}};
static const struct api_param b[] = {{.name = "b", .type = API_STR, .required = true}};
#define HELD(m, p, h) ROUTE(m, p, RIGHT_READ, "k", MORE(h), .query = q, .n_query = 1)
static const struct api_route later[] = {
    HELD(GET, "/hold/{a}", h_hold),
    HELD(GET, "/both", h_hold_and_reply),
    HELD(GET, "/take", h_take),
    ROUTE(POST, "/hold/{a}", RIGHT_READ, "k", MORE(h_hold), .query = q, .n_query = 1, .body = b,
          .n_body = 1),
    ROUTE(POST, "/both", RIGHT_READ, "k", MORE(h_hold_and_reply), .body = b, .n_body = 1),
    ROUTE(POST, "/take", RIGHT_READ, "k", MORE(h_take), .body = b, .n_body = 1),
};

static struct api *make_later(void)
{
    struct api *a = NULL;
    struct api_options o = {.routes = later, .n_routes = ARRAY_LEN(later), .cors = &cors_any};
    assert_int_equal(api_new(&a, &o, NULL), 0);
    return a;
}

/* mode 0: answered, 1: the peer leaves first, then an answer, 2: then a release. */
static void later_one(const char *method, int mode, bool at_once)
{
    struct api *a = make_later();
    struct slice body = method[0] == 'P' ? SLICE_LIT("{\"b\":\"text\"}") : SLICE_LIT("");
    char target[] = "/hold/a%20%c3%a4?q=%20x";
    struct fake f;
    gone_calls = 0;
    fake_request(&f, method, target, "origin: http://x");
    f.closed_at_once = at_once;
    fake_run(&f, api_handle, a, body);
    assert_int_equal(f.answers, 0);
    if (mode != 0)
        fake_close(&f, ERR_GONE);
    memset(target, '#', sizeof(target) - 1); /* the request is gone: its texts must be copies */
    assert_true(slice_eqs(held->path[0], "a \xc3\xa4"));
    assert_true(slice_eqs(held->query[0].s, " x"));
    if (body.len > 0)
        assert_true(slice_eqs(held->body_values[0].s, "text"));
    assert_int_equal(gone_calls, mode != 0);
    if (mode == 2)
        api_call_release(held);
    else
        api_reply_error(held, 503, "later %d", 1);
    assert_int_equal(f.answers, mode == 0);
    if (mode == 0) {
        assert_string_equal(f.body.data, "{\"error\":\"later 1\",\"detail\":null}");
        assert_string_equal(f.head, ALLOWED("*"));
    }
    fake_done(&f);
    assert_int_equal(gone_calls, mode != 0);
    api_free(a);
}

static void held_calls(void **state)
{
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        for (int k = 0; k < 4; k++)
            later_one(k & 1 ? "POST" : "GET", mode, k & 2);
    }
}

static void held_and_answered_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int status;
    } rows[] = {{"/both", 503}, {"/take", 204}};
    struct api *a = make_later();
    for (int k = 0; k < 8; k++) {
        struct fake f;
        const char *target = rows[k & 1].target;
        fake_request(&f, k & 2 ? "POST" : "GET", target, NULL);
        f.closed_at_once = k & 4;
        fake_run(&f, api_handle, a, k & 2 ? SLICE_LIT("{\"b\":\"\"}") : SLICE_LIT(""));
        assert_int_equal(f.answers, 1);
        assert_int_equal(f.status, rows[k & 1].status);
        fake_done(&f);
    }
    api_free(a);
}

/* The peer leaves while its body is on the way. */
static void gone_while_reading(void **state)
{
    (void)state;
    struct api *a = make_later();
    struct fake f;
    fake_request(&f, "POST", "/hold/x", NULL);
    f.x.req.has_body = true;
    f.x.req.content_length = 100;
    f.x.state = X_OPEN;
    api_handle(a, &f.x);
    exchange_feed(&f.x, "{", 1);
    fake_close(&f, ERR_GONE);
    assert_int_equal(f.answers, 0);
    fake_done(&f);
    api_free(a);
}

static void no_memory(void **state)
{
    (void)state;
    static const char *const targets[] = {"/hold/a%20b?q=%41", "/c/a%20b/s/status/", "/nope"};
    for (size_t t = 0; t < 2 * ARRAY_LEN(targets); t++) {
        bool post = t >= ARRAY_LEN(targets);
        for (uint64_t n = 1; n < 200; n++) {
            struct api *a = t % 3 == 0 ? make_later() : make(&cors_any, NULL);
            struct fake f;
            held = NULL;
            fake_request(&f, post ? "POST" : "GET", targets[t % 3], "origin: http://x");
            mem_fail_at(n, true);
            fake_run(&f, api_handle, a, post ? SLICE_LIT("{\"b\":\"x\"}") : SLICE_LIT(""));
            bool hit = mem_fail_hit();
            mem_fail_at(0, false);
            if (held != NULL) {
                assert_int_equal(f.answers, 0);
                api_reply_error(held, 503, "x");
            }
            assert_int_equal(f.answers, 1);
            if (hit)
                assert_true(f.status == 503 || f.status == 307 || f.status == 404);
            fake_done(&f);
            api_free(a);
            if (!hit)
                break;
            assert_true(n < 199);
        }
    }
    struct api *a = NULL;
    struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table)};
    for (uint64_t n = 1;; n++) {
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = api_new(&a, &o, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (!hit)
            break;
        assert_int_equal(rc, ERR_NO_MEMORY);
    }
    api_free(a);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing),
        cmocka_unit_test(path_match),
        cmocka_unit_test(bad_tables),
        cmocka_unit_test(cors),
        cmocka_unit_test(loopback_origins),
        cmocka_unit_test(hosts),
        cmocka_unit_test(upgrades),
        cmocka_unit_test(held_calls),
        cmocka_unit_test(held_and_answered_at_once),
        cmocka_unit_test(gone_while_reading),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
