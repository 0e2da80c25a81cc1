/* cert.c: reading certificates and checking sets of them. */
#include "net/cert_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <string.h>

#define TEXT_MAX 4096 /* a name as text */

enum { HOST_MAX = 253, LABEL_MAX = 63, IPV6_BYTES = 16 };

static void store_freep(X509_STORE **s)
{
    X509_STORE_free(*s);
}
static void store_ctx_freep(X509_STORE_CTX **c)
{
    X509_STORE_CTX_free(*c);
}
static void names_freep(GENERAL_NAMES **n)
{
    GENERAL_NAMES_free(*n);
}
static void free_certs(STACK_OF(X509) * *s)
{
    sk_X509_pop_free(*s, X509_free);
}

/* A key without a password, or none: OpenSSL's own question would hold up the process. */
static int no_password(char *out, int size, int rwflag, void *arg)
{
    (void)out;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

/* --- One certificate --- */

static int out_of_memory(struct err *e)
{
    ERR_clear_error();
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* The text of a name, as it stands in a BIO of memory. */
static int name_text(char **ret, const X509_NAME *name, struct err *e)
{
    _cleanup_(cert_bio_freep) BIO *b = BIO_new(BIO_s_mem());
    char *text;
    if (b == NULL || X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
        return out_of_memory(e);
    long n = BIO_get_mem_data(b, &text);
    if (n > TEXT_MAX)
        n = TEXT_MAX;
    *ret = mem_strndup(n > 0 ? text : "", n > 0 ? (size_t)n : 0);
    return *ret != NULL ? 0 : out_of_memory(e);
}

static int common_name(char **ret, const X509_NAME *name, struct err *e)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *utf8 = NULL;
    if (at < 0)
        return 0;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (n < 0) { /* text that is no text: the same as none */
        ERR_clear_error();
        return 0;
    }
    *ret = mem_strndup((const char *)utf8, (size_t)n);
    OPENSSL_free(utf8);
    return *ret != NULL ? 0 : out_of_memory(e);
}

/* "DNS:robot"; empty for a kind that is not told. */
static void alternative(struct buf *b, const GENERAL_NAME *n)
{
    char text[INET6_ADDRSTRLEN];
    if (n->type == GEN_DNS) {
        (void)buf_adds(b, "DNS:");
        (void)buf_add(b, ASN1_STRING_get0_data(n->d.dNSName),
                      (size_t)ASN1_STRING_length(n->d.dNSName));
    } else if (n->type == GEN_IPADD) {
        int len = ASN1_STRING_length(n->d.iPAddress);
        if ((len == IPV6_BYTES || len == 4) &&
            inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(n->d.iPAddress), text,
                      sizeof(text)) != NULL)
            (void)buf_addf(b, "IP:%s", text);
    }
}

static int read_names(struct cert_info *c, X509 *x, struct err *e)
{
    _cleanup_(names_freep) GENERAL_NAMES *names =
        X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int n = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    ERR_clear_error();
    if (n <= 0)
        return 0;
    if (n > CERT_MAX_NAMES)
        n = CERT_MAX_NAMES;
    c->names = mem_calloc((size_t)n, sizeof(*c->names));
    if (c->names == NULL)
        return out_of_memory(e);
    for (int i = 0; i < n; i++) {
        char text[TEXT_MAX];
        struct buf b = BUF_FIXED(text);
        alternative(&b, sk_GENERAL_NAME_value(names, i));
        if (b.len == 0 || b.err != 0)
            continue;
        c->names[c->n_names] = mem_strndup(text, b.len);
        if (c->names[c->n_names] == NULL)
            return out_of_memory(e);
        c->n_names++;
    }
    return 0;
}

static int time_of(int64_t *ret, const ASN1_TIME *t, struct err *e)
{
    int days = 0, seconds = 0;
    ASN1_TIME *zero = ASN1_TIME_set(NULL, 0);
    if (zero == NULL)
        return out_of_memory(e);
    int ok = ASN1_TIME_diff(&days, &seconds, zero, t);
    ASN1_TIME_free(zero);
    if (ok != 1)
        return tls_openssl_error(e, "time of a certificate");
    *ret = (int64_t)days * 86400 + seconds;
    return 0;
}

static int read_serial(struct cert_info *c, X509 *x, struct err *e)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *hex = n != NULL ? BN_bn2hex(n) : NULL;
    if (hex != NULL)
        c->serial = mem_strdup(hex);
    OPENSSL_free(hex);
    BN_free(n);
    return c->serial != NULL ? 0 : out_of_memory(e);
}

static int read_one(struct cert_info *c, X509 *x, struct err *e)
{
    int rc = name_text(&c->subject, X509_get_subject_name(x), e);
    if (rc == 0)
        rc = name_text(&c->issuer, X509_get_issuer_name(x), e);
    if (rc == 0)
        rc = common_name(&c->common_name, X509_get_subject_name(x), e);
    if (rc == 0)
        rc = read_names(c, x, e);
    if (rc == 0)
        rc = read_serial(c, x, e);
    if (rc == 0)
        rc = time_of(&c->not_before, X509_get0_notBefore(x), e);
    if (rc == 0)
        rc = time_of(&c->not_after, X509_get0_notAfter(x), e);
    if (rc == 0)
        c->authority = X509_check_ca(x) == 1;
    ERR_clear_error();
    return rc;
}

static void info_done(struct cert_info *c)
{
    mem_free(c->subject);
    mem_free(c->issuer);
    mem_free(c->common_name);
    mem_free(c->serial);
    for (size_t i = 0; i < c->n_names; i++)
        mem_free(c->names[i]);
    mem_free(c->names);
}

void cert_list_done(struct cert_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        info_done(&l->items[i]);
    mem_free(l->items);
    *l = (struct cert_list){0};
}

/* --- PEM --- */

/* All certificates of a text, in order. */
static int load_all(STACK_OF(X509) * *ret, struct slice pem, struct err *e)
{
    if (pem.len == 0 || pem.len > INT32_MAX)
        return err_set(e, ERR_TLS, "there is no certificate in it");
    _cleanup_(cert_bio_freep) BIO *b = BIO_new_mem_buf(pem.p, (int)pem.len);
    *ret = sk_X509_new_null();
    if (b == NULL || *ret == NULL)
        return out_of_memory(e);
    ERR_clear_error();
    for (X509 *x; (x = PEM_read_bio_X509(b, NULL, no_password, NULL)) != NULL;) {
        if (sk_X509_num(*ret) >= CERT_MAX_IN_FILE) {
            X509_free(x);
            return err_set(e, ERR_LIMIT, "more than %d certificates in it", CERT_MAX_IN_FILE);
        }
        if (sk_X509_push(*ret, x) <= 0) {
            X509_free(x);
            return out_of_memory(e);
        }
    }
    unsigned long code = ERR_peek_last_error();
    if (code == 0) /* without a reason: it had no memory for one */
        return out_of_memory(e);
    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
        return tls_openssl_error(e, "damaged certificate");
    ERR_clear_error();
    if (sk_X509_num(*ret) == 0)
        return err_set(e, ERR_TLS, "there is no certificate in it");
    return 0;
}

static int list_of(struct cert_list *ret, STACK_OF(X509) * all, size_t n, struct err *e)
{
    ret->items = mem_calloc(n, sizeof(*ret->items));
    if (ret->items == NULL)
        return out_of_memory(e);
    for (size_t i = 0; i < n; i++) {
        ret->count = i + 1;
        int rc = read_one(&ret->items[i], sk_X509_value(all, (int)i), e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int cert_read(struct cert_list *ret, struct slice pem, struct err *e)
{
    _cleanup_(free_certs) STACK_OF(X509) *all = NULL;
    *ret = (struct cert_list){0};
    int rc = load_all(&all, pem, e);
    return rc == 0 ? list_of(ret, all, (size_t)sk_X509_num(all), e) : rc;
}

bool cert_is_named(const struct cert_info *c, struct slice name)
{
    if (c->common_name != NULL && slice_eq_nocase(slice_of(c->common_name), name))
        return true;
    for (size_t i = 0; i < c->n_names; i++)
        if (strncmp(c->names[i], "DNS:", 4) == 0 &&
            slice_eq_nocase(slice_of(c->names[i] + 4), name))
            return true;
    return false;
}

/* --- Sets --- */

static int check_key(X509 *leaf, struct slice key, struct err *e)
{
    if (key.len == 0 || key.len > INT32_MAX)
        return err_set(e, ERR_TLS, "there is no private key");
    _cleanup_(cert_bio_freep) BIO *b = BIO_new_mem_buf(key.p, (int)key.len);
    if (b == NULL)
        return out_of_memory(e);
    _cleanup_(cert_pkey_freep) EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, no_password, NULL);
    if (k == NULL)
        return tls_openssl_error(e, "private key");
    if (X509_check_private_key(leaf, k) == 1)
        return 0;
    ERR_clear_error();
    return err_set(e, ERR_TLS, "the private key is not that of the certificate");
}

static int check_chain(X509 *leaf, STACK_OF(X509) * chain, STACK_OF(X509) * ca, int64_t now,
                       struct err *e)
{
    _cleanup_(store_freep) X509_STORE *store = X509_STORE_new();
    _cleanup_(store_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (store == NULL || ctx == NULL)
        return out_of_memory(e);
    for (int i = 0; i < sk_X509_num(ca); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(ca, i)) != 1)
            return tls_openssl_error(e, "authority");
    if (X509_STORE_CTX_init(ctx, store, leaf, chain) != 1)
        return out_of_memory(e);
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(p, (time_t)now);
    /* An authority in the middle of a chain is as good as its root: Vault's often is one. */
    (void)X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN);
    if (X509_verify_cert(ctx) == 1)
        return 0;
    int why = X509_STORE_CTX_get_error(ctx);
    ERR_clear_error();
    if (why == X509_V_ERR_OUT_OF_MEM)
        return out_of_memory(e);
    return err_set(e, ERR_TLS, "the certificate is not good: %s",
                   X509_verify_cert_error_string(why));
}

int cert_check_loads(struct slice chain, struct slice key, struct slice ca, struct err *e)
{
    _cleanup_(free_certs) STACK_OF(X509) *certs = NULL, *authorities = NULL;
    int rc = load_all(&certs, chain, e);
    if (rc == 0 && (rc = load_all(&authorities, ca, e)) != 0)
        return err_wrap(e, "authority");
    return rc == 0 ? check_key(sk_X509_value(certs, 0), key, e) : rc;
}

int cert_check_set(struct slice chain, struct slice key, struct slice ca, int64_t now,
                   struct cert_list *ret, struct err *e)
{
    _cleanup_(free_certs) STACK_OF(X509) *certs = NULL, *authorities = NULL;
    if (ret != NULL)
        *ret = (struct cert_list){0};
    int rc = load_all(&certs, chain, e);
    if (rc == 0 && (rc = load_all(&authorities, ca, e)) != 0)
        return err_wrap(e, "authority");
    if (rc == 0)
        rc = check_key(sk_X509_value(certs, 0), key, e);
    if (rc == 0)
        rc = check_chain(sk_X509_value(certs, 0), certs, authorities, now, e);
    if (rc == 0 && ret != NULL)
        rc = list_of(ret, certs, 1, e);
    return rc;
}

/* --- Names --- */

bool cert_is_address(const char *text)
{
    unsigned char bytes[IPV6_BYTES];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool is_label(struct slice l)
{
    if (l.len == 0 || l.len > LABEL_MAX || l.p[0] == '-' || l.p[l.len - 1] == '-')
        return false;
    for (size_t i = 0; i < l.len; i++) {
        char c = l.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_'))
            return false;
    }
    return true;
}

bool cert_is_host(const char *text)
{
    struct slice rest = slice_of(text), label;
    if (rest.len == 0 || rest.len > HOST_MAX)
        return false;
    if (slice_starts(rest, "*."))
        rest = (struct slice){rest.p + 2, rest.len - 2};
    while (slice_split(&rest, '.', &label))
        if (!is_label(label))
            return false;
    return true;
}
