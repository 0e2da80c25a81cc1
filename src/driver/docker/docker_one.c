/* Questions and orders about one container: its state; start, stop, restart. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MAX_S = 30 * 24 * 3600 }; /* no order is waited for longer */

struct one_op {
    struct docker_op op;
    struct docker_call *call;
    void *ctx;
    /* inspect */
    runtime_inspect_fn inspect_fn;
    json_t *root; /* the inspect answer */
    struct runtime_container c;
    /* act */
    runtime_done_fn done_fn;
    enum runtime_action action;
    int64_t timeout_s;
    char name[DOCKER_NAME_MAX + 1];
};

static void one_free(struct one_op *o)
{
    docker_call_cancel(o->call);
    json_decref(o->root);
    docker_unref(o->op.d);
    mem_free(o);
}

static void one_end(struct one_op *o, const struct err *e)
{
    if (o->inspect_fn != NULL)
        o->inspect_fn(o->ctx, e, e->code == 0 ? &o->c : NULL);
    else
        o->done_fn(o->ctx, e);
    one_free(o);
}

static void one_fail(struct docker_op *op, const struct err *e)
{
    one_end(CONTAINER_OF(op, struct one_op, op), e);
}

static int container_ask(struct one_op *o, docker_call_fn fn, struct err *e)
{
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/containers/%s/json", o->name);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = o->op.d->o.answer_ms, .path = path};
    return docker_call_send(o->op.d, &ask, fn, o, &o->call, e);
}

static int one_start(struct one_op *o, struct slice name)
{
    bool valid = docker_name_valid(name);
    if (valid)
        memcpy(o->name, name.p, name.len);
    int rc = valid ? docker_op_start(&o->op, NULL) : docker_op_refuse(&o->op, NULL);
    if (rc != 0)
        one_free(o);
    return rc;
}

/* --- inspect --- */

static void image_done(void *ctx, const struct err *e, int status, json_t *root)
{
    struct one_op *o = ctx;
    o->call = NULL;
    struct err out = *e;
    if (out.code == 0)
        o->c.image = docker_first_tag(json_object_get(root, "RepoTags"));
    else if (status == 404 && !o->op.d->o.strict_talos)
        out = (struct err){0}; /* the container is there all the same */
    one_end(o, &out);
}

static void inspect_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct one_op *o = ctx;
    struct docker *d = o->op.d;
    struct err out = *e;
    o->call = NULL;
    if (out.code == 0) {
        o->root = json_incref(root);
        docker_inspect_read(root, &o->c, &out);
    }
    if (out.code != 0) {
        one_end(o, &out);
        return;
    }
    docker_created_note(d, o->c.id, o->c.created);
    const char *image = json_get_str(root, "Image");
    const char *tag =
        d->images != NULL && image != NULL ? docker_images_tag(d->images, image) : NULL;
    const char *hex = image != NULL && strncmp(image, "sha256:", 7) == 0 ? image + 7 : image;
    if (tag != NULL || hex == NULL || !docker_name_valid(slice_of(hex))) {
        o->c.image = tag != NULL ? tag : "";
        one_end(o, &out);
        return;
    }
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/images/%s/json", hex);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = d->o.answer_ms, .path = path};
    if (docker_call_send(d, &ask, image_done, o, &o->call, &out) != 0)
        one_end(o, &out);
}

static int inspect_begin(struct docker_op *op, struct err *e)
{
    return container_ask(CONTAINER_OF(op, struct one_op, op), inspect_done, e);
}

int docker_inspect(void *self, struct slice name, runtime_inspect_fn fn, void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    struct one_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(d), .begin = inspect_begin, .fail = one_fail};
    o->inspect_fn = fn;
    o->ctx = ctx;
    return one_start(o, name);
}

/* --- start, stop, restart --- */

static void action_done(void *ctx, const struct err *e, int status BASE_UNUSED,
                        json_t *root BASE_UNUSED)
{
    struct one_op *o = ctx;
    o->call = NULL;
    one_end(o, e);
}

static int action_send(struct one_op *o, const char *id, struct err *e)
{
    static const char *const verbs[] = {
        [RUNTIME_START] = "start", [RUNTIME_STOP] = "stop", [RUNTIME_RESTART] = "restart"};
    char path[DOCKER_PATH_SIZE];
    int64_t wait_s = 0;
    if (o->action == RUNTIME_START) {
        snprintf(path, sizeof(path), "/containers/%s/start", id);
    } else {
        snprintf(path, sizeof(path), "/containers/%s/%s?t=%" PRId64, id, verbs[o->action],
                 o->timeout_s);
        wait_s = o->timeout_s < 0 ? 0 : o->timeout_s < WAIT_MAX_S ? o->timeout_s : WAIT_MAX_S;
    }
    struct docker_ask ask = {
        .method = HTTP_METHOD_POST,
        .action = true,
        .limit_ms = o->op.d->o.answer_ms + (uint64_t)wait_s * 1000,
        .path = path,
    };
    return docker_call_send(o->op.d, &ask, action_done, o, &o->call, e);
}

static void resolve_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct one_op *o = ctx;
    struct err out = *e;
    struct runtime_container c;
    o->call = NULL;
    if (out.code == 0 && docker_inspect_read(root, &c, &out) == 0 &&
        !docker_name_valid(slice_of(c.id)))
        err_set(&out, ERR_RUNTIME, "the engine's \"Id\" is none");
    if (out.code != 0 || action_send(o, c.id, &out) != 0)
        one_end(o, &out);
}

static int act_begin(struct docker_op *op, struct err *e)
{
    return container_ask(CONTAINER_OF(op, struct one_op, op), resolve_done, e);
}

int docker_act(void *self, struct slice name, enum runtime_action a, int64_t timeout_s,
               runtime_done_fn fn, void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    struct one_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(d), .begin = act_begin, .fail = one_fail};
    o->done_fn = fn;
    o->ctx = ctx;
    o->action = a;
    o->timeout_s = timeout_s;
    return one_start(o, name);
}
