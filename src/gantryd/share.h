/* share.h: where the files that belong to the program are. */
#ifndef GANTRYD_SHARE_H
#define GANTRYD_SHARE_H

#include "base/base.h"

#include <limits.h>

/* The folder of the documentation pages: `configured` if it is not NULL; else the first there is of
 * ../share/gantry/apidocs and ../../share/apidocs beside the running program (an installation under
 * any prefix, a build folder), the folder that was given when building. The answer is borrowed from
 * either argument. NULL: there is none. */
const char *share_docs(char room[PATH_MAX], const char *configured);

#endif
