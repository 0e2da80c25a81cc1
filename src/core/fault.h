/* fault.h: why a runtime failed, in words that clients know (compute-agent contract, 4.2 to 4.4),
 * and whether it is worth trying again. Drivers choose the reason from structured causes: an HTTP
 * status, an exit status, an error of the engine's stream.
 */
#ifndef GANTRY_CORE_FAULT_H
#define GANTRY_CORE_FAULT_H

#include "base/err.h"

/* FAULT_TRANSIENT is tried again with back-off and given up after some attempts; FAULT_PERMANENT is
 * given up at once; FAULT_HELD needs somebody to act (credentials, room) and is looked at again
 * with the longest back-off, without an end. */
enum fault_class { FAULT_TRANSIENT, FAULT_PERMANENT, FAULT_HELD };

/* X(symbol, class, FailureReason of the control API) */
#define FAULT_TABLE(X)                                                                             \
    X(IMAGE_PULL_TIMEOUT, TRANSIENT, 1)                                                            \
    X(IMAGE_PULL_AUTH_FAILED, HELD, 1)                                                             \
    X(INVALID_IMAGE, PERMANENT, 2)                                                                 \
    X(PORT_BIND_CONFLICT, PERMANENT, 6)                                                            \
    X(NETWORK_TIMEOUT, TRANSIENT, 6)                                                               \
    X(NETWORK_UNREACHABLE, TRANSIENT, 6)                                                           \
    X(DNS_RESOLUTION_FAILED, TRANSIENT, 6)                                                         \
    X(INSUFFICIENT_RESOURCES, HELD, 3)                                                             \
    X(RESOURCE_QUOTA_EXCEEDED, HELD, 3)                                                            \
    X(STORAGE_FULL, HELD, 3)                                                                       \
    X(STORAGE_PROVISION_FAILED, TRANSIENT, 7)                                                      \
    X(STORAGE_ATTACH_FAILED, TRANSIENT, 7)                                                         \
    X(INVALID_SPECIFICATION, PERMANENT, 4)                                                         \
    X(INVALID_CONFIGURATION, PERMANENT, 4)                                                         \
    X(CLOUD_INIT_INVALID, PERMANENT, 4)                                                            \
    X(RUNTIME_UNHEALTHY, TRANSIENT, 5)                                                             \
    X(RUNTIME_RESOURCE_MISSING, TRANSIENT, 5)                                                      \
    X(RUNTIME_ERROR, TRANSIENT, 5)                                                                 \
    X(UNKNOWN_ERROR, TRANSIENT, 5)

enum fault_reason {
    FAULT_NONE,
#define X(sym, class, wire) FAULT_##sym,
    FAULT_TABLE(X)
#undef X
        FAULT_REASONS
};

/* A failure of a runtime. e.code ERR_UNREACHABLE (no runtime answers), ERR_BUSY and ERR_CANCELLED
 * never count as an attempt: nothing was tried. */
struct fault {
    struct err e;
    enum fault_reason reason;
};

const char *fault_name(enum fault_reason r);        /* "INVALID_IMAGE"; "" for FAULT_NONE */
enum fault_reason fault_by_name(struct slice name); /* FAULT_NONE if there is none */
enum fault_class fault_class(enum fault_reason r);
int fault_wire_reason(enum fault_reason r); /* FailureReason, contract 4.4; 0 for FAULT_NONE */
/* For causes that are nothing but text: the contract's order of words (4.2), with whole words
 * instead of parts of words. Never FAULT_NONE. */
enum fault_reason fault_classify(struct slice text);
/* Sets *f and returns e.code, as err_set. */
int fault_set(struct fault *f, enum fault_reason r, int code, const char *fmt, ...)
    BASE_PRINTF(4, 5);

#endif
