/* Who asks, whether he may, and the record of it: checked before anything of a request but its head
 * is looked at. */
#include "api/route/route_priv.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 16384u /* of an object: three parameters of a path */
#define WS_BEARER "gantry.bearer."

void guard_init(struct call *k, struct api *a, struct exchange *x)
{
    memset(k, 0, sizeof(*k));
    k->magic = CALL_MAGIC;
    k->api = a;
    k->kind = "";
    k->c.x = x;
    k->c.app = a->o.app;
    k->c.who = &identity_none;
    request_info_read(&k->info, exchange_request(x));
}

/* --- The record --- */

static bool is_refusal(int status)
{
    return status == 401 || status == 403 || status == 421 || status == 429;
}

/* "robot/talker", from the parameters of the path. */
static int join_names(struct buf *b, const struct slice *names, size_t n)
{
    for (size_t i = 0; i < n && names[i].p != NULL; i++) {
        if (i > 0)
            buf_addc(b, '/');
        buf_add(b, names[i].p, names[i].len);
    }
    return b->err;
}

void call_audit(struct call *k, int status)
{
    bool refusal = is_refusal(status), change = call_is_change(k);
    if (k->audited || (!refusal && !change))
        return;
    k->audited = true;
    const struct audit_sink *sink = k->api->o.audit;
    if (sink == NULL && !(refusal && k->api->o.guard != NULL))
        return;
    struct exchange *x = k->c.x;
    const struct http_request *q = x ? exchange_request(x) : NULL;
    struct buf name = BUF_INIT(MAX_NAME);
    if (k->c.object.p == NULL)
        (void)join_names(&name, k->c.path, API_MAX_PATH_PARAMS); /* without memory: no name */
    struct audit_record r = {
        .time_ns = clock_real_ns(&clock_system),
        .who = k->c.who->name,
        .peer = x ? exchange_peer(x)->text : k->peer,
        .request = x ? exchange_id(x) : k->id,
        .method = q ? "" : http_method_name(k->c.route ? k->c.route->method : HTTP_METHOD_OTHER),
        .path = q ? q->path : k->object_path,
        .verb = k->verb == RIGHT_NONE ? "" : right_verb_name(k->verb),
        .kind = k->kind,
        .name = k->c.object.p ? k->c.object : (struct slice){name.data, name.len},
        .status = x ? status : 0,
        .result = refusal                      ? "refused"
                  : status > 0 && status < 400 ? "done"
                                               : "failed",
        .detail = k->c.detail,
    };
    char method[24];
    if (q != NULL) {
        size_t n = q->method_text.len < sizeof(method) ? q->method_text.len : sizeof(method) - 1;
        memcpy(method, q->method_text.p, n);
        method[n] = '\0';
        r.method = method;
    }
    if (status == 0 && r.detail.p == NULL)
        r.detail = SLICE_LIT("the client left before it was done");
    if (sink != NULL)
        sink->record(sink->ctx, &r);
    if (refusal)
        access_log_refusal(&k->api->refusals, &r);
    buf_done(&name);
}

/* --- Answers --- */

static void refuse(struct call *k, int status, const struct http_header *more, size_t n_more,
                   struct slice text)
{
    struct http_header h[6];
    size_t n = cors_headers(k, h);
    for (size_t i = 0; i < n_more; i++)
        h[n++] = more[i];
    struct http_response r = {
        .status = status, .content_type = "application/json", .headers = h, .n_headers = n};
    struct buf b = BUF_INIT(64 * 1024);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "error", text);
    json_knull(&j, "detail");
    json_end_obj(&j);
    k->c.detail = text;
    struct slice body = SLICE_LIT("{\"error\":\"refused\",\"detail\":null}");
    if (b.err == 0)
        body = (struct slice){b.data, b.len};
    reply_send(k, &r, body);
    buf_done(&b);
}

/* --- Identity --- */

/* The subprotocol "gantry.bearer.TOKEN" among those that are offered. */
static struct slice ws_bearer(const struct http_request *r)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (!slice_eqs(r->headers[i].name, "sec-websocket-protocol"))
            continue;
        struct slice rest = r->headers[i].value, part;
        while (slice_split(&rest, ',', &part)) {
            part = slice_trim(part);
            if (slice_starts(part, WS_BEARER))
                return (struct slice){part.p + sizeof(WS_BEARER) - 1,
                                      part.len - (sizeof(WS_BEARER) - 1)};
        }
    }
    return (struct slice){NULL, 0};
}

/* Two Authorization headers are no token that is right: what stands before us may have checked the
 * other one. */
static struct slice shown_token(const struct call *k)
{
    if (k->info.two_authorizations)
        return SLICE_LIT("");
    if (k->info.authorization.p != NULL)
        return access_bearer(k->info.authorization);
    return k->info.upgrade.p != NULL ? ws_bearer(exchange_request(k->c.x))
                                     : (struct slice){NULL, 0};
}

static void refuse_unknown(struct call *k, bool wrong, const struct err *e)
{
    struct http_header h = {SLICE_LIT("www-authenticate"), SLICE_LIT("Bearer realm=\"gantry\"")};
    if (wrong)
        h.value = SLICE_LIT("Bearer realm=\"gantry\", error=\"invalid_token\"");
    refuse(k, 401, &h, 1, slice_of(e->msg));
}

bool guard_identify(struct call *k)
{
    const struct api_guard *g = k->api->o.guard;
    if (g == NULL) {
        k->c.who = &identity_open;
        return true;
    }
    struct err e = {0};
    uint32_t wait_s = 0;
    struct slice token = shown_token(k);
    int rc = g->identify(g->ctx, k->c.x, token, &k->c.who, &wait_s, &e);
    if (rc == 0)
        return true;
    k->c.who = &identity_none;
    if (rc == ERR_LIMIT) {
        char text[16];
        int n = snprintf(text, sizeof(text), "%u", wait_s);
        struct http_header h = {SLICE_LIT("retry-after"), {text, (size_t)n}};
        refuse(k, 429, &h, 1, slice_of(e.msg));
    } else if (rc == ERR_UNAUTHENTICATED) {
        refuse_unknown(k, token.p != NULL, &e);
    } else {
        api_reply_error(&k->c, 503, "out of memory");
    }
    return false;
}

/* --- Rights --- */

static void refuse_right(struct call *k, struct slice name, bool list)
{
    struct buf b = BUF_INIT(1024);
    (void)access_refusal_text(&b, k->c.who, k->verb, k->kind, name, list);
    refuse(k, 403, NULL, 0,
           b.err == 0 ? (struct slice){b.data, b.len} : SLICE_LIT("a right is missing"));
    buf_done(&b);
}

static bool has_right(struct call *k, const struct slice *names, size_t n, bool list)
{
    const struct rights *r = &k->c.who->rights;
    /* Before the name is put together: it may need memory. */
    if (rights_allow_all(r, k->verb, k->kind) || strcmp(k->kind, RIGHT_KIND_SELF) == 0)
        return true;
    struct buf b = BUF_INIT(MAX_NAME);
    (void)join_names(&b, names, n);
    if (list && b.len > 0)
        buf_addc(&b, '/');
    struct slice name = {b.data, b.len};
    bool ok = b.err == 0 && access_allowed(k->c.who, k->verb, k->kind, name, list);
    if (b.err != 0)
        api_reply_error(&k->c, 503, "out of memory");
    else if (!ok)
        refuse_right(k, name, list);
    buf_done(&b);
    return ok;
}

bool guard_right(struct call *k)
{
    return has_right(k, k->c.path, API_MAX_PATH_PARAMS, k->c.route->list);
}

bool api_may_see_all(const struct api_call *c)
{
    return rights_allow_all(&c->who->rights, c->route->verb, c->route->kind);
}

bool api_may_see(const struct api_call *c, struct slice parent, struct slice name)
{
    if (api_may_see_all(c))
        return true;
    if (parent.p == NULL)
        return rights_allow(&c->who->rights, c->route->verb, c->route->kind, name);
    struct buf b = BUF_INIT(MAX_NAME);
    struct slice names[] = {parent, name};
    bool ok = join_names(&b, names, 2) == 0 &&
              rights_allow(&c->who->rights, c->route->verb, c->route->kind,
                           (struct slice){b.data, b.len});
    buf_done(&b);
    return ok;
}

/* --- Browsers --- */

/* A page of another site may send simple requests without asking first; what changes something is
 * refused when its Origin is not one of ours, or when the browser says without one that another
 * site made it ask. "null" is the origin of sandboxed frames and local files, so of anybody. */
bool guard_origin(struct call *k)
{
    const struct http_request *r = exchange_request(k->c.x);
    struct slice o = k->info.origin;
    if (k->api->o.cors == NULL || r->method == HTTP_METHOD_GET || r->method == HTTP_METHOD_HEAD ||
        r->method == HTTP_METHOD_OPTIONS)
        return true;
    if (o.p == NULL && !slice_eq_nocase(k->info.fetch_site, SLICE_LIT("cross-site")))
        return true;
    if (o.p != NULL && !slice_eqs(o, "null") &&
        (cors_origin_allowed(k->api, o) || cors_same_origin(r, o)))
        return true;
    if (o.p == NULL)
        api_reply_error(&k->c, 403, "A page of another site may not change anything here");
    else
        api_reply_error(
            &k->c, 403,
            "Origin \"%.*s\" is not allowed; add it to cors.allow_origins if it should be",
            (int)(o.len > 256 ? 256 : o.len), o.p);
    return false;
}

bool api_upgrade_allowed(struct api *a, struct exchange *x, enum right_verb verb, const char *kind,
                         const struct slice *names, size_t n, const struct identity **who)
{
    CHECK_MAGIC(a, API_MAGIC);
    struct call k;
    guard_init(&k, a, x);
    k.upgrade = true;
    k.verb = verb;
    k.kind = kind;
    for (size_t i = 0; i < n && i < API_MAX_PATH_PARAMS; i++)
        k.c.path[i] = names[i];
    bool ok = api_origin_allowed(a, x);
    if (!ok)
        refuse(
            &k, 403, NULL, 0,
            SLICE_LIT("This Origin is not allowed; add it to cors.allow_origins if it should be"));
    ok = ok && guard_identify(&k) && has_right(&k, names, n, false);
    if (ok)
        *who = identity_ref(k.c.who);
    k.audited = true;
    call_done(&k);
    return ok;
}
