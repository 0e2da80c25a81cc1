/* What goes to and comes from the engine about workloads, without sockets. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_fault.h"
#include "driver/docker/docker_hijack.h"
#include "driver/docker/docker_object.h"
#include "driver/docker/docker_pull.h"
#include "driver/docker/docker_spec.h"
#include "driver/docker/docker_stats.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static json_t *parse(const char *text)
{
    struct err e = {0};
    json_t *root = json_parse(slice_of(text), NULL, &e);
    if (root == NULL)
        fail_msg("%s: %s", e.msg, text);
    return root;
}

/* ---- the body */

static void body(void **state)
{
    (void)state;
    char *command[] = {"sh", "-c"}, *args[] = {"a\"b"}, *entry[] = {"/init"};
    struct doc_pair env[] = {{"A", "1"}, {"B", "open"}}, secret[] = {{"B", "p\"w"}};
    struct doc_pair labels[] = {{"x", "y"}, {"persys.workload_id", "lie"}, {"persys.node_id", "n"}};
    struct doc_mount mounts[] = {{"/srv/a", "/a", true}};
    struct doc_port ports[] = {
        {8080, 80, 0, NULL}, {0, 53, 1, NULL}, {8081, 80, 0, "127.0.0.1"}, {8082, 80, 1, NULL}};
    struct workload_doc d = {.id = "web"};
    d.container = (struct doc_container){
        .image = "busybox:1",
        .command = {command, 2},
        .args = {args, 1},
        .entrypoint = {entry, 1},
        .env = {env, 2},
        .secret_env = {secret, 1},
        .labels = {labels, 3},
        .volumes = {mounts, 1},
        .ports = {ports, 4},
        .resources = {512, 1 << 24, -1},
        .restart_policy = {DOC_RESTART_ON_FAILURE, 4},
        .user = "1:2",
        .working_dir = "/w",
        .hostname = "h",
        .network_mode = "none",
        .tty = true,
        .privileged = true,
        .read_only_rootfs = true,
        .stop_timeout_s = 7,
    };
    struct driver_order o = {.id = SLICE_LIT("web"), .revision = SLICE_LIT(" 3 "), .doc = &d};
    struct docker_log_choice log = {"json-file", "10m", "3"};
    struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(docker_spec_body(&b, &o, &log), 0);
    assert_string_equal(
        b.data,
        "{\"Image\":\"busybox:1\",\"Entrypoint\":[\"/init\"],\"Cmd\":[\"sh\",\"-c\",\"a\\\"b\"],"
        "\"Env\":[\"A=1\",\"B=p\\\"w\"],"
        "\"Labels\":{\"x\":\"y\",\"persys.managed\":\"true\",\"persys.workload_id\":\"web\","
        "\"persys.revision_id\":\"3\"},"
        "\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{},\"80/udp\":{}},"
        "\"User\":\"1:2\",\"WorkingDir\":\"/w\",\"Hostname\":\"h\",\"Tty\":true,\"StopTimeout\":7,"
        "\"HostConfig\":{\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/srv/a\",\"Target\":\"/a\","
        "\"ReadOnly\":true}],"
        "\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8080\"},"
        "{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8081\"}],"
        "\"53/udp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"0\"}],"
        "\"80/udp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8082\"}]},"
        "\"CpuShares\":512,\"Memory\":16777216,\"MemorySwap\":-1,"
        "\"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":4},"
        "\"NetworkMode\":\"none\",\"Privileged\":true,\"ReadonlyRootfs\":true,"
        "\"LogConfig\":{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"10m\",\"max-file\":\"3\"}"
        "}}}");
    buf_done(&b);
    /* The least; and a count that the engine would refuse. */
    struct doc_pair not_theirs = {.key = DOCKER_LABEL_COMPOSE, .value = "0a"};
    d.container = (struct doc_container){.image = "i",
                                         .labels = {&not_theirs, 1},
                                         .restart_policy = {DOC_RESTART_UNLESS_STOPPED, 3}};
    o.node_id = SLICE_LIT("n1");
    o.print = SLICE_LIT("p1");
    log = (struct docker_log_choice){0};
    b = BUF_INIT(1 << 20);
    assert_int_equal(docker_spec_body(&b, &o, &log), 0);
    assert_string_equal(
        b.data, "{\"Image\":\"i\",\"Labels\":{\"persys.managed\":\"true\",\"persys.workload_id\":"
                "\"web\",\"persys.revision_id\":\"3\",\"persys.node_id\":\"n1\","
                "\"persys.spec_hash\":\"p1\"},"
                "\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"unless-stopped\"}}}");
    buf_done(&b);
}

/* However its texts are made, the body never moves: moving leaves copies of secrets. */
static void body_does_not_move(void **state)
{
    (void)state;
    static char nasty[20001];
    memset(nasty, 1, sizeof(nasty) - 1);
    struct doc_pair secret[] = {{"S", nasty}, {"T", nasty}};
    struct doc_port ports[64];
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        ports[i] = (struct doc_port){65535, (int64_t)(65000 + i % 7), (int)(i & 1),
                                     "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"};
    struct workload_doc d = {.id = "web"};
    d.container = (struct doc_container){
        .image = "i", .secret_env = {secret, 2}, .ports = {ports, ARRAY_LEN(ports)}};
    struct driver_order o = {.id = SLICE_LIT("web"), .revision = SLICE_LIT("1"), .doc = &d};
    struct buf b = BUF_INIT(16 << 20);
    uint64_t before = mem_alloc_count();
    assert_int_equal(docker_spec_body(&b, &o, &(struct docker_log_choice){0}), 0);
    assert_int_equal(mem_alloc_count() - before, 1);
    json_t *root = parse(b.data);
    assert_int_equal(json_array_size(json_object_get(root, "Env")), 2);
    json_decref(root);
    buf_done(&b);
}

static void checks(void **state)
{
    (void)state;
    struct err e;
    struct doc_mount m = {"/srv/a", "/a", false};
    struct doc_port p = {80, 80, 0, NULL};
    struct doc_pair v = {"A", "b"};
    struct workload_doc d = {.id = "web"};
    struct docker_roots any = {0}, one = {(char *[]){"/srv/", "/x"}, 2}, none = {(char *[]){""}, 0};
    d.container =
        (struct doc_container){.image = "i", .volumes = {&m, 1}, .ports = {&p, 1}, .env = {&v, 1}};
    assert_int_equal(docker_spec_check(&d, &any, &e), 0);
    assert_int_equal(docker_spec_check(&d, &one, &e), 0);
    assert_int_equal(docker_spec_check(&d, &none, &e), ERR_INVALID);
    static const char *const bad_paths[] = {"",        "srv", "../x", "/srv/../etc", "/srvx",
                                            "/srv/..", "/",   "/etc", "/srv/./a"};
    for (size_t i = 0; i < ARRAY_LEN(bad_paths); i++) {
        m.host_path = (char *)(uintptr_t)bad_paths[i];
        assert_int_equal(docker_spec_check(&d, &one, &e), ERR_INVALID);
        char quoted[64];
        snprintf(quoted, sizeof(quoted), "\"%s\"", bad_paths[i]);
        assert_non_null(strstr(e.msg, quoted));
    }
    m.host_path = "/srv";
    m.container_path = "/";
    assert_int_equal(docker_spec_check(&d, &one, &e), ERR_INVALID);
    m.container_path = "/a/../b";
    assert_int_equal(docker_spec_check(&d, &one, &e), ERR_INVALID);
    m.container_path = "/a";
    p.container_port = 0;
    assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    p = (struct doc_port){65536, 80, 0, NULL};
    assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    p = (struct doc_port){1, 80, 0, "localhost"};
    assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    p.host_ip = "::1";
    assert_int_equal(docker_spec_check(&d, &any, &e), 0);
    v.key = "A=B";
    assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    v.key = "A";
    static const char *const bad_images[] = {"",     "/etc", "a b",   "a/../b", "a//b", "a?x=1",
                                             "a\nb", "-x",   "a/./b", "a%2fb",  "a#b"};
    for (size_t i = 0; i < ARRAY_LEN(bad_images); i++) {
        d.container.image = (char *)(uintptr_t)bad_images[i];
        assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    }
    d.container.image = "i";
    static const char *const bad_ids[] = {"", "a", "../x", "a/b", "-a", "a b"};
    for (size_t i = 0; i < ARRAY_LEN(bad_ids); i++) {
        d.id = (char *)(uintptr_t)bad_ids[i];
        assert_int_equal(docker_spec_check(&d, &any, &e), ERR_INVALID);
    }
}

static void images(void **state)
{
    (void)state;
    static const struct {
        const char *image, *name, *tag, *registry;
    } rows[] = {
        {"busybox", "busybox", "latest", "docker.io"},
        {"busybox:1.36", "busybox", "1.36", "docker.io"},
        {"a/b:1", "a/b", "1", "docker.io"},
        {"r.example:5000/a/b", "r.example:5000/a/b", "latest", "r.example:5000"},
        {"r.example:5000/a/b:2", "r.example:5000/a/b", "2", "r.example:5000"},
        {"localhost/a", "localhost/a", "latest", "localhost"},
        {"a@sha256:12", "a", "sha256:12", "docker.io"},
        {"r:5000/a:1@sha256:12", "r:5000/a", "sha256:12", "r:5000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice name, tag;
        docker_image_split(slice_of(rows[i].image), &name, &tag);
        assert_true(slice_eqs(name, rows[i].name) && slice_eqs(tag, rows[i].tag));
        assert_true(slice_eqs(docker_image_registry(slice_of(rows[i].image)), rows[i].registry));
        assert_true(docker_image_valid(slice_of(rows[i].image)));
    }
}

/* ---- objects */

static void read_state(struct docker_object *x, json_t **root, const char *state)
{
    struct err e = {0};
    char text[2000];
    snprintf(
        text, sizeof(text),
        "{\"Id\":\"" HEX "\",\"Name\":\"/web\",\"Created\":\"2026-11-21T04:15:59.5Z\","
        "\"RestartCount\":2,"
        "\"Config\":{\"Image\":\"i:1\",\"Labels\":{\"persys.managed\":\"true\","
        "\"persys.workload_id\":\"web\",\"persys.revision_id\":\"7\"}},\"State\":{%s},"
        "\"NetworkSettings\":{\"IPAddress\":\"\",\"Networks\":{\"n\":{\"IPAddress\":\"1.2.3.4\"}"
        "}}}",
        state);
    *root = parse(text);
    if (docker_object_read(*root, SLICE_LIT("web"), x, &e) != 0)
        fail_msg("%s", e.msg);
}

static void states(void **state)
{
    (void)state;
    static const struct {
        const char *state;
        enum workload_actual actual;
        const char *message;
        enum stop_cause cause;
        int64_t exit_code;
    } rows[] = {
        {"\"Status\":\"running\",\"Running\":true,\"ExitCode\":0", ACTUAL_RUNNING, "running",
         STOP_NONE, -1},
        {"\"Status\":\"restarting\",\"Running\":true,\"Restarting\":true,\"ExitCode\":3",
         ACTUAL_PENDING, "restarting", STOP_CRASH, 3},
        {"\"Status\":\"paused\",\"Running\":true,\"Paused\":true,\"ExitCode\":0", ACTUAL_STOPPED,
         "paused", STOP_NONE, 0},
        {"\"Status\":\"dead\",\"Dead\":true,\"ExitCode\":0,\"Error\":\"busy\"", ACTUAL_FAILED,
         "dead: busy", STOP_CRASH, 0},
        {"\"Status\":\"created\",\"ExitCode\":127,\"Error\":\"no sh\"", ACTUAL_FAILED,
         "exited with code 127: no sh", STOP_CRASH, 127},
        {"\"Status\":\"exited\",\"ExitCode\":137,\"OOMKilled\":true", ACTUAL_FAILED,
         "exited with code 137", STOP_OOM, 137},
        {"\"Status\":\"exited\",\"ExitCode\":0", ACTUAL_STOPPED, "exited", STOP_NONE, 0},
        {"\"Status\":\"created\",\"ExitCode\":0", ACTUAL_STOPPED, "created", STOP_NONE, 0},
        {"\"Status\":7", ACTUAL_STOPPED, "exited", STOP_NONE, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct docker_object x;
        json_t *root;
        read_state(&x, &root, rows[i].state);
        assert_int_equal(x.o.actual, rows[i].actual);
        assert_string_equal(x.o.message, rows[i].message);
        assert_int_equal(x.o.cause, rows[i].cause);
        assert_int_equal(x.o.exit_code, rows[i].exit_code);
        assert_true(x.ours);
        assert_string_equal(x.o.address, "1.2.3.4");
        assert_int_equal(x.o.restarts, 2);
        assert_int_equal(x.o.created_ns, 1795234559500000000);
        struct driver_object *copy = docker_object_copy(&x.o);
        json_decref(root);
        assert_true(slice_eqs(copy->id, "web") && slice_eqs(copy->revision, "7"));
        assert_string_equal(copy->message, rows[i].message);
        assert_string_equal(copy->meta[0].value, "0123456789ab");
        assert_string_equal(copy->meta[2].key, "container.image");
        assert_string_equal(copy->meta[2].value, "i:1");
        mem_free(copy);
    }
}

static void whose(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ours;
    } rows[] = {
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":{\"persys.managed\":\"true\",\"persys.workload_"
         "id\":\"web\"}}",
         true},
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":{\"persys.managed\":\"TRUE\",\"persys.workload_"
         "id\":\"web\"}}",
         false},
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":{\"persys.managed\":true,\"persys.workload_id\":"
         "\"web\"}}",
         false},
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":{\"persys.managed\":\"true\",\"persys.workload_"
         "id\":\"web2\"}}",
         false},
        {"\"Name\":\"/other\",\"Config\":{\"Labels\":{\"persys.managed\":\"true\",\"persys."
         "workload_id\":\"web\"}}",
         false},
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":{\"persys.managed\":\"true\",\"persys.workload_"
         "id\":\"web\",\"com.docker.compose.config-hash\":\"0a\"}}",
         false},
        {"\"Name\":\"/web\",\"Config\":{\"Labels\":null}", false},
        {"\"Name\":\"/web\"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct docker_object x;
        char text[600];
        struct err e = {0};
        struct fault f = {0};
        snprintf(text, sizeof(text), "{\"Id\":\"" HEX "\",\"State\":{},%s}", rows[i].text);
        json_t *root = parse(text);
        assert_int_equal(docker_object_read(root, SLICE_LIT("web"), &x, &e), 0);
        assert_int_equal(x.ours, rows[i].ours);
        assert_int_equal(docker_object_foreign(&x, SLICE_LIT("web"), &f), ERR_EXISTS);
        assert_true(slice_starts(
            slice_of(f.e.msg), "container name \"web\" is already in use (container 0123456789ab"));
        json_decref(root);
    }
    static const char *const bad[] = {"{}", "[]", "{\"Id\":\"" HEX "\"}",
                                      "{\"Id\":\"../x\",\"State\":{}}",
                                      "{\"Id\":\"ABC\",\"State\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        static struct docker_object x;
        struct err e = {0};
        json_t *root = parse(bad[i]);
        assert_int_equal(docker_object_read(root, SLICE_LIT("web"), &x, &e), ERR_RUNTIME);
        json_decref(root);
    }
}

static void times(void **state)
{
    (void)state;
    assert_int_equal(docker_time_ns(SLICE_LIT("1970-01-01T00:00:01Z")), 1000000000);
    assert_int_equal(docker_time_ns(SLICE_LIT("2026-11-21T03:52:00.123456789Z")),
                     1795233120123456789);
    assert_int_equal(docker_time_ns(SLICE_LIT("2026-11-21T04:52:00.123456789+01:00")),
                     1795233120123456789);
    assert_int_equal(docker_time_ns(SLICE_LIT("2024-02-29T00:00:00Z")), 1709164800000000000);
    static const char *const none[] = {"",
                                       "0001-01-01T00:00:00Z",
                                       "2026-11-21",
                                       "2026-11-21T03:52:00",
                                       "2026-13-21T03:52:00Z",
                                       "2026-11-21T03:52:00Zx",
                                       "2026-11-21 03:52:00Z",
                                       "9999-11-21T03:52:00Z"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(docker_time_ns(slice_of(none[i])), 0);
    assert_int_equal(docker_time_len(SLICE_LIT("2026-11-21T03:52:00.1Z hello")), 22);
    assert_int_equal(docker_time_len(SLICE_LIT("hello 2026")), 0);
    assert_int_equal(docker_time_len(SLICE_LIT("2026-11-21T03:52:00.1Z")), 0);
}

/* ---- reasons */

static void reasons(void **state)
{
    (void)state;
    static const struct {
        enum docker_step step;
        int code;
        const char *text;
        enum fault_reason reason;
    } rows[] = {
        {DOCKER_CREATE, ERR_NOT_FOUND, "No such image: a:1", FAULT_INVALID_IMAGE},
        {DOCKER_START, ERR_NOT_FOUND, "No such container: 12", FAULT_RUNTIME_RESOURCE_MISSING},
        {DOCKER_START, ERR_NOT_FOUND, "network x not found", FAULT_INVALID_SPECIFICATION},
        {DOCKER_START, ERR_RUNTIME,
         "driver failed programming external connectivity on endpoint a: Bind for 0.0.0.0:80 "
         "failed: port is already allocated",
         FAULT_PORT_BIND_CONFLICT},
        {DOCKER_START, ERR_INVALID, "exec: \"image\": executable file not found in $PATH: unknown",
         FAULT_INVALID_SPECIFICATION},
        {DOCKER_CREATE, ERR_INVALID, "Minimum memory limit allowed is 6MB",
         FAULT_INVALID_SPECIFICATION},
        {DOCKER_CREATE, ERR_RUNTIME, "mkdir /x: no space left on device", FAULT_STORAGE_FULL},
        {DOCKER_START, ERR_RUNTIME, "something about an image, a port and the memory of a host",
         FAULT_RUNTIME_ERROR},
        {DOCKER_START, ERR_TIMEOUT, "no answer: no space left on device", FAULT_RUNTIME_UNHEALTHY},
        {DOCKER_STOP, ERR_UNREACHABLE, "refused", FAULT_RUNTIME_UNHEALTHY},
        {DOCKER_STOP, ERR_CONFLICT, "paused", FAULT_RUNTIME_ERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e;
        struct fault f;
        err_set(&e, rows[i].code, "%s", rows[i].text);
        docker_fault(&f, rows[i].step, &e);
        assert_int_equal(f.reason, rows[i].reason);
    }
    static const struct {
        int code;
        const char *text;
        bool known;
        enum fault_reason reason;
    } pulls[] = {
        {404, "manifest for a:1 not found: manifest unknown: manifest unknown", false,
         FAULT_INVALID_IMAGE},
        {404, "pull access denied for a, repository does not exist or may require 'docker login'",
         false, FAULT_INVALID_IMAGE},
        {404, "pull access denied for a, repository does not exist or may require 'docker login'",
         true, FAULT_IMAGE_PULL_AUTH_FAILED},
        {500, "Head \"https://r/v2/\": unauthorized: authentication required", false,
         FAULT_IMAGE_PULL_AUTH_FAILED},
        {401, "", false, FAULT_IMAGE_PULL_AUTH_FAILED},
        {500, "Get \"https://r/\": dial tcp: lookup r on 1.1.1.1:53: no such host", false,
         FAULT_DNS_RESOLUTION_FAILED},
        {500, "dial tcp 127.0.0.1:1: connect: connection refused", false,
         FAULT_NETWORK_UNREACHABLE},
        {500, "net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
         false, FAULT_IMAGE_PULL_TIMEOUT},
        {500, "net/http: TLS handshake timeout", false, FAULT_IMAGE_PULL_TIMEOUT},
        {0, "write /var/lib/x: no space left on device", false, FAULT_STORAGE_FULL},
        {500, "x509: certificate signed by unknown authority", false, FAULT_INVALID_CONFIGURATION},
        {500, "toomanyrequests: You have reached your pull rate limit", false,
         FAULT_RESOURCE_QUOTA_EXCEEDED},
        {400, "invalid reference format", false, FAULT_INVALID_IMAGE},
        {500, "whatever", false, FAULT_RUNTIME_ERROR},
        {500, "", false, FAULT_RUNTIME_ERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(pulls); i++) {
        struct fault f;
        docker_fault_pull(&f, SLICE_LIT("a:1"), pulls[i].code, slice_of(pulls[i].text),
                          pulls[i].known);
        assert_int_equal(f.reason, pulls[i].reason);
        assert_int_not_equal(f.e.code, ERR_UNREACHABLE);
        assert_true(slice_starts(slice_of(f.e.msg), "image \"a:1\" cannot be pulled: "));
    }
}

/* ---- the news of a pull */

static void news(void **state)
{
    (void)state;
    static const char text[] =
        "{\"status\":\"Pulling from a/b\",\"id\":\"1\"}\r\n"
        "{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"l1\"}\r\n"
        "{\"status\":\"Already exists\",\"id\":\"l2\"}\r\n"
        "{\"status\":\"Downloading\",\"progress\":\"x\",\"id\":\"l1\"}\r\n"
        "not json\r\n"
        "{\"status\":\"Pull complete\",\"id\":\"l1\"}\r\n"
        "{\"status\":\"Downloading\",\"id\":\"l1\"}\r\n"
        "{\"status\":\"Pull complete\",\"id\":\"l1\"}\r\n"
        "{\"status\":\"Digest: sha256:1\"}\r\n";
    for (size_t piece = 1; piece < sizeof(text); piece += 7) {
        struct docker_news n;
        docker_news_init(&n);
        for (size_t i = 0; i < sizeof(text) - 1; i += piece)
            docker_news_feed(&n, text + i,
                             i + piece < sizeof(text) - 1 ? piece : sizeof(text) - 1 - i);
        assert_int_equal(map_count(&n.layers), 2);
        assert_int_equal(n.done, 2);
        assert_int_equal(n.lines.lost, 1);
        assert_false(n.failed);
        docker_news_done(&n);
    }
    struct docker_news n;
    docker_news_init(&n);
    static const char bad[] =
        "{\"errorDetail\":{\"code\":401,\"message\":\"unauthorized\"},\"error\":\"x\"}\n";
    docker_news_feed(&n, bad, sizeof(bad) - 1);
    assert_true(n.failed);
    assert_int_equal(n.code, 401);
    assert_string_equal(n.error, "unauthorized");
    docker_news_done(&n);
    docker_news_init(&n);
    docker_news_feed(&n, "{\"error\":\"only this\"}\n", 22);
    assert_true(n.failed);
    assert_string_equal(n.error, "only this");
    docker_news_done(&n);
    /* a line without an end is not kept for ever */
    docker_news_init(&n);
    static char much[200000];
    memset(much, '[', sizeof(much));
    docker_news_feed(&n, much, sizeof(much));
    docker_news_feed(&n, "\n{\"error\":\"after\"}\n", 19);
    assert_true(n.failed);
    assert_int_equal(n.lines.lost, 1);
    docker_news_done(&n);
}

/* ---- usage */

static void counts(void **state)
{
    (void)state;
    struct docker_counts a, b;
    json_t *root = parse(
        "{\"read\":\"2026-11-21T03:52:00Z\",\"cpu_stats\":{\"cpu_usage\":{\"total_usage\":"
        "1000000000}},\"memory_stats\":{\"usage\":5000,\"stats\":{\"inactive_file\":1000}},"
        "\"networks\":{\"eth0\":{\"rx_bytes\":1,\"tx_bytes\":2},\"eth1\":{\"rx_bytes\":10,\"tx_"
        "bytes\":20}},\"blkio_stats\":{\"io_service_bytes_recursive\":[{\"op\":\"Read\",\"value\":"
        "3}"
        ",{\"op\":\"write\",\"value\":4},{\"op\":\"Read\",\"value\":5},{\"op\":\"Total\","
        "\"value\":99}]}}");
    assert_true(docker_stats_read(root, &a));
    assert_int_equal(a.memory_bytes, 4000);
    assert_int_equal(a.net_rx_bytes, 11);
    assert_int_equal(a.net_tx_bytes, 22);
    assert_int_equal(a.disk_read_bytes, 8);
    assert_int_equal(a.disk_write_bytes, 4);
    json_decref(root);
    b = a;
    b.read_ns += 2000000000;
    b.cpu_ns += 3000000000;
    assert_true(docker_stats_cpu(&a, &b) > 149.99 && docker_stats_cpu(&a, &b) < 150.01);
    assert_true(docker_stats_cpu(&b, &a) < 0);
    assert_true(docker_stats_cpu(&a, &a) < 0);
    struct docker_sample s = {0};
    assert_true(docker_stats_next(&s, &a) < 0);
    assert_true(docker_stats_next(&s, &a) < 0);
    assert_true(docker_stats_next(&s, &b) > 149.99 && s.percent < 150.01);
    assert_true(docker_stats_next(&s, &a) == s.percent); /* a late answer */
    b.read_ns += 1000000;
    b.cpu_ns += 1000000000;
    assert_true(docker_stats_next(&s, &b) == s.percent && s.percent < 150.01);
    b.read_ns += 999000000;
    assert_true(docker_stats_next(&s, &b) > 99.99 && s.percent < 100.01);
    b.cpu_ns = 5; /* started anew */
    b.read_ns += 1000000000;
    assert_true(docker_stats_next(&s, &b) < 0);
    b.read_ns += 1000000000;
    assert_true(docker_stats_next(&s, &b) == 0);
    b.read_ns -= 3600000000000; /* the clock was set back */
    assert_true(docker_stats_next(&s, &b) < 0);
    b.read_ns += 1000000000;
    assert_true(docker_stats_next(&s, &b) == 0);
    static const char *const none[] = {
        "{}", "[]", "{\"read\":\"0001-01-01T00:00:00Z\"}",
        "{\"read\":\"2026-11-21T03:52:00Z\",\"memory_stats\":{},\"cpu_stats\":{\"cpu_usage\":{"
        "\"total_usage\":0}}}"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        root = parse(none[i]);
        assert_false(docker_stats_read(root, &a));
        json_decref(root);
    }
}

/* ---- the head before the streams */

static enum docker_hijack_result hijack(const char *text, size_t n, size_t piece, size_t *rest,
                                        int *status, char body[64])
{
    struct docker_hijack h;
    enum docker_hijack_result r = DOCKER_HIJACK_MORE;
    size_t at = 0;
    docker_hijack_init(&h);
    while (at < n && r == DOCKER_HIJACK_MORE) {
        size_t used, len = piece < n - at ? piece : n - at;
        r = docker_hijack_feed(&h, text + at, len, &used);
        at += r == DOCKER_HIJACK_STREAMS ? used : len;
    }
    *rest = n - at;
    *status = h.status;
    snprintf(body, 64, "%.*s", (int)h.body.len, h.body.data != NULL ? h.body.data : "");
    docker_hijack_done(&h);
    return r;
}

static void hijacks(void **state)
{
    (void)state;
    static const char good[] = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\nabc\r\n\r\n";
    static const char bad[] = "HTTP/1.1 409 Conflict\r\ncontent-LENGTH: 5\r\n\r\nhello";
    static const char *const broken[] = {"HTP/1.1 200 OK\r\n\r\n",
                                         "HTTP/1.1 20 OK\r\n\r\n",
                                         "\r\n\r\n",
                                         "HTTP/1.1 99999\r\n\r\n",
                                         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                                         "HTTP/1.1 500 X\r\nContent-Length: -1\r\n\r\n",
                                         "HTTP/1.1 500 X\r\nContent-Length: 9999999\r\n\r\n"};
    size_t rest;
    int status;
    char text[64];
    for (size_t piece = 1; piece < sizeof(good); piece++) {
        assert_int_equal(hijack(good, sizeof(good) - 1, piece, &rest, &status, text),
                         DOCKER_HIJACK_STREAMS);
        assert_int_equal(rest, 7);
        assert_int_equal(hijack(bad, sizeof(bad) - 1, piece, &rest, &status, text),
                         DOCKER_HIJACK_REFUSED);
        assert_int_equal(status, 409);
        assert_string_equal(text, "hello");
    }
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        assert_int_equal(hijack(broken[i], strlen(broken[i]), 100, &rest, &status, text),
                         DOCKER_HIJACK_BROKEN);
    static char endless[20000];
    memset(endless, 'x', sizeof(endless));
    assert_int_equal(hijack(endless, sizeof(endless), 1000, &rest, &status, text),
                     DOCKER_HIJACK_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body),    cmocka_unit_test(body_does_not_move),
        cmocka_unit_test(checks),  cmocka_unit_test(images),
        cmocka_unit_test(states),  cmocka_unit_test(whose),
        cmocka_unit_test(times),   cmocka_unit_test(reasons),
        cmocka_unit_test(news),    cmocka_unit_test(counts),
        cmocka_unit_test(hijacks),
    };
    json_in_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
