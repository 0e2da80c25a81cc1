/* exchange.h: one request and its answer, the same over HTTP/1.1 and HTTP/2.
 *
 * A server calls its handler when the request's head is complete. The handler either answers at
 * once (exchange_respond) and forgets the exchange, or sets a user with exchange_set_user and
 * answers later. An exchange with a user gets exactly one `closed`, always last; afterwards the
 * pointer is invalid. A handler that returns without a user and without having answered gives the
 * client a 500.
 */
#ifndef GANTRY_EXCHANGE_H
#define GANTRY_EXCHANGE_H

#include "base/base.h"
#include "base/err.h"
#include "net/http.h"
#include "net/stream.h"

struct exchange;

/* Borrowed from the exchange; valid until `closed` (without a user: until the handler returns). */
struct http_request {
    enum http_method method;
    struct slice method_text;
    struct slice target; /* as sent, e.g. "/a%20b?x=1" (HTTP/2: ":path") */
    struct slice path;   /* target up to '?' */
    struct slice query;  /* after '?'; p is NULL if there is no '?' */
    struct slice host;   /* Host or :authority */
    bool https;
    int version;                       /* 10, 11 or 20 */
    const struct http_header *headers; /* without pseudo headers */
    size_t n_headers;
    bool has_body;          /* a content-length above 0, chunked, or an open HTTP/2 stream */
    int64_t content_length; /* -1: not told */
};

struct exchange_user {
    /* Body bytes, borrowed for the call. NULL: the body is read and dropped within max_body. */
    void (*body)(void *ctx, struct exchange *x, const char *p, size_t n);
    /* The whole request has arrived (at once if there is no body). err: 0, ERR_LIMIT (body over
     * the limit; a 413 has been sent), ERR_TIMEOUT, ERR_PROTOCOL, ERR_GONE. Trailers:
     * exchange_trailers. */
    void (*end)(void *ctx, struct exchange *x, int err);
    /* The queue of our answer fell below its low mark: go on writing. */
    void (*drained)(void *ctx, struct exchange *x);
    /* err: 0 when the answer was handed to the kernel whole; ERR_GONE when the peer left before;
     * ERR_CANCELLED when the server stops. */
    void (*closed)(void *ctx, struct exchange *x, int err);
};

const struct http_request *exchange_request(const struct exchange *x);
struct slice exchange_header(const struct exchange *x, const char *name); /* {NULL,0} if absent */
const struct http_header *exchange_trailers(const struct exchange *x, size_t *n);
const struct peer *exchange_peer(const struct exchange *x);
bool exchange_peer_in_group(const struct exchange *x, gid_t gid); /* stream_peer_in_group */
struct loop *exchange_loop(struct exchange *x);
#define EXCHANGE_ID_MAX 64
/* The request's id, for logs and for the answer's x-request-id: the client's own x-request-id if it
 * is 1 to EXCHANGE_ID_MAX of [A-Za-z0-9._-], else 16 hex digits, unique in this process. */
const char *exchange_id(struct exchange *x);

void exchange_set_user(struct exchange *x, const struct exchange_user *u, void *ctx);
void *exchange_ctx(struct exchange *x);
/* Stops and restarts body callbacks (and with them the peer's sending). */
void exchange_pause(struct exchange *x);
void exchange_resume(struct exchange *x);

/* The user has a limit of his own for the body (the server's max_body counts no more), and, if
 * `patient`, deadlines of his own for it (body_ms counts no more). */
void exchange_own_body(struct exchange *x, bool patient);
/* What is still to come of the body is of no use: it is dropped without further callbacks, and an
 * HTTP/2 peer is told so once it has the whole answer (RST_STREAM, NO_ERROR). */
void exchange_drop_body(struct exchange *x);

/* Collects the whole body (at most max bytes, and at most the server's max_body), then calls done
 * once: err as in `end`; body is borrowed for the call. When err is not 0 an answer was sent or the
 * peer is gone: just release ctx; no further callback follows then. With err 0 the caller must
 * answer, at once or later (set a user of its own inside done to hear `closed`). Replaces any user.
 */
void exchange_collect(struct exchange *x, size_t max,
                      void (*done)(void *ctx, struct exchange *x, int err, struct slice body),
                      void *ctx);

/* The head of an answer. Header names lower-case; date, server, content-length and connection are
 * written by the transport. */
struct http_response {
    int status;
    const char *content_type; /* NULL: none */
    const struct http_header *headers;
    size_t n_headers;
    bool no_length; /* HTTP/2: without content-length (gRPC's answers of headers only) */
};

/* The whole answer; body copied; HEAD requests get its length without the bytes. After it x may
 * only hear `closed`. 0, ERR_NO_MEMORY (a bare 503 was tried), ERR_GONE, ERR_STATE (answered
 * already). */
int exchange_respond(struct exchange *x, const struct http_response *r, struct slice body);

/* A streamed answer: start, write as often as wanted, finish. HTTP/1.1 uses chunked (HTTP/1.0:
 * close). exchange_write: ERR_GONE, ERR_LIMIT when more than max_queue is waiting (nothing was
 * queued). */
int exchange_start(struct exchange *x, const struct http_response *r);
int exchange_write(struct exchange *x, struct slice data);
/* The same bytes for many exchanges; over HTTP/1.1 the reference is queued, not a copy. */
int exchange_write_chunk(struct exchange *x, struct chunk *c);
size_t exchange_queued(const struct exchange *x);
int exchange_finish(struct exchange *x, const struct http_header *trailers, size_t n);
/* An informational answer (100 Continue is sent by itself when a body is wanted). */
/* Ends the exchange without a proper end, so that the client sees a failure (RST_STREAM, close). */
void exchange_abort(struct exchange *x);

/* HTTP/1.1 only: answers 101 with the headers and hands the stream over, with the bytes that came
 * after the request. ERR_UNSUPPORTED over HTTP/2, ERR_STATE. The exchange ends (closed, 0) first.
 * The new owner must stream_set_user at once. */
int exchange_upgrade(struct exchange *x, const struct http_header *headers, size_t n,
                     void (*taken)(void *ctx, struct stream *s, struct slice early), void *ctx);

#endif
