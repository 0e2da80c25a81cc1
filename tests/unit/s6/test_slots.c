/* Many slots made at once: the same files and modes as one by one, under any umask, in any scandir,
 * and none or all of each when something fails. */
#include "s6_rig.h"

#include "s6/dir.h"
#include "s6/slot.h"

#define MANY 20

static struct profile_layout l;
static char names[MANY][8];
static struct slot_wish wishes[MANY];

static int setup(void **state)
{
    struct err e;
    if (rig_setup(state) != 0 || profile_layout_init(&l, NULL, &e) != 0)
        return -1;
    (void)snprintf(l.scandir, sizeof(l.scandir), "%s/scan", rig_dir);
    if (mkdir(l.scandir, 0755) != 0 || chmod(l.scandir, 0755) != 0)
        return -1;
    for (int i = 0; i < MANY; i++)
        (void)snprintf(names[i], sizeof(names[i]), "p%d", i);
    return 0;
}

static const struct slot_env variable = {{"A", 1}, {"1", 1}};

/* Every third is up, every fourth has a variable. */
static void ensure(struct slots *s, bool force)
{
    memset(wishes, 0, sizeof(wishes));
    for (int i = 0; i < MANY; i++)
        wishes[i] = (struct slot_wish){.name = slice_of(names[i]),
                                       .up = i % 3 == 0,
                                       .env = &variable,
                                       .n_env = i % 4 == 0 ? 1 : 0};
    slots_ensure(s, wishes, MANY, force);
}

static void expect_mode(const struct slots *s, const char *name, const char *file, mode_t mode)
{
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "gateway-%s/%s", name, file);
    assert_int_equal(fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    bool node = strstr(file, "event") != NULL || strstr(file, "supervise") != NULL;
    if (geteuid() == 0)
        assert_int_equal(st.st_uid, node ? l.uid : 0);
}

static void expect_slot(const struct slots *s, int i)
{
    const char *n = names[i];
    static const char *const plain[] = {"type", "timeout-kill"}, *const scripts[] = {"finish",
                                                                                     "log",
                                                                                     "log/run", ""};
    static const char *const at[] = {"", "log/"};
    char path[64];
    for (size_t k = 0; k < ARRAY_LEN(plain); k++)
        expect_mode(s, n, plain[k], 0644);
    for (size_t k = 0; k < ARRAY_LEN(scripts); k++)
        expect_mode(s, n, scripts[k], 0755);
    expect_mode(s, n, "run", i % 4 == 0 ? 0750 : 0755);
    if (i % 3 != 0)
        expect_mode(s, n, "down", 0644);
    for (size_t k = 0; k < ARRAY_LEN(at) && geteuid() == 0; k++) {
        (void)snprintf(path, sizeof(path), "%sevent", at[k]);
        expect_mode(s, n, path, 03730);
        (void)snprintf(path, sizeof(path), "%ssupervise", at[k]);
        expect_mode(s, n, path, 0711);
        (void)snprintf(path, sizeof(path), "%ssupervise/event", at[k]);
        expect_mode(s, n, path, 03730);
        (void)snprintf(path, sizeof(path), "%ssupervise/control", at[k]);
        expect_mode(s, n, path, 0660);
    }
}

static void test_modes(void **state)
{
    (void)state;
    static const mode_t umasks[] = {0, 022, 077};
    struct slots s;
    struct err e = {0};
    for (int exact = 0; exact < 3;
         exact++) { /* by hand; by umask; in a folder that gives its group */
        assert_int_equal(chmod(l.scandir, exact == 2 ? 02755 : 0755), 0);
        assert_int_equal(slots_open(&s, &l, &e), 0);
        if (exact > 0)
            slots_exact(&s);
        assert_int_equal(s.exact, exact == 1);
        for (size_t m = 0; m < ARRAY_LEN(umasks); m++) {
            mode_t was = umask(umasks[m]);
            ensure(&s, false);
            assert_int_equal(umask(was), umasks[m]);
            for (int i = 0; i < MANY; i++) {
                char slot[512];
                assert_int_equal(wishes[i].e.code, 0);
                assert_int_equal(wishes[i].outcome, SLOT_MADE);
                expect_slot(&s, i);
                (void)snprintf(slot, sizeof(slot), "gateway-%s", names[i]);
                assert_int_equal(slot_tree_remove(s.fd, slot, &e), 0);
            }
        }
        slots_close(&s);
    }
}

static size_t count_dots(const struct slots *s)
{
    struct s6_dir d;
    const char *name;
    size_t n = 0;
    s6_dir_rewind(&d, s->fd);
    while ((name = s6_dir_next(&d, NULL)) != NULL)
        n += name[0] == '.' && strcmp(name, ".pg.lock") != 0;
    return n;
}

/* What is there already: the same, another, a file, a link. */
static void test_outcomes(void **state)
{
    (void)state;
    struct slots s;
    struct err e = {0};
    assert_int_equal(slots_open(&s, &l, &e), 0);
    slots_exact(&s);
    ensure(&s, false);
    assert_int_equal(unlinkat(s.fd, "gateway-p1/down", 0), 0);
    assert_int_equal(slot_tree_remove(s.fd, "gateway-p2", &e), 0);
    assert_int_equal(symlinkat("/etc", s.fd, "gateway-p2"), 0);
    assert_int_equal(slot_tree_remove(s.fd, "gateway-p5", &e), 0);
    close(openat(s.fd, "gateway-p5", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(fchmodat(s.fd, "gateway-p4/run", 0755, 0), 0); /* it has a variable */
    ensure(&s, false);
    for (int i = 0; i < MANY; i++) {
        bool other = i == 1 || i == 2 || i == 4 || i == 5;
        assert_int_equal(wishes[i].e.code, 0);
        assert_int_equal(wishes[i].outcome, other ? SLOT_REPLACED : SLOT_SAME);
        expect_slot(&s, i);
    }
    assert_int_equal(count_dots(&s), 0);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
    slots_close(&s);
}

static void test_bad_ones_do_not_harm(void **state)
{
    (void)state;
    struct slots s;
    struct err e = {0};
    const struct slot_env bad = {SLICE_LIT("A B"), SLICE_LIT("1")};
    assert_int_equal(slots_open(&s, &l, &e), 0);
    memset(wishes, 0, sizeof(wishes));
    for (int i = 0; i < MANY; i++)
        wishes[i] = (struct slot_wish){
            .name = slice_of(i == 7 ? "Bad Name" : names[i]), .env = &bad, .n_env = i == 9 ? 1 : 0};
    slots_ensure(&s, wishes, MANY, false);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(wishes[i].e.code, i == 7 || i == 9 ? ERR_INVALID : 0);
    assert_int_equal(count_dots(&s), 0);
    slots_ensure(&s, wishes, 0, false);
    slots_close(&s);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct slots s;
    struct err e = {0};
    bool hit = true;
    assert_int_equal(slots_open(&s, &l, &e), 0);
    slots_exact(&s);
    for (uint64_t at = 1; hit; at += 37) {
        size_t failed = 0;
        mem_fail_at(at, false);
        ensure(&s, false);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        for (int i = 0; i < MANY; i++) {
            char slot[512];
            (void)snprintf(slot, sizeof(slot), "gateway-%s", names[i]);
            struct stat st;
            bool there = fstatat(s.fd, slot, &st, 0) == 0;
            assert_true(wishes[i].e.code == 0 || wishes[i].e.code == ERR_NO_MEMORY);
            assert_int_equal(there, wishes[i].e.code == 0);
            failed += wishes[i].e.code != 0;
            if (there)
                expect_slot(&s, i);
            assert_int_equal(slot_tree_remove(s.fd, slot, &e), 0);
        }
        assert_int_equal(failed, hit ? 1 : 0);
        assert_int_equal(count_dots(&s), 0);
    }
    slots_close(&s);
}

/* Whether s6-svscan has come to what it was told is another question than whether it reads. */
static void test_what_is_unread(void **state)
{
    (void)state;
    struct slots s;
    struct err e = {0};
    char text[8];
    assert_int_equal(slots_open(&s, &l, &e), 0);
    assert_false(slots_scanned(&s));
    assert_false(slots_unread(&s));
    assert_int_equal(mkdirat(s.fd, ".s6-svscan", 0700), 0);
    assert_int_equal(mkfifoat(s.fd, ".s6-svscan/control", 0600), 0);
    assert_false(slots_unread(&s)); /* nobody reads */
    int fd = openat(s.fd, ".s6-svscan/control", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(slots_scanned(&s));
    assert_false(slots_unread(&s));
    assert_int_equal(slots_rescan(&s, SLOTS_NEW, &e), 0);
    assert_true(slots_unread(&s));
    assert_int_equal(read(fd, text, sizeof(text)), 1);
    assert_false(slots_unread(&s));
    close(fd);
    slots_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_modes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_outcomes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_bad_ones_do_not_harm, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_unread, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
