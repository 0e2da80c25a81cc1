#include "driver/docker/docker_engine.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_work.h"
#include <stdio.h>
#include <string.h>

struct docker_query {
    struct docker_op op;
    struct docker_call *call;
    docker_query_fn fn;
    void *ctx;
    enum http_method method;
    uint64_t limit_ms;
    char path[];
};

static void query_free(struct docker_query *q)
{
    docker_call_cancel(q->call);
    list_remove(&q->op.link);
    docker_unref(q->op.d);
    mem_free(q);
}

static void query_end(struct docker_query *q, const struct err *e, json_t *root)
{
    q->fn(q->ctx, e, root);
    query_free(q);
}

static void query_fail(struct docker_op *op, const struct err *e)
{
    struct err out;
    docker_work_words(&out, op->d, e);
    query_end(CONTAINER_OF(op, struct docker_query, op), &out, NULL);
}

static void answered(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct docker_query *q = ctx;
    struct err out = *e;
    q->call = NULL;
    if (out.code == ERR_TIMEOUT && q->method == HTTP_METHOD_GET) {
        out.code = ERR_UNREACHABLE; /* as good as away, until it answers again */
        docker_link_lost(q->op.d);
    }
    query_end(q, &out, root);
}

static int query_begin(struct docker_op *op, struct err *e)
{
    struct docker_query *q = CONTAINER_OF(op, struct docker_query, op);
    bool get = q->method == HTTP_METHOD_GET;
    struct docker_ask ask = {.method = q->method,
                             .action = !get,
                             .json = get,
                             .plain = true,
                             .limit_ms = q->limit_ms,
                             .path = q->path};
    return docker_call_send(op->d, &ask, answered, q, &q->call, e);
}

int docker_query(struct docker *d, enum http_method method, const char *path, uint64_t limit_ms,
                 docker_query_fn fn, void *ctx, struct docker_query **ret, struct err *e)
{
    size_t n = strlen(path) + 1;
    if (n > DOCKER_PATH_SIZE)
        return err_set(e, ERR_LIMIT, "the path of a question to the engine is too long");
    struct docker_query *q = mem_zalloc(sizeof(*q) + n);
    if (q == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    q->op = (struct docker_op){.d = docker_ref(d), .begin = query_begin, .fail = query_fail};
    list_init(&q->op.link);
    q->fn = fn;
    q->ctx = ctx;
    q->method = method;
    q->limit_ms = limit_ms;
    memcpy(q->path, path, n);
    int rc = docker_op_start(&q->op, e);
    if (rc != 0)
        query_free(q);
    else
        *ret = q;
    return rc;
}

void docker_query_cancel(struct docker_query *q)
{
    if (q != NULL)
        query_free(q);
}

int docker_engine_logs(struct docker *d, const struct driver_logs_order *o,
                       const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                       struct err *e)
{
    return docker_follow_any(d->work, o, u, ctx, ret, e);
}

int docker_engine_exec(struct docker *d, const struct driver_exec_order *o,
                       const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                       struct err *e)
{
    return docker_attach_any(d->work, o, u, ctx, ret, e);
}

int docker_engine_write(struct driver_call *c, struct slice bytes, bool end)
{
    return docker_attach_write(c, bytes, end);
}

int docker_engine_resize(struct driver_call *c, uint16_t rows, uint16_t columns)
{
    return docker_attach_resize(c, rows, columns);
}

bool docker_engine_reachable(const struct docker *d)
{
    return d->link.state == DOCKER_LINK_READY;
}

const char *docker_engine_socket(const struct docker *d)
{
    return d->socket_path;
}

struct loop *docker_engine_loop(const struct docker *d)
{
    return d->loop;
}
