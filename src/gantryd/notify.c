#include "gantryd/notify.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_MAX = 200, TEXT_MAX = 512 };

struct notify {
    int fd; /* -1: nobody wants to hear */
    struct sockaddr_un to;
    socklen_t to_len;
    struct loop_timer watchdog;
    bool has_watchdog;
};

static int address_parse(struct notify *n, const char *name, struct err *e)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2)
        return err_set(e, ERR_INVALID, "NOTIFY_SOCKET \"%.200s\" is neither a path nor \"@name\"",
                       name);
    if (len >= sizeof(n->to.sun_path))
        return err_set(e, ERR_INVALID, "NOTIFY_SOCKET \"%.200s\" is too long", name);
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, name, len);
    if (name[0] == '@') /* an abstract name begins with NUL and has no end mark */
        n->to.sun_path[0] = '\0';
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
    return 0;
}

static void tell(struct notify *n, const char *text)
{
    if (n->fd < 0)
        return;
    ssize_t rc;
    do
        rc = sendto(n->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                    (const struct sockaddr *)&n->to, n->to_len);
    while (rc < 0 && errno == EINTR);
}

static void on_watchdog(void *ctx)
{
    tell(ctx, "WATCHDOG=1");
}

/* Milliseconds between two signs of life; 0: nobody waits for them. */
static uint64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us = 0, who = (uint64_t)getpid();
    if (usec == NULL || str_to_u64(slice_of(usec), &us) != 0 || us == 0 ||
        (pid != NULL && str_to_u64(slice_of(pid), &who) != 0) || who != (uint64_t)getpid())
        return 0;
    return us / 2000 > 0 ? us / 2000 : 1;
}

static int open_socket(struct notify *n, struct loop *l, struct err *e)
{
    const char *name = getenv("NOTIFY_SOCKET");
    uint64_t ms = watchdog_ms();
    if (name == NULL || name[0] == '\0')
        return 0;
    int rc = address_parse(n, name, e);
    if (rc != 0)
        return rc;
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd < 0)
        return err_sys(e, errno, "cannot make a socket for NOTIFY_SOCKET");
    if (ms == 0)
        return 0;
    rc = loop_timer_init(l, &n->watchdog, on_watchdog, n);
    if (rc != 0)
        return err_set(e, rc, "cannot make a timer");
    n->has_watchdog = true;
    loop_timer_start(&n->watchdog, ms, ms);
    return 0;
}

int notify_new(struct notify **ret, struct loop *l, struct err *e)
{
    struct notify *n = mem_zalloc(sizeof(*n));
    if (n == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    n->fd = -1;
    int rc = open_socket(n, l, e);
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (rc != 0) {
        notify_free(n);
        return rc;
    }
    *ret = n;
    return 0;
}

void notify_free(struct notify *n)
{
    if (n == NULL)
        return;
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    if (n->has_watchdog)
        loop_timer_close(&n->watchdog, mem_free);
    else
        mem_free(n);
}

/* STATUS= must stay one line. */
static void add_status(struct buf *b, const char *status)
{
    if (status == NULL)
        return;
    char line[STATUS_MAX + 1];
    (void)snprintf(line, sizeof(line), "%s", status);
    for (char *p = line; *p != '\0'; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    size_t len = strlen(line);
    while (len > 0 && !utf8_valid(line, len)) /* cut between characters */
        len--;
    (void)buf_addf(b, "\nSTATUS=%.*s", (int)len, line);
}

static void tell_state(struct notify *n, const char *state, const char *status)
{
    char text[TEXT_MAX];
    struct buf b = BUF_FIXED(text);
    if (n == NULL)
        return;
    (void)buf_adds(&b, state);
    add_status(&b, status);
    tell(n, text);
}

void notify_ready(struct notify *n, const char *status)
{
    tell_state(n, "READY=1", status);
}

void notify_reloading(struct notify *n, const char *status)
{
    char state[64];
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                   (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell_state(n, state, status);
}

void notify_stopping(struct notify *n, const char *status)
{
    tell_state(n, "STOPPING=1", status);
}
