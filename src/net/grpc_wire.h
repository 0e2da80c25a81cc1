/* grpc_wire.h: what gRPC adds to HTTP/2, for servers and clients: message frames, status codes,
 * grpc-timeout, grpc-message and binary metadata (grpc/grpc, doc/PROTOCOL-HTTP2.md). Bytes in,
 * bytes out; no sockets. */
#ifndef GANTRY_GRPC_WIRE_H
#define GANTRY_GRPC_WIRE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

/* ---- status ---- */

/* X(symbol, number, err code): the err code is what a client makes of the status. */
#define GRPC_STATUS_TABLE(X)                                                                       \
    X(OK, 0, 0)                                                                                    \
    X(CANCELLED, 1, ERR_CANCELLED)                                                                 \
    X(UNKNOWN, 2, ERR_RUNTIME)                                                                     \
    X(INVALID_ARGUMENT, 3, ERR_INVALID)                                                            \
    X(DEADLINE_EXCEEDED, 4, ERR_TIMEOUT)                                                           \
    X(NOT_FOUND, 5, ERR_NOT_FOUND)                                                                 \
    X(ALREADY_EXISTS, 6, ERR_EXISTS)                                                               \
    X(PERMISSION_DENIED, 7, ERR_DENIED)                                                            \
    X(RESOURCE_EXHAUSTED, 8, ERR_LIMIT)                                                            \
    X(FAILED_PRECONDITION, 9, ERR_STATE)                                                           \
    X(ABORTED, 10, ERR_CONFLICT)                                                                   \
    X(OUT_OF_RANGE, 11, ERR_INVALID)                                                               \
    X(UNIMPLEMENTED, 12, ERR_UNSUPPORTED)                                                          \
    X(INTERNAL, 13, ERR_PROTOCOL)                                                                  \
    X(UNAVAILABLE, 14, ERR_UNREACHABLE)                                                            \
    X(DATA_LOSS, 15, ERR_IO)                                                                       \
    X(UNAUTHENTICATED, 16, ERR_UNAUTHENTICATED)

enum grpc_status {
#define X(sym, num, err) GRPC_##sym = (num),
    GRPC_STATUS_TABLE(X)
#undef X
};

/* "NOT_FOUND"; "UNKNOWN" for numbers that are none. */
const char *grpc_status_name(int status);
/* An err code (0: OK) as the status to answer with: the table of err.h has it. */
int grpc_status_of_err(int err);
/* A status, from a peer, as an err code; 0 for OK. Numbers that are none count as UNKNOWN. */
int grpc_err_of_status(int status);
/* The status of an HTTP answer without a grpc-status (doc/http-grpc-status-mapping.md). */
int grpc_status_of_http(int http_status);
/* The value of grpc-status; what is no number, or none of the table, is UNKNOWN. */
int grpc_status_parse(struct slice value);

/* ---- messages ---- */

#define GRPC_PREFIX 5u            /* bytes before each message */
#define GRPC_MESSAGE_MAX 4194304u /* bytes of a message, the default of both sides */
#define GRPC_METADATA_NAME_MAX 256u

/* The prefix of a message: flag, then the length, big endian. */
void grpc_prefix(char out[GRPC_PREFIX], bool compressed, uint32_t len);

/* Messages out of a run of bytes that comes in any pieces. Memory grows with the bytes that have
 * come, never with what a prefix announces. */
struct grpc_reader {
    struct buf body;  /* a message that did not come in one piece */
    uint32_t max;     /* bytes of a message */
    uint32_t length;  /* of the present one, as announced */
    uint8_t n_prefix; /* bytes of the prefix so far */
    char prefix[GRPC_PREFIX];
    bool body_used; /* the last message was told out of `body` */
    int err;        /* sticky */
};
void grpc_reader_init(struct grpc_reader *r, uint32_t max);
void grpc_reader_done(struct grpc_reader *r);
/* Cuts bytes off *in. 1: *message is whole (borrowed from *in or from the reader: until the next
 * call) and *compressed is its flag; call again for what is left of *in. 0: all of *in is used and
 * no message is whole. ERR_LIMIT (announces more than max: told before its bytes come; the length
 * is in r->length), ERR_PROTOCOL (a flag that is neither 0 nor 1), ERR_NO_MEMORY; all three stay.
 */
int grpc_reader_next(struct grpc_reader *r, struct slice *in, struct slice *message,
                     bool *compressed);
/* False in the middle of a message: a stream that ends here was cut. */
static inline bool grpc_reader_at_edge(const struct grpc_reader *r)
{
    return r->n_prefix == 0 && r->err == 0;
}

/* ---- headers ---- */

/* True for "application/grpc", alone or followed by "+proto" or by parameters; *other (may be NULL)
 * is set for a message format that is not protobuf ("+json"), which makes the result false. */
bool grpc_content_type(struct slice value, bool *other);

/* grpc-timeout: 1 to 8 digits and one of H M S m u n -> nanoseconds. ERR_SYNTAX. Zero is valid:
 * over already. What does not fit 64 bits (584 years) becomes UINT64_MAX. */
int grpc_timeout_parse(struct slice value, uint64_t *ret_ns);
#define GRPC_TIMEOUT_SIZE 10
/* The same the other way, in the finest unit that fits 8 digits, rounded up so that the peer does
 * not give up before us. NUL-terminated. */
void grpc_timeout_format(char out[GRPC_TIMEOUT_SIZE], uint64_t ns);

/* grpc-message: all but printable ASCII, and '%', becomes %XX. Results: of buf_add. */
int grpc_message_encode(struct buf *out, struct slice text);
/* A '%' without two hex digits stays; the result is made valid UTF-8, lossily. */
int grpc_message_decode(struct buf *out, struct slice value);

/* ---- metadata ---- */

/* Names: [0-9a-z_.-], 1 to GRPC_METADATA_NAME_MAX. Those that gRPC and HTTP/2 use themselves
 * (grpc-..., te, content-type, ...) are never metadata. */
bool grpc_metadata_name_ok(struct slice name);
bool grpc_metadata_reserved(struct slice name);
bool grpc_metadata_is_bin(struct slice name); /* ends in "-bin" */
/* Values of other names: printable ASCII, blanks not at the ends. */
bool grpc_metadata_value_ok(struct slice value);

/* Values of -bin names: base64 without padding. */
int grpc_bin_encode(struct buf *out, struct slice bytes);
/* One value, with or without padding. ERR_SYNTAX (out untouched), or of buf_add. Several values may
 * come joined by commas: slice_split them first. */
int grpc_bin_decode(struct buf *out, struct slice text);

#endif
