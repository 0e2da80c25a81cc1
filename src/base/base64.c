#include "base/base64.h"

#include "base/err.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* The alphabet first, so that a long text that is something else costs nothing. */
static bool is_encoded(struct slice text)
{
    size_t letters = 0, padding = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (is_line_end(text.p[i]))
            continue;
        if (text.p[i] == '=')
            padding++;
        else if (padding > 0 || value_of(text.p[i]) < 0)
            return false;
        else
            letters++;
    }
    return padding <= 2 && (letters + padding) % 4 == 0;
}

int base64_decode(struct buf *out, struct slice text)
{
    uint32_t group = 0;
    unsigned bits = 0;
    if (!is_encoded(text))
        return ERR_SYNTAX;
    int r = buf_reserve(out, text.len / 4 * 3 + 3);
    for (size_t i = 0; r == 0 && i < text.len; i++) {
        if (is_line_end(text.p[i]))
            continue;
        if (text.p[i] == '=')
            break;
        group = (group << 6 | (uint32_t)value_of(text.p[i])) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            r = buf_addc(out, (char)(group >> bits & 0xFF));
        }
    }
    return r;
}
