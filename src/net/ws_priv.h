/* ws_priv.h: between ws.c, ws_handshake.c and ws_deflate.c. */
#ifndef GANTRY_WS_PRIV_H
#define GANTRY_WS_PRIV_H

#include "base/buf.h"
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

/* For ws_accept: a socket without a stream. NULL: out of memory. */
struct ws *ws_new(struct loop *l, const struct ws_options *o, const struct ws_user *u, void *ctx,
                  struct ws_deflate deflate);
/* Frees it again; only while it has no stream. */
void ws_discard(struct ws *w);
/* exchange_upgrade's `taken`; ctx is the ws. */
void ws_taken(void *ctx, struct stream *s, struct slice early);

#endif
