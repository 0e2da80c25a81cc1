/* control.h: up, down and restart of services.
 *
 * By the control fifo of s6-supervise where that is enough; by s6-rc (talos contract 3.5: the entry
 * has a producer-for or consumer-for, or is a link with "s6-rc" in its target) as a child process.
 * Actions that touch the same service, or its log companion NAME-log, run one after the other in
 * the order of their arrival.
 */
#ifndef GANTRY_S6_CONTROL_H
#define GANTRY_S6_CONTROL_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"
#include "s6/place.h"

struct s6_control;

enum s6_action { S6_UP, S6_DOWN, S6_RESTART };

struct s6_control_options {
    struct s6_place place;     /* its texts are copied */
    const char *rc_tool;       /* "s6-rc"; borrowed for the life of the control */
    uint64_t limit_ms;         /* of one run of it; 0: 10,000 */
    uint64_t pause_ms;         /* of a restart by s6-rc, between down and up; 0: 1,000 */
    bool restart_only_running; /* a restart of a stopped service does nothing, as s6-svc -r */
    /* Hears of log companions that could not be moved along; may be NULL. */
    void (*companion_failed)(void *ctx, struct slice name, const struct err *e);
    void *ctx;
};

#define S6_MAX_ACTIONS 256 /* waiting and running */

int s6_control_new(struct s6_control **ret, struct loop *l, const struct s6_control_options *o,
                   struct err *e);
/* Actions that still run are told ERR_CANCELLED; children go on by themselves. Asynchronous inside.
 */
void s6_control_free(struct s6_control *c);

/* e->code: 0; ERR_NOT_FOUND (no such entry); ERR_STATE (not supervised); ERR_TOOL, ERR_TIMEOUT,
 * ERR_NO_TOOL (s6-rc); ERR_BUSY (the fifo is full)... May come before s6_control_run returns. */
typedef void (*s6_control_fn)(void *ctx, const struct err *e);

/* up: the log companion first, if it is down; down: it follows; restart: of a stopped service is a
 * start, of a running one ends it and it comes back. A companion's failure is no failure of the
 * action. ERR_BUSY, ERR_NO_MEMORY: done is not called. */
int s6_control_run(struct s6_control *c, struct slice name, enum s6_action action,
                   s6_control_fn done, void *ctx, struct err *e);

/* True if s6-rc moves this entry; never for what is touched without links: s6-rc is root's. */
bool s6_control_by_rc(const struct s6_place *p, struct slice name);

#endif
