/* Live logs: a following agent, an old one that is polled, and what happens when they go. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake_http.h"
#include "service/log_hub.h"
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
    struct agent_set *set;
    struct agent *a;
    struct log_hub *h;
    bool old_agent, no_answer;
    int status;     /* of the answer, if not 200 */
    char log[4000]; /* the old agent's file */
    size_t log_len;
};

static const char JSON[] = "application/json";

static void answer_old(struct world *w, struct exchange *x, const char *line)
{
    char body[5000];
    const char *cursor = strstr(line, "cursor=");
    size_t from = cursor != NULL ? strtoul(cursor + 7, NULL, 10) : 0;
    if (from > w->log_len)
        from = w->log_len;
    snprintf(body, sizeof(body), "{\"service\":\"x\",\"logs\":\"%.*s\",\"cursor\":%zu}",
             (int)(w->log_len - from), w->log + from, w->log_len);
    fake_http_reply(x, 200, JSON, body);
}

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    struct world *w = f->ctx;
    if (w->no_answer)
        exchange_abort(x);
    else if (w->status != 0)
        fake_http_reply(x, w->status, JSON, "{\"error\":\"agent says no\"}");
    else if (w->old_agent)
        answer_old(w, x, line);
    else
        fake_http_stream(f, x, "text/event-stream; charset=utf-8");
}

/* --- viewers --- */

struct viewer {
    struct log_view *v;
    char text[4000];
    size_t len;
    int texts, errors;
    char error[600];
    char cursor[64];
    struct viewer *close_other; /* closes that one when told something */
    bool close_self;
    void *shared;
};

static int shared_frees;

static void shared_free(void *p BASE_UNUSED)
{
    shared_frees++;
}

static void on_event(void *ctx, const struct log_event *ev)
{
    struct viewer *v = ctx;
    assert_non_null(v->v);
    snprintf(v->cursor, sizeof(v->cursor), "%.*s", (int)ev->cursor.len,
             ev->cursor.p != NULL ? ev->cursor.p : "");
    if (*ev->shared == NULL) {
        *ev->shared = v;
        *ev->shared_free = shared_free;
    }
    v->shared = *ev->shared;
    if (ev->kind != LOG_EVENT_TEXT) {
        v->errors++;
        snprintf(v->error, sizeof(v->error), "%.*s", (int)ev->text.len, ev->text.p);
    } else {
        v->texts++;
        assert_true(ev->text.len > 0 && v->len + ev->text.len < sizeof(v->text));
        memcpy(v->text + v->len, ev->text.p, ev->text.len);
        v->len += ev->text.len;
        v->text[v->len] = '\0';
    }
    if (v->close_other != NULL)
        log_view_close(STEAL(v->close_other->v));
    if (v->close_self)
        log_view_close(STEAL(v->v));
}

static void view_more(struct world *w, struct viewer *v, const char *service, int64_t tail,
                      const char *cursor)
{
    struct err e = {0};
    int rc =
        log_hub_view(w->h, w->a, slice_of(service), tail, slice_of(cursor), on_event, v, &v->v, &e);
    assert_int_equal(rc, 0);
    assert_int_equal(v->texts + v->errors, 0);
}

static void view(struct world *w, struct viewer *v)
{
    view_more(w, v, "x", 100, "");
}

struct expect {
    struct world *w;
    struct viewer *v;
    const char *text;
    int errors;
    size_t lines, kept;
};

static bool reached(void *ctx)
{
    struct expect *x = ctx;
    if (x->text != NULL && strcmp(x->v->text, x->text) != 0)
        return false;
    if (x->v != NULL && x->v->errors < x->errors)
        return false;
    return x->w->f.n_lines >= x->lines && x->w->f.n_kept >= x->kept;
}

static void expect_text(struct world *w, struct viewer *v, const char *text)
{
    struct expect x = {.w = w, .v = v, .text = text};
    if (!test_run(w->l, reached, &x, 6000))
        fail_msg("got \"%s\", wanted \"%s\"", v->text, text);
}

static void expect_lines(struct world *w, size_t n)
{
    struct expect x = {.w = w, .lines = n};
    assert_true(test_run(w->l, reached, &x, 6000));
}

static void expect_stream(struct world *w)
{
    struct expect x = {.w = w, .kept = 1};
    assert_true(test_run(w->l, reached, &x, 6000));
}

static void expect_error(struct world *w, struct viewer *v, const char *text)
{
    struct expect x = {.w = w, .v = v, .errors = 1};
    assert_true(test_run(w->l, reached, &x, 6000));
    assert_string_equal(v->error, text);
}

static void send_event(struct world *w, const char *text, const char *cursor)
{
    char event[1000];
    snprintf(event, sizeof(event),
             "event: logs\nid: %s\ndata: {\"logs\":\"%s\",\"cursor\":\"%s\"}\n\n", cursor, text,
             cursor);
    assert_true(w->f.n_kept > 0);
    fake_http_send(w->f.kept[0], event);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_log_hub.%d", (int)getpid());
    w->l = test_loop();
    w->f.answer = answer;
    w->f.ctx = w;
    fake_http_start(&w->f, w->l, path);
    assert_int_equal(agent_set_new(&w->set, w->l, &(struct agent_set_options){0}, NULL), 0);
    struct agent_options o = {.name = "fake", .socket_path = w->f.path};
    assert_int_equal(agent_set_add(w->set, &o, NULL), 0);
    w->a = agent_set_at(w->set, 0);
    assert_int_equal(log_hub_new(&w->h, w->l, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(log_hub_upstreams(w->h), 0);
    log_hub_free(w->h);
    agent_set_free(w->set);
    fake_http_stop(&w->f);
    fake_http_done(&w->f);
    test_loop_free(w->l);
    free(w);
    return 0;
}

/* --- tests --- */

static void follow_shared(void **state)
{
    struct world *w = *state;
    struct viewer v[3] = {0};
    view(w, &v[0]);
    expect_stream(w);
    assert_string_equal(w->f.lines[0], "GET /services/x/logs?tail=100&follow=true");
    send_event(w, "one\\ntwo\\n", "c1");
    expect_text(w, &v[0], "one\ntwo\n");
    assert_string_equal(v[0].cursor, "c1");
    /* A second viewer starts at once from what is kept, in one text. */
    view(w, &v[1]);
    expect_text(w, &v[1], "one\ntwo\n");
    assert_int_equal(v[1].texts, 1);
    /* One that joins in the moment of a new line gets it once. */
    view(w, &v[2]);
    send_event(w, "three\\n", "c2");
    expect_text(w, &v[2], "one\ntwo\nthree\n");
    expect_text(w, &v[0], "one\ntwo\nthree\n");
    expect_text(w, &v[1], "one\ntwo\nthree\n");
    shared_frees = 0;
    send_event(w, "four\\n", "c3");
    expect_text(w, &v[2], "one\ntwo\nthree\nfour\n");
    assert_ptr_equal(v[0].shared, v[2].shared);
    assert_int_equal(shared_frees, 1);
    assert_int_equal(w->f.n_lines, 1);
    assert_int_equal(log_hub_upstreams(w->h), 1);
    /* The last one to leave ends the upstream. */
    log_view_close(v[0].v);
    log_view_close(v[1].v);
    assert_int_equal(log_hub_upstreams(w->h), 1);
    log_view_close(v[2].v);
    assert_int_equal(log_hub_upstreams(w->h), 0);
    test_pass(w->l, 50);
    assert_int_equal(w->f.n_kept, 0);
}

static void follow_resumes(void **state)
{
    struct world *w = *state;
    struct viewer v = {0};
    view(w, &v);
    expect_stream(w);
    send_event(w, "one\\n", "a+b/1");
    expect_text(w, &v, "one\n");
    exchange_abort(w->f.kept[0]);
    expect_lines(w, 2);
    assert_string_equal(w->f.lines[1], "GET /services/x/logs?cursor=a%2Bb%2F1&follow=true");
    expect_stream(w);
    fake_http_send(w->f.kept[0], ": ping\n\nevent: gap\nid: g\ndata: {}\n\n");
    send_event(w, "two\\n", "c2");
    expect_text(w, &v, "one\ntwo\n");
    assert_int_equal(v.errors, 0);
    /* An event that is none: begin again from the last cursor. */
    fake_http_send(w->f.kept[0], "event: logs\ndata: nonsense\n\n");
    expect_lines(w, 3);
    assert_string_equal(w->f.lines[2], "GET /services/x/logs?cursor=c2&follow=true");
    log_view_close(v.v);
}

static void own_cursor_and_tail(void **state)
{
    struct world *w = *state;
    struct viewer v[4] = {0};
    view_more(w, &v[0], "x", 100, "");
    view_more(w, &v[1], "x", 5, "");
    view_more(w, &v[2], "x", 100, "t 1");
    view_more(w, &v[3], "y", 99999, "");
    expect_lines(w, 4);
    assert_int_equal(log_hub_upstreams(w->h), 4);
    assert_int_equal(fake_http_count(&w->f, "GET /services/x/logs?tail=100&follow=true"), 1);
    assert_int_equal(fake_http_count(&w->f, "GET /services/x/logs?tail=5&follow=true"), 1);
    assert_int_equal(fake_http_count(&w->f, "GET /services/x/logs?cursor=t%201&follow=true"), 1);
    assert_int_equal(fake_http_count(&w->f, "GET /services/y/logs?tail=10000&follow=true"), 1);
    struct log_view *none = NULL;
    char overlong[300];
    memset(overlong, 'a', sizeof(overlong));
    assert_int_equal(log_hub_view(w->h, w->a, SLICE_LIT("x"), 1,
                                  (struct slice){overlong, sizeof(overlong)}, on_event, NULL, &none,
                                  NULL),
                     ERR_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        log_view_close(v[i].v);
}

static void old_agent_is_polled(void **state)
{
    struct world *w = *state;
    struct viewer v[2] = {0};
    w->old_agent = true;
    w->log_len = (size_t)snprintf(w->log, sizeof(w->log), "first");
    view(w, &v[0]);
    expect_text(w, &v[0], "first");
    view(w, &v[1]);
    expect_text(w, &v[1], "first");
    w->log_len += (size_t)snprintf(w->log + w->log_len, sizeof(w->log) - w->log_len, " second");
    expect_text(w, &v[0], "first second");
    expect_text(w, &v[1], "first second");
    assert_string_equal(w->f.lines[1], "GET /services/x/logs?cursor=5");
    assert_string_equal(v[0].cursor, "12");
    /* Truncated: what the file holds now is sent from its start. */
    w->log_len = (size_t)snprintf(w->log, sizeof(w->log), "new");
    expect_text(w, &v[0], "first secondnew");
    size_t before = w->f.n_lines;
    uint64_t began = clock_mono_ms(&clock_system);
    test_pass(w->l, 1300);
    expect_lines(w, before + 2);
    /* For both viewers together: one in POLL_MS, and one at the beginning. */
    assert_true(w->f.n_lines - before <= (clock_mono_ms(&clock_system) - began) / 500 + 1);
    /* Away for a while, then from the last cursor. */
    w->no_answer = true;
    expect_lines(w, w->f.n_lines + 2); /* the client tries a used connection twice */
    test_pass(w->l, 50);
    w->no_answer = false;
    w->log_len += (size_t)snprintf(w->log + w->log_len, sizeof(w->log) - w->log_len, "er");
    expect_text(w, &v[0], "first secondnewer");
    assert_int_equal(fake_http_count(&w->f, "GET /services/x/logs?cursor=3&follow=true"), 1);
    assert_int_equal(v[0].errors, 0);
    log_view_close(v[0].v);
    log_view_close(v[1].v);
    before = w->f.n_lines;
    test_pass(w->l, 700);
    assert_int_equal(w->f.n_lines, before);
}

static void first_fetch_fails(void **state)
{
    struct world *w = *state;
    struct viewer v[2] = {0};
    w->no_answer = true;
    view(w, &v[0]);
    expect_error(w, &v[0],
                 "Failed to fetch initial logs: Server disconnected without sending a response.");
    view(w, &v[1]);
    expect_error(w, &v[1],
                 "Failed to fetch initial logs: Server disconnected without sending a response.");
    w->no_answer = false;
    w->old_agent = true;
    w->log_len = (size_t)snprintf(w->log, sizeof(w->log), "here");
    expect_text(w, &v[0], "here");
    expect_text(w, &v[1], "here");
    assert_int_equal(v[0].errors, 1);
    assert_int_equal(v[1].errors, 1);
    log_view_close(v[0].v);
    log_view_close(v[1].v);
}

static void refusals(void **state)
{
    struct world *w = *state;
    struct viewer v = {0}, dots = {0}, old = {0};
    w->status = 404;
    view(w, &v);
    expect_error(w, &v,
                 "Failed to fetch initial logs: Client error '404 Not Found' for url "
                 "'http://agent/services/x/logs?tail=100&follow=true'\n"
                 "For more information check: https://httpstatuses.com/404\nagent says no");
    log_view_close(v.v);
    size_t before = w->f.n_lines;
    view_more(w, &dots, "..", 100, "");
    expect_error(w, &dots,
                 "Failed to fetch initial logs: Client error '404 Not Found' for url "
                 "'http://agent/services/../logs?tail=100&follow=true'\n"
                 "For more information check: https://httpstatuses.com/404");
    assert_int_equal(w->f.n_lines, before);
    log_view_close(dots.v);
    /* A cursor that the agent does not take: told, then the tail. */
    w->status = 422;
    view_more(w, &old, "x", 100, "stale");
    expect_error(w, &old,
                 "Failed to fetch initial logs: Client error '422 Unprocessable Content' for url "
                 "'http://agent/services/x/logs?cursor=stale&follow=true'\n"
                 "For more information check: https://httpstatuses.com/422\nagent says no");
    w->status = 0;
    expect_stream(w);
    assert_int_equal(fake_http_count(&w->f, "GET /services/x/logs?tail=100&follow=true"), 2);
    log_view_close(old.v);
}

/* An agent that follows, and then says why it cannot. */
static void error_event(void **state)
{
    struct world *w = *state;
    struct viewer v[2] = {0};
    log_hub_set_times(w->h, 500, 50);
    view(w, &v[0]);
    expect_stream(w);
    fake_http_send(w->f.kept[0],
                   "event: error\ndata: {\"error\":\"no such folder\",\"code\":\"not-found\"}\n\n");
    expect_error(w, &v[0], "Failed to fetch initial logs: no such folder");
    expect_lines(w, 2);
    expect_stream(w);
    send_event(w, "one\\n", "c1");
    expect_text(w, &v[0], "one\n");
    /* Once there was text, failures are waited out. */
    fake_http_send(w->f.kept[0], "event: error\ndata: {\"error\":\"gone\"}\n\n");
    expect_lines(w, 3);
    assert_string_equal(w->f.lines[2], "GET /services/x/logs?cursor=c1&follow=true");
    assert_int_equal(v[0].errors, 1);
    log_view_close(v[0].v);
}

static void closing_inside(void **state)
{
    struct world *w = *state;
    struct viewer v[4] = {0};
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        view(w, &v[i]);
    expect_stream(w);
    v[0].close_self = true;
    v[1].close_other = &v[2];
    send_event(w, "one\\n", "c1");
    expect_text(w, &v[3], "one\n");
    assert_int_equal(v[0].texts, 1);
    assert_int_equal(v[2].texts, 0);
    v[1].close_other = &v[3];
    v[1].close_self = true;
    send_event(w, "two\\n", "c2");
    expect_text(w, &v[1], "one\ntwo\n");
    assert_int_equal(v[3].texts, 1);
    assert_int_equal(log_hub_upstreams(w->h), 0);
    /* Closed before the first text came from the loop; and by its own first text. */
    struct viewer a = {0}, b = {0}, c = {.close_self = true}, d = {0};
    view(w, &a);
    expect_stream(w);
    test_pass(w->l, 20);
    send_event(w, "x\\n", "c1");
    expect_text(w, &a, "x\n");
    view(w, &b);
    log_view_close(b.v);
    view(w, &c);
    expect_text(w, &c, "x\n");
    view(w, &d);
    log_view_close(a.v);
    log_view_close(d.v); /* the last one, its first text still to come */
    test_pass(w->l, 20);
    assert_int_equal(b.texts + d.texts, 0);
}

/* The agent leaves: those who follow, who have just joined and who poll are told; who does not
 * close the view stays silent. */
static void agent_gone(void **state)
{
    struct world *w = *state;
    struct viewer v[4] = {0};
    view(w, &v[0]);
    expect_stream(w);
    send_event(w, "one\\n", "c1");
    expect_text(w, &v[0], "one\n");
    view(w, &v[1]); /* its first text is still to come */
    view_more(w, &v[2], "y", 7, "");
    view_more(w, &v[3], "z", 7, "");
    v[0].close_self = v[1].close_self = v[2].close_self = true;
    log_hub_agent_gone(w->h, w->a, SLICE_LIT("it has left"));
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        assert_int_equal(v[i].errors, 1);
        assert_string_equal(v[i].error, "it has left");
    }
    assert_int_equal(log_hub_upstreams(w->h), 1);
    log_hub_agent_gone(w->h, w->a, SLICE_LIT("again"));
    test_pass(w->l, 200);
    assert_int_equal(v[1].texts, 0);
    assert_int_equal(v[3].errors + v[3].texts, 1);
    log_view_close(v[3].v);
    assert_int_equal(log_hub_upstreams(w->h), 0);
}

static void many_viewers(void **state)
{
    enum { N = 1000 };
    struct world *w = *state;
    struct viewer *v = calloc(N, sizeof(*v));
    for (size_t i = 0; i < N; i++)
        view(w, &v[i]);
    expect_stream(w);
    for (int i = 0; i < 10; i++)
        send_event(w, "a line\\n", "c");
    struct expect x = {
        .w = w,
        .v = &v[N - 1],
        .text = "a line\na line\na line\na line\na line\na line\na line\na line\na line\na line\n"};
    assert_true(test_run(w->l, reached, &x, 5000));
    for (size_t i = 0; i < N; i++) {
        assert_string_equal(v[i].text, x.text);
        log_view_close(v[i].v);
    }
    assert_int_equal(w->f.n_lines, 1);
    free(v);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(follow_shared),       CASE(follow_resumes),    CASE(own_cursor_and_tail),
        CASE(old_agent_is_polled), CASE(first_fetch_fails), CASE(refusals),
        CASE(closing_inside),      CASE(agent_gone),        CASE(many_viewers),
        CASE(error_event),
    };
    return cmocka_run_group_tests_name("log_hub", tests, NULL, NULL);
}
