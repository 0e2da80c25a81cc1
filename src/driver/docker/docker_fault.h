/* docker_fault.h: why the engine failed, as a reason that clients know: from the HTTP status, the
 * step that was tried, and the fixed parts of the engine's own texts. No sockets.
 *
 * Source of the rules: compute-agent contract 4.2, its [R], and 12.16.
 */
#ifndef GANTRY_DRIVER_DOCKER_FAULT_H
#define GANTRY_DRIVER_DOCKER_FAULT_H

#include "core/fault.h"

enum docker_step {
    DOCKER_LOOK,
    DOCKER_CREATE,
    DOCKER_START,
    DOCKER_STOP,
    DOCKER_REMOVE,
    DOCKER_EXEC
};

/* e: of a plain call (docker_plain_transport, docker_plain_status), code not 0. Fills *f, returns
 * its code. */
int docker_fault(struct fault *f, enum docker_step step, const struct err *e);
/* The same for a pull of `image`; `text` is what the engine's stream or answer said, `code` an HTTP
 * status or 0. `known`: a name and password were sent along. */
int docker_fault_pull(struct fault *f, struct slice image, int code, struct slice text, bool known);

#endif
