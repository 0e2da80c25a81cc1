/* reflection.h: grpc.reflection.v1 and v1alpha (grpc/grpc, doc/server-reflection.md): tools such as
 * grpcurl ask the server what its services look like. */
#ifndef GANTRY_API_GRPC_REFLECTION_H
#define GANTRY_API_GRPC_REFLECTION_H

#include "api/grpc/descriptors.h"
#include "api/grpc/grpc.h"

struct grpc_reflection;

/* `set`: a serialised FileDescriptorSet with all imports, borrowed for good; what it says is asked
 * by whoever has the right "read api". ERR_SYNTAX, ERR_LIMIT, ERR_NO_MEMORY. */
int grpc_reflection_new(struct grpc_reflection **ret, struct slice set, struct err *e);
void grpc_reflection_free(struct grpc_reflection *r); /* no call may be open */
/* For grpc_api_options; lives as long as r. */
const struct rpc_table *grpc_reflection_table(const struct grpc_reflection *r);
/* Whose services are listed: set it once the API is made from its tables. */
void grpc_reflection_set_api(struct grpc_reflection *r, const struct grpc_api *a);

/* The descriptions of this program's own interfaces (proto/). */
struct slice grpc_reflection_own_set(void);

#endif
