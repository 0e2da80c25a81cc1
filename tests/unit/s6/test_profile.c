/* Profiles: names, layouts, state files, scripts, the boot log, slots in a folder. Cases from the
 * contract profile-gateways; the whole with s6 is in tests/e2e/test_profiles.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/boot_log.h"
#include "s6/reconcile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test-profile-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return slot_tree_remove(AT_FDCWD, dir, NULL);
}

/* ---- names
 * ----------------------------------------------------------------------------------------- */

static enum profile_name_fault check(const char *name)
{
    return profile_name_check(slice_of(name));
}

static void test_names(void **state)
{
    (void)state;
    char text[300];
    assert_int_equal(check("coder"), PROFILE_NAME_FINE);
    assert_int_equal(check("0"), PROFILE_NAME_FINE);
    assert_int_equal(check("a--b_"), PROFILE_NAME_FINE);
    assert_int_equal(check(""), PROFILE_NAME_EMPTY);
    static const char *const bad[] = {"Coder", "-a",  "_a", ".a",      "a.b",
                                      "a b",   "a/b", "..", "coder\n", "caf\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(check(bad[i]), PROFILE_NAME_INVALID);
    assert_int_equal(profile_name_check((struct slice){"a\0b", 3}), PROFILE_NAME_INVALID);
    memset(text, 'k', sizeof(text));
    assert_int_equal(profile_name_check((struct slice){text, 243}), PROFILE_NAME_FINE);
    assert_int_equal(profile_name_check((struct slice){text, 244}), PROFILE_NAME_LONG);

    char out[PROFILE_NAME_MAX + 1];
    struct err e = {0};
    assert_int_equal(profile_name_new(slice_of("  Coder "), out, &e), 0);
    assert_string_equal(out, "coder");
    assert_int_equal(profile_name_new(slice_of("sudo"), out, &e), ERR_INVALID);
    assert_string_equal(e.msg, "profile name 'sudo' is reserved");
    assert_int_equal(profile_name_new((struct slice){text, 65}, out, &e), ERR_INVALID);
    assert_int_equal(profile_name_new((struct slice){text, 300}, out, &e), ERR_INVALID);
    assert_int_equal(profile_name_new(slice_of("a\x1b[31m"), out, &e), ERR_INVALID);
    assert_null(strchr(e.msg, '\x1b'));
}

/* Contract 3. */
static void test_ports(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned port;
    } rows[] = {{"a", 9610},       {"b", 9566},          {"0", 9478},
                {"default", 9449}, {"my-profile", 9226}, {"coder", 9570},
                {"writer", 9543},  {"assistant", 9714},  {"very-long-profile-name-here", 9318}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(profile_port(slice_of(rows[i].name)), rows[i].port);
}

/* ---- layouts
 * --------------------------------------------------------------------------------------- */

static int set(struct profile_layout *l, const char *key, const char *value, struct err *e)
{
    return profile_layout_set(l, slice_of(key), slice_of(value), e);
}

static void test_layouts(void **state)
{
    (void)state;
    struct profile_layout l;
    struct err e = {0};
    assert_int_equal(profile_layout_init(&l, "nope", &e), ERR_NOT_FOUND);
    assert_int_equal(profile_layout_init(&l, "hermes", &e), 0);
    assert_string_equal(l.home, "/opt/data");
    assert_string_equal(l.marker, "SOUL.md");
    assert_int_equal(l.autostart.n, 1);
    assert_int_equal(profile_layout_check(&l, &e), 0);
    assert_int_equal(profile_layout_init(&l, NULL, &e), 0);
    assert_string_equal(l.marker, "profile.yaml");
    assert_int_equal(set(&l, "log_size", "2M", &e), 0);
    assert_int_equal(l.log_size, 2 << 20);
    assert_int_equal(set(&l, "autostart", "running, degraded", &e), 0);
    assert_int_equal(l.autostart.n, 2);
    assert_int_equal(set(&l, "autostart", "", &e), 0);
    assert_int_equal(l.autostart.n, 0);
    assert_int_equal(set(&l, "timeout_kill", "2s", &e), 0);
    assert_int_equal(l.timeout_kill, 2000);
    static const char *const bad[][2] = {{"home", "rel"},
                                         {"home", "/a b"},
                                         {"home", ""},
                                         {"marker", "a/b"},
                                         {"marker", "../x"},
                                         {"prefix", "much-too-long-"},
                                         {"uid", "-1"},
                                         {"uid", "x"},
                                         {"log_size", "1"},
                                         {"drop", "maybe"},
                                         {"autostart", "a,,b"},
                                         {"stale", "a/b"},
                                         {"command", "a\nb"},
                                         {"fatal_exit", "256"},
                                         {"nope", "1"},
                                         {"user", "-x"},
                                         {"home", "/a$(reboot)"},
                                         {"bin", "x"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct profile_layout before = l;
        assert_int_not_equal(set(&l, bad[i][0], bad[i][1], &e), 0);
        assert_memory_equal(&before, &l, sizeof(l));
    }
    assert_int_equal(set(&l, "home", "/", &e), 0);
    assert_int_equal(profile_layout_check(&l, &e), ERR_INVALID);
}

static void test_layout_file(void **state)
{
    (void)state;
    struct profile_layout l;
    struct err e = {0};
    struct buf faults = BUF_INIT(4096);
    assert_int_equal(profile_layout_init(&l, NULL, &e), 0);
    struct slice text =
        SLICE_LIT("# mine\n\nhome = /data\nlog_count=3\nnope = 1\nmarker\nuid = x\n");
    assert_int_equal(profile_layout_read(&l, "p.conf", text, &faults, &e), ERR_INVALID);
    assert_string_equal(
        faults.data,
        "p.conf:5: there is no key \"nope\"\np.conf:6: this line is not \"key = value\"\n"
        "p.conf:7: uid \"x\" is not a number");
    assert_string_equal(l.home, "/data");
    assert_int_equal(l.log_count, 3);
    buf_done(&faults);

    setenv("GANTRY_PROFILE_LOG_COUNT", "4", 1);
    assert_int_equal(profile_layout_env(&l, &e), 0);
    assert_int_equal(l.log_count, 4);
    setenv("GANTRY_PROFILE_LOG_COUNT", "many", 1);
    assert_int_equal(profile_layout_env(&l, &e), ERR_INVALID);
    assert_string_equal(e.msg, "GANTRY_PROFILE_LOG_COUNT: log_count \"many\" is not a number");
    unsetenv("GANTRY_PROFILE_LOG_COUNT");
}

/* ---- state files
 * ----------------------------------------------------------------------------------- */

/* "-": no prior state; "!": no state file. */
static void test_states(void **state)
{
    (void)state;
    static const struct {
        const char *text, *prior;
        bool starts;
    } rows[] = {
        {"{\"gateway_state\": \"running\"}", "running", true},
        {"  \r\n\t{\"gateway_state\":\"running\"}\n\n", "running", true},
        {"\xef\xbb\xbf{\"gateway_state\": \"running\"}", "running", true},
        {"{\"gateway_state\": \"draining\"}", "running", true},
        {"{\"gateway_state\": \"degraded\"}", "running", true},
        {"{\"gateway_state\": \"stopped\"}", "stopped", false},
        {"{\"gateway_state\": \"Running\"}", "Running", false},
        {"{\"gateway_state\": \" running \"}", " running ", false},
        {"{\"gateway_state\": \"\"}", "", false},
        {"{\"gateway_state\": null}", "-", false},
        {"{}", "-", false},
        {"{\"a\": {\"gateway_state\": \"running\"}}", "-", false},
        {"{\"gateway_state\": \"\\u0072unning\"}", "running", true},
        {"{\"gateway_state\": \"running\", \"gateway_state\": \"stopped\"}", "stopped", false},
        {"{\"gateway_state\": 1, \"gateway_state\": \"running\"}", "running", true},
        {"{\"a\": NaN, \"b\": -Infinity, \"c\": [1, {\"d\": []}], \"gateway_state\": \"running\"}",
         "running", true},
        {"{\"n\": \"\\ud83d\\ude00 \\ud800\", \"gateway_state\": \"running\"}", "running", true},
        {"{\"gateway_state\": \"stopped\", \"desired_state\": \"running\"}", "running", true},
        {"{\"gateway_state\": \"running\", \"desired_state\": \"stopped\"}", "stopped", false},
        {"{\"gateway_state\": \"running\", \"desired_state\": null}", "running", true},
        {"{\"gateway_state\": \"running\", \"desired_state\": \"draining\"}", "draining", false},
        {"{\"gateway_state\": [], \"desired_state\": \"running\"}", "running", true},
    };
    struct profile_layout l;
    assert_int_equal(profile_layout_init(&l, "hermes", NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct profile_state s;
        assert_int_equal(profile_state_parse(slice_of(rows[i].text), &s), 0);
        struct slice prior = profile_state_prior(&l, &s);
        if (strcmp(rows[i].prior, "-") == 0)
            assert_null(prior.p);
        else
            assert_true(prior.p != NULL && slice_eqs(prior, rows[i].prior));
        assert_int_equal(profile_state_starts(&l, &s), rows[i].starts);
    }
}

static void test_bad_states(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "   ",
                                      "{",
                                      "{\"gateway_state\": \"runn",
                                      "{\"gateway_state\": \"running\",}",
                                      "{'a': 1}",
                                      "{\"gateway_state\": \"running\"} x",
                                      "{}{}",
                                      "{\"a\": 1 /* x */}",
                                      "{\"gateway_state\": \"run\001ning\"}",
                                      "running",
                                      "[\"running\"]",
                                      "\"running\"",
                                      "7",
                                      "null",
                                      "true",
                                      "{\"gateway_state\": [\"running\"]}",
                                      "{\"gateway_state\": 5}",
                                      "{\"gateway_state\": true}",
                                      "{\"desired_state\": false, \"gateway_state\": \"running\"}",
                                      "{\"gateway_state\": \"run\377ning\"}",
                                      "{\"x\": \"\300\200\"}",
                                      "{\"a\": 01}",
                                      "{\"a\": +1}",
                                      "{\"a\": .5}",
                                      "{\"a\": 1.}",
                                      "{\"a\": 1e}",
                                      "{\"a\": \"\\x\"}",
                                      "{\"a\": \"\\u12g4\"}",
                                      "{\"a\" 1}",
                                      "{1: 2}",
                                      "{\"a\": [1,]}",
                                      "{\"a\": [}",
                                      "{\"a\": {]}",
                                      "{\"a\": tru}",
                                      "\xff\xfe{\0}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct profile_state s;
        assert_int_equal(profile_state_parse(slice_of(bad[i]), &s), ERR_SYNTAX);
        assert_int_equal(s.note, PROFILE_STATE_INVALID);
        assert_false(s.state.set || s.desired.set);
    }
    struct profile_state s;
    struct buf deep = BUF_INIT(1 << 20);
    buf_addlit(&deep, "{\"a\":");
    for (int i = 0; i < 511; i++)
        buf_addc(&deep, '[');
    for (int i = 0; i < 511; i++)
        buf_addc(&deep, ']');
    buf_addlit(&deep, ",\"gateway_state\":\"running\"}");
    assert_int_equal(profile_state_parse((struct slice){deep.data, deep.len}, &s), 0);
    deep.len = 5;
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    assert_int_equal(profile_state_parse((struct slice){deep.data, deep.len}, &s), ERR_SYNTAX);
    buf_done(&deep);
    /* A text that is too long equals no state, however it begins. */
    char longer[600];
    int n = snprintf(longer, sizeof(longer), "{\"gateway_state\": \"running%0400d\"}", 0);
    struct profile_layout l;
    assert_int_equal(profile_layout_init(&l, NULL, NULL), 0);
    assert_int_equal(profile_state_parse((struct slice){longer, (size_t)n}, &s), 0);
    assert_false(profile_state_starts(&l, &s));
}

static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void expect_state(int fd, const char *text)
{
    char got[512] = "";
    int f = openat(fd, PROFILE_STATE_FILE, O_RDONLY | O_CLOEXEC);
    assert_true(f >= 0 && read(f, got, sizeof(got) - 1) >= 0);
    close(f);
    assert_string_equal(got, text);
}

static void test_wishes(void **state)
{
    (void)state;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = {0};
    assert_int_equal(profile_state_want(fd, "running", 7, (uid_t)-1, (gid_t)-1, &e), 0);
    expect_state(fd, "{\"desired_state\":\"running\",\"desired_updated_at\":7}\n");
    put(PROFILE_STATE_FILE, " {\"pid\": 4, \"desired_state\": \"x\", \"a\": {\"b\": [1, 2]} , "
                            "\"gateway_state\":\"running\"}\n");
    assert_int_equal(profile_state_want(fd, "stopped", 8, (uid_t)-1, (gid_t)-1, &e), 0);
    expect_state(fd, "{\"pid\": 4,\"a\": {\"b\": [1, "
                     "2]},\"gateway_state\":\"running\",\"desired_state\":\"stopped\","
                     "\"desired_updated_at\":8}\n");
    put(PROFILE_STATE_FILE, "junk");
    assert_int_equal(profile_state_want(fd, "stopped", 9, (uid_t)-1, (gid_t)-1, &e), 0);
    expect_state(fd, "{\"desired_state\":\"stopped\",\"desired_updated_at\":9}\n");
    put(PROFILE_STATE_FILE, "{\"gateway_state\": 5, \"keep\": true}");
    assert_int_equal(profile_state_want(fd, "stopped", 9, (uid_t)-1, (gid_t)-1, &e), 0);
    expect_state(fd, "{\"gateway_state\": 5,\"keep\": "
                     "true,\"desired_state\":\"stopped\",\"desired_updated_at\":9}\n");
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        put(PROFILE_STATE_FILE, "{\"keep\": 1}");
        mem_fail_at(at, false);
        int rc = profile_state_want(fd, "running", 1, (uid_t)-1, (gid_t)-1, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        expect_state(
            fd, rc == 0 ? "{\"keep\": 1,\"desired_state\":\"running\",\"desired_updated_at\":1}\n"
                        : "{\"keep\": 1}");
    }
    close(fd);
}

/* ---- text and slots
 * -------------------------------------------------------------------------------- */

static void test_scripts(void **state)
{
    (void)state;
    struct profile_layout l;
    struct slot_text t;
    struct err e = {0};
    const struct slot_env env[] = {{SLICE_LIT("B"), SLICE_LIT("it's $HOME")},
                                   {SLICE_LIT("A_1"), SLICE_LIT("plain/1")}};
    assert_int_equal(profile_layout_init(&l, NULL, &e), 0);
    assert_int_equal(slot_render(&t, &l, slice_of("coder"), false, env, 2, &e), 0);
    assert_non_null(strstr(t.run.data, "export A_1=plain/1\nexport B='it'\"'\"'s $HOME'\n"));
    assert_non_null(strstr(t.run.data, "\n    s6-setlock -n \"$PROFILE_DIR/gateway.lock\" true || "
                                       "[ $? -ne 1 ] || exit 120\n    exec s6-setlock -n "));
    assert_non_null(strstr(t.finish.data, " 60 5 1-119,121-255,SIGABRT,"));
    assert_non_null(strstr(t.run.data, "exec s6-setuidgid gantry s6-setlock -n "
                                       "\"$PROFILE_DIR/gateway.lock\" \"$PROFILE_DIR\"/gateway\n"));
    assert_non_null(strstr(t.finish.data, "if [ \"$1\" -eq 78 ]; then exit 125; fi\n"));
    assert_non_null(strstr(t.log_run.data, " 1 n10 s1000000 T \"$log_dir\"\n"));
    slot_text_done(&t);
    l.fatal_exit = 120; /* the two are told apart whatever the layout says */
    assert_int_equal(slot_render(&t, &l, slice_of("coder"), false, NULL, 0, &e), 0);
    assert_non_null(strstr(t.run.data, "|| exit 119\n"));
    assert_non_null(strstr(t.finish.data, " 60 5 1-118,120-255,SIGABRT,"));
    slot_text_done(&t);
    l.fatal_exit = 78;
    static const struct slot_env bad[] = {
        {{"1A", 2}, {"x", 1}}, {{"A B", 3}, {"x", 1}}, {{"A", 1}, {"x\ny", 3}}, {{"", 0}, {"", 0}}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(slot_render(&t, &l, slice_of("coder"), false, &bad[i], 1, &e),
                         ERR_INVALID);
        slot_text_done(&t);
    }
    assert_int_equal(slot_render(&t, &l, slice_of("a;b"), false, NULL, 0, &e), ERR_INVALID);
    slot_text_done(&t);
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        mem_fail_at(at, false);
        int rc = slot_render(&t, &l, slice_of("coder"), false, env, 2, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        slot_text_done(&t);
    }
}

static void test_boot_log_values(void **state)
{
    (void)state;
    char text[256];
    struct buf b = BUF_FIXED(text);
    boot_log_value(&b, (struct slice){NULL, 0}, 64);
    buf_addc(&b, '|');
    boot_log_value(&b, SLICE_LIT(""), 64);
    buf_addc(&b, '|');
    boot_log_value(&b, SLICE_LIT("a b\n=\xc3\xa9.z-_"), 64);
    buf_addc(&b, '|');
    boot_log_value(&b, SLICE_LIT("abcdef"), 3);
    assert_string_equal(text, "None|\"\"|a%20b%0A%3D%C3%A9.z-_|abc");
    struct boot_log_fields f;
    assert_true(boot_log_parse(SLICE_LIT("2026-05-29T06:31:32+0000 profile=coder "
                                         "prior_state=running action=started prior_exit=clean\n"),
                               &f));
    assert_true(slice_eqs(f.profile, "coder") && slice_eqs(f.prior_state, "running") &&
                slice_eqs(f.action, "started"));
    assert_true(slice_eqs(f.stamp, "2026-05-29T06:31:32+0000"));
    assert_false(boot_log_parse(SLICE_LIT("2026 summary started=1"), &f));
    assert_false(boot_log_parse(SLICE_LIT(""), &f));
}

struct seen {
    size_t records, warnings;
};
static void count(void *ctx, const struct reconcile_record *r, const char *warning)
{
    struct seen *s = ctx;
    (void)r;
    s->records += warning == NULL;
    s->warnings += warning != NULL;
}

/* Every allocation of a pass may fail: the pass ends or goes on, and the scandir never holds half a
 * slot. */
static void test_pass_without_memory(void **state)
{
    (void)state;
    struct profile_layout l;
    struct err e = {0};
    char path[256];
    assert_int_equal(profile_layout_init(&l, NULL, &e), 0);
    snprintf(l.home, sizeof(l.home), "%s/home", dir);
    snprintf(l.scandir, sizeof(l.scandir), "%s/scan", dir);
    l.uid = (int64_t)getuid() == 0 ? 10000 : (int64_t)getuid();
    static const char *const folders[] = {"home", "home/profiles", "home/profiles/a",
                                          "home/profiles/b", "scan"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(chmod(path, 0755), 0);
    }
    put("home/profiles/a/profile.yaml", "#\n");
    put("home/profiles/a/" PROFILE_STATE_FILE, "{\"gateway_state\": \"running\"}");
    put("home/profiles/b/profile.yaml", "#\n");
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        struct seen seen = {0};
        struct reconcile_options o = {.tell = count, .ctx = &seen, .clock = &clock_system};
        struct reconcile_result result;
        mem_fail_at(at, false);
        int rc = profiles_reconcile(&l, &o, &result, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (!hit) {
            assert_int_equal(result.started + result.registered, 2);
            assert_int_equal(result.failed, 0);
        }
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof(path), "%s/scan/gateway-%c", dir, 'a' + k);
            struct stat st;
            if (stat(path, &st) != 0)
                continue;
            strcat(path, "/run");
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 07777, 0755);
            snprintf(path, sizeof(path), "%s/scan", dir);
        }
        snprintf(path, sizeof(path), "gateway-a");
        int fd = open(l.scandir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(slot_tree_remove(fd, "gateway-a", &e), 0);
        assert_int_equal(slot_tree_remove(fd, "gateway-b", &e), 0);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_layout_file),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_bad_states),
        cmocka_unit_test_setup_teardown(test_wishes, setup, teardown),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_boot_log_values),
        cmocka_unit_test_setup_teardown(test_pass_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
