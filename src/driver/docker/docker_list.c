/* The list of containers: what the engine lists, the tags of the images, and the exact times of
 * creation. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include <stdio.h>
#include <string.h>

enum { FORGET_SLACK = 256 };

struct fill {
    struct list_op *l;
    struct docker_call *call; /* NULL: free */
};

struct list_op {
    struct docker_op op;
    runtime_list_fn fn;
    void *ctx;
    bool all;
    struct docker_call *list_call, *images_call, *image_call;
    json_t *root; /* the engine's list; strings of items point into it */
    struct runtime_container *items;
    const char **image_ids; /* of items, the same index */
    size_t n;
    int64_t *created_s;           /* of items, whole seconds */
    struct docker_images *images; /* a reference, or NULL */
    bool images_after;            /* asked for after the list was there */
    uint64_t images_at;           /* image_changes when they were asked for */
    size_t next_check;            /* strict: items up to here have an image */
    struct fill fills[DOCKER_FILL_PARALLEL];
    size_t next_fill, fills_left, filling;
    char (*seconds)[DOCKER_CREATED_SIZE]; /* texts of items that nobody has inspected; made when
                                             needed */
};

static void list_step(struct list_op *l);
static void list_deliver(struct list_op *l);

static void list_free(struct list_op *l)
{
    docker_call_cancel(l->list_call);
    docker_call_cancel(l->images_call);
    docker_call_cancel(l->image_call);
    for (size_t i = 0; i < DOCKER_FILL_PARALLEL; i++)
        docker_call_cancel(l->fills[i].call);
    json_decref(l->root);
    docker_images_unref(l->images);
    mem_free(l->items);
    mem_free(l->image_ids);
    mem_free(l->created_s);
    mem_free(l->seconds);
    docker_unref(l->op.d);
    mem_free(l);
}

static void list_end(struct list_op *l, const struct err *e)
{
    if (e->code != 0)
        l->fn(l->ctx, e, NULL, 0);
    else
        l->fn(l->ctx, e, l->items, l->n);
    list_free(l);
}

static void list_fail(struct docker_op *op, const struct err *e)
{
    list_end(CONTAINER_OF(op, struct list_op, op), e);
}

static void list_no_memory(struct list_op *l)
{
    struct err e;
    err_set(&e, ERR_NO_MEMORY, "out of memory");
    list_end(l, &e);
}

/* --- images --- */

static void images_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct list_op *l = ctx;
    struct docker *d = l->op.d;
    l->images_call = NULL;
    if (e->code != 0) {
        list_end(l, e);
        return;
    }
    docker_images_unref(l->images);
    l->images = docker_images_read(root);
    if (l->images == NULL) {
        list_no_memory(l);
        return;
    }
    if (d->events_up && d->image_changes == l->images_at) {
        docker_images_unref(d->images);
        d->images = docker_images_ref(l->images);
    }
    list_step(l);
}

static int images_ask(struct list_op *l, struct err *e)
{
    struct docker *d = l->op.d;
    struct docker_ask ask = {.method = HTTP_METHOD_GET,
                             .json = true,
                             .limit_ms = d->o.answer_ms,
                             .path = "/images/json?all=0"};
    l->images_at = d->image_changes;
    return docker_call_send(d, &ask, images_done, l, &l->images_call, e);
}

/* True if every image of the list is in m, or known to be gone. */
static bool images_known(const struct list_op *l, const struct docker_images *m)
{
    for (size_t i = 0; i < l->n; i++)
        if (docker_images_tag(m, l->image_ids[i]) == NULL)
            return false;
    return true;
}

/* --- an image that is gone --- */

static void image_done(void *ctx, const struct err *e, int status, json_t *root)
{
    struct list_op *l = ctx;
    l->image_call = NULL;
    if (e->code != 0) {
        struct err out = *e;
        if (status == 404)
            out.code = ERR_RUNTIME;
        list_end(l, &out);
        return;
    }
    const char *tag = docker_first_tag(json_object_get(root, "RepoTags"));
    if (docker_images_add(l->images, l->image_ids[l->next_check], tag) != 0) {
        list_no_memory(l);
        return;
    }
    list_step(l);
}

/* Strict: an image that the images' list does not show is asked for by itself, as Talos does with
 * each of them. true: that call is under way, or the list has ended. */
static bool image_check(struct list_op *l)
{
    struct docker *d = l->op.d;
    while (l->next_check < l->n &&
           docker_images_tag(l->images, l->image_ids[l->next_check]) != NULL)
        l->next_check++;
    if (l->next_check == l->n)
        return false;
    char path[DOCKER_PATH_SIZE];
    const char *id = l->image_ids[l->next_check];
    const char *hex = strncmp(id, "sha256:", 7) == 0 ? id + 7 : id;
    if (!docker_name_valid(slice_of(hex)))
        return false;
    snprintf(path, sizeof(path), "/images/%s/json", hex);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = d->o.answer_ms, .path = path};
    struct err e = {0};
    if (docker_call_send(d, &ask, image_done, l, &l->image_call, &e) != 0)
        list_end(l, &e);
    return true;
}

/* --- the exact time of creation --- */

static void fill_start(struct list_op *l);

static void fill_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct fill *f = ctx;
    struct list_op *l = f->l;
    f->call = NULL;
    l->filling--;
    if (e->code == ERR_CANCELLED) {
        list_end(l, e);
        return;
    }
    const char *id = json_get_str(root, "Id"), *created = json_get_str(root, "Created");
    if (id != NULL && created != NULL)
        docker_created_note(l->op.d, id, created);
    else if (e->code == ERR_UNREACHABLE)
        l->fills_left = 0;
    fill_start(l);
    if (l->filling == 0)
        list_deliver(l);
}

static bool fill_send(struct list_op *l, struct fill *f, const char *id)
{
    char path[DOCKER_PATH_SIZE];
    snprintf(path, sizeof(path), "/containers/%s/json", id);
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET, .json = true, .limit_ms = l->op.d->o.answer_ms, .path = path};
    f->l = l;
    return docker_call_send(l->op.d, &ask, fill_done, f, &f->call, NULL) == 0;
}

/* Keeps up to DOCKER_FILL_PARALLEL inspects under way. A container that cannot be asked keeps its
 * whole seconds. */
static void fill_start(struct list_op *l)
{
    for (size_t i = 0; i < DOCKER_FILL_PARALLEL; i++) {
        if (l->fills[i].call != NULL)
            continue;
        while (l->next_fill < l->n && l->fills_left > 0) {
            const char *id = l->items[l->next_fill++].id;
            if (!docker_name_valid(slice_of(id)) ||
                map_get(&l->op.d->created, slice_of(id)) != NULL)
                continue;
            l->fills_left--;
            if (fill_send(l, &l->fills[i], id)) {
                l->filling++;
                break;
            }
        }
    }
}

/* --- the answer --- */

/* Forgets containers that are no more: all that a full list did not show; after a list of the
 * running ones only when far more are remembered than that. */
static void created_forget(struct docker *d, bool all, size_t n)
{
    if (!all && map_count(&d->created) <= 2 * n + FORGET_SLACK)
        return;
    for (struct map_entry *e = map_first(&d->created), *next; e != NULL; e = next) {
        next = map_next(e);
        struct docker_seen *s = map_value(e);
        if (s->round != d->list_round)
            mem_free(map_take(&d->created, map_key(e)));
    }
}

static bool created_set(struct list_op *l, size_t i)
{
    struct docker *d = l->op.d;
    struct docker_seen *s = map_get(&d->created, slice_of(l->items[i].id));
    if (s != NULL) {
        s->round = d->list_round;
        l->items[i].created = s->created;
        return true;
    }
    if (l->seconds == NULL)
        l->seconds = mem_calloc(l->n, sizeof(*l->seconds));
    if (l->seconds == NULL)
        return false;
    docker_created_text(l->seconds[i], l->created_s[i]);
    l->items[i].created = l->seconds[i];
    return true;
}

static void list_deliver(struct list_op *l)
{
    struct docker *d = l->op.d;
    d->list_round++;
    for (size_t i = 0; i < l->n; i++) {
        const char *tag = docker_images_tag(l->images, l->image_ids[i]);
        l->items[i].image = tag != NULL ? tag : "";
        if (!created_set(l, i)) {
            list_no_memory(l);
            return;
        }
    }
    created_forget(d, l->all, l->n);
    list_end(l, &(struct err){0});
}

/* --- the steps --- */

/* true: the images are known as well as they can be. */
static bool images_settled(struct list_op *l, struct err *e)
{
    struct docker *d = l->op.d;
    /* Asked for at the same time as the list, they may lack the image of a container made in
     * between. */
    if (l->images != NULL && (l->images_after || images_known(l, l->images)))
        return true;
    if (l->images == NULL && d->images != NULL && images_known(l, d->images)) {
        l->images = docker_images_ref(d->images);
        return true;
    }
    l->images_after = true;
    images_ask(l, e);
    return false;
}

/* Remembers what has no image (any more), so that the next list need not ask for the images because
 * of it. */
static int images_gone(struct list_op *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (docker_images_tag(l->images, l->image_ids[i]) == NULL &&
            docker_images_add(l->images, l->image_ids[i], "") != 0)
            return ERR_NO_MEMORY;
    return 0;
}

static void list_step(struct list_op *l)
{
    struct err e = {0};
    if (l->root == NULL || l->images_call != NULL)
        return;
    if (!images_settled(l, &e)) {
        if (e.code != 0)
            list_end(l, &e);
        return;
    }
    if (l->op.d->o.strict_talos) {
        if (image_check(l))
            return;
    } else if (images_gone(l) != 0) {
        list_no_memory(l);
        return;
    }
    fill_start(l);
    if (l->filling == 0)
        list_deliver(l);
}

static int list_read(struct list_op *l, struct err *e)
{
    size_t max = json_array_size(l->root), i;
    if (!json_is_array(l->root))
        return err_set(e, ERR_RUNTIME, "the engine's list is no array");
    l->items = mem_calloc(max, sizeof(*l->items));
    l->image_ids = mem_calloc(max, sizeof(*l->image_ids));
    l->created_s = mem_calloc(max, sizeof(*l->created_s));
    if (l->items == NULL || l->image_ids == NULL || l->created_s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    json_t *entry;
    json_array_foreach(l->root, i, entry)
    {
        if (!docker_entry_read(entry, &l->items[l->n]))
            continue;
        const char *image = json_get_str(entry, "ImageID");
        l->image_ids[l->n] = image != NULL ? image : "";
        (void)json_get_int(entry, "Created", &l->created_s[l->n]);
        l->n++;
    }
    return 0;
}

static void list_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct list_op *l = ctx;
    struct err out = *e;
    l->list_call = NULL;
    if (out.code == ERR_NOT_FOUND)
        out.code = ERR_RUNTIME;
    if (out.code == 0) {
        l->root = json_incref(root);
        list_read(l, &out);
    }
    if (out.code != 0)
        list_end(l, &out);
    else
        list_step(l);
}

static int list_begin(struct docker_op *op, struct err *e)
{
    struct list_op *l = CONTAINER_OF(op, struct list_op, op);
    struct docker *d = op->d;
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET,
        .json = true,
        .skim = true,
        .limit_ms = d->o.answer_ms,
        .path = l->all ? "/containers/json?limit=-1&all=1&size=0&trunc_cmd=0"
                       : "/containers/json?limit=-1&all=0&size=0&trunc_cmd=0",
    };
    int rc = docker_call_send(d, &ask, list_done, l, &l->list_call, e);
    return rc == 0 && d->images == NULL ? images_ask(l, e) : rc;
}

int docker_list(void *self, bool all, runtime_list_fn fn, void *ctx)
{
    struct docker *d = self;
    CHECK_MAGIC(d, DOCKER_MAGIC);
    struct list_op *l = mem_zalloc(sizeof(*l));
    if (l == NULL)
        return ERR_NO_MEMORY;
    l->op = (struct docker_op){.d = docker_ref(d), .begin = list_begin, .fail = list_fail};
    l->fn = fn;
    l->ctx = ctx;
    l->all = all;
    l->fills_left = d->o.max_fill;
    int rc = docker_op_start(&l->op, NULL);
    if (rc != 0)
        list_free(l);
    return rc;
}
