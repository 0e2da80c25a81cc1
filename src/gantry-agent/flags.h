/* flags.h: what gantry-agent is told on its command line. */
#ifndef GANTRY_AGENT_FLAGS_H
#define GANTRY_AGENT_FLAGS_H

#include "base/base.h"
#include "base/log.h"

enum { EXIT_FINE = 0, EXIT_CANNOT_START = 1, EXIT_USAGE = 2 };

struct flags {
    const char *socket, *scandir, *log_dir, *source_dir, *run_dir; /* borrowed from argv */
    const char *backup_dir;                      /* the same; NULL: none are kept */
    const char *profile_layout, *profile_config; /* the same; NULL: not given */
    mode_t mode;
    gid_t group; /* (gid_t)-1: not given */
    enum log_level level;
    enum log_format format;
};

/* Fills *f. Returns -1 to go on, or the exit status: help and version were printed, or what is
 * wrong. */
int flags_parse(struct flags *f, int argc, char **argv);

/* The id of a group: decimal, or a name in the file (the form of /etc/group), which is read here
 * because a static program has no name service. False if there is none. */
bool group_find(const char *file, const char *name, gid_t *ret);

#endif
