#include "s6/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/dir.h"

#include <fcntl.h>
#include <string.h>

#define TICK_MS 1000
#define FULL_LOOK_TICKS 5 /* even with every watch in place: a "down" file tells nobody */

struct service {
    struct list_node link; /* sorted by name */
    struct s6_events *owner;
    struct s6_watch watch; /* of supervise/, or of the service's folder while there is none */
    bool whole;            /* supervise/ itself is watched */
    bool known, seen;      /* known: `last` holds; seen: in the present scan */
    struct s6_status last;
    size_t name_len;
    char name[];
};

struct s6_events {
    struct loop *loop;
    struct s6_watcher *watcher;
    struct list_node services;
    struct list_node listeners;
    struct list_node *next; /* as in s6_watcher */
    struct s6_watch watch;  /* of the scan directory */
    struct loop_timer tick;
    unsigned ticks;
    bool rescan;           /* the scan directory has changed */
    struct s6_place place; /* its texts are ours */
};

static struct slice service_name(const struct service *s)
{
    return (struct slice){s->name, s->name_len};
}

static void tell(struct s6_events *v, struct slice name, const struct s6_status *st)
{
    for (struct list_node *n = v->listeners.next; n != &v->listeners; n = v->next) {
        struct s6_listener *l = CONTAINER_OF(n, struct s6_listener, link);
        v->next = n->next;
        l->changed(l->ctx, name, st);
    }
    v->next = NULL;
}

static bool same_stamp(struct s6_stamp a, struct s6_stamp b)
{
    return a.sec == b.sec && a.nano == b.nano;
}

static bool same_status(const struct s6_status *a, const struct s6_status *b)
{
    return same_stamp(a->since, b->since) && same_stamp(a->ready_since, b->ready_since) &&
           a->pid == b->pid && a->pgid == b->pgid && a->wait_status == b->wait_status &&
           a->paused == b->paused && a->finishing == b->finishing && a->want_up == b->want_up &&
           a->ready == b->ready && a->normally_up == b->normally_up;
}

/* Watches <scandir>/<name><tail>, or the scan directory itself if the name is empty. */
static bool watch_folder(struct s6_events *v, struct s6_watch *w, struct slice name,
                         const char *tail)
{
    char path[S6_PATH_SIZE];
    _cleanup_(s6_visit_end) struct s6_visit visit;
    if (s6_visit_begin(&visit, &v->place, name, NULL) != 0 ||
        s6_service_path(path, v->place.scandir, name, tail) != 0)
        return false;
    if (!s6_visit_wary(&visit))
        return s6_watch_start(v->watcher, w, name.len > 0 ? path : v->place.scandir, NULL) == 0;
    if (name.len == 0)
        return s6_watch_start_fd(v->watcher, w, visit.fd, NULL) == 0;
    _cleanup_(file_closep) int fd = s6_visit_open(&visit, path, O_PATH | O_DIRECTORY);
    return fd >= 0 && s6_watch_start_fd(v->watcher, w, fd, NULL) == 0;
}

/* supervise/ comes only when s6-svscan has found the service; until then its folder is watched. */
static void watch_service(struct service *s)
{
    struct s6_events *v = s->owner;
    if (s->whole && s6_watching(&s->watch))
        return;
    s6_watch_stop(v->watcher, &s->watch);
    s->whole = watch_folder(v, &s->watch, service_name(s), "/supervise");
    if (!s->whole)
        (void)watch_folder(v, &s->watch, service_name(s), "");
}

static void stop_if_unused(struct s6_events *v);

static void look_at(struct service *s)
{
    struct s6_status now;
    struct err e = {0};
    watch_service(s);
    int rc = s6_status_read(&s->owner->place, service_name(s), &now, &e);
    if (rc == ERR_NO_FILES || rc == ERR_NO_MEMORY)
        return; /* tells nothing about the service */
    if (rc != 0 && s->known) {
        s->known = false;
        tell(s->owner, service_name(s), NULL);
    } else if (rc == 0 && (!s->known || !same_status(&s->last, &now))) {
        s->known = true;
        s->last = now;
        tell(s->owner, service_name(s), &now);
    }
}

static void on_service(void *ctx, const char *name)
{
    struct service *s = ctx;
    /* Only these matter; the death tally and the event folder change as often. */
    if (s->whole && name != NULL && strcmp(name, "status") != 0 && strcmp(name, "lock") != 0)
        return;
    struct s6_events *v = s->owner;
    look_at(s);
    stop_if_unused(v);
}

static void on_scandir(void *ctx, const char *name)
{
    struct s6_events *v = ctx;
    (void)name;
    v->rescan = true;
    /* A tree is built in many small steps: look once they are done, but soon. */
    loop_timer_start(&v->tick, 20, TICK_MS);
}

static void drop_service(struct service *s)
{
    s6_watch_stop(s->owner->watcher, &s->watch);
    list_remove(&s->link);
    mem_free(s);
}

static struct service *find_service(struct s6_events *v, const char *name)
{
    LIST_FOR (n, &v->services)
        if (strcmp(CONTAINER_OF(n, struct service, link)->name, name) == 0)
            return CONTAINER_OF(n, struct service, link);
    return NULL;
}

static int add_service(struct s6_events *v, const char *name)
{
    size_t n = strlen(name);
    struct service *s = mem_zalloc(sizeof(*s) + n + 1);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->owner = v;
    s->name_len = n;
    memcpy(s->name, name, n);
    s->seen = true;
    s6_watch_init(&s->watch, on_service, s);
    list_push_back(&v->services, &s->link);
    return 0;
}

/* Brings the list of services up to date. On a failure it is left as it was, and is looked at
 * again. */
static int scan(struct s6_events *v, struct err *e)
{
    struct s6_names names;
    int rc = s6_scan(&v->place, &names, e);
    v->rescan = rc != 0;
    if (rc != 0)
        return rc;
    LIST_FOR (n, &v->services)
        CONTAINER_OF(n, struct service, link)->seen = false;
    for (size_t i = 0; i < names.count; i++) {
        struct service *s = find_service(v, s6_name(&names, i));
        if (s != NULL)
            s->seen = true;
        else if (add_service(v, s6_name(&names, i)) != 0)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    s6_names_done(&names);
    v->rescan = rc != 0;
    LIST_FOR_SAFE (n, &v->services) {
        struct service *s = CONTAINER_OF(n, struct service, link);
        if (s->seen)
            continue;
        if (s->known)
            tell(v, service_name(s), NULL);
        drop_service(s);
    }
    if (!s6_watching(&v->watch))
        (void)watch_folder(v, &v->watch, SLICE_LIT(""), "");
    return rc;
}

static void stop_if_unused(struct s6_events *v)
{
    if (!list_empty(&v->listeners) || v->next != NULL)
        return;
    loop_timer_stop(&v->tick);
    s6_watch_stop(v->watcher, &v->watch);
    LIST_FOR_SAFE (n, &v->services)
        drop_service(CONTAINER_OF(n, struct service, link));
}

/* Looks at what is not watched, or at everything. */
static void look(struct s6_events *v, bool everything)
{
    if (everything || v->rescan || !s6_watching(&v->watch))
        (void)scan(v, NULL);
    LIST_FOR_SAFE (n, &v->services) {
        struct service *s = CONTAINER_OF(n, struct service, link);
        if (everything || !s->known || !s->whole || !s6_watching(&s->watch))
            look_at(s);
    }
    stop_if_unused(v);
}

static void on_tick(void *ctx)
{
    struct s6_events *v = ctx;
    look(v, ++v->ticks % FULL_LOOK_TICKS == 0);
}

int s6_events_new(struct s6_events **ret, struct loop *l, struct s6_watcher *w,
                  const struct s6_place *place, struct err *e)
{
    struct s6_events *v = mem_zalloc(sizeof(*v));
    if (v == NULL || s6_place_copy(&v->place, place) != 0) {
        mem_free(v);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    v->loop = l;
    v->watcher = w;
    list_init(&v->services);
    list_init(&v->listeners);
    s6_watch_init(&v->watch, on_scandir, v);
    (void)loop_timer_init(l, &v->tick, on_tick, v);
    *ret = v;
    return 0;
}

static void on_events_closed(void *ctx)
{
    struct s6_events *v = ctx;
    s6_place_done(&v->place);
    mem_free(v);
}

void s6_events_free(struct s6_events *v)
{
    if (v == NULL)
        return;
    INVARIANT(list_empty(&v->listeners) && list_empty(&v->services));
    loop_timer_close(&v->tick, on_events_closed);
}

/* The owner of a scan directory may make it unreadable for a while; the ticks look again. */
static bool may_wait(const struct s6_events *v, int rc)
{
    return v->place.rights.other && v->place.prefix == NULL && rc != ERR_NO_MEMORY &&
           rc != ERR_NO_FILES;
}

int s6_events_add(struct s6_events *v, struct s6_listener *l, struct err *e)
{
    bool first = list_empty(&v->listeners);
    struct err own = {0};
    int rc = first ? scan(v, &own) : 0;
    if (rc != 0 && !may_wait(v, rc)) {
        if (e != NULL)
            *e = own;
        stop_if_unused(v);
        return rc;
    }
    if (first) {
        loop_timer_start(&v->tick, TICK_MS, TICK_MS);
        LIST_FOR (n, &v->services)
            look_at(CONTAINER_OF(n, struct service, link)); /* nobody hears it yet */
    }
    LIST_FOR (n, &v->services) {
        const struct service *s = CONTAINER_OF(n, struct service, link);
        if (s->known)
            l->changed(l->ctx, service_name(s), &s->last);
    }
    list_push_back(&v->listeners, &l->link);
    return 0;
}

void s6_events_remove(struct s6_events *v, struct s6_listener *l)
{
    if (list_empty(&l->link))
        return;
    if (v->next == &l->link)
        v->next = l->link.next;
    list_remove(&l->link);
    stop_if_unused(v);
}

void s6_events_poll(struct s6_events *v)
{
    if (!list_empty(&v->listeners))
        look(v, true);
}
