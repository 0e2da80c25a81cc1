/* Services that wait for workloads, with a scripted agent and workloads that are so when told. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake_http.h"
#include "service/service_order.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The one question to the engine. */
static bool db_healthy, vm_address;
bool engine_meets(struct engine *g, const char *id, enum doc_condition c, char *out, size_t size)
{
    bool met = strcmp(id, "db") == 0 ? db_healthy : vm_address;
    assert_non_null(g);
    assert_int_equal(c, strcmp(id, "db") == 0 ? DOC_DEPENDS_HEALTHY : DOC_DEPENDS_ADDRESS);
    if (!met)
        (void)snprintf(out, size, "\"%s\" to be so", id);
    return met;
}

struct world {
    struct loop *l;
    struct fake_http f;
    char path[100];
    struct agent_set *set;
    struct event_hub *hub;
    struct event_reader *reader;
    struct service_watch *w;
    struct service_order *o;
    int status; /* of the answer to an order */
    char seen[4000];
    bool stopped; /* what a rule says: not to be run by itself */
    bool no_engine;
    bool seldom; /* the order looks */
};

#define UP(name)                                                                                   \
    "event: status\ndata: {\"name\":\"" name "\",\"raw\":\"up (pid 5) 3 seconds\",\"is_up\":true," \
    "\"pid\":5,\"uptime_seconds\":3}\n\n"
#define DOWN_FOR(name, how, seconds)                                                               \
    "event: status\ndata: {\"name\":\"" name "\",\"raw\":\"down (" how ") " seconds                \
    " seconds\",\"is_up\":false,\"pid\":null,\"uptime_seconds\":" seconds "}\n\n"
#define DOWN(name) DOWN_FOR(name, "exitcode 0", "60")
#define LIVE "event: live\ndata: {}\n\n"

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    if (strcmp(line, "GET /services/events") == 0)
        fake_http_stream(f, x, "text/event-stream");
    else if (w->status == 0)
        fake_http_keep(f, x);
    else
        fake_http_reply(x, w->status, "application/json",
                        w->status == 200 ? "{\"result\":\"ok\"}" : "{\"detail\":\"no\"}");
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

static void order(struct world *w)
{
    static const struct service_need needs[] = {{"db", DOC_DEPENDS_HEALTHY},
                                                {"vm", DOC_DEPENDS_ADDRESS}};
    const struct service_rule rules[] = {
        {.container = "robot", .service = "a", .needs = needs, .n_needs = 2, .run = !w->stopped},
        {.container = "other", .service = "b", .needs = needs, .n_needs = 1, .run = true},
    };
    const struct service_order_options o = {.loop = w->l,
                                            .agents = w->set,
                                            .watch = w->w,
                                            .engine = w->no_engine ? NULL : (void *)w,
                                            .hub = w->hub,
                                            .held_ms = w->seldom ? 400 : 10,
                                            .settled_ms = w->seldom ? 400 : 20,
                                            .start_ms = 300};
    struct err e = {0};
    assert_int_equal(service_order_new(&w->o, &o, rules, ARRAY_LEN(rules), &e), 0);
}

static void begin(struct world *w)
{
    struct err e = {0};
    db_healthy = vm_address = false;
    w->l = test_loop();
    w->status = 200;
    snprintf(w->path, sizeof(w->path), "/tmp/gantry-order-%d.sock", (int)getpid());
    w->f.answer = answer;
    w->f.ctx = w;
    fake_http_start(&w->f, w->l, w->path);
    const struct agent_set_options o = {0};
    const struct event_options eo = {0};
    const struct event_filter all = {0};
    const struct agent_options a = {.name = "robot", .socket_path = w->path};
    assert_int_equal(agent_set_new(&w->set, w->l, &o, &e), 0);
    assert_int_equal(agent_set_add(w->set, &a, &e), 0);
    assert_int_equal(event_hub_new(&w->hub, &clock_system, &eo, &e), 0);
    assert_int_equal(event_reader_new(&w->reader, w->hub, &all, SLICE_LIT(""), no_wake, NULL, &e),
                     0);
    assert_int_equal(service_watch_new(&w->w, w->l, w->hub, &e), 0);
    service_watch_set_times(w->w, 30, 20);
    assert_int_equal(service_watch_sync(w->w, w->set, &e), 0);
    order(w);
}

static void end(struct world *w)
{
    service_order_free(w->o);
    service_watch_free(w->w);
    event_reader_free(w->reader);
    agent_set_free(w->set);
    fake_http_stop(&w->f);
    test_pass(w->l, 30);
    fake_http_done(&w->f);
    event_hub_free(w->hub);
    test_loop_free(w->l);
    unlink(w->path);
}

static bool is_connected(void *ctx)
{
    return ((struct world *)ctx)->f.n_kept > 0;
}

static void say(struct world *w, const char *text)
{
    assert_true(test_run(w->l, is_connected, w, 3000));
    fake_http_send(w->f.kept[0], text);
    test_pass(w->l, 60);
}

/* Those of the order: "waiting: waits for ...;" */
static const char *events(struct world *w)
{
    struct buf b = BUF_FIXED(w->seen);
    struct event_seen ev;
    while (event_next(w->reader, &ev) == 0) {
        if (strcmp(ev.type, "state") == 0 || strcmp(ev.type, "appeared") == 0)
            continue;
        json_t *v = json_parse(ev.json, NULL, NULL);
        const char *text = json_get_str(v, "message");
        assert_true(slice_eqs(ev.name, "robot/a"));
        buf_addf(&b, "%s: %s;", ev.type, text != NULL ? text : "");
        json_decref(v);
    }
    return w->seen;
}

static size_t starts(const struct world *w)
{
    return fake_http_count(&w->f, "POST /services/a");
}

static struct service_held held(struct world *w)
{
    struct service_held h;
    assert_true(service_order_get(w->o, SLICE_LIT("robot"), SLICE_LIT("a"), &h));
    return h;
}

static void waits_and_is_started(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_held h;
    begin(&w);
    say(&w, DOWN("a") LIVE);
    assert_string_equal(events(&w), "waiting: waits for workload \"db\" to be so;");
    h = held(&w);
    assert_true(h.held && h.run);
    assert_string_equal(h.waits_for, "\"db\" to be so");
    assert_int_equal(h.n_needs, 2);
    assert_true(slice_eqs(h.needs[1], "vm"));
    db_healthy = true;
    test_pass(w.l, 60);
    assert_string_equal(events(&w), "waiting: waits for workload \"vm\" to be so;");
    assert_int_equal(starts(&w), 0);
    vm_address = true;
    test_pass(w.l, 60);
    assert_string_equal(events(&w), "released: its needs are met: it is started;");
    assert_int_equal(starts(&w), 1);
    say(&w, UP("a"));
    assert_false(held(&w).held);

    /* It stays up, whatever becomes of them; its death is its supervisor's. */
    db_healthy = false;
    say(&w, "event: status\ndata: {\"name\":\"a\",\"raw\":\"down (exitcode 1) 0 seconds, want up\","
            "\"is_up\":false,\"pid\":null,\"uptime_seconds\":0}\n\n");
    assert_false(held(&w).held);
    say(&w, UP("a"));
    /* Somebody stops it: it stays down, and may not be started now. */
    say(&w, DOWN_FOR("a", "signal SIGTERM", "0"));
    h = held(&w);
    assert_true(h.held && !h.run);
    db_healthy = true;
    test_pass(w.l, 60);
    assert_int_equal(starts(&w), 1);
    assert_string_equal(events(&w), "");
    assert_false(held(&w).held);

    assert_false(service_order_get(w.o, SLICE_LIT("robot"), SLICE_LIT("b"), &h));
    assert_false(service_order_get(NULL, SLICE_LIT("robot"), SLICE_LIT("a"), &h));
    service_order_told(NULL, SLICE_LIT("robot"), SLICE_LIT("a"), true);
    end(&w);
}

static void what_is_up_stays(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    say(&w, UP("a") LIVE);
    assert_false(held(&w).held);
    assert_string_equal(events(&w), "");
    /* Its agent is started anew, and meanwhile it was stopped: nobody's business. */
    fake_http_stop(&w.f);
    test_pass(w.l, 60);
    fake_http_start(&w.f, w.l, w.path);
    db_healthy = vm_address = true;
    say(&w, DOWN_FOR("a", "signal SIGTERM", "0") LIVE);
    assert_int_equal(starts(&w), 0);
    /* Its container begins anew: it is held, and started, as at the first time. */
    db_healthy = false;
    fake_http_stop(&w.f);
    test_pass(w.l, 60);
    fake_http_start(&w.f, w.l, w.path);
    say(&w, DOWN_FOR("a", "exitcode 0", "0") LIVE);
    assert_true(held(&w).held);
    db_healthy = true;
    test_pass(w.l, 60);
    assert_int_equal(starts(&w), 1);
    end(&w);
}

static bool is_started(void *ctx)
{
    return starts(ctx) == 1;
}

static bool is_up(void *ctx)
{
    return !held(ctx).held;
}

/* Its container begins anew, between two looks. */
static void what_goes_and_comes_unseen(void **state)
{
    (void)state;
    struct world w = {.seldom = true};
    begin(&w);
    say(&w, UP("a") LIVE);
    assert_true(test_run(w.l, is_up, &w, 3000));
    db_healthy = vm_address = true;
    fake_http_stop(&w.f);
    test_pass(w.l, 20);
    fake_http_start(&w.f, w.l, w.path);
    say(&w, DOWN_FOR("a", "exitcode 0", "0") LIVE);
    assert_true(test_run(w.l, is_started, &w, 3000));
    end(&w);
}

/* Down for longer than its agent was away: its container is the same one. */
static void an_order_outlives_the_agent(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    say(&w, UP("a") LIVE);
    say(&w, DOWN_FOR("a", "exitcode 0", "0"));
    db_healthy = vm_address = true;
    fake_http_stop(&w.f);
    test_pass(w.l, 60);
    fake_http_start(&w.f, w.l, w.path);
    say(&w, DOWN_FOR("a", "exitcode 0", "9") LIVE);
    assert_int_equal(starts(&w), 0);
    end(&w);
}

static void orders(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    say(&w, DOWN("a") LIVE);
    assert_true(held(&w).run);
    service_order_told(w.o, SLICE_LIT("robot"), SLICE_LIT("a"), false);
    db_healthy = vm_address = true;
    test_pass(w.l, 60);
    assert_int_equal(starts(&w), 0); /* somebody wants it down */
    assert_false(held(&w).run);
    service_order_told(w.o, SLICE_LIT("robot"), SLICE_LIT("a"), true);
    say(&w, UP("a"));
    service_order_told(w.o, SLICE_LIT("robot"), SLICE_LIT("a"), false);
    assert_false(held(&w).held); /* still up */
    end(&w);

    struct world v = {.stopped = true};
    begin(&v);
    say(&v, DOWN("a") LIVE);
    assert_true(held(&v).held && !held(&v).run);
    db_healthy = vm_address = true;
    test_pass(v.l, 60);
    assert_int_equal(starts(&v), 0);
    assert_false(held(&v).held);
    assert_string_equal(events(&v), "");
    end(&v);

    struct world u = {.no_engine = true};
    begin(&u);
    say(&u, DOWN("a") LIVE);
    assert_string_equal(held(&u).waits_for, "\"db\", but this machine keeps no workloads");
    end(&u);
}

static bool asked_again(void *ctx)
{
    return starts(ctx) >= 2;
}

static void failures(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    w.status = 500;
    db_healthy = vm_address = true;
    say(&w, DOWN("a") LIVE);
    assert_int_equal(starts(&w), 1);
    assert_non_null(strstr(events(&w), "failed: "));
    assert_non_null(strstr(held(&w).failure, "500"));
    w.status = 200;
    assert_true(test_run(w.l, asked_again, &w, 3000)); /* after a second */
    test_pass(w.l, 500);                               /* the order was taken, but nothing came */
    assert_non_null(strstr(events(&w), "failed: it was started, and did not come up;"));
    say(&w, UP("a"));
    assert_string_equal(held(&w).failure, "");
    end(&w);

    /* It goes while an order is under way. */
    struct world v = {.status = 0};
    begin(&v);
    v.status = 0;
    db_healthy = vm_address = true;
    say(&v, DOWN("a") LIVE);
    assert_int_equal(starts(&v), 1);
    end(&v);

    struct world u = {0};
    begin(&u);
    service_order_stop(u.o);
    db_healthy = vm_address = true;
    say(&u, DOWN("a") LIVE);
    assert_int_equal(starts(&u), 0);
    end(&u);
}

/* Other rules take the place of these: what is known of a service that both have stays. */
static void taken_over(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    say(&w, DOWN("a") LIVE);
    assert_true(held(&w).held && held(&w).run);
    service_order_told(w.o, SLICE_LIT("robot"), SLICE_LIT("a"), false); /* it is to stay down */
    struct service_order *old = w.o;
    order(&w);
    service_order_take(w.o, old);
    service_order_free(old);
    db_healthy = vm_address = true;
    test_pass(w.l, 100);
    assert_int_equal(starts(&w), 0);
    service_order_take(NULL, w.o);
    service_order_take(w.o, NULL);
    /* One that is not known yet begins as at the start: nobody has said that it is to be down. */
    old = w.o;
    order(&w);
    service_order_free(old);
    test_pass(w.l, 100);
    assert_int_equal(starts(&w), 1);
    end(&w);
}

/* Its agent was away before somebody stopped it: that is no reason after a reload, either. */
static void an_old_loss_is_over(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    say(&w, UP("a") LIVE);
    fake_http_stop(&w.f);
    test_pass(w.l, 60);
    fake_http_start(&w.f, w.l, w.path);
    say(&w, UP("a") LIVE);
    say(&w, DOWN_FOR("a", "exitcode 0", "0"));
    db_healthy = vm_address = true;
    struct service_order *old = w.o;
    order(&w);
    service_order_take(w.o, old);
    service_order_free(old);
    test_pass(w.l, 100);
    assert_int_equal(starts(&w), 0);
    end(&w);
}

static void no_memory(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    service_order_free(w.o);
    w.o = NULL;
    for (uint64_t n = 1;; n++) {
        static const struct service_need need = {"db", DOC_DEPENDS_HEALTHY};
        const struct service_rule rule = {"robot", "a", &need, 1, true};
        const struct service_order_options o = {
            .loop = w.l, .agents = w.set, .watch = w.w, .engine = (void *)&w, .hub = w.hub};
        struct err e = {0};
        struct service_order *made = NULL;
        mem_fail_at(n, false);
        int rc = service_order_new(&made, &o, &rule, 1, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || (rc == ERR_NO_MEMORY && e.code == rc && made == NULL));
        service_order_free(made);
        if (!hit)
            break;
    }
    order(&w);
    say(&w, DOWN("a") LIVE);
    db_healthy = vm_address = true;
    for (uint64_t n = 1; n < 40; n++) {
        mem_fail_at(n, false);
        test_pass(w.l, 15);
        mem_fail_at(0, false);
    }
    assert_true(test_run(w.l, asked_again, &w, 100) || starts(&w) >= 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_and_is_started),
        cmocka_unit_test(what_is_up_stays),
        cmocka_unit_test(what_goes_and_comes_unseen),
        cmocka_unit_test(an_order_outlives_the_agent),
        cmocka_unit_test(orders),
        cmocka_unit_test(failures),
        cmocka_unit_test(taken_over),
        cmocka_unit_test(an_old_loss_is_over),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
