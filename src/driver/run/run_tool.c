#include "driver/run/run_tool.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_MAX 2048  /* of what it says on standard error; the end of it is told */
#define TICK_MS 20     /* between two looks whether it has ended or is to */
#define KILLED_MS 5000 /* a killed process that waits for a disk may take its time */
#define PATH_TEXT_MAX 4096
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *search_path(void)
{
    const char *path = getenv("PATH");
    return path != NULL && path[0] != '\0' && strlen(path) < PATH_TEXT_MAX ? path : DEFAULT_PATH;
}

/* The program's whole path; false: there is none. */
static bool find(const char *name, char out[PATH_TEXT_MAX])
{
    if (strchr(name, '/') != NULL)
        return snprintf(out, PATH_TEXT_MAX, "%s", name) < PATH_TEXT_MAX && access(name, X_OK) == 0;
    struct slice rest = slice_of(search_path()), part;
    while (slice_split(&rest, ':', &part)) {
        if (part.len == 0 || part.p[0] != '/')
            continue; /* never from where we happen to stand */
        int n = snprintf(out, PATH_TEXT_MAX, "%.*s/%s", (int)part.len, part.p, name);
        struct stat st;
        if (n > 0 && n < PATH_TEXT_MAX && access(out, X_OK) == 0 && stat(out, &st) == 0 &&
            S_ISREG(st.st_mode))
            return true;
    }
    return false;
}

bool run_tool_exists(const char *name)
{
    char path[PATH_TEXT_MAX];
    return find(name, path);
}

struct child {
    pid_t pid;
    int out, err; /* our ends; -1: closed */
    bool ended;
    int status;
    char said[SAID_MAX]; /* a ring would be nicer to the end; cut at the front when full */
    size_t n_said;
};

static int make_pipe(int fds[2], struct err *e)
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_sys(e, errno, "cannot make a pipe");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int spawn(struct child *c, const char *path, const char *const *argv, int out, int err_fd)
{
    char path_text[PATH_TEXT_MAX + 8];
    snprintf(path_text, sizeof(path_text), "PATH=%s", search_path());
    char *const env[] = {path_text, (char *)"LC_ALL=C", (char *)"LANG=C", (char *)"HOME=/", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return rc;
    if ((rc = posix_spawnattr_init(&attr)) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    if ((rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&files, out, 1)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&files, err_fd, 2)) == 0 &&
        (rc = posix_spawn_file_actions_addchdir_np(&files, "/")) == 0 &&
        (rc = posix_spawn_file_actions_addclosefrom_np(&files, 3)) == 0 &&
        (rc = posix_spawnattr_setpgroup(&attr, 0)) == 0 &&
        (rc = posix_spawnattr_setsigmask(&attr, &none)) == 0 &&
        (rc = posix_spawnattr_setsigdefault(&attr, &all)) == 0 &&
        (rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                  POSIX_SPAWN_SETSIGDEF)) == 0)
        rc = posix_spawn(&c->pid, path, &files, &attr, (char *const *)argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static int start(struct child *c, const struct run_tool *t, struct err *e)
{
    char path[PATH_TEXT_MAX];
    int out[2] = {-1, -1}, errs[2] = {-1, -1};
    if (!find(t->argv[0], path))
        return err_set(e, ERR_NO_TOOL, "the program \"%s\" is not installed", t->argv[0]);
    int r = make_pipe(out, e);
    if (r == 0 && (r = make_pipe(errs, e)) != 0) {
        close(out[0]);
        close(out[1]);
    }
    if (r != 0)
        return r;
    int rc = spawn(c, path, t->argv, out[1], errs[1]);
    close(out[1]);
    close(errs[1]);
    c->out = out[0];
    c->err = errs[0];
    return rc != 0 ? err_sys(e, rc, "cannot run \"%s\"", path) : 0;
}

static void keep_said(struct child *c, const char *p, size_t n)
{
    if (n > sizeof(c->said)) {
        p += n - sizeof(c->said);
        n = sizeof(c->said);
    }
    if (c->n_said + n > sizeof(c->said)) {
        size_t drop = c->n_said + n - sizeof(c->said);
        memmove(c->said, c->said + drop, c->n_said - drop);
        c->n_said -= drop;
    }
    memcpy(c->said + c->n_said, p, n);
    c->n_said += n;
}

/* Takes what is there; closes at the end. What does not fit into `out` is dropped. */
static void drain(struct child *c, int *fd, struct buf *out)
{
    char piece[4096];
    for (int turns = 0; *fd >= 0 && turns < 64; turns++) {
        ssize_t n = read(*fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(*fd);
            *fd = -1;
        } else if (fd == &c->err) {
            keep_said(c, piece, (size_t)n);
        } else if (out != NULL && out->err == 0 && out->len < out->max) {
            size_t room = out->max - out->len;
            buf_add(out, piece, (size_t)n < room ? (size_t)n : room);
        }
    }
}

static bool reap(struct child *c)
{
    if (!c->ended)
        c->ended = waitpid(c->pid, &c->status, WNOHANG) == c->pid;
    return c->ended;
}

static void wait_a_moment(struct child *c)
{
    struct pollfd fds[2] = {{c->out, POLLIN, 0}, {c->err, POLLIN, 0}}; /* -1 is passed over */
    bool closed = c->out < 0 && c->err < 0;                            /* it is about to end */
    poll(fds, 2, closed ? 1 : TICK_MS);
}

/* Until it has ended: what it left behind may hold the pipes open for as long as it wants. */
static int attend(struct child *c, const struct run_tool *t, struct err *e)
{
    uint64_t limit = t->limit_ms != 0 ? t->limit_ms : 30000;
    uint64_t end = clock_mono_ms(&clock_system) + limit;
    int code = 0;
    while (!reap(c)) {
        uint64_t now = clock_mono_ms(&clock_system);
        bool cancelled = t->cancel != NULL && __atomic_load_n(t->cancel, __ATOMIC_ACQUIRE) != 0;
        if (code != 0 && now >= end)
            break; /* not even killed it ends; whoever takes us over reaps it */
        if (code == 0 && (cancelled || now >= end)) {
            code = cancelled ? err_set(e, ERR_CANCELLED, "\"%s\" was cancelled", t->argv[0])
                             : err_set(e, ERR_TIMEOUT, "\"%s\" did not end within %llu seconds",
                                       t->argv[0], (unsigned long long)(limit + 999) / 1000);
            kill(-c->pid, SIGKILL);
            end = now + KILLED_MS;
        }
        wait_a_moment(c);
        drain(c, &c->out, t->out);
        drain(c, &c->err, NULL);
    }
    drain(c, &c->out, t->out);
    drain(c, &c->err, NULL);
    return code;
}

/* The end of what it said, on one line. */
static int tell(const struct child *c, const char *name, int status, struct err *e)
{
    char text[400];
    struct buf b = BUF_FIXED(text);
    struct slice said = slice_trim((struct slice){c->said, c->n_said});
    if (said.len > 300) {
        said.p += said.len - 300;
        said.len = 300;
        while (said.len > 0 && ((unsigned char)said.p[0] & 0xc0) == 0x80)
            said.p++, said.len--;
        buf_adds(&b, "...");
    }
    for (size_t i = 0; i < said.len; i++) {
        bool plain = (unsigned char)said.p[i] >= 0x20 && said.p[i] != 0x7f;
        buf_addc(&b, plain ? said.p[i] : ' ');
    }
    char whole[sizeof(text) * 3];
    struct buf w = BUF_FIXED(whole);
    utf8_add_lossy(&w, b.data, b.len);
    if (status > 128)
        return err_set(e, ERR_TOOL, "\"%s\" was ended by signal %d%s%s", name, status - 128,
                       w.len > 0 ? ": " : "", w.data);
    return err_set(e, ERR_TOOL, "\"%s\" failed with status %d%s%s", name, status,
                   w.len > 0 ? ": " : "", w.data);
}

int run_tool(const struct run_tool *t, struct err *e)
{
    struct child c = {.pid = -1, .out = -1, .err = -1};
    int status = -1, r = start(&c, t, e);
    if (r == 0)
        r = attend(&c, t, e);
    file_closep(&c.out);
    file_closep(&c.err);
    if (r != 0)
        return r;
    if (WIFEXITED(c.status))
        status = WEXITSTATUS(c.status);
    else if (WIFSIGNALED(c.status))
        status = 128 + WTERMSIG(c.status);
    if (t->status != NULL)
        *t->status = status;
    if (status != 0)
        return tell(&c, t->argv[0], status, e);
    if (t->out != NULL && t->out->err != 0)
        return err_set(e, t->out->err, "out of memory");
    return 0;
}
