/* tokens.h: bearer tokens: who they are for, what they may do, until when. Kept in one JSON file.
 *
 * A token is "gantry_" and 43 characters of base64url (256 random bits). Only its SHA-256 is kept:
 * who reads the file cannot use what it holds, and a hash without salt is enough for what nobody
 * can guess. The file is replaced as a whole, off the loop, and an answer waits for it; nothing is
 * written while nothing changes. Changes are done one after the other. A file that others may read
 * or that is damaged is refused and never overwritten.
 */
#ifndef GANTRY_STORE_TOKENS_H
#define GANTRY_STORE_TOKENS_H

#include "base/clock.h"
#include "core/identity.h"
#include "core/token_admin.h"
#include "net/loop.h"

#define TOKENS_MAX 1000

struct tokens;

/* Reads the file if it is there; file and folders need not be there before the first token is made
 * (folders get mode 0700). `path` is copied. ERR_INVALID (damaged, or names what is wrong),
 * ERR_DENIED (open to others, or not ours), what the system says, ERR_NO_MEMORY. `l` may be NULL if
 * nothing is to be changed. */
int tokens_new(struct tokens **ret, struct loop *l, const struct clock *clock, const char *path,
               struct err *e);
/* Changes that wait are given up: their callbacks come with ERR_CANCELLED, in this call. One that
 * is being written is finished by the loop, which must run on. */
void tokens_free(struct tokens *t);

/* Who a token is for; a reference for the caller. ERR_UNAUTHENTICATED: it is none of ours, or it is
 * over (told apart in e->msg, which never holds the token). `from` is any number that stands for
 * the peer's address; the last few from which a token was right are remembered with it. With
 * `only_known`, a token that was not right from there before is not even looked at: ERR_LIMIT. So a
 * peer that has to wait can go on with what it had, and learns nothing about what it tries. A use
 * is noted in memory only. */
int tokens_find(struct tokens *t, struct slice text, uint64_t from, bool only_known,
                const struct identity **ret, struct err *e);
size_t tokens_count(const struct tokens *t);
/* list, create and revoke for the front ends; the struct lives as long as t. */
struct token_admin tokens_admin(struct tokens *t);

/* What is written; for tests. */
int tokens_write(struct tokens *t, struct buf *out);

#endif
