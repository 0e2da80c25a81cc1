/* engine_rig.h: an engine with everything around it in memory: a clock that is turned by hand, a
 * store that can fail, refuse and be read again, a fake runtime, a machine made of numbers. */
#ifndef GANTRY_TEST_ENGINE_RIG_H
#define GANTRY_TEST_ENGINE_RIG_H

#include "core/engine.h"
#include "driver/fake/fake.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#define RIG_START_NS ((int64_t)1800000000 * 1000000000)

/* ---- the store: rows are what is on the disk */

struct mem_row {
    struct stored_workload w; /* texts owned, in one piece behind it */
};
struct mem_commit {
    struct list_node link;
    struct store_change change; /* texts owned */
    void *texts;
    store_done_fn fn;
    void *ctx;
};
struct mem_store {
    void *rows; /* a tree (search.h) of struct mem_row, by id */
    size_t n_rows;
    struct list_node waiting;
    size_t n_waiting;
    bool untrusted, held; /* held: nothing is carried out until it is let go */
    uint64_t commits;     /* carried out, well or not */
    uint64_t fail_at;     /* the n-th from now fails (1: the next); 0: none */
    uint64_t fail_for;    /* and so many after it */
    int fail_code;
    uint64_t busy_for; /* so many calls of commit are refused at once */
    uint64_t die_at;   /* the n-th from now, and all after it, are lost: the machine went down */
    bool dead;
};
void mem_store_init(struct mem_store *s);
void mem_store_done(struct mem_store *s);
struct workload_store mem_store(struct mem_store *s);
const struct stored_workload *mem_store_get(const struct mem_store *s, const char *id);
void mem_store_put(struct mem_store *s, const struct stored_workload *w); /* straight away */
bool mem_store_run(struct mem_store *s);   /* carries out what waits; true if there was something */
void mem_store_crash(struct mem_store *s); /* what waits is lost; the rows stay */

/* ---- all of it */

struct rig {
    struct clock clock;
    uint64_t now_ms;
    int64_t wall_shift_ns; /* of the wall clock, as when it is set */
    uint64_t random;
    struct mem_store store;
    struct fake *fake, *fake_vm;
    struct event_hub *events;
    struct event_reader *reader;
    struct tasks *tasks;
    struct host_usage usage;
    struct map locks; /* paths that are held */
    uint64_t lock_looks;
    /* The prober: what the next probes say. */
    const char *probe_fault; /* NULL: it answers well */
    uint64_t probes, probe_cancels;
    bool probe_slow;          /* no answer until rig_probe_answer */
    struct list_node probing; /* those under way */
    struct engine_options options;
    struct engine *g;
    uint64_t wake_ms;
    bool with_vm;
};

void rig_init(struct rig *r); /* everything but the engine */
void rig_open(struct rig *r); /* the engine, on what the store holds */
int rig_try_open(struct rig *r, struct err *e);
void rig_close(struct rig *r); /* stops it in good order */
void rig_kill(struct rig *r);  /* as a kill -9: commits that wait are lost, the runtime lives on */
void rig_done(struct rig *r);
/* Everything that is due now, until nothing is. */
void rig_settle(struct rig *r);
/* The same, through so many milliseconds, in the order of time. */
void rig_pass(struct rig *r, uint64_t ms);
void rig_lock(struct rig *r, const char *path, bool held);
bool rig_probe_answer(struct rig *r); /* all that are under way; true if there were any */

/* What an asker was told. */
struct answer {
    unsigned n;
    enum engine_verdict verdict;
    struct err e;
    char task[192];
    enum workload_actual actual;
    uint64_t generation;
};
void on_answer(void *ctx, enum engine_verdict v, const struct err *e, const struct engine_view *w,
               const char *task);

/* A document in YAML without id and revision ("container: {image: a}" if NULL). Settles after. */
struct answer rig_apply(struct rig *r, const char *id, const char *revision, const char *yaml);
/* The same without carrying anything out. */
void rig_submit(struct rig *r, const char *id, const char *revision, const char *yaml,
                const struct engine_apply *how, struct answer *a);
struct answer rig_stop(struct rig *r, const char *id, const char *revision, const char *yaml);
struct answer rig_delete(struct rig *r, const char *id, bool force);
struct engine_view rig_view(struct rig *r, const char *id);
bool rig_has(struct rig *r, const char *id);
/* The value of a key of its metadata; "" if it is empty, NULL if it is not there. */
const char *rig_meta(struct rig *r, const char *id, const char *key);
struct fake_object rig_object(struct rig *r, const char *id);
struct fake_stats rig_calls(struct rig *r);
/* True if an event of this type about this workload has come since the last call. */
bool rig_event(struct rig *r, const char *name, const char *type);

#define assert_state(r, id, state) assert_int_equal(rig_view((r), (id)).actual, (state))

#endif
