#include "base/file.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_STEP = 16384, TEMP_TRIES = 16, TEMP_RANDOM = 8 };

static int read_fd(int fd, const char *path, size_t hint, struct buf *out, struct err *e)
{
    for (;;) {
        size_t room = out->max - out->len, want = hint > 0 ? hint : READ_STEP;
        char beyond;
        if (want > room)
            want = room;
        if (want > 0 && buf_reserve(out, want) != 0)
            return err_set(e, out->err, "\"%s\": no memory for %zu bytes", path, want);
        /* A full buffer is fine if the file ends right there. */
        ssize_t n = want > 0 ? read(fd, out->data + out->len, want) : read(fd, &beyond, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, errno, "cannot read \"%s\"", path);
        if (n == 0)
            return 0;
        if (want == 0)
            return err_set(e, ERR_LIMIT, "\"%s\" is larger than %zu bytes", path, out->max);
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        hint = hint > (size_t)n ? hint - (size_t)n : 0;
    }
}

int file_read(int dirfd, const char *path, int flags, struct buf *out, struct err *e)
{
    struct stat st;
    if (out->err != 0)
        return err_set(e, out->err, "\"%s\": the buffer has failed before", path);
    _cleanup_(file_closep) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s\"", path);
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot stat \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "\"%s\" is not a regular file", path);
    size_t before = out->len;
    if (st.st_size > 0 && (uint64_t)st.st_size > out->max - before)
        return err_set(e, ERR_LIMIT, "\"%s\" is larger than %zu bytes", path, out->max);
    /* Files of /proc say 0 bytes; others say how much there is to come. */
    int r = read_fd(fd, path, (size_t)st.st_size, out, e);
    if (r != 0) {
        out->len = before;
        if (out->data != NULL)
            out->data[before] = '\0';
    }
    return r;
}

int file_write_all(int fd, struct slice content, struct err *e)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.p, content.len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(e, errno, "cannot write");
        }
        if (n == 0)
            return err_sys(e, ENOSPC, "cannot write");
        content.p += n;
        content.len -= (size_t)n;
    }
    return 0;
}

/* A replacement under way. */
struct swap {
    int folder;
    const char *path, *name; /* as the caller wrote it; its last part */
    char *temp;              /* owned */
    int fd;
};

static void swap_done(struct swap *s)
{
    file_closep(&s->fd);
    file_closep(&s->folder);
    mem_free(s->temp);
}

static int open_folder(struct swap *s, int dirfd, struct err *e)
{
    const char *slash = strrchr(s->path, '/');
    s->name = slash != NULL ? slash + 1 : s->path;
    if (s->name[0] == '\0' || strcmp(s->name, ".") == 0 || strcmp(s->name, "..") == 0)
        return err_set(e, ERR_INVALID, "\"%s\" does not name a file", s->path);
    _cleanup_(mem_freep) char *dir = NULL;
    if (slash == NULL)
        dir = mem_strdup(".");
    else
        dir = mem_strndup(s->path, slash == s->path ? 1 : (size_t)(slash - s->path));
    if (dir == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->folder = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->folder < 0 ? err_sys(e, errno, "cannot open the folder \"%s\"", dir) : 0;
}

/* The name is random, so nobody can lay a link in its place; O_EXCL would refuse one anyway. */
static int create_temp(struct swap *s, struct err *e)
{
    size_t size = strlen(s->name) + sizeof("..") + 2u * TEMP_RANDOM + sizeof(".tmp");
    s->temp = mem_alloc(size);
    if (s->temp == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < TEMP_TRIES; i++) {
        unsigned char random[TEMP_RANDOM];
        char hex[2 * TEMP_RANDOM + 1];
        if (clock_system.random(clock_system.ctx, random, sizeof(random)) != 0)
            return err_set(e, ERR_IO, "no randomness for a temporary name");
        hex_encode(hex, random, sizeof(random));
        (void)snprintf(s->temp, size, ".%s.%s.tmp", s->name, hex);
        s->fd =
            openat(s->folder, s->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (s->fd >= 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return err_sys(e, errno, "cannot create a temporary file for \"%s\"", s->path);
}

static int fill_temp(struct swap *s, struct slice content, const struct file_swap *how,
                     struct err *e)
{
    int r = file_write_all(s->fd, content, e);
    if (r != 0)
        return r;
    /* The owner first: a change of owner takes set-id bits away again. */
    if ((how->uid != (uid_t)-1 || how->gid != (gid_t)-1) && fchown(s->fd, how->uid, how->gid) != 0)
        return err_sys(e, errno, "cannot give the file to %ld:%ld", (long)how->uid, (long)how->gid);
    if (fchmod(s->fd, how->mode) != 0)
        return err_sys(e, errno, "cannot set mode %04o", (unsigned)how->mode);
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        how->mtime != NULL ? *how->mtime : (struct timespec){.tv_nsec = UTIME_OMIT}};
    if (how->mtime != NULL && futimens(s->fd, times) != 0)
        return err_sys(e, errno, "cannot set the time");
    if (fsync(s->fd) != 0)
        return err_sys(e, errno, "cannot sync");
    return 0;
}

int file_replace_with(int dirfd, const char *path, struct slice content,
                      const struct file_swap *how, struct err *e)
{
    _cleanup_(swap_done) struct swap s = {.folder = -1, .path = path, .fd = -1};
    int r = open_folder(&s, dirfd, e);
    if (r == 0)
        r = create_temp(&s, e);
    if (r != 0)
        return r;
    r = fill_temp(&s, content, how, e);
    bool refused = r == 0 && how->last_look != NULL && (r = how->last_look(how->ctx, e)) != 0;
    if (r == 0 && renameat(s.folder, s.temp, s.folder, s.name) != 0)
        r = err_sys(e, errno, "cannot rename the temporary file");
    if (r != 0) {
        (void)unlinkat(s.folder, s.temp, 0);
        if (!refused)
            err_wrap(e, "\"%s\" is not replaced", path);
        return r;
    }
    /* Some file systems cannot sync a folder and say EINVAL; then there is nothing to be done. */
    if (fsync(s.folder) != 0 && errno != EINVAL)
        return err_sys(e, errno, "\"%s\" is replaced, but may not survive a power cut", path);
    return 0;
}

int file_replace(int dirfd, const char *path, struct slice content, mode_t mode, uid_t uid,
                 gid_t gid, struct err *e)
{
    const struct file_swap how = {.mode = mode, .uid = uid, .gid = gid};
    return file_replace_with(dirfd, path, content, &how, e);
}

/* ".NAME.<16 hex digits>.tmp" */
bool file_is_temp(const char *entry, const char *name)
{
    enum { TAIL = 1 + 2 * TEMP_RANDOM + sizeof(".tmp") - 1 };
    size_t n = strlen(entry);
    if (entry[0] != '.' || n < 2 + TAIL || strcmp(entry + n - 4, ".tmp") != 0 ||
        entry[n - TAIL] != '.')
        return false;
    size_t hex = strspn(entry + n - TAIL + 1, "0123456789abcdef");
    size_t len = n - TAIL - 1;
    return hex == 2 * TEMP_RANDOM &&
           (name == NULL || (strlen(name) == len && memcmp(entry + 1, name, len) == 0));
}
