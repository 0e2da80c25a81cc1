/* ws_client_in.h: what a WebSocket server sends, as bytes in, messages out; no socket. Only
 * ws_client.c, its tests and the fuzz target include it.
 *
 * Of several readings of a frame only the plain one passes (RFC 6455, section 5): no extension, no
 * mask, lengths in their shortest form, control frames whole and at most 125 bytes, text that is
 * UTF-8.
 */
#ifndef GANTRY_WS_CLIENT_IN_H
#define GANTRY_WS_CLIENT_IN_H

#include "base/base.h"
#include "base/buf.h"

enum ws_in_opcode {
    WS_IN_CONTINUATION = 0,
    WS_IN_TEXT = 1,
    WS_IN_BINARY = 2,
    WS_IN_CLOSE = 8,
    WS_IN_PING = 9,
    WS_IN_PONG = 10,
};
#define WS_IN_CONTROL_MAX 125
#define WS_IN_HEAD_MAX 10

struct ws_in_user {
    /* A whole message: WS_IN_TEXT or WS_IN_BINARY; bytes borrowed for the call. */
    void (*message)(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n);
    /* A control frame; bytes borrowed for the call. */
    void (*control)(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n);
};

struct ws_in {
    const struct ws_in_user *user;
    void *ctx;
    struct buf message; /* data frames so far; its max is the limit of a message */
    uint8_t head[WS_IN_HEAD_MAX];
    size_t n_head;
    bool in_payload, fin;
    uint8_t opcode;  /* of the present frame */
    uint8_t started; /* opcode of the message under way; 0: none */
    uint64_t left;   /* of the present frame's payload */
    char control[WS_IN_CONTROL_MAX];
    size_t n_control;
    int failed;
    bool stopped; /* ws_in_stop */
};

void ws_in_init(struct ws_in *in, const struct ws_in_user *u, void *ctx, size_t max_message);
void ws_in_done(struct ws_in *in);
/* 0, or the close code that the server has earned (1002, 1007, 1009), or 1011: out of memory; it is
 * given for ever then, and nothing more is told. */
int ws_in_feed(struct ws_in *in, const char *p, size_t n);
/* From a callback: the rest is not wanted. */
void ws_in_stop(struct ws_in *in);

#endif
