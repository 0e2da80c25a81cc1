/* tls.h: contexts for TLS on streams (OpenSSL, 1.2 or newer), with reload of the files. */
#ifndef GANTRY_TLS_H
#define GANTRY_TLS_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"

struct tls_context;

struct tls_options {
    bool server;
    const char *cert_file, *key_file; /* PEM; server: required. Client: optional pair. */
    const char *ca_file;              /* PEM; server: verify client certificates against it */
    bool require_client_cert;         /* server, with ca_file: refuse peers without one */
    const char *const *alpn;          /* NULL-terminated, in order of preference: "h2", "http/1.1" */
    const char *server_name;          /* client: SNI and the name to verify */
    bool insecure_no_verify;          /* client: do not verify (tests) */
};

/* Strings are copied. ERR_TLS with the reason, ERR_NOT_FOUND, ERR_NO_MEMORY. */
int tls_context_new(struct tls_context **ret, struct loop *l, const struct tls_options *o,
                    struct err *e);
/* Reads the files again; on failure the old pair stays in use. New connections use the new one. */
int tls_context_reload(struct tls_context *c, struct err *e);
/* Watches the files (their modification times, every `interval_ms`) and reloads on change.
 * `report` (may be NULL) hears of each attempt: e->code 0 when loaded, else why not. */
int tls_context_watch(struct tls_context *c, uint64_t interval_ms,
                      void (*report)(void *ctx, const struct err *e), void *ctx);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);

/* What stream.c drives: one TLS session over memory BIOs, no sockets. Implemented in tls.c, found
 * through the context, so that programs without TLS link none of it. */
struct tls_session_ops;
const struct tls_session_ops *tls_context_session_ops(struct tls_context *c);

#endif
