/* Stopping and removing without the tool, by the engine's API: when the Compose file is gone or
 * cannot be used, and for what `down` leaves. Only what carries the project's label. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ORDER_MS = 60000, ID_SIZE = 65 };

struct compose_sweep {
    struct compose_op op;
    struct docker_query *query;
    compose_sweep_fn fn;
    void *ctx;
    enum compose_sweep_kind kind;
    bool nets, volumes; /* still to be listed */
    int64_t timeout_s;
    char name[COMPOSE_NAME_SIZE];
    json_t *things;         /* of the last list: an array of objects */
    const char *key, *what; /* where their names are, and what they are */
    size_t next, next_box, n_boxes;
    char boxes[][ID_SIZE];
};

static void next_step(struct compose_sweep *s);

static void sweep_free(struct compose_sweep *s)
{
    docker_query_cancel(s->query);
    json_decref(s->things);
    compose_op_over(&s->op);
    mem_free(s);
}

void compose_sweep_cancel(struct compose_sweep *s)
{
    if (s != NULL)
        sweep_free(s);
}

static void sweep_end(struct compose_sweep *s, const struct err *e)
{
    s->fn(s->ctx, e);
    sweep_free(s);
}

static void sweep_drop(struct compose_op *op)
{
    sweep_end(CONTAINER_OF(op, struct compose_sweep, op), &op->c->over);
}

static void done(void *ctx, const struct err *e, json_t *root BASE_UNUSED)
{
    struct compose_sweep *s = ctx;
    s->query = NULL;
    /* What is not there any more is as it should be. */
    if (e->code != 0 && e->code != ERR_NOT_FOUND)
        sweep_end(s, e);
    else
        next_step(s);
}

static void order(struct compose_sweep *s, enum http_method m, const char *path, uint64_t limit_ms)
{
    struct err e = {0};
    if (docker_query(s->op.c->d, m, path, limit_ms, done, s, &s->query, &e) != 0)
        sweep_end(s, &e);
}

static void box_step(struct compose_sweep *s)
{
    char path[200];
    const char *id = s->boxes[s->next_box++];
    if (s->kind == COMPOSE_SWEEP_STOP) {
        (void)snprintf(path, sizeof(path), "/containers/%s/stop?t=%" PRId64, id, s->timeout_s);
        order(s, HTTP_METHOD_POST, path, ORDER_MS + (uint64_t)s->timeout_s * 1000);
    } else {
        (void)snprintf(path, sizeof(path), "/containers/%s?force=1&v=%d", id, s->volumes);
        order(s, HTTP_METHOD_DELETE, path, ORDER_MS);
    }
}

static void listed(void *ctx, const struct err *e, json_t *root)
{
    struct compose_sweep *s = ctx;
    s->query = NULL;
    if (e->code != 0) {
        sweep_end(s, e);
        return;
    }
    json_decref(s->things);
    /* Networks come as an array, volumes in an object. */
    s->things = json_incref(json_is_array(root) ? root : json_object_get(root, "Volumes"));
    s->next = 0;
    next_step(s);
}

static void list(struct compose_sweep *s, const char *what, const char *key)
{
    char filters[300], path[500];
    struct err e = {0};
    struct buf b = BUF_FIXED(path);
    s->what = what;
    s->key = key;
    (void)snprintf(filters, sizeof(filters), "{\"label\":[\"" COMPOSE_LABEL "project=%s\"]}",
                   s->name);
    (void)buf_addf(&b, "/%s?filters=", what);
    (void)pct_encode(&b, slice_of(filters));
    if (docker_query(s->op.c->d, HTTP_METHOD_GET, path, s->op.c->look_ms, listed, s, &s->query,
                     &e) != 0)
        sweep_end(s, &e);
}

/* True: the engine was asked to remove one. */
static bool thing_step(struct compose_sweep *s)
{
    while (s->next < json_array_size(s->things)) {
        const json_t *x = json_array_get(s->things, s->next++);
        const char *project = json_get_str(json_object_get(x, "Labels"), COMPOSE_LABEL "project");
        const char *name = json_get_str(x, s->key);
        char path[400];
        struct buf b = BUF_FIXED(path);
        if (name == NULL || project == NULL || strcmp(project, s->name) != 0)
            continue;
        (void)buf_addf(&b, "/%s/", s->what);
        (void)pct_encode(&b, slice_of(name));
        if (b.err != 0)
            continue;
        order(s, HTTP_METHOD_DELETE, path, ORDER_MS);
        return true;
    }
    return false;
}

static void next_step(struct compose_sweep *s)
{
    struct err none = {0};
    if (s->next_box < s->n_boxes) {
        box_step(s);
    } else if (thing_step(s)) {
        return;
    } else if (s->nets) {
        s->nets = false;
        list(s, "networks", "Id");
    } else if (s->volumes) {
        s->volumes = false;
        list(s, "volumes", "Name");
    } else {
        sweep_end(s, &none);
    }
}

static void begin(void *ctx)
{
    struct compose_sweep *s = ctx;
    next_step(s);
}

static void defer_box(void *ctx, const struct err *e, json_t *root BASE_UNUSED)
{
    struct compose_sweep *s = ctx;
    s->query = NULL;
    if (e->code != 0)
        sweep_end(s, e);
    else
        begin(s);
}

int compose_sweep_start(struct compose *c, const struct compose_look *l,
                        enum compose_sweep_kind kind, bool nets, bool volumes, int64_t timeout_s,
                        compose_sweep_fn fn, void *ctx, struct compose_sweep **ret, struct err *e)
{
    struct compose_sweep *s = mem_zalloc(sizeof(*s) + l->n_boxes * ID_SIZE);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->fn = fn;
    s->ctx = ctx;
    s->kind = kind;
    s->nets = nets;
    s->volumes = volumes;
    s->timeout_s = timeout_s;
    memcpy(s->name, l->name, sizeof(s->name));
    for (; s->n_boxes < l->n_boxes; s->n_boxes++)
        memcpy(s->boxes[s->n_boxes], l->boxes[s->n_boxes].id, ID_SIZE);
    compose_op_begin(&s->op, c, sweep_drop);
    /* The first step waits for an answer, so that fn never comes within this call. */
    int rc =
        docker_query(c->d, HTTP_METHOD_GET, "/version", c->look_ms, defer_box, s, &s->query, e);
    if (rc != 0)
        sweep_free(s);
    else
        *ret = s;
    return rc;
}
