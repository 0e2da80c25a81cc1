#include "driver/compose/compose_tool.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_words.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_KEPT = 240, KILL_MS = 3000, NAME_KEPT = 120 };
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct voice { /* one of its two outputs */
    struct compose_tool *t;
    uv_pipe_t pipe;
    char line[LINE_KEPT + 1];
    size_t n_line;
};

struct compose_tool {
    struct loop *loop;
    uv_process_t process;
    struct voice voices[2];
    struct loop_timer limit;
    compose_tool_fn done; /* NULL: nobody waits any more */
    void (*line)(void *ctx, const char *text);
    void *ctx;
    uint64_t limit_ms;
    int open; /* handles that are not closed yet */
    bool has_process, closing, killed, timed_out, cancelled;
    int64_t status;
    struct err e;
    struct buf out, tail;
    char name[NAME_KEPT]; /* of what runs, for messages */
    char piece[4096];
};

/* ---- ending */

static void handle_closed(struct compose_tool *t)
{
    if (--t->open > 0)
        return;
    size_t over = t->tail.len > COMPOSE_OUTPUT_MAX ? t->tail.len - COMPOSE_OUTPUT_MAX : 0;
    struct compose_tool_end end = {
        .e = t->e,
        .status = t->status,
        .out = {t->out.data != NULL ? t->out.data : "", t->out.len},
        .tail = {t->tail.data != NULL ? t->tail.data + over : "", t->tail.len - over},
    };
    if (t->done != NULL)
        t->done(t->ctx, &end);
    /* `config` tells the values of variables. */
    if (t->out.data != NULL)
        mem_wipe(t->out.data, t->out.cap);
    if (t->tail.data != NULL)
        mem_wipe(t->tail.data, t->tail.cap);
    buf_done(&t->out);
    buf_done(&t->tail);
    mem_free(t);
}

static void on_closed(uv_handle_t *h)
{
    handle_closed(h->data);
}

static void on_pipe_closed(uv_handle_t *h)
{
    handle_closed(((struct voice *)h->data)->t);
}

static void on_timer_closed(void *ctx)
{
    handle_closed(ctx);
}

static void close_all(struct compose_tool *t)
{
    if (t->closing)
        return;
    t->closing = true;
    if (t->has_process)
        uv_close((uv_handle_t *)&t->process, on_closed);
    for (size_t i = 0; i < ARRAY_LEN(t->voices); i++)
        uv_close((uv_handle_t *)&t->voices[i].pipe, on_pipe_closed);
    loop_timer_close(&t->limit, on_timer_closed);
}

/* ---- what it says */

static void line_end(struct voice *v)
{
    struct compose_tool *t = v->t;
    v->line[v->n_line] = '\0';
    if (v->n_line > 0 && t->line != NULL && t->done != NULL)
        t->line(t->ctx, v->line);
    v->n_line = 0;
}

static void hear(struct voice *v, const char *p, size_t n)
{
    struct compose_tool *t = v->t;
    if (v == &t->voices[0] && t->out.len < COMPOSE_TOOL_OUT_MAX) {
        size_t room = COMPOSE_TOOL_OUT_MAX - t->out.len;
        (void)buf_add(&t->out, p, n < room ? n : room);
    }
    if (t->tail.len + n > 2 * COMPOSE_OUTPUT_MAX && t->tail.len > COMPOSE_OUTPUT_MAX)
        buf_drop(&t->tail, t->tail.len - COMPOSE_OUTPUT_MAX);
    (void)buf_add(&t->tail, p, n);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n' || p[i] == '\r')
            line_end(v);
        else if ((unsigned char)p[i] >= ' ' && p[i] != 0x7f && v->n_line < LINE_KEPT)
            v->line[v->n_line++] = p[i];
    }
}

static void on_alloc(uv_handle_t *h, size_t wanted BASE_UNUSED, uv_buf_t *b)
{
    struct voice *v = h->data;
    *b = uv_buf_init(v->t->piece, sizeof(v->t->piece));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    if (n > 0)
        hear(s->data, b->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

/* What it wrote just before it ended may still be in the pipe. */
static void drain(struct voice *v)
{
    enum { MOST = 64 << 10 }; /* a process that it left behind may write for ever */
    uv_os_fd_t fd;
    size_t all = 0;
    if (uv_fileno((uv_handle_t *)&v->pipe, &fd) != 0)
        return;
    for (ssize_t n; all < MOST && (n = read(fd, v->t->piece, sizeof(v->t->piece))) > 0;) {
        hear(v, v->t->piece, (size_t)n);
        all += (size_t)n;
    }
    line_end(v);
}

/* ---- its end */

static void say_end(struct compose_tool *t, int64_t status, int sig)
{
    if (t->cancelled)
        (void)err_set(&t->e, ERR_CANCELLED, "%s was cancelled", t->name);
    else if (t->timed_out)
        (void)err_set(&t->e, ERR_TIMEOUT, "%s did not end within %" PRIu64 " s", t->name,
                      t->limit_ms / 1000);
    else if (sig != 0)
        (void)err_set(&t->e, ERR_TOOL, "%s was ended by signal %d", t->name, sig);
    else
        (void)err_set(&t->e, ERR_TOOL, "%s failed with status %" PRId64, t->name, status);
}

static void on_exit_status(uv_process_t *p, int64_t status, int sig)
{
    struct compose_tool *t = p->data;
    for (size_t i = 0; i < ARRAY_LEN(t->voices); i++)
        drain(&t->voices[i]);
    t->status = sig != 0 ? -1 : status;
    if (status != 0 || sig != 0)
        say_end(t, status, sig);
    close_all(t);
}

static void end_group(struct compose_tool *t, int sig)
{
    if (kill(-t->process.pid, sig) != 0)
        (void)uv_process_kill(&t->process, sig);
}

static void on_limit(void *ctx)
{
    struct compose_tool *t = ctx;
    if (t->killed) { /* not even killing ended it (state D): it is not waited for */
        say_end(t, -1, SIGKILL);
        close_all(t);
    } else if (t->timed_out || t->cancelled) {
        t->killed = true;
        end_group(t, SIGKILL);
        loop_timer_start(&t->limit, KILL_MS, 0);
    } else {
        t->timed_out = true;
        end_group(t, SIGTERM);
        loop_timer_start(&t->limit, KILL_MS, 0);
    }
}

void compose_tool_cancel(struct compose_tool *t)
{
    if (t->closing || t->timed_out || t->cancelled)
        return;
    t->cancelled = true;
    end_group(t, SIGTERM);
    loop_timer_start(&t->limit, KILL_MS, 0);
}

void compose_tool_abandon(struct compose_tool *t)
{
    if (t == NULL)
        return;
    t->done = NULL;
    close_all(t);
}

/* ---- beginning */

static int write_env(struct buf *b, size_t at[4], const char *docker_host)
{
    const char *path = getenv("PATH"), *home = getenv("HOME");
    at[0] = b->len;
    (void)buf_addf(b, "PATH=%s", path != NULL ? path : DEFAULT_PATH);
    (void)buf_addc(b, '\0');
    at[1] = b->len;
    (void)buf_addf(b, "HOME=%s", home != NULL ? home : "/root");
    (void)buf_addc(b, '\0');
    at[2] = b->len;
    (void)buf_addf(b, "DOCKER_HOST=%s", docker_host);
    return b->err;
}

static int spawn(struct compose_tool *t, const struct compose_tool_order *o, const int ends[2])
{
    _cleanup_(buf_done) struct buf env = BUF_INIT(65536);
    size_t at[4];
    if (write_env(&env, at, o->docker_host) != 0)
        return UV_ENOMEM;
    char *envp[] = {env.data + at[0], env.data + at[1], env.data + at[2], NULL};
    uv_stdio_container_t io[4] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = ends[0]},
                                  {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
                                  {.flags = UV_INHERIT_FD, .data.fd = o->lock_fd}};
    uv_process_options_t p = {.exit_cb = on_exit_status,
                              .file = o->argv[0],
                              .args = (char **)(uintptr_t)o->argv,
                              .env = envp,
                              .cwd = o->cwd != NULL ? o->cwd : "/",
                              .flags = UV_PROCESS_DETACHED,
                              .stdio_count = o->lock_fd >= 0 ? 4 : 3,
                              .stdio = io};
    t->has_process = true;
    t->open++;
    return uv_spawn(loop_uv(t->loop), &t->process, &p);
}

static int start(struct compose_tool *t, const struct compose_tool_order *o)
{
    int ours[2] = {-1, -1}, theirs[2] = {-1, -1}, ends[2];
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        if (pipe2(ends, O_CLOEXEC) != 0) {
            rc = -errno;
        } else {
            ours[i] = ends[0];
            theirs[i] = ends[1];
        }
    }
    if (rc == 0)
        rc = spawn(t, o, theirs);
    for (int i = 0; i < 2; i++) {
        struct voice *v = &t->voices[i];
        if (theirs[i] >= 0)
            (void)close(theirs[i]);
        if (rc == 0)
            rc = uv_pipe_open(&v->pipe, ours[i]);
        else if (ours[i] >= 0)
            (void)close(ours[i]);
        if (rc == 0)
            rc = uv_read_start((uv_stream_t *)&v->pipe, on_alloc, on_read);
    }
    return rc;
}

static int init_handles(struct compose_tool *t)
{
    int rc = loop_timer_init(t->loop, &t->limit, on_limit, t);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(t->voices); i++) {
        struct voice *v = &t->voices[i];
        v->t = t;
        (void)uv_pipe_init(loop_uv(t->loop), &v->pipe, 0); /* cannot fail */
        v->pipe.data = v;
    }
    t->process.data = t;
    t->open = 3;
    return 0;
}

static void keep_name(struct compose_tool *t, const char *const *argv)
{
    struct buf b = BUF_FIXED(t->name);
    const char *verb = NULL;
    for (size_t i = 1; argv[i] != NULL; i++) {
        /* The last word that is no option and no value of one is what it does. */
        if (argv[i][0] == '-' || argv[i - 1][0] == '-')
            continue;
        verb = argv[i];
    }
    (void)buf_addf(&b, "\"%.60s%s%.40s\"", argv[0], verb != NULL ? " ... " : "",
                   verb != NULL ? verb : "");
}

int compose_tool_run(struct compose_tool **ret, struct loop *l, const struct compose_tool_order *o,
                     compose_tool_fn done, void *ctx, struct err *e)
{
    struct compose_tool *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    t->loop = l;
    t->limit_ms = o->limit_ms;
    t->line = o->line;
    t->ctx = ctx;
    buf_init(&t->out, COMPOSE_TOOL_OUT_MAX);
    buf_init(&t->tail, 2 * COMPOSE_OUTPUT_MAX + sizeof(t->piece));
    keep_name(t, o->argv);
    int rc = init_handles(t);
    if (rc != 0) {
        mem_free(t);
        return err_set(e, rc, "out of memory");
    }
    rc = start(t, o);
    if (rc != 0) {
        rc = rc == UV_ENOENT || rc == UV_EACCES
                 ? err_set(e, ERR_NO_TOOL, "the program \"%s\" cannot be run: %s", o->argv[0],
                           uv_strerror(rc))
                 : err_sys(e, rc, "the program \"%s\" cannot be run", o->argv[0]);
        close_all(t);
        return rc;
    }
    t->done = done;
    loop_timer_start(&t->limit, o->limit_ms, 0);
    *ret = t;
    return 0;
}
