/* compose_logs.h: what the two files about logs of projects share. Not for others.
 *
 * compose_logs.c    lines in the order of their times     compose_follow.c   whose lines they are
 */
#ifndef GANTRY_DRIVER_COMPOSE_LOGS_H
#define GANTRY_DRIVER_COMPOSE_LOGS_H

#include "driver/compose/compose_priv.h"

enum { COMPOSE_QUEUE_MAX = 4 << 20, COMPOSE_QUEUE_HIGH = 1 << 20, COMPOSE_PART_ROOM = 160 };

struct tailing;

struct source { /* one container */
    struct tailing *t;
    struct driver_call *call; /* NULL: it has ended */
    bool held;
    bool again;                 /* it was started since its stream was opened */
    bool failed;                /* its log cannot be read */
    struct buf queue;           /* of lines that wait for their turn */
    size_t at;                  /* in queue: what was told already */
    int64_t opened_ns, last_ns; /* wall time: the stream's, and of its last line; 0: none */
    char id[72];                /* the container's */
    char name[COMPOSE_PART_ROOM];
};

struct tailing {
    struct driver_call base;
    struct compose_op op;
    struct list_node follower; /* in compose.followers, while it is followed */
    struct compose_look *look;
    struct driver_logs_user u;
    void *ctx;
    struct driver_logs_order order; /* without texts */
    char id[WORKLOAD_ID_MAX + 1];
    char *part;
    struct source **sources; /* owned */
    size_t n;
    size_t width;      /* of the longest name */
    bool begun, still; /* the first look is over; it showed nothing that runs */
    bool named, paused, over, telling;
    struct fault end;
    bool due, again_due, has_again; /* the timers are on; the second one is there */
    int64_t last_ns;                /* of what was told */
    uint64_t idle_ms;               /* since when nothing runs; 0: something does */
    struct buf line;
    struct loop_timer timer; /* tells what waits */
    struct loop_timer again; /* looks which containers there are now */
};

/* compose_logs.c */
extern const struct driver_logs_user compose_source_user; /* its context is a source */
void compose_tailing_end(struct tailing *t, const struct fault *f);

/* compose_follow.c */
int compose_follow_begin(struct tailing *t, struct slice id, struct err *e);
/* A stream has ended: what is there now? */
void compose_follow_soon(struct tailing *t);
/* All of them have ended. */
void compose_follow_idle(struct tailing *t);
void compose_follow_again(void *ctx); /* the timer's */
void compose_source_free(struct source *s);

#endif
