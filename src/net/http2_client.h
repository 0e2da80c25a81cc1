/* http2_client.h: HTTP/2 client (RFC 9113): one connection per peer that carries many calls.
 *
 * A client connects when there is something to ask, over TCP or a Unix socket, with TLS (ALPN "h2"
 * is required) or with prior knowledge. Calls beyond what the peer allows wait. A connection that
 * the peer is leaving (GOAWAY) finishes its calls while new ones go to another; one without calls
 * is closed after idle_ms. Nothing is sent twice: a call that the peer surely did not begin with is
 * told so (h2_outcome.unprocessed), and its user may send it again.
 *
 * Callbacks come from the loop only, never out of a function of this file. They may call any of
 * these functions, on this call and on others.
 */
#ifndef GANTRY_HTTP2_CLIENT_H
#define GANTRY_HTTP2_CLIENT_H

#include "base/base.h"
#include "base/err.h"
#include "net/http.h"
#include "net/stream.h"

struct h2_client;
struct h2_call;

#define H2_PING_FLOOR_MS 10000u

struct h2_client_options {
    struct stream_target target; /* copied; its TLS context offers "h2" (h2_client_tls) */
    const char *authority;       /* ":authority"; NULL: the target's host:port, "localhost" */
    size_t max_calls;            /* at once on a connection, if the peer allows them. 0: 1000 */
    size_t max_waiting;          /* calls without a place; more: ERR_BUSY. 0: 10000 */
    size_t max_queue;            /* bytes of a request's body that wait. 0: 1 MiB */
    size_t max_head;             /* header list of an answer, and its trailers. 0: 64 KiB */
    uint64_t connect_ms;         /* to a connection with TLS and the peer's SETTINGS. 0: 5000 */
    uint64_t idle_ms;            /* until a connection without calls is closed. 0: 5 minutes */
    /* PING after so long without a byte from the peer while calls are open, at least
     * H2_PING_FLOOR_MS. 0: 310 s, which servers with the usual limit of 5 minutes allow;
     * UINT64_MAX: never. Doubled when a peer complains of "too_many_pings". */
    uint64_t ping_ms;
    uint64_t ping_timeout_ms; /* until a PING is answered, else the connection is dead. 0: 20 s */
    bool ping_idle;           /* PING also without calls */
    /* Waits between attempts to connect while calls wait for a ready peer: the first one, then 1.6
     * times as long each time up to the maximum, each a fifth more or less by chance. 0: 250; 0:
     * 30000. */
    uint64_t backoff_ms, backoff_max_ms;
};

struct h2_request {
    struct slice method, path; /* method p NULL: "POST" */
    const struct http_header
        *headers; /* lower-case names, without pseudo headers; written in this order */
    size_t n_headers;
    uint64_t deadline_ms; /* absolute, on the clock of loop_now_ms; 0: none */
    size_t max_body;      /* of the answer. 0: 8 MiB; SIZE_MAX: none */
    bool wait_for_ready;  /* outlives attempts to connect that fail, until the deadline */
};

/* The head of an answer; borrowed for the callback. */
struct h2_head {
    int status;
    const struct http_header *headers; /* without ":status" */
    size_t n_headers;
    bool last; /* it is the whole answer: no body, no trailers */
};

enum h2_why {
    H2_ANSWERED,  /* the answer came whole */
    H2_CANCELLED, /* h2_call_cancel, or the client is being freed */
    H2_DEADLINE,
    H2_CONNECT, /* no connection could be made */
    H2_LOST,    /* the connection ended before the answer did */
    H2_RESET,   /* the peer ended the call, or broke the protocol in it: `code` */
    H2_LIMIT,   /* the answer is over max_head or max_body */
    H2_FAILED,  /* we cannot go on: out of memory */
};
struct h2_outcome {
    enum h2_why why;
    uint32_t code;    /* H2_RESET: an error code of RFC 9113, section 7 */
    bool unprocessed; /* the peer has not begun with it: it may be sent again, whatever it is */
    struct err err;   /* code 0 when answered */
};

/* Any may be NULL but `closed`. */
struct h2_call_user {
    void (*head)(void *ctx, const struct h2_head *h);
    void (*data)(void *ctx, const char *p, size_t n); /* n > 0; borrowed for the call */
    void (*trailers)(void *ctx, const struct http_header *t, size_t n); /* borrowed */
    void (*drained)(void *ctx); /* less than 64 KiB wait, after more did or a write was refused */
    void (*closed)(void *ctx, const struct h2_outcome *o); /* exactly once, the last one; then the
                                                              call is gone */
};

/* What a client counts, for /metrics and tests. */
struct h2_client_stats {
    uint64_t calls, answered, failed, connects, connect_failures, goaways, pings;
    size_t waiting, active, connections;
};

/* A client's TLS context for a target: `o` (may be NULL: the system's authorities) with server
 * false, ALPN "h2" alone, and the target's host as server_name where that is NULL. Results of
 * tls_context_new; ERR_INVALID for a target without a host and a name. */
int h2_client_tls(struct tls_context **ret, struct loop *l, const struct stream_target *target,
                  const struct tls_options *o, struct err *e);

/* Strings are copied, target.tls is referenced. Does not connect yet. ERR_INVALID (no target, an
 * authority that cannot be sent), ERR_NO_MEMORY. */
int h2_client_new(struct h2_client **ret, struct loop *l, const struct h2_client_options *o,
                  struct err *e);
/* Cancels what is under way, closes, frees itself when all is closed and told. NULL: nothing. */
void h2_client_free(struct h2_client *c);
const struct h2_client_stats *h2_client_stats(const struct h2_client *c);
const char *h2_client_name(const struct h2_client *c); /* "10.0.0.1:50051", "unix:/run/x" */
struct loop *h2_client_loop(const struct h2_client *c);

/* Begins a call; u and the request are copied. Its body is open: write it, then end it. On failure
 * no callback comes: ERR_INVALID (bytes that cannot be sent), ERR_BUSY (too many wait),
 * ERR_NO_MEMORY, ERR_STATE (the client is being freed). */
int h2_call_open(struct h2_call **ret, struct h2_client *c, const struct h2_request *r,
                 const struct h2_call_user *u, void *ctx, struct err *e);
/* Queues bytes (copied), or a reference on a chunk. ERR_LIMIT: something waits already and this
 * would be more than max_queue; `drained` follows. ERR_GONE (the call is over), ERR_STATE (after
 * the end), ERR_NO_MEMORY: nothing was queued. */
int h2_call_write(struct h2_call *k, struct slice data);
int h2_call_write_chunk(struct h2_call *k, struct chunk *c);
size_t h2_call_queued(const struct h2_call *k); /* bytes that are not on their way yet */
int h2_call_end(struct h2_call *k);             /* the body is whole. ERR_GONE, ERR_STATE */
/* Stops and restarts `data` and what follows it; the peer is stopped by its window. An answer that
 * failed is told all the same. */
void h2_call_pause(struct h2_call *k, bool paused);
/* RST_STREAM if it was begun; `closed` follows with H2_CANCELLED. Does nothing when it is over. */
void h2_call_cancel(struct h2_call *k);
/* The same, and no callback comes any more. */
void h2_call_drop(struct h2_call *k);

#endif
