#include "secret/cert_set.h"

#include "base/file.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINK_NAME "..set"
#define SET_PREFIX LINK_NAME "-"
#define LINK_PREFIX LINK_NAME ".link-" /* on its way to become LINK_NAME */
#define FILE_PREFIX LINK_NAME ".file-" /* on its way to become one of the files */

enum { FOLDER_MODE = 0755, KEY_MODE = 0600, CERT_MODE = 0644, FILES = 3, READ_TRIES = 3 };
#define FILE_MAX (4u << 20)

static const char *const names[FILES] = {"cert.pem", "key.pem", "ca.pem"};

struct place {
    char dir[PATH_MAX / 2]; /* of the certificate */
    const char *paths[FILES];
};

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static void wipe_buf(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

static int sync_dir(const char *path, struct err *e)
{
    _cleanup_(file_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_sys(e, errno, "cannot write \"%.300s\"", path);
    return 0;
}

static int dir_of(char *out, size_t size, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash[1] == '\0' || (size_t)(slash - path) >= size)
        return err_set(e, ERR_INVALID, "\"%.200s\" cannot be the path of a certificate's file",
                       path);
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    memcpy(out, path, n);
    out[n] = '\0';
    return 0;
}

static int make_dirs(const char *dir, struct err *e)
{
    char part[PATH_MAX / 2];
    size_t n = strlen(dir);
    memcpy(part, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char was = part[i];
        part[i] = '\0';
        if (mkdir(part, FOLDER_MODE) != 0 && errno != EEXIST)
            return err_sys(e, errno, "cannot make the folder \"%.300s\"", part);
        part[i] = was;
    }
    return 0;
}

static int find_place(struct place *p, const struct cert_set_paths *paths, struct err *e)
{
    char dir[PATH_MAX / 2];
    p->paths[0] = paths->cert;
    p->paths[1] = paths->key;
    p->paths[2] = paths->authority;
    for (size_t i = 0; i < FILES; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->paths[i], p->paths[k]) == 0)
                return err_set(e, ERR_INVALID, "\"%.200s\" cannot be two files at once",
                               p->paths[i]);
    for (size_t i = FILES; i-- > 0;) {
        int rc = dir_of(dir, sizeof(dir), p->paths[i], e);
        if (rc == 0)
            rc = make_dirs(dir, e);
        if (rc != 0)
            return rc;
    }
    memcpy(p->dir, dir, sizeof(dir)); /* the last one: the certificate's */
    return 0;
}

/* --- Sets --- */

static int write_file(int dir, const char *name, struct slice content, mode_t mode, struct err *e)
{
    _cleanup_(file_closep) int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, KEY_MODE);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%s\"", name);
    int rc = file_write_all(fd, content, e);
    if (rc == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0))
        rc = err_sys(e, errno, "cannot write \"%s\"", name);
    return rc;
}

static void drop_set(const char *dir, const char *entry)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < FILES; i++)
        if (snprintf(path, sizeof(path), "%s/%s/%s", dir, entry, names[i]) < PATH_MAX)
            (void)unlink(path);
    if (snprintf(path, sizeof(path), "%s/%s", dir, entry) < PATH_MAX)
        (void)rmdir(path);
}

/* A folder with a whole set that is on the disk; its name in `entry`. */
static int make_set(const struct place *p, const struct slice text[FILES], const char *id,
                    char entry[64], struct err *e)
{
    char path[PATH_MAX];
    (void)snprintf(entry, 64, SET_PREFIX "%s", id);
    (void)snprintf(path, sizeof(path), "%s/%s", p->dir, entry);
    if (mkdir(path, FOLDER_MODE) != 0)
        return err_sys(e, errno, "cannot make the folder \"%.300s\"", path);
    _cleanup_(file_closep) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir < 0 ? err_sys(e, errno, "cannot open \"%.300s\"", path) : 0;
    for (size_t i = 0; i < FILES && rc == 0; i++)
        rc = write_file(dir, names[i], text[i], i == 1 ? KEY_MODE : CERT_MODE, e);
    if (rc == 0 && (fchmod(dir, FOLDER_MODE) != 0 || fsync(dir) != 0))
        rc = err_sys(e, errno, "cannot write \"%.300s\"", path);
    if (rc != 0)
        drop_set(p->dir, entry);
    return rc;
}

/* Puts a link in the place of whatever is there. */
static int put_link(const char *target, const char *temp, const char *path, struct err *e)
{
    (void)unlink(temp);
    if (symlink(target, temp) != 0)
        return err_sys(e, errno, "cannot make a link beside \"%.300s\"", path);
    if (rename(temp, path) != 0) {
        int sys = errno;
        (void)unlink(temp);
        return err_sys(e, sys, "cannot replace \"%.300s\"", path);
    }
    return 0;
}

/* From here on the files lead into that set. */
static int choose_set(const struct place *p, const char *entry, const char *id, struct err *e)
{
    char temp[PATH_MAX], path[PATH_MAX];
    (void)snprintf(temp, sizeof(temp), "%s/" LINK_PREFIX "%s", p->dir, id);
    (void)snprintf(path, sizeof(path), "%s/" LINK_NAME, p->dir);
    int rc = put_link(entry, temp, path, e);
    return rc == 0 ? sync_dir(p->dir, e) : rc;
}

/* What the i-th file is a link to. */
static void target_of(const struct place *p, size_t i, char out[PATH_MAX])
{
    char dir[PATH_MAX / 2];
    bool same = dir_of(dir, sizeof(dir), p->paths[i], NULL) == 0 && strcmp(dir, p->dir) == 0;
    (void)snprintf(out, PATH_MAX, "%s%s" LINK_NAME "/%s", same ? "" : p->dir, same ? "" : "/",
                   names[i]);
}

static bool is_linked(const struct place *p, size_t i)
{
    char want[PATH_MAX], is[PATH_MAX];
    target_of(p, i, want);
    ssize_t n = readlink(p->paths[i], is, sizeof(is) - 1);
    if (n < 0)
        return false;
    is[n] = '\0';
    return strcmp(is, want) == 0;
}

static int link_files(const struct place *p, const char *id, struct err *e)
{
    char target[PATH_MAX], temp[PATH_MAX], dir[PATH_MAX / 2];
    int rc = 0;
    for (size_t i = 0; i < FILES && rc == 0; i++) {
        if (is_linked(p, i))
            continue;
        target_of(p, i, target);
        rc = dir_of(dir, sizeof(dir), p->paths[i], e);
        if (rc != 0)
            break;
        (void)snprintf(temp, sizeof(temp), "%s/" FILE_PREFIX "%s", dir, id);
        rc = put_link(target, temp, p->paths[i], e);
        if (rc == 0)
            rc = sync_dir(dir, e);
    }
    return rc;
}

/* What crashes have left, and the sets before this one. */
static void clean(const struct place *p, const char *current)
{
    _cleanup_(closedirp) DIR *d = opendir(p->dir);
    char path[PATH_MAX];
    if (d == NULL)
        return;
    for (const struct dirent *x; (x = readdir(d)) != NULL;) {
        struct slice name = slice_of(x->d_name);
        if (slice_starts(name, SET_PREFIX) && strcmp(x->d_name, current) != 0) {
            drop_set(p->dir, x->d_name);
        } else if (slice_starts(name, LINK_PREFIX) || slice_starts(name, FILE_PREFIX)) {
            if (snprintf(path, sizeof(path), "%s/%s", p->dir, x->d_name) < PATH_MAX)
                (void)unlink(path);
        }
    }
}

/* Files that are not ours yet: their content becomes a set, and the files links into it. */
static int take_over(const struct place *p, const struct cert_set_paths *paths,
                     const struct clock *clock, struct err *e)
{
    _cleanup_(buf_done) struct buf cert = BUF_INIT(FILE_MAX), ca = BUF_INIT(FILE_MAX);
    _cleanup_(wipe_buf) struct buf key = BUF_INIT(FILE_MAX);
    char id[ID_SIZE], entry[64];
    struct err why = {0};
    if (cert_set_read(paths, &cert, &key, &ca, &why) != 0)
        return 0; /* nothing that anybody could use */
    const struct slice text[FILES] = {
        {cert.data, cert.len}, {key.data, key.len}, {ca.data, ca.len}};
    int rc = id_make(id, clock);
    if (rc != 0)
        return err_set(e, rc, "no randomness for a name");
    rc = make_set(p, text, id, entry, e);
    if (rc == 0)
        rc = choose_set(p, entry, id, e);
    return rc == 0 ? link_files(p, id, e) : rc;
}

int cert_set_write(const struct cert_set_paths *paths, const struct cert_set_text *t,
                   const struct clock *clock, struct err *e)
{
    struct place p;
    char id[ID_SIZE], entry[64];
    const struct slice text[FILES] = {t->cert, t->key, t->authority};
    int rc = find_place(&p, paths, e);
    if (rc == 0 && !(is_linked(&p, 0) && is_linked(&p, 1) && is_linked(&p, 2)))
        rc = take_over(&p, paths, clock, e);
    if (rc == 0 && (rc = id_make(id, clock)) != 0)
        (void)err_set(e, rc, "no randomness for a name");
    if (rc == 0)
        rc = make_set(&p, text, id, entry, e);
    if (rc != 0)
        return rc;
    rc = choose_set(&p, entry, id, e);
    if (rc == 0)
        rc = link_files(&p, id, e);
    if (rc == 0)
        clean(&p, entry);
    return rc;
}

/* --- Reading --- */

static bool same_files(const struct stat a[FILES], const struct stat b[FILES])
{
    for (size_t i = 0; i < FILES; i++)
        if (a[i].st_ino != b[i].st_ino || a[i].st_dev != b[i].st_dev ||
            a[i].st_size != b[i].st_size || a[i].st_mtim.tv_sec != b[i].st_mtim.tv_sec ||
            a[i].st_mtim.tv_nsec != b[i].st_mtim.tv_nsec)
            return false;
    return true;
}

static int stat_files(const char *const paths[FILES], struct stat st[FILES], struct err *e)
{
    for (size_t i = 0; i < FILES; i++)
        if (stat(paths[i], &st[i]) != 0)
            return err_sys(e, errno, "\"%.300s\"", paths[i]);
    return 0;
}

int cert_set_read(const struct cert_set_paths *p, struct buf *cert, struct buf *key,
                  struct buf *authority, struct err *e)
{
    const char *const paths[FILES] = {p->cert, p->key, p->authority};
    struct buf *const bufs[FILES] = {cert, key, authority};
    struct stat before[FILES], after[FILES];
    int rc = 0;
    for (int i = 0; i < READ_TRIES && rc == 0; i++) {
        rc = stat_files(paths, before, e);
        for (size_t k = 0; k < FILES && rc == 0; k++) {
            buf_clear(bufs[k]);
            rc = file_read(AT_FDCWD, paths[k], 0, bufs[k], e);
        }
        if (rc == 0)
            rc = stat_files(paths, after, e);
        if (rc == 0 && same_files(before, after))
            break;
    }
    return rc;
}
