/* stream_priv.h: the parts of a stream that servers and protocols use. Only net/ includes it. */
#ifndef GANTRY_STREAM_PRIV_H
#define GANTRY_STREAM_PRIV_H

#include "net/loop_priv.h"
#include "net/stream.h"
#include "net/stream_queue.h"
#include "net/tls_priv.h"
#include <netinet/in.h>
#include <sys/socket.h>

/* Takes a connected, non-blocking socket (closed on failure too). addr: the peer's address; NULL or
 * AF_UNIX means a Unix socket. With tls, `ready` follows the handshake. ERR_NO_MEMORY, ERR_IO. */
int stream_accept(struct stream **ret, struct loop *l, int fd, const struct sockaddr *addr,
                  struct tls_context *tls, const struct stream_user *u, void *ctx, struct err *e);

/* Hears that the stream is gone, after its user's `closed`, whoever the user is by then. */
void stream_on_gone(struct stream *s, void (*fn)(void *ctx), void *ctx);

/* Hands bytes to the present user as if they had come from the peer (sniffed beginnings). */
void stream_inject(struct stream *s, const char *p, size_t n);

/* Bytes that the kernel took so far; a time-out that sees it stand still has a peer that does not
 * read. */
uint64_t stream_sent(const struct stream *s);

/* After the peer's end was read: true if it also cannot receive any more (only Unix sockets tell).
 */
bool stream_hung_up(const struct stream *s);

/* Between stream.c and stream_connect.c. */
struct stream_connecting;

struct stream {
    uint32_t magic;
    int fd;
    uv_poll_t poll;
    struct loop *loop;
    const struct stream_user *user;
    void *ctx;
    struct out_queue out;                  /* plain bytes, or what TLS will encrypt */
    struct stream_tls *tls;                /* NULL: plain */
    struct stream_connecting *connecting;  /* NULL: connected */
    struct stream_connecting *handshaking; /* the same, while its time limit covers TLS */
    size_t max_queue, low_mark;
    uint64_t sent;
    struct loop_task task; /* tells what must not be told synchronously */
    void (*gone)(void *ctx);
    void *gone_ctx;
    int fail_code;    /* 0, or the libuv/errno value that `failed` will report */
    struct err *fail; /* the story of a failure that is more than an errno; may be NULL */
    uint16_t events;  /* what the poll handle watches */
    uint16_t corks;
    uint8_t handles;  /* open libuv handles; freed when the last is closed */
    bool polling : 1; /* poll handle is initialised */
    bool paused : 1;
    bool blocked : 1; /* the kernel's buffer is full: waiting for it */
    bool eof : 1;     /* the peer's end was read */
    bool hangup : 1;  /* the peer ended while we were paused; bytes are still unread */
    bool failed : 1;  /* the stream is dead; `failed` told or about to be */
    bool fail_told : 1;
    bool closing : 1;
    bool shut_wanted : 1, shut_done : 1;
    bool above_low : 1; /* somebody will want to hear `drained` */
    bool tell_drained : 1, tell_ready : 1;
    bool peer_known : 1, peer_text_known : 1;
    bool is_unix : 1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr;
    struct peer peer; /* filled on first use */
};

/* TLS between the socket and the queue. */
struct stream_tls {
    struct tls_context *context;
    const struct tls_session_ops *ops;
    struct tls_session *session;
    struct buf cipher; /* encrypted, waiting for the kernel */
    size_t cipher_off;
    bool ready;  /* handshake done and told */
    bool closed; /* close_notify queued */
};

struct stream *stream_make(struct loop *l, const struct stream_user *u, void *ctx);
/* Wraps the socket in a poll handle. s->fd is set. */
int stream_open_poll(struct stream *s, struct err *e);
int stream_open_tls(struct stream *s, struct tls_context *tls, struct err *e);
/* Frees a stream that has no handle yet. */
void stream_discard(struct stream *s);
void stream_update(struct stream *s); /* asks the poll handle for the events that matter now */
void stream_fail(struct stream *s, const struct err *e); /* `failed` follows from the loop */
void stream_flush(struct stream *s);
void stream_handle_gone(struct stream *s); /* one handle's close callback came */
/* The socket is connected: TLS or `ready`. */
void stream_connected(struct stream *s);
/* stream_connect.c */
void stream_connecting_event(struct stream *s);
void stream_connecting_stop(struct stream *s); /* closes its timer; idempotent */
/* stream_tls.c */
void stream_tls_hold(struct tls_context *c); /* one more reference */
void stream_tls_release(struct tls_context *c);
void stream_tls_free(struct stream_tls *t);
void stream_tls_data(struct stream *s, const char *p, size_t n);
/* Moves plain bytes into records; true if there is something to send. */
bool stream_tls_encrypt(struct stream *s);
void stream_deliver(struct stream *s, const char *p, size_t n);
void stream_got_eof(struct stream *s);

#endif
