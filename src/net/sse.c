/* sse.c: writing and reading "text/event-stream" (WHATWG HTML, section 9.2). */
#include "net/sse.h"

#include "base/str.h"

/* ---- writing ---- */

static bool one_line(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] == '\n' || s.p[i] == '\r' || s.p[i] == '\0')
            return false;
    return true;
}

static void add_field(struct buf *out, const char *name, struct slice value)
{
    buf_adds(out, name);
    buf_addlit(out, ": ");
    buf_add(out, value.p, value.len);
    buf_addc(out, '\n');
}

/* The length of the first line, and in *skip how many bytes its end takes (0: no line end). */
static size_t first_line(struct slice s, size_t *skip)
{
    size_t n = 0;
    while (n < s.len && s.p[n] != '\n' && s.p[n] != '\r')
        n++;
    if (n == s.len)
        *skip = 0;
    else
        *skip = s.p[n] == '\r' && n + 1 < s.len && s.p[n + 1] == '\n' ? 2 : 1;
    return n;
}

int sse_format(struct buf *out, struct slice id, struct slice event, struct slice data)
{
    if (!one_line(id) || !one_line(event))
        return ERR_INVALID;
    if (id.len > 0)
        add_field(out, "id", id);
    if (event.len > 0)
        add_field(out, "event", event);
    /* At least one data line, even an empty one: without it the client drops the event. */
    for (;;) {
        size_t skip;
        size_t n = first_line(data, &skip);
        add_field(out, "data", (struct slice){data.p, n});
        if (skip == 0)
            break;
        data.p += n + skip;
        data.len -= n + skip;
    }
    buf_addc(out, '\n');
    return out->err;
}

int sse_start(struct exchange *x, const struct http_header *headers, size_t n)
{
    struct http_header all[SSE_MAX_HEADERS + 1];
    if (n > SSE_MAX_HEADERS)
        return ERR_LIMIT;
    all[0] = (struct http_header){SLICE_LIT("cache-control"), SLICE_LIT("no-store")};
    for (size_t i = 0; i < n; i++)
        all[i + 1] = headers[i];
    struct http_response r = {
        .status = 200,
        .content_type = "text/event-stream",
        .headers = all,
        .n_headers = n + 1,
    };
    return exchange_start(x, &r);
}

int sse_send(struct exchange *x, struct slice id, struct slice event, struct slice data)
{
    /* A data byte becomes at most a line of its own: "data: ", itself or nothing, and LF. */
    if (data.len > SIZE_MAX / 16)
        return ERR_LIMIT;
    _cleanup_(buf_done) struct buf b = BUF_INIT(id.len + event.len + 8 * data.len + 64);
    int rc = sse_format(&b, id, event, data);
    if (rc != 0)
        return rc;
    return exchange_write(x, (struct slice){b.data, b.len});
}

int sse_ping(struct exchange *x)
{
    return exchange_write(x, SLICE_LIT(":\n\n"));
}

/* ---- reading ---- */

void sse_parser_init(struct sse_parser *p, size_t max_event)
{
    *p = (struct sse_parser){0};
    buf_init(&p->line, max_event + sizeof("event: "));
    buf_init(&p->data, max_event + 1); /* the LF behind each data line is taken off at the end */
    buf_init(&p->id, max_event);
    buf_init(&p->event, max_event);
}

void sse_parser_done(struct sse_parser *p)
{
    buf_done(&p->line);
    buf_done(&p->data);
    buf_done(&p->id);
    buf_done(&p->event);
}

static int take_field(struct sse_parser *p, struct slice name, struct slice value)
{
    if (slice_eqs(name, "data")) {
        buf_add(&p->data, value.p, value.len);
        return buf_addc(&p->data, '\n');
    }
    if (slice_eqs(name, "event")) {
        buf_clear(&p->event);
        return buf_add(&p->event, value.p, value.len);
    }
    if (slice_eqs(name, "id") && memchr(value.p, '\0', value.len) == NULL) {
        buf_clear(&p->id);
        return buf_add(&p->id, value.p, value.len);
    }
    return 0; /* "retry" and unknown fields: ours to ignore */
}

static int end_line(struct sse_parser *p,
                    void (*on_event)(void *, struct slice, struct slice, struct slice), void *ctx)
{
    static const char none[4] =
        ""; /* as long as the mark below, for compilers that look only at sizes */
    struct slice line = {p->line.len > 0 ? p->line.data : none, p->line.len};
    if (!p->started) {
        p->started = true;
        if (slice_starts(line, "\xef\xbb\xbf")) {
            line.p += 3;
            line.len -= 3;
        }
    }
    int rc = 0;
    if (line.len == 0) {
        if (p->data.len > 0)
            on_event(ctx, (struct slice){p->id.data, p->id.len},
                     (struct slice){p->event.data, p->event.len},
                     (struct slice){p->data.data, p->data.len - 1});
        buf_clear(&p->data);
        buf_clear(&p->event);
    } else if (line.p[0] != ':') {
        const char *colon = memchr(line.p, ':', line.len);
        struct slice name = {line.p, colon ? (size_t)(colon - line.p) : line.len};
        struct slice value = {"", 0};
        if (colon != NULL) {
            size_t skip = name.len + 1;
            if (skip < line.len && line.p[skip] == ' ')
                skip++;
            value = (struct slice){line.p + skip, line.len - skip};
        }
        rc = take_field(p, name, value);
    }
    buf_clear(&p->line);
    return rc;
}

int sse_parse(struct sse_parser *p, const char *bytes, size_t n,
              void (*on_event)(void *ctx, struct slice id, struct slice event, struct slice data),
              void *ctx)
{
    int rc = p->line.err    ? p->line.err
             : p->data.err  ? p->data.err
             : p->event.err ? p->event.err
                            : p->id.err;
    while (rc == 0 && n > 0) {
        if (p->saw_cr && *bytes == '\n') {
            p->saw_cr = false;
            bytes++;
            n--;
            continue;
        }
        size_t skip;
        size_t len = first_line((struct slice){bytes, n}, &skip);
        p->saw_cr = false;
        if (len > 0)
            rc = buf_add(&p->line, bytes, len);
        if (rc == 0 && skip > 0) {
            /* A CR as the last byte we have may get its LF with the next bytes. */
            p->saw_cr = skip == 1 && bytes[len] == '\r';
            rc = end_line(p, on_event, ctx);
        }
        bytes += len + skip;
        n -= len + skip;
    }
    return rc;
}
