/* http1_check.c: the strict check of HTTP/1.x bytes before the parser sees them. */
#include "net/http1_check.h"

#include "base/str.h"
#include <string.h>

enum {
    TOKEN = 1,  /* RFC 9110, 5.6.2 */
    VALUE = 2,  /* field-content: tab, blank, visible, obs-text */
    TARGET = 4, /* visible ASCII */
    HOST = 8,   /* of uri-host and port, without the comma (lists) and the at sign */
    HEX = 16,
};

enum { METHOD_MAX = 32, CHUNK_DIGITS_MAX = 15 };

static const uint8_t class_of[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = TOKEN | VALUE | TARGET | HOST,
    ['"'] = VALUE | TARGET,
    ['#'] = TOKEN | VALUE | TARGET,
    ['$'] = TOKEN | VALUE | TARGET | HOST,
    ['%'] = TOKEN | VALUE | TARGET | HOST,
    ['&'] = TOKEN | VALUE | TARGET | HOST,
    ['\''] = TOKEN | VALUE | TARGET | HOST,
    ['('] = VALUE | TARGET | HOST,
    [')'] = VALUE | TARGET | HOST,
    ['*'] = TOKEN | VALUE | TARGET | HOST,
    ['+'] = TOKEN | VALUE | TARGET | HOST,
    [','] = VALUE | TARGET,
    ['-'] = TOKEN | VALUE | TARGET | HOST,
    ['.'] = TOKEN | VALUE | TARGET | HOST,
    ['/'] = VALUE | TARGET,
    ['0' ... '9'] = TOKEN | VALUE | TARGET | HOST | HEX,
    [':'] = VALUE | TARGET | HOST,
    [';'] = VALUE | TARGET | HOST,
    ['<'] = VALUE | TARGET,
    ['='] = VALUE | TARGET | HOST,
    ['>'] = VALUE | TARGET,
    ['?'] = VALUE | TARGET,
    ['@'] = VALUE | TARGET,
    ['A' ... 'F'] = TOKEN | VALUE | TARGET | HOST | HEX,
    ['G' ... 'Z'] = TOKEN | VALUE | TARGET | HOST,
    ['['] = VALUE | TARGET | HOST,
    ['\\'] = VALUE | TARGET,
    [']'] = VALUE | TARGET | HOST,
    ['^'] = TOKEN | VALUE | TARGET,
    ['_'] = TOKEN | VALUE | TARGET | HOST,
    ['`'] = TOKEN | VALUE | TARGET,
    ['a' ... 'f'] = TOKEN | VALUE | TARGET | HOST | HEX,
    ['g' ... 'z'] = TOKEN | VALUE | TARGET | HOST,
    ['{'] = VALUE | TARGET,
    ['|'] = TOKEN | VALUE | TARGET,
    ['}'] = VALUE | TARGET,
    ['~'] = TOKEN | VALUE | TARGET | HOST,
    [0x80 ... 0xff] = VALUE,
};

static bool is(char c, unsigned class)
{
    return (class_of[(unsigned char)c] & class) != 0;
}

bool http1_is_token(unsigned char c)
{
    return (class_of[c] & TOKEN) != 0;
}

bool http1_is_value(unsigned char c)
{
    return (class_of[c] & VALUE) != 0;
}

/* Length of the run of characters of a class. */
static size_t run(const char *p, size_t n, unsigned class)
{
    size_t i = 0;

    while (i < n && is(p[i], class))
        i++;
    return i;
}

/* ---- header fields with a meaning for framing ---- */

static bool name_is(struct slice name, const char *lower, size_t len)
{
    if (name.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((name.p[i] | 0x20) != lower[i])
            return false;
    }
    return true;
}
#define NAME_IS(name, lit) name_is((name), (lit), sizeof(lit) - 1)

static struct slice trim(struct slice v)
{
    while (v.len > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
        v.p++;
        v.len--;
    }
    while (v.len > 0 && (v.p[v.len - 1] == ' ' || v.p[v.len - 1] == '\t'))
        v.len--;
    return v;
}

static int check_length(struct http1_check *k, struct slice v)
{
    if (k->has_length || v.len == 0)
        return 400;
    k->has_length = true;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return 400;
        unsigned digit = (unsigned)(v.p[i] - '0');
        if (k->length > ((uint64_t)INT64_MAX - digit) / 10)
            return 400;
        k->length = k->length * 10 + digit;
    }
    return 0;
}

static int check_field(struct http1_check *k, struct slice name, struct slice value)
{
    if (NAME_IS(name, "host")) {
        if (k->has_host || run(value.p, value.len, HOST) != value.len)
            return 400;
        k->has_host = true;
    } else if (NAME_IS(name, "content-length")) {
        return check_length(k, value);
    } else if (NAME_IS(name, "transfer-encoding")) {
        if (k->chunked || !slice_eq_nocase(value, SLICE_LIT("chunked")))
            return 400;
        k->chunked = true;
    }
    return 0;
}

/* The head is complete: what only the whole of it can tell. */
static int check_whole(const struct http1_check *k)
{
    if (k->chunked && (k->has_length || k->minor0))
        return 400;
    if (!k->has_host && !k->minor0)
        return 400;
    return HTTP1_OK;
}

/* ---- the head ---- */

enum head_state {
    S_BEFORE,
    S_BEFORE_LF,
    S_METHOD,
    S_TARGET,
    S_VERSION,
    S_LINE_LF,
    S_LINE,
    S_NAME,
    S_VALUE,
    S_END_LF
};

/* What the states do: 0 to go on, HTTP1_MORE when the bytes are used up, or a status. */
static int check_method(struct http1_check *k, const char *p, size_t n)
{
    k->pos += run(p + k->pos, n - k->pos, TOKEN);
    if (k->pos - k->start > METHOD_MAX)
        return 400;
    if (k->pos == n)
        return HTTP1_MORE;
    if (p[k->pos] != ' ' || k->pos == k->start)
        return 400;
    k->start = ++k->pos;
    k->state = S_TARGET;
    return 0;
}

static int check_target(struct http1_check *k, const struct http_limits *l, const char *p, size_t n)
{
    k->pos += run(p + k->pos, n - k->pos, TARGET);
    if (k->pos - k->start > l->max_target)
        return 414;
    if (k->pos == n)
        return HTTP1_MORE;
    if (p[k->pos] != ' ' || k->pos == k->start)
        return 400;
    k->start = ++k->pos;
    k->state = S_VERSION;
    return 0;
}

static int check_version(struct http1_check *k, const char *p, size_t n)
{
    static const char form[] = "HTTP/d.d\r";

    for (; k->pos < n && k->pos - k->start < sizeof(form) - 1; k->pos++) {
        char c = p[k->pos], want = form[k->pos - k->start];
        if (want == 'd' ? (c < '0' || c > '9') : c != want)
            return 400;
    }
    if (k->pos - k->start < sizeof(form) - 1)
        return HTTP1_MORE;
    if (p[k->start + 5] != '1' || p[k->start + 7] > '1')
        return 505;
    k->minor0 = p[k->start + 7] == '0';
    k->state = S_LINE_LF;
    return 0;
}

static int check_name(struct http1_check *k, const char *p, size_t n)
{
    k->pos += run(p + k->pos, n - k->pos, TOKEN);
    if (k->pos == n)
        return HTTP1_MORE;
    if (p[k->pos] != ':' || k->pos == k->start)
        return 400; /* a blank before the colon, obs-fold, a line without a colon */
    k->value = ++k->pos;
    k->state = S_VALUE;
    return 0;
}

static int check_value(struct http1_check *k, const char *p, size_t n)
{
    k->pos += run(p + k->pos, n - k->pos, VALUE);
    if (k->pos == n)
        return HTTP1_MORE;
    if (p[k->pos] != '\r')
        return 400;
    struct slice name = {p + k->start, k->value - 1 - k->start};
    struct slice value = {p + k->value, k->pos - k->value};
    k->pos++;
    k->state = S_LINE_LF;
    return check_field(k, name, trim(value));
}

/* States that look at one character. */
static int check_one(struct http1_check *k, const struct http_limits *l, char c)
{
    switch (k->state) {
    case S_BEFORE:
        if (c == '\r') {
            k->pos++;
            k->state = S_BEFORE_LF;
        } else {
            k->state = S_METHOD;
        }
        return 0;
    case S_BEFORE_LF:
        k->start = ++k->pos;
        k->state = S_METHOD;
        return c == '\n' ? 0 : 400;
    case S_LINE_LF:
        k->start = ++k->pos;
        k->state = S_LINE;
        return c == '\n' ? 0 : 400;
    case S_LINE:
        if (c == '\r') {
            k->pos++;
            k->state = S_END_LF;
            return 0;
        }
        k->state = S_NAME;
        return ++k->n_headers > l->max_headers ? 431 : 0;
    default:
        return 400;
    }
}

int http1_check_head(struct http1_check *k, const struct http_limits *l, const char *p, size_t n,
                     size_t *head_len)
{
    size_t all = n;
    int rc = 0;

    if (n > l->max_head)
        n = l->max_head;
    while (rc == 0 && k->pos < n) {
        switch ((enum head_state)k->state) {
        case S_METHOD:
            rc = check_method(k, p, n);
            break;
        case S_TARGET:
            rc = check_target(k, l, p, n);
            break;
        case S_VERSION:
            rc = check_version(k, p, n);
            break;
        case S_NAME:
            rc = check_name(k, p, n);
            break;
        case S_VALUE:
            rc = check_value(k, p, n);
            break;
        case S_END_LF:
            if (p[k->pos] != '\n')
                return 400;
            *head_len = k->pos + 1;
            return check_whole(k);
        default:
            rc = check_one(k, l, p[k->pos]);
            break;
        }
    }
    if (rc > HTTP1_MORE)
        return rc;
    if (all >= l->max_head && k->pos == n)
        return k->state <= S_TARGET ? 414 : 431;
    return HTTP1_MORE;
}

/* ---- chunked bodies ---- */

enum chunk_state {
    C_SIZE,
    C_EXT,
    C_SIZE_LF,
    C_DATA,
    C_DATA_CR,
    C_DATA_LF,
    C_LINE,
    C_NAME,
    C_VALUE,
    C_LINE_LF,
    C_END_LF
};

static unsigned hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static int chunk_size(struct http1_chunks *k, char c)
{
    if (is(c, HEX)) {
        if (++k->digits > CHUNK_DIGITS_MAX)
            return 400;
        k->left = k->left * 16 + hex_value(c);
        return 0;
    }
    if (k->digits == 0 || (c != ';' && c != '\r'))
        return 400;
    k->state = c == ';' ? C_EXT : C_SIZE_LF;
    return 0;
}

static int chunk_size_end(struct http1_chunks *k, char c)
{
    if (c != '\n')
        return 400;
    k->state = k->left > 0 ? C_DATA : C_LINE;
    k->digits = 0;
    return 0;
}

/* Trailer lines are header lines. */
static int chunk_trailer(struct http1_chunks *k, const struct http_limits *l, char c)
{
    switch (k->state) {
    case C_LINE:
        if (c == '\r') {
            k->state = C_END_LF;
            return 0;
        }
        k->state = C_NAME;
        if (++k->n_trailers > l->max_headers)
            return 431;
        return is(c, TOKEN) ? 0 : 400;
    case C_NAME:
        if (c == ':')
            k->state = C_VALUE;
        return c == ':' || is(c, TOKEN) ? 0 : 400;
    case C_VALUE:
        if (c == '\r')
            k->state = C_LINE_LF;
        return c == '\r' || is(c, VALUE) ? 0 : 400;
    default:
        k->state = C_LINE;
        return c == '\n' ? 0 : 400;
    }
}

static int chunk_step(struct http1_chunks *k, const struct http_limits *l, char c)
{
    switch ((enum chunk_state)k->state) {
    case C_SIZE:
        return chunk_size(k, c);
    case C_EXT:
        if (c == '\r')
            k->state = C_SIZE_LF;
        else if (!is(c, VALUE))
            return 400;
        return ++k->overhead > l->max_head ? 431 : 0;
    case C_SIZE_LF:
        return chunk_size_end(k, c);
    case C_DATA_CR:
        k->state = C_DATA_LF;
        return c == '\r' ? 0 : 400;
    case C_DATA_LF:
        k->state = C_SIZE;
        return c == '\n' ? 0 : 400;
    default:
        return ++k->overhead > l->max_head ? 431 : chunk_trailer(k, l, c);
    }
}

int http1_check_chunks(struct http1_chunks *k, const struct http_limits *l, const char *p, size_t n,
                       size_t *used)
{
    size_t i = 0;

    while (i < n) {
        if (k->state == C_DATA) {
            size_t take = k->left < n - i ? (size_t)k->left : n - i;
            k->left -= take;
            i += take;
            if (k->left == 0)
                k->state = C_DATA_CR;
        } else if (k->state == C_END_LF) {
            *used = i + 1;
            return p[i] == '\n' ? HTTP1_OK : 400;
        } else {
            int rc = chunk_step(k, l, p[i++]);
            if (rc != 0)
                return rc;
        }
    }
    *used = n;
    return HTTP1_MORE;
}
