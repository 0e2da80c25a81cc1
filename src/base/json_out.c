#include "base/json_out.h"

#include "base/str.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a byte of a string needs: nothing (0), a look at the UTF-8 it begins ('8'), \u00xx ('u'),
 * or a backslash and this letter. */
#define U4 'u', 'u', 'u', 'u'
#define N8 0, 0, 0, 0, 0, 0, 0, 0
#define E8 '8', '8', '8', '8', '8', '8', '8', '8'
static const char class_of[256] = {
    U4, U4, 'b', 't', 'n', 'u', 'f', 'r',  'u', 'u',     /* 0x00 to 0x0F */
    U4, U4, U4,  U4,                                     /* 0x10 to 0x1F */
    0,  0,  '"', 0,   0,   0,   0,   0,    N8,  N8,  N8, /* 0x20 to 0x3F */
    N8, N8, N8,  0,   0,   0,   0,   '\\', 0,   0,   0,  /* 0x40 to 0x5F */
    N8, N8, N8,  N8,                                     /* 0x60 to 0x7F */
    E8, E8, E8,  E8,  E8,  E8,  E8,  E8,   E8,  E8,  E8, E8, E8, E8, E8, E8,
};
#undef U4
#undef N8
#undef E8

/* Length of the run at p that goes out as it is, valid UTF-8 beyond ASCII included. */
static size_t plain_run(const char *p, size_t n)
{
    static const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t i = 0;
    for (;;) {
        while (n - i >= sizeof(uint64_t)) {
            uint64_t w;
            memcpy(&w, p + i, sizeof(w));
            uint64_t quote = w ^ ones * '"', back = w ^ ones * '\\';
            /* A high bit in the sum: some byte is no ASCII, below 0x20, a quote or a backslash. */
            if (((w | (w - ones * 0x20) | (quote - ones) | (back - ones)) & highs) != 0)
                break;
            i += sizeof(w);
        }
        while (i < n && class_of[(unsigned char)p[i]] == 0)
            i++;
        if (i == n || class_of[(unsigned char)p[i]] != '8')
            return i;
        int len = utf8_char(p + i, n - i);
        if (len <= 0)
            return i;
        i += (size_t)len;
    }
}

/* Appends what replaces the bytes at p (not plain); returns how many bytes that were. */
static size_t escape_one(struct buf *b, const char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char u = (unsigned char)p[0];
    char c = class_of[u];
    if (c == '8') {
        (void)buf_addlit(b, "\xEF\xBF\xBD");
        return utf8_bad_len(p, n);
    }
    if (c == 'u')
        (void)buf_add(b, (char[]){'\\', 'u', '0', '0', digits[u >> 4], digits[u & 15]}, 6);
    else
        (void)buf_add(b, (char[]){'\\', c}, 2);
    return 1;
}

int json_escape(struct buf *b, struct slice v)
{
    size_t i = 0;
    while (i < v.len && b->err == 0) {
        size_t run = plain_run(v.p + i, v.len - i);
        (void)buf_add(b, v.p + i, run);
        i += run;
        if (i < v.len)
            i += escape_one(b, v.p + i, v.len - i);
    }
    return b->err;
}

/* A string with what comes before and after it: most need no escape and are one reservation. */
static void put_string(struct json_out *j, struct slice v, bool is_key)
{
    struct buf *b = j->b;
    size_t run = v.len > 0 ? plain_run(v.p, v.len) : 0;
    if (buf_reserve(b, run + 2 + j->comma + is_key) != 0)
        return;
    char *to = b->data + b->len;
    if (j->comma)
        *to++ = ',';
    *to++ = '"';
    if (run > 0)
        memcpy(to, v.p, run);
    to += run;
    if (run < v.len) {
        b->len = (size_t)(to - b->data);
        (void)json_escape(b, (struct slice){v.p + run, v.len - run});
        (void)buf_add(b, "\":", 1u + is_key);
    } else {
        *to++ = '"';
        if (is_key)
            *to++ = ':';
        *to = '\0';
        b->len = (size_t)(to - b->data);
    }
    j->comma = !is_key;
}

static void put_raw(struct json_out *j, const char *p, size_t n)
{
    if (buf_reserve(j->b, n + j->comma) != 0)
        return;
    char *to = j->b->data + j->b->len;
    if (j->comma)
        *to++ = ',';
    memcpy(to, p, n);
    to[n] = '\0';
    j->b->len = (size_t)(to + n - j->b->data);
    j->comma = true;
}

void json_begin(struct json_out *j, struct buf *b)
{
    j->b = b;
    j->comma = false;
}

void json_obj(struct json_out *j)
{
    put_raw(j, "{", 1);
    j->comma = false;
}

void json_end_obj(struct json_out *j)
{
    (void)buf_addc(j->b, '}');
    j->comma = true;
}

void json_arr(struct json_out *j)
{
    put_raw(j, "[", 1);
    j->comma = false;
}

void json_end_arr(struct json_out *j)
{
    (void)buf_addc(j->b, ']');
    j->comma = true;
}

void json_key(struct json_out *j, const char *key)
{
    put_string(j, slice_of(key), true);
}

void json_str(struct json_out *j, struct slice v)
{
    put_string(j, v, false);
}

void json_cstr(struct json_out *j, const char *v)
{
    if (v == NULL)
        json_nil(j);
    else
        put_string(j, slice_of(v), false);
}

static void comma_before(struct json_out *j)
{
    if (j->comma)
        (void)buf_addc(j->b, ',');
    j->comma = true;
}

void json_int(struct json_out *j, int64_t v)
{
    comma_before(j);
    (void)buf_addi(j->b, v);
}

void json_uint(struct json_out *j, uint64_t v)
{
    comma_before(j);
    (void)buf_addu(j->b, v);
}

/* The fewest digits that read back as the same number, written as Python's repr does: with a
 * point, and with an exponent only below 1e-4 and from 1e16 on. */
void json_double(struct json_out *j, double v)
{
    if (!isfinite(v)) {
        json_nil(j);
        return;
    }
    char text[40], out[40];
    /* 15 digits always hold what was written with 15; the numbers near 0 hold fewer. */
    for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
    /* text is [-]d.ddde[+-]xx; take it apart: digits without the point, without end zeros. */
    char *mantissa = text + (text[0] == '-'), *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    char digits[20];
    int n = 0;
    for (const char *p = mantissa; p < e && n < (int)sizeof(digits); p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    struct buf b = BUF_FIXED(out);
    if (text[0] == '-')
        (void)buf_addc(&b, '-');
    if (exponent < -4 || exponent >= 16) {
        (void)buf_addc(&b, digits[0]);
        if (n > 1)
            (void)buf_addf(&b, ".%.*s", n - 1, digits + 1);
        (void)buf_adds(&b, e);
    } else {
        if (exponent < 0)
            (void)buf_addf(&b, "0.%.*s", -exponent - 1, "000");
        for (int i = 0; i < n || i <= exponent + 1; i++) {
            if (i == exponent + 1 && exponent >= 0)
                (void)buf_addc(&b, '.');
            (void)buf_addc(&b, i < n ? digits[i] : '0');
        }
    }
    put_raw(j, out, b.len);
}

void json_bool(struct json_out *j, bool v)
{
    if (v)
        put_raw(j, "true", 4);
    else
        put_raw(j, "false", 5);
}

void json_nil(struct json_out *j)
{
    put_raw(j, "null", 4);
}

void json_raw(struct json_out *j, struct slice v)
{
    comma_before(j);
    (void)buf_add(j->b, v.p, v.len);
}

void json_kstr(struct json_out *j, const char *key, const char *v)
{
    json_key(j, key);
    json_cstr(j, v);
}

void json_kslice(struct json_out *j, const char *key, struct slice v)
{
    json_key(j, key);
    json_str(j, v);
}

void json_kint(struct json_out *j, const char *key, int64_t v)
{
    json_key(j, key);
    json_int(j, v);
}

void json_kbool(struct json_out *j, const char *key, bool v)
{
    json_key(j, key);
    json_bool(j, v);
}

void json_knull(struct json_out *j, const char *key)
{
    json_key(j, key);
    json_nil(j);
}
