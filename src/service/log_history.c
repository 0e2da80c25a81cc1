#include "service/log_history.h"
#include <string.h>

void log_history_init(struct log_history *h)
{
    buf_init(&h->text, 2 * LOG_HISTORY_BYTES);
    h->torn = false;
}

void log_history_done(struct log_history *h)
{
    buf_done(&h->text);
}

void log_history_add(struct log_history *h, struct slice text)
{
    if (text.len == 0)
        return;
    if (text.len > LOG_HISTORY_BYTES) {
        size_t skip = text.len - LOG_HISTORY_BYTES;
        h->torn = text.p[skip - 1] != '\n';
        buf_clear(&h->text);
        text = (struct slice){text.p + skip, LOG_HISTORY_BYTES};
    } else if (h->text.len + text.len > 2 * LOG_HISTORY_BYTES) {
        size_t drop = h->text.len - LOG_HISTORY_BYTES;
        h->torn = h->text.data[drop - 1] != '\n';
        buf_drop(&h->text, drop);
    }
    char last = text.p[text.len - 1];
    if (buf_add(&h->text, text.p, text.len) == 0)
        return;
    buf_done(&h->text);
    h->torn = last != '\n';
}

/* Past the first line's end; past half a character if there is none. */
static struct slice whole_lines(struct slice s)
{
    const char *nl = memchr(s.p, '\n', s.len);
    size_t skip = 0;
    if (nl != NULL && nl + 1 < s.p + s.len)
        skip = (size_t)(nl + 1 - s.p);
    else
        while (skip < s.len && ((unsigned char)s.p[skip] & 0xc0) == 0x80)
            skip++;
    return (struct slice){s.p + skip, s.len - skip};
}

struct slice log_history_last(const struct log_history *h)
{
    struct slice all = {h->text.data, h->text.len};
    if (all.len == 0)
        return all;
    bool torn = h->torn;
    if (all.len > LOG_HISTORY_BYTES) {
        size_t skip = all.len - LOG_HISTORY_BYTES;
        torn = all.p[skip - 1] != '\n';
        all = (struct slice){all.p + skip, LOG_HISTORY_BYTES};
    }
    size_t at = all.len - 1; /* the newline that ends the last line is not counted */
    for (size_t lines = 0; lines < LOG_HISTORY_LINES; lines++) {
        const char *nl = memrchr(all.p, '\n', at);
        if (nl == NULL)
            return torn ? whole_lines(all) : all;
        at = (size_t)(nl - all.p);
    }
    return (struct slice){all.p + at + 1, all.len - at - 1};
}
