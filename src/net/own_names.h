/* own_names.h: what this machine is called, for certificates that others check: its host names and
 * the addresses of its interfaces. */
#ifndef GANTRY_OWN_NAMES_H
#define GANTRY_OWN_NAMES_H

#include "base/base.h"
#include "base/err.h"

#define OWN_NAMES_MAX 200

struct own_names {
    char **items; /* owned: each once, in the order in which they were added */
    size_t count;
    size_t left_out; /* addresses beyond OWN_NAMES_MAX */
};

/* Adds one, if it is not there yet; empty ones are passed over. ERR_LIMIT, ERR_NO_MEMORY. */
int own_names_add(struct own_names *n, const char *name, struct err *e);
/* Adds localhost, the host's name, 127.0.0.1, ::1 and the addresses of all interfaces that are up,
 * but for those that hold on one link only (fe80::/10). Addresses beyond the limit are counted and
 * left out: a machine of many containers has hundreds. ERR_NO_MEMORY and codes of the system. */
int own_names_of_machine(struct own_names *n, struct err *e);
void own_names_done(struct own_names *n);

#endif
