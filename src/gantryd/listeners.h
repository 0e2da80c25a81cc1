/* listeners.h: what gantryd listens on, and how that changes while it runs. */
#ifndef GANTRY_GANTRYD_LISTENERS_H
#define GANTRY_GANTRYD_LISTENERS_H

#include "base/err.h"
#include "gantryd/config.h"
#include "gantryd/guard.h"
#include "net/server.h"

#define LISTENERS_MAX 64

struct listening; /* one of them */
struct listeners {
    struct loop *loop;
    struct server *server;
    const struct guard *guard;
    void (*handler)(void *ctx, struct exchange *x);
    void *ctx;
    struct listening *items[LISTENERS_MAX]; /* owned */
    size_t n;
};

/* What a new configuration makes of the listeners. Everything that can fail has been done: new ones
 * are open already, TLS files are read. */
struct listeners_change {
    struct listening *items[LISTENERS_MAX];
    bool fresh[LISTENERS_MAX];                           /* opened for this */
    struct tls_context *tls[LISTENERS_MAX];              /* of those that stay; NULL: plain */
    unsigned marks[LISTENERS_MAX];                       /* what each asks of clients */
    const struct config_listener *wanted[LISTENERS_MAX]; /* borrowed; NULL: a default one */
    size_t n;
};

/* Before the first change; everything borrowed until listeners_done. */
void listeners_init(struct listeners *l, struct loop *loop, struct server *s, const struct guard *g,
                    void (*handler)(void *ctx, struct exchange *x), void *ctx);

/* Opens what the configuration names beyond what is open, or the default ones: 127.0.0.1:8081 and a
 * Unix socket (a warning if that cannot be made). A listener is known by its address. All TLS files
 * are read anew. Each asks who it is as the guard says. ERR_EXISTS when somebody listens there
 * already, ERR_TLS, ERR_CONFLICT (an address twice), ERR_INVALID (guard_listener), and what the
 * system says; then nothing has changed. `c` is borrowed until the change is used up. */
int listeners_prepare(struct listeners *l, const struct config *c, struct listeners_change **ret,
                      struct err *e);
/* Cannot fail: listeners that stay take their TLS context, mode and group, those not named any more
 * end; answers under way on them have limit_ms. */
void listeners_commit(struct listeners *l, struct listeners_change *c, uint64_t limit_ms);
void listeners_drop(struct listeners *l, struct listeners_change *c); /* NULL is fine */

/* After the server was freed. */
void listeners_done(struct listeners *l);

#endif
