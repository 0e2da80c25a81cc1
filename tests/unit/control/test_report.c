/* What a scheduler is told: every figure and word of a registration and of heartbeats, what is left
 * out when there is no room, and memory that runs out. */
#include "engine_rig.h"

#include <stdio.h>
#include <string.h>

#include "../base/unit.h"

#include "api/control/report.h"
#include "api/grpc/message.h"
#include "control.pb-c.h"

#define S 1000u
#define NOW_NS (RIG_START_NS + INT64_C(5000000007))
#define GIB INT64_C(1073741824)

typedef Persys__Control__V1__HeartbeatRequest beat;
typedef Persys__Control__V1__RegisterNodeRequest registration;
typedef Persys__Control__V1__WorkloadStatus status;

static const struct host_usage half = {.memory_percent = 25,
                                       .cpu_percent = 50,
                                       .disk_percent = 80,
                                       .memory_total_bytes = 8 * GIB,
                                       .memory_available_bytes = 6 * GIB,
                                       .disk_total_bytes = 110 * GIB,
                                       .disk_free_bytes = 20 * GIB,
                                       .cpu_millicores = 4000};

static struct rig *open_rig(bool with_vm)
{
    static struct rig r;
    rig_init(&r);
    r.with_vm = with_vm;
    rig_open(&r);
    return &r;
}

/* A row of before, in its stored form. */
static void put_row(struct rig *r, const char *id, enum workload_type type, bool runs,
                    const char *doc)
{
    const struct stored_workload row = {.id = slice_of(id),
                                        .type = type,
                                        .revision = SLICE_LIT("1"),
                                        .desired = runs ? DESIRED_RUNNING : DESIRED_STOPPED,
                                        .doc = slice_of(doc),
                                        .generation = 1};
    mem_store_put(&r->store, &row);
}

static void refuse(struct rig *r, unsigned ops, enum fault_reason why, int code, const char *id,
                   const char *text)
{
    struct fake_rule no = {.ops = ops, .id = id};
    (void)fault_set(&no.fault, why, code, "%s", text);
    assert_int_equal(fake_rule(r->fake, &no), 0);
}

static struct control_report *open_report(struct engine *g)
{
    struct control_report *r = NULL;
    struct err e;
    assert_int_equal(control_report_new(&r, g, &e), 0);
    return r;
}

static beat *write_at_most(struct control_report *r, size_t most, struct control_sent *sent)
{
    struct buf b = BUF_INIT(CONTROL_MESSAGE_MAX);
    ProtobufCMessage *m = NULL;
    struct err e = {0};
    while (control_report_refresh(r, 3))
        ;
    assert_int_equal(control_report_write(r, &b, "node-1", &half, NOW_NS, most, sent), 0);
    assert_true(b.len <= most);
    assert_int_equal(sent->bytes, b.len);
    int rc = message_decode(&persys__control__v1__heartbeat_request__descriptor,
                            (struct slice){b.data, b.len}, &m, &e);
    if (rc != 0)
        fail_msg("%s", e.msg);
    buf_done(&b);
    return (beat *)m;
}

static beat *write_beat(struct control_report *r)
{
    struct control_sent sent;
    return write_at_most(r, CONTROL_MESSAGE_MAX, &sent);
}

static status *of(beat *m, const char *id)
{
    for (size_t i = 0; i < m->n_workload_statuses; i++)
        if (strcmp(m->workload_statuses[i]->workload_id, id) == 0)
            return m->workload_statuses[i];
    fail_msg("nothing is said of %s", id);
    return NULL;
}

static void note_usage(struct rig *r, const char *id)
{
    const struct driver_usage u = {.id = slice_of(id),
                                   .cpu_percent = 12.5,
                                   .memory_bytes = 1000,
                                   .disk_read_bytes = 2000,
                                   .disk_write_bytes = -1,
                                   .net_rx_bytes = 4000,
                                   .net_tx_bytes = 5000,
                                   .collected_ns = NOW_NS,
                                   .source = "docker"};
    engine_note_usage(r->g, &u);
}

static void a_registration(void **state)
{
    (void)state;
    struct rig *r = open_rig(true);
    struct doc_pair labels[] = {{(char *)(uintptr_t) "region", (char *)(uintptr_t) "eu-1"},
                                {(char *)(uintptr_t) "os", (char *)(uintptr_t) "linux"}};
    static const char *const drivers[] = {"local", "nfs"};
    const struct control_node n = {.id = "node-1",
                                   .version = "1.2.3",
                                   .endpoint = "10.0.0.7:50051",
                                   .cluster_id = "site",
                                   .labels = labels,
                                   .n_labels = 2,
                                   .storage_drivers = drivers,
                                   .n_storage_drivers = 2};
    struct buf b = BUF_INIT(1 << 20);
    struct err e;
    assert_int_equal(control_write_register(&b, &n, r->g, &half, NOW_NS), 0);
    ProtobufCMessage *m = NULL;
    assert_int_equal(message_decode(&persys__control__v1__register_node_request__descriptor,
                                    (struct slice){b.data, b.len}, &m, &e),
                     0);
    const registration *g = (const registration *)m;
    assert_string_equal(g->node_id, "node-1");
    assert_string_equal(g->agent_version, "1.2.3");
    assert_string_equal(g->grpc_endpoint, "10.0.0.7:50051");
    assert_string_equal(g->cluster_id, "site");
    assert_int_equal(g->n_labels, 2);
    assert_string_equal(g->labels[0]->key, "region");
    assert_string_equal(g->labels[0]->value, "eu-1");
    assert_int_equal(g->timestamp->seconds, 1800000005);
    assert_int_equal(g->timestamp->nanos, 7);
    assert_int_equal(g->capabilities->cpu_total_millicores, 4000);
    assert_int_equal(g->capabilities->memory_total_mb, 8192);
    assert_int_equal(g->capabilities->n_storage_pools, 1);
    assert_string_equal(g->capabilities->storage_pools[0]->name, "root");
    assert_string_equal(g->capabilities->storage_pools[0]->type, "local");
    assert_int_equal(g->capabilities->storage_pools[0]->total_gb, 110);
    assert_int_equal(g->capabilities->n_supported_workload_types, 2);
    assert_string_equal(g->capabilities->supported_workload_types[0], "container");
    assert_string_equal(g->capabilities->supported_workload_types[1], "vm");
    assert_int_equal(g->capabilities->n_supported_storage_drivers, 2);
    assert_string_equal(g->capabilities->supported_storage_drivers[1], "nfs");
    message_free(m);
    /* Nothing to offer, nothing to say. */
    const struct control_node bare = {.id = "n", .version = "1", .endpoint = "a:1"};
    buf_clear(&b);
    assert_int_equal(control_write_register(&b, &bare, NULL, &(struct host_usage){0}, NOW_NS), 0);
    labels[0].value = (char *)(uintptr_t) "\xff";
    buf_clear(&b);
    assert_int_equal(control_write_register(&b, &n, r->g, &half, NOW_NS), ERR_ENCODING);
    labels[0].value = (char *)(uintptr_t) "eu-1";
    FOR_EACH_FAILING_ALLOC(i)
    {
        struct buf out = BUF_INIT(1 << 20);
        mem_fail_at(i, false);
        int rc = control_write_register(&out, &n, r->g, &half, NOW_NS);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        buf_done(&out);
    }
    buf_done(&b);
    rig_done(r);
}

static void figures_of_the_node(void **state)
{
    (void)state;
    static struct rig rig;
    struct rig *r = &rig;
    rig_init(r);
    r->with_vm = true;
    put_row(r, "off", WORKLOAD_CONTAINER, false,
            "{\"container\":{\"image\":\"a\",\"resources\":{\"cpu_shares\":700,"
            "\"memory_bytes\":1073741824},\"managed_volumes\":[{\"name\":\"w\",\"size_gb\":2}]}}");
    put_row(r, "one", WORKLOAD_CONTAINER, true,
            "{\"container\":{\"image\":\"a\",\"resources\":{\"cpu_shares\":1500,"
            "\"memory_bytes\":67108864},\"managed_volumes\":[{\"name\":\"v\",\"size_gb\":3}]}}");
    put_row(r, "vm", WORKLOAD_VM, true,
            "{\"vm\":{\"vcpus\":2,\"memory_mb\":512,\"disk_gb\":1,\"disks\":[{\"size_gb\":10},"
            "{\"type\":\"cdrom\",\"size_gb\":5},{\"type\":\"disk\",\"size_gb\":4}]}}");
    /* No limits of documents hold for what somebody wrote into the file by hand. */
    put_row(r, "vast", WORKLOAD_VM, true,
            "{\"vm\":{\"vcpus\":-7,\"disks\":[{\"size_gb\":-1},{\"size_gb\":\"x\"},7]}}");
    rig_open(r);
    (void)rig_apply(r, "plain", "1", NULL);
    struct control_report *p = open_report(r->g);
    beat *m = write_beat(p);
    assert_string_equal(m->node_id, "node-1");
    assert_int_equal(m->timestamp->seconds, 1800000005);
    assert_int_equal(m->usage->cpu_used_millicores, 2000);
    assert_int_equal(m->usage->memory_used_mb, 2048);
    assert_int_equal(m->usage->disk_used_gb, 80);
    assert_int_equal(m->n_workload_statuses, 5);
    assert_int_equal(m->usage->cpu_allocated_millicores, 3500);
    assert_int_equal(m->usage->memory_allocated_mb, 64 + 512);
    assert_int_equal(m->usage->disk_allocated_gb, 3 + 2 + 15);
    message_free(&m->base);
    /* A new revision, and one less. */
    (void)rig_apply(r, "one", "2", "container: {image: a, resources: {cpu_shares: 100}}");
    (void)rig_delete(r, "vm", true);
    rig_pass(r, 60 * S);
    assert_false(rig_has(r, "vm"));
    m = write_beat(p);
    assert_int_equal(m->usage->cpu_allocated_millicores, 100);
    assert_int_equal(m->usage->memory_allocated_mb, 0);
    assert_int_equal(m->usage->disk_allocated_gb, 2);
    message_free(&m->base);
    control_report_free(p);
    rig_done(r);
}

static void states_and_messages(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    struct control_report *p = open_report(r->g);
    refuse(r, FAKE_ENSURE, FAULT_INVALID_IMAGE, ERR_INVALID, "bad", "no such image");
    refuse(r, FAKE_ENSURE, FAULT_NETWORK_TIMEOUT, ERR_TIMEOUT, "slow", "no route");
    (void)rig_apply(r, "bad", "1", NULL);
    (void)rig_apply(r, "ok", "1", NULL);
    (void)rig_apply(r, "slow", "1", NULL);
    (void)rig_stop(r, "off", "1", NULL);
    note_usage(r, "ok");
    int64_t changed = rig_view(r, "ok").changed_ns;
    rig_pass(r, 1 * S);
    beat *m = write_beat(p);
    status *s = of(m, "ok");
    assert_string_equal(s->state, "Running");
    assert_int_equal(s->failure_reason, 0);
    assert_null(s->reason);
    assert_true(s->message[0] != '\0'); /* news */
    assert_int_equal(s->last_transition->seconds, changed / (int64_t)NS_PER_S);
    assert_non_null(s->usage);
    assert_string_equal(s->usage->type, "container");
    assert_int_equal(s->usage->memory_bytes, 1000);
    assert_int_equal(s->usage->disk_write_bytes, 0); /* not known */
    assert_int_equal(s->usage->collected_at->seconds, 1800000005);
    assert_string_equal(s->usage->source, "docker");
    assert_int_equal(m->n_workload_usage, 1);
    assert_string_equal(m->workload_usage[0]->workload_id, "ok");
    s = of(m, "bad");
    assert_string_equal(s->state, "Failed");
    assert_int_equal(s->failure_reason, 2);
    assert_string_equal(s->reason->code, "INVALID_IMAGE");
    assert_non_null(strstr(s->reason->message, "no such image"));
    assert_false(s->reason->retryable);
    assert_null(s->reason->next_retry_at);
    assert_non_null(s->reason->last_transition);
    s = of(m, "slow");
    assert_string_equal(s->state, "Failed");
    assert_int_equal(s->failure_reason, 6);
    assert_true(s->reason->retryable);
    assert_int_equal(s->reason->next_retry_at->seconds,
                     rig_view(r, "slow").next_try_ns / (int64_t)NS_PER_S);
    assert_string_equal(of(m, "off")->state, "Stopped");
    message_free(&m->base);
    /* Not taken: said again. Taken: what runs is silent, the others are not. */
    m = write_beat(p);
    assert_true(of(m, "ok")->message[0] != '\0');
    message_free(&m->base);
    control_report_taken(p);
    rig_pass(r, 3 * S);
    m = write_beat(p);
    assert_string_equal(of(m, "ok")->message, "");
    assert_int_equal(of(m, "ok")->last_transition->seconds, changed / (int64_t)NS_PER_S);
    assert_true(of(m, "bad")->message[0] != '\0');
    assert_true(of(m, "off")->message[0] != '\0');
    message_free(&m->base);
    control_report_taken(p);
    /* It stops and runs again: that is news once more. */
    (void)rig_stop(r, "ok", "1", NULL);
    m = write_beat(p);
    assert_string_equal(of(m, "ok")->state, "Stopped");
    message_free(&m->base);
    control_report_taken(p);
    (void)rig_apply(r, "ok", "1", NULL);
    m = write_beat(p);
    assert_string_equal(of(m, "ok")->state, "Running");
    assert_true(of(m, "ok")->message[0] != '\0');
    message_free(&m->base);
    control_report_free(p);
    rig_done(r);
}

/* Whatever a runtime says goes out as text that a scheduler can read. */
static void torn_text(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    struct control_report *p = open_report(r->g);
    char text[400];
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 4);
    refuse(r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "long", text);
    refuse(r, FAKE_ENSURE, FAULT_RUNTIME_ERROR, ERR_RUNTIME, "torn", "a\xff\xc3z");
    (void)rig_apply(r, "long", "1", NULL);
    (void)rig_apply(r, "torn", "1", NULL);
    beat *m = write_beat(p); /* is decoded: UTF-8 throughout */
    assert_true(strlen(of(m, "long")->message) <= CONTROL_TEXT_MAX);
    assert_int_equal(of(m, "torn")->failure_reason, 5);
    message_free(&m->base);
    control_report_free(p);
    rig_done(r);
}

static void a_virtual_machine_that_fails(void **state)
{
    (void)state;
    static struct rig rig;
    struct rig *r = &rig;
    const struct stored_workload row = {.id = SLICE_LIT("vm"),
                                        .type = WORKLOAD_VM,
                                        .revision = SLICE_LIT("1"),
                                        .desired = DESIRED_RUNNING,
                                        .doc = SLICE_LIT("{\"vm\":{\"vcpus\":1}}"),
                                        .generation = 1,
                                        .flags = STORED_TERMINAL,
                                        .attempts = 4,
                                        .reason = FAULT_RUNTIME_ERROR,
                                        .failure = SLICE_LIT("no kernel")};
    rig_init(r);
    r->with_vm = true;
    mem_store_put(&r->store, &row);
    rig_open(r);
    struct control_report *p = open_report(r->g);
    beat *m = write_beat(p);
    assert_int_equal(of(m, "vm")->failure_reason, 8);
    message_free(&m->base);
    control_report_free(p);
    rig_done(r);
}

/* The runtime hangs: nothing of this asks it. */
static void a_runtime_that_hangs(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    struct control_report *p = open_report(r->g);
    (void)rig_apply(r, "ok", "1", NULL);
    const struct fake_rule hang = {.ops = FAKE_ALL, .hang = true};
    assert_int_equal(fake_rule(r->fake, &hang), 0);
    rig_pass(r, 60 * S);
    struct fake_stats before = rig_calls(r);
    beat *m = write_beat(p);
    assert_string_equal(of(m, "ok")->state, "Running");
    message_free(&m->base);
    struct fake_stats after = rig_calls(r);
    assert_memory_equal(before.calls, after.calls, sizeof(before.calls));
    control_report_free(p);
    fake_release(r->fake);
    rig_done(r);
}

enum { MANY = 200 };

static void no_room(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    struct control_report *p = open_report(r->g);
    struct control_sent sent;
    bool seen[MANY] = {false};
    for (int i = 0; i < MANY; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "w%03d", i);
        (void)rig_apply(r, id, "1", NULL);
        note_usage(r, id);
    }
    beat *m = write_at_most(p, CONTROL_MESSAGE_MAX, &sent);
    size_t whole = sent.bytes;
    assert_int_equal(sent.workloads, MANY);
    assert_int_equal(sent.left_out, 0);
    assert_int_equal(m->n_workload_usage, MANY);
    message_free(&m->base);
    /* First the list of usage goes, then usage, then workloads, in turn. */
    m = write_at_most(p, whole - 1, &sent);
    assert_int_equal(m->n_workload_usage, 0);
    assert_int_equal(m->n_workload_statuses, MANY);
    assert_non_null(m->workload_statuses[0]->usage);
    message_free(&m->base);
    m = write_at_most(p, whole / 3, &sent);
    assert_true(sent.without_usage);
    assert_int_equal(m->n_workload_statuses, MANY);
    assert_null(m->workload_statuses[0]->usage);
    message_free(&m->base);
    for (int round = 0; round < 40; round++) {
        m = write_at_most(p, 1000, &sent);
        assert_true(sent.workloads > 5 && sent.workloads < 60);
        assert_int_equal(sent.left_out, engine_count(r->g) - sent.workloads);
        for (size_t i = 0; i < m->n_workload_statuses; i++) {
            unsigned n = 0;
            assert_int_equal(sscanf(m->workload_statuses[i]->workload_id, "w%3u", &n), 1);
            seen[n] = true;
        }
        message_free(&m->base);
        if (round == 3) { /* where the next one would begin */
            rig_delete(r, "w050", true);
            rig_delete(r, "w100", true);
            seen[50] = seen[100] = true;
            rig_pass(r, 60 * S);
        }
        if (round < 4)
            continue;
        size_t left = 0;
        for (int i = 0; i < MANY; i++)
            left += !seen[i];
        if (left == 0)
            break;
        assert_true(round < 39);
    }
    /* Room again: all of them, from the first on. */
    m = write_at_most(p, CONTROL_MESSAGE_MAX, &sent);
    m = (message_free(&m->base), write_at_most(p, CONTROL_MESSAGE_MAX, &sent));
    assert_int_equal(sent.left_out, 0);
    assert_string_equal(m->workload_statuses[0]->workload_id, "w000");
    message_free(&m->base);
    /* So little room that not even one fits. */
    struct buf b = BUF_INIT(CONTROL_MESSAGE_MAX);
    assert_int_equal(control_report_write(p, &b, "node-1", &half, NOW_NS, 10, &sent), 0);
    assert_int_equal(sent.workloads, 0);
    buf_done(&b);
    control_report_free(p);
    rig_done(r);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    (void)rig_apply(r, "one", "1", "container: {image: a, resources: {cpu_shares: 1500}}");
    (void)rig_apply(r, "two", "1", NULL);
    note_usage(r, "one");
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct control_report *p = NULL;
        struct control_sent sent;
        struct control_sums sums;
        struct err e;
        struct buf b = BUF_INIT(CONTROL_MESSAGE_MAX);
        mem_fail_at(n, false);
        int rc = control_report_new(&p, r->g, &e);
        if (rc == 0) {
            (void)control_report_refresh(p, 100);
            rc = control_report_write(p, &b, "node-1", &half, NOW_NS, 100000, &sent);
        }
        bool hit = mem_fail_hit();
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (rc == 0) {
            assert_int_equal(sent.workloads, 2);
            control_report_taken(p);
            (void)control_report_refresh(p, 100);
            control_report_sums(p, &sums); /* next time it is read */
            if (!hit)
                assert_int_equal(sums.cpu_millicores, 1500);
        }
        buf_done(&b);
        control_report_free(p);
        if (!hit)
            mem_fail_at(0, false);
    }
    rig_done(r);
}

static void answers(void **state)
{
    (void)state;
    Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Persys__Control__V1__RegisterNodeResponse a = PERSYS__CONTROL__V1__REGISTER_NODE_RESPONSE__INIT;
    Persys__Control__V1__HeartbeatResponse h = PERSYS__CONTROL__V1__HEARTBEAT_RESPONSE__INIT;
    struct control_accepted got;
    struct control_beaten beaten;
    struct err e = {0};
    struct buf b = BUF_INIT(1 << 20);
    char reason[2000];
    memset(reason, '"', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    a.accepted = true;
    a.reason = reason;
    a.heartbeat_interval_seconds = 60;
    a.lease_expires_at = &t;
    t.seconds = 1800000000;
    t.nanos = 5;
    assert_int_equal(message_encode(&a.base, &b), 0);
    assert_int_equal(control_read_register((struct slice){b.data, b.len}, &got, &e), 0);
    assert_true(got.accepted);
    assert_int_equal(got.interval_s, 60);
    assert_int_equal(got.lease_ns, RIG_START_NS + 5);
    assert_true(strlen(got.reason) > 30);
    static const struct {
        int64_t s;
        int32_t ns;
    } wrong[] = {{0, 5}, {-1, 0}, {INT64_MAX, 0}, {INT64_MIN, 0}, {5, -1}, {5, 1000000000}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        t.seconds = wrong[i].s;
        t.nanos = wrong[i].ns;
        h.lease_expires_at = &t;
        h.drain_node = i % 2 == 0;
        buf_clear(&b);
        assert_int_equal(message_encode(&h.base, &b), 0);
        assert_int_equal(control_read_heartbeat((struct slice){b.data, b.len}, &beaten, &e), 0);
        assert_int_equal(beaten.lease_ns, 0);
        assert_int_equal(beaten.drain, i % 2 == 0);
        assert_false(beaten.acknowledged);
    }
    assert_int_equal(control_read_heartbeat(SLICE_LIT("\xff"), &beaten, &e), ERR_SYNTAX);
    assert_non_null(strstr(e.msg, "Heartbeat"));
    assert_int_equal(control_read_register(SLICE_LIT("\x12\x01\xff"), &got, &e), ERR_ENCODING);
    /* Fields of a later version are no fault. */
    assert_int_equal(control_read_heartbeat(SLICE_LIT("\x08\x01\xa2\x06\x03xyz"), &beaten, &e), 0);
    assert_true(beaten.acknowledged);
    buf_done(&b);
}

static void nothing_new_while_draining(void **state)
{
    (void)state;
    struct rig *r = open_rig(false);
    (void)rig_apply(r, "old", "1", NULL);
    engine_set_draining(r->g, true);
    struct answer a = rig_apply(r, "new", "1", NULL);
    assert_int_equal(a.verdict, ENGINE_REFUSED);
    assert_int_equal(a.e.code, ERR_DRAINING);
    assert_int_equal(strncmp(a.e.msg, "node is draining", 16), 0);
    assert_int_equal(rig_apply(r, "old", "2", NULL).verdict, ENGINE_ACCEPTED);
    assert_int_equal(rig_stop(r, "old", "2", NULL).verdict, ENGINE_ACCEPTED);
    assert_int_equal(rig_delete(r, "old", false).verdict, ENGINE_ACCEPTED);
    engine_set_draining(r->g, false);
    assert_int_equal(rig_apply(r, "new", "1", NULL).verdict, ENGINE_ACCEPTED);
    rig_done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registration),
        cmocka_unit_test(figures_of_the_node),
        cmocka_unit_test(states_and_messages),
        cmocka_unit_test(torn_text),
        cmocka_unit_test(a_virtual_machine_that_fails),
        cmocka_unit_test(a_runtime_that_hangs),
        cmocka_unit_test(no_room),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(answers),
        cmocka_unit_test(nothing_new_while_draining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
