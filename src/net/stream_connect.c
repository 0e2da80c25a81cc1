/* stream_connect.c: from a target to a connected stream: names, sockets, the time limit. */
#include "base/mem.h"
#include "net/stream_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { RETRY_MS = 5 }; /* a Unix socket whose backlog is full has no event for "try again" */

struct stream_connecting {
    struct stream *stream; /* back pointer; outlived by it */
    struct loop_timer timer;
    uv_getaddrinfo_t resolve;
    struct addrinfo *found, *next; /* addresses not tried yet */
    uint64_t until_ms;
    bool resolving, retrying;
    bool stopped; /* the timer is closed */
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } to;
    socklen_t to_len;
    int dir_fd; /* of a path too long for sockaddr_un; -1 */
    char what[160];
};

static void try_next(struct stream *s);

static void connecting_free(struct stream_connecting *c)
{
    if (c->found != NULL)
        uv_freeaddrinfo(c->found);
    if (c->dir_fd >= 0)
        close(c->dir_fd);
    mem_free(c);
}

static void maybe_free(struct stream_connecting *c)
{
    struct stream *s = c->stream;

    if (c->resolving || !c->stopped)
        return;
    connecting_free(c);
    stream_handle_gone(s);
}

static void on_timer_closed(void *ctx)
{
    struct stream_connecting *c = ctx;

    c->stopped = true;
    maybe_free(c);
}

void stream_connecting_stop(struct stream *s)
{
    struct stream_connecting *c = s->connecting != NULL ? s->connecting : s->handshaking;

    s->connecting = s->handshaking = NULL;
    if (c == NULL)
        return;
    if (c->resolving)
        (void)uv_cancel((uv_req_t *)&c->resolve);
    loop_timer_close(&c->timer, on_timer_closed);
}

static void fail(struct stream_connecting *c, int sys)
{
    struct err e = {0};

    err_sys(&e, sys, "cannot connect to %s", c->what);
    stream_fail(c->stream, &e);
}

static void on_connect_timer(void *ctx)
{
    struct stream_connecting *c = ctx;
    struct stream *s = c->stream;

    if (s->closing || s->failed)
        return;
    if (loop_now_ms(s->loop) >= c->until_ms) {
        fail(c, ETIMEDOUT);
    } else if (s->connecting == c) {
        c->retrying = false;
        loop_timer_start(&c->timer, c->until_ms - loop_now_ms(s->loop), 0);
        try_next(s);
    }
}

/* The socket is connected; with TLS the time limit goes on until the handshake is done. */
static void socket_connected(struct stream *s)
{
    if (s->tls == NULL) {
        stream_connecting_stop(s);
    } else {
        s->handshaking = s->connecting;
        s->connecting = NULL;
    }
}

static void connected(struct stream *s)
{
    socket_connected(s);
    s->events = 0; /* asks anew: what is watched changes from writing to reading */
    s->blocked = false;
    uv_poll_stop(&s->poll);
    stream_connected(s);
}

static bool next_address(struct stream_connecting *c)
{
    if (c->next == NULL)
        return false;
    memcpy(&c->to, c->next->ai_addr, c->next->ai_addrlen);
    c->to_len = c->next->ai_addrlen;
    c->next = c->next->ai_next;
    return true;
}

/* A socket for the present address; -1 and errno. */
static int make_socket(struct stream *s, struct stream_connecting *c)
{
    int one = 1;
    int fd = socket(c->to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    s->is_unix = c->to.any.sa_family == AF_UNIX;
    if (fd >= 0 && !s->is_unix) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        memcpy(&s->addr, &c->to, sizeof(s->addr));
    }
    return fd;
}

static int open_socket(struct stream *s, struct stream_connecting *c)
{
    struct err ignored;

    s->fd = make_socket(s, c);
    if (s->fd < 0)
        return errno;
    if (stream_open_poll(s, &ignored) != 0)
        return ENOMEM;
    return 0;
}

/* A new socket under the old number, which keeps the poll handle valid. 0 or an errno. */
static int swap_socket(struct stream *s, struct stream_connecting *c)
{
    if (s->fd < 0)
        return 0; /* the address before had none */
    int fd = make_socket(s, c);
    if (fd < 0)
        return errno;
    uv_poll_stop(&s->poll);
    s->events = 0;
    int code = dup3(fd, s->fd, O_CLOEXEC) < 0 ? errno : 0;
    close(fd);
    return code;
}

/* 0: connected, or it will be told; an errno: this address is none for us. */
static int try_address(struct stream *s, struct stream_connecting *c)
{
    if (connect(s->fd, &c->to.any, c->to_len) == 0 || errno == EISCONN) {
        s->tell_ready = true;
        loop_post(s->loop, &s->task);
        socket_connected(s);
    } else if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) {
        stream_update(s);
    } else if (errno == EAGAIN && s->is_unix) {
        c->retrying = true;
        loop_timer_start(&c->timer, RETRY_MS, 0);
    } else {
        return errno;
    }
    return 0;
}

/* Tries the present address; one that fails at once (no route, no such family) is followed by the
 * next one. */
static void try_next(struct stream *s)
{
    struct stream_connecting *c = s->connecting;
    int code;

    for (;;) {
        bool opened = s->fd >= 0;
        code = opened ? 0 : open_socket(s, c);
        if (!opened && code != 0 && code != EAFNOSUPPORT)
            break; /* no descriptor, no memory: the others need them as well */
        if (code == 0)
            code = try_address(s, c);
        if (code == 0)
            return;
        if (!next_address(c))
            break;
        int swapped = swap_socket(s, c);
        if (swapped != 0) {
            code = swapped;
            break;
        }
    }
    fail(c, code);
}

void stream_connecting_event(struct stream *s)
{
    int code = 0;
    socklen_t len = sizeof(code);

    if (s->connecting->retrying || s->failed)
        return;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
        code = errno;
    if (code == 0) {
        connected(s);
        return;
    }
    struct stream_connecting *c = s->connecting;
    if (!next_address(c)) {
        fail(c, code);
        return;
    }
    code = swap_socket(s, c);
    if (code != 0)
        fail(c, code);
    else
        try_next(s);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct stream_connecting *c = req->data;
    struct stream *s = c->stream;

    c->resolving = false;
    c->found = found;
    if (s->connecting != c) { /* closed meanwhile */
        maybe_free(c);
        return;
    }
    if (s->failed)
        return;
    c->next = found;
    if (status == 0 && next_address(c)) {
        try_next(s);
        return;
    }
    struct err e = {0};
    err_set(&e, ERR_UNREACHABLE, "cannot connect to %s: %s", c->what,
            status != 0 ? uv_strerror(status) : "the name has no address");
    stream_fail(s, &e);
}

static int unix_address(struct stream_connecting *c, const char *path, struct err *e)
{
    size_t len = strlen(path);
    char dir[4096];
    const char *slash = strrchr(path, '/');
    int n;

    c->to.un.sun_family = AF_UNIX;
    c->to_len = sizeof(c->to.un);
    snprintf(c->what, sizeof(c->what), "unix:%s", path);
    if (len < sizeof(c->to.un.sun_path)) {
        memcpy(c->to.un.sun_path, path, len + 1);
        return 0;
    }
    if (slash == NULL || (size_t)(slash - path) >= sizeof(dir))
        return err_set(e, ERR_LIMIT, "socket path \"%s\" is too long", path);
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    c->dir_fd = open(slash == path ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd < 0)
        return err_sys(e, errno, "cannot open folder \"%s\"", dir);
    n = snprintf(c->to.un.sun_path, sizeof(c->to.un.sun_path), "/proc/self/fd/%d/%s", c->dir_fd,
                 slash + 1);
    if (n < 0 || (size_t)n >= sizeof(c->to.un.sun_path))
        return err_set(e, ERR_LIMIT, "socket path \"%s\" is too long", path);
    return 0;
}

static int resolve(struct stream *s, struct stream_connecting *c, const struct stream_target *t,
                   struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char port[8];
    int rc;

    snprintf(c->what, sizeof(c->what), "%s:%u", t->host, t->port);
    if (uv_ip4_addr(t->host, t->port, &c->to.v4) == 0) {
        c->to_len = sizeof(c->to.v4);
        return 0;
    }
    if (uv_ip6_addr(t->host, t->port, &c->to.v6) == 0) {
        c->to_len = sizeof(c->to.v6);
        return 0;
    }
    snprintf(port, sizeof(port), "%u", t->port);
    c->resolve.data = c;
    rc = uv_getaddrinfo(loop_uv(s->loop), &c->resolve, on_resolved, t->host, port, &hints);
    if (rc != 0)
        return err_sys(e, rc, "cannot look up \"%s\"", t->host);
    c->resolving = true;
    return 0;
}

/* Everything that can fail at once: TLS, the address, the socket. */
static int prepare(struct stream *s, struct stream_connecting *c, const struct stream_target *t,
                   struct err *e)
{
    int rc = t->tls != NULL ? stream_open_tls(s, t->tls, e) : 0;

    if (rc == 0)
        rc = t->unix_path != NULL ? unix_address(c, t->unix_path, e) : resolve(s, c, t, e);
    if (rc != 0 || c->resolving)
        return rc;
    rc = open_socket(s, c);
    return rc == 0 ? 0 : err_sys(e, rc, "cannot connect to %s", c->what);
}

int stream_connect(struct stream **ret, struct loop *l, const struct stream_target *t,
                   uint64_t timeout_ms, const struct stream_user *u, void *ctx, struct err *e)
{
    struct stream *s = stream_make(l, u, ctx);
    struct stream_connecting *c = mem_zalloc(sizeof(*c));

    if (s == NULL || c == NULL) {
        stream_discard(s);
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "cannot connect: out of memory");
    }
    c->dir_fd = -1;
    c->stream = s;
    int rc = prepare(s, c, t, e);
    if (rc != 0) {
        connecting_free(c);
        stream_discard(s);
        return rc;
    }
    s->connecting = c;
    s->handles++; /* the timer, and the look-up if there is one */
    (void)loop_timer_init(l, &c->timer, on_connect_timer, c);
    c->until_ms = loop_now_ms(l) + timeout_ms;
    loop_timer_start(&c->timer, timeout_ms, 0);
    if (!c->resolving)
        try_next(s);
    *ret = s;
    return 0;
}
