/* run_script.h: the source of a service's run script, below s6-overlay's s6-rc.d (talos
 * contract 3.8, 3.9). */
#ifndef GANTRY_S6_RUN_SCRIPT_H
#define GANTRY_S6_RUN_SCRIPT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

#define S6_RUN_SCRIPT_MAX (1024u * 1024u)

/* Appends <source_dir>/<name>/run. ERR_NOT_FOUND; ERR_DENIED for a link out of source_dir;
 * ERR_LIMIT. */
int s6_run_read(const char *source_dir, struct slice name, struct buf *out, struct err *e);
/* Replaces it, whole or not at all: mode 0755, the same owner. It must exist (ERR_NOT_FOUND) and be
 * a file itself, not a link (ERR_DENIED). */
int s6_run_write(const char *source_dir, struct slice name, struct slice content, struct err *e);

#endif
