/* run_backup.h: former versions of run scripts: files <backup_dir>/<service>/<id>, with the mode,
 * owner and time that the script had. Ids count up; the highest is the newest.
 *
 * They lie outside the folder of definitions, because s6-rc-compile takes every folder in there for
 * a service, and what else lies in a service's folder may mean something to it. The folder must
 * belong to this process's user and be writable by nobody else: what it holds is run as a service
 * one day.
 */
#ifndef GANTRY_S6_RUN_BACKUP_H
#define GANTRY_S6_RUN_BACKUP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/etag.h"
#include <sys/stat.h>

#define S6_RUN_BACKUPS 5 /* of one service are kept */

struct s6_run_backup {
    int64_t id;
    int64_t time_ns; /* when this version was written, since 1970 UTC */
    size_t size;
    char etag[ETAG_SIZE];
};

/* The folder of one service; made if `make`. Returns a descriptor, or ERR_NOT_FOUND (nothing was
 * ever kept), ERR_DENIED (not ours alone), or of the system. */
int s6_backup_open(const char *backup_dir, struct slice name, bool make, struct err *e);
/* Writes one more, synced. *ret_id. */
int s6_backup_add(int dir, struct slice content, const struct stat *st, int64_t *ret_id,
                  struct err *e);
/* Appends the content of one (id 0: the newest) and tells its status. ERR_NOT_FOUND. */
int s6_backup_get(int dir, int64_t *id, struct buf *out, struct stat *st, struct err *e);
/* Takes one away, as far as that can be done. */
void s6_backup_drop(int dir, int64_t id);
/* Takes away all but the newest S6_RUN_BACKUPS, and what a killed writer left half-written. */
void s6_backup_prune(int dir);
/* Newest first. A service that has none, and a folder that is not there, give 0 of them. */
int s6_backup_list(const char *backup_dir, struct slice name,
                   struct s6_run_backup ret[S6_RUN_BACKUPS], size_t *n, struct err *e);

#endif
