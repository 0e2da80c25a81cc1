/* docker_stream.h: the engine's log stream, taken apart: bytes in, bytes out, no sockets.
 *
 * Without a terminal the engine sends frames of an 8-byte head and a payload: stream number (0 to
 * 3), three zero bytes, and the payload's length as 32 bits, big-endian (Docker Engine API,
 * "ContainerAttach", stream format). With a terminal the bytes come as they are.
 */
#ifndef GANTRY_DRIVER_DOCKER_STREAM_H
#define GANTRY_DRIVER_DOCKER_STREAM_H

#include "base/base.h"

enum { DOCKER_STREAM_HEAD = 8 };

enum docker_stream_kind {
    DOCKER_STREAM_STDIN,
    DOCKER_STREAM_STDOUT,
    DOCKER_STREAM_STDERR,
    DOCKER_STREAM_SYSTEM, /* a failure of the engine itself, as text */
};

struct docker_stream {
    bool raw;
    bool broken;
    uint8_t head[DOCKER_STREAM_HEAD];
    size_t have;   /* bytes of head */
    uint32_t left; /* payload bytes of this frame still to come */
};

/* `raw`: the container has a terminal. */
void docker_stream_init(struct docker_stream *s, bool raw);
/* Hands each run of payload to out, borrowed, in the order of the frames. Raw bytes are STDOUT.
 * 0, or ERR_PROTOCOL for a head that is none (also for every call after it). */
int docker_stream_feed(struct docker_stream *s, const char *p, size_t n,
                       void (*out)(void *ctx, enum docker_stream_kind kind, const char *p,
                                   size_t n),
                       void *ctx);
/* At the end of the bytes: 0, or ERR_GONE inside a frame, or ERR_PROTOCOL. */
int docker_stream_end(const struct docker_stream *s);

#endif
