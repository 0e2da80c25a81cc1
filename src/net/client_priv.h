/* client_priv.h: pool, calls and connections of the HTTP client. Only client.c and client_conn.c.
 *
 * A call is in exactly one place: waiting for a connection, active on one, finished (its `done`
 * comes from the loop), or in the pool's list of free ones. A connection serves one call at a time.
 */
#ifndef GANTRY_CLIENT_PRIV_H
#define GANTRY_CLIENT_PRIV_H

#include "base/list.h"
#include "base/sm.h"
#include "net/client.h"
#include "net/client_answer.h"
#include "net/loop_priv.h"

#define CLIENT_POOL_MAGIC 0x436c506fu
#define CLIENT_CALL_MAGIC 0x436c4361u
#define CLIENT_CONN_MAGIC 0x436c436fu

enum call_place { CALL_FREE, CALL_WAITING, CALL_ACTIVE, CALL_FINISHED };

struct client_call {
    uint32_t magic;
    struct client_pool *pool; /* back pointer */
    struct list_node link;    /* in one of the pool's lists */
    struct sm sm;             /* enum call_place */
    struct client_conn *conn; /* while active */
    struct client_user user;
    client_fetch_fn fetch; /* instead of user */
    void *ctx;
    struct answer answer;
    struct buf head; /* of the request, whole */
    struct buf body; /* a copy, only while waiting */
    uint64_t first_byte_ms, idle_ms, wait_until_ms;
    bool may_retry, paused;
    bool secret;                     /* head and body are wiped before they are given back */
    bool in_feed;                    /* the parser is on the stack: not to be recycled */
    bool dropped;                    /* cancelled during in_feed */
    struct client_response response; /* fetch: kept until done */
    struct slice piece;              /* fetch: the body so far, still in the reader's buffer */
    struct buf whole;                /* fetch: the body, once it came in several pieces */
    size_t whole_max;
    struct err error; /* when finished */
};

enum conn_state { CONN_CONNECTING, CONN_BUSY, CONN_IDLE, CONN_CLOSING };

struct client_conn {
    uint32_t magic;
    struct client_pool *pool; /* back pointer */
    struct list_node link;    /* pool->conns */
    struct list_node idle;    /* pool->idle; on its own otherwise */
    struct list_node resumed; /* pool->resumed; on its own otherwise */
    struct sm sm;             /* enum conn_state */
    struct stream *stream;
    struct client_call *call; /* NULL when idle or closing */
    struct loop_timer timer;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    uint64_t timer_ms;    /* when the timer fires; UINT64_MAX: it does not run */
    uint64_t uses;        /* requests sent on it */
    unsigned handles;     /* stream and timer not closed yet */
    bool halted;          /* the parser stopped for a paused call; the rest is in stash */
    bool eof;             /* the peer's end came while halted */
    struct buf stash;
    size_t stash_off;
};

struct client_pool {
    uint32_t magic;
    struct loop *loop;
    struct stream_target target; /* owned strings, a reference on tls */
    char *unix_path, *host_name;
    struct buf
        common;     /* the part of each head after the target: version, Host, User-Agent, Accept */
    char name[160]; /* of the peer, for errors */
    size_t max_connections, max_waiting, max_idle, max_head;
    uint64_t idle_ms, connect_ms;
    struct list_node conns, idle, waiting, finished, resumed, free_calls;
    size_t n_free;
    struct client_stats stats;
    struct loop_task task;   /* tells finished calls, goes on with resumed connections */
    struct loop_timer timer; /* the first waiting call's time-out */
    bool closing, ending;
};

extern const struct answer_user client_answer_user; /* client.c */

/* ---- client_conn.c */

/* Connects and hands the call over. On failure the call is nobody's. */
int client_conn_open(struct client_pool *p, struct client_call *c, struct slice body,
                     struct err *e);
/* Sends the call on a connection that is idle or was just opened. On failure the call is nobody's
 * and the connection closed; ERR_GONE: the peer had left already. */
int client_conn_send(struct client_conn *k, struct client_call *c, struct slice body,
                     struct err *e);
/* Separates call and connection and closes the latter. */
void client_conn_close(struct client_conn *k);
void client_conn_pause(struct client_conn *k, bool paused);
/* Parses what waited for the call to be resumed. */
void client_conn_go_on(struct client_conn *k);

/* ---- client.c */

/* Gives waiting calls a connection or a place for one. Never calls a user. */
void client_pool_dispatch(struct client_pool *p);
/* An active call is over, told from the loop right now; the call is free afterwards. */
void client_call_tell(struct client_call *c, const struct err *e);
/* The same, but told later. */
void client_call_finish(struct client_call *c, const struct err *e);
void client_call_recycle(struct client_call *c);
/* The bytes of a piece go: fetch keeps a copy. 0 or ERR_NO_MEMORY, ERR_LIMIT. */
int client_call_keep_piece(struct client_call *c);
void client_pool_maybe_end(struct client_pool *p);

#endif
