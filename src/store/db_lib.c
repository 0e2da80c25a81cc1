/* SQLite itself: its memory, its errors. */
#include "store/db_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* SQLite asks for the size of a block, which mem.h does not know: it stands before the block. Eight
 * bytes keep the alignment that SQLite wants. */
enum { HEAD = sizeof(uint64_t) };

static void *take(int n)
{
    uint64_t *head = n > 0 ? mem_alloc((size_t)n + HEAD) : NULL;
    if (head == NULL)
        return NULL;
    *head = (uint64_t)n;
    return head + 1;
}

static void give(void *p)
{
    if (p != NULL)
        mem_free((uint64_t *)p - 1);
}

static void *resize(void *p, int n)
{
    uint64_t *head = mem_realloc((uint64_t *)p - 1, (size_t)n + HEAD);
    if (head == NULL)
        return NULL;
    *head = (uint64_t)n;
    return head + 1;
}

static int size_of(void *p)
{
    return p != NULL ? (int)*((uint64_t *)p - 1) : 0;
}

static int round_up(int n)
{
    return (n + 7) & ~7;
}

static int begin(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void end(void *ctx)
{
    (void)ctx;
}

static int setup(void)
{
    static const sqlite3_mem_methods methods = {.xMalloc = take,
                                                .xFree = give,
                                                .xRealloc = resize,
                                                .xSize = size_of,
                                                .xRoundup = round_up,
                                                .xInit = begin,
                                                .xShutdown = end};
    /* A connection is used by one thread at a time, so it needs no locks of its own. */
    int rc = sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    return rc == SQLITE_OK ? sqlite3_initialize() : rc;
}

int db_library(struct err *e)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool ready;
    pthread_mutex_lock(&lock);
    int rc = ready ? SQLITE_OK : setup();
    ready = rc == SQLITE_OK;
    /* A failed start is tried anew from the beginning. */
    if (!ready)
        (void)sqlite3_shutdown();
    pthread_mutex_unlock(&lock);
    if (rc == SQLITE_NOMEM)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return rc == SQLITE_OK ? 0
                           : err_set(e, ERR_INTERNAL, "SQLite does not start (its code %d)", rc);
}

int db_damaged(struct err *e, const char *path, const char *why)
{
    return err_set(e, ERR_STATE,
                   "store \"%.150s\" is damaged (%.120s); it was left as it is: see gantryd "
                   "--check-store, then put a backup in its place, or move it away to begin anew",
                   path, why);
}

int db_fail(struct err *e, sqlite3 *sql, int rc, const char *path, const char *what)
{
    int sys = sql != NULL ? sqlite3_system_errno(sql) : 0;
    const char *text = sql != NULL ? sqlite3_errmsg(sql) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return err_set(e, ERR_NO_MEMORY, "%s \"%.200s\": out of memory", what, path);
    case SQLITE_FULL:
        return err_set(e, ERR_NO_SPACE, "%s \"%.200s\": no space left", what, path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return db_damaged(e, path, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, ERR_STATE, "store \"%.200s\" is used by another program", path);
    case SQLITE_TOOBIG:
        return err_set(e, ERR_LIMIT, "%s \"%.200s\": a value is too large", what, path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, ERR_DENIED, "%s \"%.200s\": it can only be read", what, path);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        if (sys == ENOSPC || sys == EDQUOT)
            return err_set(e, ERR_NO_SPACE, "%s \"%.200s\": no space left", what, path);
        if ((rc & 0xff) == SQLITE_CANTOPEN && sys != 0)
            return err_sys(e, sys, "%s \"%.200s\"", what, path);
        return err_set(e, ERR_IO, "%s \"%.200s\": %s (SQLite's code %d%s%s)", what, path, text, rc,
                       sys != 0 ? ", " : "", sys != 0 ? strerrordesc_np(sys) : "");
    default:
        return err_set(e, ERR_INTERNAL, "%s \"%.200s\": %s (SQLite's code %d)", what, path, text,
                       rc);
    }
}

int db_exec(struct db *d, const char *text, const char *what, struct err *e)
{
    int rc = sqlite3_exec(d->sql, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(e, d->sql, rc, d->path, what);
}

int db_number(sqlite3 *sql, const char *text, int64_t *ret)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(sql, text, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *ret = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_ERROR;
    }
    int end_rc = sqlite3_finalize(st);
    return rc != SQLITE_OK ? rc : end_rc;
}
