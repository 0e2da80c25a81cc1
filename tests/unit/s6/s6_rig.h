/* s6_rig.h: a folder of its own for each test, and small files in it. */
#ifndef GANTRY_TEST_S6_RIG_H
#define GANTRY_TEST_S6_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "s6/place.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char rig_dir[64];

/* A scan directory of our own. */
#define PLACE(dir) ((struct s6_place){.scandir = (dir)})

static inline int rig_setup(void **state)
{
    (void)state;
    mem_fail_at(0, false);
    (void)snprintf(rig_dir, sizeof(rig_dir), "/tmp/gantry-s6-XXXXXX");
    return mkdtemp(rig_dir) == NULL;
}

static inline int rig_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static inline int rig_teardown(void **state)
{
    (void)state;
    mem_fail_at(0, false);
    return nftw(rig_dir, rig_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "<rig_dir>/<rest>"; a few at a time. */
static inline const char *rig_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline const char *rig_path(const char *fmt, ...)
{
    static char paths[8][512];
    static int next;
    char *p = paths[next++ % 8];
    int n = snprintf(p, 512, "%s/", rig_dir);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(p + n, 512 - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

/* Without openat2 (old kernels, valgrind) links are refused even inside their root. */
static inline bool rig_has_openat2(void)
{
    struct open_how how = {.flags = O_PATH};
    long fd = syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));
    if (fd >= 0)
        close((int)fd);
    return fd >= 0;
}

static inline void rig_mkdir(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

static inline void rig_put(const char *path, int flags, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
}

static inline void rig_write(const char *path, const char *text)
{
    rig_put(path, O_TRUNC, text, strlen(text));
}

static inline void rig_append(const char *path, const char *text)
{
    rig_put(path, O_APPEND, text, strlen(text));
}

/* Holds a lock on <service>/supervise/lock, as s6-supervise does, and reads its fifo, until killed.
 */
static inline pid_t rig_supervise(const char *service)
{
    char path[600];
    int ready[2];
    char c = 0;
    rig_mkdir(service);
    (void)snprintf(path, sizeof(path), "%s/supervise", service);
    rig_mkdir(path);
    (void)snprintf(path, sizeof(path), "%s/run", service);
    rig_write(path, "#!/bin/sh\n");
    (void)snprintf(path, sizeof(path), "%s/supervise/control", service);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
        int fifo = open(path, O_RDWR);
        (void)snprintf(path, sizeof(path), "%s/supervise/lock", service);
        int fd = open(path, O_RDWR | O_CREAT, 0644);
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fifo < 0 || fcntl(fd, F_SETLK, &l) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        (void)snprintf(path, sizeof(path), "%s/commands", service);
        int out = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        char b[64];
        for (ssize_t n; (n = read(fifo, b, sizeof(b))) > 0;)
            if (write(out, b, (size_t)n) != n)
                _exit(1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static inline void rig_unsupervise(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static inline void rig_big_endian(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

#define RIG_LEAPS 27 /* since 2017 */
/* A status file's bytes, for times since 2017; pgid 0 gives the 35-byte form. */
static inline size_t rig_status(uint8_t out[43], int64_t since, uint32_t nano, int64_t ready_since,
                                int64_t pid, int64_t pgid, unsigned wait_status, unsigned flags)
{
    size_t n = 32;
    rig_big_endian(out, (1ull << 62) + 10 + RIG_LEAPS + (uint64_t)since, 8);
    rig_big_endian(out + 8, nano, 4);
    rig_big_endian(out + 12, (1ull << 62) + 10 + RIG_LEAPS + (uint64_t)ready_since, 8);
    rig_big_endian(out + 20, nano, 4);
    rig_big_endian(out + 24, (uint64_t)pid, 8);
    if (pgid != 0) {
        rig_big_endian(out + n, (uint64_t)pgid, 8);
        n += 8;
    }
    rig_big_endian(out + n, wait_status, 2);
    out[n + 2] = (uint8_t)flags;
    return n + 3;
}

/* As s6-supervise writes it: a new file renamed into place. */
static inline void rig_put_status(const char *service, const uint8_t *p, size_t n)
{
    char path[600], temp[600];
    (void)snprintf(path, sizeof(path), "%s/supervise/status", service);
    (void)snprintf(temp, sizeof(temp), "%s/supervise/status.new", service);
    rig_put(temp, O_TRUNC, p, n);
    assert_int_equal(rename(temp, path), 0);
}

#endif
