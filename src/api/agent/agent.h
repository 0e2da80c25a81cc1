/* agent.h: the HTTP API of gantry-agent: the talos contract's section 3, and two event streams of
 * our own.
 *
 * Owns what it needs of s6/: control, followers, events. Everything runs on the loop.
 */
#ifndef GANTRY_API_AGENT_H
#define GANTRY_API_AGENT_H

#include "base/base.h"
#include "base/err.h"
#include "net/exchange.h"
#include "net/loop.h"

struct agent;
struct profile_layout;

struct agent_options {
    const char *scandir, *log_dir, *source_dir; /* copied */
    /* Where robot_type and launch_args/NAME are written (talos contract 3.5, C); NULL: "/run";
     * copied */
    const char *run_dir;
    const char *backup_dir; /* of run scripts; NULL: none are kept; copied */
    const char *rc_tool;    /* NULL: "s6-rc"; borrowed */
    /* Exactly the recorded answers, for clients that rely on them: 404 "Service 'x' not found" when
     * s6-rc is not installed (else 501 and why), and a restart of a stopped service that does
     * nothing (else it starts). */
    bool strict_talos;
    const struct profile_layout *profiles; /* NULL: calls about profiles get 501; copied */
};

#define AGENT_MAX_STREAMS 128 /* followers and listeners of events at one time */

int agent_new(struct agent **ret, struct loop *l, const struct agent_options *o, struct err *e);
/* A listener's handler; ctx is the agent. */
void agent_handle(void *ctx, struct exchange *x);
/* Ends the event streams properly and takes no new ones, so that the server can drain. */
void agent_drain(struct agent *a);
/* Once the server is drained: no exchange may be left. Asynchronous inside; the loop must run on.
 */
void agent_free(struct agent *a);

#endif
