/* The history of tasks. */
#include "../base/unit.h"

#include "base/mem.h"
#include "base/str.h"
#include "core/tasks.h"

#include <stdio.h>
#include <string.h>

static int64_t now_ns;
static int64_t real_ns(void *ctx)
{
    (void)ctx;
    return now_ns;
}
static uint64_t mono_ns(void *ctx)
{
    (void)ctx;
    return (uint64_t)now_ns;
}
static const struct clock fake = {.real_ns = real_ns, .mono_ns = mono_ns};

static int collect(void *ctx, const struct task *t)
{
    char *out = ctx;
    size_t at = strlen(out);
    (void)snprintf(out + at, 400 - at, "%.*s:%s ", (int)t->workload.len, t->workload.p,
                   task_status_name(t->status));
    return 0;
}

static const char *all(struct tasks *t, bool newest_first)
{
    static char out[400];
    out[0] = '\0';
    tasks_each(t, newest_first, collect, out);
    return out;
}

static struct task_entry *begin(struct tasks *t, const char *workload)
{
    struct task_entry *e = NULL;
    assert_int_equal(task_begin(t, TASK_APPLY, slice_of(workload), slice_of("uid:0"), &e), 0);
    return e;
}

static void life(void **state)
{
    (void)state;
    now_ns = 1763697120123456789;
    struct tasks *t = tasks_new(&fake, 0);
    struct task_entry *a = begin(t, "web");
    struct task one;
    task_get(a, &one);
    assert_string_equal(one.id, "apply-web-1763697120123456789");
    assert_true(slice_eqs(one.who, "uid:0"));
    assert_int_equal(one.started_ns, 0);
    struct task_entry *b = begin(t, "web"); /* in the same nanosecond: another id */
    task_get(b, &one);
    assert_string_equal(one.id, "apply-web-1763697120123456790");
    now_ns += 2000;
    task_start(t, a);
    struct task_counts c;
    tasks_counts(t, &c);
    assert_int_equal(c.pending, 1);
    assert_int_equal(c.running, 1);
    task_end(t, a, TASK_FAILED, "no luck");
    task_get(a, &one); /* kept: the history is not full */
    assert_string_equal(one.error, "no luck");
    assert_int_equal(one.ended_ns - one.created_ns, 2000);
    task_end(t, b, TASK_COMPLETED, NULL); /* never began: superseded */
    tasks_counts(t, &c);
    assert_int_equal(c.pending + c.running, 0);
    assert_int_equal(c.done[TASK_APPLY][0], 1);
    assert_int_equal(c.done[TASK_APPLY][1], 1);
    assert_int_equal(c.time[TASK_APPLY][1].sum_ns, 2000);
    assert_string_equal(all(t, false), "web:failed web:completed ");
    assert_string_equal(all(t, true), "web:completed web:failed ");
    assert_ptr_equal(task_newest(t, slice_of("web")), b);
    assert_null(task_newest(t, slice_of("other")));
    tasks_free(t);
}

/* So many ended ones are kept, and the newest of each workload besides. */
static void bounded(void **state)
{
    (void)state;
    now_ns = 5;
    struct tasks *t = tasks_new(&fake, 2);
    struct task_entry *open = begin(t, "open");
    for (int i = 0; i < 5; i++) {
        struct task_entry *e = begin(t, i % 2 ? "a1" : "b1");
        task_start(t, e);
        task_end(t, e, TASK_COMPLETED, NULL);
    }
    assert_string_equal(all(t, false),
                        "open:pending a1:completed b1:completed a1:completed b1:completed ");
    task_release(t, slice_of("a1")); /* its newest one is like all others now */
    assert_string_equal(all(t, false), "open:pending b1:completed a1:completed b1:completed ");
    assert_null(task_newest(t, slice_of("a1")));
    task_release(t, slice_of("open"));
    task_release(t, slice_of("nobody"));
    task_end(t, open, TASK_FAILED, "x");
    assert_string_equal(all(t, false), "open:failed a1:completed b1:completed ");
    tasks_free(t);
}

static void no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        now_ns = 5;
        struct tasks *t = tasks_new(&fake, 2);
        struct task_entry *e = begin(t, "x1");
        task_end(t, e, TASK_COMPLETED, NULL);
        mem_fail_at(n, false);
        struct task_entry *f = NULL;
        int rc = task_begin(t, TASK_DELETE, slice_of("x1"), slice_of("me"), &f);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit && f == NULL ? ERR_NO_MEMORY : 0);
        assert_non_null(strstr(all(t, false), "x1:completed"));
        tasks_free(t);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life),
        cmocka_unit_test(bounded),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
