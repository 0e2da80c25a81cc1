#include "sim.h"

static uint64_t mix(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t z = *state;
    return (z ^ z >> 33) * 0xff51afd7ed558ccdu >> 20;
}

void sim_doc_of(const struct sim *s, unsigned id, unsigned revision, struct sim_doc *ret)
{
    uint64_t x = s->seed * 1000003 + id * 7919 + revision * 104729;
    *ret = (struct sim_doc){.lock = mix(&x) % 4 == 0};
    uint64_t kind = mix(&x) % 10;
    ret->health = kind < 2 ? DOC_HEALTH_TCP : kind == 2 ? DOC_HEALTH_RUNTIME : DOC_HEALTH_NONE;
    uint64_t action = mix(&x) % 4;
    ret->action = action < 2    ? DOC_HEALTH_RESTART
                  : action == 2 ? DOC_HEALTH_STOP
                                : DOC_HEALTH_NOTHING;
    size_t n = mix(&x) % 8;
    n = n < 5 ? 0 : n < 7 ? 1 : 2;
    for (size_t i = 0; i < n; i++) {
        unsigned other = (unsigned)(mix(&x) % s->n_ids);
        /* Mostly downwards; else there would be little but circles. */
        if (mix(&x) % 16 != 0)
            other = id > 0 ? other % id : 0;
        if (other == id || (i > 0 && ret->depends[0].id == other))
            continue;
        ret->depends[ret->n_depends].id = other;
        ret->depends[ret->n_depends++].healthy = mix(&x) % 4 == 0;
    }
}

void sim_doc_text(const struct sim *s, unsigned id, unsigned revision, enum workload_desired d,
                  bool other, struct buf *to)
{
    static const char *const actions[] = {[DOC_HEALTH_NOTHING] = "nothing",
                                          [DOC_HEALTH_RESTART] = "restart",
                                          [DOC_HEALTH_STOP] = "stop"};
    struct sim_doc doc;
    sim_doc_of(s, id, revision, &doc);
    (void)buf_addf(to,
                   "id: %s\ntype: container\nrevision_id: r%u\ndesired_state: %s\n"
                   "container: {image: img-%u%s}\n",
                   s->ids[id].id, revision, desired_name(d), revision, other ? "-other" : "");
    if (doc.lock)
        (void)buf_addf(to, "lock_file: %s\n", s->ids[id].lock);
    if (doc.health == DOC_HEALTH_TCP)
        (void)buf_addf(to, "health: {kind: tcp, port: 80, interval: 10s, retries: 2, action: %s}\n",
                       actions[doc.action]);
    else if (doc.health == DOC_HEALTH_RUNTIME)
        (void)buf_addf(to, "health: {kind: runtime, action: %s}\n", actions[doc.action]);
    for (size_t i = 0; i < doc.n_depends; i++)
        (void)buf_addf(to, "%s{id: w%u%s}%s", i == 0 ? "depends_on: [" : ", ", doc.depends[i].id,
                       doc.depends[i].healthy ? ", condition: healthy" : "",
                       i + 1 == doc.n_depends ? "]\n" : "");
}
