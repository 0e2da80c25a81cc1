#include "driver/docker/docker_work.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 10000, PULL_MS = 120000, EXEC_INPUT = 1 << 20 };

struct docker_work *docker_work_of(void *self)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    CHECK_MAGIC(d->work, DOCKER_WORK_MAGIC);
    return d->work;
}

void docker_work_words(struct err *out, const struct docker *d, const struct err *e)
{
    int sys = e->sys < 0 ? -e->sys : e->sys;
    *out = *e;
    if (e->code == ERR_UNREACHABLE && sys != 0)
        err_set(out, ERR_UNREACHABLE, "the Docker engine cannot be reached at \"%s\": %s",
                d->socket_path, strerror(sys));
    else if (e->code == ERR_UNREACHABLE)
        err_set(out, ERR_UNREACHABLE, "the Docker engine at \"%s\" does not answer",
                d->socket_path);
    out->sys = sys;
}

bool docker_work_credentials(const struct docker_work *w, const struct doc_container *c,
                             struct docker_registry *ret)
{
    struct slice registry = docker_image_registry(slice_of(c->image));
    static const char hub[] = "https://index.docker.io/v1/";
    if (c->registry.username != NULL && c->registry.password != NULL) {
        *ret = (struct docker_registry){"", c->registry.username, c->registry.password};
        return true;
    }
    for (size_t i = 0; i < w->n_registries; i++)
        if (slice_eqs(registry, w->registries[i].host)) {
            *ret = w->registries[i];
            if (slice_eqs(registry, "docker.io"))
                ret->host = hub;
            return true;
        }
    return false;
}

/* ---- life */

static int copy_text(char **to, const char *from)
{
    *to = from != NULL ? mem_strdup(from) : NULL;
    return from == NULL || *to != NULL ? 0 : ERR_NO_MEMORY;
}

static int copy_roots(struct docker_work *w, const struct docker_driver_options *o)
{
    if (o->bind_roots == NULL)
        return 0;
    w->roots.paths = mem_calloc(o->n_bind_roots + 1, sizeof(char *));
    if (w->roots.paths == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < o->n_bind_roots; i++) {
        if (copy_text(&w->roots.paths[i], o->bind_roots[i]) != 0)
            return ERR_NO_MEMORY;
        w->roots.n++;
    }
    return 0;
}

static int copy_registries(struct docker_work *w, const struct docker_driver_options *o)
{
    int rc = 0;
    w->registries = mem_calloc(o->n_registries, sizeof(*w->registries));
    if (w->registries == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < o->n_registries && rc == 0; i++) {
        const struct docker_registry *from = &o->registries[i];
        struct docker_registry *to = &w->registries[w->n_registries++];
        to->host = mem_strdup(from->host);
        to->username = mem_strdup(from->username);
        to->password = mem_strdup(from->password);
        if (to->host == NULL || to->username == NULL || to->password == NULL)
            rc = ERR_NO_MEMORY;
    }
    return rc;
}

static int copy_options(struct docker_work *w, const struct docker_driver_options *o)
{
    if (copy_text(&w->texts[0], o->log_driver) != 0 ||
        copy_text(&w->texts[1], o->log_max_size) != 0 ||
        copy_text(&w->texts[2], o->log_max_file) != 0 || copy_roots(w, o) != 0 ||
        copy_registries(w, o) != 0)
        return ERR_NO_MEMORY;
    w->log = (struct docker_log_choice){w->texts[0], w->texts[1], w->texts[2]};
    w->privileged = o->privileged;
    w->image_pull = o->image_pull;
    w->look_ms = o->look_ms != 0 ? o->look_ms : LOOK_MS;
    w->pull_ms = o->pull_ms != 0 ? o->pull_ms : PULL_MS;
    w->max_exec_input = o->max_exec_input != 0 ? o->max_exec_input : EXEC_INPUT;
    return 0;
}

static void kept_free(void *value)
{
    struct docker_kept *k = value;
    mem_free(k->o);
    mem_free(k);
}

void docker_work_free(struct docker_work *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(w->texts); i++)
        mem_free(w->texts[i]);
    for (size_t i = 0; i < w->roots.n; i++)
        mem_free(w->roots.paths[i]);
    mem_free(w->roots.paths);
    for (size_t i = 0; i < w->n_registries; i++) {
        struct docker_registry *r = &w->registries[i];
        if (r->password != NULL)
            mem_wipe((void *)(uintptr_t)r->password, strlen(r->password));
        mem_free((void *)(uintptr_t)r->host);
        mem_free((void *)(uintptr_t)r->username);
        mem_free((void *)(uintptr_t)r->password);
    }
    mem_free(w->registries);
    map_done(&w->kept, kept_free);
    map_done(&w->acts, NULL);
    map_done(&w->samples, mem_free);
    w->magic = 0;
    mem_free(w);
}

void docker_work_close(struct docker_work *w)
{
    if (w == NULL)
        return;
    w->closed = true;
    docker_watch_close(w);
}

/* ---- the driver */

/* A check from outside needs an address of the container's own. */
static int check_health(const struct workload_doc *doc, struct err *e)
{
    const char *mode = doc->container.network_mode;
    const int kind = doc->health.kind;
    if (mode == NULL || (kind != DOC_HEALTH_TCP && kind != DOC_HEALTH_HTTP))
        return 0;
    if (strcmp(mode, "none") != 0 && !slice_starts(slice_of(mode), "container:"))
        return 0;
    return err_set(e, ERR_INVALID,
                   "health.kind \"%s\" needs an address, and with container.network_mode \"%s\" "
                   "there is none of its own: command runs inside",
                   kind == DOC_HEALTH_TCP ? "tcp" : "http", mode);
}

static int work_check(void *self, const struct workload_doc *doc, struct err *e)
{
    const struct docker_work *w = docker_work_of(self);
    if (doc->container.privileged && !w->privileged)
        return err_set(e, ERR_INVALID,
                       "container.privileged \"true\" is not allowed here: it gives the "
                       "container all rights of the machine's root, and workloads.privileged is "
                       "false");
    int rc = check_health(doc, e);
    return rc == 0 ? docker_spec_check(doc, &w->roots, e) : rc;
}

static bool work_reachable(void *self)
{
    return docker_work_of(self)->d->link.state == DOCKER_LINK_READY;
}

static const char *work_condition(void *self)
{
    struct docker_work *w = docker_work_of(self);
    if (work_reachable(self))
        return "healthy";
    snprintf(w->condition, sizeof(w->condition), "the Docker engine at \"%.100s\" does not answer",
             w->d->socket_path);
    return w->condition;
}

static void call_pause(struct driver_call *c, bool paused)
{
    c->pause(c, paused);
}

static void call_cancel(struct driver_call *c)
{
    c->cancel(c);
}

static const struct driver_ops work_ops = {
    .name = "docker",
    .type = WORKLOAD_CONTAINER,
    .usage_source = "docker",
    .check = work_check,
    .prepare = docker_act_prepare,
    .ensure = docker_act_ensure,
    .start = docker_act_start,
    .stop = docker_act_stop,
    .remove = docker_act_remove,
    .cancel = docker_act_cancel,
    .inspect = docker_look_inspect,
    .list = docker_look_list,
    .watch = docker_watch_set,
    .reachable = work_reachable,
    .condition = work_condition,
    .logs = docker_follow,
    .logs_pause = call_pause,
    .exec = docker_attach,
    .exec_write = docker_attach_write,
    .exec_resize = docker_attach_resize,
    .cancel_call = call_cancel,
    .usage = docker_usage,
};

int docker_driver(struct docker *d, const struct docker_driver_options *o, struct driver *out,
                  struct err *e)
{
    CHECK_MAGIC(d, DOCKER_MAGIC);
    if (d->work != NULL)
        return err_set(e, ERR_STATE, "the Docker client has a workload driver already");
    struct docker_work *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->magic = DOCKER_WORK_MAGIC;
    w->d = d;
    map_init(&w->kept);
    map_init(&w->acts);
    map_init(&w->samples);
    int rc = copy_options(w, o);
    if (rc == 0)
        rc = docker_watch_init(w);
    if (rc != 0) {
        docker_work_free(w);
        return err_set(e, rc, "the Docker driver: %s", err_row(rc)->text);
    }
    d->work = w;
    *out = (struct driver){&work_ops, d};
    return 0;
}
