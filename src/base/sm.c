#include "base/sm.h"

#include "base/log.h"

static bool in_table(const struct sm *m, int state)
{
    return state >= 0 && state < m->table->n_states;
}

bool sm_can(const struct sm *m, int to)
{
    INVARIANT(m->table->n_states <= 32 && in_table(m, m->state));
    const struct sm_state *from = &m->table->states[m->state];
    return in_table(m, to) && !from->final && (from->next >> to & 1u) != 0;
}

void sm_move(struct sm *m, int to, const char *who)
{
    bool allowed = sm_can(m, to);
    const char *from_name = sm_name(m);
    const char *to_name = in_table(m, to) ? m->table->states[to].name : "?";
    if (!allowed)
        LOG(ERROR, "sm", "sm-impossible", "impossible move, ending",
            LF_STR("machine", m->table->name), LF_STR("object", who), LF_STR("from", from_name),
            LF_STR("to", to_name));
    INVARIANT(allowed);
    LOG(TRACE, "sm", "sm-move", "move", LF_STR("machine", m->table->name), LF_STR("object", who),
        LF_STR("from", from_name), LF_STR("to", to_name));
    m->state = to;
}

const char *sm_name(const struct sm *m)
{
    return in_table(m, m->state) ? m->table->states[m->state].name : "?";
}
