/* The limits on what a Compose file may ask for, as an act keeps to them: before files are written
 * that the tool would follow, and before each `up`. First the text alone is looked at; if it is not
 * sure, what the tool makes of it; then where its folders really are. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_act.h"
#include <stdio.h>

struct limits {
    struct compose_gate_limits l;
    char folder[4200], name[COMPOSE_NAME_SIZE];
};

static void limits_of(const struct compose *c, struct slice id, struct limits *ret)
{
    (void)snprintf(ret->folder, sizeof(ret->folder), "%s/%.*s", c->root, (int)id.len, id.p);
    compose_project_name(id, ret->name);
    ret->l = (struct compose_gate_limits){
        .no_root = c->no_root,
        .roots = (const char *const *)c->roots.paths,
        .n_roots = c->roots.n,
        .folder = ret->folder,
        .project = ret->name,
    };
}

int compose_limit_check(const struct compose *c, const struct workload_doc *doc, struct err *e)
{
    struct limits limits;
    struct compose_gate g = {0};
    limits_of(c, slice_of(doc->id), &limits);
    int rc = compose_gate_check(slice_of(doc->compose.compose_yaml), &limits.l, &g, e);
    compose_gate_done(&g);
    return rc;
}

/* ---- of an act */

static int check(struct compose_act *a, struct slice text, bool root_too, bool told, struct err *e)
{
    struct limits limits;
    limits_of(a->op.c, a->order.id, &limits);
    limits.l.no_root = limits.l.no_root && root_too;
    limits.l.told_by_tool = told;
    limits.l.hide = told && (a->has_env || a->env.len > 0);
    compose_gate_done(&a->gate);
    return compose_gate_check(text, &limits.l, &a->gate, e);
}

static void fault_of(struct fault *f, const struct err *e)
{
    compose_fault_err(f, e);
    if (e->code == ERR_INVALID || e->code == ERR_LIMIT)
        f->reason = FAULT_INVALID_SPECIFICATION;
}

bool compose_act_limit(struct compose_act *a, struct slice text, bool root_too)
{
    struct fault f = {0};
    struct err e = {0};
    a->root_too = root_too;
    if (check(a, text, root_too, false, &e) == 0)
        return true;
    fault_of(&f, &e);
    compose_act_end(a, &f, NULL);
    return false;
}

void compose_act_limit_told(struct compose_act *a, struct slice text, struct fault *f)
{
    struct err e = {0};
    if (text.len >= COMPOSE_TOOL_OUT_MAX)
        (void)err_set(&e, ERR_LIMIT,
                      "compose: with its values and extensions written out the file is larger than "
                      "%d bytes: too large to be looked into",
                      COMPOSE_TOOL_OUT_MAX);
    else
        (void)check(a, text, a->root_too, true, &e);
    if (e.code != 0)
        fault_of(f, &e);
}

/* ---- where its folders really are */

static void looked(void *ctx, const struct err *e)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    struct err out = *e;
    a->paths = NULL;
    if (out.code == 0) {
        if (!compose_act_ended(a))
            a->limited(a);
        return;
    }
    if (a->gate_told && (a->has_env || a->env.len > 0)) /* a path may have a secret in it */
        (void)err_set(
            &out, ERR_INVALID,
            "where one of the host paths leads to is not in a folder that may be mounted");
    (void)err_wrap(&out, "compose");
    fault_of(&f, &out);
    compose_act_end(a, &f, NULL);
}

void compose_act_limit_paths(struct compose_act *a, void (*then)(struct compose_act *a))
{
    struct compose *c = a->op.c;
    struct err e = {0};
    a->limited = then;
    if (c->roots.paths == NULL || a->gate.n_paths == 0) {
        then(a);
        return;
    }
    struct doc_mount *mounts = mem_calloc(a->gate.n_paths, sizeof(*mounts));
    struct schema_list list = {mounts, a->gate.n_paths};
    for (size_t i = 0; mounts != NULL && i < list.count; i++)
        mounts[i].host_path = a->gate.paths[i];
    int rc = mounts != NULL ? docker_paths_start(c->loop, &list, &c->roots, looked, a, &a->paths)
                            : ERR_NO_MEMORY;
    mem_free(mounts);
    if (rc == 0)
        return;
    (void)err_set(&e, rc, "out of memory");
    compose_act_fail(a, &e);
}

/* ---- before an `up` of the files that are there */

static void start_paths(struct compose_act *a);

static void up_locked(struct compose_act *a)
{
    compose_act_lock(a, compose_act_up);
}

static void told(void *ctx, const struct compose_tool_end *end)
{
    struct compose_act *a = ctx;
    struct fault f = {0};
    a->tool = NULL;
    a->gate_told = true;
    if (!compose_act_config_fault(end, &f))
        compose_act_limit_told(a, end->out, &f);
    if (f.e.code != 0)
        compose_act_end(a, &f, NULL);
    else
        start_paths(a);
}

static void start_paths(struct compose_act *a)
{
    compose_act_limit_paths(a, up_locked);
}

void compose_act_start(struct compose_act *a)
{
    struct compose_argv argv;
    /* What was taken before stays, as with containers; where it leads is looked at again. */
    if (!compose_act_limit(a, (struct slice){a->yml.data, a->yml.len}, a->n_boxes == 0))
        return;
    if (!a->gate.unsure) {
        start_paths(a);
        return;
    }
    compose_argv_begin(&argv, a->op.c, a->order.id, false, a->has_env);
    compose_argv_add(&argv, "config");
    compose_act_run(a, &argv, argv.dir, a->op.c->stop_ms, told);
}

/* ---- the driver's options */

int compose_limit_take(struct compose *c, const struct compose_options *o)
{
    c->no_root = !o->privileged;
    if (o->bind_roots == NULL)
        return 0;
    c->roots.paths = mem_calloc(o->n_bind_roots + 1, sizeof(char *));
    if (c->roots.paths == NULL)
        return ERR_NO_MEMORY;
    for (; c->roots.n < o->n_bind_roots; c->roots.n++)
        if ((c->roots.paths[c->roots.n] = mem_strdup(o->bind_roots[c->roots.n])) == NULL)
            return ERR_NO_MEMORY;
    return 0;
}

void compose_limit_drop(struct compose *c)
{
    for (size_t i = 0; i < c->roots.n; i++)
        mem_free(c->roots.paths[i]);
    mem_free(c->roots.paths);
}
