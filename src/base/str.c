#include "base/str.h"

#include "base/err.h"
#include "base/mem.h"

#include <limits.h>
#include <string.h>

bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u + ('a' - 'A')) : u;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool slice_starts(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct slice slice_trim(struct slice a)
{
    while (a.len > 0 && is_blank(a.p[0])) {
        a.p++;
        a.len--;
    }
    while (a.len > 0 && is_blank(a.p[a.len - 1]))
        a.len--;
    return a;
}

bool slice_split(struct slice *rest, char sep, struct slice *part)
{
    if (rest->p == NULL)
        return false;
    const char *at = rest->len > 0 ? memchr(rest->p, sep, rest->len) : NULL;
    if (at == NULL) {
        *part = *rest;
        *rest = (struct slice){NULL, 0};
        return true;
    }
    size_t n = (size_t)(at - rest->p);
    *part = (struct slice){rest->p, n};
    rest->p += n + 1;
    rest->len -= n + 1;
    return true;
}

/* The well-formed byte sequences of RFC 3629, section 4. *part is how many bytes at p belong
 * together: the whole character, or the longest beginning of one (at least 1). */
static int utf8_scan(const unsigned char *p, size_t n, size_t *part)
{
    unsigned lo = 0x80, hi = 0xBF;
    size_t need;
    *part = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        need = 2;
    } else if ((p[0] & 0xF0) == 0xE0) {
        need = 3;
        if (p[0] == 0xE0)
            lo = 0xA0;
        else if (p[0] == 0xED)
            hi = 0x9F;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        need = 4;
        if (p[0] == 0xF0)
            lo = 0x90;
        else if (p[0] == 0xF4)
            hi = 0x8F;
    } else {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if (i == n)
            return -1;
        if (p[i] < lo || p[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xBF;
        *part = i + 1;
    }
    return (int)need;
}

int utf8_char(const char *p, size_t n)
{
    size_t part;
    return n == 0 ? -1 : utf8_scan((const unsigned char *)p, n, &part);
}

size_t utf8_bad_len(const char *p, size_t n)
{
    size_t part;
    return n > 0 && utf8_scan((const unsigned char *)p, n, &part) <= 0 ? part : 0;
}

/* Length of the run of valid UTF-8 at the start. */
static size_t valid_run(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof(word)) {
            memcpy(&word, p + i, sizeof(word));
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        size_t part;
        if (utf8_scan((const unsigned char *)p + i, n - i, &part) <= 0)
            break;
        i += part;
    }
    return i;
}

bool utf8_valid(const char *p, size_t n)
{
    return valid_run(p, n) == n;
}

int utf8_add_lossy(struct buf *b, const char *p, size_t n)
{
    if (n == 0)
        return b->err;
    for (;;) {
        size_t good = valid_run(p, n);
        (void)buf_add(b, p, good);
        if (good == n || b->err != 0)
            return b->err;
        p += good;
        n -= good;
        size_t bad = utf8_bad_len(p, n);
        (void)buf_addlit(b, "\xEF\xBF\xBD");
        p += bad;
        n -= bad;
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Puts the text behind out->len + *n, which has room, one byte per step. */
static size_t pct_decode_raw(char *to, struct slice in, bool plus_is_blank)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.p[i];
        if (c == '%' && in.len - i > 2 && hex_value(in.p[i + 1]) >= 0 &&
            hex_value(in.p[i + 2]) >= 0) {
            c = (char)(hex_value(in.p[i + 1]) << 4 | hex_value(in.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        to[n++] = c;
    }
    return n;
}

int pct_decode(struct buf *out, struct slice in, bool plus_is_blank)
{
    /* Room for the undecoded length would refuse a text that fits; so decode aside if needed. */
    struct buf raw = BUF_INIT(in.len);
    if (out->err != 0 || in.len == 0)
        return out->err;
    if (buf_reserve(&raw, in.len) != 0)
        return out->err = raw.err;
    raw.len = pct_decode_raw(raw.data, in, plus_is_blank);
    (void)utf8_add_lossy(out, raw.data, raw.len);
    buf_done(&raw);
    return out->err;
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int pct_encode(struct buf *out, struct slice in)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.len && out->err == 0; i++) {
        unsigned char u = (unsigned char)in.p[i];
        if (is_unreserved(in.p[i]))
            (void)buf_addc(out, in.p[i]);
        else
            (void)buf_add(out, (char[]){'%', digits[u >> 4], digits[u & 15]}, 3);
    }
    return out->err;
}

/* Digits only, at least one. ERR_LIMIT if the value is above max (after the syntax is known). */
static int digits_to_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    bool over = false;
    if (s.len == 0)
        return ERR_SYNTAX;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return ERR_SYNTAX;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        over = over || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v);
    }
    if (over || v > max)
        return ERR_LIMIT;
    *ret = v;
    return 0;
}

static bool cut_sign(struct slice *s)
{
    if (s->len == 0 || (s->p[0] != '-' && s->p[0] != '+'))
        return false;
    bool minus = s->p[0] == '-';
    s->p++;
    s->len--;
    return minus;
}

int str_to_i64(struct slice s, int64_t *ret)
{
    uint64_t v;
    bool minus = cut_sign(&s);
    int r = digits_to_u64(s, (uint64_t)INT64_MAX + minus, &v);
    if (r == 0)
        *ret = (int64_t)(minus ? 0 - v : v);
    return r;
}

int str_to_u64(struct slice s, uint64_t *ret)
{
    uint64_t v;
    bool minus = cut_sign(&s);
    int r = digits_to_u64(s, minus ? 0 : UINT64_MAX, &v);
    if (r == 0)
        *ret = v;
    return r;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* <digits><unit>; the unit with an empty name comes first and stands for a bare number. */
static int number_with_unit(struct slice s, const struct unit *units, size_t n_units, uint64_t max,
                            uint64_t *ret)
{
    size_t n = 0;
    while (n < s.len && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    struct slice unit = {s.p + n, s.len - n};
    for (size_t i = 0; i < n_units; i++) {
        if (!slice_eqs(unit, units[i].name))
            continue;
        uint64_t v;
        int r = digits_to_u64((struct slice){s.p, n}, UINT64_MAX, &v);
        if (r != 0)
            return r;
        if (__builtin_mul_overflow(v, units[i].factor, &v) || v > max)
            return ERR_LIMIT;
        *ret = v;
        return 0;
    }
    return ERR_SYNTAX;
}

int str_to_ms(struct slice s, int64_t *ret_ms)
{
    static const struct unit units[] = {{"", 1000},   {"ms", 1},      {"s", 1000},
                                        {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t v;
    if (s.len == 0)
        return ERR_SYNTAX;
    int r = number_with_unit(s, units, ARRAY_LEN(units), INT64_MAX, &v);
    if (r == 0)
        *ret_ms = (int64_t)v;
    return r;
}

int str_to_size(struct slice s, uint64_t *ret)
{
    static const struct unit units[] = {{"", 1},         {"k", 1u << 10}, {"K", 1u << 10},
                                        {"M", 1u << 20}, {"G", 1u << 30}, {"T", 1ull << 40}};
    if (s.len == 0)
        return ERR_SYNTAX;
    return number_with_unit(s, units, ARRAY_LEN(units), UINT64_MAX, ret);
}

bool name_is_safe(struct slice name, size_t max)
{
    if (name.len == 0 || name.len > max || name.p[0] == '-' || slice_eqs(name, ".") ||
        slice_eqs(name, "..") || !utf8_valid(name.p, name.len))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char u = (unsigned char)name.p[i];
        if (u < 0x20 || u == 0x7F || u == '/')
            return false;
        /* U+0080 to U+009F are controls too: terminals take U+009B for ESC [ */
        if (u == 0xC2 && (unsigned char)name.p[i + 1] < 0xA0)
            return false;
    }
    return true;
}

/* What may not stand in a text as it is. */
enum plain {
    PLAIN_QUOTED, /* also quotes and backslashes */
    PLAIN_LINE,
    PLAIN_LINES, /* not line feeds */
};

static int add_plain(struct buf *b, struct slice v, enum plain how)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < v.len && b->err == 0;) {
        unsigned char u = (unsigned char)v.p[i];
        int n = utf8_char(v.p + i, v.len - i);
        if (n <= 0) {
            (void)buf_addlit(b, "\xEF\xBF\xBD");
            i += utf8_bad_len(v.p + i, v.len - i);
            continue;
        }
        unsigned control = u < 0x20 || u == 0x7F ? u : UINT_MAX;
        if (n == 2 && u == 0xC2 && (unsigned char)v.p[i + 1] < 0xA0)
            control = (unsigned char)v.p[i + 1]; /* U+0080 to U+009F */
        if ((u == '"' || u == '\\') && how == PLAIN_QUOTED)
            (void)buf_add(b, (char[]){'\\', (char)u}, 2);
        else if (u == '\n' && how != PLAIN_LINES)
            (void)buf_addlit(b, "\\n");
        else if (u == '\t')
            (void)buf_addlit(b, "\\t");
        else if (control != UINT_MAX && u != '\n')
            (void)buf_add(
                b, (char[]){'\\', 'u', '0', '0', digits[control >> 4], digits[control & 15]}, 6);
        else
            (void)buf_add(b, v.p + i, (size_t)n);
        i += (size_t)n;
    }
    return b->err;
}

int str_add_printable(struct buf *b, struct slice v)
{
    return add_plain(b, v, PLAIN_QUOTED);
}

bool str_put_plain(char *to, size_t size, struct slice v, bool lines)
{
    INVARIANT(size > sizeof("..."));
    struct buf b = {.data = to, .cap = size - 1, .max = size - 1};
    to[0] = '\0';
    if (add_plain(&b, v, lines ? PLAIN_LINES : PLAIN_LINE) == 0)
        return true;
    size_t n = b.len < size - sizeof("...") ? b.len : size - sizeof("...");
    while (n > 0 && ((unsigned char)to[n] & 0xC0) == 0x80)
        n--;
    memcpy(to + n, "...", sizeof("..."));
    return false;
}

size_t str_strip_sgr(char *p, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n;) {
        if (p[i] == '\x1B' && n - i > 2 && p[i + 1] == '[') {
            size_t end = i + 2;
            while (end < n && ((p[end] >= '0' && p[end] <= '9') || p[end] == ';'))
                end++;
            if (end < n && p[end] == 'm') {
                i = end + 1;
                continue;
            }
        }
        p[to++] = p[i++];
    }
    return to;
}

void hex_encode(char *out, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

uint64_t hash_bytes(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 0x100000001B3u;
    return h;
}
