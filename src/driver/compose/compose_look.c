/* How projects are: one list of the engine's containers with Compose's labels, the folders, and an
 * inspect of each container that is new or has changed. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <string.h>

/* ---- what is remembered of containers */

static struct compose_kept *kept_of(struct compose *c, const struct compose_box *b)
{
    struct compose_kept *k = map_get(&c->kept, slice_of(b->id));
    return k != NULL && k->fresh && k->state == b->state && k->exit_code == b->exit_code ? k : NULL;
}

/* Nothing is remembered when out of memory. */
static void kept_note(struct compose *c, const struct compose_box *b, const json_t *root)
{
    struct compose_seen seen;
    struct compose_kept *k = map_get(&c->kept, slice_of(b->id));
    if (!compose_seen_read(root, &seen))
        return;
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k));
        if (k == NULL || map_put(&c->kept, slice_of(b->id), k) != 0) {
            mem_free(k);
            return;
        }
    }
    *k = (struct compose_kept){.seen = seen,
                               .state = b->state,
                               .exit_code = b->exit_code,
                               .fresh = c->events.up,
                               .round = c->round};
}

/* After a list of all: what it did not show is no more. */
static void kept_forget(struct compose *c)
{
    for (struct map_entry *e = map_first(&c->kept), *next; e != NULL; e = next) {
        struct compose_kept *k = map_value(e);
        next = map_next(e);
        if (k->round == c->round)
            continue;
        mem_free(map_take(&c->samples, map_key(e)));
        mem_free(map_take(&c->kept, map_key(e)));
    }
}

/* ---- life */

static void look_free(struct compose_look *l)
{
    docker_query_cancel(l->query);
    for (size_t i = 0; i < COMPOSE_FILL_PARALLEL; i++)
        docker_query_cancel(l->fills[i].query);
    compose_disk_abandon(l->disk);
    if (l->env.data != NULL)
        mem_wipe(l->env.data, l->env.cap);
    buf_done(&l->yml);
    buf_done(&l->env);
    buf_done(&l->record_text);
    compose_record_done(&l->record);
    for (size_t i = 0; i < l->n_folders; i++)
        buf_done(&l->folders[i].record);
    mem_free(l->folders);
    mem_free(l->boxes);
    mem_free(l->list);
    json_decref(l->root);
    compose_op_over(&l->op);
    mem_free(l);
}

void compose_look_cancel(struct compose_look *l)
{
    if (l != NULL)
        look_free(l);
}

static void look_end(struct compose_look *l, const struct fault *f)
{
    compose_ref(l->op.c);
    struct compose *c = l->op.c;
    l->fn(l->ctx, f, l);
    look_free(l);
    compose_unref(c);
}

void compose_fault_err(struct fault *f, const struct err *e)
{
    enum fault_reason r = e->code == ERR_NO_SPACE ? FAULT_STORAGE_FULL
                          : e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT
                              ? FAULT_RUNTIME_UNHEALTHY
                              : FAULT_RUNTIME_ERROR;
    f->e = *e;
    f->reason = r;
}

static void look_fail(struct compose_look *l, const struct err *e)
{
    struct fault f = {0};
    compose_fault_err(&f, e);
    look_end(l, &f);
}

static void look_drop(struct compose_op *op)
{
    look_fail(CONTAINER_OF(op, struct compose_look, op), &op->c->over);
}

int compose_foreign(const struct compose_look *l, struct fault *f)
{
    return fault_set(f, FAULT_RUNTIME_ERROR, ERR_EXISTS,
                     "the Compose project name \"%s\" is already in use (container \"%s\" is not "
                     "of this agent's folders)",
                     l->name, l->foreign_name);
}

/* ---- an object */

static void make_object(struct compose_look *l)
{
    struct driver_object *o = &l->object;
    const struct compose_sum *s = &l->sum;
    (void)snprintf(l->count, sizeof(l->count), "%zu", s->n);
    l->meta[0] = (struct driver_meta){"compose.project", l->name};
    l->meta[1] = (struct driver_meta){"compose.containers", l->count};
    *o = (struct driver_object){
        .id = slice_of(l->id),
        .object_id = slice_of(l->name),
        .actual = s->actual,
        .message = s->message,
        .cause = s->cause,
        .health = s->health,
        .created_ns = s->created_ns,
        .started_ns = s->started_ns,
        .finished_ns = s->finished_ns,
        .exit_code = s->exit_code,
        .restarts = s->restarts,
        .address = s->address,
        .meta = l->meta,
        .n_meta = ARRAY_LEN(l->meta),
        .incomplete = s->incomplete,
    };
    if (l->has_record) {
        o->revision = slice_of(l->record.revision);
        o->print = slice_of(l->record.print);
        o->node_id = slice_of(l->record.node);
        if (l->record.created_ns != 0)
            o->created_ns = l->record.created_ns;
    } else {
        /* The original agent's, or what is left of one: it never fits, so that `ensure` compares
         * its files with the document and writes down whose it is. */
        o->print = SLICE_LIT("unknown");
        if (l->made_ns > 0)
            o->created_ns = l->made_ns;
    }
}

void compose_look_object(struct compose_look *l, const struct compose_box *const *boxes, size_t n)
{
    compose_sum_up(boxes, n, l->has_record ? &l->record : NULL, &l->sum);
    make_object(l);
}

void compose_look_judge(struct compose_look *l)
{
    for (size_t i = 0; i < l->n_boxes; i++) {
        struct compose_kept *k = map_get(&l->op.c->kept, slice_of(l->boxes[i].id));
        l->boxes[i].seen = k != NULL ? &k->seen : NULL;
        l->list[i] = &l->boxes[i];
    }
    l->exists = l->has_record || l->has_yml || l->n_boxes > 0;
    compose_look_object(l, l->list, l->n_boxes);
}

/* ---- inspects */

static void fill_start(struct compose_look *l);
static void settle(struct compose_look *l);

static void filled(void *ctx, const struct err *e, json_t *root)
{
    struct compose_fill *f = ctx;
    struct compose_look *l = f->l;
    f->query = NULL;
    l->filling--;
    if (e->code == ERR_UNREACHABLE || e->code == ERR_CANCELLED) {
        look_fail(l, e);
        return;
    }
    if (e->code == 0) /* else it has just gone; the next event tells */
        kept_note(l->op.c, f->box, root);
    fill_start(l);
    if (l->filling == 0)
        settle(l);
}

static void fill_start(struct compose_look *l)
{
    struct compose *c = l->op.c;
    for (size_t i = 0; i < COMPOSE_FILL_PARALLEL; i++) {
        struct compose_fill *f = &l->fills[i];
        while (f->query == NULL && l->next_fill < l->n_boxes) {
            char path[128];
            const struct compose_box *b = &l->boxes[l->next_fill++];
            struct compose_kept *k = kept_of(c, b);
            struct slice id;
            if (k != NULL)
                k->round = c->round;
            if (k != NULL || !compose_ours(c, b, &id))
                continue;
            *f = (struct compose_fill){.l = l, .box = b};
            (void)snprintf(path, sizeof(path), "/containers/%.64s/json", b->id);
            if (docker_query(c->d, HTTP_METHOD_GET, path, c->look_ms, filled, f, &f->query, NULL) ==
                0)
                l->filling++;
        }
    }
}

/* ---- the two halves */

static void settle(struct compose_look *l)
{
    struct fault f = {0};
    if (l->query != NULL || l->disk != NULL || l->filling > 0)
        return;
    if (l->id[0] == '\0') {
        kept_forget(l->op.c);
    } else {
        l->list = mem_calloc(l->n_boxes + 1, sizeof(struct compose_box *));
        if (l->list == NULL) {
            (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
            look_end(l, &f);
            return;
        }
        compose_look_judge(l);
    }
    look_end(l, NULL);
}

/* Of a look at one: its own containers stay, others are remembered as such. */
static void keep_box(struct compose_look *l, const struct compose_box *b)
{
    struct slice id;
    bool ours = compose_ours(l->op.c, b, &id);
    if (l->id[0] == '\0') {
        if (ours)
            l->boxes[l->n_boxes++] = *b;
    } else if (ours && slice_eqs(id, l->id)) {
        l->boxes[l->n_boxes++] = *b;
    } else if (strcmp(b->project, l->name) == 0) {
        l->foreign = true;
        (void)snprintf(l->foreign_name, sizeof(l->foreign_name), "%s", b->name);
    }
}

static void listed(void *ctx, const struct err *e, json_t *root)
{
    struct compose_look *l = ctx;
    struct err out = *e;
    struct compose_box b;
    size_t i;
    json_t *entry;
    l->query = NULL;
    if (out.code == 0 && !json_is_array(root))
        (void)err_set(&out, ERR_RUNTIME, "the engine's list is no array");
    if (out.code == 0) {
        l->root = json_incref(root);
        l->boxes = mem_calloc(json_array_size(root) + 1, sizeof(*l->boxes));
        if (l->boxes == NULL)
            (void)err_set(&out, ERR_NO_MEMORY, "out of memory");
    }
    if (out.code != 0) {
        look_fail(l, &out);
        return;
    }
    if (l->id[0] == '\0')
        l->op.c->round++;
    json_array_foreach(root, i, entry)
    {
        if (compose_box_read(entry, &b))
            keep_box(l, &b);
    }
    fill_start(l);
    settle(l);
}

static void take_files(struct compose_look *l, struct compose_disk *d)
{
    l->yml = d->yml;
    l->env = d->env;
    l->record_text = d->record;
    d->yml = d->env = d->record = (struct buf){0};
    l->has_folder = d->has_folder;
    l->has_yml = d->has_yml;
    l->has_env = d->has_env;
    l->made_ns = d->made_ns;
    struct slice text = {l->record_text.data, l->record_text.len};
    /* A damaged one is as good as none: it is written anew, and nothing is restarted for it. */
    l->has_record = d->has_record && compose_record_read(&l->record, text) == 0 &&
                    strcmp(l->record.id, l->id) == 0;
    l->folders = d->folders;
    l->n_folders = d->n_folders;
    d->folders = NULL;
    d->n_folders = 0;
}

static void read_disk(void *ctx, const struct err *e, struct compose_disk *d)
{
    struct compose_look *l = ctx;
    l->disk = NULL;
    if (e->code != 0) {
        look_fail(l, e);
        return;
    }
    take_files(l, d);
    settle(l);
}

static int ask(struct compose_look *l, struct err *e)
{
    struct compose *c = l->op.c;
    char filters[400], path[512];
    struct buf b = BUF_FIXED(path), f = BUF_FIXED(filters);
    (void)buf_addlit(&f,
                     "{\"label\":[\"" COMPOSE_LABEL "oneoff=False\",\"" COMPOSE_LABEL "project");
    if (l->id[0] != '\0')
        (void)buf_addf(&f, "=%s", l->name);
    (void)buf_addlit(&f, "\"]}");
    (void)buf_addlit(&b, "/containers/json?all=1&filters=");
    (void)pct_encode(&b, (struct slice){f.data, f.len});
    return docker_query(c->d, HTTP_METHOD_GET, path, c->look_ms, listed, l, &l->query, e);
}

int compose_look_start(struct compose *c, struct slice id, bool files,
                       void (*fn)(void *ctx, const struct fault *f, struct compose_look *l),
                       void *ctx, struct compose_look **ret, struct err *e)
{
    struct compose_look *l = mem_zalloc(sizeof(*l));
    if (l == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    l->fn = fn;
    l->ctx = ctx;
    l->made_ns = -1;
    if (id.len > 0) {
        INVARIANT(id.len <= WORKLOAD_ID_MAX);
        memcpy(l->id, id.p, id.len);
        compose_project_name(id, l->name);
    }
    compose_op_begin(&l->op, c, look_drop);
    int rc = ask(l, e);
    if (rc == 0 && files) {
        l->disk = compose_disk_new(id.len > 0 ? COMPOSE_DISK_LOAD : COMPOSE_DISK_SCAN, c->root, id);
        if (l->disk != NULL && id.len == 0) {
            l->disk->tidy = !c->tidied;
            c->tidied = true;
        }
        rc = l->disk != NULL ? compose_disk_start(l->disk, c->loop, read_disk, l) : ERR_NO_MEMORY;
        if (rc != 0) {
            l->disk = NULL;
            (void)err_set(e, rc, "out of memory");
        }
    }
    if (rc != 0)
        look_free(l);
    else
        *ret = l;
    return rc;
}
