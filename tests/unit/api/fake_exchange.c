#include "fake_exchange.h"

#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What exchange.c asks of a server; this one has none. */
static const struct server_options options = {.limits = {.max_body = 1 << 20}};
static struct server_stats stats;
const struct server_options *server_options(const struct server *s)
{
    (void)s;
    return &options;
}
struct server_stats *server_counts(struct server *s)
{
    (void)s;
    return &stats;
}
void server_handle(struct exchange *x)
{
    (void)x;
}

static struct fake *fake_of(struct exchange *x)
{
    return CONTAINER_OF(x, struct fake, x);
}

static void keep_head(struct fake *f, const struct http_response *r)
{
    f->answers++;
    f->status = r->status;
    size_t at = 0;
    for (size_t i = 0; i < r->n_headers && at < sizeof(f->head); i++)
        at += (size_t)snprintf(f->head + at, sizeof(f->head) - at, "%.*s: %.*s\n",
                               (int)r->headers[i].name.len, r->headers[i].name.p,
                               (int)r->headers[i].value.len, r->headers[i].value.p);
    snprintf(f->content_type, sizeof(f->content_type), "%s",
             r->content_type ? r->content_type : "");
}

static int fake_respond(struct exchange *x, const struct http_response *r, struct slice body)
{
    struct fake *f = fake_of(x);
    keep_head(f, r);
    /* Not with base/mem.h: the transport's memory is not what a test makes fail. */
    free(f->body.data);
    f->body.data = calloc(body.len + 1, 1);
    f->body.len = body.len;
    if (body.len > 0)
        memcpy(f->body.data, body.p, body.len);
    if (f->closed_at_once)
        exchange_close(x, 0);
    return 0;
}
static int fake_start(struct exchange *x, const struct http_response *r)
{
    keep_head(fake_of(x), r);
    return 0;
}
static int fake_write(struct exchange *x, struct slice data, struct chunk *shared)
{
    (void)shared;
    struct fake *f = fake_of(x);
    int rc = f->write_error;
    f->write_error = 0;
    if (rc == 0 && f->max_queue > 0 && f->queued > 0 && f->queued + data.len > f->max_queue)
        rc = ERR_LIMIT;
    if (rc != 0)
        return rc;
    f->writes++;
    f->queued += data.len;
    f->most_queued = f->queued > f->most_queued ? f->queued : f->most_queued;
    f->body.data = realloc(f->body.data, f->body.len + data.len + 1);
    memcpy(f->body.data + f->body.len, data.p, data.len);
    f->body.len += data.len;
    f->body.data[f->body.len] = '\0';
    return 0;
}
static int fake_finish(struct exchange *x, const struct http_header *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    fake_of(x)->finished = true;
    return 0;
}
static void fake_pause(struct exchange *x, bool paused)
{
    (void)x;
    (void)paused;
}
static size_t fake_queued(const struct exchange *x)
{
    return CONTAINER_OF(x, const struct fake, x)->queued;
}
static void fake_abort(struct exchange *x)
{
    fake_of(x)->aborted = true;
    exchange_close(x, ERR_GONE);
}

static const struct exchange_ops ops = {.respond = fake_respond,
                                        .start = fake_start,
                                        .write = fake_write,
                                        .finish = fake_finish,
                                        .pause = fake_pause,
                                        .queued = fake_queued,
                                        .abort = fake_abort};

void fake_request(struct fake *f, const char *method, const char *target, const char *headers)
{
    memset(f, 0, sizeof(*f));
    static struct server_limits held = {.refs = 1, .limits = {.max_body = 1 << 20}};
    exchange_init(&f->x, &ops, &(struct server_conn){.held = &held});
    f->x.conn = NULL;
    struct http_request *r = &f->x.req;
    r->method_text = slice_of(method);
    r->method = http_method_parse(r->method_text);
    r->target = slice_of(target);
    const char *q = strchr(target, '?');
    r->path = q ? (struct slice){target, (size_t)(q - target)} : r->target;
    r->query = q ? slice_of(q + 1) : (struct slice){NULL, 0};
    r->host = SLICE_LIT("127.0.0.1:8081");
    r->version = 11;
    r->headers = f->headers;
    struct slice rest = slice_of(headers), line;
    while (headers != NULL && slice_split(&rest, '\n', &line) && r->n_headers < FAKE_MAX_HEADERS) {
        struct slice name;
        slice_split(&line, ':', &name);
        f->headers[r->n_headers++] = (struct http_header){name, slice_trim(line)};
    }
}

void fake_run(struct fake *f, void (*handler)(void *ctx, struct exchange *x), void *ctx,
              struct slice body)
{
    struct http_request *r = &f->x.req;
    r->has_body = body.len > 0;
    r->content_length = (int64_t)body.len;
    f->x.state = X_OPEN;
    handler(ctx, &f->x);
    if (f->x.state == X_CLOSED)
        return;
    if (f->x.user != NULL && r->has_body) {
        exchange_feed(&f->x, body.p, body.len / 2);
        exchange_feed(&f->x, body.p + body.len / 2, body.len - body.len / 2);
    }
    exchange_end(&f->x, 0);
}

void fake_drain(struct fake *f)
{
    f->queued = 0;
    if (f->x.state == X_STARTED && f->x.user != NULL && f->x.user->drained != NULL)
        f->x.user->drained(f->x.ctx, &f->x);
}

void fake_close(struct fake *f, int err)
{
    exchange_close(&f->x, err);
}

void fake_done(struct fake *f)
{
    fake_close(f, f->status ? 0 : ERR_GONE);
    free(f->body.data);
}
