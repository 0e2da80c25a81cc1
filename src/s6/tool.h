/* tool.h: runs a program with arguments, without a shell, within a time limit.
 *
 * The child gets PATH as its whole environment, a session of its own, no input, and a pipe for what
 * it writes, of which the beginning is kept for the error text. When the limit has passed its whole
 * process group is killed.
 */
#ifndef GANTRY_S6_TOOL_H
#define GANTRY_S6_TOOL_H

#include "base/base.h"
#include "base/err.h"
#include "net/loop.h"

struct s6_tool;

/* e->code: 0 (exit status 0), ERR_TOOL (how it ended, and what it wrote), ERR_TIMEOUT, ERR_NO_TOOL
 * (not installed; only from s6_tool_run). */
typedef void (*s6_tool_fn)(void *ctx, const struct err *e);

/* argv ends with NULL; nothing is kept of it but a copy of its text. done comes once, from the
 * loop. On failure it is not called: ERR_NO_TOOL, ERR_NO_FILES, ERR_NO_MEMORY, ERR_IO. */
int s6_tool_run(struct s6_tool **ret, struct loop *l, const char *const *argv, uint64_t limit_ms,
                s6_tool_fn done, void *ctx, struct err *e);
/* done will not be called. The child goes on by itself: half a change of services is worse than a
 * whole one that nobody waits for. */
void s6_tool_abandon(struct s6_tool *t);

#endif
