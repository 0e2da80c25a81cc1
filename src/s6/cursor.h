/* cursor.h: a position in a log that outlives the file it was taken in.
 *
 * s6-log renames `current` to @<TAI64N>.s (or .u) when it is full, makes a new `current`, and
 * removes the oldest archives. A cursor therefore tells: which archive was the newest when the
 * position was taken, which file it is in (inode and time of birth), how far in, and hashes of the
 * file's beginning and of the bytes just before the position, so that a file that was truncated, or
 * that got a freed inode, is not mistaken for it.
 */
#ifndef GANTRY_S6_CURSOR_H
#define GANTRY_S6_CURSOR_H

#include "base/base.h"
#include "base/err.h"

#define S6_ARCHIVE_SIZE 40 /* with NUL: "@", 24 hex digits, ".s" */
#define S6_HASHED 256      /* bytes at most that each hash covers */

struct s6_cursor {
    uint64_t inode;   /* 0: no file yet; the position is before the first one after `done` */
    uint64_t born_ns; /* 0: the file system does not tell */
    uint64_t offset;
    uint64_t head;              /* hash of the first min(offset, S6_HASHED) bytes */
    uint64_t tail;              /* hash of the min(offset, S6_HASHED) bytes before offset */
    char done[S6_ARCHIVE_SIZE]; /* archives up to this name have been read; "": none */
};

/* The text clients get; they hand it back as it is. Safe in a URL's query and in an SSE id. */
#define S6_CURSOR_TEXT_SIZE 160
size_t s6_cursor_format(const struct s6_cursor *c, char out[S6_CURSOR_TEXT_SIZE]);
/* ERR_SYNTAX for anything that s6_cursor_format does not write. */
int s6_cursor_parse(struct slice text, struct s6_cursor *ret);

/* True for a name as s6-log gives to archives. */
bool s6_archive_name(const char *name);

/* Inode and time of birth of an open file. */
int s6_cursor_identify(int fd, uint64_t *inode, uint64_t *born_ns, struct err *e);
/* True if this file is the same and still holds what the cursor's hashes saw. *same (may be NULL):
 * at least the inode and birth are the cursor's. */
bool s6_cursor_matches(const struct s6_cursor *c, int fd, bool *same);

#endif
