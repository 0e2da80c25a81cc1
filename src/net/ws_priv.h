/* ws_priv.h: between ws.c, ws_read.c, ws_handshake.c and ws_deflate.c. */
#ifndef GANTRY_WS_PRIV_H
#define GANTRY_WS_PRIV_H

#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/sm.h"
#include "net/ws.h"

/* What was agreed for one socket. Neither side keeps a context between messages, so that a message
 * can be compressed once for all sockets and an idle socket holds no zlib state. */
struct ws_deflate {
    bool on;
    int server_bits; /* window the peer can take, 8..15; 15 if it did not say */
};

#define WS_DEFLATE_TEXT 112 /* room for the answer to an offer */

/* Looks at one Sec-WebSocket-Extensions value; on the first acceptable offer of permessage-deflate
 * fills *ret and the answer's value and returns true. Offers with unknown, repeated or bad
 * parameters are declined (RFC 7692, section 7.1). */
bool ws_deflate_agree(struct slice offers, struct ws_deflate *ret, char answer[WS_DEFLATE_TEXT]);

/* One compressor and one expander, shared by all sockets of a loop: each message starts afresh.
 * Both are made on first use. */
struct ws_zip;
struct ws_zip *ws_zip_new(void);
void ws_zip_free(struct ws_zip *z);
/* Appends the compressed message without the 00 00 FF FF that ends it. ERR_NO_MEMORY, ERR_LIMIT (of
 * out). */
int ws_zip_compress(struct ws_zip *z, struct slice in, struct buf *out);
/* Appends the message; never more than out->max bytes. ERR_PROTOCOL, ERR_LIMIT, ERR_NO_MEMORY. */
int ws_zip_expand(struct ws_zip *z, struct slice in, struct buf *out);

#define WS_CONTROL_MAX 125u /* RFC 6455, section 5.5 */

/* Close codes of RFC 6455, section 7.4. */
enum {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_NO_CODE = 1005,
    WS_CLOSE_ABNORMAL = 1006,
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
};

enum ws_state { WS_OPEN, WS_CLOSING, WS_CLOSED };
/* What the sockets of one loop share; there while there are any. */
struct ws_hub {
    struct list_node link; /* in hubs */
    struct loop *loop;
    struct list_node sockets;
    size_t n_sockets;
    struct loop_timer timer; /* at the earliest due time of all sockets */
    uint64_t timer_at_ms;    /* UINT64_MAX: stopped */
    uint64_t grain_ms;       /* the timer does not run more often than this */
    struct ws_zip *zip;
    struct buf squeezed;              /* compressed text to be sent */
    struct ws *reading;               /* whose bytes the parser's callback takes */
    wslay_frame_context_ptr spare_rx; /* kept for the next socket that has something to read */
};

struct ws {
    uint32_t magic;
    struct list_node link; /* in hub->sockets */
    struct ws_hub *hub;
    struct stream *stream; /* NULL until taken over */
    struct ws_user user;
    void *ctx;
    struct ws_options o;
    struct ws_deflate deflate;
    struct sm sm;
    uint64_t due_ms; /* ping, give up waiting for its pong, or give up closing */
    bool awaiting_pong;
    bool paused;
    bool close_seen; /* the peer's close frame came, or we failed the connection: read no more */
    int code;        /* for `closed` */
    char *early;     /* bytes that came with the request, until the loop runs */
    size_t n_early;
    bool early_pending; /* ws_early_later holds a pointer to us */
    bool gone;          /* closed was told; ws_early_later frees */

    /* Reading. rx is NULL between frames when nothing is buffered in it. */
    wslay_frame_context_ptr rx;
    const char *in;
    size_t n_in;
    uint64_t fed, parsed; /* bytes given to rx, bytes of the frames it made of them */
    bool in_frame;
    uint64_t frame_left;
    struct buf message; /* data frames so far */
    bool in_message;
    uint8_t message_opcode;
    bool message_zipped;
    char control[WS_CONTROL_MAX];
    size_t n_control;
};

/* ws.c, for ws_read.c. */
void ws_due(struct ws *w, uint64_t after_ms); /* sets the time of the next ping or of giving up */
int ws_send_control(struct ws *w, uint8_t opcode, const char *p, size_t n);
/* Sends our close frame and waits for the peer's, for a while. code WS_CLOSE_NO_CODE: an empty one.
 */
void ws_begin_close(struct ws *w, int code, const char *reason);
/* Both sides have closed, or there is nothing to wait for: sends the rest and ends. */
void ws_finish_close(struct ws *w);
/* The peer broke a rule: tells it, listens no more. */
void ws_fail(struct ws *w, int code);

/* ws_read.c: bytes of the peer. */
void ws_read(struct ws *w, const char *p, size_t n);
/* Bytes a message may have on the wire: data that does not compress grows by its block heads. */
size_t ws_wire_max(const struct ws *w);

/* For ws_accept: a socket without a stream. NULL: out of memory. */
struct ws *ws_new(struct loop *l, const struct ws_options *o, const struct ws_user *u, void *ctx,
                  struct ws_deflate deflate);
/* Frees it again; only while it has no stream. */
void ws_discard(struct ws *w);
/* exchange_upgrade's `taken`; ctx is the ws. */
void ws_taken(void *ctx, struct stream *s, struct slice early);

#endif
