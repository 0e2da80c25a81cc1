/* fake_priv.h: what the files of the fake runtime share. fake.c: life, calls and their due times;
 * fake_object.c: objects and what they do; fake_rules.c: rules. */
#ifndef GANTRY_FAKE_PRIV_H
#define GANTRY_FAKE_PRIV_H

#include "driver/fake/fake.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define FAKE_MAGIC 0x46414b45u /* "FAKE" */

struct thing { /* an object */
    struct list_node link;
    uint64_t serial, turn; /* turn: of its life; what was planned in an earlier one is void */
    bool no_address;
    uint8_t actual, cause, health;
    bool foreign, labelled; /* labelled: has a node id */
    uint32_t starts;
    int64_t created_ns, started_ns, finished_ns, exit_code;
    uint16_t id_len, revision_len;
    char message[48], object_id[24];
    char node_id[64], print[72];
    char text[]; /* id, revision */
};

enum due_kind { DUE_CALL, DUE_RUNNING, DUE_HEALTHY, DUE_EXIT };
struct due {
    uint64_t at_ms, seq;
    enum due_kind kind;
    struct call *call; /* DUE_CALL; NULL: cancelled and answered */
    uint64_t turn;     /* of the thing's life, for the others */
    int64_t exit_code;
    char id[WORKLOAD_ID_MAX + 1];
};
struct call {
    struct list_node link;
    enum fake_op op;
    bool act, hung, cancelled, forgotten, has_fault, after, hurried;
    struct fault fault;
    union {
        driver_done_fn done;
        driver_object_fn object;
        driver_list_fn list;
    } fn;
    void *ctx;
    void (*progress)(void *ctx, const char *text);
    char node_id[64], print[72];
    char id[WORKLOAD_ID_MAX + 1], revision[WORKLOAD_REVISION_MAX + 1];
};

struct rule {
    struct list_node link;
    struct fake_rule r;
    uint64_t fits, applied;
    char *id;
};
struct life {
    struct list_node link;
    struct fake_life l;
    uint64_t applied;
    char *id;
};

struct fake {
    uint32_t magic;
    const struct clock *clock;
    struct driver_ops ops;
    void (*wake)(void *ctx, uint64_t mono_ms);
    void *ctx;
    uint64_t random, serial, turn, seq;
    struct map things; /* id -> struct thing */
    struct list_node all;
    size_t ours;
    struct list_node calls, rules, lives; /* rules: the newest first */
    struct due **heap;                    /* from 1 */
    size_t n_heap, heap_cap;
    const struct driver_watcher *watcher;
    bool up, running;
    char *refused_image;
    struct driver_object *items; /* for lists, kept */
    size_t items_cap;
    struct fake_stats stats;
};

uint64_t fake_now(const struct fake *f);
uint64_t fake_random(struct fake *f);
bool fake_matches(const char *pattern, const char *id);
/* Takes d. ERR_NO_MEMORY: d is freed. */
int fake_plan(struct fake *f, struct due *d);

/* The rule that decides about a call now; false: none. */
bool fake_ruled(struct fake *f, enum fake_op op, const char *id, struct fake_rule *ret);
bool fake_life_of(struct fake *f, const char *id, struct fake_life *ret);
void rules_free_all(struct list_node *rules);
void lives_free_all(struct list_node *lives);

struct thing *thing_find(const struct fake *f, struct slice id);
int thing_make(struct fake *f, struct slice id, struct slice revision, const char *node_id,
               struct thing **ret);
void thing_free(struct fake *f, struct thing *t);
void thing_view(const struct thing *t, struct driver_object *ret);
int thing_start(struct fake *f, struct thing *t);
void thing_end(struct fake *f, struct thing *t, int64_t exit_code, bool asked);
void thing_due(struct fake *f, const struct due *d);
void tell_changed(struct fake *f, struct slice id);

#endif
