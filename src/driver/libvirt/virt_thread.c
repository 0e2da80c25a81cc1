/* The libvirt thread: it has the connection, hears events, and carries out one job at a time.
 *
 * Jobs are run from libvirt's own event loop, one each time round, so that events of other domains
 * come through between them. A call that waits for libvirtd answers its keep-alive itself; one that
 * waits for too long is ended from the loop, which cuts the socket (virt_link.c).
 */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { KEEPALIVE_COUNT = 3, POLL_FAILED_MS = 100 };

/* ---- telling the loop */

/* With the lock held. */
static void wake_loop(struct virt *v)
{
    if (!v->shared.left)
        (void)uv_async_send(&v->async);
}

void virt_wake_loop(struct virt *v)
{
    uv_mutex_lock(&v->shared.lock);
    wake_loop(v);
    uv_mutex_unlock(&v->shared.lock);
}

static void note(struct virt *v, const char *name, int event, int detail)
{
    struct virt_shared *s = &v->shared;
    struct virt_note *n = mem_zalloc(sizeof(*n));
    if (n != NULL) {
        n->event = event;
        n->detail = detail;
        (void)snprintf(n->name, sizeof(n->name), "%s", name);
    }
    uv_mutex_lock(&s->lock);
    if (n != NULL && s->n_notes < VIRT_NOTES_MAX) {
        list_push_back(&s->notes, &STEAL(n)->link);
        s->n_notes++;
    } else {
        s->missed = true;
    }
    wake_loop(v);
    uv_mutex_unlock(&s->lock);
    mem_free(n);
}

/* Needs no memory: without it the loop would wait for a connection that is no more. */
static void note_lost(struct virt_thread *t)
{
    uv_mutex_lock(&t->v->shared.lock);
    t->v->shared.lost = t->serial;
    wake_loop(t->v);
    uv_mutex_unlock(&t->v->shared.lock);
}

/* ---- errors */

int virt_failed(struct virt_thread *t, struct fault *f, const char *fmt, ...)
{
    virErrorPtr last = t->lib->GetLastError();
    const char *said = last != NULL && last->message != NULL ? last->message : "no reason given";
    int number = last != NULL ? last->code : VIR_ERR_OK;
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    enum fault_reason reason;
    int code = virt_fault_of(number, said, &reason);
    char clean[400];
    struct buf b = BUF_FIXED(clean);
    (void)str_add_printable(&b, slice_of(said));
    (void)fault_set(f, reason, code, "%s: %s", what, clean);
    t->lib->ResetLastError();
    if (t->conn != NULL && t->lib->ConnectIsAlive(t->conn) == 0) {
        t->lost = true;
        (void)fault_set(f, FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE,
                        "libvirt has gone while it was asked: %s: %s", what, clean);
    }
    return f->e.code;
}

/* ---- domains */

virDomainPtr virt_find(struct virt_thread *t, const char *name, struct fault *f)
{
    virDomainPtr d = t->lib->DomainLookupByName(t->conn, name);
    if (d == NULL)
        (void)virt_failed(t, f, "domain \"%s\"", name);
    return d;
}

void virt_forget(struct virt_thread *t, const char *name)
{
    virt_facts_unref(map_take(&t->known, slice_of(name)));
}

void virt_forget_all(struct virt_thread *t)
{
    map_done(&t->known, virt_facts_unref);
    map_init(&t->known);
}

static struct virt_facts *ask_facts(struct virt_thread *t, virDomainPtr d, const char *name,
                                    struct fault *f)
{
    struct virt_facts *facts = NULL;
    char *xml = t->lib->DomainGetXMLDesc(d, 0);
    if (xml == NULL) {
        (void)virt_failed(t, f, "the description of domain \"%s\"", name);
        return NULL;
    }
    int rc = virt_facts_read(&facts, slice_of(xml), &f->e);
    free(xml); /* libvirt's own */
    if (rc == 0)
        return facts;
    f->reason = FAULT_RUNTIME_ERROR;
    (void)err_wrap(&f->e, "the description of domain \"%s\"", name);
    return NULL;
}

struct virt_facts *virt_know(struct virt_thread *t, virDomainPtr d, struct fault *f)
{
    const char *name = t->lib->DomainGetName(d);
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    struct virt_facts *facts = map_get(&t->known, slice_of(name));
    (void)t->lib->DomainGetUUIDString(d, uuid);
    if (facts != NULL && strcmp(facts->uuid, uuid) == 0)
        return virt_facts_ref(facts);
    virt_forget(t, name);
    facts = ask_facts(t, d, name, f);
    if (facts != NULL && map_put(&t->known, slice_of(name), facts) == 0)
        (void)virt_facts_ref(facts);
    return facts;
}

/* ---- events */

static int on_lifecycle(virConnectPtr conn, virDomainPtr d, int event, int detail, void *opaque)
{
    struct virt_thread *t = opaque;
    const char *name = t->lib->DomainGetName(d);
    (void)conn;
    if (name == NULL)
        return 0;
    if (event == VIR_DOMAIN_EVENT_DEFINED || event == VIR_DOMAIN_EVENT_UNDEFINED)
        virt_forget(t, name);
    note(t->v, name, event, detail);
    return 0;
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    struct virt_thread *t = opaque;
    (void)reason;
    if (conn == t->conn)
        t->lost = true; /* closed where nothing of it is in use any more */
}

/* ---- the connection */

static void drop(struct virt_thread *t)
{
    virConnectPtr conn = STEAL(t->conn);
    t->lost = false;
    virt_forget_all(t);
    if (conn == NULL)
        return;
    virt_streams_drop(t);
    if (t->event_id >= 0)
        (void)t->lib->ConnectDomainEventDeregisterAny(conn, t->event_id);
    (void)t->lib->ConnectUnregisterCloseCallback(conn, on_close);
    (void)t->lib->ConnectClose(conn);
    t->lib->ResetLastError();
    t->event_id = -1;
}

/* Whether qemu can use the machine's KVM: libvirtd has tried that as the user it starts qemu as. */
static bool ask_kvm(struct virt_thread *t)
{
    const struct virt_options *o = &t->v->o;
    char *text =
        t->lib->ConnectGetDomainCapabilities(t->conn, o->emulator, NULL, o->machine, "kvm", 0);
    bool yes = text != NULL;
    free(text);
    t->lib->ResetLastError();
    return yes;
}

void virt_open_run(struct virt_job *j, struct virt_thread *t)
{
    struct virt_open *open = CONTAINER_OF(j, struct virt_open, job);
    const char *uri = t->v->o.uri;
    t->lib = virt_lib_load(&j->f.e);
    j->f.reason = FAULT_RUNTIME_UNHEALTHY;
    if (t->lib == NULL)
        return;
    drop(t);
    virConnectPtr conn = t->lib->ConnectOpen(uri);
    if (conn == NULL) {
        (void)virt_failed(t, &j->f, "libvirt at \"%s\" cannot be reached", uri);
        j->f.e.code = ERR_UNREACHABLE;
        return;
    }
    t->conn = conn;
    open->serial = ++t->serial;
    (void)t->lib->ConnectSetKeepAlive(conn, (int)t->v->o.keepalive_s, KEEPALIVE_COUNT);
    (void)t->lib->ConnectRegisterCloseCallback(conn, on_close, t, NULL);
    t->event_id =
        t->lib->ConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                              VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), t, NULL);
    if (t->event_id < 0) {
        (void)virt_failed(t, &j->f, "libvirt at \"%s\" tells no events", uri);
        drop(t);
        return;
    }
    open->kvm = ask_kvm(t);
    t->lib->ResetLastError();
    j->f = (struct fault){0};
}

static void check_lost(struct virt_thread *t)
{
    if (!t->lost)
        return;
    drop(t);
    note_lost(t);
}

/* ---- jobs */

static void carry_out(struct virt_thread *t, struct virt_job *j)
{
    if (t->conn == NULL && !j->unlinked)
        (void)fault_set(&j->f, FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE,
                        "libvirt at \"%s\" is not connected", t->v->o.uri);
    else
        j->run(j, t);
}

/* The next one, if there is one; true if more wait. */
static bool run_next(struct virt_thread *t)
{
    struct virt_shared *s = &t->v->shared;
    uv_mutex_lock(&s->lock);
    struct list_node *first = list_first(&s->waiting);
    struct virt_job *j = first != NULL ? CONTAINER_OF(first, struct virt_job, link) : NULL;
    if (j != NULL) {
        list_remove(&j->link);
        s->running = j;
        s->since_ns = uv_hrtime();
    }
    uv_mutex_unlock(&s->lock);
    if (j == NULL)
        return false;
    carry_out(t, j);
    check_lost(t);
    uv_mutex_lock(&s->lock);
    s->running = NULL;
    list_push_back(&s->done, &j->link);
    bool more = !list_empty(&s->waiting);
    wake_loop(t->v);
    uv_mutex_unlock(&s->lock);
    return more;
}

static void clear_wake(int fd)
{
    uint64_t n;
    ssize_t got;
    do
        got = read(fd, &n, sizeof(n));
    while (got < 0 && errno == EINTR);
}

static void on_wake(int watch, int fd, int events, void *opaque)
{
    struct virt_thread *t = opaque;
    const uint64_t one = 1;
    (void)watch;
    (void)events;
    clear_wake(fd);
    if (run_next(t) && write(fd, &one, sizeof(one)) < 0)
        return; /* it is full: that wakes as well */
}

static bool must_quit(struct virt *v)
{
    uv_mutex_lock(&v->shared.lock);
    bool quit = v->shared.quit;
    uv_mutex_unlock(&v->shared.lock);
    return quit;
}

/* Without the library there are no connections, and jobs say so. */
static void run_without(struct virt_thread *t)
{
    struct pollfd p = {.fd = t->v->wake_fd, .events = POLLIN};
    while (!must_quit(t->v)) {
        if (poll(&p, 1, -1) <= 0)
            continue;
        clear_wake(p.fd);
        while (run_next(t))
            ;
    }
}

static void run_with(struct virt_thread *t)
{
    while (!must_quit(t->v)) {
        if (t->lib->EventRunDefaultImpl() != 0)
            (void)poll(NULL, 0, POLL_FAILED_MS); /* out of memory, it seems: not in circles */
        check_lost(t);
    }
    (void)t->lib->EventRemoveHandle(t->wake_id);
    drop(t);
}

void virt_thread_main(void *arg)
{
    struct virt *v = arg;
    struct virt_thread *t = &v->thread;
    struct err e = {0};
    (void)pthread_setname_np(pthread_self(), "libvirt");
    t->v = v;
    t->event_id = t->wake_id = -1;
    map_init(&t->known);
    list_init(&t->streams);
    t->lib = virt_lib_load(&e);
    if (t->lib != NULL)
        t->wake_id =
            t->lib->EventAddHandle(v->wake_fd, VIR_EVENT_HANDLE_READABLE, on_wake, t, NULL);
    if (t->wake_id >= 0)
        run_with(t);
    else
        run_without(t);
    map_done(&t->known, virt_facts_unref);
    uv_mutex_lock(&v->shared.lock);
    v->shared.ended = true;
    wake_loop(v);
    uv_mutex_unlock(&v->shared.lock);
}
