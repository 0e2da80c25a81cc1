#include "base/buf.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdio.h>

enum { BUF_FIRST_CAP = 63 }; /* 64 bytes with the NUL */

void buf_init(struct buf *b, size_t max)
{
    *b = BUF_INIT(max);
}

void buf_done(struct buf *b)
{
    if (b == NULL)
        return;
    mem_free(b->data);
    *b = BUF_INIT(b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->err = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

int buf_reserve_slow(struct buf *b, size_t n)
{
    if (b->err != 0)
        return b->err;
    if (n > b->max - b->len || b->len + n > SIZE_MAX / 2)
        return b->err = ERR_LIMIT;
    size_t need = b->len + n;
    if (b->data != NULL && need <= b->cap)
        return 0;
    size_t cap = b->cap < BUF_FIRST_CAP ? BUF_FIRST_CAP : b->cap * 2 + 1;
    if (cap < need)
        cap = need;
    if (cap > b->max)
        cap = b->max;
    char *data = mem_realloc(b->data, cap + 1);
    if (data == NULL)
        return b->err = ERR_NO_MEMORY;
    if (b->data == NULL)
        data[0] = '\0';
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_addvf(struct buf *b, const char *fmt, va_list ap)
{
    if (buf_reserve(b, 0) != 0)
        return b->err;
    va_list again;
    va_copy(again, ap);
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->data + b->len, room + 1, fmt, ap);
    if (n < 0)
        b->err = ERR_INVALID;
    else if ((size_t)n > room && buf_reserve(b, (size_t)n) == 0)
        n = vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    if (b->err != 0) {
        b->data[b->len] = '\0';
        return b->err;
    }
    b->len += (size_t)n;
    return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = buf_addvf(b, fmt, ap);
    va_end(ap);
    return r;
}

/* Two digits at a time halves the divisions. */
static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

static char *digits_before(char *end, uint64_t v)
{
    while (v >= 100) {
        end -= 2;
        memcpy(end, two_digits + v % 100 * 2, 2);
        v /= 100;
    }
    if (v < 10) {
        *--end = (char)('0' + v);
    } else {
        end -= 2;
        memcpy(end, two_digits + v * 2, 2);
    }
    return end;
}

int buf_addu(struct buf *b, uint64_t v)
{
    char text[24], *end = text + sizeof(text), *p = digits_before(end, v);
    return buf_add(b, p, (size_t)(end - p));
}

int buf_addi(struct buf *b, int64_t v)
{
    char text[24], *end = text + sizeof(text);
    char *p = digits_before(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0)
        *--p = '-';
    return buf_add(b, p, (size_t)(end - p));
}

int buf_add_words(struct buf *b, const char *text, size_t max)
{
    size_t len = strnlen(text, max + 1), cut = max - 3;
    if (len <= max)
        return buf_add(b, text, len);
    while (cut > 0 && text[cut] != ' ')
        cut--;
    if (cut == 0)
        for (cut = max - 3; cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80;)
            cut--;
    while (cut > 0 && (text[cut - 1] == ' ' || text[cut - 1] == ',' || text[cut - 1] == ':'))
        cut--;
    (void)buf_add(b, text, cut);
    return buf_addlit(b, "...");
}

void buf_drop(struct buf *b, size_t n)
{
    INVARIANT(n <= b->len);
    if (n == 0)
        return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len + 1);
}

char *buf_steal(struct buf *b, size_t *len)
{
    if (buf_reserve(b, 0) != 0)
        return NULL;
    if (len != NULL)
        *len = b->len;
    char *data = STEAL(b->data);
    *b = BUF_INIT(b->max);
    return data;
}
