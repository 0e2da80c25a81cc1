/* Origins: who may read the answers, and who may ask at all (talos contract 1.4). */
#include "api/route/route_priv.h"

#include <string.h>

#define CORS_EXPOSED "ETag, X-Request-Id"
#define CORS_METHODS "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

static bool port_ok(struct slice s)
{
    if (s.len == 0)
        return true;
    if (s.p[0] != ':' || s.len < 2 || s.len > 6)
        return false;
    for (size_t i = 1; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return true;
}

/* Length of a literal 127.a.b.c at the start of s, or 0. */
static size_t loopback4_len(struct slice s)
{
    if (!slice_starts(s, "127."))
        return 0;
    size_t i = 4, dots = 1, digits = 0;
    for (; i < s.len; i++) {
        if (s.p[i] >= '0' && s.p[i] <= '9') {
            if (++digits > 3)
                return 0;
        } else if (s.p[i] == '.' && digits > 0 && dots < 3) {
            dots++;
            digits = 0;
        } else {
            break;
        }
    }
    return dots == 3 && digits > 0 ? i : 0;
}

/* "http://localhost:3000", "https://127.0.0.1", "http://[::1]:8081" */
static bool origin_is_loopback(struct slice o)
{
    size_t skip = slice_starts(o, "http://") ? 7 : slice_starts(o, "https://") ? 8 : 0;
    if (skip == 0)
        return false;
    struct slice host = {o.p + skip, o.len - skip};
    size_t n = slice_starts(host, "localhost") ? 9
               : slice_starts(host, "[::1]")   ? 5
                                               : loopback4_len(host);
    return n > 0 && port_ok((struct slice){host.p + n, host.len - n});
}

bool cors_origin_allowed(const struct api *a, struct slice origin)
{
    if (a->cors_any)
        return true;
    for (size_t i = 0; i < a->cors.n; i++) {
        const char *allowed = a->cors.allow_origins[i];
        if (strcmp(allowed, "loopback") == 0 ? origin_is_loopback(origin)
                                             : slice_eqs(origin, allowed))
            return true;
    }
    return false;
}

bool cors_same_origin(const struct http_request *r, struct slice origin)
{
    const char *scheme = r->https ? "https://" : "http://";
    size_t n = strlen(scheme);
    return r->host.len > 0 && origin.len == n + r->host.len && slice_starts(origin, scheme) &&
           slice_eq_nocase((struct slice){origin.p + n, r->host.len}, r->host);
}

bool api_origin_allowed(const struct api *a, const struct exchange *x)
{
    CHECK_MAGIC(a, API_MAGIC);
    if (a->o.cors == NULL)
        return true;
    struct slice origin = exchange_header(x, "origin");
    return origin.p == NULL || cors_origin_allowed(a, origin) ||
           cors_same_origin(exchange_request(x), origin);
}

static void put(struct http_header *h, size_t *n, struct slice name, struct slice value)
{
    h[(*n)++] = (struct http_header){name, value};
}

size_t cors_headers(const struct call *k, struct http_header out[4])
{
    if (k->api->o.cors == NULL || k->info.origin.p == NULL)
        return 0;
    if (!cors_origin_allowed(k->api, k->info.origin))
        return 0;
    size_t n = 0;
    bool any = k->api->cors_any && !k->info.cookie;
    put(out, &n, SLICE_LIT("access-control-allow-origin"), any ? SLICE_LIT("*") : k->info.origin);
    put(out, &n, SLICE_LIT("access-control-allow-credentials"), SLICE_LIT("true"));
    /* Else a page sees none of them (Fetch, 3.3.3). */
    put(out, &n, SLICE_LIT("access-control-expose-headers"), SLICE_LIT(CORS_EXPOSED));
    if (!any)
        put(out, &n, SLICE_LIT("vary"), SLICE_LIT("Origin"));
    return n;
}

size_t api_cors_headers(struct api_call *c, struct http_header out[4])
{
    struct call *k = call_of(c);
    return c->x == NULL ? 0 : cors_headers(k, out);
}

bool cors_is_preflight(const struct call *k)
{
    return k->api->o.cors != NULL && k->info.origin.p != NULL && k->info.ac_method.p != NULL &&
           exchange_request(k->c.x)->method == HTTP_METHOD_OPTIONS;
}

static bool method_listed(struct slice m)
{
    switch (http_method_parse(m)) {
    case HTTP_METHOD_GET:
    case HTTP_METHOD_HEAD:
    case HTTP_METHOD_POST:
    case HTTP_METHOD_PUT:
    case HTTP_METHOD_DELETE:
    case HTTP_METHOD_PATCH:
    case HTTP_METHOD_OPTIONS:
        return true;
    default:
        return false;
    }
}

void cors_preflight(struct call *k)
{
    struct http_header h[6];
    size_t n = 0;
    bool origin_ok = cors_origin_allowed(k->api, k->info.origin);
    bool method_ok = method_listed(k->info.ac_method);
    put(h, &n, SLICE_LIT("vary"), SLICE_LIT("Origin"));
    if (origin_ok)
        put(h, &n, SLICE_LIT("access-control-allow-origin"), k->info.origin);
    put(h, &n, SLICE_LIT("access-control-allow-methods"), SLICE_LIT(CORS_METHODS));
    put(h, &n, SLICE_LIT("access-control-max-age"), SLICE_LIT("600"));
    put(h, &n, SLICE_LIT("access-control-allow-credentials"), SLICE_LIT("true"));
    if (k->info.ac_headers.p != NULL)
        put(h, &n, SLICE_LIT("access-control-allow-headers"), k->info.ac_headers);
    struct slice text = SLICE_LIT("OK");
    if (!origin_ok)
        text = method_ok ? SLICE_LIT("Disallowed CORS origin")
                         : SLICE_LIT("Disallowed CORS origin, method");
    else if (!method_ok)
        text = SLICE_LIT("Disallowed CORS method");
    struct http_response r = {.status = origin_ok && method_ok ? 200 : 400,
                              .content_type = "text/plain; charset=utf-8",
                              .headers = h,
                              .n_headers = n};
    reply_send(k, &r, text);
}
