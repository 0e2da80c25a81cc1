/* http2_guard.h: what one HTTP/2 peer may do to us besides asking and answering. Token buckets over
 * the frames that cost us work and bring no request: resets (CVE-2023-44487, and CVE-2025-8671
 * where the peer makes us reset), SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA
 * (CVE-2019-9511 to 9518). Frames of unknown types are not counted: nghttp2 skips them without
 * telling, at the cost of a comparison. */
#ifndef GANTRY_HTTP2_GUARD_H
#define GANTRY_HTTP2_GUARD_H

#include "base/base.h"

struct bucket {
    uint32_t burst, per_s; /* tokens */
    uint64_t milli;        /* thousandths of a token */
    uint64_t at_ms;
};
void bucket_init(struct bucket *b, uint32_t burst, uint32_t per_s, uint64_t now_ms);
/* Takes that many tokens; false if there are not enough. */
bool bucket_take(struct bucket *b, uint32_t n, uint64_t now_ms);
void bucket_give(struct bucket *b, uint32_t n);

struct h2_guard {
    struct bucket resets, frames, pings;
};

#define H2_RESETS_BURST 200u
#define H2_RESETS_PER_S 100u
#define H2_FRAMES_BURST 1000u
#define H2_FRAMES_PER_S 250u
/* A frame of ours that carries data excuses two of the peer's: window updates of stream and
 * connection. */
#define H2_FRAMES_PER_DATA 2u
/* A request excuses the priority frames that some clients send with it. */
#define H2_FRAMES_PER_REQUEST 4u
/* Keep-alive of clients: ten PINGs at once, then one every 8 s, so that who asks for one every 10 s
 * is never cut, whatever his timers. What we send (an answer's head or data) makes good for all of
 * them: clients also measure their windows with PINGs while they receive. */
#define H2_PING_TOKENS 8u
#define H2_PINGS_BURST (10u * H2_PING_TOKENS)
#define H2_PINGS_PER_S 1u

void h2_guard_init(struct h2_guard *g, uint64_t now_ms);
/* A stream ended by a reset, the peer's or one that the peer provoked. False: cut the connection.
 */
bool h2_guard_reset(struct h2_guard *g, uint64_t now_ms);
/* A frame begins (type, flags and payload length as on the wire). False: cut the connection. */
bool h2_guard_frame(struct h2_guard *g, uint8_t type, uint8_t flags, size_t length,
                    uint64_t now_ms);
/* A PING of the peer's own (no ACK). False: cut the connection, "too_many_pings". */
bool h2_guard_ping(struct h2_guard *g, uint64_t now_ms);
void h2_guard_data_sent(struct h2_guard *g);
void h2_guard_head_sent(struct h2_guard *g);

#endif
