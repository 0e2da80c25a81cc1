/* Tokens, and who the caller is. */
#include "api/rest/rest_priv.h"
#include "base/clock.h"

#define NS_PER_SECOND INT64_C(1000000000)

/* Members of an object that is open. */
static void put_info(struct json_out *j, const struct token_info *i)
{
    bool role = i->n_words == 1 && right_is_role(slice_of(i->words[0]));
    json_kstr(j, "name", i->name);
    json_kstr(j, "id", i->id);
    json_kstr(j, "role", role ? i->words[0] : NULL);
    json_key(j, "rights");
    json_arr(j);
    for (size_t k = 0; k < i->n_words && !role; k++)
        json_cstr(j, i->words[k]);
    json_end_arr(j);
    rest_put_time(j, "created", i->created_ns);
    json_kstr(j, "created_by", i->created_by);
    rest_put_time(j, "expires", i->expires_ns);
    json_kbool(j, "expired", i->expired);
    rest_put_time(j, "last_used", i->last_used_ns);
}

/* --- GET /whoami --- */

void rest_whoami(struct api_call *c)
{
    struct json_out j;
    struct buf text = BUF_INIT(1024);
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "name", c->who->name);
    json_kstr(&j, "kind", identity_kind_name(c->who->kind));
    json_key(&j, "rights");
    json_arr(&j);
    for (size_t i = 0; i < c->who->rights.n; i++) {
        buf_clear(&text);
        (void)right_write(&text, &c->who->rights.items[i]);
        json_str(&j, (struct slice){text.data, text.len});
    }
    json_end_arr(&j);
    rest_put_time(&j, "expires", c->who->expires_ns);
    json_end_obj(&j);
    if (text.err != 0)
        api_reply_json(c, 200, &text); /* tells that memory is short */
    else
        rest_reply_out(c);
    buf_done(&text);
}

/* --- GET /tokens --- */

static const struct token_admin *tokens_of(struct api_call *c)
{
    return ((const struct rest *)c->app)->o.tokens;
}

bool rest_tokens_ready(struct api_call *c)
{
    if (tokens_of(c) != NULL)
        return true;
    api_reply_error(c, 503, "There is no place to keep tokens; set auth.tokens");
    return false;
}

struct lister {
    struct api_call *c;
    struct json_out j;
};

static void list_one(void *ctx, const struct token_info *i)
{
    struct lister *l = ctx;
    if (!api_may_see(l->c, (struct slice){NULL, 0}, slice_of(i->name)))
        return;
    json_obj(&l->j);
    put_info(&l->j, i);
    json_end_obj(&l->j);
}

void rest_token_list(struct api_call *c)
{
    const struct token_admin *t = tokens_of(c);
    struct lister l = {.c = c};
    json_begin(&l.j, rest_out(c->app));
    json_obj(&l.j);
    json_key(&l.j, "tokens");
    json_arr(&l.j);
    t->ops->list(t->self, list_one, &l);
    json_end_arr(&l.j);
    json_end_obj(&l.j);
    rest_reply_out(c);
}

/* --- POST /tokens --- */

/* What the body asks for. Borrowed from it. */
struct wish {
    struct slice name;
    struct slice words[RIGHTS_MAX];
    size_t n_words;
    int64_t lifetime_s;
};

const char *const rest_token_roles[] = {"viewer", "operator", "admin", NULL};

static int wish_rights(struct wish *w, const json_t *list, struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (w->n_words == RIGHTS_MAX)
            return err_set(e, ERR_INVALID, "more than %d rights", RIGHTS_MAX);
        w->words[w->n_words++] = (struct slice){json_string_value(one), json_string_length(one)};
    }
    return 0;
}

static int wish_read(struct wish *w, const struct api_call *c, struct err *e)
{
    const struct api_value *v = c->body_values;
    w->name = v[TOKEN_BODY_NAME].s;
    w->lifetime_s = v[TOKEN_BODY_EXPIRES].set ? v[TOKEN_BODY_EXPIRES].i : 0;
    if (v[TOKEN_BODY_EXPIRES].set && w->lifetime_s < 1)
        return err_set(e, ERR_INVALID, "\"expires_in\" is %lld; 1 or more seconds are possible",
                       (long long)w->lifetime_s);
    if (v[TOKEN_BODY_ROLE].set == v[TOKEN_BODY_RIGHTS].set)
        return err_set(e, ERR_INVALID, "give either \"role\" or \"rights\"");
    if (v[TOKEN_BODY_RIGHTS].set)
        return wish_rights(w, json_object_get(c->body, "rights"), e);
    w->words[w->n_words++] = slice_of(rest_token_roles[v[TOKEN_BODY_ROLE].i]);
    return 0;
}

/* Nobody gives away more than he has, nor names that his right does not cover. */
static int wish_allowed(const struct api_call *c, const struct wish *w, struct err *e)
{
    const struct rights *mine = &c->who->rights;
    struct rights wanted = {.n = 0};
    if (!rights_allow(mine, RIGHT_ADMIN, c->route->kind, w->name))
        return err_set(e, ERR_DENIED, "%s may not make a token of that name", c->who->name);
    for (size_t i = 0; i < w->n_words; i++) {
        int rc = rights_add(&wanted, w->words[i], e);
        if (rc != 0)
            return rc == ERR_LIMIT ? err_set(e, ERR_INVALID, "more than %d rights", RIGHTS_MAX)
                                   : rc;
    }
    return rights_cover(mine, &wanted)
               ? 0
               : err_set(e, ERR_DENIED, "%s cannot give away rights that it has not itself",
                         c->who->name);
}

static void created(void *ctx, const struct err *e, const struct token_info *i, const char *text)
{
    struct api_call *c = ctx;
    struct rest *r = c->app;
    char detail[160];
    c->object = slice_of(i->name);
    if (e->code != 0) {
        api_reply_error(c, err_row(e->code)->http_status, "The token was not made: %s", e->msg);
        return;
    }
    if (c->x == NULL) /* nobody will ever know it */
        (void)r->o.tokens->ops->revoke(r->o.tokens->self, slice_of(i->name), NULL, NULL,
                                       &(struct err){0});
    struct buf *b = rest_out(r), about = BUF_FIXED(detail);
    buf_addf(&about, "token %s, %zu rights, %s", i->id, i->n_words,
             i->expires_ns ? "expires" : "for ever");
    c->detail = (struct slice){about.data, about.len};
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_kstr(&j, "token", text);
    put_info(&j, i);
    json_end_obj(&j);
    api_reply_json(c, 201, b);
    mem_wipe(b->data, b->data ? b->len : 0);
}

void rest_token_create(struct api_call *c)
{
    const struct token_admin *t = tokens_of(c);
    struct wish w = {.n_words = 0};
    struct err e = {0};
    int rc = wish_read(&w, c, &e);
    if (w.name.p != NULL)
        c->object = w.name;
    if (rc == 0)
        rc = wish_allowed(c, &w, &e);
    if (rc != 0) {
        api_reply_err(c, &e);
        return;
    }
    struct token_spec spec = {.name = w.name,
                              .words = w.words,
                              .n_words = w.n_words,
                              .lifetime_s = w.lifetime_s,
                              .created_by = c->who->name};
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    rc = t->ops->create(t->self, &spec, created, held, &e);
    if (rc != 0)
        api_reply_err(held, &e);
}

/* --- DELETE /tokens/{name} --- */

static void revoked(void *ctx, const struct err *e, const struct token_info *i, const char *text)
{
    (void)text;
    struct api_call *c = ctx;
    if (e->code != 0) {
        api_reply_error(c, err_row(e->code)->http_status,
                        "The token is refused from now on, but a restart would bring it back; try "
                        "again: %s",
                        e->msg);
        return;
    }
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "name", i->name);
    json_kstr(&j, "id", i->id);
    json_kbool(&j, "revoked", true);
    json_end_obj(&j);
    c->detail = slice_of(i->id);
    rest_reply_out(c);
}

void rest_token_revoke(struct api_call *c)
{
    const struct token_admin *t = tokens_of(c);
    struct err e = {0};
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    if (t->ops->revoke(t->self, held->path[0], revoked, held, &e) == ERR_NOT_FOUND)
        rest_reply_named(held, 404, "Token '", held->path[0], "' not found");
    else if (e.code != 0)
        api_reply_err(held, &e);
}
