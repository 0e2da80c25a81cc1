/* err.h: one table of error codes for every front end, and the value that carries a failure.
 *
 * A row of the table has: number, stable name, HTTP status, gRPC status, retryable, text.
 * Libraries fill a struct err and do not log; the program that gives up logs it, once.
 */
#ifndef GANTRY_ERR_H
#define GANTRY_ERR_H

#include "base/base.h"

#include <stdarg.h>

/* X(symbol, number, "stable-name", http, grpc, retryable, "text") */
#define ERR_TABLE(X)                                                                               \
    X(INTERNAL, 1, "internal", 500, 13, false, "internal error")                                   \
    X(NO_MEMORY, 2, "no-memory", 503, 8, true, "out of memory")                                    \
    X(INVALID, 3, "invalid", 400, 3, false, "invalid value")                                       \
    X(SYNTAX, 4, "syntax", 400, 3, false, "syntax error")                                          \
    X(NOT_FOUND, 5, "not-found", 404, 5, false, "not found")                                       \
    X(EXISTS, 6, "exists", 409, 6, false, "exists already")                                        \
    X(CONFLICT, 7, "conflict", 409, 9, false, "conflict")                                          \
    X(LIMIT, 8, "limit", 413, 8, false, "limit reached")                                           \
    X(HEADER_LIMIT, 9, "header-limit", 431, 8, false, "header block too large")                    \
    X(URI_LIMIT, 10, "uri-limit", 414, 8, false, "request target too long")                        \
    X(BUSY, 11, "busy", 503, 14, true, "too busy")                                                 \
    X(TIMEOUT, 12, "timeout", 504, 4, true, "timed out")                                           \
    X(CANCELLED, 13, "cancelled", 499, 1, false, "cancelled")                                      \
    X(REFUSED, 14, "refused", 503, 14, true, "connection refused")                                 \
    X(GONE, 15, "gone", 503, 14, true, "peer has gone")                                            \
    X(UNREACHABLE, 16, "unreachable", 503, 14, true, "cannot be reached")                          \
    X(PROTOCOL, 17, "protocol", 400, 13, false, "protocol error")                                  \
    X(DENIED, 18, "denied", 403, 7, false, "not allowed")                                          \
    X(UNAUTHENTICATED, 19, "unauthenticated", 401, 16, false, "not authenticated")                 \
    X(UNSUPPORTED, 20, "unsupported", 501, 12, false, "not supported")                             \
    X(IO, 21, "io", 500, 13, true, "input/output error")                                           \
    X(NO_SPACE, 22, "no-space", 507, 8, true, "no space left")                                     \
    X(NO_FILES, 23, "no-files", 503, 8, true, "out of file descriptors")                           \
    X(TLS, 24, "tls", 400, 16, false, "TLS failure")                                               \
    X(STATE, 25, "state", 409, 9, false, "not in this state")                                      \
    X(TOOL, 26, "tool", 500, 13, false, "a program failed")                                        \
    X(NO_TOOL, 27, "no-tool", 501, 12, false, "a program is not installed")                        \
    X(RUNTIME, 28, "runtime", 503, 14, true, "runtime failed")                                     \
    X(ENCODING, 29, "encoding", 400, 3, false, "not UTF-8")                                        \
    X(MISDIRECTED, 30, "misdirected", 421, 3, false, "not a host of this server")                  \
    X(PRECONDITION, 31, "precondition", 412, 9, false, "a condition of the request does not hold") \
    X(DRAINING, 32, "draining", 503, 14, true, "the node is being drained")

/* ERR_* are negative, so a function can return one; 0 is success. */
enum err_code {
#define X(sym, num, name, http, grpc, retry, text) ERR_##sym = -(num),
    ERR_TABLE(X)
#undef X
};

struct err_row {
    int code; /* negative */
    const char *name;
    int http_status;
    int grpc_status;
    bool retryable;
    const char *text;
};

/* The row for a code; never NULL (unknown codes give the row of ERR_INTERNAL). */
const struct err_row *err_row(int code);
const char *err_name(int code);

/* A failure with its story. Zero-initialised means "no error". Plain value: copy it freely. */
struct err {
    int code;      /* 0 or a negative enum err_code */
    int sys;       /* errno of the cause, or 0 */
    char msg[480]; /* always terminated; cut with "..." if too long; UTF-8, see err_set */
};

/* Sets *e (which may be NULL) and returns `code`, so callers can write
 *   return err_set(e, ERR_INVALID, "port \"%s\" is not a number", text);
 * A message shows the bad value in quotes.
 *
 * What comes from outside may stand in a message as it came: bytes that are not UTF-8 (also a
 * character that "%.40s" cut in two) become U+FFFD, and control characters \n, \t or \u00xx, so
 * that no message ends a line or steers a terminal. */
int err_set(struct err *e, int code, const char *fmt, ...) BASE_PRINTF(3, 4);

/* The same for a message of several lines: line feeds stay, those in the arguments too. */
int err_set_lines(struct err *e, int code, const char *fmt, ...) BASE_PRINTF(3, 4);

/* Formats a message that is no struct err's into to[size] (5 to 1023 bytes), as err_set does. No
 * argument may point into it. */
void err_format(char *to, size_t size, const char *fmt, va_list ap) BASE_PRINTF(3, 0);

/* The same for a failed system call: picks the code from errno `sys`
 * (ENOENT NOT_FOUND, EACCES/EPERM DENIED, ENOMEM NO_MEMORY, ENOSPC/EDQUOT NO_SPACE,
 * EMFILE/ENFILE NO_FILES, ECONNREFUSED REFUSED, EPIPE/ECONNRESET GONE, ETIMEDOUT TIMEOUT,
 * EEXIST EXISTS, ECANCELED CANCELLED, EHOSTUNREACH/ENETUNREACH/ENETDOWN UNREACHABLE, else IO),
 * appends ": <strerror>" and keeps `sys`. Accepts negative libuv codes. */
int err_sys(struct err *e, int sys, const char *fmt, ...) BASE_PRINTF(3, 4);

/* Puts "context: " before the message of an existing error. Returns e->code. */
int err_wrap(struct err *e, const char *fmt, ...) BASE_PRINTF(2, 3);

#endif
