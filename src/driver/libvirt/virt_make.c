/* What is made for a domain before libvirt hears of it: its disks, its seed, its description. */
#include "driver/libvirt/virt_priv.h"

#include <stdio.h>
#include <sys/stat.h>

static bool is_bridge(void *ctx, const char *name)
{
    char path[256];
    struct stat st;
    (void)ctx;
    if (strchr(name, '/') != NULL || strlen(name) > 100)
        return false;
    (void)snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", name);
    return stat(path, &st) == 0;
}

static struct domain_host host_of(const struct virt *v)
{
    bool kvm = v->o.accelerator == VIRT_KVM ||
               (v->o.accelerator == VIRT_AUTO && v->kvm && !v->kvm_refused);
    return (struct domain_host){.kvm = kvm,
                                .machine = v->o.machine,
                                .emulator = v->o.emulator,
                                .ovmf_code = v->ovmf_code,
                                .ovmf_vars = v->ovmf_vars,
                                .is_bridge = is_bridge};
}

struct virt_making *virt_making_new(struct virt *v, const struct driver_order *o)
{
    struct virt_making *m = mem_zalloc(sizeof(*m)); /* large */
    if (m == NULL)
        return NULL;
    m->v = v;
    m->o = o;
    m->host = host_of(v); /* here, on the loop: its facts change on the loop */
    buf_init(&m->xml, DOMAIN_XML_MAX);
    return m;
}

void virt_making_free(struct virt_making *m)
{
    if (m == NULL)
        return;
    seed_done(&m->seed);
    buf_done(&m->xml);
    mem_free(m);
}

void virt_seed_path(const struct virt *v, struct slice id, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/%.*s-cloud-init.iso", v->roots[0], (int)id.len, id.p);
}

static struct virt_roots roots_of(const struct virt *v)
{
    return (struct virt_roots){v->roots, v->n_roots};
}

static struct domain_order order_of(const struct virt_making *m)
{
    const struct driver_order *o = m->o;
    return (struct domain_order){
        .id = o->id,
        .revision = o->revision,
        .print = o->print,
        .node_id = o->node_id,
        .vm = &o->doc->vm,
        .mounts = o->mounts,
        .n_mounts = o->n_mounts,
        .seed = m->seed.wanted ? m->seed_path : NULL,
        .image_disk = m->image_disk,
        .uuid = m->uuid[0] != '\0' ? m->uuid : NULL,
    };
}

static enum fault_reason reason_of(const struct err *e)
{
    if (strstr(e->msg, "cloud-init-invalid") != NULL)
        return FAULT_CLOUD_INIT_INVALID;
    switch (e->code) {
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_DENIED:
        return FAULT_INVALID_SPECIFICATION;
    case ERR_NO_SPACE:
        return FAULT_STORAGE_FULL;
    case ERR_NOT_FOUND:
        return FAULT_STORAGE_ATTACH_FAILED; /* it may come yet */
    case ERR_NO_MEMORY:
    case ERR_CANCELLED:
        return FAULT_RUNTIME_ERROR;
    default:
        return FAULT_STORAGE_PROVISION_FAILED;
    }
}

/* What has the name of the workload's seed is written anew, and goes with the workload. */
static int check_names(const struct virt_making *m, struct err *e)
{
    for (size_t i = 0; i < m->plan.n_disks; i++) {
        const struct domain_disk *d = &m->plan.disks[i];
        if (d->source == DOMAIN_FILE && !d->seed && !d->volume &&
            virt_is_seed(slice_of(d->path), m->o->id))
            return err_set(e, ERR_INVALID,
                           "disk \"%.200s\": that name is kept for the cloud-init image that is "
                           "made for the workload",
                           d->path);
    }
    return 0;
}

/* What the document says, without the machine. */
static int plan(struct virt_making *m, struct err *e)
{
    struct slice id = m->o->id;
    virt_seed_path(m->v, id, m->seed_path, sizeof(m->seed_path));
    (void)snprintf(m->image_disk, sizeof(m->image_disk), "%s/%.*s-vda.qcow2", m->v->roots[0],
                   (int)id.len, id.p);
    int rc = seed_make(&m->seed, id, &m->o->doc->vm, e);
    if (rc != 0)
        return rc;
    const struct domain_order order = order_of(m);
    rc = domain_plan_make(&m->plan, &order, &m->host, e);
    return rc == 0 ? check_names(m, e) : rc;
}

static int write_seed(struct virt_making *m, struct err *e)
{
    const struct seed_image how = {.path = m->seed_path, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (!m->seed.wanted)
        return seed_image_remove(m->seed_path, e); /* of the revision before */
    int rc = seed_image_write(&m->seed, &how, e);
    m->seed_written = rc == 0;
    m->seed_ns = clock_real_ns(&clock_system);
    return rc;
}

void virt_making_run(struct virt_making *m)
{
    const struct virt_roots roots = roots_of(m->v);
    struct err *e = &m->f.e;
    int rc = plan(m, e);
    if (rc == 0 && !m->describe_only)
        rc = virt_disks_make(&roots, &m->plan, &m->cancel, &m->made, e);
    if (rc == 0 && !m->describe_only)
        rc = write_seed(m, e);
    if (rc == 0) {
        const struct domain_order order = order_of(m);
        rc = domain_xml_write(&m->xml, &order, &m->plan, &m->host, e);
    }
    if (rc == 0)
        return;
    e->code = rc;
    m->f.reason = reason_of(e);
    virt_making_undo(m);
}

void virt_making_undo(struct virt_making *m)
{
    struct err ignored = {0};
    virt_disks_undo(&m->made);
    if (m->seed_written)
        (void)seed_image_remove(m->seed_path, &ignored);
}

int virt_making_check(struct virt *v, const struct workload_doc *doc, struct err *e)
{
    const struct virt_roots roots = roots_of(v);
    const struct driver_order o = {.id = slice_of(doc->id),
                                   .revision =
                                       slice_of(doc->revision_id != NULL ? doc->revision_id : ""),
                                   .doc = doc};
    int rc = virt_disks_check(&roots, &doc->vm, e);
    struct virt_making *m = rc == 0 ? virt_making_new(v, &o) : NULL;
    if (rc == 0 && m == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0)
        rc = plan(m, e);
    virt_making_free(m);
    return rc == ERR_DENIED ? e->code = ERR_INVALID : rc;
}
