/* ws_rig.h: a raw WebSocket client on top of net_rig.h. */
#ifndef GANTRY_TEST_WS_RIG_H
#define GANTRY_TEST_WS_RIG_H

#include "net/ws.h"
#include "net_rig.h"

/* What the server's side saw and does. */
struct ws_app {
    struct ws_options o;
    struct ws *ws; /* the latest one; NULL after closed */
    int opened, closed, code, accept_rc;
    size_t messages, bytes;
    bool mute; /* do not echo */
};
void ws_app_handler(void *ctx, struct exchange *x);

struct ws_client {
    struct rig *r;
    int fd;
    struct buf in;
};
/* One frame of the server. */
struct ws_got {
    uint8_t first; /* FIN, RSV, opcode */
    const char *p; /* in client->in, until the next take */
    size_t n;
};

#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
/* Sends a handshake with extra header lines ("a: b\r\n"); the answer's head stays in c->in. */
void ws_client_hello(struct ws_client *c, struct rig *r, const char *extra);
/* The same and drops the head of the 101. */
void ws_client_open(struct ws_client *c, struct rig *r, const char *extra);
void ws_client_done(struct ws_client *c);
/* Appends a masked frame to b. */
void ws_client_frame(struct buf *b, uint8_t first, const void *p, size_t n);
void ws_client_send(struct ws_client *c, uint8_t first, const void *p, size_t n);
/* Waits for one frame; drops the one before. False: none in time, or the peer's end. */
bool ws_client_take(struct ws_client *c, struct ws_got *f, unsigned ms);
/* Waits for a close frame (dropping others) and the end of the connection; its code, 0 without one.
 */
int ws_client_close_code(struct ws_client *c, unsigned ms);

#endif
