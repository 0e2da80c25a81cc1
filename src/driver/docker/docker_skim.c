#include "driver/docker/docker_skim.h"
#include "base/err.h"
#include "base/str.h"

struct cursor {
    const char *p, *end;
};

static bool wanted(struct slice key)
{
    static const char *const keys[] = {"Id", "Names", "ImageID", "State", "Created"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (slice_eqs(key, keys[i]))
            return true;
    return false;
}

/* The next byte that is no white space, which is stepped over if it is `c`. */
static bool take(struct cursor *in, char c)
{
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\n' || *in->p == '\r' || *in->p == '\t'))
        in->p++;
    if (in->p == in->end || *in->p != c)
        return false;
    in->p++;
    return true;
}

/* From behind the opening quote to behind the closing one. */
static bool skip_string(struct cursor *in)
{
    while (in->p < in->end) {
        char c = *in->p++;
        if (c == '"')
            return true;
        if (c == '\\') {
            if (in->p == in->end)
                return false;
            in->p++;
        }
    }
    return false;
}

static bool skip_value(struct cursor *in)
{
    size_t depth = 0;
    const char *from = in->p;
    while (in->p < in->end) {
        char c = *in->p;
        if (c == '"') {
            in->p++;
            if (!skip_string(in))
                return false;
        } else if (c == '{' || c == '[') {
            in->p++;
            depth++;
            continue;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            in->p++;
            depth--;
        } else if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
            return in->p > from; /* the end of a number or word */
        } else {
            in->p++;
            continue;
        }
        if (depth == 0)
            return true;
    }
    return false;
}

/* From behind the '{' to behind the '}'. */
static bool skim_object(struct buf *out, struct cursor *in)
{
    bool any = false;
    buf_addc(out, '{');
    if (take(in, '}'))
        return buf_addc(out, '}') == 0;
    do {
        if (!take(in, '"'))
            return false;
        struct slice key = {in->p, 0};
        if (!skip_string(in))
            return false;
        key.len = (size_t)(in->p - key.p) - 1;
        if (!take(in, ':'))
            return false;
        const char *value = in->p;
        while (in->p < in->end && *in->p == ' ')
            in->p++;
        if (!skip_value(in))
            return false;
        if (!wanted(key))
            continue;
        if (any)
            buf_addc(out, ',');
        any = true;
        buf_addc(out, '"');
        buf_add(out, key.p, key.len);
        buf_addlit(out, "\":");
        buf_add(out, value, (size_t)(in->p - value));
    } while (take(in, ','));
    buf_addc(out, '}');
    return take(in, '}');
}

int docker_skim(struct buf *out, struct slice list)
{
    struct cursor in = {list.p, list.p + list.len};
    if (!take(&in, '['))
        return ERR_SYNTAX;
    buf_addc(out, '[');
    if (!take(&in, ']')) {
        for (bool first = true; first || take(&in, ','); first = false) {
            if (!first)
                buf_addc(out, ',');
            if (!take(&in, '{') || !skim_object(out, &in))
                return out->err != 0 ? out->err : ERR_SYNTAX;
        }
        if (!take(&in, ']'))
            return ERR_SYNTAX;
    }
    buf_addc(out, ']');
    (void)take(&in, '\0'); /* white space may follow, nothing else */
    return in.p != in.end ? ERR_SYNTAX : out->err;
}
