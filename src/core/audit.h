/* audit.h: one record for every change and every refusal. Made by the front ends, kept by
 * store/audit. */
#ifndef GANTRY_CORE_AUDIT_H
#define GANTRY_CORE_AUDIT_H

#include "base/base.h"
#include "base/err.h"
#include "core/rights.h"

/* Everything borrowed for the call. Texts may hold any bytes; the sink makes them safe. */
struct audit_record {
    int64_t time_ns;     /* wall time, since 1970 */
    const char *who;     /* identity's name */
    const char *peer;    /* "127.0.0.1:51234", "unix:pid=1,uid=0" */
    const char *request; /* request id */
    const char *method;  /* "PUT" */
    struct slice path;   /* of the request, as sent, without the query */
    const char *verb;    /* of the right that was needed; "" if no row was found */
    const char *kind;
    struct slice name;   /* on what: "robot/talker" */
    int status;          /* of the answer; 0: the client left before */
    const char *result;  /* "done", "refused" (401, 403, 421, 429), "failed" */
    struct slice detail; /* the error's text, or more about the change; may be empty */
};

struct audit_sink {
    void (*record)(void *ctx, const struct audit_record *r); /* never blocks, never fails loudly */
    void *ctx;
};

/* What the keeper of the records says of itself. */
struct audit_stats {
    bool on;                          /* records go to a file */
    bool writable;                    /* the last write went well, or there was none yet */
    uint64_t written, lost, failures; /* records; failures: of writing, each tried again */
    size_t queued;                    /* bytes that wait to be written */
};

#define AUDIT_SINCE_SIZE 24
#define AUDIT_READ_MAX 10000
struct audit_query {
    size_t n;         /* the newest n records that fit; at most AUDIT_READ_MAX */
    struct slice who; /* only of this identity; len 0: of all */
    /* Only those of this time and later: a beginning of "2026-11-21T03:52:00.123Z"; empty: all. */
    char since[AUDIT_SINCE_SIZE + 1];
};
/* e->code 0: `records` are JSON objects with commas between, oldest first, borrowed for the call.
 * `more`: older ones were left out. */
typedef void (*audit_read_fn)(void *ctx, const struct err *e, struct slice records, bool more);

struct audit_source {
    void (*stats)(void *ctx, struct audit_stats *ret);
    /* Reads the files off the loop; fn comes once, from the loop. `q` is copied. ERR_UNSUPPORTED
     * (nothing is kept), ERR_BUSY, ERR_NO_MEMORY: fn does not come. */
    int (*read)(void *ctx, const struct audit_query *q, audit_read_fn fn, void *fn_ctx,
                struct err *e);
    void *ctx;
};

#endif
