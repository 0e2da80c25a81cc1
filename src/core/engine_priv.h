/* engine_priv.h: what the files of the engine share. See engine.h for what it does.
 *
 *   engine.c          life, options, the run
 *   engine_item.c     workloads in memory: texts, the table of ids, their order, deadlines
 *   engine_rules.c    what is kept of a document besides its text: dependencies, health, lock file
 *   engine_accept.c   judging what is asked; engine_commit.c writing it down and answering
 *   engine_step.c     intent against observation: the next act of one workload
 *   engine_act.c      calls of drivers and their ends; engine_look.c looking at one object
 *   engine_object.c   what has been observed
 *   engine_retry.c    failures, back-off, giving up
 *   engine_pass.c     looking at everything; engine_gc.c what nobody asked for
 *   engine_depends.c  who waits for whom; engine_health.c probes
 *   engine_view.c, engine_explain.c   what others get to see
 */
#ifndef GANTRY_CORE_ENGINE_PRIV_H
#define GANTRY_CORE_ENGINE_PRIV_H

#include "core/engine.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"

#include <string.h>

#define ENGINE_MAGIC 0x47454e47u /* "GENG" */
#define NEVER UINT64_MAX
#define POLICY_WHO "policy:" /* begins the name of who asks, when it is a rule of ours */
#define SOON_MS 1000u        /* until something that could not be tried is tried again */
/* What was fetched may be cleaned away again: not relied upon for any longer. */
#define PREPARED_MS 300000u

struct item;

/* ---- intent: one row of the store in memory. Shared by reference: an act keeps the one that it
 * was begun for. */

struct edge {              /* "this one depends on that id" */
    struct list_node link; /* in the target's list */
    struct item *owner;
    struct target *target; /* NULL: not linked, its intent is not in force */
    char *id;
    uint8_t condition; /* enum doc_condition */
};
struct rules { /* shared by the intents of one document */
    uint32_t refs;
    char *lock_file; /* NULL: none */
    struct edge *edges;
    size_t n_edges;
    struct doc_health health; /* kind none: there is none. Texts are owned */
};
struct intent {
    uint32_t refs;
    uint8_t type, desired, cause;
    uint16_t flags; /* enum stored_flags but for STORED_TERMINAL, which is the item's */
    uint64_t generation;
    int64_t created_ns, updated_ns;
    uint64_t print_hash; /* of `print`; 0: there is none */
    struct rules *rules; /* NULL: the document has none */
    uint32_t id_len, revision_len, who_len, print_len, doc_len;
    char text[]; /* id, revision, who, print, doc, each with a NUL */
};

int rules_new(struct rules **ret, const struct workload_doc *doc); /* NULL if there are none */
struct rules *rules_ref(struct rules *r);                          /* NULL is fine */
void rules_unref(struct rules *r);                                 /* NULL is fine */

/* Copies texts (of *row) and takes `rules` on success. */
int intent_new(struct intent **ret, const struct stored_workload *row, struct rules *rules);
struct intent *intent_ref(struct intent *n);
void intent_unref(struct intent *n); /* NULL is fine */
struct slice intent_id(const struct intent *n);
struct slice intent_revision(const struct intent *n);
struct slice intent_who(const struct intent *n);
struct slice intent_print(const struct intent *n);
struct slice intent_doc(const struct intent *n);
/* As a row, without the fields of tries. Borrowed from n. */
void intent_row(const struct intent *n, struct stored_workload *ret);

/* ---- observation */

struct object_text {
    uint32_t cap, used;
    uint16_t revision, object_id, node_id, message, address; /* lengths */
    uint16_t n_meta;
    char data[]; /* the five, then keys and values, each with a NUL */
};
struct object {
    bool exists, incomplete;
    uint8_t actual, cause, health;
    uint32_t restarts;
    int64_t created_ns, started_ns, finished_ns, exit_code;
    uint64_t print_hash;      /* as of an intent */
    struct object_text *text; /* NULL: nothing was ever seen; kept for reuse */
};
uint64_t print_hash(struct slice print); /* 0 only for an empty one */
/* ERR_NO_MEMORY: nothing has changed. Allocates only when there is more text than ever. */
int object_set(struct object *t, const struct driver_object *o);
void object_gone(struct object *t);
void object_done(struct object *t);
struct slice object_revision(const struct object *t);
struct slice object_node(const struct object *t);
struct slice object_oid(const struct object *t);
const char *object_message(const struct object *t); /* "" */
const char *object_address(const struct object *t); /* "" */
void object_meta(const struct object *t, void (*fn)(void *, const char *, const char *), void *ctx);

/* ---- one workload */

enum phase {
    PHASE_IDLE,
    PHASE_WAITING,
    PHASE_PREPARING,
    PHASE_MAKING,
    PHASE_STARTING,
    PHASE_STOPPING,
    PHASE_REMOVING,
    PHASE_GONE,
    PHASES
};
enum wait_kind {
    WAIT_NONE,
    WAIT_COMMIT,     /* its newest intent is not on the disk yet */
    WAIT_NO_DRIVER,  /* this machine has no such runtime */
    WAIT_RUNTIME,    /* it does not answer */
    WAIT_LOOK,       /* its object has not been looked at */
    WAIT_SLOT,       /* as many acts as may be are under way */
    WAIT_LOCK,       /* lock file */
    WAIT_DEPENDS,    /* others must run first */
    WAIT_DEPENDENTS, /* others must go first */
    WAIT_RETRY,      /* the time of the next try */
    WAIT_TERMINAL,   /* given up */
    WAIT_LATE,       /* a creation that was cut off may still come about */
    WAIT_ORPHAN      /* an object of an earlier owner of this id is being removed */
};
enum slot { /* reasons to look at a workload at a time of its own; the earliest wins */
            SLOT_RETRY,
            SLOT_LOCK,
            SLOT_PENDING,
            SLOT_HEALTH,
            SLOT_STEADY,
            SLOT_LOOK,
            SLOTS
};
enum act_kind { ACT_NONE, ACT_PREPARE, ACT_MAKE, ACT_START, ACT_STOP, ACT_REMOVE, ACT_ERASE };
enum queue { QUEUE_NONE, QUEUE_READY, QUEUE_MAKE, QUEUE_SHORT };

struct tries {
    uint32_t count;
    uint8_t reason; /* enum fault_reason */
    bool terminal;
    int64_t last_ns, next_ns; /* wall time */
    uint64_t next_ms;         /* monotonic; 0: at any time */
    uint64_t last_ms;         /* monotonic; 0: none since the start */
    int64_t counted_ns;       /* end of the run that was counted last */
    char *text;               /* owned; NULL: none */
};

struct waiter { /* somebody who is told when a commit is through */
    struct list_node link;
    engine_answer_fn fn;
    void *ctx;
};
enum change_how {
    CHANGE_FRESH = 1,   /* tries begin again */
    CHANGE_RESTART = 2, /* and what runs is stopped and started */
    CHANGE_BORN = 4     /* what was being deleted has gone: it begins anew */
};
struct change {            /* an intent on its way to the disk */
    struct intent *intent; /* NULL: none */
    enum task_kind kind;
    unsigned how;          /* enum change_how */
    struct span_ref asked; /* the request's span */
    struct span commit;
    struct list_node waiters;
};
struct changes {
    struct change sent, next; /* in the store's hands; to follow it */
};

struct probing { /* of a workload with probes of its own */
    struct item *w;
    void *call;
    bool busy;
    uint32_t fails;
    uint8_t health; /* enum workload_health */
    char address[64];
    char last[160]; /* what the last failed probe said */
};

struct act {
    struct engine *g; /* NULL: the engine has gone */
    struct item *w;
    struct intent *intent;
    enum act_kind kind;
    enum workload_type type; /* of the driver */
    enum stop_cause cause;
    bool cancelled, has_doc;
    struct span span;
    uint64_t begun_ms;
    struct workload_doc doc;
    char progress[160];
    struct list_node link;
};
struct look {
    struct engine *g; /* NULL: the engine has gone */
    struct item *w;   /* NULL: the workload has gone */
    struct list_node link;
    uint64_t seq;
};

struct item {
    /* What each pass looks at comes first, in as few lines of the cache as can be. */
    struct item *hash_next;
    uint32_t hash;
    uint32_t pass;      /* the last in which its object was listed */
    struct intent *now; /* committed; NULL: not yet */
    struct engine *g;
    struct act *act;
    struct look *look;
    uint64_t seq;            /* of the newest observation */
    struct changes *changes; /* NULL: none on their way */
    uint32_t epoch;          /* of the runtime's, in which it was looked at */
    uint32_t look_fails;
    uint16_t quick; /* runs in a row that ended well but soon */
    uint8_t actual; /* as told to others, without tasks */
    uint8_t phase, wait, queue;
    uint8_t cause;        /* of the last stop */
    uint8_t strays;       /* bit by type: an object of an earlier type may be there */
    bool fresh : 1;       /* since the start nothing had to be done for it yet */
    bool assumed : 1;     /* "no object" was assumed, not seen */
    bool dirty : 1;       /* its tries are not written down as they are */
    bool writing : 1;     /* a commit of its tries is under way */
    bool erasing : 1;     /* the commit that removes its row is under way */
    bool restart : 1;     /* stop it, then start it */
    bool ordered : 1;     /* something was asked for and is not done (without reconcile) */
    bool remake : 1;      /* what is there could not be started: make it anew */
    bool replacing : 1;   /* what was there made room for what is to come */
    bool misfit : 1;      /* what was made last did not fit */
    bool look_after : 1;  /* something happened; look when there is nothing to do */
    bool was_up : 1;      /* ran when its runtime went away */
    bool recovered : 1;   /* was restarted because it was pending for long */
    bool was_pending : 1; /* pending_since was told to somebody */
    bool sick : 1;        /* unhealthy, and that calls for a restart */
    bool look_wanted : 1;
    bool first_look : 1; /* has not been seen since the start */
    bool asked_stop : 1; /* its last stop was ours */
    bool released : 1;   /* its driver has removed it for good */
    bool due_look : 1;   /* the time to look at it has come */
    bool due_probe : 1;
    bool unsure : 1;     /* somebody may have asked for its object who did not hear the end of it */
    bool last_looks : 1; /* the time for that is over, and it is looked at once more */
    bool failed_once : 1; /* clients have been told of a failure since the start */
    struct object object;
    struct tries tries;
    struct task_entry *task;  /* open; NULL: none */
    struct task_entry *later; /* open: of what is made when what is there has gone; NULL: none */
    struct probing *probing;
    struct driver_usage *usage; /* NULL: no sample yet */
    char *stop_why;             /* for what its own rule stopped it; NULL: not since the start */
    uint32_t order_at, heap_at; /* heap_at: from 1; 0: not in it */
    uint32_t mark;              /* of the last walk that came by */
    struct item *mark_from;     /* where that walk came from */
    struct list_node link;      /* of a queue */
    struct list_node look_link; /* of those to be looked at */
    uint64_t slot[SLOTS];       /* 0: not set */
    uint64_t due;               /* the earliest; 0: none */
    uint64_t pending_ms;        /* since when it is pending; 0: it is not */
    int64_t pending_ns, changed_ns;
    uint64_t start_ms;    /* when a start succeeded or it was first seen running */
    uint64_t quick_ms;    /* not started before, after runs that ended soon; 0: at any time */
    uint64_t absent_ms;   /* unsure, and seen not to be there since then; 0: not yet */
    uint64_t prepared_ms; /* what comes next was fetched then; 0: it was not */
    uint64_t hold_ms;     /* the store refused a change: rules of ours wait so long with the next */
};

/* ---- one runtime */

struct listing {
    struct engine *g; /* NULL: the engine has gone */
    enum workload_type type;
    uint64_t seq, begun_ns;
};
struct runtime {
    struct engine *g;
    enum workload_type type;
    const struct driver *driver;
    struct driver_watcher watcher;
    struct listing *listing;
    bool up;        /* as far as is known; true until something says otherwise */
    bool wanted;    /* a list as soon as can be */
    uint32_t epoch; /* grows each time it comes back */
    uint32_t pass;
    uint64_t again_ms; /* a list at this time, after one that failed; 0: none */
    uint64_t wait_ms;
};

struct orphan {
    struct engine *g; /* NULL: the engine has gone */
    enum workload_type type;
    uint64_t first_ms;
    uint32_t seen, pass;
    bool ours; /* its label names this node */
    bool removing;
    char id[WORKLOAD_ID_MAX + 1];
};

struct engine {
    uint32_t magic;
    const struct clock *clock;
    struct workload_store store;
    struct driver drivers[WORKLOAD_TYPES];
    struct sealer sealer;
    struct prober prober;
    struct host host;
    struct event_hub *events;
    struct tasks *tasks;
    struct engine_limits lim;
    struct slice node_id;
    const char *const *lock_roots;
    size_t n_lock_roots;
    void (*wake)(void *ctx, uint64_t mono_ms);
    void *ctx;
    uint64_t woken_ms; /* the wake-up that is arranged; NEVER: none */

    struct item **buckets;
    uint32_t n_buckets;  /* a power of two */
    struct item **order; /* NULL: a hole */
    uint32_t n_order, order_cap, n_sorted, holes;
    struct item **heap; /* from 1 */
    uint32_t n_heap, heap_cap;
    uint32_t count, mark;
    struct map targets; /* id -> struct target, of all edges */

    struct list_node ready, make, shorts, to_look, acts, looks;
    unsigned n_acts, n_makes, n_looks, commits;
    bool turn;
    uint32_t passes; /* lists taken, of all runtimes */
    uint64_t seq;

    struct runtime runtimes[WORKLOAD_TYPES];
    uint64_t pass_ms, gc_ms; /* when the next one is due */
    struct map orphans;
    unsigned n_removing;

    bool spare_orphans; /* a row could not be read */
    bool draining;      /* nothing new is taken */
    bool running, in_run, stopping, told;
    uint64_t stop_ms; /* acts are cancelled then; NEVER: that is done */
    void (*stopped)(void *ctx);
    void *stopped_ctx;

    struct engine_stats stats; /* but for what is counted when asked */
    char text[512];            /* of the view that was made last */
    char waits[320];
};

struct target {
    char *id;
    struct list_node edges;
};

/* Its object has been looked at since the runtime last came back (or since the start). */
static inline bool item_known(const struct item *w)
{
    const struct runtime *rt = &w->g->runtimes[w->now->type];
    return rt->epoch != 0 && w->epoch == rt->epoch;
}

/* What is there of it goes for good, whether something comes after it or not. */
static inline bool intent_goes(const struct intent *n)
{
    return (n->flags & (STORED_DELETING | STORED_REBORN)) != 0;
}

/* Types of its past, as bits (1 << type): their objects go for good as well. */
static inline unsigned intent_were(const struct intent *n)
{
    return ((unsigned)n->flags & STORED_WERE) >> STORED_WERE_SHIFT;
}

/* A rule of ours deletes it: its data stays. */
static inline bool intent_keeps(const struct intent *n)
{
    return (n->flags & STORED_KEEPS) != 0 || slice_starts(intent_who(n), POLICY_WHO);
}

static inline bool item_reborn(const struct item *w)
{
    return w->now != NULL && (w->now->flags & STORED_REBORN) != 0;
}

/* An act of it may change its object just now: what is seen of that meanwhile is not to be relied
 * upon. */
static inline bool item_busy(const struct item *w)
{
    return w->act != NULL && w->act->kind != ACT_PREPARE;
}

/* ---- engine.c */
uint64_t eng_now(const struct engine *g); /* monotonic, ms */
int64_t eng_wall(const struct engine *g);
void eng_wake(struct engine *g, uint64_t at_ms);
void eng_check_stopped(struct engine *g);
void eng_event(struct engine *g, const struct item *w, const char *type, const char *from,
               const char *to, struct slice reason, const char *message);
void limits_fill(struct engine_limits *l);

/* ---- engine_item.c */
struct item *item_find(const struct engine *g, struct slice id);
/* The same for many, one after the other: what is needed soon is fetched from memory meanwhile. */
struct item *item_find_hashed(const struct engine *g, struct slice id, uint32_t hash);
void item_fetch_bucket(const struct engine *g, uint32_t hash);
void item_fetch(const struct engine *g, uint32_t hash);
void item_fetch_rest(const struct engine *g, uint32_t hash);
/* Without intent yet. ERR_LIMIT, ERR_NO_MEMORY. */
int item_new(struct engine *g, struct slice id, struct item **ret, struct err *e);
/* Out of all lists and tables, and freed. */
void item_free(struct item *w);
struct intent *item_newest(const struct item *w); /* committed or not; NULL: being forgotten */
struct slice item_id(const struct item *w);
void slot_set(struct item *w, enum slot s, uint64_t at_ms); /* if there is no earlier time */
void slot_clear(struct item *w, enum slot s);
/* Slots that are due, as bits; they are cleared. */
unsigned slots_take(struct item *w, uint64_t now_ms);
struct item *heap_top(const struct engine *g);
void item_queue(struct item *w, enum queue q);
void item_ready(struct item *w); /* its next act is to be thought about */
void order_tidy(struct engine *g);

/* ---- engine_accept.c, engine_commit.c */
/* A change goes on its way; takes j->intent and, if that is not NULL, the waiter. ERR_BUSY,
 * ERR_NO_MEMORY, ERR_LIMIT: nothing has changed, nothing is taken. */
int change_begin(struct engine *g, struct item *w, struct intent *n, enum task_kind kind,
                 unsigned how, struct waiter *waiter, struct err *e);
/* Desired becomes stopped because a rule says so. */
int change_policy(struct item *w, const char *who, struct err *e);
void change_free(struct changes *c);
void tries_write(struct item *w);
void row_erase(struct item *w); /* or what is to come after it begins */
/* An answer to one who asks. */
void answer(struct engine *g, engine_answer_fn fn, void *ctx, enum engine_verdict v,
            const struct err *e, struct item *w);
/* What was open is superseded. NULL: out of memory, it goes without. */
struct task_entry *task_new(struct item *w, enum task_kind kind);
void task_done(struct item *w, bool ok, const char *text);

/* ---- engine_step.c */
void item_step(struct item *w);
/* Actual state, phase and wait as they follow from everything else; events if they change. */
void item_refresh(struct item *w);
bool item_settled(const struct item *w); /* is as it should be */
bool object_fits(const struct item *w);  /* there, and of the right revision */
/* An older object runs until what is wanted can take its place. */
bool object_outdated(const struct item *w);

/* ---- engine_act.c, engine_look.c */
bool act_room(const struct engine *g, enum act_kind k);
bool act_is_long(enum act_kind k); /* may wait for an image */
void act_begin(struct item *w, enum act_kind k, enum workload_type type, enum stop_cause cause);
void act_cancel(struct item *w);
void acts_from_queues(struct engine *g);
void look_want(struct item *w);
void looks_begin(struct engine *g);
/* Takes what was seen; o NULL: there is none. ERR_NO_MEMORY. */
int item_observe(struct item *w, const struct driver_object *o);

/* ---- engine_retry.c */
/* `what` ("create failed") and f become the text. False: not counted, nothing was tried. */
bool tries_failed(struct item *w, const char *what, const struct fault *f);
void tries_clear(struct item *w); /* as if nothing had failed; written down if it was */
void tries_forget(struct tries *t);
bool tries_wait(const struct item *w);    /* the next one is not due yet */
void tries_start_backoff(struct item *w); /* a run ended well, maybe too soon */
void tries_steady(struct item *w);

/* ---- engine_pass.c, engine_gc.c */
void runtime_down(struct runtime *rt);
void runtime_up(struct runtime *rt);
void pass_run(struct engine *g);
void gc_run(struct engine *g);
void gc_cancel(struct engine *g);
void gc_seen(struct runtime *rt, const struct driver_object *o);
void gc_listed(struct runtime *rt); /* forgets those that were not seen this time */
bool gc_busy(const struct engine *g, struct slice id);

/* ---- engine_depends.c */
int depends_link(struct item *w, struct rules *r);
void depends_unlink(struct engine *g, struct rules *r);
void depends_wake(struct item *w); /* those that wait for w think again */
void depends_wake_used(struct engine *g, const struct rules *r); /* those that r names */
/* ERR_CONFLICT with the circle; ERR_NO_MEMORY. */
int depends_check(struct engine *g, struct slice id, const struct workload_doc *d, struct err *e);
/* The i-th thing that it waits for now; NULL: no more. */
/* `t` is as another one wants it; NULL: it is not. */
bool item_meets(const struct item *t, enum doc_condition c);
/* This is wanted of it, and not so: if it is its address, it is looked at soon. NULL is fine. */
void address_look(struct item *t, enum doc_condition c);
/* It waits for its dependencies: those whose addresses it waits for are looked at soon. */
void depends_look(struct item *w);
const struct edge *depends_unmet(const struct item *w, size_t i);
/* A workload that depends on w: deleting (or any that stays, if `deleting` is false); NULL: none */
const struct item *depends_on_it(const struct item *w, bool deleting, size_t i);

/* ---- engine_health.c */
enum workload_health item_health(const struct item *w);
void health_begin(struct item *w); /* it runs: probes are due */
void health_end(struct item *w);   /* it does not: no probe any more */
void health_due(struct item *w);
void health_judge(struct item *w); /* acts on what is known */

/* ---- engine_view.c */
void view_fill(struct item *w, struct engine_view *ret);
const char *waits_text(const struct item *w, char *out, size_t size);
const char *missing_text(enum workload_type t);
/* "revision \"7\", which was there before, still runs"; "" if that is not so. */
const char *outdated_text(const struct item *w, char *out, size_t size);
const struct sm_table *phase_table(void);

#endif
