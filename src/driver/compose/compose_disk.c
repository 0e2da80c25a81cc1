#include "driver/compose/compose_disk.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 128 }; /* of folders in a project's folder that is removed */

/* ---- jobs */

struct compose_disk *compose_disk_new(enum compose_disk_op op, const char *root, struct slice id)
{
    size_t n = strlen(root) + 1;
    struct compose_disk *d = mem_zalloc(sizeof(*d) + n);
    if (d == NULL)
        return NULL;
    INVARIANT(id.len <= WORKLOAD_ID_MAX);
    d->op = op;
    d->fd = -1;
    memcpy(d->root, root, n);
    if (id.len > 0)
        memcpy(d->id, id.p, id.len);
    buf_init(&d->yml, DOC_TEXT_MAX);
    buf_init(&d->env, COMPOSE_ENV_MAX);
    buf_init(&d->record, COMPOSE_RECORD_MAX);
    return d;
}

void compose_disk_free(struct compose_disk *d)
{
    if (d == NULL)
        return;
    if (d->env.data != NULL)
        mem_wipe(d->env.data, d->env.cap);
    file_closep(&d->fd);
    buf_done(&d->yml);
    buf_done(&d->env);
    buf_done(&d->record);
    for (size_t i = 0; i < d->n_folders; i++)
        buf_done(&d->folders[i].record);
    mem_free(d->folders);
    mem_free(d);
}

static void on_thread(uv_work_t *w)
{
    compose_disk_run(CONTAINER_OF(w, struct compose_disk, work));
}

static void after(uv_work_t *w, int status BASE_UNUSED)
{
    struct compose_disk *d = CONTAINER_OF(w, struct compose_disk, work);
    if (d->fn != NULL)
        d->fn(d->ctx, &d->e, d);
    compose_disk_free(d);
}

int compose_disk_start(struct compose_disk *d, struct loop *l, compose_disk_fn fn, void *ctx)
{
    d->fn = fn;
    d->ctx = ctx;
    if (loop_work(l, &d->work, on_thread, after) == 0)
        return 0;
    compose_disk_free(d);
    return ERR_NO_MEMORY;
}

void compose_disk_abandon(struct compose_disk *d)
{
    if (d != NULL)
        d->fn = NULL;
}

/* ---- on the thread, from here; nothing but *d is touched */

static int make_folders(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof(part))
        return err_set(e, ERR_LIMIT, "\"%.200s...\" is too long for a path", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return err_sys(e, errno, "the folder \"%s\" cannot be made", part);
    }
    return 0;
}

static int open_folder(int at, const char *name, struct err *e)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, errno, "the folder \"%s\" cannot be opened", name);
}

static int open_root(const struct compose_disk *d, struct err *e)
{
    int fd = open(d->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, errno, "the folder \"%s\" cannot be opened", d->root);
}

/* A file that is not there is no failure. */
static int load_file(int dir, const char *name, struct buf *out, bool *found, struct err *e)
{
    int rc = file_read(dir, name, O_NOFOLLOW, out, e);
    *found = rc == 0;
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (e != NULL)
        *e = (struct err){0};
    return 0;
}

static int64_t made_of(int dir)
{
    struct stat st;
    if (fstatat(dir, COMPOSE_FILE, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return -1;
    return st.st_mtim.tv_sec * (int64_t)NS_PER_S + st.st_mtim.tv_nsec;
}

/* ---- reading */

static int remove_named(int root, const char *name, struct err *e);

/* What a crash has left. */
static void tidy(const struct compose_disk *d, int root, const char *name)
{
    struct err ignored;
    if (d->tidy && (strncmp(name, COMPOSE_NEW, sizeof(COMPOSE_NEW) - 1) == 0 ||
                    strncmp(name, COMPOSE_GONE, sizeof(COMPOSE_GONE) - 1) == 0))
        (void)remove_named(root, name, &ignored);
}

static int scan_one(struct compose_disk *d, int root, const char *name)
{
    struct slice id = slice_of(name);
    if (workload_id_check(id, NULL) != 0)
        return 0;
    _cleanup_(file_closep) int dir = open_folder(root, name, NULL);
    if (dir < 0)
        return 0;
    struct compose_folder *f = &d->folders[d->n_folders];
    *f = (struct compose_folder){.made_ns = made_of(dir)};
    memcpy(f->id, id.p, id.len);
    buf_init(&f->record, COMPOSE_RECORD_MAX);
    bool found;
    int rc = load_file(dir, COMPOSE_RECORD, &f->record, &found, &d->e);
    /* A folder without either is none of ours. */
    if (rc == 0 && (found || f->made_ns >= 0))
        d->n_folders++;
    else
        buf_done(&f->record);
    return rc;
}

static int scan_all(struct compose_disk *d, int root, DIR *all)
{
    size_t cap = 0;
    int rc = 0;
    for (struct dirent *x; rc == 0 && (x = readdir(all)) != NULL;) {
        if (d->n_folders == cap) {
            cap = cap == 0 ? 64 : 2 * cap;
            if (cap > 2 * COMPOSE_FOLDERS_MAX)
                return err_set(&d->e, ERR_LIMIT, "there are more than %d folders in \"%s\"",
                               COMPOSE_FOLDERS_MAX, d->root);
            void *more = mem_realloc(d->folders, cap * sizeof(*d->folders));
            if (more == NULL)
                return err_set(&d->e, ERR_NO_MEMORY, "out of memory");
            d->folders = more;
        }
        tidy(d, root, x->d_name);
        rc = scan_one(d, root, x->d_name);
    }
    return rc;
}

static void scan(struct compose_disk *d)
{
    int root = open_root(d, &d->e);
    if (root < 0) {
        if (d->e.code == ERR_NOT_FOUND) /* nothing was ever made */
            d->e = (struct err){0};
        return;
    }
    DIR *all = fdopendir(root);
    if (all == NULL) {
        (void)err_sys(&d->e, errno, "the folder \"%s\" cannot be read", d->root);
        (void)close(root);
        return;
    }
    (void)scan_all(d, root, all);
    (void)closedir(all);
}

static void load(struct compose_disk *d)
{
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    _cleanup_(file_closep) int dir = root >= 0 ? open_folder(root, d->id, &d->e) : -1;
    if (dir < 0) {
        if (d->e.code == ERR_NOT_FOUND)
            d->e = (struct err){0};
        return;
    }
    d->has_folder = true;
    d->made_ns = made_of(dir);
    (void)(load_file(dir, COMPOSE_FILE, &d->yml, &d->has_yml, &d->e) != 0 ||
           load_file(dir, COMPOSE_ENV, &d->env, &d->has_env, &d->e) != 0 ||
           load_file(dir, COMPOSE_RECORD, &d->record, &d->has_record, &d->e) != 0);
}

/* ---- writing */

static int put(int dir, const char *name, const struct buf *b, mode_t mode, struct err *e)
{
    return file_replace(dir, name, (struct slice){b->data != NULL ? b->data : "", b->len}, mode,
                        (uid_t)-1, (gid_t)-1, e);
}

/* The original agent lets everybody read it. */
static int close_env(struct compose_disk *d, int dir)
{
    _cleanup_(file_closep) int fd =
        openat(dir, COMPOSE_ENV, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fchmod(fd, 0600) != 0)
        return err_sys(&d->e, errno, "\"" COMPOSE_ENV "\" of \"%s\" cannot be kept from others",
                       d->id);
    return 0;
}

static int write_files(struct compose_disk *d, int dir)
{
    int rc = d->close_env ? close_env(d, dir) : 0;
    if (rc != 0)
        return rc;
    if (d->has_env)
        rc = put(dir, COMPOSE_ENV, &d->env, 0600, &d->e);
    else if (d->drop_env && unlinkat(dir, COMPOSE_ENV, 0) != 0 && errno != ENOENT)
        rc = err_sys(&d->e, errno, "\"" COMPOSE_ENV "\" of \"%s\" cannot be removed", d->id);
    if (rc == 0 && d->has_yml)
        rc = put(dir, COMPOSE_FILE, &d->yml, 0644, &d->e);
    /* Last: what it says is true of the others then. */
    if (rc == 0 && d->has_record)
        rc = put(dir, COMPOSE_RECORD, &d->record, 0600, &d->e);
    return rc;
}

static void save(struct compose_disk *d)
{
    if (make_folders(d->root, &d->e) != 0)
        return;
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    if (root < 0)
        return;
    if (mkdirat(root, d->id, 0755) == 0)
        (void)fsync(root);
    else if (errno != EEXIST) {
        (void)err_sys(&d->e, errno, "the folder \"%s/%s\" cannot be made", d->root, d->id);
        return;
    }
    _cleanup_(file_closep) int dir = open_folder(root, d->id, &d->e);
    if (dir >= 0)
        (void)write_files(d, dir);
}

static void staged_name(const struct compose_disk *d, char *out, size_t size)
{
    (void)snprintf(out, size, COMPOSE_NEW "%s", d->id);
}

static void stage(struct compose_disk *d)
{
    char name[sizeof(d->id) + sizeof(COMPOSE_NEW)];
    staged_name(d, name, sizeof(name));
    if (make_folders(d->root, &d->e) != 0)
        return;
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    if (root < 0)
        return;
    if (mkdirat(root, name, 0700) != 0 && errno != EEXIST) {
        (void)err_sys(&d->e, errno, "the folder \"%s/%s\" cannot be made", d->root, name);
        return;
    }
    _cleanup_(file_closep) int dir = open_folder(root, name, &d->e);
    if (dir >= 0)
        (void)write_files(d, dir);
}

static void lock(struct compose_disk *d)
{
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    _cleanup_(file_closep) int dir = root >= 0 ? open_folder(root, d->id, &d->e) : -1;
    if (dir < 0)
        return;
    d->fd = openat(dir, COMPOSE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->fd < 0)
        (void)err_sys(&d->e, errno, "the lock of \"%s\" cannot be opened", d->id);
    else if (flock(d->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        (void)err_set(&d->e, ERR_BUSY, "the Compose tool is still at work on \"%s\"", d->id);
}

/* ---- removing */

/* Folders under way, the one in hand last. */
struct descent {
    DIR *at[DEPTH_MAX];
    char name[DEPTH_MAX][NAME_MAX + 1]; /* of each in the one before */
    size_t n;
    dev_t dev;
};

static int descend(struct descent *s, int parent, const char *name, struct err *e)
{
    struct stat st;
    if (s->n == DEPTH_MAX)
        return err_set(e, ERR_LIMIT, "\"%.200s\" is more than %d folders deep", name, DEPTH_MAX);
    int fd = open_folder(parent, name, e);
    if (fd < 0)
        return fd;
    DIR *all = NULL;
    if (fstat(fd, &st) == 0 && (s->n == 0 || st.st_dev == s->dev))
        all = fdopendir(fd);
    else
        errno = EXDEV;
    if (all == NULL) {
        int why = errno;
        (void)close(fd);
        return err_sys(e, why, "the folder \"%.200s\" cannot be removed", name);
    }
    if (s->n == 0)
        s->dev = st.st_dev;
    s->at[s->n] = all;
    (void)snprintf(s->name[s->n], sizeof(s->name[0]), "%s", name);
    s->n++;
    return 0;
}

/* One entry of the folder in hand. Links are removed, never followed. */
static int remove_entry(struct descent *s, const char *name, struct err *e)
{
    int at = dirfd(s->at[s->n - 1]);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || unlinkat(at, name, 0) == 0 ||
        errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_sys(e, errno, "\"%.200s\" cannot be removed", name);
    return descend(s, at, name, e);
}

static int remove_tree(int root, const char *name, struct err *e)
{
    struct descent *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = descend(s, root, name, e);
    while (rc == 0 && s->n > 0) {
        struct dirent *x = readdir(s->at[s->n - 1]);
        if (x != NULL) {
            rc = remove_entry(s, x->d_name, e);
            continue;
        }
        (void)closedir(s->at[--s->n]);
        int parent = s->n > 0 ? dirfd(s->at[s->n - 1]) : root;
        if (unlinkat(parent, s->name[s->n], AT_REMOVEDIR) != 0 && errno != ENOENT)
            rc = err_sys(e, errno, "the folder \"%.200s\" cannot be removed", s->name[s->n]);
    }
    while (s->n > 0)
        (void)closedir(s->at[--s->n]);
    mem_free(s);
    return rc;
}

/* What is not there is no failure. */
static int remove_named(int root, const char *name, struct err *e)
{
    int rc = remove_tree(root, name, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    *e = (struct err){0};
    return 0;
}

/* Secrets are in it: the files that are known go first, which takes no memory. */
static void remove_staged(struct compose_disk *d, int root)
{
    char name[sizeof(d->id) + sizeof(COMPOSE_NEW)];
    struct err e = {0};
    staged_name(d, name, sizeof(name));
    _cleanup_(file_closep) int dir = open_folder(root, name, &e);
    if (dir < 0)
        return;
    (void)unlinkat(dir, COMPOSE_ENV, 0);
    (void)unlinkat(dir, COMPOSE_FILE, 0);
    if (unlinkat(root, name, AT_REMOVEDIR) != 0)
        (void)remove_named(root, name, &d->e);
}

static void unstage(struct compose_disk *d)
{
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    if (root >= 0)
        remove_staged(d, root);
}

/* Under another name first: what a crash leaves of it is nobody's project, and goes at the next
 * start. */
static void remove_folder(struct compose_disk *d)
{
    char gone[sizeof(d->id) + sizeof(COMPOSE_GONE)];
    (void)snprintf(gone, sizeof(gone), COMPOSE_GONE "%s", d->id);
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    if (root >= 0)
        remove_staged(d, root);
    if (root < 0 || remove_named(root, gone, &d->e) != 0)
        return;
    if (renameat(root, d->id, root, gone) != 0) {
        if (errno != ENOENT)
            (void)err_sys(&d->e, errno, "the folder of \"%s\" cannot be removed", d->id);
        return;
    }
    (void)fsync(root);
    (void)remove_named(root, gone, &d->e);
}

static void forget(struct compose_disk *d)
{
    static const char *const names[] = {COMPOSE_RECORD, COMPOSE_FILE, COMPOSE_ENV, COMPOSE_LOCK};
    _cleanup_(file_closep) int root = open_root(d, &d->e);
    _cleanup_(file_closep) int dir = root >= 0 ? open_folder(root, d->id, &d->e) : -1;
    for (size_t i = 0; dir >= 0 && i < ARRAY_LEN(names); i++)
        if (unlinkat(dir, names[i], 0) != 0 && errno != ENOENT)
            (void)err_sys(&d->e, errno, "\"%s\" of \"%s\" cannot be removed", names[i], d->id);
    if (dir >= 0)
        (void)fsync(dir);
    /* What the project's containers keep in it stays. */
    if (dir >= 0)
        (void)unlinkat(root, d->id, AT_REMOVEDIR);
    if (d->e.code == ERR_NOT_FOUND)
        d->e = (struct err){0};
}

void compose_disk_run(struct compose_disk *d)
{
    switch (d->op) {
    case COMPOSE_DISK_SCAN:
        scan(d);
        break;
    case COMPOSE_DISK_LOAD:
        load(d);
        break;
    case COMPOSE_DISK_SAVE:
        save(d);
        break;
    case COMPOSE_DISK_STAGE:
        stage(d);
        break;
    case COMPOSE_DISK_UNSTAGE:
        unstage(d);
        break;
    case COMPOSE_DISK_LOCK:
        lock(d);
        break;
    case COMPOSE_DISK_FORGET:
        forget(d);
        break;
    case COMPOSE_DISK_REMOVE:
        remove_folder(d);
        break;
    }
}
