#include "net/url.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { URL_MAX = 2000, HOST_BYTES_MAX = 253, PORT_HTTP = 80, PORT_HTTPS = 443 };

void url_done(struct url *u)
{
    mem_free(u->host);
    mem_free(u->header);
    mem_free(u->path);
    *u = (struct url){0};
}

static int bad(struct err *e, const char *text, const char *why)
{
    char shown[200];
    struct buf b = BUF_FIXED(shown);
    (void)str_add_printable(&b, (struct slice){text, strnlen(text, 30)});
    return err_set(e, ERR_INVALID, "address \"%s\" %s", shown, why);
}

static bool all_of(struct slice s, const char *refused)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr(refused, c) != NULL)
            return false;
    }
    return true;
}

/* "[::1]:80", "name:80", "name": port.p NULL if there is none. */
static bool split(struct slice s, struct slice *host, struct slice *port, bool *v6)
{
    const char *end = s.p + s.len, *colon;
    *port = (struct slice){NULL, 0};
    *v6 = s.len > 0 && s.p[0] == '[';
    if (*v6) {
        const char *close = memchr(s.p, ']', s.len);
        if (close == NULL || (close + 1 != end && close[1] != ':'))
            return false;
        *host = (struct slice){s.p + 1, (size_t)(close - s.p - 1)};
        colon = close + 1 == end ? NULL : close + 1;
    } else {
        colon = memchr(s.p, ':', s.len);
        *host = (struct slice){s.p, colon == NULL ? s.len : (size_t)(colon - s.p)};
    }
    if (colon != NULL)
        *port = (struct slice){colon + 1, (size_t)(end - colon - 1)};
    return true;
}

static int fill(struct url *u, struct slice host, uint64_t port, bool v6, struct slice path,
                struct err *e)
{
    struct buf header = BUF_INIT(URL_MAX);
    u->port = (uint16_t)port;
    (void)buf_addf(&header, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)host.len, host.p, (unsigned)port);
    u->host = mem_strndup(host.p, host.len);
    u->header = buf_steal(&header, NULL);
    u->path = mem_strndup(path.len > 0 ? path.p : "", path.len);
    buf_done(&header);
    if (u->host == NULL || u->header == NULL || u->path == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return 0;
}

int url_parse(struct url *ret, const char *text, bool bare, struct err *e)
{
    struct slice rest = slice_of(text), host, port, path = {NULL, 0};
    bool v6;
    *ret = (struct url){0};
    if (rest.len > URL_MAX)
        return bad(e, text, "is too long");
    bool http = slice_starts(rest, "http://");
    ret->tls = slice_starts(rest, "https://");
    if (http || ret->tls)
        rest = slice_of(text + (ret->tls ? sizeof("https://") : sizeof("http://")) - 1);
    else if (!bare || memmem(text, rest.len, "://", 3) != NULL)
        return bad(e, text, "does not begin with http:// or https://");
    const char *slash = rest.len > 0 ? memchr(rest.p, '/', rest.len) : NULL;
    if (slash != NULL) {
        path = (struct slice){slash, (size_t)(rest.p + rest.len - slash)};
        rest.len = (size_t)(slash - rest.p);
    }
    if (!split(rest, &host, &port, &v6) || host.len == 0 || host.len > HOST_BYTES_MAX ||
        !all_of(host, v6 ? "/@?#[]\\\"" : "/@?#[]\\\":"))
        return bad(e, text, "has no host that is understood");
    if (!all_of(path, "?#\\\""))
        return bad(e, text, "has a path that is not understood");
    uint64_t number = ret->tls ? PORT_HTTPS : PORT_HTTP;
    if (port.p != NULL && (str_to_u64(port, &number) != 0 || number == 0 || number > 65535))
        return bad(e, text, "has no valid port");
    if (port.p == NULL && !http && !ret->tls)
        return bad(e, text, "has no port");
    return fill(ret, host, number, v6, path, e);
}
