#include "base/id.h"

#include "base/err.h"

#include <string.h>

/* The id before: 48 bits of time, then 80 random bits as 16 + 64. Loop thread only. */
static uint64_t last_ms;
static uint16_t last_high;
static uint64_t last_low;

int id_make(char out[ID_SIZE], const struct clock *clock)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned char bytes[10];
    if (clock->random(clock->ctx, bytes, sizeof(bytes)) != 0)
        return ERR_IO;
    uint64_t low;
    memcpy(&low, bytes, sizeof(low));
    uint16_t high;
    memcpy(&high, bytes + sizeof(low), sizeof(high));
    int64_t real = clock_real_ns(clock);
    uint64_t ms = real > 0 ? (uint64_t)real / NS_PER_MS : 0;

    /* In the same millisecond (or after the wall clock went back) the new id is a random step
     * above the last one: it sorts behind it and can never be equal to an earlier one. */
    if (ms <= last_ms) {
        ms = last_ms;
        uint64_t step = (low & UINT32_MAX) + 1;
        bool carry = __builtin_add_overflow(last_low, step, &low);
        high = (uint16_t)(last_high + carry);
        if (carry && high == 0)
            ms++;
    }
    last_ms = ms;
    last_high = high;
    last_low = low;

    for (int i = 9; i >= 0; i--, ms >>= 5)
        out[i] = digits[ms & 31];
    unsigned __int128 random = (unsigned __int128)high << 64 | low;
    for (int i = 25; i >= 10; i--, random >>= 5)
        out[i] = digits[(unsigned)random & 31];
    out[26] = '\0';
    return 0;
}
