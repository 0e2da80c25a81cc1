/* A program run in a container, with its input and output: made (POST /containers/{id}/exec),
 * started on a connection of its own that the engine turns into its streams (POST /exec/{id}/start
 * with "Upgrade: tcp"), and asked for its exit status (GET /exec/{id}/json).
 *
 * The engine cannot end such a program: a call that is cancelled leaves it without input and
 * output, and it ends by that, or not.
 */
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_hijack.h"
#include "driver/docker/docker_stream.h"
#include "driver/docker/docker_work.h"
#include "net/stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    REQUEST_MAX = 1 << 20, /* argv and environment as JSON */
    CONNECT_MS = 5000,
    LOW_MARK = 64 << 10,
    /* The output may end a moment before the engine has heard of the end. */
    STATUS_WAIT_MS = 50,
    STATUS_TRIES = 100,
};

struct attach {
    struct driver_call base;
    struct docker_op op;
    struct docker_work *w;
    struct driver_exec_user u;
    void *ctx;
    struct docker_look *look;
    struct docker_call *call, *resizing;
    struct stream *s;
    struct loop_timer timer;
    unsigned handles;   /* stream and timer not closed yet */
    struct buf request; /* of the making; may hold secrets */
    struct buf input;   /* that came before the program had begun */
    struct docker_hijack answer;
    struct docker_stream frames;
    struct buf system; /* what the engine says about its own failure */
    bool any;          /* whoever's the container is */
    bool tty, interactive, begun, asking, input_end, paused, dead;
    uint16_t rows, columns;
    int tries;
    char id[DOCKER_NAME_MAX + 1];
    char exec[DOCKER_NAME_MAX + 1];
};

static void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

static void handle_closed(void *ctx)
{
    struct attach *a = ctx;
    if (--a->handles > 0)
        return;
    buf_wipe(&a->request);
    buf_wipe(&a->input);
    buf_done(&a->system);
    docker_hijack_done(&a->answer);
    docker_unref(a->op.d);
    mem_free(a);
}

/* No callback comes after it. May be called from any of them: the memory goes later. */
static void attach_free(struct attach *a)
{
    if (a->dead)
        return;
    a->dead = true;
    list_remove(&a->op.link);
    docker_look_cancel(STEAL(a->look));
    docker_call_cancel(STEAL(a->call));
    docker_call_cancel(STEAL(a->resizing));
    if (a->s != NULL)
        stream_close(a->s);
    loop_timer_close(&a->timer, handle_closed);
}

static void attach_end(struct attach *a, const struct fault *f, int64_t exit_code)
{
    if (a->dead)
        return;
    a->u.done(a->ctx, f, exit_code);
    attach_free(a);
}

static void attach_failed(struct attach *a, const struct err *e)
{
    struct fault f = {0};
    docker_fault(&f, DOCKER_EXEC, e);
    attach_end(a, &f, -1);
}

static void attach_fail(struct docker_op *op, const struct err *e)
{
    struct err out;
    docker_work_words(&out, op->d, e);
    attach_failed(CONTAINER_OF(op, struct attach, op), &out);
}

/* ---- its exit status */

static void status_ask(struct attach *a);

static void status_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct attach *a = ctx;
    struct err out = *e;
    int64_t code = -1;
    bool running = false;
    a->call = NULL;
    if (out.code == 0) {
        (void)json_get_bool(root, "Running", &running);
        if (json_get_int(root, "ExitCode", &code) && !running) {
            attach_end(a, NULL, code);
            return;
        }
        if (++a->tries < STATUS_TRIES) {
            loop_timer_start(&a->timer, STATUS_WAIT_MS, 0);
            return;
        }
        err_set(&out, ERR_RUNTIME, "the program has closed its output, but does not end");
    }
    attach_failed(a, &out);
}

static void status_ask(struct attach *a)
{
    char path[DOCKER_PATH_SIZE];
    struct err e = {0};
    snprintf(path, sizeof(path), "/exec/%s/json", a->exec);
    struct docker_ask ask = {.method = HTTP_METHOD_GET,
                             .json = true,
                             .plain = true,
                             .limit_ms = a->op.d->o.answer_ms,
                             .path = path};
    if (docker_call_send(a->op.d, &ask, status_done, a, &a->call, &e) != 0)
        attach_failed(a, &e);
}

/* The output is over. */
static void output_over(struct attach *a)
{
    struct err e = {0};
    if (a->frames.broken || docker_stream_end(&a->frames) != 0)
        err_set(&e, ERR_RUNTIME, "the engine's output stream is damaged");
    else if (a->system.len > 0)
        docker_plain_status(&e, 500, (struct slice){a->system.data, a->system.len});
    if (e.code != 0) {
        attach_failed(a, &e);
        return;
    }
    a->asking = true;
    status_ask(a);
}

/* ---- the terminal's size */

static void resized(void *ctx, const struct err *e BASE_UNUSED, int status BASE_UNUSED,
                    json_t *root BASE_UNUSED)
{
    struct attach *a = ctx;
    a->resizing = NULL; /* a size that was not taken is no failure of the program */
}

static void resize_send(struct attach *a)
{
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/exec/%s/resize?h=%u&w=%u", a->exec, a->rows, a->columns);
    struct docker_ask ask = {.method = HTTP_METHOD_POST,
                             .action = true,
                             .plain = true,
                             .limit_ms = a->op.d->o.answer_ms,
                             .path = path};
    docker_call_cancel(STEAL(a->resizing)); /* only the last one counts */
    (void)docker_call_send(a->op.d, &ask, resized, a, &a->resizing, NULL);
}

int docker_attach_resize(struct driver_call *c, uint16_t rows, uint16_t columns)
{
    struct attach *a = CONTAINER_OF(c, struct attach, base);
    if (!a->tty || a->dead)
        return ERR_STATE;
    if (rows == 0 || columns == 0)
        return ERR_INVALID;
    a->rows = rows;
    a->columns = columns;
    if (a->begun && !a->asking)
        resize_send(a);
    return 0;
}

/* ---- the connection */

static void output(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct attach *a = ctx;
    if (a->dead)
        return;
    if (kind == DOCKER_STREAM_SYSTEM) {
        if (a->system.len + n <= DOCKER_REFUSAL_MAX)
            (void)buf_add(&a->system, p, n);
        return;
    }
    a->u.output(a->ctx, kind == DOCKER_STREAM_STDERR ? DRIVER_STDERR : DRIVER_STDOUT,
                (struct slice){p, n});
}

static void begin_streams(struct attach *a)
{
    a->begun = true;
    loop_timer_stop(&a->timer);
    if (a->rows > 0 && a->columns > 0)
        resize_send(a);
    if (a->input.len > 0)
        (void)stream_write(a->s, a->input.data, a->input.len);
    buf_wipe(&a->input);
    if (a->input_end)
        stream_shutdown(a->s);
    if (a->paused)
        stream_pause(a->s);
}

static void refused(struct attach *a)
{
    struct err e = {0};
    docker_plain_status(&e, a->answer.status,
                        (struct slice){a->answer.body.data, a->answer.body.len});
    attach_failed(a, &e);
}

static void on_data(void *ctx, const char *p, size_t n)
{
    struct attach *a = ctx;
    struct err e = {0};
    size_t used = 0;
    if (a->dead || a->asking)
        return;
    if (!a->begun) {
        switch (docker_hijack_feed(&a->answer, p, n, &used)) {
        case DOCKER_HIJACK_MORE:
            return;
        case DOCKER_HIJACK_STREAMS:
            begin_streams(a);
            break;
        case DOCKER_HIJACK_REFUSED:
            refused(a);
            return;
        default:
            err_set(&e, ERR_RUNTIME, "the Docker engine's answer is no HTTP");
            attach_failed(a, &e);
            return;
        }
    }
    if (docker_stream_feed(&a->frames, p + used, n - used, output, a) != 0 && !a->dead) {
        err_set(&e, ERR_RUNTIME, "the engine's output stream is damaged");
        attach_failed(a, &e);
    }
}

static void on_eof(void *ctx)
{
    struct attach *a = ctx;
    struct err e = {0};
    if (a->dead || a->asking)
        return;
    if (a->begun) {
        output_over(a);
    } else if (a->answer.status != 0) {
        refused(a); /* its words ended with the connection */
    } else {
        err_set(&e, ERR_UNREACHABLE, "the Docker engine closed the connection");
        attach_failed(a, &e);
    }
}

static void on_failed(void *ctx, const struct err *why)
{
    struct attach *a = ctx;
    struct err e = {0};
    if (a->dead || a->asking)
        return;
    docker_plain_transport(&e, a->op.d, why, CONNECT_MS);
    if (docker_transport_lost(why))
        docker_link_lost(a->op.d);
    attach_failed(a, &e);
}

static void on_drained(void *ctx)
{
    struct attach *a = ctx;
    if (!a->dead && a->begun && a->u.drained != NULL)
        a->u.drained(a->ctx);
}

static const struct stream_user stream_user = {
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
    .drained = on_drained,
    .closed = handle_closed,
};

static int connect_send(struct attach *a, struct err *e)
{
    struct docker *d = a->op.d;
    char path[DOCKER_PATH_SIZE], target[DOCKER_PATH_SIZE + DOCKER_VERSION_SIZE + 2], head[1024];
    struct stream_target to = {.unix_path = d->socket_path};
    const char *body =
        a->tty ? "{\"Detach\":false,\"Tty\":true}" : "{\"Detach\":false,\"Tty\":false}";
    snprintf(path, sizeof(path), "/exec/%s/start", a->exec);
    if (docker_target(d, path, target, sizeof(target)) != 0)
        return err_set(e, ERR_RUNTIME, "the engine's id is too long");
    int n = snprintf(head, sizeof(head),
                     "POST %s HTTP/1.1\r\nHost: docker\r\nUser-Agent: gantry/" GANTRY_VERSION
                     "\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     target, strlen(body), body);
    if (n < 0 || (size_t)n >= sizeof(head))
        return err_set(e, ERR_RUNTIME, "the engine's id is too long");
    int rc = stream_connect(&a->s, d->loop, &to, CONNECT_MS, &stream_user, a, e);
    if (rc != 0)
        return rc;
    a->handles++;
    stream_set_secret(a->s, true); /* what is typed may be a password */
    stream_set_limits(a->s, a->w->max_exec_input + sizeof(head), LOW_MARK);
    docker_stream_init(&a->frames, a->tty);
    loop_timer_start(&a->timer, d->o.answer_ms, 0);
    rc = stream_write(a->s, head, (size_t)n);
    /* A connect that failed at once is told by `failed`. */
    return rc == 0 || rc == ERR_GONE ? 0 : err_set(e, rc, "the program cannot be started");
}

static void on_timer(void *ctx)
{
    struct attach *a = ctx;
    struct err e = {0};
    if (a->dead)
        return;
    if (a->asking) {
        status_ask(a);
        return;
    }
    err_set(&e, ERR_TIMEOUT, "the Docker engine did not answer within %" PRIu64 " ms",
            a->op.d->o.answer_ms);
    docker_link_lost(a->op.d);
    attach_failed(a, &e);
}

/* ---- the steps */

static void made(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct attach *a = ctx;
    struct err out = *e;
    a->call = NULL;
    if (out.code == 0) {
        struct slice id = slice_of(json_get_str(root, "Id"));
        if (docker_name_valid(id)) {
            memcpy(a->exec, id.p, id.len);
            connect_send(a, &out);
        } else {
            err_set(&out, ERR_RUNTIME, "the engine's \"Id\" of a program is none");
        }
    }
    if (out.code != 0)
        attach_failed(a, &out);
}

static void looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct attach *a = ctx;
    struct err e = {0};
    char path[DOCKER_PATH_SIZE];
    a->look = NULL;
    if (f != NULL) {
        attach_end(a, f, -1);
        return;
    }
    if (x == NULL || (!x->ours && !a->any)) {
        err_set(&e, ERR_NOT_FOUND, "No such container: %s", a->id);
    } else {
        snprintf(path, sizeof(path), "/containers/%.*s/exec", (int)x->o.object_id.len,
                 x->o.object_id.p);
        struct docker_ask ask = {
            .method = HTTP_METHOD_POST,
            .action = true,
            .json = true,
            .plain = true,
            .limit_ms = a->op.d->o.answer_ms,
            .path = path,
            .body = {a->request.data, a->request.len},
        };
        (void)docker_call_send(a->op.d, &ask, made, a, &a->call, &e);
    }
    buf_wipe(&a->request);
    if (e.code != 0)
        attach_failed(a, &e);
}

static int attach_begin(struct docker_op *op, struct err *e)
{
    struct attach *a = CONTAINER_OF(op, struct attach, op);
    return docker_look_start(a->w, slice_of(a->id), false, looked, a, &a->look, e);
}

/* ---- asking */

static int write_texts(struct json_out *j, const char *key, const char *const *texts)
{
    json_key(j, key);
    json_arr(j);
    for (size_t i = 0; texts[i] != NULL; i++) {
        if (!utf8_valid(texts[i], strlen(texts[i])))
            return ERR_INVALID;
        json_cstr(j, texts[i]);
    }
    json_end_arr(j);
    return 0;
}

static size_t texts_bound(const char *const *texts)
{
    size_t n = 64;
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        n += 6 * strlen(texts[i]) + 8;
    return n;
}

/* All room at once: the environment may hold secrets, of which moving would leave copies. */
static int request_write(struct attach *a, const struct driver_exec_order *o, struct err *e)
{
    struct buf *b = &a->request;
    struct json_out j;
    size_t most = 1024 + texts_bound(o->argv) + texts_bound(o->env) +
                  6 * (slice_of(o->user).len + slice_of(o->working_dir).len);
    int rc = buf_reserve(b, most);
    if (rc == 0) {
        json_begin(&j, b);
        json_obj(&j);
        json_kbool(&j, "AttachStdin", o->interactive);
        json_kbool(&j, "AttachStdout", true);
        json_kbool(&j, "AttachStderr", true);
        json_kbool(&j, "Tty", o->tty);
        rc = write_texts(&j, "Cmd", o->argv);
        if (rc == 0 && o->env != NULL)
            rc = write_texts(&j, "Env", o->env);
        if (o->user != NULL)
            json_kstr(&j, "User", o->user);
        if (o->working_dir != NULL)
            json_kstr(&j, "WorkingDir", o->working_dir);
        json_end_obj(&j);
    }
    if (rc == 0)
        rc = b->err;
    if (rc == ERR_INVALID)
        return err_set(e, rc, "an argument of the program is not UTF-8");
    return rc == 0 ? 0 : err_set(e, rc, "the program's description: %s", err_row(rc)->text);
}

static void attach_pause(struct driver_call *c, bool paused)
{
    struct attach *a = CONTAINER_OF(c, struct attach, base);
    if (a->dead || a->paused == paused)
        return;
    a->paused = paused;
    if (a->begun && !a->asking) {
        if (paused)
            stream_pause(a->s);
        else
            stream_resume(a->s);
    }
}

static void attach_cancel(struct driver_call *c)
{
    attach_free(CONTAINER_OF(c, struct attach, base));
}

int docker_attach_write(struct driver_call *c, struct slice bytes, bool end)
{
    struct attach *a = CONTAINER_OF(c, struct attach, base);
    int rc = 0;
    if (!a->interactive || a->input_end || a->dead || a->asking)
        return ERR_STATE;
    if (bytes.len > 0)
        rc = a->begun                                  ? stream_write(a->s, bytes.p, bytes.len)
             : bytes.len > a->input.max - a->input.len ? ERR_LIMIT
                                                       : buf_add(&a->input, bytes.p, bytes.len);
    if (rc != 0)
        return rc;
    a->input_end = end;
    if (end && a->begun)
        stream_shutdown(a->s);
    return 0;
}

static int begin(struct docker_work *w, bool any, const struct driver_exec_order *o,
                 const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                 struct err *e)
{
    if (!docker_name_valid(o->id) || o->id.len >= sizeof(((struct attach *)NULL)->id))
        return err_set(e, ERR_NOT_FOUND, "no container can have the name \"%.*s\"",
                       (int)(o->id.len < 200 ? o->id.len : 200), o->id.p);
    if (o->argv[0] == NULL)
        return err_set(e, ERR_INVALID, "a program to run is missing");
    struct attach *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->base = (struct driver_call){attach_cancel, attach_pause};
    a->op = (struct docker_op){.d = docker_ref(w->d), .begin = attach_begin, .fail = attach_fail};
    list_init(&a->op.link);
    a->w = w;
    a->any = any;
    a->u = *u;
    a->ctx = ctx;
    a->tty = o->tty;
    a->interactive = o->interactive;
    a->rows = o->tty ? o->rows : 0;
    a->columns = o->columns;
    a->handles = 1;
    memcpy(a->id, o->id.p, o->id.len);
    buf_init(&a->request, REQUEST_MAX);
    buf_init(&a->input, w->max_exec_input);
    buf_init(&a->system, DOCKER_REFUSAL_MAX);
    docker_hijack_init(&a->answer);
    int rc = loop_timer_init(w->d->loop, &a->timer, on_timer, a);
    if (rc != 0) {
        handle_closed(a);
        return err_set(e, rc, "out of memory");
    }
    rc = request_write(a, o, e);
    if (rc == 0)
        rc = docker_op_start(&a->op, e);
    if (rc != 0)
        attach_free(a);
    else
        *ret = &a->base;
    return rc;
}

int docker_attach(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                  void *ctx, struct driver_call **ret, struct err *e)
{
    return begin(docker_work_of(self), false, o, u, ctx, ret, e);
}

int docker_attach_any(struct docker_work *w, const struct driver_exec_order *o,
                      const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                      struct err *e)
{
    return begin(w, true, o, u, ctx, ret, e);
}
