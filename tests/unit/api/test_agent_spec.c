/* Requests of the compute agent's clients as documents: every input that is refused, with its
 * words; what is taken over; every allocation that fails. */
#include "../base/unit.h"

#include "api/grpc/agent_priv.h"
#include "api/grpc/message.h"
#include "base/str.h"

#include <string.h>

/* The one question to the engine: which runtimes there are. */
static bool only_containers;
const struct driver *engine_driver(const struct engine *g, enum workload_type t)
{
    static const struct driver there;
    (void)g;
    return t == WORKLOAD_CONTAINER || !only_containers ? &there : NULL;
}

static const char *const secret_env[] = {"*PASSWORD*"};
static const struct rpc_agent app = {.secret_env = secret_env, .n_secret_env = 1};

typedef Persys__Agent__V1__ApplyWorkloadRequest request;
typedef Persys__Agent__V1__ContainerSpec container;

/* A request that is right in all, to be made wrong in one. */
struct whole {
    request r;
    Persys__Agent__V1__WorkloadSpec spec;
    container c;
    Persys__Agent__V1__ContainerSpec__EnvEntry env[2], *envs[2];
    Persys__Agent__V1__VolumeMount volume, *volumes[1];
    Persys__Agent__V1__PortMapping port, *ports[1];
    Persys__Agent__V1__ManagedVolumeSpec managed, *manageds[1];
    Persys__Agent__V1__ResourceLimits limits;
    Persys__Agent__V1__RestartPolicy restart;
    char *words[2];
};

static char *text(const char *t)
{
    return (char *)(uintptr_t)t;
}

static void parts(struct whole *w)
{
    for (size_t i = 0; i < 2; i++) {
        persys__agent__v1__container_spec__env_entry__init(&w->env[i]);
        w->envs[i] = &w->env[i];
    }
    w->env[0].key = text("A");
    w->env[0].value = text("1");
    w->env[1].key = text("DB_PASSWORD");
    w->env[1].value = text("hidden");
    persys__agent__v1__volume_mount__init(&w->volume);
    w->volume.host_path = text("/srv");
    w->volume.container_path = text("/data");
    w->volume.read_only = true;
    w->volumes[0] = &w->volume;
    persys__agent__v1__port_mapping__init(&w->port);
    w->port.host_port = 8080;
    w->port.container_port = 80;
    w->port.protocol = text("UDP");
    w->ports[0] = &w->port;
    persys__agent__v1__managed_volume_spec__init(&w->managed);
    w->manageds[0] = &w->managed;
    persys__agent__v1__resource_limits__init(&w->limits);
    w->limits.cpu_shares = 512;
    w->limits.memory_bytes = 64 << 20;
    persys__agent__v1__restart_policy__init(&w->restart);
    w->restart.policy = text("unless-stopped");
    w->restart.max_retry_count = 3;
}

static struct whole *fill(struct whole *w)
{
    persys__agent__v1__apply_workload_request__init(&w->r);
    persys__agent__v1__workload_spec__init(&w->spec);
    persys__agent__v1__container_spec__init(&w->c);
    parts(w);
    w->r.id = text("web-1");
    w->r.revision_id = text("r1");
    w->r.spec = &w->spec;
    w->spec.spec_case = PERSYS__AGENT__V1__WORKLOAD_SPEC__SPEC_CONTAINER;
    w->spec.container = &w->c;
    w->words[0] = text("sleep");
    w->words[1] = text("9");
    w->c.image = text("busybox");
    w->c.command = w->words;
    w->c.n_command = 1;
    w->c.args = w->words + 1;
    w->c.n_args = 1;
    w->c.env = w->envs;
    w->c.n_env = 2;
    w->c.volumes = w->volumes;
    w->c.n_volumes = 1;
    w->c.ports = w->ports;
    w->c.n_ports = 1;
    w->c.resources = &w->limits;
    w->c.restart_policy = &w->restart;
    return w;
}

static void everything_is_taken(void **state)
{
    (void)state;
    struct whole w;
    struct workload_doc d;
    struct err e = {0};
    assert_int_equal(agent_read_apply(&app, &fill(&w)->r, &d, &e), 0);
    assert_string_equal(d.id, "web-1");
    assert_string_equal(d.revision_id, "r1");
    assert_int_equal(d.type, WORKLOAD_CONTAINER);
    assert_int_equal(d.desired_state, DESIRED_RUNNING);
    assert_string_equal(d.container.image, "busybox");
    assert_string_equal(((char **)d.container.command.items)[0], "sleep");
    assert_string_equal(((char **)d.container.args.items)[0], "9");
    const struct doc_mount *m = d.container.volumes.items;
    assert_string_equal(m->host_path, "/srv");
    assert_string_equal(m->container_path, "/data");
    assert_true(m->read_only);
    const struct doc_port *p = d.container.ports.items;
    assert_int_equal(p->host_port, 8080);
    assert_int_equal(p->container_port, 80);
    assert_int_equal(p->protocol, 1);
    assert_int_equal(d.container.resources.cpu_shares, 512);
    assert_int_equal(d.container.resources.memory_bytes, 64 << 20);
    assert_int_equal(d.container.restart_policy.policy, 3);
    assert_int_equal(d.container.restart_policy.max_retry_count, 0); /* counts with on-failure */
    assert_int_equal(d.container.env.count, 1); /* the password is a secret now */
    workload_doc_done(&d);
    w.restart.policy = text("on-failure");
    w.r.revision_id = text("");
    w.r.type = PERSYS__AGENT__V1__WORKLOAD_TYPE__WORKLOAD_TYPE_CONTAINER;
    w.r.desired_state = PERSYS__AGENT__V1__DESIRED_STATE__DESIRED_STATE_STOPPED;
    assert_int_equal(agent_read_apply(&app, &w.r, &d, &e), 0);
    assert_int_equal(d.container.restart_policy.max_retry_count, 3);
    assert_int_equal(d.desired_state, DESIRED_STOPPED);
    assert_string_equal(d.revision_id, "");
    workload_doc_done(&d);
}

static void refused(struct whole *w, int code, const char *words)
{
    struct workload_doc d;
    struct err e = {0};
    int rc = agent_read_apply(&app, &w->r, &d, &e);
    workload_doc_done(&d);
    if (rc != code || strstr(e.msg, words) == NULL)
        fail_msg("got %d \"%s\", expected %d with \"%s\"", rc, e.msg, code, words);
    fill(w);
}

static void what_is_wrong_in_the_whole(void **state)
{
    (void)state;
    static const char *const ids[] = {"", "a", "..", "a..b", "-a", "a/b", "a b", "a\n", "\xC3\xA4"};
    static const char no_spec[] = "spec must contain container, compose, or vm specification";
    static const char none[] = "runtime not available";
    struct whole w;
    char longest[300];
    fill(&w);
    only_containers = true;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        w.r.id = text(ids[i]);
        refused(&w, ERR_INVALID, "id");
    }
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    w.r.id = longest;
    refused(&w, ERR_INVALID, "id");
    w.r.revision_id = longest;
    refused(&w, ERR_INVALID, "revision");
    w.r.spec = NULL;
    refused(&w, ERR_INVALID, no_spec);
    w.spec.spec_case = PERSYS__AGENT__V1__WORKLOAD_SPEC__SPEC__NOT_SET;
    refused(&w, ERR_INVALID, no_spec);
    w.spec.spec_case = PERSYS__AGENT__V1__WORKLOAD_SPEC__SPEC_COMPOSE;
    refused(&w, ERR_UNSUPPORTED, none);
    w.spec.spec_case = PERSYS__AGENT__V1__WORKLOAD_SPEC__SPEC_VM;
    refused(&w, ERR_UNSUPPORTED, none);
    static const int types[] = {4, 99, -1};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        w.r.type = (Persys__Agent__V1__WorkloadType)types[i];
        refused(&w, ERR_UNSUPPORTED, none);
    }
    w.r.type = PERSYS__AGENT__V1__WORKLOAD_TYPE__WORKLOAD_TYPE_VM;
    refused(&w, ERR_INVALID, "the type is \"vm\", but the spec is of a container");
    w.r.desired_state = (Persys__Agent__V1__DesiredState)3;
    refused(&w, ERR_INVALID, "3 is no desired state");
    only_containers = false;
}

static void what_is_wrong_in_a_container(void **state)
{
    (void)state;
    struct whole w;
    static char *many[DOC_LIST_MAX + 1];
    fill(&w);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = text("x");
    w.c.image = text("");
    refused(&w, ERR_INVALID, "no image");
    w.c.command = many;
    w.c.n_command = ARRAY_LEN(many);
    refused(&w, ERR_INVALID, "words of the command");
    w.c.args = many;
    w.c.n_args = ARRAY_LEN(many);
    refused(&w, ERR_INVALID, "arguments");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "managed volume at index 0 is missing name");
    w.managed.name = text("Data");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "managed volume at index 0 is missing mount_path");
    w.managed.name = text("..");
    w.managed.mount_path = text("/mnt");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "container.managed_volumes[0].name: \"..\" is not the name");
    w.managed.name = text("Data");
    w.managed.mount_path = text("/data");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "\"/data\" is the place of two volumes");
    w.managed.name = text("Data");
    w.managed.mount_path = text("/mnt");
    w.managed.driver = text("zfs");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "driver \"zfs\" of a managed volume is none of local, nfs, ceph-rbd");
    w.managed.name = text("Data");
    w.managed.mount_path = text("/mnt");
    w.managed.retain_policy = text("keep");
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "retain policy \"keep\" is neither Delete nor Retain");
    w.managed.name = text("Data");
    w.managed.mount_path = text("/mnt");
    w.managed.size_gb = -1;
    w.c.managed_volumes = w.manageds;
    w.c.n_managed_volumes = 1;
    refused(&w, ERR_INVALID, "container.managed_volumes[0].size_gb: \"-1\" is not between");
    w.port.protocol = text("sctp");
    refused(&w, ERR_INVALID, "\"sctp\"");
    w.port.container_port = 0;
    refused(&w, ERR_INVALID, "container_port");
    w.port.host_port = 65536;
    refused(&w, ERR_INVALID, "65536");
    w.volume.host_path = text("srv");
    refused(&w, ERR_INVALID, "srv");
    w.volume.container_path = text("");
    refused(&w, ERR_INVALID, "container_path");
    w.restart.policy = text("sometimes");
    refused(&w, ERR_INVALID, "\"sometimes\"");
    w.limits.memory_bytes = -1;
    refused(&w, ERR_INVALID, "memory");
    w.env[0].key = text("A=B");
    refused(&w, ERR_INVALID, "A=B");
}

static void without_memory(void **state)
{
    (void)state;
    struct whole w;
    fill(&w);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct workload_doc d;
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = agent_read_apply(&app, &w.r, &d, &e);
        assert_true(rc == 0 || (rc == ERR_NO_MEMORY && e.code == rc));
        assert_true(mem_fail_hit() == (rc != 0));
        workload_doc_done(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_taken),
        cmocka_unit_test(what_is_wrong_in_the_whole),
        cmocka_unit_test(what_is_wrong_in_a_container),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
