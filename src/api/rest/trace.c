#include "api/rest/rest_priv.h"
#include "base/log.h"

#define TRACESTATE_MAX 512 /* what a vendor must at least pass on (Trace Context, 3.3.1.5) */

void rest_trace(struct api_call *c, struct agent_request *rq, struct rest_trace *t)
{
    struct trace trace;
    uint64_t parent = 0;
    rq->request_id = slice_of(exchange_id(c->x));
    if (span_wanted() && api_call_traceparent(c, t->traceparent)) { /* we are the parent */
        rq->traceparent = slice_of(t->traceparent);
        struct slice own = exchange_header(c->x, "tracestate");
        if (own.len > 0 && own.len <= TRACESTATE_MAX)
            rq->tracestate = own;
        return;
    }
    struct slice given = exchange_header(c->x, "traceparent");
    if (given.p == NULL || !trace_parse(given, &trace))
        return;
    const struct clock *clock = loop_clock(exchange_loop(c->x));
    if (clock->random(clock->ctx, &parent, sizeof(parent)) != 0)
        return; /* a parent that is not unique would be worse than none */
    trace_format(t->traceparent, &trace, parent);
    rq->traceparent = slice_of(t->traceparent);
    struct slice state = exchange_header(c->x, "tracestate");
    if (state.len > 0 && state.len <= TRACESTATE_MAX)
        rq->tracestate = state;
    LOG(DEBUG, "api", "trace-passed-on", "asking an agent for a traced request",
        LF_STR("request", exchange_id(c->x)), LF_STR("trace", trace.trace_id),
        LF_SLICE("container", c->path[0]));
}
