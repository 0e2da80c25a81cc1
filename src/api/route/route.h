/* route.h: a table of calls, and what happens to a request before and after its handler.
 *
 * Routing, percent-decoding, 405, slash redirects, validation and error shapes follow the talos
 * contract, 1.1 to 1.4, for the agent and for the control plane alike. One row is one call; a row
 * without a right does not compile (ROUTE takes it as a positional argument).
 */
#ifndef GANTRY_API_ROUTE_H
#define GANTRY_API_ROUTE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/schema.h"
#include "core/audit.h"
#include "core/identity.h"
#include "net/exchange.h"

#define API_MAX_PATH_PARAMS 3
#define API_MAX_QUERY_PARAMS 6

/* API_STR_MAP (body only): an object of texts; i is its number of members, and the handler reads
 * them from api_call.body. API_STRS (body only): a list of texts; the handler reads them there too.
 */
enum api_type { API_STR, API_INT, API_BOOL, API_ENUM, API_STR_MAP, API_STRS };

/* One query parameter or body member. */
struct api_param {
    const char *name;
    enum api_type type;
    bool required;
    bool nullable;            /* null and absent are the same: not set */
    int64_t def;              /* INT, BOOL */
    const char *const *names; /* ENUM, NULL-terminated; the value is an index */
    const char *doc;
    const char *example; /* a JSON value, for OpenAPI; NULL: the default, or the first name */
};

struct api_value {
    bool set;       /* given by the client (and not null) */
    int64_t i;      /* INT (saturated beyond 64 bits), BOOL, ENUM; the default if not set */
    struct slice s; /* STR; borrowed from the call */
};

struct api_call;
struct api_route {
    enum http_method method;
    const char *path;              /* "/services/{name}/logs" */
    enum right_verb verb;          /* right: what is done ... */
    const char *kind;              /* ... to what: "service", "docker-container", "api"; "self": the
                                    * caller himself, for everybody who is known */
    const struct api_param *query; /* n_query */
    size_t n_query;
    const struct api_param *body; /* members of a JSON object body; n_body; NULL: no body is read */
    size_t n_body;
    bool body_any_object; /* agent PUT run: any JSON object, given as call->body, members unchecked
                           */
    /* A body of any type and form, as call->raw; what is in it, for OpenAPI. */
    const struct schema *body_raw;
    const char *body_example; /* of it: a JSON value */
    /* Gives way to any row of this path above it that has not this mark, whatever that one's
     * method: so rows of a newer generation change nothing for clients of an older one. */
    bool yields;
    int variant;        /* for handlers that serve several rows */
    bool body_optional; /* no body, and null, are the same as {} */
    bool also_head;     /* HEAD allowed too; 405 then lists "GET, HEAD" */
    bool open;          /* needs no identity and no right (health probes) */
    /* The answer is a list below the names of the path ("robot" gives services "robot/..."):
     * whoever may read anything there may ask, and the handler shows what api_may_see allows. */
    bool list;
    /* OpenAPI. Statuses that follow from the row (400, 401, 403, 404, 413, 421, 422, 429, 503) are
     * not listed. */
    const char *tag, *summary, *operation_id;
    const char *description;   /* Markdown; NULL: the summary says it all */
    const char *answer_schema; /* name in components.schemas; NULL only with answer_type */
    const char *answer_type;   /* media type of an answer that is not JSON: "text/html" */
    const char *body_schema;   /* name that the members of `body` get there */
    const char *body_type;     /* media type of a body that is taken as it comes (api_call_body) */
    uint16_t success;          /* status when all went well; 0: 200 */
    bool events;               /* can also answer with server-sent events */
    bool conditional;          /* has an ETag and knows If-None-Match: 304 */
    uint16_t statuses[6];      /* further ones, 0 ends: {409, 412} */
    bool other_statuses;       /* hands on whatever error status another program answers */
    /* Called when everything is valid. Must answer, now or later (api_call_hold). */
    void (*handler)(struct api_call *c);
    /* Checked before validation of values (docker client present?); answers by itself and returns
     * false. May be NULL. */
    bool (*precondition)(struct api_call *c);
};
#define ROUTE(method_, path_, verb_, kind_, ...)                                                   \
    {                                                                                              \
        .method = HTTP_METHOD_##method_, .path = (path_), .verb = (verb_), .kind = (kind_),        \
        __VA_ARGS__                                                                                \
    }

struct api_cors {
    const char *const *allow_origins; /* exact origins, "*" alone for any; "loopback" for http(s) on
                                         any loopback host and port */
    size_t n;
};

/* Finds out who asks, for every request but those to open rows. */
struct api_guard {
    /* `token`: what the client showed as a bearer token, p NULL if it showed none; never to be
     * logged. *ret is a reference for the caller (identity_unref). 0; ERR_UNAUTHENTICATED: nobody
     * known; ERR_LIMIT: too many wrong tokens, *retry_after_s says how long to wait; ERR_NO_MEMORY.
     * Must not wait for anything. */
    int (*identify)(void *ctx, struct exchange *x, struct slice token, const struct identity **ret,
                    uint32_t *retry_after_s, struct err *e);
    void *ctx;
};

struct api; /* compiled table */
struct api_options {
    const struct api_route *routes;
    size_t n_routes;
    void *app;                   /* handed to handlers */
    const struct api_cors *cors; /* NULL: no CORS headers at all (the agent) */
    /* Host check; NULL: every host. Returns false for a request that must get 421. */
    bool (*host_allowed)(void *app, struct exchange *x);
    /* A request that matches a WebSocket path of the program is offered here first (after the Host
     * check); returns true if it took the exchange. May be NULL. */
    bool (*upgrade)(void *app, struct exchange *x, struct slice decoded_path);
    size_t max_body;
    const struct api_guard *guard; /* NULL: everybody may do everything (the agent) */
    /* Hears of every answer of a row whose verb is not RIGHT_READ and whose method is not GET, and
     * of every refusal (401, 403, 421, 429). NULL: nobody does. */
    const struct audit_sink *audit;
    const struct clock *clock; /* NULL: the system's */
    uint64_t slow_ns;          /* calls that take longer are logged; 0: none */
};
/* The table is checked here: ERR_INVALID for a row without right, doc or handler. `o` is copied,
 * tables are borrowed. */
int api_new(struct api **ret, const struct api_options *o, struct err *e);
void api_free(struct api *a);
/* Other values of the options of these names, borrowed in the same way. Cannot fail. */
void api_set_cors(struct api *a, const struct api_cors *cors);
void api_set_max_body(struct api *a, size_t max_body);
/* A listener's handler; ctx is the struct api. */
void api_handle(void *ctx, struct exchange *x);

/* One request on its way. Lives until it is answered, or its peer is gone. */
struct api_call {
    struct exchange *x;
    void *app;
    const struct api_route *route;
    struct slice path[API_MAX_PATH_PARAMS]; /* decoded, valid UTF-8 */
    struct api_value query[API_MAX_QUERY_PARAMS];
    struct api_value body_values[API_MAX_QUERY_PARAMS];
    json_t *body;               /* the parsed object, or NULL */
    struct slice raw;           /* of a row with body_raw; borrowed for the handler alone */
    const struct identity *who; /* never NULL; as long as the call */
    /* For the audit record; borrowed, must be valid when the call is answered. Without `object` the
     * record has the names of the path, without `detail` the text of the error. */
    struct slice object, detail;
};

/* Keeps the call beyond the handler. Answering later releases it. If the peer leaves first, `gone`
 * (may be NULL) is called and the call stays valid, with c->x NULL, until api_call_release; answers
 * on it do nothing but release. ERR_NO_MEMORY: a 503 has been sent and the call must not be used.
 * Returns the held call in *ret (may differ from c). */
int api_call_hold(struct api_call *c, void (*gone)(void *ctx, struct api_call *c), void *ctx,
                  struct api_call **ret);
void api_call_release(
    struct api_call *c); /* without answering: only after gone, or after taking over the exchange */

/* Takes the body of a held call as it comes, with no limit but the handler's own (count it, and
 * answer 413). `piece` borrows the bytes for the call; exchange_pause(c->x) holds them back. `end`
 * comes once when all of it is there; not if the peer leaves before, or is too slow: then `gone`.
 * Only for rows without `body`. Answering before the end is fine: the rest is dropped, and neither
 * is called any more. */
struct api_body {
    void (*piece)(void *ctx, struct api_call *c, const char *p, size_t n);
    void (*end)(void *ctx, struct api_call *c);
};
void api_call_body(struct api_call *c, const struct api_body *b, void *ctx);

/* "00-TRACE-SPAN-01" of the request's own span, for calls that are made on behalf of it; false: it
 * is not recorded. TRACE_TEXT_SIZE. */
bool api_call_traceparent(const struct api_call *c, char *out);

/* Answers. All release a held call. */
void api_reply_json(struct api_call *c, int status,
                    const struct buf *body); /* checks body->err: 503 when it failed */
/* The same with the entity tag of what it shows, quotes included; p NULL: none is known. */
void api_reply_json_etag(struct api_call *c, int status, const struct buf *body, struct slice etag);
void api_reply_error(struct api_call *c, int status, const char *fmt, ...)
    BASE_PRINTF(3, 4); /* {"error":...,"detail":null} */
/* The same with the text in pieces, for names that may hold any character, NUL too. */
void api_reply_error_parts(struct api_call *c, int status, const struct slice *parts, size_t n);
/* status of the error's row, its message */
void api_reply_err(struct api_call *c, const struct err *e);
void api_reply_text(struct api_call *c, int status, const char *content_type, struct slice body);
/* Any answer: with headers of the handler's own (at most API_MAX_HEADERS), CORS added. content_type
 * NULL: none. */
#define API_MAX_HEADERS 8
void api_reply(struct api_call *c, int status, const char *content_type,
               const struct http_header *headers, size_t n, struct slice body);
/* True if the request's If-None-Match names this tag (weak comparison, RFC 9110, 13.1.2): answer
 * 304. */
bool api_not_modified(const struct api_call *c, struct slice etag);
/* CORS headers that belong to this request, for answers that handlers stream themselves. Returns
 * their number (at most 4). */
size_t api_cors_headers(struct api_call *c, struct http_header out[4]);
/* For handlers that stream: takes the exchange out of a held or fresh call; the call ends here. */
struct exchange *api_call_take(struct api_call *c);

/* True if the request has no Origin, one of this very host, or one that the allow-list holds. A
 * table without CORS allows all. WebSockets are asked this before they are accepted. */
bool api_origin_allowed(const struct api *a, const struct exchange *x);

/* For WebSockets, before they are accepted: Origin, identity and the right to `verb` on `kind` and
 * the names joined with '/'. True: *who is a reference for the caller (identity_unref). False: it
 * has been answered. A browser shows its token as the subprotocol "gantry.bearer.TOKEN", next to
 * API_WS_PROTOCOL, which is then selected. */
#define API_WS_PROTOCOL "gantry.v1"
bool api_upgrade_allowed(struct api *a, struct exchange *x, enum right_verb verb, const char *kind,
                         const struct slice *names, size_t n, const struct identity **who);

/* For the handlers of lists: has the caller the right of the row, for `parent`/`name` (parent.p
 * NULL: `name`)? False also without memory. */
bool api_may_see(const struct api_call *c, struct slice parent, struct slice name);
/* True if api_may_see would say yes to everything. */
bool api_may_see_all(const struct api_call *c);

/* Matches one pattern ("/ws/{container}/logs", "/topics/{topic:path}", "/topics/{topic:path}/info")
 * against a decoded path; fills at most `max` parameters, borrowed from path. After a :path at most
 * one literal may follow. */
bool api_path_match(const char *pattern, struct slice path, struct slice *params, size_t max);

/* Changes slow_ns. */
void api_set_slow(struct api *a, uint64_t ns);
/* Counts a request for a WebSocket, which has no row: 101, or the refusal's status. */
void api_count_upgrade(struct api *a, int status);
/* Appends gantry_http_requests_total and gantry_http_request_duration_seconds. The time of a call
 * runs from where its values are checked and its handler called to where the answer is handed over;
 * of a stream, to its beginning. A label's set is bounded: the table's rows, the pseudo-routes
 * "none" and "websocket", and the statuses that HTTP knows. 499: the client left before. */
void api_write_metrics(const struct api *a, struct buf *out);

/* The rows of a table, for OpenAPI and the CLI's help. */
const struct api_route *api_routes(const struct api *a, size_t *n);

#endif
