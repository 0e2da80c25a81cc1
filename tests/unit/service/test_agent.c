/* Calls to agents, against one that misbehaves. */
#include "base/mem.h"
#include "base/str.h"
#include "fake_http.h"
#include "service/agent.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *l;
    struct fake_http f;
    struct agent_set *set;
    struct agent *a;
};

static const char JSON[] = "application/json";

static void answer(struct fake_http *f, struct exchange *x, const char *line)
{
    if (strstr(line, "/e404") != NULL)
        fake_http_reply(x, 404, JSON, "{\"error\":\"Service 'e404' not found\",\"detail\":null}");
    else if (strstr(line, "/e500") != NULL)
        fake_http_reply(x, 500, JSON, "{\"error\":\"boom\"}");
    else if (strstr(line, "/html") != NULL)
        fake_http_reply(x, 200, "text/html", "<html>");
    else if (strstr(line, "/slow") != NULL)
        fake_http_keep(f, x);
    else if (strstr(line, "/hangup") != NULL)
        exchange_abort(x);
    else if (strstr(line, "/redir") != NULL) {
        struct http_header to = {SLICE_LIT("location"),
                                 SLICE_LIT("http://agent/services/empty/status")};
        struct http_response r = {.status = 307, .headers = &to, .n_headers = 1};
        (void)exchange_respond(x, &r, (struct slice){NULL, 0});
    } else {
        const struct http_request *r = exchange_request(x);
        char body[300];
        snprintf(body, sizeof(body), "{\"line\":\"%s\",\"host\":\"%.*s\"}", line, (int)r->host.len,
                 r->host.p);
        fake_http_reply(x, 200, JSON, body);
    }
}

struct got {
    int calls, status;
    struct err e;
    char line[200], host[40];
};

static void on_answer(void *ctx, const struct err *e, int status, json_t *j)
{
    struct got *g = ctx;
    g->calls++;
    g->e = *e;
    g->status = status;
    const char *line = json_get_str(j, "line"), *host = json_get_str(j, "host");
    snprintf(g->line, sizeof(g->line), "%s", line != NULL ? line : "");
    snprintf(g->host, sizeof(g->host), "%s", host != NULL ? host : "");
}

static bool got_one(void *ctx)
{
    return ((struct got *)ctx)->calls > 0;
}

static struct got ask_of(struct world *w, struct agent *a, const char *service, const char *tail)
{
    struct got g = {0};
    struct agent_request r = {
        .method = HTTP_METHOD_GET, .service = slice_of(service), .tail = tail};
    assert_int_equal(agent_call(a, &r, on_answer, &g, NULL), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 10000));
    return g;
}

static struct got ask(struct world *w, const char *service, const char *tail)
{
    return ask_of(w, w->a, service, tail);
}

static int setup(void **state)
{
    static const struct agent_label labels[] = {{"x", "first"}, {"y", "other"}, {"x", "last"}};
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_agent.%d", (int)getpid());
    w->l = test_loop();
    w->f.answer = answer;
    fake_http_start(&w->f, w->l, path);
    struct agent_set_options so = {.answer_ms = 300, .control_ms = 900};
    assert_int_equal(agent_set_new(&w->set, w->l, &so, NULL), 0);
    struct agent_options o = {
        .name = "fake", .socket_path = w->f.path, .labels = labels, .n_labels = 3};
    assert_int_equal(agent_set_add(w->set, &o, NULL), 0);
    w->a = agent_set_find(w->set, SLICE_LIT("fake"));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    agent_set_free(w->set);
    fake_http_stop(&w->f);
    fake_http_done(&w->f);
    test_loop_free(w->l);
    free(w);
    return 0;
}

static void set_and_labels(void **state)
{
    struct world *w = *state;
    struct agent_options again = {.name = "fake", .socket_path = "/x"};
    struct err e;
    assert_int_equal(agent_set_add(w->set, &again, &e), ERR_EXISTS);
    for (int i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof(name), "more%d", i);
        struct agent_options o = {.name = name, .socket_path = "/tmp/none"};
        assert_int_equal(agent_set_add(w->set, &o, NULL), 0);
    }
    assert_int_equal(agent_set_count(w->set), 21);
    assert_string_equal(agent_name(agent_set_at(w->set, 0)), "fake");
    assert_string_equal(agent_name(agent_set_at(w->set, 20)), "more19");
    assert_string_equal(agent_socket(agent_set_at(w->set, 20)), "/tmp/none");
    assert_null(agent_set_find(w->set, SLICE_LIT("nope")));
    assert_true(slice_eqs(agent_label_first(w->a, SLICE_LIT("x")), "first"));
    assert_true(slice_eqs(agent_label_last(w->a, SLICE_LIT("x")), "last"));
    assert_true(slice_eqs(agent_label_last(w->a, SLICE_LIT("z")), "z"));
    assert_true(slice_eqs(agent_label_first(w->a, SLICE_LIT("z")), "z"));
}

static void answers(void **state)
{
    struct world *w = *state;
    struct got g = ask(w, "x", "/status");
    assert_int_equal(g.e.code, 0);
    assert_int_equal(g.status, 200);
    assert_string_equal(g.line, "GET /services/x/status");
    assert_string_equal(g.host, "agent");
    g = ask(w, "a b?", "/status");
    assert_string_equal(g.line, "GET /services/a%20b%3F/status");
    g = ask(w, NULL, "/status");
    assert_string_equal(g.line, "GET /services/status");
    struct got p = {0};
    struct agent_request r = {.method = HTTP_METHOD_POST,
                              .service = SLICE_LIT("x"),
                              .tail = "",
                              .query = SLICE_LIT("a=1"),
                              .body = SLICE_LIT("{\"action\":\"up\"}"),
                              .control = true};
    assert_int_equal(agent_call(w->a, &r, on_answer, &p, NULL), 0);
    assert_true(test_run(w->l, got_one, &p, 3000));
    assert_string_equal(p.line, "POST /services/x?a=1");
}

static void failures(void **state)
{
    struct world *w = *state;
    struct got g = ask(w, "e404", "/status");
    assert_int_equal(g.status, 404);
    assert_int_equal(g.e.code, ERR_NOT_FOUND);
    assert_string_equal(
        g.e.msg,
        "Client error '404 Not Found' for url 'http://agent/services/e404/status'\n"
        "For more information check: https://httpstatuses.com/404\nService 'e404' not found");
    g = ask(w, "e500", "/status");
    assert_int_equal(g.status, 500);
    assert_non_null(strstr(g.e.msg, "Server error '500 Internal Server Error'"));
    g = ask(w, "html", "/status");
    assert_string_equal(g.e.msg, "Expecting value: line 1 column 1 (char 0)");
    g = ask(w, "hangup", "/status");
    assert_string_equal(g.e.msg, "Server disconnected without sending a response.");
    assert_int_equal(g.status, 0);
    g = ask(w, "redir", "/status");
    assert_non_null(strstr(g.e.msg, "Redirect location: 'http://agent/services/empty/status'"));
    g = ask(w, "slow", "/status");
    assert_int_equal(g.e.code, ERR_TIMEOUT);
}

static void refused_names(void **state)
{
    static const char *const bad[] = {"..", ".", "a/b", "", "../../x"};
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct got g = ask(w, bad[i], "/status");
        assert_int_equal(g.e.code, ERR_NOT_FOUND);
        assert_int_equal(g.status, 404);
        assert_non_null(
            strstr(g.e.msg, "Client error '404 Not Found' for url 'http://agent/services/"));
    }
    assert_int_equal(w->f.n_lines, 0);
}

static void nobody_there(void **state)
{
    struct world *w = *state;
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_agent_refused.%d", (int)getpid());
    struct agent_options o = {.name = "none", .socket_path = "/tmp/no-such-folder/sock"};
    assert_int_equal(agent_set_add(w->set, &o, NULL), 0);
    struct got g = ask_of(w, agent_set_find(w->set, SLICE_LIT("none")), "x", "/status");
    assert_string_equal(g.e.msg, "[Errno 2] No such file or directory");
    /* A bound socket that nobody listens on. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    o = (struct agent_options){.name = "refused", .socket_path = path};
    assert_int_equal(agent_set_add(w->set, &o, NULL), 0);
    g = ask_of(w, agent_set_find(w->set, SLICE_LIT("refused")), "x", "/status");
    assert_string_equal(g.e.msg, "[Errno 111] Connection refused");
    close(fd);
    unlink(path);
}

/* A slow action waits longer than a question, and holds up none. */
static void control_waits(void **state)
{
    struct world *w = *state;
    struct got slow = {0};
    struct agent_request r = {.method = HTTP_METHOD_POST,
                              .service = SLICE_LIT("slow"),
                              .tail = "",
                              .body = SLICE_LIT("{}"),
                              .control = true};
    assert_int_equal(agent_call(w->a, &r, on_answer, &slow, NULL), 0);
    struct got g = ask(w, "x", "/status");
    assert_int_equal(g.e.code, 0);
    test_pass(w->l, 500);
    assert_int_equal(slow.calls, 0);
    assert_int_equal(w->f.n_kept, 1);
    fake_http_reply(w->f.kept[0], 200, JSON, "{\"line\":\"done\"}");
    assert_true(test_run(w->l, got_one, &slow, 3000));
    assert_string_equal(slow.line, "done");
}

static void freed_meanwhile(void **state)
{
    struct world *w = *state;
    struct got a = {0}, b = {0};
    struct agent_request r = {
        .method = HTTP_METHOD_GET, .service = SLICE_LIT("slow"), .tail = "/status"};
    assert_int_equal(agent_call(w->a, &r, on_answer, &a, NULL), 0);
    r.service = SLICE_LIT("..");
    assert_int_equal(agent_call(w->a, &r, on_answer, &b, NULL), 0);
    agent_set_free(STEAL(w->set));
    assert_true(test_run(w->l, got_one, &a, 3000));
    assert_true(test_run(w->l, got_one, &b, 3000));
    assert_int_equal(a.e.code, ERR_CANCELLED);
    test_pass(w->l, 30);
    assert_int_equal(a.calls + b.calls, 2);
}

struct gone {
    int calls, moved;
    char names[100];
};

static void on_gone(void *ctx, struct agent *a, bool moved)
{
    struct gone *g = ctx;
    g->calls++;
    g->moved += moved;
    snprintf(g->names + strlen(g->names), sizeof(g->names) - strlen(g->names), "%s ",
             agent_name(a));
}

/* Another list while calls are under way: those to agents that stay go on, others are cancelled. */
static void change_of_the_list(void **state)
{
    static const struct agent_label labels[] = {{"x", "new"}};
    struct world *w = *state;
    struct agent_options gone_soon = {.name = "soon", .socket_path = w->f.path};
    struct agent_options moving = {.name = "moving", .socket_path = w->f.path};
    assert_int_equal(agent_set_add(w->set, &gone_soon, NULL), 0);
    assert_int_equal(agent_set_add(w->set, &moving, NULL), 0);
    struct agent_request r = {
        .method = HTTP_METHOD_GET, .service = SLICE_LIT("slow"), .tail = "/status"};
    struct got stays = {0}, ends = {0};
    assert_int_equal(agent_call(w->a, &r, on_answer, &stays, NULL), 0);
    assert_int_equal(
        agent_call(agent_set_find(w->set, SLICE_LIT("soon")), &r, on_answer, &ends, NULL), 0);
    test_pass(w->l, 20);
    const struct agent_options list[] = {
        {.name = "moving", .socket_path = "/tmp/elsewhere"},
        {.name = "fake", .socket_path = w->f.path, .labels = labels, .n_labels = 1},
        {.name = "late", .socket_path = w->f.path}};
    struct agent_change *c;
    struct gone g = {0};
    /* Prepared and dropped: nothing has changed. */
    assert_int_equal(agent_set_prepare(w->set, list, 3, &c, NULL), 0);
    agent_change_drop(c);
    assert_int_equal(agent_set_count(w->set), 3);
    assert_true(slice_eqs(agent_label_first(w->a, SLICE_LIT("x")), "first"));
    assert_int_equal(agent_set_prepare(w->set, list, 3, &c, NULL), 0);
    agent_set_commit(w->set, c, on_gone, &g);
    assert_int_equal(g.calls, 2);
    assert_int_equal(g.moved, 1);
    assert_string_equal(g.names, "soon moving ");
    assert_int_equal(agent_set_count(w->set), 3);
    assert_string_equal(agent_name(agent_set_at(w->set, 0)), "moving");
    assert_ptr_equal(agent_set_at(w->set, 1), w->a);
    assert_true(slice_eqs(agent_label_first(w->a, SLICE_LIT("x")), "new"));
    assert_null(agent_set_find(w->set, SLICE_LIT("soon")));
    assert_int_equal(ends.calls, 0); /* never inside */
    assert_true(test_run(w->l, got_one, &ends, 1000));
    assert_int_equal(ends.e.code != 0, 1);
    assert_int_equal(stays.calls, 0);
    assert_true(test_run(w->l, got_one, &stays, 2000)); /* by its own time limit */
    struct got late = ask_of(w, agent_set_find(w->set, SLICE_LIT("late")), "x", "/status");
    assert_int_equal(late.e.code, 0);
    const struct agent_options twice[] = {list[2], list[2]};
    assert_int_equal(agent_set_prepare(w->set, twice, 2, &c, NULL), ERR_EXISTS);
    assert_int_equal(agent_set_prepare(w->set, NULL, 0, &c, NULL), 0);
    agent_set_commit(w->set, c, on_gone, &g);
    assert_int_equal(agent_set_count(w->set), 0);
}

/* Every allocation of preparing fails once: an error, and the old list stays. */
static void change_without_memory(void **state)
{
    static const struct agent_label labels[] = {{"x", "new"}};
    struct world *w = *state;
    const struct agent_options list[] = {
        {.name = "fake", .socket_path = w->f.path, .labels = labels, .n_labels = 1},
        {.name = "late", .socket_path = w->f.path, .labels = labels, .n_labels = 1}};
    struct agent_change *c = NULL;
    int rc = ERR_NO_MEMORY;
    for (uint64_t n = 1; rc != 0; n++) {
        assert_true(n < 1000);
        mem_fail_at(n, false);
        rc = agent_set_prepare(w->set, list, 2, &c, NULL);
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        assert_int_equal(agent_set_count(w->set), 1);
        assert_true(slice_eqs(agent_label_first(w->a, SLICE_LIT("x")), "first"));
    }
    agent_change_drop(c);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(change_of_the_list), CASE(change_without_memory),
        CASE(set_and_labels),     CASE(answers),
        CASE(failures),           CASE(refused_names),
        CASE(nobody_there),       CASE(control_waits),
        CASE(freed_meanwhile),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
