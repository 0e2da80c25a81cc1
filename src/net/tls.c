/* tls.c: TLS contexts on OpenSSL: settings, certificates, reload and watch. Sessions:
 * tls_session.c.
 *
 * A context builds its SSL_CTX anew for every load and swaps it only when all of it is good.
 */
#include "net/tls.h"

#include "base/file.h"
#include "base/mem.h"
#include "net/tls_openssl.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define TLS_FILE_MAX (1u << 20) /* of a PEM file */

enum { READ_TRIES = 3 };

/* ---- memory ---------------------------------------------------------------------------------- */

static void *ssl_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n == 0 ? NULL : mem_alloc(n);
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    mem_free(p);
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
    if (p == NULL)
        return ssl_malloc(n, file, line);
    if (n == 0) {
        mem_free(p);
        return NULL;
    }
    return mem_realloc(p, n);
}

int tls_init_memory(void)
{
    static bool tried, ours;

    if (!tried) {
        tried = true;
        ours = CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) == 1;
    }
    if (tls_session_init() != 0)
        return ERR_NO_MEMORY;
    return ours ? 0 : ERR_STATE;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* Takes the oldest entry of OpenSSL's queue, which is the cause, and empties the queue. */
int tls_openssl_error(struct err *e, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    bool no_memory = code != 0 && ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;

    for (unsigned long more; !no_memory && (more = ERR_get_error()) != 0;)
        no_memory = ERR_GET_REASON(more) == ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    if (no_memory)
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", what);
    return err_set(e, ERR_TLS, "%s: %s", what, reason != NULL ? reason : "failed");
}

/* ---- loading a context ----------------------------------------------------------------------- */

static int no_password(char *out, int size, int rwflag, void *arg)
{
    (void)out;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1; /* OpenSSL's own would ask on the terminal and hold up the daemon */
}

static void wipe_buf(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

static void bio_freep(BIO **b)
{
    BIO_free(*b);
}
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

/* The file's bytes as a BIO; the bytes stay in b. */
static int pem_open(BIO **ret, struct buf *b, const char *path, struct err *e)
{
    int r = file_read(AT_FDCWD, path, 0, b, e);

    if (r != 0)
        return r;
    if (b->len == 0)
        return err_set(e, ERR_TLS, "\"%s\" is empty", path);
    *ret = BIO_new_mem_buf(b->data, (int)b->len);
    return *ret != NULL ? 0 : tls_openssl_error(e, path);
}

/* After the last certificate PEM reading ends with "no start line", which is no failure. */
static int pem_end(struct err *e, const char *path)
{
    unsigned long code = ERR_peek_last_error();

    if (code == 0 ||
        (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)) {
        ERR_clear_error();
        return 0;
    }
    return tls_openssl_error(e, path);
}

static int load_chain(SSL_CTX *ctx, const char *path, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(TLS_FILE_MAX);
    _cleanup_(bio_freep) BIO *bio = NULL;
    _cleanup_(x509_freep) X509 *cert = NULL;
    int r = pem_open(&bio, &text, path, e);

    if (r != 0)
        return r;
    cert = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
    if (cert == NULL || SSL_CTX_use_certificate(ctx, cert) != 1)
        return tls_openssl_error(e, path);
    for (X509 *more; (more = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL;) {
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
            X509_free(more);
            return tls_openssl_error(e, path);
        }
    }
    return pem_end(e, path);
}

static int load_key(SSL_CTX *ctx, const char *path, struct err *e)
{
    _cleanup_(wipe_buf) struct buf text = BUF_INIT(TLS_FILE_MAX);
    _cleanup_(bio_freep) BIO *bio = NULL;
    _cleanup_(pkey_freep) EVP_PKEY *key = NULL;
    int r = pem_open(&bio, &text, path, e);

    if (r != 0)
        return r;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (key == NULL || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return tls_openssl_error(e, path);
    return 0;
}

static int load_authorities(const struct tls_context *c, SSL_CTX *ctx, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(TLS_FILE_MAX);
    _cleanup_(bio_freep) BIO *bio = NULL;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int n = 0;
    int r = pem_open(&bio, &text, c->ca_file, e);

    if (r != 0)
        return r;
    for (X509 *ca; (ca = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL; n++) {
        /* Its extensions are read now: when memory fails OpenSSL while it reads them in the middle
         * of a handshake, it takes them for invalid from then on. */
        bool ok = X509_check_purpose(ca, -1, 0) == 1 && X509_STORE_add_cert(store, ca) == 1 &&
                  (!c->server || SSL_CTX_add_client_CA(ctx, ca) == 1);

        X509_free(ca);
        if (!ok)
            return tls_openssl_error(e, c->ca_file);
    }
    if (n == 0)
        return tls_openssl_error(e, c->ca_file);
    return pem_end(e, c->ca_file);
}

/* The server's choice among what the client offers, in our order; nothing in common ends the
 * handshake (RFC 7301, 3.2), so that one protocol's bytes are never read as another's. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    const struct tls_context *c = arg;
    unsigned char *chosen = NULL;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, c->alpn, (unsigned)c->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

bool tls_is_address(const char *name)
{
    struct in6_addr a;

    return inet_pton(AF_INET, name, &a) == 1 || inet_pton(AF_INET6, name, &a) == 1;
}

/* Whom to trust, and as whom. */
static int set_verification(struct tls_context *c, SSL_CTX *ctx, struct err *e)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    int mode = SSL_VERIFY_NONE;
    int r = 0;

    if (c->ca_file != NULL)
        r = load_authorities(c, ctx, e);
    else if (!c->server && !c->no_verify && SSL_CTX_set_default_verify_paths(ctx) != 1)
        r = tls_openssl_error(e, "the system's certificate authorities");
    if (r != 0)
        return r;
    if (c->server && c->ca_file != NULL)
        mode = SSL_VERIFY_PEER | (c->require_client_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    if (!c->server && !c->no_verify) {
        mode = SSL_VERIFY_PEER;
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if ((tls_is_address(c->server_name)
                 ? X509_VERIFY_PARAM_set1_ip_asc(param, c->server_name)
                 : X509_VERIFY_PARAM_set1_host(param, c->server_name, 0)) != 1)
            return tls_openssl_error(e, c->server_name);
    }
    SSL_CTX_set_verify(ctx, mode, NULL);
    return 0;
}

static int set_protocols(struct tls_context *c, SSL_CTX *ctx, struct err *e)
{
    static const unsigned char id[] = "gantry";

    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    /* HTTP/2 forbids the other suites of TLS 1.2 (RFC 9113, appendix A). */
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
        SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) != 1)
        return tls_openssl_error(e, "TLS settings");
    if (c->alpn_len > 0 && c->server)
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, c);
    else if (c->alpn_len > 0 && SSL_CTX_set_alpn_protos(ctx, c->alpn, (unsigned)c->alpn_len) != 0)
        return tls_openssl_error(e, "ALPN");
    return 0;
}

/* Everything anew from the files; *ret untouched on failure. */
static int build(struct tls_context *c, SSL_CTX **ret, struct err *e)
{
    _cleanup_(ssl_ctx_freep) SSL_CTX *ctx = NULL;
    int r;

    ERR_clear_error();
    ctx = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
    if (ctx == NULL)
        return tls_openssl_error(e, "TLS context");
    r = set_protocols(c, ctx, e);
    if (r == 0)
        r = set_verification(c, ctx, e);
    if (r == 0 && c->cert_file != NULL) {
        r = load_chain(ctx, c->cert_file, e);
        if (r == 0)
            r = load_key(ctx, c->key_file, e);
        if (r == 0 && SSL_CTX_check_private_key(ctx) != 1) {
            tls_openssl_error(e, "certificate and key");
            r = err_set(e, ERR_TLS, "key \"%s\" does not belong to certificate \"%s\"", c->key_file,
                        c->cert_file);
        }
    }
    ERR_clear_error();
    if (r == 0 && c->server && !tls_warm(ctx))
        r = err_set(e, ERR_NO_MEMORY, "TLS context: out of memory");
    if (r == 0)
        *ret = STEAL(ctx);
    return r;
}

/* ---- the context ----------------------------------------------------------------------------- */

static void context_free(struct tls_context *c)
{
    c->magic = 0;
    SSL_CTX_free(c->ssl_ctx);
    mem_free(c->cert_file);
    mem_free(c->key_file);
    mem_free(c->ca_file);
    mem_free(c->server_name);
    mem_free(c->alpn);
    mem_free(c);
}

static int copy_text(char **ret, const char *text)
{
    if (text == NULL)
        return 0;
    *ret = mem_strdup(text);
    return *ret != NULL ? 0 : ERR_NO_MEMORY;
}

static int copy_alpn(struct tls_context *c, const char *const *names, struct err *e)
{
    size_t total = 0, at = 0;

    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        size_t len = strlen(names[i]);

        if (len == 0 || len > 255)
            return err_set(e, ERR_INVALID, "ALPN name \"%s\" is not 1 to 255 bytes long", names[i]);
        total += len + 1;
    }
    if (total == 0)
        return 0;
    if (total > UINT16_MAX)
        return err_set(e, ERR_INVALID, "too many ALPN names");
    c->alpn = mem_alloc(total);
    if (c->alpn == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t len = strlen(names[i]);

        c->alpn[at++] = (unsigned char)len;
        memcpy(c->alpn + at, names[i], len);
        at += len;
    }
    c->alpn_len = total;
    return 0;
}

static int check_options(const struct tls_options *o, struct err *e)
{
    if ((o->cert_file == NULL) != (o->key_file == NULL))
        return err_set(e, ERR_INVALID, "a certificate needs a key and a key a certificate");
    if (o->server && o->cert_file == NULL)
        return err_set(e, ERR_INVALID, "a TLS server needs a certificate and a key");
    if (o->server && o->require_client_cert && o->ca_file == NULL)
        return err_set(e, ERR_INVALID, "client certificates cannot be verified without a CA file");
    if (!o->server && !o->insecure_no_verify && o->server_name == NULL)
        return err_set(e, ERR_INVALID, "a TLS client needs the name of its server to verify it");
    return 0;
}

static void take_stamps(const struct tls_context *c, struct file_stamp out[TLS_WATCHED])
{
    const char *const paths[TLS_WATCHED] = {c->cert_file, c->key_file, c->ca_file};

    for (size_t i = 0; i < TLS_WATCHED; i++) {
        struct stat st;

        out[i] = (struct file_stamp){0};
        if (paths[i] == NULL || stat(paths[i], &st) != 0)
            continue;
        out[i] = (struct file_stamp){true, st.st_mtim, st.st_size, st.st_ino, st.st_dev};
    }
}

static bool stamps_equal(const struct file_stamp a[TLS_WATCHED],
                         const struct file_stamp b[TLS_WATCHED])
{
    for (size_t i = 0; i < TLS_WATCHED; i++) {
        if (a[i].there != b[i].there || a[i].mtime.tv_sec != b[i].mtime.tv_sec ||
            a[i].mtime.tv_nsec != b[i].mtime.tv_nsec || a[i].size != b[i].size ||
            a[i].ino != b[i].ino || a[i].dev != b[i].dev)
            return false;
    }
    return true;
}

int tls_context_reload(struct tls_context *c, struct err *e)
{
    SSL_CTX *fresh = NULL;
    struct err why = {0};
    int r = 0;

    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    /* Files that are replaced while they are read may be of two sets that happen to fit in part:
     * they are read once more. What changes after that is seen at the next look. */
    for (int i = 0; i < READ_TRIES; i++) {
        struct file_stamp after[TLS_WATCHED];
        take_stamps(c, c->stamps);
        SSL_CTX_free(fresh);
        fresh = NULL;
        why = (struct err){0};
        r = build(c, &fresh, &why);
        take_stamps(c, after);
        if (stamps_equal(after, c->stamps))
            break;
    }
    c->last = why;
    if (r != 0) {
        if (e != NULL)
            *e = why;
        return r;
    }
    SSL_CTX_free(c->ssl_ctx); /* running sessions hold references of their own */
    c->ssl_ctx = fresh;
    return 0;
}

int tls_context_new(struct tls_context **ret, struct loop *l, const struct tls_options *o,
                    struct err *e)
{
    struct tls_context *c;
    int r = check_options(o, e);

    if (r != 0)
        return r;
    if (tls_init_memory() == ERR_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "out of memory for OpenSSL");
    c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->magic = TLS_CONTEXT_MAGIC;
    c->refs = 1;
    c->loop = l;
    c->server = o->server;
    c->require_client_cert = o->require_client_cert;
    c->no_verify = o->insecure_no_verify;
    if (copy_text(&c->cert_file, o->cert_file) != 0 || copy_text(&c->key_file, o->key_file) != 0 ||
        copy_text(&c->ca_file, o->ca_file) != 0 || copy_text(&c->server_name, o->server_name) != 0)
        r = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (r == 0)
        r = copy_alpn(c, o->alpn, e);
    if (r == 0)
        r = tls_context_reload(c, e);
    if (r != 0) {
        context_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

bool tls_context_stale(const struct tls_context *c)
{
    struct file_stamp now[TLS_WATCHED];
    take_stamps(c, now);
    return !stamps_equal(now, c->stamps);
}

static void watch_tick(void *arg)
{
    struct tls_context *c = arg;
    struct file_stamp now[TLS_WATCHED];
    struct err before = c->last;
    bool changed;

    take_stamps(c, now);
    changed = !stamps_equal(now, c->stamps);
    if (!changed && before.code == 0)
        return;
    tls_context_reload(c, NULL);
    if (c->report != NULL &&
        (changed || c->last.code != before.code || strcmp(c->last.msg, before.msg) != 0))
        c->report(c->report_ctx, &c->last);
}

void tls_context_look(struct tls_context *c)
{
    struct file_stamp now[TLS_WATCHED];

    if (!c->at_handshake)
        return;
    take_stamps(c, now);
    if (stamps_equal(now, c->stamps) && c->last.code != ERR_NO_MEMORY)
        return;
    tls_context_reload(c, NULL);
    if (c->report != NULL)
        c->report(c->report_ctx, &c->last);
}

void tls_context_check_at_handshake(struct tls_context *c,
                                    void (*report)(void *ctx, const struct err *e), void *ctx)
{
    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    c->at_handshake = true;
    c->report = report;
    c->report_ctx = ctx;
}

int tls_context_watch(struct tls_context *c, uint64_t interval_ms,
                      void (*report)(void *ctx, const struct err *e), void *ctx)
{
    int r;

    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    if (!c->timer_live) {
        r = loop_timer_init(c->loop, &c->timer, watch_tick, c);
        if (r != 0)
            return r;
        c->timer_live = true;
        uv_unref((uv_handle_t *)&c->timer.uv);
    }
    c->report = report;
    c->report_ctx = ctx;
    loop_timer_start(&c->timer, interval_ms, interval_ms);
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    c->refs++;
    return c;
}

static void timer_closed(void *arg)
{
    context_free(arg);
}

void tls_context_unref(struct tls_context *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    if (--c->refs > 0)
        return;
    if (!c->timer_live) {
        context_free(c);
        return;
    }
    c->timer_live = false;
    loop_timer_close(&c->timer, timer_closed);
}

const struct tls_session_ops *tls_context_session_ops(struct tls_context *c)
{
    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    return &tls_openssl_session_ops;
}
