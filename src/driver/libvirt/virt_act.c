/* ensure, start, stop, remove: what is asked of libvirt's thread, what is done to files on another
 * one, and the waiting in between, as chains of small steps. While one waits for a guest to switch
 * off, nothing else does. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <stdio.h>

enum { STOP_MAX_S = 30 * 24 * 3600 };
enum act_kind { ACT_ENSURE, ACT_START, ACT_STOP, ACT_REMOVE };

struct virt_act {
    struct virt *v; /* a reference */
    enum act_kind kind;
    struct driver_order o; /* its texts and document are the caller's until fn */
    driver_done_fn fn;
    void *ctx;
    struct loop_timer timer;
    uv_work_t work;
    void (*work_fn)(struct virt_act *a); /* on a thread */
    void (*work_over)(struct virt_act *a);
    bool waiting;   /* for the guest to switch off */
    bool asking;    /* a job of it is under way */
    bool late;      /* the guest has had its time */
    bool cancelled; /* as soon as can be */
    bool again;     /* start: described anew already */
    struct virt_making *making;
    struct virt_facts *facts; /* of the domain that was found; a reference, or NULL */
    struct buf files;         /* to be removed: NUL after each */
    bool marked;              /* one of the original agent's */
    struct fault f;           /* why what was made has to be unmade */
    char id[WORKLOAD_ID_MAX + 1];
};

static void act_closed(void *ctx)
{
    struct virt_act *a = ctx;
    struct virt *v = a->v;
    virt_making_free(a->making);
    virt_facts_unref(a->facts);
    buf_done(&a->files);
    mem_free(a);
    virt_unref(v);
}

static void act_end(struct virt_act *a, const struct fault *f, const struct virt_seen *s)
{
    struct virt_object x;
    bool seen = f == NULL && s != NULL && s->facts != NULL;
    if (seen)
        virt_object_fill(&x, a->v, s);
    /* The next act on this id may begin inside the callback. */
    (void)map_take(&a->v->acts, slice_of(a->id));
    a->fn(a->ctx, f, seen ? &x.o : NULL);
    loop_timer_close(&a->timer, act_closed);
}

static void act_fail(struct virt_act *a, enum fault_reason reason, int code, const char *text)
{
    struct fault f = {0};
    (void)fault_set(&f, reason, code, "%s", text);
    act_end(a, &f, NULL);
}

/* True: it was cancelled, and has ended now. */
static bool act_stopped(struct virt_act *a)
{
    if (!a->cancelled)
        return false;
    act_fail(a, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    return true;
}

/* ---- asking */

static void act_ask(struct virt_act *a, enum virt_order order, virt_result_fn fn)
{
    const struct virt_ask q = {.id = slice_of(a->id),
                               .order = order,
                               .revision = a->o.revision,
                               .print = a->o.print,
                               .node_id = a->o.node_id,
                               .for_good = a->o.for_good};
    struct virt_job *job;
    a->asking = true;
    if (virt_ask_send(a->v, &q, fn, a, &job) == 0)
        return;
    a->asking = false;
    act_fail(a, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
}

static void work_run(uv_work_t *w)
{
    struct virt_act *a = CONTAINER_OF(w, struct virt_act, work);
    a->work_fn(a);
}

static void work_done(uv_work_t *w, int status)
{
    struct virt_act *a = CONTAINER_OF(w, struct virt_act, work);
    if (status != 0)
        act_fail(a, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    else
        a->work_over(a);
}

static void act_work(struct virt_act *a, void (*fn)(struct virt_act *a),
                     void (*over)(struct virt_act *a))
{
    a->work_fn = fn;
    a->work_over = over;
    if (loop_work(a->v->loop, &a->work, work_run, work_done) != 0)
        act_fail(a, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "no thread for files can be had");
}

static void tell(struct virt_act *a, const char *text)
{
    if (a->o.progress != NULL)
        a->o.progress(a->ctx, text);
}

/* ---- making: files, then the definition */

static void undo(struct virt_act *a)
{
    virt_making_undo(a->making);
}

static void undone(struct virt_act *a)
{
    struct fault why = a->f;
    act_end(a, &why, NULL);
}

static void start_again(struct virt_act *a);
static void make_begin(struct virt_act *a, const char *uuid);

/* libvirt thought that KVM would do, or it was there when it was asked. It is not asked for any
 * more, here. False: it was not to choose, or did already. */
static bool without_kvm(struct virt_act *a)
{
    if (a->again || a->v->o.accelerator != VIRT_AUTO)
        return false;
    a->again = true;
    a->v->kvm_refused = true;
    tell(a, "KVM does not run it on this machine: described anew for emulation");
    return true;
}

static void make_again(struct virt_act *a)
{
    if (!act_stopped(a))
        make_begin(a, NULL);
}

static void keep_seed(struct virt_act *a)
{
    const struct virt_making *m = a->making;
    struct virt_kept *k = virt_keep(a->v, slice_of(a->id));
    if (k == NULL)
        return;
    mem_free(STEAL(k->seed_path));
    if (!m->seed_written)
        return;
    k->seed_path = mem_strdup(m->seed_path);
    memcpy(k->seed_checksum, m->seed.checksum, sizeof(k->seed_checksum));
    k->seed_bytes = m->seed.bytes;
    k->seed_ns = m->seed_ns;
}

static void defined(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    a->asking = false;
    if (f != NULL && a->kind == ACT_ENSURE) {
        a->f = *f;
        /* Whether a definition that was not answered has happened, nobody knows: then the files
         * stay, and the next try finds them. */
        if (f->e.code == ERR_UNREACHABLE || f->e.code == ERR_CANCELLED)
            act_end(a, f, NULL);
        else if (a->making->host.kvm && virt_is_kvm_trouble(f->e.msg) && without_kvm(a))
            act_work(a, undo, make_again);
        else
            act_work(a, undo, undone);
    } else if (f != NULL) {
        act_end(a, f, NULL);
    } else if (a->kind == ACT_START) {
        start_again(a);
    } else {
        keep_seed(a);
        act_end(a, NULL, &r->seen);
    }
}

static void made(struct virt_act *a)
{
    struct virt_making *m = a->making;
    struct virt_job *job;
    if (m->f.e.code != 0) {
        act_end(a, &m->f, NULL);
        return;
    }
    if (a->cancelled) {
        (void)fault_set(&a->f, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
        act_work(a, undo, undone);
        return;
    }
    a->asking = true;
    if (virt_define_send(a->v, slice_of(a->id), &m->xml, defined, a, &job) == 0)
        return;
    a->asking = false;
    (void)fault_set(&a->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    act_work(a, undo, undone);
}

static void make(struct virt_act *a)
{
    virt_making_run(a->making);
}

/* uuid: of the domain that is described anew, files and all are there; NULL: a new one. */
static void make_begin(struct virt_act *a, const char *uuid)
{
    virt_making_free(a->making);
    a->making = virt_making_new(a->v, &a->o);
    if (a->making == NULL) {
        act_fail(a, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        return;
    }
    if (uuid != NULL) {
        a->making->describe_only = true;
        (void)snprintf(a->making->uuid, sizeof(a->making->uuid), "%s", uuid);
    } else {
        tell(a, "preparing disks");
    }
    act_work(a, make, made);
}

/* ---- start */

static void started(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    a->asking = false;
    if (f == NULL) {
        struct virt_kept *k = virt_keep(a->v, slice_of(a->id));
        if (k != NULL && k->started_ns == 0)
            k->started_ns = clock_real_ns(loop_clock(a->v->loop));
        virt_slow_soon(a->v, VIRT_SETTLE_MS);
        act_end(a, NULL, &r->seen);
    } else if (r->kvm_refused && a->o.doc != NULL && r->seen.facts != NULL && without_kvm(a)) {
        make_begin(a, r->seen.facts->uuid);
    } else {
        act_end(a, f, NULL);
    }
}

static void start_again(struct virt_act *a)
{
    act_ask(a, VIRT_START, started);
}

/* ---- stop: asked to, then waited for, then forced */

static void stop_over(struct virt_act *a, const struct virt_result *r);
static void stop_force(struct virt_act *a);

static void stop_asked(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    a->asking = false;
    if (f != NULL)
        act_end(a, f, NULL);
    else if (r->off)
        stop_over(a, r);
    else if (a->late || r->deaf)
        stop_force(a);
    else if (!act_stopped(a))
        a->waiting = true;
}

static int64_t stop_seconds(const struct virt_act *a)
{
    int64_t s = a->o.stop_timeout_s;
    if (s <= 0 && a->o.doc != NULL)
        s = a->o.doc->vm.stop_timeout_s;
    s = s > 0 ? s : VIRT_STOP_DEFAULT_S;
    return s < STOP_MAX_S ? s : STOP_MAX_S;
}

static void stop_begin(struct virt_act *a)
{
    loop_timer_start(&a->timer, (uint64_t)stop_seconds(a) * 1000, 0);
    act_ask(a, VIRT_SHUTDOWN, stop_asked);
}

static void destroyed(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    a->asking = false;
    if (f != NULL)
        act_end(a, f, NULL);
    else
        stop_over(a, r);
}

static void stop_force(struct virt_act *a)
{
    a->waiting = false;
    loop_timer_stop(&a->timer);
    act_ask(a, VIRT_DESTROY, destroyed);
}

static void on_timer(void *ctx)
{
    struct virt_act *a = ctx;
    a->late = true;
    if (a->waiting)
        stop_force(a);
}

void virt_act_ended(struct virt *v, struct slice id)
{
    struct virt_act *a = map_get(&v->acts, id);
    if (a != NULL && a->waiting)
        stop_force(a); /* it finds it off, and says how it ended */
}

void virt_act_linked(struct virt *v)
{
    struct map_entry *next;
    for (struct map_entry *e = map_first(&v->acts); e != NULL; e = next) {
        struct virt_act *a = map_value(e);
        next = map_next(e);
        if (!a->waiting)
            continue;
        a->waiting = false;
        act_ask(a, VIRT_SHUTDOWN, stop_asked);
    }
}

/* ---- remove */

static void undefined(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    (void)r;
    a->asking = false;
    if (f != NULL)
        act_end(a, f, NULL);
    else if (a->kind == ACT_ENSURE)
        make_begin(a, NULL);
    else
        act_end(a, NULL, NULL);
}

/* Before the definition goes, so that a second try still knows of them. */
static void remove_files(struct virt_act *a)
{
    const struct virt_roots roots = {a->v->roots, a->v->n_roots};
    char seed[4096];
    struct err *e = &a->f.e;
    int rc = 0;
    for (size_t at = 0; at < a->files.len && rc == 0; at += strlen(a->files.data + at) + 1) {
        const char *path = a->files.data + at;
        if (virt_is_seed(slice_of(path), slice_of(a->id)) && virt_disk_allowed(&roots, path))
            rc = seed_image_remove(path, e);
        else
            rc = virt_disk_remove(&roots, path, slice_of(a->id), e);
    }
    virt_seed_path(a->v, slice_of(a->id), seed, sizeof(seed));
    if (rc == 0)
        (void)seed_image_remove(seed, e);
    a->f.reason = FAULT_RUNTIME_ERROR;
}

static void files_removed(struct virt_act *a)
{
    if (a->f.e.code != 0)
        act_end(a, &a->f, NULL);
    else if (!act_stopped(a))
        act_ask(a, VIRT_UNDEFINE, undefined);
}

static void stop_over(struct virt_act *a, const struct virt_result *r)
{
    loop_timer_stop(&a->timer);
    if (a->kind == ACT_STOP) {
        act_end(a, NULL, &r->seen);
        return;
    }
    if (act_stopped(a))
        return;
    if (a->kind == ACT_REMOVE && a->o.for_good) {
        for (const char *at = r->files; at != NULL && *at != '\0'; at += strlen(at) + 1)
            (void)buf_add(&a->files, at, strlen(at) + 1);
        if (a->files.err != 0)
            act_fail(a, FAULT_RUNTIME_ERROR, a->files.err, "out of memory");
        else
            act_work(a, remove_files, files_removed);
        return;
    }
    act_ask(a, VIRT_UNDEFINE, undefined);
}

/* ---- ensure */

static void look_for_marks(struct virt_act *a)
{
    const char *at = a->facts->files;
    for (; *at != '\0' && !a->marked; at += strlen(at) + 1)
        a->marked =
            virt_is_seed(slice_of(at), slice_of(a->id)) || virt_disk_marked(at, slice_of(a->id));
}

static void adopted(void *ctx, const struct fault *f, const struct virt_result *r)
{
    struct virt_act *a = ctx;
    a->asking = false;
    act_end(a, f, &r->seen);
}

static void marks_found(struct virt_act *a)
{
    char text[256];
    if (act_stopped(a))
        return;
    if (a->marked) {
        act_ask(a, VIRT_ADOPT, adopted);
        return;
    }
    (void)snprintf(text, sizeof(text),
                   "there is a domain \"%s\" already, which is not ours and is left alone", a->id);
    act_fail(a, FAULT_INVALID_CONFIGURATION, ERR_EXISTS, text);
}

static void ensure_looked(void *ctx, const struct fault *f, const struct virt_seen *s)
{
    struct virt_act *a = ctx;
    a->asking = false;
    if (f != NULL) {
        act_end(a, f, NULL);
    } else if (act_stopped(a)) {
        return;
    } else if (s->facts == NULL) {
        make_begin(a, NULL);
    } else if (!s->facts->ours && s->facts->id[0] == '\0') {
        a->facts = virt_facts_ref(s->facts);
        act_work(a, look_for_marks, marks_found);
    } else if (!s->facts->ours) {
        marks_found(a);
    } else if (a->o.revision.len == 0 || slice_eqs(a->o.revision, s->facts->revision)) {
        act_end(a, NULL, s);
    } else {
        stop_begin(a); /* it gives way, its disks stay */
    }
}

/* ---- the calls */

static int act_new(struct virt *v, enum act_kind kind, const struct driver_order *o,
                   driver_done_fn fn, void *ctx, struct virt_act **ret)
{
    struct virt_act *a = o->id.len <= WORKLOAD_ID_MAX ? mem_zalloc(sizeof(*a)) : NULL;
    if (a == NULL || map_get(&v->acts, o->id) != NULL) {
        mem_free(a);
        return ERR_NO_MEMORY;
    }
    memcpy(a->id, o->id.p, o->id.len);
    a->kind = kind;
    a->o = *o;
    a->fn = fn;
    a->ctx = ctx;
    buf_init(&a->files, 256u << 10);
    if (map_put(&v->acts, slice_of(a->id), a) != 0) {
        mem_free(a);
        return ERR_NO_MEMORY;
    }
    if (loop_timer_init(v->loop, &a->timer, on_timer, a) != 0) {
        (void)map_take(&v->acts, slice_of(a->id));
        mem_free(a);
        return ERR_NO_MEMORY;
    }
    a->v = virt_ref(v);
    *ret = a;
    return 0;
}

/* Nothing has begun: no callback comes. */
static int act_drop(struct virt_act *a)
{
    (void)map_take(&a->v->acts, slice_of(a->id));
    loop_timer_close(&a->timer, act_closed);
    return ERR_NO_MEMORY;
}

static int begin(void *self, enum act_kind kind, enum virt_order order, virt_result_fn step,
                 const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct virt *v = virt_of(self);
    struct virt_act *a;
    struct virt_job *job;
    int rc = act_new(v, kind, o, fn, ctx, &a);
    if (rc != 0)
        return rc;
    const struct virt_ask q = {.id = slice_of(a->id), .order = order};
    a->asking = true;
    if (order == VIRT_SHUTDOWN)
        loop_timer_start(&a->timer, (uint64_t)stop_seconds(a) * 1000, 0);
    return virt_ask_send(v, &q, step, a, &job) == 0 ? 0 : act_drop(a);
}

int virt_act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    struct virt_act *a;
    int rc = act_new(virt_of(self), ACT_ENSURE, o, fn, ctx, &a);
    if (rc != 0)
        return rc;
    a->asking = true;
    return virt_look(a->v, slice_of(a->id), ensure_looked, a) == 0 ? 0 : act_drop(a);
}

int virt_act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, ACT_START, VIRT_START, started, o, fn, ctx);
}

int virt_act_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    return begin(self, ACT_STOP, VIRT_SHUTDOWN, stop_asked, o, fn, ctx);
}

/* For good it is switched off at once (contract 5.3); when only this object of it goes, its disks
 * stay, and the guest gets the time to write to them. */
int virt_act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    if (o->for_good)
        return begin(self, ACT_REMOVE, VIRT_DESTROY, destroyed, o, fn, ctx);
    return begin(self, ACT_REMOVE, VIRT_SHUTDOWN, stop_asked, o, fn, ctx);
}

int virt_act_check(void *self, const struct workload_doc *doc, struct err *e)
{
    return virt_making_check(virt_of(self), doc, e);
}

static void cancel(struct virt_act *a)
{
    a->cancelled = true;
    if (a->making != NULL)
        __atomic_store_n(&a->making->cancel, 1, __ATOMIC_RELAXED);
    /* Not inside the call: a timer of its own tells it. */
    if (a->waiting) {
        a->waiting = false;
        a->asking = false;
    }
}

static void cancel_waiting(void *ctx)
{
    (void)act_stopped(ctx);
}

void virt_act_cancel(void *self, struct slice id)
{
    struct virt_act *a = map_get(&virt_of(self)->acts, id);
    bool waited = a != NULL && a->waiting;
    if (a == NULL || a->cancelled)
        return;
    cancel(a);
    if (!waited)
        return;
    a->timer.fn = cancel_waiting;
    loop_timer_start(&a->timer, 0, 0);
}

void virt_acts_close(struct virt *v)
{
    struct map_entry *next;
    for (struct map_entry *e = map_first(&v->acts); e != NULL; e = next) {
        struct virt_act *a = map_value(e);
        next = map_next(e);
        bool waited = a->waiting;
        cancel(a);
        if (waited)
            (void)act_stopped(a);
    }
}
