/* server.h: listeners and the connections they accept. */
#ifndef GANTRY_SERVER_H
#define GANTRY_SERVER_H

#include "base/base.h"
#include "base/err.h"
#include "net/exchange.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/tls.h"

struct server;
struct server_limits;
struct listener;
struct protocol;

/* Protocols a listener may offer; a program that names only one links only that one. */
extern const struct protocol protocol_http1; /* http1_server.c */
extern const struct protocol protocol_http2; /* http2_server.c: prior knowledge, or ALPN "h2" */

struct server_options {
    struct http_limits limits;
    size_t max_connections;  /* over all listeners; more are told 503 and closed. 0: 10,000 */
    const char *server_name; /* the `server` header: "gantry"; NULL: none */
    bool request_ids;        /* answers carry their request's id as x-request-id */
};

struct listener_options {
    const char *unix_path; /* or host and port */
    mode_t unix_mode;      /* of the socket file, set before anybody can connect */
    gid_t unix_gid;        /* (gid_t)-1: unchanged */
    const char *host;      /* numeric address */
    uint16_t port;         /* 0: the kernel picks one, see listener_address */
    struct tls_context *tls;
    const struct protocol *const *protocols; /* NULL-terminated, static */
    /* Called for each request head; ctx is the listener's. */
    void (*handler)(void *ctx, struct exchange *x);
    void *ctx;
    unsigned mark; /* the program's own, see listener_mark */
};

/* What the server counts, for /metrics and tests. */
struct server_stats {
    uint64_t accepted, refused, requests, bad_requests, timeouts;
    size_t connections, exchanges;
    size_t listeners; /* that accept */
};

int server_new(struct server **ret, struct loop *l, const struct server_options *o, struct err *e);
/* Listens. An existing Unix socket file is replaced if nobody answers on it, else ERR_EXISTS;
 * missing parent folders are not made. ERR_INVALID, ERR_EXISTS, ERR_DENIED, ERR_IO. */
int server_listen(struct server *s, const struct listener_options *o, struct listener **ret,
                  struct err *e);
/* "http://127.0.0.1:8081", "https://[::1]:8443", "unix:/run/gantry/gantryd.sock". */
const char *listener_address(const struct listener *li);
unsigned listener_mark(const struct listener *li);
/* Port of a TCP listener, 0 for Unix. */
uint16_t listener_port(const struct listener *li);
/* Other limits: sizes and counts hold for connections accepted from here on, times for all. 0 takes
 * the default, as in server_new. ERR_NO_MEMORY (nothing changed). */
int server_prepare_limits(struct server *s, const struct http_limits *l,
                          struct server_limits **ret);
/* Cannot fail; takes what was prepared. max_connections 0: 10,000. */
void server_set_limits(struct server *s, struct server_limits *l, size_t max_connections);
void server_limits_drop(struct server_limits *l); /* prepared and not wanted; NULL is fine */
/* Stops listening at once; the socket file goes. Connections that came through the listener answer
 * what is under way, and are cut after limit_ms. `li` must not be used any more. */
void server_unlisten(struct server *s, struct listener *li, uint64_t limit_ms);
/* Another mark, for requests from here on. */
void listener_set_mark(struct listener *li, unsigned mark);
/* New connections use this context (NULL: plain). */
void listener_set_tls(struct listener *li, struct tls_context *tls);
const struct server_stats *server_stats(const struct server *s);
/* The listener an exchange came through (its address, for Host checks). */
const struct listener *exchange_listener(const struct exchange *x);

/* Stops accepting, answers what is under way, closes idle connections; everything that is left
 * after limit_ms is cut. done(ctx) comes once all connections are gone. */
void server_drain(struct server *s, uint64_t limit_ms, void (*done)(void *ctx), void *ctx);
/* Closes everything at once; server_free may follow after done. */
void server_stop(struct server *s, void (*done)(void *ctx), void *ctx);
void server_free(struct server *s); /* after drain or stop is done */

#endif
