/* exchange_priv.h: what the protocols (http1_server.c, http2_server.c) share. Only net/ includes
 * it. */
#ifndef GANTRY_EXCHANGE_PRIV_H
#define GANTRY_EXCHANGE_PRIV_H

#include "base/list.h"
#include "base/sm.h"
#include "net/exchange.h"
#include "net/loop_priv.h"
#include "net/server.h"
#include "net/stream_priv.h"

/* What a protocol does for an exchange. Semantics as the public functions. */
struct exchange_ops {
    int (*respond)(struct exchange *x, const struct http_response *r, struct slice body);
    int (*start)(struct exchange *x, const struct http_response *r);
    int (*write)(struct exchange *x, struct slice data, struct chunk *shared);
    int (*finish)(struct exchange *x, const struct http_header *trailers, size_t n);
    void (*abort)(struct exchange *x);
    void (*pause)(struct exchange *x, bool paused);
    size_t (*queued)(const struct exchange *x);
    int (*upgrade)(struct exchange *x, const struct http_header *headers, size_t n,
                   void (*taken)(void *ctx, struct stream *s, struct slice early), void *ctx);
    void (*want_body)(struct exchange *x); /* a user who takes the body was set; may be NULL */
    void (*drop_body)(struct exchange *x); /* exchange_drop_body; may be NULL */
};

enum exchange_state { X_HEAD, X_OPEN, X_STARTED, X_ANSWERED, X_CLOSED };

/* Embedded in the protocol's own struct. */
struct exchange {
    uint32_t magic;
    const struct exchange_ops *ops;
    struct server_conn *conn;
    struct http_request req;
    const struct http_header *trailers;
    size_t n_trailers;
    const struct exchange_user *user; /* NULL: nobody */
    void *ctx;
    enum exchange_state state;
    bool request_ended; /* `end` has been, or will be, told */
    bool end_told;
    bool paused;
    bool patient;                 /* no deadline for the body */
    size_t body_seen;             /* bytes of body so far, against limits.max_body */
    size_t body_max;              /* starts as limits.max_body; exchange_collect may lower it */
    char id[EXCHANGE_ID_MAX + 1]; /* filled on first use */
    void *collect;                /* state of exchange_collect */
    bool counted;                 /* in the server's stats */
};

/* What a connection waits for; the deadlines of http_limits. LINGER: reading the rest of a peer
 * that has had its last answer; HALF: a peer that ended its side while its answer is being made. */
enum conn_wait {
    WAIT_FIRST_BYTE,
    WAIT_HEAD,
    WAIT_BODY,
    WAIT_IDLE,
    WAIT_WRITE,
    WAIT_LINGER,
    WAIT_HALF,
    WAIT_NONE,
};

/* The limits of the connections that were accepted while they held. */
struct server_limits {
    size_t refs;
    struct http_limits limits;
};

/* One accepted connection; a protocol takes it over after the first bytes or ALPN. */
struct server_conn {
    struct list_node link; /* in server->conns */
    struct server *server;
    struct listener *listener;
    struct server_limits *held; /* a reference */
    struct stream *stream;
    const struct protocol *protocol; /* NULL until chosen */
    void *state;                     /* of the protocol */
    struct deadline deadline, alive; /* alive: when nothing is heard */
    enum conn_wait waiting;
    uint64_t sent_mark; /* stream_sent when WAIT_WRITE began */
    char early[24];     /* first bytes, while they do not tell the protocol yet */
    uint8_t n_early;
    bool upgraded; /* the stream has another user; still counted and cut here */
};

/* A protocol of a listener. The server closes conn->stream by itself after `closed`. */
struct protocol {
    const char *name; /* "http/1.1", "h2" */
    /* 1: these first bytes are mine, 0: not mine, -1: need more. */
    int (*sniff)(const char *p, size_t n);
    int (*open)(struct server_conn *c); /* makes state, sets the stream's user */
    /* Answer what is under way, take nothing new, then close. */
    void (*drain)(struct server_conn *c);
    /* The idle deadline or a limit asks for the end. */
    void (*expire)(struct server_conn *c);
    /* Nothing was heard for ping_ms: makes the peer say something, or it is cut after pong_ms. NULL
     * for protocols that do not call server_conn_heard. */
    void (*probe)(struct server_conn *c);
    /* A peer beyond this count gets this (503 or GOAWAY) and is closed; conn not opened. */
};

/* Helpers in exchange.c for the protocols. */
void exchange_init(struct exchange *x, const struct exchange_ops *ops, struct server_conn *c);
void exchange_dispatch(struct exchange *x);                      /* calls the listener's handler */
void exchange_feed(struct exchange *x, const char *p, size_t n); /* body bytes; enforces body_max */
void exchange_end(struct exchange *x, int err);                  /* tells `end` once */
void exchange_close(struct exchange *x, int err);                /* tells `closed` once */

/* For server.c's book-keeping: the connection is over; frees it. Call from the stream's `closed`.
 */
void server_conn_gone(struct server_conn *c);
/* (Re)arms one of the deadlines of the limits, or none. WAIT_WRITE expires only if the kernel took
 * no byte of ours since it was armed; the others are for protocol->expire. */
void server_conn_wait(struct server_conn *c, enum conn_wait what);
enum conn_wait server_conn_waiting(const struct server_conn *c);
/* The peer has sent something. */
void server_conn_heard(struct server_conn *c);

/* server.c, for protocols and exchange.c. */
const struct server_options *
server_options(const struct server *s); /* for limits: server_conn_limits */
/* Every limit is set, and stays as it is as long as the connection. */
static inline const struct http_limits *server_conn_limits(const struct server_conn *c)
{
    return &c->held->limits;
}
struct server_stats *server_counts(struct server *s);
bool server_draining(const struct server *s);
/* Calls the listener's handler. */
void server_handle(struct exchange *x);
/* The stream goes to another user (101): the server goes on counting it, and cuts it when draining
 * takes too long. The protocol frees its own state and does not call server_conn_gone. */
void server_conn_upgraded(struct server_conn *c);
/* A slot for a protocol's spare objects, freed with the server by free_fn. */
void **server_spares(struct server *s, void (*free_fn)(void *spares));

#endif
