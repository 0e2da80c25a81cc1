/* run_tool.h: runs a program and waits for it, with a time limit. For threads, never for the loop.
 *
 * No shell: argv as it is. A clean environment (PATH of ours, LC_ALL=C, LANG=C, HOME=/), its input
 * is empty, its own process group, nothing of ours stays open in it. Output is bounded: what is too
 * much is read and dropped.
 */
#ifndef GANTRY_DRIVER_RUN_TOOL_H
#define GANTRY_DRIVER_RUN_TOOL_H

#include "base/buf.h"
#include "base/err.h"

#define RUN_TOOL_OUTPUT_MAX (64u * 1024u)

struct run_tool {
    const char *const *argv; /* ends with NULL; argv[0] is looked for in PATH */
    uint64_t limit_ms;       /* then its group is killed: ERR_TIMEOUT; 0: 30,000 */
    struct buf *out;         /* standard output is appended; NULL: dropped */
    const int *cancel;       /* atomic; other than 0: it is killed, ERR_CANCELLED; may be NULL */
    int *status;             /* exit status of one that ended by itself, 128+signal; may be NULL */
};

/* 0: it ended with status 0. ERR_NO_TOOL (not in PATH), ERR_TOOL with the end of what it said on
 * standard error, ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY, ERR_NO_FILES, ERR_IO. */
int run_tool(const struct run_tool *t, struct err *e);
/* True if a program of this name can be run from PATH (or is there, if it has a '/'). */
bool run_tool_exists(const char *name);

#endif
