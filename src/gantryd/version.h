/* version.h: what gantryd is built from and runs with. */
#ifndef GANTRY_GANTRYD_VERSION_H
#define GANTRY_GANTRYD_VERSION_H

#include <stdio.h>

/* "gantryd VERSION", then a line each: commit, compiler, build type, libraries as they are loaded
 * (those without a function for it: as they were compiled in). */
void version_print(FILE *out);

#endif
