/* service_watch.h: how the services in the configured containers are, and an event (core/events.h)
 * for each change: kind "service", name "container/service".
 *
 * gantry-agent is followed: GET /services/events, of which nothing but a comment every 15 s comes
 * while nothing changes. An agent that does not know it (Talos's own) is asked for the status of
 * all its services every 5 s, but only while somebody reads events. A lost agent is asked again
 * after half a second, then with doubled waits up to 15 s; its services are "stale" meanwhile.
 *
 * Events: type "state" (to "up" or "down"; reason "exitcode 1", "signal SIGKILL", "restart" when
 * another process took a dead one's place unseen), "appeared" and "removed".
 */
#ifndef GANTRY_SERVICE_SERVICE_WATCH_H
#define GANTRY_SERVICE_SERVICE_WATCH_H

#include "core/events.h"
#include "service/agent.h"

struct service_watch;

/* Everything borrowed until service_watch_free. ERR_NO_MEMORY. */
int service_watch_new(struct service_watch **ret, struct loop *l, struct event_hub *hub,
                      struct err *e);
/* Before the agents are freed. Asynchronous inside: the loop must run on. NULL is fine. */
void service_watch_free(struct service_watch *w);
/* Between two questions to an old agent (5000 ms), and the first wait for a lost one (500 ms). For
 * tests. */
void service_watch_set_times(struct service_watch *w, uint64_t poll_ms, uint64_t retry_ms);
/* Begins with all agents that are not watched yet. ERR_NO_MEMORY: not with all of them. */
int service_watch_sync(struct service_watch *w, struct agent_set *agents, struct err *e);
/* An agent is going: its services are told of as removed. */
void service_watch_agent_gone(struct service_watch *w, const struct agent *a);
/* Somebody begins to read events: old agents are asked at once. */
void service_watch_wake(struct service_watch *w);

/* Borrowed for the call. */
struct service_seen {
    uint64_t index;    /* grows; a service that comes back has a new one */
    struct slice name; /* "robot/talker" */
    bool up, stale;
    int64_t since_ns; /* wall time of the last change; 0: not told */
    int64_t lost_ns;  /* wall time when it last became stale; 0: never */
    const char *raw;  /* as s6-svstat tells it */
};
/* Services with an index above `after`, in that order; fn's result other than 0 ends it. */
int service_watch_each(const struct service_watch *w, uint64_t after,
                       int (*fn)(void *ctx, const struct service_seen *s), void *ctx);
/* One of them; false: nothing is known of it. Borrowed until the loop runs on. */
bool service_watch_get(const struct service_watch *w, const struct agent *a, struct slice service,
                       struct service_seen *ret);
/* Old agents are asked also while nobody reads events. */
void service_watch_keep(struct service_watch *w);
size_t service_watch_count(const struct service_watch *w);

#endif
