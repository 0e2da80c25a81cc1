/* domain_plan.c: which disks and interfaces a virtual machine gets. */
#include "driver/libvirt/domain_xml.h"

#include "base/sha256.h"
#include "base/str.h"

#include <stdio.h>

/* --- One disk's place --- */

static bool is_word(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return s.len > 0;
}

/* "POOL/IMAGE": what ends up in qemu's own syntax must not hold its separators. */
static int set_rbd(struct domain_disk *d, const char *name, struct err *e)
{
    struct slice rest = slice_of(name), pool, image;
    if (!slice_split(&rest, '/', &pool) || !slice_split(&rest, '/', &image) || rest.p != NULL ||
        !is_word(pool) || !is_word(image))
        return err_set(e, ERR_INVALID, "disk \"rbd:%s\": expected rbd:POOL/IMAGE", name);
    d->source = DOMAIN_RBD;
    d->path = name;
    return 0;
}

static int set_nfs(struct domain_disk *d, const char *whole, struct slice host, const char *path,
                   struct err *e)
{
    const char *colon = host.len > 0 ? memchr(host.p, ':', host.len) : NULL;
    if (colon != NULL) {
        struct slice port = {colon + 1, (size_t)(host.p + host.len - colon - 1)};
        if (str_to_i64(port, &d->port) != 0 || d->port < 1 || d->port > 65535)
            return err_set(e, ERR_INVALID, "disk \"%s\": \"%.*s\" is no port", whole,
                           (int)(port.len < 64 ? port.len : 64), port.p);
        host.len = (size_t)(colon - host.p);
    }
    if (!is_word(host) || path[0] != '/' || path[1] == '\0')
        return err_set(e, ERR_INVALID, "disk \"%s\": expected nfs://HOST[:PORT]/PATH", whole);
    d->source = DOMAIN_NFS;
    d->path = path;
    d->host = host;
    return 0;
}

/* A file; "rbd:POOL/IMAGE"; "nfs://HOST[:PORT]/PATH", or its old form "HOST:/PATH". */
static int set_source(struct domain_disk *d, const char *path, struct err *e)
{
    if (path == NULL || path[0] == '\0')
        return err_set(e, ERR_INVALID, "a disk needs a path");
    if (strncmp(path, "rbd:", 4) == 0)
        return set_rbd(d, path + 4, e);
    if (strncmp(path, "nfs://", 6) == 0) {
        const char *host = path + 6, *slash = strchr(host, '/');
        if (slash == NULL)
            return err_set(e, ERR_INVALID, "disk \"%s\": expected nfs://HOST[:PORT]/PATH", path);
        return set_nfs(d, path, (struct slice){host, (size_t)(slash - host)}, slash, e);
    }
    const char *colon = strstr(path, ":/");
    if (path[0] != '/' && colon != NULL)
        return set_nfs(d, path, (struct slice){path, (size_t)(colon - path)}, colon + 1, e);
    if (path[0] != '/')
        return err_set(e, ERR_INVALID,
                       "disk \"%s\": expected an absolute path, rbd:POOL/IMAGE or "
                       "nfs://HOST[:PORT]/PATH",
                       path);
    d->source = DOMAIN_FILE;
    d->path = path;
    return 0;
}

static int set_format(struct domain_disk *d, const char *format, struct err *e)
{
    static const char *const known[] = {"raw", "qcow2", "qed", "vmdk", "vdi", "vpc", "vhdx"};
    d->format = d->cdrom ? "raw" : "qcow2";
    if (format == NULL || format[0] == '\0')
        return 0;
    if (d->cdrom && strcmp(format, "iso") == 0) /* what people call it; for qemu it is raw */
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(format, known[i]) == 0) {
            d->format = known[i];
            return 0;
        }
    return err_set(
        e, ERR_INVALID,
        "disk \"%s\": format \"%s\" is not known (raw, qcow2, qed, vmdk, vdi, vpc, vhdx)", d->path,
        format);
}

/* --- Devices --- */

static const char *letters_of(const char *device)
{
    return device + 2;
}

/* "vd", "sd" or "hd", and one or two letters. */
static int set_device(struct domain_disk *d, const char *device, struct err *e)
{
    size_t n = strlen(device);
    bool ok = (n == 3 || n == 4) && device[1] == 'd' &&
              (device[0] == 'v' || device[0] == 's' || device[0] == 'h');
    for (size_t i = 2; ok && i < n; i++)
        ok = device[i] >= 'a' && device[i] <= 'z';
    if (!ok)
        return err_set(e, ERR_INVALID, "disk \"%s\": device \"%s\" is no name such as vda or sdb",
                       d->path, device);
    memcpy(d->device, device, n + 1);
    d->bus = device[0] == 'v' && !d->cdrom ? "virtio" : "sata";
    return 0;
}

/* Two disks of one bus with the same letters would have one address. */
static const struct domain_disk *taken(const struct domain_plan *p, const char *bus,
                                       const char *letters, const struct domain_disk *but)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        const struct domain_disk *d = &p->disks[i];
        if (d != but && d->device[0] != '\0' && strcmp(d->bus, bus) == 0 &&
            strcmp(letters_of(d->device), letters) == 0)
            return d;
    }
    return NULL;
}

static int name_devices(struct domain_plan *p, struct err *e)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        struct domain_disk *d = &p->disks[i];
        if (d->device[0] != '\0' && taken(p, d->bus, letters_of(d->device), d) != NULL)
            return err_set(e, ERR_INVALID, "disk \"%s\": device \"%s\" is there twice", d->path,
                           d->device);
    }
    for (size_t i = 0; i < p->n_disks; i++) {
        struct domain_disk *d = &p->disks[i];
        if (d->device[0] != '\0')
            continue;
        d->bus = d->cdrom ? "sata" : "virtio";
        char letters[3] = "a";
        for (int k = 0; taken(p, d->bus, letters, d) != NULL; k++) {
            /* DOMAIN_DISKS_MAX is below 26 + 26 * 26 */
            letters[0] = (char)(k < 25 ? 'b' + k : 'a' + (k - 25) / 26);
            letters[1] = (char)(k < 25 ? '\0' : 'a' + (k - 25) % 26);
            letters[2] = '\0';
        }
        snprintf(d->device, sizeof(d->device), "%s%s", d->cdrom ? "sd" : "vd", letters);
    }
    return 0;
}

/* --- The list of disks --- */

/* NULL: there is no room; *e says so. */
static struct domain_disk *more_disks(struct domain_plan *p, struct err *e)
{
    if (p->n_disks == DOMAIN_DISKS_MAX) {
        err_set(e, ERR_LIMIT, "more than %u disks", DOMAIN_DISKS_MAX);
        return NULL;
    }
    return memset(&p->disks[p->n_disks++], 0, sizeof(p->disks[0]));
}

static int add_disk(struct domain_plan *p, const struct doc_disk *doc, struct err *e)
{
    struct domain_disk *d = more_disks(p, e);
    int r;
    if (d == NULL)
        return ERR_LIMIT;
    d->cdrom = d->read_only = doc->type == DOC_DISK_CDROM;
    if ((r = set_source(d, doc->path, e)) != 0 || (r = set_format(d, doc->format, e)) != 0)
        return r;
    if (doc->device != NULL && doc->device[0] != '\0' && (r = set_device(d, doc->device, e)) != 0)
        return r;
    if (d->cdrom || d->source != DOMAIN_FILE) {
        if (doc->backing_file != NULL)
            return err_set(e, ERR_INVALID,
                           "disk \"%s\": only a file of its own can have a "
                           "backing file",
                           doc->path);
        return 0;
    }
    d->size_gb = doc->size_gb;
    d->backing = doc->backing_file;
    if (d->backing != NULL && strcmp(d->format, "qcow2") != 0)
        return err_set(e, ERR_INVALID, "disk \"%s\": an overlay is of format qcow2, and not \"%s\"",
                       doc->path, d->format);
    return 0;
}

static int add_image_disk(struct domain_plan *p, const struct domain_order *o, struct err *e)
{
    if (o->image_disk == NULL)
        return err_set(e, ERR_INVALID, "os_image \"%s\": there is no place for its overlay",
                       o->vm->os_image);
    struct domain_disk *d = more_disks(p, e);
    if (d == NULL)
        return ERR_LIMIT;
    *d = (struct domain_disk){.path = o->image_disk,
                              .format = "qcow2",
                              .size_gb = o->vm->disk_gb,
                              .backing = o->vm->os_image};
    return 0;
}

static int add_volume(struct domain_plan *p, const struct driver_mount *m, struct err *e)
{
    struct domain_disk *d = more_disks(p, e);
    int r;
    if (d == NULL)
        return ERR_LIMIT;
    if (m->kind == DRIVER_MOUNT_DIRECTORY)
        return err_set(
            e, ERR_INVALID,
            "volume \"%s\" is a directory, which a virtual machine cannot have as a disk",
            m->source);
    if ((r = set_source(d, m->source, e)) != 0)
        return r;
    d->format = m->format != NULL ? m->format : "raw";
    d->read_only = m->read_only;
    d->volume = true;
    return 0;
}

static void order_boot(struct domain_plan *p, const struct schema_list *docs)
{
    const struct doc_disk *doc = docs->items;
    unsigned n = 0;
    for (size_t i = 0; i < docs->count; i++)
        if (doc[i].boot)
            p->disks[i].boot = ++n;
    for (size_t i = 0; i < p->n_disks; i++) {
        struct domain_disk *d = &p->disks[i];
        if (d->boot == 0 && !d->cdrom && !d->volume && !d->seed)
            d->boot = ++n;
    }
}

static int plan_disks(struct domain_plan *p, const struct domain_order *o, struct err *e)
{
    const struct doc_disk *docs = o->vm->disks.items;
    int r = 0;
    for (size_t i = 0; i < o->vm->disks.count && r == 0; i++)
        r = add_disk(p, &docs[i], e);
    if (r == 0 && o->vm->disks.count == 0 && o->vm->os_image != NULL)
        r = add_image_disk(p, o, e);
    for (size_t i = 0; i < o->n_mounts && r == 0; i++)
        r = add_volume(p, &o->mounts[i], e);
    if (r == 0 && o->seed != NULL) {
        struct domain_disk *d = more_disks(p, e);
        if (d == NULL)
            return ERR_LIMIT;
        *d = (struct domain_disk){
            .path = o->seed, .format = "raw", .cdrom = true, .read_only = true, .seed = true};
    }
    if (r != 0)
        return r;
    order_boot(p, &o->vm->disks);
    return name_devices(p, e);
}

/* --- Interfaces --- */

void domain_mac(struct slice id, size_t n, char out[DOMAIN_MAC_SIZE])
{
    unsigned char digest[SHA256_SIZE], number = (unsigned char)n;
    struct sha256 s;
    sha256_init(&s);
    sha256_feed(&s, id.p, id.len);
    sha256_feed(&s, "", 1);
    sha256_feed(&s, &number, 1);
    sha256_end(&s, digest);
    snprintf(out, DOMAIN_MAC_SIZE, "52:54:00:%02x:%02x:%02x", digest[0], digest[1], digest[2]);
}

/* Six bytes in hex, of one card and not of many. */
static bool mac_ok(const char *mac)
{
    if (strlen(mac) != DOMAIN_MAC_SIZE - 1)
        return false;
    for (size_t i = 0; i < DOMAIN_MAC_SIZE - 1; i++) {
        char c = mac[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (i % 3 == 2 ? c != ':' : !hex)
            return false;
    }
    return strchr("02468aceACE", mac[1]) != NULL;
}

static int add_nic(struct domain_plan *p, const struct doc_network *doc, struct slice id,
                   const struct domain_host *h, struct err *e)
{
    if (p->n_nics == DOMAIN_NICS_MAX)
        return err_set(e, ERR_LIMIT, "more than %u networks", DOMAIN_NICS_MAX);
    struct domain_nic *n = &p->nics[p->n_nics];
    const char *name = doc->network != NULL && doc->network[0] != '\0' ? doc->network : "default";
    *n = (struct domain_nic){.source = name, .model = "virtio"};
    if (doc->bridge != NULL) {
        n->source = doc->bridge;
        n->bridge = true;
    } else if (strncmp(name, "bridge:", 7) == 0) {
        n->source = name + 7;
        n->bridge = true;
    } else {
        n->bridge = h->is_bridge != NULL && h->is_bridge(h->ctx, name);
    }
    if (n->source[0] == '\0')
        return err_set(e, ERR_INVALID, "network \"%s\" has no name", name);
    if (doc->model != NULL && doc->model[0] != '\0')
        n->model = doc->model;
    if (!is_word(slice_of(n->model)))
        return err_set(e, ERR_INVALID, "network \"%s\": \"%s\" is no model of a card", name,
                       n->model);
    if (doc->mac_address == NULL || doc->mac_address[0] == '\0') {
        domain_mac(id, p->n_nics, n->mac);
    } else {
        if (!mac_ok(doc->mac_address))
            return err_set(e, ERR_INVALID, "network \"%s\": \"%s\" is no MAC address of a card",
                           name, doc->mac_address);
        memcpy(n->mac, doc->mac_address, DOMAIN_MAC_SIZE);
    }
    p->n_nics++;
    return 0;
}

int domain_plan_make(struct domain_plan *ret, const struct domain_order *o,
                     const struct domain_host *h, struct err *e)
{
    memset(ret, 0, sizeof(*ret));
    ret->id = o->id;
    if (o->vm->vcpus < 1 || o->vm->memory_mb < 1)
        return err_set(e, ERR_INVALID, "vcpus %lld, memory_mb %lld: both must be at least 1",
                       (long long)o->vm->vcpus, (long long)o->vm->memory_mb);
    if (o->vm->firmware == DOC_FIRMWARE_UEFI && (h->ovmf_code == NULL || h->ovmf_vars == NULL))
        return err_set(e, ERR_INVALID, "firmware \"uefi\": there is no OVMF on this machine");
    const struct doc_network *nets = o->vm->networks.items;
    int r = plan_disks(ret, o, e);
    for (size_t i = 0; i < o->vm->networks.count && r == 0; i++)
        r = add_nic(ret, &nets[i], o->id, h, e);
    return r;
}
