/* notify.h: tells the service manager how gantryd is doing: the datagrams of sd_notify(3), without
 * libsystemd. Nothing here waits: a datagram that cannot be sent at once is lost.
 */
#ifndef GANTRY_GANTRYD_NOTIFY_H
#define GANTRY_GANTRYD_NOTIFY_H

#include "base/err.h"
#include "net/loop.h"

struct notify;

/* Takes NOTIFY_SOCKET ("/path" or "@abstract"), WATCHDOG_USEC and WATCHDOG_PID out of the
 * environment, so that no child has them. Without a socket it is valid and says nothing. With a
 * watchdog it is fed from the loop twice in its time. ERR_INVALID (no such kind of socket name),
 * ERR_NO_MEMORY, what the system says; *ret is the caller's. */
int notify_new(struct notify **ret, struct loop *l, struct err *e);
/* Closes its timer: the loop must run on. NULL is fine. */
void notify_free(struct notify *n);

/* All take NULL. `status` is one line for people, cut at 200 bytes; NULL: none. */
void notify_ready(struct notify *n, const char *status);     /* serving, or reloaded */
void notify_reloading(struct notify *n, const char *status); /* notify_ready follows */
void notify_stopping(struct notify *n, const char *status);

#endif
