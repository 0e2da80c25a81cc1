/* http.h: words of HTTP that server and client share (RFC 9110). */
#ifndef GANTRY_HTTP_H
#define GANTRY_HTTP_H

#include "base/base.h"
#include "base/buf.h"

enum http_method {
    HTTP_METHOD_OTHER, /* a valid token that is none of these */
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_TRACE,
    HTTP_METHOD_CONNECT,
};
const char *http_method_name(enum http_method m);
enum http_method http_method_parse(struct slice text);

/* Names are lower-case; both borrowed. */
struct http_header {
    struct slice name, value;
};
/* The first header of that (lower-case) name, or NULL. */
const struct http_header *http_find(const struct http_header *h, size_t n, const char *name);
/* True if a comma-separated list contains the token, ASCII case ignored. */
bool http_list_has(struct slice list, const char *token);

const char *http_status_text(int status); /* "Not Found"; "Unknown" for others */

/* Limits of one connection and its messages; every value has a default and a configuration key. */
struct http_limits {
    size_t max_head;      /* bytes of request line and header block */
    size_t max_headers;   /* header lines */
    size_t max_target;    /* bytes of the request target */
    size_t max_body;      /* bytes of a request body */
    size_t max_queue;     /* bytes queued for a peer that does not read, per connection */
    size_t max_streams;   /* HTTP/2: concurrent streams of a connection */
    size_t max_pipelined; /* HTTP/1.1: pipelined requests answered in a row before other connections
                           * get their turn; behind a slow answer at most max_head bytes wait */
    uint64_t first_byte_ms; /* from accept to the first byte */
    uint64_t head_ms;       /* from the first byte to the whole header block (slow loris) */
    uint64_t body_ms;       /* between two pieces of a request body */
    uint64_t idle_ms;       /* keep-alive without a request */
    uint64_t write_ms;      /* a peer that takes no bytes of an answer */
    uint64_t ping_ms;       /* HTTP/2: a peer that has sent nothing for so long gets a PING ... */
    uint64_t pong_ms;       /* ... and is cut if it sends nothing for so long after it */
};
extern const struct http_limits http_limits_default; /* 16k head, 100 headers, 8k target, 1M body,
    1M queue, 100 streams, 64 pipelined, 10 s, 10 s, 30 s, 75 s, 30 s, 2 h, 20 s */

#endif
