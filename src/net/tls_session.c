/* tls_session.c: one TLS session, bytes in and bytes out, with OpenSSL.
 *
 * A session reads from and writes to memory through a BIO of our own: what the peer sent is read in
 * place, without a copy and without a queue that could grow; what goes out waits in one buffer with
 * a maximum.
 */
#include "base/mem.h"
#include "net/tls_openssl.h"

#include <string.h>

#define TLS_SESSION_MAGIC 0x746c7373u

#define TLS_OUT_MAX (64u << 20) /* encrypted bytes that wait; the stream's queue is smaller */
#define TLS_OUT_KEEP 4096u      /* memory an idle session may keep for them */
#define TLS_RECORD 16384u       /* plain bytes of the largest record (RFC 8446, 5.1) */

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

static BIO_METHOD *session_bio_method; /* made once, lives as long as the process */

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

int tls_session_init(void)
{
    if (session_bio_method != NULL)
        return 0;
    if (OPENSSL_init_ssl(0, NULL) != 1)
        return ERR_NO_MEMORY;
    session_bio_method = bio_method_new();
    ERR_clear_error();
    return session_bio_method != NULL ? 0 : ERR_NO_MEMORY;
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
    if (c->server_name != NULL && !tls_is_address(c->server_name) &&
        SSL_set_tlsext_host_name(s->ssl, c->server_name) != 1)
        return ERR_NO_MEMORY;
    return 0;
}

static struct tls_session *session_open(struct tls_context *c)
{
    struct tls_session *s;

    CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
    tls_context_look(c);
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
    return tls_openssl_error(e, what);
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

const struct tls_session_ops tls_openssl_session_ops = {
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
