/* span.h: what takes part in a trace: a request, a commit, an act of a driver. Whoever does such a
 * thing tells of it when it is over; what becomes of that is the program's business
 * (span_sink_set).
 *
 * Without a sink nothing is done, and every call is one comparison away from its end. All of it
 * belongs to the loop's thread. Ids and flags are those of W3C Trace Context; kinds and status
 * those of OpenTelemetry's protocol.
 */
#ifndef GANTRY_SPAN_H
#define GANTRY_SPAN_H

#include "base/base.h"
#include "base/clock.h"

enum { SPAN_TRACE_BYTES = 16, SPAN_ID_BYTES = 8 };
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3 };

/* A span that is recorded, as its children know it. `on` false: it is not recorded, and its
 * children are not. Plain value. */
struct span_ref {
    bool on;
    uint8_t trace[SPAN_TRACE_BYTES], id[SPAN_ID_BYTES];
};
/* A span that has begun. */
struct span {
    struct span_ref self;
    uint8_t parent[SPAN_ID_BYTES]; /* all 0: none */
    bool remote;                   /* the parent is another program's */
    int64_t start_ns;              /* wall time */
};

struct span_attr {
    const char *name;
    struct slice text; /* p NULL: a number */
    int64_t number;
};
#define SPAN_TEXT(n, t) ((struct span_attr){(n), (t), 0})
#define SPAN_INT(n, v) ((struct span_attr){(n), {NULL, 0}, (int64_t)(v)})
#define SPAN_MAX_ATTRS 8

/* One that is over; everything borrowed for the call. */
struct span_done {
    const struct span *span;
    enum span_kind kind;
    struct slice name;
    int64_t end_ns;
    bool failed;
    struct slice message; /* why */
    struct slice state;   /* tracestate of the caller */
    const struct span_attr *attrs;
    size_t n_attrs;
};

struct span_sink {
    void (*emit)(void *ctx, const struct span_done *d);
    void *ctx;
    const struct clock *clock;
    unsigned percent; /* of the requests whose caller does not say whether to record */
};
/* NULL: none from now on. Borrowed until then. */
void span_sink_set(const struct span_sink *s);
extern const struct span_sink *span_sink;
static inline bool span_wanted(void)
{
    return __builtin_expect(span_sink != NULL, 0);
}

/* A request has come in. The caller's traceparent, if it is well-formed, says whose it is and
 * whether to record it; p NULL: there is none. */
void span_begin_request(struct span *s, struct slice traceparent);
/* A part of `parent`; not recorded if that is not. */
void span_begin(struct span *s, const struct span_ref *parent);
/* It is over: d says how; its span and end_ns are filled in. Nothing for one that is not recorded,
 * or was told already. */
void span_end(struct span *s, struct span_done *d);

/* On whose behalf the loop is at work just now. Set around the call of a handler or a driver. */
extern struct span_ref span_current;

#endif
