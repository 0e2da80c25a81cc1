/* buf.h: a growable byte buffer with a maximum.
 *
 * A buffer remembers its first failure (ERR_LIMIT or ERR_NO_MEMORY): appends after it do nothing,
 * so a writer checks once, at the end. data[len] is always NUL once something was appended.
 */
#ifndef GANTRY_BUF_H
#define GANTRY_BUF_H

#include "base/base.h"
#include <stdarg.h>
#include <string.h>

struct buf {
    char *data; /* NULL until the first append; owned */
    size_t len;
    size_t cap; /* bytes usable for data, without the NUL */
    size_t max; /* len never exceeds it */
    int err;    /* 0, ERR_LIMIT or ERR_NO_MEMORY */
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})
/* A buffer in an array of the caller: never allocates, ERR_LIMIT when full, no buf_done. The array
 * is a valid string at any time. Not for static initialisers. */
#define BUF_FIXED(array)                                                                           \
    ((array)[0] = '\0',                                                                            \
     (struct buf){.data = (array), .cap = sizeof(array) - 1, .max = sizeof(array) - 1})

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees; the struct may be used again with the same max */
void buf_clear(struct buf *b); /* len 0, error forgotten, memory kept */

/* Makes room for `n` more bytes after len (not counted in len). 0 or the sticky error. */
int buf_reserve_slow(struct buf *b, size_t n);
static inline int buf_reserve(struct buf *b, size_t n)
{
    if (b->err == 0 && b->data != NULL && n <= b->cap - b->len)
        return 0;
    return buf_reserve_slow(b, n);
}

/* Append; 0 or the sticky error. */
static inline int buf_add(struct buf *b, const void *p, size_t n)
{
    if (buf_reserve(b, n) != 0)
        return b->err;
    if (n > 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
    return 0;
}
static inline int buf_addc(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}
static inline int buf_adds(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}
#define buf_addlit(b, lit) buf_add((b), (lit), sizeof(lit) - 1)
int buf_addf(struct buf *b, const char *fmt, ...) BASE_PRINTF(2, 3);
int buf_addvf(struct buf *b, const char *fmt, va_list ap);
int buf_addu(struct buf *b, uint64_t v); /* decimal */
int buf_addi(struct buf *b, int64_t v);

/* Of a text, at most `max` bytes: if it is longer, whole words of it and "..."; a word that is too
 * long by itself is cut between two characters (UTF-8). max > 3. */
int buf_add_words(struct buf *b, const char *text, size_t max);

/* Drops the first n bytes (n <= len) by moving the rest. */
void buf_drop(struct buf *b, size_t n);

/* Hands over the bytes (NUL-terminated, free with mem_free) and empties the buffer.
 * NULL if the buffer has an error or out of memory; never NULL for an empty healthy buffer. */
char *buf_steal(struct buf *b, size_t *len);

#endif
