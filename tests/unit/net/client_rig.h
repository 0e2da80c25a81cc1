/* client_rig.h: a scripted peer on a Unix socket and a client pool to it, both on one loop; every
 * wait is bounded in time. */
#ifndef GANTRY_TEST_CLIENT_RIG_H
#define GANTRY_TEST_CLIENT_RIG_H

#include "base/buf.h"
#include "net/client.h"
#include "net/loop.h"

struct peer_conn;

/* What the peer does with each request head; text is NUL-terminated and holds all bytes so far. */
typedef void (*peer_script)(struct peer_conn *c, const char *text);

struct client_rig {
    struct loop *loop;
    struct client_pool *pool;
    char dir[32], path[64];
    uv_pipe_t listener;
    bool listening;
    uv_timer_t guard; /* wakes the loop now and then so that waits end */
    peer_script script;
    int accepted, requests, open;
    struct peer_conn *last; /* the latest connection, NULL when it was closed */
};

/* One connection of the peer. */
struct peer_conn {
    uv_pipe_t pipe;
    struct client_rig *rig;
    struct buf in; /* not yet consumed; a head is removed after the script ran */
    int requests;  /* on this connection */
    bool closing;
};

/* A loop, a listening peer, and a pool with the options (NULL: small time-outs); o->target is
 * filled in. */
void client_rig_open(struct client_rig *r, peer_script script, const struct client_options *o);
void client_rig_close(struct client_rig *r);
/* Ends only the pool; runs the loop until it is gone. */
void client_rig_end_pool(struct client_rig *r);
/* The same without asserting that all went well, for tests that let allocations fail. */
bool client_rig_try_open(struct client_rig *r, peer_script script, const struct client_options *o);
void client_rig_stop_listening(struct client_rig *r, bool unlink_socket);

void peer_say(struct peer_conn *c, const char *text);
void peer_write(struct peer_conn *c, const void *p, size_t n);
void peer_close(struct peer_conn *c);
/* Writes that the kernel has not taken yet. */
size_t peer_queued(const struct peer_conn *c);

/* What came back from one call. */
struct result {
    struct client_rig *rig;
    struct client_call *call;
    int heads, pieces, done, status;
    struct err e;
    struct buf body;
    char reason[32], header[64]; /* of the header "x-test" */
    size_t n_headers;
    void (*on_head)(struct result *r);
    void (*on_piece)(struct result *r);
    void (*on_done)(struct result *r);
};
void result_init(struct result *r, struct client_rig *rig);
void result_free(struct result *r);
/* client_send with this result as context; q NULL: GET /. */
int result_send(struct result *r, const struct client_request *q);
int result_fetch(struct result *r, const struct client_request *q);

/* Runs the loop until *what reaches n; false after ms. */
bool rig_wait(struct client_rig *r, const int *what, int n, unsigned ms);
void rig_spin(struct client_rig *r, unsigned ms);

#endif
