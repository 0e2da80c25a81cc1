#include "secret/vault.h"

#include "base/mem.h"
#include "base/str.h"
#include "net/client.h"
#include "net/tls.h"
#include "net/url.h"
#include "secret/key.h"

#include <stdio.h>
#include <string.h>

#define VAULT_MAGIC 0x7661756cu

enum {
    LIMIT_MS = 10000,
    CONNECT_MS = 5000,
    PATH_MAX_BYTES = 600,
    BODY_MAX = 256 * 1024,
    HEADERS = 3,
    RENEW_MIN_MS = 30000,
    RENEW_MAX_MS = 86400000,
};

struct vault {
    uint32_t magic;
    struct loop *loop;
    struct client_pool *pool;
    struct tls_context *tls;
    char *prefix; /* path before "/v1" */
    char *name_space, *mount, *role;
    char *own_token, *role_id, *secret_id; /* secrets */
    int auth;
    uint64_t limit_ms;
    struct client_call *call, *renewing;
    struct buf token; /* of this request; secret */
    struct buf body;  /* of the question for a certificate */
    bool busy;
    vault_issue_fn done;
    void *ctx;
    struct loop_timer renew;
    bool has_renew;
    struct vault_stats stats;
};

const struct vault_stats *vault_stats(const struct vault *v)
{
    return &v->stats;
}

/* --- Making --- */

static int copy(char **ret, const char *text)
{
    *ret = text != NULL ? mem_strdup(text) : NULL;
    return text == NULL || *ret != NULL ? 0 : ERR_NO_MEMORY;
}

static void wipe_text(char *text)
{
    if (text != NULL)
        mem_wipe(text, strlen(text));
    mem_free(text);
}

static int make_pool(struct vault *v, const struct vault_options *o, struct err *e)
{
    struct url u;
    int rc = url_parse(&u, o->address, false, e);
    if (rc == 0 && u.tls) {
        static const char *const alpn[] = {"http/1.1", NULL};
        const struct tls_options t = {.ca_file = o->ca_file, .alpn = alpn, .server_name = u.host};
        rc = tls_context_new(&v->tls, v->loop, &t, e);
    }
    if (rc == 0) {
        size_t n = strlen(u.path);
        while (n > 0 && u.path[n - 1] == '/')
            n--;
        v->prefix = mem_strndup(u.path, n);
        if (v->prefix == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    if (rc == 0) {
        const struct client_options c = {
            .target = {.host = u.host, .port = u.port, .tls = v->tls},
            .host = u.header,
            .max_connections = 2,
            .connect_ms = CONNECT_MS,
        };
        rc = client_pool_new(&v->pool, v->loop, &c, e);
    }
    url_done(&u);
    return rc;
}

static void on_renew(void *ctx);

int vault_new(struct vault **ret, struct loop *l, const struct vault_options *o, struct err *e)
{
    bool token = o->auth == VAULT_TOKEN;
    if (token ? o->token == NULL : o->role_id == NULL || o->secret_id == NULL)
        return err_set(e, ERR_INVALID,
                       token ? "no token for Vault" : "no role_id and secret_id for Vault");
    struct vault *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    v->magic = VAULT_MAGIC;
    v->loop = l;
    v->auth = o->auth;
    v->limit_ms = o->limit_ms != 0 ? o->limit_ms : LIMIT_MS;
    buf_init(&v->token, VAULT_TOKEN_MAX);
    buf_init(&v->body, BODY_MAX);
    int rc = copy(&v->name_space, o->name_space);
    if (rc == 0)
        rc = copy(&v->mount, o->mount);
    if (rc == 0)
        rc = copy(&v->role, o->role);
    if (rc == 0)
        rc = token ? copy(&v->own_token, o->token) : copy(&v->role_id, o->role_id);
    if (rc == 0 && !token)
        rc = copy(&v->secret_id, o->secret_id);
    if (rc != 0)
        (void)err_set(e, rc, "out of memory");
    if (rc == 0)
        rc = make_pool(v, o, e);
    if (rc == 0 && (rc = loop_timer_init(l, &v->renew, on_renew, v)) != 0)
        (void)err_set(e, rc, "cannot make a timer");
    else if (rc == 0)
        v->has_renew = true;
    if (rc != 0) {
        vault_free(v);
        return rc;
    }
    uv_unref((uv_handle_t *)&v->renew.uv);
    *ret = v;
    return 0;
}

static void vault_release(void *ctx)
{
    struct vault *v = ctx;
    wipe_text(v->own_token);
    wipe_text(v->secret_id);
    mem_free(v->role_id);
    key_buf_done(&v->token);
    key_buf_done(&v->body);
    mem_free(v->prefix);
    mem_free(v->name_space);
    mem_free(v->mount);
    mem_free(v->role);
    v->magic = 0;
    mem_free(v);
}

void vault_free(struct vault *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, VAULT_MAGIC);
    if (v->call != NULL)
        client_cancel(STEAL(v->call));
    if (v->renewing != NULL)
        client_cancel(STEAL(v->renewing));
    if (v->pool != NULL)
        client_pool_free(v->pool);
    if (v->tls != NULL)
        tls_context_unref(v->tls);
    if (v->has_renew)
        loop_timer_close(&v->renew, vault_release);
    else
        vault_release(v);
}

/* --- Calls --- */

struct question {
    enum http_method method;
    const char *path; /* below /v1/ */
    struct slice token, body;
};

static int ask(struct vault *v, const struct question *q, client_fetch_fn fn,
               struct client_call **ret, struct err *e)
{
    struct buf path = BUF_INIT(PATH_MAX_BYTES);
    struct http_header h[HEADERS] = {{SLICE_LIT("x-vault-request"), SLICE_LIT("true")}};
    size_t n = 1;
    if (q->token.len > 0)
        h[n++] = (struct http_header){SLICE_LIT("x-vault-token"), q->token};
    if (v->name_space != NULL)
        h[n++] = (struct http_header){SLICE_LIT("x-vault-namespace"), slice_of(v->name_space)};
    int rc = buf_addf(&path, "%s/v1/%s", v->prefix, q->path);
    const struct client_request r = {.method = q->method,
                                     .target = {path.data, path.len},
                                     .headers = h,
                                     .n_headers = n,
                                     .body = q->body,
                                     .secret = true,
                                     .first_byte_ms = v->limit_ms,
                                     .idle_ms = v->limit_ms,
                                     .max_body = VAULT_ANSWER_MAX};
    if (rc == 0)
        rc = client_fetch(v->pool, &r, fn, v, ret, e);
    else
        (void)err_set(e, rc, "path of a call to Vault");
    buf_done(&path);
    return rc;
}

/* The end of a request, good or bad; the user may free us in it. */
static void finish(struct vault *v, const struct err *e, const struct vault_set *set)
{
    vault_issue_fn done = v->done;
    void *ctx = v->ctx;
    v->busy = false;
    key_buf_done(&v->token);
    buf_done(&v->body);
    v->stats.issued += e->code == 0;
    v->stats.failed += e->code != 0;
    done(ctx, e, set);
}

/* 0 for a good answer; else *why says what was asked, and what came. */
static int check(struct err *why, const char *what, const struct err *e, int status,
                 struct slice body)
{
    if (e->code != 0)
        *why = *e;
    else if (status < 200 || status > 299)
        (void)vault_read_refusal(status, body, why);
    else
        return 0;
    return err_wrap(why, "%s", what);
}

static void on_issued(void *ctx, const struct err *e, int status, const struct client_response *r,
                      struct slice body)
{
    struct vault *v = ctx;
    struct vault_set set;
    struct err why = {0};
    (void)r;
    v->call = NULL;
    vault_set_init(&set);
    if (check(&why, "asking for a certificate", e, status, body) == 0 &&
        vault_read_issue(body, &set, &why) != 0)
        (void)err_wrap(&why, "asking for a certificate");
    finish(v, &why, why.code == 0 ? &set : NULL);
    vault_set_done(&set);
}

static void ask_issue(struct vault *v)
{
    char path[PATH_MAX_BYTES];
    struct buf p = BUF_FIXED(path);
    struct err e = {0};
    (void)buf_addf(&p, "%s/issue/%s", v->mount, v->role);
    const struct question q = {
        HTTP_METHOD_PUT, path, {v->token.data, v->token.len}, {v->body.data, v->body.len}};
    int rc = p.err != 0 ? err_set(&e, p.err, "mount and role are too long")
                        : ask(v, &q, on_issued, &v->call, &e);
    if (rc != 0)
        finish(v, &e, NULL);
}

static void plan_renewal(struct vault *v, const struct vault_token *t)
{
    uint64_t ms;
    if (!t->renewable || t->ttl_s <= 0)
        return;
    ms = (uint64_t)t->ttl_s > RENEW_MAX_MS / 500 ? RENEW_MAX_MS : (uint64_t)t->ttl_s * 500;
    loop_timer_start(&v->renew, ms < RENEW_MIN_MS ? RENEW_MIN_MS : ms, 0);
}

static void on_looked_up(void *ctx, const struct err *e, int status,
                         const struct client_response *r, struct slice body)
{
    struct vault *v = ctx;
    struct vault_token t = {0};
    struct err why = {0};
    (void)r;
    v->call = NULL;
    if (check(&why, "looking at the token", e, status, body) == 0 &&
        vault_read_lookup(body, &t, &why) != 0)
        (void)err_wrap(&why, "looking at the token");
    if (why.code == 0 && buf_adds(&v->token, v->own_token) != 0)
        (void)err_set(&why, v->token.err, "token of Vault");
    if (why.code != 0) {
        finish(v, &why, NULL);
        return;
    }
    v->stats.logins++;
    plan_renewal(v, &t);
    ask_issue(v);
}

static void on_logged_in(void *ctx, const struct err *e, int status,
                         const struct client_response *r, struct slice body)
{
    struct vault *v = ctx;
    struct err why = {0};
    (void)r;
    v->call = NULL;
    if (check(&why, "logging in by AppRole", e, status, body) == 0 &&
        vault_read_login(body, &v->token, &why) != 0)
        (void)err_wrap(&why, "logging in by AppRole");
    if (why.code != 0) {
        finish(v, &why, NULL);
        return;
    }
    v->stats.logins++;
    ask_issue(v);
}

static int log_in(struct vault *v, struct err *e)
{
    struct buf body = BUF_INIT(BODY_MAX);
    struct question q = {.method = HTTP_METHOD_GET, .path = "auth/token/lookup-self"};
    if (v->auth == VAULT_TOKEN) {
        q.token = slice_of(v->own_token);
        return ask(v, &q, on_looked_up, &v->call, e);
    }
    int rc = vault_write_login(&body, v->role_id, v->secret_id);
    q = (struct question){HTTP_METHOD_PUT, "auth/approle/login", {0}, {body.data, body.len}};
    if (rc != 0)
        (void)err_set(e, rc, "login of Vault");
    else
        rc = ask(v, &q, on_logged_in, &v->call, e);
    key_buf_done(&body);
    return rc;
}

int vault_issue(struct vault *v, const struct vault_request *r, vault_issue_fn done, void *ctx,
                struct err *e)
{
    CHECK_MAGIC(v, VAULT_MAGIC);
    if (v->busy)
        return err_set(e, ERR_BUSY, "a certificate is being asked for already");
    int rc = vault_write_issue(&v->body, r);
    if (rc != 0)
        (void)err_set(e, rc, "question for a certificate");
    else
        rc = log_in(v, e);
    if (rc != 0) {
        buf_done(&v->body);
        return rc;
    }
    v->busy = true;
    v->done = done;
    v->ctx = ctx;
    return 0;
}

/* --- A given token stays alive --- */

static void on_renewed(void *ctx, const struct err *e, int status, const struct client_response *r,
                       struct slice body)
{
    struct vault *v = ctx;
    struct err why = {0};
    (void)r;
    v->renewing = NULL;
    /* Either way on_renew has set the timer for the next time. */
    if (check(&why, "renewing the token", e, status, body) == 0)
        v->stats.renewed++;
    else
        v->stats.not_renewed++;
}

static void on_renew(void *ctx)
{
    struct vault *v = ctx;
    struct err e = {0};
    const struct question q = {HTTP_METHOD_PUT, "auth/token/renew-self", slice_of(v->own_token),
                               SLICE_LIT("{}")};
    loop_timer_start(&v->renew, RENEW_MIN_MS * 2, 0);
    if (v->renewing == NULL)
        (void)ask(v, &q, on_renewed, &v->renewing, &e);
}
