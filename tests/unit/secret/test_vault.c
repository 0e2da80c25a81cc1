/* What is said to Vault, and what its answers are taken for; addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/cert.h"
#include "net/tls.h"
#include "net/url.h"
#include "secret/vault_answer.h"

#include <stdio.h>
#include <string.h>

static void questions(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b.c"}, *const addresses[] = {"::1"};
    struct vault_request r = {.common_name = "agent",
                              .names = names,
                              .n_names = 2,
                              .addresses = addresses,
                              .n_addresses = 1,
                              .ttl_s = 5445};
    struct buf b = BUF_INIT(1000);
    assert_int_equal(vault_write_issue(&b, &r), 0);
    assert_string_equal(b.data, "{\"common_name\":\"agent\",\"ttl\":\"1h30m45s\",\"alt_names\":"
                                "\"a,b.c\",\"ip_sans\":\"::1\"}");
    buf_clear(&b);
    assert_int_equal(vault_write_login(&b, "ro\"le", "s"), 0);
    assert_string_equal(b.data, "{\"role_id\":\"ro\\\"le\",\"secret_id\":\"s\"}");
    buf_done(&b);
}

static void logins(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"{\"auth\":{\"client_token\":\"s.x\"}}", 0},
        {"{\"auth\":{\"client_token\":\"\"}}", ERR_PROTOCOL},
        {"{\"auth\":{\"client_token\":\"a\\r\\nb: c\"}}", ERR_PROTOCOL},
        {"{\"auth\":{\"client_token\":7}}", ERR_PROTOCOL},
        {"{\"auth\":{}}", ERR_PROTOCOL},
        {"{\"auth\":null}", ERR_PROTOCOL},
        {"[]", ERR_PROTOCOL},
        {"", ERR_PROTOCOL},
        {"<html>", ERR_PROTOCOL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf token = BUF_INIT(VAULT_TOKEN_MAX);
        struct err e = {0};
        assert_int_equal(vault_read_login(slice_of(rows[i].text), &token, &e), rows[i].rc);
        if (rows[i].rc == 0)
            assert_string_equal(token.data, "s.x");
        else
            assert_int_equal(token.len, 0);
        buf_done(&token);
    }
    struct vault_token t = {0};
    struct err e = {0};
    assert_int_equal(
        vault_read_lookup(SLICE_LIT("{\"data\":{\"ttl\":60,\"renewable\":true}}"), &t, &e), 0);
    assert_true(t.ttl_s == 60 && t.renewable);
    assert_int_equal(vault_read_lookup(SLICE_LIT("{\"data\":{\"ttl\":-1}}"), &t, &e), ERR_PROTOCOL);
    assert_int_equal(vault_read_lookup(SLICE_LIT("{\"data\":{}}"), &t, &e), 0);
    assert_false(t.renewable);
}

static void refusals(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(vault_read_refusal(503, SLICE_LIT("{\"errors\":[\"Vault is sealed\"]}"), &e),
                     ERR_BUSY);
    assert_string_equal(e.msg, "status 503: Vault is sealed");
    assert_int_equal(vault_read_refusal(403, SLICE_LIT("{\"errors\":[\"a\\u001b[31m\\nb\"]}"), &e),
                     ERR_DENIED);
    assert_null(strchr(e.msg, '\x1b'));
    assert_null(strchr(e.msg, '\n'));
    assert_int_equal(vault_read_refusal(302, SLICE_LIT("<html>"), &e), ERR_PROTOCOL);
    assert_string_equal(e.msg, "status 302");
    assert_int_equal(vault_read_refusal(500, (struct slice){NULL, 0}, &e), ERR_BUSY);
    assert_int_equal(vault_read_refusal(400, SLICE_LIT("{\"errors\":7}"), &e), ERR_DENIED);
}

/* --- Issued --- */

struct made {
    struct buf root, cert, key;
};

static void add_text(struct buf *b, const char *key, const struct buf *pem)
{
    (void)buf_addf(b, "\"%s\":\"", key);
    for (size_t i = 0; i < pem->len; i++)
        (void)(pem->data[i] == '\n' ? buf_adds(b, "\\n") : buf_addc(b, pem->data[i]));
    (void)buf_adds(b, "\"");
}

static void make(struct made *m)
{
    struct cert_issuer *i = NULL;
    struct err e = {0};
    struct buf secret = BUF_INIT(65536);
    struct cert_request r = {.common_name = "root", .not_before = 1000, .not_after = 2000000000};
    buf_init(&m->root, 65536);
    buf_init(&m->cert, 65536);
    buf_init(&m->key, 65536);
    assert_int_equal(cert_issuer_new(&i, &r, &e), 0);
    assert_int_equal(cert_issuer_write(i, &m->root, &secret, &e), 0);
    r.common_name = "leaf";
    r.server = true;
    assert_int_equal(cert_issue(i, &r, &m->cert, &m->key, &e), 0);
    cert_issuer_free(i);
    buf_done(&secret);
}

static void made_done(struct made *m)
{
    buf_done(&m->root);
    buf_done(&m->cert);
    buf_done(&m->key);
}

/* `between`: the leaf stands for an authority that another has signed. */
static void answer(struct buf *b, const struct made *m, bool between)
{
    (void)buf_adds(b, "{\"data\":{");
    add_text(b, "certificate", &m->cert);
    (void)buf_addc(b, ',');
    add_text(b, "private_key", &m->key);
    (void)buf_addc(b, ',');
    add_text(b, "issuing_ca", between ? &m->cert : &m->root);
    (void)buf_adds(b, ",\"ca_chain\":[");
    struct buf one = BUF_INIT(65536);
    add_text(&one, "x", &m->root);
    (void)buf_adds(b, one.data + 4); /* without its key */
    buf_done(&one);
    (void)buf_adds(b, "]}}");
}

static size_t count(const struct buf *b, const char *word)
{
    size_t n = 0;
    for (const char *p = b->data; p != NULL && (p = strstr(p, word)) != NULL; p++)
        n++;
    return n;
}

static void issued(void **state)
{
    (void)state;
    struct made m;
    struct buf body = BUF_INIT(VAULT_ANSWER_MAX);
    struct vault_set set;
    struct err e = {0};
    make(&m);
    for (int between = 0; between < 2; between++) {
        buf_clear(&body);
        answer(&body, &m, between);
        vault_set_init(&set);
        assert_int_equal(vault_read_issue((struct slice){body.data, body.len}, &set, &e), 0);
        assert_int_equal(count(&set.cert, "BEGIN CERT"), between ? 2 : 1);
        assert_int_equal(count(&set.authority, "BEGIN CERT"), between ? 2 : 1);
        assert_string_equal(set.key.data, m.key.data);
        vault_set_done(&set);
    }
    for (uint64_t n = 1;; n++) {
        vault_set_init(&set);
        mem_fail_at(n, true);
        int rc = vault_read_issue((struct slice){body.data, body.len}, &set, &e);
        mem_fail_at(0, false);
        vault_set_done(&set);
        if (rc == 0)
            break;
        assert_true(n < 100000);
    }
    static const char *const bad[] = {
        "{\"data\":{\"certificate\":\"x\"}}",
        "{\"data\":{\"certificate\":\"x\",\"private_key\":\"y\"}}",
        "{\"data\":{\"certificate\":\"x\",\"private_key\":\"y\",\"issuing_ca\":\"z\"}}",
        "{\"data\":{\"certificate\":\"\",\"private_key\":\"y\",\"issuing_ca\":\"z\"}}",
        "{\"data\":[]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        vault_set_init(&set);
        assert_int_not_equal(vault_read_issue(slice_of(bad[i]), &set, &e), 0);
        vault_set_done(&set);
    }
    buf_done(&body);
    made_done(&m);
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool bare, good, tls;
        const char *host, *header, *path;
        int port;
    } rows[] = {
        {"http://vault", false, true, false, "vault", "vault:80", "", 80},
        {"https://vault:8200/", false, true, true, "vault", "vault:8200", "/", 8200},
        {"https://[fd00::1]:4318/a/b", false, true, true, "fd00::1", "[fd00::1]:4318", "/a/b",
         4318},
        {"10.0.0.1:4318", true, true, false, "10.0.0.1", "10.0.0.1:4318", "", 4318},
        {"host:1/x", true, true, false, "host", "host:1", "/x", 1},
        {"host:4318", false, false, false, NULL, NULL, NULL, 0},
        {"host", true, false, false, NULL, NULL, NULL, 0},
        {"ftp://host:1", true, false, false, NULL, NULL, NULL, 0},
        {"http://", false, false, false, NULL, NULL, NULL, 0},
        {"http://user@host", false, false, false, NULL, NULL, NULL, 0},
        {"http://host:0", false, false, false, NULL, NULL, NULL, 0},
        {"http://host:65536", false, false, false, NULL, NULL, NULL, 0},
        {"http://host:80x", false, false, false, NULL, NULL, NULL, 0},
        {"http://ho st", false, false, false, NULL, NULL, NULL, 0},
        {"http://host/a?b", false, false, false, NULL, NULL, NULL, 0},
        {"http://host/a b", false, false, false, NULL, NULL, NULL, 0},
        {"http://[::1", false, false, false, NULL, NULL, NULL, 0},
        {"http://a:b:1", false, false, false, NULL, NULL, NULL, 0},
        {"", true, false, false, NULL, NULL, NULL, 0},
        {"http://h\r\nx: y", false, false, false, NULL, NULL, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct url u;
        struct err e = {0};
        int rc = url_parse(&u, rows[i].text, rows[i].bare, &e);
        if ((rc == 0) != rows[i].good)
            fail_msg("\"%s\": %d", rows[i].text, rc);
        if (rc == 0) {
            assert_string_equal(u.host, rows[i].host);
            assert_string_equal(u.header, rows[i].header);
            assert_string_equal(u.path, rows[i].path);
            assert_int_equal(u.port, rows[i].port);
            assert_true(u.tls == rows[i].tls);
        } else {
            assert_null(strchr(e.msg, '\n'));
        }
        url_done(&u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions), cmocka_unit_test(logins),    cmocka_unit_test(refusals),
        cmocka_unit_test(issued),    cmocka_unit_test(addresses),
    };
    (void)tls_init_memory();
    json_in_init();
    return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
