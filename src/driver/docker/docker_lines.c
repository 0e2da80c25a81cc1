#include "driver/docker/docker_lines.h"
#include "base/str.h"

void docker_lines_init(struct docker_lines *l, size_t max_line)
{
    *l = (struct docker_lines){0};
    buf_init(&l->text, max_line);
}

void docker_lines_done(struct docker_lines *l)
{
    buf_done(&l->text);
}

static void line(struct docker_lines *l, struct slice text,
                 void (*fn)(void *ctx, const json_t *value), void *ctx)
{
    text = slice_trim(text);
    if (text.len == 0)
        return;
    _cleanup_(json_decrefp) json_t *value = json_parse(text, NULL, NULL);
    if (value == NULL)
        l->lost++;
    else
        fn(ctx, value);
}

void docker_lines_feed(struct docker_lines *l, const char *p, size_t n,
                       void (*fn)(void *ctx, const json_t *value), void *ctx)
{
    while (n > 0) {
        const char *nl = memchr(p, '\n', n);
        size_t take = nl != NULL ? (size_t)(nl - p) + 1 : n;
        /* Usually a line comes whole, and is read where it lies. */
        if (nl != NULL && l->text.len == 0 && !l->skip && take <= l->text.max) {
            line(l, (struct slice){p, take}, fn, ctx);
        } else {
            if (!l->skip && buf_add(&l->text, p, take) != 0)
                l->skip = true;
            if (nl != NULL) {
                if (l->skip)
                    l->lost++;
                else
                    line(l, (struct slice){l->text.data, l->text.len}, fn, ctx);
                l->skip = false;
                buf_clear(&l->text);
            }
        }
        p += take;
        n -= take;
    }
}
