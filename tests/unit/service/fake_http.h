/* fake_http.h: a scripted HTTP server on a Unix socket, in the loop of the test. */
#ifndef GANTRY_TEST_FAKE_HTTP_H
#define GANTRY_TEST_FAKE_HTTP_H

#include "net/server.h"

enum { FAKE_LOG_MAX = 4096, FAKE_STREAMS_MAX = 64 };

struct fake_http {
    struct loop *loop;
    struct server *server;
    char path[100];
    /* Answers, keeps or aborts x. `line` is "GET /target". */
    void (*answer)(struct fake_http *f, struct exchange *x, const char *line);
    void *ctx;
    char *lines[FAKE_LOG_MAX];
    size_t n_lines;
    struct exchange *kept[FAKE_STREAMS_MAX]; /* those under way that fake_http_keep took */
    size_t n_kept;
};

/* A loop for tests, with json and uv set up; and the same, run until cond(ctx) or for at most ms.
 */
struct loop *test_loop(void);
void test_loop_free(struct loop *l);
bool test_run(struct loop *l, bool (*cond)(void *ctx), void *ctx, uint64_t ms);
void test_pass(struct loop *l, uint64_t ms); /* just lets that time go by */

void fake_http_start(struct fake_http *f, struct loop *l, const char *path);
void fake_http_stop(struct fake_http *f); /* as if the program had been killed */
void fake_http_done(struct fake_http *f); /* frees the log of requests */
size_t fake_http_count(const struct fake_http *f, const char *prefix); /* of lines that begin so */

void fake_http_reply(struct exchange *x, int status, const char *type, const char *body);
void fake_http_reply_n(struct exchange *x, int status, const char *type, const void *body,
                       size_t n);
/* Leaves x without an answer; it stays in f->kept until it is closed. */
void fake_http_keep(struct fake_http *f, struct exchange *x);
/* Begins a streamed answer and keeps it. */
void fake_http_stream(struct fake_http *f, struct exchange *x, const char *type);
void fake_http_send(struct exchange *x, const char *text);

#endif
