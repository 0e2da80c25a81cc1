/* docker_skim.h: the engine's list of containers, reduced to what is wanted of it: bytes in, bytes
 * out.
 *
 * An entry has some 35 values, of which five are used; building a tree of them all costs more than
 * anything else that a list does. What is left out is only counted through (strings, brackets), not
 * checked.
 */
#ifndef GANTRY_DRIVER_DOCKER_SKIM_H
#define GANTRY_DRIVER_DOCKER_SKIM_H

#include "base/buf.h"

/* Appends to `out` the JSON array `list` with only the members Id, Names, ImageID, State and
 * Created of its objects. ERR_SYNTAX: not an array of objects (what `out` holds then is of no use;
 * parse the whole, which says what is wrong). ERR_LIMIT, ERR_NO_MEMORY. */
int docker_skim(struct buf *out, struct slice list);

#endif
