/* docker_tar.h: a tar archive with one file: bytes out, no I/O.
 *
 * Format: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"): a header block of 512
 * bytes, the content padded to whole blocks, two blocks of zeroes.
 */
#ifndef GANTRY_DRIVER_DOCKER_TAR_H
#define GANTRY_DRIVER_DOCKER_TAR_H

#include "base/buf.h"

enum { DOCKER_TAR_BLOCK = 512, DOCKER_TAR_NAME_MAX = 100 };

/* Appends an archive with the regular file `name`, owner 0:0, time 0. ERR_INVALID: a name that is
 * empty, "." or "..", longer than DOCKER_TAR_NAME_MAX or has a '/', or a mode beyond 07777.
 * ERR_LIMIT, ERR_NO_MEMORY. */
int docker_tar_file(struct buf *out, const char *name, unsigned mode, struct slice content);

#endif
