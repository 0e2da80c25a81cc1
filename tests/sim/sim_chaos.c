/* What goes wrong. */
#include "sim.h"

static void fault_rule(struct sim *s)
{
    static const int codes[] = {ERR_RUNTIME, ERR_RUNTIME,   ERR_RUNTIME,
                                ERR_BUSY,    ERR_CANCELLED, ERR_UNREACHABLE};
    char name[16];
    struct fake_rule r = {.ops = 1u << sim_below(s, 7),
                          .percent = (unsigned)(5 + sim_below(s, 60))};
    if (sim_chance(s, 30))
        r.ops = FAKE_ACTS;
    if (sim_chance(s, 60)) {
        (void)snprintf(name, sizeof(name), "w%llu*", (unsigned long long)sim_below(s, s->n_ids));
        r.id = name;
    }
    if (sim_chance(s, 60))
        r.most_ms = sim_below(s, 20000);
    if (sim_chance(s, 50))
        r.times = 1 + sim_below(s, 10);
    r.hang = sim_chance(s, 10);
    r.after = sim_chance(s, 30);
    if (sim_chance(s, 80))
        (void)fault_set(&r.fault, (enum fault_reason)(1 + sim_below(s, FAULT_REASONS - 1)),
                        codes[sim_below(s, ARRAY_LEN(codes))], "fault by rule");
    if (r.hang)
        s->release_ms = s->r.now_ms + 1 + sim_below(s, 300000);
    s->counts.faults++;
    sim_note(s, "rule: ops %u of %s, %u%%, %s%s", r.ops, r.id != NULL ? r.id : "all", r.percent,
             r.fault.e.code != 0 ? fault_name(r.fault.reason) : "slow", r.hang ? ", hangs" : "");
    if (fake_rule(s->r.fake, &r) != 0)
        sim_fail(s, "no memory");
}

static void life_rule(struct sim *s)
{
    char name[16];
    struct fake_life l = {.id = name};
    (void)snprintf(name, sizeof(name), "w%llu*", (unsigned long long)sim_below(s, s->n_ids));
    if (sim_chance(s, 30))
        l.pending_ms = sim_chance(s, 20) ? UINT64_MAX : sim_below(s, 400000);
    if (sim_chance(s, 60))
        l.runs_ms = 1 + sim_below(s, sim_chance(s, 50) ? 10000 : 600000);
    l.exit_code = sim_chance(s, 50) ? 0 : 1;
    l.times = 1 + sim_below(s, 20);
    if (sim_chance(s, 30)) {
        l.health = sim_chance(s, 50) ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
        l.healthy_ms = sim_below(s, 60000);
    }
    sim_note(s, "life of %s", name);
    if (fake_life(s->r.fake, &l) != 0)
        sim_fail(s, "no memory");
}

static void meddle(struct sim *s)
{
    struct sim_id *x = &s->ids[sim_below(s, s->n_ids)];
    struct slice id = slice_of(x->id);
    bool tell = sim_chance(s, 70), did;
    uint64_t what = sim_below(s, 10);
    s->counts.crashes++;
    if (what < 5) {
        did = fake_crash(s->r.fake, id, (int64_t)sim_below(s, 2), tell);
    } else if (what < 7) {
        did = fake_vanish(s->r.fake, id, tell);
    } else {
        did =
            fake_health(s->r.fake, id, sim_chance(s, 50) ? HEALTH_UNHEALTHY : HEALTH_HEALTHY, tell);
    }
    if (did)
        sim_note(s, "%s %s%s",
                 what < 5   ? "crash of"
                 : what < 7 ? "vanished:"
                            : "health of",
                 x->id, tell ? "" : " in silence");
}

static void strangers(struct sim *s)
{
    static uint64_t n;
    char name[24];
    struct sim_id *x = &s->ids[sim_below(s, s->n_ids)];
    uint64_t what = sim_below(s, 4);
    if (what == 0 && !x->want.exists && list_empty(&x->requests)) {
        sim_note(s, "a foreign object takes the name %s", x->id);
        (void)fake_put(s->r.fake, slice_of(x->id), "r1", NULL, ACTUAL_RUNNING, true);
        return;
    }
    (void)snprintf(name, sizeof(name), "orphan%llu", (unsigned long long)n++);
    sim_note(s, "an orphan %s", name);
    (void)fake_put(s->r.fake, slice_of(name), "r1", what == 1 ? "node-2" : "node-1", ACTUAL_RUNNING,
                   false);
}

static void store_trouble(struct sim *s)
{
    struct mem_store *m = &s->r.store;
    s->counts.store_faults++;
    switch (sim_below(s, 3)) {
    case 0:
        m->fail_at = 1 + sim_below(s, 5);
        m->fail_for = sim_below(s, 10);
        m->fail_code = sim_chance(s, 50) ? ERR_NO_SPACE : ERR_IO;
        sim_note(s, "the disk fails %llu times", (unsigned long long)m->fail_for + 1);
        break;
    case 1:
        s->held_until_ms = s->r.now_ms + 1 + sim_below(s, 120000);
        sim_note(s, "the disk is slow");
        break;
    default:
        m->busy_for = 1 + sim_below(s, 8);
        sim_note(s, "the store is busy");
        break;
    }
}

static void locks(struct sim *s)
{
    struct sim_id *x = &s->ids[sim_below(s, s->n_ids)];
    bool held = map_get(&s->r.locks, slice_of(x->lock)) != NULL;
    sim_note(s, "lock of %s %s", x->id, held ? "goes" : "comes");
    if (held)
        (void)map_take(&s->r.locks, slice_of(x->lock));
    else if (map_put(&s->r.locks, slice_of(x->lock), s) != 0)
        sim_fail(s, "no memory");
}

static void away(struct sim *s)
{
    bool stops = sim_chance(s, 30);
    if (s->reach_ms != 0)
        return;
    s->counts.away++;
    sim_note(s, "the runtime goes away%s", stops ? " and takes all with it" : "");
    fake_reach(s->r.fake, false, stops, sim_chance(s, 50));
    s->reach_ms = s->r.now_ms + 1 + sim_below(s, 600000);
    for (unsigned i = 0; i < s->n_ids && stops; i++)
        s->ids[i].touched_ms = s->r.now_ms;
}

static void machine(struct sim *s)
{
    struct host_usage *u = &s->r.usage;
    if (sim_chance(s, 50)) {
        u->memory_percent = (double)sim_below(s, 100);
        u->disk_percent = (double)sim_below(s, 100);
        sim_note(s, "memory %.0f%%, disk %.0f%%", u->memory_percent, u->disk_percent);
    } else {
        u->memory_percent = u->disk_percent = 10;
    }
}

static void clock_jump(struct sim *s)
{
    int64_t most = sim_chance(s, 30) ? 48 * 3600 : 60;
    int64_t by = (int64_t)sim_below(s, (uint64_t)most * 2) - most;
    s->counts.jumps++;
    s->jump_ms = s->r.now_ms;
    for (unsigned i = 0; i < s->n_ids; i++)
        s->ids[i].vague = true;
    sim_note(s, "the clock is set by %lld s", (long long)by);
    s->r.wall_shift_ns += by * 1000000000;
}

static void sicken(struct sim *s)
{
    bool sick = sim_chance(s, 50);
    for (unsigned i = 0; i < s->n_ids; i++)
        if (sim_chance(s, 10))
            s->ids[i].sick = sick;
}

void sim_chaos(struct sim *s)
{
    uint64_t what = sim_below(s, 104);
    if (what >= 100) {
        s->no_memory = 1 + sim_below(s, 200);
        sim_note(s, "memory runs out");
        return;
    }
    if (what < 14)
        fault_rule(s);
    else if (what < 22)
        fake_clear_rules(s->r.fake);
    else if (what < 30)
        life_rule(s);
    else if (what < 34)
        fake_clear_lives(s->r.fake);
    else if (what < 52)
        meddle(s);
    else if (what < 56)
        strangers(s);
    else if (what < 64)
        store_trouble(s);
    else if (what < 76)
        locks(s);
    else if (what < 80)
        away(s);
    else if (what < 84)
        machine(s);
    else if (what < 88)
        clock_jump(s);
    else if (what < 92)
        sicken(s);
    else if (what < 97)
        sim_kill(s);
    else
        sim_restart(s);
}

void sim_calm(struct sim *s)
{
    struct rig *r = &s->r;
    sim_note(s, "calm");
    s->quiet = true;
    fake_clear_rules(r->fake);
    fake_clear_lives(r->fake);
    fake_release(r->fake);
    s->release_ms = s->reach_ms = s->held_until_ms = 0;
    fake_reach(r->fake, true, false, sim_chance(s, 50));
    r->store.fail_at = r->store.fail_for = r->store.busy_for = 0;
    r->usage.memory_percent = r->usage.disk_percent = 10;
    map_done(&r->locks, NULL);
    map_init(&r->locks);
    for (unsigned i = 0; i < s->n_ids; i++) {
        s->ids[i].sick = false;
        (void)fake_health(r->fake, slice_of(s->ids[i].id), HEALTH_HEALTHY, true);
    }
}
