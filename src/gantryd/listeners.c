#include "gantryd/listeners.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT 8081
#define DEFAULT_MODE 0660
#define TLS_WATCH_MS 2000

struct listening {
    char *address; /* as the configuration names it */
    char *unix_path;
    struct listener *li;
    struct tls_context *tls;
    unsigned mode; /* of a Unix socket */
    gid_t gid;
};

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};
static const char *const alpn[] = {"h2", "http/1.1", NULL};

/* Group by name or number. */
static int group_find(const char *name, gid_t *ret, struct err *e)
{
    uint64_t number;
    if (name == NULL) {
        *ret = (gid_t)-1;
        return 0;
    }
    const struct group *g = getgrnam(name);
    if (g != NULL)
        *ret = g->gr_gid;
    else if (str_to_u64(slice_of(name), &number) == 0 && number < UINT32_MAX)
        *ret = (gid_t)number;
    else
        return err_set(e, ERR_NOT_FOUND, "there is no group \"%s\"", name);
    return 0;
}

static void tls_report(void *ctx, const struct err *e)
{
    (void)ctx;
    if (e->code == 0)
        LOG(INFO, "gantryd", "tls-reloaded", "TLS files were read again");
    else
        LOG(ERROR, "gantryd", "tls-reload-failed", "TLS files are bad, the old ones stay in use",
            LF_ERR(e));
}

static int make_tls(struct loop *loop, const struct config_tls *t, struct tls_context **ret,
                    struct err *e)
{
    *ret = NULL;
    if (t->cert == NULL)
        return 0;
    struct tls_options o = {.server = true,
                            .cert_file = t->cert,
                            .key_file = t->key,
                            .ca_file = t->client_ca,
                            .require_client_cert = t->require_client_cert,
                            .alpn = alpn};
    struct tls_context *made;
    int rc = tls_context_new(&made, loop, &o, e);
    if (rc != 0)
        return rc;
    rc = tls_context_watch(made, TLS_WATCH_MS, tls_report, NULL);
    if (rc != 0) {
        tls_context_unref(made);
        return err_set(e, rc, "cannot watch \"%s\"", t->cert);
    }
    *ret = made;
    return 0;
}

static void listening_free(struct listening *x)
{
    if (x == NULL)
        return;
    if (x->tls != NULL)
        tls_context_unref(x->tls);
    mem_free(x->address);
    mem_free(x->unix_path);
    mem_free(x);
}

static int unix_look(const struct config_listener *c, unsigned *mode, gid_t *gid, struct err *e)
{
    *mode = DEFAULT_MODE;
    int rc = c->mode != NULL ? mode_parse(c->mode, mode, e) : 0;
    return rc == 0 ? group_find(c->group, gid, e) : rc;
}

/* Who can read along on the way has the token too. */
static void warn_plain(const struct config_listener *c, const struct listen_address *a,
                       unsigned mark)
{
    if (mark == GUARD_REQUIRED && !a->local && c->tls.cert == NULL)
        LOG(WARN, "gantryd", "plain-tokens",
            "tokens will cross the network unencrypted; give this listener tls.cert and tls.key",
            LF_STR("address", c->address));
    if (mark == GUARD_OPEN && !a->local)
        LOG(WARN, "gantryd", "insecure", "everybody who can reach this listener may do everything",
            LF_STR("address", c->address));
}

static int open_listener(struct listeners *l, struct listening *x, const struct config_listener *c,
                         unsigned mark, struct err *e)
{
    struct listen_address a;
    int rc = listen_parse(c->address, &a, e);
    if (rc == 0)
        rc = unix_look(c, &x->mode, &x->gid, e);
    if (rc == 0)
        rc = make_tls(l->loop, &c->tls, &x->tls, e);
    if (rc != 0)
        return rc;
    if (a.unix_path != NULL && (x->unix_path = mem_strdup(a.unix_path)) == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    const struct listener_options o = {.unix_path = a.unix_path,
                                       .unix_mode = x->mode,
                                       .unix_gid = x->gid,
                                       .host = a.unix_path ? NULL : a.host,
                                       .port = a.port,
                                       .tls = x->tls,
                                       .mark = mark,
                                       .protocols = protocols,
                                       .handler = l->handler,
                                       .ctx = l->ctx};
    warn_plain(c, &a, mark);
    rc = server_listen(l->server, &o, &x->li, e);
    if (rc == 0)
        LOG(INFO, "gantryd", "listening", "listening", LF_STR("address", listener_address(x->li)));
    return rc;
}

static int open_new(struct listeners *l, const struct config_listener *c, unsigned mark,
                    struct listening **ret, struct err *e)
{
    struct listening *x = mem_zalloc(sizeof(*x));
    int rc = 0;
    if (x == NULL || (x->address = mem_strdup(c->address)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    else
        rc = open_listener(l, x, c, mark, e);
    if (rc != 0) {
        listening_free(x);
        return err_wrap(e, "cannot listen on \"%s\"", c->address);
    }
    *ret = x;
    return 0;
}

/* /run/gantry for root, else below the user's own run-time folder. False: there is none. */
static bool default_unix_path(char *out, size_t size, struct err *e)
{
    char folder[192];
    const char *run = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
    if (run == NULL || run[0] != '/') {
        err_set(e, ERR_NOT_FOUND, "XDG_RUNTIME_DIR names no folder");
        return false;
    }
    int n = snprintf(folder, sizeof(folder), "%s/gantry", run);
    if (n < 0 || (size_t)n >= sizeof(folder)) {
        err_set(e, ERR_LIMIT, "folder \"%s\" has too long a name", run);
        return false;
    }
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        err_sys(e, errno, "cannot make folder \"%s\"", folder);
        return false;
    }
    snprintf(out, size, "%s/gantryd.sock", folder);
    return true;
}

void listeners_init(struct listeners *l, struct loop *loop, struct server *s, const struct guard *g,
                    void (*handler)(void *ctx, struct exchange *x), void *ctx)
{
    *l = (struct listeners){.loop = loop, .server = s, .guard = g, .handler = handler, .ctx = ctx};
}

static struct listening *find(const struct listeners *l, const char *address)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i]->address, address) == 0)
            return l->items[i];
    return NULL;
}

static bool taken(const struct listeners_change *c, const char *address)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->items[i]->address, address) == 0)
            return true;
    return false;
}

static int prepare_one(struct listeners *l, struct listeners_change *c,
                       const struct config_listener *wanted, unsigned mark, struct err *e)
{
    struct listening *x = find(l, wanted->address);
    unsigned mode;
    gid_t gid;
    int rc = 0;
    if (taken(c, wanted->address))
        return err_set(e, ERR_CONFLICT, "listener \"%s\" is there twice", wanted->address);
    if (x == NULL) {
        rc = open_new(l, wanted, mark, &x, e);
        c->fresh[c->n] = rc == 0;
    } else {
        rc = unix_look(wanted, &mode, &gid, e);
        if (rc == 0)
            rc = make_tls(l->loop, &wanted->tls, &c->tls[c->n], e);
        if (rc != 0)
            err_wrap(e, "listener \"%s\"", wanted->address);
    }
    if (rc != 0)
        return rc;
    c->marks[c->n] = mark;
    c->wanted[c->n] = wanted;
    c->items[c->n++] = x;
    return 0;
}

/* The default listeners, as a configuration would name them. The text is used up at once. */
static int prepare_default(struct listeners *l, struct listeners_change *c,
                           const struct config_auth *auth, struct err *e)
{
    char path[256], address[sizeof(path) + sizeof("unix:")] = "";
    struct config_listener tcp = {.address = address}, local = {.address = address};
    struct err ue = {0};
    snprintf(address, sizeof(address), "%s:%d", DEFAULT_HOST, DEFAULT_PORT);
    int rc = prepare_one(l, c, &tcp, guard_default_mark(auth, false), e);
    if (rc != 0)
        return rc;
    c->wanted[c->n - 1] = NULL;
    bool ok = default_unix_path(path, sizeof(path), &ue);
    snprintf(address, sizeof(address), "unix:%s", ok ? path : "");
    if (ok && prepare_one(l, c, &local, guard_default_mark(auth, true), &ue) == 0)
        c->wanted[c->n - 1] = NULL;
    else
        LOG(WARN, "gantryd", "no-unix-socket", "going on without the default Unix socket",
            LF_ERR(&ue));
    return 0;
}

static int prepare_named(struct listeners *l, struct listeners_change *n, const struct config *c,
                         struct err *e)
{
    const struct config_listener *items = c->http.listeners.items;
    int rc = 0;
    for (size_t i = 0; i < c->http.listeners.count && i < LISTENERS_MAX && rc == 0; i++) {
        unsigned mark;
        rc = guard_listener(l->guard, &c->auth, &items[i], &mark, e);
        if (rc == 0)
            rc = prepare_one(l, n, &items[i], mark, e);
    }
    return rc;
}

int listeners_prepare(struct listeners *l, const struct config *c, struct listeners_change **ret,
                      struct err *e)
{
    struct listeners_change *n = mem_zalloc(sizeof(*n));
    if (n == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = c->http.listeners.count == 0 ? prepare_default(l, n, &c->auth, e)
                                          : prepare_named(l, n, c, e);
    if (rc != 0) {
        listeners_drop(l, n);
        return rc;
    }
    *ret = n;
    return 0;
}

void listeners_drop(struct listeners *l, struct listeners_change *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++) {
        if (c->tls[i] != NULL)
            tls_context_unref(c->tls[i]);
        if (!c->fresh[i])
            continue;
        server_unlisten(l->server, c->items[i]->li, 0);
        listening_free(c->items[i]);
    }
    mem_free(c);
}

/* Mode and group of the socket file. Whoever is connected stays. */
static void change_look(struct listening *x, const struct config_listener *wanted)
{
    unsigned mode = DEFAULT_MODE;
    gid_t gid = (gid_t)-1;
    struct err e = {0};
    if (x->unix_path == NULL ||
        (wanted != NULL && unix_look(wanted, &mode, &gid, &e) != 0) || /* seen when preparing */
        (mode == x->mode && gid == x->gid))
        return;
    if (gid == (gid_t)-1 && x->gid != (gid_t)-1)
        gid = getegid(); /* as a socket made now would have it */
    if (chown(x->unix_path, (uid_t)-1, gid) != 0 || chmod(x->unix_path, mode) != 0) {
        err_sys(&e, errno, "cannot change mode and group of \"%s\"", x->unix_path);
        LOG(WARN, "gantryd", "socket-mode", "the socket keeps its mode and group", LF_ERR(&e));
        return;
    }
    x->mode = mode;
    x->gid = gid;
}

static void keep(struct listening *x, struct tls_context *tls, unsigned mark,
                 const struct config_listener *wanted)
{
    listener_set_mark(x->li, mark);
    if (tls != NULL || x->tls != NULL)
        listener_set_tls(x->li, tls);
    if (x->tls != NULL)
        tls_context_unref(x->tls);
    x->tls = tls;
    if (tls != NULL)
        LOG(INFO, "gantryd", "tls-reloaded", "TLS files were read again",
            LF_STR("address", x->address));
    change_look(x, wanted);
}

void listeners_commit(struct listeners *l, struct listeners_change *c, uint64_t limit_ms)
{
    for (size_t i = 0; i < c->n; i++)
        if (!c->fresh[i])
            keep(c->items[i], c->tls[i], c->marks[i], c->wanted[i]);
    for (size_t i = 0; i < l->n; i++) {
        struct listening *x = l->items[i];
        if (taken(c, x->address))
            continue;
        LOG(INFO, "gantryd", "listener-closed", "not listening there any more",
            LF_STR("address", x->address));
        server_unlisten(l->server, x->li, limit_ms);
        listening_free(x);
    }
    memcpy(l->items, c->items, sizeof(l->items));
    l->n = c->n;
    mem_free(c);
}

void listeners_done(struct listeners *l)
{
    for (size_t i = 0; i < l->n; i++)
        listening_free(l->items[i]);
    l->n = 0;
}
