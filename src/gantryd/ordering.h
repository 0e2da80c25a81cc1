/* ordering.h: the services that wait for workloads, as the configuration has them. */
#ifndef GANTRY_GANTRYD_ORDERING_H
#define GANTRY_GANTRYD_ORDERING_H

#include "gantryd/config.h"
#include "service/service_order.h"

/* Logs services of containers that the configuration does not have. */
void ordering_tell(const struct config *c);
/* *ret is NULL where the configuration has none. ERR_NO_MEMORY. */
int ordering_new(struct service_order **ret, const struct service_order_options *o,
                 const struct config *c, struct err *e);

#endif
