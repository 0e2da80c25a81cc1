#include "unit.h"

#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Which call fails, how, and after how many good ones. The tests are linked with --wrap. */
enum which { NONE, WRITE, FSYNC, RENAME, READ, CHMOD };
static struct {
    enum which which;
    int errno_value, after;
    bool short_writes, interrupt;
} fault;

static bool must_fail(enum which which)
{
    if (fault.which != which || fault.after-- > 0)
        return false;
    errno = fault.errno_value;
    return true;
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (must_fail(WRITE))
        return -1;
    if (fault.interrupt) {
        fault.interrupt = false;
        errno = EINTR;
        return -1;
    }
    return __real_write(fd, p, fault.short_writes && n > 1 ? 1 : n);
}
ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n)
{
    if (must_fail(READ))
        return -1;
    return __real_read(fd, p, fault.short_writes && n > 1 ? 1 : n);
}
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return must_fail(FSYNC) ? -1 : __real_fsync(fd);
}
int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
    return must_fail(CHMOD) ? -1 : __real_fchmod(fd, mode);
}
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new)
{
    return must_fail(RENAME) ? -1 : __real_renameat(from, old, to, new);
}

static char folder[64];
static int dir = -1;

static int setup(void **state)
{
    (void)state;
    memset(&fault, 0, sizeof(fault));
    snprintf(folder, sizeof(folder), "/tmp/gantry-file-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 ? -1 : 0;
}

static int count_files(bool and_remove)
{
    int n = 0;
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY));
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        n++;
        if (and_remove && unlinkat(dir, e->d_name, 0) != 0)
            unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    return n;
}

static int teardown(void **state)
{
    (void)state;
    memset(&fault, 0, sizeof(fault));
    count_files(true);
    close(dir);
    return rmdir(folder);
}

static void assert_content(const char *name, const char *want)
{
    struct buf b = BUF_INIT(100);
    struct err e = {0};
    if (file_read(dir, name, 0, &b, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.len > 0 ? b.data : "", want, b.len);
    buf_done(&b);
}

static int replace(const char *name, const char *text, mode_t mode, struct err *e)
{
    return file_replace(dir, name, slice_of(text), mode, (uid_t)-1, (gid_t)-1, e);
}

static void replaces(void **state)
{
    (void)state;
    struct err e;
    struct stat st;
    assert_int_equal(replace("a", "one", 0640, &e), 0);
    assert_content("a", "one");
    assert_int_equal(fstatat(dir, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(file_replace(dir, "a", SLICE_LIT("two"), 0755, getuid(), getgid(), &e), 0);
    assert_content("a", "two");
    assert_int_equal(fstatat(dir, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(replace("a", "", 0600, &e), 0);
    assert_content("a", "");
    assert_int_equal(count_files(false), 1);
    /* paths with folders, absolute ones, and a link: replaced, not followed */
    char path[128];
    assert_int_equal(mkdirat(dir, "sub", 0755), 0);
    assert_int_equal(replace("sub/b", "b", 0600, &e), 0);
    assert_content("sub/b", "b");
    snprintf(path, sizeof(path), "%s/sub/b", folder);
    assert_int_equal(file_replace(AT_FDCWD, path, SLICE_LIT("c"), 0600, (uid_t)-1, (gid_t)-1, &e),
                     0);
    assert_content("sub/b", "c");
    assert_int_equal(unlinkat(dir, "sub/b", 0), 0);
    assert_int_equal(symlinkat("a", dir, "link"), 0);
    assert_int_equal(replace("link", "not through", 0600, &e), 0);
    assert_content("a", "");
    assert_content("link", "not through");
}

static void bad_places(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(replace("no/such", "x", 0600, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "\"no\""));
    assert_int_equal(replace("", "x", 0600, &e), ERR_INVALID);
    assert_int_equal(replace("..", "x", 0600, &e), ERR_INVALID);
    assert_int_equal(replace("sub/", "x", 0600, &e), ERR_INVALID);
    assert_int_equal(mkdirat(dir, "d", 0755), 0);
    assert_int_equal(replace("d", "x", 0600, &e), ERR_IO); /* EISDIR */
    assert_int_equal(count_files(false), 1);
}

/* Whatever fails, the old file is whole and no temporary one is left. */
static void failures_leave_the_old_file(void **state)
{
    (void)state;
    static const struct {
        enum which which;
        int errno_value, after, code;
    } cases[] = {
        {WRITE, ENOSPC, 0, ERR_NO_SPACE}, {WRITE, ENOSPC, 3, ERR_NO_SPACE},
        {WRITE, EIO, 0, ERR_IO},          {FSYNC, ENOSPC, 0, ERR_NO_SPACE},
        {FSYNC, EIO, 0, ERR_IO},          {RENAME, ENOSPC, 0, ERR_NO_SPACE},
        {CHMOD, EPERM, 0, ERR_DENIED},
    };
    struct err e;
    assert_int_equal(replace("a", "the old text", 0600, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memset(&fault, 0, sizeof(fault));
        fault.short_writes = true;
        fault.which = cases[i].which;
        fault.errno_value = cases[i].errno_value;
        fault.after = cases[i].after;
        assert_int_equal(replace("a", "a new text", 0600, &e), cases[i].code);
        assert_int_equal(e.sys, cases[i].errno_value);
        fault.which = NONE;
        assert_content("a", "the old text");
        assert_int_equal(count_files(false), 1);
    }
    /* The folder cannot be synced: told, and the new file is there, whole. */
    fault.which = FSYNC;
    fault.errno_value = EIO;
    fault.after = 1;
    assert_int_equal(replace("a", "a new text", 0600, &e), ERR_IO);
    fault.which = FSYNC;
    fault.errno_value = EINVAL;
    fault.after = 1;
    assert_int_equal(replace("a", "a new text", 0600, &e), 0);
    fault.which = NONE;
    assert_content("a", "a new text");
    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int r = replace("a", "third", 0600, &e);
        assert_int_equal(r, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        assert_int_equal(count_files(false), 1);
    }
    assert_content("a", "third");
}

static void writes_all(void **state)
{
    (void)state;
    struct err e;
    fault.short_writes = true;
    fault.interrupt = true;
    assert_int_equal(replace("a", "slowly written", 0600, &e), 0);
    assert_content("a", "slowly written");
}

static void reads_within_limits(void **state)
{
    (void)state;
    struct err e;
    struct buf b = BUF_INIT(10);
    assert_int_equal(replace("a", "0123456789", 0600, &e), 0);
    assert_int_equal(file_read(dir, "a", 0, &b, &e), 0);
    assert_buf_is(&b, "0123456789");
    assert_int_equal(file_read(dir, "a", 0, &b, &e), ERR_LIMIT);
    assert_buf_is(&b, "0123456789");
    buf_clear(&b);
    buf_adds(&b, "x");
    assert_int_equal(file_read(dir, "a", 0, &b, &e), ERR_LIMIT);
    assert_buf_is(&b, "x");
    fault.which = READ;
    fault.errno_value = EIO;
    buf_clear(&b);
    assert_int_equal(file_read(dir, "a", 0, &b, &e), ERR_IO);
    fault.which = NONE;
    assert_int_equal(file_read(dir, "none", 0, &b, &e), ERR_NOT_FOUND);
    assert_int_equal(file_read(dir, ".", 0, &b, &e), ERR_INVALID);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(file_read(dir, "fifo", 0, &b, &e), ERR_INVALID); /* and does not wait */
    assert_int_equal(symlinkat("a", dir, "link"), 0);
    assert_int_equal(file_read(dir, "link", 0, &b, &e), 0);
    buf_clear(&b);
    assert_int_equal(file_read(dir, "link", O_NOFOLLOW, &b, &e), ERR_IO); /* ELOOP */
    buf_done(&b);
    /* A file that says 0 bytes and has more. */
    struct buf big = BUF_INIT(1 << 20);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 0, &big, &e), 0);
    assert_true(big.len > 100);
    buf_clear(&big);
    big.max = 20;
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 0, &big, &e), ERR_LIMIT);
    assert_int_equal(big.len, 0);
    buf_done(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replaces, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_places, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_leave_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_all, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_within_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
