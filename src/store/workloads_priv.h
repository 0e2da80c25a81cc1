/* workloads_priv.h: what the store's thread and the loop share. */
#ifndef GANTRY_STORE_WORKLOADS_PRIV_H
#define GANTRY_STORE_WORKLOADS_PRIV_H

#include "base/list.h"
#include "store/db.h"
#include "store/workloads.h"

#define WORKLOADS_MAGIC 0x574b4c44u
#define WORKLOADS_NAME_MAX (DB_PATH_MAX + 64)

/* One transaction that waits; texts follow the changes. */
struct store_job {
    struct list_node link;
    store_done_fn fn;
    void *ctx;
    struct err e;
    size_t bytes; /* of all of it */
    size_t n;
    struct store_change changes[];
};

struct copy_job {
    store_copy_fn fn;
    void *ctx;
    struct err e;
    int fd;
    struct db_copy *copy; /* of the thread */
};

struct workloads {
    uint32_t magic;
    struct loop *loop;
    struct db *db; /* of the thread, once it runs */
    char path[DB_PATH_MAX + 1];
    char replaced[WORKLOADS_NAME_MAX];
    size_t max_waiting, max_bytes;
    size_t n_bad; /* rows; of the loop */
    bool loaded, uploading, closed;
    uv_async_t wake;
    uv_thread_t thread;
    bool has_thread, has_lock, has_cond;
    uv_mutex_t lock; /* for everything below */
    uv_cond_t work;
    struct list_node waiting, done;  /* struct store_job */
    size_t n_waiting, bytes_waiting; /* until their callbacks came */
    struct copy_job *copy, *copied;  /* asked for or being made; ready to be told */
    uint64_t commits, failures, rows, bytes;
    bool stopping;
};

/* workloads_thread.c */
void workloads_run(void *arg);

/* workloads.c: frees it if it is closed and no upload is left. */
void workloads_settle(struct workloads *w);

/* restore.c */
extern const struct store_admin_ops workloads_admin_ops;
/* Puts a checked upload in place of the store, before it is opened. */
int workloads_put_restored(struct workloads *w, const char *vfs, struct err *e);
int workloads_name(char out[WORKLOADS_NAME_MAX], const char *path, const char *ending);

#endif
