/* docker_paths.h: where the folders that a workload mounts really are: the engine follows symbolic
 * links, so a link inside an allowed folder must not lead out of it. Looked at on a thread of the
 * pool, as a disk may take its time.
 */
#ifndef GANTRY_DRIVER_DOCKER_PATHS_H
#define GANTRY_DRIVER_DOCKER_PATHS_H

#include "core/driver.h"
#include "driver/docker/docker_spec.h"
#include "net/loop.h"

struct docker_paths;
/* e->code 0: all of them are in one of the roots, or are not there (the engine says so then).
 * ERR_INVALID with the path and where it leads to, or why that cannot be seen: root in a container
 * could otherwise put a link where gantryd's user may not look. */
typedef void (*docker_paths_fn)(void *ctx, const struct err *e);
/* Copies what it needs. *ret is valid until fn. ERR_NO_MEMORY. */
int docker_paths_start(struct loop *l, const struct schema_list *mounts,
                       const struct docker_roots *roots, docker_paths_fn fn, void *ctx,
                       struct docker_paths **ret);
void docker_paths_cancel(struct docker_paths *p); /* fn does not come; NULL is fine */

/* True if `path` is `root` or in it; both absolute and without "..". */
bool docker_path_within(const char *path, const char *root);

#endif
