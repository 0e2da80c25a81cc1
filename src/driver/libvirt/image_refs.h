/* image_refs.h: which other files the image of a disk refers to.
 *
 * qemu opens these by itself when it opens the image, and a guest that once had the file as a raw
 * disk could write any header into it. So who is to say which files a machine may have has to know
 * them. The layouts are those of qemu's documentation: docs/interop/qcow2.txt, qed_spec.txt, and
 * VMware's Virtual Disk Format 1.1 as far as qemu follows it.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_IMAGE_REFS_H
#define GANTRY_DRIVER_LIBVIRT_IMAGE_REFS_H

#include "base/base.h"
#include "base/err.h"

#define IMAGE_NAME_SIZE 1024 /* qemu's limit is 1,023 bytes */

struct image_refs {
    char backing[IMAGE_NAME_SIZE]; /* the file that it lies upon, as written in it; "": none */
    char data[IMAGE_NAME_SIZE];    /* the file that its data is in; "": itself */
    char backing_format[16];       /* "": the image does not tell */
    bool others;                   /* more, which are not told apart: extents, a parent */
};

/* Reads the header of an image in the given format (as documents name them). One that has not the
 * format's mark refers to nothing: qemu does not open it. ERR_INVALID: the header is none that qemu
 * would take, e.g. names reach beyond their place; ERR_IO. */
int image_refs_read(int fd, const char *format, struct image_refs *ret, struct err *e);

#endif
