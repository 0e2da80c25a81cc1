/* docker_engine.h: the engine itself, for drivers that build on it (driver/compose): questions and
 * orders by path, logs of and programs in any container. Whose a container is, the caller knows.
 *
 * Source of the rules: Docker Engine API 1.41.
 */
#ifndef GANTRY_DRIVER_DOCKER_ENGINE_H
#define GANTRY_DRIVER_DOCKER_ENGINE_H

#include "base/json_in.h"
#include "core/driver.h"
#include "driver/docker/docker.h"
#include "net/http.h"

/* One call to the engine; waits for the engine's version, if it is not known yet. */
struct docker_query;
/* e->code 0: root is the answer, NULL if none was asked for; borrowed. Codes as docker_plain_status
 * and docker_plain_transport: ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID, ERR_UNREACHABLE (also an
 * engine that does not answer a question in time), ERR_TIMEOUT (of an order), ERR_RUNTIME... */
typedef void (*docker_query_fn)(void *ctx, const struct err *e, json_t *root);
/* `path` without the version, copied. HTTP_METHOD_GET: a question, answered with JSON; else an
 * order without a body, whose answer is not read. *ret is valid until fn, which comes once, from
 * the loop. ERR_NO_MEMORY, ERR_LIMIT (path), ERR_UNREACHABLE, ERR_CANCELLED (is being closed). */
int docker_query(struct docker *d, enum http_method method, const char *path, uint64_t limit_ms,
                 docker_query_fn fn, void *ctx, struct docker_query **ret, struct err *e);
void docker_query_cancel(struct docker_query *q); /* fn does not come; NULL is fine */

/* As logs and exec of struct driver_ops, of the container with that name, whoever's it is. `o->id`
 * is the name. The client must have its driver (docker_driver). */
int docker_engine_logs(struct docker *d, const struct driver_logs_order *o,
                       const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                       struct err *e);
int docker_engine_exec(struct docker *d, const struct driver_exec_order *o,
                       const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                       struct err *e);

/* What both kinds of calls above are; drivers that hand out their own begin with it. */
struct driver_call {
    void (*cancel)(struct driver_call *c);
    void (*pause)(struct driver_call *c, bool paused);
};
int docker_engine_write(struct driver_call *c, struct slice bytes, bool end); /* of an exec */
int docker_engine_resize(struct driver_call *c, uint16_t rows, uint16_t columns);

bool docker_engine_reachable(const struct docker *d);
const char *docker_engine_socket(const struct docker *d);
struct loop *docker_engine_loop(const struct docker *d);

#endif
