/* How full the machine is, and what it is called. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/str.h"
#include "gantryd/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void memory(void **state)
{
    (void)state;
    struct host_usage u = {0};
    assert_true(machine_read_memory(SLICE_LIT("MemTotal:       1000 kB\nMemFree:  400 kB\n"
                                              "MemAvailable: 700 kB\nBuffers: 50 kB\n"
                                              "Cached:    100 kB\nSwapCached: 7 kB\n"
                                              "SReclaimable: 50 kB\n"),
                                    &u));
    assert_int_equal(u.memory_total_bytes, 1024000);
    assert_int_equal(u.memory_available_bytes, 716800);
    assert_int_equal((int)(u.memory_percent * 10), 400);
    assert_false(machine_read_memory(SLICE_LIT(""), &u));
    assert_false(machine_read_memory(SLICE_LIT("MemTotal: x kB\n"), &u));
    assert_false(machine_read_memory(SLICE_LIT("MemTotal: 99999999999999999999 kB\n"), &u));
}

static void cpu(void **state)
{
    (void)state;
    struct machine_cpu c;
    assert_true(machine_read_cpu(
        SLICE_LIT("cpu  10 1 2 80 5 1 1 0 9 9\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n"), &c));
    assert_int_equal(c.all, 100); /* guests are counted in user and nice already */
    assert_int_equal(c.busy, 15);
    assert_int_equal(c.cpus, 2);
    assert_false(machine_read_cpu(SLICE_LIT("cpu  1 2\n"), &c));
    assert_false(machine_read_cpu(SLICE_LIT("cpu  a b c d\n"), &c));
    assert_false(machine_read_cpu(SLICE_LIT(""), &c));
}

static void put(const char *root, const char *path, const char *text)
{
    char full[200];
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    assert_int_equal(file_replace(AT_FDCWD, full, slice_of(text), 0644, (uid_t)-1, (gid_t)-1, NULL),
                     0);
}

static char root[] = "/tmp/gantry-machine-XXXXXX";

static void samples(void **state)
{
    (void)state;
    struct loop *l = NULL;
    struct machine *m = NULL;
    put(root, "/proc/stat", "cpu  10 0 0 90\ncpu0 0\n");
    assert_int_equal(loop_new(&l, &clock_system, NULL), 0);
    struct host h;
    struct host_usage u;
    /* Without /proc/meminfo nothing is known of memory: neither full nor used up. */
    assert_int_equal(machine_new(&m, l, root, 20, NULL), 0);
    machine_host(m, &h);
    h.ops->usage(h.self, &u);
    assert_int_equal((int)u.memory_percent, -1);
    assert_int_equal(u.memory_available_bytes, -1);
    machine_free(m);
    put(root, "/proc/meminfo", "MemTotal: 100 kB\nMemFree: 25 kB\n");
    assert_int_equal(machine_new(&m, l, root, 20, NULL), 0);
    machine_host(m, &h);
    h.ops->usage(h.self, &u);
    assert_int_equal((int)u.memory_percent, 75);
    assert_int_equal((int)u.cpu_percent, -1); /* there is nothing yet to compare with */
    assert_int_equal(u.cpu_millicores, 1000);
    assert_true(u.disk_total_bytes > 0 && u.disk_percent >= 0 && u.disk_percent <= 100);
    put(root, "/proc/stat", "cpu  60 0 0 140\ncpu0 0\n");
    for (int i = 0; i < 200 && u.cpu_percent < 0; i++) {
        (void)loop_run_once(l, true);
        h.ops->usage(h.self, &u);
    }
    assert_int_equal((int)u.cpu_percent, 50);
    char path[200];
    (void)snprintf(path, sizeof(path), "%s/lock", root);
    struct err e = {0};
    assert_int_equal(h.ops->lock_held(h.self, path, &e), 0);
    assert_int_equal(symlink("/nowhere", path), 0); /* there, wherever it leads */
    assert_int_equal(h.ops->lock_held(h.self, path, &e), 1);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/proc/stat/lock", root);
    assert_int_equal(h.ops->lock_held(h.self, path, &e), 0);
    machine_free(m);
    while (loop_run_once(l, false))
        ;
    loop_free(l);
}

static void node_id(void **state)
{
    (void)state;
    char id[MACHINE_NODE_ID_SIZE], host[100], want[200];
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    struct err e = {0};
    assert_int_equal(machine_node_id(id, root, "n1", &e), 0);
    assert_string_equal(id, "n1");
    assert_int_equal(machine_node_id(id, root, "a b", &e), ERR_INVALID);
    put(root, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    (void)snprintf(want, sizeof(want), "%s-0123456789ab", host);
    assert_int_equal(machine_node_id(id, root, "auto", &e), 0);
    assert_string_equal(id, want);
    assert_int_equal(machine_node_id(id, root, "", &e), 0);
    assert_string_equal(id, want);
    put(root, "/etc/machine-id", "uninitialized\n");
    assert_int_equal(machine_node_id(id, root, NULL, &e), 0);
    assert_true(strncmp(id, host, strlen(host)) == 0);
    assert_null(strstr(id, "uninit"));
}

static int setup(void **state)
{
    (void)state;
    char path[200];
    const char *const dirs[] = {"/proc", "/etc"};
    if (mkdtemp(root) == NULL)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", root, dirs[i]);
        if (mkdir(path, 0755) != 0)
            return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    const char *const all[] = {"/proc/meminfo", "/proc/stat", "/etc/machine-id",
                               "/proc",         "/etc",       ""};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char path[200];
        (void)snprintf(path, sizeof(path), "%s%s", root, all[i]);
        (void)remove(path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory),
        cmocka_unit_test(cpu),
        cmocka_unit_test(samples),
        cmocka_unit_test(node_id),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
