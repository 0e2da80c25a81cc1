#include "secret/vault_answer.h"

#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/cert.h"

#include <string.h>

enum { CHAIN_MAX = 20, TOLD_MAX = 160 };

void vault_set_init(struct vault_set *s)
{
    buf_init(&s->cert, VAULT_ANSWER_MAX);
    buf_init(&s->key, VAULT_ANSWER_MAX);
    buf_init(&s->authority, VAULT_ANSWER_MAX);
}

void vault_set_done(struct vault_set *s)
{
    if (s->key.data != NULL)
        mem_wipe(s->key.data, s->key.cap);
    buf_done(&s->cert);
    buf_done(&s->key);
    buf_done(&s->authority);
}

/* --- Questions --- */

int vault_write_login(struct buf *out, const char *role_id, const char *secret_id)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "role_id", role_id);
    json_kstr(&j, "secret_id", secret_id);
    json_end_obj(&j);
    return out->err;
}

static int joined(struct json_out *j, const char *key, const char *const *items, size_t n)
{
    struct buf b = BUF_INIT(VAULT_ANSWER_MAX);
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&b, "%s%s", i > 0 ? "," : "", items[i]);
    json_kstr(j, key, b.len > 0 ? b.data : "");
    int rc = b.err;
    buf_done(&b);
    return rc;
}

int vault_write_issue(struct buf *out, const struct vault_request *r)
{
    char ttl[64];
    struct buf t = BUF_FIXED(ttl);
    struct json_out j;
    /* Go's way to write a time: what Vault's own clients send. */
    (void)buf_addf(&t, "%lldh%lldm%llds", (long long)(r->ttl_s / 3600),
                   (long long)(r->ttl_s / 60 % 60), (long long)(r->ttl_s % 60));
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "common_name", r->common_name);
    json_kstr(&j, "ttl", ttl);
    int rc = joined(&j, "alt_names", r->names, r->n_names);
    if (rc == 0)
        rc = joined(&j, "ip_sans", r->addresses, r->n_addresses);
    json_end_obj(&j);
    return rc != 0 ? rc : out->err;
}

/* --- Answers --- */

static int no_answer(struct err *e, const char *what)
{
    return err_set(e, ERR_PROTOCOL, "the answer has no %s", what);
}

/* An object's member that is an object. Out of memory is an error of its own. */
static int parse(struct slice body, const char *member, json_t **doc, const json_t **ret,
                 struct err *e)
{
    struct err why = {0};
    *doc = json_parse(body, NULL, &why);
    if (*doc == NULL && why.code == ERR_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    if (*doc == NULL)
        return err_set(e, ERR_PROTOCOL, "the answer is no JSON: %.200s", why.msg);
    *ret = json_object_get(*doc, member);
    return json_is_object(*ret) ? 0 : no_answer(e, member);
}

/* A token goes into a header: nothing in it may end the line. */
static bool is_token(const char *t)
{
    size_t n = t != NULL ? strlen(t) : 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)t[i] <= ' ' || (unsigned char)t[i] >= 0x7f)
            return false;
    return n > 0 && n <= VAULT_TOKEN_MAX;
}

/* Parsed text holds secrets. */
static void wipe_member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_string(v))
        mem_wipe((void *)(uintptr_t)json_string_value(v), json_string_length(v));
}

int vault_read_login(struct slice body, struct buf *ret, struct err *e)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    const json_t *auth;
    int rc = parse(body, "auth", &doc, &auth, e);
    if (rc != 0)
        return rc;
    const char *token = json_get_str(auth, "client_token");
    if (!is_token(token))
        rc = no_answer(e, "token that can be used");
    else if (buf_adds(ret, token) != 0)
        rc = err_set(e, ret->err, "token of Vault");
    wipe_member(auth, "client_token");
    return rc;
}

int vault_read_lookup(struct slice body, struct vault_token *ret, struct err *e)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    const json_t *data;
    struct vault_token t = {0};
    int rc = parse(body, "data", &doc, &data, e);
    if (rc != 0)
        return rc;
    (void)json_get_int(data, "ttl", &t.ttl_s);
    (void)json_get_bool(data, "renewable", &t.renewable);
    if (t.ttl_s < 0)
        return no_answer(e, "time that the token lives");
    *ret = t;
    return 0;
}

/* Appends PEM text, with a line end. */
static int add_pem(struct buf *b, const char *text)
{
    (void)buf_adds(b, text);
    if (b->len > 0 && b->data[b->len - 1] != '\n')
        (void)buf_addc(b, '\n');
    return b->err;
}

/* One authority: to those whom clients are checked against, and, if another has signed it, behind
 * the certificate, for peers that know the root only. */
static int add_authority(struct vault_set *s, const char *text, struct err *e)
{
    struct cert_list l;
    if (s->authority.len > 0 && strstr(s->authority.data, text) != NULL)
        return 0; /* the chain begins with the issuer */
    int rc = cert_read(&l, slice_of(text), e);
    bool between = rc == 0 && strcmp(l.items[0].subject, l.items[0].issuer) != 0;
    cert_list_done(&l);
    if (rc == 0)
        rc = add_pem(&s->authority, text);
    if (rc == 0 && between)
        rc = add_pem(&s->cert, text);
    return rc;
}

static int read_authorities(const json_t *data, struct vault_set *s, struct err *e)
{
    const char *issuer = json_get_str(data, "issuing_ca");
    const json_t *chain = json_object_get(data, "ca_chain");
    size_t n = json_array_size(chain);
    if (issuer == NULL || issuer[0] == '\0')
        return no_answer(e, "issuing_ca");
    if (n > CHAIN_MAX)
        return err_set(e, ERR_LIMIT, "the answer has more than %d authorities", CHAIN_MAX);
    int rc = add_authority(s, issuer, e);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *text = json_string_value(json_array_get(chain, i));
        rc = text == NULL ? no_answer(e, "ca_chain of texts") : add_authority(s, text, e);
    }
    return rc;
}

int vault_read_issue(struct slice body, struct vault_set *ret, struct err *e)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    const json_t *data;
    int rc = parse(body, "data", &doc, &data, e);
    if (rc != 0)
        return rc;
    const char *cert = json_get_str(data, "certificate"), *key = json_get_str(data, "private_key");
    if (cert == NULL || cert[0] == '\0')
        rc = no_answer(e, "certificate");
    else if (key == NULL || key[0] == '\0')
        rc = no_answer(e, "private_key");
    else if (add_pem(&ret->cert, cert) != 0 || add_pem(&ret->key, key) != 0)
        rc = ERR_NO_MEMORY;
    else
        rc = read_authorities(data, ret, e);
    wipe_member(data, "private_key");
    if (rc == ERR_NO_MEMORY)
        (void)err_set(e, rc, "out of memory");
    return rc;
}

int vault_read_refusal(int status, struct slice body, struct err *e)
{
    _cleanup_(json_decrefp) json_t *doc = json_parse(body, NULL, NULL);
    const json_t *errors = json_object_get(doc, "errors");
    const char *first = json_string_value(json_array_get(errors, 0));
    char told[TOLD_MAX * 6 + 8];
    struct buf b = BUF_FIXED(told);
    int code = ERR_PROTOCOL;
    if (first != NULL)
        (void)str_add_printable(&b, (struct slice){first, strnlen(first, TOLD_MAX)});
    if (status == 400 || status == 403 || status == 404)
        code = ERR_DENIED;
    else if (status == 429 || status == 472 || status == 473 || status >= 500)
        code = ERR_BUSY;
    return err_set(e, code, "status %d%s%s", status, b.len > 0 ? ": " : "", told);
}
