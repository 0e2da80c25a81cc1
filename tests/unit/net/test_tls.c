/* TLS sessions over memory: handshakes, who is refused and why, ALPN, limits, reload and watch. */
#include "net/tls.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/tls_priv.h"
#include "tls_files.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>
#define ERR_STATE openssl_err_state
#include <openssl/pem.h>
#include <openssl/ssl.h>
#undef ERR_STATE

static struct loop *loop;

/* Two sessions and the wire between them. */
struct pair {
    const struct tls_session_ops *ops;
    struct tls_session *server, *client;
    struct buf to_server, to_client; /* encrypted */
    struct buf at_server, at_client; /* decrypted */
    bool server_eof, client_eof;
    int server_rc, client_rc;
    struct err server_err, client_err;
};

static void pair_open(struct pair *p, struct tls_context *server, struct tls_context *client)
{
    memset(p, 0, sizeof(*p));
    p->ops = tls_context_session_ops(server);
    p->server = p->ops->open(server);
    p->client = p->ops->open(client);
    assert_non_null(p->server);
    assert_non_null(p->client);
    struct buf *const all[] = {&p->to_server, &p->to_client, &p->at_server, &p->at_client};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], 8 << 20);
}

static void pair_close(struct pair *p)
{
    p->ops->close(p->server);
    p->ops->close(p->client);
    buf_done(&p->to_server);
    buf_done(&p->to_client);
    buf_done(&p->at_server);
    buf_done(&p->at_client);
}

/* Carries bytes to and fro, `piece` at a time, until nothing is left. */
static void pair_pump(struct pair *p, size_t piece)
{
    if (!p->ops->ready(p->client) && p->client_rc == 0)
        p->client_rc =
            p->ops->feed(p->client, NULL, 0, &p->at_client, &p->client_eof, &p->client_err);
    for (int i = 0; i < 200000; i++) {
        size_t n;
        p->ops->pull(p->client, &p->to_server);
        p->ops->pull(p->server, &p->to_client);
        if (p->to_server.len + p->to_client.len == 0)
            return;
        n = p->to_server.len < piece ? p->to_server.len : piece;
        if (n > 0 && p->server_rc == 0)
            p->server_rc = p->ops->feed(p->server, p->to_server.data, n, &p->at_server,
                                        &p->server_eof, &p->server_err);
        buf_drop(&p->to_server, n);
        n = p->to_client.len < piece ? p->to_client.len : piece;
        if (n > 0 && p->client_rc == 0)
            p->client_rc = p->ops->feed(p->client, p->to_client.data, n, &p->at_client,
                                        &p->client_eof, &p->client_err);
        buf_drop(&p->to_client, n);
    }
    fail_msg("the two never come to an end");
}

static struct tls_context *make(const struct tls_options *o)
{
    struct tls_context *c = NULL;
    struct err e = {0};

    if (tls_context_new(&c, loop, o, &e) != 0)
        fail_msg("%s", e.msg);
    return c;
}

static struct tls_options server_options(const char *name)
{
    char pem[32], key[32];

    snprintf(pem, sizeof(pem), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    return (struct tls_options){
        .server = true, .cert_file = tls_file(pem), .key_file = tls_file(key)};
}

static struct tls_options client_options(const char *name)
{
    return (struct tls_options){.ca_file = tls_file("ca.pem"), .server_name = name};
}

/* A handshake between contexts of these options, and what became of it. */
static void shake(struct pair *p, const struct tls_options *s, const struct tls_options *c)
{
    struct tls_context *server = make(s), *client = make(c);

    pair_open(p, server, client);
    tls_context_unref(server); /* sessions live on without */
    tls_context_unref(client);
    pair_pump(p, 1000);
}

static void test_handshake_and_data(void **state)
{
    static const size_t pieces[] = {1, 7, 1000, 100000};
    const struct tls_options s = server_options("server"), c = client_options("localhost");
    char *big = malloc(300000);

    (void)state;
    assert_non_null(big);
    for (size_t i = 0; i < 300000; i++)
        big[i] = (char)(i * 7);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct pair p;
        size_t n = pieces[i] == 1 ? 3000 : 300000;
        shake(&p, &s, &c);
        assert_true(p.ops->ready(p.server) && p.ops->ready(p.client));
        assert_null(p.ops->subject(p.server));
        assert_string_equal(p.ops->subject(p.client), "localhost");
        assert_int_equal(p.ops->alpn(p.client).len, 0);
        assert_int_equal(p.ops->write(p.client, big, n, NULL), 0);
        assert_int_equal(p.ops->write(p.server, "answer", 6, NULL), 0);
        pair_pump(&p, pieces[i]);
        assert_int_equal(p.at_server.len, n);
        assert_memory_equal(p.at_server.data, big, n);
        assert_memory_equal(p.at_client.data, "answer", 6);
        assert_false(p.server_eof);
        p.ops->shutdown(p.client);
        pair_pump(&p, pieces[i]);
        assert_true(p.server_eof);
        assert_int_equal(p.server_rc, 0);
        pair_close(&p);
    }
    free(big);
}

static void test_address_name(void **state)
{
    const struct tls_options s = server_options("server");
    struct tls_options c = client_options("127.0.0.1");
    struct pair p;

    (void)state;
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.client));
    pair_close(&p);
    c.server_name = "127.0.0.2";
    shake(&p, &s, &c);
    assert_int_equal(p.client_rc, ERR_TLS);
    assert_non_null(strstr(p.client_err.msg, "IP address mismatch"));
    pair_close(&p);
}

static void test_server_refused(void **state)
{
    static const struct {
        const char *cert, *why;
    } cases[] = {{"wrong", "hostname mismatch"},
                 {"expired", "expired"},
                 {"stranger", "unable to get local issuer"}};
    struct tls_options c = client_options("localhost");
    struct pair p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct tls_options s = server_options(cases[i].cert);
        shake(&p, &s, &c);
        assert_int_equal(p.client_rc, ERR_TLS);
        if (strstr(p.client_err.msg, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].cert, p.client_err.msg);
        assert_false(p.ops->ready(p.client));
        assert_int_equal(p.server_rc, ERR_TLS); /* our alert has arrived */
        assert_int_not_equal(p.ops->write(p.client, "x", 1, NULL), 0);
        assert_int_not_equal(p.ops->feed(p.client, "x", 1, &p.at_client, &p.client_eof, NULL), 0);
        pair_close(&p);
    }
    const struct tls_options s = server_options("expired");
    c = (struct tls_options){.insecure_no_verify = true};
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.client));
    assert_null(p.ops->subject(p.client)); /* nobody verified it */
    pair_close(&p);
}

static void test_client_certificates(void **state)
{
    struct tls_options s = server_options("server"), c = client_options("localhost");
    struct pair p;

    (void)state;
    s.ca_file = tls_file("ca.pem");
    c.cert_file = tls_file("client.pem");
    c.key_file = tls_file("client.key");
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.server));
    assert_string_equal(p.ops->subject(p.server), "robot-1");
    pair_close(&p);

    c.cert_file = c.key_file = NULL; /* none, where none is required */
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.server));
    assert_null(p.ops->subject(p.server));
    pair_close(&p);

    s.require_client_cert = true;
    shake(&p, &s, &c);
    assert_int_equal(p.server_rc, ERR_TLS);
    assert_non_null(strstr(p.server_err.msg, "did not return a certificate"));
    assert_int_equal(p.client_rc, ERR_TLS);
    pair_close(&p);

    s.require_client_cert = false;
    c.cert_file = tls_file("stranger.pem");
    c.key_file = tls_file("stranger.key");
    shake(&p, &s, &c);
    assert_int_equal(p.server_rc, ERR_TLS);
    assert_null(p.ops->subject(p.server));
    pair_close(&p);

    s.ca_file = NULL; /* not asked for: a certificate is not even looked at */
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.server));
    assert_null(p.ops->subject(p.server));
    pair_close(&p);
}

static void test_alpn(void **state)
{
    static const char *const both[] = {"h2", "http/1.1", NULL},
                             *const turned[] = {"http/1.1", "h2", NULL},
                             *const other[] = {"spdy", NULL};
    struct tls_options s = server_options("server"), c = client_options("localhost");
    struct pair p;

    (void)state;
    s.alpn = both;
    c.alpn = turned;
    shake(&p, &s, &c);
    assert_true(slice_eqs(p.ops->alpn(p.server), "h2")); /* the server's order counts */
    assert_true(slice_eqs(p.ops->alpn(p.client), "h2"));
    pair_close(&p);
    s.alpn = turned;
    shake(&p, &s, &c);
    assert_true(slice_eqs(p.ops->alpn(p.client), "http/1.1"));
    pair_close(&p);
    c.alpn = other;
    shake(&p, &s, &c);
    assert_int_equal(p.server_rc, ERR_TLS);
    pair_close(&p);
    c.alpn = NULL;
    shake(&p, &s, &c);
    assert_true(p.ops->ready(p.server));
    assert_int_equal(p.ops->alpn(p.server).len, 0);
    pair_close(&p);
}

/* An OpenSSL client with settings that we never use; returns the server's verdict. */
static int raw_client(struct tls_context *server, int version, const char *ciphers, struct err *e)
{
    const struct tls_session_ops *ops = tls_context_session_ops(server);
    struct tls_session *s = ops->open(server);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    struct buf out = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20);
    int rc = 0;

    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers), 1);
    ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    for (int i = 0; i < 10 && rc == 0; i++) {
        char piece[20000];
        bool eof = false;
        int n;
        SSL_do_handshake(ssl);
        n = BIO_read(SSL_get_wbio(ssl), piece, sizeof(piece));
        if (n > 0)
            rc = ops->feed(s, piece, (size_t)n, &plain, &eof, e);
        buf_clear(&out);
        ops->pull(s, &out);
        if (out.len > 0)
            BIO_write(SSL_get_rbio(ssl), out.data, (int)out.len);
    }
    if (rc == 0 && (!ops->ready(s) || !SSL_is_init_finished(ssl)))
        rc = ERR_STATE;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ops->close(s);
    buf_done(&out);
    buf_done(&plain);
    return rc;
}

static void test_versions(void **state)
{
    const struct tls_options s = server_options("server");
    struct tls_context *server = make(&s);
    struct err e = {0};

    (void)state;
    assert_int_equal(raw_client(server, TLS1_1_VERSION, "ALL:@SECLEVEL=0", &e), ERR_TLS);
    if (strstr(e.msg, "unsupported protocol") == NULL)
        fail_msg("%s", e.msg);
    assert_int_equal(raw_client(server, TLS1_2_VERSION, "ALL", &e), 0);
    assert_int_equal(raw_client(server, TLS1_3_VERSION, "ALL", &e), 0);
    assert_int_equal(raw_client(server, TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", &e),
                     ERR_TLS); /* CBC */
    tls_context_unref(server);
}

static void test_garbage(void **state)
{
    const struct tls_options s = server_options("server");
    struct tls_context *server = make(&s);
    const struct tls_session_ops *ops = tls_context_session_ops(server);
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x40\x01",
                                        "\x80\x2e\x01", "\0\0\0\0\0\0\0"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct tls_session *t = ops->open(server);
        struct buf plain = BUF_INIT(1000);
        struct err e = {0};
        bool eof = false;
        int rc = ops->feed(t, texts[i], i == 3 ? 7 : strlen(texts[i]), &plain, &eof, &e);
        if (rc == 0) {
            char more[20000];
            memset(more, 'x', sizeof(more));
            rc = ops->feed(t, more, sizeof(more), &plain, &eof, &e);
        }
        assert_int_equal(rc, ERR_TLS);
        assert_string_not_equal(e.msg, "");
        assert_int_equal(plain.len, 0);
        buf_done(&plain);
        ops->close(t);
    }
    tls_context_unref(server);
}

static void test_room_for_plain(void **state)
{
    const struct tls_options s = server_options("server"), c = client_options("localhost");
    struct pair p;
    char text[5000] = {0};

    (void)state;
    shake(&p, &s, &c);
    buf_done(&p.at_server);
    buf_init(&p.at_server, 5000);
    assert_int_equal(p.ops->write(p.client, text, 5000, NULL), 0);
    pair_pump(&p, 100000);
    assert_int_equal(p.server_rc, 0); /* exactly full */
    assert_int_equal(p.at_server.len, 5000);
    assert_int_equal(p.ops->write(p.client, text, 1, NULL), 0);
    pair_pump(&p, 100000);
    assert_int_equal(p.server_rc, ERR_LIMIT);
    pair_close(&p);
}

static void test_options(void **state)
{
    struct tls_context *c = NULL;
    struct err e = {0};
    struct tls_options o = {.server = true};

    (void)state;
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_INVALID);
    o = server_options("server");
    o.require_client_cert = true;
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_INVALID);
    o = server_options("server");
    o.cert_file = tls_file("none.pem");
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "none.pem"));
    o = server_options("server");
    o.key_file = tls_file("server2.key");
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_TLS);
    assert_non_null(strstr(e.msg, "server2.key"));
    o = server_options("server");
    o.cert_file = tls_file("ext");
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_TLS);
    o = server_options("server");
    o.ca_file = tls_file("server.key");
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_TLS);
    o = client_options(NULL);
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_INVALID);
    o = client_options("localhost");
    o.key_file = tls_file("client.key");
    assert_int_equal(tls_context_new(&c, loop, &o, &e), ERR_INVALID);
    assert_null(c);
}

/* ---- reload ---------------------------------------------------------------------------------- */

/* Which certificate new sessions get: 1 server, 2 server2, 0 another. */
static int served(struct tls_context *server)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    const struct tls_session_ops *ops = tls_context_session_ops(server);
    struct tls_session *s = ops->open(server);
    struct buf out = BUF_INIT(1 << 20), plain = BUF_INIT(1000);
    bool eof = false;
    int found = 0;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    char piece[4096];
    int n = BIO_read(SSL_get_wbio(ssl), piece, sizeof(piece));
    assert_int_equal(ops->feed(s, piece, (size_t)n, &plain, &eof, NULL), 0);
    ops->pull(s, &out);
    BIO_write(SSL_get_rbio(ssl), out.data, (int)out.len);
    assert_int_equal(SSL_do_handshake(ssl), 1);
    X509 *cert = SSL_get1_peer_certificate(ssl);
    for (int i = 1; i <= 2; i++) {
        BIO *b = BIO_new_file(tls_file(i == 1 ? "server.pem" : "server2.pem"), "r");
        X509 *want = PEM_read_bio_X509(b, NULL, NULL, NULL);
        if (X509_cmp(cert, want) == 0)
            found = i;
        X509_free(want);
        BIO_free(b);
    }
    X509_free(cert);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ops->close(s);
    buf_done(&out);
    return found;
}

static void use(const char *name)
{
    char from[32];

    snprintf(from, sizeof(from), "%s.pem", name);
    assert_true(tls_file_copy(from, "live.pem"));
    snprintf(from, sizeof(from), "%s.key", name);
    assert_true(tls_file_copy(from, "live.key"));
}

static void test_reload(void **state)
{
    struct tls_options s, c = client_options("localhost");
    struct tls_context *server, *client = make(&c);
    struct pair running;
    struct err e = {0};

    (void)state;
    use("server");
    s = server_options("live");
    server = make(&s);
    pair_open(&running, server, client);
    pair_pump(&running, 1000);
    assert_int_equal(served(server), 1);
    assert_false(tls_context_stale(server));

    assert_true(tls_file_copy("ext", "live.pem"));
    assert_true(tls_context_stale(server));
    assert_int_equal(tls_context_reload(server, &e), ERR_TLS);
    assert_false(tls_context_stale(server)); /* they are bad, but they were read */
    assert_int_equal(served(server), 1);
    assert_true(tls_file_copy("server2.pem", "live.pem"));
    assert_int_equal(tls_context_reload(server, &e), ERR_TLS); /* the key is still the old one */
    assert_int_equal(served(server), 1);
    assert_true(tls_file_copy("server2.key", "live.key"));
    assert_true(tls_context_stale(server));
    assert_int_equal(tls_context_reload(server, &e), 0);
    assert_int_equal(served(server), 2);
    assert_false(tls_context_stale(server));

    assert_int_equal(running.ops->write(running.server, "still here", 10, NULL), 0);
    pair_pump(&running, 1000);
    assert_int_equal(running.at_client.len, 10);
    pair_close(&running);
    tls_context_unref(server);
    tls_context_unref(client);
}

struct reports {
    int n, code;
};

static void report(void *ctx, const struct err *e)
{
    struct reports *r = ctx;

    r->n++;
    r->code = e->code;
}

static void wake(uv_timer_t *t)
{
    (void)t;
}

static void spin(unsigned ms)
{
    uint64_t until = uv_hrtime() + ms * NS_PER_MS;
    uv_timer_t t;

    uv_timer_init(loop_uv(loop), &t);
    uv_timer_start(&t, wake, ms, 0);
    while (uv_hrtime() < until)
        loop_run_once(loop, true);
    uv_close((uv_handle_t *)&t, NULL);
    loop_run_once(loop, false);
}

static void test_watch(void **state)
{
    struct tls_options s;
    struct tls_context *server;
    struct reports r = {0};

    (void)state;
    use("server");
    s = server_options("live");
    server = make(&s);
    assert_int_equal(tls_context_watch(server, 10, report, &r), 0);
    spin(60);
    assert_int_equal(r.n, 0);
    assert_true(tls_file_copy("server2.pem", "live.pem"));
    spin(100);
    assert_int_equal(r.n, 1); /* told once, tried again and again */
    assert_int_equal(r.code, ERR_TLS);
    assert_int_equal(served(server), 1);
    assert_true(tls_file_copy("server2.key", "live.key"));
    spin(60);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.code, 0);
    assert_int_equal(served(server), 2);
    assert_int_equal(unlink(tls_file("live.key")), 0);
    spin(60);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.code, ERR_NOT_FOUND);
    assert_int_equal(served(server), 2);
    use("server");
    spin(60);
    assert_int_equal(r.code, 0);
    assert_int_equal(served(server), 1);
    assert_int_equal(loop_run_once(loop, false), 0); /* the watch alone keeps no loop running */
    tls_context_unref(server);
    spin(10);
}

static void test_look_at_handshake(void **state)
{
    struct tls_options s;
    struct tls_context *server;
    struct reports r = {0};

    (void)state;
    use("server");
    s = server_options("live");
    server = make(&s);
    tls_context_check_at_handshake(server, report, &r);
    assert_int_equal(served(server), 1);
    assert_int_equal(r.n, 0);
    assert_true(tls_file_copy("server2.pem", "live.pem"));
    assert_int_equal(served(server), 1); /* the key is not there yet: the old pair stays */
    assert_int_equal(served(server), 1);
    assert_int_equal(r.n, 1); /* tried once */
    assert_int_equal(r.code, ERR_TLS);
    assert_true(tls_file_copy("server2.key", "live.key"));
    assert_int_equal(served(server), 2);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.code, 0);
    assert_int_equal(unlink(tls_file("live.key")), 0);
    assert_int_equal(served(server), 2);
    assert_int_equal(r.code, ERR_NOT_FOUND);
    use("server");
    assert_int_equal(served(server), 1);
    tls_context_unref(server);
    spin(10);
}

/* ---- no memory ------------------------------------------------------------------------------- */

enum { ROUNDS = 250 };

static int load(const struct tls_options *o)
{
    struct tls_context *t = NULL;
    struct err e = {0};
    int rc = tls_context_new(&t, loop, o, &e);

    assert_int_equal(rc, e.code);
    assert_true((rc == 0) == (t != NULL));
    tls_context_unref(t);
    return rc;
}

/* A handshake and five bytes; true if they arrived. */
static bool talk(struct tls_context *server, struct tls_context *client)
{
    const struct tls_session_ops *ops = tls_context_session_ops(server);
    struct pair p = {.ops = ops, .server = ops->open(server), .client = ops->open(client)};
    bool arrived = false;

    p.to_server = p.to_client = p.at_server = p.at_client = (struct buf)BUF_INIT(1 << 20);
    if (p.server != NULL && p.client != NULL) {
        pair_pump(&p, 100000);
        if (ops->ready(p.server))
            (void)ops->write(p.server, "hello", 5, NULL);
        pair_pump(&p, 100000);
        arrived = p.at_client.len == 5;
    }
    pair_close(&p);
    return arrived;
}

/* The n-th allocation fails, for n spread over all that one run does: an error comes back or the
 * work is done, nothing leaks. OpenSSL rebuilds caches after a failure, so that the number changes
 * from run to run; afterwards everything works as before. */
static void test_no_memory(void **state)
{
    const struct tls_options s = server_options("server"), c = client_options("localhost");
    struct tls_context *server = make(&s), *client = make(&c);
    uint64_t all = mem_alloc_count();
    int failed = 0;

    (void)state;
    assert_int_equal(tls_init_memory(), 0); /* the allocator is ours */
    assert_int_equal(load(&s), 0);
    all = mem_alloc_count() - all;
    assert_true(all > 100);
    for (uint64_t n = 1; n <= all; n += n < 50 ? 1 : 1 + all / ROUNDS) {
        mem_fail_at(n, false);
        failed += load(&s) != 0;
        mem_fail_at(0, false);
    }
    assert_true(failed > 20);
    assert_int_equal(load(&s), 0);

    all = mem_alloc_count();
    assert_true(talk(server, client));
    all = mem_alloc_count() - all;
    failed = 0;
    for (uint64_t n = 1; n <= all; n += n < 50 ? 1 : 1 + all / ROUNDS) {
        mem_fail_at(n, false);
        failed += !talk(server, client);
        mem_fail_at(0, false);
    }
    assert_true(failed > 20);
    assert_true(talk(server, client));
    tls_context_unref(server);
    tls_context_unref(client);
}

static int begin(void **state)
{
    (void)state;
    return tls_init_memory() == 0 && tls_files_make() && loop_new(&loop, &clock_system, NULL) == 0
               ? 0
               : -1;
}

static int end(void **state)
{
    (void)state;
    loop_free(loop);
    tls_files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_data),
        cmocka_unit_test(test_address_name),
        cmocka_unit_test(test_server_refused),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_room_for_plain),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_look_at_handshake),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
