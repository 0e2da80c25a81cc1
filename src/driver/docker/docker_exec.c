/* A program run in a container: made (POST /containers/{id}/exec), started (POST /exec/{id}/start,
 * whose answer is its output), and asked for its exit status (GET /exec/{id}/json). */
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    REFUSAL_MAX = 64 << 10,  /* of the body of an error answer */
    REQUEST_MAX = 256 << 10, /* argv as JSON */
    /* The output may end a moment before the engine has heard of the end. */
    STATUS_WAIT_MS = 50,
    STATUS_TRIES = 40,
};

struct exec_op {
    struct docker_op op;
    struct docker_call *call;   /* made, or asked for its status */
    struct client_call *stream; /* its output */
    runtime_exec_fn fn;
    void *ctx;
    struct loop_timer timer; /* the limit; then between two questions for the status */
    bool asking;             /* the output is over */
    int tries;
    struct buf request;
    struct buf out;    /* output, or the body of an error answer */
    struct buf system; /* what the engine says about its own failure */
    size_t max_output;
    bool overflow;
    struct docker_stream frames;
    int status;
    char reason[64];
    char name[DOCKER_NAME_MAX + 1];
    char id[DOCKER_NAME_MAX + 1];
    char version[DOCKER_VERSION_SIZE];
    char path[DOCKER_PATH_SIZE];
};

static void exec_closed(void *ctx)
{
    struct exec_op *o = ctx;
    buf_done(&o->request);
    buf_done(&o->out);
    buf_done(&o->system);
    docker_unref(o->op.d);
    mem_free(o);
}

static void exec_free(struct exec_op *o)
{
    docker_call_cancel(STEAL(o->call));
    if (o->stream != NULL)
        client_cancel(STEAL(o->stream));
    loop_timer_close(&o->timer, exec_closed);
}

static void exec_end(struct exec_op *o, const struct err *e, int64_t exit_code)
{
    struct slice text = {NULL, 0};
    if (e->code == 0)
        text = (struct slice){o->out.data, o->out.len};
    o->fn(o->ctx, e, exit_code, text);
    exec_free(o);
}

static void exec_fail(struct docker_op *op, const struct err *e)
{
    exec_end(CONTAINER_OF(op, struct exec_op, op), e, -1);
}

/* --- its exit status --- */

static void status_ask(struct exec_op *o);

static void status_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct exec_op *o = ctx;
    struct err out = *e;
    int64_t code = -1;
    bool running = false;
    o->call = NULL;
    if (out.code == 0) {
        (void)json_get_bool(root, "Running", &running);
        if (json_get_int(root, "ExitCode", &code) && !running) {
            exec_end(o, &out, code);
            return;
        }
        if (++o->tries < STATUS_TRIES) {
            loop_timer_start(&o->timer, STATUS_WAIT_MS, 0);
            return;
        }
        err_set(&out, ERR_RUNTIME, "the program has closed its output, but does not end");
    }
    exec_fail(&o->op, &out);
}

static void status_ask(struct exec_op *o)
{
    struct err e = {0};
    snprintf(o->path, sizeof(o->path), "/exec/%s/json", o->id);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = o->op.d->o.answer_ms, .path = o->path};
    if (docker_call_send(o->op.d, &ask, status_done, o, &o->call, &e) != 0)
        exec_fail(&o->op, &e);
}

/* --- its output --- */

static void output_add(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct exec_op *o = ctx;
    if (kind == DOCKER_STREAM_SYSTEM) {
        if (n <= o->system.max - o->system.len)
            buf_add(&o->system, p, n);
    } else if (kind == DOCKER_STREAM_STDOUT && !o->overflow) {
        o->overflow = n > o->max_output - o->out.len;
        if (!o->overflow)
            buf_add(&o->out, p, n);
        else
            loop_timer_start(&o->timer, 0, 0); /* ends it, but not from in here */
    }
}

static void stream_head(void *ctx, const struct client_response *r)
{
    struct exec_op *o = ctx;
    o->status = r->status;
    snprintf(o->reason, sizeof(o->reason), "%.*s", (int)(r->reason.len < 63 ? r->reason.len : 63),
             r->reason.p != NULL ? r->reason.p : "");
}

static void stream_body(void *ctx, const char *p, size_t n)
{
    struct exec_op *o = ctx;
    if (o->status == 200)
        (void)docker_stream_feed(&o->frames, p, n, output_add, o);
    else if (o->out.len + n <= REFUSAL_MAX)
        buf_add(&o->out, p, n);
}

static void stream_done(void *ctx, const struct err *e)
{
    struct exec_op *o = ctx;
    struct docker *d = o->op.d;
    struct err out = {0};
    o->stream = NULL;
    if (e->code != 0) {
        docker_text_transport(&out, e, d->o.answer_ms);
        if (docker_transport_lost(e))
            docker_link_lost(d);
    } else if (o->status != 200) {
        docker_text_status(&out, o->status, slice_of(o->reason), o->version, o->path,
                           (struct slice){o->out.data, o->out.len});
    } else if (o->overflow) {
        return; /* the timer tells it */
    } else if (o->frames.broken || docker_stream_end(&o->frames) != 0) {
        err_set(&out, ERR_RUNTIME, "the engine's output stream is damaged");
    } else if (o->system.len > 0) {
        struct slice why = slice_trim((struct slice){o->system.data, o->system.len});
        err_set(&out, ERR_RUNTIME, "%.*s", (int)(why.len < 400 ? why.len : 400), why.p);
    } else if (o->out.err != 0) {
        err_set(&out, ERR_NO_MEMORY, "out of memory");
    }
    if (out.code != 0) {
        exec_fail(&o->op, &out);
        return;
    }
    o->asking = true;
    loop_timer_stop(&o->timer);
    status_ask(o);
}

static const struct client_user stream_user = {stream_head, stream_body, stream_done};

static int stream_send(struct exec_op *o, struct err *e)
{
    struct docker *d = o->op.d;
    char target[DOCKER_PATH_SIZE + DOCKER_VERSION_SIZE + 2];
    snprintf(o->path, sizeof(o->path), "/exec/%s/start", o->id);
    memcpy(o->version, d->version, sizeof(o->version));
    if (docker_target(d, o->path, target, sizeof(target)) != 0)
        return err_set(e, ERR_RUNTIME, "the engine's \"Id\" is too long");
    if (d->actions == NULL)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    docker_stream_init(&o->frames, false);
    struct client_request r = {
        .method = HTTP_METHOD_POST,
        .target = slice_of(target),
        .body = SLICE_LIT("{\"Detach\":false,\"Tty\":false}"),
        .first_byte_ms = d->o.answer_ms,
        .idle_ms = UINT64_MAX, /* the limit of the whole ends it */
        .max_body = SIZE_MAX,  /* bounded by max_output */
    };
    return client_send(d->actions, &r, &stream_user, o, &o->stream, e);
}

/* --- the steps --- */

static void make_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct exec_op *o = ctx;
    struct err out = *e;
    o->call = NULL;
    if (out.code == 0) {
        struct slice id = slice_of(json_get_str(root, "Id"));
        if (docker_name_valid(id)) {
            memcpy(o->id, id.p, id.len);
            stream_send(o, &out);
        } else {
            err_set(&out, ERR_RUNTIME, "the engine's \"Id\" of a program is none");
        }
    }
    if (out.code != 0)
        exec_fail(&o->op, &out);
}

static int exec_begin(struct docker_op *op, struct err *e)
{
    struct exec_op *o = CONTAINER_OF(op, struct exec_op, op);
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/containers/%s/exec", o->name);
    struct docker_ask ask = {
        .method = HTTP_METHOD_POST,
        .action = true,
        .json = true,
        .limit_ms = op->d->o.answer_ms,
        .path = path,
        .body = {o->request.data, o->request.len},
    };
    int rc = docker_call_send(op->d, &ask, make_done, o, &o->call, e);
    if (rc == 0)
        loop_timer_start(&o->timer, op->d->o.exec_ms, 0);
    return rc;
}

static void on_timer(void *ctx)
{
    struct exec_op *o = ctx;
    struct err e = {0};
    if (o->asking) {
        status_ask(o);
        return;
    }
    if (o->overflow)
        err_set(&e, ERR_LIMIT, "the program's output is larger than %zu bytes", o->max_output);
    else
        err_set(&e, ERR_TIMEOUT, "the program did not end within %" PRIu64 " s",
                o->op.d->o.exec_ms / 1000);
    exec_fail(&o->op, &e);
}

static int request_write(struct buf *b, const char *const *argv)
{
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_kbool(&j, "AttachStdin", false);
    json_kbool(&j, "AttachStdout", true);
    json_kbool(&j, "AttachStderr", false);
    json_kbool(&j, "Tty", false);
    json_key(&j, "Cmd");
    json_arr(&j);
    for (size_t i = 0; argv[i] != NULL; i++) {
        if (!utf8_valid(argv[i], strlen(argv[i])))
            return ERR_INVALID;
        json_cstr(&j, argv[i]);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    return b->err;
}

int docker_exec(void *self, struct slice name, const char *const *argv, size_t max_output,
                runtime_exec_fn fn, void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    struct exec_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(d), .begin = exec_begin, .fail = exec_fail};
    o->fn = fn;
    o->ctx = ctx;
    o->max_output = max_output;
    buf_init(&o->request, REQUEST_MAX);
    buf_init(&o->out, max_output > REFUSAL_MAX ? max_output : REFUSAL_MAX);
    buf_init(&o->system, REFUSAL_MAX);
    int rc = loop_timer_init(d->loop, &o->timer, on_timer, o);
    if (rc != 0) {
        exec_closed(o);
        return rc;
    }
    bool valid = docker_name_valid(name);
    if (valid)
        memcpy(o->name, name.p, name.len);
    rc = request_write(&o->request, argv);
    if (rc == 0)
        rc = valid ? docker_op_start(&o->op, NULL) : docker_op_refuse(&o->op, NULL);
    if (rc != 0)
        exec_free(o);
    return rc;
}
