/* seed.h: the cloud-init data of a virtual machine (NoCloud): its parts, and the image that holds
 * them (compute-agent contract, 5.3). The parts are secrets: wiped when done, files of them 0600.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_SEED_H
#define GANTRY_DRIVER_LIBVIRT_SEED_H

#include "base/buf.h"
#include "base/err.h"
#include "core/workload_doc.h"

#define SEED_MAX (256u * 1024u) /* bytes of all parts together */
#define SEED_CHECKSUM_SIZE 65   /* 64 hex digits and NUL */

enum seed_part { /* in the order of their names */
                 SEED_META_DATA,
                 SEED_NETWORK_CONFIG,
                 SEED_USER_DATA,
                 SEED_VENDOR_DATA,
                 SEED_PARTS
};
struct seed {
    bool wanted;                  /* the document has cloud-init data; else nothing below is set */
    struct buf parts[SEED_PARTS]; /* len 0: no such file; owned */
    char checksum[SEED_CHECKSUM_SIZE];
    size_t bytes; /* of all parts */
};

const char *seed_part_name(enum seed_part p); /* "user-data" */

/* Makes the parts of the document's texts as they are (those in base64 were decoded when it was
 * settled). `ret` is initialised by it and must be done in any case. ERR_INVALID with
 * "cloud-init-invalid: ..." (too long, a NUL, not UTF-8), ERR_NO_MEMORY. */
int seed_make(struct seed *ret, struct slice id, const struct doc_vm *vm, struct err *e);
void seed_done(struct seed *s);

/* How the image is written. Everything borrowed. */
struct seed_image {
    const char *path;  /* absolute, ".../ID-cloud-init.iso"; its folder must be there */
    const char *tool;  /* NULL: genisoimage, else mkisofs, else xorrisofs, from PATH */
    uint64_t limit_ms; /* the tool may take so long; 0: 30,000 */
    uid_t uid;         /* (uid_t)-1: ours */
    gid_t gid;
};
/* Writes the image: parts in a folder 0700 next to it, the tool, then 0600, fsync, rename; the
 * folder is gone afterwards in any case, and what a killed process left of one is removed first.
 * qemu reads it as its own user: libvirtd gives it the file when the domain starts
 * (dynamic_ownership, the default of qemu:///system); elsewhere uid and gid do.
 * Blocks: call it on a thread. ERR_NO_TOOL, ERR_TOOL (with the tool's own words), ERR_TIMEOUT,
 * ERR_NO_SPACE, ERR_DENIED, ERR_IO, ERR_NO_MEMORY. */
int seed_image_write(const struct seed *s, const struct seed_image *how, struct err *e);
/* Removes it and what a killed process left. Absent: fine. Blocks. */
int seed_image_remove(const char *path, struct err *e);

#endif
