/* engine.h: keeps workloads in the state that was asked for (design, section 6).
 *
 * Intent comes in by engine_apply and engine_delete, is committed by the store, and then pursued by
 * acts of a driver until what is observed fits. It is pure: time comes from a clock, waiting is one
 * wake-up that the owner arranges, and everything else behind structs of functions; so a test lives
 * through days in a second.
 *
 * One id never has two acts under way. Observation never changes intent. A runtime that cannot be
 * reached makes its workloads "unknown", and nothing is done to them until it is back. What failed
 * is tried again with back-off and jitter, or given up for all to see.
 *
 * Rules by number are those of the compute-agent contract: acceptance 3.1 to 3.3, retry 4.1, states
 * 4.5, metadata 4.6, reconcile and garbage 8.
 */
#ifndef GANTRY_CORE_ENGINE_H
#define GANTRY_CORE_ENGINE_H

#include "base/clock.h"
#include "base/metric.h"
#include "core/driver.h"
#include "core/events.h"
#include "core/host.h"
#include "core/probe.h"
#include "core/sealer.h"
#include "core/tasks.h"
#include "core/workload_store.h"

struct engine;

struct engine_limits {
    size_t max_workloads;   /* 0: 200,000 */
    unsigned max_acts;      /* at once, in all; 0: 10 */
    unsigned max_looks;     /* inspections at once; 0: 32 */
    uint64_t pass_ms;       /* between two full passes; 0: 30,000 */
    uint64_t gc_ms;         /* between two looks for orphans; 0: 300,000 */
    uint64_t orphan_ms;     /* so old and seen twice before it goes; 0: 1,800,000 */
    unsigned max_orphans;   /* removed in one pass; 0: 10 */
    uint64_t pending_ms;    /* pending for so long: restarted; 0: 300,000 */
    uint64_t lock_poll_ms;  /* 0: 1000 */
    uint64_t late_ms;       /* a creation that nobody waits for any more may still come about for so
                             * long, by a runtime that answers; 0: 10,000 */
    uint64_t failed_ttl_ms; /* a given-up workload is forgotten after; 0: never */
    bool reconcile;         /* false: only what is asked for is done, once (contract 9.1) */
    struct engine_retry {
        unsigned max_attempts;      /* 0: 3 */
        uint64_t first_ms, most_ms; /* 0: 5,000 and 120,000; doubles in between */
        unsigned jitter_percent;    /* of the wait, added at most; 0: none. Usual: 10 */
        uint64_t steady_ms;         /* running so long: attempts are forgotten; 0: 60,000 */
    } retry;
    /* Admission, percent; 0: 80, 80, 90; over 100: off. */
    double max_memory, max_cpu, max_disk;
    /* A new object's own needs must fit into what is available, with so much left; bytes. */
    int64_t reserve_memory;
};

struct engine_options {
    const struct clock *clock;
    struct workload_store store;
    struct driver drivers[WORKLOAD_TYPES]; /* by type */
    struct sealer sealer;
    struct prober prober;
    struct host host;
    struct event_hub *events;
    struct tasks *tasks;
    struct engine_limits limits;
    const char *node_id; /* for labels; borrowed */
    /* Folders in which lock files may be; n 0: anywhere. */
    const char *const *lock_roots;
    size_t n_lock_roots;
    /* engine_run is due at this monotonic time (ms), or at once when it has passed. Called again
     * for an earlier time; a later one needs no call. */
    void (*wake)(void *ctx, uint64_t mono_ms);
    void *ctx;
};

/* Reads all rows of the store. Nothing is acted on before engine_run. Everything borrowed until
 * engine_free. ERR_NO_MEMORY, what the store says. */
int engine_new(struct engine **ret, const struct engine_options *o, struct err *e);
/* Does what is due. */
void engine_run(struct engine *g);
/* Begins nothing more; done(ctx) comes from engine_run or a driver's callback once no act and no
 * commit is under way. Acts are cancelled after limit_ms; what they did is looked at again after
 * the next start. Looks are not waited for any longer than that; the drivers may still answer them
 * after engine_free. Workloads stay as they are. */
void engine_stop(struct engine *g, uint64_t limit_ms, void (*done)(void *ctx), void *ctx);
void engine_free(struct engine *g); /* after done, or if engine_run was never called */
void engine_set_limits(struct engine *g, const struct engine_limits *l); /* reload */
/* From here on a workload that there is not yet is refused with ERR_DRAINING ("node is draining:
 * ..."); those that there are stay as they are, and may be changed and deleted. */
void engine_set_draining(struct engine *g, bool draining);

/* ---- asking */

struct engine_view;

enum engine_verdict {
    ENGINE_REFUSED, /* e says why; nothing has changed */
    ENGINE_ACCEPTED,
    ENGINE_SKIPPED, /* is so already (contract 3.2, B5), or absent already */
};
/* From the loop, maybe inside the call. w: as it is now, NULL if refused or gone; task: its id, ""
 * if there is none. Borrowed for the call. */
typedef void (*engine_answer_fn)(void *ctx, enum engine_verdict v, const struct err *e,
                                 const struct engine_view *w, const char *task);

struct engine_apply {
    const struct workload_doc *doc; /* plain, checked; borrowed for the call */
    const char *who;                /* identity's name */
    bool force;                     /* do not wait for the lock file */
    /* Preconditions; a generation that does not fit gives ERR_PRECONDITION. */
    bool only_new;       /* If-None-Match: * */
    uint64_t generation; /* If-Match; 0: any */
    /* The contract's reading of an apply with a known revision: its document is not looked at, only
     * desired_state. Else another document under the same revision is ERR_CONFLICT. */
    bool lenient;
};
/* ACCEPTED comes after the commit. The error codes: ERR_INVALID, ERR_LIMIT, ERR_UNSUPPORTED
 * ("runtime not available: ..."), ERR_CONFLICT (a cycle of dependencies; the revision has another
 * document), ERR_PRECONDITION, ERR_STATE (is being deleted, and was of a type that this machine has
 * no runtime for any more; no key for a secret), ERR_DRAINING, ERR_BUSY, ERR_NO_SPACE, ERR_IO,
 * ERR_NO_MEMORY.
 *
 * One that is being deleted is accepted as a new one, also of another type: what is there goes
 * first, for good and by its own driver, and it is made anew then, also with the revision that is
 * there (contract 3.8).
 *
 * Of one id one commit is under way at a time; changes that come meanwhile make one more, and each
 * is answered by the commit that holds it. When a commit fails, so does what was built on it. */
void engine_apply(struct engine *g, const struct engine_apply *a, engine_answer_fn fn, void *ctx);

/* What engine_apply would do, without doing it. For each difference to what is there, fn. */
struct engine_plan {
    enum engine_verdict verdict;
    bool exists, recreate, start, stop; /* of the object */
    struct err e;                       /* when refused, or what it would wait for */
    /* Where to put how it is now; NULL: not wanted. Left alone if it is new. Set by the caller. */
    struct engine_view *view;
};
void engine_plan(struct engine *g, const struct engine_apply *a, struct engine_plan *ret);
/* The stored document of a workload, secrets sealed; p NULL: there is none. Borrowed until the next
 * call that changes anything. */
struct slice engine_document(const struct engine *g, struct slice id);

struct engine_delete {
    struct slice id;
    const char *who;
    bool force;          /* neither lock file nor dependents hold it up */
    bool keep_going;     /* dependents that stay are no reason to refuse (contract) */
    uint64_t generation; /* If-Match; 0: any */
};
/* SKIPPED: there is none. ERR_CONFLICT: others that stay depend on it. */
void engine_delete(struct engine *g, const struct engine_delete *d, engine_answer_fn fn, void *ctx);
/* Stop it and start it again (cause: operator); begin afresh with what was given up. ERR_NOT_FOUND,
 * ERR_STATE (is being deleted; is to be stopped). Once accepted it is done once, also if gantryd is
 * killed meanwhile; or not at all, if something newer makes it moot: another document, to be
 * stopped, deleted, or started anew by anything else. */
void engine_restart(struct engine *g, struct slice id, const char *who, bool force,
                    engine_answer_fn fn, void *ctx);
void engine_retry_now(struct engine *g, struct slice id, const char *who, engine_answer_fn fn,
                      void *ctx);
/* Lets a change that waits for a lock file go on. */
void engine_force(struct engine *g, struct slice id, const char *who, engine_answer_fn fn,
                  void *ctx);
/* A full pass as soon as can be. */
void engine_look(struct engine *g);

/* ---- looking */

/* One workload as it is known; nothing is asked of the runtime. Borrowed until the engine is called
 * again. */
struct engine_view {
    struct slice id, revision, who;
    enum workload_type type;
    enum workload_desired desired;
    enum workload_actual actual; /* PENDING while a task of it waits or runs */
    enum workload_actual seen;   /* without the tasks */
    const char *message;         /* why it is so, for people */
    const char *own_message;     /* the same without a task that is under way, as `seen` */
    enum fault_reason reason;
    enum stop_cause cause; /* of the last stop */
    enum workload_health health;
    bool deleting, terminal, acting;
    bool restart; /* a restart was asked for and has not begun */
    const char
        *phase; /* "idle", "preparing", "making", "starting", "stopping", "removing", "waiting" */
    /* What it waits for, as a sentence; "" if for nothing: "lock file ...", "db to be healthy". */
    const char *waits_for;
    uint64_t generation;
    uint32_t attempts, restarts;
    int64_t created_ns, updated_ns; /* of intent, wall time */
    int64_t changed_ns;             /* the actual state last changed */
    int64_t next_try_ns;            /* 0: none is planned */
    int64_t last_failure_ns;
    const char *failure; /* text of the last failure since the last success; "" */
    struct slice object_id;
    const char *address;
    int64_t started_ns, finished_ns, exit_code;
    bool has_usage;
    struct driver_usage usage; /* the last sample */
};
/* False: there is none. */
bool engine_get(struct engine *g, struct slice id, struct engine_view *ret);
/* In order of ids (bytewise); type WORKLOAD_NONE: all; fn's result other than 0 ends it. */
int engine_each(struct engine *g, enum workload_type type,
                int (*fn)(void *ctx, const struct engine_view *w), void *ctx);
/* The same for the ids behind `after`. */
int engine_each_after(struct engine *g, enum workload_type type, struct slice after,
                      int (*fn)(void *ctx, const struct engine_view *w), void *ctx);
/* metadata of a status (contract 4.6), what was cleared with an explicit empty value. */
void engine_metadata(struct engine *g, struct slice id,
                     void (*fn)(void *ctx, const char *key, const char *value), void *ctx);
/* Whether a workload is so, for others who wait for it and ask now and then. If not, `out` says
 * what is waited for: "\"db\" to be healthy"; one whose address is wanted is looked at soon, for no
 * runtime tells of it. */
bool engine_meets(struct engine *g, const char *id, enum doc_condition c, char *out, size_t size);
size_t engine_count(const struct engine *g);
const struct driver *engine_driver(const struct engine *g, enum workload_type t); /* NULL: none */

/* explain: what it is, what it should be, why it is not, since when, what is tried next and when,
 * who asked. Sentences, whole ones. */
struct engine_explain {
    struct engine_view view;
    char is[256], should[256], why[640], next[256], asked[256];
    int64_t since_ns, next_ns;
    struct slice depends_on[32]; /* ids that it waits for now */
    size_t n_depends;
};
bool engine_explain(struct engine *g, struct slice id, struct engine_explain *ret);

/* The caller has a new sample of a workload's usage. */
void engine_note_usage(struct engine *g, const struct driver_usage *u);
/* Nothing of it runs: the last sample says nothing about now. */
void engine_drop_usage(struct engine *g, struct slice id);

struct engine_stats {
    size_t workloads[WORKLOAD_TYPES][6]; /* by type and actual state */
    size_t acting, waiting, terminal, due;
    uint64_t created, deleted, failed, retried, given_up, adopted, passes, acts, looks;
    uint64_t orphans_found, orphans_removed, gc_runs, store_failures;
    struct histogram pass_time, apply_time, delete_time, act_time, gc_time;
    uint64_t faults[FAULT_REASONS];
};
void engine_stats(const struct engine *g, struct engine_stats *ret);

#endif
