/* logging.h: the log as the configuration wants it, and what it is told of faults. */
#ifndef GANTRY_GANTRYD_LOGGING_H
#define GANTRY_GANTRYD_LOGGING_H

#include "gantryd/settings.h"

/* Level, format and rooms. `before`: what held until now, or NULL; its rooms lose their levels. */
void logging_setup(const struct config *c, const struct config *before);
/* Writes the warnings ("config-not-served") and errors ("config-fault"). */
void logging_faults(const struct settings *s);

#endif
