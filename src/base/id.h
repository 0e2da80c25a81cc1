/* id.h: identifiers: 26 characters of Crockford base 32, 48 bits of milliseconds and 80 random
 * bits, so they sort by time (ULID form). */
#ifndef GANTRY_ID_H
#define GANTRY_ID_H

#include "base/clock.h"

#define ID_SIZE 27 /* with NUL */

/* 0, or ERR_IO if there is no randomness. Two ids of one process never are equal. */
int id_make(char out[ID_SIZE], const struct clock *clock);

#endif
