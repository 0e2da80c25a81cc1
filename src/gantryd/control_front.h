/* control_front.h: the scheduler that gantryd reports to, if there is to be one: api/control with
 * the configuration, the log, events and metrics.
 */
#ifndef GANTRY_GANTRYD_CONTROL_FRONT_H
#define GANTRY_GANTRYD_CONTROL_FRONT_H

#include "core/node_link.h"
#include "gantryd/config.h"
#include "gantryd/keeper.h"

struct control_front;

/* Asks the scheduler for the first time when the loop runs. The keeper and `c` are borrowed until
 * control_front_free. ERR_NO_MEMORY, ERR_INVALID. */
int control_front_new(struct control_front **ret, struct loop *l, const struct config *c,
                      struct keeper *k, struct err *e);
/* Valid until control_front_free; without a scheduler it says "off". */
struct node_link control_front_link(struct control_front *f);
/* Nothing is asked and nothing of the engine is used any more. */
void control_front_stop(struct control_front *f);
/* Before the keeper is freed; the loop must run on. NULL is fine. */
void control_front_free(struct control_front *f);

void control_front_write_metrics(const struct control_front *f, struct buf *out);

#endif
