/* A file for a container: the engine unpacks an archive into it (PUT /containers/{id}/archive). It
 * takes the old file away and makes a new one, so that no reader sees a mixture of both. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_tar.h"
#include <stdio.h>
#include <string.h>

struct put_op {
    struct docker_op op;
    struct docker_call *call;
    runtime_done_fn fn;
    void *ctx;
    struct buf tar;
    char path[DOCKER_PATH_SIZE];
};

static void put_free(struct put_op *o)
{
    docker_call_cancel(o->call);
    buf_done(&o->tar);
    docker_unref(o->op.d);
    mem_free(o);
}

static void put_fail(struct docker_op *op, const struct err *e)
{
    struct put_op *o = CONTAINER_OF(op, struct put_op, op);
    o->fn(o->ctx, e);
    put_free(o);
}

static void put_done(void *ctx, const struct err *e, int status BASE_UNUSED,
                     json_t *root BASE_UNUSED)
{
    struct put_op *o = ctx;
    o->call = NULL;
    put_fail(&o->op, e);
}

static int put_begin(struct docker_op *op, struct err *e)
{
    struct put_op *o = CONTAINER_OF(op, struct put_op, op);
    struct docker_ask ask = {
        .method = HTTP_METHOD_PUT,
        .action = true,
        .limit_ms = op->d->o.answer_ms,
        .path = o->path,
        .body = {o->tar.data, o->tar.len},
        .type = "application/x-tar",
    };
    return docker_call_send(op->d, &ask, put_done, o, &o->call, e);
}

/* The request's path. Links in `dir` are the engine's to follow, within the container. */
static int put_path(struct put_op *o, struct slice name, const char *dir)
{
    struct buf b = BUF_FIXED(o->path);
    (void)buf_addf(&b, "/containers/%.*s/archive?noOverwriteDirNonDir=1&path=", (int)name.len,
                   name.p);
    (void)pct_encode(&b, slice_of(dir));
    return b.err;
}

int docker_put_file(void *self, struct slice name, const struct runtime_file *f, runtime_done_fn fn,
                    void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    if (f->dir[0] != '/')
        return ERR_INVALID;
    struct put_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(d), .begin = put_begin, .fail = put_fail};
    o->fn = fn;
    o->ctx = ctx;
    buf_init(&o->tar, f->content.len + 4 * DOCKER_TAR_BLOCK);
    bool valid = docker_name_valid(name);
    int rc = docker_tar_file(&o->tar, f->name, f->mode, f->content);
    if (rc == 0 && valid)
        rc = put_path(o, name, f->dir);
    if (rc == 0)
        rc = valid ? docker_op_start(&o->op, NULL) : docker_op_refuse(&o->op, NULL);
    if (rc != 0)
        put_free(o);
    return rc;
}
