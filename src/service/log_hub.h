/* log_hub.h: live logs. All viewers of one log share one upstream, which lives only as long as they
 * do.
 *
 * Upstream: the agent's `logs?follow=true` (pushed, resumable). An agent that does not know
 * `follow` (it answers plain JSON) is polled by cursor every 500 ms, once for all viewers. The last
 * 100 lines are kept, so that a second viewer starts at once. A lost agent is asked again after 2
 * s, from the last cursor.
 */
#ifndef GANTRY_SERVICE_LOG_HUB_H
#define GANTRY_SERVICE_LOG_HUB_H

#include "service/agent.h"

struct log_hub;
struct log_view;

enum log_event_kind {
    LOG_EVENT_TEXT,  /* text: raw log text; the first one of a view holds up to 100 last lines */
    LOG_EVENT_ERROR, /* text: "Failed to fetch initial logs: ..."; the view stays, and recovers by
                        itself */
    LOG_EVENT_GONE,  /* text: why; nothing comes any more. The view should be closed now */
};
struct log_event {
    enum log_event_kind kind;
    struct slice text;   /* valid UTF-8, borrowed for the call */
    struct slice cursor; /* resumable position after the text; empty if not known */
    /* Viewers of one event may share what they made of it: the first to need it stores it with its
     * destructor, the hub frees it after the last viewer was told. Starts as NULL; not shared for a
     * first text. */
    void **shared;
    void (**shared_free)(void *);
};

int log_hub_new(struct log_hub **ret, struct loop *l, struct err *e);
void log_hub_free(struct log_hub *h); /* all views must be closed */
/* Between two polls of an old agent (500 ms), and before a lost agent is asked again (2000 ms). For
 * tests. */
void log_hub_set_times(struct log_hub *h, uint64_t poll_ms, uint64_t retry_ms);
/* Starts viewing. fn is called from the loop, never inside; it may close its own or any other view.
 * `cursor`: resume after it, or empty: the last `tail` lines (at most 10,000; a shared history
 * holds 100). */
int log_hub_view(struct log_hub *h, struct agent *a, struct slice service, int64_t tail,
                 struct slice cursor, void (*fn)(void *ctx, const struct log_event *ev), void *ctx,
                 struct log_view **ret, struct err *e);
/* No callback comes after it. NULL is fine. An agent that goes before its views is told
 * of with log_hub_agent_gone. */
void log_view_close(struct log_view *v);

/* The agent is going: all views of its logs are told so with LOG_EVENT_GONE. Those that are not
 * closed then stay silent. */
void log_hub_agent_gone(struct log_hub *h, const struct agent *a, struct slice why);

size_t log_hub_upstreams(const struct log_hub *h); /* for tests and metrics */

#endif
