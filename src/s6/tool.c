#include "s6/tool.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_KEPT 300 /* fits into the error text, with the command */
#define COMMAND_KEPT 128
#define DEFAULT_PATH "PATH=/command:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct s6_tool {
    struct loop *loop;
    uv_process_t process;
    uv_pipe_t pipe;
    struct loop_timer limit;
    s6_tool_fn done; /* NULL: nobody waits any more */
    void *ctx;
    uint64_t limit_ms;
    int open; /* handles that are not closed yet */
    bool timed_out, closing;
    bool has_process; /* uv_spawn has initialised its handle */
    struct err result;
    size_t n_output;
    char output[OUTPUT_KEPT];
    char command[COMMAND_KEPT];
    char piece[512]; /* libuv reads into it */
};

static void handle_closed(struct s6_tool *t)
{
    if (--t->open > 0)
        return;
    struct err result = t->result;
    s6_tool_fn done = t->done;
    void *ctx = t->ctx;
    mem_free(t);
    if (done != NULL)
        done(ctx, &result);
}

static void on_handle_closed(uv_handle_t *h)
{
    handle_closed(h->data);
}

static void on_timer_closed(void *ctx)
{
    handle_closed(ctx);
}

static void close_all(struct s6_tool *t)
{
    if (t->closing)
        return;
    t->closing = true;
    if (t->has_process)
        uv_close((uv_handle_t *)&t->process, on_handle_closed);
    uv_close((uv_handle_t *)&t->pipe, on_handle_closed);
    loop_timer_close(&t->limit, on_timer_closed);
}

static void keep_output(struct s6_tool *t, const char *p, size_t n)
{
    size_t room = OUTPUT_KEPT - t->n_output;
    n = n < room ? n : room;
    memcpy(t->output + t->n_output, p, n);
    t->n_output += n;
}

static void on_alloc(uv_handle_t *h, size_t wanted, uv_buf_t *b)
{
    struct s6_tool *t = h->data;
    (void)wanted;
    *b = uv_buf_init(t->piece, sizeof(t->piece));
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    if (n > 0)
        keep_output(s->data, b->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

/* What the child wrote just before it ended may still be in the pipe. */
static void drain_output(struct s6_tool *t)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&t->pipe, &fd) != 0)
        return;
    for (ssize_t n; t->n_output < OUTPUT_KEPT && (n = read(fd, t->piece, sizeof(t->piece))) > 0;)
        keep_output(t, t->piece, (size_t)n);
}

static void set_failure(struct s6_tool *t, int64_t status, int sig)
{
    struct slice out = slice_trim((struct slice){t->output, t->n_output});
    char how[64];
    if (sig != 0)
        (void)snprintf(how, sizeof(how), "was ended by signal %d", sig);
    else
        (void)snprintf(how, sizeof(how), "returned non-zero exit status %lld", (long long)status);
    (void)err_set_lines(&t->result, ERR_TOOL, "Command '%s' %s%s%.*s", t->command, how,
                        out.len > 0 ? ": " : ".", (int)out.len, out.p);
}

static void on_exit_status(uv_process_t *p, int64_t status, int sig)
{
    struct s6_tool *t = p->data;
    drain_output(t);
    if (!t->timed_out && (status != 0 || sig != 0))
        set_failure(t, status, sig);
    close_all(t);
}

static void on_limit(void *ctx)
{
    struct s6_tool *t = ctx;
    if (t->timed_out) { /* not even killing ended it (state D): it is not waited for */
        close_all(t);
        return;
    }
    t->timed_out = true;
    (void)err_set(&t->result, ERR_TIMEOUT, "Command '%s' timed out after %llu seconds", t->command,
                  (unsigned long long)(t->limit_ms / 1000));
    if (kill(-t->process.pid, SIGKILL) != 0)
        (void)uv_process_kill(&t->process, SIGKILL);
    loop_timer_start(&t->limit, 2000, 0);
}

static void keep_command(struct s6_tool *t, const char *const *argv)
{
    size_t n = 0;
    for (size_t i = 0; argv[i] != NULL && n < COMMAND_KEPT - 1; i++) {
        int k = snprintf(t->command + n, COMMAND_KEPT - n, "%s%s", i > 0 ? " " : "", argv[i]);
        n += k > 0 ? (size_t)k : 0;
    }
}

/* The child's end of the pipe is both its standard output and its standard error. */
static int spawn(struct s6_tool *t, const char *const *argv, int out)
{
    const char *path = getenv("PATH");
    _cleanup_(buf_done) struct buf env = BUF_INIT(65536);
    if (path != NULL ? buf_addf(&env, "PATH=%s", path) : buf_adds(&env, DEFAULT_PATH))
        return UV_ENOMEM;
    t->has_process = true;
    t->open++;
    char *envp[] = {env.data, NULL};
    uv_stdio_container_t io[3] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = out},
                                  {.flags = UV_INHERIT_FD, .data.fd = out}};
    uv_process_options_t o = {.exit_cb = on_exit_status,
                              .file = argv[0],
                              .args = (char **)(uintptr_t)argv,
                              .env = envp,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio_count = 3,
                              .stdio = io};
    return uv_spawn(loop_uv(t->loop), &t->process, &o);
}

/* Initialises all handles, so that close_all fits from here on. */
static void init_handles(struct s6_tool *t)
{
    memset(&t->process, 0, sizeof(t->process));
    (void)uv_pipe_init(loop_uv(t->loop), &t->pipe, 0); /* cannot fail */
    (void)loop_timer_init(t->loop, &t->limit, on_limit, t);
    t->process.data = t->pipe.data = t;
    t->open = 2;
}

static int start(struct s6_tool *t, const char *const *argv)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    int rc = spawn(t, argv, ends[1]);
    close(ends[1]);
    if (rc == 0)
        rc = uv_pipe_open(&t->pipe, ends[0]);
    else
        close(ends[0]);
    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&t->pipe, on_alloc, on_output);
    return rc;
}

int s6_tool_run(struct s6_tool **ret, struct loop *l, const char *const *argv, uint64_t limit_ms,
                s6_tool_fn done, void *ctx, struct err *e)
{
    struct s6_tool *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    t->loop = l;
    t->limit_ms = limit_ms;
    keep_command(t, argv);
    init_handles(t);
    int rc = start(t, argv);
    if (rc != 0) {
        /* What was spawned all the same ends by itself when its pipe is closed. */
        rc = rc == UV_ENOENT
                 ? err_set(e, ERR_NO_TOOL, "'%s' is not installed in the container", argv[0])
                 : err_sys(e, rc, "cannot run '%s'", argv[0]);
        close_all(t);
        return rc;
    }
    t->done = done;
    t->ctx = ctx;
    loop_timer_start(&t->limit, limit_ms, 0);
    *ret = t;
    return 0;
}

void s6_tool_abandon(struct s6_tool *t)
{
    if (t == NULL)
        return;
    t->done = NULL;
    close_all(t);
}
