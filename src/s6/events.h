/* events.h: tells of every change of every service in a scan directory.
 *
 * Works only while somebody listens: then supervise/ of each service is watched (s6-supervise
 * renames a new status file into it), and the scan directory; what cannot be watched is looked at
 * once a second.
 */
#ifndef GANTRY_S6_EVENTS_H
#define GANTRY_S6_EVENTS_H

#include "base/base.h"
#include "base/err.h"
#include "base/list.h"
#include "net/loop.h"
#include "s6/status.h"
#include "s6/watch.h"

struct s6_events;

/* Embedded by the user. */
struct s6_listener {
    struct list_node link;
    /* A new state; NULL: the service is gone, or is not supervised any more. May remove listeners.
     */
    void (*changed)(void *ctx, struct slice name, const struct s6_status *status);
    void *ctx;
};

/* The place's texts are copied. */
int s6_events_new(struct s6_events **ret, struct loop *l, struct s6_watcher *w,
                  const struct s6_place *place, struct err *e);
/* No listener may be left. Asynchronous inside. */
void s6_events_free(struct s6_events *v);

/* Adds a listener; it is told of every service's present state before this returns (do not remove
 * it meanwhile), then of each change. ERR_NO_MEMORY or a failure to list: not added. */
int s6_events_add(struct s6_events *v, struct s6_listener *l, struct err *e);
/* Safe if it was never added, when zero-initialised and list_init was called on its link. */
void s6_events_remove(struct s6_events *v, struct s6_listener *l);
/* Looks at everything at once; for whoever knows that something was changed. */
void s6_events_poll(struct s6_events *v);

#endif
