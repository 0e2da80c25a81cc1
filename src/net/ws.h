/* ws.h: WebSocket server side (RFC 6455, wslay) with permessage-deflate (RFC 7692) when offered. */
#ifndef GANTRY_WS_H
#define GANTRY_WS_H

#include "base/base.h"
#include "base/err.h"
#include "net/exchange.h"

struct ws;

struct ws_options {
    size_t max_message;   /* received; above: close 1009. 0: 64 KiB */
    size_t max_queue;     /* waiting to be sent; above: ERR_LIMIT for the sender. 0: 1 MiB */
    uint64_t ping_ms;     /* 0: 20,000 */
    const char *protocol; /* a subprotocol, selected if the client offers it; NULL: none. Borrowed
                             for the call */
    bool plain; /* never compressed: what arrives is as large as what was sent, so a pause holds */
    uint64_t pong_ms; /* a peer that does not answer within it is dropped. 0: 20,000 */
};

struct ws_user {
    void (*message)(void *ctx, struct ws *w, bool text, const char *p, size_t n); /* may be NULL */
    /* Last callback, always from the loop; w is invalid afterwards. code: the close code received
     * or sent, 1006 without. */
    void (*closed)(void *ctx, struct ws *w, int code);
    /* What waited to be sent fell below a quarter of max_queue: go on. May be NULL. */
    void (*drained)(void *ctx, struct ws *w);
};

/* True if the request asks for a WebSocket: GET over HTTP/1.1 with Upgrade and Connection. Whether
 * its key and version are right is for ws_accept to say, which answers the client if not. */
bool ws_wanted(struct exchange *x);
/* Accepts with 101. The exchange is over afterwards. Messages come from the loop, after this call,
 * even those that arrived with the request. The stream's peer is answered pings, and is sent one
 * every ping_ms. A bad handshake has been answered with 400 or 426 when an error comes back
 * (ERR_PROTOCOL), as has a lack of memory (ERR_NO_MEMORY, 503). */
int ws_accept(struct exchange *x, const struct ws_options *o, const struct ws_user *u, void *ctx,
              struct ws **ret);

/* Sends a text message (the text must be UTF-8). ERR_GONE (closing or closed), ERR_LIMIT (queue
 * full: nothing queued), ERR_NO_MEMORY. */
int ws_send_text(struct ws *w, struct slice text);
/* Sends a binary message: `head`, then `body`. Never compressed. Fails like ws_send_text. */
int ws_send_binary(struct ws *w, struct slice head, struct slice body);
/* Holds back what the peer sends; messages that have arrived already may still come. The peer is
 * not asked for signs of life meanwhile: its answers would wait too. */
void ws_pause(struct ws *w, bool paused);

/* A message encoded once for many sockets: plain and (made on first need) compressed without
 * context. ws_send_frame queues references. It fails like ws_send_text. */
struct ws_frame;
struct ws_frame *ws_frame_new(struct slice text); /* one reference; NULL: out of memory */
void ws_frame_unref(struct ws_frame *f);
int ws_send_frame(struct ws *w, struct ws_frame *f);

size_t ws_queued(const struct ws *w);
/* Sends a close frame after what is queued, waits at most 5 s for the peer's, closes. Idempotent.
 */
void ws_close(struct ws *w, int code, const char *reason);
/* Drops the connection now. */
void ws_abort(struct ws *w);
const struct peer *ws_peer(const struct ws *w);

/* ws_close for all sockets of the loop, for shutting down. */
void ws_close_all(struct loop *l, int code, const char *reason);

#endif
