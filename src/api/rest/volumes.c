/* Managed volumes: what there is, who uses it, and letting go of what nobody uses. */
#include "api/rest/rest_priv.h"
#include "core/volume_admin.h"

static const struct volume_admin *admin_of(const struct api_call *c)
{
    return ((const struct rest *)c->app)->o.volumes;
}

bool rest_volumes_ready(struct api_call *c)
{
    if (admin_of(c) != NULL)
        return true;
    api_reply_error(c, 503,
                    "There are no managed volumes: workloads are switched off on this node");
    return false;
}

static void put_user(struct json_out *j, const struct volume_user *u)
{
    json_obj(j);
    json_kstr(j, "workload_id", u->workload);
    json_kstr(j, "mount_path", u->mount_path);
    json_kbool(j, "read_only", u->read_only);
    json_kstr(j, "retain_policy", volume_retain_name(u->retain));
    json_kstr(j, "created_at", u->created);
    json_end_obj(j);
}

static void put_volume(struct json_out *j, const struct volume_info *v)
{
    json_obj(j);
    json_kstr(j, "id", v->id);
    json_kstr(j, "name", v->name);
    json_kstr(j, "driver", volume_driver_name(v->driver));
    json_kstr(j, "state", volume_state_name(v->state));
    json_kstr(j, "failure", v->failure[0] != '\0' ? v->failure : NULL);
    json_kint(j, "size_gb", v->size_gb);
    json_kstr(j, "device", v->device);
    json_kstr(j, "fs_type", v->fs_type[0] != '\0' ? v->fs_type : NULL);
    json_kstr(j, "access_mode", v->access_mode[0] != '\0' ? v->access_mode : NULL);
    json_kbool(j, "made_here", v->made);
    json_kstr(j, "created_at", v->created);
    json_kstr(j, "updated_at", v->updated);
    json_key(j, "users");
    json_arr(j);
    for (size_t i = 0; i < v->n_users; i++)
        put_user(j, &v->users[i]);
    json_end_arr(j);
    json_end_obj(j);
}

static void no_memory(struct api_call *c)
{
    struct err e = {0};
    err_set(&e, ERR_NO_MEMORY, "out of memory");
    api_reply_err(c, &e);
}

/* --- GET /v1/volumes --- */

struct lister {
    struct api_call *c;
    struct json_out j;
};

static void list_one(void *ctx, const struct volume_info *v)
{
    struct lister *l = ctx;
    if (api_may_see(l->c, (struct slice){NULL, 0}, slice_of(v->id)))
        put_volume(&l->j, v);
}

void rest_volume_list(struct api_call *c)
{
    const struct volume_admin *a = admin_of(c);
    struct lister l = {.c = c};
    json_begin(&l.j, rest_out(c->app));
    json_obj(&l.j);
    json_key(&l.j, "volumes");
    json_arr(&l.j);
    int rc = a->ops->each(a->self, list_one, &l);
    json_end_arr(&l.j);
    json_end_obj(&l.j);
    if (rc == 0)
        rest_reply_out(c);
    else
        no_memory(c);
}

/* --- GET /v1/volumes/{id} --- */

static void show_one(void *ctx, const struct volume_info *v)
{
    struct json_out j;
    json_begin(&j, ctx);
    put_volume(&j, v);
}

void rest_volume_get(struct api_call *c)
{
    const struct volume_admin *a = admin_of(c);
    int rc = a->ops->get(a->self, c->path[0], show_one, rest_out(c->app));
    if (rc == 0)
        rest_reply_out(c);
    else if (rc == ERR_NO_MEMORY)
        no_memory(c);
    else
        rest_reply_named(c, 404, "Volume '", c->path[0], "' not found");
}

/* --- DELETE /v1/volumes/{id} --- */

static void is_made(void *ctx, const struct volume_info *v)
{
    *(bool *)ctx = v->made;
}

/* Whether data goes with it is asked before it is forgotten. */
struct removal {
    struct api_call *c;
    bool made;
};

static void removed(void *ctx, const struct err *e)
{
    struct removal *r = ctx;
    struct api_call *c = r->c;
    bool made = r->made;
    mem_free(r);
    if (e->code != 0) {
        api_reply_error(c, err_row(e->code)->http_status, "The volume was not deleted: %s", e->msg);
        return;
    }
    struct json_out j;
    struct buf *out = rest_out(c->app);
    json_begin(&j, out);
    json_obj(&j);
    json_kslice(&j, "id", c->path[0]);
    json_kbool(&j, "deleted", true);
    json_kbool(&j, "data_kept", !made);
    json_end_obj(&j);
    c->detail = made ? SLICE_LIT("with its data") : SLICE_LIT("its data was there before: kept");
    api_reply_json(c, 202, out);
}

void rest_volume_delete(struct api_call *c)
{
    const struct volume_admin *a = admin_of(c);
    struct err e = {0};
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    struct removal *r = mem_zalloc(sizeof(*r));
    if (r == NULL || a->ops->get(a->self, held->path[0], is_made, &r->made) == ERR_NO_MEMORY) {
        mem_free(r);
        no_memory(held);
        return;
    }
    r->c = held;
    if (a->ops->remove(a->self, held->path[0], removed, r, &e) == 0)
        return;
    mem_free(r);
    if (e.code == ERR_NOT_FOUND)
        rest_reply_named(held, 404, "Volume '", held->path[0], "' not found");
    else
        api_reply_err(held, &e);
}
