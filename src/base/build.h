/* build.h: what this program was built from and with. */
#ifndef GANTRY_BUILD_H
#define GANTRY_BUILD_H

extern const char build_commit[];   /* of git, "-dirty" if the tree had changes; or "unknown" */
extern const char build_compiler[]; /* "gcc 12.2.0" */
extern const char build_type[];     /* meson's buildtype */

#endif
