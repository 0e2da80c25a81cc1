/* Names, .env files, hashes, failures and records of Compose projects; containers as a project. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_state.h"
#include "driver/compose/compose_words.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void names(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"PT-Up.x", "pt-upx"}, {"web_1", "web_1"}, {"a.b.c", "abc"}, {"A", "a"}};
    char name[COMPOSE_NAME_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        compose_project_name(slice_of(rows[i][0]), name);
        assert_string_equal(name, rows[i][1]);
    }
}

static const char *env_of(enum compose_flavour f, const char *value)
{
    static char text[512];
    struct buf b = BUF_FIXED(text);
    struct doc_pair pair = {(char *)(uintptr_t) "A", (char *)(uintptr_t)value};
    struct doc_compose c = {.env = {&pair, 1}};
    assert_int_equal(compose_env_write(&b, f, &c, NULL), 0);
    return text;
}

static void values(void **state)
{
    (void)state;
    assert_string_equal(env_of(COMPOSE_1, "a-b.c"), "A=a-b.c\n");
    assert_string_equal(env_of(COMPOSE_1, ""), "A=\n");
    assert_string_equal(env_of(COMPOSE_1, "x y"), "A=\"x y\"\n");
    assert_string_equal(env_of(COMPOSE_1, "$HOME"), "A=\"$HOME\"\n");
    assert_string_equal(env_of(COMPOSE_1, "${HOME}"), "A=\"${:-$}{HOME}\"\n");
    assert_string_equal(env_of(COMPOSE_1, "a\\b\\"), "A=\"a\\\\b${:-\\}\"\n");
    assert_string_equal(env_of(COMPOSE_1, "l\nm\r\"'"), "A=\"l\\nm\\r\\\"'\"\n");
    assert_string_equal(env_of(COMPOSE_PLUGIN, "${HOME}\\"), "A=\"\\${HOME}\\\\\"\n");
}

static void plain_env(void **state)
{
    (void)state;
    struct doc_pair pairs[] = {{(char *)(uintptr_t) "A", (char *)(uintptr_t) "1"},
                               {(char *)(uintptr_t) "B", (char *)(uintptr_t) "x=y z"}};
    struct doc_compose c = {.env = {pairs, 2}};
    assert_true(compose_env_plain(SLICE_LIT("B=x=y z\nA=1"), &c));
    assert_true(compose_env_plain(SLICE_LIT("A=1\nB=x=y z\n"), &c));
    assert_false(compose_env_plain(SLICE_LIT("A=1"), &c));
    assert_false(compose_env_plain(SLICE_LIT("A=2\nB=x=y z"), &c));
    assert_false(compose_env_plain(SLICE_LIT("A=1\nB=x=y z\nC=3"), &c));
}

static void checks(void **state)
{
    (void)state;
    static const char *const bad[] = {"1A", "", "A B", "A-B", "PATH", "DOCKER_HOST"};
    struct err e;
    struct doc_pair pair = {(char *)(uintptr_t) "A_1", (char *)(uintptr_t) "x"};
    struct doc_compose c = {.compose_yaml = (char *)(uintptr_t) "services: {}", .env = {&pair, 1}};
    assert_int_equal(compose_check(&c, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        pair.key = (char *)(uintptr_t)bad[i];
        assert_int_equal(compose_check(&c, &e), ERR_INVALID);
        assert_non_null(strstr(e.msg, bad[i]));
    }
    c.compose_yaml = (char *)(uintptr_t) " \n";
    assert_int_equal(compose_check(&c, &e), ERR_INVALID);
}

static void versions(void **state)
{
    (void)state;
    assert_int_equal(compose_version_read(SLICE_LIT("docker-compose version 1.29.2, build x")),
                     COMPOSE_1);
    assert_int_equal(compose_version_read(SLICE_LIT("Docker Compose version v2.24.5")),
                     COMPOSE_PLUGIN);
    assert_int_equal(compose_version_read(SLICE_LIT("Docker Compose version 12.0")),
                     COMPOSE_PLUGIN);
    assert_int_equal(compose_version_read(SLICE_LIT("docker: 'compose' is no command")),
                     COMPOSE_NONE);
    assert_int_equal(compose_version_read(SLICE_LIT("version ")), COMPOSE_NONE);
}

static void hashes(void **state)
{
    (void)state;
    struct slice rest = SLICE_LIT("WARNING: something is wrong\n"
                                  "web 0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
                                  "x short\n\n"
                                  "db fedcba9876543210fedcba9876543210");
    struct compose_hash h;
    assert_true(compose_hash_next(&rest, &h));
    assert_true(slice_eqs(h.service, "web") && h.hash.len == 48);
    assert_true(compose_hash_next(&rest, &h));
    assert_true(slice_eqs(h.service, "db"));
    assert_false(compose_hash_next(&rest, &h));
}

static void failures(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        enum fault_reason reason;
        const char *words;
    } rows[] = {
        {"Creating x\nERROR: for web  Cannot start: Bind for 0.0.0.0:80 failed: port is already "
         "allocated\nERROR: Encountered errors while bringing up the project.\n",
         ERR_TOOL, FAULT_PORT_BIND_CONFLICT, "already allocated"},
        {"ERROR: The Compose file './docker-compose.yml' is invalid because:\nUnsupported config "
         "option for services.web: 'comand'\n",
         ERR_INVALID, FAULT_INVALID_SPECIFICATION, "'comand'"},
        {"ERROR: pull access denied for nix, repository does not exist", ERR_TOOL,
         FAULT_INVALID_IMAGE, "nix"},
        {"ERROR: Couldn't connect to Docker daemon at http+docker://localhost", ERR_UNREACHABLE,
         FAULT_RUNTIME_UNHEALTHY, "connect"},
        {"Pulling b (nosuch.invalid/x:1)...\nGet \"https://nosuch.invalid/v2/\": dial tcp: lookup "
         "nosuch.invalid: no such host",
         ERR_TOOL, FAULT_DNS_RESOLUTION_FAILED, "no such host"},
        {"Pulling b (r.lan/x:1)...\nERROR: Get \"https://r.lan/v2/\": dial tcp 10.0.0.1:443: "
         "connect: "
         "network is unreachable",
         ERR_TOOL, FAULT_NETWORK_UNREACHABLE, "unreachable"},
        {"ERROR: Get \"https://r.lan/v2/\": net/http: TLS handshake timeout", ERR_TOOL,
         FAULT_NETWORK_TIMEOUT, "handshake"},
        {"ERROR: manifest for r.lan/x:1 not found: manifest unknown", ERR_TOOL, FAULT_INVALID_IMAGE,
         "unknown"},
        {"", ERR_TOOL, FAULT_RUNTIME_ERROR, "does not say why"},
        {"boom", ERR_TOOL, FAULT_RUNTIME_ERROR, "boom"},
    };
    struct fault f;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(compose_fault(&f, "up", slice_of(rows[i].text)), rows[i].code);
        assert_int_equal(f.reason, rows[i].reason);
        assert_non_null(strstr(f.e.msg, rows[i].words));
        assert_null(strstr(f.e.msg, "Encountered"));
    }
}

static void records(void **state)
{
    (void)state;
    struct compose_record r = {0}, again = {0};
    struct buf b = BUF_INIT(4096);
    static const char text[] = "{\"id\":\"web\",\"revision\":\"7\",\"print\":\"p\",\"node\":\"n\","
                               "\"created_ns\":5,\"stopped\":true,\"services\":{\"a\":1,\"b\":2}}";
    assert_int_equal(compose_record_read(&r, slice_of(text)), 0);
    assert_true(r.stopped && r.created_ns == 5 && r.n_parts == 2 && r.parts[1].count == 2);
    assert_int_equal(compose_record_write(&r, &b), 0);
    assert_int_equal(compose_record_read(&again, (struct slice){b.data, b.len}), 0);
    assert_string_equal(again.revision, "7");
    compose_record_done(&again);
    compose_record_done(&r);
    buf_done(&b);
    static const char *const bad[] = {"", "[]", "{}", "{\"id\":1}",
                                      "{\"id\":\"x\",\"services\":{\"a\":0}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(compose_record_read(&r, slice_of(bad[i])), ERR_INVALID);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n, false);
        int rc = compose_record_read(&r, slice_of(text));
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc == 0)
            compose_record_done(&r);
        if (!hit)
            break;
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
    }
}

/* ---- containers as a project */

static struct compose_box box(const char *service, enum compose_box_state s, int64_t code)
{
    return (struct compose_box){.id = "x",
                                .name = service,
                                .image = "i",
                                .status = "",
                                .project = "p",
                                .service = service,
                                .dir = "",
                                .hash = "",
                                .address = "",
                                .number = 1,
                                .state = s,
                                .exit_code = code};
}

static struct compose_sum sum_of(const struct compose_box *b, size_t n,
                                 const struct compose_record *r)
{
    const struct compose_box *list[4];
    struct compose_sum s;
    for (size_t i = 0; i < n; i++)
        list[i] = &b[i];
    compose_sum_up(list, n, r, &s);
    return s;
}

static void sums(void **state)
{
    (void)state;
    struct compose_seen kept_up = {.kept_up = true, .exit_code = 0};
    struct compose_want parts[] = {{(char *)(uintptr_t) "web", 1}, {(char *)(uintptr_t) "db", 1}};
    struct compose_record r = {.parts = parts, .n_parts = 2};
    struct compose_box b[2] = {box("web", COMPOSE_BOX_RUNNING, -1),
                               box("db", COMPOSE_BOX_RUNNING, -1)};
    struct compose_sum s = sum_of(b, 2, &r);
    assert_int_equal(s.actual, ACTUAL_RUNNING);
    assert_string_equal(s.message, "2/2 containers running");
    s = sum_of(b, 0, &r);
    assert_int_equal(s.actual, ACTUAL_STOPPED);
    assert_string_equal(s.message, "no containers");
    s = sum_of(b, 1, &r); /* db is missing */
    assert_true(s.actual == ACTUAL_PENDING && s.incomplete);
    b[1] = box("db", COMPOSE_BOX_EXITED, 0); /* a one-shot */
    s = sum_of(b, 2, &r);
    assert_int_equal(s.actual, ACTUAL_RUNNING);
    assert_string_equal(s.message, "1/2 containers running");
    b[1].seen = &kept_up; /* it should run: somebody has stopped it */
    s = sum_of(b, 2, &r);
    assert_true(s.actual == ACTUAL_PENDING && s.incomplete);
    b[1] = box("db", COMPOSE_BOX_EXITED, 3);
    s = sum_of(b, 2, &r);
    assert_int_equal(s.actual, ACTUAL_FAILED);
    assert_true(s.exit_code == 3 && s.cause == STOP_CRASH);
    assert_non_null(strstr(s.message, "service \"db\" exited with code 3"));
    b[0] = box("web", COMPOSE_BOX_EXITED, 137);
    r.stopped = true; /* by us: no failure */
    s = sum_of(b, 2, &r);
    assert_int_equal(s.actual, ACTUAL_STOPPED);
    r.stopped = false;
    b[0] = box("web", COMPOSE_BOX_RUNNING, -1);
    b[1] = box("db", COMPOSE_BOX_RESTARTING, 1);
    s = sum_of(b, 2, &r);
    assert_true(s.actual == ACTUAL_PENDING && !s.incomplete);
    b[1] = box("db", COMPOSE_BOX_PAUSED, -1);
    assert_int_equal(sum_of(b, 2, &r).actual, ACTUAL_PENDING);
    b[1] = box("db", COMPOSE_BOX_RUNNING, -1);
    b[1].health = HEALTH_UNHEALTHY;
    b[0].health = HEALTH_HEALTHY;
    s = sum_of(b, 2, &r);
    assert_true(s.actual == ACTUAL_RUNNING && s.health == HEALTH_UNHEALTHY);
}

static void entries(void **state)
{
    (void)state;
    static const char text[] =
        "{\"Id\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"Names\":"
        "[\"/x/web\",\"/p_web_2\"],\"Image\":\"i\",\"State\":\"exited\",\"Status\":\"Exited (137) "
        "2 "
        "seconds ago\",\"Created\":7,\"Labels\":{\"com.docker.compose.project\":\"p\","
        "\"com.docker.compose.service\":\"web\",\"com.docker.compose.container-number\":\"2\","
        "\"com.docker.compose.project.working_dir\":\"/srv/Pt\"}}";
    struct compose_box b;
    struct slice id;
    char part[64];
    json_t *entry = json_parse(slice_of(text), NULL, NULL);
    assert_true(compose_box_read(entry, &b));
    assert_string_equal(b.name, "p_web_2");
    assert_true(b.state == COMPOSE_BOX_EXITED && b.exit_code == 137 && b.number == 2);
    compose_box_part(&b, part, sizeof(part));
    assert_string_equal(part, "web-2");
    assert_true(compose_dir_id(b.dir, "/srv", &id) && slice_eqs(id, "Pt"));
    assert_false(compose_dir_id("/srv/a/b", "/srv", &id));
    assert_false(compose_dir_id("/srv/..", "/srv", &id));
    assert_false(compose_dir_id("/srvx/a", "/srv", &id));
    json_object_del(json_object_get(entry, "Labels"), "com.docker.compose.service");
    assert_false(compose_box_read(entry, &b));
    json_decref(entry);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),    cmocka_unit_test(values),   cmocka_unit_test(plain_env),
        cmocka_unit_test(checks),   cmocka_unit_test(versions), cmocka_unit_test(hashes),
        cmocka_unit_test(failures), cmocka_unit_test(records),  cmocka_unit_test(sums),
        cmocka_unit_test(entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
