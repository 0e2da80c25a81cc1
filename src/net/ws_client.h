/* ws_client.h: WebSocket client (RFC 6455) over a stream: opening handshake, masked frames,
 * closing. No extension is offered. One connection, its own, not one of a pool.
 */
#ifndef GANTRY_WS_CLIENT_H
#define GANTRY_WS_CLIENT_H

#include "base/base.h"
#include "base/err.h"
#include "net/http.h"
#include "net/stream.h"

struct wsc;

struct wsc_options {
    struct stream_target target;       /* borrowed for the call; target.tls is referenced */
    const char *host;                  /* Host header */
    struct slice path;                 /* with its query, already encoded */
    const char *protocol;              /* subprotocol to ask for, and to insist on; NULL: none */
    const struct http_header *headers; /* more of them */
    size_t n_headers;
    uint64_t connect_ms; /* 0: 5000 */
    uint64_t answer_ms;  /* from sending the handshake to its answer. 0: 15,000 */
    /* An open connection without any byte for so long is sent a ping; after as long again it is
     * dead. 0: 30,000 */
    uint64_t silence_ms;
    /* Such a server is not taken for dead: it may be reading nothing because we are to send no
     * more. The kernel tells of a peer that takes no bytes, the ping's. */
    bool patient;
    size_t max_message; /* received; above: closed with 1009. 0: 1 MiB */
};

/* How it ended. */
struct wsc_end {
    struct err e;      /* e.code 0: closed in order, or refused with a status */
    int status;        /* of an answer that is no 101; else 0 */
    struct slice body; /* of that answer, at most 64 KiB; borrowed for the call */
    int code;          /* close code received; 1005: none in it, 1006: no close frame came */
};

struct wsc_user {
    void (*open)(void *ctx); /* from here on wsc_send works; may be NULL */
    void (*message)(void *ctx, bool text, const char *p, size_t n);
    void (*drained)(void *ctx); /* the queue fell below its low mark; may be NULL */
    void (*closed)(void *ctx, const struct wsc_end *end); /* last; the wsc is invalid afterwards */
};

/* Connects. Callbacks come from the loop, never inside this call. On failure there is none:
 * ERR_INVALID (bytes that would break the request's form), ERR_NO_MEMORY, ERR_NO_FILES, ERR_LIMIT,
 * ERR_IO (no randomness). */
int wsc_open(struct wsc **ret, struct loop *l, const struct wsc_options *o,
             const struct wsc_user *u, void *ctx, struct err *e);
/* Sends one message made of two parts (the second may be empty). ERR_GONE (not open, or no more),
 * ERR_LIMIT (the queue is full: nothing queued), ERR_NO_MEMORY, ERR_IO. */
int wsc_send(struct wsc *w, bool text, struct slice first, struct slice second);
size_t wsc_queued(const struct wsc *w);
/* Ends it in order: sends a close frame behind what is queued, waits 5 s for the server's.
 * Idempotent. */
void wsc_close(struct wsc *w, int code);
/* Drops it now; `closed` still comes. */
void wsc_abort(struct wsc *w);

#endif
