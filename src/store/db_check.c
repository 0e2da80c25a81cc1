/* Looking at a file as a whole, without changing or making anything. */
#include "store/db_priv.h"

#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FINDINGS_MAX = 100 };

struct look {
    void (*tell)(void *ctx, const char *finding);
    void *ctx;
    struct db_report *r;
};

static void found(struct look *l, const char *text)
{
    l->r->faults++;
    if (l->tell != NULL)
        l->tell(l->ctx, text);
}

static void bad_row(void *ctx, struct slice id, const char *why)
{
    struct look *l = ctx;
    char text[400];
    struct buf b = BUF_FIXED(text);
    buf_addlit(&b, "row of workload \"");
    (void)str_add_printable(&b, (struct slice){id.p, id.len < 128 ? id.len : 128});
    buf_addlit(&b, "\": ");
    buf_adds(&b, why);
    found(l, text);
}

/* Keeps daemons from beginning to write meanwhile, and finds one that does already. The lock goes
 * with the descriptor. */
static int hold(int fd, const char *path, struct err *e)
{
    struct flock lock = {.l_type = F_RDLCK,
                         .l_whence = SEEK_SET,
                         .l_start = 0x40000002, /* SQLite's shared bytes */
                         .l_len = 510};
    int rc = db_file_in_use(fd, path, e);
    if (rc == 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0)
        rc = err_set(e, ERR_STATE, "store \"%.200s\" is used by another program", path);
    if (rc == 0)
        return 0;
    struct err why = *e;
    return err_set(e, rc, "%.300s; ask it for a copy with gantry store backup, and check that",
                   why.msg);
}

static int integrity(struct look *l, sqlite3 *sql, const char *path, struct err *e)
{
    sqlite3_stmt *st = NULL;
    char pragma[60];
    snprintf(pragma, sizeof(pragma), "PRAGMA integrity_check(%d)", FINDINGS_MAX);
    int rc = sqlite3_prepare_v2(sql, pragma, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : "ok";
        if (text == NULL)
            rc = SQLITE_NOMEM;
        else if (strcmp(text, "ok") != 0)
            found(l, text);
    }
    (void)sqlite3_finalize(st);
    if (rc == SQLITE_DONE)
        return 0;
    int ret = db_fail(e, sql, rc, path, "cannot read store");
    if (ret != ERR_STATE)
        return ret;
    found(l, e->msg);
    return 0;
}

/* A fault of the file is a finding; what keeps us from looking is an error. */
static int as_finding(struct look *l, int rc, struct err *e)
{
    if (rc != ERR_STATE)
        return rc;
    found(l, e->msg);
    *e = (struct err){0};
    return 0;
}

static int look_inside(struct look *l, sqlite3 *sql, const char *path, struct err *e)
{
    /* The log's index is kept in memory then, so that no file is made for it. */
    int rc = sqlite3_exec(sql,
                          "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON; "
                          "PRAGMA trusted_schema = OFF",
                          NULL, NULL, NULL);
    (void)sqlite3_db_config(sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int64_t schema = 0, id = 0;
    if (rc == SQLITE_OK)
        rc = db_number(sql, "PRAGMA user_version", &schema);
    if (rc == SQLITE_OK)
        rc = db_number(sql, "PRAGMA application_id", &id);
    if (rc != SQLITE_OK)
        return as_finding(l, db_fail(e, sql, rc, path, "cannot read store"), e);
    struct db_header h = {
        .sqlite = true, .application_id = (uint32_t)id, .schema = (uint32_t)schema};
    l->r->schema = (int)schema;
    rc = as_finding(l, db_header_check(&h, path, e), e);
    if (rc == 0)
        rc = integrity(l, sql, path, e);
    if (rc != 0 || schema < 1 || schema > DB_SCHEMA)
        return rc;
    struct db_reader reader = {.bad = bad_row, .ctx = l};
    rc = as_finding(l, db_read_rows(sql, path, &reader, e), e);
    l->r->rows = reader.seen.rows;
    l->r->bad_rows = reader.n_bad;
    for (int t = 0; t < STORE_TABLES && rc == 0 && schema >= 2; t++) {
        size_t n_bad = 0;
        rc = as_finding(
            l, db_read_things(sql, path, (enum store_table)t, NULL, bad_row, l, &n_bad, e), e);
        l->r->bad_rows += n_bad;
    }
    return rc;
}

static bool has_log(const char *path)
{
    char name[DB_PATH_MAX + 8];
    struct stat st;
    snprintf(name, sizeof(name), "%s-wal", path);
    return stat(name, &st) == 0 && st.st_size > 0;
}

static int open_and_look(struct look *l, const struct db_options *o, struct err *e)
{
    _cleanup_(buf_done) struct buf uri = BUF_INIT(4 * DB_PATH_MAX);
    buf_addlit(&uri, "file:");
    (void)pct_encode(&uri, slice_of(o->path));
    /* Without a log nothing can change it, and SQLite must not make one. With a log it is opened
     * without SQLite's locks, which need to write; those of `hold` are there. */
    buf_adds(&uri, has_log(o->path) ? "?vfs=unix-none" : "?immutable=1");
    if (uri.err != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    sqlite3 *sql = NULL;
    int flags =
        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
    int rc = sqlite3_open_v2(uri.data, &sql, flags, NULL);
    int ret = rc == SQLITE_OK ? look_inside(l, sql, o->path, e)
                              : db_fail(e, sql, rc, o->path, "cannot open store");
    (void)sqlite3_close_v2(sql);
    return ret;
}

static int look(struct look *l, int fd, const struct db_options *o, struct err *e)
{
    struct db_header header;
    int rc = db_file_header(fd, o->path, &header, e);
    if (rc != 0)
        return rc;
    l->r->bytes = header.bytes;
    rc = db_header_check(&header, o->path, e);
    if (rc != 0 || header.empty) /* SQLite would say less about it */
        return as_finding(l, rc, e);
    rc = as_finding(l, db_wal_check(o->path, e), e);
    if (rc != 0)
        return rc;
    return open_and_look(l, o, e);
}

int db_check(const struct db_options *o, void (*tell)(void *ctx, const char *finding), void *ctx,
             struct db_report *ret, struct err *e)
{
    *ret = (struct db_report){.rows = 0};
    struct look l = {.tell = tell, .ctx = ctx, .r = ret};
    int rc = db_library(e);
    if (rc != 0)
        return rc;
    int fd = open(o->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot open store \"%.200s\"", o->path);
    rc = hold(fd, o->path, e);
    if (rc == 0)
        rc = look(&l, fd, o, e);
    close(fd);
    return rc;
}
