/* The workload driver while the n-th allocation fails: each call ends exactly once, and the next
 * one works. */
#include "base/mem.h"
#include "base/str.h"
#include "fake_engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum what { PREPARE, ENSURE, INSPECT, LIST, START, USAGE, EXEC, LOGS, STOP, REMOVE, WHATS };

struct world {
    struct loop *l;
    struct fake_engine g;
    struct docker *d;
    struct driver drv;
    struct workload_doc doc;
    bool due;
    int code;
};

static void ended(void *ctx, const struct fault *f)
{
    struct world *w = ctx;
    assert_true(w->due);
    w->due = false;
    w->code = f != NULL ? f->e.code : 0;
    if (f != NULL)
        assert_true(f->e.code < 0 && f->reason != FAULT_NONE);
}

static void on_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    if (o != NULL)
        assert_true(f == NULL && slice_eqs(o->id, "web"));
    ended(ctx, f);
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    if (f == NULL)
        assert_true(n == 1 && slice_eqs(items[0].id, "web"));
    ended(ctx, f);
}

static void on_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    assert_int_equal(u != NULL, f == NULL);
    ended(ctx, f);
}

static void on_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    struct world *w = ctx;
    assert_true(w->due && s == DRIVER_STDOUT && bytes.len > 0);
}

static void on_exit_code(void *ctx, const struct fault *f, int64_t exit_code)
{
    if (f == NULL)
        assert_int_equal(exit_code, 3);
    ended(ctx, f);
}

static void on_line(void *ctx, enum driver_stream s, int64_t time_ns, struct slice text)
{
    on_output(ctx, s, text);
    assert_true(time_ns == 0);
}

static void on_changed(void *ctx BASE_UNUSED, struct slice id)
{
    assert_true(slice_eqs(id, "web"));
}

static void on_reachable(void *ctx BASE_UNUSED, bool up BASE_UNUSED) {}

static int begin(struct world *w, enum what what)
{
    static const char *const argv[] = {"prog", NULL};
    static const struct driver_exec_user exec_user = {.output = on_output, .done = on_exit_code};
    static const struct driver_logs_user logs_user = {on_line, ended};
    const struct driver_ops *ops = w->drv.ops;
    void *self = w->drv.self;
    struct driver_call *call;
    struct driver_order o = {
        .id = SLICE_LIT("web"), .revision = SLICE_LIT("1"), .doc = &w->doc, .stop_timeout_s = 1};
    struct driver_exec_order x = {.id = o.id, .argv = argv};
    struct driver_logs_order lo = {.id = o.id, .tail = -1};
    switch (what) {
    case PREPARE:
        return ops->prepare(self, &o, on_done, w);
    case ENSURE:
        return ops->ensure(self, &o, on_done, w);
    case START:
        return ops->start(self, &o, on_done, w);
    case STOP:
        return ops->stop(self, &o, on_done, w);
    case REMOVE:
        return ops->remove(self, &o, on_done, w);
    case INSPECT:
        return ops->inspect(self, o.id, on_done, w);
    case LIST:
        return ops->list(self, on_list, w);
    case USAGE:
        return ops->usage(self, o.id, on_usage, w);
    case EXEC:
        return ops->exec(self, &x, &exec_user, w, &call, NULL);
    default:
        return ops->logs(self, &lo, &logs_user, w, &call, NULL);
    }
}

static bool all_ended(void *ctx)
{
    return !((struct world *)ctx)->due;
}

static void run(struct world *w, enum what what)
{
    w->due = true;
    w->code = begin(w, what);
    if (w->code != 0)
        w->due = false;
    assert_true(test_run(w->l, all_ended, w, 10000));
}

/* The container is made, or else each other call would have nothing to do. */
static void prepare(struct world *w, enum what what)
{
    w->g.exists = what != ENSURE;
    w->g.running = what == STOP || what == REMOVE || what == EXEC || what == USAGE;
    w->g.exit_code = 5;
    snprintf(w->g.revision, sizeof(w->g.revision), "1");
}

static int open_driver(struct world *w)
{
    static const struct docker_registry registries[] = {{"docker.io", "bob", "pw"}};
    static const char *const roots[] = {"/srv"};
    static const struct driver_watcher watcher = {on_changed, on_reachable, NULL};
    struct docker_options o = {.socket_path = w->g.f.path, .answer_ms = 500, .probe_ms = 50};
    struct docker_driver_options dr = {.look_ms = 500,
                                       .pull_ms = 500,
                                       .log_max_size = "1m",
                                       .bind_roots = roots,
                                       .n_bind_roots = 1,
                                       .registries = registries,
                                       .n_registries = 1};
    int rc = docker_new(&w->d, w->l, &o, NULL);
    if (rc != 0)
        return rc;
    rc = docker_driver(w->d, &dr, &w->drv, NULL);
    if (rc == 0)
        w->drv.ops->watch(w->drv.self, &watcher);
    return rc;
}

/* true: the failure was reached. */
static bool one_round(struct world *w, enum what what, uint64_t n, bool sticky)
{
    mem_fail_at(n, sticky);
    int rc = open_driver(w);
    prepare(w, what);
    if (rc == 0)
        run(w, what);
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    assert_true(rc == 0 || hit);
    for (int tries = 0; rc == 0; tries++) {
        prepare(w, what);
        run(w, what);
        if (w->code == 0)
            break;
        assert_true(tries < 30);
        test_pass(w->l, 20);
    }
    docker_free(STEAL(w->d));
    test_pass(w->l, 2);
    return hit;
}

static void rounds(struct world *w, enum what what, bool sticky)
{
    uint64_t n = 1;
    while (one_round(w, what, n, sticky) && n < 2000) {
        n += n < 250 ? 1 : 7;
        fake_http_done(&w->g.f);
    }
    fake_http_done(&w->g.f);
    print_message("%d: %d allocations\n", (int)what, (int)n);
    assert_true(n > 60 && n < 2000);
}

static void each(bool sticky)
{
    static const char frames[] = "\1\0\0\0\0\0\0\4out\n";
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/fault_docker_workload.%d", (int)getpid());
    w->l = test_loop();
    fake_engine_start(&w->g, w->l, path);
    w->g.logs = w->g.output = frames;
    w->g.logs_len = w->g.output_len = sizeof(frames) - 1;
    w->doc = (struct workload_doc){.id = "web", .container = {.image = "i:1"}};
    static struct doc_mount mounts[] = {{"/srv", "/x", true}};
    w->doc.container.volumes = (struct schema_list){mounts, 1};
    w->doc.container.image_pull = DOC_PULL_ALWAYS;
    for (enum what what = PREPARE; what < WHATS; what++)
        rounds(w, what, sticky);
    fake_engine_stop(&w->g);
    test_loop_free(w->l);
    free(w);
}

static void each_allocation(void **state BASE_UNUSED)
{
    each(false);
}

static void from_each_allocation_on(void **state BASE_UNUSED)
{
    each(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation),
                                       cmocka_unit_test(from_each_allocation_on)};
    return cmocka_run_group_tests_name("fault_docker_workload", tests, NULL, NULL);
}
