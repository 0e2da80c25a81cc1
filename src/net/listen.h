/* listen.h: sockets to accept from: binding, and the socket file of a Unix listener. */
#ifndef GANTRY_LISTEN_H
#define GANTRY_LISTEN_H

#include "net/server.h"

struct listen_socket {
    int fd;          /* -1: closed */
    char *unix_path; /* owned; NULL: TCP */
    dev_t dev;       /* of the socket file that was made */
    ino_t ino;
    uint16_t port;
    char address[256]; /* "http://127.0.0.1:8081", "unix:/run/x.sock" */
};

/* Errors as server_listen. */
int listen_open(struct listen_socket *ret, const struct listener_options *o, struct err *e);
/* Closes; removes the socket file if it is still the one that was made. Idempotent. */
void listen_close(struct listen_socket *s);

#endif
