/* A request's way: host, path, preflight, route, body, precondition, values, handler. */
#include "api/route/route_priv.h"

#include <string.h>

void api_set_cors(struct api *a, const struct api_cors *cors)
{
    a->cors = *cors;
    a->cors_any = false;
    for (size_t i = 0; i < a->cors.n; i++)
        a->cors_any = a->cors_any || strcmp(a->cors.allow_origins[i], "*") == 0;
}

void api_set_max_body(struct api *a, size_t max_body)
{
    a->o.max_body = max_body != 0 ? max_body : API_MAX_BODY_DEFAULT;
}

int api_new(struct api **ret, const struct api_options *o, struct err *e)
{
    struct api *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->magic = API_MAGIC;
    a->o = *o;
    api_set_max_body(a, o->max_body);
    if (a->o.clock == NULL)
        a->o.clock = &clock_system;
    if (o->cors != NULL) {
        api_set_cors(a, o->cors);
        a->o.cors = &a->cors;
    }
    int rc = route_compile(a, e);
    if (rc == 0 && (rc = api_stats_init(a)) != 0)
        err_set(e, rc, "out of memory");
    if (rc != 0) {
        api_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void api_free(struct api *a)
{
    if (a == NULL)
        return;
    mem_free(a->routes);
    mem_free(a->order);
    mem_free(a->stats);
    a->magic = 0;
    mem_free(a);
}

const struct api_route *api_routes(const struct api *a, size_t *n)
{
    CHECK_MAGIC(a, API_MAGIC);
    *n = a->o.n_routes;
    return a->o.routes;
}

void request_info_read(struct request_info *i, const struct http_request *r)
{
    static const struct {
        struct slice name;
        size_t offset;
    } wanted[] = {
        {{"origin", 6}, offsetof(struct request_info, origin)},
        {{"upgrade", 7}, offsetof(struct request_info, upgrade)},
        {{"content-type", 12}, offsetof(struct request_info, content_type)},
        {{"access-control-request-method", 29}, offsetof(struct request_info, ac_method)},
        {{"access-control-request-headers", 30}, offsetof(struct request_info, ac_headers)},
        {{"authorization", 13}, offsetof(struct request_info, authorization)},
        {{"sec-fetch-site", 14}, offsetof(struct request_info, fetch_site)},
    };
    memset(i, 0, sizeof(*i));
    for (size_t k = 0; k < r->n_headers; k++) {
        struct slice name = r->headers[k].name;
        if (name.len == 6 && memcmp(name.p, "cookie", 6) == 0) {
            i->cookie = true;
            continue;
        }
        for (size_t w = 0; w < ARRAY_LEN(wanted); w++) {
            if (name.len != wanted[w].name.len || memcmp(name.p, wanted[w].name.p, name.len) != 0)
                continue;
            struct slice *to = (struct slice *)(void *)((char *)i + wanted[w].offset);
            if (to->p == NULL)
                *to = r->headers[k].value.p ? r->headers[k].value : SLICE_LIT("");
            else if (to == &i->authorization)
                i->two_authorizations = true;
        }
    }
}

/* The path of the target: for the absolute form (RFC 9112, 3.2.2) what follows the authority. */
static struct slice target_path(struct slice p)
{
    if (p.len > 0 && p.p[0] == '/')
        return p;
    if (!slice_starts(p, "http://") && !slice_starts(p, "https://"))
        return p;
    const char *host = (const char *)memchr(p.p, '/', p.len) + 2;
    const char *slash = memchr(host, '/', (size_t)(p.p + p.len - host));
    return slash ? (struct slice){slash, (size_t)(p.p + p.len - slash)} : SLICE_LIT("/");
}

/* Decoded only if there is something to decode, so that the usual path costs no memory. */
static int decode_path(struct call *k, struct slice raw, struct slice *ret)
{
    bool plain = true;
    for (size_t i = 0; i < raw.len && plain; i++)
        plain = raw.p[i] != '%' && (unsigned char)raw.p[i] < 0x80;
    *ret = raw;
    if (plain)
        return 0;
    buf_init(&k->path_buf, raw.len * 3 + 1);
    int rc = pct_decode(&k->path_buf, raw, false);
    if (rc == 0)
        *ret = (struct slice){k->path_buf.data, k->path_buf.len};
    return rc;
}

/* Appends a decoded path in a form that is safe in a Location header. */
static void add_location_path(struct buf *b, struct slice path)
{
    static const char safe[] = "/-._~!$&'()*+,;=:@";
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < path.len; i++) {
        unsigned char ch = (unsigned char)path.p[i];
        bool alnum = (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z');
        if (alnum || (ch != 0 && strchr(safe, ch) != NULL)) {
            buf_addc(b, (char)ch);
        } else {
            char enc[3] = {'%', hex[ch >> 4], hex[ch & 15]};
            buf_add(b, enc, 3);
        }
    }
}

/* 307 to the path with or without its last slash, if that one has a row. */
static bool redirect_slash(struct call *k, struct slice path)
{
    if (path.len < 2 || path.p[0] != '/')
        return false;
    struct buf other = BUF_INIT(path.len + 1), b = BUF_INIT(path.len * 3 + 32 * 1024);
    size_t keep = path.len;
    while (keep > 0 && path.p[keep - 1] == '/')
        keep--;
    buf_add(&other, path.p, keep);
    if (keep == path.len)
        buf_addc(&other, '/');
    struct slice to = {other.data, other.len};
    bool hit = other.err == 0 && to.len > 0 && route_any(k->api, to);
    if (hit) {
        const struct http_request *r = exchange_request(k->c.x);
        if (r->host.len > 0) {
            buf_adds(&b, r->https ? "https://" : "http://");
            buf_add(&b, r->host.p, r->host.len);
        }
        add_location_path(&b, to);
        if (r->query.len > 0) {
            buf_addc(&b, '?');
            buf_add(&b, r->query.p, r->query.len);
        }
        struct http_header h[5];
        size_t n = cors_headers(k, h);
        h[n++] = (struct http_header){SLICE_LIT("location"), {b.data, b.len}};
        struct http_response resp = {.status = 307, .headers = h, .n_headers = n};
        if (b.err == 0)
            reply_send(k, &resp, SLICE_LIT(""));
        else
            api_reply_json(&k->c, 503, &b);
    }
    buf_done(&other);
    buf_done(&b);
    return hit;
}

static void reply_method(struct call *k, const struct api_route *row)
{
    struct http_header h[5];
    size_t n = cors_headers(k, h);
    const char *allow = row->also_head ? "GET, HEAD" : http_method_name(row->method);
    h[n++] = (struct http_header){SLICE_LIT("allow"), slice_of(allow)};
    struct http_response r = {
        .status = 405, .content_type = "application/json", .headers = h, .n_headers = n};
    reply_send(k, &r, SLICE_LIT("{\"detail\":\"Method Not Allowed\"}"));
}

static void reply_invalid(struct call *k, const struct buf *entries)
{
    struct buf b = BUF_INIT(entries->len + 32);
    buf_addlit(&b, "{\"detail\":[");
    buf_add(&b, entries->data, entries->len);
    buf_addlit(&b, "]}");
    api_reply_json(&k->c, 422, &b);
    buf_done(&b);
}

static void reply_bad_json(struct call *k, const struct json_fault *f)
{
    struct buf b = BUF_INIT(4096);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "type", "json_invalid");
    json_key(&j, "loc");
    json_arr(&j);
    json_cstr(&j, "body");
    json_uint(&j, f->offset);
    json_end_arr(&j);
    json_kstr(&j, "msg", "JSON decode error");
    json_key(&j, "input");
    json_obj(&j);
    json_end_obj(&j);
    json_key(&j, "ctx");
    json_obj(&j);
    json_kstr(&j, "error", f->reason);
    json_end_obj(&j);
    json_end_obj(&j);
    reply_invalid(k, &b);
    buf_done(&b);
}

/* Absent, application/json or application/...+json (contract 1.1); parameters are left aside. */
static bool type_is_json(struct slice type)
{
    if (type.p == NULL)
        return true;
    struct slice rest = type, media;
    slice_split(&rest, ';', &media);
    media = slice_trim(media);
    if (media.len == 0)
        return true;
    static const char app[] = "application/";
    size_t n = sizeof(app) - 1;
    if (media.len <= n || !slice_eq_nocase((struct slice){media.p, n}, SLICE_LIT(app)))
        return false;
    struct slice sub = {media.p + n, media.len - n};
    if (slice_eq_nocase(sub, SLICE_LIT("json")))
        return true;
    return sub.len > 5 &&
           slice_eq_nocase((struct slice){sub.p + sub.len - 5, 5}, SLICE_LIT("+json"));
}

/* Reads the body as the contract says. False: it has been answered. */
static bool parse_body(struct call *k, struct slice body)
{
    k->body_kind = BODY_NONE;
    if (body.len == 0)
        return true;
    if (!type_is_json(k->info.content_type)) {
        k->body_kind = BODY_TEXT;
        k->body_text = body;
        return true;
    }
    if (slice_starts(body, "\xef\xbb\xbf"))
        body = (struct slice){body.p + 3, body.len - 3};
    struct err e = {0};
    struct json_fault f = {0};
    k->c.body = json_parse(body, &f, &e);
    if (k->c.body != NULL) {
        k->body_kind = BODY_JSON;
        return true;
    }
    if (e.code == ERR_SYNTAX)
        reply_bad_json(k, &f);
    else if (e.code == ERR_ENCODING)
        reply_detail(k, 400, "There was an error parsing the body");
    else
        api_reply_err(&k->c, &e);
    return false;
}

/* What follows the body: precondition, values, handler. */
static void call_run(struct call *k, struct slice body)
{
    const struct api_route *row = k->c.route;
    k->running = true;
    k->began_ns = clock_mono_ns(k->api->o.clock);
    if (row->body_raw != NULL)
        k->c.raw = body;
    if ((row->body != NULL || row->body_any_object) && !parse_body(k, body))
        return;
    if (row->precondition != NULL && !row->precondition(&k->c))
        return;
    if (row->n_query > 0 || row->body != NULL || row->body_any_object) {
        struct buf faults = BUF_INIT(k->api->o.max_body * 6 + 65536);
        size_t n_faults = 0;
        int rc = call_validate(k, &faults, &n_faults);
        if (rc != 0)
            api_reply_error(&k->c, 503, "out of memory");
        else if (n_faults > 0)
            reply_invalid(k, &faults);
        buf_done(&faults);
        if (rc != 0 || n_faults > 0)
            return;
    }
    if (span_wanted()) { /* whoever begins something in the handler does it for this request */
        span_begin_request(&k->span, exchange_header(k->c.x, "traceparent"));
        span_current = k->span.self;
        row->handler(&k->c);
        span_current.on = false;
    } else {
        row->handler(&k->c);
    }
    if (!k->answered && !k->held)
        api_reply_error(&k->c, 500, "Internal server error");
}

/* Ends the run of a call; what is held goes on without us. */
static void call_leave(struct call *k)
{
    k->running = false;
    if (!k->held || (k->released && k->closed))
        call_done(k);
}

static void body_collected(void *ctx, struct exchange *x, int err, struct slice body)
{
    (void)x;
    struct call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    if (err != 0) { /* answered by the transport, or nobody is left to answer */
        call_count(k, err == ERR_LIMIT ? 413 : err == ERR_NO_MEMORY ? 503 : 499, false);
        call_done(k);
        return;
    }
    call_run(k, body);
    call_leave(k);
}

/* The call goes to the heap until its body is there. */
static void collect_body(struct call *k)
{
    const struct http_request *r = exchange_request(k->c.x);
    if (r->content_length > 0 && (uint64_t)r->content_length > k->api->o.max_body) {
        api_reply_error(&k->c, 413, "The body of %lld bytes is larger than the limit of %zu bytes",
                        (long long)r->content_length, k->api->o.max_body);
        call_leave(k);
        return;
    }
    struct call *h = mem_alloc(sizeof(*h));
    if (h == NULL) {
        api_reply_error(&k->c, 503, "out of memory");
        call_leave(k);
        return;
    }
    memcpy(h, k, sizeof(*h));
    h->heap = true;
    exchange_collect(h->c.x, k->api->o.max_body, body_collected, h);
}

static void route_and_run(struct call *k, struct slice path)
{
    struct path_segs segs;
    struct route_match m;
    path_split(&segs, path);
    const struct http_request *r = exchange_request(k->c.x);
    route_find(k->api, r->method, &segs, &m);
    if (m.full != NULL) {
        k->verb = m.full->row->verb;
        k->kind = m.full->row->kind;
    }
    if ((m.full == NULL || !m.full->row->open) && !guard_identify(k)) {
        call_leave(k);
        return;
    }
    if (m.full == NULL) {
        if (m.partial != NULL)
            reply_method(k, m.partial->row);
        else if (!redirect_slash(k, path))
            reply_detail(k, 404, "Not Found");
        call_leave(k);
        return;
    }
    k->c.route = m.full->row;
    size_t np = 0;
    for (size_t i = 0; i < m.full->n_segs; i++) {
        if (m.full->segs[i].kind != SEG_LITERAL) {
            k->c.path[np] = m.params[np];
            np++;
        }
    }
    if (!k->c.route->open && !guard_right(k)) {
        call_leave(k);
        return;
    }
    bool wants_body =
        k->c.route->body != NULL || k->c.route->body_any_object || k->c.route->body_raw != NULL;
    if (wants_body && r->has_body) {
        collect_body(k);
        return;
    }
    call_run(k, SLICE_LIT(""));
    call_leave(k);
}

void api_handle(void *ctx, struct exchange *x)
{
    struct api *a = ctx;
    CHECK_MAGIC(a, API_MAGIC);
    struct call k;
    guard_init(&k, a, x);
    const struct http_request *r = exchange_request(x);
    struct slice path;
    if (a->o.host_allowed != NULL && !a->o.host_allowed(a->o.app, x)) {
        api_reply_error(&k.c, 421,
                        "Host \"%.*s\" is not served here; add it to http.hosts if it should be",
                        (int)(r->host.len > 256 ? 256 : r->host.len), r->host.p ? r->host.p : "");
        call_leave(&k);
    } else if (decode_path(&k, target_path(r->path), &path) != 0) {
        api_reply_error(&k.c, 503, "out of memory");
        call_leave(&k);
    } else if (a->o.upgrade != NULL && k.info.upgrade.p != NULL &&
               http_list_has(k.info.upgrade, "websocket") && a->o.upgrade(a->o.app, x, path)) {
        call_leave(&k);
    } else if (cors_is_preflight(&k)) {
        cors_preflight(&k);
        call_leave(&k);
    } else if (!guard_origin(&k)) {
        call_leave(&k);
    } else {
        route_and_run(&k, path);
    }
}
