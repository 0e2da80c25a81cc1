/* stream_queue.h: the write queue of a stream: copied bytes and shared chunks, in order. No I/O. */
#ifndef GANTRY_STREAM_QUEUE_H
#define GANTRY_STREAM_QUEUE_H

#include "base/base.h"
#include "net/stream.h"
#include <sys/uio.h>

struct out_node {
    struct out_node *next;
    struct chunk *chunk; /* NULL: the bytes follow the node */
    size_t off, len;     /* what is still to be sent: [off, off + len) */
    size_t cap;          /* bytes that fit behind the node */
    bool secret;         /* they are overwritten when the node is given back */
};

/* Buffers of the usual size that nobody uses at the moment; one per loop. */
struct out_pool {
    struct out_node *spare;
    unsigned n;
};
void out_pool_done(struct out_pool *p);

struct out_queue {
    struct out_node *head, *tail;
    size_t bytes;
    bool secret; /* of what is added from now on no copy stays behind once it has left the queue */
};

/* Room for n bytes behind the last ones; NULL: out of memory. */
char *out_reserve(struct out_queue *q, struct out_pool *p, size_t n);
/* Counts n of the bytes reserved last. */
void out_commit(struct out_queue *q, size_t n);
int out_add(struct out_queue *q, struct out_pool *p, const void *bytes, size_t n);
/* Takes a reference of its own; the first `off` bytes have been sent already. */
int out_add_chunk(struct out_queue *q, struct chunk *c, size_t off);
/* The first bytes of the queue as at most `max` parts. */
size_t out_parts(const struct out_queue *q, struct iovec *iov, size_t max);
/* n bytes of the beginning are sent. */
void out_drop(struct out_queue *q, struct out_pool *p, size_t n);
void out_clear(struct out_queue *q, struct out_pool *p);

#endif
