/* sealer_fake.h: a sealer whose sealed texts can be looked into: "sealed:v1:HEX(bound|plain)". */
#ifndef GANTRY_TEST_SEALER_FAKE_H
#define GANTRY_TEST_SEALER_FAKE_H

#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "core/sealer.h"

#include <stdlib.h>

struct sealer_fake {
    unsigned char key; /* every byte is xored with it */
    size_t opened;
};

static int fake_seal(void *ctx, struct slice bound, struct slice plain, struct buf *out,
                     struct err *e)
{
    const struct sealer_fake *f = ctx;
    static const char hex[] = "0123456789abcdef";
    (void)e;
    (void)buf_addlit(out, "sealed:v1:");
    for (size_t i = 0; i < bound.len + 1 + plain.len; i++) {
        char raw = i < bound.len ? bound.p[i] : i == bound.len ? '|' : plain.p[i - bound.len - 1];
        unsigned char c = (unsigned char)raw ^ f->key;
        (void)buf_addc(out, hex[c >> 4]);
        (void)buf_addc(out, hex[c & 15]);
    }
    return out->err;
}

static int fake_open(void *ctx, struct slice bound, struct slice sealed, struct buf *out,
                     struct err *e)
{
    struct sealer_fake *f = ctx;
    f->opened++;
    if (!slice_starts(sealed, "sealed:v1:") || (sealed.len - 10) / 2 < bound.len + 1)
        return err_set(e, ERR_DENIED, "not sealed by this key");
    for (size_t i = 10; i + 1 < sealed.len; i += 2) {
        char pair[3] = {sealed.p[i], sealed.p[i + 1], '\0'};
        char c = (char)((unsigned char)strtoul(pair, NULL, 16) ^ f->key);
        size_t k = (i - 10) / 2;
        if (k <= bound.len && c != (k < bound.len ? bound.p[k] : '|'))
            return err_set(e, ERR_DENIED, "sealed for another place");
        if (k > bound.len && buf_addc(out, c) != 0)
            return out->err;
    }
    return buf_reserve(out, 0);
}

static void fake_print(void *ctx, struct slice text, char out[SEALER_PRINT_SIZE])
{
    const struct sealer_fake *f = ctx;
    unsigned char digest[SHA256_SIZE];
    struct sha256 s;
    sha256_init(&s);
    sha256_feed(&s, &f->key, 1);
    sha256_feed(&s, text.p, text.len);
    sha256_end(&s, digest);
    hex_encode(out, digest, sizeof(digest));
}

#define SEALER_FAKE(fake) ((struct sealer){fake_seal, fake_open, fake_print, (fake)})

#endif
