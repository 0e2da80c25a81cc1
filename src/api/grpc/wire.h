/* wire.h: the fields of a protobuf message, one by one. */
#ifndef GANTRY_API_GRPC_WIRE_H
#define GANTRY_API_GRPC_WIRE_H

#include "base/base.h"

/* Cuts one field off *in: its number, and its bytes if it has a length (else p NULL). False: not
 * the wire format. */
bool wire_field(struct slice *in, uint32_t *number, struct slice *bytes);

#endif
