/* grpc_call.c: what a handler does with a call: metadata, messages, the end. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/grpc_server_priv.h"

#define PAIRS_TEXT_MAX 8192u /* bytes of an answer's own headers, and of its trailers */
#define TEXT_MAX 2000u       /* of a status text: clients have limits for trailers */
#define TRAILERS_FIXED 2u    /* grpc-status, grpc-message */

static struct grpc_call *check(const struct grpc_call *c)
{
    CHECK_MAGIC(c, GRPC_CALL_MAGIC);
    return (struct grpc_call *)(uintptr_t)c;
}

/* ---- looking at it ---- */

const struct grpc_method *grpc_call_method(const struct grpc_call *c)
{
    return check(c)->method;
}

void *grpc_call_app(const struct grpc_call *c)
{
    return check(c)->server->o.app;
}

struct loop *grpc_call_loop(struct grpc_call *c)
{
    return check(c)->loop;
}

struct exchange *grpc_call_exchange(struct grpc_call *c)
{
    return check(c)->x;
}

void grpc_call_set_note(struct grpc_call *c, void *note)
{
    check(c)->note = note;
}

void *grpc_call_note(const struct grpc_call *c)
{
    return check(c)->note;
}

struct slice grpc_call_metadata(const struct grpc_call *c, const char *name)
{
    return check(c)->x != NULL ? exchange_header(c->x, name) : (struct slice){NULL, 0};
}

int grpc_call_metadata_bin(const struct grpc_call *c, const char *name, struct buf *out)
{
    struct slice rest = grpc_call_metadata(c, name), first;
    if (rest.p == NULL)
        return ERR_NOT_FOUND;
    if (!slice_split(&rest, ',', &first))
        first = SLICE_LIT("");
    return grpc_bin_decode(out, slice_trim(first));
}

uint64_t grpc_call_deadline_ms(const struct grpc_call *c)
{
    return check(c)->deadline_ms;
}

bool grpc_call_open(const struct grpc_call *c)
{
    return check(c)->sm.state != GC_DECIDED;
}

void grpc_call_set_user(struct grpc_call *c, const struct grpc_user *u, void *ctx)
{
    check(c)->user = u;
    c->ctx = ctx;
}

void *grpc_call_ctx(struct grpc_call *c)
{
    return check(c)->ctx;
}

void grpc_call_pause(struct grpc_call *c)
{
    check(c)->paused = true;
    if (c->x != NULL)
        exchange_pause(c->x);
}

void grpc_call_resume(struct grpc_call *c)
{
    if (!check(c)->paused)
        return;
    c->paused = false;
    loop_post(c->loop, &c->resume);
}

/* ---- metadata ---- */

size_t grpc_pairs_list(const struct grpc_pairs *p, struct http_header *out)
{
    size_t n = p != NULL ? p->n : 0;
    for (size_t i = 0; i < n; i++) {
        out[i].name = (struct slice){p->text.data + p->items[i].name, p->items[i].name_len};
        out[i].value = (struct slice){p->text.data + p->items[i].value, p->items[i].value_len};
    }
    return n;
}

void grpc_pairs_free(struct grpc_pairs *p)
{
    if (p == NULL)
        return;
    buf_done(&p->text);
    mem_free(p);
}

/* Nothing is left behind on failure. */
static int pairs_add(struct grpc_pairs **at, struct slice name, struct slice value)
{
    bool bin = grpc_metadata_is_bin(name);
    if (!grpc_metadata_name_ok(name) || grpc_metadata_reserved(name) ||
        (!bin && !grpc_metadata_value_ok(value)))
        return ERR_INVALID;
    if (*at == NULL) {
        *at = mem_zalloc(sizeof(**at));
        if (*at == NULL)
            return ERR_NO_MEMORY;
        buf_init(&(*at)->text, PAIRS_TEXT_MAX);
    }
    struct grpc_pairs *p = *at;
    struct buf *b = &p->text;
    size_t start = b->len;
    if (p->n == ARRAY_LEN(p->items))
        return ERR_LIMIT;
    buf_add(b, name.p, name.len);
    size_t middle = b->len;
    if (bin)
        grpc_bin_encode(b, value);
    else
        buf_add(b, value.p, value.len);
    if (b->err != 0) {
        int rc = b->err;
        b->err = 0;
        b->len = start;
        return rc;
    }
    p->items[p->n].name = (uint32_t)start;
    p->items[p->n].name_len = (uint32_t)name.len;
    p->items[p->n].value = (uint32_t)middle;
    p->items[p->n].value_len = (uint32_t)(b->len - middle);
    p->n++;
    return 0;
}

int grpc_call_add_header(struct grpc_call *c, struct slice name, struct slice value)
{
    if (check(c)->sm.state != GC_OPEN)
        return ERR_STATE;
    return pairs_add(&c->headers, name, value);
}

int grpc_call_add_trailer(struct grpc_call *c, struct slice name, struct slice value)
{
    if (check(c)->sm.state == GC_DECIDED)
        return ERR_STATE;
    return pairs_add(&c->trailers, name, value);
}

/* ---- answering ---- */

int grpc_call_start(struct grpc_call *c)
{
    struct http_header h[GRPC_CALL_METADATA];
    if (check(c)->sm.state == GC_STARTED)
        return 0;
    if (c->sm.state == GC_DECIDED)
        return c->x == NULL ? ERR_GONE : ERR_STATE;
    const struct http_response r = {.status = 200,
                                    .content_type = GRPC_CONTENT_TYPE,
                                    .headers = h,
                                    .n_headers = grpc_pairs_list(c->headers, h)};
    int rc = exchange_start(c->x, &r);
    if (rc == 0)
        sm_move(&c->sm, GC_STARTED, c->method->path);
    return rc;
}

int grpc_call_send(struct grpc_call *c, struct slice message)
{
    int rc = grpc_call_start(c);
    if (rc != 0)
        return rc;
    if (message.len > UINT32_MAX)
        return ERR_LIMIT;
    /* Prefix and message in one piece: a write takes all or nothing. */
    struct chunk *one = mem_alloc(sizeof(*one) + GRPC_PREFIX + message.len);
    if (one == NULL)
        return ERR_NO_MEMORY;
    one->refs = 1;
    one->len = GRPC_PREFIX + message.len;
    grpc_prefix(one->data, false, (uint32_t)message.len);
    if (message.len > 0)
        memcpy(one->data + GRPC_PREFIX, message.p, message.len);
    rc = exchange_write_chunk(c->x, one);
    chunk_unref(one);
    return rc;
}

size_t grpc_call_queued(const struct grpc_call *c)
{
    return check(c)->x != NULL ? exchange_queued(c->x) : 0;
}

/* The trailers of every answer; texts in `digits` and `b`. */
static size_t status_headers(int status, struct slice message, char digits[12], struct buf *b,
                             struct http_header out[TRAILERS_FIXED])
{
    size_t n = 0;
    int len = snprintf(digits, 12, "%d", status);
    out[n++] = (struct http_header){SLICE_LIT("grpc-status"), {digits, (size_t)len}};
    if (message.len > TEXT_MAX) {
        message.len = TEXT_MAX;
        while (message.len > 0 && ((uint8_t)message.p[message.len] & 0xC0) == 0x80)
            message.len--;
    }
    if (message.len > 0 && grpc_message_encode(b, message) == 0)
        out[n++] = (struct http_header){SLICE_LIT("grpc-message"), {b->data, b->len}};
    return n;
}

void grpc_answer_headers(struct exchange *x, int http_status, int status, struct slice message,
                         const struct http_header *more, size_t n_more)
{
    struct http_header h[TRAILERS_FIXED + 2 * GRPC_CALL_METADATA];
    struct buf b = BUF_INIT(3 * TEXT_MAX);
    char digits[12];
    size_t n = status_headers(status, message, digits, &b, h);
    for (size_t i = 0; i < n_more && n < ARRAY_LEN(h); i++)
        h[n++] = more[i];
    const struct http_response r = {.status = http_status,
                                    .content_type = GRPC_CONTENT_TYPE,
                                    .headers = h,
                                    .n_headers = n,
                                    .no_length = true};
    (void)exchange_respond(x, &r, SLICE_LIT(""));
    exchange_drop_body(x);
    buf_done(&b);
}

void grpc_call_decide(struct grpc_call *c, int status, struct slice message)
{
    struct grpc_server *s = c->server;
    sm_move(&c->sm, GC_DECIDED, c->method->path);
    s->stats.statuses[status]++;
    if (c->timer_live)
        loop_timer_stop(&c->timer);
    if (s->o.decided != NULL)
        s->o.decided(s->o.app, c, status, message);
}

void grpc_call_finish(struct grpc_call *c, int status, struct slice message)
{
    struct http_header h[TRAILERS_FIXED + 2 * GRPC_CALL_METADATA];
    if (check(c)->sm.state == GC_DECIDED)
        return;
    if (status < GRPC_OK || status > GRPC_UNAUTHENTICATED)
        status = GRPC_UNKNOWN;
    bool started = c->sm.state == GC_STARTED;
    grpc_call_decide(c, status, message);
    if (!started) {
        size_t n = grpc_pairs_list(c->headers, h);
        n += grpc_pairs_list(c->trailers, h + n);
        grpc_answer_headers(c->x, 200, status, message, h, n);
        return;
    }
    struct buf b = BUF_INIT(3 * TEXT_MAX);
    char digits[12];
    size_t n = status_headers(status, message, digits, &b, h);
    n += grpc_pairs_list(c->trailers, h + n);
    (void)exchange_finish(c->x, h, n); /* on failure it resets the stream */
    exchange_drop_body(c->x);
    buf_done(&b);
}

void grpc_call_reply(struct grpc_call *c, struct slice message)
{
    int rc = grpc_call_send(c, message);
    if (rc == 0)
        grpc_call_finish(c, GRPC_OK, SLICE_LIT(""));
    else if (rc != ERR_GONE && rc != ERR_STATE)
        grpc_call_finish(c, grpc_status_of_err(rc), slice_of(err_row(rc)->text));
}

void grpc_call_fail(struct grpc_call *c, const struct err *e)
{
    int status = e->code == 0 ? GRPC_INTERNAL : grpc_status_of_err(e->code);
    grpc_call_finish(c, status, slice_of(e->msg[0] != '\0' ? e->msg : err_row(e->code)->text));
}
