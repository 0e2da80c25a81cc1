/* db.h: the file of the workloads' intents: SQLite, one writer, everything synchronous.
 *
 * Write-ahead log, synchronous=FULL: what db_commit said is on the disk. The file is locked for as
 * long as it is open, so that no other program reads or writes it. No call may come from two
 * threads at once; which thread it is may change.
 *
 * Damage is found by SQLite's own checks, by a checksum in each row, by totals over all rows, and
 * by a look at the log before it is played back. A file that is damaged, or is somebody else's, or
 * of a newer program, is refused and stays as it is.
 */
#ifndef GANTRY_STORE_DB_H
#define GANTRY_STORE_DB_H

#include "base/buf.h"
#include "base/err.h"
#include "core/workload_store.h"

#define DB_PATH_MAX 3800

struct db;

struct db_options {
    const char *path; /* absolute; at most DB_PATH_MAX bytes */
    const char *vfs;  /* SQLite's name of the layer below it, for tests; NULL: the system's */
};

/* Opens the file, or makes it (0600) with the folders above it (0700); brings an older schema up to
 * date. ERR_STATE: damaged, foreign, too new, or in use (by which process, if that can be told);
 * ERR_DENIED: others may read or write it, or it is not ours; ERR_INVALID (the path), ERR_NO_SPACE,
 * ERR_IO, ERR_NO_MEMORY. */
int db_open(struct db **ret, const struct db_options *o, struct err *e);
/* Brings the log into the file and closes it. Never fails: what was committed is safe either way.
 */
void db_close(struct db *d);

bool db_fresh(const struct db *d);       /* there was no file, or an empty one */
uint64_t db_rows(const struct db *d);    /* as of the last db_load or db_commit */
uint64_t db_bytes(const struct db *d);   /* of the file, without the log */
size_t db_log_pages(const struct db *d); /* in the log, not yet in the file */

/* All rows in order of their ids; fn's result other than 0 ends it and is returned. Rows that
 * cannot be read are told to `bad` (may be NULL) and counted in *n_bad. ERR_STATE: rows are
 * missing, or SQLite found damage. */
int db_load(struct db *d, int (*fn)(void *ctx, const struct stored_workload *w),
            void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, size_t *n_bad,
            struct err *e);

/* One transaction. After any failure: db_rollback. */
int db_begin(struct db *d, struct err *e);
int db_put(struct db *d, const struct stored_workload *w, struct err *e);
int db_remove(struct db *d, struct slice id, struct err *e); /* absent: fine */
/* The same for a thing. ERR_LIMIT: its id or body is too long. */
int db_thing_put(struct db *d, enum store_table t, struct slice id, struct slice body,
                 struct err *e);
int db_thing_remove(struct db *d, enum store_table t, struct slice id, struct err *e);
/* All things of a table, as db_load. */
int db_things(struct db *d, enum store_table t,
              int (*fn)(void *ctx, struct slice id, struct slice body),
              void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, size_t *n_bad,
              struct err *e);
int db_commit(struct db *d, struct err *e);
void db_rollback(struct db *d);

/* Brings the log into the file; the log then begins anew, or is cut to nothing. */
int db_checkpoint(struct db *d, bool cut, struct err *e);

/* ---- a copy while it is in use */

struct db_copy;
/* Copies into the new file `path` (0600; one that is there is removed), page by page. */
int db_copy_new(struct db_copy **ret, struct db *d, const char *path, struct err *e);
/* The next `pages`; between two steps the source may be written to. *ret_more: not yet done. */
int db_copy_step(struct db_copy *c, int pages, bool *ret_more, struct err *e);
/* Whole, and in order; or gives up and removes the file. */
int db_copy_end(struct db_copy *c, bool keep, struct err *e);

/* ---- looking at a file without changing anything */

struct db_report {
    uint64_t rows, bad_rows, faults, bytes;
    int schema;
};
/* Checks everything: header, log, SQLite's integrity check, each row, the totals. Each finding is a
 * sentence for `tell` (may be NULL). 0 if the file could be looked at, faults or not; ERR_STATE if
 * another process has it open, ERR_NOT_FOUND, ERR_DENIED, ERR_IO, ERR_NO_MEMORY. Nothing is
 * written or made. */
int db_check(const struct db_options *o, void (*tell)(void *ctx, const char *finding), void *ctx,
             struct db_report *ret, struct err *e);

#endif
