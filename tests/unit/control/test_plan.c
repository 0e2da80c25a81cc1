/* The course of things with a scheduler, by a clock that is turned by hand: waits, leases, what
 * follows what, and that nothing ever becomes a hot loop. */
#include "../base/unit.h"

#include "api/control/plan.h"

#define START_NS (INT64_C(1800000000) * 1000000000)

struct world {
    struct clock clock;
    uint64_t ms; /* since the start */
    uint64_t seed;
    int fail_random;
    struct control_plan p;
};

static uint64_t mono(void *ctx)
{
    return ((struct world *)ctx)->ms * NS_PER_MS;
}

static int64_t real(void *ctx)
{
    return START_NS + (int64_t)(((struct world *)ctx)->ms * NS_PER_MS);
}

static int chance(void *ctx, void *p, size_t n)
{
    struct world *w = ctx;
    if (w->fail_random)
        return ERR_IO;
    for (size_t i = 0; i < n; i++) {
        w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)p)[i] = (unsigned char)(w->seed >> 33);
    }
    return 0;
}

static int setup(void **state)
{
    struct world *w = test_calloc(1, sizeof(*w));
    w->clock = (struct clock){mono, real, chance, w};
    w->seed = 7;
    control_plan_init(&w->p, &w->clock, 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    test_free(*state);
    return 0;
}

/* Turns the clock to when something is due, and asks. */
static enum control_act next(struct world *w)
{
    uint64_t at = control_plan_next(&w->p);
    assert_true(at != UINT64_MAX);
    w->ms = at > w->ms ? at : w->ms;
    return control_plan_due(&w->p, w->ms);
}

static int64_t lease(const struct world *w, int64_t seconds)
{
    return real((void *)(uintptr_t)w) + seconds * (int64_t)NS_PER_S;
}

static void register_it(struct world *w, int64_t interval_s, int64_t lease_s)
{
    assert_int_equal(next(w), CONTROL_DIAL);
    assert_int_equal(control_plan_next(&w->p), UINT64_MAX); /* a call is under way */
    assert_int_equal(control_plan_due(&w->p, w->ms), CONTROL_NOTHING);
    control_plan_accepted(&w->p, w->ms, interval_s, lease_s == 0 ? 0 : lease(w, lease_s));
    assert_int_equal(control_plan_next(&w->p), w->ms); /* a heartbeat at once */
}

static void beat(struct world *w, int64_t lease_s)
{
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_beaten(&w->p, w->ms, lease_s == 0 ? 0 : lease(w, lease_s));
}

static void an_hour_of_heartbeats(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 180);
    unsigned n = 0;
    while (w->ms < 3600000) {
        uint64_t before = w->ms;
        beat(w, 180);
        if (n++ > 0)
            assert_in_range(w->ms - before, 54000, 60000);
    }
    assert_in_range(n, 60, 68);
    assert_int_equal(w->p.failures, 0);
}

static void intervals_are_bounded(void **state)
{
    struct world *w = *state;
    static const struct {
        int64_t told;
        uint64_t ms;
    } rows[] = {{0, 10000},    {-5, 10000},         {1, 1000},
                {600, 600000}, {601, 600000},       {INT32_MAX, 600000},
                {30, 30000},   {INT64_MAX, 600000}, {INT64_MIN, 10000}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        control_plan_init(&w->p, &w->clock, w->ms);
        register_it(w, rows[i].told, 0);
        assert_int_equal(w->p.interval_ms, rows[i].ms);
        beat(w, 0);
        uint64_t wait = control_plan_next(&w->p) - w->ms;
        assert_in_range(wait, rows[i].ms * 9 / 10 > 1000 ? rows[i].ms * 9 / 10 : 1000, rows[i].ms);
    }
}

static void waits_double_up_to_half_a_minute(void **state)
{
    struct world *w = *state;
    static const uint64_t ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    uint64_t first[ARRAY_LEN(ms)];
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        assert_int_equal(next(w), CONTROL_DIAL);
        control_plan_failed(&w->p, w->ms);
        first[i] = control_plan_next(&w->p) - w->ms;
        assert_in_range(first[i], ms[i] * 8 / 10, ms[i] * 12 / 10);
    }
    assert_true(first[5] != first[6] || first[6] != first[7]); /* by chance */
    /* Taken, the next failure waits as long as before; after a heartbeat it begins anew. */
    register_it(w, 10, 0);
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_failed(&w->p, w->ms);
    assert_in_range(control_plan_next(&w->p) - w->ms, 24000, 36000);
    register_it(w, 10, 0);
    beat(w, 0);
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_failed(&w->p, w->ms);
    assert_in_range(control_plan_next(&w->p) - w->ms, 800, 1200);
}

/* Accepted, and then the first heartbeat fails, for ever: calls become rare. */
static void no_hot_loop(void **state)
{
    struct world *w = *state;
    static void (*const ends[])(struct control_plan *, uint64_t) = {
        control_plan_failed, control_plan_forgotten, control_plan_lost};
    for (size_t how = 0; how < ARRAY_LEN(ends); how++) {
        unsigned calls = 0;
        control_plan_init(&w->p, &w->clock, w->ms);
        uint64_t end = w->ms + 600000;
        while (w->ms < end) {
            register_it(w, 1, 0);
            if (ends[how] != control_plan_lost)
                assert_int_equal(next(w), CONTROL_BEAT);
            ends[how](&w->p, w->ms);
            calls += 2;
        }
        assert_in_range(calls, 30, 70);
    }
}

static void a_scheduler_that_has_forgotten(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 180);
    beat(w, 180);
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_forgotten(&w->p, w->ms);
    uint64_t before = w->ms;
    assert_int_equal(next(w), CONTROL_REGISTER); /* the same connection, at once */
    assert_int_equal(w->ms, before);
    control_plan_accepted(&w->p, w->ms, 60, lease(w, 180));
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_forgotten(&w->p, w->ms); /* again: not at once */
    assert_int_equal(next(w), CONTROL_DIAL);
    assert_in_range(w->ms - before, 800, 1200);
}

static void a_connection_that_was_lost(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 0);
    beat(w, 0);
    w->ms = control_plan_next(&w->p);
    uint64_t before = w->ms;
    control_plan_lost(&w->p, w->ms);
    assert_int_equal(next(w), CONTROL_DIAL);
    assert_int_equal(w->ms, before);
    control_plan_failed(&w->p, w->ms);
    assert_int_equal(next(w), CONTROL_DIAL);
    assert_in_range(w->ms - before, 800, 1200);
}

static void a_lease_that_has_passed(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 180);
    beat(w, 180);
    w->ms += 200000; /* the machine slept */
    assert_int_equal(control_plan_due(&w->p, w->ms), CONTROL_REGISTER);
    control_plan_accepted(&w->p, w->ms, 60, lease(w, 180));
    assert_int_equal(next(w), CONTROL_BEAT);
}

static void what_was_registered_is_not_so_any_more(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 180);
    beat(w, 180);
    uint64_t before = w->ms;
    control_plan_renew(&w->p);
    assert_int_equal(next(w), CONTROL_REGISTER); /* when the heartbeat is due, and instead of it */
    assert_in_range(w->ms - before, 54000, 60000);
    control_plan_accepted(&w->p, w->ms, 60, lease(w, 180));
    assert_int_equal(next(w), CONTROL_BEAT);
    control_plan_beaten(&w->p, w->ms, lease(w, 180));
    assert_int_equal(next(w), CONTROL_BEAT); /* once */
    control_plan_renew(&w->p);
    control_plan_failed(&w->p, w->ms); /* the next registration tells it anyway */
    assert_int_equal(next(w), CONTROL_DIAL);
    control_plan_accepted(&w->p, w->ms, 60, lease(w, 180));
    assert_int_equal(next(w), CONTROL_BEAT);
}

/* In trouble the scheduler gives half a minute where it wants a heartbeat every minute. */
static void a_lease_shorter_than_the_interval(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 180);
    beat(w, 30);
    for (int i = 0; i < 100; i++) {
        uint64_t before = w->ms;
        beat(w, 30); /* never a registration: the lease is kept */
        assert_in_range(w->ms - before, 13500, 15000);
    }
    /* Without an end of a second: still no hot loop. */
    beat(w, 1);
    unsigned calls = 0;
    for (uint64_t end = w->ms + 100000; w->ms < end; calls++) {
        enum control_act a = next(w);
        if (a == CONTROL_BEAT)
            control_plan_beaten(&w->p, w->ms, lease(w, 1));
        else
            control_plan_accepted(&w->p, w->ms, 60, lease(w, 1));
    }
    assert_in_range(calls, 90, 210);
}

static void clocks_that_differ(void **state)
{
    struct world *w = *state;
    register_it(w, 60, -3600); /* over when it comes */
    assert_true(w->p.clocks_apart);
    assert_int_equal(w->p.lease_ns, 0);
    for (int i = 0; i < 10; i++)
        beat(w, -3600);
    beat(w, 180);
    assert_false(w->p.clocks_apart);
    assert_true(w->p.lease_ns != 0);
    beat(w, 0); /* none is named: the last one holds */
    assert_true(w->p.lease_ns != 0);
}

static void without_chance(void **state)
{
    struct world *w = *state;
    w->fail_random = 1;
    assert_int_equal(next(w), CONTROL_DIAL);
    control_plan_failed(&w->p, w->ms);
    assert_int_equal(control_plan_next(&w->p) - w->ms, 1000);
    register_it(w, 60, 0);
    beat(w, 0);
    assert_int_equal(control_plan_next(&w->p) - w->ms, 57000);
}

static void the_end(void **state)
{
    struct world *w = *state;
    register_it(w, 60, 0);
    control_plan_stop(&w->p);
    control_plan_stop(&w->p);
    assert_int_equal(control_plan_next(&w->p), UINT64_MAX);
    assert_int_equal(control_plan_due(&w->p, w->ms + 1000000), CONTROL_NOTHING);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_hour_of_heartbeats),
        T(intervals_are_bounded),
        T(waits_double_up_to_half_a_minute),
        T(no_hot_loop),
        T(a_scheduler_that_has_forgotten),
        T(a_connection_that_was_lost),
        T(a_lease_that_has_passed),
        T(what_was_registered_is_not_so_any_more),
        T(a_lease_shorter_than_the_interval),
        T(clocks_that_differ),
        T(without_chance),
        T(the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
