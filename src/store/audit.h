/* audit.h: the audit file: one JSON object a line, appended by a thread of its own.
 *
 *   {"time":"2026-11-21T03:52:00.123Z","who":"uid:0","peer":"unix:pid=1,uid=0","request":"...",
 *    "method":"PUT","path":"/...","verb":"write","kind":"service","name":"robot/talker",
 *    "status":200,"result":"done","detail":""}
 *
 * Taking a record never waits: it goes to a queue of at most AUDIT_QUEUE_MAX bytes. Records that
 * find it full are counted, and the count becomes a record ("result":"lost") as soon as there is
 * room. The file holds whole lines only: what a failed write left of one is cut off, what a killed
 * program left is closed by a line end. A failed write is logged once and tried again every second.
 *
 * A record is in the file within some 20 ms, where the death of this program cannot take it, and on
 * the disk within a second: a sync for each would hold up the store, whose own syncs go to the same
 * disk.
 */
#ifndef GANTRY_STORE_AUDIT_H
#define GANTRY_STORE_AUDIT_H

#include "base/err.h"
#include "core/audit.h"
#include "net/loop.h"

#define AUDIT_QUEUE_MAX (1024u * 1024u)
#define AUDIT_KEEP_MAX 1000
#define AUDIT_SIZE_MIN 4096

struct audit;

struct audit_options {
    const char *file;  /* copied; NULL: records go to the log only */
    uint64_t max_size; /* bytes; a file that would grow beyond becomes FILE.1; at least
                          AUDIT_SIZE_MIN. 0: 8 MiB */
    unsigned keep;     /* files besides FILE, at most AUDIT_KEEP_MAX; 0: 5 */
};

/* Opens the file (0640) and starts the thread. ERR_INVALID, and what the system says. */
int audit_new(struct audit **ret, struct loop *l, const struct audit_options *o, struct err *e);
/* Writes what waits, for at most two seconds, and ends the thread. Readers must be over: run the
 * loop until it is empty before. NULL is fine. */
void audit_free(struct audit *a);

/* Both are valid until audit_free. */
void audit_sink(struct audit *a, struct audit_sink *out);
void audit_source(struct audit *a, struct audit_source *out);

#endif
