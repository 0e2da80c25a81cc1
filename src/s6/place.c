#include "s6/place.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int s6_service_path(char out[S6_PATH_SIZE], const char *scandir, struct slice name,
                    const char *tail)
{
    size_t a = strlen(scandir), b = strlen(tail);
    if (a + 1 + name.len + b >= S6_PATH_SIZE)
        return ERR_LIMIT;
    char *p = mempcpy(out, scandir, a);
    *p++ = '/';
    p = mempcpy(p, name.p, name.len);
    memcpy(p, tail, b + 1);
    return 0;
}

int s6_place_copy(struct s6_place *ret, const struct s6_place *p)
{
    char *scandir = mem_strdup(p->scandir);
    char *prefix = p->prefix != NULL ? mem_strdup(p->prefix) : NULL;
    if (scandir == NULL || (prefix == NULL && p->prefix != NULL)) {
        mem_free(scandir);
        mem_free(prefix);
        return ERR_NO_MEMORY;
    }
    *ret = (struct s6_place){.scandir = scandir, .rights = p->rights, .prefix = prefix};
    return 0;
}

void s6_place_done(struct s6_place *p)
{
    mem_free((char *)p->scandir);
    mem_free((char *)p->prefix);
    *p = (struct s6_place){0};
}

/* ---- steps ---- */

/* One name of a path. With O_DIRECTORY the kernel tells a link as ENOTDIR. */
static int open_step(int at, const char *name, int flags)
{
    struct stat st;
    int fd = openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOTDIR) {
        bool link = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* The next name of *path into out; false: it is none. */
static bool next_step(const char **path, char out[NAME_MAX + 1])
{
    size_t n = strcspn(*path, "/");
    if (n > NAME_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(out, *path, n);
    out[n] = '\0';
    *path += n;
    if (n > 0 && strcmp(out, ".") != 0 && strcmp(out, "..") != 0)
        return true;
    errno = EINVAL;
    return false;
}

int s6_open_steps(int at, const char *path, int flags)
{
    char step[NAME_MAX + 1];
    int dir = at;
    for (;;) {
        bool good = next_step(&path, step), last = *path == '\0';
        int fd = good ? open_step(dir, step, last ? flags : O_PATH | O_DIRECTORY) : -1;
        int sys = errno;
        if (dir != at)
            close(dir);
        errno = sys;
        if (fd < 0 || last)
            return fd;
        dir = fd;
        path++;
    }
}

/* ---- visits ---- */

/* In a scan directory that is somebody else's: the slot is a folder there, and its supervise/ was
 * given to the user, so that he may control it. */
static bool is_users_slot(const struct s6_place *p, struct slice name)
{
    char path[S6_PATH_SIZE];
    struct stat st;
    if (!slice_starts(name, p->prefix) || s6_service_path(path, p->scandir, name, "") != 0 ||
        lstat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return false;
    return s6_service_path(path, p->scandir, name, "/supervise") == 0 && lstat(path, &st) == 0 &&
           st.st_uid == p->rights.uid;
}

static int open_scandir(struct s6_visit *v, const char *scandir, struct err *e)
{
    v->fd = open(scandir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    v->skip = strlen(scandir) + 1;
    return v->fd >= 0 ? 0 : err_sys(e, errno, "open \"%s\"", scandir);
}

int s6_visit_begin(struct s6_visit *v, const struct s6_place *p, struct slice name, struct err *e)
{
    bool shared = p->prefix != NULL;
    int rc = 0;
    v->fd = -1;
    v->skip = 0;
    v->kept.taken = false;
    if (!p->rights.other || (shared && !is_users_slot(p, name)))
        return 0;
    if (shared) /* the way there need not be the user's: it is nobody's to bend */
        rc = open_scandir(v, p->scandir, e);
    if (rc == 0)
        rc = s6_rights_take(&p->rights, &v->kept, e);
    if (rc == 0 && !shared)
        rc = open_scandir(v, p->scandir, e);
    return rc;
}

void s6_visit_end(struct s6_visit *v)
{
    int sys = errno;
    file_closep(&v->fd);
    v->fd = -1;
    s6_rights_give_back(&v->kept);
    errno = sys;
}

int s6_visit_open(const struct s6_visit *v, const char *path, int flags)
{
    return s6_visit_wary(v) ? s6_open_steps(v->fd, path + v->skip, flags)
                            : open(path, flags | O_CLOEXEC | O_NONBLOCK);
}

int s6_visit_stat(const struct s6_visit *v, const char *path, struct stat *st)
{
    if (!s6_visit_wary(v))
        return stat(path, st);
    char above[S6_PATH_SIZE];
    const char *leaf = strrchr(path + v->skip, '/');
    if (leaf == NULL)
        return fstatat(v->fd, path + v->skip, st, AT_SYMLINK_NOFOLLOW);
    size_t n = (size_t)(leaf - path) - v->skip;
    memcpy(above, path + v->skip, n);
    above[n] = '\0';
    _cleanup_(file_closep) int fd = s6_open_steps(v->fd, above, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return -1;
    return fstatat(fd, leaf + 1, st, AT_SYMLINK_NOFOLLOW);
}

int s6_visit_failed(const struct s6_visit *v, const char *path, int sys, struct err *e)
{
    if (s6_visit_wary(v) && sys == ELOOP)
        return err_set(
            e, ERR_DENIED,
            "\"%s\" is a link, or lies behind one: what belongs to the gateways' user is "
            "reached without links only",
            path);
    return err_sys(e, sys, "open \"%s\"", path);
}

bool s6_service_exists(const struct s6_place *p, struct slice name)
{
    char path[S6_PATH_SIZE];
    struct stat st;
    _cleanup_(s6_visit_end) struct s6_visit v;
    return s6_visit_begin(&v, p, name, NULL) == 0 &&
           s6_service_path(path, p->scandir, name, "") == 0 && s6_visit_stat(&v, path, &st) == 0;
}
