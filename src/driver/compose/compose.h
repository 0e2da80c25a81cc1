/* compose.h: Compose projects as workloads: files and the Compose tool for what changes something
 * (up, stop, down), the engine's API and events for how it is.
 *
 * A project is ours if its folder is ROOT/ID, or its containers say that it was; what other folders
 * have made under the same project name is never touched.
 *
 * Source of the rules: compute-agent contract 5.2 with its [R].
 */
#ifndef GANTRY_DRIVER_COMPOSE_H
#define GANTRY_DRIVER_COMPOSE_H

#include "core/driver.h"
#include "driver/docker/docker.h"

struct compose;

/* Every 0 or NULL takes the default. Texts are copied. */
struct compose_options {
    const char *root;   /* "/var/lib/persys/compose"; absolute */
    const char *binary; /* words with blanks between; NULL or "": "docker compose", else
                           "docker-compose", whichever answers */
    /* Folders of the machine that services may mount, for a file that asks for others is refused;
     * NULL: any. */
    const char *const *bind_roots;
    size_t n_bind_roots;
    bool privileged;  /* services may have rights of the machine's root */
    uint64_t up_ms;   /* one `up`, with all that it fetches. 600,000 */
    uint64_t stop_ms; /* one `stop` or `down`, besides the services' own time. 300,000 */
    uint64_t look_ms; /* a question to the engine. 10,000 */
};

/* Makes the driver and fills *out. `d` must have its driver (docker_driver), is borrowed, and is
 * freed after compose_free. Looks for the tool at once, without waiting.
 * ERR_NO_MEMORY, ERR_INVALID (root, binary). */
int compose_new(struct compose **ret, struct docker *d, const struct compose_options *o,
                struct driver *out, struct err *e);
/* Asynchronous inside; what is under way ends with ERR_CANCELLED, from within the call. Tools go on
 * by themselves. NULL is fine. */
void compose_free(struct compose *c);

#endif
