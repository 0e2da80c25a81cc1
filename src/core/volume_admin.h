/* volume_admin.h: what front ends may see of managed volumes, and do with them (compute-agent
 * contract, 6). driver/volumes fills it. */
#ifndef GANTRY_CORE_VOLUME_ADMIN_H
#define GANTRY_CORE_VOLUME_ADMIN_H

#include "base/base.h"
#include "base/err.h"
#include "core/workload_doc.h"

enum volume_state {
    VOLUME_MAKING,  /* it may be there by half */
    VOLUME_READY,   /* it is there */
    VOLUME_DELETING /* it goes, as soon as can be */
};
const char *volume_state_name(enum volume_state s);       /* "making", "ready", "deleting" */
const char *volume_driver_name(enum doc_volume_driver d); /* "local", "nfs", "ceph-rbd" */
const char *volume_retain_name(enum doc_retain r);        /* "Delete", "Retain" */

/* All borrowed for the call. */
struct volume_user {
    const char *workload, *mount_path, *created;
    bool read_only;
    enum doc_retain retain;
};
struct volume_info {
    const char *id, *name; /* "local:data", "data" */
    enum doc_volume_driver driver;
    enum volume_state state;
    int64_t size_gb;                   /* as it was asked for; 0: the driver's default */
    const char *device;                /* the folder, "nfs://SERVER/EXPORT/NAME", "rbd:POOL/NAME" */
    const char *fs_type, *access_mode; /* "": not told */
    const char *created, *updated;     /* RFC 3339 */
    const char *failure;               /* why its last step failed; "" */
    bool made;                         /* by us: what was there before is never deleted */
    const struct volume_user *users;
    size_t n_users;
};
typedef void (*volume_fn)(void *ctx, const struct volume_info *v);
/* e->code 0: it is forgotten; its data is gone (or going) if we made it. */
typedef void (*volume_done_fn)(void *ctx, const struct err *e);

struct volume_admin_ops {
    /* In order of ids. ERR_NO_MEMORY: some or all were not told. */
    int (*each)(void *self, volume_fn fn, void *ctx);
    /* ERR_NOT_FOUND, ERR_NO_MEMORY: fn was not called. */
    int (*get)(void *self, struct slice id, volume_fn fn, void *ctx);
    /* fn comes once, from the loop. ERR_NOT_FOUND, ERR_CONFLICT (it has users), ERR_BUSY,
     * ERR_NO_MEMORY: fn does not come. */
    int (*remove)(void *self, struct slice id, volume_done_fn fn, void *ctx, struct err *e);
    /* True, or why this driver is not available here. */
    bool (*offered)(void *self, enum doc_volume_driver d, struct err *why);
};
struct volume_admin {
    const struct volume_admin_ops *ops; /* NULL: there are no managed volumes */
    void *self;
};

#endif
