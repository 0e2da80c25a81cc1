/* agent.h: the agents in the containers, as the control plane sees them: one per configured
 * container. Contract: talos.md 1.8 (calls, time limits, what failures are called).
 */
#ifndef GANTRY_SERVICE_AGENT_H
#define GANTRY_SERVICE_AGENT_H

#include "base/base.h"
#include "base/err.h"
#include "base/json_in.h"
#include "base/metric.h"
#include "net/client.h"

struct agent_set; /* all containers */
struct agent;     /* one container */

struct agent_label {
    const char *id, *label;
};
/* How calls end, and how an agent is known. */
enum agent_outcome {
    AGENT_OK,          /* a 2xx */
    AGENT_ERROR,       /* the agent answered, but with another status */
    AGENT_UNREACHABLE, /* no socket, refused, or gone before it answered */
    AGENT_TIMEOUT,
    AGENT_FAILED, /* anything else: a broken answer, too many calls, out of memory, stopping */
    AGENT_OUTCOMES,
};
extern const char *const agent_outcome_names[AGENT_OUTCOMES];
struct agent_stats {
    uint64_t outcomes[AGENT_OUTCOMES];
    struct histogram time; /* from the call to its answer; calls that were not sent are left out */
    bool asked;            /* a call has ended, and the last one so: */
    enum agent_outcome last;
};
struct agent_options {
    const char *name; /* container */
    const char *socket_path;
    const struct agent_label *labels; /* in the order of the file; copied */
    size_t n_labels;
    const char
        *package_xml; /* in the container: where the version of its software is; NULL: not told */
};
struct agent_set_options {
    uint64_t answer_ms;  /* one answer; default 5000. Control actions get control_ms */
    uint64_t control_ms; /* default 30,000: a slow start must not be reported as failed (contract 7,
                            no. 11) */
    size_t max_answer;   /* bytes; default 8 MiB */
};

int agent_set_new(struct agent_set **ret, struct loop *l, const struct agent_set_options *o,
                  struct err *e);
/* Asynchronous inside; calls under way end with ERR_CANCELLED. */
void agent_set_free(struct agent_set *s);
int agent_set_add(struct agent_set *s, const struct agent_options *o,
                  struct err *e); /* ERR_EXISTS */

/* Another list of containers in place of the present one, in two steps: first everything that can
 * fail, then the change. An agent whose name and socket stay is kept, with its connections and the
 * calls under way, and takes the new labels. */
struct agent_change;
/* `o` is copied. ERR_EXISTS (a name twice), ERR_NO_MEMORY. */
int agent_set_prepare(struct agent_set *s, const struct agent_options *o, size_t n,
                      struct agent_change **ret, struct err *e);
/* Cannot fail. gone(ctx, a, moved) is called for each agent that is no more, before it is freed, so
 * that its views can be closed; `moved`: its container is there with another socket. Calls under
 * way to it end with ERR_CANCELLED, from the loop. The change is used up. */
void agent_set_commit(struct agent_set *s, struct agent_change *c,
                      void (*gone)(void *ctx, struct agent *a, bool moved), void *ctx);
void agent_change_drop(struct agent_change *c); /* prepared and not wanted; NULL is fine */

size_t agent_set_count(const struct agent_set *s);
struct agent *agent_set_at(const struct agent_set *s, size_t i);            /* order of the file */
struct agent *agent_set_find(const struct agent_set *s, struct slice name); /* NULL */

const char *agent_name(const struct agent *a);
const char *agent_socket(const struct agent *a);
const char *agent_package_xml(const struct agent *a); /* NULL: not told */
/* Label of a service. The contract is odd here and kept: the list takes the last entry of an id,
 * the status the first. Without an entry: the id itself. */
struct slice agent_label_last(const struct agent *a, struct slice id);
struct slice agent_label_first(const struct agent *a, struct slice id);

/* One call. `target` parts are percent-encoded here: "{base}/{service}{tail}". */
struct agent_request {
    enum http_method method;
    const char *base;     /* NULL: "/services" */
    struct slice service; /* p NULL: target is base + tail */
    const char *tail;     /* "/status", "/logs", "" */
    struct slice query;   /* already encoded, without '?'; may be empty */
    struct slice body;    /* JSON; p NULL: none */
    bool control;         /* an action: waits control_ms */
    uint64_t more_ms;     /* and so much longer, because the agent was asked to wait itself */
    /* Headers that say on whose behalf; may be empty. Borrowed for the call. */
    struct slice request_id, traceparent, tracestate;
    bool own_words; /* e->msg of an answer of 300 or more is what the agent itself says */
    struct slice if_match, if_none_match; /* conditions, as headers; p NULL: none */
};
/* Called once from the loop. e->code 0: `answer` is the parsed JSON of a 2xx (borrowed).
 * Otherwise e->msg is the text after "Failed to communicate with agent: ", as 1.8 words it where it
 * can be had
 * ("[Errno 2] No such file or directory", "Client error '404 Not Found' for url '...'", with the
 * agent's own error text appended), and http_status is the agent's status or 0. */
typedef void (*agent_fn)(void *ctx, const struct err *e, int http_status, json_t *answer);
int agent_call(struct agent *a, const struct agent_request *r, agent_fn fn, void *ctx,
               struct err *e);

/* The same for hot answers: `answer` is the text of a 2xx, not parsed and not checked (borrowed);
 * agent_json of agent_text.h parses it as agent_call does. */
typedef void (*agent_text_fn)(void *ctx, const struct err *e, int http_status, struct slice answer);
int agent_call_text(struct agent *a, const struct agent_request *r, agent_text_fn fn, void *ctx,
                    struct err *e);

const struct agent_stats *agent_stats(const struct agent *a);
/* Connections to the agent: of calls (follows false) or of live logs. Zero if there never were any.
 */
struct client_stats agent_connections(const struct agent *a, bool follows);

/* The same for callers that look at more of an answer. Here e->code is 0 or that of the status as
 * well, but the text of any whole answer is handed over, also with an error. All borrowed. */
struct agent_reply {
    int status;        /* 0: there was no whole answer */
    struct slice etag; /* as sent; p NULL: none */
    struct slice text;
};
typedef void (*agent_reply_fn)(void *ctx, const struct err *e, const struct agent_reply *r);
int agent_call_reply(struct agent *a, const struct agent_request *r, agent_reply_fn fn, void *ctx,
                     struct err *e);

struct client_pool *agent_pool(struct agent *a); /* for log_hub.c */

#endif
