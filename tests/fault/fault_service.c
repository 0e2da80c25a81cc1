/* Agents and live logs while the n-th allocation fails: calls end exactly once, and views recover.
 */
#include "base/mem.h"
#include "base/str.h"
#include "fake_http.h"
#include "service/agent.h"
#include "service/log_hub.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VIEWS = 3 };

struct view_slot {
    struct log_view *v;
    int texts, errors;
};

struct world {
    struct loop *l;
    struct fake_http f;
    struct agent_set *set;
    struct agent *a;
    struct log_hub *h;
    bool old_agent;
    bool due;
    int code;
    struct view_slot views[VIEWS];
};

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    if (strstr(line, "/logs") == NULL)
        fake_http_reply(x, 200, "application/json", "{\"name\":\"x\"}");
    else if (w->old_agent || strstr(line, "follow=true") == NULL)
        fake_http_reply(x, 200, "application/json", "{\"logs\":\"a line\\n\",\"cursor\":7}");
    else {
        fake_http_stream(f, x, "text/event-stream");
        fake_http_send(x,
                       "event: logs\nid: c1\ndata: {\"logs\":\"a line\\n\",\"cursor\":\"c1\"}\n\n");
    }
}

static void on_answer(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *j)
{
    struct world *w = ctx;
    assert_true(w->due);
    assert_int_equal(j != NULL, e->code == 0);
    w->due = false;
    w->code = e->code;
}

static void on_event(void *ctx, const struct log_event *ev)
{
    struct view_slot *s = ctx;
    assert_non_null(s->v);
    if (ev->kind == LOG_EVENT_TEXT)
        s->texts++;
    else
        s->errors++;
}

static bool ended(void *ctx)
{
    return !((struct world *)ctx)->due;
}

/* Every view that could be opened has its text. */
static bool told(void *ctx)
{
    struct world *w = ctx;
    for (int i = 0; i < VIEWS; i++)
        if (w->views[i].v != NULL && w->views[i].texts == 0)
            return false;
    return true;
}

static bool told_anything(void *ctx)
{
    struct world *w = ctx;
    for (int i = 0; i < VIEWS; i++)
        if (w->views[i].v != NULL && w->views[i].texts + w->views[i].errors == 0)
            return false;
    return true;
}

static int open_all(struct world *w)
{
    static const struct agent_label labels[] = {{"x", "X"}, {"y", "Y"}};
    struct agent_set_options so = {.answer_ms = 500};
    struct agent_options o = {
        .name = "fake", .socket_path = w->f.path, .labels = labels, .n_labels = 2};
    int rc = agent_set_new(&w->set, w->l, &so, NULL);
    if (rc == 0)
        rc = agent_set_add(w->set, &o, NULL);
    if (rc == 0)
        rc = log_hub_new(&w->h, w->l, NULL);
    if (rc != 0)
        return rc;
    log_hub_set_times(w->h, 20, 20);
    w->a = agent_set_at(w->set, 0);
    struct agent_request r = {
        .method = HTTP_METHOD_GET, .service = SLICE_LIT("x"), .tail = "/status"};
    w->due = agent_call(w->a, &r, on_answer, w, NULL) == 0;
    for (int i = 0; i < VIEWS; i++) {
        w->views[i] = (struct view_slot){0};
        (void)log_hub_view(w->h, w->a, SLICE_LIT("x"), i == 2 ? 5 : 100, (struct slice){NULL, 0},
                           on_event, &w->views[i], &w->views[i].v, NULL);
    }
    return 0;
}

static void close_all(struct world *w)
{
    for (int i = 0; i < VIEWS; i++)
        log_view_close(STEAL(w->views[i].v));
    if (w->h != NULL)
        assert_int_equal(log_hub_upstreams(w->h), 0);
    log_hub_free(STEAL(w->h));
    agent_set_free(STEAL(w->set));
    test_pass(w->l, 2);
}

static bool one_round(struct world *w, uint64_t n)
{
    mem_fail_at(n, false);
    int rc = open_all(w);
    if (rc == 0) {
        assert_true(test_run(w->l, ended, w, 10000));
        assert_true(test_run(w->l, told_anything, w, 10000));
    }
    bool hit = mem_fail_hit();
    mem_fail_at(0, false);
    assert_true(rc == 0 || hit);
    if (rc == 0)
        assert_true(test_run(w->l, told, w, 10000)); /* after one retry at the latest */
    close_all(w);
    return hit;
}

static void rounds(bool old_agent)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/fault_service.%d", (int)getpid());
    w->l = test_loop();
    w->f.answer = answer;
    w->f.ctx = w;
    w->old_agent = old_agent;
    fake_http_start(&w->f, w->l, path);
    uint64_t n = 1;
    while (one_round(w, n) && n < 3000) {
        n++;
        fake_http_done(&w->f);
    }
    print_message("%d allocations\n", (int)n);
    assert_true(n > 50 && n < 3000);
    fake_http_stop(&w->f);
    fake_http_done(&w->f);
    test_loop_free(w->l);
    free(w);
}

static void following(void **state BASE_UNUSED)
{
    rounds(false);
}

static void polling(void **state BASE_UNUSED)
{
    rounds(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(following), cmocka_unit_test(polling)};
    return cmocka_run_group_tests_name("fault_service", tests, NULL, NULL);
}
