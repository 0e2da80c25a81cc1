/* Events of our containers: who has changed. And whether the engine is there: both are told to the
 * watcher from a timer, so that it may call anything, and hears a short absence as one. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_work.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENT_LINE_MAX = 256 << 10, /* labels are part of it */
    EVENTS_LIMIT_MS = 10000,
    EVENTS_RETRY_MS = 1000,
    EVENTS_OVERLAP_S = 2,
};

static bool watched(const struct docker_work *w)
{
    return w->watcher.changed != NULL || w->watcher.reachable != NULL;
}

static bool ready(const struct docker_work *w)
{
    return w->d->link.state == DOCKER_LINK_READY;
}

/* ---- the stream */

static void event(void *ctx, const json_t *value)
{
    struct docker_work *w = ctx;
    const json_t *labels = json_object_get(json_object_get(value, "Actor"), "Attributes");
    struct slice id = docker_labels_id(labels);
    struct docker_kept *k = id.p != NULL ? map_get(&w->kept, id) : NULL;
    if (id.p == NULL)
        return;
    if (k != NULL)
        k->fresh = false;
    if (w->watcher.changed != NULL)
        w->watcher.changed(w->watcher.ctx, id);
}

static void kept_age(struct docker_work *w)
{
    for (struct map_entry *e = map_first(&w->kept); e != NULL; e = map_next(e))
        ((struct docker_kept *)map_value(e))->fresh = false;
}

/* Something may have happened that nobody told. */
static void missed(struct docker_work *w)
{
    kept_age(w);
    w->look_due = true;
    loop_timer_start(&w->timer, 0, 0);
}

static void events_head(void *ctx, const struct client_response *r)
{
    struct docker_work *w = ctx;
    w->events_up = r->status == 200;
    missed(w);
}

static void events_body(void *ctx, const char *p, size_t n)
{
    struct docker_work *w = ctx;
    uint64_t lost = w->lines.lost;
    if (!w->events_up)
        return;
    docker_lines_feed(&w->lines, p, n, event, w);
    if (w->lines.lost != lost)
        missed(w);
}

static void events_over(struct docker_work *w)
{
    w->events = NULL;
    w->events_up = false;
    docker_lines_done(&w->lines);
    kept_age(w);
}

static void events_done(void *ctx, const struct err *e BASE_UNUSED)
{
    struct docker_work *w = ctx;
    struct docker *d = w->d;
    events_over(w);
    /* Of an engine that has gone, the link hears by itself. */
    w->retry_at_ms = loop_now_ms(d->loop) + EVENTS_RETRY_MS;
    if (!w->closed)
        loop_timer_start(&w->timer, EVENTS_RETRY_MS, 0);
    docker_unref(d);
}

static const struct client_user events_user = {events_head, events_body, events_done};

static void events_start(struct docker_work *w)
{
    struct docker *d = w->d;
    static const char filters[] =
        "{\"type\":[\"container\"],\"label\":[\"" DOCKER_LABEL_MANAGED "=true\"],\"event\":["
        "\"create\",\"start\",\"die\",\"destroy\",\"pause\",\"unpause\",\"oom\",\"rename\","
        "\"update\",\"health_status\"]}";
    char target[1000], path[64];
    struct buf t = BUF_FIXED(target);
    int64_t since = clock_real_ns(loop_clock(d->loop)) / (int64_t)NS_PER_S - EVENTS_OVERLAP_S;
    snprintf(path, sizeof(path), "/events?since=%" PRId64 "&filters=", since);
    (void)docker_target(d, path, target, sizeof(target));
    t.len = strlen(target);
    (void)pct_encode(&t, slice_of(filters));
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = {t.data, t.len},
        .first_byte_ms = EVENTS_LIMIT_MS,
        .idle_ms = UINT64_MAX,
        .max_body = SIZE_MAX,
    };
    docker_lines_init(&w->lines, EVENT_LINE_MAX);
    if (t.err == 0 && client_send(d->streams, &r, &events_user, w, &w->events, NULL) == 0) {
        docker_ref(d);
        return;
    }
    w->events = NULL;
    w->retry_at_ms = loop_now_ms(d->loop) + EVENTS_RETRY_MS;
    loop_timer_start(&w->timer, EVENTS_RETRY_MS, 0);
}

static void events_stop(struct docker_work *w)
{
    if (w->events == NULL)
        return;
    client_cancel(w->events);
    events_over(w);
    docker_unref(w->d);
}

/* ---- telling */

static void on_timer(void *ctx)
{
    struct docker_work *w = ctx;
    struct docker *d = docker_ref(w->d);
    bool up = ready(w), look = w->look_due;
    if (w->closed || !watched(w)) {
        docker_unref(d);
        return;
    }
    if (up && w->events == NULL) {
        uint64_t now = loop_now_ms(d->loop);
        if (now >= w->retry_at_ms)
            events_start(w);
        else
            loop_timer_start(&w->timer, w->retry_at_ms - now, 0);
    }
    if (w->watcher.reachable != NULL && (!w->told || up != w->told_up || (up && look))) {
        w->told = true;
        w->told_up = up;
        w->look_due = w->look_due && !up;
        w->watcher.reachable(w->watcher.ctx, up);
    }
    docker_unref(d);
}

void docker_work_link(struct docker_work *w)
{
    if (w == NULL || w->closed)
        return;
    if (!ready(w))
        events_stop(w);
    w->retry_at_ms = 0;
    w->look_due = true;
    loop_timer_start(&w->timer, 0, 0);
}

void docker_watch_set(void *self, const struct driver_watcher *watcher)
{
    struct docker_work *w = docker_work_of(self);
    w->watcher = watcher != NULL ? *watcher : (struct driver_watcher){0};
    w->told = false;
    if (watcher == NULL)
        events_stop(w);
    else
        loop_timer_start(&w->timer, 0, 0);
}

/* ---- life */

int docker_watch_init(struct docker_work *w)
{
    int rc = loop_timer_init(w->d->loop, &w->timer, on_timer, w);
    if (rc == 0)
        docker_ref(w->d);
    return rc;
}

static void timer_closed(void *ctx)
{
    struct docker_work *w = ctx;
    docker_unref(w->d);
}

void docker_watch_close(struct docker_work *w)
{
    events_stop(w);
    w->watcher = (struct driver_watcher){0};
    loop_timer_close(&w->timer, timer_closed);
}
