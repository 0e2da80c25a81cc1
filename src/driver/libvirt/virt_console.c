/* Serial consoles: a stream of libvirt's on its thread, a call of the driver on the loop, and two
 * buffers between them under a lock. Either side holds the other back: what the guest writes beyond
 * OUT_HIGH stays in libvirt, what it does not read stays with the caller. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

enum { OUT_HIGH = 128 << 10, IN_MAX = 64 << 10, PIECE = 16 << 10 };

struct stream;
struct console_job {
    struct virt_job job;
    struct stream *s;
    bool force;
    char id[WORKLOAD_ID_MAX + 1];
};

/* Shared by both. */
struct stream {
    unsigned refs; /* atomic: the call, the thread, each job */
    /* The loop's: the job that looks at all this is part of it, as leaving must need no memory. */
    struct console_job kick;
    bool kick_out, kick_again; /* it is on its way; and has to go once more */
    uv_mutex_t lock;
    struct buf in, out;
    bool paused;  /* the caller takes no more */
    bool kicked;  /* the job that looks at all this has yet to begin */
    bool drained; /* `in` was full, and is no more */
    bool full;
    bool end; /* the caller has gone */
    bool over;
    struct fault f; /* how it ended; code 0: the guest's end was closed */
    /* the thread's */
    struct list_node link;
    struct virt *v;
    const struct virt_lib *lib;
    virStreamPtr st; /* NULL: not open */
    int events;
};

struct driver_call {
    struct virt *v; /* a reference */
    struct list_node link;
    const struct driver_exec_user *u;
    struct driver_exec_user user; /* a copy: the caller's may be of its stack */
    void *ctx;
    struct stream *s;
    bool opened;
};

static struct stream *stream_ref(struct stream *s)
{
    (void)__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

static void stream_unref(struct stream *s)
{
    if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (s->in.data != NULL)
        mem_wipe(s->in.data, s->in.cap);
    buf_done(&s->in);
    buf_done(&s->out);
    uv_mutex_destroy(&s->lock);
    mem_free(s);
}

static struct stream *stream_new(void)
{
    struct stream *s = mem_zalloc(sizeof(*s));
    if (s == NULL || uv_mutex_init(&s->lock) != 0) {
        mem_free(s);
        return NULL;
    }
    s->refs = 1;
    buf_init(&s->in, IN_MAX);
    buf_init(&s->out, OUT_HIGH + PIECE);
    list_init(&s->link);
    return s;
}

/* ---- on the thread */

static void stream_close(struct stream *s, const struct fault *f)
{
    if (s->st == NULL)
        return;
    (void)s->lib->StreamEventRemoveCallback(s->st);
    (void)s->lib->StreamAbort(s->st);
    (void)s->lib->StreamFree(s->st);
    s->lib->ResetLastError();
    s->st = NULL;
    list_remove(&s->link);
    uv_mutex_lock(&s->lock);
    if (!s->over && f != NULL)
        s->f = *f;
    s->over = true;
    uv_mutex_unlock(&s->lock);
    virt_wake_loop(s->v);
    stream_unref(s);
}

/* What it waits for, by what there is to do. */
static void stream_arm(struct stream *s)
{
    int events = VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    uv_mutex_lock(&s->lock);
    if (!s->paused && s->out.len < OUT_HIGH)
        events |= VIR_STREAM_EVENT_READABLE;
    if (s->in.len > 0)
        events |= VIR_STREAM_EVENT_WRITABLE;
    uv_mutex_unlock(&s->lock);
    if (events != s->events)
        (void)s->lib->StreamEventUpdateCallback(s->st, events);
    s->events = events;
}

/* Why a stream could not be read or written: the connection has gone, or the stream has, as it does
 * when the machine is switched off. */
static void stream_broken(struct stream *s, struct fault *f)
{
    (void)virt_failed(&s->v->thread, f, "the console");
}

/* False: it has ended. */
static bool stream_read(struct stream *s, struct fault *f)
{
    char piece[PIECE];
    int n = s->lib->StreamRecv(s->st, piece, sizeof(piece));
    if (n == -2)
        return true; /* nothing there */
    if (n < 0)
        stream_broken(s, f);
    if (n <= 0)
        return false;
    uv_mutex_lock(&s->lock);
    int rc = buf_add(&s->out, piece, (size_t)n);
    uv_mutex_unlock(&s->lock);
    if (rc != 0) /* better an end than output with a gap */
        (void)fault_set(f, FAULT_RUNTIME_ERROR, rc, "no memory for what the console says");
    virt_wake_loop(s->v);
    return rc == 0;
}

/* What is sent is taken out first: libvirt may wait for its socket, and the loop must not wait for
 * the lock. Only the thread takes something out, so it is still there afterwards. */
static bool stream_write(struct stream *s, struct fault *f)
{
    char piece[PIECE];
    int n = 0;
    uv_mutex_lock(&s->lock);
    size_t len = s->in.len < PIECE ? s->in.len : PIECE;
    if (len > 0)
        memcpy(piece, s->in.data, len);
    uv_mutex_unlock(&s->lock);
    if (len > 0)
        n = s->lib->StreamSend(s->st, piece, len);
    mem_wipe(piece, len);
    if (n < 0 && n != -2)
        stream_broken(s, f);
    uv_mutex_lock(&s->lock);
    if (n > 0)
        buf_drop(&s->in, (size_t)n);
    s->drained = s->drained || (s->full && s->in.len < IN_MAX / 2);
    bool tell = s->drained;
    uv_mutex_unlock(&s->lock);
    if (tell)
        virt_wake_loop(s->v);
    return n >= 0 || n == -2;
}

static void on_stream(virStreamPtr st, int events, void *opaque)
{
    struct stream *s = opaque;
    struct fault f = {0};
    bool ok = true;
    (void)st;
    if ((events & VIR_STREAM_EVENT_READABLE) != 0)
        ok = stream_read(s, &f);
    if (ok && (events & VIR_STREAM_EVENT_WRITABLE) != 0)
        ok = stream_write(s, &f);
    if (ok && (events & (VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR)) == 0) {
        stream_arm(s);
        return;
    }
    /* That the connection has ended is worth telling; that the machine was switched off is not. */
    if (ok && s->lib->ConnectIsAlive(s->v->thread.conn) == 0)
        stream_broken(s, &f);
    bool tell = f.e.code == ERR_UNREACHABLE || f.e.code == ERR_NO_MEMORY;
    stream_close(s, tell ? &f : NULL);
}

static bool is_taken(const struct virt_thread *t)
{
    virErrorPtr e = t->lib->GetLastError();
    return e != NULL && e->code == VIR_ERR_OPERATION_FAILED && e->message != NULL &&
           strstr(e->message, "Active console") != NULL;
}

static void stream_open(struct console_job *c, struct virt_thread *t, virDomainPtr d)
{
    struct stream *s = c->s;
    struct fault *f = &c->job.f;
    unsigned how = c->force ? VIR_DOMAIN_CONSOLE_FORCE : VIR_DOMAIN_CONSOLE_SAFE;
    virStreamPtr st = t->lib->StreamNew(t->conn, VIR_STREAM_NONBLOCK);
    if (st == NULL) {
        (void)virt_failed(t, f, "the console of \"%s\"", c->id);
        return;
    }
    if (t->lib->DomainOpenConsole(d, NULL, st, how) != 0) {
        bool taken = is_taken(t);
        (void)virt_failed(t, f, "the console of \"%s\" cannot be opened", c->id);
        if (taken)
            (void)fault_set(f, FAULT_RUNTIME_ERROR, ERR_BUSY,
                            "somebody else has the console of \"%s\"; --force takes it away",
                            c->id);
        (void)t->lib->StreamFree(st);
        return;
    }
    s->v = t->v;
    s->lib = t->lib;
    s->st = st;
    s->events = VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (t->lib->StreamEventAddCallback(st, s->events, on_stream, s, NULL) != 0) {
        (void)virt_failed(t, f, "the console of \"%s\" cannot be heard", c->id);
        (void)t->lib->StreamAbort(st);
        (void)t->lib->StreamFree(st);
        s->st = NULL;
        return;
    }
    (void)stream_ref(s);
    list_push_back(&t->streams, &s->link);
}

static void open_run(struct virt_job *j, struct virt_thread *t)
{
    struct console_job *c = CONTAINER_OF(j, struct console_job, job);
    virDomainPtr d = virt_find(t, c->id, &j->f);
    if (d == NULL)
        return;
    struct virt_facts *facts = virt_know(t, d, &j->f);
    if (facts != NULL && !facts->ours)
        (void)fault_set(&j->f, FAULT_INVALID_CONFIGURATION, ERR_EXISTS, "domain \"%s\" is not ours",
                        c->id);
    else if (facts != NULL)
        stream_open(c, t, d);
    virt_facts_unref(facts);
    (void)t->lib->DomainFree(d);
}

/* The other side has put something into the buffers, taken something out, or gone. */
static void kick_run(struct virt_job *j, struct virt_thread *t)
{
    struct stream *s = CONTAINER_OF(j, struct console_job, job)->s;
    struct fault f = {0};
    (void)t;
    uv_mutex_lock(&s->lock);
    bool end = s->end;
    s->kicked = false;
    uv_mutex_unlock(&s->lock);
    if (s->st == NULL)
        return;
    if (end || !stream_write(s, &f))
        stream_close(s, f.e.code == ERR_UNREACHABLE ? &f : NULL);
    else
        stream_arm(s);
}

void virt_streams_drop(struct virt_thread *t)
{
    struct fault f = {0};
    (void)fault_set(&f, FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE,
                    "the connection to libvirt has ended");
    while (!list_empty(&t->streams))
        stream_close(CONTAINER_OF(list_first(&t->streams), struct stream, link), &f);
}

/* ---- on the loop */

static void console_release(struct virt_job *j)
{
    struct console_job *c = CONTAINER_OF(j, struct console_job, job);
    stream_unref(c->s);
    mem_free(c);
}

static void call_free(struct driver_call *c)
{
    struct virt *v = c->v;
    list_remove(&c->link);
    stream_unref(c->s);
    mem_free(c);
    virt_unref(v);
}

static void call_done(struct driver_call *c, const struct fault *f)
{
    uv_mutex_lock(&c->s->lock);
    c->s->end = true; /* one that opens late is closed */
    uv_mutex_unlock(&c->s->lock);
    c->u->done(c->ctx, f, 0);
    call_free(c);
}

static void kick_end(struct virt_job *j, const struct fault *f)
{
    (void)j, (void)f;
}

static struct console_job *console_job_new(struct virt *v, struct stream *s)
{
    struct console_job *j = mem_zalloc(sizeof(*j));
    if (j == NULL)
        return NULL;
    j->s = stream_ref(s);
    j->job.limit_ms = v->o.look_ms;
    j->job.release = console_release;
    return j;
}

static void kick_release(struct virt_job *j);

static void kick_send(struct virt *v, struct stream *s)
{
    s->kick_out = true;
    s->kick_again = false;
    s->kick = (struct console_job){.job = {.run = kick_run,
                                           .end = kick_end,
                                           .release = kick_release,
                                           .limit_ms = v->o.look_ms,
                                           .unlinked = true},
                                   .s = stream_ref(s)};
    virt_job_send(v, &s->kick.job);
}

static void kick_release(struct virt_job *j)
{
    struct virt *v = j->v;
    struct stream *s = CONTAINER_OF(j, struct console_job, job)->s;
    s->kick_out = false;
    if (s->kick_again && !v->closing)
        kick_send(v, s);
    stream_unref(s);
}

/* One at a time: it sees all that was done before it is run. */
static void kick(struct virt *v, struct stream *s)
{
    uv_mutex_lock(&s->lock);
    bool kicked = s->kicked;
    s->kicked = true;
    uv_mutex_unlock(&s->lock);
    if (!s->kick_out)
        kick_send(v, s);
    else if (!kicked)
        s->kick_again = true; /* that one has begun, and may have passed by what is new */
}

static void open_end(struct virt_job *j, const struct fault *f)
{
    struct console_job *o = CONTAINER_OF(j, struct console_job, job);
    struct driver_call *c = NULL;
    LIST_FOR (n, &j->v->calls)
        if (CONTAINER_OF(n, struct driver_call, link)->s == o->s)
            c = CONTAINER_OF(n, struct driver_call, link);
    if (c == NULL) { /* left meanwhile */
        kick(j->v, o->s);
        return;
    }
    c->opened = f == NULL;
    if (f != NULL)
        call_done(c, f);
    else
        kick(j->v, o->s);
}

/* What has come of one. The call may be gone afterwards. */
static void news(struct driver_call *c)
{
    struct stream *s = stream_ref(c->s);
    struct virt *v = c->v;
    struct buf out = BUF_INIT(OUT_HIGH + PIECE);
    uv_mutex_lock(&s->lock);
    bool held = s->paused, drained = s->drained;
    if (!held) {
        out = s->out;
        buf_init(&s->out, OUT_HIGH + PIECE);
    }
    bool over = s->over && !held;
    const struct fault f = s->f;
    s->drained = false;
    s->full = s->full && !drained;
    uv_mutex_unlock(&s->lock);
    if (out.len > 0) {
        c->u->output(c->ctx, DRIVER_STDOUT, (struct slice){out.data, out.len});
        kick(v, s);
    }
    buf_done(&out);
    /* Each of the callbacks may have ended the call. */
    if (!s->end && drained && c->u->drained != NULL)
        c->u->drained(c->ctx);
    if (!s->end && over)
        call_done(c, f.e.code != 0 ? &f : NULL);
    stream_unref(s);
}

void virt_consoles_news(struct virt *v)
{
    struct list_node seen;
    list_init(&seen);
    while (!list_empty(&v->calls)) {
        struct driver_call *c = CONTAINER_OF(list_first(&v->calls), struct driver_call, link);
        list_remove(&c->link);
        list_push_back(&seen, &c->link);
        if (c->opened)
            news(c);
    }
    while (!list_empty(&seen)) {
        struct list_node *n = list_first(&seen);
        list_remove(n);
        list_push_back(&v->calls, n);
    }
}

void virt_consoles_close(struct virt *v)
{
    struct fault f = {0};
    (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    while (!list_empty(&v->calls))
        call_done(CONTAINER_OF(list_first(&v->calls), struct driver_call, link), &f);
}

int virt_console(void *self, struct slice id, bool force, const struct driver_exec_user *u,
                 void *ctx, struct driver_call **ret, struct err *e)
{
    struct virt *v = virt_of(self);
    struct driver_call *c = mem_zalloc(sizeof(*c));
    struct stream *s = stream_new();
    struct console_job *j =
        c != NULL && s != NULL && id.len <= WORKLOAD_ID_MAX ? console_job_new(v, s) : NULL;
    if (j == NULL) {
        if (s != NULL)
            stream_unref(s);
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    memcpy(j->id, id.p, id.len);
    j->force = force;
    j->job.run = open_run;
    j->job.end = open_end;
    c->v = virt_ref(v);
    c->user = *u;
    c->u = &c->user;
    c->ctx = ctx;
    c->s = s;
    list_push_back(&v->calls, &c->link);
    virt_job_send(v, &j->job);
    *ret = c;
    return 0;
}

void virt_console_pause(struct driver_call *c, bool paused)
{
    uv_mutex_lock(&c->s->lock);
    c->s->paused = paused;
    uv_mutex_unlock(&c->s->lock);
    kick(c->v, c->s);
    if (!paused)
        (void)uv_async_send(&c->v->async); /* for what has waited */
}

/* A serial line has no end of input. */
int virt_console_write(struct driver_call *c, struct slice bytes, bool end)
{
    struct stream *s = c->s;
    int rc = 0;
    (void)end;
    uv_mutex_lock(&s->lock);
    if (bytes.len > IN_MAX - s->in.len)
        rc = ERR_LIMIT;
    else
        rc = buf_add(&s->in, bytes.p, bytes.len);
    s->in.err = 0; /* what did not fit now may fit later */
    s->full = s->full || rc == ERR_LIMIT;
    uv_mutex_unlock(&s->lock);
    if (rc == 0 && bytes.len > 0)
        kick(c->v, s);
    return rc;
}

int virt_console_resize(struct driver_call *c, uint16_t rows, uint16_t columns)
{
    (void)c, (void)rows, (void)columns;
    return 0; /* a serial line has no size */
}

void virt_console_cancel(struct driver_call *c)
{
    struct stream *s = c->s;
    uv_mutex_lock(&s->lock);
    s->end = true;
    uv_mutex_unlock(&s->lock);
    kick(c->v, s);
    call_free(c);
}
