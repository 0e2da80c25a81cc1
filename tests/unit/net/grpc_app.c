#include "grpc_app.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static void note_closed(void *ctx, struct grpc_call *c, int err)
{
    struct grpc_app *a = ctx;
    a->closed++;
    a->last_err = err;
    if (a->paused == c)
        a->paused = NULL;
    if (a->waiting == c)
        a->waiting = NULL;
}

static const struct grpc_user only_closed = {.closed = note_closed};

static void use(struct grpc_call *c, const struct grpc_user *u)
{
    struct grpc_app *a = grpc_call_app(c);
    a->begun++;
    grpc_call_set_user(c, u, a);
}

static void echo(struct grpc_call *c, struct slice m)
{
    const struct http_request *r = exchange_request(grpc_call_exchange(c));
    for (size_t i = 0; i < r->n_headers; i++) {
        char room[256];
        struct buf raw = BUF_FIXED(room);
        struct slice name = r->headers[i].name, value = r->headers[i].value;
        if (grpc_metadata_is_bin(name)) {
            (void)grpc_bin_decode(&raw, value);
            value = (struct slice){raw.data, raw.len};
        }
        if (slice_starts(name, "x-"))
            (void)grpc_call_add_header(c, name, value);
        else if (slice_starts(name, "y-"))
            (void)grpc_call_add_trailer(c, name, value);
    }
    grpc_call_reply(c, m);
}

static void fail(struct grpc_call *c, struct slice m)
{
    uint64_t status;
    struct err e = {0};
    if (str_to_u64(m, &status) == 0) {
        grpc_call_finish(c, (int)status, SLICE_LIT("as you like: 100%"));
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "there is no \"%.*s\"", (int)m.len, m.p);
    grpc_call_fail(c, &e);
}

static void forget(struct grpc_call *c BASE_UNUSED, struct slice m BASE_UNUSED) {}

static void wait(struct grpc_call *c, struct slice m BASE_UNUSED)
{
    struct grpc_app *a = grpc_call_app(c);
    use(c, &only_closed);
    a->waiting = c;
}

/* ---- Sum ---- */

static void sum_message(void *ctx, struct grpc_call *c, struct slice m)
{
    struct grpc_app *a = ctx;
    a->messages++;
    a->bytes += m.len;
    if (a->pause_every != 0 && a->messages % a->pause_every == 0) {
        grpc_call_pause(c);
        a->paused = c;
    }
}

static void sum_end(void *ctx, struct grpc_call *c)
{
    struct grpc_app *a = ctx;
    char text[64];
    int n = snprintf(text, sizeof(text), "%zu %llu", a->messages, (unsigned long long)a->bytes);
    grpc_call_reply(c, (struct slice){text, (size_t)n});
}

static const struct grpc_user sum_user = {
    .message = sum_message, .end = sum_end, .closed = note_closed};

static void sum(struct grpc_call *c)
{
    struct grpc_app *a = grpc_call_app(c);
    a->messages = 0;
    a->bytes = 0;
    use(c, &sum_user);
}

/* ---- Count ---- */

struct count {
    struct grpc_app *app;
    uint64_t left, size;
};

static void count_go(void *ctx, struct grpc_call *c)
{
    static char block[1u << 20];
    struct count *n = ctx;
    while (n->left > 0) {
        int rc = grpc_call_send(c, (struct slice){block, n->size});
        if (rc != 0) {
            n->app->refused++;
            return;
        }
        n->left--;
    }
    grpc_call_finish(c, GRPC_OK, SLICE_LIT(""));
}

static void count_closed(void *ctx, struct grpc_call *c, int err)
{
    struct count *n = ctx;
    note_closed(n->app, c, err);
    mem_free(n);
}

static const struct grpc_user count_user = {.drained = count_go, .closed = count_closed};

static void count(struct grpc_call *c, struct slice m)
{
    struct count *n = mem_zalloc(sizeof(*n));
    struct slice number;
    if (n == NULL) {
        grpc_call_finish(c, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("out of memory"));
        return;
    }
    n->app = grpc_call_app(c);
    if (!slice_split(&m, ' ', &number) || str_to_u64(number, &n->left) != 0 ||
        str_to_u64(m, &n->size) != 0 || n->size > 1u << 20) {
        grpc_call_finish(c, GRPC_INVALID_ARGUMENT, SLICE_LIT("not \"NUMBER SIZE\""));
        mem_free(n);
        return;
    }
    n->app->begun++;
    grpc_call_set_user(c, &count_user, n);
    count_go(n, c);
}

/* ---- Chat ---- */

static void chat_message(void *ctx BASE_UNUSED, struct grpc_call *c, struct slice m)
{
    int rc = grpc_call_send(c, m);
    if (rc == ERR_LIMIT)
        grpc_call_finish(c, GRPC_RESOURCE_EXHAUSTED, SLICE_LIT("read what I say"));
    else if (rc != 0)
        grpc_call_finish(c, grpc_status_of_err(rc), SLICE_LIT(""));
}

static void chat_end(void *ctx BASE_UNUSED, struct grpc_call *c)
{
    grpc_call_finish(c, GRPC_OK, SLICE_LIT(""));
}

static const struct grpc_user chat_user = {
    .message = chat_message, .end = chat_end, .closed = note_closed};

static void chat(struct grpc_call *c)
{
    use(c, &chat_user);
    (void)grpc_call_start(c);
}

void grpc_app_decided(void *app, struct grpc_call *c BASE_UNUSED, int status,
                      struct slice message BASE_UNUSED)
{
    struct grpc_app *a = app;
    a->decided++;
    a->last_status = status;
}

const struct grpc_method grpc_app_methods[] = {
    {.path = "/test.T/Echo", .kind = GRPC_UNARY, .request = echo},
    {.path = "/test.T/Small", .kind = GRPC_UNARY, .max_message = 8, .request = echo},
    {.path = "/test.T/Fail", .kind = GRPC_UNARY, .request = fail},
    {.path = "/test.T/Forget", .kind = GRPC_UNARY, .request = forget},
    {.path = "/test.T/Wait", .kind = GRPC_UNARY, .request = wait},
    {.path = "/test.T/Sum", .kind = GRPC_CLIENT_STREAM, .begin = sum},
    {.path = "/test.T/Count", .kind = GRPC_SERVER_STREAM, .request = count},
    {.path = "/test.T/Chat", .kind = GRPC_BIDI, .begin = chat},
};
const size_t grpc_app_n_methods = ARRAY_LEN(grpc_app_methods);
