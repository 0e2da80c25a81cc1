/* grpc_server.h: gRPC calls on exchanges (grpc/grpc, doc/PROTOCOL-HTTP2.md). Message bytes in,
 * message bytes out; what is in them is the handlers' business.
 *
 * A call begins when its head is complete. It is answered by grpc_call_finish, once; whoever
 * answers later than in the handler sets a user, which gets exactly one `closed`, always last.
 * Afterwards the pointer is invalid. A handler that returns without a user and without an answer
 * gives the client INTERNAL. No function here calls back from within.
 */
#ifndef GANTRY_GRPC_SERVER_H
#define GANTRY_GRPC_SERVER_H

#include "base/base.h"
#include "base/err.h"
#include "net/exchange.h"
#include "net/grpc_wire.h"

struct grpc_server;
struct grpc_call;

enum grpc_kind { GRPC_UNARY, GRPC_CLIENT_STREAM, GRPC_SERVER_STREAM, GRPC_BIDI };
static inline bool grpc_kind_streams_in(enum grpc_kind k)
{
    return k == GRPC_CLIENT_STREAM || k == GRPC_BIDI;
}

struct grpc_method {
    const char *path; /* "/package.Service/Method" */
    enum grpc_kind kind;
    uint32_t max_message; /* bytes of a request message; 0: the server's */
    /* The head has come. Needed by methods that take a stream: they set their user here. Others may
     * refuse early here. */
    void (*begin)(struct grpc_call *c);
    /* Methods that take one message: here it is, borrowed for the call. It does not wait for the
     * client's end of its side. */
    void (*request)(struct grpc_call *c, struct slice message);
    const void *row; /* the program's own */
};

struct grpc_user {
    /* A request message of a stream, borrowed for the call. */
    void (*message)(void *ctx, struct grpc_call *c, struct slice message);
    /* The client has ended its side after whole messages. */
    void (*end)(void *ctx, struct grpc_call *c);
    /* The queue of our messages fell below its low mark: go on sending. */
    void (*drained)(void *ctx, struct grpc_call *c);
    /* Last. err: 0: the answer went out whole; ERR_TIMEOUT: the deadline has passed
     * (DEADLINE_EXCEEDED was sent); ERR_GONE: the client has cancelled or is gone; ERR_CANCELLED:
     * the server stops; ERR_LIMIT, ERR_PROTOCOL, ERR_NO_MEMORY: the request was refused for that.
     */
    void (*closed)(void *ctx, struct grpc_call *c, int err);
};

struct grpc_server_options {
    const struct grpc_method *methods; /* borrowed */
    size_t n_methods;
    void *app;            /* grpc_call_app */
    uint32_t max_message; /* 0: GRPC_MESSAGE_MAX */
    size_t max_partial; /* bytes of request messages that are not whole, of all calls; 0: 64 MiB */
    /* Hears the status of every call that had a method, once, when it is decided. `c` is valid, and
     * so is its exchange unless the client is gone (grpc_call_exchange NULL). May be NULL. */
    void (*decided)(void *app, struct grpc_call *c, int status, struct slice message);
};

struct grpc_server_stats {
    uint64_t calls;                              /* that had a method */
    uint64_t statuses[GRPC_UNAUTHENTICATED + 1]; /* of all answers, refused ones too */
    size_t open;
    size_t partial; /* bytes of messages that are not whole yet */
};

/* ERR_INVALID (a row without path or handler, a path twice), ERR_NO_MEMORY. */
int grpc_server_new(struct grpc_server **ret, const struct grpc_server_options *o, struct err *e);
void grpc_server_free(struct grpc_server *s); /* no call may be open: after the server's stop */
const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *s);

/* A listener's handler; ctx is the struct grpc_server. What is not gRPC gets HTTP 415, 405 or 505.
 */
void grpc_server_handle(void *ctx, struct exchange *x);
/* True if the content-type says gRPC, in whatever format of messages: for listeners that serve
 * other things too. */
bool grpc_wanted(const struct exchange *x);

/* ---- a call ---- */

const struct grpc_method *grpc_call_method(const struct grpc_call *c);
void *grpc_call_app(const struct grpc_call *c);
struct loop *grpc_call_loop(struct grpc_call *c);
/* For peer, identity and request id; NULL once the client is gone. Not for answers. */
struct exchange *grpc_call_exchange(struct grpc_call *c);
/* The program's own, for as long as the call. */
void grpc_call_set_note(struct grpc_call *c, void *note);
void *grpc_call_note(const struct grpc_call *c);
/* The client's metadata of that (lower-case) name, the first; {NULL,0} if absent. For -bin names as
 * text; grpc_call_metadata_bin decodes: ERR_NOT_FOUND, ERR_SYNTAX, of buf_add. */
struct slice grpc_call_metadata(const struct grpc_call *c, const char *name);
int grpc_call_metadata_bin(const struct grpc_call *c, const char *name, struct buf *out);
/* Absolute, as loop_now_ms; UINT64_MAX: none. */
uint64_t grpc_call_deadline_ms(const struct grpc_call *c);
/* False: it is decided already; nothing more can be sent. */
bool grpc_call_open(const struct grpc_call *c);

void grpc_call_set_user(struct grpc_call *c, const struct grpc_user *u, void *ctx);
void *grpc_call_ctx(struct grpc_call *c);
/* Stops and restarts message callbacks, and with them the client's sending. */
void grpc_call_pause(struct grpc_call *c);
void grpc_call_resume(struct grpc_call *c);

/* Metadata of the answer, copied: headers before grpc_call_start or the first message, trailers
 * before the finish. Values of -bin names are given as bytes. At most GRPC_CALL_METADATA of each.
 * ERR_INVALID (name or value, a reserved name), ERR_STATE (too late), ERR_LIMIT, ERR_NO_MEMORY. */
#define GRPC_CALL_METADATA 16
int grpc_call_add_header(struct grpc_call *c, struct slice name, struct slice value);
int grpc_call_add_trailer(struct grpc_call *c, struct slice name, struct slice value);

/* Sends the headers now, without a message. Results as grpc_call_send. */
int grpc_call_start(struct grpc_call *c);
/* Queues a message (copied). ERR_LIMIT: as much as may wait for this client waits already; nothing
 * was queued, `drained` comes. A message that finds an empty queue is never too long. ERR_GONE,
 * ERR_STATE (decided), ERR_NO_MEMORY. */
int grpc_call_send(struct grpc_call *c, struct slice message);
size_t grpc_call_queued(const struct grpc_call *c);
/* The end: status and text (at most 2,000 bytes of it go out). Without an earlier message the
 * answer is headers only. Does nothing if it is decided already. */
void grpc_call_finish(struct grpc_call *c, int status, struct slice message);
/* The one message of an answer, and OK; RESOURCE_EXHAUSTED without memory. */
void grpc_call_reply(struct grpc_call *c, struct slice message);
/* The status of the error's row, and its text. */
void grpc_call_fail(struct grpc_call *c, const struct err *e);

#endif
