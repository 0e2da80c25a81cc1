/* Things that last beside the workloads: a name, a body, a checksum of both. */
#include "store/db_priv.h"

#include "base/str.h"

#include <stdio.h>
#include <zlib.h>

#define TABLE(name)                                                                                \
    "CREATE TABLE " name "(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, "   \
    "sum INTEGER NOT NULL) STRICT;"
const char db_schema_2[] = TABLE("volumes") TABLE("attachments");

static const char *const names[STORE_TABLES] = {"volumes", "attachments"};

static int64_t sum_of(struct slice id, struct slice body)
{
    uLong crc = crc32_z(crc32_z(0, NULL, 0), (const Bytef *)id.p, id.len);
    if (body.len > 0)
        crc = crc32_z(crc, (const Bytef *)body.p, body.len);
    return (int64_t)((uint64_t)(body.len & 0x7fffffff) << 32 | (crc & 0xffffffff));
}

/* Rare enough not to be kept prepared. */
static int prepare(struct db *d, const char *before, enum store_table t, const char *after,
                   sqlite3_stmt **st, struct err *e)
{
    char text[200];
    snprintf(text, sizeof(text), "%s %s%s", before, names[t], after);
    int rc = sqlite3_prepare_v2(d->sql, text, -1, st, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(e, d->sql, rc, d->path, "cannot write store");
}

static int finish(struct db *d, sqlite3_stmt *st, struct err *e)
{
    int rc = sqlite3_step(st);
    int ret = rc == SQLITE_DONE ? 0 : db_fail(e, d->sql, rc, d->path, "cannot write store");
    (void)sqlite3_finalize(st);
    return ret;
}

int db_thing_put(struct db *d, enum store_table t, struct slice id, struct slice body,
                 struct err *e)
{
    sqlite3_stmt *st = NULL;
    if (id.len == 0 || id.len > STORE_THING_ID_MAX || body.len > STORE_THING_MAX)
        return err_set(e, ERR_LIMIT, "\"%.*s\" is too large to be stored",
                       (int)(id.len > 128 ? 128 : id.len), id.p);
    int rc = prepare(d, "INSERT INTO", t,
                     "(id, body, sum) VALUES(?1, ?2, ?3) "
                     "ON CONFLICT(id) DO UPDATE SET body = ?2, sum = ?3",
                     &st, e);
    if (rc != 0)
        return rc;
    (void)sqlite3_bind_text(st, 1, id.p, (int)id.len, SQLITE_STATIC);
    (void)sqlite3_bind_blob(st, 2, body.len > 0 ? body.p : "", (int)body.len, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 3, sum_of(id, body));
    return finish(d, st, e);
}

int db_thing_remove(struct db *d, enum store_table t, struct slice id, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = prepare(d, "DELETE FROM", t, " WHERE id = ?1", &st, e);
    if (rc != 0)
        return rc;
    (void)sqlite3_bind_text(st, 1, id.len > 0 ? id.p : "", (int)id.len, SQLITE_STATIC);
    return finish(d, st, e);
}

int db_read_things(sqlite3 *sql, const char *path, enum store_table t,
                   int (*fn)(void *ctx, struct slice id, struct slice body),
                   void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                   size_t *n_bad, struct err *e)
{
    char text[100];
    sqlite3_stmt *st = NULL;
    snprintf(text, sizeof(text), "SELECT id, body, sum FROM %s ORDER BY id", names[t]);
    int rc = sqlite3_prepare_v2(sql, text, -1, &st, NULL), ret = 0;
    *n_bad = 0;
    while (ret == 0 && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        struct slice id = {(const char *)sqlite3_column_text(st, 0),
                           (size_t)sqlite3_column_bytes(st, 0)};
        struct slice body = {sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1)};
        if (id.p == NULL || (body.p == NULL && body.len > 0)) {
            rc = SQLITE_NOMEM;
        } else if (sqlite3_column_int64(st, 2) != sum_of(id, body)) {
            ++*n_bad;
            if (bad != NULL)
                bad(ctx, id, "its checksum is wrong");
        } else if (fn != NULL) {
            ret = fn(ctx, id, body);
        }
    }
    if (ret == 0 && rc != SQLITE_DONE)
        ret = db_fail(e, sql, rc, path, "cannot read store");
    (void)sqlite3_finalize(st);
    return ret;
}

int db_things(struct db *d, enum store_table t,
              int (*fn)(void *ctx, struct slice id, struct slice body),
              void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, size_t *n_bad,
              struct err *e)
{
    CHECK_MAGIC(d, DB_MAGIC);
    return db_read_things(d->sql, d->path, t, fn, bad, ctx, n_bad, e);
}
