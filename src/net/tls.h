/* tls.h: contexts for TLS on streams (OpenSSL, 1.2 or newer), with reload of the files. */
#ifndef GANTRY_TLS_H
#define GANTRY_TLS_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"

struct tls_context;

/* Sends OpenSSL's allocations through mem.h and sets the library up. OpenSSL allows this only
 * before its first allocation, so programs that use TLS call it first thing; tls_context_new calls
 * it as well. 0, ERR_STATE (too late: OpenSSL keeps its own allocator, all else works),
 * ERR_NO_MEMORY. */
int tls_init_memory(void);

struct tls_options {
    bool server;
    const char *cert_file, *key_file; /* PEM; server: required. Client: optional pair. */
    const char *ca_file;              /* PEM; server: verify client certificates against it.
                                         Client: NULL means the system's authorities */
    bool require_client_cert;         /* server, with ca_file: refuse peers without one */
    const char *const *alpn; /* NULL-terminated, in order of preference: "h2", "http/1.1" */
    const char *server_name; /* client: SNI and the name (or IP address) to verify; required
                                unless insecure_no_verify */
    bool insecure_no_verify; /* client: do not verify (tests) */
};

/* Strings are copied. ERR_TLS with the reason, ERR_INVALID (a combination that makes no sense),
 * ERR_NOT_FOUND and other codes of reading a file, ERR_NO_MEMORY. */
int tls_context_new(struct tls_context **ret, struct loop *l, const struct tls_options *o,
                    struct err *e);
/* Reads the files again; on failure the old pair stays in use. New connections use the new one. */
int tls_context_reload(struct tls_context *c, struct err *e);
/* The files are others than those that were read last (time, size and inode). Looks at them, and
 * reads nothing. */
bool tls_context_stale(const struct tls_context *c);
/* Watches the files (time, size and inode, every `interval_ms`) and reloads on change. Certificate
 * and key may be replaced one after the other: until they match, the old pair stays and it tries
 * again. `report` (may be NULL) hears of each attempt after a change, and of repeated ones whose
 * result differs from the last one told: e->code 0 when loaded, else why not. It must not drop the
 * last reference. The watch does not keep the loop running. Calling it again replaces the former
 * watch. */
int tls_context_watch(struct tls_context *c, uint64_t interval_ms,
                      void (*report)(void *ctx, const struct err *e), void *ctx);
/* Server: looks at the files' times before each handshake too, so that the first connection after a
 * change has the new ones. A bad change is tried once; the old pair stays. `report` as above. */
void tls_context_check_at_handshake(struct tls_context *c,
                                    void (*report)(void *ctx, const struct err *e), void *ctx);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);

/* What stream.c drives: one TLS session over memory BIOs, no sockets. Implemented in tls.c, found
 * through the context, so that programs without TLS link none of it. */
struct tls_session_ops;
const struct tls_session_ops *tls_context_session_ops(struct tls_context *c);

#endif
