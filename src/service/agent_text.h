/* agent_text.h: the words between control plane and agent, without sockets: request targets, and
 * what a failure is called (talos contract 1.8, worded as httpx 0.23 does).
 */
#ifndef GANTRY_SERVICE_AGENT_TEXT_H
#define GANTRY_SERVICE_AGENT_TEXT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json_in.h"
#include "net/client.h"

enum {
    AGENT_NAME_MAX = 255, /* bytes of a service's name: one path component */
    AGENT_TARGET_MAX = 8192,
};

/* Appends "/services[/{service}]{tail}[?query]"; service.p NULL leaves that part out. The service
 * is percent-encoded. ERR_NOT_FOUND (the target is there all the same, for the error's text): an
 * empty or overlong name, ".", "..", or one with a '/' (contract 7, no. 3). ERR_LIMIT,
 * ERR_NO_MEMORY. */
int agent_target(struct buf *out, struct slice service, const char *tail, struct slice query);
/* The same below another path than "/services". */
int agent_target_at(struct buf *out, const char *base, struct slice service, const char *tail,
                    struct slice query);

/* A call that got no whole answer: "[Errno 2] No such file or directory" and so on. The code stays.
 * Returns it. */
int agent_text_transport(struct err *out, const struct err *e, uint64_t limit_ms);

/* An answer of 300 or more: "Client error '404 Not Found' for url
 * 'http://agent/services/x/status'", the link, and on a line of its own the agent's "error" or
 * "detail". `location` may be empty. The code is that of the status: ERR_NOT_FOUND, ERR_INVALID,
 * ERR_INTERNAL... Returns it. */
int agent_text_status(struct err *out, int status, struct slice reason, struct slice target,
                      struct slice location, struct slice body);

/* Puts what the agent itself says into the place of the text that agent_text_status made: "error",
 * else "detail" if that is text, else its whole answer; of an empty one the text stays
 * (contract 1.8, column C). Returns the code, which stays. */
int agent_text_own(struct err *out, struct slice body);

/* Parses a 2xx answer; a new reference, or NULL with "Expecting value: line 1 column 1 (char 0)".
 */
json_t *agent_json(struct slice body, struct err *e);

#endif
