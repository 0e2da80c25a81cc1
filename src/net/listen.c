/* listen.c: sockets to accept from. */
#include "net/listen.h"

#include "base/mem.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* ---- Unix ---- */

struct place {
    int dir;          /* folder of the socket file */
    const char *name; /* inside it */
};

/* A socket address by way of the folder's descriptor: has room for every name, however long the
 * path. */
static int place_address(const struct place *p, const char *name, struct sockaddr_un *un)
{
    un->sun_family = AF_UNIX;
    int n = snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d/%s", p->dir, name);
    return n > 0 && (size_t)n < sizeof(un->sun_path) ? 0 : ERR_LIMIT;
}

static int place_open(struct place *p, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? mem_strdup(".")
                                 : mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));

    if (folder == NULL)
        return err_set(e, ERR_NO_MEMORY, "cannot listen on \"%s\": out of memory", path);
    p->name = slash == NULL ? path : slash + 1;
    p->dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc =
        p->dir < 0 ? err_sys(e, errno, "cannot listen on \"%s\": folder \"%s\"", path, folder) : 0;
    mem_free(folder);
    if (rc == 0 && (p->name[0] == '\0' || strlen(p->name) > 64)) {
        close(p->dir);
        rc = err_set(e, ERR_INVALID, "cannot listen on \"%s\": the name must have 1 to 64 bytes",
                     path);
    }
    return rc;
}

/* What is there already may be replaced only if it is a socket that nobody answers on. */
static int check_stale(const struct place *p, const char *path, struct err *e)
{
    struct stat st;
    struct sockaddr_un un;

    if (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot listen on \"%s\"", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_EXISTS, "cannot listen on \"%s\": the file exists and is no socket",
                       path);
    if (place_address(p, p->name, &un) != 0)
        return err_set(e, ERR_INVALID, "cannot listen on \"%s\": the name is too long", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, errno, "cannot listen on \"%s\"", path);
    int rc = connect(fd, (struct sockaddr *)&un, sizeof(un));
    int sys = errno;
    close(fd);
    if (rc == 0 || sys == EAGAIN || sys == EINPROGRESS)
        return err_set(e, ERR_EXISTS, "cannot listen on \"%s\": another process answers there",
                       path);
    if (sys == ECONNREFUSED || sys == ENOENT)
        return 0;
    return err_sys(e, sys, "cannot listen on \"%s\": it exists and cannot be tried", path);
}

/* Binds under a name that nobody knows and gives it mode, group and backlog before it gets its own.
 */
static int bind_unix(struct listen_socket *s, const struct place *p,
                     const struct listener_options *o, struct err *e)
{
    struct sockaddr_un un;
    struct stat st;
    char temp[96];

    snprintf(temp, sizeof(temp), ".%.64s.%ld", p->name, (long)getpid());
    if (place_address(p, temp, &un) != 0)
        return err_set(e, ERR_INVALID, "cannot listen on \"%s\": the name is too long",
                       o->unix_path);
    (void)unlinkat(p->dir, temp, 0);
    /* The new file takes its mode from the socket: nobody but us until it is set. */
    if (fchmod(s->fd, 0600) != 0 || bind(s->fd, (struct sockaddr *)&un, sizeof(un)) != 0)
        return err_sys(e, errno, "cannot listen on \"%s\"", o->unix_path);
    if ((o->unix_gid != (gid_t)-1 &&
         fchownat(p->dir, temp, (uid_t)-1, o->unix_gid, AT_SYMLINK_NOFOLLOW) != 0) ||
        fchmodat(p->dir, temp, o->unix_mode, 0) != 0 || listen(s->fd, BACKLOG) != 0 ||
        fstatat(p->dir, temp, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        renameat(p->dir, temp, p->dir, p->name) != 0) {
        int sys = errno;
        (void)unlinkat(p->dir, temp, 0);
        return err_sys(e, sys, "cannot listen on \"%s\"", o->unix_path);
    }
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return 0;
}

static int open_unix(struct listen_socket *s, const struct listener_options *o, struct err *e)
{
    struct place p = {.dir = -1};
    int rc = place_open(&p, o->unix_path, e);

    if (rc != 0)
        return rc;
    INVARIANT(p.name != NULL);
    snprintf(s->address, sizeof(s->address), "unix:%s", o->unix_path);
    char *path = mem_strdup(o->unix_path);
    rc = path == NULL
             ? err_set(e, ERR_NO_MEMORY, "cannot listen on \"%s\": out of memory", o->unix_path)
             : check_stale(&p, o->unix_path, e);
    if (rc == 0) {
        s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = s->fd < 0 ? err_sys(e, errno, "cannot listen on \"%s\"", o->unix_path)
                       : bind_unix(s, &p, o, e);
    }
    close(p.dir);
    if (rc == 0)
        s->unix_path = STEAL(path);
    mem_free(path);
    return rc;
}

/* ---- TCP ---- */

union ip_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void tcp_address_text(struct listen_socket *s, const struct listener_options *o,
                             union ip_address *a)
{
    char host[INET6_ADDRSTRLEN] = "";
    const char *scheme = o->tls != NULL ? "https" : "http";

    if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host));
        s->port = ntohs(a->v6.sin6_port);
        snprintf(s->address, sizeof(s->address), "%s://[%s]:%u", scheme, host, s->port);
    } else {
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host));
        s->port = ntohs(a->v4.sin_port);
        snprintf(s->address, sizeof(s->address), "%s://%s:%u", scheme, host, s->port);
    }
}

static int open_tcp(struct listen_socket *s, const struct listener_options *o, struct err *e)
{
    union ip_address a = {0};
    socklen_t len = sizeof(a);
    int one = 1;

    if (uv_ip4_addr(o->host, o->port, &a.v4) != 0 && uv_ip6_addr(o->host, o->port, &a.v6) != 0)
        return err_set(e, ERR_INVALID, "\"%s\" is not a numeric address", o->host);
    s->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0)
        return err_sys(e, errno, "cannot listen on %s port %u", o->host, o->port);
    (void)setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    /* Accepted sockets inherit it, which saves a call for each. */
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (a.any.sa_family == AF_INET6)
        (void)setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(s->fd, &a.any, a.any.sa_family == AF_INET6 ? sizeof(a.v6) : sizeof(a.v4)) != 0 ||
        listen(s->fd, BACKLOG) != 0 || getsockname(s->fd, &a.any, &len) != 0) {
        int sys = errno;
        if (sys == EADDRINUSE)
            return err_set(e, ERR_EXISTS, "cannot listen on %s port %u: another process has it",
                           o->host, o->port);
        return err_sys(e, sys, "cannot listen on %s port %u", o->host, o->port);
    }
    tcp_address_text(s, o, &a);
    return 0;
}

int listen_open(struct listen_socket *ret, const struct listener_options *o, struct err *e)
{
    struct listen_socket s = {.fd = -1};
    int rc;

    if ((o->unix_path != NULL) == (o->host != NULL))
        return err_set(e, ERR_INVALID, "a listener needs either an address or a socket path");
    rc = o->unix_path != NULL ? open_unix(&s, o, e) : open_tcp(&s, o, e);
    if (rc != 0) {
        if (s.fd >= 0)
            close(s.fd);
        return rc;
    }
    *ret = s;
    return 0;
}

void listen_close(struct listen_socket *s)
{
    struct stat st;

    if (s->fd < 0)
        return;
    /* Unlinked before it is closed, so that nobody finds a socket that refuses. */
    if (s->unix_path != NULL && lstat(s->unix_path, &st) == 0 && st.st_dev == s->dev &&
        st.st_ino == s->ino)
        (void)unlink(s->unix_path);
    close(s->fd);
    s->fd = -1;
    mem_free(s->unix_path);
    s->unix_path = NULL;
}
