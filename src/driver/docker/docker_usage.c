/* What a container uses: one sample of the engine's counters (GET /containers/{id}/stats), compared
 * with the one before; so nothing waits a second for two of them. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_stats.h"
#include "driver/docker/docker_work.h"
#include <stdio.h>
#include <string.h>

struct kept_sample {
    struct docker_sample sample;
    char cid[DOCKER_ID_DIGITS + 1];
};

struct usage_op {
    struct docker_op op;
    struct docker_work *w;
    struct docker_look *look;
    struct docker_call *call;
    driver_usage_fn fn;
    void *ctx;
    char cid[DOCKER_ID_DIGITS + 1];
    char id[WORKLOAD_ID_MAX + 1];
};

static void usage_end(struct usage_op *o, const struct fault *f, const struct driver_usage *u)
{
    o->fn(o->ctx, f, u);
    docker_look_cancel(o->look);
    docker_call_cancel(o->call);
    docker_unref(o->op.d);
    mem_free(o);
}

static void usage_failed(struct usage_op *o, const struct err *e)
{
    struct fault f = {0};
    docker_fault(&f, DOCKER_LOOK, e);
    usage_end(o, &f, NULL);
}

static void usage_fail(struct docker_op *op, const struct err *e)
{
    struct err out;
    docker_work_words(&out, op->d, e);
    usage_failed(CONTAINER_OF(op, struct usage_op, op), &out);
}

/* The sample is kept for the next time; nothing is when out of memory. */
static double cpu_since(struct usage_op *o, const struct docker_counts *now)
{
    struct docker_work *w = o->w;
    struct kept_sample *s = map_get(&w->samples, slice_of(o->id));
    if (s == NULL) {
        s = mem_zalloc(sizeof(*s));
        if (s == NULL || map_put(&w->samples, slice_of(o->id), s) != 0) {
            mem_free(s);
            return -1;
        }
    }
    if (strcmp(s->cid, o->cid) != 0)
        s->sample = (struct docker_sample){0};
    memcpy(s->cid, o->cid, sizeof(s->cid));
    return docker_stats_next(&s->sample, now);
}

static void stats_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct usage_op *o = ctx;
    struct docker_counts c;
    struct err out = *e;
    o->call = NULL;
    if (out.code == ERR_NOT_FOUND)
        docker_kept_forget(o->w, slice_of(o->id));
    if (out.code == 0 && !docker_stats_read(root, &c))
        err_set(&out, ERR_STATE, "container \"%s\" does not run", o->id);
    if (out.code != 0) {
        usage_failed(o, &out);
        return;
    }
    struct driver_usage u = {
        .id = slice_of(o->id),
        .cpu_percent = cpu_since(o, &c),
        .memory_bytes = c.memory_bytes,
        .disk_read_bytes = c.disk_read_bytes,
        .disk_write_bytes = c.disk_write_bytes,
        .net_rx_bytes = c.net_rx_bytes,
        .net_tx_bytes = c.net_tx_bytes,
        .collected_ns = clock_real_ns(loop_clock(o->op.d->loop)),
        .source = "docker",
    };
    usage_end(o, NULL, &u);
}

static int stats_ask(struct usage_op *o, struct err *e)
{
    char path[DOCKER_PATH_SIZE];
    /* An engine that does not know one-shot answers too, after a second. */
    snprintf(path, sizeof(path), "/containers/%s/stats?stream=false&one-shot=1", o->cid);
    struct docker_ask ask = {.method = HTTP_METHOD_GET,
                             .json = true,
                             .plain = true,
                             .limit_ms = o->w->look_ms,
                             .path = path};
    return docker_call_send(o->op.d, &ask, stats_done, o, &o->call, e);
}

static void usage_looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct usage_op *o = ctx;
    struct err e = {0};
    o->look = NULL;
    if (f != NULL) {
        usage_end(o, f, NULL);
        return;
    }
    if (x == NULL || !x->ours)
        err_set(&e, ERR_NOT_FOUND, "No such container: %s", o->id);
    else
        snprintf(o->cid, sizeof(o->cid), "%.*s", (int)x->o.object_id.len, x->o.object_id.p);
    if (e.code != 0 || stats_ask(o, &e) != 0)
        usage_failed(o, &e);
}

static int usage_begin(struct docker_op *op, struct err *e)
{
    struct usage_op *o = CONTAINER_OF(op, struct usage_op, op);
    const struct docker_kept *k = map_get(&o->w->kept, slice_of(o->id));
    if (k == NULL)
        return docker_look_start(o->w, slice_of(o->id), false, usage_looked, o, &o->look, e);
    snprintf(o->cid, sizeof(o->cid), "%.*s", (int)k->o->object_id.len, k->o->object_id.p);
    return stats_ask(o, e);
}

int docker_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    struct docker_work *w = docker_work_of(self);
    if (!docker_name_valid(id) || id.len > WORKLOAD_ID_MAX)
        return ERR_NOT_FOUND;
    struct usage_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(w->d), .begin = usage_begin, .fail = usage_fail};
    o->w = w;
    o->fn = fn;
    o->ctx = ctx;
    memcpy(o->id, id.p, id.len);
    int rc = docker_op_start(&o->op, NULL);
    if (rc != 0) {
        docker_unref(o->op.d);
        mem_free(o);
    }
    return rc;
}
