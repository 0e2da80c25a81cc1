/* fake.h: a runtime in memory that fills driver_ops: for tests, simulation and benchmarks.
 *
 * Nothing happens by itself: calls and what objects do of their own (a process that ends, a health
 * that turns) become due by the given clock and are carried out by fake_run. So it is driven as the
 * engine is: fake_next says when, fake_run does it. Latency, faults and behaviour come from rules;
 * the newest rule that fits decides. Chance comes from the seed alone, so runs can be repeated.
 */
#ifndef GANTRY_FAKE_H
#define GANTRY_FAKE_H

#include "base/clock.h"
#include "core/driver.h"

struct fake;

enum fake_op {
    FAKE_ENSURE = 1,
    FAKE_START = 2,
    FAKE_STOP = 4,
    FAKE_REMOVE = 8,
    FAKE_INSPECT = 16,
    FAKE_LIST = 32,
    FAKE_PREPARE = 64,
    FAKE_ACTS = FAKE_ENSURE | FAKE_START | FAKE_STOP | FAKE_REMOVE | FAKE_PREPARE,
    FAKE_ALL = 127
};

struct fake_options {
    const struct clock *clock;
    uint64_t seed;
    enum workload_type type; /* NONE: container */
    /* fake_run is due at this monotonic time (ms); may be NULL: ask fake_next. */
    void (*wake)(void *ctx, uint64_t mono_ms);
    void *ctx;
};

/* A call that fits is slowed down, fails, or both. Texts are borrowed for fake_rule's call. */
struct fake_rule {
    unsigned ops;               /* enum fake_op */
    const char *id;             /* NULL: all; "web*": a beginning */
    uint64_t nth;               /* only the n-th call that fits, from 1; 0: each */
    uint64_t times;             /* applies so often; 0: without an end */
    unsigned percent;           /* applies with this chance; 0: always */
    uint64_t least_ms, most_ms; /* latency */
    struct fault fault;         /* e.code 0: none */
    bool after;                 /* the fault comes, but the work was done */
    bool hang;                  /* no answer until it is cancelled or fake_release */
};

/* What objects do once they have been started. */
struct fake_life {
    const char *id;              /* NULL: all; "web*": a beginning */
    uint64_t pending_ms;         /* pending for so long first; UINT64_MAX: for ever */
    uint64_t runs_ms;            /* then runs for so long; 0: for ever */
    int64_t exit_code;           /* and ends with this */
    uint64_t times;              /* applies to so many starts; 0: to all */
    enum workload_health health; /* while it runs; NONE: the runtime has no check */
    uint64_t healthy_ms;         /* health is "starting" for so long */
    bool no_address;             /* until fake_address says so */
};

struct fake *fake_new(const struct fake_options *o); /* NULL: out of memory */
/* Calls under way are forgotten without a callback. */
void fake_free(struct fake *f);
struct driver fake_driver(struct fake *f);
/* When something is due (monotonic ms); UINT64_MAX: never. */
uint64_t fake_next(const struct fake *f);
void fake_run(struct fake *f);

/* Both copy. ERR_NO_MEMORY. */
int fake_rule(struct fake *f, const struct fake_rule *r);
int fake_life(struct fake *f, const struct fake_life *l);
void fake_clear_rules(struct fake *f); /* those of calls */
void fake_clear_lives(struct fake *f);
void fake_release(struct fake *f); /* what hangs is answered */
/* Who called has died: what is under way goes on, but is no overlap with what comes now. The
 * callbacks still come. */
void fake_forget(struct fake *f);
/* The same, but `done` percent of it is carried out at the next run, and `lost` percent never. */
void fake_abandon(struct fake *f, unsigned done, unsigned lost);
/* What was forgotten is carried out within so many milliseconds, also what hangs. */
void fake_hasten(struct fake *f, uint64_t most_ms);
bool fake_making(const struct fake *f, struct slice id);    /* a forgotten ensure of it goes on */
bool fake_forgotten(const struct fake *f, struct slice id); /* an act of this id goes on */

/* The runtime stops answering, or answers again; the watcher is told if `tell`. Calls under way and
 * all later ones fail with ERR_UNREACHABLE. `stops`: what runs ends (exit code 137), as when a
 * daemon takes its containers with it. */
void fake_reach(struct fake *f, bool up, bool stops, bool tell);
/* Without the engine's doing; the watcher is told if `tell`. False: there is no such object, or it
 * is not in that state. */
bool fake_crash(struct fake *f, struct slice id, int64_t exit_code, bool tell);
bool fake_vanish(struct fake *f, struct slice id, bool tell);
bool fake_health(struct fake *f, struct slice id, enum workload_health h, bool tell);
/* The same for whether it has an address while it runs. */
bool fake_address(struct fake *f, struct slice id, bool has, bool tell);
/* An object that nobody asked for. node_id NULL: without that label; foreign: not ours at all, so
 * it is not listed and acts on it are refused. ERR_EXISTS, ERR_NO_MEMORY. */
int fake_put(struct fake *f, struct slice id, const char *revision, const char *node_id,
             enum workload_actual actual, bool foreign);
/* The checker refuses documents of this image with ERR_INVALID; NULL: none. Copied. */
int fake_refuse_image(struct fake *f, const char *image);

struct fake_object {
    struct slice id, revision, node_id, object_id;
    enum workload_actual actual;
    bool foreign;
    uint64_t serial; /* grows with each object made */
    uint32_t starts; /* of this object */
};
bool fake_get(const struct fake *f, struct slice id, struct fake_object *ret);
size_t fake_count(const struct fake *f); /* objects of ours */
int fake_each(const struct fake *f, int (*fn)(void *ctx, const struct fake_object *o), void *ctx);

struct fake_stats {
    uint64_t calls[7]; /* ensure, start, stop, remove, inspect, list, prepare */
    uint64_t made, started, stopped, removed;
    uint64_t refused;   /* acts on objects that are not ours */
    uint64_t overlaps;  /* acts on one id while another was under way: must stay 0 */
    unsigned acts_most; /* acts under way at once, at most */
    unsigned acts;      /* now */
};
void fake_stats(const struct fake *f, struct fake_stats *ret);

#endif
