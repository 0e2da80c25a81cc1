/* Usage, of all domains with one question: who asks for one while an answer is on its way, or is
 * not old, gets his part of it. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <stdlib.h>

enum { FRESH_MS = 2000 };

struct sample {
    char name[WORKLOAD_ID_MAX + 1];
    uint64_t cpu_ns;
    int64_t memory_bytes, disk_read_bytes, disk_write_bytes, net_rx_bytes, net_tx_bytes;
};

struct request {
    struct list_node link;
    driver_usage_fn fn;
    void *ctx;
    char id[WORKLOAD_ID_MAX + 1];
};

struct virt_rounds {
    struct list_node requests;
    bool asking, deferred;
    struct sample *samples; /* of the last answer, by name */
    size_t n;
    uint64_t at_ms; /* monotonic; 0: there is none */
    int64_t at_ns;  /* wall time */
};

struct usage_job {
    struct virt_job job;
    struct sample *samples; /* answer */
    size_t n;
};

/* ---- on the thread */

/* What is more than can be written down stays at the most that can. */
static void add(int64_t *to, uint64_t value)
{
    uint64_t have = *to < 0 ? 0 : (uint64_t)*to, room = INT64_MAX - have;
    *to = (int64_t)(have + (value < room ? value : room));
}

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

static void take_param(struct sample *s, const virTypedParameter *p)
{
    if (p->type != VIR_TYPED_PARAM_ULLONG)
        return;
    uint64_t value = p->value.ul;
    if (strcmp(p->field, "cpu.time") == 0)
        s->cpu_ns = value;
    else if (strcmp(p->field, "balloon.rss") == 0)
        add(&s->memory_bytes, value < UINT64_MAX / 1024 ? value * 1024 : UINT64_MAX);
    else if (strncmp(p->field, "block.", 6) == 0 && ends(p->field, ".rd.bytes"))
        add(&s->disk_read_bytes, value);
    else if (strncmp(p->field, "block.", 6) == 0 && ends(p->field, ".wr.bytes"))
        add(&s->disk_write_bytes, value);
    else if (strncmp(p->field, "net.", 4) == 0 && ends(p->field, ".rx.bytes"))
        add(&s->net_rx_bytes, value);
    else if (strncmp(p->field, "net.", 4) == 0 && ends(p->field, ".tx.bytes"))
        add(&s->net_tx_bytes, value);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sample *)a)->name, ((const struct sample *)b)->name);
}

static void usage_run(struct virt_job *job, struct virt_thread *t)
{
    struct usage_job *j = CONTAINER_OF(job, struct usage_job, job);
    virDomainStatsRecordPtr *records = NULL;
    int n = t->lib->ConnectGetAllDomainStats(
        t->conn,
        VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_INTERFACE |
            VIR_DOMAIN_STATS_BLOCK,
        &records,
        VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0) {
        (void)virt_failed(t, &job->f, "the usage of domains");
        return;
    }
    j->samples = mem_calloc((size_t)n + 1, sizeof(*j->samples));
    if (j->samples == NULL)
        (void)fault_set(&job->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < n && j->samples != NULL; i++) {
        struct sample *s = &j->samples[j->n];
        const char *name = t->lib->DomainGetName(records[i]->dom);
        if (name == NULL || strlen(name) >= sizeof(s->name))
            continue; /* not one of ours */
        *s = (struct sample){"", 0, -1, -1, -1, -1, -1};
        (void)snprintf(s->name, sizeof(s->name), "%s", name);
        for (int k = 0; k < records[i]->nparams; k++)
            take_param(s, &records[i]->params[k]);
        j->n++;
    }
    if (j->n > 1)
        qsort(j->samples, j->n, sizeof(*j->samples), by_name);
    t->lib->DomainStatsRecordListFree(records);
}

/* ---- on the loop */

/* Percent of one core since the sample before. */
static double cpu_of(struct virt_kept *k, const struct sample *s, int64_t now_ns)
{
    if (k == NULL)
        return -1;
    if (k->cpu_at_ns == now_ns)
        return k->cpu_percent; /* the same sample, asked for again */
    bool grew = k->cpu_at_ns > 0 && now_ns > k->cpu_at_ns && s->cpu_ns >= k->cpu_ns;
    k->cpu_percent =
        grew ? 100.0 * (double)(s->cpu_ns - k->cpu_ns) / (double)(now_ns - k->cpu_at_ns) : -1;
    k->cpu_ns = s->cpu_ns;
    k->cpu_at_ns = now_ns;
    return k->cpu_percent;
}

static const struct sample *find(const struct virt_rounds *r, const struct request *q)
{
    struct sample key;
    memcpy(key.name, q->id, sizeof(key.name));
    return r->n > 0 ? bsearch(&key, r->samples, r->n, sizeof(key), by_name) : NULL;
}

static void answer_one(struct virt *v, struct request *q, const struct fault *f)
{
    struct virt_rounds *r = v->usage;
    struct fault none = {0};
    const struct sample *s = f == NULL ? find(r, q) : NULL;
    if (s == NULL) {
        (void)fault_set(&none, FAULT_RUNTIME_ERROR, ERR_STATE, "domain \"%s\" does not run", q->id);
        q->fn(q->ctx, f != NULL ? f : &none, NULL);
    } else {
        const struct driver_usage u = {
            .id = slice_of(q->id),
            .cpu_percent = cpu_of(virt_keep(v, slice_of(q->id)), s, r->at_ns),
            .memory_bytes = s->memory_bytes,
            .disk_read_bytes = s->disk_read_bytes,
            .disk_write_bytes = s->disk_write_bytes,
            .net_rx_bytes = s->net_rx_bytes,
            .net_tx_bytes = s->net_tx_bytes,
            .collected_ns = r->at_ns,
            .source = "libvirt",
        };
        q->fn(q->ctx, NULL, &u);
    }
    mem_free(q);
}

static void answer_all(struct virt *v, const struct fault *f)
{
    struct list_node now;
    list_init(&now);
    LIST_FOR_SAFE (n, &v->usage->requests) {
        list_remove(n);
        list_push_back(&now, n);
    }
    while (!list_empty(&now)) {
        struct request *q = CONTAINER_OF(list_first(&now), struct request, link);
        list_remove(&q->link);
        answer_one(v, q, f);
    }
}

static void usage_end(struct virt_job *job, const struct fault *f)
{
    struct virt *v = job->v;
    struct usage_job *j = CONTAINER_OF(job, struct usage_job, job);
    struct virt_rounds *r = v->usage;
    r->asking = false;
    if (f == NULL) {
        mem_free(r->samples);
        r->samples = STEAL(j->samples);
        r->n = j->n;
        r->at_ms = loop_now_ms(v->loop);
        r->at_ns = clock_real_ns(loop_clock(v->loop));
    }
    answer_all(v, f);
}

static void usage_release(struct virt_job *job)
{
    struct usage_job *j = CONTAINER_OF(job, struct usage_job, job);
    mem_free(j->samples);
    mem_free(j);
}

static int ask(struct virt *v);

static void answer_fresh(void *ctx)
{
    struct virt *v = ctx;
    struct virt_rounds *r = v->usage;
    struct fault f = {0};
    bool missed = false;
    (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    r->deferred = false;
    /* One that was started since is not in it: then all of them get the next one. */
    LIST_FOR (n, &r->requests)
        missed = missed || find(r, CONTAINER_OF(n, struct request, link)) == NULL;
    if (missed && !v->closing) {
        r->at_ms = 0;
        if (ask(v) != 0) {
            f.e.code = ERR_NO_MEMORY;
            answer_all(v, &f);
        }
    } else {
        answer_all(v, v->closing ? &f : NULL);
    }
    virt_unref(v);
}

static int ask(struct virt *v)
{
    struct virt_rounds *r = v->usage;
    uint64_t now = loop_now_ms(v->loop);
    if (r->asking || r->deferred)
        return 0;
    if (r->at_ms != 0 && now - r->at_ms < FRESH_MS) {
        if (loop_defer(v->loop, answer_fresh, v) != 0)
            return ERR_NO_MEMORY;
        (void)virt_ref(v);
        r->deferred = true;
        return 0;
    }
    struct usage_job *j = mem_zalloc(sizeof(*j));
    if (j == NULL)
        return ERR_NO_MEMORY;
    j->job.run = usage_run;
    j->job.end = usage_end;
    j->job.release = usage_release;
    j->job.limit_ms = 2 * v->o.look_ms;
    r->asking = true;
    virt_job_send(v, &j->job);
    return 0;
}

int virt_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx)
{
    struct virt *v = virt_of(self);
    if (v->usage == NULL) {
        v->usage = mem_zalloc(sizeof(*v->usage));
        if (v->usage == NULL)
            return ERR_NO_MEMORY;
        list_init(&v->usage->requests);
    }
    struct request *q = id.len <= WORKLOAD_ID_MAX ? mem_zalloc(sizeof(*q)) : NULL;
    if (q == NULL)
        return ERR_NO_MEMORY;
    memcpy(q->id, id.p, id.len);
    q->fn = fn;
    q->ctx = ctx;
    list_push_back(&v->usage->requests, &q->link);
    int rc = ask(v);
    if (rc != 0) {
        list_remove(&q->link);
        mem_free(q);
    }
    return rc;
}

void virt_usage_free(struct virt *v)
{
    if (v->usage == NULL)
        return;
    mem_free(v->usage->samples);
    mem_free(v->usage);
}
