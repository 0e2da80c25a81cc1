/* Logs of a container: an inspect (does it have a terminal?), then the stream, of which the end is
 * kept. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REFUSAL_MAX = 64 << 10 }; /* of the body of an error answer */

struct logs_op {
    struct docker_op op;
    struct docker_call *inspect_call;
    struct client_call *call;
    runtime_logs_fn fn;
    void *ctx;
    int64_t tail;
    int status;
    char reason[64];
    struct docker_stream stream;
    struct buf text;   /* log text, at most twice what is kept; or the body of an error answer */
    struct buf system; /* what the engine says about its own failure */
    char name[DOCKER_NAME_MAX + 1];
    char version[DOCKER_VERSION_SIZE];
    char path[DOCKER_PATH_SIZE];
};

static void logs_free(struct logs_op *o)
{
    docker_call_cancel(o->inspect_call);
    if (o->call != NULL)
        client_cancel(o->call);
    buf_done(&o->text);
    buf_done(&o->system);
    docker_unref(o->op.d);
    mem_free(o);
}

static void logs_end(struct logs_op *o, const struct err *e, struct slice text)
{
    o->fn(o->ctx, e, text);
    logs_free(o);
}

static void logs_fail(struct docker_op *op, const struct err *e)
{
    logs_end(CONTAINER_OF(op, struct logs_op, op), e, (struct slice){NULL, 0});
}

/* --- the stream --- */

static void text_add(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct logs_op *o = ctx;
    size_t keep = o->op.d->o.max_logs;
    if (kind == DOCKER_STREAM_SYSTEM) {
        if (n <= o->system.max - o->system.len)
            buf_add(&o->system, p, n);
        return;
    }
    while (n > 0 && o->text.err == 0) {
        size_t take = n < keep ? n : keep;
        if (o->text.len > 2 * keep - take)
            buf_drop(&o->text, o->text.len - keep);
        buf_add(&o->text, p, take);
        p += take;
        n -= take;
    }
}

static void stream_head(void *ctx, const struct client_response *r)
{
    struct logs_op *o = ctx;
    o->status = r->status;
    snprintf(o->reason, sizeof(o->reason), "%.*s", (int)(r->reason.len < 63 ? r->reason.len : 63),
             r->reason.p != NULL ? r->reason.p : "");
}

static void stream_body(void *ctx, const char *p, size_t n)
{
    struct logs_op *o = ctx;
    if (o->status == 200)
        (void)docker_stream_feed(&o->stream, p, n, text_add, o);
    else if (o->text.len + n <= REFUSAL_MAX)
        buf_add(&o->text, p, n);
}

/* Cuts to the last lines that are wanted, and makes valid UTF-8 of them in *out. */
static int text_finish(struct logs_op *o, struct buf *out, struct slice *text, struct err *e)
{
    if (o->text.err != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct slice raw = {o->text.data, o->text.len};
    if (o->tail == 0)
        raw.len = 0;
    raw = docker_last_lines(raw, o->op.d->o.max_logs);
    *text = raw;
    if (utf8_valid(raw.p, raw.len))
        return 0;
    if (o->op.d->o.strict_talos)
        return docker_text_utf8(raw, e);
    if (utf8_add_lossy(out, raw.p, raw.len) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *text = (struct slice){out->data, out->len};
    return 0;
}

static void stream_done(void *ctx, const struct err *e)
{
    struct logs_op *o = ctx;
    struct docker *d = o->op.d;
    /* A bad byte grows from one to three. */
    _cleanup_(buf_done) struct buf lossy = BUF_INIT(3 * d->o.max_logs);
    struct slice text = {NULL, 0};
    struct err out = {0};
    o->call = NULL;
    if (e->code != 0) {
        docker_text_transport(&out, e, d->o.answer_ms);
        if (docker_transport_lost(e))
            docker_link_lost(d);
    } else if (o->status != 200) {
        docker_text_status(&out, o->status, slice_of(o->reason), o->version, o->path,
                           (struct slice){o->text.data, o->text.len});
    } else if (o->stream.broken || docker_stream_end(&o->stream) != 0) {
        err_set(&out, ERR_RUNTIME, "the engine's log stream is damaged");
    } else if (o->system.len > 0) {
        struct slice why = slice_trim((struct slice){o->system.data, o->system.len});
        err_set(&out, ERR_RUNTIME, "%.*s", (int)(why.len < 400 ? why.len : 400), why.p);
    } else {
        text_finish(o, &lossy, &text, &out);
    }
    if (out.code != 0)
        text = (struct slice){NULL, 0};
    logs_end(o, &out, text);
}

static const struct client_user stream_user = {stream_head, stream_body, stream_done};

static int stream_send(struct logs_op *o, const char *id, struct err *e)
{
    struct docker *d = o->op.d;
    char count[24] = "all", target[DOCKER_PATH_SIZE + DOCKER_VERSION_SIZE + 2];
    if (o->tail >= 0)
        snprintf(count, sizeof(count), "%" PRId64, o->tail);
    snprintf(o->path, sizeof(o->path),
             "/containers/%s/logs?stderr=1&stdout=1&timestamps=1&follow=0&tail=%s", id, count);
    memcpy(o->version, d->version, sizeof(o->version));
    int rc = docker_target(d, o->path, target, sizeof(target));
    if (rc != 0)
        return err_set(e, rc, "the container's name is too long");
    if (d->queries == NULL)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(target),
        .first_byte_ms = d->o.answer_ms,
        .idle_ms = d->o.answer_ms,
        .max_body = SIZE_MAX, /* only its end is kept */
    };
    return client_send(d->queries, &r, &stream_user, o, &o->call, e);
}

/* --- the steps --- */

static void inspect_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct logs_op *o = ctx;
    struct runtime_container c;
    struct err out = *e;
    bool tty = false;
    o->inspect_call = NULL;
    if (out.code == 0 && docker_inspect_read(root, &c, &out) == 0) {
        (void)json_get_bool(json_object_get(root, "Config"), "Tty", &tty);
        docker_stream_init(&o->stream, tty);
        if (docker_name_valid(slice_of(c.id)))
            stream_send(o, c.id, &out);
        else
            err_set(&out, ERR_RUNTIME, "the engine's \"Id\" is none");
    }
    if (out.code != 0)
        logs_end(o, &out, (struct slice){NULL, 0});
}

static int logs_begin(struct docker_op *op, struct err *e)
{
    struct logs_op *o = CONTAINER_OF(op, struct logs_op, op);
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/containers/%s/json", o->name);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = op->d->o.answer_ms, .path = path};
    return docker_call_send(op->d, &ask, inspect_done, o, &o->inspect_call, e);
}

int docker_logs(void *self, struct slice name, int64_t tail, runtime_logs_fn fn, void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    struct logs_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(d), .begin = logs_begin, .fail = logs_fail};
    o->fn = fn;
    o->ctx = ctx;
    o->tail = tail;
    buf_init(&o->text, 2 * d->o.max_logs > REFUSAL_MAX ? 2 * d->o.max_logs : REFUSAL_MAX);
    buf_init(&o->system, REFUSAL_MAX);
    bool valid = docker_name_valid(name);
    if (valid)
        memcpy(o->name, name.p, name.len);
    int rc = valid ? docker_op_start(&o->op, NULL) : docker_op_refuse(&o->op, NULL);
    if (rc != 0)
        logs_free(o);
    return rc;
}
