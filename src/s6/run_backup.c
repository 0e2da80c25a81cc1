#include "s6/run_backup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "s6/dir.h"
#include "s6/run_script.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ID_SIZE 24 /* a decimal int64_t and NUL */
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)

/* The newest backups, highest id first. */
struct newest {
    int64_t id[S6_RUN_BACKUPS];
    size_t n;
};

static void id_text(char out[ID_SIZE], int64_t id)
{
    (void)snprintf(out, ID_SIZE, "%lld", (long long)id);
}

/* The id that a file name is, or 0: only digits, no zero in front, so that each has one name. */
static int64_t id_of(const char *name)
{
    int64_t id;
    if (name[0] < '1' || name[0] > '9' || str_to_i64(slice_of(name), &id) != 0)
        return 0;
    return id;
}

static void newest_take(struct newest *w, int64_t id)
{
    size_t at = 0;
    while (at < w->n && w->id[at] > id)
        at++;
    if (at == S6_RUN_BACKUPS)
        return;
    size_t moved = (w->n < S6_RUN_BACKUPS ? w->n : S6_RUN_BACKUPS - 1) - at;
    memmove(w->id + at + 1, w->id + at, moved * sizeof(w->id[0]));
    w->id[at] = id;
    w->n += w->n < S6_RUN_BACKUPS;
}

static int newest_find(int dir, struct newest *ret, struct err *e)
{
    struct s6_dir d;
    int rc = 0;
    *ret = (struct newest){.n = 0};
    s6_dir_rewind(&d, dir);
    for (const char *name; (name = s6_dir_next(&d, &rc)) != NULL;) {
        int64_t id = id_of(name);
        if (id > 0)
            newest_take(ret, id);
    }
    return rc == 0 ? 0 : err_set(e, rc, "cannot read the folder of backups");
}

/* mkdir -p; what is made is synced into its parent, so that it survives a power cut as its files
 * do. */
static int make_path(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof(part))
        return err_set(e, ERR_LIMIT, "\"%s\": the path is too long", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, path[i] == '\0' ? 0700 : 0755) != 0 && errno != EEXIST)
            return err_sys(e, errno, "cannot make \"%s\"", part);
        part[i] = path[i];
    }
    return 0;
}

static int check_owner(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "\"%s\"", path);
    if (st.st_uid != geteuid())
        return err_set(e, ERR_DENIED, "\"%s\" belongs to user %ld, not to this one (%ld)", path,
                       (long)st.st_uid, (long)geteuid());
    if ((st.st_mode & 022) != 0)
        return err_set(e, ERR_DENIED, "\"%s\" can be written by others (mode %04o)", path,
                       (unsigned)st.st_mode & 07777);
    return 0;
}

static int open_root(const char *path, bool make, struct err *e)
{
    int fd = open(path, FOLDER_FLAGS);
    if (fd < 0 && errno == ENOENT && make) {
        int rc = make_path(path, e);
        if (rc != 0)
            return rc;
        fd = open(path, FOLDER_FLAGS);
    }
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s\"", path);
    int rc = check_owner(fd, path, e);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int s6_backup_open(const char *backup_dir, struct slice name, bool make, struct err *e)
{
    char sub[256];
    if (name.len >= sizeof(sub))
        return err_set(e, ERR_LIMIT, "name too long");
    memcpy(sub, name.p, name.len);
    sub[name.len] = '\0';
    _cleanup_(file_closep) int root = open_root(backup_dir, make, e);
    if (root < 0)
        return root;
    if (make && mkdirat(root, sub, 0700) == 0)
        (void)fsync(root); /* some file systems cannot; the file in it is synced all the same */
    else if (make && errno != EEXIST)
        return err_sys(e, errno, "cannot make \"%s/%s\"", backup_dir, sub);
    int fd = openat(root, sub, FOLDER_FLAGS);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s/%s\"", backup_dir, sub);
    int rc = check_owner(fd, sub, e);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int s6_backup_add(int dir, struct slice content, const struct stat *st, int64_t *ret_id,
                  struct err *e)
{
    struct newest w;
    char name[ID_SIZE];
    int rc = newest_find(dir, &w, e);
    if (rc != 0)
        return rc;
    int64_t last = w.n > 0 ? w.id[0] : 0;
    if (last == INT64_MAX)
        return err_set(e, ERR_LIMIT, "there is no id above that of the newest backup");
    const struct file_swap how = {
        .mode = st->st_mode & 07777, .uid = st->st_uid, .gid = st->st_gid, .mtime = &st->st_mtim};
    id_text(name, last + 1);
    rc = file_replace_with(dir, name, content, &how, e);
    if (rc == 0)
        *ret_id = last + 1;
    else
        s6_backup_drop(dir, last + 1); /* there, but perhaps not for ever: as if it were not */
    return rc;
}

int s6_backup_get(int dir, int64_t *id, struct buf *out, struct stat *st, struct err *e)
{
    char name[ID_SIZE];
    if (*id == 0) {
        struct newest w;
        int rc = newest_find(dir, &w, e);
        if (rc != 0)
            return rc;
        if (w.n == 0)
            return err_set(e, ERR_NOT_FOUND, "there is no backup");
        *id = w.id[0];
    }
    id_text(name, *id);
    if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(e, errno, "backup %s", name);
    return file_read(dir, name, O_NOFOLLOW, out, e);
}

void s6_backup_drop(int dir, int64_t id)
{
    char name[ID_SIZE];
    id_text(name, id);
    (void)unlinkat(dir, name, 0);
}

void s6_backup_prune(int dir)
{
    struct newest w;
    struct s6_dir d;
    if (newest_find(dir, &w, NULL) != 0)
        return;
    s6_dir_rewind(&d, dir);
    for (const char *name; (name = s6_dir_next(&d, NULL)) != NULL;) {
        int64_t id = id_of(name);
        bool old = id > 0 && w.n == S6_RUN_BACKUPS && id < w.id[S6_RUN_BACKUPS - 1];
        if (old || file_is_temp(name, NULL))
            (void)unlinkat(dir, name, 0);
    }
}

int s6_backup_list(const char *backup_dir, struct slice name,
                   struct s6_run_backup ret[S6_RUN_BACKUPS], size_t *n, struct err *e)
{
    struct newest w;
    *n = 0;
    _cleanup_(file_closep) int dir = s6_backup_open(backup_dir, name, false, e);
    if (dir == ERR_NOT_FOUND) {
        if (e != NULL)
            *e = (struct err){0};
        return 0;
    }
    if (dir < 0)
        return dir;
    int rc = newest_find(dir, &w, e);
    _cleanup_(buf_done) struct buf text = BUF_INIT(S6_RUN_SCRIPT_MAX);
    for (size_t i = 0; rc == 0 && i < w.n; i++) {
        struct stat st;
        buf_clear(&text);
        rc = s6_backup_get(dir, &w.id[i], &text, &st, e);
        if (rc != 0)
            break;
        struct s6_run_backup *b = &ret[(*n)++];
        *b = (struct s6_run_backup){.id = w.id[i], .size = text.len};
        b->time_ns = (int64_t)st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
        etag_of(b->etag, (struct slice){text.data, text.len});
    }
    return rc;
}
