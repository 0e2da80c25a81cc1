/* virt.h: libvirt as the runtime of virtual machines (compute-agent contract, 5.3).
 *
 * The library blocks, so one thread of its own, "libvirt", has the connection: it carries out what
 * the loop asks of it, one after the other, and hears what happens to domains meanwhile. Nothing on
 * the loop waits for it. libvirtd may come and go at any time; while it is away, nobody knows how
 * its domains are, and that is what is said.
 *
 * A domain is ours if its <metadata> says so, under the workload's id as its name. One of that name
 * which is not ours is never touched, with one exception: what the original compute agent made (it
 * writes no metadata, but a marker next to each disk that it made, and names its seed after the id)
 * is taken over as it is by `ensure`.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_H

#include "core/driver.h"
#include "net/loop.h"

struct virt;

enum virt_accelerator { VIRT_AUTO, VIRT_KVM, VIRT_QEMU };

/* Every 0 or NULL takes the default. Texts and lists are copied. */
struct virt_options {
    const char *uri; /* "qemu:///system" */
    /* Folders in which disks may be, with what is below. n 0: /var/lib/libvirt/images. The first is
     * where seeds and disks without a path go. */
    const char *const *image_roots;
    size_t n_image_roots;
    const char *emulator, *machine;         /* NULL: libvirt's own choice; "q35" */
    int accelerator;                        /* enum virt_accelerator */
    uint64_t look_ms;                       /* a question to libvirtd; 0: 10,000 */
    uint64_t act_ms;                        /* a start, a definition, a removal; 0: 120,000 */
    uint64_t snapshot_ms;                   /* 0: 600,000 */
    uint64_t address_ms;                    /* between two looks for addresses; 0: 30,000 */
    uint64_t keepalive_s;                   /* libvirtd is asked whether it lives; 0: 5 */
    uint64_t retry_first_ms, retry_most_ms; /* to connect again; 0: 1000, 30,000 */
};

/* True if libvirt could be there: its library is not looked for, but the socket that a local URI
 * means is there, or the URI is not a local one. */
bool virt_present(const char *uri);

/* Makes the driver, starts its thread, begins to connect. Fills *out; valid until virt_free.
 * ERR_NO_MEMORY, ERR_IO. */
int virt_new(struct virt **ret, struct loop *l, const struct virt_options *o, struct driver *out,
             struct err *e);
/* Asynchronous inside; calls under way end with ERR_CANCELLED, from the loop. A thread that hangs
 * in libvirt is waited for 4 s, then left behind. NULL is fine. */
void virt_free(struct virt *v);

#endif
