/* workload_store.h: where intents last. store/workloads fills it (SQLite), tests with memory.
 *
 * A row is written when intent changes, when a try failed, and when an object went; never because
 * something was looked at. What `commit` was given is on the disk when its callback comes with 0,
 * all of it or nothing.
 */
#ifndef GANTRY_CORE_WORKLOAD_STORE_H
#define GANTRY_CORE_WORKLOAD_STORE_H

#include "core/fault.h"
#include "core/workload.h"

enum stored_flags {
    STORED_DELETING = 1, /* to be removed; the row goes when the object has gone */
    STORED_RULES = 2,    /* the document has dependencies, a health check or a lock file */
    STORED_TERMINAL = 4, /* given up */
    STORED_FORCED = 8,   /* the operator said: do not wait for the lock file */
    STORED_RESTART = 16, /* to be stopped and started once more, as was asked at updated_ns */
    /* It was applied while it was being deleted: what is there of it goes first, for good. */
    STORED_REBORN = 32,
    STORED_KEEPS = 64, /* a rule of ours deleted it, so its data stays, whoever asked since */
    /* Types that it had while it was being deleted, each a bit (1 << type) in the second byte: what
     * is there of these goes for good before anything else. */
    STORED_WERE = 0x0e00,
};
#define STORED_WERE_SHIFT 8
_Static_assert(STORED_WERE == ((1 << WORKLOAD_TYPES) - 2) << STORED_WERE_SHIFT,
               "a type is missing");

/* Everything borrowed. Times are wall time, nanoseconds. */
struct stored_workload {
    struct slice id;
    enum workload_type type;
    struct slice revision;
    enum workload_desired desired;
    struct slice doc;    /* stored form, workload_doc.h */
    struct slice print;  /* of the document, 64 hex digits */
    struct slice who;    /* identity that asked last */
    uint64_t generation; /* grows with each change of intent */
    unsigned flags;
    int64_t created_ns, updated_ns; /* first accepted; last accepted */
    /* Of the tries since the last success or change of intent. */
    uint32_t attempts;
    int64_t last_failure_ns, next_try_ns;
    enum fault_reason reason;
    struct slice failure;  /* its text */
    enum stop_cause cause; /* of the last stop that changed intent */
};

/* Other things that last, each with a name and a body that only its owner reads (JSON). */
enum store_table { STORE_VOLUMES, STORE_ATTACHMENTS, STORE_TABLES };
#define STORE_THING_ID_MAX 512
#define STORE_THING_MAX 65536u /* bytes of a body */

enum store_op { STORE_PUT, STORE_REMOVE, STORE_THING_PUT, STORE_THING_REMOVE };
struct store_change {
    enum store_op op;
    /* STORE_REMOVE: only id. Of a thing: id, and its body in doc. */
    struct stored_workload w;
    enum store_table table; /* of a thing */
};

/* e->code: 0; ERR_NO_SPACE, ERR_IO, ERR_STATE (damaged, or another program has it). */
typedef void (*store_done_fn)(void *ctx, const struct err *e);

struct store_stats {
    uint64_t commits, rows, failures;
    uint64_t bytes; /* of the file */
    size_t waiting;
};

struct workload_store_ops {
    /* All rows in order of their ids, before anything is committed; fn's result ends it. A row that
     * cannot be read is told to `bad` (may be NULL) and left where it is. Blocks: at start only. */
    int (*load)(void *self, int (*fn)(void *ctx, const struct stored_workload *w),
                void (*bad)(void *ctx, struct slice id, const char *why), void *ctx, struct err *e);
    /* One transaction; copied. Callbacks come from the loop in the order of the calls, several in
     * one sync of the disk. ERR_BUSY (too many wait), ERR_NO_MEMORY: fn does not come. */
    int (*commit)(void *self, const struct store_change *changes, size_t n, store_done_fn fn,
                  void *ctx);
    /* True if the file was new or in good order when it was opened: only then may anything be
     * removed that no row knows. */
    bool (*trusted)(void *self);
    void (*stats)(void *self, struct store_stats *ret);
    /* All things of a table in order of their ids; the rest as with load. */
    int (*things)(void *self, enum store_table t,
                  int (*fn)(void *ctx, struct slice id, struct slice body),
                  void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                  struct err *e);
};
struct workload_store {
    const struct workload_store_ops *ops;
    void *self;
};

#endif
