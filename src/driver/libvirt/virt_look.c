/* Looking: one domain by its name, or all of ours with one question. What descriptions say is kept
 * on the thread until an event tells that they have changed. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <stdio.h>

enum { KNOWN_SPARE = 100 };

/* ---- one */

struct look {
    struct virt_job job;
    virt_look_fn fn;
    void *ctx;
    struct virt_seen seen; /* answer */
    char id[WORKLOAD_ID_MAX + 1];
};

static void look_run(struct virt_job *j, struct virt_thread *t)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    virDomainPtr d = virt_find(t, l->id, &j->f);
    if (d == NULL) {
        if (j->f.e.code == ERR_NOT_FOUND)
            j->f = (struct fault){0}; /* that is an answer */
        return;
    }
    struct virt_facts *facts = virt_know(t, d, &j->f);
    if (facts != NULL && t->lib->DomainGetState(d, &l->seen.state, &l->seen.reason, 0) != 0) {
        virt_facts_unref(facts);
        facts = NULL;
        if (virt_failed(t, &j->f, "the state of domain \"%s\"", l->id) == ERR_NOT_FOUND)
            j->f = (struct fault){0};
    }
    l->seen.facts = facts;
    (void)t->lib->DomainFree(d);
}

static void look_end(struct virt_job *j, const struct fault *f)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    l->fn(l->ctx, f, f == NULL ? &l->seen : NULL);
}

static void look_release(struct virt_job *j)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    virt_facts_unref(l->seen.facts);
    mem_free(l);
}

int virt_look(struct virt *v, struct slice id, virt_look_fn fn, void *ctx)
{
    struct look *l = id.len <= WORKLOAD_ID_MAX ? mem_zalloc(sizeof(*l)) : NULL;
    if (l == NULL)
        return ERR_NO_MEMORY;
    memcpy(l->id, id.p, id.len);
    l->fn = fn;
    l->ctx = ctx;
    l->job = (struct virt_job){
        .run = look_run, .end = look_end, .release = look_release, .limit_ms = v->o.look_ms};
    virt_job_send(v, &l->job);
    return 0;
}

/* ---- as an object */

static void add_meta(struct virt_object *x, const char *key, const char *value)
{
    if (value == NULL || x->o.n_meta == VIRT_METAS)
        return;
    x->meta[x->o.n_meta++] = (struct driver_meta){key, value};
}

/* Why a machine is emulated, which is slow; NULL: it is not. */
static const char *why_emulated(const struct virt *v, const struct virt_facts *f)
{
    if (strcmp(f->type, "qemu") != 0)
        return NULL;
    if (v->o.accelerator == VIRT_QEMU)
        return "the configuration says so";
    if (v->kvm_refused)
        return "KVM was tried and does not work here";
    return v->kvm ? "KVM could not be had when it was defined" : "libvirt offers no KVM here";
}

static void add_kept(struct virt_object *x, const struct virt_kept *k)
{
    x->o.address = k->primary != NULL ? k->primary : "";
    add_meta(x, "vm.ip_addresses", k->addresses);
    add_meta(x, "vm.primary_ip", k->primary);
    add_meta(x, "vm.interfaces", k->interfaces);
    add_meta(x, "vm.network_lookup_error", k->lookup_error);
    x->o.started_ns = k->started_ns;
    x->o.finished_ns = k->finished_ns;
    if (k->seed_path == NULL)
        return;
    (void)snprintf(x->bytes, sizeof(x->bytes), "%zu", k->seed_bytes);
    time_format_rfc3339(x->prepared, k->seed_ns);
    add_meta(x, "vm.cloud_init_seed_checksum", k->seed_checksum);
    add_meta(x, "vm.cloud_init_seed_size_bytes", x->bytes);
    add_meta(x, "vm.cloud_init_seed_prepared_at", x->prepared);
}

void virt_object_fill(struct virt_object *x, struct virt *v, const struct virt_seen *s)
{
    const struct virt_facts *f = s->facts;
    struct virt_kept *k = virt_keep(v, slice_of(f->name));
    *x = (struct virt_object){0};
    (void)snprintf(x->state, sizeof(x->state), "%d", s->state);
    (void)snprintf(x->reason, sizeof(x->reason), "%d", s->reason);
    x->o = (struct driver_object){
        .id = slice_of(f->name),
        .revision = slice_of(f->revision),
        .object_id = slice_of(f->uuid),
        .node_id = slice_of(f->node),
        .print = slice_of(f->print),
        .actual = virt_status(s->state, s->reason, x->message, sizeof(x->message)),
        .message = x->message,
        .exit_code = -1,
        .address = "",
        .meta = x->meta,
    };
    if (s->state == VIR_DOMAIN_CRASHED ||
        (s->state == VIR_DOMAIN_SHUTOFF && s->reason == VIR_DOMAIN_SHUTOFF_CRASHED))
        x->o.cause = STOP_CRASH;
    add_meta(x, "vm.domain_state", virt_state_word(s->state));
    add_meta(x, "vm.domain_state_code", x->state);
    add_meta(x, "vm.domain_reason", virt_reason_word(s->state, s->reason));
    add_meta(x, "vm.domain_reason_code", x->reason);
    add_meta(x, "vm.accelerator", f->type);
    add_meta(x, "vm.accelerator_reason", why_emulated(v, f));
    if (f->macs[0] != '\0')
        add_meta(x, "vm.mac_addresses", f->macs);
    if (f->seed[0] != '\0')
        add_meta(x, "vm.cloud_init_seed_path", f->seed);
    if (k == NULL)
        return;
    k->running = s->state == VIR_DOMAIN_RUNNING;
    if (s->state == VIR_DOMAIN_SHUTOFF || s->state == VIR_DOMAIN_CRASHED)
        virt_address_clear(k); /* its event may come later, or have been lost */
    if (k->running && k->addresses == NULL && !v->slow_set && !v->addressing)
        virt_slow_soon(v, VIRT_SETTLE_MS);
    add_kept(x, k);
}

struct inspect {
    struct virt *v;
    driver_object_fn fn;
    void *ctx;
};

static void inspected(void *ctx, const struct fault *f, const struct virt_seen *s)
{
    struct inspect *i = ctx;
    struct virt_object x;
    struct fault other = {0};
    if (f != NULL || s->facts == NULL) {
        i->fn(i->ctx, f, NULL);
    } else if (!s->facts->ours) {
        (void)fault_set(&other, FAULT_INVALID_CONFIGURATION, ERR_EXISTS,
                        "domain \"%s\" is not ours", s->facts->name);
        i->fn(i->ctx, &other, NULL);
    } else {
        virt_object_fill(&x, i->v, s);
        i->fn(i->ctx, NULL, &x.o);
    }
    mem_free(i);
}

int virt_look_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct inspect *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return ERR_NO_MEMORY;
    *i = (struct inspect){virt_of(self), fn, ctx};
    int rc = virt_look(i->v, id, inspected, i);
    if (rc != 0)
        mem_free(i);
    return rc;
}

/* ---- all */

struct list_job {
    struct virt_job job;
    driver_list_fn fn;
    void *ctx;
    struct virt_seen *items; /* answer: ours */
    size_t n;
};

static void list_one(struct list_job *l, struct virt_thread *t, virDomainStatsRecordPtr r,
                     struct fault *f)
{
    struct virt_seen s = {0};
    for (int i = 0; i < r->nparams; i++) {
        if (strcmp(r->params[i].field, "state.state") == 0)
            s.state = r->params[i].value.i;
        else if (strcmp(r->params[i].field, "state.reason") == 0)
            s.reason = r->params[i].value.i;
    }
    s.facts = virt_know(t, r->dom, f);
    /* It went between the two questions; or somebody's own domain has a description beyond our
     * limits, which must not hide all the others. */
    if (s.facts == NULL && (f->e.code == ERR_NOT_FOUND || f->e.code == ERR_SYNTAX ||
                            f->e.code == ERR_INVALID || f->e.code == ERR_LIMIT))
        *f = (struct fault){0};
    if (s.facts != NULL && s.facts->ours)
        l->items[l->n++] = s;
    else
        virt_facts_unref(s.facts);
}

static void list_run(struct virt_job *j, struct virt_thread *t)
{
    struct list_job *l = CONTAINER_OF(j, struct list_job, job);
    virDomainStatsRecordPtr *records = NULL;
    int n = t->lib->ConnectGetAllDomainStats(t->conn, VIR_DOMAIN_STATS_STATE, &records,
                                             VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0) {
        (void)virt_failed(t, &j->f, "the list of domains");
        return;
    }
    l->items = mem_calloc((size_t)n + 1, sizeof(*l->items));
    if (l->items == NULL)
        (void)fault_set(&j->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < n && j->f.e.code == 0; i++)
        list_one(l, t, records[i], &j->f);
    if (map_count(&t->known) > (size_t)n + KNOWN_SPARE) /* many that came and went */
        virt_forget_all(t);
    t->lib->DomainStatsRecordListFree(records);
}

/* What is kept of workloads that are gone goes with them. */
static void forget_others(struct virt *v)
{
    for (struct map_entry *e = map_first(&v->kept), *next; e != NULL; e = next) {
        struct virt_kept *k = map_value(e);
        next = map_next(e);
        if (!k->fresh && map_get(&v->acts, map_key(e)) == NULL)
            virt_kept_free(map_take(&v->kept, map_key(e)));
        else
            k->fresh = false;
    }
}

static void list_answer(struct list_job *l)
{
    struct virt *v = l->job.v;
    struct virt_object *x = mem_calloc(l->n + 1, sizeof(*x));
    struct driver_object *objects = mem_calloc(l->n + 1, sizeof(*objects));
    struct fault f = {0};
    if (x == NULL || objects == NULL) {
        (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        l->fn(l->ctx, &f, NULL, 0);
    } else {
        for (size_t i = 0; i < l->n; i++) {
            struct virt_kept *k = virt_keep(v, slice_of(l->items[i].facts->name));
            if (k != NULL)
                k->fresh = true;
            virt_object_fill(&x[i], v, &l->items[i]);
            objects[i] = x[i].o;
        }
        forget_others(v);
        l->fn(l->ctx, NULL, objects, l->n);
    }
    mem_free(objects);
    mem_free(x);
}

static void list_end(struct virt_job *j, const struct fault *f)
{
    struct list_job *l = CONTAINER_OF(j, struct list_job, job);
    if (f != NULL)
        l->fn(l->ctx, f, NULL, 0);
    else
        list_answer(l);
}

static void list_release(struct virt_job *j)
{
    struct list_job *l = CONTAINER_OF(j, struct list_job, job);
    for (size_t i = 0; i < l->n; i++)
        virt_facts_unref(l->items[i].facts);
    mem_free(l->items);
    mem_free(l);
}

int virt_look_list(void *self, driver_list_fn fn, void *ctx)
{
    struct virt *v = virt_of(self);
    struct list_job *l = mem_zalloc(sizeof(*l));
    if (l == NULL)
        return ERR_NO_MEMORY;
    l->fn = fn;
    l->ctx = ctx;
    l->job = (struct virt_job){
        .run = list_run, .end = list_end, .release = list_release, .limit_ms = 2 * v->o.look_ms};
    virt_job_send(v, &l->job);
    return 0;
}
