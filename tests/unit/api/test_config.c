/* gantryd's configuration: defaults, addresses, and what is refused, with its place. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/log.h"
#include "gantryd/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static int load(const char *text, struct config *c, struct schema_report *r)
{
    struct err e = {0};
    assert_int_equal(file_replace(AT_FDCWD, path, (struct slice){text, strlen(text)}, 0600,
                                  (uid_t)-1, (gid_t)-1, &e),
                     0);
    return config_load(c, path, r, &e);
}

static void defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "containers: {}\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct config c;
        struct schema_report r = {0};
        assert_int_equal(load(texts[i], &c, &r), 0);
        assert_int_equal(r.count, 0);
        assert_int_equal(c.containers.count, 0);
        assert_int_equal(c.cors.allow_origins.count, 1);
        assert_string_equal(((char **)c.cors.allow_origins.items)[0], "loopback");
        assert_string_equal(c.docker.socket, "/var/run/docker.sock");
        assert_int_equal(c.http.listeners.count, 0);
        assert_int_equal(c.http.limits.max_head, 16 * 1024);
        assert_int_equal(c.http.limits.max_connections, 10000);
        assert_int_equal(c.http.limits.idle, 75000);
        assert_int_equal(c.log.level, LOG_INFO);
        assert_int_equal(c.log.format, LOG_FORMAT_AUTO);
        assert_int_equal(c.compat, COMPAT_NONE);
        assert_int_equal(c.shutdown.limit, 10000);
        schema_report_done(&r);
        config_done(&c);
    }
}

static void everything(void **state)
{
    (void)state;
    struct config c;
    struct schema_report r = {0};
    assert_int_equal(load("compat: talos-0.1.2\n"
                          "cors: {allow_origins: [\"*\"]}\n"
                          "containers:\n"
                          "  b: {socket_path: \"\"}\n"
                          "  a:\n"
                          "    socket_path: /x\n"
                          "    services: [{id: one, label: One}, {id: one, label: Two}]\n"
                          "    ros2: {domain_id: 30, topics: {/x: a/b}}\n"
                          "    repo_version: {package_xml_path: /p, github_releases_api: x}\n"
                          "http:\n"
                          "  hosts: [robot.local]\n"
                          "  listeners:\n"
                          "    - address: \"unix:/run/x.sock\"\n"
                          "      mode: \"0600\"\n"
                          "      group: \"0\"\n"
                          "    - {address: \"0.0.0.0:80\", insecure: true}\n"
                          "    - {address: \"[::1]:0\", tls: {cert: /c, key: /k, client_ca: /a, "
                          "require_client_cert: true}}\n"
                          "  limits: {max_body: 2M, idle: 5s, ws_queue: 64k, max_connections: 3}\n"
                          "docker: {socket: /d.sock}\n"
                          "log: {level: debug, format: json, rooms: [\"net=trace\"]}\n"
                          "shutdown: {limit: 250ms}\n",
                          &c, &r),
                     0);
    assert_int_equal(r.errors, 0);
    assert_int_equal(r.count, 2); /* ros2, github_releases_api */
    assert_non_null(strstr(r.faults[0].msg, "ros2"));
    assert_int_equal(r.faults[0].line, 8);
    const struct config_container *k = c.containers.items;
    assert_string_equal(k[0].name, "b");
    assert_string_equal(k[0].socket_path, "");
    assert_string_equal(k[1].name, "a");
    assert_true(k[1].ros2 && !k[0].ros2);
    assert_string_equal(k[1].repo_version.package_xml_path, "/p");
    assert_null(k[0].repo_version.package_xml_path);
    assert_string_equal(((struct config_label *)k[1].services.items)[1].label, "Two");
    const struct config_listener *l = c.http.listeners.items;
    assert_int_equal(c.http.listeners.count, 3);
    assert_string_equal(l[0].mode, "0600");
    assert_string_equal(l[1].mode, "0660");
    assert_true(l[1].insecure && l[2].tls.require_client_cert);
    assert_int_equal(c.http.limits.max_body, 2 << 20);
    assert_int_equal(c.http.limits.idle, 5000);
    assert_int_equal(c.compat, COMPAT_TALOS_0_1_2);
    assert_int_equal(c.log.level, LOG_DEBUG);
    assert_int_equal(c.log.format, LOG_FORMAT_JSON);
    assert_int_equal(c.shutdown.limit, 250);
    schema_report_done(&r);
    config_done(&c);
}

static void faults(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *word;
    } rows[] = {
        {"nonsense: 1\n", 1, "nonsense"},
        {"containers: 5\n", 1, "containers"},
        {"containers:\n", 1, "containers"},
        {"containers:\n  a:\n    sockets: x\n", 3, "sockets"},
        {"containers:\n  a: {socket_path: 7}\n", 2, "7"},
        {"containers:\n  a: {services: []}\n", 2, "socket_path"},
        {"containers:\n  a:\n    socket_path: x\n    repo_version: {package_xml_path: rel}\n", 4,
         "rel"},
        {"containers:\n  a: {socket_path: x, services: [{id: x}]}\n", 2, "label"},
        {"http:\n  limits:\n    max_body: -3\n", 3, "-3"},
        {"http:\n  limits:\n    idle: soon\n", 3, "soon"},
        {"http:\n  listeners: []\n", 2, "at least 1"},
        {"http:\n  listeners:\n    - {address: \"0.0.0.0:80\", auth: none}\n", 3, "insecure: true"},
        {"http:\n  listeners:\n    - {address: \"0.0.0.0:80\", auth: required, insecure: true}\n",
         3, "one of them"},
        {"http:\n  listeners:\n    - {address: \"127.0.0.1:80\", auth: maybe}\n", 3, "maybe"},
        {"auth: {peers: [{role: admin}]}\n", 1, "one of uid"},
        {"auth: {peers: [{uid: 1, group: x, role: admin}]}\n", 1, "one of uid"},
        {"auth: {peers: [{uid: 1}]}\n", 1, "role or a list"},
        {"auth: {peers: [{uid: 1, role: viewer, rights: [\"read * *\"]}]}\n", 1, "role or a list"},
        {"auth: {peers: [{uid: 1, role: king}]}\n", 1, "king"},
        {"auth: {certificates: [{name: x, rights: [\"see * *\"]}]}\n", 1, "see * *"},
        {"auth: {certificates: [{role: viewer}]}\n", 1, "name"},
        {"auth: {tokens: here.json}\n", 1, "here.json"},
        {"http:\n  listeners:\n    - address: \"nowhere\"\n", 3, "nowhere"},
        {"http:\n  listeners:\n    - {address: \"unix:/x\", mode: \"0999\"}\n", 3, "0999"},
        {"http:\n  listeners:\n    - {address: \"127.0.0.1:1\", tls: {cert: /x}}\n", 3,
         "cert and key"},
        {"http:\n  listeners:\n    - {address: \"127.0.0.1:1\", tls: {cert: /x, key: /y, "
         "require_client_cert: true}}\n",
         3, "client_ca"},
        {"http:\n  listeners:\n    - {address: \"127.0.0.1:1\", tls: {client_ca: /x}}\n", 3,
         "cert and key"},
        {"compat: talos\n", 1, "talos"},
        {"log: {level: loud}\n", 1, "loud"},
        {"log: {rooms: [\"net\"]}\n", 1, "net"},
        {"a: [1\n", 2, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config c;
        struct schema_report r = {0};
        int rc = load(rows[i].text, &c, &r);
        bool found = false;
        for (size_t k = 0; k < r.count; k++)
            found = found || (r.faults[k].line == rows[i].line &&
                              strstr(r.faults[k].msg, rows[i].word) != NULL);
        if (rc != ERR_INVALID || !found)
            fail_msg("row %zu: %d %zu faults, first: %d %s", i, rc, r.count,
                     r.count ? r.faults[0].line : 0, r.count ? r.faults[0].msg : "");
        schema_report_done(&r);
        config_done(&c);
    }
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok, local;
        const char *host;
        int port;
    } rows[] = {
        {"127.0.0.1:8081", true, true, "127.0.0.1", 8081},
        {"127.1.2.3:0", true, true, "127.1.2.3", 0},
        {"localhost:80", true, true, "127.0.0.1", 80},
        {"[::1]:443", true, true, "::1", 443},
        {"0.0.0.0:8081", true, false, "0.0.0.0", 8081},
        {"[::]:1", true, false, "::", 1},
        {"10.0.0.1:65535", true, false, "10.0.0.1", 65535},
        {"unix:/x y", true, true, "", 0},
        {"10.0.0.1:65536", false, false, "", 0},
        {"10.0.0.1", false, false, "", 0},
        {"10.0.0.1:", false, false, "", 0},
        {":80", false, false, "", 0},
        {"robot.local:80", false, false, "", 0},
        {"::1:80", false, false, "", 0},
        {"[127.0.0.1]:80", false, false, "", 0},
        {"unix:x", false, false, "", 0},
        {"unix:", false, false, "", 0},
        {"127.0.0.1:-1", false, false, "", 0},
        {"127.0.0.1:80x", false, false, "", 0},
        {"", false, false, "", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listen_address a;
        struct err e = {0};
        int rc = listen_parse(rows[i].text, &a, &e);
        if ((rc == 0) != rows[i].ok || (rc != 0 && e.msg[0] == '\0'))
            fail_msg("\"%s\": %d %s", rows[i].text, rc, e.msg);
        if (rc != 0)
            continue;
        assert_int_equal(a.local, rows[i].local);
        assert_int_equal(a.port, rows[i].port);
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.unix_path != NULL, rows[i].text[0] == 'u');
    }
}

static void small_values(void **state)
{
    (void)state;
    unsigned mode = 0;
    assert_int_equal(mode_parse("0660", &mode, NULL), 0);
    assert_int_equal(mode, 0660);
    assert_int_equal(mode_parse("7", &mode, NULL), 0);
    static const char *const bad[] = {"", "8", "1777", "0x7", "-1", " 7"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(mode_parse(bad[i], &mode, NULL), ERR_INVALID);
    char room[32];
    int level;
    assert_int_equal(room_level_parse("net=trace", room, &level, NULL), 0);
    assert_string_equal(room, "net");
    assert_int_equal(level, LOG_TRACE);
    assert_int_equal(room_level_parse("=trace", room, &level, NULL), ERR_INVALID);
    assert_int_equal(room_level_parse("net=loud", room, &level, NULL), ERR_INVALID);
    assert_int_equal(room_level_parse("012345678901234567890123456789ab=warn", room, &level, NULL),
                     ERR_INVALID);
}

static void no_memory(void **state)
{
    (void)state;
    static const char text[] = "containers: {a: {socket_path: /x, services: [{id: b, label: c}]}}\n"
                               "http: {listeners: [{address: \"127.0.0.1:1\"}], hosts: [a, b]}\n";
    for (uint64_t n = 1;; n++) {
        struct config c;
        struct schema_report r = {0};
        struct err e = {0};
        assert_int_equal(
            file_replace(AT_FDCWD, path, SLICE_LIT(text), 0600, (uid_t)-1, (gid_t)-1, &e), 0);
        mem_fail_at(n, false);
        int rc = config_load(&c, path, &r, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        schema_report_done(&r);
        config_done(&c);
        if (!hit)
            break;
        assert_true(rc != 0);
        assert_true(n < 5000);
    }
}

static void missing_file(void **state)
{
    (void)state;
    struct config c;
    struct schema_report r = {0};
    struct err e = {0};
    assert_int_equal(config_load(&c, "/nonexistent/c.yml", &r, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "/nonexistent/c.yml"));
    config_done(&c);
    assert_int_equal(config_load(&c, NULL, &r, &e), 0);
    config_done(&c);
    assert_int_equal(setenv("CONFIG_FILE", "/from/env", 1), 0);
    assert_string_equal(config_path("/flag"), "/flag");
    assert_string_equal(config_path(NULL), "/from/env");
    assert_int_equal(unsetenv("CONFIG_FILE"), 0);
}

int main(void)
{
    char folder[] = "/tmp/gantry-config-XXXXXX";
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/c.yml", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),     cmocka_unit_test(everything),   cmocka_unit_test(faults),
        cmocka_unit_test(addresses),    cmocka_unit_test(small_values), cmocka_unit_test(no_memory),
        cmocka_unit_test(missing_file),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    (void)rmdir(folder);
    return failed;
}
