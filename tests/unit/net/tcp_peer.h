/* tcp_peer.h: an HTTP server by script on loopback, in the loop of the client that is tested: it
 * answers, or closes in the middle of whatever it wants. Its memory does not come from mem.h. */
#ifndef GANTRY_TEST_TCP_PEER_H
#define GANTRY_TEST_TCP_PEER_H

#include "net/loop.h"

struct tcp_conn;
struct tcp_peer {
    struct loop *loop;
    uv_tcp_t listener;
    uint16_t port;
    /* A whole request has come: its head, NUL-terminated, with its body behind it. */
    void (*script)(struct tcp_conn *c, const char *text);
    bool refuse; /* closes what comes */
    int accepted, requests, open;
};
struct tcp_conn {
    uv_tcp_t tcp;
    struct tcp_peer *peer;
    char in[65536];
    size_t n;
    bool closing;
};

void tcp_peer_open(struct tcp_peer *p, struct loop *l,
                   void (*script)(struct tcp_conn *c, const char *text));
/* Ends with the loop's next turns. */
void tcp_peer_close(struct tcp_peer *p);
/* The first n bytes of a text, and all of it. */
void tcp_say_part(struct tcp_conn *c, const char *text, size_t n);
void tcp_say(struct tcp_conn *c, const char *text);
/* "200" and a JSON body, with its length; `cut` < 0: whole; else so many bytes, then the end. */
void tcp_answer(struct tcp_conn *c, const char *status, const char *body, long cut);
void tcp_end(struct tcp_conn *c);   /* after what was said */
void tcp_reset(struct tcp_conn *c); /* at once: the other side's next write fails */

#endif
