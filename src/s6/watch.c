#include "s6/watch.h"
#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCH_EVENTS                                                                               \
    (IN_CREATE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ATTRIB |                 \
     IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* The descriptor and its handle: closed asynchronously, while the watcher may open another one. */
struct port {
    uv_poll_t poll;
    int fd;
    struct s6_watcher *w; /* NULL: closing */
};

struct s6_watcher {
    struct loop *loop;
    struct port *port; /* NULL: nothing is watched */
    struct list_node watches;
    struct list_node *next; /* where a round of calls goes on; moved when that watch is removed */
};

int s6_watcher_new(struct s6_watcher **ret, struct loop *l, struct err *e)
{
    struct s6_watcher *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->loop = l;
    list_init(&w->watches);
    *ret = w;
    return 0;
}

static void on_port_closed(uv_handle_t *h)
{
    struct port *p = h->data;
    close(p->fd);
    mem_free(p);
}

static void close_port(struct s6_watcher *w)
{
    struct port *p = STEAL(w->port);
    if (p == NULL)
        return;
    p->w = NULL;
    uv_close((uv_handle_t *)&p->poll, on_port_closed);
}

void s6_watcher_free(struct s6_watcher *w)
{
    if (w == NULL)
        return;
    INVARIANT(list_empty(&w->watches));
    close_port(w);
    mem_free(w);
}

/* Calls the watches of one folder, or all (wd -1: the kernel's queue overflowed). */
static void tell(struct s6_watcher *w, int wd, uint32_t mask, const char *name)
{
    for (struct list_node *n = w->watches.next; n != &w->watches; n = w->next) {
        struct s6_watch *u = CONTAINER_OF(n, struct s6_watch, link);
        w->next = n->next;
        if (wd >= 0 && u->wd != wd)
            continue;
        if (mask & IN_IGNORED)
            u->wd = -1; /* the kernel has dropped it */
        u->fn(u->ctx, name);
    }
    w->next = NULL;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    _Alignas(struct inotify_event) char bytes[4096];
    struct port *p = h->data;
    (void)status;
    (void)events;
    if (p->w == NULL)
        return;
    ssize_t n = read(p->fd, bytes, sizeof(bytes));
    int last_wd = -2;
    for (ssize_t at = 0; n > 0 && at < n && p->w != NULL;) {
        const struct inotify_event *ev = (const void *)(bytes + at);
        at += (ssize_t)(sizeof(*ev) + ev->len);
        if (ev->mask & IN_Q_OVERFLOW)
            tell(p->w, -1, 0, NULL);
        else if (ev->wd != last_wd || (ev->mask & ~(uint32_t)IN_MODIFY) != 0)
            tell(p->w, ev->wd, ev->mask, ev->len > 0 ? ev->name : NULL);
        /* Writes in a row to the same file are one change; the answer to the first saw them all. */
        last_wd = ev->mask == IN_MODIFY ? ev->wd : -2;
    }
}

static int open_port(struct s6_watcher *w, struct err *e)
{
    if (w->port != NULL)
        return 0;
    struct port *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    p->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (p->fd < 0) {
        mem_free(p);
        return err_sys(e, errno, "inotify");
    }
    int rc = uv_poll_init(loop_uv(w->loop), &p->poll, p->fd);
    if (rc != 0) {
        close(p->fd);
        mem_free(p);
        return err_sys(e, rc, "inotify");
    }
    p->poll.data = p;
    p->w = w;
    w->port = p;
    rc = uv_poll_start(&p->poll, UV_READABLE, on_readable);
    if (rc != 0) {
        close_port(w);
        return err_sys(e, rc, "inotify");
    }
    return 0;
}

void s6_watch_init(struct s6_watch *u, void (*fn)(void *ctx, const char *name), void *ctx)
{
    list_init(&u->link);
    u->wd = -1;
    u->fn = fn;
    u->ctx = ctx;
}

int s6_watch_start(struct s6_watcher *w, struct s6_watch *u, const char *path, struct err *e)
{
    int rc = open_port(w, e);
    if (rc != 0)
        return rc;
    INVARIANT(w->port != NULL);
    int wd = inotify_add_watch(w->port->fd, path, WATCH_EVENTS);
    if (wd < 0) {
        rc = err_sys(e, errno, "watch \"%s\"", path);
        if (list_empty(&w->watches))
            close_port(w);
        return rc;
    }
    if (list_empty(&u->link))
        list_push_back(&w->watches, &u->link);
    u->wd = wd;
    return 0;
}

int s6_watch_start_fd(struct s6_watcher *w, struct s6_watch *u, int dirfd, struct err *e)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
    return s6_watch_start(w, u, path, e);
}

static bool folder_used(const struct s6_watcher *w, int wd)
{
    LIST_FOR (n, &w->watches)
        if (CONTAINER_OF(n, struct s6_watch, link)->wd == wd)
            return true;
    return false;
}

void s6_watch_stop(struct s6_watcher *w, struct s6_watch *u)
{
    if (list_empty(&u->link))
        return;
    int wd = u->wd;
    if (w->next == &u->link)
        w->next = u->link.next;
    list_remove(&u->link);
    u->wd = -1;
    if (w->port != NULL && wd >= 0 && !folder_used(w, wd))
        (void)inotify_rm_watch(w->port->fd, wd);
    if (list_empty(&w->watches))
        close_port(w);
}
