/* One container looked at (GET /containers/{name}/json, and the end of its standard error if it has
 * failed); the same for all of ours. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_stream.h"
#include "driver/docker/docker_work.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOOKS_MAX = 8, LOGS_BODY_MAX = 64 << 20, WORDS_ROOM = 4 * DOCKER_STDERR_MAX };

struct docker_look {
    struct docker_work *w;
    struct docker *d; /* a reference */
    struct docker_call *call;
    struct client_call *stream; /* its standard error */
    docker_look_fn fn;
    void *ctx;
    bool last_words;
    json_t *root;
    int status;
    struct docker_stream frames;
    struct buf raw; /* at most twice what is kept */
    bool cut, heard;
    struct buf words; /* as text */
    char id[DOCKER_NAME_MAX + 1];
    struct docker_object x;
};

/* ---- what is remembered */

void docker_kept_forget(struct docker_work *w, struct slice id)
{
    mem_free(map_take(&w->samples, id));
    struct docker_kept *k = map_take(&w->kept, id); /* may take id along */
    if (k == NULL)
        return;
    mem_free(k->o);
    mem_free(k);
}

/* Nothing is remembered when out of memory. */
static void kept_note(struct docker_work *w, const struct driver_object *o, bool heard)
{
    struct docker_kept *k = map_get(&w->kept, o->id);
    struct driver_object *copy = docker_object_copy(o);
    if (copy == NULL) {
        docker_kept_forget(w, o->id);
        return;
    }
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k));
        if (k == NULL || map_put(&w->kept, o->id, k) != 0) {
            mem_free(k);
            mem_free(copy);
            return;
        }
    }
    mem_free(k->o);
    k->o = copy;
    k->fresh = w->events.up;
    k->heard = heard;
}

static const char *meta_find(const struct driver_object *o, const char *key)
{
    for (size_t i = 0; i < o->n_meta; i++)
        if (strcmp(o->meta[i].key, key) == 0)
            return o->meta[i].value;
    return NULL;
}

/* ---- life */

static void look_free(struct docker_look *l)
{
    docker_call_cancel(l->call);
    if (l->stream != NULL)
        client_cancel(l->stream);
    json_decref(l->root);
    buf_done(&l->raw);
    buf_done(&l->words);
    docker_unref(l->d);
    mem_free(l);
}

void docker_look_cancel(struct docker_look *l)
{
    if (l != NULL)
        look_free(l);
}

static void look_end(struct docker_look *l, const struct fault *f, struct docker_object *x)
{
    struct slice id = slice_of(l->id);
    if (f == NULL && (x == NULL || !x->ours))
        docker_kept_forget(l->w, id);
    else if (f == NULL)
        kept_note(l->w, &x->o, l->heard || !x->wants_stderr);
    l->fn(l->ctx, f, x);
    look_free(l);
}

/* ---- its last words */

static void words_add(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct docker_look *l = ctx;
    if (kind != DOCKER_STREAM_STDERR)
        return;
    if (n > DOCKER_STDERR_MAX) {
        p += n - DOCKER_STDERR_MAX;
        n = DOCKER_STDERR_MAX;
        l->cut = true;
    }
    if (l->raw.len + n > 2 * DOCKER_STDERR_MAX) {
        buf_drop(&l->raw, l->raw.len + n - 2 * DOCKER_STDERR_MAX);
        l->cut = true;
    }
    (void)buf_add(&l->raw, p, n);
}

static void words_head(void *ctx, const struct client_response *r)
{
    struct docker_look *l = ctx;
    l->status = r->status;
}

static void words_body(void *ctx, const char *p, size_t n)
{
    struct docker_look *l = ctx;
    if (l->status == 200)
        (void)docker_stream_feed(&l->frames, p, n, words_add, l);
    else if (l->raw.len + n <= DOCKER_STDERR_MAX)
        (void)buf_add(&l->raw, p, n);
}

/* The end of what came, as text of at most DOCKER_STDERR_MAX bytes, "..." in front if it was more.
 */
static int words_text(struct docker_look *l)
{
    enum { MARK = 3 };
    struct slice all = {l->raw.data, l->raw.len};
    struct slice end = docker_last_lines(all, DOCKER_STDERR_MAX - MARK);
    (void)buf_addlit(&l->words, "...");
    (void)utf8_add_lossy(&l->words, end.p, end.len);
    if (l->words.err != 0)
        return l->words.err;
    bool cut = l->cut || end.len < all.len;
    if (l->words.len > DOCKER_STDERR_MAX) {
        /* What stands for bad bytes is longer than they were. */
        size_t from = l->words.len - (DOCKER_STDERR_MAX - MARK);
        while (!utf8_valid(l->words.data + from, l->words.len - from))
            from++;
        buf_drop(&l->words, from - MARK);
        memcpy(l->words.data, "...", MARK);
        cut = true;
    }
    if (!cut)
        buf_drop(&l->words, MARK);
    for (size_t i = 0; i < l->words.len; i++)
        if (l->words.data[i] == '\0')
            l->words.data[i] = ' ';
    return 0;
}

static void words_done(void *ctx, const struct err *e)
{
    struct docker_look *l = ctx;
    struct err out = {0};
    l->stream = NULL;
    if (e->code == 0 && l->status != 200)
        docker_plain_status(&out, l->status, (struct slice){l->raw.data, l->raw.len});
    else if (e->code != 0)
        docker_plain_transport(&out, l->d, e, l->w->look_ms);
    else if (l->frames.broken)
        err_set(&out, ERR_RUNTIME, "the engine's log stream is damaged");
    else if (l->raw.err != 0 || words_text(l) != 0)
        err_set(&out, ERR_NO_MEMORY, "out of memory");
    /* The container itself is known: without its words it is still worth telling. */
    l->heard = out.code == 0;
    if (out.code != 0)
        docker_object_meta(&l->x, "container.stderr_error", out.msg);
    else if (l->words.len > 0)
        docker_object_meta(&l->x, "container.stderr", l->words.data);
    look_end(l, NULL, &l->x);
}

static const struct client_user words_user = {words_head, words_body, words_done};

/* True: the words are being fetched. */
static bool words_ask(struct docker_look *l)
{
    char path[DOCKER_PATH_SIZE], target[DOCKER_PATH_SIZE];
    struct docker_kept *k = map_get(&l->w->kept, slice_of(l->id));
    struct driver_object *o = &l->x.o;
    struct err e = {0};
    buf_init(&l->words, WORDS_ROOM);
    if (k != NULL && k->heard && slice_eq(k->o->object_id, o->object_id) &&
        k->o->finished_ns == o->finished_ns) {
        /* What has ended says nothing more. */
        const char *words = meta_find(k->o, "container.stderr");
        if (words != NULL && buf_adds(&l->words, words) == 0)
            docker_object_meta(&l->x, "container.stderr", l->words.data);
        l->heard = true;
        return false;
    }
    snprintf(path, sizeof(path), "/containers/%.*s/logs?stderr=1&stdout=0&tail=%d",
             (int)o->object_id.len, o->object_id.p, DOCKER_STDERR_LINES);
    if (docker_target(l->d, path, target, sizeof(target)) != 0)
        return false;
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(target),
        .first_byte_ms = l->w->look_ms,
        .idle_ms = l->w->look_ms,
        .max_body = LOGS_BODY_MAX,
    };
    docker_stream_init(&l->frames, false);
    buf_init(&l->raw, 2 * DOCKER_STDERR_MAX);
    return l->d->queries != NULL &&
           client_send(l->d->queries, &r, &words_user, l, &l->stream, &e) == 0;
}

/* ---- the look */

/* "None" is an answer only of an engine that says so itself. A name that is also the beginning of
 * several ids gives a refusal, but only if nothing has that name. */
static bool says_none(const struct err *e)
{
    return e->code == ERR_NOT_FOUND ||
           (e->code == ERR_INVALID && strstr(e->msg, "ultiple IDs found") != NULL);
}

/* A whole id, which drivers on top of this one ask for: there is no other such container. */
static bool has_id(const json_t *root, const char *id)
{
    const char *have = json_get_str(root, "Id");
    return have != NULL && strlen(have) == 64 && strcmp(have, id) == 0;
}

static void look_answered(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct docker_look *l = ctx;
    struct fault f = {0};
    struct err out = *e;
    l->call = NULL;
    if (says_none(e) ||
        (e->code == 0 && !docker_object_named(root, slice_of(l->id)) && !has_id(root, l->id))) {
        look_end(l, NULL, NULL);
        return;
    }
    if (out.code == 0) {
        l->root = json_incref(root);
        docker_object_read(root, slice_of(l->id), &l->x, &out);
    }
    if (out.code != 0) {
        docker_fault(&f, DOCKER_LOOK, &out);
        if (out.code == ERR_TIMEOUT) {
            f.e.code = ERR_UNREACHABLE; /* as good as away, until it answers again */
            docker_link_lost(l->d);
        }
        look_end(l, &f, NULL);
        return;
    }
    if (!l->last_words || !l->x.ours || !l->x.wants_stderr || !words_ask(l))
        look_end(l, NULL, &l->x);
}

int docker_look_start(struct docker_work *w, struct slice id, bool last_words, docker_look_fn fn,
                      void *ctx, struct docker_look **ret, struct err *e)
{
    char path[DOCKER_PATH_SIZE];
    struct docker_look *l = mem_zalloc(sizeof(*l));
    if (l == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    l->w = w;
    l->d = docker_ref(w->d);
    l->fn = fn;
    l->ctx = ctx;
    l->last_words = last_words;
    INVARIANT(id.len < sizeof(l->id));
    memcpy(l->id, id.p, id.len);
    snprintf(path, sizeof(path), "/containers/%s/json", l->id);
    struct docker_ask ask = {.method = HTTP_METHOD_GET,
                             .json = true,
                             .plain = true,
                             .limit_ms = w->look_ms,
                             .path = path};
    int rc = docker_call_send(w->d, &ask, look_answered, l, &l->call, e);
    if (rc != 0) {
        look_free(l);
        return rc;
    }
    *ret = l;
    return 0;
}

/* ---- inspect */

struct inspect_op {
    struct docker_op op;
    struct docker_look *look;
    driver_object_fn fn;
    void *ctx;
    char id[WORKLOAD_ID_MAX + 1];
};

static void inspect_end(struct inspect_op *o, const struct fault *f, const struct driver_object *x)
{
    o->fn(o->ctx, f, x);
    docker_look_cancel(o->look);
    docker_unref(o->op.d);
    mem_free(o);
}

static void inspect_looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct inspect_op *o = ctx;
    struct fault foreign = {0};
    o->look = NULL;
    if (f == NULL && x != NULL && !x->ours) {
        docker_object_foreign(x, slice_of(o->id), &foreign);
        f = &foreign;
    }
    inspect_end(o, f, f == NULL && x != NULL ? &x->o : NULL);
}

static void inspect_fail(struct docker_op *op, const struct err *e)
{
    struct inspect_op *o = CONTAINER_OF(op, struct inspect_op, op);
    struct fault f = {0};
    struct err out;
    if (e->code == ERR_NOT_FOUND) { /* no container can have that name */
        inspect_end(o, NULL, NULL);
        return;
    }
    docker_work_words(&out, op->d, e);
    docker_fault(&f, DOCKER_LOOK, &out);
    if (out.code == ERR_TIMEOUT)
        f.e.code = ERR_UNREACHABLE;
    inspect_end(o, &f, NULL);
}

static int inspect_begin(struct docker_op *op, struct err *e)
{
    struct inspect_op *o = CONTAINER_OF(op, struct inspect_op, op);
    return docker_look_start(op->d->work, slice_of(o->id), true, inspect_looked, o, &o->look, e);
}

int docker_look_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct docker_work *w = docker_work_of(self);
    struct inspect_op *o = mem_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->op = (struct docker_op){.d = docker_ref(w->d), .begin = inspect_begin, .fail = inspect_fail};
    o->fn = fn;
    o->ctx = ctx;
    bool valid = docker_name_valid(id) && id.len <= WORKLOAD_ID_MAX;
    if (valid)
        memcpy(o->id, id.p, id.len);
    int rc = valid ? docker_op_start(&o->op, NULL) : docker_op_refuse(&o->op, NULL);
    if (rc != 0) {
        docker_unref(o->op.d);
        mem_free(o);
    }
    return rc;
}

/* ---- list */

struct all_op;
struct all_look {
    struct all_op *all;
    struct docker_look *look;
    size_t entry;
};
struct all_op {
    struct docker_op op;
    struct docker_work *w;
    struct docker_call *call;
    driver_list_fn fn;
    void *ctx;
    json_t *root;
    size_t next, looking;
    struct fault fault; /* of a look that tells that the engine has gone */
    struct all_look looks[LOOKS_MAX];
};

static void all_free(struct all_op *a)
{
    docker_call_cancel(a->call);
    for (size_t i = 0; i < LOOKS_MAX; i++)
        docker_look_cancel(a->looks[i].look);
    json_decref(a->root);
    docker_unref(a->op.d);
    mem_free(a);
}

static void all_end(struct all_op *a, const struct fault *f, const struct driver_object *items,
                    size_t n)
{
    a->fn(a->ctx, f, items, n);
    all_free(a);
}

static void all_fail(struct docker_op *op, const struct err *e)
{
    struct fault f = {0};
    struct err out;
    docker_work_words(&out, op->d, e);
    docker_fault(&f, DOCKER_LOOK, &out);
    if (out.code == ERR_TIMEOUT || out.code == ERR_NOT_FOUND)
        f.e.code = ERR_UNREACHABLE;
    all_end(CONTAINER_OF(op, struct all_op, op), &f, NULL, 0);
}

/* The workload that an entry of the list is about; p NULL: it is none of ours. */
static struct slice entry_id(const json_t *entry)
{
    struct slice id = docker_labels_id(json_object_get(entry, "Labels"));
    size_t i;
    json_t *name;
    if (id.p == NULL)
        return id;
    json_array_foreach(json_object_get(entry, "Names"), i, name)
    {
        const char *s = json_string_value(name);
        if (s != NULL && s[0] == '/' && slice_eqs(id, s + 1))
            return id;
    }
    return (struct slice){NULL, 0};
}

static bool entry_known(const struct docker_work *w, const json_t *entry, struct slice id)
{
    const struct docker_kept *k = map_get(&w->kept, id);
    const char *cid = json_get_str(entry, "Id"), *state = json_get_str(entry, "State");
    if (k == NULL || !k->fresh || cid == NULL || state == NULL)
        return false;
    const char *was = meta_find(k->o, "container.state");
    return k->heard && slice_eqs(k->o->object_id, cid) && was != NULL && strcmp(was, state) == 0;
}

/* What the list alone tells, for one that cannot be looked at. */
static void entry_object(const json_t *entry, struct slice id, struct driver_object *o)
{
    const json_t *labels = json_object_get(entry, "Labels");
    const char *state = json_get_str(entry, "State"), *text = json_get_str(entry, "Status");
    struct slice s = slice_of(state != NULL ? state : "");
    *o = (struct driver_object){.id = id, .exit_code = -1, .address = ""};
    o->revision = slice_of(json_get_str(labels, DOCKER_LABEL_REVISION));
    o->node_id = slice_of(json_get_str(labels, DOCKER_LABEL_NODE));
    o->print = slice_of(json_get_str(labels, DOCKER_LABEL_PRINT));
    o->object_id = slice_of(json_get_str(entry, "Id"));
    o->message = text != NULL ? text : "";
    if (slice_eqs(s, "running"))
        o->actual = ACTUAL_RUNNING;
    else if (slice_eqs(s, "restarting"))
        o->actual = ACTUAL_PENDING;
    else if (slice_eqs(s, "dead") ||
             (slice_eqs(s, "exited") && strncmp(o->message, "Exited (0)", 10) != 0))
        o->actual = ACTUAL_FAILED;
    else
        o->actual = ACTUAL_STOPPED;
}

static void kept_sweep(struct docker_work *w)
{
    for (struct map_entry *e = map_first(&w->kept), *next; e != NULL; e = next) {
        next = map_next(e);
        struct docker_kept *k = map_value(e);
        if (k->round != w->round)
            docker_kept_forget(w, map_key(e));
    }
}

static void all_deliver(struct all_op *a)
{
    struct docker_work *w = a->w;
    size_t i, n = 0;
    json_t *entry;
    struct driver_object *items = mem_calloc(json_array_size(a->root), sizeof(*items));
    if (items == NULL) {
        struct fault f = {0};
        fault_set(&f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        all_end(a, &f, NULL, 0);
        return;
    }
    w->round++;
    json_array_foreach(a->root, i, entry)
    {
        struct slice id = entry_id(entry);
        struct docker_kept *k = id.p != NULL ? map_get(&w->kept, id) : NULL;
        if (id.p == NULL || json_is_true(json_object_get(entry, "Gone")))
            continue;
        if (k == NULL) {
            entry_object(entry, id, &items[n++]);
        } else {
            k->round = w->round;
            items[n++] = *k->o;
        }
    }
    kept_sweep(w);
    all_end(a, NULL, items, n);
    mem_free(items);
}

static void all_step(struct all_op *a);

static void all_looked(void *ctx, const struct fault *f, struct docker_object *x)
{
    struct all_look *look = ctx;
    struct all_op *a = look->all;
    look->look = NULL;
    a->looking--;
    if (f != NULL &&
        (f->e.code == ERR_UNREACHABLE || f->e.code == ERR_CANCELLED || f->e.code == ERR_NO_MEMORY))
        a->fault = *f;
    else if (f == NULL && x == NULL) /* went between the list and the look */
        (void)json_object_set_new(json_array_get(a->root, look->entry), "Gone", json_true());
    all_step(a);
}

static bool all_look(struct all_op *a, size_t entry, struct slice id)
{
    struct err e = {0};
    struct all_look *look = a->looks;
    while (look->look != NULL)
        look++;
    look->all = a;
    look->entry = entry;
    if (docker_look_start(a->w, id, true, all_looked, look, &look->look, &e) != 0) {
        docker_fault(&a->fault, DOCKER_LOOK, &e);
        return false;
    }
    a->looking++;
    return true;
}

static void all_step(struct all_op *a)
{
    size_t n = json_array_size(a->root);
    while (a->fault.e.code == 0 && a->next < n && a->looking < LOOKS_MAX) {
        const json_t *entry = json_array_get(a->root, a->next);
        struct slice id = entry_id(entry);
        if (id.p != NULL && !entry_known(a->w, entry, id) && !all_look(a, a->next, id))
            break;
        a->next++;
    }
    if (a->looking > 0)
        return;
    if (a->fault.e.code != 0) {
        struct fault f = a->fault;
        all_end(a, &f, NULL, 0);
    } else {
        all_deliver(a);
    }
}

static void all_listed(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct all_op *a = ctx;
    a->call = NULL;
    struct err out = *e;
    if (out.code == 0 && !json_is_array(root))
        err_set(&out, ERR_RUNTIME, "the Docker engine's list makes no sense");
    if (out.code == ERR_TIMEOUT)
        docker_link_lost(a->op.d);
    if (out.code != 0) {
        all_fail(&a->op, &out);
        return;
    }
    a->root = json_incref(root);
    all_step(a);
}

static int all_begin(struct docker_op *op, struct err *e)
{
    struct all_op *a = CONTAINER_OF(op, struct all_op, op);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET,
        .json = true,
        .plain = true,
        .limit_ms = a->w->look_ms,
        .path = "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22" DOCKER_LABEL_MANAGED
                "%3Dtrue%22%5D%7D",
    };
    return docker_call_send(op->d, &ask, all_listed, a, &a->call, e);
}

int docker_look_list(void *self, driver_list_fn fn, void *ctx)
{
    struct docker_work *w = docker_work_of(self);
    struct all_op *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->op = (struct docker_op){.d = docker_ref(w->d), .begin = all_begin, .fail = all_fail};
    a->w = w;
    a->fn = fn;
    a->ctx = ctx;
    int rc = docker_op_start(&a->op, NULL);
    if (rc != 0)
        all_free(a);
    return rc;
}
