/* Rows: the schema, their checksums, writing and reading them.
 *
 * Types, desired states and causes are stored as the numbers of core/workload.h, reasons of
 * failures by name. New columns come with a new number of the schema.
 */
#include "store/db_priv.h"

#include "base/str.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

const char db_schema_1[] =
    "CREATE TABLE workloads("
    "n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type INTEGER NOT NULL, revision TEXT NOT NULL,"
    "desired INTEGER NOT NULL, doc BLOB NOT NULL, print TEXT NOT NULL, who TEXT NOT NULL,"
    "generation INTEGER NOT NULL, flags INTEGER NOT NULL, created_ns INTEGER NOT NULL,"
    "updated_ns INTEGER NOT NULL, attempts INTEGER NOT NULL, last_failure_ns INTEGER NOT NULL,"
    "next_try_ns INTEGER NOT NULL, reason TEXT NOT NULL, failure TEXT NOT NULL,"
    "cause INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;"
    "CREATE TABLE totals(one INTEGER PRIMARY KEY CHECK(one = 1), rows INTEGER NOT NULL,"
    "sums INTEGER NOT NULL) STRICT;"
    "INSERT INTO totals VALUES(1, 0, 0);";

static const char *const statements[DB_STATEMENTS] = {
    [DB_PUT] = "INSERT INTO workloads(id, type, revision, desired, doc, print, who, generation, "
               "flags, created_ns, updated_ns, attempts, last_failure_ns, next_try_ns, reason, "
               "failure, cause, sum) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
               "?13, ?14, ?15, ?16, ?17, ?18) ON CONFLICT(id) DO UPDATE SET type = ?2, "
               "revision = ?3, desired = ?4, doc = ?5, print = ?6, who = ?7, generation = ?8, "
               "flags = ?9, created_ns = ?10, updated_ns = ?11, attempts = ?12, "
               "last_failure_ns = ?13, next_try_ns = ?14, reason = ?15, failure = ?16, "
               "cause = ?17, sum = ?18",
    [DB_REMOVE] = "DELETE FROM workloads WHERE id = ?1",
    [DB_SUM_OF] = "SELECT sum FROM workloads WHERE id = ?1",
    [DB_TOTALS] = "UPDATE totals SET rows = ?1, sums = ?2 WHERE one = 1",
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_COMMIT] = "COMMIT",
};

static const char *const reason_names[FAULT_REASONS] = {"",
#define X(sym, class, wire) #sym,
                                                        FAULT_TABLE(X)
#undef X
};

/* --- checksums --- */

struct summer {
    uLong crc;
    uint64_t len;
};

static void sum_bytes(struct summer *s, const void *p, size_t n)
{
    if (n > 0)
        s->crc = crc32_z(s->crc, p, n);
    s->len += n;
}

static void sum_number(struct summer *s, uint64_t v)
{
    unsigned char b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (unsigned char)(v >> (8 * i));
    sum_bytes(s, b, sizeof(b));
}

static void sum_text(struct summer *s, struct slice v)
{
    sum_number(s, v.len);
    sum_bytes(s, v.p, v.len);
}

static uint64_t row_sum(const struct stored_workload *w, const char *reason)
{
    struct summer s = {.crc = crc32_z(0, NULL, 0)};
    sum_text(&s, w->id);
    sum_number(&s, (uint64_t)w->type);
    sum_text(&s, w->revision);
    sum_number(&s, (uint64_t)w->desired);
    sum_text(&s, w->doc);
    sum_text(&s, w->print);
    sum_text(&s, w->who);
    sum_number(&s, w->generation);
    sum_number(&s, w->flags);
    sum_number(&s, (uint64_t)w->created_ns);
    sum_number(&s, (uint64_t)w->updated_ns);
    sum_number(&s, w->attempts);
    sum_number(&s, (uint64_t)w->last_failure_ns);
    sum_number(&s, (uint64_t)w->next_try_ns);
    sum_text(&s, slice_of(reason));
    sum_text(&s, w->failure);
    sum_number(&s, (uint64_t)w->cause);
    return (s.len & 0x7fffffff) << 32 | (s.crc & 0xffffffff);
}

uint64_t db_row_sum(const struct stored_workload *w)
{
    return row_sum(w, reason_names[w->reason]);
}

/* --- writing --- */

int db_read_totals(sqlite3 *sql, const char *path, struct db_totals *ret, struct err *e)
{
    int64_t rows, sums;
    int rc = db_number(sql, "SELECT rows FROM totals WHERE one = 1", &rows);
    if (rc == SQLITE_OK)
        rc = db_number(sql, "SELECT sums FROM totals WHERE one = 1", &sums);
    if (rc == SQLITE_ERROR)
        return db_damaged(e, path, "its totals are missing");
    if (rc != SQLITE_OK)
        return db_fail(e, sql, rc, path, "cannot read store");
    *ret = (struct db_totals){.rows = (uint64_t)rows, .sums = (uint64_t)sums};
    return 0;
}

int db_prepare(struct db *d, struct err *e)
{
    for (size_t i = 0; i < DB_STATEMENTS; i++) {
        int rc = sqlite3_prepare_v3(d->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &d->st[i],
                                    NULL);
        if (rc != SQLITE_OK)
            return db_fail(e, d->sql, rc, d->path, "cannot use store");
    }
    int rc = db_read_totals(d->sql, d->path, &d->committed, e);
    d->now = d->committed;
    return rc;
}

static void bind_text(sqlite3_stmt *st, int at, struct slice v)
{
    (void)sqlite3_bind_text(st, at, v.len > 0 ? v.p : "", (int)v.len, SQLITE_STATIC);
}

/* So nothing is bound that SQLite would refuse: borrowed values need no memory either. */
static bool fits(const struct stored_workload *w)
{
    const struct slice texts[] = {w->id, w->revision, w->doc, w->print, w->who, w->failure};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].len > DB_VALUE_MAX)
            return false;
    return true;
}

static void bind_number(sqlite3_stmt *st, int at, uint64_t v)
{
    (void)sqlite3_bind_int64(st, at, (int64_t)v);
}

/* Runs a statement whose values are bound; they are borrowed for the call only. */
static int run(struct db *d, sqlite3_stmt *st, struct err *e)
{
    int rc = sqlite3_step(st);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        rc = db_fail(e, d->sql, rc, d->path, "cannot write store");
    else
        rc = 0;
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc;
}

/* The checksum of the row that is there; *there: whether one is. */
static int old_sum(struct db *d, struct slice id, bool *there, uint64_t *sum, struct err *e)
{
    sqlite3_stmt *st = d->st[DB_SUM_OF];
    bind_text(st, 1, id);
    int rc = sqlite3_step(st);
    *there = rc == SQLITE_ROW;
    *sum = *there ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
    rc = rc == SQLITE_ROW || rc == SQLITE_DONE
             ? 0
             : db_fail(e, d->sql, rc, d->path, "cannot read store");
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc;
}

int db_put(struct db *d, const struct stored_workload *w, struct err *e)
{
    sqlite3_stmt *st = d->st[DB_PUT];
    uint64_t sum = db_row_sum(w), old;
    bool there;
    if (!fits(w))
        return err_set(e, ERR_LIMIT, "workload \"%.*s\" is too large to be stored",
                       (int)(w->id.len > 128 ? 128 : w->id.len), w->id.p);
    int rc = old_sum(d, w->id, &there, &old, e);
    if (rc != 0)
        return rc;
    bind_text(st, 1, w->id);
    bind_number(st, 2, (uint64_t)w->type);
    bind_text(st, 3, w->revision);
    bind_number(st, 4, (uint64_t)w->desired);
    (void)sqlite3_bind_blob(st, 5, w->doc.len > 0 ? w->doc.p : "", (int)w->doc.len, SQLITE_STATIC);
    bind_text(st, 6, w->print);
    bind_text(st, 7, w->who);
    bind_number(st, 8, w->generation);
    bind_number(st, 9, w->flags);
    bind_number(st, 10, (uint64_t)w->created_ns);
    bind_number(st, 11, (uint64_t)w->updated_ns);
    bind_number(st, 12, w->attempts);
    bind_number(st, 13, (uint64_t)w->last_failure_ns);
    bind_number(st, 14, (uint64_t)w->next_try_ns);
    bind_text(st, 15, slice_of(reason_names[w->reason]));
    bind_text(st, 16, w->failure);
    bind_number(st, 17, (uint64_t)w->cause);
    bind_number(st, 18, sum);
    rc = run(d, st, e);
    if (rc != 0)
        return rc;
    d->now.rows += !there;
    d->now.sums += sum - old;
    return 0;
}

int db_remove(struct db *d, struct slice id, struct err *e)
{
    uint64_t old;
    bool there;
    int rc = old_sum(d, id, &there, &old, e);
    if (rc != 0 || !there)
        return rc;
    bind_text(d->st[DB_REMOVE], 1, id);
    rc = run(d, d->st[DB_REMOVE], e);
    if (rc != 0)
        return rc;
    d->now.rows--;
    d->now.sums -= old;
    return 0;
}

/* --- a transaction --- */

int db_begin(struct db *d, struct err *e)
{
    CHECK_MAGIC(d, DB_MAGIC);
    d->now = d->committed;
    return run(d, d->st[DB_BEGIN], e);
}

int db_commit(struct db *d, struct err *e)
{
    bind_number(d->st[DB_TOTALS], 1, d->now.rows);
    bind_number(d->st[DB_TOTALS], 2, d->now.sums);
    bool changed = memcmp(&d->now, &d->committed, sizeof(d->now)) != 0;
    int rc = changed ? run(d, d->st[DB_TOTALS], e) : 0;
    if (rc == 0)
        rc = run(d, d->st[DB_COMMIT], e);
    if (rc == 0)
        d->committed = d->now;
    return rc;
}

void db_rollback(struct db *d)
{
    if (sqlite3_get_autocommit(d->sql) == 0)
        (void)sqlite3_exec(d->sql, "ROLLBACK", NULL, NULL, NULL);
    d->now = d->committed;
}

/* --- reading --- */

/* False without memory; *ret is borrowed until the next step. */
static bool column(sqlite3_stmt *st, int at, struct slice *ret)
{
    const void *p = sqlite3_column_blob(st, at);
    *ret = (struct slice){p, (size_t)sqlite3_column_bytes(st, at)};
    return p != NULL || ret->len == 0;
}

static enum fault_reason reason_of(struct slice name)
{
    for (size_t i = 0; i < FAULT_REASONS; i++)
        if (slice_eqs(name, reason_names[i]))
            return (enum fault_reason)i;
    return FAULT_UNKNOWN_ERROR; /* of a newer program */
}

/* NULL, or what is wrong with the row. */
static const char *row_read(sqlite3_stmt *st, struct stored_workload *w, bool *no_memory,
                            uint64_t *stored)
{
    struct slice reason = {NULL, 0};
    int64_t type = sqlite3_column_int64(st, 1), desired = sqlite3_column_int64(st, 3);
    int64_t cause = sqlite3_column_int64(st, 16);
    *stored = (uint64_t)sqlite3_column_int64(st, 17);
    *no_memory = !column(st, 0, &w->id) || !column(st, 2, &w->revision) ||
                 !column(st, 4, &w->doc) || !column(st, 5, &w->print) || !column(st, 6, &w->who) ||
                 !column(st, 14, &reason) || !column(st, 15, &w->failure);
    if (*no_memory)
        return NULL;
    w->type = (enum workload_type)type;
    w->desired = (enum workload_desired)desired;
    w->generation = (uint64_t)sqlite3_column_int64(st, 7);
    w->flags = (unsigned)sqlite3_column_int64(st, 8);
    w->created_ns = sqlite3_column_int64(st, 9);
    w->updated_ns = sqlite3_column_int64(st, 10);
    w->attempts = (uint32_t)sqlite3_column_int64(st, 11);
    w->last_failure_ns = sqlite3_column_int64(st, 12);
    w->next_try_ns = sqlite3_column_int64(st, 13);
    w->cause = (enum stop_cause)cause;
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)(reason.len < 63 ? reason.len : 63), reason.p);
    if (row_sum(w, name) != *stored)
        return "its checksum is wrong";
    w->reason = reason_of(reason);
    if (type <= WORKLOAD_NONE || type >= WORKLOAD_TYPES || desired <= DESIRED_NONE ||
        desired > DESIRED_STOPPED || cause < STOP_NONE || cause > STOP_LOST)
        return "it has a type, state or cause that this version does not know";
    return NULL;
}

static int one_row(sqlite3_stmt *st, struct db_reader *r, const char *path, struct err *e)
{
    struct stored_workload w = {.type = WORKLOAD_NONE};
    bool no_memory;
    uint64_t stored;
    const char *fault = row_read(st, &w, &no_memory, &stored);
    if (no_memory)
        return err_set(e, ERR_NO_MEMORY, "cannot read store \"%.200s\": out of memory", path);
    r->seen.rows++;
    r->seen.sums += stored;
    if (fault == NULL)
        return r->fn != NULL ? r->fn(r->ctx, &w) : 0;
    r->n_bad++;
    if (r->bad != NULL)
        r->bad(r->ctx, w.id, fault);
    return 0;
}

/* Fewer rows than were written, or others: something is damaged that no single row shows. */
static int compare_totals(sqlite3 *sql, const char *path, const struct db_reader *r, struct err *e)
{
    struct db_totals stored = {0};
    char why[100];
    int rc = db_read_totals(sql, path, &stored, e);
    if (rc != 0)
        return rc;
    if (stored.rows != r->seen.rows) {
        snprintf(why, sizeof(why), "it should have %llu rows and has %llu",
                 (unsigned long long)stored.rows, (unsigned long long)r->seen.rows);
        return db_damaged(e, path, why);
    }
    /* A bad row explains other sums: it has been told. */
    return stored.sums == r->seen.sums || r->n_bad > 0
               ? 0
               : db_damaged(e, path, "its rows are not the ones that were written");
}

int db_read_rows(sqlite3 *sql, const char *path, struct db_reader *r, struct err *e)
{
    static const char text[] =
        "SELECT id, type, revision, desired, doc, print, who, generation, flags, created_ns, "
        "updated_ns, attempts, last_failure_ns, next_try_ns, reason, failure, cause, sum "
        "FROM workloads ORDER BY id";
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(sql, text, -1, &st, NULL), ret = 0;
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW && (ret = one_row(st, r, path, e)) != 0)
            break;
    }
    if (ret == 0 && rc != SQLITE_DONE)
        ret = db_fail(e, sql, rc, path, "cannot read store");
    (void)sqlite3_finalize(st);
    return ret != 0 ? ret : compare_totals(sql, path, r, e);
}

int db_load(struct db *d, int (*fn)(void *ctx, const struct stored_workload *w),
            void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, size_t *n_bad,
            struct err *e)
{
    CHECK_MAGIC(d, DB_MAGIC);
    struct db_reader r = {.fn = fn, .bad = bad, .ctx = ctx};
    int rc = db_read_rows(d->sql, d->path, &r, e);
    *n_bad = r.n_bad;
    (void)sqlite3_db_release_memory(d->sql);
    if (rc != 0)
        return rc;
    /* From here on the totals are right again, whatever a bad row did to them. */
    d->now = d->committed = r.seen;
    return 0;
}
