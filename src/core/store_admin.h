/* store_admin.h: what an administrator may do with the store of a running program. store/ fills it,
 * front ends use it. */
#ifndef GANTRY_CORE_STORE_ADMIN_H
#define GANTRY_CORE_STORE_ADMIN_H

#include "base/base.h"
#include "base/err.h"

/* e->code 0: fd is the copy, open for reading from its beginning, and the callee's to close; it has
 * no name any more. Else fd is -1. */
typedef void (*store_copy_fn)(void *ctx, const struct err *e, int fd);

/* An upload of what shall become the store. */
struct store_upload;

/* What was found in an upload. */
struct store_found {
    uint64_t rows, bad_rows, faults, bytes;
    char fault[200]; /* the first one; "" if there is none */
};
/* e->code 0: it is in order and waits for the next start. ERR_INVALID: it has faults, or is no
 * store of ours; nothing was kept. */
typedef void (*store_restored_fn)(void *ctx, const struct err *e, const struct store_found *f);

struct store_admin_ops {
    /* A copy as of now, while commits go on. fn comes once, from the loop. ERR_BUSY (another one is
     * being made), ERR_NO_MEMORY: fn does not come. */
    int (*backup)(void *self, store_copy_fn fn, void *ctx, struct err *e);

    /* A file to take the store's place. Only one at a time: ERR_BUSY; ERR_NO_SPACE, ERR_DENIED,
     * ERR_IO, ERR_NO_MEMORY. */
    int (*upload)(void *self, struct store_upload **ret, struct err *e);
    /* The next bytes, which are borrowed until fn comes, once, from the loop, with 0 or an error.
     * One call at a time. ERR_NO_MEMORY: fn does not come. */
    int (*upload_add)(struct store_upload *u, struct slice piece,
                      void (*fn)(void *ctx, const struct err *e), void *ctx);
    /* Checks what came as a whole, and leaves it beside the store, which it replaces when the
     * program starts next; the one before is kept under another name. Takes u. fn comes once, from
     * the loop. ERR_NO_MEMORY: fn does not come, u is gone. */
    int (*restore)(struct store_upload *u, store_restored_fn fn, void *ctx);
    /* Nothing is kept. While adding: fn of upload_add comes yet. */
    void (*drop)(struct store_upload *u);
};
struct store_admin {
    const struct store_admin_ops *ops;
    void *self;
};

#endif
