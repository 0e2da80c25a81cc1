/* grpc.h: tables of gRPC calls: protobuf in and out, who asks, whether he may, the record of it.
 *
 * One row is one call; a row without a right does not compile (RPC takes it as a positional
 * argument). Identity is found when the head has come, before any message is read; the right is
 * checked then too, or, when it hangs on a name in the request, as soon as that is decoded.
 *
 * Answers: UNAUTHENTICATED and PERMISSION_DENIED from the guard; INTERNAL for a request that does
 * not parse or holds text that is not UTF-8; the rest is of net/grpc_server.h and the handlers.
 */
#ifndef GANTRY_API_GRPC_H
#define GANTRY_API_GRPC_H

#include <protobuf-c/protobuf-c.h>

#include "api/route/route.h"
#include "net/grpc_server.h"

struct grpc_api;
struct rpc_call;

struct rpc_row {
    const char *path;     /* "/package.Service/Method" */
    enum right_verb verb; /* right: what is done ... */
    const char *kind;     /* ... to what, as in api_route */
    const ProtobufCMessageDescriptor *request, *answer;
    enum grpc_kind streams;
    bool open; /* needs no identity and no right (health) */
    bool list; /* whoever may read anything of the kind may ask; see rpc_may_see */
    /* The name in the request that the right is about; NULL: none. Not for streams of requests. */
    struct slice (*name)(const ProtobufCMessage *request);
    int variant;          /* for handlers that serve several rows */
    uint32_t max_message; /* bytes of a request message; 0: the table's */
    /* Everything is valid. Calls with one request get it (it lives as long as the call), others
     * NULL: they set a user. Must answer, now or later (rpc_set_user). */
    void (*handler)(struct rpc_call *c, const ProtobufCMessage *request);
};
#define RPC(path_, verb_, kind_, request_, answer_, ...)                                           \
    {                                                                                              \
        .path = (path_), .verb = (verb_), .kind = (kind_), .request = &(request_),                 \
        .answer = &(answer_), __VA_ARGS__                                                          \
    }

/* The rows of one service, or of several, and what their handlers need. Borrowed. */
struct rpc_table {
    const struct rpc_row *rows;
    size_t n_rows;
    void *app;
};

struct rpc_call {
    struct grpc_call *g; /* for metadata and the deadline */
    void *app;           /* of the row's table */
    const struct rpc_row *row;
    const struct identity *who; /* never NULL; as long as the call */
    /* For the audit record; borrowed, must be valid when the call is answered. Without `object` the
     * record has the name of the row, without `detail` the text of the status. */
    struct slice object, detail;
};

struct rpc_user {
    /* A request of a stream, borrowed for the call. */
    void (*message)(void *ctx, struct rpc_call *c, const ProtobufCMessage *m);
    void (*end)(void *ctx, struct rpc_call *c);             /* the client has said all */
    void (*drained)(void *ctx, struct rpc_call *c);         /* go on with rpc_send */
    void (*closed)(void *ctx, struct rpc_call *c, int err); /* last; err as in grpc_user */
};

struct grpc_api_options {
    const struct rpc_table *tables;
    size_t n_tables;
    const struct api_guard *guard;  /* NULL: everybody may do everything */
    const struct audit_sink *audit; /* answers of calls whose verb is not RIGHT_READ, and refusals
                                       of the guard; NULL: nobody hears */
    uint32_t max_message;           /* bytes of a request message; 0: 4 MiB */
    /* Host check as in api_options; NULL: every host. */
    bool (*host_allowed)(void *app, struct exchange *x);
    void *host_app;
    /* Requests that are not gRPC go there (a REST table: api_handle); NULL: HTTP 415. */
    void (*other)(void *ctx, struct exchange *x);
    void *other_ctx;
    const struct clock *clock; /* NULL: the system's */
};

/* The tables are checked here: ERR_INVALID for a row without right, messages or handler, a path
 * twice, a message type that holds itself. ERR_NO_MEMORY. `o` is copied, tables are borrowed. */
int grpc_api_new(struct grpc_api **ret, const struct grpc_api_options *o, struct err *e);
void grpc_api_free(struct grpc_api *a); /* no call may be open */
/* A listener's handler; ctx is the struct grpc_api. Serves gRPC, and hands the rest on. */
void grpc_api_handle(void *ctx, struct exchange *x);
/* Names of the services of all tables, each once ("persys.agent.v1.AgentService"); NULL: no more.
 * Borrowed. */
struct slice grpc_api_service(const struct grpc_api *a, size_t i);
const struct grpc_server_stats *grpc_api_stats(const struct grpc_api *a);
/* gantry_grpc_requests_total by method and code, gantry_grpc_request_duration_seconds by method
 * (from the request's head to the status). Labels are bounded by the tables. */
void grpc_api_write_metrics(const struct grpc_api *a, struct buf *out);

/* ---- a call ---- */

/* Keeps the call beyond its handler; without a user a handler must have answered when it returns.
 * `closed` comes exactly once. */
void rpc_set_user(struct rpc_call *c, const struct rpc_user *u, void *ctx);
/* False: the status is decided (answered, cancelled, late); nothing more can be sent. */
bool rpc_open(const struct rpc_call *c);
/* The one answer, and OK. Texts in it must be UTF-8, else the client gets INTERNAL. */
void rpc_reply(struct rpc_call *c, const ProtobufCMessage *answer);
/* One of a stream of answers. As grpc_call_send; also ERR_DENIED: the caller's identity is over,
 * UNAUTHENTICATED was sent. ERR_ENCODING: text that is not UTF-8, nothing sent. */
int rpc_send(struct rpc_call *c, const ProtobufCMessage *answer);
void rpc_finish(struct rpc_call *c, int status, const char *fmt, ...) BASE_PRINTF(3, 4);
void rpc_fail(struct rpc_call *c, const struct err *e); /* grpc_call_fail */
/* For the handlers of lists: has the caller the row's right for this name? */
bool rpc_may_see(const struct rpc_call *c, struct slice name);

#endif
