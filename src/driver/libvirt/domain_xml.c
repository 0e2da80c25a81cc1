/* domain_xml.c: the description of a virtual machine, written down. */
#include "driver/libvirt/domain_xml.h"

#include "base/str.h"
#include "driver/libvirt/xml_in.h"

/* Appends ` name="value"`. */
static int attribute(struct buf *b, const char *name, struct slice value, struct err *e)
{
    buf_addf(b, " %s=\"", name);
    if (xml_add_text(b, value) == ERR_INVALID)
        return err_set(e, ERR_INVALID, "\"%.*s\" has characters that XML cannot hold",
                       (int)(value.len < 200 ? value.len : 200), value.p);
    buf_addc(b, '"');
    return 0;
}

static int element(struct buf *b, const char *name, struct slice value, struct err *e)
{
    buf_addf(b, "<%s>", name);
    if (xml_add_text(b, value) == ERR_INVALID)
        return err_set(e, ERR_INVALID, "\"%.*s\" has characters that XML cannot hold",
                       (int)(value.len < 200 ? value.len : 200), value.p);
    buf_addf(b, "</%s>\n", name);
    return 0;
}

static int write_metadata(struct buf *b, const struct domain_order *o, struct err *e)
{
    int r;
    buf_addf(b, "<metadata><" DOMAIN_NS_PREFIX ":workload xmlns:" DOMAIN_NS_PREFIX "=\"%s\"",
             DOMAIN_NS);
    if ((r = attribute(b, "id", o->id, e)) != 0 ||
        (r = attribute(b, "revision", o->revision, e)) != 0 ||
        (o->print.len > 0 && (r = attribute(b, "print", o->print, e)) != 0) ||
        (o->node_id.len > 0 && (r = attribute(b, "node", o->node_id, e)) != 0))
        return r;
    buf_adds(b, "/></metadata>\n");
    return 0;
}

static int write_machine(struct buf *b, const struct doc_vm *vm, const struct domain_host *h,
                         struct err *e)
{
    int r;
    buf_addf(b,
             "<memory unit=\"MiB\">%lld</memory>\n"
             "<currentMemory unit=\"MiB\">%lld</currentMemory>\n"
             "<vcpu placement=\"static\">%lld</vcpu>\n",
             (long long)vm->memory_mb, (long long)vm->memory_mb, (long long)vm->vcpus);
    buf_adds(b, "<os>\n<type arch=\"x86_64\"");
    if ((r = attribute(b, "machine", slice_of(h->machine != NULL ? h->machine : "q35"), e)) != 0)
        return r;
    buf_adds(b, ">hvm</type>\n");
    if (vm->firmware == DOC_FIRMWARE_UEFI) {
        buf_adds(b, "<loader readonly=\"yes\" type=\"pflash\">");
        if (xml_add_text(b, slice_of(h->ovmf_code)) == ERR_INVALID)
            return err_set(e, ERR_INVALID, "\"%s\" has characters that XML cannot hold",
                           h->ovmf_code);
        buf_adds(b, "</loader>\n<nvram");
        if ((r = attribute(b, "template", slice_of(h->ovmf_vars), e)) != 0)
            return r;
        buf_adds(b, "/>\n");
    }
    buf_adds(b, "</os>\n<features><acpi/><apic/></features>\n");
    buf_addf(b, "<cpu mode=\"%s\"/>\n", h->kvm ? "host-passthrough" : "maximum");
    buf_adds(b, "<clock offset=\"utc\"/>\n");
    return 0;
}

static int write_source(struct buf *b, const struct domain_disk *d, struct err *e)
{
    int r;
    if (d->source == DOMAIN_FILE) {
        buf_adds(b, "<source");
        if ((r = attribute(b, "file", slice_of(d->path), e)) != 0)
            return r;
        buf_adds(b, "/>\n");
        return 0;
    }
    buf_addf(b, "<source protocol=\"%s\"", d->source == DOMAIN_RBD ? "rbd" : "nfs");
    if ((r = attribute(b, "name", slice_of(d->path), e)) != 0)
        return r;
    if (d->host.len == 0) {
        buf_adds(b, "/>\n");
        return 0;
    }
    buf_adds(b, "><host");
    if ((r = attribute(b, "name", d->host, e)) != 0)
        return r;
    if (d->port > 0)
        buf_addf(b, " port=\"%lld\"", (long long)d->port);
    buf_adds(b, "/></source>\n");
    return 0;
}

static int write_disk(struct buf *b, const struct domain_disk *d, struct err *e)
{
    int r;
    buf_addf(b, "<disk type=\"%s\" device=\"%s\">\n", d->source == DOMAIN_FILE ? "file" : "network",
             d->cdrom ? "cdrom" : "disk");
    buf_adds(b, "<driver name=\"qemu\"");
    if ((r = attribute(b, "type", slice_of(d->format), e)) != 0)
        return r;
    buf_adds(b, "/>\n");
    if ((r = write_source(b, d, e)) != 0)
        return r;
    buf_addf(b, "<target dev=\"%s\" bus=\"%s\"/>\n", d->device, d->bus);
    if (d->boot > 0)
        buf_addf(b, "<boot order=\"%u\"/>\n", d->boot);
    if (d->read_only)
        buf_adds(b, "<readonly/>\n");
    buf_adds(b, "</disk>\n");
    return 0;
}

static int write_nic(struct buf *b, const struct domain_nic *n, struct err *e)
{
    int r;
    buf_addf(b, "<interface type=\"%s\">\n<mac address=\"%s\"/>\n<source",
             n->bridge ? "bridge" : "network", n->mac);
    if ((r = attribute(b, n->bridge ? "bridge" : "network", slice_of(n->source), e)) != 0)
        return r;
    buf_adds(b, "/>\n<model");
    if ((r = attribute(b, "type", slice_of(n->model), e)) != 0)
        return r;
    buf_adds(b, "/>\n</interface>\n");
    return 0;
}

static int write_devices(struct buf *b, const struct domain_plan *p, const struct domain_host *h,
                         struct err *e)
{
    int r = 0;
    buf_adds(b, "<devices>\n");
    if (h->emulator != NULL && (r = element(b, "emulator", slice_of(h->emulator), e)) != 0)
        return r;
    for (size_t i = 0; i < p->n_disks && r == 0; i++)
        r = write_disk(b, &p->disks[i], e);
    for (size_t i = 0; i < p->n_nics && r == 0; i++)
        r = write_nic(b, &p->nics[i], e);
    buf_adds(b, "<serial type=\"pty\"><target port=\"0\"/></serial>\n"
                "<console type=\"pty\"><target type=\"serial\" port=\"0\"/></console>\n"
                "<channel type=\"unix\"><target type=\"virtio\" name=\"org.qemu.guest_agent.0\"/>"
                "</channel>\n"
                "<graphics type=\"vnc\" port=\"-1\" autoport=\"yes\" listen=\"127.0.0.1\"/>\n"
                "</devices>\n");
    return r;
}

int domain_xml_write(struct buf *out, const struct domain_order *o, const struct domain_plan *p,
                     const struct domain_host *h, struct err *e)
{
    int r;
    buf_addf(out, "<domain type=\"%s\">\n", h->kvm ? "kvm" : "qemu");
    if ((r = element(out, "name", o->id, e)) != 0 ||
        (o->uuid != NULL && (r = element(out, "uuid", slice_of(o->uuid), e)) != 0) ||
        (r = write_metadata(out, o, e)) != 0 || (r = write_machine(out, o->vm, h, e)) != 0 ||
        (r = write_devices(out, p, h, e)) != 0)
        return r;
    buf_adds(out, "</domain>\n");
    if (out->err == ERR_LIMIT)
        return err_set(e, ERR_LIMIT, "the machine's description is longer than %zu bytes",
                       out->max);
    return out->err != 0 ? err_set(e, out->err, "out of memory") : 0;
}
