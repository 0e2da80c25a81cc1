/* cert_priv.h: between cert.c, which reads, and cert_make.c. Only they include it. */
#ifndef GANTRY_CERT_PRIV_H
#define GANTRY_CERT_PRIV_H

#include "net/cert.h"

/* OpenSSL has a type of this name, which nobody needs and which is an error code of ours. */
#define ERR_STATE openssl_err_state
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

/* tls.c: takes the oldest entry of OpenSSL's queue and empties it. ERR_TLS or ERR_NO_MEMORY. */
int tls_openssl_error(struct err *e, const char *what);

static inline void cert_x509_freep(X509 **x)
{
    X509_free(*x);
}
static inline void cert_pkey_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static inline void cert_bio_freep(BIO **b)
{
    BIO_free(*b);
}

#endif
