/* volumes_table.c: volumes and their users in memory, and as rows of the store. */
#include "driver/volumes/volumes_priv.h"

#include "base/json_in.h"
#include "base/json_out.h"

#include <stdio.h>

/* The number that a name has; -1: none. */
static int driver_of(const char *name)
{
    for (int d = DOC_VOLUME_LOCAL; name != NULL && d <= DOC_VOLUME_CEPH_RBD; d++)
        if (strcmp(volume_driver_name((enum doc_volume_driver)d), name) == 0)
            return d;
    return -1;
}

static int state_of(const char *name)
{
    for (int s = VOLUME_MAKING; name != NULL && s <= VOLUME_DELETING; s++)
        if (strcmp(volume_state_name((enum volume_state)s), name) == 0)
            return s;
    return -1;
}

static int retain_of(const char *name)
{
    for (int r = DOC_RETAIN_DELETE; name != NULL && r <= DOC_RETAIN_RETAIN; r++)
        if (strcmp(volume_retain_name((enum doc_retain)r), name) == 0)
            return r;
    return -1;
}

const struct schema_list *doc_volumes(const struct workload_doc *doc)
{
    return doc->type == WORKLOAD_CONTAINER ? &doc->container.managed_volumes
           : doc->type == WORKLOAD_VM      ? &doc->vm.managed_volumes
                                           : NULL;
}

int wish_fill(struct wish *w, const struct doc_managed_volume *doc, struct err *e)
{
    char name[DOC_VOLUME_NAME_SIZE];
    int r = doc_volume_name(slice_of(doc->name), name, e);
    if (r != 0)
        return r;
    snprintf(w->id, sizeof(w->id), "%s:%s", volume_driver_name((enum doc_volume_driver)doc->driver),
             name);
    w->doc = doc;
    return 0;
}

/* --- In memory --- */

static void now_text(const struct volumes *v, char out[TIME_TEXT_SIZE])
{
    time_format_rfc3339(out, clock_real_ns(loop_clock(v->loop)));
}

struct volume *volume_find(struct volumes *v, struct slice id)
{
    return map_get(&v->table, id);
}

static void set_device(struct volume *x)
{
    const struct volumes_options *o = &x->v->o;
    if (x->driver == DOC_VOLUME_LOCAL)
        snprintf(x->device, sizeof(x->device), "%.3900s/%s", o->local_root, x->name);
    else if (x->driver == DOC_VOLUME_NFS)
        snprintf(x->device, sizeof(x->device), "nfs://%.255s/%.3500s/%s",
                 o->nfs.server != NULL ? o->nfs.server : "",
                 o->nfs.export != NULL ? o->nfs.export + strspn(o->nfs.export, "/") : "", x->name);
    else
        snprintf(x->device, sizeof(x->device), "rbd:%.128s/%s",
                 o->ceph.pool != NULL ? o->ceph.pool : "", x->name);
}

int volume_new(struct volumes *v, const char *id, enum doc_volume_driver d, struct volume **ret,
               struct err *e)
{
    if (map_count(&v->table) >= v->o.max_volumes)
        return err_set(e, ERR_LIMIT, "there are %zu volumes already", map_count(&v->table));
    struct volume *x = mem_zalloc(sizeof(*x));
    if (x == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    x->v = v;
    snprintf(x->id, sizeof(x->id), "%s", id);
    x->name = strchr(x->id, ':') + 1;
    x->driver = d;
    x->state = VOLUME_MAKING;
    x->fresh = true;
    list_init(&x->users);
    list_init(&x->waiters);
    now_text(v, x->created);
    now_text(v, x->updated);
    set_device(x);
    if (map_put(&v->table, slice_of(x->id), x) != 0) {
        mem_free(x);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    *ret = x;
    return 0;
}

void user_free(struct user *u)
{
    list_remove(&u->link);
    if (u->volume != NULL)
        u->volume->n_users--;
    mem_free(u->workload);
    mem_free(u->mount_path);
    mem_free(u);
}

void volume_free(struct volume *x)
{
    while (!list_empty(&x->users))
        user_free(CONTAINER_OF(x->users.next, struct user, link));
    (void)map_take(&x->v->table, slice_of(x->id));
    mem_free(x);
}

void volume_touch(struct volume *x)
{
    now_text(x->v, x->updated);
}

struct user *user_find(struct volume *x, struct slice workload)
{
    LIST_FOR (n, &x->users) {
        struct user *u = CONTAINER_OF(n, struct user, link);
        if (slice_eqs(workload, u->workload))
            return u;
    }
    return NULL;
}

int user_new(struct volume *x, struct slice workload, const struct doc_managed_volume *doc,
             struct user **ret, struct err *e)
{
    struct user *u = mem_zalloc(sizeof(*u));
    if (u == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    list_init(&u->link);
    u->workload = mem_strndup(workload.p, workload.len);
    u->mount_path = mem_strdup(doc->mount_path != NULL ? doc->mount_path : "");
    if (u->workload == NULL || u->mount_path == NULL) {
        user_free(u);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    u->read_only = doc->read_only;
    u->retain = doc->retain_policy;
    now_text(x->v, u->created);
    now_text(x->v, u->updated);
    u->volume = x;
    list_push_back(&x->users, &u->link);
    x->n_users++;
    *ret = u;
    return 0;
}

bool driver_used(const struct volumes *v, enum doc_volume_driver d, const struct volume *but)
{
    for (struct map_entry *m = map_first(&v->table); m != NULL; m = map_next(m)) {
        const struct volume *x = map_value(m);
        if (x != but && x->driver == d &&
            (x->n_users > 0 || x->busy || x->state == VOLUME_DELETING))
            return true;
    }
    return false;
}

/* --- Rows --- */

struct commit {
    struct volumes *v;
    store_done_fn fn;
    void *ctx;
    size_t n;
    struct store_change changes[3];
    char ids[3][STORE_THING_ID_MAX + 1];
    struct buf bodies[3];
};

struct commit *commit_new(struct volumes *v)
{
    struct commit *c = mem_zalloc(sizeof(*c));
    for (size_t i = 0; c != NULL && i < ARRAY_LEN(c->bodies); i++)
        buf_init(&c->bodies[i], ROW_MAX);
    if (c != NULL)
        c->v = v;
    return c;
}

static void commit_free(struct commit *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->bodies); i++)
        buf_done(&c->bodies[i]);
    mem_free(c);
}

static int commit_add(struct commit *c, enum store_table t, bool put)
{
    INVARIANT(c->n < ARRAY_LEN(c->changes));
    struct store_change *x = &c->changes[c->n];
    *x = (struct store_change){.op = put ? STORE_THING_PUT : STORE_THING_REMOVE, .table = t};
    x->w.id = slice_of(c->ids[c->n]);
    x->w.doc = (struct slice){c->bodies[c->n].data, c->bodies[c->n].len};
    return c->bodies[c->n++].err;
}

/* Members as the contract names them, and what is ours. */
int commit_volume(struct commit *c, const struct volume *x, bool put)
{
    struct json_out j;
    snprintf(c->ids[c->n], sizeof(c->ids[0]), "%s", x->id);
    if (put) {
        json_begin(&j, &c->bodies[c->n]);
        json_obj(&j);
        json_kstr(&j, "id", x->id);
        json_kstr(&j, "name", x->name);
        json_kstr(&j, "driver", volume_driver_name(x->driver));
        json_kint(&j, "size_gb", x->size_gb);
        json_kstr(&j, "device", x->device);
        json_kstr(&j, "state", volume_state_name(x->state));
        json_kbool(&j, "made", x->made);
        json_key(&j, "metadata");
        json_obj(&j);
        json_kstr(&j, "driver", volume_driver_name(x->driver));
        json_kstr(&j, "fs_type", x->fs_type);
        json_kstr(&j, "access_mode", x->access_mode);
        json_end_obj(&j);
        json_kstr(&j, "created_at", x->created);
        json_kstr(&j, "updated_at", x->updated);
        json_end_obj(&j);
    }
    return commit_add(c, STORE_VOLUMES, put);
}

int commit_user(struct commit *c, const struct user *u, bool put)
{
    struct json_out j;
    snprintf(c->ids[c->n], sizeof(c->ids[0]), "%s:%s", u->volume->id, u->workload);
    if (put) {
        json_begin(&j, &c->bodies[c->n]);
        json_obj(&j);
        json_kstr(&j, "id", c->ids[c->n]);
        json_kstr(&j, "volume_id", u->volume->id);
        json_kstr(&j, "workload_id", u->workload);
        json_kstr(&j, "mount_path", u->mount_path);
        json_kbool(&j, "read_only", u->read_only);
        json_kbool(&j, "machine", u->machine);
        json_key(&j, "metadata");
        json_obj(&j);
        json_kstr(&j, "driver", volume_driver_name(u->volume->driver));
        json_kstr(&j, "retain_policy", volume_retain_name((enum doc_retain)u->retain));
        json_end_obj(&j);
        json_kstr(&j, "created_at", u->created);
        json_kstr(&j, "updated_at", u->updated);
        json_end_obj(&j);
    }
    return commit_add(c, STORE_ATTACHMENTS, put);
}

static void committed(void *ctx, const struct err *e)
{
    struct commit *c = ctx;
    struct volumes *v = c->v;
    c->fn(c->ctx, e);
    commit_free(c);
    volumes_unref(v);
}

int commit_begin(struct commit *c, store_done_fn fn, void *ctx, struct err *e)
{
    struct volumes *v = c->v;
    c->fn = fn;
    c->ctx = ctx;
    int r = v->closing ? ERR_CANCELLED : 0; /* the store may have gone */
    for (size_t i = 0; i < c->n && r == 0; i++)
        r = c->bodies[i].err;
    if (r == 0)
        r = v->store.ops->commit(v->store.self, c->changes, c->n, committed, c);
    if (r != 0) {
        commit_free(c);
        return err_set(e, r, "the volume cannot be written down: %s", err_row(r)->text);
    }
    volumes_ref(v);
    return 0;
}

/* --- Reading --- */

struct loading {
    struct volumes *v;
    struct err *e;
};

static void load_bad(void *ctx, struct slice id, const char *why)
{
    (void)id;
    (void)why;
    ((struct loading *)ctx)->v->spare = true; /* who may use what is not known: nothing goes */
}

static void take_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static int load_volume(void *ctx, struct slice id, struct slice body)
{
    struct loading *l = ctx;
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, l->e);
    struct volume *x;
    char text[VOLUME_ID_MAX + 1];
    const char *name = json_get_str(root, "name");
    int driver = driver_of(json_get_str(root, "driver"));
    int state = state_of(json_get_str(root, "state"));
    if (root == NULL && l->e->code == ERR_NO_MEMORY)
        return ERR_NO_MEMORY;
    bool made = false;
    (void)json_get_bool(root, "made", &made);
    if (root == NULL || driver < 0 || state < 0 || name == NULL || id.len > VOLUME_ID_MAX ||
        strlen(name) > VOLUME_NAME_MAX || (state == VOLUME_DELETING && !made)) {
        load_bad(ctx, id, "");
        return 0;
    }
    snprintf(text, sizeof(text), "%s:%s", volume_driver_name((enum doc_volume_driver)driver), name);
    if (!slice_eqs(id, text)) {
        load_bad(ctx, id, "");
        return 0;
    }
    int r = volume_new(l->v, text, (enum doc_volume_driver)driver, &x, l->e);
    if (r != 0)
        return r;
    const json_t *meta = json_object_get(root, "metadata");
    x->state = (enum volume_state)state;
    x->fresh = x->state == VOLUME_MAKING;
    x->stored = true;
    x->made = made;
    (void)json_get_int(root, "size_gb", &x->size_gb);
    take_text(x->device, sizeof(x->device), json_get_str(root, "device"));
    take_text(x->fs_type, sizeof(x->fs_type), json_get_str(meta, "fs_type"));
    take_text(x->access_mode, sizeof(x->access_mode), json_get_str(meta, "access_mode"));
    take_text(x->created, sizeof(x->created), json_get_str(root, "created_at"));
    take_text(x->updated, sizeof(x->updated), json_get_str(root, "updated_at"));
    return 0;
}

static int load_user(void *ctx, struct slice id, struct slice body)
{
    struct loading *l = ctx;
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, l->e);
    const char *volume = json_get_str(root, "volume_id"),
               *workload = json_get_str(root, "workload_id");
    struct volume *x = volume != NULL ? volume_find(l->v, slice_of(volume)) : NULL;
    const json_t *meta = json_object_get(root, "metadata");
    int retain = retain_of(json_get_str(meta, "retain_policy"));
    struct doc_managed_volume doc = {
        .mount_path = (char *)(uintptr_t)json_get_str(root, "mount_path"), .retain_policy = retain};
    struct user *u;
    if (root == NULL && l->e->code == ERR_NO_MEMORY)
        return ERR_NO_MEMORY;
    /* What is being deleted has no users. */
    if (x == NULL || workload == NULL || retain < 0 || x->state == VOLUME_DELETING) {
        load_bad(ctx, id, "");
        return 0;
    }
    (void)json_get_bool(root, "read_only", &doc.read_only);
    int r = user_new(x, slice_of(workload), &doc, &u, l->e);
    if (r != 0)
        return r;
    (void)json_get_bool(root, "machine", &u->machine);
    take_text(u->created, sizeof(u->created), json_get_str(root, "created_at"));
    take_text(u->updated, sizeof(u->updated), json_get_str(root, "updated_at"));
    return 0;
}

int table_load(struct volumes *v, struct err *e)
{
    struct err ignored = {0};
    struct loading l = {v, e != NULL ? e : &ignored};
    int r = v->store.ops->things(v->store.self, STORE_VOLUMES, load_volume, load_bad, &l, l.e);
    if (r == 0)
        r = v->store.ops->things(v->store.self, STORE_ATTACHMENTS, load_user, load_bad, &l, l.e);
    return r;
}
