/* probe.h: looks whether a workload answers: a TCP connection, an HTTP request, or a program run
 * inside of it. Fills core/probe.h.
 *
 * TCP is fine when the connection stands. HTTP is fine with a status from 200 to 399, whatever the
 * body; a redirection is not followed. A command is fine when it ends with 0.
 */
#ifndef GANTRY_DRIVER_PROBE_H
#define GANTRY_DRIVER_PROBE_H

#include "core/probe.h"
#include "net/loop.h"

struct probe;

/* max_calls: under way at once, beyond that ERR_BUSY; 0: 256. ERR_NO_MEMORY. */
int probe_new(struct probe **ret, struct loop *l, size_t max_calls, struct err *e);
/* Asynchronous inside: the loop must run on. Calls under way must have ended or been cancelled.
 * NULL is fine. */
void probe_free(struct probe *p);
/* Fills *out; valid until probe_free. */
void probe_prober(struct probe *p, struct prober *out);

#endif
