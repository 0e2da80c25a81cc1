/* stream.c: sockets on the loop: reading, the write queue's flushing, closing. */
#include "net/stream.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/stream_priv.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    STREAM_MAGIC = 0x5354524d,
    READS_PER_EVENT = 4, /* then the others get their turn */
    PARTS_PER_WRITE = 32,
};
#define MAX_QUEUE_DEFAULT ((size_t)16 << 20)
#define LOW_MARK_DEFAULT ((size_t)64 << 10)

static void on_task(struct loop_task *t);

struct stream *stream_make(struct loop *l, const struct stream_user *u, void *ctx)
{
    struct stream *s = mem_zalloc(sizeof(*s));

    if (s == NULL)
        return NULL;
    s->magic = STREAM_MAGIC;
    s->fd = -1;
    s->loop = l;
    s->user = u;
    s->ctx = ctx;
    s->max_queue = MAX_QUEUE_DEFAULT;
    s->low_mark = LOW_MARK_DEFAULT;
    loop_task_init(&s->task, on_task);
    return s;
}

static void stream_free(struct stream *s)
{
    out_clear(&s->out, loop_out_pool(s->loop));
    stream_tls_free(s->tls);
    loop_task_cancel(&s->task);
    mem_free(s->fail);
    s->magic = 0;
    mem_free(s);
}

void stream_discard(struct stream *s)
{
    if (s == NULL)
        return;
    INVARIANT(s->handles == 0);
    if (s->fd >= 0)
        close(s->fd);
    stream_free(s);
}

/* ---- events ---- */

static void do_read(struct stream *s);

static bool has_output(const struct stream *s)
{
    return s->out.bytes > 0 || (s->tls != NULL && s->tls->cipher.len > s->tls->cipher_off);
}

/* The poll handle is broken (POLLERR): the socket says why at the next call. */
static void on_poll_error(struct stream *s)
{
    int code = 0;
    socklen_t len = sizeof(code);

    s->events = 0;
    if (s->connecting == NULL && !s->paused) {
        do_read(s);
    } else if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code != 0) {
        s->fail_code = code;
        s->failed = true;
        loop_post(s->loop, &s->task);
    }
    stream_update(s);
}

static void on_hangup(struct stream *s)
{
    char c;
    ssize_t n = recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n == 0) {
        stream_got_eof(s);
    } else {
        s->hangup = true; /* the end is told when the bytes before it have been read */
        stream_update(s);
    }
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct stream *s = h->data;

    if (s->closing)
        return;
    if (status < 0 && s->connecting == NULL) {
        on_poll_error(s);
        return;
    }
    if (s->connecting != NULL) {
        if (status < 0)
            s->events = 0;
        stream_connecting_event(s);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        s->blocked = false;
        stream_flush(s);
    }
    if ((events & UV_READABLE) != 0 && !s->closing && !s->paused && !s->failed)
        do_read(s);
    else if ((events & UV_DISCONNECT) != 0 && !s->closing && !s->failed)
        on_hangup(s);
    if (!s->closing)
        stream_update(s);
}

void stream_update(struct stream *s)
{
    int ev = 0;

    if (!s->polling || s->closing)
        return;
    if (!s->failed) {
        if (s->connecting != NULL)
            ev = UV_WRITABLE;
        else if (!s->eof)
            ev = !s->paused ? UV_READABLE : s->hangup ? 0 : UV_DISCONNECT;
        if (s->blocked)
            ev |= UV_WRITABLE;
    }
    if (ev == s->events)
        return;
    s->events = (uint16_t)ev;
    if (ev == 0)
        uv_poll_stop(&s->poll);
    else
        uv_poll_start(&s->poll, ev, on_poll);
}

int stream_open_poll(struct stream *s, struct err *e)
{
    int rc = uv_poll_init(loop_uv(s->loop), &s->poll, s->fd);

    if (rc != 0)
        return err_sys(e, rc, "cannot watch a socket");
    s->poll.data = s;
    s->polling = true;
    s->handles++;
    return 0;
}

int stream_accept(struct stream **ret, struct loop *l, int fd, const struct sockaddr *addr,
                  struct tls_context *tls, const struct stream_user *u, void *ctx, struct err *e)
{
    struct stream *s = stream_make(l, u, ctx);

    if (s == NULL) {
        close(fd);
        return err_set(e, ERR_NO_MEMORY, "cannot serve a connection: out of memory");
    }
    s->fd = fd;
    s->is_unix = addr == NULL || addr->sa_family == AF_UNIX;
    if (!s->is_unix)
        memcpy(&s->addr, addr,
               addr->sa_family == AF_INET ? sizeof(s->addr.v4) : sizeof(s->addr.v6));
    int rc = tls != NULL ? stream_open_tls(s, tls, e) : 0;
    if (rc == 0)
        rc = stream_open_poll(s, e);
    if (rc != 0) {
        stream_discard(s);
        return rc;
    }
    stream_update(s);
    *ret = s;
    return 0;
}

void stream_connected(struct stream *s)
{
    if (s->tls != NULL) {
        stream_tls_data(s, NULL, 0); /* begins the handshake */
    } else if (s->user->ready != NULL) {
        s->user->ready(s->ctx);
    }
    if (!s->closing) {
        stream_flush(s);
        stream_update(s);
    }
}

/* ---- telling ---- */

static void tell_failed(struct stream *s)
{
    struct err e = {0};

    if (s->fail_told || s->closing)
        return;
    s->fail_told = true;
    if (s->fail != NULL)
        e = *s->fail;
    else
        err_sys(&e, s->fail_code, "connection lost");
    if (e.code == ERR_IO)
        e.code = ERR_GONE;
    s->user->failed(s->ctx, &e);
}

static void finish_close(struct stream *s)
{
    void (*gone)(void *ctx) = s->gone;
    void *gone_ctx = s->gone_ctx;

    s->user->closed(s->ctx);
    stream_free(s);
    if (gone != NULL)
        gone(gone_ctx);
}

static void on_task(struct loop_task *t)
{
    struct stream *s = CONTAINER_OF(t, struct stream, task);

    if (s->closing) {
        if (s->handles == 0)
            finish_close(s);
        return;
    }
    if (s->tell_ready) {
        s->tell_ready = false;
        stream_connected(s);
    }
    if (!s->closing && s->failed) {
        /* An answer may have come before the peer cut us off in the middle of sending. */
        if (s->polling && s->connecting == NULL && !s->paused && !s->eof && s->fail == NULL) {
            s->failed = false;
            do_read(s);
            s->failed = true;
        }
        tell_failed(s);
        if (!s->closing)
            stream_update(s);
        return;
    }
    if (!s->closing && s->tell_drained) {
        s->tell_drained = false;
        if (s->user->drained != NULL)
            s->user->drained(s->ctx);
    }
}

void stream_fail(struct stream *s, const struct err *e)
{
    if (s->failed || s->closing)
        return;
    s->failed = true;
    s->fail_code = e->sys;
    s->fail = mem_alloc(sizeof(*e));
    if (s->fail != NULL)
        *s->fail = *e;
    out_clear(&s->out, loop_out_pool(s->loop));
    loop_post(s->loop, &s->task);
    stream_update(s);
}

/* A system call failed with errno `code`. */
static void fail_sys(struct stream *s, int code)
{
    if (s->failed || s->closing)
        return;
    s->failed = true;
    s->fail_code = code;
    out_clear(&s->out, loop_out_pool(s->loop));
    loop_post(s->loop, &s->task);
}

/* ---- reading ---- */

void stream_deliver(struct stream *s, const char *p, size_t n)
{
    stream_cork(s);
    s->user->data(s->ctx, p, n);
    stream_uncork(s);
}

void stream_inject(struct stream *s, const char *p, size_t n)
{
    if (!s->closing && n > 0)
        stream_deliver(s, p, n);
}

void stream_got_eof(struct stream *s)
{
    if (s->eof)
        return;
    s->eof = true;
    s->user->eof(s->ctx);
    if (!s->closing)
        stream_update(s);
}

static void do_read(struct stream *s)
{
    size_t size;
    char *p = loop_read_buffer(s->loop, &size);

    for (int i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n = recv(s->fd, p, size, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                s->eof = true; /* nothing more to read either */
                fail_sys(s, errno);
            }
            return;
        }
        if (n == 0) {
            stream_got_eof(s);
            return;
        }
        if (s->tls != NULL)
            stream_tls_data(s, p, (size_t)n);
        else
            stream_deliver(s, p, (size_t)n);
        if (s->closing || s->paused || s->failed || s->eof || (size_t)n < size)
            return;
    }
}

/* ---- writing ---- */

static void after_flush(struct stream *s)
{
    if (s->above_low && stream_queued(s) <= s->low_mark) {
        s->above_low = false;
        s->tell_drained = true;
        loop_post(s->loop, &s->task);
    }
    if (s->shut_wanted && !s->shut_done && !has_output(s)) {
        if (s->tls != NULL && !s->tls->closed) {
            s->tls->closed = true;
            s->tls->ops->shutdown(s->tls->session);
            (void)s->tls->ops->pull(s->tls->session, &s->tls->cipher);
            if (has_output(s)) {
                stream_flush(s);
                return;
            }
        }
        s->shut_done = true;
        shutdown(s->fd, SHUT_WR);
    }
}

/* One call to the kernel; false when it takes no more for now. */
static bool send_some(struct stream *s)
{
    struct iovec iov[PARTS_PER_WRITE];
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 1};
    size_t asked = 0;

    if (s->tls != NULL)
        iov[0] = (struct iovec){s->tls->cipher.data + s->tls->cipher_off,
                                s->tls->cipher.len - s->tls->cipher_off};
    else
        m.msg_iovlen = out_parts(&s->out, iov, PARTS_PER_WRITE);
    for (size_t i = 0; i < m.msg_iovlen; i++)
        asked += iov[i].iov_len;
    ssize_t n = m.msg_iovlen == 1
                    ? send(s->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                    : sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno == EINTR)
            return true;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM)
            s->blocked = true;
        else
            fail_sys(s, errno);
        return false;
    }
    s->sent += (size_t)n;
    if (s->tls != NULL)
        s->tls->cipher_off += (size_t)n;
    else
        out_drop(&s->out, loop_out_pool(s->loop), (size_t)n);
    if ((size_t)n < asked && s->tls == NULL)
        s->blocked = true; /* saves the call that would only say so */
    return !s->blocked;
}

void stream_flush(struct stream *s)
{
    bool was = s->blocked;

    if (s->closing || s->failed || s->connecting != NULL || s->fd < 0)
        return;
    while (!s->failed && !s->blocked) {
        if (s->tls != NULL && !stream_tls_encrypt(s))
            break;
        if (s->tls == NULL && s->out.bytes == 0)
            break;
        if (!send_some(s))
            break;
    }
    if (!s->failed)
        after_flush(s);
    if (was != s->blocked || s->failed || (s->blocked && (s->events & UV_WRITABLE) == 0))
        stream_update(s);
}

static int may_queue(struct stream *s, size_t n)
{
    if (s->closing || s->failed || s->shut_wanted)
        return ERR_GONE;
    if (n > s->max_queue || stream_queued(s) > s->max_queue - n)
        return ERR_LIMIT;
    return 0;
}

static void queued_more(struct stream *s)
{
    if (s->corks == 0 && !s->blocked)
        stream_flush(s);
    if (stream_queued(s) > s->low_mark)
        s->above_low = true;
}

/* True if bytes may go to the kernel without passing through the queue. */
static bool may_bypass(const struct stream *s)
{
    return s->corks == 0 && !s->blocked && s->out.bytes == 0 && s->tls == NULL &&
           s->connecting == NULL && s->fd >= 0;
}

static size_t send_now(struct stream *s, const void *p, size_t n)
{
    ssize_t k = send(s->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (k < 0)
        return 0; /* the queue's flush meets the same error and handles it */
    s->sent += (size_t)k;
    return (size_t)k;
}

void stream_set_secret(struct stream *s, bool secret)
{
    CHECK_MAGIC(s, STREAM_MAGIC);
    s->out.secret = secret;
}

int stream_write(struct stream *s, const void *p, size_t n)
{
    struct slice part = {p, n};

    return stream_writev(s, &part, 1);
}

int stream_writev(struct stream *s, const struct slice *parts, size_t n_parts)
{
    size_t total = 0;

    for (size_t i = 0; i < n_parts; i++)
        total += parts[i].len;
    int rc = may_queue(s, total);
    if (rc != 0 || total == 0)
        return rc;
    size_t done = 0;
    if (n_parts == 1 && may_bypass(s)) {
        done = send_now(s, parts[0].p, total);
        if (done == total)
            return 0;
    }
    char *to = out_reserve(&s->out, loop_out_pool(s->loop), total - done);
    if (to == NULL) {
        if (done == 0)
            return ERR_NO_MEMORY;
        fail_sys(s, ENOMEM); /* a part is out already: the rest cannot be left away silently */
        return ERR_GONE;
    }
    for (size_t i = 0; i < n_parts; i++) {
        size_t skip = done < parts[i].len ? done : parts[i].len;
        done -= skip;
        if (parts[i].len > skip)
            memcpy(to, parts[i].p + skip, parts[i].len - skip);
        to += parts[i].len - skip;
        out_commit(&s->out, parts[i].len - skip);
    }
    queued_more(s);
    return 0;
}

int stream_write_chunk(struct stream *s, struct chunk *c)
{
    int rc = may_queue(s, c->len);
    size_t done = 0;

    if (rc != 0 || c->len == 0)
        return rc;
    if (may_bypass(s)) {
        done = send_now(s, c->data, c->len);
        if (done == c->len)
            return 0;
    }
    rc = out_add_chunk(&s->out, c, done);
    if (rc != 0) {
        if (done == 0)
            return rc;
        fail_sys(s, ENOMEM);
        return ERR_GONE;
    }
    queued_more(s);
    return 0;
}

char *stream_reserve(struct stream *s, size_t n)
{
    return may_queue(s, n) == 0 ? out_reserve(&s->out, loop_out_pool(s->loop), n) : NULL;
}

void stream_commit(struct stream *s, size_t n)
{
    if (s->closing || s->failed || s->out.tail == NULL)
        return;
    out_commit(&s->out, n);
    queued_more(s);
}

void stream_cork(struct stream *s)
{
    INVARIANT(s->corks < UINT16_MAX);
    s->corks++;
}

void stream_uncork(struct stream *s)
{
    INVARIANT(s->corks > 0);
    s->corks--;
    if (s->corks == 0 && !s->closing && (has_output(s) || (s->shut_wanted && !s->shut_done)) &&
        !s->blocked)
        stream_flush(s);
}

size_t stream_queued(const struct stream *s)
{
    return s->out.bytes + (s->tls != NULL ? s->tls->cipher.len - s->tls->cipher_off : 0);
}

uint64_t stream_sent(const struct stream *s)
{
    return s->sent;
}

bool stream_hung_up(const struct stream *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};

    return s->fd < 0 || (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0);
}

void stream_set_limits(struct stream *s, size_t max_queue, size_t low_mark)
{
    s->max_queue = max_queue;
    s->low_mark = low_mark;
    if (stream_queued(s) > low_mark)
        s->above_low = true;
}

/* ---- control ---- */

void stream_set_user(struct stream *s, const struct stream_user *u, void *ctx)
{
    CHECK_MAGIC(s, STREAM_MAGIC);
    s->user = u;
    s->ctx = ctx;
}

void stream_on_gone(struct stream *s, void (*fn)(void *ctx), void *ctx)
{
    s->gone = fn;
    s->gone_ctx = ctx;
}

void stream_pause(struct stream *s)
{
    s->paused = true; /* the poll handle learns of it when bytes come, if it lasts that long */
}

void stream_resume(struct stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    s->hangup = false;
    if (!s->closing)
        stream_update(s);
}

void stream_shutdown(struct stream *s)
{
    CHECK_MAGIC(s, STREAM_MAGIC);
    if (s->shut_wanted || s->closing || s->failed)
        return;
    s->shut_wanted = true;
    if (s->corks == 0 && !s->blocked)
        stream_flush(s);
}

static void on_poll_closed(uv_handle_t *h)
{
    stream_handle_gone(h->data);
}

void stream_handle_gone(struct stream *s)
{
    INVARIANT(s->handles > 0);
    s->handles--;
    if (s->handles == 0 && s->closing)
        finish_close(s);
}

void stream_close(struct stream *s)
{
    CHECK_MAGIC(s, STREAM_MAGIC);
    if (s->closing)
        return;
    s->closing = true;
    if (s->is_unix && !s->peer_known)
        (void)stream_peer(s); /* credentials are gone with the descriptor */
    stream_connecting_stop(s);
    if (s->polling) {
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
        s->polling = false;
    }
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    /* Not the queue: a caller of stream_reserve up the stack may still hold a pointer into it. */
    if (s->handles == 0)
        loop_post(s->loop, &s->task);
}

bool stream_closing(const struct stream *s)
{
    return s->closing || s->failed;
}

struct slice stream_alpn(const struct stream *s)
{
    if (s->tls == NULL)
        return (struct slice){NULL, 0};
    return s->tls->ops->alpn(s->tls->session);
}

struct loop *stream_loop(struct stream *s)
{
    return s->loop;
}
