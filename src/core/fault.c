#include "core/fault.h"

#include "base/str.h"

#include <stdarg.h>
#include <string.h>

static const struct {
    const char *name;
    enum fault_class class;
    int wire;
} rows[FAULT_REASONS] = {
#define X(sym, class_, wire_) [FAULT_##sym] = {#sym, FAULT_##class_, wire_},
    FAULT_TABLE(X)
#undef X
};

const char *fault_name(enum fault_reason r)
{
    return r > FAULT_NONE && r < FAULT_REASONS ? rows[r].name : "";
}

enum fault_reason fault_by_name(struct slice name)
{
    for (unsigned r = FAULT_NONE + 1; r < FAULT_REASONS; r++)
        if (slice_eqs(name, rows[r].name))
            return (enum fault_reason)r;
    return FAULT_NONE;
}

enum fault_class fault_class(enum fault_reason r)
{
    return r > FAULT_NONE && r < FAULT_REASONS ? rows[r].class : FAULT_TRANSIENT;
}

int fault_wire_reason(enum fault_reason r)
{
    return r > FAULT_NONE && r < FAULT_REASONS ? rows[r].wire : 0;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* True if the words stand in the text, whatever their case, and not as a part of longer words. */
static bool has(struct slice text, const char *words)
{
    size_t n = strlen(words);
    for (size_t i = 0; i + n <= text.len; i++)
        if ((i == 0 || !word_char(text.p[i - 1])) &&
            (i + n == text.len || !word_char(text.p[i + n])) &&
            slice_eq_nocase((struct slice){text.p + i, n}, (struct slice){words, n}))
            return true;
    return false;
}

static bool any(struct slice text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (has(text, *words))
            return true;
    return false;
}
#define ANY(text, ...) any((text), (const char *const[]){__VA_ARGS__, NULL})

static bool timed_out(struct slice text)
{
    return ANY(text, "timeout", "time-out", "timed out", "deadline exceeded");
}

enum fault_reason fault_classify(struct slice text)
{
    if (ANY(text, "executable file not found", "no such file or directory"))
        return FAULT_RUNTIME_ERROR; /* of a program in the workload, not of its image */
    if (ANY(text, "image", "pull", "pulling", "repository", "manifest", "not found")) {
        if (timed_out(text))
            return FAULT_IMAGE_PULL_TIMEOUT;
        return ANY(text, "unauthorized", "forbidden", "authentication", "credentials", "denied")
                   ? FAULT_IMAGE_PULL_AUTH_FAILED
                   : FAULT_INVALID_IMAGE;
    }
    if (ANY(text, "address already in use", "port is already allocated", "already allocated",
            "error starting userland proxy"))
        return FAULT_PORT_BIND_CONFLICT;
    if (ANY(text, "no such host", "name resolution", "dns"))
        return FAULT_DNS_RESOLUTION_FAILED;
    if (ANY(text, "connection refused", "connection reset", "network", "host", "no route"))
        return timed_out(text) ? FAULT_NETWORK_TIMEOUT : FAULT_NETWORK_UNREACHABLE;
    if (ANY(text, "no space left", "no space left on device"))
        return FAULT_STORAGE_FULL;
    if (ANY(text, "memory", "disk", "cpu", "quota", "limit"))
        return FAULT_INSUFFICIENT_RESOURCES;
    if (ANY(text, "invalid", "malformed", "schema", "validation"))
        return FAULT_INVALID_SPECIFICATION;
    return FAULT_UNKNOWN_ERROR;
}

int fault_set(struct fault *f, enum fault_reason r, int code, const char *fmt, ...)
{
    char text[sizeof(f->e.msg)];
    va_list ap;
    va_start(ap, fmt);
    err_format(text, sizeof(text), fmt, ap);
    va_end(ap);
    f->reason = r;
    return err_set(&f->e, code, "%s", text);
}
