/* Programs in a service's container, and what the containers of a project use together. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include "driver/docker/docker_object.h"
#include "driver/docker/docker_stats.h"
#include <stdio.h>
#include <string.h>

/* ---- a program */

struct running {
    struct driver_call base;
    struct compose_op op;
    struct compose_look *look;
    struct driver_call *inner; /* once the container is known */
    struct driver_exec_user u;
    void *ctx;
    struct driver_exec_order order; /* texts are in `store` */
    char *store;
    const char **argv, **env;
    struct buf input; /* that came before */
    bool input_end, resized, paused, over;
    uint16_t rows, columns;
};

static void running_closed(void *ctx)
{
    struct running *r = ctx;
    struct compose *c = r->op.c;
    if (r->store != NULL)
        mem_free(r->store);
    mem_free(r->argv);
    mem_free(r->env);
    buf_done(&r->input);
    mem_free(r);
    compose_unref(c);
}

/* May be called from one of its callbacks: the memory goes later. */
static void running_free(struct running *r)
{
    if (r->over)
        return;
    r->over = true;
    compose_look_cancel(STEAL(r->look));
    if (r->inner != NULL)
        r->inner->cancel(STEAL(r->inner));
    compose_ref(r->op.c);
    compose_op_over(&r->op);
    if (loop_defer(r->op.c->loop, running_closed, r) != 0)
        running_closed(r);
}

static void running_fault(struct running *r, const struct fault *f)
{
    if (r->over)
        return;
    r->u.done(r->ctx, f, -1);
    running_free(r);
}

static void running_drop(struct compose_op *op)
{
    struct fault f = {0};
    compose_fault_err(&f, &op->c->over);
    running_fault(CONTAINER_OF(op, struct running, op), &f);
}

static void on_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    struct running *r = ctx;
    if (!r->over)
        r->u.output(r->ctx, s, bytes);
}

static void on_drained(void *ctx)
{
    struct running *r = ctx;
    if (!r->over && r->u.drained != NULL)
        r->u.drained(r->ctx);
}

static void on_done(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct running *r = ctx;
    if (r->over)
        return;
    r->inner = NULL;
    r->u.done(r->ctx, f, exit_code);
    running_free(r);
}

/* Nothing that was asked for meanwhile is lost. */
static void hand_over(struct running *r)
{
    if (r->paused)
        r->inner->pause(r->inner, true);
    if (r->resized)
        (void)docker_engine_resize(r->inner, r->rows, r->columns);
    if (r->input.len > 0 || r->input_end)
        (void)docker_engine_write(r->inner, (struct slice){r->input.data, r->input.len},
                                  r->input_end);
    buf_done(&r->input);
}

/* The part's first running container; without a part, the only one. */
static const struct compose_box *pick(const struct compose_look *l, struct slice part,
                                      struct fault *f)
{
    const struct compose_box *found = NULL;
    bool named = false;
    for (size_t i = 0; i < l->n_boxes; i++) {
        const struct compose_box *b = &l->boxes[i];
        if (part.len > 0 && !compose_part_is(b, part))
            continue;
        named = true;
        if (b->state != COMPOSE_BOX_RUNNING)
            continue;
        if (part.len == 0 && found != NULL) {
            (void)fault_set(f, FAULT_INVALID_SPECIFICATION, ERR_INVALID,
                            "workload \"%s\" has several services: name one of them", l->id);
            return NULL;
        }
        if (found == NULL || b->number < found->number)
            found = b;
    }
    if (found == NULL && named)
        (void)fault_set(f, FAULT_RUNTIME_ERROR, ERR_STATE, "service \"%.*s\" does not run",
                        (int)(part.len < 100 ? part.len : 100), part.p != NULL ? part.p : "");
    else if (found == NULL)
        (void)compose_no_part(f, l, part);
    return found;
}

static void run_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct running *r = ctx;
    struct fault bad = {0};
    static const struct driver_exec_user user = {on_output, on_drained, on_done};
    r->look = NULL;
    const struct compose_box *b = f == NULL ? pick(l, r->order.part, &bad) : NULL;
    if (b == NULL) {
        running_fault(r, f != NULL ? f : &bad);
        return;
    }
    struct driver_exec_order o = r->order;
    o.id = slice_of(b->name);
    o.part = (struct slice){NULL, 0};
    if (docker_engine_exec(r->op.c->d, &o, &user, r, &r->inner, &bad.e) != 0) {
        r->inner = NULL;
        bad.reason = FAULT_RUNTIME_ERROR;
        running_fault(r, &bad);
        return;
    }
    hand_over(r);
}

static size_t list_size(const char *const *l, size_t *n)
{
    size_t bytes = 0;
    for (*n = 0; l != NULL && l[*n] != NULL; ++*n)
        bytes += strlen(l[*n]) + 1;
    return bytes;
}

static char *put(char **at, const char *s)
{
    char *to = *at;
    size_t n = strlen(s) + 1;
    memcpy(to, s, n);
    *at += n;
    return to;
}

/* The order's texts are the caller's, and the container is not known yet. */
static int copy_order(struct running *r, const struct driver_exec_order *o)
{
    size_t n_argv, n_env;
    size_t bytes = list_size(o->argv, &n_argv) + list_size(o->env, &n_env) + slice_of(o->user).len +
                   slice_of(o->working_dir).len + o->part.len + 3;
    r->order = *o;
    r->store = mem_alloc(bytes);
    r->argv = mem_calloc(n_argv + 1, sizeof(char *));
    r->env = mem_calloc(n_env + 1, sizeof(char *));
    if (r->store == NULL || r->argv == NULL || r->env == NULL)
        return ERR_NO_MEMORY;
    char *at = r->store;
    for (size_t i = 0; i < n_argv; i++)
        r->argv[i] = put(&at, o->argv[i]);
    for (size_t i = 0; i < n_env; i++)
        r->env[i] = put(&at, o->env[i]);
    r->order.argv = r->argv;
    r->order.env = o->env != NULL ? r->env : NULL;
    r->order.user = o->user != NULL ? put(&at, o->user) : NULL;
    r->order.working_dir = o->working_dir != NULL ? put(&at, o->working_dir) : NULL;
    if (o->part.len > 0)
        memcpy(at, o->part.p, o->part.len);
    r->order.part.p = at;
    return 0;
}

static void running_pause(struct driver_call *call, bool paused)
{
    struct running *r = CONTAINER_OF(call, struct running, base);
    r->paused = paused;
    if (r->inner != NULL)
        r->inner->pause(r->inner, paused);
}

static void running_cancel(struct driver_call *call)
{
    running_free(CONTAINER_OF(call, struct running, base));
}

int compose_exec_write(struct driver_call *call, struct slice bytes, bool end)
{
    struct running *r = CONTAINER_OF(call, struct running, base);
    if (r->inner != NULL)
        return docker_engine_write(r->inner, bytes, end);
    if (r->over || !r->order.interactive || r->input_end)
        return ERR_STATE;
    if (bytes.len > r->input.max - r->input.len)
        return ERR_LIMIT;
    int rc = bytes.len > 0 ? buf_add(&r->input, bytes.p, bytes.len) : 0;
    r->input_end = rc == 0 && end;
    return rc;
}

int compose_exec_resize(struct driver_call *call, uint16_t rows, uint16_t columns)
{
    struct running *r = CONTAINER_OF(call, struct running, base);
    if (r->inner != NULL)
        return docker_engine_resize(r->inner, rows, columns);
    if (r->over || !r->order.tty)
        return ERR_STATE;
    if (rows == 0 || columns == 0)
        return ERR_INVALID;
    r->resized = true;
    r->rows = rows;
    r->columns = columns;
    return 0;
}

int compose_exec(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                 void *ctx, struct driver_call **ret, struct err *e)
{
    struct compose *c = compose_of(self);
    int rc = workload_id_check(o->id, e);
    if (rc != 0)
        return rc;
    if (o->argv[0] == NULL)
        return err_set(e, ERR_INVALID, "a program to run is missing");
    struct running *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->base = (struct driver_call){running_cancel, running_pause};
    r->u = *u;
    r->ctx = ctx;
    buf_init(&r->input, 1 << 20);
    compose_op_begin(&r->op, c, running_drop);
    rc = copy_order(r, o);
    if (rc != 0)
        (void)err_set(e, rc, "out of memory");
    if (rc == 0)
        rc = compose_look_start(c, o->id, false, run_looked, r, &r->look, e);
    if (rc != 0)
        running_free(r);
    else
        *ret = &r->base;
    return rc;
}

/* ---- usage */

struct measuring {
    struct compose_op op;
    struct compose_look *look;
    driver_usage_fn fn;
    void *ctx;
    char *part;
    char (*ids)[DOCKER_ID_DIGITS + 1];
    size_t n, next, asked, heard;
    struct driver_usage sum;
    char id[WORKLOAD_ID_MAX + 1];
    struct measure {
        struct measuring *m;
        struct docker_query *query;
        const char *cid;
    } slots[COMPOSE_FILL_PARALLEL];
};

static void measuring_free(struct measuring *m)
{
    compose_look_cancel(m->look);
    for (size_t i = 0; i < COMPOSE_FILL_PARALLEL; i++)
        docker_query_cancel(m->slots[i].query);
    mem_free(m->ids);
    mem_free(m->part);
    compose_op_over(&m->op);
    mem_free(m);
}

static void measuring_end(struct measuring *m, const struct fault *f)
{
    m->fn(m->ctx, f, f == NULL ? &m->sum : NULL);
    measuring_free(m);
}

static void measuring_drop(struct compose_op *op)
{
    struct fault f = {0};
    compose_fault_err(&f, &op->c->over);
    measuring_end(CONTAINER_OF(op, struct measuring, op), &f);
}

static void sum_up(int64_t *to, int64_t more)
{
    if (more < 0)
        return;
    if (*to < 0)
        *to = 0;
    if (__builtin_add_overflow(*to, more, to))
        *to = INT64_MAX;
}

/* The sample is kept for the next time; nothing is when out of memory. */
static double cpu_since(struct compose *c, const char *cid, const struct docker_counts *now)
{
    struct docker_sample *s = map_get(&c->samples, slice_of(cid));
    if (s == NULL) {
        s = mem_zalloc(sizeof(*s));
        if (s == NULL || map_put(&c->samples, slice_of(cid), s) != 0) {
            mem_free(s);
            return -1;
        }
    }
    return docker_stats_next(s, now);
}

static void measured(void *ctx, const struct err *e, json_t *root);

static void ask_more(struct measuring *m)
{
    struct compose *c = m->op.c;
    for (size_t i = 0; i < COMPOSE_FILL_PARALLEL; i++) {
        struct measure *s = &m->slots[i];
        while (s->query == NULL && m->next < m->n) {
            char path[160];
            *s = (struct measure){.m = m, .cid = m->ids[m->next++]};
            (void)snprintf(path, sizeof(path), "/containers/%s/stats?stream=false&one-shot=1",
                           s->cid);
            if (docker_query(c->d, HTTP_METHOD_GET, path, c->look_ms, measured, s, &s->query,
                             NULL) == 0)
                m->asked++;
        }
    }
}

static void measured(void *ctx, const struct err *e, json_t *root)
{
    struct measure *s = ctx;
    struct measuring *m = s->m;
    struct docker_counts n;
    struct fault f = {0};
    s->query = NULL;
    m->asked--;
    if (e->code == ERR_UNREACHABLE || e->code == ERR_CANCELLED) {
        compose_fault_err(&f, e);
        measuring_end(m, &f);
        return;
    }
    if (e->code == 0 && docker_stats_read(root, &n)) {
        double percent = cpu_since(m->op.c, s->cid, &n);
        if (percent >= 0)
            m->sum.cpu_percent = (m->sum.cpu_percent < 0 ? 0 : m->sum.cpu_percent) + percent;
        sum_up(&m->sum.memory_bytes, n.memory_bytes);
        sum_up(&m->sum.disk_read_bytes, n.disk_read_bytes);
        sum_up(&m->sum.disk_write_bytes, n.disk_write_bytes);
        sum_up(&m->sum.net_rx_bytes, n.net_rx_bytes);
        sum_up(&m->sum.net_tx_bytes, n.net_tx_bytes);
        m->heard++;
    }
    ask_more(m);
    if (m->asked > 0)
        return;
    m->sum.collected_ns = clock_real_ns(loop_clock(m->op.c->loop));
    if (m->heard == 0)
        (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_STATE, "workload \"%s\" does not run", m->id);
    measuring_end(m, m->heard == 0 ? &f : NULL);
}

static void usage_looked(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct measuring *m = ctx;
    struct fault bad = {0};
    bool named = false;
    struct slice part = slice_of(m->part);
    m->look = NULL;
    m->ids = f == NULL ? mem_calloc(l->n_boxes + 1, sizeof(*m->ids)) : NULL;
    for (size_t i = 0; m->ids != NULL && i < l->n_boxes; i++) {
        const struct compose_box *b = &l->boxes[i];
        if (part.len > 0 && !compose_part_is(b, part))
            continue;
        named = true;
        if (b->state == COMPOSE_BOX_RUNNING || b->state == COMPOSE_BOX_PAUSED)
            (void)snprintf(m->ids[m->n++], sizeof(*m->ids), "%s", b->id);
    }
    if (f == NULL && m->ids == NULL)
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    else if (f == NULL && !named && (part.len > 0 || l->n_boxes == 0))
        (void)compose_no_part(&bad, l, part);
    else if (f == NULL && m->n == 0)
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_STATE, "workload \"%s\" does not run",
                        m->id);
    if (f == NULL && bad.e.code == 0) {
        ask_more(m);
        if (m->asked > 0)
            return;
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    }
    measuring_end(m, f != NULL ? f : &bad);
}

int compose_usage_part(void *self, struct slice id, struct slice part, driver_usage_fn fn,
                       void *ctx)
{
    struct compose *c = compose_of(self);
    if (workload_id_check(id, NULL) != 0)
        return ERR_NOT_FOUND;
    struct measuring *m = mem_zalloc(sizeof(*m));
    if (m == NULL)
        return ERR_NO_MEMORY;
    m->fn = fn;
    m->ctx = ctx;
    memcpy(m->id, id.p, id.len);
    m->sum = (struct driver_usage){.id = slice_of(m->id),
                                   .cpu_percent = -1,
                                   .memory_bytes = -1,
                                   .disk_read_bytes = -1,
                                   .disk_write_bytes = -1,
                                   .net_rx_bytes = -1,
                                   .net_tx_bytes = -1,
                                   .source = "compose"};
    compose_op_begin(&m->op, c, measuring_drop);
    int rc = part.len == 0 || (m->part = mem_strndup(part.p, part.len)) != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0)
        rc = compose_look_start(c, id, false, usage_looked, m, &m->look, NULL);
    if (rc != 0)
        measuring_free(m);
    return rc;
}

int compose_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    return compose_usage_part(self, id, (struct slice){NULL, 0}, fn, ctx);
}
