/* States of services: an agent that is followed, an old one that is asked, and what becomes of them
 * when agents go, come back, or send rubbish. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake_http.h"
#include "service/service_watch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *l;
    struct fake_http f;
    char path[100];
    struct agent_set *set;
    struct event_hub *hub;
    struct event_reader *reader;
    struct service_watch *w;
    bool old_agent;
    const char *statuses; /* of the old agent */
    char seen[4000];      /* events: "name type from>to reason;" */
};

#define UP(name, pid)                                                                              \
    "{\"name\":\"" name "\",\"raw\":\"up (pid " pid ") 3 seconds\",\"is_up\":true,"                \
    "\"pid\":" pid ",\"uptime_seconds\":3}"
#define DOWN(name, how)                                                                            \
    "{\"name\":\"" name "\",\"raw\":\"down (" how ") 1 seconds, normally up\","                    \
    "\"is_up\":false,\"pid\":null,\"uptime_seconds\":1}"
#define STATUS(v) "event: status\ndata: " v "\n\n"
#define LIVE "event: live\ndata: {}\n\n"

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    if (strcmp(line, "GET /services/events") == 0 && w->old_agent)
        fake_http_reply(x, 405, "application/json", "{\"detail\":\"Method Not Allowed\"}");
    else if (strcmp(line, "GET /services/events") == 0)
        fake_http_stream(f, x, "text/event-stream");
    else
        fake_http_reply(x, 200, "application/json", w->statuses);
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

static void begin(struct world *w)
{
    struct err e = {0};
    w->l = test_loop();
    snprintf(w->path, sizeof(w->path), "/tmp/gantry-watch-%d.sock", (int)getpid());
    w->f.answer = answer;
    w->f.ctx = w;
    fake_http_start(&w->f, w->l, w->path);
    const struct agent_set_options o = {0};
    const struct event_options eo = {0};
    const struct agent_options a = {.name = "robot", .socket_path = w->path};
    assert_int_equal(agent_set_new(&w->set, w->l, &o, &e), 0);
    assert_int_equal(agent_set_add(w->set, &a, &e), 0);
    assert_int_equal(event_hub_new(&w->hub, &clock_system, &eo, &e), 0);
    assert_int_equal(service_watch_new(&w->w, w->l, w->hub, &e), 0);
    service_watch_set_times(w->w, 30, 20);
    assert_int_equal(service_watch_sync(w->w, w->set, &e), 0);
    assert_int_equal(service_watch_sync(w->w, w->set, &e), 0); /* not twice */
}

static void read_events(struct world *w)
{
    struct err e = {0};
    const struct event_filter all = {0};
    assert_int_equal(event_reader_new(&w->reader, w->hub, &all, SLICE_LIT(""), no_wake, NULL, &e),
                     0);
}

static void end(struct world *w)
{
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

static void add(struct buf *b, const json_t *v, const char *key)
{
    const char *s = json_get_str(v, key);
    buf_adds(b, s != NULL ? s : "-");
}

static const char *events(struct world *w)
{
    struct buf b = BUF_FIXED(w->seen);
    struct event_seen ev;
    while (event_next(w->reader, &ev) == 0) {
        json_t *v = json_parse(ev.json, NULL, NULL);
        assert_non_null(v);
        static const char *const keys[] = {"name", "type", "from", "to", "reason"};
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            add(&b, v, keys[i]);
            buf_addc(&b, i + 1 < ARRAY_LEN(keys) ? ' ' : ';');
        }
        json_decref(v);
    }
    return w->seen;
}

static bool is_connected(void *ctx)
{
    return ((struct world *)ctx)->f.n_kept > 0;
}

static void say(struct world *w, const char *text)
{
    assert_true(test_run(w->l, is_connected, w, 3000));
    fake_http_send(w->f.kept[0], text);
    test_pass(w->l, 30);
}

static int count_stale(void *ctx, const struct service_seen *s)
{
    *(int *)ctx += s->stale;
    return 0;
}

static int stale(struct world *w)
{
    int n = 0;
    assert_int_equal(service_watch_each(w->w, 0, count_stale, &n), 0);
    return n;
}

static void a_followed_agent(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    read_events(&w);
    say(&w, STATUS(UP("a", "5")) STATUS(DOWN("b", "exitcode 0")));
    assert_int_equal(stale(&w), 2); /* not all of it has been told */
    say(&w, LIVE);
    assert_int_equal(stale(&w), 0);
    assert_string_equal(events(&w), "robot/a appeared - up -;robot/b appeared - down -;");
    say(&w, STATUS(UP("a", "5"))); /* the same is no news */
    assert_string_equal(events(&w), "");
    say(&w, STATUS(DOWN("a", "signal SIGKILL")) STATUS(UP("a", "6")) STATUS(UP("a", "7")));
    assert_string_equal(events(&w), "robot/a state up down signal SIGKILL;robot/a state down up -;"
                                    "robot/a state up up restart;");
    say(&w, STATUS(DOWN("a", "exitcode 7")) "event: removed\ndata: {\"name\":\"b\"}\n\n");
    assert_string_equal(events(&w), "robot/a state up down exitcode 7;robot/b removed down - -;");
    assert_int_equal(service_watch_count(w.w), 1);
    end(&w);
}

static void an_agent_that_comes_back(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    read_events(&w);
    say(&w, STATUS(UP("a", "5")) STATUS(UP("b", "6")) LIVE);
    (void)events(&w);
    fake_http_stop(&w.f);
    test_pass(w.l, 60);
    assert_int_equal(stale(&w), 2);
    assert_string_equal(events(&w), ""); /* nothing is known, so nothing is said */
    fake_http_start(&w.f, w.l, w.path);
    say(&w, STATUS(DOWN("a", "exitcode 1")) LIVE);
    assert_string_equal(events(&w), "robot/a state up down exitcode 1;robot/b removed up - -;");
    assert_int_equal(stale(&w), 0);
    service_watch_agent_gone(w.w, agent_set_at(w.set, 0));
    assert_string_equal(events(&w), "robot/a removed down - -;");
    assert_int_equal(service_watch_count(w.w), 0);
    end(&w);
}

static bool asked_twice(void *ctx)
{
    return fake_http_count(&((struct world *)ctx)->f, "GET /services/status") >= 2;
}

static void an_old_agent(void **state)
{
    (void)state;
    struct world w = {.old_agent = true, .statuses = "{\"statuses\":[" UP("a", "5") ",{},7]}"};
    begin(&w);
    test_pass(w.l, 150);
    assert_int_equal(fake_http_count(&w.f, "GET /services/status"), 0); /* nobody reads */
    read_events(&w);
    service_watch_wake(w.w);
    assert_true(test_run(w.l, asked_twice, &w, 3000));
    assert_string_equal(events(&w), "robot/a appeared - up -;");
    w.statuses = "{\"statuses\":[" DOWN("a", "exitcode 3") "]}";
    test_pass(w.l, 100);
    assert_string_equal(events(&w), "robot/a state up down exitcode 3;");
    w.statuses = "{\"statuses\":[]}";
    test_pass(w.l, 100);
    assert_string_equal(events(&w), "robot/a removed down - -;");
    event_reader_free(STEAL(w.reader));
    test_pass(w.l, 60);
    size_t n = fake_http_count(&w.f, "GET /services/status");
    test_pass(w.l, 150);
    assert_int_equal(fake_http_count(&w.f, "GET /services/status"), n);
    end(&w);
}

static void rubbish(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "event: status\ndata: {\n\n", "event: status\ndata: []\n\n",
        "event: error\ndata: {\"error\":\"no\",\"code\":\"slow\"}\n\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct world w = {0};
        begin(&w);
        read_events(&w);
        say(&w, texts[i]); /* begins anew */
        say(&w, STATUS(UP("a", "5")) "event: new\ndata: x\n\n" STATUS("{\"name\":\"../x\"}") LIVE);
        assert_string_equal(events(&w), "robot/a appeared - up -;");
        end(&w);
    }
}

static void no_memory(void **state)
{
    (void)state;
    struct world w = {0};
    begin(&w);
    read_events(&w);
    say(&w, STATUS(UP("a", "5")) LIVE);
    for (uint64_t n = 1; n < 60; n++) {
        mem_fail_at(n, false);
        if (w.f.n_kept > 0)
            fake_http_send(w.f.kept[0],
                           STATUS(DOWN("a", "exitcode 1"))
                               STATUS(UP("b", "9")) "event: removed\ndata: {\"name\":\"b\"}\n\n");
        test_pass(w.l, 5);
        mem_fail_at(0, false);
        test_pass(w.l, 30);
    }
    /* Whatever failed: the next whole telling is the truth. */
    (void)events(&w);
    say(&w, STATUS(UP("a", "8")) LIVE);
    int n = 0;
    assert_int_equal(service_watch_each(w.w, 0, count_stale, &n), 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_followed_agent), cmocka_unit_test(an_agent_that_comes_back),
        cmocka_unit_test(an_old_agent),     cmocka_unit_test(rubbish),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
