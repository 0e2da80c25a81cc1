/* ensure, start, stop, remove: each looks first, by name, whether the container is ours, and then
 * acts on the id that it found, which no other container can ever have. prepare: the first half of
 * ensure, what is mounted and the image, without a container. */
#include "base/mem.h"
#include "base/span.h"
#include "base/str.h"
#include "driver/docker/docker_work.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    STOP_MAX_S = 30 * 24 * 3600, /* no stop is waited for longer */
    WAIT_MS = 200,               /* while the engine removes a container by itself */
    WAITS_MAX = 100,
    LATELY_MS = 600000, /* so long what was prepared is not asked for again */
    CREATED_MS = 3000,  /* a create that is cancelled is waited for so long */
    BODY_LIMIT = 16 << 20,
};

enum act_kind { ACT_PREPARE, ACT_ENSURE, ACT_START, ACT_STOP, ACT_REMOVE };

struct docker_act {
    struct docker_op op;
    struct docker_work *w;
    enum act_kind kind;
    struct driver_order o; /* its texts and document are the caller's until fn */
    driver_done_fn fn;
    void *ctx;
    struct docker_look *look;
    struct docker_call *call;
    struct docker_pull *pull;
    struct docker_paths *paths;
    struct loop_timer timer;
    bool cancelled;
    /* the container that was found */
    bool old; /* ensure: of another revision */
    bool alive, paused;
    char cid[DOCKER_ID_DIGITS + 1];
    /* ensure */
    bool pulled, fell_back, again, creating;
    bool lately;           /* the image was fetched by a prepare of the same order */
    struct span_ref asked; /* on whose behalf */
    struct span pulling;
    struct fault pull_fault; /* why the image was not fetched, if it was tried */
    int waits;
    char id[WORKLOAD_ID_MAX + 1];
};

static void act_closed(void *ctx)
{
    struct docker_act *a = ctx;
    docker_unref(a->op.d);
    mem_free(a);
}

static void act_free(struct docker_act *a)
{
    if (map_get(&a->w->acts, slice_of(a->id)) == a)
        (void)map_take(&a->w->acts, slice_of(a->id));
    list_remove(&a->op.link);
    docker_look_cancel(STEAL(a->look));
    docker_call_cancel(STEAL(a->call));
    docker_pull_cancel(STEAL(a->pull));
    docker_paths_cancel(STEAL(a->paths));
    loop_timer_close(&a->timer, act_closed);
}

static void act_end(struct docker_act *a, const struct fault *f, const struct driver_object *o)
{
    /* The next act on this id may begin inside the callback. */
    (void)map_take(&a->w->acts, slice_of(a->id));
    a->fn(a->ctx, f, f == NULL ? o : NULL);
    act_free(a);
}

/* The end by a call of ours that failed. */
static void act_failed(struct docker_act *a, enum docker_step step, const struct err *e)
{
    struct fault f = {0};
    docker_fault(&f, step, e);
    if (e->code == ERR_TIMEOUT)
        docker_link_lost(a->op.d);
    act_end(a, &f, NULL);
}

static void act_fail(struct docker_op *op, const struct err *e)
{
    struct docker_act *a = CONTAINER_OF(op, struct docker_act, op);
    struct err out;
    docker_work_words(&out, op->d, e);
    if (out.code == ERR_TIMEOUT)
        out.code = ERR_UNREACHABLE; /* nothing was tried yet */
    act_failed(a, DOCKER_LOOK, &out);
}

static void act_cancelled(struct docker_act *a)
{
    struct fault f = {0};
    fault_set(&f, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    act_end(a, &f, NULL);
}

/* ---- calls */

static void act_look(struct docker_act *a, bool last_words, docker_look_fn fn)
{
    struct err e = {0};
    if (docker_look_start(a->w, slice_of(a->id), last_words, fn, a, &a->look, &e) != 0)
        act_failed(a, DOCKER_LOOK, &e);
}

/* An order about the container that was found: "start", "stop?t=10"... */
static void act_post(struct docker_act *a, const char *verb, uint64_t wait_s, docker_call_fn fn)
{
    char path[DOCKER_PATH_SIZE];
    struct err e = {0};
    bool remove = verb[0] == '?';
    snprintf(path, sizeof(path), "/containers/%s%s%s", a->cid, remove ? "" : "/", verb);
    struct docker_ask ask = {
        .method = remove ? HTTP_METHOD_DELETE : HTTP_METHOD_POST,
        .action = true,
        .plain = true,
        .limit_ms = a->op.d->o.answer_ms + wait_s * 1000,
        .path = path,
    };
    if (docker_call_send(a->op.d, &ask, fn, a, &a->call, &e) != 0)
        act_failed(a, DOCKER_STOP, &e);
}

/* ---- the last look */

static void after_looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct docker_act *a = ctx;
    a->look = NULL;
    /* The act itself has succeeded, whatever became of the look. */
    act_end(a, NULL, f == NULL && x != NULL && x->ours ? &x->o : NULL);
}

static void act_after(struct docker_act *a)
{
    struct err e = {0};
    bool last_words = a->kind == ACT_START; /* it may have ended already */
    if (docker_look_start(a->w, slice_of(a->id), last_words, after_looked, a, &a->look, &e) != 0)
        act_end(a, NULL, NULL);
}

/* ---- start */

static void started(void *ctx, const struct err *e, int status BASE_UNUSED,
                    json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    if (e->code != 0)
        act_failed(a, DOCKER_START, e);
    else
        act_after(a);
}

static void start_found(struct docker_act *a, struct docker_object *x)
{
    if (x->paused)
        act_post(a, "unpause", 0, started);
    else if (x->running && !x->restarting)
        act_end(a, NULL, &x->o);
    else
        act_post(a, "start", 0, started);
}

/* ---- stop and remove */

static void act_clear(struct docker_act *a);
static void image_step(struct docker_act *a);
static void create_send(struct docker_act *a);
static void act_looked(void *ctx, const struct fault *f, struct docker_object *x);

static void cleared(struct docker_act *a)
{
    docker_kept_forget(a->w, slice_of(a->id));
    if (a->kind == ACT_ENSURE)
        create_send(a);
    else
        act_end(a, NULL, NULL);
}

static void removed(void *ctx, const struct err *e, int status BASE_UNUSED,
                    json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    if (e->code == 0 || e->code == ERR_NOT_FOUND)
        cleared(a);
    else if (e->code == ERR_CONFLICT && ++a->waits <= WAITS_MAX)
        loop_timer_start(&a->timer, WAIT_MS, 0); /* the engine is removing it already */
    else
        act_failed(a, DOCKER_REMOVE, e);
}

static void stopped(void *ctx, const struct err *e, int status BASE_UNUSED,
                    json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    if (e->code != 0 && e->code != ERR_NOT_FOUND) {
        act_failed(a, DOCKER_STOP, e);
    } else if (a->kind == ACT_STOP) {
        act_after(a);
    } else {
        a->alive = false;
        act_clear(a);
    }
}

static void stop_send(struct docker_act *a)
{
    char verb[40];
    int64_t s = a->o.stop_timeout_s;
    if (s <= 0 && a->o.doc != NULL)
        s = a->o.doc->container.stop_timeout_s;
    s = s > 0 ? s : DOCKER_STOP_DEFAULT_S;
    s = s < STOP_MAX_S ? s : STOP_MAX_S;
    snprintf(verb, sizeof(verb), "stop?t=%" PRId64, s);
    act_post(a, verb, (uint64_t)s, stopped);
}

static void unpaused(void *ctx, const struct err *e, int status BASE_UNUSED,
                     json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    /* Somebody else may have done it: the stop will tell. */
    if (e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT || e->code == ERR_CANCELLED)
        act_failed(a, DOCKER_STOP, e);
    else
        stop_send(a);
}

/* Ends what runs, then takes it away. */
static void act_clear(struct docker_act *a)
{
    if (a->alive && a->paused)
        act_post(a, "unpause", 0, unpaused);
    else if (a->alive)
        stop_send(a);
    else
        act_post(a, "?force=1&v=1", 0, removed);
}

static void stop_found(struct docker_act *a, struct docker_object *x)
{
    if (!a->alive)
        act_end(a, NULL, &x->o);
    else if (a->paused)
        act_post(a, "unpause", 0, unpaused);
    else
        stop_send(a);
}

/* ---- what was prepared */

static uint64_t order_hash(const struct docker_act *a)
{
    char text[WORKLOAD_ID_MAX + WORKLOAD_REVISION_MAX + DOCKER_IMAGE_MAX + 128];
    struct buf b = BUF_FIXED(text);
    (void)buf_addf(&b, "%s\n%.*s\n%.*s\n%s", a->id, (int)a->o.revision.len, a->o.revision.p,
                   (int)a->o.print.len, a->o.print.p, a->o.doc->container.image);
    return b.err == 0 ? hash_bytes(b.data, b.len) | 1 : 0;
}

/* The oldest is forgotten for it: its image is only asked for once more. */
static void prepared(struct docker_act *a)
{
    struct docker_work *w = a->w;
    w->prepared[w->n_prepared++ % ARRAY_LEN(w->prepared)] =
        (struct docker_prepared){order_hash(a), loop_now_ms(a->op.d->loop)};
    act_end(a, NULL, NULL);
}

static struct docker_prepared *prepared_find(struct docker_act *a)
{
    uint64_t order = order_hash(a), now = loop_now_ms(a->op.d->loop);
    for (size_t i = 0; i < ARRAY_LEN(a->w->prepared) && order != 0; i++) {
        struct docker_prepared *p = &a->w->prepared[i];
        if (p->order == order && now - p->at_ms < LATELY_MS)
            return p;
    }
    return NULL;
}

/* Used up: the same document applied anew asks the registry anew. */
static void prepared_forget(struct docker_act *a)
{
    for (struct docker_prepared *p; (p = prepared_find(a)) != NULL;)
        p->order = 0;
}

/* ---- ensure: create */

static void image_fault(struct docker_act *a)
{
    struct fault f = a->pull_fault;
    if (f.e.code == 0)
        fault_set(&f, FAULT_INVALID_IMAGE, ERR_NOT_FOUND,
                  "image \"%s\" is not on this machine, and is not to be fetched",
                  a->o.doc->container.image);
    act_end(a, &f, NULL);
}

static enum doc_pull policy(const struct docker_act *a)
{
    int p = a->o.doc->container.image_pull;
    return (enum doc_pull)(p != DOC_PULL_DEFAULT ? p : a->w->image_pull);
}

static void pull_start(struct docker_act *a);

static void image_missing(struct docker_act *a)
{
    if (policy(a) != DOC_PULL_MISSING && !a->lately) {
        image_fault(a);
        return;
    }
    a->lately = false; /* somebody has removed it since */
    pull_start(a);
}

static void created(void *ctx, const struct err *e, int status, json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    a->creating = false;
    if (e->code == 0) {
        prepared_forget(a);
        act_end(a, NULL, NULL);
    } else if (a->cancelled) {
        act_cancelled(a);
    } else if (status == 404 && strstr(e->msg, "o such image") != NULL && !a->pulled) {
        image_missing(a);
    } else if (status == 409 && !a->again) {
        a->again = true; /* somebody was quicker: whose is it? */
        act_look(a, false, act_looked);
    } else {
        act_failed(a, DOCKER_CREATE, e);
    }
}

static void create_send(struct docker_act *a)
{
    char path[DOCKER_PATH_SIZE];
    struct buf body = BUF_INIT(BODY_LIMIT);
    struct err e = {0};
    snprintf(path, sizeof(path), "/containers/create?name=%s", a->id);
    int rc = docker_spec_body(&body, &a->o, &a->w->log);
    if (rc != 0) {
        err_set(&e, rc, "the container's description: %s", err_row(rc)->text);
    } else {
        struct docker_ask ask = {
            .method = HTTP_METHOD_POST,
            .action = true,
            .json = true,
            .plain = true,
            .limit_ms = a->op.d->o.answer_ms,
            .path = path,
            .body = {body.data, body.len},
        };
        rc = docker_call_send(a->op.d, &ask, created, a, &a->call, &e);
        a->creating = rc == 0;
    }
    if (body.data != NULL)
        mem_wipe(body.data, body.cap);
    buf_done(&body);
    if (rc != 0)
        act_failed(a, DOCKER_CREATE, &e);
}

/* ---- ensure: what is mounted */

static void paths_checked(void *ctx, const struct err *e)
{
    struct docker_act *a = ctx;
    struct err out = *e;
    a->paths = NULL;
    if (out.code != 0)
        act_failed(a, DOCKER_CREATE, &out);
    else
        image_step(a);
}

/* Before anything is fetched or removed. */
static void paths_step(struct docker_act *a)
{
    const struct schema_list *mounts = &a->o.doc->container.volumes;
    struct err e = {0};
    if (a->w->roots.paths == NULL || mounts->count == 0) {
        image_step(a);
    } else if (docker_paths_start(a->op.d->loop, mounts, &a->w->roots, paths_checked, a,
                                  &a->paths) != 0) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        act_failed(a, DOCKER_CREATE, &e);
    }
}

/* ---- ensure: the image */

static void image_checked(void *ctx, const struct err *e, int status, json_t *root BASE_UNUSED)
{
    struct docker_act *a = ctx;
    a->call = NULL;
    if (e->code != 0 && status == 404)
        image_missing(a);
    else if (e->code != 0)
        act_failed(a, DOCKER_CREATE, e);
    else if (a->kind == ACT_PREPARE)
        prepared(a);
    else
        act_clear(a);
}

/* What runs now does not go before its successor's image is here. */
static void image_ready(struct docker_act *a)
{
    char path[DOCKER_PATH_SIZE];
    struct err e = {0};
    bool prepares = a->kind == ACT_PREPARE;
    if (!a->old && !prepares) {
        create_send(a);
        return;
    }
    if (a->pulled && prepares) {
        prepared(a);
        return;
    }
    if (a->pulled) {
        act_clear(a);
        return;
    }
    snprintf(path, sizeof(path), "/images/%s/json", a->o.doc->container.image);
    struct docker_ask ask = {.method = HTTP_METHOD_GET,
                             .json = true,
                             .plain = true,
                             .limit_ms = a->op.d->o.answer_ms,
                             .path = path};
    if (docker_call_send(a->op.d, &ask, image_checked, a, &a->call, &e) != 0)
        act_failed(a, DOCKER_CREATE, &e);
}

static bool nothing_tried(const struct fault *f)
{
    return f->e.code == ERR_UNREACHABLE || f->e.code == ERR_CANCELLED || f->e.code == ERR_BUSY ||
           f->e.code == ERR_NO_MEMORY;
}

static void end_pull_span(struct docker_act *a, const struct fault *f)
{
    if (!a->pulling.self.on)
        return;
    const struct span_attr attrs[] = {
        SPAN_TEXT("gantry.workload.id", a->o.id),
        SPAN_TEXT("container.image.name", slice_of(a->o.doc->container.image))};
    struct span_done d = {.kind = SPAN_CLIENT,
                          .name = SLICE_LIT("image pull"),
                          .failed = f != NULL,
                          .message = slice_of(f != NULL ? f->e.msg : ""),
                          .attrs = attrs,
                          .n_attrs = ARRAY_LEN(attrs)};
    span_end(&a->pulling, &d);
}

static void pulled(void *ctx, const struct fault *f)
{
    struct docker_act *a = ctx;
    a->pull = NULL;
    end_pull_span(a, f);
    if (f == NULL) {
        a->pulled = true;
        image_ready(a);
    } else if (policy(a) != DOC_PULL_DEFAULT || nothing_tried(f)) {
        act_end(a, f, NULL);
    } else {
        a->pull_fault = *f;
        a->fell_back = true; /* to what is on this machine, if it is */
        image_ready(a);
    }
}

static void pull_start(struct docker_act *a)
{
    struct err e = {0};
    if (span_wanted())
        span_begin(&a->pulling, &a->asked);
    if (docker_pull_start(a->w, &a->o.doc->container, a->o.progress, a->ctx, pulled, a, &a->pull,
                          &e) != 0)
        act_failed(a, DOCKER_CREATE, &e);
}

static void image_step(struct docker_act *a)
{
    enum doc_pull p = policy(a);
    bool asks = p == DOC_PULL_DEFAULT || p == DOC_PULL_ALWAYS;
    a->lately = asks && a->kind == ACT_ENSURE && prepared_find(a) != NULL;
    if (asks && !a->pulled && !a->fell_back && !a->lately)
        pull_start(a);
    else
        image_ready(a);
}

static void ensure_found(struct docker_act *a, struct docker_object *x)
{
    struct slice has = slice_trim(x->o.revision), wanted = slice_trim(a->o.revision);
    if (x->removing && ++a->waits <= WAITS_MAX) {
        loop_timer_start(&a->timer, WAIT_MS, 0);
    } else if (has.len == 0 || slice_eq(has, wanted)) {
        act_end(a, NULL, &x->o);
    } else {
        a->old = true;
        paths_step(a);
    }
}

/* ---- the first look */

static void none_found(struct docker_act *a)
{
    struct fault f = {0};
    if (a->kind == ACT_ENSURE) {
        a->old = false;
        paths_step(a);
    } else if (a->kind == ACT_START) {
        fault_set(&f, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND, "there is no container \"%s\"",
                  a->id);
        act_end(a, &f, NULL);
    } else {
        act_end(a, NULL, NULL);
    }
}

static void act_looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct docker_act *a = ctx;
    struct fault foreign = {0};
    a->look = NULL;
    if (f != NULL) {
        act_end(a, f, NULL);
        return;
    }
    if (x == NULL || (!x->ours && a->kind != ACT_ENSURE && a->kind != ACT_START)) {
        none_found(a);
        return;
    }
    if (!x->ours) {
        docker_object_foreign(x, slice_of(a->id), &foreign);
        act_end(a, &foreign, NULL);
        return;
    }
    snprintf(a->cid, sizeof(a->cid), "%.*s", (int)x->o.object_id.len, x->o.object_id.p);
    a->paused = x->paused;
    a->alive = x->running || x->restarting || x->paused;
    if (a->kind == ACT_ENSURE)
        ensure_found(a, x);
    else if (a->kind == ACT_START)
        start_found(a, x);
    else if (a->kind == ACT_STOP)
        stop_found(a, x);
    else
        act_clear(a);
}

static int act_begin(struct docker_op *op, struct err *e)
{
    struct docker_act *a = CONTAINER_OF(op, struct docker_act, op);
    if (a->kind == ACT_PREPARE) /* nothing to look at; but its end never comes inside the call */
        return loop_timer_start(&a->timer, 0, 0), 0;
    return docker_look_start(a->w, slice_of(a->id), false, act_looked, a, &a->look, e);
}

/* ---- life */

static void create_lost(struct docker_act *a)
{
    struct fault f = {0};
    fault_set(&f, FAULT_RUNTIME_ERROR, ERR_TIMEOUT,
              "cancelled, and the engine has not said whether it made the container");
    act_end(a, &f, NULL);
}

static void on_timer(void *ctx)
{
    struct docker_act *a = ctx;
    if (a->cancelled && a->creating)
        create_lost(a);
    else if (a->cancelled)
        act_cancelled(a);
    else if (a->kind == ACT_PREPARE)
        paths_step(a);
    else
        act_look(a, false, act_looked);
}

void docker_act_cancel(void *self, struct slice id)
{
    struct docker_work *w = docker_work_of(self);
    struct docker_act *a = map_get(&w->acts, id);
    if (a == NULL || a->cancelled)
        return;
    a->cancelled = true;
    if (a->creating) {
        /* The engine goes on with it: left alone it would appear behind the back of one who has
         * just been told that there is none. */
        loop_timer_start(&a->timer, CREATED_MS, 0);
        return;
    }
    list_remove(&a->op.link);
    docker_look_cancel(STEAL(a->look));
    docker_call_cancel(STEAL(a->call));
    docker_pull_cancel(STEAL(a->pull));
    docker_paths_cancel(STEAL(a->paths));
    loop_timer_start(&a->timer, 0, 0);
}

static int act_new(void *self, enum act_kind kind, const struct driver_order *o, driver_done_fn fn,
                   void *ctx)
{
    struct docker_work *w = docker_work_of(self);
    if (!docker_name_valid(o->id) || o->id.len > WORKLOAD_ID_MAX)
        return ERR_INVALID;
    if (map_get(&w->acts, o->id) != NULL)
        return ERR_BUSY;
    struct docker_act *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->op = (struct docker_op){.d = docker_ref(w->d), .begin = act_begin, .fail = act_fail};
    list_init(&a->op.link);
    a->w = w;
    a->kind = kind;
    a->o = *o;
    a->fn = fn;
    a->ctx = ctx;
    if (span_wanted())
        a->asked = span_current;
    memcpy(a->id, o->id.p, o->id.len);
    a->o.id = slice_of(a->id);
    int rc = loop_timer_init(w->d->loop, &a->timer, on_timer, a);
    if (rc != 0) {
        act_closed(a);
        return rc;
    }
    rc = map_put(&w->acts, a->o.id, a);
    if (rc == 0)
        rc = docker_op_start(&a->op, NULL);
    if (rc != 0)
        act_free(a);
    return rc;
}

int docker_act_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act_new(self, ACT_PREPARE, o, fn, ctx);
}

int docker_act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act_new(self, ACT_ENSURE, o, fn, ctx);
}

int docker_act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act_new(self, ACT_START, o, fn, ctx);
}

int docker_act_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act_new(self, ACT_STOP, o, fn, ctx);
}

int docker_act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return act_new(self, ACT_REMOVE, o, fn, ctx);
}
