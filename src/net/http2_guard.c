#include "net/http2_guard.h"

#include <nghttp2/nghttp2.h>

void bucket_init(struct bucket *b, uint32_t burst, uint32_t per_s, uint64_t now_ms)
{
    *b = (struct bucket){burst, per_s, (uint64_t)burst * 1000, now_ms};
}

bool bucket_take(struct bucket *b, uint32_t n, uint64_t now_ms)
{
    uint64_t full = (uint64_t)b->burst * 1000;
    if (now_ms > b->at_ms) {
        uint64_t passed = now_ms - b->at_ms;
        b->at_ms = now_ms;
        /* A bucket that had an hour to fill is full; this also keeps the product small. */
        b->milli = passed > 3600000 ? full : b->milli + passed * b->per_s;
        if (b->milli > full)
            b->milli = full;
    }
    if (b->milli < (uint64_t)n * 1000)
        return false;
    b->milli -= (uint64_t)n * 1000;
    return true;
}

void bucket_give(struct bucket *b, uint32_t n)
{
    uint64_t full = (uint64_t)b->burst * 1000;
    b->milli += (uint64_t)n * 1000;
    if (b->milli > full)
        b->milli = full;
}

void h2_guard_init(struct h2_guard *g, uint64_t now_ms)
{
    bucket_init(&g->resets, H2_RESETS_BURST, H2_RESETS_PER_S, now_ms);
    bucket_init(&g->frames, H2_FRAMES_BURST, H2_FRAMES_PER_S, now_ms);
    bucket_init(&g->pings, H2_PINGS_BURST, H2_PINGS_PER_S, now_ms);
}

bool h2_guard_reset(struct h2_guard *g, uint64_t now_ms)
{
    return bucket_take(&g->resets, 1, now_ms);
}

bool h2_guard_frame(struct h2_guard *g, uint8_t type, uint8_t flags, size_t length, uint64_t now_ms)
{
    switch (type) {
    case NGHTTP2_HEADERS:
        bucket_give(&g->frames, H2_FRAMES_PER_REQUEST);
        return true;
    case NGHTTP2_DATA:
        if (length > 0 || (flags & NGHTTP2_FLAG_END_STREAM) != 0)
            return true;
        break;
    case NGHTTP2_RST_STREAM: /* counted by h2_guard_reset */
        return true;
    default:
        break;
    }
    return bucket_take(&g->frames, 1, now_ms);
}

void h2_guard_data_sent(struct h2_guard *g)
{
    bucket_give(&g->frames, H2_FRAMES_PER_DATA);
    bucket_give(&g->pings, H2_PINGS_BURST);
}

void h2_guard_head_sent(struct h2_guard *g)
{
    bucket_give(&g->pings, H2_PINGS_BURST);
}

bool h2_guard_ping(struct h2_guard *g, uint64_t now_ms)
{
    return bucket_take(&g->pings, H2_PING_TOKENS, now_ms);
}
