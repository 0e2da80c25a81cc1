/* The client and the real server over TLS: both sides verified, refusals as the caller sees them,
 * big bodies, a handshake that never comes, reload under a kept connection. */
#include "client_rig.h"

#include "base/str.h"
#include "net/server.h"
#include "net/tls.h"
#include "tls_files.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { BIG = 5 << 20 };

/* The rig's loop, peer and pool, and next to them the real server on TCP. */
struct fixture {
    struct client_rig rig;
    struct server *server;
    struct listener *listener;
    struct tls_context *server_tls, *client_tls;
    char subject[64];
    char *big;
};

static void say_nothing(struct peer_conn *c, const char *text)
{
    (void)c;
    (void)text;
}

static void handler(void *ctx, struct exchange *x)
{
    struct fixture *f = ctx;
    const struct peer *p = exchange_peer(x);
    const struct http_response a = {.status = 200, .content_type = "text/plain"};

    assert_true(p->tls);
    assert_true(exchange_request(x)->https);
    snprintf(f->subject, sizeof(f->subject), "%s", p->cert_subject != NULL ? p->cert_subject : "-");
    if (slice_eqs(exchange_request(x)->path, "/big"))
        exchange_respond(x, &a, (struct slice){f->big, BIG});
    else
        exchange_respond(x, &a, SLICE_LIT("hello"));
}

static void open_server(struct fixture *f, const struct tls_options *o)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options so = {.limits = http_limits_default};
    struct listener_options lo = {
        .host = "127.0.0.1", .protocols = protocols, .handler = handler, .ctx = f};
    struct err e = {0};

    so.limits.max_queue = 16 << 20;
    if (o != NULL && tls_context_new(&f->server_tls, f->rig.loop, o, &e) != 0)
        fail_msg("%s", e.msg);
    lo.tls = f->server_tls;
    assert_int_equal(server_new(&f->server, f->rig.loop, &so, &e), 0);
    if (server_listen(f->server, &lo, &f->listener, &e) != 0)
        fail_msg("%s", e.msg);
}

/* Replaces the rig's pool by one to the port. */
static void open_pool(struct fixture *f, const struct tls_options *o, const char *unix_path)
{
    struct client_options co = {.host = "localhost", .connect_ms = 2000};
    struct err e = {0};

    if (f->rig.pool != NULL)
        client_rig_end_pool(&f->rig);
    tls_context_unref(f->client_tls);
    f->client_tls = NULL;
    if (o != NULL && tls_context_new(&f->client_tls, f->rig.loop, o, &e) != 0)
        fail_msg("%s", e.msg);
    co.target.tls = f->client_tls;
    co.target.unix_path = unix_path;
    if (unix_path == NULL) {
        co.target.host = "127.0.0.1";
        co.target.port = listener_port(f->listener);
    }
    if (client_pool_new(&f->rig.pool, f->rig.loop, &co, &e) != 0)
        fail_msg("%s", e.msg);
}

static struct tls_options server_options(const char *name)
{
    char pem[32], key[32];

    snprintf(pem, sizeof(pem), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    return (struct tls_options){
        .server = true, .cert_file = tls_file(pem), .key_file = tls_file(key)};
}

static struct tls_options client_options(void)
{
    return (struct tls_options){.ca_file = tls_file("ca.pem"), .server_name = "localhost"};
}

static void fixture_open(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    client_rig_open(&f->rig, say_nothing, NULL);
    f->big = malloc(BIG);
    assert_non_null(f->big);
    for (size_t i = 0; i < BIG; i++)
        f->big[i] = (char)(i * 13 + i / 4096);
}

static void on_stopped(void *ctx)
{
    *(int *)ctx = 1;
}

static void close_server(struct fixture *f)
{
    int stopped = 0;

    if (f->server == NULL)
        return;
    server_stop(f->server, on_stopped, &stopped);
    assert_true(rig_wait(&f->rig, &stopped, 1, 2000));
    server_free(f->server);
    f->server = NULL;
    tls_context_unref(f->server_tls);
    f->server_tls = NULL;
}

static void fixture_close(struct fixture *f)
{
    if (f->rig.pool != NULL)
        client_rig_end_pool(&f->rig);
    close_server(f);
    tls_context_unref(f->client_tls);
    client_rig_close(&f->rig);
    free(f->big);
}

/* One GET; its end in *e. */
static void get(struct fixture *f, const char *path, struct result *r)
{
    const struct client_request q = {
        .method = HTTP_METHOD_GET, .target = slice_of(path), .first_byte_ms = 5000};

    result_init(r, &f->rig);
    assert_int_equal(result_send(r, &q), 0);
    assert_true(rig_wait(&f->rig, &r->done, 1, 20000));
}

static void expect_hello(struct fixture *f, const char *subject)
{
    struct result r;

    get(f, "/", &r);
    if (r.e.code != 0)
        fail_msg("%s", r.e.msg);
    assert_int_equal(r.body.len, 5);
    assert_memory_equal(r.body.data, "hello", 5);
    assert_string_equal(f->subject, subject);
    result_free(&r);
}

static void expect_refusal(struct fixture *f, const char *why)
{
    struct result r;

    get(f, "/", &r);
    if (r.e.code != ERR_TLS && r.e.code != ERR_GONE)
        fail_msg("%s \"%s\"", err_name(r.e.code), r.e.msg);
    if (why != NULL && (r.e.code != ERR_TLS || strstr(r.e.msg, why) == NULL))
        fail_msg("%s", r.e.msg);
    assert_int_equal(r.heads, 0);
    result_free(&r);
}

static void test_both_verified(void **state)
{
    struct fixture f;
    struct tls_options s = server_options("server"), c = client_options();

    (void)state;
    fixture_open(&f);
    s.ca_file = tls_file("ca.pem");
    s.require_client_cert = true;
    c.cert_file = tls_file("client.pem");
    c.key_file = tls_file("client.key");
    open_server(&f, &s);
    open_pool(&f, &c, NULL);
    for (int i = 0; i < 10; i++)
        expect_hello(&f, "robot-1");
    assert_int_equal(server_stats(f.server)->accepted, 1);
    c.cert_file = tls_file("stranger.pem");
    c.key_file = tls_file("stranger.key");
    open_pool(&f, &c, NULL);
    expect_refusal(&f, NULL);
    c.cert_file = c.key_file = NULL;
    open_pool(&f, &c, NULL);
    expect_refusal(&f, NULL);
    assert_int_equal(server_stats(f.server)->requests, 10);
    fixture_close(&f);
}

static void test_server_refused(void **state)
{
    static const struct {
        const char *cert, *why;
    } cases[] = {
        {"wrong", "hostname mismatch"}, {"expired", "expired"}, {"stranger", "local issuer"}};
    const struct tls_options c = client_options();
    struct fixture f;

    (void)state;
    fixture_open(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct tls_options s = server_options(cases[i].cert);
        open_server(&f, &s);
        open_pool(&f, &c, NULL);
        expect_refusal(&f, cases[i].why);
        assert_int_equal(server_stats(f.server)->requests, 0);
        client_rig_end_pool(&f.rig);
        close_server(&f);
    }
    fixture_close(&f);
}

static void test_one_side_plain(void **state)
{
    const struct tls_options s = server_options("server"), c = client_options();
    struct fixture f;
    struct result r;

    (void)state;
    fixture_open(&f);
    open_server(&f, &s);
    open_pool(&f, NULL, NULL); /* plain to TLS */
    get(&f, "/", &r);
    assert_int_not_equal(r.e.code, 0);
    assert_int_equal(server_stats(f.server)->requests, 0);
    result_free(&r);
    client_rig_end_pool(&f.rig);
    close_server(&f);
    open_server(&f, NULL);
    open_pool(&f, &c, NULL); /* TLS to plain */
    expect_refusal(&f, NULL);
    fixture_close(&f);
}

static void test_no_handshake(void **state)
{
    const struct tls_options c = client_options();
    struct fixture f;
    struct result r;

    (void)state;
    fixture_open(&f);
    open_pool(&f, &c, f.rig.path); /* a peer that says nothing */
    get(&f, "/", &r);
    assert_int_equal(r.e.code, ERR_TIMEOUT);
    assert_int_equal(client_pool_open(f.rig.pool), 0);
    result_free(&r);
    fixture_close(&f);
}

static void pause_and_count(struct result *r)
{
    if (r->pieces % 10 == 0)
        client_pause(r->call, true);
}

static void test_big_answer(void **state)
{
    const struct tls_options s = server_options("server"), c = client_options();
    const struct client_request q = {.method = HTTP_METHOD_GET, .target = SLICE_LIT("/big")};
    struct fixture f;
    struct result r;

    (void)state;
    fixture_open(&f);
    open_server(&f, &s);
    open_pool(&f, &c, NULL);
    result_init(&r, &f.rig);
    r.on_piece = pause_and_count;
    assert_int_equal(result_send(&r, &q), 0);
    for (int i = 0; i < 2000 && r.done == 0; i++) {
        rig_spin(&f.rig, 1);
        if (r.done == 0)
            client_pause(r.call, false);
    }
    assert_int_equal(r.done, 1);
    if (r.e.code != 0)
        fail_msg("%s", r.e.msg);
    assert_int_equal(r.body.len, BIG);
    assert_memory_equal(r.body.data, f.big, BIG);
    result_free(&r);
    fixture_close(&f);
}

static void use(const char *name)
{
    char from[32];

    snprintf(from, sizeof(from), "%s.pem", name);
    assert_true(tls_file_copy(from, "live.pem"));
    snprintf(from, sizeof(from), "%s.key", name);
    assert_true(tls_file_copy(from, "live.key"));
}

/* A kept connection goes on with the old certificate; a new one meets the new one. */
static void test_reload(void **state)
{
    const struct tls_options c = client_options();
    struct tls_options s;
    struct fixture f;
    struct err e = {0};

    (void)state;
    use("server");
    s = server_options("live");
    fixture_open(&f);
    open_server(&f, &s);
    open_pool(&f, &c, NULL);
    expect_hello(&f, "-");
    use("wrong");
    assert_int_equal(tls_context_reload(f.server_tls, &e), 0);
    expect_hello(&f, "-");
    open_pool(&f, &c, NULL);
    expect_refusal(&f, "hostname mismatch");
    use("server2");
    assert_true(tls_file_copy("server.key", "live.key"));
    assert_int_equal(tls_context_reload(f.server_tls, &e), ERR_TLS); /* the last good pair stays */
    expect_refusal(&f, "hostname mismatch");
    use("server2");
    assert_int_equal(tls_context_reload(f.server_tls, &e), 0);
    expect_hello(&f, "-");
    fixture_close(&f);
}

static int begin(void **state)
{
    (void)state;
    return tls_files_make() ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    tls_files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_verified),  cmocka_unit_test(test_server_refused),
        cmocka_unit_test(test_one_side_plain), cmocka_unit_test(test_no_handshake),
        cmocka_unit_test(test_big_answer),     cmocka_unit_test(test_reload),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
