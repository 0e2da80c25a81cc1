/* POST /v1/workloads/{id}/exec: a program is run in a workload; its output and exit code are the
 * answer. If the client leaves, or the time is over, the program loses its input and output. */
#include "api/rest/live.h"

#include <inttypes.h>
#include <string.h>

enum { OUTPUT_MAX = 1 << 20, TIMEOUT_MAX_S = 3600 };

struct run {
    struct live live;
    struct api_call *c; /* held; NULL once answered */
    const struct driver *d;
    struct driver_call *call; /* NULL: over */
    struct loop_timer timer;
    struct buf out, err;
    bool truncated;
    int64_t timeout_s;
    char detail[LIVE_DETAIL];
};

static void run_closed(void *ctx)
{
    struct run *r = ctx;
    buf_done(&r->out);
    buf_done(&r->err);
    mem_free(r);
}

static void run_free(struct run *r)
{
    if (r->call != NULL)
        r->d->ops->cancel_call(STEAL(r->call));
    live_remove(&r->live);
    loop_timer_close(&r->timer, run_closed);
}

static void run_output(void *ctx, enum driver_stream from, struct slice bytes)
{
    struct run *r = ctx;
    struct buf *b = from == DRIVER_STDERR ? &r->err : &r->out;
    size_t room = b->err == 0 ? OUTPUT_MAX - b->len : 0;
    r->truncated = r->truncated || bytes.len > room;
    (void)buf_add(b, bytes.p, bytes.len < room ? bytes.len : room);
}

static void run_done(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct run *r = ctx;
    struct api_call *c = STEAL(r->c);
    r->call = NULL;
    if (f != NULL) {
        api_reply_err(c, &f->e);
    } else if (r->out.err != 0 || r->err.err != 0) {
        api_reply_error(c, 503, "out of memory");
    } else {
        struct json_out j;
        struct buf b = BUF_INIT(REST_MAX_ANSWER);
        json_begin(&j, &b);
        json_obj(&j);
        json_kint(&j, "exit_code", exit_code);
        json_kslice(&j, "stdout", (struct slice){r->out.data, r->out.len});
        json_kslice(&j, "stderr", (struct slice){r->err.data, r->err.len});
        json_kbool(&j, "truncated", r->truncated);
        json_end_obj(&j);
        api_reply_json(c, 200, &b);
        buf_done(&b);
    }
    run_free(r);
}

static const struct driver_exec_user run_user = {.output = run_output, .done = run_done};

static void run_late(void *ctx)
{
    struct run *r = ctx;
    struct api_call *c = STEAL(r->c);
    api_reply_error(c, 504, "The program did not end within %" PRId64 " s; its output is cut off",
                    r->timeout_s);
    run_free(r);
}

static void run_gone(void *ctx, struct api_call *c)
{
    run_free(ctx);
    api_call_release(c);
}

static void run_end(struct live *l, enum live_why why)
{
    struct run *r = CONTAINER_OF(l, struct run, live);
    if (why == LIVE_STOPS)
        return; /* what is under way has its time */
    struct api_call *c = STEAL(r->c);
    api_reply_error(c, 401, "%s", live_over_text);
    run_free(r);
}

/* --- the request's words --- */

static struct slice text_of(const json_t *v)
{
    return (struct slice){json_string_value(v), json_string_length(v)};
}

/* "K=V" */
static int add_env(struct live_words *w, const char *name, struct slice value, struct err *e)
{
    size_t at = w->text.len, n = strlen(name);
    if (w->n_env == LIVE_ARGS)
        return err_set(e, ERR_LIMIT, "a program gets at most %d variables", LIVE_ARGS);
    if (n == 0 || strchr(name, '=') != NULL)
        return err_set(e, ERR_INVALID, "\"%.100s\" is no name of a variable", name);
    if (value.len > 0 && memchr(value.p, '\0', value.len) != NULL)
        return err_set(e, ERR_INVALID, "the variable \"%.100s\" has a NUL in it", name);
    (void)buf_add(&w->text, name, n);
    (void)buf_addc(&w->text, '=');
    (void)buf_add(&w->text, value.p, value.len);
    if (buf_addc(&w->text, '\0') != 0)
        return err_set(e, w->text.err, "the variables: %s", err_row(w->text.err)->text);
    w->env[w->n_env++] = w->text.data + at;
    return 0;
}

/* Counts the bytes first: the text must not move. */
static int read_words(struct live_words *w, const struct api_call *c, struct err *e)
{
    const json_t *command = json_object_get(c->body, "command"), *item;
    json_t *env = json_object_get(c->body, "env");
    const char *name;
    json_t *value;
    size_t i, total = 0;
    json_array_foreach((json_t *)command, i, value) total += json_string_length(value) + 1;
    json_object_foreach(env, name, value) total += strlen(name) + json_string_length(value) + 2;
    int rc = live_words_init(w, total, e);
    for (i = 0; rc == 0 && i < json_array_size(command); i++) {
        item = json_array_get(command, i);
        rc = live_words_arg(w, text_of(item), e);
    }
    if (rc == 0 && (w->n_argv == 0 || w->argv[0][0] == '\0'))
        rc = err_set(e, ERR_INVALID, "\"command\" names no program");
    json_object_foreach(env, name, value)
    {
        if (rc == 0)
            rc = add_env(w, name, text_of(value), e);
    }
    return rc;
}

/* A text of the body as a string; NULL: not given, or empty. */
static int read_text(const struct api_call *c, unsigned at, const char *key, const char **ret,
                     struct err *e)
{
    const char *s = json_get_str(c->body, key);
    *ret = NULL;
    if (!c->body_values[at].set || s == NULL || *s == '\0')
        return 0;
    if (strlen(s) != c->body_values[at].s.len)
        return err_set(e, ERR_INVALID, "\"%s\" has a NUL in it", key);
    if (strlen(s) > 4096)
        return err_set(e, ERR_LIMIT, "\"%s\" has more than 4096 bytes", key);
    *ret = s;
    return 0;
}

static int run_begin(struct run *r, struct err *e)
{
    struct live_words w;
    struct api_call *c = r->c;
    struct driver_exec_order o = {.id = c->path[0]};
    int rc = read_words(&w, c, e);
    if (rc == 0)
        rc = read_text(c, WORKLOAD_EXEC_USER, "user", &o.user, e);
    if (rc == 0)
        rc = read_text(c, WORKLOAD_EXEC_DIR, "working_dir", &o.working_dir, e);
    if (c->body_values[WORKLOAD_EXEC_SERVICE].set)
        o.part = c->body_values[WORKLOAD_EXEC_SERVICE].s;
    o.argv = w.argv;
    o.env = w.n_env > 0 ? w.env : NULL;
    if (rc == 0) {
        live_words_tell(&w, r->detail);
        c->detail = slice_of(r->detail);
        rc = r->d->ops->exec(r->d->self, &o, &run_user, r, &r->call, e);
        if (rc != 0)
            r->call = NULL;
    }
    live_words_done(&w);
    return rc;
}

void rest_workload_exec(struct api_call *c)
{
    struct err e = {0};
    int64_t timeout = c->body_values[WORKLOAD_EXEC_TIMEOUT].i;
    if (timeout < 1 || timeout > TIMEOUT_MAX_S) {
        api_reply_error(c, 400, "timeout \"%" PRId64 "\" is not from 1 to %d", timeout,
                        TIMEOUT_MAX_S);
        return;
    }
    const struct driver *d = live_driver(c->app, c->path[0], true, &e);
    d = live_part(d, c->body_values[WORKLOAD_EXEC_SERVICE].s, &e);
    if (d != NULL && (d->ops->exec == NULL || d->ops->cancel_call == NULL)) {
        (void)err_set(&e, ERR_UNSUPPORTED, "the runtime runs no further programs: %s",
                      d->ops->name);
        d = NULL;
    }
    if (d == NULL) {
        api_reply_err(c, &e);
        return;
    }
    struct run *r = mem_zalloc(sizeof(*r));
    if (r == NULL || loop_timer_init(exchange_loop(c->x), &r->timer, run_late, r) != 0) {
        mem_free(r);
        api_reply_error(c, 503, "out of memory");
        return;
    }
    r->d = d;
    r->timeout_s = timeout;
    r->live.end = run_end;
    buf_init(&r->out, OUTPUT_MAX);
    buf_init(&r->err, OUTPUT_MAX);
    if (!live_add(&r->live, c->app, c->who)) {
        loop_timer_close(&r->timer, run_closed);
        api_reply_error(c, 503, "No more programs can be run at present");
        return;
    }
    if (api_call_hold(c, run_gone, r, &r->c) != 0) {
        run_free(r);
        return;
    }
    if (run_begin(r, &e) != 0) {
        c = STEAL(r->c);
        api_reply_err(c, &e);
        run_free(r);
        return;
    }
    loop_timer_start(&r->timer, (uint64_t)timeout * 1000, 0);
}
