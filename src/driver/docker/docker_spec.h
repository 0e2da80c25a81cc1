/* docker_spec.h: a workload's document as the engine wants it: what can be checked without the
 * engine, and the body of POST /containers/create. Documents in, bytes out, no sockets.
 *
 * Source of the rules: compute-agent contract 5.1; Docker Engine API 1.41, ContainerCreate.
 */
#ifndef GANTRY_DRIVER_DOCKER_SPEC_H
#define GANTRY_DRIVER_DOCKER_SPEC_H

#include "base/buf.h"
#include "base/err.h"
#include "core/driver.h"

enum { DOCKER_IMAGE_MAX = 400 }; /* bytes of an image's name, tag and digest */

/* Our labels. The first three are the contract's; the others are missing on what the original agent
 * made. */
#define DOCKER_LABEL_MANAGED "persys.managed"
#define DOCKER_LABEL_ID "persys.workload_id"
#define DOCKER_LABEL_REVISION "persys.revision_id"
#define DOCKER_LABEL_NODE "persys.node_id"
/* Compose gives it to each container of its own, and no image brings it along. */
#define DOCKER_LABEL_COMPOSE "com.docker.compose.config-hash"
#define DOCKER_LABEL_PRINT "persys.spec_hash"

struct docker_roots {
    char **paths; /* NULL: any path is allowed */
    size_t n;
};
struct docker_log_choice {
    const char *driver, *max_size, *max_file; /* NULL: the engine's own choice */
};

/* ERR_INVALID with the bad value in quotes. */
int docker_spec_check(const struct workload_doc *doc, const struct docker_roots *roots,
                      struct err *e);
/* Appends the body to `out`, which is empty. It holds secrets: wipe it; it is never moved in memory
 * while it grows. ERR_NO_MEMORY, ERR_LIMIT. */
int docker_spec_body(struct buf *out, const struct driver_order *o,
                     const struct docker_log_choice *log);

/* An image's name taken apart: "registry:5000/a/b:1" -> "registry:5000/a/b", "1". Without a tag it
 * is "latest"; a digest is a tag for the engine's API. Parts of `image`, or static. */
void docker_image_split(struct slice image, struct slice *name, struct slice *tag);
/* The registry that an image comes from: "docker.io" if its name does not say. Part of `image`, or
 * static. */
struct slice docker_image_registry(struct slice image);
bool docker_image_valid(struct slice image);

#endif
