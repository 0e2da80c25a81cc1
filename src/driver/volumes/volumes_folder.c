/* volumes_folder.c: volumes that are folders below a root. On a thread.
 *
 * Nothing follows a link: root is the operator's, but what is below it is written to by workloads.
 */
#include "driver/volumes/volumes_priv.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define PROVISION FAULT_STORAGE_PROVISION_FAILED
#define ATTACH FAULT_STORAGE_ATTACH_FAILED
#define PART ".new"

/* The root is of the configuration: a link there is meant. */
static int open_root(const char *root, struct err *e)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, errno, "cannot open the folder \"%s\"", root);
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A disk that was made and never written to: nothing is on it. */
static bool is_blank_disk(int folder, const char *name)
{
    struct stat st;
    return (strcmp(name, VOLUME_DISK) == 0 || strcmp(name, VOLUME_DISK PART) == 0) &&
           fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_blocks == 0;
}

/* Of an entry that is there. */
static bool is_empty(int root, const char *name)
{
    int fd = openat(root, name, FOLDER);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool empty = d != NULL;
    if (d == NULL) {
        file_closep(&fd);
        return false;
    }
    for (const struct dirent *x; empty && (x = readdir(d)) != NULL;)
        empty = is_dot(x->d_name) || is_blank_disk(dirfd(d), x->d_name);
    closedir(d);
    return empty;
}

static int look_at(struct job *j, int root, const char *path, struct err *e)
{
    struct stat st;
    j->existed = fstatat(root, j->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!j->existed && errno != ENOENT)
        return err_sys(e, errno, "cannot look at \"%s/%s\"", path, j->name);
    if (j->existed && !S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID, "\"%s/%s\" is there already, and is no folder", path,
                       j->name);
    j->empty = j->existed && is_empty(root, j->name);
    return 0;
}

/* --- Making --- */

static int make_folder(struct job *j, int root, const char *path, struct err *e)
{
    if (mkdirat(root, j->name, 0755) == 0) {
        /* whatever our mask is: qemu and other users look into it */
        if (fchmodat(root, j->name, 0755, 0) != 0 || fsync(root) != 0)
            return err_sys(e, errno, "cannot make the folder \"%s/%s\"", path, j->name);
        return 0;
    }
    int sys = errno;
    if (sys != EEXIST)
        return err_sys(e, sys, "cannot make the folder \"%s/%s\"", path, j->name);
    return look_at(j, root, path, e);
}

/* Its size is that of the disk; what is not written takes no room. Never half of it. */
static int make_disk(struct job *j, int folder, const char *path, struct err *e)
{
    static const char part[] = VOLUME_DISK PART;
    struct stat st;
    if (fstatat(folder, VOLUME_DISK, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISREG(st.st_mode) ? 0 : err_set(e, ERR_INVALID, "\"%s\" is no regular file", path);
    if (errno != ENOENT)
        return err_sys(e, errno, "cannot look at \"%s\"", path);
    (void)unlinkat(folder, part, 0);
    int fd = openat(folder, part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%s\"", path);
    int64_t gb = j->size_gb > 0 ? j->size_gb : VOLUME_DEFAULT_GB;
    int r = 0;
    if (ftruncate(fd, (off_t)gb << 30) != 0 || fsync(fd) != 0)
        r = err_sys(e, errno, "cannot make \"%s\" of %lld GiB", path, (long long)gb);
    close(fd);
    if (r == 0 && renameat2(folder, part, folder, VOLUME_DISK, RENAME_NOREPLACE) != 0)
        r = err_sys(e, errno, "cannot make \"%s\"", path);
    if (r != 0)
        (void)unlinkat(folder, part, 0);
    else
        (void)fsync(folder);
    return r;
}

static int attach(struct job *j, int root, const char *path, struct err *e)
{
    int n = snprintf(j->source, sizeof(j->source), j->machine ? "%s/%s/" VOLUME_DISK : "%s/%s",
                     path, j->name);
    if (n < 0 || n >= (int)sizeof(j->source))
        return err_set(e, ERR_INVALID, "the folder \"%.200s\" has too long a name", path);
    int fd = openat(root, j->name, FOLDER), r = 0;
    if (fd < 0)
        return err_sys(e, errno, "its folder \"%s/%s\" cannot be used", path, j->name);
    if (j->machine)
        r = make_disk(j, fd, j->source, e);
    close(fd);
    return r;
}

/* --- Deleting --- */

/* Into the trash, under a name that is free there. On a full disk, what is to go becomes the trash:
 * that needs no room. */
static int put_away(int root, int from, const char *name, struct err *e)
{
    char to[64];
    int trash;
    if (unlinkat(from, name, AT_REMOVEDIR) == 0 || errno == ENOENT) /* nothing is in it */
        return 0;
    if (mkdirat(root, VOLUME_TRASH, 0700) != 0 && errno != EEXIST) {
        int why = errno;
        return renameat2(from, name, root, VOLUME_TRASH, RENAME_NOREPLACE) == 0
                   ? 0
                   : err_sys(e, why, "cannot make the folder for what is deleted");
    }
    if ((trash = openat(root, VOLUME_TRASH, FOLDER)) < 0)
        return err_sys(e, errno, "cannot open the folder for what is deleted");
    int rc = -1, sys = EEXIST;
    for (unsigned i = 0; rc != 0 && sys == EEXIST && i < 1000000; i++) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        snprintf(to, sizeof(to), "%llx-%lx-%x", (unsigned long long)now.tv_sec,
                 (unsigned long)now.tv_nsec, i);
        rc = renameat2(from, name, trash, to, RENAME_NOREPLACE);
        sys = errno;
    }
    close(trash);
    if (rc != 0 && sys != ENOENT) /* gone already: an earlier try came so far */
        return err_sys(e, sys, "cannot put \"%s\" away", name);
    return 0;
}

/* Removes what is in a folder of the trash; what is a folder itself goes one up, so that no depth
 * needs a deeper stack. */
static int empty_out(int root, int folder, struct job *j, struct err *e)
{
    int fd = dup(folder), r = 0;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        file_closep(&fd);
        return err_sys(e, errno, "cannot read a folder of what is deleted");
    }
    for (const struct dirent *x; r == 0 && (x = readdir(d)) != NULL;) {
        if (is_dot(x->d_name))
            continue;
        if (__atomic_load_n(&j->cancel, __ATOMIC_ACQUIRE) != 0)
            r = err_set(e, ERR_CANCELLED, "cancelled");
        else if (unlinkat(folder, x->d_name, 0) == 0 || errno == ENOENT)
            continue;
        else if (errno == EISDIR || errno == EPERM || errno == ENOTEMPTY)
            r = unlinkat(folder, x->d_name, AT_REMOVEDIR) == 0
                    ? 0
                    : put_away(root, folder, x->d_name, e);
        else
            r = err_sys(e, errno, "cannot remove \"%s\"", x->d_name);
    }
    closedir(d);
    return r;
}

static int sweep_one(int root, int trash, const char *name, struct job *j, struct err *e)
{
    int folder = openat(trash, name, FOLDER);
    if (folder < 0) {
        if (errno == ENOTDIR || errno == ELOOP)
            return unlinkat(trash, name, 0) == 0 ? 0 : err_sys(e, errno, "cannot remove a file");
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot open a folder of what is deleted");
    }
    (void)fchmod(folder, 0700); /* one without rights for its owner */
    int r = empty_out(root, folder, j, e);
    close(folder);
    if (r == 0 && unlinkat(trash, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        r = err_sys(e, errno, "cannot remove a folder");
    return r;
}

/* One round; *more: there was something. */
static int sweep_round(int root, struct job *j, bool *more, struct err *e)
{
    int trash = openat(root, VOLUME_TRASH, FOLDER), r = 0;
    *more = false;
    if (trash < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot open what is deleted");
    int fd = dup(trash);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        file_closep(&fd);
        close(trash);
        return err_sys(e, errno, "cannot read what is deleted");
    }
    for (const struct dirent *x; r == 0 && (x = readdir(d)) != NULL;) {
        if (is_dot(x->d_name))
            continue;
        *more = true;
        r = sweep_one(root, trash, x->d_name, j, e);
    }
    closedir(d);
    close(trash);
    return r;
}

void folder_sweep(struct job *j, const char *path)
{
    struct err e = {0};
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    if (root < 0)
        return; /* nothing was ever put there */
    for (bool more = true; more && r == 0;)
        r = sweep_round(root, j, &more, &e);
    if (r == 0)
        (void)unlinkat(root, VOLUME_TRASH, AT_REMOVEDIR);
    close(root);
    if (r != 0)
        (void)job_fail(j, PROVISION, &e);
}

/* --- The jobs --- */

void folder_job(struct job *j, const char *path)
{
    struct err e = {0};
    int r = 0, root;
    enum fault_reason why = PROVISION;
    if (j->kind == JOB_SWEEP) {
        folder_sweep(j, path);
        return;
    }
    if (j->kind == JOB_DETACH)
        return;
    if (j->kind == JOB_TRASH && access(path, F_OK) != 0 && errno == ENOENT)
        return;
    if (j->driver == DOC_VOLUME_LOCAL && (r = make_folders(path, &e)) != 0) {
        (void)job_fail(j, PROVISION, &e);
        return;
    }
    if ((root = open_root(path, &e)) < 0) {
        (void)job_fail(j, PROVISION, &e);
        return;
    }
    if (j->kind == JOB_LOOK) {
        r = look_at(j, root, path, &e);
    } else if (j->kind == JOB_TRASH) {
        r = put_away(root, root, j->name, &e);
        if (r == 0)
            (void)fsync(root);
    } else {
        if (j->fresh)
            r = make_folder(j, root, path, &e);
        if (r == 0) {
            why = ATTACH;
            r = attach(j, root, path, &e);
        }
    }
    close(root);
    if (r != 0)
        (void)job_fail(j, why, &e);
}
