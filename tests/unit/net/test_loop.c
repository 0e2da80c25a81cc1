/* loop.c: deferred calls, timers, deadline classes, the date. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../base/patience.h"
#include "base/mem.h"
#include "net/loop_priv.h"

static struct loop *loop;
static int64_t wall = 1795233120123456789; /* Sat, 21 Nov 2026 03:52:00.12 GMT */

static int64_t fixed_real(void *ctx)
{
    (void)ctx;
    return wall;
}

static struct loop_timer alive; /* deadlines alone do not keep a loop running */
static void nothing(void *ctx)
{
    (void)ctx;
}

static int setup(void **state)
{
    static struct clock clock;
    struct err e = {0};

    (void)state;
    clock = clock_system;
    clock.real_ns = fixed_real;
    if (loop_new(&loop, &clock, &e) != 0)
        return -1;
    loop_timer_init(loop, &alive, nothing, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_timer_close(&alive, NULL);
    while (loop_run_once(loop, false))
        ;
    loop_free(loop);
    return 0;
}

static void run_ms(uint64_t ms)
{
    struct patience end = patience_of(ms);

    for (int turns = 0; patience_left(&end) || turns < 10; turns++) {
        loop_run_once(loop, false);
        (void)uv_sleep(1);
    }
}

static int order[8];
static size_t n_order;

static void note(void *ctx)
{
    order[n_order++ % 8] = (int)(intptr_t)ctx;
}

static void note_and_defer(void *ctx)
{
    note(ctx);
    assert_int_equal(loop_defer(loop, note, (void *)9), 0);
}

static void test_defer(void **state)
{
    (void)state;
    n_order = 0;
    assert_int_equal(loop_defer(loop, note_and_defer, (void *)1), 0);
    assert_int_equal(loop_defer(loop, note, (void *)2), 0);
    assert_int_equal(n_order, 0);
    loop_run(loop);
    assert_int_equal(n_order, 3);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    assert_int_equal(order[2], 9);
    mem_fail_at(1, false);
    assert_int_equal(loop_defer(loop, note, NULL), ERR_NO_MEMORY);
    mem_fail_at(0, false);
}

static struct loop_task tasks[2];

static void cancel_other(struct loop_task *t)
{
    (void)t;
    n_order++;
    loop_task_cancel(&tasks[1]);
}

static void test_cancelled_task_does_not_run(void **state)
{
    (void)state;
    n_order = 0;
    loop_task_init(&tasks[0], cancel_other);
    loop_task_init(&tasks[1], cancel_other);
    loop_post(loop, &tasks[0]);
    loop_post(loop, &tasks[0]);
    loop_post(loop, &tasks[1]);
    loop_run(loop);
    assert_int_equal(n_order, 1);
}

static bool timer_closed;

static void on_timer_closed(void *ctx)
{
    (void)ctx;
    timer_closed = true;
}

static void test_timer(void **state)
{
    struct loop_timer t = {0};
    (void)state;
    n_order = 0;
    assert_int_equal(loop_timer_init(loop, &t, note, (void *)5), 0);
    loop_timer_start(&t, 5, 5);
    run_ms(60);
    assert_true(n_order >= 2);
    loop_timer_stop(&t);
    n_order = 0;
    run_ms(20);
    assert_int_equal(n_order, 0);
    timer_closed = false;
    loop_timer_close(&t, on_timer_closed);
    assert_false(timer_closed);
    loop_run(loop);
    assert_true(timer_closed);
}

static struct deadline_class *slow, *fast;
static struct deadline d[4];
static size_t fired[4];

static void on_deadline(struct deadline *x)
{
    size_t i = (size_t)(x - d);

    fired[i]++;
    if (i == 0) {
        deadline_arm(slow, &d[0]);
        deadline_disarm(&d[1]); /* due at the same time, but not wanted any more */
    }
}

static void test_deadlines(void **state)
{
    uint64_t begin;
    (void)state;
    loop_timer_start(&alive, 3600000, 0);
    memset(fired, 0, sizeof(fired));
    assert_int_equal(deadline_class_new(&slow, loop, 100000, on_deadline), 0);
    assert_int_equal(deadline_class_new(&fast, loop, 1000, on_deadline), 0);
    for (size_t i = 0; i < 4; i++)
        deadline_init(&d[i]);
    deadline_disarm(&d[3]); /* harmless */
    loop_run_once(loop, false);
    begin = clock_mono_ms(&clock_system);
    deadline_arm(fast, &d[0]);
    deadline_arm(fast, &d[1]);
    deadline_arm(fast, &d[2]);
    deadline_arm(slow, &d[3]);
    run_ms(20);
    deadline_arm(slow, &d[2]); /* moved to another class */
    while (fired[0] == 0 && clock_mono_ms(&clock_system) - begin < 20000)
        run_ms(5);
    if (clock_mono_ms(&clock_system) - begin < 998)
        fail_msg("fired after %d ms", (int)(clock_mono_ms(&clock_system) - begin));
    assert_int_equal(fired[0], 1);
    run_ms(1500);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 0);
    assert_int_equal(fired[2], 0);
    for (size_t i = 0; i < 4; i++)
        deadline_disarm(&d[i]);
    deadline_class_free(slow);
    deadline_class_free(fast);
}

static void test_rearmed_deadline_waits_its_full_time(void **state)
{
    (void)state;
    loop_timer_start(&alive, 3600000, 0);
    memset(fired, 0, sizeof(fired));
    assert_int_equal(deadline_class_new(&fast, loop, 300, on_deadline), 0);
    deadline_init(&d[3]);
    for (int i = 0; i < 8; i++) {
        uint64_t armed = clock_mono_ms(&clock_system);
        loop_run_once(loop, false); /* the loop's time is that of its last turn */
        fired[3] = 0;
        deadline_arm(fast, &d[3]);
        run_ms(100);
        if (clock_mono_ms(&clock_system) - armed < 250) {
            assert_int_equal(fired[3], 0);
        } else { /* a busy machine: that does not count */
            fired[3] = 0;
            i--;
        }
    }
    run_ms(800);
    assert_int_equal(fired[3], 1);
    deadline_class_free(fast);
}

static void test_date(void **state)
{
    struct slice s = loop_http_date(loop);
    (void)state;
    assert_int_equal(s.len, 29);
    assert_memory_equal(s.p, "Sat, 21 Nov 2026 03:52:00 GMT", 29);
    wall += (int64_t)NS_PER_S;
    run_ms(5);
    assert_memory_equal(loop_http_date(loop).p, "Sat, 21 Nov 2026 03:52:00 GMT", 29);
    run_ms(1000);
    assert_memory_equal(loop_http_date(loop).p, "Sat, 21 Nov 2026 03:52:01 GMT", 29);
}

static void test_out_of_memory(void **state)
{
    struct loop *l = NULL;
    struct err e = {0};
    int failures = 0;
    (void)state;
    for (uint64_t n = 1; n < 100; n++) {
        mem_fail_at(n, false);
        int rc = loop_new(&l, &clock_system, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (rc == 0)
            loop_free(l);
        else
            failures++;
        if (!hit)
            break;
    }
    assert_true(failures >= 2);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_defer),
        T(test_cancelled_task_does_not_run),
        T(test_timer),
        T(test_deadlines),
        T(test_date),
        T(test_rearmed_deadline_waits_its_full_time),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
