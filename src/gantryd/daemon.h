/* daemon.h: the parts of gantryd, wired together: loop, agents, runtime, front end, listeners,
 * signals. */
#ifndef GANTRY_GANTRYD_DAEMON_H
#define GANTRY_GANTRYD_DAEMON_H

#include "base/err.h"
#include "gantryd/config.h"

struct daemon;

/* Makes everything and listens. `c` is borrowed until daemon_free. On failure nothing is left, and
 * *e says why. */
int daemon_new(struct daemon **ret, const struct config *c, struct err *e);
/* Serves until a signal asks for the end and everything is closed. */
void daemon_run(struct daemon *d);
void daemon_free(struct daemon *d);

#endif
