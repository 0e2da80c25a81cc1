/* tls_priv.h: between stream.c and tls.c. One TLS session over memory, no sockets: bytes in, bytes
 * out. */
#ifndef GANTRY_TLS_PRIV_H
#define GANTRY_TLS_PRIV_H

#include "base/buf.h"
#include "net/tls.h"

struct tls_session;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

/* Goes through whole handshakes in memory, 1.3 and 1.2, with the process's first server context, so
 * that nothing of OpenSSL is left to be made at first use. Whether they succeed depends on the pair
 * and tells nothing. False: no memory for it. */
bool tls_warm(struct ssl_ctx_st *server);

/* stream.c calls these through tls_context_session_ops(), so that it links without OpenSSL. */
struct tls_session_ops {
    /* Takes a reference on the context's current SSL_CTX. NULL: out of memory. */
    struct tls_session *(*open)(struct tls_context *c);
    void (*close)(struct tls_session *s); /* frees */
    /* Takes encrypted bytes from the peer, appends decrypted ones to plain. Sets *eof at the peer's
     * close_notify. ERR_TLS with the reason, ERR_LIMIT, ERR_NO_MEMORY. Call also with n == 0 to
     * begin a client handshake. */
    int (*feed)(struct tls_session *s, const char *p, size_t n, struct buf *plain, bool *eof,
                struct err *e);
    bool (*ready)(const struct tls_session *s); /* handshake done */
    /* Encrypts; only when ready. */
    int (*write)(struct tls_session *s, const char *p, size_t n, struct err *e);
    void (*shutdown)(struct tls_session *s); /* queues close_notify */
    /* Appends the encrypted bytes that are waiting to go out. */
    int (*pull)(struct tls_session *s, struct buf *out);
    struct slice (*alpn)(const struct tls_session *s);
    const char *(*subject)(
        struct tls_session *s); /* verified peer's common name or NULL; owned by s */
};

#endif
