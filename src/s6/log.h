/* log.h: reading a service's log as old clients do: by lines from the end, or by byte offset
 * (talos contract 3.6, 3.7). Following is in follow.h.
 */
#ifndef GANTRY_S6_LOG_H
#define GANTRY_S6_LOG_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

/* The most bytes of log one answer takes. As JSON it grows six-fold at worst, which still is below
 * the 8 MiB that our client accepts of an answer. */
#define S6_LOG_MAX_READ (1024u * 1024u)

/* The last |lines| lines of the file (an unfinished one counts), as `tail -n` picks them, at most
 * S6_LOG_MAX_READ bytes, from the beginning of a line if there is one in reach. *cursor: the offset
 * after what was read. A character that is not yet written whole at the end is left for the next
 * read. */
int s6_log_tail(int fd, int64_t lines, struct buf *out, uint64_t *cursor, struct err *e);

/* Everything from an offset on, at most S6_LOG_MAX_READ bytes. Negative counts as 0, beyond the end
 * as the end. No character is cut at the end of the piece, so that the next read does not begin
 * inside one. */
int s6_log_from(int fd, int64_t from, struct buf *out, uint64_t *cursor, struct err *e);

/* Where the last |lines| lines begin, for a file of `size` bytes. */
int s6_log_tail_start(int fd, uint64_t size, int64_t lines, uint64_t *start, struct err *e);

/* CR LF and CR become LF, in place; the new length. */
size_t s6_log_newlines(char *p, size_t n);

/* n, less the bytes of a character at the end of which only the beginning is there. */
size_t s6_log_whole_chars(const char *p, size_t n);

#endif
