/* node_link.h: what this node knows of the scheduler that it reports to. api/control fills it,
 * front ends tell it.
 */
#ifndef GANTRY_CORE_NODE_LINK_H
#define GANTRY_CORE_NODE_LINK_H

#include "base/base.h"
#include "base/err.h"

enum node_link_state {
    NODE_LINK_OFF,         /* no scheduler is to be asked */
    NODE_LINK_WAITING,     /* until the next try */
    NODE_LINK_REGISTERING, /* the scheduler is asked to take this node */
    NODE_LINK_REGISTERED,
    NODE_LINK_STOPPED /* gantryd is stopping */
};

/* Texts are borrowed until the loop runs on. Times are wall time, 0: never, or not known. */
struct node_link_view {
    enum node_link_state state;
    const char *address;  /* of the scheduler, "10.0.0.1:8085" */
    const char *endpoint; /* under which it was told to find this node; "": not yet */
    bool insecure;        /* plain, without TLS */
    int64_t since_ns;     /* registered, or not any more, since then */
    int64_t heartbeat_ns; /* the last one that was answered */
    int64_t lease_ns;     /* ends then */
    int64_t next_ns;      /* the next try or heartbeat */
    uint64_t interval_ms; /* between heartbeats; 0: not told yet */
    bool draining;        /* as the scheduler said last */
    int64_t draining_ns;  /* since then; 0: it is not */
    bool refusing;        /* and so new workloads are refused */
    bool acknowledged;    /* the last heartbeat */
    unsigned failures;    /* tries in vain in a row */
    size_t left_out;      /* workloads that the last heartbeat had no room for */
    const char *error;    /* why the last try failed; "": it did not */
};

struct node_link {
    void (*view)(void *self, struct node_link_view *ret);
    void *self;
};

/* "off", "waiting", "registering", "registered", "stopped". */
const char *node_link_state_name(enum node_link_state s);

#endif
