/* volumes.h: volumes that are known by their name and outlive a revision (compute-agent contract,
 * 6), for the workloads of any driver. It stands in front of another driver: `ensure` makes the
 * document's volumes ready and hands them on as order.mounts, `start` sees to it that they are
 * mounted, `remove` for good lets go of them.
 *
 * A volume has users, one a workload; they are in the store before anything is made, and the volume
 * leaves the store after it has gone. So whatever happens in between, nothing is forgotten, and
 * nothing is deleted that somebody uses. Data is deleted when the last user is deleted for good, if
 * that one said so (retain_policy Delete) and if we made it: what existed before stays.
 *
 *   local     a folder below local_root; for a virtual machine the file disk.raw in it
 *   nfs       the same below an NFS export, which is mounted while somebody uses it
 *   ceph-rbd  an image of a pool; for containers mapped and mounted, a file system is made only on
 *             an image of ours that has nothing on it; virtual machines open it themselves
 *
 * What may wait for a disk or a server runs on threads, one thing a driver at a time.
 */
#ifndef GANTRY_DRIVER_VOLUMES_H
#define GANTRY_DRIVER_VOLUMES_H

#include "core/driver.h"
#include "core/volume_admin.h"
#include "core/workload_store.h"
#include "net/loop.h"

struct volumes;

struct volumes_options {
    struct loop *loop;
    struct workload_store store; /* with `things` */
    const char *local_root;      /* absolute */
    struct volumes_nfs {
        const char *server, *export; /* NULL: not set up */
        const char *options;         /* of mount -o, behind nosuid,nodev; NULL: none */
        const char *stage_root;      /* the export is mounted below it */
    } nfs;
    struct volumes_ceph {
        const char *pool;                     /* NULL: not set up */
        const char *cluster, *user, *keyring; /* NULL: rbd's own */
        const char *stage_root;               /* file systems are mounted below it */
    } ceph;
    uint64_t tool_ms;   /* a program may take so long; 0: 30,000 */
    uint64_t retry_ms;  /* what could not be deleted is tried again; 0: 60,000 */
    size_t max_volumes; /* 0: 10,000 */
};

/* Reads the store and goes on with what was being deleted. Copies texts. ERR_NO_MEMORY, what the
 * store says. */
int volumes_new(struct volumes **ret, const struct volumes_options *o, struct err *e);
/* The driver in front of `inner`, which is borrowed. One each type of workload. */
void volumes_driver(struct volumes *v, const struct driver *inner, struct driver *ret);
void volumes_admin(struct volumes *v, struct volume_admin *ret);
/* After the last act has ended. Deletions are given up; the next start goes on with them. Runs the
 * loop on until its threads and commits are back. NULL is fine. */
void volumes_free(struct volumes *v);

#endif
