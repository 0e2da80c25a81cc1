#include "api/control/plan.h"

#define BIT(state) (1u << (state))

static const struct sm_state states[] = {
    [CONTROL_WAITING] = {"waiting", BIT(CONTROL_REGISTERING) | BIT(CONTROL_STOPPED), false},
    [CONTROL_REGISTERING] = {"registering",
                             BIT(CONTROL_REGISTERED) | BIT(CONTROL_WAITING) | BIT(CONTROL_STOPPED),
                             false},
    [CONTROL_REGISTERED] = {"registered",
                            BIT(CONTROL_BEATING) | BIT(CONTROL_REGISTERING) | BIT(CONTROL_WAITING) |
                                BIT(CONTROL_STOPPED),
                            false},
    [CONTROL_BEATING] = {"beating",
                         BIT(CONTROL_REGISTERED) | BIT(CONTROL_WAITING) | BIT(CONTROL_STOPPED),
                         false},
    [CONTROL_STOPPED] = {"stopped", 0, true},
};
static const struct sm_table table = {"control", states, (int)ARRAY_LEN(states)};

enum control_state control_plan_state(const struct control_plan *p)
{
    return (enum control_state)p->sm.state;
}

static void move(struct control_plan *p, enum control_state to)
{
    sm_move(&p->sm, (int)to, NULL);
}

void control_plan_init(struct control_plan *p, const struct clock *clock, uint64_t now_ms)
{
    *p = (struct control_plan){.clock = clock, .due_ms = now_ms};
    sm_init(&p->sm, &table, CONTROL_WAITING);
}

uint64_t control_plan_next(const struct control_plan *p)
{
    enum control_state s = control_plan_state(p);
    return s == CONTROL_WAITING || s == CONTROL_REGISTERED ? p->due_ms : UINT64_MAX;
}

/* From `least` to `most` parts of a thousand of ms, by chance. Without chance: in the middle. */
static uint64_t spread(const struct control_plan *p, uint64_t ms, uint32_t least, uint32_t most)
{
    uint32_t r;
    if (p->clock->random(p->clock->ctx, &r, sizeof(r)) != 0)
        r = (most - least) / 2;
    return ms * (least + r % (most - least + 1)) / 1000;
}

static bool lease_over(const struct control_plan *p)
{
    return p->lease_ns != 0 && clock_real_ns(p->clock) >= p->lease_ns;
}

enum control_act control_plan_due(struct control_plan *p, uint64_t now_ms)
{
    if (now_ms < control_plan_next(p))
        return CONTROL_NOTHING;
    if (control_plan_state(p) == CONTROL_WAITING) {
        move(p, CONTROL_REGISTERING);
        return p->keep ? CONTROL_REGISTER : CONTROL_DIAL;
    }
    if (lease_over(p) || p->renew) {
        p->proven =
            false; /* or a scheduler that gives short leases would be asked without an end */
        move(p, CONTROL_REGISTERING);
        return CONTROL_REGISTER;
    }
    move(p, CONTROL_BEATING);
    return CONTROL_BEAT;
}

/* A lease that is over when it comes is not believed: the scheduler's clock is another. */
static void take_lease(struct control_plan *p, int64_t lease_ns)
{
    if (lease_ns == 0)
        return;
    p->clocks_apart = lease_ns <= clock_real_ns(p->clock);
    p->lease_ns = p->clocks_apart ? 0 : lease_ns;
}

/* Never later than asked for, and well before the lease ends. */
static uint64_t wait_of(const struct control_plan *p)
{
    uint64_t ms = p->interval_ms;
    if (p->lease_ns != 0) {
        int64_t left = (p->lease_ns - clock_real_ns(p->clock)) / (int64_t)NS_PER_MS / 2;
        uint64_t half = left > 0 ? (uint64_t)left : 0;
        ms = half < ms ? half : ms;
    }
    ms = spread(p, ms, 900, 1000);
    return ms > CONTROL_INTERVAL_MIN_MS ? ms : CONTROL_INTERVAL_MIN_MS;
}

void control_plan_accepted(struct control_plan *p, uint64_t now_ms, int64_t interval_s,
                           int64_t lease_ns)
{
    uint64_t most = CONTROL_INTERVAL_MAX_MS / 1000;
    p->interval_ms = interval_s <= 0                ? CONTROL_INTERVAL_MS
                     : (uint64_t)interval_s >= most ? CONTROL_INTERVAL_MAX_MS
                                                    : (uint64_t)interval_s * 1000;
    p->lease_ns = 0; /* that of an earlier registration is none of this one */
    take_lease(p, lease_ns);
    p->proven = p->keep = p->renew = false;
    p->due_ms = now_ms;
    move(p, CONTROL_REGISTERED);
}

void control_plan_beaten(struct control_plan *p, uint64_t now_ms, int64_t lease_ns)
{
    take_lease(p, lease_ns);
    p->failures = 0;
    p->proven = true;
    p->due_ms = now_ms + wait_of(p);
    move(p, CONTROL_REGISTERED);
}

void control_plan_failed(struct control_plan *p, uint64_t now_ms)
{
    uint64_t ms = CONTROL_BACKOFF_MS;
    for (unsigned i = 0; i < p->failures && ms < CONTROL_BACKOFF_MAX_MS; i++)
        ms *= 2;
    ms = ms < CONTROL_BACKOFF_MAX_MS ? ms : CONTROL_BACKOFF_MAX_MS;
    p->failures += p->failures < UINT32_MAX ? 1 : 0;
    p->keep = p->proven = false;
    p->lease_ns = 0;
    p->due_ms = now_ms + spread(p, ms, 800, 1200);
    move(p, CONTROL_WAITING);
}

static void once_more(struct control_plan *p, uint64_t now_ms, bool keep)
{
    if (!p->proven) {
        control_plan_failed(p, now_ms);
        return;
    }
    p->proven = false;
    p->keep = keep;
    p->lease_ns = 0;
    p->due_ms = now_ms;
    move(p, CONTROL_WAITING);
}

void control_plan_renew(struct control_plan *p)
{
    p->renew = true;
}

void control_plan_forgotten(struct control_plan *p, uint64_t now_ms)
{
    once_more(p, now_ms, true);
}

void control_plan_lost(struct control_plan *p, uint64_t now_ms)
{
    once_more(p, now_ms, false);
}

void control_plan_stop(struct control_plan *p)
{
    if (control_plan_state(p) != CONTROL_STOPPED)
        move(p, CONTROL_STOPPED);
}
