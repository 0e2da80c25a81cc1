/* http1_priv.h: one HTTP/1.x connection of a server, shared by http1_parse.c, http1_write.c and
 * http1_server.c.
 *
 * One request at a time: the next one of a pipelining client is looked at when the answer before it
 * is complete, so answers are in order by construction. Its bytes wait in `pending`, within a
 * limit, after which reading stops. Between requests a connection holds no buffer and no request.
 */
#ifndef GANTRY_HTTP1_PRIV_H
#define GANTRY_HTTP1_PRIV_H

#include "net/exchange_priv.h"
#include "net/http1_check.h"
#include <llhttp.h>

enum {
    H1_HEAD_INLINE = 1024,
    H1_HEADERS_INLINE = 24,
    H1_TRAILERS_MAX = 32,
    H1_SPARE_REQUESTS = 16,
    H1_DRAIN_MAX = 256 << 10, /* rest of a body that is read and dropped to keep a connection */
    H1_LINGER_MAX =
        16
        << 20, /* the same before closing one: a client that sends much too much still reads why */
    H1_QUEUE_HIGH =
        256 << 10, /* answers waiting for the peer: no further request until they left */
};

enum http1_phase { H1_HEAD, H1_BODY, H1_DONE };

struct http1_trailers {
    struct buf text;
    size_t n;
    bool line_done; /* llhttp tells pieces: the next piece of a name begins a line */
    struct {
        size_t name, name_len, value, value_len;
    } at[H1_TRAILERS_MAX];
    struct http_header headers[H1_TRAILERS_MAX];
};

struct http1_request {
    struct exchange x;
    struct http1 *conn;
    struct http1_request *next_spare;
    unsigned spares; /* in the list from here on */
    llhttp_t parser;
    struct http1_check check;
    struct http1_chunks chunks;
    uint64_t body_left; /* with a content-length */
    uint64_t body_got;
    size_t checked_ahead; /* bytes of a chunked body that were checked but not parsed yet */
    enum http1_phase phase;
    bool body_checked; /* the chunked body's end was seen by the check */
    bool keep_alive;   /* as the client wants it */
    bool expects;      /* "100-continue", not sent yet */
    bool bad_expect;
    bool close; /* decided when the answer's head was written */
    bool chunked_out;
    bool no_body_out; /* HEAD, 204, 304 */
    char *head;       /* inline_head or allocated */
    size_t head_len, head_cap;
    struct http_header *headers; /* inline_headers or allocated */
    size_t n_headers, headers_cap;
    struct slice url;
    int parse_error;
    struct http1_trailers *trailers; /* NULL: none came */
    struct http_header inline_headers[H1_HEADERS_INLINE];
    char inline_head[H1_HEAD_INLINE];
};

struct http1 {
    uint32_t magic;
    struct server_conn *conn;
    struct http1_request *req; /* NULL between requests */
    char *pending;             /* bytes that came while nobody could look at them; NULL: none */
    size_t pending_len;
    struct slice rest; /* while dispatching: what follows the request in this read */
    size_t linger_left;
    struct loop_task task; /* looks again after something happened outside of a read */
    bool feeding;
    bool draining;  /* the answer under way is the last one */
    bool eof;       /* the peer will send no more */
    bool lingering; /* the last answer is queued; the rest of the input is dropped */
    bool upgraded;
    bool served; /* had a request: from now on it may be idle longer */
};

/* http1_server.c */
struct http1_request *http1_request_get(struct http1 *h);
void http1_request_put(struct http1 *h, struct http1_request *r);
/* Something changed outside of a read: settle it from the loop. */
void http1_touch(struct http1 *h);
/* No request will be read any more: sends what is queued, then ends. */
void http1_begin_close(struct http1 *h);
/* 101 is queued: ends the exchange and hands the stream over. h may be gone afterwards. */
void http1_upgrade(struct http1 *h, void (*taken)(void *ctx, struct stream *s, struct slice early),
                   void *ctx);
static inline const struct http_limits *http1_limits(const struct http1 *h)
{
    return server_conn_limits(h->conn);
}

/* http1_parse.c: bytes to requests. Both return how many bytes were taken, and a verdict in
 * *status: 0, or the status to refuse with (503: out of memory). */
size_t http1_parse_head(struct http1_request *r, const char *p, size_t n, int *status);
size_t http1_parse_body(struct http1_request *r, const char *p, size_t n, int *status);
void http1_request_reset(struct http1_request *r);

/* http1_write.c: answers to bytes. */
extern const struct exchange_ops http1_ops;
void http1_send_continue(struct http1_request *r);
/* An answer of the protocol itself to a request that never reached a handler; closes after it. */
void http1_refuse(struct http1 *h, int status);

#endif
