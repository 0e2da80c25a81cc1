/* client_answer.h: the parser of HTTP/1.x answers: bytes in, callbacks out, no socket. Only net/
 * and the fuzz target include it.
 *
 * Head, then body in pieces; informational answers (1xx) are skipped. An answer has one reading
 * only: both Content-Length and Transfer-Encoding, several lengths, codings other than "chunked",
 * bare CR or LF, folded lines and 101 are refused (RFC 9112, 2.2, 5.2, 6.1 and 6.3).
 */
#ifndef GANTRY_CLIENT_ANSWER_H
#define GANTRY_CLIENT_ANSWER_H

#include "base/buf.h"
#include "base/err.h"
#include "net/client.h"
#include <llhttp.h>

enum { ANSWER_FEW_HEADERS = 24, ANSWER_MAX_HEADERS = 512, ANSWER_MAX_INFORMATIONAL = 16 };

/* What answer_feed returns besides negative error codes. */
enum answer_result {
    ANSWER_MORE,    /* all bytes used, the answer goes on */
    ANSWER_DONE,    /* complete; bytes beyond *used are not part of it */
    ANSWER_STOPPED, /* answer_stop was called; go on with the bytes from *used */
};

struct answer_user {
    void (*head)(void *ctx, const struct client_response *r);
    void (*body)(void *ctx, const char *p, size_t n); /* n > 0 */
};

/* Places in answer.text: they stay right when it moves. */
struct answer_field {
    uint32_t name, name_len, value, value_len;
};

struct answer {
    llhttp_t parser;
    const struct answer_user *user;
    void *ctx;
    struct buf text; /* reason, names and values of the head; its max is the limit of the head */
    struct answer_field *fields;
    struct http_header *headers;
    size_t n_headers, cap_headers;
    uint32_t reason_len;
    size_t head_seen; /* bytes of all heads so far; then of trailers and chunk extensions */
    int line;         /* enum head_line: where in the head's lines the next byte is */
    size_t body_seen, max_body;
    int informational; /* 1xx so far */
    bool head_request;
    bool started; /* a byte of it has come */
    bool head_done, complete, keep_alive, stopped;
    bool in_name, skip; /* skip: the present head is a 1xx */
    struct err error;   /* why a callback of the parser refused */
    struct answer_field few_fields[ANSWER_FEW_HEADERS];
    struct http_header few_headers[ANSWER_FEW_HEADERS];
};

void answer_init(struct answer *a, const struct answer_user *u, void *ctx);
void answer_done(struct answer *a);
/* Ready for one answer. max_head and max_body in bytes. Memory is kept from one to the next. */
void answer_begin(struct answer *a, bool head_request, size_t max_head, size_t max_body);
/* Gives memory beyond a usual head back. */
void answer_shrink(struct answer *a);

/* enum answer_result, or ERR_PROTOCOL, ERR_LIMIT, ERR_NO_MEMORY with *e set. */
int answer_feed(struct answer *a, const char *p, size_t n, size_t *used, struct err *e);
/* The peer sends no more: 0 if that ends the answer properly, else ERR_GONE. */
int answer_eof(struct answer *a, struct err *e);
/* From a callback: no more of them until the next answer_feed. */
void answer_stop(struct answer *a);

#endif
