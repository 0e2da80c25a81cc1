#include "driver/docker/docker.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_work.h"
#include <string.h>

enum {
    DEFAULT_CONNECTIONS = 100,
    DEFAULT_ANSWER = 64 << 20,
    DEFAULT_LOGS = 8 << 20,
    DEFAULT_FILL = 64,
    DEFAULT_ANSWER_MS = 60000,
    DEFAULT_EXEC_MS = 60000,
    DEFAULT_PROBE_MS = 5000,
    STREAMS_EACH = 10, /* streams for each connection of the questions */
};

struct docker *docker_ref(struct docker *d)
{
    d->refs++;
    return d;
}

void docker_unref(struct docker *d)
{
    INVARIANT(d->refs > 0);
    if (--d->refs > 0)
        return;
    docker_work_free(d->work);
    docker_images_unref(d->images);
    map_done(&d->created, mem_free);
    mem_free(d->socket_path);
    d->magic = 0;
    mem_free(d);
}

static void options_fill(struct docker_options *o)
{
    if (o->max_connections == 0)
        o->max_connections = DEFAULT_CONNECTIONS;
    if (o->max_answer == 0)
        o->max_answer = DEFAULT_ANSWER;
    if (o->max_logs == 0)
        o->max_logs = DEFAULT_LOGS;
    if (o->max_fill == 0)
        o->max_fill = DEFAULT_FILL;
    if (o->answer_ms == 0)
        o->answer_ms = DEFAULT_ANSWER_MS;
    if (o->exec_ms == 0)
        o->exec_ms = DEFAULT_EXEC_MS;
    if (o->probe_ms == 0)
        o->probe_ms = DEFAULT_PROBE_MS;
}

static int pools_new(struct docker *d, struct err *e)
{
    struct client_options o = {
        .target = {.unix_path = d->socket_path},
        .host = "docker",
        .max_connections = d->o.max_connections,
    };
    int rc = client_pool_new(&d->queries, d->loop, &o, e);
    if (rc != 0)
        return rc;
    /* A POST on a connection that the engine has just closed cannot be sent again: take new ones.
     */
    o.idle_ms = 1;
    rc = client_pool_new(&d->actions, d->loop, &o, e);
    /* Many may follow a log: a pull must not wait for one of them to leave. */
    o.max_connections = d->o.max_connections * STREAMS_EACH;
    return rc != 0 ? rc : client_pool_new(&d->streams, d->loop, &o, e);
}

static void pools_free(struct docker *d)
{
    if (d->queries != NULL)
        client_pool_free(STEAL(d->queries));
    if (d->actions != NULL)
        client_pool_free(STEAL(d->actions));
    if (d->streams != NULL)
        client_pool_free(STEAL(d->streams));
}

int docker_new(struct docker **ret, struct loop *l, const struct docker_options *o, struct err *e)
{
    struct docker *d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    d->magic = DOCKER_MAGIC;
    d->refs = 1;
    d->loop = l;
    d->o = *o;
    options_fill(&d->o);
    list_init(&d->waiting);
    list_init(&d->listeners);
    map_init(&d->created);
    d->socket_path = mem_strdup(o->socket_path != NULL ? o->socket_path : "/var/run/docker.sock");
    d->o.socket_path = d->socket_path;
    int rc = d->socket_path != NULL ? pools_new(d, e) : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0) {
        rc = docker_link_init(d);
        if (rc != 0)
            err_set(e, rc, "a timer for the Docker client cannot be made");
    }
    if (rc != 0) {
        pools_free(d);
        docker_unref(d);
        return rc;
    }
    *ret = d;
    return 0;
}

void docker_free(struct docker *d)
{
    if (d == NULL)
        return;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    docker_work_close(d->work);
    docker_link_close(d);
    pools_free(d);
    docker_unref(d);
}

void docker_created_note(struct docker *d, const char *id, const char *created)
{
    struct slice key = slice_of(id);
    size_t n = strlen(created);
    if (n == 0 || n >= DOCKER_CREATED_SIZE || map_get(&d->created, key) != NULL)
        return;
    struct docker_seen *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return;
    memcpy(s->created, created, n + 1);
    s->round = d->list_round;
    if (map_put(&d->created, key, s) != 0)
        mem_free(s);
}

static bool docker_reachable(void *self)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    return d->link.state == DOCKER_LINK_READY;
}

static void docker_stats(void *self, struct runtime_stats *ret)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    const struct client_pool *pools[] = {d->queries, d->actions, d->streams};
    *ret = d->stats;
    for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
        if (pools[i] == NULL)
            continue;
        const struct client_stats *s = client_pool_stats(pools[i]);
        ret->open += s->open;
        ret->idle += s->idle;
        ret->waiting += s->waiting;
    }
}

static const struct runtime_ops docker_ops = {
    .name = "docker",
    .list = docker_list,
    .inspect = docker_inspect,
    .act = docker_act,
    .logs = docker_logs,
    .reachable = docker_reachable,
    .stats = docker_stats,
    .exec = docker_exec,
    .put_file = docker_put_file,
};

void docker_runtime(struct docker *d, struct runtime *out)
{
    CHECK_MAGIC(d, DOCKER_MAGIC);
    *out = (struct runtime){&docker_ops, d};
}
