/* sha256.h: SHA-256 (FIPS 180-4, 6.2), for programs that link no crypto library. Not for secrets:
 * it takes no care of timing or of what stays in memory. */
#ifndef GANTRY_SHA256_H
#define GANTRY_SHA256_H

#include "base/base.h"

#define SHA256_SIZE 32 /* bytes of a digest */
#define SHA256_BLOCK 64

struct sha256 {
    uint32_t state[8];
    uint64_t total; /* bytes fed */
    unsigned char block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *s);
/* In as many pieces as wanted; n may be 0. */
void sha256_feed(struct sha256 *s, const void *p, size_t n);
/* The digest; the state is used up. */
void sha256_end(struct sha256 *s, unsigned char out[SHA256_SIZE]);
/* All at once. */
void sha256(struct slice data, unsigned char out[SHA256_SIZE]);

#endif
