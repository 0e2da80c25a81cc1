/* daemon.h: the parts of gantryd, wired together: loop, agents, runtime, front end, listeners,
 * signals. */
#ifndef GANTRY_GANTRYD_DAEMON_H
#define GANTRY_GANTRYD_DAEMON_H

#include "base/err.h"
#include "gantryd/settings.h"

struct daemon;

/* Makes everything and listens. `s` is borrowed until daemon_free, and changed by reloads, which
 * read `from` anew. On failure nothing is left, and *e says why. */
int daemon_new(struct daemon **ret, struct settings *s, const struct settings_source *from,
               struct err *e);
/* Serves until a signal asks for the end and everything is closed. */
void daemon_run(struct daemon *d);
void daemon_free(struct daemon *d);

#endif
