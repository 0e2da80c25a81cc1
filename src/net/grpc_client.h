/* grpc_client.h: gRPC calls over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): unary, and streaming
 * either way. Messages are bytes; what they mean is the caller's.
 *
 * Each call ends with exactly one `done`, from the loop, whatever happened: the server's status, or
 * one that was made here (doc/statuscodes.md): CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE when no
 * connection could be made or it was lost, and what HTTP statuses and HTTP/2 error codes map to.
 *
 * A call is sent a second time, once, if the server surely did not begin with it (REFUSED_STREAM, a
 * GOAWAY that leaves it out) and what was sent so far is little enough to be kept (RETRY_BYTES);
 * nothing else is ever repeated here.
 */
#ifndef GANTRY_GRPC_CLIENT_H
#define GANTRY_GRPC_CLIENT_H

#include "base/base.h"
#include "base/err.h"
#include "net/grpc_wire.h"
#include "net/http.h"
#include "net/http2_client.h"

struct grpc_client;
struct grpc_client_call;

#define GRPC_RETRY_BYTES 65536u
#define GRPC_RETRY_MESSAGES 8u

struct grpc_client_options {
    struct h2_client_options http2;
    const char *user_agent; /* NULL: "grpc-c-gantry/<version>" */
    uint32_t max_message;   /* bytes of a message that is received. 0: GRPC_MESSAGE_MAX */
};

/* Everything is copied. */
struct grpc_request {
    const char *method; /* "/package.Service/Method" */
    /* Beyond what gRPC sends itself. Values of "-bin" names are bytes, and encoded here. */
    const struct http_header *metadata;
    size_t n_metadata;
    uint64_t timeout_ms;  /* of the whole call, told to the server. 0: none */
    bool wait_for_ready;  /* waits for a connection until the time is over, instead of failing */
    uint32_t max_message; /* 0: the client's */
};

/* How a call ended; borrowed for the callback. */
struct grpc_result {
    int code;            /* enum grpc_status */
    const char *message; /* never NULL; "" when there is none */
    bool from_server;    /* the status came with the answer */
};
/* As an error of ours: 0 for OK, else e's code is that of grpc_err_of_status. */
int grpc_result_err(const struct grpc_result *r, struct err *e);

/* Any may be NULL but `done`. Metadata come without the headers that are gRPC's own, "-bin" values
 * decoded; borrowed for the call. */
struct grpc_client_user {
    void (*headers)(void *ctx, const struct http_header *m, size_t n);
    void (*message)(void *ctx, struct slice message); /* borrowed */
    void (*drained)(void *ctx); /* go on sending: less than 64 KiB wait, or there is room again */
    void (*trailers)(void *ctx, const struct http_header *m, size_t n); /* just before done */
    void (*done)(void *ctx, const struct grpc_result *r);
};

/* Results of h2_client_new; ERR_INVALID for a user agent that cannot be sent. */
int grpc_client_new(struct grpc_client **ret, struct loop *l, const struct grpc_client_options *o,
                    struct err *e);
/* Cancels what is under way and frees itself when all is told. NULL: nothing. */
void grpc_client_free(struct grpc_client *c);
struct h2_client *grpc_client_http2(struct grpc_client *c); /* for its name and counts */

/* Begins a call that may send and receive any number of messages. On failure `done` does not come:
 * results of h2_call_open; ERR_INVALID for metadata or a method that cannot be sent. */
int grpc_client_start(struct grpc_client_call **ret, struct grpc_client *c,
                      const struct grpc_request *r, const struct grpc_client_user *u, void *ctx,
                      struct err *e);
/* Queues a message (copied). ERR_LIMIT: too much waits already, `drained` follows; or longer than
 * 4 GiB. ERR_GONE (over), ERR_STATE (after the end), ERR_NO_MEMORY: nothing was queued. */
int grpc_client_send(struct grpc_client_call *k, struct slice message);
int grpc_client_end(struct grpc_client_call *k); /* no more messages of ours. ERR_GONE, ERR_STATE */
size_t grpc_client_queued(const struct grpc_client_call *k);
/* Stops and restarts `message`; the server is stopped by its window. A failure is told all the
 * same, and then drops messages that were not told. */
void grpc_client_pause(struct grpc_client_call *k, bool paused);
/* `done` follows with CANCELLED, unless the call is over already. */
void grpc_client_cancel(struct grpc_client_call *k);
/* The same, and no callback comes any more. Not from within done. */
void grpc_client_drop(struct grpc_client_call *k);

/* One message each way. fn comes once; message (borrowed) is meaningful if r->code is OK.
 * *ret (may be NULL) is valid until then. On failure fn is not called: as grpc_client_start and
 * grpc_client_send. */
typedef void (*grpc_unary_fn)(void *ctx, const struct grpc_result *r, struct slice message);
int grpc_client_unary(struct grpc_client *c, const struct grpc_request *r, struct slice message,
                      grpc_unary_fn fn, void *ctx, struct grpc_client_call **ret, struct err *e);

#endif
