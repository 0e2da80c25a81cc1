/* server.c: listeners, accepting, the deadlines and the end of connections. */
#include "net/server.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/exchange_priv.h"
#include "net/listen.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SERVER_MAGIC = 0x53525652,
    ACCEPTS_PER_EVENT = 64,
    MAX_CONNECTIONS = 10000,
    NAME_MAX_BYTES = 64,
    RETRY_MS = 100,  /* accepting rests this long when even the spare descriptor is gone */
    TRIM_FROM = 256, /* connections */
    LINGER_MS = 2000,
    HALF_MS = 1000,
};

static const char too_many[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "content-length: 20\r\n"
                               "content-type: text/plain; charset=utf-8\r\n"
                               "retry-after: 1\r\n"
                               "connection: close\r\n\r\n"
                               "Too many connections";

struct listener {
    struct list_node link;
    struct server *server;
    struct listener_options o;
    struct listen_socket socket;
    uv_poll_t poll;
    struct loop_timer cut; /* of one that was taken away */
    size_t conns;
    unsigned handles; /* poll and timer, not closed yet */
    bool orphan;      /* freed with the last handle and the last connection */
};

struct server {
    uint32_t magic;
    struct loop *loop;
    struct server_options o;
    struct server_limits *held; /* of connections that are accepted now */
    char name[NAME_MAX_BYTES + 1];
    struct server_stats stats;
    struct list_node listeners, conns;
    struct deadline_class *waits[WAIT_NONE], *ping, *pong;
    size_t peak; /* of connections, since memory was last given back */
    void *spares;
    void (*spares_free)(void *spares);
    int spare_fd; /* given up for a moment to answer somebody when descriptors have run out */
    struct loop_timer retry, cut;
    unsigned timers; /* not closed yet */
    struct loop_task done_task;
    bool draining, freed;
    struct {
        void (*fn)(void *ctx);
        void *ctx;
    } done[2]; /* of drain and of stop */
};

/* ---- connections ---- */

static void limits_unref(struct server_limits *l)
{
    if (--l->refs == 0)
        mem_free(l);
}

static void listener_maybe_free(struct listener *li)
{
    if (li->orphan && li->handles == 0 && li->conns == 0)
        mem_free(li);
}

static void maybe_done(struct server *s)
{
    if (s->draining && list_empty(&s->conns))
        loop_post(s->loop, &s->done_task);
}

void server_conn_gone(struct server_conn *c)
{
    struct server *s = c->server;

    list_remove(&c->link);
    deadline_disarm(&c->deadline);
    deadline_disarm(&c->alive);
    s->stats.connections--;
    limits_unref(c->held);
    c->listener->conns--;
    listener_maybe_free(c->listener);
    mem_free(c);
    if (s->peak >= TRIM_FROM && s->stats.connections < s->peak / 8) {
        /* A crowd has left: its memory lies in small pieces that the allocator keeps by itself. */
        s->peak = s->stats.connections;
        (void)malloc_trim(0);
    }
    maybe_done(s);
}

void server_conn_wait(struct server_conn *c, enum conn_wait what)
{
    c->waiting = what;
    if (what == WAIT_NONE) {
        deadline_disarm(&c->deadline);
        return;
    }
    if (what == WAIT_WRITE)
        c->sent_mark = stream_sent(c->stream);
    deadline_arm(c->server->waits[what], &c->deadline);
}

enum conn_wait server_conn_waiting(const struct server_conn *c)
{
    return c->waiting;
}

static void on_expired(struct deadline *d)
{
    struct server_conn *c = CONTAINER_OF(d, struct server_conn, deadline);

    if (c->waiting == WAIT_WRITE && stream_queued(c->stream) > 0 &&
        stream_sent(c->stream) != c->sent_mark) {
        server_conn_wait(c, WAIT_WRITE);
        return;
    }
    if (c->waiting <= WAIT_BODY || (c->waiting == WAIT_WRITE && stream_queued(c->stream) > 0))
        c->server->stats.timeouts++;
    if (c->protocol != NULL)
        c->protocol->expire(c);
    else
        stream_close(c->stream);
}

void server_conn_heard(struct server_conn *c)
{
    deadline_arm(c->server->ping, &c->alive);
}

static void on_silence(struct deadline *d)
{
    struct server_conn *c = CONTAINER_OF(d, struct server_conn, alive);

    deadline_arm(c->server->pong, d);
    c->protocol->probe(c);
}

static void on_no_pong(struct deadline *d)
{
    struct server_conn *c = CONTAINER_OF(d, struct server_conn, alive);

    c->server->stats.timeouts++;
    stream_close(c->stream);
}

static void gone_upgraded(void *ctx)
{
    server_conn_gone(ctx);
}

void server_conn_upgraded(struct server_conn *c)
{
    c->upgraded = true;
    deadline_disarm(&c->deadline);
    stream_on_gone(c->stream, gone_upgraded, c);
}

/* ---- which protocol ---- */

static void choose(struct server_conn *c, const struct protocol *p)
{
    c->protocol = p;
    if (p->open(c) != 0) {
        c->protocol = NULL;
        stream_close(c->stream);
    }
}

static void early_data(void *ctx, const char *p, size_t n)
{
    struct server_conn *c = ctx;
    const struct protocol *const *list = c->listener->o.protocols;
    char begin[sizeof(c->early)];
    size_t held = c->n_early, more = n < sizeof(begin) - held ? n : sizeof(begin) - held;
    bool wait = false;

    memcpy(begin, c->early, held);
    memcpy(begin + held, p, more);
    for (; *list != NULL; list++) {
        int mine = (*list)->sniff(begin, held + more);
        if (mine > 0)
            break;
        wait = wait || mine < 0;
    }
    if (*list == NULL && wait && held + more < sizeof(begin)) {
        memcpy(c->early, begin, held + more);
        c->n_early = (uint8_t)(held + more);
        return;
    }
    if (*list == NULL) {
        stream_close(c->stream);
        return;
    }
    choose(c, *list);
    stream_inject(c->stream, begin, held);
    stream_inject(c->stream, p, n);
}

/* TLS: the client has agreed on a protocol, or is left to its first bytes. */
static void early_ready(void *ctx)
{
    struct server_conn *c = ctx;
    struct slice alpn = stream_alpn(c->stream);

    for (const struct protocol *const *p = c->listener->o.protocols; *p != NULL; p++) {
        if (slice_eqs(alpn, (*p)->name) || (c->listener->o.protocols[1] == NULL && alpn.len == 0)) {
            choose(c, *p);
            return;
        }
    }
}

static void early_end(void *ctx)
{
    struct server_conn *c = ctx;

    stream_close(c->stream);
}

static void early_failed(void *ctx, const struct err *e BASE_UNUSED)
{
    early_end(ctx);
}

static void early_closed(void *ctx)
{
    server_conn_gone(ctx);
}

static const struct stream_user early_user = {
    .ready = early_ready,
    .data = early_data,
    .eof = early_end,
    .failed = early_failed,
    .closed = early_closed,
};

/* ---- accepting ---- */

static void refuse(struct listener *li, int fd)
{
    char drop[512];

    li->server->stats.refused++;
    if (li->o.tls == NULL) {
        /* What has come already is read: bytes left unread would turn the answer into a reset. */
        (void)recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
        (void)send(fd, too_many, sizeof(too_many) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)shutdown(fd, SHUT_WR);
    }
    close(fd);
}

static void take(struct listener *li, int fd, const struct sockaddr *addr)
{
    struct server *s = li->server;
    struct server_conn *c;

    if (s->stats.connections >= s->o.max_connections || (c = mem_zalloc(sizeof(*c))) == NULL) {
        refuse(li, fd);
        return;
    }
    c->server = s;
    c->listener = li;
    c->held = s->held;
    deadline_init(&c->deadline);
    deadline_init(&c->alive);
    list_init(&c->link);
    if (stream_accept(&c->stream, s->loop, fd, addr, li->o.tls, &early_user, c, NULL) != 0) {
        mem_free(c);
        s->stats.refused++;
        return;
    }
    list_push_back(&s->conns, &c->link);
    c->held->refs++;
    li->conns++;
    s->stats.connections++;
    if (s->peak < s->stats.connections)
        s->peak = s->stats.connections;
    s->stats.accepted++;
    server_conn_wait(c, WAIT_FIRST_BYTE);
    if (li->o.tls == NULL && li->o.protocols[1] == NULL)
        choose(c, li->o.protocols[0]);
}

static void listener_watch(struct listener *li, bool on);

static void rest(struct server *s)
{
    LIST_FOR (n, &s->listeners)
        listener_watch(CONTAINER_OF(n, struct listener, link), false);
    loop_timer_start(&s->retry, RETRY_MS, 0);
}

static void on_retry(void *ctx)
{
    struct server *s = ctx;

    if (s->spare_fd < 0)
        s->spare_fd = open("/", O_PATH | O_CLOEXEC);
    LIST_FOR (n, &s->listeners)
        listener_watch(CONTAINER_OF(n, struct listener, link), true);
}

/* No descriptor left: gives up the spare one, takes the caller with it, tells it so and closes.
 * Left in the backlog it would wake us up for ever. True to go on accepting. */
static bool out_of_files(struct listener *li)
{
    struct server *s = li->server;

    if (s->spare_fd < 0) {
        rest(s);
        return false;
    }
    close(s->spare_fd);
    int fd = accept4(li->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int sys = errno;
    if (fd >= 0)
        refuse(li, fd);
    s->spare_fd = open("/", O_PATH | O_CLOEXEC);
    if (fd < 0 && sys != EAGAIN && sys != EWOULDBLOCK)
        rest(s);
    return fd >= 0;
}

static bool accept_one(struct listener *li)
{
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
    } a;
    socklen_t len = sizeof(a);
    bool is_unix = li->socket.unix_path != NULL;
    int fd = accept4(li->socket.fd, is_unix ? NULL : &a.any, is_unix ? NULL : &len,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        take(li, fd, is_unix ? NULL : &a.any);
        return true;
    }
    switch (errno) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
        return out_of_files(li);
    case ENOMEM:
    case ENOBUFS:
        rest(li->server);
        return false;
    default:
        return true; /* that one connection broke before it was accepted */
    }
}

static void on_connection(uv_poll_t *h, int status BASE_UNUSED, int events BASE_UNUSED)
{
    struct listener *li = h->data;

    for (int i = 0; i < ACCEPTS_PER_EVENT && li->socket.fd >= 0; i++) {
        if (!accept_one(li))
            break;
    }
}

static void listener_watch(struct listener *li, bool on)
{
    if (li->socket.fd < 0)
        return;
    if (on)
        uv_poll_start(&li->poll, UV_READABLE, on_connection);
    else
        uv_poll_stop(&li->poll);
}

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *li = h->data;

    li->handles--;
    listener_maybe_free(li);
}

static void on_listener_timer_closed(void *ctx)
{
    struct listener *li = ctx;

    li->handles--;
    listener_maybe_free(li);
}

static void listener_close(struct listener *li)
{
    if (li->socket.fd < 0)
        return;
    uv_close((uv_handle_t *)&li->poll, on_listener_closed);
    listen_close(&li->socket);
    li->server->stats.listeners--;
}

/* Out of the list for good; the memory goes with the last handle and connection. */
static void listener_forget(struct listener *li)
{
    list_remove(&li->link);
    if (li->o.tls != NULL)
        stream_tls_release(li->o.tls);
    li->o.tls = NULL;
    li->orphan = true;
    loop_timer_close(&li->cut, on_listener_timer_closed);
}

static void on_listener_cut(void *ctx)
{
    struct listener *li = ctx;
    struct server *s = li->server;

    LIST_FOR_SAFE (n, &s->conns) {
        struct server_conn *c = CONTAINER_OF(n, struct server_conn, link);
        if (c->listener == li)
            stream_close(c->stream);
    }
    listener_forget(li);
}

int server_listen(struct server *s, const struct listener_options *o, struct listener **ret,
                  struct err *e)
{
    struct listener *li = mem_zalloc(sizeof(*li));
    int rc;

    CHECK_MAGIC(s, SERVER_MAGIC);
    if (li == NULL)
        return err_set(e, ERR_NO_MEMORY, "cannot listen: out of memory");
    if (s->draining || o->protocols == NULL || o->protocols[0] == NULL || o->handler == NULL) {
        mem_free(li);
        return err_set(e, ERR_INVALID, "a listener needs a protocol and a handler");
    }
    li->server = s;
    li->o = *o;
    rc = listen_open(&li->socket, o, e);
    if (rc != 0) {
        mem_free(li);
        return rc;
    }
    li->o.unix_path = li->o.host = NULL; /* the caller's */
    rc = uv_poll_init(loop_uv(s->loop), &li->poll, li->socket.fd);
    if (rc != 0) {
        listen_close(&li->socket);
        mem_free(li);
        return err_sys(e, rc, "cannot watch a listener");
    }
    if (li->o.tls != NULL)
        stream_tls_hold(li->o.tls);
    li->poll.data = li;
    (void)loop_timer_init(s->loop, &li->cut, on_listener_cut, li);
    li->handles = 2;
    list_push_back(&s->listeners, &li->link);
    s->stats.listeners++;
    listener_watch(li, true);
    if (ret != NULL)
        *ret = li;
    return 0;
}

const char *listener_address(const struct listener *li)
{
    return li->socket.address;
}

unsigned listener_mark(const struct listener *li)
{
    return li->o.mark;
}

uint16_t listener_port(const struct listener *li)
{
    return li->socket.port;
}

static void drain_conn(struct server_conn *c)
{
    if (c->protocol == NULL)
        stream_close(c->stream);
    else if (!c->upgraded)
        c->protocol->drain(c);
}

void server_unlisten(struct server *s, struct listener *li, uint64_t limit_ms)
{
    CHECK_MAGIC(s, SERVER_MAGIC);
    INVARIANT(li->server == s && !li->orphan);
    listener_close(li);
    LIST_FOR_SAFE (n, &s->conns) {
        struct server_conn *c = CONTAINER_OF(n, struct server_conn, link);
        if (c->listener == li)
            drain_conn(c);
    }
    loop_timer_start(&li->cut, limit_ms, 0);
}

void listener_set_mark(struct listener *li, unsigned mark)
{
    li->o.mark = mark;
}

void listener_set_tls(struct listener *li, struct tls_context *tls)
{
    if (tls != NULL)
        stream_tls_hold(tls);
    if (li->o.tls != NULL)
        stream_tls_release(li->o.tls);
    li->o.tls = tls;
}

/* ---- for protocols ---- */

const struct server_options *server_options(const struct server *s)
{
    return &s->o;
}

struct server_stats *server_counts(struct server *s)
{
    return &s->stats;
}

bool server_draining(const struct server *s)
{
    return s->draining;
}

void server_handle(struct exchange *x)
{
    const struct listener_options *o = &x->conn->listener->o;

    o->handler(o->ctx, x);
}

void **server_spares(struct server *s, void (*free_fn)(void *spares))
{
    s->spares_free = free_fn;
    return &s->spares;
}

const struct server_stats *server_stats(const struct server *s)
{
    return &s->stats;
}

const struct listener *exchange_listener(const struct exchange *x)
{
    return x->conn->listener;
}

/* ---- beginning and end ---- */

static void fill_limits(struct http_limits *l)
{
    const struct http_limits *d = &http_limits_default;

#define FILL(field) l->field = l->field != 0 ? l->field : d->field
    FILL(max_head);
    FILL(max_headers);
    FILL(max_target);
    FILL(max_body);
    FILL(max_queue);
    FILL(max_streams);
    FILL(max_pipelined);
    FILL(first_byte_ms);
    FILL(head_ms);
    FILL(body_ms);
    FILL(idle_ms);
    FILL(write_ms);
    FILL(ping_ms);
    FILL(pong_ms);
#undef FILL
}

static uint64_t wait_ms(const struct http_limits *l, enum conn_wait what)
{
    const uint64_t ms[WAIT_NONE] = {
        [WAIT_FIRST_BYTE] = l->first_byte_ms,
        [WAIT_HEAD] = l->head_ms,
        [WAIT_BODY] = l->body_ms,
        [WAIT_IDLE] = l->idle_ms,
        [WAIT_WRITE] = l->write_ms,
        [WAIT_LINGER] = LINGER_MS,
        [WAIT_HALF] = HALF_MS,
    };

    return ms[what];
}

static int make_waits(struct server *s)
{
    int rc = 0;

    for (int i = 0; i < WAIT_NONE && rc == 0; i++)
        rc = deadline_class_new(&s->waits[i], s->loop, wait_ms(&s->held->limits, (enum conn_wait)i),
                                on_expired);
    if (rc == 0)
        rc = deadline_class_new(&s->ping, s->loop, s->held->limits.ping_ms, on_silence);
    if (rc == 0)
        rc = deadline_class_new(&s->pong, s->loop, s->held->limits.pong_ms, on_no_pong);
    return rc;
}

int server_prepare_limits(struct server *s BASE_UNUSED, const struct http_limits *l,
                          struct server_limits **ret)
{
    struct server_limits *n = mem_zalloc(sizeof(*n));

    if (n == NULL)
        return ERR_NO_MEMORY;
    n->refs = 1;
    n->limits = *l;
    fill_limits(&n->limits);
    *ret = n;
    return 0;
}

void server_set_limits(struct server *s, struct server_limits *l, size_t max_connections)
{
    CHECK_MAGIC(s, SERVER_MAGIC);
    limits_unref(s->held);
    s->held = l;
    s->o.limits = l->limits;
    s->o.max_connections = max_connections != 0 ? max_connections : MAX_CONNECTIONS;
    for (int i = 0; i < WAIT_NONE; i++)
        deadline_class_set(s->waits[i], wait_ms(&l->limits, (enum conn_wait)i));
    deadline_class_set(s->ping, l->limits.ping_ms);
    deadline_class_set(s->pong, l->limits.pong_ms);
}

void server_limits_drop(struct server_limits *l)
{
    if (l != NULL)
        limits_unref(l);
}

static void on_done(struct loop_task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, done_task);

    loop_timer_stop(&s->cut);
    for (size_t i = 0; i < ARRAY_LEN(s->done); i++) {
        void (*fn)(void *ctx) = s->done[i].fn;
        s->done[i].fn = NULL;
        if (fn != NULL)
            fn(s->done[i].ctx);
    }
}

static void cut_all(struct server *s)
{
    LIST_FOR_SAFE (n, &s->conns)
        stream_close(CONTAINER_OF(n, struct server_conn, link)->stream);
}

static void on_cut(void *ctx)
{
    cut_all(ctx);
}

int server_new(struct server **ret, struct loop *l, const struct server_options *o, struct err *e)
{
    struct server *s;

    if (o->server_name != NULL && strlen(o->server_name) > NAME_MAX_BYTES)
        return err_set(e, ERR_INVALID, "server name \"%s\" is too long", o->server_name);
    s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "cannot make a server: out of memory");
    s->magic = SERVER_MAGIC;
    s->loop = l;
    s->o = *o;
    if (o->server_name != NULL) {
        memcpy(s->name, o->server_name, strlen(o->server_name));
        s->o.server_name = s->name;
    }
    if (s->o.max_connections == 0)
        s->o.max_connections = MAX_CONNECTIONS;
    list_init(&s->listeners);
    list_init(&s->conns);
    loop_task_init(&s->done_task, on_done);
    (void)loop_timer_init(l, &s->retry, on_retry, s);
    (void)loop_timer_init(l, &s->cut, on_cut, s);
    s->timers = 2;
    s->spare_fd = open("/", O_PATH | O_CLOEXEC);
    if (server_prepare_limits(s, &o->limits, &s->held) != 0 || make_waits(s) != 0) {
        server_free(s);
        return err_set(e, ERR_NO_MEMORY, "cannot make a server: out of memory");
    }
    *ret = s;
    return 0;
}

static void close_listeners(struct server *s)
{
    LIST_FOR (n, &s->listeners)
        listener_close(CONTAINER_OF(n, struct listener, link));
    loop_timer_stop(&s->retry);
}

void server_drain(struct server *s, uint64_t limit_ms, void (*done)(void *ctx), void *ctx)
{
    CHECK_MAGIC(s, SERVER_MAGIC);
    s->done[0].fn = done;
    s->done[0].ctx = ctx;
    s->draining = true;
    close_listeners(s);
    LIST_FOR_SAFE (n, &s->conns) {
        struct server_conn *c = CONTAINER_OF(n, struct server_conn, link);
        drain_conn(c);
    }
    loop_timer_start(&s->cut, limit_ms, 0);
    maybe_done(s);
}

void server_stop(struct server *s, void (*done)(void *ctx), void *ctx)
{
    CHECK_MAGIC(s, SERVER_MAGIC);
    s->done[1].fn = done;
    s->done[1].ctx = ctx;
    s->draining = true;
    close_listeners(s);
    cut_all(s);
    maybe_done(s);
}

static void on_server_timer_closed(void *ctx)
{
    struct server *s = ctx;

    if (--s->timers > 0)
        return;
    s->magic = 0;
    mem_free(s);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SERVER_MAGIC);
    INVARIANT(list_empty(&s->conns));
    close_listeners(s);
    while (!list_empty(&s->listeners)) {
        listener_forget(CONTAINER_OF(list_first(&s->listeners), struct listener, link));
    }
    for (size_t i = 0; i < ARRAY_LEN(s->waits); i++)
        deadline_class_free(s->waits[i]);
    deadline_class_free(s->ping);
    deadline_class_free(s->pong);
    if (s->spares_free != NULL)
        s->spares_free(s->spares);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    server_limits_drop(s->held);
    loop_task_cancel(&s->done_task);
    loop_timer_close(&s->retry, on_server_timer_closed);
    loop_timer_close(&s->cut, on_server_timer_closed);
}
