/* The yardstick for gantry-agent reconcile: a plain loop of system calls that writes the same
 * slots, with nothing of what a pass does besides (reading profiles, checks, log, locks).
 * bench/run.py runs it: slots_write TEMPLATE DIR COUNT. The template is a slot made by the agent;
 * prints the milliseconds of COUNT copies below DIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const folders[] = {
    "log",       "event",         "supervise",          "supervise/event",
    "log/event", "log/supervise", "log/supervise/event"};
static const char *const fifos[] = {"supervise/control", "log/supervise/control"};
static const char *const files[] = {"type", "finish", "timeout-kill", "log/run", "down", "run"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct entry {
    struct stat st;
    char text[65536];
    size_t len;
    int there;
};
static struct entry of_folder[COUNT(folders)], of_fifo[COUNT(fifos)], of_file[COUNT(files)];

static void fail(const char *what)
{
    fprintf(stderr, "slots_write: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void look(int at, const char *name, struct entry *e)
{
    e->there = fstatat(at, name, &e->st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!e->there || !S_ISREG(e->st.st_mode))
        return;
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, e->text, sizeof(e->text));
    if (n < 0)
        fail(name);
    e->len = (size_t)n;
    close(fd);
}

static void own(int at, const char *name, const struct stat *st)
{
    if ((geteuid() == 0 && fchownat(at, name, st->st_uid, st->st_gid, 0) != 0) ||
        fchmodat(at, name, st->st_mode & 07777, 0) != 0)
        fail(name);
}

static void write_slot(int at, const char *staged, const char *name)
{
    int fd = mkdirat(at, staged, 0700) == 0 ? openat(at, staged, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                            : -1;
    if (fd < 0)
        fail(staged);
    for (size_t i = 0; i < COUNT(folders); i++) {
        if (!of_folder[i].there)
            continue;
        if (mkdirat(fd, folders[i], 0700) != 0)
            fail(folders[i]);
        own(fd, folders[i], &of_folder[i].st);
    }
    for (size_t i = 0; i < COUNT(fifos); i++) {
        if (!of_fifo[i].there)
            continue;
        if (mkfifoat(fd, fifos[i], 0600) != 0)
            fail(fifos[i]);
        own(fd, fifos[i], &of_fifo[i].st);
    }
    for (size_t i = 0; i < COUNT(files); i++) {
        const struct entry *e = &of_file[i];
        if (!e->there)
            continue;
        int file = openat(fd, files[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0 || write(file, e->text, e->len) != (ssize_t)e->len ||
            fchmod(file, e->st.st_mode & 07777) != 0 || close(file) != 0)
            fail(files[i]);
    }
    if (fchmod(fd, 0755) != 0 || close(fd) != 0 || renameat(at, staged, at, name) != 0)
        fail(name);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    int n = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0;
    if (n <= 0) {
        fprintf(stderr, "usage: slots_write TEMPLATE DIR COUNT\n");
        return 2;
    }
    int from = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        to = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0)
        fail(from < 0 ? argv[1] : argv[2]);
    for (size_t i = 0; i < COUNT(folders); i++)
        look(from, folders[i], &of_folder[i]);
    for (size_t i = 0; i < COUNT(fifos); i++)
        look(from, fifos[i], &of_fifo[i]);
    for (size_t i = 0; i < COUNT(files); i++)
        look(from, files[i], &of_file[i]);
    double began = now_ms();
    for (int i = 0; i < n; i++) {
        char staged[64], name[64];
        (void)snprintf(staged, sizeof(staged), ".new-%d", i);
        (void)snprintf(name, sizeof(name), "gateway-p%d", i);
        write_slot(to, staged, name);
    }
    printf("%.1f\n", now_ms() - began);
    return 0;
}
