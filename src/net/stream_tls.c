/* stream_tls.c: TLS between a socket and its stream's queue, through the context's functions. */
#include "base/mem.h"
#include "net/stream_priv.h"
#include <string.h>

enum {
    CIPHER_MAX = 1 << 20,   /* encrypted bytes of one stream; filled only up to the mark below */
    CIPHER_MARK = 64 << 10, /* more is encrypted when less than this waits for the kernel */
    RECORD = 16 << 10,
    PLAIN_KEEP = 128 << 10,
};

/* Weak, so that a program that makes no context needs no OpenSSL either: then nobody calls these.
 */
__attribute__((weak)) const struct tls_session_ops *tls_context_session_ops(struct tls_context *c);
__attribute__((weak)) struct tls_context *tls_context_ref(struct tls_context *c);
__attribute__((weak)) void tls_context_unref(struct tls_context *c);

void stream_tls_hold(struct tls_context *c)
{
    (void)tls_context_ref(c);
}

void stream_tls_release(struct tls_context *c)
{
    tls_context_unref(c);
}

int stream_open_tls(struct stream *s, struct tls_context *tls, struct err *e)
{
    struct stream_tls *t = mem_zalloc(sizeof(*t));

    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "cannot start TLS: out of memory");
    t->ops = tls_context_session_ops(tls);
    t->session = t->ops->open(tls);
    if (t->session == NULL) {
        mem_free(t);
        return err_set(e, ERR_NO_MEMORY, "cannot start TLS: out of memory");
    }
    buf_init(&t->cipher, CIPHER_MAX);
    s->tls = t;
    return 0;
}

void stream_tls_free(struct stream_tls *t)
{
    if (t == NULL)
        return;
    t->ops->close(t->session);
    buf_done(&t->cipher);
    mem_free(t);
}

/* The next piece of the plain queue, at most one record. */
static struct iovec next_record(struct stream *s)
{
    struct iovec v = {0};

    (void)out_parts(&s->out, &v, 1);
    if (v.iov_len > RECORD)
        v.iov_len = RECORD;
    return v;
}

bool stream_tls_encrypt(struct stream *s)
{
    struct stream_tls *t = s->tls;
    struct err e = {0};
    int rc = 0;

    if (t->cipher_off == t->cipher.len) {
        t->cipher_off = 0;
        if (t->cipher.cap > RECORD && s->out.bytes == 0)
            buf_done(&t->cipher); /* an idle connection holds no buffer */
        else
            buf_clear(&t->cipher);
    }
    while (rc == 0 && t->ready && s->out.bytes > 0 && t->cipher.len - t->cipher_off < CIPHER_MARK) {
        struct iovec v = next_record(s);
        rc = t->ops->write(t->session, v.iov_base, v.iov_len, &e);
        if (rc == 0) {
            out_drop(&s->out, loop_out_pool(s->loop), v.iov_len);
            rc = t->ops->pull(t->session, &t->cipher);
        }
    }
    if (rc == 0)
        rc = t->ops->pull(t->session, &t->cipher);
    if (rc != 0) {
        if (e.code == 0)
            err_set(&e, rc, "TLS: cannot encrypt");
        stream_fail(s, &e);
        return false;
    }
    return t->cipher.len > t->cipher_off;
}

void stream_tls_data(struct stream *s, const char *p, size_t n)
{
    struct stream_tls *t = s->tls;
    struct buf *plain = loop_plain_buffer(s->loop);
    struct err e = {0};
    bool eof = false;

    buf_clear(plain);
    stream_cork(s);
    int rc = t->ops->feed(t->session, p, n, plain, &eof, &e);
    if (rc == 0 && !t->ready && t->ops->ready(t->session)) {
        t->ready = true;
        stream_connecting_stop(s);
        if (s->user->ready != NULL)
            s->user->ready(s->ctx);
    }
    if (rc == 0 && plain->len > 0 && !s->closing)
        s->user->data(s->ctx, plain->data, plain->len);
    if (rc == 0 && eof && !s->closing)
        stream_got_eof(s);
    stream_uncork(s);
    if (!s->closing && !s->blocked)
        stream_flush(s); /* the handshake's own bytes, an alert */
    if (rc != 0 && !s->closing) {
        if (e.code == 0)
            err_set(&e, rc, "TLS: cannot decrypt");
        stream_fail(s, &e);
    }
    if (plain->cap > PLAIN_KEEP)
        buf_done(plain);
}
