/* driver.h: what the engine asks of a runtime. driver/docker and driver/fake fill it.
 *
 * All calls are asynchronous and idempotent: what is so already is a success. A callback comes
 * exactly once, from the loop, never inside the call; what it is given is borrowed for the call.
 * On an error return the callback does not come. A driver never touches an object that is not
 * ours: the labels say whose it is, and are looked at again before each act.
 *
 * The engine never has two acts on one id under way. Reading calls may come at any time.
 */
#ifndef GANTRY_CORE_DRIVER_H
#define GANTRY_CORE_DRIVER_H

#include "base/buf.h"
#include "core/fault.h"
#include "core/workload.h"
#include "core/workload_doc.h"

struct driver_meta {
    const char *key, *value; /* "container.exit_code" (contract 4.6); values UTF-8, bounded */
};

/* An object as it is now. */
struct driver_object {
    struct slice id;             /* of the workload */
    struct slice revision;       /* as labelled */
    struct slice object_id;      /* the runtime's own: a container's 64 digits */
    struct slice node_id;        /* as labelled; empty: none (made by the original agent) */
    enum workload_actual actual; /* never ACTUAL_UNKNOWN for an object that is there */
    const char *message;         /* "Up 3 seconds", "exited with code 1: ..." (contract 5.1) */
    enum stop_cause cause;       /* STOP_CRASH, STOP_OOM or STOP_NONE */
    enum workload_health health;
    int64_t created_ns, started_ns, finished_ns; /* wall time; 0: never */
    int64_t exit_code;                           /* -1: none */
    uint32_t restarts;                           /* by the runtime itself */
    const char *address;                         /* for probes, "172.17.0.2"; "": none */
    const struct driver_meta *meta;
    size_t n_meta;
    struct slice print; /* workload_doc_print of what it was made from, as labelled; empty: none */
    /* Of a pending one: a part of it is missing or was stopped, and `start` would bring it back. */
    bool incomplete;
};

/* A managed volume, ready for use (driver/volumes makes these from the document). */
enum driver_mount_kind {
    DRIVER_MOUNT_DIRECTORY, /* of the machine */
    DRIVER_MOUNT_FILE,      /* a disk image, for virtual machines */
    DRIVER_MOUNT_NETWORK    /* "rbd:POOL/IMAGE", for virtual machines */
};
struct driver_mount {
    enum driver_mount_kind kind;
    const char *source; /* absolute path, or the network's name of it */
    const char *target; /* the document's mount_path */
    const char *format; /* of a disk image: "raw", "qcow2"; NULL: a directory */
    bool read_only;
};

/* One act's order. Everything borrowed until the callback. */
struct driver_order {
    struct slice id, revision;
    const struct workload_doc *doc; /* plain; NULL for stop and remove */
    struct slice node_id;           /* for the label */
    int64_t stop_timeout_s;         /* stop and remove: before it is killed; 0: 30 */
    /* Told how far it is ("pulling busybox: 3 of 7 layers"), at most every second; may be NULL. */
    void (*progress)(void *ctx, const char *text);
    struct slice print; /* workload_doc_print, for the label; empty: none is written */
    const struct driver_mount *mounts; /* of the document's managed volumes, in its order */
    size_t n_mounts;
    /* remove: the workload is deleted, and not only this object of it. What belongs to the
     * workload and was made by us (disks, volumes of a project) may go with it. */
    bool for_good;
    /* ensure: `start` comes right after it, so what that checks anyway need not be checked now. */
    bool start_follows;
    /* remove: the workload is forgotten by a rule of ours, which nobody asked for: it uses nothing
     * any more, but all data stays. Never together with for_good. */
    bool forgotten;
};

/* f NULL: done. o: the object afterwards, NULL when it is gone or was not looked at. */
typedef void (*driver_done_fn)(void *ctx, const struct fault *f, const struct driver_object *o);
/* f NULL: it is as o says; o NULL: there is none. Never "none" when that is not known: f is set
 * then, with ERR_UNREACHABLE. f with ERR_EXISTS: an object of that name is not ours. */
typedef void (*driver_object_fn)(void *ctx, const struct fault *f, const struct driver_object *o);
/* All objects with our label. */
typedef void (*driver_list_fn)(void *ctx, const struct fault *f, const struct driver_object *items,
                               size_t n);

enum driver_stream { DRIVER_STDOUT = 1, DRIVER_STDERR = 2 };
struct driver_logs_order {
    struct slice id;
    int64_t tail;     /* lines; < 0: all */
    int64_t since_ns; /* wall time; 0: from the start */
    bool follow;
    struct slice part; /* of a workload with several (a Compose service); empty: all of them */
};
struct driver_logs_user {
    /* One line without its end; time_ns is the runtime's own, 0 if it has none. Any bytes. */
    void (*line)(void *ctx, enum driver_stream s, int64_t time_ns, struct slice text);
    void (*done)(void *ctx, const struct fault *f); /* last, once */
};

struct driver_exec_order {
    struct slice id;
    const char *const *argv; /* ends with NULL; no shell */
    bool tty, interactive;
    uint16_t rows, columns;  /* of the terminal; 0: unknown */
    const char *user;        /* NULL: the workload's */
    const char *const *env;  /* "K=V", ends with NULL; may be NULL */
    const char *working_dir; /* NULL: the workload's */
    struct slice part;       /* of a workload with several; empty: its only one */
};
struct driver_exec_user {
    void (*output)(void *ctx, enum driver_stream s, struct slice bytes);
    void (*drained)(void *ctx); /* what was written has gone out */
    void (*done)(void *ctx, const struct fault *f, int64_t exit_code); /* last, once */
};

/* Usage since the last sample (contract 6); -1: not known. */
struct driver_usage {
    struct slice id;
    double cpu_percent; /* of one core times 100; -1: there is no earlier sample */
    int64_t memory_bytes, disk_read_bytes, disk_write_bytes, net_rx_bytes, net_tx_bytes;
    int64_t collected_ns; /* wall time */
    const char *source;   /* "docker" */
};
typedef void (*driver_usage_fn)(void *ctx, const struct fault *f, const struct driver_usage *u);

/* One of the things that a workload is made of: a service of a Compose project. */
struct driver_part {
    const char *name;      /* "web"; with several of a kind "web-2" */
    const char *image;     /* "" : none */
    const char *object_id; /* the runtime's own; "": there is none yet */
    enum workload_actual actual;
    const char *message;
    enum workload_health health;
    int64_t exit_code;  /* -1: none */
    int64_t started_ns; /* wall time; 0: never */
};
typedef void (*driver_parts_fn)(void *ctx, const struct fault *f, const struct driver_part *parts,
                                size_t n);

/* What `ensure` would do with each part, told before it is done. */
enum driver_change { DRIVER_KEEP, DRIVER_CREATE, DRIVER_RECREATE, DRIVER_REMOVE };
struct driver_step {
    const char *part; /* a service, a disk */
    enum driver_change change;
    const char *why; /* "its image or settings differ"; "": nothing to say */
};
typedef void (*driver_plan_fn)(void *ctx, const struct fault *f, const struct driver_step *steps,
                               size_t n);

struct driver_snapshot {
    const char *name, *description;
    int64_t created_ns; /* wall time */
    bool current, with_memory;
};
enum driver_snapshot_verb {
    DRIVER_SNAPSHOT_CREATE,
    DRIVER_SNAPSHOT_REVERT,
    DRIVER_SNAPSHOT_DELETE
};
typedef void (*driver_snapshots_fn)(void *ctx, const struct fault *f,
                                    const struct driver_snapshot *items, size_t n);

struct driver_watcher {
    /* Something happened to the object of this id: look again. */
    void (*changed)(void *ctx, struct slice id);
    /* The runtime can be reached again, or not any more; after `up` a full look is due. */
    void (*reachable)(void *ctx, bool up);
    void *ctx;
};

struct driver_call; /* of a long reading call */

struct driver_ops {
    const char *name; /* "docker", "fake" */
    enum workload_type type;
    const char *usage_source;
    /* What can be said without the runtime: ERR_INVALID with the bad value. */
    int (*check)(void *self, const struct workload_doc *doc, struct err *e);
    /* Makes the object of this id and revision, not started; one of ours with another revision
     * gives way (stopped, removed), one with the same is taken as it is. Fetches the image. */
    int (*ensure)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    int (*start)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    /* Fetches what `ensure` of the same order will need, and touches no object: so what is there
     * can run on until its successor can be made. NULL: there is nothing to fetch. */
    int (*prepare)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    int (*stop)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    int (*remove)(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
    /* Tries to end the act under way on this id (a pull, a long stop); its callback comes with
     * ERR_CANCELLED, or with the success that was quicker, or with ERR_TIMEOUT when the runtime may
     * still be carrying it out. */
    void (*cancel)(void *self, struct slice id);
    int (*inspect)(void *self, struct slice id, driver_object_fn fn, void *ctx);
    int (*list)(void *self, driver_list_fn fn, void *ctx);
    /* At most one watcher; NULL ends it. */
    void (*watch)(void *self, const struct driver_watcher *w);
    bool (*reachable)(void *self); /* when it was last asked */
    /* "healthy", or why not: for HealthCheck. Borrowed until the next call. */
    const char *(*condition)(void *self);
    /* What it works with here: a tool, an accelerator. "": nothing to say. Borrowed until the next
     * call. NULL: never anything to say. */
    const char *(*detail)(void *self);

    int (*logs)(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                void *ctx, struct driver_call **ret, struct err *e);
    /* Holds the lines back; of an exec its output. */
    void (*logs_pause)(struct driver_call *c, bool paused);
    int (*exec)(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                void *ctx, struct driver_call **ret, struct err *e);
    /* Bytes for its standard input; end: no more will come. ERR_LIMIT: too much waits. */
    int (*exec_write)(struct driver_call *c, struct slice bytes, bool end);
    int (*exec_resize)(struct driver_call *c, uint16_t rows, uint16_t columns);
    void (*cancel_call)(struct driver_call *c); /* logs and exec: no callback comes any more */
    int (*usage)(void *self, struct slice id, driver_usage_fn fn, void *ctx);

    /* ---- what only some have; NULL: not offered */

    /* ensure turns an older object into the new one by itself, keeping what need not change: the
     * engine does not remove it first (it does wait for the lock file). */
    bool in_place;
    /* remove for good is asked for also when there is no object (any more): other things of the
     * workload may be left. */
    bool releases;
    /* True: it is not offered here at all (its program is not installed). Nothing new is taken for
     * it, and a scheduler does not hear of it; what there is is kept. */
    bool (*absent)(void *self);
    int (*parts)(void *self, struct slice id, driver_parts_fn fn, void *ctx);
    int (*plan)(void *self, const struct workload_doc *doc, driver_plan_fn fn, void *ctx);
    int (*usage_part)(void *self, struct slice id, struct slice part, driver_usage_fn fn,
                      void *ctx); /* as usage, of one of its parts */
    /* The serial console: output, exec_write, exec_resize and cancel_call as with exec. force: take
     * it from who has it. ERR_BUSY: somebody has it. */
    int (*console)(void *self, struct slice id, bool force, const struct driver_exec_user *u,
                   void *ctx, struct driver_call **ret, struct err *e);
    int (*snapshots)(void *self, struct slice id, driver_snapshots_fn fn, void *ctx);
    int (*snapshot)(void *self, struct slice id, enum driver_snapshot_verb verb, struct slice name,
                    driver_done_fn fn, void *ctx);
};

struct driver {
    const struct driver_ops *ops; /* NULL: there is none */
    void *self;
};

#endif
