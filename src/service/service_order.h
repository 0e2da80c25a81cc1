/* service_order.h: services that wait for workloads: what a container's service needs is there
 * before it is started.
 *
 * A service with a rule that is down, and that its supervisor does not want up, is held: nobody
 * starts it here without force, until its needs are met; then it is started through its agent, as
 * an operator would do it. Only starts are put in order: a service that is up stays up, whatever
 * becomes of the workloads, and nothing is ever stopped. So a service that its supervisor starts
 * with the container is not held up: give it a file "down" in its service directory.
 *
 * Once it has been up, one that goes down by somebody's order or for good stays down, until
 * somebody starts it or its container has begun anew; so does one that is found so at the start,
 * if a signal or a failure was its end.
 *
 * Events of kind "service", name "container/service": "waiting" (message: what for), "released" (it
 * is started), "failed" (it could not be).
 */
#ifndef GANTRY_SERVICE_SERVICE_ORDER_H
#define GANTRY_SERVICE_SERVICE_ORDER_H

#include "core/engine.h"
#include "service/agent.h"
#include "service/service_watch.h"

struct service_need {
    const char *id; /* of a workload */
    enum doc_condition condition;
};
struct service_rule { /* copied, with its texts */
    const char *container, *service;
    const struct service_need *needs;
    size_t n_needs;
    bool run; /* it should run; else it is held, but only others start it */
};

struct service_order;
struct service_order_options { /* all borrowed until service_order_free */
    struct loop *loop;
    struct agent_set *agents;
    struct service_watch *watch;
    struct engine *engine; /* NULL: there are no workloads, and no need is ever met */
    struct event_hub *hub;
    uint64_t held_ms, settled_ms; /* between two looks; 0: 500 and 2000. For tests */
    uint64_t start_ms;            /* an order is carried out within; 0: 10,000 */
};
/* ERR_NO_MEMORY. */
int service_order_new(struct service_order **ret, const struct service_order_options *o,
                      const struct service_rule *rules, size_t n, struct err *e);
/* `o` takes the place of `old`, before the loop has run: of the rules that both have it goes on
 * with what is known, so that what somebody has stopped stays down. Both may be NULL. */
void service_order_take(struct service_order *o, struct service_order *old);
/* Starts nothing more. */
void service_order_stop(struct service_order *o);
/* Asynchronous inside: the loop must run on. NULL is fine. */
void service_order_free(struct service_order *o);

/* How a service with a rule is. */
struct service_held {
    bool held;           /* it is down, and something that it needs is not there */
    bool run;            /* it is started when that is so */
    char waits_for[400]; /* held: what for, the first of them: "\"db\" to be healthy" */
    struct slice needs[DOC_DEPENDS_MAX]; /* held: ids of those that are not as they should be */
    size_t n_needs;
    const char *failure; /* of the last try to start it; "" */
};
/* False: there is no rule for it. NULL for `o` is fine. Borrowed until the loop runs on. */
bool service_order_get(struct service_order *o, struct slice container, struct slice service,
                       struct service_held *ret);
/* Somebody gave an order to a service: one that is to be down is not started. NULL is fine. */
void service_order_told(struct service_order *o, struct slice container, struct slice service,
                        bool up);

#endif
