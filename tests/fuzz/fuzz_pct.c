/* Percent-decoding and the text functions on bytes from outside: results are valid UTF-8 and never
 * longer than they may be; encoding what was decoded and decoding it gives the same. */
#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct slice decoded)
{
    struct buf encoded = BUF_INIT(SIZE_MAX / 4), again = BUF_INIT(SIZE_MAX / 4);
    (void)pct_encode(&encoded, decoded);
    (void)pct_decode(&again, (struct slice){encoded.data, encoded.len}, false);
    INVARIANT(slice_eq((struct slice){again.data, again.len}, decoded));
    buf_done(&encoded);
    buf_done(&again);
}

static void check_text(struct slice in)
{
    char *copy = mem_strndup(in.p, in.len);
    INVARIANT(copy != NULL);
    size_t n = str_strip_sgr(copy, in.len);
    INVARIANT(n <= in.len);
    mem_free(copy);

    struct buf b = BUF_INIT(SIZE_MAX / 4);
    (void)str_add_printable(&b, in);
    INVARIANT(b.len <= 6 * in.len && utf8_valid(b.data, b.len));
    for (size_t i = 0; i < b.len; i++)
        INVARIANT((unsigned char)b.data[i] >= 0x20 && b.data[i] != 0x7F);
    buf_done(&b);

    if (name_is_safe(in, 255))
        INVARIANT(in.len > 0 && in.len <= 255 && memchr(in.p, '/', in.len) == NULL &&
                  memchr(in.p, '\0', in.len) == NULL && utf8_valid(in.p, in.len));
    int64_t i64;
    uint64_t u64;
    (void)str_to_i64(in, &i64);
    (void)str_to_u64(in, &u64);
    (void)str_to_size(in, &u64);
    if (str_to_ms(in, &i64) == 0)
        INVARIANT(i64 >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    for (int plus = 0; plus < 2; plus++) {
        struct buf out = BUF_INIT(SIZE_MAX / 4);
        INVARIANT(pct_decode(&out, in, plus) == 0);
        INVARIANT(utf8_valid(out.data, out.len) && out.len <= 3 * size);
        check_round_trip((struct slice){out.data, out.len});
        buf_done(&out);
    }
    check_text(in);
    return 0;
}
