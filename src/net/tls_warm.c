/* tls_warm.c: what OpenSSL makes at first use (providers, algorithms, locks, random generators) is
 * made by a whole handshake in memory, while a failure can still be told. OpenSSL 3.0 does not
 * survive running out of memory in the middle of that: it keeps half-made tables, or none, for
 * good.
 */
#include "net/tls_priv.h"

#define ERR_STATE openssl_err_state
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#undef ERR_STATE

enum { ROUNDS = 16 }; /* of both sides' turns: more than any handshake needs */

static void x509_freep(X509 **x)
{
    X509_free(*x);
}
static void pkey_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static void ssl_ctx_freep(SSL_CTX **c)
{
    SSL_CTX_free(*c);
}
static void ssl_freep(SSL **s)
{
    SSL_free(*s);
}

static int accept_any(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    (void)store;
    return 1;
}

/* A certificate for nobody, so that reading and verifying a client's is warm as well. */
static bool certify(X509 *x, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(x);

    return X509_set_version(x, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), -60) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(x), 3600) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"none", -1,
                                      -1, 0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
           X509_sign(x, key, EVP_sha256()) > 0 && X509_verify(x, key) == 1;
}

static SSL_CTX *client_new(void)
{
    _cleanup_(ssl_ctx_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    _cleanup_(pkey_freep) EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    _cleanup_(x509_freep) X509 *x = X509_new();

    if (ctx == NULL || key == NULL || x == NULL || !certify(x, key) ||
        SSL_CTX_use_certificate(ctx, x) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return NULL;
    return STEAL(ctx);
}

/* Both ends in turn, then a byte each way, which reads the tickets too, then the farewell. */
static void talk(SSL *server, SSL *client)
{
    char c = 0;
    size_t n;

    for (int i = 0; i < ROUNDS; i++) {
        int a = SSL_do_handshake(client);
        int b = SSL_do_handshake(server);
        if (a == 1 && b == 1)
            break;
    }
    if (SSL_write_ex(server, "s", 1, &n) == 1 && SSL_write_ex(client, "c", 1, &n) == 1) {
        (void)SSL_read_ex(client, &c, 1, &n);
        (void)SSL_read_ex(server, &c, 1, &n);
    }
    (void)SSL_shutdown(client);
    (void)SSL_shutdown(server);
}

static bool shake(SSL_CTX *server_ctx, SSL_CTX *client_ctx, int version, const char *group)
{
    _cleanup_(ssl_freep) SSL *server = SSL_new(server_ctx);
    _cleanup_(ssl_freep) SSL *client = SSL_new(client_ctx);
    BIO *a = NULL, *b = NULL;

    if (server == NULL || client == NULL || BIO_new_bio_pair(&a, 0, &b, 0) != 1)
        return false;
    SSL_set_bio(server, a, a);
    SSL_set_bio(client, b, b);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    SSL_set_verify(server, SSL_VERIFY_PEER, accept_any);
    (void)X509_VERIFY_PARAM_set_flags(SSL_get0_param(server), X509_V_FLAG_CHECK_SS_SIGNATURE);
    if (SSL_set_max_proto_version(client, version) != 1 || SSL_set1_groups_list(client, group) != 1)
        return false;
    talk(server, client);
    return true;
}

static bool warm_up(SSL_CTX *server)
{
    _cleanup_(ssl_ctx_freep) SSL_CTX *client = client_new();
    unsigned char c;
    bool ok = client != NULL && RAND_bytes(&c, 1) == 1 && RAND_priv_bytes(&c, 1) == 1 &&
              shake(server, client, TLS1_3_VERSION, "X25519") &&
              shake(server, client, TLS1_2_VERSION, "P-256");

    SSL_CTX_flush_sessions(server, 0); /* nobody will resume these */
    for (unsigned long code; ok && (code = ERR_get_error()) != 0;)
        ok = ERR_GET_REASON(code) != ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    return ok;
}

bool tls_warm(SSL_CTX *server)
{
    static bool warm; /* the kind of key makes no difference: algorithms come all at once */

    if (!warm)
        warm = warm_up(server);
    return warm;
}
