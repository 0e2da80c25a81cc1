#include "service/agent_text.h"
#include "base/str.h"
#include "net/http.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STATUS_LINK "https://httpstatuses.com/"

enum { URL_SHOWN = 200, OWN_WORDS_MAX = 160, OWN_ALONE_MAX = 400, REASON_MAX = 48 };

/* A run of bytes as printf takes it, cut to max without halving a character. */
#define SHOW(s) (int)(s).len, (s).p != NULL ? (s).p : ""

static struct slice cut(struct slice s, size_t max)
{
    if (s.len > max)
        s.len = max;
    while (s.len > 0 && !utf8_valid(s.p, s.len))
        s.len--;
    return s;
}

static bool service_valid(struct slice s)
{
    if (s.len == 0 || s.len > AGENT_NAME_MAX || memchr(s.p, '/', s.len) != NULL)
        return false;
    return !slice_eqs(s, ".") && !slice_eqs(s, "..");
}

int agent_target(struct buf *out, struct slice service, const char *tail, struct slice query)
{
    return agent_target_at(out, "/services", service, tail, query);
}

int agent_target_at(struct buf *out, const char *base, struct slice service, const char *tail,
                    struct slice query)
{
    bool valid = service.p == NULL || service_valid(service);
    buf_adds(out, base);
    if (service.p != NULL) {
        buf_addc(out, '/');
        pct_encode(out, cut(service, AGENT_NAME_MAX));
    }
    buf_adds(out, tail);
    if (query.len > 0) {
        buf_addc(out, '?');
        buf_add(out, query.p, query.len);
    }
    if (out->err != 0)
        return out->err;
    return valid ? 0 : ERR_NOT_FOUND;
}

int agent_text_transport(struct err *out, const struct err *e, uint64_t limit_ms)
{
    int sys = e->sys < 0 ? -e->sys : e->sys;
    if (e->code == ERR_TIMEOUT) {
        /* Talos says nothing here; the text after its prefix is free. */
        err_set(out, ERR_TIMEOUT, "no answer within %" PRIu64 ".%" PRIu64 " s", limit_ms / 1000,
                limit_ms % 1000 / 100);
    } else if (sys != 0) {
        err_set(out, e->code, "[Errno %d] %s", sys, strerror(sys));
        out->sys = sys;
    } else if (e->code == ERR_GONE) {
        err_set(out, ERR_GONE, "Server disconnected without sending a response.");
    } else {
        *out = *e;
    }
    return out->code;
}

/* What the agent itself says about it; empty if nothing can be made of its answer. */
static struct slice own_words(const json_t *root, size_t max)
{
    const char *text = json_get_str(root, "error");
    if (text == NULL)
        text = json_get_str(root, "detail");
    return cut(slice_of(text), max);
}

static int status_code(int status)
{
    switch (status) {
    case 400:
    case 422:
        return ERR_INVALID;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 413:
        return ERR_LIMIT;
    case 501:
        return ERR_UNSUPPORTED;
    case 503:
        return ERR_BUSY;
    default:
        return status >= 400 && status < 500 ? ERR_INVALID : ERR_INTERNAL;
    }
}

int agent_text_status(struct err *out, int status, struct slice reason, struct slice target,
                      struct slice location, struct slice body)
{
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, NULL);
    struct slice words = own_words(root, OWN_WORDS_MAX), url = cut(target, URL_SHOWN),
                 to = cut(location, URL_SHOWN / 2);
    if (reason.len == 0)
        reason = slice_of(http_status_text(status));
    reason = cut(reason, REASON_MAX);
    if (status < 400)
        return err_set_lines(
            out, ERR_PROTOCOL,
            "Redirect response '%d %.*s' for url 'http://agent%.*s'\nRedirect location: '%.*s'\n"
            "For more information check: " STATUS_LINK "%d",
            status, SHOW(reason), SHOW(url), SHOW(to), status);
    return err_set_lines(
        out, status_code(status),
        "%s error '%d %.*s' for url 'http://agent%.*s'\nFor more information check: " STATUS_LINK
        "%d%s%.*s",
        status >= 500 ? "Server" : "Client", status, SHOW(reason), SHOW(url), status,
        words.len > 0 ? "\n" : "", SHOW(words));
}

int agent_text_own(struct err *out, struct slice body)
{
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, NULL);
    struct slice words = own_words(root, OWN_ALONE_MAX);
    if (words.len == 0)
        words = cut(slice_trim(body), OWN_ALONE_MAX);
    if (words.len > 0)
        err_set_lines(out, out->code, "%.*s", SHOW(words));
    return out->code;
}

/* Where a character offset lies, as Python counts: lines from 1, columns from 1. */
static void fault_place(struct slice text, size_t offset, size_t *line, size_t *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0, chars = 0; i < text.len && chars < offset; i++) {
        if (((uint8_t)text.p[i] & 0xc0) == 0x80)
            continue; /* the rest of a character */
        chars++;
        *column = text.p[i] == '\n' ? 1 : *column + 1;
        *line += text.p[i] == '\n';
    }
}

json_t *agent_json(struct slice body, struct err *e)
{
    struct json_fault fault = {0};
    struct err why = {0};
    json_t *root = json_parse(body, &fault, &why);
    if (root != NULL)
        return root;
    if (why.code != ERR_SYNTAX) {
        if (e != NULL)
            *e = why;
        return NULL;
    }
    size_t line, column;
    fault_place(body, fault.offset, &line, &column);
    err_set(e, ERR_SYNTAX, "%s: line %zu column %zu (char %zu)", fault.reason, line, column,
            fault.offset);
    return NULL;
}
