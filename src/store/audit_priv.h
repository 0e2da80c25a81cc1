/* audit_priv.h: what the audit's files share. */
#ifndef GANTRY_STORE_AUDIT_PRIV_H
#define GANTRY_STORE_AUDIT_PRIV_H

#include "base/buf.h"
#include "store/audit.h"

#define AUDIT_LINE_MAX (32u * 1024u)
#define AUDIT_PATH_MAX 4000

/* One record as a line. Long texts are cut. ERR_NO_MEMORY or ERR_LIMIT: out is as before. */
int audit_line(struct buf *out, const struct audit_record *r);
/* The line about records that are not there. */
int audit_line_lost(struct buf *out, int64_t time_ns, uint64_t lost);

/* ---- audit_file.c: the file itself. One thread at a time. */

struct audit_file {
    char path[AUDIT_PATH_MAX + 1];
    uint64_t max_size, size;
    unsigned keep;
    int fd;      /* -1: closed */
    bool torn;   /* the file may end inside of a line */
    bool dirty;  /* not all that was appended is on the disk */
    ino_t inode; /* of fd, to see when somebody moved the file away */
    dev_t device;
};

int audit_file_open(struct audit_file *f, struct err *e);
void audit_file_close(struct audit_file *f);
/* Appends whole lines, rotating between them. *done: how many bytes (whole lines) are in the file,
 * also when it fails. */
int audit_file_append(struct audit_file *f, struct slice lines, size_t *done, struct err *e);
/* Brings what was appended to the disk; nothing to do is fine. */
int audit_file_flush(struct audit_file *f, struct err *e);
/* "audit.log.3"; 0 is the file itself. */
void audit_file_name(const struct audit_file *f, unsigned number, char out[AUDIT_PATH_MAX + 12]);

/* ---- audit_read.c: reading. On any thread. */

struct audit_found {
    struct buf records; /* JSON objects with commas between, oldest first */
    bool more;
};
/* The newest records of all files. ERR_NO_MEMORY, and what the system says. */
int audit_find(const struct audit_file *f, const struct audit_query *q, struct audit_found *out,
               struct err *e);

#endif
