/* h2_peer.h: a hand-made HTTP/2 server on a Unix socket: bytes in, frames out, and the other way
 * round, in one thread with the client under test. It knows nothing of HTTP/2 but the shape of
 * frames, so it may break any rule. Every wait is bounded in time. */
#ifndef GANTRY_TEST_H2_PEER_H
#define GANTRY_TEST_H2_PEER_H

#include "base/buf.h"
#include "net/loop.h"

#include <nghttp2/nghttp2.h>

struct h2_frame {
    uint8_t type, flags;
    uint32_t id;
    const uint8_t *p; /* in the peer's buffer: until the next call */
    size_t len;
};

struct h2_peer {
    struct loop *loop;
    char path[64];
    int listener, fd; /* -1: none */
    struct buf in;    /* received; the preface is cut off */
    size_t at;        /* frames before it were looked at */
    bool preface, eof;
    nghttp2_hd_inflater *inflater;
};

void peer_open(struct h2_peer *p); /* with a loop of its own */
void peer_close(struct h2_peer *p);
void peer_listen(struct h2_peer *p, bool on);
/* Takes the next connection, an earlier one is closed. False: none came. */
bool peer_accept(struct h2_peer *p);
/* peer_accept, then an empty SETTINGS frame and an acknowledgement. */
void peer_settle(struct h2_peer *p);
/* Runs the loop for some milliseconds, or until *flag reaches n. */
void peer_run(struct h2_peer *p, unsigned ms);
bool peer_until(struct h2_peer *p, const int *count, int n);
/* The next frame of that type (-1: any) and stream (-1: any); others are passed over. False: none
 * came in time. */
bool peer_frame(struct h2_peer *p, int type, int64_t id, struct h2_frame *f);
/* No such frame comes within ms. */
bool peer_silent(struct h2_peer *p, int type, int64_t id, unsigned ms);
/* The header list of a HEADERS frame as "name: value\n" lines. */
void peer_headers(struct h2_peer *p, const struct h2_frame *f, struct buf *out);

void peer_send(struct h2_peer *p, const void *bytes, size_t n);
void peer_send_frame(struct h2_peer *p, uint8_t type, uint8_t flags, uint32_t id, const void *bytes,
                     size_t n);
void peer_reset(struct h2_peer *p, uint32_t id, uint32_t code);
void peer_goaway(struct h2_peer *p, uint32_t last, uint32_t code, const char *debug);
void peer_window(struct h2_peer *p, uint32_t id, uint32_t n);
void peer_setting(struct h2_peer *p, uint16_t key, uint32_t value);
/* A HEADERS frame of name and value pairs, NULL at the end. */
void peer_head(struct h2_peer *p, uint32_t id, bool end, ...);
/* The bytes of frames, for a test that sends them its own way. */
void frame_add(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n);
void hpack_add(struct buf *b, const char *name, const char *value);

#endif
