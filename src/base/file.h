/* file.h: small files, whole, and never half-written. */
#ifndef GANTRY_FILE_H
#define GANTRY_FILE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include <sys/stat.h>

/* Appends a whole file to out (its max is the limit: ERR_LIMIT). dirfd as in openat(2).
 * `flags` is or-ed to O_RDONLY|O_CLOEXEC|O_NONBLOCK, e.g. O_NOFOLLOW. Regular files only
 * (ERR_INVALID). */
int file_read(int dirfd, const char *path, int flags, struct buf *out, struct err *e);

/* Replaces a file: temp file in the same folder, write, fchmod(mode), optional fchown,
 * fsync, rename, fsync of the folder. Either the old or the new file is there, whole, at any
 * moment; the temporary one is removed on failure. uid/gid of (uid_t)-1 leave it. */
int file_replace(int dirfd, const char *path, struct slice content, mode_t mode, uid_t uid,
                 gid_t gid, struct err *e);

/* The same with more to say. */
struct file_swap {
    mode_t mode;
    uid_t uid; /* (uid_t)-1: as it comes */
    gid_t gid;
    const struct timespec *mtime; /* NULL: now */
    /* Called when the new file is there, whole and synced, right before it takes the place of the
     * old one. A code other than 0 gives up and is returned; the message of `e` is kept as it is.
     * May be NULL. */
    int (*last_look)(void *ctx, struct err *e);
    void *ctx;
};
int file_replace_with(int dirfd, const char *path, struct slice content,
                      const struct file_swap *how, struct err *e);

/* True for the name of a temporary file of the functions above, for files of this name, or of any
 * if it is NULL: what a killed process may have left. */
bool file_is_temp(const char *entry, const char *name);

/* Writes all of it, over EINTR and short writes. */
int file_write_all(int fd, struct slice content, struct err *e);

static inline void file_closep(int *fd)
{
    extern int close(int);
    if (*fd >= 0)
        close(*fd);
}

#endif
