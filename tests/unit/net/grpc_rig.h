/* grpc_rig.h: a gRPC client of raw frames (nghttp2 session, bytes by hand) for tests of the server,
 * in the same thread as its loop. */
#ifndef GANTRY_TEST_GRPC_RIG_H
#define GANTRY_TEST_GRPC_RIG_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/str.h"
#include "net_rig.h"

#define GC_CALLS 300
struct gc_call {
    int32_t id;
    int http_status;
    int status;     /* grpc-status; -1: none came */
    bool only_head; /* the status came with the first headers */
    bool ended, closed;
    uint32_t code;                /* of RST_STREAM */
    struct buf headers, trailers; /* "name: value\n" */
    struct buf body;
    struct buf up; /* what is still to be sent */
    size_t up_at;
    bool half_close; /* after `up` */
    bool deferred, seen_head;
};

struct gc {
    struct rig *r;
    int fd;
    nghttp2_session *s;
    struct gc_call calls[GC_CALLS];
    size_t n;
    bool gone, goaway;
    uint32_t goaway_code;
    char goaway_text[64];
    int pings, acks; /* of the server; to ours */
};

/* window: of streams; 0: the default. Windows are given back unless `hold`. */
void gc_open(struct gc *c, struct rig *r, uint32_t window, bool hold);
/* Without a connection: for the bytes that it would send (nghttp2_session_mem_send). */
void gc_offline(struct gc *c);
void gc_done(struct gc *c);
/* Begins a call: the usual headers, then `more` ("name: value\n" lines, replacing a usual one of
 * the same name; an empty value leaves it out). */
struct gc_call *gc_call(struct gc *c, const char *path, const char *more);
void gc_bytes(struct gc *c, struct gc_call *k, const void *p, size_t n, bool half_close);
void gc_message(struct gc *c, struct gc_call *k, struct slice m, bool half_close);
/* A unary call of one message. */
struct gc_call *gc_unary(struct gc *c, const char *path, struct slice m);
void gc_cancel(struct gc *c, struct gc_call *k);
void gc_flush(struct gc *c);
/* Exchanges bytes until the call is closed (or done(ctx)), at most ms. */
bool gc_wait(struct gc *c, struct gc_call *k, unsigned ms);
bool gc_run(struct gc *c, unsigned ms, bool (*done)(void *ctx), void *ctx);
/* The n-th message of the answer; p NULL: there is none. */
struct slice gc_answer(const struct gc_call *k, size_t n);

#endif
