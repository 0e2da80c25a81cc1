/* docker_drive: the Docker workload driver behind lines of JSON, for end-to-end tests.
 *
 *   docker_drive SOCKET [OPTIONS-AS-JSON]
 *
 * Each line of its input is a call: {"tag":1,"op":"ensure","id":"web","revision":"1","doc":"..."};
 * each line of its output is a callback with the same tag, or news of the watcher (tag 0). It ends
 * with its input.
 */
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 64, LINE_MAX_BYTES = 1 << 20 };

struct drive {
    struct loop *l;
    struct docker *d;
    struct driver drv;
    uv_pipe_t in;
    struct buf line;
    char chunk[64 << 10];
};

/* One call under way; a long one stays for write, pause and cancel by its tag. */
struct call {
    struct list_node link;
    struct drive *drive;
    int64_t tag;
    bool has_doc;
    struct workload_doc doc;
    json_t *in; /* what the order borrows from */
    struct driver_call *driver_call;
};

static struct list_node calls = {&calls, &calls};

static void out_begin(struct buf *b, struct json_out *j, int64_t tag, const char *what)
{
    *b = BUF_INIT(16 << 20);
    json_begin(j, b);
    json_obj(j);
    json_kint(j, "tag", tag);
    json_kstr(j, "what", what);
}

static void out_end(struct buf *b, struct json_out *j)
{
    json_end_obj(j);
    (void)buf_addc(b, '\n');
    fwrite(b->data, 1, b->len, stdout);
    fflush(stdout);
    buf_done(b);
}

static void out_fault(struct json_out *j, const struct fault *f)
{
    if (f == NULL)
        return;
    json_key(j, "fault");
    json_obj(j);
    json_kstr(j, "code", err_name(f->e.code));
    json_kstr(j, "reason", fault_name(f->reason));
    json_kstr(j, "text", f->e.msg);
    json_end_obj(j);
}

static void out_object(struct json_out *j, const struct driver_object *o)
{
    json_obj(j);
    json_kslice(j, "id", o->id);
    json_kslice(j, "revision", o->revision);
    json_kslice(j, "object_id", o->object_id);
    json_kslice(j, "node_id", o->node_id);
    json_kslice(j, "print", o->print);
    json_kstr(j, "actual", actual_name(o->actual));
    json_kstr(j, "message", o->message);
    json_kstr(j, "cause", stop_cause_name(o->cause));
    json_kstr(j, "health", health_name(o->health));
    json_kint(j, "created_ns", o->created_ns);
    json_kint(j, "started_ns", o->started_ns);
    json_kint(j, "finished_ns", o->finished_ns);
    json_kint(j, "exit_code", o->exit_code);
    json_kint(j, "restarts", o->restarts);
    json_kstr(j, "address", o->address);
    json_key(j, "meta");
    json_obj(j);
    for (size_t i = 0; i < o->n_meta; i++)
        json_kstr(j, o->meta[i].key, o->meta[i].value);
    json_end_obj(j);
    json_end_obj(j);
}

static void call_free(struct call *c)
{
    list_remove(&c->link);
    if (c->has_doc)
        workload_doc_done(&c->doc);
    json_decref(c->in);
    mem_free(c);
}

/* ---- callbacks */

static void on_object(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "done");
    out_fault(&j, f);
    if (o != NULL) {
        json_key(&j, "object");
        out_object(&j, o);
    }
    out_end(&b, &j);
    call_free(c);
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "done");
    out_fault(&j, f);
    json_key(&j, "objects");
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        out_object(&j, &items[i]);
    json_end_arr(&j);
    out_end(&b, &j);
    call_free(c);
}

static void on_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "done");
    out_fault(&j, f);
    if (u != NULL) {
        json_key(&j, "cpu");
        json_double(&j, u->cpu_percent);
        json_kint(&j, "memory", u->memory_bytes);
        json_kint(&j, "disk_read", u->disk_read_bytes);
        json_kint(&j, "disk_write", u->disk_write_bytes);
        json_kint(&j, "rx", u->net_rx_bytes);
        json_kint(&j, "tx", u->net_tx_bytes);
        json_kint(&j, "at", u->collected_ns);
    }
    out_end(&b, &j);
    call_free(c);
}

static void on_progress(void *ctx, const char *text)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "progress");
    json_kstr(&j, "text", text);
    out_end(&b, &j);
}

static void on_line(void *ctx, enum driver_stream s, int64_t time_ns, struct slice text)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "line");
    json_kint(&j, "stream", s);
    json_kint(&j, "time", time_ns);
    json_kslice(&j, "text", text);
    out_end(&b, &j);
}

static void on_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "output");
    json_kint(&j, "stream", s);
    json_kslice(&j, "text", bytes);
    out_end(&b, &j);
}

static void on_drained(void *ctx)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "drained");
    out_end(&b, &j);
}

static void on_ended(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct call *c = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, c->tag, "done");
    out_fault(&j, f);
    json_kint(&j, "exit_code", exit_code);
    out_end(&b, &j);
    call_free(c);
}

static void on_logs_done(void *ctx, const struct fault *f)
{
    on_ended(ctx, f, -1);
}

static void on_changed(void *ctx, struct slice id)
{
    struct buf b;
    struct json_out j;
    (void)ctx;
    out_begin(&b, &j, 0, "changed");
    json_kslice(&j, "id", id);
    out_end(&b, &j);
}

static void on_reachable(void *ctx, bool up)
{
    struct drive *d = ctx;
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, 0, "reachable");
    json_kbool(&j, "up", up);
    json_kstr(&j, "condition", d->drv.ops->condition(d->drv.self));
    out_end(&b, &j);
}

/* ---- calls */

static struct slice text_of(const json_t *in, const char *key)
{
    return slice_of(json_get_str(in, key));
}

static int64_t number_of(const json_t *in, const char *key, int64_t otherwise)
{
    (void)json_get_int(in, key, &otherwise);
    return otherwise;
}

static bool flag_of(const json_t *in, const char *key)
{
    bool v = false;
    (void)json_get_bool(in, key, &v);
    return v;
}

static int run_act(struct call *c, const char *op, struct err *e)
{
    const struct driver_ops *ops = c->drive->drv.ops;
    void *self = c->drive->drv.self;
    const char *doc = json_get_str(c->in, "doc");
    struct driver_order o = {
        .id = text_of(c->in, "id"),
        .revision = text_of(c->in, "revision"),
        .node_id = text_of(c->in, "node"),
        .print = text_of(c->in, "print"),
        .stop_timeout_s = number_of(c->in, "timeout", 0),
        .progress = on_progress,
    };
    if (doc != NULL) {
        struct schema_report r = {0};
        int rc = workload_doc_read(&c->doc, slice_of(doc), &r, e);
        c->has_doc = true;
        if (rc != 0 && r.count > 0)
            err_set(e, rc, "%s", r.faults[0].msg);
        schema_report_done(&r);
        if (rc == 0)
            rc = ops->check(self, &c->doc, e);
        if (rc != 0)
            return rc;
        o.doc = &c->doc;
    }
    if (strcmp(op, "ensure") == 0)
        return ops->ensure(self, &o, on_object, c);
    if (strcmp(op, "start") == 0)
        return ops->start(self, &o, on_object, c);
    if (strcmp(op, "stop") == 0)
        return ops->stop(self, &o, on_object, c);
    return ops->remove(self, &o, on_object, c);
}

static void args_of(const json_t *in, const char *key, const char *args[ARGS_MAX + 1])
{
    size_t i;
    json_t *v;
    size_t n = 0;
    json_array_foreach(json_object_get(in, key), i, v) if (n < ARGS_MAX) args[n++] =
        json_string_value(v);
    args[n] = NULL;
}

static int run_exec(struct call *c, struct err *e)
{
    static const struct driver_exec_user user = {on_output, on_drained, on_ended};
    const char *argv[ARGS_MAX + 1], *env[ARGS_MAX + 1];
    args_of(c->in, "argv", argv);
    args_of(c->in, "env", env);
    struct driver_exec_order o = {
        .id = text_of(c->in, "id"),
        .argv = argv,
        .tty = flag_of(c->in, "tty"),
        .interactive = flag_of(c->in, "interactive"),
        .rows = (uint16_t)number_of(c->in, "rows", 0),
        .columns = (uint16_t)number_of(c->in, "columns", 0),
        .user = json_get_str(c->in, "user"),
        .env = env[0] != NULL ? env : NULL,
        .working_dir = json_get_str(c->in, "dir"),
    };
    return c->drive->drv.ops->exec(c->drive->drv.self, &o, &user, c, &c->driver_call, e);
}

static int run_logs(struct call *c, struct err *e)
{
    static const struct driver_logs_user user = {on_line, on_logs_done};
    struct driver_logs_order o = {
        .id = text_of(c->in, "id"),
        .tail = number_of(c->in, "tail", -1),
        .since_ns = number_of(c->in, "since", 0),
        .follow = flag_of(c->in, "follow"),
    };
    return c->drive->drv.ops->logs(c->drive->drv.self, &o, &user, c, &c->driver_call, e);
}

/* Something about a call that is under way; answered at once. */
static int run_on(struct drive *d, const json_t *in, const char *op)
{
    const struct driver_ops *ops = d->drv.ops;
    int64_t tag = number_of(in, "of", -1);
    struct call *c = NULL;
    LIST_FOR (n, &calls)
        if (CONTAINER_OF(n, struct call, link)->tag == tag)
            c = CONTAINER_OF(n, struct call, link);
    if (c == NULL || c->driver_call == NULL)
        return ERR_NOT_FOUND;
    if (strcmp(op, "write") == 0)
        return ops->exec_write(c->driver_call, text_of(in, "text"), flag_of(in, "end"));
    if (strcmp(op, "resize") == 0)
        return ops->exec_resize(c->driver_call, (uint16_t)number_of(in, "rows", 0),
                                (uint16_t)number_of(in, "columns", 0));
    if (strcmp(op, "pause") == 0) {
        ops->logs_pause(c->driver_call, flag_of(in, "on"));
        return 0;
    }
    ops->cancel_call(c->driver_call);
    call_free(c);
    return 0;
}

static bool is_on(const char *op)
{
    static const char *const ops[] = {"write", "resize", "pause", "cancel_call"};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (strcmp(op, ops[i]) == 0)
            return true;
    return false;
}

static void answer_code(int64_t tag, int rc, const struct err *e)
{
    struct buf b;
    struct json_out j;
    out_begin(&b, &j, tag, "returned");
    json_kstr(&j, "code", rc != 0 ? err_name(rc) : "ok");
    json_kstr(&j, "text", e->msg);
    out_end(&b, &j);
}

static int run(struct drive *d, struct call *c, const char *op, struct err *e)
{
    const struct driver_ops *ops = d->drv.ops;
    void *self = d->drv.self;
    struct slice id = text_of(c->in, "id");
    if (strcmp(op, "inspect") == 0)
        return ops->inspect(self, id, on_object, c);
    if (strcmp(op, "list") == 0)
        return ops->list(self, on_list, c);
    if (strcmp(op, "usage") == 0)
        return ops->usage(self, id, on_usage, c);
    if (strcmp(op, "exec") == 0)
        return run_exec(c, e);
    if (strcmp(op, "logs") == 0)
        return run_logs(c, e);
    return run_act(c, op, e);
}

static void take_line(struct drive *d, struct slice text)
{
    static const struct driver_watcher watcher = {.changed = on_changed, .reachable = on_reachable};
    struct driver_watcher w = watcher;
    struct err e = {0};
    json_t *in = json_parse(text, NULL, &e);
    const char *op = json_get_str(in, "op");
    int64_t tag = number_of(in, "tag", 0);
    w.ctx = d;
    if (op == NULL) {
        answer_code(tag, ERR_SYNTAX, &e);
    } else if (strcmp(op, "watch") == 0) {
        d->drv.ops->watch(d->drv.self, flag_of(in, "on") ? &w : NULL);
    } else if (strcmp(op, "cancel") == 0) {
        d->drv.ops->cancel(d->drv.self, text_of(in, "id"));
    } else if (is_on(op)) {
        answer_code(tag, run_on(d, in, op), &e);
    } else {
        struct call *c = mem_zalloc(sizeof(*c));
        if (c == NULL)
            exit(3);
        c->drive = d;
        c->tag = tag;
        c->in = json_incref(in);
        list_push_back(&calls, &c->link);
        int rc = run(d, c, op, &e);
        if (rc != 0) {
            answer_code(tag, rc, &e);
            call_free(c);
        }
    }
    json_decref(in);
}

/* ---- input */

static void input_room(uv_handle_t *h, size_t n, uv_buf_t *b)
{
    struct drive *d = h->data;
    (void)n;
    *b = uv_buf_init(d->chunk, sizeof(d->chunk));
}

static void input_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct drive *d = s->data;
    (void)b;
    if (n < 0) {
        uv_close((uv_handle_t *)s, NULL);
        docker_free(STEAL(d->d));
        return;
    }
    (void)buf_add(&d->line, d->chunk, (size_t)n);
    char *nl;
    while (d->line.len > 0 && (nl = memchr(d->line.data, '\n', d->line.len)) != NULL) {
        size_t len = (size_t)(nl - d->line.data);
        take_line(d, (struct slice){d->line.data, len});
        buf_drop(&d->line, len + 1);
    }
}

static int options_read(struct docker_options *o, struct docker_driver_options *w, const json_t *in,
                        const char *roots[ARGS_MAX + 1])
{
    o->answer_ms = (uint64_t)number_of(in, "answer_ms", 0);
    o->probe_ms = (uint64_t)number_of(in, "probe_ms", 0);
    w->look_ms = (uint64_t)number_of(in, "look_ms", 0);
    w->pull_ms = (uint64_t)number_of(in, "pull_ms", 0);
    w->log_max_size = json_get_str(in, "log_max_size");
    w->privileged = json_is_true(json_object_get(in, "privileged"));
    args_of(in, "bind_roots", roots);
    for (w->n_bind_roots = 0; roots[w->n_bind_roots] != NULL;)
        w->n_bind_roots++;
    w->bind_roots = json_object_get(in, "bind_roots") != NULL ? roots : NULL;
    return 0;
}

int main(int argc, char **argv)
{
    static struct drive d;
    struct docker_options o = {.socket_path = argc > 1 ? argv[1] : NULL};
    struct docker_driver_options w = {0};
    const char *roots[ARGS_MAX + 1];
    struct err e = {0};
    json_in_init();
    json_t *in = argc > 2 ? json_parse(slice_of(argv[2]), NULL, &e) : NULL;
    options_read(&o, &w, in, roots);
    buf_init(&d.line, LINE_MAX_BYTES);
    if (loop_new(&d.l, &clock_system, &e) != 0 || docker_new(&d.d, d.l, &o, &e) != 0 ||
        docker_driver(d.d, &w, &d.drv, &e) != 0) {
        fprintf(stderr, "docker_drive: %s\n", e.msg);
        return 2;
    }
    json_decref(in);
    d.in.data = &d;
    uv_pipe_init(loop_uv(d.l), &d.in, 0);
    uv_pipe_open(&d.in, 0);
    uv_read_start((uv_stream_t *)&d.in, input_room, input_read);
    loop_run(d.l);
    while (!list_empty(&calls))
        call_free(CONTAINER_OF(list_first(&calls), struct call, link));
    buf_done(&d.line);
    loop_free(d.l);
    return 0;
}
