/* http2_priv.h: between http2_server.c (the connection), http2_recv.c (what nghttp2 tells us) and
 * http2_send.c (answers).
 *
 * User callbacks run only from the loop: inside nghttp2_session_mem_recv (head, body, end), or from
 * h2_deliver (drained, closed). A call of the user's only changes state and asks for h2_turn, which
 * sends; so no call into an exchange ever calls back. */
#ifndef GANTRY_HTTP2_PRIV_H
#define GANTRY_HTTP2_PRIV_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/sm.h"
#include "net/exchange_priv.h"
#include "net/http2_guard.h"

#define H2_MAGIC 0x68325f31u
#define H2_SEND_HIGH                                                                               \
    (256u * 1024) /* bytes in the stream's queue at which we stop making frames                    \
                   */
#define H2_SEND_LOW (64u * 1024)
#define H2_DRAINED_MARK (64u * 1024) /* an exchange's queue below it: `drained` */
#define H2_CONN_WINDOW                                                                             \
    (1024 * 1024) /* receive window of a connection; of a stream: the default, 65,535 */
/* Queued answers of a connection: so many times max_queue, however many streams. */
#define H2_QUEUES 16u

enum h2_state { H2_OPEN, H2_DRAINING, H2_ENDING, H2_GONE };

struct h2_conn {
    uint32_t magic;
    struct server_conn *c;
    struct stream *stream;
    nghttp2_session *session;
    struct sm sm;
    struct h2_guard guard;
    struct list_node streams; /* open ones */
    struct list_node done;    /* closed ones whose users have not heard it */
    struct list_node waking;  /* open ones with something to tell: drained, resumed */
    size_t n_streams;
    size_t queued;         /* bytes of all streams' queues */
    bool starved;          /* a write was refused for what other streams have queued */
    struct loop_task turn; /* sends and tells, after calls from outside */
    bool busy;             /* inside a turn or a data callback: it does so at its end */
    bool in_block;         /* a header block has begun and not ended */
    bool got_frame;        /* the peer has sent a whole frame (its SETTINGS) */
    uint32_t cut;          /* error code for the GOAWAY of a connection to be cut; 0: none */
    const char *cut_text;  /* its debug data; NULL: none */
    size_t ignored;        /* bytes read and dropped while ending */
    bool goaway_final;     /* draining: the second GOAWAY went out */
    uint64_t checked_ms;   /* when stalled streams were last looked for */
};

/* Header text of a request is collected in one buffer; offsets, because the buffer moves. */
struct h2_field {
    uint32_t name, name_len, value, value_len;
};

struct h2_stream {
    struct exchange x;
    struct list_node link; /* in streams or done */
    struct list_node wake; /* in waking, if waking */
    struct h2_conn *h;
    int32_t id;
    /* The request. */
    struct buf text, trailer_text;
    struct h2_field *fields;
    size_t n_fields, cap_fields;
    size_t block_size; /* of the present block, also what is not kept */
    struct http_header *headers, *trailers;
    struct slice method, path, authority; /* after the head */
    int refuse; /* status to answer with instead of calling the handler; 0: none */
    bool in_trailers;
    bool remote_ended; /* the peer's END_STREAM came */
    bool expect_continue;
    bool dispatched;  /* the handler has returned */
    bool end_pending; /* END_STREAM came, but held bytes are still to be told */
    struct buf held;  /* body bytes that came while paused; the window bounds them */
    bool deaf;        /* further body bytes are dropped */
    /* The answer. */
    struct out_queue out;
    bool answered, finished, no_body;
    bool deferred; /* nghttp2 waits for nghttp2_session_resume_data */
    bool want_drained;
    bool end_sent;              /* END_STREAM is on its way: the answer is whole */
    bool closed;                /* nghttp2 has forgotten the stream */
    bool dying;                 /* a RST_STREAM of ours is on its way */
    int close_err;              /* for `closed` */
    nghttp2_nv *reply_trailers; /* one allocation, with its text behind */
    size_t n_reply_trailers;
    uint64_t read_at_ms, write_at_ms; /* last progress, for stalls */
};

/* http2_server.c */
void h2_wake(struct h2_conn *h); /* asks for a turn */
/* What our PINGs carry. */
extern const uint8_t h2_drain_ping[8], h2_alive_ping[8];
/* Sends GOAWAY with the code and ends the connection; everything on it is closed with ERR_GONE. */
void h2_end(struct h2_conn *h, uint32_t code);
uint64_t h2_now(const struct h2_conn *h);
static inline bool h2_alive(const struct h2_conn *h)
{
    return h->sm.state == H2_OPEN || h->sm.state == H2_DRAINING;
}

/* http2_recv.c */
int h2_session_open(struct h2_conn *h); /* 0 or ERR_NO_MEMORY */
struct h2_stream *h2_stream_new(struct h2_conn *h, int32_t id);
void h2_stream_free(struct h2_stream *s);
/* Moves a stream to `done`. */
void h2_stream_closed(struct h2_stream *s, int err);
/* Tells held body bytes and a pending end, unless paused. */
void h2_stream_resume(struct h2_stream *s);

/* http2_send.c */
extern const struct exchange_ops h2_exchange_ops;
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                 size_t length, nghttp2_data_source *source,
                 void *ctx); /* nghttp2_send_data_callback */
/* A short text answer; resets the stream if there is no memory for it. */
void h2_answer(struct h2_stream *s, int status);
/* Sends 100 if the peer waits for it before it sends its body. */
void h2_continue(struct h2_stream *s);
/* RST_STREAM; ends the connection if there is no memory for it. err: for `closed`. */
void h2_reset(struct h2_stream *s, uint32_t code, int err);

#endif
