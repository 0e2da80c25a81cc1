/* workloads.h: the workloads' intents on disk: fills core/workload_store.h and core/store_admin.h.
 *
 * One thread, "store", does all that waits for the disk. Commits that wait are taken together into
 * one transaction and one sync; when that fails, each of them is tried alone, so that an error is
 * told to exactly those that it concerns. Between commits the thread brings the log into the file,
 * once it is large, or when nothing has happened for a while; and makes copies, piece by piece.
 *
 * Files beside FILE: FILE-wal (the log), FILE.backup (a copy being made), FILE.upload (one being
 * received), FILE.restore (takes FILE's place at the next start), FILE.before-TIME (what a restore
 * replaced).
 */
#ifndef GANTRY_STORE_WORKLOADS_H
#define GANTRY_STORE_WORKLOADS_H

#include "core/store_admin.h"
#include "core/workload_store.h"
#include "net/loop.h"

struct workloads;

struct workloads_options {
    const char *path;   /* db_options.path */
    const char *vfs;    /* db_options.vfs */
    size_t max_waiting; /* commits; 0: 4096 */
    size_t max_bytes;   /* of waiting commits; 0: 64 MiB */
};

/* Opens the store, or makes it; puts a restored one in place before. Blocks. Errors as db_open;
 * ERR_INVALID: the path is too long. */
int workloads_new(struct workloads **ret, struct loop *l, const struct workloads_options *o,
                  struct err *e);
/* Borrowed from w. */
void workloads_store(struct workloads *w, struct workload_store *ret);
void workloads_admin(struct workloads *w, struct store_admin *ret);
/* What was put in place of which file when it was opened; NULL: nothing. Borrowed. */
const char *workloads_replaced(const struct workloads *w);
/* Commits what waits, ends a copy, then closes the file; their callbacks come from within. An
 * upload must have been dropped or handed in. Closes a handle: run the loop. */
void workloads_free(struct workloads *w);

#endif
