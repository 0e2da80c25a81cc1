/* docker_events.h: the engine's events of some kind, for as long as somebody wants them: the stream
 * (GET /events) is begun anew whenever the engine is there and it is not. Whether the engine is
 * there is told too; all of it from a timer or the stream, so that the user may call anything.
 */
#ifndef GANTRY_DRIVER_DOCKER_EVENTS_H
#define GANTRY_DRIVER_DOCKER_EVENTS_H

#include "driver/docker/docker_lines.h"
#include "driver/docker/docker_priv.h"

struct docker_events_user {
    void (*event)(void *ctx, const json_t *value);
    /* Something may have happened that nobody told: what is remembered is out of date. */
    void (*aged)(void *ctx);
    /* The engine is there, or not any more; after `up` a full look is due. */
    void (*reachable)(void *ctx, bool up);
};

/* Embedded in what listens; zeroed before docker_events_init. */
struct docker_events {
    struct docker *d;      /* a reference, until closed */
    struct list_node link; /* of docker.listeners */
    const char *filters;   /* JSON */
    const struct docker_events_user *user;
    void *ctx;
    struct loop_timer timer; /* tells the user; asks for events again */
    bool on, closed, told, told_up;
    bool look_due; /* events may have been missed: the user must look at everything */
    bool up;       /* the stream has begun: every event reaches us */
    struct client_call *call;
    struct docker_lines lines;
    uint64_t retry_at_ms;
};

/* `filters` is a literal; `user` borrowed for good. Off at first. */
int docker_events_init(struct docker_events *ev, struct docker *d, const char *filters,
                       const struct docker_events_user *user, void *ctx);
void docker_events_switch(struct docker_events *ev, bool on);
/* Nothing is told any more. done(ctx) comes from the loop and calls docker_events_done; only then
 * may the memory go. */
void docker_events_close(struct docker_events *ev, void (*done)(void *ctx));
void docker_events_done(struct docker_events *ev); /* gives the reference back */
void docker_events_link(struct docker_events *ev); /* the engine has come or gone */

#endif
