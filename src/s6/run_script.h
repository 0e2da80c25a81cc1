/* run_script.h: the source of a service's run script, below s6-overlay's s6-rc.d (talos
 * contract 3.8, 3.9): read, replaced with care, and brought back.
 *
 * Writing takes the disk's time: call it off the loop. Two writers of one process must take turns;
 * against others the script is read once more right before it is replaced.
 */
#ifndef GANTRY_S6_RUN_SCRIPT_H
#define GANTRY_S6_RUN_SCRIPT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/etag.h"

#define S6_RUN_SCRIPT_MAX (1024u * 1024u)

struct s6_run_place {
    const char *source_dir; /* NAME/run below it */
    const char *backup_dir; /* NAME/<id> below it, see run_backup.h; NULL: none are kept */
};

/* Appends <source_dir>/<name>/run. ERR_NOT_FOUND; ERR_DENIED for a link out of source_dir;
 * ERR_LIMIT. */
int s6_run_read(const char *source_dir, struct slice name, struct buf *out, struct err *e);

/* Replaces it, whole or not at all: mode 0755, the same owner. It must exist (ERR_NOT_FOUND) and be
 * a file itself, not a link (ERR_DENIED). The old one is a backup, on the disk, before the new one
 * is in its place; the same content again makes none. ERR_PRECONDITION or ERR_SYNTAX: the
 * condition; ERR_CONFLICT: somebody else writes it all the time. An error leaves the old script in
 * its place, but for the message that says otherwise. */
int s6_run_replace(const struct s6_run_place *p, struct slice name, struct slice content,
                   const struct etag_condition *condition, struct err *e);

/* Brings back a backup (id 0: the newest) with its mode, owner and time; what it replaces becomes
 * the newest backup instead, so that a second call undoes the first. *out takes the script.
 * ERR_NOT_FOUND: there is no script, or no such backup (*no_backup says which); otherwise as
 * s6_run_replace. */
int s6_run_revert(const struct s6_run_place *p, struct slice name, int64_t id,
                  const struct etag_condition *condition, struct buf *out, bool *no_backup,
                  struct err *e);

#endif
