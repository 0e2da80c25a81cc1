/* http1_rig.h: a server with handlers for every way to answer, and short ways to talk to it. */
#ifndef GANTRY_TEST_HTTP1_RIG_H
#define GANTRY_TEST_HTTP1_RIG_H

#include "net_rig.h"

/* What the handlers saw. */
struct http1_seen {
    unsigned requests, closed, ended;
    int close_err, end_err;
    size_t body;
    char trailer[64];
    struct exchange *held; /* of /hold: answered by the test, or never */
    unsigned drained;
    bool upgraded;
    char early[64];
    struct stream *stream; /* of /upgrade */
    bool stream_closed;
};

struct http1_rig {
    struct rig r;
    struct http1_seen seen;
    struct buf in; /* what the last talk received */
};

/* limits NULL: the defaults. Paths: /hello, /echo (collect), /sink (user that counts), /none (no
 * answer), /hold, /stream (three pieces, a trailer), /big (4 MiB in pieces, as the peer takes
 * them), /empty (204), /upgrade, /redirect (307 without a body), /pause (takes its body only after
 * 30 ms), /early (401 at once). */
void http1_rig_open(struct http1_rig *h, const struct http_limits *limits);
void http1_rig_close(struct http1_rig *h);
/* Sends on a new connection and collects what comes until the server closes or it is silent for
 * `ms`. True if the server closed. */
bool http1_talk(struct http1_rig *h, const void *p, size_t n, unsigned ms);
#define TALK(h, text) http1_talk((h), (text), sizeof(text) - 1, 100)
/* The same on a connection that stays open. */
bool http1_listen_to(struct http1_rig *h, int fd, unsigned ms);
/* Runs the loop until *what is true; fails after 2 s. */
void http1_until(struct http1_rig *h, const bool *what);

#endif
