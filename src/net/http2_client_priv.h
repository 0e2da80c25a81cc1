/* http2_client_priv.h: between http2_client.c (calls and the client), http2_client_conn.c
 * (connections: bytes, deadlines, the end) and http2_client_recv.c (what nghttp2 tells us).
 *
 * Users are called from a turn of the client's task, or inside nghttp2_session_mem_recv (head and
 * data). A function of the user's only changes state and asks for a turn; so nothing calls back
 * that was called from a user, and no connection, call or client is freed under one.
 *
 * A call stays attached to its connection until nghttp2 has forgotten the stream, also when its
 * user has been told already: frames that nghttp2 has not sent yet point into the call. */
#ifndef GANTRY_HTTP2_CLIENT_PRIV_H
#define GANTRY_HTTP2_CLIENT_PRIV_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/sm.h"
#include "net/http2_client.h"
#include "net/http2_guard.h"
#include "net/loop_priv.h"
#include "net/stream_queue.h"

#define H2C_MAGIC 0x68324331u
#define H2C_CALL_MAGIC 0x68324361u
#define H2C_CONN_MAGIC 0x6832436fu

#define H2C_SEND_HIGH (256u * 1024) /* bytes in the stream's queue at which we make no frames */
#define H2C_SEND_LOW (64u * 1024)
#define H2C_DRAINED_MARK (64u * 1024)
#define H2C_CONN_WINDOW (1024 * 1024)

/* WAITING: without a place. ACTIVE: begun, the answer not told whole. OVER: `closed` is due.
 * TOLD: only nghttp2 still knows it. */
enum h2c_call_state { CALL_WAITING, CALL_ACTIVE, CALL_OVER, CALL_TOLD };

struct h2_call {
    uint32_t magic;
    struct h2_client *client;
    struct h2c_conn *conn;      /* NULL: not attached */
    struct list_node link;      /* client's waiting, active or over */
    struct list_node conn_link; /* conn's calls */
    struct list_node wake;      /* client's waking: drained or resumed */
    struct sm sm;
    int32_t id;
    struct h2_call_user user;
    void *ctx;
    uint64_t deadline_ms; /* 0: none */
    size_t heap_at;       /* place in the client's heap of deadlines; SIZE_MAX: none */
    bool wait_for_ready;
    /* The request. */
    struct out_queue out;
    bool ended;    /* by the user */
    bool sent;     /* the peer may have seen the head */
    bool end_sent; /* END_STREAM is on its way */
    bool dying;    /* our RST_STREAM is on its way */
    bool deferred; /* nghttp2 waits for nghttp2_session_resume_data */
    bool want_drained;
    /* The answer. */
    bool got_head, paused;
    bool complete; /* the peer's END_STREAM came */
    size_t body_bytes, max_body;
    struct buf held;              /* body bytes that came while paused; the window bounds them */
    struct http_header *trailers; /* kept while paused; one allocation with their text */
    size_t n_trailers;
    struct h2_outcome outcome;
    /* The head, whose text follows the array. */
    size_t n_nv;
    nghttp2_nv nv[];
};

enum h2c_conn_state { CONN_CONNECTING, CONN_SETTLING, CONN_OPEN, CONN_DRAINING, CONN_ENDING };

struct h2c_field {
    uint32_t name, name_len, value, value_len;
};
/* The present header block: blocks do not interleave on a connection (RFC 9113, section 4.3). */
struct h2c_block {
    struct buf text;
    struct h2c_field *fields;
    struct http_header *headers;
    size_t n, cap;
    size_t size; /* also of what is not kept */
    int status;
};

struct h2c_conn {
    uint32_t magic;
    struct h2_client *client;
    struct list_node link; /* client's conns */
    struct sm sm;
    struct stream *stream;
    nghttp2_session *session; /* from CONN_SETTLING on */
    struct h2_guard guard;
    struct list_node calls;
    size_t n_calls;
    struct h2c_block block;
    struct loop_timer timer;
    unsigned handles;      /* stream and timer not closed yet */
    uint64_t timer_at_ms;  /* UINT64_MAX: it does not run */
    uint64_t settle_by_ms; /* CONN_SETTLING; CONN_ENDING: until it is cut */
    uint64_t idle_since_ms, heard_ms, pinged_ms;
    bool pinging;    /* an answer is due */
    bool answered;   /* a call got a head on it */
    const char *cut; /* why nghttp2 was stopped by a callback */
    uint32_t cut_code;
};

struct h2_client {
    uint32_t magic;
    struct loop *loop;
    struct h2_client_options o; /* with defaults; strings are the ones below */
    char *unix_path, *host, *authority;
    char name[160];
    struct list_node conns;
    struct h2c_conn *current; /* takes new calls, or will; NULL: none */
    struct list_node waiting, active, over, waking;
    struct h2_call **heap; /* earliest deadline first */
    size_t n_heap, cap_heap;
    struct loop_timer deadline_timer, retry_timer;
    uint64_t deadline_at_ms; /* when deadline_timer fires; UINT64_MAX: it does not run */
    struct loop_task task;
    unsigned fails;       /* connections in a row that brought no answer */
    uint64_t next_try_ms; /* not before, unless a call asks that does not wait */
    bool try_now;
    struct err last_error; /* of the last attempt to connect */
    struct h2_client_stats stats;
    bool busy, closing, ending;
};

static inline uint64_t h2c_now(const struct h2_client *c)
{
    return loop_now_ms(c->loop);
}

/* ---- http2_client.c */

void h2c_wake(struct h2_client *c); /* asks for a turn */
void h2c_turn(struct h2_client *c);
/* The call is over, told by the next turn. e may be NULL for H2_ANSWERED. */
void h2c_call_over(struct h2_call *k, enum h2_why why, const struct err *e);
/* Not attached any more; freed if it was told. */
void h2c_call_detach(struct h2_call *k);
/* Tells held bytes, trailers and the end, unless paused. */
void h2c_call_resume(struct h2_call *k);
/* The next connection is not made at once. */
void h2c_back_off(struct h2_client *c);
/* A connection could not be made, or was of no use: calls that do not wait for a ready peer fail.
 */
void h2c_connect_failed(struct h2_client *c, const struct err *e);
void h2c_maybe_end(struct h2_client *c);

/* ---- http2_client_conn.c */

/* Begins a connection, the client's current one. */
int h2c_conn_open(struct h2_client *c, struct err *e);
void h2c_set_send_data(nghttp2_session_callbacks *cb); /* how request bodies become frames */
/* True if a call may begin on it now. */
bool h2c_conn_has_place(const struct h2c_conn *n);
/* Begins the first waiting call. ERR_NO_MEMORY (the call's own failure), ERR_STATE (the connection
 * takes no more calls and is being left). */
int h2c_conn_start(struct h2c_conn *n, struct h2_call *k);
/* Makes frames while the stream takes them. */
void h2c_conn_pump(struct h2c_conn *n);
/* The peer takes no new calls here: what runs ends, then it is closed. */
void h2c_conn_drain(struct h2c_conn *n);
/* Closes it; its calls are lost for the reason e. code: for a GOAWAY, if one can be sent. */
void h2c_conn_end(struct h2c_conn *n, uint32_t code, const struct err *e);
void h2c_conn_arm(struct h2c_conn *n); /* what its timer waits for may have come nearer */
/* RST_STREAM for a call that is attached. */
void h2c_conn_reset(struct h2_call *k, uint32_t code);
/* There are bytes to send, or the end. */
void h2c_conn_resume_sending(struct h2_call *k);
static inline bool h2c_conn_alive(const struct h2c_conn *n)
{
    return n->sm.state != CONN_ENDING && n->sm.state != CONN_CONNECTING;
}

/* ---- http2_client_recv.c */

int h2c_session_open(struct h2c_conn *n); /* 0 or ERR_NO_MEMORY */
void h2c_block_done(struct h2c_block *b);

/* For tests: PINGs may be that near. */
void h2c_set_ping(struct h2_client *c, uint64_t ping_ms);

#endif
