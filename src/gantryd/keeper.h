/* keeper.h: what keeps workloads: the engine with its store, its key, its drivers and its clock.
 *
 * Without workloads (workloads.enabled: false, or no store) there are still events, the machine and
 * the node's name.
 */
#ifndef GANTRY_GANTRYD_KEEPER_H
#define GANTRY_GANTRYD_KEEPER_H

#include "api/rest/rest.h"
#include "gantryd/config.h"
#include "gantryd/state.h"

struct keeper;

/* Reads the store and begins. Blocks for the store; one that cannot be read is told (state_spoil),
 * and is no failure. ERR_NO_MEMORY, ERR_INVALID (the node's id), what a registry's password file
 * gives. `c` and `state` are borrowed for good. */
int keeper_new(struct keeper **ret, struct loop *l, const struct config *c, struct state *state,
               struct err *e);
/* What the front end needs of it; valid until keeper_free. */
void keeper_rest(struct keeper *k, struct rest_options *o);
const char *keeper_node_id(const struct keeper *k);
struct engine *keeper_engine(struct keeper *k); /* NULL: no workloads */
/* The names of the ways in which managed volumes can be made here ("local"); borrowed for good. */
const char *const *keeper_storage_drivers(const struct keeper *k, size_t *n);
/* The runtime that the engine's containers are on, for its statistics. False: there is none. */
bool keeper_runtime(const struct keeper *k, struct runtime *ret);
/* Takes what a reload may change. `c` takes the place of the configuration before. */
void keeper_reload(struct keeper *k, const struct config *c);
/* Begins nothing more. done(ctx) comes, maybe at once, when nothing is under way; after limit_ms
 * what still is, is cancelled. */
void keeper_stop(struct keeper *k, uint64_t limit_ms, void (*done)(void *ctx), void *ctx);
/* After done, or if the loop never ran. Closes handles: the loop must run on. NULL is fine. */
void keeper_free(struct keeper *k);

#endif
