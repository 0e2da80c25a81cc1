/* The file of a gateway's variables: what is written comes back; whatever else somebody puts there
 * is refused, and never told. */
#include "s6_rig.h"

#include "s6/profile_env.h"

static struct profile_layout l;
static int folder = -1;

static int setup(void **state)
{
    struct err e;
    if (rig_setup(state) != 0 || profile_layout_init(&l, NULL, &e) != 0)
        return -1;
    folder = open(rig_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    close(folder);
    return rig_teardown(state);
}

static void put(const char *name, const char *text, size_t n)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
}

static void test_round_trip(void **state)
{
    (void)state;
    const struct slot_env env[] = {{SLICE_LIT("B"), SLICE_LIT(" it's \t$HOME=x ")},
                                   {SLICE_LIT("_a1"), SLICE_LIT("")},
                                   {SLICE_LIT("U"), SLICE_LIT("\xc3\xa9#")}};
    struct profile_env got;
    struct err e = {0};
    struct stat st;
    assert_int_equal(profile_env_write(folder, &l, env, 3, (uid_t)-1, (gid_t)-1, &e), 0);
    assert_int_equal(fstatat(folder, "gateway.env", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(profile_env_read(folder, &l, &got, &e), 0);
    assert_int_equal(got.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(slice_eq(got.item[i].name, env[i].name));
        assert_true(slice_eq(got.item[i].value, env[i].value));
    }
    profile_env_done(&got);
    /* None: the file goes, and none is fine. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(profile_env_write(folder, &l, NULL, 0, (uid_t)-1, (gid_t)-1, &e), 0);
        assert_int_equal(profile_env_read(folder, &l, &got, &e), 0);
        assert_int_equal(got.n, 0);
        profile_env_done(&got);
    }
    assert_int_equal(faccessat(folder, "gateway.env", F_OK, 0), -1);
}

/* As large as it may be written, it can be read again. */
static void test_the_largest(void **state)
{
    (void)state;
    static char names[SLOT_ENV_MAX][SLOT_ENV_NAME_MAX + 1], value[SLOT_ENV_VALUE_MAX];
    struct slot_env env[SLOT_ENV_MAX];
    struct profile_env got;
    struct err e = {0};
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < SLOT_ENV_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "N%0*d", SLOT_ENV_NAME_MAX - 1, i);
        env[i] = (struct slot_env){slice_of(names[i]), {value, sizeof(value)}};
    }
    assert_int_equal(profile_env_write(folder, &l, env, SLOT_ENV_MAX, (uid_t)-1, (gid_t)-1, &e), 0);
    assert_int_equal(profile_env_read(folder, &l, &got, &e), 0);
    assert_int_equal(got.n, SLOT_ENV_MAX);
    struct slot_text t;
    assert_int_equal(slot_render(&t, &l, slice_of("a"), false, got.item, got.n, &e), 0);
    assert_true(t.secret);
    slot_text_done(&t);
    profile_env_done(&got);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        size_t n;
        const char *message;
    } rows[] = {
        {"", 0, 0, NULL},
        {"\n\n# a comment\nA=1\n", 0, 1, NULL},
        {"A=1", 0, 1, NULL},
        {"A=1\nA=2\n", 0, 2, NULL},
        {"A=x\r\n", 0, 1, NULL},
        {"A=1\nsecret\n", ERR_INVALID, 0, "gateway.env:2: this line is not NAME=VALUE"},
        {"1A=secret\n", ERR_INVALID, 0, "gateway.env:1: \"1A\" is no name of a variable"},
        {" A=secret\n", ERR_INVALID, 0, "gateway.env:1: \" A\" is no name of a variable"},
        {"=secret\n", ERR_INVALID, 0, "gateway.env:1: \"\" is no name of a variable"},
        {"A\xff=secret\n", ERR_INVALID, 0, NULL},
        {"A=sec\xffret\n", ERR_INVALID, 0,
         "gateway.env:1: the value of \"A\" is not one line of text"},
        {"A=$(id)`id`'\"\n", 0, 1, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct profile_env got;
        struct err e = {0};
        put("gateway.env", rows[i].text, strlen(rows[i].text));
        assert_int_equal(profile_env_read(folder, &l, &got, &e), rows[i].rc);
        assert_int_equal(got.n, rows[i].n);
        if (rows[i].message != NULL)
            assert_string_equal(e.msg, rows[i].message);
        assert_null(strstr(e.msg, "secret"));
        profile_env_done(&got);
    }
}

static void expect_refused(int code)
{
    struct profile_env got;
    struct err e = {0};
    assert_int_equal(profile_env_read(folder, &l, &got, &e), code);
    assert_int_equal(got.n, 0);
    profile_env_done(&got);
    assert_int_equal(unlinkat(folder, "gateway.env", 0), 0);
}

static void test_other_things(void **state)
{
    (void)state;
    static char big[PROFILE_ENV_FILE_MAX + 1];
    put("x", "A=1\n", 4);
    assert_int_equal(symlinkat("x", folder, "gateway.env"), 0);
    expect_refused(ERR_DENIED);
    assert_int_equal(linkat(folder, "x", folder, "gateway.env", 0), 0);
    expect_refused(ERR_DENIED);
    assert_int_equal(mkfifoat(folder, "gateway.env", 0600), 0);
    expect_refused(ERR_INVALID);
    put("gateway.env", "A=1\0\n", 5);
    expect_refused(ERR_INVALID);
    memset(big, '#', sizeof(big));
    put("gateway.env", big, sizeof(big));
    expect_refused(ERR_LIMIT);
    memset(big, '\n', sizeof(big));
    for (size_t i = 0; i < SLOT_ENV_MAX + 1; i++)
        memcpy(big + 4 * i, "A=1\n", 4);
    put("gateway.env", big, PROFILE_ENV_FILE_MAX);
    expect_refused(ERR_LIMIT);
    if (geteuid() == 0) {
        put("gateway.env", "A=1\n", 4);
        assert_int_equal(fchownat(folder, "gateway.env", 4321, 4321, 0), 0);
        expect_refused(ERR_DENIED);
    }
    struct profile_env got;
    assert_int_equal(mkdirat(folder, "gateway.env", 0700), 0);
    assert_int_equal(profile_env_read(folder, &l, &got, NULL), ERR_INVALID);
    profile_env_done(&got);
    assert_int_equal(unlinkat(folder, "gateway.env", AT_REMOVEDIR), 0);
}

static void test_layouts_without(void **state)
{
    (void)state;
    struct profile_layout h;
    struct profile_env got;
    struct err e = {0};
    const struct slot_env env = {SLICE_LIT("A"), SLICE_LIT("1")};
    assert_int_equal(profile_layout_init(&h, "hermes", &e), 0);
    assert_false(profile_env_kept(&h));
    put("gateway.env", "A=1\n", 4);
    assert_int_equal(profile_env_read(folder, &h, &got, &e), 0);
    assert_int_equal(got.n, 0);
    profile_env_done(&got);
    assert_int_equal(profile_env_write(folder, &h, &env, 1, (uid_t)-1, (gid_t)-1, &e),
                     ERR_UNSUPPORTED);
    assert_int_equal(profile_layout_set(&h, slice_of("env_file"), slice_of("my.env"), &e), 0);
    assert_int_equal(profile_env_write(folder, &h, &env, 1, (uid_t)-1, (gid_t)-1, &e), 0);
    assert_int_equal(faccessat(folder, "my.env", F_OK, 0), 0);
    assert_int_equal(profile_layout_set(&h, slice_of("env_file"), slice_of("../x"), &e),
                     ERR_INVALID);
}

/* Variables may be LD_PRELOAD: root's part of the script must not see them. */
static void test_the_script_drops_first(void **state)
{
    (void)state;
    struct slot_text t;
    struct err e = {0};
    const struct slot_env env = {SLICE_LIT("LD_PRELOAD"), SLICE_LIT("/x.so")};
    assert_int_equal(slot_render(&t, &l, slice_of("a"), false, &env, 1, &e), 0);
    const char *drop =
        strstr(t.run.data, "    exec s6-setuidgid gantry /bin/sh ./run \"$@\"\nfi\n");
    const char *set = strstr(t.run.data, "export LD_PRELOAD=/x.so\n");
    assert_true(drop != NULL && set != NULL && drop < set);
    slot_text_done(&t);
    /* Without variables it is the script of the contract. */
    assert_int_equal(slot_render(&t, &l, slice_of("a"), false, NULL, 0, &e), 0);
    assert_null(strstr(t.run.data, "./run"));
    assert_false(t.secret);
    slot_text_done(&t);
}

static void test_without_memory(void **state)
{
    (void)state;
    const struct slot_env env = {SLICE_LIT("A"), SLICE_LIT("1")};
    struct err e = {0};
    bool hit = true;
    assert_int_equal(profile_env_write(folder, &l, &env, 1, (uid_t)-1, (gid_t)-1, &e), 0);
    for (uint64_t at = 1; hit; at++) {
        struct profile_env got;
        mem_fail_at(at, false);
        int rc = profile_env_read(folder, &l, &got, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        assert_int_equal(got.n, hit ? 0 : 1);
        profile_env_done(&got);
    }
    hit = true;
    for (uint64_t at = 1; hit; at++) {
        mem_fail_at(at, false);
        int rc = profile_env_write(folder, &l, &env, 1, (uid_t)-1, (gid_t)-1, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_things, setup, teardown),
        cmocka_unit_test_setup_teardown(test_layouts_without, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_script_drops_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
