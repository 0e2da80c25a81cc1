/* reader.h: reads one log forwards, across rotation and truncation, without losing or repeating a
 * line.
 *
 * Pure file access on an open log folder, no loop: whoever owns a reader asks it again when
 * something may have changed. The open descriptor keeps a file readable although s6-log has renamed
 * or removed it.
 */
#ifndef GANTRY_S6_READER_H
#define GANTRY_S6_READER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "s6/cursor.h"

#define S6_READ_PIECE                                                                              \
    65536u /* the most text of one s6_reader_next; a longer line comes in pieces */

struct s6_reader {
    int fd;                   /* -1: between two files */
    bool archive;             /* fd is the archive `name` */
    bool final;               /* fd is no longer `current`: what it holds now is all */
    bool gap;                 /* something was removed before it could be read; not yet told */
    bool gap_told;            /* since the last file was left */
    bool pending;             /* an unfinished line is held back */
    uint64_t processed_inode; /* of a previous that is read, and that s6-log's processor works on */
    uint64_t pending_end;     /* where the file ended then */
    char name[S6_ARCHIVE_SIZE];
    struct s6_cursor at; /* hashes are made when a text of it is wanted */
    size_t n_head, n_tail;
    char head[S6_HASHED],
        tail[S6_HASHED]; /* first bytes of the file; last bytes before at.offset */
};

void s6_reader_init(struct s6_reader *r);
void s6_reader_done(struct s6_reader *r);

/* dirfd: the log folder, opened for reading; -1: it does not exist (yet). */
/* From the last |lines| lines of current on; without a current: what comes from now on. */
int s6_reader_start_tail(struct s6_reader *r, int dirfd, int64_t lines, struct err *e);
/* From a byte offset of current on; negative counts as 0, beyond the end as the end. */
int s6_reader_start_offset(struct s6_reader *r, int dirfd, int64_t offset, struct err *e);
/* From a cursor on: the rest of its file, every later archive in order, then current. If that file
 * is gone, `gap` is set and everything that is newer is read. A file that was truncated is read
 * from its start. */
int s6_reader_start_cursor(struct s6_reader *r, int dirfd, const struct s6_cursor *c,
                           struct err *e);

enum s6_read { S6_READ_NOTHING, S6_READ_TEXT, S6_READ_GAP };
/* The next whole lines (appended to out), a gap, or nothing at present; or a negative code. With
 * `partial` a line without its newline is given too (not a character without its end). */
int s6_reader_next(struct s6_reader *r, int dirfd, bool partial, struct buf *out, struct err *e);
/* The open file fd was truncated: if it is the reader's, that goes on at its start. Only whoever
 * truncates knows when the same bytes are written again. Before it, call s6_reader_next until it
 * has nothing (partial). */
void s6_reader_truncated(struct s6_reader *r, int fd);

/* The position after what s6_reader_next gave last. */
void s6_reader_cursor(const struct s6_reader *r, struct s6_cursor *ret);

#endif
