/* Run scripts: replaced with a condition and a backup, brought back; each allocation and each call
 * to the disk failing in turn; the process killed at each of them; two writers. */
#include "s6_rig.h"

#include "s6/dir.h"
#include "s6/run_backup.h"
#include "s6/run_script.h"

#include <errno.h>
#include <sys/stat.h>

/* --- calls to the disk, counted: the n-th fails or kills --- */

static struct {
    int calls, at; /* at 0: nothing happens */
    bool kill;
    void (*before)(int call); /* somebody else's chance */
} disk;

static bool disk_fails(void)
{
    int call = ++disk.calls;
    if (disk.before != NULL)
        disk.before(call);
    if (disk.at == 0 || call != disk.at)
        return false;
    if (disk.kill)
        (void)raise(SIGKILL);
    errno = EIO;
    return true;
}

#define WRAP(type, name, params, args)                                                             \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        return disk_fails() ? -1 : __real_##name args;                                             \
    }
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
WRAP(int, mkdirat, (int fd, const char *p, mode_t mode), (fd, p, mode))
WRAP(int, futimens, (int fd, const struct timespec t[2]), (fd, t))
int __real_openat(int fd, const char *p, int flags, mode_t mode);
int __wrap_openat(int fd, const char *p, int flags, mode_t mode);
int __wrap_openat(int fd, const char *p, int flags, mode_t mode)
{
    return disk_fails() ? -1 : __real_openat(fd, p, flags, mode);
}

/* --- the rig --- */

#define SVC SLICE_LIT("svc")
#define OLD "#!/bin/sh\nold\n"
#define NEW "#!/bin/sh\nnew\n"

static char src[100], backups[100];
static const struct s6_run_place place = {src, backups};
static const struct etag_condition always;

static int setup(void **state)
{
    memset(&disk, 0, sizeof(disk));
    if (rig_setup(state) != 0)
        return 1;
    (void)snprintf(src, sizeof(src), "%s/src", rig_dir);
    (void)snprintf(backups, sizeof(backups), "%s/var/lib/backups", rig_dir);
    rig_mkdir(src);
    rig_mkdir(rig_path("src/svc"));
    rig_write(rig_path("src/svc/run"), OLD);
    return 0;
}

static int teardown(void **state)
{
    memset(&disk, 0, sizeof(disk));
    return rig_teardown(state);
}

static int replace(const char *text, const char *if_match)
{
    struct err e = {0};
    int rc = s6_run_replace(&place, SVC, slice_of(text),
                            &(struct etag_condition){.if_match = slice_of(if_match)}, &e);
    assert_int_equal(rc, e.code);
    return rc;
}

static int revert(int64_t id, const char *want)
{
    struct err e = {0};
    bool no_backup;
    struct buf out = BUF_INIT(S6_RUN_SCRIPT_MAX);
    int rc = s6_run_revert(&place, SVC, id, &always, &out, &no_backup, &e);
    assert_int_equal(rc, e.code);
    if (rc == 0)
        assert_string_equal(out.data, want);
    else
        assert_true(no_backup);
    buf_done(&out);
    return rc;
}

static void read_script(char out[100])
{
    struct buf b = BUF_INIT(S6_RUN_SCRIPT_MAX + 8192);
    assert_int_equal(s6_run_read(src, SVC, &b, NULL), 0);
    (void)snprintf(out, 100, "%s", b.data);
    buf_done(&b);
}

static void assert_script(const char *want)
{
    char text[100];
    read_script(text);
    assert_string_equal(text, want);
}

static struct s6_run_backup list[S6_RUN_BACKUPS];
static size_t n_list;

static void list_backups(void)
{
    assert_int_equal(s6_backup_list(backups, SVC, list, &n_list, NULL), 0);
}

static bool has_backup(const char *text)
{
    char etag[ETAG_SIZE];
    etag_of(etag, slice_of(text));
    list_backups();
    for (size_t i = 0; i < n_list; i++)
        if (strcmp(list[i].etag, etag) == 0)
            return true;
    return false;
}

static size_t count_entries(const char *path)
{
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return 0;
    struct s6_dir d;
    s6_dir_rewind(&d, fd);
    while (s6_dir_next(&d, NULL) != NULL)
        n++;
    close(fd);
    return n;
}

/* --- tests --- */

static void test_replace(void **state)
{
    (void)state;
    struct stat st;
    struct err e;
    assert_int_equal(s6_run_replace(&place, SLICE_LIT("none"), SLICE_LIT("x"), &always, &e),
                     ERR_NOT_FOUND);
    assert_int_equal(replace(NEW, NULL), 0);
    assert_script(NEW);
    assert_int_equal(stat(rig_path("src/svc/run"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(backups, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    list_backups();
    assert_int_equal(n_list, 1);
    assert_int_equal(list[0].id, 1);
    assert_int_equal(list[0].size, strlen(OLD));
    assert_true(has_backup(OLD));
    assert_int_equal(count_entries(rig_path("src/svc")), 1); /* s6-rc-compile sees nothing new */
    rig_mkdir(rig_path("src/link"));
    assert_int_equal(symlink("../svc/run", rig_path("src/link/run")), 0);
    assert_int_equal(s6_run_replace(&place, SLICE_LIT("link"), SLICE_LIT("x"), &always, &e),
                     ERR_DENIED);
    struct buf b = BUF_INIT(S6_RUN_SCRIPT_MAX + 8192);
    assert_int_equal(s6_run_read(src, SLICE_LIT("link"), &b, &e),
                     rig_has_openat2() ? 0 : ERR_DENIED); /* inside the root */
    buf_done(&b);
}

static void test_same_again(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(chmod(rig_path("src/svc/run"), 0600), 0);
    assert_int_equal(replace(OLD, NULL), 0);
    assert_int_equal(stat(rig_path("src/svc/run"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    list_backups();
    assert_int_equal(n_list, 0);
    assert_int_equal(access(backups, F_OK), -1);
}

static void test_conditions(void **state)
{
    (void)state;
    char etag[ETAG_SIZE], list_text[100];
    etag_of(etag, SLICE_LIT(OLD));
    assert_int_equal(replace(NEW, "\"other\""), ERR_PRECONDITION);
    assert_int_equal(replace(NEW, "other"), ERR_SYNTAX);
    assert_script(OLD);
    (void)snprintf(list_text, sizeof(list_text), "\"other\", %s", etag);
    assert_int_equal(replace(NEW, list_text), 0);
    assert_int_equal(replace(OLD, list_text), ERR_PRECONDITION);
    assert_int_equal(replace(OLD, "*"), 0);
    struct err e;
    struct etag_condition none = {.if_none_match = SLICE_LIT("*")};
    assert_int_equal(s6_run_replace(&place, SVC, SLICE_LIT(NEW), &none, &e), ERR_PRECONDITION);
    assert_script(OLD);
}

/* Mode, owner and time of the script go into the backup and come back with it. */
static void test_revert(void **state)
{
    (void)state;
    struct stat st;
    struct timespec then[2] = {{1000, 0}, {1234567890, 5000}};
    bool root = geteuid() == 0;
    assert_int_equal(revert(0, NULL), ERR_NOT_FOUND);
    assert_int_equal(chmod(rig_path("src/svc/run"), 0700), 0);
    assert_int_equal(utimensat(AT_FDCWD, rig_path("src/svc/run"), then, 0), 0);
    if (root)
        assert_int_equal(chown(rig_path("src/svc/run"), 12, 34), 0);
    assert_int_equal(replace(NEW, NULL), 0);
    list_backups();
    assert_int_equal(list[0].time_ns, 1234567890000005000);
    assert_int_equal(revert(0, OLD), 0);
    assert_script(OLD);
    assert_int_equal(stat(rig_path("src/svc/run"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    if (root)
        assert_true(st.st_uid == 12 && st.st_gid == 34);
    for (int i = 0; i < 8; i++) { /* back and forth, without using anything up */
        assert_int_equal(revert(0, i % 2 == 0 ? NEW : OLD), 0);
        list_backups();
        assert_int_equal(n_list, 1);
    }
    assert_int_equal(revert(99, NULL), ERR_NOT_FOUND);
    struct s6_run_place bare = {src, NULL};
    struct buf out = BUF_INIT(1000);
    bool no_backup = false;
    assert_int_equal(s6_run_revert(&bare, SVC, 0, &always, &out, &no_backup, NULL), ERR_NOT_FOUND);
    assert_true(no_backup);
    assert_int_equal(s6_run_replace(&bare, SVC, SLICE_LIT("bare\n"), &always, NULL), 0);
    buf_done(&out);
}

static void test_five_are_kept(void **state)
{
    (void)state;
    char text[20];
    for (int i = 1; i <= 9; i++) {
        (void)snprintf(text, sizeof(text), "v%d\n", i);
        assert_int_equal(replace(text, NULL), 0);
    }
    list_backups();
    assert_int_equal(n_list, S6_RUN_BACKUPS);
    assert_int_equal(count_entries(rig_path("var/lib/backups/svc")), S6_RUN_BACKUPS);
    for (size_t i = 0; i < n_list; i++) /* newest first: v8 v7 v6 v5 v4 */
        assert_int_equal(list[i].id, 9 - (int)i);
    assert_int_equal(revert(list[4].id, "v4\n"), 0);
    assert_true(has_backup("v9\n"));
    assert_int_equal(n_list, S6_RUN_BACKUPS);
    /* What is no backup stays out of the way; what a killed writer left goes. */
    rig_write(rig_path("var/lib/backups/svc/notes"), "x");
    rig_write(rig_path("var/lib/backups/svc/007"), "x");
    rig_write(rig_path("var/lib/backups/svc/.11.0123456789abcdef.tmp"), "x");
    rig_write(rig_path("src/svc/.run.0123456789abcdef.tmp"), "x");
    rig_write(rig_path("src/svc/.run.mine.tmp"), "x");
    assert_int_equal(replace("w\n", NULL), 0);
    assert_int_equal(count_entries(rig_path("var/lib/backups/svc")), S6_RUN_BACKUPS + 2);
    assert_int_equal(count_entries(rig_path("src/svc")), 2);
}

/* A folder that others can write to holds nothing that may run as a service. */
static void test_folder_of_others(void **state)
{
    (void)state;
    rig_mkdir(rig_path("var"));
    rig_mkdir(rig_path("var/lib"));
    rig_mkdir(backups);
    assert_int_equal(chmod(backups, 0777), 0);
    assert_int_equal(replace(NEW, NULL), ERR_DENIED);
    assert_script(OLD);
    assert_int_equal(chmod(backups, 0755), 0);
    assert_int_equal(replace(NEW, NULL), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(backups, 12, 34), 0);
        assert_int_equal(replace(OLD, NULL), ERR_DENIED);
        assert_int_equal(chown(backups, 0, 0), 0);
    }
    assert_int_equal(rename(backups, rig_path("elsewhere")), 0);
    assert_int_equal(symlink("../../elsewhere", backups), 0);
    assert_true(replace(OLD, NULL) < 0);
    assert_script(NEW);
    assert_int_equal(unlink(backups), 0);
    rig_write(backups, "a file");
    assert_true(replace(OLD, NULL) < 0);
    assert_script(NEW);
}

/* Whatever fails: the old or the new script, whole; and if the new one, the old one is kept. */
static void assert_whole(int rc)
{
    char text[100];
    read_script(text);
    if (strcmp(text, OLD) != 0 && strcmp(text, NEW) != 0)
        fail_msg("half a script: \"%s\"", text);
    if (rc == 0)
        assert_string_equal(text, NEW);
    if (strcmp(text, NEW) == 0)
        assert_true(has_backup(OLD));
}

static void start_over(void)
{
    memset(&disk, 0, sizeof(disk));
    (void)nftw(rig_path("var"), rig_remove, 16, FTW_DEPTH | FTW_PHYS);
    rig_write(rig_path("src/svc/run"), OLD);
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        start_over();
        mem_fail_at(n, true);
        int rc = replace(NEW, NULL);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_whole(rc);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        assert_true(n < 200);
    }
    hit = true;
    for (uint64_t n = 1; hit; n++) {
        start_over();
        assert_int_equal(replace(NEW, NULL), 0);
        struct buf out = BUF_INIT(S6_RUN_SCRIPT_MAX);
        bool no_backup;
        mem_fail_at(n, true);
        int rc = s6_run_revert(&place, SVC, 0, &always, &out, &no_backup, NULL);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_script(rc == 0 ? OLD : NEW);
        assert_true(has_backup(rc == 0 ? NEW : OLD));
        buf_done(&out);
    }
}

static void test_each_call_to_the_disk_fails(void **state)
{
    (void)state;
    bool more = true;
    for (int n = 1; more; n++) {
        start_over();
        disk.at = n;
        int rc = replace(NEW, NULL);
        more = disk.calls >= n;
        disk.at = 0;
        assert_whole(rc);
        assert_int_equal(count_entries(rig_path("src/svc")), 1);
        assert_true(n < 200);
    }
    more = true;
    for (int n = 1; more; n++) {
        start_over();
        assert_int_equal(replace(NEW, NULL), 0);
        struct buf out = BUF_INIT(S6_RUN_SCRIPT_MAX);
        bool no_backup;
        disk.calls = 0;
        disk.at = n;
        (void)s6_run_revert(&place, SVC, 0, &always, &out, &no_backup, NULL);
        more = disk.calls >= n;
        disk.at = 0;
        buf_done(&out);
        char text[100];
        read_script(text);
        assert_true(strcmp(text, OLD) == 0 || strcmp(text, NEW) == 0);
        assert_true(has_backup(strcmp(text, OLD) == 0 ? NEW : OLD));
    }
}

/* Killed before each call to the disk, also between the backup and the replacement. */
static void test_killed_anywhere(void **state)
{
    (void)state;
    bool killed = true;
    for (int n = 1; killed; n++) {
        start_over();
        pid_t pid = fork();
        if (pid == 0) {
            disk.calls = 0;
            disk.at = n;
            disk.kill = true;
            _exit(s6_run_replace(&place, SVC, SLICE_LIT(NEW), &always, NULL) == 0 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        killed = WIFSIGNALED(status);
        assert_true(killed || status == 0);
        assert_whole(killed ? ERR_IO : 0);
        assert_int_equal(replace("after\n", NULL), 0); /* and it goes on, without what was left */
        assert_int_equal(count_entries(rig_path("src/svc")), 1);
        list_backups();
        assert_true(n_list <= 2);
        assert_true(n < 200);
    }
}

/* Another program writes the script while ours is between its look and its rename. */
static void other_writes(int call)
{
    if (call != disk.at)
        return;
    disk.before = NULL;
    disk.at = 0;
    rig_write(rig_path("src/svc/run"), "other\n");
}

static void test_other_writer(void **state)
{
    (void)state;
    char etag[ETAG_SIZE];
    etag_of(etag, SLICE_LIT(OLD));
    start_over();
    int calls = disk.calls; /* of rig_write */
    assert_int_equal(replace(NEW, etag), 0);
    calls = disk.calls - calls;
    int seen = 0, lost = 0;
    for (int n = 1; n <= calls; n++) {
        start_over();
        disk.calls = 0;
        disk.at = n;
        disk.before = other_writes;
        int rc = replace(NEW, etag);
        disk.before = NULL;
        char text[100];
        read_script(text);
        if (rc == ERR_PRECONDITION) {
            seen++;
            assert_string_equal(text, "other\n");
            continue;
        }
        /* It wrote before our first look would fail too, so: after the rename, or between the last
         * look and it. */
        assert_int_equal(rc, 0);
        lost += strcmp(text, NEW) == 0;
    }
    assert_true(seen > 5);
    assert_true(lost <= 2); /* the rename itself, and what follows the look right before it */
    /* Without a condition the other's script is what is backed up. */
    for (int n = 1; n <= calls; n++) {
        start_over();
        disk.calls = 0;
        disk.at = n;
        disk.before = other_writes;
        assert_int_equal(replace(NEW, NULL), 0);
        disk.before = NULL;
    }
}

static void always_other(int call)
{
    static bool inside;
    char text[32];
    if (inside)
        return;
    inside = true;
    (void)snprintf(text, sizeof(text), "other %d\n", call);
    rig_write(rig_path("src/svc/run"), text);
    inside = false;
}

static void test_never_ending_writer(void **state)
{
    (void)state;
    disk.before = always_other;
    assert_int_equal(replace(NEW, NULL), ERR_CONFLICT);
    disk.before = NULL;
    char text[100];
    read_script(text);
    assert_int_equal(strncmp(text, "other ", 6), 0);
    assert_int_equal(replace(NEW, NULL), 0);
    list_backups();
    assert_true(n_list <= S6_RUN_BACKUPS);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_replace),
        TEST(test_same_again),
        TEST(test_conditions),
        TEST(test_revert),
        TEST(test_five_are_kept),
        TEST(test_folder_of_others),
        TEST(test_each_allocation_fails),
        TEST(test_each_call_to_the_disk_fails),
        TEST(test_killed_anywhere),
        TEST(test_other_writer),
        TEST(test_never_ending_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
