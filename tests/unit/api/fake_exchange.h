/* fake_exchange.h: an exchange in memory: a request given as text, the answer kept as text. */
#ifndef TEST_FAKE_EXCHANGE_H
#define TEST_FAKE_EXCHANGE_H

#include "api/route/route.h"
#include "net/exchange_priv.h"

#define FAKE_MAX_HEADERS 16

struct fake {
    struct exchange x;
    struct http_header headers[FAKE_MAX_HEADERS];
    char host[256];
    int status;            /* 0: not answered */
    int answers;           /* how often it was */
    char content_type[64]; /* of the answer */
    char head[4096];       /* its headers, "name: value\n" */
    struct {
        char *data;
        size_t len;
    } body;
    bool closed_at_once; /* `closed` comes inside exchange_respond */
    /* A streamed answer: what is written waits until fake_drain takes it. */
    size_t queued, most_queued, max_queue; /* max_queue 0: no limit */
    int writes, write_error;               /* the error of the next write; 0: none */
    bool finished, aborted;
};

/* "name: value" lines, separated by \n; may be NULL. The texts must outlive the fake. */
void fake_request(struct fake *f, const char *method, const char *target, const char *headers);
/* Hands it to a handler, then the body (NULL: none), then the end. */
void fake_run(struct fake *f, void (*handler)(void *ctx, struct exchange *x), void *ctx,
              struct slice body);
/* The client reads all that waits; the handler hears of it. */
void fake_drain(struct fake *f);
/* The exchange ends, as the transport would do it. */
void fake_close(struct fake *f, int err);
void fake_done(struct fake *f);

#endif
