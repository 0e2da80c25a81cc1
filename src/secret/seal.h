/* seal.h: fills core/sealer.h with libsodium: XChaCha20-Poly1305 with a random nonce, and BLAKE2b
 * with a key for prints.
 *
 * A key is 32 random bytes. Where it is looked for, in a configured order: the credential
 * "gantry-secret-key" of systemd ($CREDENTIALS_DIRECTORY), the key file, the kernel's keyring (a
 * "user" key "gantry:secret-key"). The first place that has one counts; one that is there and
 * cannot be used is an error, never a reason to go on to the next. If none has one, the key file is
 * made when a key is needed for the first time.
 *
 * What is read there are either the 32 bytes themselves or text: one key a line, 64 hex digits or
 * base64; empty lines and those with '#' do not count. The first key seals; all of them open; the
 * last one, which is the oldest, keys the prints, so that these stay the same when a new key is put
 * before the others. A sealed text is "sealed:v1:", 8 hex digits of its key, ":", base64url.
 */
#ifndef GANTRY_SECRET_SEAL_H
#define GANTRY_SECRET_SEAL_H

#include "core/sealer.h"

#define SEAL_KEYS_MAX 16
#define SEAL_KEY_SIZE 32

enum seal_source { SEAL_CREDENTIAL, SEAL_FILE, SEAL_KEYRING, SEAL_SOURCES };
extern const char *const seal_source_names[]; /* "credential", "file", "keyring", NULL */

struct seal;

/* Everything is copied. */
struct seal_options {
    const enum seal_source *order;
    size_t n_order;           /* 0: all three, as they are named above */
    const char *key_file;     /* absolute; NULL: none */
    const char *credentials;  /* folder; NULL: none */
    const char *state_folder; /* a key file in it or below is refused; NULL: none */
    /* A key file was made. Once at most, from whatever thread needed it. May be NULL. */
    void (*made)(void *ctx, const char *file);
    void *ctx;
};

/* Looks for the key. A key that cannot be used is no failure here: seal_check tells. ERR_NO_MEMORY,
 * ERR_INVALID (the key file's path), ERR_INTERNAL (libsodium does not start). */
int seal_new(struct seal **ret, const struct seal_options *o, struct err *e);
void seal_free(struct seal *s);                       /* wipes the keys */
void seal_sealer(struct seal *s, struct sealer *ret); /* borrowed from s */
/* 0: there is a key. ERR_NOT_FOUND: none yet. Else what is wrong with it. */
int seal_check(struct seal *s, struct err *e);
/* Where the key is from, "file" and so on; NULL: there is none. */
const char *seal_origin(struct seal *s);

/* Puts a new key before those of a key file, or makes the file. ERR_LIMIT: SEAL_KEYS_MAX are in it;
 * what reading and writing it gives. */
int seal_new_key(const char *key_file, struct err *e);

#endif
