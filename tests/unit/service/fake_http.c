#include "fake_http.h"
#include "../base/patience.h"
#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void tick(void *ctx BASE_UNUSED) {}

struct loop *test_loop(void)
{
    struct loop *l = NULL;
    static bool once;
    if (!once)
        json_in_init();
    once = true;
    assert_int_equal(loop_new(&l, &clock_system, NULL), 0);
    return l;
}

void test_loop_free(struct loop *l)
{
    for (int i = 0; i < 1000 && loop_run_once(l, false); i++)
        usleep(1000);
    loop_free(l);
}

bool test_run(struct loop *l, bool (*cond)(void *ctx), void *ctx, uint64_t ms)
{
    struct loop_timer *t = calloc(1, sizeof(*t)); /* not counted as an allocation of ours */
    struct patience until = patience_of(ms);
    bool ok;
    assert_int_equal(loop_timer_init(l, t, tick, t), 0);
    loop_timer_start(t, 5, 5);
    while (!(ok = cond(ctx)) && patience_left(&until))
        loop_run_once(l, true);
    loop_timer_close(t, free);
    loop_run_once(l, false);
    return ok;
}

static bool never(void *ctx BASE_UNUSED)
{
    return false;
}

void test_pass(struct loop *l, uint64_t ms)
{
    test_run(l, never, NULL, ms);
}

static void handle(void *ctx, struct exchange *x)
{
    struct fake_http *f = ctx;
    const struct http_request *r = exchange_request(x);
    char line[1024];
    snprintf(line, sizeof(line), "%.*s %.*s", (int)r->method_text.len, r->method_text.p,
             (int)r->target.len, r->target.p);
    if (f->n_lines < FAKE_LOG_MAX)
        f->lines[f->n_lines++] = strdup(line);
    f->answer(f, x, line);
}

void fake_http_start(struct fake_http *f, struct loop *l, const char *path)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct server_options so = {.limits = http_limits_default};
    struct listener *li;
    f->loop = l;
    snprintf(f->path, sizeof(f->path), "%s", path);
    unlink(path);
    assert_int_equal(server_new(&f->server, l, &so, NULL), 0);
    struct listener_options lo = {.unix_path = f->path,
                                  .unix_mode = 0600,
                                  .unix_gid = (gid_t)-1,
                                  .protocols = protocols,
                                  .handler = handle,
                                  .ctx = f};
    struct err e = {0};
    if (server_listen(f->server, &lo, &li, &e) != 0)
        fail_msg("%s", e.msg);
}

static void stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static bool is_true(void *ctx)
{
    return *(bool *)ctx;
}

void fake_http_stop(struct fake_http *f)
{
    bool done = false;
    if (f->server == NULL)
        return;
    server_stop(f->server, stopped, &done);
    assert_true(test_run(f->loop, is_true, &done, 5000));
    server_free(f->server);
    f->server = NULL;
    unlink(f->path);
}

void fake_http_done(struct fake_http *f)
{
    for (size_t i = 0; i < f->n_lines; i++)
        free(f->lines[i]);
    f->n_lines = 0;
}

size_t fake_http_count(const struct fake_http *f, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n_lines; i++)
        n += strncmp(f->lines[i], prefix, strlen(prefix)) == 0;
    return n;
}

void fake_http_reply_n(struct exchange *x, int status, const char *type, const void *body, size_t n)
{
    struct http_response r = {.status = status, .content_type = type};
    (void)exchange_respond(x, &r, (struct slice){body, n});
}

void fake_http_reply(struct exchange *x, int status, const char *type, const char *body)
{
    fake_http_reply_n(x, status, type, body, strlen(body));
}

static void kept_closed(void *ctx, struct exchange *x, int err BASE_UNUSED)
{
    struct fake_http *f = ctx;
    for (size_t i = 0; i < f->n_kept; i++)
        if (f->kept[i] == x) {
            memmove(&f->kept[i], &f->kept[i + 1], (f->n_kept - i - 1) * sizeof(f->kept[0]));
            f->n_kept--;
            return;
        }
}

void fake_http_keep(struct fake_http *f, struct exchange *x)
{
    static const struct exchange_user user = {.closed = kept_closed};
    assert_true(f->n_kept < FAKE_STREAMS_MAX);
    f->kept[f->n_kept++] = x;
    exchange_set_user(x, &user, f);
}

void fake_http_stream(struct fake_http *f, struct exchange *x, const char *type)
{
    struct http_response r = {.status = 200, .content_type = type};
    fake_http_keep(f, x);
    (void)exchange_start(x, &r);
}

void fake_http_send(struct exchange *x, const char *text)
{
    (void)exchange_write(x, slice_of(text));
}
