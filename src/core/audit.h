/* audit.h: one record for every change and every refusal. Made by the front ends, kept by store/audit. */
#ifndef GANTRY_CORE_AUDIT_H
#define GANTRY_CORE_AUDIT_H

#include "base/base.h"
#include "core/rights.h"

/* Everything borrowed for the call. Texts may hold any bytes; the sink makes them safe. */
struct audit_record {
    int64_t time_ns;      /* wall time, since 1970 */
    const char *who;      /* identity's name */
    const char *peer;     /* "127.0.0.1:51234", "unix:pid=1,uid=0" */
    const char *request;  /* request id */
    const char *method;   /* "PUT" */
    struct slice path;    /* of the request, as sent, without the query */
    const char *verb;     /* of the right that was needed; "" if no row was found */
    const char *kind;
    struct slice name;    /* on what: "robot/talker" */
    int status;           /* of the answer; 0: the client left before */
    const char *result;   /* "done", "refused" (401, 403, 421, 429), "failed" */
    struct slice detail;  /* the error's text, or more about the change; may be empty */
};

struct audit_sink {
    void (*record)(void *ctx, const struct audit_record *r); /* never blocks, never fails loudly */
    void *ctx;
};

#endif
