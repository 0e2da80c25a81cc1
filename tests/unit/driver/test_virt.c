/* The driver of virtual machines: words, files of disks, and its life on libvirt's own test driver
 * (test:///default), which keeps domains in this process. */
#include "base/file.h"
#include "base/mem.h"
#include "driver/libvirt/virt.h"
#include "driver/libvirt/virt_disk.h"
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- words (contract 5.3) */

static void test_states(void **state)
{
    static const struct {
        int state, reason;
        enum workload_actual actual;
        const char *message;
    } rows[] = {
        {1, 1, ACTUAL_RUNNING, "running (reason=booted)"},
        {1, 4, ACTUAL_RUNNING, "running (reason=from-snapshot)"},
        {1, 10, ACTUAL_RUNNING, "running (reason=postcopy)"},
        {1, 99, ACTUAL_RUNNING, "running (reason=unknown)"},
        {3, 1, ACTUAL_PENDING, "paused (runtime frozen, reason=user)"},
        {3, 5, ACTUAL_PENDING, "paused (runtime frozen, reason=io-error)"},
        {3, 13, ACTUAL_PENDING, "paused (runtime frozen, reason=postcopy-failed)"},
        {4, 1, ACTUAL_STOPPED, "shutdown (reason=user)"},
        {5, 0, ACTUAL_STOPPED, "shutdown (reason=unknown)"},
        {5, 2, ACTUAL_STOPPED, "shutdown (reason=destroyed)"},
        {5, 8, ACTUAL_STOPPED, "shutdown (reason=daemon)"},
        {6, 1, ACTUAL_FAILED, "crashed (reason=panicked)"},
        {2, 0, ACTUAL_PENDING, "blocked (reason=unknown)"},
        {0, 0, ACTUAL_PENDING, "nostate (reason=unknown)"},
        {7, 1, ACTUAL_PENDING, "unknown state=7 reason=1"},
        {-3, -4, ACTUAL_PENDING, "unknown state=-3 reason=-4"},
    };
    char message[96];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(virt_status(rows[i].state, rows[i].reason, message, sizeof(message)),
                         rows[i].actual);
        assert_string_equal(message, rows[i].message);
    }
    assert_string_equal(virt_state_word(5), "shutoff");
    assert_string_equal(virt_state_word(8), "unknown");
}

static void test_failures(void **state)
{
    enum fault_reason r;
    (void)state;
    assert_int_equal(virt_fault_of(VIR_ERR_NO_DOMAIN, "x", &r), ERR_NOT_FOUND);
    assert_int_equal(r, FAULT_RUNTIME_RESOURCE_MISSING);
    assert_int_equal(virt_fault_of(VIR_ERR_XML_ERROR, "x", &r), ERR_INVALID);
    assert_int_equal(fault_class(r), FAULT_PERMANENT);
    assert_int_equal(virt_fault_of(VIR_ERR_INTERNAL_ERROR,
                                   "cannot set up guest memory 'pc.ram': Cannot allocate memory",
                                   &r),
                     ERR_RUNTIME);
    assert_int_equal(r, FAULT_INSUFFICIENT_RESOURCES);
    assert_int_equal(virt_fault_of(123456, "x", &r), ERR_RUNTIME);
    assert_int_equal(r, FAULT_RUNTIME_ERROR);
    static const char *const kvm[] = {
        "Could not access KVM kernel module: No such file or directory",
        "qemu-system-x86_64: failed to initialize kvm: Permission denied",
        "error: failed to set MSR 0x10a to 0x69",
        "../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == n' failed.",
        "qemu-system-x86_64: kvm: guest stopping CPU not supported",
        "invalid argument: could not find capabilities for arch=x86_64 domaintype=kvm ",
        "the accel 'kvm' is not supported by '/usr/bin/qemu-system-x86_64' on this host",
        "unsupported configuration: Domain requires KVM, but it is not available.",
        "Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'kvm'",
    };
    for (size_t i = 0; i < ARRAY_LEN(kvm); i++)
        if (!virt_is_kvm_trouble(kvm[i]))
            fail_msg("%s", kvm[i]);
    static const char *const others[] = {
        "network 'default' is not active",
        "domain \"kvm\" cannot be started: network 'kvm-net' is not active",
        "domain \"KVM-1\" cannot be started: Could not open '/images/kvm/a-kvm.raw': No such file",
        "Using KVM without synchronous MMU, balloon unavailable",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (virt_is_kvm_trouble(others[i]))
            fail_msg("%s", others[i]);
}

static void test_seed_names(void **state)
{
    (void)state;
    assert_true(virt_is_seed(SLICE_LIT("/a/b/vm1-cloud-init.iso"), SLICE_LIT("vm1")));
    assert_false(virt_is_seed(SLICE_LIT("/a/b/xvm1-cloud-init.iso"), SLICE_LIT("vm1")));
    assert_false(virt_is_seed(SLICE_LIT("vm1-cloud-init.iso"), SLICE_LIT("vm1")));
    assert_false(virt_is_seed(SLICE_LIT(""), SLICE_LIT("vm1")));
}

/* ---- what descriptions say */

static void test_facts(void **state)
{
    static const char xml[] =
        "<domain type='kvm'><name>vm1</name><uuid>b3063cb7-3193-4c1f-8008-a901eed2d7b1</uuid>"
        "<metadata><persys:workload xmlns:persys='https://persys.cloud/libvirt/1' id='vm1' "
        "revision='r1' print='p' node='n1'/></metadata><devices>"
        "<disk type='file' device='disk'><source file='/i/a.qcow2'/><target dev='vda'/></disk>"
        "<disk type='file' device='cdrom'><source file='/i/vm1-cloud-init.iso'/>"
        "<target dev='sda'/></disk>"
        "<interface type='network'><mac address='52:54:00:00:00:01'/></interface>"
        "<interface type='network'><mac address='52:54:00:00:00:02'/></interface>"
        "</devices></domain>";
    static const char copied[] = "<domain type='kvm'><name>other</name><metadata><persys:workload "
                                 "xmlns:persys='https://persys.cloud/libvirt/1' id='vm1' "
                                 "revision='r1'/></metadata></domain>";
    struct virt_facts *f = NULL;
    struct err e = {0};
    (void)state;
    assert_int_equal(virt_facts_read(&f, slice_of(xml), &e), 0);
    assert_true(f->ours);
    assert_string_equal(f->revision, "r1");
    assert_string_equal(f->node, "n1");
    assert_string_equal(f->type, "kvm");
    assert_string_equal(f->macs, "52:54:00:00:00:01,52:54:00:00:00:02");
    assert_string_equal(f->seed, "/i/vm1-cloud-init.iso");
    assert_string_equal(f->files, "/i/a.qcow2");
    assert_string_equal(f->files + strlen(f->files) + 1, "/i/vm1-cloud-init.iso");
    virt_facts_unref(virt_facts_ref(f));
    virt_facts_unref(f);
    assert_int_equal(virt_facts_read(&f, slice_of(copied), &e), 0);
    assert_false(f->ours);
    virt_facts_unref(f);
    assert_int_equal(virt_facts_read(&f, SLICE_LIT("<domain"), &e), ERR_SYNTAX);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n, false);
        int rc = virt_facts_read(&f, slice_of(xml), &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc == 0) {
            virt_facts_unref(f);
            assert_false(hit);
            break;
        }
        assert_int_equal(rc, ERR_NO_MEMORY);
    }
}

/* ---- files */

struct place {
    char root[64], outside[64];
    char *roots[1];
    struct virt_roots r;
};

static int place_make(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -1;
    (void)snprintf(p->root, sizeof(p->root), "/tmp/gantry-virt-XXXXXX");
    (void)snprintf(p->outside, sizeof(p->outside), "/tmp/gantry-virt-XXXXXX");
    if (mkdtemp(p->root) == NULL || mkdtemp(p->outside) == NULL)
        return -1;
    p->roots[0] = p->root;
    p->r = (struct virt_roots){p->roots, 1};
    *state = p;
    return 0;
}

static int place_remove(void **state)
{
    struct place *p = *state;
    static const char *const names[] = {"d/a.qcow2",
                                        "d/a.qcow2" VIRT_MARKER,
                                        "d/b.qcow2",
                                        "d/b.qcow2" VIRT_MARKER,
                                        "d",
                                        "base.raw",
                                        "out",
                                        "mine.raw",
                                        "vm-cloud-init.iso",
                                        ""};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", p->root, names[i]);
        (void)remove(path);
    }
    (void)remove(p->outside);
    free(p);
    return 0;
}

static char *in(const struct place *p, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", p->root, name);
    return out;
}

static void put(const char *path, const char *text)
{
    struct err e = {0};
    assert_int_equal(file_replace(AT_FDCWD, path, slice_of(text), 0644, (uid_t)-1, (gid_t)-1, &e),
                     0);
}

static void test_roots(void **state)
{
    struct place *p = *state;
    char path[128];
    assert_true(virt_disk_allowed(&p->r, in(p, "a", path)));
    assert_true(virt_disk_allowed(&p->r, in(p, "a/b/c", path)));
    assert_false(virt_disk_allowed(&p->r, p->root));
    assert_false(virt_disk_allowed(&p->r, in(p, "", path)));
    assert_false(virt_disk_allowed(&p->r, in(p, "../x", path)));
    assert_false(virt_disk_allowed(&p->r, in(p, "a/../../x", path)));
    assert_false(virt_disk_allowed(&p->r, in(p, "./x", path)));
    assert_false(virt_disk_allowed(&p->r, in(p, "a//x", path)));
    assert_false(virt_disk_allowed(&p->r, "/etc/passwd"));
    assert_false(virt_disk_allowed(&p->r, "relative"));
    (void)snprintf(path, sizeof(path), "%s-more/x", p->root);
    assert_false(virt_disk_allowed(&p->r, path));
    struct doc_disk d = {.path = path};
    const struct doc_vm vm = {.disks = {&d, 1}};
    struct err e = {0};
    assert_int_equal(virt_disks_check(&p->r, &vm, &e), ERR_DENIED);
    assert_non_null(strstr(e.msg, "vm.image_roots"));
    assert_non_null(strstr(e.msg, path));
}

static void test_disks(void **state)
{
    struct place *p = *state;
    char a[128], b[128], base[128], mine[128], absent[128];
    struct virt_made made;
    struct err e = {0};
    put(in(p, "base.raw", base), "0123456789abcdef");
    put(in(p, "mine.raw", mine), "do not touch");
    struct domain_plan plan = {
        .n_disks = 3,
        .disks = {{.path = in(p, "d/a.qcow2", a), .format = "qcow2", .size_gb = 1},
                  {.path = in(p, "d/b.qcow2", b), .format = "qcow2", .backing = base},
                  {.path = mine, .format = "raw", .size_gb = 1}}};
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), 0);
    assert_true(made.disk[0] && made.disk[1] && !made.disk[2]);
    assert_true(virt_disk_marked(a, SLICE_LIT("vm")) && virt_disk_marked(b, SLICE_LIT("vm")) &&
                !virt_disk_marked(mine, SLICE_LIT("vm")));
    /* Once more: they are there, nothing is made, and undoing that does nothing. */
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), 0);
    assert_false(made.disk[0] || made.disk[1] || made.disk[2]);
    virt_disks_undo(&made);
    assert_int_equal(access(a, F_OK), 0);
    /* Removing: only what is marked. */
    assert_int_equal(virt_disk_remove(&p->r, a, SLICE_LIT("vm"), &e), 0);
    assert_int_equal(virt_disk_remove(&p->r, mine, SLICE_LIT("vm"), &e), 0);
    assert_int_equal(virt_disk_remove(&p->r, base, SLICE_LIT("vm"), &e), 0);
    assert_int_not_equal(access(a, F_OK), 0);
    assert_false(virt_disk_marked(a, SLICE_LIT("vm")));
    assert_int_equal(access(mine, F_OK), 0);
    assert_int_equal(access(base, F_OK), 0);
    /* One that fails leaves what came before to be undone. */
    plan.disks[2].path = in(p, "absent.raw", absent);
    plan.disks[2].size_gb = 0;
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), ERR_NOT_FOUND);
    assert_true(made.disk[0]);
    virt_disks_undo(&made);
    assert_int_not_equal(access(a, F_OK), 0);
    assert_int_equal(access(b, F_OK), 0);
    assert_int_equal(virt_disk_remove(&p->r, b, SLICE_LIT("vm"), &e), 0);
}

static void test_links(void **state)
{
    struct place *p = *state;
    char link[128], path[128];
    struct virt_made made;
    struct err e = {0};
    assert_int_equal(symlink(p->outside, in(p, "out", link)), 0);
    struct domain_plan plan = {
        .n_disks = 1,
        .disks = {{.path = in(p, "out/x.qcow2", path), .format = "qcow2", .size_gb = 1}}};
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), ERR_DENIED);
    assert_non_null(strstr(e.msg, "vm.image_roots"));
    (void)snprintf(path, sizeof(path), "%s/x.qcow2", p->outside);
    assert_int_not_equal(access(path, F_OK), 0);
    /* no folders either */
    plan.disks[0].path = in(p, "out/a/b/x.qcow2", path);
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), ERR_DENIED);
    (void)snprintf(path, sizeof(path), "%s/a", p->outside);
    assert_int_not_equal(access(path, F_OK), 0);
    plan.disks[0].path = in(p, "new/a/../x.qcow2", path);
    assert_int_equal(virt_disks_make(&p->r, &plan, NULL, &made, &e), ERR_DENIED);
}

/* ---- the driver, on libvirt's test driver */

struct bench {
    struct place *place;
    struct loop *loop;
    struct virt *virt;
    struct driver d;
    int up; /* -1: not told */
    bool done, found;
    struct fault f;
    size_t n;
    enum workload_actual actual;
    char message[128], revision[64];
};

static void reachable(void *ctx, bool up)
{
    ((struct bench *)ctx)->up = up;
}

static void changed(void *ctx, struct slice id)
{
    (void)ctx, (void)id;
}

static void take(struct bench *b, const struct fault *f, const struct driver_object *o)
{
    b->done = true;
    b->f = f != NULL ? *f : (struct fault){0};
    b->found = o != NULL;
    if (o == NULL)
        return;
    b->actual = o->actual;
    (void)snprintf(b->message, sizeof(b->message), "%s", o->message);
    (void)snprintf(b->revision, sizeof(b->revision), "%.*s", (int)o->revision.len, o->revision.p);
}

static void on_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    take(ctx, f, o);
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    struct bench *b = ctx;
    take(b, f, n > 0 ? &items[0] : NULL);
    b->n = n;
}

static const struct driver_watcher *watcher_of(struct bench *b)
{
    static struct driver_watcher w;
    w = (struct driver_watcher){.changed = changed, .reachable = reachable, .ctx = b};
    return &w;
}

static void wait_done(struct bench *b)
{
    uint64_t end = uv_hrtime() + 20 * NS_PER_S;
    while (!b->done && uv_hrtime() < end)
        (void)loop_run_once(b->loop, true);
    assert_true(b->done);
    b->done = false;
}

static void wait_up(struct bench *b, int up)
{
    uint64_t end = uv_hrtime() + 20 * NS_PER_S;
    while (b->up != up && uv_hrtime() < end)
        (void)loop_run_once(b->loop, true);
    assert_int_equal(b->up, up);
}

static struct bench *bench_new(struct place *p, const char *uri)
{
    struct bench *b = calloc(1, sizeof(*b));
    const char *roots[] = {p->root};
    const struct virt_options o = {.uri = uri,
                                   .image_roots = roots,
                                   .n_image_roots = 1,
                                   .accelerator = VIRT_QEMU,
                                   .retry_first_ms = 50,
                                   .retry_most_ms = 100};
    struct err e = {0};
    assert_non_null(b);
    b->place = p;
    b->up = -1;
    assert_int_equal(loop_new(&b->loop, &clock_system, &e), 0);
    assert_int_equal(virt_new(&b->virt, b->loop, &o, &b->d, &e), 0);
    b->d.ops->watch(b->d.self, watcher_of(b));
    return b;
}

static void bench_free(struct bench *b)
{
    virt_free(b->virt);
    (void)loop_run(b->loop);
    loop_free(b->loop);
    free(b);
}

static void test_life(void **state)
{
    struct bench *b = bench_new(*state, "test:///default");
    char path[128], unmarked[128];
    struct doc_disk disk = {.path = in(*state, "mine.raw", path), .format = "raw"};
    struct workload_doc doc = {
        .id = "vm", .type = WORKLOAD_VM, .vm = {.vcpus = 1, .memory_mb = 8, .disks = {&disk, 1}}};
    struct driver_order o = {.id = SLICE_LIT("vm"),
                             .revision = SLICE_LIT("r1"),
                             .node_id = SLICE_LIT("n"),
                             .doc = &doc,
                             .stop_timeout_s = 1};
    struct err e = {0};
    put(path, "x");
    wait_up(b, 1);
    /* its seed would be written over it, and removed with it */
    char own[128];
    disk.path = in(*state, "sub/vm-cloud-init.iso", own);
    disk.type = DOC_DISK_CDROM;
    assert_int_equal(b->d.ops->check(b->d.self, &doc, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, own));
    disk = (struct doc_disk){.path = path, .format = "raw"};
    assert_true(b->d.ops->reachable(b->d.self));
    assert_string_equal(b->d.ops->condition(b->d.self), "healthy");
    assert_int_equal(b->d.ops->check(b->d.self, &doc, &e), 0);
    /* There is one there already, "test", which is not ours. */
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->n, 0);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("test"), on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_EXISTS);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("absent"), on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_false(b->found);
    struct driver_order foreign = o;
    foreign.id = SLICE_LIT("test");
    assert_int_equal(b->d.ops->ensure(b->d.self, &foreign, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_EXISTS);
    assert_int_equal(b->d.ops->remove(b->d.self, &foreign, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("test"), on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_EXISTS);
    /* Made, started, taken as it is, stopped. */
    assert_int_equal(b->d.ops->ensure(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_true(b->found);
    assert_int_equal(b->actual, ACTUAL_STOPPED);
    assert_string_equal(b->revision, "r1");
    assert_int_equal(b->d.ops->start(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->actual, ACTUAL_RUNNING);
    assert_string_equal(b->message, "running (reason=booted)");
    assert_int_equal(b->d.ops->start(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->ensure(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->actual, ACTUAL_RUNNING);
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    wait_done(b);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->actual, ACTUAL_RUNNING);
    assert_int_equal(b->d.ops->stop(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->actual, ACTUAL_STOPPED);
    /* Another revision takes its place, while it runs. */
    assert_int_equal(b->d.ops->start(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    o.revision = SLICE_LIT("r2");
    assert_int_equal(b->d.ops->ensure(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_string_equal(b->revision, "r2");
    assert_int_equal(b->actual, ACTUAL_STOPPED);
    o.for_good = true;
    assert_int_equal(b->d.ops->remove(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    wait_done(b);
    assert_int_equal(b->n, 0);
    assert_int_equal(access(in(*state, "mine.raw", unmarked), F_OK), 0);
    /* Of what is not there nothing has to be stopped or removed. */
    assert_int_equal(b->d.ops->stop(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->remove(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->start(b->d.self, &o, on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_NOT_FOUND);
    assert_int_equal(b->f.reason, FAULT_RUNTIME_RESOURCE_MISSING);
    bench_free(b);
}

static void on_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    struct bench *b = ctx;
    b->done = true;
    b->f = f != NULL ? *f : (struct fault){0};
    (void)u;
}

static void on_snapshots(void *ctx, const struct fault *f, const struct driver_snapshot *items,
                         size_t n)
{
    struct bench *b = ctx;
    b->done = true;
    b->f = f != NULL ? *f : (struct fault){0};
    (void)items, (void)n;
}

static void test_reading(void **state)
{
    struct bench *b = bench_new(*state, "test:///default");
    wait_up(b, 1);
    assert_int_equal(b->d.ops->usage(b->d.self, SLICE_LIT("absent"), on_usage, b), 0);
    wait_done(b);
    assert_int_not_equal(b->f.e.code, 0);
    assert_int_equal(b->d.ops->snapshots(b->d.self, SLICE_LIT("absent"), on_snapshots, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_NOT_FOUND);
    assert_int_equal(b->d.ops->snapshots(b->d.self, SLICE_LIT("test"), on_snapshots, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_EXISTS);
    assert_int_equal(b->d.ops->snapshot(b->d.self, SLICE_LIT("vm"), DRIVER_SNAPSHOT_CREATE,
                                        SLICE_LIT("a/b"), on_done, b),
                     ERR_INVALID);
    /* What is under way when it ends is told so. */
    b->done = false;
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    virt_free(b->virt);
    (void)loop_run(b->loop);
    assert_true(b->done);
    assert_true(b->f.e.code == ERR_CANCELLED || b->f.e.code == 0);
    loop_free(b->loop);
    free(b);
}

static void test_away(void **state)
{
    struct bench *b = bench_new(*state, "qemu:///system?socket=/nonexistent/libvirt-sock");
    wait_up(b, 0);
    assert_false(b->d.ops->reachable(b->d.self));
    assert_non_null(strstr(b->d.ops->condition(b->d.self), "/nonexistent/libvirt-sock"));
    assert_int_equal(b->d.ops->list(b->d.self, on_list, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_UNREACHABLE);
    assert_int_equal(b->d.ops->inspect(b->d.self, SLICE_LIT("x"), on_done, b), 0);
    wait_done(b);
    assert_int_equal(b->f.e.code, ERR_UNREACHABLE);
    bench_free(b);
    assert_false(virt_present("qemu:///system?socket=/nonexistent/libvirt-sock"));
    assert_true(virt_present("test:///default"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_seed_names),
        cmocka_unit_test(test_facts),
        cmocka_unit_test_setup_teardown(test_roots, place_make, place_remove),
        cmocka_unit_test_setup_teardown(test_disks, place_make, place_remove),
        cmocka_unit_test_setup_teardown(test_links, place_make, place_remove),
        cmocka_unit_test_setup_teardown(test_life, place_make, place_remove),
        cmocka_unit_test_setup_teardown(test_reading, place_make, place_remove),
        cmocka_unit_test_setup_teardown(test_away, place_make, place_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
