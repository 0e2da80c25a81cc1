/* grpc_server_priv.h: between grpc_server.c (the table, requests) and grpc_call.c (answers). */
#ifndef GANTRY_GRPC_SERVER_PRIV_H
#define GANTRY_GRPC_SERVER_PRIV_H

#include "base/sm.h"
#include "net/grpc_server.h"
#include "net/loop_priv.h"

#define GRPC_SERVER_MAGIC 0x67525053u
#define GRPC_CALL_MAGIC 0x67525043u
#define GRPC_CONTENT_TYPE "application/grpc"

struct grpc_server {
    uint32_t magic;
    struct grpc_server_options o;
    struct grpc_server_stats stats;
};

/* Metadata of an answer: pairs of offsets, because the text moves. */
struct grpc_pairs {
    struct buf text;
    struct {
        uint32_t name, name_len, value, value_len;
    } items[GRPC_CALL_METADATA];
    size_t n;
};

/* DECIDED: status known and handed over (or the client is gone). */
enum grpc_call_state { GC_OPEN, GC_STARTED, GC_DECIDED };

struct grpc_call {
    uint32_t magic;
    struct grpc_server *server;
    const struct grpc_method *method;
    struct exchange *x; /* NULL once it is closed */
    struct loop *loop;
    struct sm sm;
    const struct grpc_user *user;
    void *ctx, *note;
    bool closed_told;
    bool paused, ended;    /* ended: END_STREAM has come */
    bool answered_request; /* the one message of a method that takes one was handed on */
    struct grpc_reader reader;
    size_t partial; /* what the reader holds, as counted in the server's stats */
    struct buf rest;
    struct loop_task resume;
    struct loop_timer timer;
    bool timer_live;
    uint64_t deadline_ms;
    struct grpc_pairs *headers, *trailers;
};

/* Counts, tells `decided`; the state is DECIDED afterwards. */
void grpc_call_decide(struct grpc_call *c, int status, struct slice message);
/* The pairs, as headers in out (room for GRPC_CALL_METADATA). */
size_t grpc_pairs_list(const struct grpc_pairs *p, struct http_header *out);
void grpc_pairs_free(struct grpc_pairs *p);

/* An answer of headers only, on an exchange that is not answered yet. */
void grpc_answer_headers(struct exchange *x, int http_status, int status, struct slice message,
                         const struct http_header *more, size_t n_more);

#endif
