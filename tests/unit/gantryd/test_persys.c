/* The compute agent's variables as keys: forms, order, faults, memory. */
#include "../base/unit.h"

#include "base/str.h"
#include "gantryd/settings.h"

#include <stdio.h>
#include <string.h>

static int read_env(struct settings *s, const char *const *env)
{
    const struct settings_source from = {.env = env};
    struct err e = {0};
    return settings_read(s, &from, &e);
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {{"1s", 1000},
                {"300ms", -1}, /* under the key's least */
                {"1m30s", 90000},
                {"1.5h", 5400000},
                {"2h45m", 9900000},
                {"1500000us", 1500},
                {"1.0000001s", 1001},
                {"1s1ns", 1001},
                {"24h", 86400000},
                {".5m", 30000},
                {"1.", -1},
                {"", 30000}, /* as if absent */
                {"0", -1},
                {"0s", -1},
                {"-1s", -1},
                {"+1s", -1},
                {"1", -1},
                {"s", -1},
                {".s", -1},
                {"1d", -1},
                {"1s ", 1000},
                {"1 s", -1},
                {"99999999999h", -1},
                {"9999h", -1},
                {"1h1", -1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64];
        const char *const env[] = {text, NULL};
        struct settings s;
        snprintf(text, sizeof(text), "PERSYS_RECONCILE_INTERVAL=%s", rows[i].text);
        int rc = read_env(&s, env);
        if ((rc != 0) != (rows[i].ms < 0) || (rc == 0 && s.c.workloads.interval != rows[i].ms))
            fail_msg("\"%s\": %d, %lld ms", rows[i].text, rc, (long long)s.c.workloads.interval);
        settings_done(&s);
    }
}

static void truth(void **state)
{
    (void)state;
    static const char *const rows[] = {"1", "t",     "T",     "TRUE",  "true", "True", "0",   "f",
                                       "F", "FALSE", "false", "False", "yes",  "on",   "tRue"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64];
        const char *const env[] = {text, NULL};
        struct settings s;
        snprintf(text, sizeof(text), "PERSYS_TLS_ENABLED=%s", rows[i]);
        int rc = read_env(&s, env);
        assert_int_equal(rc, i < 12 ? 0 : ERR_INVALID);
        if (rc == 0) {
            assert_int_equal(s.c.grpc.tls.enabled, i < 6);
            assert_int_equal(s.c.grpc.insecure, i >= 6);
            assert_int_equal(s.c.grpc.enabled, GRPC_ON);
            assert_string_equal(settings_origin(&s, "grpc.enabled"), "PERSYS_TLS_ENABLED");
        }
        settings_done(&s);
    }
}

static void who_wins(void **state)
{
    (void)state;
    static const char *const env[] = {"GANTRY_GRPC_PORT=1003", /* ours by name wins */
                                      "PERSYS_GRPC_PORT=1002",
                                      "PERSYS_METRICS_PORT=8089",
                                      "GANTRY_METRICS_ADDRESS=127.0.0.2",
                                      "DOCKER_HOST=unix:///run/d.sock",
                                      "PERSYS_LOG_LEVEL=fatal",
                                      "PERSYS_NODE_LABELS= a = b ,c,=d,e=,f=\"g\\",
                                      "PERSYS_STATE_STORE_PATH=/s.db",
                                      "PERSYS_TLS_CA_PATH=/ca",
                                      "PERSYS_DOCKER_ENABLED=f",
                                      "PERSYS_UNKNOWN=x",
                                      NULL};
    struct settings s;
    assert_int_equal(read_env(&s, env), 0);
    assert_int_equal(s.c.grpc.port, 1003);
    assert_int_equal(s.c.metrics.port, 8089);
    assert_string_equal(s.c.metrics.address, "127.0.0.2");
    assert_string_equal(s.c.docker.socket, "/run/d.sock");
    assert_int_equal(s.c.log.level, 0);
    assert_string_equal(s.c.state.path, "/s.db");
    assert_string_equal(s.c.grpc.tls.ca, "/ca");
    assert_false(s.c.workloads.docker);
    const struct schema_pair *labels = s.c.node.labels.items;
    assert_int_equal(s.c.node.labels.count, 2);
    assert_string_equal(labels[0].key, "a");
    assert_string_equal(labels[0].value, "b");
    assert_string_equal(labels[1].value, "\"g\\");
    assert_int_equal(s.n_faults, 1);
    assert_string_equal(s.faults[0].place, "PERSYS_UNKNOWN");
    assert_true(s.faults[0].warning);
    settings_done(&s);
    static const char *const off[] = {"GANTRY_GRPC_ENABLED=false", "PERSYS_GRPC_PORT=1", NULL};
    assert_int_equal(read_env(&s, off), 0);
    assert_int_equal(s.c.grpc.enabled, GRPC_OFF);
    settings_done(&s);
}

static void without_memory(void **state)
{
    (void)state;
    static const char *const env[] = {"PERSYS_GRPC_PORT=1002", "PERSYS_NODE_LABELS=a=b",
                                      "PERSYS_VAULT_ADDR=x", NULL};
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct settings s;
        mem_fail_at(n, false);
        int rc = read_env(&s, env);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        assert_true(mem_fail_hit() == (rc != 0));
        mem_fail_at(0, false);
        settings_done(&s);
        if (rc == 0)
            break;
    }
}

/* A scheduler is asked when one is named, and not otherwise. */
static void scheduler(void **state)
{
    (void)state;
    static const struct {
        const char *const env[4];
        int enabled; /* -1: refused */
        const char *address, *origin;
        bool insecure;
    } rows[] = {
        {{NULL}, CONTROL_AUTO, NULL, "default", false},
        {{"PERSYS_SCHEDULER_ADDR=10.0.0.1:8085"},
         CONTROL_ON,
         "10.0.0.1:8085",
         "PERSYS_SCHEDULER_ADDR",
         false},
        {{"PERSYS_SCHEDULER_ADDR="}, CONTROL_AUTO, NULL, "default", false},
        {{"PERSYS_SCHEDULER_INSECURE=t"}, CONTROL_ON, NULL, "PERSYS_SCHEDULER_INSECURE", true},
        {{"PERSYS_AGENT_GRPC_ENDPOINT=10.0.0.7:50051"}, CONTROL_AUTO, NULL, "default", false},
        {{"PERSYS_SCHEDULER_ADDR=s:1", "GANTRY_CONTROL_ENABLED=false"},
         CONTROL_OFF,
         "s:1",
         "GANTRY_CONTROL_ENABLED",
         false},
        {{"PERSYS_SCHEDULER_ADDR=s"}, -1, NULL, NULL, false},
        {{"PERSYS_SCHEDULER_INSECURE=maybe"}, -1, NULL, NULL, false},
        {{"PERSYS_AGENT_GRPC_ENDPOINT=x"}, -1, NULL, NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct settings s;
        int rc = read_env(&s, rows[i].env);
        assert_int_equal(rc != 0, rows[i].enabled < 0);
        if (rc == 0) {
            assert_int_equal(s.c.control.enabled, rows[i].enabled);
            assert_int_equal(s.c.control.insecure, rows[i].insecure);
            assert_string_equal(settings_origin(&s, "control.enabled"), rows[i].origin);
            if (rows[i].address != NULL)
                assert_string_equal(s.c.control.address, rows[i].address);
            else
                assert_null(s.c.control.address);
        }
        settings_done(&s);
    }
    const struct settings_flag standalone = {"control.enabled", "false", "--standalone"};
    const char *const env[] = {"PERSYS_SCHEDULER_ADDR=s:1", NULL};
    const struct settings_source from = {.env = env, .flags = &standalone, .n_flags = 1};
    struct settings s;
    struct err e = {0};
    assert_int_equal(settings_read(&s, &from, &e), 0);
    assert_int_equal(s.c.control.enabled, CONTROL_OFF);
    settings_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations), cmocka_unit_test(truth),          cmocka_unit_test(scheduler),
        cmocka_unit_test(who_wins),  cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
