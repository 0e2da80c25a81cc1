/* virt_priv.h: what the files of this driver share. Not for other rooms.
 *
 *   virt.c         life, options, the table of the driver
 *   virt_lib.c     the library          virt_link.c     the loop's side: jobs, deadlines, the link
 *   virt_thread.c  the thread's side: connection, events, jobs carried out
 *   virt_facts.c   what a description says of a domain, kept
 *   virt_look.c    inspect, list        virt_act.c      ensure, start, stop, remove
 *   virt_jobs.c    what acts ask of libvirt   virt_make.c   what is made for a domain
 *   virt_users.c   files that others need
 *   virt_disk.c    files of disks       virt_text.c     states and failures in words
 *   virt_address.c addresses            virt_usage.c    usage
 *   virt_console.c the serial console   virt_snapshot.c snapshots
 *
 * Two threads. What belongs to the libvirt thread is in struct virt_thread; to both, under the
 * lock, in struct virt_shared; everything else to the loop.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_PRIV_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"
#include "driver/libvirt/domain_xml.h"
#include "driver/libvirt/seed.h"
#include "driver/libvirt/virt.h"
#include "driver/libvirt/virt_disk.h"
#include "driver/libvirt/virt_lib.h"
#include "driver/libvirt/xml_in.h"

#include <stdio.h>
#include <string.h>

enum {
    VIRT_MAGIC = 0x56495254,
    VIRT_STOP_DEFAULT_S = 30,
    VIRT_NAME_SIZE = 256, /* of a domain, cut to it; ours are shorter */
    VIRT_NOTES_MAX = 10000,
    VIRT_TIMERS = 4,
    VIRT_SETTLE_MS = 2000, /* from its start until a guest may have an address */
};

/* ---- facts: what a domain's description says of it. Never changed once made, shared by both
 * threads; every text is there, "" if it has none. */

struct virt_facts {
    unsigned refs; /* atomic */
    bool ours;
    char uuid[VIR_UUID_STRING_BUFLEN];
    const char *name, *id, *revision, *print, *node, *type, *macs, *seed;
    const char *files; /* of its disks, NUL after each, one more at the end */
    char text[];
};
/* ERR_NO_MEMORY, what domain_xml_read gives. */
int virt_facts_read(struct virt_facts **ret, struct slice xml, struct err *e);
struct virt_facts *virt_facts_ref(struct virt_facts *f);
void virt_facts_unref(void *f); /* NULL is fine */
/* True for the seed of a workload, wherever it is: ".../ID-cloud-init.iso". */
bool virt_is_seed(struct slice path, struct slice id);

/* ---- jobs */

struct virt_thread;
struct virt_job {
    struct list_node link; /* of the shared queue, or of those done */
    struct list_node all;  /* of all that are not freed, for the loop */
    struct virt *v;
    /* On the thread: touches the job and the thread's things only; a failure goes to j->f. */
    void (*run)(struct virt_job *j, struct virt_thread *t);
    /* On the loop, once: f NULL is success. The owner is told. What `run` writes may be looked at
     * only then: with f set the thread may still be at it. */
    void (*end)(struct virt_job *j, const struct fault *f);
    void (*release)(struct virt_job *j); /* on the loop, last: frees it; NULL: mem_free */
    uint64_t limit_ms;                   /* of running, without the wait in the queue */
    bool unlinked;                       /* needs no connection */
    bool over;                           /* `end` was called */
    struct fault f;
};
/* Takes the job. Its end comes from the loop, never inside. */
void virt_job_send(struct virt *v, struct virt_job *j);

/* What the thread tells without being asked. */
struct virt_note {
    struct list_node link;
    int event, detail; /* virDomainEventType and its detail */
    char name[VIRT_NAME_SIZE];
};

struct virt_shared {
    uv_mutex_t lock;
    struct list_node waiting, done, notes;
    size_t n_notes;
    bool missed;              /* a note could not be kept */
    uint64_t lost;            /* number of the connection that ended last; 0: none has */
    struct virt_job *running; /* NULL: none */
    uint64_t since_ns;        /* uv_hrtime when it began */
    bool quit, ended;
    bool left; /* the loop does not listen any more */
};

struct virt_thread {
    struct virt *v; /* for its shared part and its options */
    const struct virt_lib *lib;
    virConnectPtr conn; /* NULL: none */
    uint64_t serial;    /* its number, from 1 */
    bool lost;          /* it has ended; to be closed */
    int event_id, wake_id;
    struct map known;         /* name -> struct virt_facts */
    struct list_node streams; /* of consoles; virt_console.c */
};

/* virt_thread.c */
void virt_wake_loop(struct virt *v);
void virt_thread_main(void *arg);
/* Fills j->f from libvirt's last error. Returns its code. */
int virt_failed(struct virt_thread *t, struct fault *f, const char *fmt, ...) BASE_PRINTF(3, 4);
/* The domain of this name; NULL: *f says why (ERR_NOT_FOUND). The caller's: DomainFree. */
virDomainPtr virt_find(struct virt_thread *t, const char *name, struct fault *f);
/* What is known of a domain, asked for if need be. A reference; NULL: *f is set. */
struct virt_facts *virt_know(struct virt_thread *t, virDomainPtr d, struct fault *f);
void virt_forget(struct virt_thread *t, const char *name);
void virt_forget_all(struct virt_thread *t);

/* The job that connects. */
struct virt_open {
    struct virt_job job;
    bool kvm;        /* answer */
    uint64_t serial; /* answer: the connection's number */
};
void virt_open_run(struct virt_job *j, struct virt_thread *t);

/* ---- the driver */

enum virt_link_state { VIRT_LINK_AWAY, VIRT_LINK_ASKING, VIRT_LINK_READY, VIRT_LINK_CLOSED };

/* What is known of a workload beside its description; by id. */
struct virt_kept {
    int64_t started_ns, finished_ns; /* seen happening; 0: not seen */
    char *addresses, *interfaces;    /* "10.0.0.2,fe80::1", "vnet0:10.0.0.2|fe80::1"; NULL: none */
    char *primary;
    char *lookup_error;
    /* of the seed written last */
    char *seed_path;
    char seed_checksum[65];
    size_t seed_bytes;
    int64_t seed_ns;
    /* of usage */
    uint64_t cpu_ns; /* of the domain; 0: no sample */
    int64_t cpu_at_ns;
    double cpu_percent;
    bool running;
    bool fresh; /* seen in the last list */
};

struct virt {
    uint32_t magic;
    uint32_t refs; /* the owner, handles, the thread, files under way */
    struct loop *loop;
    struct virt_options o; /* texts owned */
    char **roots;
    size_t n_roots;
    struct virt_shared shared;
    struct virt_thread thread;
    uv_thread_t tid;
    int wake_fd;
    uv_async_t async;
    bool has_async, has_thread, stuck; /* stuck: it is still at a job that was given up */
    bool closing;

    struct sm link;
    uint64_t serial; /* of the connection while it is ready */
    struct loop_timer tick, retry, tell, slow;
    unsigned n_timers;     /* made, in this order */
    struct list_node jobs; /* all of them */
    struct list_node refused;
    bool opening, ticking;
    uint64_t delay_ms;
    const char *ovmf_code, *ovmf_vars; /* NULL: there is no UEFI; not owned */
    bool kvm, kvm_refused;             /* kvm_refused: a domain could not be started with it */
    char why[256];                     /* why it is away */

    struct driver_watcher watcher;
    bool told, told_up, look_due;

    struct map acts;                   /* id -> struct virt_act, borrowed */
    struct map kept;                   /* id -> struct virt_kept */
    struct virt_rounds *usage;         /* see virt_usage.c; NULL: none yet */
    struct list_node calls;            /* consoles */
    bool addressing, slow_set;         /* a look for addresses is under way; is planned */
    char last_address[VIRT_NAME_SIZE]; /* whose were looked for last */
    char condition[300];
};

struct virt *virt_of(void *self);
struct virt *virt_ref(struct virt *v);
void virt_unref(struct virt *v);
struct virt_kept *virt_keep(struct virt *v, struct slice id); /* NULL: out of memory */
void virt_kept_free(void *kept);
void virt_slow_soon(struct virt *v, uint64_t in_ms);

/* virt_link.c */
int virt_link_init(struct virt *v, struct err *e);
void virt_link_close(struct virt *v);
void virt_link_begin(struct virt *v);
/* libvirtd does not answer: all that is asked of it ends, the connection is made anew. */
void virt_link_break(struct virt *v, const char *why);
bool virt_link_ready(const struct virt *v);
void virt_watch_set(void *self, const struct driver_watcher *w);
void virt_tell_changed(struct virt *v, struct slice id);

/* virt_look.c */
struct virt_seen {
    struct virt_facts *facts; /* a reference; NULL: there is none */
    int state, reason;
};
/* One question about one domain. facts of one that is not ours are given too. */
typedef void (*virt_look_fn)(void *ctx, const struct fault *f, const struct virt_seen *s);
int virt_look(struct virt *v, struct slice id, virt_look_fn fn, void *ctx);
int virt_look_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx);
int virt_look_list(void *self, driver_list_fn fn, void *ctx);
enum { VIRT_METAS = 16 };
struct virt_object {
    struct driver_object o;
    struct driver_meta meta[VIRT_METAS];
    char message[96], state[12], reason[12], bytes[24], prepared[32];
};
/* Fills it; borrows from s and from what is kept. */
void virt_object_fill(struct virt_object *ret, struct virt *v, const struct virt_seen *s);

/* virt_jobs.c: each tells fn with what came of it. ERR_NO_MEMORY: fn does not come. */
enum virt_order { VIRT_START, VIRT_SHUTDOWN, VIRT_DESTROY, VIRT_UNDEFINE, VIRT_ADOPT };
struct virt_result {
    bool off;              /* shutdown: it is off already (or there is none) */
    bool deaf;             /* shutdown: it cannot be asked to */
    bool kvm_refused;      /* start: with f, because of the accelerator */
    bool none;             /* there is no such domain of ours */
    struct virt_seen seen; /* afterwards; facts borrowed for the call, may be NULL */
    /* destroy: files of its disks, NUL after each, two at the end; NULL: none. Borrowed. */
    const char *files;
};
typedef void (*virt_result_fn)(void *ctx, const struct fault *f, const struct virt_result *r);
struct virt_ask {
    struct slice id, revision, print, node_id; /* all but id: of adopt */
    enum virt_order order;
    bool for_good; /* undefine: what UEFI has written down (its boot entries) goes, too */
};
int virt_ask_send(struct virt *v, const struct virt_ask *a, virt_result_fn fn, void *ctx,
                  struct virt_job **ret);
/* Takes xml's bytes. */
int virt_define_send(struct virt *v, struct slice id, struct buf *xml, virt_result_fn fn, void *ctx,
                     struct virt_job **ret);
void virt_job_orphan(struct virt_job *j); /* its fn does not come any more; NULL is fine */

/* virt_users.c: files that other domains need, on the thread. */
enum { VIRT_USERS_MAX = 16 << 20 };
/* Adds the files of all domains but one, and what these lie upon, a NUL after each. *f says why it
 * cannot be told. */
int virt_users_read(struct virt_thread *t, const char *but, struct buf *ret, struct fault *f);
/* True if one of them is this file, by whatever name. */
bool virt_users_have(const struct buf *files, const char *path);

/* virt_make.c: the files and the description of a domain. */
struct virt_making {
    struct virt *v;
    const struct driver_order *o;      /* with its document */
    bool describe_only;                /* the files are there */
    char uuid[VIR_UUID_STRING_BUFLEN]; /* of the domain that is described anew; "": none */
    struct domain_host host;
    int cancel; /* atomic */
    /* answer */
    struct fault f;
    struct domain_plan plan;
    struct virt_made made;
    struct seed seed;
    bool seed_written;
    int64_t seed_ns;
    char seed_path[4096], image_disk[4096];
    struct buf xml;
};
struct virt_making *virt_making_new(struct virt *v, const struct driver_order *o);
void virt_making_run(struct virt_making *m);  /* on a thread; what it made before it failed stays */
void virt_making_undo(struct virt_making *m); /* on a thread */
void virt_making_free(struct virt_making *m); /* NULL is fine */
int virt_making_check(struct virt *v, const struct workload_doc *doc, struct err *e);
void virt_seed_path(const struct virt *v, struct slice id, char *out, size_t size);

/* virt_act.c */
int virt_act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int virt_act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int virt_act_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int virt_act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
void virt_act_cancel(void *self, struct slice id);
int virt_act_check(void *self, const struct workload_doc *doc, struct err *e);
/* A domain has ended: who waits for it goes on. */
void virt_act_ended(struct virt *v, struct slice id);
void virt_act_linked(struct virt *v); /* events may have been missed */
void virt_acts_close(struct virt *v); /* all end with ERR_CANCELLED */

/* virt_address.c, virt_usage.c */
void virt_address_run(struct virt *v);
void virt_address_clear(struct virt_kept *k);
int virt_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx);
void virt_usage_free(struct virt *v);

/* virt_console.c */
int virt_console(void *self, struct slice id, bool force, const struct driver_exec_user *u,
                 void *ctx, struct driver_call **ret, struct err *e);
void virt_console_pause(struct driver_call *c, bool paused);
int virt_console_write(struct driver_call *c, struct slice bytes, bool end);
int virt_console_resize(struct driver_call *c, uint16_t rows, uint16_t columns);
void virt_console_cancel(struct driver_call *c);
void virt_streams_drop(struct virt_thread *t); /* on the thread: the connection has ended */
void virt_consoles_news(struct virt *v);       /* from the loop: take what has come */
void virt_consoles_close(struct virt *v);      /* all end: the driver closes */

/* virt_snapshot.c */
int virt_snapshots(void *self, struct slice id, driver_snapshots_fn fn, void *ctx);
int virt_snapshot(void *self, struct slice id, enum driver_snapshot_verb verb, struct slice name,
                  driver_done_fn fn, void *ctx);

#endif
