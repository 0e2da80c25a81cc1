/* What a container's command says at boot, the state file for it, and the note of a planned stop.
 * /proc is a folder made here; with a container it is tests/e2e/test_profiles_faults.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/boot_rules.h"
#include "s6/slot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW INT64_C(1780036292) /* 2026-05-29T06:31:32Z */

static char dir[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/test-boot-rules-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return slot_tree_remove(AT_FDCWD, dir, NULL);
}

/* Words are parted by '|' here. */
static struct slice words_of(const char *text, char *room)
{
    size_t n = strlen(text) + 1;
    memcpy(room, text, n);
    for (size_t i = 0; i < n; i++)
        room[i] = (char)(room[i] == '|' ? '\0' : room[i]);
    return (struct slice){room, n};
}

static void put(const char *path, struct slice content)
{
    char whole[256];
    (void)snprintf(whole, sizeof(whole), "%s/%s", dir, path);
    int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, content, NULL), 0);
    close(fd);
}

static void put_process(const char *pid, const char *command)
{
    char path[256], room[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, pid);
    assert_int_equal(mkdir(path, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/cmdline", pid);
    put(path, words_of(command, room));
}

static void test_the_command_is_found(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(BOOT_COMMAND_MAX);
    assert_false(boot_command_read("/nonexistent", &b));
    put_process("1", "s6-svscan|--|/run/service");
    put_process("12", "sleep|main-wrap");
    assert_false(boot_command_read(dir, &b));
    assert_int_equal(b.len, 0);
    put_process("self", "x/main-wrapper.sh|dashboard"); /* not a process */
    assert_false(boot_command_read(dir, &b));
    put_process("77",
                "/bin/sh|-e|/run/s6/basedir/scripts/rc.init|top|/opt/main-wrapper.sh|gateway|run");
    assert_true(boot_command_read(dir, &b));
    struct slice words = boot_command_words((struct slice){b.data, b.len});
    assert_int_equal(words.len, sizeof("gateway|run"));
    assert_memory_equal(words.p, "gateway\0run", sizeof("gateway|run"));
    mem_fail_at(1, false);
    (void)boot_command_read(dir, &b);
    mem_fail_at(0, false);
    buf_done(&b);
}

static void test_roles(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        bool dashboard, gateway;
    } cases[] = {
        {"", false, false},
        {"dashboard", true, false},
        {"/init|dashboard|--port|80", true, false},
        {"/init|/opt/x/main-wrapper.sh|hermes|dashboard", true, false},
        {"/init|main-wrapper.sh|gateway|run", false, true},
        {"/opt/entrypoint-dispatch.sh|hermes|gateway|run", false, true},
        {"/init|/x/entrypoint-dispatch.sh|/usr/bin/hermes|gateway|run|-v", false, true},
        {"sh|rc.init|top|/x/main-wrapper.sh||gateway||run", false, true},
        {"main-wrapper.sh|gateway|run|--no-supervise", false, false},
        {"main-wrapper.sh|gateway", false, false},
        {"main-wrapper.sh|gateway|status", false, false},
        {"main-wrapper.sh|chat|dashboard", false, false},
        {"main-wrapper.sh", false, false},
        {"sleep|main-wrapper.sh|x|init|dashboard", false, false},
        {"dashboards", false, false},
    };
    char room[256];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice words = boot_command_words(words_of(cases[i].command, room));
        assert_int_equal(boot_command_is_dashboard(words), cases[i].dashboard);
        assert_int_equal(boot_command_is_gateway(words), cases[i].gateway);
    }
    assert_false(boot_command_is_dashboard(boot_command_words((struct slice){NULL, 0})));
}

static void test_seeds(void **state)
{
    (void)state;
    char room[64];
    struct slice run = words_of("gateway|run", room), none = {NULL, 0};
    assert_int_equal(boot_seed_find(none, NULL, NULL), BOOT_SEED_NONE);
    assert_int_equal(boot_seed_find(none, "running", NULL), BOOT_SEED_ENVIRONMENT);
    assert_int_equal(boot_seed_find(none, "stopped", NULL), BOOT_SEED_NONE);
    assert_int_equal(boot_seed_find(run, "", NULL), BOOT_SEED_COMMAND);
    assert_int_equal(boot_seed_find(run, NULL, "Yes"), BOOT_SEED_NONE);
    assert_int_equal(boot_seed_find(run, NULL, "1"), BOOT_SEED_NONE);
    assert_int_equal(boot_seed_find(run, NULL, "0"), BOOT_SEED_COMMAND);
}

static void read_back(const char *name, struct buf *b)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_clear(b);
    assert_int_equal(file_read(AT_FDCWD, path, 0, b, NULL), 0);
    buf_addc(b, '\0');
}

static void test_the_state_file(void **state)
{
    (void)state;
    struct profile_layout l;
    struct err e = {0};
    struct buf b = BUF_INIT(4096);
    assert_int_equal(profile_layout_init(&l, "hermes", &e), 0);
    (void)snprintf(l.home, sizeof(l.home), "%s", dir);
    l.uid = getuid();
    l.gid = getgid();
    assert_int_equal(boot_seed_write(&l, BOOT_SEED_COMMAND, NOW, &e), 0);
    read_back("gateway_state.json", &b);
    assert_string_equal(
        b.data,
        "{\"gateway_state\":\"running\",\"desired_state\":\"running\",\"timestamp\":1780036292,"
        "\"migrated_from\":\"legacy-container-cmd\"}\n");
    assert_int_equal(boot_seed_write(&l, BOOT_SEED_ENVIRONMENT, NOW, &e), ERR_EXISTS);
    assert_int_equal(slot_tree_remove(AT_FDCWD, dir, NULL), 0);
    assert_int_equal(boot_seed_write(&l, BOOT_SEED_COMMAND, NOW, &e), ERR_NOT_FOUND);
    assert_int_equal(mkdir(dir, 0700), 0);
    /* Without memory there is the whole file, or none. */
    for (int n = 1; n < 20; n++) {
        mem_fail_at((uint64_t)n, false);
        int rc = boot_seed_write(&l, BOOT_SEED_ENVIRONMENT, NOW, &e);
        mem_fail_at(0, false);
        if (rc == 0)
            break;
        assert_int_equal(rc, ERR_NO_MEMORY);
    }
    read_back("gateway_state.json", &b);
    assert_string_equal(b.data, "{\"gateway_state\":\"running\"}\n");
    buf_done(&b);
}

static void test_the_note_of_a_stop(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf b = BUF_INIT(4096);
    char want[256];
    const uid_t nobody = (uid_t)-1;
    put_process("77", "gateway");
    put("77/stat",
        SLICE_LIT("77 (a) b) c) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9\n"));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(planned_stop_write(fd, dir, 77, NOW, nobody, nobody, &e), 0);
    read_back(PLANNED_STOP_FILE, &b);
    (void)snprintf(want, sizeof(want),
                   "{\"target_pid\":77,\"target_start_time\":123456,\"stopper_pid\":%d,"
                   "\"written_at\":\"2026-05-29T06:31:32+00:00\"}\n",
                   (int)getpid());
    assert_string_equal(b.data, want);
    planned_stop_remove(fd);
    assert_int_equal(faccessat(fd, PLANNED_STOP_FILE, F_OK, 0), -1);
    assert_int_equal(planned_stop_write(fd, dir, 78, NOW, nobody, nobody, &e), ERR_NOT_FOUND);
    static const char *const bad[] = {
        "",
        "77",
        "77 (x)",
        "77 (x) ",
        "77 (x) S 1 2 3",
        "77 (x) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 many 9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put("77/stat", slice_of(bad[i]));
        assert_int_equal(planned_stop_write(fd, dir, 77, NOW, nobody, nobody, &e), ERR_SYNTAX);
        assert_int_equal(faccessat(fd, PLANNED_STOP_FILE, F_OK, 0), -1);
    }
    assert_int_equal(planned_stop_write(fd, "/proc", getpid(), NOW, nobody, nobody, &e), 0);
    close(fd);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_command_is_found, setup, teardown),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test_setup_teardown(test_the_state_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_note_of_a_stop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
