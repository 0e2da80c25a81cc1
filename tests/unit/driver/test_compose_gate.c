/* What a Compose file may ask for: hostile files by the dozen, and honest ones. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_gate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const srv[] = {"/srv", "/data/"};

enum { ROOT = 1, FOLDERS = 2, BOTH = 3, TOLD = 4, HIDE = 8 };

static struct compose_gate_limits limits(int what)
{
    return (struct compose_gate_limits){
        .no_root = (what & ROOT) != 0,
        .roots = (what & FOLDERS) != 0 ? srv : NULL,
        .n_roots = ARRAY_LEN(srv),
        .folder = "/var/lib/persys/compose/shop",
        .project = "shop",
        .told_by_tool = (what & TOLD) != 0,
        .hide = (what & HIDE) != 0,
    };
}

static struct err last;

/* 0: it may be. 1: the tool is to be asked. */
static int gate(const char *yaml, int what)
{
    struct compose_gate_limits l = limits(what);
    struct compose_gate g = {0};
    last = (struct err){0};
    int rc = compose_gate_check(slice_of(yaml), &l, &g, &last);
    assert_int_equal(rc, last.code);
    if (rc == 0 && g.unsure)
        rc = 1;
    compose_gate_done(&g);
    return rc;
}

static int service(const char *members, int what)
{
    char yaml[2000];
    (void)snprintf(yaml, sizeof(yaml), "services:\n  web:\n    image: busybox\n    %s\n", members);
    return gate(yaml, what);
}

static void refused(const char *members, int what)
{
    int rc = service(members, what);
    if (rc != ERR_INVALID)
        print_error("%s: %d %s\n", members, rc, last.msg);
    assert_int_equal(rc, ERR_INVALID);
    assert_non_null(strstr(last.msg, "compose: "));
    if (strstr(last.msg, "cannot be looked into") == NULL)
        assert_non_null(strstr(last.msg, "services.web"));
}

static void taken(const char *members, int what, int as)
{
    int rc = service(members, what);
    if (rc != as)
        print_error("%s: %d %s\n", members, rc, last.msg);
    assert_int_equal(rc, as);
}

static void rights_of_root(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "privileged: true",
        "privileged: yes",
        "privileged: \"true\"",
        "privileged: 1",
        "\"privileged\": true",
        "? privileged\n    : true",
        "\"\\x70rivileged\": true",
        "cap_add: [SYS_ADMIN]",
        "cap_add: [\"${CAP}\"]",
        "cap_add: ALL",
        "devices: ['/dev/sda:/dev/sda']",
        "device_cgroup_rules: ['b *:* rwm']",
        "gpus: all",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "pid: host",
        "pid: 'container:gantryd'",
        "ipc: host",
        "ipc: container:x",
        "uts: host",
        "cgroup: host",
        "userns_mode: host",
        "cgroup_parent: /system.slice",
        "runtime: other",
        "security_opt: ['seccomp:unconfined']",
        "security_opt: ['apparmor=unconfined']",
        "security_opt: ['label:disable']",
        "security_opt: ['systempaths=unconfined']",
        "security_opt: [no-new-privileges, seccomp=unconfined]",
        "sysctls: {kernel.core_pattern: '|/x'}",
        "sysctls: ['kernel.core_pattern=|/x']",
        "sysctls: ['vm.swappiness=1', 'net.core.somaxconn=1']",
        "logging: {driver: syslog, options: {syslog-address: 'unix:///run/docker.sock'}}",
        "logging: {driver: syslog, options: {syslog-tls-ca-cert: /etc/shadow}}",
        "logging: {driver: some/plugin}",
        "credential_spec: {file: x}",
        "use_api_socket: true",
        "provider: {type: /bin/sh}",
        "post_start: [{command: id, privileged: true}]",
        "pre_stop: [{command: id, user: root}]",
        "annotations: {run.oci.hooks.stderr: /x}",
        "build: {context: ., privileged: true}",
        "build: {context: ., entitlements: [security.insecure]}",
        "build: {context: ., ssh: [default]}",
        "<<: {privileged: true}",
        "<<: [{tty: true}, {cap_add: [ALL]}]",
        "<<: [{tty: true}, x]",
        "<<: {<<: {<<: {pid: host}}}",
        "privileged: true\n    privileged: false",
        "privileged: false\n    privileged: true",
        "[a]: b",
        "!!binary cHJpdmlsZWdlZA==: true",
        "privileged: !!bool true",
        "labels: !reset null",
        "image: !<tag:example.org,2026:x> y",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        refused(rows[i], ROOT);
        refused(rows[i], BOTH);
        assert_int_equal(service(rows[i], 0), 0); /* nothing is limited */
    }
    refused("privileged: true", ROOT);
    assert_string_equal(last.msg,
                        "compose: services.web.privileged \"true\" is not allowed here: it gives "
                        "rights of the machine's root, and workloads.privileged is false");
}

static void honest_services(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "privileged: false",
        "cap_add: []",
        "cap_drop: [ALL]",
        "devices:",
        "security_opt: ['no-new-privileges:true']",
        "sysctls: {net.core.somaxconn: 1024}",
        "sysctls: ['net.ipv4.ip_forward=1', 'kernel.shmmax=1']",
        "network_mode: host", /* as containers may */
        "pid: 'service:db'",
        "ipc: shareable",
        "logging: {driver: json-file, options: {max-size: 10m}}",
        "logging: {driver: syslog, options: {syslog-address: 'tcp://192.0.2.1:514'}}",
        "environment: {privileged: 'true', env_file: /etc/shadow, A: '${B}'}",
        "labels: {cap_add: '[ALL]'}",
        "command: [sh, -c, 'echo $$HOME ${A}']",
        "deploy: {replicas: 2, resources: {limits: {memory: 64M}}}",
        "ports: ['80:80']",
        "volumes: ['data:/data', /anonymous, {type: tmpfs, target: /x}]",
        "tmpfs: /tmp",
        "extends: {service: db}",
        "extends: db",
        "x-anything: {privileged: true}",
        "userns_mode: ''",
        "profiles: [debug]",
        "healthcheck: {test: [CMD, 'true']}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        taken(rows[i], BOTH, 0);
}

static void folders(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "volumes: ['/etc:/x']",
        "volumes: ['/:/x:ro']",
        "volumes: ['/srvx:/x']",
        "volumes: ['/srv/../etc:/x']",
        "volumes: ['..:/x']",
        "volumes: ['./data:/x']", /* the project's own folder holds its files */
        "volumes: ['.:/x']",
        "volumes: ['~/x:/x']",
        "volumes: ['~root/x:/x']",
        "volumes: ['a/b:/x']",
        "volumes: ['//etc:/x']",
        "volumes: [{type: bind, source: /etc, target: /x}]",
        "volumes: [{source: /etc, type: bind, target: /x}]",
        "volumes: [{type: bind, source: etc, target: /x}]",
        "volumes: [{type: bind, source: /srv/../etc, target: /x}]",
        "volumes: [{type: bind, source: /srv, source: /etc, target: /x}]",
        "volumes: [{type: bind, src: /etc, target: /x}]",
        "volumes: [{type: volume, source: /etc, target: /x}]",
        "volumes: [{type: npipe, source: x, target: /x}]",
        "volumes: [{type: cluster, source: x, target: /x}]",
        "volumes: [{<<: {source: /etc}, type: bind, target: /x}]",
        "volumes: [{source: /etc, target: /x}]",
        "volumes: [[a]]",
        "volumes: /etc:/x",
        "volumes: {a: /etc}",
        "volumes_from: ['container:x:rw']",
        "env_file: /etc/shadow",
        "env_file: [/srv/x, ../../../etc/shadow]",
        "env_file: [{path: /etc/shadow, required: false}]",
        "env_file: '${X}'",
        "label_file: /etc/passwd",
        "extends: {service: x, file: /etc/shadow}",
        "extends: {service: x, file: '${X}'}",
        "build: .",
        "build: {context: /srv}",
        "security_opt: ['seccomp:/etc/shadow']",
        "security_opt: ['seccomp=${X}']",
        "use_api_socket: true",
        "<<: {volumes: ['/etc:/x']}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refused(rows[i], FOLDERS);
    refused("volumes: ['/etc:/x']", FOLDERS);
    assert_string_equal(last.msg, "compose: services.web.volumes: host path \"/etc\" is not in a "
                                  "folder that may be mounted");
    refused("volumes: ['/etc:/x']", FOLDERS | HIDE);
    assert_null(strstr(last.msg, "/etc"));
    taken("volumes: ['/srv/a:/x', {type: bind, source: /data, target: /y}, '/srv:/z:ro']", BOTH, 0);
    taken("env_file: [/srv/a.env, {path: /data/b.env}]", BOTH, 0);
    taken("volumes: ['/etc:/x']", ROOT, 0);
    taken("env_file: ['${X}']", ROOT, 0);
    taken("build: {context: ., args: {A: b}}", ROOT, 0);
    taken("privileged: true", FOLDERS, 0);
}

static void the_tool_is_asked(void **state)
{
    (void)state;
    taken("privileged: ${P}", ROOT, 1);
    taken("privileged: \"$P\"", BOTH, 1);
    taken("pid: ${P}", ROOT, 1);
    taken("cgroup_parent: ${P:-}", ROOT, 1);
    taken("sysctls: ['${X}=1']", ROOT, 1);
    taken("security_opt: ['${X}']", ROOT, 1);
    taken("logging: {driver: '${X}'}", ROOT, 1);
    taken("extends: {service: x, file: other.yml}", ROOT, 1);
    taken("volumes: ['${DIR}/x:/x']", FOLDERS, 1);
    taken("volumes: ['${V}']", FOLDERS, 1);
    taken("volumes: [{type: '${T}', source: x, target: /x}]", FOLDERS, 1);
    taken("volumes: [{type: bind, source: '${X}', target: /x}]", FOLDERS, 1);
    taken("comand: x", ROOT, 1); /* in its own words */
    taken("Privileged : true", ROOT, 1);
    refused("comand: x", ROOT | TOLD);
    refused("comand: x", FOLDERS);
    refused("provider2: {type: x}", BOTH);
    taken("volumes: ['${DIR}/x:/x']", ROOT, 0);
    taken("pid: ${P}", FOLDERS, 0);
    /* Its answer has nothing left to ask. */
    taken("volumes: ['/srv/a$$b:/x']", BOTH | TOLD, 0);
    refused("pid: $P", BOTH | TOLD);
    refused("volumes: ['~/x:/x']", BOTH | TOLD);
    taken("volumes: ['data:/data:rw']", BOTH | TOLD, 0);
}

static void files(void **state)
{
    (void)state;
    static const char head[] = "services: {web: {image: x}}\n";
    static const struct {
        const char *more;
        int what, as;
    } rows[] = {
        {"volumes: {a: {}}", BOTH, 0},
        {"volumes: {a: }", BOTH, 0},
        {"volumes: {a: {driver: local, labels: {x: y}, name: shop_a}}", BOTH, 0},
        {"volumes: {a: {driver_opts: {type: none, o: bind, device: /srv/a}}}", BOTH, 0},
        {"volumes: {a: {driver_opts: {o: 'bind,ro', device: /data}}}", BOTH, 0},
        {"volumes: {a: {driver_opts: {type: tmpfs, device: tmpfs}}}", BOTH, 0},
        {"volumes: {a: {driver_opts: {type: none, o: bind, device: '${X}'}}}", BOTH, 1},
        {"volumes: {a: {driver_opts: {type: none, o: bind, device: /etc}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: {type: none, o: bind, device: /srv/../etc}}}", FOLDERS,
         ERR_INVALID},
        {"volumes: {a: {driver_opts: {type: none, o: bind, device: etc}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: {type: ext4, device: /dev/sda1}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: {type: overlay, device: overlay, o: 'lowerdir=/etc'}}}",
         FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: {type: none, o: 'bind,lowerdir=/', device: /srv}}}", FOLDERS,
         ERR_INVALID},
        {"volumes: {a: {driver_opts: {device: /srv, other: x}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: {device: /srv, device: /etc}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver_opts: [device=/etc]}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {driver: some/plugin}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {external: true}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {external: {name: x}}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {name: other}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {name: shopping_a}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {name: '${X}'}}", FOLDERS, 1},
        {"volumes: {a: {frobnicate: x}}", FOLDERS, ERR_INVALID},
        {"volumes: {a: [x]}", FOLDERS, ERR_INVALID},
        {"volumes: {a: {external: true}}", ROOT, 0},
        {"volumes: x", FOLDERS, ERR_INVALID},
        {"x-v: &v {driver_opts: {o: bind, device: /etc}}\nvolumes: {a: *v}", FOLDERS, ERR_INVALID},
        {"x-v: &v {driver_opts: {o: bind, device: /etc}}\nvolumes: {a: {<<: *v}}", FOLDERS,
         ERR_INVALID},
        {"secrets: {a: {file: /srv/key}}", BOTH, 0},
        {"secrets: {a: {file: /etc/shadow}}", FOLDERS, ERR_INVALID},
        {"configs: {a: {file: ../x}}", FOLDERS, ERR_INVALID},
        {"configs: {a: {file: '${X}'}}", FOLDERS, 1},
        {"secrets: {a: {environment: X}}", BOTH, 0},
        {"secrets: [x]", FOLDERS, ERR_INVALID},
        {"networks: {a: {external: true}, b: {driver: macvlan}}", BOTH, 0},
        {"include: [other.yml]", FOLDERS, ERR_INVALID},
        {"include: [other.yml]", ROOT, 1},
        {"models: {a: b}", ROOT, 1},
        {"models: {a: b}", ROOT | TOLD, ERR_INVALID},
        {"models: {a: b}", BOTH, ERR_INVALID},
        {"version: {image: x, privileged: true}", ROOT, ERR_INVALID},
        {"name: shop", BOTH, 0},
        {"x-a: {privileged: true}", BOTH, 0},
        {"--- \nservices: {web: {privileged: true}}", ROOT, ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char yaml[1000];
        (void)snprintf(yaml, sizeof(yaml), "%s%s\n", head, rows[i].more);
        int rc = gate(yaml, rows[i].what);
        if (rc != rows[i].as)
            print_error("%s: %d %s\n", rows[i].more, rc, last.msg);
        assert_int_equal(rc, rows[i].as);
    }
    assert_int_equal(gate("web: {image: x}\n", ROOT), ERR_INVALID); /* the oldest form */
    assert_int_equal(gate("services: {web: 7}\n", ROOT), ERR_INVALID);
    assert_int_equal(gate("services: {web: &w {image: x, <<: *w}}\n", ROOT), ERR_INVALID);
    assert_int_equal(
        gate("x-b: &b {pid: host}\nservices: {web: {image: x}, db: {<<: *b, image: x}}\n", ROOT),
        ERR_INVALID);
    assert_int_equal(gate("x-b: &b {web: {pid: host}}\nservices: *b\n", ROOT), ERR_INVALID);
    assert_int_equal(gate("x-b: &b {web: {pid: host}}\nservices: {<<: *b}\n", ROOT), ERR_INVALID);
}

static void paths_are_kept(void **state)
{
    (void)state;
    struct compose_gate_limits l = limits(BOTH);
    struct compose_gate g = {0};
    struct err e = {0};
    assert_int_equal(
        compose_gate_check(SLICE_LIT("services: {a: {image: x, env_file: /srv/e, volumes: "
                                     "['/srv/a:/a', 'n:/n', {type: bind, source: /data/b}]}}\n"
                                     "volumes: {n: {driver_opts: {o: bind, device: /srv/n}}}\n"
                                     "secrets: {s: {file: /srv/s}}\n"),
                           &l, &g, &e),
        0);
    static const char *const want[] = {"/srv/e", "/srv/a", "/data/b", "/srv/n", "/srv/s"};
    assert_int_equal(g.n_paths, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(g.paths[i], want[i]);
    compose_gate_done(&g);
    l.told_by_tool = true;
    assert_int_equal(
        compose_gate_check(SLICE_LIT("services: {a: {image: x, volumes: ['/srv/a$$b:/a']}}"), &l,
                           &g, &e),
        0);
    assert_string_equal(g.paths[0], "/srv/a$b");
    compose_gate_done(&g);
}

static void memory_runs_out(void **state)
{
    (void)state;
    static const char yaml[] =
        "x-a: &a {labels: {x: y}}\n"
        "services: {web: {<<: *a, image: x, deploy: {labels: {a: b}}, volumes: ['/srv/a:/a']}}\n"
        "volumes: {n: {driver_opts: {o: bind, device: /srv/n}}}\n";
    struct compose_gate_limits l = limits(BOTH);
    for (uint64_t n = 1;; n++) {
        struct compose_gate g = {0};
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = compose_gate_check(slice_of(yaml), &l, &g, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        compose_gate_done(&g);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (!hit) {
            assert_true(n > 4);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_of_root),  cmocka_unit_test(honest_services),
        cmocka_unit_test(folders),         cmocka_unit_test(the_tool_is_asked),
        cmocka_unit_test(files),           cmocka_unit_test(paths_are_kept),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests_name("compose_gate", tests, NULL, NULL);
}
