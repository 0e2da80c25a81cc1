/* domain_xml.h: the description of a virtual machine for libvirt, made from a document, and what
 * we want to know of one that libvirt gives (compute-agent contract, 5.3). Pure: no I/O.
 *
 * Two steps. domain_plan_make decides: which disks there are, under which names, in which order
 * they boot, which MAC addresses the interfaces have. The driver makes what has to be made by it,
 * and domain_xml_write writes it down. So files and description never disagree.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_DOMAIN_XML_H
#define GANTRY_DRIVER_LIBVIRT_DOMAIN_XML_H

#include "base/buf.h"
#include "base/err.h"
#include "core/driver.h"

#define DOMAIN_NS "https://persys.cloud/libvirt/1" /* of our element in <metadata> */
#define DOMAIN_NS_PREFIX "persys"
#define DOMAIN_DISKS_MAX 64
#define DOMAIN_NICS_MAX 32
#define DOMAIN_XML_MAX (1024u * 1024u)       /* of a description that we write */
#define DOMAIN_XML_IN_MAX (4u * 1024 * 1024) /* of one that we read */
#define DOMAIN_MAC_SIZE 18                   /* "52:54:00:ab:cd:ef" and NUL */

/* What the machine offers. Everything borrowed. */
struct domain_host {
    bool kvm;             /* qemu can use /dev/kvm; else it computes every instruction itself */
    const char *machine;  /* NULL: "q35" */
    const char *emulator; /* NULL: libvirt's own choice */
    const char *ovmf_code, *ovmf_vars; /* of UEFI, absolute; NULL: there is none */
    /* A network of this name is a bridge of the machine and none of libvirt's; NULL: never. */
    bool (*is_bridge)(void *ctx, const char *name);
    void *ctx;
};

enum domain_source { DOMAIN_FILE, DOMAIN_RBD, DOMAIN_NFS };
struct domain_disk {
    enum domain_source source;
    const char *path;  /* file: absolute; else the image's name, "pool/image" or "/export/file" */
    struct slice host; /* nfs: of the server; empty: none */
    int64_t port;      /* nfs; 0: the usual one */
    char device[8];    /* "vda", "sda" */
    const char *bus;   /* "virtio", "sata" */
    const char *format;
    unsigned boot; /* the n-th to be tried, from 1; 0: never */
    bool cdrom, read_only;
    bool seed, volume; /* the cloud-init image; a managed volume */
    /* What the driver has to do for a file that is not there: an overlay of `backing`, or an empty
     * disk of size_gb; neither: it must be there. Never set for cdroms, seed and volumes. */
    int64_t size_gb;
    const char *backing; /* NULL: none */
};
struct domain_nic {
    const char *source; /* name of the network, or of the bridge */
    const char *model;
    char mac[DOMAIN_MAC_SIZE];
    bool bridge;
};
/* Borrows from what it was made of. */
struct domain_plan {
    struct slice id; /* of the workload */
    struct domain_disk disks[DOMAIN_DISKS_MAX];
    size_t n_disks;
    struct domain_nic nics[DOMAIN_NICS_MAX];
    size_t n_nics;
};
struct domain_order {
    struct slice id, revision, print, node_id;
    const struct doc_vm *vm;
    const struct driver_mount *mounts; /* managed volumes: files and networks */
    size_t n_mounts;
    const char *seed;       /* absolute path of the cloud-init image; NULL: none */
    const char *image_disk; /* where the overlay of vm->os_image is to be, when no disk is named */
    const char *uuid;       /* of the domain that is described anew; NULL: libvirt makes one */
};

/* Disks in the document's order, then volumes, then the seed. Those with boot: true boot first, in
 * their order, then the other disks; cdroms only when they say so, volumes and the seed never.
 * Devices without a name get the next free one: "vd?" (virtio), cdroms "sd?" (sata); names "sd?"
 * and "hd?" go to sata as well, as q35 has no other. Interfaces without a MAC get 52:54:00 and
 * three bytes that follow from the id and their number. ERR_INVALID (a value that cannot be, a
 * device twice, UEFI without firmware), ERR_LIMIT. */
int domain_plan_make(struct domain_plan *ret, const struct domain_order *o,
                     const struct domain_host *h, struct err *e);
/* Appends the description. ERR_INVALID: a text that XML cannot hold; ERR_LIMIT, ERR_NO_MEMORY. */
int domain_xml_write(struct buf *out, const struct domain_order *o, const struct domain_plan *p,
                     const struct domain_host *h, struct err *e);

/* The MAC of the n-th interface of a workload. */
void domain_mac(struct slice id, size_t n, char out[DOMAIN_MAC_SIZE]);

/* ---- reading */

struct domain_seen_disk {
    const char *type; /* "file", "block", "network", "volume", ... */
    const char *path; /* file or device of it, name of a network's image; "": none (empty drive) */
    const char *device; /* target: "vda" */
    const char *format; /* "" : not told */
    bool cdrom, read_only;
};
struct domain_seen_nic {
    const char *mac, *source, *target; /* target: "vnet3", "" while it is off */
};
/* Texts are never NULL ("": absent) and owned by it. */
struct domain_seen {
    const char *name, *uuid, *type; /* type: "kvm", "qemu" */
    bool ours;                      /* has our element */
    const char *id, *revision, *print, *node;
    const char *nvram; /* file of UEFI's variables */
    struct domain_seen_disk disks[DOMAIN_DISKS_MAX];
    size_t n_disks;
    struct domain_seen_nic nics[DOMAIN_NICS_MAX];
    size_t n_nics;
    struct buf text;
};

/* Reads a <domain>. ERR_SYNTAX (is no XML, or has a document type), ERR_INVALID (another element),
 * ERR_LIMIT (text, depth, disks or interfaces), ERR_NO_MEMORY; *ret is then empty. */
int domain_xml_read(struct domain_seen *ret, struct slice xml, struct err *e);
void domain_seen_done(struct domain_seen *s);

#endif
