/* control.h: this node as a client of a scheduler, persys.control.v1.AgentControl (compute-agent
 * contract, 1.2, 2.1, 10.1): it registers, sends heartbeats, and hears whether it is to be drained.
 *
 * plan.h says when, report.h what; this file has the connection. Each connection is made with the
 * TLS files as they are then, and gives way to a new one when they have changed. Nothing here asks
 * a runtime or writes a log: who uses it is told what happened.
 */
#ifndef GANTRY_API_CONTROL_CONTROL_H
#define GANTRY_API_CONTROL_CONTROL_H

#include "api/control/report.h"
#include "core/node_link.h"
#include "net/loop.h"

struct control;

#define CONTROL_CALL_MS 10000u

enum control_event {
    CONTROL_EV_REGISTERED,   /* taken by the scheduler, after it was not */
    CONTROL_EV_LOST,         /* not any more: `error` says why, `wait_ms` when it is tried again */
    CONTROL_EV_FAILED,       /* one more try in vain */
    CONTROL_EV_DRAINING,     /* `on` has changed */
    CONTROL_EV_ACKNOWLEDGED, /* `on` has changed: false, heartbeats are not taken */
    CONTROL_EV_LEFT_OUT,     /* `count` workloads had no room in a heartbeat; 0: all have again */
    CONTROL_EV_CLOCK,        /* `on`: leases are over when they come; the clocks differ */
};
struct control_news {
    enum control_event event;
    bool on;
    size_t count;
    uint64_t wait_ms;
    const struct err *error; /* NULL: none */
};

struct control_stats {
    uint64_t registrations, refusals, heartbeats, failures, unacknowledged, dials;
    struct histogram register_time, heartbeat_time; /* from the call to its end */
    struct histogram late; /* from when a heartbeat was due until it was sent */
    size_t bytes;          /* of the last heartbeat */
};

struct control_options {
    struct loop *loop;
    const char *address; /* of the scheduler: HOST:PORT */
    bool insecure;       /* plain, without TLS */
    /* The files for the next connection: certificate, key, authority; borrowed for the call. */
    void (*tls_files)(void *ctx, const char *files[3]);
    const char *endpoint; /* told to the scheduler; NULL: found out, from where gRPC listens: */
    const char *grpc_host;
    uint16_t grpc_port;
    struct control_node node; /* but for the endpoint */
    struct engine *engine;    /* NULL: there are no workloads */
    struct host host;
    bool refuse_when_draining;
    void (*news)(void *ctx, const struct control_news *n); /* from the loop */
    void *ctx;
};

/* Texts, labels and drivers are borrowed until control_free. Asks for the first time from the loop.
 * ERR_INVALID (the address), ERR_NO_MEMORY. */
int control_new(struct control **ret, const struct control_options *o, struct err *e);
/* For good: what is under way is cancelled, nothing more is sent, and the scheduler is told
 * nothing: the wire has no words for it. The engine is left alone from here on. */
void control_stop(struct control *c);
/* The loop must run on. NULL is fine. */
void control_free(struct control *c);

void control_view(const struct control *c, struct node_link_view *ret);
struct node_link control_link(struct control *c);
const struct control_stats *control_stats(const struct control *c);

#endif
