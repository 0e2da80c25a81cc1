/* virt_disk.h: files of disks. All of it blocks: for threads.
 *
 * A disk that we make has a marker next to it, PATH.persys-managed, with the time in it and the
 * workload that it was made for; only what has one, and no other workload's, is ever removed
 * (compute-agent contract, 5.3; those of the original agent name no workload). A file that is there
 * is never written to: a new one is made under another name and then takes its own only if nothing
 * has it.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_DISK_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_DISK_H

#include "driver/libvirt/domain_xml.h"

#define VIRT_MARKER ".persys-managed"

struct virt_roots {
    char *const *paths;
    size_t n;
};

/* True if the path is below one of them, as it is written: absolute, no "." or "..", not empty. */
bool virt_disk_allowed(const struct virt_roots *r, const char *path);
/* Where a file really is must be below the roots, too. ERR_DENIED, ERR_NOT_FOUND, ERR_IO. */
int virt_disk_real(const struct virt_roots *r, const char *path, struct err *e);
/* "qcow2" or "raw", by the file's first bytes; NULL: it cannot be read. */
const char *virt_disk_format(const char *path, struct err *e);
/* That the paths of a document's disks, images and backing files are allowed. ERR_DENIED names the
 * configuration's key. */
int virt_disks_check(const struct virt_roots *r, const struct doc_vm *vm, struct err *e);

/* What a call has made, for its undoing. */
struct virt_made {
    const struct domain_plan *plan;
    bool disk[DOMAIN_DISKS_MAX];
};
/* Makes the disks that are not there (empty, or as overlays), and finds the others. Folders are
 * made. ERR_NOT_FOUND (a file that should be there), ERR_DENIED (outside the roots, where links
 * lead), ERR_NO_TOOL, ERR_TOOL, ERR_NO_SPACE, ERR_IO, ERR_CANCELLED. What it made before it failed
 * is in *made. */
int virt_disks_make(const struct virt_roots *r, const struct domain_plan *p, const int *cancel,
                    struct virt_made *made, struct err *e);
void virt_disks_undo(const struct virt_made *made);
/* Removes one with a marker below the roots, and its marker; leaves others, and those of other
 * workloads. ERR_IO, ERR_DENIED. */
int virt_disk_remove(const struct virt_roots *r, const char *path, struct slice id, struct err *e);
/* True if we, or the original compute agent, made it, and for no other workload. */
bool virt_disk_marked(const char *path, struct slice id);

#endif
