/* volumes_act.c: ensure, start and remove with volumes. An act holds one volume at a time, so no
 * two can wait for each other; what keeps a volume between its steps is the user in the store. */
#include "driver/volumes/volumes_priv.h"

#include <stdio.h>

enum act_phase {
    PREPARE, /* volumes are made ready, one after the other */
    INNER,   /* the inner driver is at it */
    UNDO,    /* what this act added is taken back */
    STALE,   /* users of an older document go */
    RELEASE  /* all users of the workload go */
};

struct vact {
    struct list_node link;
    struct volumes *v;
    struct wrap *w;
    struct driver_order o; /* its texts and document are the caller's until fn */
    driver_done_fn fn;
    void *ctx;
    bool start, remove; /* else ensure */
    enum act_phase phase;
    struct wish *wishes;
    bool *added, *created; /* by this act: the user; the volume too */
    struct driver_mount *mounts;
    size_t n, i;
    struct volume *x; /* held */
    struct user *u;
    struct job *job;
    struct waiter waiter;
    bool absent, tried_delete, cancelled;
    bool kill, forget; /* of the one that is let go */
    enum volume_state state_before;
    struct fault f;
};

static void prepare(void *ctx);
static void let_go(void *ctx);

/* --- Beginning and end --- */

static void act_free(struct vact *a)
{
    for (size_t i = 0; a->mounts != NULL && i < a->n; i++)
        mem_free((void *)(uintptr_t)a->mounts[i].source);
    list_remove(&a->link);
    mem_free(a->wishes);
    mem_free(a->added);
    mem_free(a->created);
    mem_free(a->mounts);
    mem_free(a);
}

static void act_end(struct vact *a, const struct fault *f, const struct driver_object *o)
{
    INVARIANT(a->x == NULL && a->job == NULL);
    list_remove(&a->link); /* the next act on this id may begin inside the callback */
    list_init(&a->link);
    a->fn(a->ctx, f, o);
    act_free(a);
}

static struct vact *act_new(struct wrap *w, const struct driver_order *o, driver_done_fn fn,
                            void *ctx)
{
    struct vact *a = mem_zalloc(sizeof(*a));
    const struct schema_list *l = o->doc != NULL ? doc_volumes(o->doc) : NULL;
    if (a == NULL)
        return NULL;
    list_init(&a->link);
    list_init(&a->waiter.link);
    a->waiter.ctx = a;
    a->v = w->v;
    a->w = w;
    a->o = *o;
    a->fn = fn;
    a->ctx = ctx;
    a->n = l != NULL ? l->count : 0;
    a->wishes = mem_calloc(a->n, sizeof(*a->wishes));
    a->added = mem_calloc(a->n, sizeof(bool));
    a->created = mem_calloc(a->n, sizeof(bool));
    a->mounts = mem_calloc(a->n, sizeof(*a->mounts));
    if (a->wishes == NULL || a->added == NULL || a->created == NULL || a->mounts == NULL) {
        act_free(a);
        return NULL;
    }
    list_push_back(&w->v->acts, &a->link);
    return a;
}

static void go_on(void *ctx)
{
    struct vact *a = ctx;
    list_remove(&a->waiter.link);
    if (a->phase == PREPARE)
        prepare(a);
    else
        let_go(a);
}

/* False: it is ours from here on. True: we come again when it is at rest. */
static bool wait_for(struct vact *a, struct volume *x)
{
    char text[VOLUME_ID_MAX + 64];
    if (!x->busy) {
        x->busy = true;
        a->x = x;
        return false;
    }
    if (a->o.progress != NULL) {
        snprintf(text, sizeof(text), "waiting for volume \"%s\"", x->id);
        a->o.progress(a->ctx, text);
    }
    a->waiter.go = go_on;
    list_push_back(&x->waiters, &a->waiter.link);
    return true;
}

void volume_rest(struct volume *x)
{
    struct list_node *n = list_first(&x->waiters);
    if (n == NULL || x->busy)
        return;
    struct waiter *w = CONTAINER_OF(n, struct waiter, link);
    list_remove(&w->link);
    w->go(w->ctx); /* takes it, or lets the next one have it */
}

void volume_drop(struct volume *x)
{
    struct list_node waiters;
    list_init(&waiters);
    while (!list_empty(&x->waiters)) {
        struct list_node *n = x->waiters.next;
        list_remove(n);
        list_push_back(&waiters, n);
    }
    volume_free(x);
    while (!list_empty(&waiters)) {
        struct waiter *w = CONTAINER_OF(waiters.next, struct waiter, link);
        list_remove(&w->link);
        w->go(w->ctx);
    }
}

static void put_back(struct vact *a)
{
    struct volume *x = STEAL(a->x);
    a->u = NULL;
    if (x == NULL)
        return;
    x->busy = false;
    if (!x->stored && x->n_users == 0)
        volume_drop(x);
    else
        volume_rest(x);
}

/* --- Failing --- */

static void act_fault(struct vact *a, const struct fault *f)
{
    const char *id = a->i < a->n ? a->wishes[a->i].id : "";
    a->f = *f;
    if (a->f.reason == FAULT_NONE)
        a->f.reason = FAULT_STORAGE_PROVISION_FAILED;
    if (id[0] != '\0')
        err_wrap(&a->f.e, "volume \"%s\"", id);
    if (a->x != NULL && f->e.code != ERR_CANCELLED)
        snprintf(a->x->failure, sizeof(a->x->failure), "%s", f->e.msg);
    put_back(a);
    a->phase = UNDO;
    a->i = 0;
    let_go(a);
}

static void act_err(struct vact *a, const struct err *e)
{
    struct fault f = {.e = *e, .reason = FAULT_STORAGE_PROVISION_FAILED};
    if (e->code == ERR_NO_SPACE)
        f.reason = FAULT_STORAGE_FULL;
    act_fault(a, &f);
}

static void act_no_memory(struct vact *a)
{
    act_err(a, &(struct err){.code = ERR_NO_MEMORY, .msg = "out of memory"});
}

/* --- Making ready --- */

static void inner_begin(struct vact *a);

static void prepared(struct vact *a)
{
    put_back(a);
    a->i++;
    prepare(a);
}

static void settled(void *ctx, const struct err *e)
{
    struct vact *a = ctx;
    if (e->code != 0) {
        a->x->state = VOLUME_MAKING;
        act_err(a, e);
        return;
    }
    a->x->fresh = false;
    prepared(a);
}

static void commit_ready(struct vact *a)
{
    struct err e = {0};
    struct commit *c = commit_new(a->v);
    if (c == NULL) {
        act_no_memory(a);
        return;
    }
    a->x->state = VOLUME_READY;
    (void)commit_volume(c, a->x, true);
    if (commit_begin(c, settled, a, &e) != 0)
        settled(a, &e);
}

static void made(void *ctx, struct job *j)
{
    struct vact *a = ctx;
    struct volume *x = a->x;
    a->job = NULL;
    if (j->f.e.code != 0) {
        act_fault(a, &j->f);
        return;
    }
    x->failure[0] = '\0';
    if (a->absent && j->existed) /* somebody was quicker: it is theirs */
        x->made = false;
    const struct doc_managed_volume *doc = a->wishes[a->i].doc;
    bool machine = a->o.doc->type == WORKLOAD_VM;
    char *source = mem_strdup(j->source);
    if (source == NULL) {
        act_no_memory(a);
        return;
    }
    a->mounts[a->i] =
        (struct driver_mount){.kind = !machine                           ? DRIVER_MOUNT_DIRECTORY
                                      : x->driver == DOC_VOLUME_CEPH_RBD ? DRIVER_MOUNT_NETWORK
                                                                         : DRIVER_MOUNT_FILE,
                              .source = source,
                              .target = doc->mount_path,
                              .format = machine ? "raw" : NULL,
                              .read_only = doc->read_only};
    if (x->fresh)
        commit_ready(a);
    else
        prepared(a);
}

static void make(struct vact *a)
{
    if ((a->job = job_new(a->v, a->x, JOB_MAKE)) == NULL) {
        act_no_memory(a);
        return;
    }
    a->job->machine = a->o.doc->type == WORKLOAD_VM;
    job_begin(a->job, made, a);
}

static void written(void *ctx, const struct err *e)
{
    struct vact *a = ctx;
    if (e->code == 0) {
        a->u->unwritten = false;
        a->x->stored = true;
        make(a);
        return;
    }
    if (a->added[a->i]) {
        a->added[a->i] = a->created[a->i] = false;
        user_free(STEAL(a->u));
    }
    act_err(a, e);
}

/* A container could put a link in the place of a machine's disk while qemu opens it, and two
 * systems that write to one image without knowing of each other destroy it. */
static int check_others(const struct vact *a, struct err *e)
{
    bool machine = a->o.doc->type == WORKLOAD_VM;
    LIST_FOR (n, &a->x->users) {
        const struct user *u = CONTAINER_OF(n, struct user, link);
        if (u->machine != machine && !slice_eqs(a->o.id, u->workload))
            return err_set(e, ERR_CONFLICT,
                           "volume \"%s\" is %s of \"%.128s\"; it cannot be %s as well", a->x->id,
                           u->machine ? "the disk" : "a folder", u->workload,
                           machine ? "a machine's disk" : "a container's folder");
    }
    return 0;
}

/* True: the row of the user has to be written. */
static int take_user(struct vact *a, bool *changed, struct err *e)
{
    const struct doc_managed_volume *doc = a->wishes[a->i].doc;
    bool machine = a->o.doc->type == WORKLOAD_VM;
    *changed = a->u == NULL || a->u->unwritten || a->u->read_only != doc->read_only ||
               a->u->machine != machine || a->u->retain != doc->retain_policy ||
               strcmp(a->u->mount_path, doc->mount_path != NULL ? doc->mount_path : "") != 0;
    if (!*changed)
        return 0;
    if (a->u == NULL) {
        a->added[a->i] = true;
        int r = user_new(a->x, a->o.id, doc, &a->u, e);
        a->added[a->i] = r == 0;
        if (r == 0)
            a->u->machine = machine;
        return r;
    }
    char *path = mem_strdup(doc->mount_path != NULL ? doc->mount_path : "");
    if (path == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    mem_free(a->u->mount_path);
    a->u->unwritten = true; /* until it is: the row decides what is deleted after a restart */
    a->u->mount_path = path;
    a->u->read_only = doc->read_only;
    a->u->machine = machine;
    a->u->retain = doc->retain_policy;
    return 0;
}

static void write_down(struct vact *a)
{
    const struct doc_managed_volume *doc = a->wishes[a->i].doc;
    struct volume *x = a->x;
    struct err e = {0};
    bool changed;
    if (check_others(a, &e) != 0 || take_user(a, &changed, &e) != 0) {
        act_err(a, &e);
        return;
    }
    if (!changed && !x->fresh) {
        make(a);
        return;
    }
    if (!x->stored) {
        a->created[a->i] = true;
        x->size_gb = doc->size_gb;
        snprintf(x->fs_type, sizeof(x->fs_type), "%s", doc->fs_type != NULL ? doc->fs_type : "");
        snprintf(x->access_mode, sizeof(x->access_mode), "%s",
                 doc->access_mode != NULL ? doc->access_mode : "");
    }
    volume_touch(x);
    struct commit *c = commit_new(a->v);
    if (c == NULL)
        err_set(&e, ERR_NO_MEMORY, "out of memory");
    else {
        (void)commit_volume(c, x, true);
        (void)commit_user(c, a->u, true);
        (void)commit_begin(c, written, a, &e);
    }
    if (e.code != 0)
        written(a, &e);
}

static void looked(void *ctx, struct job *j)
{
    struct vact *a = ctx;
    struct volume *x = a->x;
    a->job = NULL;
    if (j->f.e.code != 0) {
        act_fault(a, &j->f);
        return;
    }
    a->absent = !j->existed;
    /* One that an earlier process was about to make is ours if nothing is in it. */
    x->made = x->stored ? x->made && (!j->existed || j->empty) : !j->existed;
    write_down(a);
}

static void old_put_away(void *ctx, const struct fault *f)
{
    struct vact *a = ctx;
    if (f == NULL)
        return; /* its end wakes us */
    list_remove(&a->waiter.link);
    act_fault(a, f);
}

/* What is left of an earlier one of the name goes first. */
static void wait_for_deletion(struct vact *a)
{
    struct volume *x = a->x;
    if (a->tried_delete || a->v->spare) {
        struct err e = {0};
        err_set(&e, ERR_STATE, "what was there before cannot be deleted: %s", x->failure);
        act_err(a, &e);
        return;
    }
    a->tried_delete = true;
    a->x = NULL; /* it stays busy: the deletion has it */
    a->u = NULL;
    a->waiter.go = go_on;
    list_push_back(&x->waiters, &a->waiter.link);
    delete_begin(x, old_put_away, a);
}

static void prepare(void *ctx)
{
    struct vact *a = ctx;
    struct err e = {0};
    if (a->cancelled) {
        err_set(&e, ERR_CANCELLED, "cancelled");
        act_err(a, &e);
        return;
    }
    if (a->i == a->n) {
        inner_begin(a);
        return;
    }
    const struct wish *w = &a->wishes[a->i];
    struct volume *x = volume_find(a->v, slice_of(w->id));
    if (x == NULL && volume_new(a->v, w->id, (enum doc_volume_driver)w->doc->driver, &x, &e) != 0) {
        act_err(a, &e);
        return;
    }
    if (wait_for(a, x))
        return;
    a->u = user_find(x, a->o.id);
    a->absent = false;
    if (x->state == VOLUME_DELETING) {
        wait_for_deletion(a);
        return;
    }
    if (!x->fresh) {
        write_down(a);
        return;
    }
    if ((a->job = job_new(a->v, x, JOB_LOOK)) == NULL)
        act_no_memory(a);
    else
        job_begin(a->job, looked, a);
}

/* --- The inner driver --- */

static bool is_stale(const struct vact *a, const struct volume *x)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->wishes[i].id, x->id) == 0)
            return false;
    return true;
}

/* The next volume that this act has to let go of; NULL: no more. */
static struct volume *next_to_leave(struct vact *a)
{
    if (a->phase == UNDO) {
        while (a->i < a->n && !a->added[a->i])
            a->i++;
        return a->i < a->n ? volume_find(a->v, slice_of(a->wishes[a->i].id)) : NULL;
    }
    for (struct map_entry *m = map_first(&a->v->table); m != NULL; m = map_next(m)) {
        struct volume *x = map_value(m);
        if (user_find(x, a->o.id) != NULL && (a->phase == RELEASE || is_stale(a, x)))
            return x;
    }
    return NULL;
}

static void inner_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct vact *a = ctx;
    a->phase = a->remove ? RELEASE : STALE;
    if (f != NULL || a->start || next_to_leave(a) == NULL)
        act_end(a, f, o);
    else
        let_go(a); /* and it is looked at again: o is not ours to keep */
}

/* The inner driver's context is ours, and the caller's is not. */
static void on_progress(void *ctx, const char *text)
{
    const struct vact *a = ctx;
    a->o.progress(a->ctx, text);
}

static struct driver_order inner_order(const struct vact *a)
{
    struct driver_order o = a->o;
    o.progress = o.progress != NULL ? on_progress : NULL;
    return o;
}

static void inner_begin(struct vact *a)
{
    const struct driver *d = &a->w->inner;
    struct driver_order o = inner_order(a);
    o.mounts = a->mounts;
    o.n_mounts = a->n;
    a->phase = INNER;
    int r = a->start ? d->ops->start(d->self, &o, inner_done, a)
                     : d->ops->ensure(d->self, &o, inner_done, a);
    if (r != 0) {
        struct fault f;
        fault_set(&f, FAULT_RUNTIME_ERROR, r, "%s", err_row(r)->text);
        act_end(a, &f, NULL);
    }
}

/* --- Letting go --- */

static void left(struct vact *a)
{
    if (a->forget && a->x != NULL) {
        a->x->stored = false; /* its row has gone */
        put_back(a);
    } else {
        put_back(a);
    }
    let_go(a);
}

static void detached(void *ctx, struct job *j)
{
    struct vact *a = ctx;
    a->job = NULL;
    if (j->f.e.code != 0)
        snprintf(a->x->failure, sizeof(a->x->failure), "%s", j->f.e.msg);
    left(a);
}

static void old_gone(void *ctx, const struct fault *f)
{
    (void)f; /* told by the volume; tried again by itself */
    let_go(ctx);
}

static void user_gone(void *ctx, const struct err *e)
{
    struct vact *a = ctx;
    struct volume *x = a->x;
    if (e->code != 0) {
        x->state = a->state_before;
        if (a->phase == UNDO) { /* it stays a user, until the workload goes */
            put_back(a);
            a->added[a->i] = false;
            let_go(a);
            return;
        }
        struct fault f = {.e = *e, .reason = FAULT_STORAGE_PROVISION_FAILED};
        err_wrap(&f.e, "volume \"%s\"", x->id);
        bool told = a->phase == RELEASE;
        put_back(a);
        act_end(a, told ? &f : NULL, NULL);
        return;
    }
    if (a->phase == UNDO)
        a->added[a->i] = false;
    user_free(STEAL(a->u));
    if (a->kill) {
        a->x = NULL; /* it stays busy: the deletion has it */
        delete_begin(x, old_gone, a);
        return;
    }
    if (x->driver == DOC_VOLUME_LOCAL || x->n_users > 0 ||
        (a->job = job_new(a->v, x, JOB_DETACH)) == NULL) {
        left(a);
        return;
    }
    a->job->but = x;
    job_begin(a->job, detached, a);
}

static void judge(struct vact *a)
{
    const struct volume *x = a->x;
    bool last = x->n_users == 1;
    bool wanted = a->phase == UNDO
                      ? a->created[a->i]
                      : a->phase == RELEASE && a->o.for_good && a->u->retain == DOC_RETAIN_DELETE;
    a->kill = last && wanted && x->made && !a->v->spare;
    a->forget = last && !x->made;
}

/* The next user that goes. */
static void let_go(void *ctx)
{
    struct vact *a = ctx;
    struct volume *x = next_to_leave(a);
    struct err e = {0};
    if (x == NULL) {
        act_end(a, a->phase == UNDO ? &a->f : NULL, NULL);
        return;
    }
    if (wait_for(a, x))
        return;
    if ((a->u = user_find(x, a->o.id)) == NULL) { /* never: only acts of one id take its users */
        a->added[a->i] = false;
        put_back(a);
        let_go(a);
        return;
    }
    judge(a);
    a->state_before = x->state;
    struct commit *c = commit_new(a->v);
    if (c == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
    } else {
        (void)commit_user(c, a->u, false);
        if (a->kill) {
            x->state = VOLUME_DELETING;
            volume_touch(x);
            (void)commit_volume(c, x, true);
        } else if (a->forget) {
            (void)commit_volume(c, x, false);
        }
        (void)commit_begin(c, user_gone, a, &e);
    }
    if (e.code != 0)
        user_gone(a, &e);
}

/* --- What the engine calls --- */

static bool is_user(struct volumes *v, struct slice id)
{
    for (struct map_entry *m = map_first(&v->table); m != NULL; m = map_next(m))
        if (user_find(map_value(m), id) != NULL)
            return true;
    return false;
}

static int prepare_begin(struct wrap *w, const struct driver_order *o, bool start,
                         driver_done_fn fn, void *ctx)
{
    const struct schema_list *l = doc_volumes(o->doc);
    struct vact *a = act_new(w, o, fn, ctx);
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->start = start;
    for (size_t i = 0; i < a->n; i++) {
        int r = wish_fill(&a->wishes[i], &((const struct doc_managed_volume *)l->items)[i], NULL);
        if (r != 0) {
            act_free(a);
            return r;
        }
    }
    if (loop_defer(w->v->loop, prepare, a) != 0) {
        act_free(a);
        return ERR_NO_MEMORY;
    }
    return 0;
}

int act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct wrap *w = self;
    const struct schema_list *l = doc_volumes(o->doc);
    if ((l == NULL || l->count == 0) && !is_user(w->v, o->id))
        return w->inner.ops->ensure(w->inner.self, o, fn, ctx);
    return prepare_begin(w, o, false, fn, ctx);
}

/* After a restart of the machine nothing is mounted. */
int act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct wrap *w = self;
    const struct schema_list *l = o->doc != NULL ? doc_volumes(o->doc) : NULL;
    if (l == NULL || l->count == 0)
        return w->inner.ops->start(w->inner.self, o, fn, ctx);
    return prepare_begin(w, o, true, fn, ctx);
}

int act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct wrap *w = self;
    if ((!o->for_good && !o->forgotten) || !is_user(w->v, o->id))
        return w->inner.ops->remove(w->inner.self, o, fn, ctx);
    struct vact *a = act_new(w, o, fn, ctx);
    if (a == NULL)
        return ERR_NO_MEMORY;
    a->remove = true;
    a->phase = INNER;
    const struct driver_order inner = inner_order(a);
    int r = w->inner.ops->remove(w->inner.self, &inner, inner_done, a);
    if (r != 0)
        act_free(a);
    return r;
}

static void cancelled(void *ctx)
{
    struct volumes *v = ctx;
    for (struct list_node *n = v->acts.next; n != &v->acts;) {
        struct vact *a = CONTAINER_OF(n, struct vact, link);
        bool waits = a->phase == PREPARE && a->cancelled && !list_empty(&a->waiter.link);
        n = n->next;
        if (!waits)
            continue;
        list_remove(&a->waiter.link);
        prepare(a);
        n = v->acts.next; /* others may have come or gone */
    }
    volumes_unref(v);
}

void act_cancel_volumes(void *self, struct slice id)
{
    struct wrap *w = self;
    struct volumes *v = w->v;
    LIST_FOR (n, &v->acts) {
        struct vact *a = CONTAINER_OF(n, struct vact, link);
        if (a->w != w || !slice_eq(a->o.id, id) || a->phase != PREPARE)
            continue;
        a->cancelled = true;
        if (a->job != NULL)
            __atomic_store_n(&a->job->cancel, 1, __ATOMIC_RELEASE);
        volumes_ref(v);
        if (list_empty(&a->waiter.link) || loop_defer(v->loop, cancelled, v) != 0)
            volumes_unref(v);
        return;
    }
    w->inner.ops->cancel(w->inner.self, id);
}

int act_check(void *self, const struct workload_doc *doc, struct err *e)
{
    struct wrap *w = self;
    const struct schema_list *l = doc_volumes(doc);
    const struct doc_managed_volume *m = l != NULL ? l->items : NULL;
    struct volume_admin admin;
    volumes_admin(w->v, &admin);
    for (size_t i = 0; l != NULL && i < l->count; i++) {
        struct wish wish;
        struct err why = {0};
        int r = wish_fill(&wish, &m[i], e);
        if (r != 0)
            return r;
        if (!admin.ops->offered(admin.self, (enum doc_volume_driver)m[i].driver, &why))
            return err_set(e, ERR_UNSUPPORTED, "volume \"%s\": %s", wish.id, why.msg);
    }
    return w->inner.ops->check(w->inner.self, doc, e);
}
