/* Asking Vault: each allocation failing in turn, and Vault closing in the middle of each answer.
 * Each request that was accepted ends once, with a reason, and the next one is good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/cert.h"
#include "net/tls.h"
#include "secret/vault.h"
#include "tcp_peer.h"

#include <stdio.h>
#include <stdlib.h>

static struct loop *loop;
static struct tcp_peer peer;
static struct vault *vault;
static char good[32768]; /* the answer with a certificate */
static int cut_at;       /* the n-th request of Vault's is not answered whole; 0: none */
static long cut;         /* so many bytes of it; -1: reset, -2: never, -3: what is no HTTP */
static const char *refusal;

static struct {
    int done, code;
    bool set;
    char msg[480];
} got;

/* ---- Vault */

static const char *answer_to(const char *text)
{
    if (strstr(text, "/issue/") != NULL)
        return good;
    if (strstr(text, "lookup-self") != NULL)
        return "{\"data\":{\"ttl\":3600,\"renewable\":true}}";
    return "{\"auth\":{\"client_token\":\"s.token\"}}";
}

static void script(struct tcp_conn *c, const char *text)
{
    bool now = cut_at > 0 && --cut_at == 0;
    if (refusal != NULL)
        tcp_answer(c, refusal, "{\"errors\":[\"no\"]}", -1);
    else if (!now)
        tcp_answer(c, "200", answer_to(text), -1);
    else if (cut == -1)
        tcp_reset(c);
    else if (cut == -3)
        tcp_say(c, "SSH-2.0-x\r\n\r\n");
    else if (cut >= 0)
        tcp_answer(c, "200", answer_to(text), cut);
}

static void add_text(struct buf *b, const char *key, const struct buf *pem)
{
    (void)buf_addf(b, "\"%s\":\"", key);
    for (size_t i = 0; i < pem->len; i++)
        (void)(pem->data[i] == '\n' ? buf_adds(b, "\\n") : buf_addc(b, pem->data[i]));
    (void)buf_adds(b, "\"");
}

static void make_answer(void)
{
    struct cert_issuer *i = NULL;
    struct err e = {0};
    struct buf root = BUF_INIT(65536), secret = BUF_INIT(65536), cert = BUF_INIT(65536),
               key = BUF_INIT(65536), b = BUF_FIXED(good);
    struct cert_request r = {.common_name = "root", .not_before = 1000, .not_after = 2000000000};
    assert_int_equal(cert_issuer_new(&i, &r, &e), 0);
    assert_int_equal(cert_issuer_write(i, &root, &secret, &e), 0);
    r.common_name = "leaf";
    assert_int_equal(cert_issue(i, &r, &cert, &key, &e), 0);
    cert_issuer_free(i);
    (void)buf_adds(&b, "{\"data\":{");
    add_text(&b, "certificate", &cert);
    (void)buf_addc(&b, ',');
    add_text(&b, "private_key", &key);
    (void)buf_addc(&b, ',');
    add_text(&b, "issuing_ca", &root);
    assert_int_equal(buf_adds(&b, "}}"), 0);
    buf_done(&root);
    buf_done(&secret);
    buf_done(&cert);
    buf_done(&key);
}

/* ---- us */

static void on_issued(void *ctx, const struct err *e, const struct vault_set *set)
{
    (void)ctx;
    got.done++;
    got.code = e->code;
    got.set = set != NULL;
    (void)snprintf(got.msg, sizeof(got.msg), "%s", e->msg);
    assert_true((e->code == 0) == (set != NULL));
    if (set != NULL)
        assert_true(set->cert.len > 0 && set->key.len > 0 && set->authority.len > 0);
}

static int open_vault(bool token, struct err *e)
{
    char address[64];
    (void)snprintf(address, sizeof(address), "http://127.0.0.1:%u/base", peer.port);
    const struct vault_options o = {.address = address,
                                    .name_space = "team",
                                    .auth = token ? VAULT_TOKEN : VAULT_APPROLE,
                                    .token = "s.own",
                                    .role_id = "role",
                                    .secret_id = "secret",
                                    .mount = "pki",
                                    .role = "agent",
                                    .limit_ms = 300};
    vault = NULL;
    return vault_new(&vault, loop, &o, e);
}

/* The code of asking, or of the end. */
static int issue(void)
{
    const struct vault_request r = {.common_name = "agent", .ttl_s = 60};
    struct err e = {0};
    memset(&got, 0, sizeof(got));
    int rc = vault_issue(vault, &r, on_issued, NULL, &e);
    if (rc != 0) {
        assert_true(e.msg[0] != '\0');
        return rc;
    }
    for (uint64_t end = clock_mono_ms(&clock_system) + 60000;
         got.done == 0 && clock_mono_ms(&clock_system) < end;)
        (void)loop_run_once(loop, true);
    assert_int_equal(got.done, 1);
    assert_true(got.code == 0 || got.msg[0] != '\0');
    return got.code;
}

/* Under valgrind OpenSSL takes its time. */
static uint64_t stride(void)
{
    return getenv("GANTRY_UNDER_VALGRIND") != NULL ? 9 : 1;
}

static int setup(void **state)
{
    (void)state;
    cut_at = 0;
    refusal = NULL;
    if (loop_new(&loop, &clock_system, NULL) != 0)
        return -1;
    tcp_peer_open(&peer, loop, script);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mem_fail_at(0, false);
    vault_free(STEAL(vault));
    tcp_peer_close(&peer);
    (void)loop_run(loop);
    loop_free(loop);
    return 0;
}

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        (void)loop_run_once(loop, false);
}

/* ---- tests */

static void memory(bool token, bool sticky)
{
    struct err e = {0};
    uint64_t n = 1;
    for (bool hit = true; hit; n += stride()) { /* making it */
        mem_fail_at(n, sticky);
        int rc = open_vault(token, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (rc == 0)
            vault_free(STEAL(vault));
        turns(5);
    }
    assert_int_equal(open_vault(token, &e), 0);
    n = 1;
    for (bool hit = true; hit; n += stride()) {
        mem_fail_at(n, sticky);
        int rc = issue();
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc != 0 && rc != ERR_NO_MEMORY)
            fail_msg("%llu: %d \"%s\"", (unsigned long long)n, rc, got.msg);
        assert_int_equal(issue(), 0);
    }
    assert_true(n > 15);
    vault_free(STEAL(vault));
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        memory(i % 2 == 0, i / 2 == 0);
}

/* Every byte of the short answers, some of the long one. */
static void vault_closes_in_the_middle(void **state)
{
    (void)state;
    struct err e = {0};
    for (int token = 0; token < 2; token++) {
        assert_int_equal(open_vault(token, &e), 0);
        for (int which = 1; which <= 2; which++) {
            const char *whole = which == 2 ? good : answer_to(token ? "lookup-self" : "login");
            long end = (long)strlen(whole) + 60; /* and some more of the head */
            for (long at = -3; at < end; at += at < 100 ? (long)stride() : 97) {
                cut_at = which;
                cut = at;
                if (at == -2 && token == 0)
                    continue;
                int rc = issue();
                /* a question that came to nothing on a used connection is asked once more */
                bool again = token && which == 1 && (at == 0 || at == -1) && rc == 0;
                if (!again && rc != ERR_GONE && rc != ERR_PROTOCOL && rc != ERR_TIMEOUT &&
                    rc != ERR_IO)
                    fail_msg("answer %d, byte %ld: %d \"%s\"", which, at, rc, got.msg);
                cut_at = 0;
                assert_int_equal(issue(), 0);
            }
        }
        vault_free(STEAL(vault));
        turns(5);
    }
}

static void vault_refuses(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(open_vault(true, &e), 0);
    refusal = "403";
    assert_int_equal(issue(), ERR_DENIED);
    assert_non_null(strstr(got.msg, "looking at the token"));
    refusal = "503";
    assert_int_equal(issue(), ERR_BUSY);
    refusal = "302";
    assert_int_equal(issue(), ERR_PROTOCOL);
    refusal = NULL;
    peer.refuse = true;
    turns(3);
    (void)issue(); /* the connection that is kept may still do */
    peer.refuse = false;
    assert_int_equal(issue(), 0);
    assert_int_equal(vault_stats(vault)->issued + vault_stats(vault)->failed, 5);
    vault_free(STEAL(vault));
}

/* It is given up at any time: nothing comes any more. */
static void ends_at_any_time(void **state)
{
    const struct vault_request r = {.common_name = "agent", .ttl_s = 60};
    struct err e = {0};
    (void)state;
    for (int n = 0; n < 40; n++) {
        assert_int_equal(open_vault(n % 2 == 0, &e), 0);
        memset(&got, 0, sizeof(got));
        assert_int_equal(vault_issue(vault, &r, on_issued, NULL, &e), 0);
        assert_int_equal(vault_issue(vault, &r, on_issued, NULL, &e), ERR_BUSY);
        turns(n / 2);
        int before = got.done;
        vault_free(STEAL(vault));
        turns(10);
        assert_int_equal(got.done, before);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(memory_runs_out),
        T(vault_closes_in_the_middle),
        T(vault_refuses),
        T(ends_at_any_time),
    };
    (void)tls_init_memory();
    json_in_init();
    make_answer();
    return cmocka_run_group_tests_name("vault faults", tests, NULL, NULL);
}
