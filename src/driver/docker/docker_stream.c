#include "driver/docker/docker_stream.h"
#include "base/err.h"
#include <string.h>

void docker_stream_init(struct docker_stream *s, bool raw)
{
    *s = (struct docker_stream){.raw = raw};
}

static bool head_valid(const uint8_t *h)
{
    return h[0] <= DOCKER_STREAM_SYSTEM && h[1] == 0 && h[2] == 0 && h[3] == 0;
}

int docker_stream_feed(struct docker_stream *s, const char *p, size_t n,
                       void (*out)(void *ctx, enum docker_stream_kind kind, const char *p,
                                   size_t n),
                       void *ctx)
{
    if (s->raw) {
        if (n > 0)
            out(ctx, DOCKER_STREAM_STDOUT, p, n);
        return 0;
    }
    while (n > 0 && !s->broken) {
        if (s->left > 0) {
            size_t take = n < s->left ? n : s->left;
            out(ctx, (enum docker_stream_kind)s->head[0], p, take);
            s->left -= (uint32_t)take;
            p += take;
            n -= take;
            continue;
        }
        size_t take = DOCKER_STREAM_HEAD - s->have;
        if (take > n)
            take = n;
        memcpy(s->head + s->have, p, take);
        s->have += take;
        p += take;
        n -= take;
        if (s->have < DOCKER_STREAM_HEAD)
            break;
        s->have = 0;
        s->broken = !head_valid(s->head);
        s->left = (uint32_t)s->head[4] << 24 | (uint32_t)s->head[5] << 16 |
                  (uint32_t)s->head[6] << 8 | (uint32_t)s->head[7];
    }
    return s->broken ? ERR_PROTOCOL : 0;
}

int docker_stream_end(const struct docker_stream *s)
{
    if (s->broken)
        return ERR_PROTOCOL;
    return s->have > 0 || s->left > 0 ? ERR_GONE : 0;
}
