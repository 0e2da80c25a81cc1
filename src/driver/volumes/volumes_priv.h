/* volumes_priv.h: what the files of managed volumes share.
 *
 *   volumes.c         life, what front ends see
 *   volumes_table.c   volumes and users in memory, their rows, commits
 *   volumes_act.c     the driver in front: ensure, start, remove
 *   volumes_delete.c  deleting data
 *   volumes_job.c     threads: one job a driver at a time
 *   volumes_folder.c, volumes_nfs.c, volumes_ceph.c   what the jobs do
 */
#ifndef GANTRY_DRIVER_VOLUMES_PRIV_H
#define GANTRY_DRIVER_VOLUMES_PRIV_H

#include "driver/volumes/volumes.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include <limits.h>
#include <string.h>

#define VOLUMES_MAGIC 0x564f4c53u
#define VOLUME_DRIVERS 3
#define VOLUME_NAME_MAX (DOC_VOLUME_NAME_SIZE - 1)
#define VOLUME_ID_MAX (VOLUME_NAME_MAX + 16)
#define VOLUME_DISK "disk.raw"       /* of a virtual machine, in the volume's folder */
#define VOLUME_TRASH ".Gantry-Trash" /* in a root; names of volumes have no capitals */
#define VOLUME_DEFAULT_GB 10
#define ROW_MAX 32768u

/* ---- jobs, volumes_job.c */

enum job_kind {
    JOB_LOOK,   /* is it there? */
    JOB_MAKE,   /* make it, if it is new; then mount it */
    JOB_DETACH, /* nobody uses it any more */
    JOB_TRASH,  /* detach it, and put its data away */
    JOB_SWEEP   /* remove what was put away */
};
enum { LANE_SWEEP = VOLUME_DRIVERS, LANES };

/* Filled by the loop, worked on by a thread, then the loop's again. */
struct job {
    uv_work_t work;
    struct list_node link;
    struct volumes *v;
    enum job_kind kind;
    enum doc_volume_driver driver;
    unsigned lane;
    char name[VOLUME_NAME_MAX + 1];
    char fs_type[16];
    int64_t size_gb;
    bool fresh;   /* MAKE: it may be there not yet; else it must be */
    bool made;    /* MAKE: it is ours */
    bool machine; /* MAKE: for a virtual machine */
    bool last;    /* DETACH: no other volume of the driver is used; set when the job's turn comes */
    const struct volume *but; /* DETACH: busy for this job's sake alone; NULL: none */
    int cancel;               /* atomic */
    /* what came of it */
    bool existed, empty;
    char source[PATH_MAX];
    struct fault f; /* e.code 0: well */
    void (*done)(void *ctx, struct job *j);
    void *ctx;
};
struct lane {
    struct list_node jobs; /* that wait */
    struct job *running;
};

struct volume;
/* NULL: no memory. The job is of v's driver and name. */
struct job *job_new(struct volumes *v, const struct volume *x, enum job_kind k);
/* done comes once, from the loop; then the job is freed. */
void job_begin(struct job *j, void (*done)(void *ctx, struct job *j), void *ctx);

/* On the thread. */
void folder_job(struct job *j, const char *root); /* local and nfs */
void nfs_job(struct job *j);
void ceph_job(struct job *j);
void folder_sweep(struct job *j, const char *root);
/* Sets j->f; `what` of the job's kind decides the reason. */
int job_fail(struct job *j, enum fault_reason r, const struct err *e);
/* What is mounted at `path`: its source; false: nothing is, or it cannot be seen. */
bool mount_source(const char *path, char *source, size_t size);
int run_mount(struct job *j, const char *const *argv, struct err *e);
int make_folders(const char *path, struct err *e); /* with those above it, 0755 */
bool tool_at_hand(const char *name);

/* ---- volumes and users, volumes_table.c */

struct user {
    struct list_node link; /* of the volume's */
    struct volume *volume;
    char *workload, *mount_path; /* owned */
    bool read_only;
    bool machine;   /* a virtual machine: it has the disk, not the folder */
    int retain;     /* enum doc_retain */
    bool unwritten; /* its row may say something else: what it was before */
    char created[TIME_TEXT_SIZE], updated[TIME_TEXT_SIZE];
};
struct volume {
    struct volumes *v;
    char id[VOLUME_ID_MAX + 1];
    const char *name; /* in id */
    enum doc_volume_driver driver;
    enum volume_state state;
    bool stored; /* has a row */
    bool fresh;  /* has never been ready */
    bool made;
    int64_t size_gb;
    char fs_type[16], access_mode[32], device[PATH_MAX];
    char created[TIME_TEXT_SIZE], updated[TIME_TEXT_SIZE];
    char failure[480];               /* as struct err has it */
    struct list_node users, waiters; /* struct user, struct waiter */
    size_t n_users;
    bool busy; /* an act or a deletion has it */
    /* a deletion */
    void (*trashed)(void *ctx, const struct fault *f);
    void *trashed_ctx;
};

/* An act's wish. */
struct wish {
    char id[VOLUME_ID_MAX + 1];
    const struct doc_managed_volume *doc;
};

int wish_fill(struct wish *w, const struct doc_managed_volume *doc, struct err *e);
struct volume *volume_find(struct volumes *v, struct slice id);
int volume_new(struct volumes *v, const char *id, enum doc_volume_driver d, struct volume **ret,
               struct err *e);
void volume_free(struct volume *x); /* out of the table */
struct user *user_find(struct volume *x, struct slice workload);
int user_new(struct volume *x, struct slice workload, const struct doc_managed_volume *doc,
             struct user **ret, struct err *e);
void user_free(struct user *u);
void volume_touch(struct volume *x); /* updated: now */
/* The driver's other volumes: true if one of them has users, or is not at rest. */
bool driver_used(const struct volumes *v, enum doc_volume_driver d, const struct volume *but);
int table_load(struct volumes *v, struct err *e);

/* At most three changes in one transaction; fn comes once, from the loop. */
struct commit;
struct commit *commit_new(struct volumes *v); /* NULL: no memory */
int commit_volume(struct commit *c, const struct volume *x, bool put);
int commit_user(struct commit *c, const struct user *u, bool put);
/* Takes c. On an error fn does not come. */
int commit_begin(struct commit *c, store_done_fn fn, void *ctx, struct err *e);

/* ---- acts, volumes_act.c */

struct wrap {
    struct volumes *v;
    struct driver inner;
    struct driver_ops ops; /* of the driver in front */
    bool used;
};
/* The volume is at rest: who waits for it looks again. */
void volume_rest(struct volume *x);
/* It is in no row any more, or never was: out of the table; who waits for it looks again. */
void volume_drop(struct volume *x);
/* ops that go on to the inner driver, volumes_pass.c */
void pass_fill(struct driver_ops *ops, const struct driver_ops *inner);
int act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
void act_cancel_volumes(void *self, struct slice id);
int act_check(void *self, const struct workload_doc *doc, struct err *e);

/* ---- deleting, volumes_delete.c */

/* The volume is busy, DELETING in the store, without users. trashed comes when its data is put
 * away, or could not be; then it may have gone. NULL: nobody wants to know. */
void delete_begin(struct volume *x, void (*trashed)(void *ctx, const struct fault *f), void *ctx);
void delete_retry(void *ctx); /* the timer's */

struct volumes {
    uint32_t magic;
    struct loop *loop;
    struct workload_store store;
    struct volumes_options o; /* texts are owned */
    struct map table;         /* id -> struct volume */
    struct wrap wraps[WORKLOAD_TYPES];
    struct lane lanes[LANES];
    struct list_node acts; /* struct vact */
    struct loop_timer timer;
    bool has_timer;
    bool spare; /* rows could not be read: nothing is deleted */
    bool closing;
    unsigned refs; /* jobs, commits and the timer */
};
void volumes_ref(struct volumes *v);
void volumes_unref(struct volumes *v); /* frees it when closing and the last */

/* One that is waiting, of any volume. */
struct waiter {
    struct list_node link;
    void (*go)(void *ctx);
    void *ctx;
};

const struct schema_list *doc_volumes(const struct workload_doc *doc); /* NULL: its type has none */

#endif
