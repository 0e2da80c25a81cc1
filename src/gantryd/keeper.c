#include "gantryd/keeper.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose.h"
#include "driver/docker/docker.h"
#include "driver/libvirt/virt.h"
#include "driver/probe/probe.h"
#include "driver/volumes/volumes.h"
#include "gantryd/machine.h"
#include "gantryd/state.h"
#include "gantryd/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { NUMBER_SIZE = 24, PASSWORD_MAX = 4096, NEVER_REFUSED = 101, STORAGE_DRIVERS = 3 };

struct keeper {
    struct loop *loop;
    const struct config *c;
    char node_id[MACHINE_NODE_ID_SIZE];
    struct schema_list labels; /* struct schema_pair */
    struct machine *machine;
    struct host host;
    struct event_hub *events;
    struct tasks *tasks;
    struct state *state; /* borrowed */
    bool store_bad;      /* the engine could not read it */
    struct sealer sealer;
    struct probe *probe;
    struct docker *docker;
    struct compose *compose;
    struct virt *virt;
    struct volumes *volumes;
    struct volume_admin volume_admin;
    const char *storage[STORAGE_DRIVERS]; /* drivers of volumes that can be had here */
    size_t n_storage;
    struct engine *engine;
    const char *no_driver[WORKLOAD_TYPES]; /* why; NULL: there is one */
    struct usage *usage;
    struct loop_timer timer; /* engine_run */
    bool has_timer;
    uint64_t due_ms; /* UINT64_MAX: not armed */
};

/* ---- what the node is called */

static int add_label(struct keeper *k, const char *name, const char *value)
{
    struct schema_pair *rows = k->labels.items;
    if (value == NULL || *value == '\0')
        return 0;
    for (size_t i = 0; i < k->labels.count; i++)
        if (strcmp(rows[i].key, name) == 0)
            return 0; /* who came first wins */
    return schema_pair_add(&k->labels, slice_of(name), slice_of(value));
}

/* The name that clients of the compute agent know an architecture by (contract 9.1). */
static const char *architecture(const char *machine)
{
    static const char *const names[][2] = {{"x86_64", "amd64"}, {"aarch64", "arm64"},
                                           {"armv7l", "arm"},   {"armv6l", "arm"},
                                           {"i686", "386"},     {"riscv64", "riscv64"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(machine, names[i][0]) == 0)
            return names[i][1];
    return machine;
}

static int make_labels(struct keeper *k)
{
    const struct config_node *n = &k->c->node;
    const struct schema_pair *rows = n->labels.items;
    struct utsname u;
    int rc = add_label(k, "region", n->region);
    if (rc == 0)
        rc = add_label(k, "env", n->env);
    for (size_t i = 0; i < n->labels.count && rc == 0; i++)
        rc = add_label(k, rows[i].key, rows[i].value);
    if (rc == 0)
        rc = add_label(k, "os", "linux");
    if (rc == 0 && uname(&u) == 0)
        rc = add_label(k, "arch", architecture(u.machine));
    return rc;
}

const char *keeper_node_id(const struct keeper *k)
{
    return k->node_id;
}

/* ---- the engine's time */

static void on_timer(void *ctx)
{
    struct keeper *k = ctx;
    k->due_ms = UINT64_MAX;
    engine_run(k->engine);
}

static void wake(void *ctx, uint64_t mono_ms)
{
    struct keeper *k = ctx;
    if (!k->has_timer || mono_ms >= k->due_ms)
        return;
    uint64_t now = clock_mono_ms(loop_clock(k->loop));
    k->due_ms = mono_ms;
    loop_timer_start(&k->timer, mono_ms > now ? mono_ms - now : 0, 0);
}

static struct engine_limits limits_of(const struct config_workloads *c)
{
    const struct config_admission *a = &c->admission;
    return (struct engine_limits){
        .max_workloads = (size_t)c->max_workloads,
        .max_acts = (unsigned)c->max_acts,
        .pass_ms = (uint64_t)c->interval,
        .gc_ms = (uint64_t)c->gc_interval,
        .orphan_ms = (uint64_t)c->orphan_age,
        .pending_ms = (uint64_t)c->pending_limit,
        .failed_ttl_ms = (uint64_t)c->failed_ttl,
        .reconcile = c->reconcile,
        .retry = {.max_attempts = (unsigned)c->retry.attempts,
                  .first_ms = (uint64_t)c->retry.first,
                  .most_ms = (uint64_t)c->retry.most,
                  .jitter_percent = (unsigned)c->retry.jitter,
                  .steady_ms = (uint64_t)c->retry.steady},
        .max_memory = a->memory == 0 ? NEVER_REFUSED : (double)a->memory,
        .max_cpu = a->cpu == 0 ? NEVER_REFUSED : (double)a->cpu,
        .max_disk = a->disk == 0 ? NEVER_REFUSED : (double)a->disk,
        .reserve_memory = a->reserve_memory,
    };
}

/* ---- the driver of containers */

struct registry_rows {
    struct docker_registry *rows;
    struct buf *passwords;
    size_t n;
};

static void registries_done(struct registry_rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->passwords[i].data != NULL)
            mem_wipe(r->passwords[i].data, r->passwords[i].cap);
        buf_done(&r->passwords[i]);
    }
    mem_free(r->passwords);
    mem_free(r->rows);
}

static int registries_read(struct registry_rows *r, const struct config_workloads *c, struct err *e)
{
    const struct config_registry *from = c->registries.items;
    size_t n = c->registries.count;
    r->rows = mem_calloc(n, sizeof(*r->rows));
    r->passwords = mem_calloc(n, sizeof(*r->passwords));
    if (r->rows == NULL || r->passwords == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (; r->n < n; r->n++) {
        struct buf *b = &r->passwords[r->n];
        buf_init(b, PASSWORD_MAX);
        int rc = file_read(AT_FDCWD, from[r->n].password_file, 0, b, e);
        if (rc == 0)
            rc = buf_addc(b, '\0');
        if (rc != 0) {
            r->n++;
            return err_wrap(e, "password of registry \"%s\"", from[r->n - 1].host);
        }
        struct slice text = slice_trim((struct slice){b->data, b->len - 1});
        memmove(b->data, text.p, text.len);
        b->data[text.len] = '\0';
        r->rows[r->n] = (struct docker_registry){
            .host = from[r->n].host, .username = from[r->n].username, .password = b->data};
    }
    return 0;
}

static int make_docker(struct keeper *k, struct driver *out, struct err *e)
{
    const struct config_workloads *c = &k->c->workloads;
    struct docker_options o = {.socket_path = k->c->docker.socket};
    struct registry_rows r = {0};
    char size[NUMBER_SIZE], files[NUMBER_SIZE];
    (void)snprintf(size, sizeof(size), "%lld", (long long)c->log_rotation.max_size);
    (void)snprintf(files, sizeof(files), "%lld", (long long)c->log_rotation.files);
    int rc = registries_read(&r, c, e);
    if (rc == 0)
        rc = docker_new(&k->docker, k->loop, &o, e);
    const struct docker_driver_options d = {
        .bind_roots = c->bind_roots.count > 0 ? c->bind_roots.items : NULL,
        .n_bind_roots = c->bind_roots.count,
        .privileged = c->privileged,
        .log_max_size = c->log_rotation.max_size > 0 ? size : NULL,
        .log_max_file = c->log_rotation.files > 0 ? files : NULL,
        .registries = r.rows,
        .n_registries = r.n,
    };
    if (rc == 0)
        rc = docker_driver(k->docker, &d, out, e);
    registries_done(&r);
    return rc;
}

/* ---- the driver of virtual machines */

/* Where libvirt is not, there is no such runtime; where it does not answer, it is offered, and
 * what is wrong with it is told. */
static int make_virt(struct keeper *k, struct driver *out, struct err *e)
{
    const struct config_vm *c = &k->c->vm;
    const struct virt_options o = {
        .uri = c->uri,
        .image_roots = c->image_roots.items,
        .n_image_roots = c->image_roots.count,
        .emulator = c->emulator,
        .machine = c->machine,
        .accelerator = c->accelerator,
        .look_ms = (uint64_t)c->look_limit,
        .act_ms = (uint64_t)c->act_limit,
        .snapshot_ms = (uint64_t)c->snapshot_limit,
        .address_ms = (uint64_t)c->address_interval,
    };
    if (!c->enabled || !virt_present(c->uri))
        return 0;
    return virt_new(&k->virt, k->loop, &o, out, e);
}

/* ---- the driver of Compose projects; it uses the client of containers */

static int make_compose(struct keeper *k, struct driver *out, struct err *e)
{
    const struct config_compose *c = &k->c->compose;
    const struct config_workloads *w = &k->c->workloads;
    const struct compose_options o = {
        .root = c->root,
        .binary = c->binary,
        .bind_roots = w->bind_roots.count > 0 ? w->bind_roots.items : NULL,
        .n_bind_roots = w->bind_roots.count,
        .privileged = w->privileged,
        .up_ms = (uint64_t)c->timeout,
        .stop_ms = (uint64_t)c->stop_timeout,
    };
    return compose_new(&k->compose, k->docker, &o, out, e);
}

static int make_runtimes(struct keeper *k, struct driver drivers[WORKLOAD_TYPES], struct err *e)
{
    bool containers = k->c->workloads.docker, projects = k->c->compose.enabled;
    struct driver docker = {0};
    int rc = containers || projects ? make_docker(k, &docker, e) : 0;
    if (rc == 0 && containers)
        drivers[WORKLOAD_CONTAINER] = docker;
    if (rc == 0 && projects)
        rc = make_compose(k, &drivers[WORKLOAD_COMPOSE], e);
    if (rc == 0)
        rc = make_virt(k, &drivers[WORKLOAD_VM], e);
    return rc;
}

/* ---- managed volumes, in front of the drivers that have them */

#define ROOTS_VOLUMES "/var/lib/persys/volumes/local" /* where the original agent has them */

/* Who is not root can hardly make folders elsewhere than where his store is. */
static int volumes_root(char out[STATE_PATH_MAX + 16], const struct config *c, struct err *e)
{
    char path[STATE_PATH_MAX + 1];
    int rc = 0;
    if (c->volumes.local_root != NULL) {
        (void)snprintf(out, STATE_PATH_MAX + 16, "%s", c->volumes.local_root);
    } else if (geteuid() == 0) {
        (void)snprintf(out, STATE_PATH_MAX + 16, "%s", ROOTS_VOLUMES);
    } else if ((rc = state_path(path, c, e)) == 0) {
        char *slash = strrchr(path, '/');
        (void)snprintf(out, STATE_PATH_MAX + 16, "%.*s/volumes",
                       slash != NULL ? (int)(slash - path) : 0, path);
    }
    return rc;
}

/* Only what can be had: who is told of another one would send workloads that cannot run. */
static void list_storage(struct keeper *k)
{
    static const enum doc_volume_driver all[] = {DOC_VOLUME_LOCAL, DOC_VOLUME_NFS,
                                                 DOC_VOLUME_CEPH_RBD};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (k->volume_admin.ops->offered(k->volume_admin.self, all[i], NULL))
            k->storage[k->n_storage++] = volume_driver_name(all[i]);
}

static int make_volumes(struct keeper *k, struct driver drivers[WORKLOAD_TYPES], struct err *e)
{
    const struct config_volumes *c = &k->c->volumes;
    char root[STATE_PATH_MAX + 16] = "";
    int rc = volumes_root(root, k->c, e);
    if (rc != 0)
        return rc;
    const struct volumes_options o = {
        .loop = k->loop,
        .store = *state_store(k->state),
        .local_root = root,
        .nfs = {c->nfs.server, c->nfs.export, c->nfs.options, c->nfs.stage_root},
        .ceph = {c->ceph.pool, c->ceph.cluster, c->ceph.user, c->ceph.keyring, c->ceph.stage_root},
        .tool_ms = (uint64_t)c->tool_limit,
    };
    static const enum workload_type types[] = {WORKLOAD_CONTAINER, WORKLOAD_VM};
    rc = volumes_new(&k->volumes, &o, e);
    for (size_t i = 0; i < ARRAY_LEN(types) && rc == 0; i++) {
        const struct driver inner = drivers[types[i]];
        if (inner.ops != NULL)
            volumes_driver(k->volumes, &inner, &drivers[types[i]]);
    }
    if (rc == 0)
        volumes_admin(k->volumes, &k->volume_admin);
    if (rc == 0)
        list_storage(k);
    return rc;
}

/* ---- beginning */

static int make_engine(struct keeper *k, struct err *e)
{
    struct engine_options o = {
        .clock = loop_clock(k->loop),
        .store = *state_store(k->state),
        .sealer = k->sealer,
        .host = k->host,
        .events = k->events,
        .tasks = k->tasks,
        .limits = limits_of(&k->c->workloads),
        .node_id = k->node_id,
        .lock_roots = k->c->workloads.lock_roots.items,
        .n_lock_roots = k->c->workloads.lock_roots.count,
        .wake = wake,
        .ctx = k,
    };
    int rc = probe_new(&k->probe, k->loop, 0, e);
    if (rc == 0) {
        probe_prober(k->probe, &o.prober);
        rc = loop_timer_init(k->loop, &k->timer, on_timer, k);
        k->has_timer = rc == 0;
        k->due_ms = UINT64_MAX;
    }
    if (rc == 0)
        rc = make_runtimes(k, o.drivers, e);
    if (rc == 0) {
        rc = make_volumes(k, o.drivers, e);
        k->store_bad = rc != 0;
    }
    if (rc == 0) {
        rc = engine_new(&k->engine, &o, e);
        k->store_bad = rc != 0;
    }
    if (rc == 0)
        rc = usage_new(&k->usage, k->loop, k->engine, (uint64_t)k->c->workloads.usage_interval, e);
    if (rc == 0)
        wake(k, 0);
    return rc;
}

/* A store that cannot be read is told, and gantryd does its other work. */
static int begin(struct keeper *k, struct err *e)
{
    int rc = make_engine(k, e);
    if (rc == 0 || rc == ERR_NO_MEMORY || k->probe == NULL || !k->store_bad)
        return rc;
    state_spoil(k->state, e);
    *e = (struct err){0};
    return 0;
}

int keeper_new(struct keeper **ret, struct loop *l, const struct config *c, struct state *state,
               struct err *e)
{
    const struct event_options events = {0};
    struct keeper *k = mem_zalloc(sizeof(*k));
    if (k == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    k->loop = l;
    k->c = c;
    k->state = state;
    k->sealer = *state_sealer(state);
    int rc = machine_node_id(k->node_id, NULL, c->node.id, e);
    if (rc == 0 && (rc = make_labels(k)) != 0)
        err_set(e, rc, "out of memory");
    if (rc == 0)
        rc = machine_new(&k->machine, l, NULL, 0, e);
    if (rc == 0) {
        machine_host(k->machine, &k->host);
        rc = event_hub_new(&k->events, loop_clock(l), &events, e);
    }
    if (rc == 0 && (k->tasks = tasks_new(loop_clock(l), 0)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0 && c->workloads.enabled && state_store(state) != NULL)
        rc = begin(k, e);
    if (rc != 0) {
        keeper_free(k);
        return rc;
    }
    *ret = k;
    return 0;
}

/* Why a runtime is not offered. */
static const char *why_missing(const struct keeper *k, enum workload_type t)
{
    const struct config *c = k->c;
    if (!c->workloads.enabled)
        return "workloads.enabled is false";
    if (k->engine == NULL)
        return "there is no store to keep workloads in";
    if (engine_driver(k->engine, t) != NULL)
        return NULL;
    if (t == WORKLOAD_CONTAINER)
        return "workloads.docker is false";
    if (t == WORKLOAD_COMPOSE)
        return "compose.enabled is false";
    return c->vm.enabled ? "libvirt was not there when gantryd began: vm.uri has no socket"
                         : "vm.enabled is false";
}

void keeper_rest(struct keeper *k, struct rest_options *o)
{
    const struct config_workloads *c = &k->c->workloads;
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES; t++)
        k->no_driver[t] = why_missing(k, (enum workload_type)t);
    o->no_driver = k->no_driver;
    o->engine = k->engine;
    o->volumes = k->volumes != NULL && k->engine != NULL ? &k->volume_admin : NULL;
    o->events = k->events;
    o->tasks = k->tasks;
    o->sealer = &k->sealer;
    o->secret_env = c->secret_env.items;
    o->n_secret_env = c->secret_env.count;
    o->host = &k->host;
    o->node_id = k->node_id;
    o->node_labels = k->labels.items;
    o->n_node_labels = k->labels.count;
}

struct engine *keeper_engine(struct keeper *k)
{
    return k->engine;
}

const char *const *keeper_storage_drivers(const struct keeper *k, size_t *n)
{
    *n = k->n_storage;
    return k->storage;
}

bool keeper_runtime(const struct keeper *k, struct runtime *ret)
{
    if (k->docker == NULL)
        return false;
    docker_runtime(k->docker, ret);
    return true;
}

void keeper_reload(struct keeper *k, const struct config *c)
{
    k->c = c;
    if (k->engine == NULL)
        return;
    const struct engine_limits limits = limits_of(&c->workloads);
    engine_set_limits(k->engine, &limits);
    usage_set_interval(k->usage, (uint64_t)c->workloads.usage_interval);
}

/* ---- ending */

void keeper_stop(struct keeper *k, uint64_t limit_ms, void (*done)(void *ctx), void *ctx)
{
    if (k->engine == NULL) {
        done(ctx);
        return;
    }
    usage_free(STEAL(k->usage));
    engine_stop(k->engine, limit_ms, done, ctx);
}

static void release(struct keeper *k)
{
    event_hub_free(k->events);
    tasks_free(k->tasks);
    struct schema_pair *rows = k->labels.items;
    for (size_t i = 0; i < k->labels.count; i++) {
        mem_free(rows[i].key);
        mem_free(rows[i].value);
    }
    mem_free(k->labels.items);
    mem_free(k);
}

static void timer_closed(void *ctx)
{
    release(ctx);
}

void keeper_free(struct keeper *k)
{
    if (k == NULL)
        return;
    usage_free(k->usage);
    engine_free(k->engine);
    volumes_free(k->volumes);
    compose_free(k->compose);
    virt_free(k->virt);
    docker_free(k->docker);
    probe_free(k->probe);
    machine_free(k->machine);
    if (k->has_timer)
        loop_timer_close(&k->timer, timer_closed);
    else
        release(k);
}
