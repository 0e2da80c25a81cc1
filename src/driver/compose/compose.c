#include "driver/compose/compose.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UP_MS = 600000, STOP_MS = 300000, LOOK_MS = 10000, ROOT_MAX = 2000 };

struct compose *compose_of(void *self)
{
    struct compose *c = self;
    CHECK_MAGIC(c, COMPOSE_MAGIC);
    return c;
}

/* ---- life */

void compose_ref(struct compose *c)
{
    c->refs++;
}

void compose_unref(struct compose *c)
{
    INVARIANT(c->refs > 0);
    if (--c->refs > 0)
        return;
    compose_limit_drop(c);
    mem_free(c->root);
    mem_free(c->real_root);
    mem_free(c->docker_host);
    mem_free(c->words);
    mem_free(c->split);
    map_done(&c->acts, NULL);
    map_done(&c->names, mem_free);
    map_done(&c->kept, mem_free);
    map_done(&c->samples, mem_free);
    c->magic = 0;
    mem_free(c);
}

void compose_op_begin(struct compose_op *op, struct compose *c, void (*end)(struct compose_op *))
{
    op->c = c;
    op->end = end;
    compose_ref(c);
    list_push_back(&c->ops, &op->link);
}

void compose_op_over(struct compose_op *op)
{
    list_remove(&op->link);
    compose_unref(op->c);
}

/* ---- names of projects */

const char *compose_name_holder(const struct compose *c, struct slice id)
{
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(id, name);
    const char *holder = map_get(&c->names, slice_of(name));
    return holder == NULL || slice_eqs(id, holder) ? "" : holder;
}

int compose_name_claim(struct compose *c, struct slice id)
{
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(id, name);
    if (map_get(&c->names, slice_of(name)) != NULL)
        return 0;
    char *copy = mem_strndup(id.p, id.len);
    int rc = copy != NULL ? map_put(&c->names, slice_of(name), copy) : ERR_NO_MEMORY;
    if (rc != 0)
        mem_free(copy);
    return rc;
}

void compose_name_drop(struct compose *c, struct slice id)
{
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(id, name);
    const char *holder = map_get(&c->names, slice_of(name));
    if (holder != NULL && slice_eqs(id, holder))
        mem_free(map_take(&c->names, slice_of(name)));
}

bool compose_ours(const struct compose *c, const struct compose_box *b, struct slice *id)
{
    char name[COMPOSE_NAME_SIZE];
    if (!compose_dir_id(b->dir, c->root, id) &&
        (c->real_root == NULL || !compose_dir_id(b->dir, c->real_root, id)))
        return false;
    /* Under another project's name it is somebody's own doing. */
    compose_project_name(*id, name);
    return strcmp(name, b->project) == 0;
}

static int check(void *self, const struct workload_doc *doc, struct err *e)
{
    struct compose *c = compose_of(self);
    const char *holder = compose_name_holder(c, slice_of(doc->id));
    int rc = compose_check(&doc->compose, e);
    if (rc == 0)
        rc = compose_limit_check(c, doc, e);
    if (rc != 0 || holder[0] == '\0')
        return rc;
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(slice_of(doc->id), name);
    return err_set(e, ERR_INVALID,
                   "id \"%s\": its Compose project would be named \"%s\", as that of workload "
                   "\"%s\" is; choose another id",
                   doc->id, name, holder);
}

/* ---- events */

static void on_event(void *ctx, const json_t *value)
{
    struct compose *c = ctx;
    const json_t *actor = json_object_get(value, "Actor");
    const char *dir =
        json_get_str(json_object_get(actor, "Attributes"), COMPOSE_LABEL "project.working_dir");
    const char *cid = json_get_str(actor, "ID");
    struct compose_kept *k = cid != NULL ? map_get(&c->kept, slice_of(cid)) : NULL;
    struct slice id;
    if (k != NULL)
        k->fresh = false;
    if (dir == NULL || (!compose_dir_id(dir, c->root, &id) &&
                        (c->real_root == NULL || !compose_dir_id(dir, c->real_root, &id))))
        return;
    const char *action = json_get_str(value, "Action");
    if (cid != NULL && action != NULL && strcmp(action, "start") == 0)
        compose_follow_started(c, id, cid);
    if (c->watcher.changed != NULL)
        c->watcher.changed(c->watcher.ctx, id);
}

static void on_aged(void *ctx)
{
    struct compose *c = ctx;
    for (struct map_entry *e = map_first(&c->kept); e != NULL; e = map_next(e))
        ((struct compose_kept *)map_value(e))->fresh = false;
}

static void on_reachable(void *ctx, bool up)
{
    struct compose *c = ctx;
    if (c->watcher.reachable != NULL)
        c->watcher.reachable(c->watcher.ctx, up);
}

static const struct docker_events_user events_user = {on_event, on_aged, on_reachable};

static void watch(void *self, const struct driver_watcher *w)
{
    struct compose *c = compose_of(self);
    c->watcher = w != NULL ? *w : (struct driver_watcher){0};
    docker_events_switch(&c->events, w != NULL);
}

static bool reachable(void *self)
{
    return docker_engine_reachable(compose_of(self)->d);
}

static const char *detail(void *self)
{
    const struct compose *c = compose_of(self);
    if (c->flavour == COMPOSE_NONE || c->n_bin == 0)
        return "";
    if (c->words != NULL)
        return c->words;
    return c->n_bin > 1 ? "docker compose" : "docker-compose";
}

static const char *condition(void *self)
{
    struct compose *c = compose_of(self);
    if (!reachable(self))
        (void)snprintf(c->condition, sizeof(c->condition),
                       "the Docker engine at \"%.100s\" does not answer",
                       docker_engine_socket(c->d));
    else if (c->flavour == COMPOSE_NONE && c->finding != NULL)
        return "the Compose tool is being looked for";
    else if (c->flavour == COMPOSE_NONE)
        (void)snprintf(c->condition, sizeof(c->condition), "no Compose tool: %s", c->tool_text);
    else
        return "healthy";
    return c->condition;
}

static void call_pause(struct driver_call *call, bool paused)
{
    call->pause(call, paused);
}

static void call_cancel(struct driver_call *call)
{
    call->cancel(call);
}

static const struct driver_ops ops = {
    .name = "compose",
    .type = WORKLOAD_COMPOSE,
    .usage_source = "compose",
    .check = check,
    .ensure = compose_ensure,
    .start = compose_start,
    .stop = compose_stop,
    .remove = compose_remove,
    .cancel = compose_cancel,
    .inspect = compose_inspect,
    .list = compose_list,
    .watch = watch,
    .reachable = reachable,
    .condition = condition,
    .detail = detail,
    .logs = compose_logs,
    .logs_pause = call_pause,
    .exec = compose_exec,
    .exec_write = compose_exec_write,
    .exec_resize = compose_exec_resize,
    .cancel_call = call_cancel,
    .usage = compose_usage,
    .usage_part = compose_usage_part,
    .in_place = true,
    .absent = compose_absent,
    .parts = compose_parts,
    .plan = compose_plan,
};

/* ---- making it */

static int take_words(struct compose *c, const char *binary, struct err *e)
{
    struct slice rest = slice_of(binary), word;
    if (slice_trim(rest).len == 0)
        return 0;
    c->words = mem_strdup(binary);
    c->split = mem_strdup(binary);
    if (c->words == NULL || c->split == NULL)
        return ERR_NO_MEMORY;
    while (slice_split(&rest, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (c->n_bin == COMPOSE_WORDS_MAX)
            return err_set(e, ERR_INVALID, "the Compose tool \"%.100s\" has more than %d words",
                           binary, COMPOSE_WORDS_MAX);
        char *at = c->split + (word.p - binary);
        at[word.len] = '\0';
        c->bin[c->n_bin++] = at;
    }
    return 0;
}

static int take_root(struct compose *c, const char *root, struct err *e)
{
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    if (root[0] != '/' || n == 1 || n > ROOT_MAX || strstr(root, "/../") != NULL)
        return err_set(e, ERR_INVALID,
                       "\"%.200s\" is not a folder for Compose projects (absolute, and not /)",
                       root);
    c->root = mem_strndup(root, n);
    if (c->root == NULL)
        return ERR_NO_MEMORY;
    char real[4096];
    /* At the start only, and of a local folder. */
    if (realpath(c->root, real) != NULL && strcmp(real, c->root) != 0 &&
        (c->real_root = mem_strdup(real)) == NULL)
        return ERR_NO_MEMORY;
    return 0;
}

static int take_host(struct compose *c)
{
    struct buf b = BUF_INIT(4096);
    (void)buf_addf(&b, "unix://%s", docker_engine_socket(c->d));
    c->docker_host = buf_steal(&b, NULL);
    buf_done(&b);
    return c->docker_host != NULL ? 0 : ERR_NO_MEMORY;
}

static int take_options(struct compose *c, const struct compose_options *o, struct err *e)
{
    int rc = take_root(c, o->root != NULL ? o->root : "/var/lib/persys/compose", e);
    if (rc == 0)
        rc = take_words(c, o->binary != NULL ? o->binary : "", e);
    if (rc == 0)
        rc = take_host(c);
    if (rc == 0)
        rc = compose_limit_take(c, o);
    c->up_ms = o->up_ms != 0 ? o->up_ms : UP_MS;
    c->stop_ms = o->stop_ms != 0 ? o->stop_ms : STOP_MS;
    c->look_ms = o->look_ms != 0 ? o->look_ms : LOOK_MS;
    return rc == ERR_NO_MEMORY ? err_set(e, rc, "out of memory") : rc;
}

int compose_new(struct compose **ret, struct docker *d, const struct compose_options *o,
                struct driver *out, struct err *e)
{
    static const char filters[] =
        "{\"type\":[\"container\"],\"label\":[\"" COMPOSE_LABEL "project.working_dir\"],\"event\":["
        "\"create\",\"start\",\"die\",\"destroy\",\"pause\",\"unpause\",\"oom\",\"rename\","
        "\"update\",\"health_status\"]}";
    struct compose *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->magic = COMPOSE_MAGIC;
    c->refs = 1;
    c->d = d;
    c->loop = docker_engine_loop(d);
    list_init(&c->waiting);
    list_init(&c->ops);
    list_init(&c->followers);
    map_init(&c->acts);
    map_init(&c->names);
    map_init(&c->kept);
    map_init(&c->samples);
    int rc = take_options(c, o, e);
    if (rc == 0 && (rc = docker_events_init(&c->events, d, filters, &events_user, c)) != 0)
        (void)err_set(e, rc, "out of memory");
    if (rc != 0) {
        compose_unref(c);
        return rc;
    }
    compose_ref(c); /* the events' */
    (void)compose_find(c, NULL);
    *out = (struct driver){&ops, c};
    *ret = c;
    return 0;
}

static void events_closed(void *ctx)
{
    struct compose *c = ctx;
    docker_events_done(&c->events);
    compose_unref(c);
}

void compose_free(struct compose *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, COMPOSE_MAGIC);
    c->closed = true;
    (void)err_set(&c->over, ERR_CANCELLED, "the Compose driver is being closed");
    c->watcher = (struct driver_watcher){0};
    while (!list_empty(&c->ops)) {
        struct compose_op *op = CONTAINER_OF(list_first(&c->ops), struct compose_op, link);
        op->end(op);
    }
    compose_find_stop(c);
    docker_events_close(&c->events, events_closed);
    compose_unref(c);
}
