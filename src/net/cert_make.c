/* cert_make.c: keys and certificates for a development authority: EC P-256, X.509 version 3, with
 * the extensions that strict clients ask for (RFC 5280, 4.2). */
#include "net/cert_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

enum { SERIAL_BYTES = 16, COMMON_NAME_MAX = 64 };
/* Room for CERT_MAX_NAMES names with their kinds. */
#define NAMES_TEXT_MAX (CERT_MAX_NAMES * 300)

struct cert_issuer {
    X509 *cert;
    EVP_PKEY *key;
};

void cert_issuer_free(struct cert_issuer *i)
{
    if (i == NULL)
        return;
    X509_free(i->cert);
    EVP_PKEY_free(i->key);
    mem_free(i);
}

/* Random, positive, without a leading zero byte. */
static int set_serial(X509 *x, struct err *e)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return tls_openssl_error(e, "random number");
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40);
    BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ASN1_INTEGER *done = n != NULL ? BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) : NULL;
    BN_free(n);
    return done != NULL ? 0 : tls_openssl_error(e, "serial number");
}

static int set_subject(X509 *x, const char *name, struct err *e)
{
    size_t n = strlen(name);
    if (n == 0 || n > COMMON_NAME_MAX || !utf8_valid(name, n))
        return err_set(e, ERR_INVALID, "\"%.100s\" cannot be a common name of 1 to %d bytes", name,
                       COMMON_NAME_MAX);
    X509_NAME *subject = X509_get_subject_name(x);
    if (X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)"Gantry development", -1, -1, 0) != 1 ||
        X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)name, (int)n, -1, 0) != 1)
        return tls_openssl_error(e, "subject");
    return 0;
}

static int set_times(X509 *x, const struct cert_request *r, struct err *e)
{
    if (ASN1_TIME_set(X509_getm_notBefore(x), (time_t)r->not_before) == NULL ||
        ASN1_TIME_set(X509_getm_notAfter(x), (time_t)r->not_after) == NULL)
        return tls_openssl_error(e, "times");
    return 0;
}

static int add_extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value, struct err *e)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    int ok = ext != NULL ? X509_add_ext(x, ext, -1) : 0;
    X509_EXTENSION_free(ext);
    return ok == 1 ? 0 : tls_openssl_error(e, "extension of a certificate");
}

/* "DNS:robot,IP:10.0.0.7". Only checked names come here, which have no comma in them. */
static int names_text(struct buf *b, const struct cert_request *r, struct err *e)
{
    if (r->n_names > CERT_MAX_NAMES)
        return err_set(e, ERR_LIMIT, "more than %d names for a certificate", CERT_MAX_NAMES);
    for (size_t i = 0; i < r->n_names; i++) {
        bool address = cert_is_address(r->names[i]);
        if (!address && !cert_is_host(r->names[i]))
            return err_set(e, ERR_INVALID, "\"%.100s\" is neither a host name nor an address",
                           r->names[i]);
        (void)buf_addf(b, "%s%s%s", i > 0 ? "," : "", address ? "IP:" : "DNS:", r->names[i]);
    }
    return b->err == 0 ? 0 : err_set(e, b->err, "names of a certificate");
}

static int add_leaf_extensions(X509 *x, X509V3_CTX *ctx, const struct cert_request *r,
                               struct err *e)
{
    _cleanup_(buf_done) struct buf names = BUF_INIT(NAMES_TEXT_MAX);
    int rc = names_text(&names, r, e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_basic_constraints, "critical,CA:FALSE", e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_key_usage, "critical,digitalSignature", e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_ext_key_usage,
                           r->server && r->client ? "serverAuth,clientAuth"
                           : r->server            ? "serverAuth"
                                                  : "clientAuth",
                           e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_subject_key_identifier, "hash", e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_authority_key_identifier, "keyid:always", e);
    if (rc == 0 && names.len > 0)
        rc = add_extension(x, ctx, NID_subject_alt_name, names.data, e);
    return rc;
}

static int add_authority_extensions(X509 *x, X509V3_CTX *ctx, struct err *e)
{
    int rc = add_extension(x, ctx, NID_basic_constraints, "critical,CA:TRUE,pathlen:0", e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_key_usage, "critical,keyCertSign,cRLSign", e);
    if (rc == 0)
        rc = add_extension(x, ctx, NID_subject_key_identifier, "hash", e);
    return rc;
}

/* issuer NULL: signs itself. */
static int make(X509 **ret, EVP_PKEY *key, const struct cert_issuer *issuer,
                const struct cert_request *r, struct err *e)
{
    _cleanup_(cert_x509_freep) X509 *x = X509_new();
    X509V3_CTX ctx;
    if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 || X509_set_pubkey(x, key) != 1)
        return tls_openssl_error(e, "certificate");
    int rc = set_serial(x, e);
    if (rc == 0)
        rc = set_times(x, r, e);
    if (rc == 0)
        rc = set_subject(x, r->common_name, e);
    if (rc != 0)
        return rc;
    X509 *by = issuer != NULL ? issuer->cert : x;
    if (X509_set_issuer_name(x, X509_get_subject_name(by)) != 1)
        return tls_openssl_error(e, "issuer");
    X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
    rc = issuer != NULL ? add_leaf_extensions(x, &ctx, r, e) : add_authority_extensions(x, &ctx, e);
    if (rc == 0 && X509_sign(x, issuer != NULL ? issuer->key : key, EVP_sha256()) == 0)
        rc = tls_openssl_error(e, "signature");
    if (rc == 0)
        *ret = STEAL(x);
    return rc;
}

static int write_pem(BIO *b, struct buf *out, struct err *e)
{
    char *text;
    long n = BIO_get_mem_data(b, &text);
    int rc = n > 0 ? buf_add(out, text, (size_t)n) : ERR_INTERNAL;
    return rc == 0 ? 0 : err_set(e, rc, "certificate as text");
}

static int write_cert(X509 *x, struct buf *out, struct err *e)
{
    _cleanup_(cert_bio_freep) BIO *b = BIO_new(BIO_s_mem());
    if (b == NULL || PEM_write_bio_X509(b, x) != 1)
        return tls_openssl_error(e, "certificate as text");
    return write_pem(b, out, e);
}

/* A secure BIO: its memory is wiped when it is freed. */
static int write_key(EVP_PKEY *k, struct buf *out, struct err *e)
{
    _cleanup_(cert_bio_freep) BIO *b = BIO_new(BIO_s_secmem());
    if (b == NULL || PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) != 1)
        return tls_openssl_error(e, "key as text");
    return write_pem(b, out, e);
}

int cert_issuer_new(struct cert_issuer **ret, const struct cert_request *r, struct err *e)
{
    struct cert_issuer *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    i->key = EVP_EC_gen("P-256");
    int rc = i->key != NULL ? make(&i->cert, i->key, NULL, r, e) : tls_openssl_error(e, "key");
    if (rc != 0) {
        cert_issuer_free(i);
        return rc;
    }
    *ret = i;
    return 0;
}

int cert_issuer_write(const struct cert_issuer *i, struct buf *cert, struct buf *key, struct err *e)
{
    int rc = write_cert(i->cert, cert, e);
    return rc == 0 ? write_key(i->key, key, e) : rc;
}

int cert_issue(const struct cert_issuer *i, const struct cert_request *r, struct buf *cert,
               struct buf *key, struct err *e)
{
    _cleanup_(cert_pkey_freep) EVP_PKEY *k = EVP_EC_gen("P-256");
    _cleanup_(cert_x509_freep) X509 *x = NULL;
    int rc = k != NULL ? make(&x, k, i, r, e) : tls_openssl_error(e, "key");
    if (rc == 0)
        rc = write_cert(x, cert, e);
    return rc == 0 ? write_key(k, key, e) : rc;
}
