/* client.h: HTTP/1.1 client: a keep-alive pool per peer, deadlines, streaming answers.
 *
 * Nothing is retried, with one exception: a reused connection that the peer closed before any byte
 * of an answer to a request without a body is tried once more on a new connection, if the method is
 * idempotent, as RFC 9112, 9.3.1 asks: not POST and PATCH.
 */
#ifndef GANTRY_CLIENT_H
#define GANTRY_CLIENT_H

#include "base/base.h"
#include "base/err.h"
#include "net/http.h"
#include "net/stream.h"

struct client_pool;
struct client_call;

struct client_options {
    struct stream_target target; /* copied */
    const char *host;            /* Host header: "agent", "docker" */
    const char *user_agent;      /* NULL: "gantry/<version>"; "": no User-Agent and no Accept */
    size_t max_connections; /* waiting calls queue up, at most max_waiting, then ERR_BUSY. 0: 100 */
    size_t max_waiting;     /* 0: 1000 */
    size_t max_idle;        /* 0: max_connections; idle_ms brings them down when calls get fewer */
    uint64_t idle_ms;       /* 0: 5000 */
    uint64_t
        connect_ms;  /* 0: 5000; waiting for a place in the pool counts separately, same limit */
    size_t max_head; /* answer's header block. 0: 64k */
};

struct client_request {
    enum http_method method;
    struct slice target;               /* "/services/x/status", already encoded */
    const struct http_header *headers; /* beyond Host, User-Agent, Accept, Content-Length */
    size_t n_headers;
    struct slice body;        /* copied; p NULL: no body. Sent with Content-Length */
    const char *content_type; /* with a body; NULL: "application/json" */
    uint64_t first_byte_ms;   /* from sending to the answer's head; 0: 5000 */
    uint64_t idle_ms; /* between pieces of the answer's body; 0: 5000; UINT64_MAX: none (follow
                         streams) */
    bool secret;      /* headers and body hold secrets: copies of them are overwritten once sent */
    size_t max_body;  /* of the answer in all: ERR_LIMIT above. 0: 8 MiB; SIZE_MAX: none */
};

struct client_response {
    int status;
    struct slice reason;
    const struct http_header *headers;
    size_t n_headers;
};

struct client_user {
    void (*head)(void *ctx,
                 const struct client_response *r);    /* borrowed for the call; may be NULL */
    void (*body)(void *ctx, const char *p, size_t n); /* may be NULL: dropped */
    /* Exactly once, last, always from the loop (never inside client_send). e->code 0: complete.
     * ERR_TIMEOUT, ERR_REFUSED/ERR_NOT_FOUND (e->sys: ECONNREFUSED/ENOENT), ERR_GONE (closed
     * without an answer or in the middle), ERR_PROTOCOL, ERR_LIMIT, ERR_BUSY, ERR_NO_MEMORY... */
    void (*done)(void *ctx, const struct err *e);
};

/* What a pool counts, for /metrics and tests. */
struct client_stats {
    uint64_t calls, connects, reused, retried, failed, timeouts, cancelled;
    size_t open, idle, waiting; /* connections, and calls without one */
};

/* Strings are copied, target.tls is referenced. ERR_INVALID (no target, a host that cannot be
 * sent), ERR_NO_MEMORY. */
int client_pool_new(struct client_pool **ret, struct loop *l, const struct client_options *o,
                    struct err *e);
/* Cancels what is under way (done with ERR_CANCELLED), closes, frees itself when all is closed. */
void client_pool_free(struct client_pool *p);
size_t client_pool_open(const struct client_pool *p); /* connections, idle ones included */
const struct client_stats *client_pool_stats(const struct client_pool *p);

/* Sends. *ret (may be NULL) is valid until done; u is copied. On failure done is not called:
 * ERR_INVALID (bytes that would break the request's form), ERR_BUSY (too many wait), ERR_NO_MEMORY,
 * ERR_NO_FILES, ERR_STATE (the pool is being freed). */
int client_send(struct client_pool *p, const struct client_request *r, const struct client_user *u,
                void *ctx, struct client_call **ret, struct err *e);
/* No callback comes after it; the connection is closed. Not from within done. */
void client_cancel(struct client_call *c);
/* Back-pressure: no body callbacks (and no reading) until resumed. The time-outs rest meanwhile. */
void client_pause(struct client_call *c, bool paused);

/* The usual case: the whole answer in memory. body is borrowed for the call. status 0 when e->code.
 */
typedef void (*client_fetch_fn)(void *ctx, const struct err *e, int status,
                                const struct client_response *r, struct slice body);
int client_fetch(struct client_pool *p, const struct client_request *r, client_fetch_fn fn,
                 void *ctx, struct client_call **ret, struct err *e);

#endif
