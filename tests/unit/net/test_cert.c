/* Certificates: made, read again, sets that fit and sets that do not, names; out of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/cert.h"
#include "net/own_names.h"
#include "net/tls.h"

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1800000000)
#define HOUR 3600

struct made {
    struct buf ca, ca_key, leaf, leaf_key;
};

static void made_init(struct made *m)
{
    buf_init(&m->ca, 65536);
    buf_init(&m->ca_key, 65536);
    buf_init(&m->leaf, 65536);
    buf_init(&m->leaf_key, 65536);
}

static void made_done(struct made *m)
{
    buf_done(&m->ca);
    buf_done(&m->ca_key);
    buf_done(&m->leaf);
    buf_done(&m->leaf_key);
}

static struct slice text(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static const char *const names[] = {"robot.example", "*.lab", "10.0.0.7", "fd00::7"};

static int make(struct made *m, struct err *e)
{
    struct cert_issuer *i = NULL;
    struct cert_request r = {
        .common_name = "an authority", .not_before = NOW - HOUR, .not_after = NOW + HOUR};
    int rc = cert_issuer_new(&i, &r, e);
    if (rc == 0)
        rc = cert_issuer_write(i, &m->ca, &m->ca_key, e);
    r.common_name = "robot";
    r.names = names;
    r.n_names = ARRAY_LEN(names);
    r.server = r.client = true;
    if (rc == 0)
        rc = cert_issue(i, &r, &m->leaf, &m->leaf_key, e);
    cert_issuer_free(i);
    return rc;
}

static void what_is_made_can_be_read(void **state)
{
    (void)state;
    struct made m;
    struct err e = {0};
    struct cert_list l;
    made_init(&m);
    assert_int_equal(make(&m, &e), 0);
    assert_int_equal(cert_read(&l, text(&m.leaf), &e), 0);
    assert_int_equal(l.count, 1);
    const struct cert_info *c = &l.items[0];
    assert_string_equal(c->common_name, "robot");
    assert_string_equal(c->subject, "CN=robot,O=Gantry development");
    assert_string_equal(c->issuer, "CN=an authority,O=Gantry development");
    assert_true(c->not_before == NOW - HOUR && c->not_after == NOW + HOUR);
    assert_false(c->authority);
    assert_int_equal(c->n_names, 4);
    assert_string_equal(c->names[0], "DNS:robot.example");
    assert_string_equal(c->names[2], "IP:10.0.0.7");
    assert_string_equal(c->names[3], "IP:fd00::7");
    assert_true(cert_is_named(c, SLICE_LIT("Robot")));
    assert_true(cert_is_named(c, SLICE_LIT("robot.example")));
    assert_false(cert_is_named(c, SLICE_LIT("10.0.0.7")));
    assert_false(cert_is_named(c, SLICE_LIT("robot.examples")));
    cert_list_done(&l);
    /* a chain */
    assert_int_equal(buf_add(&m.leaf, m.ca.data, m.ca.len), 0);
    assert_int_equal(cert_read(&l, text(&m.leaf), &e), 0);
    assert_int_equal(l.count, 2);
    assert_true(l.items[1].authority);
    cert_list_done(&l);
    made_done(&m);
}

static void sets_are_checked(void **state)
{
    (void)state;
    struct made m, other;
    struct err e = {0};
    struct cert_list l;
    made_init(&m);
    made_init(&other);
    assert_int_equal(make(&m, &e), 0);
    assert_int_equal(make(&other, &e), 0);
    assert_int_equal(cert_check_set(text(&m.leaf), text(&m.leaf_key), text(&m.ca), NOW, &l, &e), 0);
    assert_string_equal(l.items[0].common_name, "robot");
    cert_list_done(&l);
    assert_int_equal(
        cert_check_set(text(&m.leaf), text(&other.leaf_key), text(&m.ca), NOW, NULL, &e), ERR_TLS);
    assert_non_null(strstr(e.msg, "not that of the certificate"));
    assert_int_equal(
        cert_check_set(text(&m.leaf), text(&m.leaf_key), text(&other.ca), NOW, NULL, &e), ERR_TLS);
    assert_int_equal(
        cert_check_set(text(&m.leaf), text(&m.leaf_key), text(&m.ca), NOW + 2 * HOUR, NULL, &e),
        ERR_TLS);
    assert_non_null(strstr(e.msg, "expired"));
    assert_int_equal(
        cert_check_set(text(&m.leaf), text(&m.leaf_key), text(&m.ca), NOW - 2 * HOUR, NULL, &e),
        ERR_TLS);
    assert_int_equal(cert_check_set(text(&m.leaf), text(&m.ca), text(&m.ca), NOW, NULL, &e),
                     ERR_TLS); /* no key at all */
    assert_int_equal(
        cert_check_set((struct slice){0}, text(&m.leaf_key), text(&m.ca), NOW, NULL, &e), ERR_TLS);
    made_done(&m);
    made_done(&other);
}

static void damaged_text_is_refused(void **state)
{
    (void)state;
    struct made m;
    struct err e = {0};
    struct cert_list l;
    made_init(&m);
    assert_int_equal(make(&m, &e), 0);
    assert_int_equal(cert_read(&l, SLICE_LIT("garbage"), &e), ERR_TLS);
    cert_list_done(&l);
    assert_int_equal(cert_read(&l, (struct slice){NULL, 0}, &e), ERR_TLS);
    assert_int_equal(cert_read(&l, text(&m.leaf_key), &e), ERR_TLS);
    cert_list_done(&l);
    /* a good one, and then half of one */
    assert_int_equal(buf_add(&m.ca, m.leaf.data, m.leaf.len / 2), 0);
    assert_int_equal(cert_read(&l, text(&m.ca), &e), ERR_TLS);
    cert_list_done(&l);
    m.leaf.data[100] = '\x01';
    assert_int_equal(cert_read(&l, text(&m.leaf), &e), ERR_TLS);
    cert_list_done(&l);
    made_done(&m);
}

static void requests_are_checked(void **state)
{
    (void)state;
    struct cert_issuer *i = NULL;
    struct err e = {0};
    static const char *const odd[] = {"good", "no,DNS:comma"};
    struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536);
    struct cert_request r = {.common_name = "", .not_before = NOW, .not_after = NOW + HOUR};
    assert_int_equal(cert_issuer_new(&i, &r, &e), ERR_INVALID);
    r.common_name = "a";
    assert_int_equal(cert_issuer_new(&i, &r, &e), 0);
    r.names = odd;
    r.n_names = 2;
    assert_int_equal(cert_issue(i, &r, &cert, &key, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "\"no,DNS:comma\""));
    assert_int_equal(key.len, 0);
    r.n_names = CERT_MAX_NAMES + 1;
    assert_int_equal(cert_issue(i, &r, &cert, &key, &e), ERR_LIMIT);
    buf_done(&cert);
    buf_done(&key);
    cert_issuer_free(i);
}

static void names_and_addresses(void **state)
{
    (void)state;
    struct own_names n = {0};
    struct err e = {0};
    char name[24];
    assert_true(cert_is_host("a") && cert_is_host("a-b.c_d.e1") && cert_is_host("*.example"));
    assert_false(cert_is_host("") || cert_is_host(".a") || cert_is_host("a..b") ||
                 cert_is_host("-a") || cert_is_host("a-") || cert_is_host("a b") ||
                 cert_is_host("a.*") || cert_is_host("a,b") || cert_is_host("a."));
    assert_true(cert_is_address("127.0.0.1") && cert_is_address("::1"));
    assert_false(cert_is_address("127.1") || cert_is_address("robot"));
    assert_int_equal(own_names_of_machine(&n, &e), 0);
    assert_string_equal(n.items[0], "localhost");
    assert_int_equal(own_names_add(&n, "LOCALHOST", &e), 0);
    size_t before = n.count;
    assert_int_equal(own_names_add(&n, "", &e), 0);
    assert_int_equal(own_names_of_machine(&n, &e), 0);
    assert_int_equal(n.count, before);
    while (n.count < OWN_NAMES_MAX) {
        (void)snprintf(name, sizeof(name), "n%zu", n.count);
        assert_int_equal(own_names_add(&n, name, &e), 0);
    }
    assert_int_equal(own_names_add(&n, "more", &e), ERR_LIMIT);
    own_names_done(&n);
}

static void out_of_memory_is_an_error(void **state)
{
    (void)state;
    struct made m;
    struct err e = {0};
    struct cert_list l;
    uint64_t step = 1, n;
    made_init(&m);
    assert_int_equal(make(&m, &e), 0);
    for (n = 1; n < 100000; n += step) {
        mem_fail_at(n, true);
        int rc = cert_check_set(text(&m.leaf), text(&m.leaf_key), text(&m.ca), NOW, &l, &e);
        mem_fail_at(0, false);
        cert_list_done(&l);
        if (rc == 0)
            break;
        step = 1 + n / 50;
    }
    assert_true(n > 100 && n < 100000);
    for (n = 1, step = 1; n < 100000; n += step) {
        struct made again;
        made_init(&again);
        mem_fail_at(n, true);
        int rc = make(&again, &e);
        mem_fail_at(0, false);
        made_done(&again);
        if (rc == 0)
            break;
        step = 1 + n / 50;
    }
    assert_true(n > 100 && n < 100000);
    made_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_can_be_read), cmocka_unit_test(sets_are_checked),
        cmocka_unit_test(damaged_text_is_refused),  cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(names_and_addresses),      cmocka_unit_test(out_of_memory_is_an_error),
    };
    (void)tls_init_memory();
    return cmocka_run_group_tests_name("cert", tests, NULL, NULL);
}
