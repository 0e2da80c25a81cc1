/* patience.h: how long a test waits at the most for what must come: counted in turns of its own, so
 * that a busy machine, which leaves it no time for a while, does not use it up. */
#ifndef GANTRY_TEST_PATIENCE_H
#define GANTRY_TEST_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define PATIENCE_TURN_MS 20u /* counted for one turn at the most */

struct patience {
    uint64_t left_ms, at_ms;
};

static inline struct patience patience_of(uint64_t ms)
{
    return (struct patience){ms, clock_mono_ms(&clock_system)};
}

/* To be asked once in each turn. */
static inline bool patience_left(struct patience *p)
{
    uint64_t now = clock_mono_ms(&clock_system), took = now - p->at_ms;
    p->at_ms = now;
    if (took > PATIENCE_TURN_MS)
        took = PATIENCE_TURN_MS;
    p->left_ms -= took < p->left_ms ? took : p->left_ms;
    return p->left_ms > 0;
}

#endif
