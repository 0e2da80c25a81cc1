/* audit_place.h: where the audit file is. */
#ifndef GANTRY_GANTRYD_AUDIT_PLACE_H
#define GANTRY_GANTRYD_AUDIT_PLACE_H

#include "base/err.h"
#include "gantryd/config.h"
#include "store/audit.h"

/* Opens the configured file, or the default one: audit.log in the service manager's LOGS_DIRECTORY;
 * else, and then its folder is made, /var/log/gantry/audit.log for root, for others
 * gantry/audit.log in XDG_STATE_HOME (~/.local/state). A default one that cannot be had
 * is a warning, and records go to the log only; a configured one is an error. */
int audit_open(struct audit **ret, struct loop *l, const struct config_audit *c, struct err *e);

#endif
