#include "gantry/certs.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_MODE = 0755, SECRET_MODE = 0600, PUBLIC_MODE = 0644 };

/* Where the folder is to be, and the one that is made beside it. */
struct place {
    char path[PATH_MAX]; /* without a slash at its end; what links lead to */
    char made[PATH_MAX];
    bool there, empty;
    struct stat was;
};

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_ours(const char *name, const struct certs_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, name) == 0)
            return true;
    return false;
}

static int look(struct place *p, const struct certs_file *files, size_t n, bool force,
                struct err *e)
{
    _cleanup_(closedirp) DIR *d = opendir(p->path);
    if (d == NULL)
        return err_sys(e, errno, "cannot look into \"%s\"", p->path);
    p->empty = true;
    errno = 0;
    for (const struct dirent *x; (x = readdir(d)) != NULL; errno = 0) {
        if (is_dot(x->d_name))
            continue;
        p->empty = false;
        if (!is_ours(x->d_name, files, n))
            return err_set(e, ERR_CONFLICT,
                           "\"%s\" holds \"%.100s\", which is not of a set made here, and would be "
                           "lost",
                           p->path, x->d_name);
        if (!force)
            return err_set(e, ERR_EXISTS, "\"%s/%s\" is there already", p->path, x->d_name);
    }
    return errno == 0 ? 0 : err_sys(e, errno, "cannot look into \"%s\"", p->path);
}

/* Each folder above, as far as it is missing. */
static int make_above(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] != '/')
            continue;
        part[i] = '\0';
        if (mkdir(part, FOLDER_MODE) != 0 && errno != EEXIST)
            return err_sys(e, errno, "cannot make the folder \"%s\"", part);
        part[i] = '/';
    }
    return 0;
}

static int find_place(struct place *p, const char *dir, struct err *e)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof(p->path))
        return err_set(e, ERR_INVALID, "\"%.100s\" cannot be a folder's name", dir);
    memcpy(p->path, dir, n);
    p->path[n] = '\0';
    p->there = stat(p->path, &p->was) == 0;
    if (!p->there && errno != ENOENT)
        return err_sys(e, errno, "\"%s\"", p->path);
    if (!p->there)
        return make_above(p->path, e);
    if (!S_ISDIR(p->was.st_mode))
        return err_set(e, ERR_INVALID, "\"%s\" is not a folder", p->path);
    if (realpath(dir, p->path) == NULL)
        return err_sys(e, errno, "\"%.200s\"", dir);
    return 0;
}

static int make_beside(struct place *p, struct err *e)
{
    const char *slash = strrchr(p->path, '/');
    int above = slash != NULL ? (int)(slash - p->path) + 1 : 0;
    int n =
        snprintf(p->made, sizeof(p->made), "%.*s.%s.new-XXXXXX", above, p->path, p->path + above);
    if (n < 0 || (size_t)n >= sizeof(p->made))
        return err_set(e, ERR_INVALID, "\"%.100s\" is too long a name", p->path);
    if (mkdtemp(p->made) == NULL) {
        int sys = errno;
        p->made[0] = '\0';
        return err_sys(e, sys, "cannot make a folder beside \"%s\"", p->path);
    }
    return 0;
}

static int write_one(int dir, const struct place *p, const struct certs_file *f, struct err *e)
{
    mode_t mode = f->secret ? SECRET_MODE : PUBLIC_MODE;
    _cleanup_(file_closep) int fd =
        openat(dir, f->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, SECRET_MODE);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%s/%s\"", p->made, f->name);
    int rc = file_write_all(fd, f->content, e);
    if (rc == 0 && fchmod(fd, mode) != 0)
        rc = err_sys(e, errno, "cannot set the mode of \"%s\"", f->name);
    if (rc == 0 && p->there && geteuid() == 0 && fchown(fd, p->was.st_uid, p->was.st_gid) != 0)
        rc = err_sys(e, errno, "cannot give away \"%s\"", f->name);
    if (rc == 0 && fsync(fd) != 0)
        rc = err_sys(e, errno, "cannot write \"%s\"", f->name);
    return rc;
}

static int fill(const struct place *p, const struct certs_file *files, size_t n, struct err *e)
{
    _cleanup_(file_closep) int dir = open(p->made, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(e, errno, "cannot open \"%s\"", p->made);
    for (size_t i = 0; i < n; i++) {
        int rc = write_one(dir, p, &files[i], e);
        if (rc != 0)
            return rc;
    }
    if (p->there && geteuid() == 0 && fchown(dir, p->was.st_uid, p->was.st_gid) != 0)
        return err_sys(e, errno, "cannot give away \"%s\"", p->made);
    if (fchmod(dir, p->there ? p->was.st_mode & 07777 : FOLDER_MODE) != 0 || fsync(dir) != 0)
        return err_sys(e, errno, "cannot write \"%s\"", p->made);
    return 0;
}

static int sync_above(const struct place *p, struct err *e)
{
    char above[PATH_MAX];
    const char *slash = strrchr(p->path, '/');
    int n = slash == NULL ? 0 : slash == p->path ? 1 : (int)(slash - p->path);
    (void)snprintf(above, sizeof(above), "%.*s", n > 0 ? n : 1, n > 0 ? p->path : ".");
    _cleanup_(file_closep) int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_sys(e, errno, "cannot write \"%s\"", above);
    return 0;
}

/* Nobody ever sees a part of it: a name appears, an empty folder is replaced, or two folders change
 * names. */
static int put(const struct place *p, struct err *e)
{
    int rc;
    if (p->there && p->empty)
        rc = rename(p->made, p->path);
    else
        rc = renameat2(AT_FDCWD, p->made, AT_FDCWD, p->path,
                       p->there ? RENAME_EXCHANGE : RENAME_NOREPLACE);
    if (rc != 0)
        return err_sys(e, errno, "cannot put the new files in the place of \"%s\"", p->path);
    return sync_above(p, e);
}

/* What is under the other name: a failed try, or the set before. */
static void drop_made(const struct place *p, const struct certs_file *files, size_t n)
{
    _cleanup_(file_closep) int dir = open(p->made, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return; /* it has become the folder itself */
    for (size_t i = 0; i < n; i++)
        (void)unlinkat(dir, files[i].name, 0);
    (void)rmdir(p->made);
}

int certs_folder_put(const char *dir, const struct certs_file *files, size_t n, bool force,
                     struct err *e)
{
    struct place p = {0};
    int rc = find_place(&p, dir, e);
    if (rc == 0 && p.there)
        rc = look(&p, files, n, force, e);
    if (rc == 0)
        rc = make_beside(&p, e);
    if (rc != 0)
        return rc;
    rc = fill(&p, files, n, e);
    if (rc == 0)
        rc = put(&p, e);
    drop_made(&p, files, n);
    return rc;
}
