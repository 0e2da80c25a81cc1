/* /v1/workloads/{id}/snapshots: what the runtime keeps of a workload at earlier moments. */
#include "api/rest/live.h"

#include <string.h>

struct wish {
    struct api_call *c; /* held */
    int status;         /* when all went well */
    char name[130];     /* of the snapshot; "" of a list */
};

static void listed(void *ctx, const struct fault *f, const struct driver_snapshot *items, size_t n)
{
    struct wish *w = ctx;
    if (f != NULL) {
        api_reply_err(w->c, &f->e);
        mem_free(w);
        return;
    }
    struct json_out j;
    char time[TIME_TEXT_SIZE];
    json_begin(&j, rest_out(w->c->app));
    json_obj(&j);
    json_key(&j, "snapshots");
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        json_obj(&j);
        json_kstr(&j, "name", items[i].name);
        json_kstr(&j, "description", items[i].description);
        if (items[i].created_ns != 0) {
            time_format_rfc3339(time, items[i].created_ns);
            json_kstr(&j, "created_at", time);
        } else {
            json_knull(&j, "created_at");
        }
        json_kbool(&j, "current", items[i].current);
        json_kbool(&j, "memory", items[i].with_memory);
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    rest_reply_out(w->c);
    mem_free(w);
}

static void done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct wish *w = ctx;
    (void)o;
    if (f != NULL) {
        api_reply_err(w->c, &f->e);
    } else {
        struct json_out j;
        struct buf b = BUF_INIT(4096);
        json_begin(&j, &b);
        json_obj(&j);
        json_kslice(&j, "workload", w->c->path[0]);
        json_kstr(&j, "name", w->name);
        json_end_obj(&j);
        api_reply_json(w->c, w->status, &b);
        buf_done(&b);
    }
    mem_free(w);
}

/* The driver, if it has snapshots; else it is answered. */
static const struct driver *driver_of(struct api_call *c)
{
    struct err e = {0};
    const struct driver *d = live_driver(c->app, c->path[0], false, &e);
    if (d != NULL && d->ops->snapshots != NULL && d->ops->snapshot != NULL)
        return d;
    if (d != NULL)
        (void)err_set(&e, ERR_UNSUPPORTED, "the runtime keeps no snapshots: %s", d->ops->name);
    api_reply_err(c, &e);
    return NULL;
}

static struct wish *wish_new(struct api_call *c, struct slice name, int status)
{
    struct wish *w = mem_zalloc(sizeof(*w));
    if (w == NULL) {
        api_reply_error(c, 503, "out of memory");
        return NULL;
    }
    if (name.len > 0)
        memcpy(w->name, name.p, name.len);
    w->status = status;
    if (api_call_hold(c, NULL, NULL, &w->c) == 0)
        return w;
    mem_free(w);
    return NULL;
}

static void refused(struct wish *w, int rc)
{
    struct err e = {0};
    (void)err_set(&e, rc, "the runtime cannot be asked: %s", err_row(rc)->text);
    api_reply_err(w->c, &e);
    mem_free(w);
}

void rest_snapshot_list(struct api_call *c)
{
    const struct driver *d = driver_of(c);
    struct wish *w = d != NULL ? wish_new(c, SLICE_LIT(""), 200) : NULL;
    int rc = w != NULL ? d->ops->snapshots(d->self, w->c->path[0], listed, w) : 0;
    if (rc != 0)
        refused(w, rc);
}

static void change(struct api_call *c, enum driver_snapshot_verb verb, struct slice name,
                   int status)
{
    const struct driver *d = driver_of(c);
    if (d == NULL)
        return;
    if (!name_is_safe(name, sizeof(((struct wish *)0)->name) - 3)) {
        api_reply_error(c, 400,
                        "\"%.*s\" is no name of a snapshot: 1 to 127 bytes without '/' and control "
                        "characters, not beginning with '-'",
                        (int)(name.len < 200 ? name.len : 200), name.p);
        return;
    }
    struct wish *w = wish_new(c, name, status);
    int rc =
        w != NULL ? d->ops->snapshot(d->self, w->c->path[0], verb, slice_of(w->name), done, w) : 0;
    if (rc != 0)
        refused(w, rc);
}

void rest_snapshot_create(struct api_call *c)
{
    change(c, DRIVER_SNAPSHOT_CREATE, c->body_values[0].s, 201);
}

void rest_snapshot_delete(struct api_call *c)
{
    change(c, DRIVER_SNAPSHOT_DELETE, c->path[1], 200);
}

void rest_snapshot_revert(struct api_call *c)
{
    change(c, DRIVER_SNAPSHOT_REVERT, c->path[1], 200);
}
