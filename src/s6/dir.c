#include "s6/dir.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void s6_dir_rewind(struct s6_dir *d, int fd)
{
    d->fd = fd;
    d->at = d->len = 0;
    (void)lseek(fd, 0, SEEK_SET);
}

const char *s6_dir_next(struct s6_dir *d, int *rc)
{
    for (;;) {
        if (d->at >= d->len) {
            ssize_t n = getdents64(d->fd, d->bytes, sizeof(d->bytes));
            if (rc != NULL)
                *rc = n < 0 ? err_sys(NULL, errno, "getdents") : 0;
            if (n <= 0)
                return NULL;
            d->at = 0;
            d->len = (size_t)n;
        }
        const struct dirent64 *ent = (const void *)(d->bytes + d->at);
        d->at += ent->d_reclen;
        const char *s = ent->d_name;
        if (s[0] == '.' && (s[1] == '\0' || (s[1] == '.' && s[2] == '\0')))
            continue;
        return s;
    }
}

/* Without openat2 (Linux before 5.6, or a container engine that filters it): one step at a time,
 * and no link at all is followed. */
static int open_in_steps(int root, const char *dir, const char *leaf, int flags)
{
    struct stat st;
    if (fstatat(root, dir, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        errno = ELOOP; /* with O_DIRECTORY the kernel would say ENOTDIR */
        return -1;
    }
    if (leaf == NULL)
        return openat(root, dir, flags | O_NOFOLLOW);
    _cleanup_(file_closep) int d = openat(root, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d < 0)
        return -1;
    return openat(d, leaf, flags | O_NOFOLLOW);
}

static int open_below(int root, const char *dir, const char *leaf, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int i = 0; i < 8;
         i++) { /* EAGAIN: something was renamed meanwhile; the kernel asks to retry */
        long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM)
            return open_in_steps(root, dir, leaf, flags);
        if (errno != EAGAIN)
            return -1;
    }
    return -1;
}

int s6_open_beneath(const char *root, struct slice name, const char *leaf, int flags, struct err *e)
{
    char dir[1024], path[1024 + 64];
    size_t n = leaf ? strlen(leaf) : 0;
    if (name.len >= sizeof(dir) || n >= 60)
        return err_set(e, ERR_LIMIT, "name too long");
    memcpy(dir, name.p, name.len);
    dir[name.len] = '\0';
    memcpy(path, dir, name.len + 1);
    if (leaf != NULL) {
        path[name.len] = '/';
        memcpy(path + name.len + 1, leaf, n + 1);
    }
    _cleanup_(file_closep) int rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rootfd < 0)
        return err_sys(e, errno, "open \"%s\"", root);
    int fd = open_below(rootfd, dir, leaf, path, flags | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    if (errno == EXDEV || errno == ELOOP)
        return err_set(e, ERR_DENIED, "\"%s/%s\" is a link that leads out of \"%s\"", root, path,
                       root);
    /* A plain file where the folder should be is as good as no folder. */
    return err_sys(e, errno == ENOTDIR ? ENOENT : errno, "open \"%s/%s\"", root, path);
}

int s6_open_file(const char *root, struct slice name, const char *leaf, int flags, struct err *e)
{
    int fd = s6_open_beneath(root, name, leaf, flags, e);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return err_set(e, ERR_INVALID, "\"%s/%.*s/%s\" is not a regular file", root, (int)name.len,
                   name.p, leaf ? leaf : "");
}

void s6_names_done(struct s6_names *n)
{
    mem_free(n->text);
    mem_free(n->from);
    *n = (struct s6_names){0};
}

static bool is_service(void *ctx, int fd, const char *name)
{
    char path[256 + 8];
    size_t n = strlen(name);
    (void)ctx;
    if (!name_is_safe((struct slice){name, n}, 255))
        return false;
    memcpy(path, name, n);
    memcpy(path + n, "/run", 5);
    if (faccessat(fd, path, F_OK, 0) == 0)
        return true;
    memcpy(path + n, "/type", 6);
    return faccessat(fd, path, F_OK, 0) == 0;
}

static int compare_names(const void *a, const void *b, void *text)
{
    const char *t = text;
    return strcmp(t + *(const uint32_t *)a, t + *(const uint32_t *)b);
}

int s6_list(int fd, size_t max, bool (*wanted)(void *ctx, int fd, const char *name), void *ctx,
            struct s6_names *ret, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(max * 256u);
    struct s6_dir d;
    size_t count = 0;
    int rc = 0;
    *ret = (struct s6_names){0};
    s6_dir_rewind(&d, fd);
    for (const char *name; (name = s6_dir_next(&d, &rc)) != NULL;) {
        if (wanted != NULL && !wanted(ctx, fd, name))
            continue;
        if (++count > max)
            return err_set(e, ERR_LIMIT, "more than %zu entries", max);
        (void)buf_add(&text, name, strlen(name) + 1);
    }
    if (rc != 0)
        return err_set(e, rc, "the entries: %s", err_row(rc)->text);
    if (count == 0)
        return 0;
    struct s6_names n = {.count = count, .from = mem_calloc(count, sizeof(*n.from))};
    n.text = buf_steal(&text, NULL);
    if (n.text == NULL || n.from == NULL) {
        s6_names_done(&n);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        n.from[i] = at;
        at += (uint32_t)strlen(n.text + at) + 1;
    }
    qsort_r(n.from, count, sizeof(*n.from), compare_names, n.text);
    *ret = n;
    return 0;
}

int s6_scan(const char *scandir, struct s6_names *ret, struct err *e)
{
    *ret = (struct s6_names){0};
    _cleanup_(file_closep) int fd = open(scandir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "open \"%s\"", scandir);
    int rc = s6_list(fd, S6_MAX_SERVICES, is_service, NULL, ret, e);
    if (rc != 0)
        err_wrap(e, "cannot read \"%s\"", scandir);
    return rc;
}
