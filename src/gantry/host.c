#include "gantry/host.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdlib.h>
#include <unistd.h>

void host_done(struct host *h)
{
    mem_free(h->unix_path);
    mem_free(h->name);
    mem_free(h->header);
    mem_free(h->text);
    *h = (struct host){0};
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int bad(struct err *e, const char *text, const char *why)
{
    return err_set(e, ERR_INVALID, "host \"%s\" %s", text, why);
}

static int parse_unix(struct host *h, const char *path, const char *text, struct err *e)
{
    if (path[0] != '/')
        return bad(e, text, "needs an absolute path after \"unix:\"");
    while (path[1] == '/') /* unix:///path */
        path++;
    _cleanup_(buf_done) struct buf b = BUF_INIT(8192);
    buf_addf(&b, "unix:%s", path);
    if (b.err == ERR_LIMIT)
        return bad(e, "...", "is too long");
    h->unix_path = mem_strdup(path);
    h->header = mem_strdup("localhost");
    h->text = buf_steal(&b, NULL);
    return h->unix_path == NULL || h->header == NULL || h->text == NULL ? no_memory(e) : 0;
}

/* Splits "[::1]:8081", "name:8081", "name". */
static int split_port(struct slice s, struct slice *name, struct slice *port)
{
    *port = (struct slice){NULL, 0};
    const char *end = s.p + s.len;
    const char *colon;
    if (s.len > 0 && s.p[0] == '[') {
        const char *close = memchr(s.p, ']', s.len);
        if (close == NULL)
            return ERR_INVALID;
        *name = (struct slice){s.p + 1, (size_t)(close - s.p - 1)};
        if (close + 1 == end)
            return 0;
        if (close[1] != ':')
            return ERR_INVALID;
        colon = close + 1;
    } else {
        colon = memchr(s.p, ':', s.len);
        *name = (struct slice){s.p, colon == NULL ? s.len : (size_t)(colon - s.p)};
        if (colon == NULL)
            return 0;
    }
    *port = (struct slice){colon + 1, (size_t)(end - colon - 1)};
    return 0;
}

static bool name_ok(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("/@?#[]\\\"", c) != NULL)
            return false;
    }
    return name.len > 0 && name.len <= 255;
}

static int parse_tcp(struct host *h, struct slice rest, const char *text, struct err *e)
{
    struct slice name, port;
    if (rest.len > 0 && rest.p[rest.len - 1] == '/')
        rest.len--;
    if (split_port(rest, &name, &port) != 0 || !name_ok(name))
        return bad(e, text, "is not understood");
    uint64_t number = HOST_DEFAULT_PORT;
    if (port.p != NULL && (str_to_u64(port, &number) != 0 || number == 0 || number > 65535))
        return bad(e, text, "has no valid port");
    h->port = (uint16_t)number;
    bool v6 = memchr(name.p, ':', name.len) != NULL;
    _cleanup_(buf_done) struct buf header = BUF_INIT(512), whole = BUF_INIT(512);
    buf_addf(&header, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)name.len, name.p, h->port);
    buf_addf(&whole, "%s://%s", h->tls ? "https" : "http", header.err == 0 ? header.data : "");
    h->name = mem_strndup(name.p, name.len);
    h->header = buf_steal(&header, NULL);
    h->text = buf_steal(&whole, NULL);
    return h->name == NULL || h->header == NULL || h->text == NULL ? no_memory(e) : 0;
}

int host_parse(struct host *ret, const char *text, struct err *e)
{
    struct host h = {0};
    struct slice s = slice_of(text);
    int rc;
    if (slice_starts(s, "unix:") || slice_starts(s, "/")) {
        rc = parse_unix(&h, text[0] == '/' ? text : text + 5, text, e);
    } else if (slice_starts(s, "http://")) {
        rc = parse_tcp(&h, slice_of(text + 7), text, e);
    } else if (slice_starts(s, "https://")) {
        h.tls = true;
        rc = parse_tcp(&h, slice_of(text + 8), text, e);
    } else if (memmem(text, s.len, "://", 3) == NULL && memchr(text, ':', s.len) != NULL) {
        rc = parse_tcp(&h, s, text, e);
    } else {
        rc = bad(e, text, "is none of unix:/PATH, http://HOST:PORT, https://HOST:PORT");
    }
    if (rc != 0) {
        host_done(&h);
        return rc;
    }
    *ret = h;
    return 0;
}

int host_find(struct host *ret, const char *option, struct err *e)
{
    if (option != NULL)
        return host_parse(ret, option, e);
    const char *env = getenv("GANTRY_HOST");
    if (env != NULL && *env != '\0') {
        int rc = host_parse(ret, env, e);
        return rc == ERR_INVALID ? err_wrap(e, "GANTRY_HOST") : rc;
    }
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/' && access(HOST_SYSTEM_SOCKET, F_OK) != 0) {
        _cleanup_(buf_done) struct buf b = BUF_INIT(4096);
        if (buf_addf(&b, "%s/gantry/gantryd.sock", runtime) == ERR_NO_MEMORY)
            return no_memory(e);
        if (b.err == 0 && access(b.data, F_OK) == 0)
            return host_parse(ret, b.data, e);
    }
    return host_parse(ret, HOST_SYSTEM_SOCKET, e);
}
