/* state.h: what of gantryd lasts: the store of the workloads, and the key for their secrets.
 *
 * A store that cannot be had does not keep gantryd from serving the rest: what needs it answers
 * with the reason, /readyz tells it, and the file stays as it is.
 */
#ifndef GANTRY_GANTRYD_STATE_H
#define GANTRY_GANTRYD_STATE_H

#include "core/sealer.h"
#include "core/store_admin.h"
#include "core/workload_store.h"
#include "gantryd/config.h"
#include "net/loop.h"

struct state;

/* Opens both; blocks. What cannot be had is logged here, and is no failure. ERR_NO_MEMORY. */
int state_new(struct state **ret, struct loop *l, const struct config *c, struct err *e);
/* Commits what waits. Closes handles: run the loop. NULL is fine. */
void state_free(struct state *s);

/* NULL: there is no store. Borrowed from s. */
const struct workload_store *state_store(const struct state *s);
const struct store_admin *state_admin(const struct state *s);
const struct sealer *state_sealer(const struct state *s); /* never NULL */
/* Why there is no store; "" if there is one. What an engine finds wrong with the rows can be put
 * there with state_spoil: the store is then no longer given out. */
const char *state_fault(const struct state *s);
void state_spoil(struct state *s, const struct err *e);
/* What is wrong with a store that an engine has read: some of its rows could not be. "" if none. */
const char *state_doubt(const struct state *s);

/* The files as a configuration has them, or their default places. ERR_NOT_FOUND: neither it nor the
 * environment names one. */
#define STATE_PATH_MAX 3800
int state_path(char out[STATE_PATH_MAX + 1], const struct config *c, struct err *e);
int state_key_path(char out[STATE_PATH_MAX + 1], const struct config *c, struct err *e);

/* gantryd --check-store [FILE]: looks, tells on standard output, returns the exit status. */
int state_check(const struct config *c, const char *file);
/* gantryd --new-secret-key. */
int state_new_key(const struct config *c);

#endif
