/* Which host names a request may call this server by. */
#include "api/rest/rest_priv.h"
#include "net/server.h"

#include <arpa/inet.h>
#include <string.h>

/* Host without its port, brackets of IPv6 kept; all of it if what follows the name is no port. */
static struct slice host_name(struct slice h)
{
    const char *end = h.len > 0 ? memchr(h.p, h.p[0] == '[' ? ']' : ':', h.len) : NULL;
    if (end == NULL)
        return h;
    struct slice name = {h.p, (size_t)(end - h.p) + (h.p[0] == '[')};
    if (name.len < h.len && h.p[name.len] != ':')
        return h;
    for (size_t i = name.len + 1; i < h.len; i++) {
        if (h.p[i] < '0' || h.p[i] > '9')
            return h;
    }
    return name;
}

static bool is_address(struct slice h)
{
    char text[64];
    unsigned char bytes[16];
    bool v6 = h.len > 2 && h.p[0] == '[';
    size_t n = v6 ? h.len - 2 : h.len;
    if (n == 0 || n >= sizeof(text))
        return false;
    memcpy(text, h.p + (v6 ? 1 : 0), n);
    text[n] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

static bool is_loopback_name(struct slice h)
{
    return slice_eq_nocase(h, SLICE_LIT("localhost")) || slice_eqs(h, "[::1]") ||
           (slice_starts(h, "127.") && is_address(h));
}

/* The address part of "http://127.0.0.1:8081". */
static struct slice listener_host(const struct exchange *x)
{
    const char *url = listener_address(exchange_listener(x));
    const char *host = url ? strstr(url, "://") : NULL;
    return host ? host_name(slice_of(host + 3)) : SLICE_LIT("");
}

bool rest_host_allowed(void *rest, struct exchange *x)
{
    struct rest *r = rest;
    if (exchange_peer(x)->kind == PEER_UNIX)
        return true;
    const struct http_request *req = exchange_request(x);
    if (req->host.len == 0)
        return req->version == 10; /* HTTP/1.0 has none, and no browser sends it */
    struct slice name = host_name(req->host);
    if (is_loopback_name(name))
        return true;
    struct slice own = listener_host(x);
    if (slice_eq_nocase(name, own))
        return true;
    /* A listener on all addresses has each of them; a name made to point here is none. */
    if ((slice_eqs(own, "0.0.0.0") || slice_eqs(own, "[::]")) && is_address(name))
        return true;
    for (size_t i = 0; i < r->o.n_hosts; i++) {
        struct slice h = slice_of(r->o.hosts[i]);
        if (slice_eqs(h, "*") || slice_eq_nocase(h, name) || slice_eq_nocase(h, req->host))
            return true;
    }
    return false;
}
