#include "gantryd/listeners.h"

#include "base/log.h"
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

static int make_tls(struct listeners *l, struct loop *loop, const struct config_tls *t,
                    struct tls_context **ret, struct err *e)
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
    int rc = tls_context_new(ret, loop, &o, e);
    if (rc != 0)
        return rc;
    l->tls[l->n_tls++] = *ret;
    rc = tls_context_watch(*ret, TLS_WATCH_MS, tls_report, NULL);
    return rc == 0 ? 0 : err_set(e, rc, "cannot watch \"%s\"", t->cert);
}

static int listen_on(struct server *s, const struct listener_options *o, struct err *e)
{
    struct listener *li;
    int rc = server_listen(s, o, &li, e);
    if (rc != 0)
        return rc;
    LOG(INFO, "gantryd", "listening", "listening", LF_STR("address", listener_address(li)));
    return 0;
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

static int open_one(struct listeners *l, struct loop *loop, struct server *s,
                    const struct config_listener *c, struct listener_options *o, struct err *e)
{
    struct listen_address a;
    unsigned mode = DEFAULT_MODE;
    int rc = listen_parse(c->address, &a, e);
    if (rc == 0 && c->mode != NULL)
        rc = mode_parse(c->mode, &mode, e);
    if (rc == 0)
        rc = group_find(c->group, &o->unix_gid, e);
    if (rc == 0)
        rc = make_tls(l, loop, &c->tls, &o->tls, e);
    if (rc == 0) {
        o->unix_path = a.unix_path;
        o->unix_mode = mode;
        o->host = a.unix_path ? NULL : a.host;
        o->port = a.port;
        warn_plain(c, &a, o->mark);
        rc = listen_on(s, o, e);
    }
    if (rc != 0)
        err_wrap(e, "cannot listen on \"%s\"", c->address);
    return rc;
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

static int open_default(struct listeners *l, struct server *s, struct listener_options *o,
                        const struct config_auth *auth, struct err *e)
{
    o->mark = guard_default_mark(auth, false);
    o->host = DEFAULT_HOST;
    o->port = DEFAULT_PORT;
    int rc = listen_on(s, o, e);
    if (rc != 0) {
        err_wrap(e, "cannot listen on \"%s:%d\"", DEFAULT_HOST, DEFAULT_PORT);
        return rc;
    }
    struct err ue = {0};
    bool ok = default_unix_path(l->default_unix, sizeof(l->default_unix), &ue);
    o->host = NULL;
    o->unix_path = l->default_unix;
    o->unix_mode = DEFAULT_MODE;
    o->mark = guard_default_mark(auth, true);
    if (!ok || listen_on(s, o, &ue) != 0)
        LOG(WARN, "gantryd", "no-unix-socket", "going on without the default Unix socket",
            LF_ERR(&ue));
    return 0;
}

int listeners_open(struct listeners *l, struct loop *loop, struct server *s,
                   const struct config *c, const struct guard *g,
                   void (*handler)(void *ctx, struct exchange *x), void *ctx, struct err *e)
{
    struct listener_options base = {
        .unix_gid = (gid_t)-1, .protocols = protocols, .handler = handler, .ctx = ctx};
    const struct schema_list *list = &c->http.listeners;
    if (list->count == 0)
        return open_default(l, s, &base, &c->auth, e);
    const struct config_listener *items = list->items;
    int rc = 0;
    for (size_t i = 0; i < list->count && i < LISTENERS_MAX && rc == 0; i++) {
        struct listener_options o = base;
        rc = guard_listener(g, &c->auth, &items[i], &o.mark, e);
        if (rc == 0)
            rc = open_one(l, loop, s, &items[i], &o, e);
    }
    return rc;
}

void listeners_reload(struct listeners *l)
{
    for (size_t i = 0; i < l->n_tls; i++) {
        struct err e = {0};
        (void)tls_context_reload(l->tls[i], &e);
        tls_report(NULL, &e);
    }
}

void listeners_done(struct listeners *l)
{
    for (size_t i = 0; i < l->n_tls; i++)
        tls_context_unref(l->tls[i]);
    l->n_tls = 0;
}
