/* The driver of virtual machines on a stand-in for libvirt: each allocation failing in turn, each
 * call to libvirtd failing, libvirtd dying or hanging in the middle of each. Whatever happens, each
 * call ends once and with a reason, nothing leaks (the stand-in counts what it gave out), and the
 * next try goes well. */
#include "../base/unit.h"

#include "base/file.h"
#include "driver/libvirt/virt.h"
#include "driver/libvirt/virt_disk.h"
#include "driver/libvirt/virt_priv.h"
#include "driver/run/run_tool.h"
#include "fake_libvirt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ID "vm-one"

static char folder[64], disk_path[128];
static struct loop *loop;
static struct virt *virt;
static struct driver d;
static struct virt_options options;
static enum virt_accelerator accelerator;
static bool is_open;

static struct {
    int up; /* -1: not told */
    unsigned changes;
    bool done, found;
    struct fault f;
    size_t n;
    enum workload_actual actual;
    char revision[64], address[64], addresses[8192], lookup[64];
    struct driver_usage usage;
    char snapshot[128];
} got;

static struct {
    struct driver_call *call;
    bool done;
    struct fault f;
    char out[80 << 10];
    size_t n_out;
    unsigned drained;
} line;

/* ---- what is told */

static void reachable(void *ctx, bool up)
{
    (void)ctx;
    got.up = up;
}

static void changed(void *ctx, struct slice id)
{
    (void)ctx, (void)id;
    got.changes++;
}

static void take_meta(const struct driver_object *o)
{
    got.addresses[0] = got.lookup[0] = '\0';
    for (size_t i = 0; i < o->n_meta; i++)
        if (strcmp(o->meta[i].key, "vm.ip_addresses") == 0)
            (void)snprintf(got.addresses, sizeof(got.addresses), "%s", o->meta[i].value);
        else if (strcmp(o->meta[i].key, "vm.network_lookup_error") == 0)
            (void)snprintf(got.lookup, sizeof(got.lookup), "%s", o->meta[i].value);
}

static void on_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    (void)ctx;
    assert_false(got.done); /* once */
    got.done = true;
    got.f = f != NULL ? *f : (struct fault){0};
    got.found = o != NULL;
    if (o == NULL)
        return;
    got.actual = o->actual;
    (void)snprintf(got.revision, sizeof(got.revision), "%.*s", (int)o->revision.len, o->revision.p);
    (void)snprintf(got.address, sizeof(got.address), "%s", o->address);
    take_meta(o);
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    got.n = n;
    on_done(ctx, f, n > 0 ? &items[0] : NULL);
}

static void on_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    if (u != NULL)
        got.usage = *u;
    on_done(ctx, f, NULL);
}

static void on_snapshots(void *ctx, const struct fault *f, const struct driver_snapshot *items,
                         size_t n)
{
    got.n = n;
    if (n > 0)
        (void)snprintf(got.snapshot, sizeof(got.snapshot), "%s", items[0].name);
    on_done(ctx, f, NULL);
}

static const struct driver_watcher watcher = {.changed = changed, .reachable = reachable};

/* ---- the driver's life */

static void pass(const bool *flag, uint64_t ms)
{
    for (uint64_t end = uv_hrtime() + ms * NS_PER_MS; !*flag && uv_hrtime() < end;)
        (void)loop_run_once(loop, true);
}

/* For so long, whatever happens. */
static void pass_time(uint64_t ms)
{
    uint64_t end = uv_hrtime() + ms * NS_PER_MS;
    while (uv_hrtime() < end) {
        (void)loop_run_once(loop, false);
        usleep(1000);
    }
}

static void wait_up(int up)
{
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S; got.up != up && uv_hrtime() < end;)
        (void)loop_run_once(loop, true);
    assert_int_equal(got.up, up);
}

static int open_virt(void)
{
    static char uri[256];
    static const char *roots[1];
    struct err e = {0};
    roots[0] = folder;
    fake_uri(uri);
    options.uri = uri;
    options.image_roots = roots;
    options.n_image_roots = 1;
    options.accelerator = accelerator;
    options.retry_first_ms = 5;
    options.retry_most_ms = 10;
    memset(&got, 0, sizeof(got));
    got.up = -1;
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    int rc = virt_new(&virt, loop, &options, &d, &e);
    is_open = true;
    if (rc == 0)
        d.ops->watch(d.self, &watcher);
    return rc;
}

static void close_virt(bool was)
{
    if (was)
        virt_free(virt);
    (void)loop_run(loop);
    loop_free(loop);
    assert_int_equal(fake_live(), 0);
    is_open = false;
}

static int setup(void **state)
{
    struct err e = {0};
    (void)state;
    if (is_open)
        return -1; /* the test before has failed, and its thread is still there */
    (void)snprintf(folder, sizeof(folder), "/tmp/gantry-virtf-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    options = (struct virt_options){0};
    accelerator = VIRT_QEMU;
    fake_kvm(FAKE_KVM_WORKS);
    memset(&line, 0, sizeof(line));
    (void)snprintf(disk_path, sizeof(disk_path), "%s/mine.raw", folder);
    fake_reset(folder);
    return file_replace(AT_FDCWD, disk_path, SLICE_LIT("x"), 0644, (uid_t)-1, (gid_t)-1, &e);
}

static int teardown(void **state)
{
    const char *argv[] = {"rm", "-rf", folder, NULL};
    struct err e = {0};
    (void)state;
    mem_fail_at(0, false);
    return run_tool(&(struct run_tool){.argv = argv}, &e);
}

/* ---- what is asked */

static struct doc_disk disks[2];
static struct doc_network nets[1];
static struct workload_doc doc;
static struct driver_order order;

static void plain_order(void)
{
    disks[0] = (struct doc_disk){.path = disk_path, .format = "raw"};
    nets[0] = (struct doc_network){0};
    doc = (struct workload_doc){
        .id = ID,
        .type = WORKLOAD_VM,
        .vm = {.vcpus = 1, .memory_mb = 8, .disks = {disks, 1}, .networks = {nets, 1}}};
    order = (struct driver_order){.id = SLICE_LIT(ID),
                                  .revision = SLICE_LIT("r1"),
                                  .node_id = SLICE_LIT("n"),
                                  .doc = &doc,
                                  .stop_timeout_s = 1};
}

enum step {
    ENSURE,
    START,
    LIST,
    INSPECT,
    USAGE,
    SNAP,
    SNAPS,
    REVERT,
    UNSNAP,
    CONSOLE,
    STOP,
    REMOVE,
    STEPS
};
static const char *const step_names[] = {"ensure", "start",   "list",      "inspect",
                                         "usage",  "snap",    "snapshots", "revert",
                                         "unsnap", "console", "stop",      "remove"};

static int begin(enum step s)
{
    const struct driver_ops *o = d.ops;
    switch (s) {
    case ENSURE:
        return o->ensure(d.self, &order, on_done, NULL);
    case START:
        return o->start(d.self, &order, on_done, NULL);
    case LIST:
        return o->list(d.self, on_list, NULL);
    case INSPECT:
        return o->inspect(d.self, order.id, on_done, NULL);
    case USAGE:
        return o->usage(d.self, order.id, on_usage, NULL);
    case SNAP:
        return o->snapshot(d.self, order.id, DRIVER_SNAPSHOT_CREATE, SLICE_LIT("s1"), on_done,
                           NULL);
    case SNAPS:
        return o->snapshots(d.self, order.id, on_snapshots, NULL);
    case REVERT:
        return o->snapshot(d.self, order.id, DRIVER_SNAPSHOT_REVERT, SLICE_LIT("s1"), on_done,
                           NULL);
    case UNSNAP:
        return o->snapshot(d.self, order.id, DRIVER_SNAPSHOT_DELETE, SLICE_LIT("s1"), on_done,
                           NULL);
    case STOP:
        return o->stop(d.self, &order, on_done, NULL);
    case REMOVE:
        return o->remove(d.self, &order, on_done, NULL);
    default:
        return ERR_UNSUPPORTED;
    }
}

/* ---- the console: what is sent has to come back, whole, or the call has to say that it ends */

static void on_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    (void)ctx, (void)s;
    assert_true(line.n_out + bytes.len < sizeof(line.out));
    memcpy(line.out + line.n_out, bytes.p, bytes.len);
    line.n_out += bytes.len;
}

static void on_drained(void *ctx)
{
    (void)ctx;
    line.drained++;
}

static void on_line_done(void *ctx, const struct fault *f, int64_t code)
{
    (void)ctx, (void)code;
    assert_false(line.done);
    line.done = true;
    line.call = NULL;
    line.f = f != NULL ? *f : (struct fault){0};
}

static int open_line(void)
{
    static const struct driver_exec_user user = {on_output, on_drained, on_line_done};
    struct err e = {0};
    memset(&line, 0, sizeof(line));
    return d.ops->console(d.self, order.id, false, &user, NULL, &line.call, &e);
}

static int echo(void)
{
    enum { BYTES_SENT = 3000 };
    char text[BYTES_SENT];
    int rc = open_line();
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    rc = d.ops->exec_write(line.call, (struct slice){text, sizeof(text)}, false);
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S;
         rc == 0 && !line.done && line.n_out < BYTES_SENT;) {
        if (uv_hrtime() > end)
            fail_msg("the console is stuck: %zu bytes", line.n_out);
        (void)loop_run_once(loop, true);
    }
    if (line.call != NULL)
        d.ops->cancel_call(STEAL(line.call));
    if (rc != 0)
        return rc;
    if (line.done) /* libvirtd has ended it: that alone looks like a machine that went off */
        return line.f.e.code != 0 ? line.f.e.code : ERR_RUNTIME;
    assert_memory_equal(line.out, text, sizeof(text));
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S; fake_console_taken(ID);) {
        if (uv_hrtime() > end)
            fail_msg("the console was left, and is not free");
        pass_time(1);
    }
    return 0;
}

static int do_step(enum step s)
{
    if (s == CONSOLE)
        return echo();
    got.done = false;
    int rc = begin(s);
    if (rc != 0)
        return rc;
    pass(&got.done, 20000);
    if (!got.done)
        fail_msg("%s does not end", step_names[s]);
    if (got.f.e.code != 0)
        assert_true(got.f.e.msg[0] != '\0');
    return got.f.e.code;
}

static bool memory_hit; /* the failure that was planned has come */

static bool may_come(int code, enum step s)
{
    return code == ERR_NO_MEMORY || code == ERR_UNREACHABLE || code == ERR_RUNTIME ||
           (s == USAGE && code == ERR_STATE) || (s == SNAP && code == ERR_EXISTS) ||
           (s == UNSNAP && code == ERR_NOT_FOUND) || (s == CONSOLE && code == ERR_BUSY);
}

/* What a try that failed may have done all the same. */
static bool is_done(int code, enum step s)
{
    return code == 0 || (s == SNAP && code == ERR_EXISTS) || (s == UNSNAP && code == ERR_NOT_FOUND);
}

/* True if something failed on the way, and the next try was good. */
static bool step_twice(enum step s)
{
    int rc = do_step(s);
    bool failed = rc != 0;
    for (int i = 0; i < 400 && !is_done(rc, s); i++) {
        memory_hit = memory_hit || mem_fail_hit();
        if (!may_come(rc, s))
            fail_msg("%s: %d \"%s\"", step_names[s], rc, got.f.e.msg);
        if (rc != ERR_UNREACHABLE && i > 3)
            fail_msg("%s: again %d \"%s\"", step_names[s], rc, got.f.e.msg);
        mem_fail_at(0, false);
        if (rc == ERR_UNREACHABLE)
            pass_time(5); /* it connects anew */
        rc = do_step(s);
    }
    if (!is_done(rc, s))
        fail_msg("%s: never again: %d \"%s\"", step_names[s], rc, got.f.e.msg);
    return failed;
}

static void settle(void)
{
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S;
         map_count(&virt->acts) > 0 || !list_empty(&virt->calls);) {
        if (uv_hrtime() > end)
            fail_msg("%zu acts do not end", map_count(&virt->acts));
        (void)loop_run_once(loop, true);
    }
}

/* A machine's whole life, each part until it goes well. */
static void life(void)
{
    for (enum step s = ENSURE; s < STEPS; s++) {
        order.for_good = s == REMOVE;
        (void)step_twice(s);
        if (s == ENSURE || s == START)
            assert_int_equal(fake_domains(), 1);
        if (s == START)
            assert_int_equal(fake_state(ID), VIR_DOMAIN_RUNNING);
        if (s == LIST)
            assert_true(got.n == 1 && strcmp(got.revision, "r1") == 0);
        if (s == STOP)
            assert_int_equal(fake_state(ID), VIR_DOMAIN_SHUTOFF);
    }
    assert_int_equal(fake_domains(), 0);
    assert_int_equal(access(disk_path, F_OK), 0);
    settle();
}

/* ---- tests */

static void test_life(void **state)
{
    (void)state;
    plain_order();
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    unsigned before = fake_calls();
    life();
    assert_true(fake_calls() - before > 30);
    assert_true(got.usage.disk_read_bytes == INT64_MAX); /* more than that was told */
    assert_int_equal(got.usage.memory_bytes, 2048 * 1024);
    close_virt(true);
}

/* Coming up: n-th allocation, once and for good. */
static void test_memory_of_a_connection(void **state)
{
    (void)state;
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1, hit = 1; hit; n++) {
            fake_reset(folder);
            mem_fail_at(0, false);
            memset(&got, 0, sizeof(got));
            static char uri[256];
            static const char *roots[1];
            struct err e = {0};
            roots[0] = folder;
            fake_uri(uri);
            options = (struct virt_options){.uri = uri,
                                            .image_roots = roots,
                                            .n_image_roots = 1,
                                            .retry_first_ms = 5,
                                            .retry_most_ms = 10};
            got.up = -1;
            assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
            mem_fail_at(n, sticky);
            int rc = virt_new(&virt, loop, &options, &d, &e);
            if (rc == 0) {
                d.ops->watch(d.self, &watcher);
                for (int i = 0; i < 5; i++)
                    (void)loop_run_once(loop, false);
            }
            hit = mem_fail_hit();
            mem_fail_at(0, false);
            assert_true(rc == 0 || rc == ERR_NO_MEMORY);
            assert_true(rc == 0 || e.msg[0] != '\0');
            if (rc == 0)
                wait_up(1);
            close_virt(rc == 0);
        }
}

static void memory(bool sticky, uint64_t stride)
{
    plain_order();
    bool hit = true;
    uint64_t most = 0;
    for (uint64_t n = 1; hit; n += stride) {
        fake_reset(folder);
        assert_int_equal(open_virt(), 0);
        wait_up(1);
        memory_hit = false;
        mem_fail_at(n, sticky);
        life();
        hit = memory_hit || mem_fail_hit();
        mem_fail_at(0, false);
        close_virt(true);
        assert_true(n < 20000);
        most = n;
    }
    assert_true(most > 60);
}

static void test_memory_once(void **state)
{
    (void)state;
    memory(false, 1);
}

static void test_memory_for_good(void **state)
{
    (void)state;
    memory(true, 3);
}

/* Each call to libvirtd; the first ones are those of connecting. */
static void calls(enum fake_trouble how, unsigned first, unsigned stride)
{
    plain_order();
    bool more = true;
    for (unsigned n = first; more; n += stride) {
        fake_reset(folder);
        fake_fail(n, how);
        assert_int_equal(open_virt(), 0);
        wait_up(1);
        life();
        more = fake_met();
        close_virt(true);
        assert_true(n < 2000);
    }
}

static void test_each_call_fails(void **state)
{
    (void)state;
    calls(FAKE_ERROR, 1, 1);
}

static void test_it_dies_in_each_call(void **state)
{
    (void)state;
    calls(FAKE_DIES, 1, 1);
}

static void test_it_dies_before_each_answer(void **state)
{
    (void)state;
    calls(FAKE_DID, 1, 1);
}

/* Each of these waits until it is given up. */
static void test_it_hangs(void **state)
{
    (void)state;
    options.look_ms = options.act_ms = options.snapshot_ms = 50;
    calls(FAKE_HANGS, 5, 4);
}

/* The end of the connection, and what happens to guests, are told without memory too. */
static void test_news_without_memory(void **state)
{
    (void)state;
    plain_order();
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(START), 0);
    fake_refuse(true);
    mem_fail_at(1, true);
    fake_die();
    pass_time(50);
    mem_fail_at(0, false);
    wait_up(0);
    assert_int_equal(do_step(LIST), ERR_UNREACHABLE);
    fake_refuse(false);
    wait_up(1);
    assert_int_equal(step_twice(LIST), 0);
    /* A guest that takes its time, and goes off while nobody can write that down. */
    order.stop_timeout_s = 60;
    fake_deaf(true);
    got.done = false;
    assert_int_equal(begin(STOP), 0);
    pass_time(50);
    assert_false(got.done);
    mem_fail_at(1, true);
    fake_set_state(ID, VIR_DOMAIN_SHUTOFF);
    usleep(50000);
    mem_fail_at(0, false);
    pass(&got.done, 5000);
    assert_true(got.done);
    assert_int_equal(got.f.e.code, 0);
    assert_int_equal(got.actual, ACTUAL_STOPPED);
    close_virt(true);
}

/* A guest that is off before we wait for it. */
static void test_quick_guest(void **state)
{
    (void)state;
    plain_order();
    order.stop_timeout_s = 60;
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(do_step(START), 0);
        got.done = false;
        assert_int_equal(begin(STOP), 0);
        usleep(3000); /* the loop is at something else: the answer and the event come at once */
        pass(&got.done, 5000);
        assert_true(got.done);
        assert_int_equal(got.f.e.code, 0);
    }
    close_virt(true);
}

#define FOREIGN(name, inside)                                                                      \
    "<domain type='kvm'><name>" name "</name><uuid>b3063cb7-3193-4c1f-8008-a901eed2d7b1</uuid>"    \
    "<metadata>" inside "</metadata></domain>"

static void test_neighbours(void **state)
{
    char xml[16000];
    struct buf b = BUF_FIXED(xml);
    (void)state;
    plain_order();
    (void)buf_addlit(&b, "<domain type='kvm'><name>many</name><uuid>b3063cb7-3193-4c1f-8008-"
                         "a901eed2d7b1</uuid><devices>");
    for (int i = 0; i < DOMAIN_DISKS_MAX + 1; i++)
        (void)buf_addf(&b, "<disk type='file'><source file='/d%d'/></disk>", i);
    (void)buf_addlit(&b, "</devices></domain>");
    assert_int_equal(b.err, 0);
    fake_add("many", xml, VIR_DOMAIN_RUNNING);
    fake_add("odd", FOREIGN("odd", "<\xc3\xa4/>"), VIR_DOMAIN_RUNNING);
    fake_add("raw", FOREIGN("raw", "<x><![CDATA[<&>]]></x>"), VIR_DOMAIN_RUNNING);
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(LIST), 0);
    assert_int_equal(got.n, 1);
    assert_string_equal(got.revision, "r1");
    /* Nothing is made in the place of one that cannot be understood. */
    order.id = SLICE_LIT("odd");
    assert_int_equal(do_step(ENSURE), ERR_SYNTAX);
    order.id = SLICE_LIT("raw");
    assert_int_equal(do_step(ENSURE), ERR_EXISTS);
    order.for_good = true;
    assert_int_equal(do_step(REMOVE), 0);
    assert_int_equal(fake_domains(), 4);
    close_virt(true);
}

/* What a guest's agent tells: addresses are taken, and only so many. */
static void test_addresses(void **state)
{
    (void)state;
    plain_order();
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(START), 0);
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S; uv_hrtime() < end && got.address[0] == '\0';) {
        pass_time(50);
        assert_int_equal(do_step(INSPECT), 0);
    }
    assert_string_equal(got.address, "10.0.0.2");
    assert_int_equal(strncmp(got.addresses, "10.0.0.2,fd00:1111:2222:3333:4444::2,", 37), 0);
    assert_true(strlen(got.addresses) > 3000 && strlen(got.addresses) < 4096);
    /* They stay while libvirtd is away. */
    virt_slow_soon(virt, 0);
    fake_fail(4, FAKE_DIES);
    pass_time(20);
    wait_up(1);
    assert_int_equal(step_twice(INSPECT), 0);
    assert_string_equal(got.address, "10.0.0.2");
    /* What is seen to be off has none, whenever its event comes. */
    fake_set_quietly(ID, VIR_DOMAIN_SHUTOFF);
    assert_int_equal(step_twice(INSPECT), 0);
    assert_string_equal(got.address, "");
    assert_string_equal(got.addresses, "");
    close_virt(true);
}

/* Nobody who could tell an address is no failure, either. */
static void test_nobody_knows_an_address(void **state)
{
    (void)state;
    plain_order();
    fake_alone(true);
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(START), 0);
    for (uint64_t end = uv_hrtime() + 10 * NS_PER_S; uv_hrtime() < end && fake_neighbours() == 0;)
        pass_time(50);
    assert_true(fake_neighbours() > 0);
    assert_int_equal(do_step(INSPECT), 0);
    assert_string_equal(got.addresses, "");
    assert_string_equal(got.lookup, "");
    close_virt(true);
}

/* ---- files */

static bool there(const char *name)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static char new_disk[128], user_data[] = "#cloud-config\n{}\n";

static void order_with_files(void)
{
    plain_order();
    (void)snprintf(new_disk, sizeof(new_disk), "%s/new.qcow2", folder);
    disks[1] = (struct doc_disk){.path = new_disk, .format = "qcow2", .size_gb = 1};
    doc.vm.disks.count = 2;
    doc.vm.cloud_init = user_data;
}

static void files_are(bool yes)
{
    assert_true(there("new.qcow2") == yes);
    assert_true(there(ID "-cloud-init.iso") == yes);
    assert_false(there("new.qcow2.gantry-new") || there("." ID "-cloud-init.iso.parts"));
}

/* Whenever it fails: either the domain is there and its files are, or there is nothing. */
static void files_agree(void)
{
    if (fake_domains() > 0)
        files_are(true);
}

static void test_files_and_memory(void **state)
{
    (void)state;
    order_with_files();
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        fake_reset(folder);
        assert_int_equal(open_virt(), 0);
        wait_up(1);
        memory_hit = false;
        mem_fail_at(n, n % 2 == 0);
        int rc = do_step(ENSURE);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        files_agree();
        if (rc != 0 && fake_domains() == 0)
            files_are(false);
        assert_int_equal(do_step(ENSURE), 0);
        files_are(true);
        assert_true(virt_disk_marked(new_disk, SLICE_LIT(ID)));
        assert_false(virt_disk_marked(new_disk, SLICE_LIT("vm-two")));
        order.for_good = true;
        mem_fail_at(n, false);
        (void)step_twice(REMOVE);
        mem_fail_at(0, false);
        order.for_good = false;
        files_are(false);
        assert_int_equal(access(disk_path, F_OK), 0);
        close_virt(true);
    }
}

static void test_files_and_calls(void **state)
{
    static const enum fake_trouble all[] = {FAKE_ERROR, FAKE_DIES, FAKE_DID};
    (void)state;
    order_with_files();
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (unsigned n = 1, more = 1; more; n++) {
            fake_reset(folder);
            assert_int_equal(open_virt(), 0);
            wait_up(1);
            fake_fail(n, all[i]);
            int rc = do_step(ENSURE);
            more = fake_met();
            files_agree();
            if (rc != 0 && all[i] == FAKE_ERROR)
                files_are(false);
            (void)step_twice(ENSURE);
            files_are(true);
            order.for_good = true;
            fake_fail(n, all[i]);
            (void)step_twice(REMOVE);
            more = more || fake_met();
            order.for_good = false;
            fake_fail(0, FAKE_ERROR);
            files_are(false);
            assert_int_equal(fake_domains(), 0);
            close_virt(true);
        }
}

/* Emulation takes KVM's place, wherever that is found out, and whatever fails meanwhile. */
static void kvm_goes(enum fake_kvm how)
{
    order_with_files();
    accelerator = VIRT_AUTO;
    fake_kvm(how);
    bool hit = true;
    for (uint64_t n = 1; hit; n += 2) {
        fake_reset(folder);
        assert_int_equal(open_virt(), 0);
        wait_up(1);
        assert_true(virt->kvm && !virt->kvm_refused);
        memory_hit = false;
        mem_fail_at(n, false);
        (void)step_twice(ENSURE);
        (void)step_twice(START);
        hit = memory_hit || mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(virt->kvm_refused);
        assert_int_equal(fake_state(ID), VIR_DOMAIN_RUNNING);
        files_are(true);
        order.for_good = true;
        assert_int_equal(do_step(REMOVE), 0);
        order.for_good = false;
        files_are(false);
        close_virt(true);
    }
}

static void test_kvm_goes(void **state)
{
    (void)state;
    kvm_goes(FAKE_KVM_NOT_DEFINED);
    kvm_goes(FAKE_KVM_NOT_STARTED);
}

/* A disk that was made for one is not removed with another that uses it too. */
static void test_shared_disk(void **state)
{
    (void)state;
    order_with_files();
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    order.id = SLICE_LIT("vm-two");
    doc.id = "vm-two";
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(fake_domains(), 2);
    order.for_good = true;
    assert_int_equal(do_step(REMOVE), 0);
    files_are(true);
    assert_false(there("vm-two-cloud-init.iso"));
    order.id = SLICE_LIT(ID);
    assert_int_equal(do_step(REMOVE), 0);
    files_are(false);
    close_virt(true);
}

/* ---- the console */

static void wait_line_done(void)
{
    pass(&line.done, 5000);
    assert_true(line.done);
}

static void test_console_ends(void **state)
{
    (void)state;
    plain_order();
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(START), 0);
    /* one at a time */
    assert_int_equal(open_line(), 0);
    fake_say(ID, "x");
    for (int i = 0; i < 1000 && line.n_out == 0; i++)
        pass_time(1);
    struct driver_call *first = STEAL(line.call);
    assert_int_equal(echo(), ERR_BUSY);
    d.ops->cancel_call(first);
    (void)step_twice(CONSOLE);
    /* libvirtd goes */
    assert_int_equal(open_line(), 0);
    pass_time(20);
    fake_die();
    wait_line_done();
    assert_int_equal(line.f.e.code, ERR_UNREACHABLE);
    got.up = -1;
    pass_time(50);
    /* no memory for what the guest says: it ends, and nothing is missing silently */
    (void)step_twice(CONSOLE);
    assert_int_equal(open_line(), 0);
    pass_time(20);
    mem_fail_at(1, true);
    fake_say(ID, "hello");
    usleep(20000);
    mem_fail_at(0, false);
    wait_line_done();
    assert_int_equal(line.f.e.code, ERR_NO_MEMORY);
    /* what cannot be taken now can be later, and leaving needs no memory */
    assert_int_equal(open_line(), 0);
    pass_time(20);
    mem_fail_at(1, true);
    assert_int_equal(d.ops->exec_write(line.call, SLICE_LIT("abc"), false), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    assert_int_equal(d.ops->exec_write(line.call, SLICE_LIT("abc"), false), 0);
    for (int i = 0; i < 1000 && line.n_out < 3; i++)
        pass_time(1);
    assert_memory_equal(line.out, "abc", 3);
    mem_fail_at(1, true);
    d.ops->cancel_call(STEAL(line.call));
    pass_time(20);
    mem_fail_at(0, false);
    assert_false(fake_console_taken(ID));
    /* the machine goes off: that is an end like any other */
    assert_int_equal(open_line(), 0);
    pass_time(20);
    fake_set_state(ID, VIR_DOMAIN_SHUTOFF);
    wait_line_done();
    assert_int_equal(line.f.e.code, 0);
    close_virt(true);
}

/* More than fits is refused, and told when there is room; a caller that takes no more holds the
 * guest back. */
static void test_console_holds_back(void **state)
{
    enum { MANY = 60 << 10 };
    static char text[MANY];
    (void)state;
    plain_order();
    memset(text, 'y', sizeof(text));
    assert_int_equal(open_virt(), 0);
    wait_up(1);
    assert_int_equal(do_step(ENSURE), 0);
    assert_int_equal(do_step(START), 0);
    assert_int_equal(open_line(), 0);
    pass_time(20);
    d.ops->logs_pause(line.call, true);
    assert_int_equal(d.ops->exec_write(line.call, (struct slice){text, MANY}, false), 0);
    assert_int_equal(d.ops->exec_write(line.call, (struct slice){text, MANY}, false), ERR_LIMIT);
    pass_time(50);
    assert_int_equal(line.n_out, 0);
    assert_int_equal(line.drained, 0);
    d.ops->logs_pause(line.call, false);
    for (int i = 0; i < 3000 && line.drained == 0; i++) {
        line.n_out = 0;
        pass_time(1);
    }
    assert_int_equal(line.drained, 1);
    d.ops->cancel_call(STEAL(line.call));
    close_virt(true);
}

/* ---- ending */

static unsigned ends;

static void count_end(void *ctx, const struct fault *f, const struct driver_object *o)
{
    (void)ctx, (void)f, (void)o;
    ends++;
}

static void count_list(void *ctx, const struct fault *f, const struct driver_object *items,
                       size_t n)
{
    (void)items, (void)n;
    count_end(ctx, f, NULL);
}

static void count_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    (void)u;
    count_end(ctx, f, NULL);
}

/* It ends after so many turns of the loop, with all kinds of calls under way: each is told once. */
static void test_ends_at_any_time(void **state)
{
    (void)state;
    order_with_files();
    for (int turns = 0; turns < 60; turns++) {
        const struct driver_ops *o = d.ops;
        struct driver_order other = order;
        unsigned begun = 0;
        fake_reset(folder);
        assert_int_equal(open_virt(), 0);
        o = d.ops;
        if (turns % 3 != 0)
            wait_up(1);
        ends = 0;
        other.id = SLICE_LIT("vm-two");
        begun += o->ensure(d.self, &order, count_end, NULL) == 0;
        begun += o->remove(d.self, &other, count_end, NULL) == 0;
        begun += o->list(d.self, count_list, NULL) == 0;
        begun += o->usage(d.self, order.id, count_usage, NULL) == 0;
        begun += o->inspect(d.self, order.id, count_end, NULL) == 0;
        assert_int_equal(open_line(), 0);
        for (int i = 0; i < turns / 2; i++) {
            (void)loop_run_once(loop, false);
            usleep(500);
        }
        close_virt(true);
        assert_int_equal(ends, begun);
        assert_true(line.done);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_life),
        T(test_memory_of_a_connection),
        T(test_memory_once),
        T(test_memory_for_good),
        T(test_each_call_fails),
        T(test_it_dies_in_each_call),
        T(test_it_dies_before_each_answer),
        T(test_it_hangs),
        T(test_news_without_memory),
        T(test_quick_guest),
        T(test_neighbours),
        T(test_addresses),
        T(test_nobody_knows_an_address),
        T(test_files_and_memory),
        T(test_files_and_calls),
        T(test_kvm_goes),
        T(test_shared_disk),
        T(test_console_ends),
        T(test_console_holds_back),
        T(test_ends_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
