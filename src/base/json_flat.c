#include "base/json_flat.h"

#include "base/str.h"
#include <string.h>

static void skip_blanks(struct json_flat *f)
{
    while (f->p < f->end && (*f->p == ' ' || *f->p == '\n' || *f->p == '\t' || *f->p == '\r'))
        f->p++;
}

static bool take(struct json_flat *f, char c)
{
    skip_blanks(f);
    if (f->p == f->end || *f->p != c)
        return false;
    f->p++;
    return true;
}

static bool give_up(struct json_flat *f)
{
    f->gave_up = true;
    f->p = f->end;
    return false;
}

void json_flat_open(struct json_flat *f, struct slice text)
{
    *f = (struct json_flat){.p = text.p, .end = text.p + text.len, .first = true};
    if (!take(f, '{'))
        give_up(f);
}

/* After the opening quote. Only printable ASCII without escapes. */
static bool read_string(struct json_flat *f, struct slice *ret)
{
    const char *from = f->p;
    while (f->p < f->end && *f->p != '"') {
        unsigned char c = (unsigned char)*f->p;
        if (c < 0x20 || c >= 0x7f || c == '\\')
            return false;
        f->p++;
    }
    if (f->p == f->end)
        return false;
    *ret = (struct slice){from, (size_t)(f->p - from)};
    f->p++;
    return true;
}

static bool read_word(struct json_flat *f, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(f->end - f->p) < n || memcmp(f->p, word, n) != 0)
        return false;
    f->p += n;
    return true;
}

/* -?(0|[1-9][0-9]*), 18 digits at most; a fraction or exponent behind it is not for us. */
static bool read_int(struct json_flat *f, int64_t *ret)
{
    bool minus = f->p < f->end && *f->p == '-';
    f->p += minus;
    const char *from = f->p;
    int64_t v = 0;
    while (f->p < f->end && *f->p >= '0' && *f->p <= '9' && f->p - from < 18)
        v = v * 10 + (*f->p++ - '0');
    size_t n = (size_t)(f->p - from);
    if (n == 0 || (n > 1 && *from == '0'))
        return false;
    if (f->p < f->end &&
        (*f->p == '.' || *f->p == 'e' || *f->p == 'E' || (*f->p >= '0' && *f->p <= '9')))
        return false;
    *ret = minus ? -v : v;
    return true;
}

static bool read_value(struct json_flat *f, struct json_flat_member *m)
{
    skip_blanks(f);
    if (f->p == f->end)
        return false;
    m->s = (struct slice){NULL, 0};
    m->i = 0;
    switch (*f->p) {
    case '"':
        f->p++;
        m->type = JSON_FLAT_STR;
        return read_string(f, &m->s);
    case 'n':
        m->type = JSON_FLAT_NULL;
        return read_word(f, "null");
    case 't':
        m->type = JSON_FLAT_BOOL;
        m->i = 1;
        return read_word(f, "true");
    case 'f':
        m->type = JSON_FLAT_BOOL;
        return read_word(f, "false");
    default:
        m->type = JSON_FLAT_INT;
        return read_int(f, &m->i);
    }
}

bool json_flat_next(struct json_flat *f, struct json_flat_member *ret)
{
    if (f->gave_up)
        return false;
    if (take(f, '}')) {
        skip_blanks(f);
        return f->p == f->end ? false : give_up(f);
    }
    if (!f->first && !take(f, ','))
        return give_up(f);
    f->first = false;
    if (!take(f, '"') || !read_string(f, &ret->key) || !take(f, ':') || !read_value(f, ret))
        return give_up(f);
    return true;
}
