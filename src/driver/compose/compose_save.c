/* What an act writes: the files, and the record of what is known. The record is written last: what
 * a crash leaves does not fit, and is done again. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_act.h"
#include <string.h>

static int record_text(char **to, struct slice from)
{
    char *copy = mem_strndup(from.p != NULL ? from.p : "", from.len);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    mem_free(*to);
    *to = copy;
    return 0;
}

int compose_act_record(struct compose_act *a)
{
    struct compose_record *r = &a->record;
    const struct driver_order *o = &a->order;
    if (r->created_ns == 0)
        r->created_ns = clock_real_ns(loop_clock(a->op.c->loop));
    if (record_text(&r->id, o->id) != 0 || record_text(&r->revision, o->revision) != 0 ||
        record_text(&r->print, o->print) != 0 || record_text(&r->node, o->node_id) != 0)
        return ERR_NO_MEMORY;
    return 0;
}

void compose_act_saved(void *ctx, const struct err *e, struct compose_disk *d BASE_UNUSED)
{
    struct compose_act *a = ctx;
    a->disk = NULL;
    if (e->code != 0)
        compose_act_fail(a, e);
    else
        compose_act_look_last(a);
}

int compose_act_copy(struct buf *to, const struct buf *from)
{
    return from->len > 0 ? buf_add(to, from->data, from->len) : 0;
}

void compose_act_save(struct compose_act *a, bool files, bool record, compose_disk_fn then)
{
    struct compose *c = a->op.c;
    struct err e = {0};
    struct compose_disk *d = compose_disk_new(COMPOSE_DISK_SAVE, c->root, a->order.id);
    int rc = d != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0 && files) {
        d->has_yml = true;
        d->has_env = a->env.len > 0;
        d->drop_env = !d->has_env;
        rc = buf_adds(&d->yml, a->order.doc->compose.compose_yaml);
        if (rc == 0)
            rc = compose_act_copy(&d->env, &a->env);
    }
    if (rc == 0 && record) {
        d->close_env = !files;
        d->has_record = true;
        rc = compose_record_write(&a->record, &d->record);
    }
    if (rc != 0) {
        compose_disk_free(d);
    } else {
        rc = compose_disk_start(d, c->loop, then, a);
        a->disk = rc == 0 ? d : NULL;
    }
    if (rc != 0) {
        (void)err_set(&e, rc, "the files of project \"%.*s\": %s", (int)a->order.id.len,
                      a->order.id.p, err_row(rc)->text);
        compose_act_fail(a, &e);
    }
}

int compose_act_parts(struct compose_record *r, const struct compose_look *l)
{
    struct compose_want *parts = mem_calloc(l->n_boxes + 1, sizeof(*parts));
    size_t n = 0;
    if (parts == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < l->n_boxes && n < COMPOSE_PARTS_MAX; i++) {
        size_t k = 0;
        while (k < n && strcmp(parts[k].service, l->boxes[i].service) != 0)
            k++;
        if (k == n && (parts[n++].service = mem_strdup(l->boxes[i].service)) == NULL) {
            while (n > 0)
                mem_free(parts[--n].service);
            mem_free(parts);
            return ERR_NO_MEMORY;
        }
        parts[k].count++;
    }
    for (size_t i = 0; i < r->n_parts; i++)
        mem_free(r->parts[i].service);
    mem_free(r->parts);
    r->parts = parts;
    r->n_parts = n;
    return 0;
}
