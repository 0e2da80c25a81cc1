/* What an apply would change, before it is done: the hashes that the tool gives the services of the
 * new file, against those on the containers. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <string.h>

struct planning {
    struct compose_op op;
    struct compose_wait wait;
    driver_plan_fn fn;
    void *ctx;
    struct compose_disk *disk;
    struct compose_disk *unstage; /* to be started: files are there that are being tried */
    struct compose_tool *tool;
    struct compose_look *look;
    struct buf yml, env, hashes;
    struct fault f;
    char id[WORKLOAD_ID_MAX + 1];
    char stage[COMPOSE_NAME_SIZE + 16];
};

static void planning_free(struct planning *p)
{
    list_remove(&p->wait.link);
    compose_disk_abandon(p->disk);
    if (p->unstage != NULL)
        (void)compose_disk_start(p->unstage, p->op.c->loop, NULL, NULL);
    compose_tool_abandon(p->tool);
    compose_look_cancel(p->look);
    if (p->env.data != NULL)
        mem_wipe(p->env.data, p->env.cap);
    buf_done(&p->yml);
    buf_done(&p->env);
    buf_done(&p->hashes);
    compose_op_over(&p->op);
    mem_free(p);
}

static void planning_end(struct planning *p, const struct driver_step *steps, size_t n)
{
    p->fn(p->ctx, p->f.e.code != 0 ? &p->f : NULL, p->f.e.code != 0 ? NULL : steps,
          p->f.e.code != 0 ? 0 : n);
    planning_free(p);
}

static void planning_fail(struct planning *p, const struct err *e)
{
    compose_fault_err(&p->f, e);
    planning_end(p, NULL, 0);
}

static void planning_drop(struct compose_op *op)
{
    planning_fail(CONTAINER_OF(op, struct planning, op), &op->c->over);
}

/* ---- comparing */

struct steps {
    struct driver_step *items;
    char (*names)[WORKLOAD_ID_MAX + 1];
    size_t n, cap;
};

static void add(struct steps *s, struct slice part, enum driver_change change, const char *why)
{
    if (s->n == s->cap)
        return;
    (void)snprintf(s->names[s->n], sizeof(s->names[0]), "%.*s", (int)part.len, part.p);
    s->items[s->n] = (struct driver_step){s->names[s->n], change, why};
    s->n++;
}

static void add_service(struct steps *s, const struct compose_hash *h, const struct compose_look *l)
{
    bool there = false, differs = false;
    for (size_t i = 0; i < l->n_boxes; i++) {
        if (!slice_eqs(h->service, l->boxes[i].service))
            continue;
        there = true;
        differs = differs || !slice_eqs(h->hash, l->boxes[i].hash);
    }
    if (!there)
        add(s, h->service, DRIVER_CREATE, "it has no container");
    else if (differs)
        add(s, h->service, DRIVER_RECREATE, "its image or settings differ");
    else
        add(s, h->service, DRIVER_KEEP, "");
}

static bool planned(const struct steps *s, const char *service)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->items[i].part, service) == 0)
            return true;
    return false;
}

static void compare(struct planning *p, struct compose_look *l)
{
    struct slice rest = {p->hashes.data, p->hashes.len};
    struct compose_hash h;
    struct steps s = {.cap = COMPOSE_PARTS_MAX + l->n_boxes};
    s.items = mem_calloc(s.cap, sizeof(*s.items));
    s.names = mem_calloc(s.cap, sizeof(*s.names));
    if (s.items == NULL || s.names == NULL) {
        (void)fault_set(&p->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    } else {
        while (compose_hash_next(&rest, &h))
            add_service(&s, &h, l);
        for (size_t i = 0; i < l->n_boxes; i++)
            if (!planned(&s, l->boxes[i].service))
                add(&s, slice_of(l->boxes[i].service), DRIVER_REMOVE,
                    "the file does not name it any more");
    }
    mem_free(p->hashes.data);
    p->hashes = (struct buf){0};
    p->fn(p->ctx, p->f.e.code != 0 ? &p->f : NULL, s.items, p->f.e.code != 0 ? 0 : s.n);
    mem_free(s.items);
    mem_free(s.names);
    planning_free(p);
}

static void looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct planning *p = ctx;
    p->look = NULL;
    if (f != NULL)
        p->f = *f;
    else if (l->foreign)
        (void)compose_foreign(l, &p->f);
    if (p->f.e.code != 0)
        planning_end(p, NULL, 0);
    else
        compare(p, l);
}

/* ---- asking the tool */

static void unstaged(void *ctx, const struct err *e BASE_UNUSED, struct compose_disk *d BASE_UNUSED)
{
    struct planning *p = ctx;
    struct err out = {0};
    p->disk = NULL;
    if (p->f.e.code != 0)
        planning_end(p, NULL, 0);
    else if (compose_look_start(p->op.c, slice_of(p->id), false, looked, p, &p->look, &out) != 0)
        planning_fail(p, &out);
}

static void hashed(void *ctx, const struct compose_tool_end *end)
{
    struct planning *p = ctx;
    struct compose *c = p->op.c;
    struct err e = {0};
    p->tool = NULL;
    if (end->e.code == ERR_TOOL) {
        (void)compose_fault(&p->f, end->e.msg, end->tail);
        if (p->f.e.code == ERR_TOOL) {
            p->f.e.code = ERR_INVALID;
            p->f.reason = FAULT_INVALID_SPECIFICATION;
        }
    } else if (end->e.code != 0) {
        compose_fault_err(&p->f, &end->e);
    } else if (buf_add(&p->hashes, end->out.p, end->out.len) != 0) {
        (void)fault_set(&p->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    }
    struct compose_disk *d = STEAL(p->unstage);
    if (compose_disk_start(d, c->loop, unstaged, p) == 0) {
        p->disk = d;
        return;
    }
    (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
    planning_fail(p, &e);
}

static void staged(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct planning *p = ctx;
    struct compose *c = p->op.c;
    struct compose_argv argv;
    struct err out = *e;
    p->disk = NULL;
    compose_argv_begin(&argv, c, slice_of(p->stage), true, p->env.len > 0);
    /* The files are those that are tried; name and folder are the workload's. */
    compose_project_name(slice_of(p->id), argv.name);
    (void)snprintf(argv.dir, sizeof(argv.dir), "%s/%s", c->root, p->id);
    compose_argv_add(&argv, "config");
    compose_argv_add(&argv, "--hash");
    compose_argv_add(&argv, "*");
    struct compose_tool_order o = {
        .argv = argv.at, .docker_host = c->docker_host, .limit_ms = c->stop_ms, .lock_fd = -1};
    if (out.code == 0)
        (void)compose_tool_run(&p->tool, c->loop, &o, hashed, p, &out);
    if (out.code != 0)
        planning_fail(p, &out);
}

static int stage(struct planning *p)
{
    struct compose *c = p->op.c;
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_STAGE, c->root, slice_of(p->stage));
    p->unstage = compose_disk_new(COMPOSE_DISK_UNSTAGE, c->root, slice_of(p->stage));
    if (d == NULL || p->unstage == NULL) {
        compose_disk_free(d);
        return ERR_NO_MEMORY;
    }
    buf_done(&d->yml);
    d->yml = p->yml;
    p->yml = (struct buf){0};
    d->has_yml = true;
    d->has_env = p->env.len > 0;
    int rc = d->has_env ? buf_add(&d->env, p->env.data, p->env.len) : 0;
    if (rc != 0) {
        compose_disk_free(d);
        return rc;
    }
    rc = compose_disk_start(d, c->loop, staged, p);
    if (rc == 0)
        p->disk = d;
    return rc;
}

static void tool_known(void *ctx)
{
    struct planning *p = ctx;
    struct err e = {0};
    if (p->op.c->flavour == COMPOSE_NONE) {
        (void)compose_no_tool(p->op.c, &p->f);
        planning_end(p, NULL, 0);
    } else if (stage(p) != 0) {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        planning_fail(p, &e);
    }
}

int compose_plan(void *self, const struct workload_doc *doc, driver_plan_fn fn, void *ctx)
{
    struct compose *c = compose_of(self);
    struct slice id = slice_of(doc->id);
    if (workload_id_check(id, NULL) != 0)
        return ERR_INVALID;
    struct planning *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return ERR_NO_MEMORY;
    p->fn = fn;
    p->ctx = ctx;
    p->wait.fn = tool_known;
    p->wait.ctx = p;
    list_init(&p->wait.link);
    buf_init(&p->yml, DOC_TEXT_MAX);
    buf_init(&p->env, COMPOSE_ENV_MAX);
    buf_init(&p->hashes, COMPOSE_TOOL_OUT_MAX);
    memcpy(p->id, id.p, id.len);
    /* Two at once, and an apply meanwhile, must not share a folder. */
    (void)snprintf(p->stage, sizeof(p->stage), "plan-%llx", (unsigned long long)++c->plans);
    compose_op_begin(&p->op, c, planning_drop);
    bool later = compose_find(c, &p->wait);
    /* Of a tool that is not known yet the values are written as for the older one: hashes of
     * services do not depend on it but for the rarest of values. */
    int rc = buf_adds(&p->yml, doc->compose.compose_yaml);
    if (rc == 0)
        rc = compose_env_write(&p->env, later ? COMPOSE_1 : c->flavour, &doc->compose, NULL);
    if (rc == 0 && !later)
        rc = stage(p);
    if (rc != 0)
        planning_free(p);
    return rc;
}
