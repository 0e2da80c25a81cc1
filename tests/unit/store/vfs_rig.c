#include "vfs_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 8, SECTOR = 512 };

struct pending {
    struct pending *next;
    bool truncate;
    sqlite3_int64 at;
    size_t n;
    unsigned char data[];
};
struct tracked {
    char path[256];
    unsigned char *synced;
    size_t n;
    struct pending *first, **last;
};
struct rig_file {
    sqlite3_file base;
    struct tracked *t;
    sqlite3_file real[];
};

static sqlite3_vfs *below;
static struct tracked files[FILES];
static enum rig_fault fault;
static uint64_t left, count, syncs;
static bool hit, dead;

void rig_set(enum rig_fault f, uint64_t n)
{
    fault = f;
    left = n;
    count = syncs = 0;
    hit = dead = false;
}

bool rig_hit(void)
{
    return hit;
}

uint64_t rig_count(void)
{
    return count;
}

uint64_t rig_syncs(void)
{
    return syncs;
}

static void drop_pending(struct tracked *t)
{
    while (t->first != NULL) {
        struct pending *p = t->first;
        t->first = p->next;
        free(p);
    }
    t->last = &t->first;
}

void rig_forget(void)
{
    for (size_t i = 0; i < FILES; i++) {
        drop_pending(&files[i]);
        free(files[i].synced);
        memset(&files[i], 0, sizeof(files[i]));
    }
}

/* True: this operation is the one. */
static bool counts(bool sync, bool write)
{
    count++;
    syncs += sync;
    if (fault == RIG_NONE || (fault == RIG_SYNC && !sync) || (fault == RIG_FULL && !write))
        return false;
    if (left > 1) {
        left--;
        return false;
    }
    if (left == 1 || fault == RIG_FULL || fault == RIG_POWER) {
        hit = true;
        if (fault != RIG_FULL && fault != RIG_POWER)
            left = 0;
        dead = fault == RIG_POWER;
        return true;
    }
    return false;
}

static void apply(unsigned char **p, size_t *n, const struct pending *w, bool whole)
{
    size_t end = (size_t)w->at + w->n;
    if (w->truncate) {
        if ((size_t)w->at < *n)
            *n = (size_t)w->at;
        return;
    }
    if (end > *n) {
        *p = realloc(*p, end);
        memset(*p + *n, 0, end - *n);
        *n = end;
    }
    for (size_t i = 0; i < w->n; i += SECTOR) {
        size_t part = w->n - i < SECTOR ? w->n - i : SECTOR;
        if (whole || rand() % 2 == 0)
            memcpy(*p + w->at + i, w->data + i, part);
    }
}

static void note(struct tracked *t, bool truncate, const void *p, size_t n, sqlite3_int64 at)
{
    if (t == NULL || dead)
        return;
    struct pending *w = malloc(sizeof(*w) + n);
    *w = (struct pending){.truncate = truncate, .at = at, .n = n};
    if (n > 0)
        memcpy(w->data, p, n);
    *t->last = w;
    t->last = &w->next;
}

static int f_close(sqlite3_file *f)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xClose(r->real);
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xRead(r->real, p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct rig_file *r = (struct rig_file *)f;
    if (dead)
        return SQLITE_IOERR_WRITE;
    if (counts(false, true)) {
        if (fault == RIG_IO)
            return SQLITE_IOERR_WRITE;
        int part = n > SECTOR ? n / 2 / SECTOR * SECTOR : 0; /* a sector is written whole */
        if (part > 0)
            (void)r->real->pMethods->xWrite(r->real, p, part, at);
        note(r->t, false, p, (size_t)part, at);
        if (fault == RIG_KILL)
            (void)raise(SIGKILL);
        return fault == RIG_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    note(r->t, false, p, (size_t)n, at);
    return r->real->pMethods->xWrite(r->real, p, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    struct rig_file *r = (struct rig_file *)f;
    if (dead)
        return SQLITE_IOERR_TRUNCATE;
    if (counts(false, false)) {
        if (fault == RIG_KILL)
            (void)raise(SIGKILL);
        return SQLITE_IOERR_TRUNCATE;
    }
    note(r->t, true, NULL, 0, n);
    return r->real->pMethods->xTruncate(r->real, n);
}

/* Nothing is really synced: that would only take time. */
static int f_sync(sqlite3_file *f, int flags)
{
    (void)flags;
    struct rig_file *r = (struct rig_file *)f;
    if (dead)
        return SQLITE_IOERR_FSYNC;
    if (counts(true, false)) {
        if (fault == RIG_KILL)
            (void)raise(SIGKILL);
        return SQLITE_IOERR_FSYNC;
    }
    struct tracked *t = r->t;
    for (struct pending *w = t ? t->first : NULL; w != NULL; w = w->next)
        apply(&t->synced, &t->n, w, true);
    if (t != NULL)
        drop_pending(t);
    return SQLITE_OK;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xFileSize(r->real, ret);
}

static int f_lock(sqlite3_file *f, int level)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xLock(r->real, level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xUnlock(r->real, level);
}

static int f_reserved(sqlite3_file *f, int *ret)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xCheckReservedLock(r->real, ret);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    struct rig_file *r = (struct rig_file *)f;
    return r->real->pMethods->xFileControl(r->real, op, arg);
}

static int f_sector(sqlite3_file *f)
{
    (void)f;
    return SECTOR;
}

static int f_traits(sqlite3_file *f)
{
    (void)f;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* as SQLite's own layer says */
}

static const sqlite3_io_methods methods = {.iVersion = 1,
                                           .xClose = f_close,
                                           .xRead = f_read,
                                           .xWrite = f_write,
                                           .xTruncate = f_truncate,
                                           .xSync = f_sync,
                                           .xFileSize = f_size,
                                           .xLock = f_lock,
                                           .xUnlock = f_unlock,
                                           .xCheckReservedLock = f_reserved,
                                           .xFileControl = f_control,
                                           .xSectorSize = f_sector,
                                           .xDeviceCharacteristics = f_traits};

static struct tracked *track(const char *path)
{
    for (size_t i = 0; i < FILES; i++) {
        struct tracked *t = &files[i];
        if (t->path[0] == '\0') {
            snprintf(t->path, sizeof(t->path), "%s", path);
            t->last = &t->first;
            /* What is there by now is taken for synced. */
            FILE *f = fopen(path, "rb");
            if (f != NULL) {
                (void)fseek(f, 0, SEEK_END);
                t->n = (size_t)ftell(f);
                t->synced = malloc(t->n + 1);
                rewind(f);
                t->n = fread(t->synced, 1, t->n, f);
                (void)fclose(f);
            }
        }
        if (strcmp(t->path, path) == 0)
            return t;
    }
    abort();
}

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    (void)v;
    struct rig_file *r = (struct rig_file *)f;
    memset(r, 0, sizeof(*r));
    int rc = below->xOpen(below, name, r->real, flags, out);
    if (rc != SQLITE_OK)
        return rc;
    r->base.pMethods = &methods;
    r->t = name != NULL ? track(name) : NULL;
    return SQLITE_OK;
}

static int v_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void)v;
    (void)sync;
    if (dead)
        return SQLITE_IOERR_DELETE;
    for (size_t i = 0; i < FILES; i++) {
        if (strcmp(files[i].path, name) == 0) {
            drop_pending(&files[i]);
            files[i].n = 0;
        }
    }
    return below->xDelete(below, name, 0);
}

static int v_access(sqlite3_vfs *v, const char *name, int flags, int *ret)
{
    (void)v;
    return below->xAccess(below, name, flags, ret);
}

static int v_full(sqlite3_vfs *v, const char *name, int n, char *out)
{
    (void)v;
    return below->xFullPathname(below, name, n, out);
}

static int v_random(sqlite3_vfs *v, int n, char *out)
{
    (void)v;
    return below->xRandomness(below, n, out);
}

static int v_sleep(sqlite3_vfs *v, int us)
{
    (void)v;
    return below->xSleep(below, us);
}

static int v_time(sqlite3_vfs *v, double *ret)
{
    (void)v;
    return below->xCurrentTime(below, ret);
}

static int v_error(sqlite3_vfs *v, int n, char *out)
{
    (void)v;
    return below->xGetLastError(below, n, out);
}

void rig_init(void)
{
    static sqlite3_vfs vfs = {.iVersion = 1,
                              .zName = RIG_VFS,
                              .xOpen = v_open,
                              .xDelete = v_delete,
                              .xAccess = v_access,
                              .xFullPathname = v_full,
                              .xRandomness = v_random,
                              .xSleep = v_sleep,
                              .xCurrentTime = v_time,
                              .xGetLastError = v_error};
    below = sqlite3_vfs_find(NULL);
    vfs.szOsFile = (int)sizeof(struct rig_file) + below->szOsFile;
    vfs.mxPathname = below->mxPathname;
    (void)sqlite3_vfs_register(&vfs, 0);
}

void rig_after_cut(const char *from, const char *to, unsigned seed)
{
    srand(seed);
    size_t prefix = strlen(from);
    for (size_t i = 0; i < FILES && files[i].path[0] != '\0'; i++) {
        struct tracked *t = &files[i];
        char name[512];
        snprintf(name, sizeof(name), "%s%s", to, t->path + prefix);
        (void)unlink(name);
        size_t n = t->n;
        unsigned char *image = malloc(n + 1);
        if (n > 0)
            memcpy(image, t->synced, n);
        for (struct pending *w = t->first; w != NULL; w = w->next)
            if (rand() % 3 != 0)
                apply(&image, &n, w, rand() % 2 == 0);
        if (n > 0) {
            int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
            if (write(fd, image, n) != (ssize_t)n)
                abort();
            close(fd);
        }
        free(image);
    }
}
