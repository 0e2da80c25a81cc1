/* http1_check.h: the strict check of HTTP/1.x bytes before the parser sees them. Bytes in, verdict
 * out.
 *
 * The parser (llhttp) is lenient in places where proxies and servers disagree, which is what
 * request smuggling lives on. What passes here has one reading only (RFC 9112, sections 2, 5, 6, 7
 * and 11).
 */
#ifndef GANTRY_HTTP1_CHECK_H
#define GANTRY_HTTP1_CHECK_H

#include "base/base.h"
#include "net/http.h"

/* Verdicts; others are the HTTP status to refuse with: 400, 414, 431, 501, 505. */
enum { HTTP1_OK = 0, HTTP1_MORE = 1 };

struct http1_check {
    size_t pos;   /* bytes looked at so far */
    size_t start; /* where the present element (method, target, header line) begins */
    size_t value; /* where the present header's value begins, 0 in its name */
    size_t n_headers;
    uint64_t length; /* Content-Length */
    uint8_t state;
    bool has_length, chunked, has_host;
    bool minor0; /* HTTP/1.0 */
};

/* Looks at a request's head. p holds it from its first byte, n bytes so far; call again with more
 * of it after HTTP1_MORE (k zero-initialised the first time; the bytes may have moved). On HTTP1_OK
 * *head_len is its length with the empty line; one empty line before the request line is allowed
 * (RFC 9112, 2.2) and counted. */
int http1_check_head(struct http1_check *k, const struct http_limits *l, const char *p, size_t n,
                     size_t *head_len);

struct http1_chunks {
    uint64_t left;   /* of the present chunk */
    size_t overhead; /* bytes of extensions and trailers so far, at most max_head */
    size_t n_trailers;
    uint8_t state, digits;
};

/* Looks at a chunked body: n new bytes. *used: how many of them belong to it (all after
 * HTTP1_MORE). HTTP1_OK: the body is complete. 400: malformed; 431: too many or too long extensions
 * or trailers. */
int http1_check_chunks(struct http1_chunks *k, const struct http_limits *l, const char *p, size_t n,
                       size_t *used);

/* True for a character of a token: methods, header names (RFC 9110, 5.6.2). */
bool http1_is_token(unsigned char c);
/* True for a character of a header value: no control characters but the tab. */
bool http1_is_value(unsigned char c);

#endif
