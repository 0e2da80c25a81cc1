/* tls_openssl.h: between tls.c, which makes contexts, and tls_session.c. Only they include it. */
#ifndef GANTRY_TLS_OPENSSL_H
#define GANTRY_TLS_OPENSSL_H

#include "net/tls.h"
#include "net/tls_priv.h"

#include <sys/stat.h>
#include <time.h>

/* OpenSSL has a type of this name, which nobody needs and which is an error code of ours. */
#define ERR_STATE openssl_err_state
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#define TLS_CONTEXT_MAGIC 0x746c7363u
#define TLS_WATCHED 3 /* cert, key, ca */

struct file_stamp {
    bool there;
    struct timespec mtime;
    off_t size;
    ino_t ino;
    dev_t dev;
};

struct tls_context {
    uint32_t magic;
    uint32_t refs;
    struct loop *loop;
    bool server, require_client_cert, no_verify;
    char *cert_file, *key_file, *ca_file, *server_name; /* owned; NULL when not given */
    unsigned char *alpn;                                /* wire form: length, name, ... ; owned */
    size_t alpn_len;
    SSL_CTX *ssl_ctx;

    struct loop_timer timer;
    bool timer_live, at_handshake;
    void (*report)(void *ctx, const struct err *e);
    void *report_ctx;
    struct file_stamp stamps[TLS_WATCHED]; /* as they were before the last attempt */
    struct err last;                       /* result of the last attempt */
};

/* Takes the oldest entry of OpenSSL's queue, which is the cause, and empties the queue. ERR_TLS or
 * ERR_NO_MEMORY. */
int tls_openssl_error(struct err *e, const char *what);
/* True for an IPv4 or IPv6 address. */
bool tls_is_address(const char *name);

/* tls.c: before a handshake begins. */
void tls_context_look(struct tls_context *c);
/* tls_session.c: sets OpenSSL up and makes what all sessions share, once. ERR_NO_MEMORY. */
int tls_session_init(void);
extern const struct tls_session_ops tls_openssl_session_ops;

#endif
