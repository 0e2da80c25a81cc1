/* Pages of files that are not needed go, those that were written stay, and all works on. */
#include "../base/unit.h"

#include "base/str.h"
#include "gantryd/lean.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 64 };

/* Constants of the program: pages that are the file's until somebody writes into one. */
static const volatile char marks[PAGES * PAGE] __attribute__((aligned(PAGE))) = {1};

static size_t touch(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < sizeof(marks); i += PAGE)
        sum += (size_t)marks[i];
    return sum;
}

static void pages_of_files_go_and_come_back(void **state)
{
    (void)state;
    assert_int_equal(touch(), 1);
    uint64_t before = lean_files_bytes();
    assert_true(before > sizeof(marks));
    size_t given = lean_give_back();
    if (given == 0)
        skip(); /* /proc/self/pagemap is not to be seen */
    assert_true(given >= sizeof(marks) / 2);
    uint64_t after = lean_files_bytes();
    /* What giving back itself needs is there again. */
    assert_true(after + given / 4 < before);
    assert_int_equal(touch(), 1);
    assert_true(lean_files_bytes() > after);
}

/* As a debugger does it that sets a breakpoint. */
static void what_was_written_stays(void **state)
{
    (void)state;
    char *page = (char *)(uintptr_t)&marks[2 * PAGE];
    if ((size_t)sysconf(_SC_PAGESIZE) != PAGE)
        skip();
    assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
    page[7] = 42;
    assert_int_equal(mprotect(page, PAGE, PROT_READ), 0);
    (void)lean_give_back();
    assert_int_equal(marks[2 * PAGE + 7], 42);
    assert_int_equal(marks[0], 1);
}

static void stop(void *ctx)
{
    loop_stop(ctx);
}

static void run_for(struct loop *l, uint64_t ms)
{
    struct loop_timer end = {0};
    assert_int_equal(loop_timer_init(l, &end, stop, l), 0);
    loop_timer_start(&end, ms, 0);
    (void)loop_run(l);
    loop_timer_close(&end, NULL);
    (void)loop_run_once(l, false);
}

static void only_at_rest_and_only_if_it_is_much(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct lean *l = NULL;
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    if (lean_give_back() == 0)
        skip();
    /* Less than the limit: nothing happens. */
    struct lean_options o = {.every_ms = 200, .files_most = UINT64_C(1) << 40};
    assert_int_equal(lean_new(&l, loop, &o, NULL), 0);
    (void)touch();
    run_for(loop, 500);
    uint64_t before = lean_files_bytes();
    assert_true(before > sizeof(marks));
    lean_free(l);
    (void)loop_run_once(loop, false);
    /* More than it. */
    o.files_most = 1;
    assert_int_equal(lean_new(&l, loop, &o, NULL), 0);
    run_for(loop, 700);
    assert_true(lean_files_bytes() + sizeof(marks) / 2 < before);
    lean_free(l);
    (void)loop_run(loop);
    loop_free(loop);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    const struct lean_options o = {0};
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct lean *l = NULL;
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = lean_new(&l, loop, &o, &e);
        assert_true(rc == 0 || (rc == ERR_NO_MEMORY && e.code == ERR_NO_MEMORY && l == NULL));
        lean_free(l);
    }
    lean_free(NULL);
    (void)loop_run(loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_files_go_and_come_back),
        cmocka_unit_test(what_was_written_stays),
        cmocka_unit_test(only_at_rest_and_only_if_it_is_much),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
