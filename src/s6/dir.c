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

static int open_below(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int i = 0; i < 8;
         i++) { /* EAGAIN: something was renamed meanwhile; the kernel asks to retry */
        long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        /* Linux before 5.6, or a container engine that filters it: no link at all is followed. */
        if (errno == ENOSYS || errno == EPERM)
            return s6_open_steps(root, path, flags);
        if (errno != EAGAIN)
            return -1;
    }
    return -1;
}

int s6_open_beneath(const char *root, struct slice name, const char *leaf, int flags, struct err *e)
{
    char path[1024 + 64];
    size_t n = leaf ? strlen(leaf) : 0;
    if (name.len >= 1024 || n >= 60)
        return err_set(e, ERR_LIMIT, "name too long");
    memcpy(path, name.p, name.len);
    path[name.len] = '\0';
    if (leaf != NULL) {
        path[name.len] = '/';
        memcpy(path + name.len + 1, leaf, n + 1);
    }
    _cleanup_(file_closep) int rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rootfd < 0)
        return err_sys(e, errno, "open \"%s\"", root);
    int fd = open_below(rootfd, path, flags | O_CLOEXEC | O_NONBLOCK);
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

/* One of them is there. Where no link is followed, links tell nothing of what is behind them. */
static bool has_entry(const struct s6_visit *v, int fd, char *path, size_t n, const char *leaf)
{
    struct stat st;
    memcpy(path + n, leaf, strlen(leaf) + 1);
    return s6_visit_wary(v) ? fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0
                            : faccessat(fd, path, F_OK, 0) == 0;
}

static bool is_service(void *ctx, int fd, const char *name)
{
    char path[256 + 8];
    struct stat st;
    const struct s6_visit *v = ctx;
    size_t n = strlen(name);
    if (!name_is_safe((struct slice){name, n}, 255))
        return false;
    if (s6_visit_wary(v) &&
        (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)))
        return false;
    memcpy(path, name, n + 1);
    return has_entry(v, fd, path, n, "/run") || has_entry(v, fd, path, n, "/type");
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

int s6_scan(const struct s6_place *p, struct s6_names *ret, struct err *e)
{
    *ret = (struct s6_names){0};
    _cleanup_(s6_visit_end) struct s6_visit v;
    struct err own = {0};
    int rc = s6_visit_begin(&v, p, SLICE_LIT(""), &own);
    _cleanup_(file_closep) int fd = -1;
    if (rc == 0) {
        int at = s6_visit_wary(&v) ? v.fd : AT_FDCWD;
        fd = openat(at, s6_visit_wary(&v) ? "." : p->scandir,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        rc = fd < 0 ? err_sys(&own, errno, "open \"%s\"", p->scandir) : 0;
    }
    if (rc == 0) {
        rc = s6_list(fd, S6_MAX_SERVICES, is_service, &v, ret, &own);
        if (rc != 0)
            err_wrap(&own, "cannot read \"%s\"", p->scandir);
    } else if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    if (rc != 0 && e != NULL)
        *e = own;
    return rc;
}
