/* Which listeners ask, what a configuration of identities may be, and memory that runs out while it
 * is read. */
#include "../base/unit.h"

#include "base/json_in.h"
#include "base/str.h"
#include "gantryd/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

/* A configuration from YAML; the token file is at `path`. */
static void read_config(struct config *c, const char *text)
{
    struct schema_report r = {0};
    struct err e = {0};
    memset(c, 0, sizeof(*c));
    assert_int_equal(schema_defaults(&config_schema, c, &e), 0);
    if (schema_read_yaml(&config_schema, c, slice_of(text), &r, &e) != 0)
        fail_msg("%s: %s", text, r.count > 0 ? r.faults[0].msg : e.msg);
    schema_report_done(&r);
    if (c->auth.tokens == NULL)
        c->auth.tokens = mem_strdup(path);
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

#define ONE_TOKEN                                                                                  \
    "{\"version\":1,\"tokens\":[{\"name\":\"a\",\"sha256\":"                                       \
    "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"rights\":[\"viewer\"]" \
    ","                                                                                            \
    "\"created\":5,\"expires\":null,\"created_by\":\"x\"}]}"
#define REMOTE "{address: \"0.0.0.0:1\"}"
#define TLS_REMOTE "{address: \"0.0.0.0:1\", tls: {cert: /c, key: /k, client_ca: /a}}"
#define CERTIFICATES "auth: {certificates: [{name: \"x*\", role: viewer}]}\n"
#define PEERS "auth: {peers: [{uid: 7, role: viewer}]}\n"

/* Mark of the first listener, or the error. */
static int mark_of(const char *auth, const char *listener, bool token)
{
    char text[512];
    struct config c;
    struct guard *g = NULL;
    struct err e = {0};
    unsigned mark = 99;
    snprintf(text, sizeof(text), "%shttp: {listeners: [%s]}\n", auth, listener);
    if (token)
        write_file(ONE_TOKEN);
    read_config(&c, text);
    assert_int_equal(guard_new(&g, NULL, &clock_system, &c.auth, &e), 0);
    int rc = guard_listener(g, &c.auth, c.http.listeners.items, &mark, &e);
    if (rc != 0)
        assert_non_null(strstr(e.msg, "insecure: true"));
    assert_int_equal(guard_check(&c, &e), rc);
    guard_free(g);
    config_done(&c);
    unlink(path);
    return rc != 0 ? rc : (int)mark;
}

static void listeners(void **state)
{
    (void)state;
    assert_int_equal(mark_of("", "{address: \"127.0.0.1:1\"}", false), GUARD_OPEN);
    assert_int_equal(mark_of("", "{address: \"[::1]:1\"}", true), GUARD_OPEN);
    assert_int_equal(mark_of("", "{address: \"unix:/x\"}", true), GUARD_OPEN);
    assert_int_equal(mark_of("", "{address: \"127.0.0.1:1\", auth: required}", false),
                     GUARD_REQUIRED);
    assert_int_equal(mark_of("auth: {required: true}\n", "{address: \"127.0.0.1:1\"}", false),
                     GUARD_REQUIRED);
    assert_int_equal(mark_of("auth: {required: true}\n", "{address: \"unix:/x\"}", false),
                     GUARD_REQUIRED);
    assert_int_equal(
        mark_of("auth: {required: true}\n", "{address: \"unix:/x\", auth: none}", false),
        GUARD_OPEN);
    assert_int_equal(mark_of(PEERS, "{address: \"unix:/x\"}", false), GUARD_REQUIRED);
    assert_int_equal(mark_of(PEERS, "{address: \"127.0.0.1:1\"}", false), GUARD_OPEN);
    /* Beyond this machine. */
    assert_int_equal(mark_of("", REMOTE, false), ERR_INVALID);
    assert_int_equal(mark_of(PEERS, REMOTE, false), ERR_INVALID); /* users are of no use there */
    assert_int_equal(mark_of("", REMOTE, true), GUARD_REQUIRED);
    assert_int_equal(mark_of(CERTIFICATES, REMOTE, false), ERR_INVALID); /* nobody could show one */
    assert_int_equal(mark_of(CERTIFICATES, TLS_REMOTE, false), GUARD_REQUIRED);
    assert_int_equal(mark_of("auth: {required: true}\n", REMOTE, false), GUARD_REQUIRED);
    assert_int_equal(mark_of("", "{address: \"0.0.0.0:1\", auth: required}", false),
                     GUARD_REQUIRED);
    assert_int_equal(mark_of("", "{address: \"[::]:1\", insecure: true}", true), GUARD_OPEN);
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *auth, *word;
    } rows[] = {
        {"auth: {peers: [{user: no-such-user-here, role: viewer}]}\n", "no-such-user-here"},
        {"auth: {peers: [{group: no-such-group-here, role: viewer}]}\n", "no-such-group-here"},
        {"auth: {peers: [{group: \"4294967295\", role: viewer}]}\n", "4294967295"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config c;
        struct guard *g = NULL;
        struct err e = {0};
        read_config(&c, rows[i].auth);
        assert_int_equal(guard_new(&g, NULL, &clock_system, &c.auth, &e), ERR_NOT_FOUND);
        assert_non_null(strstr(e.msg, rows[i].word));
        config_done(&c);
    }
    struct config c, bad;
    struct guard *g = NULL;
    struct err e = {0};
    read_config(&c, "auth: {peers: [{user: root, role: viewer}, {group: root, role: admin}]}\n");
    assert_int_equal(guard_new(&g, NULL, &clock_system, &c.auth, &e), 0);
    /* All of a reload or nothing of it. */
    read_config(&bad, rows[0].auth);
    assert_int_equal(guard_reload(g, &bad.auth, &e), ERR_NOT_FOUND);
    assert_int_equal(guard_reload(g, &c.auth, &e), 0);
    assert_non_null(guard_tokens(g));
    guard_free(g);
    guard_free(NULL);
    config_done(&bad);
    config_done(&c);
}

static void no_place_for_tokens(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip(); /* root has one always */
    struct config c;
    struct guard *g = NULL;
    struct err e = {0};
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    read_config(&c, "");
    mem_free(c.auth.tokens);
    c.auth.tokens = NULL;
    assert_int_equal(guard_new(&g, NULL, &clock_system, &c.auth, &e), 0);
    assert_null(guard_tokens(g));
    guard_free(g);
    config_done(&c);
}

static void no_memory(void **state)
{
    (void)state;
    struct config c;
    read_config(&c,
                "auth: {peers: [{uid: 1, role: viewer}, {group: root, rights: [\"read a b\"]}], "
                "certificates: [{name: x, role: admin}, {name: \"y*\", role: viewer}]}\n");
    write_file(ONE_TOKEN);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct guard *g = NULL;
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = guard_new(&g, NULL, &clock_system, &c.auth, &e);
        bool hit = mem_fail_hit();
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (rc == 0)
            guard_free(g);
    }
    unlink(path);
    config_done(&c);
}

int main(void)
{
    json_in_init();
    snprintf(path, sizeof(path), "/tmp/gantry-guard-%d.json", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listeners),
        cmocka_unit_test(names),
        cmocka_unit_test(no_place_for_tokens),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("gantryd-guard", tests, NULL, NULL);
}
