#include "gantryd/guard.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/attempts.h"
#include "net/server.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHED 64
#define TOKENS_SYSTEM "/var/lib/gantry/tokens.json"

/* One entry of auth.peers or auth.certificates. */
struct rule {
    enum { RULE_USER, RULE_GROUP, RULE_CERTIFICATE } kind;
    uint32_t id;   /* of the user or group */
    char *pattern; /* of the common name */
    struct rights rights;
};

/* Identities that were made lately, so that a request costs no memory. */
struct cached {
    const struct rule *rule;
    uid_t uid;
    struct identity *who; /* a reference; NULL: free */
};

#define GUARD_MAGIC 0x47554152u
struct guard {
    uint32_t magic;
    struct api_guard api;
    struct tokens *tokens;
    struct token_admin admin;
    struct attempts *attempts;
    struct loop *loop;
    struct rule *rules;
    size_t n_rules;
    struct rule owner; /* root and ourselves */
    struct rule *grpc; /* names that may come in by the gRPC port */
    size_t n_grpc;
    struct cached cache[CACHED];
    size_t next_cached;
};

/* --- Rules --- */

static void rules_free(struct rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(rules[i].pattern);
    mem_free(rules);
}

static int take_rights(struct rights *to, const char *role, const struct schema_list *list,
                       struct err *e)
{
    int rc = role != NULL ? rights_add(to, slice_of(role), e) : 0;
    for (size_t i = 0; i < list->count && rc == 0; i++)
        rc = rights_add(to, slice_of(((char *const *)list->items)[i]), e);
    return rc;
}

static int find_user(const char *name, uint32_t *ret, struct err *e)
{
    const struct passwd *p = getpwnam(name);
    if (p == NULL)
        return err_set(e, ERR_NOT_FOUND, "auth.peers: there is no user \"%.100s\"", name);
    *ret = p->pw_uid;
    return 0;
}

static int find_group(const char *name, uint32_t *ret, struct err *e)
{
    uint64_t number;
    const struct group *g = getgrnam(name);
    if (g != NULL)
        *ret = g->gr_gid;
    else if (str_to_u64(slice_of(name), &number) == 0 && number < UINT32_MAX)
        *ret = (uint32_t)number;
    else
        return err_set(e, ERR_NOT_FOUND, "auth.peers: there is no group \"%.100s\"", name);
    return 0;
}

static int peer_rule(struct rule *r, const struct config_auth_peer *c, struct err *e)
{
    int rc = 0;
    r->kind = c->group != NULL ? RULE_GROUP : RULE_USER;
    if (c->group != NULL)
        rc = find_group(c->group, &r->id, e);
    else if (c->user != NULL)
        rc = find_user(c->user, &r->id, e);
    else
        r->id = (uint32_t)c->uid;
    return rc == 0 ? take_rights(&r->rights, c->role, &c->rights, e) : rc;
}

static int certificate_rule(struct rule *r, const struct config_auth_certificate *c, struct err *e)
{
    r->kind = RULE_CERTIFICATE;
    r->pattern = mem_strdup(c->name);
    return r->pattern == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                              : take_rights(&r->rights, c->role, &c->rights, e);
}

/* The rules are going. What is still open for somebody ends at its next line, and may come back by
 * the new ones. */
static void cache_clear(struct guard *g)
{
    for (size_t i = 0; i < CACHED; i++) {
        if (g->cache[i].who != NULL)
            g->cache[i].who->revoked = true;
        identity_unref(g->cache[i].who);
        g->cache[i] = (struct cached){0};
    }
}

static bool same_rules(const struct guard *g, const struct rule *rules, size_t n)
{
    for (size_t i = 0; i < n && n == g->n_rules; i++) {
        const struct rule *a = &g->rules[i], *b = &rules[i];
        const char *pa = a->pattern ? a->pattern : "", *pb = b->pattern ? b->pattern : "";
        if (a->kind != b->kind || a->id != b->id || strcmp(pa, pb) != 0 ||
            memcmp(&a->rights, &b->rights, sizeof(a->rights)) != 0)
            return false;
    }
    return n == g->n_rules;
}

int guard_reload(struct guard *g, const struct config_auth *c, struct err *e)
{
    size_t n = 0, most = c->peers.count + c->certificates.count;
    struct rule *rules = mem_calloc(most, sizeof(*rules));
    if (rules == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = 0;
    for (size_t i = 0; i < c->peers.count && rc == 0; i++)
        rc = peer_rule(&rules[n++], &((const struct config_auth_peer *)c->peers.items)[i], e);
    for (size_t i = 0; i < c->certificates.count && rc == 0; i++)
        rc = certificate_rule(
            &rules[n++], &((const struct config_auth_certificate *)c->certificates.items)[i], e);
    if (rc != 0 || same_rules(g, rules, n)) {
        rules_free(rules, n);
        return rc;
    }
    cache_clear(g);
    rules_free(g->rules, g->n_rules);
    g->rules = rules;
    g->n_rules = n;
    return 0;
}

static int grpc_rule(struct rule *r, const char *pattern, const char *role, struct err *e)
{
    const struct schema_list none = {0};
    r->kind = RULE_CERTIFICATE;
    r->pattern = mem_strdup(pattern);
    return r->pattern == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                              : take_rights(&r->rights, role, &none, e);
}

int guard_set_grpc(struct guard *g, const struct config_grpc *c, struct err *e)
{
    char *const *names = c->allowed_names.items;
    size_t n = c->allowed_names.count > 0 ? c->allowed_names.count : 1;
    INVARIANT(g->grpc == NULL);
    g->grpc = mem_calloc(n, sizeof(*g->grpc));
    int rc = g->grpc == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : 0;
    while (rc == 0 && g->n_grpc < n) {
        size_t i = g->n_grpc++;
        rc = grpc_rule(&g->grpc[i], c->allowed_names.count > 0 ? names[i] : "*", c->role, e);
    }
    return rc;
}

/* --- Identities --- */

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* The identity of a user or a common name by a rule. */
static int identity_by(struct guard *g, const struct rule *r, uid_t uid, const char *name,
                       const struct identity **ret, struct err *e)
{
    bool cert = r->kind == RULE_CERTIFICATE;
    INVARIANT(!cert || name != NULL);
    for (size_t i = 0; i < CACHED; i++) {
        const struct cached *c = &g->cache[i];
        if (c->who != NULL && c->rule == r && c->uid == uid &&
            (!cert || strcmp(c->who->name + 5, name) == 0)) {
            *ret = identity_ref(c->who);
            return 0;
        }
    }
    char number[16];
    snprintf(number, sizeof(number), "%u", (unsigned)uid);
    struct identity *who = cert ? identity_new(IDENTITY_CERTIFICATE, "cert:", slice_of(name))
                                : identity_new(IDENTITY_PEER, "uid:", slice_of(number));
    if (who == NULL)
        return no_memory(e);
    who->rights = r->rights;
    struct cached *c = &g->cache[g->next_cached++ % CACHED];
    identity_unref(c->who);
    *c = (struct cached){.rule = r, .uid = uid, .who = who};
    *ret = identity_ref(who);
    return 0;
}

static bool rule_fits(const struct rule *r, struct exchange *x, const struct peer *p)
{
    switch (r->kind) {
    case RULE_USER:
        return p->kind == PEER_UNIX && p->uid == r->id;
    case RULE_GROUP:
        return p->kind == PEER_UNIX && exchange_peer_in_group(x, r->id);
    default:
        return p->cert_subject != NULL && pattern_match(r->pattern, slice_of(p->cert_subject));
    }
}

/* By certificate, or by the user of a Unix socket. ERR_UNAUTHENTICATED. */
static int find_peer(struct guard *g, struct exchange *x, const struct peer *p, bool open,
                     const struct identity **ret, struct err *e)
{
    bool local = p->kind == PEER_UNIX && p->uid != (uid_t)-1;
    if (local && open)
        return identity_by(g, &g->owner, p->uid, NULL, ret, e);
    for (size_t i = 0; i < g->n_rules; i++) {
        if (rule_fits(&g->rules[i], x, p))
            return identity_by(g, &g->rules[i], local ? p->uid : 0, p->cert_subject, ret, e);
    }
    if (open) {
        *ret = &identity_open;
        return 0;
    }
    if (local && (p->uid == 0 || p->uid == geteuid()))
        return identity_by(g, &g->owner, p->uid, NULL, ret, e);
    if (local)
        return err_set(e, ERR_UNAUTHENTICATED,
                       "Not authenticated: user %u is none of auth.peers, and showed no token",
                       (unsigned)p->uid);
    if (p->cert_subject != NULL)
        return err_set(e, ERR_UNAUTHENTICATED,
                       "Not authenticated: the certificate \"%.100s\" is none of "
                       "auth.certificates, and there is no token",
                       p->cert_subject);
    return err_set(e, ERR_UNAUTHENTICATED,
                   "Not authenticated: show a token as \"Authorization: Bearer TOKEN\"; "
                   "\"gantry token create\" makes one");
}

/* The entry of grpc.allowed_names that lets a client in. */
static const struct rule *grpc_entry(const struct guard *g, const struct peer *p)
{
    struct slice name = slice_of(p->cert_subject != NULL ? p->cert_subject : "");
    for (size_t i = 0; i < g->n_grpc; i++)
        if (pattern_match(g->grpc[i].pattern, name))
            return &g->grpc[i];
    return NULL;
}

/* Who came in by the gRPC port, by the certificate. */
static int find_grpc(struct guard *g, struct exchange *x, const struct peer *p,
                     const struct rule *entry, const struct identity **ret, struct err *e)
{
    for (size_t i = 0; i < g->n_rules; i++)
        if (g->rules[i].kind == RULE_CERTIFICATE)
            return find_peer(g, x, p, false, ret, e);
    return identity_by(g, entry, 0, p->cert_subject != NULL ? p->cert_subject : "", ret, e);
}

/* --- Tokens --- */

static struct attempts_key peer_key(const struct peer *p)
{
    return p->kind == PEER_UNIX ? attempts_key_uid(p->uid)
                                : attempts_key_address(p->address, p->address_len);
}

static int find_token(struct guard *g, const struct peer *p, struct slice token,
                      const struct identity **ret, uint32_t *retry_after_s, struct err *e)
{
    struct attempts_key key = peer_key(p);
    uint64_t now = loop_now_ms(g->loop), from = hash_bytes(key.bytes, sizeof(key.bytes));
    uint64_t wait = attempts_wait_ms(g->attempts, &key, now);
    int rc = g->tokens != NULL ? tokens_find(g->tokens, token, from, wait > 0, ret, e)
                               : err_set(e, ERR_UNAUTHENTICATED, "The token is not known here");
    if (rc == ERR_UNAUTHENTICATED)
        attempts_failed(g->attempts, &key, now);
    if (rc == ERR_LIMIT) {
        *retry_after_s = (uint32_t)((wait + 999) / 1000);
        err_set(e, rc, "Too many wrong tokens from here; try again in %u s", *retry_after_s);
    }
    return rc;
}

static int identify(void *ctx, struct exchange *x, struct slice token, const struct identity **ret,
                    uint32_t *retry_after_s, struct err *e)
{
    struct guard *g = ctx;
    const struct peer *p = exchange_peer(x);
    unsigned mark = listener_mark(exchange_listener(x));
    const struct rule *entry = mark == GUARD_GRPC ? grpc_entry(g, p) : NULL;
    if (mark == GUARD_GRPC && entry == NULL)
        return err_set(e, ERR_UNAUTHENTICATED,
                       "Not authenticated: the certificate \"%.100s\" is none of "
                       "grpc.allowed_names",
                       p->cert_subject != NULL ? p->cert_subject : "");
    if (token.p != NULL)
        return find_token(g, p, token, ret, retry_after_s, e);
    if (entry != NULL)
        return find_grpc(g, x, p, entry, ret, e);
    bool open = mark == GUARD_OPEN;
    if (open && p->kind == PEER_TCP && p->cert_subject == NULL) {
        *ret = &identity_open;
        return 0;
    }
    return find_peer(g, x, p, open, ret, e);
}

/* --- Listeners --- */

unsigned guard_default_mark(const struct config_auth *c, bool is_unix)
{
    return c->required || (is_unix && c->peers.count > 0) ? GUARD_REQUIRED : GUARD_OPEN;
}

static bool has_tokens(const struct guard *g)
{
    return g->tokens != NULL && tokens_count(g->tokens) > 0;
}

int guard_listener(const struct guard *g, const struct config_auth *c,
                   const struct config_listener *li, unsigned *mark, struct err *e)
{
    struct listen_address a;
    int rc = listen_parse(li->address, &a, e);
    if (rc != 0)
        return rc;
    if (li->auth == LISTENER_AUTH_REQUIRED)
        *mark = GUARD_REQUIRED;
    else if (li->auth == LISTENER_AUTH_NONE || (li->insecure && !a.local))
        *mark = GUARD_OPEN;
    else if (a.local)
        *mark = guard_default_mark(c, a.unix_path != NULL);
    else if (c->required || has_tokens(g) ||
             (li->tls.client_ca != NULL && c->certificates.count > 0))
        *mark = GUARD_REQUIRED;
    else
        return err_set(e, ERR_INVALID,
                       "listener \"%s\" can be reached from other machines, and nobody could show "
                       "who he is: make a token on this machine (gantry token create NAME --role "
                       "admin), or say \"auth: required\" for this listener and make one later, or "
                       "say \"insecure: true\" to let everybody there control this machine",
                       li->address);
    return 0;
}

int guard_check(const struct config *c, struct err *e)
{
    struct guard *g = NULL;
    unsigned mark;
    int rc = guard_new(&g, NULL, &clock_system, &c->auth, e);
    if (g == NULL)
        return rc;
    const struct config_listener *items = c->http.listeners.items;
    for (size_t i = 0; i < c->http.listeners.count && rc == 0; i++)
        rc = guard_listener(g, &c->auth, &items[i], &mark, e);
    guard_free(g);
    return rc;
}

/* --- Life --- */

/* /var/lib for root, else below the user's own state. False: there is no such place. */
static bool default_path(struct buf *b)
{
    if (geteuid() == 0)
        return buf_adds(b, TOKENS_SYSTEM) == 0;
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state != NULL && state[0] == '/')
        return buf_addf(b, "%s/gantry/tokens.json", state) == 0;
    return home != NULL && home[0] == '/' &&
           buf_addf(b, "%s/.local/state/gantry/tokens.json", home) == 0;
}

static int open_tokens(struct guard *g, const struct clock *clock, const char *path, struct err *e)
{
    struct buf b = BUF_INIT(4096);
    int rc = 0;
    if (path != NULL)
        buf_adds(&b, path);
    else if (!default_path(&b) && b.err == 0)
        return 0; /* the calls about tokens say so */
    rc = b.err != 0 ? err_set(e, b.err, "the name of the token file is too long, or out of memory")
                    : tokens_new(&g->tokens, g->loop, clock, b.data, e);
    buf_done(&b);
    if (rc == 0)
        g->admin = tokens_admin(g->tokens);
    return rc;
}

int guard_new(struct guard **ret, struct loop *l, const struct clock *clock,
              const struct config_auth *c, struct err *e)
{
    struct guard *g = mem_zalloc(sizeof(*g));
    if (g == NULL)
        return no_memory(e);
    g->magic = GUARD_MAGIC;
    g->loop = l;
    g->api = (struct api_guard){.identify = identify, .ctx = g};
    g->owner.kind = RULE_USER;
    int rc = rights_add(&g->owner.rights, SLICE_LIT("admin"), e);
    g->attempts = attempts_new();
    if (g->attempts == NULL)
        rc = no_memory(e);
    if (rc == 0)
        rc = guard_reload(g, c, e);
    if (rc == 0)
        rc = open_tokens(g, clock, c->tokens, e);
    if (rc != 0) {
        guard_free(g);
        return rc;
    }
    *ret = g;
    return 0;
}

void guard_free(struct guard *g)
{
    if (g == NULL)
        return;
    CHECK_MAGIC(g, GUARD_MAGIC);
    cache_clear(g);
    rules_free(g->rules, g->n_rules);
    rules_free(g->grpc, g->n_grpc);
    tokens_free(g->tokens);
    attempts_free(g->attempts);
    g->magic = 0;
    mem_free(g);
}

const struct api_guard *guard_api(const struct guard *g)
{
    return &g->api;
}

const struct token_admin *guard_tokens(const struct guard *g)
{
    return g->tokens != NULL ? &g->admin : NULL;
}
