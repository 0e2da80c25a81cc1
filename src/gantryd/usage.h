/* usage.h: asks each running workload's runtime now and then what it uses, a few at a time, and
 * tells the engine. */
#ifndef GANTRY_GANTRYD_USAGE_H
#define GANTRY_GANTRYD_USAGE_H

#include "core/engine.h"
#include "net/loop.h"

struct usage;

/* interval_ms 0: never. The engine is borrowed. ERR_NO_MEMORY. */
int usage_new(struct usage **ret, struct loop *l, struct engine *g, uint64_t interval_ms,
              struct err *e);
void usage_set_interval(struct usage *u, uint64_t interval_ms);
/* Before the engine is freed: asks nothing more, and forgets what is asked. The loop must run on;
 * NULL is fine. */
void usage_free(struct usage *u);

#endif
