/* Copies for an administrator, and the way back: received, checked, put in place at the next start.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/db_priv.h"
#include "store/workloads_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int workloads_name(char out[WORKLOADS_NAME_MAX], const char *path, const char *ending)
{
    int n = snprintf(out, WORKLOADS_NAME_MAX, "%s%s", path, ending);
    return n > 0 && n < WORKLOADS_NAME_MAX ? 0 : ERR_LIMIT;
}

static int start_copy_thread(struct workloads *w)
{
    if (w->has_thread)
        return 0;
    if (loop_thread(&w->thread, workloads_run, w) != 0)
        return ERR_NO_MEMORY;
    w->has_thread = true;
    return 0;
}

static int op_backup(void *self, store_copy_fn fn, void *ctx, struct err *e)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    uv_mutex_lock(&w->lock);
    bool busy = w->copy != NULL || w->copied != NULL;
    uv_mutex_unlock(&w->lock);
    if (busy)
        return err_set(e, ERR_BUSY, "another copy of the store is being made");
    struct copy_job *c = mem_zalloc(sizeof(*c));
    if (c == NULL || start_copy_thread(w) != 0) {
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    c->fn = fn;
    c->ctx = ctx;
    c->fd = -1;
    uv_mutex_lock(&w->lock);
    w->copy = c;
    uv_cond_signal(&w->work);
    uv_mutex_unlock(&w->lock);
    return 0;
}

/* --- uploads --- */

struct store_upload {
    struct workloads *w;
    int fd;
    uv_work_t work;
    bool working, dropped;
    struct slice piece;
    struct err e;
    void (*added)(void *ctx, const struct err *e);
    store_restored_fn restored;
    void *ctx;
    struct store_found found;
};

static void upload_free(struct store_upload *u)
{
    char name[WORKLOADS_NAME_MAX];
    if (u->fd >= 0)
        close(u->fd);
    if (workloads_name(name, u->w->path, ".upload") == 0)
        (void)unlink(name);
    struct workloads *w = u->w;
    mem_free(u);
    w->uploading = false;
    workloads_settle(w);
}

static int op_upload(void *self, struct store_upload **ret, struct err *e)
{
    struct workloads *w = self;
    CHECK_MAGIC(w, WORKLOADS_MAGIC);
    char name[WORKLOADS_NAME_MAX];
    if (w->uploading)
        return err_set(e, ERR_BUSY, "another store is being received");
    struct store_upload *u = mem_zalloc(sizeof(*u));
    if (u == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    u->w = w;
    (void)workloads_name(name, w->path, ".upload");
    if (unlink(name) != 0 && errno != ENOENT)
        err_sys(e, errno, "cannot remove \"%.200s\"", name);
    u->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (u->fd < 0) {
        int rc = err_sys(e, errno, "cannot make \"%.200s\"", name);
        mem_free(u);
        return rc;
    }
    w->uploading = true;
    *ret = u;
    return 0;
}

static void add_run(uv_work_t *work)
{
    struct store_upload *u = CONTAINER_OF(work, struct store_upload, work);
    (void)file_write_all(u->fd, u->piece, &u->e);
}

static void add_done(uv_work_t *work, int status)
{
    (void)status; /* cancelled by nobody */
    struct store_upload *u = CONTAINER_OF(work, struct store_upload, work);
    u->working = false;
    struct err e = u->e;
    void (*fn)(void *, const struct err *) = u->added;
    void *ctx = u->ctx;
    if (u->dropped)
        upload_free(u);
    fn(ctx, &e);
}

static int op_upload_add(struct store_upload *u, struct slice piece,
                         void (*fn)(void *ctx, const struct err *e), void *ctx)
{
    INVARIANT(!u->working);
    u->piece = piece;
    u->added = fn;
    u->ctx = ctx;
    if (loop_work(u->w->loop, &u->work, add_run, add_done) != 0)
        return ERR_NO_MEMORY;
    u->working = true;
    return 0;
}

static void op_drop(struct store_upload *u)
{
    if (u == NULL)
        return;
    if (u->working)
        u->dropped = true;
    else
        upload_free(u);
}

static void first_finding(void *ctx, const char *text)
{
    struct store_found *f = ctx;
    if (f->fault[0] != '\0')
        return;
    /* Behind a semicolon is what to do about a store in use. */
    snprintf(f->fault, sizeof(f->fault), "%.*s", (int)strcspn(text, ";"), text);
}

static int sync_folder_of(const char *path, struct err *e)
{
    char folder[WORKLOADS_NAME_MAX];
    memcpy(folder, path, strlen(path) + 1);
    char *slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc =
        fd < 0 || fsync(fd) != 0 ? err_sys(e, errno, "cannot sync folder \"%.200s\"", folder) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* On a thread of the pool. */
static int check_and_place(struct store_upload *u, struct err *e)
{
    char from[WORKLOADS_NAME_MAX], to[WORKLOADS_NAME_MAX];
    (void)workloads_name(from, u->w->path, ".upload");
    (void)workloads_name(to, u->w->path, ".restore");
    struct db_options o = {.path = from};
    struct db_report r;
    struct store_found *f = &u->found;
    if (fsync(u->fd) != 0)
        return err_sys(e, errno, "cannot write \"%.200s\"", from);
    int rc = db_check(&o, first_finding, f, &r, e);
    if (rc != 0)
        return rc;
    f->rows = r.rows;
    f->bad_rows = r.bad_rows;
    f->faults = r.faults;
    f->bytes = r.bytes;
    if (f->faults > 0)
        return err_set(e, ERR_INVALID, "what came is not a store in good order: %s", f->fault);
    if (r.bytes == 0)
        return err_set(e, ERR_INVALID, "what came is empty");
    if (rename(from, to) != 0)
        return err_sys(e, errno, "cannot rename \"%.200s\"", from);
    return sync_folder_of(to, e);
}

static void restore_run(uv_work_t *work)
{
    struct store_upload *u = CONTAINER_OF(work, struct store_upload, work);
    (void)check_and_place(u, &u->e);
}

static void restore_done(uv_work_t *work, int status)
{
    (void)status;
    struct store_upload *u = CONTAINER_OF(work, struct store_upload, work);
    u->working = false;
    u->restored(u->ctx, &u->e, &u->found);
    upload_free(u);
}

static int op_restore(struct store_upload *u, store_restored_fn fn, void *ctx)
{
    INVARIANT(!u->working);
    u->restored = fn;
    u->ctx = ctx;
    if (loop_work(u->w->loop, &u->work, restore_run, restore_done) != 0) {
        upload_free(u);
        return ERR_NO_MEMORY;
    }
    u->working = true;
    return 0;
}

const struct store_admin_ops workloads_admin_ops = {.backup = op_backup,
                                                    .upload = op_upload,
                                                    .upload_add = op_upload_add,
                                                    .restore = op_restore,
                                                    .drop = op_drop};

/* --- at the next start --- */

/* FILE becomes FILE.before-TIME, its log FILE.before-TIME-wal, so that they still belong together.
 * The log goes first: if we are killed between the two, FILE is still there and the rest is done at
 * the next start. */
static int set_aside(struct workloads *w, struct err *e)
{
    static const char *const logs[] = {"-wal", "-journal"};
    char name[WORKLOADS_NAME_MAX], log[WORKLOADS_NAME_MAX], log_to[WORKLOADS_NAME_MAX + 16];
    char ending[48];
    if (access(w->path, F_OK) != 0)
        return 0;
    snprintf(ending, sizeof(ending), ".before-%lld",
             (long long)(clock_real_ns(loop_clock(w->loop)) / (int64_t)NS_PER_S));
    if (workloads_name(name, w->path, ending) != 0)
        return err_set(e, ERR_INVALID, "store \"%.200s\" has too long a name", w->path);
    if (access(name, F_OK) == 0)
        return err_set(e, ERR_EXISTS, "\"%.200s\" is there already", name);
    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        (void)workloads_name(log, w->path, logs[i]);
        snprintf(log_to, sizeof(log_to), "%s%s", name, logs[i]);
        if (rename(log, log_to) != 0 && errno != ENOENT)
            return err_sys(e, errno, "cannot rename \"%.200s\"", log);
    }
    if (rename(w->path, name) != 0)
        return err_sys(e, errno, "cannot rename \"%.200s\"", w->path);
    memcpy(w->replaced, name, strlen(name) + 1);
    return sync_folder_of(w->path, e);
}

/* Brings the log into the file, if both are in order and nobody else has them open. What is damaged
 * stays as it is. ERR_STATE: somebody has it. */
static int settle_old(struct workloads *w, const char *vfs, struct err *e)
{
    struct db *old;
    struct db_options o = {.path = w->path, .vfs = vfs};
    struct err why = {0};
    int fd = open(w->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot open \"%.200s\"", w->path);
    int rc = db_file_in_use(fd, w->path, e);
    close(fd);
    if (rc == 0 && db_open(&old, &o, &why) == 0)
        db_close(old);
    return rc;
}

int workloads_put_restored(struct workloads *w, const char *vfs, struct err *e)
{
    char name[WORKLOADS_NAME_MAX];
    (void)workloads_name(name, w->path, ".restore");
    if (access(name, F_OK) != 0)
        return 0;
    int rc = settle_old(w, vfs, e);
    if (rc == 0)
        rc = set_aside(w, e);
    if (rc == 0 && rename(name, w->path) != 0)
        rc = err_sys(e, errno, "cannot rename \"%.200s\"", name);
    if (rc == 0)
        rc = sync_folder_of(w->path, e);
    return rc != 0 ? err_wrap(e, "cannot put a restored store in place") : 0;
}
