#include "driver/docker/docker_fault.h"
#include "base/str.h"
#include <string.h>
#include <strings.h>

/* What the engine says, and what it means; the first that fits. */
struct phrase {
    const char *text;
    enum fault_reason reason;
};

static bool says(struct slice text, const char *phrase)
{
    size_t n = strlen(phrase);
    for (size_t i = 0; i + n <= text.len; i++)
        if (strncasecmp(text.p + i, phrase, n) == 0)
            return true;
    return false;
}

static enum fault_reason find(const struct phrase *list, size_t n, struct slice text)
{
    for (size_t i = 0; i < n; i++)
        if (says(text, list[i].text))
            return list[i].reason;
    return FAULT_NONE;
}

static const struct phrase any_step[] = {
    {"no space left on device", FAULT_STORAGE_FULL},
    {"disk quota exceeded", FAULT_STORAGE_FULL},
    {"port is already allocated", FAULT_PORT_BIND_CONFLICT},
    {"address already in use", FAULT_PORT_BIND_CONFLICT},
    {"cannot allocate memory", FAULT_INSUFFICIENT_RESOURCES},
    {"no available IPv4 addresses", FAULT_INSUFFICIENT_RESOURCES},
    {"executable file not found", FAULT_INVALID_SPECIFICATION},
    {"exec format error", FAULT_INVALID_SPECIFICATION},
};

static enum fault_reason by_code(enum docker_step step, const struct err *e)
{
    struct slice text = slice_of(e->msg);
    switch (e->code) {
    case ERR_UNREACHABLE:
    case ERR_TIMEOUT:
        return FAULT_RUNTIME_UNHEALTHY;
    case ERR_NOT_FOUND:
        if (step == DOCKER_CREATE && says(text, "no such image"))
            return FAULT_INVALID_IMAGE;
        if (says(text, "no such container"))
            return FAULT_RUNTIME_RESOURCE_MISSING;
        return FAULT_INVALID_SPECIFICATION; /* a network, a volume's driver */
    case ERR_INVALID:
        return FAULT_INVALID_SPECIFICATION;
    default:
        return FAULT_RUNTIME_ERROR;
    }
}

int docker_fault(struct fault *f, enum docker_step step, const struct err *e)
{
    enum fault_reason r = find(any_step, ARRAY_LEN(any_step), slice_of(e->msg));
    bool transport = e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT;
    int code = e->code;
    if (r == FAULT_NONE || transport)
        r = by_code(step, e);
    if (r == FAULT_STORAGE_FULL)
        code = ERR_NO_SPACE;
    f->e = *e;
    f->e.code = code;
    f->reason = r;
    return code;
}

static const struct phrase pull_phrases[] = {
    {"no space left on device", FAULT_STORAGE_FULL},
    {"disk quota exceeded", FAULT_STORAGE_FULL},
    {"unauthorized", FAULT_IMAGE_PULL_AUTH_FAILED},
    {"authentication required", FAULT_IMAGE_PULL_AUTH_FAILED},
    {"no basic auth credentials", FAULT_IMAGE_PULL_AUTH_FAILED},
    {"incorrect username or password", FAULT_IMAGE_PULL_AUTH_FAILED},
    {"403 forbidden", FAULT_IMAGE_PULL_AUTH_FAILED},
    {"toomanyrequests", FAULT_RESOURCE_QUOTA_EXCEEDED},
    {"manifest unknown", FAULT_INVALID_IMAGE},
    {"no matching manifest", FAULT_INVALID_IMAGE},
    {"invalid reference format", FAULT_INVALID_IMAGE},
    {"repository name not known", FAULT_INVALID_IMAGE},
    {"no such host", FAULT_DNS_RESOLUTION_FAILED},
    {"name resolution", FAULT_DNS_RESOLUTION_FAILED},
    {"server misbehaving", FAULT_DNS_RESOLUTION_FAILED},
    {"timeout", FAULT_IMAGE_PULL_TIMEOUT},
    {"timed out", FAULT_IMAGE_PULL_TIMEOUT},
    {"deadline exceeded", FAULT_IMAGE_PULL_TIMEOUT},
    {"awaiting headers", FAULT_IMAGE_PULL_TIMEOUT},
    {"connection refused", FAULT_NETWORK_UNREACHABLE},
    {"connection reset", FAULT_NETWORK_UNREACHABLE},
    {"network is unreachable", FAULT_NETWORK_UNREACHABLE},
    {"no route to host", FAULT_NETWORK_UNREACHABLE},
    {"unexpected EOF", FAULT_NETWORK_UNREACHABLE},
    {"x509:", FAULT_INVALID_CONFIGURATION},
    {"HTTP response to HTTPS client", FAULT_INVALID_CONFIGURATION},
};

static enum fault_reason pull_reason(int code, struct slice text, bool known)
{
    enum fault_reason r = find(pull_phrases, ARRAY_LEN(pull_phrases), text);
    if (r != FAULT_NONE)
        return r;
    /* The engine words a repository that is not there and one that is not ours to see alike. */
    if (says(text, "pull access denied") || says(text, "access to the resource is denied"))
        return known ? FAULT_IMAGE_PULL_AUTH_FAILED : FAULT_INVALID_IMAGE;
    if (code == 401 || code == 403)
        return FAULT_IMAGE_PULL_AUTH_FAILED;
    if (code == 404 || code == 400)
        return FAULT_INVALID_IMAGE;
    return FAULT_RUNTIME_ERROR;
}

static int pull_code(enum fault_reason r)
{
    switch (r) {
    case FAULT_INVALID_IMAGE:
        return ERR_NOT_FOUND;
    case FAULT_IMAGE_PULL_AUTH_FAILED:
        return ERR_DENIED;
    case FAULT_IMAGE_PULL_TIMEOUT:
        return ERR_TIMEOUT;
    case FAULT_STORAGE_FULL:
        return ERR_NO_SPACE;
    case FAULT_RESOURCE_QUOTA_EXCEEDED:
        return ERR_LIMIT;
    default:
        return ERR_RUNTIME; /* not ERR_UNREACHABLE: the engine itself has answered */
    }
}

int docker_fault_pull(struct fault *f, struct slice image, int code, struct slice text, bool known)
{
    enum { WORDS_MAX = 360 };
    enum fault_reason r = pull_reason(code, text, known);
    char words[6 * WORDS_MAX + 1];
    struct buf b = BUF_FIXED(words);
    text = slice_trim(text);
    text.len = text.len < WORDS_MAX ? text.len : WORDS_MAX;
    if (text.len > 0)
        (void)utf8_add_lossy(&b, text.p, text.len);
    return fault_set(f, r, pull_code(r), "image \"%.*s\" cannot be pulled: %s", (int)image.len,
                     image.p, words[0] != '\0' ? words : "the engine does not say why");
}
