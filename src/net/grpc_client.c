#include "net/grpc_client.h"

#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/loop_priv.h"

#define CLIENT_MAGIC 0x67724331u
#define CALL_MAGIC 0x67724361u
#define OWN_HEADERS 6u
#define METADATA_MAX 400u
#define NO_STATUS (-1)
#define MESSAGE_TEXT_MAX 65536u /* of a grpc-message; the header list's limit is near it */

struct grpc_client {
    uint32_t magic;
    struct loop *loop;
    struct h2_client *http2;
    char *user_agent;
    uint32_t max_message;
    size_t n_calls;
    struct list_node waking; /* resumed calls that hold bytes */
    struct loop_task task;
    /* Metadata of the callback under way. */
    struct http_header *metadata;
    size_t n_metadata, cap_metadata;
    struct buf bin;
    bool closing;
};

struct grpc_client_call {
    uint32_t magic;
    struct grpc_client *client;
    struct h2_call *http2;
    struct list_node wake;
    struct grpc_client_user user;
    grpc_unary_fn unary;
    void *ctx;
    /* The request, as long as it may be sent again. */
    struct http_header *headers; /* one allocation with their text and the path */
    size_t n_headers;
    struct slice path;
    uint64_t deadline_ms; /* 0: none */
    bool wait_for_ready, ended, may_retry;
    struct chunk *kept[GRPC_RETRY_MESSAGES];
    size_t n_kept, kept_bytes;
    /* The answer. */
    struct grpc_reader reader;
    struct buf stash; /* bytes behind the message at which the user paused */
    struct buf whole; /* unary: the message */
    size_t n_messages;
    bool got_head, paused, over, from_server, encoded;
    int status; /* NO_STATUS: not known yet */
    struct buf text;
};

/* ---- metadata that came ------------------------------------------------------------------------
 */

static int add_metadata(struct grpc_client *c, struct slice name, struct slice value)
{
    if (c->n_metadata == c->cap_metadata) {
        size_t cap = c->cap_metadata == 0 ? 16 : 2 * c->cap_metadata;
        struct http_header *grown = mem_realloc(c->metadata, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        c->metadata = grown;
        c->cap_metadata = cap;
    }
    c->metadata[c->n_metadata++] = (struct http_header){name, value};
    return 0;
}

/* Each of the values that may be joined by commas. The buffer was given its room before. */
static int add_bin(struct grpc_client *c, const struct http_header *h)
{
    struct slice rest = h->value, part;
    int rc = 0;
    if (rest.len == 0)
        return add_metadata(c, h->name, SLICE_LIT(""));
    while (rc == 0 && slice_split(&rest, ',', &part)) {
        size_t at = c->bin.len;
        rc = grpc_bin_decode(&c->bin, slice_trim(part));
        if (rc == 0)
            rc = add_metadata(c, h->name, (struct slice){c->bin.data + at, c->bin.len - at});
    }
    return rc;
}

/* Fills c->metadata. ERR_SYNTAX: *bad is not base64. ERR_NO_MEMORY. */
static int read_metadata(struct grpc_client *c, const struct http_header *h, size_t n,
                         struct slice *bad)
{
    size_t encoded = 0;
    int rc = 0;
    c->n_metadata = 0;
    buf_clear(&c->bin);
    for (size_t i = 0; i < n; i++)
        encoded += grpc_metadata_is_bin(h[i].name) ? h[i].value.len : 0;
    if (encoded > 0 && buf_reserve(&c->bin, encoded) != 0) /* so that slices stay where they are */
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (grpc_metadata_reserved(h[i].name))
            continue;
        *bad = h[i].name;
        rc = grpc_metadata_is_bin(h[i].name) ? add_bin(c, &h[i])
                                             : add_metadata(c, h[i].name, h[i].value);
    }
    return rc;
}

/* ---- the end of a call -------------------------------------------------------------------------
 */

static void set_status(struct grpc_client_call *k, int status, const char *fmt, ...)
    BASE_PRINTF(3, 4);
static void set_status(struct grpc_client_call *k, int status, const char *fmt, ...)
{
    va_list ap;
    if (k->status != NO_STATUS)
        return;
    k->status = status;
    buf_clear(&k->text);
    va_start(ap, fmt);
    (void)buf_addvf(&k->text, fmt, ap);
    va_end(ap);
}

/* The call ends for a reason of ours; `done` comes with the HTTP/2 call's end. */
#define FAIL(k, status, ...) (set_status((k), (status), __VA_ARGS__), h2_call_cancel((k)->http2))

static void forget_sent(struct grpc_client_call *k)
{
    for (size_t i = 0; i < k->n_kept; i++)
        chunk_unref(k->kept[i]);
    k->n_kept = k->kept_bytes = 0;
    k->may_retry = false;
}

static void client_gone(struct grpc_client *c)
{
    loop_task_cancel(&c->task);
    mem_free(c->user_agent);
    mem_free(c->metadata);
    buf_done(&c->bin);
    c->magic = 0;
    mem_free(c);
}

static void call_free(struct grpc_client_call *k)
{
    struct grpc_client *c = k->client;
    forget_sent(k);
    list_remove(&k->wake);
    mem_free(k->headers);
    grpc_reader_done(&k->reader);
    buf_done(&k->stash);
    buf_done(&k->whole);
    buf_done(&k->text);
    k->magic = 0;
    mem_free(k);
    if (--c->n_calls == 0 && c->closing)
        client_gone(c);
}

int grpc_result_err(const struct grpc_result *r, struct err *e)
{
    int code = grpc_err_of_status(r->code);
    if (code == 0)
        return 0;
    return err_set(e, code, "%s%s%s", grpc_status_name(r->code), r->message[0] != '\0' ? ": " : "",
                   r->message);
}

static void tell_done(struct grpc_client_call *k)
{
    struct slice whole = {k->whole.len > 0 ? k->whole.data : "", k->whole.len};
    struct grpc_result r = {k->status, k->text.len > 0 ? k->text.data : "", k->from_server};
    k->over = true;
    if (k->unary != NULL)
        k->unary(k->ctx, &r, whole);
    else if (k->user.done != NULL)
        k->user.done(k->ctx, &r);
    call_free(k);
}

/* doc/PROTOCOL-HTTP2.md, "HTTP2 Transport Mapping", errors. */
static int status_of_reset(const struct grpc_client_call *k, uint32_t code)
{
    switch (code) {
    case 0x7: /* REFUSED_STREAM */
        return GRPC_UNAVAILABLE;
    case 0x8: /* CANCEL: a server that keeps the time itself may be first */
        return k->deadline_ms != 0 && loop_now_ms(k->client->loop) >= k->deadline_ms
                   ? GRPC_DEADLINE_EXCEEDED
                   : GRPC_CANCELLED;
    case 0xb: /* ENHANCE_YOUR_CALM */
        return GRPC_RESOURCE_EXHAUSTED;
    case 0xc: /* INADEQUATE_SECURITY */
        return GRPC_PERMISSION_DENIED;
    case 0x5: /* STREAM_CLOSED */
    case 0xd: /* HTTP_1_1_REQUIRED */
        return GRPC_UNKNOWN;
    default:
        return code <= 0xd ? GRPC_INTERNAL : GRPC_UNKNOWN;
    }
}

static int status_of_outcome(const struct grpc_client_call *k, const struct h2_outcome *o)
{
    switch (o->why) {
    case H2_CANCELLED:
        return GRPC_CANCELLED;
    case H2_DEADLINE:
        return GRPC_DEADLINE_EXCEEDED;
    case H2_CONNECT:
    case H2_LOST:
        return GRPC_UNAVAILABLE;
    case H2_RESET:
        return status_of_reset(k, o->code);
    case H2_LIMIT:
    case H2_FAILED:
        return GRPC_RESOURCE_EXHAUSTED;
    default:
        return GRPC_INTERNAL;
    }
}

static void check_answer(struct grpc_client_call *k)
{
    if (k->status == NO_STATUS)
        set_status(k, GRPC_INTERNAL, "the answer ended without a grpc-status");
    if (k->status != GRPC_OK)
        return;
    k->from_server = false;
    k->status = NO_STATUS;
    if (!grpc_reader_at_edge(&k->reader))
        set_status(k, GRPC_INTERNAL, "the answer ended within a message");
    else if (k->unary != NULL && k->n_messages != 1)
        set_status(k, GRPC_UNIMPLEMENTED, "the answer has %zu messages instead of one",
                   k->n_messages);
    if (k->status != NO_STATUS)
        return;
    k->status = GRPC_OK;
    k->from_server = true;
}

static int send_again(struct grpc_client_call *k);

static void on_closed(void *ctx, const struct h2_outcome *o)
{
    struct grpc_client_call *k = ctx;
    CHECK_MAGIC(k, CALL_MAGIC);
    k->http2 = NULL;
    if (o->unprocessed && k->may_retry && k->status == NO_STATUS &&
        (o->why == H2_RESET || o->why == H2_LOST) && send_again(k) == 0)
        return;
    if (o->why == H2_ANSWERED)
        check_answer(k);
    else
        set_status(k, status_of_outcome(k, o), "%s", o->err.msg);
    tell_done(k);
}

/* ---- the answer --------------------------------------------------------------------------------
 */

/* The status out of trailers, or out of a head that is the whole answer. */
static void take_status(struct grpc_client_call *k, const struct http_header *h, size_t n)
{
    const struct http_header *status = http_find(h, n, "grpc-status");
    const struct http_header *message = http_find(h, n, "grpc-message");
    if (status == NULL || k->status != NO_STATUS)
        return;
    k->status = grpc_status_parse(status->value);
    k->from_server = true;
    buf_clear(&k->text);
    if (message != NULL && grpc_message_decode(&k->text, message->value) != 0)
        buf_clear(&k->text); /* a code without its text is better than none */
}

static void tell_metadata(struct grpc_client_call *k, const struct http_header *h, size_t n,
                          void (*fn)(void *ctx, const struct http_header *m, size_t n))
{
    struct slice bad = {NULL, 0};
    if (fn == NULL)
        return;
    int rc = read_metadata(k->client, h, n, &bad);
    if (rc == 0) {
        fn(k->ctx, k->client->metadata, k->client->n_metadata);
        return;
    }
    k->status = NO_STATUS;
    k->from_server = false;
    if (rc == ERR_SYNTAX)
        FAIL(k, GRPC_INTERNAL, "metadata \"%.*s\" is not base64", (int)bad.len, bad.p);
    else
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void take_trailers(struct grpc_client_call *k, const struct http_header *h, size_t n)
{
    take_status(k, h, n);
    tell_metadata(k, h, n, k->user.trailers);
}

static bool is_identity(const struct h2_head *h)
{
    const struct http_header *e = http_find(h->headers, h->n_headers, "grpc-encoding");
    return e == NULL || slice_eqs(e->value, "identity");
}

static void fail_for_type(struct grpc_client_call *k, struct slice type)
{
    char room[200];
    struct buf b = BUF_FIXED(room);
    (void)str_add_printable(&b, (struct slice){type.p, type.len < 100 ? type.len : 100});
    FAIL(k, GRPC_UNKNOWN, "content type \"%s\" instead of gRPC", room);
}

static void on_head(void *ctx, const struct h2_head *h)
{
    struct grpc_client_call *k = ctx;
    const struct http_header *type = http_find(h->headers, h->n_headers, "content-type");
    struct slice t = type != NULL ? type->value : (struct slice){NULL, 0};
    bool other = false, is_grpc = grpc_content_type(t, &other) || other;
    k->got_head = true;
    forget_sent(k);
    if (h->last)
        take_status(k, h->headers, h->n_headers);
    if (k->status == NO_STATUS && h->status != 200) {
        FAIL(k, grpc_status_of_http(h->status), "HTTP status %d", h->status);
    } else if (k->status == NO_STATUS && !is_grpc) {
        fail_for_type(k, t);
    } else if (h->last) {
        tell_metadata(k, h->headers, h->n_headers, k->user.trailers);
    } else {
        k->encoded = !is_identity(h);
        tell_metadata(k, h->headers, h->n_headers, k->user.headers);
    }
}

static void on_trailers(void *ctx, const struct http_header *t, size_t n)
{
    take_trailers(ctx, t, n);
}

static void reader_failed(struct grpc_client_call *k, int rc)
{
    if (rc == ERR_LIMIT)
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "a message of %u bytes; at most %u are accepted",
             k->reader.length, k->reader.max);
    else if (rc == ERR_PROTOCOL)
        FAIL(k, GRPC_INTERNAL, "a message with an unknown flag");
    else
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void take_message(struct grpc_client_call *k, struct slice message)
{
    k->n_messages++;
    if (k->unary == NULL) {
        if (k->user.message != NULL)
            k->user.message(k->ctx, message);
    } else if (k->n_messages > 1) {
        FAIL(k, GRPC_UNIMPLEMENTED, "the answer has more than one message");
    } else if (buf_add(&k->whole, message.p, message.len) != 0) {
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    }
}

/* Tells messages until the bytes are used up, the user pauses, or the call is over. */
static void feed(struct grpc_client_call *k, struct slice *in)
{
    struct slice message;
    bool compressed;
    while (k->status == NO_STATUS && !k->paused && !k->over) {
        int rc = grpc_reader_next(&k->reader, in, &message, &compressed);
        if (rc == 0)
            return;
        if (rc < 0)
            reader_failed(k, rc);
        else if (compressed)
            FAIL(k, GRPC_INTERNAL, "a compressed message%s; compression was not offered",
                 k->encoded ? "" : " without an encoding");
        else
            take_message(k, message);
    }
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct grpc_client_call *k = ctx;
    struct slice in = {p, n};
    feed(k, &in);
    if (k->paused && in.len > 0 && k->status == NO_STATUS && buf_add(&k->stash, in.p, in.len) != 0)
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void on_drained(void *ctx)
{
    struct grpc_client_call *k = ctx;
    if (k->user.drained != NULL)
        k->user.drained(k->ctx);
}

static const struct h2_call_user http2_user = {
    .head = on_head,
    .data = on_data,
    .trailers = on_trailers,
    .drained = on_drained,
    .closed = on_closed,
};

/* A resumed call tells what it held; then the rest may come. */
static void go_on(struct grpc_client_call *k)
{
    if (k->paused || k->http2 == NULL)
        return;
    _cleanup_(buf_done) struct buf b = k->stash;
    struct slice in = {b.data, b.len};
    buf_init(&k->stash, SIZE_MAX);
    feed(k, &in);
    if (!k->paused)
        h2_call_pause(k->http2, false);
    else if (in.len > 0 && buf_add(&k->stash, in.p, in.len) != 0)
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void on_task(struct loop_task *t)
{
    struct grpc_client *c = CONTAINER_OF(t, struct grpc_client, task);
    struct list_node woken, *it;
    list_init(&woken);
    while ((it = list_first(&c->waking)) != NULL) {
        list_remove(it);
        list_push_back(&woken, it);
    }
    while ((it = list_first(&woken)) != NULL) {
        list_remove(it);
        go_on(CONTAINER_OF(it, struct grpc_client_call, wake));
    }
}

/* ---- the request -------------------------------------------------------------------------------
 */

static bool method_ok(struct slice m)
{
    size_t slashes = 0;
    for (size_t i = 0; i < m.len; i++) {
        if (m.p[i] <= ' ' || m.p[i] > '~')
            return false;
        slashes += m.p[i] == '/';
    }
    return m.len > 3 && m.p[0] == '/' && slashes >= 2;
}

static int check_request(const struct grpc_request *r, struct err *e)
{
    if (!method_ok(slice_of(r->method)))
        return err_set(e, ERR_INVALID, "method \"%s\" is none of gRPC", r->method);
    if (r->n_metadata > METADATA_MAX)
        return err_set(e, ERR_INVALID, "%zu metadata; at most %u can be sent", r->n_metadata,
                       METADATA_MAX);
    for (size_t i = 0; i < r->n_metadata; i++) {
        const struct http_header *h = &r->metadata[i];
        if (!grpc_metadata_name_ok(h->name) || grpc_metadata_reserved(h->name) ||
            (!grpc_metadata_is_bin(h->name) && !grpc_metadata_value_ok(h->value)))
            return err_set(e, ERR_INVALID, "metadata \"%.*s\" cannot be sent", (int)h->name.len,
                           h->name.p);
    }
    return 0;
}

static struct slice copy(struct buf *b, struct slice s)
{
    size_t at = b->len;
    (void)buf_add(b, s.p, s.len);
    return (struct slice){b->data + at, s.len};
}

static struct slice copy_bin(struct buf *b, struct slice s)
{
    size_t at = b->len;
    (void)grpc_bin_encode(b, s);
    return (struct slice){b->data + at, b->len - at};
}

/* The headers as one allocation: the array, whose first entries are gRPC's own, then the text. The
 * first of all is grpc-timeout, which may be left out and is new each time. */
static int keep_request(struct grpc_client_call *k, const struct grpc_request *r)
{
    struct slice path = slice_of(r->method);
    size_t n = OWN_HEADERS + r->n_metadata, array = n * sizeof(*k->headers), text = path.len;
    for (size_t i = 0; i < r->n_metadata; i++)
        text += r->metadata[i].name.len + r->metadata[i].value.len / 3 * 4 + 4 +
                r->metadata[i].value.len % 3;
    k->headers = mem_alloc(array + text + 1);
    if (k->headers == NULL)
        return ERR_NO_MEMORY;
    struct buf b = {.data = (char *)(k->headers + n), .cap = text, .max = text};
    struct http_header *h = k->headers;
    h[0] = (struct http_header){SLICE_LIT("grpc-timeout"), {NULL, 0}};
    h[1] = (struct http_header){SLICE_LIT("te"), SLICE_LIT("trailers")};
    h[2] = (struct http_header){SLICE_LIT("content-type"), SLICE_LIT("application/grpc")};
    h[3] = (struct http_header){SLICE_LIT("grpc-accept-encoding"), SLICE_LIT("identity")};
    h[4] = (struct http_header){SLICE_LIT("accept-encoding"), SLICE_LIT("identity")};
    h[5] = (struct http_header){SLICE_LIT("user-agent"), slice_of(k->client->user_agent)};
    k->path = copy(&b, path);
    for (size_t i = 0; i < r->n_metadata; i++) {
        const struct http_header *m = &r->metadata[i];
        struct slice name = copy(&b, m->name);
        h[OWN_HEADERS + i] = (struct http_header){
            name, grpc_metadata_is_bin(m->name) ? copy_bin(&b, m->value) : copy(&b, m->value)};
    }
    INVARIANT(b.err == 0);
    k->n_headers = n;
    return 0;
}

static int open_call(struct grpc_client_call *k, struct err *e)
{
    char timeout[GRPC_TIMEOUT_SIZE];
    uint64_t now = loop_now_ms(k->client->loop);
    struct h2_request q = {
        .path = k->path,
        .headers = k->headers + 1,
        .n_headers = k->n_headers - 1,
        .deadline_ms = k->deadline_ms,
        .max_body = SIZE_MAX, /* messages have a limit, streams have none */
        .wait_for_ready = k->wait_for_ready,
    };
    if (k->deadline_ms != 0) {
        uint64_t left = k->deadline_ms > now ? k->deadline_ms - now : 0;
        grpc_timeout_format(timeout, left > UINT64_MAX / 1000000 ? UINT64_MAX : left * 1000000);
        k->headers[0].value = slice_of(timeout);
        q.headers--;
        q.n_headers++;
    }
    return h2_call_open(&k->http2, k->client->http2, &q, &http2_user, k, e);
}

/* The same call once more, on the same or another connection. */
static int send_again(struct grpc_client_call *k)
{
    struct err e = {0};
    k->may_retry = false;
    int rc = open_call(k, &e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < k->n_kept && rc == 0; i++)
        rc = h2_call_write_chunk(k->http2, k->kept[i]);
    forget_sent(k);
    if (rc == 0 && k->ended)
        rc = h2_call_end(k->http2);
    if (rc != 0)
        FAIL(k, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    else if (k->paused)
        h2_call_pause(k->http2, true);
    return 0; /* `closed` comes again */
}

static uint64_t deadline_of(const struct grpc_client *c, uint64_t timeout_ms)
{
    uint64_t now = loop_now_ms(c->loop);
    if (timeout_ms == 0)
        return 0;
    return timeout_ms > UINT64_MAX - now ? UINT64_MAX : now + timeout_ms;
}

int grpc_client_start(struct grpc_client_call **ret, struct grpc_client *c,
                      const struct grpc_request *r, const struct grpc_client_user *u, void *ctx,
                      struct err *e)
{
    CHECK_MAGIC(c, CLIENT_MAGIC);
    int rc = check_request(r, e);
    if (rc != 0)
        return rc;
    struct grpc_client_call *k = mem_zalloc(sizeof(*k));
    if (k == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    k->magic = CALL_MAGIC;
    k->client = c;
    c->n_calls++;
    list_init(&k->wake);
    if (u != NULL)
        k->user = *u;
    k->ctx = ctx;
    k->deadline_ms = deadline_of(c, r->timeout_ms);
    k->wait_for_ready = r->wait_for_ready;
    k->may_retry = true;
    k->status = NO_STATUS;
    grpc_reader_init(&k->reader, r->max_message != 0 ? r->max_message : c->max_message);
    buf_init(&k->stash, SIZE_MAX); /* bounded by the pieces that HTTP/2 hands over */
    buf_init(&k->whole, k->reader.max);
    buf_init(&k->text, MESSAGE_TEXT_MAX);
    rc = keep_request(k, r);
    if (rc != 0)
        err_set(e, rc, "out of memory");
    else
        rc = open_call(k, e);
    if (rc != 0) {
        call_free(k);
        return rc;
    }
    *ret = k;
    return 0;
}

int grpc_client_send(struct grpc_client_call *k, struct slice message)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    if (k->over || k->http2 == NULL)
        return ERR_GONE;
    if (message.len > UINT32_MAX)
        return ERR_LIMIT;
    struct chunk *c = mem_alloc(sizeof(*c) + GRPC_PREFIX + message.len);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->refs = 1;
    c->len = GRPC_PREFIX + message.len;
    grpc_prefix(c->data, false, (uint32_t)message.len);
    if (message.len > 0)
        memcpy(c->data + GRPC_PREFIX, message.p, message.len);
    int rc = h2_call_write_chunk(k->http2, c);
    if (rc == 0 && k->may_retry) {
        if (k->n_kept < GRPC_RETRY_MESSAGES && c->len <= GRPC_RETRY_BYTES - k->kept_bytes) {
            k->kept_bytes += c->len;
            k->kept[k->n_kept++] = chunk_ref(c);
        } else {
            forget_sent(k);
        }
    }
    chunk_unref(c);
    return rc;
}

int grpc_client_end(struct grpc_client_call *k)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    if (k->over || k->http2 == NULL)
        return ERR_GONE;
    int rc = h2_call_end(k->http2);
    if (rc == 0)
        k->ended = true;
    return rc;
}

size_t grpc_client_queued(const struct grpc_client_call *k)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    return k->http2 != NULL ? h2_call_queued(k->http2) : 0;
}

void grpc_client_pause(struct grpc_client_call *k, bool paused)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    if (k->paused == paused || k->over || k->http2 == NULL)
        return;
    k->paused = paused;
    if (paused) {
        h2_call_pause(k->http2, true);
        return;
    }
    if (list_empty(&k->wake))
        list_push_back(&k->client->waking, &k->wake);
    loop_post(k->client->loop, &k->client->task);
}

void grpc_client_cancel(struct grpc_client_call *k)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    if (k->over || k->http2 == NULL)
        return;
    k->may_retry = false;
    FAIL(k, GRPC_CANCELLED, "the call was cancelled");
}

void grpc_client_drop(struct grpc_client_call *k)
{
    CHECK_MAGIC(k, CALL_MAGIC);
    INVARIANT(!k->over);
    k->user = (struct grpc_client_user){0};
    if (k->unary != NULL) {
        k->unary = NULL;
        k->n_messages = 0;
    }
    grpc_client_cancel(k);
}

int grpc_client_unary(struct grpc_client *c, const struct grpc_request *r, struct slice message,
                      grpc_unary_fn fn, void *ctx, struct grpc_client_call **ret, struct err *e)
{
    struct grpc_client_call *k = NULL;
    int rc = grpc_client_start(&k, c, r, NULL, ctx, e);
    if (rc != 0)
        return rc;
    rc = grpc_client_send(k, message);
    if (rc == 0)
        rc = grpc_client_end(k);
    if (rc != 0) {
        grpc_client_drop(k);
        return err_set(e, rc, "%s: the message: %s", h2_client_name(c->http2), err_row(rc)->text);
    }
    k->unary = fn;
    if (ret != NULL)
        *ret = k;
    return 0;
}

/* ---- the client --------------------------------------------------------------------------------
 */

int grpc_client_new(struct grpc_client **ret, struct loop *l, const struct grpc_client_options *o,
                    struct err *e)
{
    const char *agent = o->user_agent != NULL ? o->user_agent : "grpc-c-gantry/" GANTRY_VERSION;
    if (agent[0] == '\0' || !grpc_metadata_value_ok(slice_of(agent)))
        return err_set(e, ERR_INVALID, "user agent \"%s\" cannot be sent", agent);
    struct grpc_client *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->magic = CLIENT_MAGIC;
    c->loop = l;
    c->max_message = o->max_message != 0 ? o->max_message : GRPC_MESSAGE_MAX;
    list_init(&c->waking);
    loop_task_init(&c->task, on_task);
    buf_init(&c->bin, SIZE_MAX); /* bounded by the header list */
    c->user_agent = mem_strdup(agent);
    int rc = c->user_agent == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                                   : h2_client_new(&c->http2, l, &o->http2, e);
    if (rc != 0) {
        client_gone(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void grpc_client_free(struct grpc_client *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CLIENT_MAGIC);
    INVARIANT(!c->closing);
    c->closing = true;
    h2_client_free(c->http2);
    if (c->n_calls == 0)
        client_gone(c);
}

struct h2_client *grpc_client_http2(struct grpc_client *c)
{
    CHECK_MAGIC(c, CLIENT_MAGIC);
    return c->http2;
}
