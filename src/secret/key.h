/* key.h: keys from where they are kept. */
#ifndef GANTRY_SECRET_KEY_H
#define GANTRY_SECRET_KEY_H

#include "base/buf.h"
#include "base/err.h"
#include "secret/seal.h"

#define KEY_TEXT_MAX 4096

/* Locked memory, read-only once filled. */
struct keys {
    size_t n;
    unsigned char key[SEAL_KEYS_MAX][SEAL_KEY_SIZE];
};

/* Reads keys of a text or of 32 bytes; `where` names it in errors. Never tells what is in it.
 * ERR_INVALID, ERR_LIMIT. */
int keys_parse(struct keys *k, struct slice text, const char *where, struct err *e);
/* ERR_NOT_FOUND: there is no such file. ERR_DENIED: others may read it, or it is not ours.
 * `strict`: owner and mode are looked at. The buffer's content is the caller's to wipe. */
int key_file_read(const char *path, bool strict, struct buf *ret, struct err *e);
/* Makes the file with one new key, and its folders. ERR_EXISTS: somebody else just did. */
int key_file_make(const char *path, struct err *e);
/* ERR_NOT_FOUND: no keyring has it, or there are none here. */
int key_ring_read(struct buf *ret, struct err *e);

/* An empty buffer that is wiped before it is freed. */
static inline void key_buf_done(struct buf *b)
{
    extern void mem_wipe(void *p, size_t len);
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

#endif
