/* The loop's side of the thread: jobs and their deadlines, the state of the link, what the watcher
 * is told.
 *
 * A job that takes longer than it may means that libvirtd hangs: all that was asked of it ends with
 * ERR_UNREACHABLE, and the socket under the connection is shut down, which brings the thread back.
 * Until it is back, what is asked for anew fails at once; so nothing piles up.
 */
#include "driver/libvirt/virt_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How often jobs are looked at; how long connecting may take; ending: when the socket is cut, and
 * when the thread is left behind. */
enum { TICK_MS = 250, OPEN_MS = 15000, QUIT_MS = 2000, LEAVE_MS = 4000 };

static const struct sm_state link_states[] = {
    [VIRT_LINK_AWAY] = {"away", 1u << VIRT_LINK_ASKING | 1u << VIRT_LINK_CLOSED, false},
    [VIRT_LINK_ASKING] = {"asking",
                          1u << VIRT_LINK_AWAY | 1u << VIRT_LINK_READY | 1u << VIRT_LINK_CLOSED,
                          false},
    [VIRT_LINK_READY] = {"ready", 1u << VIRT_LINK_AWAY | 1u << VIRT_LINK_CLOSED, false},
    [VIRT_LINK_CLOSED] = {"closed", 0, true},
};
static const struct sm_table link_table = {"libvirt-link", link_states, ARRAY_LEN(link_states)};

bool virt_link_ready(const struct virt *v)
{
    return v->link.state == VIRT_LINK_READY;
}

/* ---- waking each other */

static void wake_thread(struct virt *v)
{
    const uint64_t one = 1;
    if (write(v->wake_fd, &one, sizeof(one)) < 0)
        return; /* full: it is awake */
}

/* The connection's socket, by the name of its other end: the library does not tell it. */
static void cut_socket(const struct virt *v)
{
    static const char *const names[] = {"/libvirt-sock", "/virtqemud-sock"};
    const char *given = strstr(v->o.uri, "socket=");
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct sockaddr_un a = {0};
        socklen_t n = sizeof(a) - 1;
        int64_t fd;
        if (str_to_i64(slice_of(entry->d_name), &fd) != 0 || fd <= 2 ||
            getpeername((int)fd, (struct sockaddr *)&a, &n) != 0 || a.sun_family != AF_UNIX)
            continue;
        const char *path = a.sun_path;
        bool ours = given != NULL && *path != '\0' && strncmp(given + 7, path, strlen(path)) == 0;
        for (size_t i = 0; i < ARRAY_LEN(names) && !ours; i++) {
            size_t len = strlen(path), tail = strlen(names[i]);
            ours = len >= tail && strcmp(path + len - tail, names[i]) == 0;
        }
        if (ours)
            (void)shutdown((int)fd, SHUT_RDWR);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* ---- jobs */

static void job_release(struct virt_job *j)
{
    list_remove(&j->all);
    if (j->release != NULL)
        j->release(j);
    else
        mem_free(j);
}

static void job_end(struct virt_job *j, const struct fault *f)
{
    if (j->over)
        return;
    j->over = true;
    j->end(j, f);
}

void virt_job_send(struct virt *v, struct virt_job *j)
{
    j->v = v;
    list_push_back(&v->jobs, &j->all);
    if (v->stuck || v->closing) {
        list_push_back(&v->refused, &j->link);
        (void)uv_async_send(&v->async);
        return;
    }
    if (!v->ticking)
        loop_timer_start(&v->tick, TICK_MS, TICK_MS);
    v->ticking = true;
    uv_mutex_lock(&v->shared.lock);
    list_push_back(&v->shared.waiting, &j->link);
    uv_mutex_unlock(&v->shared.lock);
    wake_thread(v);
}

static void unreachable(const struct virt *v, struct fault *f)
{
    if (v->closing)
        (void)fault_set(f, FAULT_RUNTIME_ERROR, ERR_CANCELLED, "cancelled");
    else
        (void)fault_set(f, FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE, "%s",
                        v->why[0] != '\0' ? v->why : "libvirt cannot be reached");
}

/* All that is under way ends now. What the thread holds is released when it gives it back. */
static void end_all(struct virt *v)
{
    struct fault f = {0};
    struct list_node now;
    unreachable(v, &f);
    list_init(&now);
    uv_mutex_lock(&v->shared.lock);
    LIST_FOR_SAFE (n, &v->shared.waiting) {
        list_remove(n);
        list_push_back(&now, n);
    }
    v->stuck = v->shared.running != NULL;
    struct virt_job *running = v->shared.running;
    uv_mutex_unlock(&v->shared.lock);
    if (running != NULL)
        job_end(running, &f);
    LIST_FOR_SAFE (n, &now) {
        struct virt_job *j = CONTAINER_OF(n, struct virt_job, link);
        list_remove(n);
        job_end(j, &f);
        job_release(j);
    }
}

static void refused_end(struct virt *v)
{
    struct fault f = {0};
    unreachable(v, &f);
    while (!list_empty(&v->refused)) {
        struct virt_job *j = CONTAINER_OF(list_first(&v->refused), struct virt_job, link);
        list_remove(&j->link);
        job_end(j, &f);
        job_release(j);
    }
}

/* ---- the link */

static void look_soon(struct virt *v)
{
    v->look_due = true;
    if (v->link.state != VIRT_LINK_CLOSED)
        loop_timer_start(&v->tell, 0, 0);
}

static void try_again_later(struct virt *v)
{
    loop_timer_start(&v->retry, v->delay_ms, 0);
    v->delay_ms = v->delay_ms * 2 < v->o.retry_most_ms ? v->delay_ms * 2 : v->o.retry_most_ms;
}

static void link_away(struct virt *v)
{
    if (v->link.state == VIRT_LINK_AWAY || v->link.state == VIRT_LINK_CLOSED)
        return;
    sm_move(&v->link, VIRT_LINK_AWAY, v->o.uri);
    try_again_later(v);
    look_soon(v);
}

void virt_link_break(struct virt *v, const char *why)
{
    (void)snprintf(v->why, sizeof(v->why), "%s", why);
    cut_socket(v);
    link_away(v);
    end_all(v);
}

static void opened(struct virt_job *j, const struct fault *f)
{
    struct virt *v = j->v;
    v->opening = false;
    if (v->link.state != VIRT_LINK_ASKING)
        return;
    if (f != NULL) {
        (void)snprintf(v->why, sizeof(v->why), "%.*s", (int)sizeof(v->why) - 1, f->e.msg);
        link_away(v);
        return;
    }
    v->kvm = CONTAINER_OF(j, struct virt_open, job)->kvm;
    v->serial = CONTAINER_OF(j, struct virt_open, job)->serial;
    v->why[0] = '\0';
    v->delay_ms = v->o.retry_first_ms;
    sm_move(&v->link, VIRT_LINK_READY, v->o.uri);
    virt_act_linked(v);
    look_soon(v);
    virt_slow_soon(v, 0);
}

static void link_connect(struct virt *v)
{
    struct virt_open *o = v->opening || v->stuck ? NULL : mem_zalloc(sizeof(*o));
    if (o == NULL) {
        try_again_later(v);
        return;
    }
    o->job.run = virt_open_run;
    o->job.end = opened;
    o->job.limit_ms = OPEN_MS;
    o->job.unlinked = true;
    v->opening = true;
    sm_move(&v->link, VIRT_LINK_ASKING, v->o.uri);
    virt_job_send(v, &o->job);
}

void virt_link_begin(struct virt *v)
{
    v->delay_ms = v->o.retry_first_ms;
    link_connect(v);
}

static void on_retry(void *ctx)
{
    struct virt *v = ctx;
    if (v->link.state == VIRT_LINK_AWAY)
        link_connect(v);
}

/* ---- what the thread tells */

static void on_event(struct virt *v, const struct virt_note *n)
{
    struct slice id = slice_of(n->name);
    struct virt_kept *k = map_get(&v->kept, id);
    int64_t now = clock_real_ns(loop_clock(v->loop));
    if (k != NULL && n->event == VIR_DOMAIN_EVENT_STARTED) {
        k->started_ns = now;
        k->finished_ns = 0;
        k->running = true;
        virt_slow_soon(v, VIRT_SETTLE_MS);
    }
    if (n->event == VIR_DOMAIN_EVENT_STOPPED || n->event == VIR_DOMAIN_EVENT_CRASHED) {
        if (k != NULL) {
            k->finished_ns = now;
            k->running = false;
            virt_address_clear(k);
        }
        virt_act_ended(v, id);
    }
    virt_tell_changed(v, id);
}

/* What has come from the thread, taken at one moment. */
struct news {
    struct list_node done, notes;
    bool missed;
    uint64_t lost;
};

static void list_move(struct list_node *to, struct list_node *from)
{
    list_init(to);
    LIST_FOR_SAFE (n, from) {
        list_remove(n);
        list_push_back(to, n);
    }
}

static void take(struct virt *v, struct news *n)
{
    struct virt_shared *s = &v->shared;
    uv_mutex_lock(&s->lock);
    list_move(&n->done, &s->done);
    list_move(&n->notes, &s->notes);
    s->n_notes = 0;
    n->missed = s->missed;
    n->lost = s->lost;
    s->missed = false;
    if (s->running == NULL)
        v->stuck = false;
    uv_mutex_unlock(&s->lock);
}

static void hear_done(struct news *n)
{
    LIST_FOR_SAFE (i, &n->done) {
        struct virt_job *j = CONTAINER_OF(i, struct virt_job, link);
        list_remove(i);
        job_end(j, j->f.e.code != 0 ? &j->f : NULL);
        job_release(j);
    }
}

static void hear_notes(struct virt *v, struct news *n)
{
    LIST_FOR_SAFE (i, &n->notes) {
        struct virt_note *x = CONTAINER_OF(i, struct virt_note, link);
        list_remove(i);
        if (!v->closing)
            on_event(v, x);
        mem_free(x);
    }
    if (v->link.state == VIRT_LINK_READY && n->lost == v->serial) {
        (void)snprintf(v->why, sizeof(v->why), "libvirt at \"%.150s\" has closed the connection",
                       v->o.uri);
        link_away(v);
    }
    if (n->missed && !v->closing) {
        virt_act_linked(v); /* one of them may be what it waits for */
        look_soon(v);
    }
}

/* The driver closes: all that anybody waits for ends. */
static void give_up(struct virt *v)
{
    virt_acts_close(v);
    end_all(v);
}

static void thread_over(struct virt *v)
{
    v->has_thread = false;
    (void)uv_thread_join(&v->tid);
    virt_unref(v);
}

static void handle_closed(uv_handle_t *h)
{
    virt_unref(h->data);
}

static void timer_closed(void *ctx)
{
    virt_unref(ctx);
}

static void close_handles(struct virt *v)
{
    struct loop_timer *const timers[VIRT_TIMERS] = {&v->tick, &v->retry, &v->tell, &v->slow};
    for (size_t i = 0; i < v->n_timers; i++)
        loop_timer_close(timers[i], timer_closed);
    if (v->has_async)
        uv_close((uv_handle_t *)&v->async, handle_closed);
}

static void on_async(uv_async_t *h)
{
    struct virt *v = virt_ref(h->data);
    struct news n;
    take(v, &n);
    /* In this order: what happens after an answer is told after it. A guest that switches off as
     * soon as it is asked to is waited for by then, and a connection is ready before it is lost. */
    hear_done(&n);
    hear_notes(v, &n);
    refused_end(v);
    virt_consoles_news(v);
    uv_mutex_lock(&v->shared.lock);
    bool ended = v->shared.ended;
    uv_mutex_unlock(&v->shared.lock);
    if (ended && v->has_thread) {
        thread_over(v);
        give_up(v); /* nothing comes of it any more; the timer may not have been there yet */
        refused_end(v);
        close_handles(v);
    }
    virt_unref(v);
}

/* ---- time */

static void check_deadline(struct virt *v)
{
    struct virt_shared *s = &v->shared;
    char why[sizeof(v->why)];
    uv_mutex_lock(&s->lock);
    struct virt_job *j = s->running;
    uint64_t limit = j != NULL ? j->limit_ms : 0;
    bool late = j != NULL && !j->over && (uv_hrtime() - s->since_ns) / NS_PER_MS > limit;
    uv_mutex_unlock(&s->lock);
    if (!late)
        return;
    (void)snprintf(why, sizeof(why), "libvirt at \"%.120s\" does not answer (%llu ms)", v->o.uri,
                   (unsigned long long)limit);
    virt_link_break(v, why);
}

/* A thread that hangs is left behind, with what it holds: the process is about to end. */
static void quit_late(struct virt *v)
{
    cut_socket(v);
    uv_mutex_lock(&v->shared.lock);
    v->shared.left = !v->shared.ended;
    bool left = v->shared.left;
    uv_mutex_unlock(&v->shared.lock);
    if (!left)
        return; /* its last word is on its way */
    v->has_thread = false;
    close_handles(v); /* its own reference is never given back: nothing of it is freed */
}

static void on_tick(void *ctx)
{
    struct virt *v = ctx;
    if (v->closing) {
        v->delay_ms += QUIT_MS;
        if (v->delay_ms >= LEAVE_MS)
            quit_late(v);
        else
            cut_socket(v);
        return;
    }
    check_deadline(v);
    if (list_empty(&v->jobs)) {
        v->ticking = false;
        loop_timer_stop(&v->tick);
    }
}

/* ---- the watcher */

static void on_tell(void *ctx)
{
    struct virt *v = virt_ref(ctx);
    bool up = virt_link_ready(v), look = v->look_due;
    if (v->closing) {
        give_up(v);
        virt_unref(v);
        return;
    }
    /* The first answer is worth waiting for: else all would be unknown for a moment. */
    bool known = up || v->link.state == VIRT_LINK_AWAY;
    if (known && v->watcher.reachable != NULL && (!v->told || up != v->told_up || (up && look))) {
        v->told = true;
        v->told_up = up;
        v->look_due = false;
        v->watcher.reachable(v->watcher.ctx, up);
    }
    virt_unref(v);
}

void virt_watch_set(void *self, const struct driver_watcher *w)
{
    struct virt *v = virt_of(self);
    v->watcher = w != NULL ? *w : (struct driver_watcher){0};
    v->told = false;
    if (w != NULL)
        loop_timer_start(&v->tell, 0, 0);
}

void virt_tell_changed(struct virt *v, struct slice id)
{
    if (v->watcher.changed != NULL)
        v->watcher.changed(v->watcher.ctx, id);
}

/* ---- life */

static void on_slow(void *ctx)
{
    struct virt *v = ctx;
    v->slow_set = false;
    virt_address_run(v);
}

void virt_slow_soon(struct virt *v, uint64_t in_ms)
{
    if (v->closing)
        return;
    v->slow_set = true;
    loop_timer_start(&v->slow, in_ms, 0);
}

static int init_timers(struct virt *v)
{
    struct {
        struct loop_timer *timer;
        void (*fn)(void *ctx);
    } rows[VIRT_TIMERS] = {
        {&v->tick, on_tick}, {&v->retry, on_retry}, {&v->tell, on_tell}, {&v->slow, on_slow}};
    for (; v->n_timers < VIRT_TIMERS; v->n_timers++) {
        int rc = loop_timer_init(v->loop, rows[v->n_timers].timer, rows[v->n_timers].fn, v);
        if (rc != 0)
            return rc;
        (void)virt_ref(v);
    }
    return 0;
}

int virt_link_init(struct virt *v, struct err *e)
{
    sm_init(&v->link, &link_table, VIRT_LINK_AWAY);
    int rc = init_timers(v);
    if (rc != 0)
        return err_set(e, rc, "a timer for libvirt cannot be made");
    v->async.data = v;
    rc = uv_async_init(loop_uv(v->loop), &v->async, on_async);
    if (rc != 0)
        return err_sys(e, rc, "libvirt's thread cannot be heard");
    v->has_async = true;
    (void)virt_ref(v);
    v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->wake_fd < 0)
        return err_sys(e, errno, "libvirt's thread cannot be woken");
    rc = loop_thread(&v->tid, virt_thread_main, v);
    if (rc != 0)
        return err_sys(e, rc, "libvirt's thread cannot be begun");
    v->has_thread = true;
    (void)virt_ref(v);
    return 0;
}

void virt_link_close(struct virt *v)
{
    v->closing = true;
    v->watcher = (struct driver_watcher){0};
    sm_move(&v->link, VIRT_LINK_CLOSED, v->o.uri);
    loop_timer_stop(&v->retry);
    loop_timer_stop(&v->slow);
    virt_consoles_close(v);
    if (!v->has_thread) {
        close_handles(v);
        return;
    }
    uv_mutex_lock(&v->shared.lock);
    v->shared.quit = true;
    uv_mutex_unlock(&v->shared.lock);
    v->delay_ms = 0;
    loop_timer_start(&v->tell, 0, 0); /* ends what is under way */
    loop_timer_start(&v->tick, QUIT_MS, QUIT_MS);
    wake_thread(v);
}
