/* db_priv.h: what the files around SQLite share. */
#ifndef GANTRY_STORE_DB_PRIV_H
#define GANTRY_STORE_DB_PRIV_H

#include "store/db.h"

#include <sqlite3.h>

#define DB_APPLICATION_ID 0x474E5452 /* "GNTR" */
#define DB_SCHEMA 2                  /* the newest that this program knows */
#define DB_VALUE_MAX (16u << 20)     /* bytes of one value: a document, sealed */
#define DB_ROW_MAX (32 << 20)
#define DB_MAGIC 0x44425354u

enum db_statement { DB_PUT, DB_REMOVE, DB_SUM_OF, DB_TOTALS, DB_BEGIN, DB_COMMIT, DB_STATEMENTS };

/* Over all rows: how many, and the sum of their checksums. */
struct db_totals {
    uint64_t rows, sums;
};

struct db {
    uint32_t magic;
    sqlite3 *sql;
    sqlite3_stmt *st[DB_STATEMENTS];
    struct db_totals now, committed;
    size_t log_pages;
    bool fresh;
    char path[DB_PATH_MAX + 1];
};

/* db_lib.c: SQLite itself, set up once in a process. */
int db_library(struct err *e);
/* What SQLite says, as an error of ours; `what` begins the text: "cannot write store \"...\"". */
int db_fail(struct err *e, sqlite3 *sql, int rc, const char *path, const char *what);
/* The same for damage, with what to do about it. */
int db_damaged(struct err *e, const char *path, const char *why);
int db_exec(struct db *d, const char *text, const char *what, struct err *e);
/* One number that a statement gives. */
int db_number(sqlite3 *sql, const char *text, int64_t *ret);

/* db_file.c: what can be told without SQLite. */
struct db_header {
    bool empty;  /* no bytes at all */
    bool sqlite; /* begins as such files do */
    uint32_t application_id, schema;
    uint64_t bytes;
};
/* What is there; `empty` too if there is nothing, then the folders are made. ERR_DENIED, ERR_STATE
 * (in use, or not ours), ERR_INVALID. */
int db_file_prepare(const char *path, struct db_header *ret, struct err *e);
/* Makes a new file, mode 0600; what has the name goes. */
int db_file_make(const char *name, struct err *e);
/* Syncs a whole file and gives it its name, unless another one has it that is not empty. */
int db_file_place(const char *name, const char *path, struct err *e);
void db_file_drop(const char *name); /* with its logs */
int db_file_header(int fd, const char *path, struct db_header *ret, struct err *e);
/* Whether this program may use a file with this header. ERR_STATE. */
int db_header_check(const struct db_header *h, const char *path, struct err *e);
/* ERR_STATE "is used by process 12" if another process has locked it. */
int db_file_in_use(int fd, const char *path, struct err *e);

/* db_wal.c: is the log whole? A torn end is normal; a fault with committed changes behind it is
 * damage, which SQLite would take for the end. ERR_STATE; a missing log is fine. */
int db_wal_check(const char *path, struct err *e);

/* db_rows.c */
extern const char db_schema_1[];
/* db_things.c */
extern const char db_schema_2[];
int db_read_things(sqlite3 *sql, const char *path, enum store_table t,
                   int (*fn)(void *ctx, struct slice id, struct slice body),
                   void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                   size_t *n_bad, struct err *e);
int db_prepare(struct db *d, struct err *e); /* statements, totals */
int db_read_totals(sqlite3 *sql, const char *path, struct db_totals *ret, struct err *e);
uint64_t db_row_sum(const struct stored_workload *w);
/* Reads all rows and compares the totals with the stored ones. */
struct db_reader {
    int (*fn)(void *ctx, const struct stored_workload *w);
    void (*bad)(void *ctx, struct slice id, const char *why);
    void *ctx;
    size_t n_bad;
    struct db_totals seen;
};
int db_read_rows(sqlite3 *sql, const char *path, struct db_reader *r, struct err *e);

#endif
