/* plan.h: when the scheduler is asked what: registration, heartbeats, lease and back-off, as a
 * state machine without a socket and without a clock of its own (compute-agent
 * contract, 2.1, 10.1).
 *
 * Its user asks control_plan_due when control_plan_next says, does what that answers, and tells how
 * it ended. Whatever a scheduler answers, two calls in vain never follow each other without a wait
 * that doubles; a lease, an interval and a clock that make no sense are put right here.
 */
#ifndef GANTRY_API_CONTROL_PLAN_H
#define GANTRY_API_CONTROL_PLAN_H

#include "base/clock.h"
#include "base/sm.h"

#define CONTROL_BACKOFF_MS 1000u
#define CONTROL_BACKOFF_MAX_MS 30000u
#define CONTROL_INTERVAL_MS 10000u /* when the scheduler names none */
#define CONTROL_INTERVAL_MIN_MS 1000u
#define CONTROL_INTERVAL_MAX_MS 600000u

enum control_state {
    CONTROL_WAITING,
    CONTROL_REGISTERING,
    CONTROL_REGISTERED,
    CONTROL_BEATING,
    CONTROL_STOPPED
};
enum control_act {
    CONTROL_NOTHING,
    CONTROL_DIAL,     /* over a new connection: register */
    CONTROL_REGISTER, /* over the one that there is */
    CONTROL_BEAT
};

struct control_plan {
    struct sm sm;
    const struct clock *clock; /* chance and wall time; borrowed */
    uint64_t due_ms;
    uint64_t interval_ms;
    int64_t lease_ns; /* wall time; 0: none is known */
    unsigned failures;
    bool keep;         /* the connection, at the next registration */
    bool renew;        /* register instead of the next heartbeat */
    bool proven;       /* since the last registration a heartbeat was taken */
    bool clocks_apart; /* a lease was over when it came */
};

void control_plan_init(struct control_plan *p, const struct clock *clock, uint64_t now_ms);
enum control_state control_plan_state(const struct control_plan *p);
/* Monotonic ms when control_plan_due has something to say; UINT64_MAX: not before what is under way
 * has ended. */
uint64_t control_plan_next(const struct control_plan *p);
enum control_act control_plan_due(struct control_plan *p, uint64_t now_ms);

/* What came of it. Leases are wall time, 0: none was named. */
void control_plan_accepted(struct control_plan *p, uint64_t now_ms, int64_t interval_s,
                           int64_t lease_ns);
void control_plan_beaten(struct control_plan *p, uint64_t now_ms, int64_t lease_ns);
/* Refused, failed, or no connection: waits, and begins with a new connection. */
void control_plan_failed(struct control_plan *p, uint64_t now_ms);
/* What was registered is not so any more: instead of the next heartbeat the node is registered. */
void control_plan_renew(struct control_plan *p);
/* The scheduler does not know this node (any more): it is registered over the same connection, at
 * once if heartbeats were taken before, else as after a failure. */
void control_plan_forgotten(struct control_plan *p, uint64_t now_ms);
/* The connection ended while nothing was asked. */
void control_plan_lost(struct control_plan *p, uint64_t now_ms);
void control_plan_stop(struct control_plan *p);

#endif
