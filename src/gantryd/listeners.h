/* listeners.h: what gantryd listens on, and the TLS files of each. */
#ifndef GANTRY_GANTRYD_LISTENERS_H
#define GANTRY_GANTRYD_LISTENERS_H

#include "base/err.h"
#include "gantryd/config.h"
#include "gantryd/guard.h"
#include "net/server.h"

#define LISTENERS_MAX 64

struct listeners {
    struct tls_context *tls[LISTENERS_MAX];
    size_t n_tls;
    char default_unix[256];
};

/* Opens all of the configuration, or the default ones: 127.0.0.1:8081 and a Unix socket (a warning
 * if that cannot be made). Each asks who it is as the guard says. ERR_INVALID when nobody could show
 * it (guard_listener), ERR_EXISTS when somebody listens there already, and what the system
 * says. */
int listeners_open(struct listeners *l, struct loop *loop, struct server *s,
                   const struct config *c, const struct guard *g,
                   void (*handler)(void *ctx, struct exchange *x), void *ctx, struct err *e);
/* Reads all TLS files again, and logs how that went. */
void listeners_reload(struct listeners *l);
void listeners_done(struct listeners *l);

#endif
