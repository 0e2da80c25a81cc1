/* net_rig.h: a server on loopback and raw sockets to it, in one thread: tests run the loop and read
 * the sockets in turns, each wait bounded in time. */
#ifndef GANTRY_TEST_NET_RIG_H
#define GANTRY_TEST_NET_RIG_H

#include "base/buf.h"
#include "net/loop.h"
#include "net/server.h"

struct rig {
    struct loop *loop;
    struct server *server;
    struct listener *listener;
    uint16_t port;
};

/* protocols: as in listener_options. limits NULL: the defaults. Asserts on failure. */
void rig_open(struct rig *r, const struct protocol *const *protocols,
              const struct http_limits *limits, void (*handler)(void *ctx, struct exchange *x),
              void *ctx);
void rig_close(struct rig *r);

/* A connected, non-blocking socket. */
int rig_connect(struct rig *r);
void rig_send(struct rig *r, int fd, const void *p, size_t n);
/* Runs the loop and appends what arrives to b (which may be NULL) until done(ctx) or the peer's
 * end; false after `ms`. done NULL: until the peer's end. */
bool rig_read_until(struct rig *r, int fd, struct buf *b, bool (*done)(void *ctx), void *ctx,
                    unsigned ms);
/* Runs the loop for so long. */
void rig_run(struct rig *r, unsigned ms);

#endif
