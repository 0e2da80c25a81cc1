/* stream.h: a connected byte stream: TCP or Unix socket, plain or TLS, one interface.
 *
 * Ownership: a stream owns its handle and queue. Its user gets callbacks until `closed`, which is
 * always the last one and comes asynchronously; the stream is freed right after it returns.
 * Any callback may call stream_close, and stream_write never calls back synchronously.
 */
#ifndef GANTRY_STREAM_H
#define GANTRY_STREAM_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"
#include "net/tls.h"

struct stream;

/* Bytes shared by many queues (one log line to 1,000 viewers). Reference-counted, immutable. */
struct chunk {
    uint32_t refs;
    size_t len;
    char data[];
};
struct chunk *chunk_new(const void *p, size_t len); /* one reference; NULL: out of memory */
struct chunk *chunk_ref(struct chunk *c);
void chunk_unref(struct chunk *c);

struct stream_user {
    /* Connected, and the TLS handshake done. Not called for accepted plain streams. May be NULL. */
    void (*ready)(void *ctx);
    void (*data)(void *ctx, const char *p, size_t n); /* n > 0; bytes borrowed for the call */
    void (*eof)(void *ctx);                           /* the peer will send no more */
    void (*failed)(void *ctx, const struct err *e);   /* the stream is dead; call stream_close */
    void (*drained)(void *ctx);                       /* the write queue fell below the low mark */
    void (*closed)(void *ctx);                        /* last callback */
};

enum peer_kind { PEER_TCP, PEER_UNIX };
struct peer {
    enum peer_kind kind;
    char text[64]; /* "127.0.0.1:51234", "[::1]:5000", "unix:pid=1,uid=0" */
    bool loopback;
    uid_t uid; /* PEER_UNIX: credentials of the connecting process */
    gid_t gid;
    pid_t pid;
    uint8_t address[16]; /* PEER_TCP: network order; the first 4 bytes for IPv4 */
    uint8_t address_len; /* 4 or 16; 0 for Unix */
    bool tls;
    const char
        *cert_subject; /* verified client certificate's common name, or NULL; lives as the stream */
};

/* Where to connect to. Exactly one of unix_path and host is set. Host is a numeric address or a
 * name (resolved on libuv's pool). tls may be NULL. Nothing is kept after the call but a tls ref.
 */
struct stream_target {
    const char *unix_path;
    const char *host;
    uint16_t port;
    struct tls_context *tls;
};

/* Starts connecting; `ready` or `failed` follows within timeout_ms. failed's err has sys set for
 * refused connections (ECONNREFUSED) and missing sockets (ENOENT). ERR_NO_MEMORY, ERR_NO_FILES,
 * ERR_LIMIT (socket path too long: over 107 bytes is reached through /proc/self/fd). */
int stream_connect(struct stream **ret, struct loop *l, const struct stream_target *t,
                   uint64_t timeout_ms, const struct stream_user *u, void *ctx, struct err *e);

/* Changes who hears the callbacks (a protocol upgrade). From the next callback on. */
void stream_set_user(struct stream *s, const struct stream_user *u, void *ctx);

/* Queues a copy of the bytes; written at once if possible when the stream is not corked.
 * ERR_NO_MEMORY, ERR_GONE (failed or closing), ERR_LIMIT (over the queue's maximum): nothing
 * queued. */
int stream_write(struct stream *s, const void *p, size_t n);
int stream_writev(struct stream *s, const struct slice *parts, size_t n_parts);
/* Queues a reference instead of a copy. */
int stream_write_chunk(struct stream *s, struct chunk *c);
/* Room to format into, then commit: saves a copy on hot answers. reserve gives NULL on failure. */
char *stream_reserve(struct stream *s, size_t n);
void stream_commit(struct stream *s, size_t n); /* n <= the size reserved last */

/* Between cork and uncork writes only queue; nested. The stream corks itself around `data`. */
void stream_cork(struct stream *s);
void stream_uncork(struct stream *s);

/* Of what is queued while `secret` is set no copy stays in this process's memory once it is sent:
 * for passwords. What TLS keeps while it encrypts is not meant, nor shared chunks. */
void stream_set_secret(struct stream *s, bool secret);
size_t stream_queued(const struct stream *s); /* bytes not yet taken by the kernel */
/* Queue maximum (default 16 MiB) and the low mark for `drained` (default 64 KiB). */
void stream_set_limits(struct stream *s, size_t max_queue, size_t low_mark);

void stream_pause(struct stream *s); /* no data callbacks until resume; back-pressure to the peer */
void stream_resume(struct stream *s);
/* Sends what is queued, then the end of our side (close_notify, FIN). */
void stream_shutdown(struct stream *s);
/* Drops the queue and closes. `closed` follows from the loop. Idempotent. */
void stream_close(struct stream *s);
bool stream_closing(const struct stream *s);

const struct peer *stream_peer(const struct stream *s);
/* True if the process that connected over a Unix socket had that group, as its own or as a
 * supplementary one, when it connected (SO_PEERGROUPS). Asks the kernel. False when it cannot be
 * told. */
bool stream_peer_in_group(const struct stream *s, gid_t gid);
/* ALPN agreed on ("h2"), or an empty slice. */
struct slice stream_alpn(const struct stream *s);
struct loop *stream_loop(struct stream *s);

#endif
