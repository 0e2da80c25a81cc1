/* route_priv.h: what the files of this folder share. */
#ifndef GANTRY_API_ROUTE_PRIV_H
#define GANTRY_API_ROUTE_PRIV_H

#include "api/route/access.h"
#include "api/route/route.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/span.h"
#include "base/str.h"

#define API_MAX_SEGMENTS 10
#define API_MAX_BUCKETS 24
#define API_MAX_BODY_DEFAULT (1024u * 1024u)

enum seg_kind { SEG_LITERAL, SEG_PARAM, SEG_REST };
struct seg {
    const char *p; /* literal text, borrowed from the row's path */
    size_t len;
    enum seg_kind kind;
};

struct compiled_route {
    const struct api_route *row;
    size_t n_segs;
    struct seg segs[API_MAX_SEGMENTS];
};

/* The rows whose first segment is this literal (or a parameter), in the order of the table. */
struct bucket {
    const char *first;
    size_t len;
    size_t from, n; /* in api->order */
};

/* Statuses that are counted one by one; everything else is "other". */
#define API_STATUSES 32
struct route_stats {
    uint64_t statuses[API_STATUSES];
    struct histogram time;
};
#define STATS_NO_ROUTE 0
#define STATS_WEBSOCKET 1
#define STATS_PSEUDO 2 /* how many come after the table's rows */

#define API_MAGIC 0x41504954u
struct api {
    uint32_t magic;
    struct api_options o;
    struct api_cors cors;
    bool cors_any; /* "*" is in the list */
    struct compiled_route *routes;
    uint16_t *order;
    struct bucket buckets[API_MAX_BUCKETS]; /* the last one: rows that begin with a parameter */
    size_t n_buckets;
    struct access_refusals refusals;
    struct route_stats *stats; /* one a row, then STATS_PSEUDO more */
};

/* A decoded path cut at its slashes. count is API_MAX_SEGMENTS + 1 when there are more. */
struct path_segs {
    struct slice path;
    struct slice at[API_MAX_SEGMENTS + 1];
    size_t count;
};

struct route_match {
    const struct compiled_route *full;        /* path and method */
    const struct compiled_route *partial;     /* the first with this path, but another method */
    struct slice params[API_MAX_PATH_PARAMS]; /* of full */
};

int route_compile(struct api *a, struct err *e);
void path_split(struct path_segs *s, struct slice path);
void route_find(const struct api *a, enum http_method method, const struct path_segs *s,
                struct route_match *m);
/* True if any row has this path, whatever its method. */
bool route_any(const struct api *a, struct slice path);

/* The headers that matter here, found in one pass. */
struct request_info {
    struct slice origin, upgrade, content_type, ac_method, ac_headers, authorization, fetch_site;
    bool cookie, two_authorizations;
};
void request_info_read(struct request_info *i, const struct http_request *r);

enum body_kind { BODY_NONE, BODY_JSON, BODY_TEXT };

/* A call with what the front ends do not see. On the stack until it is held or waits for its body.
 */
#define CALL_MAGIC 0x43414c4cu
struct call {
    struct api_call c; /* first: the public part is the call */
    uint32_t magic;
    struct api *api;
    struct request_info info;
    struct buf path_buf, query_buf; /* decoded text, only if something was encoded */
    struct buf text_buf;            /* body values that were no strings but count as text */
    char *strings;                  /* copies of all values of a held call */
    enum body_kind body_kind;
    struct slice body_text; /* while validating */
    bool heap, held, answered, released, closed, running, audited, upgrade;
    enum right_verb verb; /* of the right that is needed; RIGHT_NONE: no row was found */
    const char *kind;
    struct slice object_path; /* the request's, for the audit record of a held change */
    char peer[64], id[EXCHANGE_ID_MAX + 1]; /* the same */
    uint64_t began_ns;                      /* monotonic; 0: its handler was never called */
    bool counted;
    struct span span; /* from the handler's call to the answer */
    void (*gone)(void *ctx, struct api_call *c);
    void *gone_ctx;
    const struct api_body *body_user; /* of a body that the handler takes as it comes */
    void *body_ctx;
};
static inline struct call *call_of(struct api_call *c)
{
    struct call *k = CONTAINER_OF(c, struct call, c);
    CHECK_MAGIC(k, CALL_MAGIC);
    return k;
}
void call_done(struct call *k); /* frees what it owns, and itself if it is on the heap */

/* stats.c. The call is over for the statistics: its answer is handed over, or nobody is left to
 * take one (status 499). `stream`: the answer has only begun. Called with c.x still there, or with
 * 499. Counts once. */
void call_count(struct call *k, int status, bool stream);
int api_stats_init(struct api *a);

/* validate.c. All values of query and body; faults (entries of a 422) are appended to `faults` as
 * members of an array without brackets. 0 with *n_faults, or ERR_NO_MEMORY. */
int call_validate(struct call *k, struct buf *faults, size_t *n_faults);
/* Lenient integer: sign, blanks around, single underscores, ".0"; saturates. */
bool parse_int_lenient(struct slice s, int64_t *ret);
bool parse_bool_lenient(struct slice s, int64_t *ret);

/* cors.c */
size_t cors_headers(const struct call *k, struct http_header out[4]);
bool cors_is_preflight(const struct call *k);
void cors_preflight(struct call *k);
bool cors_origin_allowed(const struct api *a, struct slice origin);
bool cors_same_origin(const struct http_request *r, struct slice origin);

/* guard.c. False: it has been refused, and answered. */
bool guard_identify(struct call *k);
bool guard_right(struct call *k);
bool guard_origin(struct call *k);
void guard_init(struct call *k, struct api *a, struct exchange *x);
/* Tells the audit sink, once; status 0: the client left before. */
void call_audit(struct call *k, int status);
/* True if this call is told whatever its answer is. */
static inline bool call_is_change(const struct call *k)
{
    /* Reading what only an administrator may read changes nothing. */
    return k->verb != RIGHT_NONE && k->verb != RIGHT_READ &&
           (k->c.route == NULL || k->c.route->method != HTTP_METHOD_GET);
}

/* reply.c. The framework's own shape: {"detail":"..."}. */
void reply_detail(struct call *k, int status, const char *detail);
void reply_send(struct call *k, const struct http_response *r, struct slice body);

#endif
