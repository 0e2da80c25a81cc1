/* gantry-agent's command line. */
#include "s6_rig.h"

#include "gantry-agent/flags.h"

static int parse(struct flags *f, const char *a, const char *b, const char *c)
{
    const char *argv[] = {"gantry-agent", "serve", a, b, c, NULL};
    int argc = 2;
    while (argc < 5 && argv[argc] != NULL)
        argc++;
    return flags_parse(f, argc, (char **)(uintptr_t)argv);
}

static void test_defaults(void **state)
{
    (void)state;
    struct flags f;
    assert_int_equal(parse(&f, NULL, NULL, NULL), -1);
    assert_string_equal(f.socket, "/var/run/agent/s6_agent.sock");
    assert_string_equal(f.scandir, "/run/service");
    assert_string_equal(f.log_dir, "/var/log");
    assert_string_equal(f.source_dir, "/etc/s6-overlay/s6-rc.d");
    assert_string_equal(f.run_dir, "/run");
    assert_string_equal(f.backup_dir, "/var/lib/gantry-agent/run-backups");
    assert_int_equal(f.mode, 0660);
    assert_true(f.group == (gid_t)-1);
}

static void test_values(void **state)
{
    (void)state;
    struct flags f;
    assert_int_equal(parse(&f, "--socket-mode", "0600", "--scandir=/a=b"), -1);
    assert_int_equal(f.mode, 0600);
    assert_string_equal(f.scandir, "/a=b");
    assert_int_equal(parse(&f, "--backup-dir", "/b", NULL), -1);
    assert_string_equal(f.backup_dir, "/b");
    assert_int_equal(parse(&f, "--backup-dir=none", NULL, NULL), -1);
    assert_null(f.backup_dir);
    assert_int_equal(parse(&f, "--socket-group", "1234", "--log-level=debug"), -1);
    assert_int_equal(f.group, 1234);
    assert_int_equal(f.level, LOG_DEBUG);
    assert_int_equal(parse(&f, "--log-format", "json", NULL), -1);
    assert_int_equal(f.format, LOG_FORMAT_JSON);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct flags f;
    static const char *const rows[][2] = {
        {"--nonsense", NULL},
        {"--socket", NULL},
        {"--socket", ""},
        {"--backup-dir", ""},
        {"--socket-mode", "0888"},
        {"--socket-mode", "01777"},
        {"--socket-mode", "rw"},
        {"--socket-mode", "66000"},
        {"--socket-group", "no-such-group-here"},
        {"--socket-group", "-1"},
        {"--socket-group", "4294967295"},
        {"--log-level", "loud"},
        {"--log-format", "xml"},
        {"stray", NULL},
        {"--a-very-long-option-that-is-none-of-ours", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(parse(&f, rows[i][0], rows[i][1], NULL), EXIT_USAGE);
    const char *none[] = {"gantry-agent", NULL}, *other[] = {"gantry-agent", "fly", NULL};
    assert_int_equal(flags_parse(&f, 1, (char **)(uintptr_t)none), EXIT_USAGE);
    assert_int_equal(flags_parse(&f, 2, (char **)(uintptr_t)other), EXIT_USAGE);
    assert_int_equal(parse(&f, "--help", NULL, NULL), EXIT_FINE);
    assert_int_equal(parse(&f, "--version", NULL, NULL), EXIT_FINE);
}

static void test_groups(void **state)
{
    (void)state;
    gid_t g = 0;
    rig_write(rig_path("group"), "root:x:0:\nbad\nwheel:x:x:\nrobot:x:993:alice,bob\nlast:x:994:");
    const char *file = rig_path("group");
    assert_true(group_find(file, "robot", &g) && g == 993);
    assert_true(group_find(file, "last", &g) && g == 994);
    assert_true(group_find(file, "root", &g) && g == 0);
    assert_true(group_find(file, "42", &g) && g == 42);
    assert_false(group_find(file, "alice", &g));
    assert_false(group_find(file, "wheel", &g));
    assert_false(group_find(file, "bad", &g));
    assert_false(group_find(file, "", &g));
    assert_false(group_find(rig_path("none"), "robot", &g));
    assert_int_equal(g, 42);
    mem_fail_at(1, true);
    assert_false(group_find(file, "robot", &g));
    mem_fail_at(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test_setup_teardown(test_groups, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
