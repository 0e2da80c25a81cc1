/* tls.c: OpenSSL behind tls.h and tls_priv.h.
 *
 * A session reads from and writes to memory through a BIO of our own: what the peer sent is read in
 * place, without a copy and without a queue that could grow; what goes out waits in one buffer with
 * a maximum. A context builds its SSL_CTX anew for every load and swaps it only when all of it is
 * good.
 */
#include "net/tls.h"

#include "base/file.h"
#include "base/mem.h"
#include "net/tls_priv.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* OpenSSL has a type of this name, which nobody needs and which is an error code of ours. */
#define ERR_STATE openssl_err_state
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#define TLS_CONTEXT_MAGIC 0x746c7363u
#define TLS_SESSION_MAGIC 0x746c7373u

#define TLS_FILE_MAX (1u << 20) /* of a PEM file */
#define TLS_OUT_MAX (64u << 20) /* encrypted bytes that wait; the stream's queue is smaller */
#define TLS_OUT_KEEP 4096u      /* memory an idle session may keep for them */
#define TLS_RECORD 16384u       /* plain bytes of the largest record (RFC 8446, 5.1) */
#define TLS_WATCHED 3           /* cert, key, ca */

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
    bool timer_live;
    void (*report)(void *ctx, const struct err *e);
    void *report_ctx;
    struct file_stamp stamps[TLS_WATCHED]; /* as they were before the last attempt */
    struct err last;                       /* result of the last attempt */
};

struct tls_session {
    uint32_t magic;
    struct tls_context *context; /* a reference: callbacks of the SSL_CTX look into it */
    SSL *ssl;
    const char *in; /* what the peer sent, during feed only */
    size_t in_len;
    struct buf out;
    bool dead;          /* a fatal error was met; nothing more may be done with ssl */
    bool eof;           /* the peer's close_notify */
    bool subject_known; /* subject was looked up */
    char *subject;      /* owned */
};

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

static BIO_METHOD *session_bio_method; /* made once, lives as long as the process */
static BIO_METHOD *bio_method_new(void);

int tls_init_memory(void)
{
    static bool tried, ours;

    if (!tried) {
        tried = true;
        ours = CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) == 1;
    }
    if (session_bio_method == NULL) {
        if (OPENSSL_init_ssl(0, NULL) != 1)
            return ERR_NO_MEMORY;
        session_bio_method = bio_method_new();
        ERR_clear_error();
        if (session_bio_method == NULL)
            return ERR_NO_MEMORY;
    }
    return ours ? 0 : ERR_STATE;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* Takes the oldest entry of OpenSSL's queue, which is the cause, and empties the queue. */
static int ssl_error(struct err *e, const char *what)
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
    return *ret != NULL ? 0 : ssl_error(e, path);
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
    return ssl_error(e, path);
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
        return ssl_error(e, path);
    for (X509 *more; (more = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL;) {
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
            X509_free(more);
            return ssl_error(e, path);
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
        return ssl_error(e, path);
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
            return ssl_error(e, c->ca_file);
    }
    if (n == 0)
        return ssl_error(e, c->ca_file);
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

static bool is_address(const char *name)
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
        r = ssl_error(e, "the system's certificate authorities");
    if (r != 0)
        return r;
    if (c->server && c->ca_file != NULL)
        mode = SSL_VERIFY_PEER | (c->require_client_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    if (!c->server && !c->no_verify) {
        mode = SSL_VERIFY_PEER;
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if ((is_address(c->server_name)
                 ? X509_VERIFY_PARAM_set1_ip_asc(param, c->server_name)
                 : X509_VERIFY_PARAM_set1_host(param, c->server_name, 0)) != 1)
            return ssl_error(e, c->server_name);
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
        return ssl_error(e, "TLS settings");
    if (c->alpn_len > 0 && c->server)
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, c);
    else if (c->alpn_len > 0 && SSL_CTX_set_alpn_protos(ctx, c->alpn, (unsigned)c->alpn_len) != 0)
        return ssl_error(e, "ALPN");
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
        return ssl_error(e, "TLS context");
    r = set_protocols(c, ctx, e);
    if (r == 0)
        r = set_verification(c, ctx, e);
    if (r == 0 && c->cert_file != NULL) {
        r = load_chain(ctx, c->cert_file, e);
        if (r == 0)
            r = load_key(ctx, c->key_file, e);
        if (r == 0 && SSL_CTX_check_private_key(ctx) != 1) {
            ssl_error(e, "certificate and key");
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
    int r;

    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    take_stamps(c, c->stamps); /* before reading: a change while we read is seen at the next look */
    r = build(c, &fresh, &why);
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

/* ---- the BIO of a session -------------------------------------------------------------------- */

static int bio_read(BIO *b, char *out, size_t n, size_t *got)
{
    struct tls_session *s = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *got = n < s->in_len ? n : s->in_len;
    if (*got == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    memcpy(out, s->in, *got);
    s->in += *got;
    s->in_len -= *got;
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *put)
{
    struct tls_session *s = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    *put = 0;
    if (buf_add(&s->out, p, n) != 0)
        return 0;
    *put = n;
    return 1;
}

static long bio_ctrl(BIO *b, int what, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return what == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

static BIO_METHOD *bio_method_new(void)
{
    int type = BIO_get_new_index();
    BIO_METHOD *m = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "gantry session");

    if (m == NULL)
        return NULL;
    if (BIO_meth_set_read_ex(m, bio_read) != 1 || BIO_meth_set_write_ex(m, bio_write) != 1 ||
        BIO_meth_set_ctrl(m, bio_ctrl) != 1 || BIO_meth_set_create(m, bio_create) != 1) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void session_close(struct tls_session *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    s->magic = 0;
    ERR_clear_error();
    SSL_free(s->ssl); /* with its BIO */
    ERR_clear_error();
    buf_done(&s->out);
    mem_free(s->subject);
    tls_context_unref(s->context);
    mem_free(s);
}

static int session_prepare(struct tls_session *s)
{
    const struct tls_context *c = s->context;
    BIO *bio;

    s->ssl = SSL_new(c->ssl_ctx);
    if (s->ssl == NULL)
        return ERR_NO_MEMORY;
    bio = BIO_new(session_bio_method);
    if (bio == NULL)
        return ERR_NO_MEMORY;
    BIO_set_data(bio, s);
    SSL_set_bio(s->ssl, bio, bio);
    if (c->server) {
        SSL_set_accept_state(s->ssl);
        return 0;
    }
    SSL_set_connect_state(s->ssl);
    if (c->server_name != NULL && !is_address(c->server_name) &&
        SSL_set_tlsext_host_name(s->ssl, c->server_name) != 1)
        return ERR_NO_MEMORY;
    return 0;
}

static struct tls_session *session_open(struct tls_context *c)
{
    struct tls_session *s;

    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    s->magic = TLS_SESSION_MAGIC;
    s->context = tls_context_ref(c);
    buf_init(&s->out, TLS_OUT_MAX);
    ERR_clear_error();
    if (session_prepare(s) != 0) {
        session_close(s);
        return NULL;
    }
    return s;
}

/* Why a call on s->ssl failed for good. The alert for the peer, if any, is in s->out. */
static int session_fail(struct tls_session *s, const char *what, struct err *e)
{
    long verify = SSL_get_verify_result(s->ssl);

    s->dead = true;
    if (s->out.err != 0) {
        ERR_clear_error();
        return err_set(e, s->out.err, "%s: %s", what, err_row(s->out.err)->text);
    }
    if (verify == X509_V_ERR_OUT_OF_MEM) {
        ERR_clear_error();
        return err_set(e, ERR_NO_MEMORY, "%s: out of memory", what);
    }
    if (verify != X509_V_OK && !SSL_is_init_finished(s->ssl) &&
        SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE) {
        ERR_clear_error();
        return err_set(e, ERR_TLS, "%s: certificate refused: %s", what,
                       X509_verify_cert_error_string(verify));
    }
    return ssl_error(e, what);
}

/* 0 when the handshake is done or waits for bytes. */
static int session_handshake(struct tls_session *s, struct err *e)
{
    int r = SSL_do_handshake(s->ssl);

    if (r == 1 || SSL_get_error(s->ssl, r) == SSL_ERROR_WANT_READ)
        return 0;
    return session_fail(s, "TLS handshake", e);
}

static int session_read(struct tls_session *s, struct buf *plain, bool *eof, struct err *e)
{
    for (;;) {
        size_t room = plain->max - plain->len;
        size_t got = 0;
        int r;

        room = room < TLS_RECORD ? room : TLS_RECORD;
        if (room == 0) {
            if (s->in_len == 0 && SSL_has_pending(s->ssl) == 0)
                return 0;
            s->dead = true;
            return err_set(e, ERR_LIMIT, "TLS: more decrypted bytes than there is room for");
        }
        if (buf_reserve(plain, room) != 0)
            return err_set(e, plain->err, "TLS: %s", err_row(plain->err)->text);
        r = SSL_read_ex(s->ssl, plain->data + plain->len, room, &got);
        if (r == 1) {
            plain->len += got;
            plain->data[plain->len] = '\0';
            continue;
        }
        switch (SSL_get_error(s->ssl, r)) {
        case SSL_ERROR_WANT_READ:
            return 0;
        case SSL_ERROR_ZERO_RETURN:
            s->eof = *eof = true;
            return 0;
        default:
            return session_fail(s, "TLS", e);
        }
    }
}

static int session_feed(struct tls_session *s, const char *p, size_t n, struct buf *plain,
                        bool *eof, struct err *e)
{
    int r = 0;

    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    if (s->dead)
        return err_set(e, ERR_TLS, "the TLS session has failed");
    if (s->eof) { /* what follows a close_notify is ignored (RFC 8446, 6.1) */
        *eof = true;
        return 0;
    }
    ERR_clear_error();
    s->in = p;
    s->in_len = n;
    if (!SSL_is_init_finished(s->ssl))
        r = session_handshake(s, e);
    if (r == 0 && SSL_is_init_finished(s->ssl))
        r = session_read(s, plain, eof, e);
    if (r != 0)
        s->dead = true;
    s->in = NULL;
    s->in_len = 0;
    ERR_clear_error();
    return r;
}

static bool session_ready(const struct tls_session *s)
{
    return !s->dead && SSL_is_init_finished(s->ssl) != 0;
}

static int session_write(struct tls_session *s, const char *p, size_t n, struct err *e)
{
    size_t put = 0;
    int r = 0;

    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    if (s->dead || SSL_is_init_finished(s->ssl) == 0)
        return err_set(e, ERR_TLS, "the TLS session %s", s->dead ? "has failed" : "is not ready");
    if (n == 0)
        return 0;
    ERR_clear_error();
    if (SSL_write_ex(s->ssl, p, n, &put) != 1 || put != n)
        r = session_fail(s, "TLS", e);
    ERR_clear_error();
    return r;
}

static void session_shutdown(struct tls_session *s)
{
    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    if (s->dead || SSL_is_init_finished(s->ssl) == 0)
        return;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}

static int session_pull(struct tls_session *s, struct buf *out)
{
    int r;

    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    if (s->out.len == 0)
        return 0;
    r = buf_add(out, s->out.data, s->out.len);
    if (r != 0)
        return r;
    if (s->out.cap > TLS_OUT_KEEP)
        buf_done(&s->out);
    else
        buf_clear(&s->out);
    return 0;
}

static struct slice session_alpn(const struct tls_session *s)
{
    const unsigned char *p = NULL;
    unsigned n = 0;

    SSL_get0_alpn_selected(s->ssl, &p, &n);
    return (struct slice){(const char *)p, n};
}

/* The one common name of a certificate, printable UTF-8, or NULL: names with NUL or other control
 * characters and certificates with several names could be read as somebody else. */
static char *common_name(X509 *cert)
{
    const X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    char *copy = NULL;
    int len;

    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return NULL;
    len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (len < 0)
        return NULL;
    for (int i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f)
            len = 0;
    }
    if (len > 0)
        copy = mem_strndup((const char *)text, (size_t)len);
    OPENSSL_free(text);
    return copy;
}

static const char *session_subject(struct tls_session *s)
{
    X509 *cert;

    CHECK_MAGIC(s, TLS_SESSION_MAGIC);
    if (s->subject_known || SSL_is_init_finished(s->ssl) == 0)
        return s->subject;
    s->subject_known = true;
    if (SSL_get_verify_mode(s->ssl) == SSL_VERIFY_NONE ||
        SSL_get_verify_result(s->ssl) != X509_V_OK)
        return NULL;
    ERR_clear_error();
    cert = SSL_get1_peer_certificate(s->ssl);
    if (cert != NULL)
        s->subject = common_name(cert);
    X509_free(cert);
    ERR_clear_error();
    return s->subject;
}

static const struct tls_session_ops session_ops = {
    .open = session_open,
    .close = session_close,
    .feed = session_feed,
    .ready = session_ready,
    .write = session_write,
    .shutdown = session_shutdown,
    .pull = session_pull,
    .alpn = session_alpn,
    .subject = session_subject,
};

const struct tls_session_ops *tls_context_session_ops(struct tls_context *c)
{
    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    return &session_ops;
}
