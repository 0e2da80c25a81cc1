/* grpc_front.h: gRPC as gantryd serves it: the compute agent's service, health and reflection, on
 * the listeners of HTTP and on a port of its own.
 *
 * The port has a server of its own, because its limits are others: clients of the compute agent
 * keep connections open for hours, or open one for every call (contract 1.5, 2.1).
 */
#ifndef GANTRY_GANTRYD_GRPC_FRONT_H
#define GANTRY_GANTRYD_GRPC_FRONT_H

#include "api/rest/rest.h"
#include "gantryd/config.h"
#include "gantryd/guard.h"
#include "gantryd/keeper.h"
#include "gantryd/state.h"

struct grpc_front;

/* Everything borrowed until grpc_front_free. */
struct grpc_front_options {
    struct loop *loop;
    const struct config *config;
    struct keeper *keeper;
    const struct state *state;
    struct guard *guard; /* is told who may come in by the port */
    const struct audit_sink *audit;
    struct rest *rest; /* takes what is not gRPC, on the listeners of HTTP */
};

/* ERR_NO_MEMORY. */
int grpc_front_new(struct grpc_front **ret, const struct grpc_front_options *o, struct err *e);
/* A handler for the listeners of HTTP; ctx is the struct grpc_front. */
void grpc_front_handle(void *ctx, struct exchange *x);
/* Opens the port, if it is wanted. ERR_INVALID: files that are missing or cannot be read, or nobody
 * could show who he is; ERR_TLS, ERR_EXISTS, what the system says. The text says what to do. */
int grpc_front_listen(struct grpc_front *f, struct err *e);
/* Nothing serves any more, says health; what is under way has limit_ms. done(ctx) comes once, maybe
 * at once. */
void grpc_front_drain(struct grpc_front *f, uint64_t limit_ms, void (*done)(void *ctx), void *ctx);
/* Cuts everything at once. The done of an earlier grpc_front_drain comes too. */
void grpc_front_stop(struct grpc_front *f, void (*done)(void *ctx), void *ctx);
/* After done, and after the listeners of HTTP are gone too. NULL is fine. */
void grpc_front_free(struct grpc_front *f);

void grpc_front_write_metrics(const struct grpc_front *f, struct buf *out);

#endif
