/* What acts ask of libvirt. Each looks first whether the domain is ours, and does nothing to one
 * that is not. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <stdio.h>

enum { FILES_MAX = 256 << 10, META_MAX = 4096 };

struct ask {
    struct virt_job job;
    virt_result_fn fn; /* NULL: nobody waits any more */
    void *ctx;
    struct virt_result result; /* answer; `seen` holds a reference */
    struct buf files, xml;
    bool for_good; /* of undefine */
    char id[WORKLOAD_ID_MAX + 1], revision[WORKLOAD_REVISION_MAX + 1], print[128], node_id[256];
};

static void ask_end(struct virt_job *j, const struct fault *f)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    struct virt_result nothing = {0};
    if (a->fn == NULL)
        return;
    if (f != &j->f && f != NULL) {
        a->fn(a->ctx, f, &nothing); /* given up: the thread may still be writing */
        return;
    }
    a->result.files = a->files.data;
    a->fn(a->ctx, f, &a->result);
}

static void ask_release(struct virt_job *j)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    virt_facts_unref(a->result.seen.facts);
    if (a->xml.data != NULL)
        mem_wipe(a->xml.data, a->xml.cap);
    buf_done(&a->xml);
    buf_done(&a->files);
    mem_free(a);
}

void virt_job_orphan(struct virt_job *j)
{
    if (j != NULL)
        CONTAINER_OF(j, struct ask, job)->fn = NULL;
}

/* ---- on the thread */

/* Looks at it. False: it is not there, not ours, or cannot be looked at (j->f). `fresh`: what is
 * known of it is asked for anew. */
static bool look(struct ask *a, struct virt_thread *t, virDomainPtr d)
{
    struct virt_seen *s = &a->result.seen;
    virt_facts_unref(STEAL(s->facts));
    struct virt_facts *facts = virt_know(t, d, &a->job.f);
    if (facts == NULL)
        return false;
    s->facts = facts;
    if (t->lib->DomainGetState(d, &s->state, &s->reason, 0) == 0)
        return true;
    (void)virt_failed(t, &a->job.f, "the state of domain \"%s\"", a->id);
    return false;
}

/* How it is after what was asked for is done: that this cannot be told does not undo it. */
static void look_after(struct ask *a, struct virt_thread *t, virDomainPtr d)
{
    if (look(a, t, d))
        return;
    a->job.f = (struct fault){0};
    virt_facts_unref(STEAL(a->result.seen.facts));
}

/* The domain, ours. NULL: there is none of ours (result.none), or j->f says more. */
static virDomainPtr ours(struct ask *a, struct virt_thread *t)
{
    struct fault *f = &a->job.f;
    virDomainPtr d = virt_find(t, a->id, f);
    if (d != NULL && look(a, t, d) && a->result.seen.facts->ours)
        return d;
    if (d != NULL && f->e.code == 0) {
        (void)fault_set(f, FAULT_INVALID_CONFIGURATION, ERR_EXISTS,
                        "domain \"%s\" is not ours, and is left alone", a->id);
        virt_facts_unref(STEAL(a->result.seen.facts));
    }
    if (d != NULL)
        (void)t->lib->DomainFree(d);
    a->result.none = f->e.code == ERR_NOT_FOUND || f->e.code == ERR_EXISTS;
    return NULL;
}

static void start_run(struct virt_job *j, struct virt_thread *t)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    virDomainPtr d = ours(a, t);
    int rc = 0;
    if (d == NULL)
        return;
    if (a->result.seen.state == VIR_DOMAIN_PAUSED)
        rc = t->lib->DomainResume(d);
    else if (a->result.seen.state == VIR_DOMAIN_PMSUSPENDED)
        rc = t->lib->DomainPMWakeup(d, 0);
    else if (a->result.seen.state != VIR_DOMAIN_RUNNING &&
             a->result.seen.state != VIR_DOMAIN_BLOCKED)
        rc = t->lib->DomainCreate(d);
    if (rc != 0) {
        (void)virt_failed(t, &j->f, "domain \"%s\" cannot be started", a->id);
        a->result.kvm_refused = strcmp(a->result.seen.facts->type, "kvm") == 0 &&
                                j->f.e.code != ERR_UNREACHABLE && virt_is_kvm_trouble(j->f.e.msg);
    } else {
        look_after(a, t, d);
    }
    (void)t->lib->DomainFree(d);
}

static bool is_off(const struct ask *a)
{
    return a->result.seen.state == VIR_DOMAIN_SHUTOFF || a->result.seen.state == VIR_DOMAIN_CRASHED;
}

/* Of a stop, what is not there, or not ours, is no failure: there is nothing to do. */
static bool nothing_to_stop(struct ask *a)
{
    if (!a->result.none)
        return false;
    a->job.f = (struct fault){0};
    a->result.off = true;
    return true;
}

static void destroy(struct ask *a, struct virt_thread *t, virDomainPtr d)
{
    if (t->lib->DomainDestroyFlags(d, VIR_DOMAIN_DESTROY_DEFAULT) != 0 &&
        virt_failed(t, &a->job.f, "domain \"%s\" cannot be stopped", a->id) == ERR_STATE)
        a->job.f = (struct fault){0}; /* it has ended by itself */
    if (a->job.f.e.code != 0)
        return;
    look_after(a, t, d);
    a->result.off = true;
}

/* Asks the guest to switch off. One that is frozen could not hear it. */
static void shutdown_run(struct virt_job *j, struct virt_thread *t)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    virDomainPtr d = ours(a, t);
    if (d == NULL) {
        (void)nothing_to_stop(a);
        return;
    }
    if (a->result.seen.state == VIR_DOMAIN_PAUSED)
        (void)t->lib->DomainResume(d);
    if (is_off(a)) {
        a->result.off = true;
    } else if (t->lib->DomainShutdownFlags(d, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) != 0) {
        struct fault why = {0};
        a->result.deaf = true;
        if (virt_failed(t, &why, "domain \"%s\" cannot be asked to switch off", a->id) ==
            ERR_UNREACHABLE)
            j->f = why;
    }
    (void)t->lib->DomainFree(d);
}

/* The files of its disks, for who removes them afterwards. */
static void tell_files(struct ask *a, struct virt_thread *t, virDomainPtr d)
{
    struct domain_seen *s = mem_zalloc(sizeof(*s)); /* large */
    struct buf others = BUF_INIT(VIRT_USERS_MAX);
    char *xml = t->lib->DomainGetXMLDesc(d, VIR_DOMAIN_XML_INACTIVE);
    if (xml == NULL)
        (void)virt_failed(t, &a->job.f, "the description of domain \"%s\"", a->id);
    else if (s == NULL)
        (void)fault_set(&a->job.f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    else if (virt_users_read(t, a->id, &others, &a->job.f) == 0 &&
             domain_xml_read(s, slice_of(xml), &a->job.f.e) == 0) {
        for (size_t i = 0; i < s->n_disks; i++)
            if (strcmp(s->disks[i].type, "file") == 0 && s->disks[i].path[0] == '/' &&
                !virt_users_have(&others, s->disks[i].path))
                (void)buf_add(&a->files, s->disks[i].path, strlen(s->disks[i].path) + 1);
        if (buf_addc(&a->files, '\0') != 0)
            (void)fault_set(&a->job.f, FAULT_RUNTIME_ERROR, a->files.err, "out of memory");
        domain_seen_done(s);
    }
    mem_free(s);
    buf_done(&others);
    free(xml);
}

static void destroy_run(struct virt_job *j, struct virt_thread *t)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    virDomainPtr d = ours(a, t);
    if (d == NULL) {
        (void)nothing_to_stop(a);
        return;
    }
    if (is_off(a))
        a->result.off = true;
    else
        destroy(a, t, d);
    if (j->f.e.code == 0)
        tell_files(a, t, d);
    (void)t->lib->DomainFree(d);
}

static void undefine_run(struct virt_job *j, struct virt_thread *t)
{
    /* Some drivers do not know all of them, for want of what they are about. */
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    const unsigned always =
        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
    const unsigned nvram = a->for_good ? VIR_DOMAIN_UNDEFINE_NVRAM : VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
    const unsigned flags[] = {always | nvram | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA, always};
    virDomainPtr d = ours(a, t);
    int code = ERR_INVALID;
    if (d == NULL) {
        (void)nothing_to_stop(a);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(flags) && code == ERR_INVALID; i++) {
        j->f = (struct fault){0};
        code = t->lib->DomainUndefineFlags(d, flags[i]) == 0
                   ? 0
                   : virt_failed(t, &j->f, "domain \"%s\" cannot be removed", a->id);
    }
    if (code == ERR_NOT_FOUND)
        j->f = (struct fault){0};
    virt_forget(t, a->id);
    virt_facts_unref(STEAL(a->result.seen.facts));
    (void)t->lib->DomainFree(d);
}

/* Our element into the metadata of one that is not ours yet: nothing of what runs is touched. */
static void adopt_run(struct virt_job *j, struct virt_thread *t)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    struct buf xml = BUF_INIT(META_MAX);
    const struct {
        const char *name, *value;
    } rows[] = {
        {"id", a->id}, {"revision", a->revision}, {"print", a->print}, {"node", a->node_id}};
    virDomainPtr d = virt_find(t, a->id, &j->f);
    if (d == NULL)
        return;
    unsigned where = VIR_DOMAIN_AFFECT_CONFIG;
    (void)buf_addlit(&xml, "<workload");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)buf_addf(&xml, " %s=\"", rows[i].name);
        int rc = xml_add_text(&xml, slice_of(rows[i].value));
        if (rc != 0 && xml.err == 0)
            (void)fault_set(&j->f, FAULT_INVALID_SPECIFICATION, rc,
                            "\"%s\" cannot be written down for libvirt", rows[i].value);
        (void)buf_addlit(&xml, "\"");
    }
    (void)buf_addlit(&xml, "/>");
    if (j->f.e.code == 0 && xml.err != 0)
        (void)fault_set(&j->f, FAULT_RUNTIME_ERROR, xml.err, "out of memory");
    if (j->f.e.code == 0 && look(a, t, d)) {
        where |= is_off(a) ? 0u : (unsigned)VIR_DOMAIN_AFFECT_LIVE;
        if (t->lib->DomainSetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, xml.data, DOMAIN_NS_PREFIX,
                                      DOMAIN_NS, where) != 0)
            (void)virt_failed(t, &j->f, "domain \"%s\" cannot be taken over", a->id);
        virt_forget(t, a->id);
    }
    if (j->f.e.code == 0)
        look_after(a, t, d);
    buf_done(&xml);
    (void)t->lib->DomainFree(d);
}

static void define_run(struct virt_job *j, struct virt_thread *t)
{
    struct ask *a = CONTAINER_OF(j, struct ask, job);
    virDomainPtr d = t->lib->DomainDefineXML(t->conn, a->xml.data);
    if (d == NULL) {
        (void)virt_failed(t, &j->f, "domain \"%s\" cannot be defined", a->id);
        return;
    }
    virt_forget(t, a->id);
    look_after(a, t, d);
    (void)t->lib->DomainFree(d);
}

/* ---- on the loop */

static bool keep_text(char *to, size_t size, struct slice from)
{
    if (from.len >= size)
        return false;
    if (from.len > 0)
        memcpy(to, from.p, from.len);
    to[from.len] = '\0';
    return true;
}

static struct ask *ask_new(struct virt *v, struct slice id, virt_result_fn fn, void *ctx)
{
    struct ask *a = mem_zalloc(sizeof(*a));
    if (a == NULL || !keep_text(a->id, sizeof(a->id), id)) {
        mem_free(a);
        return NULL;
    }
    a->fn = fn;
    a->ctx = ctx;
    buf_init(&a->files, FILES_MAX);
    a->job.end = ask_end;
    a->job.release = ask_release;
    a->job.limit_ms = v->o.act_ms;
    return a;
}

int virt_ask_send(struct virt *v, const struct virt_ask *q, virt_result_fn fn, void *ctx,
                  struct virt_job **ret)
{
    static void (*const runs[])(struct virt_job *, struct virt_thread *) = {
        [VIRT_START] = start_run,     [VIRT_SHUTDOWN] = shutdown_run,
        [VIRT_DESTROY] = destroy_run, [VIRT_UNDEFINE] = undefine_run,
        [VIRT_ADOPT] = adopt_run,
    };
    struct ask *a = ask_new(v, q->id, fn, ctx);
    if (a == NULL || !keep_text(a->revision, sizeof(a->revision), q->revision) ||
        !keep_text(a->print, sizeof(a->print), q->print) ||
        !keep_text(a->node_id, sizeof(a->node_id), q->node_id)) {
        mem_free(a);
        return ERR_NO_MEMORY;
    }
    a->for_good = q->for_good;
    a->job.run = runs[q->order];
    /* What libvirtd does by itself is quick; an emulator may take its time to come or go. */
    if (q->order != VIRT_START && q->order != VIRT_DESTROY)
        a->job.limit_ms = 2 * v->o.look_ms;
    *ret = &a->job;
    virt_job_send(v, &a->job);
    return 0;
}

int virt_define_send(struct virt *v, struct slice id, struct buf *xml, virt_result_fn fn, void *ctx,
                     struct virt_job **ret)
{
    struct ask *a = ask_new(v, id, fn, ctx);
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->job.run = define_run;
    a->job.limit_ms = 2 * v->o.look_ms;
    a->xml = *xml;
    *xml = BUF_INIT(xml->max);
    *ret = &a->job;
    virt_job_send(v, &a->job);
    return 0;
}
