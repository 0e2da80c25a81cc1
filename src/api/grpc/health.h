/* health.h: grpc.health.v1.Health: whether the server and its services serve (grpc/grpc,
 * doc/health-checking.md). Needs no identity. */
#ifndef GANTRY_API_GRPC_HEALTH_H
#define GANTRY_API_GRPC_HEALTH_H

#include "api/grpc/grpc.h"

#define GRPC_HEALTH_SERVICES 16
#define GRPC_HEALTH_WATCHERS 1024 /* more get RESOURCE_EXHAUSTED */

struct grpc_health;

/* Knows "" (the whole server), serving. ERR_NO_MEMORY. */
int grpc_health_new(struct grpc_health **ret);
void grpc_health_free(struct grpc_health *h); /* no call may be open */
/* For grpc_api_options; lives as long as h. */
const struct rpc_table *grpc_health_table(const struct grpc_health *h);
/* Sets a service's state, and tells those who watch it. `service` is borrowed for good. ERR_LIMIT:
 * more than GRPC_HEALTH_SERVICES. */
int grpc_health_set(struct grpc_health *h, const char *service, bool serving);
/* The server stops: nothing serves any more, whatever is set later; those who watch are told so,
 * and their streams end with UNAVAILABLE, so that draining does not wait for them. */
void grpc_health_shutdown(struct grpc_health *h);

#endif
