/* ws_key.h: the keys of a WebSocket's opening handshake (RFC 6455, section 4), for both sides. */
#ifndef GANTRY_WS_KEY_H
#define GANTRY_WS_KEY_H

#include "base/base.h"

#define WS_KEY_BYTES 16
#define WS_KEY_SIZE 25    /* base 64 of these, and NUL */
#define WS_ACCEPT_SIZE 29 /* base 64 of a SHA-1, and NUL */

/* What a client sends as Sec-WebSocket-Key. */
void ws_make_key(const uint8_t random[WS_KEY_BYTES], char out[WS_KEY_SIZE]);
/* What the server answers to a key of 24 characters. False: out of memory. */
bool ws_accept_key(struct slice key, char out[WS_ACCEPT_SIZE]);

#endif
