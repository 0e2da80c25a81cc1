/* volumes.c: life, and what front ends see. */
#include "driver/volumes/volumes_priv.h"

#include <stdlib.h>
#include <unistd.h>

enum { TOOL_MS = 30000, RETRY_MS = 60000, MAX_VOLUMES = 10000 };

/* --- Life --- */

void volumes_ref(struct volumes *v)
{
    v->refs++;
}

static void destroy(struct volumes *v)
{
    const char *const texts[] = {v->o.local_root,     v->o.nfs.server,     v->o.nfs.export,
                                 v->o.nfs.options,    v->o.nfs.stage_root, v->o.ceph.pool,
                                 v->o.ceph.cluster,   v->o.ceph.user,      v->o.ceph.keyring,
                                 v->o.ceph.stage_root};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        mem_free((void *)(uintptr_t)texts[i]);
    while (map_first(&v->table) != NULL)
        volume_free(map_value(map_first(&v->table)));
    map_done(&v->table, NULL);
    v->magic = 0;
    mem_free(v);
}

void volumes_unref(struct volumes *v)
{
    INVARIANT(v->refs > 0);
    if (--v->refs == 0 && v->closing)
        destroy(v);
}

static int copy_text(const char **text)
{
    if (*text != NULL && (*text)[0] == '\0')
        *text = NULL;
    if (*text == NULL)
        return 0;
    *text = mem_strdup(*text);
    return *text != NULL ? 0 : ERR_NO_MEMORY;
}

static int copy_options(struct volumes *v, const struct volumes_options *o)
{
    v->o = *o;
    const char **texts[] = {&v->o.local_root,     &v->o.nfs.server,     &v->o.nfs.export,
                            &v->o.nfs.options,    &v->o.nfs.stage_root, &v->o.ceph.pool,
                            &v->o.ceph.cluster,   &v->o.ceph.user,      &v->o.ceph.keyring,
                            &v->o.ceph.stage_root};
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (r == 0)
            r = copy_text(texts[i]);
        else
            *texts[i] = NULL;
    if (v->o.nfs.server == NULL || v->o.nfs.export == NULL) {
        mem_free((void *)(uintptr_t)v->o.nfs.server);
        v->o.nfs.server = NULL;
    }
    v->o.tool_ms = o->tool_ms != 0 ? o->tool_ms : TOOL_MS;
    v->o.retry_ms = o->retry_ms != 0 ? o->retry_ms : RETRY_MS;
    v->o.max_volumes = o->max_volumes != 0 ? o->max_volumes : MAX_VOLUMES;
    return r;
}

static void nothing(void *ctx, struct job *j)
{
    (void)ctx;
    (void)j;
}

/* A mount that nobody uses is one that a killed process had no time to end. */
static void tidy(struct volumes *v)
{
    struct volume x = {.v = v, .driver = DOC_VOLUME_NFS, .name = ""};
    if (v->o.nfs.server == NULL || driver_used(v, DOC_VOLUME_NFS, NULL))
        return;
    struct job *j = job_new(v, &x, JOB_DETACH);
    if (j == NULL)
        return;
    job_begin(j, nothing, NULL);
}

int volumes_new(struct volumes **ret, const struct volumes_options *o, struct err *e)
{
    struct volumes *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    v->magic = VOLUMES_MAGIC;
    v->loop = o->loop;
    v->store = o->store;
    map_init(&v->table);
    list_init(&v->acts);
    for (size_t i = 0; i < LANES; i++)
        list_init(&v->lanes[i].jobs);
    int r = copy_options(v, o);
    if (r != 0)
        err_set(e, r, "out of memory");
    if (r == 0)
        r = table_load(v, e);
    if (r == 0 && (r = loop_timer_init(v->loop, &v->timer, delete_retry, v)) != 0)
        err_set(e, r, "out of memory");
    if (r != 0) {
        destroy(v);
        return r;
    }
    v->has_timer = true;
    v->refs++;
    delete_retry(v);
    tidy(v);
    *ret = v;
    return 0;
}

static void timer_closed(void *ctx)
{
    volumes_unref(ctx);
}

void volumes_free(struct volumes *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, VOLUMES_MAGIC);
    INVARIANT(list_empty(&v->acts));
    v->closing = true;
    v->has_timer = false;
    for (size_t i = 0; i < LANES; i++) {
        if (v->lanes[i].running != NULL)
            __atomic_store_n(&v->lanes[i].running->cancel, 1, __ATOMIC_RELEASE);
        LIST_FOR (n, &v->lanes[i].jobs)
            CONTAINER_OF(n, struct job, link)->cancel = 1;
    }
    loop_timer_close(&v->timer, timer_closed);
}

void volumes_driver(struct volumes *v, const struct driver *inner, struct driver *ret)
{
    struct wrap *w = &v->wraps[inner->ops->type];
    INVARIANT(!w->used);
    *w = (struct wrap){.v = v, .inner = *inner, .used = true};
    pass_fill(&w->ops, inner->ops);
    *ret = (struct driver){.ops = &w->ops, .self = w};
}

/* --- For front ends --- */

static bool offered(void *self, enum doc_volume_driver d, struct err *why)
{
    const struct volumes *v = self;
    if (d == DOC_VOLUME_LOCAL)
        return true;
    bool set_up = d == DOC_VOLUME_NFS ? v->o.nfs.server != NULL : v->o.ceph.pool != NULL;
    const char *tool = d == DOC_VOLUME_NFS ? "mount.nfs" : "rbd";
    const char *key =
        d == DOC_VOLUME_NFS ? "volumes.nfs.server and volumes.nfs.export" : "volumes.ceph.pool";
    if (!set_up)
        err_set(why, ERR_UNSUPPORTED, "driver \"%s\" is not available: set %s",
                volume_driver_name(d), key);
    else if (geteuid() != 0)
        err_set(why, ERR_UNSUPPORTED,
                "driver \"%s\" is not available: only root may mount, and gantryd is not root",
                volume_driver_name(d));
    else if (!tool_at_hand(tool))
        err_set(why, ERR_UNSUPPORTED,
                "driver \"%s\" is not available: the program \"%s\" is not installed",
                volume_driver_name(d), tool);
    else
        return true;
    return false;
}

static int tell(const struct volume *x, volume_fn fn, void *ctx)
{
    struct volume_user *users = mem_calloc(x->n_users, sizeof(*users));
    size_t n = 0;
    if (users == NULL)
        return ERR_NO_MEMORY;
    LIST_FOR (l, &x->users) {
        const struct user *u = CONTAINER_OF(l, struct user, link);
        users[n++] = (struct volume_user){.workload = u->workload,
                                          .mount_path = u->mount_path,
                                          .created = u->created,
                                          .read_only = u->read_only,
                                          .retain = (enum doc_retain)u->retain};
    }
    const struct volume_info i = {
        .id = x->id,
        .name = x->name,
        .driver = x->driver,
        .state = x->state,
        .size_gb = x->size_gb,
        .device = x->device,
        .fs_type = x->fs_type,
        .access_mode = x->access_mode,
        .created = x->created,
        .updated = x->updated,
        .failure = x->failure,
        .made = x->made,
        .users = users,
        .n_users = n,
    };
    fn(ctx, &i);
    mem_free(users);
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(struct volume *const *)a)->id, (*(struct volume *const *)b)->id);
}

static int each(void *self, volume_fn fn, void *ctx)
{
    struct volumes *v = self;
    size_t n = 0;
    int r = 0;
    struct volume **all = mem_calloc(map_count(&v->table), sizeof(struct volume *));
    if (all == NULL)
        return ERR_NO_MEMORY;
    for (struct map_entry *m = map_first(&v->table); m != NULL; m = map_next(m))
        all[n++] = map_value(m);
    qsort(all, n, sizeof(struct volume *), by_id);
    for (size_t i = 0; i < n && r == 0; i++)
        if (all[i]->stored)
            r = tell(all[i], fn, ctx);
    mem_free(all);
    return r;
}

static int get(void *self, struct slice id, volume_fn fn, void *ctx)
{
    const struct volume *x = volume_find(self, id);
    return x != NULL && x->stored ? tell(x, fn, ctx) : ERR_NOT_FOUND;
}

struct removal {
    struct volume *x;
    volume_done_fn fn;
    void *ctx;
    enum volume_state before;
};

static void removed(void *ctx, const struct err *e)
{
    struct removal *r = ctx;
    struct volume *x = r->x;
    r->fn(r->ctx, e);
    if (e->code != 0) {
        x->state = r->before;
        x->busy = false;
        volume_rest(x);
    } else if (x->made) {
        delete_begin(x, NULL, NULL);
    } else {
        x->stored = false;
        volume_drop(x);
    }
    mem_free(r);
}

static int may_remove(const struct volumes *v, const struct volume *x, struct slice id,
                      struct err *e)
{
    if (x == NULL || !x->stored)
        return err_set(e, ERR_NOT_FOUND, "there is no volume \"%.*s\"",
                       (int)(id.len < 200 ? id.len : 200), id.p);
    if (x->n_users > 0)
        return err_set(e, ERR_CONFLICT, "volume \"%s\" is used by workload \"%s\"%s", x->id,
                       CONTAINER_OF(x->users.next, struct user, link)->workload,
                       x->n_users > 1 ? " and others" : "");
    if (x->busy)
        return err_set(e, ERR_BUSY, "volume \"%s\" is being changed", x->id);
    if (v->spare)
        return err_set(e, ERR_STATE, "rows of the store cannot be read: nothing is deleted");
    return 0;
}

static int remove_one(void *self, struct slice id, volume_done_fn fn, void *ctx, struct err *e)
{
    struct volumes *v = self;
    struct volume *x = volume_find(v, id);
    int r = may_remove(v, x, id, e);
    if (r != 0)
        return r;
    struct removal *m = mem_zalloc(sizeof(*m));
    struct commit *c = m != NULL ? commit_new(v) : NULL;
    if (c == NULL) {
        mem_free(m);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    *m = (struct removal){.x = x, .fn = fn, .ctx = ctx, .before = x->state};
    x->busy = true;
    x->state = x->made ? VOLUME_DELETING : x->state;
    (void)commit_volume(c, x, x->made);
    if ((r = commit_begin(c, removed, m, e)) != 0) {
        x->state = m->before;
        x->busy = false;
        mem_free(m);
    }
    return r;
}

static const struct volume_admin_ops admin_ops = {
    .each = each, .get = get, .remove = remove_one, .offered = offered};

void volumes_admin(struct volumes *v, struct volume_admin *ret)
{
    *ret = (struct volume_admin){.ops = &admin_ops, .self = v};
}
