/* fake_engine.h: a Docker Engine of one container, "web", in the loop of the test: it has a state,
 * and a fault at any of its requests. */
#ifndef GANTRY_TEST_FAKE_ENGINE_H
#define GANTRY_TEST_FAKE_ENGINE_H

#include "driver/docker/docker.h"
#include "fake_http.h"

#define ENGINE_CID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum engine_fault {
    ENGINE_FINE,
    ENGINE_CUT,
    ENGINE_500,
    ENGINE_HANG,
    ENGINE_GARBAGE,
    ENGINE_FAULTS
};

struct fake_engine {
    struct fake_http f;
    /* the container */
    bool exists, foreign, running, paused, tty, image;
    char revision[32];
    int exit_code;
    bool dies; /* it has ended when its start is answered */
    /* what is done with requests; those for version and events do not count */
    int requests;
    int fault_at; /* the n-th from 1; 0: none */
    enum engine_fault fault;
    int conflicts;    /* so often a removal is under way already */
    bool race;        /* somebody makes a foreign "web" before the next create */
    const char *news; /* of a pull; NULL: it works */
    int pull_status;  /* 0: 200 */
    const char *logs; /* frames */
    size_t logs_len;
    bool logs_open;     /* the log goes on */
    const char *output; /* frames of a program */
    size_t output_len;
    bool echo;       /* a program that gives its input back, then ends */
    int exec_status; /* of its start; 0: it becomes streams */
    const char *stats;
    /* what was seen */
    char body[4096], auth[1024], exec_body[1024];
    char input[65536];
    size_t input_len;
    struct stream *hijacked;
    struct exchange *watch, *log; /* streams that are open */
};

void fake_engine_start(struct fake_engine *g, struct loop *l, const char *path);
void fake_engine_stop(struct fake_engine *g);
/* An event of "web", or the text as it is. */
void fake_engine_event(struct fake_engine *g, const char *text);

#endif
