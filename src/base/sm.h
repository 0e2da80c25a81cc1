/* sm.h: state machines as tables of states and allowed moves, with one trace line a move. */
#ifndef GANTRY_SM_H
#define GANTRY_SM_H

#include "base/base.h"

struct sm_state {
    const char *name;
    uint32_t next; /* bit i: a move to state i is allowed (32 states at most) */
    bool final;    /* no way out */
};

struct sm_table {
    const char *name; /* "http-exchange" */
    const struct sm_state *states;
    int n_states;
};

struct sm {
    const struct sm_table *table;
    int state;
};

static inline void sm_init(struct sm *m, const struct sm_table *t, int state)
{
    m->table = t;
    m->state = state;
}
bool sm_can(const struct sm *m, int to);
/* Moves; an impossible move is a bug of ours and ends the program (INVARIANT).
 * `who` names the object in the trace line; may be NULL. */
void sm_move(struct sm *m, int to, const char *who);
const char *sm_name(const struct sm *m);

#endif
