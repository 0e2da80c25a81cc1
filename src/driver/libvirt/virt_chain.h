/* virt_chain.h: images that lie upon others. Blocks: for threads. */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_CHAIN_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_CHAIN_H

#include "driver/libvirt/virt_disk.h"

#define VIRT_CHAIN_MAX 32 /* files upon one another */

/* What the image refers to, and what that refers to, must be plain files below the roots, where
 * links lead. `format` says how qemu is told to read PATH. ERR_DENIED names the file and the
 * configuration's key; ERR_INVALID (a damaged header), ERR_LIMIT (too many, or a circle), ERR_IO,
 * ERR_NOT_FOUND. */
int virt_chain_check(const struct virt_roots *r, const char *path, const char *format,
                     struct err *e);
/* Tells of each file that the image refers to by way of qcow2, wherever it is, as far as headers
 * can be read. */
void virt_chain_each(const char *path, void (*fn)(void *ctx, const char *file), void *ctx);

#endif
