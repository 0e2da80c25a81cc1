/* docker_lines.h: JSON values with line ends between them, as the engine streams events and news of
 * a pull: bytes in, values out.
 */
#ifndef GANTRY_DRIVER_DOCKER_LINES_H
#define GANTRY_DRIVER_DOCKER_LINES_H

#include "base/buf.h"
#include "base/json_in.h"

struct docker_lines {
    struct buf text; /* of a line that is not complete */
    bool skip;       /* the line is longer than the limit: the rest of it is dropped */
    uint64_t lost;   /* lines that were too long, no JSON, or for which there was no memory */
};

void docker_lines_init(struct docker_lines *l, size_t max_line);
void docker_lines_done(struct docker_lines *l);
/* Hands over each value, borrowed. Empty lines are passed over. */
void docker_lines_feed(struct docker_lines *l, const char *p, size_t n,
                       void (*fn)(void *ctx, const json_t *value), void *ctx);

#endif
