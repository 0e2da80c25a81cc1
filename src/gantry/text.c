#include "gantry/text.h"
#include "base/str.h"
#include <locale.h>
#include <wchar.h>

#define ESC 0x1b

void text_init(void)
{
    /* C.UTF-8 is built into the C library, so this does not depend on installed locales. */
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
        setlocale(LC_CTYPE, "");
}

uint32_t text_decode(const char *p, int n)
{
    const unsigned char *u = (const unsigned char *)p;
    switch (n) {
    case 2:
        return (uint32_t)(u[0] & 0x1f) << 6 | (u[1] & 0x3f);
    case 3:
        return (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (u[2] & 0x3f);
    case 4:
        return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 |
               (uint32_t)(u[2] & 0x3f) << 6 | (u[3] & 0x3f);
    default:
        return u[0];
    }
}

size_t text_width(struct slice s)
{
    size_t width = 0;
    for (size_t i = 0; i < s.len;) {
        int n = utf8_char(s.p + i, s.len - i);
        if (n <= 0) { /* shown as one replacement character */
            width++;
            i++;
            continue;
        }
        int w = n == 1 ? 1 : wcwidth((wchar_t)text_decode(s.p + i, n));
        width += (size_t)(w < 0 ? 1 : w);
        i += (size_t)n;
    }
    return width;
}

int text_duration(struct buf *out, int64_t seconds)
{
    int64_t s = seconds;
    if (s < 0)
        return buf_addlit(out, "-");
    if (s < 60)
        return buf_addf(out, "%llds", (long long)s);
    if (s < 3600)
        return buf_addf(out, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    if (s < 86400)
        return buf_addf(out, "%lldh%02lldm", (long long)(s / 3600), (long long)(s % 3600 / 60));
    return buf_addf(out, "%lldd%02lldh", (long long)(s / 86400), (long long)(s % 86400 / 3600));
}

static int add_control(struct buf *out, unsigned char c)
{
    char pair[2] = {'^', (char)(c ^ 0x40)};
    return buf_add(out, pair, 2);
}

bool text_changes_direction(uint32_t c)
{
    return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* One character beyond ASCII; returns the number of bytes used. */
static size_t add_wide(struct buf *out, const char *p, size_t n, bool line)
{
    int len = utf8_char(p, n);
    if (len <= 0) {
        buf_addlit(out, "\xef\xbf\xbd");
        return 1;
    }
    uint32_t c = text_decode(p, len);
    if ((c >= 0x80 && c < 0xa0) ||
        (line && (text_changes_direction(c) || c == 0x2028 || c == 0x2029)))
        buf_addf(out, "\\u%04x", c);
    else
        buf_add(out, p, (size_t)len);
    return (size_t)len;
}

int text_clean(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x80) {
            i += add_wide(out, s.p + i, s.len - i, true);
            continue;
        }
        if (c == '\r' && i + 1 < s.len && s.p[i + 1] == '\n')
            c = ' ', i++;
        if (c == '\n' || c == '\t')
            c = ' ';
        if (c < 0x20 || c == 0x7f)
            add_control(out, c);
        else
            buf_addc(out, (char)c);
        i++;
    }
    return out->err;
}

void text_filter_init(struct text_filter *f, bool keep_colour)
{
    *f = (struct text_filter){.keep_colour = keep_colour};
}

/* The sequence turned out to be none that passes: its ESC made visible, the rest is plain text. */
static void spill(struct text_filter *f, struct buf *out)
{
    if (f->held == 0)
        return;
    add_control(out, ESC);
    buf_add(out, f->seq + 1, f->held - 1);
    f->held = 0;
}

/* "ESC[m" and "ESC[0m" put everything back. Of others it is not worth knowing: a reset too many
 * at the end does no harm. */
static bool is_reset(const char *seq, size_t n)
{
    return n == 2 || (n == 3 && seq[2] == '0');
}

/* Takes c into the sequence that is held. False if c has to be seen again as plain text. */
static bool in_sequence(struct text_filter *f, unsigned char c, struct buf *out)
{
    if (f->held == 1 && c == '[') {
        f->seq[f->held++] = '[';
        return true;
    }
    bool parameter = (c >= '0' && c <= '9') || c == ';' || c == ':';
    if (f->held >= 2 && parameter && f->held < sizeof f->seq - 1) {
        f->seq[f->held++] = (char)c;
        return true;
    }
    if (f->held < 2 || c != 'm') {
        spill(f, out);
        return false;
    }
    if (f->keep_colour) {
        f->colour_on = !is_reset(f->seq, f->held);
        f->seq[f->held++] = 'm';
        buf_add(out, f->seq, f->held);
    }
    f->held = 0;
    return true;
}

static void plain(struct text_filter *f, unsigned char c, struct buf *out)
{
    if (c == ESC) {
        f->seq[0] = ESC;
        f->held = 1;
    } else if (c == '\r') {
        f->saw_cr = true;
    } else if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f)) {
        buf_addc(out, (char)c);
    } else {
        add_control(out, c);
    }
}

int text_filter_feed(struct text_filter *f, struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.p[i];
        if (f->held > 0 && in_sequence(f, c, out)) {
            i++;
            continue;
        }
        if (f->saw_cr) {
            f->saw_cr = false;
            if (c != '\n')
                add_control(out, '\r');
        }
        if (c >= 0x80) {
            i += add_wide(out, s.p + i, s.len - i, false);
            continue;
        }
        plain(f, c, out);
        i++;
    }
    return out->err;
}

int text_filter_end(struct text_filter *f, struct buf *out)
{
    spill(f, out);
    if (f->saw_cr)
        add_control(out, '\r');
    f->saw_cr = false;
    if (f->colour_on)
        buf_addlit(out, "\033[0m");
    f->colour_on = false;
    return out->err;
}

/* Position after "N seconds", or 0. */
static size_t after_seconds(struct slice s)
{
    static const char word[] = " seconds";
    const char *at = s.len == 0 ? NULL : memmem(s.p, s.len, word, sizeof word - 1);
    return at == NULL ? 0 : (size_t)(at - s.p) + sizeof word - 1;
}

int text_status_detail(struct buf *out, struct slice raw, bool is_up)
{
    struct slice s = slice_trim(raw);
    const char *close = s.len == 0 ? NULL : memchr(s.p, ')', s.len);
    const char *open = s.len == 0 ? NULL : memchr(s.p, '(', s.len);
    if (open == NULL || close == NULL || close < open)
        return text_clean(out, s);
    if (!is_up)
        text_clean(out, (struct slice){open + 1, (size_t)(close - open - 1)});
    struct slice rest = {close + 1, s.len - (size_t)(close + 1 - s.p)};
    /* "down (not started yet)" has no time. */
    size_t skip = after_seconds(rest);
    const char *comma = skip == 0 ? NULL : memchr(rest.p, ',', rest.len);
    if (comma != NULL && (size_t)(comma - rest.p) < skip) /* not the first clause */
        skip = 0;
    rest = slice_trim((struct slice){rest.p + skip, rest.len - skip});
    if (is_up && slice_starts(rest, ","))
        rest = slice_trim((struct slice){rest.p + 1, rest.len - 1});
    return text_clean(out, rest);
}
