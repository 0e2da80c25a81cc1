/* metrics.h: what gantryd tells Prometheus of workloads, beside what the front end tells: under the
 * names of the compute agent (contract 10.2), and its own. And a port for metrics alone, plain
 * HTTP, where nobody is asked who he is: GET /metrics, GET /health.
 */
#ifndef GANTRY_GANTRYD_METRICS_H
#define GANTRY_GANTRYD_METRICS_H

#include "gantryd/certs.h"
#include "gantryd/config.h"
#include "gantryd/control_front.h"
#include "gantryd/grpc_front.h"
#include "gantryd/keeper.h"
#include "gantryd/state.h"
#include "gantryd/traces.h"

struct metrics;

/* Everything is borrowed until metrics_free. ERR_NO_MEMORY. */
int metrics_new(struct metrics **ret, struct loop *l, const struct config_metrics *c,
                struct keeper *k, const struct state *s, struct err *e);
/* Before anybody can ask. */
/* Others take the place of those before. */
void metrics_set_traces(struct metrics *m, const struct traces *traces);
void metrics_set_fronts(struct metrics *m, const struct rest *r, const struct grpc_front *f,
                        const struct certs *certs, const struct traces *traces,
                        const struct control_front *c);
/* Appends the program's metrics; ctx is the struct metrics. */
void metrics_write(void *ctx, struct buf *out);
/* Opens the port, if there is to be one. ERR_EXISTS, what the system says. */
int metrics_listen(struct metrics *m, struct err *e);
/* Closes everything; done(ctx) comes, maybe at once. May be called again. */
void metrics_stop(struct metrics *m, void (*done)(void *ctx), void *ctx);
/* After done. NULL is fine. */
void metrics_free(struct metrics *m);

/* metrics_agent.c: the names of the compute agent. */
struct metrics_agent {
    const struct engine *engine; /* NULL: zeros */
    const struct tasks *tasks;
    const struct host *host;
};
void metrics_write_agent(const struct metrics_agent *m, struct buf *out);

/* metrics_usage.c: what workloads use. NULL: none. */
void metrics_write_usage(struct engine *g, struct buf *out);

#endif
