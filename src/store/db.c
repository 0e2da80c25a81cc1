/* Opening, migrating, checkpoints, copies. */
#include "store/db.h"

#include "base/mem.h"
#include "store/db_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file up to this size is looked through when it is opened; larger ones would take too long, and
 * every row of them is checked by db_load all the same. */
#define QUICK_CHECK_MAX (1u << 20)

/* From schema n to n + 1. */
static const char *const migrations[DB_SCHEMA] = {db_schema_1, db_schema_2};

static int count_pages(void *ctx, sqlite3 *sql, const char *name, int pages)
{
    (void)sql;
    (void)name;
    ((struct db *)ctx)->log_pages = (size_t)pages;
    return SQLITE_OK;
}

/* --- opening --- */

/* SQLite answers with the mode that it has, not with an error. */
static int check_mode(struct db *d, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(d->sql, "PRAGMA journal_mode", -1, &st, NULL), ret = 0;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (mode == NULL)
        ret =
            db_fail(e, d->sql, rc == SQLITE_ROW ? SQLITE_NOMEM : rc, d->path, "cannot open store");
    else if (strcmp(mode, "wal") != 0)
        ret = err_set(e, ERR_IO, "cannot open store \"%.200s\": SQLite can keep no log there",
                      d->path);
    (void)sqlite3_finalize(st);
    return ret;
}

/* `whole`: a file that nobody knows of yet is synced once, when all is in it. */
static int set_up(struct db *d, bool whole, struct err *e)
{
    const char *const pragmas[] = {
        /* First, before anything is read: the log's index then lives in memory, not in a file, and
         * the file is locked from the first use on. */
        "PRAGMA locking_mode = EXCLUSIVE",
        whole ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = FULL",
        "PRAGMA cell_size_check = ON",
        "PRAGMA journal_mode = WAL",
        "PRAGMA wal_autocheckpoint = 0",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -512",
        "PRAGMA trusted_schema = OFF",
    };
    (void)sqlite3_limit(d->sql, SQLITE_LIMIT_LENGTH, DB_ROW_MAX);
    (void)sqlite3_db_config(d->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    for (size_t i = 0; i < ARRAY_LEN(pragmas); i++) {
        int rc = db_exec(d, pragmas[i], "cannot open store", e);
        if (rc != 0)
            return rc;
    }
    (void)sqlite3_wal_hook(d->sql, count_pages, d);
    return check_mode(d, e);
}

static int quick_check(struct db *d, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(d->sql, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int ret = 0;
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (rc != SQLITE_ROW)
        ret = db_fail(e, d->sql, rc, d->path, "cannot read store");
    else if (text == NULL)
        ret = err_set(e, ERR_NO_MEMORY, "out of memory");
    else if (strcmp(text, "ok") != 0)
        ret = db_damaged(e, d->path, text);
    (void)sqlite3_finalize(st);
    return ret;
}

static int migrate_one(struct db *d, int from, struct err *e)
{
    char stamp[100];
    snprintf(stamp, sizeof(stamp), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             DB_APPLICATION_ID, from + 1);
    int rc = db_exec(d, "BEGIN EXCLUSIVE", "cannot write store", e);
    if (rc == 0)
        rc = db_exec(d, migrations[from], "cannot write store", e);
    if (rc == 0)
        rc = db_exec(d, stamp, "cannot write store", e);
    if (rc == 0)
        rc = db_exec(d, "COMMIT", "cannot write store", e);
    if (rc != 0)
        (void)sqlite3_exec(d->sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* What the log holds counts too: so it is asked again, after it was played back. */
static int migrate(struct db *d, struct err *e)
{
    int64_t schema, id, tables;
    int rc = db_number(d->sql, "PRAGMA user_version", &schema);
    if (rc == SQLITE_OK)
        rc = db_number(d->sql, "PRAGMA application_id", &id);
    if (rc == SQLITE_OK)
        rc = db_number(d->sql, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc != SQLITE_OK)
        return db_fail(e, d->sql, rc, d->path, "cannot read store");
    struct db_header h = {
        .sqlite = true, .application_id = (uint32_t)id, .schema = (uint32_t)schema};
    int ret = db_header_check(&h, d->path, e);
    if (ret == 0 && schema == 0 && tables != 0)
        return err_set(e, ERR_STATE,
                       "store \"%.200s\" is another program's; it was left as it is: set "
                       "state.path to another file",
                       d->path);
    d->fresh = schema == 0;
    for (int64_t v = schema; v < DB_SCHEMA && ret == 0; v++)
        ret = migrate_one(d, (int)v, e);
    return ret;
}

static int open_sql(struct db *d, const struct db_options *o, bool whole, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(o->path, &d->sql, flags, o->vfs);
    if (rc != SQLITE_OK)
        return db_fail(e, d->sql, rc, o->path, "cannot open store");
    return set_up(d, whole, e);
}

enum { CHECK = 1, WHOLE = 2 };
static int open_file(struct db **ret, const struct db_options *o, unsigned how, struct err *e)
{
    struct db *d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    d->magic = DB_MAGIC;
    memcpy(d->path, o->path, strlen(o->path) + 1);
    int rc = open_sql(d, o, (how & WHOLE) != 0, e);
    if (rc == 0)
        rc = migrate(d, e);
    if (rc == 0 && (how & CHECK) != 0)
        rc = quick_check(d, e);
    if (rc == 0)
        rc = db_prepare(d, e);
    if (rc != 0) {
        /* What damage there is must stay as it is: no checkpoint. */
        if (d->sql != NULL)
            (void)sqlite3_db_config(d->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        db_close(d);
        return rc;
    }
    *ret = d;
    return 0;
}

/* A new file gets its name when it is whole: who finds it never finds half of one. */
static int make_whole(const struct db_options *o, struct err *e)
{
    char name[DB_PATH_MAX + 32];
    struct db_options temp = {.path = name, .vfs = o->vfs};
    struct db *d = NULL;
    snprintf(name, sizeof(name), "%s.new.%d", o->path, (int)getpid());
    int rc = db_file_make(name, e);
    if (rc == 0 && (rc = open_file(&d, &temp, WHOLE, e)) == 0 && d != NULL) {
        rc = db_checkpoint(d, true, e);
        db_close(d);
    }
    if (rc == 0)
        rc = db_file_place(name, o->path, e);
    db_file_drop(name);
    return rc;
}

int db_open(struct db **ret, const struct db_options *o, struct err *e)
{
    struct db_header header;
    struct db *d = NULL;
    int rc = db_library(e);
    if (rc == 0)
        rc = db_file_prepare(o->path, &header, e);
    if (rc != 0)
        return rc;
    bool fresh = header.empty;
    rc = fresh ? make_whole(o, e) : db_wal_check(o->path, e);
    if (rc == 0)
        rc = open_file(&d, o, header.bytes <= QUICK_CHECK_MAX ? CHECK : 0, e);
    if (rc != 0 || d == NULL)
        return rc;
    d->fresh = d->fresh || fresh;
    *ret = d;
    return 0;
}

void db_close(struct db *d)
{
    if (d == NULL)
        return;
    CHECK_MAGIC(d, DB_MAGIC);
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        (void)sqlite3_finalize(d->st[i]);
    (void)sqlite3_close_v2(d->sql);
    d->magic = 0;
    mem_free(d);
}

bool db_fresh(const struct db *d)
{
    return d->fresh;
}

uint64_t db_rows(const struct db *d)
{
    return d->committed.rows;
}

uint64_t db_bytes(const struct db *d)
{
    struct stat st;
    return stat(d->path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

size_t db_log_pages(const struct db *d)
{
    return d->log_pages;
}

int db_checkpoint(struct db *d, bool cut, struct err *e)
{
    CHECK_MAGIC(d, DB_MAGIC);
    int mode = cut ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int rc = sqlite3_wal_checkpoint_v2(d->sql, "main", mode, NULL, NULL);
    if (rc != SQLITE_OK)
        return db_fail(e, d->sql, rc, d->path, "cannot write store");
    d->log_pages = 0;
    return 0;
}

/* --- copies --- */

struct db_copy {
    struct db *from;
    sqlite3 *to;
    sqlite3_backup *backup;
    char path[];
};

static void copy_free(struct db_copy *c)
{
    if (c->backup != NULL)
        (void)sqlite3_backup_finish(c->backup);
    (void)sqlite3_close_v2(c->to);
    mem_free(c);
}

static int copy_begin(struct db_copy *c, struct err *e)
{
    if (unlink(c->path) != 0 && errno != ENOENT)
        return err_sys(e, errno, "cannot remove \"%.200s\"", c->path);
    int fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%.200s\"", c->path);
    close(fd);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(c->path, &c->to, flags, NULL);
    /* A copy that is not finished is thrown away: it needs no journal, and one sync at the end. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(c->to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL,
                          NULL);
    if (rc != SQLITE_OK)
        return db_fail(e, c->to, rc, c->path, "cannot make the copy");
    c->backup = sqlite3_backup_init(c->to, "main", c->from->sql, "main");
    return c->backup != NULL
               ? 0
               : db_fail(e, c->to, sqlite3_errcode(c->to), c->path, "cannot make the copy");
}

int db_copy_new(struct db_copy **ret, struct db *d, const char *path, struct err *e)
{
    CHECK_MAGIC(d, DB_MAGIC);
    size_t n = strlen(path) + 1;
    struct db_copy *c = mem_zalloc(sizeof(*c) + n);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->from = d;
    memcpy(c->path, path, n);
    int rc = copy_begin(c, e);
    if (rc != 0) {
        (void)unlink(c->path);
        copy_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int db_copy_step(struct db_copy *c, int pages, bool *ret_more, struct err *e)
{
    int rc = sqlite3_backup_step(c->backup, pages);
    *ret_more = rc == SQLITE_OK;
    return rc == SQLITE_OK || rc == SQLITE_DONE
               ? 0
               : db_fail(e, NULL, rc, c->path, "cannot make the copy");
}

/* The copy says that it has a log, as its source does; without one it can be read anywhere, also
 * where nothing can be written. https://sqlite.org/fileformat2.html, 1.3.3. */
static int copy_settle(const char *path, struct err *e)
{
    enum { AT_VERSIONS = 18 };
    static const unsigned char without_log[2] = {1, 1};
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%.200s\"", path);
    int rc = 0;
    if (pwrite(fd, without_log, sizeof(without_log), AT_VERSIONS) != 2 || fsync(fd) != 0)
        rc = err_sys(e, errno, "cannot write \"%.200s\"", path);
    close(fd);
    return rc;
}

int db_copy_end(struct db_copy *c, bool keep, struct err *e)
{
    int rc = sqlite3_backup_finish(c->backup);
    c->backup = NULL;
    int ret = rc == SQLITE_OK || !keep ? 0 : db_fail(e, c->to, rc, c->path, "cannot make the copy");
    (void)sqlite3_close_v2(c->to);
    c->to = NULL;
    if (ret == 0 && keep)
        ret = copy_settle(c->path, e);
    if (ret != 0 || !keep)
        (void)unlink(c->path);
    copy_free(c);
    return ret;
}
