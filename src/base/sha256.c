#include "base/sha256.h"

#include <string.h>

/* FIPS 180-4, 4.2.2. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

enum { A, B, C, D, E, F, G, H };

static inline uint32_t rotr(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static inline uint32_t load(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void store(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

/* 6.2.2: the schedule, then 64 rounds. */
static void take_block(struct sha256 *s, const unsigned char *p)
{
    uint32_t w[64], v[8];
    for (size_t t = 0; t < 16; t++)
        w[t] = load(p + 4 * t);
    for (size_t t = 16; t < 64; t++) {
        uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    memcpy(v, s->state, sizeof(v));
    for (size_t t = 0; t < 64; t++) {
        uint32_t s1 = rotr(v[E], 6) ^ rotr(v[E], 11) ^ rotr(v[E], 25);
        uint32_t t1 = v[H] + s1 + ((v[E] & v[F]) ^ (~v[E] & v[G])) + K[t] + w[t];
        uint32_t s0 = rotr(v[A], 2) ^ rotr(v[A], 13) ^ rotr(v[A], 22);
        uint32_t t2 = s0 + ((v[A] & v[B]) ^ (v[A] & v[C]) ^ (v[B] & v[C]));
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[E] += t1;
        v[A] = t1 + t2;
    }
    for (size_t i = 0; i < 8; i++)
        s->state[i] += v[i];
}

void sha256_init(struct sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->state, start, sizeof(start));
    s->total = 0;
}

void sha256_feed(struct sha256 *s, const void *p, size_t n)
{
    const unsigned char *from = p;
    size_t have = (size_t)(s->total % SHA256_BLOCK);
    s->total += n;
    while (n > 0) {
        if (have == 0 && n >= SHA256_BLOCK) {
            take_block(s, from);
            from += SHA256_BLOCK;
            n -= SHA256_BLOCK;
            continue;
        }
        size_t part = SHA256_BLOCK - have < n ? SHA256_BLOCK - have : n;
        memcpy(s->block + have, from, part);
        from += part;
        n -= part;
        have += part;
        if (have == SHA256_BLOCK) {
            take_block(s, s->block);
            have = 0;
        }
    }
}

/* 5.1.1: a one bit, zeros, and the length in bits in the last eight bytes. */
void sha256_end(struct sha256 *s, unsigned char out[SHA256_SIZE])
{
    static const unsigned char one_bit = 0x80, zeros[SHA256_BLOCK];
    uint64_t bits = s->total * 8;
    unsigned char length[8];
    store(length, (uint32_t)(bits >> 32));
    store(length + 4, (uint32_t)bits);
    sha256_feed(s, &one_bit, 1);
    size_t have = (size_t)(s->total % SHA256_BLOCK), end = SHA256_BLOCK - sizeof(length);
    sha256_feed(s, zeros, have <= end ? end - have : SHA256_BLOCK + end - have);
    sha256_feed(s, length, sizeof(length));
    for (size_t i = 0; i < 8; i++)
        store(out + 4 * i, s->state[i]);
}

void sha256(struct slice data, unsigned char out[SHA256_SIZE])
{
    struct sha256 s;
    sha256_init(&s);
    sha256_feed(&s, data.p, data.len);
    sha256_end(&s, out);
}
